"""`wrap`: from somebody's own ONNX file to a bundle that adapts and classifies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import edge_adapt as package
from edge_adapt.bundles import from_extractor as wrapping
from edge_adapt.bundles.from_extractor import ExtractorSettings
from edge_adapt.bundles.provenance import Provenance
from edge_adapt.export.embed.from_extractor import NORMALIZATIONS
from edge_adapt.export.gates.parity import Comparison
from edge_adapt.runtime.data.source import DataSource
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.model import load_model
from edge_adapt.training.frozen_head import FrozenHead
from tests.command_line import complaint, edge_adapt, succeeded, tree
from tests.extractors import SIZE, extractor, in_half_precision, in_half_precision_inside
from tests.gratings import gratings, write_images

ONE_THREAD = ExtractorSettings(threads=1)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few iterations, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    whole = FrozenHead.meta_train

    def few(self: FrozenHead, **options: Any) -> None:
        whole(self, **{**options, "iterations": 3})

    monkeypatch.setattr(FrozenHead, "meta_train", few)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of eight images."""
    return write_images(tmp_path_factory.mktemp("data") / "photos", gratings(6, 8, size=20))


def test_a_wrapped_extractor_adapts_and_classifies(tmp_path: Path, images: Path) -> None:
    source = extractor(tmp_path / "mobile.onnx", batch="1", opset=20)
    said = succeeded(
        edge_adapt(
            "wrap",
            source,
            "--images",
            images,
            "-o",
            tmp_path / "m.edge",
            "--threads",
            "1",
            "--license",
            "MIT",
            "--seed",
            "1",
        )
    )
    assert "ok  features of" in said
    assert f"Next: edge-adapt evaluate {tmp_path / 'm.edge'} DATA" in said
    model = load_model(tmp_path / "m.edge", "cpu", 1)
    manifest = model.manifest
    assert (manifest.name, manifest.method, manifest.license, manifest.default_steps) == ("m", "frozen", "MIT", 20)
    assert manifest.trained_on == "mobile.onnx; its head: photos, 6 classes, 48 images"
    assert (manifest.preprocessing.height, manifest.preprocessing.channels) == (SIZE, 3)
    shots = {name: sorted((images / name).iterdir())[:4] for name in ("grating 00", "grating 03")}
    mine = model.adapt(shots)
    assert mine.classify(shots["grating 03"][0]).label == "grating 03"
    found = mine.adaptation.support_features
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.ones(8), rtol=1e-5)


@pytest.mark.parametrize("change", [in_half_precision, pytest.param(in_half_precision_inside, marks=pytest.mark.slow)])
def test_an_extractor_in_float16_goes_the_whole_way(
    tmp_path: Path, images: Path, change: Callable[[Path], Path]
) -> None:
    source = change(extractor(tmp_path / "half.onnx", tail="mean"))
    comparisons: list[Comparison] = []
    package.wrap(source, images, tmp_path / "m.edge", settings=ONE_THREAD, report=comparisons.append)
    reported = "\n".join(map(str, comparisons))
    assert "features of 48 images beside those of half.onnx: relative difference" in reported
    assert "self-check     passed" in succeeded(edge_adapt("info", tmp_path / "m.edge"))
    model = load_model(tmp_path / "m.edge", "cpu", 1)
    shots = {name: sorted((images / name).iterdir())[:4] for name in ("grating 00", "grating 03")}
    assert model.adapt(shots).classify(shots["grating 03"][0]).label == "grating 03"


def test_what_does_best_on_the_images_is_taken_and_reported(tmp_path: Path) -> None:
    data = gratings(8, 12, size=20)
    images = write_images(tmp_path / "photos", data)
    source = extractor(tmp_path / "mobile.onnx", tail="map")
    comparisons: list[Comparison] = []
    package.wrap(source, images, tmp_path / "m.edge", settings=ONE_THREAD, report=comparisons.append)
    pixels, features = map(str, comparisons[:2])
    for said, names in ((pixels, ("imagenet", "unit", "symmetric", "none")), (features, ("centred", "as they are"))):
        taken, _, shares = said.partition(" taken ")[2].partition(": ")
        found = {name: float(share.rstrip("%")) for name, share in (item.rsplit(" ", 1) for item in shares.split(", "))}
        assert set(found) == set(names) and found[taken] == max(found.values()), said
    package.wrap(
        source, images, tmp_path / "n.edge", settings=ExtractorSettings(NORMALIZATIONS["unit"], part=0.5, threads=1)
    )
    assert load_model(tmp_path / "n.edge").manifest.preprocessing.part == 0.5


