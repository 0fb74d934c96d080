"""What a user's files hold: a model, and observations."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bayesdiff.cli.refusals import Failure, one_line

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pymc as pm


def model_of(path: Path) -> pm.Model:
    """The model that a file defines."""
    if not path.is_file():
        raise Failure(f"there is no file {path}")
    with user_module(path) as module:
        return call_prior(module, path)


@contextmanager
def user_module(path: Path) -> Iterator[ModuleType]:
    """Run a user's file, which may import others beside it.

    Raises
    ------
    Failure
        If it is no Python file or raises: the exception, and the line of the file.
    """
    spec = importlib.util.spec_from_file_location(f"bayesdiff_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Failure(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    beside = str(path.resolve().parent)
    sys.path.append(beside)  # last: a file beside it that is called random.py must not hide Python's own
    sys.modules[spec.name] = module
    try:
        with _user_errors(path, "it"):
            spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(beside)
        del sys.modules[spec.name]


def call_prior(module: ModuleType, path: Path) -> pm.Model:
    """Build the model that a user's file defines.

    Raises
    ------
    Failure
        If there is no ``prior``, it raises, or what it returns is no model.
    """
    import pymc as pm

    prior = getattr(module, "prior", None)
    if not callable(prior):
        raise Failure(f"{path} has no function `prior`; write `def prior() -> pm.Model: ...`")
    with _user_errors(path, "prior()"):
        model = prior()
    if not isinstance(model, pm.Model):
        raise Failure(f"prior() of {path} returned {type(model).__name__}; it must return a pm.Model")
    return model


@contextmanager
def _user_errors(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
            lines, message = [error.lineno], error.msg
        else:
            message = one_line(error)
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise Failure(f"{where}: {what} raised {type(error).__name__}: {message}") from error


def read_o(text: str) -> tuple[str | None, Any]:
    """Read one ``--o``: the name of its variable, if it has one, and its numbers (a list), or what its file holds."""
    import numpy as np

    name, equals, value = text.partition("=")
    if not equals:
        name, value = "", text
    suffix = Path(value).suffix.lower()
    if suffix not in (".npy", ".npz", ".csv"):
        try:
            return name or None, numbers(value)
        except argparse.ArgumentTypeError as error:
            raise Failure(f"--o {text}: {error}, nor a file that ends in .npy, .npz or .csv") from None
    if name and suffix != ".npy":
        raise Failure(f"--o {text}: a {suffix} file names its variables itself; write --o {value}")
    if not Path(value).is_file():
        raise Failure(f"--o {text}: there is no file {value}")
    try:
        if suffix == ".csv":
            return None, _read_csv(Path(value))
        loaded = np.load(value)  # never pickles: they can run code
        return name or None, dict(loaded) if suffix == ".npz" else loaded
    except (ValueError, OSError, EOFError) as error:
        raise Failure(f"--o {text}: {value} cannot be read: {one_line(error)}") from error


def _read_csv(path: Path) -> pd.DataFrame:
    """Read the numbers of a CSV file. A first line that holds more than numbers names the columns."""
    import numpy as np
    import pandas as pd

    try:
        # As text, blank lines included: what is no number is told as it stands there, with its line.
        as_text = {"header": None, "dtype": str, "keep_default_na": False, "skip_blank_lines": False}
        cells = pd.read_csv(path, **as_text, engine="python", encoding="utf-8-sig").fillna("")
    except pd.errors.EmptyDataError:
        cells = pd.DataFrame()
    except pd.errors.ParserError as error:
        raise ValueError(f"{one_line(error)}; write one number for each column into each line") from error
    cells = cells.map(str.strip)
    cells = cells[(cells != "").any(axis=1)]
    good = cells.map(_is_number)
    if len(good) and not good.iloc[0].all():
        cells, good = cells.iloc[1:].set_axis(cells.iloc[0].tolist(), axis=1), good.iloc[1:]
    if not cells.size:
        raise ValueError("it has no line of numbers")
    for row, column in np.argwhere(~good)[:1]:
        cell = cells.iat[row, column]
        raise ValueError(f"line {cells.index[row] + 1} has {cell!r} in column {column + 1}, which is no number")
    return cells.map(float)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def observation(given: Sequence[tuple[str | None, Any]], where: Any) -> Any:
    """Put what ``--o`` gave together: an array, or a mapping from the variables' names."""
    import pandas as pd

    named = {name: value for name, value in given if name is not None}
    if len(given) > 1 and len(named) < len(given):
        raise Failure("several --o must each name another variable: --o mu=1 --o z=0,0,1")
    if not named:
        value = given[0][1]
        if isinstance(value, pd.DataFrame):
            return _columns(value, where)
        if isinstance(value, list):
            if len(where.names) > 1:
                raise Failure(
                    f"the prior has {len(where.names)} variables; write one --o for each: "
                    + " ".join(f"--o {name}=..." for name in where.names)
                )
            return _shaped(value, where.names[0], where)
        return value
    return {
        name: _shaped(value, name, where) if isinstance(value, list) and name in where.names else value
        for name, value in named.items()
    }


def _shaped(given: list[float], name: str, where: Any) -> np.ndarray:
    """Give numbers the shape of a variable, or of several observations of it."""
    import numpy as np

    shape = where.shapes[where.names.index(name)]
    size = where.sizes[where.names.index(name)]
    if size == 0 or len(given) % size:
        raise Failure(
            f"--o gives {name} {len(given)} numbers, its unconstrained shape {shape} takes {size}: write {size} for "
            f"one observation, {2 * size} for two, and so on"
        )
    return np.array(given).reshape(shape if len(given) == size else (-1, *shape))


def _columns(table: pd.DataFrame, where: Any) -> Mapping[str, np.ndarray]:
    """Sort the columns of a CSV file into the variables."""
    names, labels = table.columns.tolist(), where.labels
    if names == list(range(len(names))):  # counted: the file has no names
        if len(where.names) > 1:
            raise Failure(f"the first line of the .csv must name its columns: {_some(labels)}")
        if len(names) != len(labels):
            raise Failure(f"the .csv has {len(names)} columns, x has {len(labels)}: {_some(labels)}")
        table.columns = labels
    elif sorted(names) != sorted(labels):
        raise Failure(f"the .csv has the columns {_some(names)}; the prior needs {_some(labels)}")
    parts: Mapping[str, np.ndarray] = where.split(table[list(labels)].to_numpy())
    return parts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")


def numbers(text: str) -> list[float]:
    """Read numbers with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, nor numbers with commas between them") from None
