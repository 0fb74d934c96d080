"""Runs that somebody else made: nothing of this machine comes into a result, and what is wrong is one sentence."""

import json
import os
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from numcodecs.zstd import Zstd

from bayesdiff import foreign, results, stopped
from bayesdiff.results import dataset, load, save, tree

SECRET = 42.125
WRONG = "is no run of bayesdiff, or it is damaged: "
ADVICE = ". Remove it and run it again, or take a copy that is whole."
DRAWS = "posterior/x"


def run(value=1.0):
    draws = dataset(
        {"x": np.full((2, 6), value), "name": np.array(["a", "bc"])},
        sample_dims=("chain",),
    )
    return tree({"posterior": draws}, {"created_at": "then", "names": ["a"], "draws": 6})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An honest run in both formats, and another that a link may lead to."""
    folder = tmp_path_factory.mktemp("whole")
    save(run(SECRET), folder / "secret.zarr")
    save(run(SECRET), folder / "secret.nc")
    return {suffix: save(run(), folder / f"run{suffix}") for suffix in (".zarr", ".nc")}


@pytest.fixture
def zarr_copy(whole, tmp_path):
    return Path(shutil.copytree(whole[".zarr"], tmp_path / "run.zarr"))


@pytest.fixture
def netcdf_copy(whole, tmp_path):
    return Path(shutil.copy(whole[".nc"], tmp_path / "run.nc"))


def error_of(path, **options):
    """What `load` says of it, or nothing where it can be read. What other libraries warn of is of no interest here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load(path, **options)
        except ValueError as error:
            return str(error)
    return ""


def refused(path, why, **options):
    """Load it, and see that this ends in the one sentence, which says why."""
    said = error_of(path, **options)
    assert said.startswith(f"{path} {WRONG}"), said
    assert said.endswith(ADVICE)
    assert why in said, said
    assert said.isprintable()
    assert str(SECRET) not in said
    assert len(said) < 700


# ------------------------------------------------------------------------------------------------- what lies elsewhere


def replaced(path, target):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    "inside", [f"{DRAWS}/c/0/0", f"{DRAWS}/c/0", f"{DRAWS}/c", DRAWS, f"{DRAWS}/zarr.json", "posterior", "zarr.json"]
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_link_inside_a_folder_is_refused(whole, zarr_copy, inside, in_memory):
    replaced(zarr_copy / inside, whole[".zarr"].with_name("secret.zarr") / inside)
    refused(zarr_copy, f"'{inside}' in it is a link to something else", in_memory=in_memory)


@pytest.mark.parametrize("target", ["/nowhere", ".", "..", "posterior", "/etc"])
def test_a_link_that_no_one_reads_is_refused_too(zarr_copy, target):
    (zarr_copy / "posterior" / "more").symlink_to(target)
    refused(zarr_copy, "'posterior/more' in it is a link to something else")


def test_a_pipe_in_a_folder_is_not_waited_for(zarr_copy):
    chunk = zarr_copy / DRAWS / "c/0/0"
    chunk.unlink()
    os.mkfifo(chunk)
    refused(zarr_copy, f"'{DRAWS}/c/0/0' in it is neither a file nor a folder")


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_link_of_ones_own_to_a_run_is_followed(whole, tmp_path, suffix):
    (tmp_path / f"mine{suffix}").symlink_to(whole[suffix])
    assert load(tmp_path / f"mine{suffix}").identical(run())
    assert load(f"{tmp_path}/mine{suffix}/" if suffix == ".zarr" else tmp_path / "mine.nc").identical(run())


def anew(file, **options):
    """Put another array in the place of the draws."""
    values = file[DRAWS][...]
    del file[DRAWS]
    return file["posterior"].create_dataset("x", **({"shape": values.shape, "dtype": "f8"} | options))


def outside(file, secret):
    del file[DRAWS]
    file[DRAWS] = h5py.ExternalLink(str(secret), DRAWS)


def outside_group(file, secret):
    del file["posterior"]
    file["posterior"] = h5py.ExternalLink(str(secret), "posterior")


