"""Spatio-temporal entropy: by hand, and the two ways to compute it against each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.layer_plan import LayerPlan
from expand.counting.entropy import _planned, _score, entropy, entropy_of_network, layer_entropy
from expand.counting.family import shapes_of
from search_spaces.x3d import X3DSpace
from tests.core.test_layer_plan import CLASSES, FAMILIES, drawn

CLIP = ((3, 4, 8, 8),)


def entropy_of_plan(plan: LayerPlan) -> float:
    return _score(_planned(plan.layers))


def test_a_layer_worked_out_by_hand() -> None:
    assert layer_entropy(16, (1, 1, 1), (4, 8, 8)) == pytest.approx(math.log(4))
    cosine = (3 * 4 + 3 * 8 + 3 * 8) / (math.sqrt(27) * 12)  # |K| = √27, |S| = √(16 + 64 + 64)
    assert layer_entropy(81, (3, 3, 3), (4, 8, 8)) == pytest.approx(0.5 * math.log(81 * -math.log(1 - cosine)))


def test_a_layer_of_the_feature_maps_proportions_stays_small() -> None:
    assert layer_entropy(27, (3, 3, 3), (5, 5, 5)) == pytest.approx(0.5 * math.log(27 * -math.log(0.01)))


def test_a_network_worked_out_by_hand() -> None:
    """Four stages of one 1x1x1 convolution each, ½ ln of its inputs; the last three count, 1, 1 and 6 times."""
    plan = LayerPlan(Clip(frames=2, stride=1, height=16, width=16))
    for channels in (4, 9, 16, 25):
        plan.conv("conv", channels, stride=(1, 2, 2))
    plan.mean().linear("fc", 10)
    first, second, third, fourth = 0.5 * math.log(3), math.log(2), math.log(3), math.log(4)
    ends = [first + second + math.log(9), first + second + third + math.log(16)]
    ends.append(first + second + third + fourth + math.log(25))
    assert entropy_of_plan(plan) == pytest.approx(ends[0] + ends[1] + 6 * ends[2])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_layers_and_a_pass_on_shapes_say_the_same(family: str) -> None:
    space, _ = FAMILIES[family]
    for point in drawn(family, 8, first=50):
        shapes = shapes_of(space.inputs(point))
        assert entropy(space, point, CLASSES) == pytest.approx(
            entropy_of_network(lambda point=point: space.build(point, CLASSES), shapes), abs=1e-9
        ), point


class Unplanned(X3DSpace):
    def layer_plan(self, architecture, num_classes):
        return None


def test_a_family_without_a_layer_plan_has_the_same_entropy() -> None:
    space, planned = Unplanned(), X3DSpace()
    point = space.architecture(frames=2, resolution=32, width=0.2, depth=0.4)
    assert (
        entropy(space, point, 5) == pytest.approx(entropy(planned, point, 5), abs=1e-9) and entropy(space, point, 5) > 0
    )


class Gated(nn.Module):
    """A convolution whose output is multiplied by gates, with a shortcut around it."""

    def __init__(self, *, gate: bool, shortcut: bool) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv3d(3, 8, 1), nn.Conv3d(8, 8, 3, padding=1)
        self.gate = nn.Conv3d(8, 8, 1) if gate else None
        self.shortcut = nn.Conv3d(8, 8, 1) if shortcut else None

    def forward(self, x):
        x = self.stem(x)
        y = self.conv(x)
        if self.gate is not None:
            y = y * self.gate(y.mean((2, 3, 4), keepdim=True)).sigmoid()
        return y + self.shortcut(x) if self.shortcut is not None else y


@pytest.mark.parametrize(("gate", "shortcut"), [(True, False), (False, True), (True, True)])
def test_gates_and_shortcuts_add_nothing(gate: bool, shortcut: bool) -> None:
    plain = entropy_of_network(lambda: Gated(gate=False, shortcut=False), CLIP)
    assert entropy_of_network(lambda: Gated(gate=gate, shortcut=shortcut), CLIP) == pytest.approx(plain)


def test_two_streams_and_linear_layers_at_many_positions() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slow, self.fast, self.mix = nn.Conv3d(3, 4, 1), nn.Conv3d(2, 4, 1), nn.Linear(4, 9, bias=False)

        def forward(self, slow, fast):
            return self.mix((self.slow(slow) + self.fast(fast)).flatten(2).mT)

    found = entropy_of_network(Both, (*CLIP, (2, 4, 8, 8)))
    mixed = 0.5 * math.log(3) + 0.5 * math.log(4) + math.log(9)
    assert found == pytest.approx(1 * (0.5 * math.log(3) + math.log(4)) + 6 * mixed)


def test_a_network_of_no_layers_tells_nothing_and_a_broken_one_is_one_line() -> None:
    assert entropy_of_network(nn.Flatten, CLIP) == 0
    with pytest.raises(UsageError, match="my net cannot be run on shapes: ") as caught:
        entropy_of_network(lambda: nn.Conv3d(5, 8, 3), CLIP, "my net")
    assert "\n" not in str(caught.value)


def test_deeper_and_wider_networks_tell_more() -> None:
    space = X3DSpace()
    start = entropy(space, space.start, 10)
    for more in ({"depth": 2}, {"width": 2}, {"bottleneck": 2}):
        assert entropy(space, space.architecture(**more), 10) > start
    assert torch.is_grad_enabled()
