"""A support set is in one order, however it came about."""

from __future__ import annotations

import hashlib
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.classifier.support import SupportSet
from edge_adapt.runtime.graphs import EmbeddedImage

shots = st.builds(
    lambda content, name: EmbeddedImage(
        name, hashlib.sha256(bytes([content])).hexdigest(), np.full(4, content, np.float32)
    ),
    st.integers(0, 20),
    st.sampled_from(["1.png", "2.png", "line\nbreak.png"]),
)
support_sets = st.dictionaries(st.sampled_from("abcde"), st.lists(shots, min_size=1, max_size=5), min_size=2)


def same(first: SupportSet, second: SupportSet) -> bool:
    return (first.labels, first.shots) == (second.labels, second.shots) and (
        first.features.tobytes() == second.features.tobytes() and first.targets.tolist() == second.targets.tolist()
    )


@settings(deadline=None)
@given(support_sets, st.randoms())
def test_the_order_in_which_images_come_does_not_matter(
    images: dict[str, list[EmbeddedImage]], shuffling: random.Random
) -> None:
    labels = sorted(images, key=lambda _: shuffling.random())
    shuffled = {label: sorted(images[label], key=lambda _: shuffling.random()) for label in labels}
    support = SupportSet.of_classes(images)
    assert same(SupportSet.of_classes(shuffled), support) and same(SupportSet.of(support.images), support)
    assert support.labels == tuple(sorted(images)) and len(support) == sum(map(len, images.values()))
    assert [shot.label for shot in support.shots] == support.targets.tolist() == sorted(support.targets.tolist())
    for shot, features in zip(support.shots, support.features, strict=True):
        assert shot.sha256 == hashlib.sha256(bytes([int(features[0])])).hexdigest() and "\n" not in shot.name
