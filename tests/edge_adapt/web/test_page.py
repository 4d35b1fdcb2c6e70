"""The page in a browser: what it teaches the command line reads, and the reverse; offline, by camera, by keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import NODE_MODULES, chromium, http_server, needs_chromium, needs_node_modules

pytest.importorskip("playwright", reason="Playwright is not here: run `pip install playwright`")
pytestmark = [needs_chromium, needs_node_modules]

from playwright.sync_api import Browser, expect, sync_playwright  # noqa: E402

import edge_adapt  # noqa: E402
from edge_adapt import Classifier, Prediction, Regressor  # noqa: E402
from edge_adapt.web.site import site_files, write_site  # noqa: E402
from tests.page_visit import SLOW, Visit, visited  # noqa: E402

SAMPLES = Path(__file__).parents[3] / "samples"
SIDE = 480  # pixels of the camera's picture


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of web sites, each in a folder of its own."""
    root = tmp_path_factory.mktemp("www")
    for model in ("characters", "photos-small"):
        write_site(site_files(model, NODE_MODULES / "onnxruntime-web"), root / "deep" / model)
    return root


@pytest.fixture(scope="module")
def served(sites: Path) -> Iterator[str]:
    """Their address."""
    with http_server(sites) as address:
        yield f"{address}deep/"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With a camera that sees a gear, which turns: a photo that a class has already is not taken twice."""
    film = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    gear = Image.open(SAMPLES / "photos" / "query" / "gear" / "photo08.jpg").convert("RGB").resize((SIDE, SIDE))
    with film.open("wb") as stream:
        for step in range(40):
            gear.rotate(9 * step).save(stream, "JPEG", quality=90)
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with (
        sync_playwright() as playwright,
        chromium(playwright, *options, f"--use-file-for-fake-video-capture={film}") as it,
    ):
        yield it


@pytest.fixture
def characters(browser: Browser, served: str) -> Iterator[Visit]:
    """The page of the small model, just opened."""
    with visited(browser, f"{served}characters/") as visit:
        yield visit


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of drawings: three classes, three of each."""
    folder = tmp_path_factory.mktemp("few")
    for label, files in list(folders_of("characters").items())[:3]:
        (folder / label).mkdir()
        for file in files[:3]:
            shutil.copy(file, folder / label)
    return folder


def queries(samples: str, each: int) -> list[Path]:
    """Some query photos of every class."""
    return [
        path for folder in sorted((SAMPLES / samples / "query").iterdir()) for path in sorted(folder.iterdir())[:each]
    ]


def folders_of(samples: str) -> dict[str, list[Path]]:
    """The support photos by class."""
    return {folder.name: sorted(folder.iterdir()) for folder in sorted((SAMPLES / samples / "support").iterdir())}


def said(prediction: Prediction) -> str:
    """As the page says it."""
    return prediction.label if prediction.known else f"unknown most like {prediction.label}"


def labels_of(answers: list[str]) -> list[str]:
    """Without their confidence."""
    return [re.sub(r"\s+\d+%$", "", re.sub(r"\s+", " ", answer)).strip() for answer in answers]


def predictions(classifier: Classifier, files: list[Path]) -> list[Prediction]:
    """What the Python runtime says of the files."""
    return [answer for answer in classifier.classify_all(files) if isinstance(answer, Prediction)]


@pytest.mark.parametrize(("model", "samples"), [("characters", "characters"), ("photos-small", "photos")])
def test_what_the_page_teaches_is_what_python_would(
    browser: Browser, served: str, tmp_path: Path, model: str, samples: str
) -> None:
    files = queries(samples, 1)
    photos = {label: of_label[:2] for label, of_label in folders_of(samples).items()}
    for label, of_label in photos.items():
        (tmp_path / "support" / label).mkdir(parents=True)
        for file in of_label:
            shutil.copy(file, tmp_path / "support" / label)
    with visited(browser, f"{served}{model}/") as visit:
        visit.teach_folder(tmp_path / "support")
        answers = visit.classify(files)
        saved = edge_adapt.load_classifier(visit.save(tmp_path / "mine.edge"), "cpu")
    python = edge_adapt.load_model(model, "cpu").adapt(photos)
    theirs = predictions(python, files)
    assert labels_of(answers) == [said(one) for one in theirs]
    assert labels_of(answers) == [said(one) for one in predictions(saved, files)]
    assert [
        int(answer.split()[-1][:-1]) for answer, one in zip(answers, theirs, strict=True) if one.known
    ] == pytest.approx([100 * one.confidence for one in theirs if one.known], abs=1.5)
    # Drawings are PNG, whose pixels are the same everywhere; of JPEG, decoders differ by 1 of 255 here and there.
    close = 1e-4 if samples == "characters" else 0.05
    assert [image.sha256 for image in saved.support.images] == [image.sha256 for image in python.support.images]
    features = python.support.features
    np.testing.assert_allclose(saved.support.features, features, atol=close * float(np.abs(features).max()))


