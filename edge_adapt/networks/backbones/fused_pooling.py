"""BatchNorm, 2x2 max-pooling and ReLU as one, compiled for a CPU while a backbone trains.

One after the other, PyTorch's layers read and write a large map a dozen times forward and backward, and a small network spends
three quarters of its training time on that. Together they need it four times, after two observations. A maximum may be taken
before a scale and a shift; so nothing is normalized but what is left after pooling, a quarter. And the gradient through
the statistics is, in each channel, linear in the map; so it is added where the gradient of the maxima is written.

`torch.compile` makes the loops, for which it needs a C++ compiler.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def normalized_maxima(normalization: nn.Module, maps: Tensor, fused: bool) -> Tensor:
    """Normalization, the maxima of 2x2 positions, and ReLU: [B, C, H, W] to [B, C, H // 2, W // 2].

    ReLU comes last, which gives the same numbers for a quarter of its work. Where `fused`, what BatchNorm computes of a
    piece in training on a CPU is one where H and W are even; the numbers are the same but for rounding, and for the gradient
    of a weight of exactly zero, to which all positions are alike.
    """
    if (
        fused
        and type(normalization) is nn.BatchNorm2d
        and normalization.training
        and normalization.affine
        and normalization.momentum is not None
        and maps.device.type == "cpu"
        and maps.shape[2] % 2 == maps.shape[3] % 2 == 0
    ):
        if normalization.num_batches_tracked is not None:
            normalization.num_batches_tracked.add_(1)
        pooled: Tensor = _NormalizedMaxima.apply(  # type: ignore[no-untyped-call]
            maps,
            normalization.weight,
            normalization.bias,
            normalization.running_mean,
            normalization.running_var,
            normalization.momentum,
            normalization.eps,
        )
        return pooled
    return functional.relu(functional.max_pool2d(normalization(maps), 2))


class _NormalizedMaxima(torch.autograd.Function):
    """In the layout [B, H, W, C], in which a CPU's convolutions leave their maps."""

    @staticmethod
    def forward(
        context: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        """[B, C, H, W] to [B, C, H / 2, W / 2]; moves the running statistics."""
        mean, variance = torch.batch_norm_update_stats(maps, running_mean, running_var, momentum)
        deviation = torch.rsqrt(variance + eps)
        scale = weight * deviation
        maps = maps.permute(0, 2, 3, 1).contiguous()
        pooled, largest, position = _compiled(_pool)(maps, scale, bias - mean * scale)
        context.save_for_backward(maps, largest, position, weight, bias, mean, deviation)
        result: Tensor = pooled.permute(0, 3, 1, 2)
        return result

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of the maps, the weight and the bias."""
        maps, largest, position, weight, bias, mean, deviation = context.saved_tensors
        scale = weight * deviation
        shift = bias - mean * scale
        gradient = gradient.permute(0, 2, 3, 1).contiguous()
        of_bias, of_largest = _compiled(_sums)(largest, gradient, scale, shift)
        of_weight = (of_largest - mean * of_bias) * deviation
        # What each position adds to the mean and the variance of its channel: offset + slope * value.
        slope = -scale * deviation * of_weight / (maps.numel() / maps.shape[3])
        offset = -scale * of_bias / (maps.numel() / maps.shape[3]) - slope * mean
        positions = torch.arange(4.0).view(2, 1, 2, 1).expand(2, 1, 2, maps.shape[3]).contiguous()
        of_maps = _compiled(_spread)(maps, largest, position, gradient, scale, shift, offset, slope, positions)
        return of_maps.permute(0, 3, 1, 2), of_weight, of_bias, None, None, None, None


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """One compilation for maps of all sizes."""
    return torch.compile(function, dynamic=True)


def _pool(maps: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalized maxima [B, H / 2, W / 2, C], the values that these are made of, and where they stood, 0 to 3.

    Of equals it is the first, as in PyTorch.
    """
    b, h, w, c = maps.shape
    squares = _wide(maps).reshape(b, h // 2, 2, w // 2, 2, c)
    sign = torch.where(scale < 0, -1.0, 1.0).to(squares.dtype)  # the smallest become the largest
    one, two, three, four = (squares[:, :, row, :, column] * sign for row in (0, 1) for column in (0, 1))
    upper, lower = torch.maximum(one, two), torch.maximum(three, four)
    largest = torch.maximum(upper, lower)
    position = torch.where(upper >= lower, torch.where(one >= two, 0.0, 1.0), torch.where(three >= four, 2.0, 3.0))
    pooled = torch.relu(largest * scale.abs() + shift)
    return pooled.to(maps.dtype), (largest * sign).to(maps.dtype), position.to(maps.dtype)


def _sums(largest: Tensor, gradient: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient's sums over all that ReLU lets through, alone and times the values, [C] each."""
    values = _wide(largest)
    passed = torch.where(values * scale + shift > 0, _wide(gradient), 0.0)
    return passed.sum((0, 1, 2)), (passed * values).sum((0, 1, 2))


def _spread(
    maps: Tensor,
    largest: Tensor,
    position: Tensor,
    gradient: Tensor,
    scale: Tensor,
    shift: Tensor,
    offset: Tensor,
    slope: Tensor,
    positions: Tensor,
) -> Tensor:
    """The gradient of the maps [B, H, W, C]: of the maxima where they stood, and of the statistics everywhere.

    The positions in a square come as float32 numbers [2, 1, 2, C]: loops over bytes or indices are not vectorized.
    """
    b, h, w, c = maps.shape
    passed = torch.where(_wide(largest) * scale + shift > 0, _wide(gradient) * scale, 0.0)
    here = _wide(position)[:, :, None, :, None] == positions
    values = _wide(maps).reshape(b, h // 2, 2, w // 2, 2, c)
    spread = offset + slope * values + torch.where(here, passed[:, :, None, :, None], 0.0)
    return spread.to(maps.dtype).reshape(b, h, w, c)


def _wide(values: Tensor) -> Tensor:
    """In float32, or float64 where they are."""
    return values if values.dtype == torch.float64 else values.float()
