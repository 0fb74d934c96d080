"""Compare the two inversions of one step, as pictures: its mode beside its posterior, its prior and its likelihood.

All return an ``arviz_plots.PlotCollection``: every artist is found by name in ``.viz``, and ``.savefig`` writes the
figure. The mode is always drawn as a line or a marker of its own. A density cannot show a single point, and in a forest
of two results ArviZ leaves out the one with fewer draws (arviz-plots issue 333). No global style is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import arviz_plots.visuals as azv
import numpy as np
import xarray as xr
from arviz_base import rcParams, xarray_sel_iter
from arviz_base.labels import BaseLabeller
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object
from arviz_stats.base import array_stats

from bayesdiff.checks import positive_int
from bayesdiff.comparison import check_pair, check_tree, holds
from bayesdiff.pictures import SAMPLE, even
from bayesdiff.plots import panels

# Okabe and Ito's colours, with line styles that survive a black-and-white print.
STYLE = {
    "posterior": ("#0072B2", "C0"),
    "prior": ("#777777", "C1"),
    "likelihood": ("#E69F00", "C3"),
    "MAP": ("#D55E00", "C0"),
    "o / alpha": ("#009E73", "C2"),
}


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
    _check_draws(posterior_tree, "posterior", "plot_step(posterior_tree, map_tree)")
    if map_tree is not None:
        check_pair(map_tree, posterior_tree)
    whole = posterior_tree["posterior"].to_dataset()
    batch = whole.sizes.get("observation")
    at: dict[Any, Any] = panels.labels_of(coords, whole)
    if observation is not None or batch is not None:
        label = at.get("observation", whole["observation"].values[:1]) if observation is None else observation
        at["observation"] = panels.labels_of({"observation": label}, whole)["observation"]
        if len(at["observation"]) != 1:
            raise ValueError(f"observation is {label!r}. Write the label of one.")
        at["observation"] = at["observation"][0]
    draws = whole[panels.names_of(var_names, whole)].sel(at)
    panels.check(panels.size(draws.isel(chain=0, draw=0)), "plot_step")
    for name, x in draws.items():
        if x.isnull().all():
            raise ValueError(f"{name!r} has no posterior here: this observation could not be inverted. Choose another.")

    # What there is not is NaN.
    nothing = xr.full_like(draws.isel(chain=0, draw=0, drop=True), np.nan, dtype=float)
    p0 = _prior(posterior_tree if prior else xr.DataTree(), at, nothing)
    mode = nothing
    if map_tree is not None:
        mode = nothing.assign(_at(map_tree, "posterior", at)[[*draws]].isel(chain=0, draw=0, drop=True))
    center, noise = _noisy(posterior_tree, at, nothing) if likelihood else (nothing, nothing)
    view = _per_number(panels.view_of, draws, p0, mode, center, core=[SAMPLE, ["prior_draw"], [], []], out=["side"])
    data = {
        "posterior": _curve(_density, draws, view, core=SAMPLE),
        "prior": _curve(_density, p0, view, core=["prior_draw"]),
        "likelihood": _curve(_gaussian, xr.concat([center, noise], "moment"), view, core=["moment"]),
        "MAP": mode,
        "o / alpha": center,
    }
    shown = {key: look for key, look in STYLE.items() if any(x.notnull().any() for x in data[key].values())}
    collection = panels.empty(nothing, backend, shown)
    for key in ("likelihood", "prior", "posterior"):
        if key in shown:
            collection.map(azv.line_xy, key, data=data[key], coords={"curve": key}, width=2)
    # o / alpha is dotted and on top: where it coincides with the mode, both are seen.
    for key, visual, width in (("MAP", "map", 3), ("o / alpha", "observed", 2)):
        if key in shown:
            collection.map(azv.vline, visual, data=data[key], coords={"curve": key}, width=width)
    _finish(collection, view)
    if batch is not None:
        collection.add_title(f"observation {draws['observation'].item()} of a batch of {batch}")
    return collection


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
    positive_int(max_observations, "max_observations")
    whole = posterior_tree["posterior"].to_dataset()
    at, names = panels.labels_of(coords, whole), panels.names_of(var_names, whole)
    draws, modes = whole.sel(at), _at(map_tree, "posterior", at)
    total = draws.sizes.get("observation")
    shown = even(total or 1, max_observations)
    draws, modes = (ds[names].isel(observation=shown, missing_dims="ignore") for ds in (draws, modes))
    modes = modes.isel(chain=0, draw=0, drop=True)
    probability = rcParams["stats.ci_prob"]
    keys = [f"posterior: mean,\n50% and {probability:.0%} interval", "MAP"]
    looks = {key: STYLE[name][:1] for key, name in zip(keys, ("posterior", "MAP"), strict=True)}
    rows = xr.zeros_like(modes)  # what is in a panel, a row each
    if total is not None:
        each = (2.8, 0.23 * len(shown) + 0.9)
        number = rows.isel(observation=0, drop=True)
        panels.check(panels.size(number), "plot_compare")
        collection = panels.empty(number, backend, looks, each=each, sharey=True)
        panels.decorate(collection, azv.labelled_title, number, labeller=BaseLabeller())
    else:
        tall = [x.size for x in rows.values()]
        if sum(tall) > 150:
            raise ValueError(
                f"plot_compare would draw {sum(tall)} rows, at most 150 fit. Choose fewer in var_names= or coords=."
            )
        collection = panels.empty(
            xr.Dataset(dict.fromkeys(names, 0)), backend, looks, rows=["__variable__"], most=1,
            each=(7, 0.24 * sum(tall) / len(tall) + 0.55), below=0.5, height_ratios=[n + 0.5 for n in tall],
        )  # fmt: skip
    for visual, share, width in (("wide", probability, 1.5), ("narrow", 0.5, 4)):
        ends = draws.quantile([0.5 - share / 2, 0.5 + share / 2], SAMPLE, skipna=False)
        collection.map(_intervals, visual, data=ends, coords={"curve": keys[0]}, width=width)
    collection.map(_markers, "mean", data=draws.mean(SAMPLE), coords={"curve": keys[0]}, marker="C0", size=30)
    collection.map(_markers, "map", data=modes, coords={"curve": keys[1]}, marker="C4", size=50)

    def named(da: xr.DataArray, target: Any, var_name: str, sel: Any, isel: Any) -> None:
        said = [
            BaseLabeller().make_label_flat(*row)
            for row in xarray_sel_iter(da.to_dataset(name=var_name), skip_dims=set())
        ]
        if total is not None:
            said = [str(label) for label in da["observation"].values]
        draw = backend_from_object(target)
        draw.yticks(np.arange(len(said))[::-1], said, target)
        draw.ylim((-0.7, len(said) - 0.3), target)

    panels.decorate(collection, named, rows)
    panels.legend(collection)
    if total is not None:
        few = len(shown) < total
        part, share = (f" of {total:,}", f" ({100 * len(shown) / total:.2g}%)") if few else ("", "")
        collection.add_title(f"{len(shown)}{part} observations{share}")
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
    _check_draws(map_tree, "map", "plot_population(map_tree, posterior_tree)")
    whole = map_tree["posterior"].to_dataset()
    at = panels.labels_of(coords, whole, without=SAMPLE)
    if "observation" not in whole.dims:
        raise ValueError(
            "map_tree holds one observation. A histogram needs many: give find_map an o with a leading axis."
        )
    if var_name is None and len(whole) != 1:
        raise ValueError(f"There are several variables: name one of {list(whole)} in var_name=.")
    names = panels.names_of(var_name, whole)[:1]
    found = {"map": _at(map_tree, "posterior", at)[names].isel(chain=0, draw=0, drop=True)}
    if posterior_tree is not None:
        found["posterior"] = _at(posterior_tree, "posterior", at)[names].isel(chain=0, draw=-1, drop=True)
    values = xr.concat([*found.values()], "inversion").assign_coords(inversion=[*found])
    panels.check(panels.size(values.isel(observation=0)), "plot_population")
    p0 = _prior(map_tree, at, xr.full_like(values.isel(observation=0, inversion=0, drop=True), np.nan, dtype=float))
    core = [["inversion", "observation"], ["prior_draw"]]
    view = _per_number(panels.view_of, values, p0, core=core, out=["side"], reach=np.inf)
    bars = _per_number(_histogram, values, core=[["observation"]], out=["plot_axis", "bin"])
    sd, prior_sd = values.std("observation", ddof=1), p0.std("prior_draw")
    known = bool(p0[names[0]].notnull().any())

    said = {"map": "mode of each posterior", "posterior": "one draw of each posterior"}
    keys = [f"{values.sizes['observation']:,} observations", *(["prior"] if known else [])]
    looks = {key: STYLE[name][:1] for key, name in zip(keys, ("posterior", "prior"), strict=False)}
    dims = [dim for dim in sd.dims if dim != "inversion"]
    collection = panels.empty(sd, backend, looks, rows=dims, cols=["inversion"], each=(3.6, 2.8), least=4.5, below=0.4)
    bars = bars.assign_coords(plot_axis=["histogram", "left_edges", "right_edges"])
    collection.map(azv.hist, "histogram", data=bars, coords={"curve": keys[0]}, alpha=0.5)
    if known:
        curve = _curve(_density, p0, view, core=["prior_draw"]).expand_dims(inversion=[*found])
        collection.map(azv.line_xy, "prior", data=curve, coords={"curve": "prior"}, width=2)

    def title(name: str, sel: Mapping[str, Any], isel: Any) -> str:
        number = {dim: each for dim, each in sel.items() if dim != "inversion"}
        told = f"{BaseLabeller().make_label_flat(name, number, number)}: {said[sel['inversion']]}"
        told += f"\nsd {sd[name].sel(sel).item():.2g}"
        return told + (f", prior {prior_sd[name].sel(number).item():.2g}" if known else "")

    _finish(collection, view.expand_dims(inversion=[*found]), title)
    return collection


def _check_draws(tree: Any, kind: str, call: str) -> None:
    """Raise unless a tree has something to draw of one kind, map or posterior."""
    source = check_tree(tree, kind, call)
    if "posterior" not in tree.children or not tree["posterior"].data_vars:
        raise ValueError(f"{kind}_tree has no group 'posterior' with variables. Pass what {source} returned.")


def _at(tree: xr.DataTree, group: str, at: Mapping[Any, Any]) -> xr.Dataset:
    """A group of a tree at these labels, of those dimensions that it has: but for those of the draws, which differ."""
    ds = tree[group].to_dataset()
    return ds.sel({dim: label for dim, label in at.items() if dim in ds.dims and dim not in SAMPLE})


def _prior(tree: xr.DataTree, at: Mapping[Any, Any], nothing: xr.Dataset) -> xr.Dataset:
    """Draws of p0 (prior_draw, ...) of the variables of ``nothing``: NaN where there are none."""
    draws = _at(tree, "prior", at) if "prior" in tree.children else xr.Dataset()
    draws = draws[[name for name in nothing if name in draws]]
    draws = draws.stack(prior_draw=SAMPLE, create_index=False).drop_vars(SAMPLE) if draws else draws
    return nothing.expand_dims(prior_draw=draws.sizes.get("prior_draw", 1)).assign(draws)


def _noisy(tree: xr.DataTree, at: Mapping[Any, Any], nothing: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Mean and sd of N(o; alpha x, sigma^2) in x, of variables that are the same in unconstrained coordinates."""
    if not (holds(tree, "unconstrained_posterior") and holds(tree, "step/o")):
        return nothing, nothing
    x, free, o, step = (_at(tree, name, at) for name in ("posterior", "unconstrained_posterior", "step/o", "step"))
    same = [name for name in nothing if name in free and name in o and x[name].variable.equals(free[name].variable)]
    center = nothing.assign(o[same] / step["alpha"])
    return center, 0 * center + step["sigma"] / abs(step["alpha"])


