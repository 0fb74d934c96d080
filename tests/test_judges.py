"""Scores of pictures: closed forms, brute force, a problem whose Bayes error is known; and what must fail does."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest
from scipy import linalg, stats
from scipy.special import expit

import bayesdiff as bd
from models.pictures.data import scaled
from reports.judges import (
    Frechet,
    Judge,
    among,
    called,
    features,
    frechet_distance,
    frechet_of,
    log_probability,
    nearest,
    novelty,
    probabilities,
    train_judge,
)

SHAPE = (8, 8, 1)


def with_moments(mean, covariance, n=50, seed=0):
    """n points whose sample mean and sample covariance are these, not just about."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x.T).reshape(len(mean), -1)), x.T).T
    return np.asarray(mean) + white @ np.real(linalg.sqrtm(np.asarray(covariance, float)))


def rotation(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


# ------------------------------------------------------------------------------------------- Frechet: exact answers


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_commuting_covariances(n):
    # tr (A^1/2 - B^1/2)^2, once the axes are turned alike.
    rng = np.random.default_rng(n)
    turn, a, b = rotation(n), rng.uniform(0.1, 3, n), rng.uniform(0.1, 3, n)
    m, shift = rng.normal(size=n), rng.normal(size=n)
    x, y = with_moments(m, turn @ np.diag(a**2) @ turn.T), with_moments(m + shift, turn @ np.diag(b**2) @ turn.T, 80, 1)
    assert frechet_distance(x, y) == pytest.approx(shift @ shift + ((a - b) ** 2).sum(), rel=1e-10)


def test_covariances_that_do_not_commute():
    # For 2 x 2 matrices, tr (A B)^(1/2) = sqrt(tr A B + 2 sqrt(det A det B)).
    a, b = np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([[0.5, -0.3], [-0.3, 3.0]])
    assert not np.allclose(a @ b, b @ a)
    want = np.trace(a) + np.trace(b) - 2 * np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    assert frechet_distance(with_moments([0, 0], a), with_moments([0, 0], b, seed=1)) == pytest.approx(want, rel=1e-10)


def test_against_the_root_of_a_matrix():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(500, 10)) @ rng.normal(size=(10, 10)), 1 + rng.normal(size=(300, 10))
    a, b = np.cov(x.T), np.cov(y.T)
    want = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * np.trace(linalg.sqrtm(a @ b)).real
    assert frechet_distance(x, y) == pytest.approx(want, rel=1e-9)


def test_equal_sets_are_at_no_distance_and_a_shift_adds_its_square():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 64)) * np.geomspace(1e-6, 1e3, 64)
    size = (x**2).sum() / len(x)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-13 * size)
    assert frechet_distance(x, x[rng.permutation(200)]) == pytest.approx(0, abs=1e-13 * size)
    d = rng.normal(size=64)
    assert frechet_distance(x, x + d) == pytest.approx(d @ d, abs=1e-11 * size)


def test_axes_do_not_matter_and_units_square():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(90, 6)) * [1, 2, 3, 4, 5, 6], rng.normal(size=(70, 6)) + 1
    turn, want = rotation(6), frechet_distance(x, y)
    assert frechet_distance(y, x) == pytest.approx(want, rel=1e-12)
    assert frechet_distance(x @ turn + 3, y @ turn + 3) == pytest.approx(want, rel=1e-12)
    assert frechet_distance(10 * x, 10 * y) == pytest.approx(100 * want, rel=1e-12)


def test_singular_covariances_lose_no_digits():
    # Dead features are 0 in all pictures; copies are as dead. A root of an eigenvalue of 1e-17 would be off by 3e-9.
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(100, 3)), 2 * rng.normal(size=(100, 3))
    want = frechet_distance(x, y)
    wide = rotation(10)[:3]
    assert frechet_distance(x @ wide, y @ wide) == pytest.approx(want, rel=1e-13)
    assert frechet_distance(np.c_[x, np.zeros((100, 4))], np.c_[y, np.zeros((100, 4))]) == pytest.approx(
        want, rel=1e-13
    )
    assert frechet_distance(np.zeros((9, 3)), np.tile([1, 2, 2], (9, 1))) == pytest.approx(9)


