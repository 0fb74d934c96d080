"""Honesty: the numbers that a verdict on a tempered run rests on.

Every chain started for itself: its own starts, its own ladder. So chains must agree, in the draws (R-hat), in the
weights of the modes (R-hat of which mode a draw is at) and in the evidence. Where they do not, the evidence is
withheld. What no chain found cannot be seen in any of this. `bayesdiff.verdict` says what all of it comes to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.stats import chi2

from bayesdiff.multimodal.scout import Found
from bayesdiff.multimodal.tempering import log_evidence
from bayesdiff.verdict import LIMITS

# Batches of a chain, for the error of its evidence.
BATCHES = 8
# Evidences that are this near are one number to any reader, however small their errors.
NEGLIGIBLE = 0.05
CONTRADICTION = 1e-3
# Of draws with which nobody finds fault.
GOOD_R_HAT = 1.02
PARETO_ROWS = 4096
# A spread that grows by this has not been seen whole.
WIDENS = 1.1
# In errors that are themselves estimated from a few chains, and of all coordinates the worst.
SURELY = 5.0
# A spread that grows by so much, and then again, has no end that anybody saw.
GROWS = 2.0
# Nor has one that grew so much in all, whatever it did in the last two rounds.
ENDLESS = 1e4
# Draws that say how wide the modes are.
LABELLED = 8192


@dataclass(frozen=True)
class Measured:
    """What is known of a run's evidence, and of what its rounds saw.

    Attributes
    ----------
    log_evidence, log_evidence_se : float
        NaN where the chains contradict each other, or the posterior is probably improper.
    by_chain, by_chain_se, upwards, downwards : ndarray (chains,)
        log evidence of each chain: by bridge sampling, its error by batches, and by stepping stones from q to p and
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


