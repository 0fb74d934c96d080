"""Four families of generative models on the same points: the run behind `families.qmd`.

    python reports/families.py --out reports/families.zarr

    GAN         x = g(z), z ~ N(0, I)                      a classifier f judges x; nothing is inverted
    VAE         x ~ N(g(z), s^2 I), z ~ N(0, I)            q(z | x), a Gaussian, stands for the inversion p(z | x)
    flow        x = g(z), z ~ N(0, I)                      z = g^-1(x), exactly, and its Jacobian
    diffusion   o_k = x + sigma_k e, k = 1..K              p(x | o_k) by Bayes: by draws, or by its mean alone

The data are draws of eight Gaussians on a circle, of unequal shares, so the truth is known; it scores and does not
teach. Networks are plain JAX in single precision: all of them are one multilayer perceptron, one Adam, one loop.
"""

import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from scipy.special import logsumexp

if not __package__:  # run as a file: the root of the repository is where its packages are
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bayesdiff as bd
from bayesdiff.results import dataset, tree
from reports.scores import mode_shares, sliced_w2, total_variation
from reports.study import command_line, made_on

SEED = 20220927
REPLICATES = 3  # each has training points, first weights and draws of its own
POINTS = 4096  # to learn from, to be judged, to be judged by
FLOOR_SAMPLES = 100  # exact ones, scored as all others
AGAINST = 8  # exact samples that each sample is compared with
FAR = 4  # standard deviations: who is farther from every mode lies between them
STEPS = {"GAN": 12_000, "VAE": 12_000, "flow": 12_000, "diffusion": 12_000}
BATCH = 256
LEVELS, DRAW_LEVELS = 128, 16
NOISE = 0.05, 30.0  # of levels 1 and K, in units of x
IMPORTANCE = 512  # draws of q(z | x) for the VAE's likelihood
FAMILIES = (
    "GAN",
    "VAE",
    "flow",
    "diffusion, learned mean",
    "diffusion, exact mean",
    "diffusion, exact draws",
    "points",
)
SCORES = ("sliced W2", "mode shares", "between", "width", "log likelihood", "gap", "gap_se")
COSTS = ("parameters", "training", "sampling", "evaluations")

# Plain floats: a numpy number would make single precision double.
LOG_2PI, NO_BEND = float(np.log(2 * np.pi)), float(np.log(np.e - 1))

Params = Any  # a nest of lists, tuples and dicts of arrays
Sample = tuple[np.ndarray, np.ndarray, float]  # x (size, 2), where each came from (size, 2), evaluations of each


# -------------------------------------------------------------------------------------------------------------- truth


@dataclass(frozen=True, eq=False)
class Ring:
    """The truth: sum_j weights[j] N(means[j], sd^2 I) in the plane."""

    weights: np.ndarray
    means: np.ndarray
    sd: float

    def draws(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Exact draws (size, 2)."""
        j = rng.choice(len(self.weights), size=size, p=self.weights)
        return self.means[j] + self.sd * rng.normal(size=(size, 2))

    def logp(self, x: np.ndarray) -> np.ndarray:
        """log p0(x) of points (size, 2)."""
        square = ((x[:, None] - self.means) ** 2).sum(-1) / self.sd**2
        return logsumexp(np.log(self.weights) - 0.5 * square, axis=1) - np.log(2 * np.pi * self.sd**2)

    def mean(self, o: np.ndarray, sigma: float) -> np.ndarray:
        """E[x | o] for o = x + sigma e, a batch of o (size, 2)."""
        total = self.sd**2 + sigma**2
        gap = o[:, None] - self.means
        log_joint = np.log(self.weights) - 0.5 * (gap**2).sum(-1) / total
        shares = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
        return np.einsum("bj,bjn->bn", shares, self.means + self.sd**2 / total * gap)

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mode that each point is nearest to, and how far it is from there."""
        distance = np.linalg.norm(x[:, None] - self.means, axis=2)
        return distance.argmin(axis=1), distance.min(axis=1)


def ring() -> Ring:
    """Eight modes on a circle of radius 4, sd .3, 10 sd apart; the heaviest has four times the lightest's share."""
    angle = np.arange(8) * np.pi / 4
    weights = np.array([8, 3, 6, 2, 7, 4, 5, 5]) / 40
    return Ring(weights, 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.3)


# ----------------------------------------------------------------------------------------------------------- networks


def perceptron(key: jax.Array, sizes: Sequence[int], last: float = 1.0) -> Params:
    """Weights of a multilayer perceptron; `last` scales those of its last layer."""
    keys = jax.random.split(key, len(sizes) - 1)
    scales = [1.0] * (len(sizes) - 2) + [last]
    return [
        (scale * jax.random.normal(k, (a, b), jnp.float32) / np.float32(a**0.5), jnp.zeros(b, jnp.float32))
        for k, a, b, scale in zip(keys, sizes[:-1], sizes[1:], scales, strict=True)
    ]


def apply(params: Params, x: jax.Array) -> jax.Array:
    """The perceptron's value: (..., sizes[0]) to (..., sizes[-1])."""
    for weight, bias in params[:-1]:
        x = jax.nn.silu(x @ weight + bias)
    weight, bias = params[-1]
    return x @ weight + bias


def count(params: Params) -> int:
    """How many numbers are learned."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def adam(gradient: Params, params: Params, moments: Params, i: jax.Array, rate: jax.Array, b1: float = 0.9):
    """One step of Adam (Kingma, Ba 2015), the gradient's norm clipped at 5."""
    b2 = 0.99
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, 5.0 / (norm + 1e-8)), gradient)
    first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments[0], gradient)
    second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, moments[1], gradient)
    t = i.astype(jnp.float32) + 1
    size = rate * jnp.sqrt(1 - b2**t) / (1 - b1**t)
    return jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-8), params, first, second), (first, second)


