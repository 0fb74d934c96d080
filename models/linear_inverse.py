"""Part of a signal, seen blurred: an inverse problem as a prior.

    x ~ N(0, C),  C_ij = exp(-(i - j)^2 / (2 * 3^2)),     y = A x + noise,  noise ~ N(0, 0.1^2 I)

The model with its observed data y is the prior of a step: p0(x) is p(x | y), narrow where y looks (times 0 to 15) and
as wide as C where it does not. Everything is Gaussian, so p(x | y) and p(x | y, o) have closed forms.
"""

import numpy as np
import pymc as pm

N = 24
SEEN = 16
NOISE = 0.1
TIME = np.arange(N)
# The jitter keeps C's smallest eigenvalue away from rounding errors.
COVARIANCE = np.exp(-0.5 * ((TIME[:, None] - TIME) / 3.0) ** 2) + 1e-4 * np.eye(N)
# Every second of the times seen, each a Gaussian blur (sd 1.5) of the signal around it.
BLUR = np.exp(-0.5 * ((np.arange(0, SEEN, 2)[:, None] - TIME) / 1.5) ** 2) * (TIME < SEEN)
BLUR /= BLUR.sum(axis=1, keepdims=True)
# What was there to be seen, and what was: BLUR @ SIGNAL and noise, rounded.
SIGNAL = np.sin(2 * np.pi * TIME / 12)
Y = np.array([0.42, 0.78, 0.67, -0.13, -0.55, -0.59, -0.06, 0.68])


def prior() -> pm.Model:
    """The prior: ``x`` with dim ``time``, and the data ``y`` with dim ``sensor``."""
    with pm.Model(coords={"time": TIME, "sensor": np.arange(0, SEEN, 2)}) as model:
        x = pm.MvNormal("x", np.zeros(N), chol=np.linalg.cholesky(COVARIANCE), dims="time")
        pm.Normal("y", BLUR @ x, NOISE, observed=Y, dims="sensor")
    return model


def exact(o=None, alpha=1.0, sigma=1.0):
    """Mean (24,) and covariance (24, 24) of x given y, and given o (24,) as well if there is one."""
    precision = np.linalg.inv(COVARIANCE) + BLUR.T @ BLUR / NOISE**2
    pull = BLUR.T @ Y / NOISE**2
    if o is not None:
        precision = precision + alpha**2 / sigma**2 * np.eye(N)
        pull = pull + alpha * np.asarray(o, float) / sigma**2
    covariance = np.linalg.inv(precision)
    return {"mean": covariance @ pull, "covariance": covariance}
