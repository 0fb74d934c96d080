"""The article, step by step: the run behind `article.qmd`.

python reports/article.py --out reports/article.zarr

r            the 100 o of the article's R script and what its optimize() made of them
hundred      the same o, inverted here by mode and by posterior
mixture      a prior whose higher mode has less mass, inverted both ways
points       labelled points, and the weights of the classifier f fitted to them
curves       f, the law of all pictures, and what one times the other is: the classifier's prior, on a grid
classifier   that prior, inverted both ways
chain        the mixture again, in 16 small steps, by draws and by modes
*_exact      the exact answers: closed forms, or a sum over a fine grid
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import norm

if not __package__:  # run as a file: the root of the repository is where its packages are
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bayesdiff as bd
from bayesdiff.results import dataset, tree
from models import gaussian, mixture
from reports.study import command_line, made_on

R_NUMBERS = Path(__file__).resolve().parents[1] / "tests" / "article_r.csv"
SIGMA = 10.0
SPLIT = 1.0  # the density of the mixture is lowest here, between its modes
SEED = 20261125
LEVELS = 16
FULL = {"mixed": 300, "cats": 100, "draws": 500, "particles": 250}
QUICK = {"mixed": 40, "cats": 30, "draws": 150, "particles": 50}

# Points on the line, as labelled data for a classifier: cats are of two kinds.
LABELLED = 400
CAT_MEANS, CAT_SD = np.array([-2.5, 1.5]), np.array([0.9, 0.35])
WIDTH = 1.0  # of the classifier's features
CENTRES = np.linspace(-5.0, 5.0, 11)
SPREAD = 3.0  # the sd of all pictures, cats or not
GRID = np.linspace(-12.0, 12.0, 4801)
STEP = GRID[1] - GRID[0]
CAT_SPLIT = 0.0  # between the two kinds


def r_numbers(path: Path = R_NUMBERS) -> xr.Dataset:
    """The o of the article's script and the maxima that R found for them: ``o``, ``map`` (observation)."""
    table = pd.read_csv(path, float_precision="round_trip")
    return dataset({name: table[name] for name in ("o", "map")}, dims={"o": ["observation"], "map": ["observation"]})


def features(x: np.ndarray) -> np.ndarray:
    """What the classifier sees of x (N,): a bump around each centre, and a constant (N, 12)."""
    bumps = np.exp(-0.5 * ((np.asarray(x)[:, None] - CENTRES) / WIDTH) ** 2)
    return np.concatenate([bumps, np.ones((len(bumps), 1))], axis=1)


