"""The benchmark of classes that come one after another: its streams, its figures and what it compares."""

from __future__ import annotations

import sys
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import continual
from benchmarks import streaming_heads as heads
from benchmarks.continual import Experience, Outcome
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY


def stream_of(sizes: list[int], size: int, shots: int = 4, spread: float = 0.1) -> list[Experience]:
    """Clusters, `sizes` of them at a time."""
    random = np.random.default_rng(0)
    centres = 3 + random.standard_normal((sum(sizes), size))
    stream, first = [], 0
    for count in sizes:
        labels = np.arange(first, first + count).repeat(shots)

        def drawn(labels: NDArray[np.int64] = labels) -> NDArray[np.float32]:
            return (centres[labels] + spread * random.standard_normal((len(labels), size))).astype(np.float32)

        stream.append(Experience(drawn(), labels, drawn(), labels))
        first += count
    return stream


def together(stream: list[Experience]) -> Experience:
    parts = zip(*((of.shots, of.labels, of.queries, of.query_labels) for of in stream), strict=True)
    return Experience(*(np.concatenate(part) for part in parts))


def learned(learner: heads.Streaming, stream: list[Experience]) -> heads.Streaming:
    for experience in stream:
        learner.learn(experience.shots, experience.labels)
    return learner


def test_figures_are_those_of_avalanche() -> None:
    right = np.array([[8, 0, 0], [6, 10, 0], [4, 9, 5]])
    outcome = Outcome(right, np.array([10, 20, 10]), (1.0, 2.0, 3.0), 5)
    np.testing.assert_allclose(outcome.stream_accuracy, [0.8, 16 / 30, 18 / 40])
    assert outcome.forgetting == pytest.approx(((0.8 - 0.4) + (0.5 - 0.45)) / 2)
    assert outcome.of_base_and_new == (0.4, 14 / 30)
    cells = ["80.0", "45.0", "59.4", "40.0 / 46.7", "22.5", "2500.0 ms", "0.00 MB"]
    assert continual.row(outcome) == cells


@pytest.mark.parametrize("make", [heads.NearestClassMean, heads.StreamingLDA, lambda: heads.RandomFeatures(50)])
def test_what_adds_up_learns_from_a_stream_what_it_learns_at_once(make: type[heads.Streaming]) -> None:
    stream = stream_of([5, 2, 3], 6, spread=1.0)
    whole = together(stream)
    one_by_one, at_once = learned(make(), stream), learned(make(), [whole])
    if isinstance(one_by_one, heads.RandomFeatures) and isinstance(at_once, heads.RandomFeatures):
        at_once = heads.RandomFeatures(50)  # whose penalty was chosen on other shots
        at_once.learn(stream[0].shots, stream[0].labels)
        at_once.learn(*(np.concatenate([getattr(of, name) for of in stream[1:]]) for name in ("shots", "labels")))
    agree = one_by_one.predict(whole.queries) == at_once.predict(whole.queries)
    assert agree.mean() >= 0.95 and one_by_one.nbytes == at_once.nbytes


def test_lda_is_that_of_the_covariance_around_the_means() -> None:
    stream = stream_of([4, 3], 5, spread=1.0)
    whole = together(stream)
    means = np.stack([whole.shots[whole.labels == label].mean(0) for label in range(7)]).astype(np.float64)
    around = whole.shots - means[whole.labels]
    covariance = around.T @ around / len(around)
    shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / 5 * np.eye(5)
    inverse = np.linalg.inv(shrunk)
    distances = np.array([[(q - mean) @ inverse @ (q - mean) for mean in means] for q in whole.queries])
    np.testing.assert_array_equal(learned(heads.StreamingLDA(), stream).predict(whole.queries), distances.argmin(1))


def test_naive_steps_learn_and_forget() -> None:
    outcome = continual.run(heads.NaiveSteps(), stream_of([4, 4], 16))
    assert outcome.right[0, 0] == outcome.counts[0] and outcome.right[1, 1] == outcome.counts[1]
    assert outcome.right[1, 0] < outcome.counts[0] / 2


