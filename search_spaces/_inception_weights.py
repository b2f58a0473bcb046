"""Names of I3D's and S3D's weights in other code bases."""

from __future__ import annotations

from collections.abc import Sequence

from expand.core.weight_names import WeightLayout

NORM_EPS = 1e-3  # of all three
# Our branches' units in the order of the mixed groups' channels.
UNITS = ("branch1.0", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
PIERGIAJ = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
THEIRS = ("branch0.0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch3.1")  # kylemin
TORCHVISION = ("branch0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch3.1")
SEPARABLE = ("branch2.1", "branch3.1")
AT = {
    "3b": 5,
    "3c": 6,
    "4b": 8,
    "4c": 9,
    "4d": 10,
    "4e": 11,
    "4f": 12,
    "5b": 14,
    "5c": 15,
}  # in a sequence with the pools


def i3d_layout(groups: Sequence[str]) -> WeightLayout:
    """piergiaj's port of the authors' I3D (pytorch_i3d.py)."""
    units = {"Conv3d_1a_7x7": "conv1a", "Conv3d_2b_1x1": "conv2b", "Conv3d_2c_3x3": "conv2c.0"}
    for group in groups:
        units |= {
            f"Mixed_{group}.{theirs}": f"mixed.{group}.{ours}" for theirs, ours in zip(PIERGIAJ, UNITS, strict=True)
        }
    modules = {"logits.conv3d": "fc"}
    for theirs, ours in units.items():
        modules |= {f"{theirs}.conv3d": f"{ours}.conv", f"{theirs}.bn": f"{ours}.conv_norm"}
    return WeightLayout("pytorch-i3d", modules, NORM_EPS)


def s3d_layouts(groups: Sequence[str]) -> tuple[WeightLayout, WeightLayout]:
    """kylemin's S3D (model.py) and torchvision's (models/video/s3d.py)."""
    kylemin, torchvision = {"fc.0": "fc"}, {"classifier.1": "fc"}
    both = {0: ("conv1a", True), 2: ("conv2b", False), 3: ("conv2c.0", True)}
    for place, (ours, separable) in both.items():
        _name_unit(kylemin, torchvision, (f"base.{place}", f"features.{place}"), ours, separable=separable)
    for group in groups:
        for names, ours in zip(zip(THEIRS, TORCHVISION, strict=True), UNITS, strict=True):
            at = (f"base.{AT[group]}.{names[0]}", f"features.{AT[group]}.{names[1]}")
            _name_unit(kylemin, torchvision, at, f"mixed.{group}.{ours}", separable=ours in SEPARABLE)
    return WeightLayout("kylemin/S3D", kylemin, NORM_EPS), WeightLayout("torchvision", torchvision, NORM_EPS)


def _name_unit(
    kylemin: dict[str, str], torchvision: dict[str, str], at: tuple[str, str], ours: str, *, separable: bool
) -> None:
    halves = ("conv", "temporal") if separable else ("conv",)
    for number, (half, letter) in enumerate(zip(halves, "st", strict=False)):
        suffix = f"_{letter}" if separable else ""
        kylemin |= {f"{at[0]}.conv{suffix}": f"{ours}.{half}", f"{at[0]}.bn{suffix}": f"{ours}.{half}_norm"}
        inner = f"{at[1]}.{number}" if separable else at[1]
        torchvision |= {f"{inner}.0": f"{ours}.{half}", f"{inner}.1": f"{ours}.{half}_norm"}
