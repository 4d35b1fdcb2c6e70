"""From a training run to a bundle, and back to the model that was trained."""

from __future__ import annotations

import dataclasses
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch
from torch import Tensor, nn

import edge_adapt
from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.bundles.provenance import Provenance
from edge_adapt.export.bundle import record_accuracy
from edge_adapt.export.gates.parity import Comparison
from edge_adapt.export.gates.precision import Precision
from edge_adapt.export.heads.gradient import GradientHeadParameters, gradient_head_graphs
from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.bundle.bundle import Accuracy, Bundle
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import Evaluation
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.self_check import self_check
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner, load_sample
from tests.command_line import tree
from tests.reference import relative_difference
from tests.training_runs import Small, train

Configure = Callable[..., TrainingConfig]


def images_of(data: ImageDataset, label: int, numbers: range) -> list[np.ndarray]:
    """Some images of a class, as arrays."""
    return [data.images[data.starts[label] + number] for number in numbers]


def test_the_bundle_says_what_it_is(exported_bundle: Path, trained_run: Path, tiny_config: Configure) -> None:
    bundle = Bundle.open(exported_bundle)
    bundle.verify()
    manifest = bundle.manifest
    assert not bundle.is_adapted
    assert (manifest.name, manifest.method, manifest.task) == ("gratings", "anil", "classification")
    assert manifest.preprocessing == tiny_config().preprocessing
    assert (manifest.feature_size, manifest.default_steps, manifest.head_state) == (64, 3, ("weight", "bias"))
    assert (manifest.trained_on, manifest.license) == ("drawn gratings", "Apache-2.0")
    assert (manifest.max_ways, manifest.max_support) == (None, None)
    assert exported_bundle.stat().st_size < 600_000


def test_the_file_says_nothing_of_where_it_was_made(exported_bundle: Path, trained_run: Path) -> None:
    data = exported_bundle.read_bytes()
    for marker in (
        str(Path(__file__).parents[2]),
        str(trained_run),
        "site-packages",
        ".py",
        "pytorch",
        "/tmp",
        "Users",
    ):
        assert marker.encode() not in data, marker


def test_the_bundle_passes_its_own_golden_vectors(exported_bundle: Path) -> None:
    errors = self_check(Graphs(Bundle.open(exported_bundle), "cpu"))
    assert set(errors) == {"features", "logits"} and max(errors.values()) < 1e-5


def test_the_bundle_classifies_as_pytorch_does(
    exported_bundle: Path, trained_run: Path, new_classes: ImageDataset
) -> None:
    in_torch = LearnerModel(load_learner(trained_run)[0], torch.device("cpu"))
    graphs = Graphs(Bundle.open(exported_bundle), "cpu")
    support = np.concatenate([images_of(new_classes, label, range(1 + 2 * label)) for label in range(5)])
    labels = np.repeat(np.arange(5), [1, 3, 5, 7, 9])
    for steps in (0, 1, 3, 5, 50):
        ours, _ = graphs.adapt(graphs.embed(support), labels, 5, steps)
        theirs, _ = in_torch.adapt(in_torch.embed(support), labels, 5, steps)
        logits = graphs.predict(graphs.embed(new_classes.images), ours)
        expected = in_torch.predict(in_torch.embed(new_classes.images), theirs)
        assert relative_difference(logits, expected) <= 1e-4
        assert np.array_equal(logits.argmax(1), expected.argmax(1))


def test_the_gate_reports_what_it_compared(trained_run: Path, tmp_path: Path, exported_bundle: Path) -> None:
    comparisons: list[Comparison] = []
    export_bundle(
        trained_run, tmp_path / "gratings.edge", provenance=Provenance(license="Apache-2.0"), report=comparisons.append
    )
    assert len(comparisons) == 2 + 6 * 4 + 1 and all(comparison.passed for comparison in comparisons)
    assert (tmp_path / "gratings.edge").read_bytes() == exported_bundle.read_bytes()


def test_a_bundle_that_disagrees_with_pytorch_is_not_written(
    trained_run: Path, exported_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.edge"
    path.write_bytes(b"the old file")
    embed = Bundle.open(exported_bundle).graph("embed.onnx")
    monkeypatch.setattr("edge_adapt.bundles.from_run.embed_graph", lambda *_: embed)

    def with_another_pull(parameters: GradientHeadParameters, feature_size: int) -> HeadGraphs:
        return gradient_head_graphs(dataclasses.replace(parameters, pull=0.9), feature_size)

    monkeypatch.setattr("edge_adapt.networks.gradient_head.gradient_head_graphs", with_another_pull)
    with pytest.raises(EdgeAdaptError, match=r"^the bundle disagrees with PyTorch and is not written: .*\.$"):
        export_bundle(trained_run, path)
    assert path.read_bytes() == b"the old file"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.edge"]


def test_measured_accuracies_are_added_and_nothing_else_changes(exported_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.edge"
    path.write_bytes(exported_bundle.read_bytes())
    over = EvaluationProtocol(n_way=5, n_shot=1, n_query=15, episodes=600)
    for accuracy in (0.5, 0.91):  # the second takes the first's place
        record_accuracy(path, "gratings", [Evaluation(accuracy, 0.004, over)])
    assert Bundle.open(path).manifest.accuracy == (Accuracy("gratings", 5, 1, 15, 600, 0.91, 0.004),)
    with zipfile.ZipFile(path) as changed, zipfile.ZipFile(exported_bundle) as before:
        assert changed.namelist() == before.namelist()
        for name in changed.namelist()[1:]:
            assert changed.read(name) == before.read(name)


@pytest.mark.parametrize(
    ("method", "head"), [pytest.param("maml", "prototype", marks=pytest.mark.slow), ("fomaml", "zero")]
)
def test_every_method_and_head_exports_a_last_layer_that_adapts(
    method: str,
    head: str,
    training_data: ImageDataset,
    new_classes: ImageDataset,
    tiny_config: Configure,
    tmp_path: Path,
) -> None:
    config = tiny_config(method=method, initialization=head, iterations=4, n_way=3, n_query=1, steps=2)
    train(training_data, tmp_path / "run", config, backbone=Small(), device="cpu", micro_batch=1)
    export_bundle(tmp_path / "run", tmp_path / "model.edge", backbone=Small())
    model = edge_adapt.load_model(tmp_path / "model.edge", "cpu")
    assert model.manifest.method == method
    classifier = model.adapt({str(label): images_of(new_classes, label, range(5)) for label in (0, 4)}, steps=20)
    assert classifier.adaptation.losses[-1] < classifier.adaptation.losses[0]


class Own(nn.Module):
    """A backbone of one's own, with BatchNorm and in colour."""

    def __init__(self, features: int = 24) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2), nn.BatchNorm2d(16), nn.SiLU(), nn.MaxPool2d(3), nn.Flatten()
        )
        self.last = nn.Linear(16 * 16, features)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.last(self.layers(images))
        return features


