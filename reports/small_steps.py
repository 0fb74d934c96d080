"""Why small steps: the run behind `small_steps.qmd`.

    python reports/small_steps.py --out reports/small_steps.zarr

Every prior is diffused to a wide last level, exactly, and brought back by chains of K = 1, 2, 4, ..., 128 steps, in
both forms, with every inverter. How far the x that come back are from p0 is measured in units of the distance of two
exact samples. Beside it, in closed form: how far the posterior of a step is from a Gaussian.

All mixtures here have components w_j N(m_j, v_j I), so diffused by (alpha, sigma) they are
w_j N(alpha m_j, (alpha^2 v_j + sigma^2) I), and p(x | o) is such a mixture again, with shares that depend on o.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from numpy.polynomial.hermite_e import hermegauss
from pymc.distributions.shape_utils import rv_size_is_none
from scipy.special import i0e, i1e, logsumexp

if not __package__:  # run as a file: the root of the repository is where its packages are
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bayesdiff as bd
from bayesdiff.results import dataset, tree
from bayesdiff.step import LEVEL, SCHEDULE
from models import rings
from reports.scores import floor, mode_shares, sliced_w2, total_variation, wasserstein_1
from reports.study import command_line, made_on

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
DRAW_STEPS = (1, 2, 4, 16, 64)
SAMPLED_STEPS = (1, 4, 16)
MOST_OF_TEN = 32  # in ten dimensions: more would cost more than all else together
LIMIT_STEPS = (256, 512, 1024)
FORMS = ("clean", "next level")
INVERTERS = ("draw", "mode", "laplace", "mean", "mean and variance", "sampled mean")
DISTANCES = ("sliced W2", "W1", "mode shares")
SIZE = 512  # points that one distance compares
REPEATS = 2
FLOOR_PAIRS = 1000
AGAINST = 8  # exact samples that each result is compared with
SAMPLED_MEAN = {"draws": 50, "tune": 50, "chains": 4}
SEED = 20240711
NEARLY_GAUSSIAN = 0.05  # nats


# ------------------------------------------------------------------------------------------------------- closed forms


@dataclass(frozen=True, eq=False)
class Mixture:
    """sum_j weights[j] N(means[j], variances[j] I): shapes (m,), (m, n), (m,).

    Of a batch the shapes are (batch, m), (batch, m, n), (m,).
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @property
    def n(self) -> int:
        return self.means.shape[-1]


def mixture(weights, means, variances) -> Mixture:
    """A Mixture of (m,), (m, n) or (m,), and () or (m,)."""
    w = np.asarray(weights, float)
    return Mixture(
        w, np.asarray(means, float).reshape(len(w), -1), np.broadcast_to(np.asarray(variances, float), w.shape)
    )


def diffused(mix: Mixture, alpha: float, sigma: float) -> Mixture:
    """p(o) of o = alpha x + sigma e."""
    return Mixture(mix.weights, alpha * mix.means, alpha**2 * mix.variances + sigma**2)


def posterior(mix: Mixture, o: np.ndarray, alpha: float, sigma: float) -> Mixture:
    """p(x | o) for a batch of o (batch, n)."""
    total = alpha**2 * mix.variances + sigma**2
    gap = o[:, None, :] - alpha * mix.means
    log_joint = np.log(mix.weights) - 0.5 * (gap**2).sum(-1) / total - 0.5 * mix.n * np.log(total)
    shares = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    means = mix.means + (alpha * mix.variances / total)[:, None] * gap
    return Mixture(shares, means, mix.variances * sigma**2 / total)


