"""Maxima without a curvature: kinks are found where closed forms say, and what is none is not taken for one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayesdiff.compiled  # noqa: F401  (64-bit is switched on there)
from bayesdiff.invert.kinks import settle
from bayesdiff.invert.newton import climb

TURN = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
SCALES = np.array([1e-6, 1.0, 1e6])
OBSERVED = np.array([0.4, -3.0, 0.9, 2.5])


def ends_of(logp, n, scale=1.0, shift=0.0):
    """Climbs from eight places."""
    starts = shift + scale * np.random.default_rng(0).normal(size=(8, n))

    def both(start):
        end = climb(logp, start, jnp.ones(()))
        return settle(logp, end, jnp.ones(()))

    return jax.jit(jax.vmap(both))(jnp.array(starts))


KINKS = {
    "l1": (lambda x: -jnp.abs(x).sum(), np.zeros(2), 1.0),
    "turned": (lambda x: -jnp.abs(TURN @ (x - 1)).sum(), np.ones(2), 1.0),
    "improved along diagonals alone": (lambda x: -jnp.abs(x[0] + x[1]) - jnp.abs(x[0] - x[1]), np.zeros(2), 1.0),
    "largest": (lambda x: -jnp.abs(x).max(), np.zeros(3), 1.0),
    "cone": (lambda x: -jnp.sqrt((x**2).sum()), np.zeros(2), 1.0),
    "scales": (lambda x: -jnp.abs(x / SCALES).sum(), np.zeros(3), SCALES),
    # Soft thresholds: some at their kink, others smooth.
    "l1 and a step": (
        lambda x: -jnp.abs(x).sum() - 0.5 * ((x - OBSERVED) ** 2).sum(),
        np.sign(OBSERVED) * np.maximum(np.abs(OBSERVED) - 1, 0),
        1.0,
    ),
}


@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_found(name):
    logp, at, scale = KINKS[name]
    ends = ends_of(logp, len(at), scale)
    assert ends.converged.all()
    assert ends.kink.all()
    assert not ends.on_edge.any()
    np.testing.assert_allclose((ends.x - at) / scale, 0.0, atol=1e-7)


NONE = {
    "flat along a ridge": (lambda x: -jnp.abs(x[0]), 2),
    "unbounded along a ridge": (lambda x: -jnp.abs(x[0]) + 0.1 * x[1], 2),
    "a ridge that is turned": (lambda x: -10 * jnp.abs((TURN @ x)[0]) + 0.1 * (TURN @ x)[1], 2),
    "unbounded": (lambda x: x.sum(), 2),
}


@pytest.mark.parametrize("name", NONE)
def test_what_has_no_top_has_no_kink(name):
    ends = ends_of(*NONE[name])
    assert not ends.converged.any()
    assert not ends.on_edge.any()


def test_a_smooth_maximum_beyond_a_kink_is_smooth():
    """Climbs zigzag along |x0|, and end where x1 has its own maximum: no kink where nothing is lost."""
    ends = ends_of(lambda x: -0.5 * (x**2).sum() - 3 * jnp.abs(x[0] - 5), 2)
    np.testing.assert_allclose(ends.x, np.tile([3.0, 0.0], (8, 1)), atol=1e-7)
    assert ends.converged.all()
    assert not ends.kink.any()


def test_beside_a_wall_is_on_edge():
    ends = ends_of(lambda x: jnp.where(x[0] > 1, -0.5 * x[0] ** 2, -jnp.inf), 1, 0.5, 3.0)
    assert ends.on_edge.all()
    assert not ends.converged.any()
    np.testing.assert_allclose(ends.x, 1.0, rtol=1e-9)


def test_a_gaussian_at_a_kink_is_about_as_wide_as_it():
    ends = ends_of(lambda x: -jnp.abs(x / SCALES).sum(), 3, SCALES)
    sd = np.sqrt(np.diagonal(np.linalg.inv(ends.precision), axis1=1, axis2=2))
    np.testing.assert_allclose(sd / SCALES, np.sqrt(0.5), rtol=0.5)  # a Gaussian's, where p falls to 1 / e at 1
