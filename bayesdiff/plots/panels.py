"""What all pictures share: which numbers are drawn, how far an axis reaches, panels and legends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_plots import PlotCollection

from bayesdiff.checks import mapping

# Colours that colour-blind readers can tell apart (Okabe and Ito).
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
FEWER = "Choose fewer in var_names= or coords=."


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


def check_coords(coords: Any) -> None:
    """Raise where what chooses components is no mapping."""
    if coords is not None:
        mapping(coords, "coords", "as coords={'school': ['Choate', 'Deerfield']}")


def at_labels(ds: xr.Dataset, coords: Mapping[str, Any] | None, without: Sequence[str] = ()) -> xr.Dataset:
    """Take the components that were asked for; dimensions in ``without`` are none of components."""
    check_coords(coords)
    known = [str(dim) for dim in ds.dims if dim not in without]
    chosen = {dim: np.atleast_1d(label) for dim, label in (coords or {}).items()}
    for dim, label in chosen.items():
        if dim not in known:
            raise ValueError(f"There is no dimension {dim!r}. There are {some(known) or 'none'}.")
        unknown = [item for item in label.tolist() if item not in ds[dim].values.tolist()]
        if unknown:
            raise ValueError(f"{dim!r} has no label {unknown[0]!r}. It has {some(ds[dim].values.tolist())}.")
    return ds.sel(chosen)


def backend_of(backend: str | None) -> str:
    """Give the plotting backend that was asked for, or ArviZ's default."""
    known = ("matplotlib", "bokeh", "plotly", "none")
    chosen = rcParams["plot.backend"] if backend is None else backend
    if chosen not in known:
        raise ValueError(f"backend is {chosen!r}. Write {', '.join(map(repr, known[:-1]))} or {known[-1]!r}.")
    return str(chosen)


def some(items: Sequence[Any]) -> str:
    """Name things in an error, the first ten at most."""
    return ", ".join(map(repr, items[:10])) + (f", ... ({len(items)} in all)" if len(items) > 10 else "")


def check_panels(count: int, function: str) -> None:
    """Raise an error where there are more panels than ArviZ is set to draw."""
    most = rcParams["plot.max_subplots"]
    if most is not None and count > most:
        raise ValueError(f"{function} would draw {count} panels, at most {most} fit. {FEWER}")


def per_number(
    function: Callable[..., np.ndarray], *arrays: xr.DataArray, core: list[list[str]], out: list[str], **options: Any
) -> xr.DataArray:
    """Apply a function of the ``core`` dimensions to each number of x by itself."""
    return xr.apply_ufunc(
        function,
        *arrays,
        input_core_dims=core,
        output_core_dims=[out],
        vectorize=True,
        kwargs=options,
        keep_attrs=False,
    )


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


def figure_size(backend: str, width: float, height: float, **more: Any) -> dict[str, Any]:
    """Size of a figure in inches; matplotlib's legend beside the panels needs its constrained layout."""
    if backend == "matplotlib":
        return {"figsize": (width, height), "figsize_units": "inches", "layout": "constrained", **more}
    return {"figsize": (100 * width, 100 * height), "figsize_units": "dots", **more}


def decorate(collection: PlotCollection, function: Callable[..., Any], data: xr.Dataset, **options: Any) -> None:
    """Call a function for each panel that is not itself an artist: axes, titles."""
    collection.map(function, data=data, ignore_aes="all", store_artist=False, **options)


def legend(collection: PlotCollection, dim: str = "curve") -> None:
    """Say which curve is which. In matplotlib below the panels, where it is in the way of no title."""
    if collection.backend != "matplotlib":
        collection.add_legend(dim, title="")
        return
    columns = 5 if collection.get_viz("figure").get_figwidth() >= 6 else 3
    collection.add_legend(dim, title="", loc="outside lower center", ncols=columns, frameon=False)