def moments(mix: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Mean (batch, n) and covariance (batch, n, n) of a batch of mixtures."""
    mean = np.einsum("bj,bjn->bn", mix.weights, mix.means)
    gap = mix.means - mean[:, None, :]
    covariance = np.einsum("bj,bjn,bjk->bnk", mix.weights, gap, gap)
    return mean, covariance + (mix.weights @ mix.variances)[:, None, None] * np.eye(mix.n)


def mixture_draws(mix: Mixture, size: int, rng: np.random.Generator) -> np.ndarray:
    """Exact draws (size, n)."""
    j = rng.choice(len(mix.weights), size=size, p=mix.weights)
    return mix.means[j] + np.sqrt(mix.variances[j])[:, None] * rng.normal(size=(size, mix.n))


def not_gaussian(
    mix: Mixture, rng: np.random.Generator | None = None, draws: int = 64, nodes: int = 48
) -> tuple[np.ndarray, np.ndarray]:
    """How far each of a batch of mixtures p is from the Gaussian g of its mean and covariance.

    Negentropy E_p[log p - log g], in nats, and total variation E_p[max(0, 1 - g / p)], each (batch,). On the line by
    Gauss-Hermite quadrature component by component; in space by `draws` draws of each p, so with noise.
    """
    mean, covariance = moments(mix)
    batch, m = mix.weights.shape
    sd = np.sqrt(mix.variances)
    if mix.n == 1:
        node, weight = hermegauss(nodes)
        x = (mix.means + (sd[:, None] * node)[None]).reshape(batch, m * nodes, 1)
        share = (mix.weights[:, :, None] * weight / weight.sum()).reshape(batch, m * nodes)
    else:
        assert rng is not None
        u = rng.random((batch, draws, 1))
        j = (u > np.cumsum(mix.weights, axis=1)[:, None, :-1]).sum(-1)
        x = np.take_along_axis(mix.means, j[:, :, None], axis=1) + sd[j][:, :, None] * rng.normal(
            size=(batch, draws, mix.n)
        )
        share = np.full((batch, draws), 1 / draws)
    half = 0.5 * mix.n * np.log(2 * np.pi)
    log_p = np.full(x.shape[:2], -np.inf)
    with np.errstate(divide="ignore"):  # a share that underflows
        log_shares = np.log(mix.weights)
    for j in range(m):
        square = ((x - mix.means[:, None, j]) ** 2).sum(-1) / mix.variances[j]
        log_p = np.logaddexp(
            log_p, log_shares[:, None, j] - 0.5 * square - 0.5 * mix.n * np.log(mix.variances[j]) - half
        )
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, np.swapaxes(x - mean[:, None, :], 1, 2))
    log_det = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(-1)
    log_g = -0.5 * (white**2).sum(1) - log_det[:, None] - half
    log_r = log_g - log_p
    negentropy = -(share * log_r).sum(1)
    if mix.n > 1:
        # E_p[r] = 1, so r - 1 may be added. Near 0 that takes the noise away: what is left is (r - 1)^2 / 2. Far from a
        # Gaussian it brings noise, as r is large where p has no draws.
        near = negentropy < NEARLY_GAUSSIAN
        negentropy = np.where(near, (share * (np.expm1(np.minimum(log_r, 50)) - log_r)).sum(1), negentropy)
    # Only where p is above g: there it is bounded, and p's draws lie there.
    variation = (share * -np.expm1(np.minimum(log_r, 0))).sum(1)
    return negentropy, variation


def step_posterior(mix: Mixture, schedule: bd.Schedule, level: int, form: str, o: np.ndarray) -> Mixture:
    """What has to be inverted at a level: p(x | o_k), or p(o_{k-1} | o_k)."""
    if form == "clean":
        return posterior(mix, o, schedule.alpha[level], schedule.sigma[level])
    return posterior(diffused(mix, schedule.alpha[level - 1], schedule.sigma[level - 1]), o, *schedule.step(level))


def gaussianity(
    mix: Mixture, schedule: bd.Schedule, form: str, rng: np.random.Generator, observations: int = 256
) -> dict[str, np.ndarray]:
    """Mean of `not_gaussian` over o_k ~ p_k, for k = 1..K, with the standard error of the negentropy.

    On the line the mean over o_k is a sum over a grid, and has no error.
    """
    rows = []
    for level in range(1, schedule.levels + 1):
        p_k = diffused(mix, schedule.alpha[level], schedule.sigma[level])
        if mix.n == 1:
            sd = np.sqrt(p_k.variances.max())
            grid = np.linspace(p_k.means.min() - 6 * sd, p_k.means.max() + 6 * sd, 1201)
            density = (p_k.weights * np.exp(-0.5 * (grid[:, None] - p_k.means[:, 0]) ** 2 / p_k.variances)) @ (
                p_k.variances**-0.5
            )
            o, weight = grid[:, None], density / density.sum()
        else:
            o, weight = mixture_draws(p_k, observations, rng), np.full(observations, 1 / observations)
        negentropy, variation = not_gaussian(step_posterior(mix, schedule, level, form, o), rng)
        error = 0.0 if mix.n == 1 else negentropy.std() / np.sqrt(observations)
        rows.append((weight @ negentropy, weight @ variation, error))
    negentropy, variation, error = np.array(rows).T
    return {"negentropy": negentropy, "variation": variation, "negentropy_se": error}


def chain_sd(schedule: bd.Schedule, form: str, variance: float = 1.0) -> float:
    """Standard deviation of the x that a chain of means, or of modes, returns for x ~ N(0, variance); exact.

    All steps are linear in o_k, and o_K ~ N(0, alpha_K^2 variance + sigma_K^2).
    """
    alpha, sigma = schedule.alpha, schedule.sigma
    v = alpha[-1] ** 2 * variance + sigma[-1] ** 2
    for k in range(schedule.levels, 0, -1):
        a, s = schedule.step(k)
        if form == "next level":
            below = alpha[k - 1] ** 2 * variance + sigma[k - 1] ** 2
            v *= (a * below / (a**2 * below + s**2)) ** 2
        else:
            slope = alpha[k] * variance / (alpha[k] ** 2 * variance + sigma[k] ** 2)
            b = a * sigma[k - 1] ** 2 / sigma[k] ** 2
            v = (alpha[k - 1] * slope + b * (1 - alpha[k] * slope)) ** 2 * v + (sigma[k - 1] * s / sigma[k]) ** 2
    return float(np.sqrt(v))


# ------------------------------------------------------------------------------------------------------------- priors


def level_prior(mix: Mixture, most_levels: int) -> pm.Model:
    """The mixture as a level prior whose schedule can be changed, so that it is compiled once for all K.

    `bd.gaussian_mixture` with a schedule has the same density, and is compiled anew for each. Here the noise of each
    level is data: a table with room for `most_levels` levels, that `set_schedule` fills.
    """
    log_weights, cumulative = np.log(mix.weights), np.cumsum(mix.weights)[:-1]

    def logp(x, alpha, sigma):
        variance = alpha**2 * mix.variances + sigma**2
        square = pt.sum((x - alpha * mix.means) ** 2, axis=1)
        terms = log_weights - 0.5 * square / variance - 0.5 * mix.n * pt.log(2 * np.pi * variance)
        top = pt.max(terms)
        return top + pt.log(pt.sum(pt.exp(terms - top)))

    def draw(alpha, sigma, size):
        batch = () if rv_size_is_none(size) else tuple(size)
        j = pt.sum(pt.as_tensor(pm.Uniform.dist(0, 1, shape=batch))[..., None] > cumulative, axis=-1)
        sd = pt.sqrt(alpha**2 * mix.variances + sigma**2)[j]
        return alpha * pt.as_tensor(mix.means)[j] + sd[..., None] * pm.Normal.dist(shape=(*batch, mix.n))

    heaviest = mix.means[np.argmax(mix.weights)]
    with pm.Model() as model:
        for name, values in zip(SCHEDULE, ([1.0, 1.0], [0.0, 1.0]), strict=True):
            pm.Data(name, np.array(values))
        noise = pm.Data("noise", np.zeros((most_levels + 1, 2)))
        now = noise[pt.cast(pm.Data(LEVEL, 0.0), "int64")]
        pm.CustomDist(
            "x",
            now[0],
            now[1],
            dist=draw,
            logp=logp,
            support_point=lambda rv, size, *noise: pt.as_tensor(heaviest),
            ndim_supp=1,
            class_name="DiffusedMixture",
        )
    set_schedule(model, bd.one_step(1.0))
    return model


def set_schedule(model: pm.Model, schedule: bd.Schedule) -> None:
    """Make a `level_prior` one for this schedule."""
    table = np.tile([1.0, 0.0], (len(model["noise"].get_value()), 1))
    table[: schedule.levels + 1] = np.stack([schedule.alpha, schedule.sigma], axis=1)
    pm.set_data(dict(zip(SCHEDULE, (schedule.alpha, schedule.sigma), strict=True)) | {"noise": table}, model=model)


@dataclass(frozen=True, eq=False)
class Prior:
    """A prior of the study: what it is, exact draws, the shares of its modes, and its range of noise."""

    name: str
    title: str
    mix: Mixture | None
    sigma: tuple[float, float]

    @property
    def n(self) -> int:
        return 2 if self.mix is None else self.mix.n

    def draws(self, size: int, rng: np.random.Generator) -> np.ndarray:
        return ring_draws(size, rng) if self.mix is None else mixture_draws(self.mix, size, rng)

    def shares(self, x: np.ndarray) -> np.ndarray:
        """Share of the points at each mode: at the nearest mean, or ring."""
        if self.mix is None:
            return mode_shares(np.linalg.norm(x, axis=1)[:, None], rings.RADII[:, None])
        return mode_shares(x, self.mix.means)

    def distances(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The distances of two samples (3,): sliced W2, W1 (mean over the coordinates), shares of modes."""
        return np.array([sliced_w2(x, y), wasserstein_1(x, y).mean(), total_variation(self.shares(x), self.shares(y))])

    def schedule(self, steps: int) -> bd.Schedule:
        return bd.geometric(steps, *self.sigma)

    @property
    def forms(self) -> tuple[str, ...]:
        return FORMS[:1] if self.mix is None else FORMS

    @property
    def exact_mean(self) -> Callable:
        return ring_mean if self.mix is None else partial(mixture_mean, self.mix)


def priors() -> list[Prior]:
    """The six priors of the study."""
    angle = np.arange(8) * np.pi / 4
    circle = 10 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    square = 2.0 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    # 3 standard deviations from each other: neighbours overlap.
    corners = 3 / np.sqrt(2) * np.eye(4, 10)
    return [
        Prior("gaussian", "Gaussian", mixture([1.0], [0.0], 1.0), (0.1, 10.0)),
        Prior("two", "two modes, .7 and .3", mixture([0.7, 0.3], [-2.0, 2.0], 0.25), (0.1, 20.0)),
        Prior("four", "four modes in the plane", mixture([0.4, 0.3, 0.2, 0.1], square, 0.25), (0.1, 20.0)),
        Prior("eight", "eight modes in the plane", mixture(np.full(8, 1 / 8), circle, 0.7), (0.1, 40.0)),
        Prior("rings", "two rings", None, (0.05, 30.0)),
        Prior("ten", "ten dimensions, four modes", mixture([0.4, 0.3, 0.2, 0.1], corners, 1.0), (0.1, 15.0)),
    ]


def _ring_radii(step: float) -> tuple[np.ndarray, np.ndarray]:
    """A grid of radii, and the prior's mass at each: |x| times the density at |x|."""
    r = np.arange(step / 2, rings.RADII[-1] + 10 * rings.WIDTH, step)
    return r, r * np.exp(-0.5 * ((r[:, None] - rings.RADII) / rings.WIDTH) ** 2).sum(axis=1)


def ring_draws(size: int, rng: np.random.Generator) -> np.ndarray:
    """Exact draws of the rings: the radius by its distribution function on a fine grid, the angle uniform."""
    r, mass = _ring_radii(1e-3)
    radius = np.interp(rng.random(size), np.cumsum(mass) / mass.sum(), r + 5e-4)
    angle = rng.uniform(0, 2 * np.pi, size)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


# ---------------------------------------------------------------------------------------------------------- inverters


def mixture_mean(mix: Mixture, prior, o: np.ndarray, alpha: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of p(x | o), exactly; `prior` says the level."""
    at = diffused(mix, prior.schedule.alpha[prior.level], prior.schedule.sigma[prior.level])
    return moments(posterior(at, o, alpha, sigma))


def ring_mean(prior, o: np.ndarray, alpha: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of p(x | o) for the rings, by a sum over radii; the angle is integrated exactly.

    Given the radius r the angle to o has the density exp(z cos) up to a constant, z = alpha r |o| / sigma^2, so its
    cosine has mean A = I1(z) / I0(z) and mean square 1 - A / z.
    """
    r, mass = _ring_radii(min(1e-2, sigma / 4))
    distance = np.linalg.norm(o, axis=1)
    direction = o / np.maximum(distance, 1e-300)[:, None]
    mean, covariance = np.empty_like(o), np.empty((*o.shape, 2))
    for rows in np.array_split(np.arange(len(o)), max(1, len(o) * len(r) // 2**20)):
        d, unit = distance[rows, None], direction[rows]
        z = np.maximum(alpha * r * d / sigma**2, 1e-6)
        log_weight = np.log(mass + 1e-300) - 0.5 * (d - alpha * r) ** 2 / sigma**2 + np.log(i0e(z))
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        cosine = i1e(z) / i0e(z)
        along = (weight * r * cosine).sum(1)
        square = (weight * r**2 * (1 - cosine / z)).sum(1)
        across = (weight * r**2).sum(1) - square
        mean[rows] = along[:, None] * unit
        side = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
        covariance[rows] = (square - along**2)[:, None, None] * unit[:, :, None] * unit[:, None, :]
        covariance[rows] += across[:, None, None] * side[:, :, None] * side[:, None, :]
    return mean, covariance


def exact_mean(moments_of, prior, o, alpha=1.0, sigma=1.0, *, start=None, random_seed=None):
    """The inverter x = E[x | o], without the noise that an average of draws has."""
    return moments_of(prior, o, alpha, sigma)[0], {}


def gaussian_draw(moments_of, prior, o, alpha=1.0, sigma=1.0, *, start=None, random_seed=None):
    """The inverter x ~ N(E[x | o], Cov[x | o]): the mean with its variance."""
    mean, covariance = moments_of(prior, o, alpha, sigma)
    values, vectors = np.linalg.eigh(covariance)
    noise = np.sqrt(np.maximum(values, 0)) * np.random.default_rng(random_seed).normal(size=mean.shape)
    return mean + np.einsum("bij,bj->bi", vectors, noise), {}


def inverter(name: str, prior: Prior, sampled: Mapping[str, int] = SAMPLED_MEAN) -> Callable:
    """The inverter of that name; `sampled` are the options of a sampled mean."""
    return {
        "draw": bd.draw,
        "mode": bd.mode,
        "laplace": bd.laplace,
        "mean": partial(exact_mean, prior.exact_mean),
        "mean and variance": partial(gaussian_draw, prior.exact_mean),
        "sampled mean": partial(bd.mean, **sampled),
    }[name]


def plan(prior: Prior, steps: Sequence[int], inverters: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """What is run for a prior: (K, form, inverter)."""
    for k in steps:
        for form in prior.forms:
            for name in inverters:
                if (name == "draw" and k not in DRAW_STEPS) or (prior.name == "ten" and k > MOST_OF_TEN):
                    continue
                # It costs some 20 times a draw: enough to show that it is the exact one.
                if name == "sampled mean" and (prior.name not in ("two", "four") or k not in SAMPLED_STEPS):
                    continue
                yield k, form, name


# ---------------------------------------------------------------------------------------------------------------- run


def run_prior(
    prior: Prior,
    steps: Sequence[int],
    size: int,
    repeats: int,
    pairs: int,
    seed: int,
    inverters: Sequence[str] = INVERTERS,
    sampled: Mapping[str, int] = SAMPLED_MEAN,
    say: Callable[[str], None] = print,
) -> tuple[xr.Dataset, xr.Dataset]:
    """All chains of one prior: their scores with the floor, and the x of the first repeat of each.

    ``score`` and ``floor``: distances. ``evaluations`` of log densities for each x; by level in
    ``level_evaluations``. ``agreed``: share of an inverter's climbs that end at the best mode, by level. ``noise`` of a
    sampled mean, in units of the posterior's sd. ``lineages_p_value``: the least of all levels.
    """
    rng = np.random.default_rng([seed, *prior.name.encode()])
    model = rings.prior() if prior.mix is None else level_prior(prior.mix, max(steps))
    compiled = bd.compile_prior(model)
    where = (len(FORMS), len(INVERTERS), len(steps))
    score = np.full((*where, repeats, len(DISTANCES)), np.nan)
    x = np.full((*where, size, prior.n), np.nan, np.float32)
    total = {name: np.full(where, np.nan) for name in ("evaluations", "noise", "lineages_p_value", "lost", "seconds")}
    by_level = {name: np.full((*where, max(steps)), np.nan) for name in ("level_evaluations", "agreed")}
    warned = []
    for k, form, name in plan(prior, steps, inverters):
        schedule = prior.schedule(k)
        if prior.mix is not None:
            set_schedule(model, schedule)
        at = FORMS.index(form), INVERTERS.index(name), list(steps).index(k)
        o = bd.diffuse(prior.draws(size * repeats, rng), schedule.alpha[-1], schedule.sigma[-1], rng)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            # One chain for each repeat: the samples that are scored.
            run = bd.reverse(
                compiled,
                schedule,
                inverter(name, prior, sampled),
                draws=size,
                chains=repeats,
                o=o,
                next_level=form == "next level",
                random_seed=int(rng.integers(2**31)),
                progressbar=False,
            )
        warned += [f"{prior.name}, {form}, {name}, K = {k}: {w.message}" for w in caught]
        got = run["unconstrained_posterior"]["x"].values
        x[at] = got[0]
        for i, sample in enumerate(got):
            score[(*at, i)] = np.mean([prior.distances(sample, prior.draws(size, rng)) for _ in range(AGAINST)], axis=0)
        stats = run["level_stats"].to_dataset()
        if "evaluations" in stats:  # the closed forms have none
            total["evaluations"][at] = run["sample_stats"]["evaluations"].mean()
            by_level["level_evaluations"][at][:k] = stats["evaluations"]
        if "starts_agreed" in stats:
            by_level["agreed"][at][:k] = stats["starts_agreed"] / stats["starts"]
        if "mcse" in stats:
            total["noise"][at] = (stats["mcse"].values / stats["sd"].values).mean()
        total["lineages_p_value"][at] = stats["lineages_p_value"].min()
        total["lost"][at] = stats["lost"].sum()
        total["seconds"][at] = run.attrs["sampling_time"]
        say(f"  {prior.name:9s} {form:10s} {name:18s} K = {k:3d}  {score[at].mean(0).round(3)}")
    labels = {
        "form": list(FORMS),
        "inverter": list(INVERTERS),
        "steps": list(steps),
        "distance": list(DISTANCES),
        "level": np.arange(1, max(steps) + 1),
    }
    axes = ["form", "inverter", "steps"]
    dims = {name: axes for name in total} | {name: [*axes, "level"] for name in by_level}
    dims |= {"score": [*axes, "repeat", "distance"], "floor": ["pair", "distance"]}
    ground = floor(prior.draws, prior.distances, size, pairs, seed)
    scores = dataset({"score": score, "floor": ground, **total, **by_level}, dims=dims, coords=labels)
    scores = scores.expand_dims(prior=[prior.name])
    exact = prior.draws(size, rng).astype(np.float32)
    samples = dataset(
        {"x": x, "exact": exact},
        dims={"x": [*axes, "point", "axis"], "exact": ["point", "axis"]},
        coords=labels,
        attrs={"title": prior.title, "sigma": list(prior.sigma), "warnings": warned},
    )
    return scores, samples


def run_gaussianity(prior: Prior, steps: Sequence[int], seed: int) -> xr.Dataset:
    """How Gaussian the posteriors of the steps are: by form, K and level; NaN above level K."""
    rng = np.random.default_rng([seed, 1])
    steps, names = tuple(steps), ("negentropy", "variation", "negentropy_se")
    values = {name: np.full((len(FORMS), len(steps), max(steps)), np.nan) for name in names}
    sigma = np.full((len(steps), max(steps)), np.nan)
    for i, k in enumerate(steps):
        schedule = prior.schedule(k)
        sigma[i, :k] = schedule.sigma[1:]
        for j, form in enumerate(FORMS):
            for name, got in gaussianity(prior.mix, schedule, form, rng).items():
                values[name][j, i, :k] = got
    dims = {name: ["form", "steps", "level"] for name in names} | {"sigma": ["steps", "level"]}
    labels = {"form": list(FORMS), "steps": list(steps), "level": np.arange(1, max(steps) + 1)}
    return dataset(values | {"sigma": sigma}, dims=dims, coords=labels, attrs={"title": prior.title})


def run_example(prior: Prior, steps: Sequence[int], near: float = 4.0, o: float = 1.0) -> xr.Dataset:
    """One posterior as a picture: for each K, at the level whose noise is nearest to `near`, given o_k = o.

    Densities on a grid, in units of the posterior's own sd around its mean.
    """
    z = np.linspace(-4, 4, 401)
    density = np.empty((len(FORMS), len(steps), len(z)))
    sd, noise = np.empty(density.shape[:2]), np.empty(len(steps))
    for i, k in enumerate(steps):
        schedule = prior.schedule(k)
        level = 1 + int(np.argmin(np.abs(np.log(schedule.sigma[1:] / near))))
        noise[i] = schedule.sigma[level]
        for j, form in enumerate(FORMS):
            p = step_posterior(prior.mix, schedule, level, form, np.array([[o]]))
            mean, variance = (float(value.squeeze()) for value in moments(p))
            sd[j, i] = np.sqrt(variance)
            x = mean + sd[j, i] * z
            normal = np.exp(-0.5 * (x[:, None] - p.means[0, :, 0]) ** 2 / p.variances) / np.sqrt(
                2 * np.pi * p.variances
            )
            density[j, i] = sd[j, i] * normal @ p.weights[0]
    dims = {"density": ["form", "steps", "z"], "sd": ["form", "steps"], "noise": ["steps"]}
    labels = {"form": list(FORMS), "steps": list(steps), "z": z}
    values = {"density": density, "sd": sd, "noise": noise}
    return dataset(values, dims=dims, coords=labels, attrs={"title": prior.title, "o": o})


def run_recursion(prior: Prior, most: int = 1024) -> xr.Dataset:
    """Exact sd of the chains of modes and means on the Gaussian."""
    steps = 2 ** np.arange(int(np.log2(most)) + 1)
    sd = [[chain_sd(prior.schedule(int(k)), form) for k in steps] for form in FORMS]
    return dataset({"sd": sd}, dims={"sd": ["form", "steps"]}, coords={"form": list(FORMS), "steps": steps})


def run_limit(prior: Prior, steps: Sequence[int], size: int, repeats: int, seed: int) -> xr.Dataset:
    """Scores of the chain of modes in clean form with very many steps: what it tends to."""
    rng = np.random.default_rng([seed, 2])
    compiled = bd.compile_prior(bd.gaussian_mixture(prior.mix.weights, prior.mix.means, prior.mix.variances))
    score = np.empty((len(steps), repeats, len(DISTANCES)))
    for i, k in enumerate(steps):
        schedule = prior.schedule(k)
        o = bd.diffuse(prior.draws(size * repeats, rng), schedule.alpha[-1], schedule.sigma[-1], rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # two lineages of modes may differ
            run = bd.reverse(
                compiled, schedule, bd.mode, draws=size, chains=repeats, o=o, random_seed=seed, progressbar=False
            )
        for j, x in enumerate(run["unconstrained_posterior"]["x"].values):
            score[i, j] = np.mean([prior.distances(x, prior.draws(size, rng)) for _ in range(AGAINST)], axis=0)
    dims = {"score": ["steps", "repeat", "distance"]}
    return dataset({"score": score}, dims=dims, coords={"steps": list(steps), "distance": list(DISTANCES)})


def study(
    out: str | Path | None = None,
    *,
    steps: Sequence[int] = STEPS,
    limit_steps: Sequence[int] = LIMIT_STEPS,
    size: int = SIZE,
    repeats: int = REPEATS,
    pairs: int = FLOOR_PAIRS,
    names: Sequence[str] | None = None,
    inverters: Sequence[str] = INVERTERS,
    seed: int = SEED,
    sampled: Mapping[str, int] = SAMPLED_MEAN,
    say: Callable[[str], None] = print,
) -> xr.DataTree:
    """Make the run; it is saved after each prior, so that a stopped run leaves what was finished."""
    begun = time.perf_counter()
    chosen = [prior for prior in priors() if names is None or prior.name in names]
    titles = [prior.title for prior in chosen]
    attrs = {
        "seed": seed,
        "size": size,
        "repeats": repeats,
        "pairs": pairs,
        "steps": list(steps),
        "against": AGAINST,
        "sampled_mean": dict(sampled),
    }
    groups: dict[str, xr.Dataset] = {}
    scores: list[xr.Dataset] = []

    def keep(finished: int) -> xr.DataTree:
        every = {"scores": xr.concat(scores, dim="prior").assign_coords(title=("prior", titles[: len(scores)]))}
        run = tree(every | groups, attrs | made_on(begun) | {"finished": finished})
        if out is not None:
            bd.save(run, out, overwrite=True)
        return run

    for prior in chosen:
        say(f"{prior.title}: posteriors  ({time.perf_counter() - begun:.0f} s)")
        if prior.mix is not None and len(prior.mix.weights) > 1:
            groups[f"gaussianity_{prior.name}"] = run_gaussianity(prior, steps, seed)
        if prior.name == "two":
            groups["example"] = run_example(prior, [k for k in steps if k in (1, 4, 16, 64)])
            groups["limit"] = run_limit(prior, limit_steps, size, repeats, seed)
        if prior.name == "gaussian":
            groups["recursion"] = run_recursion(prior)
        say(f"{prior.title}: chains  ({time.perf_counter() - begun:.0f} s)")
        score, samples = run_prior(prior, steps, size, repeats, pairs, seed, inverters, sampled, say)
        scores.append(score)
        if prior.n <= 2:  # what a picture can show
            groups[f"samples_{prior.name}"] = samples
        keep(0)
    return keep(1)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    quick = {"steps": (1, 2, 4), "limit_steps": (8,), "size": 128, "pairs": 100}
    says = "K up to 4, few points: a minute, to see that it runs"
    size = {"size": (SIZE, "points in each sample")}
    command_line("small_steps", study, quick, says, argv, arguments=size)


if __name__ == "__main__":
    main()
