"""Compare the two inversions of one step, as pictures: its mode beside its posterior, its prior and its likelihood.

All return an ``arviz_plots.PlotCollection``: every artist is found by name in ``.viz``, and ``.savefig`` writes the
figure. The mode is always drawn as a line or a marker of its own. A density cannot show a single point, and in a forest
of two results ArviZ leaves out the one with fewer draws (arviz-plots issue 333). No global style is set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import arviz_plots.visuals as azv
import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_base.labels import BaseLabeller
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object
from arviz_stats.base import array_stats

from bayesdiff.comparison import check_pair, holds
from bayesdiff.plots.panels import (
    FEWER,
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

# Colours that colour-blind readers can tell apart (Okabe and Ito), with line styles that survive a black-and-white
# print.
_POSTERIOR, _PRIOR, _LIKELIHOOD, _OBSERVED, _MODE = "#0072B2", "#777777", "#E69F00", "#009E73", "#D55E00"
_STYLE = {
    "posterior": (_POSTERIOR, "C0"),
    "prior": (_PRIOR, "C1"),
    "likelihood": (_LIKELIHOOD, "C3"),
    "MAP": (_MODE, "C0"),
    "o / alpha": (_OBSERVED, "C2"),
}
_POINTS = 512


def plot_step(
    posterior_tree: xr.DataTree,
    map_tree: xr.DataTree | None = None,
    *,
    observation: Any = None,
    var_names: str | Sequence[str] | None = None,
    coords: Mapping[str, Any] | None = None,
    prior: bool = True,
    likelihood: bool = True,
    backend: str | None = None,
) -> PlotCollection:
    r"""Draw one step: posterior, prior, likelihood and mode, one panel for each number in x.

    .. math:: p(x \mid o) \propto N(o; \alpha x, \sigma^2 I)\, p_0(x)

    Parameters
    ----------
    posterior_tree : xarray.DataTree
        What ``sample_posterior`` returned.
    map_tree : xarray.DataTree, optional
        What ``find_map`` returned for the same step. The mode is a vertical line.
    observation : label, optional
        Which observation of a batch. The first one unless given; the title says which.
    var_names : str or sequence of str, optional
        The variables to draw. All, unless given.
    coords : mapping, optional
        The components to draw: ``{"school": ["Choate", "Deerfield"]}``.
    prior : bool
        Draw the density of the prior draws, where there are any.
    likelihood : bool
        Draw N(o; alpha x, sigma^2) as a density in x, and o / alpha. Noise acts on unconstrained coordinates, so both
        are drawn only for variables whose values are the same there: not for a positive variable, nor for a
        Deterministic.
    backend : {"matplotlib", "bokeh", "plotly", "none"}, optional
        ArviZ's default unless given.

    Returns
    -------
    arviz_plots.PlotCollection
        With the visuals ``posterior``, ``prior``, ``likelihood``, ``map``, ``observed`` (o / alpha).

    Raises
    ------
    TypeError
        If an argument is no DataTree.
    ValueError
        If the trees do not belong together, a name, label or observation is unknown, the observation could not be
        inverted, or there are more panels than ``arviz_base.rcParams["plot.max_subplots"]``.

    Notes
    -----
    A panel shows the posterior, the mode and o / alpha whole, and at most as much of the prior again on either side.
    Densities are ArviZ's kernel estimates; those of the prior count the draws beyond the panel, so heights can be
    compared.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> x = dataset({"x": np.random.default_rng(1).normal(size=(4, 500))}, sample_dims=("chain", "draw"))
    >>> collection = plot_step(tree({"posterior": x}, {"inversion": "posterior"}), backend="none")
    >>> sorted(collection.viz["posterior"].data_vars)
    ['x']
    """
    _check_tree(posterior_tree, "posterior", "plot_step(posterior_tree, map_tree)")
    if map_tree is not None:
        check_pair(map_tree, posterior_tree)
    batch = posterior_tree["posterior"].sizes.get("observation")
    draws = _select(posterior_tree, "posterior", observation, coords)
    names = names_of(var_names, draws)
    check_panels(_count(draws[names]), "plot_step")

    data = _step_data(posterior_tree, map_tree, draws[names], observation, coords, prior, likelihood)
    shown = [key for key in _STYLE if any(value.notnull().any() for value in data[key].values())]
    collection = _panels(data["MAP"], shown, backend)
    for key in ("likelihood", "prior", "posterior"):
        if key in shown:
            curve = data[key].assign_coords(plot_axis=["x", "y"])
            collection.map(azv.line_xy, key, data=curve, coords={"curve": key}, width=2)
    # o / alpha is dotted and on top: where it coincides with the mode, both are seen.
    for key, visual, width in (("MAP", "map", 3), ("o / alpha", "observed", 2)):
        if key in shown:
            collection.map(azv.vline, visual, data=data[key], coords={"curve": key}, width=width)
    decorate(collection, lambda da, target: azv.set_xlim(da, target, limits=tuple(da.values)), data["view"])
    decorate(collection, lambda da, target: azv.remove_axis(da, target, axis="y"), data["view"])
    decorate(collection, azv.labelled_title, data["view"], subset_info=True, labeller=BaseLabeller())
    legend(collection)
    if batch is not None:
        collection.add_title(f"observation {draws['observation'].item()} of a batch of {batch}")
    return collection


def _step_data(
    posterior_tree: xr.DataTree,
    map_tree: xr.DataTree | None,
    draws: xr.Dataset,
    observation: Any,
    coords: Mapping[str, Any] | None,
    prior: bool,
    likelihood: bool,
) -> dict[str, xr.Dataset]:
    """Everything that plot_step draws, by its key in _STYLE, and the limits of each panel. What there is not is NaN."""
    drawn: dict[str, dict[Any, xr.DataArray]] = {key: {} for key in (*_STYLE, "view")}
    sample, curve = ["chain", "draw"], ["plot_axis", "point"]
    for name, x in draws.items():
        if x.isnull().all():
            raise ValueError(f"{name!r} has no posterior here: this observation could not be inverted. Choose another.")
        nothing = xr.full_like(x.isel(chain=0, draw=0, drop=True), np.nan, dtype=float)
        p0, mode, center, spread = nothing.expand_dims("prior_draw"), nothing, nothing, nothing
        if prior and "prior" in posterior_tree.children and name in posterior_tree["prior"]:
            p0 = _prior(posterior_tree, str(name), coords)
        if map_tree is not None:
            mode = _select(map_tree, "posterior", observation, coords)[name].isel(chain=0, draw=0, drop=True)
        if likelihood and _untransformed(posterior_tree, str(name), observation, coords):
            step = _select(posterior_tree, "step", observation, coords)
            center = _select(posterior_tree, "step/o", observation, coords)[name] / step["alpha"]
            spread = nothing.fillna(0) + step["sigma"] / abs(step["alpha"])
        view = per_number(view_of, x, p0, mode, center, core=[sample, ["prior_draw"], [], []], out=["side"])
        drawn["view"][name], drawn["MAP"][name], drawn["o / alpha"][name] = view, mode, center
        drawn["posterior"][name] = per_number(_density, x, view, core=[sample, ["side"]], out=curve)
        drawn["prior"][name] = per_number(_density, p0, view, core=[["prior_draw"], ["side"]], out=curve)
        drawn["likelihood"][name] = per_number(_gaussian, center, spread, view, core=[[], [], ["side"]], out=curve)
    return {key: xr.Dataset(values) for key, values in drawn.items()}


def plot_compare(
    map_tree: xr.DataTree,
    posterior_tree: xr.DataTree,
    *,
    var_names: str | Sequence[str] | None = None,
    coords: Mapping[str, Any] | None = None,
    max_observations: int = 40,
    backend: str | None = None,
) -> PlotCollection:
    """Draw the mode beside the posterior's mean and intervals, one row for each of them.

    For one observation: one panel for each variable, rows are its components. For a batch: one panel for each number in
    x, rows are observations.

    Parameters
    ----------
    map_tree : xarray.DataTree
        What ``find_map`` returned.
    posterior_tree : xarray.DataTree
        What ``sample_posterior`` returned for the same step.
    var_names : str or sequence of str, optional
        The variables to draw. All, unless given.
    coords : mapping, optional
        The components (or the observations) to draw: ``{"school": ["Choate", "Deerfield"]}``.
    max_observations : int
        At most so many rows of a batch, spread evenly over it. The title says what share is shown.
    backend : {"matplotlib", "bokeh", "plotly", "none"}, optional
        ArviZ's default unless given.

    Returns
    -------
    arviz_plots.PlotCollection
        With the visuals ``wide`` and ``narrow`` (the central interval of ``arviz_base.rcParams["stats.ci_prob"]``, 89%
        unless changed, and that of 50%), ``mean`` and ``map``. An observation that could not be inverted is an empty
        row.

    Raises
    ------
    TypeError
        If an argument is no DataTree.
    ValueError
        If the trees do not belong together (see ``compare``), a name or label is unknown, ``max_observations`` is below
        1, or there are more panels than ``arviz_base.rcParams["plot.max_subplots"]``.

    Examples
    --------
    With results: ``plot_compare(find_map(prior, o, sigma=10), sample_posterior(prior, o, sigma=10))``. Here by hand:

    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> sample, o = ("chain", "draw"), dataset({"x": 10.0})
    >>> def inversion(kind, x):
    ...     values, lp = dataset({"x": x}, sample_dims=sample), dataset({"lp": -(x**2)}, sample_dims=sample)
    ...     groups = {"posterior": values, "unconstrained_posterior": values, "sample_stats": lp}
    ...     step = {"step": dataset({"alpha": 1.0, "sigma": 10.0}), "step/o": o, "laplace": o}
    ...     return tree({**groups, **step}, {"inversion": kind})
    >>> draws = 0.1 + np.random.default_rng(1).normal(size=(4, 100))
    >>> collection = plot_compare(inversion("map", np.array([[0.1]])), inversion("posterior", draws), backend="none")
    >>> collection.get_viz("map", "x")["x"].item()
    0.1
    """
    check_pair(map_tree, posterior_tree)
    whole = isinstance(max_observations, int | np.integer) and not isinstance(max_observations, bool)
    if not whole or max_observations < 1:
        raise ValueError(f"max_observations is {max_observations!r}. Show at least 1, a whole number.")
    draws, modes = (_select(tree, "posterior", None, coords, batch=True) for tree in (posterior_tree, map_tree))
    names = names_of(var_names, draws)
    total = draws.sizes.get("observation")
    if total is not None:
        rows = np.unique(np.linspace(0, total - 1, min(total, max_observations)).round().astype(int))
        draws, modes = draws.isel(observation=rows), modes.isel(observation=rows)

    numbers = _count(draws[names], ("chain", "draw", "observation"))
    most = 150
    if total is not None:
        check_panels(numbers, "plot_compare")
    elif numbers > most:
        raise ValueError(f"plot_compare would draw {numbers} rows, at most {most} fit. {FEWER}")

    probability = rcParams["stats.ci_prob"]
    levels = [0.5 - probability / 2, 0.25, 0.75, 0.5 + probability / 2]
    drawn: dict[str, dict[str, xr.DataArray]] = {key: {} for key in ("wide", "narrow", "mean", "map")}
    labels: dict[str, list[str]] = {}
    for name in names:
        x, labels[name] = _rows(draws[name], total is not None)
        mode, _ = _rows(modes[name], total is not None)
        quantiles = per_number(_quantiles, x, core=[["chain", "draw"]], out=["level"], levels=levels)
        drawn["wide"][name] = _segments(quantiles.isel(level=0), quantiles.isel(level=3))
        drawn["narrow"][name] = _segments(quantiles.isel(level=1), quantiles.isel(level=2))
        drawn["mean"][name] = _markers(x.mean(("chain", "draw")))
        drawn["map"][name] = _markers(mode.isel(chain=0, draw=0, drop=True))
    data = {key: xr.Dataset(values).assign_coords(plot_axis=["x", "y"]) for key, values in drawn.items()}

    keys = [f"posterior: mean,\n50% and {probability:.0%} interval", "MAP"]
    collection = _forest(data["map"].isel(plot_axis=0, drop=True), keys, labels, total is not None, backend)
    for visual, width in (("wide", 1.5), ("narrow", 4)):
        collection.map(azv.line_xy, visual, data=data[visual], coords={"curve": keys[0]}, width=width)
    for visual, key, marker, size in (("mean", keys[0], "C0", 30), ("map", keys[1], "C4", 50)):
        collection.map(azv.scatter_xy, visual, data=data[visual], coords={"curve": key}, marker=marker, size=size)
    legend(collection)
    if total is not None:
        shown = draws.sizes["observation"]
        part = f" of {total:,}" if shown < total else ""
        share = f" ({100 * shown / total:.2g}%)" if shown < total else ""
        collection.add_title(f"{shown}{part} observations{share}")
    return collection


def plot_population(
    map_tree: xr.DataTree,
    posterior_tree: xr.DataTree | None = None,
    var_name: str | None = None,
    *,
    coords: Mapping[str, Any] | None = None,
    backend: str | None = None,
) -> PlotCollection:
    """Draw what the two inversions make of a whole batch of observations, against the prior that they came from.

    Where o was drawn from the model, one posterior draw for each o is a draw from the prior again: their histogram has
    its shape. The modes do not: they lie closer together, the more so the wider the step.

    Parameters
    ----------
    map_tree : xarray.DataTree
        What ``find_map`` returned for a batch.
    posterior_tree : xarray.DataTree, optional
        What ``sample_posterior`` returned for the same batch. The last draw of the first chain is taken of each.
    var_name : str, optional
        The variable. Needed where there are several.
    coords : mapping, optional
        The components to draw, one row of panels each.
    backend : {"matplotlib", "bokeh", "plotly", "none"}, optional
        ArviZ's default unless given.

    Returns
    -------
    arviz_plots.PlotCollection
        With the visuals ``histogram`` and ``prior`` and the dimension ``inversion`` (``map``, ``posterior``).

    Raises
    ------
    TypeError
        If an argument is no DataTree.
    ValueError
        If there is no batch, the trees do not belong together, a name or label is unknown, or there are too many
        panels.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> modes = np.random.default_rng(1).normal(size=(1, 1, 100)) / 10
    >>> modes = dataset({"x": modes}, sample_dims=("chain", "draw"), dims={"x": ["observation"]})
    >>> collection = plot_population(tree({"posterior": modes}, {"inversion": "map"}), backend="none")
    >>> bars = collection.get_viz("histogram", "x")
    >>> round(float(((bars["r_e"] - bars["l_e"]) * bars["y"]).sum()), 9)
    1.0
    """
    if posterior_tree is not None:
        check_pair(map_tree, posterior_tree)
    _check_tree(map_tree, "map", "plot_population(map_tree, posterior_tree)")
    modes = _select(map_tree, "posterior", None, coords, batch=True)
    if "observation" not in modes.dims:
        raise ValueError(
            "map_tree holds one observation. A histogram needs many: give find_map an o with a leading axis."
        )
    if var_name is None and len(modes) != 1:
        raise ValueError(f"There are several variables: name one of {list(modes)} in var_name=.")
    name = names_of(var_name, modes)[0]
    found = {"map": modes[name].isel(chain=0, draw=0, drop=True)}
    if posterior_tree is not None:
        draws = _select(posterior_tree, "posterior", None, coords, batch=True)[name]
        found["posterior"] = draws.isel(chain=0, draw=-1, drop=True)
    values = xr.concat(list(found.values()), "inversion").assign_coords(inversion=list(found))
    dims = [dim for dim in values.dims if dim not in ("inversion", "observation")]
    check_panels(values.isel(observation=0).size, "plot_population")
    p0 = values.isel(observation=slice(0, 0)).isel(inversion=0, drop=True).rename(observation="prior_draw")
    if "prior" in map_tree.children and name in map_tree["prior"]:
        p0 = _prior(map_tree, name, coords)

    both = ["inversion", "observation"]
    view = per_number(view_of, values, p0, core=[both, ["prior_draw"]], out=["side"], reach=np.inf)
    prior = per_number(_density, p0, view, core=[["prior_draw"], ["side"]], out=["plot_axis", "point"])
    bars = per_number(_histogram, values, core=[["observation"]], out=["plot_axis", "bin"])
    sd, prior_sd = values.std("observation", ddof=1), p0.std("prior_draw")
    said = {"map": "mode of each posterior", "posterior": "one draw of each posterior"}
    titles = xr.full_like(sd, "", dtype=object)
    for index in np.ndindex(sd.shape):
        at = sd[index]
        sel = {dim: at[dim].item() for dim in dims}
        label = BaseLabeller().make_label_flat(name, sel, dict.fromkeys(sel, 0))
        titles[index] = f"{label}: {said[at['inversion'].item()]}\nsd {at.item():.2g}"
        if p0.sizes["prior_draw"]:
            titles[index] += f", prior {prior_sd.sel(sel).item():.2g}"

    keys = [f"{values.sizes['observation']:,} observations", *(["prior"] if prior.notnull().any() else [])]
    rows = math.prod(values.sizes[dim] for dim in dims)
    collection = PlotCollection.grid(
        sd.to_dataset(name=name).expand_dims(curve=keys),
        rows=dims,
        cols=["inversion"],
        backend=(backend := backend_of(backend)),
        aes={"color": ["curve"]},
        color=[_POSTERIOR, _PRIOR],
        figure_kwargs=figure_size(backend, max(3.6 * len(found), 4.5), 2.8 * rows + 0.4),
    )
    bars = bars.assign_coords(plot_axis=["histogram", "left_edges", "right_edges"])
    collection.map(azv.hist, "histogram", data=bars.to_dataset(name=name), coords={"curve": keys[0]}, alpha=0.5)
    every = xr.DataArray(np.ones(len(found)), dims="inversion", coords={"inversion": list(found)})
    if "prior" in keys:
        curve = (prior * every).assign_coords(plot_axis=["x", "y"]).to_dataset(name=name)
        collection.map(azv.line_xy, "prior", data=curve, coords={"curve": "prior"}, width=2)
    limits = (view * every).to_dataset(name=name)
    decorate(collection, lambda da, target: azv.set_xlim(da, target, limits=tuple(da.values)), limits)
    decorate(collection, lambda da, target: azv.remove_axis(da, target, axis="y"), limits)
    decorate(
        collection, lambda da, target: azv.labelled_title(da, target, text=da.item()), titles.to_dataset(name=name)
    )
    legend(collection)
    return collection


def _check_tree(tree: Any, kind: str, call: str) -> None:
    source = {"map": "find_map", "posterior": "sample_posterior"}[kind]
    if not isinstance(tree, xr.DataTree):
        raise TypeError(f"{kind}_tree is a {type(tree).__name__}. Pass the DataTree that {source} returned: {call}.")
    if (other := tree.attrs.get("inversion", kind)) != kind:
        raise ValueError(f"{kind}_tree is an inversion by {other}. Pass what {source} returned: {call}.")
    if "posterior" not in tree.children or not tree["posterior"].data_vars:
        raise ValueError(f"{kind}_tree has no group 'posterior' with variables. Pass what {source} returned.")


def _select(
    tree: xr.DataTree, group: str, observation: Any, coords: Mapping[str, Any] | None, batch: bool = False
) -> xr.Dataset:
    """Take a group's part at one observation (unless ``batch``) and at the labels in ``coords``."""
    ds = tree[group].to_dataset()
    check_coords(coords)
    chosen = {dim: np.atleast_1d(label) for dim, label in (coords or {}).items() if dim in ds.dims}
    if not batch and "observation" in ds.dims:
        chosen["observation"] = ds["observation"].values[0] if observation is None else observation
    for dim, label in chosen.items():
        unknown = [item for item in np.atleast_1d(label).tolist() if item not in ds[dim].values.tolist()]
        if unknown:
            raise ValueError(f"{dim!r} has no label {unknown[0]!r}. It has {some(ds[dim].values.tolist())}.")
    if group == "posterior":
        for dim in {**(coords or {}), **({} if observation is None else {"observation": observation})}:
            if dim not in ds.dims:
                raise ValueError(f"There is no dimension {dim!r}. There are {some(sorted(map(str, ds.dims)))}.")
    return ds.sel(chosen)


