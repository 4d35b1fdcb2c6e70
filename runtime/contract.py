"""The three verbs as a protocol, wherever they run, and the limits that all of them keep to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

HeadState: TypeAlias = "dict[str, NDArray[Any]]"
"""The named arrays that `adapt` gives and `predict` takes."""


class EpisodeModel(Protocol):
    """`embed`, `adapt` and `predict` on arrays, wherever they run."""

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Preprocessed images, uint8 [B, H, W, C], to features, float32 [B, D]."""

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """Support features [M, D] and labels [M] in 0..n_way-1 to the head state and the support loss before each step."""

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """Query features [B, D] and the head state to logits [B, N]."""


BATCH = 64
"""Images that are embedded together."""

MAX_STEPS = 10_000
"""Steps of the inner loop at most: far beyond what helps, and few enough that a slip of the finger ends."""
