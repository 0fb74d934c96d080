"""Write a file whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write text beside ``path`` and put it there when it is complete: a reader never sees half of it.

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
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
