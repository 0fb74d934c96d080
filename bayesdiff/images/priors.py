"""A network that tells noise levels apart, as a prior of pictures: p_k(x | prompt) at every level of a schedule.

A prompt is a word of the network, or several:

    "cat"             p_k(x | cat)
    "cat and face"    p_k(x) (p_k(x | cat) / p_k(x)) (p_k(x | face) / p_k(x))            up to a constant
    "cat not dog"     p_k(x | cat) P(cat | x, cat or dog)                               up to a constant

In general, with a strength s, words i that are wanted and words j that are not:

    w(x) prod_j w(x) / (w(x) + p_k(x | j)),     w(x) = p_k(x) prod_i (p_k(x | i) / p_k(x))^s

The first is a density diffused to level k. The others are not (a product of diffused densities is no diffused product):
they lead from noise to the product at level 0 by a path of densities, and only steps that are corrected at each level
(`draw`, not the mean path) end there.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor import wrap_jax

from bayesdiff.checks import Seed, generator, near_words, positive_int, positive_number
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.images.networks import LOG_SNR, Network, logit
from bayesdiff.pictures import AXES
from bayesdiff.priors import density
from bayesdiff.schedule import Schedule


def picture_schedule(levels: int = 24, highest: float = 6.0, lowest: float = -5.5) -> Schedule:
    """Compute a schedule for pictures: log(alpha^2 / sigma^2) falls evenly, alpha^2 + sigma^2 = 1.

    alpha_k^2 = 1 / (1 + exp(-l_k)),   l_k from `highest` at level 1 to `lowest` at level K

    Parameters
    ----------
    levels : int
        K.
    highest, lowest : float
        Log signal-to-noise ratios.

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError, ValueError
        If `levels` is no int >= 2; if a ratio is no number or lies outside of what networks are made for, or `highest`
        is not above `lowest`.

    References
    ----------
    Kingma, Salimans, Poole, Ho (2021), Variational diffusion models, section 3.2.

    Examples
    --------
    >>> from bayesdiff.images.priors import picture_schedule
    >>> schedule = picture_schedule(4, highest=4.0, lowest=-5.0)
    >>> schedule.levels, schedule.alpha.round(3).tolist()
    (4, [1.0, 0.991, 0.855, 0.345, 0.082])
    """
    if positive_int(levels, "levels") < 2:
        raise ValueError("levels is 1; write 2 or more: the first has `highest`, the last `lowest`")
    for name, value in (("highest", highest), ("lowest", lowest)):
        if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}; write a log signal-to-noise ratio, a number")
    if not LOG_SNR[0] <= lowest < highest <= LOG_SNR[1]:
        raise ValueError(
            f"highest is {highest} and lowest {lowest}; write two numbers of {LOG_SNR[0]:g} to {LOG_SNR[1]:g}, the "
            "first above the second"
        )
    ratio = np.linspace(highest, lowest, levels)
    alpha, sigma = np.sqrt(1 / (1 + np.exp(-ratio))), np.sqrt(1 / (1 + np.exp(ratio)))
    return Schedule(np.r_[1.0, alpha], np.r_[0.0, sigma])


def classifier_prior(
    network: Network,
    prompt: str | None = None,
    schedule: Schedule | None = None,
    *,
    strength: float = 1.0,
    dtype: str = "float32",
) -> pm.Model:
    """Write a network that tells noise levels apart as a prior: p0 and its density at every level.

    log p_k(x) = logit(x / r_k; l_k, word) + log N(x; 0, r_k^2 I),   r_k^2 = alpha_k^2 + sigma_k^2

    l_k is the log signal-to-noise ratio of level k. Level 0 is the network's own lowest noise: p0 is the law of
    pictures with noise of sd .018.

    Parameters
    ----------
    network : Network
        Trained: `load_network`, or by models/pictures/training.py.
    prompt : str, optional
        A word of the network, or several: see the module. None: any picture.
    schedule : Schedule, optional
        The levels; `picture_schedule` by default.
    strength : float
        s > 0: p_k(x) (p_k(x | word) / p_k(x))^s for every word that is wanted. 1 is the density itself; more gives
        pictures that are more typical of the word than real ones.
    dtype : "float32" or "float64"
        What the network computes in: float32, the precision of its weights, or float64, where differences of the
        density are taken.

    Returns
    -------
    pm.Model
        With one free variable, ``x``, of the shape of a picture, in -1..1 for pictures. Its density depends on the
        model's data ``level``. It has no prior draws.

    Raises
    ------
    TypeError
        If `network` or `schedule` is none, `prompt` no text or `strength` no number.
    ValueError
        If a word of the prompt is unknown (the nearest are suggested), the schedule leaves what the network was made
        for, or `strength` is not > 0.

    Notes
    -----
    `reverse` needs to know what o_K is: pass ``o=noise(prior, n)``.

    References
    ----------
    Yadin, Elata, Michaeli (2024), Classification diffusion models, for classifiers of noise levels as densities. Du et
    al. (2023), Reduce, reuse, recycle, for products of densities and their correction by MCMC.

    Examples
    --------
    A network that has learned nothing:

    >>> import numpy as np
    >>> import bayesdiff as bd
    >>> from bayesdiff.images.networks import Network, VectorNet
    >>> from bayesdiff.images.priors import classifier_prior
    >>> net = VectorNet((2,), ("left", "right"), mean=0.0, sd=1.0, width=8, depth=1)
    >>> network = Network(net, net.initial(random_seed=0), np.zeros((3, 141)))
    >>> prior = classifier_prior(network, "left")
    >>> bd.compile_prior(prior).at_level(24).logp(np.zeros((1, 2))).shape
    (1,)
    >>> classifier_prior(network, "lift")
    Traceback (most recent call last):
    ValueError: the network knows no 'lift'; did you mean 'left'? It knows: left, right
    """
    if not isinstance(network, Network):
        raise TypeError(f"network is {type(network).__name__}; write a Network, as load_network gives it")
    positive_number(strength, "strength", "a number > 0; 1 is the density itself")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; write 'float32' or 'float64'")
    terms = read_prompt(prompt, network.words)
    schedule = picture_schedule() if schedule is None else schedule
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule is {type(schedule).__name__}; write one, as picture_schedule(24)")
    log_density = _log_density(network, terms, schedule, strength, dtype)
    shape = tuple(network.shape)
    dims = AXES if len(shape) == len(AXES) else None
    evaluate = wrap_jax(log_density)
    return density(
        lambda x, level: pt.cast(evaluate(pt.specify_shape(x, shape), level), "float64"),
        shape,
        dims=dims,
        initval=network.net.mean,
        schedule=schedule,
    )


@dataclass(frozen=True)
class Prompt:
    """The numbers of the words that are wanted, and of those that are not."""

    wanted: tuple[int, ...]
    unwanted: tuple[int, ...]


def read_prompt(prompt: str | None, words: Sequence[str]) -> Prompt:
    """Turn a prompt into numbers of words: "cat", "cat and face", "cat not dog", "cat and face not dog".

    Raises
    ------
    TypeError
        If it is no text.
    ValueError
        If it has no word, one that is unknown, or one twice.
    """
    if prompt is None:
        return Prompt((), ())
    if not isinstance(prompt, str):
        raise TypeError(f"prompt is {prompt!r}; write a text, as 'cat', or None")
    said = prompt.split()
    if not said:
        raise ValueError(f"prompt is {prompt!r}; write a word that the network knows: {', '.join(words)}")
    joins = [word in ("and", "not") for word in said]
    if joins[0] or joins[-1] or any(one and other for one, other in pairwise(joins)):
        raise ValueError(
            f"prompt is {prompt!r}; write a word before and after each 'and' and 'not', as in 'cat and dog', "
            "'cat not dog'"
        )
    parts = re.split(r"\s+(and|not)\s+", f" and {prompt.strip()}")
    found: dict[str, list[int]] = {"and": [], "not": []}
    for kind, word in zip(parts[1::2], parts[2::2], strict=True):
        if word not in words:
            near = near_words(word, words)
            meant = f"did you mean {' or '.join(map(repr, near))}? It knows" if near else "write what it knows"
            raise ValueError(f"the network knows no {word!r}; {meant}: {', '.join(words)}")
        found[kind].append(words.index(word))
    numbers = found["and"] + found["not"]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"prompt is {prompt!r}; write each word once")
    return Prompt(tuple(found["and"]), tuple(found["not"]))


def diffused(prompt: str | None, words: Sequence[str], strength: float = 1.0) -> bool:
    """Whether every level of a prompt's prior is p0 in that level's noise: of one word, as it was learned.

    A product of densities in noise is not their product, put into noise; nor is a power. So moves at level 0, where the
    density is exact, are to follow: `settle` of `bayesdiff.images.inverters.draw`.

    Examples
    --------
    >>> diffused("cat", ["cat", "dog"]), diffused("cat not dog", ["cat", "dog"]), diffused("cat", ["cat"], strength=3.0)
    (True, False, False)
    """
    terms = read_prompt(prompt, words)
    return strength == 1 and len(terms.wanted) + len(terms.unwanted) <= 1


def noise(prior: pm.Model | CompiledPrior, number: int, random_seed: Seed = None) -> np.ndarray:
    """Draw o_K for pictures: N(0, (alpha_K^2 + sigma_K^2) I), what a network's last level nearly is.

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        Of `classifier_prior`.
    number : int
        How many.
    random_seed : int, Generator or None
        The source of randomness.

    Returns
    -------
    ndarray (number, *shape)
        For ``reverse(prior, schedule, o=...)``.

    Raises
    ------
    TypeError, ValueError
        If `prior` is no level prior, or `number` is below 1.

    Warns
    -----
    UserWarning
        If the last level is not nearly noise: more than 5% of what it holds is picture.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> from bayesdiff.images.priors import noise, picture_schedule
    >>> noise(bd.gaussian_mixture([1.0], [[0.0, 0.0]], 1.0, picture_schedule(4)), 3, random_seed=0).shape
    (3, 2)
    """
    prior = compile_prior(prior)
    if prior.schedule is None:
        raise ValueError("prior is no level prior; write one of classifier_prior")
    positive_int(number, "number")
    rng, scale = generator(random_seed), np.hypot(prior.schedule.alpha[-1], prior.schedule.sigma[-1])
    share = (prior.schedule.alpha[-1] / scale) ** 2
    # Of the last level's variance, were pictures of variance 1; the default schedule has .004
    if share > 0.05:
        warnings.warn(
            f"The last level is too narrow: alpha^2 / (alpha^2 + sigma^2) is {share:.2g} there, so it is no noise, and "
            "what is brought from noise will be wrong. End the schedule with more, as picture_schedule's lowest=-5.5.",
            stacklevel=2,
        )
    return scale * rng.normal(size=(number, *prior.layout.shapes[0]))


def level_ratios(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """Compute the network's log signal-to-noise ratio of each level, and the scale r_k that divides o_k (K + 1,).

    The network's lowest noise, sd .018, is part of p0, and so of every level.

    Raises
    ------
    ValueError
        If a level is noisier than what networks are made for.
    """
    own = 1 / (1 + np.exp(-LOG_SNR[1]))  # alpha^2 of the lowest noise
    signal = own * schedule.alpha**2
    rest = (1 - own) * schedule.alpha**2 + schedule.sigma**2
    ratio = np.log(signal / rest)
    if ratio[-1] < LOG_SNR[0]:
        k = int(np.flatnonzero(ratio < LOG_SNR[0])[0])
        raise ValueError(
            f"level {k} has a log signal-to-noise ratio of {ratio[k]:.3g}, and the network knows none below "
            f"{LOG_SNR[0]:g}; end the schedule before, as picture_schedule does"
        )
    return ratio, np.sqrt(schedule.alpha**2 + schedule.sigma**2)


def _log_density(
    network: Network, prompt: Prompt, schedule: Schedule, strength: float, dtype: str
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Log p_k of one picture: a function of x (*shape) and the level."""
    ratio, scale = level_ratios(schedule)
    any_word = len(network.words)
    asked = [any_word, *prompt.wanted, *prompt.unwanted]
    knots = np.linspace(*LOG_SNR, network.constants.shape[1])
    constants = np.stack([np.interp(ratio, knots, network.constants[word]) for word in asked], axis=1)
    size = int(np.prod(network.shape))
    own = constants - (size * (np.log(scale) + 0.5 * np.log(2 * np.pi)))[:, None]
    weights = {name: np.asarray(array, dtype) for name, array in network.weights.items()}
    plain = not prompt.unwanted and ((len(prompt.wanted) == 1 and strength == 1) or not prompt.wanted)
    if plain:  # one word alone: the network is asked once
        asked, own = asked[-1:], own[:, -1:]
    words, wanted = np.array(asked), len(prompt.wanted)

    def classifier(x: jax.Array, level: jax.Array) -> jax.Array:
        z = x.astype(dtype) / jnp.asarray(scale, dtype)[level]
        many = jnp.broadcast_to(z, (len(words), *z.shape))
        at = jnp.broadcast_to(jnp.asarray(ratio, dtype)[level], (len(words),))
        logits = logit(network.net, weights, many, at, jnp.asarray(words)).astype("float64")
        logp = logits + jnp.asarray(own)[level] - 0.5 * (z**2).sum().astype("float64")
        if plain:
            return logp[0]
        positive = logp[0] + strength * (logp[1 : 1 + wanted] - logp[0]).sum()
        return positive - jax.nn.softplus(logp[1 + wanted :] - positive).sum()

    return classifier
