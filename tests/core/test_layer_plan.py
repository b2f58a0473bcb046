"""Costs by arithmetic, and on shapes, against fvcore, torch's counter and what autograd keeps: equal to the last digit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as some
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.layer_plan import LayerPlan, total
from expand.core.space import Architecture, SearchSpace
from expand.counting.cost import (
    LAYERS,
    SHAPES,
    cost_of,
    cost_of_network,
    count_cost,
    count_macs,
    random_clips,
    shapes_of,
)
from expand.testing.space_contract import plain_kernels
from expand.training.kernels.replace import speed_up
from search_spaces.c3d import GROUPS, C3DSpace
from search_spaces.inception import GATES, InceptionSpace
from search_spaces.inception import GROUPS as ELEVEN
from search_spaces.inception import KINDS as SEPARABLE_TOO
from search_spaces.mixed_conv import KINDS, MixedConvSpace
from search_spaces.resnet3d import ResNet3DSpace
from search_spaces.x3d import X3D, X3DSpace

CLASSES = 7
Draw = Callable[[random.Random], Architecture]


def some_x3d(source: random.Random) -> Architecture:
    return X3DSpace().architecture(
        frames=source.randint(1, 6), resolution=source.randint(16, 56), width=source.uniform(0.1, 1.2),
        bottleneck=source.uniform(0.3, 3), depth=source.uniform(0.1, 1.4),
    )  # fmt: skip


def some_c3d(source: random.Random) -> Architecture:
    depths = {f"{name}_depth": source.choice((1, 3, 5, 7)) for name in GROUPS}
    return C3DSpace().architecture(
        convolutions=source.choice((5, 8)), **depths, width=source.uniform(0.01, 0.2), frames=source.randint(9, 20),
        resolution=source.randint(17, 60),
    )  # fmt: skip


def some_mixed(source: random.Random) -> Architecture:
    frames = source.randint(1, 9)
    if source.random() < 0.15:
        return MixedConvSpace().architecture(time="stacked", width=source.uniform(0.02, 0.3), frames=frames)
    return MixedConvSpace().architecture(
        layers=source.choice((18, 18, 34)), **{name: source.choice(KINDS) for name in GROUPS}, frames=frames,
        middle_rule=source.choice(("paper", "torchvision")), width=source.uniform(0.02, 0.3),
        resolution=source.randint(16, 64),
    )  # fmt: skip


def some_resnet3d(source: random.Random) -> Architecture:
    kind = source.choice(("resnet", "resnet", "preact", "wide", "resnext"))
    return ResNet3DSpace().architecture(
        kind=kind, layers=source.choice((10, 10, 18, 34, 50) if kind in ("resnet", "preact") else (50,)),
        shortcut=source.choice("AB"), widen=source.randint(1, 4), cardinality=source.choice((8, 16)),
        width=source.uniform(0.02, 0.15), conv1_depth=source.choice((3, 5, 7)), conv1_stride=source.choice((1, 2)),
        max_pool=source.choice(("yes", "no")), frames=source.randint(1, 9), resolution=source.randint(16, 40),
    )  # fmt: skip


def some_inception(source: random.Random) -> Architecture:
    return InceptionSpace().architecture(
        **{name: source.choice(SEPARABLE_TOO) for name in ELEVEN}, gates=source.choice(GATES), width=source.uniform(0.05, 0.2),
        conv1a_depth=source.choice((3, 5, 7)), norms=source.choice(("spatial", "both")),
        padding=source.choice(("same", "symmetric")), frames=source.randint(1, 9), resolution=source.randint(16, 40),
    )  # fmt: skip


FAMILIES: dict[str, tuple[SearchSpace, Draw]] = {
    "x3d": (X3DSpace(), some_x3d), "c3d": (C3DSpace(), some_c3d), "mixed_conv": (MixedConvSpace(), some_mixed),
    "resnet3d": (ResNet3DSpace(), some_resnet3d), "inception": (InceptionSpace(), some_inception),
}  # fmt: skip
FACTS = ("macs", "params", "params_published", "activations", "input", "fvcore_flops", "buffer_bytes")


def facts(cost: Any) -> dict[str, Any]:
    return {name: getattr(cost, name) for name in FACTS}


def drawn(family: str, count: int, first: int = 0) -> list[Architecture]:
    _, draw = FAMILIES[family]
    return [draw(random.Random(seed)) for seed in range(first, first + count)]


def agree(family: str, point: Architecture) -> None:
    """The layers, fvcore on a forward pass, and torch's counter."""
    space, _ = FAMILIES[family]
    cost = cost_of(space, point, CLASSES)
    assert cost.counter == LAYERS
    assert facts(cost) == facts(count_cost(space.build(point, CLASSES), space.inputs(point))), point
    assert cost.macs == count_macs(lambda: space.build(point, CLASSES), space.inputs(point)), point


