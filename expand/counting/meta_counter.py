"""The cost of any network from one pass on shapes alone (torch's `meta` device), without computing values.

It serves families without a `layer_plan` and networks from elsewhere. It sees every operator below autograd: convolutions and
matrix products are counted by torch's formulas, operators listed in `counting/cost.py` are left out, and any other is an error.
A second pass, in training mode, counts what autograd saves.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from expand.core.errors import UsageError
from expand.core.layer_plan import Layer

Shape = tuple[int, ...]  # of one stream, without the batch
TRAINING_BATCH = 2  # in training mode a batch norm needs more than one value

# More operators to leave out, by their names below autograd, if not in expand/counting/cost.py. All views are left out too.
LEFT_OUT_BELOW = {
    "elementwise": (
        "_softmax _safe_softmax _log_softmax native_dropout bernoulli threshold leaky_relu elu hardtanh hardsigmoid softplus",
        "log1p rsqrt reciprocal square sign floor minimum maximum logical_not logical_and masked_fill",
    ),
    "reductions and pooling": (
        "var_mean prod cumsum max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices",
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d",
    ),
    "padding and moving": (
        "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d",
        "_unsafe_view clone copy _to_copy cat split unsafe_split flip index_put embedding",
    ),
    "making": (
        "empty empty_like new_empty empty_strided new_empty_strided zeros zeros_like new_zeros ones ones_like new_ones",
        "full full_like new_full fill zero arange linspace scalar_tensor lift_fresh",
    ),
}
_BELOW = frozenset(name for lines in LEFT_OUT_BELOW.values() for line in lines for name in line.split())
# fvcore adds these to its total. NORMS: four operations per element, five with a scale, whose argument's position this is.
# RESIZED: operations per output element. A batch norm with fixed statistics takes one operation, two with a scale.
NORMS = {"native_layer_norm": 2, "native_group_norm": 1}
RESIZED = {"upsample_nearest2d": 1, "upsample_bilinear2d": 4, "grid_sampler_2d": 4}


@dataclass
class ShapeCount:
    """The network on the `meta` device, its modules as layers, and the operators without a counting rule.

    `training` is False if the pass in training mode failed, so that the bytes saved by autograd are unknown.
    """

    network: nn.Module
    layers: list[Layer]
    uncounted: Counter[str]
    training: bool


def count_shapes(
    build: Callable[[], nn.Module], shapes: Sequence[Shape], left_out: frozenset[str], name: str
) -> ShapeCount:
    """Counts one clip of these shapes, one (C, T, H, W) per stream. `name` appears in errors.

    Raises:
        UsageError: `build` fails or returns no nn.Module, or the network cannot be run on shapes.
    """
    network = on_meta(build, name)
    counting = _Counting(network, left_out)
    try:
        with counting.names(), torch.no_grad(), no_fused_attention(), counting:
            network.eval()(*_clips(shapes, 1))
    except Exception as error:
        raise UsageError(f"{name} cannot be run on shapes: {_reason(shapes, error)}") from error
    training = not counting.uncounted and _count_kept(network, shapes, counting)
    return ShapeCount(network, counting.layers(), counting.uncounted, training)


def on_meta(build: Callable[[], nn.Module], name: str) -> nn.Module:
    try:
        with torch.device("meta"):
            network = build()
    except Exception:  # a constructor that needs real values (a schedule, a checkpoint)
        try:
            network = build()
        except Exception as error:
            line = (str(error) or "no message").splitlines()[0]
            raise UsageError(f"{name} cannot be built: {type(error).__name__}: {line}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{name} returned {type(network).__name__}, not a torch.nn.Module")
    return network.to("meta")


@contextlib.contextmanager
def no_fused_attention() -> Iterator[None]:
    """Makes torch's attention layers run as matrix products, not as one fused operator."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _clips(shapes: Sequence[Shape], batch: int) -> list[torch.Tensor]:
    return [torch.empty(batch, *shape, device="meta") for shape in shapes]


