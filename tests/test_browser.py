"""The browser that tests pages sees what is wrong with one."""

import pytest
from browser import browser, contrast, contrasts, opened, overflow

GOOD = "<!doctype html><title>good</title><meta name='color-scheme' content='light dark'><body style='margin:0'>"
CLIPPED = "<div style='overflow-x: auto'><pre style='width: 900px'>wide, in a box that scrolls</pre></div>"
BAD = {
    "request": "<img src='http://example.com/x.png'>",
    "console": "<script>console.error('said'); nosuch()</script>",
    "wide": "<div style='width: 400px'>wide</div>",
    "faint": "<p style='color: #777; background: #fff'>faint</p>",
    "half": "<p style='color: #000; background: #fff'><b style='opacity: .5'>half</b></p>",
    "drawn": "<svg width='50' height='20'><text y='15' fill='#888'>drawn</text></svg>",
}


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def page_of(tmp_path):
    def write(text):
        file = tmp_path / "page.html"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_good_page_is_good(chromium, page_of, scheme):
    with opened(chromium, page_of(GOOD + "<p>text</p>" + CLIPPED), width=360, scheme=scheme) as (page, seen):
        assert overflow(page) == []
        assert contrast(page) > 15
    assert (seen.errors, seen.requests) == ([], [])


def test_what_is_bad_is_seen(chromium, page_of):
    with opened(chromium, page_of(GOOD + "".join(BAD.values())), width=360) as (page, seen):
        assert seen.requests == ["http://example.com/x.png"]
        assert any("said" in error for error in seen.errors)
        assert any("nosuch" in error for error in seen.errors)
        assert overflow(page) == ["div: 0 to 400 of 360", "the page: 400 of 360"]
        by_text = {text: ratio for ratio, text in contrasts(page)}
    # #777 on white is 4.48 and #888 is 3.54, as every contrast checker says; black at half opacity is #808080, 3.95.
    assert by_text["faint"] == pytest.approx(4.48, abs=0.01)
    assert by_text["drawn"] == pytest.approx(3.54, abs=0.01)
    assert by_text["half"] == pytest.approx(3.95, abs=0.05)
