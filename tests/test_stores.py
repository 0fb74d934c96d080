"""Stores: what a call must be to go on, and what is mended when a part of it is gone."""

from functools import partial

import numpy as np
import pymc as pm
import pytest

import bayesdiff as bd
from bayesdiff import inversion, inverters
from bayesdiff.chain import code_of
from bayesdiff.stores import opened

QUIET = {"random_seed": 1, "progressbar": False}


@pytest.fixture(scope="module")
def prior():
    with pm.Model() as model:
        pm.Normal("x", 0, 1)
    return bd.compile_prior(model)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(inverters, "CLIMB_CHUNK", 64)
    monkeypatch.setattr(inverters, "CLIMB_BLOCK", 1)


def stopped(call, after, monkeypatch):
    """Stop a call once it has kept so many blocks."""
    keep, units = inversion.keep, []

    def keep_and_stop(file, about, arrays):
        keep(file, about, arrays)
        units.append(file)
        if len(units) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inversion, "keep", keep_and_stop)
        with pytest.raises(KeyboardInterrupt, match=f"of its blocks {after} are kept"):
            call()
    return units


@pytest.mark.usefixtures("small")
def test_a_block_whose_file_is_gone_is_computed_again(prior, tmp_path, monkeypatch):
    o, store = np.linspace(-3, 3, 300), tmp_path / "run.zarr"
    whole = bd.find_map(prior, o, sigma=2.0, **QUIET)
    call = partial(bd.find_map, prior, o, sigma=2.0, store=store, **QUIET)
    stopped(call, 2, monkeypatch)
    chunks = tmp_path / ".run.zarr.levels" / "run.zarr" / "unconstrained_posterior" / "x" / "c"
    lost = sorted(file for file in chunks.rglob("*") if file.is_file())[0]
    lost.unlink()
    run = call()
    np.testing.assert_array_equal(run["posterior"]["x"], whole["posterior"]["x"])
    assert bd.load(store)["posterior"].sizes == whole["posterior"].sizes


@pytest.mark.usefixtures("small")
def test_what_is_stopped_is_not_called_damaged(prior, tmp_path, monkeypatch):
    call = partial(bd.find_map, prior, np.zeros(200), sigma=2.0, store=tmp_path / "run.zarr", **QUIET)
    stopped(call, 2, monkeypatch)
    with pytest.raises(ValueError, match=r"The call of find_map that is to write .* has not ended\. Nothing of it can"):
        bd.write_report(tmp_path / "run.zarr", tmp_path / "page.html")
    call()  # and indeed


@pytest.mark.usefixtures("small")
def test_parts_of_an_unknown_call_are_refused(prior, tmp_path, monkeypatch):
    call = partial(bd.find_map, prior, np.zeros(200), sigma=2.0, store=tmp_path / "run.zarr", **QUIET)
    stopped(call, 2, monkeypatch)
    (tmp_path / ".run.zarr.levels" / "call.json").unlink()
    with pytest.raises(
        ValueError, match=r"has parts of an unknown call, since call\.json is missing; remove the folder"
    ):
        call()


@pytest.mark.filterwarnings("ignore:20 replicates see gross errors alone:UserWarning")
def test_the_function_is_the_first_difference(prior, tmp_path):
    store = tmp_path / "run.zarr"
    bd.calibrate(prior, 1.0, 2.0, bd.laplace, replicates=20, draws=9, store=store, **QUIET)
    with pytest.raises(ValueError, match="function was calibrate there and is find_map here"):
        bd.find_map(prior, [1.0], sigma=2.0, store=store, **QUIET)


def test_numbers_of_numpy_are_numbers(tmp_path):
    call = {"draws": np.int64(10), "path": np.bool_(True), "probability": np.float32(0.5), "o": np.arange(2)}
    how = {"seed": 1, "given": True, "what": "reverse", "units": "levels"}
    with opened(tmp_path / "run.zarr", call, **how) as place:
        ours = place.call
    assert {name: ours[name] for name in call} == {"draws": 10, "path": True, "probability": 0.5, "o": [0, 1]}


@pytest.mark.parametrize(
    ("store", "says"),
    [(".", "names no file"), ("/", "names no file"), ("a\nb.zarr", "names no file"), ("run", r"must end in \.zarr")],
)
def test_odd_paths_are_refused_at_once(prior, store, says):
    with pytest.raises(ValueError, match=says):
        bd.find_map(prior, [1.0], sigma=2.0, store=store, **QUIET)


def test_a_link_to_nothing_is_refused_at_once(prior, tmp_path):
    (tmp_path / "run.zarr").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match="is a link to nothing; remove it, or choose another path"):
        bd.find_map(prior, [1.0], sigma=2.0, store=tmp_path / "run.zarr", **QUIET)


def test_home_is_home(prior, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    bd.find_map(prior, [1.0], sigma=2.0, store="~/run.zarr", **QUIET)
    assert (tmp_path / "run.zarr").is_dir()


@pytest.mark.filterwarnings("ignore:20 replicates see gross errors alone:UserWarning")
def test_an_inverter_that_was_changed_is_another(prior, tmp_path):
    def made(factor):
        def invert(prior, o, alpha, sigma, *, start=None, random_seed=None):
            return factor * o, {}

        return invert

    def other(prior, o, alpha, sigma, *, start=None, random_seed=None):
        return 0.5 * o + 0.0, {}

    assert code_of(made(0.5)) == code_of(made(0.5))
    assert code_of(partial(made(0.5))) == code_of(made(0.5))
    assert len({code_of(made(0.5)), code_of(made(0.9)), code_of(other)}) == 3
    call = partial(bd.calibrate, prior, 1.0, 2.0, replicates=20, draws=9, store=tmp_path / "run.zarr", **QUIET)
    call(made(0.5))
    with pytest.raises(ValueError, match="code of invert was"):
        call(made(0.9))


@pytest.mark.filterwarnings("ignore:The point of 10 of 20 replicates has no sd:UserWarning")
@pytest.mark.filterwarnings("ignore:.*replicates:UserWarning")
def test_a_point_whose_sd_is_zero_has_none(prior):
    def invert(prior, o, alpha, sigma, *, start=None, random_seed=None):
        return 0.5 * o, {"sd": np.where(np.arange(len(o)) < len(o) // 2, 0.0, 1.0)[:, None] * np.ones_like(o)}

    found = bd.calibrate(prior, 1.0, 2.0, invert, replicates=20, draws=9, **QUIET)
    assert int(np.isfinite(found["offset"]["x"]).sum()) == 10
