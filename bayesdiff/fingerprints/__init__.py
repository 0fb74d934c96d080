"""Fingerprints: a few letters that tell functions, priors and whatever they hold apart.

    the same code and data    the same letters, in another process and on another machine too
    one constant changed      other letters, however far from the function or the prior it stands

What is told apart is a graph: an object has a label and leads to others, an array is a label alone. Objects may lead
back to themselves (a function that calls itself), may be large and lie deep. Where an object lies in memory, what it is
called there and how often it is shared is not seen: the letters are those of what it does.

    of the user's modules     code, constants, defaults, closures, and all that they read and call from there
    of installed packages     name and version. bayesdiff too, checked out or not: what an edit of it changes is seen by
                              its own version and its tests, and a comment in it must not end a run of a week
    left out                  random number generators, loggers, weak references; comments, docstrings, lines and files

The letters are those of one version of Python: another one writes other code.
"""

from __future__ import annotations

import builtins
import copyreg
import hashlib
import importlib.util
import logging
import random
import re
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cached_property, partial
from graphlib import TopologicalSorter
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from bayesdiff.fingerprints.code import all_reads, read_code
from bayesdiff.fingerprints.graphs import graph_parts, model_parts
from bayesdiff.fingerprints.parts import BOOKKEEPING, Opaque, Parts, home_of, importable, installed, kinds_of

if TYPE_CHECKING:
    from bayesdiff.compiled import CompiledPrior

LEFT_OUT: tuple[type, ...] = (
    *(np.random.Generator, np.random.RandomState, np.random.BitGenerator, np.random.SeedSequence, random.Random),
    *(logging.Logger, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet),
)


class Unknown(TypeError):
    """What holds something that nothing can be told of: an open file, a lock, a generator.

    Attributes
    ----------
    name : str
        The thing, and how it is reached: ``closure 'handle' of my_inverter: a TextIOWrapper``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def of_function(f: Callable[..., Any]) -> str:
    """Tell functions apart: by their code and by all that it uses.

    Parameters
    ----------
    f : callable
        A function, lambda, method, class, ``functools.partial``, decorated function or object that can be called.

    Returns
    -------
    str
        64 letters. The same for functions of equal code, defaults, closures, bound options and attributes, whose
        globals are equal, down to the last function of the user's own modules that they call.

    Raises
    ------
    TypeError
        If `f` cannot be called.
    Unknown
        If it holds something that nothing can be told of.

    Notes
    -----
    Not seen is what code makes of texts (``eval``, ``getattr`` of a name it computes), and what it reads from files.

    Examples
    --------
    >>> from bayesdiff.fingerprints import of_function
    >>> def scaled(factor):
    ...     return lambda x: factor * x
    >>> of_function(scaled(2.0)) == of_function(scaled(2.0)), of_function(scaled(2.0)) == of_function(scaled(3.0))
    (True, False)
    """
    if not callable(f):
        raise TypeError(f"a function is to be told from others, got {type(f).__name__}; write a function")
    return of_object(f)


def of_prior(prior: CompiledPrior) -> str:
    """Tell priors apart: by the graph and the data of their model.

    Parameters
    ----------
    prior : CompiledPrior
        Any prior, at any of its levels.

    Returns
    -------
    str
        64 letters. The same for models that are written alike: variables by their names, with their distributions,
        transforms, data, coordinates, dimensions and the places where they begin.

    Raises
    ------
    Unknown
        If it holds something that nothing can be told of.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> from bayesdiff.fingerprints import of_prior
    >>> def prior(sd):
    ...     with pm.Model() as model:
    ...         pm.Normal("x", 0.0, sd)
    ...     return bd.compile_prior(model)
    >>> of_prior(prior(1.0)) == of_prior(prior(1.0)), of_prior(prior(1.0)) == of_prior(prior(1.1))
    (True, False)
    """
    return of_object(prior)


def of_object(value: Any) -> str:
    """Tell objects apart: records, arrays, containers, tables, functions, models, and what these hold.

    Raises
    ------
    Unknown
        If it holds something that nothing can be told of.
    """
    walk = _Walk()
    walk.node(value, None, "")
    while walk.todo:
        number = walk.todo.pop()
        of = walk.values[number]
        try:
            label, children, ordered = _parts(of, walk)
        except (RecursionError, MemoryError):
            raise
        except Opaque:
            raise Unknown(walk.name(number)) from None
        walk.labels[number], walk.ordered[number] = label.encode("utf-8", "backslashreplace"), ordered
        walk.children[number] = [walk.node(child, number, how) for how, child in children]
    return _digests(walk)[0].hex()


# ------------------------------------------------------------------------------------------------------ what is printed


def digest(*arrays: np.ndarray) -> str:
    """Tell arrays apart."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(str((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:16]


