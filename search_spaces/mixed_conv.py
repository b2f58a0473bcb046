"""Residual networks whose five groups of layers are 2D, 3D or (2+1)D: where and how should a network model time?

Source: D. Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018 (arXiv 1711.11248):
R2D, f-R2D, MCx, rMCx, R3D and R(2+1)D, section 3 and Table 1, with the strides of the published code. A 3D or (2+1)D layer with
spatial stride also strides in time; a 2D layer does not. So MC3 processes eight times more frames after its split than R3D, and
costs more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.layer_plan import LayerPlan
from expand.core.space import Architecture, Axis, SearchSpace, Value, plain_width, scaled
from expand.core.weight_names import Inheritance, WeightLayout
from search_spaces.published.mixed_conv import CLAIMS, PUBLISHED

# --- the network: plain torch, exported as it is; the search space follows --------------------------------------------


def matched_width(channels_in: int, channels_out: int) -> int:
    """M_i of section 3.5: the number of 1x3x3 filters that gives a (2+1)D layer the parameters of a 3x3x3 layer."""
    t, d = 3, 3
    return t * d**2 * channels_in * channels_out // (d**2 * channels_in + t * channels_out)


def convolution(kind: str, channels_in: int, channels_out: int, stride: int, middle: int) -> nn.Sequential:
    """A 3x3x3 layer of one kind: 1x3x3, 3x3x3, or 1x3x3 to `middle` channels, norm, ReLU, 3x1x1."""
    if kind == "2D":
        spatial = nn.Conv3d(channels_in, channels_out, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        return nn.Sequential(spatial)
    if kind == "3D":
        return nn.Sequential(nn.Conv3d(channels_in, channels_out, 3, stride, 1, bias=False))
    if kind == "(2+1)D":
        return nn.Sequential(
            nn.Conv3d(channels_in, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(),
            nn.Conv3d(middle, channels_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )
    raise ValueError(f"kind {kind}: allowed are 2D, 3D, (2+1)D")


class Block(nn.Module):
    """Two convolutions with norms, and a shortcut around them. `middles` are the inner widths of (2+1)D layers."""

    def __init__(self, kind: str, channels_in: int, channels_out: int, stride: int, middles: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = convolution(kind, channels_in, channels_out, stride, middles[0])
        self.norm1 = nn.BatchNorm3d(channels_out)
        self.conv2 = convolution(kind, channels_out, channels_out, 1, middles[1])
        self.norm2 = nn.BatchNorm3d(channels_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            strides = (1 if kind == "2D" else stride, stride, stride)
            self.shortcut.append(nn.Conv3d(channels_in, channels_out, 1, strides, bias=False))
            self.shortcut.append(nn.BatchNorm3d(channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W)
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y))
        return (y + self.shortcut(x)).relu()


class MixedConvNet(nn.Module):
    """A residual network of basic blocks, each group of one kind (Table 1).

    There is no max pool. The first block of conv3, conv4 and conv5 has stride 2.

    Args:
        kinds: kinds of conv1 to conv5, each "2D", "3D" or "(2+1)D".
        widths: output channels of conv1 to conv5.
        depths: blocks of conv2 to conv5.
        stem_middle: inner width of a (2+1)D conv1.
        middle_rule: inner widths in the blocks: "paper" computes M_i from each layer's input and output channels,
            "torchvision" one M_i per block from the block's channels.
        stacked_frames: number of frames that conv1 takes as channels, which leaves one frame (R2D); 0 keeps the time axis.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        widths: Sequence[int],
        depths: Sequence[int],
        num_classes: int,
        *,
        stem_middle: int = 45,
        middle_rule: str = "paper",
        stacked_frames: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        stem = widths[0]
        if stacked_frames:
            # One kernel over all frames without padding in time equals a 2D convolution of the stacked channels.
            layers: list[nn.Module] = [nn.Conv3d(3, stem, (stacked_frames, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)]
        elif kinds[0] == "2D":
            layers = [nn.Conv3d(3, stem, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)]
        elif kinds[0] == "3D":
            layers = [nn.Conv3d(3, stem, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)]
        elif kinds[0] == "(2+1)D":
            layers = [
                nn.Conv3d(3, stem_middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
                nn.BatchNorm3d(stem_middle),
                nn.ReLU(),
                nn.Conv3d(stem_middle, stem, (3, 1, 1), 1, (1, 0, 0), bias=False),
            ]
        else:
            raise ValueError(f"conv1: kind {kinds[0]}: allowed are 2D, 3D, (2+1)D")
        self.stem = nn.Sequential(*layers, nn.BatchNorm3d(stem), nn.ReLU())
        blocks: list[nn.Module] = []
        channels_in = stem
        for group, (kind, channels, depth) in enumerate(zip(kinds[1:], widths[1:], depths, strict=True)):
            for index in range(depth):
                stride = 2 if group > 0 and index == 0 else 1
                first = matched_width(channels_in, channels)
                second = first if middle_rule == "torchvision" else matched_width(channels, channels)
                blocks.append(Block(kind, channels_in, channels, stride, (first, second)))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels_in, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm3d):
                module.eps = 1e-3  # as in the code published with the paper
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:  # (B, 3, T, H, W) -> (B, num_classes)
        x = self.blocks(self.stem(clip))
        return self.fc(self.dropout(x.mean((2, 3, 4))))


def plan_mixed(
    clip: Clip,
    kinds: Sequence[str],
    widths: Sequence[int],
    depths: Sequence[int],
    num_classes: int,
    stem_middle: int = 45,
    middle_rule: str = "paper",
    stacked_frames: int = 0,
) -> LayerPlan:
    """The layers of `MixedConvNet` in order (Table 1), for counting. All blocks of a group after its first are equal."""
    plan, stem = LayerPlan(clip).stage("conv1"), widths[0]
    if stacked_frames:
        plan.conv("conv", stem, (stacked_frames, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3))
    elif kinds[0] == "(2+1)D":
        plan.conv("spatial", stem_middle, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3)).norm("middle_norm").relu()
        plan.conv("temporal", stem, (3, 1, 1), padding=(1, 0, 0))
    else:
        frames = 3 if kinds[0] == "3D" else 1
        plan.conv("conv", stem, (frames, 7, 7), stride=(1, 2, 2), padding=(frames // 2, 3, 3))
    plan.norm("norm").relu()
    for number, (kind, channels, depth) in enumerate(zip(kinds[1:], widths[1:], depths, strict=True), start=2):
        later = matched_width(channels, channels)
        first = matched_width(plan.at.channels, channels)
        second = first if middle_rule == "torchvision" else later
        _plan_block(plan.stage(f"conv{number}"), kind, channels, 2 if number > 2 else 1, (first, second))
        if depth > 1:
            _plan_block(plan.stage(f"conv{number}", times=depth - 1), kind, channels, 1, (later, later))
    return plan.stage("fc").mean().linear("fc", num_classes)


def _plan_block(plan: LayerPlan, kind: str, channels: int, stride: int, middles: Sequence[int]) -> None:
    x = plan.at
    _plan_convolution(plan, "conv1", kind, channels, stride, middles[0]).norm("norm1").relu()
    _plan_convolution(plan, "conv2", kind, channels, 1, middles[1]).norm("norm2")
    if stride != 1 or x.channels != channels:
        with plan.branch(x):
            strides = (1 if kind == "2D" else stride, stride, stride)
            plan.conv("shortcut", channels, stride=strides).norm("shortcut_norm")
    plan.add().relu()


def _plan_convolution(plan: LayerPlan, name: str, kind: str, channels: int, stride: int, middle: int) -> LayerPlan:
    if kind == "3D":
        return plan.conv(name, channels, 3, stride=stride, padding=1)
    if kind == "2D":
        return plan.conv(name, channels, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1))
    plan.conv(f"{name}_spatial", middle, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1))
    plan.norm(f"{name}_middle_norm").relu()
    return plan.conv(f"{name}_temporal", channels, (3, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0))


