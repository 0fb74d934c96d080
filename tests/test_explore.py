"""The interactive page, in a real browser: its numbers against closed forms, its controls, its looks; the command."""

import json
import re
from pathlib import Path

import exact
import numpy as np
import pymc as pm
import pytest
from browser import browser, contrast, opened, overflow
from scipy.integrate import quad
from scipy.stats import halfnorm, norm

import bayesdiff as bd
from bayesdiff import cli, explore
from bayesdiff.explore import page as page_of
from bayesdiff.report.files import write_whole
from models import gaussian, mixture

MODELS = Path(__file__).parents[1] / "models"
LEVELS = 4
MIXTURE = exact.mixture(mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES)
# A name that would run if it were put into the page as it is (PyMC allows no slash in one), and a text that would.
NASTY = "<script>document.title='run'<img src=x onerror=\"document.title='run'\">"
CLOSED = "</script><script>document.title='run'</script><!--<script>"


def nasty():
    with pm.Model() as model:
        pm.HalfNormal(NASTY, 5)
    return model


@pytest.fixture(scope="module")
def compiled():
    return bd.compile_prior(mixture.prior())


@pytest.fixture(scope="module")
def explored(compiled):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explore, "LEVELS", LEVELS)
        seen = {"mixture": explore.explore(compiled, random_seed=1, progressbar=False)}
        patch.setattr(explore, "draw", explore.mode)  # a sampler takes seconds to compile: one prior is enough
        for title, prior in (("gaussian", gaussian.prior()), ("nasty", nasty())):
            seen[title] = explore.explore(prior, random_seed=1, progressbar=False)
        return seen


@pytest.fixture(scope="module")
def file(explored, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explore.html"
    about = {"gaussian": "", "mixture": "two modes", "nasty": CLOSED}
    write_whole(path, page_of([{"title": t, "about": about[t], **seen} for t, seen in explored.items()], seed=1))
    return path


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def visit(chromium, file):
    """Open the page at an address; at the end of the test it must have been silent and alone."""
    stack, seen = [], []

    def go(fragment="", **options):
        context = opened(chromium, file, fragment=fragment, **options)
        page, watched = context.__enter__()
        stack.append(context)
        seen.append(watched)
        return page

    yield go
    for context in stack:
        context.__exit__(None, None, None)
    assert [(one.errors, one.requests) for one in seen] == [([], [])] * len(seen)


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
    )


def until(page, expression):
    """Wait until something is true. Playwright's own waiting makes scripts of text, which the page forbids."""
    for _ in range(2000):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"still not so: {expression}")


def table(page):
    """The readout, unrounded: its first column by row."""
    settle(page)
    cells = page.eval_on_selector_all(
        "#table tr", "rows => rows.map(r => [r.dataset.key, r.children[1].dataset.value])"
    )
    return {key: float(value) for key, value in cells}


# --------------------------------------------------------------------------------------------------------- the numbers

STEPS = [("gaussian", 5.0, 10.0), ("gaussian", -2.0, 0.3), ("mixture", 5.0, 10.0), ("mixture", 0.0, 1.5)]
STEPS += [("mixture", -1.2, 0.4), ("mixture", 1.4, 0.1), ("mixture", -8.0, 4.0)]


def answer(title, o, sigma):
    """Mean, sd, MAP and the mass below the MAP, in closed form (the MAP of a mixture: a fixed point)."""
    found = {"gaussian": gaussian, "mixture": mixture}[title].exact(o, 1.0, sigma)
    mean, sd = float(found["mean"]), float(np.sqrt(found["variance"]))
    if title == "gaussian":
        return {"mean": mean, "sd": sd, "map": mean, "share": 0.5}
    posterior, _ = exact.mixture_posterior(MIXTURE, o, 1.0, sigma)
    [mode], _ = exact.mixture_mode(posterior)
    share = found["shares"] @ norm.cdf(mode, found["means"], np.sqrt(found["variances"]))
    return {"mean": mean, "sd": sd, "map": float(mode), "share": float(share)}


