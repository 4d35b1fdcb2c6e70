"""adapt, classify, info, models and demo on a bundle of a few kilobytes, as a device runs them: no PyTorch anywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge_adapt
from edge_adapt.runtime import model as model_module
from edge_adapt.runtime.bundle.bundle import Bundle
from tests.command_line import COLOURS, complaint, json_lines, succeeded, tree, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY

COUNTS = {"blå": 2, "green": 3, "red": 1, "yellow": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A support set of four colours, unequal counts."""
    return write_photos(tmp_path_factory.mktemp("photos") / "support", COUNTS)


@pytest.fixture(scope="module")
def mine(photos: Path) -> Path:
    """tiny.edge adapted to `photos` through the API."""
    path = photos.parent / "mine.edge"
    images = {folder.name: sorted(folder.iterdir()) for folder in photos.iterdir()}
    edge_adapt.load_model(TINY).adapt(images).save(path)
    return path


@pytest.fixture
def query(tmp_path: Path) -> Path:
    """Images that are not in `photos`."""
    return write_photos(tmp_path / "query", dict.fromkeys(COLOURS, 3), seed=1)


def test_adapt_says_what_it_does_and_saves_what_the_api_saves(photos: Path, mine: Path, tmp_path: Path) -> None:
    said = succeeded(command("adapt", photos, "-o", tmp_path / "a.edge", "--model", TINY, "--provider", "cpu"))
    assert "4 classes, 8 images" in said
    assert all(f"{label} {count}" in said for label, count in COUNTS.items())
    losses = [float(loss) for loss in said.partition("Support loss over 3 steps: ")[2].splitlines()[0].split(" > ")]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 3
    # The one red image cannot be spared.
    assert re.search(
        r"Expect about 100% \(\d\d% to 100%\): 7 of 7 images right when left out of the adaptation\.", said
    )
    assert "This says nothing of red, of which there is a single photo.\n" in said
    assert f"Saved {tmp_path / 'a.edge'}" in said
    assert f"edge-adapt classify {tmp_path / 'a.edge'}" in said
    ours, theirs = Bundle.open(tmp_path / "a.edge").adaptation(), Bundle.open(mine).adaptation()
    assert {shot.sha256: shot.label for shot in ours.shots} == {shot.sha256: shot.label for shot in theirs.shots}
    assert ours.labels == theirs.labels
    for name, array in theirs.head_state.items():
        np.testing.assert_array_equal(ours.head_state[name], array)


