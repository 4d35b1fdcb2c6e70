"""The browser page as a visitor uses it: by its labels, roles and files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Page, expect

from tests.browser import NODE_MODULES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

SLOW = 60_000  # milliseconds that a busy machine may take for what is done in a moment
AXE = NODE_MODULES / "axe-core" / "axe.min.js"
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


class Visit:
    """A page that is open."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_default_timeout(SLOW)

    def ready(self) -> None:
        """Wait until the model is there."""
        expect(self.page.locator("main")).to_be_visible(timeout=SLOW)
        self.idle()

    def idle(self) -> None:
        """Wait until nothing is being done."""
        expect(self.page.locator(".work .bar")).to_have_count(0, timeout=SLOW)

    def says(self, text: str) -> None:
        """Wait for a message."""
        expect(self.page.locator(".status")).to_contain_text(text, timeout=SLOW)

    def teach_folder(self, folder: Path) -> None:
        """Choose a folder with a sub-folder a class, and learn it."""
        photos = sum(1 for path in folder.rglob("*.*"))
        self.page.get_by_label("Choose a folder").set_input_files(folder)
        expect(self.page.locator(".teach .photos img")).to_have_count(photos, timeout=SLOW)
        self.learn()

    def learn(self) -> None:
        """Press Learn, and wait for what came of it."""
        self.page.get_by_role("button", name="Learn", exact=True).click()
        self.says("Learned")
        self.idle()

    def classify(self, files: Sequence[Path]) -> list[str]:
        """What each of the photos shows, with its confidence, interval or `unknown`, in order."""
        results = self.page.locator(".result")
        before = results.count()
        self.page.locator("#choose-try").set_input_files(files)
        expect(results).to_have_count(before + len(files), timeout=SLOW)
        for number in range(len(files)):
            expect(results.nth(number).locator(".answer, .readings")).to_be_visible(timeout=SLOW)
        return [results.nth(number).locator(".answer, .readings").inner_text() for number in range(len(files))]

    def save(self, path: Path) -> Path:
        """Press Save; the file."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Save").click()
        download.value.save_as(path)
        self.idle()
        return path

    def open(self, path: Path) -> None:
        """Open an `.edge` file."""
        self.page.get_by_label("Open an .edge file").set_input_files(path)
        self.says(f"{path.name} is loaded")
        self.idle()

    def works_offline(self) -> None:
        """Wait until the service worker has kept the site."""
        self.page.evaluate("navigator.serviceWorker.ready.then(() => true)")

    def shown_classes(self) -> dict[str, int]:
        """The classes that are taught or named, and how many photos each shows."""
        cards = self.page.locator("article.card")
        return {
            str(cards.nth(number).get_attribute("aria-label")): cards.nth(number).locator(".photos li").count()
            for number in range(cards.count())
        }

    def violations(self) -> list[str]:
        """What axe-core finds wrong for people who use a keyboard, a screen reader or little contrast."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: Any = self.page.evaluate(f"axe.run(document, {json.dumps(_RULES)})")
        return [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]


@contextmanager
def visited(browser: Browser, address: str, **settings: Any) -> Iterator[Visit]:
    """A visit in a browser that has seen nothing yet; at its end, nothing went wrong and nothing was asked of anyone else."""
    with new_context(browser, **settings) as context:
        faults: list[str] = []
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        visit = Visit(page)
        visit.ready()
        yield visit
        assert faults == []
        assert elsewhere(asked, address) == []


def elsewhere(asked: Iterable[str], address: str) -> list[str]:
    """Of the addresses that were asked for, those outside the site."""
    return [url for url in asked if not url.startswith((address, f"blob:{'/'.join(address.split('/')[:3])}"))]


@contextmanager
def new_context(browser: Browser, **settings: Any) -> Iterator[BrowserContext]:
    """A browser that has seen nothing yet, and may use the camera."""
    context = browser.new_context(permissions=["camera"], **settings)
    try:
        yield context
    finally:
        context.close()
