"""The page's icons in pixels, drawn from the one that is lines: python -m tests.page_icons."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser import chromium

ICONS = Path(__file__).parents[1] / "runtime" / "web" / "page" / "public" / "icons"


def main() -> None:
    """Write them."""
    rounded = (ICONS / "icon.svg").read_text(encoding="utf-8")
    # A system cuts these to its own shape: the ground fills the square, and what is drawn stays within the middle.
    square = rounded.replace(' rx="112"', "").replace("<path", '<g transform="translate(46 46) scale(.82)"><path')
    square = square.replace("</svg>", "</g></svg>")
    with sync_playwright() as playwright, chromium(playwright) as browser:
        for name, svg, side in (
            ("icon-192", rounded, 192),
            ("icon-512", rounded, 512),
            ("icon-maskable-512", square, 512),
            ("icon-180", square, 180),
        ):
            page = browser.new_page(viewport={"width": side, "height": side})
            page.set_content(
                f"<style>*{{margin:0}}svg{{display:block;inline-size:100vw;block-size:100vh}}</style>{svg}"
            )
            drawn = Image.open(io.BytesIO(page.screenshot(omit_background=True)))
            drawn.quantize(64, Image.Quantize.FASTOCTREE).save(ICONS / f"{name}.png", optimize=True)
            page.close()


if __name__ == "__main__":
    main()
