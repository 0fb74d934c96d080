"""A network that tells noise levels and words apart: log densities of pictures, at every level of noise.

    x = a x_0 + s e,      a^2 = 1 / (1 + exp(-log_snr)),  s^2 = 1 - a^2          a picture x_0 in noise e ~ N(0, I)

    logit(x; log_snr, word) = log p(x | log_snr, word) - log N(x; 0, I)

is what a classifier learns that must say whether x is pure noise or a picture of this word at this level of noise: the
difference of two logits is the log odds of two labels. The network is asked for one label at a time, and its logit is

    |x|^2 / 2 - |x - a D(x)|^2 / (2 s^2) + r(x) + c

with D the network's guess of x_0, r a number that it adds, both given log_snr and word, and c a number that depends on
these two alone. The gradient in x of log p gives the posterior mean of x_0 (`denoised`).
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.checks import Seed, generator, mapping, path_like, positive_int
from bayesdiff.files import replacing

Weights = Mapping[str, Any]

# Log signal-to-noise ratios that networks are made for: from pictures with noise of sd .02 to noise with 5% of picture.
LOG_SNR = (-6.0, 8.0)
LEVEL_FEATURES = 32  # sines, and as many cosines, that stand for the level
_act = jax.nn.silu  # smooth, so that densities are


@dataclass(frozen=True)
class PictureNet:
    """What a network for pictures is made of: convolutions on a grid of half the size, attention on one of a quarter.

    Attributes
    ----------
    shape : (int, int, int)
        Height, width and colours of a picture; height and width are multiples of 4.
    words : tuple of str
        What a picture can be of. One label more stands for "any of them".
    mean, sd : float
        Of all numbers in the pictures, in units of x.
    channels, width, depth, heads : int
        Of the convolutions; of the attention; how many attention blocks; how many heads.

    Examples
    --------
    >>> from bayesdiff.images.networks import PictureNet
    >>> net = PictureNet((8, 8, 1), ("cat", "dog"), mean=-0.7, sd=0.5, channels=4, width=8, depth=1, heads=2)
    >>> weights = net.initial(random_seed=0)
    >>> sum(array.size for array in weights.values())
    3294
    """

    shape: tuple[int, int, int]
    words: tuple[str, ...]
    mean: float
    sd: float
    channels: int = 48
    width: int = 128
    depth: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        _check_words(self.words)
        _check_shape(self.shape, 3, "(height, width, colours), the first two multiples of 4")
        height, width, _ = self.shape
        if height % 4 or width % 4 or min(self.shape) < 1:
            raise ValueError(f"shape is {self.shape}; write (height, width, colours), the first two multiples of 4")
        for name in ("channels", "width", "depth", "heads"):
            positive_int(getattr(self, name), name)
        if self.width % self.heads:
            raise ValueError(f"width is {self.width} and heads {self.heads}; write a width that is a multiple of heads")
        _check_scale(self.mean, self.sd)
        _plain(self)

    def initial(self, random_seed: Seed = None) -> dict[str, np.ndarray]:
        """Draw weights to begin a training with: arrays by name."""
        draw = _Drawing(generator(random_seed))
        c, d, pixels = self.channels, self.width, 4 * self.shape[2]
        _label_layers(draw, d, len(self.words))
        draw.layer("in", 9 * pixels, c)
        draw.layer("down.1", 9 * c, c)
        draw.layer("down.2", 9 * c, c, 0.3)
        draw.layer("down.film", d, 2 * c, 0.3)
        draw.layer("merge", 4 * c, d)
        draw.array("position", (self.shape[0] // 4 * (self.shape[1] // 4), d), 0.3)
        for i in range(self.depth):
            draw.layer(f"{i}.film", d, 4 * d, 0.1)
            draw.layer(f"{i}.qkv", d, 3 * d)
            draw.layer(f"{i}.out", d, d, 0.3)
            draw.layer(f"{i}.mlp1", d, 3 * d)
            draw.layer(f"{i}.mlp2", 3 * d, d, 0.3)
        draw.layer("split", d, 4 * c)
        draw.layer("up.1", 9 * 2 * c, c)
        draw.layer("up.2", 9 * c, c, 0.3)
        draw.layer("up.film", d, 2 * c, 0.3)
        draw.layer("skip", 2 * c, c)
        draw.layer("picture", 9 * c, pixels, 0.1)
        draw.layer("number", d, 1, 0.01)
        return draw.weights

    def answers(self, weights: Weights, x: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute the picture (batch, *shape) and the number (batch,) that the network answers.

        ``x`` (batch, *shape); ``label`` (batch, width), as `_label` gives it.
        """
        h0 = _convolve(weights, "in", _fold(x))
        h1 = h0 + _block(weights, "down", h0, label)
        tokens = _layer(weights, "merge", _fold(h1))
        batch, rows, columns, d = tokens.shape
        t = tokens.reshape(batch, rows * columns, d) + weights["position"]
        for i in range(self.depth):
            s1, b1, s2, b2 = jnp.split(_layer(weights, f"{i}.film", label)[:, None], 4, axis=-1)
            qkv = _layer(weights, f"{i}.qkv", _norm(t) * (1 + s1) + b1)
            parts = qkv.reshape(batch, rows * columns, 3 * self.heads, -1).transpose(0, 2, 1, 3)
            q, k, v = jnp.split(parts, 3, axis=1)
            # A Python float keeps the weights' dtype.
            seen = jax.nn.softmax(q @ k.swapaxes(2, 3) * (d / self.heads) ** -0.5, axis=-1) @ v
            t = t + _layer(weights, f"{i}.out", seen.transpose(0, 2, 1, 3).reshape(batch, rows * columns, d))
            t = t + _layer(weights, f"{i}.mlp2", _act(_layer(weights, f"{i}.mlp1", _norm(t) * (1 + s2) + b2)))
        t = _norm(t)
        up = jnp.concatenate([_unfold(_layer(weights, "split", t).reshape(batch, rows, columns, -1)), h1], axis=-1)
        up = _layer(weights, "skip", up) + _block(weights, "up", up, label)
        picture = _unfold(_convolve(weights, "picture", _act(_norm(up))))
        return picture, _layer(weights, "number", t).sum((1, 2))