def name_of(f: Any) -> str:
    """The name of a function and its bound options, to be read: the same in another process.

    Examples
    --------
    >>> from functools import partial
    >>> name_of(partial(sorted, reverse=True))
    'builtins.sorted(reverse=True)'
    """
    if isinstance(f, partial):
        options = [_option(value) for value in f.args]
        options += [f"{key}={_option(value)}" for key, value in sorted(f.keywords.items())]
        return f"{name_of(f.func)}({', '.join(options)})"
    return f"{getattr(f, '__module__', '')}.{getattr(f, '__qualname__', type(f).__qualname__)}"


def _option(value: Any) -> str:
    if hasattr(value, "__array__") and np.ndim(value):  # repr leaves out the middle of a long one
        return f"array({digest(np.asarray(value))})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_option(value[key])}" for key in value) + "}"
    return name_of(value) if callable(value) else re.sub(r" at 0x[0-9a-f]+", "", repr(value))


# ------------------------------------------------------------------------------------------------------------ the graph


class _Reads(NamedTuple):
    """A module, of which these names are read."""

    module: ModuleType
    names: frozenset[str]


class _Pair(NamedTuple):
    """A key of a mapping and its value."""

    key: Any
    value: Any


class _Walk:
    """The graph of an object, as far as it was walked. A child is a number, or the digest of what leads nowhere."""

    def __init__(self) -> None:
        self.values: list[Any] = []  # kept, so that no other gets the place in memory of one that was met
        self.parents: list[tuple[int | None, str]] = []
        self.labels: dict[int, bytes] = {}
        self.ordered: dict[int, bool] = {}
        self.children: dict[int, list[int | bytes]] = {}
        self.todo: list[int] = []
        self.names: dict[int, str] = {}  # of variables in a graph of PyTensor, by their place in memory
        self.made: dict[tuple[Any, ...], Any] = {}  # what was made on the way, by what it was made of
        self._numbers: dict[int, int] = {}

    def node(self, value: Any, parent: int | None, how: str) -> int | bytes:
        leaf = _leaf(value)
        if leaf is not None and parent is not None:
            return leaf
        if id(value) not in self._numbers:
            self._numbers[id(value)] = number = len(self.values)
            self.values.append(value)
            self.parents.append((parent, how))
            self.todo.append(number)
        return self._numbers[id(value)]

    def name(self, number: int) -> str:
        """How an object is reached from the nearest function, class or model."""
        words, kind = [], type(self.values[number]).__qualname__
        parent: int | None = number
        while parent is not None:
            parent, how = self.parents[number]
            words += [how] * bool(how)
            if parent is None:
                break
            number = parent
            title = _title(self.values[number])
            if title:
                words.append(title)
                break
        article = "an" if kind[:1].lower() in "aeio" else "a"
        return f"{' of '.join(words)}: {article} {kind}" if words else f"{article} {kind}"


def _title(value: Any) -> str:
    """What an object is called, if it has a name that a user knows."""
    if isinstance(value, FunctionType | type):
        return value.__qualname__
    if isinstance(value, ModuleType):
        return value.__name__
    return "the prior" if "pymc.Model" in kinds_of(type(value)) else ""


def _digests(walk: _Walk) -> list[bytes]:
    """Compute the digest of every object: of its label and of the digests of what it leads to.

    Objects that lead to each other in a circle start with their labels; with each round a digest knows of objects one
    step farther away, until no two more are told apart. So it does not matter where one came in.
    """
    count = len(walk.values)
    edges = [(number, child) for number in range(count) for child in walk.children[number] if isinstance(child, int)]
    rows, columns = np.array(edges, int).reshape(-1, 2).T
    matrix = csr_array((np.ones(len(edges), bool), (rows, columns)), shape=(count, count))
    circle = connected_components(matrix, connection="strong")[1].tolist()
    members: dict[int, list[int]] = {}
    for number in range(count):
        members.setdefault(circle[number], []).append(number)
    below: dict[int, set[int]] = {key: set() for key in members}
    loops = set()
    for number, child in edges:
        if circle[number] != circle[child]:
            below[circle[number]].add(circle[child])
        else:
            loops.add(circle[number])
    found = [b""] * count

    def step(number: int) -> bytes:
        children = [found[child] if isinstance(child, int) else child for child in walk.children[number]]
        if not walk.ordered[number]:
            children.sort()
        label = walk.labels[number]
        return hashlib.sha256(b"%d %d %s%s" % (len(label), len(children), label, b"".join(children))).digest()

    for key in TopologicalSorter(below).static_order():
        if key not in loops:
            [number] = members[key]
            found[number] = step(number)
            continue
        told, told_before = 1, 0
        while told > told_before:
            rounds = [step(number) for number in members[key]]
            for number, value in zip(members[key], rounds, strict=True):
                found[number] = value
            told, told_before = len(set(rounds)), told
        # What is told apart knows its own surroundings; with all the others, the whole circle.
        whole = b"".join(sorted({found[number] for number in members[key]}))
        for number in members[key]:
            found[number] = hashlib.sha256(found[number] + whole).digest()
    return found


