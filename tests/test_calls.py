"""Long calls: what one must be to go on, and what is mended when a part of it is gone."""

from dataclasses import replace
from functools import cache, partial

import jax
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest

import bayesdiff as bd
from bayesdiff import compiled, inversion, results, verdict
from bayesdiff.calls import Call, long_call
from bayesdiff.growing import Growth
from bayesdiff.invert.tuning import SAMPLING, SEARCH
from bayesdiff.stopped import unfinished

QUIET = {"random_seed": 1, "progressbar": False}


@pytest.fixture(scope="module")
def prior():
    with pm.Model() as model:
        pm.Normal("x", 0, 1)
    return bd.compile_prior(model)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(inversion, "SEARCH", replace(SEARCH, chunk=64, part_chunks=1))


def stopped(call, after, monkeypatch):
    """Stop a call once it has kept so many parts."""
    keep, units = Call.keep, []

    def keep_and_stop(self, name, found):
        keep(self, name, found)
        units.append(name)
        if len(units) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Call, "keep", keep_and_stop)
        with pytest.raises(KeyboardInterrupt, match=f"of its parts {after} are kept"):
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
    asked = {"draws": np.int64(10), "path": np.bool_(True), "probability": np.float32(0.5), "o": np.arange(2)}
    with long_call("reverse", lambda: asked, 1, tmp_path / "run.zarr", None, False, total=1) as call:
        ours = call.asked
    assert {name: ours[name] for name in asked} == {"draws": 10, "path": True, "probability": 0.5, "o": [0, 1]}


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


FACTOR = 0.5


def half(o):
    return FACTOR * o


def made(array, *, option=1, pair=(1, 2)):
    def invert(prior, o, alpha, sigma, *, start=None, random_seed=None, more=option):
        return half(o) + more * array.sum() * 0 + 0 * sum(pair), {}

    return invert