# --- the search space ------------------------------------------------------------------------------------------------

KINDS = ("2D", "3D", "(2+1)D")
GROUPS = ("conv1", "conv2", "conv3", "conv4", "conv5")
WIDTHS = (64, 64, 128, 256, 512)
STEM_MIDDLE = 45
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def pattern(low: str, split: int, high: str) -> tuple[str, ...]:
    """The kinds of the five groups: `low` before group `split` (conv1 is group 1), `high` from it on."""
    return tuple(low if group < split else high for group in range(1, 6))


# Growing the split extends the 3D layers from the input upwards, growing the reversed split from the output downwards.
SPLITS = {"f-R2D": pattern("3D", 1, "2D"), **{f"MC{x}": pattern("3D", x, "2D") for x in (2, 3, 4, 5)},
          "R3D": pattern("2D", 1, "3D")}  # fmt: skip
REVERSED = {"f-R2D": SPLITS["f-R2D"], **{f"rMC{x}": pattern("2D", x, "3D") for x in (5, 4, 3, 2)}, "R3D": SPLITS["R3D"]}
NAMED = SPLITS | REVERSED | {"R(2+1)D": ("(2+1)D",) * 5}

AXES = (
    Axis("layers", "layers", "", "of the residual network", "more blocks", choices=(18, 34)),
    *(Axis(name, name, "", f"kind of {name}'s layers", "from 2D to 3D to (2+1)D", choices=KINDS) for name in GROUPS),
    Axis("split", "split", "x", "3D below a split, 2D from it on", "3D further up", choices=tuple(SPLITS)),
    Axis("reversed_split", "reversed_split", "x", "2D below a split, 3D from it on", "3D further down",
         choices=tuple(REVERSED)),
    Axis("time", "time", "", "stacked: conv1 takes all frames as channels (R2D)", "", choices=("stacked", "kept")),
    Axis("middle_rule", "middle_rule", "M_i", "inner widths of (2+1)D layers", "", choices=("paper", "torchvision")),
    Axis("width", "width", "", "× (64, 64, 128, 256, 512) channels", "wider layers", low=0.02, high=4, step=1 / 512),
    Axis("frames", "frames", "L", "frames", "a longer clip", low=1, high=128, integer=True, step=1),
    Axis("resolution", "resolution", "", "pixels, side of the square crop, which conv1 and three groups halve",
         "a larger crop", low=16, high=512, integer=True, step=4),
    Axis("frame_rate", "stride", "", "source frames from one sampled frame to the next", "", low=1, high=64, integer=True),
)  # fmt: skip


