"""Kittens from noise: the run behind `kittens.qmd`.

python reports/kittens.py --out reports/kittens.zarr

real         the cats that were learned from, and some of them in noise
typical      cats by posterior steps again, the word with a strength of 3
judged       what share of all the pictures below a judge, trained on real drawings alone, calls a cat among 20 words
plain        p0 ∝ f(x) N(x; m, v I), f the judge's p(cat | x), by draws and by modes; and f to the 20th power
draws, modes, flow
             cats by posterior steps, by MAP steps and by the path of means, all from the same noise, with their way
by_level     how far MAP and mean of one step are from the draws of that step, level by level
prompts      cats and others, composed prompts, a strength
half         one cat of which the lower half, and one of which a blur is seen: what agrees with it
nearest      for each draw the nearest drawing that the network learned from
photos       photographs of animals, and the modes from the same noise
frechet      clothes by posterior steps, by MAP steps and by the path of means: Frechet distances
"""

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

if not __package__:  # run as a file: the root of the repository is where its packages are
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bayesdiff as bd
from bayesdiff import images
from bayesdiff.images import inverters
from bayesdiff.images.priors import diffused
from bayesdiff.pictures import path_of, pictures_of
from bayesdiff.results import check_target, save
from models.pictures import data
from models.pictures.training import redrawn
from reports import judges
from reports.study import command_line, made_on

SEED = 20261125
LEVELS = 24
CLIMBS = 12  # to each mode: more changes nothing that can be seen
WAYS = 6  # of so many pictures the way is kept
FULL = {"epochs": 60}
QUICK = {"pictures": 8, "compared": 70, "epochs": 4, "some": 4}
PROMPTS = ("cat", "face", "rabbit", "owl", "cat and face", "cat not dog")
STRONG = 3.0
SETTLE = 12  # moves at level 0, where a strength made the densities on the way no diffused ones
ANIMALS = ("cat", "bird", "horse")
POWER = 20.0
SHAPE = ("row", "column", "colour")
MODE = partial(inverters.mode, climbs=CLIMBS)


def cats(network: images.Network, count: int, say: Callable[[str], None]) -> dict[str, xr.Dataset]:
    """Cats by each inverter, from the same noise; the way of the first few."""
    schedule = images.picture_schedule(LEVELS)
    prior = bd.compile_prior(images.classifier_prior(network, "cat", schedule))
    o = images.noise(prior, count, random_seed=SEED)
    found = {}
    for name, invert in {"draws": inverters.draw, "modes": MODE, "flow": inverters.flow}.items():
        begun = time.perf_counter()
        run = bd.reverse(
            prior, schedule, invert, o=o, draws=count, chains=1, path=True, random_seed=SEED, progressbar=False
        )
        way, level = path_of(run)
        found[name] = xr.Dataset(
            {"x": (("picture", *SHAPE), pictures_of(run)), "way": (("shown", "level", *SHAPE), way[:WAYS])},
            {"level": level},
            {"seconds": time.perf_counter() - begun, "evaluations": int(run["sample_stats"]["evaluations"].mean())},
        )
        stats = run["level_stats"].to_dataset()
        for stat in ("acceptance_rate", "slope"):
            if stat in stats:
                found[name][stat] = ("step", stats[stat].values)
        say(f"{name}: {count} cats in {found[name].attrs['seconds']:.0f} s")
    return found


