"""I3D and S3D in the shape and under the names of public code, for tests: piergiaj/pytorch-i3d and kylemin/S3D.

They answer logits of any crop: the last pool has the size of the map. `layouts/*.txt` says names and shapes independently of this
file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Group -> channels of 1x1; 1x1, 3x3; 1x1, 3x3; pooled 1x1.
GROUPS = {
    "3b": (192, 64, 96, 128, 16, 32, 32), "3c": (256, 128, 128, 192, 32, 96, 64), "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64), "4d": (512, 128, 128, 256, 24, 64, 64), "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128), "5b": (832, 256, 160, 320, 32, 128, 128), "5c": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


def head(x: Tensor, logits: nn.Module) -> Tensor:
    return logits(functional.avg_pool3d(x, (2, x.shape[3], x.shape[4]), stride=1)).mean((2, 3, 4))


# --- piergiaj's I3D: TensorFlow's padding ----------------------------------------------------------------------------


def same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    pad: list[int] = []
    for dim in (2, 1, 0):
        size, k, s = x.shape[2 + dim], kernel[dim], stride[dim]
        missing = max(k - s, 0) if size % s == 0 else max(k - size % s, 0)
        pad += [missing // 2, missing - missing // 2]
    return functional.pad(x, pad)


class Unit3D(nn.Module):
    def __init__(self, before: int, after: int, size: int, stride: int = 1, *, logits: bool = False) -> None:
        super().__init__()
        self.size, self.stride = (size,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(before, after, self.size, self.stride, padding=0, bias=logits)
        if not logits:
            self.bn = nn.BatchNorm3d(after, eps=0.001, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(same(x, self.size, self.stride))
        return functional.relu(self.bn(x)) if hasattr(self, "bn") else x


class PiergiajMixed(nn.Module):
    def __init__(self, before: int, *widths: int) -> None:
        super().__init__()
        self.b0 = Unit3D(before, widths[0], 1)
        self.b1a, self.b1b = Unit3D(before, widths[1], 1), Unit3D(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit3D(before, widths[3], 1), Unit3D(widths[3], widths[4], 3)
        self.b3b = Unit3D(before, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.max_pool3d(same(x, (3, 3, 3), (1, 1, 1)), (3, 3, 3), 1)
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class PiergiajI3D(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3D(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit3D(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, 3)
        for name, widths in GROUPS.items():
            self.add_module(f"Mixed_{name}", PiergiajMixed(*widths))
        self.logits = Unit3D(1024, num_classes, 1, logits=True)

    def forward(self, clip: Tensor) -> Tensor:
        def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
            return functional.max_pool3d(same(x, kernel, stride), kernel, stride)

        x = pool(self.Conv3d_1a_7x7(clip), (1, 3, 3), (1, 2, 2))
        x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = pool(self.Mixed_3c(self.Mixed_3b(x)), (3, 3, 3), (2, 2, 2))
        for name in ("4b", "4c", "4d", "4e", "4f"):
            x = getattr(self, f"Mixed_{name}")(x)
        x = pool(x, (2, 2, 2), (2, 2, 2))
        return head(self.Mixed_5c(self.Mixed_5b(x)), self.logits)


# --- kylemin's S3D: torch's padding ----------------------------------------------------------------------------------


class BasicConv3d(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv3d(before, after, 1, bias=False), nn.BatchNorm3d(after, eps=1e-3, momentum=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class SepConv3d(nn.Module):
    def __init__(self, before: int, after: int, size: int, stride: int = 1) -> None:
        super().__init__()
        pad = size // 2
        self.conv_s = nn.Conv3d(before, after, (1, size, size), (1, stride, stride), (0, pad, pad), bias=False)
        self.bn_s = nn.BatchNorm3d(after, eps=1e-3, momentum=0.001)
        self.conv_t = nn.Conv3d(after, after, (size, 1, 1), (stride, 1, 1), (pad, 0, 0), bias=False)
        self.bn_t = nn.BatchNorm3d(after, eps=1e-3, momentum=0.001)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn_s(self.conv_s(x)))
        return functional.relu(self.bn_t(self.conv_t(x)))


class KyleminMixed(nn.Module):
    def __init__(self, before: int, *widths: int) -> None:
        super().__init__()
        self.branch0 = nn.Sequential(BasicConv3d(before, widths[0]))
        self.branch1 = nn.Sequential(BasicConv3d(before, widths[1]), SepConv3d(widths[1], widths[2], 3))
        self.branch2 = nn.Sequential(BasicConv3d(before, widths[3]), SepConv3d(widths[3], widths[4], 3))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), BasicConv3d(before, widths[5]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)), 1)


class KyleminS3D(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [SepConv3d(3, 64, 7, 2), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))]
        layers += [BasicConv3d(64, 64), SepConv3d(64, 192, 3), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))]
        for name, widths in GROUPS.items():
            if name == "4b":
                layers.append(nn.MaxPool3d(3, 2, 1))
            if name == "5b":
                layers.append(nn.MaxPool3d(2, 2))
            layers.append(KyleminMixed(*widths))
        self.base = nn.Sequential(*layers)
        self.fc = nn.Sequential(nn.Conv3d(1024, num_classes, 1))

    def forward(self, clip: Tensor) -> Tensor:
        return head(self.base(clip), self.fc)
