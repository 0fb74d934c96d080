"""Derivatives that JAX lacks, or has only once: a climb needs two.

Functions of a graph get derivatives of their own, of any order:

    erfcx'(x) = 2 x erfcx(x) - 2 / sqrt(pi),        erfcx''(x) = 2 erfcx(x) + 2 x erfcx'(x)
    P(k, x), Q(k, x), I_x(a, b)     the incomplete gamma and beta functions: those of their integrals, by quadrature

A formula that is not chosen gets none, where JAX has 0 times infinity. A density of which JAX has the gradient alone
gets its second derivative by differences of gradients.

References
----------
DLMF, equations 7.2.3, 8.2.1 and 8.17.1. Takahasi and Mori (1974), for the double exponential rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import pytensor.tensor as pt
from jax.custom_derivatives import SymbolicZero
from jax.scipy import special
from jax.scipy.special import gammaln
from pymc.distributions.dist_math import SplineWrapper
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.traversal import explicit_graph_inputs, toposort
from pytensor.link.jax.dispatch import jax_funcify
from pytensor.scalar.basic import switch
from pytensor.scalar.math import BetaInc, Erfcx, GammaInc, GammaIncC, Log1mexp
from pytensor.tensor.elemwise import Elemwise
from scipy.interpolate import PPoly

Function = Callable[..., jax.Array]


def mend(graph: FunctionGraph) -> None:
    """Put what has derivatives in place of what lacks them, in a graph that goes to JAX."""
    for node in graph.toposort():
        if _is_choice(node):
            chosen, *branches = node.inputs
            guarded = [_guarded(branch, on) for branch, on in zip(branches, (chosen, pt.eq(chosen, 0)), strict=True)]
            graph.replace(node.outputs[0], pt.switch(chosen, *guarded))
    for node in graph.toposort():
        new: Elemwise | SplineWrapper | None = None
        if type(node.op) is Elemwise and type(node.op.scalar_op) in MENDED:
            new = _Mended(node.op.scalar_op)
        elif type(node.op) is SplineWrapper and node.op.spline.ext == 1:  # 0 outside, as Interpolated asks
            new = _Spline(node.op.spline)
        if new is not None:
            graph.replace(node.outputs[0], new.make_node(*node.inputs).outputs[0])


def _is_choice(node: Apply) -> bool:
    """Whether it takes one of two formulas, or of a formula and a constant as the data say.

    Not where a density ends: there it is 0 on one side, and its gradient is nobody's.
    """
    if not (type(node.op) is Elemwise and node.op.scalar_op == switch and node.outputs[0].type.dtype == "float64"):
        return False
    chosen, *formulas = (bool(set(explicit_graph_inputs([v]))) for v in node.inputs)
    return all(formulas) or (any(formulas) and not chosen)


def _guarded(branch: Variable, chosen: Variable) -> Variable:
    """Write a branch of a switch so that nothing of its derivatives is left where it is not chosen.

    There it may be log 0 or an overflow, and the gradient that it gives back 0 times infinity. What is elementwise is
    written again, of values that have no derivative where the branch is not chosen.
    """
    inside, front = set(), [branch]
    while front:
        node = front.pop().owner
        if node is not None and isinstance(node.op, Elemwise) and node not in inside:
            inside.add(node)
            front += node.inputs
    again: dict[Variable, Variable] = {}
    for node in toposort([branch]):
        if node in inside:
            for v in node.inputs:
                if v not in again:
                    derivable = v.type.dtype == "float64" and not isinstance(v, Constant)
                    again[v] = _Guard(switch).make_node(chosen, v, v).outputs[0] if derivable else v
            new = node.op.make_node(*(again[v] for v in node.inputs))
            again.update(zip(node.outputs, new.outputs, strict=True))
    return again.get(branch, branch)


class _Guard(Elemwise):
    """A value, without its derivatives where it is not chosen."""


@jax_funcify.register(_Guard)
def _jax_guard(op: _Guard, **kwargs: object) -> Function:
    return lambda chosen, value, _: jnp.where(chosen, value, jax.lax.stop_gradient(value))


class _Mended(Elemwise):
    """A function of single numbers that has its derivatives from here."""


@jax_funcify.register(_Mended)
def _jax_mended(op: _Mended, **kwargs: object) -> Function:
    function = MENDED[type(op.scalar_op)]
    return lambda *arguments: function(*jnp.broadcast_arrays(*(jnp.asarray(a, float) for a in arguments)))


class _Spline(SplineWrapper):
    """A spline of SciPy's, as Interpolated has it; JAX knows nothing of these."""


