"""A real browser for the tests of a page: what it asks of a network, what it says in the console, how it looks.

    with browser() as chromium, opened(chromium, "page.html", width=360) as (page, seen):
        page.click("text=play")
    assert seen.errors == [] and seen.requests == []

It drives the Chromium that is on PATH, by Playwright; nothing is downloaded. Without one the test is skipped.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The page is the only thing that may be loaded, so the browser's own traffic is switched off as well.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class Seen:
    """What a page did: ``errors`` (uncaught, or in the console) and ``requests`` (all that is not the page itself)."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator:
    """Start a browser, or skip the test where there is none. Start one for a module: it takes half a second."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        # A browser is a program of the system, which `make test` must not install. `.ci/run` does: it is tested there.
        pytest.skip(
            f"this test looks at a page in a real browser, and none of {', '.join(CHROMIUMS)} is on PATH; on Debian: "
            "apt install chromium"
        )
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def opened(chromium, path, *, width=1280, height=900, scheme="light", fragment="", **options) -> Iterator[tuple]:
    """Open a file in a fresh context: the page, and what was `Seen` of it so far.

    `scheme` is "light" or "dark", `fragment` is what follows the # of the address, and `options` go to
    ``Browser.new_context``: ``has_touch=True``, ``java_script_enabled=False``, ``reduced_motion="reduce"``.
    """
    address = Path(path).resolve().as_uri()
    seen = Seen()

    def request(made):
        if made.url.partition("#")[0] != address and not made.url.startswith(("data:", "blob:")):
            seen.requests.append(made.url)

    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, **options
    )
    try:
        page = context.new_page()
        page.set_default_timeout(100_000)  # a guard against waiting for ever
        page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", request)
        page.goto(address + (f"#{fragment}" if fragment else ""))
        yield page, seen
    finally:
        context.close()


def overflow(page) -> list[str]:
    """What sticks out of the window to the left or to the right: empty where a page fits.

    What lies in a box that scrolls or clips by itself (a wide table) does not count; the box does.
    """
    return page.evaluate(OVERFLOW)


def contrasts(page) -> list[tuple[float, str]]:
    """The contrast of every visible text with what is behind it, by WCAG 2: (ratio, the text), lowest first.

    Backgrounds are those of the elements around it; a picture or a drawn shape behind a text is not seen.
    """
    return sorted((ratio, text) for ratio, text in page.evaluate(CONTRAST))


def contrast(page) -> float:
    """The lowest of the `contrasts`: 4.5 and more is legible."""
    return contrasts(page)[0][0]


OVERFLOW = """() => {
  const root = document.documentElement, width = root.clientWidth, found = [];
  const name = e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') +
    (typeof e.className === 'string' && e.className ? '.' + e.className.trim().split(/\\s+/).join('.') : '');
  const clipped = e => {
    for (let up = e.parentElement; up && up !== document.body && up !== root; up = up.parentElement)
      if (getComputedStyle(up).overflowX !== 'visible') return true;
    return false;
  };
  for (const e of document.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect();
    if (!box.width || !box.height || getComputedStyle(e).visibility === 'hidden') continue;
    if ((box.right > width + 1 || box.left < -1) && !clipped(e))
      found.push(`${name(e)}: ${box.left.toFixed(0)} to ${box.right.toFixed(0)} of ${width}`);
  }
  if (root.scrollWidth > width) found.push(`the page: ${root.scrollWidth} of ${width}`);
  return found;
}"""

# A canvas turns any colour that CSS can write (color-mix, oklch) into red, green, blue and alpha.
CONTRAST = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext('2d', { willReadFrequently: true }), known = new Map();
  const rgba = text => {
    if (!known.has(text)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = text;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const probe = document.body.appendChild(document.createElement('div'));
  probe.style.backgroundColor = 'Canvas';  // what is behind a page that sets nothing: white, or the dark scheme's
  const plain = rgba(getComputedStyle(probe).backgroundColor).slice(0, 3);
  probe.remove();
  const over = (top, below, alpha) => below.map((value, i) => alpha * top[i] + (1 - alpha) * value);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(rgba(getComputedStyle(e).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below, layer[3]), plain);
  };
  const luminance = colour => {
    const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.data.trim(), e = node.parentElement;
    if (!text || e.closest('script, style, noscript, template, title, desc')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    // A box of one pixel is text for screen readers alone.
    if (box.width <= 1 || box.height <= 1 || !e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }))
      continue;
    const style = getComputedStyle(e), ink = rgba(e instanceof SVGElement ? style.fill : style.color);
    let alpha = ink[3] * (e instanceof SVGElement ? +style.fillOpacity : 1);
    for (let up = e; up; up = up.parentElement) alpha *= +getComputedStyle(up).opacity;
    const back = behind(e), [high, low] = [luminance(over(ink, back, alpha)), luminance(back)].sort((a, b) => b - a);
    found.push([(high + 0.05) / (low + 0.05), text.slice(0, 60)]);
  }
  return found;
}"""
