"""bayesdiff: diffusion as a probabilistic program.

    o | x ~ N(alpha x, sigma^2 I)                     blur: one diffusion step
    p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)          invert it, by Bayes, for any prior p0 that is a pm.Model
    x = argmax p(x | o)   or   x ~ p(x | o)            by its mode, or by its posterior

Everything here is loaded on first use: ``import bayesdiff`` costs nothing, PyMC and JAX cost seconds.
"""

import lazy_loader as _lazy

from bayesdiff.version import __version__ as __version__

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