def test_a_class_of_one_image_is_no_obstacle(tmp_path: Path, images: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(images, photos)
    (photos / "a single one").mkdir()
    shutil.copy(images / "grating 00" / "000.png", photos / "a single one")
    source = extractor(tmp_path / "mobile.onnx")
    package.wrap(source, photos, tmp_path / "m.edge", settings=ONE_THREAD)
    assert load_model(tmp_path / "m.edge").manifest.trained_on.endswith("7 classes, 49 images")


def test_what_a_bundle_is_made_from_is_not_replaced_by_it(tmp_path: Path, images: Path) -> None:
    source = extractor(tmp_path / "mobile.onnx")
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", images))
    photos, listing, link = tmp_path / "photos", tmp_path / "classes.txt", tmp_path / "link.edge"
    shutil.copytree(images, photos)
    listing.write_text("grating 00\n")
    link.symlink_to(source)
    before = tree(tmp_path)
    for data, output in (
        (archive, source),
        (archive, link),
        (archive, archive),
        (archive, listing),
        (photos, photos / "grating 00" / "000.png"),
    ):
        said = complaint(edge_adapt("wrap", source, "--images", data, "--classes", listing, "-o", output))
        assert said.startswith(str(output)) and said.endswith("would be lost; write to another file.")
    assert tree(tmp_path) == before


def test_a_place_that_is_not_there_is_named_before_any_work(tmp_path: Path) -> None:
    output = tmp_path / "nowhere" / "m.edge"
    said = complaint(edge_adapt("wrap", tmp_path / "no.onnx", "--images", tmp_path / "no", "-o", output))
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in said


def test_features_are_computed_once_whatever_is_learned_from_them(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = extractor(tmp_path / "mobile.onnx")
    learned_from = DataSource(images, cache=tmp_path / "features")
    named: dict[str, Any] = {"provenance": Provenance("same"), "settings": ONE_THREAD}
    package.wrap(source, learned_from, tmp_path / "a.edge", **named)

    def never(*_: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr("edge_adapt.methods.feature_cache.embed_dataset", never)
    package.wrap(source, learned_from, tmp_path / "b.edge", **named)
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()


def test_too_little_to_learn_from(tmp_path: Path) -> None:
    source = extractor(tmp_path / "mobile.onnx")
    few = write_images(tmp_path / "few", gratings(3, 8, size=20))
    with pytest.raises(DataError, match=r"few: 3 of the 3 classes have 6 images or more, .*; add images\.$"):
        package.wrap(source, few, tmp_path / "m.edge", settings=ONE_THREAD)
    small = write_images(tmp_path / "small", gratings(8, 2, size=20))
    said = complaint(edge_adapt("wrap", source, "--images", small, "-o", tmp_path / "m.edge"))
    assert "0 of the 8 classes have 6 images or more" in said
    assert not (tmp_path / "m.edge").exists()


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ({"tail": "two"}, [], "name the one with the features with --output-name."),
        ({"tail": "labels"}, [], "where float features are needed"),
        ({"tail": "token", "batch": "1"}, [], "is made for batches of 1"),
        ({"uint8": True}, ["--normalize", "unit"], "takes uint8 pixels and normalizes them itself"),
        ({"size": "S"}, [], "choose theirs with --image-size."),
    ],
)
def test_bad_extractors(tmp_path: Path, images: Path, kind: dict[str, Any], options: list[str], said: str) -> None:
    source = extractor(tmp_path / "bad.onnx", **kind)
    message = complaint(edge_adapt("wrap", source, "--images", images, "-o", tmp_path / "m.edge", *options))
    assert str(source) in message
    assert said in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mean", "0.5"], "--mean and --std go together, instead of --normalize."),
        (["--mean", "0.5", "--std", "0.5", "--normalize", "unit"], "--mean and --std go together"),
        (["--mean", "a", "--std", "1"], "--mean is 'a'; give one number or three, such as 0.485,0.456,0.406."),
    ],
)
def test_wrong_usage(tmp_path: Path, images: Path, options: list[str], said: str) -> None:
    arguments: tuple[str | Path, ...] = ("wrap", tmp_path / "x.onnx", "--images", images, "-o", tmp_path / "m.edge")
    assert said in complaint(edge_adapt(*arguments, *options), status=2)


def test_a_file_that_is_no_onnx(tmp_path: Path, images: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    said = complaint(edge_adapt("wrap", tmp_path / "photo.jpg", "--images", images, "-o", tmp_path / "m.edge"))
    assert said == f"{tmp_path / 'photo.jpg'} is not an ONNX model; give the file that an exporter to ONNX wrote."


def test_mean_and_std_are_passed_on(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def stop(*_: object, settings: ExtractorSettings, **__: object) -> None:
        seen.append(settings.normalization)
        raise DataError("stopped.")

    monkeypatch.setattr(wrapping, "wrap", stop)
    call: Callable[..., Any] = lambda *more: edge_adapt("wrap", "x.onnx", "--images", images, "-o", "m.edge", *more)  # noqa: E731
    complaint(call("--mean", "0.5,0.4,0.3", "--std", "0.25"))
    complaint(call())
    assert (seen[0].mean, seen[0].std) == ((0.5, 0.4, 0.3), (0.25,))
    assert seen[1] is None
