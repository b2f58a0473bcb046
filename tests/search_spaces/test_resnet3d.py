"""Hara's 3D residual networks against costs measured on the authors' code and on reference implementations, to the last digit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from expand.core.errors import UsageError
from expand.counting.cost import cost_of, count_cost, count_macs
from expand.testing.space_contract import plain_kernels
from search_spaces.resnet3d import BASIC, LAYERS, Block, ResNet3DSpace, ZeroPadded

SPACE = ResNet3DSpace()

# Multiply-adds of convolutions and of the linear layer, all parameters, parameters without norms and biases; 400 classes.
GOLDEN = {
    "ResNet-10": (5_653_594_112, 204_800, 14_604_624, 14_598_464),
    "ResNet-18": (8_296_071_168, 204_800, 33_235_280, 33_227_072),
    "ResNet-18-B": (8_307_802_112, 204_800, 33_409_104, 33_399_104),
    "ResNet-34": (12_684_361_728, 204_800, 63_544_912, 63_529_280),
    "ResNet-34-B": (12_696_092_672, 204_800, 63_718_736, 63_701_312),
    "ResNet-50": (10_068_492_288, 819_200, 47_018_576, 46_965_056),
    "ResNet-101": (13_889_896_448, 819_200, 86_064_720, 85_958_976),
    "ResNet-152": (18_610_454_528, 819_200, 118_223_440, 118_071_616),
    "ResNet-200": (25_803_685_888, 819_200, 127_423_056, 127_246_656),
    "preact-ResNet-200": (25_803_685_888, 819_200, 127_419_088, 127_246_656),
    "WRN-50": (26_238_844_928, 819_200, 158_248_272, 158_179_648),
    "ResNeXt-50": (7_451_475_968, 819_200, 26_685_264, 26_616_640),
    "ResNeXt-101": (9_566_896_128, 819_200, 48_340_816, 48_202_560),
    "ResNet-34-B-64f": (50_784_370_688, 204_800, 63_718_736, 63_701_312),
    "ResNeXt-101-64f": (38_267_584_512, 819_200, 48_340_816, 48_202_560),
}
LARGE = [name for name in GOLDEN if name not in ("ResNet-10", "ResNet-18")]


@pytest.mark.parametrize("name", GOLDEN)
def test_every_network_costs_what_it_should(name: str) -> None:
    convolutions, linear, params, weights = GOLDEN[name]
    cost = cost_of(SPACE, SPACE.point(name), 400)
    assert (cost.macs, cost.params, cost.params_published) == (convolutions + linear, params, weights)
    with torch.device("meta"):
        network = SPACE.build(SPACE.point(name), 400)
    assert sum(p.numel() for p in network.parameters()) == params


@pytest.mark.parametrize("name", ["ResNet-10", "ResNet-18", *(pytest.param(n, marks=pytest.mark.heavy) for n in LARGE)])
def test_torchs_counter_says_the_same(name: str) -> None:
    point = SPACE.point(name)
    assert count_macs(lambda: SPACE.build(point, 400), SPACE.inputs(point)) == sum(GOLDEN[name][:2])


@plain_kernels()
def test_fvcore_counts_the_same_for_every_kind() -> None:
    small = ResNet3DSpace(width=0.05, frames=4, resolution=20)
    for name in ("ResNet-18", "ResNet-50", "WRN-50", "ResNeXt-50"):
        point = small.point(name)
        assert count_cost(small.build(point, 10), small.inputs(point)).macs == cost_of(small, point, 10).macs


def test_layers_are_in_the_order_of_their_costs() -> None:
    """At any width and clip: growth solves for a cost by bisection."""
    for values in (
        {},
        {"frames": 1},
        {"frames": 128},
        {"resolution": 16},
        {"width": 0.05},
        {"shortcut": "A"},
        {"max_pool": "no"},
    ):
        costs = [cost_of(SPACE, SPACE.architecture(**{"shortcut": "B"} | values, layers=n), 10).macs for n in LAYERS]
        assert costs == sorted(costs), values


def test_shortcut_a_subsamples_and_adds_zeros() -> None:
    x = torch.randn(2, 3, 5, 4, 7)
    y = ZeroPadded(2, 2)(x)
    assert y.shape == (2, 5, 3, 2, 4) and torch.equal(y[:, :3], x[:, :, ::2, ::2, ::2]) and not y[:, 3:].any()
    with torch.device("meta"):
        shortcuts = [
            [type(part) for part in block.shortcut] for block in SPACE.build(SPACE.point("ResNet-18"), 5).blocks
        ]
    assert shortcuts == [[], [], [ZeroPadded], [], [ZeroPadded], [], [ZeroPadded], []]


def test_a_preact_block_normalises_first_and_nothing_follows_its_sum() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 2, 4, 4)
    for kind in ("preact-basic", "preact-bottleneck", "basic", "bottleneck"):
        block = Block(kind, 4, 4, 4, 1, 1, "B").eval()
        with torch.no_grad():
            y, parts = block(x), list(block.layers)
        assert isinstance(parts[0], nn.BatchNorm3d if kind.startswith("preact") else nn.Conv3d)
        assert bool((y < 0).any()) == kind.startswith("preact")
        assert [parts[n].kernel_size[0] for n, part in enumerate(parts) if isinstance(part, nn.Conv3d)] == (
            [3, 3] if kind.endswith("basic") else [1, 3, 1]
        )


def test_the_sizes_of_maps_on_the_way() -> None:
    with torch.device("meta"):
        network = SPACE.build(SPACE.point("ResNeXt-50"), 5)
        x = network.stem(torch.rand(1, 3, 16, 112, 112))
        assert x.shape == (1, 64, 8, 28, 28)
        assert network.blocks(x).shape == (1, 2048, 1, 4, 4)
    convolution = network.blocks[3].layers.conv2  # the first of the second stage
    assert (convolution.in_channels, convolution.groups, convolution.stride) == (256, 32, (2, 2, 2))


def test_equal_networks_are_equal_points() -> None:
    assert SPACE.start == SPACE.point("ResNet-18") and SPACE.point("ResNet-34-64f") == SPACE.point(
        "ResNet-34", frames=64
    )
    assert SPACE.architecture(widen=4, cardinality=8) == SPACE.start
    assert SPACE.point("WRN-50", widen=4) != SPACE.point("WRN-50") == SPACE.point("WRN-50", cardinality=64)
    assert SPACE.architecture(frames=1, conv1_stride=2, stride=5) == SPACE.architecture(frames=1)


def test_growth_takes_every_depth_that_the_kind_has() -> None:
    layers = SPACE.axis("layers")
    assert [a["layers"] for a in SPACE.larger(SPACE.start, layers)] == [50, 34, 101, 152, 200]
    assert [a["layers"] for a in SPACE.smaller(SPACE.point("ResNeXt-101"), layers)] == [50]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layers": 20}, r"layers=20: allowed are 10, 18, 50, 34, 101, 152, 200"),
        ({"kind": "dense"}, r"kind=dense: allowed are resnet, preact, wide, resnext"),
        *(({"kind": kind, "layers": n}, rf"layers={n}: kind={kind} has bottlenecks, so 50, 101, 152 or 200 are allowed")
          for kind in ("wide", "resnext") for n in BASIC),
        ({"shortcut": "C"}, r"shortcut=C: allowed are A, B"),
        ({"conv1_depth": 4}, r"conv1_depth=4: allowed are 3, 5, 7"),
        ({"cardinality": 5}, r"cardinality=5: allowed are 8, 16, 32, 64"),
        ({"resolution": 15}, r"resolution=15: allowed are 16 to 512"),
        ({"frames": 0}, r"frames=0: allowed are 1 to 128 .*halve"),
    ],
)  # fmt: skip
def test_wrong_values_name_what_is_allowed(values: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SPACE.architecture(**values)
