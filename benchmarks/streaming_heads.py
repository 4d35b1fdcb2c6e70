"""What learns classes that come one experience after another, on features that stay: the runtime's classifier, and others.

Each is given the shots of an experience once, all of them of classes that it has not seen, and keeps what it wants; `nbytes` is
what it has to keep in order to classify and to go on. None is told of the classes of the experiences to come.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.contract import HeadState
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.model import MetaModel

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

STEPS = 200
"""Of plain gradient descent in an experience."""

PROJECTIONS = 2000
"""Of RanPAC, whose paper has 10,000: their Gram matrix alone would be 400 MB on the device."""

PENALTIES = tuple(10.0**power for power in range(4, -5, -1))

SHRINKAGE = 0.1
"""Of the covariance of streaming LDA, towards a multiple of the identity; the paper's 1e-4 is for features of some length."""


class Streaming(Protocol):
    """Learns experience by experience."""

    def learn(self, features: Features, labels: Labels) -> None:
        """The shots of an experience: features [M, D] and labels [M], which go on where those before ended."""

    def predict(self, features: Features) -> Labels:
        """Features [B, D] to labels [B], of all classes so far."""

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps."""


class Ours:
    """The runtime's classifier: it is adapted to the first experience, and every later class is one `add`."""

    def __init__(self, model: MetaModel) -> None:
        self._model = model
        self.classifier: Classifier | None = None
        self._shots: dict[str, list[EmbeddedImage]] = {}

    def learn(self, features: Features, labels: Labels) -> None:
        """See `Streaming.learn`."""
        new: dict[str, list[EmbeddedImage]] = {}
        for row, label in zip(features, labels, strict=True):
            name = f"{label}-{len(new.get(_name(label), []))}"
            new.setdefault(_name(label), []).append(EmbeddedImage(name, _digest(row), row))
        self._shots |= new
        if self.classifier is None:
            self.classifier = self._model.adapt_embedded(new)
            return
        for label, shots in new.items():
            self.classifier = self.classifier.add_embedded(label, shots)

    def is_that_of_adapting_once(self) -> bool:
        """Whether adapting to all shots at once gives the same head state, bit for bit."""
        once = self._model.adapt_embedded(self._shots)
        return _bytes(once._state) == _bytes(self._learned._state)

    def predict(self, features: Features) -> Labels:
        """See `Streaming.predict`; the names are in the order of the labels."""
        return _largest(self._model.graphs.predict(features, self._learned._state))

    @property
    def nbytes(self) -> int:
        """The head and the support features."""
        return sum(array.nbytes for array in (*self._learned._state.values(), self._learned.support.features))

    @property
    def _learned(self) -> Classifier:
        assert self.classifier is not None
        return self.classifier


class OursBeyondTheLimit:
    """The graph that `add` runs, for more classes than the runtime takes: it adapts to all shots so far in one go."""

    def __init__(self, model: MetaModel) -> None:
        self._model = model
        self._features, self._labels = np.empty((0, model.manifest.feature_size), np.float32), np.empty(0, np.int64)
        self._state: HeadState = {}

    def learn(self, features: Features, labels: Labels) -> None:
        """See `Streaming.learn`."""
        self._features, self._labels = (
            np.concatenate([self._features, features]),
            np.concatenate([self._labels, labels]),
        )
        n_way, steps = int(self._labels.max()) + 1, self._model.manifest.default_steps
        self._state, _ = self._model.graphs.adapt(self._features, self._labels, n_way, steps)

    def predict(self, features: Features) -> Labels:
        """See `Streaming.predict`."""
        return _largest(self._model.graphs.predict(features, self._state))

    @property
    def nbytes(self) -> int:
        """The head and the support features."""
        return sum(array.nbytes for array in (*self._state.values(), self._features))


class NearestClassMean:
    """The class whose mean is nearest, by Euclidean distance."""

    def __init__(self) -> None:
        self.means = np.empty((0, 0), np.float32)

    def learn(self, features: Features, labels: Labels) -> None:
        """See `Streaming.learn`."""
        means = np.stack([features[labels == label].mean(0) for label in np.unique(labels)])
        self.means = np.concatenate([self.means, means]) if len(self.means) else means

    def predict(self, features: Features) -> Labels:
        """See `Streaming.predict`."""
        return _largest(features @ self.means.T - (self.means**2).sum(1) / 2)

    @property
    def nbytes(self) -> int:
        """The means."""
        return self.means.nbytes