class Scaled:
    """An inverter that is an object."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, prior, o, alpha, sigma, *, start=None, random_seed=None):
        return self.factor * o, {}


def other_constant(prior, o, alpha, sigma, *, start=None, random_seed=None):
    return 0.5 * o + 0 * sum((1, 3)), {}


def constant(prior, o, alpha, sigma, *, start=None, random_seed=None):
    return 0.5 * o + 0 * sum((1, 2)), {}


other_constant.__name__ = other_constant.__qualname__ = "constant"


@pytest.mark.filterwarnings("ignore:20 replicates see gross errors alone:UserWarning")
@pytest.mark.parametrize(
    ("call", "one", "others"),
    [
        (
            partial(bd.reverse, schedule=bd.geometric(2, 0.4, 12.0), draws=10),
            made(np.ones(3)),
            [
                made(np.ones(3), option=2),
                made(np.ones(3), pair=(1, 3)),
                made(np.array([1.0, 1.0, 2.0])),
                partial(constant),
            ],
        ),
        (partial(bd.reverse, schedule=bd.geometric(2, 0.4, 12.0), draws=10), constant, [other_constant]),
        (partial(bd.calibrate, alpha=1.0, sigma=2.0, replicates=20, draws=9), Scaled(0.5), [Scaled(0.25)]),
    ],
)
def test_an_inverter_that_was_changed_is_another(prior, tmp_path, call, one, others):
    store = tmp_path / "run.zarr"
    call(prior, invert=one, store=store, **QUIET)
    call(prior, invert=one, store=store, **QUIET)
    for other in others:
        with pytest.raises(ValueError, match=r"invert was .* there and is"):
            call(prior, invert=other, store=store, **QUIET)


def test_a_global_that_was_changed_is_seen(prior, tmp_path, monkeypatch):
    invert, store = made(np.ones(3)), tmp_path / "run.zarr"
    call = partial(bd.reverse, prior, bd.geometric(2, 0.4, 12.0), invert, draws=10, store=store, **QUIET)
    call()
    call()
    monkeypatch.setitem(half.__globals__, "FACTOR", 0.25)  # which a function reads that the inverter calls
    with pytest.raises(ValueError, match="code of invert was"):
        call()


def test_what_cannot_be_compared_is_named_and_not_taken_for_the_same(prior, tmp_path):
    store = tmp_path / "run.zarr"
    with open(tmp_path / "log", "w") as handle:

        def invert(prior, o, alpha, sigma, *, start=None, random_seed=None):
            handle.write("once more")
            return 0.5 * o, {}

        call = partial(bd.reverse, prior, bd.geometric(2, 0.4, 12.0), invert, draws=10, store=store, **QUIET)
        whole = call()
        assert bits(bd.load(store)) == bits(whole)
        with pytest.raises(
            ValueError, match=r"closure 'handle' of .*invert: a TextIOWrapper cannot be compared .*remove"
        ):
            call()


def test_a_prior_that_differs_far_away_is_another(tmp_path):
    def cut_off(at):
        with pm.Model() as model:
            x = pm.Normal("x")
            pm.Potential("far", pt.switch(x > at, -1.0, 0.0))
        return model

    call = partial(bd.find_map, o=[0.5], sigma=1.0, store=tmp_path / "run.zarr", **QUIET)
    call(cut_off(50.0))
    call(cut_off(50.0))
    with pytest.raises(ValueError, match="prior was"):
        call(cut_off(60.0))


@pytest.mark.filterwarnings("ignore:.*not to be trusted|.*effective draws:UserWarning")
def test_float64_whatever_the_switch_says_now():
    o = {"x": [0.3, 1.0], "s": 0.1}

    def calls():
        with pm.Model() as model:
            pm.Normal("x", 1.0 + 1e-9, 1, shape=2)
            pm.Exponential("s", 1.0)
        compiled = bd.compile_prior(model)
        yield bd.find_map(compiled, o, sigma=2.0, **QUIET)
        yield bd.sample_posterior(compiled, o, sigma=2.0, draws=20, tune=20, chains=2, **QUIET)
        yield bd.reverse(compiled, bd.geometric(2, 0.4, 12.0), bd.laplace, draws=10, **QUIET)

    try:
        expected = [bits(run) for run in calls()]
        jax.config.update("jax_enable_x64", False)
        assert [bits(run) for run in calls()] == expected
        assert not jax.config.jax_enable_x64  # it is the user's
    finally:
        jax.config.update("jax_enable_x64", True)


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
    small = replace(SAMPLING, chunk_chains=128, part_numbers=64 * 2 * 20 * 6)
    monkeypatch.setattr(inversion, "SAMPLING", small)


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
    keep = Call.keep

    def keep_and_stop(*args):
        keep(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Call, "keep", keep_and_stop)
    with pytest.raises(KeyboardInterrupt, match="of its levels 1 are kept"):
        bd.reverse(odd, bd.geometric(2, 0.4, 12.0), bd.laplace, draws=9, store=tmp_path / "run.zarr", **QUIET)
    assert list(unfinished(tmp_path / "run.zarr")["path"].data_vars) == [r"$\mu$", "zarr.json"]


@pytest.fixture
def nothing_compiled(monkeypatch):
    monkeypatch.setattr(compiled, "join_nonshared_inputs", None)


@cache
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
@pytest.mark.usefixtures("nothing_compiled")
def test_names_that_cannot_be_kept_are_refused_at_once(tmp_path, which):
    half = "with half of a surrogate pair, which is no letter; write it without"
    for name, what, says in (
        ("\ud800", "variable", rf"the prior has a variable '\\ud800', {half}"),
        ("a\udfffb", "Deterministic", rf"the prior has a variable 'a\\udfffb', {half}"),
        ("\udc80", "dimension", rf"the prior has a dimension '\\udc80', {half}"),
        ("a/b", "dimension", "the prior has a dimension 'a/b', and a slash is what parts groups; write it without"),
        ("", "dimension", "a dimension of the prior has an empty name, ''; give it one of a letter at least"),
        ("", "variable", "a variable of the prior has an empty name, ''; give it one"),
    ):
        for stored in ({}, {"store": tmp_path / "run.zarr"}):
            with pytest.raises(ValueError, match=says):
                CALLS[which](named(name, what), **QUIET, **stored)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def labelled():
    """A model for each label that cannot be kept, with what is said of it; and one that has a dimension twice."""
    refused = []
    for label, error, says in (
        (
            "\ud800",
            ValueError,
            r"the dimension 'd' has the label .* \(str\), which a saved run does not keep: half of a",
        ),
        (("a", ("b", "\udc80")), ValueError, "half of a surrogate pair; write numbers, text"),
        (print, TypeError, r"the dimension 'd' has the label <built-in function print> \(builtin_function_or_method\)"),
        (frozenset("a"), TypeError, r"the dimension 'd' has the label frozenset\(.*as str\(label\)"),
        ("x" * 70_000 + "\0", ValueError, "the dimension 'd' has a label of 70,008 letters.*of 65,536 at most"),
    ):
        with pm.Model(coords={"d": ["p", label]}) as model:
            pm.Normal("x", 0, 1, dims="d")
        refused.append((model, error, says))
    with pm.Model(coords={"d": ["p", "q"]}) as model:
        pm.Normal("x", 0, 1, dims=("d", "d"))
    says = r"variable 'x' of the prior has the dimension 'd' twice.*dims=\('d', 'd_2'\)"
    return [*refused, (model, ValueError, says)]


@pytest.mark.parametrize("which", CALLS)
@pytest.mark.usefixtures("nothing_compiled")
def test_labels_that_cannot_be_kept_are_refused_at_once(labelled, which):
    for model, error, says in labelled:
        with pytest.raises(error, match=says):
            CALLS[which](model, **QUIET)


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


def spoiling(monkeypatch, array, times):
    """Spoil the last chunk of an array, so often, before the folder is read back; return what parts are computed."""
    damaged, keep, computed, left = Growth.damaged, Call.keep, [], [times]

    def spoil_and_look(self):
        if left[0]:
            left[0] -= 1
            spoilt(self.path, array)
        return damaged(self)

    def keep_and_count(self, name, found):
        keep(self, name, found)
        computed.append(name)

    monkeypatch.setattr(Growth, "damaged", spoil_and_look)
    monkeypatch.setattr(Call, "keep", keep_and_count)
    return computed


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("suffix", "array", "again"), [(".zarr", "modes/x", "000003"), (".nc", "prior/x", "000000")])
def test_only_what_cannot_be_read_back_is_computed_again(prior, tmp_path, monkeypatch, suffix, array, again):
    # What all parts share is written with the first.
    o, store = np.linspace(-3, 3, 200), tmp_path / f"run{suffix}"
    call = partial(bd.find_map, prior, o, sigma=2.0, **QUIET)
    computed = spoiling(monkeypatch, array, 1)
    run = call(store=store)
    assert computed == ["000000", "000001", "000002", "000003", again]
    assert bits(run) == bits(call())
    assert [file.name for file in tmp_path.iterdir()] == [store.name]


@pytest.mark.usefixtures("small")
def test_what_is_said_of_later_parts_has_its_words(prior, tmp_path):
    o = np.linspace(-3, 3, 200)
    o[150] = np.nan
    with pytest.warns(UserWarning, match="1 of 200 observations"):
        run = bd.find_map(prior, o, sigma=2.0, store=tmp_path / "run.zarr", **QUIET)
    code = verdict.named(run["verdict"]["code"])
    assert set(code[:64]) == {"ok"}
    assert code[150] == "not_finite"


@pytest.mark.usefixtures("small")
def test_a_disk_that_does_not_give_back_is_said_to_fail(prior, tmp_path, monkeypatch):
    call = partial(bd.find_map, prior, np.zeros(200), sigma=2.0, store=tmp_path / "run.zarr", **QUIET)
    says = "1 of its parts cannot be read back.*choose a disk that works: of its parts 3 are kept in .* goes on from"
    with monkeypatch.context() as patched:
        spoiling(patched, "modes/x", 99)
        with pytest.raises(OSError, match=says):
            call()
    assert not (tmp_path / "run.zarr").exists()
    computed = spoiling(monkeypatch, "modes/x", 0)
    call()
    assert computed == ["000003"]


@pytest.mark.filterwarnings("ignore:.*replicates|.*not to be trusted:UserWarning")
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

    def other_numbers(plain, path, *args):
        other = plain.copy(deep=True)
        node = next(node for node in other.subtree if len(node.data_vars))
        name = next(iter(node.data_vars))
        node[name] = node[name] + 1
        write(other, path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(results, kind, other_numbers)
        with pytest.raises(OSError, match=r"cannot be read back: .* is not what it was"):
            call(store=store, **QUIET)
    parts = {file.name for file in folder.glob("*.npz")}
    assert parts
    assert not store.exists()
    run = call(store=store, **QUIET)
    assert bits(bd.load(store)) == bits(run)
    assert not folder.exists()
