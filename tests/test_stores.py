"""Stores: what a call must be to go on, and what is mended when a part of it is gone."""

from functools import partial

import numpy as np
import pymc as pm
import pytest

import bayesdiff as bd
from bayesdiff import chain, compiled, inversion, inverters, results
from bayesdiff.chain import code_of
from bayesdiff.results import unfinished
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


# Names, and what is kept until the result was read back.


@pytest.fixture(scope="module")
def odd():
    """Names that no file system keeps, a dimension that some take for one of ours, and one with a backslash."""
    with pm.Model(coords={"a\\b": ["p", "q"], "Observation": [1]}) as model:
        mu = pm.Normal(r"$\mu$", 0, 1, dims="a\\b")
        pm.Normal("zarr.json", 0, 1, dims="Observation")
        pm.Deterministic(".", mu.sum())
    return bd.compile_prior(model)


def bits(run):
    """Every array by its group and name, in their order."""
    return [
        (node.path, name, variable.dims, variable.values.tobytes())
        for node in run.subtree
        for name, variable in node.to_dataset(inherit=False).variables.items()
    ]


@pytest.fixture
def small_draws(small, monkeypatch):
    monkeypatch.setattr(inverters, "DRAW_LANES", 128)
    monkeypatch.setattr(inverters, "BLOCK_NUMBERS", 64 * 2 * 20 * 6)


@pytest.mark.filterwarnings("ignore:.*not to be trusted|.*replicates:UserWarning")
@pytest.mark.usefixtures("small_draws")
@pytest.mark.parametrize(
    ("which", "suffix"),
    [
        ("find_map", ".zarr"),
        ("find_map", ".nc"),
        ("sample_posterior", ".zarr"),
        ("reverse", ".nc"),
        ("calibrate", ".zarr"),
    ],
)
def test_names_that_no_file_system_keeps_come_back(odd, tmp_path, which, suffix):
    o = odd.layout.split(np.random.default_rng(1).normal(size=(70, odd.n)))
    call = {
        "find_map": partial(bd.find_map, odd, o, sigma=2.0),
        "sample_posterior": partial(bd.sample_posterior, odd, o, sigma=2.0, draws=20, tune=5, chains=2),
        "reverse": partial(bd.reverse, odd, bd.geometric(2, 0.4, 12.0), bd.laplace, draws=20, chains=2, path=True),
        "calibrate": partial(bd.calibrate, odd, 1.0, 2.0, bd.laplace, replicates=20, draws=5),
    }[which]
    store = tmp_path / f"run{suffix}"
    run = call(store=store, **QUIET)
    assert bits(bd.load(store)) == bits(run)
    assert bits(call(store=store, **QUIET)) == bits(run)
    if suffix == ".zarr":
        assert bits(call(**QUIET)) == bits(run)
    assert [file.name for file in tmp_path.iterdir()] == [store.name]
    dims = {dim for node in run.subtree for dim in node.dims}
    names = {name for node in run.subtree for name in node.data_vars}
    assert {"a\\b", "Observation"} <= dims
    assert {r"$\mu$", "zarr.json"} <= names


def test_levels_of_a_stopped_chain_have_their_names(odd, tmp_path, monkeypatch):
    keep = chain.keep

    def keep_and_stop(*args):
        keep(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(chain, "keep", keep_and_stop)
    with pytest.raises(KeyboardInterrupt, match="of its levels 1 are kept"):
        bd.reverse(odd, bd.geometric(2, 0.4, 12.0), bd.laplace, draws=9, store=tmp_path / "run.zarr", **QUIET)
    assert list(unfinished(tmp_path / "run.zarr")["path"].data_vars) == [r"$\mu$", "zarr.json"]


def named(name, what):
    with pm.Model(coords={name: ["p", "q"]} if what == "dimension" else {}) as model:
        if what == "dimension":
            pm.Normal("x", 0, 1, dims=name)
        elif what == "variable":
            pm.Normal(name, 0, 1)
        else:
            pm.Deterministic(name, pm.Normal("x", 0, 1))
    return model


CALLS = {
    "find_map": lambda model, **how: bd.find_map(model, 0.0, sigma=1.0, **how),
    "sample_posterior": lambda model, **how: bd.sample_posterior(model, 0.0, sigma=1.0, **how),
    "reverse": lambda model, **how: bd.reverse(model, bd.geometric(2, 0.4, 12.0), **how),
    "sample": bd.sample,
    "calibrate": lambda model, **how: bd.calibrate(model, 1.0, 2.0, **how),
    "calibrate_chain": lambda model, **how: bd.calibrate_chain(model, bd.geometric(2, 0.4, 12.0), **how),
    "step_model": lambda model, **_: bd.step_model(model, 0.0),
}


@pytest.mark.parametrize("which", CALLS)
@pytest.mark.parametrize("stored", [True, False])
def test_names_that_cannot_be_kept_are_refused_at_once(tmp_path, monkeypatch, which, stored):
    monkeypatch.setattr(compiled, "join_nonshared_inputs", None)  # nothing is compiled
    how = QUIET | ({"store": tmp_path / "run.zarr"} if stored else {})
    half = "with half of a surrogate pair, which is no letter; write it without"
    for name, what, says in (
        ("\ud800", "variable", rf"the prior has a variable '\\ud800', {half}"),
        ("a\udfffb", "Deterministic", rf"the prior has a variable 'a\\udfffb', {half}"),
        ("\udc80", "dimension", rf"the prior has a dimension '\\udc80', {half}"),
        ("a/b", "dimension", "the prior has a dimension 'a/b', and a slash is what parts groups; write it without"),
        ("", "dimension", "a dimension of the prior has an empty name, ''; give it one of a letter at least"),
        ("", "variable", "a variable of the prior has an empty name, ''; give it one"),
    ):
        with pytest.raises(ValueError, match=says):
            CALLS[which](named(name, what), **how)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["a\0", "a\0b", "\ud800"])
