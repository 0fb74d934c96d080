"""Look at a chain of small steps: the particles on their way from noise to x, one inverter beside another.

    o_K -> o_{K-1} -> ... -> o_0 = x

A schedule without a bound on its noise makes o_K a hundred times as wide as x: on one axis nothing of x is left to be
seen. So every level is drawn at the spread of p0, unless ``rescale=False``. With m and v the mean and variance of p0,

    o_k  is drawn at  m + sqrt(v / (alpha_k^2 v + sigma_k^2)) (o_k - alpha_k m)

which is x itself at level 0, has variance v at every level of an exact chain, and is the same chain in other units. m
and v are p0's, not the chain's: a chain whose spread collapses is seen to collapse.

Nothing here samples: all is read from the trees that ``reverse`` returned, finished or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import arviz_plots.visuals as azv
import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object

from bayesdiff.plots.panels import backend_of, check_panels, decorate, figure_size, legend, per_number
from bayesdiff.plots.particles import (
    ALL,
    CURVE,
    PARTICLE,
    PRIOR,
    SPREAD,
    Chain,
    array,
    check_whole,
    chosen,
    common_view,
    drawn,
    even,
    levels_to_show,
    plane,
    read,
    smooth,
    spread,
)
from bayesdiff.plots.schedule import level_ticks


def plot_chain(
    runs: xr.DataTree | Mapping[str, xr.DataTree],
    var_names: str | Sequence[str] | None = None,
    *,
    coords: Mapping[str, Any] | None = None,
    particles: int = 40,
    rescale: bool = True,
    backend: str | None = None,
) -> PlotCollection:
    r"""Draw the particles of a chain from noise (left) to x (right), over how they are distributed at each level.

    .. math:: o_K \to o_{K-1} \to \dots \to o_0 = x

    Parameters
    ----------
    runs : xarray.DataTree or mapping of str to xarray.DataTree
        What ``reverse(..., path=True)`` returned, or several of them by their labels, as
        ``{"draws": run, "modes": other}``: they stand side by side, on one scale. The ``partial`` of a ``ChainError``
        is drawn as far as it goes.
    var_names : str or sequence of str, optional
        The free variables to draw. All, unless given.
    coords : mapping, optional
        The components to draw: ``{"school": ["Choate", "Deerfield"]}``.
    particles : int
        How many, spread evenly over the run. With 0 only the distributions are drawn.
    rescale : bool
        Draw every level at the spread of p0 (see Notes). If False, o_k as it is.
    backend : {"matplotlib", "bokeh", "plotly", "none"}, optional
        ArviZ's default unless given.

    Returns
    -------
    arviz_plots.PlotCollection
        One panel for each number in x and each run (dimension ``run``, for a mapping), with the visuals ``marginal``
        (the density of all particles at each level, or at 9 of them), ``prior`` (what it is if the chain is exact: p0,
        diffused to that level; where the run has draws of p0) and ``particles``.

    Raises
    ------
    TypeError
        If a run is no DataTree.
    ValueError
        If a run has no path or holds o_K alone, the runs have different variables, a name or label is unknown,
        `particles` is negative, or there are more panels than ``arviz_base.rcParams["plot.max_subplots"]``.

    Notes
    -----
    Values are unconstrained, as the noise acts there. o_k is drawn at
    :math:`m + \sqrt{v / (\alpha_k^2 v + \sigma_k^2)}\, (o_k - \alpha_k m)`, with mean m and variance v of the draws of
    p0 that the run holds, or else another of the runs. Where none does, m and v are those of the x that the first run
    ends with, as well as its last level shows it.

    Each density is as high as its place allows: heights at different levels cannot be compared.

    Examples
    --------
    With results: ``plot_chain({"draws": reverse(prior, schedule, path=True), "modes": reverse(prior, schedule, mode,
    path=True)})``. Here by hand, with one level:

    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> x, level = np.random.default_rng(1).normal(size=(4, 50, 2)), ["level"]
    >>> o = dataset({"x": x}, sample_dims=("chain", "draw"), dims={"x": level})
    >>> noise = dataset({"alpha": [1.0, 1.0], "sigma": [0.0, 3.0]}, dims={"alpha": level, "sigma": level})
    >>> run = tree({"path": o, "schedule": noise})
    >>> line = plot_chain(run, particles=2, rescale=False, backend="none").get_viz("particles", "x")
    >>> bool((line["y"][:2] == x[0, 0, ::-1]).all())
    True
    """
    check_whole(particles, "particles", 0)
    found, numbers = read(runs, var_names, coords)
    check_panels(len(numbers) * len(found), "plot_chain")
    chains = drawn(found, rescale)
    keys = [*(["some particles"] if particles else []), "all particles", "p0, diffused to the level"]
    parts: dict[str, dict[Any, xr.DataArray]] = {"marginal": {}, "prior": {}, "particles": {}, "view": {}}
    for name in chains[0].y.data_vars:
        view = common_view(chains, name)
        parts["view"][name] = view
        parts["marginal"][name] = _beside([_ridges(chain, name, view) for chain in chains], chains)
        parts["prior"][name] = _beside([_outlines(chain, name, view) for chain in chains], chains)
        parts["particles"][name] = _beside([_paths(chain, name, particles) for chain in chains], chains)
    data = {key: _one_if_alone(xr.Dataset(part), runs) for key, part in parts.items()}
    if all(chain.p0 is None for chain in chains):
        keys.pop()

    panels = data["marginal"].isel(plot_axis=0, point=0, drop=True)
    collection = _chain_panels(panels, keys, backend)
    collection.map(_fill, "marginal", data=data["marginal"], coords={"curve": "all particles"}, alpha=0.4)
    if particles:
        curve = {"curve": keys[0]}
        collection.map(azv.line_xy, "particles", data=data["particles"], coords=curve, width=0.7, alpha=0.8)
    if keys[-1] != "all particles":
        collection.map(azv.line_xy, "prior", data=data["prior"], coords={"curve": keys[-1]}, width=1)
    _chain_axes(collection, panels, data["view"], chains, rescale)
    legend(collection)
    return collection


def plot_chain_plane(
    runs: xr.DataTree | Mapping[str, xr.DataTree],
    var_names: str | Sequence[str] | None = None,
    *,
    coords: Mapping[str, Any] | None = None,
    levels: int | Sequence[int] = 5,
    particles: int = 1000,
    rescale: bool = True,
    backend: str | None = None,
) -> PlotCollection:
    r"""Draw the particles of a chain in the plane of two numbers of x, at some levels from noise (left) to x (right).

    .. math:: o_K \to o_{K-1} \to \dots \to o_0 = x

    Parameters
    ----------
    runs : xarray.DataTree or mapping of str to xarray.DataTree
        What ``reverse(..., path=True)`` returned, or several of them by their labels: one row each. The ``partial`` of
        a ``ChainError`` is drawn as far as it goes.
    var_names, coords : optional
        The two numbers, written as for `plot_chain`. Needed where x has more.
    levels : int or sequence of int
        How many levels, spread evenly over those that are there, or which ones.
    particles : int
        At most so many, spread evenly over the run.
    rescale : bool
        Draw every level at the spread of p0, as `plot_chain` does. If False, o_k as it is.
    backend : {"matplotlib", "bokeh", "plotly", "none"}, optional
        ArviZ's default unless given.

    Returns
    -------
    arviz_plots.PlotCollection
        One panel for each run (dimension ``run``, for a mapping) and level (dimension ``panel``, 0 at the left), with
        the visuals ``particles`` and ``prior`` (draws of p0 behind those of x, at level 0, where there are any).

    Raises
    ------
    TypeError
        If a run is no DataTree.
    ValueError
        As for `plot_chain`, and if other than two numbers are chosen, `levels` or `particles` is below 1, or a level is
        not in the path.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> x, level = np.random.default_rng(1).normal(size=(4, 50, 3, 2)), ["level"]
    >>> o = dataset({"x": x}, sample_dims=("chain", "draw"), dims={"x": level})
    >>> noise = dataset({"alpha": [1.0] * 3, "sigma": [0.0, 1.0, 3.0]}, dims={"alpha": level, "sigma": level})
    >>> run = tree({"path": o, "schedule": noise})
    >>> collection = plot_chain_plane(run, levels=[2, 0], rescale=False, backend="none")
    >>> bool((collection.get_viz("particles", "x", panel=1)["x"] == x[:, :, 0, 0].ravel()).all())
    True
    """
    check_whole(particles, "particles", 1)
    if isinstance(levels, int | np.integer):
        check_whole(levels, "levels", 1)
    found, numbers = read(runs, var_names, coords)
    if len(numbers) != 2:
        raise ValueError(f"plot_chain_plane draws two numbers, and {chosen(numbers)}.")
    shown = [levels_to_show(run, levels) for run in found]
    columns = max(len(which) for which in shown)
    check_panels(columns * len(found), "plot_chain_plane")
    chains = drawn(found, rescale)

    clouds, priors, titles = [], [], []
    for chain, which in zip(chains, shown, strict=True):
        y, p0 = chain.points(numbers, particles)  # (level, plot_axis, particle), (plot_axis, particle)
        cloud = np.full((columns, *y.shape[1:]), np.nan)
        prior = np.full((columns, *p0.shape), np.nan)
        title = ["not reached"] * columns
        for column, level in enumerate(which):
            cloud[column] = y[chain.levels.index(level)]
            prior[column] = p0 if level == 0 else np.nan
            title[column] = chain.say(level)
        clouds.append(xr.DataArray(cloud, dims=["panel", "plot_axis", "point"]))
        priors.append(xr.DataArray(prior, dims=["panel", "plot_axis", "point"]))
        titles.append(title)
    name = numbers[0].name if numbers[0].name == numbers[1].name else ", ".join(n.name for n in numbers)
    data, behind = (
        _one_if_alone(_beside(each, chains).to_dataset(name=name).assign_coords(panel=range(columns)), runs)
        for each in (clouds, priors)
    )
    label = xr.DataArray(titles, dims=["run", "panel"], coords={"run": [c.label for c in chains]})
    panels = _one_if_alone(label.assign_coords(panel=range(columns)).to_dataset(name=name), runs)

    keys = ["particles", *(["draws of p0"] if behind[name].notnull().any() else [])]
    backend = backend_of(backend)
    collection = PlotCollection.grid(
        panels.expand_dims(curve=keys),
        rows=["run"] if "run" in panels.dims else [],
        cols=["panel"],
        backend=backend,
        aes={"color": ["curve"]},
        color=[PARTICLE, PRIOR],
        figure_kwargs=figure_size(backend, max(2.4 * columns, 4.5), 2.75 * len(chains) + 0.5),
    )
    if len(keys) == 2:
        collection.map(azv.scatter_xy, "prior", data=behind, coords={"curve": keys[1]}, size=5, width=0)
    collection.map(azv.scatter_xy, "particles", data=data, coords={"curve": keys[0]}, size=5, width=0, alpha=0.6)
    limits = plane(chains, numbers)

    def square(da: xr.DataArray, target: Any) -> None:
        label = f"{da['run'].item()}\n" if "run" in da.coords else ""
        draw = backend_from_object(target)
        draw.title(da.item(), target)
        draw.xlabel(numbers[0].label, target)
        draw.ylabel(label + numbers[1].label if da["panel"] == 0 else "", target)
        draw.xlim(limits[0], target)
        draw.ylim(limits[1], target)
        if hasattr(target, "set_box_aspect"):  # matplotlib; the others have no such thing
            target.set_box_aspect(1)

    decorate(collection, square, panels)
    legend(collection)
    if collection.backend == "matplotlib":
        # Square panels get room for their titles in a second look at the layout: this is the first.
        collection.get_viz("figure").draw_without_rendering()
    return collection


def _ridges(chain: Chain, name: Any, view: xr.DataArray) -> xr.DataArray:
    """One closed outline for the densities at all levels: (..., plot_axis, point)."""
    parts = []
    for level, width in _places(chain):
        y = chain.y[name].sel(level=level, drop=True)
        curve = per_number(_ridge, y, view, core=[["particle"], ["side"]], out=CURVE)
        parts.append(_stand(curve, view, level=level, width=width, closed=True))
    return xr.concat(parts, "point")


def _outlines(chain: Chain, name: Any, view: xr.DataArray) -> xr.DataArray:
    """The densities of p0, diffused to the same levels, as one line with gaps: (..., plot_axis, point)."""
    parts = [
        _stand(chain.prior_density(name, level, view), view, level=level, width=width, closed=False)
        for level, width in _places(chain)
    ]
    return xr.concat(parts, "point")


def _places(chain: Chain) -> list[tuple[int, float]]:
    """The levels whose densities are drawn, and how wide each may be."""
    levels = spread(chain.levels, min(9, len(chain.levels)))
    gap = min((above - below for above, below in pairwise(levels)), default=1)
    return [(level, 0.85 * gap) for level in levels]


def _stand(curve: xr.DataArray, view: xr.DataArray, **where: Any) -> xr.DataArray:
    upright = per_number(_standing, curve, view, core=[CURVE, ["side"]], out=["plot_axis", "vertex"], **where)
    return upright.rename(vertex="point")


def _standing(curve: np.ndarray, view: np.ndarray, level: int, width: float, closed: bool) -> np.ndarray:
    """Turn a density (grid, height) upright: from the level towards the next one below, as far as `width`."""
    grid, height = curve
    top = np.nanmax(height) if np.isfinite(height).any() else 1.0
    across = level - width * height / (top or 1.0)
    if not closed:
        # Where there is next to nothing, no line: they would fill the panel.
        shown = np.where(height > 0.01 * top, across, np.nan)
        return np.stack([np.r_[shown, np.nan], np.r_[grid, np.nan]])
    # From the bottom of the panel up to the curve and back: `_fill` closes what lies between.
    base = view[0]
    return np.stack([np.r_[level, level, across, level, level], np.r_[base, grid[0], grid, grid[-1], base]])


def _ridge(y: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Density of the particles at one level, of those that are not lost."""
    return smooth(y, 0.0, 1.0, 0.0, view)


