"""How good pictures are: what a judge of their own calls them, how their features are spread, and what they copy.

    d^2 = |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))       Frechet distance between features of two sets
    min over references r and moves T of |x - T r|                distance to the nearest reference

Features are those of a small network, the judge, trained on real pictures only: numbers of different judges cannot be
compared with each other. Nor can distances at different numbers of pictures, so the value of real pictures against
real ones, as many, stands beside each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pytensor import wrap_jax
from pytensor.tensor.variable import TensorVariable
from scipy import linalg

from bayesdiff.calls import progress_bar
from bayesdiff.checks import Seed, flag, generator, positive_int, positive_number, real_array
from models.pictures.data import array_of, distinct_texts

# Pictures are float32 here, whatever the rest of the library computes in.
FLOAT = np.float32
FEATURES = 64
WIDTHS = (32, 64)  # channels of the first convolution, and of the two others
SLOPE = 0.1  # of an activation below 0: a feature that is 0 for all pictures would stay so
DROPPED = 0.3  # share of the last convolution's outputs, in training
BATCH = 64
RATE = 2e-3
WARM_UP = 50  # steps
CHUNKS = (64, 1024)  # pictures judged at once: two sizes, two compilations
# Numbers in a factor or a product of matrices, when the nearest picture is searched: 64 MB.
BLOCK = 1 << 24
UNITS = 5000  # pictures whose features have variance 1, on average over features
ROUNDING = 1e-4  # by which a number may lie outside of -1..1

Warp = Callable[[jax.Array, jax.Array], jax.Array]


# --------------------------------------------------------------------------------------------------------------- judge


@dataclass(frozen=True, eq=False)
class Judge:
    """A small network that tells words apart: p(word | picture), and the features that it decides by.

    Attributes
    ----------
    weights : dict of numpy.ndarray
        float32, by name.
    words : tuple of str
        What it tells apart.
    shape : (int, int, int)
        Height, width and colours of a picture.
    mean, sd : float
        Of all numbers in the pictures that it has learned from: it sees (picture - mean) / sd.
    loss : tuple of float
        Mean cross-entropy of each epoch of training, in nats.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import probabilities, train_judge
    >>> labels = np.arange(640) % 2
    >>> dark_or_bright = np.where(labels, 0.5, -0.5)[:, None, None, None] * np.ones((8, 8, 1))
    >>> judge = train_judge(dark_or_bright, labels, ["dark", "bright"], progressbar=False)
    >>> judge.words, judge.shape, probabilities(judge, dark_or_bright[:2]).round().tolist()
    (('dark', 'bright'), (8, 8, 1), [[1.0, 0.0], [0.0, 1.0]])
    """

    weights: dict[str, np.ndarray] = field(repr=False)
    words: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: float = 0.0
    sd: float = 1.0
    loss: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(distinct_texts(self.words)) < 2:
            raise ValueError(f"words holds {self.words[0]!r} alone; a judge tells at least two words apart")
        if not isinstance(self.shape, tuple) or len(self.shape) != 3:
            raise TypeError(f"shape is {self.shape!r}; write (height, width, colours)")


def train_judge(
    pictures: ArrayLike,
    labels: ArrayLike,
    words: Sequence[str],
    *,
    epochs: int = 6,
    warp: Warp | None = None,
    random_seed: Seed = 0,
    progressbar: bool = True,
) -> Judge:
    r"""Train a judge: a network that says which word a picture is of.

    .. math:: \min_w \; -\frac{1}{n} \sum_i \log p_w(\text{label}_i \mid \text{picture}_i)

    Parameters
    ----------
    pictures : array_like (n, height, width, colours)
        Real pictures, in -1..1 (see `scaled`).
    labels : array_like of int (n,)
        For each picture the place of its word in ``words``.
    words : sequence of str
        At least two.
    epochs : int
        How often each picture is shown. Six are enough for 10,000 pictures, some twenty seconds of a core at 28 x
        28; a few thousand pictures want 60 or more, and a ``warp``.
    warp : callable, optional
        (JAX random key, pictures) -> pictures, on JAX arrays: the same pictures as they could have been made as well,
        anew in each epoch. `redrawn` is one, for drawings.
    random_seed : int, Generator or None
        The source of randomness. Same machine, same weights.
    progressbar : bool
        Whether to show one.

    Returns
    -------
    Judge

    Raises
    ------
    TypeError
        If pictures are no numbers, labels no integers, or words no texts.
    ValueError
        If a shape does not fit, pictures lie outside of -1..1 or hold NaN, a label has no word, or a word no picture.
    FloatingPointError
        If the loss is not finite.

    Notes
    -----
    Three convolutions (the first two halve height and width; the third is added to its input: He et al. 2016), 64
    features in units in which their variance is 1 on average, a softmax; dropout before the features (Srivastava et al.
    2014); Adam (Kingma & Ba 2015) with a rate that rises for 50 steps and then falls to 0 along a cosine (Loshchilov &
    Hutter 2017).

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import called, train_judge
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(2, size=640)
    >>> pictures = rng.uniform(-1, 0, size=(640, 8, 8, 1))
    >>> pictures[labels == 1, 3:5] += 1  # a bright line across
    >>> judge = train_judge(pictures, labels, ["nothing", "line"], progressbar=False)
    >>> print((called(judge, pictures) == np.array(judge.words)[labels]).mean())
    1.0
    """
    words = tuple(distinct_texts(words))
    x = _pictures(pictures, "pictures")
    y = _labels(labels, len(x), words)
    if len(words) < 2:
        raise ValueError(f"words holds {words[0]!r} alone; a judge tells at least two words apart")
    counts = np.bincount(y, minlength=len(words))
    if not counts.all():
        raise ValueError(
            f"labels names no picture of {words[int(counts.argmin())]!r}; leave that word out, or add pictures of it"
        )
    if x.min() >= 0:
        raise ValueError(
            f"pictures go from {x.min():.4g} to {x.max():.4g}, none is dark anywhere; is that 0..1 instead of -1..1? "
            "Then write 2 * pictures - 1"
        )
    mean, sd = float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64))
    if sd == 0:
        raise ValueError(f"pictures are all the same, {x.min():.4g} everywhere; there is nothing to learn from them")
    epochs = positive_int(epochs, "epochs")
    if warp is not None and not callable(warp):
        raise TypeError(f"warp is {warp!r}; write a function of a JAX random key and pictures, as redrawn")
    rng = generator(random_seed)

    with jax.enable_x64(False):  # what has been imported is not to decide what is learned
        weights: Any = {name: jnp.asarray(array) for name, array in _initial(rng, x.shape[1:], len(words)).items()}
        state = _ADAM.init(weights)
        key = jax.random.key(int(rng.integers(2**31)))
        batch = min(BATCH, len(x))
        per_epoch = len(x) // batch
        losses = []
        with progress_bar("judge", epochs * per_epoch, progressbar) as progress:
            # A loop in Python: on a CPU, XLA runs convolutions inside its own loops some sixteen times slower.
            for epoch in range(epochs):
                order = rng.permutation(len(x))[: per_epoch * batch].reshape(per_epoch, batch)
                total = 0.0
                for i, rows in enumerate(order):
                    number = epoch * per_epoch + i
                    rate = FLOAT(RATE * _course(number, epochs * per_epoch))
                    weights, state, loss = _step(
                        weights, state, key, np.int32(number), x[rows], y[rows], rate, FLOAT(mean), FLOAT(sd), warp
                    )
                    total += float(loss)
                    if progress:
                        progress(1)
                if not np.isfinite(total):
                    raise FloatingPointError(
                        f"the loss is {total} in epoch {epoch + 1}: "
                        + ("does warp give finite pictures?" if warp else "the network's weights have run away")
                    )
                losses.append(total / per_epoch)
    kept = {name: np.asarray(array) for name, array in weights.items()}
    return _in_units(Judge(kept, words, x.shape[1:], mean, sd, tuple(losses)), x[rng.permutation(len(x))[:UNITS]])


def among(judge: Judge, words: Sequence[str]) -> Judge:
    """Restrict a judge to some of its words: p(word | picture, it is one of these).

    The softmax over some of the logits is just that, so one judge of many words serves for any few of them.

    Parameters
    ----------
    judge : Judge
    words : sequence of str
        Some of its words; the result has them in this order.

    Returns
    -------
    Judge
        With the same features.

    Raises
    ------
    TypeError
        If ``words`` is one text, or holds something else than text.
    ValueError
        If a word is not the judge's, or comes twice, or there are fewer than two.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import among, probabilities, train_judge
    >>> x, labels = np.random.default_rng(0).uniform(-1, 1, size=(90, 8, 8, 1)), np.arange(90) % 3
    >>> judge = train_judge(x, labels, ["cat", "dog", "bird"], epochs=1, progressbar=False)
    >>> few = probabilities(among(judge, ["bird", "cat"]), x)
    >>> all_three = probabilities(judge, x)
    >>> bool(np.allclose(few[:, 0], all_three[:, 2] / (all_three[:, 0] + all_three[:, 2]), atol=1e-6))
    True
    """
    _check_judge(judge)
    words = tuple(distinct_texts(words))
    for word in words:
        if word not in judge.words:
            raise ValueError(f"the judge does not know {word!r}; write some of its words: {', '.join(judge.words)}")
    if len(words) < 2:
        raise ValueError(f"words holds {words[0]!r} alone; a judge tells at least two words apart")
    places = [judge.words.index(word) for word in words]
    last = {"words": judge.weights["words"][:, places], "words_bias": judge.weights["words_bias"][places]}
    return replace(judge, weights={**judge.weights, **last}, words=words)


def features(judge: Judge, pictures: ArrayLike) -> np.ndarray:
    """Compute the 64 numbers by which the judge decides: what comes before its last layer.

    Parameters
    ----------
    judge : Judge
    pictures : array_like (n, height, width, colours)
        In -1..1, of the judge's shape.

    Returns
    -------
    numpy.ndarray of float32 (n, 64)

    Raises
    ------
    TypeError, ValueError
        If pictures are no numbers in -1..1, or of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import features, train_judge
    >>> x, labels = np.random.default_rng(0).uniform(-1, 1, size=(64, 8, 8, 1)), np.arange(64) % 2
    >>> judge = train_judge(x, labels, ["heads", "tails"], epochs=1, progressbar=False)
    >>> features(judge, x[:7]).shape
    (7, 64)
    """
    return _judged(judge, pictures, "pictures")[0]


def probabilities(judge: Judge, pictures: ArrayLike) -> np.ndarray:
    """Compute p(word | picture) for each word of the judge.

    Parameters
    ----------
    judge : Judge
    pictures : array_like (n, height, width, colours)
        In -1..1, of the judge's shape.

    Returns
    -------
    numpy.ndarray of float32 (n, words)
        Each row sums to 1.

    Raises
    ------
    TypeError, ValueError
        If pictures are no numbers in -1..1, or of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import probabilities, train_judge
    >>> x, labels = np.random.default_rng(0).uniform(-1, 1, size=(64, 8, 8, 1)), np.arange(64) % 2
    >>> judge = train_judge(x, labels, ["heads", "tails"], epochs=1, progressbar=False)
    >>> probabilities(judge, x[:7]).sum(1).round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    logits = _judged(judge, pictures, "pictures")[1]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def called(judge: Judge, pictures: ArrayLike) -> np.ndarray:
    """Find the word that the judge holds to be the likeliest for each picture.

    Parameters
    ----------
    judge : Judge
    pictures : array_like (n, height, width, colours)
        In -1..1, of the judge's shape.

    Returns
    -------
    numpy.ndarray of str (n,)
        So ``(called(judge, samples) == "cat").mean()`` is the share of cats.

    Raises
    ------
    TypeError, ValueError
        If pictures are no numbers in -1..1, or of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import called, train_judge
    >>> x, labels = np.full((640, 8, 8, 1), -0.5), np.arange(640) % 2
    >>> x[labels == 1] = 0.5
    >>> judge = train_judge(x, labels, ["dark", "bright"], progressbar=False)
    >>> called(judge, x[:3]).tolist()
    ['dark', 'bright', 'dark']
    """
    logits = _judged(judge, pictures, "pictures")[1]
    return np.array(judge.words)[logits.argmax(1)]


