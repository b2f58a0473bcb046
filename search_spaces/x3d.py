"""X3D: the network and the six axes along which it is expanded.

Source: C. Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020 (arXiv 2004.04730),
Table 1 (the base network X2D), section 3 (the expansion). Where paper and code differ, this file follows what reproduces the
published costs; each such place says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.layer_plan import LayerPlan
from expand.core.space import Architecture, Axis, SearchSpace, Value, plainest
from expand.core.weight_names import Inheritance, WeightLayout
from search_spaces._x3d_weights import evened, weight_layouts
from search_spaces.published.x3d import CLAIMS, PUBLISHED

# --- the network: plain torch, exported as it is; the search space follows --------------------------------------------


class SqueezeExcitation(nn.Module):
    """Channel gates from the clip's mean (X3D, section 3.1): two 1x1x1 convolutions with biases, ReLU, then a sigmoid."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv3d(channels, squeezed, 1)
        self.excite = nn.Conv3d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W)
        gate = x.mean((2, 3, 4), keepdim=True)
        return x * self.excite(self.squeeze(gate).relu()).sigmoid()


class Block(nn.Module):
    """1x1x1 to the inner width, channel-wise 3x3x3, squeeze-excitation, Swish, 1x1x1 back; shortcut; ReLU."""

    def __init__(self, channels_in: int, channels: int, inner: int, *, stride: int, squeezed: int) -> None:
        super().__init__()
        self.widen = nn.Conv3d(channels_in, inner, 1, bias=False)
        self.widen_norm = nn.BatchNorm3d(inner)
        self.depthwise = nn.Conv3d(inner, inner, 3, stride=(1, stride, stride), padding=1, groups=inner, bias=False)
        self.depthwise_norm = nn.BatchNorm3d(inner)
        self.excitation = SqueezeExcitation(inner, squeezed) if squeezed else nn.Identity()
        self.swish = nn.SiLU()
        self.narrow = nn.Conv3d(inner, channels, 1, bias=False)
        self.narrow_norm = nn.BatchNorm3d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.shortcut.append(nn.Conv3d(channels_in, channels, 1, stride=(1, stride, stride), bias=False))
        # No norm if the channels stay the same, as in pytorchvideo (3,794,274 parameters for XS to M). SlowFast has one there.
        if channels_in != channels:
            self.shortcut.append(nn.BatchNorm3d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W) -> (B, C', T, H/stride, W/stride)
        y = self.widen_norm(self.widen(x)).relu()
        y = self.swish(self.excitation(self.depthwise_norm(self.depthwise(y))))
        y = self.narrow_norm(self.narrow(y))
        return (y + self.shortcut(x)).relu()


class X3D(nn.Module):
    """X3D with explicit widths (Table 1). Time is never strided or pooled before the head.

    Args:
        widths: output channels of res2 to res5; the stem has the width of res2.
        inner_widths: inner (bottleneck) channels of res2 to res5; conv5 has the last of them.
        depths: number of blocks of res2 to res5.
    """

    def __init__(
        self,
        widths: Sequence[int],
        inner_widths: Sequence[int],
        depths: Sequence[int],
        num_classes: int,
        *,
        head_width: int = 2048,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        stem = widths[0]
        self.stem_spatial = nn.Conv3d(3, stem, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)
        # Five frames, although Table 1 prints three: the published costs contain a 5x1x1 (X3D-M has 4.732 GMACs with five
        # and 4.723 with three; 4.73 is printed).
        self.stem_temporal = nn.Conv3d(stem, stem, (5, 1, 1), padding=(2, 0, 0), groups=stem, bias=False)
        self.stem_norm = nn.BatchNorm3d(stem)
        blocks: list[nn.Module] = []
        channels_in = stem
        for channels, inner, depth in zip(widths, inner_widths, depths, strict=True):
            for index in range(depth):
                # Squeeze-excitation in every other block, starting with the first of each stage.
                squeezed = round_to_8(inner / 16) if index % 2 == 0 else 0
                blocks.append(Block(channels_in, channels, inner, stride=2 if index == 0 else 1, squeezed=squeezed))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv5 = nn.Conv3d(channels_in, inner_widths[-1], 1, bias=False)
        self.conv5_norm = nn.BatchNorm3d(inner_widths[-1])
        self.fc1 = nn.Linear(inner_widths[-1], head_width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(head_width, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Block):  # a block starts as its shortcut
                nn.init.zeros_(module.narrow_norm.weight)
        nn.init.kaiming_normal_(self.fc1.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc2.weight, std=0.01)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:  # (B, 3, T, H, W) -> (B, num_classes)
        x = self.stem_norm(self.stem_temporal(self.stem_spatial(clip))).relu()
        x = self.blocks(x)
        x = self.conv5_norm(self.conv5(x)).relu()
        x = x.mean((2, 3, 4))  # any clip size works; the reference pools with a kernel of the training size
        return self.fc2(self.dropout(self.fc1(x).relu()))


def round_to_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never below 0.9 of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def plan_x3d(
    clip: Clip,
    widths: Sequence[int],
    inner_widths: Sequence[int],
    depths: Sequence[int],
    num_classes: int,
    head_width: int = 2048,
) -> LayerPlan:
    """The layers of `X3D` in order (Table 1), for counting; a stage's kinds of blocks alternate, each is listed once."""
    plan, stem = LayerPlan(clip), widths[0]
    plan.stage("conv1").conv("stem_spatial", stem, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    plan.conv("stem_temporal", stem, (5, 1, 1), padding=(2, 0, 0), groups=stem).norm("stem_norm").relu()
    for number, (channels, inner, depth) in enumerate(zip(widths, inner_widths, depths, strict=True), start=2):
        squeezed = round_to_8(inner / 16)
        _plan_block(plan.stage(f"res{number}"), channels, inner, stride=2, squeezed=squeezed)
        for times, gate in ((depth // 2, 0), ((depth - 1) // 2, squeezed)):
            if times:
                _plan_block(plan.stage(f"res{number}", times=times), channels, inner, stride=1, squeezed=gate)
    plan.stage("conv5").conv("conv5", inner_widths[-1]).norm("conv5_norm").relu().mean()
    plan.stage("fc1").linear("fc1", head_width, bias=False).relu()
    return plan.stage("fc2").dropout().linear("fc2", num_classes)


def _plan_block(plan: LayerPlan, channels: int, inner: int, *, stride: int, squeezed: int) -> None:
    x, strides = plan.at, (1, stride, stride)
    plan.conv("widen", inner).norm("widen_norm").relu()
    plan.conv("depthwise", inner, 3, stride=strides, padding=1, groups=inner).norm("depthwise_norm")
    if squeezed:
        y = plan.at
        plan.mean().conv("squeeze", squeezed, bias=True).relu().conv("excite", inner, bias=True).sigmoid().gates(y)
    plan.silu().conv("narrow", channels).norm("narrow_norm")
    if stride != 1 or x.channels != channels:
        with plan.branch(x):
            plan.conv("shortcut", channels, stride=strides)
            if x.channels != channels:
                plan.norm("shortcut_norm")
    plan.add().relu()


# --- the search space ------------------------------------------------------------------------------------------------

STAGE_BASES = (12, 24, 48, 96)  # widths at γ_w = 0.5, the factor 1 of the authors' code; the stem is as wide as res2
DEPTH_BASES = (1, 2, 5, 3)
LEAST_WIDTH = 0.1
TIME_AXES = ("frame_rate", "frames")
TIME_STEPS = (1, *(n * 2**power for power in range(8) for n in (2, 3)))  # 1, 2, 3, 4, 6, 8, 12 ... 256, 384
VALUES = ("frames", "stride", "resolution", "width", "bottleneck", "depth")
INSTANCES = {  # Tables 1 and 3, in the order of `VALUES`
    "X2D": (1, 16, 112, 1, 1, 1),
    "XS": (4, 12, 160, 1, 2.25, 2.2),
    "S": (13, 6, 160, 1, 2.25, 2.2),
    "M": (16, 5, 224, 1, 2.25, 2.2),
    "L": (16, 5, 312, 1, 2.25, 5),
    "XL": (16, 5, 312, 1.45, 2.25, 5),
}
PUBLISHED_STEPS = {"depth": 2.2, "width": 1.45, "bottleneck": 2.25}
PUBLISHED_RESOLUTIONS = (112, 160, 224, 312, 448)  # steps of √2; 312, not 320, is what the paper trains

AXES = (
    Axis("frame_rate", "stride", "γ_τ", "source frames from one sampled frame to the next",
         "more frames over the same duration", low=1, high=64, integer=True),
    Axis("frames", "frames", "γ_t", "frames", "a longer clip at a higher frame rate", low=1, high=256, integer=True),
    Axis("resolution", "resolution", "γ_s", "pixels, side of the square crop", "a larger crop",
         low=16, high=1024, integer=True, step=4),
    Axis("depth", "depth", "γ_d", "× (1, 2, 5, 3) blocks", "more blocks in every stage", low=0.01, high=24),
    Axis("width", "width", "γ_w", "× (24, 24, 48, 96, 192) channels", "more channels everywhere",
         low=LEAST_WIDTH, high=8),
    Axis("bottleneck", "bottleneck", "γ_b", "inner width / block width", "wider channel-wise convolutions",
         low=0.1, high=12),
)  # fmt: skip


def stage_widths(width: float) -> tuple[int, ...]:
    """Output channels of res2 to res5 at γ_w = `width`, rounded to multiples of 8.

    Without rounding X3D-XL would cost 36.65 GMACs instead of the published 35.84. The paper's γ_w = 2.9 for XL is the code's
    factor: 1.45 in the paper's unit.
    """
    return tuple(round_to_8(basis * 2 * width) for basis in STAGE_BASES)


def inner_widths(width: float, bottleneck: float) -> tuple[int, ...]:
    """Inner channels of res2 to res5: truncated, not rounded to 8 (54, 108, 216, 432 for XS to L)."""
    return tuple(int(round(bottleneck * channels, 9)) for channels in stage_widths(width))


def stage_depths(depth: float) -> tuple[int, ...]:
    return tuple(math.ceil(round(depth * basis, 9)) for basis in DEPTH_BASES)


@dataclass(frozen=True)
class X3DSpace(SearchSpace):
    """The six axes of X3D (section 3.2), from a start given by the fields. The defaults are X2D.

    A clip lasts frames x stride source frames. The axis frame_rate (X-Fast) keeps the duration. The axis frames (X-Temporal)
    also lengthens the clip: each doubling adds the start's duration, which is then divided by the new number of frames. This
    rule gives all durations that the paper prints (1x16, 2x16, XS 4x12, 8x8, 16x5, and 13x6 for the contracted S).

    Attributes:
        longest_clip: longest duration of a clip in source frames, for short videos; none is no limit.
        even_head: `evened` initial weights of fc1, for short trainings.

    Examples:
        >>> space = X3DSpace()
        >>> space.constructor(space.point("M"), num_classes=400)[1]["widths"]
        (24, 48, 96, 192)
    """

    frames: int = 1
    stride: int = 16
    resolution: int = 112
    width: float = 1.0
    bottleneck: float = 1.0
    depth: float = 1.0
    longest_clip: int | None = None
    even_head: bool = False

    name = "x3d"
    axes = AXES
    published = PUBLISHED
    claims = CLAIMS

    def start_values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in VALUES}

    @property
    def points(self) -> Mapping[str, Architecture]:
        return {name: self.architecture(**dict(zip(VALUES, values, strict=True))) for name, values in INSTANCES.items()}

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        return X3D, {
            "widths": stage_widths(architecture["width"]),
            "inner_widths": inner_widths(architecture["width"], architecture["bottleneck"]),
            "depths": stage_depths(architecture["depth"]),
            "num_classes": num_classes,
        }

    def build(self, architecture: Architecture, num_classes: int) -> nn.Module:
        network = super().build(architecture, num_classes)
        return evened(network) if self.even_head else network

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan:
        return plan_x3d(self.inputs(architecture)[0], **self.constructor(architecture, num_classes)[1])

    def weight_layouts(self, architecture: Architecture) -> Sequence[WeightLayout]:
        """Both public layouts, for any widths and depths. Networks that differ in their clips only share weights (XS, S, M)."""
        return weight_layouts(stage_depths(architecture["depth"]))

    def inheritance(self, architecture: Architecture) -> Inheritance:
        return Inheritance.of_blocks(stage_depths(architecture["depth"]), "narrow_norm")

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        widths = stage_widths(values["width"])
        inner = inner_widths(values["width"], values["bottleneck"])
        if min(inner) < 1:
            narrow = f"bottleneck={values['bottleneck']:g} at width={values['width']:g}"
            raise UsageError(f"{narrow} leaves a stage without channels; at least one is needed")
        return values | {
            # A single frame has no stride.
            "stride": self.stride if values["frames"] == 1 else values["stride"],
            "width": plainest(*_width_interval(widths)),
            "bottleneck": plainest(
                max(i / c for i, c in zip(inner, widths, strict=True)),
                min((i + 1) / c for i, c in zip(inner, widths, strict=True)),
            ),
            "depth": min(n / basis for n, basis in zip(stage_depths(values["depth"]), DEPTH_BASES, strict=True)),
        }

    # How each axis grows. `larger` is solved for a cost by the strategy; `published_growth` is the paper's fixed step.

    def larger(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        if axis.name not in TIME_AXES:
            return super().larger(architecture, axis)
        counts = range(architecture["frames"] + 1, int(self.axis("frames").high) + 1)
        moves = (self._with_frames(architecture, count, axis.name) for count in counts)
        return self._moved(architecture, filter(None, moves))

    def smaller(self, architecture: Architecture, axis: Axis) -> Sequence[Architecture]:
        if axis.name not in TIME_AXES:
            return super().smaller(architecture, axis)
        # Fewer frames over the same duration: 16x5 becomes 13x6.
        duration, longest = architecture["frames"] * architecture["stride"], self.axis("frame_rate").high
        counts = range(architecture["frames"] - 1, 0, -1)
        moves = [{"frames": count, "stride": duration // count} for count in counts if duration // count <= longest]
        return self._moved(architecture, moves)

    def rungs(self, architecture: Architecture, axis: Axis) -> Sequence[Value]:
        """Each distinct set of depths or widths once, bottlenecks in steps of 1/20; none for the time axes."""
        match axis.name:
            case "depth":
                blocks = {basis: range(1, int(basis * axis.high) + 1) for basis in DEPTH_BASES}
                return sorted({count / basis for basis, counts in blocks.items() for count in counts})
            case "width":
                return _distinct_widths(axis.high)
            case "bottleneck":
                return [n / 20 for n in range(math.ceil(axis.low * 20), int(axis.high * 20) + 1)]
            case _:
                return super().rungs(architecture, axis)

    def values(self, axis: Axis) -> Sequence[Value]:
        """As `rungs`; frames and strides in steps of at most one and a half."""
        steps = (n for n in TIME_STEPS if axis.low <= n <= axis.high)
        return list(steps) if axis.name in TIME_AXES else super().values(axis)

    def searched(self, architecture: Architecture) -> bool:
        """Clips that are not longer than the longest."""
        duration = int(architecture["frames"] * architecture["stride"])
        return duration <= max(self.longest_clip or duration, self.frames * self.stride)

    def published_growth(self, architecture: Architecture, axis: Axis) -> Architecture | None:
        """The paper's step: frames x2, resolution x√2, depth x2.2, width x1.45, bottleneck x2.25."""
        values: dict[str, Any] = architecture.as_dict()
        moved: dict[str, Any]
        match axis.name:
            case "frame_rate" | "frames":
                moved = self._with_frames(architecture, 2 * values["frames"], axis.name)
            case "resolution":
                side = values["resolution"]
                published = [larger for smaller, larger in itertools.pairwise(PUBLISHED_RESOLUTIONS) if smaller == side]
                moved = {"resolution": published[0] if published else round(side * math.sqrt(2) / 4) * 4}
            case name:
                moved = {name: values[name] * PUBLISHED_STEPS[name]}
        parameters = {each.parameter: each for each in self.axes}
        if not moved or any(value > parameters[name].high for name, value in moved.items()):
            return None
        grown = self.architecture(**(values | moved))
        return None if grown == architecture else grown

    def _with_frames(self, architecture: Architecture, count: int, axis: str) -> dict[str, Any]:
        """Frames and stride after growing to `count` frames, or {} if the clip would be too long."""
        frames, stride = architecture["frames"], architecture["stride"]
        duration = frames * stride
        # A single frame has no duration to keep, so both axes lead to the same network (section 4.1 of the paper counts
        # five distinct candidates there).
        if axis == "frames" or frames == 1:
            duration += self.stride * math.log2(count / frames)
        if self.longest_clip is not None:
            duration = min(duration, max(self.longest_clip, frames * stride))
        if count > duration or count > self.axis("frames").high:
            return {}
        return {"frames": count, "stride": min(int(round(duration / count, 9)), int(self.axis("frame_rate").high))}


def _width_interval(widths: tuple[int, ...]) -> tuple[float, float]:
    """The interval [low, high) of all γ_w that round to these stage widths."""
    pairs = list(zip(widths, STAGE_BASES, strict=True))
    return max(_turn(c) / (2 * basis) for c, basis in pairs), min(_turn(c + 8) / (2 * basis) for c, basis in pairs)


def _turn(channels: int) -> float:
    """The smallest value that `round_to_8` rounds to `channels`: midway to the multiple below, or where that is below 0.9."""
    return min(channels - 4, (channels - 8) / 0.9) if channels > 8 else 0.24


def _distinct_widths(most: float) -> list[float]:
    """One γ_w for each distinct set of stage widths up to `most`, in rising order."""
    turns = {round(_turn(8 * n) / (2 * basis), 9) for basis in STAGE_BASES for n in range(1, int(most * basis / 4) + 2)}
    edges = [LEAST_WIDTH, *sorted(turn for turn in turns if LEAST_WIDTH < turn < most), most]
    return [(low + high) / 2 for low, high in itertools.pairwise(edges)]


def space() -> X3DSpace:  # the paper's, which starts at X2D
    return X3DSpace()
