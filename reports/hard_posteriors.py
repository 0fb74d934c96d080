"""The run behind hard_posteriors.qmd: NUTS, sequential Monte Carlo and bd.sample on the same hard posteriors.

Every target is one PyMC model, given to all three as it is. Those with a known answer are written as a broad normal
prior and a Potential that turns it into the target: PyMC's SMC starts from draws of a prior.
"""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from scipy.stats import kstest, norm

import bayesdiff as bd
from bayesdiff.results import check_target, save
from models import logistic
from reports.study import command_line, made_on

SAMPLERS = ("NUTS", "SMC", "bd.sample")
CHAINS = 4
KEPT = 2000  # draws that the page shows


class Target(NamedTuple):
    """A model, and what is known: a label for every draw, the labels' shares, log Z, and the law of one number."""

    model: Callable[[], pm.Model]
    label: Callable[[np.ndarray], np.ndarray] | None = None
    shares: np.ndarray | None = None
    log_z: float = np.nan
    law: Callable[[np.ndarray], float] | None = None

    def error(self, x: np.ndarray) -> float:
        """Total variation of the labels' shares, or the distance of the law of one number; x (chain, draw, n)."""
        every = x.reshape(-1, x.shape[-1])
        if self.law is not None:
            return self.law(every)
        if self.label is None or self.shares is None:
            return np.nan
        share = np.bincount(self.label(every), minlength=len(self.shares)) / len(every)
        return float(np.abs(share - self.shares).sum() / 2)


class Run(NamedTuple):
    """What a sampler gave: draws (chain, draw, n), log evidence and its error, evaluations, seconds, its warnings."""

    x: np.ndarray
    log_z: float
    se: float
    evaluations: float
    seconds: float
    said: list[str]


def broad(logp: Callable[[pt.TensorVariable], pt.TensorVariable], n: int, sd: float) -> pm.Model:
    """The density exp(logp) on n numbers, as N(0, sd^2) and a Potential."""
    with pm.Model() as model:
        x = pm.Normal("x", 0, sd, shape=n)
        prior = -0.5 * (x**2).sum() / sd**2 - n * np.log(sd * np.sqrt(2 * np.pi))
        pm.Potential("target", logp(x) - prior)
    return model


