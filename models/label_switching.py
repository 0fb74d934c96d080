"""A mixture fitted to data, its components in any order: six equal modes.

    y_i ~ sum_k w_k N(mu_k, sd_k^2),   w ~ Dirichlet(1, 1, 1),   mu_k ~ N(0, 5^2),   sd_k ~ HalfNormal(2),   k = 1..3

Nothing tells the components apart, so each answer comes in 3! = 6 orders. The usual way out is to order mu, which needs
thought in each model; the posterior as it is written here has six modes, of weight 1/6 each.
"""

import numpy as np
import pymc as pm

# Forty, thirty and thirty draws.
Y = np.random.default_rng(1).normal(np.repeat([-4.0, 0.0, 5.0], [40, 30, 30]), np.repeat([1.0, 0.5, 1.0], [40, 30, 30]))


def prior() -> pm.Model:
    """The prior: ``w``, ``mu`` and ``sd`` with dim ``component``, and the data ``y``."""
    with pm.Model(coords={"component": [1, 2, 3]}) as model:
        w = pm.Dirichlet("w", np.ones(3), dims="component")
        mu = pm.Normal("mu", 0, 5, dims="component")
        sd = pm.HalfNormal("sd", 2, dims="component")
        pm.NormalMixture("y", w, mu, sd, observed=Y)
    return model


def exact():
    """The shares of the six orders, and the mean of each w."""
    return {"shares": np.full(6, 1 / 6), "w": {"mean": np.full(3, 1 / 3)}}
