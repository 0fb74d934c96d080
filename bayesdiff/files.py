"""Writing whole or not at all: what is on disk after a kill or a power cut is what was there, or what was to be."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file whole or not at all, and have it on disk before the context ends.

    It is written beside ``path`` and put there when it is complete. If anything fails, what was there is untouched and
    nothing else is left. A link stays, and what it points to is replaced. Missing parent folders are made.

    Parameters
    ----------
    path : path

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        If it cannot be written; its ``filename`` is ``path``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/a.txt") as file:
    ...         _ = file.write(b"whole")
    ...     Path(folder, "a.txt").read_text(), len(os.listdir(folder))
    ('whole', 1)
    """
    end = pointed_at(path)  # now: the working folder may change until it is written
    beside = end.with_name(f".{end.name[:40]}-{secrets.token_hex(8)}.part")  # others may write the same at this time
    make_folder(end.parent)
    try:
        with open(beside, "xb") as file:
            yield file
        put(beside, end)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(beside)):  # a full disk tells no name
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        beside.unlink(missing_ok=True)


def put(new: Path, path: str | os.PathLike[str]) -> None:
    """Sync a file or a folder, and put it in the place of what is at ``path``, on the same file system.

    A folder cannot be replaced in one step: until the new one is in its place, the old one stands beside the new one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     new = Path(folder, "new")
    ...     _ = new.write_text("whole")
    ...     put(new, f"{folder}/a.txt")
    ...     os.listdir(folder)
    ['a.txt']
    """
    end = pointed_at(path)
    sync(new)
    if not (new.is_dir() and end.is_dir()):
        os.replace(new, end)
        _sync(end.parent)
        return
    old = new.with_name(f"{new.name}.old")
    try:
        os.rename(end, old)
        os.rename(new, end)
    except BaseException:
        if old.exists() and not end.exists():
            os.rename(old, end)
        raise
    _sync(end.parent)
    shutil.rmtree(old, ignore_errors=True)


def pointed_at(path: str | os.PathLike[str]) -> Path:
    """Where a path leads in the end, absolute: itself, or what a link points to.

    Raises
    ------
    OSError
        If links lead in a circle.

    Examples
    --------
    >>> pointed_at("a.txt").name
    'a.txt'
    """
    end = Path(os.path.realpath(path))
    if end.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return end


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing, so that they are on disk.

    Examples
    --------
    >>> make_folder(Path("."))
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync(made.parent)


def sync(path: Path) -> None:
    """Return when a file, or a folder with all that is in it, is on disk. What links point to is left out.

    Its name is in the folder above, which `put` syncs.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sync(Path(folder))
    """
    for folder, _, names in path.walk(top_down=False):
        for name in names:
            if not (folder / name).is_symlink():
                _sync(folder / name)
        _sync(folder)
    if path.is_file():
        _sync(path)


def _sync(path: Path) -> None:
    """Have one file, or the names in one folder, on disk."""
    folder, windows = path.is_dir(), os.name == "nt"
    if folder and windows:  # which opens no folder, and keeps its names by itself
        return
    try:
        handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        # What a file system answers that cannot sync a folder, or a folder that may be entered and not read.
        if not (folder and error.errno in (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP)):
            raise
