"""Training a network that tells noise levels and words apart.

First it learns to guess the picture x_0 in x = a x_0 + s e, which is cheap. Then its log density learns, from these
weights on, what such a density must get right (the loss is a sum of two):

    |E[x_0 | x] - x_0|^2                      the posterior mean that the gradient of the density implies
    log(1 + exp(logit' - logit))              which of two labels x has: its own, or one of another word or a level
                                              near by

The second is the cross-entropy of a classifier with two labels to choose from. It sets the constants of the density,
and what the gradient at one level cannot see: how the words share the probability. At the end `normalise` finishes it.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from bayesdiff.calls import Call, long_call, progress_bar, stream, told
from bayesdiff.checks import flag, mapping, path_like, positive_int, positive_number, real_array, whole_seed
from bayesdiff.fingerprints import digest, name_of, of_function
from bayesdiff.images.networks import LOG_SNR, Net, Network, check_net, digest_of, guess, implied, logit, signal

# Pictures are float32 here, whatever the rest of the library computes in.
FLOAT = np.float32
# How much of the loss is the choice between labels, in a loss per pixel: a nat of it counts as much as some 30 of the
# posterior mean's error. (The gradient at one level does not see how regions far apart share the probability.)
CHOICE = 15.68
NEAR_LEVEL = 0.15  # sd of the other level's distance in log_snr: half a percent to a few in a picture's noise
NO_WORD = 0.12  # share of pictures whose word is not told
AVERAGE = 0.999  # of the weights, over steps
WARM_UP = 100  # steps
KEEP_EVERY = 250  # steps
KNOTS = 141  # levels at which densities are normalised: a tenth apart in log_snr
EVERY = 5  # of these, one in so many for each word

Warp = Callable[[jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True)
class Course:
    """How long a network learns.

    Attributes
    ----------
    guess_steps, density_steps : int
        Of the two parts; 0 leaves one out.
    batch : int
        Pictures in a step.
    guess_rate, density_rate : float
        Learning rates at their highest: a number in a matrix moves by a fifth of it in a step.

    Examples
    --------
    >>> from models.pictures.training import Course
    >>> Course(guess_steps=100, density_steps=50).batch
    32
    """

    guess_steps: int = 6000
    density_steps: int = 3000
    batch: int = 32
    guess_rate: float = 4e-3
    density_rate: float = 1e-3

    def __post_init__(self) -> None:
        positive_int(self.batch, "batch")
        for name in ("guess_steps", "density_steps"):
            steps = getattr(self, name)
            if steps != 0 or not isinstance(steps, int | np.integer) or isinstance(steps, bool):
                positive_int(getattr(self, name), name)
        for name in ("guess_steps", "density_steps", "batch"):
            object.__setattr__(self, name, int(getattr(self, name)))  # NumPy's numbers are no JSON
        if self.guess_steps == self.density_steps == 0:
            raise ValueError("guess_steps and density_steps are both 0; write how long one of the two parts is")
        for name in ("guess_rate", "density_rate"):
            if positive_number(getattr(self, name), name, "a number between 0 and 1, as 4e-3") >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; write a number between 0 and 1, as 4e-3")
            object.__setattr__(self, name, float(getattr(self, name)))


def train(
    net: Net,
    pictures: ArrayLike,
    labels: ArrayLike,
    *,
    course: Course | None = None,
    share: ArrayLike | None = None,
    warp: Warp | None = None,
    start: Network | None = None,
    random_seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progressbar: bool = True,
    made: Mapping[str, Any] | None = None,
) -> Network:
    """Train a network: see the module for the loss.

    Parameters
    ----------
    net : PictureNet or VectorNet
        What it is made of.
    pictures : array_like (n, *shape)
        Real pictures, in -1..1 (see `scaled`); vectors in any units.
    labels : array_like of int (n,)
        Their words' numbers; ``len(net.words)`` where a picture is of none of them: it is then one of "any".
    course : Course, optional
        How long.
    share : array_like (n,), optional
        How often each picture is shown, relative to others; equally often by default.
    warp : callable, optional
        (JAX random key, pictures) -> pictures, on JAX arrays: the same pictures as they could have been drawn as well.
        See `redrawn`.
    start : Network, optional
        One of the same ``net`` that has learned before: it goes on from there, with rates that rise anew.
    random_seed : int
        The source of randomness. Same machine, same weights, whether or not it was stopped.
    store : path, optional
        A folder. All that is needed to go on is kept there every 250 steps, and the same call again goes on.
    progressbar : bool
        Whether to show one.
    made : mapping, optional
        What the network is to remember of how it was made: the command, the data's checksum.

    Returns
    -------
    Network
        With weights rounded to half precision, and normalised (`normalise`).

    Raises
    ------
    TypeError, ValueError
        If shapes, ranges or labels do not fit, or the store is of another training.
    FloatingPointError
        If the loss is not finite: the learning rate is too high. The last kept state stays in the store.

    References
    ----------
    Yadin, Elata, Michaeli (2024), Classification diffusion models, for densities by classifying noise levels. Salimans,
    Ho (2021), Should EBMs model the energy or the score?, for the squared form. Rhodes, Xu, Gutmann (2020), Telescoping
    density-ratio estimation, for choices between neighbours. Jordan et al. (2024), Muon, and Liu et al. (2025), Muon is
    scalable for LLM training, for the optimiser and how far it moves.

    Examples
    --------
    A network for one normal number, which learns for a moment:

    >>> import numpy as np
    >>> from bayesdiff.images.networks import VectorNet
    >>> from models.pictures.training import Course, train
    >>> x = np.random.default_rng(0).normal(size=(500, 1))
    >>> net = VectorNet((1,), (), mean=0.0, sd=1.0, width=8, depth=1)
    >>> network = train(net, x, np.zeros(500, int), course=Course(20, 20), progressbar=False)
    >>> len(network.made["loss"]["density"])
    1
    """
    course = Course() if course is None else course
    if not isinstance(course, Course):
        raise TypeError(f"course is {course!r}; write a Course, as Course(guess_steps=6000, density_steps=3000)")
    check_net(net)
    x, label = check_pictures(net, pictures, labels)
    shown = _check_share(share, len(x))
    _check_warp(warp)
    whole_seed(random_seed)
    flag(progressbar, "progressbar")
    if made is not None:
        _check_made(mapping(made, "made", "as made={'command': '...'}"))
    if start is not None and not isinstance(start, Network):
        raise TypeError(f"start is {type(start).__name__}; write a Network, as load_network gives it")
    if start is not None and start.net != net:
        raise ValueError(f"start is made of {start.net}, and net is {net}; write one made of the same")
    folder = None if store is None else path_like(store, "store", "training")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"store is {str(folder)!r}, which is a file; write the path of a folder")
    asked = partial(_asked, net, course, x, label, shown, warp, start)
    total = course.guess_steps + course.density_steps
    opened = long_call("train", asked, random_seed, None, None, progressbar, total=total, folder=folder)
    # What has been imported decides whether JAX computes in float64, and is not to decide what is learned.
    with opened as call, jax.enable_x64(False):
        weights, losses = _learned(net, course, x, label, shown / shown.sum(), warp, start, call)
    rounded = {name: np.asarray(array).astype(np.float16).astype(FLOAT) for name, array in weights.items()}
    about = {"seed": int(random_seed), "course": asdict(course), "loss": losses, **(made or {})}
    if start is not None:
        about["before"] = start.made
    constants = np.zeros((len(net.words) + 1, KNOTS))
    network = Network(net, rounded, constants, about)
    return normalise(network, x, label, share=shown, warp=warp, random_seed=random_seed, progressbar=progressbar)


def _learned(
    net: Net,
    course: Course,
    x: np.ndarray,
    label: np.ndarray,
    shown: np.ndarray,
    warp: Warp | None,
    start: Network | None,
    call: Call,
) -> tuple[Any, dict[str, list[list[float]]]]:
    """The weights at the end, averaged, and the losses on the way."""
    data = jnp.asarray(x)
    first = net.initial(call.seed) if start is None else start.weights
    weights = {name: jnp.asarray(array) for name, array in first.items()}
    # One that goes on sees other pictures in other noise than it saw first.
    before = () if start is None else (int(digest_of(start.weights, start.constants)[:8], 16),)
    losses: dict[str, list[list[float]]] = {}
    for name, loss, steps, rate in (
        ("guess", _guess_loss, course.guess_steps, course.guess_rate),
        ("density", _density_loss, course.density_steps, course.density_rate),
    ):
        state, rates = _State(weights, weights, OPTIMISER.init(weights), 0, []), _rates(rate, steps)
        state = call.kept(name, partial(_restored, state)) or state
        call.advance(state.step)
        while state.step < steps:
            state = _some_steps(
                net, loss, rates, warp, state, min(steps, state.step + KEEP_EVERY), data, label, shown, course.batch,
                call, (name, *before),
            )  # fmt: skip
            call.keep(name, _arrays(state))
        weights, losses[name] = state.average, state.losses
    return weights, losses


def _check_share(share: ArrayLike | None, pictures: int) -> np.ndarray:
    shown = np.ones(pictures) if share is None else real_array(share, "share")
    if shown.shape != (pictures,) or not np.isfinite(shown).all() or (shown < 0).any() or not shown.any():
        raise ValueError(
            f"share has shape {shown.shape} and holds {reprlib.repr(shown.tolist())}; write a number >= 0 for each of "
            f"the {pictures} pictures, not all 0"
        )
    return shown


def _check_made(made: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(made))
    except (TypeError, ValueError) as error:
        raise TypeError(f"made cannot be written to a file ({error}); write texts, numbers, lists and dicts") from error


def _check_warp(warp: object) -> None:
    if warp is not None and not callable(warp):
        raise TypeError(f"warp is {warp!r}; write a function of a JAX random key and pictures, as redrawn")


def check_pictures(net: Net, pictures: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Give pictures as float32 (n, *shape) and labels as int (n,), or say what is wrong with them.

    Raises
    ------
    TypeError
        If they hold no numbers.
    ValueError
        If a shape differs from the network's, a picture is not finite or not in -1..1, or there is no such label.
    """
    x = real_array(pictures, "pictures").astype(FLOAT)
    if x.shape[1:] != tuple(net.shape) or not len(x):
        raise ValueError(f"pictures has shape {x.shape}; write (n, {', '.join(map(str, net.shape))}), as the network's")
    if not np.isfinite(x).all():
        raise ValueError("pictures holds numbers that are not finite; leave these pictures out")
    if x.ndim == 4 and np.abs(x).max() > 1:
        raise ValueError(
            f"pictures holds {x.min():g} to {x.max():g}; write -1 (black) to 1 (white): for bytes 0..255 that is "
            "pictures / 127.5 - 1"
        )
    label = np.asarray(labels)
    if label.shape != (len(x),) or label.dtype.kind not in "iu":
        raise ValueError(f"labels has shape {label.shape} and dtype {label.dtype}; write an int for each picture")
    if label.min() < 0 or label.max() > len(net.words):
        raise ValueError(
            f"labels holds {label.min()} to {label.max()}; write 0 to {len(net.words)}: a word's number, or "
            f"{len(net.words)} for any"
        )
    if x.ndim == 4 and x.min() >= 0 and x.max() > 0:
        raise ValueError(
            f"pictures goes from {x.min():g} to {x.max():g}, none is dark anywhere: is that 0..1 instead of -1..1? "
            "Then write 2 * pictures - 1"
        )
    return x, label.astype(np.int32)


