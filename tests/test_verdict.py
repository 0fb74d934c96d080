"""The verdict: each rule at its limit, what is said of it, and what must not be said of a run without a fault."""

import re
import warnings
from functools import partial

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import bayesdiff as bd
from bayesdiff import results, stopped, verdict
from bayesdiff.calls import warn_once
from bayesdiff.images import inverters as of_pictures
from bayesdiff.invert.inverters import carried_by, searches_from
from bayesdiff.verdict import (
    LIMITS,
    of_calibration,
    of_chain,
    of_climbs,
    of_draws,
    of_draws_by_observation,
    of_tempering,
    read,
    reason,
    too_few,
)

QUIET = {"random_seed": 1, "progressbar": False}
SAMPLE = ("chain", "draw")


def told(group):
    """What of the whole every verdict says."""
    attrs = group.attrs
    assert {"ok", "code", "sentence", "warned", "rule"} <= attrs.keys()
    assert attrs["rule"] == verdict.RULE
    assert attrs["sentence"].endswith(".")
    assert (attrs["code"] == "ok") <= (attrs["ok"] and not attrs["warned"])
    return attrs["code"], attrs["sentence"]


# --------------------------------------------------------------------------------------------------------- observations


def climbs(size=3, cut_short=False, **changes):
    yes = np.ones(size, bool)
    call = {"good": yes, "alive": yes, "converged": yes, "on_edge": ~yes, "agreed": 3 * yes, "modes": 1 * yes}
    for name, rows in changes.items():
        call[name] = call[name].copy()
        call[name][list(rows)] = ~call[name][list(rows)] if call[name].dtype == bool else 1
    return of_climbs(**call, cut_short=cut_short)


def test_climbs_that_end_at_maxima_are_fine():
    group = climbs()
    assert told(group) == ("ok", "Every MAP is a maximum.")
    assert group["ok"].values.all()
    assert group["starts_agreed"].values.tolist() == [3, 3, 3]
    assert told(climbs(1)) == ("ok", "The MAP is a maximum.")


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"good": [1]}, "not_finite", "1 of 3 observations are not finite and came back as NaN: index 1."),
        (
            {"alive": [0, 2]},
            "no_start",
            "p(x | o) of 2 of 3 observations is not finite at any start; their rows",
        ),
        ({"converged": [2]}, "no_maximum", "The climb of 1 of 3 observations did not end at a maximum: index 2. Their"),
        ({"on_edge": [1], "converged": [1]}, "edge", "The MAP of 1 of 3 observations lies on an edge: index 1."),
    ],
)
def test_climbs_that_do_not(changes, code, said):
    group = climbs(**changes)
    which, sentence = told(group)
    rows = next(iter(changes.values()))
    assert which == code
    assert sentence.startswith(said)
    assert verdict.named(group["code"])[rows].tolist() == [code] * len(rows)
    assert np.flatnonzero(~group["ok"].values).tolist() == rows
    assert group.attrs["warned"]
    assert not group.attrs["ok"]


def test_what_cannot_be_inverted_is_no_climb_that_did_not_end():
    group = climbs(good=[0], alive=[0], converged=[0, 1])
    assert verdict.named(group["code"]).tolist() == ["not_finite", "no_maximum", "ok"]
    assert "of 1 of 3 observations did not end" in told(group)[1]
    assert np.isnan(group["starts_agreed"].values[0])


def test_a_map_that_one_climb_reached_is_said_only_where_the_search_was_cut_short():
    group = climbs(cut_short=True, agreed=[1])
    code, sentence = told(group)
    assert code == "alone"
    assert "above all for the 1 of 3 observations whose MAP one climb alone reached: index 1" in sentence
    assert group["ok"].values.all()  # it stands, and is said
    assert group.attrs["ok"]
    assert group.attrs["warned"]
    assert told(climbs(cut_short=False, agreed=[1]))[0] == "ok"
    assert told(climbs(cut_short=True))[0] == "ok"


def drawn(r_hat=1.0, ess=1000.0, diverging=0, good=True, alive=True, left=0.0, shape=(4, 100)):
    """One observation beside a good one; of `diverging` of its trajectories."""
    size = 2
    diverged = np.zeros((size, shape[0] * shape[1]))
    diverged[1, :diverging] = 1
    worst = np.array([[1.0, 1.0], np.broadcast_to(r_hat, 2)])
    fewest = np.array([[1000.0, 1000.0], np.broadcast_to(ess, 2)])
    flags = np.array([True, good]), np.array([True, alive])
    return of_draws_by_observation(worst, fewest, diverged.reshape(size, *shape), *flags, np.array([0.0, left]))


@pytest.mark.parametrize(
    ("fine", "bad", "code", "words"),
    [
        ({"r_hat": 1.05}, {"r_hat": 1.0501}, "r_hat", "R-hat 1.05 > 1.05"),
        ({"r_hat": [1.0, 1.05]}, {"r_hat": [1.0, 1.4]}, "r_hat", "R-hat 1.40 > 1.05"),
        ({}, {"r_hat": [1.0, np.nan]}, "r_hat", "R-hat inf > 1.05"),  # a coordinate that never moved
        ({"ess": 100.0}, {"ess": 99.0}, "ess", "99 effective draws < 100"),
        ({}, {"ess": [5000.0, np.nan]}, "ess", "0 effective draws < 100"),
        ({"diverging": 100}, {"diverging": 101}, "diverging", "25% diverging > 25%"),
        ({}, {"good": False}, "not_finite", "could not be inverted"),
        ({}, {"alive": False}, "no_start", "could not be inverted"),
    ],
)
def test_draws_are_judged_at_the_limits(fine, bad, code, words):
    assert told(drawn(**fine))[0] == "ok"
    group = drawn(**bad)
    assert told(group)[0] == code
    assert verdict.named(group["code"]).tolist() == ["ok", code]
    assert group["ok"].values.tolist() == [True, False]
    assert reason(group, 1) == words
    assert group.attrs["warned"]