def decay(i: jax.Array, steps: int, rate: float) -> jax.Array:
    """The learning rate of step i: up in 100 steps, down to 0 as a cosine."""
    t = i.astype(jnp.float32)
    return rate * jnp.minimum(1.0, (t + 1) / 100) * 0.5 * (1 + jnp.cos(jnp.pi * t / steps))


def zeros(params: Params) -> Params:
    return jax.tree.map(jnp.zeros_like, params)


def average(mean: Params, params: Params, i: jax.Array) -> Params:
    """A running mean of the weights over some 500 steps: it is what is used in the end, in all four families."""
    keep = jnp.minimum(0.998, i.astype(jnp.float32) / (i + 10.0))
    return jax.tree.map(lambda m, p: (keep * m + (1 - keep) * p).astype(p.dtype), mean, params)


def batch_of(data: jax.Array, key: jax.Array) -> jax.Array:
    return data[jax.random.randint(key, (BATCH,), 0, len(data), jnp.int32)]


@partial(jax.jit, static_argnames=("loss", "steps", "rate"))
def minimise(loss: Callable, params: Params, data: jax.Array, key: jax.Array, steps: int, rate: float = 2e-3):
    """Minimise loss(params, x, key) over batches of data: the weights, averaged, and the loss by step (steps,)."""

    def step(state, i):
        params, moments, mean = state
        keys = jax.random.split(jax.random.fold_in(key, i))
        value, gradient = jax.value_and_grad(loss)(params, batch_of(data, keys[0]), keys[1])
        params, moments = adam(gradient, params, moments, i, decay(i, steps, rate))
        return (params, moments, average(mean, params, i)), value

    state = params, (zeros(params), zeros(params)), params
    (_, _, mean), trace = jax.lax.scan(step, state, jnp.arange(steps, dtype=jnp.int32))
    return mean, trace


def normal(key: jax.Array, size: int, n: int = 2) -> jax.Array:
    return jax.random.normal(key, (size, n), jnp.float32)


# ---------------------------------------------------------------------------------------------------------------- GAN


def gan(key: jax.Array) -> Params:
    """A generator g and a discriminator f: x is data rather than g(z) with log odds f(x)."""
    keys = jax.random.split(key)
    return perceptron(keys[0], (2, 64, 64, 64, 2)), perceptron(keys[1], (2, 64, 64, 64, 1))