def test_labels_that_cannot_be_kept_are_refused_at_once(label):
    with pm.Model(coords={"d": ["p", label]}) as model:
        pm.Normal("x", 0, 1, dims="d")
    with pytest.raises(ValueError, match=r"dimension 'd' of the prior has the label .* not every file keeps; write it"):
        bd.find_map(model, [0.0, 0.0], sigma=1.0, **QUIET)


def test_a_dimension_called_like_an_axis_is_refused_at_once():
    with pm.Model(coords={"x_dim_0": [1, 2, 3]}) as model:
        pm.Normal("y", 0, 1, dims="x_dim_0")
        pm.Normal("x", 0, 1, shape=2)
    with pytest.raises(ValueError, match="a dimension 'x_dim_0', which is what results call an axis of 'x'"):
        bd.compile_prior(model)
    with pm.Model(coords={"x_dim_0": [1, 2, 3]}) as model:
        pm.Normal("x", 0, 1, dims="x_dim_0")  # and this is one
    bd.compile_prior(model)


def spoilt(path, array):
    """Change a byte in the middle of the last chunk of an array."""
    chunk = max(file for file in (path / array / "c").rglob("*") if file.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(content)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_block_that_cannot_be_read_back_is_computed_again(prior, tmp_path, monkeypatch, suffix):
    # Of the modes that the folder was begun for it is finished with fewer: the block is filled in all the same.
    o, store = np.linspace(-3, 3, 200), tmp_path / f"run{suffix}"
    call = partial(bd.find_map, prior, o, sigma=2.0, store=store, **QUIET)
    finish = inversion.finish

    def finish_and_spoil(path, attrs, lengths):
        finish(path, attrs, lengths)
        spoilt(path, "modes/x")

    with monkeypatch.context() as patched:
        patched.setattr(inversion, "finish", finish_and_spoil)
        says = (
            "1 of its blocks cannot be read back.*choose a disk that works: of its blocks 3 are kept in .* goes on from"
        )
        with pytest.raises(OSError, match=says):
            call()
    assert not store.exists()
    computed = []
    monkeypatch.setattr(inversion, "keep", lambda file, *rest: computed.append(file.name))
    run = call()
    assert computed == ["000003.npz"]
    assert bits(run) == bits(bd.find_map(prior, o, sigma=2.0, **QUIET))
    assert [file.name for file in tmp_path.iterdir()] == [store.name]


@pytest.mark.usefixtures("small")
def test_what_all_blocks_share_and_cannot_be_read_back_is_said(prior, tmp_path, monkeypatch):
    call = partial(bd.find_map, prior, np.zeros(130), sigma=2.0, store=tmp_path / "run.zarr", **QUIET)
    finish = inversion.finish

    def finish_and_spoil(path, attrs, lengths):
        finish(path, attrs, lengths)
        spoilt(path, "prior/x")

    says = r"run\.zarr cannot be read back .*remove .*\.levels, and all is computed"
    with monkeypatch.context() as patched:
        patched.setattr(inversion, "finish", finish_and_spoil)
        with pytest.raises(ValueError, match=says):
            call()
    with pytest.raises(ValueError, match=says):
        call()
    assert len(list((tmp_path / ".run.zarr.levels").glob("*.npz"))) == 3
    assert not (tmp_path / "run.zarr").exists()


@pytest.mark.filterwarnings("ignore:.*replicates:UserWarning")
@pytest.mark.parametrize(
    ("which", "suffix"), [("find_map", ".zarr"), ("reverse", ".nc"), ("calibrate", ".zarr"), ("sample", ".zarr")]
)
def test_parts_are_kept_until_the_result_was_read_back(prior, tmp_path, monkeypatch, which, suffix):
    store = tmp_path / f"run{suffix}"
    call = {
        "find_map": partial(bd.find_map, prior, [1.0, 2.0], sigma=2.0),
        "reverse": partial(bd.reverse, prior, bd.geometric(2, 0.4, 12.0), bd.laplace, draws=20),
        "sample": partial(bd.sample, prior, draws=50, chains=2),
        "calibrate": partial(bd.calibrate, prior, 1.0, 2.0, bd.laplace, replicates=20, draws=5),
    }[which]
    kind = f"_write_{'zarr' if suffix == '.zarr' else 'netcdf'}"
    write = getattr(results, kind)
    folder = tmp_path / f".run{suffix}.levels"

    def other_numbers(plain, path):
        other = plain.copy(deep=True)
        node = next(node for node in other.subtree if len(node.data_vars))
        name = next(iter(node.data_vars))
        node[name] = node[name] + 1
        write(other, path)

    with monkeypatch.context() as patched:
        patched.setattr(results, kind, other_numbers)
        with pytest.raises(OSError, match=r"cannot be read back: .* is not what it was"):
            call(store=store, **QUIET)
    parts = {file.name for file in folder.glob("*.npz")}
    assert bool(parts) == (which != "find_map")  # of one block nothing is kept
    assert not store.exists()
    run = call(store=store, **QUIET)
    assert bits(bd.load(store)) == bits(run)
    assert not folder.exists()
