"""Growth: what a call costs grows with what it is asked for, no faster; of parts for a store memory holds one.

What a process holds in all is measured in test_speed.py.
"""

import gc
import tempfile
import warnings
import weakref
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pymc as pm
import pytest

import bayesdiff as bd
from bayesdiff import inversion
from bayesdiff.growing import Growth
from bayesdiff.invert.tuning import SAMPLING, SEARCH


@pytest.fixture(scope="module")
def prior():
    with pm.Model() as model:
        pm.StudentT("x", nu=5, mu=0, sigma=1, shape=2)
    return bd.compile_prior(model)


def slope(sizes, costs):
    """Of log cost by log size: 1 where twice as much costs twice as much."""
    return np.log(costs[1] / costs[0]) / np.log(sizes[1] / sizes[0])


def test_evaluations_grow_with_the_observations_no_faster(prior):
    sizes = [100, 1600]
    o = np.random.default_rng(0).normal(size=(max(sizes), 2)) * 3
    found = [bd.find_map(prior, o[:n], sigma=2.0, random_seed=1, progressbar=False) for n in sizes]
    drawn = [
        bd.sample_posterior(prior, o[:n], sigma=2.0, draws=25, tune=25, chains=1, random_seed=1, progressbar=False)
        for n in sizes
    ]
    for runs in (found, drawn):
        costs = [float(run["sample_stats"]["evaluations"].sum()) for run in runs]
        # Observations differ in what they cost: the first hundred from the others, by some percent.
        assert abs(slope(sizes, costs) - 1) < 0.1


def test_evaluations_grow_with_the_draws_no_faster(prior):
    costs = []
    for draws in (100, 200, 400):
        run = bd.sample_posterior(
            prior, np.ones((4, 2)), sigma=2.0, draws=draws, tune=100, chains=2, random_seed=1, progressbar=False
        )
        costs.append(float(run["sample_stats"]["evaluations"].sum()))
    # What the search for modes and the warm-up took is the same; the rest is a line.
    assert (costs[2] - costs[1]) / (costs[1] - costs[0]) == pytest.approx(2, rel=0.1)


def test_evaluations_grow_with_the_levels_no_faster(prior):
    costs, sizes = [], [4, 16]
    for levels in sizes:
        run = bd.reverse(prior, bd.geometric(levels, 0.3, 12.0), draws=100, chains=1, random_seed=1, progressbar=False)
        costs.append(float(run["sample_stats"]["evaluations"].sum()))
    assert slope(sizes, costs) < 1.15  # smaller steps are easier: somewhat below 1


@pytest.mark.parametrize("call", ["find_map", "sample_posterior"])
def test_a_part_is_gone_before_the_next_one_is_computed(call, tmp_path, monkeypatch):
    monkeypatch.setattr(inversion, "SEARCH", replace(SEARCH, chunk=64, part_chunks=1))
    monkeypatch.setattr(inversion, "SAMPLING", replace(SAMPLING, chunk_chains=64, part_numbers=1))
    parts, alive = [], []
    write, work = Growth.write, {"find_map": "find_modes_from", "sample_posterior": "sample_from"}[call]
    compute = getattr(inversion, work)

    def written(self, part, number):
        parts.append(weakref.ref(part))
        write(self, part, number)

    def computed(*about, **how):
        alive.append(sum(part() is not None for part in parts))
        return compute(*about, **how)

    monkeypatch.setattr(Growth, "write", written)
    monkeypatch.setattr(inversion, work, computed)
    with pm.Model() as model:
        pm.Normal("x", 0, 1)
    how = {} if call == "find_map" else {"draws": 2, "tune": 2, "chains": 2}
    gc.disable()  # by chance, it would take some of them
    try:
        getattr(bd, call)(model, np.zeros(200), random_seed=1, progressbar=False, store=tmp_path / "run.zarr", **how)
    finally:
        gc.enable()
    assert len(parts) >= 4
    assert alive == [0] * len(parts)


# --- a service, which gets a fresh model again and again


class Held(NamedTuple):
    """What this process holds: memory maps, of which Linux allows 65,530; bytes; open files; temporary ones."""

    maps: int
    resident: int
    descriptors: int
    temporary: int


def held():
    process = psutil.Process()
    maps, files = len(process.memory_maps(grouped=False)), len(list(Path(tempfile.gettempdir()).iterdir()))
    return Held(maps, process.memory_info().rss, process.num_fds(), files)


def served(calls, kept, whole):
    """Answer requests, each with a model of its own, which `kept` may keep; what is held after each."""
    after = []
    for number in range(calls):
        with pm.Model() as model:
            pm.HalfNormal("tau", 5)
        o, small = np.ones(4), {"random_seed": 1, "progressbar": False}
        bd.find_map(model, o, sigma=2.0, **small)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so few draws are not to be trusted
            bd.sample_posterior(model, o, sigma=2.0, draws=4, tune=4, chains=1, **small)
            if whole and number % 10 == 0:
                bd.find_map(model, o, sigma=2.0, jacobian=False, **small)
                bd.sample(model, draws=50, chains=2, **small)
        kept(model)
        del model
        after.append(held())
        print(*after[-1])
    return after


def test_a_second_call_with_the_same_model_compiles_nothing():
    def model():
        with pm.Model() as made:
            pm.HalfNormal("tau", 5)
        return made

    def compiled_of(prior, call):
        functions = prior._functions
        before = {key: kernel._cache_size() for key, kernel in functions.kernels.items()}
        call(prior.model)
        after = {key: kernel._cache_size() for key, kernel in functions.kernels.items()}
        assert after
        return sum(after.values()) - sum(before.values())

    def found(model):
        bd.find_map(model, rng.normal(size=100), sigma=rng.uniform(1, 2), random_seed=int(rng.integers(99)))

    def drawn(model):
        small = {"draws": 4, "tune": 4, "chains": 1, "random_seed": int(rng.integers(99))}
        bd.sample_posterior(model, rng.normal(size=100), sigma=rng.uniform(1, 2), **small)

    rng, one = np.random.default_rng(0), model()
    for call in (found, drawn):
        prior = bd.compile_prior(one)
        assert compiled_of(prior, call) > 0
        assert compiled_of(prior, call) == 0
        assert bd.compile_prior(one) is prior
    assert compiled_of(bd.compile_prior(model()), found) > 0  # another model, if alike


@pytest.mark.parametrize(
    ("calls", "whole"), [(6, False), pytest.param(120, True, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]
)
def test_a_service_with_fresh_models_holds_no_more_and_more(calls, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    after = served(calls, lambda model: None, whole)
    third, last = after[2], after[-1]
    assert last.maps <= third.maps + 50
    assert last.resident <= third.resident + 2**30  # the same for 6 as for 120
    assert last.descriptors <= third.descriptors + 5
    assert last.temporary == 0


def test_models_that_somebody_keeps_are_seen():
    keep = []
    after = served(5, keep.append, False)
    assert after[-1].maps > after[2].maps + 50
