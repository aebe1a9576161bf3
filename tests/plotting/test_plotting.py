"""Every plot draws the data it was given, on the axes it was given, and leaves no trace elsewhere."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from scoreda import plotting
from scoreda.errors import ScoredaError
from scoreda.verification import verify
from scoreda.verification.arrays import energy_spectrum


def field(**attrs):
    values = np.arange(12.0).reshape(3, 4)
    coords = {"time": ("time", [0.5, 1.0, 1.5], {"long_name": "model time (MTU)", "units": "1"}), "space": np.arange(4)}
    return xr.DataArray(values, coords, ("time", "space"), name="x", attrs=attrs)


def run_of(error, spread=0.5):
    cycles = len(error)
    truth = np.zeros((cycles, 4))
    pair = np.array([-1.0, 1.0]) * spread / np.sqrt(2)  # two members whose unbiased variance is spread^2
    analysis = np.asarray(error)[:, None, None] + pair[None, :, None] + truth[:, None]
    variables = {"truth": (("time", "space"), truth), "analysis": (("time", "member", "space"), analysis)}
    return xr.Dataset(variables, {"time": np.arange(1.0, cycles + 1)}, {"method": "letkf"})


STATES = {
    "model": np.random.default_rng(0).normal(size=(50, 8)),
    "prior": np.random.default_rng(1).normal(size=(60, 8)),
}
ROWS = [dict(step=100, loss=0.9, valid=0.8), dict(step=200, loss=0.5, valid=0.4)]
LAT_LON = xr.DataArray(np.arange(6.0).reshape(2, 3), {"lat": [10.0, 20.0], "lon": [0.0, 1.0, 2.0]}, ("lat", "lon"))
PLOTS = {
    "hovmoeller": lambda ax=None: plotting.hovmoeller(field(), ax),
    "map2d": lambda ax=None: plotting.map2d(LAT_LON, ax),
    "series": lambda ax=None: plotting.series(run_of(np.ones(5)), ax),
    "rank_histogram": lambda ax=None: plotting.rank_histogram([3, 1, 2], ax),
    "marginal": lambda ax=None: plotting.marginal(STATES, ax),
    "spectrum": lambda ax=None: plotting.spectrum(STATES, ax),
    "loss_curve": lambda ax=None: plotting.loss_curve(ROWS, ax),
}


@pytest.mark.parametrize("name", PLOTS)
def test_that_a_plot_uses_the_axes_it_is_given_and_labels_both(name):
    ax = Figure().subplots()
    assert PLOTS[name](ax) is ax
    assert ax.get_xlabel() and ax.get_ylabel()


@pytest.mark.parametrize("name", PLOTS)
def test_that_a_plot_without_axes_makes_a_figure_that_saves(name, tmp_path):
    PLOTS[name]().figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_that_no_plot_touches_the_global_settings():
    before = dict(matplotlib.rcParams)
    for draw in PLOTS.values():
        draw()
    assert dict(matplotlib.rcParams) == before


def test_that_plotting_never_loads_pyplot_and_scoreda_never_loads_matplotlib():
    code = "import sys, scoreda; assert 'matplotlib' not in sys.modules; import scoreda.plotting; "
    code += "scoreda.plotting.spectrum({'a': [[1.0, 2.0, 4.0]]}); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_that_time_runs_to_the_right_and_space_upwards_whatever_the_order_of_dimensions():
    for da in (field(), field().transpose("space", "time")):
        mesh = plotting.hovmoeller(da).collections[0]
        np.testing.assert_array_equal(mesh.get_array(), field().values.T)
        np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [0.25, 0.75, 1.25, 1.75])


def test_that_colours_of_errors_are_centred_on_zero():
    mesh = plotting.hovmoeller(field() - 3.0, centred=True).collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax
    assert mesh.norm.vmax == pytest.approx(np.quantile(np.abs(np.arange(12) - 3.0), 0.995))


def test_that_units_are_on_the_colour_bar_and_one_is_no_unit():
    labels = [plotting.hovmoeller(field(long_name="temperature", units=u)).figure.axes[1].get_ylabel() for u in "K1"]
    assert labels == ["temperature (K)", "temperature"]


def test_that_missing_values_and_fields_of_nothing_else_are_drawn():
    da = field()
    da[1, 2] = np.nan
    mask = np.zeros((4, 3), dtype=bool)
    mask[2, 1] = True
    np.testing.assert_array_equal(np.ma.getmaskarray(plotting.hovmoeller(da).collections[0].get_array()), mask)
    assert np.ma.getmaskarray(plotting.hovmoeller(da * np.nan).collections[0].get_array()).all()


def test_that_maps_put_longitude_to_the_right_in_either_order():
    marked = LAT_LON.assign_coords(lat=("lat", [10.0, 20.0], {"units": "degrees_north"}))
    for da in (LAT_LON, marked, marked.transpose("lon", "lat")):
        ax = plotting.map2d(da)
        np.testing.assert_array_equal(ax.collections[0].get_array(), LAT_LON.values)
        assert ax.get_aspect() == pytest.approx(1 / np.cos(np.deg2rad(15)))


def test_that_fields_of_three_dimensions_are_refused_with_the_fix():
    cube = field().expand_dims(member=2)
    with pytest.raises(ScoredaError, match=r"got \('member', 'time', 'space'\).*Select a member"):
        plotting.hovmoeller(cube)
    with pytest.raises(ScoredaError, match=r"isel\(time=0\)"):
        plotting.map2d(cube)


def test_that_series_draws_rmse_and_spread_of_a_run_and_of_its_scores():
    run = run_of([3.0, 2.0, 4.0])
    for data in (run, verify(run)):
        rmse, spread = plotting.series(data).lines
        np.testing.assert_allclose(rmse.get_ydata(), [3, 2, 4])
        np.testing.assert_allclose(spread.get_ydata(), 0.5)
        np.testing.assert_array_equal(rmse.get_xdata(), [1, 2, 3])
        assert rmse.get_label() == "letkf"


def test_that_smoothing_is_a_running_mean_over_cycles():
    rmse = plotting.series(run_of([3.0, 2.0, 4.0, 6.0]), smooth=2).lines[0]
    np.testing.assert_allclose(rmse.get_xydata(), [[1.5, 2.5], [2.5, 3.0], [3.5, 5.0]])


def test_that_each_method_takes_the_next_colour():
    ax = plotting.series(run_of(np.ones(3)), label="a")
    plotting.series(run_of(np.ones(3)), ax, label="b")
    colours = [line.get_color() for line in ax.lines]
    assert colours == [plotting.colour(0)] * 2 + [plotting.colour(1)] * 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_that_only_an_rmse_that_falls_by_a_decade_makes_the_axis_logarithmic():
    assert plotting.series(run_of([4.0, 1.0, 0.2])).get_yscale() == "log"
    assert plotting.series(run_of([4.0, 1.0, 0.5])).get_yscale() == "linear"
    assert plotting.series(run_of([4.0, 1.0, 0.2]), log=False).get_yscale() == "linear"


def test_that_a_diverged_run_ends_in_a_cross():
    ax = plotting.series(run_of([1.0, 2.0, 5.0, np.nan, np.nan]))
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[3, 5]])
    assert not plotting.series(run_of([1.0, 2.0])).collections


def test_that_rank_frequencies_are_relative_to_flat():
    assert [bar.get_height() for bar in plotting.rank_histogram([3, 1, 2]).patches] == [1.5, 0.5, 1.0]


def test_that_marginals_share_their_bins_and_are_densities():
    for stairs in plotting.marginal(STATES, bins=30).patches:
        values, edges, _ = stairs.get_data()
        assert (values * np.diff(edges)).sum() == pytest.approx(1)
        assert (edges[0], edges[-1]) == (min(map(np.min, STATES.values())), max(map(np.max, STATES.values())))


def test_that_the_spectrum_is_the_energy_of_each_wavenumber():
    ax = plotting.spectrum(STATES)
    for line, states in zip(ax.lines, STATES.values(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), energy_spectrum(states))
        assert line.get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert ax.get_yscale() == "log"


def test_that_the_loss_curve_shows_both_losses():
    training, validation = plotting.loss_curve(ROWS).lines
    assert training.get_xydata().tolist() == [[100, 0.9], [200, 0.5]]
    assert validation.get_xydata().tolist() == [[100, 0.8], [200, 0.4]]


def test_that_seven_lines_have_seven_colours_and_the_eighth_repeats():
    assert len({plotting.colour(k) for k in range(7)}) == 7 and plotting.colour(7) == plotting.colour(0)
