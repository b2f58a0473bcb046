"""X3D against the published costs and against the costs measured on reference implementations, to the last digit."""

from __future__ import annotations

import math

import pytest
import torch

from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.counting.cost import cost_of, count_cost, count_macs
from expand.testing.space_contract import plain_kernels
from search_spaces.published.x3d import STEM, UNSQUEEZED
from search_spaces.x3d import X3D, SqueezeExcitation, X3DSpace, inner_widths, stage_depths, stage_widths

SPACE = X3DSpace()

# (frames, side, width, depth, bottleneck) -> multiply-adds of conv and linear layers, parameters, those without norms.
# Measured on pytorchvideo's builder at the training crop, 400 classes.
WALK = {
    "0 X2D": ((1, 112, 1, 1, 1), 20_662_304, 1_633_512, 1_625_352),
    "1 bottleneck": ((1, 112, 1, 1, 2.25), 40_996_040, 2_653_124, 2_638_604),
    "2 frames": ((2, 112, 1, 1, 2.25), 80_209_520, 2_653_124, 2_638_604),
    "3 resolution": ((2, 160, 1, 1, 2.25), 153_402_560, 2_653_124, 2_638_604),
    "4 depth": ((2, 160, 1, 2.2, 2.25), 303_559_712, 3_794_274, 3_762_858),
    "5 frames = XS": ((4, 160, 1, 2.2, 2.25), 605_256_512, 3_794_274, 3_762_858),
    "6 frames": ((8, 160, 1, 2.2, 2.25), 1_208_650_112, 3_794_274, 3_762_858),
    "7 frames": ((16, 160, 1, 2.2, 2.25), 2_415_437_312, 3_794_274, 3_762_858),
    "7c contracted = S": ((13, 160, 1, 2.2, 2.25), 1_962_892_112, 3_794_274, 3_762_858),
    "8 resolution = M": ((16, 224, 1, 2.2, 2.25), 4_732_468_736, 3_794_274, 3_762_858),
    "9 resolution": ((16, 312, 1, 2.2, 2.25), 9_451_559_360, 3_794_274, 3_762_858),
    "10 depth = L": ((16, 312, 1, 5, 2.25), 18_367_710_176, 6_153_384, 6_087_120),
    "11 width = XL": ((16, 312, 1.45, 5, 2.25), 35_837_627_616, 11_095_840, 11_000_260),
}
# Printed in the paper: GMACs and millions of parameters (no biases, no norms).
PRINTED = {
    "X2D": (0.0207, 1.62),
    "XS": (0.61, 3.76),
    "S": (1.96, 3.76),
    "M": (4.73, 3.76),
    "L": (18.37, 6.08),
    "XL": (35.84, 10.99),
}


def at(frames: int, side: int, width: float, depth: float, bottleneck: float) -> Architecture:
    return SPACE.architecture(frames=frames, resolution=side, width=width, depth=depth, bottleneck=bottleneck)


def macs(architecture: Architecture) -> int:
    return cost_of(SPACE, architecture, 400).macs


@pytest.mark.parametrize("state", WALK)
def test_every_state_of_the_walk_costs_what_it_should(state):
    values, expected, params, without_norms = WALK[state]
    architecture = at(*values)
    network = SPACE.build(architecture, 400)
    assert count_macs(lambda: SPACE.build(architecture, 400), SPACE.inputs(architecture)) == expected
    assert macs(architecture) == expected
    assert sum(p.numel() for p in network.parameters()) == params
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert params - sum(p.numel() for norm in norms for p in norm.parameters()) == without_norms


@pytest.mark.parametrize("state", [name for name, (_, cost, *_) in WALK.items() if cost < 1e9])
def test_fvcore_counts_the_same(state):
    values, expected, params, _ = WALK[state]
    cost = count_cost(SPACE.build(at(*values), 400), SPACE.inputs(at(*values)))
    assert (cost.macs, cost.params) == (expected, params)


