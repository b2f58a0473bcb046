"""1x1x1 convolutions as matrix products on CPU.

On one thread and with fewer than 16 clips in a batch, torch computes them by its slowest path, whose output also loses the
channels-last layout. As a matrix product over all positions they stay fast and keep it. Results are equal up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class PointwiseConv3d(nn.Module):
    """Shares the weights of an `nn.Conv3d` whose kernel has one tap and no padding."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias, self.stride = convolution.weight, convolution.bias, tuple(convolution.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W) -> (B, C', T', H', W')
        if not x.is_contiguous(memory_format=torch.channels_last_3d):
            return functional.conv3d(x, self.weight, self.bias, self.stride)
        if any(step != 1 for step in self.stride):
            x = _EveryFew.apply(x, self.weight.flatten(1), self.stride)
            return x if self.bias is None else x + self.bias.view(-1, 1, 1, 1)
        return _product(x, self.weight.flatten(1), self.bias)


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    positions = x.permute(0, 2, 3, 4, 1)  # the order in memory of a channels-last tensor
    return functional.linear(positions, weight, bias).permute(0, 4, 1, 2, 3)


class _EveryFew(torch.autograd.Function):
    """A product over every few positions, which keeps its input, as torch's convolution does, not a copy of those positions."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _product(_every(x, stride), weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        for_input = for_weight = None
        if ctx.needs_input_grad[0]:
            for_input = torch.zeros_like(x)
            _every(for_input, ctx.stride).copy_(_product(gradient, weight.t()))
        if ctx.needs_input_grad[1]:
            rows, positions = gradient.transpose(0, 1).flatten(1), _every(x, ctx.stride).transpose(0, 1).flatten(1)
            for_weight = rows @ positions.t()
        return for_input, for_weight, None


def _every(x: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    t, h, w = stride
    return x[:, :, ::t, ::h, ::w]


def fits(convolution: nn.Conv3d) -> bool:
    return (
        convolution.kernel_size == (1, 1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and all(size == 0 for size in convolution.padding)
    )
