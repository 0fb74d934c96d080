"""Priors that PyMC has no distribution for. Each is a plain ``pm.Model``.

density             p0(x) ∝ exp(logp(x))                   known up to a constant, cannot be drawn from
tilt                p(x)  ∝ p0(x) exp(log_weight(x))       a classifier's log f on top of a prior
gaussian_mixture    p0(x) = sum_k w_k N(x; m_k, C_k)       exact density, exact draws, and so at every level
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pymc.distributions.distribution import SymbolicRandomVariable, _support_point
from pymc.distributions.shape_utils import rv_size_is_none
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from bayesdiff.checks import mapping, real_array
from bayesdiff.schedule import Schedule
from bayesdiff.step import LEVEL, RESERVED_DIMS, add_level, clone, layout


class DensityRV(SymbolicRandomVariable):
    """A random variable with a log density and no draws.

    Its only parameter is the initial point, which gives the shape and, unlike an ``initval``, survives cloning.
    ``pm.CustomDist`` would do for the density, but it cannot be shown by ``pm.model_to_graphviz`` without a draw.
    """

    _print_name = ("Density", "\\operatorname{Density}")

    def __init__(self, logp: Callable[..., TensorVariable], *args: Any, **kwargs: Any) -> None:
        self.logp = logp
        super().__init__(*args, **kwargs)

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        """Give NaN of the right shape.

        Compiled graphs hold the inner graph, which raises. Only a graph that was never rewritten gets here, and in
        such a graph PyMC asks for nothing but the shape (pm.model_to_graphviz).
        """
        outputs[0][0], outputs[1][0] = inputs[0], np.full_like(inputs[1], np.nan)


@_logprob.register(DensityRV)
def _density_logp(op: DensityRV, values: Sequence[TensorVariable], *inputs: Any, **kwargs: Any) -> TensorVariable:
    _rng, _start, *level = inputs
    return pt.as_tensor(op.logp(values[0], *level))


@_support_point.register(DensityRV)
def _density_support_point(
    op: DensityRV, rv: TensorVariable, rng: Any, start: TensorVariable, *level: TensorVariable
) -> TensorVariable:
    return start


def _density_rv(
    logp: Callable[..., TensorVariable], name: str, start: np.ndarray, level: Sequence[TensorVariable]
) -> TensorVariable:
    point = pt.as_tensor(start)
    rng = pytensor.shared(np.random.default_rng())
    inner_rng, inner_point = rng.type(), point.type()
    inner_level = [variable.type() for variable in level]
    next_rng, number = pt.random.uniform(rng=inner_rng, return_next_rng=True)
    # number < 0 never holds, and no rewrite can know that: the error comes when somebody draws, not when a graph that
    # only needs the shape is compiled. JAX cannot raise; there the draw is NaN.
    refuse = CheckAndRaise(
        NotImplementedError,
        f"{name!r} is a density known up to a constant and cannot be drawn from, so it has no prior draws; "
        "draw from its posterior, by sample_posterior or pm.sample",
    )
    draw = refuse(pt.full_like(inner_point, np.nan), number < 0)
    core = ",".join(f"d{axis}" for axis in range(start.ndim))
    op = DensityRV(
        logp,
        inputs=[inner_rng, inner_point, *inner_level],
        outputs=[next_rng, draw],
        extended_signature=f"[rng],({core}){',()' * len(level)}->[rng],({core})",
    )
    return op(rng, point, *level)


def _call(function: Callable[..., Any], what: str, *args: TensorVariable, **kwargs: TensorVariable) -> TensorVariable:
    """Call a user's log density once on symbols, and check that a real scalar comes back."""
    given = ", ".join(f"{var.name!r} of shape {var.type.shape}" for var in (*args, *kwargs.values()))
    try:
        value = function(*args, **kwargs)
    except Exception as error:
        raise ValueError(
            f"{what} raised {type(error).__name__} when called with {given}: {error}; its arguments are PyTensor "
            "variables, so write it with pytensor.tensor functions"
        ) from error
    if not isinstance(value, Variable | np.ndarray | np.number | float | int):
        raise TypeError(f"{what} gave {type(value).__name__} for {given}; return a PyTensor scalar")
    value = pt.as_tensor(value)
    if value.ndim:
        raise ValueError(
            f"{what} gave shape {value.type.shape} for {given}; return one number, the log density of all of x, "
            "as in pt.sum(...)"
        )
    if value.dtype not in ("float64", "float32", "float16"):
        raise TypeError(f"{what} gave a {value.dtype} for {given}; return a real number")
    return value


