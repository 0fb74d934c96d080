"""The rounds of a tempered run: explore until q is near p, then produce, with everything fixed.

Each function takes where the run stands and gives where it stands afterwards: nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesdiff.calls import Call, stream
from bayesdiff.compiled import CompiledPrior
from bayesdiff.multimodal.honesty import FAR, History, Measured, agreement, measured, settled, shares_of
from bayesdiff.multimodal.mixtures import Fit, Mixture, Spread, fit, frame_for, mixture, straight, with_all
from bayesdiff.multimodal.scout import Scouted
from bayesdiff.multimodal.tempering import StepSizes, Sweeps, Walker, begin, equalised, make_sweeps, rejections
from bayesdiff.multimodal.tuning import Fitting, Moving, Tempering
from bayesdiff.verdict import LIMITS


@dataclass(frozen=True)
class Setup:
    """A call of `sample`, checked: what does not change as it goes on.

    ``modes``: the Gaussians at those that were found, none where others were not. ``components``: places in a mixture.
    """

    prior: CompiledPrior
    call: Call
    draws: int
    chains: int
    tempering: Tempering
    modes: Fit
    components: int

    @property
    def about(self) -> tuple[CompiledPrior, Moving, int]:
        """What the sweeps of all chains have in common."""
        return self.prior, self.tempering.moving, self.call.seed


class Standing(NamedTuple):
    """Where a run stands.

    ``q``, and the Gaussians that were fitted to make it; ``betas`` (rungs,); the chains; what rounds have seen so far,
    and evaluations spent.
    """

    q: Mixture
    gaussians: Fit
    betas: np.ndarray
    walkers: list[Walker]
    history: History
    evaluations: float

    def spending(self, evaluations: float) -> Standing:
        """The same, with so many evaluations more spent."""
        return self._replace(evaluations=self.evaluations + evaluations)


def modes_of(found: Scouted) -> Fit:
    """The Gaussians at the modes; none where many were not seen, which a mixture of the others would hide."""
    gaussians = found.gaussians()
    return Fit(*(values[:0] for values in gaussians)) if found.unseen > LIMITS.unseen else gaussians


def components_for(found: Scouted, fitting: Fitting) -> int:
    """Places in a mixture: for a component at every mode, and for some more where they are cheap."""
    modes, n = found.x.shape
    more = next((count for most_n, count in fitting.more if n <= most_n), 1)
    most = min(fitting.most_components, max(4, fitting.matrix_numbers // n**2))
    # By fours: few sizes, few compilations.
    return min(-(-(modes + more + fitting.wides(n)) // 4) * 4, most)


# -------------------------------------------------------------------------------------------------------------- sweeps


class _Stretch(NamedTuple):
    """Some chunks of sweeps of one chain: so many are kept, with how much is learnt, for a purpose of its own."""

    q: Mixture
    betas: np.ndarray
    walker: Walker
    chunks: int
    learning: float
    purpose: tuple[Any, ...]
    kept: int | None = None


def _advanced(prior: CompiledPrior, moving: Moving, seed: int, stretch: _Stretch) -> tuple[Walker, Sweeps]:
    """Make some chunks of sweeps of one chain; return it and what was seen, all sweeps together."""
    walker, chunks = stretch.walker, []
    sweep = prior.kernel(make_sweeps, moving)
    for number in range(stretch.chunks):
        key = jax.random.key(int(stream(seed, *stretch.purpose, number).integers(2**31)))
        learning = stretch.learning / np.sqrt(1 + number)
        walker, chunk = sweep(prior.data, stretch.q, stretch.betas, walker, learning, key)
        chunks.append(jax.tree.map(np.asarray, chunk))
    together = Sweeps(*(np.concatenate(values)[: stretch.kept] for values in zip(*chunks, strict=True)))
    return jax.tree.map(np.asarray, walker), together


def _drawn(prior: CompiledPrior, moving: Moving, seed: int, stretch: _Stretch) -> Sweeps:
    """The same, of a chain that nobody goes on with."""
    return _advanced(prior, moving, seed, stretch)[1]


def _swept(
    run: Setup, at: Standing, chunks: int, learning: float, purpose: str, *numbers: int
) -> tuple[Standing, Sweeps]:
    """Advance all chains; what they saw."""
    stretches = [
        _Stretch(at.q, at.betas, walker, chunks, learning, (purpose, *numbers, c))
        for c, walker in enumerate(at.walkers)
    ]
    walkers, each = zip(*run.call.spread(_advanced, run.about, stretches), strict=True)
    seen = _together(each)
    return at.spending(float(seen.evaluations.sum()))._replace(walkers=list(walkers)), seen


def _together(each: Iterable[Sweeps]) -> Sweeps:
    """The sweeps of all chains (chains, sweeps, ...)."""
    return Sweeps(*map(np.stack, zip(*each, strict=True)))


# --------------------------------------------------------------------------------------------------------- exploration


def explored(run: Setup, found: Scouted) -> Standing:
    """Find a mixture that is near p, and rungs between the two."""
    how, rng = run.tempering, run.call.rng
    at = _begun(run, found)
    for number, chunks in enumerate(how.pilot):
        at, seen = _swept(run, at, chunks, how.moving.learning, "pilot", number)
        at = refitted(run, at, seen, rng("pilot refit", number))
        at = restarted(run, at, seen, at.betas, rng("pilot restart", number))
    betas = np.linspace(0, 1, how.rungs) ** 2  # q is wide of p at first, so that D varies most near it
    for number, chunks in enumerate(how.collect):
        at = restarted(run, at, seen, betas, rng("collect restart", number))
        at, rejected = placed(run, at, how.place, "collect place", number)
        while rejected.mean() > how.steep and len(at.betas) < how.most_rungs:
            rungs = 2 * len(at.betas)
            more = np.interp(np.linspace(0, 1, rungs), np.linspace(0, 1, rungs // 2), at.betas)
            at = restarted(run, at, seen, more, rng("more rungs", number, rungs))
            at, rejected = placed(run, at, how.place, "place more rungs", number, rungs)
        betas = at.betas
        at, seen = _swept(run, at, chunks, how.moving.learning, "collect", number)
        at = at._replace(history=at.history.and_round(at.betas, seen, how.agreeing))
        at = refitted(run, at, seen, rng("collect refit", number))
        often = seen.trips.mean() > how.often
        # What differs by less than a large error may still be on its way, as along a curve.
        sure = at.history.evidences[-1][1] < how.agreeing.negligible
        if (number and often and sure and settled(at.history, how.agreeing)) or at.evaluations > how.explore:
            break
    at = restarted(run, at, seen, betas, rng("last restart"))
    return placed(run, at, how.last_place, "last place")[0]


def _begun(run: Setup, found: Scouted) -> Standing:
    """From the Gaussians at the modes, with all rungs but the first at p."""
    rungs, fitting, moving = run.tempering.rungs, run.tempering.fitting, run.tempering.moving
    spread = _spread_at_first(found)
    gaussians = Fit(*(values[: run.components - fitting.wides(run.prior.n)] for values in run.modes))
    gaussians = gaussians._replace(weights=gaussians.weights / max(gaussians.weights.sum(), 1e-300))
    if len(found.x) > len(run.modes.weights):
        gaussians = Fit(np.ones(1), spread.centre[None], spread.covariance[None])
    q = mixture(gaussians, spread, run.components, fitting)
    first = np.log(moving.first_step / max(1.0, run.prior.n / 16) ** 0.25)
    sizes = StepSizes(np.full(rungs, first), _component_sizes(q, moving))
    x = [_at_first(run, found, c) for c in range(run.chains)]
    walkers = [Walker(run.prior.kernel(begin)(run.prior.data, q, one), sizes) for one in x]
    return Standing(q, gaussians, np.minimum(np.arange(rungs), 1.0), walkers, History(), found.evaluations)


def _at_first(run: Setup, found: Scouted, chain: int) -> np.ndarray:
    """Where the rungs of one chain begin (rungs, n).

    Half at modes that its starts found, a quarter where p is not small, and a quarter where the model's author or the
    noise of the search put them: mass may lie where p is small, around what is narrow.
    """
    rng = run.call.rng("at first", chain)
    places = found.places[chain]
    order = np.argsort(-np.nan_to_num(run.prior.logp(places), nan=-np.inf))
    x = places[order[rng.integers(len(places) // 2 + 1, size=run.tempering.rungs)]]
    x[1::4] = found.wide[rng.integers(len(found.wide), size=len(x[1::4]))]
    own = np.flatnonzero(found.by[:, chain])
    if len(own):
        which = rng.choice(own, size=len(x[::2]))
        x[::2] = [rng.multivariate_normal(found.x[k], found.covariance[k], method="eigh") for k in which]
    return x


def _spread_at_first(found: Scouted) -> Spread:
    """Where x may be, for all that is known before anything was drawn: wider rather than narrower."""
    both = np.concatenate([found.x, found.places.reshape(-1, found.places.shape[-1])])
    low, middle, high = np.quantile(both, [0.25, 0.5, 0.75], axis=0)
    covariance = np.diag(np.maximum(((high - low) / 1.35) ** 2, 1e-12))
    if len(found.x):
        gap = found.x - found.x.mean(axis=0)
        covariance = covariance + found.covariance.mean(axis=0) + gap.T @ gap / len(gap)
    return Spread(middle, covariance)


def _component_sizes(q: Mixture, moving: Moving) -> np.ndarray:
    return np.where(q.wide, np.log(moving.first_wide), 0.0)


def restarted(run: Setup, at: Standing, seen: Sweeps, betas: np.ndarray, rng: np.random.Generator) -> Standing:
    """On other rungs or from another mixture, the chains' states drawn of what each saw last."""
    walkers, component = [], _component_sizes(at.q, run.tempering.moving)
    for walker, half in zip(at.walkers, seen.x[:, seen.x.shape[1] // 2 :], strict=True):
        x = at.q.frame.unbent(half[rng.integers(len(half), size=len(betas))])
        ladder = run.prior.kernel(begin)(run.prior.data, at.q, x)
        rung = walker.sizes.rung
        rung = np.interp(np.linspace(0, 1, len(betas)), np.linspace(0, 1, len(rung)), rung)
        walkers.append(Walker(jax.tree.map(np.asarray, ladder), StepSizes(rung, component)))
    return at.spending(float(len(walkers) * len(betas)))._replace(betas=betas, walkers=walkers)


def placed(run: Setup, at: Standing, rounds: int, purpose: str, *numbers: int) -> tuple[Standing, np.ndarray]:
    """With the rungs where all pairs reject equally often; how often they did at last."""
    rejected = np.ones(1)
    for number in range(rounds):
        at, seen = _swept(run, at, 1, run.tempering.moving.learning, purpose, *numbers, number)
        rejected = rejections(at.betas, np.concatenate(seen.gain))
        at = at._replace(betas=equalised(at.betas, rejected))
    return at, rejected


def refitted(run: Setup, at: Standing, seen: Sweeps, rng: np.random.Generator) -> Standing:
    """With the mixture fitted to what the chains saw of p."""
    n, before, fitting = run.prior.n, at.gaussians, run.tempering.fitting
    # Without a quarter, to forget where they began.
    late = slice(seen.lp.shape[1] // 4, None)
    # States that have not yet found their way would make all wide.
    least = np.quantile(np.concatenate(seen.lp[:, late]), 0.9) - 30 - 10 * n
    x = [
        one[np.isfinite(height) & (height > least) & (np.abs(one) < FAR).all(axis=1)]
        for one, height in zip(seen.x[:, late], seen.lp[:, late], strict=True)
    ]
    if not any(map(len, x)):
        return at
    frame = frame_for(np.concatenate(x), fitting)
    x = [frame.unbent(one) for one in (x if len(x) > 1 else np.array_split(x[0], 4))]
    before = at.q.frame.moved(before, frame)
    kept, held = np.concatenate(x[:-1]), x[-1]
    if not len(held) or not len(kept):
        kept = held = np.concatenate(x)
    if not len(before.weights):
        both = np.concatenate([kept, held])
        covariance = np.cov(both.T, ddof=0).reshape(1, n, n) + 1e-12 * np.eye(n)
        before = Fit(np.ones(1), both.mean(axis=0)[None], covariance)
    room = run.components - fitting.wides(n)
    new = fit(kept, held, before, room, rng, fitting)
    new = with_all(new, straight(n).moved(run.modes, frame), room)
    # Half of what the draws say, half equal: a round that saw too little of a mode must not lose it.
    weights = 0.5 * new.weights + 0.5 / len(new.weights)
    wider = 1 + min(0.2, np.sqrt(0.8 / n))  # costs .2 nats, and leaves no narrow tail
    centre = new.weights @ new.means
    gap = new.means - centre
    covariance = np.einsum("k,kij->ij", new.weights, new.covariances) + (gap.T * new.weights) @ gap
    widened = Fit(weights, new.means, wider * new.covariances)
    q = mixture(widened, Spread(centre, covariance), run.components, fitting, frame)
    return at._replace(q=q, gaussians=new)


# ---------------------------------------------------------------------------------------------------------- production


@dataclass(frozen=True)
class Produced:
    """What the chains gave with everything fixed: all of their sweeps, sweeps to a draw, and what they say."""

    seen: Sweeps
    thin: int
    draws: int
    measured: Measured

    @property
    def every(self) -> slice:
        """The sweeps that are kept as draws."""
        return slice(self.thin - 1, self.draws * self.thin, self.thin)

    def agreement(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The modes that have weight; R-hat and effective draws of the coordinates and of these modes' indicators."""
        heavy = np.flatnonzero(np.bincount(labels.ravel()) > LIMITS.of_weight * labels.size)
        heavy = heavy if len(heavy) > 1 else heavy[:0]
        at = (labels[:, self.every, None] == heavy).astype(float)
        return heavy, *agreement(np.concatenate([self.seen.x[:, self.every], at], axis=-1))


def produced(run: Setup, at: Standing, several: bool, number: int) -> tuple[Standing, Produced]:
    """Draw, a round of it kept by the call."""
    how, call = run.tempering, run.call
    # A few sweeps with nothing learnt any more, to see how often states arrive from q.
    at, seen = _swept(run, at, 1, 0.0, "rate", number)
    cost = run.draws * run.chains * float(seen.evaluations.mean())
    arrivals = how.arrivals if several else how.arrivals_at_one
    thin = int(
        np.clip(
            np.ceil(arrivals / max(float(seen.trips.mean()), 1e-3)), 2, np.clip(how.produce / cost, 2, how.most_thin)
        )
    )
    total = max(run.draws * thin, how.moving.chunk)  # a chunk at least, for something to be judged by
    stretches = [
        _Stretch(at.q, at.betas, walker, -(-total // how.moving.chunk), 0.0, ("produce", number, c), total)
        for c, walker in enumerate(at.walkers)
    ]

    def rows(_: _Stretch) -> int:
        return 0 if number else run.draws  # what is drawn again was shown as drawn before

    made = dict(call.each(_drawn, run.about, stretches, rows=rows, name=f"{number}-", made=Sweeps))
    seen = _together(made[c] for c in range(run.chains))
    history = at.history.and_round(at.betas, seen, how.agreeing)
    told = measured(at.betas, seen.gain, history, how.agreeing)
    at = at.spending(float(seen.evaluations.sum()))._replace(history=history)
    return at, Produced(seen, thin, run.draws, told)


def good(run: Setup, found: Scouted, at: Standing, kept: Produced) -> bool:
    """Whether another round, fitted to this one, would gain nothing, or would cost too much."""
    how, told = run.tempering, kept.measured
    if at.evaluations + float(kept.seen.evaluations.sum()) > how.most_evaluations:
        return True
    _, r_hat, ess = kept.agreement(shares_of(found, kept.seen.x, how.agreeing))
    return bool(
        told.drift is None
        and not told.contradicts
        and (np.nan_to_num(r_hat, nan=1.0) < how.agreeing.good_r_hat).all()
        and (np.nan_to_num(ess, nan=np.inf) > how.wanted * run.draws * run.chains).all()
        and np.nanmax(told.pareto_k, initial=-np.inf) <= LIMITS.pareto_k
    )
