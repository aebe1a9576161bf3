"""Your own data, model and observations: monthly sea-surface temperature of the equatorial Pacific.

    make sst                                # fetches the file, trains the prior, runs this script
    python docs/examples/sst.py --draws 1   # the script alone, one draw of the observations

Twelve months are withheld. Of each, a tenth of the points is observed with errors of 0.5 K, and every method
reconstructs the field from them month by month. Scores are taken at the points that were not observed.

What is yours here: `read_months` (data), `damped_persistence` (model) and `observe` (observations). A state
is the whole field, ordered by longitude, then latitude: the band is ten degrees wide and a hundred long, so that
distance along the state is distance in longitude, and the one-dimensional localisation of the filters applies.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from sst_report import hovmoellers, maps, markdown, table, write_page

from scoreda.assimilation import CoupledScoreFilter, FreeRun, OptimalInterpolation, StochasticEnKF, assimilate
from scoreda.assimilation.localisation import gaspari_cohn
from scoreda.datasets import AnnualCycle, Climatology, read_field, twin_dataset
from scoreda.diffusion import Denoiser, HeunSampler, Prior, load_prior, noise
from scoreda.experiments.config import Training, load_config, resolved
from scoreda.experiments.scores import write_rows
from scoreda.models import UserModel
from scoreda.observations import GaussianError, Identity, Network
from scoreda.verification import arrays

MONTHS, FRACTION, OBS_STD = 12, 0.1, 0.5
DRAWN = ("OI", "score filter")
SHOWN = 2  # the month on the map: December 2009, the height of an El Nino

# Half-widths of the covariance taper in longitude and latitude, grid points. docs/sst.md tells what was tuned and how.
TAPER = (72.0, 15.0)
RADIUS = 72.0  # of the score filter, longitudes
RADIUS_ENKF = 36.0

Run = Callable[["Archive", xr.Dataset, np.random.Generator], np.ndarray]


# --- the data -------------------------------------------------------------------------------------------------------


def read_months(settings: Mapping[str, Any]) -> tuple[xr.DataArray, int]:
    """Return anomalies `(time, longitude, latitude)` of all months, and how many of them are for training.

    The annual cycle is that of the training months alone.
    """
    data = settings["data"]
    cuts = {dim: bounds for dim, bounds in data["select"].items() if dim != "time"}
    field = read_field(data["file"], data["variable"], cuts).transpose("time", "longitude", "latitude")
    train = data["select"]["time"][1]
    cycle = AnnualCycle.of(field.isel(time=slice(train)), data["harmonics"])
    return cycle.anomalies(field).astype(np.float64), train


@dataclass(frozen=True)
class Archive:
    """What every method may learn from: the training months, `(months, longitude, latitude)`, in K."""

    months: np.ndarray

    @property
    def states(self) -> np.ndarray:
        """The months as states `(months, Nx)`."""
        return self.months.reshape(len(self.months), -1)

    @cached_property
    def persistence(self) -> float:
        """The share of an anomaly that is still there a month later, by regression over all points."""
        before, after = self.states[:-1], self.states[1:]
        return float((before * after).sum() / (before**2).sum())

    @cached_property
    def climate(self) -> Climatology:
        """Zero mean and the covariance of the months, tapered: 42 months cannot tell the correlation of far points."""
        places = np.indices(self.months.shape[1:]).reshape(2, -1)
        tapers = [gaspari_cohn(np.abs(x[:, None] - x) / width) for x, width in zip(places, TAPER, strict=True)]
        return gaussian_climate(tapers[0] * tapers[1] * (self.states.T @ self.states) / len(self.months))

    @cached_property
    def climate_of_rows(self) -> Climatology:
        """The same if latitudes knew nothing of each other: every row of longitudes is a sample, as for the prior."""
        return gaussian_climate(np.kron(self.covariance_of_rows, np.eye(self.months.shape[2])))

    @property
    def covariance_of_rows(self) -> np.ndarray:
        """Covariance of longitudes, every latitude of every month a sample."""
        rows = rows_of(self.states, self.months.shape[2])
        return rows.T @ rows / len(rows)

    @cached_property
    def homogeneous_rows(self) -> Climatology:
        """Rows whose covariance depends on distance alone: the Gaussian part of a convolutional prior."""
        rows = rows_of(self.states, self.months.shape[2])
        lags = np.mean([np.correlate(row, row, "full")[len(row) - 1 :] for row in rows], axis=0) / rows.shape[1]
        distance = np.abs(np.subtract.outer(np.arange(rows.shape[1]), np.arange(rows.shape[1])))
        return gaussian_climate(np.kron(lags[distance], np.eye(self.months.shape[2])))


def gaussian_climate(cov: np.ndarray, samples: int = 500) -> Climatology:
    """Return the climatology of N(0, cov), with `samples` states drawn from it by a fixed seed."""
    draws = np.random.default_rng(0).normal(size=(samples, len(cov))) @ root_of(cov).T
    return Climatology(np.zeros(len(cov)), cov, draws)


def root_of(cov: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor of a covariance that may be singular."""
    return np.linalg.cholesky(cov + 1e-6 * cov.diagonal().mean() * np.eye(len(cov)))