def test_what_the_command_line_taught_is_read_and_edited(characters: Visit, tmp_path: Path) -> None:
    photos = folders_of("characters")
    mine = edge_adapt.load_model("characters", "cpu").adapt(dict(list(photos.items())[:5]))
    mine.save(tmp_path / "mine.edge")
    characters.open(tmp_path / "mine.edge")
    first, second, third = mine.labels[:3]
    assert characters.shown_classes() == mine.counts
    files = queries("characters", 1)[:5]
    assert labels_of(characters.classify(files)) == [said(one) for one in predictions(mine, files)]

    page = characters.page
    wrong = page.get_by_label(f"Correct what {files[0].name} shows").first
    wrong.select_option(label=second)
    characters.says(f"Learned: that is {second}.")
    page.get_by_label(f"Name of the class {first}", exact=True).fill("renamed")
    page.keyboard.press("Tab")
    characters.says(f"{first} is called renamed now.")
    page.get_by_role("button", name=f"Remove {third}", exact=True).click()
    characters.says(f"{third} is gone")
    page.get_by_role("button", name="Undo").click()
    characters.says("Undone: remove")
    more = list(photos.items())[5]
    page.get_by_role("button", name="Add a class").click()
    page.keyboard.type(more[0])
    page.keyboard.press("Tab")
    page.get_by_label(f"Choose photos of {more[0]}").set_input_files(more[1])
    characters.learn()

    edited = mine.correct(files[0], second).rename(first, "renamed").add(more[0], more[1])
    saved = edge_adapt.load_classifier(characters.save(tmp_path / "edited.edge"), "cpu")
    assert saved.counts == edited.counts == characters.shown_classes()
    assert [one.label for one in predictions(saved, files)] == [one.label for one in predictions(edited, files)]
    assert saved.undo().undo().undo().counts == mine.counts


def test_shots_are_looked_at_moved_and_removed(characters: Visit, few: Path) -> None:
    characters.teach_folder(few)
    before = characters.shown_classes()
    first, second = list(before)[:2]
    page = characters.page
    card = page.get_by_role("article", name=first, exact=True)
    card.locator(".photos button").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("dialog").get_by_role("combobox").select_option(label=second)
    characters.says(f"Learned: that is {second}.")
    characters.idle()
    assert characters.shown_classes() == before | {first: before[first] - 1, second: before[second] + 1}
    card.locator(".photos button").first.click()
    page.get_by_role("button", name="Remove the photo").click()
    characters.says("The photo is gone")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_label(f"Choose photos of {first}", exact=True)).to_be_focused()
    page.get_by_role("button", name="Check the photos").click()
    expect(page.get_by_role("heading", name="Check")).to_be_focused(timeout=SLOW)


def test_the_camera_teaches_and_is_classified(browser: Browser, served: str, tmp_path: Path) -> None:
    with visited(browser, f"{served}photos-small/") as visit:
        page = visit.page
        page.get_by_label("Name of the new class").first.fill("here")
        page.keyboard.press("Tab")
        page.get_by_label("Take photos of here with the camera").click()
        take = page.get_by_label("Hold to take photos of here")
        take.hover()
        page.mouse.down()
        expect(page.get_by_role("article", name="here").locator(".photos img").nth(2)).to_be_visible(timeout=SLOW)
        page.mouse.up()
        page.get_by_label("Name of the new class").fill("spring")
        page.keyboard.press("Tab")
        page.get_by_label("Choose photos of spring").set_input_files(folders_of("photos")["spring"])
        expect(page.locator(".photos img").nth(7)).to_be_visible(timeout=SLOW)
        visit.learn()
        expect(page.locator(".live .answer")).to_contain_text("here", timeout=SLOW)
        assert visit.violations() == []
        saved = edge_adapt.load_classifier(visit.save(tmp_path / "mine.edge"), "cpu")
        assert saved.counts["here"] >= 3
        page.get_by_role("button", name="Stop the camera").click()
        expect(page.locator(".live")).to_have_count(0)


