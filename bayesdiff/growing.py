"""Growing: a result larger than memory, written part by part into a Zarr folder.

A part's chunks are on disk before the note that vouches for them (`Call.keep`). What the folder says of itself, the
``zarr.json`` of every array and group, is kept beside it, and put back where it was changed. So whatever is damaged, by
a machine that lost its power or by a bad disk, the parts that are whole stay.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesdiff.files import put, replacing, sync
from bayesdiff.results import (
    _STAMPS,
    FORMAT,
    _json,
    _names,
    _on_disk,
    _plain,
    _root_attrs,
    _special,
    _write_zarr,
)
from bayesdiff.version import __version__


@dataclass(frozen=True)
class Growth:
    """A Zarr folder for `total` entries of the dimension `along`, of which each part has so many `rows`."""

    path: Path
    along: str
    rows: int
    total: int
    # Of dimensions that were begun for more than was needed.
    lengths: dict[str, int] = field(default_factory=dict)

    def part(self, number: int) -> slice:
        """The rows of a part."""
        return slice(number * self.rows, min((number + 1) * self.rows, self.total))

    def restored(self) -> bool:
        """Whether what was begun is there, with what it says of itself as it was then."""
        if not self.path.exists():
            return False
        try:
            kept = json.loads(self._beside.read_text(encoding="utf-8"))
            # A byte that was changed in here must not spoil what is whole there.
            for name, text in kept["texts"].items() if _digest(kept["texts"]) == kept["digest"] else ():
                file = self.path / name
                if Path(name).is_absolute() or ".." in file.parts or file.name != "zarr.json":
                    raise ValueError("none of ours")
                if not file.exists() or file.read_text(encoding="utf-8", errors="replace") != text:
                    with replacing(file) as handle:
                        handle.write(text.encode())
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            pass  # the folder may be whole all the same
        try:
            if _arrays_along(self.path, self.along):
                return True
        except Exception:  # whatever reading raises on bytes that were changed
            pass
        shutil.rmtree(self.path)  # nothing can be read in it
        return False

    def begin(self, tree: xr.DataTree) -> None:
        """Begin the folder, shaped as `tree` is of the first part."""
        ready, layout = _plain(tree)
        stored = _stored(layout, self.along)
        with tempfile.TemporaryDirectory(prefix=f".{self.path.name}-", dir=self.path.parent) as beside:
            new = Path(beside, self.path.name)
            _write_zarr(ready, new, stored, self.rows)
            for variable, axis in _arrays_along(new, self.along):
                variable.resize((*variable.shape[:axis], self.total, *variable.shape[axis + 1 :]))
            texts = {str(file.relative_to(new)): file.read_text(encoding="utf-8") for file in new.rglob("zarr.json")}
            with replacing(self._beside) as handle:
                handle.write(json.dumps({"texts": texts, "digest": _digest(texts)}).encode())
            shutil.rmtree(self.path, ignore_errors=True)  # of a call that finished nothing, maybe another one
            put(new, self.path)

    def write(self, tree: xr.DataTree, number: int) -> None:
        """Write the rows of a part, and with the first what all parts share; return when they are on disk."""
        if not self.path.exists():
            self.begin(tree)
        layout, rows = _layout_at(self.path), self.part(number)
        names, stored = _names(layout), _stored(layout, self.along)
        for array in _arrays(self.path):
            axis = _axis(array, stored)
            if axis is None and number:
                continue
            *groups, name = (names.get(part, part) for part in array.path.split("/"))
            if axis is not None and array.path.split("/")[-1] == stored and array.ndim == 1:
                values = np.arange(rows.start, rows.stop)  # its own numbers: those of the part begin with 0
            else:
                node = tree["/".join(groups)]
                assert isinstance(node, xr.DataTree)
                values = _on_disk(name, node.to_dataset(inherit=False).variables[name])[0].values
            array[() if axis is None else (slice(None),) * axis + (rows,)] = values
            for file in _chunks(self.path, array, axis, number):
                sync(file)
                sync(file.parent)

    def damaged(self) -> set[int]:
        """The parts that cannot be read back, a chunk at a time: what all share is part of the first."""
        found: set[int] = set()
        stored = _stored(_layout_at(self.path), self.along)
        for array in _arrays(self.path):
            axis = _axis(array, stored)
            for number in range(1 if axis is None else -(-self.total // self.rows)):
                try:
                    # Zarr gives fill values for a chunk that is not there.
                    if not all(file.exists() for file in _chunks(self.path, array, axis, number)):
                        raise FileNotFoundError
                    array[() if axis is None else (slice(None),) * axis + (self.part(number),)]
                except Exception:  # the codecs raise whatever they like on bytes that were changed
                    found.add(number)
        return found

    def finish(self, attrs: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> None:
        """Give the folder and its groups the attributes of the whole, and dimensions their true lengths."""
        import zarr

        root = zarr.open_group(self.path, mode="r+")
        for dim, length in self.lengths.items():
            for variable, axis in _arrays_along(self.path, dim):
                variable.resize((*variable.shape[:axis], length, *variable.shape[axis + 1 :]))
        layout = _layout_at(self.path)
        attrs = {"created_at": datetime.now(UTC).isoformat(timespec="seconds")} | dict(attrs)
        layout["/"]["attrs"] = _special(attrs)
        for name, more in groups.items():
            root[name].attrs.update(_json(more))
            layout[f"/{name}"]["attrs"] |= _special(more)
        root.attrs.put({**_json(attrs), **dict(zip(_STAMPS, (FORMAT, __version__, json.dumps(layout)), strict=True))})

    @property
    def _beside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def _digest(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def _chunks(path: Path, array: Any, axis: int | None, number: int) -> list[Path]:
    """The files of a part of an array: along other axes there is one chunk, of no numbers there is none."""
    if not array.size:
        return []
    keys = [tuple(number if i == axis else 0 for i in range(array.ndim))]
    if axis is None:
        keys = list(np.ndindex(*[-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]))
    return [Path(path, array.path, array.metadata.encode_chunk_key(key)) for key in keys]


def _layout_at(path: Path) -> dict[str, Any]:
    layout: dict[str, Any] = json.loads(_root_attrs(path)["bayesdiff_layout"])
    return layout


def _stored(layout: Mapping[str, Any], dim: str) -> str:
    """What a dimension is stored as."""
    return {true: name for name, true in _names(layout).items()}.get(dim, dim)


def _axis(array: Any, stored: str) -> int | None:
    """Which axis of an array a dimension is."""
    dims = list(getattr(array.metadata, "dimension_names", None) or ())
    return dims.index(stored) if stored in dims else None


def _arrays_along(path: Path, dim: str) -> list[tuple[Any, int]]:
    """The arrays of a Zarr folder that have a dimension, and which axis it is."""
    stored = _stored(_layout_at(path), dim)
    named = [(array, _axis(array, stored)) for array in _arrays(path)]
    return [(array, axis) for array, axis in named if axis is not None]


def _arrays(path: Path) -> list[Any]:
    """The arrays of a Zarr folder."""
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):  # as `_write_zarr` does: arrays keep what they open with
        members = zarr.open_group(path, mode="r+").members(max_depth=None)
        return [array for _, array in members if isinstance(array, zarr.Array)]
