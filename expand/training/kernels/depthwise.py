"""A faster backward for channel-wise 3D convolutions on CPU.

The gradient with respect to the input of such a convolution is again a channel-wise convolution, with the flipped kernel, of
the output's gradient (with zeros inserted for the stride). On clips of about 50 pixels torch's forward pass is 4 to 40 times
faster than its own input gradient, which is then the largest single cost of an X3D training step. At 160 pixels there is no gain
(benchmarks/RESULTS.md). Results are equal up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class _ChannelwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        padding = tuple(size // 2 for size in weight.shape[2:])
        return functional.conv3d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last_3d)
        padding = [size // 2 for size in weight.shape[2:]]
        for_input = for_weight = None
        if ctx.needs_input_grad[0]:
            spread = gradient
            if any(step != 1 for step in ctx.stride):
                spread = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last_3d).zero_()
                t, h, w = ctx.stride
                spread[:, :, ::t, ::h, ::w] = gradient
            flipped = weight.flip(2, 3, 4).contiguous(memory_format=torch.channels_last_3d)
            for_input = functional.conv3d(spread, flipped, padding=padding, groups=len(weight))
        if ctx.needs_input_grad[1]:
            for_weight = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, ctx.stride, padding, [1, 1, 1], False, [0, 0, 0], len(weight),
                [False, True, False],
            )[1]  # fmt: skip
        return for_input, for_weight, None


class ChannelwiseConv3d(nn.Module):
    """Shares the weight of an `nn.Conv3d` with one filter per channel, odd kernel, "same" padding and no bias."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.stride = convolution.weight, tuple(convolution.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W)
        return _ChannelwiseConvolution.apply(x, self.weight, self.stride)


def speed_up(network: nn.Module) -> None:
    """Replaces every suitable convolution by `ChannelwiseConv3d`; state-dict keys stay the same."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv3d) and _fits(child):
                setattr(parent, name, ChannelwiseConv3d(child))


def _fits(convolution: nn.Conv3d) -> bool:
    return (
        convolution.groups == convolution.in_channels == convolution.out_channels > 1
        and convolution.bias is None
        and convolution.padding_mode == "zeros"
        and all(step == 1 for step in convolution.dilation)
        and all(size % 2 == 1 for size in convolution.kernel_size)
        and tuple(convolution.padding) == tuple(size // 2 for size in convolution.kernel_size)
    )
