"""The Python of the README and of docs/ runs as printed; what these and CONTRIBUTING.md link to or name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.stem} {number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_page_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "a page", "exec"), {})
    assert capsys.readouterr().out.strip()


def broken(text, folder):
    """Links of a page that lead nowhere."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, place = link.partition("#")
        target = folder / file
        heads = [
            re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
            for head in re.findall(r"^#+ (.*)", target.read_text() if place and target.is_file() else "", flags=re.M)
        ]
        if not target.exists() or (place and place not in heads):
            found.append(link)
    return found


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    assert broken(page.read_text(), page.parent) == []
    assert broken("[a](nowhere.md) [b](README.md#nothing)", ROOT) == ["nowhere.md", "README.md#nothing"]


def test_every_page_of_docs_is_one_click_away():
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in readme] == []
    assert len(readme.splitlines()) <= 180


def test_who_wants_to_change_something_finds_the_file_and_its_test():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = {name for name in re.findall(r"`((?:bayesdiff|tests|models|reports)/[^`<]*)`", text)}
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []
    # Every file of the package is in the table, by itself or by its folder.
    rows = [name.rstrip("/") for name in named if name.startswith("bayesdiff")]
    own = [file for file in ROOT.glob("bayesdiff/**/*.py") if file.stem not in ("__init__", "version")]
    missing = [
        path
        for path in (str(file.relative_to(ROOT)) for file in own)
        if not any(path == row or path.startswith(f"{row}/") for row in rows)
    ]
    assert missing == []
