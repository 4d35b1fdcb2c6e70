"""What a practitioner would put on features instead of a meta-learned head: class means, and logistic regression.

Both are `EpisodeModel`s without steps, so that `evaluate_episodes` measures them on the episodes that it draws for a bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.contract import HeadState

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Preprocessed images, uint8 [B, H, W, C], to features, float32 [B, D]."""

SCIKIT_LEARN = "scikit-learn==1.9.1"
MOST_ITERATIONS = 1000
_NO_LOSSES = np.empty(0, np.float32)


class ClassMeans:
    """The class whose mean is nearest, by Euclidean distance."""

    def __init__(self, embed: Embed) -> None:
        self.embed = embed

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """See `EpisodeModel.adapt`; `steps` count for nothing."""
        members = labels == np.arange(n_way)[:, None]  # [N, M]
        return {"means": members @ features / members.sum(axis=1, keepdims=True)}, _NO_LOSSES

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """Half the negative squared distances, plus what is the same for all classes, so that the nearest mean is the largest."""
        means = state["means"]
        logits: NDArray[np.float32] = (features @ means.T - (means**2).sum(axis=1) / 2).astype(np.float32)
        return logits


class LogisticRegression:
    """scikit-learn's, fitted to the support set.

    Args:
        embed: gives the features.
        c: the inverse of the strength of its penalty on the weights.

    Raises:
        SystemExit: scikit-learn is not installed.
    """

    def __init__(self, embed: Embed, c: float) -> None:
        try:
            from sklearn import linear_model
        except ImportError:
            raise SystemExit(
                f"Logistic regression needs scikit-learn; `python -m pip install {SCIKIT_LEARN}` brings it."
            ) from None
        self.embed = embed
        self._regression: Any = linear_model.LogisticRegression(C=c, max_iter=MOST_ITERATIONS)

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """See `EpisodeModel.adapt`; `steps` count for nothing."""
        fitted = self._regression.fit(features, labels)
        weight, bias = fitted.coef_, fitted.intercept_
        if n_way == 2:  # it has a weight for the second class alone
            weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
        return {"weight": weight, "bias": bias}, _NO_LOSSES

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """See `EpisodeModel.predict`."""
        logits: NDArray[np.float32] = (features @ state["weight"].T + state["bias"]).astype(np.float32)
        return logits