def _reason(shapes: Sequence[Shape], error: Exception) -> str:
    read = " + ".join("x".join(map(str, shape)) for shape in shapes)
    if isinstance(error, NotImplementedError) or "meta" in str(error):
        hint = "; its forward pass may depend on values, which shapes do not have"
    else:
        hint = ""
    line = (str(error) or "no message").splitlines()[0]
    return f"a clip of {read} gives {type(error).__name__}: {line}{hint}"


@dataclass
class _Counting(TorchDispatchMode):
    network: nn.Module
    left_out: frozenset[str]
    uncounted: Counter[str] = field(default_factory=Counter)
    _stack: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._layers: dict[str, Layer] = {}
        counted: set[nn.Parameter] = set()
        for name, module in self.network.named_modules():
            layer = Layer(name.partition(".")[0] or "(itself)", name or "(itself)", type(module).__name__, ())
            norm = isinstance(module, (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm))
            for each, parameter in module.named_parameters(recurse=False):
                if parameter not in counted:
                    counted.add(parameter)
                    layer.params += parameter.numel()
                    layer.weights += 0 if norm or each.endswith("bias") else parameter.numel()
            layer.buffer_bytes = sum(buffer.nbytes for buffer in module.buffers(recurse=False))
            self._layers[name] = layer

    def layers(self) -> list[Layer]:
        """The layers that have parameters, outputs or saved bytes."""
        return [layer for layer in self._layers.values() if layer.params or layer.activations or layer.kept_bytes]

    @property
    def current(self) -> Layer:
        return self._layers[self._stack[-1] if self._stack else ""]

    def names(self) -> contextlib.ExitStack:
        """While this is open, operators are attributed to the innermost running module."""
        stack = contextlib.ExitStack()
        for name, module in self.network.named_modules():
            enter = module.register_forward_pre_hook(lambda *_, name=name: self._stack.append(name))
            leave = module.register_forward_hook(lambda *_: self._left(), always_call=True)
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        return stack

    def _left(self) -> None:
        self._stack.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._overloadpacket.__name__
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        out = func(*args, **kwargs)
        first = out[0] if isinstance(out, (tuple, list)) else out
        if formula is not None:
            layer, macs = self.current, formula(*args, **kwargs, out_val=out) // 2
            layer.macs += macs
            layer.activations += first.numel()
            layer.output = tuple(first.shape[1:])
        elif "batch_norm" in name:
            given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
            training = given.get("training", False)  # absent in operators for inference only
            self.current.other_flops += args[0].numel() * ((4 if training else 1) + (args[1] is not None))
        elif name in NORMS:
            self.current.other_flops += args[0].numel() * (4 + (args[NORMS[name]] is not None))
        elif name in RESIZED:
            self.current.other_flops += first.numel() * RESIZED[name]
        elif not (func.is_view or (func.namespace in ("aten", "prim") and self._is_left_out(name))):
            self.uncounted[f"{func.namespace}::{name}"] += 1
        return out

    def _is_left_out(self, name: str) -> bool:
        return any(each in self.left_out or each in _BELOW for each in (name, name.removesuffix("_")))


def _count_kept(network: nn.Module, shapes: Sequence[Shape], counting: _Counting) -> bool:
    """Adds the bytes of every storage that autograd saves, to the layer that saves it first. Returns False if the pass fails.

    Tensors with one dimension are skipped: they are a norm's statistics, which do not grow with the batch.
    """
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    seen: dict[int, torch.Tensor] = {}  # keeps the storages alive, so that no address is reused

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        address = tensor.untyped_storage()._cdata
        if address not in own and tensor.dim() > 1 and address not in seen:
            seen[address] = tensor
            counting.current.kept_bytes += math.ceil(tensor.untyped_storage().nbytes() / TRAINING_BATCH)
        return tensor

    try:
        with (
            counting.names(),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.enable_grad(),
        ):
            network.train()(*_clips(shapes, TRAINING_BATCH))
    except Exception:  # its training mode needs more than clips
        return False
    return True