def soft(file, secret):
    file.move(DRAWS, "posterior/y")
    file[DRAWS] = h5py.SoftLink("/posterior/y")


def external(file, secret):
    raw = secret.with_name("secret.bin")
    raw.write_bytes(np.full((2, 6), SECRET).tobytes())
    anew(file, external=[(str(raw), 0, 96)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((2, 6), "f8")
    layout[...] = h5py.VirtualSource(str(secret), DRAWS, shape=(2, 6))
    del file[DRAWS]
    file["posterior"].create_virtual_dataset("x", layout)


def plugin(file, secret):
    """A filter that HDF5 would look for as a library, in the folders that HDF5_PLUGIN_PATH names."""
    del file[DRAWS]
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((2, 6))
    how.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple((2, 6))
    h5py.h5d.create(file["posterior"].id, b"x", h5py.h5t.NATIVE_DOUBLE, space, dcpl=how)


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (outside, "'posterior/x' in it is a link to something else"),
        (outside_group, "'posterior' in it is a link to something else"),
        (soft, "'posterior/x' in it is a link to something else"),
        (external, "'posterior/x' in it is kept in other files"),
        (virtual, "'posterior/x' in it is kept in other files"),
        (plugin, "'posterior/x' in it needs a filter that runs are not written with ([32015])"),
        (lambda file, _: anew(file, chunks=(2, 6), compression="lzf"), "needs a filter"),
        (lambda file, _: file.__setitem__("posterior/loop", file["posterior"]), "is there under two names"),
        (lambda file, _: file.__setitem__("posterior/root", file["/"]), "is there under two names"),
        (lambda file, _: file.__setitem__("posterior/kind", np.dtype("f8")), "neither a group nor an array"),
    ],
)
def test_nothing_of_a_netcdf_file_lies_elsewhere(whole, netcdf_copy, attack, why):
    with h5py.File(netcdf_copy, "r+") as file:
        attack(file, whole[".nc"].with_name("secret.nc"))
    refused(netcdf_copy, why)


def test_a_copy_that_was_compressed_is_read(netcdf_copy):
    """As `nccopy -d 4 -s` writes it: shuffle and deflate are HDF5's own."""
    with h5py.File(netcdf_copy, "r+") as file:
        about = {name: file[DRAWS].attrs[name] for name in ("_Netcdf4Coordinates", "_FillValue")}
        values, scales = file[DRAWS][...], [file["posterior/chain"], file["posterior/x_dim_0"]]
        made = anew(file, data=values, chunks=(1, 6), compression="gzip", shuffle=True, fletcher32=True)
        made.attrs.update(about)
        for axis, scale in enumerate(scales):
            made.dims[axis].attach_scale(scale)
    assert load(netcdf_copy)["posterior"]["x"].identical(run()["posterior"]["x"])


def test_a_levels_folder_with_a_link_is_refused(tmp_path):
    folder = results.levels_folder(tmp_path / "run.zarr")
    folder.mkdir()
    call = {"function": "reverse", "alpha": [1, 1], "sigma": [0, 9], "chains": 1, "draws": 2, "variables": {"x": []}}
    call |= {"next_level": False, "invert": "mine", "seed": 1}
    (folder / "call.json").write_text(json.dumps(call))
    np.savez(tmp_path / "theirs.npz", o=np.ones((2, 1)))
    shutil.copy(tmp_path / "theirs.npz", folder / "000001.npz")
    assert stopped.unfinished(tmp_path / "run.zarr")["path"]["x"].shape == (1, 2, 1)
    (folder / "000001.npz").unlink()
    (folder / "000001.npz").symlink_to(tmp_path / "theirs.npz")
    with pytest.raises(ValueError, match=r"levels is damaged: '000001.npz' in it is a link"):
        stopped.unfinished(tmp_path / "run.zarr")


# ------------------------------------------------------------------------------------------------------ what it claims