def _per_number(function: Callable[..., np.ndarray], *of: xr.Dataset, core: Any, out: Any, **how: Any) -> xr.Dataset:
    """Apply a function of the ``core`` dimensions to each number of x by itself."""
    return xr.apply_ufunc(
        function, *of, input_core_dims=core, output_core_dims=[out], vectorize=True, kwargs=how, keep_attrs=False
    )


def _curve(function: Callable[..., np.ndarray], x: xr.Dataset, view: xr.Dataset, core: Sequence[str]) -> xr.Dataset:
    """A line in each panel, as ArviZ draws it."""
    line = _per_number(function, x, view, core=[core, ["side"]], out=["plot_axis", "point"])
    return line.assign_coords(plot_axis=["x", "y"])


def _finish(collection: PlotCollection, view: xr.Dataset, title: Callable[..., str] | None = None) -> None:
    """Limits and titles of panels of densities, whose height says nothing; and the legend."""

    def axes(da: xr.DataArray, target: Any, var_name: str, sel: Any, isel: Any) -> None:
        draw = backend_from_object(target)
        draw.xlim(tuple(da.values), target)
        draw.remove_axis(target, axis="y")
        draw.title((title or BaseLabeller().make_label_vert)(var_name, sel, isel), target)

    panels.decorate(collection, axes, view)
    panels.legend(collection)