# -------------------------------------------------------------------------------------------------------------- objects


def _leaf(value: Any) -> bytes | None:
    """The digest of what leads nowhere: numbers, texts and names of nothing."""
    kind = type(value)
    if kind is int:
        text = hex(value)  # Python writes no decimals of a very long one
    elif kind is complex:
        text = repr((value.real, value.imag))
    elif kind is str:
        text = value
    elif kind is bytes or kind is bytearray:
        return hashlib.sha256(kind.__name__.encode() + b" " + value).digest()
    elif kind in (bool, float) or value is None or value is Ellipsis or value is NotImplemented:
        text = repr(value)
    else:
        return None
    return hashlib.sha256(f"{kind.__name__} {text}".encode("utf-8", "surrogatepass")).digest()


def _parts(value: Any, walk: _Walk) -> Parts:
    """Say what an object is, and what it leads to."""
    leaf = _leaf(value)
    if leaf is not None:
        return Parts(leaf.hex(), [])
    if isinstance(value, Parts):
        return value
    if isinstance(value, _Reads):
        inside = vars(value.module)
        read = sorted(name for name in value.names & set(inside) - BOOKKEEPING)
        return Parts(f"module {read}", [_read(inside[name], f"global {name!r}", value.names, walk) for name in read])
    if isinstance(value, _Pair):
        return Parts("pair", [("key", value.key), ("item", value.value)])
    if isinstance(value, LEFT_OUT):
        return Parts(f"left out {type(value).__name__}", [])
    if isinstance(value, weakref.ref):
        return Parts("weak", [("", value())])
    if type(value) in (list, tuple):
        many = _alike(value) if len(value) > 100 else None
        children = [(f"item {i}", item) for i, item in enumerate(value)] if many is None else [("", many)]
        return Parts(f"{type(value).__name__} {len(value)}", children)
    if isinstance(value, set | frozenset):
        own = [] if type(value) in (set, frozenset) else [("class", type(value)), ("attributes", vars(value))]
        return Parts(type(value).__name__, [*(("item", item) for item in value), *own], ordered=False)
    if type(value) in (dict, MappingProxyType):
        return _mapping(value)
    if isinstance(value, np.ndarray | np.generic):
        return _array(value)
    for known in (_code, _callable, _descriptor, _of_a_library):
        parts = known(value, walk)
        if parts is not None:
            return parts
    if isinstance(value, Enum):
        return Parts(f"member {value.name}", [("class", type(value))])
    if isinstance(value, Mapping) and not isinstance(value, dict) and installed(type(value)) is not None:
        return _mapping(dict(value))  # one that cannot be changed keeps its hash once it was asked
    return _reduced(value)


def _alike(values: list[Any] | tuple[Any, ...]) -> Parts | None:
    """Many texts, or many numbers of one type, which are read at once; None where they are others."""
    kinds = set(map(type, values))
    if kinds == {str}:
        lengths = np.fromiter(map(len, values), int, len(values))
        return Parts("", [("", lengths), ("", "".join(values))])
    if kinds in ({int}, {float}, {np.int64}, {np.float64}):
        array = np.array(values)
        return Parts(kinds.pop().__name__, [("", array)]) if array.dtype in (int, float) else None
    return None


def _mapping(value: Mapping[Any, Any]) -> Parts:
    if all(type(key) is str for key in value):
        names = sorted(value)
        return Parts(f"dict {names}", [(f"item {name!r}", value[name]) for name in names])
    return Parts("dict", [("item", _Pair(key, item)) for key, item in value.items()], ordered=False)


