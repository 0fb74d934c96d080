"""Where a page may be written, and writing it whole or not at all: one rule for reports and for the explorer."""

from __future__ import annotations

import os
from pathlib import Path

from bayesdiff.files import replacing

MARK = b"<!-- made by bayesdiff "  # in the first lines of every page of ours


def check_place(path: Path, overwrite: bool = False) -> None:
    """Raise now what would keep a file from being written there. Its folder is made if it is missing.

    Raises
    ------
    FileExistsError
        If something is there that is no page of ours, unless ``overwrite``: it may be somebody's work.
    OSError
        If it is a folder, or its folder cannot be made or written to.

    Examples
    --------
    >>> check_place(Path("a-page.html"))
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Write the name of a file in it.")
    if path.exists() and not overwrite:
        with open(path, "rb") as file:
            ours = MARK in file.read(200)
        if not ours:
            raise FileExistsError(
                f"{path} exists and is not a page of bayesdiff, so it is not replaced. Choose another place for it, or "
                "say overwrite=True (--overwrite on the command line)."
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"The folder {path.parent} cannot be made ({error.strerror}). Choose another place for {path.name}."
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"The folder {path.parent} cannot be written to. Choose another place for {path.name}.")


def write_whole(path: Path, text: str) -> None:
    """Write a text to a file, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written. Nothing is left behind then, and what was there is untouched.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "a.html"), "text")
    ...     [file.name for file in Path(folder).iterdir()]
    ['a.html']
    """
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise type(error)(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from error
