"""Starts a network from the weights of a smaller one of its family, so that it computes the same wherever that is possible.

Everything follows from names and shapes: a tensor of the child has its parent's values in its first rows and columns, and in the
centre of its kernel. What is new of it is zero where old outputs would read it, and as initialised elsewhere, so that old
channels stay what they were (zero-padding, as in network morphism, Wei et al., arXiv 1603.01670). A new block starts as its
shortcut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from expand.core.clip import Clip
from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace
from expand.weights.matching import on_shapes

SHOWN = 3  # most names in an error


@dataclass(frozen=True)
class Growth:
    """How a child continues its parent's tensors.

    Attributes:
        names: the child's tensors and the parent's that they continue.
        zeroed: gain and bias of the last norm of each new block.
        flattened: tensors of layers that read a flattened map, with the parent's map and the child's.
        differences: why the child does not compute what its parent does; empty if it does.
    """

    names: Mapping[str, str]
    zeroed: tuple[str, ...]
    flattened: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    differences: tuple[str, ...] = ()

    @property
    def preserved(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        if self.preserved:
            return "function preserved: at first it answers as its parent does"
        return f"function not preserved: {', '.join(self.differences)}"


def plan_growth(space: SearchSpace, parent: Architecture, child: Architecture, num_classes: int) -> Growth:
    """How the child continues the parent's weights, from the two networks on shapes alone.

    Raises:
        UsageError: it cannot; the message says why.
    """
    if parent == child:
        raise UsageError(f"the network is the same as its parent, {parent}")
    _refuse_other_form(space, parent, child)
    old, new = (on_shapes(space, architecture, num_classes) for architecture in (parent, child))
    renamed, added = _blocks(space, parent, child)
    names = {}
    for name in new.state_dict():
        block = _block_of(name, (*renamed, *added))
        if block not in added:
            names[name] = f"{renamed[block]}{name.removeprefix(block)}" if block else name
    what = parent.changes(child)
    _refuse_other_layers(names, old, new, what)
    maps = [space.inheritance(architecture).flattened for architecture in (parent, child)]
    flattened = {f"{layer}.weight": (maps[0][layer], maps[1][layer]) for layer in maps[1] if layer in maps[0]}
    cropped = _refuse_shapes(names, old, new, flattened, what)
    strides = _refuse_other_places(names, old, new, what)
    clips = _clip_changes(space.inputs(parent), space.inputs(child))
    last = space.inheritance(child).last_norm
    zeroed = tuple(f"{block}.{last}.{tensor}" for block in added for tensor in ("weight", "bias"))
    return Growth(names, zeroed, flattened, (*clips, *strides, *cropped))


def inherit(network: nn.Module, tensors: Mapping[str, Tensor], growth: Growth) -> None:
    """Gives a newly initialised child its parent's weights, in place.

    Args:
        tensors: the parent's, by their names in it.
    """
    state = network.state_dict()
    with torch.no_grad():
        for name, of in growth.names.items():
            old = tensors[of].to(state[name])
            if name in growth.flattened:
                old = _resized(old, *growth.flattened[name])
            state[name].copy_(_continued(state[name], old))
        for name in growth.zeroed:
            state[name].zero_()


def _continued(own: Tensor, old: Tensor) -> Tensor:
    """`own` with `old` in its first rows and columns (dimensions 0 and 1) and in the centre of its kernel (the others)."""
    if not own.ndim:
        return old
    result = own.clone()
    rows = result[: old.shape[0]]
    rows.zero_()
    if own.ndim > 1:
        rows = rows[:, : old.shape[1]]
    for dim in range(2, own.ndim):
        more = (own.shape[dim] - old.shape[dim]) // 2
        rows = rows.narrow(dim, max(more, 0), min(own.shape[dim], old.shape[dim]))
        old = old.narrow(dim, max(-more, 0), min(own.shape[dim], old.shape[dim]))
    rows.copy_(old)
    return result


def _resized(weight: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """A linear layer's weights (out, channels x T x H x W) for a map of another size: interpolated, with equal sums."""
    if before == after:
        return weight
    maps = weight.reshape(len(weight), -1, *before)
    scale = maps[0, 0].numel() / torch.Size(after).numel()
    return functional.interpolate(maps, size=after, mode="trilinear", align_corners=False).flatten(1) * scale


# --- what cannot be inherited, and what changes ----------------------------------------------------------------------


