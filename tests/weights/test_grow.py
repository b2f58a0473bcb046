"""A larger network that starts from a smaller one's weights: which axes keep the function, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace
from expand.weights.grow import inherit, plan_growth
from search_spaces.c3d import C3DSpace
from search_spaces.inception import InceptionSpace
from search_spaces.mixed_conv import MixedConvSpace
from search_spaces.resnet3d import ResNet3DSpace
from search_spaces.x3d import X3DSpace

X3D = X3DSpace(frames=2, stride=8, resolution=32, width=0.3, depth=0.4)
C3D = C3DSpace(width=1 / 16, frames=9, resolution=24)
MIXED = MixedConvSpace(width=1 / 16, frames=4, resolution=16)
INCEPTION = InceptionSpace(width=0.1, frames=8, resolution=32)
RESNET = ResNet3DSpace(layers=10, width=1 / 16, conv1_depth=3, frames=4, resolution=20)
CLASSES = 5


def trained(space: SearchSpace, architecture: Architecture, seed: int = 0) -> nn.Module:
    """A network whose every weight and statistic is random, as a training leaves none at its first value."""
    torch.manual_seed(seed)
    network = space.build(architecture, CLASSES)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.normal_(0, 0.3)
    return network


def grown(
    space: SearchSpace, parent: Architecture, child: Architecture, network: nn.Module, seed: int = 1
) -> nn.Module:
    torch.manual_seed(seed)
    larger = space.build(child, CLASSES)
    inherit(larger, network.state_dict(), plan_growth(space, parent, child, CLASSES))
    return larger


def logits(network: nn.Module, space: SearchSpace, architecture: Architecture, *, training: bool) -> torch.Tensor:
    """Of the same clips; in training mode without dropout, which draws random numbers."""
    (clip,) = space.inputs(architecture)
    torch.manual_seed(7)
    clips = torch.randn(3, clip.channels, clip.frames, clip.height, clip.width)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train(training)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        answer = network(clips)
    network.load_state_dict(before)  # a pass in training mode changes statistics
    return answer


STEPS = {
    "x3d depth": (X3D, [{"depth": 1.0}]),
    "x3d width": (X3D, [{"width": 0.7}]),
    "x3d bottleneck": (X3D, [{"bottleneck": 2.25}]),
    "x3d, several steps": (X3D, [{"depth": 0.6}, {"width": 0.5}, {"bottleneck": 1.5}, {"depth": 1.0, "width": 0.7}]),
    "c3d kernels": (
        C3D, [{"conv1_depth": 5}, {"conv3_depth": 7, "conv4_depth": 5}, {"width": 1 / 8}, {"conv5_depth": 5}],
    ),
    "mixed kinds before the strides": (MIXED, [{"conv1": "3D"}, {"conv2": "3D"}]),
    "rMC3 to R3D": (MIXED, [{"reversed_split": "rMC3"}, {"reversed_split": "R3D"}]),
    "mixed layers and width": (MIXED, [{"split": "MC3"}, {"layers": 34}, {"width": 1 / 8}]),
    "resnet3d depth, with zero channels": (RESNET, [{"layers": 18}, {"layers": 34}, {"conv1_depth": 7}]),
    "resnet3d width and depth": (RESNET, [{"shortcut": "B"}, {"width": 1 / 8}, {"layers": 18, "width": 1 / 6}]),
    "preact depth and width": (RESNET, [{"kind": "preact", "shortcut": "B"}, {"layers": 34, "width": 1 / 8}]),
    "ResNeXt's cardinality": (
        RESNET, [{"kind": "resnext", "layers": 50, "shortcut": "B", "cardinality": 8}, {"cardinality": 16}],
    ),
    "inception 2D to 3D, where there is no stride": (INCEPTION, [{"mixed3b": "3D"}, {"conv2c": "3D", "mixed5c": "3D"}]),
    "R(2+1)D's own width": (MIXED, [{f"conv{n}": "(2+1)D" for n in range(1, 6)}, {"width": 1 / 8}]),
}  # fmt: skip


@pytest.mark.parametrize("space, moves", STEPS.values(), ids=STEPS)
def test_the_function_is_preserved(space, moves) -> None:
    values = space.start.as_dict()
    parent = space.architecture(**(values | (moves[0] if len(moves) > 1 else {})))
    network = trained(space, parent)
    for place, move in enumerate(moves[1:] or moves):
        child = space.architecture(**({k: v for k, v in parent.as_dict().items() if "split" not in k} | move))
        assert plan_growth(space, parent, child, CLASSES).preserved
        larger = grown(space, parent, child, network, seed=place)
        for training in (False, True):
            before, after = (
                logits(each, space, at, training=training) for each, at in ((network, parent), (larger, child))
            )
            assert before.std() > 1e-3
            assert (before - after).abs().max() < 1e-4
        network, parent = larger, child


def test_new_weights_can_learn() -> None:
    """Zero-padding leaves no channel without a gradient: what new channels compute differs, and old rows hear of them."""
    child = X3D.architecture(width=0.7, depth=1.0)
    larger = grown(X3D, X3D.start, child, trained(X3D, X3D.start)).train()
    clip = torch.randn(4, 3, 2, 32, 32)
    larger(clip).square().sum().backward()
    new = larger.blocks[0].narrow.weight.grad[: X3D.build(X3D.start, CLASSES).blocks[0].narrow.out_channels]
    assert (new[:, -4:].abs().amax(0) > 0).all()
    appended = larger.blocks[1]  # res3's depth grew
    assert appended.narrow_norm.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "space, parent, child, why",
    [
        (X3D, {}, {"frames": 4}, "frames 2 to 4"),
        (X3D, {}, {"stride": 4}, "stride 8 to 4"),
        (X3D, {}, {"resolution": 48, "depth": 1.0}, "height 32 to 48"),
        (C3D, {}, {"resolution": 48, "frames": 20}, "frames 9 to 20"),
        (C3D, {}, {"conv2_depth": 1}, "kernels are cropped in features.3"),
        (MIXED, {}, {"split": "R3D"}, "strides change in blocks.2.conv1.0"),
    ],
)
def test_what_changes_the_function_is_said_and_all_else_is_copied(space, parent, child, why) -> None:
    old, new = space.architecture(**parent), space.architecture(**child)
    assert why in str(plan_growth(space, old, new, CLASSES))
    network = trained(space, old)
    larger = grown(space, old, new, network)
    assert logits(larger, space, new, training=False).isfinite().all()
    for old, new in zip(list(network.parameters())[-2:], list(larger.parameters())[-2:], strict=True):
        assert torch.equal(old, new)


def test_a_flattened_layer_answers_alike_to_a_constant_map() -> None:
    child = C3D.architecture(frames=40, resolution=80)
    network = trained(C3D, C3D.start)
    larger = grown(C3D, C3D.start, child, network)
    before, after = C3D.inheritance(C3D.start).flattened["fc6"], C3D.inheritance(child).flattened["fc6"]
    channels = network.fc6.in_features // torch.Size(before).numel()
    values = torch.randn(2, channels, 1, 1, 1)
    old, new = (values.expand(-1, -1, *size).flatten(1) for size in (before, after))
    assert old.shape != new.shape
    assert torch.allclose(network.fc6(old), larger.fc6(new), atol=1e-5)


@pytest.mark.parametrize(
    "space, parent, child, why",
    [
        (MIXED, {}, {"conv2": "(2+1)D"}, "only the larger network has blocks.0.conv1.1"),
        (MIXED, {"time": "stacked", "frames": 5}, {"frames": 5}, "stem.0 is centred elsewhere"),
        (MIXED, {"time": "stacked"}, {"time": "stacked", "frames": 5}, "kernels need a common centre"),
        (MIXED, {"layers": 34}, {"layers": 18}, "only its parent has"),
        (C3D, {}, {"convolutions": 8}, "only the larger network has features.11"),
        (X3D, {}, {"width": 0.2}, "channels can only be added"),
        (X3DSpace(width=0.16), {}, {"width": 0.4}, "only the larger network has blocks.1.shortcut.1"),
        (X3D, {}, {}, "same as its parent"),
        (
            INCEPTION,
            {},
            {"width": 0.2},
            "channels at width 0.2 in its concatenations where its parent has channels at width 0.1",
        ),
        (INCEPTION, {}, {"mixed3b": "separable"}, "only the larger network has mixed.3b.branch2.1.temporal"),
        (
            RESNET,
            {},
            {"width": 1 / 8},
            "has norms behind .*and zero channels in blocks of 8, 16, 32, 64 where its parent has",
        ),
        (RESNET, {"kind": "preact", "shortcut": "B"}, {"shortcut": "B"}, "norms behind .* norms before"),
        (
            RESNET,
            {"shortcut": "B"},
            {"shortcut": "B", "max_pool": "no"},
            "no max pool where its parent has .* a max pool",
        ),
        (RESNET, {}, {"shortcut": "B"}, "weights cannot be inherited"),
    ],
)
def test_what_cannot_be_inherited_is_refused(space, parent, child, why) -> None:
    with pytest.raises(UsageError, match=why.replace("(", r"\(").replace("+", r"\+")):
        plan_growth(space, space.architecture(**parent), space.architecture(**child), CLASSES)
