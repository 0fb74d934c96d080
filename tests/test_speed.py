"""The study of speed: what it measures is what was asked for, evaluations are linear, memory is a process's own."""

import subprocess
import sys

import numpy as np
import pytest
from pages import REPORTS, execute, problems

import bayesdiff as bd
from reports import speed

AXES = {"observations", "draws", "levels", "dimension", "cores"}
POINTS = {
    "observations": speed.observations([100, 400], 0, 400),
    "draws": speed.draws([100, 1000], list(speed.FORMS)),
    "levels": speed.levels([4, 8], 100),
    "dimension": speed.dimensions({"independent": [1, 30], "correlated": [1]}, 10),
    "cores": speed.cores([1, 2], {"map": {"observations": 100}, "map, by workers": {"observations": 100}}),
}


def quickly(points):
    """Measure modes of few observations, in this process; what else there is takes long to compile, and is made up."""
    made_up = {"seconds": 0.5, "first": 2.0, "memory": 0.6, "before": 0.5}
    return [
        speed.measure(point._replace(repeats=1))
        if point in POINTS["observations"] and point.call.startswith("map")
        else made_up | {"evaluations": 10.0 * point.size}
        for point in points
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run."""
    out = tmp_path_factory.mktemp("speed")
    speed.study(out / "speed.zarr", points=POINTS, by=quickly, say=lambda text: None)
    return out


@pytest.fixture(scope="module")
def run(folder):
    return bd.load(folder / "speed.zarr")


def test_every_axis_has_its_costs_with_their_units(run):
    assert set(run.children) == AXES
    for axis in AXES:
        for name, unit in speed.UNITS.items():
            costs = run[axis][name]
            assert costs.dims == ("call", "size")
            assert costs.attrs["units"] == unit
            assert (costs.values[np.isfinite(costs.values)] > 0).all()
        points = run.attrs["points"][axis]
        measured = {(point["call"], point["size"]) for point in points}
        assert np.isfinite(run[axis]["seconds"]).sum() == len(measured) == len(points)


def test_evaluations_are_linear_in_the_observations(run):
    # Observations differ in what they cost, by some percent. Draws and levels: test_growth.py, and the slow test below.
    assert (abs(run["observations"]["evaluations_slope"] - 1) < 0.1).all()


def test_a_store_does_not_change_the_count(run):
    counts = run["observations"]["evaluations"]
    np.testing.assert_array_equal(counts.sel(call="map"), counts.sel(call="map, stored"))


def test_a_slope_is_that_of_the_last_points_that_are_there():
    sizes = [10, 100, 1000, 10_000]
    assert speed.slope(sizes, [100, 100, 1000, np.nan]) == pytest.approx(1)
    assert speed.slope(sizes, [1, 100, 10_000, 1e6]) == pytest.approx(2)
    assert np.isnan(speed.slope(sizes, [1, np.nan, np.nan, np.nan]))


def test_each_process_is_asked_once_and_for_its_own_points():
    points = {"observations": speed.observations([100, 10_000], 0, 10_000), "levels": speed.levels([2], 5)}
    asked = []

    def by(together):
        asked.append(together)
        return [dict.fromkeys(speed.UNITS, float(point.size)) for point in together]

    run = speed.study(points=points, by=by, say=lambda text: None)
    names = [{point.process for point in together} for together in asked]
    assert all(len(name) == 1 for name in names)
    assert len(set.union(*names)) == len(names)
    assert sum(map(len, asked)) == sum(map(len, points.values()))
    for call in ("map", "map, stored", "posterior, stored"):  # each cost is where it belongs
        np.testing.assert_array_equal(run["observations"]["seconds"].sel(call=call), [100, 10_000])


def test_the_memory_of_a_process_is_its_own():
    """It is not that of the process that started it, which `getrusage` passes on."""
    held = np.ones(2**27)
    code = "from reports.speed import peak; print(peak())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=speed.ROOT)
    assert 0.01 < float(done.stdout) < 0.7
    assert speed.peak() > held.nbytes / 2**30


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="KeyError: 'nothing'"):
        speed.alone([speed.Point("nothing", 2, {}, "one")])


def test_the_page_has_what_a_page_needs():
    assert problems((REPORTS / "speed.qmd").read_text(encoding="utf-8")) == []


def test_the_page_runs(folder, monkeypatch):
    shown, _ = execute("speed.qmd", folder, monkeypatch)
    assert "| map, stored | 400 | " in shown["tbl-observations"][0]
    assert all(figures == label.startswith("fig-") for label, (_, figures) in shown.items())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_quick_study_and_its_page(tmp_path, monkeypatch):
    speed.main(["--quick", "--out", str(tmp_path / "speed.zarr")])
    run = bd.load(tmp_path / "speed.zarr")
    slopes = {axis: run[axis]["evaluations_slope"] for axis in ("observations", "draws", "levels")}
    assert (abs(slopes["observations"] - 1) < 0.1).all()
    # What a search for modes takes is fixed; smaller steps are easier.
    assert (abs(slopes["draws"] - 0.85) < 0.25).all()
    assert (abs(slopes["levels"] - 0.85) < 0.25).all()
    for axis in AXES:
        assert (run[axis]["memory"] >= run[axis]["before"]).where(run[axis]["memory"].notnull(), True).all()
    execute("speed.qmd", tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", ["map, stored", "posterior, stored"])
def test_a_million_observations_stream_to_disk_within_two_gigabytes(call):
    [point] = [point for point in speed.observations([10**6], 0, 10**6) if point.call == call]
    [cost] = speed.alone([point._replace(repeats=0)])
    print(f"{call}: {cost['memory']:.2f} GB, {cost['first']:.0f} s, {cost['evaluations']:.4g} evaluations")
    assert cost["memory"] < 2
    assert cost["evaluations"] >= 10**6