def _blocks(space: SearchSpace, parent: Architecture, child: Architecture) -> tuple[dict[str, str], tuple[str, ...]]:
    """The child's blocks with the parent's that they continue, and its new blocks."""
    before, after = space.inheritance(parent).stages, space.inheritance(child).stages
    renamed = {new: old for olds, news in zip(before, after, strict=True) for old, new in zip(olds, news, strict=False)}
    return renamed, tuple(block for stage in after for block in stage if block not in renamed)


def _block_of(name: str, blocks: tuple[str, ...]) -> str:
    return next((block for block in blocks if name.startswith(f"{block}.")), "")


def _refuse_other_form(space: SearchSpace, parent: Architecture, child: Architecture) -> None:
    before, after = space.inheritance(parent).form, space.inheritance(child).form
    if before != after:
        raise UsageError(
            f"{parent.changes(child)}: weights cannot be inherited, because the larger network has {after or 'none of it'} "
            f"where its parent has {before or 'none of it'}"
        )


def _refuse_other_layers(names: Mapping[str, str], old: nn.Module, new: nn.Module, what: str) -> None:
    """Raises `UsageError` if one of the two has layers in old blocks that the other has not."""
    before = old.state_dict()
    gained = _modules(name for name, of in names.items() if of not in before)
    lost = _modules(set(before) - set(names.values()))
    for who, layers in (("the larger network has", gained), ("its parent has", lost)):
        if layers:
            raise UsageError(f"{what}: weights cannot be inherited, because only {who} {_listed(layers)}")


def _refuse_shapes(
    names: Mapping[str, str],
    old: nn.Module,
    new: nn.Module,
    flattened: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    what: str,
) -> tuple[str, ...]:
    """Raises `UsageError` for a tensor that gets narrower or whose kernel has no common centre; returns what is lost."""
    before, cropped = old.state_dict(), []
    for name, own in new.state_dict().items():
        if name not in names:
            continue
        size, was = list(own.shape), list(before[names[name]].shape)
        if name in flattened:
            for sizes, place in zip((was, size), flattened[name], strict=True):
                sizes[1] //= torch.Size(place).numel()
        narrower = any(now < then for now, then in zip(size[:2], was[:2], strict=True))
        if narrower or any((now - then) % 2 for now, then in zip(size[2:], was[2:], strict=True)):
            raise UsageError(
                f"{what}: weights cannot be inherited, because {name} is {_size(was)} in the parent and {_size(size)} now; "
                "channels can only be added, and kernels need a common centre"
            )
        if any(now < then for now, then in zip(size[2:], was[2:], strict=True)):
            cropped.append(name)
    return (f"kernels are cropped in {_listed(_modules(cropped))}",) if cropped else ()


def _refuse_other_places(names: Mapping[str, str], old: nn.Module, new: nn.Module, what: str) -> tuple[str, ...]:
    """Raises `UsageError` for a convolution whose kernel is centred elsewhere or whose groups mix other channels; returns
    changed strides."""
    strided = []
    for name in names:
        path, of = name.rpartition(".")[0], names[name].rpartition(".")[0]
        now, then = new.get_submodule(path), old.get_submodule(of)
        if not (name.endswith(".weight") and isinstance(now, nn.Conv3d) and isinstance(then, nn.Conv3d)):
            continue
        at, was = _centres(now), _centres(then)
        if at != was:
            raise UsageError(f"{what}: weights cannot be inherited, because the kernel of {path} is centred elsewhere")
        if now.weight.shape[1] != then.weight.shape[1] and now.groups > 1:
            raise UsageError(f"{what}: weights cannot be inherited, because the groups of {path} read other channels")
        if now.stride != then.stride:
            strided.append(path)
    return (f"strides change in {_listed(strided)}",) if strided else ()


def _centres(convolution: nn.Conv3d) -> list[float]:
    """Where the first output's kernel has its centre, in each dimension."""
    padding = convolution.padding
    assert not isinstance(padding, str), "families pad by numbers"
    return [(size - 1) / 2 - pad for pad, size in zip(padding, convolution.kernel_size, strict=True)]


def _clip_changes(before: tuple[Clip, ...], after: tuple[Clip, ...]) -> tuple[str, ...]:
    """How the clips that the network reads change, such as "frames 4 to 8"."""
    found = []
    for old, new in zip(before, after, strict=False):
        for name, value in vars(old).items():
            if (now := getattr(new, name)) != value:
                found.append(f"{name} {value} to {now}")
    return tuple(dict.fromkeys(found))


def _modules(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in names})


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _size(shape: list[int]) -> str:
    return " x ".join(map(str, shape))
