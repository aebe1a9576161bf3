"""The blocked kernels of Lorenz96 against plain NumPy: one ring, in windows, in blocks, on threads."""

import numpy as np
import pytest

from scoreda.models import SCHEMES, Lorenz96, lorenz96_kernels
from scoreda.models.integrators import advance, advance_adjoint, advance_tangent

FORCING, DT = 8.0, 0.05
# Rings smaller than a block, of a block, and larger: one more than a block is whole for one member, and for several cut
# into windows of which the last is one variable wide.
SIZES = (4, 5, 40, 640, lorenz96_kernels.BLOCK, lorenz96_kernels.BLOCK + 1, 3000)
MEMBERS = (1, 12, 33)  # alone, with a part of a cache line left over, and one more than stand side by side


def tendency(x):
    """The printed equation, on arrays of any shape."""
    return (np.roll(x, -1, -1) - np.roll(x, 2, -1)) * np.roll(x, 1, -1) - x + FORCING


def derivative(x, d):
    """Its derivative at `x` along `d`."""
    change = (np.roll(d, -1, -1) - np.roll(d, 2, -1)) * np.roll(x, 1, -1)
    return change + (np.roll(x, -1, -1) - np.roll(x, 2, -1)) * np.roll(d, 1, -1) - d


def transposed(x, a):
    """The transpose of the derivative: every shift runs backwards, after the factor that followed it."""
    behind = a * np.roll(x, 1, -1)
    across = np.roll(a * (np.roll(x, -1, -1) - np.roll(x, 2, -1)), -1, -1)
    return np.roll(behind, 1, -1) - np.roll(behind, -2, -1) + across - a


def ensemble(members, size):
    """States and perturbations of climatological size."""
    return np.random.default_rng(size).normal(2.3, 3.6, (members, size))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_that_blocks_and_windows_equal_the_plain_step(size, members, scheme):
    E, model = ensemble(members, size), Lorenz96(size, FORCING, DT, scheme)
    expected = advance(tendency, E, 3, DT, SCHEMES[scheme])
    np.testing.assert_allclose(model.step(E, 3), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_that_tangent_and_adjoint_equal_the_plain_ones(size, members, scheme):
    x, dX, model = ensemble(1, size)[0], ensemble(members, size), Lorenz96(size, FORCING, DT, scheme)
    x_end, dX_end = advance_tangent(tendency, derivative, x, dX, 2, DT, SCHEMES[scheme])
    dY = advance_adjoint(tendency, transposed, x, dX, 2, DT, SCHEMES[scheme])
    np.testing.assert_allclose(model.tangent(x, dX, 2)[0], x_end, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.tangent(x, dX, 2)[1], dX_end, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(model.adjoint(x, dX, 2), dY, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize(("members", "size"), [(70, 40), (3, 3000)])
def test_that_threads_do_not_change_a_bit(members, size):
    E, settings = ensemble(members, size), (1, DT, FORCING, *SCHEMES["rk4"][:2])
    serial, parallel = np.empty_like(E), np.empty_like(E)
    lorenz96_kernels.advance(E, serial, *settings)
    lorenz96_kernels.advance_parallel(E, parallel, *settings)
    np.testing.assert_array_equal(parallel, serial)


@pytest.mark.parametrize("size", SIZES)
def test_that_a_member_does_not_depend_on_its_neighbours_in_the_block(size):
    E, model = ensemble(40, size), Lorenz96(size)
    np.testing.assert_array_equal(model.step(E, 2)[[7, 39]], model.step(E[[7, 39]], 2))


def test_that_no_step_changes_the_perturbations_it_is_given():
    x, dX = ensemble(1, 40)[0], ensemble(3, 40)
    before = dX.copy()
    for carried in (Lorenz96().tangent(x, dX, 0)[1], Lorenz96().adjoint(x, dX, 0)):
        np.testing.assert_array_equal(carried, before)
        assert not np.shares_memory(carried, dX)
    Lorenz96().tangent(x, dX, 2)
    Lorenz96().adjoint(x, dX, 2)
    np.testing.assert_array_equal(dX, before)
