"""The cost of a network, counted before it is trained.

The papers' convention: multiply-adds (one multiply-add counts as one) of convolutions and linear layers, for one clip at the
training crop. X3D's tables follow it to the printed digit. PyTorchVideo's tables add batch norm as five operations per element
and use the test crop, so they print more for the same network.

`cost_of` counts a network without running it: from the family's `layer_plan`, or else on shapes. `count_cost` is the reference:
fvcore on a forward pass. Tests check that all agree to the last digit.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.layer_plan import Layer, total
from expand.core.space import Architecture, Counted, SearchSpace
from expand.core.trial import Cost
from expand.counting.family import own_plan, shapes_of
from expand.counting.meta_counter import Shape, ShapeCount, count_shapes
from expand.counting.scores import FROM_COSTS, score_of

COUNTED = frozenset({"conv", "linear", "addmm", "matmul", "mm", "bmm", "baddbmm", "einsum"})

# Operators without a handle in fvcore that the convention leaves out on purpose: they read each element about once, and
# published tables do not count them.
LEFT_OUT = {
    "elementwise": (
        "add add_ sub sub_ rsub mul mul_ div div_ neg exp log sqrt pow abs clamp clamp_ where ge gt le lt eq sigmoid",
        "sigmoid_ silu silu_ relu relu_ hardswish gelu tanh softmax log_softmax dropout feature_dropout",
    ),
    "reductions and pooling": (
        "mean sum max min amax max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_max_pool3d",
        "adaptive_avg_pool1d adaptive_avg_pool3d",
    ),
    "padding and moving": ("pad constant_pad_nd index index_select gather roll repeat expand_as stack",),
}
_LEFT_OUT_BARE = frozenset(name for lines in LEFT_OUT.values() for line in lines for name in line.split())
_LEFT_OUT_NAMES = frozenset(f"aten::{name}" for name in _LEFT_OUT_BARE)

LAYERS, SHAPES, FVCORE = "the family's layers, by arithmetic", "a pass on shapes alone", "fvcore"


@functools.lru_cache(maxsize=100_000)
def cost_of(space: SearchSpace, architecture: Architecture, num_classes: int) -> Cost:
    """The cost of one clip, by the fastest counter that the family supports. Results are cached.

    Examples:
        >>> from search_spaces.x3d import X3DSpace
        >>> space = X3DSpace()
        >>> f"{cost_of(space, space.point('M'), num_classes=400).gmacs:.2f} GMACs"
        '4.73 GMACs'

    Raises:
        UsageError: the network cannot be built or run on shapes, or uses an operator without a counting rule.
    """
    family, network = space.network_of(architecture)
    if family is not space:
        return cost_of(family, network, num_classes)
    clips = space.inputs(architecture)
    plan = own_plan(space, architecture, num_classes)
    if plan is not None:
        return cost_of_layers(plan.layers, shapes_of(clips))
    return cost_of_network(lambda: space.build(architecture, num_classes), shapes_of(clips), space.name)[0]


def family_layers(space: SearchSpace, architecture: Architecture, num_classes: int) -> list[Layer]:
    """The cost of each part of the network: the layers of the family's plan, or else the network's modules."""
    space, architecture = space.network_of(architecture)
    plan, shapes = own_plan(space, architecture, num_classes), shapes_of(space.inputs(architecture))
    if plan is not None:
        return plan.layers
    return cost_of_network(lambda: space.build(architecture, num_classes), shapes, space.name)[1].layers


def counted(space: SearchSpace, architecture: Architecture, num_classes: int) -> Counted:
    """The counts that published tables print."""
    cost = cost_of(space, architecture, num_classes)
    return Counted(cost.macs, cost.params, cost.params_published)


def cost_of_layers(layers: Sequence[Layer], shapes: Sequence[Shape], counter: str = LAYERS) -> Cost:
    macs = total(layers, "macs")
    return Cost(
        macs=macs,
        params=total(layers, "params"),
        params_published=total(layers, "weights"),
        activations=total(layers, "activations"),
        input=tuple(shapes),
        fvcore_flops=macs + total(layers, "other_flops"),
        buffer_bytes=total(layers, "buffer_bytes"),
        training_bytes=total(layers, "kept_bytes"),
        counter=counter,
    )


def cost_of_network(
    build: Callable[[], nn.Module], shapes: Sequence[Shape], name: str = "the network"
) -> tuple[Cost, ShapeCount]:
    """The cost of any network on one clip of these shapes, and its layers.

    Args:
        build: returns the network.
        shapes: one (C, T, H, W) per stream.
        name: the network's name in errors.

    Raises:
        UsageError: `build` fails or returns no nn.Module, the network cannot be run on shapes, or it uses an operator without
            a counting rule.
    """
    count = count_shapes(build, shapes, _LEFT_OUT_BARE, name)
    if count.uncounted:
        raise _uncounted_error(count.network, count.uncounted)
    cost = cost_of_layers(count.layers, shapes, SHAPES)
    return (cost if count.training else replace(cost, training_bytes=None)), count


def _uncounted_error(network: nn.Module, uncounted: Mapping[str, int]) -> UsageError:
    names = ", ".join(f"{name} (x{times})" for name, times in sorted(uncounted.items()))
    return UsageError(
        f"the cost of {type(network).__name__} is unknown: there is no counting rule for {names}; write the layer with torch's "
        "own convolutions and linear layers, or list the operator in expand/counting/cost.py with the reason to leave it out"
    )


def random_clips(clips: Sequence[Clip], *, batch: int = 1, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """One random tensor (batch, channels, frames, height, width) per stream."""
    return tuple(torch.rand(batch, *shape, device=device) for shape in shapes_of(clips))


# --- the references ---------------------------------------------------------------------------------------------------


def count_cost(network: nn.Module, clips: Sequence[Clip]) -> Cost:
    """The reference: the cost of one clip, counted by fvcore on a forward pass of random numbers.

    Raises:
        UsageError: the network uses an operator that has no counting rule and is not listed as left out.
    """
    return count_traced(network, shapes_of(clips))


def count_traced(network: nn.Module, shapes: Sequence[Shape]) -> Cost:
    """`count_cost` for one clip of these shapes."""
    from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis

    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            inputs = tuple(torch.rand(1, *shape) for shape in shapes)
            # fvcore reports skipped operators as warnings of its root logger; they are checked below instead.
            logging.getLogger("fvcore").setLevel(logging.ERROR)
            flops = FlopCountAnalysis(network, inputs).tracer_warnings("none")
            by_operator = flops.by_operator()
            uncounted = {name: times for name, times in flops.unsupported_ops().items() if name not in _LEFT_OUT_NAMES}
            activations = ActivationCountAnalysis(network, inputs).tracer_warnings("none").total()
    finally:
        network.train(training)
    if uncounted:
        raise _uncounted_error(network, uncounted)
    return Cost(
        macs=int(sum(count for name, count in by_operator.items() if name in COUNTED)),
        params=sum(p.numel() for p in network.parameters()),
        params_published=published_params(network),
        activations=int(activations),
        input=tuple(shapes),
        fvcore_flops=int(sum(by_operator.values())),
        buffer_bytes=sum(buffer.nbytes for buffer in network.buffers()),
        counter=FVCORE,
    )


def published_params(network: nn.Module) -> int:
    """Parameters without any bias and without normalisation layers: 3,758,738 for X3D-M, printed as 3.76 M."""
    norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    return sum(
        parameter.numel()
        for module in network.modules()
        if not isinstance(module, norms)
        for name, parameter in module.named_parameters(recurse=False)
        if not name.endswith("bias")
    )


SMALL_CLIP = 100_000  # elements of a channel; below, a real forward pass is quicker than torch's shape arithmetic


def count_macs(build: Callable[[], nn.Module], clips: Sequence[Clip]) -> int:
    """A second reference: multiply-adds by torch's own counter.

    Large clips are counted on shapes alone (the `meta` device), which saves seconds for X3D-L.
    """
    small = sum(clip.frames * clip.height * clip.width for clip in clips) < SMALL_CLIP
    device = "cpu" if small else "meta"
    with torch.device(device):
        network = build().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*random_clips(clips, device=device))
    return counter.get_total_flops() // 2


def at_crop(space: SearchSpace, architecture: Architecture, crop: int) -> Architecture:
    """The same network with another crop size.

    Raises:
        UsageError: the family has no resolution, or builds another network for another resolution.
    """
    if "resolution" not in architecture.as_dict():
        raise UsageError(f"--crop {crop}: {space.name} has no value 'resolution'")
    moved = space.architecture(**architecture.as_dict() | {"resolution": crop})
    if space.constructor(moved, 1) != space.constructor(architecture, 1):
        raise UsageError(
            f"--crop {crop}: {space.name} builds its head for the training crop, {architecture['resolution']}; "
            f"resolution={crop} is another network"
        )
    return moved


@dataclass
class MacsCounter:
    """Counts the costs of a space's points and caches them. A call returns multiply-adds, the cost that growth is solved for."""

    space: SearchSpace
    num_classes: int

    def __call__(self, architecture: Architecture) -> int:
        return self.cost(architecture).macs

    def cost(self, architecture: Architecture) -> Cost:
        return cost_of(self.space, architecture, self.num_classes)

    def score(self, name: str, architecture: Architecture) -> float:
        """What a network promises before it is trained, by the name of a score (`scores.SCORES`).

        Examples:
            >>> from search_spaces.x3d import X3DSpace
            >>> space = X3DSpace()
            >>> [MacsCounter(space, 400).score(name, space.start) for name in ("macs", "params")]
            [20662304.0, 1633512.0]

        Raises:
            UsageError: there is no score of this name, or the network cannot be built.
            ScoreError: its score is not a finite number.
        """
        if name in FROM_COSTS:
            return float(getattr(self.cost(architecture), name))
        return score_of(name, self.space, architecture, self.num_classes)