def about(path, inside="", **changes):
    """Change what a zarr.json says."""
    file = path / inside / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def regular(*shape):
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
SHARDS = {"chunk_shape": [2, 6], "codecs": [BYTES], "index_codecs": [BYTES]}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shape": [10**6, 10**6], "chunk_grid": regular(10**6, 10**6)}, "does not hold its 8,000,000,000,000 bytes"),
        ({"shape": [10**6, 10**6]}, "chunks of /posterior/x are missing"),
        ({"shape": [10**6, 10**6], "chunk_grid": regular(1, 1)}, "chunks of /posterior/x are missing"),
        ({"shape": [3, 6]}, "1 chunks of /posterior/x are missing"),
        ({"shape": [2, 6], "chunk_grid": regular(2, 60)}, "does not hold its 960 bytes"),
        ({"shape": [-2, 6]}, ""),
        ({"shape": "2, 6"}, ""),
        ({"chunk_grid": regular(0, 6)}, ""),
        ({"dimension_names": ["chain", "chain"]}, ""),
        ({"data_type": "int32"}, ""),
        ({"data_type": "float32"}, "does not hold its 48 bytes"),
        ({"data_type": "int64", "fill_value": 0, "attributes": {}}, "'x' in '/posterior' is of dtype int64, not <f8"),
        ({"storage_transformers": [{"name": "elsewhere", "configuration": {"path": "/"}}]}, ""),
        ({"codecs": [BYTES, {"name": "gzip", "configuration": {"level": 1}}]}, "not with bytes and zstd"),
        ({"codecs": [{"name": "sharding_indexed", "configuration": SHARDS}]}, "not with bytes and zstd"),
        ({"codecs": [BYTES, {"name": "numcodecs.pickle", "configuration": {}}]}, "codec"),
        ({"chunk_key_encoding": {"name": "default", "configuration": {"separator": "../"}}}, ""),
        ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}}, "1 chunks of"),
        ({"node_type": "group"}, ""),
        ({"attributes": {"_FillValue": "text"}}, ""),
        ({"attributes": {"deep": json.loads("[" * 300 + "]" * 300)}}, "nested more than 50 deep"),
    ],
)
def test_an_array_that_is_not_what_it_says(zarr_copy, changes, why):
    about(zarr_copy, DRAWS, **changes)
    refused(zarr_copy, why)


@pytest.mark.parametrize("kind", ["another", "longer", "appended", "garbage", "cut", "empty"])
def test_a_chunk_that_inflates_to_something_else(zarr_copy, kind):
    """A megabyte of Zstandard makes 32 GB: how much it makes is seen before it is made."""
    chunk, zstd = zarr_copy / DRAWS / "c/0/0", Zstd(level=1, checksum=True)
    honest = chunk.read_bytes()
    said = bytearray(zstd.encode(bytes(95)))
    said[5] = 96  # what the frame says of itself
    chunk.write_bytes({
        "another": zstd.encode(bytes(10**7)),
        "longer": bytes(said),
        "appended": honest + zstd.encode(bytes(10**7)),
        "garbage": os.urandom(40),
        "cut": honest[:-1],
        "empty": b"",
    }[kind])  # fmt: skip
    refused(zarr_copy, "" if kind == "longer" else "a chunk of /posterior/x does not hold its 96 bytes")


@pytest.mark.parametrize("size", [1, 96, 255, 256, 300, 65_535, 65_536, 131_072, 131_073, 10**6])
@pytest.mark.parametrize("checksum", [True, False])
def test_the_length_of_a_frame_is_read_as_it_was_written(tmp_path, size, checksum):
    rng = np.random.default_rng(size)
    for content in (bytes(size), rng.bytes(size), bytes(rng.integers(3, size=size, dtype=np.uint8))):
        (tmp_path / "frame").write_bytes(Zstd(level=1, checksum=checksum).encode(content))
        with open(tmp_path / "frame", "rb") as file:
            assert foreign._inflated(file) == size


