"""3D convolutions whose kernel spans one frame, as 2D convolutions of all frames on CPU.

A channels-last clip is in memory a batch of channels-last frames, so nothing is copied, and torch's 2D convolutions are faster
than its 3D ones. Results are equal up to rounding.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class PlanarConv3d(nn.Module):
    """Shares the weights of an `nn.Conv3d` with one tap, no stride, padding or dilation in time."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias, self.groups = convolution.weight, convolution.bias, convolution.groups
        self.stride, self.dilation = tuple(convolution.stride), tuple(convolution.dilation)
        self.padding = tuple(int(size) for size in convolution.padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W) -> (B, C', T, H', W')
        if not x.is_contiguous(memory_format=torch.channels_last_3d):
            return functional.conv3d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        flat = x.permute(0, 2, 1, 3, 4).flatten(0, 1)  # (B T, C, H, W), channels-last
        stride, padding, dilation = self.stride[1:], self.padding[1:], self.dilation[1:]
        found = functional.conv2d(flat, self.weight[:, :, 0], self.bias, stride, padding, dilation, self.groups)
        return found.unflatten(0, (x.shape[0], x.shape[2])).permute(0, 2, 1, 3, 4)


def fits(convolution: nn.Conv3d) -> bool:
    return (
        convolution.kernel_size[0] == convolution.stride[0] == 1
        and not isinstance(convolution.padding, str)
        and convolution.padding[0] == 0
        and convolution.padding_mode == "zeros"
    )