def _prior(tree: xr.DataTree, name: str, coords: Mapping[str, Any] | None) -> xr.DataArray:
    draws = _select(tree, "prior", None, coords)[name]
    return draws.stack(prior_draw=("chain", "draw"), create_index=False)


def _untransformed(tree: xr.DataTree, name: str, observation: Any, coords: Mapping[str, Any] | None) -> bool:
    """Tell whether a variable is the same in unconstrained coordinates, so that o and x share an axis."""
    if not (holds(tree, "unconstrained_posterior") and holds(tree, "step/o")):
        return False
    if name not in tree["unconstrained_posterior"] or name not in tree["step/o"]:
        return False
    groups = (_select(tree, group, observation, coords)[name] for group in ("posterior", "unconstrained_posterior"))
    constrained, free = (values.variable for values in groups)
    return constrained.equals(free)


def _count(ds: xr.Dataset, without: Sequence[str] = ("chain", "draw")) -> int:
    """Count the panels: one for each number, over all variables."""
    return sum(math.prod(size for dim, size in x.sizes.items() if dim not in without) for x in ds.values())


def _density(x: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Estimate the density of x within a panel; draws beyond it count. A constant becomes a spike."""
    known = x[np.isfinite(x)]
    inside = known[(known >= view[0]) & (known <= view[1])]
    if len(inside) == 0:
        return np.full((2, _POINTS), np.nan)
    if np.ptp(inside) <= 1e-12 * np.abs(inside).max():
        return np.stack([np.full(_POINTS, inside[0]), np.linspace(0, 1, _POINTS)])
    grid, height, _ = array_stats.kde(inside, grid_len=_POINTS, bw="isj", bw_fct=1.5)
    return np.stack([grid, height * len(inside) / len(known)])


def _gaussian(center: float, spread: float, view: np.ndarray) -> np.ndarray:
    """N(x; center, spread^2) on a grid that resolves it, however narrow, within a panel."""
    if not np.isfinite(center + spread):
        return np.full((2, _POINTS), np.nan)
    near = np.linspace(center - 5 * spread, center + 5 * spread, _POINTS // 2)
    x = np.sort(np.r_[np.linspace(view[0], view[1], _POINTS // 2), np.clip(near, *view)])
    return np.stack([x, np.exp(-0.5 * ((x - center) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))])


def _histogram(x: np.ndarray) -> np.ndarray:
    """Heights (a density), left and right edges of as many bars as suit the number of values."""
    bins = int(np.clip(np.sqrt(len(x)), 8, 60))
    heights, edges = np.histogram(x[np.isfinite(x)], bins=bins, density=True)
    return np.stack([heights, edges[:-1], edges[1:]])


def _quantiles(x: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    return np.quantile(x, levels)


def _rows(x: xr.DataArray, batch: bool) -> tuple[xr.DataArray, list[str]]:
    """Give x (chain, draw, *panels, row), and a label for every row."""
    row = f"{x.name}_row"
    if batch:
        labels = [str(label) for label in x["observation"].values]
        return x.rename(observation=row).drop_vars(row, errors="ignore").transpose("chain", "draw", ..., row), labels
    dims = [dim for dim in x.dims if dim not in ("chain", "draw")]
    shape = [x.sizes[dim] for dim in dims]
    labels = [
        BaseLabeller().make_label_flat(
            str(x.name), {d: x[d].values[i] for d, i in zip(dims, at, strict=True)}, dict(zip(dims, at, strict=True))
        )
        for at in np.ndindex(*shape)
    ]
    flat = x.transpose("chain", "draw", *dims).values.reshape(x.sizes["chain"], x.sizes["draw"], -1)
    return xr.DataArray(flat, dims=["chain", "draw", row], name=x.name), labels


def _segments(low: xr.DataArray, high: xr.DataArray) -> xr.DataArray:
    """One line for all rows of a panel, broken by NaN."""
    gap = np.full(low.shape, np.nan)
    height = np.broadcast_to(np.arange(low.shape[-1])[::-1], low.shape)
    return _path(low, np.stack([low, high, gap], -1), np.stack([height, height, gap], -1))


def _markers(x: xr.DataArray) -> xr.DataArray:
    return _path(x, x.values[..., None], np.broadcast_to(np.arange(x.shape[-1])[::-1], x.shape)[..., None])


def _path(like: xr.DataArray, x: np.ndarray, y: np.ndarray) -> xr.DataArray:
    row = like.dims[-1]
    panels = like.isel({row: 0}, drop=True)
    flat = [np.asarray(a, dtype=float).reshape(*panels.shape, -1) for a in (x, y)]
    return xr.DataArray(np.stack(flat, -2), dims=[*panels.dims, "plot_axis", f"{row}_point"], coords=panels.coords)


def _panels(ds: xr.Dataset, keys: Sequence[str], backend: str | None) -> PlotCollection:
    """One panel for each number in ``ds``, at most four in a row; ``keys`` are the curves in them."""
    backend = backend_of(backend)
    count = _count(ds)
    columns = min(count, 4)
    return PlotCollection.wrap(
        ds.expand_dims(curve=list(keys)),
        cols=["__variable__", *ds.dims],
        col_wrap=columns,
        backend=backend,
        aes={"color": ["curve"], "linestyle": ["curve"]},
        color=[_STYLE[key][0] for key in keys],
        linestyle=[_STYLE[key][1] for key in keys],
        figure_kwargs=figure_size(backend, max(3.0 * columns, 5), 2.4 * -(-count // columns) + 0.7),
    )


def _forest(
    ds: xr.Dataset, keys: Sequence[str], labels: Mapping[str, Sequence[str]], batch: bool, backend: str | None
) -> PlotCollection:
    """Panels with a labelled row for each entry: side by side for a batch, else one above the other."""
    backend = backend_of(backend)
    points = [dim for dim in ds.dims if str(dim).endswith("_row_point")]
    panels = ds.isel(dict.fromkeys(points, 0), drop=True)
    rows = [len(labels[str(name)]) for name in ds.data_vars]
    style = {"backend": backend, "aes": {"color": ["curve"]}, "color": [_POSTERIOR, _MODE]}
    data = panels.expand_dims(curve=list(keys))
    if batch:
        count = _count(panels)
        columns = min(count, 4)
        height = (0.23 * rows[0] + 0.9) * -(-count // columns) + 0.7
        size = figure_size(backend, max(2.8 * columns, 5), height, sharey=True)
        cols = ["__variable__", *panels.dims]
        collection = PlotCollection.wrap(data, cols=cols, col_wrap=columns, figure_kwargs=size, **style)
        decorate(collection, azv.labelled_title, panels, subset_info=True, labeller=BaseLabeller())
    else:
        size = figure_size(backend, 7, 0.24 * sum(rows) + 0.55 * len(rows) + 0.5, height_ratios=[n + 0.5 for n in rows])
        collection = PlotCollection.grid(data, rows=["__variable__"], figure_kwargs=size, **style)

    def rows_of(da: xr.DataArray, target: Any, var_name: str, sel: Any, isel: Any) -> None:
        said = list(labels[var_name])
        draw = backend_from_object(target)
        draw.yticks(np.arange(len(said))[::-1], said, target)
        draw.ylim((-0.7, len(said) - 0.3), target)

    decorate(collection, rows_of, panels, subset_info=True)
    return collection
