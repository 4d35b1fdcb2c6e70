"""The page of a report: one file that needs nothing else, with every name escaped, for every kind of data."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

import edge_adapt
from edge_adapt.reports.model.measurements import Report
from edge_adapt.reports.model.page import page
from edge_adapt.runtime.data.episodes import Sampling
from tests import command_line
from tests.command_line import COLOURS, complaint, succeeded, write_photos
from tests.conftest import TINY
from tests.gratings import gratings, write_images
from tests.pages import check


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos", dict.fromkeys(COLOURS, 8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> tuple[Report, Path]:
    """A report on the photos, and its page."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    return edge_adapt.report(TINY, photos, path, Sampling(episodes=12, seed=3), threads=1), path


def test_a_bundle_on_photos_gives_a_whole_page(whole: tuple[Report, Path], photos: Path) -> None:
    result, path = whole
    parsed = check(path)
    for words in (
        "tiny",
        "anil",
        "Apache-2.0",
        "fp32",
        "4, 8 images each",
        "nothing: its features are means of pixels",
    ):
        assert words in parsed.text
    for (way, shot), cell in result.table.cells.items():
        assert f"{100 * cell.accuracy:.1f} \N{PLUS-MINUS SIGN} {100 * cell.ci95:.1f}" in parsed.text, (way, shot)
    assert set(result.table.cells) == {(way, shot) for way in (2, 4) for shot in (1, 2, 5)}
    assert result.steps.n_way == 4 and result.steps.shots == (1, 5)
    assert "No 10 or 20 shots: class 'blå' has 8 images where an episode takes 11." in parsed.text
    assert f"edge-adapt report {TINY} {photos} -o {path} --episodes 12 --seed 3" in parsed.text
    assert [timing.what for timing in result.timings] == [
        "embed, 1 image",
        "embed, 25 images",
        "adapt, 4-way 5-shot, 3 steps",
        "predict, 1 image, 4-way",
    ]
    assert "embed on 1 thread" in parsed.text
    assert all(name in parsed.text for name in ("embed.onnx", "adapt.onnx", "predict.onnx"))


def test_the_plots_and_pictures_have_words_in_their_place(whole: tuple[Report, Path]) -> None:
    parsed = check(whole[1])
    drawings = [attributes for tag, attributes in parsed.elements if tag == "svg"]
    assert len(drawings) == 4 and all(drawing["role"] == "img" for drawing in drawings)
    alternatives = [attributes["alt"] or "" for tag, attributes in parsed.elements if tag == "img"]
    assert any(
        re.fullmatch(r"query of [A-D], (right|wrong)ly taken for [A-D], confidence \d+%", a) for a in alternatives
    )


def test_a_page_is_dark_in_the_dark_and_fits_a_phone_and_paper(whole: tuple[Report, Path]) -> None:
    text = whole[1].read_text(encoding="utf-8")
    assert all(words in text for words in ("prefers-color-scheme: dark", "@media print", "width=device-width"))


HOSTILE = ["<script>alert(1)<", "\"onload='x'", "a&b;", "'<img src=x>", "ünï \N{SNOWMAN}", "{brace}"]


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    images = gratings(len(HOSTILE), 4, size=8).images.repeat(3, axis=3)
    for index, name in enumerate(HOSTILE):
        (tmp_path / "<b>data" / name).mkdir(parents=True)
        for image in range(4):
            Image.fromarray(images[4 * index + image]).save(tmp_path / "<b>data" / name / f"{image}.png")
    edge_adapt.report(TINY, tmp_path / "<b>data", tmp_path / "report.html", Sampling(episodes=30))
    parsed = check(tmp_path / "report.html")
    assert "<b>data" in parsed.text
    shown = [name for name in HOSTILE if name in parsed.text]
    assert len(shown) >= 5
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name not in text for name in HOSTILE if escape(name) != name)


