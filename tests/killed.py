"""Long calls to be killed: each in a process of its own, with a store, in units so small that there are many.

`attempt` is what a process does; `begin` starts one, from a server that has imported everything already.
"""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

CALLS = ("find_map", "sample_posterior", "reverse", "sample", "calibrate")
SEED = 20261126


def attempt(which, store):
    """Make one of the calls, in small units. A seed and a store: the same call each time."""
    import pymc as pm

    import bayesdiff as bd
    from bayesdiff import calibration, inversion
    from bayesdiff.invert.tuning import SAMPLING, SEARCH

    with pm.Model() as prior:
        pm.Normal("x", 0, 1)
        pm.Normal("y", [1.0, 2.0], 2)
    rng = np.random.default_rng(SEED)
    o = {"x": rng.normal(size=8 * 64), "y": rng.normal(size=(8 * 64, 2))}
    o["x"][70] = np.nan
    how = {"random_seed": SEED, "progressbar": False, "store": store}
    inversion.SEARCH = replace(SEARCH, chunk=64, part_chunks=1)
    inversion.SAMPLING = replace(SAMPLING, chunk_chains=128, part_numbers=64 * 2 * 20 * 6)
    calibration.BLOCK = 16
    if which == "calibrate":
        return bd.calibrate(prior, sigma=2.0, replicates=8 * 16, draws=7, **how)
    if which == "find_map":
        return bd.find_map(prior, o, sigma=2.0, **how)
    if which == "sample_posterior":
        return bd.sample_posterior(prior, o, sigma=2.0, draws=20, tune=20, chains=2, **how)
    if which == "reverse":
        return bd.reverse(prior, bd.geometric(8, 0.3, 20.0), draws=100, chains=2, path=True, **how)
    return bd.sample(prior, draws=200, chains=6, **how)


def quietly(which, store):
    """What a process that is to be killed does. Warnings are the tests' own business elsewhere."""
    import warnings

    warnings.simplefilter("ignore")
    attempt(which, store)


def server():
    """A context whose processes begin with all imported that takes long: not Blackjax, which starts threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pymc", "jax.scipy.stats", "arviz_stats", "optax", "dask.array", "bayesdiff.growing", "bayesdiff.compiled"]
    )
    return context


def kept(store):
    """The units that are kept beside a store."""
    store = Path(store)
    return sorted(file.name for file in store.with_name(f".{store.name}.levels").glob("*.npz"))


def kill_after(context, which, store, more, wait, limit=120.0):
    """Start a call; when it has kept `more` units, wait so many seconds and kill it. Returns whether it was killed."""
    before = len(kept(store))
    process = context.Process(target=quietly, args=(which, str(store)))
    process.start()
    begun = time.monotonic()
    while process.is_alive() and len(kept(store)) < before + more:
        if time.monotonic() - begun > limit:
            break
        time.sleep(0.001)
    time.sleep(wait)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive
