"""Costs of Hara's 3D residual networks as counted on the authors' own code, and claims about them."""

from __future__ import annotations

from expand.core.space import Claim, CostOf, printed_column

CODE = "kenshohara/3D-ResNets-PyTorch, models/resnet.py: its networks, counted by fvcore"
CODE_2018 = "kenshohara/3D-ResNets-PyTorch, branch CVPR2018: its networks, counted"
WORKSHOP = "arXiv 1708.07632, section 3"
PUBLISHED = (
    *printed_column("gmacs", CODE, {"ResNet-18-B": "8.308006912", "ResNet-34-B": "12.696297472", "ResNet-50": "10.069311488"}),
    *printed_column("params_m", CODE, {"ResNet-18-B": "33.409104", "ResNet-34-B": "63.718736", "ResNet-50": "47.018576"}),
    *printed_column("params_m", CODE_2018, {"ResNet-18": "33.235280", "preact-ResNet-200": "127.419088"}),
)  # fmt: skip


def _wider_stem(cost: CostOf) -> int:
    """Parameters that a stem of 128 channels adds: conv1 and its norm, and both layers of the first block that read it."""
    inner, outer = 128, 256
    return 64 * (3 * 7**3 + 2 + inner + outer)


CLAIMS = (
    Claim(
        "More layers cost more", "read across the papers' networks",
        lambda cost: cost("ResNet-50").macs / cost("ResNet-34").macs, "times the multiply-adds of ResNet-34, for ResNet-50",
        origin="read", verdict="does not hold",
        finding=lambda cost: "From 50 layers on, blocks have bottlenecks: with the same number of blocks ResNet-50 has "
        f"{cost('ResNet-50').params / 1e6:.1f} M parameters and {cost('ResNet-50').gmacs:.2f} GMACs, ResNet-34 "
        f"{cost('ResNet-34').params / 1e6:.1f} M and {cost('ResNet-34').gmacs:.2f}.",
    ),
    Claim(
        "Shortcuts of type A, identity with zero padding, avoid more parameters", WORKSHOP,
        lambda cost: cost("ResNet-18-B").params - cost("ResNet-18").params, "parameters more with type B in ResNet-18",
        confidence="recalled",
        finding=lambda cost: f"Type B adds {100 * (cost('ResNet-18-B').params / cost('ResNet-18').params - 1):.1f} % of the "
        f"parameters and {100 * (cost('ResNet-18-B').macs / cost('ResNet-18').macs - 1):.2f} % of the multiply-adds.",
    ),
    Claim(
        "ResNeXt-101, the most accurate network, is not the most expensive", "arXiv 1711.09577, read across its networks",
        lambda cost: cost("ResNeXt-101").macs / cost("ResNet-101").macs, "times the multiply-adds of ResNet-101",
        origin="read", confidence="recalled",
        finding=lambda cost: f"{cost('ResNeXt-101').gmacs:.2f} GMACs and {cost('ResNeXt-101').params / 1e6:.1f} M parameters, "
        f"against {cost('ResNet-101').gmacs:.2f} and {cost('ResNet-101').params / 1e6:.1f} M. It costs less than ResNet-34 "
        f"({cost('ResNet-34').gmacs:.2f}).",
    ),
    Claim(
        "The wide network of the authors' code is one network", "kenshohara/3D-ResNets-PyTorch, 2018 and 2020",
        lambda cost: cost("WRN-50").params + _wider_stem(cost), "parameters with a stem of 128 channels, as in 2020",
        origin="read", verdict="does not hold",
        finding=lambda cost: f"In 2018 the stem has 64 channels whatever the widening factor ({cost('WRN-50').params:,} "
        "parameters); in 2020 the factor widens the stem, too. WRN-50 here is that of 2018.",
    ),
    Claim(
        "A pre-activation network ends with a norm", "the definition of 2D pre-activation networks, arXiv 1603.05027",
        lambda cost: cost("preact-ResNet-200").params + 2 * 4 * 512, "parameters with a norm behind the last sum",
        origin="read", verdict="does not hold",
        finding=lambda cost: "The authors' 3D networks have norm and ReLU in the stem and neither behind the last sum: "
        f"{cost('preact-ResNet-200').params:,} parameters.",
    ),
)  # fmt: skip
