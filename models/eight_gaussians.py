"""Eight Gaussians on a circle.

    x ~ sum_k N(m_k, .7 I) / 8,   m_k = 10 (sin(k pi / 4), cos(k pi / 4)),   k = 0..7

Neighbours are 9 sd apart. Turning by an eighth changes nothing, so all shares are equal and the mean, 0, lies where no
x is.
"""

import numpy as np
import pymc as pm

import bayesdiff as bd

ANGLES = np.arange(8) * np.pi / 4
MEANS = 10 * np.column_stack([np.sin(ANGLES), np.cos(ANGLES)])
VARIANCE = 0.7


def prior() -> pm.Model:
    """The prior: ``x``, two numbers."""
    return bd.gaussian_mixture(np.full(8, 1 / 8), MEANS, VARIANCE)


def exact():
    """Shares (8,) and means (8, 2) of the components, mean and variance of x (2,), and the log evidence."""
    # The squares of the eight sines have the mean 1/2.
    return {
        "shares": np.full(8, 1 / 8),
        "means": MEANS,
        "mean": np.zeros(2),
        "variance": np.full(2, VARIANCE + 50.0),
        "log_evidence": 0.0,
    }
