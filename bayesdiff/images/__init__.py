"""Pictures as x: data sets to learn from.

Everything here is loaded on first use, as in ``bayesdiff`` itself.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesdiff.images.data import DataError as DataError
    from bayesdiff.images.data import Pictures as Pictures
    from bayesdiff.images.data import cache_folder as cache_folder
    from bayesdiff.images.data import chosen as chosen
    from bayesdiff.images.data import cifar10 as cifar10
    from bayesdiff.images.data import fashion as fashion
    from bayesdiff.images.data import fashion_sample as fashion_sample
    from bayesdiff.images.data import quickdraw as quickdraw
    from bayesdiff.images.data import quickdraw_sample as quickdraw_sample
    from bayesdiff.images.data import scaled as scaled
    from bayesdiff.images.data import split as split
    from bayesdiff.images.data import to_uint8 as to_uint8

_HOME = {
    "Pictures": "data",
    "DataError": "data",
    "quickdraw": "data",
    "fashion": "data",
    "cifar10": "data",
    "quickdraw_sample": "data",
    "fashion_sample": "data",
    "chosen": "data",
    "split": "data",
    "scaled": "data",
    "to_uint8": "data",
    "cache_folder": "data",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bayesdiff.images' has no attribute {name!r}")
    value = getattr(_import_module(f"bayesdiff.images.{_HOME[name]}"), name)
    globals()[name] = value  # the next look-up finds it at once
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
