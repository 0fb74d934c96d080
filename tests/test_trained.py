"""The networks that come with bayesdiff: whole, small, and right about pictures that they have not learned from."""

import jax.numpy as jnp
import numpy as np
import pytest

import bayesdiff as bd
from bayesdiff import images
from bayesdiff.images import inverters
from bayesdiff.images.networks import LOG_SNR, TRAINED, denoised, logit, signal
from models import fashion, photos, quickdraw
from models.pictures import data, training
from models.pictures.training import KNOTS

SETS = {"quickdraw": data.quickdraw_sample, "fashion": data.fashion_sample}
NETWORKS = {"quickdraw": images.quickdraw_network, "fashion": images.fashion_network}


@pytest.fixture(scope="module", params=list(NETWORKS))
def known(request):
    """A network, and pictures with their labels: of drawings, those that were held out."""
    pictures = SETS[request.param]()
    _, held_out = data.split(pictures)
    return NETWORKS[request.param](), data.scaled(held_out.images)[:64], held_out.labels[:64]


def noisy(x, ratio, seed=0):
    a, s = (float(value) for value in signal(jnp.asarray(ratio)))
    return (a * x + s * np.random.default_rng(seed).normal(size=x.shape)).astype("f"), a, s


def test_the_network_of_photographs_is_whole_and_knows_photographs_from_noise():
    # None of its pictures comes with bayesdiff. So what is tested is what it makes: more alike than noise is.
    path = TRAINED / "photos.npz"
    assert path.stat().st_size < 5e6
    network = images.photos_network()
    assert "python models/photos.py" in network.made["command"]
    assert len(network.made["sha256"]) == 64
    curve = np.array(network.made["loss"]["density"])
    assert curve[-1, 0] < curve[0, 0]
    schedule = images.picture_schedule(12)
    prior = bd.compile_prior(images.classifier_prior(network, "cat", schedule))
    o = images.noise(prior, 8, random_seed=1)
    run = bd.reverse(prior, schedule, inverters.flow, o=o, draws=8, chains=1, random_seed=1, progressbar=False)
    x = bd.pictures_of(run)
    assert x.shape == (8, 32, 32, 3)
    assert abs(x.mean() - network.net.mean) < 0.3

    def neighbours(pictures):
        return np.corrcoef(pictures[:, :, 1:].ravel(), pictures[:, :, :-1].ravel())[0, 1]

    assert neighbours(x) > 0.6 > 0.1 > abs(neighbours(o.reshape(x.shape)))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_files_are_small_and_say_how_they_were_made(name):
    path = TRAINED / f"{name}.npz"
    assert path.stat().st_size < 5e6
    made = NETWORKS[name]().made
    assert f"python models/{name}.py" in made["command"]
    assert made["sha256"] == SETS[name]().sha256
    assert isinstance(made["seed"], int)
    curve = np.array(made["loss"]["density"])
    assert curve[-1, 0] < curve[0, 0]
    assert NETWORKS[name]().words == SETS[name]().words


def test_the_mean_is_far_better_than_a_linear_one(known):
    network, x, labels = known
    for ratio in (-1.0, 1.0):
        o, a, s = noisy(x, ratio)
        at = jnp.full(len(x), ratio, jnp.float32)
        found = np.asarray(denoised(network.net, network.weights, jnp.asarray(o), at, jnp.asarray(labels)))
        m, v = network.net.mean, network.net.sd**2
        linear = m + a * v / (a**2 * v + s**2) * (o - a * m)
        assert ((found - x) ** 2).mean() < 0.75 * ((linear - x) ** 2).mean()


def test_it_tells_levels_and_words_apart(known):
    network, x, labels = known
    knots = np.linspace(*LOG_SNR, KNOTS)

    def density(o, ratio, word):
        at = jnp.full(len(o), ratio, jnp.float32)
        value = logit(network.net, network.weights, jnp.asarray(o), at, jnp.asarray(np.broadcast_to(word, len(o))))
        constants = [np.interp(ratio, knots, network.constants[i]) for i in np.broadcast_to(word, len(o))]
        return np.asarray(value) + constants

    # Levels: for each lot of noisy pictures its own level is the most probable one, on average.
    any_word = len(network.words)
    ratios = [-4.0, -1.0, 2.0]
    table = np.array([[density(noisy(x, of)[0], at, any_word).mean() for at in ratios] for of in ratios])
    assert (table.argmax(axis=1) == np.arange(3)).all()
    # Words: the picture's own against the next one, in little noise; a coin would be right in half.
    o, _, _ = noisy(x, 3.0)
    own, other = (density(o, 3.0, (labels + shift) % any_word) for shift in (0, 1))
    assert (own > other).mean() > 0.75
    # Pure noise is no picture.
    noise = np.random.default_rng(1).normal(size=x.shape).astype("f")
    assert (density(noise, 0.0, any_word) < 0).mean() > 0.9


def test_a_few_steps_lead_from_noise_towards_pictures():
    network = images.quickdraw_network()
    schedule = images.picture_schedule(12)
    prior = bd.compile_prior(images.classifier_prior(network, "cat", schedule))
    o = images.noise(prior, 8, random_seed=1)
    run = bd.reverse(prior, schedule, inverters.flow, o=o, draws=8, chains=1, random_seed=1, progressbar=False)
    x = bd.pictures_of(run)
    real = data.scaled(data.chosen(data.quickdraw_sample(), ["cat"]).images)
    # Paper and ink, as in real drawings: in between is little.
    assert abs((x > 0).mean() - (real > 0).mean()) < 0.1
    assert (np.abs(x) > 0.5).mean() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("model", [quickdraw, fashion, photos])
def test_the_scripts_train_go_on_and_write(model, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "KNOTS", 3)
    split = data.split
    monkeypatch.setattr(data, "split", lambda pictures, held_out=10: split(pictures))
    if model is fashion:
        monkeypatch.setattr(data, "fashion", lambda cache=None: data.fashion_sample())
    if model is photos:
        noise = np.random.default_rng(0).integers(0, 256, size=(1200, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(1200) % len(photos.ANIMALS)
        made_up = data.Pictures(noise, labels, photos.ANIMALS, "noise", "ours", "made up", "0" * 64)
        monkeypatch.setattr(data, "cifar10", lambda cache=None: made_up)
    steps = ["--guess-steps", "2", "--density-steps", "1", "--batch", "8"]
    model.main([*steps, "--out", str(tmp_path / "a.npz")])
    first = images.load_network(tmp_path / "a.npz")
    assert [len(first.made["loss"][name]) for name in ("guess", "density")] == [1, 1]
    model.main([*steps, "--start", str(tmp_path / "a.npz"), "--out", str(tmp_path / "b.npz")])
    second = images.load_network(tmp_path / "b.npz")
    assert second.made["before"]["command"] == first.made["command"]
    assert second.made["command"].endswith("--start a.npz")
