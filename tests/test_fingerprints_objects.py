"""Fingerprints of objects of every kind."""

import logging
import os
import random
import weakref
from collections import OrderedDict, deque, namedtuple
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cached_property, singledispatch
from pathlib import Path, PurePosixPath

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
import scipy.sparse
import xarray as xr

import bayesdiff as bd
from bayesdiff.fingerprints import of_function, of_object

MODELS = sorted(file.stem for file in (Path(__file__).parents[1] / "models").glob("*.py"))


def same(first, second):
    return of_object(first) == of_object(second)


class Bag(set):
    pass


class Colour(Enum):
    RED = 1
    BLUE = 2


class Kept:
    """An object that keeps what it has computed."""

    def __init__(self, a):
        self.a = a

    @cached_property
    def twice(self):
        return 2 * self.a


class Stateful:
    def __init__(self, a):
        self.a, self.noise = a, object()

    def __getstate__(self):
        return {"a": self.a}


class Named(np.ndarray):
    pass


Point = namedtuple("Point", "a b")
STRUCTURED = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 16})


def structured(garbage, b=1.5):
    array = np.frombuffer(bytearray([garbage] * 32), STRUCTURED)
    array["a"], array["b"] = 1, b
    return array


def frame(b=1.5, columns=("a", "b")):
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [b, 2.5]})
    return table[list(columns)]


def dataset(b=1.5, units="m", city="p"):
    array = xr.DataArray([1.0, b], dims="city", coords={"city": [city, "q"]}, attrs={"units": units})
    return xr.Dataset({"a": array, "c": 1})


def recursive(last):
    values = [1, [2, [last]]]
    values[1].append(values)
    return values


def nested(last, depth=20_000):
    for _ in range(depth):
        last = [last]
    return last


def long_double(value):
    array = np.frombuffer(bytearray(os.urandom(32)), np.longdouble)
    array[:] = value
    return array


