"""Loads weight files into a network: our exports, trials and checkpoints, and published weights.

A family lists the module names of other code bases (`SearchSpace.weight_layouts`). Files are matched against them by names and
shapes alone; the result lists the matched, missing and unexpected tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace
from expand.core.weight_names import WeightLayout
from expand.weights.files import WeightFile, read

OURS = "expand"
SHOWN = 3  # most names with shapes in an error
Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Matched:
    """The result of matching a file's tensors with a network's.

    Attributes:
        layout: the layout of the file's names.
        matched: the network's tensors that are loaded.
        missing: the network's tensors that the file does not have; they keep their values.
        unexpected: the file's tensors that the network does not have.
        replaced: the network's tensors that have another size in the file (the last layer, for another number of classes);
            they keep their values.
        notes: where the definitions differ, and how the weights were adapted.
    """

    layout: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    replaced: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = [f"{len(self.matched)} tensors in {self.layout}'s layout"]
        for what in ("missing", "unexpected", "replaced"):
            if names := getattr(self, what):
                counts.append(
                    f"{len(names)} {what} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
                )
        return "; ".join([*counts, *self.notes])


def load_weights(network: nn.Module, path: str | Path, *, space: SearchSpace, architecture: Architecture) -> Matched:
    """Loads a file's weights into a newly built network, in place, in any layout that the family knows.

    Raises:
        UsageError: the file is missing, damaged, holds no weights, or holds weights of another network.
    """
    fit = fit_file(read(Path(path)), space, architecture, network)
    network.load_state_dict(fit.tensors, strict=False)
    return fit.matched


def inspect_weights(path: str | Path, *, space: SearchSpace, architecture: Architecture, num_classes: int) -> Matched:
    """What `load_weights` would return for a network with `num_classes` classes.

    Raises:
        UsageError: as `load_weights`.
    """
    return fit_file(read(Path(path)), space, architecture, on_shapes(space, architecture, num_classes)).matched


def points_that_fit(tensors: Mapping[str, Tensor], space: SearchSpace) -> list[tuple[str, str]]:
    """The named points of a space that match every tensor of a file except the last layer, each with the layout's name."""
    fits: dict[str, str] = {}  # points that differ in their clips only are checked once
    found = []
    for name, architecture in space.points.items():
        cls, arguments = space.constructor(architecture, space.num_classes)
        key = f"{cls.__qualname__} {json.dumps(arguments, default=repr)}"
        if key not in fits:
            network = on_shapes(space, architecture, space.num_classes)
            names = set(_weights(_sizes(network.state_dict())))
            known = [set(_renamed(tensors, layout).values()) for layout in _layouts(space, architecture, network)]
            fit = _best(tensors, space, architecture, network) if any(names <= each for each in known) else None
            fits[key] = fit.matched.layout if fit is not None and fit.complete else ""
        if fits[key]:
            found.append((name, fits[key]))
    return found


def on_shapes(space: SearchSpace, architecture: Architecture, num_classes: int) -> nn.Module:
    """The network on the `meta` device, without random initialisation, which would take most of the time."""
    with torch.device("meta"), _NoInitialisation():
        return space.build(architecture, num_classes)