@dataclass(frozen=True)
class MixedConvSpace(SearchSpace):
    """2D, 3D or (2+1)D for each of five groups: 3^5 networks at each size, and R2D, which stacks its frames.

    A split point (`split=MC3`) sets all five groups. The fields are the start; named points share all values that their names
    do not set. The defaults are the paper's 18 layers on 8 frames of 112 pixels.

    Examples:
        >>> space = MixedConvSpace()
        >>> space.architecture(split="MC3") == space.point("MC3")
        True
        >>> space.constructor(space.point("MC3"), num_classes=400)[1]["kinds"]
        ('3D', '3D', '2D', '2D', '2D')
    """

    layers: int = 18
    width: float = 1.0
    frames: int = 8
    resolution: int = 112
    stride: int = 1

    name = "mixed_conv"
    axes = AXES
    published = PUBLISHED
    claims = CLAIMS

    def start_values(self) -> dict[str, Any]:
        return {
            "layers": self.layers, **dict.fromkeys(GROUPS, "2D"), "time": "kept", "middle_rule": "paper",
            "width": self.width, "frames": self.frames, "resolution": self.resolution, "stride": self.stride,
        }  # fmt: skip

    @property
    def points(self) -> Mapping[str, Architecture]:
        """The twelve networks of Table 1, with "-L16" for 16 frames and "-34" for 34 layers, and torchvision's three."""
        nets: dict[str, dict[str, Any]] = {"R2D": {"time": "stacked"}}
        nets |= {name: dict(zip(GROUPS, kinds, strict=True)) for name, kinds in NAMED.items()}
        sizes: dict[str, dict[str, Any]] = {"": {}, "-L16": {"frames": 16}, "-34": {"layers": 34}}
        found = {name + size: values | more for size, more in sizes.items() for name, values in nets.items()}
        for name, same in (("r3d_18", "R3D"), ("mc3_18", "MC3"), ("r2plus1d_18", "R(2+1)D")):
            found[name] = nets[same] | {"layers": 18, "frames": 16, "middle_rule": "torchvision"}
        return {name: self.architecture(**values) for name, values in found.items()}

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        width = architecture["width"]
        arguments: dict[str, Any] = {
            "kinds": tuple(architecture[group] for group in GROUPS),
            "widths": tuple(scaled(width, channels) for channels in WIDTHS),
            "depths": BLOCKS[architecture["layers"]],
            "num_classes": num_classes,
        }
        if architecture["conv1"] == "(2+1)D":
            arguments["stem_middle"] = scaled(width, STEM_MIDDLE)
        if architecture["middle_rule"] != "paper":
            arguments["middle_rule"] = architecture["middle_rule"]
        if architecture["time"] == "stacked":
            arguments["stacked_frames"] = architecture["frames"]
        return MixedConvNet, arguments

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan:
        return plan_mixed(self.inputs(architecture)[0], **self.constructor(architecture, num_classes)[1])

    def weight_layouts(self, architecture: Architecture) -> Sequence[WeightLayout]:
        """torchvision's layout: r3d_18 is the point R3D, mc3_18 is MC3, r2plus1d_18 has different inner widths."""
        kinds = [architecture[group] for group in GROUPS]
        modules = torchvision_modules(kinds, BLOCKS[architecture["layers"]])
        # torchvision's norms use an epsilon of 1e-5. (2+1)D networks with the paper's inner widths have these names only in
        # VMZ's conversion (ig65m-pytorch), whose epsilon is 1e-3 like ours.
        if "(2+1)D" in kinds[2:] and architecture["middle_rule"] == "paper":
            return (WeightLayout("VMZ in torchvision's names", modules, 1e-3, BOTTLENECKS),)
        return (WeightLayout("torchvision", modules, 1e-5, BOTTLENECKS),)

    def inheritance(self, architecture: Architecture) -> Inheritance:
        return Inheritance.of_blocks(BLOCKS[architecture["layers"]], "norm2")

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        if "split" in values and "reversed_split" in values:
            raise UsageError(
                f"split={values['split']} and reversed_split={values['reversed_split']}: set only one of the two"
            )
        for axis, patterns in (("split", SPLITS), ("reversed_split", REVERSED)):
            if axis in values:
                kinds = patterns[values[axis]]
                values = {name: value for name, value in values.items() if name != axis}
                values |= dict(zip(GROUPS, kinds, strict=True))
        if values["time"] == "stacked":
            for group in GROUPS:
                if values[group] != "2D":
                    raise UsageError(f"{group}={values[group]}: time=stacked leaves one frame, so only 2D is allowed")
        if values["frames"] == 1:  # one frame has no stride and nothing to stack
            values |= {"stride": self.stride, "time": "kept"}
        # There are no inner widths, or only those of conv2, whose input and output channels are equal.
        if not any(values[group] == "(2+1)D" for group in GROUPS[2:]):
            values |= {"middle_rule": "paper"}
        bases = {*WIDTHS, *({STEM_MIDDLE} if values["conv1"] == "(2+1)D" else ())}
        return values | {"width": plain_width(values["width"], bases)}

    def value_on(self, architecture: Architecture, axis: Axis) -> Value | None:
        patterns = {"split": SPLITS, "reversed_split": REVERSED}.get(axis.name)
        if patterns is None:
            return super().value_on(architecture, axis)
        kinds = tuple(architecture[group] for group in GROUPS)
        return next((name for name, each in patterns.items() if each == kinds), None)


