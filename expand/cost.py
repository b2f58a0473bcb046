"""What a network costs, counted before it is trained.

The papers' convention: multiply-adds (one multiply-add is one) of convolutions and linear layers, of one clip at the
training crop. X3D's tables follow it to the printed digit; PyTorchVideo's add batch norm at five operations an element
and use the test crop, so they print more for the same network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from expand.errors import ExpandError
from expand.space import Clip, Counted
from expand.trial import Cost

COUNTED = frozenset({"conv", "linear", "addmm", "matmul", "mm", "bmm", "baddbmm", "einsum"})

# Operators that fvcore has no handle for and the convention leaves out on purpose: they touch each element once or so,
# and no table of the field counts them.
LEFT_OUT = {
    "elementwise": (
        "add add_ sub sub_ rsub mul mul_ div div_ neg exp log sqrt pow abs clamp clamp_ where ge gt le lt eq sigmoid",
        "sigmoid_ silu silu_ relu relu_ hardswish gelu tanh softmax log_softmax dropout feature_dropout",
    ),
    "reductions and pooling": (
        "mean sum max min amax max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_max_pool3d",
    ),
    "padding and moving": ("pad constant_pad_nd index index_select gather roll repeat expand_as stack",),
}
_LEFT_OUT_NAMES = frozenset(f"aten::{name}" for lines in LEFT_OUT.values() for line in lines for name in line.split())


def random_clips(clips: Sequence[Clip], *, batch: int = 1, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """One random (batch, channels, frames, height, width) tensor a stream."""
    return tuple(torch.rand(batch, c.channels, c.frames, c.height, c.width, device=device) for c in clips)


def count_cost(network: nn.Module, clips: Sequence[Clip]) -> Cost:
    """The cost of one clip, counted by fvcore.

    Raises:
        ExpandError: the network uses an operator that nobody counts and nobody has listed as left out.
    """
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            inputs = random_clips(clips)
            # fvcore reports the operators it skips by warnings on the root of its logger; they are checked right here.
            logging.getLogger("fvcore").setLevel(logging.ERROR)
            flops = FlopCountAnalysis(network, inputs).tracer_warnings("none")
            by_operator = flops.by_operator()
            uncounted = {name: times for name, times in flops.unsupported_ops().items() if name not in _LEFT_OUT_NAMES}
            activations = ActivationCountAnalysis(network, inputs).tracer_warnings("none").total()
    finally:
        network.train(training)
    if uncounted:
        names = ", ".join(f"{name} (x{times})" for name, times in sorted(uncounted.items()))
        raise ExpandError(
            f"the cost of {type(network).__name__} would be wrong: nobody counts {names}; write the layer with torch's own "
            "convolutions and linear layers, or list the operator in expand/cost.py with its reason"
        )
    return Cost(
        macs=int(sum(count for name, count in by_operator.items() if name in COUNTED)),
        params=sum(p.numel() for p in network.parameters()),
        params_published=published_params(network),
        activations=int(activations),
        input=tuple((c.channels, c.frames, c.height, c.width) for c in clips),
    )


def published_params(network: nn.Module) -> int:
    """Parameters without any bias and without normalisation layers: 3,758,738 for X3D-M, printed as 3.76 M."""
    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    return sum(
        parameter.numel()
        for module in network.modules()
        if not isinstance(module, norms)
        for name, parameter in module.named_parameters(recurse=False)
        if not name.endswith("bias")
    )


SMALL_CLIP = 100_000  # elements of a channel; below, a real forward pass is quicker than torch's shape arithmetic


def count_macs(build: Callable[[], nn.Module], clips: Sequence[Clip]) -> int:
    """The same multiply-adds from torch's own counter, on shapes alone (the `meta` device) where the clip is large: seconds
    less for X3D-L. Growth is solved with it; what is recorded is `count_cost`."""
    small = sum(clip.frames * clip.height * clip.width for clip in clips) < SMALL_CLIP
    device = "cpu" if small else "meta"
    with torch.device(device):
        network = build().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*random_clips(clips, device=device))
    return counter.get_total_flops() // 2


def count_shapes(build: Callable[[], nn.Module], clips: Sequence[Clip]) -> Counted:
    """Multiply-adds by `count_macs` and parameters, without a forward pass on numbers: for pages of many large networks."""
    with torch.device("meta"):
        network = build()
    return Counted(count_macs(build, clips), sum(p.numel() for p in network.parameters()), published_params(network))
