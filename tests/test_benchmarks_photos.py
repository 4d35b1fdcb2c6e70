"""The benchmarks on photos: on the sets that have enough of them, beside frozen extractors and plain heads."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import photo_sets, plain_heads
from edge_adapt.runtime.contract import HeadState
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY


@pytest.fixture
def photo_zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two development sets and GroceryStore: three classes by brightness, three train and test images each."""
    chosen = photo_sets.PhotoSet("coins", True, "train_*", "test_*")
    monkeypatch.setattr(photo_sets, "DEVELOPMENT", (chosen, photo_sets.PhotoSet("fish")))
    random = np.random.default_rng(0)
    for name in ("coins", "fish", "grocery"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("SOURCE.txt", "where it is from")
            for level in (40, 120, 200):
                for image in ("train_1", "train_2", "train_3", "test_1", "test_2", "test_3"):
                    pixels = random.integers(level - 30, level + 30, (8, 8, 3)).astype(np.uint8)
                    file = io.BytesIO()
                    Image.fromarray(pixels).save(file, "png")
                    archive.writestr(f"{level}/{image}.png", file.getvalue())
    return tmp_path


@pytest.fixture
def regression(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class means in the place of logistic regression where scikit-learn, which nothing else here needs, is not installed."""
    if not importlib.util.find_spec("sklearn"):
        stand_in = plain_heads.LogisticRegression
        monkeypatch.setattr(stand_in, "__init__", lambda self, embed, c: setattr(self, "embed", embed))
        for verb in ("adapt", "predict"):
            monkeypatch.setattr(stand_in, verb, getattr(plain_heads.ClassMeans, verb))


@pytest.mark.usefixtures("regression")
def test_photos_are_measured_on_all_sets_and_beside_frozen_extractors(
    photo_zips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    from benchmarks import photos

    monkeypatch.setattr(photos, "N_WAY", 2)
    monkeypatch.setattr(photos, "SHOTS", (1, 3))
    monkeypatch.setattr(photos, "WIDE", (3, 2))
    monkeypatch.setattr(photos, "ROUNDS", 2)
    model, extractor = photo_zips / "tiny.edge", photo_zips / "extractor.onnx"
    model.write_bytes(TINY.read_bytes())
    extractor.write_bytes(load_model(TINY).graphs.bundle.graph("embed.onnx"))
    bundles, baselines = [photos.bundle(str(model))], [photos.frozen(f"theirs={extractor}")]
    lengths = np.linalg.norm(baselines[0].embed(np.full((2, 8, 8, 3), 9, np.uint8)), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)

    sets = photo_sets.find(str(photo_zips), str(photo_zips / "grocery.zip"))
    photos.report(bundles, baselines, sets, 5, record=True)
    shown = capsys.readouterr().out
    assert re.findall(r"\d-way \d-shot", shown) == ["2-way 1-shot", "2-way 3-shot", "3-way 2-shot"]
    headers = [
        re.split(r" *\| *", line)[1:-1]
        for line in shown.splitlines()
        if re.match(r"\| (model|\*\*tiny\*\* less)", line)
    ]
    means = ["mean", "to choose on", "to report"]
    assert headers == [
        *(["model", "coins", "fish", "GroceryStore", *means], ["**tiny** less", *means, "at worst"]) * 2,
        *(["model", "GroceryStore"], ["**tiny** less", "at worst"]),
    ]
    recorded = [entry for entry in load_model(model).manifest.accuracy if entry.data == "GroceryStore"]
    assert [(entry.n_way, entry.n_shot, entry.episodes) for entry in recorded] == [(2, 1, 5), (2, 3, 5), (3, 2, 5)]
    assert all(entry.accuracy > 0.9 for entry in recorded)

    photos.report_mini_imagenet(bundles, replace(photo_sets.MINI_IMAGENET, path=sets[1].path), 5, record=False)
    assert "mini-ImageNet test: percent, 5 episodes" in capsys.readouterr().out
    rows = photos.latency_table([*bundles, *baselines], baselines[0]).splitlines()[2:]
    assert [row.split()[1] for row in rows] == ["tiny", "theirs"]
    assert "1.00 (1.00 to 1.00)" in rows[1]


def test_differences_of_accuracies_are_meant_over_sets_and_worst_where_they_are_least() -> None:
    pytest.importorskip("onnx")
    from benchmarks import photos
    from edge_adapt.runtime.evaluation import Evaluation

    sets = [photo_sets.PhotoSet("a", True), photo_sets.PhotoSet("b"), photo_sets.PhotoSet("c")]
    results = {
        name: {
            data.name: Evaluation(accuracy, 0, EvaluationProtocol(episodes=1))
            for data, accuracy in zip(sets, row, strict=True)
        }
        for name, row in {"ours": (0.5, 0.6, 0.7), "theirs": (0.4, 0.65, 0.5)}.items()
    }
    row = photos.difference_table(results, "ours", ["theirs"], sets).splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["theirs", "+8.33", "+10.00", "+7.50", "-5.00 (b)"]


def test_a_trajectory_of_fish_is_on_one_side() -> None:
    fish = next(data for data in photo_sets.DEVELOPMENT if data.name == "fish4k")
    assert fish.support and fish.query
    for trajectory, number in np.random.default_rng(0).integers(0, 10**12, (100, 2)):
        sides = {
            (fnmatchcase(name, fish.support), fnmatchcase(name, fish.query))
            for name in (f"fish_{trajectory:012}_{shot % 10**5:05}.jpg" for shot in (number, number + 1))
        }
        assert sides in ({(True, False)}, {(False, True)})


def test_a_development_set_that_is_missing_is_named(photo_zips: Path) -> None:
    (photo_zips / "fish.zip").unlink()
    with pytest.raises(SystemExit, match=r"fish\.zip: there is no such file"):
        photo_sets.find(str(photo_zips), None)
    assert [data.name for data in photo_sets.find(None, "a.zip")] == ["GroceryStore"]


def test_plain_heads_are_those_that_they_are_called_after(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 2, 2])
    features, queries = (random.normal(0, 1, (count, 4)).astype(np.float32) for count in (6, 50))
    means = plain_heads.ClassMeans(lambda images: features)
    answers = means.predict(queries, means.adapt(features, labels, 3, 0)[0]).argmax(axis=1)
    distances = [np.linalg.norm(queries - features[labels == label].mean(axis=0), axis=1) for label in range(3)]
    np.testing.assert_array_equal(answers, np.argmin(distances, axis=0))
    if importlib.util.find_spec("sklearn"):
        from sklearn.linear_model import LogisticRegression

        regression = plain_heads.LogisticRegression(lambda images: features, 10)
        for n_way in (2, 3):
            some = labels < n_way
            answers = regression.predict(queries, regression.adapt(features[some], labels[some], n_way, 0)[0]).argmax(1)
            expected = LogisticRegression(C=10).fit(features[some], labels[some]).predict(queries)
            np.testing.assert_array_equal(answers, expected)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SystemExit, match="pip install scikit-learn"):
        plain_heads.LogisticRegression(lambda images: features, 10)


@pytest.mark.usefixtures("regression")
def test_heads_are_compared_on_the_sets_that_have_the_classes_and_images(
    photo_zips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    from benchmarks import heads

    graphs = load_model(TINY, provider="cpu").graphs
    sets = photo_sets.find(str(photo_zips), None)
    results = heads.over_sets(graphs, sets, shots=[1, 5], ways=[2, 4, 0], episodes=3)
    assert {setting: set(entries) for setting, entries in results.items()} == {
        **{(n_way, 1): {"coins", "fish"} for n_way in (2, 0)},
        **{(n_way, 5): {"fish"} for n_way in (2, 0)},  # of coins there are three images to learn from
    }
    columns = ["no steps", "3 steps", "50 steps", "class means", "LR, C = 1", "LR, C = 10", "LR, C = 100"]
    assert list(results[2, 1]["coins"]) == columns
    heads.report(graphs, results)
    assert "all" in capsys.readouterr().out


def test_the_best_regression_is_that_of_the_mean_and_class_means_count_at_worst() -> None:
    pytest.importorskip("onnx")
    from benchmarks import heads

    names = ("3 steps", "class means", "LR, C = 1", "LR, C = 10")
    rows = {"a": (80.0, 70.0, 90.0, 60.0), "b": (60.0, 61.0, 50.0, 75.0)}
    entries = {data: dict(zip(names, row, strict=True)) for data, row in rows.items()}
    shown = heads.summary(entries, "3 steps")
    assert shown == ["70.00", "65.50", "70.00", "67.50", "+0.00 (LR, C = 1)", "-1.00 (b)"]


class _Diverging:
    """A head whose loss goes up or whose weights overflow, in turn, and every third time neither."""

    def __init__(self) -> None:
        self.outcomes: Iterator[tuple[float, float]] = iter([(1.0, 2.0), (np.inf, 0.0), (1.0, 0.0)])

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError

    predict: Any = None

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        weight, loss = next(self.outcomes)
        return {"weight": np.array([weight])}, np.array([1.0, *[loss] * (steps - 1)], np.float32)


def test_support_sets_that_diverge_are_told() -> None:
    pytest.importorskip("onnx")
    from benchmarks import heads

    drawn = list(heads.hostile_support_sets(6, 12))
    for support_set in drawn:
        assert support_set.features.shape == (len(support_set.labels), 6)
        assert np.isfinite(support_set.features).all()
        counts = np.bincount(support_set.labels)
        assert 2 <= support_set.n_way == len(counts) <= 100
        assert 1 <= counts.min() <= counts.max() <= 20
    told = list(heads.diverging(_Diverging(), iter(drawn[:3])))
    assert [row[3:] for row in told] == [["2", "yes"], ["0", "no"]]
    graphs = load_model(TINY).graphs
    assert not list(heads.diverging(graphs, heads.hostile_support_sets(graphs.manifest.feature_size, 2)))
