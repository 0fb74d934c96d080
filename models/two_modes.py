"""Two modes, far apart in every direction.

    x ~ 2/3 N(-1, .05 I) + 1/3 N(1, .05 I),   x in R^n, n = 16

The modes are 2 sqrt(n / .05) sd apart, 36 for n = 16: a chain that begins at one stays there. Each mode alone looks
well, so nothing but the other one says that half of the answer is missing.
"""

import numpy as np
import pymc as pm

import bayesdiff as bd

WEIGHTS = np.array([2 / 3, 1 / 3])
CENTRES = np.array([-1.0, 1.0])
VARIANCE = 0.05


def prior(n: int = 16) -> pm.Model:
    """The prior: ``x``, `n` numbers."""
    return bd.gaussian_mixture(WEIGHTS, CENTRES[:, None] * np.ones(n), VARIANCE)


def exact(n=16):
    """Shares (2,) and means (2, n) of the modes, mean and variance of x (n,), and the log evidence."""
    mean = WEIGHTS @ CENTRES
    return {
        "shares": WEIGHTS,
        "means": CENTRES[:, None] * np.ones(n),
        "mean": np.full(n, mean),
        "variance": np.full(n, VARIANCE + WEIGHTS @ (CENTRES - mean) ** 2),
        "log_evidence": 0.0,
    }
