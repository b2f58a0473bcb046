"""Costs by arithmetic, and on shapes, against fvcore, torch's counter and what autograd keeps: equal to the last digit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from expand.contract import plain_kernels
from expand.cost import LAYERS, SHAPES, cost_of, cost_of_network, count_cost, count_macs, shapes_of
from expand.space import Architecture, SearchSpace
from search_spaces.c3d import GROUPS, C3DSpace
from search_spaces.mixed_conv import KINDS, MixedConvSpace
from search_spaces.x3d import X3DSpace

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


FAMILIES: dict[str, tuple[SearchSpace, Draw]] = {
    "x3d": (X3DSpace(), some_x3d), "c3d": (C3DSpace(), some_c3d), "mixed_conv": (MixedConvSpace(), some_mixed),
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