def mixture(weights: np.ndarray, means: np.ndarray, variance: float, sd: float) -> Target:
    """Normals of one variance, of which the nearest mean is a draw's label."""
    n = means.shape[1]

    def logp(x: pt.TensorVariable) -> pt.TensorVariable:
        square = ((x - means) ** 2).sum(axis=-1) / variance
        return pt.logsumexp(np.log(weights) - 0.5 * square) - 0.5 * n * np.log(2 * np.pi * variance)

    def label(x: np.ndarray) -> np.ndarray:
        return ((x[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)

    return Target(lambda: broad(logp, n, sd), label, weights, 0.0)


def eight() -> Target:
    """Eight normals on a circle."""
    angle = np.arange(8) * np.pi / 4
    return mixture(np.full(8, 1 / 8), 10 * np.stack([np.sin(angle), np.cos(angle)], axis=1), 0.7, 10.0)


def forty() -> Target:
    """Forty normals, strewn over a square."""
    means = np.random.default_rng(0).uniform(-40, 40, size=(40, 2))
    return mixture(np.full(40, 1 / 40), means, np.log1p(np.e) ** 2, 30.0)


def two(n: int) -> Target:
    """Two normals in n dimensions, one of twice the weight."""
    return mixture(np.array([2 / 3, 1 / 3]), np.stack([-np.ones(n), np.ones(n)]), 0.05, 1.5)


def funnel() -> Target:
    """Neal's funnel: v ~ N(0, 9), nine x_i ~ N(0, exp(v))."""

    def logp(x: pt.TensorVariable) -> pt.TensorVariable:
        v, rest = x[0], x[1:]
        return (
            -0.5 * v**2 / 9
            - 0.5 * np.log(2 * np.pi * 9)
            + (-0.5 * rest**2 * pt.exp(-v) - 0.5 * v - 0.5 * np.log(2 * np.pi)).sum()
        )

    return Target(
        lambda: broad(logp, 10, 5.0), log_z=0.0, law=lambda x: float(kstest(x[:, 0], norm(0, 3).cdf).statistic)
    )


def labels() -> Target:
    """Three normals fitted to data, without an order: every answer is there six times."""
    y = np.random.default_rng(1).normal(np.repeat([-4.0, 0.0, 4.0], 30), 1.0)

    def model() -> pm.Model:
        with pm.Model() as built:
            w = pm.Dirichlet("w", np.ones(3))
            mean = pm.Normal("mean", 0, 5, shape=3)
            sd = pm.HalfNormal("sd", 2, shape=3)
            pm.NormalMixture("y", w, mean, sd, observed=y)
        return built

    orders = {order: k for k, order in enumerate(permutations(range(3)))}

    def label(x: np.ndarray) -> np.ndarray:
        return np.array([orders[tuple(order)] for order in np.argsort(x[:, :3], axis=1).tolist()])

    return Target(model, label, np.full(6, 1 / 6))


TARGETS: dict[str, Callable[[], Target]] = {
    "eight normals": eight,
    "forty normals": forty,
    "two normals, n = 16": lambda: two(16),
    "two normals, n = 64": lambda: two(64),
    "funnel": funnel,
    "label switching": labels,
    "logistic regression": lambda: Target(logistic.prior),
}


def flat(tree: xr.DataTree) -> np.ndarray:
    """All draws of the posterior, (chain, draw, n): names sorted."""
    posterior = tree["posterior"].to_dataset()
    parts = [posterior[name].values for name in sorted(posterior.data_vars)]
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=2)


def by_nuts(model: pm.Model, draws: int, seed: int) -> tuple[np.ndarray, float, float, float]:
    """Draws, log evidence (none), its error, and evaluations of PyMC's own NUTS."""
    with model:
        tree = pm.sample(
            draws, tune=draws, chains=CHAINS, cores=1, nuts_sampler="pymc", progressbar=False, random_seed=seed
        )
    # Its warm-up takes as many steps again, more or less.
    return flat(tree), np.nan, np.nan, 2 * float(tree["sample_stats"]["n_steps"].sum())


def by_smc(model: pm.Model, draws: int, seed: int) -> tuple[np.ndarray, float, float, float]:
    """The same of pm.sample_smc; it does not count its evaluations."""
    with model:
        tree = pm.sample_smc(draws, chains=CHAINS, cores=1, progressbar=False, random_seed=seed)
    # One number for each chain, or one for each of its stages, of which the last counts: an array of objects.
    last = [float(np.ravel(one)[-1]) for one in tree["sample_stats"]["log_marginal_likelihood"].values]
    return flat(tree), float(np.mean(last)), float(np.std(last, ddof=1) / np.sqrt(CHAINS)), np.nan


def by_sample(model: pm.Model, draws: int, seed: int) -> tuple[np.ndarray, float, float, float]:
    """The same of bd.sample."""
    tree = bd.sample(model, draws=draws, chains=CHAINS, random_seed=seed, progressbar=False)
    group = tree["log_evidence"]
    return (
        flat(tree),
        float(group["log_evidence"]),
        float(group["log_evidence_se"]),
        float(tree["tempering"]["evaluations"]),
    )


RUNS = dict(zip(SAMPLERS, (by_nuts, by_smc, by_sample), strict=True))


def timed(run: Callable[..., Any], model: pm.Model, draws: int, seed: int) -> Run:
    """One sampler on one model, from the model to its draws."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = run(model, draws, seed)
    return Run(*found, time.perf_counter() - start, sorted({str(one.message) for one in caught}))


def study(
    out: str | Path, *, draws: int, seeds: Sequence[int], targets: Sequence[str], say: Callable[[str], None]
) -> xr.DataTree:
    """Make the run and save it."""
    begun = time.perf_counter()
    check_target(Path(out), overwrite=True)
    shape = (len(targets), len(SAMPLERS), len(seeds))
    names = ("error", "log_evidence", "log_evidence_se", "seconds", "evaluations")
    scores = {name: np.full(shape, np.nan) for name in names}
    groups, said = {}, []
    logging.getLogger("pymc").setLevel(logging.ERROR)
    for i, name in enumerate(targets):
        target = TARGETS[name]()
        for j, sampler in enumerate(SAMPLERS):
            for k, seed in enumerate(seeds):
                got = timed(RUNS[sampler], target.model(), draws, seed)
                if sampler == "bd.sample":
                    said += [f"{name}: {text}" for text in got.said]
                at = (i, j, k)
                measured = {
                    "error": target.error(got.x),
                    "log_evidence": got.log_z,
                    "log_evidence_se": got.se,
                    "seconds": got.seconds,
                    "evaluations": got.evaluations,
                }
                for score, value in measured.items():
                    scores[score][at] = value
                if k == 0:
                    every = got.x.reshape(-1, got.x.shape[-1])
                    some = every[:: max(1, len(every) // KEPT), :2]
                    groups[f"draws/{i}/{j}"] = xr.Dataset({"x": (("draw", "axis"), some)})
                say(
                    f"{name:20} {sampler:9} seed {seed}  {got.seconds:5.1f} s  error {measured['error']:.4f}  "
                    f"log Z {got.log_z:+.3f}"
                )
    exact = {"log_z": ("target", [TARGETS[name]().log_z for name in targets])}
    floor = [iid(TARGETS[name](), CHAINS * draws) for name in targets]
    groups["scores"] = xr.Dataset(
        {name: (("target", "sampler", "seed"), values) for name, values in scores.items()}
        | exact
        | {"floor": ("target", floor)},
        {"target": list(targets), "sampler": list(SAMPLERS), "seed": list(seeds)},
    )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = made_on(begun) | {"draws": draws, "chains": CHAINS, "said": said}
    save(tree, out, overwrite=True)
    return tree


def iid(target: Target, draws: int) -> float:
    """The error of the shares that as many independent draws have, on average."""
    if target.shares is None:
        return np.nan
    counts = np.random.default_rng(0).multinomial(draws, target.shares, size=400)
    return float((np.abs(counts / draws - target.shares).sum(axis=1) / 2).mean())


FULL = {"draws": 1000, "seeds": (1,), "targets": tuple(TARGETS)}
QUICK = {"draws": 200, "seeds": (1,), "targets": ("eight normals", "two normals, n = 16")}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    command_line(
        "hard_posteriors", study, QUICK, "two targets and few draws: a minute, to see that it runs", argv, FULL
    )


if __name__ == "__main__":
    main()
