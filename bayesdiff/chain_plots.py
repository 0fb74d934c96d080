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

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import arviz_plots.visuals as azv
import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object
from arviz_stats.base import array_stats
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from bayesdiff.checks import flag, path_like
from bayesdiff.files import replacing
from bayesdiff.plots import (
    at_labels,
    backend_of,
    check_coords,
    check_panels,
    decorate,
    figure_size,
    legend,
    names_of,
    per_number,
    some,
    view_of,
)

# Okabe and Ito's colours, as in `plots`.
_PARTICLE, _ALL, _PRIOR = "#0072B2", "#56B4E9", "#333333"
_CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333"]
_SAMPLE = ("chain", "draw")
_CURVE = ["plot_axis", "point"]
_POINTS = 200  # of a density: there are up to 9 in a panel
_MOST_RIDGES = 9
_MOST_FRAMES = 60
_SPREAD = "o_k at the spread of p0"


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
    _check_whole(particles, "particles", 0)
    found, numbers = _read(runs, var_names, coords)
    check_panels(len(numbers) * len(found), "plot_chain")
    chains = _drawn(found, rescale)
    keys = [*(["some particles"] if particles else []), "all particles", "p0, diffused to the level"]
    parts: dict[str, dict[Any, xr.DataArray]] = {"marginal": {}, "prior": {}, "particles": {}, "view": {}}
    for name in chains[0].y.data_vars:
        view = _view(chains, name)
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
    _check_whole(particles, "particles", 1)
    if isinstance(levels, int | np.integer):
        _check_whole(levels, "levels", 1)
    found, numbers = _read(runs, var_names, coords)
    if len(numbers) != 2:
        raise ValueError(f"plot_chain_plane draws two numbers, and {_chosen(numbers)}.")
    shown = [_levels_to_show(run, levels) for run in found]
    columns = max(len(which) for which in shown)
    check_panels(columns * len(found), "plot_chain_plane")
    chains = _drawn(found, rescale)

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
        color=[_PARTICLE, _PRIOR],
        figure_kwargs=figure_size(backend, max(2.4 * columns, 4.5), 2.75 * len(chains) + 0.5),
    )
    if len(keys) == 2:
        collection.map(azv.scatter_xy, "prior", data=behind, coords={"curve": keys[1]}, size=5, width=0)
    collection.map(azv.scatter_xy, "particles", data=data, coords={"curve": keys[0]}, size=5, width=0, alpha=0.6)
    limits = _plane(chains, numbers)

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


def plot_schedule(schedule: Any, *, backend: str | None = None) -> PlotCollection:
    r"""Draw the signal-to-noise ratio of each level, on a logarithmic axis.

    .. math:: \mathrm{snr}_k = \alpha_k^2 / \sigma_k^2, \qquad k = 1..K

    Parameters
    ----------
    schedule : Schedule or xarray.DataTree, or mapping of str to them
        A schedule, a run (its group ``schedule`` is drawn), or several by their labels.
    backend : {"matplotlib", "bokeh", "plotly", "none"}, optional
        ArviZ's default unless given.

    Returns
    -------
    arviz_plots.PlotCollection
        With the visuals ``snr`` (dimension ``schedule``: the labels; level 0, where the ratio is infinite, is left out)
        and ``equal`` (snr = 1: as much noise as signal, for x of variance 1).

    Raises
    ------
    TypeError
        If something is neither a schedule nor a run.
    ValueError
        If there is none, a run has no group ``schedule``, or alpha and sigma are not of one length.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> collection = bd.plot_schedule({"ve": bd.geometric(8, 0.1, 10.0), "vp": bd.cosine(8)}, backend="none")
    >>> collection.get_viz("snr", "snr", schedule="ve")["y"].round(3).tolist()[::7]
    [100.0, 0.01]
    """
    alone = isinstance(schedule, xr.DataTree) or not isinstance(schedule, Mapping)
    given = {"": schedule} if alone else {str(label): value for label, value in schedule.items()}
    if not given:
        raise ValueError("There is no schedule to draw. Pass one, or a mapping {label: schedule}.")
    curves = []
    for label, value in given.items():
        alpha, sigma = _noise(value, label)
        curves.append(np.stack([np.arange(1.0, len(alpha)), (alpha[1:] / sigma[1:]) ** 2]))
    most = max(curve.shape[1] for curve in curves)
    padded = [np.pad(curve, ((0, 0), (0, most - curve.shape[1])), constant_values=np.nan) for curve in curves]
    coords = {"schedule": list(given), "plot_axis": ["x", "y"]}
    data = xr.DataArray(np.stack(padded), dims=["schedule", "plot_axis", "point"], coords=coords).to_dataset(name="snr")

    backend = backend_of(backend)
    collection = PlotCollection.wrap(
        data,
        cols=[],
        backend=backend,
        aes={"color": ["schedule"], "linestyle": ["schedule"]},
        color=_CYCLE,
        linestyle=["C0", "C1", "C2", "C3"],
        figure_kwargs=figure_size(backend, 6.2, 3.6),
    )
    panel = data.isel(plot_axis=0, point=0, schedule=0, drop=True)
    collection.map(
        lambda da, target, **kw: azv.hline(xr.DataArray(1.0), target, **kw),
        "equal",
        data=panel,
        ignore_aes="all",
        color="#999999",
        width=1,
    )
    collection.map(azv.line_xy, "snr", data=data, width=2)

    def axes(da: xr.DataArray, target: Any) -> None:
        draw = backend_from_object(target)
        draw.yscale(target, "log")
        draw.xlabel("level k", target)
        draw.ylabel("signal-to-noise ratio\nalpha_k^2 / sigma_k^2", target)
        draw.xticks(*_level_ticks(most, first=1), target)

    decorate(collection, axes, panel)
    if not alone:
        legend(collection, "schedule")
    return collection


