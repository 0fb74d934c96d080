"""Trust: when draws are good enough for their numbers to be read.

One rule, for the warning that comes with the draws and for the report that shows or withholds them:

    R-hat <= 1.05,   effective draws >= 100,   diverging trajectories <= 25%

Fewer draws in all than that are not judged, and their numbers are not read. The trajectories of a chain of small steps
are independent: there the finite ones are counted, and p-values below 1e-3 say that two samples have not one law.

Arrays in, arrays out: it knows neither models nor trees.
"""

from __future__ import annotations

import numpy as np

# Above this R-hat the chains of an observation disagree; PyMC's own limit of 1.01 is met by chance in a large batch.
R_HAT = 1.05
ENOUGH_DRAWS = 100
# R-hat and effective draws are those of half chains, which need four draws to have an autocorrelation.
ENOUGH_IN_A_CHAIN = 8
# Trajectories fail at sharp bends; the other moves make up for some of it, not for most of it.
DIVERGING = 0.25
# Trajectories are not lost at random: more than this share may leave a part of x out.
MOST_LOST = 0.01
# More of the mass than this in modes that no chain was given is said.
MOST_LEFT_OUT = 0.01
# Below this p-value two samples that should have one law are said to differ (shared out over all that are compared).
DISAGREE = 1e-3


def worst_of(r_hat: np.ndarray, ess: np.ndarray, diverging: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest R-hat and the fewest effective draws over the coordinates, and the share that diverged.

    Parameters
    ----------
    r_hat, ess : ndarray (observation, n)
        NaN where a coordinate never moved, in any chain: R-hat is then infinite and no draw is effective.
    diverging : ndarray (observation, chain, draw)
        Whether each trajectory diverged.

    Returns
    -------
    tuple of ndarray (observation,)
        R-hat, effective draws, share diverging.
    """
    worst_r, fewest = np.nan_to_num(r_hat, nan=np.inf).max(axis=1), np.nan_to_num(ess, nan=0.0).min(axis=1)
    return worst_r, fewest, diverging.mean(axis=(1, 2))


def too_few(chains: int, draws: int) -> str:
    """Why so many draws are too few to be judged, in words; nothing if they are enough.

    Examples
    --------
    >>> too_few(2, 20)
    'too few draws to be judged: 40, 100 are needed'
    >>> too_few(4, 1000)
    ''
    """
    if chains * draws < ENOUGH_DRAWS:
        return f"too few draws to be judged: {chains * draws:,}, {ENOUGH_DRAWS} are needed"
    if draws < ENOUGH_IN_A_CHAIN:
        return f"too few draws in each chain to be judged: {draws}, {ENOUGH_IN_A_CHAIN} are needed"
    return ""


def trusted(r_hat: np.ndarray, ess: np.ndarray, diverged: np.ndarray) -> np.ndarray:
    """Whether the draws of each observation are to be trusted; arguments as `worst_of` returns them.

    Examples
    --------
    >>> import numpy as np
    >>> r_hat, ess, diverged = np.array([1.01, 1.2, np.inf, 1.01]), np.array([900.0, 900.0, 0.0, 99.0]), np.zeros(4)
    >>> trusted(r_hat, ess, diverged).tolist()
    [True, False, False, False]
    """
    return (r_hat <= R_HAT) & (ess >= ENOUGH_DRAWS) & (diverged <= DIVERGING)


def disagree(p_value: float, compared: int = 1) -> bool:
    """Whether the least p-value of so many says that two samples have not one law (Bonferroni's correction).

    Examples
    --------
    >>> disagree(5e-4), disagree(5e-4, compared=30), disagree(float("nan"))
    (True, False, False)
    """
    return bool(p_value * compared < DISAGREE)
