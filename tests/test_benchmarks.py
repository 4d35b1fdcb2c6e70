"""The benchmarks themselves: what they compare is the same computation, and their arithmetic is right. Nothing is timed here."""

from __future__ import annotations

import functools
import importlib.util
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import accuracy, decoding, measuring, photo_sets, plain_heads, quantization, whole_process
from edge_adapt.runtime.contract import BATCH, HeadState
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.model import load_classifier, load_model
from tests.conftest import TINY

BENCHMARKS = Path(measuring.__file__).parent


@pytest.mark.parametrize("steps", [1, 10, 25])
@pytest.mark.parametrize("index", range(3))
def test_every_way_to_adapt_gives_what_the_graph_gives(index: int, steps: int) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks import adaptation

    task = adaptation.TASKS[index]
    features, labels = task.draw(seed=index)
    session = adaptation.graph_session(task.feature_size)
    graph = adaptation.graph_adapt(session, features, labels, task.n_way, steps)
    in_numpy = adaptation.numpy_adapt(features, labels, task.n_way, steps)
    assert adaptation.largest_difference(graph, in_numpy) <= adaptation.TOLERANCE
    for adapt in (adaptation.torch_adapt, adaptation.torch_adapt_by_autograd):
        tensors = adapt(torch.from_numpy(features), torch.from_numpy(labels), task.n_way, steps)
        weight, bias, losses = (tensor.numpy() for tensor in tensors)
        assert adaptation.largest_difference(graph, (weight, bias, losses)) <= adaptation.TOLERANCE


@pytest.mark.parametrize("of", ["ours", "higher", "vmap"])
def test_the_loops_of_meta_training_take_outer_steps(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if of == "higher":
        pytest.importorskip("higher")
    from benchmarks import meta_training
    from edge_adapt.methods.episodes import ImageSampler
    from edge_adapt.training import autotune
    from edge_adapt.training.compute import Execution

    monkeypatch.setattr(meta_training, "META_BATCH", 2)
    monkeypatch.setattr(autotune, "choose", lambda *_: Execution(1, bf16=False))
    monkeypatch.setattr(meta_training, "fused_where_faster", lambda execution, *_: execution)  # which compiles
    device = torch.device("cpu")
    makers: dict[str, Callable[..., tuple[Callable[[], None], str]]] = {
        "ours": meta_training.ours,
        "higher": meta_training.with_higher,
        "vmap": functools.partial(meta_training.with_vmap, bf16=True),
    }
    step, how = makers[of](ImageSampler(meta_training.dataset(classes=8), device), device, 1)
    step()
    assert "float" in how


def test_other_benchmarks_take_outer_steps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks import meta_training, second_order, supervised
    from edge_adapt.methods.episodes import ImageSampler
    from edge_adapt.training import autotune
    from edge_adapt.training.compute import Execution

    device = torch.device("cpu")
    monkeypatch.setattr(autotune, "choose", lambda *_: Execution(1, bf16=False))
    monkeypatch.setattr(second_order, "META_BATCH", 1)
    monkeypatch.setattr(supervised, "CONFIG", replace(supervised.CONFIG, meta_batch=1))
    episodic, _ = supervised.episodic(ImageSampler(supervised.dataset(), device), device)
    episodic()
    step, how = second_order.ours(ImageSampler(meta_training.dataset(classes=8), device), device, 1)
    step()
    assert "at once" in how


def test_the_budget_of_a_run_is_that_of_all_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from benchmarks import methods
    from edge_adapt.training.checkpoint import Checkpoint
    from edge_adapt.training.compute import Execution
    from edge_adapt.training.config import TrainingConfig

    def stage(iteration: int, seconds: float, **settings: Any) -> Checkpoint:
        return Checkpoint(TrainingConfig.of(**settings), "", Execution(1, bf16=False), iteration, seconds, {}, {}, [])

    stages = {
        "1-pretrain": stage(12_000, 3000, method="pretrain", batch_size=64),
        "2-episodes": stage(500, 600, n_way=20, n_shot=5, n_query=5, meta_batch=2),
        "3-head": stage(300, 60, method="head-only", meta_batch=4),
    }
    monkeypatch.setattr(methods, "stages_of", lambda run: list(stages))
    monkeypatch.setattr(methods, "load_checkpoint", stages.__getitem__)
    assert methods.budget("run") == (
        "61 min, 12,000 steps of 64 images, then 500 steps of 2 x 20 x (5 + 5), then 300 steps of 4 episodes of many kinds"
    )


def test_the_floors_answer_as_the_commands_do(photos: Path, tmp_path: Path) -> None:
    image, mine = str(photos / "bright" / "0.png"), tmp_path / "mine.edge"
    classifier = load_model(TINY).adapt({folder.name: sorted(folder.iterdir()) for folder in photos.iterdir()})
    classifier.save(mine)
    answer = _output("floor_classify.py", str(mine), image)
    assert answer.split("\t")[1] == load_classifier(mine).classify(image).label
    losses = classifier.adaptation.losses
    assert f"loss {losses[0]:.3f} to {losses[-1]:.3f}" in _output("floor_adapt.py", str(TINY), str(photos))


def test_equal_bundles_are_equally_fast_large_and_accurate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "ROUNDS", {1: 2, 3: 2})
    monkeypatch.setattr(quantization, "EPISODES", 5)
    shape = load_model(TINY).manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (30, shape.height, shape.width, shape.channels))
    data = ImageDataset("noise", pixels.astype(np.uint8), ("a", "b", "c"), np.array([0, 10, 20, 30]))
    costs = list(quantization.costs(TINY, TINY))
    assert [row[0] for row in costs] == [
        *("1 image, one thread", "3 images, one thread", "1 image, all threads", "3 images, all threads", "size")
    ]
    assert costs[-1][3] == "1.00"
    accuracies = list(quantization.accuracies(TINY, TINY, data))
    assert [(row[0], row[3]) for row in accuracies] == [
        ("3-way 1-shot", "+0.00 points"),
        ("3-way 5-shot", "+0.00 points"),
    ]