def pickled(path):
    """Zarr's older format may name a codec that runs code."""
    shutil.rmtree(path / DRAWS)
    (path / DRAWS).mkdir()
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "fill_value": None}
    (path / DRAWS / ".zarray").write_text(json.dumps(array | {"order": "C", "filters": [{"id": "pickle"}]}))
    (path / DRAWS / "0").write_bytes(b"cos\nmkdir\n(S'" + str(path / "ran").encode() + b"'\ntR.")


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (pickled, "'/posterior/x' of its layout is not there"),
        (lambda path: shutil.copytree(path / DRAWS, path / "posterior" / "more"), "not in its layout"),
        (lambda path: shutil.copytree(path / "posterior", path / "more"), "not in its layout"),
        (lambda path: shutil.rmtree(path / DRAWS), "'/posterior/x' of its layout is not there"),
        (lambda path: shutil.copy(path / DRAWS / "zarr.json", path / "posterior"), ""),
        (
            lambda path: (path / "posterior" / "zarr.json").write_text(
                f'{{"zarr_format": 3, "node_type": "group", "attributes": {{"a": {"[" * 200_000}'
            ),
            "",
        ),
    ],
)
def test_a_folder_that_is_not_what_its_layout_says(zarr_copy, attack, why):
    attack(zarr_copy)
    refused(zarr_copy, why)
    assert not (zarr_copy / "ran").exists()


@pytest.mark.parametrize(
    "attrs",
    [{"scale_factor": "text"}, {"scale_factor": 2.0, "missing_value": 1.0}, {"units": "days since \x1b[31m\nthen"}],
)
def test_what_other_libraries_read_in_attributes_is_not_read(zarr_copy, netcdf_copy, attrs):
    about(zarr_copy, DRAWS, attributes=attrs)
    with h5py.File(netcdf_copy, "r+") as file:
        file[DRAWS].attrs.update(attrs)
    for path in (zarr_copy, netcdf_copy):
        assert load(path).equals(run())


def test_consolidated_metadata_says_nothing(zarr_copy):
    other = {"posterior": {"zarr_format": 3, "node_type": "group", "attributes": {"evil": 1}}}
    about(zarr_copy, consolidated_metadata={"kind": "inline", "must_understand": False, "metadata": other})
    assert load(zarr_copy).identical(run())


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (lambda file: anew(file, shape=(10**6, 10**6)), "/posterior/x has 0 of 8,000,000,000,000 bytes"),
        (lambda file: anew(file, shape=(10**6, 10**6), chunks=(1000, 1000)), "lacks 1000000 of its 1000000 chunks"),
        (lambda file: anew(file, chunks=(1, 6)).__setitem__(0, 1.0), "lacks 1 of its 2 chunks"),
        (lambda file: file.create_dataset("more", shape=(10**6, 10**6), dtype="f8"), "'/more' in it is not in its"),
        (lambda file: file.create_group("more"), "'/more' in it is not in its layout"),
        (lambda file: file.__delitem__("posterior/x"), "'/posterior/x' of its layout is not there"),
        (lambda file: anew(file, dtype=[("a", "f8")]), "/posterior/x is of type"),
        (lambda file: anew(file, dtype=h5py.ref_dtype), "/posterior/x is of type"),
        (lambda file: anew(file, dtype=h5py.vlen_dtype("f8")), "/posterior/x is of type"),
        (lambda file: anew(file, shape=None, data=h5py.Empty("f8")), "/posterior/x has no shape"),
    ],
)
def test_a_netcdf_file_that_is_not_what_it_says(netcdf_copy, attack, why):
    with h5py.File(netcdf_copy, "r+") as file:
        attack(file)
    refused(netcdf_copy, why)


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_run_larger_than_memory_is_said_to_be_one(whole, monkeypatch, suffix):
    monkeypatch.setattr(results, "memory", lambda: 100)
    with pytest.raises(ValueError, match="more than the memory of this machine"):
        load(whole[suffix])
    if suffix == ".zarr":
        assert load(whole[suffix], in_memory=False).identical(run())
    assert foreign.memory() > 2**26


# ----------------------------------------------------------------------------------------------- what it says of itself


