"""Meta-SGD: MAML that learns a rate for every single number in the network.

Li et al., "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017, https://arxiv.org/abs/1707.09835. The rates are
learned with the initialization and may be negative, so that the outer loop learns the direction of an inner step as well as its
length. The head has one rate a step for all classes alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from edge_adapt.methods.method import ALL_LAYERS, Method
from edge_adapt.networks.inner_loop import InnerLoop

if TYPE_CHECKING:
    from edge_adapt.training.config import TrainingConfig


def _inner_loop(config: TrainingConfig, backbone: nn.Module) -> InnerLoop:
    return InnerLoop(backbone, "element", config.inner_steps, config.first_order, config.recompute)


METHOD = Method("maml with a learned rate for every weight", inner_loop=_inner_loop, options=ALL_LAYERS)