def test_seventeen_effective_draws_are_not_trusted_however_few_were_asked_for():
    assert drawn(ess=17.0, shape=(2, 60))["ok"].values.tolist() == [True, False]


def test_the_sentence_on_draws_names_the_worst():
    group = of_draws_by_observation(
        np.array([[1.0], [1.2], [2.0]]),
        np.full((3, 1), 500.0),
        np.zeros((3, 4, 100)),
        *np.ones((2, 3), bool),
        np.zeros(3),
    )
    assert told(group)[1].startswith(
        "The draws of 2 of 3 observations are not to be trusted. The worst is observation 2: R-hat 2.00, 500 effective "
        "draws, 0% diverging. Ask for more (draws=, tune=)"
    )
    alone = of_draws_by_observation(
        np.array([[2.0]]), np.array([[500.0]]), np.zeros((1, 4, 100)), *np.ones((2, 1), bool), np.zeros(1)
    )
    assert told(alone)[1].startswith("The draws are not to be trusted: R-hat 2.00, 500 effective draws, 0% diverging.")


def test_draws_without_a_fault_are_said_to_be_so():
    said = told(drawn(r_hat=1.012, ess=512.0))
    assert said == (
        "ok",
        "The draws can be trusted, as far as the chains can tell. R-hat is at most 1.012 (limit 1.05), and 512 draws "
        "or more are effective (100 are needed).",
    )


@pytest.mark.parametrize(("shape", "few"), [((2, 49), True), ((2, 50), False), ((20, 7), True), ((20, 8), False)])
def test_few_draws_are_not_judged_and_nobody_is_warned(shape, few):
    group = drawn(r_hat=1.01, shape=shape)
    assert (told(group)[0] == "too_few") == few
    assert group["ok"].values.tolist() == [not few] * 2
    assert np.isnan(group["r_hat"].values).all() == few
    assert not group.attrs["warned"]
    assert group.attrs["ok"] != few
    assert bool(too_few(*shape)) == few


def test_of_few_draws_what_is_not_finite_is_warned_of_all_the_same():
    group = drawn(good=False, shape=(2, 10))
    assert group.attrs["warned"]
    assert told(group)[1].endswith("Too few draws to be judged: 20, 100 are needed.")


def test_mass_that_was_left_out_is_said_of_draws_that_stand():
    assert told(drawn(left=0.01))[0] == "ok"
    group = drawn(left=0.2)
    assert told(group)[0] == "left_out"
    assert "about 20% of the mass may be missing at the worst, observation 1: index 1" in told(group)[1]
    assert group["ok"].values.all()
    assert group.attrs["warned"]
    assert told(drawn(left=0.2, good=False))[0] == "not_finite"
    assert "mass" not in told(drawn(left=0.2, good=False))[1]


def test_divergences_say_whether_they_matter():
    none, some, many = drawn(), drawn(diverging=12), drawn(diverging=200)
    assert "diverge" not in told(none)[1]
    assert "Of the trajectories of observation 1 3.0% diverged, which does not matter here. Up to 25%" in told(some)[1]
    assert told(some)[0] == "ok"
    assert not some.attrs["warned"]
    assert "Where more than 25% of the trajectories diverge, the other moves do not make up for it." in told(many)[1]
    # The chains do not agree: it is not said that other moves made up for anything.
    assert "does not matter" not in told(drawn(diverging=12, r_hat=1.3))[1]


@pytest.mark.parametrize("kind", ["climbs", "draws"])
def test_parts_put_together_are_judged_as_the_whole(kind):
    if kind == "climbs":
        whole, tell = climbs(6, cut_short=True, good=[4], converged=[0, 4], agreed=[2]), verdict.told_of_climbs
    else:
        rng = np.random.default_rng(1)
        call = [1 + 0.1 * rng.random((6, 2)), 200 * rng.random((6, 2)), rng.random((6, 4, 50)) < 0.05]
        call += [np.arange(6) != 3, np.ones(6, bool), 0.02 * rng.random(6)]
        whole = of_draws_by_observation(*call)
        parts = [of_draws_by_observation(*(values[rows] for values in call)) for rows in (slice(2), slice(2, 6))]
        joined = xr.concat(parts, "observation", combine_attrs="override")
        xr.testing.assert_equal(joined, whole)
        np.testing.assert_array_equal(verdict.named(joined["code"]), verdict.named(whole["code"]))
        tell = partial(verdict.told_of_draws, few="")
    assert tell(whole.drop_attrs(deep=False)) == whole.attrs


# ---------------------------------------------------------------------------------------------------------------- chain

NORMAL = np.random.default_rng(1).normal(size=(400, 2))
KNOWN = np.random.default_rng(2).normal(size=(1000, 2))


def chain(x=NORMAL, p=(0.5, 0.5, 0.5), lost=(0, 0, 0), again=0.5, prior=KNOWN, **more):
    return of_chain(
        x,
        levels=[1, 2, 3],
        p_values=np.array(p),
        lost=np.array(lost),
        again=again,
        prior=prior,
        labels=["a", "b"],
        **more,
    )