def test_a_module_of_ones_own_goes_the_whole_way(
    training_data: ImageDataset, new_classes: ImageDataset, tiny_config: Configure, tmp_path: Path
) -> None:
    colour = [
        dataclasses.replace(data, images=np.repeat(data.images, 3, axis=-1)) for data in (training_data, new_classes)
    ]
    config = tiny_config(grayscale=False, iterations=60)
    torch.manual_seed(0)
    run, path = tmp_path / "run", tmp_path / "own.edge"
    checkpoint = train(colour[0], run, config, backbone=Own(), device="cpu", micro_batch=1)
    assert checkpoint.config.backbone == "custom"
    export_bundle(run, path, backbone=Own())
    protocol = EvaluationProtocol(n_shot=5, n_query=8, episodes=60)
    in_torch = edge_adapt.evaluate(run, colour[1], protocol, backbone=Own(), provider="cpu")
    in_bundle = edge_adapt.evaluate(path, colour[1], protocol, provider="cpu")
    assert in_bundle.accuracy == pytest.approx(in_torch.accuracy, abs=0.002)
    assert in_bundle.accuracy > 0.5  # of five ways; the same module untrained is at 0.3
    model = edge_adapt.load_model(path, "cpu")
    assert model.manifest.feature_size == 24
    # Any image will do, whatever its size and mode.
    photos = {
        str(label): [Image.fromarray(image[..., 0]).resize((61, 40)) for image in images_of(colour[1], label, range(4))]
        for label in (0, 3, 6)
    }
    classifier = model.adapt(photos)
    classifier.save(tmp_path / "mine.edge")
    again = edge_adapt.load_classifier(tmp_path / "mine.edge", "cpu")
    assert sum(again.classify(photo).label == label for label, of_label in photos.items() for photo in of_label) >= 9
    for backbone in (None, Own(features=8)):
        with pytest.raises(
            EdgeAdaptError, match=r"pass (an instance of the module that was trained|the module itself)"
        ):
            export_bundle(run, tmp_path / "again.edge", backbone=backbone)
    assert not (tmp_path / "again.edge").exists()


def test_a_class_of_one_image_is_no_obstacle(
    training_data: ImageDataset, tiny_config: Configure, tmp_path: Path
) -> None:
    keep = [0, *range(10, len(training_data.images))]
    data = dataclasses.replace(
        training_data, images=training_data.images[keep], starts=np.maximum(training_data.starts - 9, 0)
    )
    assert data.counts.tolist() == [1, *[10] * 15]
    config = tiny_config(method="pretrain", iterations=2, batch_size=8)
    train(data, tmp_path / "run", config, backbone=Small(), device="cpu", micro_batch=8)
    export_bundle(tmp_path / "run", tmp_path / "model.edge", backbone=Small())
    assert "grating 00" not in load_sample(tmp_path / "run").class_names


def test_what_a_bundle_is_made_from_is_not_replaced_by_it(trained_run: Path, tmp_path: Path) -> None:
    run, calibration = tmp_path / "run", tmp_path / "calibration.zip"
    shutil.copytree(trained_run, run / "1-episodes")
    calibration.touch()
    (tmp_path / "link.edge").symlink_to(run / "1-episodes" / "checkpoint.pt")
    before = tree(tmp_path)
    for name in ("run/1-episodes/checkpoint.pt", "run/1-episodes/curve.png", "link.edge", "calibration.zip"):
        with pytest.raises(EdgeAdaptError, match="would be lost; write to another file"):
            export_bundle(run, tmp_path / name, precision=Precision("int8", calibrate=calibration))
    assert tree(tmp_path) == before


def test_a_run_that_is_not_there_or_a_place_that_is_not_are_named(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match=r"there is no checkpoint\.pt"):
        export_bundle(tmp_path, tmp_path / "model.edge")
    with pytest.raises(EdgeAdaptError, match="does not exist; create it first"):
        export_bundle(tmp_path, tmp_path / "nowhere" / "model.edge")  # before the run is looked at
