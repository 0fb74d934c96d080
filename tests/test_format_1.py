"""Runs of format 1: refused with what to do, and rewritten by models/format_1.py without a change of any number.

format_1.tar.xz was made by the code that wrote that format: find_map and sample_posterior of a model with data, dates
and a backslash in a name, in both kinds of file; calibrate and calibrate_chain.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from bayesdiff import comparison, results
from bayesdiff.results import load, save, tree
from bayesdiff.verdict import RULE
from models import format_1

KEPT = Path(__file__).with_name("format_1.tar.xz")
MU = r"$\mu$"


@pytest.fixture
def old(tmp_path):
    with tarfile.open(KEPT) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.mark.parametrize("name", ["run.zarr", "run.nc", "calibrate.zarr", "calibrate_chain.zarr"])
def test_format_1_is_refused_with_the_script_that_rewrites_it(old, name):
    with pytest.raises(ValueError, match=rf"has format 1, .*`python models/format_1.py \S*{name}`") as caught:
        load(old / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "beside"), [(".zarr", None), (".zarr", ".nc"), (".nc", None), (".nc", ".zarr")])
def test_a_run_is_rewritten(old, capsys, suffix, beside):
    path = old / f"run{suffix}"
    new = path if beside is None else old / f"new{beside}"
    format_1.main([str(path)] if beside is None else [str(path), str(new)])
    assert capsys.readouterr().out == f"{new} has format 2\n"
    run = load(new)
    for kind in ("map", "posterior"):
        part = run[kind]
        assert part.attrs["inversion"] == kind
        assert set(part["step"].data_vars) == {"alpha", "sigma"}
        np.testing.assert_array_equal(part["step"]["alpha"], [0.5, 0.5])
        np.testing.assert_array_equal(part["step"]["sigma"], [2.0, 3.0])
        assert set(part["step/o"].data_vars) == {"alpha", MU}
        np.testing.assert_array_equal(part["step/o"]["alpha"], [[1.0, 2.0], [0.0, 1.0]])
        np.testing.assert_array_equal(part["step/o"][MU], [0.0, 0.5])
        assert part["step/o"]["alpha"].dims == ("observation", "when")
        assert part["step/o"]["when"].dtype == "M8[s]"
        assert set(part["observed_data"].data_vars) == {"y"}
        np.testing.assert_array_equal(part["observed_data"]["y"], [0.5, 1.0])
        assert "constant_data" not in part.children
        assert part["verdict"]["ok"].dims == ("observation",)
        assert part["verdict"].attrs["rule"] == RULE
    np.testing.assert_array_equal(run["map"]["verdict"]["ok"], run["map"]["sample_stats"]["converged"].values.ravel())
    assert set(comparison.compare(run["map"], run["posterior"]).data_vars) == {"alpha", MU, "lp"}


def test_nothing_else_changes(old):
    before = format_1.read(old / "run.zarr").load()
    format_1.main([str(old / "run.zarr")])
    after = load(old / "run.zarr")
    for kind in ("map", "posterior"):
        assert after[kind].attrs == before[kind].attrs
        for name, child in before[kind].children.items():
            if name not in ("observed_data", "constant_data"):
                assert child.to_dataset().identical(after[kind][name].to_dataset())
        old_groups = {*before[kind].children} - {"constant_data"}
        assert {*after[kind].children} == old_groups | {"step", "verdict"}


@pytest.mark.parametrize("name", ["calibrate", "calibrate_chain"])
def test_a_calibration_is_rewritten(old, name):
    before = format_1.read(old / f"{name}.zarr").load()
    format_1.main([str(old / f"{name}.zarr")])
    after = load(old / f"{name}.zarr")
    assert after["step/o"].to_dataset().identical(before["observed_data"].to_dataset())
    last = before["schedule"].isel(level=-1) if name == "calibrate_chain" else before["constant_data"]
    for number in ("alpha", "sigma"):
        assert after["step"][number].item() == last[number].item()
    assert {*after.children} & {"observed_data", "constant_data"} == set()
    assert ("schedule" in after.children) == (name == "calibrate_chain")


def test_what_there_is_nothing_to_rewrite_of_is_said(old, tmp_path, capsys):
    empty = tree({})
    new = save(empty, tmp_path / "new.zarr")
    for path, says in ((new, "its format is 2, so there is nothing"), (tmp_path / "no.zarr", "there is no run at")):
        with pytest.raises(SystemExit):
            format_1.main([str(path)])
        assert says in capsys.readouterr().err
    with pytest.raises(SystemExit):
        format_1.main([str(old / "run.zarr"), str(new)])
    assert "exists" in capsys.readouterr().err
    assert load(new).identical(empty)


def test_a_script_that_fails_leaves_the_run(old, monkeypatch):
    def full(plain, new):
        raise OSError(28, "no space left")

    monkeypatch.setattr(results, "_write_zarr", full)
    with pytest.raises(SystemExit):
        format_1.main([str(old / "run.zarr")])
    monkeypatch.undo()
    format_1.main([str(old / "run.zarr")])
    assert load(old / "run.zarr").attrs["created_at"] == "2026-11-30T00:00:00+00:00"
