"""Forty Gaussians in the plane, here and there.

    x ~ sum_k N(m_k, s^2 I) / 40,   m_k ~ U([-40, 40]^2),   s = log(1 + e) = 1.31

With so many modes some overlap and others lie alone, up to 12 sd from the next: to find most is easy, all is hard. From
Midgley, Stimper, Simm, Schölkopf, Hernández-Lobato (2023), Flow annealed importance sampling bootstrap; the means are
draws of this file's own.
"""

import numpy as np
import pymc as pm

import bayesdiff as bd

MEANS = np.random.default_rng(0).uniform(-40.0, 40.0, size=(40, 2))
SD = np.log1p(np.e)  # the softplus of 1


def prior() -> pm.Model:
    """The prior: ``x``, two numbers."""
    return bd.gaussian_mixture(np.full(len(MEANS), 1 / len(MEANS)), MEANS, SD**2)


def exact():
    """Shares (40,) and means (40, 2) of the components, mean and variance of x (2,), and the log evidence."""
    return {
        "shares": np.full(len(MEANS), 1 / len(MEANS)),
        "means": MEANS,
        "mean": MEANS.mean(axis=0),
        "variance": SD**2 + MEANS.var(axis=0),
        "log_evidence": 0.0,
    }
