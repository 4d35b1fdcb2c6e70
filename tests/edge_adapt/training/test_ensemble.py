"""Several backbones side by side: each sees what it has learned to see, and the whole trains, exports and runs as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.networks.backbones import Conv4, Edge
from edge_adapt.networks.backbones.ensemble import WEIGHT, Joined
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.model import load_model
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.ensemble import join
from edge_adapt.training.run import load_learner
from tests.command_line import complaint, succeeded
from tests.command_line import edge_adapt as command
from tests.gratings import write_images
from tests.training_runs import Configure, Small, refusal, train

OPTIONS: dict[str, Any] = {"device": "cpu", "micro_batch": 1, "bf16": False}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def members(
    training_data: ImageDataset, tiny_config: Configure, tmp_path_factory: pytest.TempPathFactory
) -> list[Checkpoint]:
    """An edge, and a conv4 of darker images than the edge's."""
    runs = tmp_path_factory.mktemp("members")
    darker = replace(training_data, images=(training_data.images // 3 + 10).astype(np.uint8))
    config = tiny_config(iterations=1, centred=True)
    return [
        train(training_data, runs / "edge", replace(config, backbone="edge"), **OPTIONS),
        train(darker, runs / "conv4", config, **OPTIONS),
    ]


def raw(learner: MetaLearner, images: torch.Tensor) -> torch.Tensor:
    """What the backbone gives, before anything is done to it."""
    features: torch.Tensor = learner.embedding.backbone(learner.embedding.normalize(images))
    return features


def test_each_member_gives_the_features_of_its_run(
    members: list[Checkpoint], training_data: ImageDataset, tiny_config: Configure, tmp_path: Path
) -> None:
    config = tiny_config(method="head-only", backbone="edge+conv4", centred=True, iterations=1)
    train(training_data, tmp_path / "joined", config, weights=join(members), **OPTIONS)
    runs = [str(tmp_path / "joined"), *(member.folder for member in members)]
    learners = [load_learner(run)[0].eval() for run in runs]
    images = torch.from_numpy(training_data.images[::9])
    with torch.no_grad():
        joined, *own = (raw(learner, images) for learner in learners)
        assert torch.allclose(joined, torch.cat(own, dim=1), rtol=1e-4, atol=1e-5)
        features = learners[0].embed(images)
    assert features.shape[1] == own[0].shape[1] + own[1].shape[1]
    assert torch.allclose(features.norm(dim=1), torch.ones(len(images)), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "centred"), [("anil", True), pytest.param("anil", False, marks=pytest.mark.slow), ("protonet", False)]
)
def test_episodes_may_start_from_several(
    method: str,
    centred: bool,
    members: list[Checkpoint],
    training_data: ImageDataset,
    tiny_config: Configure,
    tmp_path: Path,
) -> None:
    steps = {} if method == "anil" else {"steps": None}
    config = tiny_config(
        method=method, backbone="edge+conv4", centred=centred, iterations=1, learning_rate=1e-9, **steps
    )
    reached = train(training_data, tmp_path / "joined", config, weights=join(members), **OPTIONS)
    for number, name in enumerate(("layers.0.convolution.weight", "convolutions.0.weight")):
        learned = reached.learner[f"embedding.backbone.members.{number}.{name}"]
        assert torch.allclose(learned, members[number].learner[f"embedding.backbone.{name}"], atol=1e-6)


def test_a_device_runs_the_whole_as_one(
    members: list[Checkpoint],
    training_data: ImageDataset,
    new_classes: ImageDataset,
    tiny_config: Configure,
    tmp_path: Path,
) -> None:
    config = tiny_config(method="head-only", backbone="edge+conv4", centred=True, iterations=2)
    train(training_data, tmp_path / "joined", config, weights=join(members), **OPTIONS)
    export_bundle(tmp_path / "joined", tmp_path / "joined.edge")  # compares with PyTorch
    learner, _ = load_learner(tmp_path / "joined")
    images = new_classes.images[::16]
    with torch.no_grad():
        expected = learner.eval().embed(torch.from_numpy(images)).numpy()
    assert np.allclose(load_model(tmp_path / "joined.edge").graphs.embed(images), expected, atol=1e-4)


def test_the_first_member_weighs_most_and_each_classifies_its_own() -> None:
    joined = Joined([Edge(3), Conv4(3)], [448, 320], 3).eval()
    weights = [part.weight for part in joined.parts]
    assert weights == pytest.approx(
        [*(part.weight for part in Edge.parts), *(WEIGHT * part.weight for part in Conv4(3).parts)]
    )
    assert sum(part.size for part in joined.parts) == 448 + 320
    images = torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        looked = joined.classified(joined(images))
        own = [member.classified(member(images)) for member in joined.members]  # type: ignore[operator]
    assert torch.equal(looked, torch.cat(own, dim=1))


def test_what_cannot_be_joined_is_named(
    members: list[Checkpoint], training_data: ImageDataset, tiny_config: Configure, tmp_path: Path
) -> None:
    def like(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
        return replace(checkpoint, config=replace(checkpoint.config, **changes))

    edge, conv4 = members
    assert join([edge]) is edge
    assert "see other images (28 pixels grey, 32 pixels grey)" in refusal(
        lambda: join([edge, like(conv4, image_size=32)])
    )
    assert "28 pixels grey of the central 0.5" in refusal(lambda: join([edge, like(conv4, part=0.5)]))
    assert "28 pixels RGB" in refusal(lambda: join([edge, like(conv4, grayscale=False)]))
    own = train(training_data, tmp_path / "own", tiny_config(iterations=1), backbone=Small(), **OPTIONS)
    for other, name in ((own, "'custom'"), (join(members), "'edge+conv4'")):
        assert f"has the backbone {name}" in refusal(lambda other=other: join([edge, other]))  # type: ignore[misc]


def test_the_command_joins_the_runs_that_it_starts_from(
    members: list[Checkpoint], training_data: ImageDataset, tmp_path: Path
) -> None:
    data = write_images(tmp_path / "data", training_data)
    start = [text for member in members for text in ("--start-from", member.folder)] + ["--device", "cpu"]
    given: list[str | Path] = [
        "train",
        data,
        "-o",
        tmp_path / "run",
        "--method",
        "head-only",
        "--iterations",
        "2",
        "--steps",
        "2",
    ]
    succeeded(command(*given, *start))
    learner, checkpoint = load_learner(tmp_path / "run")
    assert isinstance(learner.embedding.backbone, Joined)
    assert checkpoint.config.backbone == "edge+conv4" and checkpoint.config.centred
    assert "none: there is no checkpoint.pt" in complaint(command(*given, "--start-from", tmp_path / "none"))
