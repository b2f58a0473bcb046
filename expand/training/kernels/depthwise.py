"""A faster backward for channel-wise 3D convolutions on CPU.

The gradient with respect to the input of such a convolution is again a channel-wise convolution, with the flipped kernel, of
the output's gradient. On clips of about 50 pixels torch's forward pass is 4 to 40 times faster than its own input gradient, so
with a stride of 1 it computes both. Where they can be had, kernels of ours (`native.py`) compute the gradient of the weight, the
largest single cost of an X3D training step in torch; that of the input with other strides; and both passes of kernels that span
time only, for which torch has no fast path below 16 clips. Results are equal up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from expand.training.kernels import native

CHANNELS_LAST = torch.channels_last_3d


class _ChannelwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        if _ours(x, weight) and _only_time(weight, stride):
            return _for_input(x.contiguous(memory_format=CHANNELS_LAST), x, weight.flip(2), stride)
        padding = tuple(size // 2 for size in weight.shape[2:])
        return functional.conv3d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=CHANNELS_LAST)
        ours = _ours(x, weight, gradient)
        for_input = for_weight = None
        if ctx.needs_input_grad[0]:
            in_torch = not ours or (_is_one(ctx.stride) and not _only_time(weight, ctx.stride))
            for_input = (_for_input_in_torch if in_torch else _for_input)(gradient, x, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            for_weight = (_for_weight if ours else _for_weight_in_torch)(gradient, x, weight, ctx.stride)
        return for_input, for_weight, None


def _ours(*tensors: torch.Tensor) -> bool:
    return all(tensor.dtype is torch.float32 for tensor in tensors) and native.kernels() is not None


def _is_one(stride: tuple[int, ...]) -> bool:
    return all(step == 1 for step in stride)


def _only_time(weight: torch.Tensor, stride: tuple[int, ...]) -> bool:
    return tuple(weight.shape[3:]) == (1, 1) and _is_one(stride)


def _for_input(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    shape = native.sizes(x.shape, weight.shape[2:], stride)
    found = torch.empty(x.shape, memory_format=CHANNELS_LAST)
    native.call("expand_depthwise_for_input", shape, gradient, _taps_first(weight), found)
    return found


def _for_weight(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    shape = native.sizes(x.shape, weight.shape[2:], stride)
    found = torch.empty_like(_taps_first(weight))
    native.call("expand_depthwise_for_weight", shape, x.contiguous(memory_format=CHANNELS_LAST), gradient, found)
    return found.permute(3, 0, 1, 2).unsqueeze(1)


def _taps_first(weight: torch.Tensor) -> torch.Tensor:
    """(C, 1, kt, kh, kw) -> (kt, kh, kw, C)"""
    return weight.detach()[:, 0].permute(1, 2, 3, 0).contiguous()


def _for_input_in_torch(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...]
) -> torch.Tensor:
    spread = gradient
    if not _is_one(stride):
        spread = torch.empty(x.shape, dtype=x.dtype, memory_format=CHANNELS_LAST).zero_()
        t, h, w = stride
        spread[:, :, ::t, ::h, ::w] = gradient
    flipped = weight.flip(2, 3, 4).contiguous(memory_format=CHANNELS_LAST)
    padding = [size // 2 for size in weight.shape[2:]]
    return functional.conv3d(spread, flipped, padding=padding, groups=len(weight))


def _for_weight_in_torch(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...]
) -> torch.Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    found: torch.Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, [1, 1, 1], False, [0, 0, 0], len(weight), [False, True, False]
    )[1]
    return found


class ChannelwiseConv3d(nn.Module):
    """Shares the weight of an `nn.Conv3d` with one filter per channel, odd kernel, "same" padding and no bias."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.stride = convolution.weight, tuple(convolution.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W)
        return _ChannelwiseConvolution.apply(x, self.weight, self.stride)


def fits(convolution: nn.Conv3d) -> bool:
    return (
        convolution.groups == convolution.in_channels == convolution.out_channels > 1
        and convolution.bias is None
        and convolution.padding_mode == "zeros"
        and all(step == 1 for step in convolution.dilation)
        and all(
            size % 2 == 1 and size < 64 for size in convolution.kernel_size
        )  # of a row's taps, kernels.cpp holds 64
        and tuple(convolution.padding) == tuple(size // 2 for size in convolution.kernel_size)
    )
