"""Pictures of diffusion show the numbers they were given: right axes, one scale, nothing lost."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from scoreda import plotting
from scoreda.errors import ScoredaError
from scoreda.verification import fields

T = np.linspace(0, 1, 11)
X = np.linspace(-4, 4, 81)
GAUSSIAN = np.exp(-(X**2) / 2) / np.sqrt(2 * np.pi)
PATHS = np.random.default_rng(0).normal(size=(30, 11)).cumsum(-1)
POINTS = np.random.default_rng(1).normal(size=(40, 2))
IMAGES = np.random.default_rng(2).random((7, 3, 4))
WINDOWS = np.random.default_rng(3).normal(size=(5, 8, 6))
SQUARE = (-3.0, 3.0, -3.0, 3.0)
K, ENERGY = fields.wavenumber_spectrum(WINDOWS[:, 0])


def bell(points):
    return np.exp(-(points**2).sum(-1) / 2)


def score(points):
    return -points * [1.0, 2.0]


PLOTS = {
    "noise_schedule": lambda ax=None: plotting.noise_schedule(T, 1 - T, T, ax),
    "log_snr": lambda ax=None: plotting.log_snr({"a": (T, 5 - T)}, ax),
    "potentials": lambda ax=None: plotting.potentials(X, {"t = 0": GAUSSIAN, "t = 1": GAUSSIAN}, ax),
    "marginal_and_potential": lambda ax=None: plotting.marginal_and_potential(POINTS, X, GAUSSIAN, ax),
    "sample_paths": lambda ax=None: plotting.sample_paths(T, PATHS, ax),
    "score_quiver": lambda ax=None: plotting.score_quiver(score, SQUARE, ax, density=bell),
    "scatter_over_density": lambda ax=None: plotting.scatter_over_density({"a": POINTS}, SQUARE, ax, density=bell),
    "spectrum_band": lambda ax=None: plotting.spectrum_band(K, {"truth": ENERGY, "prior": 2 * ENERGY}, ax),
    "frequency_wavenumber": lambda ax=None: plotting.frequency_wavenumber(
        *fields.frequency_wavenumber_spectrum(WINDOWS, 0.1), ax
    ),
    "correlation": lambda ax=None: plotting.correlation({"truth": fields.two_point_correlation(WINDOWS)}, ax),
    "correlation_map": lambda ax=None: plotting.correlation_map(*fields.space_time_correlation(WINDOWS, 3), ax),
    "image_grid": lambda ax=None: plotting.image_grid(IMAGES, ax),
}
PANELS = {
    "histogram_panels": lambda: plotting.histogram_panels((0.0, 1.0), PATHS[:2], PATHS[2:4], (-4.0, 4.0)),
    "hovmoeller_panels": lambda: plotting.hovmoeller_panels({str(k): w for k, w in enumerate(WINDOWS)}, columns=3),
}


@pytest.mark.parametrize("name", PLOTS)
def test_that_a_plot_uses_the_axes_it_is_given_and_labels_both(name):
    ax = Figure().subplots()
    assert PLOTS[name](ax) is ax
    assert name == "image_grid" or (ax.get_xlabel() and ax.get_ylabel())


@pytest.mark.parametrize("name", [*PLOTS, *PANELS])
def test_that_a_plot_without_axes_makes_a_figure_that_saves(name, tmp_path):
    figure = PANELS[name]() if name in PANELS else PLOTS[name]().figure
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_that_neither_settings_nor_pyplot_are_touched(tmp_path):
    before = dict(matplotlib.rcParams)
    for draw in (*PLOTS.values(), *PANELS.values()):
        draw()
    assert dict(matplotlib.rcParams) == before
    code = "import sys; from scoreda import plotting; plotting.save_gif(sys.argv[1], [1], lambda ax, k: ax.plot([k])); "
    code += "assert not {'matplotlib.pyplot', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.gif")], check=True)


def test_that_only_large_noise_makes_the_schedule_logarithmic():
    assert plotting.noise_schedule(T, 1 - T, T).get_yscale() == "linear"
    ax = plotting.noise_schedule(T, np.ones(11), 80 * T + 0.01)
    assert ax.get_yscale() == "log"
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], [np.ones(11), 80 * T + 0.01])


def test_that_a_potential_is_minus_the_log_of_the_density_and_shows_its_depth():
    ax = plotting.potentials(X, {"t": GAUSSIAN, "zero": np.where(X > 0, GAUSSIAN, 0)})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), X**2 / 2 + np.log(2 * np.pi) / 2)
    np.testing.assert_array_equal(np.isnan(ax.lines[1].get_ydata()), X <= 0)
    assert ax.get_ylim()[1] == pytest.approx(np.log(2 * np.pi) / 2 + 10)


def test_that_the_histogram_is_a_density_even_where_samples_lie_outside_the_picture():
    values = np.append(np.zeros(30), np.full(10, 99.0))
    ax = plotting.marginal_and_potential(values, X, GAUSSIAN)
    heights, edges, _ = ax.patches[0].get_data()
    assert (heights * np.diff(edges)).sum() == pytest.approx(0.75)
    (right,) = (other for other in ax.figure.axes if other is not ax)
    np.testing.assert_allclose(right.lines[0].get_ydata(), -np.log(GAUSSIAN))


def test_that_paths_run_to_the_right_whether_time_rises_or_falls():
    for times in (T, T[::-1]):
        ax = plotting.sample_paths(times, PATHS, shown=5, level=0.8)
        assert ax.get_xlim() == (times[0], times[-1])
        single, (mean, low, high) = ax.lines[:5], ax.lines[5:]
        np.testing.assert_array_equal([line.get_ydata() for line in single], PATHS[:5])
        np.testing.assert_allclose(mean.get_ydata(), PATHS.mean(0))
        expected = np.quantile(PATHS, [0.1, 0.9], axis=0)
        np.testing.assert_allclose([low.get_ydata(), high.get_ydata()], expected)


def test_that_arrows_point_along_the_score_and_carry_its_size():
    (arrows,) = plotting.score_quiver(score, SQUARE, points=5).collections
    x, y = arrows.get_offsets().T
    np.testing.assert_allclose(arrows.get_array(), np.hypot(x, 2 * y))
    np.testing.assert_allclose(arrows.U * -2 * y, arrows.V * -x, atol=1e-12)
    assert (arrows.U * x <= 0).all() and (arrows.V * y <= 0).all()
    assert np.hypot(arrows.U, arrows.V).max() < 1


def test_that_the_grey_areas_hold_the_stated_share_of_the_density():
    wide = (-6.0, 6.0, -6.0, 6.0)
    ax = plotting.scatter_over_density({"a": POINTS, "b": POINTS[:3]}, wide, density=bell)
    levels = ax.collections[0].levels[:-1]
    # the area where a standard Gaussian exceeds p = exp(-r^2/2) holds 1 - p
    np.testing.assert_allclose(1 - levels, [0.99, 0.9, 0.7, 0.4], atol=2e-3)
    np.testing.assert_array_equal(ax.collections[1].get_offsets(), POINTS)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_that_the_band_holds_the_samples_it_says():
    ax = plotting.spectrum_band(K, {"truth": ENERGY}, level=0.5)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), np.stack([K, ENERGY.mean(0)], axis=1))
    corners = ax.collections[0].get_paths()[0].vertices
    for j, wavenumber in enumerate(K):
        at_k = corners[corners[:, 0] == wavenumber, 1]
        assert (at_k.min(), at_k.max()) == pytest.approx(tuple(np.quantile(ENERGY[:, j], [0.25, 0.75])))


def test_that_the_travelling_wave_is_drawn_at_its_wavenumber_and_frequency():
    t, s = 0.1 * np.arange(40)[:, None], 2 * np.pi * np.arange(16) / 16
    wave = np.cos(3 * s - 2 * np.pi * 1.5 * t)  # 6 periods in 4 time units
    ax = plotting.frequency_wavenumber(*fields.frequency_wavenumber_spectrum(wave, 0.1))
    mesh = ax.collections[0]
    row, column = np.unravel_index(mesh.get_array().argmax(), mesh.get_array().shape)
    corner, opposite = mesh.get_coordinates()[row, column], mesh.get_coordinates()[row + 1, column + 1]
    np.testing.assert_allclose((corner + opposite) / 2, [3, 2 * np.pi * 1.5])
    low, high = mesh.get_clim()
    assert high - low == pytest.approx(4) and high == pytest.approx(np.log10(0.5 * 2 / 3))


def test_that_correlations_are_drawn_over_physical_lags():
    ax = plotting.correlation({"truth": [1.0, 0.5, 0.2]}, spacing=0.1)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0, 1], [0.1, 0.5], [0.2, 0.2]])
    lags, values = fields.space_time_correlation(WINDOWS, 3)
    mesh = plotting.correlation_map(lags, values, dt=0.5).collections[0]
    np.testing.assert_array_equal(mesh.get_array(), values.T)
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [-0.25, 0.25, 0.75, 1.25, 1.75])
    assert mesh.get_clim() == (-1, 1)


def test_that_both_rows_of_histograms_show_their_states_and_the_same_exact_density():
    forward, backward = PATHS[:2], PATHS[2:4] - 1
    densities = [lambda x: np.full_like(x, 0.1), lambda x: np.full_like(x, 0.2)]
    figure = plotting.histogram_panels((0.1, 0.9), forward, backward, (-9.0, 9.0), densities=densities, bins=6)
    for ax, values, height in zip(figure.axes, (*forward, *backward), (0.1, 0.2) * 2, strict=True):
        expected, edges = np.histogram(values, 6, range=(-9, 9), density=True)
        np.testing.assert_allclose(ax.patches[0].get_data()[0], expected)
        assert set(ax.lines[0].get_ydata()) == {height}
        assert ax.get_ylim()[1] >= expected.max()
    assert [ax.get_title() for ax in figure.axes[:2]] == ["$t$ = 0.1", "$t$ = 0.9"]


def test_that_windows_share_one_scale_which_is_that_of_the_last():
    figure = PANELS["hovmoeller_panels"]()
    *panels, bar = figure.axes
    assert [ax.get_title() for ax in panels] == list("01234")
    for ax, window in zip(panels, WINDOWS, strict=True):
        mesh = ax.collections[0]
        np.testing.assert_array_equal(mesh.get_array(), window.T)
        assert mesh.get_clim() == (WINDOWS[-1].min(), WINDOWS[-1].max())


def test_that_images_are_tiled_row_by_row_with_lines_between_them():
    sheet = plotting.image_grid(IMAGES, columns=5).images[0].get_array()
    assert sheet.shape == (2 * 4 - 1, 5 * 5 - 1)
    for k, image in enumerate(IMAGES):
        top, left = 4 * (k // 5), 5 * (k % 5)
        np.testing.assert_array_equal(sheet[top : top + 3, left : left + 4], image)
    assert np.isnan(np.ma.filled(sheet, np.nan)).sum() == sheet.size - IMAGES.size
    with pytest.raises(ScoredaError, match=r"got \(7, 1, 3, 4\).*one channel"):
        plotting.image_grid(IMAGES[:, None])


def test_that_a_moving_picture_has_every_frame_and_rests_on_the_last(tmp_path):
    seen = []
    path = plotting.save_gif(
        tmp_path / "run.gif", iter(range(3)), lambda ax, k: seen.append(k) or ax.plot([k, 1]), fps=4
    )
    assert seen == [0, 1, 2, 2, 2, 2, 2]
    with Image.open(path) as gif:
        assert gif.size == (480, 360)
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
    assert durations[:2] == [250, 250] and sum(durations) == 7 * 250
    with pytest.raises(ScoredaError, match="at least one state, got none"):
        plotting.save_gif(tmp_path / "none.gif", [], lambda ax, k: None)


def test_that_tensors_are_drawn_like_arrays():
    torch = pytest.importorskip("torch")
    t, x = torch.linspace(0, 1, 5), torch.linspace(-2, 2, 5)
    axes = [
        (plotting.noise_schedule(t, 1 - t, t), 0, 1 - t),
        (plotting.correlation({"a": 1 - t}), 0, 1 - t),
        (plotting.marginal_and_potential(x, x, torch.exp(-x)), 0, torch.exp(-x)),
    ]
    for ax, line, drawn in axes:
        np.testing.assert_array_equal(ax.lines[line].get_ydata(), drawn)
