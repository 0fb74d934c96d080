"""Of draws of anybody's: any ArviZ tree, by the tree alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from bayesdiff.verdict.rule import LIMITS, Said, codes, is_any, summed, too_few, trusted

SAMPLE = ("chain", "draw")


def of_draws(tree: xr.DataTree) -> xr.Dataset:
    """Judge the draws of any ArviZ tree, whoever sampled it, by the tree alone.

    Parameters
    ----------
    tree : xarray.DataTree
        With the group ``posterior`` (chain, draw). Of ``sample_stats``, where there is one: ``diverging``, ``energy``,
        and ``lp`` or ``logp``. Text and dates are not judged; whole numbers may stand still.

    Returns
    -------
    xarray.Dataset
        ``ok``, ``code`` (number): ``no_numbers``, ``stuck``, ``constant``, ``r_hat``, ``ess``, ``ess_tail``; its
        ``r_hat`` (rank-normalised), ``ess`` (bulk) and ``ess_tail``. By chain: ``still``, the longest share of its
        draws without a move; ``diverging``, the share; ``bfmi``; ``lp``, the mean. NaN where nothing is known.
        What is wrong with the whole is in its attributes: ``stuck``, ``modes``, ``diverging``, ``energy``,
        ``one_chain``, ``too_few`` beside these.

    Raises
    ------
    TypeError, ValueError
        If it is no tree, has no group ``posterior``, or no number (chain, draw) in it.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021), Rank-normalization, folding, and localization: an improved
    R-hat; Betancourt (2016), Diagnosing suboptimal cotangent disintegrations, equation 7, for the energies.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> x = xr.Dataset({"x": (("chain", "draw"), np.random.default_rng(1).normal(size=(4, 500)))})
    >>> tree = xr.DataTree.from_dict({"posterior": x})
    >>> of_draws(tree).attrs["ok"]
    True
    >>> x["x"][2] = 0.1
    >>> of_draws(xr.DataTree.from_dict({"posterior": x})).attrs["sentence"].split(".")[0]
    'Chain 2 is stuck: it stands still for 500 of its 500 draws on end'
    """
    found = _numbers_of(tree)
    labels, x, whole = found.labels, found.x, found.whole
    chains, draws = x.shape[:2]
    few = too_few(chains, draws)
    finite = np.isfinite(x).all(axis=(0, 1))
    moves = np.ptp(np.where(np.isfinite(x), x, 0.0), axis=1) > 0  # (chain, number)
    same = ~moves.any(axis=0) & (x == x[0, 0]).all(axis=(0, 1))
    # What numbers of a matrix are fixed at by what it is, as those of a Cholesky factor
    by_construction = same & found.of_many & np.isin(x[0, 0], (-1.0, 0.0, 1.0))
    judged = finite & (moves.any(axis=0) | ~same) & (not few)
    r_hat, ess, ess_tail = (np.full(len(labels), np.nan) for _ in range(3))
    at = np.flatnonzero(judged)
    if len(at):
        with np.errstate(divide="ignore", invalid="ignore"):
            r_hat[at] = array_stats.rhat(x[..., at], chain_axis=0, draw_axis=1)
            ess[at] = array_stats.ess(x[..., at], chain_axis=0, draw_axis=1, method="bulk")
            ess_tail[at] = array_stats.ess(x[..., at], chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95))
    still = _still(x[..., ~whole])
    code = codes(
        "number",
        len(labels),
        ("no_numbers", ~finite),
        ("stuck", ~same & ~moves.all(axis=0) & (~whole | ~moves.any(axis=0))),
        ("constant", ~whole & same & ~by_construction),
        ("r_hat", judged & (r_hat > LIMITS.r_hat)),
        ("ess", judged & (ess < LIMITS.draws)),
        ("ess_tail", judged & (ess_tail < LIMITS.draws)),
    )
    lp, energy, diverging = (
        _stats_of(tree, names, x.shape[:2]) for names in (("lp", "logp"), ("energy",), ("diverging",))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        bfmi = np.full(chains, np.nan) if energy is None or few else array_stats.bfmi(energy, chain_axis=0, draw_axis=1)
    group = xr.Dataset(
        {
            "ok": ("number", is_any(code, "ok")),
            "code": code,
            "r_hat": ("number", r_hat),
            "ess": ("number", ess),
            "ess_tail": ("number", ess_tail),
            "still": ("chain", still),
            "diverging": ("chain", np.full(chains, np.nan) if diverging is None else diverging.mean(axis=1)),
            "bfmi": ("chain", bfmi),
            "lp": ("chain", np.full(chains, np.nan) if lp is None else lp.mean(axis=1)),
        },
        coords={"number": labels, "chain": found.chains},
    )
    modes = "" if few or (still > LIMITS.still).any() else _in_modes(group, x, lp)
    said = [
        Said("no_numbers", _not_finite(labels, code)),
        Said("stuck", _stuck(group, code, moves, draws)),
        Said("constant", _constant(labels, code)),
        Said("modes", modes),
        _diverging_alone(diverging),
        *_worst_of(group, code),
        Said("energy", _energy(group)),
        Said("one_chain", "There is one chain, which no other can be compared with." if chains == 1 else ""),
        Said("too_few", few, loud=False),
    ]
    if not judged.any() and not any(each.text for each in said):
        said.append(Said("constant", "Nothing moves, so nothing can be judged."))
    known = group.isel(number=judged & is_any(code, "ok"))
    return group.assign_attrs(
        summed(said, trusted(known["r_hat"].values, known["ess"].values) if known.sizes["number"] else "")
    )


class _Numbers(NamedTuple):
    """All numbers of a posterior: labels, draws (chain, draw, number), whether they are whole, or one of many."""

    labels: list[str]
    x: np.ndarray
    whole: np.ndarray
    of_many: np.ndarray
    chains: np.ndarray


def _numbers_of(tree: Any) -> _Numbers:
    if not isinstance(tree, xr.DataTree):
        raise TypeError(
            f"tree is {type(tree).__name__}; write an xarray.DataTree in ArviZ's groups, as pm.sample gives"
        )
    if "posterior" not in tree.children:
        raise ValueError(f"tree has the groups {sorted(tree.children)}; it needs one called 'posterior'")
    labels: list[str] = []
    parts, whole, many = [], [], []
    for name, values in tree["posterior"].to_dataset().data_vars.items():
        if not set(SAMPLE) <= set(values.dims) or values.dtype.kind not in "biuf" or not values.size:
            continue
        dims = [dim for dim in values.dims if dim not in SAMPLE]
        flat = values.transpose(*SAMPLE, *dims).values.reshape(*(values.sizes[dim] for dim in SAMPLE), -1)
        parts.append(flat.astype(float))
        whole += [values.dtype.kind != "f"] * flat.shape[2]
        many += [flat.shape[2] > 1] * flat.shape[2]
        for index in np.ndindex(*(values.sizes[dim] for dim in dims)):
            told = ", ".join(str(values[dim].values[i]) for dim, i in zip(dims, index, strict=True))
            labels.append(f"{name}[{told}]" if dims else str(name))
    if not parts:
        raise ValueError("the group 'posterior' has no numbers with the dimensions 'chain' and 'draw'")
    chains = tree["posterior"].to_dataset()["chain"].values
    return _Numbers(labels, np.concatenate(parts, axis=2), np.array(whole), np.array(many), chains)


def _stats_of(tree: xr.DataTree, names: Sequence[str], shape: tuple[int, ...]) -> np.ndarray | None:
    """A statistic (chain, draw) of a sampler, where the tree has it as numbers."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    for name in names:
        if name in stats and set(stats[name].dims) == set(SAMPLE) and stats[name].dtype.kind in "biuf":
            values = stats[name].transpose(*SAMPLE).values.astype(float)
            if values.shape == shape and np.isfinite(values).all():
                return values
    return None


