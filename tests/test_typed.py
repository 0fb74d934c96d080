"""Labels of every kind come back as what they were, or are refused before anything is written."""

import datetime as dt
import json
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from zoneinfo import ZoneInfo

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bayesdiff.results import dataset, load, save, tree
from bayesdiff.typed import as_text, check_labels, labels_of, of_text

ALWAYS = {"derandomize": True, "deadline": None, "database": None, "phases": [Phase.generate]}
BERLIN = ZoneInfo("Europe/Berlin")
# Labels as a model has them: pm.Model makes a tuple of each dimension's.
LISTED = {
    "ints": [3, -1],
    "numbers": [1, 2.5],
    "some numbers": [1.0, np.nan],
    "great": [1, 2**70],
    "bools": [True, False],
    "bools and numbers": [True, 2],
    "text": ["a", "é😀"],
    "text and numbers": ["1", 1],
    "text that ends in NUL": ["a\0", "a"],
    "text with a NUL inside": ["a\0b", "c"],
    "text like ours": ['{"date":"2026-01-31"}', "null", "NaN"],
    "bytes": [b"a", b"\xff\0c"],
    "bytes that end in NUL": [b"a\0", b"a"],
    "days": list(np.array(["2026-01-31", "NaT"], "M8[D]")),
    "years": list(np.array(["-9999", "2026"], "M8[Y]")),
    "nanoseconds": list(np.array(["2026-01-31T00:00:00.000000001", "NaT"], "M8[ns]")),
    "durations": list(np.array([1, "NaT"], "m8[ms]")),
    "Timestamps": [pd.Timestamp("2026-01-31"), pd.NaT],
    "in zones": [pd.Timestamp("2026-01-31", tz="UTC"), pd.Timestamp("2026-10-25 03:30", tz=BERLIN), None],
    "offsets": [pd.Timestamp("2026-01-31T00:00+05:30"), dt.datetime(2026, 1, 31, tzinfo=dt.UTC)],
    "hour twice": [dt.datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=BERLIN) for fold in (0, 1)] + ["a"],
    "datetimes": [dt.datetime(2026, 1, 31, 12), dt.datetime(1, 1, 1)],
    "timedeltas": [dt.timedelta(1, 2, 3), pd.Timedelta("1ns"), "a"],
    "dates": [dt.date(2026, 1, 31), dt.time(1, 2, 3, 4), None],
    "months": [pd.Period("2026-01", "M"), pd.Period("2026Q4", "Q-DEC"), pd.NaT],
    "intervals": [pd.Interval(0, 1.5, "left"), pd.Interval(pd.Timestamp("2026"), pd.Timestamp("2027"))],
    "Decimals": [Decimal("1.10"), Decimal("NaN"), Decimal("-Infinity"), Decimal("1e-400")],
    "tuples": [("a", 1), ("b",), (), (("c", dt.date(2026, 1, 31)), np.float64(0.1))],
    "pairs": [("a", 1), ("b", 2)],
    "None among them": ["a", None],
    "NaN among them": ["a", np.nan],
    "NaT among them": ["a", pd.NaT],
    "nothing else": [None, None],
    "complex": [1j, 2.0 - 1j],
    "NumPy's": [np.int8(1), np.float32(0.1), np.bool_(True), np.datetime64(5, "ms"), np.complex64(1j), "a"],
    "extreme": [np.inf, -np.inf, -0.0, 5e-324, "a"],
}
INDEXES = {
    "small ints": np.array([1, 255], np.uint8),
    "floats": np.array([0.1, 2], np.float32),
    "big endian": np.array([1, 2], ">i4"),
    "days": pd.date_range("2026", periods=3, unit="s"),
    "in a zone": pd.date_range("2026-10-24", periods=3, tz="Europe/Berlin", unit="ns"),
    "UTC": pd.date_range("2026", periods=2, tz="UTC"),
    "durations": pd.timedelta_range("1h", periods=2),
    "months": pd.period_range("2026", periods=3, freq="M"),
    "weeks": pd.PeriodIndex(["2026", pd.NaT], freq="W-SUN"),
    "intervals": pd.interval_range(0, 2),
    "days between": pd.interval_range(pd.Timestamp("2026", tz="UTC"), periods=2, closed="both"),
    "categories": pd.CategoricalIndex(["a", "b", None], categories=["b", "c", "a"], ordered=True),
    "numbers as categories": pd.CategoricalIndex([2, 1]),
    "months as categories": pd.CategoricalIndex(pd.period_range("2026", periods=2, freq="M")),
    "tuples as categories": pd.CategoricalIndex([("a", 1), ("b", 2)]),
    "objects": pd.Index([pd.Timestamp("2026"), pd.Timestamp("2027")], dtype=object),
    "no one": pd.Index([], dtype=object),
    "no month": pd.period_range("2026", periods=0, freq="M"),
}


