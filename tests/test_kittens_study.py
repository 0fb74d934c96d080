"""The study of kittens: a tiny run from end to end with networks that have learned nothing, and its page."""

import numpy as np
import pytest
from pages import execute, problems

from bayesdiff import images
from bayesdiff.images.networks import Network, PictureNet
from models.pictures import data
from models.pictures.training import KNOTS
from reports import judges, kittens

PAGE = kittens.Path(kittens.__file__).with_suffix(".qmd")


def untrained(words):
    net = PictureNet((28, 28, 1), words, mean=-0.8, sd=0.5, channels=4, width=8, depth=1, heads=2)
    return Network(net, net.initial(random_seed=0), np.zeros((len(words) + 1, KNOTS)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kittens, "LEVELS", 3)
        patch.setattr(images, "quickdraw_network", lambda: untrained(data.quickdraw_sample().words))
        patch.setattr(images, "fashion_network", lambda: untrained(data.fashion_sample().words))
        patch.setattr(images, "photos_network", lambda: untrained(kittens.ANIMALS))
        tree = kittens.study(folder / "kittens.zarr", pictures=4, compared=66, epochs=1, some=2, say=lambda words: None)
    return tree, folder


@pytest.mark.slow
def test_what_a_run_holds(run):
    tree, _ = run
    assert {
        "real",
        "judged",
        "plain",
        "draws",
        "modes",
        "flow",
        "typical",
        "by_level",
        "prompts",
        "half",
        "nearest",
        "photos",
        "frechet",
    } <= {*tree.children}
    for name in ("draws", "modes", "flow"):
        x = tree[name]["x"].values
        assert x.shape == (4, 28, 28, 1)
        assert np.abs(x).max() <= 1
        np.testing.assert_array_equal(tree[name]["way"].values[:, -1], x[: kittens.WAYS])
    # The network knows nothing, so all are far from real: noise by draws, and flat by modes.
    far = (tree["frechet"]["distance"] / tree["frechet"]["real"]).sel(
        how=["posterior steps", "MAP steps", "path of means"]
    )
    assert (far > 5).all()
    assert tree["modes"]["x"].std() < tree["draws"]["x"].std()
    # A mode lies above all draws.
    assert (tree["by_level"]["gain"] > 0).all()
    assert ((tree["judged"]["share"] >= 0) & (tree["judged"]["share"] <= 1)).all()


@pytest.mark.slow
def test_the_page_of_such_a_run(run, monkeypatch):
    _, folder = run
    shown, _ = execute("kittens.qmd", folder, monkeypatch)
    assert "posterior steps" in shown["tbl-frechet"][0]


@pytest.mark.slow
def test_what_the_networks_that_come_with_bayesdiff_reach(tmp_path):
    """A study with the trained networks, in a quarter of an hour: what holds, and that plain classifiers fail it."""
    n = 64
    tree = kittens.study(tmp_path / "k.zarr", pictures=n, compared=400, epochs=60, some=8, say=lambda words: None)
    judged = tree["judged"].to_dataset()

    def share(lot):
        return float(judged.share.sel(lot=lot))

    error = (0.6 * 0.4 / n) ** 0.5
    assert share("cats: draws, strength 3") > 0.6 - 2 * error
    assert share("cats: modes") < 0.6 - 2 * error  # modes have no strokes
    for lot in ("plain: draws of f", "plain: modes of f", "plain: noise alone"):
        assert share(lot) < 0.6 - 2 * (0.6 * 0.4 / 8) ** 0.5

    real = data.scaled(data.chosen(data.split(data.quickdraw_sample())[0], ["cat"]).images)
    for drawn in ("draws", "typical"):  # new drawings, no copies
        assert judges.novelty(tree[drawn]["x"].values, real, progressbar=False).share >= 0.9

    scores = tree["frechet"].to_dataset()
    times = {str(how): float(score) for how, score in (scores.distance / scores["real"]).to_series().items()}
    drawn = times.pop("posterior steps")
    assert drawn < 25
    assert all(drawn < other for other in times.values())
    assert times["a plain classifier's f"] > 25


def test_the_page_has_what_a_page_needs():
    assert problems(PAGE.read_text(encoding="utf-8")) == []
