"""Of a calibration: whether ranks are uniform, and whether it sees enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayesdiff.verdict.rule import LIMITS, Said, codes, disagree, some, summed


def of_calibration(
    *,
    names: Sequence[str],
    p_values: np.ndarray,
    p_family: np.ndarray,
    probability: float,
    lost: np.ndarray,
    width: float,
    lineages: np.ndarray,
    without: int,
) -> xr.Dataset:
    """Judge a calibration: whether its ranks are uniform, and whether it sees enough.

    Parameters
    ----------
    names : sequence of str
        What was ranked.
    p_values, p_family : ndarray (quantities,)
        Of each quantity's ranks being uniform, and times the number of quantities.
    probability : float
        With which an exact inverter passes.
    lost : ndarray of bool (replicates,)
        Whether each replicate was lost.
    width : float
        How far an ECDF of ranks may be off and pass.
    lineages : ndarray
        p-values of the two halves of chains having one law; NaN where they were not compared.
    without : int
        Replicates whose point has no sd.

    Returns
    -------
    xarray.Dataset
        ``ok``, ``code``, ``p_value`` (quantity); ``calibrated``, the least ``p_family``, ``quantities``, ``replicates``
        that count and ``lost`` ones.

    Examples
    --------
    >>> import numpy as np
    >>> p, none = np.array([0.4, 1e-9]), np.zeros(0)
    >>> about = {"names": ["x", "log_prior"], "p_values": p, "p_family": 2 * p, "probability": 0.99}
    >>> about |= {"lost": np.zeros(1000, bool), "width": 0.06, "lineages": none, "without": 0}
    >>> of_calibration(**about).attrs["sentence"]
    'Not calibrated, by 1 of 2 quantities, most of all log_prior (p = 1e-09).'
    """
    count, gone = int((~lost).sum()), np.flatnonzero(lost)
    failed = p_family <= 1 - probability
    worst = int(p_family.argmin())
    known = np.unique(lineages[np.isfinite(lineages)])
    if failed.any():
        p = f"= {p_values[worst]:.1g}" if p_values[worst] > 1e-99 else "< 1e-99"
        result = (
            f"Not calibrated, by {failed.sum()} of {len(names)} quantities, most of all {names[worst]} (p {p})."
        )  # fmt: skip
    else:
        result = (
            f"No error seen in {count:,} replicates of {len(names)} quantities (p = {p_family[worst]:.2g} for all)."
        )
    few = missing = doubt = points = ""
    if count < LIMITS.replicates:
        few = (
            f"{count} replicates see gross errors alone: an ECDF of ranks that is off by {width:.2g} would pass. Ask "
            f"for more, replicates={10 * LIMITS.replicates}."
        )
    if len(gone):
        missing = f"{len(gone)} of {len(lost)} replicates were lost, where the inverter failed: {some(gone)}."
        if len(gone) > LIMITS.lost * len(lost):
            missing += " They are not lost at random, so the verdict is about the others alone."
    if len(known) and disagree(float(known.min()), len(known)):
        doubt = (
            "Two halves of the chains, whose inner searches started at different places, disagree "
            f"(p = {known.min():.1g}): the inversions are not done. Give the inverter more, as "
            "functools.partial(bd.draw, tune=1000)."
        )
    if without:
        points = (
            f"The point of {without} of {count} replicates has no sd, being no maximum with a curvature: they are left "
            "out of `offset` and `laplace`."
        )
    said = [
        Said("few", few, falls=False),
        Said("lost", missing, falls=len(gone) > LIMITS.lost * len(lost)),
        Said("halves", doubt),
        Said("no_sd", points, falls=False),
        Said("not_uniform", result if failed.any() else "", loud=False),
    ]
    warned = any(each.text for each in said[:-1])
    return xr.Dataset(
        {
            "ok": ("quantity", ~failed),
            "code": codes("quantity", len(names), ("not_uniform", failed)),
            "p_value": ("quantity", p_values),
            "calibrated": not failed.any(),
            "p_family": p_family.min(),
            "quantities": len(names),
            "replicates": count,
            "lost": len(gone),
        },
        coords={"quantity": list(names)},
        attrs=summed(said, result, result if warned and not failed.any() else ""),
    )
