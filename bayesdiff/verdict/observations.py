"""Of observations: whether a MAP is a maximum, and whether draws are to be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayesdiff.verdict.rule import LIMITS, OBSERVATION, Said, codes, is_any, named, some, summed, too_few, trusted


def _of(rows: np.ndarray, size: int, after: str = "") -> str:
    """Of how many observations, where there are several; and which, to follow it."""
    return f" of {len(rows)} of {size} observations{after}" if size > 1 else ""


def _index(rows: np.ndarray, size: int) -> str:
    return f": index {some(rows)}" if size > 1 else ""


def of_climbs(
    good: np.ndarray,
    alive: np.ndarray,
    converged: np.ndarray,
    on_edge: np.ndarray,
    agreed: np.ndarray,
    modes: np.ndarray,
    *,
    cut_short: bool,
) -> xr.Dataset:
    """Judge whether the MAP of each observation is a maximum.

    Parameters
    ----------
    good, alive, converged, on_edge : ndarray of bool (observation,)
        Whether o is finite, p(x | o) is finite at any start, the climb ended at a maximum, or on an edge.
    agreed, modes : ndarray (observation,)
        Climbs that ended at the MAP, and modes found.
    cut_short : bool
        Whether p0 has more modes than the search for them came to the end of.

    Returns
    -------
    xarray.Dataset
        ``ok``, ``code`` (observation): ``not_finite``, ``no_start``, ``edge``, ``no_maximum``; or what is said of a MAP
        that stands all the same, ``alone``: one climb alone reached it, of a search that was cut short.
        ``starts_agreed``, ``modes``.

    Examples
    --------
    >>> import numpy as np
    >>> yes, two = np.array([True, True]), np.array([2, 2])
    >>> group = of_climbs(yes, yes, np.array([True, False]), ~yes, two, two, cut_short=False)
    >>> named(group["code"]).tolist()
    ['ok', 'no_maximum']
    """
    code = codes(
        OBSERVATION,
        len(good),
        ("not_finite", ~good),
        ("no_start", ~alive),
        ("edge", on_edge),
        ("no_maximum", ~converged),
        ("alone", cut_short & (agreed <= 1)),
    )
    values = {
        "ok": is_any(code, "ok", "alone"),
        "starts_agreed": np.where(good & alive, agreed, np.nan),
        "modes": modes,
    }
    group = xr.Dataset({name: (OBSERVATION, value) for name, value in values.items()} | {"code": code})
    return group.assign_attrs(told_of_climbs(group))


def told_of_climbs(group: xr.Dataset) -> dict[str, Any]:
    """Say what these verdicts on climbs come to: the attributes of the group."""
    code = group["code"]
    size = len(code)
    edge, lost, alone = (np.flatnonzero(is_any(code, name)) for name in ("edge", "no_maximum", "alone"))
    who = "The climb" + _of(lost, size)
    said = [
        *_not_inverted(code),
        Said(
            "no_maximum",
            f"{who} did not end at a maximum{_index(lost, size)}. {'Their' if size > 1 else 'The'} MAP is the highest "
            "point seen; p(x | o) may be flat, unbounded or cut off there. Look at the group `modes`."
            if len(lost)
            else "",
        ),
        Said(
            "edge",
            f"The MAP{_of(edge, size)} lies on an edge{_index(edge, size)}. p(x | o) is 0 next to it, and no small "
            "move along an axis improves it, though one along the edge may. It is no maximum (`converged` is False)."
            if len(edge)
            else "",
        ),
        Said(
            "alone",
            "p0 has more modes than the search for them came to the end of: a mode higher than the MAP may be missing"
            + (
                f", above all for the {len(alone)} of {size} observations whose MAP one climb alone reached: index "
                f"{some(alone)}"
                if size > 1
                else ": one climb alone reached it"
            )
            + ". Compare with sample_posterior, or with another random_seed."
            if len(alone)
            else "",
            falls=False,
        ),
    ]
    return summed(said, "Every MAP is a maximum." if size > 1 else "The MAP is a maximum.")


def _not_inverted(code: xr.DataArray) -> list[Said]:
    """What is said of observations without an answer."""
    bad, dead = (np.flatnonzero(is_any(code, name)) for name in ("not_finite", "no_start"))
    size = len(code)
    rows = "their rows are NaN" if size > 1 else "all is NaN"
    return [
        Said(
            "not_finite",
            f"{len(bad)} of {size} observations are not finite and came back as NaN: index {some(bad)}."
            if len(bad)
            else "",
        ),
        Said(
            "no_start",
            f"p(x | o){_of(dead, size)} is not finite at any start; {rows}{_index(dead, size)}. Look at o, or give the "
            "prior's variables an initval where p(x | o) is positive."
            if len(dead)
            else "",
        ),
    ]


def of_draws_by_observation(
    r_hat: np.ndarray,
    ess: np.ndarray,
    diverging: np.ndarray,
    good: np.ndarray,
    alive: np.ndarray,
    left: np.ndarray,
) -> xr.Dataset:
    """Judge the draws of each observation.

    Parameters
    ----------
    r_hat, ess : ndarray (observation, n)
        NaN where a coordinate never moved, in any chain: R-hat is then infinite and no draw is effective.
    diverging : ndarray (observation, chain, draw)
        Whether each trajectory diverged.
    good, alive : ndarray of bool (observation,)
        Whether o is finite, and p(x | o) is at any start.
    left : ndarray (observation,)
        The share of the mass in modes that are known and were given to no chain.

    Returns
    -------
    xarray.Dataset
        ``ok``, ``code`` (observation): ``not_finite``, ``no_start``, ``too_few``, ``r_hat``, ``ess``, ``diverging``; or
        what is said of draws that stand all the same, ``left_out``. ``r_hat`` and ``ess``: the worst of the
        coordinates; ``diverging``: the share; ``left_out``. NaN where nothing can be judged.

    Examples
    --------
    >>> import numpy as np
    >>> r_hat, ess = np.array([[1.01], [1.2], [np.nan]]), np.array([[900.0], [900.0], [np.nan]])
    >>> good = np.ones(3, bool)
    >>> group = of_draws_by_observation(r_hat, ess, np.zeros((3, 4, 250)), good, good, np.zeros(3))
    >>> named(group["code"]).tolist()
    ['ok', 'r_hat', 'r_hat']
    """
    few = too_few(*diverging.shape[1:])
    inverted = good & alive
    known = inverted & (not few)
    worst, fewest = np.nan_to_num(r_hat, nan=np.inf).max(axis=1), np.nan_to_num(ess, nan=0.0).min(axis=1)
    diverged = diverging.mean(axis=(1, 2))
    code = codes(
        OBSERVATION,
        len(good),
        ("not_finite", ~good),
        ("no_start", ~alive),
        ("too_few", np.array(bool(few))),
        ("r_hat", worst > LIMITS.r_hat),
        ("ess", fewest < LIMITS.draws),
        ("diverging", diverged > LIMITS.diverging),
        ("left_out", left > LIMITS.left_out),
    )
    values = {
        "ok": is_any(code, "ok", "left_out"),
        "r_hat": np.where(known, worst, np.nan),
        "ess": np.where(known, fewest, np.nan),
        "diverging": np.where(known, diverged, np.nan),
        "left_out": np.where(inverted, left, np.nan),
    }
    group = xr.Dataset({name: (OBSERVATION, value) for name, value in values.items()} | {"code": code})
    return group.assign_attrs(told_of_draws(group, few))


def told_of_draws(group: xr.Dataset, few: str) -> dict[str, Any]:
    """Say what these verdicts on draws come to. ``few``: why there are too few, as `too_few` says it."""
    code, ok = group["code"], group["ok"].values
    r_hat, ess, diverging, left = (group[name].values for name in ("r_hat", "ess", "diverging", "left_out"))
    size = len(code)
    rows = np.flatnonzero(is_any(code, "r_hat", "ess", "diverging"))
    doubt = many_left = ""
    if len(rows):
        worst = int(rows[np.argmax(r_hat[rows])])
        where = f"The worst is observation {worst}: " if size > 1 else ""
        doubt = (
            f"The draws{_of(rows, size)} are not to be trusted{'. ' if size > 1 else ': '}{where}R-hat "
            f"{r_hat[worst]:.2f}, {ess[worst]:.0f} effective draws, {diverging[worst]:.0%} diverging. "
            + (
                f"Where more than {LIMITS.diverging:.0%} of the trajectories diverge, the other moves do not make up "
                "for it. "
                if (diverging[rows] > LIMITS.diverging).any()
                else ""
            )
            + "Ask for more (draws=, tune=), or look at its modes with find_map. Modes far apart in many dimensions "
            "need bd.sample, which tempers between them: pass its draws of p0 as bank=."
        )
    many = np.flatnonzero(np.nan_to_num(left) > LIMITS.left_out)
    if len(many):
        most = int(many[np.argmax(left[many])])
        many_left = (
            f"p(x | o){_of(many, size)} has more modes than the chains were given, or than the search for modes came "
            f"to the end of: about {left[most]:.0%} of the mass may be missing"
            + (f" at the worst, observation {most}: index {some(many)}" if size > 1 else "")
            + ". Draws of p0 reach all modes: pass those of bd.sample as bank=."
        )
    said = [
        *_not_inverted(code),
        Said("r_hat" if not len(rows) else str(named(code[rows[:1]])[0]), doubt),
        Said("left_out", many_left, falls=False),
        Said("too_few", few, loud=False),
    ]
    return summed(said, "" if not ok.any() else trusted(r_hat[ok], ess[ok]), _diverged(code, diverging))


def _diverged(code: xr.DataArray, diverging: np.ndarray) -> str:
    """Why divergences do not matter, of draws that stand although some of their trajectories diverged."""
    share = np.where(is_any(code, "ok", "left_out"), np.nan_to_num(diverging), 0.0)
    if not share.any():
        return ""
    most = int(np.argmax(share))
    where = f" of observation {most}" if len(code) > 1 else ""
    return (
        f"Of the trajectories{where} {share[most]:.1%} diverged, which does not matter here. Up to "
        f"{LIMITS.diverging:.0%} other moves, jumps and slices, make up for it, and they did: the chains agree and "
        "enough draws are effective."
    )