def redrawn(key: jax.Array, pictures: jax.Array, background: float = -1.0) -> jax.Array:
    """Compute drawings as another hand could have drawn them: turned, stretched, shifted, bent a little, or mirrored.

    Parameters
    ----------
    key : JAX random key
        The source of randomness.
    pictures : Array (n, height, width, colours)
        In -1..1.
    background : float
        What stands outside the picture.

    Returns
    -------
    Array (n, height, width, colours)

    Raises
    ------
    TypeError, ValueError
        If `key` is no random key, `pictures` have another shape, or `background` is no number.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from models.pictures.training import redrawn
    >>> redrawn(jax.random.key(0), -jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """
    # dtype and shape alone: within a training both are symbols.
    _check_warped(key, pictures)
    if not isinstance(background, int | float) or isinstance(background, bool):
        raise TypeError(f"background is {background!r}; write a number in -1..1")
    return _redrawn(key, jnp.asarray(pictures), background)


def _check_warped(key: jax.Array, pictures: jax.Array) -> None:
    """Raise where a warp is given something else."""
    if not isinstance(key, jax.Array):
        raise TypeError(f"key is {key!r}; write a JAX random key, as jax.random.key(0)")
    if not isinstance(pictures, jax.Array | np.ndarray):
        raise TypeError(f"pictures is {type(pictures).__name__}; write an array (n, height, width, colours)")
    if pictures.ndim != 4 or not jnp.issubdtype(pictures.dtype, jnp.floating):
        raise ValueError(
            f"pictures has shape {pictures.shape} and dtype {pictures.dtype}; write (n, height, width, colours), in "
            "-1..1"
        )


