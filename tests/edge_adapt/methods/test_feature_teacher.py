"""Teachers of features out of bundles, ONNX files and modules, and `train --method distil` with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch
from torch import nn

from edge_adapt.cli.teachers import GivenTeachers
from edge_adapt.export.embed.extractor import read_extractor
from edge_adapt.export.embed.from_extractor import NORMALIZATIONS, OriginalExtractor
from edge_adapt.methods.distil import Distil
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.training.checkpoint import load_checkpoint
from tests.command_line import complaint, edge_adapt, succeeded
from tests.conftest import TINY
from tests.extractors import FEATURES, SIZE, extractor
from tests.gratings import gratings, write_images
from tests.training_runs import refusal

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def test_a_bundle_teaches_what_it_embeds(tmp_path: Path) -> None:
    teacher = FeatureTeacher.read(TINY, provider="cpu", threads=1)
    images, graphs = IMAGES[:, :8, :8], Graphs(Bundle.open(TINY), "cpu", 1)
    np.testing.assert_array_equal(teacher.embed(images), graphs.embed(images))
    assert (teacher.preprocessing, teacher.feature_size) == (graphs.manifest.preprocessing, 48)
    shutil.copy(TINY, tmp_path / "renamed")
    assert FeatureTeacher.read(tmp_path / "renamed").digest == teacher.digest


@pytest.mark.parametrize("normalize", [None, "symmetric"])
def test_an_extractor_teaches_what_its_file_gives(normalize: str | None, tmp_path: Path) -> None:
    path = extractor(tmp_path / "mobile.onnx", batch="1")
    normalization = NORMALIZATIONS[normalize] if normalize else None
    teacher = FeatureTeacher.read(path, normalization=normalization, provider="cpu", threads=1)
    original = OriginalExtractor(read_extractor(path), NORMALIZATIONS[normalize or "imagenet"], 1)
    np.testing.assert_allclose(teacher.embed(IMAGES), original(IMAGES), rtol=1e-4, atol=1e-5)
    assert (teacher.preprocessing.height, teacher.feature_size) == (SIZE, FEATURES)


def test_one_that_takes_uint8_needs_no_normalization(tmp_path: Path) -> None:
    path = extractor(tmp_path / "bytes.onnx", uint8=True)
    teachers = [FeatureTeacher.read(path), FeatureTeacher.read(path, normalization=NORMALIZATIONS["unit"])]
    np.testing.assert_array_equal(*(teacher.embed(IMAGES) for teacher in teachers))  # type: ignore[arg-type]
    assert teachers[0].digest == teachers[1].digest


def test_what_gives_other_features_is_another_teacher(tmp_path: Path) -> None:
    path = extractor(tmp_path / "any.onnx", size="S")
    ways: list[dict[str, Any]] = [{}, {"image_size": 20}, {"normalization": NORMALIZATIONS["unit"]}]
    digests = [FeatureTeacher.read(path, **{"image_size": 16, **way}).digest for way in (*ways, {})]
    assert len({*digests}) == 3 and digests[0] == digests[-1]
    two = extractor(tmp_path / "two.onnx", tail="two")
    assert len({FeatureTeacher.read(two, output=name).digest for name in ("features", "logits")}) == 2


class Flat(nn.Module):
    """Pixels as features, and dropout that is not for teaching."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.dropout(images.flatten(1) * self.scale)
        return features


def test_a_module_or_a_named_function_teaches() -> None:
    module = Flat()
    teacher = FeatureTeacher.of_module(module, SIZE)
    np.testing.assert_array_equal(teacher.embed(IMAGES), IMAGES.reshape(3, -1).astype(np.float32))
    with torch.no_grad():
        module.scale.fill_(2)
    assert FeatureTeacher.of_module(module, SIZE).digest != teacher.digest
    function = FeatureTeacher.of_module(lambda images: images.float().mean((1, 2)), SIZE, name="means")
    assert (function.name, function.feature_size) == ("means", 3)
    for start, said in (
        (lambda: FeatureTeacher.of_module(lambda images: images, SIZE), "no weights to be known by; give it a name."),
        (
            lambda: FeatureTeacher.of_module(nn.Identity(), SIZE),
            "the teacher Identity gives [2, 16, 16, 3] for 2 images",
        ),
        (
            lambda: FeatureTeacher.of_module(nn.Linear(5, 2), SIZE),
            "the teacher Linear fails on uint8 images of (16, 16, 3)",
        ),
    ):
        assert said in refusal(start)


