"""I3D, S3D and S3D-G against costs measured on public code and on reference implementations, to the last digit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from expand.core.errors import UsageError
from expand.counting.cost import cost_of, count_cost, count_macs
from expand.testing.space_contract import plain_kernels
from search_spaces.inception import FROM, GROUPS, Gate, InceptionSpace, Pad, paddings

SPACE = InceptionSpace()

# Multiply-adds, all parameters, parameters without norms and biases; 64 frames of 224 pixels, 400 classes.
GOLDEN = {
    "I3D": (111_153_143_808, 12_697_264, 12_682_304),
    "I2D": (36_891_058_176, 6_009_904, 5_994_944),
    "Inception-v1": (1_497_761_792, 6_009_904, 5_994_944),
    "S3D": (71_916_314_624, 8_320_048, 8_298_432),
    "S3D-authors-t3": (64_183_590_912, 8_306_800, 8_288_576),
    "S3D-authors-t7": (79_289_376_768, 8_344_432, 8_326_208),
    "S3D-G-authors-t3": (64_183_590_912 + 1_219_328, 9_526_128, 9_507_904),
    "S3D-G-authors-t7": (79_289_376_768 + 1_219_328, 9_563_760, 9_545_536),
}
# By the split, from 2c to 5c. I3D: multiply-adds and parameters, top-heavy and bottom-heavy.
I3D_SPLITS = {
    "2c": (88_494_465_024, 12_640_816, 59_549_736_960, 6_066_352), "3b": (66_298_208_256, 12_419_632, 81_745_993_728, 6_287_536),
    "3c": (60_517_933_056, 12_189_232, 87_526_268_928, 6_517_936), "4b": (48_032_538_624, 11_691_568, 100_011_663_360, 7_015_600),
    "4c": (46_862_032_896, 11_318_320, 101_182_169_088, 7_388_848),
    "4d": (45_359_161_344, 10_839_088, 102_685_040_640, 7_868_080),
    "4e": (43_422_769_152, 10_221_616, 104_621_432_832, 8_485_552),
    "4f": (40_966_152_192, 9_438_256, 107_078_049_792, 9_268_912),
    "5b": (37_844_803_584, 8_442_928, 110_199_398_400, 10_264_240),
    "5c": (37_454_635_008, 7_447_600, 110_589_566_976, 11_259_568),
}  # fmt: skip
# S3D: as above, then top-heavy S3D-G by the authors' rule: all operations that fvcore counts, and parameters.
S3D_SPLITS = {
    "2c": (56_630_697_984, 8_291_248, 52_176_674_816, 6_038_704, 64_362_922_496, 9_526_128),
    "3b": (45_532_569_600, 8_180_272, 63_274_803_200, 6_149_680, 53_264_757_248, 9_378_480),
    "3c": (44_222_373_888, 8_127_728, 64_584_998_912, 6_202_224, 51_954_539_008, 9_303_568),
    "4b": (40_754_208_768, 7_988_912, 68_053_164_032, 6_341_040, 48_486_307_328, 9_098_480),
    "4c": (40_325_505_024, 7_851_696, 68_481_867_776, 6_478_256, 48_057_517_056, 8_874_992),
    "4d": (39_814_914_048, 7_688_304, 68_992_458_752, 6_641_648, 47_546_842_112, 8_627_920),
    "4e": (39_159_816_192, 7_478_768, 69_647_556_608, 6_851_184, 46_891_654_144, 8_328_592),
    "4f": (38_340_943_872, 7_216_944, 70_466_428_928, 7_113_008, 46_072_678_144, 7_963_440),
    "5b": (37_223_424_000, 6_859_696, 71_583_948_800, 7_470_256, 44_954_957_568, 7_405_936),
    "5c": (37_083_734_016, 6_502_448, 71_723_638_784, 7_827_504, 44_815_066_880, 6_848_432),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_every_network_costs_what_it_should(name: str) -> None:
    cost = cost_of(SPACE, SPACE.point(name), 400)
    assert (cost.macs, cost.params, cost.params_published) == GOLDEN[name]
    with torch.device("meta"):
        network = SPACE.build(SPACE.point(name), 400)
    assert sum(p.numel() for p in network.parameters()) == cost.params


@pytest.mark.parametrize("name", ["Inception-v1", *(pytest.param(n, marks=pytest.mark.heavy) for n in GOLDEN)])
def test_torchs_counter_says_the_same(name: str) -> None:
    point = SPACE.point(name)
    assert count_macs(lambda: SPACE.build(point, 400), SPACE.inputs(point)) == GOLDEN[name][0]


@pytest.mark.parametrize("first", FROM)
def test_every_split_costs_what_it_should(first: str) -> None:
    def counts(name: str) -> tuple[int, int]:
        cost = cost_of(SPACE, SPACE.point(name), 400)
        return cost.macs, cost.params

    assert counts(f"top-heavy-I3D-{first}") + counts(f"bottom-heavy-I3D-{first}") == I3D_SPLITS[first]
    assert counts(f"top-heavy-S3D-{first}") + counts(f"bottom-heavy-S3D-{first}") == S3D_SPLITS[first][:4]
    name = "S3D-G-authors-t3" if first == "2c" else f"top-heavy-S3D-G-{first}"
    cost = cost_of(SPACE, SPACE.point(name), 400)
    assert (cost.fvcore_flops, cost.params) == S3D_SPLITS[first][4:]


@plain_kernels()
def test_fvcore_counts_the_same() -> None:
    small = InceptionSpace(width=0.05, frames=6, resolution=20)
    for name in ("I3D", "S3D", "S3D-G-authors-t3"):
        point = small.point(name)
        assert count_cost(small.build(point, 10), small.inputs(point)).macs == cost_of(small, point, 10).macs


def test_paddings_of_tensorflow_and_of_torch() -> None:
    """Worked out by hand: an even extent gets one zero less in front."""
    kernel, stride = (7, 7, 7), (2, 2, 2)
    assert paddings("same", (64, 224, 9), kernel, stride) == [(2, 3), (2, 3), (3, 3)]
    assert paddings("symmetric", (64, 224, 9), kernel, stride) == [(3, 3)] * 3
    assert paddings("same", (56, 7, 1), (3, 3, 3), (2, 2, 2)) == [(0, 1), (1, 1), (1, 1)]
    assert paddings("symmetric", (8, 7, 1), (2, 2, 2), (2, 2, 2)) == [(0, 0), (0, 1), (0, 1)]
    x = torch.arange(6.0).reshape(1, 1, 1, 1, 6)
    assert Pad("same", (1, 1, 3), (1, 1, 2))(x).flatten().tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert Pad("same", (1, 1, 1), (1, 1, 1))(x) is x


def test_both_paddings_give_the_same_sizes() -> None:
    for frames, side in ((64, 224), (7, 33), (1, 17)):
        for rule in ("same", "symmetric"):
            with torch.device("meta"):
                network = SPACE.build(SPACE.architecture(top_heavy_3d="all", padding=rule, width=0.05), 5).eval()
                stem = network.conv1a(torch.rand(1, 3, frames, side, side))
                last = network.mixed(network.conv2c(network.conv2b(network.pool2a(stem))))
            assert last.shape[2:] == tuple(
                math.ceil(extent / step) for extent, step in ((frames, 8), (side, 32), (side, 32))
            )


def test_the_head_averages_two_frames_at_a_time() -> None:
    """So the first and the last step count half, as in the authors' network."""
    torch.manual_seed(0)
    network = InceptionSpace(width=0.1, frames=32, resolution=32).build(SPACE.architecture(width=0.1), 5).eval()
    seen = []
    network.mixed.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        logits = network(torch.randn(2, 3, 32, 32, 32))
        x = nn.functional.avg_pool3d(seen[0], (2, *seen[0].shape[3:]), stride=1)
        assert torch.allclose(network.fc(x).mean((2, 3, 4)), logits, atol=1e-6)