def test_few_pictures_are_warned_of_and_far_too_far_apart():
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(64, 64)), rng.normal(size=(5000, 64))
    with pytest.warns(UserWarning, match="features_a holds 64 pictures, for 64 features: the covariance is singular"):
        few = frechet_distance(x, y)
    assert few > 10 * frechet_distance(rng.normal(size=(5000, 64)), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(rng.normal(size=(65, 64)), y)


# --------------------------------------------------------------------------------------------- nearest: brute force


def moved(x, mirror, down, right):
    """One picture, pixel by pixel."""
    out = -np.ones_like(x)
    height, width = x.shape[:2]
    for i, j in itertools.product(range(height), range(width)):
        if 0 <= i + down < height and 0 <= j + right < width:
            out[i + down, j + right] = x[i, width - 1 - j if mirror else j]
    return out


def by_loop(samples, references, shift, flip):
    steps = range(-shift, shift + 1)
    moves = list(itertools.product((False, True) if flip else (False,), steps, steps))
    table = np.array(
        [[min(np.linalg.norm(x - moved(r, *move)) for move in moves) for r in references] for x in samples]
    )
    return table.min(1), table.argmin(1), table


@pytest.mark.parametrize(
    ("shape", "shift", "flip"),
    [((6, 5, 1), 0, False), ((6, 5, 1), 1, True), ((5, 7, 3), 2, True), ((5, 4, 2), 3, False)],
)
def test_nearest_is_that_of_a_loop(shape, shift, flip):
    rng = np.random.default_rng(0)
    samples, references = rng.uniform(-1, 1, (7, *shape)), rng.uniform(-1, 1, (11, *shape))
    distance, which, _ = by_loop(samples, references, shift, flip)
    found = nearest(samples, references, shift=shift, flip=flip)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-5)
    np.testing.assert_array_equal(found.which, which)


def test_planted_copies_are_found_wherever_they_moved():
    rng = np.random.default_rng(1)
    references = rng.uniform(-1, 1, (300, 9, 9, 1)).astype(np.float32)
    copies = [(10, False, 0, 0), (299, True, 0, 0), (0, False, 2, -2), (123, True, -1, 2), (77, False, -2, 0)]
    samples = np.stack([moved(references[i], *move) for i, *move in copies])
    found = nearest(samples, references)
    assert found.which.tolist() == [i for i, *_ in copies]
    assert found.distance.tolist() == [0] * 5
    found = nearest(samples, references, flip=False)
    assert (found.distance == 0).tolist() == [True, False, True, False, True]
    found = nearest(samples, references, shift=1)
    assert (found.distance == 0).tolist() == [True, True, False, False, False]


def test_chunks_are_put_together_again(monkeypatch):
    rng = np.random.default_rng(2)
    samples, references = rng.uniform(-1, 1, (10, 6, 6, 1)), rng.uniform(-1, 1, (5000, 6, 6, 1))
    want = nearest(samples, references)
    monkeypatch.setattr("reports.judges.BLOCK", 1)
    found = nearest(samples, references)
    np.testing.assert_array_equal(found.which, want.which)
    np.testing.assert_array_equal(found.distance, want.distance)
    assert want.which.max() > 2048


def test_novelty_leaves_each_reference_out_of_its_own_search():
    rng = np.random.default_rng(3)
    references = rng.uniform(-1, 1, (9, 5, 5, 1))
    _, _, table = by_loop(references, references, 1, True)
    np.fill_diagonal(table, np.inf)
    samples = np.concatenate([references[:3], rng.uniform(-1, 1, (5, 5, 5, 1))])
    found = novelty(samples, references, shift=1)
    assert found.real == pytest.approx(np.median(table.min(1)), rel=1e-5)
    assert found.share == 5 / 8
    assert found.which[:3].tolist() == [0, 1, 2]
    assert found.distance[:3].tolist() == [0, 0, 0]
    assert novelty(samples, references, shift=1, fraction=100).share == 0


