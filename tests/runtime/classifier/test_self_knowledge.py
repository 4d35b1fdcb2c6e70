"""What a classifier knows about itself: scores, threshold, temperature and estimate, against what they are defined as."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_adapt.runtime.bundle.bundle import SelfKnowledge
from edge_adapt.runtime.bundle.card import Priors
from edge_adapt.runtime.bundle.classifier_json import AdaptationRecord, record_from_json, record_to_json
from edge_adapt.runtime.bundle.manifest import manifest_from_json, manifest_to_json
from edge_adapt.runtime.classifier.calibration import negative_log_likelihood, prior_temperature, temperature
from edge_adapt.runtime.classifier.estimate import advice, estimate
from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut
from edge_adapt.runtime.classifier.rejection import Likeness, familiarity, known_scores
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.model import load_classifier, load_model
from tests import bundle_samples as samples
from tests.tiny_model import photos, variant

PRIORS = Priors(0.7, -0.3, 0.1, -1.0, 0.2)
KNOWLEDGE = SelfKnowledge(0.5, 0.6, 0.1, 2.0)
SUMS = dict.fromkeys(samples.GRAPHS, "0" * 64)


def support(counts: tuple[int, ...], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of classes that are apart, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = random.normal(size=(len(counts), 12)) + 2
    return (centres[labels] + 0.5 * random.normal(size=(len(labels), 12))).astype(np.float32), labels


def cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_of_balanced_shots_the_score_is_the_cosine_to_the_nearest_prototype() -> None:
    features, labels = support((3, 3, 3))
    likeness = Likeness.of(features, labels, own_logit=0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    prototypes = [unit[labels == label].mean(axis=0) for label in range(3)]
    different = labels[:, None] != labels
    common = 0.85 * (unit @ unit.T)[different].mean()
    queries = support((2, 2, 2), 1)[0]
    expected = [
        (max(cosine(query, prototype) for prototype in prototypes) - common) / (1 - common) for query in queries
    ]
    np.testing.assert_allclose(likeness.scores(queries, np.zeros((6, 3), np.float32)), expected, rtol=1e-5)


def test_scores_depend_on_neither_the_lengths_of_features_nor_the_order_of_classes() -> None:
    features, labels = support((2, 4, 1))
    queries, logits = support((2, 2, 2), 1)[0], np.random.default_rng(2).normal(size=(6, 3))
    first = Likeness.of(features, labels, 1.5).scores(queries, logits)
    turned = Likeness.of(3 * features, 2 - labels, 1.5).scores(queries * 5, logits[:, ::-1])
    np.testing.assert_allclose(first, turned, rtol=1e-5)


def test_a_shot_that_is_left_out_scores_as_one_that_was_never_there() -> None:
    features, labels = support((4, 4))
    likeness, logits = Likeness.of(features, labels, 0), np.zeros((8, 2), np.float32)
    found = likeness.left_out_scores(features, labels, LeaveOneOut(np.arange(8), labels, logits))
    rest = dataclasses.replace(likeness, prototypes=likeness.prototypes.copy())
    unit = features[1:4] / np.linalg.norm(features[1:4], axis=1, keepdims=True)
    rest.prototypes[0] = unit.mean(axis=0) / likeness.lengths[0]
    np.testing.assert_allclose(found[0], rest.scores(features[:1], logits[:1])[0], rtol=1e-5)


def test_a_class_with_one_shot_beside_many_is_as_familiar() -> None:
    scores = []
    for counts in ((1, 20), (20, 20)):
        features, labels = support(counts)
        queries = support((20, 20), 0)[0][:20] + 0.1
        scores.append(Likeness.of(features, labels, 0).scores(queries, np.zeros((20, 2), np.float32)).mean())
    assert abs(scores[0] - scores[1]) < 0.2


def test_the_score_falls_with_the_likeness_to_a_photo_of_no_class_as_the_format_says() -> None:
    features, labels = support((3, 3))
    others, queries = support((2, 2), 5)[0], support((2, 2), 6)[0]
    logits = np.zeros((4, 2), np.float32)
    without, having = Likeness.of(features, labels, 0), Likeness.of(features, labels, 0, others)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, others)]
    common = 0.85 * without.between
    expected = 0.35 * ((unit[0] @ unit[1].T).max(axis=1) - common) / (1 - common)
    found = without.scores(queries, logits) - having.scores(queries, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(without.strangeness(queries), 0)
    left_out = LeaveOneOut(np.arange(6), labels, np.zeros((6, 2), np.float32))
    scores = [of.left_out_scores(features, labels, left_out) for of in (without, having)]
    np.testing.assert_allclose(scores[0] - scores[1], having.strangeness(features), rtol=1e-5)


def test_what_is_of_no_class_once_is_less_familiar_the_next_time(tmp_path: Path) -> None:
    model = load_model(variant(tmp_path / "model.edge", priors=PRIORS), provider="cpu")
    mine = model.adapt(photos({"a": 4, "b": 4}))
    stranger, again = photos({"c": 2}, 3)["c"]
    told = mine.correct(stranger, OTHER)
    before, after = mine.classify(again), told.classify(again)
    assert before.familiarity is not None and after.familiarity is not None
    assert after.familiarity < before.familiarity and after.scores == before.scores
    told.save(tmp_path / "told.edge")
    assert load_classifier(tmp_path / "told.edge", provider="cpu").classify(again) == after
    known = photos({"a": 1}, 9)["a"][0]
    assert told.classify(known).known


def test_without_shots_left_out_the_priors_alone_count_and_with_many_they_hardly_do() -> None:
    assert known_scores(np.empty(0), 2, PRIORS) == pytest.approx((0.55, 0.1))
    assert known_scores(np.empty(0), 2, PRIORS, 0.2) == pytest.approx((0.35, 0.1))
    random = np.random.default_rng(0).normal(1.5, 0.3, 100_000)
    assert known_scores(random, 2, PRIORS) == pytest.approx((1.5, 0.3), abs=0.01)


def test_familiarity_is_a_share() -> None:
    shares = [familiarity(score, 0.6, 0.1) for score in (-1e9, 0.3, 0.6, 0.9, 1e9)]
    assert shares == sorted(shares) and shares[0] < 1e-300 and shares[2] == 0.5 and shares[-1] == 1
    assert familiarity(0.6, 0.6, 0.0) == 0.5


def test_the_temperature_is_the_priors_without_evidence_and_the_likeliest_with_much() -> None:
    nothing = LeaveOneOut(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 3), np.float32))
    assert temperature(nothing, 2, 0.5, PRIORS) == pytest.approx(np.exp(-0.9) / 0.5)
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (4000, 3)).astype(np.float32)
    chances = np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(3, p=chance) for chance in chances])
    assert temperature(LeaveOneOut(np.arange(4000), labels, logits), 2, 0.5, PRIORS) == pytest.approx(2, rel=0.1)


def test_the_likelihood_is_that_of_the_softmax_and_a_temperature_stays_in_bounds() -> None:
    logits, labels = np.array([[1, 2, 0], [900, -900, 0]], np.float32), np.array([1, 1])
    found = negative_log_likelihood(logits, labels, np.array([1.0, 2.0]))
    np.testing.assert_allclose(found[0], [np.log(np.exp([1, 2, 0]).sum()) - 2, 1800])
    np.testing.assert_allclose(found[1, 1], 900)
    assert prior_temperature(1, 1.0, 100, 100) == 20 and prior_temperature(1, 0.0, -100, 0) == 0.05


def test_an_estimate_says_how_far_it_holds_and_what_it_does_not_cover() -> None:
    logits = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32)
    found = estimate(LeaveOneOut(np.arange(4), np.array([0, 0, 1, 1]), logits), {"a": 2, "b": 2, "c": 1})
    assert found is not None and (found.right, found.left_out, found.uncovered) == (3, 4, ("c",))
    assert 0 <= found.interval[0] < 0.75 < found.accuracy < found.interval[1] <= 1
    assert found.with_twice is None  # there are two shots of a class, or fewer
    empty = LeaveOneOut(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2), np.float32))
    assert estimate(empty, {"a": 1, "b": 1}) is None
    assert advice({"a": 9, "b": 1, "c": 4, "d": 5}) == {"b": 4, "c": 1}


def test_twice_the_shots_leave_three_quarters_of_the_errors() -> None:
    logits = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [1, 0]], np.float32)
    found = estimate(LeaveOneOut(np.arange(6), np.array([0, 0, 0, 1, 1, 1]), logits), {"a": 3, "b": 3})
    assert found is not None and found.with_twice is not None
    assert 1 - found.with_twice == pytest.approx(0.75 * (1 - found.accuracy)) and found.accuracy < 1
    faultless = estimate(LeaveOneOut(np.arange(2), np.array([0, 1]), np.eye(2, dtype=np.float32)), {"a": 3, "b": 3})
    assert faultless is not None and faultless.with_twice == 1


def test_a_saved_classifier_says_what_it_said_before(tmp_path: Path) -> None:
    model = load_model(variant(tmp_path / "model.edge", priors=PRIORS), provider="cpu")
    mine = model.adapt(photos({"a": 4, "b": 4}))
    mine.save(tmp_path / "mine.edge")
    saved = load_classifier(tmp_path / "mine.edge", provider="cpu")
    noise = np.random.default_rng(5).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    for image in (photos({"a": 1}, 9)["a"][0], noise):
        first, second = mine.classify(image), saved.classify(image)
        assert first == second and first.familiarity is not None
        assert first.known == (first.familiarity >= 0.05)
        assert not mine.classify(image, unknown_at=1).known
        never = mine.classify(image, unknown_at=0)
        assert never.known and never.familiarity is None and never.scores == first.scores


def test_a_model_without_priors_knows_every_image_and_has_temperature_1(tmp_path: Path) -> None:
    mine = load_model(variant(tmp_path / "model.edge"), provider="cpu").adapt(photos({"a": 2, "b": 2}))
    image = photos({"c": 1})["c"][0]
    prediction = mine.classify(image)
    assert prediction.known and prediction.familiarity is None and mine.self_knowledge is None


def test_priors_are_of_version_5_and_come_back() -> None:
    manifest = samples.manifest(graphs=SUMS, priors=PRIORS)
    written = json.loads(manifest_to_json(manifest, "a.edge"))
    assert written["format_version"] == 5 and written["priors"] == dataclasses.asdict(PRIORS)
    assert manifest_from_json(json.dumps(written).encode(), "a.edge").priors == PRIORS
    with pytest.raises(BundleError, match="unknown key 'priors'"):
        manifest_from_json(json.dumps(written | {"format_version": 4}).encode(), "a.edge")


@pytest.mark.parametrize("value", [None, True, "1", 101, -101, float("inf")])
@pytest.mark.parametrize("key", dataclasses.asdict(PRIORS))
def test_hostile_priors_are_refused(key: str, value: object) -> None:
    written = json.loads(manifest_to_json(samples.manifest(graphs=SUMS, priors=PRIORS), "a.edge"))
    written["priors"][key] = value
    with pytest.raises(BundleError, match=r"a\.edge: manifest\.json"):
        manifest_from_json(json.dumps(written).encode(), "a.edge")


@pytest.mark.parametrize("changes", [{"extra": 1}, {"score_spread": -0.1}])
def test_priors_with_another_key_or_a_negative_spread_are_refused(changes: dict[str, float]) -> None:
    written = json.loads(manifest_to_json(samples.manifest(graphs=SUMS, priors=PRIORS), "a.edge"))
    written["priors"] |= changes
    with pytest.raises(BundleError, match="priors"):
        manifest_from_json(json.dumps(written).encode(), "a.edge")


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0}, {"temperature": 21}, {"score_spread": -1}, {"own_logit": -1}, {"score": "x"}, {"more": 1}],
)
def test_hostile_self_knowledge_is_refused(changes: dict[str, object]) -> None:
    manifest, given = samples.manifest(graphs=SUMS, priors=PRIORS), samples.adaptation()
    sums = dict.fromkeys(("head/weight.npy", "head/count.npy"), "0" * 64)
    arrays = sums | {"support/features.npy": "0" * 64, "support/targets.npy": "0" * 64}
    record = AdaptationRecord(given.labels, (), given.shots, 2, (0.75, 0.5), 0.5, arrays, KNOWLEDGE)
    written = json.loads(record_to_json(record, "a.edge"))
    assert record_from_json(json.dumps(written).encode(), manifest, "a.edge").self_knowledge == KNOWLEDGE
    hostile = written | {"self_knowledge": written["self_knowledge"] | changes}
    with pytest.raises(BundleError, match=r"a\.edge: classifier\.json"):
        record_from_json(json.dumps(hostile).encode(), manifest, "a.edge")
    with pytest.raises(BundleError, match="unknown key 'self_knowledge'"):
        record_from_json(json.dumps(written).encode(), samples.manifest(graphs=SUMS), "a.edge")
    del written["self_knowledge"]
    with pytest.raises(BundleError, match='lacks "self_knowledge"'):
        record_from_json(json.dumps(written).encode(), manifest, "a.edge")