def log_probability(judge: Judge, word: str) -> Callable[[TensorVariable], TensorVariable]:
    """Write log p(word | picture), the log f of a plain classifier, as a function for ``bd.tilt``.

    p(x) ∝ p0(x) f(x),   f(x) = p(word | x)

    Parameters
    ----------
    judge : Judge
    word : str
        One of its words.

    Returns
    -------
    callable
        Takes a PyTensor variable of a picture's shape (height, width, colours), and gives a PyTensor scalar with a
        gradient. Twenty times it is the log of f raised to the 20th power.

    Raises
    ------
    TypeError, ValueError
        If `judge` is none, or does not know the word.

    Notes
    -----
    f is 1 at most. In hundreds of dimensions a few nats change little: pictures drawn from p are like those of p0. A
    network that tells noise levels apart (`classifier_prior`) is what draws pictures.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> from reports.judges import log_probability, train_judge
    >>> x, labels = np.random.default_rng(0).uniform(-1, 1, size=(64, 8, 8, 1)), np.arange(64) % 2
    >>> judge = train_judge(x, labels, ["heads", "tails"], epochs=1, progressbar=False)
    >>> with pm.Model() as noise:
    ...     picture = pm.Normal("x", shape=(8, 8, 1))
    >>> bd.tilt(noise, log_probability(judge, "heads")).potentials
    [tilt]
    """
    _check_judge(judge)
    if word not in judge.words:
        raise ValueError(f"the judge does not know {word!r}; write one of its words: {', '.join(judge.words)}")
    place = judge.words.index(word)
    weights: dict[str, Any] = dict(judge.weights)
    mean, sd = FLOAT(judge.mean), FLOAT(judge.sd)

    def one(picture: jax.Array) -> jax.Array:
        logits = _decided(weights, _seen(weights, ((picture.astype(FLOAT) - mean) / sd)[None]))[1][0]
        return jax.nn.log_softmax(logits)[place].astype("float64")

    evaluate = wrap_jax(one)

    def log_f(x: TensorVariable) -> TensorVariable:
        value: TensorVariable = evaluate(pt.specify_shape(x, judge.shape))
        return value

    return log_f