def _array(value: np.ndarray | np.generic) -> Parts:
    array, kind = np.asarray(value), type(value)
    about = f"{kind.__qualname__} {array.dtype.str} {array.shape}"
    children: list[tuple[str, Any]] = []
    if isinstance(value, np.ma.MaskedArray):
        children = [("mask", np.ma.getmaskarray(value)), ("fill_value", value.fill_value)]
    elif isinstance(value, np.ndarray) and not installed(kind):
        children = [("class", kind), ("attributes", vars(value))]
    if array.dtype.names is not None:  # by field: there may be anything between them
        fields = [(f"field {name!r}", array[name]) for name in array.dtype.names]
        return Parts(f"{about} {array.dtype.names}", [*fields, *children])
    if array.dtype.kind in "OT":  # objects, and texts that lie elsewhere
        return Parts(about, [("entries", array.ravel().tolist()), *children])
    if array.dtype.char in "gG":  # of its 16 bytes 6 are never written
        parts = [array.real, array.imag] if array.dtype.char == "G" else [array]
        high = [part.astype(float) for part in parts]
        low = [(part - whole).astype(float) for part, whole in zip(parts, high, strict=True)]
        return Parts(about, [*(("", part) for part in (*high, *low)), *children])
    content = hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return Parts(f"{about} {content.hexdigest()}", children)


def _of_a_library(value: Any, walk: _Walk) -> Parts | None:
    """What holds caches, or arranges equal things in several ways."""
    kinds = kinds_of(type(value))
    if not {kind.partition(".")[0] for kind in kinds} & {
        "pandas", "xarray", "scipy", "jax", "jaxlib", "pytensor", "pymc", "bayesdiff",
    }:  # fmt: skip
        return None
    label = " ".join(sorted(kinds))
    if kinds & {"jax.ArrayImpl", "jaxlib.ArrayImpl", "jaxlib.Array"}:
        return Parts("array of JAX", [("", np.asarray(value))])
    if kinds & {"jax.PRNGKeyArray"}:
        from jax.random import key_data

        return Parts(f"key {value.dtype}", [("", np.asarray(key_data(value)))])
    if kinds & {"jaxlib.PyTreeDef"}:
        return Parts("tree", [("", value.node_data()), *(("", child) for child in value.children())])
    if kinds & {"jax.Tracer"}:
        raise Opaque
    if kinds & {"scipy._spbase", "scipy.spmatrix"}:
        entries = value.tocoo()
        return Parts(f"{label} {value.shape}", [(name, getattr(entries, name)) for name in ("row", "col", "data")])
    if kinds & {"pandas.DataFrame"}:
        columns = [value.iloc[:, i].array for i in range(value.shape[1])]
        return Parts(label, [("columns", value.columns), ("index", value.index), ("attrs", value.attrs),
                              *(("column", column) for column in columns)])  # fmt: skip
    if kinds & {"pandas.Series"}:
        return Parts(label, [("name", value.name), ("index", value.index), ("values", value.array)])
    if kinds & {"pandas.MultiIndex"}:
        return Parts(label, [("names", list(value.names)), ("labels", value.tolist())])
    if kinds & {"pandas.Index"}:
        return Parts(f"{label} {getattr(value, 'freqstr', '')}", [("name", value.name), ("labels", value.array)])
    if kinds & {"pandas.ExtensionArray"}:
        inside = value.to_numpy() if "pandas.NumpyExtensionArray" in kinds else list(value)
        return Parts(f"{label} {value.dtype!r}", [("values", inside)])
    if kinds & {"xarray.DataArray"}:
        return Parts(label, [("name", value.name), ("variable", value.variable),
                              ("coords", {name: coord.variable for name, coord in value.coords.items()})])  # fmt: skip
    if kinds & {"xarray.Variable"}:
        return Parts(f"{label} {value.dims}", [("values", np.asarray(value.values)), ("attrs", value.attrs)])
    if kinds & {"xarray.Dataset", "xarray.DatasetView"}:
        return Parts(label, [("coords", sorted(map(str, value.coords))), ("variables", dict(value.variables)),
                              ("attrs", value.attrs)])  # fmt: skip
    if kinds & {"xarray.DataTree"}:
        return Parts(label, [("groups", {node.path: node.to_dataset(inherit=False) for node in value.subtree})])
    if kinds & {"bayesdiff.CompiledPrior"}:
        return Parts("prior", [("", value._jacobian), ("", value.level), ("", value.model)])
    if kinds & {"pymc.Model"}:
        return model_parts(value, walk.names)
    return graph_parts(value, kinds, walk.names)