def typical(network: images.Network, count: int, say: Callable[[str], None]) -> xr.Dataset:
    """Cats by posterior steps, from the same noise, with a strength: as `bayesdiff kittens` makes them."""
    schedule = images.picture_schedule(LEVELS)
    prior = bd.compile_prior(images.classifier_prior(network, "cat", schedule, strength=STRONG))
    o = images.noise(prior, count, random_seed=SEED)
    begun = time.perf_counter()
    run = bd.reverse(
        prior, schedule, partial(inverters.draw, settle=SETTLE), o=o, draws=count, chains=1, random_seed=SEED,
        progressbar=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    say(f"typical cats: {count} in {seconds:.0f} s")
    return xr.Dataset({"x": (("picture", *SHAPE), pictures_of(run))}, attrs={"seconds": seconds, "strength": STRONG})


def plain_prior(judge: judges.Judge, word: str, power: float, mean: float, sd: float) -> bd.CompiledPrior:
    """The article's prior: p0 ∝ f(x)^power N(x; mean, sd^2 I), f a plain classifier's probability of the word."""
    with pm.Model(coords=dict(zip(SHAPE, map(range, judge.shape), strict=True))) as noise:
        pm.Normal("x", mean, sd, dims=SHAPE)
    log_f = judges.log_probability(judge, word)
    return bd.compile_prior(bd.tilt(noise, lambda x: power * log_f(x)))


def plain_pictures(prior: bd.CompiledPrior, invert: Callable[..., Any], start: np.ndarray, sd: float) -> np.ndarray:
    """Invert one wide step: its noise is 1,000 times p0's, so that its posterior is p0 itself, up to a thousandth."""
    wide = 1000 * sd
    o = start + wide * np.random.default_rng(SEED).normal(size=start.shape)
    x, _ = invert(prior, o, 1.0, wide, start=start, random_seed=SEED)
    return np.clip(x.reshape(-1, *prior.layout.shapes[0]), -1, 1)


def plain_draw(sd: float) -> Callable[..., Any]:
    """The inverter that draws from such a prior: with a wide step it forgets where it began."""
    return partial(inverters.draw, moves=60, leaps=8, narrowest=sd)


def normal_noise(count: int, mean: float, sd: float, shape: tuple[int, ...]) -> np.ndarray:
    """Noise as a plain classifier's prior has it without f (count, pixels)."""
    return mean + sd * np.random.default_rng(SEED + 2).normal(size=(count, int(np.prod(shape))))


def plain(judge: judges.Judge, mean: float, sd: float, count: int) -> xr.Dataset:
    """What a plain classifier's f makes of noise: by draws and by modes, and f to a power."""
    start = normal_noise(count, mean, sd, judge.shape)
    found = {}
    for name, power in {"f": 1.0, f"f^{POWER:g}": POWER}.items():
        prior = plain_prior(judge, "cat", power, mean, sd)
        for how, invert in {"draws": plain_draw(sd), "modes": partial(inverters.mode, climbs=100)}.items():
            found[f"{how} of {name}"] = plain_pictures(prior, invert, start, sd)
    found["noise alone"] = np.clip(start.reshape(-1, *judge.shape), -1, 1)
    return xr.Dataset({"x": (("how", "picture", *SHAPE), np.stack(list(found.values())))}, {"how": list(found)})


def by_level(network: images.Network, count: int) -> xr.Dataset:
    """MAP, mean and draws of the same step at every level, in units of the draws' spread, per pixel.

    ``map_offset``: root mean square of (MAP - mean) / sd;  ``gain``: log p(MAP | o) - mean log p(draw | o), in nats.
    """
    schedule = images.picture_schedule(LEVELS)
    prior = bd.compile_prior(images.classifier_prior(network, "cat", schedule))
    draw = partial(inverters.draw, moves=6)
    o = images.noise(prior, count, random_seed=SEED + 1).reshape(count, -1)
    rows = []
    for k in range(LEVELS, 0, -1):
        alpha, sigma = schedule.step(k)
        target = prior.at_level(k - 1)
        x, drawn = draw(target, o, alpha, sigma, random_seed=SEED + k)
        top, climbed = MODE(target, o, alpha, sigma)
        mean, _ = inverters.mean(target, o, alpha, sigma)
        spread = float(np.sqrt(((x - mean) ** 2).mean()))
        rows.append((
            k,
            np.sqrt(((top - mean) ** 2).mean()) / spread,
            (climbed["lp"] - drawn["lp"]).mean(),
            drawn["acceptance_rate"].mean(),
        ))  # fmt: skip
        o = x
    k, offset, gain, rate = (np.array(values) for values in zip(*rows, strict=True))
    return xr.Dataset(
        {"map_offset": ("level", offset), "gain": ("level", gain), "acceptance_rate": ("level", rate)}, {"level": k}
    )


def prompts(network: images.Network, count: int, say: Callable[[str], None]) -> xr.Dataset:
    """A few pictures for each prompt, and cats with a strength."""
    schedule = images.picture_schedule(LEVELS)
    found = {}
    for prompt, strength in [*((prompt, 1.0) for prompt in PROMPTS), ("cat", STRONG)]:
        prior = bd.compile_prior(images.classifier_prior(network, prompt, schedule, strength=strength))
        settle = 0 if diffused(prompt, network.words, strength) else 30
        run = bd.reverse(
            prior, schedule, partial(inverters.draw, settle=settle), o=images.noise(prior, count, random_seed=SEED),
            draws=count, chains=1, random_seed=SEED, progressbar=False,
        )  # fmt: skip
        name = prompt if strength == 1 else f"{prompt}, strength {strength:g}"
        found[name] = pictures_of(run)
        say(f"prompt {name}")
    return xr.Dataset({"x": (("prompt", "picture", *SHAPE), np.stack(list(found.values())))}, {"prompt": list(found)})


def half(network: images.Network, cat: np.ndarray, count: int, say: Callable[[str], None]) -> xr.Dataset:
    """What agrees with the upper half of a cat, and with a blurred one: draws, the best of several modes, the sd."""
    schedule = images.picture_schedule(LEVELS)
    prior = images.classifier_prior(network, "cat", schedule)
    mask = np.zeros(cat.shape, bool)
    mask[: cat.shape[0] // 2] = True
    matrix = images.blur(cat.shape, sd=1.5, every=2)
    rng = np.random.default_rng(SEED)
    size = tuple(length // 2 for length in cat.shape[:2])
    seen = {
        "the upper half": (np.where(mask, cat + 0.1 * rng.normal(size=cat.shape), np.nan), mask),
        "a blur": (matrix @ cat.ravel() + 0.1 * rng.normal(size=len(matrix)), matrix),
    }
    found: dict[str, list[np.ndarray]] = {"x": [], "map": [], "sd": [], "seen": []}
    for name, (y, which) in seen.items():
        model = images.half_seen(prior, y, which, 0.1, spread=network.net.sd)
        compiled = bd.compile_prior(model)
        o = images.noise(compiled, count, random_seed=SEED)
        options: dict[str, Any] = {"o": o, "draws": count, "chains": 1, "random_seed": SEED, "progressbar": False}
        draws = bd.reverse(compiled, schedule, partial(inverters.draw, settle=60), **options)
        modes = bd.reverse(compiled, schedule, MODE, **options)
        x = modes["posterior"]["x"].values[0]
        best = x[np.nanargmax(compiled.at_level(0).logp(x.reshape(count, -1)))]
        found["x"].append(pictures_of(draws))
        found["map"].append(np.clip(best, -1, 1))
        found["sd"].append(draws["posterior"]["x"].values[0].std(axis=0))
        shown = y if name == "the upper half" else np.kron(y.reshape(*size, -1), np.ones((2, 2, 1)))
        found["seen"].append(np.clip(np.nan_to_num(shown, nan=0.0), -1, 1))
        say(f"half-seen: {name}")
    dims = {"x": ("seen_as", "picture", *SHAPE)}
    return xr.Dataset(
        {name: (dims.get(name, ("seen_as", *SHAPE)), np.stack(values)) for name, values in found.items()},
        {"seen_as": list(seen)},
    ).assign(cat=(SHAPE, cat))


def photos(network: images.Network, count: int, say: Callable[[str], None]) -> xr.Dataset:
    """Photographs of animals by posterior steps and, from the same noise, by MAP steps."""
    schedule = images.picture_schedule(LEVELS)
    found: dict[str, list[np.ndarray]] = {"x": [], "map": []}
    for word in ANIMALS:
        prior = bd.compile_prior(images.classifier_prior(network, word, schedule))
        o = images.noise(prior, count, random_seed=SEED)
        for name, invert in {"x": inverters.draw, "map": MODE}.items():
            run = bd.reverse(prior, schedule, invert, o=o, draws=count, chains=1, random_seed=SEED, progressbar=False)
            found[name].append(pictures_of(run))
        say(f"photographs: {word}")
    return xr.Dataset(
        {name: (("word", "picture", *SHAPE), np.stack(values)) for name, values in found.items()},
        {"word": list(ANIMALS)},
    )


def normal_law(pictures: np.ndarray, count: int) -> np.ndarray:
    """Draws of the normal law that has the pictures' mean and covariance, clipped to -1..1."""
    flat = pictures.reshape(len(pictures), -1)
    values, axes = np.linalg.eigh(np.cov(flat.T))
    noise = np.random.default_rng(SEED).normal(size=(count, len(values))) * np.sqrt(np.maximum(values, 0.0))
    return np.clip(flat.mean(axis=0) + noise @ axes.T, -1, 1).reshape(-1, *pictures.shape[1:])


def frechet(network: images.Network, count: int, say: Callable[[str], None]) -> dict[str, xr.Dataset]:
    """Clothes by each inverter: some of them, and Frechet distances beside that of real pictures.

    Up to 500, the pictures in models/pictures/ are enough: half of them for the judge, half to compare with (the
    network has learned from both). For more, the whole set: to compare with, pictures that neither has learned from.
    """
    shown, compared = (
        data.split(data.fashion_sample(), held_out=100) if count <= 500 else data.split(data.fashion(), 1000)
    )
    pictures = data.scaled(compared.images)
    # One judge has the features; the other is the plain classifier.
    judge, plaintiff = (
        judges.train_judge(
            data.scaled(shown.images), shown.labels, shown.words, epochs=20 if count <= 500 else 2,
            random_seed=SEED + i, progressbar=False,
        )
        for i in range(2)
    )  # fmt: skip
    schedule = images.picture_schedule(LEVELS)
    prior = bd.compile_prior(images.classifier_prior(network, None, schedule))
    o = images.noise(prior, count, random_seed=SEED)
    ways = {"posterior steps": inverters.draw, "MAP steps": MODE, "path of means": inverters.flow}
    found = {}
    for name, invert in ways.items():
        run = bd.reverse(prior, schedule, invert, o=o, draws=count, chains=1, random_seed=SEED, progressbar=False)
        found[name] = pictures_of(run)
        say(f"clothes by {name}")
    found["a normal law fitted to pixels"] = normal_law(pictures, count)
    mean, sd = network.net.mean, network.net.sd
    starts = np.array_split(normal_noise(count, mean, sd, judge.shape), len(judge.words))
    found["a plain classifier's f"] = np.concatenate(
        [
            plain_pictures(plain_prior(plaintiff, word, 1.0, mean, sd), plain_draw(sd), start, sd)
            for word, start in zip(judge.words, starts, strict=True)
        ]
    )
    say("clothes by a plain classifier")
    scores = [judges.frechet_of(judge, x, pictures, random_seed=SEED) for x in found.values()]
    fields = ("distance", "distance_sd", "real", "real_sd")
    some = [x[:: max(1, count // 24)][:24] for x in found.values()]
    return {
        "frechet": xr.Dataset(
            {field: ("how", [getattr(score, field) for score in scores]) for field in fields},
            {"how": list(found)},
            {"n": count},
        ),
        "clothes": xr.Dataset({"x": (("how", "picture", *SHAPE), np.stack(some))}, {"how": list(found)}),
    }


def study(
    out: str | Path, *, pictures: int, compared: int, epochs: int, some: int, say: Callable[[str], None]
) -> xr.DataTree:
    """Make the run and save it."""
    begun = time.perf_counter()
    check_target(Path(out), overwrite=True)
    network = images.quickdraw_network()
    shown, held_out = data.split(data.quickdraw_sample())
    drawings, others = data.scaled(shown.images), data.scaled(held_out.images)
    words, cat = shown.words[:20], shown.words.index("cat")  # twenty to choose from; umbrellas are left out
    # One judge is the plain classifier, the other judges: a network knows how to please itself.
    plaintiff, judge = (
        judges.among(
            judges.train_judge(
                drawings, shown.labels, shown.words, epochs=epochs, warp=redrawn, random_seed=SEED + i,
                progressbar=False,
            ),
            words,
        )
        for i in range(2)
    )  # fmt: skip
    say("two judges")
    real_cats, new_cats = drawings[shown.labels == cat], others[held_out.labels == cat]
    groups = {"real": real(real_cats)}

    def keep() -> xr.DataTree:
        """Save what there is: a study that stops has not been for nothing."""
        tree = xr.DataTree.from_dict(groups)
        tree.attrs = made_on(begun) | {"epochs": epochs}
        save(tree, out, overwrite=True)
        return tree

    groups |= cats(network, pictures, say)
    groups["typical"] = typical(network, pictures, say)
    keep()
    groups["plain"] = plain(plaintiff, network.net.mean, network.net.sd, some)
    say("plain classifier")
    groups["by_level"] = by_level(network, some)
    groups["prompts"] = prompts(network, some, say)
    keep()
    groups["half"] = half(network, new_cats[0], some, say)
    groups["judged"] = judged(judge, groups, others, held_out.labels)
    groups["nearest"] = nearest(groups["draws"]["x"].values, groups["typical"]["x"].values, new_cats, real_cats)
    keep()
    groups["photos"] = photos(images.photos_network(), some, say)
    keep()
    groups |= frechet(images.fashion_network(), compared, say)
    return keep()


def real(cats: np.ndarray) -> xr.Dataset:
    """Cats to learn from, and some of them in noise, level by level."""
    schedule = images.picture_schedule(LEVELS)
    rng = np.random.default_rng(SEED)
    noisy = [
        schedule.alpha[k] * cats[:WAYS] + schedule.sigma[k] * rng.normal(size=cats[:WAYS].shape)
        for k in range(LEVELS + 1)
    ]
    return xr.Dataset(
        {"cats": (("cat", *SHAPE), cats), "noisy": (("level", "shown", *SHAPE), np.clip(noisy, -1, 1))},
        {"level": np.arange(LEVELS + 1)},
    )


def judged(judge: judges.Judge, groups: Mapping[str, xr.Dataset], others: np.ndarray, labels: np.ndarray) -> xr.Dataset:
    """Compute what share of each lot the judge calls a cat, and how many real drawings it calls by their word."""
    cat = judge.words.index("cat")
    lots = {"real cats that it has not seen": others[labels == cat]}
    lots |= {f"cats: {name}": groups[name]["x"].values for name in ("draws", "modes", "flow")}
    lots[f"cats: draws, strength {STRONG:g}"] = groups["typical"]["x"].values
    for group, dim in (("prompts", "prompt"), ("plain", "how")):
        lots |= {f"{group}: {name}": groups[group]["x"].sel({dim: name}).values for name in groups[group][dim].values}
    share = [(judges.called(judge, x) == "cat").mean() for x in lots.values()]
    known = labels < len(judge.words)
    right = (judges.called(judge, others[known]) == np.array(judge.words)[labels[known]]).mean()
    return xr.Dataset(
        {"share": ("lot", share), "n": ("lot", [len(x) for x in lots.values()])}, {"lot": list(lots)}, {"right": right}
    )


def nearest(draws: np.ndarray, typical: np.ndarray, new: np.ndarray, cats: np.ndarray) -> xr.Dataset:
    """The nearest drawing of each draw, mirrored or moved by up to two pixels; and of cats that nobody learned from."""
    novelty = judges.novelty(draws, cats, progressbar=False)
    return xr.Dataset(
        {"distance": ("picture", novelty.distance), "which": ("picture", novelty.which)},
        attrs={
            "share": novelty.share,
            "share_of_typical": judges.novelty(typical, cats, progressbar=False).share,
            "real": novelty.real,
            "median": float(np.median(novelty.distance)),
            "median_of_new": float(np.median(judges.nearest(new, cats, progressbar=False).distance)),
        },
    )


if __name__ == "__main__":
    command_line(
        "kittens",
        study,
        QUICK,
        "few pictures and a judge that has learned little, in a minute or two",
        full=FULL,
        arguments={
            "pictures": (64, "cats by each inverter"),
            "some": (8, "pictures of all else"),
            "compared": (1000, "clothes by each inverter, for their Frechet distances"),
        },
    )