def test_a_chain_whose_checks_pass():
    group = chain()
    assert told(group) == ("ok", "No check failed. The checks are necessary, not sufficient.")
    assert group["check_code"].values.tolist() == ["ok"] * 3
    assert verdict.named(group["code"]).tolist() == ["ok"] * 3
    assert int(group["trajectories"]) == int(group["arrived"]) == 400


def lose(count):
    x = NORMAL.copy()
    x[:count] = np.nan
    return x


@pytest.mark.parametrize(
    ("fine", "bad", "code", "said"),
    [
        ({"p": (0.5, 4e-4, 0.5)}, {"p": (0.5, 3e-4, 0.5)}, "halves", "disagree at level 2 (p = 0.0003)"),
        ({"again": 1.1e-3}, {"again": 9e-4}, "again", "diffused again to the last level, is not distributed as"),
        (
            {},
            {"x": NORMAL + np.array([0.0, 0.4])},
            "prior",
            "x is not distributed as p0: the mean of its unconstrained b is",
        ),
        ({}, {"x": NORMAL * [0.5, 1.0]}, "prior", "x is not distributed as p0: the mean of its unconstrained a is"),
        ({}, {"x": np.sign(NORMAL)}, "prior", "x is not distributed as p0"),  # mean and sd are right
        ({}, {"x": 0 * NORMAL}, "prior", "x is not distributed as p0"),
        ({}, {"narrow": (1.0, 2.0, 9.9)}, "narrow", "with alpha 1 and sigma 2, o_K is not nearly normal"),
        ({}, {"narrow": (1.0, 0.0, np.nan)}, "narrow", "its schedule should end with more noise"),
        (
            {"x": NORMAL[:100]},
            {"x": NORMAL[:99]},
            "few_paths",
            "Too few trajectories to be judged: 99, 100 are needed.",
        ),
    ],
)
def test_a_chain_at_the_limits(fine, bad, code, said):
    assert told(chain(**fine))[0] == "ok"
    group = chain(**bad)
    assert told(group)[0] == code
    assert said in told(group)[1]
    assert not group.attrs["ok"]
    assert group.attrs["warned"] == (code != "few_paths")
    assert "No check failed" not in told(group)[1]


def test_any_trajectory_that_is_lost_is_said_and_many_take_all_with_them():
    few, many = chain(lose(4), lost=(4, 2, 0)), chain(lose(5), lost=(5, 2, 0))
    for group, count in ((few, 4), (many, 5)):
        assert told(group)[0] == "lost"
        assert told(group)[1].startswith(f"{count} of 400 trajectories were lost, the first at level 2, where their x")
        assert group.attrs["warned"]
        assert int(group["arrived"]) == 400 - count
    assert few.attrs["ok"]
    assert not many.attrs["ok"]
    assert verdict.named(many["code"]).tolist() == ["lost", "ok", "ok"]
    assert many["ok"].values.tolist() == [False, True, True]


def test_a_level_whose_halves_disagree_is_named():
    group = chain(p=(1e-9, 0.5, np.nan))
    assert verdict.named(group["code"]).tolist() == ["halves", "ok", "unchecked"]
    assert group["ok"].values.tolist() == [False, True, True]
    assert group["check_p_value"].sel(check="halves") == 1e-9


def test_checks_that_were_not_made_have_their_reasons():
    unknown = chain(p=(np.nan,) * 3, again=np.nan, prior=None)
    assert unknown["check_code"].values.tolist() == ["too_few", "too_few", "no_draws"]
    assert told(unknown)[0] == "unchecked"
    assert not unknown.attrs["ok"]
    assert told(unknown)[1].startswith(
        "No check was made. Not checked: the two halves of the trajectories were not comp"
    )
    given = chain(again=np.nan, given=True)
    assert given["check_code"].values.tolist() == ["ok", "given", "given"]
    assert given.attrs["ok"]  # what o leads to need not be distributed as p0
    assert told(given)[0] == "unchecked"
    assert "most were not made" in told(given)[1]
    at_mean = chain(searches=False)
    assert at_mean["check_code"].values.tolist() == ["at_mean", "ok", "ok"]
    assert told(at_mean)[0] == "ok"  # one is not much
    assert "this inverter begins every step at its mean" in told(at_mean)[1]
    assert not any(group.attrs["warned"] for group in (unknown, given, at_mean))
    few = chain(0 * NORMAL[:99])
    assert few["check_code"].values.tolist() == ["ok", "ok", "too_few"]
    assert not few.attrs["warned"]
    # A p-value that says nothing is not read.
    assert told(chain(searches=False, p=(1e-9,) * 3))[0] == "ok"


@pytest.mark.parametrize("carries", ["mode", "mean"])
def test_points_are_no_draws_and_nobody_is_warned_of_what_he_knows(carries):
    fine, off = chain(carries=carries), chain(0.1 * NORMAL, carries=carries)
    for group in (fine, off):
        assert f"{carries}s are no draws" in told(group)[1]
        assert not group.attrs["warned"]
    assert told(fine)[0] == "no_draws"
    assert fine.attrs["ok"]
    assert told(off)[0] == "prior"
    assert not off.attrs["ok"]
    assert chain(carries=carries, p=(1e-9,) * 3).attrs["warned"]  # this he does not
    assert "no draws" not in told(chain(carries="draw"))[1]
    assert "no draws" not in told(chain(carries=""))[1]


