"""Verdict: may these numbers be trusted? Judged once, by who computes, and kept in the result.

    numbers -> code and ok, by observation, level, mode or number -> one sentence

What a result says of itself is its group ``verdict``. Its variables are ``ok``, whether the numbers of a unit stand;
``code``, why, a number of which `named` gives the word; and the numbers that this rests on. Its attributes are of the
whole: ``ok``; ``code``, the word; ``sentence``, all that is to be said in words; ``warned``, whether that is worth a
warning; and ``rule``, the number of the rules below. Whoever shows a result prints the sentence and leaves out what is
not ok: nobody judges again.

The rule for draws of Markov chains is everywhere

    R-hat <= 1.05,   effective draws >= 100,   diverging trajectories <= 25% (where other moves make up for them)

Fewer draws in all than that are not judged, and their numbers are not read. The trajectories of a chain of small steps
are independent: there the finite ones are counted, and p-values below 1e-3 say that two samples have not one law.

Arrays in, a dataset out: it knows neither models nor samplers, so that readers may ask it for words.
"""

from bayesdiff.verdict.anybody import of_draws
from bayesdiff.verdict.calibration import of_calibration
from bayesdiff.verdict.chain import apart, of_chain
from bayesdiff.verdict.observations import of_climbs, of_draws_by_observation, told_of_climbs, told_of_draws
from bayesdiff.verdict.rule import LIMITS, RULE, disagree, named, read, reason, too_few
from bayesdiff.verdict.tempering import of_tempering

__all__ = [
    "LIMITS",
    "RULE",
    "apart",
    "disagree",
    "named",
    "of_calibration",
    "of_chain",
    "of_climbs",
    "of_draws",
    "of_draws_by_observation",
    "of_tempering",
    "read",
    "reason",
    "told_of_climbs",
    "told_of_draws",
    "too_few",
]
