"""Fingerprints: what tells functions apart, and what must not."""

import importlib
import io
import os
import sys
import textwrap
import threading
from functools import partial

import cloudpickle
import jax
import numpy as np
import pandas as pd
import pymc as pm
import pytest
from other_process import TELL, other_process

import bayesdiff as bd
from bayesdiff.fingerprints import Unknown, digest, name_of, of_function, of_object


def same(first, second):
    return of_object(first) == of_object(second)


SEVERAL = """
from enum import Enum
import numpy as np
import jax

class E(Enum):
    A = 1
    B = 2

names = {"a", "b", "c", "d", "e"}
table = {name: {name, 1, None} for name in names} | {E.A: 1, (1, "a"): 2}
array = np.arange(5.0)

def helper(x):
    return recursive(x) + array

def recursive(x):
    return x if x in {"a", "b", "c", "d"} else helper(x)

class Base:
    words = frozenset({"x", "y", "z"})

class Inverter(Base):
    __slots__ = ("sd",)
    def __init__(self, sd):
        self.sd = sd
    def __call__(self, x, *, table=table):
        return [helper(x) + self.sd for name in self.words]

def closed(k):
    class Inner:
        def m(self):
            return k, helper, E.B
    return lambda x: Inner().m() + x

several = {
    "helper": helper, "recursive": recursive, "class": Inverter, "object": Inverter(1.5),
    "method": Inverter(1.5).__call__,
    "closed": closed(names), "jit": jax.jit(helper), "vmap": jax.vmap(lambda x: helper(x)), "table": lambda: table,
}
"""

# ---------------------------------------------------------------------------------------------- functions of the user's


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write modules of the user's, import them and give the first one; the next ones of these names are others."""
    count = iter(range(100))

    def make(source, **others):
        folder = tmp_path / str(next(count))
        folder.mkdir()
        for name, text in {"mine_": source, **others}.items():
            file = folder / f"{name}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(textwrap.dedent(text))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("mine_", "helper_", "pack_")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return importlib.import_module("mine_")

    return make


HELPER = {
    "helper_": "def g(x):\n    return h(x)\ndef h(x):\n    return x + 1.0\ndef other(x):\n    return 5\nscale = 2.0"
}
PACK = {"pack_/__init__": "", "pack_/sub": "scale = 2.0\ndef g(x):\n    return scale * x"}
CHAINED = """
    class Base:
        factor = 2.0
        def step(self, x):
            return self.factor * x
    class Inverter(Base):
        def __init__(self, sd):
            self.sd = sd
        def __call__(self, x):
            return self.step(x) + self.helped(x)
        def helped(self, x):
            return x + self.sd
    f = Inverter(1.0)
"""
SLOTS = "class A:\n    __slots__ = 'a', 'b'\n    def __call__(self): return self.a\nf = A(); f.a = 1.0"
DATACLASS = """
    from dataclasses import dataclass, field
    @dataclass(frozen=True)
    class A:
        a: float
        b: list = field(default_factory=list)
        def __call__(self, x): return x
    f = A(1.0)
"""
MANY = """
    import functools, contextlib, numpy as np
    def wrapped(factor):
        def decorate(g):
            @functools.wraps(g)
            def inner(*args, **kwargs):
                return factor * g(*args, **kwargs)
            return inner
        return decorate
    @wrapped(2.0)
    def f(x):
        return x + 1.0
"""

