"""Check a finished page: one file, no network, every reference resolved, every picture told in words."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

DATA = re.compile(r"data:[\w/+.;=-]*;base64,[\w+/=]+")


def problems_of(text: str, places: Iterable[Path] | None = None) -> list[str]:
    """List what is wrong with a page; nothing, if it is fit to be read.

    Parameters
    ----------
    text : str
        The page.
    places : iterable of Path, optional
        Folders of the machine that made it, which no page may name: `places_here`, unless given.

    Returns
    -------
    list of str

    Examples
    --------
    >>> problems_of('<html lang="en"><title>A</title><body><img src="https://a.b/c.png"></body></html>')
    ['img fetches https://a.b/c.png', 'a picture has no alternative text']
    """
    reader = _Reader()
    reader.feed(text)
    reader.close()
    found = list(reader.found)
    if not reader.language:
        found.append("the page does not say its language")
    if reader.title.strip() in ("", "-"):  # pandoc's own, where there is none
        found.append("the page has no title")
    found += [f"the link #{name} leads nowhere" for name in reader.links if name not in reader.ids]
    read = DATA.sub("", text)
    for place in places_here() if places is None else places:
        if re.search(rf"(?<![\w.]){re.escape(str(place))}(?![\w-])", read):
            found.append(f"the page shows a path of this machine, {place}")
    return list(dict.fromkeys(found))


def places_here() -> list[Path]:
    """The folders of this machine that no page may name: home, where we are, and where packages are installed.

    Short ones are left out (/, /tmp, /work): a page may speak of them and mean no machine.
    """
    places = [Path.cwd(), *(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))]
    places += [Path(sys.prefix)] if sys.prefix != sys.base_prefix else []
    long = [place for place in places if len(place.parts) > 2]
    return list(dict.fromkeys([*long, *([home] if len((home := Path.home()).parts) > 1 else [])]))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.title = ""
        self.language = False
        self.inside: list[str] = []
        self.captioned: list[bool] = []

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in given}
        self.inside.append(tag)
        if tag == "html":
            self.language = bool(attributes.get("lang"))
        # What a browser fetches by itself, by element. A link (<a href>) is followed only when it is clicked.
        fetched = {
            "img": ("src", "srcset"),
            "script": ("src",),
            "link": ("href",),
            "iframe": ("src",),
            "source": ("src", "srcset"),
            "video": ("src", "poster"),
            "audio": ("src",),
            "object": ("data",),
            "embed": ("src",),
            "image": ("href", "xlink:href"),
            "use": ("href", "xlink:href"),
            "input": ("src",),
            "track": ("src",),
        }
        for name in fetched.get(tag, ()):
            where = attributes.get(name, "").strip()
            if where and not where.startswith(("data:", "#")):
                self.found.append(f"{tag} fetches {where[:100]}")
        self._style(attributes.get("style", ""))
        if tag == "img" and not attributes.get("alt", "").strip():
            self.found.append("a picture has no alternative text")
        if tag == "figure":
            self.captioned.append(False)
        if tag == "figcaption" and self.captioned:
            self.captioned[-1] = True
        if tag == "a" and attributes.get("href", "").startswith("#") and len(attributes["href"]) > 1:
            self.links.append(attributes["href"][1:])
        if "quarto-unresolved-ref" in attributes.get("class", ""):
            self.found.append("a reference is not resolved")
        if own := attributes.get("id"):
            self.ids.add(own)

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass
        if tag == "figure" and self.captioned and not self.captioned.pop():
            self.found.append("a figure has no caption")

    def handle_data(self, data: str) -> None:
        if "title" in self.inside and "svg" not in self.inside:
            self.title += data
        elif "style" in self.inside:
            self._style(data)
        elif not {"script", "code", "pre"} & set(self.inside):
            self.found += [f"@{name} is not resolved" for name in re.findall(r"\?@((?:fig|tbl|eq|sec)-[\w-]+)", data)]

    def _style(self, text: str) -> None:
        in_style = re.compile(r"@import\s+[^;]+|url\(\s*['\"]?(?!data:|#)([^)'\"]+)", re.IGNORECASE)
        for match in in_style.finditer(text):
            self.found.append(f"a style fetches {match[0][:100]}")
