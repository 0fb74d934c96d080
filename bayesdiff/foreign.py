"""What a saved run may hold: looked at before any value of it is read, as anybody may have made it.

A run is plain data. Nothing in it is code, nothing in it lies elsewhere (a link would bring a file of this machine into
a result, and so into its page), and no array of it is longer than what is there can hold.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

DEEPEST = 50  # so deep may lists and dicts in attributes be nested: whatever copies or writes them goes down each level
_ZSTD, _BLOCK = b"\x28\xb5\x2f\xfd", 2**17  # how a frame begins, and what one block of it may hold


class Elsewhere(ValueError):
    """Raised where a run is not whole in itself."""


@dataclass
class Held:
    """What is in a run by path, as ``/posterior/x``: groups, arrays and, of a folder, both; and how many other files.

    Arrays of a NetCDF file come with what keeps them from being read, if anything does.
    """

    nodes: set[str] = field(default_factory=set)
    arrays: dict[str, tuple[int, str]] = field(default_factory=dict)
    files: int = 0


def told(problem: object) -> str:
    r"""Say what is wrong in one line, whatever the libraries put in theirs.

    Examples
    --------
    >>> told(KeyError())
    'KeyError'
    >>> told(ValueError("two\nlines\x1b[2J"))
    'two lines?[2J'
    """
    text = " ".join(str(problem).split()) or type(problem).__name__
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 300 else f"{text[:297]}..."


# ---------------------------------------------------------------------------------------------------------- attributes


def read_layout(text: Any) -> dict[str, Any]:
    """The layout of a run: every group and variable, its dtype and attributes.

    Raises
    ------
    ValueError
        If it is not of that form.
    """
    try:
        layout = json.loads(text, object_pairs_hook=_once) if isinstance(text, str) else text
    except RecursionError:
        raise ValueError("its layout is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"its layout cannot be read ({error})") from None
    if not isinstance(layout, dict) or "/" not in layout:
        raise ValueError(f"its layout is {reprlib.repr(layout)}")
    names = layout["/"].get("names", {}) if isinstance(layout["/"], dict) else {}  # what is stored under another name
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"its layout has the names {reprlib.repr(names)}")
    if len({*names.values()}) < len(names):
        raise ValueError(f"its layout has a name twice among {reprlib.repr(names)}")
    dtype = re.compile(r"[<>|=]?[biufcmMSU]\d{0,18}(\[\w{1,20}\])?")
    for path, entry in layout.items():
        if path != "/" and not all(part not in ("", ".", "..") for part in path.removeprefix("/").split("/")):
            raise ValueError(f"its layout has the group {path!r}")
        _of_form(entry, {"attrs": dict, "variables": dict}, f"group {path!r}")
        for name, kept in entry["variables"].items():
            _of_form(kept, {"attrs": dict, "dtype": str}, f"variable {name!r} in group {path!r}")
            if not dtype.fullmatch(kept["dtype"]):
                raise ValueError(f"its layout has {name!r} of dtype {kept['dtype']!r}")
            levels = kept.get("levels", [])
            known = isinstance(levels, list) and all(isinstance(level, str) for level in levels)
            if not known or len({*levels} & entry["variables"].keys() - {name}) < len(levels):
                raise ValueError(f"its layout has {name!r} of the levels {reprlib.repr(levels)}")
    return layout


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name is there twice among {reprlib.repr([name for name, _ in pairs])}")
    return found


def _of_form(entry: Any, form: Mapping[str, type], what: str) -> None:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), kind) for name, kind in form.items()):
        raise ValueError(f"its layout says of the {what}: {reprlib.repr(entry)}")


def check_depth(attrs: Any) -> None:
    """Raise where lists and dicts are nested deeper than anything of ours: copying them would end in RecursionError."""
    todo = [(attrs, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > DEEPEST:
            raise ValueError(f"an attribute is nested more than {DEEPEST} deep")
        if isinstance(value, Mapping):
            todo += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list | tuple):
            todo += [(item, depth + 1) for item in value]


# ------------------------------------------------------------------------------------------------------- what is there


def held_in(path: Path) -> Held:
    """Look through a run, opening no file of a folder and reading no array of a NetCDF file.

    Raises
    ------
    Elsewhere
        If a part of it is elsewhere: a link, a pipe, an array that HDF5 keeps in other files.
    """
    return _in_folder(path) if path.is_dir() else _in_file(path)


def _in_folder(path: Path) -> Held:
    held, todo = Held(), [""]
    while todo:
        inside = todo.pop()
        with os.scandir(f"{path}{inside}") as entries:
            for entry in entries:
                name = f"{inside}/{entry.name}"
                if entry.is_symlink() or entry.is_junction():
                    raise Elsewhere(f"{name[1:]!r} in it is a link to something else")
                if entry.is_dir(follow_symlinks=False):
                    todo.append(name)
                elif not entry.is_file(follow_symlinks=False):
                    raise Elsewhere(f"{name[1:]!r} in it is neither a file nor a folder")
                elif entry.name == "zarr.json":
                    held.nodes.add(inside or "/")
                else:
                    held.files += 1
    return held


def _in_file(path: Path) -> Held:
    import h5py
    from h5py import h5g, h5o

    held, stored = Held(), 0
    with h5py.File(path, "r") as file:
        seen = {h5o.get_info(file.id).addr}
        todo = [("", h5g.open(file.id, b"/"))]
        while todo:
            inside, group = todo.pop()
            held.nodes.add(inside or "/")
            for raw in group:
                name = f"{inside}/{raw.decode(errors='replace')}"
                if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                    raise Elsewhere(f"{name[1:]!r} in it is a link to something else")
                found = h5o.open(group, raw)
                address = h5o.get_info(found).addr
                if address in seen:
                    raise Elsewhere(f"{name[1:]!r} in it is there under two names")
                seen.add(address)
                if isinstance(found, h5py.h5g.GroupID):
                    todo.append((name, found))
                    continue
                if not isinstance(found, h5py.h5d.DatasetID):
                    raise Elsewhere(f"{name[1:]!r} in it is neither a group nor an array")
                held.nodes.add(name)
                _stays_inside(found, name)
                stored += found.get_storage_size()
                held.arrays[name] = _in_memory(found)
    if stored > path.stat().st_size:
        raise Elsewhere(f"its arrays claim {stored:,} bytes of a file of {path.stat().st_size:,}")
    return held


def _stays_inside(array: Any, name: str) -> None:
    """Raise where HDF5 would read an array from other files, or load a library to read it."""
    import h5py

    how = array.get_create_plist()
    if how.get_external_count() or how.get_layout() == h5py.h5d.VIRTUAL:
        raise Elsewhere(f"{name[1:]!r} in it is kept in other files")
    others = [how.get_filter(i)[0] for i in range(how.get_nfilters())]
    # HDF5's deflate, shuffle and fletcher32: any other is a library that it looks for and loads
    if not set(others) <= {1, 2, 3}:
        raise Elsewhere(f"{name[1:]!r} in it needs a filter that runs are not written with ({others})")


def _in_memory(array: Any) -> tuple[int, str]:
    """How many numbers or texts an array of HDF5 holds, and what keeps them from being read: "" if nothing does."""
    import h5py

    ours = h5py.Dataset(array)
    if array.shape is None:
        return 0, "has no shape"
    scale = ours.attrs.get("NAME")
    if isinstance(scale, bytes) and scale.startswith(b"This is a netCDF dimension but not a netCDF variable"):
        return 0, "is a dimension and no variable"
    if ours.dtype.kind not in "biufcS" and h5py.check_string_dtype(ours.dtype) is None:
        return 0, f"is of type {ours.dtype}"
    here, how = array.get_storage_size(), array.get_create_plist()
    count, there = ours.size, ours.size * ours.dtype.itemsize
    if how.get_layout() == h5py.h5d.CHUNKED:
        chunk = how.get_chunk()
        chunks = math.prod(-(-n // c) for n, c in zip(array.shape, chunk, strict=True))
        if array.get_num_chunks() != chunks:
            return count, f"lacks {chunks - array.get_num_chunks()} of its {chunks} chunks"
        there = chunks * math.prod(chunk) * ours.dtype.itemsize
        # Deflate makes no more of a byte
        here *= 1032 if any(how.get_filter(i)[0] == 1 for i in range(how.get_nfilters())) else 1
    return count, f"has {here:,} of {there:,} bytes" if here < there else ""


# ------------------------------------------------------------------------------------------------------ what it says


def check_arrays(path: Path, held: Held, layout: Mapping[str, Any]) -> int:
    """Compare what is there with what the layout says, reading no value. The bytes that its arrays take in memory.

    Raises
    ------
    ValueError
        If a group or an array is missing or more than the layout says, an array lacks chunks, or is not as long as it
        says, or was written in another way than ours.
    """
    dtypes = {
        f"{group.rstrip('/')}/{name}": np.dtype(kept["dtype"])
        for group, entry in layout.items()
        for name, kept in entry["variables"].items()
    }
    expected = dtypes.keys() | layout.keys()
    if missing := sorted(expected - held.nodes):
        raise ValueError(f"{', '.join(map(repr, missing[:3]))} of its layout is not there")
    for name in sorted(held.nodes - expected):
        if held.arrays.get(name, (0, ""))[1] != "is a dimension and no variable":
            raise ValueError(f"{name!r} in it is not in its layout")
    if path.is_dir():
        return sum(_check_chunks(path, held, name, dtype) for name, dtype in dtypes.items())
    for name in dtypes:
        if problem := held.arrays[name][1] if name in held.arrays else "is no array":
            raise ValueError(f"{name} {problem}")
    return sum(held.arrays[name][0] * dtype.itemsize for name, dtype in dtypes.items())


def _check_chunks(path: Path, held: Held, name: str, dtype: np.dtype) -> int:
    """Raise where a Zarr array is not whole: every chunk there, as long as it says, and written as ours are."""
    import zarr

    array = zarr.open_array(path / name[1:], mode="r", zarr_format=3)
    about: dict[str, Any] = array.metadata.to_dict()
    written = [codec["name"] for codec in about["codecs"]]
    if written != ["bytes", "zstd"]:
        raise ValueError(f"{name} was written with {written}, not with bytes and zstd")
    counts = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    if (more := math.prod(counts) - held.files) > 0:  # far too many to look for each
        raise ValueError(f"{more} chunks of {name} are missing")
    long, lost = math.prod(array.chunks) * array.dtype.itemsize, 0
    for at in product(*map(range, counts)):
        try:
            with open(path / name[1:] / array.metadata.encode_chunk_key(at), "rb") as file:
                said = _inflated(file)
        except FileNotFoundError:
            lost += 1
            continue
        if said != long:
            raise ValueError(f"a chunk of {name} does not hold its {long:,} bytes")
    if lost:
        raise ValueError(f"{lost} chunks of {name} are missing")
    return math.prod(array.shape) * max(array.dtype.itemsize, dtype.itemsize)


def _inflated(file: BinaryIO) -> int | None:
    """How many bytes the one frame of a Zstandard file makes (RFC 8878, section 3.1.1); None where it is not one."""
    head = file.read(18)
    if len(head) < 6 or not head.startswith(_ZSTD):
        return None
    how = head[4]
    single, size = how >> 5 & 1, (how >> 5 & 1, 2, 4, 8)[how >> 6]
    at = 6 - single + (0, 1, 2, 4)[how & 3]
    if not size:
        return None
    said = int.from_bytes(head[at : at + size], "little") + 256 * (size == 2)
    at, blocks, last = at + size, 0, 0
    while not last:
        file.seek(at)
        word = file.read(3)
        if len(word) < 3:
            return None
        block = int.from_bytes(word, "little")
        last, at, blocks = block & 1, at + 3 + (1 if block >> 1 & 3 == 1 else block >> 3), blocks + 1
    whole = at + 4 * (how >> 2 & 1) == file.seek(0, os.SEEK_END)
    return said if whole and said <= blocks * _BLOCK else None


def memory() -> float:
    """The memory of this machine in bytes, as far as it is known."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on this system
        return math.inf