def _paths(chain: Chain, name: Any, particles: int) -> xr.DataArray:
    """One line through the levels for each of some particles, with gaps between: (..., plot_axis, point)."""
    y = chain.y[name].transpose(..., "particle", "level")
    y = y.isel(particle=even(y.sizes["particle"], particles))
    values = np.concatenate([y.values, np.full((*y.shape[:-1], 1), np.nan)], axis=-1)
    level = np.broadcast_to(np.r_[chain.levels, np.nan], values.shape)
    flat = [a.reshape(*y.shape[:-2], -1) for a in (level, values)]
    return array(np.stack(flat, -2), y, CURVE)


def _beside(parts: Sequence[xr.DataArray], chains: Sequence[Chain]) -> xr.DataArray:
    """Put the runs side by side, the shorter ones repeating their last point (a gap, or a place with no area)."""
    most = max(part.sizes["point"] for part in parts)
    padded = [
        part.pad(point=(0, most - part.sizes["point"]), mode="edge")
        if part.sizes["point"]
        else part.pad(point=(0, most), constant_values=np.nan)
        for part in parts
    ]
    both = xr.concat(padded, "run", coords="minimal", compat="override", join="override")
    return both.assign_coords(run=[chain.label for chain in chains], plot_axis=["x", "y"])


