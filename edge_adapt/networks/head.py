"""What every head is, whatever its method: `adapt`, `predict`, a loss to meta-train it with, and the same two as graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.export.heads.head_graphs import HeadGraphs

HeadState = dict[str, Tensor]
"""Named tensors that `adapt` returns and `predict` takes."""


class Head(nn.Module, ABC):
    """The last layer of a model, which a support set adapts. Leading dimensions, if any, are episodes, adapted in one go."""

    takes_steps: ClassVar[bool] = False
    """Whether `adapt` has an inner loop."""

    @abstractmethod
    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """Learn a task.

        Args:
            features: support features, float [..., M, D].
            labels: int64 [..., M] in 0..n_way-1, each at least once.
            n_way: the number of classes N.
            steps: how many gradient steps to take, 0 or more; heads without steps pass over it.

        Returns:
            The head state, and the support loss before each step [steps, ...], of length 0 for a head without steps.
        """

    @abstractmethod
    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [..., B, D] and the head state to logits [..., B, N]."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The outer loss, scalar, of logits [..., B, N] for the query labels [..., B]: cross-entropy in nats."""
        return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())

    @abstractmethod
    def graphs(self, feature_size: int) -> HeadGraphs:
        """The head as it is now as ONNX graphs, for features of this size D."""


def at_least_float32(features: Tensor) -> Tensor:
    """A head is a few small matrices: float32 costs nothing there, and gradients through it deserve it."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def as_numpy(tensor: Tensor) -> NDArray[np.float32]:
    """A tensor that needs no gradient, or under `torch.no_grad`, as float32 outside of PyTorch."""
    array: NDArray[np.float32] = tensor.to("cpu", torch.float32).numpy()
    return array


def class_shares(labels: Tensor, n_way: int, dtype: torch.dtype) -> Tensor:
    """What each support image counts in the mean of each class, [..., M, N]: 1 / shots in its own; for labels [..., M]."""
    targets = functional.one_hot(labels, n_way).to(dtype)
    return targets / targets.sum(-2, keepdim=True).clamp(min=1)


def no_losses(features: Tensor) -> Tensor:
    """The losses of no steps [0, ...], for support features [..., M, D]."""
    return features.new_zeros(0, *features.shape[:-2])