def _reduced(value: Any) -> Parts:
    """Say what an object is made of, as it says itself to `copy` and `pickle`."""
    cls = type(value)
    try:
        reduce = copyreg.dispatch_table.get(cls)
        reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception:  # it raises whatever it likes
        # The one attribute of which nothing can be told is named then.
        if not (installed(cls) is None and hasattr(value, "__dict__")):
            raise Opaque from None
        return Parts("object", [("class", cls), *_attributes(cls, vars(value))])
    if isinstance(reduced, str):
        home = installed(cls if getattr(value, "__module__", None) is None else value)
        if home is not None:
            return Parts(f"{home} {getattr(value, '__module__', '')}.{reduced}", [])
        return Parts("object", [("class", cls), *_attributes(cls, getattr(value, "__dict__", {}))])
    make, of, state, items, pairs = (*reduced, None, None, None)[:5]
    children = [("", make), *(("", argument) for argument in of)]
    states = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # attributes, and those in slots
    if all(part is None or type(part) is dict for part in states):
        children += _attributes(cls, {name: kept for part in states for name, kept in (part or {}).items()})
    else:
        children.append(("state", state))
    children += [] if items is None else [("items", list(items))]
    children += [] if pairs is None else [("items", list(pairs) if isinstance(value, OrderedDict) else dict(pairs))]
    return Parts(f"reduced {len(of)}", children)