@pytest.mark.heavy
@pytest.mark.parametrize("state", [name for name, (_, cost, *_) in WALK.items() if cost >= 1e9])
def test_fvcore_counts_the_same_for_large_clips(state):
    values, expected, params, _ = WALK[state]
    cost = count_cost(SPACE.build(at(*values), 400), SPACE.inputs(at(*values)))
    assert (cost.macs, cost.params) == (expected, params)


@pytest.mark.parametrize("name", PRINTED)
def test_the_named_points_cost_what_the_paper_prints(name):
    gmacs, mparams = PRINTED[name]
    point = SPACE.points[name]
    assert round(macs(point) / 1e9, 4 if gmacs < 0.1 else 2) == gmacs
    assert round(cost_of(SPACE, point, 400).params_published / 1e6, 2) == mparams


# The paper's fixed step along each axis, at three states of its walk: cost of the grown network, its parameters.
GROWTH = {
    ("X2D", "frames"): (40_094_144, 1_633_512),
    ("X2D", "resolution"): (38_934_464, 1_633_512),
    ("X2D", "depth"): (38_206_496, 2_125_520),
    ("X2D", "width"): (38_012_344, 2_234_728),
    ("X2D", "bottleneck"): (40_996_040, 2_653_124),
    ("XS", "frame_rate"): (1_208_650_112, 3_794_274),
    ("XS", "resolution"): (1_184_514_368, 3_794_274),
    ("XS", "depth"): (1_170_475_808, 6_153_384),
    ("XS", "width"): (1_167_080_024, 6_333_220),
    ("XS", "bottleneck"): (1_324_110_544, 7_826_607),
    ("XL", "frames"): (71_672_522_272, 11_095_840),
    ("XL", "resolution"): (71_452_071_200, 11_095_840),
    ("XL", "depth"): (75_972_369_888, 21_701_680),
    ("XL", "width"): (73_393_953_728, 20_858_018),
    ("XL", "bottleneck"): (79_734_133_696, 25_253_595),
}


@pytest.mark.parametrize(("point", "axis"), GROWTH)
def test_the_papers_growth_rules(point, axis):
    grown = SPACE.published_growth(SPACE.points[point], SPACE.axis(axis))
    assert grown is not None
    with torch.device("meta"):
        params = sum(p.numel() for p in SPACE.build(grown, 400).parameters())
    assert (macs(grown), params) == GROWTH[point, axis]


def test_time_axes_reproduce_the_published_clips():
    """XS 4x12, then 8x8, then 16x5; contracted to 13x6. Frame rate alone keeps the duration."""
    frames, rate = SPACE.axis("frames"), SPACE.axis("frame_rate")
    clips, point = [], SPACE.start
    for _ in range(4):
        point = SPACE.published_growth(point, frames)
        clips.append((point["frames"], point["stride"]))
    assert clips == [(2, 16), (4, 12), (8, 8), (16, 5)]
    contracted = next(p for p in SPACE.smaller(point, frames) if p["frames"] == 13)
    assert (contracted["frames"], contracted["stride"]) == (13, 6)
    faster = SPACE.published_growth(SPACE.points["XS"], rate)
    assert (faster["frames"], faster["stride"]) == (8, 6)


def test_from_a_single_frame_both_time_axes_are_one_candidate():
    frames, rate = SPACE.axis("frames"), SPACE.axis("frame_rate")
    assert SPACE.published_growth(SPACE.start, frames) == SPACE.published_growth(SPACE.start, rate)
    assert SPACE.architecture(frames=1, stride=3) == SPACE.start


def test_videos_cap_the_clip():
    space = X3DSpace(stride=8, longest_clip=32)
    point = space.architecture(frames=8, stride=4)
    grown = space.published_growth(point, space.axis("frames"))
    assert (grown["frames"], grown["stride"]) == (16, 2)
    assert max(p["frames"] for p in space.larger(point, space.axis("frames"))) == 32


@pytest.mark.parametrize(
    ("a", "b"), [({"width": 1.44}, {"width": 1.45}), ({"depth": 2.1}, {"depth": 2.2}), ({"depth": 4.84}, {"depth": 5})]
)
def test_equal_networks_are_equal_points(a, b):
    assert SPACE.architecture(**a) == SPACE.architecture(**b)


