"""What is counted, what is left out by name, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from expand.cost import count_cost, count_macs, published_params
from expand.errors import ExpandError
from expand.space import Clip

CLIP = (Clip(4, 2, 10, 8),)


class Small(nn.Module):
    """3x3x3 convolution of 3 to 5 channels with bias, norm, mean over the clip, linear layer of 5 to 7."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv3d(3, 5, 3, padding=1), nn.BatchNorm3d(5), nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3, 4)))


def test_counts_worked_out_by_hand():
    cost = count_cost(Small(), CLIP)
    positions = 4 * 10 * 8
    assert cost.macs == positions * 5 * 3 * 27 + 5 * 7
    assert cost.params == (5 * 3 * 27 + 5) + 10 + (5 * 7 + 7)
    assert cost.params_published == 5 * 3 * 27 + 5 * 7
    assert cost.activations == positions * 5 + 7
    assert cost.input == ((3, 4, 10, 8),)


@pytest.mark.parametrize("clip", [CLIP, (Clip(16, 1, 112, 112),)])
def test_the_quick_count_agrees_for_small_and_large_clips(clip):
    assert count_macs(Small, clip) == count_cost(Small(), clip).macs


def test_a_channelwise_convolution_costs_one_filter_a_channel():
    network = nn.Sequential(nn.Conv3d(3, 3, 3, padding=1, groups=3, bias=False))
    assert count_cost(network, CLIP).macs == 4 * 10 * 8 * 3 * 27


def test_an_operator_nobody_counts_is_an_error_with_its_name():
    class Spectral(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x).real.mean((2, 3, 4))

    with pytest.raises(ExpandError, match="fft_rfft"):
        count_cost(Spectral(), CLIP)


def test_a_custom_autograd_function_is_an_error_instead_of_nothing():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    class Custom(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Square.apply(x).mean((2, 3, 4))

    with pytest.raises(ExpandError, match="PythonOp"):
        count_cost(Custom(), CLIP)


def test_counting_leaves_the_network_in_its_mode():
    network = Small().train()
    count_cost(network, CLIP)
    assert network.training and published_params(network) == 5 * 3 * 27 + 5 * 7