def _output(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_process_is_measured_and_its_failure_seen() -> None:
    seconds, mebibytes = whole_process.run([sys.executable, "-c", "pass"])
    _, more = whole_process.run([sys.executable, "-c", "bytearray(64 * 2**20)"])
    assert seconds > 0
    assert more - mebibytes == pytest.approx(64, abs=16)
    with pytest.raises(subprocess.CalledProcessError):
        whole_process.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_candidates_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    seconds = measuring.time_in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, calls=2)
    assert "".join(calls) == "aabb" + "bbaa" + "aabb"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_that_of_neighbours() -> None:
    drift = [1.0, 2, 4, 8]
    assert str(measuring.ratio([0.4 * value for value in drift], drift)) == "0.40 (0.40 to 0.40)"
    spread = measuring.ratio(range(11), [1] * 11)
    assert (spread.median, spread.low, spread.high) == (5, 1, 9)


def test_a_table_is_aligned_markdown() -> None:
    assert measuring.table(["a", "bc"], [["def", 1]]).splitlines() == ["| a   | bc |", "|-----|----|", "| def | 1  |"]


def test_the_machine_is_named_with_versions() -> None:
    line = measuring.machine("numpy", "no-such-distribution")
    assert f"numpy {np.__version__}" in line
    assert "no-such-distribution absent" in line
    assert "\n" not in line


def test_uneven_episodes_leave_every_other_class_one_shot() -> None:
    counts = 20
    data = ImageDataset(
        "numbers", np.zeros((8 * counts, 1, 1, 1), np.uint8), tuple("abcdefgh"), np.arange(0, 8 * counts + 1, counts)
    )
    for episode, is_few in accuracy.uneven_episodes(data, 6, 20):
        assert np.bincount(episode.support_labels).tolist() == [1, 19] * 3
        assert episode.query_labels.tolist() == list(range(6))
        assert is_few.tolist() == [True, False] * 3
        assert not set(episode.support) & set(episode.query)