def test_a_chain_that_is_not_finished_is_not_judged_as_a_whole():
    so_far = chain(finished=False, again=np.nan, prior=None)
    assert told(so_far) == ("unfinished", "The run is not finished. No check failed so far.")
    failed = chain(finished=False, p=(1e-9,) * 3)
    assert told(failed)[0] == "halves"
    assert told(failed)[1].startswith("The run is not finished. Two halves")
    begun = of_chain(np.zeros((0, 1)), levels=[], p_values=np.zeros(0), lost=np.zeros(0), finished=False)
    assert not begun.attrs["ok"]
    assert begun["check_code"].values.tolist() == ["too_few"]


# ------------------------------------------------------------------------------------------------------------ tempering


def tempered(**changes):
    """A run whose every number is good, but for what is changed."""
    call = {
        "chains": 4, "draws": 1000, "finite": True, "r_hat": np.full(3, 1.001), "ess": np.full(3, 3000.0),
        "names": ["x[0]", "x[1]", "the share of mode 0"], "weights": np.array([0.6, 0.4]),
        "found_by": np.full((2, 4), 20), "given": np.zeros(2, bool), "on_edge": np.zeros(2, bool), "unseen": 0.0,
        "nowhere": 0.0, "stones": np.zeros((2, 4)),
        "arrivals": np.full(4, 500), "invalid": 0.0, "pareto_k": np.array([0.1, 0.2]),
        "by_chain": np.array([0.01, 0.0, -0.01, 0.0]), "by_chain_se": np.full(4, 0.01), "contradicts": False,
        "drift": None, "grew": None,
    }  # fmt: skip
    return of_tempering(**call | changes)


def test_a_good_run_is_not_doubted():
    group = tempered()
    code, sentence = told(group)
    assert code == "ok"
    assert sentence.startswith("The draws can be trusted, as far as the chains can tell. R-hat is at most 1.001 (limit")
    assert "the log evidences of the chains lie within 0.02 of each other" in sentence
    assert group["ok"].values.tolist() == [True, True]
    assert bool(group["evidence_ok"])
    assert bool(group["pareto_ok"])
    # One mode more, too light to be asked who found it; and the same of a single chain.
    light = {"weights": np.array([0.995, 0.005]), "found_by": np.array([[20] * 4, [0, 1, 0, 0]])}
    assert told(tempered(**light))[0] == "ok"


