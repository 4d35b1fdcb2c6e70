"""The gradient head in PyTorch: a linear classifier whose inner loop is a few long, accelerated steps of gradient descent.

The outer loop differentiates through `adapt`, which is why this is PyTorch; `edge_adapt.export.heads.gradient` writes the same
two functions as ONNX graphs for the device.

Initialization from the prototypes follows Proto-MAML: Triantafillou et al., "Meta-Dataset", ICLR 2020, https://arxiv.org/abs/1903.03096.
The quadratic bound that a step minimizes is that of Böhning, "Multinomial logistic regression algorithm", Annals of the Institute
of Statistical Mathematics 1992; acceleration is Nesterov's as stated by Beck and Teboulle, "A fast iterative
shrinkage-thresholding algorithm", SIAM J. Imaging Sciences 2009.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.export.heads.gradient import (
    BIAS_RATE,
    DOUBLINGS,
    LEAST_SPREAD,
    LEAST_TRACE,
    WAYS_OF_A_STEP,
    GradientHeadParameters,
    gradient_head_graphs,
)
from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.networks.head import Head, HeadState, class_shares, no_losses

Initialization = Literal["prototype", "zero"]


LEAST_LOG_PROBABILITY = math.log(torch.finfo(torch.float32).tiny)
"""The exported graph takes the logarithm of a softmax, which knows nothing smaller."""

PULL = 1e-3
"""Before meta-training."""


class GradientHead(Head):
    """Softmax regression on the features, `weight` [N, D] and `bias` [N], fitted by gradient steps to the support set.

    The loss is the cross-entropy averaged within each class and then over the classes, share_i = 1 / (N * shots of its class): a
    plain mean over the support set would let the class with 15 shots outweigh the class with 1 (1 to 9 points of accuracy lost in
    trials at 20 ways). To it comes a pull towards where the weights start from.

    Steps cannot diverge. With f_i the features less their mean over the support set, weighted by the shares, let C be the matrix
    sum_i share_i f_i f_i^T. Whatever the labels are, the loss curves by C / 2 at most, which gives a quadratic upper bound of it
    around any weights; taking the mean out, which the bias makes up for, keeps a large common mean of the features from making
    all steps short. curvature = trace(C^4)^(1/4) is an upper bound of the largest eigenvalue of C, a few percent above it. A step
    goes where four gradient steps on that quadratic bound would lead, each of the length 2 / curvature, and then a part of the
    way back to the start W_0. They are linear in the gradient, so that one matrix P does: from the weights W, with p the
    probabilities of the lookahead V,

        V = W + t / (t + 3) * (W - W before the last step)
        P = (I - (I - C / curvature)^4) C^-1
        W = W_0 + (V - W_0 + 2 sum_i share_i (y_i - p_i) f_i P) / (1 + pull)

    and likewise for the bias, whose P is a number. By P, directions in which the support images differ little count for nearly as
    much as those in which they differ most, where plain steps, and logistic regression, hardly come to use them: with 20 classes
    of photos that is worth two points. Many classes need more steps: above 20 ways a step is two of these, above 40 three, and
    so on.

    Args:
        initialization: `prototype` starts from weight = 2 s c, bias = -s |c|^2 for the class means c of the features, with
            which the logits are -s |feature - c|^2 up to a term that softmax cancels; `zero` starts from zero.
        scale: s before meta-training.
    """

    takes_steps = True

    def __init__(self, initialization: Initialization = "prototype", scale: float = 0.1) -> None:
        super().__init__()
        self.initialization = initialization
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=initialization == "prototype")
        self.log_pull = nn.Parameter(torch.tensor(math.log(PULL)))

    def initialize(self, features: Tensor, labels: Tensor, n_way: int) -> HeadState:
        """The head state before the first step. Shapes as for `adapt`."""
        if self.initialization == "zero":
            shape = features.shape[:-2]
            return {
                "weight": features.new_zeros(*shape, n_way, features.shape[-1]),
                "bias": features.new_zeros(*shape, n_way),
            }
        prototypes = class_shares(labels, n_way, features.dtype).transpose(-1, -2) @ features  # [..., N, D]
        scale = self.log_scale.exp()
        return {"weight": 2 * scale * prototypes, "bias": -scale * prototypes.square().sum(-1)}

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """The inner loop; see `Head.adapt`.

        The support loss of a step is that of the lookahead which the step is taken from, the start's for the first: the
        cross-entropy in nats, averaged within each class and then over the classes, of probabilities no smaller than the smallest
        normal float32.
        """
        targets = functional.one_hot(labels, n_way).to(features.dtype)  # [..., M, N]
        share = class_shares(labels, n_way, features.dtype).sum(-1, keepdim=True) / n_way  # [..., M, 1]
        mean = (share * features).sum(-2, keepdim=True)  # [..., 1, D]
        centred = features - mean
        start = self.initialize(centred, labels, n_way)
        # The bias is the weight of one more feature, which is 1: two operations in place of four, of which a GPU waits for each.
        rows = torch.cat([centred, torch.ones_like(share)], -1)  # [..., M, D + 1]
        start_weight = torch.cat([start["weight"], start["bias"].unsqueeze(-1)], -1)  # [..., N, D + 1]
        logits_0 = rows @ start_weight.transpose(-1, -2)
        least = LEAST_SPREAD * features.square().sum((-2, -1), keepdim=True)
        kept = 1 / (1 + self.log_pull.exp())
        directions = torch.cat([share.sqrt() * long_steps(share.sqrt() * centred, least), BIAS_RATE * share], -1)
        directions = 2 * kept * directions  # [..., M, D + 1]
        # How far the weights are from the start, and the lookahead's.
        moved = ahead = torch.zeros_like(start_weight)
        losses = []
        repeats = -(-n_way // WAYS_OF_A_STEP)
        for step in range(steps * repeats):
            log_probabilities = torch.log_softmax(logits_0 + rows @ ahead.transpose(-1, -2), dim=-1)
            if step % repeats == 0:
                losses.append(-(targets * log_probabilities.clamp(min=LEAST_LOG_PROBABILITY) * share).sum((-1, -2)))
            error = targets - log_probabilities.exp()  # [..., M, N]
            before, moved = moved, kept * ahead + error.transpose(-1, -2) @ directions
            ahead = torch.lerp(before, moved, 1 + (step + 1) / (step + 4))
        weight = start_weight + moved
        weight, bias = weight[..., :-1], weight[..., -1]
        bias = bias - (mean @ weight.transpose(-1, -2)).squeeze(-2)
        return {"weight": weight, "bias": bias}, torch.stack(losses) if losses else no_losses(features)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [..., B, D] and the head state to logits [..., B, N]."""
        return features @ state["weight"].transpose(-1, -2) + state["bias"].unsqueeze(-2)

    def graphs(self, feature_size: int) -> HeadGraphs:
        """See `Head.graphs`."""
        return gradient_head_graphs(self.parameters_for_export(), feature_size)

    def parameters_for_export(self) -> GradientHeadParameters:
        """The learned numbers that the exported graphs hold as constants."""
        return GradientHeadParameters(
            scale=self.log_scale.exp().item() if self.initialization == "prototype" else None,
            pull=self.log_pull.exp().item(),
        )


