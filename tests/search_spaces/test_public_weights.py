"""Weights that others published: each layout, by names and shapes, and by the logits of a network of its own definition."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from public_inception import KyleminS3D, PiergiajI3D
from public_networks import (
    X3D_DEPTHS,
    PyTorchVideoX3D,
    SlowFastX3D,
    TorchvisionResNet,
    randomised,
    table,
)
from public_resnet3d import HaraResNet
from torch import nn

from expand.core.errors import UsageError
from expand.core.space import SearchSpace
from expand.weights.matching import Matched, inspect_weights, load_weights
from search_spaces.inception import InceptionSpace
from search_spaces.mixed_conv import MixedConvSpace
from search_spaces.resnet3d import BLOCKS, ResNet3DSpace
from search_spaces.x3d import X3DSpace

X3D, MIXED, RESNET, INCEPTION = X3DSpace(), MixedConvSpace(), ResNet3DSpace(), InceptionSpace()
X3D_LAYOUTS = {"slowfast": ("SlowFast", SlowFastX3D), "pytorchvideo": ("PyTorchVideo", PyTorchVideoX3D)}
KINDS = {"r3d_18": ("3D",) * 5, "mc3_18": ("3D", "3D", "2D", "2D", "2D"), "r2plus1d_18": ("(2+1)D",) * 5}


def save(network: nn.Module, path) -> str:
    torch.save({"epoch": 3, "model_state": network.state_dict(), "cfg": "MODEL:"}, path)
    return str(path)


def written(shapes: dict[str, tuple[int, ...]], path) -> str:
    """A file of these names and shapes, of zeros that take no room."""
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, path)
    return str(path)


def blank(space: SearchSpace, point: str, num_classes: int = 400) -> nn.Module:
    """The network as it is before any weights were drawn, so that all of them must come from the file."""
    with torch.device("meta"), mock.patch.object(nn.init, "kaiming_normal_"), mock.patch.object(nn.init, "normal_"):
        network = space.build(space.points[point], num_classes)
    return network.to_empty(device="cpu")


def all_of(matched: Matched, network: nn.Module) -> None:
    assert not (matched.missing or matched.unexpected or matched.replaced), str(matched)
    assert set(matched.matched) == set(network.state_dict())


def same_logits(theirs: nn.Module, ours: nn.Module, *clip: int) -> None:
    video = torch.randn(2, 3, *clip, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = theirs(video), ours.eval()(video)
    assert 0.2 < expected.std() < 5, "random weights whose logits say nothing"
    print(
        f"logits of {expected.std():.2f}, largest difference {(expected - got).abs().max():.1e}"
    )  # pytest -rP shows it
    assert (expected - got).abs().max() <= 1e-5


@pytest.mark.parametrize("size", ["m", "l"])
@pytest.mark.parametrize("layout", X3D_LAYOUTS)
def test_the_x3d_here_and_the_layouts_files_name_the_same(layout, size):
    with torch.device("meta"):
        network = X3D_LAYOUTS[layout][1](X3D_DEPTHS[size], 4, 160, 400)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == table(f"{layout}_x3d_{size}")


@pytest.mark.parametrize("name", KINDS)
def test_the_resnets_here_and_the_layouts_files_name_the_same(name):
    with torch.device("meta"):
        network = TorchvisionResNet(KINDS[name], 400)
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == table(f"torchvision_{name}")


@pytest.mark.parametrize(
    ("file", "layout", "space", "point"),
    [
        ("slowfast_x3d_m", "SlowFast", X3D, "M"), ("slowfast_x3d_l", "SlowFast", X3D, "L"),
        ("pytorchvideo_x3d_m", "PyTorchVideo", X3D, "M"), ("pytorchvideo_x3d_l", "PyTorchVideo", X3D, "L"),
        ("torchvision_r3d_18", "torchvision", MIXED, "r3d_18"), ("torchvision_mc3_18", "torchvision", MIXED, "mc3_18"),
        ("torchvision_r2plus1d_18", "torchvision", MIXED, "r2plus1d_18"),
        ("kenshohara_resnet18_a", "3D-ResNets-PyTorch", RESNET, "ResNet-18"),
        ("kenshohara_resnext101", "3D-ResNets-PyTorch", RESNET, "ResNeXt-101"),
        ("piergiaj_i3d", "pytorch-i3d", INCEPTION, "I3D"), ("kylemin_s3d", "kylemin/S3D", INCEPTION, "S3D"),
        ("torchvision_s3d", "torchvision", INCEPTION, "S3D"),
    ],
)  # fmt: skip
def test_each_layout_fits_its_point_whole(file, layout, space, point, tmp_path):
    path, architecture = written(table(file), tmp_path / "weights.pth"), space.points[point]
    matched = inspect_weights(path, space=space, architecture=architecture, num_classes=400)
    all_of(matched, blank(space, point))
    assert matched.layout == layout


def test_xs_s_and_m_share_their_weights():
    assert len({repr(X3D.constructor(X3D.points[name], 400)) for name in ("XS", "S", "M")}) == 1


def compare_x3d(layout: str, point: str, size: str, frames: int, side: int, path) -> None:
    theirs = randomised(X3D_LAYOUTS[layout][1](X3D_DEPTHS[size], frames, side, 400))
    ours = blank(X3D, point)
    matched = load_weights(ours, save(theirs, path), space=X3D, architecture=X3D.points[point])
    all_of(matched, ours)
    assert bool(matched.notes) == (layout == "slowfast")  # the norm that was folded
    same_logits(theirs, ours, frames, side, side)


@pytest.mark.parametrize("layout", X3D_LAYOUTS)
def test_x3d_gives_the_logits_of_the_public_definition(layout, tmp_path):
    compare_x3d(layout, "XS", "m", 4, 160, tmp_path / "weights.pyth")


@pytest.mark.heavy
@pytest.mark.parametrize("layout", X3D_LAYOUTS)
@pytest.mark.parametrize(
    ("point", "size", "frames", "side"), [("S", "m", 13, 160), ("M", "m", 16, 224), ("L", "l", 16, 312)]
)
def test_x3d_gives_the_same_logits_on_its_own_clip(layout, point, size, frames, side, tmp_path):
    compare_x3d(layout, point, size, frames, side, tmp_path / "weights.pyth")


@pytest.mark.parametrize("name", KINDS)
def test_resnets_give_the_logits_of_torchvisions_definition(name, tmp_path):
    theirs = randomised(TorchvisionResNet(KINDS[name], 400))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = blank(MIXED, name)
    matched = load_weights(ours, tmp_path / "weights.pth", space=MIXED, architecture=MIXED.points[name])
    all_of(matched, ours)
    assert "1e-05" in matched.notes[0]
    same_logits(theirs, ours, 4, 32, 32)
    ours.load_state_dict(theirs.state_dict(), strict=False)  # the stem and fc have the same names: gains as they were
    with pytest.raises(AssertionError, match="max"):
        same_logits(theirs, ours, 4, 32, 32)


@pytest.mark.heavy
def test_vmzs_conversion_has_norms_as_ours(tmp_path):
    definition = TorchvisionResNet(KINDS["r2plus1d_18"], 359, depths=(3, 4, 6, 3), eps=1e-3, papers_widths=True)
    theirs, point = randomised(definition), MIXED.points["R(2+1)D-34"]
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = MIXED.build(point, 359)
    matched = load_weights(ours, tmp_path / "weights.pth", space=MIXED, architecture=point)
    all_of(matched, ours)
    assert not matched.notes
    same_logits(theirs, ours, 4, 32, 32)


# Kind, layers, shortcut, the definition's kind of blocks, its widths and groups at a quarter of the published ones.
HARA = {
    "ResNet-18": ("resnet", 18, "A", "basic", [(16, 16), (32, 32), (64, 64), (128, 128)], 1),
    "ResNet-50": ("resnet", 50, "B", "bottleneck", [(16, 64), (32, 128), (64, 256), (128, 512)], 1),
    "preact, basic": ("preact", 10, "A", "preact basic", [(16, 16), (32, 32), (64, 64), (128, 128)], 1),
    "preact": ("preact", 50, "B", "preact bottleneck", [(16, 64), (32, 128), (64, 256), (128, 512)], 1),
    "WRN-50": ("wide", 50, "B", "bottleneck", [(32, 64), (64, 128), (128, 256), (256, 512)], 1),
    "ResNeXt-50": ("resnext", 50, "B", "bottleneck", [(32, 64), (64, 128), (128, 256), (256, 512)], 32),
}


@pytest.mark.parametrize(("name", "shapes"), [("ResNet-18", "resnet18_a"), ("ResNeXt-101", "resnext101")])
def test_haras_networks_here_and_the_layouts_files_name_the_same(name, shapes):
    deep = name == "ResNeXt-101"
    widths = [(64 * 2**n * (1 + deep), 64 * 2**n * (4 if deep else 1)) for n in range(4)]
    with torch.device("meta"):
        kind, groups = ("bottleneck", 32) if deep else ("basic", 1)
        network = HaraResNet(
            kind, BLOCKS[101 if deep else 18], widths, 400, groups=groups, shortcut="B" if deep else "A"
        )
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == table(f"kenshohara_{shapes}")


@pytest.mark.parametrize("name", HARA)
def test_haras_networks_give_the_logits_of_the_authors_definition(name, tmp_path):
    kind, layers, shortcut, block, widths, groups = HARA[name]
    definition = HaraResNet(
        block, BLOCKS[layers], widths, 10, stem=16, groups=groups, shortcut=shortcut, frames=16, side=40
    )
    theirs = randomised(definition)
    state = {f"module.{key}": tensor for key, tensor in theirs.state_dict().items()}  # as DataParallel saves it
    torch.save({"arch": "resnet", "epoch": 150, "state_dict": state}, tmp_path / "weights.pth")
    point = RESNET.architecture(kind=kind, layers=layers, shortcut=shortcut, width=0.25, resolution=40)
    ours = RESNET.build(point, 10)
    all_of(load_weights(ours, tmp_path / "weights.pth", space=RESNET, architecture=point), ours)
    same_logits(theirs, ours, 16, 40, 40)


INCEPTIONS = {"piergiaj_i3d": (PiergiajI3D, "I3D"), "kylemin_s3d": (KyleminS3D, "S3D")}


@pytest.mark.parametrize("name", INCEPTIONS)
def test_the_inceptions_here_and_the_layouts_files_name_the_same(name):
    with torch.device("meta"):
        network = INCEPTIONS[name][0](400)
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == table(name)


@pytest.mark.parametrize("name", INCEPTIONS)
def test_inceptions_give_the_logits_of_the_public_definition(name, tmp_path):
    definition, point = INCEPTIONS[name]
    theirs = randomised(definition(10))
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    ours = blank(INCEPTION, point, 10)
    matched = load_weights(ours, tmp_path / "weights.pt", space=INCEPTION, architecture=INCEPTION.points[point])
    all_of(matched, ours)
    assert not matched.notes  # the same epsilon
    same_logits(theirs, ours, 16, 64, 64)
    other = "symmetric" if point == "I3D" else "same"
    moved = INCEPTION.build(INCEPTION.point(point, padding=other), 10)
    moved.load_state_dict(ours.state_dict())
    with pytest.raises(AssertionError, match="max"):
        same_logits(theirs, moved, 16, 64, 64)


def test_the_norm_that_slowfast_has_more_matters(tmp_path):
    """Folded it is there; without it the logits are others."""
    theirs, architecture = SlowFastX3D(X3D_DEPTHS["m"], 4, 64, 10), X3D.points["XS"]
    state = randomised(theirs).state_dict()
    state = {name: tensor for name, tensor in state.items() if "branch1_bn" not in name or "s2." not in name}
    torch.save(state, tmp_path / "weights.pyth")
    ours = blank(X3D, "XS", 10)
    all_of(load_weights(ours, tmp_path / "weights.pyth", space=X3D, architecture=architecture), ours)
    with pytest.raises(AssertionError, match="max"):
        same_logits(theirs, ours, 4, 64, 64)


@pytest.mark.parametrize(
    ("file", "space", "point", "extra", "words"),
    [
        ("slowfast_x3d_m", X3D, "M", "head.lin_5_bn.weight", "a norm after the head's first linear layer"),
        ("slowfast_x3d_m", X3D, "M", "s1.pathway1_stem.conv.weight", "SlowFast network, not an X3D"),
        ("pytorchvideo_x3d_m", X3D, "M", "blocks.5.pool.post_norm.weight", "a norm after"),
        ("torchvision_r3d_18", MIXED, "r3d_18", "layer1.0.conv3.0.weight", "blocks of three convolutions"),
        ("torchvision_r2plus1d_18", MIXED, "R(2+1)D", None,
         "layer2.0.conv2.0.0.weight is 230x128x1x3x3 in the file and 288x128x1x3x3 in the network.*r2plus1d_18"),
        ("torchvision_mc3_18", MIXED, "r3d_18", None, "layer2.0.conv1.0.weight is 128x64x1x3x3 in the file and .*points that"),
        ("slowfast_x3d_m", MIXED, "r3d_18", None, "none of its tensors belongs to this mixed_conv network"),
        ("torchvision_r3d_18", X3D, "M", None, "none of its tensors belongs to this x3d network"),
        ("kylemin_s3d", INCEPTION, "I3D", None, "none of its tensors belongs to this inception network.*S3D"),
        ("kenshohara_resnext101", RESNET, "ResNet-18", None, "layer1.0.conv3: blocks of three convolutions; with 10 to 34"),
        ("kenshohara_resnext101", RESNET, "ResNet-101", None, "shapes differ: .*points that"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_expressed_is_an_error_with_the_difference(file, space, point, extra, words, tmp_path):
    shapes = table(file) | ({extra: (8,)} if extra else {})
    path = written(shapes, tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=words):
        inspect_weights(path, space=space, architecture=space.points[point], num_classes=400)


def test_a_deeper_files_blocks_are_unexpected_and_a_shallower_ones_missing(tmp_path):
    for size in X3D_DEPTHS:
        written(table(f"slowfast_x3d_{size}"), tmp_path / size)
    deep = inspect_weights(tmp_path / "l", space=X3D, architecture=X3D.points["M"], num_classes=400)
    assert not deep.missing and "s2.pathway0_res3.branch2.a.weight" in deep.unexpected
    shallow = inspect_weights(tmp_path / "m", space=X3D, architecture=X3D.points["L"], num_classes=400)
    assert not shallow.unexpected and "blocks.3.widen.weight" in shallow.missing
