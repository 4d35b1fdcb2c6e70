"""What train and evaluate do about the data: skip bad images, keep a cache, choose files by name, hold to a bundle's limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_adapt
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.command_line import complaint, forge, json_lines, succeeded, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY

EPISODES = ["--way", "3", "--query", "2", "--episodes", "5"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", {"red": 6, "green": 6, "yellow": 6})


@pytest.fixture
def spoilt(photos: Path) -> Path:
    """Three of the 18 images cannot be read."""
    (photos / "green" / "2.png").write_bytes(b"")
    (photos / "red" / "0.png").write_bytes(b"no image")
    (photos / "red" / "5.png").write_bytes((photos / "red" / "5.png").read_bytes()[:-300])
    return photos


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A classifier of red, green and yellow."""
    folder = write_photos(tmp_path / "support", {"red": 2, "green": 2, "yellow": 2}, seed=9)
    images = {label.name: sorted(label.iterdir()) for label in folder.iterdir()}
    edge_adapt.load_model(TINY).adapt(images).save(tmp_path / "mine.edge")
    return tmp_path / "mine.edge"


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Filled with the data that the command line passes to `train`, which does nothing."""
    pytest.importorskip("torch")
    passed: dict[str, Any] = {}

    def record(data: object, run: object, config: object, **others: object) -> None:
        passed.update(others, data=data)
        raise EdgeAdaptError("recorded.")

    monkeypatch.setattr("edge_adapt.cli.train_process.train", record)
    return passed


BAD = ("green/2.png", "red/0.png", "red/5.png")


def test_images_that_cannot_be_read_are_counted_and_named(spoilt: Path, mine: Path, tmp_path: Path) -> None:
    adapting: list[str | Path] = ["adapt", spoilt, "-o", tmp_path / "new.edge", "--model", TINY]
    commands: list[list[str | Path]] = [["evaluate", TINY, spoilt, *EPISODES], ["evaluate", mine, spoilt], adapting]
    for arguments in commands:
        sentence = complaint(command(*arguments))
        assert f"{spoilt}: 3 of 18 images cannot be read: {spoilt}/green/2.png is empty" in sentence
        assert all(f"{spoilt}/{name} " in sentence for name in BAD)
        assert sentence.endswith("; repair or remove them, or pass --skip-bad.")
    assert not (tmp_path / "new.edge").exists()


@pytest.mark.parametrize("model", [["--model", str(TINY)], []])
def test_adapt_leaves_them_out_where_that_is_asked_for(spoilt: Path, tmp_path: Path, model: list[str]) -> None:
    result = command("adapt", spoilt, "-o", tmp_path / "a.edge", "--skip-bad", *model)
    assert "3 classes, 15 images" in succeeded(result)
    assert result.stderr.count("skipping 3 of 18 images") == 1
    assert all(result.stderr.count(f"  {spoilt}/{name} ") == 1 for name in BAD)
    for name in BAD:
        (spoilt / name).unlink()
    succeeded(command("adapt", spoilt, "-o", tmp_path / "b.edge", *model))
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()
    edge_adapt.adapt(spoilt, model=model[1] if model else None, skip_bad=True).save(tmp_path / "c.edge")
    assert (tmp_path / "c.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()


@pytest.mark.parametrize("model", [["--model", str(TINY)], []])
def test_a_class_that_has_none_left_is_refused(spoilt: Path, tmp_path: Path, model: list[str]) -> None:
    for path in (spoilt / "yellow").iterdir():
        path.write_bytes(b"")
    result = command("adapt", spoilt, "-o", tmp_path / "a.edge", "--skip-bad", *model)
    assert result.exit_code == 1 and not (tmp_path / "a.edge").exists()
    assert f"Error: {spoilt}: no image of class 'yellow' can be read" in result.stderr


def test_one_image_left_of_each_class_is_enough(spoilt: Path, tmp_path: Path) -> None:
    for label in spoilt.iterdir():
        for path in sorted(label.iterdir())[1:5] + sorted(label.iterdir())[:1]:
            path.write_bytes(b"")
    (spoilt / "red" / "0.png").write_bytes((spoilt / "yellow" / "5.png").read_bytes())
    assert "no estimate" in succeeded(command("adapt", spoilt, "-o", tmp_path / "a.edge", "--skip-bad"))


def test_evaluate_skips_them_where_that_is_asked_for(spoilt: Path, mine: Path, tmp_path: Path) -> None:
    for model, options in ((TINY, EPISODES), (mine, [])):
        result = command("evaluate", model, spoilt, *options, "--skip-bad", "--json")
        (value,) = json_lines(succeeded(result))
        for name in ("green/2.png", "red/0.png", "red/5.png"):
            assert f"  {spoilt}/{name} " in result.stderr
        assert "skipping 3 of 18 images" in result.stderr
        whole = write_photos(tmp_path / f"whole for {Path(model).stem}", {"red": 6, "green": 6, "yellow": 6})
        for name in ("green/2.png", "red/0.png", "red/5.png"):
            (whole / name).unlink()
        (without,) = json_lines(succeeded(command("evaluate", model, whole, *options, "--json")))
        assert value == without


def test_a_class_of_which_no_image_can_be_read_is_left_out_of_the_table(photos: Path, mine: Path) -> None:
    for path in (photos / "red").iterdir():
        path.write_bytes(b"")
    said = succeeded(command("evaluate", mine, photos, "--skip-bad"))
    assert "of 12 images right" in said and "red" not in said.split("class", 1)[1].split("confusions")[0]
    result = command("evaluate", TINY, photos, *EPISODES, "--skip-bad")
    assert "Error: " in result.stderr and "class 'red' has 0 images where an episode takes 2" in result.stderr


def test_train_skips_and_caches_too(spoilt: Path, tmp_path: Path, passed: dict[str, Any]) -> None:
    assert "3 of 18 images cannot be read" in complaint(command("train", spoilt, "-o", "x"))
    for option in ([], ["--cache", str(tmp_path / "cache")]):
        result = command("train", spoilt, "-o", "x", "--way=3", "--skip-bad", *option)
        assert result.stderr.endswith("Error: recorded.\n") and "skipping 3 of 18 images" in result.stderr
        assert passed["data"].counts.tolist() == [5, 4, 6]
        assert passed["data"].description == "photos: 3 classes, 15 images"
        assert isinstance(passed["data"].images, np.memmap) == bool(option)


def test_evaluate_through_a_cache(photos: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(TINY), str(photos), *EPISODES, "--json"]
    plain = succeeded(command(*arguments))
    for said in ("caching the pixels", "taking the pixels from the cache"):
        result = command(*arguments, "--cache", tmp_path / "cache")
        assert succeeded(result) == plain
        (cache,) = (tmp_path / "cache").glob("*.npy")
        assert said in result.stderr and str(cache) in result.stderr


def test_a_cache_is_not_silently_ignored_for_a_classifier(mine: Path, photos: Path, tmp_path: Path) -> None:
    for option in (["--cache", str(tmp_path)], ["--support-files", "*"], ["--query-files", "*"]):
        assert option[0] in complaint(command("evaluate", mine, photos, *option), status=2)


def test_file_names_choose_support_and_queries(photos: Path) -> None:
    for label in photos.iterdir():
        for path in label.iterdir():
            path.rename(label / f"{'train' if path.stem in '012' else 'test'}_{path.name}")
    options = ["--support-files", "train_*", "--query-files", "test_*"]
    (value,) = json_lines(succeeded(command("evaluate", TINY, photos, *EPISODES, *options, "--json")))
    assert (value["support_files"], value["query_files"]) == ("train_*", "test_*")
    data = edge_adapt.load_dataset(photos, edge_adapt.load_model(TINY).manifest.preprocessing)
    result = edge_adapt.evaluate(
        TINY, data, EvaluationProtocol(n_way=3, n_query=2, episodes=5, support_files="train_*", query_files="test_*")
    )
    assert result.accuracy == value["accuracy"]
    assert "--shot" in complaint(command("evaluate", TINY, photos, *EPISODES, *options, "--shot", "4"))
    sentence = complaint(command("evaluate", TINY, photos, *EPISODES, "--query-files", "tset_*"))
    assert "class 'green' has no file that --query-files matches" in sentence


@pytest.mark.parametrize(("limit", "options"), [("max_ways", []), ("max_support", ["--shot", "2"])])
def test_the_limits_of_a_bundle_hold(photos: Path, tmp_path: Path, limit: str, options: list[str]) -> None:
    def change(data: bytes) -> bytes:
        return json.dumps(json.loads(data) | {limit: 2 if limit == "max_ways" else 5}).encode()

    model = forge(TINY, tmp_path / "limited.edge", "manifest.json", change)
    sentence = complaint(command("evaluate", model, photos, *EPISODES, *options))
    assert "takes at most 2 classes; choose a smaller --way than 3" in sentence or (
        "takes at most 5 support images, and 3-way 2-shot episodes have 6; choose a smaller --way or --shot" in sentence
    )
    data = edge_adapt.load_dataset(photos, edge_adapt.load_model(TINY).manifest.preprocessing)
    with pytest.raises(EdgeAdaptError, match="takes at most"):
        edge_adapt.evaluate(model, data, EvaluationProtocol(n_way=3, n_shot=2))
    succeeded(command("evaluate", model, photos, "--way=2", "--shot=2", "--query=2", "--episodes=2"))


def test_wrong_sizes_are_not_taken_from_the_cache_of_another_model(photos: Path, tmp_path: Path) -> None:
    small = edge_adapt.load_dataset(photos, Preprocessing(4, 4, 3), cache=tmp_path / "cache")
    succeeded(command("evaluate", TINY, photos, *EPISODES, "--cache", tmp_path / "cache"))
    assert small.images.shape[1:] == (4, 4, 3) and len(list((tmp_path / "cache").glob("*.npy"))) == 2
