"""What all pictures share: which numbers are drawn, how far an axis reaches, panels and legends."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_plots import PlotCollection

from bayesdiff.checks import mapping


def names_of(var_names: str | Sequence[str] | None, ds: xr.Dataset) -> list[str]:
    """List the variables that were asked for, all unless any were."""
    known = [str(name) for name in ds.data_vars]
    if var_names is not None and not np.iterable(var_names):
        raise TypeError(f"var_names is {var_names!r}. Write a name, or a list of names: there are {some(known)}.")
    names = known if var_names is None else [var_names] if isinstance(var_names, str) else list(var_names)
    for name in names:
        if name not in known:
            raise ValueError(f"There is no variable {name!r}. There are {some(known)}.")
    return names


def labels_of(coords: Any, ds: xr.Dataset, without: Sequence[str] = ()) -> dict[Any, np.ndarray]:
    """The components that were asked for, by dimension; dimensions in ``without`` are none of components."""
    if coords is not None:
        mapping(coords, "coords", "as coords={'school': ['Choate', 'Deerfield']}")
    known = sorted(str(dim) for dim in ds.dims if dim not in without)
    chosen = {dim: np.atleast_1d(label) for dim, label in (coords or {}).items()}
    for dim, label in chosen.items():
        if dim not in known:
            raise ValueError(f"There is no dimension {dim!r}. There are {some(known) or 'none'}.")
        there = ds[dim].values.tolist()
        unknown = [item for item in label.tolist() if item not in there]
        if unknown:
            raise ValueError(f"{dim!r} has no label {unknown[0]!r}. It has {some(there)}.")
    return chosen


def by_label(given: Any, what: str) -> dict[str, Any]:
    """What is drawn, by label; what is no mapping is alone, and without a label."""
    if isinstance(given, xr.DataTree) or not isinstance(given, Mapping):
        return {"": given}
    if not given:
        raise ValueError(f"There is no {what} to draw. Pass one, or a mapping {{label: {what}}}.")
    return {str(label): each for label, each in given.items()}


def some(items: Sequence[Any]) -> str:
    """Name things in an error, the first ten at most."""
    return ", ".join(map(repr, items[:10])) + (f", ... ({len(items)} in all)" if len(items) > 10 else "")


def view_of(x: np.ndarray, p0: np.ndarray, *points: float, reach: float = 1.0) -> np.ndarray:
    """Limits of a panel: the points, x but for its last thousandths, and the prior as far as ``reach`` times that."""
    known = x[np.isfinite(x)]
    ends = np.r_[np.quantile(known, [0.001, 0.999]) if known.size else [], [p for p in points if np.isfinite(p)]]
    if not ends.size:
        return np.array([0.0, 1.0])
    low, high = ends.min(), ends.max()
    width = (high - low) or abs(high) or 1.0
    if np.isfinite(p0).any():
        prior_low, prior_high = np.nanquantile(p0, [0.001, 0.999])
        low, high = np.clip(prior_low, low - reach * width, low), np.clip(prior_high, high, high + reach * width)
    margin = 0.06 * ((high - low) or width)
    return np.array([low - margin, high + margin])


def size(numbers: xr.Dataset) -> int:
    """How many numbers there are, over all variables."""
    return sum(x.size for x in numbers.values())


def check(count: int, function: str) -> None:
    """Raise an error where there are more panels than ArviZ is set to draw."""
    most = rcParams["plot.max_subplots"]
    if most is not None and count > most:
        raise ValueError(
            f"{function} would draw {count} panels, at most {most} fit. Choose fewer in var_names= or coords=."
        )


def empty(
    ds: xr.Dataset,
    backend: str | None,
    curves: Mapping[str, tuple[str, ...]],
    *,
    dim: str = "curve",
    rows: Sequence[Hashable] | None = None,
    cols: Sequence[str] = (),
    most: int = 4,
    each: tuple[float, float] = (3.0, 2.4),
    least: float = 5.0,
    below: float = 0.7,
    **more: Any,
) -> PlotCollection:
    """Empty panels, one for each number in ``ds``: ``most`` in a row, or by the dimensions ``rows`` and ``cols``.

    ``curves`` are colour, and perhaps line, of what is drawn in each, by its label in the dimension ``dim``. In inches:
    ``each`` panel, at ``least`` so much width, and the space ``below`` for the legend.
    """
    known = ("matplotlib", "bokeh", "plotly", "none")
    backend = rcParams["plot.backend"] if backend is None else backend
    if backend not in known:
        raise ValueError(f"backend is {backend!r}. Write {', '.join(map(repr, known[:-1]))} or {known[-1]!r}.")
    numbers = ds.isel({dim: 0}, drop=True) if dim in ds.dims else ds
    count = size(numbers)
    across = min(count, most) if rows is None else math.prod(ds.sizes[col] for col in cols)
    width, height = max(each[0] * across, least), each[1] * -(-count // across) + below
    if backend == "matplotlib":  # its legend beside the panels needs the constrained layout
        more |= {"figsize": (width, height), "figsize_units": "inches", "layout": "constrained"}
    else:
        more |= {"figsize": (100 * width, 100 * height), "figsize_units": "dots"}
    looks: dict[str, Any] = dict(zip(("color", "linestyle"), zip(*curves.values(), strict=True), strict=False))
    style = {"backend": backend, "aes": {key: [dim] for key in looks}, "figure_kwargs": more, **looks}
    data = ds if dim in ds.dims else ds.expand_dims({dim: list(curves)})
    if rows is not None:
        return PlotCollection.grid(data, rows=[*rows], cols=[*cols], **style)
    return PlotCollection.wrap(data, cols=["__variable__", *numbers.dims], col_wrap=across, **style)


def one_each(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """A colour and a line for each of several results; colour-blind readers can tell these apart (Okabe and Ito)."""
    colors = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
    return {label: (colors[i % len(colors)], f"C{i % 4}") for i, label in enumerate(labels)}


def decorate(collection: PlotCollection, function: Callable[..., Any], data: xr.Dataset, **options: Any) -> None:
    """Call a function for each panel that is not itself an artist: axes, titles."""
    collection.map(function, data=data, ignore_aes="all", store_artist=False, subset_info=True, **options)


def legend(collection: PlotCollection, dim: str = "curve") -> None:
    """Say which curve is which. In matplotlib below the panels, where it is in the way of no title."""
    how: dict[str, Any] = {}
    if collection.backend == "matplotlib":
        columns = 5 if collection.get_viz("figure").get_figwidth() >= 6 else 3
        how = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    collection.add_legend(dim, title="", **how)
