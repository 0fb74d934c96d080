"""Make the README's picture of the interactive page: o and sigma are dragged, and everything else follows.

python reports/explore_gif.py [PAGE.html]     (writes reports/explore.gif; the page is made first, unless it is given)

It needs a Chromium on PATH, Playwright and Pillow.
"""

import io
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))
from browser import browser, opened  # noqa: E402

WIDTH, HEIGHT = 720, 560
COLOURS = 128


def frames():
    """(o, sigma) of every frame, back to where it began: a sweep of o at little noise, one at much, and between."""

    def glide(*stops, count):
        ends = np.array(stops, float)
        share = (1 - np.cos(np.linspace(0, np.pi, count, endpoint=False))) / 2
        return [tuple(a + (b - a) * s) for a, b in itertools.pairwise(ends) for s in share]

    # The second number is log10 sigma, so that noise grows evenly on the slider.
    way = [(-2.5, -0.3), (2.2, -0.3), (2.2, 0.15), (-1.0, 0.3), (4.0, 1.0), (-2.5, -0.3)]
    return [(o, 10**log) for o, log in glide(*way, count=9)]


def main(page_file: str | None = None) -> None:
    """Take the frames and write the GIF beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(page_file or Path(folder, "explore.html"))
        if page_file is None:
            command = [sys.executable, "-m", "bayesdiff.cli", "explore", "models/mixture.py", "-o", str(file)]
            subprocess.run(command, check=True, cwd=HERE.parent)
        images = []
        with (
            browser() as chromium,
            opened(chromium, file, width=WIDTH, height=900, fragment="prior=mixture") as (page, _),
        ):
            page.add_style_tag(
                content="body { padding: 12px 16px } header, .chooser, #about, body > p { display: none }"
            )
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            for o, sigma in frames():
                page.evaluate(f"location.hash = 'prior=mixture&o={o:.4f}&sigma={sigma:.4f}'")
                page.wait_for_timeout(120)
                shot = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT})
                images.append(Image.open(io.BytesIO(shot)).convert("RGB"))
    # One palette for all frames, from three of them side by side: colours do not flicker.
    sample = Image.new("RGB", (WIDTH, 3 * HEIGHT))
    for i in range(3):
        sample.paste(images[i * len(images) // 3], (0, i * HEIGHT))
    palette = sample.quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    out = HERE / "explore.gif"
    flat[0].save(out, save_all=True, append_images=flat[1:], duration=140, loop=0, optimize=True)
    print(f"{out}: {len(flat)} frames, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:2])
