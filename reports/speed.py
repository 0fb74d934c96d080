"""What a call costs, in seconds, evaluations and memory, as it is asked for more: the run behind `speed.qmd`.

    python reports/speed.py --out reports/speed.zarr

One axis grows at a time: observations, draws, levels, dimension, cores. A call is made several times: the first one
compiles, the others tell how long it takes. From 10^4 observations on each point has a process of its own, so that its
memory is its own. Elsewhere the points of a line share one, and what is compiled in it; with `--quick` nearly all do.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

if not __package__:  # run as a file: the root of the repository is where its packages are
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bayesdiff as bd
from bayesdiff.results import dataset, tree
from reports.study import command_line, made_on

ROOT = Path(__file__).resolve().parents[1]
SEED = 20261127
MODES = [[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]]  # of the mixture in the plane
LIMITS = hasattr(os, "sched_setaffinity")  # whether a process can be kept to some cores here
SHARES, VARIANCE = [0.4, 0.3, 0.2, 0.1], 0.25
NOISE = 0.1, 40.0  # of levels 1 and K
UNITS = {"seconds": "s", "first": "s", "evaluations": "1", "memory": "GB", "before": "GB"}
SAYS = {
    "seconds": "of a call, the median of those after the first",
    "first": "of the first call, which compiles where none before it in its process had its shapes",
    "evaluations": "of log densities, of one call in all",
    "memory": "the most that the process held until the first call was done",
    "before": "the most that it had held before: Python, PyMC, the prior, and points before this one",
}


class Point(NamedTuple):
    """A call to measure. ``how``: keywords of its function in `CALLS`. ``process``: one name, one process."""

    call: str
    size: int
    how: dict[str, Any]
    process: str
    repeats: int = 3
    cores: int = 0  # 0: all
    workers: int = 0  # 0: no executor


# ---------------------------------------------------------------------------------------------------------- the calls

Call = Callable[[Path | None, Executor | None], xr.DataTree]


@lru_cache(maxsize=1)  # the points of a line share it, and what was compiled for it
def prior_of(kind: str, n: int) -> bd.CompiledPrior:
    """The mixture in the plane, or a normal prior: of independent coordinates, or of each near the one before."""
    import pymc as pm

    if kind == "mixture":
        return bd.compile_prior(bd.gaussian_mixture(SHARES, MODES, VARIANCE))
    with pm.Model() as model:
        if kind == "independent":
            pm.Normal("x", 0, 1, shape=n)
        else:
            apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
            pm.MvNormal("x", np.zeros(n), 0.9**apart)
    return bd.compile_prior(model)


@lru_cache(maxsize=1)
def levels_of(levels: int) -> tuple[bd.CompiledPrior, bd.Schedule]:
    """The mixture in the plane, diffused to so many levels."""
    schedule = bd.geometric(levels, *NOISE)
    return bd.compile_prior(bd.gaussian_mixture(SHARES, MODES, VARIANCE, schedule)), schedule


def observed(observations: int, n: int) -> np.ndarray:
    """Observations (observations, n): the first ones are the same whatever their number."""
    return np.random.default_rng(SEED).normal(0, 3, size=(observations, n))


def by_map(observations: int, prior: str = "mixture", n: int = 2) -> Call:
    """find_map of a batch."""
    compiled, o = prior_of(prior, n), observed(observations, n)
    how = {"sigma": 2.0, "random_seed": SEED, "progressbar": False}
    return lambda store, executor: bd.find_map(compiled, o, **how, store=store, executor=executor)


def by_draws(observations: int, draws: int, tune: int, chains: int = 4, prior: str = "mixture", n: int = 2) -> Call:
    """sample_posterior of a batch."""
    compiled, o = prior_of(prior, n), observed(observations, n)
    how = {"sigma": 2.0, "draws": draws, "tune": tune, "chains": chains, "random_seed": SEED, "progressbar": False}
    return lambda store, executor: bd.sample_posterior(compiled, o, **how, store=store, executor=executor)


def by_levels(levels: int, trajectories: int, next_level: bool) -> Call:
    """Reverse, from noise to x, of the mixture in the plane."""
    compiled, schedule = levels_of(levels)
    how = {"next_level": next_level, "draws": trajectories, "chains": 1, "random_seed": SEED, "progressbar": False}
    return lambda store, executor: bd.reverse(compiled, schedule, **how, store=store, executor=executor)


CALLS: dict[str, Callable[..., Call]] = {"map": by_map, "posterior": by_draws, "reverse": by_levels}


# ------------------------------------------------------------------------------------------------------- measurements


def peak() -> float:
    """The most memory that this process ever held, in GB.

    Where Linux tells it by process: what `getrusage` says is at least what the parent held when it started this one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    if kilobytes:
        return kilobytes[0] / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(point: Point) -> dict[str, float]:
    """Make a point's call, in this process, and say what it cost."""
    # A call is known by its first word, and a store by its last.
    name, stored = re.match(r"\w+", point.call)[0], point.call.endswith("stored")
    with ExitStack() as stack:
        if point.cores and LIMITS:  # before JAX starts its threads, which are as many
            all_cores = os.sched_getaffinity(0)
            stack.callback(os.sched_setaffinity, 0, all_cores)
            os.sched_setaffinity(0, sorted(all_cores)[: point.cores])
        # Few draws are measured here, and who asks for few is told so.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = None
        if point.workers:
            pool = stack.enter_context(ProcessPoolExecutor(point.workers, mp_context=get_context("spawn")))
        call = CALLS[name](**point.how)
        before, seconds, evaluations, memory = peak(), [], np.nan, np.nan
        for i in range(1 + point.repeats):
            begun = time.perf_counter()
            run = call(folder / f"{i}.zarr" if stored else None, pool)
            seconds.append(time.perf_counter() - begun)
            if i == 0:
                memory = peak()
                evaluations = float(run["sample_stats"]["evaluations"].sum())
            del run
    later = float(np.median(seconds[1:] or seconds))
    return {"seconds": later, "first": seconds[0], "evaluations": evaluations, "memory": memory, "before": before}


CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from reports.speed import Point, measure
for point in json.loads(sys.argv[2]):
    print(json.dumps(measure(Point(*point))), flush=True)
"""


def alone(points: Sequence[Point]) -> list[dict[str, float]]:
    """What `measure` says of points in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ROOT), json.dumps(points)], capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"{points} failed: {done.stderr.strip()[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def slope(sizes: Iterable[float], costs: Iterable[float]) -> float:
    """Of log cost by log size, between the two largest sizes: 1 where twice as much costs twice as much.

    There what is fixed weighs least. NaN of fewer than two points.
    """
    known = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if np.isfinite(cost)]
    if len(known) < 2:
        return np.nan
    (size, cost), (larger, costlier) = known[-2:]
    return float(np.log(costlier / cost) / np.log(larger / size))


# ------------------------------------------------------------------------------------------------------------ the run


FORMS = {"next level": True, "clean": False}
OF_EACH = {"draws": 10, "tune": 20, "chains": 2}  # where observations are many


def once(size: int) -> int:
    """How often a call is made again: three times where that is cheap."""
    return 3 if size <= 10**3 else 1


def observations(sizes: Sequence[int], draws_held: int, draws_stored: int) -> list[Point]:
    """Points of both inversions, in memory and stored: of draws up to so many observations."""
    points = []
    for call, most in {
        "map": np.inf,
        "map, stored": np.inf,
        "posterior": draws_held,
        "posterior, stored": draws_stored,
    }.items():
        for size in sizes:
            process = f"{call} {size}" if size >= 10**4 else call.split(",")[0]
            how = {"observations": size} | (OF_EACH if "posterior" in call else {})
            if size <= most:
                # Minutes: a call is made once.
                repeats = 0 if "posterior" in call and size > 10**5 else once(size)
                points.append(Point(call, size, how, process, repeats))
    return points


def draws(sizes: Sequence[int], forms: Sequence[str]) -> list[Point]:
    """Points of draws from four posteriors, with as many to tune, and of trajectories through four levels."""
    points = [
        Point("posterior", size, {"observations": 4, "draws": size, "tune": size}, "draws", once(size))
        for size in sizes
    ]
    for form in forms:
        for size in sizes:
            how = {"levels": 4, "trajectories": size, "next_level": FORMS[form]}
            points.append(Point(f"reverse, {form}", size, how, f"draws, {form}", once(size)))
    return points


def levels(sizes: Sequence[int], trajectories: int) -> list[Point]:
    """Points of both forms of a chain."""
    return [
        Point(
            f"reverse, {form}", size, {"levels": size, "trajectories": trajectories, "next_level": next_level}, "levels"
        )
        for size in sizes
        for form, next_level in FORMS.items()
    ]


def dimensions(sizes: Mapping[str, Sequence[int]], batch: int) -> list[Point]:
    """Points of both inversions of a batch, by kind of prior."""
    points = []
    for kind, of_kind in sizes.items():
        for size in of_kind:
            how, repeats = {"observations": batch, "prior": kind, "n": size}, 3 if size < 100 else 1
            points += [
                Point(f"map, {kind}", size, how, kind, repeats),
                Point(f"posterior, {kind}", size, how | {"draws": 100, "tune": 100}, kind, repeats),
            ]
    return points


def cores(sizes: Sequence[int], calls: Mapping[str, dict[str, Any]]) -> list[Point]:
    """Points of calls that may use so many cores, or so many processes of a pool."""
    points = []
    for call, how in calls.items():
        for size in sizes:
            limit = {"workers": size} if call.endswith("workers") else {"cores": size}
            points.append(Point(call, size, how, f"{call} {size}", 1, **limit))
    return points


