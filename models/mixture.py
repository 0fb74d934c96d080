"""Two modes, the higher one with less mass.

    x ~ 0.7 N(-2, 1^2) + 0.3 N(2, 0.25^2)

The density at 2 is 1.7 times that at -2, yet 70 of 100 draws lie around -2. At sigma = 10 an observation says little,
and the mode follows the height: it lies near 2 unless o < -13.5. So nine of ten MAP inversions land in the mode that
holds three of ten x. Posterior draws get the shares right.
"""

import numpy as np
import pymc as pm

import bayesdiff as bd

WEIGHTS = np.array([0.7, 0.3])
MEANS = np.array([-2.0, 2.0])
VARIANCES = np.array([1.0, 0.0625])


def prior() -> pm.Model:
    """The prior: ``x``, a number."""
    return bd.gaussian_mixture(WEIGHTS, MEANS, VARIANCES)


def exact(o, alpha=1.0, sigma=1.0):
    """Shares, means and variances of the posterior's components (..., 2), its mean and variance, the log density of o.

    Each component is updated as a Gaussian of its own; its share grows with how well it predicts o.
    """
    o, alpha, sigma = (np.asarray(value, float)[..., None] for value in (o, alpha, sigma))
    total = alpha**2 * VARIANCES + sigma**2
    log_joint = np.log(WEIGHTS) - 0.5 * ((o - alpha * MEANS) ** 2 / total + np.log(2 * np.pi * total))
    log_evidence = np.logaddexp.reduce(log_joint, axis=-1)
    shares = np.exp(log_joint - log_evidence[..., None])
    means = MEANS + alpha * VARIANCES * (o - alpha * MEANS) / total
    variances = np.broadcast_to(VARIANCES * sigma**2 / total, shares.shape)
    mean = np.sum(shares * means, axis=-1)
    return {
        "shares": shares,
        "means": means,
        "variances": variances,
        "mean": mean,
        "variance": np.sum(shares * (variances + (means - mean[..., None]) ** 2), axis=-1),
        "log_evidence": log_evidence,
    }