def density(
    logp: Callable[..., TensorVariable],
    shape: int | tuple[int, ...] = (),
    *,
    name: str = "x",
    dims: str | Sequence[str] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    initval: ArrayLike = 0.0,
    schedule: Schedule | None = None,
) -> pm.Model:
    """Write a log density, known up to a constant, as a prior.

    p0(x) ∝ exp(logp(x)),   or with a schedule   p_k(x) ∝ exp(logp(x, k)),  k = 0..K

    Parameters
    ----------
    logp : callable
        Takes x, a PyTensor variable of shape `shape`, and gives its log density, a PyTensor scalar. It must depend on x
        and needs no constant. It is called once here, and once for every log density that PyMC builds. With a schedule
        it takes x and the level, an integer scalar of PyTensor.
    shape : int or tuple of int
        Shape of x. It may be left out where `coords` gives the length of every dim in `dims`.
    name : str
        Name of the variable.
    dims : str or sequence of str, optional
        One name per axis of x.
    coords : mapping, optional
        Labels of the dims; a dim without them is counted 0, 1, ...
    initval : float or array_like
        Where samplers and optimisers start, in units of x, of shape `shape` or one number for all. The density should
        be positive and smooth there. It stays with the variable when the model is copied.
    schedule : Schedule, optional
        Makes it a level prior: `logp` then gives the density of p0 diffused to each level of the schedule, which
        nobody checks, and `reverse` can go from each level to the next.

    Returns
    -------
    pm.Model
        A model with one free variable, unbounded in all directions. It has no prior draws:
        ``pm.sample_prior_predictive`` and ``pm.draw`` raise NotImplementedError (with PyTensor's JAX backend, which
        cannot raise, they give NaN).

    Raises
    ------
    TypeError
        If `logp` is not callable or gives no real PyTensor scalar, `name` is no string, `initval` holds no real
        numbers, or `schedule` is none.
    ValueError
        If `logp` raises, gives an array or does not depend on x (or, with a schedule, on the level); if `shape`,
        `dims`, `coords` and `initval` do not fit.

    Examples
    --------
    A ring of radius 3 in the plane:

    >>> import pytensor.tensor as pt
    >>> import bayesdiff as bd
    >>> prior = bd.density(lambda x: -0.5 * (pt.sqrt(pt.sum(x**2)) - 3) ** 2 / 0.1, shape=2, initval=[3.0, 0.0])
    >>> round(float(prior.compile_logp()({"x": [0.0, 2.0]})), 6)
    -5.0
    """
    if not callable(logp):
        raise TypeError(f"logp must be a function of x, got {type(logp).__name__}; write lambda x: ...")
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a string that is not empty, got {name!r}")
    axes = () if dims is None else (dims,) if isinstance(dims, str) else dims
    if not isinstance(axes, tuple | list) or not all(isinstance(axis, str) for axis in axes):
        raise TypeError(f"dims is {dims!r}; write one name for each axis of x, as 'place' or ('row', 'column')")
    axes = tuple(axes)
    for axis in axes:
        if axis in RESERVED_DIMS:
            raise ValueError(f"dims holds {axis!r}, which results use themselves; give it another name")
    given = {} if coords is None else mapping(coords, "coords", "coords={'place': ['a', 'b']}")
    for key, values in given.items():
        if isinstance(values, str) or not np.iterable(values):
            raise TypeError(f"coords[{key!r}] is {values!r}; write a list of labels")
    labels = {key: tuple(values) for key, values in given.items()}
    size = (shape,) if isinstance(shape, Integral) and not isinstance(shape, bool) else shape
    if size == () and axes and all(axis in labels for axis in axes):
        size = tuple(len(labels[axis]) for axis in axes)
    if not isinstance(size, tuple) or not all(isinstance(length, Integral) and length > 0 for length in size):
        raise ValueError(f"shape is {shape!r}; write a number > 0, or a tuple of them, one for each axis of x")
    if axes and len(axes) != len(size):
        raise ValueError(f"dims {axes} has {len(axes)} names for the shape {size}; write one name per axis")
    for axis, length in zip(axes, size, strict=bool(axes)):
        if len(labels.get(axis, range(int(length)))) != length:
            raise ValueError(f"coords has {len(labels[axis])} labels for {axis!r}; write {length}, as shape says")
    start = real_array(initval, "initval")
    if not np.isfinite(start).all():
        raise ValueError(f"initval is not finite: {initval!r}; write numbers")
    if start.shape not in ((), size):
        raise ValueError(f"initval has shape {start.shape}; write one number, or an array of shape {size}")
    start = np.broadcast_to(start, size).astype(pytensor.config.floatX)

    _check_schedule(schedule)
    x = pt.tensor(name, dtype=start.dtype.name, shape=size)
    levels = [] if schedule is None else [pt.scalar("level", dtype="int64")]
    found = set(ancestors([_call(logp, "logp", x, *levels)]))
    if x not in found:
        raise ValueError(f"logp does not depend on {name!r}; write a function of it, or use pm.Flat for a flat density")
    if levels and levels[0] not in found:
        raise ValueError("logp does not depend on the level; write a function of x and level, or leave schedule out")

    with pm.Model(coords=labels, model=None) as model:  # no part of a model that is being written
        level = [] if schedule is None else [add_level(model, schedule)]
        for axis, length in zip(axes, size, strict=bool(axes)):
            if axis not in labels:
                model.add_coord(axis, range(int(length)))
        model.register_rv(_density_rv(logp, name, start, level), name, dims=axes or None, default_transform=None)
    layout(model)  # a name that results use themselves is said here, where it was given
    return model


