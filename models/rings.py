"""Two rings in the plane, known up to a constant.

    p0(x) ∝ sum_k exp(-(|x| - r_k)^2 / (2 s^2)),   r = 2, 5,   s = 0.25

No distribution of PyMC has this shape, and it has no draws. Its mode is a whole circle, and its mean, 0, lies where
no x is: a wide step leaves an arc, of which MAP gives one point. Turning x by an angle changes nothing, so one
integral over |x| is exact.
"""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from scipy.special import i0e, i1e

import bayesdiff as bd

RADII = np.array([2.0, 5.0])
WIDTH = 0.25


def log_density(x):
    """Log density of x, a PyTensor variable of two numbers, up to a constant."""
    # A tiny number under the root: the radius has no gradient at the centre, where o = 0 makes samplers start.
    radius = pt.sqrt(pt.sum(x**2) + 1e-12)
    terms = -0.5 * ((radius - RADII) / WIDTH) ** 2
    top = pt.max(terms)
    return top + pt.log(pt.sum(pt.exp(terms - top)))


def prior() -> pm.Model:
    """The prior: ``x``, with dim ``axis``. It starts on the inner ring."""
    return bd.density(log_density, dims="axis", coords={"axis": ["east", "north"]}, initval=[RADII[0], 0.0])


def exact(o, alpha=1.0, sigma=1.0):
    """Posterior mean of x, mean radius, the rings' shares, and the log density of o (2,).

    Around the circle the likelihood exp(alpha r |o| cos(angle) / sigma^2) integrates to a Bessel function: with it
    the radius has a density on a line, which a sum over a fine grid integrates.
    """
    o = np.asarray(o, float)
    distance = np.hypot(*o)
    step = 1e-3
    r = np.arange(step / 2, RADII[-1] + 12 * WIDTH, step)
    rings = np.exp(-0.5 * ((r[:, None] - RADII) / WIDTH) ** 2)
    prior_radius = rings.sum(axis=1) * 2 * np.pi * r
    angle = alpha * r * distance / sigma**2
    log_likelihood = -0.5 * (distance - alpha * r) ** 2 / sigma**2 - np.log(2 * np.pi * sigma**2)
    top = log_likelihood.max()
    weight = prior_radius * i0e(angle) * np.exp(log_likelihood - top)
    total = weight.sum()
    # Mean of cos(angle), for each radius.
    cosine = i1e(angle) / i0e(angle)
    direction = o / distance if distance else np.zeros(2)
    return {
        "mean": np.sum(weight * r * cosine) / total * direction,
        "radius": np.sum(weight * r) / total,
        "shares": weight @ (rings / rings.sum(axis=1, keepdims=True)) / total,
        "log_evidence": top + np.log(total / prior_radius.sum()),
    }
