"""A `MetaLearner` behind the runtime's own interface: NumPy in, NumPy out, the same `embed`, `adapt` and `predict`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_adapt.networks.head import Head, as_numpy
from edge_adapt.networks.learner import MetaLearner, Pixels
from edge_adapt.networks.memory import in_parts_that_fit
from edge_adapt.runtime.contract import HeadState
from edge_adapt.runtime.images.preprocessing import Preprocessing


class HeadModel:
    """A head in PyTorch on features from anywhere, as an `edge_adapt.runtime.contract.EpisodeModel`.

    Args:
        head: on the CPU.
        embed: uint8 [B, H, W, C] to features, float32 [B, D].
    """

    def __init__(self, head: Head, embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
        self._head, self._embed = head, embed
        self.takes_steps = head.takes_steps
        """Whether `adapt` has an inner loop."""

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, H, W, C] to float32 [B, D]."""
        return self._embed(images)

    @torch.no_grad()
    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """See `edge_adapt.runtime.graphs.Graphs.adapt`."""
        state, losses = self._head.adapt(torch.from_numpy(features), torch.from_numpy(labels), n_way, steps)
        return {name: as_numpy(tensor) for name, tensor in state.items()}, as_numpy(losses)

    @torch.no_grad()
    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """See `edge_adapt.runtime.graphs.Graphs.predict`."""
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        return as_numpy(self._head.predict(torch.from_numpy(features), tensors))


class LearnerModel(HeadModel):
    """A model in PyTorch as an `edge_adapt.runtime.contract.EpisodeModel`, to evaluate it and to compare a bundle with it.

    The head is computed on the CPU, as on a device: it is a few hundred operations on small matrices, each of which would take a
    GPU longer to start than a CPU to compute.

    Args:
        learner: the model, in evaluation mode; its head as it is now.
        device: where it lies.
        embedding: what gives the features; None takes the learner's.
    """

    def __init__(self, learner: MetaLearner, device: torch.device, embedding: nn.Module | None = None) -> None:
        module = embedding or learner.embedding
        head = learner.head if device.type == "cpu" else copy.deepcopy(learner.head).to("cpu")
        super().__init__(head, lambda images: as_numpy(in_parts_that_fit(module, images, device)))

    @torch.no_grad()
    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, H, W, C] to float32 [B, D].

        Raises:
            EdgeAdaptError: memory does not suffice for a single image.
        """
        return super().embed(images)


class AllLayersModel(LearnerModel):
    """A model that adapts every layer and not the head alone, of a method that does so in meta-training.

    Its features are the normalized pixels, and its head state is every adapted tensor, by its name with "_" for ".".

    Args:
        learner: the model, in evaluation mode.
        device: where it lies.
        preprocessing: gives C, H and W.
    """

    def __init__(self, learner: MetaLearner, device: torch.device, preprocessing: Preprocessing) -> None:
        super().__init__(learner, device, Pixels(learner.embedding))
        self.takes_steps = True
        self._learner, self._device = learner, device
        self._image = (preprocessing.channels, preprocessing.height, preprocessing.width)
        names = [f"backbone.{name}" for name, _ in learner.embedding.backbone.named_parameters()]
        self._names = {name.replace(".", "_"): name for name in (*names, "head.weight", "head.bias")}

    @torch.no_grad()
    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """See `edge_adapt.runtime.graphs.Graphs.adapt`."""
        images = self._tensor(features).reshape(-1, *self._image)
        state, losses = self._learner.adapt_all_layers(images, self._tensor(labels), n_way, steps)
        return {held: as_numpy(state[name]) for held, name in self._names.items()}, as_numpy(losses)

    @torch.no_grad()
    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """See `edge_adapt.runtime.graphs.Graphs.predict`."""
        images = self._tensor(features).reshape(-1, *self._image)
        tensors = {self._names[held]: self._tensor(array) for held, array in state.items()}
        return as_numpy(self._learner.predict_all_layers(images, tensors))

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)
