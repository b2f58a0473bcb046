"""C3D: how deep in time should kernels be?

Source: D. Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015 (arXiv 1412.0767):
section 3.1 is the search over temporal depths with a network of five convolutions, section 3.2 the resulting C3D with eight.
Pooling rounds up, as in the authors' Caffe code. With torch's default, rounding down, the search network would have 3.67
million parameters fewer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from expand.core.clip import Clip
from expand.core.layer_plan import LayerPlan
from expand.core.space import Architecture, Axis, SearchSpace, plain_width, scaled
from expand.core.weight_names import Inheritance
from search_spaces.published.c3d import CLAIMS, PUBLISHED

# --- the network: plain torch, exported as it is; the search space follows --------------------------------------------


class C3D(nn.Module):
    """Groups of 3D convolutions with a max pool after each group, and two hidden linear layers (sections 3.1 and 3.2).

    Args:
        filters: for each group, the output channels of its convolutions.
        depths: temporal depth of each group's kernels: d x 3 x 3 with d odd, padded so that the number of frames stays.
        hidden: width of fc6 and fc7.
        clip: (frames, height, width) of the input, which determines the size of fc6.
    """

    def __init__(
        self,
        filters: Sequence[Sequence[int]],
        depths: Sequence[int],
        hidden: int,
        num_classes: int,
        clip: Sequence[int],
        *,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels, size = 3, list(clip)
        for group, (widths, depth) in enumerate(zip(filters, depths, strict=True), start=1):
            if depth < 1 or depth % 2 == 0:
                raise ValueError(f"conv{group}: a temporal depth is odd and at least 1, not {depth}")
            for width in widths:
                stages += [nn.Conv3d(channels, width, (depth, 3, 3), padding=(depth // 2, 1, 1)), nn.ReLU()]
                channels = width
            kernel = (1, 2, 2) if group == 1 else (2, 2, 2)  # the first pool keeps time: "not to merge it too early"
            if any(extent < pooled for extent, pooled in zip(size, kernel, strict=True)):
                raise ValueError(f"pool{group}: a {kernel} pool over {tuple(size)} (frames, height, width)")
            stages.append(nn.MaxPool3d(kernel, ceil_mode=True))
            size = [-(-extent // pooled) for extent, pooled in zip(size, kernel, strict=True)]
        self.features = nn.Sequential(*stages)
        self.fc6 = nn.Linear(channels * size[0] * size[1] * size[2], hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, nn.Linear)):
                assert module.bias is not None
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.fc8.weight, std=0.01)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:  # (B, 3, T, H, W) -> (B, num_classes)
        x = self.features(clip).flatten(1)
        x = self.dropout(self.fc6(x).relu())
        x = self.dropout(self.fc7(x).relu())
        return self.fc8(x)


def plan_c3d(
    clip: Clip, filters: Sequence[Sequence[int]], depths: Sequence[int], hidden: int, num_classes: int
) -> LayerPlan:
    """The layers of `C3D` in order, for counting."""
    plan = LayerPlan(clip)
    for group, (widths, depth) in enumerate(zip(filters, depths, strict=True), start=1):
        plan.stage(f"conv{group}")
        for letter, width in zip("ab", widths, strict=False):
            plan.conv(f"conv{group}{letter}", width, (depth, 3, 3), padding=(depth // 2, 1, 1), bias=True).relu()
        plan.max_pool(f"pool{group}", (1, 2, 2) if group == 1 else 2, ceil=True)
    plan.flatten().stage("fc6").linear("fc6", hidden).relu().dropout()
    plan.stage("fc7").linear("fc7", hidden).relu().dropout()
    return plan.stage("fc8").linear("fc8", num_classes)


# --- the search space ------------------------------------------------------------------------------------------------

# Filters of the five groups and width of fc6 and fc7, by the number of convolutions.
NETWORKS: dict[int, tuple[tuple[tuple[int, ...], ...], int]] = {
    5: (((64,), (128,), (256,), (256,), (256,)), 2048),  # section 3.1
    8: (((64,), (128,), (256, 256), (512, 512), (512, 512)), 4096),  # section 3.2
}
DEPTHS = (1, 3, 5, 7)
GROUPS = ("conv1", "conv2", "conv3", "conv4", "conv5")
PATTERNS = {
    "depth-1": (1, 1, 1, 1, 1),
    "depth-3": (3, 3, 3, 3, 3),
    "depth-5": (5, 5, 5, 5, 5),
    "depth-7": (7, 7, 7, 7, 7),
    "increasing": (3, 3, 5, 5, 7),
    "decreasing": (7, 5, 5, 3, 3),
}
# Every pool needs at least as many frames and pixels as its kernel. After pool1, time is halved four times, space five times.
LEAST_FRAMES, LEAST_SIDE = 9, 17

AXES = (
    Axis("convolutions", "convolutions", "", "5: the search network, 8: C3D", "more convolutions, wider", choices=(5, 8)),
    *(
        Axis(name, f"{name}_depth", "d", f"temporal depth of {name}'s kernels in frames, odd", "deeper kernels", choices=DEPTHS)
        for name in GROUPS
    ),
    Axis("width", "width", "", "× the published filters and hidden units", "wider layers", low=0.01, high=4, step=1 / 1024),
    Axis("frames", "frames", "", "frames, which four pools halve", "a longer clip",
         low=LEAST_FRAMES, high=128, integer=True, step=1),
    Axis("resolution", "resolution", "", "pixels, side of the square crop, which five pools halve", "a larger crop",
         low=LEAST_SIDE, high=512, integer=True, step=4),
    Axis("frame_rate", "stride", "", "source frames from one sampled frame to the next", "", low=1, high=64, integer=True),
)  # fmt: skip


@dataclass(frozen=True)
class C3DSpace(SearchSpace):
    """One temporal depth per group of convolutions: 4^5 networks at each size.

    The search network's groups are single layers. The fields are the start; named points differ from it in their depths only.
    The defaults are the paper's 16 frames of 112 pixels.

    Examples:
        >>> space = C3DSpace()
        >>> space.constructor(space.point("depth-3"), num_classes=101)[1]["depths"]
        (3, 3, 3, 3, 3)
    """

    convolutions: int = 5
    width: float = 1.0
    frames: int = 16
    resolution: int = 112
    stride: int = 1

    name = "c3d"
    axes = AXES
    published = PUBLISHED
    claims = CLAIMS
    num_classes = 101

    def start_values(self) -> dict[str, Any]:
        depths = {f"{name}_depth": 3 for name in GROUPS}
        return {
            "convolutions": self.convolutions, **depths, "width": self.width, "frames": self.frames,
            "resolution": self.resolution, "stride": self.stride,
        }  # fmt: skip

    @property
    def points(self) -> Mapping[str, Architecture]:
        named = {
            name: self.architecture(**{f"{group}_depth": depth for group, depth in zip(GROUPS, pattern, strict=True)})
            for name, pattern in PATTERNS.items()
        }
        return named | {"C3D": self.architecture(convolutions=8)}

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        filters, hidden = NETWORKS[architecture["convolutions"]]
        width, side = architecture["width"], architecture["resolution"]
        return C3D, {
            "filters": tuple(tuple(scaled(width, channels) for channels in group) for group in filters),
            "depths": tuple(architecture[f"{name}_depth"] for name in GROUPS),
            "hidden": scaled(width, hidden),
            "num_classes": num_classes,
            "clip": (architecture["frames"], side, side),
        }

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan:
        arguments = self.constructor(architecture, num_classes)[1]
        return plan_c3d(self.inputs(architecture)[0], **{name: arguments[name] for name in arguments if name != "clip"})

    def inheritance(self, architecture: Architecture) -> Inheritance:
        """fc6 reads the map that is left after the pools: pool1 keeps time, each other one halves it, rounding up."""
        side = math.ceil(architecture["resolution"] / 2 ** len(GROUPS))
        return Inheritance(flattened={"fc6": (math.ceil(architecture["frames"] / 2 ** (len(GROUPS) - 1)), side, side)})

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        filters, hidden = NETWORKS[values["convolutions"]]
        bases = {channels for group in filters for channels in group} | {hidden}
        return values | {"width": plain_width(values["width"], bases)}


def space() -> C3DSpace:
    """The paper's search space: five convolutions, 16 frames of 112 pixels."""
    return C3DSpace()