def typed(values):
    return [(type(value), repr(value)) for value in values]


def same(found, saved):
    """Identical, and of the same types, which xarray does not ask."""
    assert found.identical(saved)
    for name, variable in saved.variables.items():
        assert found[name].dtype == variable.dtype
        if name not in saved.indexes:
            assert typed(found[name].values.ravel()) == typed(variable.values.ravel())
    for name, index in saved.indexes.items():
        assert type(found.indexes[name]) is type(index)
        assert found.indexes[name].dtype == index.dtype
        assert typed(found.indexes[name]) == typed(index)


def labelled(labels):
    size = len(labels)
    return dataset({"x": np.arange(float(size))}, dims={"x": ["d"]}, coords={"d": labels})


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_every_kind_of_label_comes_back(tmp_path, suffix):
    every = LISTED | {f"index of {name}": index for name, index in INDEXES.items()}
    saved = {name: labelled(labels) for name, labels in every.items()}
    for name, labels in LISTED.items():
        if saved[name]["d"].dtype == object:
            assert typed(saved[name]["d"].values) == typed(labels)  # `dataset` has kept them
    for in_memory in (True, False):
        found = load(save(tree(saved), tmp_path / f"run{suffix}", overwrite=True), in_memory=in_memory)
        for name, ds in saved.items():
            same(found[name].to_dataset(), ds)


def test_what_numpy_would_make_another_thing_of_is_kept():
    assert labels_of((1, 2.5)).dtype == float
    assert labels_of(("a", "b")).dtype == "<U1"
    assert labels_of(()).shape == (0,)
    for labels in ((True, 2), ("a", 1), ("a", np.nan), (("a", 1), ("b", 2)), ("a\0", "b"), (2**60 + 1, 0.5)):
        kept = labels_of(labels)
        assert kept.shape == (2,)
        assert typed(kept) == typed(labels)


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_levels_of_labels_come_back(tmp_path, suffix):
    months = pd.Categorical([dt.date(2026, 1, 1), dt.date(2026, 1, 1), dt.date(2026, 2, 1)])
    levels = pd.MultiIndex.from_arrays([["a\0", "b", None], [2, 1, 2], months], names=["who", "$\\mu$", "month"])
    saved = xr.Dataset(
        {"x": ("d", [1.0, 2.0, 3.0]), "y": (("e", "d"), np.zeros((2, 3)))},
        coords=xr.Coordinates.from_pandas_multiindex(levels, "d"),
    )
    saved["d"].attrs, saved["who"].attrs = {"about": 1}, {"units": "people"}
    found = load(save(tree({"g": saved}), tmp_path / f"run{suffix}"))["g"].to_dataset()
    assert found.identical(saved)
    assert list(found.variables) == list(saved.variables)
    assert found.indexes["d"].equals(levels)
    assert found.indexes["d"].get_level_values("month").dtype == months.dtype
    assert found["d"].attrs == {"about": 1}
    assert found["who"].attrs == {"units": "people"}
    assert found.sel(who="b")["x"].item() == 2.0


def test_what_is_no_label_of_a_dimension_is_kept_too(tmp_path):
    many = np.array([[dt.date(2026, 1, 31), None], [("a", 1), Decimal(1)]], dtype=object)
    saved = xr.Dataset(
        {"x": (("a", "b"), many), "z": ("a", [1j, 2])},
        coords={"t": ("b", pd.date_range("2026", periods=2, tz="UTC")), "c": ("b", pd.Categorical(["u", "v"]))},
    )
    for suffix in (".zarr", ".nc"):
        found = load(save(tree({"g": saved}), tmp_path / f"run{suffix}"))["g"].to_dataset()
        same(found.drop_vars("t"), saved.drop_vars("t"))
        assert found["t"].dtype == saved["t"].dtype
        assert found["t"].to_index().equals(saved["t"].to_index())