def rows_of(E: np.ndarray, latitudes: int) -> np.ndarray:
    """Return states `(N, Nx)` as rows of longitudes `(N latitudes, longitudes)`."""
    longitudes = E.shape[1] // latitudes
    return E.reshape(-1, longitudes, latitudes).swapaxes(1, 2).reshape(-1, longitudes)


def states_of(rows: np.ndarray, latitudes: int) -> np.ndarray:
    """Invert `rows_of`."""
    return rows.reshape(-1, latitudes, rows.shape[1]).swapaxes(1, 2).reshape(len(rows) // latitudes, -1)


# --- the model and the observations ---------------------------------------------------------------------------------


def damped_persistence(archive: Archive, rng: np.random.Generator) -> UserModel:
    """Return x' = a x + sqrt(1 - a^2) times a draw of the climate: it forgets as fast as the archive does.

    Without the draws every ensemble would shrink. They come from `rng`, which the model keeps: a run is repeated by
    making the model again, not by stepping it again.
    """
    a, climate = archive.persistence, archive.climate
    root = np.linalg.cholesky(
        climate.cov + 1e-6 * np.trace(climate.cov) / len(climate.mean) * np.eye(len(climate.mean))
    )

    def step(E: np.ndarray) -> np.ndarray:
        return a * E + np.sqrt(1 - a**2) * rng.normal(size=E.shape) @ root.T

    return UserModel(step, size=len(root), dt=1.0, name="damped persistence")


def observe(truth: np.ndarray, rng: np.random.Generator) -> xr.Dataset:
    """Observe a tenth of the points of every month of `truth` `(months, Nx)`, at random; the others are NaN."""
    months, Nx = truth.shape
    obs = np.full_like(truth, np.nan)
    for k in range(months):
        sites = rng.choice(Nx, round(FRACTION * Nx), replace=False)
        obs[k, sites] = truth[k, sites] + OBS_STD * rng.normal(size=len(sites))
    network = Network(Identity(Nx), GaussianError(OBS_STD**2, Nx), interval=1.0)
    unknown = UserModel(lambda E: E, Nx)  # nobody knows the model of these data
    return twin_dataset(unknown, network, np.arange(1.0, months + 1), obs, truth)


# --- the methods ----------------------------------------------------------------------------------------------------


class PriorOfRows:
    """The learned prior of rows, for fields: every latitude is denoised by itself."""

    def __init__(self, prior: Prior, latitudes: int) -> None:
        self.prior, self.latitudes = prior, latitudes

    def denoise(self, E: np.ndarray, sigma: float) -> np.ndarray:
        """Return E[x | x + sigma eps = E] for fields `(N, Nx)`."""
        return states_of(self.prior.denoise(rows_of(E, self.latitudes), sigma), self.latitudes)


def cycled(make: Callable[[UserModel], Any], members: int) -> Run:
    """Return the run of a method that carries its ensemble from month to month, from the climate at the start."""

    def run(archive: Archive, twin: xr.Dataset, rng: np.random.Generator) -> np.ndarray:
        method = make(damped_persistence(archive, rng))
        start = archive.climate.states[rng.choice(len(archive.climate.states), members, replace=False)]
        return assimilate(twin, method, start, rng)["analysis"].values

    return run


class GaussianMoments:
    r"""The learned denoiser, guided with the covariance that x given x_t has for a Gaussian climate C.

    $$ \hat x_y = \hat x + V_s H^\top (R + H V_s H^\top)^{-1} (y - H \hat x), \quad V_s = (C^{-1} + s^{-2})^{-1} $$

    A guidance of one's own is a denoiser that wraps a denoiser. `MomentMatching` takes $V_s$ from the network's
    Jacobian, which is better if the network is good. This one saw 36 months: at strong noise its Jacobian is far from
    symmetric and has negative eigenvalues, so that it is no covariance, and samples run away.

    Args:
        denoiser: Of rows `(B, 1, L)`.
        cov: C, `(L, L)`, normalised units.
        y: Observations `(B, L)`, NaN where there is none.
        R: Their error variance, normalised units.
    """

    def __init__(self, denoiser: Denoiser, cov: torch.Tensor, y: torch.Tensor, R: float) -> None:
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.seen, self.y, self.R = torch.isfinite(y).to(y), y.nan_to_num(), R
        self.w, self.Q = torch.linalg.eigh(cov)

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return E[x | x_t, y] of `x_t` `(B, 1, L)`; a site that was not seen has a zero row in H."""
        x_hat, s = self.denoiser(x_t, t), self.schedule.sigma(t) / self.schedule.alpha(t)
        V = (self.Q * (self.w * s**2 / (self.w + s**2))) @ self.Q.T
        HVH = self.seen[:, :, None] * V * self.seen[:, None, :]
        S = HVH + torch.diag_embed(torch.where(self.seen > 0, self.R, 1.0))
        return x_hat + (torch.linalg.solve(S, self.seen * (self.y - x_hat[:, 0])) @ V)[:, None]


def sampled_rows(prior: Prior, members: int, steps: int = 12) -> Run:
    """Return the run that draws from the learned prior given the observations, every row of every month by itself."""

    def run(archive: Archive, twin: xr.Dataset, rng: np.random.Generator) -> np.ndarray:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        latitudes, std = archive.months.shape[2], prior.normaliser.std
        cov = torch.as_tensor(archive.covariance_of_rows / std**2, dtype=torch.float32)

        def draw(values: np.ndarray) -> np.ndarray:
            y = prior.tensor(np.tile(rows_of(values[None], latitudes), (members, 1)))
            guided = GaussianMoments(prior.denoiser, cov, y[:, 0], (OBS_STD / std) ** 2)
            rows = HeunSampler(guided, steps)(noise(tuple(y.shape), guided, generator))
            return states_of(prior.array(rows), latitudes)

        return np.stack([draw(values) for values in twin["obs"].values])

    return run


def methods(archive: Archive, prior: Prior) -> dict[str, Run]:
    """Return every method by the name it has in the table."""
    latitudes = archive.months.shape[2]
    coupled: dict[str, Any] = dict(radius=RADIUS * latitudes, steps=3, periodic=False)
    learned = dict(prior=PriorOfRows(prior, latitudes), climatology=archive.homogeneous_rows)
    return {
        "nothing observed": cycled(FreeRun, 200),
        "OI, rows apart": cycled(lambda model: OptimalInterpolation(model, archive.climate_of_rows), 200),
        "learned prior, rows apart": sampled_rows(prior, 40),
        "OI": cycled(lambda model: OptimalInterpolation(model, archive.climate), 200),
        "EnKF": cycled(StochasticEnKF, 200),
        "EnKF, more members": cycled(StochasticEnKF, 500),
        "EnKF, localised": cycled(
            lambda model: StochasticEnKF(model, radius=RADIUS_ENKF * latitudes, periodic=False), 200
        ),
        "score filter, Gaussian part": cycled(lambda model: CoupledScoreFilter(model, **coupled), 200),
        "score filter": cycled(lambda model: CoupledScoreFilter(model, **coupled, **learned), 200),
    }


# --- the scores -----------------------------------------------------------------------------------------------------


def scores(analysis: np.ndarray, twin: xr.Dataset) -> dict[str, float]:
    """Return the scores at the points that were not observed, each the mean over the months."""
    hidden = np.isnan(twin["obs"].values)
    months = [(E[:, where], x[where]) for E, x, where in zip(analysis, twin["truth"].values, hidden, strict=True)]
    parts = {
        "rmse": [arrays.rmse(E, x) for E, x in months],
        "crps": [arrays.crps(E, x) for E, x in months],
        "spread": [arrays.spread(E) for E, _ in months],
        "coverage90": [arrays.coverage(E, x, 0.9) for E, x in months],
    }
    return {name: float(np.mean(values)) for name, values in parts.items()}


def compare(
    found: Mapping[str, Run], archive: Archive, truth: np.ndarray, draws: int
) -> Iterator[tuple[dict[str, Any], xr.Dataset, np.ndarray]]:
    """Yield scores, twin and analysis of every method on every draw; all methods see the same observations."""
    for draw in range(draws):
        of_obs, of_methods = np.random.SeedSequence(draw).spawn(2)
        twin = observe(truth, np.random.default_rng(of_obs))
        for name, run in found.items():
            analysis = run(archive, twin, np.random.default_rng(of_methods))
            yield dict(method=name, draw=draw, members=analysis.shape[1]) | scores(analysis, twin), twin, analysis


def denoising(archive: Archive, prior: Prior, months: np.ndarray) -> Iterator[tuple[float, float, float]]:
    """Yield noise (K), and the RMSE with which the prior and the Gaussian of rows denoise rows of `months`."""
    rows, C = rows_of(months, archive.months.shape[2]), archive.covariance_of_rows
    for std in (0.25, 0.5, 1.0, 2.0, 4.0):
        noisy = rows + std * np.random.default_rng(1).normal(size=rows.shape)
        gaussian = np.linalg.solve(C + std**2 * np.eye(len(C)), C @ noisy.T).T
        yield std, *(float(np.sqrt(((x - rows) ** 2).mean())) for x in (prior.denoise(noisy, std), gaussian))


def main(out: Path, config: Path, draws: int) -> None:
    """Run the comparison; `scores.csv`, figures and `report.html` go to `out`, which holds the trained `prior`."""
    prior = load_prior(out / "prior")
    field, train = read_months(resolved(load_config(Training, config)))
    archive = Archive(field.values[:train])
    withheld = field.isel(time=slice(train, train + MONTHS)).assign_attrs(units="K", long_name="anomaly")
    truth = withheld.values.reshape(withheld.sizes["time"], -1)
    for values in denoising(archive, prior, truth):
        print("denoising rows with noise {:.2f} K: prior {:.3f} K, Gaussian {:.3f} K".format(*values))
    rows, means, obs = [], {}, truth
    for row, twin, analysis in compare(methods(archive, prior), archive, truth, draws):
        print("draw {draw}: {method:28} RMSE {rmse:.3f} K, CRPS {crps:.3f} K".format(**row), flush=True)
        rows.append(row)
        if row["draw"] == 0 and row["method"] in DRAWN:
            obs, means[row["method"]] = twin["obs"].values, analysis.mean(1)
    write_rows(out / "scores.csv", list(rows[0]), rows)
    month, at = withheld.isel(time=SHOWN, drop=True), {name: mean[SHOWN] for name, mean in means.items()}
    figures = {
        f"{str(withheld['time'].values[SHOWN])[:7]}, first draw; means of the ensembles.": maps(month, obs[SHOWN], at),
        "The withheld months, first draw.": hovmoellers(withheld, means),
    }
    for name, fig in zip(("map.png", "hovmoeller.png"), figures.values(), strict=True):
        fig.savefig(out / name, dpi=90)
    write_page(out / "report.html", (__doc__ or "").split("\n\n")[2], table(rows), figures)
    print(markdown(table(rows)), f"report: {out / 'report.html'}", sep="\n\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/sst"), help="where the trained prior is, in `prior`")
    parser.add_argument("--config", type=Path, default=Path("configs/sst.yaml"))
    parser.add_argument("--draws", type=int, default=5, help="draws of the observed points and of their errors")
    given = parser.parse_args()
    main(given.out, given.config, given.draws)
