"""The article's prior: one Gaussian number.

    x ~ N(0, 1)

Everything has a closed form: with precision 1 + alpha^2 / sigma^2 the posterior is N(alpha o / (sigma^2 + alpha^2),
sigma^2 / (sigma^2 + alpha^2)), so mode and mean agree for one o. Over many o they do not: the modes spread by
alpha / sqrt(alpha^2 + sigma^2), posterior draws by 1.
"""

import numpy as np
import pymc as pm


def prior() -> pm.Model:
    """The prior: ``x``, a number."""
    with pm.Model() as model:
        pm.Normal("x")
    return model


def exact(o, alpha=1.0, sigma=1.0):
    """Posterior mean and variance given o, and the log density of o; any shapes that broadcast."""
    o, alpha, sigma = np.asarray(o, float), np.asarray(alpha, float), np.asarray(sigma, float)
    total = alpha**2 + sigma**2
    return {
        "mean": alpha * o / total,
        "variance": sigma**2 / total,
        "log_evidence": -0.5 * (o**2 / total + np.log(2 * np.pi * total)),
    }
