"""Compare the two inversions of one step: its mode beside its posterior, as numbers.

    quantile = P(x < mode | o)      offset = (mode - mean) / sd      laplace_ratio = sd of the Laplace fit / sd

Offset and ratio are taken in the unconstrained coordinates, where the noise of the step acts and the mode was found.
Where the posterior is Gaussian they are 0 and 1 and the quantile is 1/2: the mode says all there is to say. Far from
that, it misleads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

SUMMARY = {
    "mode": "the mode: what find_map returned",
    "mean": "the mean of the posterior draws",
    "mcse_mean": "Monte Carlo standard error of that mean",
    "sd": "the standard deviation of the posterior draws",
    "quantile": "the share of posterior draws below the mode",
    "offset": "(mode - mean) / sd, in unconstrained coordinates",
    "laplace_ratio": "sd of the Laplace approximation at the mode / sd of the draws, in unconstrained coordinates",
}


def compare(map_tree: xr.DataTree, posterior_tree: xr.DataTree) -> xr.Dataset:
    r"""Put the mode of a step beside its posterior, for every variable and every observation.

    .. math:: \text{offset} = \frac{\hat x - E[x \mid o]}{\mathrm{sd}[x \mid o]}, \qquad
              \text{quantile} = P(x < \hat x \mid o)

    Parameters
    ----------
    map_tree : xarray.DataTree
        What ``find_map`` returned.
    posterior_tree : xarray.DataTree
        What ``sample_posterior`` returned for the same prior, o, alpha and sigma.

    Returns
    -------
    xarray.Dataset
        One variable ([observation], *dims, summary) for each free variable and Deterministic, in the units of that
        variable, and ``lp`` ([observation], summary), the log density. The labels of ``summary`` are ``mode``,
        ``mean``, ``mcse_mean``, ``sd``, ``quantile``, ``offset`` (in posterior sd) and ``laplace_ratio`` (no unit); the
        attributes of that coordinate say what each means. Offset and ratio are NaN for Deterministics, and for a free
        variable whose unconstrained shape is another one (a Dirichlet): its unconstrained coordinates follow as
        ``{name}_unconstrained``. An observation that could not be inverted is a row of NaN.

    Raises
    ------
    TypeError
        If an argument is no DataTree.
    ValueError
        If the arguments are swapped, lack a group, or belong to different observations, steps or variables.

    Notes
    -----
    The Monte Carlo standard error of a mean is sd / sqrt(ESS), with the effective sample size of the split chains as
    in A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, "Rank-normalization, folding, and localization:
    an improved R-hat", Bayesian Analysis 16 (2021), eq. 10-13, without rank-normalising. It equals
    ``arviz.mcse(method="mean")``, for all observations at once.

    Examples
    --------
    The article: x ~ N(0, 1), o = 10, sigma = 10. The posterior is N(10/101, 100/101): mode and mean agree.

    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> rng, sample = np.random.default_rng(1), ("chain", "draw")
    >>> step = {"step": dataset({"alpha": 1.0, "sigma": 10.0}), "step/o": dataset({"x": 10.0})}
    >>> def inversion(kind, x, **groups):
    ...     lp = dataset({"lp": -(x**2) / 2 - (10 - x) ** 2 / 200}, sample_dims=sample)
    ...     values = dataset({"x": x}, sample_dims=sample)
    ...     return tree(
    ...         {"posterior": values, "unconstrained_posterior": values, "sample_stats": lp, **step, **groups},
    ...         {"inversion": kind},
    ...     )
    >>> sd = np.sqrt(100 / 101)
    >>> posterior = inversion("posterior", 10 / 101 + sd * rng.normal(size=(4, 500)))
    >>> table = compare(inversion("map", np.array([[10 / 101]]), laplace=dataset({"x": sd})), posterior)
    >>> round(table["x"].sel(summary="mode").item(), 3), abs(table["x"].sel(summary="offset").item()) < 0.1
    (0.099, True)
    """
    check_pair(map_tree, posterior_tree)
    draws, modes = _group(posterior_tree, "posterior"), _group(map_tree, "posterior")
    free_draws, free_modes = (_group(tree, "unconstrained_posterior") for tree in (posterior_tree, map_tree))
    laplace = map_tree["laplace"].to_dataset()

    rows: dict[str, xr.DataArray] = {}
    for name in draws.data_vars:
        rows[str(name)] = row = _row(draws[name], modes[name])
        if name not in free_draws:
            continue
        free = row if free_draws[name].equals(draws[name]) else _row(free_draws[name], free_modes[name])
        target = row
        if free_draws[name].sizes != draws[name].sizes:
            target = rows[f"{name}_unconstrained"] = free
        sd = free.sel(summary="sd")
        with np.errstate(divide="ignore", invalid="ignore"):  # a variable that never moved has sd 0
            offset = (free.sel(summary="mode") - free.sel(summary="mean")) / sd
            ratio = laplace[name].transpose(*sd.dims) / sd
        target.loc[{"summary": "offset"}] = offset.values
        target.loc[{"summary": "laplace_ratio"}] = ratio.values
    about_lp = (
        "log density, up to a constant, in unconstrained coordinates: mode is its value at the mode, quantile the "
        "share of draws with a lower one. A quantile below 1 means that a draw beat the mode: the search missed the "
        "global mode."
    )
    lp_draws, lp_mode = (_group(tree, "sample_stats")["lp"] for tree in (posterior_tree, map_tree))
    rows["lp"] = _row(lp_draws, lp_mode).assign_attrs(long_name=about_lp)
    table = xr.Dataset(rows, attrs={"long_name": "the mode of a step beside its posterior"})
    table["summary"].attrs = dict(SUMMARY)
    return table


def _row(draws: xr.DataArray, mode: xr.DataArray) -> xr.DataArray:
    """Summarise draws (chain, draw, *dims) beside a mode (1, 1, *dims): (*dims, summary), two labels still empty."""
    dims = [dim for dim in draws.dims if dim not in ("chain", "draw")]
    shape = tuple(draws.sizes[dim] for dim in dims)
    values = draws.transpose("chain", "draw", *dims).values
    point = np.asarray(mode.transpose("chain", "draw", *dims).values, dtype=float).ravel()
    n_chain, n_draw = values.shape[:2]
    flat = values.reshape(n_chain, n_draw, -1)
    out = np.full((flat.shape[2], len(SUMMARY)), np.nan)
    out[:, 0] = point
    for block in _blocks(flat.shape[2], n_chain * n_draw):
        x = np.ascontiguousarray(np.moveaxis(flat[:, :, block], 2, 0), dtype=float)  # (elements, chain, draw)
        out[block, 1] = x.mean((1, 2))
        if n_chain * n_draw > 1:
            out[block, 2], out[block, 3] = mcse_mean(x), x.std((1, 2), ddof=1)
        below = (x < point[block, None, None]).mean((1, 2))
        known = ~np.isnan(out[block, 1] + point[block])
        out[block, 4] = np.where(known, below, np.nan)
    coords = {name: c for name, c in draws.coords.items() if set(c.dims) <= set(dims)}
    return xr.DataArray(
        out.reshape(*shape, len(SUMMARY)),
        dims=[*dims, "summary"],
        coords={**coords, "summary": list(SUMMARY)},
        attrs=draws.attrs,
    )


def _blocks(elements: int, draws: int, held: int = 2**21) -> Iterator[slice]:
    """Some elements at a time: so many numbers are held at once, in each of a handful of arrays."""
    size = max(1, held // max(draws, 1))
    return (slice(start, start + size) for start in range(0, elements, size))


def mcse_mean(x: np.ndarray) -> np.ndarray:
    """Monte Carlo standard error of the mean of draws (elements, chain, draw): sd / sqrt(ESS), as ``az.mcse`` has it.

    Vehtari et al. (2021), eq. 10-13: the autocorrelations of the split chains are summed in pairs up to the first pair
    that is not positive, no pair larger than the one before it.
    """
    if x.shape[2] < 4:
        return np.full(len(x), np.nan)
    sd = x.std((1, 2), ddof=1)
    spread = np.ptp(x, axis=(1, 2))
    half = x.shape[2] // 2
    x = np.concatenate([x[:, :, :half], x[:, :, -half:]], axis=1)
    n_chain, n = x.shape[1:]
    mean = x.mean(2, keepdims=True)
    spectrum = np.fft.rfft(x - mean, n=_fast_length(2 * n), axis=2)
    power = (spectrum.real**2 + spectrum.imag**2).mean(1)  # the inverse transform is linear: average over chains first
    autocovariance = np.fft.irfft(power, n=_fast_length(2 * n), axis=1)[:, :n] / n
    within = autocovariance[:, :1] * n / (n - 1)
    total = within * (n - 1) / n + mean[:, :, 0].var(1, ddof=1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that never move: dealt with by `spread` below
        rho = 1 - (within - autocovariance) / total
    rho[:, 0] = 1.0

    pairs = rho[:, 0 : n - n % 2 : 2] + rho[:, 1::2]
    searched = len(range(1, n - 3, 2))
    stop = np.concatenate([pairs[:, :searched] <= 0, np.ones((len(x), 1), bool)], axis=1).argmax(1)
    kept = np.arange(pairs.shape[1]) < stop[:, None]
    positive = np.where(kept, np.minimum.accumulate(pairs, axis=1), 0.0).sum(1)
    rows = np.arange(len(x))
    last, pair = rho[rows, 2 * stop], pairs[rows, stop]
    last = np.where((stop == 0) | (last > 0) | (pair >= 0), last, 0.0)
    size = n_chain * n
    tau = np.maximum(-1 + 2 * positive + last, 1 / np.log10(size))
    ess = np.where(spread < np.finfo(float).resolution, size, size / tau)
    return sd / np.sqrt(ess)


def _fast_length(n: int) -> int:
    """Find the next length that is quick to transform: 2^a, 3 * 2^a or 5 * 2^a."""
    return min(m << max(0, (-(-n // m) - 1).bit_length()) for m in (1, 3, 5))


def holds(tree: xr.DataTree, group: str) -> bool:
    """Whether a tree has a group, at a path as ``step/o``."""
    first, _, rest = group.partition("/")
    return first in tree.children and (not rest or holds(tree.children[first], rest))


def _group(tree: xr.DataTree, name: str) -> xr.Dataset:
    return tree[name].to_dataset()


def check_tree(tree: Any, kind: str, call: str) -> str:
    """Raise unless a tree may hold the inversion of one kind, map or posterior. Who returns such a tree, for errors."""
    source = "find_map" if kind == "map" else "sample_posterior"
    if not isinstance(tree, xr.DataTree):
        raise TypeError(f"{kind}_tree is a {type(tree).__name__}. Pass the DataTree that {source} returned: {call}.")
    if (other := tree.attrs.get("inversion", kind)) != kind:
        raise ValueError(f"{kind}_tree is an inversion by {other}. Pass what {source} returned: {call}.")
    return source


def check_pair(map_tree: Any, posterior_tree: Any) -> None:
    """Raise unless the two trees invert the same step, one by mode and one by posterior."""
    both, call = {"map": map_tree, "posterior": posterior_tree}, "compare(map_tree, posterior_tree)"
    if [getattr(tree, "attrs", {}).get("inversion") for tree in both.values()] == ["posterior", "map"]:
        raise ValueError(f"The arguments are swapped. The mode comes first: {call}.")
    for kind, tree in both.items():
        source = check_tree(tree, kind, call)
        if "posterior" in tree.children and "posterior" in tree["posterior"].children:
            raise ValueError(f"{kind}_tree is a whole run. Write compare(run['map'], run['posterior']).")
        needed = ["posterior", "unconstrained_posterior", "sample_stats", "step", "step/o"]
        missing = [name for name in needed + ["laplace"] * (kind == "map") if not holds(tree, name)]
        if missing:
            raise ValueError(f"{kind}_tree has no group {missing[0]!r}. Pass what {source} returned.")
    for group in ("posterior", "unconstrained_posterior"):
        mine, theirs = (set(tree[group].data_vars) for tree in both.values())
        if mine != theirs:
            raise ValueError(
                f"The two trees are about different variables: {sorted(mine ^ theirs)} is in one of them alone. "
                "Invert the same prior both ways."
            )
    for group in ("step/o", "step"):
        _check_same(_group(map_tree, group), _group(posterior_tree, group))
    for group in ("posterior", "unconstrained_posterior"):
        for name, draws in _group(posterior_tree, group).items():
            mode = _group(map_tree, group)[name]
            a, b = (dict(values.isel(chain=0, draw=0).sizes) for values in (mode, draws))
            if a != b:
                raise ValueError(f"{name!r} has the dimensions {a} in map_tree and {b} in posterior_tree.")
    for name in _group(posterior_tree, "unconstrained_posterior").data_vars:
        if f"{name}_unconstrained" in posterior_tree["posterior"].data_vars:
            raise ValueError(f"A variable is called '{name}_unconstrained', which compare needs for itself. Rename it.")


def _check_same(mine: xr.Dataset, theirs: xr.Dataset) -> None:
    advice = "Invert the same observations both ways."
    for name in sorted({*map(str, mine.data_vars), *map(str, theirs.data_vars)}):
        if name not in mine or name not in theirs:
            raise ValueError(f"The two trees are about different steps: {name!r} is in one of them alone. {advice}")
        a, b = mine[name], theirs[name]
        if a.sizes != b.sizes:
            raise ValueError(
                f"The two trees are about different steps: {name!r} has the dimensions {dict(a.sizes)} in map_tree "
                f"and {dict(b.sizes)} in posterior_tree. {advice}"
            )
        left, right = np.asarray(a.values), np.asarray(b.transpose(*a.dims).values)
        differs = ~((left == right) | ((left != left) & (right != right)))
        if differs.any():
            index = tuple(int(i) for i in np.argwhere(differs)[0])
            where = ", ".join(f"{dim} {i}" for dim, i in zip(a.dims, index, strict=True))
            raise ValueError(
                f"The two trees are about different steps: {name!r} is {left[index]} in map_tree and {right[index]} in "
                f"posterior_tree{f' ({where})' if where else ''}. {advice}"
            )
