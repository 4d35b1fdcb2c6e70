"""Any chain of edits gives, bit for bit, the classifier of adapting once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_adapt.runtime.classifier import history
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.images.images import named
from edge_adapt.runtime.model import MetaModel, load_classifier, load_model
from tests.conftest import TINY
from tests.tiny_model import Photos, photos, refusal

MODEL = load_model(TINY, "cpu")
LABELS = ["a", "b", "c", "d"]
ALL = photos(dict.fromkeys("abcd", 4))
IMAGES = [image for of_label in ALL.values() for image in of_label]
labels = st.sampled_from([*LABELS, OTHER])
images = st.integers(0, len(IMAGES) - 1)


def shot(index: int) -> EmbeddedImage:
    return MODEL.graphs.embed_image(named(IMAGES[index]), as_shot=True)


def same(ours: Classifier, theirs: Classifier) -> bool:
    """Whether two classifiers are one to the last bit, whatever led to them."""
    first, second = ours.adaptation, theirs.adaptation
    return (
        (first.labels, first.shots, first.steps, first.losses, first.leave_one_out)
        == (second.labels, second.shots, second.steps, second.losses, second.leave_one_out)
        and first.support_features.tobytes() == second.support_features.tobytes()
        and {name: array.tobytes() for name, array in first.head_state.items()}
        == {name: array.tobytes() for name, array in second.head_state.items()}
    )


class Edits(RuleBasedStateMachine):
    """A classifier beside a plain account of which image is of which classes."""

    @initialize()
    def adapt(self) -> None:
        self.account: list[dict[str, list[int]]] = [{"a": [0, 1], "b": [4]}]
        self.position = 0
        self.mine = self.expected()

    def expected(self) -> Classifier:
        return MODEL.adapt_embedded(
            {label: [shot(index) for index in of_label] for label, of_label in self.account[self.position].items()}
        )

    def attempt(self, edit: Callable[[], Classifier], changed: dict[str, list[int]]) -> None:
        """An edit, which is refused where it would change nothing or leave fewer than two classes."""
        changed = {label: sorted(of_label) for label, of_label in changed.items() if of_label}
        if changed == self.account[self.position] or len(changed.keys() - {OTHER}) < 2:
            with pytest.raises(DataError):
                edit()
            return
        self.mine = edit()
        self.account = [*self.account[: self.position + 1], changed]
        self.position += 1

    def now(self) -> dict[str, list[int]]:
        return {label: list(of_label) for label, of_label in self.account[self.position].items()}

    @rule(label=labels, chosen=st.lists(images, min_size=1, max_size=3))
    def add(self, label: str, chosen: list[int]) -> None:
        changed = self.now()
        changed[label] = list(dict.fromkeys([*changed.get(label, []), *chosen]))
        self.attempt(lambda: self.mine.add_embedded(label, [shot(index) for index in chosen]), changed)

    @rule(label=labels)
    def remove_a_class(self, label: str) -> None:
        changed = self.now()
        changed.pop(label, None)
        self.attempt(lambda: self.mine.remove(label), changed)

    @rule(label=labels, index=images)
    def remove_an_image(self, label: str, index: int) -> None:
        changed = self.now()
        changed[label] = [known for known in changed.get(label, []) if known != index]
        self.attempt(lambda: self.mine.remove(label, shot(index).sha256[:12]), changed)

    @rule(label=st.sampled_from(LABELS), name=st.sampled_from([*LABELS, "e"]))
    def rename(self, label: str, name: str) -> None:
        changed = self.now()
        if label in changed and name not in changed:
            changed[name] = changed.pop(label)
        self.attempt(lambda: self.mine.rename(label, name), changed)

    @precondition(lambda self: len(self.account[self.position].keys() - {OTHER}) > 2)
    @rule(into=st.sampled_from(["a", "e"]))
    def merge_the_first_two(self, into: str) -> None:
        changed = self.now()
        merged = sorted(changed.keys() - {OTHER})[:2]
        if set(changed[merged[0]]) & set(changed[merged[1]]) or (into in changed and into not in merged):
            return
        changed[into] = [index for label in merged for index in changed.pop(label)]
        self.attempt(lambda: self.mine.merge(merged, into), changed)

    @rule(label=labels, index=images)
    def correct(self, label: str, index: int) -> None:
        changed = {other: [known for known in of if known != index] for other, of in self.now().items()}
        if index in self.now().get(label, []):
            changed = self.now()
        else:
            changed[label] = [*changed.get(label, []), index]
        self.attempt(lambda: self.mine.correct(IMAGES[index], label), changed)

    @rule()
    def undo(self) -> None:
        if self.position == 0:
            assert "no edit to undo" in refusal(self.mine.undo, DataError)
        else:
            self.mine, self.position = self.mine.undo(), self.position - 1

    @rule()
    def redo(self) -> None:
        if self.position == len(self.account) - 1:
            assert "no undone edit" in refusal(self.mine.redo, DataError)
        else:
            self.mine, self.position = self.mine.redo(), self.position + 1

    @invariant()
    def it_is_that_of_adapting_once(self) -> None:
        assert same(self.mine, self.expected())
        assert self.mine.history.done == self.position and len(self.mine.history.edits) == len(self.account) - 1


Edits.TestCase.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)
TestEdits = Edits.TestCase


@pytest.fixture
def mine(tiny: MetaModel) -> Classifier:
    return tiny.adapt(photos({"a": 3, "b": 2, "c": 2}))


def test_edits_and_what_led_to_them_survive_the_file(mine: Classifier, tmp_path: Path) -> None:
    new = photos({"d": 2})["d"]
    edited = mine.add("d", new).correct(new[0], OTHER).rename("c", "e").undo()
    edited.save(tmp_path / "mine.edge")
    found = load_classifier(tmp_path / "mine.edge", "cpu")
    found.graphs.bundle.verify()
    assert same(found, edited) and found.labels == ("a", "b", "c", "d") and found.support.counts[OTHER] == 1
    assert [edit.what for edit in found.history.edits] == ["add d: 2 images", "correct image: _other", "rename c to e"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", edit.at) for edit in found.history.edits)
    assert found.redo().labels == ("a", "b", "d", "e")
    assert same(found.undo().undo(), mine)


def test_edits_are_in_the_order_in_which_they_were_made_whatever_the_clock_says(
    mine: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = ["2026-11-28T12:00:00Z", "1970-01-01T00:00:00Z", "2099-12-31T23:59:59Z", "2026-11-28T11:59:59Z"]
    steps = [mine]
    for name, at in zip("wxyz", times, strict=True):
        monkeypatch.setattr(history, "_now", lambda at=at: at)
        steps.append(steps[-1].rename(steps[-1].labels[0], name + steps[-1].labels[0]))
    steps[-1].save(tmp_path / "mine.edge")
    again = load_classifier(tmp_path / "mine.edge")
    assert [edit.at for edit in again.history.edits] == times
    for before in reversed(steps[:-1]):
        again = again.undo()
        assert same(again, before)


def test_a_classifier_that_was_never_edited_is_written_as_before(mine: Classifier, tmp_path: Path) -> None:
    mine.save(tmp_path / "a.edge")
    mine.add("d", photos({"d": 1})["d"]).undo().strip().save(tmp_path / "b.edge")
    versions = [load_classifier(tmp_path / name).graphs.bundle for name in ("a.edge", "b.edge")]
    assert [list(bundle.sizes) for bundle in versions] == [list(versions[0].sizes)] * 2
    assert b'"format_version":1,' in (tmp_path / "a.edge").read_bytes()


def test_what_is_handed_on_says_nothing_of_where_it_comes_from(mine: Classifier, tmp_path: Path) -> None:
    edited = mine.add("d", photos({"d": 1})["d"])
    stripped = edited.strip()
    stripped.save(tmp_path / "stripped.edge")
    found = load_classifier(tmp_path / "stripped.edge", "cpu")
    written = (tmp_path / "stripped.edge").read_bytes()
    assert not any(shot.sha256.encode() in written for shot in edited.adaptation.shots)
    assert {shot.name for shot in found.adaptation.shots} == {""} and not found.history.edits
    query = photos({"a": 1}, seed=9)["a"][0]
    assert found.classify(query) == edited.classify(query)
    assert found.rename("d", "x").labels == ("a", "b", "c", "x")


def test_it_is_not_that(mine: Classifier) -> None:
    """An image of the class leaves it; another one is of no class then."""
    support: Photos = photos({"a": 3, "b": 2, "c": 2})
    assert mine.correct(support["a"][0], never="a").support.counts == {"a": 2, "b": 2, "c": 2}
    assert mine.correct(photos({"d": 1})["d"][0], never="a").support.counts[OTHER] == 1
    for label, never in ((None, None), ("a", "b")):
        with pytest.raises(EdgeAdaptError, match="either the class of the image, or one that it is not"):
            mine.correct(support["a"][0], label, never=never)
    with pytest.raises(DataError, match="there is no class 'x'; there are a, b, c"):
        mine.correct(support["a"][0], never="x")


def test_photos_of_no_class_change_no_answer(tiny: MetaModel) -> None:
    support = photos({"a": 3, "b": 2})
    without, with_others = tiny.adapt(support), tiny.adapt({**support, OTHER: photos({"d": 3})["d"]})
    assert with_others.labels == ("a", "b") and len(with_others.support) == 5 and len(with_others.support.others) == 3
    query = photos({"a": 1}, seed=9)["a"][0]
    assert with_others.classify(query).scores == without.classify(query).scores
    assert with_others.adaptation.leave_one_out == without.adaptation.leave_one_out
    np.testing.assert_array_equal(with_others.support.features, without.support.features)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda mine: mine.remove("x"), "there is no class 'x'; there are a, b, c"),
        (lambda mine: mine.remove("a", "x.png"), "'a' has no image 'x.png'; it has image, image, image"),
        (lambda mine: mine.remove("a").remove("b"), "adapting needs two classes or more (c given)"),
        (lambda mine: mine.rename("a", "b"), "there is a class 'b' already; merge the two"),
        (lambda mine: mine.rename("a", "two\nlines"), "cannot be a class name"),
        (lambda mine: mine.merge(["a", "x"], "a"), "there is no class 'x'"),
        (lambda mine: mine.merge(["a"], "a"), "that would change nothing"),
        (lambda mine: mine.add("a", photos({"a": 3})["a"]), "'a' has all of these images already"),
    ],
)
def test_an_edit_that_is_not_possible(edit: Callable[[Classifier], Classifier], fault: str, mine: Classifier) -> None:
    assert fault in refusal(lambda: edit(mine), DataError)
