"""Inverters for pictures, on level priors whose answers are known in closed form."""

from functools import partial

import exact
import numpy as np
import pymc as pm
import pytest
from scipy import stats as st

import bayesdiff as bd
from bayesdiff.images import inverters

NORMAL_DRAW = partial(inverters.draw, narrowest=1.0)
SCHEDULE = bd.geometric(12, 0.15, 4.0)
WEIGHTS, MEANS, VARIANCES = [0.6, 0.4], np.array([[-1.5, 0.0, 0.5], [1.0, 1.0, -0.5]]), [0.3, 0.15]
MIX = exact.mixture(WEIGHTS, MEANS, VARIANCES)


@pytest.fixture(scope="module")
def normal():
    """N(0, 1) in 100 dimensions, at every level."""
    return bd.compile_prior(bd.gaussian_mixture([1.0], np.zeros((1, 100)), 1.0, SCHEDULE))


@pytest.fixture(scope="module")
def plane():
    return bd.compile_prior(bd.gaussian_mixture(WEIGHTS, MEANS, VARIANCES, SCHEDULE))


def diffused(level):
    """The exact mixture at a level."""
    alpha, sigma = SCHEDULE.alpha[level], SCHEDULE.sigma[level]
    return exact.mixture(WEIGHTS, alpha * MEANS, [alpha**2 * v + sigma**2 for v in VARIANCES])