@dataclass(frozen=True)
class VectorNet:
    """What a network for vectors is made of: layers that see all of x. For points in the plane, and to learn on.

    Attributes
    ----------
    shape : (int,)
        Length of x.
    words, mean, sd
        As in `PictureNet`.
    width, depth : int
        Of the layers; how many.

    Examples
    --------
    >>> from bayesdiff.images.networks import VectorNet
    >>> VectorNet((2,), ("left", "right"), mean=0.0, sd=1.0, width=8, depth=1).initial(random_seed=0)["in.w"].shape
    (2, 8)
    """

    shape: tuple[int]
    words: tuple[str, ...]
    mean: float
    sd: float
    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        _check_words(self.words)
        _check_shape(self.shape, 1, "(n,), of vectors of n numbers")
        for name, value in (("shape[0]", self.shape[0]), ("width", self.width), ("depth", self.depth)):
            positive_int(value, name)
        _check_scale(self.mean, self.sd)
        _plain(self)

    def initial(self, random_seed: Seed = None) -> dict[str, np.ndarray]:
        """Draw weights to begin a training with: arrays by name."""
        draw = _Drawing(generator(random_seed))
        d, n = self.width, self.shape[0]
        _label_layers(draw, d, len(self.words))
        draw.layer("in", n, d)
        for i in range(self.depth):
            draw.layer(f"{i}.film", d, 2 * d, 0.3)
            draw.layer(f"{i}.mlp1", d, 2 * d)
            draw.layer(f"{i}.mlp2", 2 * d, d, 0.3)
        draw.layer("picture", d, n, 0.1)
        draw.layer("number", d, 1, 0.01)
        return draw.weights

    def answers(self, weights: Weights, x: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute the vector (batch, n) and the number (batch,) that the network answers."""
        h = _layer(weights, "in", x)
        for i in range(self.depth):
            s, b = jnp.split(_layer(weights, f"{i}.film", label), 2, axis=-1)
            h = h + _layer(weights, f"{i}.mlp2", _act(_layer(weights, f"{i}.mlp1", _norm(h) * (1 + s) + b)))
        h = _act(h)
        return _layer(weights, "picture", h), _layer(weights, "number", h)[:, 0]


Net = PictureNet | VectorNet


def check_net(net: object) -> None:
    """Raise where a net is none."""
    if not isinstance(net, PictureNet | VectorNet):
        raise TypeError(f"net is {type(net).__name__}; write a PictureNet or a VectorNet")


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network: what it is made of, its weights, and how it came about.

    Attributes
    ----------
    net : PictureNet or VectorNet
    weights : dict of str to ndarray
        float32.
    constants : ndarray (words + 1, knots)
        What is added to a logit so that exp(logit) N(x; 0, I) has integral 1, for each word and, last, for any; at
        levels (two or more) evenly spread over `LOG_SNR`. 0 where it was not computed (models/pictures/training.py).
    made : dict
        The command, the data and their checksum, the seed, the loss curve.

    Examples
    --------
    Not trained at all:

    >>> import numpy as np
    >>> from bayesdiff.images.networks import Network, VectorNet
    >>> net = VectorNet((2,), ("left", "right"), mean=0.0, sd=1.0, width=8, depth=1)
    >>> Network(net, net.initial(random_seed=0), np.zeros((3, 141))).words
    ('left', 'right')
    """

    net: Net
    weights: dict[str, np.ndarray]
    constants: np.ndarray
    made: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_net(self.net)
        mapping(self.weights, "weights", "as net.initial() gives it")
        rows = len(self.net.words) + 1
        if np.ndim(self.constants) != 2 or np.shape(self.constants)[0] != rows:
            raise ValueError(
                f"constants has shape {np.shape(self.constants)}; write {rows} rows, one for each of the "
                f"{rows - 1} words and one for any"
            )
        if np.shape(self.constants)[1] < 2 or not np.isfinite(self.constants).all():
            raise ValueError(
                f"constants has shape {np.shape(self.constants)} and holds "
                f"{reprlib.repr(np.ravel(self.constants).tolist())}; write finite numbers, for two levels or more"
            )
        differs = _other_weights(self.net, self.weights)
        if differs:
            raise ValueError(f"weights are of another architecture: {differs}; write what net.initial() gives, trained")
        for name, array in self.weights.items():
            if not np.isfinite(array).all():
                raise ValueError(f"weights hold numbers that are not finite, in {name!r}: has a training run away?")

    @property
    def words(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.net.words

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture: (height, width, colours)."""
        return self.net.shape


def signal(log_snr: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute a and s of x = a x_0 + s e, with a^2 + s^2 = 1 and log(a^2 / s^2) = log_snr."""
    return jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))


