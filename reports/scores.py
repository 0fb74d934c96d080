"""How far a sample is from another one: distances, and the floor that two exact samples reach.

W_p^p(x, y) = int_0^1 |F_x^-1(u) - F_y^-1(u)|^p du        on the line: sort both, compare in order
SW_2^2(x, y) = mean over |t| = 1 of W_2^2(x t, y t)       in space: on the line, many times
TV(p, q) = sum_k |p_k - q_k| / 2                          of the shares of modes

No sample of finite size is at distance 0 of the truth. `floor` says how far two exact ones are from each other.
"""

from collections.abc import Callable, Iterator
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 2**20  # numbers that are projected at a time: what bounds the memory of sliced_w2


def wasserstein_1(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """W_1 of each coordinate, int_0^1 |F_x^-1(u) - F_y^-1(u)| du, exactly.

    Parameters
    ----------
    x, y : array_like
        Samples (N, n) and (M, n), one point a row.

    Returns
    -------
    ndarray
        One distance per coordinate, shape (n,).

    Examples
    --------
    >>> wasserstein_1([[0.0, 1.0], [2.0, 1.0]], [[1.0, 1.0]])
    array([1., 0.])
    """
    x, y = _samples(x, y)
    return _power_of_distance(x.T, y.T, 1)


def sliced_w2(x: ArrayLike, y: ArrayLike, directions: int = 64, random_seed: int = 0) -> float:
    """Sliced W_2, (mean over unit vectors t of W_2^2(x t, y t))^(1/2).

    On the line it is W_2 itself. In n dimensions a shift by c gives |c| / sqrt(n), up to the choice of directions.
    One seed means one set of directions: calls that share it are comparable, and obey the triangle inequality.

    Parameters
    ----------
    x, y : array_like
        Samples (N, n) and (M, n), one point a row.
    directions : int
        How many unit vectors, uniform on the sphere; on the line there is only one.
    random_seed : int
        Chooses the directions.

    Returns
    -------
    float
        The distance.

    References
    ----------
    J. Rabin, G. Peyré, J. Delon, M. Bernot (2012). Wasserstein barycenter and its application to texture mixing.
    Scale Space and Variational Methods in Computer Vision, 435-446.

    N. Bonneel, J. Rabin, G. Peyré, H. Pfister (2015). Sliced and Radon Wasserstein barycenters of measures. Journal of
    Mathematical Imaging and Vision 51, 22-45.

    Examples
    --------
    >>> sliced_w2([[0.0], [1.0]], [[3.0], [2.0]])
    2.0
    """
    x, y = _samples(x, y)
    directions = _count(directions, "directions")
    n = x.shape[1]
    unit = np.ones((1, 1))
    if n > 1:
        unit = np.random.default_rng(random_seed).standard_normal((directions, n))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    squared = [_power_of_distance(t @ x.T, t @ y.T, 2) for t in _blocks(unit, max(len(x), len(y)))]
    return float(np.sqrt(np.mean(np.concatenate(squared))))


def mode_shares(x: ArrayLike, centres: ArrayLike) -> np.ndarray:
    """Share of the points that are nearest to each centre, #{i : argmin_j |x_i - c_j| = k} / N.

    Parameters
    ----------
    x : array_like
        A sample (N, n), one point a row.
    centres : array_like
        The centres (m, n), one a row. A point between two counts for the first.

    Returns
    -------
    ndarray
        Shares (m,), which sum to 1.

    Examples
    --------
    >>> mode_shares([[-1.9], [-2.2], [2.5], [-0.3]], [[-2.0], [2.0]])
    array([0.75, 0.25])
    """
    x, centres = _samples(x, centres, "x", "centres")
    distance = np.stack([np.sum((x - centre) ** 2, axis=1) for centre in centres])
    return np.bincount(np.argmin(distance, axis=0), minlength=len(centres)) / len(x)


def total_variation(p: ArrayLike, q: ArrayLike) -> float:
    """Total variation of two discrete distributions, sum_k |p_k - q_k| / 2.

    Parameters
    ----------
    p, q : array_like
        Shares (m,), which sum to 1.

    Returns
    -------
    float
        From 0, the same, to 1, nothing in common.

    Examples
    --------
    >>> total_variation([0.75, 0.25], [0.5, 0.5])
    0.25
    """
    p, q = _shares(p, "p"), _shares(q, "q")
    if p.shape != q.shape:
        raise ValueError(f"q has shape {q.shape}, p has {p.shape}; write one share per outcome, the same in both")
    return float(np.abs(p - q).sum() / 2)


def floor(
    draw: Callable[[int, np.random.Generator], ArrayLike],
    score: Callable[[np.ndarray, np.ndarray], ArrayLike],
    size: int,
    repeat: int,
    random_seed: int,
) -> np.ndarray:
    """The scores of pairs of exact samples, score(x, y) with x, y ~ p0^size: what no method can be asked to beat.

    Parameters
    ----------
    draw : callable
        ``draw(size, rng)`` gives an exact sample (size, n).
    score : callable
        ``score(x, y)`` gives a number, or an array as `wasserstein_1` does.
    size : int
        Points in each sample: as many as the sample has that is to be judged.
    repeat : int
        Pairs.
    random_seed : int
        Where the draws start.

    Returns
    -------
    ndarray
        One score per pair, shape (repeat,), or (repeat, n) where a score is an array (n,).

    Examples
    --------
    >>> scores = floor(lambda size, rng: rng.normal(size=(size, 1)), sliced_w2, size=100, repeat=20, random_seed=1)
    >>> scores.shape, bool(0.05 < np.median(scores) < 0.5)
    ((20,), True)
    """
    size, repeat = _count(size, "size"), _count(repeat, "repeat")
    rng = np.random.default_rng(random_seed)

    def sample() -> np.ndarray:
        x = np.asarray(draw(size, rng))
        if x.ndim != 2 or len(x) != size:
            raise ValueError(f"draw({size}, rng) has shape {x.shape}; write a function that gives ({size}, n)")
        return x

    return np.array([score(sample(), sample()) for _ in range(repeat)])


def _power_of_distance(x: np.ndarray, y: np.ndarray, p: int) -> np.ndarray:
    """W_p^p of each row of x (rows, N) and of y (rows, M), shape (rows,)."""
    x, y = np.sort(x, axis=1), np.sort(y, axis=1)
    size, other = x.shape[1], y.shape[1]
    if size == other:
        return np.mean(np.abs(x - y) ** p, axis=1)
    # Both quantile functions are steps, at i / N and j / M. In units of 1 / (N M) the steps are integers: no rounding.
    at = np.union1d(np.arange(size + 1) * other, np.arange(other + 1) * size)
    gap = np.abs(x[:, at[:-1] // other] - y[:, at[:-1] // size])
    return gap**p @ (np.diff(at) / (size * other))


def _blocks(unit: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The directions, so many at a time that a block of projections of `size` points is not large."""
    rows = max(1, BLOCK // size)
    for start in range(0, len(unit), rows):
        yield unit[start : start + rows]


def _samples(x: ArrayLike, y: ArrayLike, first: str = "x", second: str = "y") -> tuple[np.ndarray, np.ndarray]:
    """Both as finite float64 arrays with as many columns."""
    x, y = _sample(x, first), _sample(y, second)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{second} has {y.shape[1]} coordinates, {first} has {x.shape[1]}; write the same coordinates in both"
        )
    return x, y


def _sample(value: ArrayLike, name: str) -> np.ndarray:
    array = _numbers(value, name)
    if array.ndim != 2 or not array.size:
        line = f" ({name}[:, None] for points of the line)" if array.ndim == 1 and array.size else ""
        raise ValueError(f"{name} has shape {array.shape}; write (points, n), one point a row{line}")
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(f"{name} is {array[bad][0]} at point {np.argwhere(bad)[0, 0]}; write finite numbers")
    return array


def _shares(value: ArrayLike, name: str) -> np.ndarray:
    array = _numbers(value, name)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; write (m,), one share per outcome")
    bad = ~(array >= 0)
    if bad.any():
        raise ValueError(f"{name} is {array[bad][0]} at outcome {np.flatnonzero(bad)[0]}; write shares >= 0")
    if not abs(array.sum() - 1) < 1e-6:
        raise ValueError(f"{name} sums to {array.sum():.8g}; write shares that sum to 1")
    return array


def _numbers(value: ArrayLike, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} has rows of different lengths; write rows of the same length") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {array.dtype}; write real numbers")
    return array.astype(float)


def _count(value: int, name: str) -> int:
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; write a whole number > 0")
    return int(value)