@pytest.mark.parametrize(
    ("changes", "code", "falls", "said"),
    [
        ({"r_hat": np.array([1.0, 1.2, 1.0])}, "r_hat", True, r"chains do not agree: R-hat is 1.20 for x\[1\]\. "),
        ({"r_hat": np.array([1.0, np.nan, 1.0])}, "r_hat", True, r"R-hat is inf for x\[1\]"),  # it never moved
        ({"ess": np.array([3e3, 3e3, 40.0])}, "ess", True, "There are 40 effective draws of the share of mode 0"),
        ({"arrivals": np.array([500, 3, 500, 500])}, "arrivals", True, "In 1 of 4 chains fewer than 20 states came"),
        ({"arrivals": np.array([500, 3, 500, 500]), "weights": np.ones(1), "found_by": np.full((1, 4), 9),
          "given": np.zeros(1, bool), "on_edge": np.zeros(1, bool)}, "arrivals", False, "1 of 4 chains fewer than 20"),
        ({"finite": False}, "no_numbers", True, "Not all draws are finite"),
        ({"chains": 1}, "one_chain", True, "With one chain nothing can be compared"),
        ({"grew": (1, 512.3)}, "improper", True, r"spread of x\[1\] grew round after round, 512 times in all: the pos"),
        ({"grew": (0, np.inf)}, "improper", True, r"draws of x\[0\] are not finite: the posterior is probably"),
        ({"invalid": 0.2}, "invalid", False, "log p was not a number for 20%"),
        ({"drift": (0.0, 0.4, 1, 2.7)}, "drift", False, r"log evidence went from 0.00 to 0.40, and the spread of x"),
        ({"nowhere": 0.2, "on_edge": np.array([True, False])}, "nowhere", False, r"withheld \(NaN\)"),
        ({"found_by": np.array([[20] * 4, [0, 1, 0, 0]])}, "alone", False, "1 of 2 modes, with 40.0% of the draws"),
        ({"contradicts": True}, "contradict", False, "The chains contradict each other.*The evidence is withheld"),
        ({"pareto_k": np.array([0.1, 0.9]), "stones": np.array([[0.3] * 4, [0.6] * 4])}, "pareto", False,
         r"Pareto k 0.90, more than 0.7\), and the log evidences upwards and downwards are 0.30 apart. The evi"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_said(changes, code, falls, said):
    group = tempered(**changes)
    assert told(group)[0] == code
    assert re.search(said, told(group)[1])
    assert group.attrs["warned"]
    assert group.attrs["ok"] != falls
    assert group["ok"].values.all() != falls
    withheld = code if code in ("contradict", "pareto", "drift") else "draws" if falls else "ok"
    assert str(group["evidence_code"].values) == withheld
    assert bool(group["evidence_ok"]) == (withheld == "ok")


def test_limits_of_a_tempered_run_are_kept():
    for fine in (
        {"r_hat": np.full(3, 1.05)}, {"ess": np.full(3, 100.0)}, {"arrivals": np.full(4, 20)}, {"invalid": 0.01},
        {"unseen": 0.05}, {"nowhere": 0.05}, {"pareto_k": np.array([0.7, np.nan])},
        {"unseen": 0.5, "found_by": np.full((2, 4), 3)},  # too few climbs to tell
        # A heavy tail alone, where both directions agree, or within what their errors allow.
        {"pareto_k": np.array([0.9]), "stones": np.array([[0.19] * 4, [0.0] * 4])},
        {"pareto_k": np.array([0.9]), "stones": np.array([[0.3] * 4, [0.0] * 4]), "by_chain_se": np.full(4, 0.25)},
        # A mode that one start found: light, or where the user said.
        {"found_by": np.array([[20] * 4, [0, 1, 0, 0]]), "weights": np.array([0.96, 0.04])},
        {"found_by": np.array([[20] * 4, [0, 1, 0, 0]]), "given": np.array([False, True])},
    ):  # fmt: skip
        assert told(tempered(**fine))[0] == "ok", fine


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nowhere": 0.2}, "20% ended at no maximum.*do not add up to 1.$"),
        ({"unseen": 0.2}, "some 20% would end at one that is not listed: there are more modes than those 2, and"),
    ],
)
def test_what_the_list_of_modes_leaves_out_is_told_and_no_warning(changes, said):
    group = tempered(**changes)
    assert re.search(said, told(group)[1])
    assert not group.attrs["warned"]
    assert bool(group["evidence_ok"])


def test_of_an_improper_posterior_nothing_else_is_said():
    group = tempered(grew=(0, 100.0), r_hat=np.full(3, 2.0), contradicts=True)
    assert told(group)[1].count("not") < 3
    assert "Ask for more" not in told(group)[1]


def test_few_draws_of_a_tempered_run_are_not_judged():
    group = tempered(draws=10)
    assert told(group) == ("too_few", "Too few draws to be judged: 40, 100 are needed.")
    assert not group.attrs["warned"]
    assert np.isnan(float(group["r_hat"]))


def test_words_on_the_evidence():
    assert reason(tempered(pareto_k=np.array([0.9]), stones=np.array([[0.3] * 4, [0.6] * 4])), code="pareto") == (
        "its importance weights have a heavy tail, and upwards and downwards it is 0.30 apart"
    )
    assert str(tempered(contradicts=True, by_chain=np.array([0.0, np.nan]))["evidence_code"].values) == "no_evidence"


# ---------------------------------------------------------------------------------------------------------- calibration


def calibration(p=(0.5, 0.2), lost=(), count=1000, lineages=(), without=0):
    p, gone = np.array(p), np.zeros(count, bool)
    gone[list(lost)] = True
    return of_calibration(
        names=["x", "log_prior"], p_values=p, p_family=np.minimum(2 * p, 1), probability=0.99, lost=gone, width=0.06,
        lineages=np.array(lineages, float), without=without,
    )  # fmt: skip


def test_a_calibration_without_a_fault():
    group = calibration()
    assert told(group) == ("ok", "No error seen in 1,000 replicates of 2 quantities (p = 0.4 for all).")
    assert bool(group["calibrated"])
    assert float(group["p_family"]) == 0.4
    assert told(calibration(p=(0.0051, 0.5)))[0] == "ok"


def test_a_calibration_that_fails_is_no_warning():
    group = calibration(p=(0.0049, 0.5))
    assert told(group) == ("not_uniform", "Not calibrated, by 1 of 2 quantities, most of all x (p = 0.005).")
    assert group["ok"].values.tolist() == [False, True]
    assert not group["calibrated"]
    assert not group.attrs["ok"]
    assert not group.attrs["warned"]
    assert "(p < 1e-99)" in told(calibration(p=(0.0, 0.5)))[1]


@pytest.mark.parametrize(
    ("fine", "bad", "code", "said"),
    [
        (
            {"count": 100},
            {"count": 99},
            "few",
            "99 replicates see gross errors alone: an ECDF of ranks that is off by 0.06",
        ),
        (
            {},
            {"lost": range(10)},
            "lost",
            "10 of 1000 replicates were lost, where the inverter failed: 0, 1, 2, 3, 4....",
        ),
        ({"lineages": [0.5, np.nan]}, {"lineages": [0.5, 1e-9]}, "halves", "Two halves of the chains"),
        (
            {"lineages": [5e-5, *np.linspace(0.1, 1, 99)]},
            {"lineages": [5e-6, *np.linspace(0.1, 1, 99)]},
            "halves",
            "Two",
        ),
        ({}, {"without": 7}, "no_sd", "The point of 7 of 1000 replicates has no sd"),
    ],
)
def test_what_a_calibration_warns_of(fine, bad, code, said):
    assert told(calibration(**fine))[0] == "ok"
    group = calibration(**bad)
    assert told(group)[0] == code
    assert told(group)[1].startswith(said)
    assert "No error seen in" in told(group)[1]
    assert group.attrs["warned"]
    assert group.attrs["ok"] == (code != "halves")
    assert "Not calibrated" in told(calibration(**bad, p=(0.0, 0.5)))[1]


def test_many_that_were_lost_are_not_lost_at_random():
    assert "at random" not in told(calibration(lost=range(10)))[1]
    assert "They are not lost at random" in told(calibration(lost=range(11)))[1]


# ---------------------------------------------------------------------------------------------- anybody's draws


def anybody(x, stats=None, **more):
    """An ArviZ tree of draws (chain, draw, 3), and what else is said of it."""
    groups = {"posterior": xr.Dataset({"x": ((*SAMPLE, "of"), x), **more}, coords={"of": ["a", "b", "c"]})}
    if stats is not None:
        groups["sample_stats"] = xr.Dataset({name: (SAMPLE, values) for name, values in stats.items()})
    return xr.DataTree.from_dict(groups)


def normal(seed=1, shape=(4, 1000, 3)):
    return np.random.default_rng(seed).normal(size=shape)


def stats_of(x):
    rng = np.random.default_rng(5)
    lp = -0.5 * (x**2).sum(axis=2)
    return {"lp": lp, "diverging": np.zeros(lp.shape, bool), "energy": 0.5 * rng.chisquare(3, lp.shape) - lp}


@pytest.mark.parametrize("seed", range(10))
def test_a_clean_run_of_anybodys_has_no_fault(seed):
    x = normal(seed)
    for stats in (None, stats_of(x)):
        group = of_draws(anybody(x, stats))
        assert told(group)[0] == "ok", group.attrs
        assert group["ok"].values.all()
    assert np.isfinite(group["bfmi"].values).all()


def stuck(x):
    x[2] = x[2, 0]


def half_stuck(x):
    x[1, 300:900] = x[1, 300]


def at_two_modes(x):
    x[:2, :, 0] += 10


def at_two_heights(x):
    x[3] = 0.01 * x[3] + [9.0, 0.0, 0.0]


def constant(x):
    x[..., 1] = 3.0


def held(x):
    x[0, :, 1] = 3.0


def no_number(x):
    x[1, 5, 2] = np.nan


def walking(x):
    x[..., 0] = np.random.default_rng(2).normal(size=(4, 1000)).cumsum(axis=1)


@pytest.mark.parametrize(
    ("plant", "code", "said"),
    [
        (stuck, "stuck", r"Chain 2 is stuck: it stands still for 1,000 of its 1,000 draws on end\."),
        (half_stuck, "stuck", r"Chain 1 is stuck: it stands still for 600 of its 1,000"),
        (held, "stuck", r"x\[b\] never moves in chain 0, and does elsewhere\."),
        (constant, "constant", r"x\[b\] is one number in every draw of every chain"),
        (
            at_two_modes,
            "modes",
            r"Several modes were seen.*x\[a\] is about .* in chain 2, 3 and about .* in chain 0, 1",
        ),
        (
            at_two_heights,
            "modes",
            r"Several modes were seen.*chain 0, 1, 2 and about 9 in chain 3\. There the mean log",
        ),
        (no_number, "no_numbers", r"Not all draws are finite, of 1 of 3 numbers: x\[c\]\."),
        (walking, "r_hat", r"The chains do not agree: R-hat is \d+\.\d\d for x\[a\]\."),
    ],
)
def test_a_fault_that_was_planted_is_named_first(plant, code, said):
    x = normal()
    plant(x)
    group = of_draws(anybody(x, {"lp": -0.5 * np.nan_to_num(x**2).sum(axis=2)}))
    assert told(group)[0] == code
    assert re.match(said, told(group)[1])
    assert not group.attrs["ok"]
    assert group.attrs["warned"]


def test_divergences_alone_matter():
    x = normal()
    for share, falls in ((0.0, False), (0.01, False), (0.05, True)):
        diverging = np.arange(4000).reshape(4, 1000) < 4000 * share
        group = of_draws(anybody(x, stats_of(x) | {"diverging": diverging}))
        assert told(group)[0] == ("diverging" if share else "ok")
        assert group.attrs["ok"] != falls
        assert group.attrs["warned"] == falls
        assert group["diverging"].values.mean() == share
    assert told(group)[1].startswith(
        "200 of 4,000 trajectories (5.0%) diverged: parts of the posterior with sharp bends"
    )


def test_energies_that_change_too_slowly():
    x = normal()
    energy = np.random.default_rng(1).normal(size=(4, 1000))
    energy[1] = np.sin(np.arange(1000) / 50) + 0.1 * energy[1]
    group = of_draws(anybody(x, stats_of(x) | {"energy": energy}))
    assert told(group)[0] == "energy"
    assert re.match(r"The energies of chain 1 change too slowly \(E-BFMI 0\.\d\d < 0\.3\)", told(group)[1])
    assert np.flatnonzero(group["bfmi"].values < LIMITS.bfmi).tolist() == [1]


def test_chains_that_agree_and_are_slow():
    """Autoregressions, from their own law on: 70 draws are effective."""
    x, rng = normal(shape=(2, 2000, 3)), np.random.default_rng(3)
    for t in range(1, 2000):
        x[:, t, 0] = 0.965 * x[:, t - 1, 0] + np.sqrt(1 - 0.965**2) * rng.normal(size=2)
    group = of_draws(anybody(x))
    assert told(group)[0] == "ess"
    assert re.match(r"There are \d+ effective draws of x\[a\]\.", told(group)[1])


def test_tails_that_are_seldom_seen():
    """Chains that go to the far left together and seldom: bulk draws are effective, those of the tail are not."""
    x = normal(shape=(2, 2000, 3))
    out = np.abs(np.arange(2000) % 1000 - 500) < 30
    x[:, out, 0] = -8 + 0.1 * x[:, out, 0]
    group = of_draws(anybody(x))
    assert group["ess_tail"].values[0] < LIMITS.draws
    assert told(group)[0] in ("ess", "ess_tail")
    assert "effective draws of the tails of x[a]" in told(group)[1]


def test_one_chain_and_few_draws_of_anybodys():
    one = of_draws(anybody(normal(shape=(1, 1000, 3))))
    assert told(one)[0] == "one_chain"
    assert not one.attrs["ok"]
    few = of_draws(anybody(normal(shape=(4, 20, 3))))
    assert told(few) == ("too_few", "Too few draws to be judged: 80, 100 are needed.")
    assert not few.attrs["ok"]
    assert np.isnan(few["r_hat"].values).all()
    assert told(of_draws(anybody(normal(shape=(4, 7, 3)))))[0] == "too_few"


def test_modes_that_all_chains_visit_are_no_fault():
    x = normal()
    x[..., 0] += 10 * (np.random.default_rng(7).random((4, 1000)) < 0.4)
    assert told(of_draws(anybody(x, stats_of(x))))[0] == "ok"


def test_whole_numbers_may_stand_still():
    x, rng = normal(), np.random.default_rng(8)
    many = {
        "k": (SAMPLE, rng.poisson(3, (4, 1000))),
        "rare": (SAMPLE, rng.random((4, 1000)) < 0.5),
        "settled": (SAMPLE, np.ones((4, 1000), int)),
        "seldom": (SAMPLE, np.pad(np.ones((1, 1), int), ((0, 3), (0, 999)))),  # moves in one chain alone
    }
    group = of_draws(anybody(x, **many))
    assert told(group)[0] == "ok"
    apart = of_draws(anybody(x, k=(SAMPLE, rng.poisson([[3], [3], [3], [30]], (4, 1000)))))
    assert not apart.attrs["ok"]
    assert verdict.named(apart["code"].sel(number="k")) == "r_hat"
    alone = xr.DataTree.from_dict({"posterior": xr.Dataset({"k": many["k"]})})
    assert told(of_draws(alone))[0] == "ok"


def test_numbers_that_a_matrix_fixes_are_no_fault():
    """Correlations: the diagonal is 1, and of a Cholesky factor one number is 0."""
    x = normal()
    x[..., 0], x[..., 1] = 1.0, 0.0
    assert told(of_draws(anybody(x)))[0] == "ok"
    x[2, :, 0] = 1.5
    assert told(of_draws(anybody(x)))[0] == "stuck"


def test_text_and_dates_and_other_dimensions_are_left_alone():
    x = normal()
    more = {
        "name": (SAMPLE, np.full((4, 1000), "a")),
        "day": (SAMPLE, np.full((4, 1000), np.datetime64("2020-01-01", "ns"))),
        "offset": ("of", np.full(3, np.nan)),
    }
    group = of_draws(anybody(x, **more))
    assert group["number"].values.tolist() == ["x[a]", "x[b]", "x[c]"]
    assert told(group)[0] == "ok"
    strange = anybody(x, {"lp": np.full((4, 1000), "none"), "diverging": np.zeros((4, 1000))})
    assert told(of_draws(strange))[0] == "ok"
    moved = xr.DataTree.from_dict({"posterior": anybody(x)["posterior"].to_dataset().transpose("of", "draw", "chain")})
    assert np.allclose(of_draws(moved)["r_hat"], group["r_hat"])


def test_what_is_no_tree_of_draws_is_refused():
    with pytest.raises(TypeError, match="tree is dict; write an xarray"):
        of_draws({})
    with pytest.raises(ValueError, match=r"tree has the groups \['prior'\]; it needs one called 'posterior'"):
        of_draws(xr.DataTree.from_dict({"prior": xr.Dataset()}))
    with pytest.raises(ValueError, match="no numbers with the dimensions 'chain' and 'draw'"):
        of_draws(xr.DataTree.from_dict({"posterior": xr.Dataset({"x": ("chain", np.zeros(3))})}))


def test_a_verdict_on_anybodys_draws_is_saved_with_them(tmp_path):
    run = results.tree({"posterior": anybody(normal())["posterior"].to_dataset()})
    run["verdict"] = xr.DataTree(of_draws(run))
    for name in ("run.zarr", "run.nc"):
        assert results.load(results.save(run, tmp_path / name)).identical(run)


# --------------------------------------------------------------------------------------------- where it is, and is said


def test_a_run_without_a_verdict_has_none():
    group = read(results.tree({"posterior": xr.Dataset()}))
    assert told(group) == ("none", "This run holds no verdict: whether its numbers can be trusted is not known.")
    assert not group.attrs["ok"]
    assert reason(group, 3) == "the run holds no verdict"
    assert reason(xr.Dataset({"code": ("observation", [0], {"flag_meanings": "what?"})}), 0) == "not to be trusted"


def test_a_warning_is_the_sentence_and_nothing_else():
    said = climbs(good=[1]).attrs["sentence"]
    with pytest.warns(UserWarning, match=f"^{re.escape(said)}$"):
        warn_once(climbs(good=[1]).attrs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_once(climbs().attrs)
        warn_once(drawn(shape=(2, 10)).attrs)


@pytest.fixture(scope="module")
def gaussian():
    with pm.Model() as model:
        pm.Normal("x")
    return bd.compile_prior(model)


@pytest.mark.parametrize("call", [bd.find_map, partial(bd.sample_posterior, draws=100, tune=50)])
@pytest.mark.parametrize("batched", [True, False])
def test_every_inversion_holds_its_verdict(gaussian, call, batched, tmp_path):
    run = call(gaussian, [1.0, 2.0] if batched else 1.0, sigma=1.0, **QUIET)
    group = read(run)
    assert told(group)[0] == "ok"
    assert group["ok"].dims == (("observation",) if batched else ())
    assert "warning" not in run.attrs
    assert results.load(results.save(run, tmp_path / "run.nc")).identical(run)


@pytest.mark.parametrize(
    ("inverter", "carries"),
    [
        (bd.draw, "draw"),
        (bd.mode, "mode"),
        (bd.mean, "mean"),
        (bd.laplace, "draw"),
        (partial(partial(bd.mode), start=None), "mode"),
        (bd.from_pymc(pm.sample, draws=3), "draw"),
        (bd.from_pymc(pm.find_MAP), "mode"),
        (bd.from_pymc(lambda model: {}), ""),
        (bd.from_pymc(bd.mode), "mode"),
        (of_pictures.draw, "draw"),
        (of_pictures.mode, "mode"),
        (partial(of_pictures.mean), "mean"),
        (of_pictures.flow, "draw"),
        (lambda prior, o, alpha, sigma, *, start, random_seed: (o, {}), ""),
    ],
)
def test_an_inverter_says_what_it_carries(inverter, carries):
    assert carried_by(inverter) == carries
    whose = inverter.func if isinstance(inverter, partial) else inverter
    assert searches_from(inverter) == (getattr(whose, "__module__", "") != of_pictures.__name__)


def test_what_an_inverter_of_ones_own_carries_is_kept(gaussian):
    def mine(prior, o, alpha, sigma, *, start, random_seed):
        return bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)

    schedule = bd.geometric(3, 0.3, 10.0)
    assert bd.reverse(gaussian, schedule, mine, draws=50, **QUIET).attrs["carries"] == ""
    mine.carries = "mean"
    run = bd.reverse(gaussian, schedule, mine, draws=50, **QUIET)
    assert run.attrs["carries"] == "mean"
    assert "means are no draws" in read(run).attrs["sentence"]
    mine.carries = "kittens"
    with pytest.raises(ValueError, match="the inverter's attribute `carries` is 'kittens'; write one of"):
        bd.reverse(gaussian, schedule, mine, draws=50, **QUIET)


def test_a_chain_of_draws_that_is_not_p0_is_warned_of(gaussian):
    def narrow(prior, o, alpha, sigma, *, start, random_seed):
        x, stats = bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)
        return 0.5 * x, stats

    with pytest.warns(UserWarning, match=r"x is not distributed as p0: the mean of its unconstrained x is .* its sd"):
        run = bd.reverse(gaussian, bd.geometric(3, 0.3, 10.0), narrow, draws=250, **QUIET)
    assert read(run)["check_code"].sel(check="prior").item() == "failed"


