"""`bayesdiff kittens`: pictures from noise, and what a person may do wrong."""

import numpy as np
import pytest
from pages import told
from PIL import Image

import bayesdiff as bd
from bayesdiff.calls import Call
from bayesdiff.cli import main
from bayesdiff.images.networks import Network, PictureNet, VectorNet, save_network
from bayesdiff.pictures import path_of, pictures_of, tiled
from models.pictures.training import KNOTS

NET = PictureNet((8, 8, 1), ("cat", "dog", "face"), mean=-0.7, sd=0.5, channels=4, width=8, depth=1, heads=2)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """One that has learned nothing: its pictures are those of a normal law."""
    path = tmp_path_factory.mktemp("network") / "small.npz"
    return save_network(Network(NET, NET.initial(random_seed=0), np.zeros((4, KNOTS))), path)


def kittens(network, out, *more):
    return main(["kittens", "--network", str(network), "-n", "6", "--levels", "4", "--out", str(out), *more])


@pytest.fixture(scope="module")
def out(network, tmp_path_factory):
    """What one call writes. Nobody may change it."""
    out = tmp_path_factory.mktemp("made") / "new" / "kittens"
    assert kittens(network, out) == 0
    return out


def test_it_writes_pictures_their_way_and_the_run(out):
    assert sorted(path.name for path in out.iterdir()) == ["kittens.png", "path.gif", "path.png", "run.zarr"]
    run = bd.load(out / "run.zarr")
    pictures = pictures_of(run)
    assert pictures.shape == (6, 8, 8, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "kittens.png").convert("RGB")), tiled(pictures, zoom=3))
    path, level = path_of(run)
    assert level.tolist() == [4, 3, 2, 1, 0]
    assert path[:, 0].std() > 0.5
    assert "images.inverters.draw" in run.attrs["inverter"]
    # Three times the word: no diffused density, so moves at level 0 follow.
    assert (run.attrs["prompt"], run.attrs["strength"]) == ("cat", 3.0)
    assert "settle=12" in run.attrs["inverter"]


def test_the_same_call_gives_the_same_pictures_and_another_is_refused(network, out, tmp_path, capsys):
    before = (out / "kittens.png").read_bytes()
    assert kittens(network, out) == 0  # it is there already
    told = capsys.readouterr().out
    assert all(str(path) in told for path in out.iterdir())
    assert (out / "kittens.png").read_bytes() == before
    assert kittens(network, out, "--seed", "2") == 2
    assert "of another call: --seed was 1 there and is 2 here; choose another --out" in capsys.readouterr().err
    for more, words in (
        (["--strength", "1"], "--strength was 3.0 there and is 1.0 here"),
        (["--prompt", "dog"], "--prompt was cat there and is dog here"),
        (["-n", "5"], "-n was 6 there and is 5 here"),
        (["--levels", "5"], "was written by another call"),
    ):
        assert kittens(network, out, *more) == 2
        assert words in capsys.readouterr().err
    assert (out / "kittens.png").read_bytes() == before
    assert kittens(network, tmp_path / "c", "--seed", "2") == 0
    assert (tmp_path / "c" / "kittens.png").read_bytes() != before


def test_a_run_that_was_stopped_goes_on(network, out, tmp_path, monkeypatch):
    keep, levels = Call.keep, []

    def stop_after_the_second(*args):
        keep(*args)
        levels.append(args)
        if len(levels) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Call, "keep", stop_after_the_second)
        assert kittens(network, tmp_path / "stopped") == 130
    assert not (tmp_path / "stopped" / "run.zarr").exists()
    assert kittens(network, tmp_path / "stopped") == 0
    assert (tmp_path / "stopped" / "kittens.png").read_bytes() == (out / "kittens.png").read_bytes()


def test_by_map_and_by_prompt(network, out, tmp_path):
    found = {"draws": pictures_of(bd.load(out / "run.zarr"))}
    for name, more in {
        "modes": ["--invert", "map"],
        "not": ["--prompt", "cat not dog", "--strength", "2"],
    }.items():
        assert kittens(network, tmp_path / name, *more) == 0
        found[name] = pictures_of(bd.load(tmp_path / name / "run.zarr"))
    assert found["modes"].std() < found["draws"].std()  # modes have no noise of their own
    assert not np.array_equal(found["not"], found["draws"])
    assert bd.load(tmp_path / "not" / "run.zarr").attrs["strength"] == 2
    # The density itself is an exact diffusion.
    assert kittens(network, tmp_path / "plain", "--strength", "1") == 0
    assert "settle" not in bd.load(tmp_path / "plain" / "run.zarr").attrs["inverter"]
    assert kittens(network, tmp_path / "two", "--strength", "1", "--prompt", "cat and dog") == 0
    assert "settle=12" in bd.load(tmp_path / "two" / "run.zarr").attrs["inverter"]


def test_a_report_shows_the_pictures(network, out, tmp_path):
    text, _, figures = told(bd.write_report(out / "run.zarr", tmp_path / "a.qmd"))
    assert {"fig-pictures-1", "fig-way-1"} <= figures.keys()
    assert "tbl-result" not in text
    assert "say nothing: this inverter begins every step at its mean" in text
    for name in ("fig-pictures-1", "fig-way-1"):
        [axes] = figures[name].draw().axes
        assert axes.images[0].get_array().shape[2] == 3
    # Modes are no draws, whatever the checks say: more of them than are needed to be judged.
    call = ["kittens", "--network", str(network), "-n", "120", "--levels", "2", "--out", str(tmp_path / "b")]
    assert main([*call, "--invert", "map"]) == 0
    assert "modes are no draws" in told(bd.write_report(tmp_path / "b" / "run.zarr", tmp_path / "b.qmd"))[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--prompt", "cta"], "the network knows no 'cta'; did you mean 'cat'"),
        (["--prompt", ""], "prompt is ''; write a word that the network knows: cat, dog, face"),
        (["--prompt", "cat and"], "write a word before and after each 'and' and 'not'"),
        (["-n", "1000000000000"], "this takes more memory than there is"),
        (["--network", "none.npz"], "none.npz does not exist"),
    ],
)
def test_one_line_says_what_is_wrong(network, tmp_path, capsys, more, words):
    assert kittens(network, tmp_path / "out", *more) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_network_of_vectors(tmp_path, capsys):
    net = VectorNet((2,), ("cat",), mean=0.0, sd=1.0, width=8, depth=1)
    path = save_network(Network(net, net.initial(0), np.zeros((2, KNOTS))), tmp_path / "plane.npz")
    assert kittens(path, tmp_path / "out") == 2
    assert "is a network of vectors" in capsys.readouterr().err


def test_a_folder_that_is_somebody_elses(network, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert kittens(network, tmp_path) == 2
    assert "holds something else than kittens" in capsys.readouterr().err
    assert kittens(network, tmp_path / "letter.txt") == 2
    assert "is a file" in capsys.readouterr().err
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "run.zarr" / "precious.txt").write_text("mine")
    assert kittens(network, tmp_path) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["letter.txt", "precious.txt", "run.zarr"]


@pytest.mark.parametrize("more", [["-n", "0"], ["--strength", "0"], ["--strength", "no"], ["--levels", "1"]])
def test_numbers_out_of_range(network, tmp_path, more):
    with pytest.raises(SystemExit):
        kittens(network, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()