def _check_schedule(schedule: Schedule | None) -> None:
    if schedule is not None and not isinstance(schedule, Schedule):
        raise TypeError(f"schedule is {type(schedule).__name__}; write one, as bd.geometric(16, 0.1, 10.0)")


def tilt(prior: pm.Model, log_weight: Callable[..., TensorVariable]) -> pm.Model:
    """Multiply a prior by a positive function of its variables.

    p(x) ∝ p0(x) exp(log_weight(x))

    Parameters
    ----------
    prior : pm.Model
        p0: any model with continuous free variables. It is not touched.
    log_weight : callable
        Gives a PyTensor scalar. With one free variable it is called as ``log_weight(x)``; with several as
        ``log_weight(mu=mu, tau=tau, ...)``, every free variable by its name (take ``**others`` for those not needed).
        The variables are the constrained ones (tau > 0), of the shapes that they have in the model. Other variables of
        the prior (Deterministics, data) can be used as ``prior["name"]``.

    Returns
    -------
    pm.Model
        A copy of the prior with one Potential more, called ``tilt`` (``tilt_2`` and so on if there is one). Like every
        model with a Potential it has no prior draws: ``pm.sample_prior_predictive`` warns that it ignores the weight.

    Raises
    ------
    TypeError
        If `prior` is no model or has discrete free variables, if `log_weight` is not callable or gives no real scalar.
    ValueError
        If `log_weight` raises, gives an array, or uses no free variable of the prior.

    Examples
    --------
    N(0, 1) times exp(x) is N(1, 1), up to a constant:

    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> logp = bd.tilt(prior, lambda x: x).compile_logp()
    >>> round(float(logp({"x": 1.0}) - logp({"x": 0.0})), 6)
    0.5
    """
    if not callable(log_weight):
        raise TypeError(f"log_weight must be a function, got {type(log_weight).__name__}; write lambda x: ...")
    names = layout(prior).names
    model = clone(prior)
    free = {name: model.named_vars[name] for name in names}
    weight = (
        _call(log_weight, "log_weight", *free.values()) if len(free) == 1 else _call(log_weight, "log_weight", **free)
    )
    # A closure may have named variables of the user's model: they become those of the copy.
    to_copy = {old: model.named_vars[name] for name, old in prior.named_vars.items()}
    # copy(): the weight may be a variable itself (lambda x: x), and a variable cannot have two names.
    [tilted] = graph_replace([weight.copy()], to_copy, strict=False)
    if not set(free.values()) & set(ancestors([tilted])):
        raise ValueError(f"log_weight depends on no free variable of the prior; write a function of {list(names)}")
    label, count = "tilt", 1
    while label in model.named_vars:
        count += 1
        label = f"tilt_{count}"
    with model:
        pm.Potential(label, tilted)
    return model