def group(points: Sequence[Point], costs: Sequence[Mapping[str, float]]) -> xr.Dataset:
    """The costs of an axis by call and size, and how they grow."""
    calls = list(dict.fromkeys(point.call for point in points))
    sizes = sorted({point.size for point in points})
    values = {name: np.full((len(calls), len(sizes)), np.nan) for name in UNITS}
    for point, cost in zip(points, costs, strict=True):
        at = calls.index(point.call), sizes.index(point.size)
        for name in UNITS:
            values[name][at] = cost[name]
    dims: dict[str, list[str]] = {name: ["call", "size"] for name in UNITS}
    for name in ("evaluations", "seconds"):
        values[f"{name}_slope"] = np.array([slope(sizes, row) for row in values[name]])
        dims[f"{name}_slope"] = ["call"]
    found = dataset(values, dims=dims, coords={"call": calls, "size": sizes})
    for name, unit in UNITS.items():
        found[name].attrs |= {"units": unit, "long_name": SAYS[name]}
    for name in ("evaluations", "seconds"):
        found[f"{name}_slope"].attrs |= {
            "units": "1",
            "long_name": f"of log {name} by log size, between the two largest",
        }
    return found


def processor() -> str:
    """What the machine's maker calls it, where Linux tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def available() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if LIMITS else os.cpu_count() or 1


def study(
    out: str | Path | None = None,
    *,
    points: Mapping[str, Sequence[Point]],
    by: Callable[[Sequence[Point]], Sequence[Mapping[str, float]]] = alone,
    say: Callable[[str], None] = print,
) -> xr.DataTree:
    """Make the run, and save it. ``by``: who measures the points of a process."""
    begun, load = time.perf_counter(), os.getloadavg()[0]
    every = [(axis, point) for axis, of_axis in points.items() for point in of_axis]
    costs: dict[tuple[str, str, int], Mapping[str, float]] = {}
    for process in dict.fromkeys(point.process for _, point in every):
        shared = [(axis, point) for axis, point in every if point.process == process]
        for (axis, point), cost in zip(shared, by([point for _, point in shared]), strict=True):
            costs[axis, point.call, point.size] = cost
            say(
                f"{axis:13}{point.call:24}{point.size:>9,}  first {cost['first']:7.2f} s, then "
                f"{cost['seconds']:8.3f} s, {cost['evaluations']:.3g} evaluations, "
                f"{cost['before']:.2f} to {cost['memory']:.2f} GB"
            )
    groups = {
        axis: group(of_axis, [costs[axis, point.call, point.size] for point in of_axis])
        for axis, of_axis in points.items()
    }
    attrs = {
        "seed": SEED,
        "points": {axis: [point._asdict() for point in of_axis] for axis, of_axis in points.items()},
        "processor": processor(),
        "cores": available(),
        "load": load,
        **made_on(begun),
    }
    run = tree(groups, attrs)
    if out is not None:
        bd.save(run, out, overwrite=True)
    return run


def powers(least: int, most: int) -> list[int]:
    return [10**i for i in range(least, most + 1)]


def everything() -> dict[str, list[Point]]:
    """What the page is made for."""
    most = list(range(1, available() + 1)) if LIMITS else [available()]
    of_map = {"observations": 10**6}
    of_posterior = {"observations": 3072, "draws": 500, "tune": 500}  # four blocks for workers
    return {
        "observations": observations(powers(2, 6), 10**5, 10**6),
        "draws": draws(powers(2, 5), list(FORMS)),
        "levels": levels([2**i for i in range(1, 8)], 1000),
        "dimension": dimensions({"independent": [1, 3, 10, 30, 100, 300, 1000], "correlated": powers(0, 3)}, 20),
        "cores": cores(
            most,
            {
                "map": of_map,
                "map, by workers": of_map,
                "posterior": of_posterior,
                "posterior, by workers": of_posterior,
            },
        ),
    }


def little() -> dict[str, list[Point]]:
    """Few and small points."""
    points = {
        "observations": observations(powers(3, 5), 0, 10**4),
        "draws": draws([100, 1000], []),
        "levels": levels([4, 8], 100),
        "dimension": dimensions({"independent": [1, 30]}, 10),
    }
    # What starts and compiles takes most of it: once for all.
    points = {axis: [point._replace(process="quick") for point in of_axis] for axis, of_axis in points.items()}
    most = list(range(1, available() + 1))[:2] if LIMITS else [available()]
    return points | {"cores": cores(most, {"map": {"observations": 10**5}})}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    command_line("speed", study, {"points": little()}, "few and small points", argv, full={"points": everything()})


if __name__ == "__main__":
    main()
