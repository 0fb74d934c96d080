"""Draws, modes and evidence of a posterior in which one chain would get stuck.

scout       blur widely, invert by the mode                    -> modes and their curvature
mixture     one component at each, and wide Student t's        -> q, which can be drawn and evaluated
temper      exchange states along q^(1 - b) p^b, b = 0..1      -> draws of p, their weights right; its evidence
again       fit q to these draws, and temper from the new q, until two rounds and all chains agree
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike

from bayesdiff.calls import Call, check_executor, long_call, told
from bayesdiff.checks import Seed, positive_int, real_array
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.fingerprints import digest, of_prior
from bayesdiff.invert.chunks import threads
from bayesdiff.multimodal.outcome import result_of
from bayesdiff.multimodal.rounds import (
    Setup,
    components_for,
    explored,
    good,
    modes_of,
    placed,
    produced,
    refitted,
    restarted,
)
from bayesdiff.multimodal.scout import look_again, scout
from bayesdiff.multimodal.tuning import TEMPERING, Tempering
from bayesdiff.step import batch_of


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
    tempering: Tempering = TEMPERING,
) -> xr.DataTree:
    """Draw from a posterior, all its modes in their right weights, and compute its evidence.

    p_b(x) ∝ q(x)^(1 - b) p(x)^b,   0 = b_0 < ... < b_T = 1,   log Z = log integral of p(x) dx

    p is the model's joint density of its free variables, with its data, on unconstrained coordinates. q is a mixture,
    one component at each mode found and more where they help, and wide ones with heavy tails. States are exchanged
    along the path between them, and q is fitted again to what they saw of p, until two rounds agree and all chains do.
    Where there are more modes than can be found and kept, q begins as one wide Gaussian.

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
    tempering : Tempering
        What was tuned, for a study that varies it: see `bayesdiff.multimodal.tuning`.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw): the variables, constrained, with Deterministics; ``unconstrained_posterior``.
        ``sample_stats``: ``lp``, ``acceptance_rate`` and, where there are modes, ``mode``: at whose Gaussian a draw is.
        ``log_evidence``: ``log_evidence`` and ``log_evidence_se`` (NaN where the verdict withholds them), ``by_chain``
        with ``by_chain_se``, and by stepping stones ``upwards`` and ``downwards``. ``modes`` (mode), heaviest first:
        the variables there, ``lp``, ``weight`` with ``weight_se``: the share of the mode's basin, from which one climbs
        to it, of all sweeps; ``starts`` that ended there, ``chains_found`` whose starts did. A kink is a mode, as that
        of a Laplace density. ``on_edge``: no maximum, but next to p = 0, and no move improves it; its weight is NaN
        where climbs end all along an edge. No mode where log p has no maximum, as that of a funnel. ``mixture``
        (component): weights, means and covariances of q's components, unconstrained, for `gaussian_mixture`.
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
        are not judged); modes of weight that one start alone found; too few arrivals; a heavy tail of the importance
        weights by which the evidence differs; two rounds that differ; a spread that grows and grows (probably an
        improper posterior); a density that is not a number at many points.

    Notes
    -----
    Numbers with heavy tails are bent by an inverse hyperbolic sine before q is fitted, and in up to 6 dimensions q is
    made of many Student t's, for curves. The draws are exact asymptotically: each chain leaves p as it is once q, rungs
    and steps are fixed, which they are before the first draw that is kept. What no start and no state ever reached is
    not in the weights, and no diagnostic can tell. A density that cannot be drawn from (`density`, ``pm.Flat``) is
    searched from its initial point and from `initvals` alone, with noise of all scales around them: a mode that is
    narrow and far from both stays unseen, in one dimension as in many. log_evidence is that of the density as the model
    writes it: with a Potential or a `density` known up to a constant, up to that constant.

    References
    ----------
    Syed, Bouchard-Côté, Deligiannidis, Doucet (2022), Non-reversible parallel tempering, algorithms 1 and 2, for the
    exchanges and the rungs. Surjanovic, Syed, Bouchard-Côté, Campbell (2022), Parallel tempering with a variational
    reference, section 3, for fitting q to the last round. Meng, Wong (1996), Simulating ratios of normalizing
    constants, equation 2.2, for the evidence. Johnson, Geyer (2012), Variable transformation to obtain geometric
    ergodicity in the random-walk Metropolis algorithm, for heavy tails.

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
    if not isinstance(tempering, Tempering):
        raise TypeError(
            f"tempering is {type(tempering).__name__}; write dataclasses.replace(TEMPERING, ...), with that of "
            "bayesdiff.multimodal.tuning"
        )
    check_executor(executor)
    prior = compile_prior(_model(model))
    _check_names(prior)
    given = _given(prior, initvals)
    asked = partial(_asked, prior, draws, chains, given, tempering)
    # Chains know nothing of one another: without an executor each has a core of its own.
    with (
        threads(min(chains, os.cpu_count() or 1)) as pool,
        long_call(
            "sample", asked, random_seed, store, executor or pool, progressbar, total=chains * draws, units="chains"
        ) as call,
    ):
        if call.finished is not None:
            return call.finished
        return _sampled(prior, call, draws, chains, given, tempering)


def _sampled(
    prior: CompiledPrior, call: Call, draws: int, chains: int, given: np.ndarray, tempering: Tempering
) -> xr.DataTree:
    """Scout, explore, produce, and look again."""
    found = scout(prior, given, chains, call.rng("scout"), tempering.scouting)
    run = Setup(prior, call, draws, chains, tempering, modes_of(found), components_for(found, tempering.fitting))
    at = explored(run, found)
    several = len(found.x) != 1
    at, kept = produced(run, at, several, 0)
    for number in range(1, tempering.again + 1):
        if good(run, found, at, kept):
            break
        at = refitted(run, at, kept.seen, call.rng("refit", number))
        at = restarted(run, at, kept.seen, at.betas, call.rng("restart", number))
        at, _ = placed(run, at, tempering.last_place, "place", number)
        at, kept = produced(run, at, several, number)
    found, basins = look_again(prior, found, kept.seen.x, call.rng("look again"), tempering.scouting)
    return result_of(run, found, basins, at.spending(basins.evaluations), kept)


# ----------------------------------------------------------------------------------------------------------- arguments


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
    # What the group `modes` holds beside the model's variables.
    ours = ["weight", "weight_se", "chains_found", "on_edge"]
    taken_dims = {*prior.model.coords, *prior.model.dim_lengths}
    names = [name for name in ours if name in prior.readable_names]
    dims = [name for name in ["lp", "starts", *ours] if name in taken_dims]
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


def _asked(prior: CompiledPrior, draws: int, chains: int, given: np.ndarray, tempering: Tempering) -> dict[str, Any]:
    """What tells calls apart."""
    return {
        "prior": told(of_prior, prior),
        "variables": dict(zip(prior.layout.names, map(list, prior.layout.shapes), strict=True)),
        "draws": draws,
        "chains": chains,
        "initvals": digest(given),
        "tempering": None if tempering == TEMPERING else str(tempering),
    }