def shares_of(found: Found, x: np.ndarray) -> np.ndarray:
    """Say at which mode each draw is, (chains, draws) of x (chains, draws, n): that whose Gaussian is likeliest there.

    The Gaussians are those of the curvature at first, then those of the draws that were given to them.
    """
    flat = x.reshape(-1, x.shape[-1])
    n = flat.shape[1]
    means, covariances = found.x.copy(), found.covariance.copy()
    mass = np.exp(found.log_mass - found.log_mass.max(initial=-np.inf))
    weights = np.maximum(mass, 1e-300)
    some = flat[:: max(1, len(flat) // LABELLED)]
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
    return (
        np.asarray(array_stats.rhat(x, chain_axis=0, draw_axis=1)),
        np.asarray(array_stats.ess(x, chain_axis=0, draw_axis=1, method="bulk")),
    )


def evidence_of(betas: np.ndarray, gains: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Evidences (3, chains), as `log_evidence` gives them, and their standard errors (chains,) by batches."""
    whole = np.array([log_evidence(betas, gain) for gain in gains]).T
    errors = []
    for gain in gains:
        parts = [log_evidence(betas, part)[0] for part in np.array_split(gain, BATCHES)]
        errors.append(np.std(parts, ddof=1) / np.sqrt(BATCHES))
    return whole, np.array(errors)


def contradict(by_chain: np.ndarray, errors: np.ndarray) -> bool:
    """Whether the evidences of chains are farther apart than their errors allow, or are no numbers."""
    if not np.isfinite(by_chain).all():
        return True
    # Errors by batches are themselves uncertain, and nobody minds a difference that is negligible.
    size = np.sqrt(errors**2 + (NEGLIGIBLE / 2) ** 2)
    square = (((by_chain - by_chain.mean()) / size) ** 2).sum()
    return len(by_chain) > 1 and bool(chi2.sf(square, len(by_chain) - 1) < CONTRADICTION)


def agree(betas: np.ndarray, gains: list[np.ndarray], r_hat: np.ndarray, ess: np.ndarray, wanted: float) -> bool:
    """Whether chains agree so well that nothing is gained by another round."""
    whole, errors = evidence_of(betas, gains)
    return bool(
        not contradict(whole[0], errors)
        and (np.nan_to_num(r_hat, nan=1.0) < GOOD_R_HAT).all()
        and (np.nan_to_num(ess, nan=np.inf) > wanted).all()
        and np.nanmax(pareto_of(betas, np.concatenate(gains)), initial=-np.inf) <= LIMITS.pareto_k
    )


def evidence(betas: np.ndarray, gains: list[np.ndarray]) -> tuple[float, float]:
    """The evidence that chains give together, and its standard error."""
    whole, errors = evidence_of(betas, gains)
    return float(whole[0].mean()), _standard_error(whole[0], errors)


def width(x: list[np.ndarray]) -> np.ndarray:
    """How widely draws (draws, n) of each chain are spread, whatever their tails: log (parts, n), one part a chain."""
    parts = x if len(x) > 1 else np.array_split(x[0], 4)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log([np.diff(np.quantile(part, [0.1, 0.9], axis=0), axis=0)[0] for part in parts if len(part)])


def settled(evidences: list[tuple[float, float]], spreads: list[np.ndarray]) -> bool:
    """Whether the last round saw what the one before it saw: as much evidence, and draws as widely spread."""
    (before, error), (now, other) = evidences[-2:]
    same = abs(now - before) < max(NEGLIGIBLE, 3 * float(np.hypot(error, other)))
    return bool(same and not _widened(*spreads[-2:]).any())


def _widened(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Which coordinates are spread more widely than before, beyond what chains differ among themselves."""
    error = np.sqrt(before.var(axis=0, ddof=1) / len(before) + now.var(axis=0, ddof=1) / len(now))
    return now.mean(axis=0) - before.mean(axis=0) > np.maximum(np.log(WIDENS), SURELY * error)


def measured(
    betas: np.ndarray,
    gains: list[np.ndarray],
    evidences: list[tuple[float, float]],
    spreads: list[np.ndarray],
) -> Measured:
    """Measure a run.

    Parameters
    ----------
    betas : ndarray (rungs,)
        The ladder.
    gains : list of ndarray (sweeps, rungs)
        D of each chain.
    evidences : list of (float, float)
        The evidence of its rounds, each with its error.
    spreads : list of ndarray (chains, n)
        How widely x was spread in these rounds, as `width` says.
    """
    (by_chain, upwards, downwards), errors = evidence_of(betas, gains)
    log_z, se = evidences[-1]
    contradicts, grew = contradict(by_chain, errors), grown(spreads)
    if contradicts or grew is not None:
        log_z, se = np.nan, np.nan
    pareto = pareto_of(betas, np.concatenate(gains))
    drift = drifted(evidences[-2:], spreads[-2:])
    return Measured(log_z, se, by_chain, errors, upwards, downwards, contradicts, pareto, drift, grew)


def _standard_error(by_chain: np.ndarray, errors: np.ndarray) -> float:
    """Of the mean: from the batches, or from the chains where these differ more."""
    chains = len(by_chain)
    within = np.sqrt((errors**2).mean() / chains)
    return max(within, np.std(by_chain, ddof=1) / np.sqrt(chains)) if chains > 1 else within


def pareto_of(betas: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Pareto's k of the bridge's weights exp(d_i D / 2) from each rung to the next (rungs - 1,) (Vehtari et al. 2024).

    These are what q and p have least in common in: where p has more mass than the rung below, they have the heavy tail.
    """
    if len(gain) < 100:
        return np.full(len(betas) - 1, np.nan)
    rows = np.linspace(0, len(gain) - 1, min(len(gain), PARETO_ROWS)).astype(int)
    log = (np.diff(betas) / 2 * gain[rows, :-1]).T
    log = np.where(np.isfinite(log), log, np.nanmin(np.where(np.isfinite(log), log, np.nan), axis=1, keepdims=True))
    found = np.asarray(array_stats.psislw(-log, axis=1)[1])
    return np.where(np.ptp(log, axis=1) > 1e-8, found, np.nan)


def drifted(evidences: list[tuple[float, float]], spreads: list[np.ndarray]) -> tuple[float, float, int, float] | None:
    """Where the last two rounds differ: see `Measured`."""
    if settled(evidences, spreads):
        return None
    growth = np.exp(spreads[-1].mean(axis=0) - spreads[-2].mean(axis=0))
    return evidences[0][0], evidences[1][0], int(np.argmax(growth)), float(growth.max())


def grown(spreads: list[np.ndarray]) -> tuple[int, float] | None:
    """Which coordinate's spread has no end that anybody saw: see `Measured`."""
    if len(spreads) < 3:
        return None
    with np.errstate(invalid="ignore"):
        size = np.array([one.mean(axis=0) for one in spreads])
    endless = ~np.isfinite(size[-1]) & ~(size[-1] < 0)
    if endless.any():
        return int(np.argmax(endless)), np.inf
    steps, total = np.diff(size, axis=0), size[-1] - size[0]
    growing = (steps[-2:] > np.log(GROWS)).all(axis=0) & (total > 3 * np.log(GROWS)) | (total > np.log(ENDLESS))
    if not growing.any():
        return None
    where = int(np.argmax(np.where(growing, total, -np.inf)))
    return where, float(np.exp(total[where]))
