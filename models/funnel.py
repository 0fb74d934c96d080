"""A funnel: one variable sets the scale of all others.

    v ~ N(0, 3^2),   x_i ~ N(0, e^v),   i = 1..9

Ten dimensions, one mode, and widths from 1/90 to 90 within three sd of v: no step size suits both the neck and the
mouth. The mode lies in the neck, at v = -81/2, where hardly any x is. From Neal (2003), Slice sampling, section 8.
"""

import numpy as np
import pymc as pm

N = 10


def prior() -> pm.Model:
    """The prior: ``v``, a number, and ``x``, nine numbers."""
    with pm.Model() as model:
        v = pm.Normal("v", 0.0, 3.0)
        pm.Normal("x", 0.0, pm.math.exp(v / 2), shape=N - 1)
    return model


def exact():
    """Means and variances of v and x, and the log evidence. The variance of x, E e^v, is mostly that of rare v."""
    return {
        "v": {"mean": 0.0, "variance": 9.0},
        "x": {"mean": np.zeros(N - 1), "variance": np.full(N - 1, np.exp(4.5))},
        "log_evidence": 0.0,
    }
