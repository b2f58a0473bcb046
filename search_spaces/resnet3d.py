"""3D residual networks of 10 to 200 layers: how deep can a network of 3D kernels be?

Source: K. Hara et al., "Learning Spatio-Temporal Features with 3D Residual Networks for Action Recognition", ICCV Workshops 2017
(arXiv 1708.07632), and "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018 (arXiv 1711.09577):
plain, pre-activation and wide residual networks and ResNeXt, with all kernels inflated to 3D. Layers as in the authors' code of
2018: a pre-activation network has a norm in its stem and none behind its last sum, and a wide one a stem of 64 channels (the code
of 2020: 128).
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
from expand.core.space import Architecture, Axis, SearchSpace, plain_width, scaled
from expand.core.weight_names import Inheritance, WeightLayout
from search_spaces.published.resnet3d import CLAIMS, PUBLISHED

# --- the network: plain torch, exported as it is; the search space follows --------------------------------------------


class ZeroPadded(nn.Module):
    """Shortcut A: every `stride`-th position in time and space, and zeros as the `missing` channels. It has no parameters."""

    def __init__(self, missing: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = missing, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W) -> (B, C + missing, T / s, H / s, W / s)
        step = self.stride
        return nn.functional.pad(x[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, self.missing))


def convolutions(block: str, channels_in: int, inner: int, outer: int) -> tuple[tuple[int, int, int], ...]:
    """The input channels, output channels and kernel size of a block's convolutions. The stride is that of the last 3x3x3 one."""
    if block.endswith("basic"):
        return (channels_in, inner, 3), (inner, outer, 3)
    return (channels_in, inner, 1), (inner, inner, 3), (inner, outer, 1)


