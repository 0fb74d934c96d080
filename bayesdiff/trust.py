"""Trust: when draws are good enough for their numbers to be read.

One rule, for the warning that comes with the draws and for the report that shows or withholds them:

    R-hat <= 1.05,   effective draws >= 100,   diverging trajectories <= 25%

Arrays in, arrays out: it knows neither models nor trees.
"""

from __future__ import annotations

import numpy as np

# Above this R-hat the chains of an observation disagree; PyMC's own limit of 1.01 is met by chance in a large batch.
R_HAT = 1.05
ENOUGH_DRAWS = 100
# Trajectories fail at sharp bends; the other moves make up for some of it, not for most of it.
DIVERGING = 0.25


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


def limits(chains: int, total: int) -> tuple[float, float]:
    """The largest R-hat and the fewest effective draws that are trusted, of ``total`` draws in ``chains`` chains."""
    # By chance alone, the R-hat of few draws is larger; and of few draws fewer can be effective.
    return max(R_HAT, 1 + 4 / (total // chains)), min(ENOUGH_DRAWS, total / 10)


def trusted(r_hat: np.ndarray, ess: np.ndarray, diverged: np.ndarray, *, chains: int, total: int) -> np.ndarray:
    """Whether the draws of each observation are to be trusted; arguments as `worst_of` returns them.

    Examples
    --------
    >>> import numpy as np
    >>> r_hat, ess, diverged = np.array([1.01, 1.2, np.inf]), np.array([900.0, 900.0, 0.0]), np.zeros(3)
    >>> trusted(r_hat, ess, diverged, chains=4, total=4000).tolist()
    [True, False, False]
    """
    most, fewest = limits(chains, total)
    return (r_hat <= most) & (ess >= fewest) & (diverged <= DIVERGING)