# What changes in a source (or in a module that it imports) and is told: (source, before, after).
TOLD = {
    "constant": ("def f(x): return 1.5 * x", "1.5", "1.6"),
    "constant of another type": ("def f(x): return 1 * x", "1", "1.0"),
    "sign of zero": ("def f(x): return x / 0.0", "0.0", "-0.0"),
    "text": ("def f(x): return x['a']", "'a'", "'b'"),
    "bytes": ("def f(x): return b'a'", "b'a'", "b'b'"),
    "text to bytes": ("def f(x): return 'a'", "'a'", "b'a'"),
    "tuple": ("def f(x): return (1, 2, (3, 4))", "4", "5"),
    "frozenset": ("def f(x): return x in {1, 2}", "2", "3"),
    "complex": ("def f(x): return 1j * x", "1j", "2j"),
    "none": ("def f(x): return None", "None", "..."),
    "slice": ("def f(x): return x[1:2]", "2", "3"),
    "slice to index": ("def f(x): return x[1:2]", "1:2", "1, 2"),
    "formatted": ("def f(x): return f'{x:.3f}'", ".3f", ".4f"),
    "operator": ("def f(x, y): return x + y", "+ y", "- y"),
    "order": ("def f(x, y): return x - y", "x - y", "y - x"),
    "comparison": ("def f(x): return x < 1", "<", "<="),
    "attribute": ("def f(x): return x.mean()", "mean", "sum"),
    "builtin": ("def f(x): return max(x)", "max", "min"),
    "builtin that is shadowed": ("def f(x): return max(x)\n#max = min", "#max", "max"),
    "keyword": ("def f(x): return x.sum(axis=0)", "axis", "where"),
    "argument": ("def f(x, *, start=None): return x", "start", "begin"),
    "default": ("def f(x, k=1.0): return k * x", "1.0", "2.0"),
    "default dict": ("def f(x, k={'a': [1, 2]}): return k", "2", "3"),
    "default key": ("def f(x, k={'a': [1, 2]}): return k", "'a'", "'b'"),
    "keyword-only default": ("def f(x, *, k=1.0): return k * x", "1.0", "2.0"),
    "default there or not": ("def f(x, *, k=None): return x", "k=None", "k"),
    "default array": ("import numpy as np\ndef f(x, k=np.arange(3)): return k", "3", "4"),
    "varargs": ("def f(*x): return x", "*x", "**x"),
    "generator": ("def f(x):\n    return [i for i in x]", "[i for i in x]", "(i for i in x)"),
    "inner function": ("def f(x):\n    def g(y): return y + 1.5\n    return g(x)", "1.5", "1.6"),
    "inner default": ("def f(x):\n    def g(y, k=1.5): return y + k\n    return g(x)", "1.5", "1.6"),
    "inner lambda": ("def f(x): return map(lambda y: y + 1.5, x)", "1.5", "1.6"),
    "comprehension": ("def f(x): return [1.5 * y for y in x]", "1.5", "1.6"),
    "inner class": ("def f(x):\n    class A:\n        a = 1.5\n    return A.a", "1.5", "1.6"),
    "caught": ("def f(x):\n    try: return x()\n    except ValueError: return 1", "ValueError", "TypeError"),
    "what is tried": (
        "def f(x):\n    a = 1\n    try:\n        a = 2\n        a = x()\n    except OSError: pass\n    return a",
        "try:\n        a = 2\n",
        "a = 2\n    try:\n",
    ),
    "lambda": ("f = lambda x: x + 1.5", "1.5", "1.6"),
    "closure": ("def g(k):\n    return lambda x: k * x\nf = g(1.5)", "g(1.5)", "g(1.6)"),
    "closure that is not filled": (
        "def g():\n    def f(): return k\n    #k = 1\n    return f\n    k = 1\nf = g()",
        "#k",
        "k",
    ),
    "closed-over array": (
        "import numpy as np\ndef g(k):\n    return lambda x: k * x\nf = g(np.r_[0, 1.5])",
        "1.5",
        "1.6",
    ),
    "closed-over function": ("def g(k):\n    return lambda x: k(x)\nf = g(lambda x: x + 1.5)", "1.5", "1.6"),
    "closed-over module": (
        "import math, cmath\ndef g(k):\n    return lambda x: k.exp(x)\nf = g(math)",
        "g(math)",
        "g(cmath)",
    ),
    "global": ("k = 1.5\ndef f(x): return k * x", "1.5", "1.6"),
    "global of an inner function": ("k = 1.5\ndef f(x): return (lambda: k * x)()", "1.5", "1.6"),
    "global array": ("import numpy as np\nk = np.arange(10.0)\ndef f(x): return k * x", "10.0", "11.0"),
    "global that is missing": ("#k = 1\ndef f(x): return k", "#k", "k"),
    "helper": ("def g(x): return h(x)\ndef h(x): return x + 1.5\ndef f(x): return g(x)", "1.5", "1.6"),
    "helper of a circle": (
        "def f(x): return g(x)\ndef g(x): return h(x)\ndef h(x): return f(x - 1) + 1.5",
        "1.5",
        "1.6",
    ),
    "itself": ("def f(x): return 1 if x < 2 else x * f(x - 1)", "else x", "else 2"),
    "method through self": (CHAINED, "x + self.sd", "x - self.sd"),
    "method of a base": (CHAINED, "self.factor * x", "self.factor + x"),
    "class attribute": (CHAINED, "factor = 2.0", "factor = 3.0"),
    "state": (CHAINED, "Inverter(1.0)", "Inverter(1.5)"),
    "bound method": (CHAINED + "    f = f.helped", "Inverter(1.0)", "Inverter(1.5)"),
    "which method": (CHAINED + "    f = f.helped", "f.helped", "f.step"),
    "class itself": (CHAINED + "    f = Inverter", "x + self.sd", "x - self.sd"),
    "classmethod": ("class A:\n    k = 1.5\n    @classmethod\n    def m(cls, x): return cls.k\nf = A.m", "1.5", "1.6"),
    "staticmethod": ("class A:\n    @staticmethod\n    def m(x): return 1.5\nf = A.m", "1.5", "1.6"),
    "property": (
        "class A:\n    @property\n    def p(self): return 1.5\n    def m(self): return self.p\nf = A().m",
        "1.5",
        "1.6",
    ),
    "slot": (SLOTS, "f.a = 1.0", "f.a = 1.5"),
    "which slot": (SLOTS, "f.a = 1.0", "f.b = 1.0"),
    "dataclass": (DATACLASS, "A(1.0)", "A(1.5)"),
    "default factory": (DATACLASS, "default_factory=list", "default_factory=tuple"),
    "metaclass": ("class M(type):\n    k = 1\nclass A(metaclass=M): pass\nf = A", "k = 1", "k = 2"),
    "partial": ("from functools import partial\ndef g(x, k): return x\nf = partial(g, k=1.5)", "1.5", "1.6"),
    "partial of a partial": (
        "from functools import partial\ndef g(x, y, k): return x\nf = partial(partial(g, 1.5), k=2)",
        "1.5",
        "1.6",
    ),
    "partial's function": (
        "from functools import partial\ndef g(x, k): return x\nf = partial(g, k=1.5)",
        "return x",
        "return k",
    ),
    "partialmethod": (
        "from functools import partialmethod\nclass A:\n    def m(self, k): return k\n    n = partialmethod(m, 1.5)\n"
        "f = A().n",
        "1.5",
        "1.6",
    ),
    "decorator": (MANY, "wrapped(2.0)", "wrapped(3.0)"),
    "decorated": (MANY, "x + 1.0", "x + 2.0"),
    "decorator's code": (MANY, "factor * g", "factor + g"),
    "cached": ("from functools import cache\n@cache\ndef f(x): return 1.5", "1.5", "1.6"),
    "jitted": ("import jax\n@jax.jit\ndef f(x): return 1.5 * x", "1.5", "1.6"),
    "jitted or not": ("import jax\n#@jax.jit\ndef f(x): return 1.5 * x", "#@", "@"),
    "vmapped": ("import jax\nf = jax.vmap(lambda x: 1.5 * x)", "1.5", "1.6"),
    "graded": ("import jax\nf = jax.jit(jax.vmap(jax.value_and_grad(lambda x: 1.5 * x)))", "1.5", "1.6"),
    "axes of vmap": ("import jax\nf = jax.vmap(lambda x, y: x, in_axes=(0, None))", "(0, None)", "(None, 0)"),
    "derivative": (
        "import jax\n@jax.custom_jvp\ndef f(x): return x\n@f.defjvp\ndef g(x, t): return x[0], 1.5",
        "1.5",
        "1.6",
    ),
    "numba": ("import numba\n@numba.njit\ndef f(x): return 1.5 * x", "1.5", "1.6"),
    "vectorized": ("import numpy as np\nf = np.vectorize(lambda x: 1.5 * x)", "1.5", "1.6"),
    "ufunc": ("import numpy as np\nk = np.exp\ndef f(x): return k(x)", "np.exp", "np.expm1"),
    "builtin method": ("f = [1, 2].index", "2]", "3]"),
    "interpolation": (
        "from scipy.interpolate import PchipInterpolator\nf = PchipInterpolator([0, 1, 2], [0, 1, 1.5])",
        "1.5",
        "1.6",
    ),
    "dispatched": (
        "import functools\n@functools.singledispatch\ndef f(x): return 1\n@f.register\ndef g(x: int): return 1.5",
        "1.5",
        "1.6",
    ),
    "attribute of a function": ("def f(x): return f.k * x\nf.k = 1.5", "1.5", "1.6"),
    "wrapped in a list": ("k = [{'a': (lambda x: 1.5,)}]\ndef f(x): return k[0]['a'][0](x)", "1.5", "1.6"),
    "enum": ("from enum import Enum\nclass E(Enum):\n    A = 1\n    B = 2\nk = E.A\ndef f(x): return k", "E.A", "E.B"),
    "value of an enum": (
        "from enum import Enum\nclass E(Enum):\n    A = 1\n    B = 2\nk = E.A\ndef f(x): return k",
        "A = 1",
        "A = 3",
    ),
    "default of a namedtuple": (
        "from typing import NamedTuple\nclass N(NamedTuple):\n    a: float = 1.5\ndef f(): return N()",
        "1.5",
        "1.6",
    ),
    "import within": ("def f(x):\n    import math\n    return math.exp(x)", "exp", "sin"),
    "async": ("def f(x): return x", "def", "async def"),
}