def animate_chain(
    runs: xr.DataTree | Mapping[str, xr.DataTree],
    path: str | os.PathLike[str],
    var_names: str | Sequence[str] | None = None,
    *,
    coords: Mapping[str, Any] | None = None,
    particles: int = 1000,
    rescale: bool = True,
    overwrite: bool = False,
) -> Path:
    r"""Write a GIF of the particles of a chain going from noise to x: a histogram of one number, or a plane of two.

    .. math:: o_K \to o_{K-1} \to \dots \to o_0 = x

    Parameters
    ----------
    runs : xarray.DataTree or mapping of str to xarray.DataTree
        What ``reverse(..., path=True)`` returned, or several of them by their labels: side by side. The ``partial`` of
        a ``ChainError`` is shown as far as it goes.
    path : str or path
        Ends in ``.gif``. Missing parent folders are made.
    var_names, coords : optional
        The one number or the two, written as for `plot_chain`. Needed where x has more.
    particles : int
        At most so many points in a plane, spread evenly over the run. A histogram is of all.
    rescale : bool
        Show every level at the spread of p0, as `plot_chain` does. If False, o_k as it is.
    overwrite : bool
        Replace a file that is already there.

    Returns
    -------
    pathlib.Path
        Where it was written: one frame for each level (at most 60 spread evenly, fewer with several runs), some 4
        seconds long, then x for 2 seconds.

    Raises
    ------
    TypeError
        If a run is no DataTree.
    ValueError
        As for `plot_chain`, and if `path` ends otherwise, more than two numbers are chosen, or `particles` is below 1.
    FileExistsError
        If there is something at `path` that may not be replaced.

    Notes
    -----
    In a histogram the line is p0, diffused to the level; in a plane draws of p0 stand behind x in the last frame. Both
    where the run has draws of p0.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> x, level = np.random.default_rng(1).normal(size=(4, 50, 2)), ["level"]
    >>> o = dataset({"x": x}, sample_dims=("chain", "draw"), dims={"x": level})
    >>> noise = dataset({"alpha": [1.0, 1.0], "sigma": [0.0, 3.0]}, dims={"alpha": level, "sigma": level})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(animate_chain(tree({"path": o, "schedule": noise}), f"{folder}/chain.gif").name)
    chain.gif
    """
    path = path_like(path, "path", "chain.gif")
    flag(overwrite, "overwrite")
    if path.suffix != ".gif":
        raise ValueError(f"{path} must end in .gif.")
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(f"{path} exists. To replace a file: overwrite=True. Or choose another path.")
    _check_whole(particles, "particles", 1)
    found, numbers = _read(runs, var_names, coords)
    if len(numbers) > 2:
        raise ValueError(f"animate_chain shows one number or two, and {_chosen(numbers)}.")

    chains = _drawn(found, rescale)
    longest = max(len(chain.levels) for chain in chains)
    frames = min(longest, max(_MOST_FRAMES // len(chains), 10))
    shown = [_spread(chain.levels, frames, repeat=True) for chain in chains]
    images = _draw_frames(chains, numbers, shown, particles, rescale)
    # One palette for all, that of the last frame, where everything is seen: only what moves is then stored.
    palette = images[-1].quantize(64)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[(colors > 247).all(axis=1)] = 255  # Pillow matches colours roughly: white would come out as nearly white
    palette.putpalette(colors.ravel().tolist())
    small = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    duration = [int(np.clip(4000 / len(small), 60, 400))] * (len(small) - 1) + [2000]
    with replacing(path) as file:
        small[0].save(file, "gif", save_all=True, append_images=small[1:], duration=duration, loop=0, optimize=False)
    return path


# Reading the runs.


@dataclass(frozen=True)
class _Number:
    """One number of x: a variable, and the place in it."""

    name: str
    at: Mapping[Any, int]
    label: str

    def of(self, ds: xr.Dataset) -> xr.DataArray:
        return ds[self.name].isel(self.at, drop=True)


@dataclass(frozen=True)
class _Chain:
    """A run as it is drawn: ``y`` (particle, level, ...), and the law of p0 at the same scale.

    Drawn values are y_k = shift_k + scale_k o_k; o_k = alpha_k x + sigma_k noise.
    """

    label: str
    last: int  # K
    levels: list[int]  # those in the path, K first
    y: xr.Dataset
    p0: xr.Dataset | None
    shift: xr.Dataset
    scale: xr.Dataset
    alpha: xr.DataArray
    sigma: xr.DataArray

    def say(self, level: int) -> str:
        if level == 0:
            return "level 0\nx"
        ratio = self.sigma.sel(level=level).item() / abs(self.alpha.sel(level=level).item())
        return f"level {level}\nsigma / alpha {ratio:.2g}"

    def points(self, numbers: Sequence[_Number], particles: int) -> tuple[np.ndarray, np.ndarray]:
        """Some particles (level, number, particle), and as many draws of p0 (number, particle)."""
        y = np.stack([n.of(self.y).transpose("level", "particle").values for n in numbers], axis=1)
        p0 = np.zeros((len(numbers), 0))
        if self.p0 is not None:
            p0 = np.stack([n.of(self.p0).values for n in numbers])
        return y[:, :, _even(y.shape[2], particles)], p0[:, _even(p0.shape[1], particles)]

    def prior_density(self, name: Any, level: int, view: xr.DataArray) -> xr.DataArray:
        """Density of p0, diffused to a level: (..., plot_axis, point)."""
        p0 = self.y[name].isel(level=0, particle=slice(0, 0), drop=True).rename(particle="prior_draw")
        p0 = p0 if self.p0 is None else self.p0[name]
        scale, shift = (ds[name].sel(level=level, drop=True) for ds in (self.scale, self.shift))
        slope, noise = (scale * factor.sel(level=level, drop=True) for factor in (self.alpha, self.sigma))
        core: list[list[str]] = [["prior_draw"], [], [], [], ["side"]]
        return per_number(_smooth, p0, shift, slope, noise, view, core=core, out=_CURVE)


@dataclass(frozen=True)
class _Run:
    """What was chosen of a run: o_k (chain, draw, level, ...), draws of p0 (chain, draw, ...), and the schedule."""

    label: str
    o: xr.Dataset
    p0: xr.Dataset | None
    noise: xr.Dataset


def _read(
    runs: xr.DataTree | Mapping[str, xr.DataTree],
    var_names: str | Sequence[str] | None,
    coords: Mapping[str, Any] | None,
) -> tuple[list[_Run], list[_Number]]:
    """Check the runs, and take the numbers of x that were asked for."""
    check_coords(coords)
    found: list[_Run] = []
    for label, run in _by_label(runs).items():
        _check_run(run, _quoted(label))
        o = _choose(run["path"].to_dataset(), coords, var_names)
        if found and not _same_numbers(found[0].o, o):
            first = found[0]
            raise ValueError(
                f"The runs {first.label!r} and {label!r} have different variables or labels: {_shapes(first.o)}, and "
                f"{_shapes(o)}. Draw them apart, or choose what both have in var_names= or coords=."
            )
        p0 = None
        if "unconstrained_prior" in run.children:
            p0 = _choose(run["unconstrained_prior"].to_dataset(), coords, [str(name) for name in o])
        found.append(_Run(label, o, p0, run["schedule"].to_dataset()))
    return found, _numbers(found[0].o)


def _drawn(runs: Sequence[_Run], rescale: bool) -> list[_Chain]:
    """Put the runs at the scale at which they are drawn."""
    flag(rescale, "rescale")
    moments = {run.label: (run.p0.mean(_SAMPLE), run.p0.var(_SAMPLE)) for run in runs if run.p0 is not None}
    others = next(iter(moments.values()), None) or _end(runs[0])
    chains = []
    for run in runs:
        alpha, sigma = run.noise["alpha"], run.noise["sigma"]
        mean, variance = moments.get(run.label, others)
        scale = (variance / (alpha**2 * variance + sigma**2)) ** 0.5 if rescale else 0 * alpha + xr.ones_like(variance)
        shift = mean * (1 - scale * alpha) if rescale else 0 * scale
        levels = np.sort(run.o["level"].values)[::-1]
        chains.append(
            _Chain(
                label=run.label,
                last=int(alpha["level"].max()),
                levels=levels.tolist(),
                y=(shift + scale * run.o).sel(level=levels).stack(particle=_SAMPLE, create_index=False),
                p0=None if run.p0 is None else run.p0.stack(prior_draw=_SAMPLE, create_index=False),
                shift=shift,
                scale=scale,
                alpha=alpha,
                sigma=sigma,
            )
        )
    return chains


def _by_label(runs: Any) -> dict[str, Any]:
    """One run is without a label."""
    if isinstance(runs, xr.DataTree) or not isinstance(runs, Mapping):
        return {"": runs}
    if not runs:
        raise ValueError("There is no run to draw. Pass one, or a mapping {label: run}.")
    return {str(label): run for label, run in runs.items()}


def _quoted(label: str) -> str:
    return f"The run {label!r}" if label else "The run"


def _check_run(run: Any, who: str) -> None:
    if not isinstance(run, xr.DataTree):
        raise TypeError(f"{who} is a {type(run).__name__}. Pass the DataTree that reverse(..., path=True) returned.")
    for group in ("path", "schedule"):
        if group not in run.children or "level" not in run[group].coords:
            raise ValueError(f"{who} has no group {group!r} by level. Pass what reverse(..., path=True) returned.")
    levels = run["path"].coords["level"].values
    # What a ChainError holds may have come no further than this.
    if len(levels) < 2 and run.attrs.get("finished", 1):
        raise ValueError(f"{who} holds o_k at level {levels[0]} alone. Run reverse(..., path=True), which keeps all.")


def _choose(ds: xr.Dataset, coords: Mapping[str, Any] | None, var_names: str | Sequence[str] | None) -> xr.Dataset:
    """Take the variables and components that were asked for."""
    return at_labels(ds[names_of(var_names, ds)], coords, without=(*_SAMPLE, "level"))


def _same_numbers(a: xr.Dataset, b: xr.Dataset) -> bool:
    one, two = (ds.isel(chain=0, draw=0, level=0, drop=True) for ds in (a, b))
    return set(one) == set(two) and all(one[n].dims == two[n].dims and _labels(one[n]) == _labels(two[n]) for n in one)


def _labels(x: xr.DataArray) -> list[list[Any]]:
    return [x[dim].values.tolist() for dim in x.dims]


def _shapes(ds: xr.Dataset) -> str:
    free = ds.isel(chain=0, draw=0, level=0, drop=True)
    return ", ".join(f"{name} {free[name].shape}" for name in free)


def _end(run: _Run) -> tuple[xr.Dataset, xr.Dataset]:
    """Mean and variance of x, from the lowest level of a path: what is known of p0 where there are no draws of it."""
    lowest = int(run.o["level"].min())
    low, at = run.o.sel(level=lowest, drop=True), run.noise.sel(level=lowest, drop=True)
    variance = (low.var(_SAMPLE) - at["sigma"] ** 2) / at["alpha"] ** 2
    # Finer than the first level's noise nothing is told apart; and a spread of 0 could not be drawn.
    first = run.noise.isel(level=1)
    return low.mean(_SAMPLE) / at["alpha"], variance.clip(min=float(first["sigma"] / first["alpha"]) ** 2)


def _numbers(o: xr.Dataset) -> list[_Number]:
    found = []
    for name, x in o.isel(chain=0, draw=0, level=0, drop=True).items():
        for index in np.ndindex(*x.shape):
            at = dict(zip(x.dims, index, strict=True))
            sel = {dim: x[dim].values[i] for dim, i in at.items()}
            found.append(_Number(str(name), at, BaseLabeller().make_label_flat(str(name), sel, at)))
    return found


def _chosen(numbers: Sequence[_Number]) -> str:
    return f"{len(numbers)} are chosen: {', '.join(n.label for n in numbers[:10])}. Name them in var_names= and coords="


def _levels_to_show(run: _Run, levels: int | Sequence[int]) -> list[int]:
    known = np.sort(run.o["level"].values)[::-1].tolist()
    if isinstance(levels, int | np.integer):
        return _spread(known, int(levels))
    if isinstance(levels, str) or not np.iterable(levels):
        raise TypeError(
            f"levels is {levels!r}. Write how many, or a list of levels. {_quoted(run.label)} has {some(known)}."
        )
    for level in levels:
        if level not in known:
            raise ValueError(f"{_quoted(run.label)} has no level {level!r} in its path. It has {some(known)}.")
    if len(levels) == 0:
        raise ValueError("levels is empty. Name some, or say how many.")
    return [int(level) for level in levels]


def _noise(schedule: Any, label: str) -> tuple[np.ndarray, np.ndarray]:
    who = f"schedule {label!r}" if label else "schedule"
    if isinstance(schedule, xr.DataTree):
        if "schedule" not in schedule.children:
            raise ValueError(f"{who} is a tree without a group 'schedule'. Pass what reverse returned.")
        schedule = schedule["schedule"]
        alpha, sigma = schedule["alpha"].values, schedule["sigma"].values
    elif hasattr(schedule, "alpha") and hasattr(schedule, "sigma"):
        alpha, sigma = np.asarray(schedule.alpha, dtype=float), np.asarray(schedule.sigma, dtype=float)
    else:
        raise TypeError(
            f"{who} is {type(schedule).__name__}. Pass a schedule, as bd.geometric(16, 0.1, 10.0), or a run."
        )
    if alpha.ndim != 1 or alpha.shape != sigma.shape or len(alpha) < 2:
        raise ValueError(f"{who} has alpha of shape {alpha.shape} and sigma {sigma.shape}. Both need K + 1 numbers.")
    return alpha, sigma


def _check_whole(value: Any, name: str, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}. Write a whole number >= {least}.")


def _even(total: int, most: int) -> np.ndarray:
    """At most so many of a range, spread evenly over it."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(int))


def _spread(levels: Sequence[int], count: int, repeat: bool = False) -> list[int]:
    """So many levels, spread evenly, the first and the last among them."""
    at = np.linspace(0, len(levels) - 1, count).round().astype(int)
    return [levels[i] for i in (at if repeat else np.unique(at))]


# Numbers to draw. What is unknown is NaN.


def _view(chains: Sequence[_Chain], name: Any) -> xr.DataArray:
    """Limits of the drawn values, the same for all chains: all levels and p0, but for the last thousandths."""
    parts = [chain.y[name].transpose(..., "particle", "level") for chain in chains]
    values = np.concatenate([part.values.reshape(*part.shape[:-2], -1) for part in parts], axis=-1)
    every = _array(values, parts[0], ["number"])
    p0 = next((chain.p0[name] for chain in chains if chain.p0 is not None), None)
    if p0 is None:
        p0 = every.isel(number=slice(0, 0)).rename(number="prior_draw")
    return per_number(view_of, every, p0, core=[["number"], ["prior_draw"]], out=["side"], reach=np.inf)


def _ridges(chain: _Chain, name: Any, view: xr.DataArray) -> xr.DataArray:
    """One closed outline for the densities at all levels: (..., plot_axis, point)."""
    parts = []
    for level, width in _places(chain):
        y = chain.y[name].sel(level=level, drop=True)
        curve = per_number(_ridge, y, view, core=[["particle"], ["side"]], out=_CURVE)
        parts.append(_stand(curve, view, level=level, width=width, closed=True))
    return xr.concat(parts, "point")


def _outlines(chain: _Chain, name: Any, view: xr.DataArray) -> xr.DataArray:
    """The densities of p0, diffused to the same levels, as one line with gaps: (..., plot_axis, point)."""
    parts = [
        _stand(chain.prior_density(name, level, view), view, level=level, width=width, closed=False)
        for level, width in _places(chain)
    ]
    return xr.concat(parts, "point")


def _places(chain: _Chain) -> list[tuple[int, float]]:
    """The levels whose densities are drawn, and how wide each may be."""
    levels = _spread(chain.levels, min(_MOST_RIDGES, len(chain.levels)))
    gap = min((above - below for above, below in pairwise(levels)), default=1)
    return [(level, 0.85 * gap) for level in levels]


def _stand(curve: xr.DataArray, view: xr.DataArray, **where: Any) -> xr.DataArray:
    upright = per_number(_standing, curve, view, core=[_CURVE, ["side"]], out=["plot_axis", "vertex"], **where)
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
    return _smooth(y, 0.0, 1.0, 0.0, view)


def _smooth(x: np.ndarray, shift: float, slope: float, noise: float, view: np.ndarray) -> np.ndarray:
    """Density of shift + slope x + noise z, z ~ N(0, 1), within a panel: a kernel estimate, which noise only widens."""
    at = np.linspace(view[0], view[1], _POINTS)
    known = x[np.isfinite(x)]
    if not known.size:
        return np.stack([at, np.full(_POINTS, np.nan)])
    width = 0.0
    if np.ptp(known) > 1e-12 * np.abs(known).max():
        width = float(array_stats.kde(known, bw="isj")[2])
    # No narrower than the points: between them, particles that all are at one place would not be seen.
    sd = max(np.hypot(noise, slope * width), at[1] - at[0])
    share, edges = np.histogram(known, bins=4 * _POINTS)
    center = shift + slope * (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-0.5 * ((at[:, None] - center) / sd) ** 2)
    return np.stack([at, kernel @ (share / share.sum()) / (sd * np.sqrt(2 * np.pi))])


def _paths(chain: _Chain, name: Any, particles: int) -> xr.DataArray:
    """One line through the levels for each of some particles, with gaps between: (..., plot_axis, point)."""
    y = chain.y[name].transpose(..., "particle", "level")
    y = y.isel(particle=_even(y.sizes["particle"], particles))
    values = np.concatenate([y.values, np.full((*y.shape[:-1], 1), np.nan)], axis=-1)
    level = np.broadcast_to(np.r_[chain.levels, np.nan], values.shape)
    flat = [a.reshape(*y.shape[:-2], -1) for a in (level, values)]
    return _array(np.stack(flat, -2), y, _CURVE)


def _array(values: np.ndarray, like: xr.DataArray, last: Sequence[str]) -> xr.DataArray:
    """Label values by the components of `like` (..., particle, level), and what follows."""
    dims = like.dims[:-2]
    return xr.DataArray(values, dims=[*dims, *last], coords={dim: like[dim] for dim in dims})


def _beside(parts: Sequence[xr.DataArray], chains: Sequence[_Chain]) -> xr.DataArray:
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


# Panels.


def _chain_panels(panels: xr.Dataset, keys: Sequence[str], backend: str | None) -> PlotCollection:
    """One row for each number and one column for each run; for one run, the numbers side by side."""
    backend = backend_of(backend)
    dims = [dim for dim in panels.dims if dim != "run"]
    colors = {"some particles": _PARTICLE, "all particles": _ALL}
    style = {"backend": backend, "aes": {"color": ["curve"]}, "color": [colors.get(key, _PRIOR) for key in keys]}
    numbers = sum(x.isel(run=0).size if "run" in x.dims else x.size for x in panels.values())
    data = panels.expand_dims(curve=list(keys))
    if "run" in panels.dims:
        size = figure_size(backend, max(3.6 * panels.sizes["run"], 5), 2.8 * numbers + 0.5)
        return PlotCollection.grid(data, rows=["__variable__", *dims], cols=["run"], figure_kwargs=size, **style)
    columns = min(numbers, 3)
    size = figure_size(backend, 6.5 if columns == 1 else 4 * columns, 3.0 * -(-numbers // columns) + 0.5)
    return PlotCollection.wrap(data, cols=["__variable__", *dims], col_wrap=columns, figure_kwargs=size, **style)


def _chain_axes(
    collection: PlotCollection, panels: xr.Dataset, view: xr.Dataset, chains: Sequence[_Chain], rescale: bool
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
            draw.ylabel(_SPREAD if rescale else "o_k", target)
        draw.xticks(*_level_ticks(chain.last), target)
        width = max(width for _, width in _places(chain))
        draw.xlim((chain.last + 0.3 * width, -1.15 * width), target)
        draw.ylim(tuple(view[var_name].sel(number).values), target)

    decorate(collection, axes, panels, subset_info=True)


def _level_ticks(last: int, first: int = 0) -> tuple[list[int], list[str]]:
    """Three to six whole numbers, evenly spaced: up to the last, where that can be."""
    steps = [step * 10**power for power in range(7) for step in (1, 2, 4, 5, 8)]
    enough = [step for step in sorted(steps) if last <= 6 * step]
    step = next((step for step in enough if last % step == 0 and last >= 3 * step), enough[0])
    at = [k for k in range(0, last + 1, step) if k >= first]
    return at, [str(k) for k in at]


def _fill(da: xr.DataArray, target: Any, **style: Any) -> Any:
    """Fill an outline that starts and ends at its lowest value."""
    x, y = (da.sel(plot_axis=axis).values for axis in ("x", "y"))
    return backend_from_object(target).fill_between_y(x, np.full_like(y, y[0]), y, target, **style)


def _plane(chains: Sequence[_Chain], numbers: Sequence[_Number]) -> list[tuple[float, float]]:
    """Limits of both axes: for two numbers of one variable of the same length, so that a circle is one."""
    ends = []
    for number in numbers:
        view = _view(chains, number.name).isel(number.at).values
        ends.append((float(view[0]), float(view[1])))
    if numbers[0].name == numbers[1].name:
        half = max(high - low for low, high in ends) / 2
        ends = [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in ends]
    return ends


# Frames.


def _draw_frames(
    chains: Sequence[_Chain], numbers: Sequence[_Number], shown: Sequence[Sequence[int]], particles: int, rescale: bool
) -> list[Image.Image]:
    """Draw each frame with matplotlib, without pyplot: no window, no global style."""
    flat = len(numbers) == 1
    number = numbers[0]
    figure = Figure(
        figsize=(max(3.2 * len(chains), 4.2), 3.4 if flat else 3.8),
        dpi=100,
    )
    figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08))
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(chains), squeeze=False)[0]
    view = _view(chains, number.name)
    limits = [tuple(view.isel(number.at).values)] if flat else _plane(chains, numbers)
    known = any(chain.p0 is not None for chain in chains)
    figure.legend(handles=_handles(flat, known), loc="outside lower center", ncols=2, frameon=False)
    clouds = [chain.points(numbers, particles) for chain in chains]
    images: list[Image.Image] = []
    for frame in range(len(shown[0])):
        for ax, chain, which, (y, p0) in zip(panels, chains, shown, clouds, strict=True):
            level = which[frame]
            ax.clear()
            if flat:
                everyone = number.of(chain.y).sel(level=level).values
                ax.stairs(*np.histogram(everyone, bins=60, range=limits[0], density=True), fill=True, color=_ALL)
                if chain.p0 is not None:
                    curve = chain.prior_density(number.name, level, view).isel(number.at).values
                    ax.plot(*curve, color=_PRIOR, linewidth=1.2)
                ax.set(yticks=[])
                ax.set_xlabel(f"{number.label}: {_SPREAD}" if rescale else f"{number.label}: o_k")
            else:
                if level == 0:
                    ax.scatter(*p0, s=5, color=_PRIOR, linewidths=0)
                ax.scatter(*y[chain.levels.index(level)], s=5, color=_PARTICLE, alpha=0.6, linewidths=0)
                ax.set(ylim=limits[1], xlabel=number.label, ylabel=numbers[1].label)
                ax.set_box_aspect(1)
            ax.set_xlim(limits[0])
            ax.set_title((f"{chain.label}\n" if chain.label else "") + chain.say(level), fontsize=10)
        canvas.draw()
        if not images:
            # The layout takes a second look, and is then kept: panels must not move.
            canvas.draw()
            figure.set_layout_engine("none")
            canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return images


def _handles(flat: bool, known: bool) -> list[Any]:
    """Entries of the legend: what a frame shows in one dimension or two."""
    if flat:
        return [
            Patch(color=_ALL, label="particles"),
            *([Line2D([], [], color=_PRIOR, label="p0, diffused to the level")] if known else []),
        ]
    dots = {"particles": _PARTICLE, **({"draws of p0 (at level 0)": _PRIOR} if known else {})}
    return [Line2D([], [], marker="o", linestyle="", color=color, label=label) for label, color in dots.items()]
