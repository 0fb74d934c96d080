"""The interactive page of priors of one number: a density on a grid and two small chains, in one HTML file.

The page computes every posterior itself, p(x | o) ∝ N(o; x, sigma^2) p0(x), as a sum over the grid. So the grid is all
that it knows of p0: here it is made to cover p0's mass and to resolve its narrowest mode, and both are checked. Its
arithmetic (posterior, mode, draws) is in explore.html, in plain JavaScript.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from bayesdiff.chain import reverse
from bayesdiff.checks import flag, mapping, whole_seed
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.invert.inverters import draw, mode
from bayesdiff.schedule import geometric
from bayesdiff.version import __version__

LEVELS = 14
DRAWS, CHAINS = 50, 4


def explore(prior: pm.Model | CompiledPrior, *, random_seed: int = 1, progressbar: bool = True) -> dict[str, Any]:
    """Compute what the interactive page needs of a prior of one unconstrained number.

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0: one number in unconstrained coordinates.
    random_seed : int
        The source of randomness of both chains.
    progressbar : bool
        Whether to show one for each chain, if it takes more than half a second.

    Returns
    -------
    dict
        ``name`` of the number; ``start`` and ``step`` of an even grid, and ``logp`` there, normalised; ``mean`` and
        ``sd`` of p0; ``narrowest``, the width of its narrowest mode; ``values``, the constrained value at each grid
        point, or None where it is the same; ``smallest`` and ``largest``, the noise levels that the grid can bear;
        ``sigma`` (levels + 1,) of the chains, and their o_k: ``path_of_draws`` and ``path_of_modes``, each
        (levels + 1, trajectories).

    Raises
    ------
    TypeError, ValueError
        If `prior` cannot be a prior, has several numbers, no mass that ends, or modes too narrow for a grid that covers
        it.

    Notes
    -----
    Where p0 can be drawn, the grid is checked against its draws. Where it cannot, a mode is found if it is wider than a
    4000th of the range that holds p0's mass, or lies on the way that a search from PyMC's initial point takes.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x")
    >>> seen = explore(model, progressbar=False)
    >>> seen["name"], round(seen["mean"], 6), round(seen["sd"], 6)
    ('x', 0.0, 1.0)
    >>> seen["path_of_draws"].shape
    (15, 200)
    """
    whole_seed(random_seed)
    flag(progressbar, "progressbar")
    compiled = compile_prior(prior)
    if compiled.schedule is not None:
        compiled = compiled.at_level(0)
    if compiled.n != 1:
        named = ", ".join(compiled.layout.labels[:6]) + ", ..." * (compiled.n > 6)
        raise ValueError(
            f"the prior has {compiled.n} unconstrained numbers, {named}; the page shows a prior of one: write a model "
            "with one free variable, and for this one use `bayesdiff run`"
        )
    [name] = compiled.layout.labels
    x, logp, narrowest = grid(compiled, random_seed)
    step = float(x[1] - x[0])
    weight = np.exp(logp) * step
    mean = float(weight @ x)
    sd = float(np.sqrt(weight @ (x - mean) ** 2))
    constrained = compiled.constrain(x[:, None])[compiled.layout.names[0]].reshape(len(x), -1)
    other = constrained.shape[1] == 1 and not np.array_equal(constrained[:, 0], x)
    schedule = geometric(LEVELS, max(narrowest / 5, 3 * step), 10 * sd)
    options: dict[str, Any] = {"draws": DRAWS, "chains": CHAINS, "path": True, "progressbar": progressbar}
    paths = {}
    for key, invert in (("path_of_draws", draw), ("path_of_modes", mode)):
        with warnings.catch_warnings():
            if invert is mode:  # that a chain of modes goes wrong is what the page shows
                warnings.simplefilter("ignore", UserWarning)
            # A level prior takes the clean form too, as all others: the page says what it shows in one way.
            run = reverse(compiled, schedule, invert, next_level=False, random_seed=random_seed, **options)
        path = run["path"][compiled.layout.names[0]].transpose("level", "chain", "draw", ...)
        paths[key] = path.values.reshape(LEVELS + 1, -1)
    return {
        "name": name,
        "start": float(x[0]),
        "step": step,
        "logp": logp,
        "mean": mean,
        "sd": sd,
        "narrowest": narrowest,
        "values": constrained[:, 0] if other else None,
        "smallest": max(3 * step, narrowest / 20),
        "largest": 30 * sd,
        "sigma": schedule.sigma,
        **paths,
    }


def grid(prior: CompiledPrior, random_seed: int = 1) -> tuple[np.ndarray, np.ndarray, float]:
    """Compute log p0, normalised, on an even grid that covers its mass and resolves its narrowest mode.

    Parameters
    ----------
    prior : CompiledPrior
        Of one number.
    random_seed : int
        Of the draws of p0 that the search begins with, and that the grid is checked against.

    Returns
    -------
    x : ndarray (points,)
    logp : ndarray (points,)
        The sum of exp(logp) times the step is 1. Finite: at least -1e4.
    narrowest : float
        The width of the narrowest mode: where its density has fallen by e^-.5 on one side.

    Raises
    ------
    ValueError
        If p0 is nowhere positive, has an infinite density or no end, needs more points than the page can bear, or its
        draws are not distributed as the grid says.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x", 3, 2)
    >>> x, logp, narrowest = grid(bd.compile_prior(model))
    >>> round(float(narrowest), 1), round(float((x * np.exp(logp)).sum() * (x[1] - x[0])), 6)
    (2.0, 3.0)
    """
    [name] = prior.layout.labels
    drawn = prior.draws(4096, random_seed) if prior.draws_at_once else None
    points, logp = _search(prior, drawn)
    _, below = _cumulated(points, logp)
    middle = points[np.searchsorted(below, 0.5)]
    # At an end of what was looked at: how much mass the density would have there if it went on as it is.
    total = np.exp(np.maximum(logp[1:], logp[:-1]) - logp.max()) @ np.diff(points)
    going_on = np.exp(logp[[0, -1]] - logp.max()) * np.abs(points[[0, -1]] - middle) / total
    if going_on.max() > 1e-6:
        raise ValueError(
            f"the density of {name} does not fall off: between {points[0]:.3g} and {points[-1]:.3g} its mass has no "
            "end; write a prior that is a distribution (no pm.Flat)"
        )
    narrowest = _narrowest(points, logp)
    # An even grid, since the page convolves p0 with noise on it. One point more than a power of two.
    fewest, most = 1024, 8192
    # The mass of p0 beyond each end of the grid: the first where the grid can bear it, the last at most.
    for beyond in (1e-9, 1e-7, 1e-5):
        low = points[max(int(np.searchsorted(below, beyond, "right")) - 1, 0)]
        high = points[min(int(np.searchsorted(below, 1 - beyond)), len(points) - 1)]
        # Grid points in the width of a mode, taken where its density has fallen by e^-.5 (one sd of a normal).
        count = 2 ** int(np.ceil(np.log2(max(fewest, 4 * (high - low) / narrowest))))
        if count <= most:
            break
    else:
        raise ValueError(
            f"the mass of {name} lies between {low:.3g} and {high:.3g}, and its narrowest mode is {narrowest:.3g} "
            f"wide: an even grid would need {count:,} points, and the page bears {most:,}; write a prior with lighter "
            "tails, or with wider modes"
        )
    x = np.linspace(low, high, count + 1)
    on_grid = _logp(prior, x)
    on_grid = on_grid - logsumexp(on_grid) - np.log(x[1] - x[0])
    if drawn is not None:
        # Kolmogorov and Smirnov's distance: p < 1e-6 at 2.7 / sqrt(n), and a step's mass for the grid.
        cumulated = np.cumsum(np.exp(on_grid)) * (x[1] - x[0])
        theirs = np.searchsorted(np.sort(drawn[:, 0]), x, "right") / len(drawn)
        apart = float(np.abs(theirs - cumulated).max())
        if apart > 2.7 / np.sqrt(len(drawn)) + float(np.exp(on_grid.max()) * (x[1] - x[0])):
            raise ValueError(
                f"draws of {name} are not distributed as its density says: their distribution functions are "
                f"{apart:.2g} apart; a mode is too narrow to be found, or draws and density differ"
            )
    return x, np.maximum(on_grid, -1e4), narrowest


def _logp(prior: CompiledPrior, x: ArrayLike) -> np.ndarray:
    """Log p0, with -inf for what cannot be; in calls of one size, each of which would be compiled."""
    x = np.asarray(x, float)
    padded = np.concatenate([x, np.full(-len(x) % 2048, x[-1])]).reshape(-1, 2048, 1)
    logp = np.concatenate([prior.logp(part) for part in padded])[: len(x)]
    if (logp == np.inf).any():
        raise ValueError(f"the density of {prior.layout.labels[0]} is infinite at {x[logp == np.inf][0]:.3g}")
    return np.where(np.isnan(logp), -np.inf, logp)


def _search(prior: CompiledPrior, drawn: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Points, sorted, that are dense where p0 has its mass; and log p0 there."""
    away = 10.0 ** np.linspace(-4, 7, 500)
    start = prior.initial_point()[0]
    seeds = [start - away, [start], start + away]
    if drawn is not None:
        spread = drawn[:, 0].std() * away
        seeds += [drawn[:, 0], np.median(drawn[:, 0]) - spread, np.median(drawn[:, 0]) + spread]
    points = np.unique(np.concatenate(seeds))
    logp = _logp(prior, points)
    if not np.isfinite(logp).any():
        raise ValueError(
            f"the density of {prior.layout.labels[0]} is 0 wherever it was looked at, around {start:.3g}; write an "
            "initval where it is not"
        )
    for _ in range(200):
        mass, below = _cumulated(points, logp)
        gap = np.diff(points)
        with np.errstate(invalid="ignore"):  # -inf minus -inf
            steep = np.abs(np.diff(logp)) > 0.5
        # Where the mass is: its bulk, its cliffs, and its tails down to 1e-11.
        wanted = (mass > 2e-3) | (steep & (mass > 1e-6)) | (mass > 1e-2 * np.minimum(below[1:], 1 - below[:-1]))
        wanted &= (below[1:] > 1e-11) & (below[:-1] < 1 - 1e-11)
        wanted &= gap > 1e-12 * np.maximum(np.abs(points[1:]), np.abs(points[:-1]))
        if not wanted.any():
            # A mode between two points is not seen from far off: the range of the mass is looked at evenly as well.
            inside = (below[1:] > 1e-6) & (below[:-1] < 1 - 1e-6)
            wanted = inside & (gap > gap[inside].sum() / 4096)
        if not wanted.any():
            break
        new = (points[:-1] + gap / 2)[wanted]
        order = np.argsort(np.concatenate([points, new]), kind="stable")
        logp = np.concatenate([logp, _logp(prior, new)])[order]
        points = np.concatenate([points, new])[order]
        if len(points) > 200_000:
            break
    return points, logp


