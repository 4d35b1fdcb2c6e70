"""A regressor: what it reads, what it says of itself, its file, its edits, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_adapt.runtime.adaptation import regress
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.checking import check
from edge_adapt.runtime.editing import edit
from edge_adapt.runtime.errors import BundleError, DataError
from edge_adapt.runtime.info import info
from edge_adapt.runtime.model import MetaModel, load, load_classifier, load_model
from edge_adapt.runtime.regressor.left_out import errors_of, values_left_out
from edge_adapt.runtime.regressor.regressor import Measurement, Regressor
from tests.conftest import TINY
from tests.tiny_model import refusal
from tests.value_photos import bars, write_table

VALUES = np.linspace(0.1, 0.82, 10)


@pytest.fixture(scope="module")
def regressor(tiny: MetaModel) -> Regressor:
    return tiny.regress(bars(VALUES), 10 * VALUES, ["litres"])


def read(
    regressor: Regressor, values: np.ndarray[tuple[int], np.dtype[np.float64]], seed: int = 9
) -> list[Measurement]:
    return [found for found in regressor.predict_all(bars(values, seed)) if isinstance(found, Measurement)]


def test_new_photos_are_read_far_better_than_by_the_mean(regressor: Regressor) -> None:
    new = np.random.default_rng(1).uniform(0.1, 0.82, 30)
    found = read(regressor, new)
    errors = np.abs([answer.values["litres"] for answer in found] - 10 * new)
    assert errors.mean() < np.abs(10 * new - 10 * new.mean()).mean() / 3
    within = [
        low <= 10 * value <= high
        for value, (low, high) in zip(new, (a.intervals["litres"] for a in found), strict=True)
    ]
    assert np.mean(within) >= 0.8


def test_neither_order_nor_how_it_came_about_counts(tiny: MetaModel, regressor: Regressor) -> None:
    order = np.random.default_rng(2).permutation(10)
    images = bars(VALUES)
    shuffled = tiny.regress([images[index] for index in order], 10 * VALUES[order], ["litres"])
    grown = tiny.regress(images[:7], 10 * VALUES[:7], ["litres"]).add(images[7:], 10 * VALUES[7:])
    wrong = regressor.add(images[:1], [9.0])
    for other in (shuffled, grown, wrong.undo(), wrong.add(images[:1], 10 * VALUES[:1]), wrong.undo().redo().undo()):
        assert other.support.features.tobytes() == regressor.support.features.tobytes()
        assert other.predict(images[3]) == regressor.predict(images[3])
    assert wrong.predict(images[0]).values["litres"] > regressor.predict(images[0]).values["litres"] + 3
    assert len(wrong.support) == 10


def test_a_file_holds_all_of_it(regressor: Regressor, tmp_path: Path) -> None:
    path = tmp_path / "tank.edge"
    edited = regressor.add(bars(np.array([0.5]), 5), [5.0])
    edited.save(path)
    again = load(path, "cpu")
    assert isinstance(again, Regressor) and again.names == ("litres",)
    image = bars(np.array([0.33]), 7)[0]
    assert again.predict(image) == edited.predict(image)
    assert again.undo().predict(image) == regressor.predict(image)
    Bundle.open(path).verify()
    stripped = again.strip()
    stripped.save(tmp_path / "stripped.edge")
    assert not stripped.history.edits and stripped.predict(image) == again.predict(image)
    edit(path, Regressor.undo)
    facts = info(path)
    assert facts["kind"] == "regressor" and facts["classifier"] is None
    assert facts["regressor"]["values"] == ("litres",) and len(facts["regressor"]["shots"]) == 10
    assert "reads values where a classifier is needed" in refusal(lambda: load_classifier(path), BundleError)
    assert "adapted regressor where a meta-model is needed" in refusal(lambda: load_model(path), BundleError)


def test_errors_are_those_of_photos_that_are_left_out(tiny: MetaModel, regressor: Regressor) -> None:
    images = bars(VALUES)
    missed = []
    for index in range(10):
        rest = [image for number, image in enumerate(images) if number != index]
        left = tiny.regress(rest, np.delete(10 * VALUES, index), ["litres"])
        missed.append(abs(left.predict(images[index]).values["litres"] - 10 * VALUES[index]))
    assert regressor.errors.mean[0] == pytest.approx(np.mean(missed), rel=1e-4)
    assert regressor.errors.bound[0] == pytest.approx(np.max(missed), rel=1e-4)
    folds, values = values_left_out(regressor.graphs, regressor.support.features, regressor.support.targets, 20, most=4)
    assert folds.tolist() == [0, 3, 6, 9] and values.shape == (4, 1)


def test_the_bound_is_the_jackknifes() -> None:
    missed = np.arange(1, 31, dtype=np.float32)[:, None] * [[1, -2]]
    errors = errors_of(missed.astype(np.float32))
    assert errors.bound == (28, 56) and errors.mean == (15.5, 31)  # the 28th of 30: 0.9 * 31 = 27.9


def test_several_values_are_read_at_once(tiny: MetaModel) -> None:
    both = np.stack([VALUES, 100 - 3 * VALUES], axis=1)
    found = tiny.regress(bars(VALUES), both, ["height", "other"]).predict(bars(VALUES, 4)[5])
    assert list(found.values) == ["height", "other"]
    assert found.values["other"] == pytest.approx(100 - 3 * found.values["height"], rel=1e-4)


def test_a_wrong_value_does_not_fit(tiny: MetaModel, tmp_path: Path) -> None:
    table = write_table(tmp_path / "right", VALUES)
    assert not check(table, model=TINY, provider="cpu")
    table.write_text(table.read_text(encoding="utf-8").replace("7.png,6.600", "7.png,1.000"), encoding="utf-8")
    found = check(table, model=TINY, provider="cpu")
    assert [(finding.kind, finding.images) for finding in found][:1] == [("does not fit", ("7.png",))]
    assert "7.png is said to read 1 litres and looks like" in found[0].text
    regress(table, model=TINY, provider="cpu").save(tmp_path / "tank.edge")
    assert check(tmp_path / "tank.edge") == found


def test_what_cannot_be_learned_is_named(tiny: MetaModel, regressor: Regressor) -> None:
    images = bars(VALUES)
    assert "there are 2 photos with values, and 3 are needed" in refusal(
        lambda: tiny.regress(images[:2], [1, 2]), DataError
    )
    assert "all photos read 4 value" in refusal(lambda: tiny.regress(images, [4] * 10), DataError)
    assert "there are 10 images, and each needs 1 value." in refusal(lambda: tiny.regress(images, [1, 2]), DataError)
    assert "not a finite number" in refusal(lambda: tiny.regress(images, [np.nan] * 10), DataError)
    assert "cannot be the name" in refusal(lambda: tiny.regress(images, VALUES, ["a\nb"]), DataError)
    many = np.repeat(np.arange(3), 67)
    assert "takes at most 200" in refusal(lambda: tiny.regress([images[0]] * 201, many), DataError)
    assert "there is no image 'gone.jpg'" in refusal(lambda: regressor.remove("gone.jpg"), DataError)
    assert "no image is named" in refusal(regressor.remove, DataError)