def guess(net: Net, weights: Weights, x: jax.Array, log_snr: jax.Array, word: jax.Array) -> jax.Array:
    """Compute D(x), the network's guess of x_0 (batch, *shape).

    D(x) = m + a sd^2 (x - a m) / (a^2 sd^2 + s^2) + s sd / sqrt(a^2 sd^2 + s^2) F(x)

    F is what the network answers; with F = 0 it would be the best linear guess (Karras, Aittala, Aila, Laine 2022,
    equation 7).
    """
    return _guess(net, weights, x, log_snr, word)[0]


def logit(net: Net, weights: Weights, x: jax.Array, log_snr: jax.Array, word: jax.Array) -> jax.Array:
    """Compute log p(x | log_snr, word) - log N(x; 0, I), for each x of a batch (batch,): see the module.

    `log_snr` (batch,), `word` (batch,) a number from 0 to ``len(net.words)``, which means any of them.
    """
    guessed, number, constant = _guess(net, weights, x, log_snr, word)
    a, s = (_like(value, x) for value in signal(log_snr))
    squares = x**2 - ((x - a * guessed) / s) ** 2
    return 0.5 * squares.sum(tuple(range(1, x.ndim))) + number + constant


def denoised(net: Net, weights: Weights, x: jax.Array, log_snr: jax.Array, word: jax.Array) -> jax.Array:
    """Compute the posterior mean of x_0 that the density implies (batch, *shape).

    E[x_0 | x] = (x + s^2 d log p(x) / dx) / a       (Tweedie's formula: Robbins 1956)
    """
    return implied(net, weights, x, log_snr, word)[0]