# Each is made twice, and is told from the others.
OBJECTS = {
    "numbers": [
        lambda: 1,
        lambda: 1.0,
        lambda: True,
        lambda: 1 + 0j,
        lambda: np.int64(1),
        lambda: np.float64(1),
        lambda: np.bool_(1),
        lambda: np.int32(1),
        lambda: np.array(1),
        lambda: "1",
        lambda: b"1",
        lambda: None,
        lambda: ...,
        lambda: Decimal(1),
        lambda: Fraction(1),
        lambda: -1,
        lambda: float("nan"),
        lambda: 0.0,
        lambda: -0.0,
        lambda: complex(0, -0.0),
        lambda: complex(-0.0, -0.0),
        lambda: 10**5000,
        lambda: 10**5000 + 1,
        lambda: "\ud800",
        lambda: "",
        lambda: b"",
    ],
    "containers": [
        lambda: [1, 2],
        lambda: (1, 2),
        lambda: {1, 2},
        lambda: frozenset({1, 2}),
        lambda: {1: 2},
        lambda: [[1], 2],
        lambda: [1, [2]],
        lambda: [[1, 2]],
        lambda: [],
        lambda: {},
        lambda: (),
        lambda: {1: 2, "a": 3},
        lambda: {"a": 3},
        lambda: deque([1, 2]),
        lambda: OrderedDict(a=1, b=2),
        lambda: OrderedDict(b=2, a=1),
        lambda: Point(1, 2),
        lambda: Point(2, 1),
        lambda: Bag("ab"),
        lambda: Bag("ac"),
        lambda: range(1, 2),
        lambda: slice(1, 2),
        lambda: bytearray(b"a"),
        lambda: {frozenset({1}): {2: {"a", "b"}}},
        lambda: {frozenset({1}): {2: {"a", "c"}}},
    ],
    "records": [
        lambda: Colour.RED,
        lambda: Colour.BLUE,
        lambda: Kept(1),
        lambda: Kept(2),
        lambda: Stateful(1),
        lambda: Stateful(2),
        lambda: Path("a/b"),
        lambda: Path("a/c"),
        lambda: PurePosixPath("a/b"),
        lambda: date(2020, 1, 2),
        lambda: date(2020, 1, 3),
        lambda: datetime(2020, 1, 2),
        lambda: datetime(2020, 1, 2, tzinfo=UTC),
        lambda: timedelta(1),
        lambda: timedelta(2),
        lambda: bd.geometric(3, 0.1, 10.0),
        lambda: bd.geometric(3, 0.1, 11.0),
        lambda: np.dtype("f8"),
        lambda: np.dtype("f4"),
    ],
    "arrays": [
        lambda: np.arange(4.0),
        lambda: np.arange(4.0)[::-1],
        lambda: np.arange(4.0).reshape(2, 2),
        lambda: np.arange(4),
        lambda: np.arange(4.0).reshape(2, 2).T,
        lambda: np.arange(4.0, dtype=">f8"),
        lambda: np.arange(4.0) + 0j,
        lambda: np.array(["a", "b"]),
        lambda: np.array(["a", "b"], object),
        lambda: np.array(["a", "bb"], object),
        lambda: np.array(["a", "b" * 99], np.dtypes.StringDType()),
        lambda: np.array(["a", "b" * 98], np.dtypes.StringDType()),
        lambda: np.array(["2020-01-02"], "M8[D]"),
        lambda: np.array(["2020-01-02"], "M8[s]"),
        lambda: np.empty((0, 2)),
        lambda: np.empty((2, 0)),
        lambda: np.ma.array([1.0, 2.0], mask=[0, 1]),
        lambda: np.ma.array([1.0, 2.0], mask=[1, 0]),
        lambda: np.arange(4.0).view(Named),
        lambda: long_double(1.5),
        lambda: long_double(np.longdouble(1.5) + np.longdouble(2) ** -60),
        lambda: jnp.arange(4.0),
        lambda: jnp.arange(4),
        lambda: jax.random.key(1),
        lambda: jax.random.key(2),
        lambda: jax.random.PRNGKey(1),
        lambda: scipy.sparse.csr_array(np.eye(2)),
        lambda: scipy.sparse.csc_array(np.eye(2)),
        lambda: scipy.sparse.csr_array(2 * np.eye(2)),
        lambda: scipy.sparse.csr_matrix(np.eye(2)),
        lambda: structured(1),
        lambda: structured(1, 1.6),
    ],
    "tables": [
        frame,
        lambda: frame(1.6),
        lambda: frame(columns=("b", "a")),
        lambda: frame()["a"],
        lambda: frame()["b"],
        lambda: frame().astype("f4"),
        lambda: frame().set_index("a"),
        lambda: frame().rename(columns={"a": "c"}),
        lambda: pd.Index(["a", "b"]),
        lambda: pd.Index(["a", "b"], name="c"),
        lambda: pd.Index(["a", "c"]),
        lambda: pd.RangeIndex(3),
        lambda: pd.RangeIndex(4),
        lambda: pd.MultiIndex.from_tuples([("a", 1)]),
        lambda: pd.MultiIndex.from_tuples([("a", 2)]),
        lambda: pd.Series(["a", "b"], dtype="category"),
        lambda: pd.Series(["a", "b"]),
        lambda: pd.Series([1, None], dtype="Int64"),
        lambda: pd.Series([1, 2], dtype="Int64"),
        lambda: pd.Series(["a", "b"], dtype=object),
        lambda: pd.Timestamp("2020-01-02"),
        lambda: pd.Timestamp("2020-01-02", tz="UTC"),
        lambda: pd.date_range("2020", periods=3),
        lambda: pd.date_range("2020", periods=3, tz="UTC"),
        lambda: pd.period_range("2020", periods=3, freq="M"),
        lambda: pd.interval_range(0, 3),
        lambda: pd.interval_range(0, 3, closed="both"),
        dataset,
        lambda: dataset(1.6),
        lambda: dataset(units="s"),
        lambda: dataset(city="r"),
        lambda: dataset()["a"],
        lambda: dataset()["a"].rename("z"),
        lambda: dataset()["a"].variable,
        lambda: dataset().isel(city=slice(1)),
        lambda: xr.DataTree.from_dict({"/g": dataset()}),
        lambda: xr.DataTree.from_dict({"/h": dataset()}),
        lambda: xr.DataTree.from_dict({"/g": dataset(1.6)}),
    ],
    "deep": [
        lambda: nested(1),
        lambda: nested(2),
        lambda: nested(1, 20_001),
        lambda: recursive(1),
        lambda: recursive(2),
        lambda: nested(of_function),
        lambda: nested(of_object),
        lambda: [*range(100_000)],
        lambda: ["a"] * 200,
        lambda: ["aa", "", *["a"] * 198],
        lambda: [1.0] * 200,
        lambda: [1] * 200,
        lambda: [2**70] * 200,
        lambda: [2**70 + 1] * 200,
        lambda: [True] * 200,
        lambda: [np.int64(1)] * 200,
        lambda: [*range(1, 100_001)],
    ],
    "graphs": [
        lambda: pt.vector("x") + 1,
        lambda: pt.vector("x") + 2,
        lambda: pt.vector("y") + 1,
        lambda: pt.matrix("x") + 1,
        lambda: pt.vector("x") - 1,
        lambda: pytensor.shared(np.arange(3.0)) + 1,
        lambda: pytensor.shared(np.arange(4.0)) + 1,
        lambda: pt.vector("x")[1:],
        lambda: pt.vector("x")[2:],
        lambda: pt.vector("x").sum(),
        lambda: pt.vector("x").max(),
    ],
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_are_told_by_what_they_hold(kind):
    first = [of_object(make()) for make in OBJECTS[kind]]
    assert first == [of_object(make()) for make in OBJECTS[kind]]
    assert len(set(first)) == len(first)


def test_what_lies_between_the_fields_of_a_record_is_not_told():
    assert structured(1).tobytes() != structured(2).tobytes()
    assert same(structured(1), structured(2))


def test_what_an_object_keeps_of_its_own_accord_is_not_told():
    first, second = Kept(1), Kept(1)
    assert second.twice == 2
    assert same(first, second)
    for table in (frame(), dataset()):
        before = of_object(table)
        str(table)
        table.equals(table)
        assert of_object(table) == before
    sparse = scipy.sparse.csr_array(np.eye(2))
    before = of_object(sparse)
    sparse.sum_duplicates()
    assert of_object(sparse) == before


def test_an_array_is_its_numbers_however_they_lie():
    array = np.arange(12.0).reshape(3, 4)
    assert same(array, np.asfortranarray(array))
    assert same(array[:, ::2], array[:, ::2].copy())
    assert same(
        frame()[["a", "b"]],
        pd.DataFrame({"a": [1.0], "b": [1.5]}).merge(pd.DataFrame({"a": [2.0], "b": [2.5]}), how="outer"),
    )


@pytest.mark.parametrize(
    "make",
    [
        np.random.default_rng,
        np.random.RandomState,
        np.random.SeedSequence,
        np.random.PCG64,
        random.Random,
        logging.getLogger,
    ],
)
def test_generators_and_loggers_are_left_out(make):
    if make is logging.getLogger:
        assert same({"a": make("a")}, {"a": make("b")})
    else:
        assert same({"a": make(1)}, {"a": make(2)})
    assert not same({"a": make("1" if make is logging.getLogger else 1)}, {"a": 1})


def test_what_is_kept_weakly_is_left_out():
    cache, key = weakref.WeakKeyDictionary(), Kept(1)
    before = of_object([cache])
    cache[key] = 1
    assert of_object([cache]) == before

    @singledispatch
    def f(x):
        return x

    before = of_function(f)
    f(1)  # what it dispatched to is kept
    assert of_function(f) == before


def test_a_huge_array_is_read_once_and_not_copied():
    import tracemalloc

    array = np.ones(4 * 10**6)
    tracemalloc.start()
    try:
        of_object([array, {"a": array}])
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