def _still(x: np.ndarray) -> np.ndarray:
    """The longest share of its draws on end in which a chain (chain, draw, number) does not move at all."""
    if not x.shape[2]:
        return np.zeros(len(x))
    moved = (np.diff(x, axis=1) != 0).any(axis=2)
    longest = np.ones(len(x), int)
    run = np.ones(len(x), int)
    for each in moved.T:
        run = np.where(each, 1, run + 1)
        longest = np.maximum(longest, run)
    return np.where(longest > 1, longest / x.shape[1], 0.0)


def _listed(names: Sequence[Any], most: int = 5) -> str:
    return ", ".join(map(str, names[:most])) + ("..." if len(names) > most else "")


def _not_finite(labels: Sequence[str], code: xr.Variable) -> str:
    bad = [label for label, each in zip(labels, is_any(code, "no_numbers"), strict=True) if each]
    return f"Not all draws are finite, of {len(bad)} of {len(labels)} numbers: {_listed(bad)}." if bad else ""


def _stuck(group: xr.Dataset, code: xr.Variable, moves: np.ndarray, draws: int) -> str:
    chains, still = group["chain"].values, group["still"].values
    text = [
        f"Chain {chain} is stuck: it stands still for {round(share * draws):,} of its {draws:,} draws on end."
        for chain, share in zip(chains, still, strict=True)
        if share > LIMITS.still
    ]
    held = np.flatnonzero(is_any(code, "stuck") & ~moves[still <= LIMITS.still].all(axis=0))
    if len(held):
        k = int(held[0])
        where = _listed(chains[~moves[:, k] & (still <= LIMITS.still)].tolist())
        text.append(
            f"{_listed(group['number'].values[held].tolist())} never moves in chain {where}, and does elsewhere."
        )
    return " ".join(text)


