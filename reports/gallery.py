"""Every picture that bayesdiff draws: the run behind `gallery.qmd`.

python reports/gallery.py --out reports/gallery.zarr

mixture      a batch of o, for a prior with two modes on the line: modes, draws
schools      one o, for a hierarchy with a positive variable and data: modes, draws
plane        four modes in the plane, in small steps: draws, modes
calibration  ranks of true x among the draws, and among the modes, of the mixture's steps
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

if not __package__:  # run as a file: the root of the repository is where its packages are
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bayesdiff as bd
from bayesdiff import images
from bayesdiff.images.inverters import flow
from bayesdiff.results import tree
from models import eight_schools, mixture
from reports.study import command_line, made_on

SEED = 20261125
WIDE, NARROW = 10.0, 1.0  # the noise of the mixture's step, and of the schools'
SHARES, CORNERS, VARIANCE = np.array([0.4, 0.3, 0.2, 0.1]), 2.0 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]), 0.25
SCHOOLS_O = {"mu": 5.0, "tau": 1.0, "z": [1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0, 0.0]}
FULL = {"batch": 200, "draws": 500, "particles": 200, "levels": 16, "replicates": 400}
QUICK = {"batch": 12, "draws": 150, "particles": 25, "levels": 3, "replicates": 100}


def invert(prior, o, sigma: float, draws: int, tune: int, seed: int) -> dict[str, xr.DataTree]:
    """Both inversions of a step."""
    prior = bd.compile_prior(prior)
    step = {"sigma": sigma, "random_seed": seed, "progressbar": False}
    draws_of_x = bd.sample_posterior(prior, o, **step, draws=draws, tune=tune)
    # No branch is called "posterior": ArviZ would take it for the group of that name.
    return {"modes": bd.find_map(prior, o, **step), "draws": draws_of_x}


def study(
    out: str | Path | None = None,
    *,
    batch: int,
    draws: int,
    particles: int,
    levels: int,
    replicates: int,
    seed: int = SEED,
    say: Callable[[str], None] = print,
) -> xr.DataTree:
    """Make the run, and save it."""
    begun = time.perf_counter()
    rng = np.random.default_rng(seed)
    runs: dict[str, xr.DataTree] = {}

    def keep(name: str, made: Mapping[str, xr.DataTree]) -> None:
        runs[name] = tree(made)
        say(f"{name:11} {time.perf_counter() - begun:4.0f} s")

    two = bd.compile_prior(mixture.prior())
    x = two.draws(batch, rng)[:, 0]
    keep("mixture", invert(two, bd.diffuse(x, 1.0, WIDE, rng), WIDE, draws, draws, seed))
    ranked = {"replicates": replicates, "draws": 19, "random_seed": seed, "progressbar": False}
    ranks = {
        name: bd.calibrate(two, sigma=WIDE, invert=by, **ranked)
        for name, by in {"draws": bd.draw, "modes": bd.mode}.items()
    }
    keep("calibration", ranks)
    keep("schools", invert(eight_schools.prior(), SCHOOLS_O, NARROW, draws, 500, seed))

    schedule = bd.geometric(levels, 0.1, 20.0)
    prior = bd.compile_prior(bd.gaussian_mixture(SHARES, CORNERS, VARIANCE, schedule))
    small = {"draws": particles, "path": True, "random_seed": seed, "progressbar": False}
    inverters = {"draws": bd.draw, "modes": bd.mode}
    keep("plane", {name: bd.reverse(prior, schedule, by, **small) for name, by in inverters.items()})

    steps = images.picture_schedule(levels)
    cats = bd.compile_prior(images.classifier_prior(images.quickdraw_network(), "cat", steps))
    o = images.noise(cats, 16, random_seed=seed)
    means = bd.reverse(cats, steps, flow, o=o, **small | {"draws": 16, "chains": 1})
    keep("pictures", {"means": means})

    attrs = {
        "seed": seed,
        **made_on(begun),
    }
    run = tree(runs, attrs)
    if out is not None:
        bd.save(run, out, overwrite=True)
    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    command_line("gallery", study, QUICK, "few observations and draws, to see that it runs", argv, FULL)


if __name__ == "__main__":
    main()
