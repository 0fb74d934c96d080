"""Look at a calibration: how far the ranks of true x among an inverter's draws are from uniform.

    ECDF of the ranks - that of uniform ranks, at fraction j / (L + 1), j = 1..L

A curve that stays in the grey band all along is what uniform ranks look like. Outside of it: a curve above zero and
then below has too many low and high ranks, so draws are too narrow; below and then above, too wide; above all along,
the truth lies below the draws, so they are too high.

Nothing here samples: all is read from the trees that `calibrate` and `calibrate_chain` returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import arviz_plots.visuals as azv
import xarray as xr
from arviz_base.labels import BaseLabeller
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object

from bayesdiff.plots import panels


def plot_calibration(
    results: xr.DataTree | Mapping[str, xr.DataTree],
    var_names: str | Sequence[str] | None = None,
    *,
    coords: Mapping[str, Any] | None = None,
    backend: str | None = None,
) -> PlotCollection:
    r"""Draw how far the ECDF of the ranks is from that of uniform ranks, one panel for each quantity, and its band.

    .. math:: \frac{1}{N} \#\{i : R_i < j\} - \frac{j}{L + 1}, \qquad j = 1..L

    Parameters
    ----------
    results : xarray.DataTree or mapping of str to xarray.DataTree
        What `calibrate` or `calibrate_chain` returned, or several by their labels: of one prior, drawn in one panel.
    var_names : str or sequence of str, optional
        The quantities to draw: variables, ``log_prior``, ``log_likelihood``. All, unless given.
    coords : mapping, optional
        The components to draw.
    backend : {"matplotlib", "bokeh", "plotly", "none"}, optional
        ArviZ's default unless given.

    Returns
    -------
    arviz_plots.PlotCollection
        With the visuals ``band``, ``zero`` and ``ecdf`` (dimension ``result``: the labels). The band is that of the
        whole family of quantities: a curve leaves it if and only if its quantity fails. Of several results with bands
        of their own the widest is drawn. The title has the ``p_family`` of each quantity, where
        there is one result.

    Raises
    ------
    TypeError
        If something is no DataTree.
    ValueError
        If there is none, one is no calibration, they rank different quantities or number of draws, a name or label is
        unknown, or there are more panels than ``arviz_base.rcParams["plot.max_subplots"]``.

    Notes
    -----
    ``arviz.plot_ecdf_pit(result)`` draws the same curves with a test of its own for each (and with ``coverage=True``
    those of central intervals).

    References
    ----------
    Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity and its applications in goodness-of-fit
    evaluation and multiple sample comparison, figure 2 and section 2.

    Examples
    --------
    With results: ``plot_calibration({"draw": draws, "mode": modes})``. Here by hand, of three ranks:

    >>> from bayesdiff.results import dataset, tree
    >>> at, fraction = {"fraction": [0.25, 0.5, 0.75]}, ["fraction"]
    >>> def curves(**values):
    ...     return dataset(values, dims=dict.fromkeys(values, fraction), coords=at)
    >>> p = dataset({"x": [0.5, 0.5]}, dims={"x": ["diagnostic"]})
    >>> p = p.assign_coords(diagnostic=["p_value", "p_family"])
    >>> groups = {"ecdf": curves(x=[0.0, 0.1, 0.0]), "band": curves(lower=[-0.2] * 3, upper=[0.2] * 3)}
    >>> result = tree({**groups, "diagnostics": p}, {"inversion": "calibration"})
    >>> collection = plot_calibration(result, backend="none")
    >>> collection.get_viz("ecdf", "x", result="")["y"].tolist()
    [0.0, 0.0, 0.1, 0.0, 0.0]
    """
    given = _read(results)
    alone = isinstance(results, xr.DataTree)
    each = [tree["ecdf"].to_dataset() for tree in given.values()]
    each = [ds[panels.names_of(var_names, ds)].sel(panels.labels_of(coords, ds, without=["fraction"])) for ds in each]
    panels.check(panels.size(each[0].isel(fraction=0)), "plot_calibration")
    curves = xr.concat(each, "result", join="outer").assign_coords(result=[*given])
    bands = xr.concat([_closed(tree["band"].to_dataset()) for tree in given.values()], "result")
    lower, upper = bands["lower"].min("result"), bands["upper"].max("result")

    ds = xr.zeros_like(curves.isel(fraction=0, drop=True))
    collection = panels.empty(
        ds, backend, panels.one_each([*given]), dim="result", each=(3.0, 2.3), sharex=True, sharey=True
    )
    zero = ds.isel(result=0, drop=True)
    band: dict[str, Any] = {"x": lower["fraction"], "y_bottom": lower, "y_top": upper, "color": "#BBBBBB", "alpha": 0.5}
    collection.map(azv.fill_between_y, "band", data=zero, ignore_aes="all", step=False, **band)
    collection.map(azv.hline, "zero", data=zero, ignore_aes="all", color="#777777", width=1)
    curves = _closed(curves)
    paths = xr.concat([xr.ones_like(curves) * curves["fraction"], curves], "plot_axis")
    collection.map(azv.line_xy, "ecdf", data=paths.assign_coords(plot_axis=["x", "y"]), width=2)
    p_values = next(iter(given.values()))["diagnostics"].to_dataset().sel(diagnostic="p_family", drop=True)

    def axes(da: xr.DataArray, target: Any, var_name: str, sel: Any, isel: Any) -> None:
        draw = backend_from_object(target)
        p = f": p = {float(p_values[var_name].sel(sel)):.2g}" if alone else ""
        draw.title(BaseLabeller().make_label_flat(var_name, sel, isel) + p, target)
        draw.xlabel("rank / (L + 1)", target)
        draw.ylabel("ECDF - uniform", target)

    panels.decorate(collection, axes, zero)
    if not alone:
        panels.legend(collection, "result")
    return collection


def _read(results: Any) -> dict[str, xr.DataTree]:
    """The results by label, checked."""
    given = panels.by_label(results, "result")
    source, ranked = "Pass what calibrate or calibrate_chain returned", {}
    for label, tree in given.items():
        who = f"the result {label!r}" if label else "results"
        if not isinstance(tree, xr.DataTree):
            also = "" if isinstance(results, Mapping) else ", or a mapping {label: result}"
            raise TypeError(f"{who} is a {type(tree).__name__}. {source}{also}.")
        missing = [group for group in ("ecdf", "band", "diagnostics") if group not in tree.children]
        if missing:
            raise ValueError(f"{who} has no group {missing[0]!r}. {source}.")
        ranked[label] = {str(name): dict(of.sizes) for name, of in tree["ecdf"].data_vars.items()}
        first, (mine, theirs) = next(iter(given.values())), (next(iter(ranked.values())), ranked[label])
        if mine != theirs:
            here, there = (of["ecdf"].sizes["fraction"] for of in (tree, first))
            raise ValueError(
                f"{who} ranks {panels.some([*theirs])} among {here} draws, and the first one {panels.some([*mine])} "
                f"among {there}. Draw those of one prior and draws= alone."
            )
    return given


def _closed(ds: xr.Dataset) -> xr.Dataset:
    """Curves that begin at (0, 0) and end at (1, 0), as every ECDF does."""
    return ds.pad(fraction=1, constant_values=0.0).assign_coords(fraction=[0.0, *ds["fraction"].values, 1.0])
