"""Executors: who works on parts changes no number, and a worker that fails is named."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pymc as pm
import pytest

import bayesdiff as bd
from bayesdiff import chain, inversion
from bayesdiff.calls import Call, cut
from bayesdiff.invert.tuning import SAMPLING, SEARCH

SEED = 3


@pytest.fixture(scope="module")
def prior():
    with pm.Model() as model:
        s = pm.Exponential("s", 1)
        pm.Normal("x", 0, s, shape=2)
    return bd.compile_prior(model)


@pytest.fixture(scope="module")
def levels():
    schedule = bd.geometric(3, 0.4, 12.0)
    return bd.compile_prior(
        bd.gaussian_mixture([0.3, 0.7], [-2.0, 1.0], [0.2, 0.4], schedule=schedule)
    ), schedule  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """Parts so small that a few hundred observations make several."""
    monkeypatch.setattr(inversion, "SEARCH", replace(SEARCH, chunk=64, part_chunks=1))
    small = replace(SAMPLING, chunk_chains=128, part_numbers=64 * 2 * 20 * 6)
    monkeypatch.setattr(inversion, "SAMPLING", small)
    monkeypatch.setattr(chain, "PART", 100)


def observations(count):
    rng = np.random.default_rng(SEED)
    o = {"s": rng.normal(size=count), "x": rng.normal(size=(count, 2))}
    o["s"][5] = np.nan
    return o


def same(one, two):
    for node in one.subtree:
        other = two[node.path].to_dataset(inherit=False).variables
        for name, variable in node.to_dataset(inherit=False).variables.items():
            assert variable.values.tobytes() == other[name].values.tobytes(), (node.path, name)


def calls(prior, levels):
    """Each call that takes an executor, as a function of it."""
    level_prior, schedule = levels
    how = {"random_seed": SEED, "progressbar": False}
    o = observations(200)

    def find(executor):
        return bd.find_map(prior, o, sigma=1.5, executor=executor, **how)

    def sample(executor):
        return bd.sample_posterior(prior, o, sigma=1.5, draws=20, tune=5, chains=2, executor=executor, **how)

    def small_steps(executor):
        return bd.reverse(level_prior, schedule, draws=120, chains=2, path=True, executor=executor, **how)

    def calibrated(executor):
        return bd.calibrate(level_prior, sigma=1.5, replicates=200, draws=5, executor=executor, **how)

    def tempered(executor):
        return bd.sample(prior, draws=40, chains=2, executor=executor, **how)

    return [find, sample, small_steps, calibrated, tempered]


@pytest.fixture(scope="module")
def alone(prior, levels):
    """What each call gives without an executor."""
    results = {}

    def result(number):
        if number not in results:
            results[number] = calls(prior, levels)[number](None)
        return results[number]

    return result


@pytest.mark.filterwarnings("ignore:.*observations are not finite|.*not to be trusted:UserWarning")
@pytest.mark.usefixtures("small")
def test_threads_change_no_number(prior, levels, alone):
    with ThreadPoolExecutor(3) as pool:
        for number, call in enumerate(calls(prior, levels)):
            same(alone(number), call(pool))


@pytest.mark.filterwarnings("ignore:.*observations are not finite|.*not to be trusted:UserWarning")
@pytest.mark.usefixtures("small")
def test_processes_change_no_number(prior, levels, alone):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        same(alone(2), calls(prior, levels)[2](pool))  # the chain: Dask's workers make all four


@pytest.mark.filterwarnings("ignore:.*observations are not finite|.*not to be trusted:UserWarning")
@pytest.mark.usefixtures("small")
def test_a_dask_cluster_of_two_workers_changes_no_number(prior, levels, alone, tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    # The workers find this module, and the tests' helpers, as this process does.
    paths = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))
    kind = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**kind, local_directory=str(tmp_path)) as cluster, Client(cluster) as client:
        executor = client.get_executor()
        for number, call in enumerate(calls(prior, levels)):
            same(alone(number), call(executor))


def test_a_function_of_ones_own_inverts_on_workers(levels):
    prior, schedule = levels

    def half(prior, o, alpha, sigma, *, start, random_seed):  # a closure: no module has it
        return 0.5 * o, {}

    half.carries = "mean"  # no draw of p0
    with ThreadPoolExecutor(2) as pool:
        run = bd.reverse(prior, schedule, half, draws=200, chains=1, random_seed=1, progressbar=False, executor=pool)
    np.testing.assert_allclose(run["posterior"]["x"].std(), run["path"]["x"].isel(level=0).std() / 8)


def doubled(x, part, *, progress=None):
    if part is None:
        os._exit(1)
    return x * part


def test_parts_come_as_they_finish_and_those_kept_are_not_computed(tmp_path):
    assert cut(10, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    with ThreadPoolExecutor(2) as pool:
        for executor in (None, pool):
            call = Call("test", 1, folder=tmp_path / str(executor), executor=executor)
            call.keep("000001", {"x": np.array(5)})
            rows = {"rows": lambda part: 1, "made": lambda x: int(x), "then": lambda i, result: {"x": result}}
            found = list(call.each(doubled, (2,), [1, 2, 3], **rows))
            assert found[0] == (1, 5)
            assert dict(found[1:]) == {0: {"x": 2}, 2: {"x": 6}}
            assert call.spread(doubled, (2,), [1, 2, 3]) == [2, 4, 6]


def failing(part, *, progress=None):
    if part < 0:
        raise ArithmeticError("not this one")
    return {"x": part}


def test_what_ended_beside_a_failure_is_kept(tmp_path):
    # All have ended before anybody looks, so their order is that of a set.
    for i in range(8):
        with ThreadPoolExecutor(1) as pool:
            call = Call("test", 1, folder=tmp_path / str(i), executor=pool)
            parts = [1, 2, 3, -1, 5, 6]
            found = call.each(failing, (), parts, rows=lambda part: 1)
            next(found)
            pool.submit(lambda: None).result()  # behind all of them
            with pytest.raises(ArithmeticError, match="not this one"):
                list(found)
            assert [call.kept(f"{number:06d}") is not None for number in range(3)] == [True] * 3


def test_lost_workers_are_said_to_be_lost():
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(RuntimeError, match=r"the executor lost its workers .* a new one goes on, from what a store has"),
    ):
        Call("test", 1, executor=pool).spread(doubled, (2,), [None])


def test_an_inverter_that_fails_on_a_worker_is_a_chain_error(levels):
    prior, schedule = levels

    def moody(prior, o, alpha, sigma, *, start, random_seed):
        raise ValueError("not today")

    with ThreadPoolExecutor(2) as pool, pytest.raises(bd.ChainError, match="ValueError: not today"):
        bd.reverse(prior, schedule, moody, draws=20, random_seed=1, progressbar=False, executor=pool)


def test_an_executor_that_is_shut_down_is_no_fault_of_the_inverter(levels):
    prior, schedule = levels
    pool = ThreadPoolExecutor(2)
    pool.shutdown()
    says = r"the executor takes no work \(cannot schedule .*\); make a new one, and call inside its with"
    with pytest.raises(RuntimeError, match=says):
        bd.reverse(prior, schedule, bd.laplace, draws=20, random_seed=1, progressbar=False, executor=pool)
    with pytest.raises(RuntimeError, match=says):
        bd.find_map(prior, [1.0, 2.0], sigma=1.0, progressbar=False, executor=pool)
