"""The mixed-convolution networks against costs measured on reference implementations, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
import torch
from torch import nn

from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.counting.cost import cost_of, count_cost, count_macs
from expand.testing.space_contract import plain_kernels
from search_spaces.mixed_conv import GROUPS, MixedConvNet, MixedConvSpace, matched_width

SPACE = MixedConvSpace()

# By frames: multiply-adds of conv and linear layers and all parameters of the 18-layer networks; 400 classes, 112 pixels.
EIGHTEEN = {
    "R2D": {8: (1_931_780_096, 11_447_568), 16: (2_167_808_000, 11_522_832)},
    "f-R2D": {8: (13_800_611_840, 11_381_712), 16: (27_601_018_880, 11_381_712)},
    "R3D": {8: (20_348_379_136, 33_371_472), 16: (40_696_553_472, 33_371_472)},
    "MC2": {8: (14_272_667_648, 11_400_528), 16: (28_545_130_496, 11_400_528)},
    "MC3": {8: (21_671_419_904, 11_695_440), 16: (43_342_635_008, 11_695_440)},
    "MC4": {8: (19_975_872_512, 12_727_632), 16: (39_951_540_224, 12_727_632)},
    "MC5": {8: (19_950_182_400, 16_856_400), 16: (39_900_160_000, 16_856_400)},
    "rMC2": {8: (19_876_323_328, 33_352_656), 16: (39_752_441_856, 33_352_656)},
    "rMC3": {8: (12_477_571_072, 33_057_744), 16: (24_954_937_344, 33_057_744)},
    "rMC4": {8: (14_545_625_088, 32_025_552), 16: (29_091_045_376, 32_025_552)},
    "rMC5": {8: (15_393_398_784, 27_896_784), 16: (30_786_592_768, 27_896_784)},
    "R(2+1)D": {8: (20_748_256_768, 33_370_839), 16: (41_496_308_736, 33_370_839)},
}
THIRTY_FOUR = {
    "R2D": {8: (3_781_468_160, 21_555_728), 16: (4_017_496_064, 21_630_992), 32: (4_489_551_872, 21_781_520)},
    "R3D": {8: (37_689_204_736, 63_681_104), 16: (75_378_204_672, 63_681_104), 32: (150_756_204_544, 63_681_104)},
    "R(2+1)D": {8: (38_089_082_368, 63_697_175), 16: (76_177_959_936, 63_697_175), 32: (152_355_715_072, 63_697_175)},
}
TORCHVISION = {
    "r3d_18": {8: (20_348_379_136, 33_371_472), 16: (40_696_553_472, 33_371_472)},
    "mc3_18": {8: (21_671_419_904, 11_695_440), 16: (43_342_635_008, 11_695_440)},
    "r2plus1d_18": {8: (20_259_642_880, 31_505_325), 16: (40_519_080_960, 31_505_325)},
}
LAST_FRAMES = {  # of 8
    "R2D": 1, "f-R2D": 8, "R3D": 1, "MC5": 2, "MC4": 4, "MC3": 8, "MC2": 8, "rMC2": 1, "rMC3": 1, "rMC4": 2, "rMC5": 4,
    "R(2+1)D": 1,
}  # fmt: skip
ALL = [
    (name, layers, frames, *expected)
    for layers, table in ((18, EIGHTEEN | TORCHVISION), (34, THIRTY_FOUR))
    for name, by_frames in table.items()
    for frames, expected in by_frames.items()
]


def cost(architecture: Architecture) -> tuple[int, int]:
    """Multiply-adds and parameters: torch's, on shapes, and the same from the family's layers."""
    with torch.device("meta"):
        params = sum(p.numel() for p in SPACE.build(architecture, 400).parameters())
    counted = count_macs(lambda: SPACE.build(architecture, 400), SPACE.inputs(architecture)), params
    told = cost_of(SPACE, architecture, 400)
    assert (told.macs, told.params) == counted
    return counted


@pytest.mark.parametrize(("name", "layers", "frames", "macs", "params"), ALL)
def test_every_network_costs_what_it_should(name: str, layers: int, frames: int, macs: int, params: int) -> None:
    assert cost(SPACE.point(name, layers=layers, frames=frames)) == (macs, params)


@plain_kernels()
def test_fvcore_counts_the_same_for_all_twelve() -> None:
    small = MixedConvSpace(width=0.125, frames=4, resolution=24)
    for name in EIGHTEEN:
        counted = count_cost(small.build(small.point(name), 10), small.inputs(small.point(name)))
        assert counted.macs == count_macs(
            lambda name=name: small.build(small.point(name), 10), small.inputs(small.point(name))
        )


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "layers", "frames", "macs", "params"), [each for each in ALL if each[2] < 32])
def test_fvcore_counts_the_same_at_full_size(name: str, layers: int, frames: int, macs: int, params: int) -> None:
    point = SPACE.point(name, layers=layers, frames=frames)
    counted = count_cost(SPACE.build(point, 400), SPACE.inputs(point))
    assert (counted.macs, counted.params) == (macs, params)


@pytest.mark.parametrize("name", EIGHTEEN)
def test_how_many_frames_are_left_before_the_mean(name: str) -> None:
    with torch.device("meta"):
        network = SPACE.build(SPACE.point(name), 5).eval()
        assert network.blocks(network.stem(torch.rand(1, 3, 8, 112, 112))).shape[2] == LAST_FRAMES[name]


def test_inner_widths_follow_the_rule_of_each_layer_or_of_the_block() -> None:
    assert matched_width(64, 64) == 144 and matched_width(64, 128) == 230 and matched_width(128, 128) == 288
    for rule, second in (("paper", 288), ("torchvision", 230)):
        with torch.device("meta"):
            network = SPACE.build(SPACE.point("R(2+1)D", middle_rule=rule), 5)
        block = network.blocks[2]  # the first of conv3
        assert [block.conv1[0].out_channels, block.conv2[0].out_channels] == [230, second]
        assert network.stem[0].out_channels == 45
    # as many parameters as the 3x3x3 layer, or less than one filter fewer
    for channels_in, channels_out in ((64, 64), (64, 128), (128, 128), (256, 512), (512, 512)):
        full, each = 27 * channels_in * channels_out, 9 * channels_in + 3 * channels_out
        assert 0 <= full - matched_width(channels_in, channels_out) * each < each


def test_a_split_point_is_an_axis_from_2d_to_3d() -> None:
    start, point = SPACE.start, SPACE.point
    assert start == point("f-R2D")
    up, down = SPACE.axis("split"), SPACE.axis("reversed_split")
    assert list(SPACE.larger(start, up)) == [point(name) for name in ("MC2", "MC3", "MC4", "MC5", "R3D")]
    assert list(SPACE.larger(start, down)) == [point(name) for name in ("rMC5", "rMC4", "rMC3", "rMC2", "R3D")]
    assert list(SPACE.smaller(point("MC3"), up)) == [point("MC2"), start]
    assert SPACE.value_on(point("MC4"), up) == "MC4" and SPACE.value_on(point("MC4"), down) is None
    assert SPACE.larger(point("R(2+1)D"), up) == SPACE.smaller(point("rMC3"), up) == []
    assert SPACE.architecture(split="mc3", frames=16) == point("MC3-L16")
    assert [point("MC3")[group] for group in GROUPS] == ["3D", "3D", "2D", "2D", "2D"]
    assert [point("rMC3")[group] for group in GROUPS] == ["2D", "2D", "3D", "3D", "3D"]


def test_equal_networks_are_equal_points() -> None:
    assert SPACE.point("r3d_18") == SPACE.point("R3D-L16") and SPACE.point("mc3_18") == SPACE.point("MC3-L16")
    assert SPACE.point("r2plus1d_18") != SPACE.point("R(2+1)D-L16")
    # conv2's layers have as many input as output channels: one inner width by either rule
    assert SPACE.architecture(conv2="(2+1)D", middle_rule="torchvision") == SPACE.architecture(conv2="(2+1)D")
    assert SPACE.architecture(conv3="(2+1)D", middle_rule="torchvision") != SPACE.architecture(conv3="(2+1)D")
    # one frame has no distance to the next, and stacking it changes nothing
    assert SPACE.architecture(frames=1, stride=4) == SPACE.architecture(frames=1) == SPACE.point("R2D", frames=1)
    assert SPACE.architecture(conv1="2+1d") == SPACE.architecture(conv1="(2+1)D")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"conv2": "4D"}, r"conv2=4D: allowed are 2D, 3D, \(2\+1\)D .*kind of conv2's layers"),
        ({"conv6": "3D"}, r"'conv6'; did you mean 'conv\d'"),
        ({"split": "MC6"}, r"split=MC6: allowed are f-R2D, MC2, MC3, MC4, MC5, R3D"),
        ({"split": "MC3", "reversed_split": "rMC3"}, r"split=MC3 and reversed_split=rMC3: set only one"),
        ({"layers": 50}, r"layers=50: allowed are 18, 34"),
        ({"time": "stacked", "conv3": "3D"}, r"conv3=3D: time=stacked leaves one frame, so only 2D is allowed"),
        ({"frames": 0}, r"frames=0: allowed are 1 to 128"),
        ({"resolution": 15}, r"resolution=15: allowed are 16 to 512 .*halve"),
        ({"width": 5}, r"width=5: allowed are 0\.02 to 4"),
    ],
)
def test_wrong_values_name_layer_value_and_what_is_allowed(values: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SPACE.architecture(**values)


@pytest.mark.parametrize(("kinds", "layer"), [(("4D", *["2D"] * 4), "conv1"), (("2D", "2D", "4D", "2D", "2D"), "4D")])
def test_the_network_itself_refuses_a_kind_that_does_not_exist(kinds: tuple, layer: str) -> None:
    with pytest.raises(ValueError, match=rf"{layer}.*allowed are 2D, 3D, \(2\+1\)D"):
        MixedConvNet(kinds, (4, 4, 4, 4, 4), (1, 1, 1, 1), 3)


def test_the_command_line_says_it_in_one_line(expand: Callable[..., CompletedProcess[str]]) -> None:
    done = expand("cost", "mixed_conv", "conv2=4D")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "conv2=4D: allowed are 2D, 3D, (2+1)D" in done.stderr


def test_norms_and_convolutions_are_as_published() -> None:
    network = MixedConvNet(("3D",) * 5, (4, 4, 8, 8, 8), (1, 1, 1, 1), 3)
    assert all(m.eps == 1e-3 for m in network.modules() if isinstance(m, nn.BatchNorm3d))
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv3d))