@pytest.mark.parametrize(("title", "o", "sigma"), STEPS)
def test_the_page_computes_the_exact_posterior(visit, title, o, sigma):
    shown = table(visit(f"prior={title}&o={o}&sigma={sigma}"))
    assert (shown["o"], shown["sigma"]) == (o, sigma)
    expected = answer(title, o, sigma)
    assert {key: shown[key] for key in expected} == pytest.approx(expected, abs=2e-4)


def test_a_noise_level_that_is_off_by_a_hundredth_would_be_seen(visit):
    shown, wrong = table(visit("prior=mixture&o=0&sigma=1.515")), answer("mixture", 0.0, 1.5)
    for key in ("mean", "sd", "map", "share"):
        assert shown[key] != pytest.approx(wrong[key], abs=2e-4), key


def test_a_positive_variable_is_shown_in_both_coordinates(visit):
    page = visit("prior=nasty&o=1&sigma=0.8")
    assert "unconstrained" in page.text_content("#curves")
    shown = table(page)
    other = page.eval_on_selector_all(
        "#table tr", "rows => rows.map(r => [r.dataset.key, r.children[2].dataset.value])"
    )
    other = {key: float(value) for key, value in other if value is not None}

    # In the constrained coordinate p(tau | o) ∝ N(o; log tau, .8^2) HalfNormal(tau; 5): no Jacobian is needed there.
    def integral(f):
        return quad(lambda t: f(t) * norm.pdf(1, np.log(t), 0.8) * halfnorm.pdf(t, scale=5), 0, 40, points=[1, 5])[0]

    total = integral(lambda t: 1.0)
    mean = integral(lambda t: t) / total
    assert other["mean"] == pytest.approx(mean, rel=1e-4)
    assert other["sd"] == pytest.approx(np.sqrt(integral(lambda t: (t - mean) ** 2) / total), rel=1e-3)
    assert shown["mean"] == pytest.approx(integral(np.log) / total, abs=1e-4)
    assert other["map"] == pytest.approx(np.exp(shown["map"]), rel=1e-4)


def test_the_diffused_density_is_the_exact_convolution(visit):
    page = visit("prior=mixture&o=0&sigma=0.7")
    settle(page)
    path = page.get_attribute("#strip path[fill=none]", "d")
    points = np.array([part.split(",") for part in path[1:].split("L")], float)
    # The axis of o is known by its handle and by the width of the picture.
    slider = {key: float(page.get_attribute("#o", key)) for key in ("min", "max")}
    o = slider["min"] + (points[:, 0] - points[0, 0]) / np.ptp(points[:, 0]) * (slider["max"] - slider["min"])
    density = np.exp(exact.mixture_log_density(exact.diffused(MIXTURE, 1.0, 0.7), o[:, None]))
    height = points[:, 1].max() - points[:, 1]
    np.testing.assert_allclose(height / height.max(), density / density.max(), atol=0.01)
    blurred = np.exp(exact.mixture_log_density(exact.diffused(MIXTURE, 1.0, 0.8), o[:, None]))
    assert np.abs(height / height.max() - blurred / blurred.max()).max() > 0.03


def test_over_many_o_maps_shrink_and_draws_do_not(visit):
    page = visit("prior=gaussian&o=5&sigma=10")
    settle(page)
    settle(page)
    maps, draws = (float(page.get_attribute("#population", f"data-{name}")) for name in ("maps", "draws"))
    error = 4 / np.sqrt(2 * 200)
    assert maps == pytest.approx(1 / np.sqrt(101), rel=error)  # sd of o / 101, o ~ N(0, 101)
    assert draws == pytest.approx(1, rel=error)
    assert "too narrow" in page.text_content("#population-caption")


def test_the_draws_lie_at_even_shares_of_the_mass(visit):
    page = visit("prior=gaussian&o=1&sigma=1")
    settle(page)
    ticks = page.eval_on_selector_all("#curves .draw", "lines => lines.map(l => +l.getAttribute('x1'))")
    scale = page.eval_on_selector_all("#curves text", "texts => texts.map(t => [t.textContent, +t.getAttribute('x')])")
    at = {float(text.replace("−", "-")): x for text, x in scale if re.fullmatch("[−0-9.]+", text)}
    zero, unit = at[0], at[2] / 2 - at[0] / 2
    x = np.sort((np.array(ticks) - zero) / unit)
    shares = norm.cdf(x, 0.5, np.sqrt(0.5))
    assert len(x) == 60
    np.testing.assert_allclose(shares, (np.arange(60) + 0.5) / 60, atol=0.5 / 60 + 0.01)


