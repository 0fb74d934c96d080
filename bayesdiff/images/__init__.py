"""Pictures as x: data sets to learn from, networks that learn, the priors that they are, scores of what comes out.

Everything here is loaded on first use, as in ``bayesdiff`` itself.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
