"""What arguments may be: checked before anything is computed, with an error that says what to write."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

Seed = int | np.integer | np.random.Generator | None


def real_array(value: Any, what: str) -> np.ndarray:
    """Turn `value` into a float64 array, or say why it is none."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"{what} has masked entries, whose values would be used; write what stands for them")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise TypeError(f"{what} must be an array of real numbers, got {reprlib.repr(value)} ({error})") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must hold real numbers, got {reprlib.repr(value)} (dtype {array.dtype})")
    return array.astype(np.float64)


def positive_int(value: object, name: str) -> int:
    """Give `value` back if it is an int of at least 1, or raise."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; write an int >= 1")
    if value < 1:
        raise ValueError(f"{name} is {value}; write an int >= 1")
    return int(value)


def generator(random_seed: Seed) -> np.random.Generator:
    """Make a Generator of an int, a Generator or None; anything else is a TypeError."""
    if random_seed is not None and not isinstance(random_seed, int | np.integer | np.random.Generator):
        raise TypeError(f"random_seed is {random_seed!r}; write an int, a numpy Generator or None")
    if isinstance(random_seed, int | np.integer) and random_seed < 0:
        raise ValueError(f"random_seed is {random_seed}; write an int >= 0")
    return np.random.default_rng(random_seed)


def seed_of(random_seed: Seed) -> int:
    """An int that stands for a seed: itself, or one drawn from a Generator or from nothing."""
    rng = generator(random_seed)
    return int(random_seed) if isinstance(random_seed, int | np.integer) else int(rng.integers(2**63))
