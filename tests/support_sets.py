"""Support sets for Hypothesis: ways, unequal shots, feature sizes and steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SupportSet:
    """A support set in no particular order, queries, and a head to adapt to it."""

    features: NDArray[np.float32]
    """[M, D]"""
    labels: NDArray[np.int64]
    """[M], each of 0..n_way-1 at least once"""
    query: NDArray[np.float32]
    """[B, D]"""
    n_way: int
    steps: int
    scale: float | None
    pull: float = 1e-3

    def __repr__(self) -> str:
        shots = np.bincount(self.labels).tolist()
        head = f"scale={self.scale}, pull={self.pull}"
        return f"SupportSet(shots={shots}, D={self.features.shape[1]}, steps={self.steps}, {head})"


@st.composite
def support_sets(draw: st.DrawFn, *, ways: int = 20, shots: int = 8, size: int = 80, steps: int = 60) -> SupportSet:
    """Any support set up to these numbers, with a common mean that may be large beside how far features are apart."""
    counts = draw(st.lists(st.integers(1, shots), min_size=2, max_size=ways))
    feature_size = draw(st.integers(1, size))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.permutation(np.repeat(np.arange(len(counts), dtype=np.int64), counts))
    centers = random.normal(size=(len(counts), feature_size))
    mean = draw(st.sampled_from([0.0, 0.3, 3.0])) * random.normal(size=feature_size)
    features = mean + centers[labels] + 0.5 * random.normal(size=(len(labels), feature_size))
    query = mean + random.normal(size=(7, feature_size))
    return SupportSet(
        features=(features / feature_size**0.5).astype(np.float32),
        labels=labels,
        query=(query / feature_size**0.5).astype(np.float32),
        n_way=len(counts),
        steps=draw(st.integers(0, steps)),
        scale=draw(st.none() | st.sampled_from([0.01, 0.1, 1.0, 5.0])),
        pull=draw(st.sampled_from([1e-4, 1e-2, 1.0])),
    )
