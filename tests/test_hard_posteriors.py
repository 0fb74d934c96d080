"""The study of hard posteriors: its quick run makes a page, and its errors are measured against exact draws."""

import numpy as np
import pytest
from pages import REPORTS, execute, problems
from test_step import PYTHON

from reports import hard_posteriors as study


def test_exact_draws_have_the_error_of_independent_ones():
    rng = np.random.default_rng(0)
    for name in ("eight normals", "two normals, n = 16"):
        target = study.TARGETS[name]()
        model = target.model()
        assert list(model.named_vars) == ["x", "target"]
    angle = np.arange(8) * np.pi / 4
    means = 10 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    x = means[rng.integers(8, size=4000)] + np.sqrt(0.7) * rng.normal(size=(4000, 2))
    target = study.eight()
    assert target.error(x[None]) < 2 * study.iid(target, 4000)
    assert target.error(x[None, x[:, 0] > 0]) > 0.3  # half of the modes: seen to be wrong


def test_every_model_has_the_density_it_says():
    """The broad prior and the Potential together are the target: log density at a point by hand."""
    model = study.two(3).model()
    x = np.array([-1.0, -1.0, -0.9])
    log = np.log(2 / 3) - 0.5 * 0.01 / 0.05 - 1.5 * np.log(2 * np.pi * 0.05)
    np.testing.assert_allclose(model.compile_logp(mode=PYTHON)({"x": x}), log, rtol=1e-6)
    funnel = study.funnel().model()
    x = np.concatenate([[2.0], np.full(9, 0.5)])
    by_hand = -4 / 18 - 0.5 * np.log(18 * np.pi) + 9 * (-0.125 * np.exp(-2) - 1 - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(funnel.compile_logp(mode=PYTHON)({"x": x}), by_hand, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyMC's samplers are given what they cannot do
def test_the_study_and_its_page(tmp_path, monkeypatch):
    run = study.study(tmp_path / "hard_posteriors.zarr", **study.QUICK, say=lambda text: None)
    error = run["scores"]["error"].sel(seed=1)
    assert float(error.sel(target="eight normals", sampler="bd.sample")) < 0.06
    assert float(error.sel(target="eight normals", sampler="NUTS")) > 0.2
    shown, _ = execute("hard_posteriors.qmd", tmp_path, monkeypatch)
    assert "eight normals" in shown["tbl-shares"][0]


def test_the_page_has_what_a_page_needs():
    assert problems((REPORTS / "hard_posteriors.qmd").read_text(encoding="utf-8")) == []
