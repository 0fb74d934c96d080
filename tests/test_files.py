"""Writing whole or not at all: what is there after a failure, a kill, a power cut; where links lead."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bayesdiff.files import make_folder, put, replacing, sync


@pytest.fixture
def log(monkeypatch):
    """What is synced, renamed and made, in order: of a synced file its size, of a folder what is in it."""
    done = []
    fsync, replace, rename, mkdir = os.fsync, os.replace, os.rename, os.mkdir

    def synced(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        done.append(("sync", path, sorted(os.listdir(path)) if path.is_dir() else path.stat().st_size))
        fsync(handle)

    def moved(how):
        def move(this, that):
            done.append(("move", Path(this), Path(that)))
            how(this, that)

        return move

    def made(path, mode=0o777):
        mkdir(path, mode)
        done.append(("make", Path(path), None))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved(replace))
    monkeypatch.setattr(os, "rename", moved(rename))
    monkeypatch.setattr(os, "mkdir", made)
    return done


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def written(path, content=b"new"):
    """Write a file; or half of it, and raise an error."""
    with replacing(path) as file:
        if isinstance(content, BaseException):
            file.write(b"half")
            raise content
        file.write(content)


def there(folder):
    """What a folder holds: name and content, or where a link leads."""
    return {
        path.name: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else there(path)
        for path in folder.iterdir()
    }


# ------------------------------------------------------------------------------------------------------------ one file


@pytest.mark.parametrize("before", [None, b"old", b""])
@pytest.mark.parametrize("name", ["a.txt", "a" * 250 + ".txt", "é" * 120, ".hidden", "a b\nc", "-"])
def test_a_file_is_written_and_nothing_else(tmp_path, name, before):
    if before is not None:
        (tmp_path / name).write_bytes(before)
    written(tmp_path / name)
    assert there(tmp_path) == {name: b"new"}


def test_a_path_may_be_text_and_its_folders_missing(tmp_path):
    written(f"{tmp_path}/b/c/a.txt")
    assert there(tmp_path) == {"b": {"c": {"a.txt": b"new"}}}


def test_what_was_there_is_seen_until_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), SystemExit(1)])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failure_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)):
        written(path, error)
    assert there(tmp_path) == ({} if before is None else {"a.txt": before})


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_what_was_there_and_is_told_by_name(tmp_path, monkeypatch, fails):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, fails, broken)
    with pytest.raises(OSError, match=r"^\[Errno 5\] Input/output error: '.*/a\.txt'$") as told:
        written(path)
    assert (told.value.errno, told.value.filename) == (errno.EIO, str(path))
    assert there(tmp_path) == {"a.txt": b"old"}


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"), replacing(tmp_path / "a.txt"):
        Path("missing.txt").read_bytes()
    with pytest.raises(OSError, match=r"^of no number$"):
        written(tmp_path / "a.txt", OSError("of no number"))


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError, match="/a'"):
        written(tmp_path / "a")
    assert there(tmp_path) == {"a": {}}
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"/file'$"):
        written(tmp_path / "file" / "a.txt")
    assert there(tmp_path) == {"a": {}, "file": b"mine"}


def test_a_kill_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\nfrom bayesdiff.files import replacing\n"
        "with replacing(sys.argv[1]) as file:\n    file.write(b'half')\n    file.flush()\n    os._exit(9)"
    )
    home = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=home).returncode == 9
    assert path.read_bytes() == b"old"
    [left] = [name for name in os.listdir(tmp_path) if name != "a.txt"]
    assert left.startswith(".a.txt-")
    assert left.endswith(".part")


def test_many_may_write_the_same_at_once(tmp_path):
    path, contents = tmp_path / "a.txt", [bytes([i]) * 10_000 for i in range(8)]
    seen = []

    def work(content):
        for _ in range(10):
            written(path, content)
            seen.append(path.read_bytes())

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80
    assert set(seen) <= set(contents)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_may_be_written_while_another_is(tmp_path):
    with replacing(tmp_path / "a.txt") as outer:
        outer.write(b"a")
        written(tmp_path / "a.txt", b"first")
        written(tmp_path / "b.txt", b"b")
    assert there(tmp_path) == {"a.txt": b"a", "b.txt": b"b"}


def test_the_place_is_that_of_the_beginning(tmp_path, monkeypatch):
    """Although the working folder changes meanwhile."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with replacing("a.txt") as file:
        file.write(b"new")
        monkeypatch.chdir(tmp_path / "other")
    assert there(tmp_path) == {"a.txt": b"new", "other": {}}


# --------------------------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("before", [b"old", None])  # a link to nothing yet is written through, as open() does
@pytest.mark.parametrize("to", ["elsewhere/b.txt", "{}/elsewhere/b.txt", "hop", "way/b.txt"])
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path, to, before):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "hop").symlink_to("elsewhere/b.txt")
    (tmp_path / "way").symlink_to("elsewhere")
    if before is not None:
        (tmp_path / "elsewhere" / "b.txt").write_bytes(before)
    (tmp_path / "a.txt").symlink_to(to.format(tmp_path))
    links = there(tmp_path)
    with replacing(tmp_path / "a.txt") as file:
        file.write(b"new")
        assert set(there(tmp_path)) == set(links)  # beside what it points to: the link may be on another disk
        assert len(there(tmp_path / "elsewhere")) == 1 + (before is not None)
    assert there(tmp_path) == links | {"elsewhere": {"b.txt": b"new"}}
    with pytest.raises(ValueError, match="no"):
        written(tmp_path / "a.txt", ValueError("no"))
    assert there(tmp_path) == links | {"elsewhere": {"b.txt": b"new"}}