def test_two_classes_of_two_images_give_a_page(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", {"red": 2, "green": 2})
    result = edge_adapt.report(TINY, photos, tmp_path / "report.html", Sampling(episodes=4))
    assert set(result.table.cells) == {(2, 1)}
    text = check(tmp_path / "report.html").text
    assert "No 5, 10, 20 or 50 ways: there are 2 classes." in text
    assert "has 2 images where an episode takes 3" in text
    assert "All 2 classes, in 1 2-way 1-shot episodes" in text


def test_patterns_pick_support_and_queries(tmp_path: Path, photos: Path) -> None:
    result = edge_adapt.report(
        TINY,
        photos,
        tmp_path / "report.html",
        Sampling(episodes=4, support_files="[012].png", query_files="[34567].png"),
    )
    assert result.table.shots == (1, 2)
    for one in result.examples:
        support = {int(image) % 8 for image in one.answers.episode.support}
        assert support <= {0, 1, 2} and not support & {int(image) % 8 for image in one.answers.episode.query}
    text = check(tmp_path / "report.html").text
    assert "--support-files '[012].png' --query-files '[34567].png'" in text
    assert "has 3 files that --support-files matches where an episode takes 5" in text


def test_a_method_without_steps_says_so(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_adapt.runtime.graphs import Graphs

    monkeypatch.setattr(Graphs, "takes_steps", False)
    result = edge_adapt.report(TINY, photos, tmp_path / "report.html", Sampling(episodes=2))
    assert result.steps.steps == ()
    assert "Left out: the method takes no steps" in check(tmp_path / "report.html").text


def test_a_training_run_says_that_it_is_pytorch(tmp_path: Path, trained_run: Path) -> None:
    data = write_images(tmp_path / "data", gratings(6, 4, seed=2, turn=0.5))
    edge_adapt.report(trained_run, data, tmp_path / "report.html", Sampling(episodes=4))
    text = check(tmp_path / "report.html").text
    assert "training run" in text and "PyTorch" in text and "ONNX Runtime" not in text
    assert "drawn gratings" in text and "Size of the bundle" not in text


def test_the_command_writes_the_page_and_says_the_headline(tmp_path: Path, photos: Path) -> None:
    said = succeeded(command_line.edge_adapt("report", TINY, photos, "-o", tmp_path / "r.html", "--episodes", "3"))
    assert re.search(r"^4-way 5-shot: \d+\.\d\d% \+- \d+\.\d\d%$", said, re.MULTILINE)
    assert "r.html" in said
    check(tmp_path / "r.html")


def _one_image(folder: Path, photos: Path) -> list[Path]:
    return [TINY, write_photos(folder / "few", {"red": 1, "green": 3})]


def _one_class(folder: Path, photos: Path) -> list[Path]:
    return [TINY, write_photos(folder / "few", {"red": 3})]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (_one_image, "there are no episodes, for class 'red' has 1 images where an episode takes 2; add images"),
        (_one_class, "2 ways need as many classes and there are 1"),
        (lambda folder, photos: [photos, photos], "there is no checkpoint.pt"),
        (lambda folder, photos: [TINY, folder / "nothing"], "nothing"),
    ],
)
def test_what_cannot_be_reported_on_is_named_and_leaves_nothing(
    arguments: Callable[[Path, Path], list[Path]], words: str, tmp_path: Path, photos: Path
) -> None:
    given_ = arguments(tmp_path, photos)
    sentence = complaint(command_line.edge_adapt("report", *given_, "-o", tmp_path / "r.html", "--episodes", "2"))
    assert words in sentence
    assert not (tmp_path / "r.html").exists()


def test_a_page_that_cannot_be_written_is_named_before_any_work(tmp_path: Path, photos: Path) -> None:
    for output, words in (
        (tmp_path, "it is a folder"),
        (tmp_path / "no" / "r.html", f"the folder {tmp_path / 'no'} does not exist"),
    ):
        result = command_line.edge_adapt("report", TINY, photos, "-o", output)
        assert words in complaint(result)
        assert "reading" not in result.stderr


def test_what_a_report_is_about_is_not_overwritten(tmp_path: Path, photos: Path) -> None:
    model, listing = tmp_path / "model.edge", tmp_path / "classes.txt"
    model.write_bytes(TINY.read_bytes())
    listing.write_text("red\n")
    before = command_line.tree(tmp_path), command_line.tree(photos)
    for output in (model, listing, photos / "red" / "0.png"):
        report = command_line.edge_adapt("report", model, photos, "--classes", listing, "-o", output)
        assert "would be lost" in complaint(report)
    assert (command_line.tree(tmp_path), command_line.tree(photos)) == before


def test_a_plot_follows_the_page_and_says_its_values(whole: tuple[Report, Path]) -> None:
    result, path = whole
    text = path.read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for drawing in drawings:
        assert not re.search(r"#[0-9a-f]{6}", drawing)  # colours are the style sheet's, by name
        assert set(re.findall(r"var\(--(\w+)\)", drawing)) <= set(re.findall(r"--(\w+):", text))
    cell = result.table.cells[4, 5]
    said = f"4 ways, 5 shots: {cell.accuracy:.1%} \N{PLUS-MINUS SIGN} {cell.ci95:.1%} over 12 episodes"
    assert f"<title>{said}</title>" in drawings[0]


def test_the_same_report_is_the_same_page_to_the_last_byte(whole: tuple[Report, Path]) -> None:
    result, path = whole
    assert path.read_text(encoding="utf-8") == page(result)
