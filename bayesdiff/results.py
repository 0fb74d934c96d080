"""Results: trees of labelled arrays, built, saved and read back.

A result is an ``xarray.DataTree`` in ArviZ's groups. On disk it is a Zarr folder or, with an extra, a NetCDF file: the
same tree, a number for the format, and a layout that lists every group and variable. A saved run can therefore be told
from any other store, and a hole in it is an error, never a silent row of fill values.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import reprlib
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesdiff.checks import flag, path_like, writable
from bayesdiff.files import pointed_at, put
from bayesdiff.foreign import Elsewhere, check_arrays, check_depth, held_in, memory, read_layout, told
from bayesdiff.typed import as_text, fixed, labels_of, of_text, plain
from bayesdiff.version import __version__

FORMAT = 2
_STAMPS = ("bayesdiff_format", "bayesdiff_version", "bayesdiff_layout")


def dataset(
    values: Mapping[str, Any],
    *,
    sample_dims: Sequence[str] = (),
    dims: Mapping[str, Sequence[str | None]] | None = None,
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Label arrays as ArviZ does. No number is copied.

    Parameters
    ----------
    values : mapping of str to array_like
        One array (*sample_dims, *dims) for each variable.
    sample_dims : sequence of str
        Names of the leading axes of every array, such as ``("chain", "draw")``.
    dims : mapping of str to sequence of str or None, optional
        Names of the axes that follow. An axis without a name becomes ``{variable}_dim_{i}``.
    coords : mapping of str to array_like, optional
        Labels of each dimension. Those of unused dimensions are left out; a dimension without labels (or with None)
        counts from 0.
    attrs : mapping, optional
        Attributes. ``sample_dims`` is added: ArviZ reads it to know which dimensions to reduce.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        If a variable has more names than axes, or labels of another length than its axis.

    Examples
    --------
    >>> import numpy as np
    >>> ds = dataset({"x": np.zeros((4, 100, 2))}, sample_dims=("chain", "draw"), coords={"x_dim_0": ["a", "b"]})
    >>> dict(ds.sizes)
    {'chain': 4, 'draw': 100, 'x_dim_0': 2}
    """
    named = {name: np.asarray(value) for name, value in values.items()}
    data = {name: (_dims(name, v.shape, sample_dims, (dims or {}).get(name) or ()), v) for name, v in named.items()}
    sizes: dict[str, int] = {}
    for axes, value in data.values():
        sizes |= dict(zip(axes, value.shape, strict=True))
    # A RangeIndex counts without holding the numbers: ten groups of a million observations would hold ten million.
    labels: dict[str, Any] = {dim: pd.RangeIndex(size, name=dim) for dim, size in sizes.items()}
    for name, label in (coords or {}).items():
        if isinstance(label, (xr.DataArray, xr.Variable)):
            if set(label.dims) <= sizes.keys():
                labels[name] = label
        elif name in sizes and label is not None:
            labels[name] = found = labels_of(label)  # a tuple of labels would be read by xarray as (dims, values)
            if found.dtype != object or "time" not in pd.api.types.infer_dtype(found):
                labels[name] = _as_objects(found)
            if labels[name].shape != (sizes[name],):
                raise ValueError(
                    f"The dimension {name!r} has {sizes[name]} entries, its labels have shape {labels[name].shape}. "
                    f"Give one label for each entry, or none at all."
                )
    return xr.Dataset(data, coords=labels, attrs={**(attrs or {}), "sample_dims": list(sample_dims)})


def _dims(name: str, shape: tuple[int, ...], sample_dims: Sequence[str], dims: Sequence[str | None]) -> tuple[str, ...]:
    given = [*sample_dims, *dims]
    if len(given) > len(shape):
        raise ValueError(f"{name!r} has shape {shape}, but {len(given)} dimensions were named: {given}.")
    full = given + [None] * (len(shape) - len(given))
    unnamed = iter(range(len(shape)))
    return tuple(f"{name}_dim_{next(unnamed)}" if dim is None else dim for dim in full)


