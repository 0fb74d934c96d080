"""Kills: whenever a run is killed, nothing that it finished is lost, and the same call ends with the same bits."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed
import numpy as np
import pytest

import bayesdiff as bd

pytestmark = pytest.mark.filterwarnings("ignore:.*not to be trusted|.*not finite:UserWarning")


@pytest.fixture(scope="module")
def context():
    """Where processes start."""
    return killed.server()


def same_bits(one, two):
    """Every array of one tree is in the other, bit for bit; attributes that say when and how long are not."""
    assert [node.path for node in one.subtree] == [node.path for node in two.subtree]
    for node in one.subtree:
        other = two[node.path].to_dataset(inherit=False).variables
        variables = node.to_dataset(inherit=False).variables
        assert set(variables) == set(other)
        for name, variable in variables.items():
            assert variable.dtype == other[name].dtype
            assert variable.values.tobytes() == other[name].values.tobytes(), (node.path, name)


def killed_and_resumed(context, which, folder, kills, seed):
    """Kill a call again and again, at random moments; then let it end. Returns where its result is."""
    rng = np.random.default_rng(seed)
    store, seen, done = folder / f"{which}.zarr", set(), 0
    while done < kills:
        if store.exists():  # it ended before it was killed: another run
            store, seen = folder / f"{which}-{done}.zarr", set()
        # From the very beginning to after the last unit, with the end of the run and its renaming behind it.
        done += killed.kill_after(context, which, store, int(rng.integers(0, 4)), float(rng.exponential(0.02)))
        now = set(killed.kept(store))
        assert store.exists() or seen <= now, "a unit that was kept is gone"
        seen = now
    process = context.Process(target=killed.quietly, args=(which, str(store)))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert not killed.kept(store)  # what was kept beside it is in it
    return store


@pytest.fixture(scope="module")
def unbroken(context, tmp_path_factory):
    """The result of each call, by a process that nothing disturbed."""
    results = {}

    def run(which):
        if which not in results:
            store = tmp_path_factory.mktemp("unbroken") / "run.zarr"
            process = context.Process(target=killed.quietly, args=(which, str(store)))
            process.start()
            process.join()
            results[which] = bd.load(store)
        return results[which]

    return run


@pytest.mark.parametrize("which", killed.CALLS)
def test_four_kills_lose_nothing(context, unbroken, which, tmp_path):
    expected = unbroken(which)
    store = killed_and_resumed(context, which, tmp_path, 4, seed=1)
    same_bits(bd.load(store), expected)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("which", killed.CALLS)
def test_forty_kills_lose_nothing(context, unbroken, which, tmp_path):
    expected = unbroken(which)
    for lot in range(4):
        store = killed_and_resumed(context, which, tmp_path / str(lot), 10, seed=10 + lot)
        same_bits(bd.load(store), expected)


def test_the_harness_sees_other_bits(unbroken):
    # The negative control: a result of another seed is told from it.
    run = unbroken("find_map")
    other = run.copy(deep=True)
    values = other["posterior"]["x"].values
    values[0, 0, 3] = np.nextafter(values[0, 0, 3], np.inf)
    with pytest.raises(AssertionError, match="posterior"):
        same_bits(run, other)


@pytest.fixture
def small_parts(monkeypatch):
    """What `attempt` makes small, to be put back afterwards."""
    from bayesdiff import calibration, inversion

    for name in ("SEARCH", "SAMPLING"):
        monkeypatch.setattr(inversion, name, getattr(inversion, name))
    monkeypatch.setattr(calibration, "BLOCK", calibration.BLOCK)


@pytest.mark.usefixtures("small_parts")
def test_in_memory_the_bits_are_the_same(unbroken):
    for which in ("find_map", "sample_posterior"):
        same_bits(killed.attempt(which, None), unbroken(which))


def child(code, *args, **more):
    """A Python of its own, with the tests' helpers at hand."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, args)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


