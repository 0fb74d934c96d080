"""The tree of a tempered run: its draws, modes, mixture, ladder and evidence under their names, and the verdict."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayesdiff.labels import Labels, describe
from bayesdiff.multimodal.honesty import shares_of
from bayesdiff.multimodal.mixtures import Fit, Mixture, straight
from bayesdiff.multimodal.rounds import Produced, Setup, Standing
from bayesdiff.multimodal.scout import Basins, Scouted
from bayesdiff.multimodal.tempering import rejections
from bayesdiff.results import dataset
from bayesdiff.verdict import LIMITS, of_tempering


def result_of(run: Setup, found: Scouted, basins: Basins, at: Standing, kept: Produced) -> xr.DataTree:
    """The tree, saved and warned of."""
    prior, n, seen, told = run.prior, run.prior.n, kept.seen, kept.measured
    label = Labels(prior, batched=False)
    labels = shares_of(found, seen.x, run.tempering.agreeing)
    found, labels, shares = _by_weight(found, labels, basins)
    climbed = basins.mode[basins.mode > -2]
    nowhere = (climbed < 0).mean() if climbed.size else 0.0
    if nowhere > LIMITS.unseen:
        shares[:, found.on_edge] = np.nan
    heavy, r_hat, ess = kept.agreement(labels)
    x = seen.x[:, kept.every]
    verdict = of_tempering(
        chains=run.chains,
        draws=run.draws,
        finite=bool(np.isfinite(x).all()),
        r_hat=r_hat,
        ess=ess,
        names=[*prior.layout.labels, *[f"the share of mode {k}" for k in heavy]],
        weights=np.bincount(labels.ravel(), minlength=len(found.x))[: len(found.x)] / labels.size,
        found_by=found.by,
        given=found.given,
        on_edge=found.on_edge,
        unseen=found.unseen,
        nowhere=nowhere,
        arrivals=seen.trips.sum(axis=1),
        invalid=float(seen.invalid.sum()) / seen.acceptance.size,
        pareto_k=told.pareto_k,
        by_chain=told.by_chain,
        by_chain_se=told.by_chain_se,
        stones=np.stack([told.upwards, told.downwards]),
        contradicts=told.contradicts,
        drift=told.drift,
        grew=told.grew,
    )
    stats = {
        "lp": seen.lp[:, kept.every],
        "acceptance_rate": np.stack([one[kept.every, 1:].mean(axis=1) for one in seen.acceptance]),
    } | ({"mode": labels[:, kept.every]} if len(found.x) else {})
    evidences = {
        name: getattr(told, name)
        for name in ("log_evidence", "log_evidence_se", "by_chain", "by_chain_se", "upwards", "downwards")
    }
    if not verdict["evidence_ok"]:
        evidences |= {"log_evidence": np.nan, "log_evidence_se": np.nan}
    groups = {
        **label.states(x[None]),
        "sample_stats": label.stats({name: values[None] for name, values in stats.items()}),
        "log_evidence": dataset(evidences, dims={name: ["chain"] for name in evidences if not name.startswith("log")}),
        "modes": _mode_group(label, found, shares, heavy, ess[n:]),
        "mixture": _mixture_group(label, at.q),
        "tempering": _ladder_group(at, kept),
        "verdict": verdict,
        "diagnostics": label.diagnostics(r_hat[None, :n], ess[None, :n]),
        **label.data(),
        **label.prior(run.call.rng("prior")),
    }
    return run.call.done(groups, describe(prior, "sample") | {"draws": run.draws, "chains": run.chains})


def _by_weight(found: Scouted, labels: np.ndarray, basins: Basins) -> tuple[Scouted, np.ndarray, np.ndarray]:
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


def _mode_group(label: Labels, found: Scouted, shares: np.ndarray, heavy: np.ndarray, ess: np.ndarray) -> xr.Dataset:
    m = len(found.x)
    weight, added = shares
    # Of modes too light for an effective size of their own: as if one draw in a hundred were one.
    effective = np.full(m, 0.01 * np.nanmax(ess, initial=100.0))
    effective[heavy] = np.nan_to_num(ess, nan=1.0)
    se = np.sqrt(weight * (1 - weight) / np.maximum(effective, 1) + added)
    values, dims = label.modes(found.x[None])
    ours = {
        "lp": found.lp,
        "weight": weight,
        "weight_se": se,
        "starts": found.by.sum(axis=1),
        "chains_found": (found.by > 0).sum(axis=1),
        "on_edge": found.on_edge,
    }
    return dataset(values | ours, dims=dims | {name: ["mode"] for name in ours}, coords=label.coords)


def _mixture_group(label: Labels, q: Mixture) -> xr.Dataset:
    """The Gaussians of q, as `gaussian_mixture` takes them."""
    coordinates = label.compiled.layout.labels
    weight, mean, covariance = q.frame.moved(Fit(np.exp(q.log_weight), q.mean, q.covariance), straight(q.n))
    values = {"weight": weight[q.real] / weight[q.real].sum(), "mean": mean[q.real], "covariance": covariance[q.real]}
    dims = {
        "weight": ["component"],
        "mean": ["component", "coordinate"],
        "covariance": ["component", "coordinate", "coordinate_"],
    }
    return dataset(values, dims=dims, coords={"coordinate": coordinates, "coordinate_": coordinates})


def _ladder_group(at: Standing, kept: Produced) -> xr.Dataset:
    seen = kept.seen
    rungs = {
        "beta": at.betas,
        "rejection": np.append(rejections(at.betas, np.concatenate(seen.gain)), np.nan),
        "pareto_k": np.append(kept.measured.pareto_k, np.nan),
        "acceptance": np.mean([one.mean(axis=0) for one in seen.acceptance], axis=0),
        "step_size": np.mean([np.exp(walker.sizes.rung) for walker in at.walkers], axis=0),
    }
    values = rungs | {
        "arrivals": seen.trips.sum(axis=1),
        "evaluations": at.evaluations,
        "sweeps_per_draw": kept.thin,
    }
    return dataset(values, dims={name: ["rung"] for name in rungs} | {"arrivals": ["chain"]})
