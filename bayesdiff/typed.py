"""Typed labels: those that are neither numbers nor plain text, written as text and read back as what they were.

A number, a text, True and None stand for themselves. Anything else is written as one entry, from its kind to what it
is made of: ``{"date": "2026-01-31"}``. A run may come from anybody, so reading makes what is listed here and no more:
it looks no name up, imports nothing, and opens no file but those of the time zones.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from bayesdiff.checks import writable

LONGEST = 2**16  # letters of a written label
DEEPEST = 10  # tuples in tuples
_NUMPY = re.compile(r"\|O|[<|](b1|[iu][1248]|f[248]|c8|c16|[mM]8\[([YMWDhms]|ms|us|ns)\])")
_MASKED = ("boolean", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)), "Float32", "Float64")
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_ADVICE = "write numbers, text, dates, or tuples of them, as str(label)"


def labels_of(values: Any) -> np.ndarray | pd.Index:
    """Labels as an array, each as it is: NumPy alone makes text of numbers beside text, and rows of tuples.

    Examples
    --------
    >>> labels_of([1, 2.5]), labels_of(["a", 1]), labels_of([("a", 1)])
    (array([1. , 2.5]), array(['a', 1], dtype=object), array([('a', 1)], dtype=object))
    """
    if isinstance(values, np.ndarray) or (isinstance(values, pd.Index) and not isinstance(values, pd.MultiIndex)):
        return values
    values = list(values)
    kinds = {isinstance(value, bool | np.bool_) for value in values}
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError):  # of tuples of different lengths, for one
        array = np.empty(0, object)
    same = array.ndim == 1 and array.dtype.kind != "O" and len(kinds) < 2  # True beside 2 is no number
    found = array if array.dtype.kind in "mM" else array.tolist()  # of times, Python's would be other times
    if same and all(a == b or (a != a and b != b) for a, b in zip(found, values, strict=True)):
        return array
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def check_labels(coords: Mapping[str, Any]) -> None:
    """Raise for labels that no saved run keeps: to be asked before hours of computation, not after.

    Parameters
    ----------
    coords : mapping of str to sequence or None
        The labels of each dimension.

    Raises
    ------
    TypeError
        If a label is of a kind that is not kept.
    ValueError
        If one cannot be kept, as half of a surrogate pair.

    Examples
    --------
    >>> check_labels({"when": [date(2026, 1, 31)], "how": [print]})
    Traceback (most recent call last):
    TypeError: the dimension 'how' has the label <built-in function print> (builtin_function_or_method), which ...
    """
    for name, values in coords.items():
        if values is None:
            continue
        found = labels_of(values)
        if not (isinstance(found.dtype, np.dtype) and plain(found.dtype)):
            as_text(found, f"the dimension {name!r}")


def plain(dtype: np.dtype) -> bool:
    """Whether both formats hold arrays of it: numbers that are not complex, and times."""
    return dtype.kind in "biufmM" and _NUMPY.fullmatch(dtype.newbyteorder("<").str) is not None


def fixed(values: np.ndarray) -> bool:
    """Whether an array of NumPy's fixed width holds these texts, in either format of a file."""
    texts = all(isinstance(text, str) and "\0" not in text and writable(text) for text in values.flat)
    return texts and (values.size > 0 or values.dtype.kind != "O")  # objects of which there are none may be anything


def as_text(values: Any, what: str) -> tuple[np.ndarray, Any]:
    """Write labels as text, and what they are together (an array of objects, an index of dates with a zone).

    Parameters
    ----------
    values : ndarray, pandas.Index or pandas array
        Of any shape.
    what : str
        What has these labels, for errors.

    Returns
    -------
    tuple of (ndarray of text, object that JSON holds)
        As `of_text` takes them.

    Examples
    --------
    >>> as_text(pd.period_range("2026-01", periods=2, freq="M"), "month")
    (array(['{"Period":[672,"M"]}', '{"Period":[673,"M"]}'], dtype='<U20'), {'period': 'M'})
    """
    try:
        together = _dtype_as_json(values.dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} has labels of dtype {values.dtype} ({error}); {_ADVICE}") from None
    flat = values.ravel().tolist() if isinstance(values, np.ndarray) else values
    texts = [_label_as_text(label, what) for label in flat]
    return np.array(texts, dtype=str).reshape(values.shape), together