def test_a_separable_unit_begins_as_the_2d_one() -> None:
    torch.manual_seed(0)
    network = SPACE.build(SPACE.point("S3D-authors-t3", width=0.05), 5)
    unit = network.mixed.get_submodule("3b.branch2.1")
    x = torch.rand(1, unit.temporal.in_channels, 4, 5, 5)
    with torch.no_grad():
        assert torch.equal(unit.temporal(x), x) and unit.temporal.bias is not None


def test_gates_begin_at_a_group_and_never_stand_behind_reductions() -> None:
    with torch.device("meta"):
        networks = {
            name: SPACE.build(SPACE.point("S3D", gates=name, width=0.05), 5) for name in ("none", "5c", "4f", "2c")
        }
    count = {name: sum(isinstance(m, Gate) for m in network.modules()) for name, network in networks.items()}
    assert count == {"none": 0, "5c": 4, "4f": 12, "2c": 37}
    assert isinstance(networks["4f"].mixed.get_submodule("4f.branch3")[-1], Gate)
    assert not any(isinstance(m, Gate) for m in networks["4f"].mixed.get_submodule("4e").modules())
    gate, x = Gate(3), torch.rand(2, 3, 2, 4, 4)
    nn.init.zeros_(gate.gate.weight)
    assert torch.equal(gate(x), x / 2)


