"""Of a tempered run: its draws, the weights of its modes, its evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayesdiff.verdict.rule import LIMITS, Said, codes, summed, too_few, trusted


def of_tempering(
    *,
    chains: int,
    draws: int,
    finite: bool,
    r_hat: np.ndarray,
    ess: np.ndarray,
    names: Sequence[str],
    weights: np.ndarray,
    found_by: np.ndarray,
    given: np.ndarray,
    on_edge: np.ndarray,
    unseen: float,
    nowhere: float,
    arrivals: np.ndarray,
    invalid: float,
    pareto_k: np.ndarray,
    by_chain: np.ndarray,
    by_chain_se: np.ndarray,
    stones: np.ndarray,
    contradicts: bool,
    drift: tuple[float, float, int, float] | None,
    grew: tuple[int, float] | None,
) -> xr.Dataset:
    """Judge a run of `sample`: its draws, the weights of its modes, its evidence.

    Parameters
    ----------
    chains, draws : int
        Draws of each chain.
    finite : bool
        Whether all draws are.
    r_hat, ess : ndarray (numbers,)
        Of the coordinates, and of the shares of the modes that have weight; NaN where a number never moved.
    names : sequence of str
        How these numbers are called.
    weights, found_by, given, on_edge : ndarray (modes,), (modes, chains), (modes,), (modes,)
        The share of the draws at each mode, how many starts of each chain found it, whether one of the user's did, and
        whether it lies on an edge.
    unseen, nowhere : float
        The share of climbs that would end at a mode nobody has seen or that could not be kept, and of climbs from draws
        that ended at none.
    arrivals : ndarray (chains,)
        States that arrived at p fresh from q.
    invalid : float
        The share of proposals whose density was not a number.
    pareto_k : ndarray (rungs - 1,)
        Of the weights between neighbours that the evidence rests on.
    by_chain, by_chain_se : ndarray (chains,)
        The log evidence of each chain, and its error.
    stones : ndarray (2, chains)
        The same by stepping stones, upwards and downwards.
    contradicts : bool
        Whether these are farther apart than their errors allow, or no numbers.
    drift : (float, float, int, float), optional
        Of two last rounds that differ: the log evidence before and now, and which coordinate's spread grew how much.
    grew : (int, float), optional
        Which coordinate's spread grew and grew, and how much in all; inf where it is no number any more.

    Returns
    -------
    xarray.Dataset
        ``ok``, ``code`` (mode): whether its weight stands; ``alone``: one start alone found it; ``edge``.
        ``r_hat``, ``ess``: the worst of all numbers; ``arrivals``: the fewest; ``pareto_k``: the largest,
        and ``pareto_ok``; ``stones``: how far the log evidences upwards and downwards are apart.
        ``evidence_ok``, ``evidence_code``: whether the evidence stands.
    """
    few = too_few(chains, draws)
    known = np.nan_to_num(r_hat, nan=np.inf), np.where(np.isnan(r_hat), 0.0, np.nan_to_num(ess, nan=0.0))
    worst_r, fewest = int(np.argmax(known[0])), int(np.argmin(known[1]))
    r, e = (np.nan, np.nan) if few else (known[0][worst_r], known[1][fewest])
    heavy_tail = float(np.nanmax(pareto_k, initial=-np.inf))
    least = int(arrivals.min())
    # A posterior that is probably improper has no weights and no evidence: more draws do not help.
    improper = _improper(grew, names)
    lone = (found_by.sum(axis=1) == 1) & ~given & (weights > LIMITS.of_weight) & (len(weights) > 1)
    with np.errstate(invalid="ignore"):  # both may be infinite
        apart = float(np.abs(np.diff(stones.mean(axis=1)))[0])
    error = np.sqrt((by_chain_se**2).mean() / chains)
    said = [improper] if improper.text else [
        Said("alone", _alone(lone, weights), falls=False),
        Said("unseen", _unseen(found_by, unseen), falls=False, loud=False),
        Said("invalid", _invalid(invalid), falls=False),
        Said("one_chain", "With one chain nothing can be compared: what is said here rests on it alone."
              if chains == 1 else ""),
        *_agreement(r, e, names[worst_r], names[fewest]),
        Said("no_numbers", "" if finite else "Not all draws are finite."),
        # Chains that never came from q agree on the weights that they began with.
        Said("arrivals", _few_arrivals(arrivals, chains), falls=len(weights) > 1),
    ]  # fmt: skip
    evidence = [] if improper.text else [
        # A heavy tail does no harm where both directions agree.
        Said("pareto", "" if heavy_tail <= LIMITS.pareto_k or apart <= max(LIMITS.stones, 3 * error) else
              f"Importance weights along the ladder have a heavy tail (Pareto k {heavy_tail:.2f}, more than "
              f"{LIMITS.pareto_k}), and the log evidences upwards and downwards are {apart:.2f} apart. The evidence is "
              "withheld. Ask for more draws.", falls=False),
        Said("drift", _drift(drift, names), falls=False),
        Said("contradict" if np.isfinite(by_chain).all() else "no_evidence", "" if not contradicts else
              f"The chains contradict each other: their log evidences are {_numbers(by_chain)}, where errors of "
              f"{_numbers(by_chain_se)} are expected. The evidence is withheld. Ask for more draws.", falls=False),
    ]  # fmt: skip
    basins = ""
    if nowhere > LIMITS.unseen and len(weights):
        edge = " Climbs end all along an edge, so the weight of what is highest there is withheld (NaN)."
        basins = (
            f"Of climbs from the draws {nowhere:.0%} ended at no maximum: so much of p belongs to no mode, and the "
            f"weights of the modes do not add up to 1.{edge if on_edge.any() else ''}"
        )
    attrs = summed(
        [
            *said,
            *evidence,
            Said("nowhere", basins, falls=False, loud=bool(on_edge.any())),
            Said("too_few", few, loud=False),
        ],
        ""
        if np.isnan(r)
        else f"{trusted(np.array([r]), np.array([e]))} In each chain {least:,} states or more came all the way from "
        f"the mixture, and the log evidences of the chains lie within {np.ptp(by_chain):.2g} of each other. A mode "
        "that no start reached is seen by none of this.",
    )
    withheld = next((each.code for each in reversed(evidence) if each.text), "ok")
    withheld = withheld if attrs["ok"] else "draws"
    all_fall = [] if attrs["ok"] else [(attrs["code"], np.array(True))]
    code = codes("mode", len(weights), *all_fall, ("alone", lone), ("edge", on_edge))
    return xr.Dataset(
        {
            "ok": ("mode", np.full(len(weights), attrs["ok"])),
            "code": code,
            "r_hat": r,
            "ess": e,
            "arrivals": least,
            "pareto_k": heavy_tail if np.isfinite(heavy_tail) else np.nan,
            "pareto_ok": heavy_tail <= LIMITS.pareto_k,
            "stones": apart,
            "evidence_ok": withheld == "ok",
            "evidence_code": withheld,
        },
        attrs=attrs,
    )


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _improper(grew: tuple[int, float] | None, names: Sequence[str]) -> Said:
    if grew is None:
        return Said("improper", "")
    where, times = grew
    how = (
        f"The spread of {names[where]} grew round after round, {times:.3g} times in all:"
        if np.isfinite(times)
        else f"The draws of {names[where]} are not finite:"
    )
    return Said(
        "improper",
        f"{how} the posterior is probably improper there, and then neither draws nor evidence mean anything. Give it a "
        "proper prior.",
    )


def _alone(lone: np.ndarray, weights: np.ndarray) -> str:
    if weights[lone].sum() <= LIMITS.unseen:
        return ""
    return (
        f"{int(lone.sum())} of {len(lone)} modes, with {weights[lone].sum():.1%} of the draws, were found by one start "
        "alone: others may be unseen. Pass initvals near any that you know of."
    )


def _unseen(found_by: np.ndarray, unseen: float) -> str:
    """There, all began with one wide Gaussian, and draws and evidence rest on no list of modes."""
    if found_by.sum() < LIMITS.climbs or unseen <= LIMITS.unseen:
        return ""
    return (
        f"Of climbs to a mode, some {unseen:.0%} would end at one that is not listed: there are more modes than those "
        f"{len(found_by)}, and their weights are no shares of all."
    )


def _invalid(share: float) -> str:
    if share <= LIMITS.invalid:
        return ""
    return (
        f"log p was not a number for {share:.0%} of the proposals, which were refused as if p were 0 there. Look for "
        "log or sqrt of what can be negative, or for a matrix that has no inverse."
    )


def _agreement(r_hat: float, ess: float, of_r: str, of_ess: str) -> list[Said]:
    apart = f"The chains do not agree: R-hat is {r_hat:.2f} for {of_r}." if r_hat > LIMITS.r_hat else ""
    few = f"There are {ess:.0f} effective draws of {of_ess}." if ess < LIMITS.draws else ""
    more = "Draws and weights are not to be trusted yet. Ask for more draws." if apart or few else ""
    return [Said("r_hat", apart), Said("ess", few), Said("r_hat" if apart else "ess", more)]


def _few_arrivals(arrivals: np.ndarray, chains: int) -> str:
    few = arrivals < LIMITS.arrivals
    if not few.any():
        return ""
    return (
        f"In {few.sum()} of {chains} chains fewer than {LIMITS.arrivals} states came all the way from the mixture "
        f"({int(arrivals.min())} in one): the weights of the modes rest on where the chains began. Ask for more draws."
    )


def _drift(drift: tuple[float, float, int, float] | None, names: Sequence[str]) -> str:
    if drift is None:
        return ""
    before, now, where, growth = drift
    return (
        f"The last two rounds differ: the log evidence went from {before:.2f} to {now:.2f}, and the spread of "
        f"{names[where]} grew {growth:.2f} times. Parts of the posterior may still be unseen, and the evidence is "
        "withheld. Ask for more draws."
    )