def gaussian_mixture(
    weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, schedule: Schedule | None = None
) -> pm.Model:
    """Write a mixture of Gaussians as a prior, with its exact density and exact draws.

    p0(x) = sum_k w_k N(x; m_k, C_k),   k = 1..m
    p_j(x) = sum_k w_k N(x; alpha_j m_k, alpha_j^2 C_k + sigma_j^2 I)    with a schedule: the same, diffused to level j

    Parameters
    ----------
    weights : array_like (m,)
        w_k > 0, with sum 1.
    means : array_like (m,) or (m, n)
        m_k. (m,) makes x a number, (m, n) a vector of n numbers.
    covariances : array_like (), (m,) or (m, n, n)
        C_k in squared units of x. One number s^2 for all, or one per component, means s^2 I (for a number x: its
        variance); (m, n, n) gives full matrices, symmetric and positive definite.
    schedule : Schedule, optional
        Makes it a level prior: its density depends on the model's data ``level`` (0, p0 itself, at first), and
        `reverse` can go from each level to the next.

    Returns
    -------
    pm.Model
        A model with one free variable ``x`` of shape () or (n,), which starts at the mean of the heaviest component.

    Raises
    ------
    TypeError
        If an argument holds no real numbers, or `schedule` is none.
    ValueError
        If shapes do not fit, something is not finite, a weight is not positive or their sum is not 1, or a covariance
        is not symmetric positive definite.

    Notes
    -----
    With W_k the inverse Cholesky factor of C_k, log p0(x) = logsumexp_k(c_k - |W_k (x - m_k)|^2 / 2). All W_k are
    stacked into one constant matrix, one for each level: a batch of x costs one matrix product and never a
    factorisation.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> prior = bd.gaussian_mixture([0.7, 0.3], [-2.0, 2.0], 1.0)
    >>> round(float(prior.compile_logp()({"x": -2.0})), 6)
    -1.27547
    """
    w, mean, cov = real_array(weights, "weights"), real_array(means, "means"), real_array(covariances, "covariances")
    if w.ndim != 1 or not w.size:
        raise ValueError(f"weights has shape {w.shape}; write one weight per component, shape (m,)")
    m = len(w)
    if mean.ndim not in (1, 2) or len(mean) != m or not mean.size:
        raise ValueError(
            f"means has shape {mean.shape}, for {m} weights; write ({m},) if x is a number, ({m}, n) if it is a vector"
        )
    n = mean.shape[1] if mean.ndim == 2 else 1
    forms = [(), (m,), (m, n, n)] if mean.ndim == 2 else [(), (m,)]
    if cov.shape not in forms:
        raise ValueError(
            f"covariances has shape {cov.shape}, for means of shape {mean.shape}; "
            f"write one of {', '.join(map(str, forms))}"
        )
    for what, array in (("weights", w), ("means", mean), ("covariances", cov)):
        if not np.isfinite(array).all():
            raise ValueError(f"{what} holds {array[~np.isfinite(array)][0]}; write finite numbers")
    if (w <= 0).any():
        raise ValueError(f"weights[{int(np.argmin(w))}] is {w.min():g}; write weights > 0, and leave out what has none")
    if not np.isclose(w.sum(), 1, rtol=0, atol=1e-9):
        raise ValueError(f"weights have sum {w.sum():.12g}; write weights / weights.sum()")
    if cov.ndim < 3:
        if (cov <= 0).any():
            raise ValueError(f"covariances holds the variance {cov.min():g}; write variances > 0")
        cov = np.broadcast_to(cov, (m,))[:, None, None] * np.eye(n)
    for k, matrix in enumerate(cov):
        if not np.allclose(matrix, matrix.T, rtol=1e-9, atol=1e-12 * np.abs(matrix).max()):
            raise ValueError(f"covariances[{k}] is not symmetric: {matrix.tolist()}; write (C + C.T) / 2")
        smallest = np.linalg.eigvalsh(matrix)[0]
        if smallest <= 0:
            raise ValueError(f"covariances[{k}] has the eigenvalue {smallest:.3g}; write a positive definite matrix")

    _check_schedule(schedule)
    # One row for each level; level 0, where nothing is added, is the mixture itself.
    alpha, sigma = (np.ones(1), np.zeros(1)) if schedule is None else (schedule.alpha, schedule.sigma)
    centres = alpha[:, None, None] * mean.reshape(m, n)
    spread = (alpha**2)[:, None, None, None] * (cov + cov.swapaxes(1, 2)) / 2
    factor = np.linalg.cholesky(spread + (sigma**2)[:, None, None, None] * np.eye(n))
    whiten = np.linalg.inv(factor)
    stacked, shift = whiten.reshape(-1, m * n, n), np.einsum("lkij,lkj->lki", whiten, centres).reshape(-1, m * n)
    # The weights' sum is 1 to 1e-9; divided by it the density is normalised exactly.
    log_det = np.log(np.diagonal(factor, axis1=2, axis2=3)).sum(axis=2)
    constant = np.log(w / w.sum()) - log_det - n / 2 * np.log(2 * np.pi)

    def at(values: np.ndarray, level: Sequence[TensorVariable]) -> Any:
        return pt.as_tensor(values)[level[0]] if level else values[0]

    def logp(x: TensorVariable, *level: TensorVariable) -> TensorVariable:
        matrix, offset = at(stacked, level), at(shift, level)
        white = matrix @ x - offset if mean.ndim == 2 else matrix[:, 0] * x - offset
        terms = at(constant, level) - 0.5 * pt.sum(white.reshape((m, n)) ** 2, axis=1)
        # Written out: far away exp underflows for all components, and a gradient of log(sum(exp)) would be 0 / 0.
        top = pt.max(terms)
        return top + pt.log(pt.sum(pt.exp(terms - top)))

    def draw(*level_and_size: TensorVariable) -> TensorVariable:
        *level, size = level_and_size
        batch = () if rv_size_is_none(size) else tuple(size)
        # By hand: NumPy's categorical draws of a batch are a loop in Python.
        u = pm.Uniform.dist(0, 1, shape=batch)
        k = pt.sum(pt.as_tensor(u)[..., None] > np.cumsum(w / w.sum())[:-1], axis=-1)
        noise = pm.Normal.dist(shape=(*batch, n))
        x = pt.as_tensor(at(centres, level))[k] + pt.sum(pt.as_tensor(at(factor, level))[k] * noise[..., None, :], -1)
        return x if mean.ndim == 2 else x[..., 0]

    heaviest = mean[int(np.argmax(w))]
    with pm.Model(model=None) as model:  # no part of a model that is being written
        pm.CustomDist(
            "x",
            *([] if schedule is None else [add_level(model, schedule)]),
            dist=draw,
            logp=logp,
            support_point=lambda rv, size, *level: pt.as_tensor(heaviest),
            ndim_supp=mean.ndim - 1,
            class_name="GaussianMixture",
        )
    # PyMC keeps no trace of what the closures hold. The op goes wherever the variable is copied to.
    model["x"].owner.op.equation = _mixture_equation(w, mean, np.broadcast_to(cov, (m, n, n)), schedule is not None)
    return model


