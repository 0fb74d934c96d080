"""Draws, modes and evidence of a posterior in which one chain would get stuck.

scout       blur widely, invert by the mode                    -> modes and their curvature
mixture     a Gaussian at each, and wide Student t's           -> q, which can be drawn and evaluated
temper      exchange states along q^(1 - b) p^b, b = 0..1      -> draws of p, their weights right; its evidence
again       fit q to these draws, and temper from the new q, until two rounds and all chains agree
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike

from bayesdiff.calls import Call, check_executor, long_call, stream, told
from bayesdiff.checks import Seed, positive_int, real_array
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.fingerprints import digest, of_prior
from bayesdiff.invert.chunks import threads
from bayesdiff.labels import Labels, describe
from bayesdiff.multimodal.honesty import (
    agree,
    agreement,
    evidence,
    measured,
    settled,
    shares_of,
    width,
)
from bayesdiff.multimodal.mixtures import Fit, Mixture, Spread, fit, mixture, wides
from bayesdiff.multimodal.scout import Basins, Found, look_again, scout
from bayesdiff.multimodal.tempering import (
    BLOCK,
    FIRST_STEP,
    FIRST_WIDE,
    Block,
    Ladder,
    Steps,
    begin,
    equalised,
    rejections,
    sweeps,
)
from bayesdiff.results import dataset
from bayesdiff.step import batch_of
from bayesdiff.verdict import LIMITS, of_tempering

RUNGS = 8
MOST_RUNGS = 32
# Pairs that reject more often than this want more rungs between them.
STEEP = 0.6
# How fast steps are learnt, at first.
LEARNING = 0.15
# Blocks of sweeps: of the pilot rounds, in which all rungs but the first are at p; to place the rungs; and of the
# rounds of tempering, each to fit the next mixture to. These end when states come from q as often as this, in a sweep,
# and the last two agree, or when so many evaluations are spent.
PILOT = (1, 2)
PLACE = 4
COLLECT = (4, 8, *[16] * 12)
OFTEN = 0.2
EXPLORE = 600_000
# Then, with everything fixed, sweeps that are kept: to a draw as many as bring so many states from q, of several modes
# or of one (which moves can reach without), and not more than so many evaluations in all, or two sweeps to a draw.
ARRIVALS = 4.0
ARRIVALS_AT_ONE = 1.5
MOST_THIN = 16
PRODUCE = 650_000
LAST_PLACE = 2
# Again from a mixture fitted to these, until chains agree and so many of the draws are effective; at most so often, and
# as long as so many evaluations are not spent.
AGAIN = 3
WANTED = 0.1
MOST_EVALUATIONS = 2_000_000
# Components of a mixture: one at each mode, and in few dimensions more for what is not Gaussian; and the numbers in
# their matrices, which are what a move costs.
MORE = ((4, 24), (20, 12))
MOST_COMPONENTS = 128
MATRIX_NUMBERS = 2**19
# What the group `modes` holds beside the model's variables: names that none of these may have, and no dimension.
OUR_NAMES = ("weight", "weight_se", "chains_found", "on_edge")
OUR_DIMS = ("lp", "starts", *OUR_NAMES)


def sample(
    model: pm.Model | CompiledPrior | None = None,
    *,
    draws: int = 1000,
    chains: int = 4,
    initvals: Mapping[str, ArrayLike] | None = None,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    """Draw from a posterior, all its modes in their right weights, and compute its evidence.

    p_b(x) ∝ q(x)^(1 - b) p(x)^b,   0 = b_0 < ... < b_T = 1,   log Z = log integral of p(x) dx

    p is the model's joint density of its free variables, with its data, on unconstrained coordinates. q is a mixture,
    one Gaussian at each mode found and more where they help, and wide ones with heavy tails. States are exchanged
    along the path between them, and q is fitted again to what they saw of p, until two rounds agree and all chains do.

    Parameters
    ----------
    model : pm.Model or CompiledPrior, optional
        Any model with continuous free variables, 1 to some 100 numbers; the one of the ``with`` block, unless given.
    draws, chains : int
        Draws of each chain. Chains start for themselves: more of them see more disagreement. At least two, or nothing
        can be compared.
    initvals : mapping of str to array_like, optional
        Places where to look, beside those found: a value for every free variable, of its shape and in its own units
        (tau > 0), or with one leading axis more, several.
    random_seed : int, Generator or None
        The source of randomness: same machine, same numbers, whatever the number of cores.
    progressbar : bool
        Whether to show one, if it takes more than half a second.
    store : path, optional
        Where the result is saved (``.zarr`` or ``.nc``). Chains that are finished are kept beside it, and the same call
        again does not draw them again; it gives the same numbers as a call that was not stopped.
    executor : concurrent.futures.Executor, optional
        Who moves the chains, each for itself: a pool's processes (not forked ones), or a Dask client's,
        ``client.get_executor()``. The numbers do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw): the variables, constrained, with Deterministics; ``unconstrained_posterior``.
        ``sample_stats``: ``lp``, ``acceptance_rate`` and, where there are modes, ``mode``: at whose Gaussian a draw is.
        ``log_evidence``: ``log_evidence`` and ``log_evidence_se`` (NaN where chains contradict each other, or the
        posterior is probably improper), ``by_chain`` with ``by_chain_se``, and by stepping stones ``upwards`` and
        ``downwards``. ``modes`` (mode), heaviest first: the variables there, ``lp``, ``weight`` with ``weight_se``: the
        share of the mode's basin, from which one climbs to it, of all sweeps; ``starts`` that ended there,
        ``chains_found`` whose starts did. A kink is a mode, as that of a Laplace density. ``on_edge``: no maximum, but
        next to p = 0, and no move improves it; its weight is NaN where climbs end all along an edge. No mode where log
        p has no maximum, as that of a funnel. ``mixture``
        (component): weights, means and covariances of q's Gaussians, unconstrained, for `gaussian_mixture`.
        ``tempering`` (rung): ``beta``, ``rejection`` of exchanges with the next, ``pareto_k``, ``acceptance``,
        ``step_size``; by chain ``arrivals``, states that came all the way from q; ``evaluations`` of log p with its
        gradient, the search included; ``sweeps_per_draw``. ``diagnostics``: R-hat and effective draws of the
        unconstrained numbers. ``verdict``: whether draws, weights (by mode) and evidence are to be trusted; its
        attribute ``sentence`` says it all in words. ``observed_data``, ``constant_data``, ``prior`` and
        ``unconstrained_prior`` where the model has them.

    Raises
    ------
    TypeError
        If there is no model, or it has discrete free variables; if an argument is of the wrong kind.
    ValueError
        If the model has no free variables; if log p is finite at no start; `draws` or `chains` below 1; `initvals` that
        are not complete, not of the right shape, or outside the support; a `store` of another call; an `executor` whose
        workers are forks.

    Warns
    -----
    UserWarning
        Once, in words: a single chain; chains that disagree in draws, weights or evidence (fewer than 100 draws in all
        are not judged); modes that one chain's starts alone found; too few arrivals; a heavy tail of the importance
        weights; two rounds that differ; a spread that grows and grows (probably an improper posterior); a density that
        is not a number at many points.

    Notes
    -----
    The draws are exact asymptotically: each chain leaves p as it is once q, rungs and steps are fixed, which they are
    before the first draw that is kept. What no start and no state ever reached is not in the weights, and no
    diagnostic can tell. A density that cannot be drawn from (`density`, ``pm.Flat``) is searched from its initial point
    and from `initvals` alone, with noise of all scales around them: a mode that is narrow and far from both stays
    unseen, in one dimension as in many. log_evidence is that of the density as the model writes it: with a Potential or
    a `density` known up to a constant, up to that constant.

    References
    ----------
    Syed, Bouchard-Côté, Deligiannidis, Doucet (2022), Non-reversible parallel tempering, algorithms 1 and 2, for the
    exchanges and the rungs. Surjanovic, Syed, Bouchard-Côté, Campbell (2022), Parallel tempering with a variational
    reference, section 3, for fitting q to the last round. Meng, Wong (1996), Simulating ratios of normalizing
    constants, equation 2.2, for the evidence.

    Examples
    --------
    Two modes, 2/3 and 1/3, 36 sd apart in 16 dimensions:

    >>> import numpy as np
    >>> import bayesdiff as bd
    >>> model = bd.gaussian_mixture([2 / 3, 1 / 3], [-np.ones(16), np.ones(16)], 0.05)
    >>> run = bd.sample(model, draws=500, random_seed=1, progressbar=False)
    >>> run["modes"]["weight"].values.round(1).tolist()
    [0.7, 0.3]
    >>> abs(float(run["log_evidence"]["log_evidence"])) < 0.1
    True
    """
    for name, value in (("draws", draws), ("chains", chains)):
        positive_int(value, name)
    check_executor(executor)
    prior = compile_prior(_model(model))
    _check_names(prior)
    given = _given(prior, initvals)
    asked = partial(_asked, prior, draws, chains, given)
    # Chains know nothing of one another: without an executor each has a core of its own.
    with (
        threads(min(chains, os.cpu_count() or 1)) as pool,
        long_call(
            "sample", asked, random_seed, store, executor or pool, progressbar, total=chains * draws, units="chains"
        ) as call,
    ):
        if call.finished is not None:
            return call.finished
        return _sampled(_Run(prior, call, draws, chains), given)


def _sampled(run: _Run, given: np.ndarray) -> xr.DataTree:
    """Scout, explore, produce, and look again."""
    prior, call = run.prior, run.call
    found = scout(prior, given, run.chains, call.rng("scout"))
    run = run.sized(found)
    q, ladders, gaussians = _explore(run, found)
    several = len(found.x) != 1
    produced = _produce(run, q, ladders, several, 0)
    for number in range(1, AGAIN + 1):
        if _good(run, found, produced):
            break
        gaussians, q = _refitted(run, q, gaussians, produced.seen, call.rng("refit", number))
        ladders = _restarted(run, q, ladders, produced.seen, produced.betas, call.rng("restart", number))
        ladders, _ = _placed(run, q, ladders, LAST_PLACE, "place", number)
        produced = _produce(run, q, ladders, several, number)
    found, basins = look_again(prior, found, produced.x, call.rng("look again"))
    run.spent.append(found.evaluations)
    return _result(run, found, basins, q, produced)


# ---------------------------------------------------------------------------------------------------------------- call


@dataclass(frozen=True)
class _Run:
    """A call of `sample`, checked, and what it has spent and seen so far."""

    prior: CompiledPrior
    call: Call
    draws: int
    chains: int
    components: int = 4
    spent: list[float] = field(default_factory=list)
    spreads: list[np.ndarray] = field(default_factory=list)
    evidences: list[tuple[float, float]] = field(default_factory=list)

    @property
    def evaluations(self) -> float:
        """Of log p with its gradient, so far."""
        return sum(self.spent)

    @property
    def gaussians(self) -> int:
        """The most Gaussians that a mixture may have."""
        return self.components - wides(self.prior.n)

    def sized(self, found: Found) -> _Run:
        """With room for a component at every mode, and for some more where they are cheap."""
        n = self.prior.n
        self.spent.append(found.evaluations)
        more = next((count for most_n, count in MORE if n <= most_n), 1)
        most = min(MOST_COMPONENTS, max(4, MATRIX_NUMBERS // n**2))
        # By fours: few sizes, few compilations.
        return replace(self, components=min(-(-(len(found.x) + more + wides(n)) // 4) * 4, most))


def _model(model: pm.Model | CompiledPrior | None) -> pm.Model | CompiledPrior:
    if isinstance(model, pm.Model | CompiledPrior):
        return model
    if model is not None:
        raise TypeError(f"model is {type(model).__name__}; write a pm.Model, or leave it out inside `with model:`")
    try:
        return pm.modelcontext(None)
    except TypeError as error:
        raise TypeError("there is no model; write sample(model), or call it inside `with model:`") from error


def _check_names(prior: CompiledPrior) -> None:
    model = prior.model
    dims = [name for name in OUR_DIMS if name in model.coords or name in model.dim_lengths]
    names = [name for name in OUR_NAMES if name in prior.readable_names]
    for what, taken in (("dimension", dims), ("variable", names)):
        if taken:
            raise ValueError(f"the model has a {what} {taken[0]!r}, which the result needs; give it another name")


def _given(prior: CompiledPrior, initvals: Mapping[str, ArrayLike] | None) -> np.ndarray:
    """The user's starts, unconstrained (starts, n)."""
    if initvals is None:
        return np.empty((0, prior.n))
    if not isinstance(initvals, Mapping):
        raise TypeError(f"initvals is {type(initvals).__name__}; write a mapping, initvals={{'x': ...}}")
    names = list(prior.layout.names)
    unknown = sorted(set(initvals) - set(names), key=str)
    missing = [name for name in names if name not in initvals]
    if unknown or missing:
        raise ValueError(
            "initvals has "
            + " and ".join([f"unknown names {unknown}"] * bool(unknown) + [f"no {missing}"] * bool(missing))
            + f"; write a value for every free variable, {names}"
        )
    shapes = {name: values.shape[1:] for name, values in prior.constrain(np.zeros((1, prior.n))).items()}
    batch = {}
    for name in names:
        values = real_array(initvals[name], f"initvals[{name!r}]")
        values = values[None] if values.shape == shapes[name] else values
        if values.shape[1:] != shapes[name] or not len(values):
            raise ValueError(
                f"initvals[{name!r}] has shape {values.shape}; write {shapes[name]}, or {batch_of(shapes[name])} for "
                "several starts"
            )
        batch[name] = values
    count = max(map(len, batch.values()))
    for name, values in batch.items():
        if len(values) not in (1, count):
            raise ValueError(f"initvals[{name!r}] has {len(values)} starts and others have {count}; give each as many")
        batch[name] = np.repeat(values, count // len(values), axis=0)
    starts, same = prior.given_back(batch)
    inside = same.all(axis=1)
    if not inside.all():
        raise ValueError(
            f"initvals number {int(np.flatnonzero(~inside)[0])} lies outside the support of the free variables, or on "
            "its edge; write values inside"
        )
    return starts


def _asked(prior: CompiledPrior, draws: int, chains: int, given: np.ndarray) -> dict[str, Any]:
    """What tells calls apart."""
    return {
        "prior": told(of_prior, prior),
        "variables": dict(zip(prior.layout.names, map(list, prior.layout.shapes), strict=True)),
        "draws": draws,
        "chains": chains,
        "initvals": digest(given),
    }


# --------------------------------------------------------------------------------------------------------- exploration


@dataclass(frozen=True)
class _Chain:
    """One chain between blocks: its ladder, what its moves have learnt, and its rungs."""

    ladder: Ladder
    steps: Steps
    betas: np.ndarray


class _Task(NamedTuple):
    """Some blocks of sweeps of one chain: so many are kept, with how much is learnt, for a purpose of its own."""

    q: Mixture
    chain: _Chain
    blocks: int
    learning: float
    purpose: tuple[Any, ...]
    kept: int | None = None

    def __len__(self) -> int:
        return self.blocks


def _advanced(prior: CompiledPrior, seed: int, task: _Task) -> tuple[_Chain, Block]:
    """Make some blocks of sweeps of one chain; return it and what was seen, all sweeps together."""
    ladder, steps, seen = task.chain.ladder, task.chain.steps, []
    sweep, data, betas = prior.kernel(sweeps), prior.data, task.chain.betas
    for number in range(task.blocks):
        key = jax.random.key(int(stream(seed, *task.purpose, number).integers(2**31)))
        learning = task.learning / np.sqrt(1 + number)
        ladder, steps, block = sweep(data, task.q, ladder, betas, steps, learning, key)
        seen.append(jax.tree.map(np.asarray, block))
    together = Block(*(np.concatenate(parts)[: task.kept] for parts in zip(*seen, strict=True)))
    return _Chain(jax.tree.map(np.asarray, ladder), jax.tree.map(np.asarray, steps), betas), together


def _drawn(prior: CompiledPrior, seed: int, task: _Task) -> Block:
    """The same, of a chain that nobody goes on with."""
    return _advanced(prior, seed, task)[1]


def _all(
    run: _Run, q: Mixture, chains: list[_Chain], blocks: int, learning: float, purpose: str, *numbers: int
) -> tuple[list[_Chain], list[Block]]:
    """Advance all chains."""
    tasks = [_Task(q, chain, blocks, learning, (purpose, *numbers, c)) for c, chain in enumerate(chains)]
    done = run.call.spread(_advanced, (run.prior, run.call.seed), tasks)
    run.spent.append(sum(float(seen.evaluations.sum()) for _, seen in done))
    return [chain for chain, _ in done], [seen for _, seen in done]


def _explore(run: _Run, found: Found) -> tuple[Mixture, list[_Chain], Fit]:
    """Find a mixture that is near p, and rungs between the two."""
    gaussians = Fit(*(values[: run.gaussians] for values in found.gaussians()))
    gaussians = gaussians._replace(weights=gaussians.weights / max(gaussians.weights.sum(), 1e-300))
    q = mixture(gaussians, _spread_at_first(found), run.components)
    flat = np.concatenate([[0.0], np.ones(RUNGS - 1)])
    steps = Steps(np.full(RUNGS, np.log(FIRST_STEP / max(1.0, run.prior.n / 16) ** 0.25)), _component_steps(q))
    x = [_at_first(run, found, c) for c in range(run.chains)]
    chains = [_Chain(run.prior.kernel(begin)(run.prior.data, q, one), steps, flat) for one in x]
    for number, blocks in enumerate(PILOT):
        chains, seen = _all(run, q, chains, blocks, LEARNING, "pilot", number)
        gaussians, q = _refitted(run, q, gaussians, seen, run.call.rng("pilot refit", number))
        chains = _restarted(run, q, chains, seen, flat, run.call.rng("pilot restart", number))
    betas = np.linspace(0, 1, RUNGS) ** 2  # q is wide of p at first, so that D varies most near it
    for number, blocks in enumerate(COLLECT):
        chains = _restarted(run, q, chains, seen, betas, run.call.rng("collect restart", number))
        chains, rejected = _placed(run, q, chains, PLACE, "collect place", number)
        while rejected.mean() > STEEP and len(chains[0].betas) < MOST_RUNGS:
            rungs = 2 * len(chains[0].betas)
            more = np.interp(np.linspace(0, 1, rungs), np.linspace(0, 1, rungs // 2), chains[0].betas)
            chains = _restarted(run, q, chains, seen, more, run.call.rng("more rungs", number, rungs))
            chains, rejected = _placed(run, q, chains, PLACE, "place more rungs", number, rungs)
        betas = chains[0].betas
        chains, seen = _all(run, q, chains, blocks, LEARNING, "collect", number)
        run.spreads.append(width([block.x for block in seen]))
        run.evidences.append(evidence(betas, [block.gain for block in seen]))
        gaussians, q = _refitted(run, q, gaussians, seen, run.call.rng("collect refit", number))
        often = np.mean([block.trips.mean() for block in seen]) > OFTEN
        if (number and often and settled(run.evidences, run.spreads)) or run.evaluations > EXPLORE:
            break
    chains = _restarted(run, q, chains, seen, betas, run.call.rng("last restart"))
    chains, _ = _placed(run, q, chains, LAST_PLACE, "last place")
    return q, chains, gaussians


def _at_first(run: _Run, found: Found, chain: int) -> np.ndarray:
    """Where the rungs of one chain begin (RUNGS, n): half at modes that its starts found, half where p is not small."""
    rng = run.call.rng("at first", chain)
    places = found.places[chain]
    order = np.argsort(-np.nan_to_num(run.prior.logp(places), nan=-np.inf))
    x = places[order[rng.integers(len(places) // 2 + 1, size=RUNGS)]]
    own = np.flatnonzero(found.by[:, chain])
    if len(own):
        which = rng.choice(own, size=len(x[::2]))
        x[::2] = [rng.multivariate_normal(found.x[k], found.covariance[k], method="eigh") for k in which]
    return x


def _spread_at_first(found: Found) -> Spread:
    """Where x may be, for all that is known before anything was drawn: wider rather than narrower."""
    both = np.concatenate([found.x, found.places.reshape(-1, found.places.shape[-1])])
    low, middle, high = np.quantile(both, [0.25, 0.5, 0.75], axis=0)
    covariance = np.diag(np.maximum(((high - low) / 1.35) ** 2, 1e-12))
    if len(found.x):
        gap = found.x - found.x.mean(axis=0)
        covariance = covariance + found.covariance.mean(axis=0) + gap.T @ gap / len(gap)
    return Spread(middle, covariance)


def _component_steps(q: Mixture) -> np.ndarray:
    return np.where(q.heavy, np.log(FIRST_WIDE), 0.0)


def _restarted(
    run: _Run, q: Mixture, chains: list[_Chain], seen: list[Block], betas: np.ndarray, rng: np.random.Generator
) -> list[_Chain]:
    """The chains on other rungs or from another mixture, their states drawn of what each saw last."""
    fresh = []
    for chain, block in zip(chains, seen, strict=True):
        half = block.x[len(block.x) // 2 :]
        ladder = run.prior.kernel(begin)(run.prior.data, q, half[rng.integers(len(half), size=len(betas))])
        run.spent.append(float(len(betas)))
        rung = chain.steps.rung
        steps = Steps(np.interp(np.linspace(0, 1, len(betas)), np.linspace(0, 1, len(rung)), rung), _component_steps(q))
        fresh.append(_Chain(jax.tree.map(np.asarray, ladder), steps, betas))
    return fresh


def _placed(
    run: _Run, q: Mixture, chains: list[_Chain], rounds: int, purpose: str, *numbers: int
) -> tuple[list[_Chain], np.ndarray]:
    """Place the rungs anew after every block, the same for all chains; return how often each pair rejected last."""
    rejected = np.ones(1)
    for number in range(rounds):
        chains, seen = _all(run, q, chains, 1, LEARNING, purpose, *numbers, number)
        betas = chains[0].betas
        rejected = rejections(betas, np.concatenate([block.gain for block in seen]))
        chains = [replace(chain, betas=equalised(betas, rejected)) for chain in chains]
    return chains, rejected


def _refitted(run: _Run, q: Mixture, before: Fit, seen: list[Block], rng: np.random.Generator) -> tuple[Fit, Mixture]:
    """The mixture fitted to what the chains saw of p."""
    n = run.prior.n
    # Without a quarter, to forget where they began.
    x = [block.x[len(block.x) // 4 :] for block in seen]
    lp = [block.lp[len(block.lp) // 4 :] for block in seen]
    # States that have not yet found their way would make all wide.
    least = np.quantile(np.concatenate(lp), 0.9) - 30 - 3 * n
    x = [
        one[np.isfinite(height) & (height > least) & np.isfinite(one).all(axis=1)]
        for one, height in zip(x, lp, strict=True)
    ]
    x = x if len(x) > 1 else np.array_split(x[0], 4)
    kept_x, held = np.concatenate(x[:-1]), x[-1]
    if not len(held) or not len(kept_x):
        kept_x = held = np.concatenate(x)
    if not len(held):
        return before, q
    if not len(before.weights):
        both = np.concatenate([kept_x, held])
        covariance = np.cov(both.T, ddof=0).reshape(1, n, n) + 1e-12 * np.eye(n)
        before = Fit(np.ones(1), both.mean(axis=0)[None], covariance)
    new = fit(kept_x, held, before, run.gaussians, rng)
    # Half of what the draws say, half equal: a round that saw too little of a mode must not lose it.
    weights = 0.5 * new.weights + 0.5 / len(new.weights)
    wider = 1 + min(0.2, np.sqrt(0.8 / n))  # costs .2 nats, and leaves no narrow tail
    centre = new.weights @ new.means
    gap = new.means - centre
    covariance = np.einsum("k,kij->ij", new.weights, new.covariances) + (gap.T * new.weights) @ gap
    return new, mixture(Fit(weights, new.means, wider * new.covariances), Spread(centre, covariance), run.components)


# ---------------------------------------------------------------------------------------------------------- production


@dataclass(frozen=True)
class _Produced:
    """What the chains gave with everything fixed: all of their sweeps, the rungs, the steps, and sweeps to a draw."""

    seen: list[Block]
    betas: np.ndarray
    steps: np.ndarray
    thin: int
    draws: int

    @property
    def every(self) -> slice:
        """The sweeps that are kept as draws."""
        return slice(self.thin - 1, self.draws * self.thin, self.thin)

    @property
    def gains(self) -> list[np.ndarray]:
        return [block.gain for block in self.seen]

    @property
    def x(self) -> np.ndarray:
        """(chains, sweeps, n)."""
        return np.stack([block.x for block in self.seen])


def _produce(run: _Run, q: Mixture, chains: list[_Chain], several: bool, number: int) -> _Produced:
    # A few sweeps with nothing learnt any more, to see how often states arrive from q.
    chains, seen = _all(run, q, chains, 1, 0.0, "rate", number)
    rate = float(np.mean([block.trips.mean() for block in seen]))
    cost = run.draws * run.chains * float(np.mean([block.evaluations.mean() for block in seen]))
    arrivals = ARRIVALS if several else ARRIVALS_AT_ONE
    thin = int(np.clip(np.ceil(arrivals / max(rate, 1e-3)), 2, np.clip(PRODUCE / cost, 2, MOST_THIN)))
    total = max(run.draws * thin, BLOCK)  # a block at least, for something to be judged by
    blocks = -(-total // BLOCK)

    tasks = [_Task(q, chain, blocks, 0.0, ("produce", number, c), total) for c, chain in enumerate(chains)]
    rows = {0: lambda task: run.draws}.get(number, lambda task: 0)  # what is drawn again was shown as drawn before
    about = run.prior, run.call.seed
    found = dict(run.call.each(_drawn, about, tasks, rows=rows, name=f"{number}-", made=Block))
    produced = [found[c] for c in range(run.chains)]
    run.spent.append(sum(float(block.evaluations.sum()) for block in produced))
    run.spreads.append(width([block.x for block in produced]))
    run.evidences.append(evidence(chains[0].betas, [block.gain for block in produced]))
    return _Produced(
        produced, chains[0].betas, np.stack([np.exp(chain.steps.rung) for chain in chains]), thin, run.draws
    )


def _good(run: _Run, found: Found, produced: _Produced) -> bool:
    """Whether another round, fitted to this one, would gain nothing, or would cost too much."""
    cost = sum(float(block.evaluations.sum()) for block in produced.seen)
    if run.evaluations + cost > MOST_EVALUATIONS:
        return True
    _, r_hat, ess = _agreement(produced, shares_of(found, produced.x))
    wanted = WANTED * run.draws * run.chains
    return settled(run.evidences, run.spreads) and agree(produced.betas, produced.gains, r_hat, ess, wanted)


def _agreement(produced: _Produced, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The modes that have weight, and R-hat and effective draws of the coordinates and of these modes' indicators."""
    x = produced.x[:, produced.every]
    heavy = np.flatnonzero(np.bincount(labels.ravel()) > LIMITS.of_weight * labels.size)
    heavy = heavy if len(heavy) > 1 else heavy[:0]
    at = (labels[:, produced.every, None] == heavy).astype(float)
    return heavy, *agreement(np.concatenate([x, at], axis=-1))


# -------------------------------------------------------------------------------------------------------------- result


def _result(run: _Run, found: Found, basins: Basins, q: Mixture, produced: _Produced) -> xr.DataTree:
    prior, n = run.prior, run.prior.n
    label = Labels(prior, batched=False)
    labels = shares_of(found, produced.x)
    found, labels, shares = _by_weight(found, labels, basins)
    climbed = basins.mode[basins.mode > -2]
    nowhere = (climbed < 0).mean() if climbed.size else 0.0
    if nowhere > LIMITS.unseen:
        shares[:, found.on_edge] = np.nan
    heavy, r_hat, ess = _agreement(produced, labels)
    proposals = sum(block.acceptance.size for block in produced.seen)
    told = measured(produced.betas, produced.gains, run.evidences, run.spreads)
    arrivals = np.array([block.trips.sum() for block in produced.seen])
    verdict = of_tempering(
        chains=run.chains,
        draws=run.draws,
        finite=bool(np.isfinite(produced.x[:, produced.every]).all()),
        r_hat=r_hat,
        ess=ess,
        names=[*prior.layout.labels, *[f"the share of mode {k}" for k in heavy]],
        weights=np.bincount(labels.ravel(), minlength=len(found.x))[: len(found.x)] / labels.size,
        found_by=found.by,
        on_edge=found.on_edge,
        unseen=found.unseen,
        nowhere=nowhere,
        arrivals=arrivals,
        invalid=sum(float(block.invalid.sum()) for block in produced.seen) / proposals,
        pareto_k=told.pareto_k,
        by_chain=told.by_chain,
        by_chain_se=told.by_chain_se,
        contradicts=told.contradicts,
        drift=told.drift,
        grew=told.grew,
    )
    stats = {
        "lp": np.stack([block.lp[produced.every] for block in produced.seen]),
        "acceptance_rate": np.stack([block.acceptance[produced.every, 1:].mean(axis=1) for block in produced.seen]),
    } | ({"mode": labels[:, produced.every]} if len(found.x) else {})
    evidences = {
        name: getattr(told, name)
        for name in ("log_evidence", "log_evidence_se", "by_chain", "by_chain_se", "upwards", "downwards")
    }
    groups = {
        **label.states(produced.x[None, :, produced.every]),
        "sample_stats": label.stats({name: values[None] for name, values in stats.items()}),
        "log_evidence": dataset(evidences, dims={name: ["chain"] for name in evidences if not name.startswith("log")}),
        "modes": _mode_group(label, found, shares, heavy, ess[n:]),
        "mixture": _mixture_group(label, q),
        "tempering": _ladder_group(run, produced, told.pareto_k, arrivals),
        "verdict": verdict,
        "diagnostics": label.diagnostics(r_hat[None, :n], ess[None, :n]),
        **label.data(),
        **label.prior(run.call.rng("prior")),
    }
    return run.call.done(groups, describe(prior, "sample") | {"draws": run.draws, "chains": run.chains})


def _by_weight(found: Found, labels: np.ndarray, basins: Basins) -> tuple[Found, np.ndarray, np.ndarray]:
    """The modes that draws belong to, heaviest first; labels with their new numbers; shares of the basins (2, modes).

    At whose Gaussian a draw is, is known of all sweeps; in whose basin, of those that were climbed from. Of each label
    these say how it is shared out among basins, and so the shares of the labels become those of the basins: with no
    error of its own where modes are far apart. What climbs to no mode is in no basin. Shares and what that adds to
    their variance.
    """
    m = len(found.x)
    if not m:
        return found, labels, np.empty((2, 0))
    share = np.bincount(labels.ravel(), minlength=m) / labels.size
    own = np.take_along_axis(labels, basins.sweep, axis=1)
    climbed = basins.mode > -2
    table = np.zeros((m, m + 1))  # the last column: no mode
    np.add.at(table, (own[climbed], basins.mode[climbed]), 1.0)
    looks = table.sum(axis=1, keepdims=True)
    table = np.where(looks > 0, table / np.maximum(looks, 1), np.eye(m, m + 1))[:, :m]
    weight = share @ table
    added = (share[:, None] ** 2 * table * (1 - table) / np.maximum(looks, 1)).sum(axis=0)
    order = np.argsort(-weight, kind="stable")
    order = order[(weight[order] > 0) | (share[order] > 0)]
    new = np.zeros(m, int)
    new[order] = np.arange(len(order))
    return found.only(order), new[labels], np.stack([weight[order], added[order]])


def _mode_group(label: Labels, found: Found, shares: np.ndarray, heavy: np.ndarray, ess: np.ndarray) -> xr.Dataset:
    m = len(found.x)
    weight, added = shares
    # Of modes too light for an effective size of their own: as if one draw in a hundred were one.
    effective = np.full(m, 0.01 * np.nanmax(ess, initial=100.0))
    effective[heavy] = np.nan_to_num(ess, nan=1.0)
    se = np.sqrt(weight * (1 - weight) / np.maximum(effective, 1) + added)
    values, dims = label.modes(found.x[None])
    values |= {
        "lp": found.lp,
        "weight": weight,
        "weight_se": se,
        "starts": found.by.sum(axis=1),
        "chains_found": (found.by > 0).sum(axis=1),
        "on_edge": found.on_edge,
    }
    dims |= {name: ["mode"] for name in ("lp", "weight", "weight_se", "starts", "chains_found", "on_edge")}
    return dataset(values, dims=dims, coords=label.coords)


def _mixture_group(label: Labels, q: Mixture) -> xr.Dataset:
    """The Gaussians of q, as `gaussian_mixture` takes them."""
    coordinates = label.compiled.layout.labels
    share = np.exp(q.log_weight[q.real])
    values = {"weight": share / share.sum(), "mean": q.mean[q.real], "covariance": q.covariance[q.real]}
    dims = {
        "weight": ["component"],
        "mean": ["component", "coordinate"],
        "covariance": ["component", "coordinate", "coordinate_"],
    }
    return dataset(values, dims=dims, coords={"coordinate": coordinates, "coordinate_": coordinates})


def _ladder_group(run: _Run, produced: _Produced, pareto_k: np.ndarray, arrivals: np.ndarray) -> xr.Dataset:
    rungs = {
        "beta": produced.betas,
        "rejection": np.append(rejections(produced.betas, np.concatenate(produced.gains)), np.nan),
        "pareto_k": np.append(pareto_k, np.nan),
        "acceptance": np.mean([block.acceptance.mean(axis=0) for block in produced.seen], axis=0),
        "step_size": produced.steps.mean(axis=0),
    }
    values = rungs | {
        "arrivals": arrivals,
        "evaluations": run.evaluations,
        "sweeps_per_draw": produced.thin,
    }
    return dataset(values, dims={name: ["rung"] for name in rungs} | {"arrivals": ["chain"]})
