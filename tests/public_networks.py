"""The networks whose weights others published, in the shape and under the names of their definitions, for tests.

Sources: SlowFast (models/video_model_builder.py, resnet_helper.py, head_helper.py), PyTorchVideo (models/x3d.py), torchvision
(models/video/resnet.py). They answer logits: what those add behind them (softmax, a mean over positions) is left out.
`layouts/*.txt` says names and shapes independently of this file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

LAYOUTS = Path(__file__).parent / "layouts"
X3D_DEPTHS = {"m": (3, 5, 11, 7), "l": (5, 10, 25, 15)}
X3D_CHANNELS = ((24, 54, 8), (48, 108, 8), (96, 216, 16), (192, 432, 32))  # of a stage: outer, inner, squeezed


def table(name: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a layout with their shapes, from its file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in (LAYOUTS / f"{name}.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        pattern, what, *more = line.split()
        for module in _each(pattern):
            if what == "norm":
                shapes |= {
                    f"{module}.{part}": (int(more[0]),) for part in ("weight", "bias", "running_mean", "running_var")
                }
                shapes[f"{module}.num_batches_tracked"] = ()
            else:
                shapes[f"{module}.weight"] = tuple(map(int, what.split("x")))
                shapes |= {f"{module}.bias": shapes[f"{module}.weight"][:1]} if more == ["+bias"] else {}
    return shapes


def _each(pattern: str) -> Iterator[str]:
    found = re.search(r"\[(\d+)(-|,)(.+?)\]", pattern)
    if found is None:
        yield pattern
        return
    first, kind, rest = found.groups()
    numbers = range(int(first), int(rest) + 1) if kind == "-" else [int(first), *map(int, rest.split(","))]
    for number in numbers:
        yield pattern.replace(found[0], str(number))


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode, with all its weights and statistics drawn, variances near what norms add to them among them."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(generator=generator)
        elif isinstance(module, nn.BatchNorm3d):
            module.running_var.uniform_(0.005, 1.5, generator=generator)
            module.weight.data = (
                0.3 + 0.5 * torch.rand(module.weight.shape, generator=generator)
            ) * module.running_var.sqrt()
            module.bias.data.normal_(0, 0.1, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.num_batches_tracked.fill_(7)
    return network.eval()


# --- X3D -------------------------------------------------------------------------------------------------------------


def conv(
    channels_in: int,
    channels: int,
    kernel: Sequence[int] = (1, 1, 1),
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv3d:
    padding = tuple(size // 2 for size in kernel)
    return nn.Conv3d(channels_in, channels, tuple(kernel), (1, stride, stride), padding, groups=groups, bias=bias)  # type: ignore[arg-type]


def bottleneck(x: Tensor, layers: Mapping[str, nn.Module | None], shortcut: Tensor) -> Tensor:
    """What both definitions compute in a block; `layers` by what they do."""
    a, a_norm, b, b_norm, c, c_norm = (layers[name] for name in ("a", "a_norm", "b", "b_norm", "c", "c_norm"))
    y = b_norm(b(a_norm(a(x)).relu()))
    if layers["squeeze"] is not None:
        y = y * layers["excite"](layers["squeeze"](y.mean((2, 3, 4), keepdim=True)).relu()).sigmoid()
    return (shortcut + c_norm(c(y * y.sigmoid()))).relu()


class SlowFastBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, inner: int, stride: int, squeezed: int) -> None:
        super().__init__()
        if stride != 1 or channels_in != channels:
            self.branch1, self.branch1_bn = conv(channels_in, channels, stride=stride), nn.BatchNorm3d(channels)
        branch: dict[str, nn.Module] = {"a": conv(channels_in, inner), "a_bn": nn.BatchNorm3d(inner)}
        branch |= {"b": conv(inner, inner, (3, 3, 3), stride, inner), "b_bn": nn.BatchNorm3d(inner)}
        if squeezed:
            squeeze, excite = conv(inner, squeezed, bias=True), conv(squeezed, inner, bias=True)
            branch["se"] = nn.ModuleDict({"fc1": squeeze, "fc2": excite})
        self.branch2 = nn.ModuleDict(branch | {"c": conv(inner, channels), "c_bn": nn.BatchNorm3d(channels)})

    def forward(self, x: Tensor) -> Tensor:
        layers = {name.replace("_bn", "_norm"): layer for name, layer in self.branch2.items()}
        se = layers.get("se", {"fc1": None, "fc2": None})
        shortcut = self.branch1_bn(self.branch1(x)) if hasattr(self, "branch1") else x
        return bottleneck(x, layers | {"squeeze": se["fc1"], "excite": se["fc2"]}, shortcut)


class SlowFastX3D(nn.Module):
    """`side` is the crop of training, which sizes the pooling kernel."""

    def __init__(self, depths: Sequence[int], frames: int, side: int, num_classes: int) -> None:
        super().__init__()
        stem = {
            "conv_xy": conv(3, 24, (1, 3, 3), 2),
            "conv": conv(24, 24, (5, 1, 1), groups=24),
            "bn": nn.BatchNorm3d(24),
        }
        self.s1 = nn.ModuleDict({"pathway0_stem": nn.ModuleDict(stem)})
        channels_in = 24
        for number, (depth, (channels, inner, squeezed)) in enumerate(zip(depths, X3D_CHANNELS, strict=True), start=2):
            stage = nn.ModuleDict()
            for index in range(depth):
                stride, gates = 2 if index == 0 else 1, 0 if index % 2 else squeezed
                stage[f"pathway0_res{index}"] = SlowFastBlock(channels_in, channels, inner, stride, gates)
                channels_in = channels
            self.add_module(f"s{number}", stage)
        head = {"conv_5": conv(192, 432), "conv_5_bn": nn.BatchNorm3d(432), "lin_5": conv(432, 2048)}
        self.head = nn.ModuleDict(head | {"projection": nn.Linear(2048, num_classes)})
        self.kernel = (frames, math.ceil(side / 32), math.ceil(side / 32))

    def forward(self, clip: Tensor) -> Tensor:
        stem, head = self.s1["pathway0_stem"], self.head
        x = stem["bn"](stem["conv"](stem["conv_xy"](clip))).relu()
        for stage in (self.s2, self.s3, self.s4, self.s5):
            for block in stage.values():
                x = block(x)
        x = nn.functional.avg_pool3d(head["conv_5_bn"](head["conv_5"](x)).relu(), self.kernel, 1)
        return head["projection"](head["lin_5"](x).relu().permute(0, 2, 3, 4, 1)).flatten(1)  # one position


class PyTorchVideoBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, inner: int, stride: int, squeezed: int) -> None:
        super().__init__()
        if stride != 1 or channels_in != channels:
            self.branch1_conv = conv(channels_in, channels, stride=stride)
        if channels_in != channels:
            self.branch1_norm = nn.BatchNorm3d(channels)
        gates: nn.Module = nn.Identity()
        if squeezed:
            layers = (conv(inner, squeezed, bias=True), nn.ReLU(), conv(squeezed, inner, bias=True), nn.Sigmoid())
            gates = nn.ModuleDict({"block": nn.Sequential(*layers)})
        self.branch2 = nn.ModuleDict({
            "conv_a": conv(channels_in, inner), "norm_a": nn.BatchNorm3d(inner),
            "conv_b": conv(inner, inner, (3, 3, 3), stride, inner),
            "norm_b": nn.ModuleDict({"0": nn.BatchNorm3d(inner), "1": gates}),
            "conv_c": conv(inner, channels), "norm_c": nn.BatchNorm3d(channels),
        })  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        branch, shortcut = self.branch2, x
        for name in ("branch1_conv", "branch1_norm"):
            shortcut = getattr(self, name)(shortcut) if hasattr(self, name) else shortcut
        norm, gates = branch["norm_b"]["0"], branch["norm_b"]["1"]
        block = gates["block"] if isinstance(gates, nn.ModuleDict) else (None, None, None)
        layers = {name: branch[f"conv_{name}"] for name in "abc"}
        layers |= {"a_norm": branch["norm_a"], "b_norm": norm, "c_norm": branch["norm_c"]}
        return bottleneck(x, layers | {"squeeze": block[0], "excite": block[2]}, shortcut)


class PyTorchVideoX3D(nn.Module):
    """`side` is the crop of training, which sizes the pooling kernel."""

    def __init__(self, depths: Sequence[int], frames: int, side: int, num_classes: int) -> None:
        super().__init__()
        # There, the layer that runs first is called conv_t, though it is the spatial one.
        both = {"conv_t": conv(3, 24, (1, 3, 3), 2), "conv_xy": conv(24, 24, (5, 1, 1), groups=24)}
        parts: list[nn.Module] = [nn.ModuleDict({"conv": nn.ModuleDict(both), "norm": nn.BatchNorm3d(24)})]
        channels_in = 24
        for depth, (channels, inner, squeezed) in zip(depths, X3D_CHANNELS, strict=True):
            blocks = []
            for index in range(depth):
                stride, gates = 2 if index == 0 else 1, 0 if index % 2 else squeezed
                blocks.append(PyTorchVideoBlock(channels_in, channels, inner, stride, gates))
                channels_in = channels
            parts.append(nn.ModuleDict({"res_blocks": nn.ModuleList(blocks)}))
        pool = {"pre_conv": conv(192, 432), "pre_norm": nn.BatchNorm3d(432), "post_conv": conv(432, 2048)}
        parts.append(nn.ModuleDict({"pool": nn.ModuleDict(pool), "proj": nn.Linear(2048, num_classes)}))
        self.blocks = nn.ModuleList(parts)
        self.kernel = (frames, math.ceil(side / 32), math.ceil(side / 32))

    def forward(self, clip: Tensor) -> Tensor:
        stem, *stages, head = self.blocks
        x = stem["norm"](stem["conv"]["conv_xy"](stem["conv"]["conv_t"](clip))).relu()
        for stage in stages:
            for block in stage["res_blocks"]:
                x = block(x)
        pool = head["pool"]
        x = nn.functional.avg_pool3d(pool["pre_norm"](pool["pre_conv"](x)).relu(), self.kernel, 1)
        return head["proj"](pool["post_conv"](x).relu().permute(0, 2, 3, 4, 1)).flatten(1)  # one position


# --- R3D, MC3, R(2+1)D -----------------------------------------------------------------------------------------------


def layer(kind: str, channels_in: int, channels: int, middle: int, stride: int) -> nn.Module:
    if kind != "(2+1)D":
        time = 3 if kind == "3D" else 1
        strides = (stride if kind == "3D" else 1, stride, stride)
        return nn.Conv3d(channels_in, channels, (time, 3, 3), strides, (time // 2, 1, 1), bias=False)
    return nn.Sequential(
        nn.Conv3d(channels_in, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False), nn.BatchNorm3d(middle),
        nn.ReLU(), nn.Conv3d(middle, channels, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )  # fmt: skip


class TorchvisionBlock(nn.Module):
    """One inner width for both layers, from the block's channels; with `papers_widths` from each layer's own."""

    def __init__(self, kind: str, channels_in: int, channels: int, stride: int, papers_widths: bool) -> None:
        super().__init__()
        first, second = (27 * n * channels // (9 * n + 3 * channels) for n in (channels_in, channels))
        second = second if papers_widths else first
        self.conv1 = nn.Sequential(
            layer(kind, channels_in, channels, first, stride), nn.BatchNorm3d(channels), nn.ReLU()
        )
        self.conv2 = nn.Sequential(layer(kind, channels, channels, second, 1), nn.BatchNorm3d(channels))
        self.downsample = None
        if stride != 1:
            strides = (1 if kind == "2D" else stride, stride, stride)
            shortcut = nn.Conv3d(channels_in, channels, 1, strides, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + (x if self.downsample is None else self.downsample(x))).relu()


class TorchvisionResNet(nn.Module):
    """`kinds` of the stem and of the four layers; `eps` of its norms and the paper's inner widths are VMZ's conversion."""

    def __init__(
        self, kinds: Sequence[str], num_classes: int, *, depths: Sequence[int] = (2, 2, 2, 2), eps: float = 1e-5,
        papers_widths: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        stem = [nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(64), nn.ReLU()]
        if kinds[0] == "(2+1)D":
            spatial = nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
            temporal = nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False)
            stem = [spatial, nn.BatchNorm3d(45), nn.ReLU(), temporal, *stem[1:]]
        self.stem = nn.Sequential(*stem)
        channels_in = 64
        for number, (kind, channels, depth) in enumerate(
            zip(kinds[1:], (64, 128, 256, 512), depths, strict=True), start=1
        ):
            blocks = []
            for index in range(depth):
                stride = 2 if number > 1 and index == 0 else 1
                blocks.append(TorchvisionBlock(kind, channels_in, channels, stride, papers_widths))
                channels_in = channels
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = eps

    def forward(self, clip: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(clip)))))
        return self.fc(nn.functional.adaptive_avg_pool3d(x, 1).flatten(1))
