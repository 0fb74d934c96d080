"""Are ranks uniform? The band that their ECDF must stay in, and the p-value of leaving it, both computed exactly.

    R_1, ..., R_N independent, each uniform on 0..L  =>  C_j = #{i : R_i < j} ~ Bin(N, z_j),   z_j = j / (L + 1)

A band for all j = 1..L at once is made of the intervals of Bin(N, z_j) whose tails hold gamma / 2 or less on each side,
with gamma so small that the whole path C_1, ..., C_L stays inside with the probability that is asked for (Säilynoja,
Bürkner, Vehtari 2022, section 2). That probability is a sum over paths, computed step by step: nothing is simulated, so
p-values have no smallest one, and the same ranks always get the same.

Measured beside arviz_stats' `uniformity_test` (pot_c, of (R + u) / (L + 1), u ~ U(0, 1); without u, uniform ranks fail
it), by 20,000 uniform and 2,000 wrong sets of ranks each, of 100 to 1,000 replicates among 9 to 99 draws. At .01 / 3,
the error of each of three quantities, this one's size is .0023 to .0035, that one's .0031 to .0048. With both at that
size, that one sees shifted draws as often or more (by 0 to .03, of .16 to .20), too narrow ones as often (-.01 to .01,
of .06 to .14), too wide ones more seldom (by .01 to .03, of .04 to .11), and so draws in which a share of the x lost
half of the posterior (by .02 to .07, of .14 to .97).

Arrays in, arrays out: it knows neither models nor trees.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, poisson

# Values of the statistic this close are one value: they are sums of the same terms in another order.
SAME = 1e-9
# Below this the sum over paths is all rounding, and the union bound is as good.
ROUNDING = 1e-9


def cuts(draws: int) -> np.ndarray:
    """The points z_j = j / (L + 1), j = 1..L, at which the ECDF of ranks on 0..L is looked at.

    Examples
    --------
    >>> cuts(3).tolist()
    [0.25, 0.5, 0.75]
    """
    return np.arange(1, draws + 1) / (draws + 1)


def below(ranks: np.ndarray, draws: int) -> np.ndarray:
    """How many ranks lie below each cut: C_j = #{i : R_i < j}, j = 1..L.

    Parameters
    ----------
    ranks : ndarray of int (replicates, *shape)
        On 0..L.
    draws : int
        L.

    Returns
    -------
    ndarray of int (L, *shape)

    Examples
    --------
    >>> import numpy as np
    >>> below(np.array([0, 2, 2, 3]), 3).tolist()
    [1, 1, 3]
    """
    flat = ranks.reshape(len(ranks), -1)
    counts = np.zeros((draws + 1, flat.shape[1]), int)
    np.add.at(counts, (flat, np.arange(flat.shape[1])), 1)
    return np.cumsum(counts, axis=0)[:draws].reshape(draws, *ranks.shape[1:])


def tails(replicates: int, draws: int) -> np.ndarray:
    """Twice the smaller tail of Bin(N, z_j) at each count c: 2 min(P(C_j <= c), P(C_j >= c)), an array (L, N + 1).

    Examples
    --------
    >>> tails(2, 1).tolist()  # of Bin(2, 1/2): 1/4, 1/2, 1/4
    [[0.5, 1.5, 0.5]]
    """
    count = np.arange(replicates + 1)
    z = cuts(draws)[:, None]
    return 2 * np.minimum(binom.cdf(count, replicates, z), binom.sf(count - 1, replicates, z))


def statistic(counts: np.ndarray, tail: np.ndarray) -> float:
    """The least tail that a path meets: gamma of the narrowest band that it leaves.

    Parameters
    ----------
    counts : ndarray of int (L,)
        C_1, ..., C_L, as `below` gives them.
    tail : ndarray (L, N + 1)
        As `tails` gives them.
    """
    return float(tail[np.arange(len(counts)), counts].min())


def p_value(gamma: float, tail: np.ndarray) -> float:
    r"""The probability that uniform ranks meet a tail as small as gamma at one cut or more.

    .. math:: P\left(\min_j\, 2 \min(P(C_j \le c_j), P(C_j \ge c_j)) \le \gamma\right)

    The C_j are a path: each cell takes its share of the ranks that are left. Drawn as independent Poisson counts of
    mean N / (L + 1), given that they sum to N, their partial sums have the same law, and one convolution goes from cut
    to cut. What leaves the band at a cut is left out.

    Parameters
    ----------
    gamma : float
        What `statistic` gave.
    tail : ndarray (L, N + 1)
        As `tails` gives them.

    Returns
    -------
    float
        Exact, but for rounding; where it is below 1e-9, the union bound L gamma.

    Examples
    --------
    >>> round(p_value(0.5, tails(2, 1)), 12)  # C is 0 or 2 in half of all cases
    0.5
    """
    draws, replicates = len(tail), tail.shape[1] - 1
    if draws * gamma < ROUNDING:
        return max(draws * gamma, float(np.finfo(float).tiny))  # a tail that is too small to be a number is not 0
    inside = tail > gamma * (1 + SAME)
    if not inside.any(axis=1).all():
        return 1.0
    low, high = inside.argmax(axis=1), replicates - inside[:, ::-1].argmax(axis=1)
    mean = replicates / (draws + 1)
    step = poisson.pmf(np.arange(replicates + 1), mean)
    mass, at = np.ones(1), 0
    for first, last in zip(low, high, strict=True):
        reached = np.convolve(mass, step[: last - at + 1])
        mass, at = reached[first - at : last - at + 1], first
    whole = (mass * step[replicates - at - np.arange(len(mass))]).sum() / poisson.pmf(replicates, replicates)
    return float(np.clip(1 - whole, 0.0, 1.0))


def band(probability: float, tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fewest and the most ranks below each cut that stay in the simultaneous band of a probability.

    Parameters
    ----------
    probability : float
        With which uniform ranks stay inside at all cuts, at least: counts are whole numbers.
    tail : ndarray (L, N + 1)
        As `tails` gives them.

    Returns
    -------
    low, high : ndarray of int (L,)
        A path leaves them if and only if its p-value is at most 1 - probability.

    Examples
    --------
    >>> low, high = band(0.95, tails(100, 1))
    >>> low.tolist(), high.tolist()  # of Bin(100, 1/2)
    ([40], [60])
    """
    error = 1 - probability
    # In log gamma. By the union bound gamma is error / L at least; and a band that all leave is too narrow.
    fewest, most = np.log(error / len(tail)) - 1e-6, np.log(2.0)
    while most - fewest > SAME:
        middle = 0.5 * (fewest + most)
        if p_value(float(np.exp(middle)), tail) <= error:
            fewest = middle
        else:
            most = middle
    inside = tail > np.exp(fewest) * (1 + SAME)
    return inside.argmax(axis=1), inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
