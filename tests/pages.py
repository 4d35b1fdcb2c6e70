"""Pages of HTML, taken apart."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}


class Parsed(HTMLParser):
    """A page taken apart; fails where an element is not closed or another is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What is read."""
        return " ".join(" ".join(self.words).split())


def check(path: Path) -> Parsed:
    """Parse a page, and make sure that it needs nothing and draws nothing outside its plots."""
    text = path.read_text(encoding="utf-8")
    parsed = Parsed(text)
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            assert name not in ("srcset", "action") and not name.startswith("on"), (tag, name)
            assert name != "href" or (tag == "use" and value is not None and value.startswith("#"))
            if name == "src":
                assert value is not None and value.startswith("data:image/")
                Image.open(io.BytesIO(base64.b64decode(value.partition("base64,")[2]))).verify()
        if tag == "img":
            assert "alt" in attributes
    assert not re.search(r"url\((?!#)|@import|https?:", text)
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        _, _, width, height = map(float, re.findall(r"[\d.]+", drawing[: drawing.index("role")]))
        for axis, value in re.findall(r'\b([xy])[12]?="(-?[\d.]+)"', drawing):
            assert 0 <= float(value) <= (width if axis == "x" else height), drawing
        assert drawing.index("<title>") < drawing.index("<desc>") < drawing.index("<g>")
        ElementTree.fromstring(drawing)
    return parsed
