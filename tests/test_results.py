"""What is saved is read back identical, or not at all."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import arviz_base
import numpy as np
import pytest
import xarray as xr
import zarr
from arviz_base.validate import validate_sample_dims
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bayesdiff import results
from bayesdiff.results import dataset, load, save, tree

SAMPLE = ("chain", "draw")
SCHOOLS = np.array(["Añ", "B", "St. Paul's"])


def run(seed=0):
    """Two results under one root, with every dtype, label and attribute that a result may have."""
    rng = np.random.default_rng(seed)
    draws = dataset(
        {
            "zeta": rng.normal(size=(2, 5, 3)),  # not in alphabetical order: panels and tables follow the model's
            "alpha": np.where(rng.random((2, 5)) < 0.5, np.nan, 1.5),
            "single": rng.normal(size=(2, 5)).astype(np.float32),
            "empty": np.zeros((2, 5, 0)),
        },
        sample_dims=SAMPLE,
        dims={"zeta": ["school"]},
        coords={"school": SCHOOLS, "unused": [1, 2]},
    )
    draws["zeta"].attrs = {"units": "points", "limits": [1], "shown": True}
    stats = dataset(
        {"diverging": rng.random((2, 5)) < 0.5, "n_steps": rng.integers(9, size=(2, 5)), "zero": np.zeros((2, 5))},
        sample_dims=SAMPLE,
    )
    constant = dataset({"sigma": np.float64(10), "name": np.array("x")})
    attrs = {
        "created_at": "2026-01-01T00:00:00+00:00",
        "inference_library": "bayesdiff",
        "model_graph": 'graph TD\n  x(["x ~ Normal"]) --> o\n' * 500,
        "random_seed": np.int64(7),
        "sampling_time": 1.25,
        "warning": "",
        "names": ["a"],
        "sizes": [1, 2],
        "none": None,
        "nested": {"a": [1, "b"]},
    }
    one = tree({"posterior": draws, "sample_stats": stats, "constant_data": constant}, attrs)
    other = tree({"posterior": draws[["zeta", "alpha"]], "sample_stats": stats[["diverging"]]}, attrs)
    return tree({"posterior": one, "map": other}, {"created_at": attrs["created_at"]})


# Building.


def test_dataset_labels_without_copying():
    x = np.zeros((4, 10, 2, 3))
    ds = dataset({"x": x}, sample_dims=SAMPLE, dims={"x": [None, "school"]}, coords={"school": ("a", "b", "c")})
    assert np.shares_memory(ds["x"].values, x)
    assert ds["x"].dims == ("chain", "draw", "x_dim_0", "school")
    assert ds["school"].values.tolist() == ["a", "b", "c"]
    assert ds["x_dim_0"].values.tolist() == [0, 1]


def test_dataset_names_axes_as_arviz_does():
    values = {"a": np.zeros((2, 3, 4, 5)), "b": np.zeros((2, 3))}
    dims, coords = {"a": [None, "school"]}, {"school": list("vwxyz"), "unused": [1]}
    ours = dataset(values, sample_dims=SAMPLE, dims=dims, coords=coords)
    theirs = arviz_base.dict_to_dataset(values, sample_dims=SAMPLE, dims=dims, coords=coords)
    xr.testing.assert_equal(ours, theirs)
    assert ours.attrs["sample_dims"] == theirs.attrs["sample_dims"]


def test_arviz_reduces_the_sample_dims_that_the_dataset_names():
    ds = dataset({"x": np.arange(8.0).reshape(8, 1)}, sample_dims=("particle",))
    assert list(validate_sample_dims(None, data=ds)) == ["particle"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": {"x": ["a", "b"]}}, "'x' has shape \\(3,\\), but 2 dimensions were named"),
        ({"dims": {"x": ["a"]}, "coords": {"a": ["one"]}}, "'a' has 3 entries, its labels have shape \\(1,\\)"),
    ],
)
def test_dataset_says_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        dataset({"x": np.zeros(3)}, **options)


def test_tree_has_no_name_and_a_date():
    made = tree({"posterior": dataset({"x": 1.0})}, {"warning": ""})
    assert made.name is None
    assert made.attrs["created_at"].endswith("+00:00")
    assert tree({}, {"created_at": "then"}).attrs == {"created_at": "then"}


# There and back.


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_load_is_identical_to_what_was_saved(tmp_path, suffix):
    saved = run()
    path = save(saved, tmp_path / "new" / "folders" / f"run{suffix}")
    found = load(path)
    assert found.identical(saved)
    for node in saved.subtree:
        ours, theirs = node.to_dataset(), found[node.path].to_dataset()
        assert list(ours.variables) == list(theirs.variables)  # in the same order
        assert list(ours.data_vars) == list(theirs.data_vars)
        assert list(node.children) == list(found[node.path].children)
        assert {k: (v.dtype, v.dims) for k, v in ours.variables.items()} == {
            k: (v.dtype, v.dims) for k, v in theirs.variables.items()
        }
        assert {k: type(v) for k, v in found[node.path].attrs.items()} == {
            k: int if isinstance(v, np.integer) else type(v) for k, v in node.attrs.items()
        }
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing is left beside it


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_load_is_not_identical_to_something_else(tmp_path, suffix):
    assert not load(save(run(0), tmp_path / f"run{suffix}")).identical(run(1))


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_saving_what_was_loaded_changes_nothing(tmp_path, suffix):
    first = load(save(run(), tmp_path / f"a{suffix}"))
    assert load(save(first, tmp_path / f"b{suffix}")).identical(run())


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize("kind", [object, np.dtypes.StringDType()])
def test_text_of_any_kind_comes_back_as_fixed_width_text(tmp_path, suffix, kind):
    ds = xr.Dataset({"x": ("school", [1.0, 2.0, 3.0])}, coords={"school": SCHOOLS.astype(kind)})
    found = load(save(tree({"posterior": ds}), tmp_path / f"run{suffix}"))["posterior"]
    assert found["school"].dtype == SCHOOLS.dtype
    assert found["school"].values.tolist() == SCHOOLS.tolist()


def test_a_branch_can_be_saved(tmp_path):
    branch = run()["map"]
    found = load(save(branch, tmp_path / "run.zarr"))
    assert found.identical(tree(branch.children, branch.attrs))


def test_save_does_not_touch_the_tree(tmp_path):
    ours = run()
    for suffix in (".zarr", ".nc"):
        save(ours, tmp_path / f"run{suffix}")
    assert ours.identical(run())
    assert not any(name.startswith("bayesdiff") for name in ours.attrs)


def test_arviz_and_xarray_read_the_files(tmp_path):
    with xr.open_datatree(save(run(), tmp_path / "run.nc"), engine="h5netcdf") as found:
        assert list(found["map/posterior"].attrs["sample_dims"]) == list(SAMPLE)
    with xr.open_datatree(save(run(), tmp_path / "run.zarr"), engine="zarr", consolidated=False) as found:
        assert found.attrs["bayesdiff_format"] == 2


# Saving: bad paths, and what is there already.


def test_save_refuses_what_exists(tmp_path):
    path = save(run(0), tmp_path / "run.zarr")
    with pytest.raises(FileExistsError, match=r"run\.zarr exists.*overwrite=True in Python, --overwrite on the"):
        save(run(1), path)
    assert load(path).identical(run(0))


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_save_overwrites_when_told_to(tmp_path, suffix):
    path = save(run(0), tmp_path / f"run{suffix}")
    assert load(save(run(1), path, overwrite=True)).identical(run(1))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["mine.zarr", "mine.nc"])
def test_save_never_overwrites_what_is_not_a_run(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("five years")
    with pytest.raises(FileExistsError, match="is not a run"):
        save(run(), tmp_path / name, overwrite=True)
    assert (tmp_path / name / "thesis.txt").read_text() == "five years"


@pytest.mark.parametrize("path", ["run", "run.h5", "run.zarr.zip"])
def test_save_wants_a_suffix_that_it_knows(tmp_path, path):
    with pytest.raises(ValueError, match=r"must end in \.zarr"):
        save(run(), tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_save_wants_a_tree(tmp_path):
    with pytest.raises(TypeError, match="not a Dataset"):
        save(dataset({"x": 1.0}), tmp_path / "run.zarr")


def test_save_wants_attributes_that_can_be_written(tmp_path):
    with pytest.raises(TypeError, match="Attributes must be text, numbers"):
        save(tree({}, {"model": object()}), tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


def test_netcdf_has_no_room_for_very_long_text(tmp_path):
    long = tree({"posterior": dataset({"x": 1.0})}, {"model_graph": "x" * 70_000})
    with pytest.raises(ValueError, match=r"'model_graph' is too long for NetCDF.*\.zarr"):
        save(long, tmp_path / "run.nc")
    assert load(save(long, tmp_path / "run.zarr")).identical(long)
    several = tree({"posterior": dataset({"x": 1.0})}, {"a": "x" * 59_000, "b": "y" * 59_000})
    assert load(save(several, tmp_path / "run.nc")).identical(several)


def test_netcdf_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    path = save(run(), tmp_path / "run.nc")
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(ImportError, match=r'pip install "bayesdiff\[netcdf\]"'):
        save(run(), tmp_path / "other.nc")
    with pytest.raises(ImportError, match=r'pip install "bayesdiff\[netcdf\]"'):
        load(path)
    assert load(save(run(), tmp_path / "run.zarr")).identical(run())


# Whole or not at all.


@pytest.mark.parametrize("fails", ["_write_zarr", "rename"])
def test_a_failed_save_keeps_the_old_run(tmp_path, monkeypatch, fails):
    path = save(run(0), tmp_path / "run.zarr")
    rename = os.rename

    def full_disk(plain, new):
        new.mkdir()
        (new / "zarr.json").write_text("{}")
        raise OSError("no space left")

    def interrupted(this, target):
        if this.parent != path.parent and this.name == path.name:
            raise KeyboardInterrupt
        return rename(this, target)

    if fails == "rename":
        monkeypatch.setattr(os, "rename", interrupted)
    else:
        monkeypatch.setattr(results, "_write_zarr", full_disk)
    with pytest.raises((OSError, KeyboardInterrupt)):
        save(run(1), path, overwrite=True)
    monkeypatch.undo()
    assert load(path).identical(run(0))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["run.zarr", "run.nc"])
def test_a_link_stays_and_the_run_it_points_to_is_replaced(tmp_path, name):
    (tmp_path / "disk").mkdir()
    path = save(run(0), tmp_path / "disk" / name)
    path.rename(tmp_path / "disk" / "other")  # without an ending: it is the link's name that is read
    link = tmp_path / f"link-{name}"
    link.symlink_to("disk/other")
    assert save(run(1), link, overwrite=True) == link
    assert os.readlink(link) == "disk/other"
    assert load(link).identical(run(1))
    assert sorted(os.listdir(tmp_path)) == ["disk", link.name]
    assert os.listdir(tmp_path / "disk") == ["other"]


@pytest.mark.parametrize("name", ["run.zarr", "run.nc"])
def test_a_run_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch, name):
    fsync, synced, fsync_at = os.fsync, set(), set()

    def follow(handle):
        synced.add(os.fstat(handle).st_ino)
        if (tmp_path / name).exists():
            fsync_at.add(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", follow)
    save(run(), tmp_path / name)
    assert {path.stat().st_ino for path in [tmp_path / name, *(tmp_path / name).rglob("*")]} <= synced
    assert fsync_at == {tmp_path.stat().st_ino}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_save_leaves_no_half_run(tmp_path):
    script = """