def test_canonical_values_build_the_same_network_and_are_their_own_canonical_form():
    random = __import__("random").Random(0)
    for _ in range(300):
        width, depth, bottleneck = random.uniform(0.1, 8), random.uniform(0.01, 24), random.uniform(0.2, 12)
        point = SPACE.architecture(width=width, depth=depth, bottleneck=bottleneck)
        assert stage_widths(point["width"]) == stage_widths(width)
        assert stage_depths(point["depth"]) == stage_depths(depth)
        assert inner_widths(point["width"], point["bottleneck"]) == inner_widths(width, bottleneck)
        assert SPACE.architecture(**point.as_dict()) == point


@plain_kernels()
@pytest.mark.parametrize("axis", [axis.name for axis in SPACE.axes])
def test_ladders_rise_and_fall_in_cost(axis):
    space = X3DSpace(frames=4, stride=8, resolution=32, width=0.5, bottleneck=2, depth=1)
    rising = space.larger(space.start, space.axis(axis))[:6]
    falling = space.smaller(space.start, space.axis(axis))[:6]
    for ladder, sign in ((rising, 1), (falling, -1)):
        costs = [macs(point) * sign for point in [space.start, *ladder]]
        assert ladder and costs == sorted(costs) and len(set(costs)) == len(costs)


def test_small_odd_and_single_frame_clips_work_and_every_parameter_learns():
    network = X3D((8, 8, 16, 16), (16, 16, 32, 32), (1, 1, 2, 1), 5)
    for block in network.blocks:
        torch.nn.init.ones_(block.narrow_norm.weight)  # starts at zero, which stops gradients on purpose
    for shape in ((2, 3, 1, 16, 16), (2, 3, 5, 37, 29), (1, 3, 3, 224, 224)):
        network.eval()
        assert network(torch.rand(shape)).shape == (shape[0], 5)
    network.train()
    network(torch.rand(4, 3, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_it_exports():
    network = X3D((8, 8, 16, 16), (16, 16, 32, 32), (1, 1, 1, 1), 5).eval()
    clip = torch.rand(2, 3, 2, 32, 32)
    program = torch.export.export(network, (clip,))
    assert torch.allclose(program.module()(clip), network(clip), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"frames": 0}, "frames=0"), ({"frames": 2.5}, "whole numbers"), ({"width": "wide"}, "not a number"),
        ({"heigth": 2}, "there are"), ({"resolutoin": 64}, "did you mean 'resolution'"), ({"bottleneck": 99}, "0.1 to 12"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(values, words):
    with pytest.raises(UsageError, match=words):
        SPACE.architecture(**values)


def test_a_json_round_trip_keeps_the_point():
    for point in SPACE.points.values():
        assert Architecture.from_json(point.to_json()) == point
        assert all(math.isfinite(float(v)) for v in point.as_dict().values())


@pytest.mark.parametrize("name", STEM)
def test_the_claim_about_the_stem_is_about_this_network(name):
    (clip,), widths = SPACE.inputs(SPACE.points[name]), stage_widths(SPACE.points[name]["width"])
    assert STEM[name] == (widths[0], clip.frames, clip.height // 2, clip.width // 2)


@pytest.mark.parametrize("name", UNSQUEEZED)
def test_the_claims_about_squeeze_excitation_are_about_this_network(name):
    with torch.device("meta"):
        blocks = SPACE.build(SPACE.points[name], 400).blocks
    gates = {b.depthwise.out_channels: b.excitation for b in blocks if isinstance(b.excitation, SqueezeExcitation)}
    without = [b.depthwise.out_channels for b in blocks if not isinstance(b.excitation, SqueezeExcitation)]
    for inner, squeezed, count in UNSQUEEZED[name]:
        assert without.count(inner) == count and gates[inner].squeeze.out_channels == squeezed
    assert len(without) == sum(count for _, _, count in UNSQUEEZED[name])
