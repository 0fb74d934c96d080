"""Is a posterior what it says it is? Ranks of true x for every model that can be drawn: the run of `calibration.qmd`.

    python reports/calibration.py --out reports/calibration.zarr

controls   x ~ N(0, 1), inverted in closed form: exactly, too wide, too narrow, too low, and without a look at o
steps      six models of models/, one step each: by draws, by the mode, by a Laplace draw
seeds      the same draws again, by many seeds: how often they pass, all seeds together
chains     three of them as level priors, in small steps: by draws and by modes, in both forms
refused    the models that cannot be drawn, and what `bd.calibrate` says of each
"""

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

if not __package__:  # run as a file: the root of the repository is where its packages are
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bayesdiff as bd
from bayesdiff.results import dataset, tree
from models import (
    eight_gaussians,
    eight_schools,
    forty_gaussians,
    funnel,
    gaussian,
    label_switching,
    linear_inverse,
    logistic,
    mixture,
    rings,
    sensor_localization,
    two_modes,
)
from reports.study import command_line, made_on

SEED = 20261126
DRAWS = 19  # of each o: what is seen depends on the replicates far more
STEPS = {  # each model, and a noise about as wide as p0 or its parts: there the inversion is hardest
    "gaussian": (gaussian, 2.0),
    "mixture": (mixture, 3.0),
    "eight_gaussians": (eight_gaussians, 5.0),
    "two_modes": (two_modes, 8.0),
    "forty_gaussians": (forty_gaussians, 10.0),
    "funnel": (funnel, 1.0),
}
INVERTERS = {"draw": bd.draw, "mode": bd.mode, "laplace": bd.laplace}
LEVELS = 8
CHAINS = {  # weights, means and variances, and the noise of levels 1 and K
    "mixture": (mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES, (0.1, 3.0)),
    "gaussian": (np.ones(1), np.zeros(1), 1.0, (0.3, 2.0)),
    "eight_gaussians": (np.full(8, 1 / 8), eight_gaussians.MEANS, eight_gaussians.VARIANCE, (0.3, 8.0)),
}
REFUSED = {
    "eight_schools": eight_schools,
    "label_switching": label_switching,
    "linear_inverse": linear_inverse,
    "logistic": logistic,
    "rings": rings,
    "sensor_localization": sensor_localization,
}
FORMULA = 1000  # replicates where the inverter is a formula, and costs nothing
TOGETHER = 0.99  # the probability that right draws pass by all seeds of a model


def by_formula(prior, o, alpha, sigma, *, start=None, random_seed=None, width=1.0, shift=0.0):
    """Draws for x ~ N(0, 1): N(mean + shift sd, (width sd)^2), with the mean and sd of p(x | o)."""
    total = alpha**2 + sigma**2
    sd = sigma / np.sqrt(total)
    return alpha * o / total + sd * (shift + width * np.random.default_rng(random_seed).normal(size=o.shape)), {}


def without_o(prior, o, alpha, sigma, *, start=None, random_seed=None):
    """Draws of p0, whatever o is."""
    return np.random.default_rng(random_seed).normal(size=o.shape), {}


CONTROLS = {
    "exact": by_formula,
    "too wide": partial(by_formula, width=1.3),
    "too narrow": partial(by_formula, width=0.77),
    "too low": partial(by_formula, shift=-0.3),
    "without o": without_o,
}


def refusal(model) -> str:
    """What `bd.calibrate` says of a model that cannot be drawn."""
    try:
        bd.calibrate(model.prior(), progressbar=False)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{model.__name__} was calibrated")


def study(
    out: str | Path | None = None,
    *,
    replicates: int,
    seeds: int,
    models: int = len(STEPS),
    chains: int = len(CHAINS),
    seed: int = SEED,
    say: Callable[[str], None] = print,
) -> xr.DataTree:
    """Make the run, and save it: of the first so many models, and of the first so many chains."""
    begun = time.perf_counter()
    of_steps, of_chains = list(STEPS)[:models], list(CHAINS)[:chains]
    how = {"draws": DRAWS, "progressbar": False}
    warned: list[str] = []
    runs: dict[str, xr.DataTree] = {}

    def calibrated(name: str, calibrate: Callable[..., xr.DataTree], size: int = replicates) -> None:
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:  # the page tells of them
            warnings.simplefilter("always", UserWarning)
            runs[name] = calibrate(replicates=size, random_seed=seed, **how)
        warned.extend(f"{name}: {warning.message}" for warning in caught)
        say(f"{name:32} {time.perf_counter() - started:5.0f} s  {runs[name]['verdict'].attrs['sentence']}")

    normal = bd.compile_prior(gaussian.prior())
    for name, invert in CONTROLS.items():
        calibrated(
            f"controls/{name}", partial(bd.calibrate, normal, sigma=STEPS["gaussian"][1], invert=invert), FORMULA
        )

    by_seed = np.full((len(of_steps), seeds), np.nan)
    for i, name in enumerate(of_steps):
        model, sigma = STEPS[name]
        prior = bd.compile_prior(model.prior())
        for label, invert in INVERTERS.items():
            calibrated(f"steps/{name}/{label}", partial(bd.calibrate, prior, sigma=sigma, invert=invert))
        started = time.perf_counter()
        for j in range(seeds):
            result = bd.calibrate(prior, sigma=sigma, replicates=100, random_seed=seed + 1 + j, **how)
            by_seed[i, j] = result["verdict"]["p_family"].item()
        say(f"{name:32} {time.perf_counter() - started:5.0f} s  least p of {seeds} seeds {by_seed[i].min():.2g}")

    for name in of_chains:
        weights, means, variances, noise = CHAINS[name]
        schedule = bd.geometric(LEVELS, *noise)
        prior = bd.compile_prior(bd.gaussian_mixture(weights, means, variances, schedule))
        for form, next_level in {"next level": True, "clean": False}.items():
            for label in ("draw", "mode"):
                chain = partial(bd.calibrate_chain, prior, schedule, INVERTERS[label], next_level=next_level)
                calibrated(f"chains/{name}/{form}/{label}", chain)

    at = {"model": of_steps, "seed": list(range(seed + 1, seed + 1 + seeds))}
    seen = dataset({"p_family": by_seed}, dims={"p_family": ["model", "seed"]}, coords=at)
    attrs = {
        "seed": seed,
        "replicates": replicates,
        "draws": DRAWS,
        "levels": LEVELS,
        "together": TOGETHER,
        "sigmas": {name: STEPS[name][1] for name in of_steps},
        "chain_noise": {name: list(CHAINS[name][3]) for name in of_chains},
        "refused": {name: refusal(model) for name, model in REFUSED.items()},
        "warned": warned,
        **made_on(begun),
    }
    run = tree({**runs, "seeds": seen}, attrs)
    if out is not None:
        bd.save(run, out, overwrite=True)
    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    command_line(
        "calibration",
        study,
        {"replicates": 100, "seeds": 2, "models": 2, "chains": 1},
        "few replicates of two models, to see that it runs",
        argv,
        arguments={
            "replicates": (1000, "x of each model and inverter"),
            "seeds": (20, "how often the draws of each model are checked again"),
            "models": (len(STEPS), "how many models, the quickest first"),
            "chains": (len(CHAINS), "how many of them in small steps"),
        },
    )


if __name__ == "__main__":
    main()