def test_a_chain_that_stopped_holds_a_verdict_of_its_levels(gaussian, tmp_path):
    def stops(prior, o, alpha, sigma, *, start, random_seed):
        if sigma < 1:
            raise ValueError("enough")
        return bd.mode(prior, o, alpha, sigma, start=start, random_seed=random_seed)

    store = tmp_path / "run.zarr"
    with pytest.raises(bd.ChainError) as caught:
        bd.reverse(gaussian, bd.geometric(5, 0.1, 20.0), stops, draws=50, store=store, **QUIET)
    one, other = read(caught.value.partial), read(stopped.unfinished(store))
    assert told(one)[0] == "unfinished"
    xr.testing.assert_identical(one, other)


def foreign(**variables):
    """A tree of a sampler of somebody else's: arrays (chain, draw)."""
    return xr.DataTree.from_dict({"posterior": xr.Dataset({k: (SAMPLE, v) for k, v in variables.items()})})


def test_a_whole_number_that_stands_still_elsewhere_in_each_chain_is_stuck():
    x = np.random.default_rng(0).normal(size=(4, 500))
    k = np.ones((4, 500), int)
    assert verdict.of_draws(foreign(x=x, k=k)).attrs["ok"]  # the same in all: it may be so
    k[2] = 2
    group = verdict.of_draws(foreign(x=x, k=k))
    assert not group.attrs["ok"]
    assert verdict.named(group["code"]).tolist() == ["ok", "stuck"]
    alone = verdict.of_draws(foreign(k=np.ones((4, 500), int)))
    assert told(alone) == ("constant", "Nothing moves, so nothing can be judged.")


