"""bayesdiff: diffusion as a probabilistic program.

    o | x ~ N(alpha x, sigma^2 I)                     blur: one diffusion step
    p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)          invert it, by Bayes, for any prior p0 that is a pm.Model
    x = argmax p(x | o)   or   x ~ p(x | o)            by its mode, or by its posterior

Everything here is loaded on first use: ``import bayesdiff`` costs nothing, PyMC and JAX cost seconds.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesdiff.calibration import calibrate as calibrate
    from bayesdiff.calibration import calibrate_chain as calibrate_chain
    from bayesdiff.calibration_plots import plot_calibration as plot_calibration
    from bayesdiff.chain import ChainError as ChainError
    from bayesdiff.chain import reverse as reverse
    from bayesdiff.chain_plots import animate_chain as animate_chain
    from bayesdiff.chain_plots import plot_chain as plot_chain
    from bayesdiff.chain_plots import plot_chain_plane as plot_chain_plane
    from bayesdiff.chain_plots import plot_schedule as plot_schedule
    from bayesdiff.comparison import compare as compare
    from bayesdiff.compiled import CompiledPrior as CompiledPrior
    from bayesdiff.compiled import compile_prior as compile_prior
    from bayesdiff.inversion import find_map as find_map
    from bayesdiff.inversion import sample_posterior as sample_posterior
    from bayesdiff.inverters import draw as draw
    from bayesdiff.inverters import from_pymc as from_pymc
    from bayesdiff.inverters import laplace as laplace
    from bayesdiff.inverters import mean as mean
    from bayesdiff.inverters import mode as mode
    from bayesdiff.multimodal.sampling import sample as sample
    from bayesdiff.pictures import animate_pictures as animate_pictures
    from bayesdiff.pictures import pictures_of as pictures_of
    from bayesdiff.pictures import save_pictures as save_pictures
    from bayesdiff.plots import plot_compare as plot_compare
    from bayesdiff.plots import plot_step as plot_step
    from bayesdiff.priors import density as density
    from bayesdiff.priors import gaussian_mixture as gaussian_mixture
    from bayesdiff.priors import tilt as tilt
    from bayesdiff.report.source import write_report as write_report
    from bayesdiff.results import load as load
    from bayesdiff.results import save as save
    from bayesdiff.schedule import Schedule as Schedule
    from bayesdiff.schedule import bridge as bridge
    from bayesdiff.schedule import cosine as cosine
    from bayesdiff.schedule import diffuse as diffuse
    from bayesdiff.schedule import geometric as geometric
    from bayesdiff.schedule import linear as linear
    from bayesdiff.schedule import one_step as one_step
    from bayesdiff.step import step_model as step_model

__version__ = "0.1.0"

_HOME = {
    "Schedule": "schedule",
    "one_step": "schedule",
    "geometric": "schedule",
    "cosine": "schedule",
    "linear": "schedule",
    "diffuse": "schedule",
    "bridge": "schedule",
    "density": "priors",
    "tilt": "priors",
    "gaussian_mixture": "priors",
    "step_model": "step",
    "compile_prior": "compiled",
    "CompiledPrior": "compiled",
    "draw": "inverters",
    "mode": "inverters",
    "mean": "inverters",
    "laplace": "inverters",
    "from_pymc": "inverters",
    "find_map": "inversion",
    "sample_posterior": "inversion",
    "reverse": "chain",
    "ChainError": "chain",
    "sample": "multimodal.sampling",
    "compare": "comparison",
    "calibrate": "calibration",
    "calibrate_chain": "calibration",
    "pictures_of": "pictures",
    "save_pictures": "pictures",
    "animate_pictures": "pictures",
    "plot_step": "plots",
    "plot_compare": "plots",
    "plot_calibration": "calibration_plots",
    "plot_chain": "chain_plots",
    "plot_chain_plane": "chain_plots",
    "plot_schedule": "chain_plots",
    "animate_chain": "chain_plots",
    "write_report": "report.source",
    "save": "results",
    "load": "results",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bayesdiff' has no attribute {name!r}")
    value = getattr(_import_module(f"bayesdiff.{_HOME[name]}"), name)
    globals()[name] = value  # the next look-up finds it at once
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