@jax_funcify.register(_Spline)
def _jax_spline(op: _Spline, **kwargs: object) -> Function:
    pieces = PPoly.from_spline(op.spline._eval_args)
    knots, coefficients = jnp.asarray(pieces.x), jnp.asarray(pieces.c)

    def spline(x: jax.Array) -> jax.Array:
        piece = jnp.clip(jnp.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
        inside = (x >= knots[0]) & (x <= knots[-1])
        return jnp.where(inside, jnp.polyval(coefficients[:, piece], x - knots[piece]), 0.0)

    return spline


# --- erfcx, and log(1 - exp(x))


@jax.custom_jvp
def _erfcx(x: jax.Array) -> jax.Array:
    return special.erfcx(x)


@_erfcx.defjvp
def _erfcx_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _erfcx(*primals), _erfcx_slope(*primals) * tangents[0]


@jax.custom_jvp
def _erfcx_slope(x: jax.Array) -> jax.Array:
    # JAX's own slope keeps its digits at large x; the slope of that, in JAX, is for scalars alone.
    return jax.jvp(special.erfcx, (x,), (jnp.ones_like(x),))[1]


@_erfcx_slope.defjvp
def _erfcx_slope_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    [x], [t] = primals, tangents
    slope = _erfcx_slope(x)
    return slope, (2 * _erfcx(x) + 2 * x * slope) * t


@jax.custom_jvp
def _log1mexp(x: jax.Array) -> jax.Array:
    return jnp.where(x < -0.6931471805599453, jnp.log1p(-jnp.exp(x)), jnp.log(-jnp.expm1(x)))


@_log1mexp.defjvp
def _log1mexp_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # Of both formulas at once: the first is log 0 where x is below the rounding of 1.
    [x], [t] = primals, tangents
    return _log1mexp(x), t * jnp.exp(x) / jnp.expm1(x)


# --- the incomplete gamma and beta functions


def _derivable(value: Function, smooth: Function, known: dict[int, Function]) -> Function:
    """Compute `value`, with derivatives of any order and in any mode: `known` ones, and those of `smooth`.

    `smooth` need not have the digits of `value`. It is differentiated argument by argument, element by element, and not
    once more for every direction that a Hessian has.
    """

    @jax.custom_jvp
    def function(*arguments: jax.Array) -> jax.Array:
        return value(*arguments)

    def jvp(primals: Sequence[jax.Array], tangents: Sequence[Any]) -> tuple[jax.Array, jax.Array]:
        total = jnp.zeros_like(primals[0])
        for position, tangent in enumerate(tangents):
            if not isinstance(tangent, SymbolicZero):
                total += _partial(smooth, known, position)(*primals) * tangent
        return function(*primals), total

    function.defjvp(jvp, symbolic_zeros=True)
    return function


def _partial(smooth: Function, known: dict[int, Function], position: int) -> Function:
    if position in known:
        return known[position]

    def slope(*arguments: jax.Array) -> jax.Array:
        def along(argument: jax.Array) -> jax.Array:
            return smooth(*arguments[:position], argument, *arguments[position + 1 :])

        return jax.jvp(along, (arguments[position],), (jnp.ones_like(arguments[position]),))[1]

    return _derivable(slope, slope, {})


def _integral(log_integrand: Function, scale: jax.Array) -> jax.Array:
    """Compute the integral of exp(log_integrand(v)) over v > 0: a bump, or a decay, about as wide as `scale`.

    By the double exponential rule, v = scale exp(y - exp(-y)): derivatives of the sum are sums for the derivatives.
    """
    y = jnp.linspace(-3.7, 4.8, 96).reshape(-1, *[1] * scale.ndim)
    v = jax.lax.stop_gradient(scale) * jnp.exp(y - jnp.exp(-y))
    return (jnp.exp(log_integrand(v)) * v * (1 + jnp.exp(-y))).sum(axis=0) * (8.5 / 95)


def _gamma_density(k: jax.Array, x: jax.Array) -> jax.Array:
    valid = (k > 0) & (x > 0) & jnp.isfinite(k + x)
    k, x = jnp.where(valid, k, 1.0), jnp.where(valid, x, 1.0)
    return jnp.where(valid, jnp.exp((k - 1) * jnp.log(x) - x - gammaln(k)), 0.0)


def _gamma_below(k: jax.Array, x: jax.Array) -> jax.Array:
    """P(k, x), the integral of the density at x e^-v, v > 0; or -Q(k, x), at x e^v, which has the same derivatives."""
    valid = (k > 0) & (x > 0) & jnp.isfinite(k + x)
    k, x = jnp.where(valid, k, 1.0), jnp.where(valid, x, 1.0)
    sign = jnp.where(x < k + 1, -1.0, 1.0)
    wide = 1 / (jnp.abs(k - x) + jnp.sqrt(x))
    scale = jnp.where(sign < 0, jnp.maximum(1 / k, wide), wide)
    ratio = _integral(lambda v: k * sign * v - x * jnp.expm1(sign * v), scale)
    return jnp.where(valid, -sign * jnp.exp(k * jnp.log(x) - x - gammaln(k)) * ratio, 0.0)


def _beta_density(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    valid = (a > 0) & (b > 0) & (x > 0) & (x < 1) & jnp.isfinite(a + b)
    a, b, x = jnp.where(valid, a, 1.0), jnp.where(valid, b, 1.0), jnp.where(valid, x, 0.5)
    log_beta = gammaln(a) + gammaln(b) - gammaln(a + b)
    return jnp.where(valid, jnp.exp((a - 1) * jnp.log(x) + (b - 1) * jnp.log1p(-x) - log_beta), 0.0)


def _beta_below(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """I_x(a, b), the integral of the density at x e^-v, v > 0; or -I_(1-x)(b, a), which has the same derivatives."""
    valid = (a > 0) & (b > 0) & (x > 0) & (x < 1) & jnp.isfinite(a + b)
    a, b, x = jnp.where(valid, a, 1.0), jnp.where(valid, b, 1.0), jnp.where(valid, x, 0.5)
    lower = x < (a + 1) / (a + b + 2)
    p, q, y = jnp.where(lower, a, b), jnp.where(lower, b, a), jnp.where(lower, x, 1 - x)
    odds = y / (1 - y)
    wide = 1 / (jnp.abs(p - (q - 1) * odds) + jnp.sqrt(jnp.abs(q - 1) * odds * (1 + odds)))
    ratio = _integral(lambda v: -p * v + (q - 1) * jnp.log1p(-odds * jnp.expm1(-v)), jnp.maximum(1 / p, wide))
    log_beta = gammaln(a) + gammaln(b) - gammaln(a + b)
    below = jnp.exp(p * jnp.log(y) + (q - 1) * jnp.log1p(-y) - log_beta) * ratio
    return jnp.where(valid, jnp.where(lower, below, -below), 0.0)


MENDED: dict[type, Function] = {
    GammaInc: _derivable(special.gammainc, _gamma_below, {1: _gamma_density}),
    GammaIncC: _derivable(special.gammaincc, lambda k, x: -_gamma_below(k, x), {1: lambda k, x: -_gamma_density(k, x)}),
    BetaInc: _derivable(special.betainc, _beta_below, {2: _beta_density}),
    Log1mexp: _log1mexp,
    **({Erfcx: _erfcx} if hasattr(special, "erfcx") else {}),  # jax >= 0.11
}


# --- a density that JAX differentiates once


def by_differences(density: Callable[[jax.Array, Any], jax.Array]) -> Callable[[jax.Array, Any], jax.Array]:
    """Give `density`, (x, data) -> number, a second derivative in x: the central difference of its gradients."""

    @jax.custom_jvp
    def value(x: jax.Array, data: Any) -> jax.Array:
        return density(x, data)

    @jax.custom_jvp
    def gradient(x: jax.Array, data: Any) -> jax.Array:
        return jax.grad(density)(x, data)

    @value.defjvp
    def _(primals: tuple[jax.Array, Any], tangents: tuple[jax.Array, Any]) -> tuple[jax.Array, jax.Array]:
        return value(*primals), (gradient(*primals) * tangents[0]).sum()

    @gradient.defjvp
    def _(primals: tuple[jax.Array, Any], tangents: tuple[jax.Array, Any]) -> tuple[jax.Array, jax.Array]:
        [x, data], t = primals, tangents[0]
        # The coordinate that moves most, by its own size, moves eps^(1/3).
        size = (jnp.abs(t) / jnp.maximum(1.0, jnp.abs(x))).max()
        step = jnp.cbrt(jnp.finfo(x.dtype).eps) / jnp.where(size > 0, size, 1.0)
        return gradient(x, data), (gradient(x + step * t, data) - gradient(x - step * t, data)) / (2 * step)

    return value