def test_the_chain_says_what_was_computed(visit, explored):
    seen, page = explored["mixture"], visit("prior=mixture&view=chain&level=0")
    for level in range(LEVELS + 1):
        page.evaluate(f"location.hash = 'prior=mixture&view=chain&level={level}'")
        settle(page)
        said = {key: float(page.get_attribute("#chain-words", f"data-{key}")) for key in ("draws", "maps", "exact")}
        assert said["draws"] == pytest.approx(seen["path_of_draws"][level].std(), rel=1e-3)
        assert said["maps"] == pytest.approx(seen["path_of_modes"][level].std(), rel=1e-3)
        sd = np.sqrt(exact.mixture_moments(exact.diffused(MIXTURE, 1.0, seen["sigma"][level]))[1].item())
        assert said["exact"] == pytest.approx(sd, rel=1e-4)


# -------------------------------------------------------------------------------------------------------- the controls


def test_sliders_fields_and_buttons(visit):
    page = visit("prior=gaussian&o=1&sigma=2")
    page.focus("#o")
    page.keyboard.press("ArrowRight")
    moved = table(page)
    assert moved["o"] > 1
    page.focus("#sigma")
    page.keyboard.press("ArrowLeft")
    assert table(page)["sigma"] < 2
    assert page.get_attribute("#sigma", "aria-valuetext").startswith("sigma is 1.")
    page.fill("#o-number", "-1.25")
    page.press("#o-number", "Enter")
    assert table(page)["o"] == -1.25
    page.fill("#sigma-number", "1e9")
    page.press("#sigma-number", "Enter")
    assert table(page)["sigma"] == pytest.approx(30, rel=1e-3)
    assert "nearer end" in page.text_content("#note")
    page.fill("#o-number", "")
    page.press("#o-number", "Enter")
    assert "must be a number" in page.text_content("#note")
    page.click("text=σ = 10 sd")
    assert table(page)["sigma"] == pytest.approx(10, rel=1e-4)
    before = table(page)["o"]
    words = page.text_content("#words")
    assert "10 times as wide" in words
    page.click("#new-o")
    assert table(page)["o"] != before
    page.click("text=σ = sd / 10")
    settle(page)
    assert page.text_content("#words") != words


def test_handles_take_arrow_keys(visit):
    page = visit("prior=gaussian&o=0&sigma=2")
    page.focus("#handle-o")
    page.keyboard.press("ArrowLeft")
    assert -0.3 < table(page)["o"] < 0
    assert page.get_attribute("#handle-o", "aria-valuetext").startswith("o is −0.")
    page.focus("#handle-sigma")
    page.keyboard.press("PageUp")
    assert table(page)["sigma"] == pytest.approx(2 * 1.05**10, rel=1e-6)
    page.keyboard.press("End")
    assert table(page)["sigma"] == pytest.approx(30, rel=1e-3)


def centre(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_handles_are_dragged(visit):
    page = visit("prior=gaussian&o=0&sigma=2")
    x, y = centre(page, "#handle-o")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    page.mouse.up()
    o = table(page)["o"]
    left, right = (float(page.get_attribute("#o", key)) for key in ("min", "max"))
    width = page.locator("#strip").bounding_box()["width"] - 28
    assert o == pytest.approx(60 / width * (right - left), rel=0.02)
    x, y = centre(page, "#handle-sigma")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    page.mouse.up()
    assert table(page)["sigma"] == pytest.approx(2 + 60 / width * (right - left), rel=0.03)


def test_a_finger_moves_o(visit):
    page = visit("prior=gaussian&o=0&sigma=2", width=360, height=740, has_touch=True, is_mobile=True)
    box = page.locator("#strip").bounding_box()
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 40)
    assert table(page)["o"] > 1
    page.tap("text=a chain of steps")
    settle(page)
    assert page.is_visible("#particles")


