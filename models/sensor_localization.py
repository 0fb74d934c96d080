"""Where are eight sensors, of which only some distances are known?

    x_i ~ U([0, 1]^2),   i = 1..8;   three more are known
    seen_ij ~ Bernoulli(exp(-|x_i - x_j|^2 / (2 R^2))),   R = .3
    distance_ij ~ N(|x_i - x_j|, .02^2)   where seen

A sensor with two neighbours may lie on either side of the line through them, and takes others along: some of the modes
are reflections of others, their weights unequal. That a distance was not seen says something too. The problem is that
of Ihler, Fisher, Moses, Willsky (2005), Nonparametric belief propagation for self-localization of sensor networks, in
the setting of Ahn, Chen, Welling (2013), Distributed and adaptive darting Monte Carlo through regenerations. The data
are not theirs: they were drawn from the model, with the seed below.
"""

import numpy as np
import pymc as pm

UNKNOWN, KNOWN = 8, 3
RADIUS, NOISE = 0.3, 0.02
_rng = np.random.default_rng(1)
# Where all eleven are; the model is told the last three.
PLACES = _rng.uniform(size=(UNKNOWN + KNOWN, 2))
# All pairs with a sensor that is not known.
FIRST, SECOND = (index[np.triu_indices(11, 1)[0] < UNKNOWN] for index in np.triu_indices(11, 1))
TRUE = np.linalg.norm(PLACES[FIRST] - PLACES[SECOND], axis=1)
SEEN = (_rng.uniform(size=len(TRUE)) < np.exp(-0.5 * (TRUE / RADIUS) ** 2)).astype(int)
DISTANCE = _rng.normal(TRUE, NOISE)[SEEN == 1]


def prior() -> pm.Model:
    """The prior: ``x`` with dims ``sensor`` and ``axis``, and the data ``seen`` and ``distance``."""
    with pm.Model(coords={"sensor": np.arange(UNKNOWN), "axis": ["east", "north"]}) as model:
        x = pm.Uniform("x", 0.0, 1.0, dims=("sensor", "axis"))
        everywhere = pm.math.concatenate([x, PLACES[UNKNOWN:]])
        # A tiny number: all begin in the middle, and a distance of 0 has no gradient.
        square = pm.math.sum((everywhere[FIRST] - everywhere[SECOND]) ** 2, axis=1) + 1e-12
        pm.Bernoulli("seen", pm.math.exp(-square / (2 * RADIUS**2)), observed=SEEN)
        pm.Normal("distance", pm.math.sqrt(square[SEEN == 1]), NOISE, observed=DISTANCE)
    return model
