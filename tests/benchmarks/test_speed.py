"""Speed, on demand: `make bench`. Both sides of a ratio run in this process, on the same work; times are medians.

Imports are not counted, except where importing is what is measured.
"""

import subprocess
import sys
import time

import exact
import numpy as np
import nutpie
import pymc as pm
import pytest
from scipy.optimize import minimize_scalar

import bayesdiff as bd

pytestmark = pytest.mark.bench

MILLION = 1_000_000
PLANE = exact.mixture([0.4, 0.3, 0.2, 0.1], [[-2, -2], [-2, 2], [2, -2], [2, 2]], [0.25 * np.eye(2)] * 4)
R_MICROSECONDS = 29.4  # R 4.2.2's optimize, one step of the article; not measured here


def article():
    with pm.Model() as model:
        pm.Normal("x", 0, 1)
    return model


def plane():
    return bd.gaussian_mixture(PLANE.weights, PLANE.means, PLANE.covariances)


def timed(function, repeat=1):
    """Median seconds, and the last result."""
    seconds = []
    for _ in range(repeat):
        begun = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds)), result


def test_a_million_modes_of_the_article(benchmark, report):
    o = np.random.default_rng(0).normal(0, np.sqrt(101), size=MILLION)

    def invert(prior):
        return bd.find_map(prior, o, sigma=10, random_seed=1, progressbar=False)

    bd.find_map(article(), o[:1], sigma=10, random_seed=1, progressbar=False)  # PyTensor and JAX wake up: imports
    first, _ = timed(lambda: invert(article()))
    report("article, 10^6 MAP, first call", f"{first:.2f} s", "4 s", first <= 4)
    prior = bd.compile_prior(article())
    tree = invert(prior)
    np.testing.assert_allclose(tree["posterior"]["x"].values[0, 0], o / 101, rtol=1e-9)
    benchmark.pedantic(invert, args=(prior,), rounds=7, warmup_rounds=2)
    warm = benchmark.stats["median"]
    report("article, 10^6 MAP, warm, each", f"{warm:.3f} us", "0.2 us", warm <= 0.2)

    def one_by_one():
        for value in o[:200]:
            minimize_scalar(
                lambda x, value=value: 0.5 * x**2 + 0.5 * ((value - x) / 10) ** 2, bounds=(-10, 10), method="bounded"
            )

    scipy, _ = timed(one_by_one, 5)
    report("  against scipy's bounded Brent, one by one", f"{scipy / 200 * 1e6 / warm:.0f} x", "", True)
    report("  against R's optimize (its time, not run here)", f"{R_MICROSECONDS / warm:.0f} x", "", True)


def test_a_million_modes_of_a_mixture(report):
    o = np.random.default_rng(0).normal(0, 8, size=(MILLION, 2))
    prior = bd.compile_prior(plane())
    for sigma in (1.0, 8.0):
        seconds, tree = timed(lambda: bd.find_map(prior, o, sigma=sigma, random_seed=1, progressbar=False), 2)  # noqa: B023
        assert tree["sample_stats"]["converged"].values.all()
        report(f"2-d mixture, 10^6 MAP, sigma = {sigma:g}, each", f"{seconds:.2f} us", "10 us", seconds <= 10)
    # The peak of a process that does nothing else.
    alone = (
        "import resource, numpy as np, bayesdiff as bd\n"
        "prior = bd.gaussian_mixture([.4, .3, .2, .1], [[-2., -2.], [-2., 2.], [2., -2.], [2., 2.]], .25)\n"
        "o = np.random.default_rng(0).normal(0, 8, size=(1_000_000, 2))\n"
        "tree = bd.find_map(prior, o, sigma=8, random_seed=1, progressbar=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)\n"
    )
    memory = float(subprocess.run([sys.executable, "-c", alone], check=True, capture_output=True, text=True).stdout)
    report("  memory of the process, at most", f"{memory:.2f} GB", "2 GB", memory <= 2)


def shares(x):
    """The mean share of each mode (observation, m) in draws x (chain, draw, observation, n)."""
    square = ((x[..., None, :] - PLANE.means) ** 2).sum(axis=-1)
    log_share = np.log(PLANE.weights) - 0.5 * square / 0.25
    share = np.exp(log_share - log_share.max(axis=-1, keepdims=True))
    return (share / share.sum(axis=-1, keepdims=True)).mean(axis=(0, 1))


def effective(x):
    """Effective draws of each observation: the least over coordinates, of x and its squared deviation."""
    from arviz_stats.base import array_stats

    both = np.concatenate([x, (x - x.mean(axis=(0, 1))) ** 2], axis=-1)
    ess = array_stats.ess(both, method="mean", chain_axis=0, draw_axis=1)
    return np.nan_to_num(ess).min(axis=-1)


@pytest.mark.parametrize("sigma", [1.0, 8.0])
def test_effective_draws_a_second(sigma, report):
    """1,000 observations, 4 chains of 500 draws; nutpie, compiled once, on 100 of them: it runs one by one anyway."""
    few, many = 100, 1000
    rng = np.random.default_rng(2)
    x = exact.mixture_draws(PLANE, many, rng)
    o = x + sigma * rng.normal(size=x.shape)
    truth = np.array([exact.mixture_posterior(PLANE, row, 1.0, sigma)[0].weights for row in o])

    prior = bd.compile_prior(plane())

    def ours():
        tree = bd.sample_posterior(
            prior, o, sigma=sigma, draws=500, tune=500, chains=4, random_seed=3, progressbar=False
        )
        return tree["posterior"]["x"].values

    ours()
    our_seconds, our_draws = timed(ours, 3)

    compiled = nutpie.compile_pymc_model(bd.step_model(plane(), o[0], sigma=sigma))

    def theirs():
        draws = []
        for row in o[:few]:
            data = compiled.with_data(**{"step::o": row})
            draws.append(nutpie.sample(data, draws=500, tune=300, chains=4, cores=2, seed=4, progress_bar=False))
        return np.stack([tree["posterior"]["x"].values for tree in draws], axis=2)

    their_seconds, their_draws = timed(theirs)
    ours_rate = effective(our_draws).sum() / our_seconds
    theirs_rate = effective(their_draws).sum() / their_seconds
    our_error = np.abs(shares(our_draws) - truth).mean()
    their_error = np.abs(shares(their_draws) - truth[:few]).mean()
    name = f"posterior of 1,000 observations, sigma = {sigma:g}"
    ratio = ours_rate / theirs_rate
    report(f"{name}: effective draws a second", f"{ours_rate:,.0f}", "", True)
    report("  against a nutpie loop, compiled once", f"{ratio:.0f} x", "20 x", ratio >= 20)
    report("  mean error of the mode shares", f"{our_error:.4f}", "0.015", our_error <= 0.015)
    report("  nutpie's (for comparison)", f"{their_error:.4f}", "", True)


def command(*arguments):
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def test_imports(report):
    bare, _ = timed(command("-c", "pass"), 7)
    imported, _ = timed(command("-c", "import bayesdiff"), 7)
    report("import bayesdiff", f"{imported - bare:.3f} s", "0.2 s", imported - bare <= 0.2)
    helped, _ = timed(command("-m", "bayesdiff.cli", "--help"), 7)
    report("bayesdiff --help", f"{helped:.3f} s", "0.3 s", helped <= 0.3)


def test_demo(report, tmp_path):
    files = ["models/gaussian.py", "models/mixture.py"]
    seconds, _ = timed(command("-m", "bayesdiff.cli", "demo", *files, "--out", str(tmp_path / "demo")))
    report("bayesdiff demo", f"{seconds:.0f} s", "60 s", seconds <= 60)
