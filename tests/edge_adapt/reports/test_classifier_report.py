"""The page about a classifier: the figures of `evaluate`, every mistake as a picture, and names as text alone."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("jinja2")

import edge_adapt
from edge_adapt.reports.classifier.mistakes import MOST_CLASSES, matrix, unknown, wrong
from edge_adapt.runtime.bundle.card import Priors
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.folder_evaluation import Answer, ClassifierEvaluation
from edge_adapt.runtime.images.images import named
from tests import command_line
from tests.command_line import COLOURS, complaint, succeeded, write_photos
from tests.conftest import TINY
from tests.pages import check
from tests.tiny_model import variant


def answer(label: str, predicted: str, confidence: float = 0.9, known: bool = True) -> Answer:
    return Answer(label, named("a.png"), predicted, confidence, known, False)


@pytest.fixture
def mine(tmp_path: Path) -> Classifier:
    """Adapted to four colours, by a model that tells unknown images."""
    model = edge_adapt.load_model(variant(tmp_path / "model.edge", priors=Priors(0.7, -0.3, 0.1, -1.0, 0.2)), "cpu")
    support = write_photos(tmp_path / "support", dict.fromkeys(COLOURS, 3), seed=1)
    mine = model.adapt({label: sorted((support / label).iterdir()) for label in COLOURS})
    mine.save(tmp_path / "mine.edge")
    return edge_adapt.load_classifier(tmp_path / "mine.edge", "cpu")


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """Four images of each colour, one of them of another, and two of no class."""
    queries = write_photos(tmp_path / "queries", dict.fromkeys(COLOURS, 4))
    (queries / "red" / "0.png").write_bytes((queries / "green" / "1.png").read_bytes())
    (queries / OTHER).mkdir()
    for index in range(2):
        Image.effect_noise((20, 14), 200 + index).save(queries / OTHER / f"{index}.png")
    return queries


def test_the_page_says_what_evaluate_says_and_shows_the_mistakes(
    mine: Classifier, queries: Path, tmp_path: Path
) -> None:
    output = tmp_path / "r.html"
    report = edge_adapt.report_classifier(mine, queries, output)
    parsed = check(output)
    assert report.evaluation == edge_adapt.evaluate_classifier(mine, queries)
    evaluation = report.evaluation
    assert (evaluation.images, evaluation.others) == (16, 2) and evaluation.accuracy <= 15 / 16
    assert f"{100 * evaluation.accuracy:.1f}%" in parsed.text and "16" in parsed.text
    pictures = [attributes["alt"] or "" for tag, attributes in parsed.elements if tag == "img"]
    wrong_ones = [one for one in report.answers if one.known and not one.right]
    refused = [one for one in report.answers if not one.known and one.label != OTHER]
    for one in (*wrong_ones, *refused):
        shown = f"taken for {'' if one.known else 'unknown, '}{one.predicted}, confidence {100 * one.confidence:.0f}%"
        label = "of no class" if one.label == OTHER else one.label
        assert pictures.count(f"{one.image.name}, of {label}, {shown}") == 1
    assert any(one.image.name == "red/0.png" for one in (*wrong_ones, *refused))
    assert f"edge-adapt report {mine.graphs.bundle.path} {queries} -o {output}" in parsed.text


def test_images_that_taught_it_are_counted(mine: Classifier, tmp_path: Path) -> None:
    report = edge_adapt.report_classifier(mine, tmp_path / "support", tmp_path / "r.html")
    text = check(tmp_path / "r.html").text
    assert report.evaluation.in_support == 12 and "12 images of these taught the classifier" in text


def test_of_many_classes_those_are_shown_that_are_confused_and_every_image_is_counted() -> None:
    labels = [f"{index:02d}" for index in range(30)]
    answers = [answer(label, label) for label in labels for _ in range(3)]
    answers += (
        [answer("07", "21")] * 5 + [answer("03", "28")] * 4 + [answer("07", "07", known=False), answer(OTHER, "21")]
    )
    answers += [answer(label, labels[0]) for label in labels[10:20]]
    found = matrix(answers, labels)
    assert {"03", "07", "21", "28"} <= set(found.columns) and len(found.columns) <= MOST_CLASSES
    assert found.rows == (*found.columns, OTHER) and list(found.columns) == sorted(found.columns)
    seven = found.rows.index("07")
    assert found.taken[seven, found.columns.index("21")] == 5 and found.unknown[seven] == 1
    for row, label in enumerate(found.rows):
        assert found.asked[row] == sum(one.label == label for one in answers)
    assert found.taken[-1, found.columns.index("21")] == 1


def test_of_many_classes_without_a_mistake_none_is_shown() -> None:
    labels = [f"class {number}" for number in range(MOST_CLASSES + 1)]
    of_all = matrix([answer(label, label) for label in labels], labels)
    assert of_all.rows == () and of_all.taken.shape == (0, 0) and of_all.asked.tolist() == []


def test_a_few_classes_are_all_shown_also_those_that_were_not_asked_about() -> None:
    found = matrix([answer("a", "b"), answer("b", "b")], ["a", "b", "c"])
    assert found.columns == ("a", "b", "c") and found.rows == ("a", "b") and not found.elsewhere.any()


def test_mistakes_are_grouped_by_class_and_the_surest_come_first() -> None:
    answers = [answer("a", "b", 0.5), answer("a", "b", 0.9), answer("b", "a", 0.7), answer("b", "b", known=False)]
    answers += [answer("a", "a"), answer(OTHER, "a"), answer(OTHER, "b", known=False)]
    first, *rest = wrong(answers)
    assert (first.label, first.count, first.images, [one.confidence for one in first.answers]) == (
        "a",
        2,
        3,
        [0.9, 0.5],
    )
    assert {shown.label for shown in rest} == {"b", OTHER}
    assert [(shown.label, len(shown.answers)) for shown in unknown(answers)] == [("b", 1)]


def test_an_evaluation_counts_images_of_no_class_apart() -> None:
    answers = [answer("a", "a"), answer("a", "b", known=False), answer(OTHER, "a"), answer(OTHER, "a", known=False)]
    found = ClassifierEvaluation.of(answers, True)
    assert (found.accuracy, found.images, found.refused, found.accuracy_of_rest) == (0.5, 2, 1, 1)
    assert (found.others, found.others_refused) == (2, 1)
    assert ClassifierEvaluation.of(answers, False).refused is None


HOSTILE = ["<script>alert(1)<", "\"onload='x'", "a&b;", "'<img src=x>", "{{ 7 * 7 }}"]


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    photos = tmp_path / "<b>data"
    for colour, name in zip([*COLOURS, "red"], HOSTILE, strict=True):
        (photos / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 8), (*COLOURS[colour][:2], 60 * index)).save(photos / name / f"<i>{index}.png")
    mine = edge_adapt.load_model(TINY).adapt({name: [photos / name / "<i>0.png"] for name in HOSTILE})
    mine.save(tmp_path / "<u>mine.edge")
    mine = edge_adapt.load_classifier(tmp_path / "<u>mine.edge", "cpu")
    edge_adapt.report_classifier(mine, photos, tmp_path / "r.html")
    parsed = check(tmp_path / "r.html")
    assert "<u>mine.edge" in parsed.text and all(name in parsed.text for name in HOSTILE)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert all(name not in text for name in (*HOSTILE, "<b>data", "<u>mine", "<i>0") if escape(name) != name)


def test_the_command_writes_the_page(mine: Classifier, queries: Path, tmp_path: Path) -> None:
    file, output = mine.graphs.bundle.path, tmp_path / "r.html"
    said = succeeded(command_line.edge_adapt("report", file, queries, "-o", output))
    assert re.search(r"^\d+\.\d\d%: \d+ of 16 images right", said, re.MULTILINE)
    assert said.splitlines()[0] == succeeded(command_line.edge_adapt("evaluate", file, queries)).splitlines()[0]
    check(output)
    refused = command_line.edge_adapt("report", file, queries, "-o", output, "--episodes", "3")
    assert "--episodes is about episodes" in complaint(refused, 2)
    before = file.read_bytes()
    assert "would be lost" in complaint(command_line.edge_adapt("report", file, queries, "-o", file))
    assert file.read_bytes() == before


def test_a_folder_that_does_not_fit_is_named_and_leaves_nothing(
    mine: Classifier, queries: Path, tmp_path: Path
) -> None:
    (queries / "red").rename(queries / "pink")
    said = complaint(command_line.edge_adapt("report", mine.graphs.bundle.path, queries, "-o", tmp_path / "r.html"))
    assert "does not know (pink" in said
    only = tmp_path / "only"
    (only / OTHER).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(only / OTHER / "0.png")
    said = complaint(command_line.edge_adapt("report", mine.graphs.bundle.path, only, "-o", tmp_path / "r.html"))
    assert "has no image of a class" in said and not (tmp_path / "r.html").exists()
