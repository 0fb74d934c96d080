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

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object

from bayesdiff.checks import positive_int
from bayesdiff.pictures import even
from bayesdiff.plots import panels
from bayesdiff.plots import particles as of
from bayesdiff.plots.particles import ALL, PARTICLE, PRIOR, Chain, Number
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
    positive_int(particles, "particles", least=0)
    chains, numbers = of.read(runs, var_names, coords, rescale, "plot_chain")
    known = any(chain.knows_p0 for chain in chains)
    looks = {"some particles": (PARTICLE,), "all particles": (ALL,), "p0, diffused to the level": (PRIOR,)}
    some, every, prior = looks
    looks = {key: look for key, look in looks.items() if (particles or key != some) and (known or key != prior)}
    ds = xr.zeros_like(chains[0].y.isel(particle=0, level=0, drop=True))
    if not isinstance(runs, xr.DataTree):
        rows = ["__variable__", *ds.dims]
        ds = ds.expand_dims(run=[chain.label for chain in chains])
        layout: dict[str, Any] = {"rows": rows, "cols": ["run"], "each": (3.6, 2.8), "below": 0.5}
    else:
        layout = {"most": 3, "each": (4.0, 3.0), "least": 6.5, "below": 0.5}
    collection = panels.empty(ds, backend, looks, **layout)

    def shown(draw: Callable[..., Any]) -> Callable[..., Any]:
        """Draw what a panel shows: a number of a chain."""

        def visual(_: Any, target: Any, var_name: str, sel: Any, isel: Any, **style: Any) -> Any:
            place = {dim: i for dim, i in isel.items() if dim != "run"}
            [number] = [each for each in numbers if (each.name, each.at) == (var_name, place)]
            chain = chains[isel.get("run", 0)]
            return draw(chain, number, target, **style)

        return visual

    def fill(chain: Chain, number: Number, target: Any, **style: Any) -> Any:
        x, y = _ridges(chain, number)
        return backend_from_object(target).fill_between_y(x, np.full_like(y, y[0]), y, target, **style)

    def lines(chain: Chain, number: Number, target: Any, **style: Any) -> Any:
        return backend_from_object(target).line(*_paths(chain, number, particles), target, **style)

    def outlines(chain: Chain, number: Number, target: Any, **style: Any) -> Any:
        if chain.knows_p0:
            return backend_from_object(target).line(*_outlines(chain, number), target, **style)

    def axes(chain: Chain, number: Number, target: Any) -> None:
        draw = backend_from_object(target)
        draw.title(f"{chain.label}: {number.label}" if chain.label else number.label, target)
        draw.xlabel("level k", target)
        if chain is chains[0]:
            draw.ylabel(of.scale_of(rescale), target)
        draw.xticks(*level_ticks(chain.last), target)
        width = max(width for _, width in _places(chain))
        draw.xlim((chain.last + 0.3 * width, -1.15 * width), target)
        draw.ylim(number.view, target)

    for label, key, draw, style in (
        ("marginal", every, fill, {"alpha": 0.4}),
        ("particles", some, lines, {"width": 0.7, "alpha": 0.8}),
        ("prior", prior, outlines, {"width": 1}),
    ):
        if key in looks:
            collection.map(shown(draw), label, data=ds, coords={"curve": key}, subset_info=True, **style)
    panels.decorate(collection, shown(axes), ds)
    panels.legend(collection)
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
    positive_int(particles, "particles")
    if isinstance(levels, int | np.integer):
        positive_int(levels, "levels")
    chains, numbers = of.read(runs, var_names, coords, rescale, "plot_chain_plane", "draws two numbers", [2])
    each = [of.levels_to_show(chain, levels) for chain in chains]
    columns = max(map(len, each))
    panels.check(columns * len(chains), "plot_chain_plane")
    not_reached = -1
    shown = [[*which, *[not_reached] * (columns - len(which))] for which in each]
    known = any(chain.knows_p0 and 0 in which for chain, which in zip(chains, shown, strict=True))
    level = xr.DataArray(shown, {"run": [chain.label for chain in chains], "panel": range(columns)})
    ds = level.to_dataset(name=", ".join(dict.fromkeys(number.name for number in numbers)))
    if isinstance(runs, xr.DataTree):
        ds = ds.isel(run=0, drop=True)
    collection = panels.empty(
        ds, backend, {"particles": (PARTICLE,)} | ({"draws of p0": (PRIOR,)} if known else {}),
        rows=["run"] if "run" in ds.dims else [], cols=["panel"], each=(2.4, 2.75), least=4.5, below=0.5,
    )  # fmt: skip
    limits = of.plane(numbers)

    def behind(da: xr.DataArray, target: Any, isel: Any, var_name: Any, sel: Any, **style: Any) -> Any:
        chain = chains[isel.get("run", 0)]
        if da == 0 and chain.knows_p0:
            return backend_from_object(target).scatter(*chain.prior(numbers, particles), target, **style)

    def cloud(da: xr.DataArray, target: Any, isel: Any, var_name: Any, sel: Any, **style: Any) -> Any:
        if da != not_reached:
            points = chains[isel.get("run", 0)].cloud(numbers, da.item(), particles)
            return backend_from_object(target).scatter(*points, target, **style)

    def square(da: xr.DataArray, target: Any, isel: Any, var_name: Any, sel: Any) -> None:
        chain = chains[isel.get("run", 0)]
        draw = backend_from_object(target)
        draw.title("not reached" if da == not_reached else chain.say(da.item()), target)
        draw.xlabel(numbers[0].label, target)
        label = f"{chain.label}\n" if chain.label else ""
        draw.ylabel(label + numbers[1].label if isel["panel"] == 0 else "", target)
        draw.xlim(limits[0], target)
        draw.ylim(limits[1], target)
        if hasattr(target, "set_box_aspect"):  # matplotlib; the others have no such thing
            target.set_box_aspect(1)

    dots = {"data": ds, "subset_info": True, "size": 5, "width": 0}
    if known:
        collection.map(behind, "prior", coords={"curve": "draws of p0"}, **dots)
    collection.map(cloud, "particles", coords={"curve": "particles"}, alpha=0.6, **dots)
    panels.decorate(collection, square, ds)
    panels.legend(collection)
    if collection.backend == "matplotlib":
        # Square panels get room for their titles in a second look at the layout: this is the first.
        collection.get_viz("figure").draw_without_rendering()
    return collection


