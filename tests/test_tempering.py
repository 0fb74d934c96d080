"""The ladder: its moves leave every rung's density as it is, and its evidence is a closed form's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, norm

from bayesdiff.multimodal import tempering
from bayesdiff.multimodal.mixtures import Fit, Spread, mixture
from bayesdiff.multimodal.tempering import StepSizes, Sweeps, Walker, equalised, log_evidence, rejections
from bayesdiff.multimodal.tuning import TEMPERING

begin = jax.jit(tempering.begin, static_argnums=0)
make_sweeps = jax.jit(tempering.make_sweeps, static_argnums=(0, 1))

MOVING = TEMPERING.moving

RUNGS = 5
BETAS = np.linspace(0, 1, RUNGS)


def density(x, data):
    """Two normals on the line, 10 apart: .8 N(-5, 1) + .2 N(5, .5^2), times exp(3)."""
    terms = jnp.stack(
        [jnp.log(0.8) - 0.5 * (x[0] + 5) ** 2, jnp.log(0.2) - 0.5 * ((x[0] - 5) / 0.5) ** 2 - jnp.log(0.5)]
    )
    return 3 + jax.scipy.special.logsumexp(terms) - 0.5 * jnp.log(2 * jnp.pi)


def run(q, chunks, *, betas=BETAS, start=-5.0, seed=0):
    ladder = begin(density, (), q, np.full((RUNGS, 1), start))
    walker = Walker(ladder, StepSizes(np.full(RUNGS, np.log(0.7)), np.zeros(len(q.log_weight))))
    seen = []
    for number in range(chunks):
        walker, chunk = make_sweeps(density, MOVING, (), q, betas, walker, 0.0, jax.random.key(seed * 1000 + number))
        seen.append(jax.tree.map(np.asarray, chunk))
    return Sweeps(*(np.concatenate(values) for values in zip(*seen, strict=True)))


@pytest.fixture(scope="module")
def poor():
    """A reference that is wrong in weight, place and width."""
    gaussians = Fit(np.array([0.5, 0.5]), np.array([[-4.0], [5.5]]), np.array([[[3.0]], [[1.0]]]))
    return mixture(gaussians, Spread(np.zeros(1), np.array([[25.0]])), 8, TEMPERING.fitting)


@pytest.fixture(scope="module")
def seen(poor):
    return run(poor, 120)


def test_draws_have_both_modes_in_their_weights(seen):
    x = seen.x[MOVING.chunk :, 0]
    share = (x > 0).mean()
    arrivals = seen.trips[MOVING.chunk :].sum()
    assert abs(share - 0.2) < 4 * np.sqrt(0.16 / arrivals)
    # Every tenth is nearly independent.
    assert kstest(x[x < 0][::10], norm(-5, 1).cdf).pvalue > 1e-3
    assert kstest(x[x > 0][::10], norm(5, 0.5).cdf).pvalue > 1e-3


def test_moves_alone_do_not_get_across(poor):
    """The negative control: without exchanges the weights are those of the start, however long one waits."""
    gaussians = Fit(np.ones(1), np.array([[5.0]]), np.array([[[0.25]]]))
    beside = mixture(
        gaussians, Spread(np.array([5.0]), np.array([[0.04]])), 8, TEMPERING.fitting
    )  # q as good as never leaves the right
    x = run(beside, 20, betas=np.ones(RUNGS) - 1e-9 * (np.arange(RUNGS) == 0), start=5.0).x[:, 0]
    share = (x > 0).mean()
    assert abs(share - 0.2) > 0.5


def test_evidence_is_exact_by_the_bridge_and_in_both_directions(seen):
    parts = [log_evidence(BETAS, part) for part in np.array_split(seen.gain[MOVING.chunk :], 12)]
    for values in np.array(parts).T:
        assert abs(values.mean() - 3.0) < 4 * values.std(ddof=1) / np.sqrt(12) + 0.01


def test_evidence_of_exact_draws_of_every_rung():
    """From N(0, 1) to N(0, 1/4) times exp(2): rung b is N(0, 1 / (1 + 3 b))."""
    rng = np.random.default_rng(0)
    betas = np.linspace(0, 1, 6)
    x = rng.normal(size=(20_000, 6)) / np.sqrt(1 + 3 * betas)
    gain = 2 + np.log(2) - 1.5 * x**2
    bridge, up, down = log_evidence(betas, gain)
    assert abs(bridge - 2) < 0.01
    assert abs(up - 2) < 0.02
    assert abs(down - 2) < 0.02


def test_states_of_no_density_count_as_nothing():
    """Half of q's draws lie where p is 0, and p is q elsewhere: the evidence is 1/2."""
    rng = np.random.default_rng(1)
    gain = np.zeros((40_000, 2))
    gain[rng.uniform(size=40_000) < 0.5, 0] = -np.inf
    bridge, up, _ = log_evidence(np.array([0.0, 1.0]), gain)
    assert abs(up - np.log(0.5)) < 0.02
    assert abs(bridge - np.log(0.5)) < 0.02


def test_rejections_are_those_of_the_exchange_rule():
    gain = np.array([[0.0, 1.0], [2.0, 0.0], [-np.inf, 0.0]])
    # Accepted with min(1, exp((b_1 - b_0)(D_0 - D_1))): exp(-1/2), 1, and never.
    np.testing.assert_allclose(rejections(np.array([0.0, 0.5]), gain), 1 - (np.exp(-0.5) + 1 + 0) / 3)


def test_rungs_are_placed_where_pairs_reject():
    betas = equalised(np.linspace(0, 1, 5), np.array([0.6, 0.2, 0.1, 0.1]))
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (np.diff(betas) > 0).all()
    np.testing.assert_allclose(betas[1], 0.25 * 0.25 / 0.6)  # a quarter of the barrier lies in the first pair


def test_a_density_that_is_not_a_number_is_refused_and_counted(poor):
    def broken(x, data):
        return jnp.where(x[0] < -5, jnp.nan, density(x, data))

    ladder = begin(broken, (), poor, np.full((RUNGS, 1), -4.0))
    walker = Walker(ladder, StepSizes(np.full(RUNGS, np.log(0.7)), np.zeros(8)))
    _, chunk = make_sweeps(broken, MOVING, (), poor, BETAS, walker, 0.0, jax.random.key(0))
    assert np.asarray(chunk.invalid).sum() > 0
    assert (np.asarray(chunk.x) > -5).all()
    assert np.isfinite(chunk.lp).all()


def test_evaluations_are_counted(seen):
    leaps = (seen.evaluations - 1) / (RUNGS - 1)
    assert (leaps == leaps.round()).all()
    assert leaps.min() >= 1
