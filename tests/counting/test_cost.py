"""What is counted, what is left out by name, and what is refused: by fvcore on a forward pass, and on shapes alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import ExpandError, UsageError
from expand.core.trial import Cost
from expand.counting.cost import (
    SHAPES,
    cost_of_network,
    count_cost,
    count_macs,
    count_traced,
    published_params,
    shapes_of,
)

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


# --- on shapes alone ---------------------------------------------------------------------------------------------------


def on_shapes(build, *shapes) -> Cost:
    return cost_of_network(build, shapes or shapes_of(CLIP))[0]


FACTS = ("macs", "params", "params_published", "activations", "fvcore_flops", "buffer_bytes", "input")


class Residual(nn.Module):
    """What the families do not use: other norms, a transposed convolution, pools, GELU, einsum, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]  # cannot be built on shapes
        self.conv, self.group, self.up = nn.Conv3d(3, 4, 3), nn.GroupNorm(2, 4), nn.ConvTranspose3d(4, 4, 2, stride=2)
        self.instance, self.layer = nn.InstanceNorm3d(4), nn.LayerNorm(4)
        self.mix = nn.Parameter(torch.rand(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.instance(self.up(nn.functional.gelu(self.group(self.conv(x)))))
        x = nn.functional.adaptive_avg_pool3d(nn.functional.max_pool3d(x, 2), (1, 2, 2)).flatten(2).transpose(1, 2)
        return torch.einsum("bnc,bmc->bnm", x, self.layer(x) @ self.mix).softmax(-1).flatten(1)


@pytest.mark.parametrize("build", [Small, Residual])
def test_a_pass_on_shapes_counts_as_fvcore_does(build):
    ours, fvcore = on_shapes(build), count_traced(build(), shapes_of(CLIP))
    assert {name: getattr(ours, name) for name in FACTS} == {name: getattr(fvcore, name) for name in FACTS}
    assert ours.counter == SHAPES and ours.training_bytes


def test_what_autograd_keeps_worked_out_by_hand():
    """The convolution and the norm keep what they read, ReLU its result, the linear layer the mean."""
    positions = 4 * 10 * 8
    assert on_shapes(Small).training_bytes == 4 * (3 * positions + 5 * positions + 5 * positions + 5)


def test_the_layers_of_a_network_carry_the_names_of_its_modules():
    _, count = cost_of_network(Small, shapes_of(CLIP))
    assert [(layer.name, layer.kind, layer.macs) for layer in count.layers if layer.params] == [
        ("conv", "Conv3d", 320 * 5 * 81), ("norm", "BatchNorm3d", 0), ("fc", "Linear", 35),
    ]  # fmt: skip


def test_attention_is_counted_by_its_matrix_products():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attend(x, x, x)[0]

    assert on_shapes(Attention, (10, 8)).macs == 10 * 8 * 24 + 10 * 8 * 8 + 2 * 2 * 10 * 10 * 4


def module(forward):
    return type("Made", (nn.Module,), {"forward": forward})


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda self, x: torch.fft.rfft(x).real, r"is unknown: there is no counting rule for aten::_fft_r2c \(x1\)"),
        (lambda self, x: torch.cdist(x, x), "no counting rule for aten::_cdist_forward"),
        (lambda self, x: x if x.sum() > 0 else -x, "cannot be run on shapes: .* depend on values"),
        (lambda self, x: torch.from_numpy(x.numpy()), "cannot be run on shapes: .* TypeError"),
        (lambda self, x: x @ torch.ones(3, 3), "cannot be run on shapes"),
        (lambda self, x, y: x, "cannot be run on shapes: a clip of 3x4x10x8 gives TypeError"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_on_shapes_is_one_line(forward, words):
    with pytest.raises(ExpandError, match=words):
        on_shapes(module(forward))


def test_an_operator_of_ones_own_is_named():
    @torch.library.custom_op("ours_in_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    twice.register_fake(lambda x: torch.empty_like(x))
    with pytest.raises(ExpandError, match="no counting rule for ours_in_tests::twice"):
        on_shapes(module(lambda self, x: twice(x)))


def test_what_is_no_network_is_refused():
    with pytest.raises(UsageError, match="the network returned int"):
        on_shapes(lambda: 3)
    with pytest.raises(ExpandError, match="the network cannot be built: ValueError: no width"):
        on_shapes(lambda: (_ for _ in ()).throw(ValueError("no width")))


def test_a_network_that_cannot_be_trained_on_shapes_has_no_memory_in_training():
    def forward(self, x):
        if self.training:
            raise RuntimeError("needs its labels")
        return x

    assert on_shapes(module(forward)).training_bytes is None


def test_costs_recorded_before_there_were_more_of_them_are_read():
    old = Cost(**{"macs": 10, "params": 4, "params_published": 3, "activations": 2, "input": ((3, 1, 8, 8),)})
    assert (old.flops, old.weight_bytes, old.training_bytes, old.counter) == (20, 16, None, "fvcore")