def labelled_points(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points x and whether each is a cat: half of them are."""
    kind = rng.integers(2, size=LABELLED)
    cats = CAT_MEANS[kind] + CAT_SD[kind] * rng.normal(size=LABELLED)
    others = SPREAD * rng.normal(size=LABELLED)
    return np.concatenate([cats, others]), np.repeat([True, False], LABELLED)


def fit(x: np.ndarray, cat: np.ndarray, penalty: float = 0.1) -> np.ndarray:
    """Weights of a logistic regression on `features`, by least cross-entropy with a small penalty."""
    seen, sign = features(x), np.where(cat, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (seen @ weights)
        slope = -sign / (1 + np.exp(margin))
        cost = np.logaddexp(0, -margin).sum() + 0.5 * penalty * weights[:-1] @ weights[:-1]
        return cost, seen.T @ slope + penalty * np.append(weights[:-1], 0.0)

    return minimize(loss, np.zeros(seen.shape[1]), jac=True, method="BFGS").x


def log_f(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Log of what the classifier says: log P(cat | x), for x (N,)."""
    return -np.logaddexp(0, -(features(x) @ weights))


def cat_prior(weights: np.ndarray) -> pm.Model:
    """p0(x) ∝ f(x) N(x; 0, 3^2): `log_f` once more, in PyTensor, as a weight."""

    def weight(x):
        score = pt.sum(weights[:-1] * pt.exp(-0.5 * ((x - CENTRES) / WIDTH) ** 2)) + weights[-1]
        return -pt.softplus(-score)

    with pm.Model() as pictures:
        pm.Normal("x", 0.0, SPREAD)
    return bd.tilt(pictures, weight)


def log_cat_density(weights: np.ndarray) -> np.ndarray:
    """Log of f(x) N(x; 0, 3^2) on GRID, normalised there by a sum."""
    log_p = log_f(weights, GRID) + norm.logpdf(GRID, scale=SPREAD)
    return log_p - logsumexp(log_p) - np.log(STEP)


def log_mixture_density() -> np.ndarray:
    """Log density of the mixture on GRID."""
    return logsumexp(norm.logpdf(GRID[:, None], mixture.MEANS, np.sqrt(mixture.VARIANCES)), axis=1, b=mixture.WEIGHTS)


def by_grid(log_p0: np.ndarray, o: np.ndarray, split: float) -> xr.Dataset:
    """Mode (to the grid's step), mean and P(x > split) of p(x | o), by a sum over GRID: each (observation)."""
    log_p = log_p0 - 0.5 * ((np.asarray(o)[:, None] - GRID) / SIGMA) ** 2
    p = np.exp(log_p - logsumexp(log_p, axis=1, keepdims=True))
    answer = {"mode": GRID[log_p.argmax(axis=1)], "mean": p @ GRID, "above": p @ (split < GRID)}
    return dataset(answer, dims={name: ["observation"] for name in answer})


def cat_draws(weights: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of p0 of the cats, by its distribution function on the grid."""
    below = np.cumsum(np.exp(log_cat_density(weights)))
    return np.interp(rng.random(size) * below[-1], below, GRID + 0.5 * STEP)


def invert(prior: Any, o: np.ndarray, seed: int, **sampling: int) -> dict[str, xr.DataTree]:
    """Both inversions of a batch."""
    prior = bd.compile_prior(prior)
    step = {"sigma": SIGMA, "random_seed": seed, "progressbar": False}
    return {"map": bd.find_map(prior, o, **step), "posterior": bd.sample_posterior(prior, o, **step, **sampling)}


def study(
    out: str | Path | None = None,
    *,
    mixed: int,
    cats: int,
    draws: int,
    particles: int,
    seed: int = SEED,
    say: Callable[[str], None] = print,
) -> xr.DataTree:
    """Make the run, and save it."""
    begun = time.perf_counter()
    rng = np.random.default_rng(seed)
    sampling = {"draws": draws, "tune": draws}
    runs: dict[str, Any] = {"r": r_numbers()}

    def keep(name: str, trees: dict[str, xr.DataTree]) -> None:
        runs[name] = tree(trees)
        say(f"{name:10} {time.perf_counter() - begun:4.0f} s")

    o = runs["r"]["o"].values
    keep("hundred", invert(gaussian.prior(), o, seed, **sampling))
    answer = gaussian.exact(o, 1.0, SIGMA)
    exact = {"mean": answer["mean"], "sd": np.full(len(o), np.sqrt(answer["variance"]))}
    runs["hundred_exact"] = dataset(exact, dims={name: ["observation"] for name in exact})

    two = bd.compile_prior(mixture.prior())
    o = two.draws(mixed, rng)[:, 0] + SIGMA * rng.normal(size=mixed)
    keep("mixture", invert(two, o, seed, **sampling))
    runs["mixture_exact"] = by_grid(log_mixture_density(), o, SPLIT)

    x, cat = labelled_points(rng)
    weights = fit(x, cat)
    log_p0 = log_cat_density(weights)
    curves = {"f": np.exp(log_f(weights, GRID)), "pictures": norm.pdf(GRID, scale=SPREAD), "p0": np.exp(log_p0)}
    runs["curves"] = dataset(curves, dims={name: ["grid"] for name in curves}, coords={"grid": GRID})
    points = {"x": x, "cat": cat}
    runs["points"] = dataset(points, dims={name: ["point"] for name in points}, attrs={"weights": weights.tolist()})
    o = cat_draws(weights, cats, rng) + SIGMA * rng.normal(size=cats)
    # A prior with a weight cannot be drawn from, so its jumps are worse: more draws make up for it.
    keep("classifier", invert(cat_prior(weights), o, seed, draws=2 * draws, tune=2 * draws))
    runs["classifier_exact"] = by_grid(log_p0, o, CAT_SPLIT)

    schedule = bd.geometric(LEVELS, 0.1, 20.0)
    levels = bd.compile_prior(bd.gaussian_mixture(mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES, schedule))
    small = {"draws": particles, "path": True, "random_seed": seed, "progressbar": False}
    chains = {name: bd.reverse(levels, schedule, by, **small) for name, by in (("draws", bd.draw), ("modes", bd.mode))}
    keep("chain", chains)

    run = tree(
        runs,
        {
            "seed": seed,
            "sigma": SIGMA,
            "split": SPLIT,
            "spread": SPREAD,
            "cat_split": CAT_SPLIT,
            "above": float(mixture.WEIGHTS @ norm.sf(SPLIT, mixture.MEANS, np.sqrt(mixture.VARIANCES))),
            "mixture_sd": float(np.sqrt(mixture.exact(0.0, 1.0, 1e9)["variance"])),  # an o that says nothing
            "cats_above": float(STEP * np.exp(log_p0[GRID > CAT_SPLIT]).sum()),
            **made_on(begun),
        },
    )
    if out is not None:
        bd.save(run, out, overwrite=True)
    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    command_line("article", study, QUICK, "few observations and draws, to see that it runs", argv, FULL)


if __name__ == "__main__":
    main()
