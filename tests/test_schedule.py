"""Schedules, diffusion and the bridge, against the joint Gaussian of x and all levels."""

import numpy as np
import pytest

import bayesdiff as bd

MADE = {
    "one step": bd.one_step(10.0),
    "geometric": bd.geometric(12, 0.05, 30.0),
    "cosine": bd.cosine(12),
    "linear": bd.linear(12),
    "own": bd.Schedule([1.0, -0.5, 2.0], [0.0, 0.5, 3.0]),
}


@pytest.mark.parametrize("schedule", MADE.values(), ids=MADE.keys())
def test_small_steps_add_up_to_each_level(schedule):
    alpha, variance = 1.0, 0.0
    for k in range(1, schedule.levels + 1):
        a, s = schedule.step(k)
        assert s > 0
        alpha, variance = a * alpha, a**2 * variance + s**2
        np.testing.assert_allclose([alpha, variance], [schedule.alpha[k], schedule.sigma[k] ** 2], rtol=1e-12)
    assert (np.diff(schedule.snr) < 0).all()
    assert schedule.snr[0] == np.inf


def test_a_step_between_close_levels_keeps_its_digits():
    schedule = bd.Schedule([1.0, 1.0, 1.0], [0.0, 1.0, 1.0 + 1e-9])
    assert schedule.step(2)[1] == pytest.approx(np.sqrt(2e-9), rel=1e-6)  # (1 + e)^2 - 1 alone would lose half of them


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_variance_preserving_schedules_are_those_of_their_papers(steps):
    product, alphas = 1.0, [1.0]
    for j in range(1, steps + 1):
        line = 1e-4 + (0.02 - 1e-4) * (j - 1) / (steps - 1) if steps > 1 else (1e-4 + 0.02) / 2
        product *= 1 - min(1000 / steps * line, 0.999)
        alphas.append(product)
    np.testing.assert_allclose(bd.linear(steps).alpha ** 2, alphas, rtol=1e-10)
    f = [np.cos((t / steps + 0.008) / 1.008 * np.pi / 2) ** 2 for t in range(steps + 1)]
    bars = np.cumprod([1.0] + [1 - min(1 - f[t] / f[t - 1], 0.999) for t in range(1, steps + 1)])
    np.testing.assert_allclose(bd.cosine(steps).alpha ** 2, bars, rtol=1e-10)
    for schedule in (bd.linear(steps), bd.cosine(steps)):
        np.testing.assert_allclose(schedule.alpha**2 + schedule.sigma**2, 1.0, rtol=1e-12)


def test_geometric_levels_grow_by_one_factor():
    sigma = bd.geometric(5, 0.1, 10.0).sigma
    np.testing.assert_allclose(sigma[2:] / sigma[1:-1], np.sqrt(np.sqrt(100.0)))
    np.testing.assert_array_equal(bd.geometric(1, 0.1, 10.0).sigma, [0.0, 10.0])


@pytest.mark.parametrize("schedule", MADE.values(), ids=MADE.keys())
def test_the_bridge_is_the_joint_gaussian(schedule):
    """x ~ N(0, 1), o_k diffused, o_{k-1} bridged: all second moments are those of the forward process."""
    n, k = 200_000, schedule.levels
    x = np.random.default_rng(0).normal(size=n)
    above = bd.diffuse(x, schedule.alpha[k], schedule.sigma[k], random_seed=1)
    below = bd.bridge(schedule, k, above, x, random_seed=2)
    a, s = schedule.alpha, schedule.sigma
    step, _ = schedule.step(k)
    variance = a[k - 1] ** 2 + s[k - 1] ** 2
    for got, want, size in (
        (below * below, variance, np.sqrt(2) * variance),
        (below * x, a[k - 1], np.sqrt(variance + a[k - 1] ** 2)),
        (below * above, step * variance, np.sqrt(variance * (a[k] ** 2 + s[k] ** 2) + (step * variance) ** 2)),
        (below, 0.0, np.sqrt(variance)),
    ):
        assert abs(got.mean() - want) < 4 * size / np.sqrt(n)


def test_only_the_signal_to_noise_ratio_matters():
    preserving = bd.cosine(6)
    exploding = bd.Schedule(np.ones(7), preserving.sigma / preserving.alpha)
    np.testing.assert_allclose(exploding.snr[1:], preserving.snr[1:], rtol=1e-12)
    o, x = np.random.default_rng(3).normal(size=(2, 50, 3))
    for k in range(1, 7):
        a = preserving.alpha
        left = bd.bridge(preserving, k, a[k] * o, x, random_seed=k) / a[k - 1]
        np.testing.assert_allclose(left, bd.bridge(exploding, k, o, x, random_seed=k), rtol=1e-9, atol=1e-9)


def test_diffuse_broadcasts():
    x = np.arange(6.0).reshape(3, 2)
    o = bd.diffuse(x, alpha=[[2.0], [3.0], [4.0]], sigma=0.0)
    np.testing.assert_array_equal(o, x * [[2.0], [3.0], [4.0]])
    assert bd.diffuse(1.0, alpha=np.ones(5), sigma=1.0, random_seed=0).shape == (5,)
    rng = np.random.default_rng(5)
    assert bd.diffuse(0.0, 1.0, 1.0, rng) != bd.diffuse(0.0, 1.0, 1.0, rng)  # a Generator goes on


