"""Names of X3D's weights in other code bases, and where their networks differ from `x3d.py`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from expand.core.weight_names import WeightLayout

# SlowFast: models/video_model_builder.py and resnet_helper.py. PyTorchVideo: models/x3d.py; its conv_t is the spatial
# convolution and its conv_xy the temporal one.
SLOWFAST_ENDS = {
    "s1.pathway0_stem.conv_xy": "stem_spatial", "s1.pathway0_stem.conv": "stem_temporal", "s1.pathway0_stem.bn": "stem_norm",
    "head.conv_5": "conv5", "head.conv_5_bn": "conv5_norm", "head.lin_5": "fc1", "head.projection": "fc2",
}  # fmt: skip
SLOWFAST_BLOCK = {
    "branch1": "shortcut.0", "branch1_bn": "shortcut.1", "branch2.a": "widen", "branch2.a_bn": "widen_norm",
    "branch2.b": "depthwise", "branch2.b_bn": "depthwise_norm", "branch2.se.fc1": "excitation.squeeze",
    "branch2.se.fc2": "excitation.excite", "branch2.c": "narrow", "branch2.c_bn": "narrow_norm",
}  # fmt: skip
PYTORCHVIDEO_ENDS = {
    "blocks.0.conv.conv_t": "stem_spatial", "blocks.0.conv.conv_xy": "stem_temporal", "blocks.0.norm": "stem_norm",
    "blocks.5.pool.pre_conv": "conv5", "blocks.5.pool.pre_norm": "conv5_norm", "blocks.5.pool.post_conv": "fc1",
    "blocks.5.proj": "fc2",
}  # fmt: skip
PYTORCHVIDEO_BLOCK = {
    "branch1_conv": "shortcut.0", "branch1_norm": "shortcut.1", "branch2.conv_a": "widen", "branch2.norm_a": "widen_norm",
    "branch2.conv_b": "depthwise", "branch2.norm_b.0": "depthwise_norm", "branch2.norm_b.1.block.0": "excitation.squeeze",
    "branch2.norm_b.1.block.2": "excitation.excite", "branch2.conv_c": "narrow", "branch2.norm_c": "narrow_norm",
}  # fmt: skip
NORM_EPS = 1e-5  # of both, and of x3d.py: torch's own
NORM_BEHIND_FC1 = "a norm after the head's first linear layer, which this X3D does not have"
TWO_PATHWAYS = "a second pathway: a SlowFast network, not an X3D"


def weight_layouts(depths: Sequence[int]) -> tuple[WeightLayout, ...]:
    """The two public layouts of an X3D with these numbers of blocks per stage."""
    slowfast, pytorchvideo = dict(SLOWFAST_ENDS), dict(PYTORCHVIDEO_ENDS)
    at = [(stage, index) for stage, depth in enumerate(depths, start=1) for index in range(depth)]
    for number, (stage, index) in enumerate(at):
        for modules, theirs, block in (
            (slowfast, f"s{stage + 1}.pathway0_res{index}", SLOWFAST_BLOCK),
            (pytorchvideo, f"blocks.{stage}.res_blocks.{index}", PYTORCHVIDEO_BLOCK),
        ):
            modules |= {f"{theirs}.{name}": f"blocks.{number}.{ours}" for name, ours in block.items()}
    unlike = {"head.lin_5_bn": NORM_BEHIND_FC1, "s1.pathway1_stem": TWO_PATHWAYS}
    return (
        WeightLayout("SlowFast", slowfast, NORM_EPS, unlike, fold_shortcut_norms),
        WeightLayout("PyTorchVideo", pytorchvideo, NORM_EPS, {"blocks.5.pool.post_norm": NORM_BEHIND_FC1}),
    )


def fold_shortcut_norms(tensors: dict[str, torch.Tensor]) -> list[str]:
    """Folds the norm of a shortcut with equal channels into its neighbours: SlowFast's first block of res2 has one, x3d.py not.

    The gain goes into the shortcut's convolution, the offset into the norm that is added to it. In evaluation the network is
    the same; in training this norm no longer uses batch statistics.
    """
    notes = []
    for at in [name.removesuffix(".1.running_var") for name in tensors if name.endswith(".shortcut.1.running_var")]:
        convolution, offset = f"{at}.0.weight", f"{at.removesuffix('shortcut')}narrow_norm.bias"
        names = [f"{at}.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
        channels = tensors[names[3]].numel()
        vectors = [tensors[name].shape == (channels,) for name in (*names, offset) if name in tensors]
        square = convolution in tensors and tensors[convolution].shape == (channels, channels, 1, 1, 1)
        if not square or vectors != [True] * 5:  # not this case or a different network; matching reports it
            continue
        gain, bias, mean, variance = (tensors.pop(name).double() for name in names)
        gain = gain / (variance + NORM_EPS).sqrt()
        for name, value in (
            (convolution, tensors[convolution].double() * gain.reshape(-1, 1, 1, 1, 1)),
            (offset, tensors[offset].double() + bias - mean * gain),
        ):
            tensors[name] = value.to(tensors[name].dtype)
        tensors.pop(f"{at}.1.num_batches_tracked", None)
        notes.append(f"the norm after {at}.0 is folded into it and {offset}: the same network in evaluation")
    return notes


def evened(network: nn.Module) -> nn.Module:
    """fc1 with initial weights between fan-in and the reference's fan-out. Those are so small that in a short training with a
    high learning rate all units of this layer may be off after the first steps, and then nothing is learned."""
    weight = network.get_parameter("fc1.weight")
    nn.init.normal_(weight, std=(4 / weight.numel()) ** 0.25)
    return network
