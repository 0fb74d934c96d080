"""The commands. The first line of each, and what follows, is its help."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesdiff.cli.files import call_prior, model_of, observation, read_o, user_module
from bayesdiff.cli.refusals import Failure, refusals
from bayesdiff.cli.tables import console, show, show_sample
from bayesdiff.version import __version__

if TYPE_CHECKING:
    import pymc as pm


def demo(args: argparse.Namespace) -> None:
    """The article, step by step.

    x ~ N(0, 1) is blurred to o = x + 10 e, and inverted by MAP and by posterior, for one o, for 100, and for 100,000.
    Then a prior with two modes, where the two inversions differ. Prints the numbers, and writes them with figures and
    the runs to a folder; open its index.html.
    """
    for path in (args.gaussian, args.mixture):
        if not path.is_file():
            raise Failure(
                f"there is no {path}: the demo shows priors of the repository. Run `make demo` in a clone, or name the "
                "files: bayesdiff demo GAUSSIAN.py MIXTURE.py"
            )
    out = args.out
    if out.exists() and not out.is_dir():
        raise Failure(f"{out} is a file; choose another --out")
    if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        if not (out / "article.zarr").exists():
            raise Failure(f"{out} holds something else than a demo; choose another --out")
        if not args.overwrite:
            raise Failure(f"{out} exists; write --overwrite to replace it, or choose another --out")
    gaussian, mixture = _with_exact(args.gaussian), _with_exact(args.mixture)
    from bayesdiff import demo as article

    with refusals():
        article.demo(gaussian, mixture, out, seed=args.seed, console=console())
    print(f"\nOpen {out / 'index.html'}")


def _with_exact(path: Path) -> tuple[pm.Model, Callable[..., Mapping[str, Any]]]:
    with user_module(path) as module:
        if not callable(getattr(module, "exact", None)):
            raise Failure(f"{path} has no function `exact`, which the demo compares with")
        return call_prior(module, path), module.exact


def run(args: argparse.Namespace) -> None:
    """Invert one diffusion step, o | x ~ N(alpha x, sigma^2 I), for the prior that FILE.py defines.

    Such a file is

        import pymc as pm


        def prior() -> pm.Model:
            with pm.Model() as model:
                pm.Normal("x")
            return model
    """
    by_map, by_posterior = args.invert != "posterior", args.invert != "map"
    sampling = {name: getattr(args, name) for name in ("draws", "tune", "chains") if getattr(args, name) is not None}
    if sampling and not by_posterior:
        raise Failure(f"--{next(iter(sampling))} needs --invert posterior or both: a MAP has no draws")
    _check_out(args.out, args.overwrite)
    given = [read_o(text) for text in args.o]
    model = model_of(args.file)

    from bayesdiff.compiled import compile_prior
    from bayesdiff.inversion import find_map, sample_posterior
    from bayesdiff.results import save, tree
    from bayesdiff.step import Layout, layout, read_noise

    with refusals():
        where: Layout = layout(model)
        o = observation(given, where)
        flat, batched = where.read(o)
        alpha, sigma = (value[0] if len(value) == 1 else value for value in (args.alpha, args.sigma))
        read_noise(alpha, sigma, len(flat) if batched else None)
        options = {"random_seed": args.seed, "progressbar": _is_watched(args)}
        prior = compile_prior(model)
        trees = {}
        if by_map:
            trees["map"] = find_map(prior, o, alpha, sigma, **options)
        if by_posterior:
            trees["posterior"] = sample_posterior(prior, o, alpha, sigma, **sampling, **options)
        attrs = {"inference_library": "bayesdiff", "inference_library_version": __version__, "model": args.file.name}
        saved = save(tree(trees, attrs), args.out, overwrite=args.overwrite)
    show(trees)
    print(f'Saved in {saved}. In Python: bayesdiff.load("{saved}")')


def _check_out(path: Path, overwrite: bool) -> None:
    """Refuse, before anything is computed, a path that the run could not be saved to."""
    from bayesdiff.results import check_target

    with refusals():
        check_target(path, overwrite)


def _is_watched(args: argparse.Namespace) -> bool:
    """Whether somebody sees a progress bar, and wants to."""
    return not args.no_progress and sys.stderr.isatty()


def sample(args: argparse.Namespace) -> None:
    """Draw from the posterior of the model that FILE.py defines, and compute its evidence.

    All modes in their right weights. Nothing is blurred here: observed data make the model a posterior, as for
    pm.sample.

        import pymc as pm


        def prior() -> pm.Model:
            with pm.Model() as model:
                x = pm.Normal("x", 0, 3)
                pm.Normal("y", x**2, 0.5, observed=4.0)
            return model

    Continuous variables only, some 100 numbers at most.
    """
    _check_out(args.out, args.overwrite)
    model = model_of(args.file)

    from bayesdiff.multimodal import sampling as engine
    from bayesdiff.results import levels_folder, save

    sampling = {name: getattr(args, name) for name in ("draws", "chains") if getattr(args, name) is not None}
    kept = levels_folder(args.out)
    with refusals():
        run = engine.sample(
            model,
            **sampling,
            random_seed=args.seed,
            progressbar=_is_watched(args),
            # A store holds on to the call that is there, and --overwrite is for another one.
            store=None if args.overwrite else args.out,
        )
        run.attrs |= {"model": args.file.name}  # what `sample` was not told, and a report should say
        saved = save(run, args.out, overwrite=True)
    if args.overwrite:
        shutil.rmtree(kept, ignore_errors=True)  # of a call that was stopped
    show_sample(run)
    print(f'Saved in {saved}. In Python: bayesdiff.load("{saved}")')


def report(args: argparse.Namespace) -> None:
    """Write a report of a saved run as one page that needs no network.

    The model, what came out (both inversions beside each other, the path from noise, or modes and evidence), and
    whether to trust it. Or run a Quarto document of your own and write its page. Quarto does it where it is installed.
    """
    out = args.out or Path(args.source.with_suffix(".html").name)
    with refusals():
        if args.source.suffix == ".qmd":
            if args.title is not None:
                raise Failure("--title is for the report of a run; write title: into the front matter of a .qmd")
            from bayesdiff.report.render import render

            written = render(args.source, out, overwrite=args.overwrite)
        else:
            from bayesdiff.report.write import write_report

            written = write_report(args.source, out, title=args.title, overwrite=args.overwrite)
    print(f"Wrote {written}")


def explore(args: argparse.Namespace) -> None:
    """Write a page on which o and sigma are dragged, and p(x | o) moves.

    Prior, likelihood, posterior, its mode and its draws; and a chain that is followed level by level. One HTML file,
    which any browser opens: it needs no server and no network. Each FILE.py defines a prior() of one unconstrained
    number, as for `bayesdiff run`.
    """
    files = args.files or [Path("models", f"{name}.py") for name in ("gaussian", "mixture")]
    for path in files:
        if not path.is_file():
            hint = "" if args.files else ": name a prior of yours, as bayesdiff explore FILE.py, or run this in a clone"
            raise Failure(f"there is no file {path}{hint}")
    from bayesdiff.report.files import check_place, write_whole

    with refusals():
        check_place(args.out, args.overwrite)
    from bayesdiff import explore as interactive

    seen = []
    for path in files:
        with user_module(path) as module:
            model = call_prior(module, path)
            about = (module.__doc__ or "").strip().partition("\n")[0]
        with refusals(str(path)):
            found = interactive.explore(model, random_seed=args.seed, progressbar=_is_watched(args))
        seen.append({"title": path.stem, "about": about, **found})
    with refusals():
        write_whole(args.out, interactive.page(seen, seed=args.seed))
    print(f"Open {args.out} in a browser.")


def data(args: argparse.Namespace) -> None:
    """Say where this has gone."""
    raise Failure(
        "pictures are fetched by a script of the repository now: run `python models/pictures/data.py "
        f"{' '.join(args.rest) or 'quickdraw'}` in a clone"
    )


def kittens(args: argparse.Namespace) -> None:
    """Draw kittens: from noise to pictures by small steps, with a network as the prior.

    The network tells noise levels apart, and each step is inverted. Writes to DIR the pictures (kittens.png), the way
    of some from noise (path.png), that of all of them as an animation (path.gif), and the run (run.zarr). A run that
    was stopped goes on where it was, by the same call.
    """
    from bayesdiff.results import levels_folder, save

    out, store = args.out, args.out / "run.zarr"
    for folder in (out, *out.parents):
        if folder.exists() and not folder.is_dir():
            raise Failure(f"{folder} is a file; choose another --out")
    ours = [store, levels_folder(store)]
    if out.exists() and any(out.iterdir()) and not any(path.exists() for path in ours):
        raise Failure(f"{out} holds something else than kittens; choose another --out")
    from bayesdiff.images.networks import load_network, quickdraw_network
    from bayesdiff.images.priors import classifier_prior, diffused, noise, picture_schedule

    with refusals():
        network = quickdraw_network() if args.network is None else load_network(args.network)
        if len(network.shape) != 3:
            raise Failure(f"{args.network} is a network of vectors, not of pictures")
        schedule = picture_schedule(args.levels)
        model = classifier_prior(network, args.prompt, schedule, strength=args.strength)
    from bayesdiff.chain import reverse
    from bayesdiff.compiled import compile_prior
    from bayesdiff.images import inverters
    from bayesdiff.pictures import animate_pictures, pictures_of, save_pictures, strip

    exact = diffused(args.prompt, network.words, args.strength)
    # Where the levels above are not p0 in noise, moves at level 0 follow.
    draw = inverters.draw if exact else partial(inverters.draw, settle=12)
    # So many climbs at each level: 64 pictures in a minute on two cores.
    invert = partial(inverters.mode, climbs=16) if args.invert == "map" else draw
    if store.exists():
        _check_same_kittens(args, store)
    with refusals():
        prior = compile_prior(model)
        o = noise(prior, args.n, random_seed=args.seed)
        out.mkdir(parents=True, exist_ok=True)
        run = reverse(
            prior,
            schedule,
            invert,
            o=o,
            draws=args.n,
            chains=1,
            path=True,
            random_seed=args.seed,
            store=store,
            progressbar=_is_watched(args),
        )
        if "prompt" not in run.attrs:  # what `reverse` was not told, and a report should say
            about = {name: network.made[name] for name in ("command", "data", "sha256", "seed") if name in network.made}
            run.attrs |= {"prompt": args.prompt, "strength": args.strength, "network": about}
            save(run, store, overwrite=True)
        steps = 9
        written = [
            save_pictures(pictures_of(run), out / "kittens.png"),
            save_pictures(strip(run, pictures=8, steps=steps), out / "path.png", columns=min(steps, args.levels + 1)),
            animate_pictures(run, out / "path.gif"),
        ]
    print("\n".join(f"Wrote {path}" for path in [*written, store]))


def _check_same_kittens(args: argparse.Namespace, store: Path) -> None:
    """Say in the words of this command what differs from the run that is there. `reverse` sees the rest."""
    from bayesdiff.results import load

    try:
        there = load(store, in_memory=False).attrs
    except Exception:  # damaged, or another's: `reverse` looks closely, and says what it is
        return
    here = {"prompt": args.prompt, "strength": args.strength, "draws": args.n, "seed": args.seed}
    option = {"prompt": "--prompt", "strength": "--strength", "draws": "-n", "seed": "--seed"}
    for name, value in here.items():
        if name in there and there[name] != value:
            raise Failure(
                f"{args.out} holds kittens of another call: {option[name]} was {there[name]} there and is {value} "
                "here; choose another --out"
            )