def test_schedules_are_values():
    a, b = bd.geometric(3, 0.1, 1.0), bd.geometric(3, 0.1, 1.0)
    assert a == b
    assert hash(a) == hash(b)
    assert a != bd.geometric(3, 0.1, 2.0)
    assert a != "geometric"
    with pytest.raises(ValueError, match="read-only"):
        a.sigma[1] = 5.0
    mine = np.array([0.0, 1.0])
    schedule = bd.Schedule([1.0, 1.0], mine)
    mine[1] = 7.0
    assert schedule.sigma[1] == 1.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: bd.Schedule([1.0], [0.0]),
            ValueError,
            r"alpha has shape \(1,\) and sigma \(1,\); write K \+ 1 numbers",
        ),
        (lambda: bd.Schedule([1.0, 1.0], [0.0]), ValueError, r"alpha has shape \(2,\) and sigma \(1,\)"),
        (lambda: bd.Schedule("ab", [0.0, 1.0]), TypeError, "alpha must hold real numbers"),
        (lambda: bd.Schedule([1, [1]], [0.0, 1.0]), TypeError, "alpha must be an array of real numbers"),
        (lambda: bd.Schedule([1, np.nan], [0, 1]), ValueError, r"alpha\[1\] is nan; write finite numbers"),
        (lambda: bd.Schedule([1, 1], [0, np.inf]), ValueError, r"sigma\[1\] is inf; write finite numbers"),
        (lambda: bd.Schedule([1, 0], [0, 1]), ValueError, r"alpha\[1\] is 0, so nothing of x is left there"),
        (lambda: bd.Schedule([0.9, 0.5], [0, 1]), ValueError, "level 0 has alpha 0.9 and sigma 0; it is x itself"),
        (lambda: bd.Schedule([1, 0.5], [0.1, 1]), ValueError, "level 0 has alpha 1 and sigma 0.1; it is x itself"),
        (lambda: bd.Schedule([1, 1], [0, -1]), ValueError, r"sigma\[1\] is -1; write numbers > 0 after level 0"),
        (
            lambda: bd.Schedule([1, 1, 1], [0, 2, 1]),
            ValueError,
            r"the signal-to-noise ratio abs\(alpha\) / sigma goes from 0.5 at level 1 to 1 at level 2; each level must",
        ),
        (lambda: bd.Schedule([1, 1, 1], [0, 2, 2]), ValueError, "goes from 0.5 at level 1 to 0.5 at level 2"),
        (lambda: bd.one_step(0), ValueError, "sigma is 0; write a finite number > 0"),
        (lambda: bd.one_step([1.0]), ValueError, r"sigma is \[1.0\]; write a finite number > 0"),
        (lambda: bd.one_step("x"), TypeError, "sigma must hold real numbers"),
        (lambda: bd.geometric(0, 1, 2), ValueError, "steps is 0; write an int >= 1"),
        (lambda: bd.geometric(2.0, 1, 2), TypeError, r"steps is 2\.0; write an int >= 1"),
        (lambda: bd.geometric(2, 2, 1), ValueError, "sigma_min is 2 and sigma_max 1; write a larger sigma_max"),
        (lambda: bd.geometric(2, 1, 1), ValueError, "sigma_min is 1 and sigma_max 1; write a larger sigma_max"),
        (lambda: bd.geometric(2, -1, 1), ValueError, "sigma_min is -1; write a finite number > 0"),
        (lambda: bd.cosine(True), TypeError, "steps is True; write an int >= 1"),
        (lambda: bd.linear(-3), ValueError, "steps is -3; write an int >= 1"),
        (lambda: bd.cosine(3).step(0), ValueError, "level is 0; write a step of this schedule, 1 to 3"),
        (lambda: bd.cosine(3).step(4), ValueError, "level is 4; write a step of this schedule, 1 to 3"),
        (lambda: bd.diffuse(0, np.nan, 1), ValueError, "alpha is nan; write finite numbers"),
        (lambda: bd.diffuse(0, 1, -1), ValueError, "sigma is -1; write numbers >= 0"),
        (
            lambda: bd.diffuse([1, 2, 3], [1, 2], 1),
            ValueError,
            r"x has shape \(3,\), alpha \(2,\) and sigma \(\), which",
        ),
        (lambda: bd.diffuse(0, 1, 1, -1), ValueError, "random_seed is -1; write an int >= 0"),
        (lambda: bd.bridge([0, 1], 1, [0.0], [0.0]), TypeError, "schedule is list; write one, as bd.geometric"),
        (
            lambda: bd.bridge(bd.cosine(2), 3, [0.0], [0.0]),
            ValueError,
            "level is 3; write a step of this schedule, 1 to 2",
        ),
        (
            lambda: bd.bridge(bd.cosine(2), 1, [0.0], [0.0, 1.0]),
            ValueError,
            r"o has shape \(1,\) and x \(2,\); write the",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("make", [bd.cosine, bd.linear])
def test_no_noise_is_not_minus_no_noise(make):
    assert not np.signbit(make(5).sigma).any()


def test_linear_ends_about_alike_from_thirty_steps_on():
    """alpha_K^2 is about exp(-10.05) for small betas; with fewer steps the betas are cut, and it is far below."""
    for steps in (30, 64, 200, 1000):
        assert 0.001 < bd.linear(steps).alpha[-1] < np.exp(-10.05 / 2)
    assert bd.linear(16).alpha[-1] < 1e-6