def of_text(texts: np.ndarray, together: Any) -> np.ndarray | pd.Index:
    """Make labels again of what `as_text` made of them.

    Raises
    ------
    ValueError
        If `as_text` would not have made it.

    Examples
    --------
    >>> of_text(*as_text(labels_of([date(2026, 1, 31), None]), "when"))
    array([datetime.date(2026, 1, 31), None], dtype=object)
    """
    try:
        made = _array([_label_of_text(str(text)) for text in texts.flat], _dtype_of_json(together))
        if isinstance(made, np.ndarray):
            made = made.reshape(texts.shape)
        again, same = as_text(made, "it")
    except RecursionError:
        raise ValueError("it has labels that are nested too deep") from None
    except Exception as error:  # pandas raises whatever it likes
        raise ValueError(f"it has labels that cannot be read ({type(error).__name__}: {error})") from error
    if same != together or again.shape != texts.shape or not (again == texts).all():
        raise ValueError(f"it has labels that are not what they say: {reprlib.repr(texts.ravel()[:3].tolist())}")
    return made


def _array(values: list[Any], dtype: Any) -> np.ndarray | pd.Index:
    objects = np.empty(len(values), object)
    for i, value in enumerate(values):
        objects[i] = value
    if isinstance(dtype, np.dtype):
        return objects if dtype.kind == "O" else np.array(values, dtype=dtype)
    return pd.Index(objects, dtype=dtype)


# ---------------------------------------------------------------------------------------------------------- one label


def _label_as_text(label: Any, what: str) -> str:
    try:
        str(label)  # a Timestamp may be beyond what can be shown
        text = json.dumps(_as_json(label), separators=(",", ":"))
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{what} has the label {_shown(label)} ({type(label).__name__}), which a saved run does not keep: {error}; "
            f"{_ADVICE}"
        ) from None
    if len(text) > LONGEST:
        raise ValueError(
            f"{what} has a label of {len(text):,} letters, {reprlib.repr(text)}; write one of {LONGEST:,} at most"
        )
    return text


def _shown(label: Any) -> str:
    try:
        return reprlib.repr(label)
    except (ValueError, OverflowError):
        return "one that cannot be shown"