def _constant(labels: Sequence[str], code: xr.Variable) -> str:
    held = [label for label, each in zip(labels, is_any(code, "constant"), strict=True) if each]
    if not held:
        return ""
    return f"{_listed(held)} is one number in every draw of every chain: fixed by the model, or nothing moves it."


def _in_modes(group: xr.Dataset, x: np.ndarray, lp: np.ndarray | None) -> str:
    """Say so where chains are in modes of their own: steady, and far apart, in the worst number or in log density."""
    r_hat = group["r_hat"].values
    if x.shape[0] < 2 or not (r_hat > LIMITS.r_hat).any():
        return ""
    worst = int(np.nanargmax(r_hat))
    chains = group["chain"].values
    looked = [
        (str(group["number"].values[worst]), x[..., worst]),
        *([("the log density", lp)] if lp is not None else []),
    ]
    for name, values in looked:
        means, sd = values.mean(axis=1), np.sqrt(values.var(axis=1).mean())
        order = np.argsort(means)
        gaps = np.diff(means[order])
        if gaps.max() <= LIMITS.apart * sd or not all(_steady(one) for one in values):
            continue
        cut = int(np.argmax(gaps)) + 1
        sides = [np.sort(order[:cut]), np.sort(order[cut:])]
        told = [f"about {means[side].mean():.3g} in chain {_listed(chains[side].tolist())}" for side in sides]
        text = f"Several modes were seen, and no chain went from one to the other: {name} is {' and '.join(told)}."
        if lp is not None and name != "the log density":
            high, low = (f"{lp[side].mean():.1f}" for side in sides)
            text += f" There the mean log density is {high} and {low}."
        return f"{text} How much weight each has is not known."
    return ""


def _steady(values: np.ndarray) -> bool:
    """Whether one chain (draw,) agrees with itself."""
    halves = np.stack(np.array_split(values[len(values) % 2 :], 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = float(array_stats.rhat(halves, chain_axis=0, draw_axis=1))
    return not r_hat > LIMITS.r_hat


def _diverging_alone(diverging: np.ndarray | None) -> Said:
    if diverging is None or not diverging.any():
        return Said("diverging", "")
    count, share = int(diverging.sum()), float(diverging.mean())
    many = share > LIMITS.diverging_alone
    means = (
        "parts of the posterior with sharp bends are missing. Ask for smaller steps (target_accept), or write the "
        "model in other coordinates."
        if many
        else f"at most {LIMITS.diverging_alone:.0%}, which need not matter. Look whether they lie in one place."
    )
    return Said(
        "diverging", f"{count:,} of {diverging.size:,} trajectories ({share:.1%}) diverged: {means}", many, many
    )


def _worst_of(group: xr.Dataset, code: xr.Variable) -> list[Said]:
    """The worst number by R-hat, by effective draws, and by those of the tails."""
    said = []
    for name, fails, worst_of, words in (
        ("r_hat", group["r_hat"] > LIMITS.r_hat, np.nanargmax, "The chains do not agree: R-hat is {:.2f} for {}"),
        ("ess", group["ess"] < LIMITS.draws, np.nanargmin, "There are {:.0f} effective draws of {}"),
        (
            "ess_tail",
            group["ess_tail"] < LIMITS.draws,
            np.nanargmin,
            "There are {:.0f} effective draws of the tails of {}",
        ),
    ):
        text = ""
        if fails.any():
            k = int(worst_of(group[name].values))
            more = f", the worst of {int(fails.sum())} of {len(code)} numbers" if int(fails.sum()) > 1 else ""
            text = f"{words.format(float(group[name][k]), str(group['number'].values[k]))}{more}."
        said.append(Said(name, text))
    return said


def _energy(group: xr.Dataset) -> str:
    low = group["bfmi"].values < LIMITS.bfmi
    if not low.any():
        return ""
    return (
        f"The energies of chain {_listed(group['chain'].values[low].tolist())} change too slowly (E-BFMI "
        f"{group['bfmi'].values[low].min():.2f} < {LIMITS.bfmi}): tails are explored slowly. Write the model in other "
        "coordinates, as non-centred."
    )
