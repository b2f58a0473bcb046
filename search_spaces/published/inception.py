"""Costs printed for I3D, S3D and S3D-G, or counted on public code, and claims about them."""

from __future__ import annotations

from expand.core.space import Claim, Published, printed_column

PORT = "piergiaj/pytorch-i3d: its InceptionI3d(400), counted by fvcore"
KYLEMIN = "kylemin/S3D: its S3D(400), counted by fvcore"
TORCHVISION = "torchvision 0.28, models/video/s3d.py, 16 frames"
PAPER = "arXiv 1712.04851, Tables 1 and 2"
ABSTRACT = "arXiv 1712.04851v1, abstract"
OPEN = "no definition in public code gives it, with a temporal kernel of 3 or 7 in the stem, separable or not; see the claims"
SMALLER = "no definition in public code gives it; piergiaj's port has the parameters of the authors' weights"
UNRESOLVED = "which groups are separable in Fast-S3D is not known; none of the splits costs this"
PUBLISHED = (
    *printed_column("gmacs", PORT, {"I3D": "111.153143808"}),
    *printed_column("gmacs", KYLEMIN, {"S3D": "71.916314624"}),
    Published("S3D", "gmacs", "17.979", TORCHVISION, values=(("frames", 16),)),
    *printed_column("params_m", PORT, {"I3D": "12.697264"}),
    *printed_column("params_m", KYLEMIN, {"S3D": "8.320048"}),
    *printed_column("params_m", TORCHVISION, {"S3D": "8.320048"}),
    *printed_column("gmacs", PAPER, {"I3D": "107.89"}, confidence="recalled", deviates=OPEN),
    *printed_column("gmacs", PAPER, {"S3D-authors-t3": "66.38", "S3D-G-authors-t3": "71.38"}, confidence="recalled",
                    deviates=OPEN),
    *printed_column("gmacs", "arXiv 1712.04851, section 4 (Fast-S3D)", {"top-heavy-S3D-4b": "43.47"}, confidence="recalled",
                    deviates=UNRESOLVED),
    *printed_column("params_m", PAPER, {"I3D": "12.06"}, confidence="recalled", deviates=SMALLER),
    *printed_column("params_m", PAPER, {"S3D-authors-t3": "8.77", "S3D-G-authors-t3": "11.56"}, confidence="recalled",
                    deviates=OPEN),
)  # fmt: skip

CLAIMS = (
    Claim(
        "S3D needs 1.5 times fewer FLOPS than I3D", ABSTRACT,
        lambda cost: cost("I3D").macs / cost("S3D").macs, "times the multiply-adds of S3D, for I3D", printed=1.5,
        finding=lambda cost: f"{cost('I3D').gmacs:.2f} GMACs against {cost('S3D').gmacs:.2f} with a separable stem (kylemin, "
        f"torchvision). With the dense stem of the authors' code {cost('I3D').macs / cost('S3D-authors-t3').macs:.2f} times "
        f"(a kernel of 3 frames) or {cost('I3D').macs / cost('S3D-authors-t7').macs:.2f} (7).",
    ),
    Claim(
        "S3D-G needs 34 % fewer FLOPS than I3D", ABSTRACT,
        lambda cost: 100 * (1 - cost("S3D-G-authors-t3").macs / cost("I3D").macs), "% fewer", printed=34, verdict="does not hold",
        finding=lambda cost: f"{cost('S3D-G-authors-t3').gmacs:.2f} GMACs against {cost('I3D').gmacs:.2f}; a stem of 7 frames: "
        f"{100 * (1 - cost('S3D-G-authors-t7').macs / cost('I3D').macs):.1f} % fewer. 34 % are the printed 71.38 of 107.89.",
    ),
    Claim(
        "Gates cost 5 GFLOPS: S3D-G has 71.38, S3D 66.38", PAPER,
        lambda cost: cost("S3D-G-authors-t3").gmacs - cost("S3D-authors-t3").gmacs, "GMACs more with gates", printed=5.0,
        confidence="recalled", verdict="does not hold",
        finding=lambda cost: "Gates work on means over time and space, one for each channel: "
        f"{cost('S3D-G-authors-t3').macs - cost('S3D-authors-t3').macs:,} multiply-adds, as many as their weights. Another "
        "difference must be behind the printed numbers.",
    ),
    Claim(
        "S3D is one network", f"{KYLEMIN}; tensorflow/models, s3dg.py",
        lambda cost: cost("S3D").params - cost("S3D-authors-t3").params, "parameters more than by the authors' code",
        origin="read", verdict="does not hold",
        finding=lambda cost: "kylemin and torchvision separate the stem and have norms behind both halves "
        f"({cost('S3D').params:,} parameters, {cost('S3D').gmacs:.2f} GMACs). The authors' code has a dense stem of 3 frames by "
        "default, and a bias instead of the norm behind temporal kernels "
        f"({cost('S3D-authors-t3').params:,}, {cost('S3D-authors-t3').gmacs:.2f}); with 7 frames "
        f"{cost('S3D-authors-t7').params:,} and {cost('S3D-authors-t7').gmacs:.2f}.",
    ),
    Claim(
        "Top-heavy networks are the cheap ones: 3D kernels cost most where maps are large", "arXiv 1712.04851, section 3",
        lambda cost: cost("bottom-heavy-I3D-4b").macs / cost("top-heavy-I3D-4b").macs,
        "times the multiply-adds of the top-heavy network, split at 4b", confidence="recalled",
        finding=lambda cost: f"{cost('top-heavy-I3D-4b').gmacs:.2f} GMACs and {cost('top-heavy-I3D-4b').params / 1e6:.2f} M "
        f"parameters against {cost('bottom-heavy-I3D-4b').gmacs:.2f} and {cost('bottom-heavy-I3D-4b').params / 1e6:.2f}; all 2D "
        f"{cost('I2D').gmacs:.2f}, all 3D {cost('I3D').gmacs:.2f}.",
    ),
    Claim(
        "I2D is Inception-v1 on every frame", "arXiv 1712.04851, section 3",
        lambda cost: 64 * cost("Inception-v1").gmacs, "GMACs of 64 frames, one by one", confidence="recalled", origin="read",
        verdict="open",
        finding=lambda cost: "As a split without 3D groups the temporal strides stay, and later layers see fewer frames: "
        f"{cost('I2D').gmacs:.2f} GMACs (the point I2D here).",
    ),
)  # fmt: skip