def _cumulated(points: np.ndarray, logp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mass between every two points (at most: from the higher of the two), and that below each point."""
    upper = np.exp(np.maximum(logp[1:], logp[:-1]) - logp.max()) * np.diff(points)
    mass = upper / upper.sum()
    return mass, np.concatenate([[0.0], np.cumsum(mass)]).clip(0, 1)


def _narrowest(points: np.ndarray, logp: np.ndarray) -> float:
    """How far it is, at the nearest, from a mode to where its density has fallen by e^-.5."""
    widths = []
    seen = np.flatnonzero(logp > logp.max() - 9)
    for i in map(int, seen):
        # A mode, or the left end of a plateau.
        if (i > 0 and logp[i] <= logp[i - 1]) or logp[i] < logp[min(i + 1, len(logp) - 1)]:
            continue
        fallen = logp < logp[i] - 0.5
        above = logp > logp[i] + 1e-9
        sides = []
        for side in (np.arange(i - 1, -1, -1), np.arange(i + 1, len(points))):
            stop = np.flatnonzero(fallen[side] | above[side])
            if not len(stop) or above[side][stop[0]]:
                break  # a ripple on the way up: no mode of its own
            sides.append(abs(points[side[stop[0]]] - points[i]))
        else:
            # The wider side: at a jump the other one is 0.
            widths.append(max(sides))
    return float(min(widths))


def page(priors: Sequence[Mapping[str, Any]], *, seed: int) -> str:
    """Write the interactive page of some priors as text.

    Parameters
    ----------
    priors : sequence of mapping
        One for each prior: ``title`` and ``about``, texts of any kind, and what `explore` returned.
    seed : int
        Of the numbers that the page draws.

    Returns
    -------
    str
        HTML without any address: no script, font or picture from elsewhere.

    Raises
    ------
    TypeError, ValueError
        If there is no prior, or one is no mapping.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-6, 6, 1025)
    >>> seen = {"title": "mine", "about": "", "name": "x", "start": -6.0, "step": 12 / 1024, "logp": -(x**2) / 2}
    >>> "mine" in page([seen], seed=1)
    True
    """
    if not priors:
        raise ValueError("there is no prior to show; give one or more")
    for number, prior in enumerate(priors):
        mapping(prior, f"priors[{number}]", "what bayesdiff.explore.explore returned, with title and about")
    data = {"seed": seed, "version": __version__, "priors": [_plain(prior) for prior in priors]}
    # In a script element the text ends at the first "</script" and goes astray at "<!--": there is no "<" in it.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    template = Path(__file__).with_name("explore.html").read_text(encoding="utf-8")
    # The first words of every such page: `bayesdiff.report.files` replaces none but ours.
    return "<!doctype html>\n<!-- made by bayesdiff explore -->\n" + template.replace("@DATA@", text)


def _plain(prior: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping that JSON can write: arrays as lists, with as many digits as a picture and a table can show."""

    def short(key: str, values: np.ndarray) -> Any:
        digits = 7 if key == "values" else 5
        few = np.round(values, 7) if key == "logp" else np.vectorize(lambda x: float(f"{x:.{digits}g}"))(values)
        return few.tolist()

    return {key: short(key, value) if isinstance(value, np.ndarray) else value for key, value in prior.items()}
