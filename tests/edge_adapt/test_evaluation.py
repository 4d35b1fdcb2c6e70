"""`evaluate` on runs and on bundles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

import edge_adapt
from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.evaluation import evaluate, open_model
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError, ProviderError
from edge_adapt.runtime.images.views import PHOTO_VIEWS, View
from edge_adapt.training.config import TrainingConfig
from tests.gratings import gratings
from tests.training_runs import Small, train

PROTOCOL = EvaluationProtocol(n_way=4, n_shot=2, n_query=5, episodes=40, seed=3)
UNADAPTED = replace(PROTOCOL, steps=0)


@pytest.fixture(scope="module")
def maml_run(
    tmp_path_factory: pytest.TempPathFactory, training_data: ImageDataset, tiny_config: Callable[..., TrainingConfig]
) -> Path:
    """A run whose rates of all layers are far from nothing."""
    run = tmp_path_factory.mktemp("maml") / "run"
    config = tiny_config(method="maml", iterations=3, n_way=3, n_query=1, steps=1, learning_rate=0.01)
    train(training_data, run, config, device="cpu", micro_batch=1, bf16=False)
    return run


def test_a_run_and_its_bundle_are_as_good(trained_run: Path, exported_bundle: Path, new_classes: ImageDataset) -> None:
    in_torch = evaluate(trained_run, new_classes, PROTOCOL, provider="cpu")
    in_bundle = evaluate(exported_bundle, new_classes, PROTOCOL, provider="cpu")
    assert in_bundle.accuracy == pytest.approx(in_torch.accuracy, abs=0.002)
    assert in_bundle.protocol == in_torch.protocol == replace(PROTOCOL, steps=3)
    assert evaluate(exported_bundle, new_classes, UNADAPTED, provider="cpu").protocol == UNADAPTED


def test_a_run_and_its_bundle_say_the_same_of_themselves(trained_run: Path, exported_bundle: Path) -> None:
    of_run, of_bundle = (open_model(model, provider="cpu").card for model in (trained_run, exported_bundle))
    said_at_export = {"name", "license", "priors"}  # the last are learned then, through the graphs of the bundle
    for field in vars(of_run).keys() - said_at_export:
        assert getattr(of_run, field) == getattr(of_bundle, field), field


@pytest.mark.parametrize(
    ("augment", "grayscale", "centred", "views"),
    [
        (True, False, True, PHOTO_VIEWS),
        *(
            pytest.param(*options, (), marks=pytest.mark.slow)
            for options in ((True, False, False), (False, False, True), (True, True, True))
        ),
    ],
)
def test_support_photos_are_looked_at_as_training_saw_them(
    augment: bool,
    grayscale: bool,
    centred: bool,
    views: tuple[View, ...],
    training_data: ImageDataset,
    new_classes: ImageDataset,
    tmp_path: Path,
    tiny_config: Callable[..., TrainingConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, new = (
        dataset if grayscale else replace(dataset, images=np.repeat(dataset.images, 3, axis=-1))
        for dataset in (training_data, new_classes)
    )
    config = tiny_config(augment=augment, grayscale=grayscale, centred=centred, iterations=3)
    backbone = Small(channels=data.images.shape[-1])
    train(data, tmp_path / "run", config, backbone=backbone, device="cpu", micro_batch=1, bf16=False)
    export_bundle(tmp_path / "run", tmp_path / "a.edge", backbone=backbone)
    assert Bundle.open(tmp_path / "a.edge").manifest.support_views == views
    in_torch = evaluate(tmp_path / "run", new, PROTOCOL, backbone=backbone, provider="cpu")
    in_bundle = evaluate(tmp_path / "a.edge", new, PROTOCOL, provider="cpu")
    assert in_bundle.accuracy == pytest.approx(in_torch.accuracy, abs=0.002)
    monkeypatch.setattr("edge_adapt.training.config.PHOTO_VIEWS", ())
    without = evaluate(tmp_path / "run", new, PROTOCOL, backbone=backbone, provider="cpu")
    assert (without == in_torch) == (not views)


def test_all_layers_adapt_where_the_run_has_rates_for_them(
    maml_run: Path, trained_run: Path, exported_bundle: Path, new_classes: ImageDataset
) -> None:
    adapted, unadapted = (replace(protocol, episodes=10) for protocol in (PROTOCOL, UNADAPTED))
    last = evaluate(maml_run, new_classes, adapted, provider="cpu")
    every = evaluate(maml_run, new_classes, adapted, all_layers=True, provider="cpu")
    assert every.accuracy != last.accuracy
    none = evaluate(maml_run, new_classes, unadapted, all_layers=True, provider="cpu")
    as_none = evaluate(maml_run, new_classes, unadapted, provider="cpu")
    assert none.accuracy == pytest.approx(as_none.accuracy, abs=0.002)
    with pytest.raises(EdgeAdaptError, match="trained with anil, which has no inner loop on all layers"):
        evaluate(trained_run, new_classes, all_layers=True)
    with pytest.raises(EdgeAdaptError, match="is a bundle, which adapts what it was exported to"):
        evaluate(exported_bundle, new_classes, all_layers=True)


def test_what_cannot_be_evaluated_is_named(
    trained_run: Path, exported_bundle: Path, new_classes: ImageDataset, tmp_path: Path
) -> None:
    for model in (trained_run, exported_bundle):
        with pytest.raises(EdgeAdaptError, match=r"was read as \(16, 16, 1\) .* takes \(28, 28, 1\)"):
            evaluate(model, gratings(5, 5, size=16), provider="cpu")
        with pytest.raises(EdgeAdaptError, match="9 ways need as many classes and there are 8"):
            evaluate(model, new_classes, EvaluationProtocol(n_way=9), provider="cpu")
    with pytest.raises(EdgeAdaptError, match=r"there is no checkpoint\.pt"):
        evaluate(tmp_path, new_classes)
    with pytest.raises(BundleError, match="does not exist"):
        evaluate(tmp_path / "none.edge", new_classes)
    classifier = edge_adapt.load_model(exported_bundle, "cpu").adapt(
        {name: [new_classes.images[start]] for name, start in zip("ab", new_classes.starts, strict=False)}
    )
    classifier.save(tmp_path / "mine.edge")
    with pytest.raises(BundleError, match="is an adapted classifier where a meta-model is needed"):
        evaluate(tmp_path / "mine.edge", new_classes)


def test_a_run_is_not_for_the_providers_of_onnx_runtime(trained_run: Path) -> None:
    with pytest.raises(ProviderError, match=r"is a training run, .* --provider auto, cpu or cuda, not openvino"):
        open_model(trained_run, provider="openvino")


def test_a_bundled_name_goes_before_a_folder_of_that_name(
    exported_bundle: Path, new_classes: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "characters.edge").write_bytes(exported_bundle.read_bytes())
    (tmp_path / "characters").mkdir()
    monkeypatch.setattr("edge_adapt.runtime.model.MODELS", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    assert evaluate("characters", new_classes, PROTOCOL, provider="cpu").accuracy > 0.5
    with pytest.raises(EdgeAdaptError, match=r"there is no checkpoint\.pt"):
        evaluate("./characters", new_classes)


def test_evaluating_a_run_changes_nothing_about_it(trained_run: Path, new_classes: ImageDataset) -> None:
    before = (trained_run / "checkpoint.pt").read_bytes()
    images = new_classes.images.copy()
    first = evaluate(trained_run, new_classes, PROTOCOL, provider="cpu")
    torch.manual_seed(123)
    assert evaluate(trained_run, new_classes, PROTOCOL, provider="cpu") == first
    assert (trained_run / "checkpoint.pt").read_bytes() == before
    assert np.array_equal(new_classes.images, images)
