"""Plots that compare methods draw the numbers they are given, in their order, whatever is missing."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from scoreda import plotting
from scoreda.plotting.style import COLOURS

RUNS = {"first": [0.2, 0.4, np.nan], "second": [np.nan], "third": [3.0]}
FALLING = np.array([[4.0, 2.0, 1.0], [6.0, 3.0, 1.5], [8.0, 4.0, np.nan]])


def curves():
    return {"a": (np.array([1.0, 2.0]), np.array([1.5, 2.5])), "b": (np.array([3.0]), np.array([3.0]))}


PLOTS = {
    "ranked": lambda ax=None: plotting.ranked(RUNS, ax, expected={"first": 0.25}),
    "level_dots": lambda ax=None: plotting.level_dots({"a": [0.5, 0.8], "b": [0.4, 0.95]}, (0.5, 0.9), ax),
    "trade_off": lambda ax=None: plotting.trade_off({"a": 10, "b": 1000}, {"a": (0.2, 0.01), "b": (0.3, np.nan)}, ax),
    "acquisition": lambda ax=None: plotting.acquisition(FALLING, ax),
    "spread_skill_curves": lambda ax=None: plotting.spread_skill_curves(curves(), ax),
    "error_spectra": lambda ax=None: plotting.error_spectra({"a": ([1.0, 0.5], [0.9, 0.4])}, ax),
}


@pytest.mark.parametrize("name", PLOTS)
def test_that_a_comparison_uses_the_axes_it_is_given_and_saves(name, tmp_path):
    ax = Figure().subplots()
    assert PLOTS[name](ax) is ax and ax.get_xlabel()
    PLOTS[name]().figure.savefig(tmp_path / "figure.png", dpi=20)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_that_methods_are_ranked_from_above_with_mean_error_and_expectation():
    ax = PLOTS["ranked"]()
    assert [label.get_text() for label in ax.get_yticklabels()] == list(RUNS) and ax.yaxis_inverted()
    bars = [container.lines[0].get_xydata()[0] for container in ax.containers]
    np.testing.assert_allclose(bars, [[0.3, 0], [3.0, 2]])  # nothing where no run has a score
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert (high - low) / 2 == pytest.approx(0.1)  # std of .2, .4 over sqrt 2
    diamond = next(line for line in ax.lines if line.get_marker() == "D")
    assert diamond.get_xdata() == 0.25 and ax.get_xscale() == "log"


def test_that_given_errors_take_the_place_of_the_scatter():
    ax = plotting.ranked({"a": [0.5]}, errors={"a": 0.02})
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert (high - low) / 2 == pytest.approx(0.02) and ax.get_xscale() == "linear"


def test_that_an_acquisition_curve_is_the_median_and_a_diverged_run_counts_as_worst():
    ax = plotting.acquisition(FALLING, reference=[5.0, 5.0, 5.0], level=0.4)
    reference, median, level = ax.lines
    assert median.get_ydata().tolist() == [6.0, 3.0, 1.5] and median.get_xdata().tolist() == [1, 2, 3]
    assert reference.get_ydata().tolist() == [5.0] * 3 and level.get_ydata()[0] == 0.4
    lost = plotting.acquisition(np.where(np.arange(3)[:, None] < 1, FALLING, np.nan))
    assert np.isinf(lost.lines[0].get_ydata()).all()


def test_that_marks_without_cost_or_score_are_left_out_and_colours_belong_to_names():
    x, y = {"a": 10.0, "b": np.nan, "c": 40.0}, {"a": (0.2, 0.01), "b": (0.3, 0.0), "c": (0.4, 0.0)}
    ax = plotting.trade_off(x, y, names=["a", "b", "c"])
    handles, labels = ax.get_legend_handles_labels()
    assert labels == ["a", "c"]
    assert to_hex(handles[1].lines[0].get_color()).upper() == COLOURS[2]


def test_that_the_diagonal_of_spread_and_skill_moves_no_limits():
    ax = PLOTS["spread_skill_curves"]()
    *curves_drawn, diagonal = ax.lines
    assert [line.get_label() for line in curves_drawn] == ["a", "b"]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert ax.get_xlim()[1] < 10 and ax.get_xscale() == ax.get_yscale() == "log"


def test_that_many_ranks_are_drawn_together_and_stay_flat():
    ax = plotting.rank_histogram(np.full(1001, 7))
    assert len(ax.patches) == 50
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], 1)
    assert ax.patches[-1].get_x() + ax.patches[-1].get_width() == pytest.approx(1000, abs=1)