def implied(
    net: Net, weights: Weights, x: jax.Array, log_snr: jax.Array, word: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Compute `denoised` and, from the same pass, `logit`."""

    def total(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = logit(net, weights, x, log_snr, word)
        return logits.sum(), logits

    gradient, logits = jax.grad(total, has_aux=True)(x)
    a, s = (_like(value, x) for value in signal(log_snr))
    return (x + s**2 * (gradient - x)) / a, logits


# -------------------------------------------------------------------------------------------------------------- layers


def _guess(
    net: Net, weights: Weights, x: jax.Array, log_snr: jax.Array, word: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    label = _label(weights, log_snr, word)
    answer, number = net.answers(weights, x, label)
    a, s = (_like(value, x) for value in signal(log_snr))
    variance = (a * net.sd) ** 2 + s**2
    linear = net.mean + a * net.sd**2 / variance * (x - a * net.mean)
    constant = _layer(weights, "constant2", _act(_layer(weights, "constant1", label)))[:, 0]
    return linear + s * net.sd / jnp.sqrt(variance) * answer, number, constant


def _label(weights: Weights, log_snr: jax.Array, word: jax.Array) -> jax.Array:
    """Turn level and word into numbers (batch, width)."""
    # Periods from 60 to 1.5 in units of log_snr.
    frequency = jnp.exp(jnp.linspace(jnp.log(0.1), jnp.log(4.0), LEVEL_FEATURES)).astype(log_snr.dtype)
    angle = log_snr[:, None] * frequency
    level = _act(_layer(weights, "level1", jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)))
    return _act(_layer(weights, "label", _layer(weights, "level2", level) + jnp.asarray(weights["word"])[word]))


def _label_layers(draw: _Drawing, width: int, words: int) -> None:
    draw.array("word", (words + 1, width), 0.5)
    draw.layer("level1", 2 * LEVEL_FEATURES, width)
    draw.layer("level2", width, width)
    draw.layer("label", width, width)
    draw.layer("constant1", width, width)
    draw.layer("constant2", width, 1, 0.01)


class _Drawing:
    """Weights, drawn one array after the other."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.weights = rng, dict[str, np.ndarray]()

    def array(self, name: str, shape: tuple[int, ...], sd: float) -> None:
        self.weights[name] = (sd * self.rng.standard_normal(shape)).astype(np.float32)

    def layer(self, name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
        self.array(f"{name}.w", (inputs, outputs), gain / inputs**0.5)
        self.weights[f"{name}.b"] = np.zeros(outputs, np.float32)


def _layer(weights: Weights, name: str, h: jax.Array) -> jax.Array:
    return h @ weights[f"{name}.w"] + weights[f"{name}.b"]


def _convolve(weights: Weights, name: str, h: jax.Array) -> jax.Array:
    """A 3 x 3 convolution with a border of zeros."""
    kernel = jnp.asarray(weights[f"{name}.w"]).reshape(3, 3, h.shape[-1], -1)
    return (
        jax.lax.conv_general_dilated(h, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        + weights[f"{name}.b"]
    )


def _block(weights: Weights, name: str, h: jax.Array, label: jax.Array) -> jax.Array:
    s, b = jnp.split(_layer(weights, f"{name}.film", label)[:, None, None], 2, axis=-1)
    h = _convolve(weights, f"{name}.1", _act(_norm(h)))
    return _convolve(weights, f"{name}.2", _act(_norm(h) * (1 + s) + b))


def _norm(h: jax.Array) -> jax.Array:
    return h * jax.lax.rsqrt((h**2).mean(-1, keepdims=True) + 1e-6)


def _fold(x: jax.Array) -> jax.Array:
    """Squares of 2 x 2 become channels."""
    batch, rows, columns, channels = x.shape
    parts = x.reshape(batch, rows // 2, 2, columns // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(batch, rows // 2, columns // 2, 4 * channels)


def _unfold(x: jax.Array) -> jax.Array:
    """The inverse of `_fold`."""
    batch, rows, columns, channels = x.shape
    parts = x.reshape(batch, rows, columns, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(batch, 2 * rows, 2 * columns, channels // 4)


def _like(values: jax.Array, x: jax.Array) -> jax.Array:
    """Give one number per picture the shape to be multiplied with pictures."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))


def _check_words(words: object) -> None:
    if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"words is {words!r}; write a tuple of texts, as ('cat', 'dog')")
    if len(set(words)) < len(words):
        raise ValueError(f"words is {words!r}; write each word once")


def _check_shape(shape: object, length: int, form: str) -> None:
    whole = isinstance(shape, tuple) and all(
        isinstance(size, int | np.integer) and not isinstance(size, bool) for size in shape
    )
    if not isinstance(shape, tuple) or not whole or len(shape) != length:
        raise TypeError(f"shape is {shape!r}; write ints, {form}")


def _check_scale(mean: float, sd: float) -> None:
    for name, value in (("mean", mean), ("sd", sd)):
        if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}; write a number, of all that pictures hold")
    if not np.isfinite(mean) or not 0 < sd < np.inf:
        raise ValueError(f"mean is {mean!r} and sd {sd!r}; write a number and a number > 0, of all that pictures hold")


def _other_weights(net: Net, weights: Mapping[str, Any]) -> str:
    """The first array that is not as `net` has it, in words; empty where all are."""
    wanted = {name: array.shape for name, array in net.initial(random_seed=0).items()}
    for name in sorted(wanted.keys() | weights.keys()):
        here = np.shape(weights[name]) if name in weights else "missing"
        if here != wanted.get(name, "none"):
            return f"{name!r} is {here}, and {type(net).__name__} has {wanted.get(name, 'none')} there"
    return ""


def _plain(net: PictureNet | VectorNet) -> None:
    """Turn NumPy's numbers into Python's, which can be written to a file."""
    for name, value in vars(net).items():
        if name in ("mean", "sd"):
            object.__setattr__(net, name, float(value))
        elif isinstance(value, np.integer):
            object.__setattr__(net, name, int(value))
        elif name == "shape":
            object.__setattr__(net, name, tuple(int(size) for size in value))


# ---------------------------------------------------------------------------------------------------------------- files

FORMAT = 1
TRAINED = Path(__file__).with_name("trained")


def save_network(network: Network, path: str | os.PathLike[str]) -> Path:
    """Write a network to one file (.npz): its weights in half precision, and all that is known of it.

    Parameters
    ----------
    network : Network
    path : path
        Ends in ``.npz``. A file that is there is replaced, whole or not at all. Missing parent folders are made.

    Returns
    -------
    Path

    Raises
    ------
    TypeError, ValueError
        If `network` is none, or `path` is no path or ends in something else.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from bayesdiff.images.networks import Network, VectorNet, load_network, save_network
    >>> net = VectorNet((2,), ("left", "right"), mean=0.0, sd=1.0, width=8, depth=1)
    >>> network = Network(net, net.initial(random_seed=0), np.zeros((3, 141)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_network(save_network(network, f"{folder}/plane.npz")).words
    ('left', 'right')
    """
    path = path_like(path, "path", "network.npz")
    if not isinstance(network, Network):
        raise TypeError(f"network is {type(network).__name__}; write a Network, as train gives it")
    if path.suffix != ".npz":
        raise ValueError(f"path is {str(path)!r}; write one that ends in .npz")
    largest = max((float(np.abs(array).max()) for array in network.weights.values()), default=0.0)
    if largest > float(np.finfo(np.float16).max):
        raise ValueError(f"weights go up to {largest:.3g}, half precision to 65504: has a training run away?")
    weights = {name: np.asarray(array, np.float16) for name, array in sorted(network.weights.items())}
    constants = np.asarray(network.constants, float)
    about = {
        "format": FORMAT,
        "net": type(network.net).__name__,
        "parts": asdict(network.net),
        "made": network.made,
        "sha256": digest_of(weights, constants),
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, about=text, constants=constants, **_prefixed(weights))
    return path


def load_network(path: str | os.PathLike[str]) -> Network:
    """Read a network that `save_network` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    Network

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged (its checksum differs), of a newer version, or its weights are of another architecture.

    Examples
    --------
    >>> from bayesdiff.images.networks import load_network
    >>> load_network("kittens.npz")
    Traceback (most recent call last):
    FileNotFoundError: kittens.npz does not exist; write the path of a file that save_network wrote
    """
    path = path_like(path, "path", "network.npz")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; write the path of a file that save_network wrote")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; write the path of a file that save_network wrote")
    try:
        # Opened here: np.load leaves the file of a damaged archive open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            form, kind, parts, made = (about[name] for name in ("format", "net", "parts", "made"))
            newer = form > FORMAT
            weights = {name.removeprefix("w/"): arrays[name] for name in arrays if name.startswith("w/")}
            constants = arrays["constants"]
    except Exception as error:  # the archive raises whatever it likes on bytes that were changed
        raise ValueError(
            f"{path} is no network, or is damaged ({type(error).__name__}: {error}); fetch it again"
        ) from error
    if newer:
        raise ValueError(f"{path} was written by a newer bayesdiff (format {form}); update bayesdiff")
    if about.get("sha256") != digest_of(weights, constants):
        raise ValueError(
            f"{path} is damaged: its weights do not have the checksum {about.get('sha256')}; fetch it again"
        )
    kinds = {"PictureNet": PictureNet, "VectorNet": VectorNet}
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{path} holds a {kind}, which this version of bayesdiff does not know; update bayesdiff")
    try:
        net = kinds[kind](**{name: tuple(value) if isinstance(value, list) else value for name, value in parts.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}; fetch it again") from error
    differs = _other_weights(net, weights)
    if differs:
        raise ValueError(f"{path} has the weights of another architecture: {differs}; fetch it again")
    return Network(net, {name: array.astype(np.float32) for name, array in weights.items()}, constants, made)


def quickdraw_network() -> Network:
    """Load the network of 28 x 28 drawings that comes with bayesdiff: cats, and 20 other words of Quick, Draw!.

    Returns
    -------
    Network
        ``models/quickdraw.py`` trained it; ``made`` says how. It learned from The Quick, Draw! Dataset by Google (CC BY
        4.0).

    Examples
    --------
    >>> from bayesdiff.images.networks import quickdraw_network
    >>> quickdraw_network().words[:3]
    ('cat', 'dog', 'face')
    """
    return load_network(TRAINED / "quickdraw.npz")


def fashion_network() -> Network:
    """Load the network of 28 x 28 pictures of clothes that comes with bayesdiff: the ten words of Fashion-MNIST.

    Returns
    -------
    Network
        ``models/fashion.py`` trained it; ``made`` says how. It learned from Fashion-MNIST by Zalando (MIT).

    Examples
    --------
    >>> from bayesdiff.images.networks import fashion_network
    >>> fashion_network().words[:3]
    ('t-shirt', 'trouser', 'pullover')
    """
    return load_network(TRAINED / "fashion.npz")


def photos_network() -> Network:
    """Load the network of 32 x 32 colour photographs that comes with bayesdiff: cats, and five other animals.

    Returns
    -------
    Network
        ``models/photos.py`` trained it; ``made`` says how. It learned from CIFAR-10 (Krizhevsky 2009), of which no
        picture comes with bayesdiff.

    Examples
    --------
    >>> from bayesdiff.images.networks import photos_network
    >>> photos_network().words[:3]
    ('cat', 'dog', 'bird')
    """
    return load_network(TRAINED / "photos.npz")


def _prefixed(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {f"w/{name}": array for name, array in weights.items()}


def digest_of(weights: Mapping[str, np.ndarray], constants: np.ndarray) -> str:
    """Give the sha256 of all weights and constants, with their names."""
    digest = hashlib.sha256(np.ascontiguousarray(constants).tobytes())
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].shape}".encode() + np.ascontiguousarray(weights[name]).tobytes())
    return digest.hexdigest()
