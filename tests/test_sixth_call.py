"""What every long call promises, on one that takes a millisecond: whatever happens, the same bits, nothing lost."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sixth

from bayesdiff.calls import Call
from bayesdiff.results import load, save

Y = np.random.default_rng(0).normal(size=50)


def bits(run):
    return [
        (node.path, name, variable.values.tobytes())
        for node in run.subtree
        for name, variable in node.to_dataset(inherit=False).variables.items()
    ]


WHOLE = bits(sixth.bootstrap(Y, random_seed=1))


@pytest.mark.parametrize("grow", [True, False])
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_sixth_call_has_all_that_the_others_have(tmp_path, monkeypatch, grow, suffix):
    monkeypatch.chdir(tmp_path)
    store, lines = tmp_path / f"run{suffix}", len(Path(sixth.__file__).read_text(encoding="utf-8").splitlines())
    assert lines <= 70
    assert bits(sixth.bootstrap(Y, random_seed=1, store=store.name, grow=grow)) == WHOLE
    assert bits(load(store)) == WHOLE
    unseeded = {"store": tmp_path / f"unseeded{suffix}", "grow": grow}
    assert bits(sixth.bootstrap(Y, **unseeded)) == bits(sixth.bootstrap(Y, **unseeded)) != WHOLE
    with pytest.raises(ValueError, match="written by another call: random_seed was 1 there and is 2 here"):
        sixth.bootstrap(Y, random_seed=2, store=store)
    with pytest.raises(ValueError, match="written by another call: y was"):
        sixth.bootstrap(Y + 1, random_seed=1, store=store)
    for workers in (1, 2, 7):
        with ThreadPoolExecutor(workers) as pool:
            more = {"executor": pool, "store": tmp_path / f"{workers}.zarr", "grow": grow}
            assert bits(sixth.bootstrap(Y, random_seed=1, **more)) == WHOLE
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert bits(sixth.bootstrap(Y, random_seed=2)) != WHOLE
    with pytest.warns(UserWarning, match=r"^Some means are not finite\.$"):
        sixth.bootstrap(Y * np.nan, random_seed=1)


def test_a_warning_that_is_an_error_loses_nothing(tmp_path):
    with pytest.raises(UserWarning, match="not finite"):
        sixth.bootstrap(Y * np.nan, random_seed=1, store=tmp_path / "run.zarr")
    assert load(tmp_path / "run.zarr")["verdict"].attrs["sentence"] == "Some means are not finite."


def test_a_store_stays_where_it_was_when_the_folder_changes(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    keep = Call.keep

    def keep_and_go(self, name, found):
        keep(self, name, found)
        os.chdir(tmp_path / "elsewhere")

    monkeypatch.setattr(Call, "keep", keep_and_go)
    for grow, store in ((True, "a.zarr"), (False, "b.zarr"), (True, "c.nc")):
        os.chdir(tmp_path)
        assert bits(sixth.bootstrap(Y, random_seed=1, store=store, grow=grow)) == WHOLE
        assert bits(load(tmp_path / store)) == WHOLE
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("grow", [True, False])
def test_a_result_that_came_meanwhile_is_not_replaced(tmp_path, monkeypatch, grow):
    store, keep = tmp_path / "run.zarr", Call.keep
    theirs = sixth.bootstrap(Y, random_seed=2)

    def keep_while_others_save(self, name, found):
        keep(self, name, found)
        if not store.exists():
            save(theirs, store)

    with monkeypatch.context() as patch:
        patch.setattr(Call, "keep", keep_while_others_save)
        with pytest.raises(ValueError, match=r"was written by others while this call computed; move it away"):
            sixth.bootstrap(Y, random_seed=1, store=store, grow=grow)
    assert bits(load(store)) == bits(theirs)
    store.rename(tmp_path / "theirs.zarr")
    numbers = computed(monkeypatch)
    assert bits(sixth.bootstrap(Y, random_seed=1, store=store, grow=grow)) == WHOLE
    assert not numbers  # nothing was lost


def test_a_folder_that_is_a_link_is_followed_once(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link, keep = tmp_path / "link", Call.keep
    link.symlink_to(tmp_path / "one")

    def keep_and_point_elsewhere(self, name, found):
        keep(self, name, found)
        link.unlink()
        link.symlink_to(tmp_path / "two")

    monkeypatch.setattr(Call, "keep", keep_and_point_elsewhere)
    assert bits(sixth.bootstrap(Y, random_seed=1, store=link / "run.zarr", grow=True)) == WHOLE
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["run.zarr"]
    assert not list((tmp_path / "two").iterdir())


def test_a_seed_longer_than_any_number_of_a_file_is_kept(tmp_path):
    whole = sixth.bootstrap(Y, random_seed=2**127)
    run = sixth.bootstrap(Y, random_seed=2**127, store=tmp_path / "run.nc", grow=True)
    assert bits(run) == bits(whole)
    assert load(tmp_path / "run.nc").attrs["seed"] == 2**127


def stopped(folder, after, grow=True):
    """A call that was stopped after so many parts; return its newest files, the newest first."""
    keep, kept = Call.keep, []

    def keep_and_stop(self, name, found):
        keep(self, name, found)
        kept.append(name)
        if len(kept) == after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Call, "keep", keep_and_stop)
        with pytest.raises(KeyboardInterrupt, match=r"of its parts \d are kept"):
            sixth.bootstrap(Y, random_seed=1, store=folder / "run.zarr", grow=grow)
    files = [path for path in (folder / ".run.zarr.levels").rglob("*") if path.is_file() and path.name != "lock"]
    return sorted(files, key=lambda path: (-path.stat().st_mtime_ns, path))


def computed(monkeypatch):
    """The parts that are computed from now on."""
    numbers, means = [], sixth.means

    def counted(y, seed, part, *, progress=None):
        numbers.append(part[0])
        return means(y, seed, part, progress=progress)

    monkeypatch.setattr(sixth, "means", counted)
    return numbers


@pytest.mark.parametrize("length", [0, 11])
def test_after_a_power_cut_only_what_is_damaged_is_computed_again(tmp_path, monkeypatch, length):
    """Each file in turn is cut off, as one that was not yet on disk: 40 of them and more."""
    count = len(stopped(tmp_path / "count", 4))
    assert count >= 20
    numbers = computed(monkeypatch)
    for i in range(count):
        folder = tmp_path / f"{length}-{i}"
        numbers.clear()
        file = stopped(folder, 4)[i]
        assert sorted(numbers) == [0, 1, 2, 3]
        file.write_bytes(file.read_bytes()[:length])
        run = sixth.bootstrap(Y, random_seed=1, store=folder / "run.zarr", grow=True)
        assert bits(run) == WHOLE, file
        assert len(numbers) <= 4 + 2, file  # the last part, and at most one that was damaged
        assert [path.name for path in folder.iterdir()] == ["run.zarr"]


def test_flipped_bytes_are_found_and_mended(tmp_path, monkeypatch):
    rng, numbers = np.random.default_rng(3), computed(monkeypatch)
    for i in range(40):
        folder = tmp_path / str(i)
        numbers.clear()
        files = stopped(folder, 3, grow=bool(i % 4))
        file = files[rng.integers(len(files))]
        content = bytearray(file.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        again = partial(sixth.bootstrap, Y, random_seed=1, store=folder / "run.zarr", grow=bool(i % 4))
        if file.name == "call.json":  # what says whose the parts are may read as another call's
            with suppress(ValueError):
                assert bits(again()) == WHOLE
            continue
        assert bits(again()) == WHOLE, file
        assert len(numbers) <= 3 + 3, file


def test_parts_of_another_call_are_computed_again(tmp_path, monkeypatch):
    """Whole files, but of a call with other numbers, as where somebody put two folders together."""
    stopped(tmp_path, 3, grow=False)
    numbers = computed(monkeypatch)
    parts = sorted((tmp_path / ".run.zarr.levels").glob("*.npz"))
    for part in parts[:2]:
        with np.load(part) as arrays:
            others = {**arrays, "mean": arrays["mean"] + 1, "call": np.array("0" * 64)}
        np.savez(part, **others)
    assert bits(sixth.bootstrap(Y, random_seed=1, store=tmp_path / "run.zarr")) == WHOLE
    assert sorted(numbers) == [0, 1, 3, 4]


def test_all_damaged_at_once_begins_anew(tmp_path):
    for file in stopped(tmp_path, 4):
        if file.name != "call.json":
            file.write_bytes(b"")
    assert bits(sixth.bootstrap(Y, random_seed=1, store=tmp_path / "run.zarr", grow=True)) == WHOLE


def test_nothing_is_written_elsewhere(tmp_path):
    """Folders of others may be crafted: with links, or with names that lead out."""
    victim = tmp_path / "victim" / "zarr.json"
    victim.parent.mkdir()
    victim.write_text("mine")
    stopped(tmp_path, 2)
    folder = tmp_path / ".run.zarr.levels"
    note = json.loads((folder / "run.zarr.json").read_text())
    for name in ("../../victim/zarr.json", str(victim), "zarr.json/../../../victim/zarr.json"):
        texts = note["texts"] | {name: "theirs"}
        digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
        (folder / "run.zarr.json").write_text(json.dumps({"texts": texts, "digest": digest}))
        stopped(tmp_path, 1)
        assert victim.read_text() == "mine"
    (folder / "run.zarr" / "zarr.json").unlink()
    (folder / "run.zarr" / "zarr.json").symlink_to(victim)
    with pytest.raises(ValueError, match=r"levels is damaged \('run\.zarr/zarr\.json' in it is a link .*remove it"):
        sixth.bootstrap(Y, random_seed=1, store=tmp_path / "run.zarr", grow=True)
    assert victim.read_text() == "mine"


# A call in a process of its own that ends, as by kill -9, before its n-th write of any kind; then again without.
KILLED = """
import os, pickle, sys
import dask.array, distributed, h5netcdf, zarr  # what a store needs: once, and not in each of its forks
import numpy as np
import sixth
from bayesdiff.results import load