@partial(jax.jit, static_argnums=2)
def _redrawn(key: jax.Array, pictures: jax.Array, background: float) -> jax.Array:
    n, height, width, _ = pictures.shape
    keys = jax.random.split(key, 7)

    def spread(key: jax.Array, half: float, shape: tuple[int, ...] = ()) -> jax.Array:
        return jax.random.uniform(key, (n, *shape), pictures.dtype, -half, half).reshape(n, *shape, 1, 1)

    # Twice as fine, so that lines stay as sharp as they were.
    fine = jax.image.resize(pictures - background, (n, 2 * height, 2 * width, pictures.shape[3]), "lanczos3")
    rows, columns = (jnp.arange(2 * size, dtype=pictures.dtype) - size + 0.5 for size in (height, width))
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    turn, size, shear, stretch = (
        spread(keys[0], 0.2),
        1.02 + spread(keys[1], 0.12),
        spread(keys[2], 0.12),
        1 + spread(keys[3], 0.1),
    )
    mirror = jnp.where(jax.random.uniform(keys[4], (n, 1, 1), pictures.dtype) < 0.5, -1, 1).astype(pictures.dtype)
    shift = spread(keys[5], 3.0, (2,))
    bend = jax.image.resize(1.3 * jax.random.normal(keys[6], (n, 2, 5, 5), pictures.dtype), (n, 2, *y.shape), "cubic")
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    from_x = mirror * size * stretch * (cos * x - sin * y + shear * y) + shift[:, 0] + bend[:, 0] + width - 0.5
    from_y = size / stretch * (sin * x + cos * y) + shift[:, 1] + bend[:, 1] + height - 0.5

    def pick(plane: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(plane, [y, x], order=1, mode="constant")

    moved = jax.vmap(jax.vmap(pick, in_axes=(2, None, None), out_axes=2))(fine, from_y, from_x)
    coarse = moved.reshape(n, height, 2, width, 2, -1).mean((2, 4))
    return jnp.clip(coarse * 1.08 + background, -1, 1)  # half of what smoothing takes from thin lines


def mirrored(key: jax.Array, pictures: jax.Array) -> jax.Array:
    """Mirror half of the pictures, left to right: photographs as they could have been taken as well.

    Parameters
    ----------
    key : JAX random key
    pictures : Array (n, height, width, colours)

    Returns
    -------
    Array (n, height, width, colours)

    Raises
    ------
    TypeError, ValueError
        If `key` is no key, or `pictures` no such array.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from models.pictures.training import mirrored
    >>> ramp = jnp.broadcast_to(jnp.arange(4.0)[:, None], (1000, 2, 4, 1))
    >>> share = (mirrored(jax.random.key(0), ramp)[:, 0, 0, 0] == 3).mean()
    >>> bool(abs(share - 0.5) < 0.05)
    True
    """
    _check_warped(key, pictures)
    turned = jax.random.bernoulli(key, shape=(len(pictures), 1, 1, 1))
    return jnp.where(turned, pictures[:, :, ::-1], pictures)


# ----------------------------------------------------------------------------------------------------------------- loss


def _levels(key: jax.Array, n: int) -> jax.Array:
    """Levels of noise to learn from (n,): a quarter of them anywhere, the others where pictures are decided."""
    anywhere, middle = jax.random.split(key)
    low, high = LOG_SNR
    spread = jax.random.uniform(anywhere, (n,), FLOAT, low, high)
    decided = jnp.clip(-0.5 + 2.2 * jax.random.normal(middle, (n,), FLOAT), low, high)
    return jnp.where(jnp.arange(n) % 4 == 0, spread, decided)


def _noisy(key: jax.Array, x0: jax.Array) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
    """Pictures in noise, their log signal-to-noise ratios, and a and s."""
    which, noise = jax.random.split(key)
    log_snr = _levels(which, len(x0))
    a, s = (value.reshape(-1, *(1,) * (x0.ndim - 1)) for value in signal(log_snr))
    return a * x0 + s * jax.random.normal(noise, x0.shape, x0.dtype), log_snr, (a, s)


def _error(net: Net, x0: jax.Array, guessed: jax.Array, level: tuple[jax.Array, jax.Array]) -> jax.Array:
    a, s = level
    # In units of what is left of x_0 once x is known, were it normal: 1 is no better than a linear guess.
    return ((guessed - x0) ** 2 * ((a * net.sd) ** 2 + s**2) / (s * net.sd) ** 2).mean()


def _guess_loss(net: Net, weights: Any, key: jax.Array, x0: jax.Array, word: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, log_snr, level = _noisy(key, x0)
    error = _error(net, x0, guess(net, weights, x, log_snr, word), level)
    return error, jnp.stack([error, jnp.zeros_like(error)])


def _density_loss(
    net: Net, weights: Any, key: jax.Array, x0: jax.Array, word: jax.Array
) -> tuple[jax.Array, jax.Array]:
    noise, near, other = jax.random.split(key, 3)
    x, log_snr, level = _noisy(noise, x0)
    mean, own = implied(net, weights, x, log_snr, word)
    error = _error(net, x0, mean, level)
    # Four of eight choose between levels, four between words; of either, one is at a level anywhere.
    n, any_word = len(x0), len(net.words)
    by_level = jnp.arange(n) % 8 < 4
    other_level = log_snr + NEAR_LEVEL * jax.random.normal(near, (n,), FLOAT)
    other_word = jax.random.randint(other, (n,), 0, max(1, any_word), jnp.int32)
    counts = by_level | ((word != any_word) & (word != other_word))
    theirs = logit(net, weights, x, jnp.where(by_level, other_level, log_snr), jnp.where(by_level, word, other_word))
    choice = jnp.where(counts, jax.nn.softplus(theirs - own), 0).sum() / jnp.maximum(counts.sum(), 1)
    return error + CHOICE / x0[0].size * choice, jnp.stack([error, choice])


# ---------------------------------------------------------------------------------------------------------------- steps


@dataclass(frozen=True)
class _State:
    """Where a training is: weights, their running average, the optimiser's state, steps done, losses so far."""

    weights: Any
    average: Any
    optimiser: Any
    step: int
    losses: list[list[float]]


# Muon: matrices move along the orthogonal factor of their momentum, as far as Adam would; all else by Adam. At 28 x 28
# it came to the loss that Adam alone had after 1,400 steps in 500 steps, and less than half of the time. Its own rate
# is 1: a step is multiplied by the rate of its moment, so that a step is compiled once for courses of any length.
OPTIMISER = optax.contrib.muon(1.0, adam_b2=0.99, consistent_rms=0.2)


def _rates(highest: float, steps: int) -> optax.Schedule:
    """Rise along a line, then fall along a cosine to a twentieth."""
    warm = min(WARM_UP, max(1, steps // 10))
    rise = optax.linear_schedule(0.0, highest, warm)
    return optax.join_schedules([rise, optax.cosine_decay_schedule(highest, max(1, steps - warm), 0.05)], [warm])


@partial(jax.jit, static_argnums=(0, 1, 2))
def _learn(
    net: Net,
    loss: Callable[..., Any],
    warp: Warp | None,
    weights: Any,
    average: Any,
    optimised: Any,
    step: jax.Array,
    rate: jax.Array,
    key: jax.Array,
    x0: jax.Array,
    word: jax.Array,
) -> tuple[Any, Any, Any, jax.Array]:
    bend, noise = jax.random.split(key)
    x0 = x0 if warp is None else warp(bend, x0).astype(FLOAT)
    (_, parts), gradient = jax.value_and_grad(partial(loss, net), has_aux=True)(weights, noise, x0, word)
    updates, optimised = OPTIMISER.update(gradient, optimised, weights)
    weights = jax.tree.map(lambda old, move: old + rate * move, weights, updates)
    kept = jnp.minimum(AVERAGE, (1 + step) / (10 + step)).astype(FLOAT)
    average = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, weights)
    return weights, average, optimised, parts


def _some_steps(
    net: Net,
    loss: Callable[..., Any],
    rates: optax.Schedule,
    warp: Warp | None,
    state: _State,
    stop: int,
    data: jax.Array,
    label: np.ndarray,
    shown: np.ndarray,
    batch: int,
    call: Call,
    purpose: tuple[Any, ...],
) -> _State:
    weights, average, optimised = state.weights, state.average, state.optimiser
    parts = []
    steps = np.arange(state.step, stop)
    for step, rate in zip(steps.tolist(), np.asarray(rates(steps), FLOAT), strict=True):
        rng = call.rng(*purpose, step)  # of this step alone: a stopped training goes on with the same bits
        rows = rng.choice(len(shown), batch, p=shown)
        word = np.where(rng.random(batch) < NO_WORD, len(net.words), label[rows])
        key = jax.random.key(int(rng.integers(2**31)))
        weights, average, optimised, now = _learn(
            net, loss, warp, weights, average, optimised, FLOAT(step), rate, key, data[rows], word
        )
        parts.append(now)
        call.advance(1)
    means = [float(value) for value in np.mean(parts, axis=0)]
    if not np.isfinite(means).all():
        raise FloatingPointError(
            f"the loss is {means} after {stop} steps; write a lower learning rate in Course. What was kept last is "
            "still in the store"
        )
    return _State(weights, average, optimised, stop, [*state.losses, means])


def _asked(
    net: Net,
    course: Course,
    x: np.ndarray,
    label: np.ndarray,
    shown: np.ndarray,
    warp: Warp | None,
    start: Network | None,
) -> dict[str, Any]:
    """What tells trainings apart."""
    return {
        "net": type(net).__name__,
        **asdict(net),
        **asdict(course),
        "data": digest(x, label, shown),
        "warp": None if warp is None else name_of(warp),
        "code of warp": None if warp is None else told(of_function, warp),
        "start": None if start is None else digest_of(start.weights, start.constants),
    }


def _arrays(state: _State) -> dict[str, np.ndarray]:
    """What is kept of a training."""
    leaves = jax.tree.leaves((state.weights, state.average, state.optimiser))
    arrays = {f"leaf{i:05d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    return {**arrays, "step": np.array(state.step), "losses": np.array(state.losses)}


def _restored(first: _State, *, step: np.ndarray, losses: np.ndarray, **leaves: np.ndarray) -> _State:
    """A training as it was, in the shape of its beginning."""
    _, shape = jax.tree.flatten((first.weights, first.average, first.optimiser))
    kept = [jnp.asarray(leaves[name]) for name in sorted(leaves)]
    weights, average, optimiser = jax.tree.unflatten(shape, kept)
    return _State(weights, average, optimiser, step.item(), losses.tolist())


# -------------------------------------------------------------------------------------------------------- normalisation


def normalise(
    network: Network,
    pictures: ArrayLike,
    labels: ArrayLike,
    *,
    share: ArrayLike | None = None,
    warp: Warp | None = None,
    draws: int | None = None,
    random_seed: int = 0,
    progressbar: bool = True,
) -> Network:
    """Compute constants by which exp(logit) N(x; 0, I) has integral 1, at every level, if it is right up to a constant.

    sum over x of j: P(i | x) = sum over x of i: P(j | x),   P(i | x) = 1 / (1 + exp(logit_j + c_j - logit_i - c_i))

    Between two labels i and j, with as many pictures of each, this fixes c_j - c_i: it is where the cross-entropy of
    the choice is least. For any picture it is chained from pure noise, where c = 0, level by level. Each word's c is
    found beside that of any at the same level, for every fifth of the levels. Where the network's density is not that
    of pictures in noise up to a constant, the constants are those that tell levels and words apart best, and the
    integral is near 1 at best.

    Parameters
    ----------
    network : Network
        Its constants are replaced.
    pictures, labels, share, warp
        As for `train`.
    draws : int, optional
        Pictures in noise at each level; by default 64 of 28 x 28, and at most 1,024.
    random_seed : int
        The source of randomness.
    progressbar : bool
        Whether to show one.

    Returns
    -------
    Network
        ``made["constants_se"]`` holds the standard error of the constant of "any" at the highest level, from the
        choices alone (not what the network gets wrong), and a lower bound of that: neighbouring levels share their
        pictures, which it leaves out. In two cases that were repeated it was a quarter below the sd.

    Raises
    ------
    TypeError, ValueError
        As `train` does.

    References
    ----------
    Bennett (1976), Efficient estimation of free energy differences from Monte Carlo data, equation 12.

    Examples
    --------
    With all weights 0 the logit is a^2 x^2 / 2. Where there is hardly anything but noise, a is .05 and the integral is
    1.0012 before, and 1 after:

    >>> import numpy as np
    >>> from bayesdiff.images.networks import Network, VectorNet
    >>> from models.pictures.training import KNOTS, normalise
    >>> net = VectorNet((1,), (), mean=0.0, sd=1.0, width=4, depth=1)
    >>> weights = {name: 0 * array for name, array in net.initial(0).items()}
    >>> network = Network(net, weights, np.zeros((1, KNOTS)))
    >>> x = np.random.default_rng(0).normal(size=(4000, 1))
    >>> network = normalise(network, x, np.zeros(4000, int), progressbar=False)
    >>> print(round(1.0012 * np.exp(network.constants[0, 0]), 3))
    1.000
    """
    if not isinstance(network, Network):
        raise TypeError(f"network is {type(network).__name__}; write a Network, as load_network gives it")
    x, label = check_pictures(network.net, pictures, labels)
    shown = _check_share(share, len(x))
    _check_warp(warp)
    whole_seed(random_seed)
    flag(progressbar, "progressbar")
    if draws is not None:
        positive_int(draws, "draws")
    count = draws or int(np.clip(50_000 // np.prod(network.shape), 64, 1024))
    rng = stream(random_seed, "normalise")
    levels = np.linspace(*LOG_SNR, KNOTS)
    any_word = len(network.words)
    with jax.enable_x64(False):  # as in `train`
        weights = {name: jnp.asarray(array) for name, array in network.weights.items()}

        def noisy(rows: np.ndarray, level: float) -> jax.Array:
            """Pictures of these rows, in noise."""
            keys = jax.random.split(jax.random.key(int(rng.integers(2**31))))
            x0 = jnp.asarray(x[rng.choice(rows, count, p=shown[rows] / shown[rows].sum())])
            x0 = x0 if warp is None else warp(keys[0], x0).astype(FLOAT)
            a, s = signal(jnp.asarray(level, FLOAT))
            return a * x0 + s * jax.random.normal(keys[1], x0.shape, FLOAT)

        def logits(x: jax.Array, level: float, word: int) -> np.ndarray:
            return np.asarray(
                _logits(network.net, weights, x, jnp.full(count, level, FLOAT), jnp.full(count, word)), float
            )

        rough = np.unique(np.r_[0:KNOTS:EVERY, KNOTS - 1])
        constants, variance = np.zeros((any_word + 1, KNOTS)), 0.0
        with progress_bar("normalise", KNOTS + any_word * len(rough), progressbar) as progress:

            def done() -> None:
                if progress:
                    progress(1)

            # Any picture, level by level from pure noise, whose own logit is 0.
            every = np.arange(len(x))
            below = jax.random.normal(jax.random.key(int(rng.integers(2**31))), (count, *network.shape), FLOAT)
            at_below, constant, seen = np.zeros(count), 0.0, {}
            for knot, level in enumerate(levels):
                here = noisy(every, level)
                at_here = logits(here, level, any_word)
                before = logits(here, levels[knot - 1], any_word) if knot else np.zeros(count)
                step, se = _constant(logits(below, level, any_word) - at_below, at_here - before)
                constant, variance = constant + step, variance + se**2
                constants[any_word, knot] = constant
                below, at_below = here, at_here
                if knot in rough:
                    seen[knot] = here, at_here
                done()
            # Each word beside any at the same level, so that errors do not add up. The difference changes slowly.
            for word in range(any_word):
                rows = np.flatnonzero((label == word) & (shown > 0))
                if not len(rows):  # a word without a picture keeps the constants 0: nothing is known of it
                    continue
                steps = []
                for knot in rough:
                    here, (others, of_others) = noisy(rows, levels[knot]), seen[knot]
                    of_any, own = (logits(here, levels[knot], of) for of in (any_word, word))
                    steps.append(_constant(logits(others, levels[knot], word) - of_others, own - of_any)[0])
                    done()
                constants[word] = constants[any_word] + np.interp(np.arange(KNOTS), rough, steps)
    made = {**network.made, "constants_se": variance**0.5}
    return replace(network, constants=constants, made=made)


@partial(jax.jit, static_argnums=0)
def _logits(net: Net, weights: Any, x: jax.Array, log_snr: jax.Array, word: jax.Array) -> jax.Array:
    return logit(net, weights, x, log_snr, word)


def _constant(gap_of_i: np.ndarray, gap_of_j: np.ndarray) -> tuple[float, float]:
    """Compute c_j - c_i and its standard error from logit_j - logit_i at pictures of i and, as many, of j."""

    def excess(c: float) -> float:
        return float(expit(gap_of_i + c).mean() - expit(-gap_of_j - c).mean())

    low, high = -np.max([gap_of_i.max(), gap_of_j.max()]) - 50, -np.min([gap_of_i.min(), gap_of_j.min()]) + 50
    c = float(brentq(excess, low, high))
    p, q = expit(gap_of_i + c), expit(-gap_of_j - c)
    slope = (p * (1 - p)).mean() + (q * (1 - q)).mean()
    return c, float(np.sqrt((p.var() + q.var()) / len(p)) / max(slope, np.finfo(float).tiny))
