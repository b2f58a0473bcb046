"""C3D's networks against costs measured on reference implementations, to the last digit."""

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
from search_spaces.c3d import C3D, GROUPS, PATTERNS, C3DSpace
from search_spaces.published.c3d import FILTERS, SEARCHED

SPACE = C3DSpace()

# Multiply-adds of conv and linear layers, all parameters, parameters of the convolutions with their biases; 101 classes,
# 16 frames of 112 pixels, pools that round up.
SEARCH = {
    "depth-1": (6_428_895_232, 14_344_933, 1_550_976),
    "depth-3": (19_261_106_176, 17_444_965, 4_651_008),
    "depth-5": (32_093_317_120, 20_544_997, 7_751_040),
    "depth-7": (44_925_528_064, 23_645_029, 10_851_072),
    "increasing": (24_116_537_344, 21_573_733, 8_779_776),
    "decreasing": (31_746_500_608, 18_189_157, 5_395_200),
}
EIGHT = {
    101: (38_547_378_176, 78_409_573),
    400: (38_548_602_880, 79_634_576),
    487: (38_548_959_232, 79_991_015),
}


def cost(architecture: Architecture, classes: int = 101) -> tuple[int, int]:
    """Multiply-adds and parameters: torch's, on shapes, and the same from the family's layers."""
    with torch.device("meta"):
        params = sum(p.numel() for p in SPACE.build(architecture, classes).parameters())
    counted = count_macs(lambda: SPACE.build(architecture, classes), SPACE.inputs(architecture)), params
    told = cost_of(SPACE, architecture, classes)
    assert (told.macs, told.params) == counted
    return counted


@pytest.mark.parametrize("name", SEARCH)
def test_the_six_networks_of_the_search(name: str) -> None:
    macs, params, convolutions = SEARCH[name]
    point = SPACE.point(name)
    assert cost(point) == (macs, params)
    with torch.device("meta"):
        layers = [m for m in SPACE.build(point, 101).modules() if isinstance(m, nn.Conv3d)]
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == convolutions
    assert [layer.kernel_size[0] for layer in layers] == list(PATTERNS[name])
    assert [layer.out_channels for layer in layers] == list(FILTERS) and set(SEARCHED) == set(PATTERNS)


@pytest.mark.parametrize("classes", EIGHT)
def test_the_eight_convolutions(classes: int) -> None:
    assert cost(SPACE.point("C3D"), classes) == EIGHT[classes]


@plain_kernels()
def test_fvcore_counts_the_same() -> None:
    small = C3DSpace(width=0.125, frames=16, resolution=40)
    for point in small.points.values():
        counted = count_cost(small.build(point, 10), small.inputs(point))
        assert counted.macs == count_macs(lambda point=point: small.build(point, 10), small.inputs(point))


@pytest.mark.heavy
@pytest.mark.parametrize("name", [*SEARCH, "C3D"])
def test_fvcore_counts_the_same_at_full_size(name: str) -> None:
    point = SPACE.point(name)
    counted = count_cost(SPACE.build(point, 101), SPACE.inputs(point))
    assert (counted.macs, counted.params) == (SEARCH | {"C3D": EIGHT[101]})[name][:2]


def test_depth_is_an_axis_of_each_group() -> None:
    for group in GROUPS:
        axis = SPACE.axis(group)
        assert [a[f"{group}_depth"] for a in SPACE.larger(SPACE.start, axis)] == [5, 7]
        assert [a[f"{group}_depth"] for a in SPACE.smaller(SPACE.start, axis)] == [1]


def test_time_survives_the_first_pool_only() -> None:
    network = SPACE.build(SPACE.start, 5)
    pools = [m for m in network.features if isinstance(m, nn.MaxPool3d)]
    assert [pool.kernel_size for pool in pools] == [(1, 2, 2)] + [(2, 2, 2)] * 4 and all(
        pool.ceil_mode for pool in pools
    )
    assert network.fc6.in_features == 256 * 1 * 4 * 4  # 2304 if pools rounded down


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"conv2_depth": 4}, r"conv2_depth=4: allowed are 1, 3, 5, 7"),
        ({"conv5_depth": 0}, r"conv5_depth=0: allowed are 1, 3, 5, 7"),
        ({"conv1_depth": 2.5}, r"conv1_depth=2\.5: allowed are 1, 3, 5, 7"),
        ({"conv1_depth": "deep"}, r"conv1_depth=deep: allowed are 1, 3, 5, 7"),
        ({"conv6_depth": 3}, r"'conv6_depth'; did you mean 'conv\d_depth'"),
        ({"convolutions": 6}, r"convolutions=6: allowed are 5, 8"),
        ({"frames": 8}, r"frames=8: allowed are 9 to 128 .*four pools halve"),
        ({"frames": 16.5}, r"frames=16\.5: whole numbers only"),
        ({"resolution": 16}, r"resolution=16: allowed are 17 to 512 .*five pools halve"),
        ({"width": 0}, r"width=0: allowed are 0\.01 to 4"),
    ],
)
def test_wrong_values_name_layer_value_and_what_is_allowed(values: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SPACE.architecture(**values)


@pytest.mark.parametrize(
    ("depths", "clip", "words"),
    [
        ((3, 3, 4, 3, 3), (16, 32, 32), r"conv3: a temporal depth is odd and at least 1, not 4"),
        ((3, 0, 3, 3, 3), (16, 32, 32), r"conv2: a temporal depth is odd and at least 1, not 0"),
        ((3, -1, 3, 3, 3), (16, 32, 32), r"conv2: .* not -1"),
        ((3, 3, 3, 3, 3), (8, 32, 32), r"pool5: a \(2, 2, 2\) pool over \(1, 2, 2\)"),
        ((3, 3, 3, 3, 3), (16, 32, 16), r"pool5: a \(2, 2, 2\) pool over \(2, 2, 1\)"),
        ((3, 3, 3, 3, 3), (2, 32, 32), r"pool3: a \(2, 2, 2\) pool over \(1, 8, 8\)"),
    ],
)  # fmt: skip
def test_the_network_itself_refuses_with_the_layer(depths: tuple, clip: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        C3D([[4]] * 5, depths, 8, 3, clip)


def test_the_least_clip_goes_through_and_one_less_does_not() -> None:
    least = SPACE.architecture(frames=9, resolution=17, width=0.02)
    assert SPACE.build(least, 3).eval()(torch.rand(1, 3, 9, 17, 17)).shape == (1, 3)
    for clip in ((8, 17, 17), (9, 16, 17)):
        with pytest.raises(ValueError, match="pool5"):
            C3D([[4]] * 5, [3] * 5, 8, 3, clip)


Command = Callable[..., CompletedProcess[str]]


def test_the_command_line_says_it_in_one_line(expand: Command) -> None:
    done = expand("cost", "c3d", "conv2_depth=4")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and not done.stdout
    assert "conv2_depth=4: allowed are 1, 3, 5, 7" in done.stderr


@pytest.mark.parametrize(("setting", "words"), [("frames=4", "9 to 128"), ("resolution=8", "17 to 512")])
def test_a_study_of_clips_too_small_is_refused_before_anything_is_trained(
    expand: Command, tmp_path, setting, words
) -> None:
    done = expand("run", "c3d_temporal_depth", "--workers", 0, "--out", "run", "--set", f"space.{setting}")
    assert done.returncode == 2 and f"{setting}: allowed are {words}" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()