def test_the_chain_is_stepped_through(visit):
    page = visit(f"prior=gaussian&view=chain&level={LEVELS}", reduced_motion="reduce")
    assert page.is_disabled("#previous")
    page.click("#next")
    settle(page)
    assert page.text_content("#level-said") == f"k = {LEVELS - 1}"
    page.focus("#level")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.text_content("#level-said") == f"k = {LEVELS - 2}"
    assert page.get_attribute("#level", "aria-valuetext").startswith(f"level {LEVELS - 2} of {LEVELS}")
    page.click("#previous")
    settle(page)
    assert page.text_content("#level-said") == f"k = {LEVELS - 1}"


def test_the_chain_plays_to_its_end(visit):
    page = visit("prior=gaussian&view=chain&level=2")
    page.click("#play")
    assert page.text_content("#play") == "pause"
    until(page, "document.getElementById('level-said').textContent === 'k = 0'")
    until(page, "document.getElementById('play').textContent === 'play'")
    assert page.is_disabled("#next")


def test_an_address_holds_the_state(visit):
    page = visit("prior=gaussian&o=1&sigma=2")
    page.click("text=mixture")
    page.fill("#o-number", "-0.5")
    page.press("#o-number", "Enter")
    page.click("#theme")
    until(page, "location.hash.includes('o=-0.5') && location.hash.includes('theme=dark')")
    again = visit(page.evaluate("location.hash.slice(1)"))
    assert table(again) == table(page)
    assert again.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    page.evaluate("location.hash = 'prior=nowhere&o=text&sigma=-3&level=99&view=x'")  # nonsense is passed over
    settle(page)
    assert table(page)["o"] == -0.5