def _ridges(chain: Chain, number: Number) -> np.ndarray:
    """One closed outline for the densities at all levels."""
    base, parts = number.view[0], []
    for level, width in _places(chain):
        grid, height = chain.density(number, level)
        # From the bottom of the panel up to the curve and back: what lies between is filled.
        across = np.r_[level, level, _upright(height, level, width), level, level]
        parts.append(np.stack([across, np.r_[base, grid[0], grid, grid[-1], base]]))
    return np.concatenate(parts, axis=1)


def _outlines(chain: Chain, number: Number) -> np.ndarray:
    """The densities of p0, diffused to the same levels, as one line with gaps."""
    parts = []
    for level, width in _places(chain):
        grid, height = chain.prior_density(number, level)
        # Where there is next to nothing, no line: they would fill the panel.
        across = np.where(height > 0.01 * height.max(), _upright(height, level, width), np.nan)
        parts.append(np.stack([np.r_[across, np.nan], np.r_[grid, np.nan]]))
    return np.concatenate(parts, axis=1)


def _places(chain: Chain) -> list[tuple[int, float]]:
    """The levels whose densities are drawn, and how wide each may be."""
    levels = of.levels_to_show(chain, 9)
    gap = min((above - below for above, below in pairwise(levels)), default=1)
    return [(level, 0.85 * gap) for level in levels]


def _upright(height: np.ndarray, level: int, width: float) -> np.ndarray:
    """A density that stands on its level: as far as ``width`` towards the next one below."""
    return level - width * height / (height.max() or 1.0)


def _paths(chain: Chain, number: Number, particles: int) -> tuple[np.ndarray, np.ndarray]:
    """One line through the levels for each of some particles, with gaps between."""
    y = number.of(chain.y, "particle", "level")
    y = y[even(len(y), particles)]
    return np.tile(np.r_[chain.levels, np.nan], len(y)), np.c_[y, np.full(len(y), np.nan)].ravel()