def test_a_bundle_alone_and_in_a_batch_and_with_permuted_classes() -> None:
    graphs = load_model(TINY).graphs
    images = np.random.default_rng(0).integers(0, 256, (20 * 5, 8, 8, 3)).astype(np.uint8)
    data = ImageDataset("noise", images, tuple(map(str, range(20))), np.arange(0, 101, 5))
    difference, labels = accuracy.batch_difference(graphs, data)
    assert difference <= 1e-4
    assert labels == 0
    assert len(images) > BATCH
    embedded = accuracy.Embedded(accuracy.Head(graphs), accuracy.with_features(graphs, data), 3)
    assert accuracy.permutation_difference(embedded, 5, episodes=5) <= 1e-4


def test_the_picture_to_decode_is_a_file_of_the_size_wanted() -> None:
    image = decoding.picture(400, 300)
    data = decoding.jpeg_within(image, 25_000, 40_000)
    assert 25_000 <= len(data) <= 40_000
    with pytest.raises(SystemExit, match="no photo's size"):
        decoding.jpeg_within(image, 10, 20)
    full, reduced = (decoding.pixels(data, Preprocessing(10, 10, 3), reduced) for reduced in (False, True))
    assert 0 < np.abs(full.astype(int) - reduced).max() < 12


def test_a_small_image_becomes_a_large_one_that_looks_the_same() -> None:
    small = decoding.picture(40, 30)
    data = decoding.as_jpeg(small, quality=95)
    large = Image.open(io.BytesIO(decoding.enlarged(data, 300)))
    assert large.size == (400, 300)
    difference = np.asarray(large.resize(small.size, Image.Resampling.BOX)).astype(int) - np.asarray(small)
    assert (difference**2).mean() ** 0.5 < 10


SHARED = {"frozen_graph.py", "measuring.py", "photo_sets.py", "plain_heads.py"}
"""What several benchmarks import, and nobody runs."""


@pytest.mark.parametrize("script", sorted({path.name for path in BENCHMARKS.glob("*.py")} - SHARED))
def test_every_benchmark_says_how_it_is_run_and_is_documented(script: str) -> None:
    document = (BENCHMARKS.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"python benchmarks/{script}" in (BENCHMARKS / script).read_text(encoding="utf-8")
    assert f"benchmarks/{script}" in document


def test_a_start_from_zero_is_the_bundle_without_its_scale() -> None:
    pytest.importorskip("onnx")
    from benchmarks import steps
    from tests import reference
    from tests.data import make_tiny

    graphs = load_model(TINY, provider="cpu").graphs
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (6, graphs.manifest.feature_size)).astype(np.float32)
    labels = np.array([0, 0, 1, 1, 2, 2])
    zero = steps.FromZero(graphs)
    for count in (0, 3):
        state, losses = zero.adapt(features, labels, 3, count)
        weight, bias, expected = reference.adapt(features, labels, 3, count, **{**make_tiny.HEAD, "scale": None})
        np.testing.assert_allclose(state["weight"], weight, atol=1e-5)
        np.testing.assert_allclose(state["bias"], bias, atol=1e-5)
        np.testing.assert_allclose(losses, expected, atol=1e-5)


def test_data_of_the_benchmark_of_steps(photos: Path) -> None:
    pytest.importorskip("onnx")
    from benchmarks import steps
    from edge_adapt.runtime.data.dataset import load_dataset
    from edge_adapt.runtime.evaluation import Features

    assert steps.Source.parse("a.zip,support=train_*,query=test_*,classes=c.txt") == steps.Source(
        "a.zip", ("c.txt",), "train_*", "test_*"
    )
    (photos / "dark" / "2.png").rename(photos / "dark" / "test_2.png")
    data = load_dataset(photos, Preprocessing(8, 8, 3))
    features = Features(*np.arange(24, dtype=np.float32).reshape(2, 6, 2))
    fitting, of_them = steps.with_enough(data, features, steps.Source("", support="?.png"), 3)
    assert fitting.class_names == ("bright",)
    assert fitting.files == tuple(name for name in data.files if name.startswith("bright"))
    bright = [name.startswith("bright") for name in data.files]
    for ours, given in zip(of_them, features, strict=True):
        np.testing.assert_array_equal(ours, given[bright])


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