@partial(jax.jit, static_argnames=("steps", "rate", "gamma"))
def play(params: Params, data: jax.Array, key: jax.Array, steps: int, rate: float = 1e-3, gamma: float = 0.1):
    """Train both against each other: f to tell data from g(z), g to be taken for data; the weights and f's loss.

    The generator's loss is the one that does not saturate (Goodfellow et al. 2014, section 3), and f has a penalty on
    its gradient at the data, gamma E|df/dx|^2 / 2 (Mescheder, Geiger, Nowozin 2018), without which the game may circle.
    """

    def judge(f, g, x, z):
        slope = jax.vmap(jax.grad(lambda point: apply(f, point)[0]))(x)
        real, made = apply(f, x), apply(f, apply(g, z))
        entropy = jax.nn.softplus(-real).mean() + jax.nn.softplus(made).mean()
        return entropy + 0.5 * gamma * (slope**2).sum(-1).mean(), entropy

    def fool(g, f, z):
        return jax.nn.softplus(-apply(f, apply(g, z))).mean()

    def step(state, i):
        (g, f), (of_g, of_f), mean = state
        keys = jax.random.split(jax.random.fold_in(key, i), 3)
        now = decay(i, steps, rate)
        (_, entropy), slope = jax.value_and_grad(judge, has_aux=True)(
            f, g, batch_of(data, keys[0]), normal(keys[1], BATCH)
        )
        f, of_f = adam(slope, f, of_f, i, now, 0.0)
        slope = jax.grad(fool)(g, f, normal(keys[2], BATCH))
        g, of_g = adam(slope, g, of_g, i, now, 0.0)
        return ((g, f), (of_g, of_f), average(mean, (g, f), i)), entropy

    moments = tuple((zeros(p), zeros(p)) for p in params)
    (_, _, mean), trace = jax.lax.scan(step, (params, moments, params), jnp.arange(steps, dtype=jnp.int32))
    return mean, trace


@jax.jit
def gan_sample(params: Params, z: jax.Array) -> jax.Array:
    """x = g(z)."""
    return apply(params[0], z)


# ---------------------------------------------------------------------------------------------------------------- VAE


def vae(key: jax.Array) -> Params:
    """An encoder, q(z | x) = N(m(x), diag v(x)), a decoder g, and the log of its sd s."""
    keys = jax.random.split(key)
    return {
        "encoder": perceptron(keys[0], (2, 64, 64, 64, 4)),
        "decoder": perceptron(keys[1], (2, 64, 64, 64, 2)),
        "log s": jnp.full((), -2.0, jnp.float32),
    }


