"""Distances between samples: exact answers, the properties of a metric, and the floor, where its mean is known."""

import doctest
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, spatial, stats

from reports import scores
from reports.scores import floor, mode_shares, sliced_w2, total_variation, wasserstein_1

SIZES = [(6, 4), (5, 7), (1, 9), (12, 12), (3, 300)]


def normal(size, rng, n=1):
    return rng.standard_normal((size, n))


def uniform(size, rng):
    return rng.random((size, 1))


def pair(n, size=200, other=200, seed=0):
    rng = np.random.default_rng(seed)
    return normal(size, rng, n), 1.5 * normal(other, rng, n) + 0.5


def assert_mean(values, want, errors=4.0):
    """The mean of independent values is the one wanted; so narrowly that 10% more would be seen."""
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - want) < errors * error
    assert 0.1 * want > errors * error


def test_the_examples_in_the_docstrings():
    result = doctest.testmod(scores, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted >= 5
    assert result.failed == 0


# ------------------------------------------------------------------------------------------------------ exact answers


@pytest.mark.parametrize("c", [0.0, 3.0, -0.25])
def test_a_shift_is_its_own_distance(c):
    x = normal(500, np.random.default_rng(1))
    assert sliced_w2(x, x + c) == pytest.approx(abs(c), abs=1e-14)
    np.testing.assert_allclose(wasserstein_1(x, x + c), [abs(c)], atol=1e-14)


def test_a_shift_in_space_is_seen_along_each_direction():
    x, c = normal(300, np.random.default_rng(2), 5), np.array([1.0, 0.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(wasserstein_1(x, x + c), np.abs(c), atol=1e-14)
    # The mean of (t c)^2 over the sphere is |c|^2 / n, and (t c)^2 / |c|^2 ~ Beta(1/2, (n - 1)/2) gives the error.
    squares = [sliced_w2(x, x + c, directions=16, random_seed=seed) ** 2 for seed in range(200)]
    assert_mean(squares, c @ c / 5)
    error = (c @ c) * stats.beta(0.5, 2).std() / np.sqrt(16)
    assert np.std(squares) == pytest.approx(error, rel=0.3)


def test_point_masses():
    a, b = np.full((7, 2), [1.0, -2.0]), np.full((3, 2), [4.0, 2.0])
    np.testing.assert_allclose(wasserstein_1(a, b), [3.0, 4.0], rtol=1e-14)
    # Shares 1/3 at 0 and 2/3 at 3, against a mass at 1: W_1 = 1/3 + 4/3, W_2^2 = 1/3 + 8/3.
    x, y = np.array([[0.0], [3.0], [3.0]]), np.array([[1.0]])
    np.testing.assert_allclose(wasserstein_1(x, y), [5 / 3], rtol=1e-14)
    assert sliced_w2(x, y) == pytest.approx(np.sqrt(3), rel=1e-14)


@pytest.mark.parametrize(("size", "other"), SIZES)
def test_w1_is_scipys(size, other):
    x, y = pair(3, size, other)
    want = [stats.wasserstein_distance(x[:, i], y[:, i]) for i in range(3)]
    np.testing.assert_allclose(wasserstein_1(x, y), want, rtol=1e-12)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("size", "other"), [(6, 4), (5, 7), (12, 12)])
def test_on_the_line_no_pairing_is_cheaper(size, other, power):
    # Every point repeated to a common number of points, and the best pairing of those by linear programming.
    x, y = pair(1, size, other)
    common = np.lcm(size, other)
    cost = spatial.distance.cdist(np.repeat(x, common // size, 0), np.repeat(y, common // other, 0)) ** power
    best = cost[optimize.linear_sum_assignment(cost)].mean()
    got = wasserstein_1(x, y)[0] if power == 1 else sliced_w2(x, y) ** 2
    assert got == pytest.approx(best, rel=1e-12)


def test_on_the_line_sliced_is_the_sorted_difference():
    x, y = pair(1)
    want = np.sqrt(np.mean((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2))
    assert sliced_w2(x, y) == pytest.approx(want, rel=1e-14)
    assert sliced_w2(x, y, directions=1, random_seed=5) == sliced_w2(x, y)


def test_normals_have_their_closed_form():
    # W_2^2 = (m_1 - m_2)^2 + (s_1 - s_2)^2. The floor adds some 5 / N to it, a tenth of the Monte Carlo error here.
    rng = np.random.default_rng(3)
    squares = [sliced_w2(normal(5000, rng), 1.5 + 2 * normal(5000, rng)) ** 2 for _ in range(40)]
    assert_mean(squares, 1.5**2 + 1)


def test_normals_in_the_plane_have_their_closed_form_along_each_direction():
    # N(0, I) against N(0, diag(9, 1)): along t = (cos u, sin u), sd 1 against sqrt(9 cos^2 u + sin^2 u).
    rng = np.random.default_rng(4)
    u = np.linspace(0, np.pi, 2001)[:-1]
    want = np.mean((np.sqrt(9 * np.cos(u) ** 2 + np.sin(u) ** 2) - 1) ** 2)
    squares = [
        sliced_w2(normal(4000, rng, 2), normal(4000, rng, 2) * [3, 1], 16, random_seed=i) ** 2 for i in range(150)
    ]
    assert_mean(squares, want)


# ----------------------------------------------------------------------------------------------- properties of a metric


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize(("size", "other"), SIZES)
def test_a_metric(n, size, other):
    (x, y), z = pair(n, size, other), normal(50, np.random.default_rng(5), n) - 1
    for score in (sliced_w2, wasserstein_1):
        between = score(x, y)
        assert np.all(between > 0)
        np.testing.assert_allclose(score(y, x), between, rtol=1e-12)
        np.testing.assert_allclose(score(3 * x, 3 * y), 3 * between, rtol=1e-12)
        np.testing.assert_allclose(score(-x, -y), between, rtol=1e-12)
        np.testing.assert_allclose(score(x + 5, y + 5), between, rtol=1e-11)
        np.testing.assert_array_equal(score(x, x), 0)
        assert np.all(score(x, z) <= between + score(y, z) + 1e-12)


@pytest.mark.parametrize("score", [sliced_w2, wasserstein_1])
def test_the_order_of_the_points_is_nothing(score):
    x, y = pair(3, 200, 150)
    rng = np.random.default_rng(6)
    np.testing.assert_allclose(score(rng.permutation(x), rng.permutation(y)), score(x, y), rtol=1e-12)
    np.testing.assert_allclose(score(rng.permutation(x), x), 0, atol=1e-13)


@pytest.mark.parametrize("score", [sliced_w2, wasserstein_1])
def test_every_point_twice_is_the_same_sample(score):
    x, y = pair(2)
    np.testing.assert_allclose(score(np.repeat(x, 2, axis=0), y), score(x, y), rtol=1e-12)


def test_w1_goes_by_coordinate():
    x, y = pair(4)
    np.testing.assert_allclose(wasserstein_1(x, y)[2], wasserstein_1(x[:, [2]], y[:, [2]])[0], rtol=1e-14)
    assert np.all(wasserstein_1(x, y) <= [sliced_w2(x[:, [i]], y[:, [i]]) for i in range(4)])


def test_directions_are_the_seeds():
    x, y = pair(3)
    assert sliced_w2(x, y) == sliced_w2(x, y, directions=64, random_seed=0)
    assert sliced_w2(x, y) != sliced_w2(x, y, random_seed=1)


def test_blocks_of_directions_change_nothing(monkeypatch):
    x, y = pair(3, 200, 150)
    whole = sliced_w2(x, y)
    for block in (1, 450, 10_000):
        monkeypatch.setattr(scores, "BLOCK", block)
        assert sliced_w2(x, y) == pytest.approx(whole, rel=1e-13)


def test_inputs_are_left_alone():
    x, y = pair(2)
    before = x.copy(), y.copy()
    for score in (sliced_w2, wasserstein_1, mode_shares):
        score(x, y)
    np.testing.assert_array_equal([x, y], before)


def test_integers_and_single_precision_are_numbers():
    x, y = np.array([[0], [255]], dtype=np.uint8), np.array([[255], [255]], dtype=np.uint8)
    np.testing.assert_array_equal(wasserstein_1(x, y), [127.5])
    assert sliced_w2(x.astype(np.float32), y) == pytest.approx(255 / np.sqrt(2), rel=1e-14)


# --------------------------------------------------------------------------------------------------------------- shares


def test_shares_count_the_nearest():
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [50.0, 50.0]])
    rng = np.random.default_rng(7)
    k = rng.choice(3, size=1000, p=[0.5, 0.2, 0.3])
    x = centres[k] + rng.uniform(-1.9, 1.9, size=(1000, 2))
    got = mode_shares(x, centres)
    np.testing.assert_array_equal(got, np.bincount(k, minlength=4) / 1000)
    np.testing.assert_array_equal(mode_shares(x + 1e6, centres + 1e6), got)
    np.testing.assert_array_equal(mode_shares([[2.0, 0.0]], centres), [1, 0, 0, 0])  # between two: the first


def test_total_variation():
    assert total_variation([0.2, 0.8], [0.2, 0.8]) == 0
    assert total_variation([1, 0, 0], [0, 0.5, 0.5]) == 1
    assert total_variation([0.7, 0.3], [0.5, 0.5]) == pytest.approx(0.2, rel=1e-14)
    # The largest difference in the probability of any event.
    p, q = np.random.default_rng(8).dirichlet(np.ones(6), size=2)
    events = np.array([[bool(i >> bit & 1) for bit in range(6)] for i in range(64)])
    assert total_variation(p, q) == pytest.approx((events @ (p - q)).max(), rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------- floor


@pytest.mark.parametrize("size", [1, 10, 400])
def test_floor_of_w2_for_uniforms(size):
    # Order statistics of N uniforms have variances i (N + 1 - i) / ((N + 1)^2 (N + 2)), so E W_2^2 = 1 / (3 (N + 1)).
    got = floor(uniform, sliced_w2, size, repeat=4000, random_seed=9)
    assert got.shape == (4000,)
    assert_mean(got**2, 1 / (3 * (size + 1)))


def test_floor_of_w1_falls_with_the_root_of_the_size():
    # sqrt(N) (F_x - F_y) -> sqrt(2) times a Brownian bridge B, and E |B(u)| = sqrt(2 u (1 - u) / pi):
    # E W_1 -> sqrt(4 / pi) (pi / 8) / sqrt(N) for uniforms, whose integral of sqrt(u (1 - u)) is pi / 8.
    for size in (100, 400):
        got = floor(uniform, wasserstein_1, size, repeat=2000, random_seed=10)
        assert got.shape == (2000, 1)
        assert_mean(got[:, 0], np.sqrt(np.pi) / 4 / np.sqrt(size))


def test_floor_in_the_plane_is_the_one_on_the_line_for_round_normals():
    # Each projection of N(0, I) is N(0, 1); along a line E W_2^2 = 2 (1 - sum of squared normal scores / N).
    size = 50
    u = (np.arange(20_000) + 0.5) / 20_000
    i = np.arange(1, size + 1)[:, None]
    normal_scores = np.mean(stats.norm.ppf(u) * stats.beta.pdf(u, i, size + 1 - i), axis=1)
    want = 2 * (1 - np.mean(normal_scores**2))
    line = floor(normal, sliced_w2, size, repeat=2000, random_seed=11)
    plane = floor(lambda size, rng: normal(size, rng, 2), sliced_w2, size, repeat=1000, random_seed=12)
    assert_mean(line**2, want)
    assert_mean(plane**2, want)


def test_floor_of_shares():
    # E |S - S'| for two shares of N points: a normal with variance 2 p (1 - p) / N.
    def score(x, y):
        return total_variation(mode_shares(x, [[0.3], [0.9]]), mode_shares(y, [[0.3], [0.9]]))

    got = floor(uniform, score, 1000, repeat=1000, random_seed=13)
    assert_mean(got, np.sqrt(2 / np.pi) * np.sqrt(2 * 0.6 * 0.4 / 1000))


def test_a_wrong_sample_stands_above_the_floor():
    limit = np.quantile(floor(normal, sliced_w2, 500, repeat=200, random_seed=14), 0.99)
    rng = np.random.default_rng(15)
    right = [sliced_w2(normal(500, rng), normal(500, rng)) > limit for _ in range(100)]
    wrong = [sliced_w2(1.3 * normal(500, rng), normal(500, rng)) > limit for _ in range(100)]
    assert np.mean(right) < 0.06
    assert np.mean(wrong) > 0.95


def test_floor_is_its_seeds():
    one, again, other = (floor(normal, sliced_w2, 20, repeat=5, random_seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert len({*one, *other}) == 10
    np.testing.assert_array_equal(floor(normal, sliced_w2, 20, repeat=3, random_seed=1), one[:3])


# ------------------------------------------------------------------------------------------------------------ bad input

GOOD = np.zeros((3, 2))


@pytest.mark.parametrize("score", [wasserstein_1, sliced_w2, mode_shares])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.zeros(3),
            r"x has shape \(3,\); write \(points, n\), one point a row \(x\[:, None\] for points of the line\)",
        ),
        (0.0, r"x has shape \(\); write \(points, n\)"),
        (np.zeros((2, 3, 4)), r"x has shape \(2, 3, 4\); write \(points, n\)"),
        (np.zeros((0, 2)), r"x has shape \(0, 2\); write \(points, n\)"),
        (np.zeros((3, 0)), r"x has shape \(3, 0\); write \(points, n\)"),
        ([[0.0, 1.0], [np.nan, 1.0]], "x is nan at point 1; write finite numbers"),
        ([[0.0, -np.inf]], "x is -inf at point 0; write finite numbers"),
        ([[0.0, 1.0], [1.0]], "x has rows of different lengths; write rows of the same length"),
        ([["a", "b"]], "x holds <U1; write real numbers"),
        ([[1j, 0]], "x holds complex128; write real numbers"),
        (None, "x holds object; write real numbers"),
    ],
)
def test_bad_samples(score, value, message):
    with pytest.raises(ValueError, match="^" + message):
        score(value, GOOD)
    second = "centres" if score is mode_shares else "y"
    message = message.replace("x has", f"{second} has").replace("x is", f"{second} is")
    message = message.replace("x holds", f"{second} holds").replace(r"\(x\[", rf"\({second}\[")
    with pytest.raises(ValueError, match="^" + message):
        score(GOOD, value)


def test_bad_pairs():
    for score in (wasserstein_1, sliced_w2):
        with pytest.raises(ValueError, match=r"^y has 3 coordinates, x has 2; write the same coordinates in both$"):
            score(GOOD, np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"^centres has 1 coordinates, x has 2; write"):
        mode_shares(GOOD, np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.5, 0.5], [1.0], r"q has shape \(1,\), p has \(2,\); write one share per outcome"),
        ([[1.0]], [1.0], r"p has shape \(1, 1\); write \(m,\)"),
        ([], [1.0], r"p has shape \(0,\); write \(m,\)"),
        ([1.0], [0.5], "q sums to 0.5; write shares that sum to 1"),
        ([1.5, -0.5], [1.0, 0.0], "p is -0.5 at outcome 1; write shares >= 0"),
        ([np.nan, 1.0], [1.0, 0.0], "p is nan at outcome 0; write shares >= 0"),
        ([np.inf, 1.0], [1.0, 0.0], "p sums to inf; write shares that sum to 1"),
    ],
)
def test_bad_shares(p, q, message):
    with pytest.raises(ValueError, match="^" + message):
        total_variation(p, q)


def test_bad_counts():
    for bad in (0, -3, 2.5, None):
        with pytest.raises(ValueError, match=f"^directions is {bad}; write a whole number > 0$"):
            sliced_w2(GOOD, GOOD, directions=bad)
        with pytest.raises(ValueError, match=f"^size is {bad}; write a whole number > 0$"):
            floor(normal, sliced_w2, bad, repeat=3, random_seed=0)
        with pytest.raises(ValueError, match=f"^repeat is {bad}; write a whole number > 0$"):
            floor(normal, sliced_w2, 10, repeat=bad, random_seed=0)


def test_a_draw_of_another_shape():
    for draw in (lambda size, rng: rng.random(size), lambda size, rng: rng.random((1, size))):
        with pytest.raises(
            ValueError, match=r"^draw\(10, rng\) has shape \(.*\); write a function that gives \(10, n\)$"
        ):
            floor(draw, sliced_w2, 10, repeat=3, random_seed=0)


def test_nothing_but_numpy():
    source = Path(scores.__file__).read_text(encoding="utf-8")
    lines = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert {line.split()[1].split(".")[0] for line in lines} == {"collections", "numbers", "numpy"}
