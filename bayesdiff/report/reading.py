"""Reading: what of a run is shown, as its verdict has it, and the small things that all of a report reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from bayesdiff.verdict import read, reason

SAMPLE = ("chain", "draw")
EQUALLY_HIGH = 1e-3  # climbs end a little below a mode


def escaped(text: Any) -> str:
    """Text of a user as Markdown that shows it as it is."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def worded(sentence: Any) -> str:
    """A sentence of a verdict as Markdown that shows it as it is, and reads well in the source too."""
    told = " ".join(str(sentence).split())
    plain = r"(?<=.)(?:[,.;()%=+'-]|[:/] )"  # opens nothing, there
    return re.sub(rf"{plain}|([!-/:-@\[-`{{-~])", lambda found: rf"\{found[1]}" if found[1] else found[0], told)


def stands(run: xr.DataTree) -> bool:
    """Whether the numbers of a whole run are shown, as its verdict says."""
    return bool(read(run).attrs["ok"])


def components(values: xr.DataArray, leading: Sequence[str] = ()) -> Iterator[tuple[str, xr.DataArray]]:
    """Every number of a variable by its label, such as ``theta[school A]``: arrays of the ``leading`` dimensions."""
    dims = [dim for dim in values.dims if dim not in leading]
    for index in np.ndindex(*[values.sizes[dim] for dim in dims]):
        at = dict(zip(dims, index, strict=True))
        labels = ", ".join(str(values[dim].values[i]) for dim, i in at.items())
        yield f"{values.name}[{labels}]" if dims else str(values.name), values.isel(at)


def transformed(tree: xr.DataTree) -> list[str]:
    """Name the variables whose unconstrained coordinates, where the noise acts, are others than their values."""
    x, free = (tree[group].to_dataset() for group in ("posterior", "unconstrained_posterior"))
    return [str(name) for name in free.data_vars if not x[name].variable.equals(free[name].variable)]


# ---------------------------------------------------------------------------------------------------------------- step


def standing(*trees: xr.DataTree) -> np.ndarray:
    """Which observations can be trusted in all of these inversions: (observation,). None, where no verdict says so."""
    found = []
    for tree in trees:
        size, verdict = tree["posterior"].sizes.get("observation", 1), read(tree)
        found.append(verdict["ok"].values.reshape(size).astype(bool) if "ok" in verdict else np.zeros(size, bool))
    return np.logical_and.reduce(found)


def trusted_part(*trees: xr.DataTree) -> tuple[xr.DataTree, ...]:
    """Leave out the observations that cannot be trusted in all of these inversions of one batch.

    Parameters
    ----------
    *trees : xarray.DataTree
        What ``find_map`` and ``sample_posterior`` returned for the same step. One observation is given back as it is.

    Returns
    -------
    tuple of xarray.DataTree
    """
    rows = np.flatnonzero(standing(*trees))
    return tuple(tree.isel(observation=rows, missing_dims="ignore") for tree in trees)


# --------------------------------------------------------------------------------------------------------------- chain


def why_not_made(run: xr.DataTree, check: str) -> str:
    """In a word why a check of a chain was not made; ``ok`` or ``failed`` where it was; nothing if none says."""
    verdict = read(run)
    if "check" not in verdict.coords or check not in verdict["check"].values:
        return ""
    return str(verdict["check_code"].sel(check=check).values)


# -------------------------------------------------------------------------------------------------------------- sample


def agreement_of(values: np.ndarray) -> tuple[float, float]:
    """R-hat and bulk effective draws of one number (chain, draw), as ArviZ computes them; NaN where no chain moves."""
    if not (values.std(axis=1) > 0).any():  # ArviZ takes what never moved for independent draws
        return np.nan, np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = array_stats.rhat(values, chain_axis=0, draw_axis=1)
    return float(r_hat), float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="bulk"))


def why_no_evidence(run: xr.DataTree) -> str:
    """Why the log evidence is withheld, in a few words; nothing where it is shown."""
    verdict = read(run)
    if "evidence_ok" in verdict and bool(verdict["evidence_ok"]):
        return ""
    return reason(verdict, code=str(verdict["evidence_code"].values) if "evidence_code" in verdict else None)


def mode_of(run: xr.DataTree) -> np.ndarray:
    """At which mode each draw is (chain, draw): all at the first where none was found."""
    stats = run["sample_stats"].to_dataset()
    values = stats["mode"] if "mode" in stats else stats["lp"] * 0
    return np.asarray(values.transpose(*SAMPLE).values).astype(int)


def highest_modes(run: xr.DataTree) -> np.ndarray:
    """Which of the modes found are the highest, in unconstrained coordinates: several where they are equally high."""
    lp = run["modes"].to_dataset()["lp"].values
    return np.flatnonzero(lp > lp.max() - EQUALLY_HIGH) if lp.size else np.zeros(0, int)


def highest_mode(run: xr.DataTree) -> int | None:
    """Which of the modes found is the MAP: the heaviest of those that are equally high."""
    return next(iter(map(int, highest_modes(run))), None)