# What changes in a module of the user's that the first one imports: (source, others, before, after).
HELPERS = {
    "through the module": ("import helper_\ndef f(x): return helper_.g(x)", HELPER, "x + 1.0", "x + 2.0"),
    "through its name": ("from helper_ import g\ndef f(x): return g(x)", HELPER, "x + 1.0", "x + 2.0"),
    "through another name": ("from helper_ import g as k\ndef f(x): return k(x)", HELPER, "x + 1.0", "x + 2.0"),
    "a number of it": ("import helper_ as k\ndef f(x): return k.scale", HELPER, "2.0", "3.0"),
    "imported within": ("def f(x):\n    import helper_\n    return helper_.g(x)", HELPER, "x + 1.0", "x + 2.0"),
    "imported from within": (
        "def f(x):\n    from helper_ import g as k\n    return k(x)",
        HELPER,
        "x + 1.0",
        "x + 2.0",
    ),
    "in a closure": (
        "import helper_\ndef g(k):\n    return lambda x: k.g(x)\nf = g(helper_)",
        HELPER,
        "x + 1.0",
        "x + 2.0",
    ),
    "in a default": ("import helper_\ndef f(x, k=helper_): return k.g(x)", HELPER, "x + 1.0", "x + 2.0"),
    "in a class": (
        "import helper_\nclass A:\n    def __call__(self, x): return helper_.g(x)\nf = A()",
        HELPER,
        "x + 1.0",
        "x + 2.0",
    ),
    "in a list": ("import helper_\nk = [helper_]\ndef f(x): return k[0].g(x)", HELPER, "x + 1.0", "x + 2.0"),
    "package": ("import pack_.sub\ndef f(x): return pack_.sub.g(x)", PACK, "2.0", "3.0"),
    "module of a package": ("from pack_ import sub\ndef f(x): return sub.g(x)", PACK, "2.0", "3.0"),
    "package within": ("def f(x):\n    import pack_.sub\n    return pack_.sub.g(x)", PACK, "2.0", "3.0"),
    "module of a package within": ("def f(x):\n    from pack_ import sub\n    return sub.g(x)", PACK, "2.0", "3.0"),
    "relative": (
        "from pack_.first import f",
        {
            "pack_/__init__": "",
            "pack_/first": "def f(x):\n    from . import sub\n    return sub.k",
            "pack_/sub": "k = 2.0",
        },
        "2.0",
        "3.0",
    ),
    "base class": (
        "from helper_ import A\nclass B(A): pass\nf = B()",
        {"helper_": "class A:\n    def __call__(self): return 2.0"},
        "2.0",
        "3.0",
    ),
    "modules in a circle": (
        "import helper_\nk = 1.0\ndef f(x): return helper_.g(x)",
        {"helper_": "import mine_\ndef g(x): return mine_.k, helper_(x)\ndef helper_(x): return 2.0"},
        "2.0",
        "3.0",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_a_function_computes_is_told(module, case):
    source, before, after = TOLD[case]
    source = textwrap.dedent(source)
    assert source.count(before)
    first = of_function(module(source).f)
    assert first == of_function(module(source).f)
    assert first == of_function(module(f"\n\nspare = 1\n{source}").f)
    assert first != of_function(module(source.replace(before, after)).f)


@pytest.mark.parametrize("case", HELPERS)
def test_what_a_function_calls_in_modules_of_the_user_is_told(module, case):
    source, others, before, after = HELPERS[case]
    changed = {name: text.replace(before, after) for name, text in others.items()}
    assert changed != others
    first = of_function(module(source, **others).f)
    assert first == of_function(module(source, **others).f)
    assert first != of_function(module(source, **changed).f)


def test_an_import_within_a_function_loads_no_package(module):
    source = "def f(x):\n    import {} as k\n    return k.run(x)"
    first, other, missing = (
        of_function(module(source.format(name)).f) for name in ("pydoc_data.topics", "cProfile", "no_")
    )
    assert len({first, other, missing}) == 3
    assert "pydoc_data.topics" not in sys.modules


def test_what_no_function_reads_is_not_told(module):
    source = "import helper_\ndef f(x): return helper_.g(x)"
    changed = {
        "helper_": HELPER["helper_"].replace("return 5", "return 6").replace("scale = 2.0", "handle = open(__file__)")
    }
    first, run = of_function(module(source, **HELPER).f), module(source, **changed)
    assert first == of_function(run.f)
    run.helper_.handle.close()


HARMLESS = {
    "comment": ("def f(x): return x", "def f(x):\n    # a comment\n    return x  # another"),
    "docstring": ("def f(x): return x + 1.5, 'a'", 'def f(x):\n    """Some words."""\n    return x + 1.5, "a"'),
    "another docstring": ('def f(x):\n    "a"\n    return "b"', 'def f(x):\n    "c"\n    return "b"'),
    "docstring of an inner function": (
        "def f(x):\n    def g():\n        return x\n    return g",
        "def f(x):\n    def g():\n        'a'\n        return x\n    return g",
    ),
    "docstring of a class": (
        "class f:\n    def m(self): return 1.5",
        "class f:\n    'Words.'\n    def m(self):\n        'Words.'\n        return 1.5",
    ),
    "docstring of an inner class": (
        "def f():\n    class A:\n        a = 1\n    return A",
        "\n\ndef f():\n    class A:\n        'Words.'\n        a = 1\n    return A",
    ),
    "lines": (
        "def f(x):\n    return x + 1",
        "\n\n\ndef f(\n    x\n):\n\n    return (\n        x\n        + 1\n    )\n",
    ),
    "pass": ("def f(x):\n    if x: pass\n    return 1", "def f(x):\n    if x:\n        pass\n    return 1"),
    "broken lines in a loop": (
        "def f(x):\n    for i in x:\n        try: a = i\n        finally: pass\n    while x: x = (x - 1)",
        "def f(x):\n    for i in x:\n        try:\n            a = i\n        finally:\n            pass\n    "
        "while x:\n        x = (\n            x -\n            1\n        )",
    ),
    "name of a local variable": (
        "def f(x):\n    a = x + 1\n    return a * a",
        "def f(x):\n    b = x + 1\n    return b * b",
    ),
    "its own name": ("def f(x): return 1.5 * x", "def g(x): return 1.5 * x\nf = g"),
    "place in the file": ("def f(x): return g(x)\ndef g(x): return x", "def g(x): return x\n\ndef f(x): return g(x)"),
    "annotation": ("def f(x): return x", "def f(x: float) -> float: return x"),
    "order of a dict": (
        "k = {'a': 1, 'b': 2, 3: 4}\ndef f(x): return k",
        "k = {3: 4, 'b': 2, 'a': 1}\ndef f(x): return k",
    ),
    "order of a set": (
        "k = {'a', 'b', 3, (1, 2)}\ndef f(x): return k",
        "k = {(1, 2), 3, 'b', 'a'}\ndef f(x): return k",
    ),
    "order of methods": (
        "class f:\n    def a(self): return 1\n    def b(self): return 2",
        "class f:\n    def b(self): return 2\n    def a(self): return 1",
    ),
    "generator": (
        "import numpy as np\nk = np.random.default_rng(1)\ndef f(x): return k.normal()",
        "import numpy as np\nk = np.random.default_rng(2)\ndef f(x): return k.normal()",
    ),
    "logger": (
        "import logging\nk = logging.getLogger('a')\ndef f(x): return k",
        "import logging\nk = logging.getLogger('b')\ndef f(x): return k",
    ),
    "shared or equal": ("a = [1.5]\nb = a\ndef f(x): return a, b", "a = [1.5]\nb = [1.5]\ndef f(x): return a, b"),
    "shared or equal function": (
        "def h(x): return x\na = b = h\ndef f(x): return a, b",
        "def a(x): return x\ndef b(x): return x\ndef f(x): return a, b",
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_changes_nothing_is_not_told(module, case):
    before, after = HARMLESS[case]
    assert of_function(module(before).f) == of_function(module(after).f)


# ------------------------------------------------------------------------------------------------------ what is refused


class Locked:
    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, x):
        with self.lock:
            return x


HANDLE = io.TextIOWrapper(io.BytesIO())


def reads_a_handle(x):
    return HANDLE.read()


def calls_what_reads(x):
    return reads_a_handle(x)


def holding(handle):
    def my_inverter(x):
        return handle

    return my_inverter


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: holding(HANDLE), "closure 'handle' of holding.<locals>.my_inverter: a TextIOWrapper"),
        (
            lambda: holding({"a": [HANDLE]}),
            "item 0 of item 'a' of closure 'handle' of holding.<locals>.my_inverter: a TextIOWrapper",
        ),
        (lambda: holding(i for i in range(3)), "closure 'handle' of holding.<locals>.my_inverter: a generator"),
        (lambda: holding(np.frompyfunc(abs, 1, 1)), "closure 'handle' of holding.<locals>.my_inverter: a ufunc"),
        (lambda: Locked(), "attribute 'lock' of Locked: a lock"),
        (lambda: Locked().__call__, "attribute 'lock' of Locked of self: a lock"),
        (
            lambda: holding(Locked()),
            "attribute 'lock' of Locked of closure 'handle' of holding.<locals>.my_inverter: a lock",
        ),
        (lambda: reads_a_handle, "global 'HANDLE' of reads_a_handle: a TextIOWrapper"),
        (lambda: calls_what_reads, "global 'HANDLE' of reads_a_handle: a TextIOWrapper"),
        (lambda: partial(max, key=HANDLE), "item 'key' of options: a TextIOWrapper"),
        (lambda: HANDLE, "a TextIOWrapper"),
        (lambda: threading.local(), "a _local"),
    ],
)
def test_what_nothing_can_be_told_of_is_named(make, name):
    with pytest.raises(Unknown) as refused:
        of_object(make())
    assert refused.value.name == str(refused.value) == name
    assert isinstance(refused.value, TypeError)


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="a function is to be told from others, got int; write a function"):
        of_function(3)