import os, signal, sys
from bayesdiff import results
write = results._write_zarr
def killed(plain, path):
    write(plain, path)
    os.kill(os.getpid(), signal.SIGKILL)
results._write_zarr = killed
results.save(results.tree({"posterior": results.dataset({"x": 1.0})}), sys.argv[1])
"""
    path = tmp_path / "run.zarr"
    environment = os.environ | {"PYTHONPATH": str(Path(results.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script, str(path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    assert all(p.name.startswith(".run.zarr-") for p in tmp_path.iterdir())
    assert load(save(run(), path)).identical(run())


# Loading what is not whole, or not ours.


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no run at .*nowhere\.zarr"):
        load(tmp_path / "nowhere.zarr")


def test_load_refuses_what_is_not_ours(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.nc").write_text("not a run")
    dataset({"x": 1.0}).to_zarr(tmp_path / "foreign.zarr", consolidated=False)
    dataset({"x": 1.0}).drop_attrs().to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    for name in ("folder", "text.nc", "foreign.zarr", "foreign.nc"):
        with pytest.raises(ValueError, match=f"{name} is not a run saved by bayesdiff"):
            load(tmp_path / name)


def test_load_refuses_a_newer_format(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FORMAT", 3)
    monkeypatch.setattr(results, "__version__", "9.8.7")
    path = save(run(), tmp_path / "run.zarr")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"has format 3, .* reads format 2\. Upgrade to bayesdiff 9\.8\.7"):
        load(path)


def chunks(path):
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name != "zarr.json")


def test_load_notices_every_missing_chunk(tmp_path):
    path = save(run(), tmp_path / "run.zarr")
    found = chunks(path)
    assert len(found) > 20
    for chunk in found:
        content = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(ValueError, match=r"is damaged: 1 chunks of /.* are missing"):
            load(path)
        chunk.write_bytes(content)
    assert load(path).identical(run())


def test_load_notices_every_changed_chunk(tmp_path):
    whole = tree({"posterior": run()["posterior/posterior"]}, {"created_at": "now"})
    path = save(whole, tmp_path / "run.zarr")
    for i, chunk in enumerate(chunks(path)):
        content = chunk.read_bytes()
        changed = bytearray(content)
        changed[(7 * i) % len(content)] ^= 0xFF
        for garbage in (b"garbage", content[:-1]):
            chunk.write_bytes(garbage)
            with pytest.raises(ValueError, match="is damaged"):
                load(path)
        chunk.write_bytes(bytes(changed))
        with contextlib.suppress(ValueError):  # a byte of the compressed frame may mean nothing
            assert load(path).identical(whole), f"{chunk} was changed, and read as something else"
        chunk.write_bytes(content)
    assert load(path).identical(whole)


@pytest.mark.parametrize("lost", ["map", "map/posterior", "map/posterior/zeta", "posterior/constant_data/sigma"])
def test_load_notices_a_missing_array_or_group(tmp_path, lost):
    path = save(run(), tmp_path / "run.zarr")
    (path / lost / "zarr.json").unlink()
    with pytest.raises(ValueError, match="is damaged"):
        load(path)


def test_load_notices_a_cut_netcdf_file(tmp_path):
    path = save(run(), tmp_path / "run.nc")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"run\.nc is (damaged|not a run)"):
        load(path)


def test_load_notices_a_changed_byte_in_a_netcdf_array(tmp_path):
    ds = dataset({"x": np.full(100, 1.2345678)})
    path = save(tree({"posterior": ds}), tmp_path / "run.nc")
    content = bytearray(path.read_bytes())
    at = bytes(content).index(np.float64(1.2345678).tobytes() * 10)
    content[at + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        load(path)


# Names.

LISTED = [
    *(r"$\mu$", "a\\b", ".", "..", "zarr.json", "Zarr.JSON", "", "c", "n" * 256, "é" * 200, "a\0b", "\0", " x", "x "),
    *("x.", ".x", "a\nb", "\t", "CON", "nul.txt", "com¹", "__x", "_nc4_non_coord_x", "e\u0301", "é", "a,b=c", "v0"),
    *("V1", "a b", "A", "a", "ß", "SS", "ﬁ", "x\u2028y", "\u200f", "x:y", "<b>", "%2F", "~", "posterior", "Posterior"),
    *("phony_dim_0", "😀", "x?", "*", '"', "nan", "1"),
]
NASTY = st.one_of(
    st.sampled_from(LISTED),
    st.text(r"\.:$ _vVcCaA01é" + "\0\u0301", max_size=4),
    st.text(st.characters(exclude_characters="/", exclude_categories=("Cs",)), max_size=6),
)
SAME_ALWAYS = {"derandomize": True, "deadline": None, "database": None, "phases": [Phase.generate]}


def named(variables, dims, groups, there):
    """A tree with these names: of variables, dimensions (of labels, of none and of labels beside them), groups."""
    parts = [xr.Dataset({name: float(i) for i, name in enumerate(variables)}, attrs={name: name for name in variables})]
    for i, dim in enumerate(dims):
        labels = {dim: ["a", "b"]} if i % 2 else {}
        x, beside = f"{dim}x", f"{dim}*"
        parts.append(xr.Dataset({x: (dim, [i, 2])}, coords={**labels, beside: (dim, [0.5, np.nan])}))
    root = xr.DataTree(children={f"p{i}": xr.DataTree(part) for i, part in enumerate(parts)})
    root.attrs = {"text": "".join(variables), "list": [*dims], "numbers": [np.nan, np.inf, 1.0], "nan": -np.inf}
    root["p0"].children = {name: xr.DataTree(parts[-1]) for name in groups if name not in (*variables, *there)}
    return root


def same(found, saved):
    assert found.identical(saved)
    for ours, theirs in zip(saved.subtree, found.subtree, strict=True):
        assert [*map(str, ours.children)] == [*map(str, theirs.children)]
        one, two = ours.to_dataset(inherit=False), theirs.to_dataset(inherit=False)
        assert list(one.variables) == list(two.variables)
        assert list(one.coords) == list(two.coords)
        assert [v.dims for v in one.variables.values()] == [v.dims for v in two.variables.values()]
        assert all(index.name == dim for dim, index in two.indexes.items())


@settings(max_examples=8, **SAME_ALWAYS)
@given(*[st.lists(NASTY, min_size=1, max_size=4, unique=True)] * 3)
def test_any_name_comes_back(variables, dims, groups):
    saved = named(variables, dims, groups, there=("", ".", ".."))
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".zarr", ".nc"):
            path = save(saved, f"{folder}/run{suffix}")
            same(load(path), saved)
            same(load(path, in_memory=False), saved)


def test_all_listed_names_come_back_together(tmp_path):
    saved = named(LISTED, LISTED, LISTED, there=("", ".", ".."))
    for suffix in (".zarr", ".nc"):
        same(load(save(saved, tmp_path / f"run{suffix}")), saved)


def test_ordinary_names_are_stored_as_they_are(tmp_path):
    ordinary = ["mu", "x_dim_0", "theta[0]", "$x$", "école", "μ", "a.b-c", "_x", "step_size", "C", "x1"]
    path = save(tree({"posterior": xr.Dataset(dict.fromkeys(ordinary, 1.0))}), tmp_path / "run.zarr")
    assert {file.name for file in (path / "posterior").iterdir()} == {*ordinary, "zarr.json"}
    layout = json.loads(zarr.open_group(path).attrs["bayesdiff_layout"])
    assert list(layout["/posterior"]["variables"]) == ordinary
    assert set(layout["/"]) == {"attrs", "variables"}


def test_no_stored_name_is_one_of_the_trees_own(tmp_path):
    ours = {"a\\b": 1.0, "v0": 2.0, "V1": 3.0, "A": 4.0, "a": 5.0}
    path = save(tree({"posterior": xr.Dataset(ours)}), tmp_path / "run.zarr")
    files = {file.name for file in (path / "posterior").iterdir()}
    assert files == {"zarr.json", "v2", "v0", "V1", "A", "v3"}
    assert {name: value.item() for name, value in load(path)["posterior"].data_vars.items()} == ours


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize(
    ("odd", "error", "says"),
    [
        (
            {"g": xr.Dataset({"\ud800": 1.0})},
            ValueError,
            r"'\\ud800' of a variable or dimension has half of a surrogate",
        ),
        ({"g": xr.Dataset({"x": ("a\udfff", [1.0])})}, ValueError, r"'a\\udfff' of a variable or dimension has half"),
        ({"g": xr.Dataset({3: 1.0})}, TypeError, "name of a variable or dimension is 3, which is no text"),
        ({"g": xr.Dataset({"x": (("a", None), [[1.0]])})}, TypeError, "is None, which is no text"),
        ({"\ud800": xr.Dataset()}, ValueError, r"'\\ud800' of a group has half of a surrogate"),
        ({"..": xr.Dataset()}, ValueError, r"A group is called '\.\.', which is no path to it; give it another name"),
    ],
)
def test_names_that_cannot_be_kept_are_refused(tmp_path, suffix, odd, error, says):
    with pytest.raises(error, match=says):
        save(tree(odd), tmp_path / f"run{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_what_cannot_be_read_back_replaces_nothing(tmp_path, suffix, monkeypatch):
    path = save(run(0), tmp_path / f"run{suffix}")
    kind = "zarr" if suffix == ".zarr" else "netcdf"
    write = getattr(results, f"_write_{kind}")

    def other_numbers(plain, new):
        other = plain.copy(deep=True)
        other["map/posterior"]["zeta"][0, 0, 0] += 1e-9
        write(other, new)

    def less(plain, new):
        write(plain.filter(lambda node: node.name != "constant_data"), new)

    for wrong, says in ((other_numbers, "'zeta' of the group 'posterior' is not what it was"), (less, "constant_data")):
        monkeypatch.setattr(results, f"_write_{kind}", wrong)
        with pytest.raises(OSError, match=f"what was written cannot be read back: .*{says}"):
            save(run(0), path, overwrite=True)
        monkeypatch.undo()
        assert load(path).identical(run(0))
        assert [file.name for file in tmp_path.iterdir()] == [path.name]


# Attributes that other libraries take for orders, and links.

ORDERS = {
    **dict.fromkeys(
        ("_FillValue", "_Unsigned", "_Encoding", "_ARRAY_DIMENSIONS", "_Netcdf4Dimid", "_NCProperties"), "x"
    ),
    **dict.fromkeys(("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "calendar", "bounds", "grid_mapping"), "x"),
    **{"units": "days since then", "scale_factor": "great", "add_offset": 3.0, "missing_value": 1.0, "dtype": "bool"},
    **{"coordinates": "x y", "long_name": "a name", "formula_terms": "a: x", "shape": "2", "fill_value": 0.0},
}


def ordered(attrs):
    """One variable of each kind with these attributes, and they on the groups too."""
    values = {"f": [1.0, 2.0], "i": [1, 2], "b": [True, False], "t": ["a", "b"], "o": np.array([None, 1], object)}
    values |= {"m": np.array(["2026", "NaT"], "M8[s]"), "l": np.array([1, 2], "m8[ms]")}
    ds = xr.Dataset({name: ("d", value) for name, value in values.items()}, attrs=attrs)
    ds = ds.assign_coords(d=["u", "v"], y=("d", [1.0, np.nan]))
    for variable in ds.variables.values():
        variable.attrs = dict(attrs)
    return tree({"g": ds}, {"created_at": "then", **attrs})


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_attributes_that_are_orders_to_others_come_back(tmp_path, suffix):
    every = [ORDERS, *({name: value} for name, value in ORDERS.items())]
    saved = tree({f"a{i}": ordered(attrs) for i, attrs in enumerate(every)}, {"created_at": "then"})
    assert load(save(saved, tmp_path / f"run{suffix}")).identical(saved)


def test_other_programs_see_what_is_no_order(tmp_path):
    saved = ordered({"long_name": "a name", "units": "points", "scale_factor": 2.0, "_FillValue": 1.0})
    with xr.open_datatree(save(saved, tmp_path / "run.nc"), engine="h5netcdf") as found:
        assert found["g"]["f"].attrs == {"long_name": "a name", "units": "points"}
        np.testing.assert_array_equal(found["g"]["f"], [1.0, 2.0])


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize("inside", ["elsewhere/run", "elsewhere/store"])
def test_of_a_link_what_it_points_to_is_replaced(tmp_path, suffix, inside):
    there = tmp_path / "elsewhere" / f"run{suffix}"
    save(run(0), there)
    link, second = tmp_path / f"link{suffix}", tmp_path / f"second{suffix}"
    if inside.endswith("store"):  # a name that says nothing
        there = there.rename(tmp_path / inside)
    link.symlink_to(os.path.relpath(there, tmp_path))
    second.symlink_to(link)
    with pytest.raises(FileExistsError, match="exists"):
        save(run(1), link)
    for path, seed in ((link, 1), (second, 2)):
        assert save(run(seed), path, overwrite=True) == path
        assert link.is_symlink()
        assert second.is_symlink()
        assert not there.is_symlink()
        assert load(path).identical(run(seed))
        assert [file.name for file in there.parent.iterdir()] == [there.name]
    assert {file.name for file in tmp_path.iterdir()} == {link.name, second.name, "elsewhere"}


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_link_to_nothing_is_refused(tmp_path, suffix):
    link = tmp_path / f"link{suffix}"
    link.symlink_to(tmp_path / "nowhere")
    for overwrite in (True, False):
        with pytest.raises(ValueError, match="is a link to nothing; remove it"):
            save(run(), link, overwrite=overwrite)
    assert [file.name for file in tmp_path.iterdir()] == [link.name]
    assert link.is_symlink()
