"""The page before a service: what is done on it is done in the service's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import chromium, needs_chromium, needs_node_modules

for package in ("playwright", "starlette", "websockets"):
    pytest.importorskip(package)
pytestmark = [needs_chromium, needs_node_modules]

from playwright.sync_api import expect, sync_playwright  # noqa: E402

import edge_adapt  # noqa: E402
from tests.page_visit import SLOW, Visit  # noqa: E402
from tests.served import TOKEN, serving  # noqa: E402

DRAWINGS = Path(__file__).parents[3] / "samples" / "characters"


def test_a_service_is_asked_and_edited_by_its_page(tmp_path: Path) -> None:
    photos = {folder.name: sorted(folder.iterdir()) for folder in sorted((DRAWINGS / "support").iterdir())}
    first, second, third, new = list(photos)[:4]
    path = tmp_path / "mine.edge"
    mine = edge_adapt.load_model("characters", "cpu").adapt({label: photos[label] for label in (first, second, third)})
    mine.save(path)
    query = sorted((DRAWINGS / "query" / first).iterdir())[0]
    with (
        serving(path, token=TOKEN) as client,
        sync_playwright() as playwright,
        chromium(playwright) as browser,
    ):
        page = browser.new_page()
        visit = Visit(page)
        page.goto(f"http://localhost:{client.port}/")
        page.get_by_label("The token of this service").fill(TOKEN)
        assert visit.violations() == []
        page.get_by_role("button", name="Go on").click()
        visit.ready()
        expect(page.get_by_role("heading", name="Teach")).to_be_visible(timeout=SLOW)
        assert visit.shown_classes() == mine.counts
        assert visit.classify([query])[0].startswith(mine.classify(query).label)
        page.locator(".result select").select_option(label=second)
        visit.says(f"Learned: that is {second}.")
        visit.idle()
        page.get_by_role("button", name="Add a class").click()
        page.keyboard.type(new)
        page.keyboard.press("Tab")
        page.get_by_label(f"Choose photos of {new}").set_input_files(photos[new])
        visit.learn()
        page.get_by_role("button", name=f"Remove {third}", exact=True).click()
        visit.says(f"{third} is gone")
        page.get_by_role("button", name="Undo").click()
        visit.says("Undone: remove")
        page.get_by_label(f"Name of the class {first}", exact=True).fill("renamed")
        page.keyboard.press("Tab")
        visit.says(f"{first} is called renamed now.")
        page.get_by_role("button", name="Check the photos").click()
        expect(page.get_by_role("heading", name="Check")).to_be_focused(timeout=SLOW)
        assert visit.violations() == []
        saved = visit.save(tmp_path / "copy.edge")
    edited = mine.correct(query, second).add(new, photos[new]).rename(first, "renamed")
    assert edge_adapt.load_classifier(path, "cpu").counts == edited.counts
    assert saved.read_bytes() == path.read_bytes()
