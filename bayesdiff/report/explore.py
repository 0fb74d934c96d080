"""The interactive page: what was computed of some priors becomes one HTML file that needs nothing else.

The page's own arithmetic (posterior, mode, draws) is in explore.html, in plain JavaScript. Nothing here can sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayesdiff.checks import mapping
from bayesdiff.version import __version__

_TEMPLATE = Path(__file__).with_name("explore.html")

# The first words of every such page: `bayesdiff.report.files` replaces none but ours.
_MARK = "<!doctype html>\n<!-- made by bayesdiff explore -->\n"


def page(priors: Sequence[Mapping[str, Any]], *, seed: int) -> str:
    """Write the interactive page of some priors as text.

    Parameters
    ----------
    priors : sequence of mapping
        One for each prior: ``title`` and ``about``, texts of any kind, and what ``bayesdiff.explorer.explore``
        returned.
    seed : int
        Of the numbers that the page draws.

    Returns
    -------
    str
        HTML without any address: no script, font or picture from elsewhere.

    Raises
    ------
    TypeError, ValueError
        If there is no prior, or one is no mapping.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-6, 6, 1025)
    >>> seen = {"title": "mine", "about": "", "name": "x", "start": -6.0, "step": 12 / 1024, "logp": -(x**2) / 2}
    >>> "mine" in page([seen], seed=1)
    True
    """
    if not priors:
        raise ValueError("there is no prior to show; give one or more")
    for number, prior in enumerate(priors):
        mapping(prior, f"priors[{number}]", "what bayesdiff.explorer.explore returned, with title and about")
    data = {"seed": seed, "version": __version__, "priors": [_plain(prior) for prior in priors]}
    # In a script element the text ends at the first "</script" and goes astray at "<!--": there is no "<" in it.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return _MARK + _TEMPLATE.read_text(encoding="utf-8").replace("@DATA@", text)


def _plain(prior: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping that JSON can write: arrays as lists, with as many digits as a picture and a table can show."""
    plain: dict[str, Any] = {}
    for key, value in prior.items():
        if not isinstance(value, np.ndarray):
            plain[key] = value
        elif key == "logp":
            plain[key] = np.round(value, 7).tolist()
        else:
            plain[key] = _significant(value, 7 if key == "values" else 5).tolist()
    return plain


def _significant(values: np.ndarray, digits: int) -> np.ndarray:
    size = np.floor(np.log10(np.maximum(np.abs(values), 1e-300)))
    scale = 10.0 ** (digits - 1 - size)
    return np.where((values == 0) | ~np.isfinite(scale), 0.0, np.round(values * scale) / scale)
