"""The benchmarks themselves: what they compare is the same computation, and their arithmetic is right. Nothing is timed here."""

from __future__ import annotations

import functools
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import accuracy, all_layers, decoding, measuring, quantization, whole_process
from edge_adapt.runtime.contract import BATCH
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.evaluation import embed_dataset
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


def test_equal_bundles_adapt_equally_in_all_layers() -> None:
    models = {name: load_model(TINY, "cpu", 1).graphs for name in ("last", "every")}
    shape = models["last"].manifest.preprocessing
    rows = list(all_layers.costs(models, rounds=2))
    assert [row[0] for row in rows] == [
        *("adapt, 5-way 1-shot, 5 steps", "adapt, 5-way 5-shot, 5 steps", "embed and predict, one image")
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (40, shape.height, shape.width, shape.channels))
    data = ImageDataset("noise", pixels.astype(np.uint8), tuple("abcde"), np.arange(6) * 8)
    for what, *found in all_layers.accuracies(models, data, episodes=3):
        assert what.startswith("noise, 5-way ") and found[:2] == found[2:]


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
    embedded = accuracy.Embedded(graphs, data, embed_dataset(graphs, data))
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


SHARED = {"frozen_graph.py", "measuring.py", "photo_sets.py", "plain_heads.py", "streaming_heads.py"}
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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and chooses cores")
def test_a_service_under_load_is_measured_and_a_wrong_answer_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    from benchmarks import service
    from tests.served import png, serving
    from tests.tiny_model import photos

    monkeypatch.setattr(service, "ALONE_SECONDS", 0.05)
    path = tmp_path / "mine.edge"
    taught = photos({"a": 2, "b": 2})
    load_model(TINY, "cpu").adapt({service.OLD: taught["a"], "b": taught["b"]}).save(path)
    images = [png(image) for image in photos({"a": 2}, seed=5)["a"]]
    row = service.measure(path, "tiny", images, 1, 0.1)
    answers, edits = str(row[1]).split(", ")
    assert int(answers.replace(",", "")) > 10 and int(edits) > 1
    right = service.expected_answers(load_classifier(path, "cpu", threads=1), images)
    with serving(path) as client:
        assert not service.load(client.port, images, right, 0.3, None).wrong
        assert service.load(client.port, images, right[::-1], 0.3, None).wrong
