"""Inception networks for video: I3D, S3D and mixtures. Which of eleven groups of layers need to see time, and how?

Source: J. Carreira, A. Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017 (arXiv 1705.07750): Inception-v1 with all kernels
inflated to 3D (I3D). S. Xie et al., "Rethinking Spatiotemporal Feature Learning", ECCV 2018 (arXiv 1712.04851): 2D kernels below
or above a group (top-heavy, bottom-heavy), separable kernels (S3D) and gates (S3D-G). Layers as in the authors' code
(deepmind/kinetics-i3d, tensorflow/models s3dg.py): 3x3 kernels where GoogLeNet has 5x5, and temporal strides wherever I3D has
them, also in 2D layers. Two definitions of S3D are in use, with other `norms` and `padding`.
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
from search_spaces._inception_splits import FROM, GROUPS, KINDS, MIXED, SPLITS, top_heavy
from search_spaces._inception_weights import i3d_layout, s3d_layouts
from search_spaces.published.inception import CLAIMS, PUBLISHED

# --- the network: plain torch, exported as it is; the search space follows --------------------------------------------


def paddings(rule: str, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros in front of and behind time, height and width, so that n positions become n / stride, rounded up.

    TensorFlow's "same" adds the fewest zeros, an odd one behind. "symmetric" is torch's usual half a kernel on both sides, for
    odd kernels.
    """
    found = []
    for extent, size, step in zip(sizes, kernel, stride, strict=True):
        total = max((-(-extent // step) - 1) * step + size - extent, 0)
        found.append((size // 2, size // 2) if rule == "symmetric" and size % 2 else (total // 2, total - total // 2))
    return found


class Pad(nn.Module):
    """Pads a map by `paddings` for a layer with this kernel and stride."""

    def __init__(self, rule: str, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.rule, self.kernel, self.stride = rule, tuple(kernel), tuple(stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W)
        time, height, width = paddings(self.rule, [int(size) for size in x.shape[2:]], self.kernel, self.stride)
        return nn.functional.pad(x, (*width, *height, *time)) if any(time + height + width) else x


def convolutions(
    kind: str, kernel: Sequence[int], stride: Sequence[int]
) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """The name, kernel and stride of a unit's convolutions. A 2D kernel keeps the stride in time."""
    (frames, side), (step, spatial) = kernel, stride
    if kind == "3D":
        return [("conv", (frames, side, side), (step, spatial, spatial))]
    if kind == "2D":
        return [("conv", (1, side, side), (step, spatial, spatial))]
    if kind == "separable":
        return [("conv", (1, side, side), (1, spatial, spatial)), ("temporal", (frames, 1, 1), (step, 1, 1))]
    raise ValueError(f"kind {kind}: allowed are 2D, 3D, separable")


class Unit(nn.Sequential):
    """Convolution, norm, ReLU; a separable one is 1 x k x k and then k x 1 x 1.

    Args:
        kernel, stride: (in time, in space).
        norms: of a separable one, "both" halves have a norm, or the "spatial" one only, and the temporal one has a bias.
    """

    def __init__(
        self, kind: str, channels_in: int, channels: int, kernel: Sequence[int], stride: Sequence[int], norms: str, padding: str
    ) -> None:  # fmt: skip
        super().__init__()
        for name, size, step in convolutions(kind, kernel, stride):
            strided, normed = max(step) > 1, name == "conv" or norms == "both"
            if strided:
                self.add_module(f"{name}_pad", Pad(padding, size, step))
            inner = 0 if strided else tuple(extent // 2 for extent in size)
            self.add_module(name, nn.Conv3d(channels_in, channels, size, step, inner, bias=not normed))  # type: ignore[arg-type]
            if normed:
                self.add_module(f"{name}_norm", nn.BatchNorm3d(channels, eps=1e-3))
            self.add_module(f"{name}_relu", nn.ReLU())
            channels_in = channels


class Gate(nn.Module):
    """Multiplies each channel by a number between 0 and 1 that depends on the means of all channels (S3D-G)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv3d(channels, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x.mean((2, 3, 4), keepdim=True)).sigmoid()


class Mixed(nn.Module):
    """Four branches, concatenated: 1x1x1; 1x1x1, 3x3x3; 1x1x1, 3x3x3; max pool, 1x1x1. `widths`: their six units' channels."""

    def __init__(
        self, kind: str, channels_in: int, widths: Sequence[int], norms: str, padding: str, *, gated: bool
    ) -> None:
        super().__init__()
        one, reduce2, two, reduce3, three, four = widths
        self.branch1 = nn.Sequential(Unit("3D", channels_in, one, (1, 1), (1, 1), norms, padding))
        self.branch2 = nn.Sequential(Unit("3D", channels_in, reduce2, (1, 1), (1, 1), norms, padding))
        self.branch2.append(Unit(kind, reduce2, two, (3, 3), (1, 1), norms, padding))
        self.branch3 = nn.Sequential(Unit("3D", channels_in, reduce3, (1, 1), (1, 1), norms, padding))
        self.branch3.append(Unit(kind, reduce3, three, (3, 3), (1, 1), norms, padding))
        self.branch4 = nn.Sequential(
            nn.MaxPool3d(3, 1, 1), Unit("3D", channels_in, four, (1, 1), (1, 1), norms, padding)
        )
        if gated:
            for branch, channels in zip(self.children(), (one, two, three, four), strict=True):
                assert isinstance(branch, nn.Sequential)
                branch.append(Gate(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W)
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


# Kernel and stride, in time and space, of the max pools, by the group that follows.
POOLS = {"conv2b": ((1, 3), (1, 2)), "3b": ((1, 3), (1, 2)), "4b": ((3, 3), (2, 2)), "5b": ((2, 2), (2, 2))}


class Inception(nn.Module):
    """Inception-v1 with eleven groups of layers, each 2D, 3D or separable (Figure 3 of I3D's paper).

    Args:
        kinds: kinds of conv1a, conv2c and the nine mixed groups.
        stem: output channels of conv1a, conv2b and conv2c.
        mixed: for each mixed group, the channels of its six units.
        stem_depth: frames of conv1a's kernel, unless it is 2D.
        gated: how many of the groups, counted from the top, have gates; conv1a never has one.
        norms: of separable units, "both" (kylemin, torchvision) or "spatial" (the authors).
        padding: of strided layers, "same" (TensorFlow) or "symmetric" (torch).
    """

    def __init__(
        self, kinds: Sequence[str], stem: Sequence[int], mixed: Sequence[Sequence[int]], num_classes: int, *,
        stem_depth: int = 7, gated: int = 0, rules: Sequence[str] = ("both", "same"), dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        norms, padding = rules
        self.conv1a = Unit(kinds[0], 3, stem[0], (stem_depth, 7), (2, 2), norms, padding)
        self.pool2a = pool("conv2b", padding)
        self.conv2b = Unit("3D", stem[0], stem[1], (1, 1), (1, 1), norms, padding)
        self.conv2c = nn.Sequential(Unit(kinds[1], stem[1], stem[2], (3, 3), (1, 1), norms, padding))
        if gated > len(MIXED):
            self.conv2c.append(Gate(stem[2]))
        channels = stem[2]
        self.mixed = nn.Sequential()
        for place, (name, kind, widths) in enumerate(zip(MIXED, kinds[2:], mixed, strict=True)):
            if name in POOLS:
                self.mixed.add_module(f"pool{name[0]}a", pool(name, padding))
            self.mixed.add_module(
                name, Mixed(kind, channels, widths, norms, padding, gated=place >= len(MIXED) - gated)
            )
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Conv3d(channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, module in self.named_modules():
            if name.endswith("temporal"):  # each frame is passed on: "critical for convergence" in the authors' code
                nn.init.zeros_(module.weight)
                module.weight.data[:, :, module.weight.shape[2] // 2, 0, 0].fill_diagonal_(1)
            elif isinstance(module, Gate):
                nn.init.normal_(module.gate.weight, std=0.01)
        nn.init.normal_(self.fc.weight, std=0.01)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:  # (B, 3, T, H, W) -> (B, num_classes)
        x = self.conv2c(self.conv2b(self.pool2a(self.conv1a(clip))))
        x = self.mixed(x).mean((3, 4), keepdim=True)
        if x.shape[2] > 1:  # an average pool of two frames and stride 1: the first and the last step count half
            x = (x[:, :, 1:] + x[:, :, :-1]) / 2
        return self.fc(self.dropout(x)).mean((2, 3, 4))


def pool(name: str, padding: str) -> nn.Sequential:
    """The max pool in front of a group. Its inputs are not negative, so padding with zeros changes nothing."""
    (frames, side), (step, spatial) = POOLS[name]
    kernel, stride = (frames, side, side), (step, spatial, spatial)
    return nn.Sequential(Pad(padding, kernel, stride), nn.MaxPool3d(kernel, stride))


def plan_inception(
    clip: Clip, kinds: Sequence[str], stem: Sequence[int], mixed: Sequence[Sequence[int]], num_classes: int,
    stem_depth: int = 7, gated: int = 0, rules: Sequence[str] = ("both", "same"),
) -> LayerPlan:  # fmt: skip
    """The layers of `Inception` in order, for counting."""
    plan = LayerPlan(clip)
    _plan_unit(plan.stage("conv1a"), kinds[0], stem[0], (stem_depth, 7), (2, 2), rules)
    _plan_pool(plan, "conv2b", rules[1])
    _plan_unit(plan.stage("conv2b"), "3D", stem[1], (1, 1), (1, 1), rules)
    _plan_unit(plan.stage("conv2c"), kinds[1], stem[2], (3, 3), (1, 1), rules)
    if gated > len(MIXED):
        _plan_gate(plan)
    for place, (name, kind, widths) in enumerate(zip(MIXED, kinds[2:], mixed, strict=True)):
        if name in POOLS:
            _plan_pool(plan, name, rules[1])
        x, branches = plan.stage(f"mixed{name}").at, []
        one, reduce2, two, reduce3, three, four = widths
        for number, units in enumerate(
            (((one, 1),), ((reduce2, 1), (two, 3)), ((reduce3, 1), (three, 3)), ((four, 1),))
        ):
            plan.at = x
            if number == 3:
                plan.max_pool("pool", 3, stride=1, padding=1)
            for channels, side in units:
                _plan_unit(plan, kind if side == 3 else "3D", channels, (side, side), (1, 1), rules)
            if place >= len(MIXED) - gated:
                _plan_gate(plan)
            branches.append(plan.at)
        plan.concatenate(branches)
    plan.stage("fc").mean(frames=max(plan.at.size[0] - 1, 1)).dropout().conv("fc", num_classes, bias=True)
    return plan.mean()


def _plan_unit(
    plan: LayerPlan, kind: str, channels: int, kernel: Sequence[int], stride: Sequence[int], rules: Sequence[str]
) -> None:
    for name, size, step in convolutions(kind, kernel, stride):
        strided, normed = max(step) > 1, name == "conv" or rules[0] == "both"
        if strided:
            plan.pad(paddings(rules[1], plan.at.size, size, step))
        padding = 0 if strided else tuple(extent // 2 for extent in size)
        plan.conv(name, channels, size, stride=step, padding=padding, bias=not normed)
        if normed:
            plan.norm("norm")
        plan.relu()


def _plan_gate(plan: LayerPlan) -> None:
    y = plan.at
    plan.mean().conv("gate", y.channels).sigmoid().gates(y)


def _plan_pool(plan: LayerPlan, name: str, padding: str) -> None:
    (frames, side), (step, spatial) = POOLS[name]
    kernel, stride = (frames, side, side), (step, spatial, spatial)
    plan.pad(paddings(padding, plan.at.size, kernel, stride)).max_pool("pool", kernel, stride=stride)


# --- the search space ------------------------------------------------------------------------------------------------

STEM = (64, 64, 192)
WIDTHS = (  # of the mixed groups
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
GATES = ("none", *(name for name in FROM[::-1]))

AXES = (
    *(Axis(name, name, "", f"kind of {name}'s kernels", "from 2D to 3D to separable", choices=KINDS) for name in GROUPS),
    *(
        Axis(name, name, "", "2D below it" if "top" in name else "2D from it on", "more see time", choices=tuple(splits))
        for name, splits in SPLITS.items()
    ),
    Axis("gates", "gates", "", "gates from this group on", "more gates", choices=GATES),
    Axis("stem_depth", "conv1a_depth", "", "frames of conv1a's kernel, if it is not 2D", "a deeper kernel", choices=(3, 5, 7)),
    Axis("norms", "norms", "", "of separable kernels: both halves, or the spatial one", "", choices=("spatial", "both")),
    Axis("padding", "padding", "", "of strided layers: TensorFlow's or torch's", "", choices=("same", "symmetric")),
    Axis("width", "width", "", "× the published channels", "wider layers", low=0.05, high=2, step=1 / 128),
    Axis("frames", "frames", "", "frames, which conv1a and two pools halve", "a longer clip",
         low=1, high=256, integer=True, step=1),
    Axis("resolution", "resolution", "", "pixels, side of the square crop, which five layers halve", "a larger crop",
         low=16, high=512, integer=True, step=4),
    Axis("frame_rate", "stride", "", "source frames from one sampled frame to the next", "", low=1, high=64, integer=True),
)  # fmt: skip


@dataclass(frozen=True)
class InceptionSpace(SearchSpace):
    """2D, 3D or separable for each of eleven groups, with or without gates: 3^11 networks at each size.

    The four split axes set all eleven kinds: 3D or separable from a group on ("top_heavy"), or below it ("bottom_heavy"), and 2D
    elsewhere. The fields are the start, which is all 2D; named points share all values that their names do not set. The defaults
    are the papers' 64 frames of 224 pixels.

    Examples:
        >>> space = InceptionSpace()
        >>> space.architecture(top_heavy_3d="all") == space.point("I3D")
        True
        >>> space.constructor(space.point("top-heavy-I3D-4b"), num_classes=400)[1]["kinds"][:6]
        ('2D', '2D', '2D', '2D', '3D', '3D')
    """

    width: float = 1.0
    frames: int = 64
    resolution: int = 224
    stride: int = 1
    conv1a_depth: int = 7

    name = "inception"
    axes = AXES
    published = PUBLISHED
    claims = CLAIMS

    def start_values(self) -> dict[str, Any]:
        return {
            **dict.fromkeys(GROUPS, "2D"), "gates": "none", "conv1a_depth": self.conv1a_depth, "norms": "both",
            "padding": "same", "width": self.width, "frames": self.frames, "resolution": self.resolution,
            "stride": self.stride,
        }  # fmt: skip

    @property
    def points(self) -> Mapping[str, Architecture]:
        """I3D and its 2D networks, both definitions of S3D (the authors' with a suffix), and all splits."""
        authors = {"norms": "spatial", "conv1a": "3D"}
        found: dict[str, dict[str, Any]] = {
            "I2D": {}, "Inception-v1": {"frames": 1}, "I3D": {"top_heavy_3d": "all"},
            "S3D": {"top_heavy_separable": "all", "padding": "symmetric"},
        }  # fmt: skip
        for depth in (3, 7):
            found[f"S3D-authors-t{depth}"] = _top("2c") | authors | {"conv1a_depth": depth}
            found[f"S3D-G-authors-t{depth}"] = found[f"S3D-authors-t{depth}"] | {"gates": "2c"}
        for first in FROM:
            found[f"top-heavy-I3D-{first}"] = {"top_heavy_3d": first}
            found[f"bottom-heavy-I3D-{first}"] = {"bottom_heavy_3d": first}
            found[f"top-heavy-S3D-{first}"] = {"top_heavy_separable": first}
            found[f"bottom-heavy-S3D-{first}"] = {"bottom_heavy_separable": first}
            if first != "2c":  # there it is S3D-G-authors-t3
                found[f"top-heavy-S3D-G-{first}"] = _top(first) | authors | {"conv1a_depth": 3, "gates": first}
        return {name: self.architecture(**values) for name, values in found.items()}

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        width = architecture["width"]
        return Inception, {
            "kinds": tuple(architecture[group] for group in GROUPS),
            "stem": tuple(scaled(width, channels) for channels in STEM),
            "mixed": tuple(tuple(scaled(width, channels) for channels in widths) for widths in WIDTHS),
            "num_classes": num_classes,
            "stem_depth": architecture["conv1a_depth"],
            "gated": GATES.index(architecture["gates"]),
            "rules": (architecture["norms"], architecture["padding"]),
        }

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan:
        return plan_inception(self.inputs(architecture)[0], **self.constructor(architecture, num_classes)[1])

    def weight_layouts(self, architecture: Architecture) -> Sequence[WeightLayout]:
        """piergiaj's I3D; kylemin's and torchvision's S3D, whose groups are all separable."""
        kinds = {architecture[group] for group in GROUPS}
        if architecture["gates"] != "none":
            return ()
        if "separable" not in kinds:
            return (i3d_layout(MIXED),)
        return s3d_layouts(MIXED) if kinds == {"separable"} and architecture["norms"] == "both" else ()

    def inheritance(self, architecture: Architecture) -> Inheritance:
        """Branches are concatenated, so that wider ones would move each other's channels."""
        return Inheritance(form=f"channels at width {architecture['width']:g} in its concatenations")

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        chosen = [name for name in SPLITS if name in values]
        if len(chosen) > 1:
            given = " and ".join(f"{name}={values[name]}" for name in chosen)
            raise UsageError(f"{given}: set only one of them")
        for name in chosen:
            kinds = SPLITS[name][values.pop(name)]
            values |= dict(zip(GROUPS, kinds, strict=True))
        if values["conv1a"] == "2D":  # no kernel in time
            values |= {"conv1a_depth": 7}
        if all(values[group] != "separable" for group in GROUPS):
            values |= {"norms": "both"}
        if values["frames"] == 1:
            values |= {"stride": self.stride}
        bases = {*STEM, *(channels for widths in WIDTHS for channels in widths)}
        return values | {"width": plain_width(values["width"], bases)}

    def value_on(self, architecture: Architecture, axis: Axis) -> Value | None:
        if axis.name not in SPLITS:
            return super().value_on(architecture, axis)
        kinds = tuple(architecture[group] for group in GROUPS)
        return next((value for value, each in SPLITS[axis.name].items() if each == kinds), None)


def _top(first: str) -> dict[str, str]:
    return dict(zip(GROUPS, top_heavy("separable", first), strict=True))


def space() -> InceptionSpace:
    """The papers' networks: 64 frames of 224 pixels, from an all 2D one on."""
    return InceptionSpace()
