"""MAML: the inner loop adapts every layer, and the outer loop differentiates through it.

Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017, https://arxiv.org/abs/1703.03400. Its
first-order form, FOMAML, takes the inner gradients for constants: the outer gradient is the gradient at the adapted weights.

One learned rate for each tensor, and, as options, what Antoniou et al. added in MAML++ ("How to train your MAML", ICLR 2019,
https://arxiv.org/abs/1810.09502): a rate for each tensor and step, and a loss after each step. Their cosine schedule of the outer
learning rate is that of all methods here. Their batch statistics of each step are not taken: no answer here depends on the
queries beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from edge_adapt.methods.method import ALL_LAYERS, Method
from edge_adapt.networks.inner_loop import InnerLoop

if TYPE_CHECKING:
    from edge_adapt.training.config import TrainingConfig


def _inner_loop(config: TrainingConfig, backbone: nn.Module) -> InnerLoop:
    first_order = config.first_order or config.method == "fomaml"
    return InnerLoop(
        backbone, "step" if config.per_step_rates else "tensor", config.inner_steps, first_order, config.recompute
    )


_OPTIONS = ALL_LAYERS | {"per_step_rates"}

METHOD = Method("gradient steps on all layers, differentiated through", inner_loop=_inner_loop, options=_OPTIONS)

FIRST_ORDER = Method(
    "maml whose inner gradients are constants", inner_loop=_inner_loop, options=_OPTIONS - {"first_order", "recompute"}
)