def test_what_is_no_teacher_is_named_with_what_to_do(tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(extractor(tmp_path / "whole.onnx").read_bytes()[:-100])
    bundle = tmp_path / "cut.edge"
    bundle.write_bytes(TINY.read_bytes()[:-100])
    for path, options, said in (
        (cut, {}, f"{cut} is not an ONNX model; give the file that an exporter to ONNX wrote."),
        (bundle, {}, f"{bundle} is cut off"),
        (tmp_path, {}, f"{tmp_path} is a folder, and features are learned from a bundle or an ONNX file; give one"),
        (tmp_path / "none.onnx", {}, "none.onnx cannot be read"),
        (extractor(tmp_path / "any.onnx", size="S"), {}, "choose theirs with --teacher-image-size."),
        (tmp_path / "whole.onnx", {"image_size": 20}, "whose size is fixed; leave out --teacher-image-size."),
        (
            extractor(tmp_path / "two.onnx", tail="two"),
            {},
            "name the one with the features with --teacher-output-name.",
        ),
    ):
        assert said in refusal(lambda path=path, options=options: FeatureTeacher.read(path, **options))  # type: ignore[misc]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of four images."""
    return write_images(tmp_path_factory.mktemp("data") / "photos", gratings(4, 4, size=28))


OPTIONS = ["--method=distil", "--augment", "--crop-size=20:28", "--batch-size=4", "--iterations=2", "--device=cpu"]
OPTIONS += ["--no-bf16", "--threads=1", "--micro-batch=4"]


def test_the_command_distils_several_files_and_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    mobile, run = extractor(tmp_path / "mobile.onnx", size="S"), tmp_path / "run"
    taught = [f"--teacher={TINY}", f"--teacher={mobile}", "--teacher-image-size=16", "--teacher-normalize=unit"]
    succeeded(edge_adapt("train", photos, "-o", run, *OPTIONS, *taught, "--teacher-crops=3"))
    assert len(list((tmp_path / "home" / "edge-adapt").glob("teacher-*.npy"))) == 2 * 3
    checkpoint = load_checkpoint(run)
    assert (checkpoint.config.method, checkpoint.config.first_crop_size, checkpoint.iteration) == (
        Distil(teacher_crops=3),
        20,
        2,
    )
    assert [len(checkpoint.objective[f"regressions.{number}.bias"]) for number in (0, 1)] == [48, FEATURES]
    assert "nothing to train" in succeeded(edge_adapt("train", "--resume", run))
    mobile.unlink()
    assert f"{mobile} cannot be read (No such file or directory)" in complaint(edge_adapt("train", "--resume", run))
    episodes = [
        "--way=4",
        "--query=2",
        "--iterations=1",
        "--learning-rate=1e-9",
        "--device=cpu",
        "--threads=1",
        "--no-bf16",
    ]
    succeeded(edge_adapt("train", photos, "-o", tmp_path / "on", "--start-from", run, *episodes))
    name = "embedding.backbone.convolutions.0.weight"
    assert (load_checkpoint(tmp_path / "on").learner[name] - checkpoint.learner[name]).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ([], 1, "distil learns the features of a teacher, and there is none; give a bundle or an ONNX file with --teacher."),
        (["--teacher=t", "--teacher-normalize=unit", "--teacher-normalize=none"], 2, "is given 2 times for 1 teachers"),
        (["--teacher=t", "--method=pretrain", "--teacher-normalize=unit"], 2, "--teacher-normalize is for the method distil"),
        (["--teacher=t", "--teacher=u", "--method=pretrain"], 2, "several teachers are for the method distil, and this is"),
        (["--teacher=t", "--no-augment", "--crop-size=20"], 1, "crop_size is of crops of RGB images with --augment"),
        (["--teacher=t", "--no-augment", "--teacher-crops=3"], 1, "teacher_crops is of crops with --augment"),
        (["--teacher=t", "--meta-batch=3"], 1, "meta_batch is not for the method distil"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(
    options: list[str], status: int, said: str, photos: Path, tmp_path: Path
) -> None:
    given = ["--method=distil", "--augment", "--device=cpu", "--iterations=1", *options]
    assert said in complaint(edge_adapt("train", photos, "-o", tmp_path / "run", *given), status=status)
    assert not (tmp_path / "run").exists()


def test_one_value_is_for_all_teachers_and_several_are_for_each() -> None:
    given = GivenTeachers(("a", "b"))
    assert list(given._each("--x", ())) == [None, None]
    assert list(given._each("--x", (3,))) == [3, 3]
    assert list(given._each("--x", (3, 4))) == [3, 4]
