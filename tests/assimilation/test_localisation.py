import numpy as np
import pytest

from scoreda.assimilation.localisation import gaspari_cohn, neighbourhoods

SCATTERED = np.random.default_rng(3).uniform(0, 24, 30)  # unsorted, off the grid points


def convolved_cones(distance):
    """Gaspari and Cohn's definition: two cones in three dimensions, convolved, by the midpoint rule."""
    h = 0.005
    z, s = np.meshgrid(np.arange(-1 + h / 2, 1, h), np.arange(h / 2, 1, h))
    cone = lambda z: np.maximum(1 - np.hypot(z, s), 0)
    return np.sum(cone(z) * cone(z - distance) * s) / np.sum(cone(z) ** 2 * s)


def dense(near, Ny):
    """The weights as a matrix `(Nx, Ny)`; every pair must occur at most once."""
    W = np.zeros((len(near.start) - 1, Ny))
    variable = np.repeat(np.arange(len(W)), np.diff(near.start))
    np.add.at(W, (variable, near.obs), near.weight)
    return W


@pytest.mark.parametrize("distance", [0.0, 0.3, 0.9, 1.0, 1.4, 1.9])
def test_that_gaspari_cohn_is_the_convolution_of_two_cones(distance):
    assert gaspari_cohn(distance) == pytest.approx(convolved_cones(distance), abs=1e-4)


def test_that_gaspari_cohn_has_its_tabulated_values_and_vanishes_from_two_on():
    np.testing.assert_allclose(gaspari_cohn(np.array([0.0, 1.0])), [1, 5 / 24], rtol=1e-14)
    assert not gaspari_cohn(np.array([2.0, 2.0001, 50.0])).any()


def test_that_gaspari_cohn_has_the_curvature_of_a_gaussian_of_std_c_over_root_ten_thirds():
    assert (1 - gaspari_cohn(1e-4)) / 1e-8 == pytest.approx(0.5 * 10 / 3, rel=1e-3)


@pytest.mark.parametrize("radius", [0.7, 3.0, 40.0])
def test_that_neighbourhoods_on_a_ring_equal_the_taper_of_all_distances(radius):
    distance = np.abs(np.arange(24)[:, None] - SCATTERED)
    expected = gaspari_cohn(np.minimum(distance, 24 - distance) / radius)
    np.testing.assert_allclose(dense(neighbourhoods(SCATTERED, 24, radius), 30), expected, atol=1e-12)


@pytest.mark.parametrize("radius", [0.7, 3.0, 40.0])
def test_that_neighbourhoods_on_a_line_equal_the_taper_of_all_distances(radius):
    expected = gaspari_cohn(np.abs(np.arange(24)[:, None] - SCATTERED) / radius)
    np.testing.assert_allclose(dense(neighbourhoods(SCATTERED, 24, radius, periodic=False), 30), expected, atol=1e-12)


def test_that_another_taper_is_used_as_given():
    box = lambda r: (r < 1.5).astype(float)
    near = neighbourhoods(np.arange(24.0), 24, 2.0, taper=box)
    assert set(near.obs[near.start[0] : near.start[1]]) == {22, 23, 0, 1, 2}
    assert (near.weight == 1).all()


def test_that_the_number_of_pairs_is_linear_in_the_state_size():
    pairs = [len(neighbourhoods(np.arange(n), n, 5.0).obs) for n in (100, 1000)]
    assert pairs == [1900, 19000]