@pytest.mark.parametrize("level", [1, 4, 12])
def test_the_mean_of_a_step_is_exact(plane, level):
    alpha, sigma = SCHEDULE.step(level)
    o = np.random.default_rng(0).normal(0, 2, size=(20, 3))
    x, _ = inverters.mean(plane.at_level(level - 1), o, alpha, sigma)
    for row, found in zip(o, x, strict=True):
        posterior, _ = exact.mixture_posterior(diffused(level - 1), row, alpha, sigma)
        np.testing.assert_allclose(found, exact.mixture_moments(posterior)[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("rows", [1, 4, 5, 67])
def test_pieces_are_put_together_again(plane, rows, backend, monkeypatch):
    monkeypatch.setattr(inverters, "platform", lambda: backend)  # an accelerator takes all at once
    o = np.random.default_rng(2).normal(0, 2, size=(rows, 3))
    x, _ = inverters.mean(plane.at_level(3), o, *SCHEDULE.step(4))
    alone = [inverters.mean(plane.at_level(3), row[None], *SCHEDULE.step(4))[0][0] for row in o]
    np.testing.assert_allclose(x, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("level", [1, 4, 12])
def test_the_flow_follows_the_mean_of_x(plane, level):
    o = np.random.default_rng(1).normal(0, 2, size=(20, 3))
    x, _ = inverters.flow(plane.at_level(level - 1), o, *SCHEDULE.step(level))
    for row, found in zip(o, x, strict=True):
        posterior, _ = exact.mixture_posterior(MIX, row, SCHEDULE.alpha[level], SCHEDULE.sigma[level])
        clean = exact.mixture_moments(posterior)[0]
        ratio = SCHEDULE.sigma[level - 1] / SCHEDULE.sigma[level]
        wanted = SCHEDULE.alpha[level - 1] * clean + ratio * (row - SCHEDULE.alpha[level] * clean)
        np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("level", [1, 6, 12])
def test_draws_of_a_step_have_its_law(normal, level):
    # Every coordinate is normal with a known mean and variance: 6,400 z-scores.
    alpha, sigma = SCHEDULE.step(level)
    below = 1 + SCHEDULE.sigma[level - 1] ** 2
    o = np.random.default_rng(2).normal(0, np.sqrt(alpha**2 * below + sigma**2), size=(64, 100))
    x, stats = NORMAL_DRAW(normal.at_level(level - 1), o, alpha, sigma, random_seed=3, moves=8)
    mean, variance, _ = exact.gaussian_step(o, alpha, sigma, 0.0, below)
    z = (x - mean) / np.sqrt(variance)
    assert st.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert 0.4 < stats["acceptance_rate"].mean() < 0.95
    assert (stats["evaluations"] == 8 * 3 + 2).all()


def test_a_chain_of_draws_gives_the_prior_back_and_modes_do_not(normal):
    o = np.random.default_rng(4).normal(0, np.sqrt(17), size=(64, 100))

    def spread(invert):
        run = bd.reverse(normal, SCHEDULE, invert, o=o, draws=64, chains=1, random_seed=5, progressbar=False)
        return run["posterior"]["x"].values.ravel()

    drawn = spread(NORMAL_DRAW)
    assert st.kstest(drawn, "norm").pvalue > 1e-3
    collapsed = spread(inverters.mode)  # the negative control
    assert st.kstest(collapsed, "norm").pvalue < 1e-12
    assert collapsed.std() < 0.8


def test_a_chain_of_draws_shares_out_two_modes(plane):
    wide = bd.geometric(24, 0.15, 12.0)
    prior = bd.compile_prior(bd.gaussian_mixture(WEIGHTS, MEANS, VARIANCES, wide))
    run = bd.reverse(
        prior,
        wide,
        partial(inverters.draw, moves=6, narrowest=0.4),
        draws=250,
        chains=2,
        random_seed=6,
        progressbar=False,
    )
    x = run["posterior"]["x"].values.reshape(-1, 3)
    heavy = (((x[:, None] - MEANS) ** 2).sum(-1)).argmin(1) == 0
    assert abs(heavy.mean() - 0.6) < 4 * np.sqrt(0.24 / len(x))


def test_moves_at_the_end_leave_p0_alone_and_mend_what_is_wrong(normal):
    target, step = normal.at_level(0), SCHEDULE.step(1)
    # From an o that p0 does not have, the step's posterior is not p0; moves with p0 as target forget it.
    o = np.full((64, 100), 0.6)
    near, _ = NORMAL_DRAW(target, o, *step, random_seed=1)
    assert near.mean() > 0.4
    far, settled = NORMAL_DRAW(target, o, *step, random_seed=1, leaps=12, settle=60)
    assert st.kstest(far.ravel(), "norm").pvalue > 1e-3
    assert (settled["evaluations"] == 3 * 12 + 2 + 60 * 12 + 1).all()
    np.testing.assert_allclose(settled["lp"], target.logp(far), rtol=1e-9)
    # They would forget o in a step that is not the chain's last: in one wide step, and in the clean form.
    with pytest.raises(ValueError, match=r"no step of the prior's schedule from level 1 .* write settle=0"):
        NORMAL_DRAW(target, o, 1.0, 3.0, random_seed=1, settle=5)
    with pytest.raises(bd.ChainError, match="would forget o"):
        bd.reverse(
            normal, SCHEDULE, partial(NORMAL_DRAW, settle=5), o=o, draws=64, chains=1, next_level=False, random_seed=1
        )
    # At other levels there are none.
    same = [NORMAL_DRAW(normal.at_level(2), o, *SCHEDULE.step(3), random_seed=1, settle=n)[0] for n in (0, 9)]
    np.testing.assert_array_equal(*same)


def test_modes_of_a_step(normal, plane):
    alpha, sigma = SCHEDULE.step(6)
    o = np.random.default_rng(7).normal(0, 2, size=(5, 100))
    x, stats = inverters.mode(normal.at_level(5), o, alpha, sigma)
    np.testing.assert_allclose(
        x, exact.gaussian_step(o, alpha, sigma, 0.0, 1 + SCHEDULE.sigma[5] ** 2)[0], rtol=1e-6, atol=1e-9
    )
    assert (stats["slope"] < 1e-6).all()
    # Among several modes: one where no small move goes up.
    o = np.random.default_rng(8).normal(0, 2, size=(50, 3))
    x, stats = inverters.mode(plane.at_level(5), o, alpha, sigma)
    assert (stats["slope"] < 1e-4).all()
    there = plane.at_level(5).logp(x) - 0.5 * (((o - alpha * x) / sigma) ** 2).sum(1)
    np.testing.assert_allclose(stats["lp"], there, rtol=1e-9)
    for way in np.random.default_rng(9).normal(0, 1e-2, size=(20, 3)):
        y = x + way
        assert (plane.at_level(5).logp(y) - 0.5 * (((o - alpha * y) / sigma) ** 2).sum(1) < there).all()


@pytest.mark.parametrize("invert", [inverters.draw, inverters.mode, inverters.mean, inverters.flow])
def test_one_bad_picture_disturbs_none_of_its_neighbours(normal, invert):
    o = np.random.default_rng(10).normal(0, 2, size=(70, 100))  # two chunks
    step = SCHEDULE.step(4)
    x, _ = invert(normal.at_level(3), o, *step, random_seed=1)
    bad = o.copy()
    bad[3] = np.nan
    y, stats = invert(normal.at_level(3), bad, *step, random_seed=1)
    assert np.isnan(y[3]).all()
    rest = np.arange(70) != 3
    if invert is inverters.draw:  # the others share a step size, but not its randomness
        assert np.isfinite(y[rest]).all()
        np.testing.assert_array_equal(y[64:], x[64:])
    else:
        np.testing.assert_allclose(y[rest], x[rest], rtol=1e-12)
    assert all(len(values) == 70 for values in stats.values())


def test_the_same_seed_gives_the_same_pictures(normal):
    o = np.ones((3, 100))
    first, _ = inverters.draw(normal.at_level(3), o, *SCHEDULE.step(4), random_seed=1)
    again, _ = inverters.draw(normal.at_level(3), o, *SCHEDULE.step(4), random_seed=1)
    other, _ = inverters.draw(normal.at_level(3), o, *SCHEDULE.step(4), random_seed=2)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_step_that_is_none_of_the_schedule(plane):
    # From a start of one's own, and without the density of o: draw and mode can, mean and flow cannot.
    o = np.array([[0.5, 0.2, 0.1]] * 4)
    x, _ = inverters.draw(plane.at_level(0), o, 1.0, 0.3, start=o, random_seed=0, moves=20)
    assert np.isfinite(x).all()
    for invert in (inverters.mean, inverters.flow):
        with pytest.raises(ValueError, match="no step of the prior's schedule"):
            invert(plane.at_level(0), o, 1.0, 0.3)
    with pm.Model() as prior:
        pm.Normal("x", shape=3)
    with pytest.raises(ValueError, match="no step of the prior's schedule"):
        inverters.mean(bd.compile_prior(prior), o, 1.0, 0.3)


@pytest.mark.parametrize(
    ("invert", "options", "error", "words"),
    [
        (inverters.draw, {"moves": 0}, ValueError, "moves is 0; write an int >= 1"),
        (inverters.draw, {"settle": -1}, ValueError, "settle is -1; write an int >= 0"),
        (inverters.draw, {"settle": 0.0}, ValueError, "settle is 0.0; write an int >= 0"),
        (inverters.draw, {"leaps": 1.5}, TypeError, "leaps is 1.5; write an int >= 1"),
        (inverters.mode, {"climbs": 0}, ValueError, "climbs is 0; write an int >= 1"),
        (inverters.draw, {"narrowest": 0.0}, ValueError, "narrowest is 0.0; write a number > 0"),
        (inverters.draw, {"random_seed": -1}, ValueError, "random_seed is -1"),
    ],
)
def test_bad_options(plane, invert, options, error, words):
    with pytest.raises(error, match=words):
        invert(plane.at_level(0), np.zeros((1, 3)), *SCHEDULE.step(1), **options)


def test_bad_observations(plane):
    with pytest.raises(ValueError, match=r"o has shape \(1, 2\)"):
        inverters.draw(plane.at_level(0), np.zeros((1, 2)), *SCHEDULE.step(1))
    with pytest.raises(ValueError, match="none of the 2 observations is finite"):
        inverters.mean(plane.at_level(0), np.full((2, 3), np.nan), *SCHEDULE.step(1))
