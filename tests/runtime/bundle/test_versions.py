"""What each version of the format brought, and that a bundle is of the lowest that can hold it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from edge_adapt.runtime.bundle.bundle import (
    GRAPHS,
    Bundle,
    Shot,
)
from edge_adapt.runtime.bundle.manifest import manifest_from_json, manifest_to_json
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import View
from tests import bundle_samples as samples
from tests.bundle_samples import same


def test_the_committed_bundle_reads_as_it_always_did() -> None:
    bundle = Bundle.open(samples.GOLDEN_CLASSIFIER)
    bundle.verify()
    adaptation = bundle.adaptation()
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.trained_on == "zwölf Zeichen, 字"
    assert bundle.manifest.preprocessing == Preprocessing(4, 6, 1, "bilinear", "center")
    assert adaptation.labels == ("кот", "dog")
    assert adaptation.shots[2] == Shot(
        1, "dogs/c.jpg", "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"
    )
    assert adaptation.head_state["weight"].tolist() == [[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]]
    assert adaptation.head_state["count"] == 3
    assert adaptation.support_features[2].tolist() == [1.5, 1.75, 2.0]
    assert bundle.manifest.golden is not None
    assert bundle.manifest.golden.features[1].tolist() == [0.0, 1.0, -0.25]


def test_a_bundle_is_of_the_lowest_version_that_can_hold_it() -> None:
    sums = dict.fromkeys(GRAPHS, "0" * 64)
    in_full = json.loads(manifest_to_json(samples.manifest(graphs=sums), "a.edge"))
    in_half = json.loads(manifest_to_json(samples.manifest(graphs=sums, precision="fp16"), "a.edge"))
    assert in_full["format_version"] == 1
    assert in_half == in_full | {"format_version": 2, "precision": "fp16"}
    with pytest.raises(BundleError, match="precision"):
        manifest_from_json(json.dumps(in_half | {"precision": "fp32"}).encode(), "a.edge")
    with pytest.raises(BundleError, match="precision"):
        manifest_from_json(json.dumps(in_full | {"precision": "fp16"}).encode(), "a.edge")
    with pytest.raises(BundleError, match='lacks "precision"'):
        manifest_from_json(json.dumps(in_full | {"format_version": 2}).encode(), "a.edge")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_views_of_support_images_are_of_version_3(precision: str) -> None:
    sums = dict.fromkeys(GRAPHS, "0" * 64)
    plain = samples.manifest(graphs=sums, precision=precision)
    seen = dataclasses.replace(plain, support_views=(View(mirrored=True), View(0.8)))
    written = json.loads(manifest_to_json(seen, "a.edge"))
    views = [{"part": 1.0, "mirrored": True}, {"part": 0.8, "mirrored": False}]
    expected = {"format_version": 3, "precision": precision, "support_views": views}
    assert written == json.loads(manifest_to_json(plain, "a.edge")) | expected
    assert manifest_from_json(json.dumps(written).encode(), "a.edge").support_views == seen.support_views
    refused: tuple[object, ...] = (
        *([], [{"part": 1, "mirrored": False}], [{"part": 0, "mirrored": True}], [{"part": 0.5, "mirrored": 1}]),
        *([{"part": 0.5}], [{"part": 0.5, "mirrored": True, "turned": 90}], views * 8, {}, None),
    )
    for wrong in refused:
        with pytest.raises(BundleError, match="support_views"):
            manifest_from_json(json.dumps(written | {"support_views": wrong}).encode(), "a.edge")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("views", [(), (View(mirrored=True),)])
@pytest.mark.parametrize("seen", [{"part": 0.875}, {"ground": "light"}, {"part": 0.1, "ground": "light"}])
def test_the_part_and_the_ground_of_images_are_of_version_4(
    precision: str, views: tuple[View, ...], seen: dict[str, Any]
) -> None:
    sums = dict.fromkeys(GRAPHS, "0" * 64)
    plain = samples.manifest(graphs=sums, precision=precision, support_views=views)
    changed = dataclasses.replace(plain, preprocessing=dataclasses.replace(plain.preprocessing, **seen))
    written = json.loads(manifest_to_json(changed, "a.edge"))
    before = json.loads(manifest_to_json(plain, "a.edge"))
    preprocessing = before["preprocessing"] | {"part": 1.0, "ground": "any"} | seen
    expected = {"format_version": 4, "precision": precision, "preprocessing": preprocessing}
    assert written == before | {"support_views": [dataclasses.asdict(view) for view in views]} | expected
    assert list(written["preprocessing"])[-2:] == ["part", "ground"]
    assert same(manifest_from_json(json.dumps(written).encode(), "a.edge"), changed)
    refused: dict[str, tuple[object, ...]] = {
        "part": (0, 0.09, 1.01, True, "1", None, [], {}),
        "ground": ("dark", "", "LIGHT", 1, None, [], {}),
    }
    for name, values in refused.items():
        for wrong in values:
            other = json.dumps(written | {"preprocessing": preprocessing | {name: wrong}}).encode()
            with pytest.raises(BundleError, match=name):
                manifest_from_json(other, "a.edge")
    for name in ("part", "ground"):
        less = {key: value for key, value in preprocessing.items() if key != name}
        with pytest.raises(BundleError, match=f'lacks "{name}"'):
            manifest_from_json(json.dumps(written | {"preprocessing": less}).encode(), "a.edge")
    with pytest.raises(BundleError, match="unknown key"):
        manifest_from_json(
            json.dumps(written | {"format_version": 3, "support_views": [{"part": 1, "mirrored": True}]}).encode(),
            "a.edge",
        )