def long_steps(rows: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """rows P [..., M, D], for rows [..., M, D] with C = rows^T rows and P as `GradientHead` has it.

    P is 1 / curvature times the sum of the first four powers of I - C / curvature, from the power 0 on. Half of such a sum, times
    a power, is the other half. Where there are fewer rows than columns they are those of the rows with each other.
    """
    across = rows.transpose(-1, -2)
    wide = rows.shape[-2] <= rows.shape[-1]
    products = rows @ across if wide else across @ rows
    length = 1 / largest_eigenvalue_bound(products, least)
    left = torch.eye(products.shape[-1], dtype=rows.dtype, device=rows.device) - length * products
    summed = length * rows
    for _ in range(DOUBLINGS):
        summed = summed + (left @ summed if wide else summed @ left)
        left = left @ left
    return summed


def largest_eigenvalue_bound(matrix: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """trace(matrix^4)^(1/4) [..., 1, 1] of a positive semidefinite matrix [..., K, K]; above 0.

    It is the 4-norm of the eigenvalues: the largest of them at least, and that times the fourth root of their number at most.
    Where the trace is below `least` [..., 1, 1] it is taken for that.
    """
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    trace = torch.maximum(trace, torch.as_tensor(least, dtype=trace.dtype, device=trace.device)).clamp(min=LEAST_TRACE)
    relative = matrix / trace  # or float32 would over- or underflow
    fourth: Tensor = (relative @ relative).square().sum((-2, -1), keepdim=True).clamp(min=LEAST_TRACE)
    return trace * fourth**0.25