def test_adding_in_a_loop_is_adapting_once_and_what_the_graph_gives() -> None:
    model = load_model(TINY, "cpu", 1)
    stream = stream_of([3, 2, 2], model.manifest.feature_size)
    ours, graph = heads.Ours(model), heads.OursBeyondTheLimit(model)
    outcomes = [continual.run(learner, stream) for learner in (ours, graph)]
    assert ours.is_that_of_adapting_once()
    np.testing.assert_array_equal(outcomes[0].right, outcomes[1].right)
    assert outcomes[0].nbytes == outcomes[1].nbytes > together(stream).shots.nbytes
    ours._shots["00000"] = ours._shots["00000"][1:]
    assert not ours.is_that_of_adapting_once()


def images(folder: Path, classes: dict[str, list[str]]) -> None:
    random = np.random.default_rng(0)
    for number, (label, names) in enumerate(classes.items()):
        (folder / label).mkdir(parents=True)
        for name in names:
            pixels = (random.integers(0, 60, (12, 12, 3)) + 20 * number % 190).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / name)


def test_the_command_on_tiny_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    labels = [f"n{number:02d}" for number in range(12)]
    images(tmp_path / "mini", {label: [f"{label}{n}.png" for n in range(8)] for label in labels})
    images(tmp_path / "characters", {f"c{n:02d}": [f"{m}.png" for m in range(7)] for n in range(30)})
    lists = tmp_path / "lists"
    lists.mkdir()
    rows = [f"{label}{n}.png,{label}" for label in reversed(labels) for n in (6, 7)]
    (lists / "test.csv").write_text("\n".join(["filename,label", *rows]) + "\n")
    for session in range(1, 10):
        of_session = labels[:4] if session == 1 else [labels[session + 2]]
        lines = [f"MINI/train/{label}/{label}{n}.png" for label in of_session for n in (3, 1, 2, 0, 4)]
        (lists / f"session_{session}.txt").write_text("\n".join(lines))
    (tmp_path / "base.txt").write_text("\n".join(f"c{n:02d}" for n in range(10)))
    (tmp_path / "new.txt").write_text("\n".join(f"c{n:02d}" for n in range(10, 30)))

    sessions = continual.mini_imagenet(tmp_path / "mini", lists, 2)
    assert [len(session) for session in sessions] == [4, *[1] * 8]
    shots, queries = sessions[0][1]
    assert [Path(file.name).name for file in shots] == ["n013.png", "n011.png"] and len(sessions[1][0][0]) == 5
    assert [Path(file.name).name for file in queries] == ["n016.png", "n017.png"]

    monkeypatch.setattr(continual, "with_one_thread", lambda: None)
    monkeypatch.setattr(continual, "load_model", lambda *_, **__: load_model(TINY, "cpu", 1))
    monkeypatch.setattr(continual, "OF_CHARACTERS", 10)
    monkeypatch.setattr(heads.RandomFeatures, "__init__", partialmethod(heads.RandomFeatures.__init__, 50))
    options = ["--mini-imagenet", tmp_path / "mini", "--lists", lists, "--model", TINY, "--base-shots", 2]
    options += ["--omniglot", tmp_path / "characters", "--base", tmp_path / "base.txt"]
    options += ["--classes", tmp_path / "new.txt", "--plot", tmp_path / "plot.png"]
    monkeypatch.setattr(sys, "argv", ["continual.py", *map(str, options)])
    continual.main()
    said = capsys.readouterr().out
    assert "mini-ImageNet: 12 classes in 9 experiences, of 8, 5, 5, 5, 5, 5, 5, 5, 5 shots" in said
    assert "Omniglot, within the runtime's limit: 20 classes in 2 experiences" in said
    assert "Omniglot, on the base characters: 30 classes in 10 experiences" in said
    assert said.count("bit for bit: True") == 3 and said.count("| streaming LDA ") == 3
    assert Image.open(tmp_path / "plot.png").width == 1500