def _intervals(ends: xr.DataArray, target: Any, **style: Any) -> Any:
    """One line for all rows of a panel, broken by NaN."""
    low, high = ends.transpose("quantile", ...).values.reshape(2, -1)
    gap, height = np.full(low.size, np.nan), np.arange(low.size)[::-1]
    x, y = np.stack([low, high, gap], 1).ravel(), np.stack([height, height, gap], 1).ravel()
    return backend_from_object(target).line(x, y, target, **style)


def _markers(x: xr.DataArray, target: Any, **style: Any) -> Any:
    """A marker in every row of a panel, the first at the top."""
    return backend_from_object(target).scatter(x.values.ravel(), np.arange(x.size)[::-1], target, **style)


def _density(x: np.ndarray, view: np.ndarray, points: int = 512) -> np.ndarray:
    """Estimate the density of x within a panel; draws beyond it count. A constant becomes a spike."""
    known = x[np.isfinite(x)]
    inside = known[(known >= view[0]) & (known <= view[1])]
    if len(inside) == 0:
        return np.full((2, points), np.nan)
    if np.ptp(inside) <= 1e-12 * np.abs(inside).max():
        return np.stack([np.full(points, inside[0]), np.linspace(0, 1, points)])
    grid, height, _ = array_stats.kde(inside, grid_len=points, bw="isj", bw_fct=1.5)
    return np.stack([grid, height * len(inside) / len(known)])


def _gaussian(moments: np.ndarray, view: np.ndarray, points: int = 256) -> np.ndarray:
    """N(x; mean, sd^2) on a grid that resolves it, however narrow, within a panel."""
    mean, sd = moments
    if not np.isfinite(mean + sd):
        return np.full((2, 2 * points), np.nan)
    near = np.linspace(mean - 5 * sd, mean + 5 * sd, points)
    x = np.sort(np.r_[np.linspace(view[0], view[1], points), np.clip(near, *view)])
    return np.stack([x, np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))])


def _histogram(x: np.ndarray) -> np.ndarray:
    """Heights (a density), left and right edges of as many bars as suit the number of values."""
    bins = int(np.clip(np.sqrt(len(x)), 8, 60))
    heights, edges = np.histogram(x[np.isfinite(x)], bins=bins, density=True)
    return np.stack([heights, edges[:-1], edges[1:]])