def _mixture_equation(w: np.ndarray, mean: np.ndarray, cov: np.ndarray, at_levels: bool) -> str:
    """Write a mixture with its numbers, one line for each of them."""
    square = cov[:, 0, 0] if all(np.array_equal(c, c[0, 0] * np.eye(len(c))) for c in cov) else None
    text = "sum_k w_k N(m_k, C_k)" + (", at level j: sum_k w_k N(alpha_j m_k, alpha_j^2 C_k + sigma_j^2 I)" * at_levels)
    told = {"w": w, "m": mean, "C": cov if square is None else square}
    lines = [f"    {name} = {_numbers(values)}" for name, values in told.items()]
    return "\n".join([text, *lines]) + (" I" if square is not None and mean.ndim == 2 else "")


def _numbers(values: np.ndarray) -> str:
    """Write an array in one line, a long one shortened."""
    with np.printoptions(threshold=40, edgeitems=2, linewidth=10_000, formatter={"float": "{:.4g}".format}):
        return " ".join(str(values).split()).replace("[ ", "[")


def equations(model: pm.Model) -> str:
    """Write a model as PyMC does, with the numbers of a `gaussian_mixture` and without what is bookkeeping of ours.

    Examples
    --------
    >>> print(equations(gaussian_mixture([0.7, 0.3], [-2.0, 2.0], [1.0, 0.1])))
    x ~ sum_k w_k N(m_k, C_k)
        w = [0.7 0.3]
        m = [-2 2]
        C = [1 0.1]
    """
    lines = []
    for line in model.str_repr().splitlines():
        name, sign, _ = line.partition(" ~ ")
        if " = Data(" in line and (line.split(" = ")[0].strip() == LEVEL or line.strip().startswith("schedule::")):
            continue
        rv = model.named_vars.get(name.strip()) if sign else None
        op = None if rv is None or rv.owner is None else rv.owner.op
        if told := getattr(op, "equation", ""):
            told = told.replace("\n", f"\n{' ' * (len(name) - len(name.lstrip()))}")
            line = f"{name} ~ {told}"
        elif isinstance(op, DensityRV):
            line = f"{name} ~ Density, known up to a constant"
        lines.append(line)
    # PyMC puts the names in a column, as wide as the longest of those that are left out, too.
    return textwrap.dedent("\n".join(lines))