def _one_if_alone(ds: xr.Dataset, runs: Any) -> xr.Dataset:
    return ds.isel(run=0, drop=True) if isinstance(runs, xr.DataTree) and "run" in ds.dims else ds


def _chain_panels(panels: xr.Dataset, keys: Sequence[str], backend: str | None) -> PlotCollection:
    """One row for each number and one column for each run; for one run, the numbers side by side."""
    backend = backend_of(backend)
    dims = [dim for dim in panels.dims if dim != "run"]
    colors = {"some particles": PARTICLE, "all particles": ALL}
    style = {"backend": backend, "aes": {"color": ["curve"]}, "color": [colors.get(key, PRIOR) for key in keys]}
    numbers = sum(x.isel(run=0).size if "run" in x.dims else x.size for x in panels.values())
    data = panels.expand_dims(curve=list(keys))
    if "run" in panels.dims:
        size = figure_size(backend, max(3.6 * panels.sizes["run"], 5), 2.8 * numbers + 0.5)
        return PlotCollection.grid(data, rows=["__variable__", *dims], cols=["run"], figure_kwargs=size, **style)
    columns = min(numbers, 3)
    size = figure_size(backend, 6.5 if columns == 1 else 4 * columns, 3.0 * -(-numbers // columns) + 0.5)
    return PlotCollection.wrap(data, cols=["__variable__", *dims], col_wrap=columns, figure_kwargs=size, **style)


def _chain_axes(
    collection: PlotCollection, panels: xr.Dataset, view: xr.Dataset, chains: Sequence[Chain], rescale: bool
) -> None:
    by_label = {chain.label: chain for chain in chains}

    def axes(da: xr.DataArray, target: Any, var_name: str, sel: Mapping[str, Any], isel: Mapping[str, Any]) -> None:
        number = {dim: label for dim, label in sel.items() if dim != "run"}
        chain = by_label[str(sel["run"])] if "run" in sel else chains[0]
        label = BaseLabeller().make_label_flat(var_name, number, number)
        draw = backend_from_object(target)
        draw.title(f"{chain.label}: {label}" if chain.label else label, target)
        draw.xlabel("level k", target)
        if chain is chains[0]:
            draw.ylabel(SPREAD if rescale else "o_k", target)
        draw.xticks(*level_ticks(chain.last), target)
        width = max(width for _, width in _places(chain))
        draw.xlim((chain.last + 0.3 * width, -1.15 * width), target)
        draw.ylim(tuple(view[var_name].sel(number).values), target)

    decorate(collection, axes, panels, subset_info=True)


def _fill(da: xr.DataArray, target: Any, **style: Any) -> Any:
    """Fill an outline that starts and ends at its lowest value."""
    x, y = (da.sel(plot_axis=axis).values for axis in ("x", "y"))
    return backend_from_object(target).fill_between_y(x, np.full_like(y, y[0]), y, target, **style)
