"""Modes: against closed forms, from starts that mislead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import funm

import bayesdiff.compiled  # noqa: F401  (64-bit is switched on there)
from bayesdiff.invert.newton import (
    climb,
    eigenvalues,
    find_modes,
    floored,
    inverse_root,
    is_maximum,
    is_neck,
    magnitude,
    matrix_function,
    root,
)
from bayesdiff.invert.tuning import SEARCH


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_matrix_function_is_that_of_the_eigenvalues(n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        a = rng.normal(size=(n, n))
        a = a + a.T
        np.testing.assert_allclose(matrix_function(jnp.array(a), jnp.exp), funm(a, np.exp), rtol=1e-10)
        np.testing.assert_allclose(np.sort(eigenvalues(jnp.array(a))), np.linalg.eigvalsh(a), rtol=1e-12)


def test_matrix_function_of_a_multiple_of_the_identity():
    np.testing.assert_allclose(matrix_function(3.0 * jnp.eye(2), lambda v: 1 / v), np.eye(2) / 3, rtol=1e-15)


def test_floored_makes_any_matrix_positive():
    assert (floored(jnp.array([-2.0, 0.0, 1.0])) > 0).all()
    np.testing.assert_allclose(floored(jnp.array([-2.0, 1.0])), [2.0, 1.0])


@pytest.mark.parametrize("n", [1, 2, 5, SEARCH.dense + 6])
def test_a_gaussian_takes_one_newton_step(n):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(n, n))
    precision, centre = a @ a.T / n + np.eye(n), rng.normal(size=n)
    end = jax.jit(lambda s: climb(lambda x: -0.5 * (x - centre) @ precision @ (x - centre), s, jnp.ones(())))(
        50 * rng.normal(size=n)
    )
    np.testing.assert_allclose(end.x, centre, rtol=1e-9, atol=1e-9)
    assert bool(end.converged)
    if n <= SEARCH.dense:
        assert int(end.evaluations) == 2
        np.testing.assert_allclose(end.precision, precision, rtol=1e-10, atol=1e-12)


def rosenbrock(x):
    """A curved valley; its top is at (1, ..., 1)."""
    return -(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum() / 20


@pytest.mark.parametrize("n", [2, 6, SEARCH.dense + 6])
def test_a_curved_valley_is_followed_to_its_end(n):
    # From near the top for many n: the valley has a second, lower maximum near (-1, 1, ..., 1).
    start = jnp.full(n, 0.5).at[0].set(-1.2 if n == 2 else 0.5)
    end = jax.jit(lambda s: climb(rosenbrock, s, jnp.ones(())))(start)
    np.testing.assert_allclose(end.x, np.ones(n), atol=1e-6)
    assert bool(end.converged)


def test_a_saddle_is_no_mode():
    def saddle(x):
        return -0.5 * x[0] ** 2 + 0.5 * x[1] ** 2 - 0.25 * x[1] ** 4  # modes at (0, -1) and (0, 1)

    at = jax.jit(lambda s: climb(saddle, s, jnp.ones(())))
    assert not bool(at(jnp.zeros(2)).converged)
    end = at(jnp.array([3.0, 1e-3]))
    np.testing.assert_allclose(end.x, [0.0, 1.0], atol=1e-8)
    assert bool(end.converged)


def test_an_unbounded_density_does_not_converge():
    end = jax.jit(lambda s: climb(lambda x: x.sum(), s, jnp.ones(())))(jnp.zeros(2))
    assert not bool(end.converged)


def test_an_invalid_start_is_dead_and_alone():
    def logp(x):
        return jnp.where(x[0] < 10, -0.5 * (x**2).sum(), jnp.nan)

    found = jax.jit(lambda s: find_modes(logp, s, jnp.ones(())))(jnp.array([[20.0], [3.0], [-2.0]]))
    np.testing.assert_allclose(found.x[0], 0.0, atol=1e-12)
    assert int(found.agreed[0]) == 2
    assert np.isnan(found.x[1:]).all()
    assert np.isneginf(found.logp[1:]).all()


def test_modes_come_best_first_and_once():
    def logp(x):  # heights 0, -1, -2 at -4, 0, 4, far enough apart that none moves the others
        return jax.scipy.special.logsumexp(
            jnp.array([0.0, -1.0, -2.0]) - 0.5 * (x[0] - jnp.array([-40.0, 0.0, 40.0])) ** 2
        )

    starts = jnp.array([[39.5], [0.1], [-39.8], [-40.2], [0.3], [40.1]])
    found = jax.jit(lambda s: find_modes(logp, s, jnp.ones(())))(starts)
    np.testing.assert_allclose(found.x[:3, 0], [-40.0, 0.0, 40.0], atol=1e-8)
    np.testing.assert_allclose(found.logp[:3], [0.0, -1.0, -2.0], atol=1e-12)
    np.testing.assert_array_equal(found.agreed, [2, 2, 2, 0, 0, 0])
    np.testing.assert_array_equal(found.converged, [True, True, True, False, False, False])
    np.testing.assert_allclose(found.precision[:3, 0, 0], 1.0, rtol=1e-9)


SCALES = jnp.array([1e-6, 1.0, 1e6])


def test_scales_however_different_are_one_step():
    correlation = jnp.array([[1.0, 0.9, 0.5], [0.9, 1.0, 0.3], [0.5, 0.3, 1.0]])
    precision = jnp.linalg.inv(correlation) / SCALES[:, None] / SCALES
    centre = SCALES * jnp.array([1.0, -2.0, 3.0])
    start = centre + 50 * SCALES * jnp.array([1.0, 1.0, -1.0])
    end = jax.jit(lambda s: climb(lambda x: -0.5 * (x - centre) @ precision @ (x - centre), s, jnp.ones(())))(start)
    np.testing.assert_allclose((end.x - centre) / SCALES, 0.0, atol=1e-9)
    assert bool(end.converged)
    assert bool(is_maximum(end.precision))
    inverse, log_det = inverse_root(end.precision)
    covariance = correlation * SCALES[:, None] * SCALES
    np.testing.assert_allclose(inverse @ inverse.T, covariance, rtol=1e-9)
    np.testing.assert_allclose(log_det, 0.5 * np.linalg.slogdet(correlation)[1], rtol=1e-9)  # scales: product 1
    np.testing.assert_allclose(root(covariance) @ root(covariance).T, covariance, rtol=1e-9)
    np.testing.assert_allclose(magnitude(end.precision), end.precision, rtol=1e-9)


def test_refusals_at_a_wall_are_no_arrival():
    """Before p = 0 a damped step is as short as one likes; what is not damped would still gain."""

    def wall(x):
        return jnp.where(x[0] > 1, -0.5 * (x**2).sum(), -jnp.inf)

    starts = jnp.array([[3.0, 1.0], [2.0, -1.0], [1.5, 0.5], [7.0, 2.0]])
    ends = jax.jit(jax.vmap(lambda s: climb(wall, s, jnp.ones(()))))(starts)
    assert not ends.converged.any()
    inside = jax.jit(jax.vmap(lambda s: climb(lambda x: wall(x + 2), s, jnp.ones(()))))(starts)  # its top: at -2, cut
    assert not inside.converged.any()
    free = jax.jit(jax.vmap(lambda s: climb(lambda x: wall(x) - 8 * (x[0] - 2) ** 2, s, jnp.ones(()))))(starts)
    np.testing.assert_allclose(free.x, np.tile([32 / 17, 0.0], (4, 1)), atol=1e-9)  # a top beside it
    assert free.converged.all()


def test_the_neck_of_a_funnel_is_told_from_units():
    def funnel(x):
        return -(x[0] ** 2) / 18 - 4.5 * x[0] - 0.5 * jnp.exp(-x[0]) * (x[1:] ** 2).sum()

    def measured(x):
        return -0.5 * ((x / jnp.array([3.0, *[1e-9] * 9])) ** 2).sum()

    for logp, at, expected in ((funnel, -40.5, True), (measured, 0.0, False)):
        top = jnp.zeros(10).at[0].set(at)
        assert bool(is_neck(logp, top, -jax.hessian(logp)(top))) is expected
