"""Honesty: the numbers that a verdict on a tempered run rests on.

Every chain started for itself: its own starts, its own ladder. So chains must agree, in the draws (R-hat), in the
weights of the modes (R-hat of which mode a draw is at) and in the evidence. Where they do not, the evidence is
withheld. What no chain found cannot be seen in any of this. `bayesdiff.verdict` says what all of it comes to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from scipy.stats import chi2

from bayesdiff.multimodal.scout import Scouted
from bayesdiff.multimodal.tempering import Sweeps, log_evidence
from bayesdiff.multimodal.tuning import Agreeing
from bayesdiff.verdict import LIMITS

FAR = 1e100  # of what is farther there is no covariance: as good as infinite


class History(NamedTuple):
    """What the rounds of a run saw, one after another: the evidence with its error, and how widely x was spread."""

    evidences: tuple[tuple[float, float], ...] = ()
    spreads: tuple[np.ndarray, ...] = ()

    def and_round(self, betas: np.ndarray, seen: Sweeps, how: Agreeing) -> History:
        """One round more, as `evidence` and `width` say."""
        return History((*self.evidences, evidence(betas, seen.gain, how)), (*self.spreads, width(seen.x)))


@dataclass(frozen=True)
class Measured:
    """What is known of a run's evidence, and of what its rounds saw.

    Attributes
    ----------
    log_evidence, log_evidence_se : float
        NaN where the chains contradict each other, or the posterior is probably improper.
    by_chain, by_chain_se, upwards, downwards : ndarray (chains,)
        log evidence of each chain: by bridge sampling, its error by parts, and by stepping stones from q to p and
        from p to q.
    contradicts : bool
        Whether the evidences of the chains are farther apart than their errors allow.
    pareto_k : ndarray (rungs - 1,)
        Of the weights between neighbours that the evidence rests on.
    drift : (float, float, int, float), optional
        Of two last rounds that differ: the log evidence before and now, which coordinate's spread grew most, and how
        many times.
    grew : (int, float), optional
        Which coordinate's spread grew round after round, so that p is probably improper, and how many times in all:
        infinitely where it is no number any more.
    """

    log_evidence: float
    log_evidence_se: float
    by_chain: np.ndarray
    by_chain_se: np.ndarray
    upwards: np.ndarray
    downwards: np.ndarray
    contradicts: bool
    pareto_k: np.ndarray
    drift: tuple[float, float, int, float] | None
    grew: tuple[int, float] | None


def shares_of(found: Scouted, x: np.ndarray, how: Agreeing) -> np.ndarray:
    """Say at which mode each draw is, (chains, draws) of x (chains, draws, n): that whose Gaussian is likeliest there.

    The Gaussians are those of the curvature at first, then those of the draws that were given to them.
    """
    flat = x.reshape(-1, x.shape[-1])
    n = flat.shape[1]
    means, covariances = found.x.copy(), found.covariance.copy()
    mass = np.exp(found.log_mass - found.log_mass.max(initial=-np.inf))
    weights = np.maximum(mass, 1e-300)
    some = flat[:: max(1, len(flat) // how.labelled)]
    for _ in range(3 if len(means) > 1 else 0):
        label = _nearest(some, means, covariances, weights)
        for k in range(len(means)):
            mine = some[label == k]
            weights[k] = max(len(mine), 0.1) / len(some)
            if len(mine) > 4 * (n + 1):
                means[k] = mine.mean(axis=0)
                covariances[k] = np.cov(mine.T, ddof=0).reshape(n, n)
    return _nearest(flat, means, covariances, weights).reshape(x.shape[:-1])


def _nearest(x: np.ndarray, means: np.ndarray, covariances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Which Gaussian is likeliest at each x (draws,)."""
    label, best = np.zeros(len(x), int), np.full(len(x), -np.inf)
    if len(means) < 2:
        return label
    for k, (mean, covariance, weight) in enumerate(zip(means, covariances, weights, strict=True)):
        unit = np.sqrt(np.maximum(np.diagonal(covariance), 1e-300))
        values, vectors = np.linalg.eigh(covariance / unit[:, None] / unit)
        values = np.maximum(values, 1e-14 * values.max() + 1e-300)
        z = (x - mean) / unit @ (vectors / np.sqrt(values))
        log = np.log(weight) - 0.5 * (z**2).sum(axis=1) - 0.5 * np.log(values).sum() - np.log(unit).sum()
        label, best = np.where(log > best, k, label), np.maximum(log, best)
    return label