# ----------------------------------------------------------------------------------------------------------- the looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_legible(visit, scheme):
    for fragment in ("prior=mixture", "prior=nasty", "prior=mixture&view=chain"):
        page = visit(fragment, width=360, scheme=scheme)
        for width in (360, 768, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            settle(page)
            assert overflow(page) == [], width
            assert contrast(page) >= 4.5, width
            if "chain" in fragment:
                page.emulate_media(media="print")
                assert overflow(page) == [], width
                page.emulate_media(media="screen")


def test_a_name_is_shown_and_not_run(visit):
    page = visit("prior=nasty")
    settle(page)
    assert page.title() != "run"
    assert NASTY in page.text_content("#table-caption")
    assert CLOSED in page.text_content("#about")
    assert page.locator("img").count() == 0


def test_without_javascript_it_says_what_it_needs(visit):
    page = visit(java_script_enabled=False)
    assert "needs JavaScript" in page.inner_text("noscript")
    assert not page.is_visible("#app")


# -------------------------------------------------------------------------------------------------------- the computing


def model(make):
    with pm.Model() as made:
        make()
    return made


@pytest.mark.parametrize(
    ("prior", "mean", "sd"),
    [
        (lambda: model(lambda: pm.Normal("x", 1e5, 3)), 1e5, 3.0),
        (lambda: model(lambda: pm.Laplace("x", 0, 1)), 0.0, np.sqrt(2)),
        (lambda: model(lambda: pm.Uniform("x", 0, 1)), 0.0, np.pi / np.sqrt(3)),  # its logit is logistic
        (lambda: bd.gaussian_mixture([0.999, 0.001], [0.0, 30.0], [1.0, 0.01]), 0.03, np.sqrt(0.99901 + 0.8991)),
    ],
)
def test_the_grid_has_all_of_the_prior(prior, mean, sd):
    x, logp, _ = explore.grid(bd.compile_prior(prior()))
    weight = np.exp(logp) * (x[1] - x[0])
    assert weight.sum() == pytest.approx(1, abs=1e-9)
    assert weight @ x == pytest.approx(mean, rel=1e-7, abs=1e-4)
    assert np.sqrt(weight @ (x - weight @ x) ** 2) == pytest.approx(sd, rel=1e-3)
    assert max(weight[0], weight[-1]) < 1e-6


@pytest.mark.parametrize(
    ("prior", "reason"),
    [
        (lambda: model(lambda: pm.Normal("z", shape=2)), r"2 unconstrained numbers, z\[0\], z\[1\]"),
        (lambda: model(lambda: pm.Flat("x")), "does not fall off"),
        (lambda: model(lambda: pm.Cauchy("x", 0, 1)), "an even grid would need"),
        (lambda: bd.gaussian_mixture([0.5, 0.5], [-3.0, 3.0], [1.0, 1e-6]), "an even grid would need"),
        (lambda: bd.density(lambda x: -np.inf * (1 + x**2)), "is 0 wherever"),
    ],
)
def test_what_no_grid_can_hold_is_refused(prior, reason):
    with pytest.raises(ValueError, match=reason):
        explore.explore(prior(), progressbar=False)


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(explore, "LEVELS", 1)
    monkeypatch.setattr(explore, "DRAWS", 10)
    return tmp_path


def run(*args):
    return cli.main(["explore", *map(str, args)])


def test_the_command_writes_one_small_file(folder, capsys, monkeypatch):
    monkeypatch.setattr(explore, "draw", explore.mode)
    Path("explore.html").write_text(page_of([{"title": "an earlier page"}], seed=1))
    assert run(MODELS / "gaussian.py", "--seed", 3) == 0
    assert capsys.readouterr().out == "Open explore.html in a browser.\n"
    assert [path.name for path in folder.iterdir()] == ["explore.html"]
    text = Path("explore.html").read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [prior["about"] for prior in data["priors"]] == ["The article's prior: one Gaussian number."]


def test_the_same_seed_gives_the_same_bytes(compiled, explored, monkeypatch):
    monkeypatch.setattr(explore, "LEVELS", LEVELS)
    again, other = (explore.explore(compiled, random_seed=seed, progressbar=False) for seed in (1, 2))
    first, second, third = (page_of([{"title": "a", **seen}], seed=1) for seen in (explored["mixture"], again, other))
    assert first == second
    assert first != third


TWO = "import pymc as pm\ndef prior():\n    with pm.Model() as m:\n        pm.Normal('x', shape=2)\n    return m\n"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["no.py"], "there is no file no.py"),
        ([], "run this in a clone"),
        (["empty.py"], "empty.py has no function `prior`"),
        (["two.py"], "two.py: the prior has 2 unconstrained numbers"),
        (["two.py", "-o", "taken.html"], "taken.html exists and is not a page of bayesdiff"),
        (["two.py", "-o", "taken.html/a.html"], "The folder taken.html cannot be made"),
        (["two.py", "-o", "."], "is a folder"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(folder, capsys, args, reason):
    Path("empty.py").write_text("")
    Path("two.py").write_text(TWO)
    Path("taken.html").write_text("mine")
    assert run(*args) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert Path("taken.html").read_text() == "mine"
    assert sorted(path.name for path in folder.iterdir() if path.suffix) == ["empty.py", "taken.html", "two.py"]


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "explore.html"
    write_whole(path, page_of([{"title": "a"}], seed=1))
    before = path.read_bytes()

    def full(*_args, **_more):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, "half")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_priors_of_one_name_have_an_address_each(chromium, explored, tmp_path):
    """The second is name~2, unless that is the name of another."""
    shown = [("a", "mixture"), ("a", "gaussian"), ("a~2", "nasty"), ("a", "gaussian")]
    path = tmp_path / "page.html"
    about = ["first", "second", "third", "fourth"]
    seen = [{"title": t, "about": told, **explored[p]} for (t, p), told in zip(shown, about, strict=True)]
    write_whole(path, page_of(seen, seed=1))
    for i, address in enumerate(["a", "a~3", "a~2", "a~4"]):
        with opened(chromium, path, fragment=f"prior={address}") as (page, _):
            settle(page)
            assert page.inner_text("#about").startswith(about[i])
            page.press("#sigma", "ArrowRight")
            until(page, "location.hash.includes('sigma=')")
            assert page.evaluate("new URLSearchParams(location.hash.slice(1)).get('prior')") == address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_printed_legibly_whatever_theme_was_chosen(visit, scheme):
    page = visit("prior=mixture&o=0&sigma=0.7", scheme=scheme)
    for _ in range(2):
        page.click("#theme")
        page.emulate_media(media="print")
        settle(page)
        assert contrast(page) >= 4.5
        page.emulate_media(media="screen")


def test_an_older_page_is_replaced_and_another_file_only_when_told(folder):
    Path("taken.html").write_text("mine")
    Path("no.py").write_text("")
    assert run("no.py", "-o", "taken.html", "--overwrite") == 2  # not for what is there, but for the file
    assert Path("taken.html").read_text() == "mine"