class _NoInitialisation(TorchFunctionMode):
    names = frozenset({"normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in self.names:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


# --- matching --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """A file matched with a network: the tensors to load, and the names whose shapes differ, with both shapes."""

    layout: WeightLayout
    tensors: dict[str, Tensor]
    matched: Matched
    wrong: dict[str, tuple[torch.Size, torch.Size]]  # the file's name -> its shape, the network's

    @property
    def complete(self) -> bool:
        return bool(self.matched.matched) and not (self.wrong or self.matched.missing or self.matched.unexpected)


def fit_file(file: WeightFile, space: SearchSpace, architecture: Architecture, network: nn.Module) -> Fit:
    """Matches a file with a network of this architecture, in the layout that knows most of its names.

    Raises:
        UsageError: the file belongs to another network.
    """
    fit = _best(file.tensors, space, architecture, network)
    for module, what in fit.layout.unlike.items():
        if any(name.startswith(f"{module}.") for name in file.tensors):
            raise UsageError(f"{file.path} ({fit.layout.name}'s layout) has {module}: {what}")
    other = _other(file, architecture)
    if fit.wrong:
        shown = "; ".join(
            f"{name} is {_size(in_file)} in the file and {_size(in_network)} in the network"
            for name, (in_file, in_network) in list(fit.wrong.items())[:SHOWN]
        )
        raise UsageError(
            f"{file.path}: weights of another network, {len(fit.wrong)} shapes differ: {shown}{other}{_hint(file, space)}"
        )
    if not fit.matched.matched:
        raise UsageError(
            f"{file.path}: none of its tensors belongs to this {space.name} network; the file has "
            f"{_listed(_sizes(file.tensors))}, the network {_listed(_sizes(network.state_dict()))}{other}{_hint(file, space)}"
        )
    if other and (fit.matched.missing or fit.matched.unexpected):
        raise UsageError(f"{file.path}: {fit.matched}{other}")
    return fit


def _best(tensors: Mapping[str, Tensor], space: SearchSpace, architecture: Architecture, network: nn.Module) -> Fit:
    """The match in the layout that knows most of the file's names."""
    shapes, layouts = _sizes(network.state_dict()), _layouts(space, architecture, network)
    layout = max(layouts, key=lambda layout: sum(name in shapes for name in _renamed(tensors, layout).values()))
    theirs = {ours: name for name, ours in _renamed(tensors, layout).items()}
    found = {ours: tensors[name] for ours, name in theirs.items()}
    notes = list(layout.convert(found)) if layout.convert else []
    fitting = [name for name in shapes if name in found and _plain(found[name].shape) == _plain(shapes[name])]
    others = [name for name in shapes if name in found and name not in fitting]
    # Only if needed, because it builds two more networks.
    head = _head(space, architecture) if others or len(fitting) < len(shapes) / 2 else set()
    if set(fitting) <= head:  # the last layer alone does not identify a network
        fitting = []
    replaced = [name for name in shapes if name in head] if head & set(others) else []
    taken = {name: found[name].reshape(shapes[name]) for name in fitting if name not in replaced}
    if layout.norm_eps is not None:
        notes += _same_norms(taken, layout.norm_eps, network)
    known = set(theirs.values()) - {theirs[ours] for ours in found if ours not in shapes}
    matched = Matched(
        layout.name,
        tuple(taken),
        tuple(name for name in _weights(shapes) if name not in found),
        tuple(name for name in tensors if name not in known),
        tuple(replaced),
        tuple(notes),
    )
    wrong = {theirs[name]: (found[name].shape, shapes[name]) for name in others if name not in head}
    return Fit(layout, taken, matched, wrong)


def _layouts(space: SearchSpace, architecture: Architecture, network: nn.Module) -> list[WeightLayout]:
    own = {module: module for module, _, _ in (name.rpartition(".") for name in network.state_dict())}
    return [WeightLayout(OURS, own), *space.weight_layouts(architecture)]


def _weights(names: Iterable[str]) -> list[str]:
    """The names without the norms' batch counters, which a fixed momentum never reads and old files lack."""
    return [name for name in names if not name.endswith(".num_batches_tracked")]


def _renamed(names: Iterable[str], layout: WeightLayout) -> dict[str, str]:
    """The file's names that a layout knows, mapped to ours."""
    split = {name: name.rpartition(".") for name in names}
    return {
        name: f"{layout.modules[module]}{dot}{leaf}"
        for name, (module, dot, leaf) in split.items()
        if module in layout.modules
    }


def _head(space: SearchSpace, architecture: Architecture) -> set[str]:
    """The tensors whose size depends on the number of classes."""
    few, more = (_sizes(on_shapes(space, architecture, num_classes).state_dict()) for num_classes in (3, 4))
    return {name for name in few if few[name] != more[name]}


def _plain(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without trailing ones, because a 1x1x1 convolution and a linear layer have the same weights."""
    sizes = list(shape)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _same_norms(tensors: dict[str, Tensor], theirs: float, network: nn.Module) -> list[str]:
    """Scales the gains of norms with another epsilon, so that evaluation gives the same numbers."""
    changed = {}
    for name, module in network.named_modules():
        gain, variance = tensors.get(f"{name}.weight"), tensors.get(f"{name}.running_var")
        if isinstance(module, _BatchNorm) and module.eps != theirs and gain is not None and variance is not None:
            factor = ((variance.double() + module.eps) / (variance.double() + theirs)).sqrt()
            tensors[f"{name}.weight"] = (gain.double() * factor).to(gain.dtype)
            changed[name] = module.eps
    return [
        f"{list(changed.values()).count(ours)} norms have epsilon {ours:g}, the file's {theirs:g}: their gains are "
        "scaled to give the same numbers in evaluation"
        for ours in sorted(set(changed.values()))
    ]


# --- texts of errors -------------------------------------------------------------------------------------------------


def _other(file: WeightFile, architecture: Architecture) -> str:
    """How the architecture stated in the file differs from the network's."""
    stated = file.architecture
    if stated is None or stated == architecture:
        return ""
    if stated.family != architecture.family:
        return f"; the file is of the family {stated.family}, the network of {architecture.family}"
    return f"; from the file's architecture to the network's: {stated.changes(architecture)}"


def _hint(file: WeightFile, space: SearchSpace) -> str:
    names = [name for name, _ in points_that_fit(file.tensors, space)]
    return f"; {space.name} points that it fits: {', '.join(names)}" if names else ""


def _sizes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _listed(shapes: Shapes) -> str:
    first = ", ".join(f"{name} {_size(shape)}" for name, shape in list(shapes.items())[:SHOWN])
    return first + (f" and {len(shapes) - SHOWN} more" if len(shapes) > SHOWN else "")


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