def test_everything_works_again_without_a_network(browser: Browser, sites: Path, few: Path, tmp_path: Path) -> None:
    alone = tmp_path / "www"
    shutil.copytree(sites / "deep" / "characters", alone / "app")
    settings = {"service_workers": "allow"}
    with http_server(alone) as address:
        context = browser.new_context(**settings)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{address}app/")
        Visit(page).works_offline()
    # The server is gone.
    page.reload()
    visit = Visit(page)
    visit.ready()
    visit.teach_folder(few)
    assert len(visit.classify(queries("characters", 1)[:2])) == 2
    edge_adapt.load_classifier(visit.save(tmp_path / "mine.edge"), "cpu")
    context.close()


def test_a_regressor_reads_values_with_their_intervals(browser: Browser, served: str, tmp_path: Path) -> None:
    gauge = edge_adapt.regress(SAMPLES / "gauge" / "support.csv", model="photos-small", provider="cpu")
    assert isinstance(gauge, Regressor)
    gauge.save(tmp_path / "gauge.edge")
    files = sorted((SAMPLES / "gauge" / "query").iterdir())[:2]
    with visited(browser, f"{served}photos-small/") as visit:
        visit.open(tmp_path / "gauge.edge")
        answers = visit.classify(files)
        assert visit.violations() == []
        expect(visit.page.get_by_role("heading", name="Teach")).to_have_count(0)
    for answer, file in zip(answers, files, strict=True):
        name, value, low, high = re.fullmatch(r"(\w+)\s+(-?[\d.]+) (-?[\d.]+) to (-?[\d.]+)", answer.strip()).groups()  # type: ignore[union-attr]
        measured = gauge.predict(file)
        (expected,), ((least, most),) = measured.values.values(), measured.intervals.values()
        width = most - least
        assert name == gauge.names[0]
        np.testing.assert_allclose([float(value), float(low), float(high)], [expected, least, most], atol=0.03 * width)


def test_bad_files_are_named_in_one_sentence(characters: Visit, few: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.edge").write_bytes(b"PK not a bundle")
    (tmp_path / "none.jpg").write_bytes(b"no image")
    characters.page.get_by_label("Open an .edge file").set_input_files(tmp_path / "damaged.edge")
    expect(characters.page.get_by_role("alert")).not_to_be_empty(timeout=SLOW)
    characters.page.get_by_label("Close the message").click()
    characters.teach_folder(few)
    characters.page.locator("#choose-try").set_input_files(tmp_path / "none.jpg")
    expect(characters.page.locator(".result .fault")).to_contain_text("none.jpg", timeout=SLOW)


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_every_state_is_accessible_and_fits_its_screen(
    browser: Browser, served: str, few: Path, width: int, scheme: str
) -> None:
    screen = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with visited(browser, f"{served}characters/", **screen) as visit:
        found = {"empty": visit.violations()}
        visit.page.get_by_role("button", name="Add photos of none").click()
        visit.page.get_by_label("Choose photos of None of these").set_input_files(queries("photos", 1)[0])
        found["named"] = visit.violations()
        visit.page.get_by_role("button", name="Remove None of these").click()
        visit.teach_folder(few)
        found["learned"] = visit.violations()
        visit.classify(queries("characters", 1)[:2])
        visit.page.get_by_role("button", name="Check the photos").click()
        expect(visit.page.get_by_role("heading", name="Check")).to_be_focused(timeout=SLOW)
        found["tried"] = visit.violations()
        visit.page.locator(".teach .photos button").first.click()
        found["dialog"] = visit.violations()
        overflow = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0
    assert found == {state: [] for state in found}


def test_a_keyboard_is_enough(characters: Visit) -> None:
    page = characters.page
    page.get_by_label("Name of the new class").first.focus()
    page.keyboard.type("one")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove one")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose photos of one")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    hold = page.get_by_label("Hold to take photos of one")
    expect(hold).to_be_focused(timeout=SLOW)
    page.keyboard.press("Space", delay=300)
    expect(page.get_by_role("article", name="one").locator(".photos img").first).to_be_visible(timeout=SLOW)
    expect(hold).to_be_focused()


def test_it_is_an_app_that_can_be_installed(characters: Visit) -> None:
    characters.works_offline()
    session = characters.page.context.new_cdp_session(characters.page)
    manifest = session.send("Page.getAppManifest")
    assert manifest["errors"] == []
    assert session.send("Page.getInstallabilityErrors")["installabilityErrors"] in (
        [],
        [{"errorId": "in-incognito", "errorArguments": []}],
    )