def agree_on_shapes(family: str, point: Architecture) -> None:
    space, _ = FAMILIES[family]
    told = cost_of(space, point, CLASSES)
    counted, _ = cost_of_network(lambda: space.build(point, CLASSES), shapes_of(space.inputs(point)))
    assert counted.counter == SHAPES
    assert replace(counted, counter=LAYERS) == told, point


@plain_kernels()
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_say_what_fvcore_and_torch_count(family: str) -> None:
    for point in drawn(family, 15):
        agree(family, point)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pass_on_shapes_says_the_same(family: str) -> None:
    """What is kept for the backward pass with it: the plan's rules against autograd itself."""
    for point in drawn(family, 5, first=1000):
        agree_on_shapes(family, point)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@plain_kernels()
@pytest.mark.parametrize("family", FAMILIES)
def test_on_200_points_of_each_family(family: str) -> None:
    for point in drawn(family, 200, first=2000):
        agree(family, point)
        agree_on_shapes(family, point)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_named_points_on_shapes(family: str) -> None:
    for point in FAMILIES[family][0].points.values():
        agree_on_shapes(family, point)


# --- what autograd keeps, on real clips --------------------------------------------------------------------------------

TRAINED = {
    "x3d": ({"frames": 4, "resolution": 48, "width": 0.5}, {"frames": 1, "resolution": 64, "bottleneck": 2.25, "depth": 2}),
    "c3d": ({"width": 0.125, "resolution": 40}, {"width": 0.06, "resolution": 34, "convolutions": 8}),
    "mixed_conv": (
        {"width": 0.125, "resolution": 48}, {"width": 0.25, "resolution": 32, "split": "MC3"},
        {"width": 0.2, "resolution": 32, **dict.fromkeys(GROUPS, "(2+1)D")},
    ),
    "inception": (
        {"top_heavy_3d": "all", "width": 0.1, "frames": 9, "resolution": 33},
        {"top_heavy_separable": "4b", "gates": "4d", "norms": "spatial", "width": 0.1, "frames": 8, "resolution": 32},
    ),
    "resnet3d": (
        {"width": 0.1, "resolution": 32}, {"kind": "preact", "layers": 50, "shortcut": "B", "width": 0.1, "resolution": 32},
    ),
}  # fmt: skip


@plain_kernels()
@pytest.mark.parametrize("family", TRAINED)
@pytest.mark.parametrize("ours", [False, True], ids=["plain", "our gradient"])
def test_memory_in_training_is_what_a_step_on_the_cpu_keeps(family: str, ours: bool) -> None:
    """To the byte, but for the mean and variance that norms keep once a batch."""
    space, batch = FAMILIES[family][0], 4
    for values in TRAINED[family]:
        point = space.architecture(**values)
        network = space.build(point, CLASSES).train()
        if ours:
            speed_up(network)
        own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
        kept: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, kept=kept: kept.append(tensor) or tensor, lambda t: t
        ):
            logits = network(*random_clips(space.inputs(point), batch=batch))
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
        bytes_kept = sum(size for address, size in storages.items() if address not in own)
        told = cost_of(space, point, CLASSES).training_bytes
        assert logits.shape == (batch, CLASSES) and told is not None
        statistics = sum(8 * m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm3d))
        assert bytes_kept == batch * told + statistics, point


# --- the plan itself ---------------------------------------------------------------------------------------------------


def test_a_plan_worked_out_by_hand() -> None:
    plan = LayerPlan(Clip(4, 2, 10, 8)).stage("stem").conv("conv", 5, 3, padding=1, bias=True).norm("norm").relu()
    plan.stage("head", times=2).mean().linear("fc", 7)
    conv, norm, linear = plan.layers
    positions = 4 * 10 * 8
    assert (conv.macs, conv.params, conv.weights) == (positions * 5 * 3 * 27, 5 * 3 * 27 + 5, 5 * 3 * 27)
    assert (conv.output, conv.activations, conv.kept_bytes) == ((5, 4, 10, 8), positions * 5, 4 * 3 * positions)
    assert (norm.params, norm.other_flops, norm.buffer_bytes) == (10, 2 * positions * 5, 2 * 5 * 4 + 8)
    assert norm.kept_bytes == 2 * 4 * 5 * positions  # what it reads, and the ReLU's result
    assert (linear.macs, linear.params, linear.activations, linear.kept_bytes) == (35, 42, 7, 20)
    assert total(plan.layers, "macs") == conv.macs + 2 * linear.macs


def test_one_tensor_kept_twice_is_counted_once_and_a_branch_comes_back() -> None:
    plan = LayerPlan(Clip(1, 1, 4, 4)).conv("first", 4).relu()
    x = plan.at
    plan.conv("main", 4)
    with plan.branch(x):
        plan.conv("shortcut", 8, stride=2)
    assert plan.at.channels == 4 and [layer.kept_bytes for layer in plan.layers] == [4 * 16 * 3 + 4 * 16 * 4, 0, 0]


