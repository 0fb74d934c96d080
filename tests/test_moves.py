"""One harness for all moves: from exact draws of p(x | o) a move leads to exact draws of p(x | o).

The states start at independent exact draws, so after any number of moves each statistic is a mean of independent terms
with a known mean: its error is judged in standard errors. Moves that are wrong on purpose must fail.
"""

import exact
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesdiff.invert.moves import (
    Gaussians,
    Metric,
    States,
    Target,
    chances,
    hmc,
    mode_jump,
    prior_jump,
    slice_move,
)

jax.config.update("jax_enable_x64", True)  # as `bayesdiff.compiled` does, which no module here needs
CHAINS = 40_000
MOVES = 5
MIXTURE = exact.mixture([0.5, 0.3, 0.2], [[-1.5, 0.0], [1.0, 1.5], [1.0, -1.0]], [np.diag([0.4, 0.2])] * 3)
OBSERVED, ALPHA, SIGMA = np.array([0.6, -0.3]), 0.8, 1.1
POSTERIOR, _ = exact.mixture_posterior(MIXTURE, OBSERVED, ALPHA, SIGMA)


def log_prior(x):
    d = x - jnp.array(MIXTURE.means)
    return jax.scipy.special.logsumexp(
        jnp.log(jnp.array(MIXTURE.weights)) - 0.5 * (d**2 / jnp.array([0.4, 0.2])).sum(-1) - 0.5 * jnp.log(0.4 * 0.2)
    ) - jnp.log(2 * jnp.pi)


PRIOR = jax.vmap(log_prior)
GRADIENT = jax.vmap(jax.value_and_grad(log_prior))


def target(chains=CHAINS):
    return Target(PRIOR, jnp.tile(OBSERVED, (chains, 1)), jnp.full(chains, ALPHA), jnp.full(chains, SIGMA))


def chance(key, chains=CHAINS):
    return jax.tree.map(lambda values: values[0], chances(key[None], 1, chains, 2, 2))


def gaussians():
    precision = jnp.array([np.linalg.inv(1.3 * c) for c in POSTERIOR.covariances])
    root = jnp.array([np.linalg.cholesky(1.3 * c) for c in POSTERIOR.covariances])
    weight = jnp.log(jnp.array([0.2, 0.5, 0.3]))  # not those of the posterior: the acceptance must mend it
    height = weight + 0.5 * jnp.linalg.slogdet(precision)[1]
    return Gaussians(*[v[None] for v in (jnp.array(POSTERIOR.means), precision, root, height, weight)])


def jump_to_prior(key, states, bank):
    chosen = jax.random.choice(key, len(bank), (len(states.x),), replace=False)
    uniform = jax.random.uniform(jax.random.fold_in(key, 1), (CHAINS,))
    return prior_jump(uniform, states, target(), States(bank[chosen], PRIOR(bank[chosen])))[0]


def jump_to_modes(key, states, bank):
    return mode_jump(chance(key), states, target(), gaussians())[0]


def slices(key, states, bank):
    return slice_move(jax.random.fold_in(key, 1), chance(key), states, target())[0]


def trajectories(key, states, bank, root=((0.7, 0.2), (0.2, 0.5))):
    metric = Metric(jnp.broadcast_to(jnp.array(root), (CHAINS, 2, 2)))
    return hmc(chance(key), states, target(), GRADIENT, metric, jnp.full(CHAINS, 0.9), jnp.array(4))[0]


def diagonal_trajectories(key, states, bank):
    metric = Metric(jnp.broadcast_to(jnp.array([0.7, 0.4]), (CHAINS, 2)))
    return hmc(chance(key), states, target(), GRADIENT, metric, jnp.full(CHAINS, 0.9), jnp.array(4))[0]


# Wrong on purpose: each forgets one factor.
def always_to_prior(key, states, bank):
    chosen = jax.random.choice(key, len(bank), (len(states.x),), replace=False)
    return States(bank[chosen], PRIOR(bank[chosen]))


def modes_without_correction(key, states, bank):
    x = gaussians().draw(chance(key))
    return States(x, PRIOR(x))