_ADAM = optax.scale_by_adam()


def _in_units(judge: Judge, pictures: np.ndarray) -> Judge:
    """Rescale features to a mean variance of 1 on these pictures; the last layer takes it back."""
    spread = float(np.sqrt(features(judge, pictures).var(0, dtype=np.float64).mean()))
    if not 0 < spread < np.inf:
        return judge
    # An activation of c x is c times that of x, for c > 0.
    scales = {"features": 1 / spread, "features_bias": 1 / spread, "words": spread}
    return replace(judge, weights={name: array * FLOAT(scales.get(name, 1)) for name, array in judge.weights.items()})


def _course(number: int, steps: int) -> float:
    """Compute the learning rate's share of its highest, at a step: up in a line, down along a cosine."""
    warm_up = min(WARM_UP, max(1, steps // 10))
    return min(1.0, (number + 1) / warm_up) * 0.5 * (1 + np.cos(np.pi * number / steps))


def _initial(rng: np.random.Generator, shape: tuple[int, ...], words: int) -> dict[str, np.ndarray]:
    """Draw weights before training (He et al. 2015); the last layer's are 0, so that all words begin as likely."""
    height, width, colours = shape
    first, second = WIDTHS
    inner = -(-height // 4) * -(-width // 4) * second
    weights = {}
    for name, size in (
        ("conv1", (5, 5, colours, first)),
        ("conv2", (3, 3, first, second)),
        ("conv3", (3, 3, second, second)),
        ("features", (inner, FEATURES)),
    ):
        fan_in = int(np.prod(size[:-1]))
        weights[name] = (rng.standard_normal(size) * np.sqrt(2 / fan_in)).astype(FLOAT)
        weights[f"{name}_bias"] = np.zeros(size[-1], FLOAT)
    return {**weights, "words": np.zeros((FEATURES, words), FLOAT), "words_bias": np.zeros(words, FLOAT)}


def _active(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, x, FLOAT(SLOPE) * x)


def _convolved(weights: dict[str, jax.Array], name: str, x: jax.Array, stride: int) -> jax.Array:
    y = jax.lax.conv_general_dilated(
        x, weights[name], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return _active(y + weights[f"{name}_bias"])


def _seen(weights: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
    """Compute what the convolutions make of pictures (n, height, width, colours): (n, inner)."""
    x = _convolved(weights, "conv1", pictures, 2)
    x = _convolved(weights, "conv2", x, 2)
    x = x + _convolved(weights, "conv3", x, 1)
    return x.reshape(len(x), -1)


def _decided(weights: dict[str, jax.Array], seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute features (n, 64) and logits (n, words)."""
    found = _active(seen @ weights["features"] + weights["features_bias"])
    return found, found @ weights["words"] + weights["words_bias"]


@partial(jax.jit, static_argnames=("warp",))
def _step(
    weights: dict[str, jax.Array],
    state: optax.OptState,
    key: jax.Array,
    number: jax.Array,
    pictures: jax.Array,
    labels: jax.Array,
    rate: jax.Array,
    mean: jax.Array,
    sd: jax.Array,
    warp: Warp | None,
) -> tuple[dict[str, jax.Array], optax.OptState, jax.Array]:
    key_warp, key_drop = jax.random.split(jax.random.fold_in(key, number))
    shown = pictures if warp is None else warp(key_warp, pictures).astype(FLOAT)

    def loss(weights: dict[str, jax.Array]) -> jax.Array:
        seen = _seen(weights, (shown - mean) / sd)
        kept = jax.random.bernoulli(key_drop, FLOAT(1 - DROPPED), seen.shape)
        logits = _decided(weights, jnp.where(kept, seen / FLOAT(1 - DROPPED), FLOAT(0)))[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradient = jax.value_and_grad(loss)(weights)
    updates, state = _ADAM.update(gradient, state)
    return jax.tree.map(lambda weight, update: weight - rate * update, weights, updates), state, value


@jax.jit
def _forward(
    weights: dict[str, jax.Array], pictures: jax.Array, mean: jax.Array, sd: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return _decided(weights, _seen(weights, (pictures - mean) / sd))


def _judged(judge: Judge, pictures: ArrayLike, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 64) and logits (n, words), a chunk of pictures at a time."""
    _check_judge(judge)
    x = _pictures(pictures, what, judge.shape)
    weights = {name: jnp.asarray(array) for name, array in judge.weights.items()}
    found = np.empty((len(x), FEATURES), FLOAT)
    logits = np.empty((len(x), len(judge.words)), FLOAT)
    scale = FLOAT(judge.mean), FLOAT(judge.sd)
    size = CHUNKS[len(x) > CHUNKS[0]]
    for start in range(0, len(x), size):
        part = x[start : start + size]
        padded = np.concatenate([part, np.zeros((size - len(part), *judge.shape), FLOAT)])
        for whole, chunk in zip((found, logits), _forward(weights, padded, *scale), strict=True):
            whole[start : start + size] = np.asarray(chunk)[: len(part)]
    return found, logits


# ------------------------------------------------------------------------------------------------------------- Frechet


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    r"""Compute the squared Frechet distance between the Gaussians that fit two sets of features.

    .. math:: d^2 = |m_a - m_b|^2 + \operatorname{tr}\left(C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2}\right)

    Parameters
    ----------
    features_a : array_like (n, d)
        One row for each picture.
    features_b : array_like (m, d)
        Likewise; n and m may differ.

    Returns
    -------
    float
        d^2 >= 0, in units of features squared: by custom this square is called the distance.

    Raises
    ------
    TypeError
        If something is no array of real numbers.
    ValueError
        If shapes do not fit, a number is not finite, or a set has fewer than two rows.

    Warns
    -----
    UserWarning
        If a set has no more rows than features: its covariance is singular, and the distance far too large.

    Notes
    -----
    m and C are the mean and the covariance (divisor n - 1) of a set. With C_a = R_a' R_a, from the eigenvectors of C_a,
    the trace of the root is the sum of the singular values of R_a R_b'. So no root of a matrix that is not symmetric is
    taken, and singular covariances lose no digits. The distance is biased upwards, by some 1 / n: compare at equal n.

    References
    ----------
    Dowson, Landau (1982), The Frechet distance between multivariate normal distributions. Heusel, Ramsauer,
    Unterthiner, Nessler, Hochreiter (2017), GANs trained by a two time-scale update rule, for its use on pictures.

    Examples
    --------
    A shift by (3, 4) adds 25, a stretch of a standard deviation from 1 to 2 adds 1:

    >>> import numpy as np
    >>> from reports.judges import frechet_distance
    >>> x = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * np.sqrt(3 / 4)  # covariance I
    >>> round(frechet_distance(x, x + [3, 4]), 6), round(frechet_distance(x, x * [1, 2]), 6)
    (25.0, 1.0)
    """
    a, b = _feature_array(features_a, "features_a"), _feature_array(features_b, "features_b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features_a has {a.shape[1]} columns and features_b {b.shape[1]}; write features of the same judge"
        )
    _warn_of_few({"features_a": len(a), "features_b": len(b)}, a.shape[1])
    return _squared_distance(_fitted(a), _fitted(b))


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance beside the one of real pictures against real ones, at the same number of pictures.

    Attributes
    ----------
    n : int
        Pictures in each set.
    distance, distance_sd : float
        Samples against n real pictures: mean and standard deviation over draws of these.
    real, real_sd : float
        n real pictures against n others: mean and standard deviation over draws of both.

    Examples
    --------
    >>> from reports.judges import Frechet
    >>> score = Frechet(n=1000, distance=12.0, distance_sd=0.2, real=1.0, real_sd=0.1)
    >>> score.ratio
    12.0
    >>> print(score)
    Frechet distance 12 ± 0.2, 12 times that of real pictures (1 ± 0.1), 1,000 each
    """

    n: int
    distance: float
    distance_sd: float
    real: float
    real_sd: float

    @property
    def ratio(self) -> float:
        """How many times farther the samples are than real pictures are."""
        return self.distance / self.real if self.real > 0 else np.inf

    def __str__(self) -> str:
        return (
            f"Frechet distance {self.distance:.3g} ± {self.distance_sd:.2g}, {self.ratio:.3g} times that of real "
            f"pictures ({self.real:.3g} ± {self.real_sd:.2g}), {self.n:,} each"
        )


def frechet_of(
    judge: Judge, samples: ArrayLike, real: ArrayLike, *, repeats: int = 20, random_seed: Seed = None
) -> Frechet:
    """Compute the Frechet distance of samples, and of real pictures against real ones at the same number.

    Parameters
    ----------
    judge : Judge
        Whose features are compared.
    samples : array_like (n, height, width, colours)
        In -1..1.
    real : array_like (m, height, width, colours)
        At least 2 n pictures, in -1..1. If the judge has learned from them, it knows them better than it knows
        samples: pass pictures that it has not seen.
    repeats : int
        How often two disjoint sets of n real pictures are drawn. The first is compared with the samples, and with the
        second.
    random_seed : int, Generator or None
        The source of randomness.

    Returns
    -------
    Frechet
        Its standard deviations are over repeats, which share their pictures where m is not much larger than 2 n: they
        say how much hangs on the choice, not how far the distance is from that of infinitely many.

    Raises
    ------
    TypeError, ValueError
        If pictures are no numbers in -1..1, of another shape, or real ones fewer than twice the samples.

    Warns
    -----
    UserWarning
        If there are no more samples than features.

    References
    ----------
    Heusel et al. (2017), GANs trained by a two time-scale update rule.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import frechet_of, train_judge
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(2, size=400)
    >>> real = rng.uniform(-1, 0, size=(400, 8, 8, 1)) + labels[:, None, None, None]
    >>> judge = train_judge(real, labels, ["dark", "bright"], epochs=2, progressbar=False)
    >>> frechet_of(judge, real[:100], real, random_seed=1).ratio < 2
    True
    >>> frechet_of(judge, np.clip(rng.normal(size=(100, 8, 8, 1)), -1, 1), real, random_seed=1).ratio > 10
    True
    """
    _check_judge(judge)
    repeats = positive_int(repeats, "repeats")
    rng = generator(random_seed)
    a = _pictures(samples, "samples", judge.shape)
    b = _pictures(real, "real", judge.shape)
    n = len(a)
    if n < 2:
        raise ValueError("samples holds one picture; a covariance needs two, and more than 64 to be of use")
    if len(b) < 2 * n:
        raise ValueError(
            f"samples holds {n} pictures and real {len(b)}; real against real needs two disjoint sets of {n}: pass at "
            f"least {2 * n} real pictures, or samples[:{len(b) // 2}]"
        )
    _warn_of_few({"samples": n}, FEATURES)
    fitted = _fitted(_judged(judge, a, "samples")[0].astype(np.float64))
    of_real = _judged(judge, b, "real")[0].astype(np.float64)
    both = []
    for _ in range(repeats):
        order = rng.permutation(len(b))
        first, second = _fitted(of_real[order[:n]]), _fitted(of_real[order[n : 2 * n]])
        both.append((_squared_distance(fitted, first), _squared_distance(first, second)))
    mean, sd = np.mean(both, axis=0), np.std(both, axis=0, ddof=1 if repeats > 1 else 0)
    return Frechet(n, float(mean[0]), float(sd[0]), float(mean[1]), float(sd[1]))


class _Gaussian(NamedTuple):
    """The Gaussian that fits rows: ``mean`` (d,), and ``root`` (d, d) with root' root its covariance."""

    mean: np.ndarray
    root: np.ndarray


def _fitted(rows: np.ndarray) -> _Gaussian:
    mean = rows.mean(0)
    centred = rows - mean
    # SciPy's: NumPy's calls the same routine with threads that wait for each other, on busy cores forty times longer.
    variances, axes = linalg.eigh(centred.T @ centred / (len(rows) - 1), driver="evd")
    # What is but rounding counts as none: its root would be 1e-8 of the largest one, for each dead feature.
    variances[variances < len(variances) * np.finfo(float).eps * variances[-1]] = 0
    return _Gaussian(mean, np.sqrt(np.maximum(variances, 0))[:, None] * axes.T)


def _squared_distance(a: _Gaussian, b: _Gaussian) -> float:
    common = np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum()
    squared = ((a.mean - b.mean) ** 2).sum() + (a.root**2).sum() + (b.root**2).sum() - 2 * common
    return max(float(squared), 0.0)  # of equal sets it is 0 but for rounding


def _feature_array(value: ArrayLike, what: str) -> np.ndarray:
    array = real_array(value, what)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{what} has shape {array.shape}; write (pictures, features), as features() gives them")
    if len(array) < 2:
        raise ValueError(
            f"{what} has {len(array)} rows; a covariance needs two, and more than {array.shape[1]} to be of use"
        )
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise ValueError(f"{what} holds a number that is not finite, in row {where}; leave that picture out")
    return array


def _warn_of_few(counts: dict[str, int], dimension: int) -> None:
    few = {what: n for what, n in counts.items() if n <= dimension}
    if few:
        what = " and ".join(f"{what} holds {n} pictures" for what, n in few.items())
        warnings.warn(
            f"{what}, for {dimension} features: the covariance is singular and the Frechet distance far too large. "
            f"Pass more than {dimension}, or compare it only with real pictures against real ones, as many.",
            stacklevel=3,
        )


# ------------------------------------------------------------------------------------------------------------- nearest


class Nearest(NamedTuple):
    """The nearest reference of each sample.

    Attributes
    ----------
    distance : numpy.ndarray (n,)
        Euclidean: the root of a sum over all pixels and colours.
    which : numpy.ndarray of int (n,)
        Among the references.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import nearest
    >>> pictures = np.random.default_rng(0).uniform(-1, 1, size=(4, 8, 8, 1))
    >>> distance, which = nearest(pictures[[2, 0]], pictures)
    >>> distance, which
    (array([0., 0.]), array([2, 0]))
    """

    distance: np.ndarray
    which: np.ndarray


def nearest(
    samples: ArrayLike, references: ArrayLike, *, shift: int = 2, flip: bool = True, progressbar: bool = True
) -> Nearest:
    r"""Compute the distance of each sample to its nearest reference, mirrored or not and shifted by a few pixels.

    .. math:: d_i = \min_{j, T} \; |x_i - T r_j|, \qquad T: \text{mirrored or not, then moved by at most shift}

    Parameters
    ----------
    samples : array_like (n, height, width, colours)
        In -1..1.
    references : array_like (m, height, width, colours)
        In -1..1.
    shift : int
        By how many pixels a reference is moved at most, up or down and left or right; what comes in is background, -1.
    flip : bool
        Whether its mirror image counts too.
    progressbar : bool
        Whether to show one.

    Returns
    -------
    Nearest
        ``distance`` (n,) float64, in units of a pixel's value, the root of a sum over all pixels and colours; ``which``
        (n,) int.

    Raises
    ------
    TypeError, ValueError
        If pictures are no numbers in -1..1 or of two shapes, or the shift moves them out of sight.

    Notes
    -----
    Products of matrices in float32 find the nearest; its distance is then computed in float64. Where two references are
    as near but for some 1e-6 of the picture's square, either may be named. 1,000 samples against 60,000 references at
    28 x 28 take a minute or two of two cores.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import nearest
    >>> references = -np.ones((2, 6, 6, 1))
    >>> references[0, 2, 1:4] = 1  # a line of three pixels
    >>> references[1, 1:5, 2] = 1  # one of four, upright
    >>> sample = -np.ones((1, 6, 6, 1))
    >>> sample[0, 3, 2:5] = 1  # the first line, moved
    >>> nearest(sample, references)
    Nearest(distance=array([0.]), which=array([0]))
    >>> nearest(sample, references, shift=0).distance.round(2)  # four pixels differ by 2
    array([4.47])
    """
    a = _pictures(samples, "samples")
    b = _pictures(references, "references", a.shape[1:])
    return _search(a, b, _moves(shift, flip, b.shape[1:]), None, progressbar)


@dataclass(frozen=True, eq=False)
class Novelty:
    """How many samples are new: farther from the nearest reference than a share of what references are from each other.

    Attributes
    ----------
    share : float
        Of the samples that are farther than ``fraction * real``.
    real : float
        Median distance of a reference to the nearest other one.
    fraction : float
        How much of it a sample must be away.
    distance : numpy.ndarray (n,)
        Of each sample to its nearest reference.
    which : numpy.ndarray (n,)
        Which reference that is.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import Novelty
    >>> print(Novelty(share=0.95, real=8.0, fraction=0.5, distance=np.array([7.5]), which=np.array([3])))
    95% of the samples are farther than 4 from their nearest reference, half of what references are from each other (8)
    """

    share: float
    real: float
    fraction: float
    distance: np.ndarray = field(repr=False)
    which: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        part = "half" if self.fraction == 0.5 else f"{self.fraction:g} times"
        return (
            f"{self.share:.0%} of the samples are farther than {self.fraction * self.real:.3g} from their nearest "
            f"reference, {part} of what references are from each other ({self.real:.3g})"
        )


def novelty(
    samples: ArrayLike,
    references: ArrayLike,
    *,
    fraction: float = 0.5,
    shift: int = 2,
    flip: bool = True,
    at_most: int = 1000,
    random_seed: Seed = 0,
    progressbar: bool = True,
) -> Novelty:
    r"""Compute the share of samples that are no copies: farther from all references than these are from each other.

    .. math:: \text{share} = \frac{1}{n} \#\{i : d_i > \text{fraction} \cdot
              \operatorname{median}_j \min_{k \ne j, T} |r_j - T r_k|\}

    Parameters
    ----------
    samples : array_like (n, height, width, colours)
        In -1..1.
    references : array_like (m, height, width, colours)
        What the samples' model has learned from, in -1..1; at least two.
    fraction : float
        How much of the references' median distance a sample must be away.
    shift, flip : int, bool
        As in `nearest`, for both distances.
    at_most : int
        For how many references, drawn without replacement, the distance to all others is computed.
    random_seed : int, Generator or None
        Which these are.
    progressbar : bool
        Whether to show one.

    Returns
    -------
    Novelty

    Raises
    ------
    TypeError, ValueError
        If pictures are no numbers in -1..1 or of two shapes, or there is one reference.

    Notes
    -----
    A high share says that pictures are not copied, not that they are good: noise is new. A picture that is an average
    of several references is near to all of them, and need not be a copy.

    Examples
    --------
    >>> import numpy as np
    >>> from reports.judges import novelty
    >>> rng = np.random.default_rng(0)
    >>> references = rng.uniform(-1, 1, size=(20, 8, 8, 1))
    >>> copies = references[:5, :, ::-1] + 1e-6  # mirrored
    >>> new = rng.uniform(-1, 1, size=(15, 8, 8, 1))
    >>> novelty(np.concatenate([np.clip(copies, -1, 1), new]), references).share
    0.75
    """
    a = _pictures(samples, "samples")
    b = _pictures(references, "references", a.shape[1:])
    if len(b) < 2:
        raise ValueError("references holds one picture; a distance between references needs two")
    positive_number(fraction, "fraction", "a number > 0, such as 0.5")
    flag(progressbar, "progressbar")
    moves = _moves(shift, flip, b.shape[1:])
    at_most = positive_int(at_most, "at_most")
    own = np.sort(generator(random_seed).permutation(len(b))[:at_most])
    real = float(np.median(_search(b[own], b, moves, own, progressbar).distance))
    found = _search(a, b, moves, None, progressbar)
    return Novelty(float((found.distance > fraction * real).mean()), real, float(fraction), *found)


class _Move(NamedTuple):
    """T: mirrored or not, then moved down and right, with zeros coming in."""

    mirror: bool
    down: int
    right: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return _moved(x[:, :, ::-1] if self.mirror else x, self.down, self.right)

    def adjoint(self, x: np.ndarray) -> np.ndarray:
        """Compute T' x, so that <x, T r> = <T' x, r>."""
        back = _moved(x, -self.down, -self.right)
        return back[:, :, ::-1] if self.mirror else back


def _moved(x: np.ndarray, down: int, right: int) -> np.ndarray:
    out = np.zeros_like(x)
    height, width = x.shape[1:3]
    out[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = x[
        :, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return out


def _moves(shift: int, flip: bool, shape: tuple[int, ...]) -> list[_Move]:
    flag(flip, "flip")
    if not isinstance(shift, int | np.integer) or isinstance(shift, bool):
        raise TypeError(f"shift is {shift!r}; write an int >= 0")
    if not 0 <= shift < min(shape[:2]):
        raise ValueError(
            f"shift is {shift}, pictures are {shape[0]} x {shape[1]}; write an int from 0 to {min(shape[:2]) - 1}"
        )
    steps = sorted(range(-shift, shift + 1), key=abs)
    return [_Move(m, y, x) for m in ((False, True) if flip else (False,)) for y in steps for x in steps]


def _search(
    samples: np.ndarray, references: np.ndarray, moves: list[_Move], own: np.ndarray | None, progressbar: bool
) -> Nearest:
    """Find the nearest reference under the moves; that of number ``own`` (n,) does not count, where it is given.

    |x - T r|^2 = |x|^2 + |T r|^2 - 2 <T' x, r>, for pictures whose background is 0. The moves act on the few samples,
    so the references stay one matrix.
    """
    samples, references = samples + FLOAT(1), references + FLOAT(1)
    flat = references.reshape(len(references), -1)
    # |T r|^2 sums the squares of what stays in sight: T' of a picture of ones.
    in_sight = np.concatenate([move.adjoint(np.ones_like(references[:1])) for move in moves]).reshape(len(moves), -1)
    squares = np.empty((len(moves), len(flat)), FLOAT)
    width = min(len(flat), 2048)
    rows = max(1, BLOCK // (len(moves) * max(width, flat.shape[1])))
    for columns in _slices(len(flat), width):
        squares[:, columns] = in_sight @ np.square(flat[columns]).T
    best = np.full(len(samples), np.inf, FLOAT)
    which = np.zeros(len(samples), np.intp)
    by = np.zeros(len(samples), np.intp)
    with progress_bar("nearest", len(samples), progressbar) as progress:
        for part in _slices(len(samples), rows):
            chunk = samples[part]
            back = np.stack([move.adjoint(chunk) for move in moves], 1).reshape(len(chunk) * len(moves), -1)
            for columns in _slices(len(flat), width):
                score = (back @ flat[columns].T).reshape(len(chunk), len(moves), -1)
                score *= -2
                score += squares[:, columns]
                if own is not None:
                    mine = own[part] - columns.start
                    row = np.flatnonzero((mine >= 0) & (mine < score.shape[2]))
                    score[row, :, mine[row]] = np.inf
                place = score.reshape(len(chunk), -1).argmin(1)
                lowest = score.reshape(len(chunk), -1)[np.arange(len(chunk)), place]
                better = lowest < best[part]
                best[part] = np.where(better, lowest, best[part])
                which[part] = np.where(better, columns.start + place % score.shape[2], which[part])
                by[part] = np.where(better, place // score.shape[2], by[part])
            if progress:
                progress(len(chunk))
    distance = np.empty(len(samples))
    for m, move in enumerate(moves):
        found = np.flatnonzero(by == m)
        apart = samples[found].astype(np.float64) - move(references[which[found]])
        distance[found] = np.sqrt((apart**2).sum((1, 2, 3)))
    return Nearest(distance, which)


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


# -------------------------------------------------------------------------------------------------------------- checks


def _check_judge(judge: object) -> None:
    if not isinstance(judge, Judge):
        raise TypeError(f"judge is {type(judge).__name__}; write one of train_judge")


def _pictures(value: ArrayLike, what: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Give pictures as float32 (n, height, width, colours) in -1..1, or say what is wrong with them."""
    array = array_of(value, what)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} has dtype {array.dtype}; write numbers in -1..1")
    if array.ndim != 4:
        hint = {2: f"{what}[None, ..., None] for one grey picture", 3: f"{what}[..., None] for grey pictures"}
        raise ValueError(
            f"{what} has shape {array.shape}; write (n, height, width, colours)"
            + (f": {hint[array.ndim]}" if array.ndim in hint else "")
        )
    if 0 in array.shape:
        raise ValueError(f"{what} has shape {array.shape}, which holds no picture; write at least one")
    if shape is not None and array.shape[1:] != shape:
        raise ValueError(f"{what} has shape {array.shape}; write (n, {', '.join(map(str, shape))})")
    low, high = array.min(), array.max()
    if not np.isfinite(low + high):
        where = int(np.flatnonzero(~np.isfinite(array).all((1, 2, 3)))[0])
        raise ValueError(f"{what} holds a number that is not finite, in picture {where}; leave that picture out")
    if array.dtype.kind in "ub" or (low >= 0 and high > 16):
        raise ValueError(
            f"{what} holds {array.dtype} from {low:.4g} to {high:.4g}, as 0..255; write -1..1: "
            f"scaled({what}) of uint8 pictures"
        )
    if low < -1 - ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"{what} goes from {low:.4g} to {high:.4g}; write -1..1: np.clip({what}, -1, 1) cuts noise off"
        )
    return array.astype(FLOAT, copy=False)


def _labels(value: ArrayLike, pictures: int, words: tuple[str, ...]) -> np.ndarray:
    labels = np.asarray(value)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels has dtype {labels.dtype}; write integers, the places of their words")
    if labels.shape != (pictures,):
        raise ValueError(f"labels has shape {labels.shape}; write one label for each of the {pictures} pictures")
    if labels.min() < 0 or labels.max() >= len(words):
        raise ValueError(
            f"labels go from {labels.min()} to {labels.max()}; there are {len(words)} words, so write "
            f"0..{len(words) - 1}"
        )
    return labels.astype(np.int32)
