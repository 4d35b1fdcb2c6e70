"""What `check` finds in support sets in which one thing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from edge_adapt.runtime.classifier.check import KINDS, Finding, check_support, left_out_again, suspects
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import MetaModel
from tests.tiny_model import Photos, photos

SOUND = photos({"a": 5, "b": 5, "c": 5}, noise=40)


def found(model: MetaModel, images: Photos) -> dict[str, list[Finding]]:
    findings = check_support(model.graphs, model.adapt(images).support, 5)
    assert [finding.kind for finding in findings] == sorted((finding.kind for finding in findings), key=KINDS.index)
    assert all("\n" not in finding.text for finding in findings)
    return {kind: [finding for finding in findings if finding.kind == kind] for kind in KINDS}


def test_nothing_is_found_in_a_sound_support_set(tiny: MetaModel) -> None:
    assert not any(found(tiny, {**SOUND, OTHER: photos({"d": 1})["d"]}).values())


def test_a_wrong_label_is_named_with_the_class_that_it_looks_like(tiny: MetaModel) -> None:
    stray = photos({"c": 1}, seed=7, noise=40)["c"]
    (finding,) = found(tiny, {**SOUND, "a": [*SOUND["a"], *stray]})["mislabelled"]
    assert finding.classes == ("a", "c") and finding.text.endswith("is labelled a and looks like c")


def test_wrong_labels_teach_nothing_the_second_time(tiny: MetaModel) -> None:
    """Two alike in the wrong class vouch for each other at first."""
    support = tiny.adapt({**SOUND, "a": [*SOUND["a"][:3], *photos({"c": 2}, seed=7, noise=40)["c"]]}).support
    wrong = [
        image.label == "a" and image.sha256 not in {i.sha256 for i in tiny.adapt(SOUND).support.images}
        for image in support.images
    ]
    first = leave_one_out(tiny.graphs, support.features, support.targets, 3, 5)
    second = left_out_again(tiny.graphs, support.features, support.targets, 3, 5, first)
    assert suspects(second.logits, second.labels).tolist() == wrong
    sound = first.right
    assert not sound[wrong].any()
    state, _ = tiny.graphs.adapt(support.features[sound], support.targets[sound], 3, 5)
    np.testing.assert_allclose(second.logits[wrong], tiny.graphs.predict(support.features[wrong], state), atol=1e-5)


def test_suspects_are_those_for_which_another_class_is_four_times_as_probable() -> None:
    odds = np.array([3.9, 4.1, 0.1])
    logits = np.stack([np.zeros(3), np.log(odds), np.full(3, -50)], axis=1).astype(np.float32)
    assert suspects(logits, np.zeros(3, np.int64)).tolist() == [False, True, False]


@pytest.mark.parametrize(("label", "kind"), [("a", "duplicate"), ("b", "duplicate across classes")])
def test_a_photo_that_is_there_twice_is_named(tiny: MetaModel, label: str, kind: str) -> None:
    nearly = np.clip(SOUND["a"][0].astype(int) + 1, 0, 255).astype(np.uint8)
    found_here = found(tiny, {**SOUND, label: [*SOUND[label], nearly]})
    (finding,) = [*found_here["duplicate"], *found_here["duplicate across classes"]]
    assert finding.kind == kind and len(finding.images) == 2 and set(finding.classes) == {"a", label}


def test_classes_that_are_one_will_be_confused(tiny: MetaModel) -> None:
    twins = {**SOUND, "d": photos({"a": 5}, seed=3, noise=40)["a"]}
    (finding,) = found(tiny, twins)["confused"]
    assert finding.classes == ("a", "d")


def test_too_few_and_too_many_photos(tiny: MetaModel) -> None:
    uneven = {**SOUND, "b": photos({"b": 16}, noise=40)["b"], "d": photos({"d": 1}, noise=40)["d"]}
    found_here = found(tiny, uneven)
    assert [finding.classes for finding in found_here["few"]] == [("d",)]
    assert [finding.classes for finding in found_here["many"]] == [("b",)]
    assert found_here["many"][0].text.startswith("b has 16 photos")


def test_a_classifier_of_single_photos_is_checked_too(tiny: MetaModel) -> None:
    found_here = found(tiny, photos({"a": 1, "b": 1}))
    assert [finding.classes for finding in found_here["few"]] == [("a",), ("b",)] and not found_here["mislabelled"]


def test_what_is_known_of_shots_left_out_is_not_found_out_again(
    tiny: MetaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sound support set no shot is doubtful, and so nothing is adapted to a second time."""
    mine = tiny.adapt(SOUND)
    left_out = mine.left_out
    assert left_out.right.all()
    monkeypatch.setattr(Graphs, "adapt", lambda *_: pytest.fail("adapted again"))
    assert check_support(mine.graphs, mine.support, mine.steps, left_out) == []


def test_a_class_whose_name_begins_like_that_of_no_class_is_one(tiny: MetaModel) -> None:
    images = {"_a": photos({"a": 1})["a"], "b": SOUND["b"], "c": SOUND["c"]}
    assert [finding.classes for finding in found(tiny, images)["few"]] == [("_a",)]
