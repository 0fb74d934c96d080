"""What arguments may be: checked before anything is computed, with an error that says what to write."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Seed = int | np.integer | np.random.Generator | None


def real_array(value: Any, what: str) -> np.ndarray:
    """Turn `value` into a float64 array, or say why it is none."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"{what} has masked entries, whose values would be used; write what stands for them")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        # NumPy's own words for the first are long, and change from version to version.
        why = "rows of different lengths" if "inhomogeneous" in str(error) else error
        raise TypeError(f"{what} must be an array of real numbers, got {reprlib.repr(value)} ({why})") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must hold real numbers, got {reprlib.repr(value)} (dtype {array.dtype})")
    return array.astype(np.float64)


def positive_int(value: object, name: str, least: int = 1) -> int:
    """Give `value` back if it is an int that is large enough, or raise."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; write an int >= {least}")
    if value < least:
        raise ValueError(f"{name} is {value}; write an int >= {least}")
    return int(value)


def positive_number(value: Any, name: str, what: str = "a finite number > 0") -> float:
    """Give `value` back if it is one finite number > 0, or raise; `what`: how the error calls that."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise TypeError(f"{name} is {reprlib.repr(value)}; write {what}")
    if not 0 < value < np.inf:
        raise ValueError(f"{name} is {value!r}; write {what}")
    return float(value)


def flag(value: object, name: str) -> bool:
    """Give `value` back if it is a bool, or raise: a text that says "no" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {reprlib.repr(value)}; write True or False")
    return bool(value)


def path_like(value: Any, name: str, example: str) -> Path:
    """Give `value` back as a Path, its ``~`` read as home, or raise; `example`: what such a path may look like."""
    if not isinstance(value, str | os.PathLike) or value == "":
        got = repr(value) if value is None or isinstance(value, str | bytes | int | float) else type(value).__name__
        raise TypeError(f"{name} is {got}; write a path, as {example!r}")
    path = Path(value).expanduser()
    if not path.name or not str(path).isprintable():
        raise ValueError(f"{name} is {str(value)!r}, which names no file; write a path, as {example!r}")
    return path


def writable(text: str) -> bool:
    """Whether a text can be written and shown: none has half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def mapping(value: Any, name: str, example: str) -> Mapping[Any, Any]:
    """Give `value` back if it is a mapping, or raise; `example`: how one is written."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {reprlib.repr(value)}; write a mapping, {example}")
    return value


def near_words(word: str, words: Sequence[str]) -> list[str]:
    """The words that are spelled nearly like this one, whatever their case; at most three."""
    by_case = {known.casefold(): known for known in words}
    return [by_case[known] for known in difflib.get_close_matches(word.casefold(), by_case, n=3, cutoff=0.5)]


def whole_seed(random_seed: object) -> int:
    """Give a seed back where it must be a number, since it is kept with what is made of it."""
    return positive_int(random_seed, "random_seed", least=0)


def generator(random_seed: Seed) -> np.random.Generator:
    """Make a Generator of an int, a Generator or None; anything else is a TypeError."""
    known = random_seed is None or isinstance(random_seed, int | np.integer | np.random.Generator)
    if not known or isinstance(random_seed, bool):
        raise TypeError(f"random_seed is {random_seed!r}; write an int, a numpy Generator or None")
    if isinstance(random_seed, int | np.integer) and random_seed < 0:
        raise ValueError(f"random_seed is {random_seed}; write an int >= 0")
    return np.random.default_rng(random_seed)


def seed_of(random_seed: Seed) -> int:
    """An int that stands for a seed: itself, or one drawn from a Generator or from nothing."""
    rng = generator(random_seed)
    return int(random_seed) if isinstance(random_seed, int | np.integer) else int(rng.integers(2**63))
