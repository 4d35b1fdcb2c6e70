"""The page's icons, drawn from the one that is lines, and its picture in the documents: python -m tests.page_pictures."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from edge_adapt.web.site import site_files, write_site
from tests.browser import NODE_MODULES, WEB, chromium, http_server
from tests.page_visit import visited

ROOT = Path(__file__).parents[1]
ICONS = WEB / "page" / "public" / "icons"
PICTURE = ROOT / "docs" / "web.png"
COLOURS = {"icon": 64, "picture": 256}


def draw_icons(browser: Browser) -> None:
    """Write them beside the one that is lines."""
    rounded = (ICONS / "icon.svg").read_text(encoding="utf-8")
    # A system cuts these to its own shape: the ground fills the square, and what is drawn stays within the middle.
    square = rounded.replace(' rx="112"', "").replace("<path", '<g transform="translate(46 46) scale(.82)"><path')
    square = square.replace("</svg>", "</g></svg>")
    for name, svg, side in (
        ("icon-192", rounded, 192),
        ("icon-512", rounded, 512),
        ("icon-maskable-512", square, 512),
        ("icon-180", square, 180),
    ):
        page = browser.new_page(viewport={"width": side, "height": side})
        page.set_content(f"<style>*{{margin:0}}svg{{display:block;inline-size:100vw;block-size:100vh}}</style>{svg}")
        drawn = Image.open(io.BytesIO(page.screenshot(omit_background=True)))
        drawn.quantize(COLOURS["icon"], Image.Quantize.FASTOCTREE).save(ICONS / f"{name}.png", optimize=True)
        page.close()


def draw_page(browser: Browser) -> None:
    """Write what it looks like once it has learned the sample photos and is asked about two more."""
    photos = ROOT / "samples" / "photos"
    with tempfile.TemporaryDirectory() as folder:
        write_site(site_files("photos", NODE_MODULES / "onnxruntime-web"), Path(folder) / "site")
        screen = {"viewport": {"width": 1120, "height": 640}, "color_scheme": "light", "reduced_motion": "reduce"}
        with http_server(Path(folder)) as address, visited(browser, f"{address}site/", **screen) as visit:
            visit.teach_folder(photos / "support")
            visit.classify([photos / "query" / name / "photo08.jpg" for name in ("gear", "wing_nut")])
            visit.page.get_by_label("Close the message").click()
            visit.page.evaluate("scrollTo(0, 0)")
            drawn = Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB")
    drawn.quantize(COLOURS["picture"]).save(PICTURE, optimize=True)


def main() -> None:
    """Draw all of them."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        draw_icons(browser)
        draw_page(browser)


if __name__ == "__main__":
    main()