def tree(groups: Mapping[str, xr.Dataset | xr.DataTree], attrs: Mapping[str, Any] | None = None) -> xr.DataTree:
    """Join groups into one result.

    The root has no name (ArviZ cannot find a group whose name the root shares) and no arrays of its own, only
    attributes.

    Parameters
    ----------
    groups : mapping of str to xarray.Dataset or xarray.DataTree
        For example ``{"posterior": ..., "sample_stats": ...}``, or two results: ``{"map": ..., "posterior": ...}``.
    attrs : mapping, optional
        How the result was made. ``created_at`` (UTC) is added where it is missing.

    Returns
    -------
    xarray.DataTree

    Examples
    --------
    >>> run = tree({"posterior": dataset({"x": [[0.5]]}, sample_dims=("chain", "draw"))}, {"random_seed": 1})
    >>> run["posterior"]["x"].item(), run.attrs["random_seed"]
    (0.5, 1)
    """
    root = xr.DataTree.from_dict(dict(groups))
    root.attrs = {"created_at": datetime.now(UTC).isoformat(timespec="seconds")} | dict(attrs or {})
    return root


def save(tree: xr.DataTree, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a result to disk, whole or not at all.

    It is written beside ``path`` and renamed when it is complete and on disk. A save that is killed leaves at most a
    hidden folder ``.{name}-*`` there; the old result is set aside only when the new one is complete. A link stays, and
    what it points to is replaced.

    Parameters
    ----------
    tree : xarray.DataTree
        What ``find_map``, ``sample_posterior`` and the like return, or several of them under one root.
    path : str or path
        Ends in ``.zarr`` (a folder) or in ``.nc`` (a NetCDF file, which needs ``pip install "bayesdiff[netcdf]"``).
        Missing parent folders are made.
    overwrite : bool
        Replace a result that is already there. Of a link, what it points to.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    FileExistsError
        If ``path`` exists and may not be replaced, or is there and is no result.
    ValueError
        If ``path`` has another suffix, an attribute is too long for NetCDF, a variable has one dimension twice, or a
        name or label cannot be kept: one with half a surrogate pair, or a group without a name or with that of a path
        (``"."``).
    TypeError
        If ``tree`` is no DataTree, a name is no text, an attribute is neither text, number, bool, None, list nor dict,
        or a label is of a kind that is not kept.
    OSError
        If it cannot be written, or what was written reads back as something else. What was there stays.
    ImportError
        If NetCDF is asked for and h5netcdf is not installed.

    Notes
    -----
    Text labels are saved and read back as NumPy's fixed-width text (dtype ``<U``), whatever they were held in. Other
    labels come back as what they were: numbers, bools, bytes, dates and times with or without a zone, pandas' Period
    and Interval, Decimal, tuples, None and NaN among them, a CategoricalIndex, a MultiIndex. Variables, groups, dtypes
    and attributes come back as they were, in their order. The name of the root does not.
    Names that not every file system keeps (with a backslash, ``"zarr.json"``, ``"a"`` beside ``"A"``) are stored as
    ``v0``, ``v1``, ..., and come back under their own.

    Examples
    --------
    >>> import tempfile
    >>> run = tree({"posterior": dataset({"x": [[0.5]]}, sample_dims=("chain", "draw"))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(run, f"{folder}/run.zarr")).identical(run)
    True
    """
    path = path_like(path, "path", "run.zarr")
    flag(overwrite, "overwrite")  # a text that says "no" must not replace a run
    if not isinstance(tree, xr.DataTree):
        raise TypeError(f"save takes an xarray.DataTree, not a {type(tree).__name__}.")
    check_target(path, overwrite)
    ready, _ = _plain(tree)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"The folder {path.parent} cannot be made ({error.strerror}). Choose another place for {path.name}."
        ) from error
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=pointed_at(path).parent) as beside:
        new = Path(beside, path.name)
        if path.suffix == ".zarr":
            _write_zarr(ready, new)
        else:
            _write_netcdf(ready, new)
        _check_written(new, tree)
        put(new, path)
    return path


def load(path: str | os.PathLike[str], *, in_memory: bool | None = True) -> xr.DataTree:
    """Read a result back, identical to what was saved.

    Parameters
    ----------
    path : str or path
        What ``save`` wrote: a Zarr folder or a NetCDF file.
    in_memory : bool or None
        Whether all arrays are read now, or each when it is used (of a Zarr folder, which must then stay). None: now, if
        they have less than half a GB together.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If it is not a result of ours (whose name ends in ``.zarr`` or ``.nc``), was saved in another format, or is
        damaged: something is missing or unreadable, is a link to something else, or is not what its layout says.
    ImportError
        If it is a NetCDF file and h5netcdf is not installed.

    Examples
    --------
    >>> load("no-such-run.zarr")
    Traceback (most recent call last):
    FileNotFoundError: There is no run at no-such-run.zarr.
    """
    path = path_like(path, "path", "run.zarr")
    if not (in_memory is None or isinstance(in_memory, bool | np.bool_)):
        raise TypeError(f"in_memory is {in_memory!r}; write True, False or None")
    if not path.exists():
        raise FileNotFoundError(f"There is no run at {path}.")
    if not (path.suffix == ".zarr" and path.is_dir()) and not (path.suffix == ".nc" and path.is_file()):
        raise ValueError(
            f"{path} is not a run saved by bayesdiff: that is a folder whose name ends in .zarr, or a file whose name "
            "ends in .nc."
        )
    if path.is_file():
        _need_h5netcdf()
    try:
        held = held_in(path)
        stamps = _root_attrs(path)
    except Elsewhere as error:
        raise _no_run(path, error) from error
    except Exception as error:
        raise ValueError(f"{path} is not a run saved by bayesdiff: {told(error)}") from error
    found = stamps.get("bayesdiff_format")
    if found is None:
        raise ValueError(f"{path} is not a run saved by bayesdiff: it has no attribute 'bayesdiff_format'.")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise _no_run(path, f"its attribute 'bayesdiff_format' is {reprlib.repr(found)}")
    a_version = re.compile(r"\d[\w.+-]{0,40}")
    if found > FORMAT:
        version = stamps.get("bayesdiff_version")
        newer = version if isinstance(version, str) and a_version.fullmatch(version) else "(a newer one)"
        raise ValueError(
            f"{path} has format {reprlib.repr(found)}, this version of bayesdiff ({__version__}) reads format "
            f"{FORMAT}. Upgrade to bayesdiff {newer} or later."
        )
    if found < FORMAT:
        raise ValueError(
            f"{path} has format {found}, and this version of bayesdiff reads format {FORMAT}: rewrite it once with "
            f"`python models/format_1.py {path}`, a script of the repository."
        )
    try:
        layout = read_layout(stamps.get("bayesdiff_layout"))
        size = check_arrays(path, held, layout)
    except Exception as error:  # zarr and HDF5 raise whatever they like
        raise _no_run(path, error) from error
    # Bytes of a result that is read when it is used
    later = path.is_dir() and (in_memory is False or (in_memory is None and size >= 2**29))
    if not later and size > memory():
        raise ValueError(
            f"{path} has {size / 1e9:,.0f} GB of arrays, more than the memory of this machine."
            + (" Read it with in_memory=False." if path.is_dir() else "")
        )
    as_it_is: Any = {"mask_and_scale": False, "decode_times": False}  # what it was is in the layout
    try:
        if path.is_dir():
            whole = path.absolute()  # `a::b.zarr` alone would be read as an address
            raw = xr.open_datatree(whole, engine="zarr", zarr_format=3, consolidated=False, chunks=None, **as_it_is)
        else:
            raw = xr.open_datatree(path, engine="h5netcdf", **as_it_is)
        if later:
            return _restore(raw, layout)
        with raw:
            return _restore(raw.load(), layout)
    except Exception as error:  # the codecs and HDF5 raise whatever they like on bytes that were changed
        raise _no_run(path, error) from error


def _no_run(path: Path, problem: object) -> ValueError:
    return ValueError(
        f"{path} is no run of bayesdiff, or it is damaged: {told(problem).rstrip('.')}. Remove it and run it again, or "
        "take a copy that is whole."
    )


def levels_folder(path: Path) -> Path:
    """Where a chain keeps its finished levels until its result is saved at ``path``."""
    return path.with_name(f".{path.name}.levels")


# What the two formats cannot hold by themselves: the order of things, the width of text, lists and the like in
# attributes, and some names.


def _plain(tree: xr.DataTree) -> tuple[xr.DataTree, dict[str, Any]]:
    """Make the tree that is written, and its layout: every group and variable, in order, and what the formats change.

    By the names that they are stored under. Where these are not their own, the root has "names", from stored to own.
    """
    for node in tree.subtree:
        _check_depths(node.to_dataset(inherit=False))
    stored, groups, layout = _stored(tree), {}, {}
    for node in tree.subtree:
        ds, path = node.to_dataset(inherit=False).drop_encoding(), _path(node, tree, stored)
        variables, levels = _unpacked(ds)
        entries = {}
        for name, variable in variables.items():
            variables[name], entries[stored[name]] = _on_disk(name, variable)
            if name in levels:
                entries[stored[name]]["levels"] = [stored[level] for level in levels[name]]
        groups[path] = _rebuild(ds, variables, stored)
        groups[path].attrs = _open(ds.attrs)
        layout[path] = {"attrs": _special(ds.attrs), "variables": entries}
    names = {name: true for true, name in stored.items() if name != true}
    if names:
        layout["/"]["names"] = names
    try:
        stamps = (FORMAT, __version__, json.dumps(layout))
    except TypeError as error:
        raise TypeError(f"Attributes must be text, numbers, bool, None, lists or dicts of them: {error}.") from error
    groups["/"].attrs |= dict(zip(_STAMPS, stamps, strict=True))
    return xr.DataTree.from_dict(groups), layout


def _unpacked(ds: xr.Dataset) -> tuple[dict[Any, xr.Variable], dict[Any, list[Any]]]:
    """The variables of a dataset, those of several levels (a pandas.MultiIndex) as their levels; and these by name."""
    variables, levels = dict(ds.variables), {}
    for name, index in ds.xindexes.items():
        if isinstance(index, xr.indexes.PandasMultiIndex) and name == index.dim:
            levels[name] = list(index.index.names)
            columns = {level: index.index.get_level_values(level) for level in levels[name]}
            for column, values in {name: np.arange(len(index.index)), **columns}.items():
                variables[column] = xr.Variable(name, values, variables[column].attrs)
    return variables, levels


def _on_disk(name: Any, variable: xr.Variable) -> tuple[xr.Variable, dict[str, Any]]:
    """A variable as both formats hold it, and what its layout says: dtype, attributes and what its texts stand for.

    Text of any kind is fixed-width text, the one kind that both formats and every NumPy agree on. Times are counts of
    ticks, so that no library rounds them, with the units that other programs look for.
    """
    dtype, attrs = variable.dtype, variable.attrs
    if len(set(variable.dims)) < variable.ndim:
        raise ValueError(f"{name!r} has a dimension twice, {variable.dims}; rename one of them")
    numpy = isinstance(dtype, np.dtype)
    if numpy and dtype.kind in "mM":
        ticks = {"s": "", "ms": "milli", "us": "micro", "ns": "nano"}[np.datetime_data(dtype)[0]] + "seconds"
        units = {"units": f"{ticks} since 1970-01-01"} if dtype.kind == "M" else {"units": ticks, "dtype": dtype.name}
        counts = xr.Variable(variable.dims, variable.values.astype("i8"), units)
        return counts, {"dtype": dtype.str, "attrs": _json(attrs)}
    if numpy and dtype.kind in "OTU" and fixed(variable.values):
        if dtype.kind != "U":  # a width of its own stays: other parts may have longer texts
            variable = variable.copy(data=np.array(variable.values.tolist(), dtype=str).reshape(variable.shape))
    elif not (numpy and plain(dtype)):
        texts, together = as_text(variable.values if numpy else pd.Index(variable.data), f"the variable {name!r}")
        variable = xr.Variable(variable.dims, texts, attrs)
        return _opened(variable), {"dtype": texts.dtype.str, "attrs": _special(attrs), "labels": together}
    return _opened(variable), {"dtype": variable.dtype.str, "attrs": _special(attrs)}


def _names(layout: Mapping[str, Any]) -> dict[str, str]:
    """From the stored names to those that differ from them."""
    names: dict[str, str] = layout["/"].get("names", {})
    return names


def _stored(tree: xr.DataTree) -> dict[Any, str]:
    """Every name in a tree, of groups, variables and dimensions, and what it is stored as.

    One name is stored as one, wherever it stands: a dimension is found by its name.
    """
    groups = [node.name for node in tree.subtree if node is not tree]
    inside: dict[Any, None] = {}
    for node in tree.subtree:
        for name, variable in node.to_dataset(inherit=False).variables.items():
            inside |= dict.fromkeys((name, *variable.dims))
    for what, names in (("group", groups), ("variable or dimension", list(inside))):
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"The name of a {what} is {name!r}, which is no text; give it a name that is one.")
            if what == "group" and name in ("", ".", ".."):
                raise ValueError(f"A group is called {name!r}, which is no path to it; give it another name.")
            if not writable(name):
                raise ValueError(f"The name {name!r} of a {what} has half of a surrogate pair; write it without.")
    stored: dict[Any, str] = {}
    taken: set[str] = set()
    every = list(dict.fromkeys([*groups, *inside]))
    for name in every:
        if _ordinary(name) and _folded(name) not in taken:
            taken.add(_folded(name))
            stored[name] = name
    free = (f"v{i}" for i in itertools.count() if f"v{i}" not in taken)
    return {name: stored[name] if name in stored else next(free) for name in every}


def _ordinary(name: str) -> bool:
    """Whether a name is kept as it is on every file system, by Zarr, HDF5 and xarray."""
    # Names that are stored as they are: letters, digits, and signs that no file system, Zarr or HDF5 reads as something
    # else. A space is none: xarray writes a list of coordinates with spaces in between.
    ordinary = re.compile(r"(?!\.|__|_[nN])[\w$+=,()\[\].-]+(?<!\.)")
    # Of Windows, and Zarr's own.
    devices = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d|zarr\.json)(\..*)?")
    return (
        ordinary.fullmatch(name) is not None
        and unicodedata.is_normalized("NFC", name)
        and len(name.encode()) <= 200
        and devices.fullmatch(_folded(name)) is None
    )


def _folded(name: str) -> str:
    """The same for names that some file systems take for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _path(node: xr.DataTree, root: xr.DataTree, stored: Mapping[Any, str]) -> str:
    """Where a group is stored below a root."""
    parts: list[str] = []
    while node is not root:
        parts.append(stored[node.name])
        assert node.parent is not None
        node = node.parent
    return "/" + "/".join(reversed(parts))


def _special(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """What the formats would change."""
    return {
        name: value
        for name, value in _json(attrs).items()
        if not isinstance(value, str | float)
        or not (_ordinary(name) and _unread(name) and (isinstance(value, float) or _held(value)))
    }


def _unread(name: str) -> bool:
    """Whether an attribute so called is left alone by the libraries that write and read files."""
    # What xarray, netCDF or HDF5 read for themselves where they find attributes so called (or with a "_" in front).
    orders = {"missing_value", "scale_factor", "add_offset", "dtype", "coordinates", "grid_mapping"}
    orders |= {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"}
    return not name.startswith("_") and name not in orders


def _open(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """What of attributes stands where other programs look for them."""
    return {name: value for name, value in attrs.items() if _unread(str(name))}


def _opened(variable: xr.Variable) -> xr.Variable:
    variable = variable.copy(deep=False)
    variable.attrs = _open(variable.attrs)
    return variable


def _held(text: str) -> bool:
    """Whether HDF5 holds a text."""
    return "\0" not in text and writable(text)


def _json(value: Any) -> Any:
    """Turn NumPy's numbers and arrays, and tuples, into what JSON has."""
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _json(value.tolist())
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value


def _restore(raw: xr.DataTree, layout: Mapping[str, Any]) -> xr.DataTree:
    """Undo ``_plain`` and what the format did to the tree."""
    groups, names = {}, _names(layout)
    for path, entry in layout.items():
        node = raw[path]
        if not isinstance(node, xr.DataTree):
            raise ValueError(f"{path!r} is no group")
        ds = node.to_dataset(inherit=False).drop_encoding()
        variables = {
            name: _as_it_was(ds.variables[name], kept, f"{name!r} in {path!r}")
            for name, kept in entry["variables"].items()
        }
        levels = {name: kept["levels"] for name, kept in entry["variables"].items() if "levels" in kept}
        groups[path] = _rebuild(ds, variables, names, levels)
        attrs = {name: value for name, value in _open(_json(ds.attrs)).items() if name not in _STAMPS}
        groups[path].attrs = attrs | entry["attrs"]
        _check_depths(groups[path])
    restored = xr.DataTree.from_dict(groups)
    for node in list(restored.subtree) if names else ():  # not by their paths: a name may look like another path
        node.children = {names.get(name, name): child for name, child in node.children.items()}
    return restored


def _as_it_was(variable: xr.Variable, kept: Mapping[str, Any], what: str) -> xr.Variable:
    """Undo ``_on_disk`` and what the format did to a variable."""
    attrs = _open(_json(variable.attrs))
    if variable.dtype.str != kept["dtype"]:
        kinds = variable.dtype.kind, np.dtype(kept["dtype"]).kind
        if kinds[0] != kinds[1] and kinds not in (("O", "U"), ("T", "U"), ("i", "M"), ("i", "m")):
            raise ValueError(f"{what} is of dtype {variable.dtype}, not {kept['dtype']}")
        attrs = {} if kinds[1] in "mM" else attrs  # what is there are units of the counts
        variable = variable.astype(kept["dtype"])
    if "labels" in kept:
        made = of_text(variable.values, kept["labels"])
        variable = xr.Variable(variable.dims, _as_objects(made) if made.ndim == 1 else made)
    variable.attrs = attrs | kept["attrs"]
    return variable


def _as_objects(labels: np.ndarray | pd.Index) -> np.ndarray | pd.Index:
    """Labels that xarray takes as they are: of an array of objects it makes times, or NaN of None."""
    return pd.Index(labels, dtype=object, copy=False) if labels.dtype == object else labels


def _check_depths(ds: xr.Dataset) -> None:
    check_depth(ds.attrs)
    for variable in ds.variables.values():
        check_depth(variable.attrs)


def _rebuild(
    ds: xr.Dataset,
    variables: Mapping[Any, xr.Variable],
    named: Mapping[Any, str],
    levels: Mapping[str, Sequence[str]] | None = None,
) -> xr.Dataset:
    """Put variables together, under other names where these are given, and coordinates out of their levels."""
    data: dict[Any, xr.Variable] = {}
    coords: dict[Any, xr.Variable] = {}
    for name, variable in variables.items():
        renamed = variable.copy(deep=False)
        renamed.dims = tuple(named.get(dim, dim) for dim in variable.dims)
        (data if name in ds.data_vars else coords)[named.get(name, name)] = renamed
    built = xr.Dataset(data, coords=coords, attrs=ds.attrs)
    for dim, parts in (levels or {}).items():
        dim, parts = named.get(dim, dim), [named.get(part, part) for part in parts]
        together = pd.MultiIndex.from_arrays([built.variables[part].to_index() for part in parts], names=parts)
        index = xr.indexes.PandasMultiIndex(together, dim)
        variables = index.create_variables({name: built.variables[name] for name in (dim, *parts)})
        order = list(built.variables)
        built = built.assign_coords(xr.Coordinates(variables, {name: index for name in variables}))[order]
    return built


def _check_written(path: Path, tree: xr.DataTree) -> None:
    """Raise if what was written is not read back as the tree that it was."""
    try:
        found = load(path, in_memory=False)
        for ours, theirs in zip(tree.subtree, found.subtree, strict=True):
            there = _unpacked(theirs.to_dataset(inherit=False))[0]
            attrs = {name: value for name, value in _json(ours.attrs).items() if name not in _STAMPS}
            for name, variable in _unpacked(ours.to_dataset(inherit=False))[0].items():
                if not _on_disk(name, there[name])[0].equals(_on_disk(name, variable)[0]):
                    raise ValueError(f"{name!r} of the group {ours.name!r} is not what it was")
            if json.dumps(attrs, sort_keys=True) != json.dumps(_json(theirs.attrs), sort_keys=True):
                raise ValueError(f"the attributes of the group {ours.name!r} are not what they were")
    except Exception as error:
        # Of what `load` raises without its advice, to remove it.
        raise OSError(errno.EIO, f"what was written cannot be read back: {error.__cause__ or error}") from error


def check_target(path: Path, overwrite: bool) -> None:
    """Raise what `save` would raise for this path: to be asked before hours of computation, not after."""
    if path.suffix not in (".zarr", ".nc"):
        raise ValueError(f"{path} must end in .zarr (a folder) or in .nc (a NetCDF file).")
    if path.suffix == ".nc":
        _need_h5netcdf()
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{path} is a link to nothing; remove it, or choose another path.")
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(
            f"{path} exists. To replace it: overwrite=True in Python, --overwrite on the command line. "
            "Or choose another path."
        )
    ours = path.is_file() if path.suffix == ".nc" else path.is_dir() and (path / "zarr.json").exists()
    if not ours:
        raise FileExistsError(f"{path} is not a run, so it is not overwritten. Remove it, or choose another path.")


def _need_h5netcdf() -> None:
    try:
        import h5netcdf  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'NetCDF needs h5netcdf: pip install "bayesdiff[netcdf]". A path that ends in .zarr needs nothing more.'
        ) from error


def _root_attrs(path: Path) -> dict[str, Any]:
    if path.is_dir():
        import zarr

        return dict(zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False).attrs)
    import h5netcdf

    with h5netcdf.File(path, "r") as file:
        return _json(dict(file.attrs.items()))


def _write_zarr(plain: xr.DataTree, path: Path, along: str = "", rows: int = 0) -> None:
    """Write a tree, in chunks of so many `rows` along a dimension if there is one."""
    from zarr.codecs import ZstdCodec

    codec = ZstdCodec(level=1, checksum=True)  # a changed byte is found when it is read
    encoding: dict[str, dict[Any, dict[str, Any]]] = {}
    for node in plain.subtree:
        variables = node.to_dataset(inherit=False).variables
        encoding[node.path] = {name: {"compressors": codec} for name in variables}
        for name, variable in variables.items():
            if along in variable.dims:
                sizes = zip(variable.dims, variable.shape, strict=True)
                encoding[node.path][name]["chunks"] = tuple(
                    rows if dim == along else max(1, size) for dim, size in sizes
                )
    # Zarr leaves out chunks that hold nothing but the fill value. Then no one can tell them from lost ones.
    plain.to_zarr(path, consolidated=False, encoding=encoding, write_empty_chunks=True)


def _write_netcdf(plain: xr.DataTree, path: Path) -> None:
    groups, checked = {}, {}
    for node in plain.subtree:
        ds = node.to_dataset(inherit=False)
        ds.attrs = _netcdf_attrs(ds.attrs)
        for variable in ds.variables.values():
            variable.attrs = _netcdf_attrs(variable.attrs)
        groups[node.path] = ds
        arrays = [name for name, v in ds.variables.items() if v.ndim and v.size and v.dtype.kind != "U"]
        checked[node.path] = {name: {"fletcher32": True} for name in arrays}  # a changed byte is found when it is read
    xr.DataTree.from_dict(groups).to_netcdf(path, engine="h5netcdf", encoding=checked)


def _netcdf_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Keep what NetCDF can hold. The layout holds the rest."""
    kept = {name: value for name, value in _json(attrs).items() if _ordinary(name) and _fits_netcdf(value)}
    for name, value in kept.items():
        # HDF5 refuses attributes of 64 KiB and more
        if isinstance(value, str) and len(value.encode()) > 60_000:
            raise ValueError(f"The attribute {name!r} is too long for NetCDF. Save to a path that ends in .zarr.")
    return kept


def _fits_netcdf(value: Any) -> bool:
    """Tell what NetCDF can hold, if not always give back: numbers, text, and lists of one of them."""
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        return len(kinds) > 0 and (kinds <= {int, float} or kinds <= {str}) and all(map(_fits_netcdf, value))
    if isinstance(value, str):
        return _held(value)
    if isinstance(value, int):  # Python's may be longer than any of HDF5
        return not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, float)
