"""Forward draws: the free variables of a model, drawn as it writes them.

    x ~ p(x)        many in one call where PyTensor has a batch of the graph, else one after the other

Whether they are draws of the density is another question, which `CompiledPrior.why_not_drawable` answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.shape_utils import change_dist_size
from pymc.pytensorf import compile as compile_graph
from pymc.pytensorf import find_rng_nodes, replace_rng_nodes
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.traversal import ancestors
from pytensor.graph.utils import MissingInputError

from bayesdiff.step import LEVEL, Layout, schedule_of

# A function that draws, and the generators in it.
Drawing = tuple[Callable[..., list[np.ndarray]], list[SharedVariable]]


@dataclass(frozen=True, eq=False)
class Forward:
    """Draws the free variables of a model, by functions that are compiled on first use."""

    model: pm.Model
    layout: Layout

    def draw(self, draws: int, rng: np.random.Generator, level: int | None) -> list[np.ndarray]:
        """Draw the free variables, constrained: one array (draws, *shape) each."""
        now = [] if schedule_of(self.model) is None else [self.model[LEVEL].get_value() if level is None else level]
        if self.at_once:
            function, rngs = self._many
            _reseed(rngs, rng)
            return function(draws, *now)
        function, rngs = self._one
        _reseed(rngs, rng)
        parts = [function(*now) for _ in range(draws)]
        return [np.stack(values) for values in zip(*parts, strict=True)]

    @cached_property
    def at_once(self) -> bool:
        """Whether many draws are one call: PyTensor has no batch of some graphs (a Mixture of other variables)."""
        try:
            function, rngs = self._many
            _reseed(rngs, np.random.default_rng(0))
            values = function(3, *[0] * (schedule_of(self.model) is not None))
        # TypeError, ValueError: a user's `random` without a size. MissingInputError: pm.LKJCorr.
        except (NotImplementedError, ValueError, TypeError, OverflowError, MissingInputError):
            return False
        shapes = self.model.eval_rv_shapes()
        return [value.shape for value in values] == [(3, *shapes[name]) for name in self.layout.names]

    @cached_property
    def _many(self) -> Drawing:
        free = [self.model[name] for name in self.layout.names]
        count = pt.iscalar("draws")
        # Variables that depend on no other get the new axis; it spreads from there.
        roots = [rv for rv in free if not (set(ancestors([rv])) - {rv}) & set(free)]
        batched = {rv: change_dist_size(rv, (count,), expand=True) for rv in roots}
        return self._drawing([count], vectorize_graph(free, replace=batched))

    @cached_property
    def _one(self) -> Drawing:
        return self._drawing([], [self.model[name] for name in self.layout.names])

    def _drawing(self, inputs: list[Variable], outputs: list[Variable]) -> Drawing:
        given: dict[Variable, Variable] = {}
        if schedule_of(self.model) is not None:
            level = self.model[LEVEL].type()
            given, inputs = {self.model[LEVEL]: level}, [*inputs, level]
        # Compiles in milliseconds this way, in up to 30 s with PyTensor's default (numba).
        python = Mode(linker="py", optimizer="fast_compile")
        outputs = replace_rng_nodes(clone_replace(outputs, replace=given))  # in a copy: the model keeps its own
        return compile_graph(inputs, outputs, random_seed=False, mode=python), find_rng_nodes(outputs)


def _reseed(rngs: Sequence[SharedVariable], rng: np.random.Generator) -> None:
    for shared, child in zip(rngs, rng.spawn(len(rngs)), strict=True):
        shared.set_value(child, borrow=True)