def agreement(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R-hat and bulk effective sample size of x (chains, draws, n), as ArviZ computes them; NaN for too few draws."""
    if x.shape[1] < LIMITS.draws_of_chain:
        nothing = np.full(x.shape[-1], np.nan)
        return nothing, nothing
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # draws of what is improper
        return (
            np.asarray(array_stats.rhat(x, chain_axis=0, draw_axis=1)),
            np.asarray(array_stats.ess(x, chain_axis=0, draw_axis=1, method="bulk")),
        )


def evidence_of(betas: np.ndarray, gains: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Evidences (3, chains), as `log_evidence` gives them, and their standard errors (chains,) by parts of each."""
    whole = np.array([log_evidence(betas, gain) for gain in gains]).T
    errors = []
    for gain in gains:
        by_part = [log_evidence(betas, part)[0] for part in np.array_split(gain, parts)]
        errors.append(np.std(by_part, ddof=1) / np.sqrt(parts))
    return whole, np.array(errors)


def contradict(by_chain: np.ndarray, errors: np.ndarray, how: Agreeing) -> bool:
    """Whether the evidences of chains are farther apart than their errors allow, or are no numbers."""
    if not np.isfinite(by_chain).all():
        return True
    # Errors by parts are themselves uncertain, and nobody minds a difference that is negligible.
    size = np.sqrt(errors**2 + (how.negligible / 2) ** 2)
    square = (((by_chain - by_chain.mean()) / size) ** 2).sum()
    return len(by_chain) > 1 and bool(chi2.sf(square, len(by_chain) - 1) < how.contradiction)


def evidence(betas: np.ndarray, gains: np.ndarray, how: Agreeing) -> tuple[float, float]:
    """The evidence that chains give together, and its standard error."""
    whole, errors = evidence_of(betas, gains, how.parts)
    by_chain, chains = whole[0], len(errors)
    # Of the mean: from the parts, or from the chains where these differ more.
    within = np.sqrt((errors**2).mean() / chains)
    se = max(within, np.std(by_chain, ddof=1) / np.sqrt(chains)) if chains > 1 else within
    return float(by_chain.mean()), se


def width(x: np.ndarray) -> np.ndarray:
    """How widely draws (draws, n) of each chain are spread, whatever their tails: log (parts, n), one part a chain."""
    x = np.where(np.abs(x) < FAR, x, np.inf)
    parts = x if len(x) > 1 else np.array_split(x[0], 4)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log([np.diff(np.quantile(part, [0.1, 0.9], axis=0), axis=0)[0] for part in parts if len(part)])


def settled(history: History, how: Agreeing) -> bool:
    """Whether the last round saw what the one before it saw: as much evidence, and draws as widely spread."""
    (before, error), (now, other) = history.evidences[-2:]
    same = abs(now - before) < max(how.negligible, 3 * float(np.hypot(error, other)))
    return bool(same and not _widened(history, how).any())


def _widened(history: History, how: Agreeing) -> np.ndarray:
    """Which coordinates are spread more widely than before, beyond what chains differ among themselves."""
    before, now = history.spreads[-2:]
    with np.errstate(invalid="ignore"):
        error = np.sqrt(before.var(axis=0, ddof=1) / len(before) + now.var(axis=0, ddof=1) / len(now))
    return now.mean(axis=0) - before.mean(axis=0) > np.maximum(np.log(how.widens), how.surely * error)


def measured(betas: np.ndarray, gains: np.ndarray, history: History, how: Agreeing) -> Measured:
    """Measure a run: `betas` (rungs,) of its ladder, D (chains, sweeps, rungs), and what its rounds saw."""
    (by_chain, upwards, downwards), errors = evidence_of(betas, gains, how.parts)
    log_z, se = history.evidences[-1]
    contradicts, grew = contradict(by_chain, errors, how), grown(history, how)
    if contradicts or grew is not None:
        log_z, se = np.nan, np.nan
    pareto = pareto_of(betas, np.concatenate(gains), how)
    drift = drifted(history, how)
    return Measured(log_z, se, by_chain, errors, upwards, downwards, contradicts, pareto, drift, grew)


def pareto_of(betas: np.ndarray, gain: np.ndarray, how: Agreeing) -> np.ndarray:
    """Pareto's k of the bridge's weights exp(d_i D / 2) from each rung to the next (rungs - 1,) (Vehtari et al. 2024).

    These are what q and p have least in common in: where p has more mass than the rung below, they have the heavy tail.
    """
    if len(gain) < 100:
        return np.full(len(betas) - 1, np.nan)
    rows = np.linspace(0, len(gain) - 1, min(len(gain), how.pareto_rows)).astype(int)
    log = (np.diff(betas) / 2 * gain[rows, :-1]).T
    lowest = np.min(log, axis=1, keepdims=True, where=np.isfinite(log), initial=np.inf)
    log = np.where(np.isfinite(log), log, np.where(np.isfinite(lowest), lowest, 0.0))
    return np.array([_pareto(one) for one in log])


def _pareto(log: np.ndarray) -> float:
    try:
        return float(array_stats.psislw(-log)[1]) if np.ptp(log) > 1e-8 else np.nan
    except ValueError:  # its tail is one number
        return np.nan


def drifted(history: History, how: Agreeing) -> tuple[float, float, int, float] | None:
    """Where the last two rounds differ: see `Measured`."""
    if settled(history, how):
        return None
    (before, _), (now, _) = history.evidences[-2:]
    with np.errstate(invalid="ignore", over="ignore"):
        growth = np.exp(history.spreads[-1].mean(axis=0) - history.spreads[-2].mean(axis=0))
    return before, now, int(np.argmax(growth)), float(growth.max())


def grown(history: History, how: Agreeing) -> tuple[int, float] | None:
    """Which coordinate's spread has no end that anybody saw: see `Measured`."""
    with np.errstate(invalid="ignore"):
        size = np.array([one.mean(axis=0) for one in history.spreads])
    endless = ~np.isfinite(size[-1]) & ~(size[-1] < 0)
    if endless.any():
        return int(np.argmax(endless)), np.inf
    if len(size) < 3:
        return None
    steps, total = np.diff(size, axis=0), size[-1] - size[0]
    growing = (steps[-2:] > np.log(how.grows)).all(axis=0) & (total > 3 * np.log(how.grows))
    growing |= total > np.log(how.endless)
    if not growing.any():
        return None
    where = int(np.argmax(np.where(growing, total, -np.inf)))
    return where, float(np.exp(total[where]))