def test_other_programs_see_times_as_times(tmp_path):
    times, lasting = np.array(["2026-01-31", "NaT"], "M8[us]"), np.array([1, 2], "m8[ms]")
    saved = xr.Dataset({"t": ("d", times, {"units": "mine"}), "l": ("d", lasting)})
    path = save(tree({"g": saved}), tmp_path / "run.nc")
    with xr.open_datatree(path, engine="h5netcdf", decode_timedelta=True) as found:
        np.testing.assert_array_equal(found["g"]["t"].values.astype("M8[us]"), times)
        np.testing.assert_array_equal(found["g"]["l"].values, lasting)
    assert load(path)["g"].to_dataset().identical(saved)


# -------------------------------------------------------------------------------------------- of any value of its kind

FINE = st.characters(exclude_categories=("Cs",))
ZONES = st.sampled_from([None, dt.UTC, BERLIN, dt.timezone(dt.timedelta(hours=-3, seconds=7))])
MOMENTS = st.datetimes(timezones=ZONES, allow_imaginary=False)
STAMPS = st.builds(
    lambda moment, unit: pd.Timestamp(moment).as_unit(unit),
    st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1), timezones=ZONES, allow_imaginary=False),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
ENDS = st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.sampled_from(["left", "right", "both", "neither"]))
LABELS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(FINE),
    st.binary(),
    st.dates(),
    st.times(),
    MOMENTS,
    st.timedeltas(),
    STAMPS,
    st.decimals(),
    st.builds(lambda n, freq: pd.Period(ordinal=n, freq=freq), st.integers(-7000, 7000), st.sampled_from("YMDhs")),
    ENDS.map(lambda ends: pd.Interval(ends[0], ends[0] + ends[1], ends[2])),
    st.sampled_from([pd.NaT, pd.NA, np.int16(3), np.float32(0.1), np.datetime64("NaT", "s"), np.timedelta64(7, "ns")]),
)
NESTED = st.recursive(LABELS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def is_text_of_itself(labels):
    array = labels_of(labels)
    if array.dtype == object:
        assert typed(array) == typed(labels)
    texts, together = as_text(array, "it")
    assert all(text.isascii() for text in texts)
    again = of_text(texts, json.loads(json.dumps(together)))
    assert again.dtype == array.dtype
    assert typed(again) == typed(array)


@settings(max_examples=200, **ALWAYS)
@given(st.lists(NESTED, min_size=1, max_size=4))
def test_any_label_is_text_and_back(labels):
    is_text_of_itself(labels)


@settings(max_examples=6, **ALWAYS)
@given(st.lists(st.lists(NESTED, min_size=1, max_size=4), min_size=3, max_size=3))
def test_any_label_is_saved(tmp_path_factory, several):
    saved = tree({f"g{i}": labelled(labels) for i, labels in enumerate(several)})
    for suffix in (".zarr", ".nc"):
        found = load(save(saved, tmp_path_factory.mktemp("any") / f"run{suffix}"))
        for name in saved.children:
            assert typed(found[name]["d"].values) == typed(saved[name]["d"].values)


# -------------------------------------------------------------------------------------------------- what cannot be kept

SUBCLASS = type("Mine", (str,), {})
REFUSED = [
    (frozenset("a"), TypeError, "frozenset"),
    (print, TypeError, "built-in function print"),
    (Fraction(1, 3), TypeError, "Fraction"),
    ((SUBCLASS("a"),), TypeError, "nothing is known of its kind"),
    (np.longdouble(1), TypeError, "longdouble"),
    (("a", ("b", [1])), TypeError, "tuple"),
    ("\ud800", ValueError, "half of a surrogate pair"),
    (("a", "\udfff"), ValueError, "half of a surrogate pair"),
    (dt.time(1, tzinfo=dt.UTC), ValueError, "a time of day with a zone"),
    (pd.Timestamp("2026", tz="dateutil/Europe/Berlin"), ValueError, "no zoneinfo.ZoneInfo"),
    (reduce(lambda inner, _: (inner,), range(12), 1), ValueError, "more than 10 deep"),
    (10**5000, ValueError, "digits"),
    ("a" * 70_000 + "\0", ValueError, "letters"),
]


@pytest.mark.parametrize(("label", "error", "says"), REFUSED, ids=range(len(REFUSED)))
def test_a_label_that_cannot_be_kept_is_refused_before_anything_is_written(tmp_path, label, error, says):
    saved = tree({"g": labelled(["a", label])})
    for suffix in (".zarr", ".nc"):
        with pytest.raises(error, match=says) as caught:
            save(saved, tmp_path / "new" / f"run{suffix}")
        assert "the variable 'd' has " in str(caught.value)
        assert "; write " in str(caught.value)
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(error, match="the dimension 'd' has "):
        check_labels({"other": ["a"], "counted": None, "d": ["a", None, label]})


def test_labels_that_are_kept_are_not_refused():
    check_labels(LISTED | INDEXES | {"none": None})


def test_one_dimension_twice_is_refused_before_anything_is_written(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate dimension names"):
        saved = tree({"g": xr.Dataset({"A": (("city", "city"), np.eye(2))})})
    with (
        pytest.warns(UserWarning, match="Duplicate dimension names"),
        pytest.raises(ValueError, match=r"'A' has a dimension twice, \('city', 'city'\); rename one of them"),
    ):
        save(saved, tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [pd.arrays.SparseArray([1, 0]), np.array([1, 2], np.longdouble)])
def test_other_arrays_are_refused(tmp_path, values):
    with pytest.raises(TypeError, match=r"'x' .*a saved run does not keep"):
        save(tree({"g": xr.Dataset({"x": ("d", values)})}), tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------- crafted labels

TEXTS = [
    "",
    " 1",
    "1 ",
    "01",
    "nan",
    "1e400",
    "1" * 5000,
    "[1]",
    "{}",
    '{"a":1}',
    '{"tuple":1}',
    '{"tuple":[1],"date":1}',
    '{"date":"2026-01-31","date":"2026-02-01"}',
    '{"date":"2026-02-30"}',
    '{"date":20260131}',
    '{"date":"2026-W01-1"}',
    '{"date":null}',
    '{"time":["25:00",0]}',
    '{"time":["01:00+01:00",0]}',
    '{"datetime":["2026-01-31T00:00:00",null,7]}',
    '{"datetime":["x",null,0]}',
    '{"datetime":["2026-01-31T00:00:00","/etc/passwd",0]}',
    '{"datetime":["2026-01-31T00:00:00",1e9,0]}',
    '{"datetime":["2026-01-31T00:00:00+01:00",null,0]}',
    '{"timedelta":[1e300,0,0]}',
    '{"timedelta":[0,90000,0]}',
    '{"timedelta":[1,2,3,4]}',
    '{"Timestamp":[9e99,"s",null]}',
    '{"Timestamp":[' + "9" * 40 + ',"s",null]}',
    '{"Timestamp":[1,"Y",null]}',
    '{"Timestamp":[1,"s","dateutil//etc/passwd"]}',
    '{"Timestamp":[1,"s","../passwd"]}',
    '{"Timestamp":[1,"s","/etc/passwd"]}',
    '{"Timestamp":[1,"s","Nowhere/At/All"]}',
    '{"Timestamp":[1,"s","' + "a" * 300 + '"]}',
    '{"Timestamp":["1","s",null]}',
    '{"Timedelta":[1,"ns] or"]}',
    '{"Period":[' + "9" * 40 + ',"D"]}',
    '{"Period":[1,"os.system"]}',
    '{"Period":[1,"' + "9" * 300 + 'D"]}',
    '{"Period":[1.5,"D"]}',
    '{"Period":[true,"D"]}',
    '{"Period":["2026","D"]}',
    '{"Interval":[2,1,"right"]}',
    '{"Interval":["a","b","right"]}',
    '{"Interval":[1,2,"all"]}',
    '{"Interval":[1,2]}',
    '{"Decimal":"one"}',
    '{"Decimal":1}',
    '{"Decimal":[0,[1],2]}',
    '{"bytes":"0g"}',
    '{"bytes":"AB"}',
    '{"complex":[1]}',
    '{"complex":["1","2"]}',
    '{"NaT":1}',
    '{"NA":[]}',
    '{"numpy":["|O",1]}',
    '{"numpy":["<U900000000","a"]}',
    '{"numpy":["<f8,<f8",1]}',
    '{"numpy":["<i1",300]}',
    '{"numpy":["<M8[zz]",1]}',
    '{"numpy":["<f8","1e3"]}',
    '{"numpy":[["<f8"],1]}',
    '{"__import__":"os"}',
    '{"eval":"1"}',
    '"\\ud800"',
    '{"tuple":[[1]]}',
    '{"tuple":[' * 12 + "]}" * 12,
    "[" * 30_000,
    '{"tuple":[' * 6_000,
    '"' + "a" * 70_000 + '"',
    "NULL",
    "\x1b[31m",
]
TOGETHER = [
    None,
    1,
    [],
    {},
    "",
    "O",
    "object",
    "category",
    "Sparse[int64]",
    "<U900000000",
    "|S900000000",
    "|V8",
    "f8,f8",
    "datetime64[ns, dateutil//etc/passwd]",
    "period[M]",
    "int64[pyarrow]",
    ["|O"],
    {"zone": ["us", "dateutil//etc/passwd"]},
    {"zone": ["us", "/etc/passwd"]},
    {"zone": ["us", None]},
    {"zone": ["weeks", "UTC"]},
    {"zone": "us"},
    {"period": "1e9"},
    {"period": ["M"]},
    {"period": "9" * 1000 + "D"},
    {"interval": ["|O", "right"]},
    {"interval": ["<i8", "all"]},
    {"interval": [{"category": [["a"], "|O", False]}, "right"]},
    {"category": [["a", "a"], "|O", False]},
    {"category": [["a", None], "|O", False]},
    {"category": [["a"], "|O", "yes"]},
    {"category": ["a", "|O"]},
    {
        "category": [
            ["a"],
            {"category": [["a"], {"category": [["a"], {"category": [["a"], "|O", False]}, False]}, False]},
            False,
        ]
    },
    {"category": [[{"date": "2026-02-30"}], "|O", False]},
    {"category": [["b"], "|O", False]},
    "<i8",
    "<f8",
    "Int64",
    "S",
    {"period": "D"},
    {"interval": ["<i8", "right"]},
    "boolean",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_crafted_label_is_refused(text):
    with pytest.raises(ValueError, match=r"^it has (a label|labels|the label)"):
        of_text(np.array(["null", text]), "|O")


@pytest.mark.parametrize("together", TOGETHER, ids=range(len(TOGETHER)))
def test_labels_of_a_crafted_kind_are_refused(together):
    with pytest.raises(ValueError, match=r"^it has (a label|labels|the label)"):
        of_text(np.array(['"a"']), together)


def test_deep_and_long_labels_end_in_one_error():
    for deep in ('{"category":[["a"],' * 400, "[" * 100_000):
        with pytest.raises(ValueError, match=r"^it has"):
            of_text(np.array([deep]), "|O")
    nested = "|O"
    for _ in range(2000):
        nested = {"interval": [nested, "right"]}
    with pytest.raises(ValueError, match=r"^it has"):
        of_text(np.array(["null"]), nested)


@pytest.fixture(params=[".zarr", ".nc"])
def saved(request, tmp_path):
    return save(tree({"g": labelled([dt.date(2026, 1, 31), None])}), tmp_path / f"run{request.param}")


def crafted(path, text=None, **changes):
    """Put another text in the place of the first label, or change what the layout says of them."""
    root = zarr.open_group(path) if path.is_dir() else h5py.File(path, "r+")
    if text is not None:
        root["g/d"][0] = text
    layout = json.loads(root.attrs["bayesdiff_layout"])
    layout["/g"]["variables"]["d"] |= changes
    root.attrs["bayesdiff_layout"] = json.dumps(layout)
    if not path.is_dir():
        root.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"text": '{"date":"2026-02-30"}'},
        {"text": '{"Decimal":"1"'},
        {"labels": None},
        {"labels": {"zone": ["us", "/etc/passwd"]}},
        {"labels": "M"},
        {"levels": ["d"]},
        {"levels": ["nowhere"]},
        {"levels": "x"},
        {"levels": [["x"]]},
        {"dtype": "<M8[s]"},
    ],
)
def test_a_crafted_run_ends_in_one_sentence(saved, changes):
    assert load(saved)["g"]["d"].values[0] == dt.date(2026, 1, 31)
    crafted(saved, **changes)
    with pytest.raises(ValueError, match="is no run of bayesdiff, or it is damaged: ") as caught:
        load(saved)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


def test_labels_that_say_less_are_text(saved):
    """The negative control: another date is another label, and nothing else is wrong."""
    crafted(saved, text='{"date":"2027-01-31"}')
    assert load(saved)["g"]["d"].values.tolist() == [dt.date(2027, 1, 31), None]
