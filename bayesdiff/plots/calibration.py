"""Look at a calibration: how far the ranks of true x among an inverter's draws are from uniform.

    ECDF of the ranks - that of uniform ranks, at fraction j / (L + 1), j = 1..L

A curve that stays in the grey band all along is what uniform ranks look like. Outside of it: a curve above zero and
then below has too many low and high ranks, so draws are too narrow; below and then above, too wide; above all along,
the truth lies below the draws, so they are too high.

Nothing here samples: all is read from the trees that `calibrate` and `calibrate_chain` returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import arviz_plots.visuals as azv
import xarray as xr
from arviz_base.labels import BaseLabeller
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object

from bayesdiff.plots.panels import (
    OKABE_ITO,
    at_labels,
    backend_of,
    check_panels,
    decorate,
    figure_size,
    legend,
    names_of,
    some,
)

# Okabe and Ito's colours, as in `plots`.
_BAND, _ZERO = "#BBBBBB", "#777777"


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
    alone = isinstance(results, xr.DataTree)
    given = _read(results)
    each = [at_labels(tree["ecdf"].to_dataset(), coords, without=["fraction"]) for tree in given.values()]
    curves = xr.concat(each, "result", join="outer")
    curves = curves.assign_coords(result=list(given))
    names = names_of(var_names, curves)
    curves = curves[names]
    count = sum(math.prod(s for d, s in c.sizes.items() if d not in ("result", "fraction")) for c in curves.values())
    check_panels(count, "plot_calibration")
    limits = [tree["band"].to_dataset() for tree in given.values()]
    lower, upper = (_closed(xr.concat([band[name] for band in limits], "result")) for name in ("lower", "upper"))
    lower, upper = lower.min("result"), upper.max("result")

    backend = backend_of(backend)
    columns = min(count, 4)
    cols = ["__variable__", *[dim for dim in curves.dims if dim not in ("result", "fraction")]]
    collection = PlotCollection.wrap(
        curves.isel(fraction=0, drop=True),
        cols=cols,
        col_wrap=columns,
        backend=backend,
        aes={"color": ["result"], "linestyle": ["result"]},
        color=list(OKABE_ITO),
        linestyle=["C0", "C1", "C2", "C3"],
        figure_kwargs=figure_size(
            backend, max(3.0 * columns, 5), 2.3 * -(-count // columns) + 0.7, sharex=True, sharey=True
        ),
    )
    panels = curves.isel(fraction=0, result=0, drop=True)
    collection.map(
        lambda da, target, **how: azv.fill_between_y(
            da, target, x=lower["fraction"], y_bottom=lower, y_top=upper, step=False, **how
        ),
        "band",
        data=panels,
        ignore_aes="all",
        color=_BAND,
        alpha=0.5,
    )
    collection.map(
        lambda da, target, **how: azv.hline(xr.DataArray(0.0), target, **how),
        "zero",
        data=panels,
        ignore_aes="all",
        color=_ZERO,
        width=1,
    )
    collection.map(azv.line_xy, "ecdf", data=curves.map(_path), width=2)

    p_values = None
    if alone:
        p_values = at_labels(given[""]["diagnostics"].to_dataset().sel(diagnostic="p_family", drop=True), coords)

    def axes(da: xr.DataArray, target: Any, var_name: str, sel: Any, isel: Any) -> None:
        draw = backend_from_object(target)
        title = BaseLabeller().make_label_flat(var_name, sel, isel)
        if p_values is not None:
            title += f": p = {float(p_values[var_name].sel(sel)):.2g}"
        draw.title(title, target)
        draw.xlabel("rank / (L + 1)", target)
        draw.ylabel("ECDF - uniform", target)

    decorate(collection, axes, panels, subset_info=True)
    if not alone:
        legend(collection, "result")
    return collection


def _read(results: Any) -> dict[str, xr.DataTree]:
    """The results by label, checked."""
    given: dict[str, Any] = {"": results} if isinstance(results, xr.DataTree) else {}
    if not given and isinstance(results, Mapping):
        given = {str(label): tree for label, tree in results.items()}
    elif not given:
        raise TypeError(
            f"results is a {type(results).__name__}. Pass what calibrate or calibrate_chain returned, or a mapping "
            "{label: result}."
        )
    if not given:
        raise ValueError("There is no result to draw. Pass one, or a mapping {label: result}.")
    first: xr.DataTree | None = None
    for label, tree in given.items():
        who = f"the result {label!r}" if label else "results"
        if not isinstance(tree, xr.DataTree):
            raise TypeError(f"{who} is a {type(tree).__name__}. Pass what calibrate or calibrate_chain returned.")
        missing = [group for group in ("ecdf", "band", "diagnostics") if group not in tree.children]
        if missing:
            raise ValueError(f"{who} has no group {missing[0]!r}. Pass what calibrate or calibrate_chain returned.")
        first = tree if first is None else first
        mine, theirs = (dict(of["ecdf"].to_dataset().map(lambda da: str(da.sizes)).items()) for of in (first, tree))
        if {k: v.item() for k, v in mine.items()} != {k: v.item() for k, v in theirs.items()}:
            raise ValueError(
                f"{who} ranks {some(list(theirs))} among {tree['ecdf'].sizes['fraction']} draws, and the first one "
                f"{some(list(mine))} among {first['ecdf'].sizes['fraction']}. Draw those of one prior and draws= alone."
            )
    return given


def _closed(y: xr.DataArray) -> xr.DataArray:
    """A curve that begins at (0, 0) and ends at (1, 0), as every ECDF does."""
    return y.pad(fraction=1, constant_values=0.0).assign_coords(fraction=[0.0, *y["fraction"].values, 1.0])


def _path(y: xr.DataArray) -> xr.DataArray:
    y = _closed(y)
    x = xr.ones_like(y) * y["fraction"]
    return xr.concat([x, y], "plot_axis").assign_coords(plot_axis=["x", "y"]).rename(fraction="point")
