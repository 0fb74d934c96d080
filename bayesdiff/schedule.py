"""Noise levels: how much of x is left, and how much noise is added, from level 0 (x itself) to level K.

    o_k | x       ~ N(alpha_k x, sigma_k^2 I)                      k = 0..K, alpha_0 = 1, sigma_0 = 0
    o_k | o_{k-1} ~ N(a_k o_{k-1}, s_k^2 I)     a_k = alpha_k / alpha_{k-1},   s_k^2 = sigma_k^2 - a_k^2 sigma_{k-1}^2
    o_{k-1} | o_k, x ~ N(alpha_{k-1} x + b_k (o_k - alpha_k x), sigma_{k-1}^2 s_k^2 / sigma_k^2)
                                                b_k = a_k sigma_{k-1}^2 / sigma_k^2

A schedule is two arrays. Variance-exploding (alpha = 1) and variance-preserving (alpha^2 + sigma^2 = 1) are two ways to
fill them. Only the signal-to-noise ratio alpha / sigma matters: a schedule times a number per level is the same chain
in other units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bayesdiff.checks import Seed, generator, positive_int, real_array


@dataclass(frozen=True, eq=False)
class Schedule:
    """Compute what each level does to x: o_k | x ~ N(alpha_k x, sigma_k^2 I), k = 0..K.

    Parameters
    ----------
    alpha : array_like (K + 1,)
        How much of x is left; alpha[0] = 1, none is 0.
    sigma : array_like (K + 1,)
        Standard deviation of the noise, in units of the unconstrained x; sigma[0] = 0.

    Raises
    ------
    TypeError
        If one of them holds no real numbers.
    ValueError
        If shapes differ or hold no step, something is not finite, alpha is 0 somewhere, level 0 is not x itself, or
        the signal-to-noise ratio abs(alpha) / sigma does not fall from each level to the next.

    Notes
    -----
    The arrays are copies, and read-only. Two schedules are equal if their arrays are.

    References
    ----------
    Kingma, Salimans, Poole, Ho (2021), Variational diffusion models, section 3.1, for the form of a step.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> schedule = bd.Schedule(alpha=[1.0, 0.8, 0.6], sigma=[0.0, 0.6, 0.8])
    >>> schedule.levels, schedule.snr.round(3).tolist()
    (2, [inf, 1.778, 0.562])
    >>> a, s = schedule.step(2)
    >>> round(a, 3), round(s, 3)
    (0.75, 0.661)
    """

    alpha: np.ndarray
    sigma: np.ndarray

    def __post_init__(self) -> None:
        for name in ("alpha", "sigma"):
            array = real_array(getattr(self, name), name)  # a copy
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        alpha, sigma = self.alpha, self.sigma
        if alpha.ndim != 1 or alpha.shape != sigma.shape or len(alpha) < 2:
            raise ValueError(
                f"alpha has shape {alpha.shape} and sigma {sigma.shape}; write K + 1 numbers each, for the levels 0..K"
            )
        for name, array in (("alpha", alpha), ("sigma", sigma)):
            if not np.isfinite(array).all():
                where = int(np.flatnonzero(~np.isfinite(array))[0])
                raise ValueError(f"{name}[{where}] is {array[where]}; write finite numbers")
        if (alpha == 0).any():
            where = int(np.flatnonzero(alpha == 0)[0])
            raise ValueError(f"alpha[{where}] is 0, so nothing of x is left there; write a small number instead")
        if alpha[0] != 1 or sigma[0] != 0:
            raise ValueError(f"level 0 has alpha {alpha[0]:g} and sigma {sigma[0]:g}; it is x itself: write 1 and 0")
        if (sigma[1:] <= 0).any():
            where = 1 + int(np.flatnonzero(sigma[1:] <= 0)[0])
            raise ValueError(f"sigma[{where}] is {sigma[where]:g}; write numbers > 0 after level 0")
        # By relative rounding two levels that differ by less than this have a step of noise 0.
        ratio = np.abs(alpha[1:] / sigma[1:])
        rises = np.flatnonzero(ratio[1:] >= ratio[:-1] * (1 - 1e-12))
        if len(rises):
            k = int(rises[0]) + 1
            raise ValueError(
                f"the signal-to-noise ratio abs(alpha) / sigma goes from {ratio[k - 1]:.6g} at level {k} to "
                f"{ratio[k]:.6g} at level {k + 1}; each level must add noise: write a ratio that falls"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return np.array_equal(self.alpha, other.alpha) and np.array_equal(self.sigma, other.sigma)

    def __hash__(self) -> int:
        return hash((self.alpha.tobytes(), self.sigma.tobytes()))

    @property
    def levels(self) -> int:
        """K, the last level: how many steps there are."""
        return len(self.alpha) - 1

    @property
    def snr(self) -> np.ndarray:
        """Signal-to-noise ratio alpha^2 / sigma^2 (K + 1,) of each level, for x of variance 1; infinite at level 0."""
        with np.errstate(divide="ignore"):
            return (self.alpha / self.sigma) ** 2

    def step(self, level: int) -> tuple[float, float]:
        """Compute a_k and s_k of the small step from level k - 1 to k: o_k | o_{k-1} ~ N(a_k o_{k-1}, s_k^2 I).

        Parameters
        ----------
        level : int
            k, from 1 to K.

        Returns
        -------
        a, s : float

        Raises
        ------
        ValueError
            If there is no such step.
        """
        k = self._level(level)
        a = self.alpha[k] / self.alpha[k - 1]
        # As a product: the difference of two squares loses digits where levels are close.
        s2 = (self.sigma[k] - abs(a) * self.sigma[k - 1]) * (self.sigma[k] + abs(a) * self.sigma[k - 1])
        return float(a), float(np.sqrt(s2))

    def _level(self, level: int) -> int:
        if not isinstance(level, int | np.integer) or isinstance(level, bool) or not 1 <= level <= self.levels:
            raise ValueError(f"level is {level!r}; write a step of this schedule, 1 to {self.levels}")
        return int(level)


def one_step(sigma: float) -> Schedule:
    """Compute the schedule of one jump: o = x + sigma noise.

    alpha = (1, 1),   sigma = (0, sigma)

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise, > 0, in units of the unconstrained x.

    Returns
    -------
    Schedule
        With one level, K = 1.

    Raises
    ------
    ValueError
        If `sigma` is not a finite number > 0.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> bd.one_step(10).sigma.tolist()
    [0.0, 10.0]
    """
    noise = _number(sigma, "sigma")
    return Schedule(np.ones(2), np.array([0.0, noise]))


def geometric(steps: int, sigma_min: float, sigma_max: float) -> Schedule:
    """Compute a variance-exploding schedule whose noise grows by the same factor at every level.

    alpha_k = 1,   sigma_k = sigma_min (sigma_max / sigma_min)^((k - 1) / (K - 1)),   k = 1..K

    Parameters
    ----------
    steps : int
        K >= 1; with K = 1 the one level is at `sigma_max`.
    sigma_min, sigma_max : float
        Noise of levels 1 and K, 0 < `sigma_min` < `sigma_max`, in units of the unconstrained x.

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError, ValueError
        If `steps` is no int >= 1, or the two noises are not ordered numbers > 0.

    References
    ----------
    Song, Ermon (2019), Generative modeling by estimating gradients of the data distribution, section 4.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> bd.geometric(3, 0.1, 10).sigma.round(3).tolist()
    [0.0, 0.1, 1.0, 10.0]
    """
    k = positive_int(steps, "steps")
    low, high = _number(sigma_min, "sigma_min"), _number(sigma_max, "sigma_max")
    if high < low or (k > 1 and high == low):
        raise ValueError(f"sigma_min is {low:g} and sigma_max {high:g}; write a larger sigma_max")
    sigma = np.concatenate([[0.0], np.geomspace(low, high, k) if k > 1 else [high]])
    return Schedule(np.ones(k + 1), sigma)


def cosine(steps: int) -> Schedule:
    """Compute the variance-preserving cosine schedule.

    alpha_k^2 = prod_{j <= k} (1 - beta_j),   beta_j = min(1 - f(j / K) / f((j - 1) / K), .999),
    f(t) = cos(pi / 2 (t + .008) / 1.008)^2,   sigma_k^2 = 1 - alpha_k^2

    Parameters
    ----------
    steps : int
        K >= 1.

    Returns
    -------
    Schedule
        For x of about unit variance: the variance of o_k is then that of x at every level.

    Raises
    ------
    TypeError, ValueError
        If `steps` is no int >= 1.

    References
    ----------
    Nichol, Dhariwal (2021), Improved denoising diffusion probabilistic models, equation 17.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> schedule = bd.cosine(4)
    >>> (schedule.alpha**2 + schedule.sigma**2).round(12).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    k = positive_int(steps, "steps")
    f = np.cos(np.pi / 2 * (np.arange(k + 1) / k + 0.008) / 1.008) ** 2
    return _preserving(np.minimum(1 - f[1:] / f[:-1], 0.999))


