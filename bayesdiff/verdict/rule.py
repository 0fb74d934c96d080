"""The rule: what is enough, and how what is said of units becomes a verdict on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

# Of these rules: a result keeps by which it was judged.
RULE = 1
OBSERVATION = "observation"


@dataclass(frozen=True)
class Limits:
    """What is enough.

    Attributes
    ----------
    r_hat : float
        Above it the chains of an observation disagree; PyMC's own 1.01 is met by chance in a large batch.
    draws, draws_of_chain : int
        Effective draws, and draws in all; and of each chain: R-hat and effective draws are those of half chains, which
        need four draws to have an autocorrelation.
    diverging : float
        Trajectories fail at sharp bends; other moves make up for some of it, not for most of it.
    diverging_alone : float
        The same where nothing else moves, as in NUTS.
    lost : float
        Trajectories and replicates are not lost at random: more than this share may leave a part of x out.
    left_out : float
        More of the mass than this in modes that no chain was given is said.
    disagree : float
        Below this p-value two samples that should have one law are said to differ (shared out over all compared).
    arrivals : int
        States that came all the way from q, in one chain: fewer, and the weights rest on where it started.
    pareto_k : float
        Above it importance weights have a tail that nobody saw (Vehtari et al. 2024).
    stones : float
        Log evidences upwards and downwards: where they are no farther apart, a heavy tail of their weights does the
        bridge between no harm.
    unseen, climbs : float, int
        The share of climbs that would end at a mode nobody has seen, or at none; of so many climbs at least.
    invalid : float
        The share of proposals whose density is no number.
    of_weight : float
        A mode of less weight than this may be left to one chain without a word.
    replicates : int
        Fewer replicates see gross errors alone.
    bfmi : float
        Below it energies change too slowly from draw to draw (Betancourt 2016).
    still : float
        A chain that stands for more of its draws than this on end is stuck.
    apart : float
        Chains whose means are so many of their own sd apart are in modes of their own.
    """

    r_hat: float = 1.05
    draws: int = 100
    draws_of_chain: int = 8
    diverging: float = 0.25
    diverging_alone: float = 0.01
    lost: float = 0.01
    left_out: float = 0.01
    disagree: float = 1e-3
    arrivals: int = 20
    pareto_k: float = 0.7
    stones: float = 0.2
    unseen: float = 0.05
    climbs: int = 30
    invalid: float = 0.01
    of_weight: float = 0.005
    replicates: int = 100
    bfmi: float = 0.3
    still: float = 0.5
    apart: float = 4.0


LIMITS = Limits()

# What a code means, in a few words, of which tables make cells: with the numbers of the group.
_NOT_INVERTED, _NO_TOP = "could not be inverted", "the search for the MAP did not end at a maximum"
WORDS = {
    "not_finite": _NOT_INVERTED,
    "no_start": _NOT_INVERTED,
    "no_maximum": _NO_TOP,
    "edge": _NO_TOP,
    "too_few": "too few draws to be judged",
    "r_hat": f"R-hat {{r_hat:.2f}} > {LIMITS.r_hat:.2f}",
    "ess": f"{{ess:.0f}} effective draws < {LIMITS.draws}",
    "diverging": f"{{diverging:.0%}} diverging > {LIMITS.diverging:.0%}",
    "one_chain": "one chain has no other to be compared with",
    "no_numbers": "not all draws are finite",
    "improper": "the posterior is probably improper",
    "arrivals": (
        f"{{arrivals:.0f}} states of one chain came all the way from q, {LIMITS.arrivals} are needed for weights"
    ),
    "draws": "the draws that it rests on are not to be trusted",
    "contradict": "the log evidences of the chains are farther apart than their errors allow",
    "no_evidence": "the log evidence of a chain is not a number",
    "pareto": "its importance weights have a heavy tail, and upwards and downwards it is {stones:.2f} apart",
    "drift": "its last two rounds differ",
    "narrow": "the last level is too narrow",
    "lost": "too many trajectories were lost",
    "halves": "two halves of the trajectories disagree",
    "again": "the final x, diffused again, is not distributed as the noise that it came from",
    "prior": "x is not distributed as p0",
    "few_paths": "too few trajectories to be judged",
    "unchecked": "no check was made",
    "none": "the run holds no verdict",
}
NOT_TRUSTED = "not to be trusted"


class Said(NamedTuple):
    """Something to be said: its code, in words; whether numbers fall by it, and whether it is worth a warning."""

    code: str
    text: str
    falls: bool = True
    loud: bool = True


def summed(said: Sequence[Said], fine: str, also: str = "", **more: Any) -> dict[str, Any]:
    """The attributes of a verdict: of all that is said, or where there is nothing, of what is fine."""
    said = [each for each in said if each.text]
    told = [each.text for each in said] or [fine]
    first = next((each for each in said if each.falls), next(iter(said), None))
    return {
        "ok": not any(each.falls for each in said),
        "code": first.code if first else "ok",
        "sentence": " ".join([*told, *([also] if also else [])]),
        "warned": any(each.loud for each in said),
        "rule": RULE,
        **more,
    }


def codes(dim: str, size: int, *cases: tuple[str, np.ndarray]) -> xr.Variable:
    """The first of these codes that is the case, for each of so many units of a dimension.

    A number, whose meaning is an attribute, as the CF conventions have it (1.11, section 3.5): of a million units a
    byte each.
    """
    which = np.zeros(size, np.int8)
    for number, (_, where) in reversed([*enumerate(cases, 1)]):
        which[np.broadcast_to(where, size)] = number
    meanings = ["ok", *(name for name, _ in cases)]
    values = np.arange(len(meanings), dtype=np.int8)
    return xr.Variable(dim, which, {"flag_values": values, "flag_meanings": " ".join(meanings)})


def named(code: xr.DataArray | xr.Variable) -> np.ndarray:
    """The ``code`` of each unit of a verdict, in a word.

    Examples
    --------
    >>> import numpy as np
    >>> code = codes("level", 3, ("lost", np.array([False, True, False])))
    >>> code.values.tolist(), named(code).tolist()
    ([0, 1, 0], ['ok', 'lost', 'ok'])
    """
    return np.array(code.attrs["flag_meanings"].split())[code.values]


def is_any(code: xr.DataArray | xr.Variable, *names: str) -> np.ndarray:
    """Whether the ``code`` of each unit is one of these."""
    return np.isin(code.attrs["flag_meanings"].split(), names)[code.values]


def read(tree: xr.DataTree) -> xr.Dataset:
    """The verdict that a result holds, or one that says that it holds none: nothing is ok then.

    Examples
    --------
    >>> import xarray as xr
    >>> read(xr.DataTree()).attrs["sentence"]
    'This run holds no verdict: whether its numbers can be trusted is not known.'
    """
    if "verdict" in tree.children:
        return tree["verdict"].to_dataset()
    none = Said("none", "This run holds no verdict: whether its numbers can be trusted is not known.", loud=False)
    return xr.Dataset(attrs=summed([none], ""))


def reason(group: xr.Dataset, i: int | None = None, code: str | None = None) -> str:
    """Say in a few words what is wrong with the whole, or with unit i of a verdict.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesdiff.verdict import of_draws_by_observation
    >>> r_hat, ess, good = np.array([[1.01], [1.2]]), np.full((2, 1), 900.0), np.ones(2, bool)
    >>> group = of_draws_by_observation(r_hat, ess, np.zeros((2, 4, 250)), good, good, np.zeros(2))
    >>> reason(group, 1)
    'R-hat 1.20 > 1.05'
    """
    coded = "flag_meanings" in group["code"].attrs if "code" in group else False  # somebody else may have written it
    if i is not None and coded:
        code = str(np.atleast_1d(named(group["code"]))[i])
    code = code or str(group.attrs.get("code", "none"))
    if i is None and coded:  # the first unit of which this is said
        i = next(iter(np.flatnonzero(is_any(group["code"], code)).tolist()), None)
    dims = group["code"].dims if coded else ()
    numbers = {
        str(name): float(values.values.ravel()[i if values.ndim and i is not None else 0])
        for name, values in group.data_vars.items()
        if values.dtype.kind in "biuf" and values.size and (not values.ndim or (values.dims == dims and i is not None))
    }
    words = WORDS.get(code, NOT_TRUSTED)
    needs = {name for _, name, _, _ in Formatter().parse(words) if name}
    return words.format(**numbers) if needs <= numbers.keys() else NOT_TRUSTED


def too_few(chains: int, draws: int) -> str:
    """Why so many draws are too few to be judged, in words; nothing if they are enough.

    Examples
    --------
    >>> too_few(2, 20)
    'Too few draws to be judged: 40, 100 are needed.'
    >>> too_few(4, 1000)
    ''
    """
    if chains * draws < LIMITS.draws:
        return f"Too few draws to be judged: {chains * draws:,}, {LIMITS.draws} are needed."
    if draws < LIMITS.draws_of_chain:
        return f"Too few draws in each chain to be judged: {draws}, {LIMITS.draws_of_chain} are needed."
    return ""


def disagree(p_value: float | np.ndarray, compared: int = 1) -> Any:
    """Whether the least p-value of so many says that two samples have not one law (Bonferroni's correction).

    Examples
    --------
    >>> disagree(5e-4), disagree(5e-4, compared=30), disagree(float("nan"))
    (True, False, False)
    """
    return p_value * compared < LIMITS.disagree


def some(indices: np.ndarray) -> str:
    """The first few of these indices."""
    return ", ".join(map(str, indices[:5])) + ("..." if len(indices) > 5 else "")


def trusted(r_hat: np.ndarray, ess: np.ndarray) -> str:
    """Say of draws that they are to be trusted."""
    return (
        f"The draws can be trusted, as far as the chains can tell. R-hat is at most {r_hat.max():.3f} (limit "
        f"{LIMITS.r_hat:.2f}), and {ess.min():,.0f} draws or more are effective ({LIMITS.draws} are needed)."
    )


def p_of(value: float) -> str:
    """A p-value in words."""
    return f"p = {value:.1g}" if value > 1e-300 else "p < 1e-300"