def _label_of_text(text: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError(f"it has a label of {len(text):,} letters")
    return _of_json(json.loads(text))


def _as_json(value: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"tuples in tuples, more than {DEEPEST} deep")
    kind = type(value)
    if kind in (str, np.str_):
        if not writable(value):
            raise ValueError("half of a surrogate pair")
        return str(value)
    if value is None or kind in (bool, int, float):
        return value
    if kind is np.bytes_:
        return {"bytes": value.hex()}
    if kind is tuple:
        return {"tuple": [_as_json(item, depth + 1) for item in value]}
    if kind is pd.Interval:
        return {"Interval": [_as_json(value.left, depth + 1), _as_json(value.right, depth + 1), value.closed]}
    if isinstance(value, np.generic):
        return {"numpy": _numpy_as_json(value)}
    for key, (known, parts, _) in _KINDS.items():
        if kind is known:
            return {key: parts(value)}
    raise TypeError("nothing is known of its kind")


def _of_json(found: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(found, list):
        raise ValueError("a list is no label")
    if not isinstance(found, dict):
        return found
    [(key, parts)] = found.items()
    if key == "tuple":
        return tuple(_of_json(item, depth + 1) for item in parts)
    if key == "Interval":
        left, right, closed = parts
        return pd.Interval(_of_json(left, depth + 1), _of_json(right, depth + 1), closed)
    if key == "numpy":
        return _numpy_of_json(*parts)
    return _KINDS[key][2](parts)


def _numpy_as_json(value: np.generic) -> list[Any]:
    dtype = value.dtype
    if not _NUMPY.fullmatch(dtype.str):
        raise TypeError("nothing is known of its kind")
    if dtype.kind in "mM":
        return [dtype.str, int(value.view("i8"))]
    return [dtype.str, [float(value.real), float(value.imag)] if dtype.kind == "c" else value.item()]


def _numpy_of_json(dtype: str, value: Any) -> Any:
    if not _NUMPY.fullmatch(dtype) or np.dtype(dtype).kind not in "biufcmM":
        raise ValueError("there is no such number")
    if np.dtype(dtype).kind in "mM":
        return np.array([value], "i8").view(dtype)[0]
    return np.array([complex(*value) if isinstance(value, list) else value], dtype)[0]


def _zone_as_json(zone: tzinfo | None) -> str | int | None:
    if zone is None:
        return None
    if type(zone) is ZoneInfo and _ZONE.fullmatch(zone.key or ""):
        return zone.key
    if type(zone) is timezone:
        seconds = zone.utcoffset(None)
        if seconds == timedelta(seconds=int(seconds.total_seconds())):
            return int(seconds.total_seconds())
    raise ValueError(f"its time zone {zone} is no zoneinfo.ZoneInfo")


def _zone_of_json(found: Any) -> tzinfo | None:
    """A time zone. pandas is not asked: it would open any file that is named as one."""
    if isinstance(found, str):
        if not _ZONE.fullmatch(found):
            raise ValueError("there is no such time zone")
        return ZoneInfo(found)
    return None if found is None else timezone(timedelta(seconds=found))


def _timestamp(parts: list[Any]) -> pd.Timestamp:
    value, unit, zone = parts
    made = pd.Timestamp(_numpy_of_json(f"<M8[{unit}]", value))
    return made if zone is None else made.tz_localize(UTC).tz_convert(_zone_of_json(zone))


def _datetime(parts: list[Any]) -> datetime:
    text, zone, fold = parts
    return datetime.fromisoformat(text).replace(tzinfo=_zone_of_json(zone), fold=fold)


def _period(parts: list[Any]) -> pd.Period:
    ordinal, frequency = parts
    if type(ordinal) is not int or not -(2**62) < ordinal < 2**62:
        raise ValueError("there is no such period")
    return pd.Period(ordinal=ordinal, freq=_frequency(frequency))


def _frequency(text: Any) -> str:
    frequency = re.compile(r"\d{0,6}[A-Za-z]{1,5}(-[A-Z]{1,3})?")
    if not isinstance(text, str) or not frequency.fullmatch(text):
        raise ValueError("there is no such frequency")
    return text


# What a label may be: its type, what it is made of, and how it is made of that.
_KINDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "complex": (complex, lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    "Decimal": (Decimal, str, Decimal),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (
        time,
        lambda value: [_naive(value).replace(fold=0).isoformat(), value.fold],
        lambda parts: time.fromisoformat(parts[0]).replace(fold=parts[1]),
    ),
    "datetime": (
        datetime,
        lambda value: [value.replace(tzinfo=None, fold=0).isoformat(), _zone_as_json(value.tzinfo), value.fold],
        _datetime,
    ),
    "timedelta": (
        timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: timedelta(*parts),
    ),
    "Timestamp": (
        pd.Timestamp,
        lambda value: [int(value.asm8.view("i8")), value.unit, _zone_as_json(value.tz)],
        _timestamp,
    ),
    "Timedelta": (
        pd.Timedelta,
        lambda value: [int(value.asm8.view("i8")), value.unit],
        lambda parts: pd.Timedelta(_numpy_of_json(f"<m8[{parts[1]}]", parts[0])),
    ),
    "Period": (pd.Period, lambda value: [value.ordinal, value.freqstr], _period),
    "NaT": (type(pd.NaT), lambda value: None, lambda parts: pd.NaT),
    "NA": (type(pd.NA), lambda value: None, lambda parts: pd.NA),
}


def _naive(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("a time of day with a zone")
    return value


# ------------------------------------------------------------------------------------------- what labels are together


def _dtype_as_json(dtype: Any) -> Any:
    if isinstance(dtype, pd.CategoricalDtype):
        texts = [_as_json(label) for label in dtype.categories]
        return {"category": [texts, _dtype_as_json(dtype.categories.dtype), bool(dtype.ordered)]}
    if isinstance(dtype, pd.PeriodDtype):
        return {"period": dtype.name.removeprefix("period[").removesuffix("]")}  # "M", where `freqstr` has "ME"
    if isinstance(dtype, pd.IntervalDtype):
        return {"interval": [_dtype_as_json(dtype.subtype), dtype.closed]}
    if isinstance(dtype, pd.DatetimeTZDtype):
        return {"zone": [dtype.unit, _zone_as_json(dtype.tz)]}
    if isinstance(dtype, pd.StringDtype):
        return "string" if dtype.na_value is pd.NA else "str"
    if dtype.name in _MASKED:
        return dtype.name
    if isinstance(dtype, np.dtype) and dtype.kind in "SU":
        return dtype.kind  # as wide as the widest: a width that a file says could be anything
    if not isinstance(dtype, np.dtype) or not _NUMPY.fullmatch(dtype.str):
        raise TypeError("a saved run does not keep these")
    return dtype.str


def _dtype_of_json(found: Any, depth: int = 0) -> Any:
    if isinstance(found, str):
        if found in (*_MASKED, "str", "string"):
            return pd.StringDtype(na_value=np.nan) if found == "str" else pd.api.types.pandas_dtype(found)
        if found in ("S", "U") or _NUMPY.fullmatch(found):
            return np.dtype(found)
    if isinstance(found, dict) and len(found) == 1 and depth < 3:
        [(kind, parts)] = found.items()
        if kind == "period":
            return pd.PeriodDtype(_frequency(parts))
        if kind == "interval":
            return pd.IntervalDtype(_dtype_of_json(parts[0], depth + 1), parts[1])
        if kind == "zone":
            return pd.DatetimeTZDtype(parts[0], _zone_of_json(parts[1]))
        if kind == "category":
            categories, dtype = [_of_json(label) for label in parts[0]], _dtype_of_json(parts[1], depth + 1)
            return pd.CategoricalDtype(pd.Index(_array(categories, dtype), dtype=dtype), parts[2])
    raise ValueError(f"its labels are {reprlib.repr(found)}, which there are not")