def linear(steps: int) -> Schedule:
    """Compute the variance-preserving schedule of DDPM: betas on a line.

    alpha_k^2 = prod_{j <= k} (1 - beta_j),   beta_j = (1000 / K) (1e-4 + (.02 - 1e-4) (j - 1) / (K - 1)),
    sigma_k^2 = 1 - alpha_k^2

    Parameters
    ----------
    steps : int
        K >= 1. With K = 1000 the betas are those of the paper, from 1e-4 to .02. Fewer steps get larger ones, in
        proportion, each at most .999: from some 30 steps on, alpha_K is .001 to .006. With fewer, the last betas are
        cut, and levels are spent where hardly any signal is left; `cosine` and `geometric` do better there.

    Returns
    -------
    Schedule
        For x of about unit variance: the variance of o_k is then that of x at every level.

    Raises
    ------
    TypeError, ValueError
        If `steps` is no int >= 1.

    References
    ----------
    Ho, Jain, Abbeel (2020), Denoising diffusion probabilistic models, section 4.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> schedule = bd.linear(1000)
    >>> round(float(1 - schedule.alpha[1] ** 2), 6), round(float(schedule.alpha[-1]), 4)
    (0.0001, 0.0064)
    """
    k = positive_int(steps, "steps")
    beta = np.linspace(1e-4, 0.02, k) if k > 1 else np.array([(1e-4 + 0.02) / 2])
    return _preserving(np.minimum(1000 / k * beta, 0.999))