def test_a_circle_of_links_is_refused_and_stays(tmp_path):
    (tmp_path / "a.txt").symlink_to("b.txt")
    (tmp_path / "b.txt").symlink_to("a.txt")
    with pytest.raises(OSError, match=r"/a\.txt'") as told:
        written(tmp_path / "a.txt")
    assert told.value.errno == errno.ELOOP
    assert there(tmp_path) == {"a.txt": "b.txt", "b.txt": "a.txt"}


# ------------------------------------------------------------------------------------------------------- a power cut


@linux
def test_a_file_is_on_disk_then_its_name(tmp_path, log):
    written(tmp_path / "a.txt", b"12345")
    (one, beside, size), moved, named = log
    assert (one, size) == ("sync", 5)  # whole, when it was synced
    assert moved == ("move", beside, tmp_path / "a.txt")
    assert named == ("sync", tmp_path, ["a.txt"])  # under its name, when the folder was


@linux
def test_folders_that_were_made_are_on_disk_too(tmp_path, log):
    written(tmp_path / "b" / "c" / "a.txt")
    assert [entry[:2] for entry in log if entry[0] == "make"] == [("make", tmp_path / "b"), ("make", tmp_path / "b/c")]
    assert ("sync", tmp_path, ["b"]) in log
    assert ("sync", tmp_path / "b", ["c"]) in log
    assert log[-1] == ("sync", tmp_path / "b" / "c", ["a.txt"])
    log.clear()
    make_folder(tmp_path / "b" / "c")  # nothing is missing, so nothing is synced
    assert log == []


@linux
def test_all_of_a_folder_is_synced_the_inner_first(tmp_path, log):
    make_folder(tmp_path / "run" / "b" / "c")
    for name in ("run/one", "run/b/two", "run/b/c/three", "outside"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "run" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "run" / "way").symlink_to(tmp_path)
    log.clear()
    sync(tmp_path / "run")
    order = [str(path.relative_to(tmp_path)) for _, path, _ in log]
    assert set(order) == {"run", "run/one", "run/b", "run/b/two", "run/b/c", "run/b/c/three"}
    assert len(order) == 6
    assert all(order.index(inner) < order.index(os.path.dirname(inner)) for inner in order if inner != "run")
    log.clear()
    sync(tmp_path / "outside")
    assert log == [("sync", tmp_path / "outside", 7)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_folder_that_cannot_be_synced_is_no_failure_but_a_broken_disk_is(tmp_path, monkeypatch, number):
    """Some file systems of networks answer EINVAL."""
    fsync = os.fsync

    def folders_fail(handle):
        if os.path.isdir(f"/dev/fd/{handle}"):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", folders_fail)
    if number == errno.EINVAL:
        written(tmp_path / "a.txt")
    else:
        with pytest.raises(OSError, match="Input/output error"):
            written(tmp_path / "a.txt")
    assert there(tmp_path) == {"a.txt": b"new"}


# ------------------------------------------------------------------------------------------------------- what was made


@pytest.fixture
def made(tmp_path):
    """A new folder beside the place where it belongs."""
    make_folder(tmp_path / ".beside" / "run" / "inner")
    (tmp_path / ".beside" / "run" / "inner" / "x").write_bytes(b"new")
    return tmp_path / ".beside" / "run"


@pytest.mark.parametrize("before", [{}, {"run": {}}, {"run": {"inner": {"y": b"old"}}}])
def test_a_folder_is_put_in_the_place_of_another(tmp_path, made, before):
    if before:
        make_folder(tmp_path / "run")
    if before.get("run"):
        make_folder(tmp_path / "run" / "inner")
        (tmp_path / "run" / "inner" / "y").write_bytes(b"old")
    put(made, tmp_path / "run")
    assert there(tmp_path) == {".beside": {}, "run": {"inner": {"x": b"new"}}}


@linux
def test_a_folder_is_on_disk_then_its_name(tmp_path, made, log):
    make_folder(tmp_path / "run")
    log.clear()
    put(made, tmp_path / "run")
    moves = [i for i, entry in enumerate(log) if entry[0] == "move"]
    assert [log[i][1:] for i in moves] == [(tmp_path / "run", made.with_name("run.old")), (made, tmp_path / "run")]
    assert [path for _, path, _ in log[: moves[0]]] == [made / "inner" / "x", made / "inner", made]
    assert log[moves[-1] + 1 :] == [("sync", tmp_path, [".beside", "run"])]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")])
@pytest.mark.parametrize("when", [0, 1])
def test_the_old_folder_comes_back_where_the_new_one_cannot_be_put(tmp_path, made, monkeypatch, error, when):
    make_folder(tmp_path / "run")
    (tmp_path / "run" / "y").write_bytes(b"old")
    rename, calls = os.rename, []

    def fails(this, that):
        calls.append(this)
        if len(calls) == 1 + when:
            raise error
        rename(this, that)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(type(error)):
        put(made, tmp_path / "run")
    assert there(tmp_path) == {".beside": {"run": {"inner": {"x": b"new"}}}, "run": {"y": b"old"}}


def test_a_folder_is_put_where_a_link_points_to(tmp_path, made):
    make_folder(tmp_path / "elsewhere" / "b")
    (tmp_path / "elsewhere" / "b" / "y").write_bytes(b"old")
    (tmp_path / "run").symlink_to("elsewhere/b")
    put(made, tmp_path / "run")
    assert there(tmp_path) == {".beside": {}, "run": "elsewhere/b", "elsewhere": {"b": {"inner": {"x": b"new"}}}}


def test_a_folder_and_a_file_do_not_replace_each_other(tmp_path, made):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError):
        put(made, tmp_path / "file")
    with pytest.raises(IsADirectoryError):
        put(tmp_path / "file", made)
    assert there(tmp_path) == {".beside": {"run": {"inner": {"x": b"new"}}}, "file": b"mine"}