def test_branches_are_concatenated_and_a_mean_keeps_frames() -> None:
    plan = LayerPlan(Clip(4, 1, 5, 6)).conv("first", 4)
    x = plan.at
    one = plan.conv("one", 2).at
    plan.at = x
    two = plan.conv("two", 3, 3, padding=1).at
    assert plan.concatenate([one, two]).at.channels == 5 and plan.at.size == (4, 5, 6)
    assert not plan.at.kept and plan.mean(frames=3).at.size == (3, 1, 1)
    assert [layer.kept_bytes for layer in plan.layers] == [4 * 3 * 120, 4 * 4 * 120, 0]


def test_a_padded_map_is_another_tensor() -> None:
    plan = LayerPlan(Clip(4, 1, 5, 6)).conv("first", 4)
    x = plan.at
    assert plan.pad([(0, 0), (0, 0), (0, 0)]).at is x
    assert plan.pad([(0, 1), (1, 1), (2, 0)]).at.size == (5, 7, 8) and plan.at.channels == 4
    assert plan.conv("second", 2).layers[1].kept_bytes == 4 * 4 * 5 * 7 * 8


def test_a_linear_layer_is_counted_at_every_position() -> None:
    plan = LayerPlan(Clip(2, 1, 3, 5)).linear("fc", 7)
    assert (plan.layers[0].macs, plan.layers[0].activations, plan.layers[0].params) == (30 * 3 * 7, 30 * 7, 3 * 7 + 7)


THREE = some.tuples(*[some.integers(1, 4)] * 3)


@given(THREE, THREE, THREE, THREE)
def test_a_pool_with_a_stride_and_padding_of_its_own_has_torchs_shapes(size, kernel, stride, padding) -> None:
    padding = tuple(min(pad, window // 2) for pad, window in zip(padding, kernel, strict=True))
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    with torch.device("meta"):
        pooled = nn.MaxPool3d(kernel, stride, padding)(torch.zeros(1, 3, *size))
    plan = LayerPlan(Clip(size[0], 1, size[1], size[2])).max_pool("pool", kernel, stride=stride, padding=padding)
    assert plan.layers[0].output == tuple(pooled.shape[1:]) and plan.layers[0].kept_bytes >= 8 * pooled.numel()


@given(THREE, THREE, THREE, some.tuples(*[some.integers(0, 2)] * 3), some.booleans(), THREE, some.booleans())
def test_shapes_and_parameters_are_torchs(size, kernel, stride, padding, bias, pool, ceil) -> None:
    """A convolution and a pool of any extents on a small clip; where torch says that it is too small, the plan does."""
    with torch.device("meta"):
        layers = nn.Conv3d(3, 5, kernel, stride, padding, bias=bias), nn.MaxPool3d(pool, ceil_mode=ceil)
        clip = torch.zeros(1, 3, *size)
    plan = LayerPlan(Clip(size[0], 1, size[1], size[2])).stage("x")
    try:
        convolved = layers[0](clip)
        assume(all(window <= extent for window, extent in zip(pool, convolved.shape[2:], strict=True)))
        shapes = [convolved.shape, layers[1](convolved).shape]
    except RuntimeError:
        with pytest.raises(UsageError, match="too small"):
            plan.conv("conv", 5, kernel, stride=stride, padding=padding).max_pool("pool", pool, ceil=ceil)
        return
    plan.conv("conv", 5, kernel, stride=stride, padding=padding, bias=bias).max_pool("pool", pool, ceil=ceil)
    assert [layer.output for layer in plan.layers] == [tuple(shape[1:]) for shape in shapes]
    weights = layers[0].weight.numel()
    assert plan.layers[0].params == sum(p.numel() for p in layers[0].parameters())
    assert plan.layers[0].macs == weights * convolved[0, 0].numel() and plan.layers[0].weights == weights


def test_a_clip_too_small_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match=r"too small: stem conv has a 3x3x3 kernel, but its input is only 2x8x8"):
        LayerPlan(Clip(2, 1, 8, 8)).stage("stem").conv("conv", 4, 3)


class Shallow(X3D):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.blocks = self.blocks[:1]
        self.conv5 = nn.Conv3d(arguments["widths"][0], arguments["inner_widths"][-1], 1, bias=False)


class ShallowSpace(X3DSpace):
    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        return Shallow, super().constructor(architecture, num_classes)[1]


def test_a_family_that_changes_the_network_is_not_counted_by_the_layers_of_the_old_one() -> None:
    space = ShallowSpace(frames=1, resolution=32, width=0.3)
    cost = cost_of(space, space.start, CLASSES)
    assert cost.counter == SHAPES
    assert facts(cost) == facts(count_cost(space.build(space.start, CLASSES), space.inputs(space.start)))