def test_split_points_are_axes_from_none_to_all() -> None:
    top, bottom = SPACE.axis("top_heavy_3d"), SPACE.axis("bottom_heavy_separable")
    point = SPACE.point
    assert [SPACE.value_on(a, top) for a in SPACE.larger(SPACE.start, top)] == [*FROM[::-1], "all"]
    assert list(SPACE.smaller(point("top-heavy-I3D-5b"), top)) == [point("top-heavy-I3D-5c"), SPACE.start]
    assert SPACE.larger(SPACE.start, bottom)[0] == point("bottom-heavy-S3D-2c")
    assert SPACE.value_on(point("I3D"), top) == "all" and SPACE.value_on(point("I3D"), bottom) is None
    assert [point("top-heavy-I3D-5b")[group] for group in GROUPS] == ["2D"] * 9 + ["3D"] * 2
    assert [point("bottom-heavy-I3D-3b")[group] for group in GROUPS] == ["3D"] * 2 + ["2D"] * 9


def test_equal_networks_are_equal_points() -> None:
    assert SPACE.architecture(conv1a_depth=3) == SPACE.start == SPACE.architecture(norms="spatial")
    assert SPACE.architecture(frames=1, stride=3) == SPACE.point("Inception-v1")
    assert SPACE.point("I3D", conv1a_depth=3) != SPACE.point("I3D") == SPACE.point("I3D", norms="spatial")
    assert SPACE.point("S3D", padding="same", conv1a="2D") == SPACE.point("top-heavy-S3D-2c")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mixed4b": "4D"}, r"mixed4b=4D: allowed are 2D, 3D, separable .*kind of mixed4b's kernels"),
        ({"top_heavy_3d": "4b", "bottom_heavy_3d": "4b"}, r"top_heavy_3d=4b and bottom_heavy_3d=4b: set only one"),
        ({"top_heavy_3d": "1a"}, r"top_heavy_3d=1a: allowed are none, 5c, .*, 2c, all"),
        ({"gates": "1a"}, r"gates=1a: allowed are none, 5c"),
        ({"conv1a_depth": 2}, r"conv1a_depth=2: allowed are 3, 5, 7"),
        ({"padding": "full"}, r"padding=full: allowed are same, symmetric"),
        ({"resolution": 15}, r"resolution=15: allowed are 16 to 512 .*five layers halve"),
    ],
)  # fmt: skip
def test_wrong_values_name_what_is_allowed(values: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SPACE.architecture(**values)