def slice_of_another_noise(key, states, bank):
    return slice_move(
        jax.random.fold_in(key, 1), chance(key), states, target()._replace(sigma=jnp.full(CHAINS, 1.2 * SIGMA))
    )[0]


def trajectories_of_another_prior(key, states, bank):
    flatter = jax.vmap(jax.value_and_grad(lambda x: 0.8 * log_prior(x)))
    metric = Metric(jnp.full((CHAINS, 2), 0.7))
    new, _, _ = hmc(
        chance(key),
        states._replace(prior=0.8 * states.prior),
        target(),
        flatter,
        metric,
        jnp.full(CHAINS, 0.9),
        jnp.array(4),
    )
    return States(new.x, PRIOR(new.x))


def z_scores(move):
    """Errors after MOVES moves, in standard errors: of means, squares, product and component shares."""
    rng = np.random.default_rng(11)
    x = jnp.array(exact.mixture_draws(POSTERIOR, CHAINS, rng))
    bank = jnp.array(exact.mixture_draws(MIXTURE, MOVES * CHAINS, rng))
    states = States(x, PRIOR(x))
    step = jax.jit(move)
    for i in range(MOVES):
        states = step(jax.random.key(i), states, bank[i * CHAINS : (i + 1) * CHAINS])
    np.testing.assert_allclose(
        states.prior, PRIOR(states.x), rtol=1e-12
    )  # what is carried is the density of where it stands
    moved = np.asarray((states.x != x).any(axis=1))
    assert moved.mean() > 0.5
    mean, covariance = exact.mixture_moments(POSTERIOR)
    second = covariance + np.outer(mean, mean)
    y = np.asarray(states.x)
    d = y[:, None] - POSTERIOR.means
    log_share = (
        np.log(POSTERIOR.weights)
        - 0.5 * np.einsum("lmi,mij,lmj->lm", d, np.linalg.inv(POSTERIOR.covariances), d)
        - 0.5 * np.linalg.slogdet(POSTERIOR.covariances)[1]
    )
    share = np.exp(log_share - log_share.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    terms = np.column_stack([y, y**2, y[:, 0] * y[:, 1], share])
    truth = np.r_[mean, np.diag(second), second[0, 1], POSTERIOR.weights]
    return (terms.mean(axis=0) - truth) / (terms.std(axis=0) / np.sqrt(CHAINS))


@pytest.mark.parametrize("move", [jump_to_prior, jump_to_modes, slices, trajectories, diagonal_trajectories])
def test_a_move_leaves_the_posterior_as_it_is(move):
    assert np.abs(z_scores(move)).max() < 4.0


@pytest.mark.parametrize(
    "move", [always_to_prior, modes_without_correction, slice_of_another_noise, trajectories_of_another_prior]
)
def test_a_wrong_move_is_caught(move):
    assert np.abs(z_scores(move)).max() > 6.0


@pytest.mark.parametrize("move", ["prior", "modes", "slice", "hmc"])
def test_an_invalid_chain_stays_and_moves_no_other(move):
    """A chain of density 0, and one of NaN: their neighbours end where they would have ended without them."""

    def run(x):
        to, n = target(len(x)), len(x)
        states, key = States(x, PRIOR(x).at[3].set(-jnp.inf)), jax.random.key(5)
        random = chance(key, n)
        if move == "prior":
            return prior_jump(random.uniform[0], states, to, States(x[::-1], PRIOR(x[::-1])))[0]
        if move == "modes":
            return mode_jump(random, states, to, gaussians())[0]
        if move == "slice":
            return slice_move(key, random, states, to)[0]
        return hmc(random, states, to, GRADIENT, Metric(jnp.ones((n, 2))), jnp.full(n, 0.5), jnp.array(3))[0]

    x = jnp.array(exact.mixture_draws(POSTERIOR, 64, np.random.default_rng(0)))
    clean, dirty = run(x), run(x.at[7].set(jnp.nan))
    rest = np.r_[0:7, 8 : 64 - 8, 64 - 7 : 64]
    np.testing.assert_array_equal(clean.x[rest], dirty.x[rest])
    if move == "slice":
        np.testing.assert_array_equal(clean.x[3], x[3])