def _attributes(cls: type, state: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """The attributes of an object, without those that are computed from others and kept."""
    kept = {name for base in cls.__mro__ for name, what in vars(base).items() if isinstance(what, cached_property)}
    names = sorted((name for name in state if name not in kept), key=str)
    return [
        part for name in names for part in (("", str(name)), (f"attribute {name!r} of {cls.__name__}", state[name]))
    ]


# ------------------------------------------------------------------------------------------------------------ functions
def _code(value: Any, walk: _Walk) -> Parts | None:
    if not isinstance(value, CodeType):
        return None
    read = read_code(value)
    return Parts(read.label, [("constant", constant) for constant in read.constants])


def _callable(value: Any, walk: _Walk) -> Parts | None:
    """Functions of all kinds, classes and modules."""
    if isinstance(value, FunctionType):
        return _function(value, walk)
    if isinstance(value, MethodType):
        return Parts("method", [("self", value.__self__), ("", value.__func__)])
    if isinstance(value, partial):
        return Parts(f"partial {len(value.args)}", [
            ("", value.func), *((f"option {i}", item) for i, item in enumerate(value.args)),
            ("options", dict(value.keywords)), ("attributes", vars(value)),
        ])  # fmt: skip
    if isinstance(value, type):
        return _class(value)
    if isinstance(value, ModuleType):
        home = installed(value)
        if home is not None:
            return Parts(f"{home} {value.__name__}", [])
        return Parts("module", [("", _reads(value, frozenset(vars(value)), walk))])
    if isinstance(value, BuiltinFunctionType | MethodWrapperType):
        of = value.__self__
        if isinstance(of, ModuleType | None):
            return Parts(f"{installed(value) or ''} {value.__module__}.{value.__qualname__}", [])
        return Parts(f"method {value.__name__}", [("self", of)])
    if isinstance(value, np.ufunc):
        found = [
            name for name in ("numpy", "scipy.special") if getattr(sys.modules.get(name), value.__name__, 0) is value
        ]
        if not found:
            raise Opaque  # np.frompyfunc keeps its function to itself
        return Parts(f"{home_of(found[0])} {found[0]}.{value.__name__}", [])
    # Compiled, or cached: the function is inside, and the rest is how it is kept.
    kinds = kinds_of(type(value))
    if "jaxlib.PjitFunction" in kinds:
        state = value.__getstate__()  # what wraps the function at first has gone where it was sent
        return Parts("jit", [("", state["fun"]), ("", state["static_argnums"]), ("", state["static_argnames"])])
    if kinds & {"functools._lru_cache_wrapper", "numba.Dispatcher"}:
        return Parts(type(value).__qualname__, [("", getattr(value, "py_func", None) or value.__wrapped__)])
    return None


def _descriptor(value: Any, walk: _Walk) -> Parts | None:
    """What stands in a class beside functions."""
    if isinstance(value, staticmethod | classmethod):
        return Parts(type(value).__name__, [("", value.__func__)])
    if isinstance(value, property):
        return Parts(type(value).__name__, [("", value.fget), ("", value.fset), ("", value.fdel)])
    if isinstance(value, cached_property):
        return Parts("cached_property", [("", value.func)])
    if isinstance(value, MemberDescriptorType | GetSetDescriptorType | WrapperDescriptorType | MethodDescriptorType):
        of = value.__objclass__
        # A slot of a class says no more than its name; and a class leads to its slots.
        return Parts(f"{installed(of) or ''} {value.__name__}", [] if installed(of) is None else [("", of)])
    return None


def _function(f: FunctionType, walk: _Walk) -> Parts:
    home, cells = home_of(str(f.__globals__.get("__name__"))), f.__closure__ or ()
    closure: list[tuple[str, Any]] = []
    reads = all_reads(f.__code__)
    for name, cell in zip(f.__code__.co_freevars, cells, strict=True):
        try:
            closure.append(_read(cell.cell_contents, f"closure {name!r}", reads.attributes, walk))
        except ValueError:  # not filled yet
            closure.append(("", NotImplemented))
    code = f.__code__
    positional = code.co_varnames[: code.co_argcount][-len(f.__defaults__ or ()) or code.co_argcount :]
    given = dict(zip(positional, f.__defaults__ or (), strict=True)) | (f.__kwdefaults__ or {})
    defaults = [_read(given[name], f"default {name!r}", reads.attributes, walk) for name in sorted(given)]
    if home is not None:
        # What a factory of a package returns is told apart by what it was given.
        inner = "<locals>" in code.co_qualname
        return Parts(f"{home} {f.__globals__.get('__name__')}.{code.co_qualname}", closure + defaults * inner)
    children = [("", code), *closure, *defaults]
    for name in sorted(reads.names - BOOKKEEPING):
        if name in f.__globals__:
            children += [("", name), _read(f.__globals__[name], f"global {name!r}", reads.attributes, walk)]
        else:
            children.append(("", f"builtin {name}" if hasattr(builtins, name) else f"missing {name}"))
    for name, level, wanted in sorted(reads.imports):
        module = _imported(name, level, wanted, f.__globals__)
        children.append(_read(module, f"import {name!r}", reads.attributes, walk))
    attributes = [] if not vars(f) else [("attributes", vars(f))]
    return Parts(f"function {sorted(given)} {len(cells)}", children + attributes)


def _read(value: Any, how: str, names: frozenset[str], walk: _Walk) -> tuple[str, Any]:
    """What a function reads: of a module of the user's the names that it may take from there, and no more."""
    if isinstance(value, ModuleType) and installed(value) is None:
        return how, _reads(value, names, walk)
    return how, value


def _reads(module: ModuleType, names: frozenset[str], walk: _Walk) -> _Reads:
    return walk.made.setdefault((id(module), names), _Reads(module, names))  # modules may lead to each other


def _imported(name: str, level: int, wanted: tuple[str, ...], within: Mapping[str, Any]) -> ModuleType | str:
    """The module of an import within a function: one of the user's is imported, of others the version is enough."""
    whole = name
    try:
        if level:
            package = str(within.get("__package__") or str(within.get("__name__")).rpartition(".")[0])
            whole = importlib.util.resolve_name("." * level + name, package)
        home = home_of(whole)
        if home is not None:
            return f"{home} {whole}"
        module = importlib.import_module(whole)
        for part in wanted if hasattr(module, "__path__") else ():
            if not hasattr(module, part) and importlib.util.find_spec(f"{whole}.{part}"):
                importlib.import_module(f"{whole}.{part}")
    except Exception:  # it is not there or fails, and the function knows what to do then
        return f"missing {whole}"
    return module if level or wanted else sys.modules[whole.partition(".")[0]]


def _class(cls: type) -> Parts:
    home, name = installed(cls), f"{cls.__module__}.{cls.__qualname__}"
    if home is not None and importable(cls):
        return Parts(f"{home} {name}", [])
    # A slot is named by __slots__, and a class that was sent has none of its own.
    inside = {name for name, what in vars(cls).items() if not isinstance(what, MemberDescriptorType)}
    names = sorted(inside - BOOKKEEPING)
    bases = [("", base) for base in cls.__bases__]
    own = [(f"attribute {name!r}", vars(cls)[name]) for name in names]
    return Parts(f"class {names} {len(bases)}", [("", type(cls)), *bases, *own])
