"""Pictures as x: data sets to learn from, networks that learn, the priors that they are, scores of what comes out.

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
    from bayesdiff.images.halfseen import blur as blur
    from bayesdiff.images.halfseen import half_seen as half_seen
    from bayesdiff.images.networks import Network as Network
    from bayesdiff.images.networks import PictureNet as PictureNet
    from bayesdiff.images.networks import VectorNet as VectorNet
    from bayesdiff.images.networks import fashion_network as fashion_network
    from bayesdiff.images.networks import load_network as load_network
    from bayesdiff.images.networks import photos_network as photos_network
    from bayesdiff.images.networks import quickdraw_network as quickdraw_network
    from bayesdiff.images.networks import save_network as save_network
    from bayesdiff.images.priors import classifier_prior as classifier_prior
    from bayesdiff.images.priors import noise as noise
    from bayesdiff.images.priors import picture_schedule as picture_schedule
    from bayesdiff.images.scores import Frechet as Frechet
    from bayesdiff.images.scores import Judge as Judge
    from bayesdiff.images.scores import Nearest as Nearest
    from bayesdiff.images.scores import Novelty as Novelty
    from bayesdiff.images.scores import among as among
    from bayesdiff.images.scores import called as called
    from bayesdiff.images.scores import features as features
    from bayesdiff.images.scores import frechet_distance as frechet_distance
    from bayesdiff.images.scores import frechet_of as frechet_of
    from bayesdiff.images.scores import log_probability as log_probability
    from bayesdiff.images.scores import nearest as nearest
    from bayesdiff.images.scores import novelty as novelty
    from bayesdiff.images.scores import probabilities as probabilities
    from bayesdiff.images.scores import train_judge as train_judge
    from bayesdiff.images.training import Course as Course
    from bayesdiff.images.training import mirrored as mirrored
    from bayesdiff.images.training import normalise as normalise
    from bayesdiff.images.training import redrawn as redrawn
    from bayesdiff.images.training import train as train

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
    "Network": "networks",
    "PictureNet": "networks",
    "VectorNet": "networks",
    "load_network": "networks",
    "quickdraw_network": "networks",
    "fashion_network": "networks",
    "photos_network": "networks",
    "save_network": "networks",
    "Course": "training",
    "normalise": "training",
    "mirrored": "training",
    "redrawn": "training",
    "train": "training",
    "classifier_prior": "priors",
    "noise": "priors",
    "half_seen": "halfseen",
    "blur": "halfseen",
    "picture_schedule": "priors",
    "Frechet": "scores",
    "Judge": "scores",
    "Nearest": "scores",
    "Novelty": "scores",
    "among": "scores",
    "called": "scores",
    "features": "scores",
    "frechet_distance": "scores",
    "frechet_of": "scores",
    "log_probability": "scores",
    "nearest": "scores",
    "novelty": "scores",
    "probabilities": "scores",
    "train_judge": "scores",
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
