"""What was tuned, so that a study can vary it: ``dataclasses.replace(SEARCH, groups=6)``, passed on as one keyword.

Each section names where its values were measured: times by the benchmarks in tests/benchmarks/test_speed.py, what is
found and what is missed with other values by the tests.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """How modes are searched: those of p(x | o) from several starts, and before that those of p0."""

    # --- one climb: tests/test_newton.py

    # Up to here the Hessian is formed; above, only its products with vectors are (n + 1 gradients against a few dozen).
    dense: int = 64
    most_steps: int = 100
    # A chunk climbs until its last climb is done. So all get a few steps first, and only those that need more go on.
    few_steps: int = 4
    # Nats in one sd: no posterior of variables in different units widens so fast, and a funnel does.
    neck: float = 3.0
    # Two climbs found the same mode if they end within this many posterior sd of each other.
    same_mode: float = 1e-3

    # --- maxima without curvature: tests/test_kinks.py

    # Evaluations of a search beside 40 for each dimension, and searches: each next one begins at what improved the
    # last.
    kink_evaluations: int = 300
    kink_searches: int = 8
    # Nats: what a second search still gains more than this has no top that is near.
    endless: float = 1.0
    # Steps of Newton's from where a search ended: if there is a smooth maximum after all, it is next door.
    last_steps: int = 8
    # A curvature in which p, as wide as it is, would fall by half as many nats is none.
    sharp: float = 100.0
    # The share of a step's promise that must be kept, and of the slope that may be left after it.
    kept: float = 1e-4
    left: float = 0.5
    # The most halvings or doublings of a step.
    halvings: int = 60
    # Moves, in shares of the way on which p falls to 1 / e. One that is refused because p is 0, and no longer than
    # `next_door`, has met an edge.
    moves: tuple[float, ...] = (0.3, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    next_door: float = 1e-3
    # By less than this in the longest of them, and it is flat.
    least_fall: float = 1e-6
    # Log of the longest and of the shortest such way, in the units at hand, and halvings of the interval between.
    way: float = 35.0
    cuts: int = 14

    # --- modes of p0: tests/test_many_modes.py

    # In more dimensions climbing p0 first costs more than it finds.
    top_dimensions: int = 16
    # Climbs of one set; of one search at most, and modes that it keeps, in up to 3 dimensions and in more. So many are
    # needed only while they go on finding modes.
    top_climbs: int = 64
    most_climbs: tuple[int, int] = (8192, 4096)
    most_tops: tuple[int, int] = (1024, 256)
    # Curvatures of a top below this share (in coordinates of equal curvature) are none: a ring, not a mode.
    resolved: float = 1e-8
    # A draw of p0 whose log p0 is above what the known tops say by this much belongs to none of them.
    unexplained: float = 0.1
    # Draws of p0 among which modes of it are looked for, where they are cheap.
    tries: int = 2**12
    # Where p0 cannot be drawn the search may take one part in so many of the time of all that follows, but so many
    # climbs that find nothing at least, for a MAP and for draws, up to so many.
    share: int = 2
    least_patience_map: int = 2**7
    least_patience_draws: int = 2**9
    most_patience: int = 2**11

    # --- where climbs start: tests/test_inversion.py, tests/test_many_modes.py

    # At o / alpha and points around it, and the best of each of a few groups of modes and draws of p0. The modes make a
    # wide step sure of its highest: draws of a narrow one are seldom near its top. In a few dimensions points around
    # o / alpha add nothing.
    near_starts: int = 3
    few_dimensions: int = 3
    groups: int = 3
    group_size: int = 8
    # Draws need every mode of weight, a MAP only the best, so draws search longer: from the modes of p0 that are
    # heaviest in the step, and from so many groups at least.
    groups_draws: int = 9
    least_groups_draws: int = 4
    # Where fewer than one in so many draws of p0 are of use there is no bank: chains would meet these again and again.
    bank_left: int = 16

    # --- sizes: "a million modes" in the benchmarks

    # Observations that climb together, and the entries of their Hessians: chunks that fit a core's cache are fastest.
    chunk: int = 2048
    chunk_numbers: int = 2**18
    # Chunks in a part of a call: what a store keeps at a time.
    part_chunks: int = 128


SEARCH = Search()


@dataclass(frozen=True)
class Sampling:
    """How draws are made: where chains begin, what they jump to, and how they move."""

    search: Search = SEARCH

    # --- modes that chains are given: tests/test_many_modes.py

    # Of what is found so many are kept at least, the heaviest, and more where more than `left_out` of the mass would be
    # left; at most as many as make `kept_numbers` of precisions for an observation.
    modes: int = 6
    left_out: float = 1e-3
    kept_numbers: int = 2**13
    most_kept: int = 128
    # So many observations of a batch tell how many modes are kept.
    pilot: int = 2**12
    # Where so many of `least_bank` draws of p0 are effective draws of p(x | o), jumps to them reach every mode.
    bank_suffices: int = 16

    # --- jumps to draws of p0: "effective draws a second" in the benchmarks, tests/test_inverters.py

    prior_jumps: int = 2
    # Numbers in the bank (16 MB), and draws in it where each is made alone, at a tenth of a millisecond.
    bank_numbers: int = 2**21
    slow_bank: int = 2**13
    least_bank: int = 2**10
    bank_per_draw: int = 64

    # --- local moves: "effective draws a second" in the benchmarks, tests/test_inversion.py

    # A chain that jumps this often needs few local moves; they are then made in every `local_every`-th sweep.
    jumps_suffice: float = 0.5
    local_every: int = 8
    # In more dimensions a slice moves too little.
    slice_dimensions: int = 3
    # An ellipse's arc shrinks by more than half on average: after so many tries it is a point.
    slice_tries: int = 50
    # The longest trajectory, in units of the metric: steps are shortened at random, so this is a quarter to a half
    # period.
    trajectory: float = 4.0
    most_leaps: int = 24
    target_acceptance: float = 0.8

    # --- sizes

    # Chains that a core moves together, and the numbers that their draws may take: 64 MB.
    chunk_chains: int = 1024
    chunk_numbers: int = 2**23
    # Numbers that the draws of one part of a call may take (32 MB): what a store keeps at a time.
    part_numbers: int = 2**22


SAMPLING = Sampling()
