"""What the user can put right, in one line; anything else keeps its traceback."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Failure(Exception):
    """What the user can put right. It is printed as one line, without a traceback."""


def one_line(error: BaseException) -> str:
    """The message of an error, without its line breaks."""
    return " ".join(str(error).split())


@contextmanager
def short_warnings() -> Iterator[None]:
    """Print a warning as one line on stderr, without the line of code that gave it."""

    def show(message: Warning | str, *details: Any, **more: Any) -> None:
        print(f"bayesdiff: warning: {' '.join(str(message).split())}", file=sys.stderr)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def refusals(where: str = "") -> Iterator[None]:
    """Report what this package refuses in one line. An error from anywhere else keeps its traceback: it is a bug."""
    try:
        yield
    except MemoryError as error:
        raise Failure(f"this takes more memory than there is: {error}; ask for less") from error
    except (TypeError, ValueError, RuntimeError, ImportError, OSError) as error:
        *_, innermost = traceback.extract_tb(error.__traceback__)
        if Path(__file__).parents[1] not in Path(innermost.filename).parents and not isinstance(error, OSError):
            raise
        raise Failure(f"{where}: {error}" if where else str(error)) from error