def diffuse(x: ArrayLike, alpha: ArrayLike, sigma: ArrayLike, random_seed: Seed = None) -> np.ndarray:
    """Draw what is left of x after noise: the forward step.

    o ~ N(alpha x, sigma^2 I)

    Parameters
    ----------
    x : array_like (..., n)
        Clean states, unconstrained; any shape.
    alpha, sigma : array_like
        Signal and noise (>= 0) of the level; numbers, or arrays that broadcast with `x`.
    random_seed : int, Generator or None
        The source of randomness.

    Returns
    -------
    ndarray
        The noisier states, of the shape that `x`, `alpha` and `sigma` broadcast to.

    Raises
    ------
    TypeError, ValueError
        If something holds no real numbers, `alpha` or `sigma` is not finite, or `sigma` is negative.

    References
    ----------
    Ho, Jain, Abbeel (2020), Denoising diffusion probabilistic models, equation 4.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> o = bd.diffuse([0.0] * 1000, alpha=1.0, sigma=10.0, random_seed=1)
    >>> o.shape, bool(abs(o.std() - 10) < 1)
    ((1000,), True)
    """
    clean, a, s = real_array(x, "x"), real_array(alpha, "alpha"), real_array(sigma, "sigma")
    for name, array in (("alpha", a), ("sigma", s)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is {array[~np.isfinite(array)].flat[0]}; write finite numbers")
    if (s < 0).any():
        raise ValueError(f"sigma is {s.min():g}; write numbers >= 0")
    try:
        mean = np.broadcast_to(a * clean, np.broadcast_shapes(clean.shape, a.shape, s.shape))
    except ValueError as error:
        raise ValueError(
            f"x has shape {clean.shape}, alpha {a.shape} and sigma {s.shape}, which do not fit; write numbers, or add "
            "axes of length 1"
        ) from error
    return mean + s * generator(random_seed).normal(size=mean.shape)


def bridge(schedule: Schedule, level: int, o: ArrayLike, x: ArrayLike, random_seed: Seed = None) -> np.ndarray:
    """Draw the level below from a clean x and the level above it: one step down in the clean form.

    o_{k-1} ~ N(alpha_{k-1} x + b_k (o_k - alpha_k x), sigma_{k-1}^2 s_k^2 / sigma_k^2)
    b_k = a_k sigma_{k-1}^2 / sigma_k^2

    Parameters
    ----------
    schedule : Schedule
        The noise levels.
    level : int
        k, from 1 to K. At k = 1 the result is `x`.
    o : array_like (..., n)
        o_k.
    x : array_like (..., n)
        What o_k was inverted to.
    random_seed : int, Generator or None
        The source of randomness.

    Returns
    -------
    ndarray (..., n)
        o_{k-1}. Exact: if x is a draw from p(x | o_k), this is one from p(o_{k-1} | o_k).

    Raises
    ------
    TypeError, ValueError
        If `schedule` is none, there is no such step, or `o` and `x` have different shapes.

    References
    ----------
    Ho, Jain, Abbeel (2020), Denoising diffusion probabilistic models, equations 6 and 7.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> schedule = bd.geometric(8, 0.1, 10.0)
    >>> bd.bridge(schedule, 1, o=[3.0], x=[2.5], random_seed=1).tolist()
    [2.5]
    >>> bd.bridge(schedule, 8, o=[3.0], x=[2.5], random_seed=1).shape
    (1,)
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule is {type(schedule).__name__}; write one, as bd.geometric(16, 0.1, 10.0)")
    k = schedule._level(level)
    above, clean = real_array(o, "o"), real_array(x, "x")
    if above.shape != clean.shape:
        raise ValueError(f"o has shape {above.shape} and x {clean.shape}; write the same shape for both")
    a, s = schedule.step(k)
    sigma, below = schedule.sigma[k], schedule.sigma[k - 1]
    mean = schedule.alpha[k - 1] * clean + a * (below / sigma) ** 2 * (above - schedule.alpha[k] * clean)
    return mean + below * s / sigma * generator(random_seed).normal(size=mean.shape)


def _preserving(beta: np.ndarray) -> Schedule:
    alpha2 = np.concatenate([[1.0], np.cumprod(1 - beta)])
    # 1 - alpha^2, without the loss of digits where alpha is nearly 1.
    sigma2 = 0.0 - np.expm1(np.concatenate([[0.0], np.cumsum(np.log1p(-beta))]))
    return Schedule(np.sqrt(alpha2), np.sqrt(sigma2))


def _number(value: object, name: str) -> float:
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value}; write a finite number > 0")
    array = real_array(value, name)
    if array.ndim or not np.isfinite(array) or array <= 0:
        raise ValueError(f"{name} is {value!r}; write a finite number > 0")
    return float(array)