def test_adapt_says_what_more_photos_would_bring(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", {"red": 4, "green": 4})
    (photos / "red" / "0.png").write_bytes((photos / "green" / "1.png").read_bytes())
    said = succeeded(command("adapt", photos, "-o", tmp_path / "a.edge", "--model", TINY))
    found = re.search(r"Expect about (\d+)% .* Twice the photos would make it about (\d+)%\.\n", said)
    assert found and int(found[1]) < int(found[2]) < 100
    assert "What would help most: green: 4 photos, add 1; red: 4 photos, add 1." in said
    (described,) = json_lines(succeeded(command("adapt", photos, "-o", tmp_path / "a.edge", "--model", TINY, "--json")))
    expected = described["estimate"]
    assert isinstance(expected, dict) and f"{expected['with_twice']:.0%}" == f"{found[2]}%"
    few = write_photos(tmp_path / "few", {"red": 2, "green": 2})
    assert "Twice" not in succeeded(command("adapt", few, "-o", tmp_path / "a.edge", "--model", TINY))


def test_a_classifier_does_not_tell_where_the_photos_lay(photos: Path, tmp_path: Path) -> None:
    succeeded(command("adapt", photos, "-o", tmp_path / "a.edge", "--model", TINY))
    assert {shot.name for shot in Bundle.open(tmp_path / "a.edge").adaptation().shots} >= {"blå/0.png", "red/0.png"}
    assert str(photos.parent).encode() not in (tmp_path / "a.edge").read_bytes()


def test_a_zip_gives_the_very_classifier_that_the_folder_gives(photos: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    succeeded(command("adapt", photos, "-o", tmp_path / "a.edge", "--model", TINY))
    succeeded(command("adapt", archive, "-o", tmp_path / "b.edge", "--model", TINY))
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()


def test_adapt_takes_the_steps_it_is_told_and_names_missing_estimates(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", {"red": 1, "green": 1})
    said = succeeded(command("adapt", photos, "-o", tmp_path / "a.edge", "--model", TINY, "--steps", "40"))
    assert "Support loss over 40 steps" in said
    assert "no estimate" in said
    assert Bundle.open(tmp_path / "a.edge").adaptation().steps == 40
    none = succeeded(command("adapt", photos, "-o", tmp_path / "a.edge", "--model", TINY, "--steps", "0"))
    assert "Support loss over 0 steps: none" in none


def test_classify_prints_a_line_an_image_of_folders_files_and_zips(mine: Path, query: Path) -> None:
    archive = shutil.make_archive(str(query.parent / "more"), "zip", query)
    paths = sorted(str(path) for path in query.rglob("*.png"))
    printed = succeeded(command("classify", mine, query, query / "red" / "0.png", archive)).splitlines()
    rows = [line.split("\t") for line in printed]
    assert [row[0] for row in rows[:13]] == [*paths, str(query / "red" / "0.png")]
    assert len(rows) == 25
    for image, label, confidence in rows:
        assert label == Path(image).parent.name
        assert 0 < float(confidence.removesuffix("%")) <= 100


def test_classify_top_shows_the_best_first(mine: Path, query: Path) -> None:
    row = succeeded(command("classify", mine, query / "red" / "0.png", "--top", "3")).strip().split("\t")
    assert len(row) == 7
    assert row[1] == "red"
    shares = [float(share.removesuffix("%")) for share in row[2::2]]
    assert shares == sorted(shares, reverse=True)


def test_classify_json_agrees_with_the_api(mine: Path, query: Path) -> None:
    classifier = edge_adapt.load_classifier(mine)
    objects = json_lines(succeeded(command("classify", mine, query, "--json")))
    assert len(objects) == 12
    for value in objects:
        prediction = classifier.classify(str(value["image"]))
        assert list(value) == ["image", "label", "confidence", "known", "familiarity", "scores"]
        assert value["label"] == prediction.label
        assert value["scores"] == pytest.approx(prediction.scores, abs=1e-5)
        assert value["confidence"] == value["scores"][prediction.label]  # type: ignore[index]
    (best,) = json_lines(succeeded(command("classify", mine, query / "red" / "0.png", "--json", "--top", "2")))
    assert len(best["scores"]) == 2  # type: ignore[arg-type]


def test_classify_streams_more_images_than_fit_a_batch(mine: Path, tmp_path: Path) -> None:
    many = write_photos(tmp_path / "many", {"red": 70, "green": 70}, seed=2, size=(8, 8))
    printed = succeeded(command("classify", mine, many)).splitlines()
    assert [Path(line.split("\t")[0]) for line in printed] == sorted(many.rglob("*.png"), key=str)
    assert all(Path(line.split("\t")[0]).parent.name == line.split("\t")[1] for line in printed)


def test_a_bad_image_among_many_is_named_and_the_others_are_classified(mine: Path, query: Path) -> None:
    (query / "green" / "0.png").write_text("no image")
    result = command("classify", mine, query / "nowhere.png", query)
    errors = result.stderr.splitlines()
    assert result.exit_code == 1
    assert [line.startswith("Error: ") for line in errors] == [True, True]
    assert str(query / "nowhere.png") in errors[0]
    assert str(query / "green" / "0.png") in errors[1]
    assert len(result.stdout.splitlines()) == 11


def test_info_of_a_model_and_of_a_classifier(mine: Path) -> None:
    for path, kind in ((TINY, "meta-model"), (mine, "classifier")):
        said = succeeded(command("info", path))
        assert said.startswith(kind)
        assert "nothing: its features are means of pixels" in said
        assert "Apache-2.0" in said
        assert "90.00% +- 1.00% 3-way 1-shot" in said
        assert "embed.onnx" in said
        assert "self-check     passed: largest relative error" in said
        assert ("blå 2, green 3, red 1, yellow 2" in said) == (kind == "classifier")
        (value,) = json_lines(succeeded(command("info", path, "--json")))
        assert value["kind"] == kind
        assert value["entries"] == Bundle.open(path).sizes
        assert value["size"] == path.stat().st_size
        assert max(value["self_check"].values()) < 1e-4  # type: ignore[attr-defined]
        assert (value["classifier"] is None) == (kind == "meta-model")
        if kind == "classifier":
            assert value["classifier"]["labels"] == list(COUNTS)  # type: ignore[index]


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tiny.edge in the place of the model that comes with the package."""
    (tmp_path / "models").mkdir()
    shutil.copy(TINY, tmp_path / "models" / "characters.edge")
    monkeypatch.setattr(model_module, "MODELS", tmp_path / "models")


@pytest.mark.usefixtures("bundled")
def test_a_bundled_model_goes_by_its_name(photos: Path, query: Path, tmp_path: Path) -> None:
    assert succeeded(command("models")).startswith(f"characters  {TINY.stat().st_size / 1000:.0f} KB, anil")
    assert "characters.edge" in succeeded(command("info", "characters"))
    succeeded(command("adapt", photos, "-o", tmp_path / "a.edge"))
    assert Bundle.open(tmp_path / "a.edge").manifest.name == "tiny"
    assert "5-way" not in succeeded(command("evaluate", "characters", query, "--way", "4", "--episodes", "3"))
    assert "characters" in complaint(command("info", "letters"))


def test_without_bundled_models_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "MODELS", tmp_path)
    assert "No model comes with" in succeeded(command("models"))
    assert "neither a file nor a bundled model" in complaint(command("info", "characters"))


@pytest.mark.usefixtures("bundled")
def test_the_demo_shows_every_step_and_leaves_a_picture_and_a_classifier(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "demo"
    said = succeeded(command("demo", "--output", folder))
    assert set(tree(folder)) == {"contact-sheet.png", "sample-characters.edge"}
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert min(sheet.size) > 1000
    classifier = edge_adapt.load_classifier(folder / "sample-characters.edge")
    samples = Path(edge_adapt.__file__).parent / "samples" / "characters" / "query"
    (value,) = json_lines(succeeded(command("evaluate", folder / "sample-characters.edge", samples, "--json")))
    right = round(float(value["accuracy"]) * 120)  # type: ignore[arg-type]
    assert f"Accuracy: {right} of 120 query images right" in said
    assert f"{len(classifier.labels)} new classes from 60 support images" in said
    assert said.count(" ms") >= 4
    for text in ("contact-sheet.png", "sample-characters.edge", "edge-adapt adapt PHOTOS", "edge-adapt classify"):
        assert text in said
    assert all(f"   {label}" in said for label in classifier.labels)


def test_names_that_are_no_unicode_are_printed_and_not_fatal(mine: Path, query: Path) -> None:
    name = os.fsencode(query) + b"/\xff.png"
    try:
        (query / "red" / "0.png").rename(os.fsdecode(name))
    except OSError:
        pytest.skip("this file system takes Unicode only")
    run = subprocess.run(
        [sys.executable.encode(), b"-m", b"edge_adapt", b"classify", os.fsencode(mine), name, b"--provider", b"cpu"],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, b"")
    assert b".png\tred\t" in run.stdout


def test_a_reader_that_goes_away_is_no_error(mine: Path, tmp_path: Path) -> None:
    many = write_photos(tmp_path / "many", {"red": 130}, size=(8, 8))
    program = [sys.executable, "-m", "edge_adapt", "classify", str(mine), str(many), "--provider", "cpu"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_interrupt_is_said_in_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_module, "models", interrupt)
    result = command("models")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")