class Block(nn.Module):
    """Two 3x3x3 convolutions ("basic"), or 1x1x1, 3x3x3 and 1x1x1 ("bottleneck"), and a shortcut around them.

    Each convolution is followed by its norm; in a "preact" block norm and ReLU precede it, and nothing follows the sum.
    """

    def __init__(
        self, block: str, channels_in: int, inner: int, outer: int, stride: int, groups: int, shortcut: str
    ) -> None:
        super().__init__()
        self.preact = block.startswith("preact")
        layers = convolutions(block, channels_in, inner, outer)
        self.layers = nn.Sequential()
        for number, (before, after, size) in enumerate(layers, start=1):
            step, parts = stride if number == len(layers) - 1 else 1, groups if size == 3 else 1
            convolution = nn.Conv3d(before, after, size, step, size // 2, groups=parts, bias=False)
            if self.preact:
                self.layers.add_module(f"norm{number}", nn.BatchNorm3d(before))
                self.layers.add_module(f"relu{number}", nn.ReLU())
                self.layers.add_module(f"conv{number}", convolution)
            else:
                self.layers.add_module(f"conv{number}", convolution)
                self.layers.add_module(f"norm{number}", nn.BatchNorm3d(after))
                if number < len(layers):
                    self.layers.add_module(f"relu{number}", nn.ReLU())
        self.shortcut = nn.Sequential()
        if (stride != 1 or channels_in != outer) and shortcut == "A":
            self.shortcut.append(ZeroPadded(outer - channels_in, stride))
        elif stride != 1 or channels_in != outer:
            self.shortcut.append(nn.Conv3d(channels_in, outer, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm3d(outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, C, T, H, W)
        y = self.layers(x) + self.shortcut(x)
        return y if self.preact else y.relu()


class ResNet3D(nn.Module):
    """A stem, four stages of blocks and a linear layer. The first block of each later stage has stride 2, in time, too.

    Args:
        block: "basic", "bottleneck", "preact-basic" or "preact-bottleneck".
        stages: for each stage, its blocks, and their inner and outer width.
        stem: conv1's channels, its kernel in frames (odd), and its stride in time.
        max_pool: whether conv1 is followed by a max pool that halves time and space.
        groups: groups of a block's 3x3x3 convolutions (ResNeXt's cardinality).
        shortcut: where sizes change, "A" subsamples and adds channels of zeros, "B" is a 1x1x1 convolution with a norm.
    """

    def __init__(
        self,
        block: str,
        stages: Sequence[Sequence[int]],
        num_classes: int,
        *,
        stem: Sequence[int] = (64, 7, 1),
        max_pool: bool = True,
        groups: int = 1,
        shortcut: str = "B",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, frames, step = stem
        conv1 = nn.Conv3d(3, channels, (frames, 7, 7), (step, 2, 2), (frames // 2, 3, 3), bias=False)
        self.stem = nn.Sequential(conv1, nn.BatchNorm3d(channels), nn.ReLU())
        if max_pool:
            self.stem.append(nn.MaxPool3d(3, 2, 1))
        blocks: list[nn.Module] = []
        for number, (depth, inner, outer) in enumerate(stages):
            for index in range(depth):
                stride = 2 if number > 0 and index == 0 else 1
                blocks.append(Block(block, channels, inner, outer, stride, groups, shortcut))
                channels = outer
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clip: torch.Tensor) -> torch.Tensor:  # (B, 3, T, H, W) -> (B, num_classes)
        x = self.blocks(self.stem(clip))
        return self.fc(self.dropout(x.mean((2, 3, 4))))


def plan_resnet3d(
    clip: Clip,
    block: str,
    stages: Sequence[Sequence[int]],
    num_classes: int,
    stem: Sequence[int] = (64, 7, 1),
    max_pool: bool = True,
    groups: int = 1,
    shortcut: str = "B",
) -> LayerPlan:
    """The layers of `ResNet3D` in order, for counting. All blocks of a stage after its first are equal."""
    channels, frames, step = stem
    plan = LayerPlan(clip).stage("conv1")
    plan.conv("conv", channels, (frames, 7, 7), stride=(step, 2, 2), padding=(frames // 2, 3, 3)).norm("norm").relu()
    if max_pool:
        plan.max_pool("pool", 3, stride=2, padding=1)
    for number, (depth, inner, outer) in enumerate(stages, start=1):
        sizes = convolutions(block, plan.at.channels, inner, outer)
        _plan_block(plan.stage(f"stage{number}"), block, sizes, 2 if number > 1 else 1, groups, shortcut)
        if depth > 1:
            sizes = convolutions(block, outer, inner, outer)
            _plan_block(plan.stage(f"stage{number}", times=depth - 1), block, sizes, 1, groups, shortcut)
    return plan.stage("fc").mean().linear("fc", num_classes)


def _plan_block(
    plan: LayerPlan, block: str, layers: Sequence[Sequence[int]], stride: int, groups: int, shortcut: str
) -> None:
    x, preact = plan.at, block.startswith("preact")
    for number, (_, after, size) in enumerate(layers, start=1):
        if preact:
            plan.norm(f"norm{number}").relu()
        step, parts = stride if number == len(layers) - 1 else 1, groups if size == 3 else 1
        plan.conv(f"conv{number}", after, size, stride=step, padding=size // 2, groups=parts)
        if not preact:
            plan.norm(f"norm{number}")
            if number < len(layers):
                plan.relu()
    if (stride != 1 or x.channels != plan.at.channels) and shortcut == "B":
        with plan.branch(x):
            plan.conv("shortcut", layers[-1][1], stride=stride).norm("shortcut_norm")
    plan.add()
    if not preact:
        plan.relu()


# --- the search space ------------------------------------------------------------------------------------------------

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
          200: (3, 24, 36, 3)}  # fmt: skip
BASIC = (10, 18, 34)  # the others have bottlenecks
# In the order of their costs: 50 layers with bottlenecks cost less than 34 without, at every size.
LAYERS = (10, 18, 50, 34, 101, 152, 200)
WIDTHS = (64, 128, 256, 512)
STEM = 64
GROUPED = 32  # ResNeXt: inner width = cardinality x (block width / 32), block widths are twice those of the others

AXES = (
    Axis("layers", "layers", "", "of the network", "more blocks, in the order of their costs", choices=LAYERS),
    Axis("kind", "kind", "", "kind of blocks", "other blocks", choices=("resnet", "preact", "wide", "resnext")),
    Axis("shortcut", "shortcut", "", "A: zero channels, B: 1x1x1 convolutions, where sizes change", "shortcuts that learn",
         choices=("A", "B")),
    Axis("widen", "widen", "k", "× the block widths, of wide networks", "wider blocks", choices=(1, 2, 3, 4)),
    Axis("cardinality", "cardinality", "", "groups of the 3x3x3 convolutions, of ResNeXt", "more groups",
         choices=(8, 16, 32, 64)),
    Axis("width", "width", "", "× (64, 64, 128, 256, 512) channels", "wider layers", low=0.02, high=4, step=1 / 256),
    Axis("stem_depth", "conv1_depth", "d", "frames of conv1's kernel", "a deeper kernel", choices=(3, 5, 7)),
    Axis("stem_stride", "conv1_stride", "", "conv1's stride in time", "more frames behind conv1", choices=(2, 1)),
    Axis("max_pool", "max_pool", "", "a max pool halves time and space behind conv1", "larger maps", choices=("yes", "no")),
    Axis("frames", "frames", "", "frames, which the max pool and three stages halve", "a longer clip",
         low=1, high=128, integer=True, step=1),
    Axis("resolution", "resolution", "", "pixels, side of the square crop", "a larger crop",
         low=16, high=512, integer=True, step=4),
    Axis("frame_rate", "stride", "", "source frames from one sampled frame to the next", "", low=1, high=64, integer=True),
)  # fmt: skip


@dataclass(frozen=True)
class ResNet3DSpace(SearchSpace):
    """Depth, kind of blocks, width and clip of 3D residual networks.

    The fields are the start; named points differ from it in layers, kind and shortcut only, and "-64f" in the frames. The
    defaults are the papers' 16 frames of 112 pixels, from ResNet-18 with shortcut A.

    Examples:
        >>> space = ResNet3DSpace()
        >>> space.start.changes(space.point("ResNeXt-101"))
        'kind resnet→resnext, layers 18→101, shortcut A→B'
    """

    layers: int = 18
    shortcut: str = "A"
    width: float = 1.0
    conv1_depth: int = 7
    max_pool: str = "yes"
    frames: int = 16
    resolution: int = 112
    stride: int = 1

    name = "resnet3d"
    axes = AXES
    published = PUBLISHED
    claims = CLAIMS

    def start_values(self) -> dict[str, Any]:
        return {
            "kind": "resnet", "layers": self.layers, "shortcut": self.shortcut, "widen": 2, "cardinality": 32,
            "width": self.width, "conv1_depth": self.conv1_depth, "conv1_stride": 1, "max_pool": self.max_pool,
            "frames": self.frames, "resolution": self.resolution, "stride": self.stride,
        }  # fmt: skip

    @property
    def points(self) -> Mapping[str, Architecture]:
        """The papers' networks: shortcut A in 18 and 34 layers, B in the others; "-B" has the other shortcut."""
        found: dict[str, dict[str, Any]] = {
            f"ResNet-{layers}": {"layers": layers, "shortcut": "A" if layers in (18, 34) else "B"} for layers in BLOCKS
        }
        found |= {f"ResNet-{layers}-B": {"layers": layers, "shortcut": "B"} for layers in (18, 34)}
        found["preact-ResNet-200"] = {"kind": "preact", "layers": 200, "shortcut": "B"}
        found["WRN-50"] = {"kind": "wide", "layers": 50, "shortcut": "B"}
        found |= {f"ResNeXt-{n}": {"kind": "resnext", "layers": n, "shortcut": "B"} for n in (50, 101)}
        found |= {f"{name}-64f": found[name] | {"frames": 64} for name in ("ResNet-34", "ResNet-34-B", "ResNeXt-101")}
        return {name: self.architecture(**values) for name, values in found.items()}

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        values = architecture.as_dict()
        depths = BLOCKS[architecture["layers"]]
        arguments: dict[str, Any] = {
            "block": ("preact-" if values["kind"] == "preact" else "") + _form(values),
            "stages": tuple((depth, *widths) for depth, widths in zip(depths, _block_widths(values), strict=True)),
            "num_classes": num_classes,
            "stem": (scaled(architecture["width"], STEM), architecture["conv1_depth"], architecture["conv1_stride"]),
            "max_pool": values["max_pool"] == "yes",
            "shortcut": values["shortcut"],
        }
        if values["kind"] == "resnext":
            arguments["groups"] = architecture["cardinality"]
        return ResNet3D, arguments

    def layer_plan(self, architecture: Architecture, num_classes: int) -> LayerPlan:
        return plan_resnet3d(self.inputs(architecture)[0], **self.constructor(architecture, num_classes)[1])

    def weight_layouts(self, architecture: Architecture) -> Sequence[WeightLayout]:
        """The authors' layout. Their files of 2018 were trained on pixels from 0 to 255 less a mean, so fine-tune them."""
        modules = kenshohara_modules(BLOCKS[architecture["layers"]])
        unlike = {"conv1_s": "conv1 in two parts: an R(2+1)D network"}
        if architecture["layers"] in BASIC:
            unlike["layer1.0.conv3"] = "blocks of three convolutions; with 10 to 34 layers they have two"
        return (WeightLayout("3D-ResNets-PyTorch", modules, 1e-5, unlike),)

    def inheritance(self, architecture: Architecture) -> Inheritance:
        values, depths = architecture.as_dict(), BLOCKS[architecture["layers"]]
        blocks = Inheritance.of_blocks(depths, "layers.norm2" if architecture["layers"] in BASIC else "layers.norm3")
        form = f"norms {'before' if values['kind'] == 'preact' else 'behind'} the convolutions"
        form += ", a max pool" if values["max_pool"] == "yes" else ", no max pool"
        if values["shortcut"] == "A":  # its zeros come behind the channels of another block
            form += f", and zero channels in blocks of {', '.join(str(outer) for _, outer in _block_widths(values))}"
        return Inheritance(blocks.stages, blocks.last_norm, form=form)

    def canonical(self, values: dict[str, Any]) -> dict[str, Any]:
        kind = values["kind"]
        if kind in ("wide", "resnext") and values["layers"] in BASIC:
            raise UsageError(
                f"layers={values['layers']}: kind={kind} has bottlenecks, so 50, 101, 152 or 200 are allowed"
            )
        if kind != "wide":
            values |= {"widen": 2}
        if kind != "resnext":
            values |= {"cardinality": 32}
        if values["frames"] == 1:  # one frame has no stride
            values |= {"stride": self.stride, "conv1_stride": 1}
        bases = {STEM, *_bases(values)} | (
            {width // GROUPED for width in _bases(values)} if kind == "resnext" else set()
        )
        return values | {"width": plain_width(values["width"], bases)}


def _form(values: Mapping[str, Any]) -> str:
    return "basic" if values["layers"] in BASIC else "bottleneck"


def _bases(values: Mapping[str, Any]) -> tuple[int, ...]:
    """The block widths of the four stages at width 1: of the 3x3x3 convolutions, except in ResNeXt."""
    factor = {"wide": values["widen"], "resnext": 2}.get(values["kind"], 1)
    return tuple(factor * base for base in WIDTHS)


def _block_widths(values: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The inner and outer width of each stage's blocks."""
    width, kind = values["width"], values["kind"]
    expansion = 1 if _form(values) == "basic" else 2 if kind in ("wide", "resnext") else 4
    inner = [
        values["cardinality"] * scaled(width, base // GROUPED) if kind == "resnext" else scaled(width, base)
        for base in _bases(values)
    ]
    return [(within, expansion * scaled(width, base)) for within, base in zip(inner, _bases(values), strict=True)]


# --- published weights ------------------------------------------------------------------------------------------------


def kenshohara_modules(depths: Sequence[int]) -> dict[str, str]:
    """The module names of kenshohara/3D-ResNets-PyTorch (models/resnet.py and the files beside it) and ours."""
    modules = {"conv1": "stem.0", "bn1": "stem.1", "fc": "fc"}
    at = [(stage, index) for stage, depth in enumerate(depths, start=1) for index in range(depth)]
    for number, (stage, index) in enumerate(at):
        theirs, ours = f"layer{stage}.{index}", f"blocks.{number}"
        for layer in (1, 2, 3):
            modules[f"{theirs}.conv{layer}"] = f"{ours}.layers.conv{layer}"
            modules[f"{theirs}.bn{layer}"] = f"{ours}.layers.norm{layer}"
        modules |= {f"{theirs}.downsample.{part}": f"{ours}.shortcut.{part}" for part in (0, 1)}
    return modules


def space() -> ResNet3DSpace:
    """The papers' networks: 16 frames of 112 pixels, from ResNet-18 on."""
    return ResNet3DSpace()
