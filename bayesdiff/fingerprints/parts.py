"""What an object is, and whose: the words of this room."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from bayesdiff.version import __version__

# What Python writes to a class or a module by itself, and nothing that is computed depends on.
BOOKKEEPING = {
    "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__",
    "__builtins__", "__cached__", "__classdictcell__", "__dataclass_fields__", "__dataclass_params__", "__dict__",
    "__doc__", "__file__", "__firstlineno__", "__loader__", "__module__", "__name__", "__orig_bases__", "__package__",
    "__parameters__", "__path__", "__qualname__", "__slotnames__", "__spec__", "__static_attributes__",
    "__weakref__", "_abc_impl",
}  # fmt: skip


class Opaque(Exception):
    """Nothing can be told of this object."""


class Parts(NamedTuple):
    """What an object is: a label, and the objects that it leads to, each with the way there."""

    label: str
    children: list[tuple[str, Any]]
    ordered: bool = True


def kinds_of(cls: type) -> set[str]:
    """The classes of an object, as package.name: what they are is known without their package being imported."""
    return {f"{str(base.__module__).partition('.')[0]}.{base.__name__}" for base in cls.__mro__}


def installed(value: Any) -> str | None:
    """The package that something is from, with its version. None for what is the user's own."""
    if isinstance(value, ModuleType):
        return home_of(value.__name__)
    return home_of(str(getattr(value, "__module__", None) or "builtins"))


def importable(value: Any) -> bool:
    """Whether something is what its name says: no class that a function has made."""
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


@lru_cache(maxsize=4096)
def home_of(module: str) -> str | None:
    """The distribution that a module is from, with its version; None for the user's: a script, notebook, checkout."""
    top = module.partition(".")[0]
    if top == "bayesdiff":
        return f"bayesdiff {__version__}"
    if module in sys.builtin_module_names:
        return "python"
    outer = module  # a part of a compiled module has no file of its own
    while outer != top and getattr(sys.modules.get(outer), "__file__", None) is None:
        outer = outer.rpartition(".")[0]
    found = sys.modules.get(outer)
    file = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), None)
    if found is None and top != "__main__" and top:  # nothing is imported by looking
        file = getattr(importlib.util.find_spec(top), "origin", None)
    if top == "__main__" or file is None:
        return "python" if top in sys.stdlib_module_names and top != "__main__" else None
    path = Path(file).resolve()
    places = [sysconfig.get_path(key) for key in ("purelib", "platlib")]
    if {"site-packages", "dist-packages"} & set(path.parts) or any(path.is_relative_to(place) for place in places):
        return _distribution(top)
    places = [sysconfig.get_path(key) for key in ("stdlib", "platstdlib")]
    return "python" if any(path.is_relative_to(Path(place).resolve()) for place in places) else None


def _distribution(package: str) -> str | None:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        # One of another name. All of them are read then, in about half a second.
        names = _distributions().get(package, ())
        return " ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names))) or None


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, Iterable[str]]:
    return importlib.metadata.packages_distributions()