def test_novelty_may_take_some_of_the_references():
    rng = np.random.default_rng(4)
    references = rng.uniform(-1, 1, (200, 6, 6, 1))
    every = novelty(references[:9], references, shift=0)
    some = novelty(references[:9], references, shift=0, at_most=50, random_seed=1)
    assert some.real == novelty(references[:9], references, shift=0, at_most=50, random_seed=1).real
    assert some.real != every.real
    assert some.real == pytest.approx(every.real, rel=0.1)
    assert some.share == every.share == 0


# ------------------------------------------------------------------------------------------------------------- judge


MEAN = 0.04 * np.sign(np.random.default_rng(8).normal(size=SHAPE))
SD = 0.25
WORDS = ["minus", "plus"]


def two_words(n, seed):
    """Pictures ±MEAN in noise: the Bayes error is a tail of the normal distribution, beyond |MEAN| / SD."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    x = np.where(labels, 1, -1)[:, None, None, None] * MEAN + SD * rng.normal(size=(n, *SHAPE))
    return np.clip(x, -1, 1), labels


def exact(x):
    return expit(2 * (x * MEAN).sum((1, 2, 3)) / SD**2)


@pytest.fixture(scope="module")
def judge():
    return train_judge(*two_words(1920, 0), WORDS, random_seed=1, progressbar=False)


def quick(words=WORDS, seed=0, shape=SHAPE, **options):
    """A judge that has learned next to nothing."""
    rng = np.random.default_rng(9)
    x, labels = rng.uniform(-1, 1, (128, *shape)), np.arange(128) % len(words)
    return train_judge(x, labels, words, epochs=1, random_seed=seed, progressbar=False, **options)


def equal(a, b):
    return all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_a_judge_learns_all_that_can_be_known(judge):
    x, labels = two_words(4000, 1)
    bayes = stats.norm.sf(np.linalg.norm(MEAN) / SD)
    assert bayes == pytest.approx(0.1, abs=0.001)
    wrong = (called(judge, x) != np.array(WORDS)[labels]).mean()
    error = np.sqrt(bayes * (1 - bayes) / len(x))
    # Of seeds 1 to 5, by three sets of instructions, the worst is wrong in 1.1% more than Bayes, and off by .067.
    assert bayes - 4 * error < wrong < bayes + 0.02 + 4 * error
    assert np.abs(probabilities(judge, x)[:, 1] - exact(x)).mean() < 0.08


def test_there_is_nothing_to_learn_from_labels_that_mean_nothing():
    x, labels = two_words(1280, 2)
    random = np.random.default_rng(3).permutation(labels)
    fooled = train_judge(x, random, WORDS, epochs=4, progressbar=False)
    new, labels = two_words(2000, 4)
    assert abs((probabilities(fooled, new).argmax(1) == labels).mean() - 0.5) < 0.2
    assert np.abs(probabilities(fooled, new)[:, 1] - exact(new)).mean() > 0.3


def test_one_seed_one_judge():
    assert equal(quick(seed=4), quick(seed=4))
    assert not equal(quick(seed=4), quick(seed=5))
    assert equal(quick(seed=np.random.default_rng(4)), quick(seed=4))


def test_a_judge_is_float32_whatever_jax_computes_in():
    one, x = quick(), np.random.default_rng(0).uniform(-1, 1, (5, *SHAPE))
    with jax.enable_x64(True):
        two = quick(warp=lambda key, x: x * jnp.ones((), float))  # float64, as an arange makes them
        assert {array.dtype for array in two.weights.values()} == {np.dtype(np.float32)}
        wide = features(two, x)
    for name, array in one.weights.items():
        np.testing.assert_allclose(two.weights[name], array, atol=1e-5)
    assert wide.dtype == np.float32
    np.testing.assert_allclose(wide, features(one, x), atol=1e-4)


def test_probabilities_are_those_of_the_last_layer(judge):
    x, _ = two_words(40, 5)
    found = features(judge, x)
    assert found.shape == (40, 64)
    assert features(judge, two_words(1920, 0)[0]).var(0).mean() == pytest.approx(1, rel=1e-4)
    logits = found @ judge.weights["words"] + judge.weights["words_bias"]
    np.testing.assert_allclose(probabilities(judge, x)[:, 1], expit(logits[:, 1] - logits[:, 0]), rtol=1e-4)
    assert called(judge, x).tolist() == [WORDS[i] for i in logits.argmax(1)]


@pytest.mark.filterwarnings("ignore:Numba will use object mode to run JAXOp:UserWarning")
def test_log_f_of_a_plain_classifier_is_a_tilt(judge):
    with pm.Model() as noise:
        pm.Normal("x", 0, 0.5, shape=judge.shape)
    word = judge.words[0]
    log_f = log_probability(judge, word)
    x = np.random.default_rng(5).uniform(-1, 1, size=(6, *judge.shape))
    flat = x.reshape(6, -1)
    tilted, alone = bd.compile_prior(bd.tilt(noise, log_f)), bd.compile_prior(noise)
    known = np.log(probabilities(judge, x)[:, 0])
    np.testing.assert_allclose(tilted.logp(flat) - alone.logp(flat), known, atol=1e-4)
    # The slope along its own direction, by finite differences as wide as float32 asks for.
    slope = tilted.logp_and_gradient(flat)[1] - alone.logp_and_gradient(flat)[1]
    way = slope / np.linalg.norm(slope, axis=1, keepdims=True)
    ahead, behind = (tilted.logp(flat + h * way) - alone.logp(flat + h * way) for h in (1e-2, -1e-2))
    np.testing.assert_allclose((slope * way).sum(1), (ahead - behind) / 2e-2, rtol=0.05)
    with pytest.raises(ValueError, match="the judge does not know 'cta'; write one of its words"):
        log_probability(judge, "cta")


def test_chunks_of_pictures_are_put_together_again(judge):
    x, _ = two_words(2500, 6)
    every = features(judge, x)
    for part in (slice(0, 1), slice(1023, 1030), slice(2400, 2500)):
        np.testing.assert_allclose(features(judge, x[part]), every[part], atol=1e-5)


def test_a_judge_of_some_words_is_the_same_judge_told_more():
    shape = (7, 10, 3)  # colours, and sides that are not multiples of 4
    every, x = quick(("cat", "dog", "bird", "sun"), shape=shape), np.random.default_rng(0).uniform(-1, 1, (20, *shape))
    some = among(every, ["sun", "dog"])
    p = probabilities(every, x)[:, [3, 1]]
    np.testing.assert_allclose(probabilities(some, x), p / p.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(features(some, x), features(every, x))
    assert some.words == ("sun", "dog")
    assert every.words == ("cat", "dog", "bird", "sun")


def test_a_warp_is_what_the_judge_learns_from():
    # A judge of pictures that were mirrored all its life says of mirrored ones what they are.
    x, labels = two_words(1280, 11)
    mirrored = train_judge(x, labels, WORDS, epochs=4, warp=lambda key, x: x[:, :, ::-1], progressbar=False)
    right = [(called(mirrored, seen) == np.array(WORDS)[labels]).mean() for seen in (x[:, :, ::-1], x)]
    assert right[0] > 0.8 > right[1] + 0.1


# ------------------------------------------------------------------------------------------- samples that should fail


def test_real_pictures_are_as_far_apart_as_real_pictures(judge):
    real, _ = two_words(2000, 7)
    samples, _ = two_words(300, 8)
    score = frechet_of(judge, samples, real, repeats=5, random_seed=1)
    assert score.n == 300
    assert score.ratio == score.distance / score.real
    assert 0.5 < score.ratio < 2
    assert 0 < score.real_sd < score.real
    few = [frechet_of(judge, samples[:70], real[:140], repeats=2, random_seed=seed) for seed in (1, 1, 2)]
    assert few[0] == few[1] != few[2]
    # More pictures, less bias.
    assert frechet_of(judge, real[:1000], real, repeats=2, random_seed=1).real < 0.6 * score.real


def test_pictures_of_one_word_and_noise_fail(judge):
    real, labels = two_words(3000, 9)
    noise = np.clip(np.random.default_rng(0).normal(size=(300, *SHAPE)), -1, 1)
    plus = frechet_of(judge, real[labels == 1][:300], real, repeats=5, random_seed=1)
    assert plus.ratio > 5
    assert frechet_of(judge, noise, real, repeats=5, random_seed=1).ratio > 20
    share = (called(judge, noise) == "plus").mean()
    assert share < 0.9
    # Yet noise is new: novelty says nothing of how good a picture is.
    assert novelty(noise[:50], real[:200]).share == 1


def test_few_samples_are_warned_of_once(judge):
    real, _ = two_words(300, 10)
    with pytest.warns(UserWarning, match="samples holds 30 pictures, for 64 features") as caught:
        score = frechet_of(judge, real[:30], real[30:], repeats=3, random_seed=1)
    assert len(caught) == 1
    assert score.ratio < 3


# --------------------------------------------------------------------------------------------------------- bad input


GOOD = np.random.default_rng(0).uniform(-1, 1, (6, *SHAPE))
BROKEN = GOOD.copy()
BROKEN[3, 2, 2, 0] = np.nan
BYTES = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), dtype=np.uint8)

PICTURES = [
    (BYTES, ValueError, r"uint8 from \d+ to 2\d\d, as 0..255; write -1..1: scaled\("),
    (BYTES.astype(float), ValueError, r"float64 from \d+ to 2\d\d, as 0..255; write -1..1: scaled\("),
    (3 * GOOD, ValueError, r"from -2.9\d+ to 2.9\d+; write -1..1: np.clip\("),
    (BROKEN, ValueError, "not finite, in picture 3; leave"),
    (BROKEN * np.inf, ValueError, "not finite, in picture 0"),
    (GOOD[..., 0], ValueError, r"shape \(6, 8, 8\); write \(n, height, width, colours\): \w+\[..., None\]"),
    (GOOD[0, ..., 0], ValueError, r"shape \(8, 8\); .*\[None, ..., None\]"),
    (GOOD[:0], ValueError, "holds no picture"),
    ([[1.0], [1.0, 2.0]], TypeError, "pictures of one shape"),
    (np.full((2, *SHAPE), "x"), TypeError, "dtype <U1; write numbers in -1..1"),
]


@pytest.mark.parametrize(("bad", "error", "message"), PICTURES)
def test_bad_pictures(bad, error, message):
    any_judge = Judge({}, ("a", "b"), SHAPE)  # it is not asked
    with pytest.raises(error, match="^pictures.*" + message):
        train_judge(bad, np.arange(6) % 2, WORDS, progressbar=False)
    for ask in (features, probabilities, called):
        with pytest.raises(error, match="^pictures.*" + message):
            ask(any_judge, bad)
    for ask in (nearest, novelty):
        with pytest.raises(error, match="^samples.*" + message):
            ask(bad, GOOD)
        with pytest.raises(error, match="^references.*" + message):
            ask(GOOD, bad)
    with pytest.raises(error, match="^samples.*" + message):
        frechet_of(any_judge, bad, GOOD)
    with pytest.raises(error, match="^real.*" + message):
        frechet_of(any_judge, GOOD, bad)


def test_pictures_of_another_shape():
    any_judge = Judge({}, ("a", "b"), (28, 28, 1))
    with pytest.raises(ValueError, match=r"^pictures has shape \(6, 8, 8, 1\); write \(n, 28, 28, 1\)"):
        features(any_judge, GOOD)
    with pytest.raises(ValueError, match=r"^references has shape \(6, 8, 4, 1\); write \(n, 8, 8, 1\)"):
        nearest(GOOD, GOOD[:, :, :4])


def test_what_scaled_gives_is_taken():
    assert nearest(scaled(BYTES), scaled(BYTES)).distance.tolist() == [0] * 6


LABELS = np.arange(6) % 2
TRAINING = [
    ({"labels": LABELS + 1}, ValueError, r"labels go from 1 to 2; there are 2 words, so write 0..1"),
    ({"labels": -LABELS}, ValueError, r"labels go from -1 to 0"),
    ({"labels": LABELS[:5]}, ValueError, r"labels has shape \(5,\); write one label for each of the 6 pictures"),
    ({"labels": LABELS / 1}, TypeError, "labels has dtype float64; write integers"),
    ({"labels": 0 * LABELS}, ValueError, "labels names no picture of 'plus'"),
    ({"words": "cat"}, TypeError, r"words is the text 'cat'; write a list: \['cat'"),
    ({"words": [1, 2]}, TypeError, "words holds 1; write texts"),
    ({"words": []}, ValueError, "words is empty"),
    ({"words": ["cat", "cat"]}, ValueError, "words holds 'cat' twice"),
    ({"words": ["cat"], "labels": 0 * LABELS}, ValueError, "words holds 'cat' alone"),
    ({"pictures": np.abs(GOOD)}, ValueError, r"is that 0..1 instead of -1..1\? Then write 2 \* pictures - 1"),
    ({"pictures": 0 * GOOD - 1}, ValueError, "pictures are all the same, -1 everywhere"),
    ({"epochs": 0}, ValueError, "epochs is 0; write an int >= 1"),
    ({"epochs": 1.5}, TypeError, "epochs is 1.5"),
    ({"random_seed": "one"}, TypeError, "random_seed is 'one'"),
]


@pytest.mark.parametrize(("change", "error", "message"), TRAINING)
def test_bad_training(change, error, message):
    call = {"pictures": GOOD, "labels": LABELS, "words": WORDS, "progressbar": False, **change}
    with pytest.raises(error, match=message):
        train_judge(call.pop("pictures"), call.pop("labels"), call.pop("words"), **call)


def test_a_training_that_runs_away(monkeypatch):
    monkeypatch.setattr("reports.judges.RATE", np.inf)
    x, labels = two_words(256, 0)
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1: the network's weights have run away"):
        train_judge(x, labels, WORDS, progressbar=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: among(Judge({}, ("cat", "dog"), SHAPE), ["cat", "cow"]),
            ValueError,
            "does not know 'cow'.*: cat, dog",
        ),
        (lambda: among(Judge({}, ("cat", "dog"), SHAPE), ["cat"]), ValueError, "'cat' alone"),
        (lambda: among(Judge({}, ("cat", "dog"), SHAPE), "cat"), TypeError, "words is the text 'cat'"),
        (
            lambda: nearest(GOOD, GOOD, shift=-1),
            ValueError,
            "shift is -1, pictures are 8 x 8; write an int from 0 to 7",
        ),
        (lambda: nearest(GOOD, GOOD, shift=8), ValueError, "shift is 8"),
        (lambda: nearest(GOOD, GOOD, shift=1.0), TypeError, "shift is 1.0; write an int >= 0"),
        (lambda: novelty(GOOD, GOOD[:1]), ValueError, "references holds one picture"),
        (lambda: novelty(GOOD, GOOD, fraction=0), ValueError, "fraction is 0; write a number > 0"),
        (lambda: novelty(GOOD, GOOD, at_most=0), ValueError, "at_most is 0"),
        (lambda: frechet_of(Judge({}, ("a", "b"), SHAPE), GOOD[:1], GOOD), ValueError, "samples holds one picture"),
        (
            lambda: frechet_of(Judge({}, ("a", "b"), SHAPE), GOOD, GOOD[:5]),
            ValueError,
            r"samples holds 6 pictures and real 5; .* at least 12 real pictures, or samples\[:2\]",
        ),
        (lambda: frechet_distance(np.ones(3), np.ones((3, 2))), ValueError, r"features_a has shape \(3,\)"),
        (lambda: frechet_distance(np.ones((3, 2)), np.ones((3, 4))), ValueError, "features_a has 2 columns and .*_b 4"),
        (lambda: frechet_distance(np.ones((3, 2)), np.ones((1, 2))), ValueError, "features_b has 1 rows"),
        (lambda: frechet_distance([[0, 1], [np.nan, 2]], np.ones((3, 2))), ValueError, "features_a .*, in row 1"),
        (lambda: frechet_distance([["a"]], np.ones((3, 2))), TypeError, "features_a must hold real numbers"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_records_read_as_sentences():
    score = Frechet(n=1000, distance=2.0, distance_sd=0.1, real=0.0, real_sd=0.0)
    assert score.ratio == np.inf
    assert str(novelty(GOOD, GOOD)).startswith("0% of the samples are farther than ")