# ------------------------------------------------------------------------------------------------------------- packages


def test_functions_of_packages_are_told_by_name_and_version(monkeypatch):
    from bayesdiff.fingerprints import parts

    def of_all():
        parts.home_of.cache_clear()
        return [
            of_object(f)
            for f in (np.linalg.norm, pm.Normal, bd.laplace, jax.nn.silu, os.path.join, np.exp, len, pd.DataFrame)
        ]

    first = of_all()
    assert len(set(first)) == len(first)
    monkeypatch.setattr(bd.laplace, "__kwdefaults__", {"start": 3})  # it is not looked into
    assert of_all() == first
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "numpy" else version(name))
    assert [a != b for a, b in zip(of_all(), first, strict=True)] == [
        True,
        False,
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    monkeypatch.setattr(parts, "__version__", "9.9")
    assert of_all()[2] != first[2]
    monkeypatch.undo()
    parts.home_of.cache_clear()


def test_whose_a_module_is():
    from bayesdiff.fingerprints.parts import home_of

    assert home_of("bayesdiff.chain") == f"bayesdiff {bd.__version__}"
    assert home_of("PIL.Image") == f"pillow {importlib.metadata.version('pillow')}"
    assert home_of("jaxlib._jax.pytree") == f"jaxlib {importlib.metadata.version('jaxlib')}"
    assert [home_of(name) for name in ("os.path", "math", "builtins", "json.decoder", "_thread")] == ["python"] * 5
    assert [home_of(name) for name in (__name__, "__main__", "models.gaussian", "no_such_module")] == [None] * 4


def test_a_closure_of_a_package_is_told_by_what_it_holds():
    sampler = of_function(bd.from_pymc(pm.sample, draws=10))
    assert sampler == of_function(bd.from_pymc(pm.sample, draws=10))
    assert (
        len({sampler, of_function(bd.from_pymc(pm.sample, draws=11)), of_function(bd.from_pymc(pm.fit, draws=10))}) == 3
    )
    one, other = (jax.nn.initializers.normal(sd) for sd in (0.1, 0.2))
    assert same(one, jax.nn.initializers.normal(0.1))
    assert not same(one, other)


# ---------------------------------------------------------------------------------------------------------------- names


def test_names_are_read_and_hold_no_address():
    assert name_of(bd.draw) == "bayesdiff.invert.inverters.draw"
    assert name_of(Locked()).endswith(".Locked")
    assert name_of(holding(1)).endswith(".holding.<locals>.my_inverter")
    options = name_of(partial(bd.draw, tune=10, start=np.arange(3.0), options={"a": np.eye(2), "b": bd.mode}))
    a, start = (f"array({digest(array)})" for array in (np.eye(2), np.arange(3.0)))
    held = f"options={{'a': {a}, 'b': bayesdiff.invert.inverters.mode}}, start={start}, tune=10"
    assert options == f"bayesdiff.invert.inverters.draw({held})"
    assert " at 0x" not in name_of(partial(partial(bd.mode, 1.5), k=object()))


# ------------------------------------------------------------------------------------------------------ other processes


def test_another_process_tells_the_same_of_functions(tmp_path, monkeypatch):
    (tmp_path / "several_.py").write_text(SEVERAL)
    monkeypatch.syspath_prepend(tmp_path)
    several = importlib.import_module("several_").several
    ours = {name: of_function(f) for name, f in several.items()}
    assert len(set(ours.values())) == len(ours)
    source = TELL + "from several_ import several\nprint(json.dumps({n: of_object(f) for n, f in several.items()}))"
    assert other_process(source, folder=tmp_path) == ours


def test_a_function_of_a_notebook_is_the_same_where_it_is_sent(tmp_path):
    sent = tmp_path / "sent"
    (tmp_path / "notebook.py").write_text(
        SEVERAL + TELL + f"import cloudpickle\nopen({str(sent)!r}, 'wb').write(cloudpickle.dumps(several))\n"
        "print(json.dumps({n: of_object(f) for n, f in several.items()}))"
    )
    here = other_process(str(tmp_path / "notebook.py"))
    source = TELL + (
        f"import cloudpickle\nseveral = cloudpickle.loads(open({str(sent)!r}, 'rb').read())\n"
        "print(json.dumps({n: of_object(f) for n, f in several.items()}))"
    )
    assert other_process(source) == here
    again = cloudpickle.loads(sent.read_bytes())
    assert {name: of_function(f) for name, f in again.items()} == here
    assert {name: of_function(f) for name, f in cloudpickle.loads(cloudpickle.dumps(again)).items()} == here