def test_chains_that_drift_are_not_called_modes():
    rng = np.random.default_rng(1)
    walks = np.cumsum(rng.normal(size=(4, 2000)), axis=1)
    apart = rng.normal(size=(4, 2000)) + np.array([0.0, 0.0, 9.0, 9.0])[:, None]
    assert "Several modes" not in verdict.of_draws(foreign(x=walks)).attrs["sentence"]
    assert verdict.of_draws(foreign(x=walks)).attrs["code"] == "r_hat"
    assert verdict.of_draws(foreign(x=apart)).attrs["code"] == "modes"


def test_ranks_of_which_many_were_lost_say_nothing_of_all():
    p = np.array([0.4, 0.6])
    about = {"names": ["x", "y"], "p_values": p, "p_family": 2 * p, "probability": 0.99, "width": 0.06, "without": 0}
    for lost, lineages, ok in ((0, [], True), (5, [], True), (400, [], False), (0, [1e-9], False)):
        group = verdict.of_calibration(**about, lost=np.arange(1000) < lost, lineages=np.array(lineages, float))
        assert group.attrs["ok"] is ok


def test_the_reason_of_a_whole_is_that_of_its_first_unit():
    apart = np.random.default_rng(1).normal(size=(4, 500)) + np.array([0.0, 0.3, 0.6, 0.9])[:, None]
    group = verdict.of_draws(foreign(x=apart))
    assert reason(group).startswith("R-hat 1.")
    assert reason(group, code="never heard of") == "not to be trusted"
    assert reason(group.drop_vars("r_hat")) == "not to be trusted"