CALL = "import sys, killed; killed.attempt(sys.argv[1], sys.argv[2])"
# The same, and once it has kept two parts it waits: however busy the machine is, the signal comes between two of them.
WAITING = """
import signal, sys, time, killed
signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may have it ignored
from bayesdiff.calls import Call

keep, units = Call.keep, []

def keep_and_wait(self, name, found):
    keep(self, name, found)
    units.append(name)
    if len(units) == 2:
        time.sleep(300)

Call.keep = keep_and_wait
killed.attempt(sys.argv[1], sys.argv[2])
"""


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(context, unbroken, tmp_path):
    store = tmp_path / "run.zarr"
    expected = unbroken("sample_posterior")
    process = child(WAITING, "sample_posterior", store)
    while process.poll() is None and len(killed.kept(store)) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    count = len(killed.kept(store))
    assert 2 <= count < 8  # a block that was being computed may be kept as well
    assert said.strip().splitlines()[-1] == (
        f"KeyboardInterrupt: sample_posterior was stopped: of its parts {count} are kept in "
        f"{tmp_path / '.run.zarr.levels'}, and the same call goes on from there"
    )
    process = context.Process(target=killed.quietly, args=("sample_posterior", str(store)))
    process.start()
    process.join()
    same_bits(bd.load(store), expected)


def held(lock):
    """Whether someone holds a lock, and not only made its file."""
    if not lock.exists():
        return False
    with open(lock, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False


@pytest.mark.usefixtures("small_parts")
def test_two_processes_do_not_write_one_store(context, tmp_path):
    store = tmp_path / "run.zarr"
    process = context.Process(target=killed.quietly, args=("sample", str(store)))
    process.start()
    lock = tmp_path / ".run.zarr.levels" / "lock"
    while process.is_alive() and not held(lock):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGSTOP)  # it holds the lock as long as it lives
    try:
        time.sleep(0.05)
        with pytest.raises(ValueError, match=r"run\.zarr is being written by another process or thread; wait"):
            killed.attempt("find_map", store)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    killed.attempt("find_map", store)  # the system has let go of it
    assert bd.load(store).attrs["inversion"] == "map"


LIMIT = """
import resource, sys, killed
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
killed.attempt(sys.argv[1], sys.argv[2])
"""


def full(folder, which, size):
    """Make a call where the disk has `size` bytes: a small file system where one may be mounted, else a limit."""
    folder.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    ).returncode  # fmt: skip
    process = child(CALL, which, folder / "run.zarr") if mounted else child(LIMIT, which, folder / "run.zarr", 20_000)
    _, said = process.communicate()
    return mounted, process.returncode, said.strip().splitlines()[-1]


@pytest.mark.parametrize("which", ["sample_posterior", "reverse"])
def test_a_full_disk_loses_nothing(context, unbroken, which, tmp_path):
    expected = unbroken(which)
    folder = tmp_path / "small"
    mounted, code, said = full(folder, which, 1_500_000 if which == "sample_posterior" else 100_000)
    try:
        count = len(killed.kept(folder / "run.zarr"))
        assert code == 1
        assert said.startswith("OSError: [Errno")
        assert "cannot be written (" in said
        assert "make room" in said
        if mounted:
            assert f"{os.strerror(errno.ENOSPC)}" in said
            assert count >= 1
            assert f"{count} are kept in {folder / '.run.zarr.levels'}, and the same call goes on from there" in said
            subprocess.run(["mount", "-o", "remount,size=50m", str(folder)], check=True)
        process = context.Process(target=killed.quietly, args=(which, str(folder / "run.zarr")))
        process.start()
        process.join()
        assert process.exitcode == 0
        same_bits(bd.load(folder / "run.zarr"), expected)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("small_parts")
def test_a_store_that_cannot_be_written_is_said_at_once(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot be written \(.*\); choose another store"):
        killed.attempt("find_map", tmp_path / "file" / "run.zarr")
    if os.geteuid() == 0:  # whom permissions do not stop: a file system that is read only
        readonly = "/proc/run.zarr"
    else:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o500)
        readonly = folder / "run.zarr"
    with pytest.raises(ValueError, match=r"cannot be written \(.*\); choose another store"):
        killed.attempt("find_map", readonly)