def stamped(path, **attrs):
    if path.is_dir():
        about(path, attributes=json.loads((path / "zarr.json").read_text())["attributes"] | attrs)
    else:
        with h5py.File(path, "r+") as file:
            file.attrs.update(attrs)


@pytest.mark.parametrize("found", ["1", "", "two", True, False, 1.0, 0, -1, [1, 1], {"a": 1}, float("nan")])
def test_a_format_that_is_no_number(zarr_copy, netcdf_copy, found):
    stamped(zarr_copy, bayesdiff_format=found)
    refused(zarr_copy, "its attribute 'bayesdiff_format' is ")
    if not isinstance(found, dict):
        stamped(netcdf_copy, bayesdiff_format=found)
        refused(netcdf_copy, "its attribute 'bayesdiff_format' is ")


@pytest.mark.parametrize("version", [[9], {}, 3, "9\n\x1b[2Jbuy this", None, "9" * 1000])
def test_a_newer_format_of_a_version_that_is_none(zarr_copy, version):
    stamped(zarr_copy, bayesdiff_format=10**4000, bayesdiff_version=version)
    with pytest.raises(ValueError, match=r"has format 1.*Upgrade to bayesdiff \(a newer one\) or later") as caught:
        load(zarr_copy)
    assert len(str(caught.value)) < 400 + len(str(zarr_copy))
    stamped(zarr_copy, bayesdiff_format=3, bayesdiff_version="9.8.7rc1")
    with pytest.raises(ValueError, match=r"Upgrade to bayesdiff 9\.8\.7rc1 or later"):
        load(zarr_copy)


GROUP = '{"attrs": {}, "variables": {}}'


@pytest.mark.parametrize(
    "layout",
    [
        "", "{}", "[]", "null", "NaN", "1", '"/"', "{", "[" * 200_000, "[" * 200_000 + "]" * 200_000,
        '{"/": ' * 200_000, "1" * 5000, '{"/": {}}', '{"/": null}', f'{{"/": {GROUP}}}',
        f'{{"/": {GROUP}, "/": {GROUP}}}',
        '{"/": {"attrs": [], "variables": {}}}', '{"/": {"attrs": {}, "variables": []}}',
        1, None, [1], {}, b"\xff",
    ],
)  # fmt: skip
def test_a_layout_that_is_none(zarr_copy, netcdf_copy, layout):
    if not isinstance(layout, bytes):
        stamped(zarr_copy, bayesdiff_layout=layout)
        refused(zarr_copy, "layout")
    if isinstance(layout, str | bytes) and len(layout) < 60_000:
        stamped(netcdf_copy, bayesdiff_layout=layout)
        refused(netcdf_copy, "layout")


def variable(layout, **changes):
    layout["/posterior"]["variables"]["x"] |= changes


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda layout: layout.__setitem__("/..", layout["/posterior"]), "its layout has the group '/..'"),
        (lambda layout: layout.__setitem__("/../secret.zarr", layout["/"]), "its layout has the group"),
        (lambda layout: layout.__setitem__("posterior//x", layout["/"]), "its layout has the group"),
        (lambda layout: layout.__setitem__("/more", layout["/"]), "'/more' of its layout is not there"),
        (lambda layout: layout["/posterior"]["variables"].pop("x"), "'/posterior/x' in it is not in its layout"),
        (lambda layout: layout.pop("/posterior"), "in it is not in its layout"),
        (lambda layout: variable(layout, dtype="|O"), "its layout has 'x' of dtype '|O'"),
        (lambda layout: variable(layout, dtype="f8,f8"), "its layout has 'x' of dtype 'f8,f8'"),
        (lambda layout: variable(layout, dtype=8), "its layout says of the variable 'x'"),
        (lambda layout: variable(layout, dtype="<U40"), "'x' in '/posterior' is of dtype float64, not <U40"),
        (lambda layout: variable(layout, dtype="<i8"), "'x' in '/posterior' is of dtype float64, not <i8"),
        (lambda layout: variable(layout, dtype="<M8[ns]"), "'x' in '/posterior' is of dtype float64, not <M8[ns]"),
        (lambda layout: variable(layout, attrs={"a": json.loads("[" * 60 + "]" * 60)}), "nested more than 50 deep"),
        (lambda layout: variable(layout, attrs=[1]), "its layout says of the variable 'x'"),
        (lambda layout: layout["/"].update(names=["x"]), "its layout has the names ['x']"),
        (lambda layout: layout["/"].update(names={"x": 1}), "its layout has the names {'x': 1}"),
        (lambda layout: layout["/"].update(names={"x": "y", "name": "y"}), "its layout has a name twice among"),
    ],
)
def test_a_layout_that_says_something_else(zarr_copy, netcdf_copy, change, why):
    layout = json.loads(json.loads((zarr_copy / "zarr.json").read_text())["attributes"]["bayesdiff_layout"])
    change(layout)
    for path in (zarr_copy, netcdf_copy):
        stamped(path, bayesdiff_layout=json.dumps(layout))
        refused(path, why)


