"""Spatio-temporal entropy: how much a network's features could tell, computed from the shapes of its layers alone.

Source: J. Wang et al., "Maximizing Spatio-Temporal Entropy of Deep 3D CNNs for Efficient Video Recognition", ICLR 2023
(arXiv 2303.02693), the STEntr-score of the E3D networks; factors and weights as in the authors' code (TinyNAS,
`get_alpha_w` and `compute_stentr.py`).

A convolution sums `fan_in` = (input channels / groups) x kernel elements numbers; if weights and inputs are independent normals,
its output's entropy grows by half the logarithm of that. The kernel K = (t, h, w) tells the more of a feature map
S = (frames, height, width) the more alike their proportions are:

    e(layer) = ½ ln(fan_in x a),    a = -ln(1 - cos(S, K)),    a = 1 for a kernel of one element

A stage ends where the feature maps become smaller. Its entropy is that of all layers up to its end plus the logarithm of its
channels, and the score is 1, 1 and 6 times the entropies of the last three stages.

Ours: S is the layer's own output (theirs keeps the clip's frames, which their networks never stride). 1 - cos is at least 0.01,
because a kernel with exactly the proportions of its feature map would have an infinite entropy. Only the longest path counts, so
that a shortcut adds nothing. Layers behind a mean over all positions (gates, the head) and linear layers with a single position
add nothing, either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from expand.core.errors import UsageError
from expand.core.layer_plan import Layer
from expand.core.space import Architecture, SearchSpace
from expand.counting.family import own_plan, shapes_of
from expand.counting.meta_counter import Shape, on_meta

STAGE_WEIGHTS = (1, 1, 6)  # of the last three stages
LEAST_DISTANCE = 0.01  # of 1 - cos


@dataclass(frozen=True)
class Step:
    """A layer of the main path: its entropy, its output channels, and the height and width of its output."""

    entropy: float
    channels: int
    side: tuple[int, ...]


def entropy(space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    """The score of a network, in nats: by arithmetic from the family's `layer_plan`, or else from a pass on shapes.

    Examples:
        >>> from search_spaces.x3d import X3DSpace
        >>> space = X3DSpace()
        >>> [round(entropy(space, space.point(name), 400), 1) for name in ("S", "M")]
        [1378.1, 1377.2]
    """
    plan = own_plan(space, architecture, num_classes)
    if (
        plan is not None and not plan.parallel
    ):  # a list of layers does not say which way through the network is the longest
        return _score(_planned(plan.layers))
    shapes = shapes_of(space.inputs(architecture))
    return entropy_of_network(lambda: space.build(architecture, num_classes), shapes, space.name)


def entropy_of_network(build: Callable[[], nn.Module], shapes: Sequence[Shape], name: str = "the network") -> float:
    """The score of any network, from a pass on shapes: 0 if no layer has more than one output position.

    Args:
        shapes: one (C, T, H, W) per stream.

    Raises:
        UsageError: `build` fails, or the network cannot be run on shapes.
    """
    network = on_meta(build, name).eval().requires_grad_()
    clips = [torch.empty(1, *shape, device="meta", requires_grad=True) for shape in shapes]
    try:
        with torch.enable_grad():
            out = network(*clips)
    except Exception as error:
        line = (str(error) or "no message").splitlines()[0]
        raise UsageError(f"{name} cannot be run on shapes: {type(error).__name__}: {line}") from error
    return _score(_longest_path(out if isinstance(out, torch.Tensor) else out[0]))


def layer_entropy(fan_in: float, kernel: Sequence[int], output: Sequence[int]) -> float:
    """½ ln(fan_in x a) of a layer with this kernel on a feature map of this size, both (time, height, width).

    Examples:
        >>> round(layer_entropy(27, (1, 1, 1), (4, 8, 8)), 3)  # ½ ln 27
        1.648
        >>> round(layer_entropy(27, (3, 3, 3), (4, 8, 8)), 3)  # cos = 20 / (12 √3), a = -ln 0.0377
        2.242
    """
    if math.prod(kernel) == 1:
        return 0.5 * math.log(fan_in)
    cosine = sum(k * s for k, s in zip(kernel, output, strict=True)) / (math.hypot(*kernel) * math.hypot(*output))
    return 0.5 * math.log(fan_in * -math.log(max(1 - cosine, LEAST_DISTANCE)))


def _score(path: Iterable[Step]) -> float:
    ends: list[float] = []
    total, side = 0.0, None
    for step in path:
        total += step.entropy
        if step.side != side:
            ends.append(0.0)
            side = step.side
        ends[-1] = total + math.log(step.channels)
    return math.fsum(weight * end for weight, end in zip(STAGE_WEIGHTS[::-1], ends[::-1], strict=False))


def _planned(layers: Iterable[Layer]) -> list[Step]:
    """The layers of the main path; repeated layers are one step."""
    found = []
    for layer in layers:
        channels, *size = layer.output
        if layer.weights and not layer.aside and (layer.kind == "conv" or math.prod(size) > 1):
            own = layer_entropy(layer.weights / channels, layer.kernel, size)
            found.append(Step(layer.times * own, channels, tuple(size[1:])))
    return found


# --- any network: the graph that autograd records ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Reached:
    """A node of the graph: the largest entropy of a path up to it, whether that path ends behind a mean, its own step, and the
    node before it on that path."""

    entropy: float
    aside: bool
    step: Step | None = None
    before: Any = None


def _longest_path(out: torch.Tensor) -> list[Step]:
    """The layers on the path of the largest entropy from an input to `out`."""
    reached: dict[Any, _Reached] = {}
    stack: list[Any] = [out.grad_fn] if out.grad_fn is not None else []
    while stack:
        before = [each for each, _ in stack[-1].next_functions if each is not None]
        if waiting := [each for each in before if each not in reached]:
            stack += waiting
        else:
            node = stack.pop()
            reached[node] = _reach(node, [(reached[each], each) for each in before])
    path: list[Step] = []
    at = out.grad_fn
    while at is not None:
        if (step := reached[at].step) is not None:
            path.append(step)
        at = reached[at].before
    return path[::-1]


def _reach(node: Any, before: Sequence[tuple[_Reached, Any]]) -> _Reached:
    # Of equal paths the one that avoids a mean: a gate is multiplied with what it was computed from.
    best, previous = max(
        before, key=lambda pair: (pair[0].entropy, not pair[0].aside), default=(_Reached(0.0, False), None)
    )
    aside = best.aside or node.name().startswith(("Mean", "AdaptiveAvgPool", "AvgPool"))
    step = _step(node, aside)
    if step is None:
        return _Reached(best.entropy, aside, None, previous)
    return _Reached(best.entropy + step.entropy, False, step, previous)


def _step(node: Any, aside: bool) -> Step | None:
    """A convolution or a linear layer; None where it has a single position and is linear or behind a mean."""
    kind = node.name()
    if kind.startswith("ConvolutionBackward") and not node._saved_transposed:
        weight, size, spread = node._saved_weight.shape, node._saved_input.shape[2:], node._saved_dilation
        places = zip(size, weight[2:], node._saved_stride, node._saved_padding, spread, strict=True)
        output = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in places)
        if math.prod(output) > 1 or not aside:
            return Step(layer_entropy(math.prod(weight[1:]), tuple(weight[2:]), output), weight[0], output[-2:])
    elif kind.startswith(("AddmmBackward", "MmBackward")):
        positions, _ = node._saved_mat1_sym_sizes if kind.startswith("Addmm") else node._saved_self_sym_sizes
        fan_in, channels = node._saved_mat2_sym_sizes
        if positions > 1:
            return Step(layer_entropy(fan_in, (1,), (1,)), channels, (positions,))
    return None
