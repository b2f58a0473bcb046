"""A network as a list of layers, to compute its cost by arithmetic, without building or running it.

A family adds its layers to a `LayerPlan` in the order of the network. The plan follows the clip's shape:

    plan = LayerPlan(clip)
    plan.stage("stem").conv("conv", 24, 3, stride=(1, 2, 2), padding=1).norm("norm").relu()
    plan.stage("head").mean().linear("fc", 400)

Counted per layer and clip: multiply-adds and output elements of convolutions and linear layers (fvcore's `FlopCountAnalysis`
without norms, and `ActivationCountAnalysis`), parameters, and the bytes that autograd saves for the backward pass in float32.
Saved bytes follow torch's backward formulas: convolutions, linear layers, norms, SiLU and max pools save their input, ReLU and
sigmoid their output, a product both factors, dropout its mask, a max pool also its indices. A tensor saved by several layers
counts once. Standard library only.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from expand.core.clip import Clip
from expand.core.errors import UsageError

FLOAT, INDEX = 4, 8  # bytes
Extent = int | Sequence[int]  # one number, or (time, height, width)


@dataclass(slots=True)
class Layer:
    """A layer, or `times` equal layers of a stage; the numbers are for one of them."""

    stage: str
    name: str
    kind: str
    output: tuple[int, ...]  # channels, time, height, width
    times: int = 1
    macs: int = 0
    params: int = 0
    weights: int = 0  # parameters of convolutions and linear layers without their biases
    activations: int = 0
    other_flops: int = 0  # what fvcore adds: two operations per element of a batch norm
    kept_bytes: int = 0  # for the backward pass
    buffer_bytes: int = 0
    kernel: tuple[int, ...] = ()  # time, height, width; of convolutions and linear layers of a plan
    aside: bool = (
        False  # not on the main path: in a branch such as a shortcut, or behind a mean, as gates and heads are
    )


class Feature:
    """A tensor between two layers: its shape, and whether it is already saved for the backward pass."""

    __slots__ = ("channels", "elements", "kept", "size")

    def __init__(self, channels: int, size: tuple[int, int, int], *, kept: bool = False) -> None:
        self.channels, self.size, self.kept = channels, size, kept
        self.elements = channels * size[0] * size[1] * size[2]


class LayerPlan:
    """Records layers, each applied to the output of the one before. `at` is the current feature.

    Examples:
        >>> plan = LayerPlan(Clip(frames=4, stride=1, height=8, width=8))
        >>> _ = plan.stage("stem").conv("conv", 24, 3, padding=1).relu().stage("head").mean().linear("fc", 10)
        >>> [layer.macs for layer in plan.layers]  # 4 x 8 x 8 positions of 3 x 24 kernels with 27 weights each; 24 x 10
        [497664, 240]
    """

    def __init__(self, clip: Clip) -> None:
        self.layers: list[Layer] = []
        self.at = Feature(clip.channels, (clip.frames, clip.height, clip.width))
        self._stage, self._times = "", 1
        self._in_branch = self._behind_mean = False
        self.parallel = False  # whether layers of several ways through the network are joined

    def stage(self, name: str, *, times: int = 1) -> LayerPlan:
        """Starts a stage: its layers occur `times` times in the network, on the same shapes."""
        self._stage, self._times = name, times
        return self

    def conv(
        self,
        name: str,
        channels: int,
        kernel: Extent = 1,
        *,
        stride: Extent = 1,
        padding: Extent = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> LayerPlan:
        """Adds a 3D convolution with `channels` outputs.

        Raises:
            UsageError: the padded clip is smaller than the kernel.
        """
        x, extents = self.at, _three(kernel)
        size = self._strided(name, extents, _three(stride), _three(padding))
        weights = channels * (x.channels // groups) * extents[0] * extents[1] * extents[2]
        positions = size[0] * size[1] * size[2]
        layer = self._add(name, "conv", Feature(channels, size))
        layer.macs, layer.weights, layer.activations = positions * weights, weights, positions * channels
        layer.params = weights + channels if bias else weights
        layer.kernel = tuple(extents)
        self._keep(x)
        return self

    def linear(self, name: str, channels: int, *, bias: bool = True) -> LayerPlan:
        """Adds a linear layer with `channels` outputs, applied at every position."""
        x = self.at
        weights = x.channels * channels
        layer = self._add(name, "linear", Feature(channels, x.size))
        layer.macs, layer.activations = x.elements * channels, self.at.elements
        layer.weights, layer.params = weights, weights + channels if bias else weights
        layer.kernel = (1, 1, 1)
        self._keep(x)
        return self

    def norm(self, name: str) -> LayerPlan:
        """Adds a batch norm with scale and shift; its buffers are a mean and a variance per channel, and one counter."""
        x = self.at
        layer = self._add(name, "norm", Feature(x.channels, x.size))
        layer.params, layer.other_flops = 2 * x.channels, 2 * x.elements
        layer.buffer_bytes = 2 * x.channels * FLOAT + INDEX
        self._keep(x)
        return self

    def max_pool(
        self, name: str, kernel: Extent, *, stride: Extent | None = None, padding: Extent = 0, ceil: bool = False
    ) -> LayerPlan:
        """Adds a max pool; without `stride` its stride is its kernel; `ceil` rounds sizes up."""
        x, extents = self.at, _three(kernel)
        strides = extents if stride is None else _three(stride)
        size = self._strided(name, extents, strides, _three(padding), ceil=ceil)
        layer = self._add(name, "pool", Feature(x.channels, size))
        layer.kept_bytes = self.at.elements * INDEX
        self._keep(x)
        return self

    def mean(self, *, frames: int = 1) -> LayerPlan:
        """Averages over time and space; with `frames` so many are left in time."""
        self._behind_mean = True
        self.at = Feature(self.at.channels, (frames, 1, 1))
        return self

    def pad(self, sizes: Sequence[Sequence[int]]) -> LayerPlan:
        """Adds positions in front of and behind time, height and width: a new tensor, unless there are none to add."""
        more = [before + behind for before, behind in sizes]
        if any(more):
            time, height, width = (extent + new for extent, new in zip(self.at.size, more, strict=True))
            self.at = Feature(self.at.channels, (time, height, width))
        return self

    def concatenate(self, parts: Sequence[Feature]) -> LayerPlan:
        """Joins features of one size: their channels, in this order."""
        self.parallel = True
        self.at = Feature(sum(part.channels for part in parts), parts[0].size)
        return self

    def flatten(self) -> LayerPlan:
        """Flattens all positions into channels."""
        self.at = Feature(self.at.elements, (1, 1, 1), kept=self.at.kept)
        return self

    def relu(self) -> LayerPlan:
        self._fresh()
        self._keep(self.at)
        return self

    sigmoid = relu  # both save their output, not their input

    def silu(self) -> LayerPlan:
        self._keep(self.at)
        return self._fresh()

    def dropout(self) -> LayerPlan:
        """Adds a dropout. Its mask has the type of the input, as on a CPU; on a GPU it takes a quarter of that."""
        self._fresh()
        self.layers[-1].kept_bytes += self.at.elements * FLOAT
        return self

    def add(self) -> LayerPlan:
        """Adds a shortcut of the same shape."""
        return self._fresh()

    def gates(self, x: Feature) -> LayerPlan:
        """Multiplies `x` by the current feature, which holds one gate per channel."""
        self._keep(self.at)
        self._keep(x)
        self.at = Feature(x.channels, x.size)
        self._behind_mean = False
        return self

    @contextlib.contextmanager
    def branch(self, x: Feature) -> Iterator[None]:
        """Adds the layers of this block to a branch that starts at `x`; afterwards the current feature is restored."""
        before = self.at, self._in_branch, self._behind_mean
        self.at, self._in_branch = x, True
        yield
        self.at, self._in_branch, self._behind_mean = before

    def _fresh(self) -> LayerPlan:
        """Continues with a new tensor of the same shape."""
        self.at = Feature(self.at.channels, self.at.size)
        return self

    def _add(self, name: str, kind: str, output: Feature) -> Layer:
        layer = Layer(self._stage, name, kind, (output.channels, *output.size), self._times)
        layer.aside = self._in_branch or self._behind_mean
        self.layers.append(layer)
        self.at = output
        return layer

    def _keep(self, x: Feature) -> None:
        if not x.kept:
            x.kept = True
            self.layers[-1].kept_bytes += x.elements * FLOAT

    def _strided(
        self, name: str, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], *, ceil: bool = False
    ) -> tuple[int, int, int]:
        sizes = []
        for extent, k, s, p in zip(self.at.size, kernel, stride, padding, strict=True):
            steps = extent + 2 * p - k
            if steps < 0:
                size, needed = ("x".join(map(str, shape)) for shape in (self.at.size, kernel))
                raise UsageError(
                    f"the clip is too small: {self._stage} {name} has a {needed} kernel, but its input is only {size} "
                    "(frames, height, width)"
                )
            sizes.append((math.ceil(steps / s) if ceil else steps // s) + 1)
        return (sizes[0], sizes[1], sizes[2])


def _three(extent: Extent) -> Sequence[int]:
    return (extent, extent, extent) if isinstance(extent, int) else extent


def total(layers: Iterable[Layer], quantity: str) -> int:
    """The sum of one `Layer` field over a network; repeated layers count each time."""
    return sum(getattr(layer, quantity) * layer.times for layer in layers)
