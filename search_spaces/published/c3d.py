"""Costs that model zoos print for C3D, and claims about them; most are about its search over temporal depths."""

from __future__ import annotations

from expand.core.space import Claim, CostOf, printed_column

MMACTION = "mmaction2 configs/recognition/c3d/README.md"
VMZ = "VMZ c2/tutorials/models.md and model_zoo.md"
UNPADDED = "a different network: batch norm, and no padding in pool5, so that fc6 reads 3x3 pixels instead of 4x4; see the claims"
# No cost was published for the single five-convolution networks; the claims have what section 3.1 says of all of them.
PUBLISHED = (
    *printed_column("gmacs", MMACTION, {"C3D": "38.5"}),
    *printed_column("params_m", MMACTION, {"C3D": "78.4"}),
    *printed_column("gmacs", VMZ, {"C3D": "38.5"}, num_classes=400),
    *printed_column("params_published_m", VMZ, {"C3D": "64.9"}, num_classes=400, deviates=UNPADDED),
)

SECTION = "arXiv 1412.0767, section 3.1"
FILTERS = (64, 128, 256, 256, 256)  # of the five convolutions
SEARCHED = ("depth-1", "depth-3", "depth-5", "depth-7", "increasing", "decreasing")


def _range(cost: CostOf) -> int:
    return cost("depth-7").params - cost("depth-1").params


def _flooring(cost: CostOf) -> int:
    """Parameters with a crop of 96 pixels, which halves evenly to 3x3; rounding down gives the same size from 112."""
    return cost("depth-3").params - cost("depth-3", resolution=96).params


CLAIMS = (
    Claim(
        "Networks of neighbouring temporal depths (1, 3, 5, 7) differ by 17 thousand parameters", SECTION,
        lambda cost: cost("depth-3").params - cost("depth-1").params, "parameters",
        printed=17_000, verdict="does not hold",
        finding="Each step adds two 3x3 patches for every pair of an input and an output channel.",
    ),
    Claim(
        "depth-1 and depth-7 differ by 51 thousand parameters", SECTION,
        _range, "parameters", printed=51_000, verdict="does not hold",
        finding=lambda cost: f"That is {100 * _range(cost) / cost('depth-1').params:.0f} % of depth-1's parameters.",
    ),
    Claim(
        "depth-1 and depth-7 differ by less than 0.3 % of the network's 17.5 million parameters", SECTION,
        lambda cost: 100 * _range(cost) / cost("depth-3").params, "% of depth-3",
        printed=0.3, verdict="does not hold",
        finding=lambda cost: "Millions of parameters of the six networks: "
        + ", ".join(f"{cost(name).params / 1e6:.2f} ({name})" for name in SEARCHED)
        + ". Only depth-3 is near 17.5, and it was the most accurate.",
    ),
    Claim(
        "The search compared temporal depths at equal capacity and cost", SECTION,
        lambda cost: cost("depth-7").macs / cost("depth-1").macs, "times the multiply-adds of depth-1 in depth-7",
        origin="read", verdict="does not hold",
        finding=lambda cost: f"{cost('depth-1').gmacs:.2f} GMACs a clip for depth-1, {cost('depth-3').gmacs:.2f} for depth-3, "
        f"{cost('depth-7').gmacs:.2f} for depth-7. The depth was never varied alone: the result for depth-3 mixes the "
        "temporal depth of the kernels with the size of the network.",
    ),
    Claim(
        "17 and 51 thousand are the counts if every filter is one patch, without its input channels", SECTION,
        lambda cost: 9 * 2 * sum(FILTERS), "parameters a step", printed=17_000, origin="ours", verdict="open",
        finding=lambda cost: f"Two frames more in {sum(FILTERS)} filters are 9 x 2 x {sum(FILTERS)} = "
        f"{9 * 2 * sum(FILTERS):,}, six are {9 * 6 * sum(FILTERS):,}. Both fit; whether this is the reason is a guess.",
    ),
    Claim(
        "Pooling rounds up in the authors' Caffe, and down in torch by default", "torch.nn.MaxPool3d, ceil_mode",
        _flooring, "parameters of depth-3", origin="ours",
        finding=lambda cost: "So many parameters are lost if fc6 reads 3x3 pixels instead of 4x4: depth-3 would have "
        f"{(cost('depth-3').params - _flooring(cost)) / 1e6:.2f} M, far from 17.5. This family rounds up.",
    ),
    Claim(
        "mmaction2's C3D (78.4 M) and VMZ's (64.9 M) are the same network", f"{MMACTION}; {VMZ}",
        lambda cost: cost("C3D", num_classes=400, resolution=96).params_published / 1e6,
        "M weights where fc6 reads 3x3 pixels", printed=64.9, origin="read", verdict="does not hold",
        finding="VMZ does not pad pool5, so that fc6 reads 3x3 pixels instead of 4x4 (counted here at 96 pixels, which gives "
        "the same size). The convolutions, and so nearly all multiply-adds, are the same.",
    ),
    Claim(
        "C3D has 78.4 million parameters for every data set", MMACTION,
        lambda cost: cost("C3D", num_classes=487).params / 1e6, "M with the 487 classes of Sports-1M",
        printed=78.4, origin="read", verdict="does not hold",
        finding=lambda cost: f"78.4 is for the 101 classes of UCF101 ({cost('C3D').params:,}); each further class adds "
        f"{cost('C3D', num_classes=102).params - cost('C3D').params:,}.",
    ),
)  # fmt: skip
