"""The noise of a schedule, level by level."""

from __future__ import annotations

from typing import Any

import arviz_plots.visuals as azv
import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object

from bayesdiff.plots import panels


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
    given = panels.by_label(schedule, "schedule")
    ratios = []
    for label, value in given.items():
        alpha, sigma = _noise(value, label)
        ratios.append(xr.DataArray((alpha[1:] / sigma[1:]) ** 2, {"point": np.arange(1.0, len(alpha))}))
    snr = xr.concat(ratios, "schedule", join="outer").assign_coords(schedule=[*given])
    level = snr["point"].where(snr.notnull())
    data = xr.concat([level, snr], "plot_axis").assign_coords(plot_axis=["x", "y"]).to_dataset(name="snr")
    panel = xr.ones_like(data.isel(plot_axis=0, point=0, drop=True))

    collection = panels.empty(
        panel, backend, panels.one_each([*given]), dim="schedule", each=(6.2, 3.6), least=0, below=0
    )
    one = panel.isel(schedule=0, drop=True)
    collection.map(azv.hline, "equal", data=one, ignore_aes="all", color="#999999", width=1)
    collection.map(azv.line_xy, "snr", data=data, width=2)

    def axes(da: xr.DataArray, target: Any, **_: Any) -> None:
        draw = backend_from_object(target)
        draw.yscale(target, "log")
        draw.xlabel("level k", target)
        draw.ylabel("signal-to-noise ratio\nalpha_k^2 / sigma_k^2", target)
        draw.xticks(*level_ticks(snr.sizes["point"], first=1), target)

    panels.decorate(collection, axes, one)
    if schedule is not given.get(""):
        panels.legend(collection, "schedule")
    return collection


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


def level_ticks(last: int, first: int = 0) -> tuple[list[int], list[str]]:
    """Three to six whole numbers, evenly spaced: up to the last, where that can be."""
    steps = [step * 10**power for power in range(7) for step in (1, 2, 4, 5, 8)]
    enough = [step for step in sorted(steps) if last <= 6 * step]
    step = next((step for step in enough if last % step == 0 and last >= 3 * step), enough[0])
    at = [k for k in range(0, last + 1, step) if k >= first]
    return at, [str(k) for k in at]
