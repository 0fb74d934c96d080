"""What was tuned, so that a study can vary it: ``sample(model, tempering=replace(TEMPERING, again=0))``.

A record for each stage, by `dataclasses.replace`. Each names where its values were measured: error, seconds and
evaluations by tests/benchmarks/test_sample_speed.py, on the posteriors of reports/hard_posteriors.py; what is found
and what is missed with other values by the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from bayesdiff.invert.tuning import SEARCH, Search


@dataclass(frozen=True)
class Scouting:
    """How modes are looked for: tests/test_scout.py."""

    search: Search = SEARCH
    # Starts in a round, rounds at most, and rounds without anything new before it is over.
    starts: int = 128
    rounds: int = 40
    quiet: int = 2
    # Noise levels at which a blur is inverted, from a tenth to twice the spread of all that is known.
    scales: int = 4
    # A climb of a blurred density is to get near, not to arrive.
    blurred_steps: int = 8
    # Evaluations of log p with its gradient that a search may take.
    evaluations: int = 300_000
    # Draws from which is climbed once more at the end, to see whose they are, and evaluations for that.
    looks: int = 2048
    look_evaluations: int = 120_000
    # Two modes are one if neither is this far from the other, in posterior sd.
    same_mode: float = 0.1
    # More modes than this are counted, not kept.
    most_modes: int = 128
    # So much less mass than the heaviest, and a mode is not worth a component.
    nats: float = 20.0
    # Climbs that ended nowhere and are looked at together: there may be a kink.
    lost: int = 16


@dataclass(frozen=True)
class Fitting:
    """How a mixture is fitted to draws, and what is put beside it: tests/test_mixtures.py."""

    # Weights of the wide components, and how many times the sd of everything they are wide. The widest are seldom
    # drawn: they are there for states far out, which they give moves of their own scale, and a density that is not too
    # small. In more dimensions none but the first is ever met.
    wide: tuple[tuple[float, float], ...] = ((0.05, 1.5), (0.01, 5.0), (0.002, 15.0))
    wide_dimensions: int = 20
    # In so few dimensions components are Student t's, of so much of the covariance of their draws.
    curved_dimensions: int = 6
    of_curved: float = 0.75
    # A number whose last hundredth reaches so many times as far as a normal's is bent, from so many sd on.
    heavy: float = 2.0
    bend: float = 3.0
    # A component more must make each draw that was held out likelier by so many nats.
    worth: float = 0.005
    rounds: int = 40
    # Draws to fit to, at most, where there are more: one in so many.
    draws: int = 4096
    # Draws' worth of the covariance that a component had, in numbers of coordinates: many, and it stays as it was.
    trusts: tuple[float, ...] = (1.0, 8.0, 64.0, 1e6)
    # Components: one at each mode, and for what is not Gaussian so many more, in up to so many dimensions, else one;
    # and the numbers in their matrices, which are what a move costs.
    more: tuple[tuple[int, int], ...] = ((6, 64), (20, 16))
    most_components: int = 128
    matrix_numbers: int = 2**19

    def wides(self, n: int) -> int:
        """How many wide components there are in n dimensions."""
        return len(self.wide) if n <= self.wide_dimensions else 1


@dataclass(frozen=True)
class Moving:
    """How the states of a ladder move: tests/test_tempering.py."""

    # Sweeps that a core makes at once.
    chunk: int = 64
    target_acceptance: float = 0.8
    # How fast steps are learnt, at first.
    learning: float = 0.15
    # Of moves, so many are made with a step drawn from a hundredth of the usual to all of it: for necks of funnels.
    short: float = 0.25
    shortest: float = 1e-2
    # The step before anything was learnt; and of the wide components, which are far from the shape of what lies in
    # them.
    first_step: float = 0.5
    first_wide: float = 0.3
    # The least and the largest log of a step.
    step_range: tuple[float, float] = (-9.0, 0.5)
    # The longest trajectory in the scale of a component, where half a period is 3.1, and in leapfrog steps.
    longest: float = 2.0
    most_leaps: int = 16


@dataclass(frozen=True)
class Agreeing:
    """When rounds and chains agree: "honesty" in tests/test_sample.py."""

    # Parts of a chain, for the error of its evidence.
    parts: int = 8
    # Evidences that are this near are one number to any reader, however small their errors.
    negligible: float = 0.05
    # Chains contradict each other where chance would do so this seldom.
    contradiction: float = 1e-3
    # Of draws with which nobody finds fault.
    good_r_hat: float = 1.02
    # Sweeps whose weights say how heavy their tail is.
    pareto_rows: int = 4096
    # A spread that grows by this has not been seen whole: in errors that are themselves estimated from a few chains,
    # and of all coordinates the worst.
    widens: float = 1.1
    surely: float = 5.0
    # A spread that grows by so much, and then again, has no end that anybody saw.
    grows: float = 2.0
    # Nor has one that grew so much in all, whatever it did in the last two rounds.
    endless: float = 1e4
    # Draws that say how wide the modes are.
    labelled: int = 8192


@dataclass(frozen=True)
class Tempering:
    """How `sample` goes about it, and of each stage how that does: tests/test_sample.py."""

    scouting: Scouting = Scouting()
    fitting: Fitting = Fitting()
    moving: Moving = Moving()
    agreeing: Agreeing = Agreeing()

    # Rungs at first, and at most. Pairs that reject more often than `steep` want more rungs between them.
    rungs: int = 8
    most_rungs: int = 32
    steep: float = 0.6
    # Chunks of sweeps: of the pilot rounds, in which all rungs but the first are at p; to place the rungs; and of the
    # rounds of tempering, each to fit the next mixture to. These end when states come from q as often as this, in a
    # sweep, and the last two agree, or when so many evaluations are spent.
    pilot: tuple[int, ...] = (1, 2)
    place: int = 4
    collect: tuple[int, ...] = (4, 8, *[16] * 12)
    often: float = 0.2
    explore: int = 600_000
    # Then the rungs are placed once more.
    last_place: int = 2
    # Then, with everything fixed, sweeps that are kept: to a draw as many as bring so many states from q, of several
    # modes or of one (which moves can reach without), and not more than so many evaluations in all, or two sweeps to a
    # draw.
    arrivals: float = 4.0
    arrivals_at_one: float = 1.5
    most_thin: int = 16
    produce: int = 650_000
    # Again from a mixture fitted to these, until chains agree and so many of the draws are effective; at most so often,
    # and as long as so many evaluations are not spent.
    again: int = 3
    wanted: float = 0.1
    most_evaluations: int = 2_000_000


TEMPERING = Tempering()
