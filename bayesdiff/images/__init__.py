"""Pictures as x: networks as priors, their inverters, pictures of which half was seen.

Everything here is loaded on first use, as in ``bayesdiff`` itself.
"""

import lazy_loader as _lazy

_here, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

# What was here, and is no part of the package: it fetches data, trains, or scores.
_LEFT = {
    "models/pictures/data.py": "DataError Pictures cache_folder chosen cifar10 fashion fashion_sample quickdraw "
    "quickdraw_sample scaled split",
    "models/pictures/training.py": "Course mirrored normalise redrawn train",
    "reports/judges.py": "Frechet Judge Nearest Novelty among called features frechet_distance frechet_of "
    "log_probability nearest novelty probabilities train_judge",
}


def __getattr__(name: str) -> object:
    for file, names in _LEFT.items():
        if name in names.split():
            module = file.removesuffix(".py").replace("/", ".")
            raise AttributeError(
                f"{__name__}.{name} has left the package for {file} of the repository; in a clone write "
                f"`from {module} import {name}`"
            )
    return _here(name)
