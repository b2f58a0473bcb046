"""3D residual networks in the shape and under the names of their authors' code (kenshohara/3D-ResNets-PyTorch), for tests.

models/resnet.py, pre_act_resnet.py and resnext.py of 2018: an average pool with a kernel of the training clip's size, shortcut A
by an average pool of one position and zeros behind it. `layouts/*.txt` says names and shapes independently of this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class HaraBlock(nn.Module):
    """`inner` and `outer` channels; three convolutions if `bottleneck`, else two."""

    def __init__(
        self, before: int, inner: int, outer: int, stride: int, *, kind: str, groups: int, shortcut: str
    ) -> None:
        super().__init__()
        self.preact, self.stride, self.outer = "preact" in kind, stride, outer
        if "bottleneck" in kind:
            self.conv1 = nn.Conv3d(before, inner, 1, bias=False)
            self.conv2 = nn.Conv3d(inner, inner, 3, stride, 1, groups=groups, bias=False)
            self.conv3 = nn.Conv3d(inner, outer, 1, bias=False)
            normed = (before, inner, inner) if self.preact else (inner, inner, outer)
        else:
            self.conv1 = nn.Conv3d(before, inner, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv3d(inner, outer, 3, 1, 1, bias=False)
            normed = (before, inner) if self.preact else (inner, outer)
        self.depth = len(normed)
        for number, channels in enumerate(normed, start=1):
            self.add_module(f"bn{number}", nn.BatchNorm3d(channels))
        self.resized, self.downsample = stride != 1 or before != outer, None
        if self.resized and shortcut == "B":
            self.downsample = nn.Sequential(nn.Conv3d(before, outer, 1, stride, bias=False), nn.BatchNorm3d(outer))

    def residual(self, x: Tensor) -> Tensor:
        if not self.resized:
            return x
        if self.downsample is not None:
            return self.downsample(x)
        pooled = nn.functional.avg_pool3d(x, kernel_size=1, stride=self.stride)
        zeros = torch.zeros(len(x), self.outer - x.shape[1], *pooled.shape[2:])
        return torch.cat([pooled, zeros], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for number in range(1, self.depth + 1):
            conv, norm = getattr(self, f"conv{number}"), getattr(self, f"bn{number}")
            if self.preact:
                out = conv(torch.relu(norm(out)))
            else:
                out = norm(conv(out))
                out = torch.relu(out) if number < self.depth else out
        out = out + self.residual(x)
        return out if self.preact else torch.relu(out)


class HaraResNet(nn.Module):
    """`widths` are the inner and outer channels of the four stages; `frames` and `side` size the last pool."""

    def __init__(
        self, kind: str, depths: Sequence[int], widths: Sequence[tuple[int, int]], num_classes: int, *, stem: int = 64,
        groups: int = 1, shortcut: str = "B", frames: int = 16, side: int = 112,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv1 = nn.Conv3d(3, stem, 7, (1, 2, 2), (3, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(stem)
        channels = stem
        for stage, (depth, (inner, outer)) in enumerate(zip(depths, widths, strict=True), start=1):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(HaraBlock(channels, inner, outer, stride, kind=kind, groups=groups, shortcut=shortcut))
                channels = outer
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.window = (math.ceil(frames / 16), math.ceil(side / 32), math.ceil(side / 32))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, clip: Tensor) -> Tensor:
        x = nn.functional.max_pool3d(torch.relu(self.bn1(self.conv1(clip))), kernel_size=3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = nn.functional.avg_pool3d(x, self.window, stride=1)
        return self.fc(x.view(x.size(0), -1))