def test_a_text_wider_than_memory(zarr_copy, netcdf_copy, monkeypatch):
    layout = json.loads(json.loads((zarr_copy / "zarr.json").read_text())["attributes"]["bayesdiff_layout"])
    layout["/posterior"]["variables"]["name"]["dtype"] = "<U500000000"
    monkeypatch.setattr(results, "memory", lambda: 3.9e9)
    for path in (zarr_copy, netcdf_copy):
        stamped(path, bayesdiff_layout=json.dumps(layout))
        assert "has 4 GB of arrays, more than the memory of this machine" in error_of(path)


def test_what_could_not_be_read_back_is_not_saved(tmp_path):
    for depth in (51, 5000):
        deep = []
        for _ in range(depth):
            deep = [deep]
        with pytest.raises(ValueError, match="an attribute is nested more than 50 deep"):
            save(tree({}, {"deep": deep}), tmp_path / "run.zarr")
    nearly = tree({}, {"deep": json.loads("[" * 49 + "]" * 49)})
    assert load(save(nearly, tmp_path / "run.zarr")).identical(nearly)


# ------------------------------------------------------------------------------------------------------------ its name

NAMES = ["bayesdiff", "xarray", "zarr", "numpy.py", "x.pyc", "IPython", "run", "run.ZARR", "run.zarr.zip", "run.nc.py"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_another_name_is_refused(whole, tmp_path, name):
    for suffix in (".zarr", ".nc"):
        path = tmp_path / suffix[1:] / name
        path.parent.mkdir()
        (shutil.copytree if suffix == ".zarr" else shutil.copy)(whole[suffix], path)
        with pytest.raises(ValueError, match=r"is not a run saved by bayesdiff: that is a folder whose name ends in"):
            load(path)


def test_a_file_is_no_folder_and_a_folder_is_no_file(whole, tmp_path):
    (tmp_path / "run.nc").symlink_to(whole[".zarr"])
    (tmp_path / "run.zarr").symlink_to(whole[".nc"])
    os.mkfifo(tmp_path / "pipe.nc")
    for name in ("run.nc", "run.zarr", "pipe.nc"):
        with pytest.raises(ValueError, match=r"is not a run saved by bayesdiff: that is a folder whose name ends in"):
            load(tmp_path / name)


def test_a_name_is_no_address(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole[".zarr"], "memory::run.zarr")
    assert load("memory::run.zarr").identical(run())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/memory::run.zarr").identical(run())


@pytest.mark.parametrize("seed", range(4))
def test_whatever_byte_is_changed_no_raw_error_comes_of_it(zarr_copy, seed):
    rng = np.random.default_rng(seed)
    files = sorted(file for file in zarr_copy.rglob("*") if file.is_file())
    for _ in range(12):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        changed = bytearray(content)
        for at in rng.integers(len(content), size=3):
            changed[at] = rng.integers(256)
        file.write_bytes(changed)
        said = error_of(zarr_copy)
        assert not said or said.startswith((f"{zarr_copy} is no", f"{zarr_copy} has format"))
        file.write_bytes(content)
    assert load(zarr_copy).identical(run())