def encode(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log sd of q(z | x)."""
    mean, log_sd = jnp.split(apply(params["encoder"], x), 2, axis=-1)
    return mean, log_sd


def decoder_logp(params: Params, x: jax.Array, z: jax.Array) -> jax.Array:
    """log N(x; g(z), s^2 I)."""
    gap = (x - apply(params["decoder"], z)) * jnp.exp(-params["log s"])
    return -0.5 * (gap**2).sum(-1) - x.shape[-1] * (params["log s"] + 0.5 * LOG_2PI)


def elbo(params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
    """E_q log N(x; g(z), s^2 I) - KL(q(z | x) || N(0, I)) of each x, by one draw of z."""
    mean, log_sd = encode(params, x)
    z = mean + jnp.exp(log_sd) * jax.random.normal(key, mean.shape, mean.dtype)
    divergence = 0.5 * (mean**2 + jnp.exp(2 * log_sd) - 1 - 2 * log_sd).sum(-1)
    return decoder_logp(params, x, z) - divergence


@partial(jax.jit, static_argnames="draws")
def mean_elbo(params: Params, x: jax.Array, key: jax.Array, draws: int = 64) -> jax.Array:
    """The ELBO of each x, a mean over draws of z."""
    return jax.lax.map(partial(elbo, params, x), jax.random.split(key, draws)).mean(axis=0)


def vae_loss(params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
    return -elbo(params, x, key).mean()


@partial(jax.jit, static_argnames="draws")
def importance(params: Params, x: jax.Array, key: jax.Array, draws: int = IMPORTANCE) -> jax.Array:
    """log of the mean of p(x, z) / q(z | x) over draws of q: a bound (Burda, Grosse, Salakhutdinov 2016)."""
    mean, log_sd = encode(params, x)

    def one(k):
        e = jax.random.normal(k, mean.shape, mean.dtype)
        z = mean + jnp.exp(log_sd) * e
        return decoder_logp(params, x, z) + (0.5 * e**2 - 0.5 * z**2 + log_sd).sum(-1)

    return jax.nn.logsumexp(jax.lax.map(one, jax.random.split(key, draws)), axis=0) - float(np.log(draws))


@jax.jit
def vae_sample(params: Params, z: jax.Array, key: jax.Array) -> jax.Array:
    """x = g(z) + s e."""
    x = apply(params["decoder"], z)
    return x + jnp.exp(params["log s"]) * jax.random.normal(key, x.shape, x.dtype)


# --------------------------------------------------------------------------------------------------------------- flow

BINS, EDGE, LEAST = 8, 5.0, 1e-3  # of the splines: they bend inside [-EDGE, EDGE] and are the identity outside


def flow(key: jax.Array, layers: int = 6, width: int = 40) -> Params:
    """Weights (layers, ...) of couplings: each moves one coordinate by a spline that the other one chooses."""
    sizes = (1, width, width, 3 * BINS - 1)
    return jax.vmap(lambda k: perceptron(k, sizes, last=0.1))(jax.random.split(key, layers))


def spline(raw: jax.Array, value: jax.Array, inverse: bool = False) -> tuple[jax.Array, jax.Array]:
    """A monotone rational-quadratic spline of each value, and the log of its slope (Durkan et al. 2019, section 3.1).

    raw (..., 3 BINS - 1): widths and heights of the bins and slopes at the knots between them, unconstrained.
    """
    width = 2 * EDGE * (LEAST + (1 - LEAST * BINS) * jax.nn.softmax(raw[..., :BINS]))
    height = 2 * EDGE * (LEAST + (1 - LEAST * BINS) * jax.nn.softmax(raw[..., BINS : 2 * BINS]))
    start = jnp.full((*value.shape, 1), -EDGE, value.dtype)
    knot_x = jnp.concatenate([start, -EDGE + jnp.cumsum(width, -1)], -1)
    knot_y = jnp.concatenate([start, -EDGE + jnp.cumsum(height, -1)], -1)
    one = jnp.ones((*value.shape, 1), value.dtype)
    # softplus(x + log(e - 1)) is 1 at 0: no bend before there is training.
    slope = jnp.concatenate([one, LEAST + jax.nn.softplus(raw[..., 2 * BINS :] + NO_BEND), one], -1)
    inside = jnp.abs(value) < EDGE
    v = jnp.where(inside, value, 0.0)
    k = ((knot_y if inverse else knot_x)[..., 1:-1] <= v[..., None]).sum(-1)[..., None]

    def at(array):
        return jnp.take_along_axis(array, k, -1)[..., 0]

    x, y, w, h = at(knot_x), at(knot_y), at(width), at(height)
    d0, d1 = at(slope[..., :-1]), at(slope[..., 1:])
    s = h / w
    if inverse:
        gap = v - y
        a = h * (s - d0) + gap * (d0 + d1 - 2 * s)
        b = h * d0 - gap * (d0 + d1 - 2 * s)
        t = 2 * s * gap / (b + jnp.sqrt(jnp.maximum(b**2 + 4 * a * s * gap, 0.0)))
        moved = x + t * w
    else:
        t = (v - x) / w
        moved = y + h * (s * t**2 + d0 * t * (1 - t)) / (s + (d0 + d1 - 2 * s) * t * (1 - t))
    below = s + (d0 + d1 - 2 * s) * t * (1 - t)
    log_slope = 2 * jnp.log(s) + jnp.log(d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2) - 2 * jnp.log(below)
    return jnp.where(inside, moved, value), jnp.where(inside, -log_slope if inverse else log_slope, 0.0)


def to_latent(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z = g^-1(x) (..., 2), and log |det dz/dx| (...,)."""

    def coupling(state, layer):
        (kept, moved), log_det = state
        moved, log_slope = spline(apply(layer, kept[..., None]), moved)
        return ((moved, kept), log_det + log_slope), None  # they take turns

    state = (x[..., 0], x[..., 1]), jnp.zeros(x.shape[:-1], x.dtype)
    (z, log_det), _ = jax.lax.scan(coupling, state, params, unroll=6)
    return jnp.stack(z, axis=-1), log_det


def from_latent(params: Params, z: jax.Array) -> jax.Array:
    """x = g(z): the couplings of `to_latent` undone, last first."""

    def coupling(state, layer):
        moved, kept = state
        return (kept, spline(apply(layer, kept[..., None]), moved, inverse=True)[0]), None

    x, _ = jax.lax.scan(coupling, (z[..., 0], z[..., 1]), params, reverse=True)
    return jnp.stack(x, axis=-1)


def flow_logp(params: Params, x: jax.Array) -> jax.Array:
    """log p(x) = log N(z; 0, I) + log |det dz/dx|, exactly."""
    z, log_det = to_latent(params, x)
    return -0.5 * (z**2).sum(-1) - LOG_2PI + log_det


def flow_loss(params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
    return -flow_logp(params, x).mean()


# ---------------------------------------------------------------------------------------------------------- diffusion


def denoiser(key: jax.Array) -> Params:
    """A network of o and log sigma, which `denoised` turns into E[x | o]."""
    return perceptron(key, (6, 88, 88, 88, 2), last=0.1)


def denoised(params: Params, o: jax.Array, sigma: jax.Array) -> jax.Array:
    """E[x | o] of o = x + sigma e (..., 2), sigma (...,); x of mean 0 and variance 1.

    The network adds to the mean that a Gaussian of these moments has, in units of its posterior sd (Karras et al. 2022,
    section 5): it has little to say where the noise is narrow, and where it is wide.
    """
    sigma = sigma[..., None]
    total = 1 + sigma**2
    t = jnp.log(sigma)
    features = jnp.concatenate([o / jnp.sqrt(total), t / 4, jnp.sin(t), jnp.cos(t), jnp.sin(2 * t)], axis=-1)
    return o / total + sigma / jnp.sqrt(total) * apply(params, features)


def denoiser_loss(params: Params, x: jax.Array, key: jax.Array, low: float = 0.01, high: float = 12.0) -> jax.Array:
    """The mean square error of x from o, at noise of every width; in units of the posterior variance as above."""
    keys = jax.random.split(key)
    t = jax.random.uniform(keys[0], x.shape[:1], jnp.float32)
    sigma = jnp.exp(float(np.log(low)) + t * float(np.log(high / low)))
    o = x + sigma[:, None] * jax.random.normal(keys[1], x.shape, jnp.float32)
    square = ((x - denoised(params, o, sigma)) ** 2).sum(-1)
    return (square * (1 + 1 / sigma**2)).mean()


def mean_inverter(mean: Callable[[np.ndarray, float], np.ndarray]) -> Callable:
    """An inverter of bayesdiff's form out of a function E[x | o], mean(o, sigma) with o = x + sigma e."""

    def invert(prior, o, alpha=1.0, sigma=1.0, *, start=None, random_seed=None):
        return np.asarray(mean(o / alpha, sigma / alpha), float), {"evaluations": np.ones(len(o))}

    invert.carries = "mean"  # so that nobody takes what a chain ends with for draws of p0
    return invert


def two_moments(x: np.ndarray) -> pm.Model:
    """All that the chain itself has to know of the data: a mean and a covariance, for o_K."""
    with pm.Model() as model:
        pm.MvNormal("x", x.mean(axis=0), np.cov(x.T))
    return model


def chain_bound(
    mean: Callable[[np.ndarray, float], np.ndarray],
    schedule: bd.Schedule,
    x: np.ndarray,
    train: np.ndarray,
    rng: np.random.Generator,
    repeats: int = 4,
) -> np.ndarray:
    """A bound from below of log p(x), for each x, where p is the law of a chain of means in clean form.

    E log N(x; E[x | o_1], v I) - sum_{k=2}^K (snr_{k-1} - snr_k) |x - E[x | o_k]|^2 / 2 - KL(p(o_K | x) || p(o_K))

    It is the ELBO of a VAE with K latents and an encoder that is not learned, the noise (Kingma et al. 2021, equations
    11 to 15). v, the width of the last step, is the mean square error on the training points.
    """
    alpha, sigma, snr = schedule.alpha, schedule.sigma, schedule.snr

    def squares(points, k):
        o = bd.diffuse(points, alpha[k], sigma[k], rng)
        return ((points - mean(o / alpha[k], sigma[k] / alpha[k])) ** 2).sum(-1)

    v = squares(train, 1).mean() / 2
    total = np.zeros(len(x))
    for _ in range(repeats):
        total += -0.5 * squares(x, 1) / v - np.log(2 * np.pi * v)
        for k in range(2, schedule.levels + 1):
            total -= 0.5 * (snr[k - 1] - snr[k]) * squares(x, k)
    law = alpha[-1] ** 2 * np.cov(train.T) + sigma[-1] ** 2 * np.eye(2)
    precision = np.linalg.inv(law)
    gap = alpha[-1] * (x - train.mean(axis=0))
    last = np.einsum("bi,ij,bj->b", gap, precision, gap) + sigma[-1] ** 2 * np.trace(precision) - 2
    return total / repeats - 0.5 * (last + np.linalg.slogdet(law)[1] - 4 * np.log(sigma[-1]))


# ----------------------------------------------------------------------------------------------------------- families


@dataclass(frozen=True, eq=False)
class Points:
    """The training points, and the units that networks see them in: mean 0, variance 1."""

    x: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        return self.x.mean(axis=0)

    @property
    def scale(self) -> float:
        """One number: noise is the same in all directions."""
        return float(np.sqrt(self.x.var(axis=0).mean()))

    def into(self, x: np.ndarray) -> jax.Array:
        return jnp.asarray((x - self.centre) / self.scale, jnp.float32)

    def out(self, y: jax.Array) -> np.ndarray:
        return np.asarray(y, float) * self.scale + self.centre

    def density(self, log_density: jax.Array) -> np.ndarray:
        """A log density of the network's units in those of x."""
        return np.asarray(log_density, float) - 2 * np.log(self.scale)


@dataclass(frozen=True, eq=False)
class Model:
    """What a family is after training.

    ``sample(size, seed)`` gives x, where each came from, z or o_K, and how often a network or a density was evaluated
    for it. ``logp(x)`` (size,) is its log likelihood or a bound of it. ``latent(x)`` is its inversion, and ``back``
    takes that to x again. ``mean(o, sigma)`` is E[x | o].
    """

    sample: Callable[[int, int], Sample]
    logp: Callable[[np.ndarray], np.ndarray] | None = None
    elbo: Callable[[np.ndarray], np.ndarray] | None = None
    latent: Callable[[np.ndarray], np.ndarray] | None = None
    back: Callable[[np.ndarray], np.ndarray] | None = None
    mean: Callable[[np.ndarray, float], np.ndarray] | None = None
    parameters: int = 0
    training: float = 0.0
    trace: np.ndarray | None = None


def _timed(learn: Callable, *args: Any) -> tuple[Params, np.ndarray, float]:
    begun = time.perf_counter()
    params, trace = jax.block_until_ready(learn(*args))
    return params, np.asarray(trace), time.perf_counter() - begun


def fit_gan(points: Points, seed: int, steps: int) -> Model:
    keys = jax.random.split(jax.random.key(seed))
    params, trace, seconds = _timed(play, gan(keys[0]), points.into(points.x), keys[1], steps)

    def sample(size: int, seed: int):
        z = normal(jax.random.key(seed), size)
        return points.out(gan_sample(params, z)), np.asarray(z), 1.0

    return Model(sample, parameters=count(params), training=seconds, trace=trace)


def fit_vae(points: Points, seed: int, steps: int) -> Model:
    keys = jax.random.split(jax.random.key(seed), 4)
    params, trace, seconds = _timed(minimise, vae_loss, vae(keys[0]), points.into(points.x), keys[1], steps)

    def sample(size: int, seed: int):
        both = jax.random.split(jax.random.key(seed))
        z = normal(both[0], size)
        return points.out(vae_sample(params, z, both[1])), np.asarray(z), 1.0

    return Model(
        sample,
        logp=lambda x: points.density(importance(params, points.into(x), keys[2])),
        elbo=lambda x: points.density(mean_elbo(params, points.into(x), keys[3])),
        latent=lambda x: np.asarray(encode(params, points.into(x))[0]),
        back=lambda z: points.out(apply(params["decoder"], jnp.asarray(z))),
        parameters=count(params),
        training=seconds,
        trace=trace,
    )


def fit_flow(points: Points, seed: int, steps: int) -> Model:
    keys = jax.random.split(jax.random.key(seed))
    params, trace, seconds = _timed(minimise, flow_loss, flow(keys[0]), points.into(points.x), keys[1], steps)
    forward, backward, logp = jax.jit(to_latent), jax.jit(from_latent), jax.jit(flow_logp)

    def sample(size: int, seed: int):
        z = normal(jax.random.key(seed), size)
        return points.out(backward(params, z)), np.asarray(z), 1.0

    return Model(
        sample,
        logp=lambda x: points.density(logp(params, points.into(x))),
        latent=lambda x: np.asarray(forward(params, points.into(x))[0]),
        back=lambda z: points.out(backward(params, jnp.asarray(z))),
        parameters=count(params),
        training=seconds,
        trace=trace,
    )


def fit_denoiser(points: Points, seed: int, steps: int) -> Model:
    keys = jax.random.split(jax.random.key(seed))
    params, trace, seconds = _timed(minimise, denoiser_loss, denoiser(keys[0]), points.into(points.x), keys[1], steps)
    network = jax.jit(denoised)

    def mean(o: np.ndarray, sigma: float) -> np.ndarray:
        inside = points.into(o)
        return points.out(network(params, inside, jnp.full(len(o), sigma / points.scale, jnp.float32)))

    return by_means(mean, points, seed, parameters=count(params), training=seconds, trace=trace)


def by_means(mean: Callable, points: Points, seed: int, **how: Any) -> Model:
    """Diffusion whose chain needs E[x | o] alone, and for o_K two moments of the training points."""
    schedule = bd.geometric(LEVELS, *NOISE)
    prior = bd.compile_prior(two_moments(points.x))

    def bound(x: np.ndarray) -> np.ndarray:
        return chain_bound(mean, schedule, x, points.x, np.random.default_rng(seed))

    return Model(partial(chain, prior, schedule, mean_inverter(mean)), logp=bound, mean=mean, **how)


def chain(prior: Any, schedule: bd.Schedule, invert: Callable, size: int, seed: int) -> Sample:
    """x, the o_K that each came from, and evaluations."""
    run = bd.reverse(prior, schedule, invert, draws=size // 2, chains=2, random_seed=seed, progressbar=False)
    last = run["path"]["x"].sel(level=schedule.levels)
    return (
        run["unconstrained_posterior"]["x"].values.reshape(-1, 2),
        last.values.reshape(-1, 2),
        run["sample_stats"]["evaluations"].values.mean(),
    )


# ---------------------------------------------------------------------------------------------------------------- run


def score(truth: Ring, x: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Sliced W2, total variation of the shares, share between the modes, and width of the modes, in their sd."""
    _, distance = truth.nearest(x)
    apart = np.mean([sliced_w2(x, truth.draws(len(x), rng)) for _ in range(AGAINST)])
    near = distance < FAR * truth.sd
    width = np.sqrt((distance[near] ** 2).mean() / 2) / truth.sd if near.any() else np.nan
    shares = total_variation(mode_shares(x, truth.means), truth.weights)
    return [float(apart), shares, float(1 - near.mean()), float(width)]


def study(
    out: str | Path | None = None,
    *,
    points: int = POINTS,
    replicates: int = REPLICATES,
    steps: Mapping[str, int] = STEPS,
    exact_samples: int = FLOOR_SAMPLES,
    seed: int = SEED,
    say: Callable[[str], None] = print,
) -> xr.DataTree:
    """Make the run: every family on `replicates` sets of training points."""
    begun = time.perf_counter()
    truth = ring()
    at_levels = bd.geometric(DRAW_LEVELS, *NOISE)
    exact = bd.compile_prior(bd.gaussian_mixture(truth.weights, truth.means, truth.sd**2, at_levels))
    score_of = np.full((replicates, len(FAMILIES), len(SCORES)), np.nan)
    cost = np.full((replicates, len(FAMILIES), len(COSTS)), np.nan)
    bounds = np.full((replicates, 2), np.nan)  # the VAE's ELBO, and how far the flow's round trip is off
    errors = np.full((replicates, 3, LEVELS), np.nan)
    warned, groups = [], {}
    for r in range(replicates):
        rng = np.random.default_rng([seed, r])
        train, test = Points(truth.draws(points, rng)), truth.draws(points, rng)
        truth_logp = truth.logp(test)
        seeds = [int(s) for s in rng.integers(2**31, size=8)]
        models = {
            "GAN": fit_gan(train, seeds[0], steps["GAN"]),
            "VAE": fit_vae(train, seeds[1], steps["VAE"]),
            "flow": fit_flow(train, seeds[2], steps["flow"]),
            "diffusion, learned mean": fit_denoiser(train, seeds[3], steps["diffusion"]),
            "diffusion, exact mean": by_means(truth.mean, train, seeds[4]),
            "diffusion, exact draws": Model(partial(chain, exact, at_levels, bd.draw), logp=truth.logp),
            "points": Model(lambda size, s, x=train.x: (_redrawn(x, size, s), np.full((size, 2), np.nan), 0.0)),
        }
        x, z = np.empty((2, len(FAMILIES), points, 2), np.float32)
        for i, (name, model) in enumerate(models.items()):
            if name != "diffusion, exact draws":
                model.sample(points, seeds[5])  # compiles
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                clock = time.perf_counter()
                got, origin, evaluations = model.sample(points, seeds[6])
                seconds = time.perf_counter() - clock
            warned += [f"{name}, replicate {r}: {w.message}" for w in caught]
            x[i], z[i] = got, origin
            score_of[r, i, :4] = score(truth, got, rng)
            if model.logp is not None:
                value = model.logp(test)
                gap = value - truth_logp
                score_of[r, i, 4:] = value.mean(), gap.mean(), gap.std() / np.sqrt(len(gap))
            cost[r, i] = model.parameters, model.training, seconds, evaluations
            say(f"replicate {r}  {name:24s} {np.round(score_of[r, i], 3)}  {np.round(cost[r, i], 2)}")
        vae, flow_, net = (models[name] for name in ("VAE", "flow", "diffusion, learned mean"))
        bounds[r] = (vae.elbo(test) - truth_logp).mean(), flow_round_trip(flow_, test)
        errors[r] = denoiser_errors(truth, net.mean, train, test, rng)
        if r == 0:
            groups["samples"] = dataset(
                {"x": x, "z": z, "train": train.x.astype(np.float32)},
                dims={"x": ["family", "point", "axis"], "z": ["family", "point", "axis"], "train": ["point", "axis"]},
                coords={"family": list(FAMILIES)},
            )
            back = {"VAE": vae.back(vae.latent(test)), "flow": flow_.back(flow_.latent(test))}
            groups["inversion"] = dataset(
                {
                    "x": test.astype(np.float32),
                    "z": np.stack([vae.latent(test), flow_.latent(test)]),
                    "back": np.stack([back["VAE"], back["flow"]]).astype(np.float32),
                },
                dims={"x": ["point", "axis"], "z": ["model", "point", "axis"], "back": ["model", "point", "axis"]},
                coords={"model": ["VAE", "flow"]},
            )
            traces = {name.split(",")[0]: model.trace for name, model in models.items() if model.trace is not None}
            for name, trace in traces.items():
                blocks = np.array_split(trace, 60)
                groups[f"trace_{name}"] = dataset(
                    {"loss": np.array([block.mean() for block in blocks])},
                    dims={"loss": ["block"]},
                    attrs={"steps": len(trace)},
                )
    rng = np.random.default_rng([seed, 1000])
    ground = np.array([score(truth, truth.draws(points, rng), rng) for _ in range(exact_samples)])
    labels = {"family": list(FAMILIES), "score": list(SCORES), "cost": list(COSTS), "exact": list(SCORES[:4])}
    dims = {"scores": ["replicate", "family", "score"], "costs": ["replicate", "family", "cost"]}
    dims |= {"floor": ["sample", "exact"], "bounds": ["replicate", "bound"]}
    labels["bound"] = ["ELBO gap", "flow round trip"]
    values = {"scores": score_of, "costs": cost, "floor": ground, "bounds": bounds}
    groups["scores"] = dataset(values, dims=dims, coords=labels)
    schedule = bd.geometric(LEVELS, *NOISE)
    groups["denoiser"] = dataset(
        {"mse": errors, "sigma": schedule.sigma[1:]},
        dims={"mse": ["replicate", "of", "level"], "sigma": ["level"]},
        coords={
            "of": ["learned to exact", "exact to x", "training points to exact"],
            "level": np.arange(1, LEVELS + 1),
        },
    )
    groups["truth"] = dataset(
        {"weights": truth.weights, "means": truth.means}, dims={"weights": ["mode"], "means": ["mode", "axis"]}
    )
    attrs = {
        "seed": seed,
        "points": points,
        "replicates": replicates,
        "steps": dict(steps),
        "batch": BATCH,
        "exact_samples": exact_samples,
        "against": AGAINST,
        "importance": IMPORTANCE,
        "levels": LEVELS,
        "draw_levels": DRAW_LEVELS,
        "noise": list(NOISE),
        "sd": truth.sd,
        "far": FAR,
        "log_likelihood": float(truth.logp(truth.draws(200_000, rng)).mean()),
        "warnings": warned,
        **made_on(begun),
    }
    run = tree(groups, attrs)
    if out is not None:
        bd.save(run, out, overwrite=True)
    return run


def _redrawn(x: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Training points with replacement: what a learner gives that knows them and nothing else."""
    return x[np.random.default_rng(seed).integers(len(x), size=size)]


def flow_round_trip(model: Model, x: np.ndarray) -> float:
    """How far the inversion, undone, is from x at most."""
    return float(np.abs(model.back(model.latent(x)) - x).max())


def denoiser_errors(truth: Ring, mean: Callable, points: Points, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean squares (3, levels): learned mean to exact mean; exact mean to x; posterior mean given the training points.

    The last is what the regression would learn if nothing kept it from learning the training points by heart.
    """
    schedule = bd.geometric(LEVELS, *NOISE)
    rows = np.empty((3, LEVELS))
    few = x[:512]
    for k in range(1, LEVELS + 1):
        sigma = schedule.sigma[k]
        o = bd.diffuse(x, 1.0, sigma, rng)
        exact = truth.mean(o, sigma)
        gap = ((o[: len(few), None] - points.x) ** 2).sum(-1) / (-2 * sigma**2)
        share = np.exp(gap - gap.max(axis=1, keepdims=True))
        heart = share @ points.x / share.sum(axis=1, keepdims=True)
        rows[:, k - 1] = (
            ((mean(o, sigma) - exact) ** 2).mean(),
            ((exact - x) ** 2).mean(),
            ((heart - exact[: len(few)]) ** 2).mean(),
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    quick = {"points": 512, "replicates": 2, "steps": dict.fromkeys(STEPS, 300), "exact_samples": 20}
    command_line("families", study, quick, "few points and steps: a minute, to see that it runs", argv)


if __name__ == "__main__":
    main()