# --- published weights ------------------------------------------------------------------------------------------------

BOTTLENECKS = {"layer1.0.conv3": "blocks of three convolutions; this family's have two"}


def torchvision_modules(kinds: Sequence[str], depths: Sequence[int]) -> dict[str, str]:
    """torchvision's module names (models/video/resnet.py) and ours. The stems have the same names; (2+1)D layers are nested."""
    modules = {f"stem.{index}": f"stem.{index}" for index in range(5)} | {"fc": "fc"}
    at = [(group, index) for group, depth in enumerate(depths, start=1) for index in range(depth)]
    for number, (group, index) in enumerate(at):
        theirs, ours = f"layer{group}.{index}", f"blocks.{number}"
        for conv in (1, 2):
            parts = {f"0.{part}": part for part in (0, 1, 3)} if kinds[group] == "(2+1)D" else {"0": 0}
            modules |= {f"{theirs}.conv{conv}.{name}": f"{ours}.conv{conv}.{part}" for name, part in parts.items()}
            modules[f"{theirs}.conv{conv}.1"] = f"{ours}.norm{conv}"
        modules |= {f"{theirs}.downsample.{part}": f"{ours}.shortcut.{part}" for part in (0, 1)}
    return modules


def space() -> MixedConvSpace:
    """The paper's search space: 18 layers on 8 frames of 112 pixels."""
    return MixedConvSpace()