class StreamingLDA:
    """Hayes and Kanan, "Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis", CVPR workshops 2020,
    https://arxiv.org/abs/1909.01520: a mean a class and one covariance, of all shots so far around the means of their classes.
    """

    def __init__(self) -> None:
        self._means = NearestClassMean()
        self._scatter: NDArray[np.float64] | None = None
        self._count = 0

    def learn(self, features: Features, labels: Labels) -> None:
        """See `Streaming.learn`. As an experience has whole classes, adding up around their means is what shot by shot gives."""
        self._means.learn(features, labels)
        around = (features - self._means.means[labels]).astype(np.float64)
        scatter = around.T @ around
        self._scatter = scatter if self._scatter is None else self._scatter + scatter
        self._count += len(features)
        covariance = self._scatter / self._count
        size = len(covariance)
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / size * np.eye(size)
        self._weight = np.linalg.solve(shrunk, self._means.means.T.astype(np.float64))  # [D, N]
        self._bias = -(self._means.means.T * self._weight).sum(0) / 2

    def predict(self, features: Features) -> Labels:
        """See `Streaming.predict`."""
        return _largest(features @ self._weight + self._bias)

    @property
    def nbytes(self) -> int:
        """Means, covariance and what classifies, in float32."""
        assert self._scatter is not None
        return self._means.nbytes + 4 * int(self._scatter.size + self._weight.size + self._bias.size)


class RandomFeatures:
    """McDonnell et al., "RanPAC: Random Projections and Pre-trained Models for Continual Learning", NeurIPS 2023,
    https://arxiv.org/abs/2307.02251: ridge regression on random projections with ReLU, whose Gram matrix adds up over
    experiences. The penalty is the best on a fifth of the first experience's shots after learning from the others, as there; of
    equals, the largest.
    """

    def __init__(self, projections: int = PROJECTIONS) -> None:
        self._size = projections
        self._gram: NDArray[np.float32] | None = None
        self._penalty = 1.0

    def learn(self, features: Features, labels: Labels) -> None:
        """See `Streaming.learn`."""
        if self._gram is None:
            random = np.random.default_rng(0)
            self._projection = random.standard_normal((features.shape[1], self._size)).astype(np.float32)
            self._gram = np.zeros((self._size, self._size), np.float32)
            self._sums = np.empty((self._size, 0), np.float32)
            self._penalty = self._chosen(self._projected(features), labels)
        projected = self._projected(features)
        new = (labels[:, None] == np.unique(labels)).astype(np.float32)
        self._gram += projected.T @ projected
        self._sums = np.concatenate([self._sums, projected.T @ new], 1)
        self._weight = _ridge(self._gram, self._sums, self._penalty)

    def _projected(self, features: Features) -> Features:
        projected: Features = np.maximum(features @ self._projection, 0)
        return projected

    @staticmethod
    def _chosen(projected: Features, labels: Labels) -> float:
        held = np.arange(len(labels)) % 5 == 4
        gram, targets = (
            projected[~held].T @ projected[~held],
            (labels[~held, None] == np.unique(labels)).astype(np.float32),
        )
        sums = projected[~held].T @ targets

        def right(penalty: float) -> float:
            return float(np.mean(_largest(projected[held] @ _ridge(gram, sums, penalty)) == labels[held]))

        return max(PENALTIES, key=right)

    def predict(self, features: Features) -> Labels:
        """See `Streaming.predict`."""
        return _largest(self._projected(features) @ self._weight)

    @property
    def nbytes(self) -> int:
        """Projection, Gram matrix, sums and what classifies."""
        assert self._gram is not None
        return self._projection.nbytes + self._gram.nbytes + self._sums.nbytes + self._weight.nbytes


class NaiveSteps:
    """Softmax regression whose gradient steps see the shots of an experience alone, from where the one before ended; a new class
    starts from zero. Nothing keeps it from forgetting."""

    def __init__(self) -> None:
        self._weight = np.empty((0, 0), np.float32)

    def learn(self, features: Features, labels: Labels) -> None:
        """See `Streaming.learn`. A step is as long as the curvature of the loss lets it be."""
        rows = _with_one(features)
        weight = np.zeros((int(labels.max()) + 1, rows.shape[1]), np.float32)
        weight[: len(self._weight)] = self._weight if len(self._weight) else 0
        targets = (labels[:, None] == np.arange(len(weight))).astype(np.float32)
        length = 2 / np.linalg.norm(rows, 2) ** 2
        for _ in range(STEPS):
            logits = rows @ weight.T
            exponentials = np.exp(logits - logits.max(1, keepdims=True))
            weight += length * (targets - exponentials / exponentials.sum(1, keepdims=True)).T @ rows
        self._weight = weight

    def predict(self, features: Features) -> Labels:
        """See `Streaming.predict`."""
        return _largest(_with_one(features) @ self._weight.T)

    @property
    def nbytes(self) -> int:
        """The weights."""
        return self._weight.nbytes


def _largest(logits: NDArray[np.floating]) -> Labels:
    labels: Labels = logits.argmax(1)
    return labels


def _with_one(features: Features) -> Features:
    return np.concatenate([features, np.ones((len(features), 1), np.float32)], 1)


def _ridge(gram: NDArray[np.float32], sums: NDArray[np.float32], penalty: float) -> NDArray[np.float32]:
    weight = np.linalg.solve(gram.astype(np.float64) + penalty * np.eye(len(gram)), sums)
    return weight.astype(np.float32)


def _name(label: int) -> str:
    """Sorted by their names, classes are in the order of their labels."""
    return f"{label:05d}"


def _digest(row: Features) -> str:
    return hashlib.sha256(row.tobytes()).hexdigest()


def _bytes(state: HeadState) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}