folder, grow, suffix = sys.argv[1], sys.argv[2] == "True", sys.argv[3]
y = np.random.default_rng(0).normal(size=50)
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
left = [None]


def hook(event, args):
    writes = event in WRITES or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR))
    if left[0] is not None and writes:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)


sys.addaudithook(hook)


def child(store, writes):
    pid = os.fork()
    if not pid:
        left[0] = writes
        sixth.bootstrap(y, 24, random_seed=1, store=store, grow=grow)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def bits(run):
    groups = [(node.path, node.to_dataset(inherit=False).variables) for node in run.subtree]
    return [(path, name, values.values.tobytes()) for path, group in groups for name, values in group.items()]


whole = None
for writes in range(int(sys.argv[4]), 10_000, int(sys.argv[5])):
    store = f"{folder}/{writes}{suffix}"
    code = child(store, writes)
    assert code in (0, 9), code
    assert child(store, None) == 0
    assert not [name for name in os.listdir(folder) if name.startswith(f".{writes}.") and name.endswith(".levels")]
    pid = os.fork()  # reading starts threads, which no fork may have
    if not pid:
        pickle.dump(bits(load(store)), open(f"{folder}/bits-{writes}", "wb"))
        os._exit(0)
    os.waitpid(pid, 0)
    found = pickle.load(open(f"{folder}/bits-{writes}", "rb"))
    whole = whole or found
    assert found == whole, writes
    if code == 0:
        print(writes)
        break
"""


@pytest.mark.parametrize(("grow", "suffix", "step"), [(True, ".zarr", 17), (True, ".nc", 43), (False, ".zarr", 13)])
def test_a_kill_between_any_two_writes_loses_nothing(tmp_path, grow, suffix, step):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path), str(grow), suffix, "0", str(step)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20  # so many writes there were
