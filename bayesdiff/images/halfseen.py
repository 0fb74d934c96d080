"""Half-seen pictures: y = A x + noise, with a level prior for x.

    p0(x | y) ∝ p0(x) N(y; A x, s^2 I)                                              level 0, exact
    p_k(o_k | y) ∝ p_k(o_k) p(y | o_k),   p(y | o_k) = ∫ N(y; A x, s^2 I) p(x | o_k) dx

The integral is not known. As approximation, p(x | o_k) is taken for a normal law that has its mean, and the same
spread in all directions:

    p(y | o_k) ≈ N(y; A E[x | o_k], s^2 I + r_k^2 A A'),   r_k^2 = v^2 sigma_k^2 / (alpha_k^2 v^2 + sigma_k^2)

with E[x | o_k] from the gradient of log p_k (Tweedie's formula: Robbins 1956) and v the sd of a number in x. This is
the guidance of Song, Vahdat, Mardani and Kautz (2023). At level 0 it is exact, and for a p0 that is normal with the
covariance v^2 I at every level. In between it is not, so chains that follow these densities end near p0(x | y) and not
at it: moves at level 0 (`settle` of `bayesdiff.images.inverters.draw`) mend what lies near by, but not how often a
chain ends near one mode and how often near another.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pytensor.gradient import grad

from bayesdiff.checks import positive_number, real_array
from bayesdiff.compiled import CompiledPrior
from bayesdiff.step import LEVEL, clone, layout, schedule_of

NAME = "y"


def half_seen(
    prior: pm.Model | CompiledPrior, y: ArrayLike, seen: ArrayLike, sd: float, *, spread: float = 1.0
) -> pm.Model:
    """Add what is seen of x to a level prior: at level 0 as data, at the others as an approximation.

    p_k(o_k | y) ∝ p_k(o_k) N(y; A E[x | o_k], s^2 I + r_k^2 A A')

    r_k^2 = v^2 sigma_k^2 / (alpha_k^2 v^2 + sigma_k^2)

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        A level prior with one variable x, such as `classifier_prior` or ``bd.gaussian_mixture(..., schedule)``.
    y : array_like
        What was seen: for a mask of x's shape, of which only the seen part is read; for a matrix (m,).
    seen : array_like
        A: a mask, True where x is seen, of x's shape; or a matrix (m, size of x), which multiplies x as it lies in
        memory (``x.ravel()``): see `blur`.
    sd : float
        s > 0, the sd of the noise in y.
    spread : float
        v > 0, the sd of a number in x among x of one kind: ``network.net.sd`` or less for a network. It changes the
        way, and so how often a chain ends near which mode, but nothing at level 0. On a masked mixture, whose answer is
        known, .9% of the mass ended near wrong modes with .7 times the sd of all numbers, and 9% with 1.4 times:
        rather too small than too large.

    Returns
    -------
    pm.Model
        A level prior with the observed variable ``y``. `reverse` follows it in the next-level form. With an `sd` below
        the least sd of p0, `bayesdiff.images.inverters.draw` needs to be told, as ``narrowest``.

    Raises
    ------
    TypeError, ValueError
        If `prior` is no level prior or has several variables, a shape does not fit, nothing is seen, or `sd` or
        `spread` is not > 0.

    References
    ----------
    Song, Vahdat, Mardani, Kautz (2023), Pseudoinverse-guided diffusion models for inverse problems, equations 5 to 7.

    Examples
    --------
    Of a normal law in the plane the first number is seen to be 1, with an sd as large as its own. Then it is 1/2:

    >>> import numpy as np
    >>> import bayesdiff as bd
    >>> from bayesdiff.images import half_seen
    >>> prior = bd.gaussian_mixture([1.0], [[0.0, 0.0]], 1.0, bd.geometric(4, 0.5, 4.0))
    >>> half = half_seen(prior, [1.0, np.nan], [True, False], sd=1.0)
    >>> bd.find_map(half, o=[0.0, 0.0], sigma=1e6, random_seed=1, progressbar=False)["posterior"]["x"].values[
    ...     0, 0
    ... ].round(2)
    array([0.5, 0. ])
    """
    model = prior.model if isinstance(prior, CompiledPrior) else prior
    at = layout(model)
    schedule = schedule_of(model)
    if schedule is None:
        raise ValueError("prior is no level prior; write one of classifier_prior, or gaussian_mixture(..., schedule)")
    if len(at.names) != 1:
        raise ValueError(f"prior has the variables {list(at.names)}; write one that has x alone")
    if NAME in model.named_vars:
        raise ValueError(f"prior has a variable {NAME!r} already, and what is seen gets that name; rename it")
    shape = tuple(at.shapes[0])
    for name, value in (("sd", sd), ("spread", spread)):
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not number or not 0 < value < np.inf:
            raise ValueError(f"{name} is {value!r}; write a number > 0")
    matrix, values = _read(y, seen, shape)

    alpha, sigma = pt.as_tensor(schedule.alpha), pt.as_tensor(schedule.sigma)
    half = clone(model)
    with half:
        x = half[at.names[0]]
        level = pt.cast(half[LEVEL], "int64")
        slope = grad(pm.logp(x, x).sum(), x)
        mean = (x + sigma[level] ** 2 * slope) / alpha[level]
        rest = schedule.sigma**2 * spread**2 / (schedule.alpha**2 * spread**2 + schedule.sigma**2)
        variance = pt.as_tensor(rest)[level]
        if matrix is None:
            where = np.flatnonzero(np.asarray(seen).ravel())
            pm.Normal(NAME, mean.ravel()[where], pt.sqrt(sd**2 + variance), observed=values)
        else:
            # Along the axes of A A' the numbers of y are independent.
            squares, axes = np.linalg.eigh(matrix @ matrix.T)
            along = pt.as_tensor(axes.T @ matrix) @ mean.ravel()
            spreads = pt.sqrt(sd**2 + variance * np.maximum(squares, 0.0))
            pm.Normal(NAME, along, spreads, observed=axes.T @ values)
    return half


def blur(shape: tuple[int, ...], sd: float, every: int = 1) -> np.ndarray:
    """Compute the matrix that blurs a picture by a Gaussian, and keeps every so many-th pixel of each row and column.

    (A x)_ij = sum over i', j' of w_ii' w_jj' x_i'j',   w_ii' ∝ exp(-(i - i')^2 / (2 sd^2)),  rows of w with sum 1

    Parameters
    ----------
    shape : (int, int, int)
        Height, width and colours of a picture.
    sd : float
        Of the Gaussian, in pixels.
    every : int
        1 keeps all pixels.

    Returns
    -------
    numpy.ndarray (m, height * width * colours)

    Raises
    ------
    TypeError, ValueError
        If `shape` is none, or `sd` or `every` is not > 0.

    Examples
    --------
    >>> from bayesdiff.images import blur
    >>> blur((8, 8, 1), sd=1.5, every=2).shape
    (16, 64)
    """
    whole = isinstance(shape, tuple | list) and all(isinstance(length, int | np.integer) for length in shape)
    if not whole or len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape is {shape!r}; write (height, width, colours)")
    positive_number(sd, "sd", "a number of pixels > 0")
    if not isinstance(every, int | np.integer) or isinstance(every, bool) or every < 1:
        raise ValueError(f"every is {every!r}; write an int >= 1")

    def along(size: int) -> np.ndarray:
        place = np.arange(size)
        weights = np.exp(-0.5 * ((place[:, None] - place) / sd) ** 2)
        return (weights / weights.sum(axis=1, keepdims=True))[::every]

    return np.kron(np.kron(along(shape[0]), along(shape[1])), np.eye(shape[2]))


def _read(y: ArrayLike, seen: ArrayLike, shape: tuple[int, ...]) -> tuple[np.ndarray | None, np.ndarray]:
    """A where it is a matrix, and the numbers that were seen."""
    size = int(np.prod(shape))
    values = real_array(y, "y")
    try:
        which = np.asarray(seen)
    except ValueError as error:
        raise TypeError("seen is no array: its rows have different lengths; write a mask or a matrix") from error
    if len(shape) == 3 and np.nanmin(values, initial=0) >= 0 and np.nanmax(values, initial=0) > 16:
        raise ValueError(
            f"y goes up to {np.nanmax(values):.4g}; write pictures in -1..1: of bytes that is y / 127.5 - 1"
        )
    if which.dtype == bool:
        if which.shape != shape or values.shape != shape:
            raise ValueError(
                f"seen has shape {which.shape} and y {values.shape}; write both in x's shape {shape}: a mask, True "
                "where x is seen, and what is seen there"
            )
        if not which.any():
            raise ValueError("seen is False everywhere; nothing is seen: write True where x is seen")
        matrix, values = None, values.ravel()[which.ravel()]
    else:
        matrix = real_array(seen, "seen").astype(float)
        if matrix.ndim != 2 or matrix.shape[1] != size or values.shape != matrix.shape[:1]:
            raise ValueError(
                f"seen has shape {matrix.shape} and y {values.shape}; write a mask (True where x is seen, of shape "
                f"{shape}), or a matrix (m, {size}) and y (m,)"
            )
        if not np.isfinite(matrix).all():
            raise ValueError("seen holds numbers that are not finite; write a matrix of finite ones")
    if not np.isfinite(values).all():
        raise ValueError("y is not finite where it is seen; mask these places out")
    return matrix, values.astype(float)
