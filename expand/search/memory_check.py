"""Whether this machine's memory holds a batch of the smallest candidate."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.core.study import Recipe, Study
from expand.core.trial import Cost, Suggestion
from expand.core.units import format_bytes

CountCost = Callable[[Architecture], Cost]


def least_bytes(cost: Cost, study: Study, videos: int, *, halved: bool = False) -> float:
    """The least memory for training one network on so many videos: weights, gradients, optimiser state, and what autograd saves
    of a batch, which is almost nothing if only the head learns, and `halved` in mixed precision. 0 for what was not counted."""
    recipe = study.recipe
    if recipe.freeze or cost.training_bytes is None:
        return 4.0 * cost.params
    kept = cost.training_bytes / 2 if halved and recipe.mixed_precision else cost.training_bytes
    return state_bytes(recipe) * cost.params + min(recipe.batch_size, recipe.clips_of_epoch(videos)) * kept


def state_bytes(recipe: Recipe) -> float:
    """Bytes per parameter of weights, gradients and the optimiser's averages."""
    return 16.0 if recipe.optimiser == "adamw" else 12.0


@dataclass(frozen=True)
class Memory:
    """The most memory that training can use on this machine: all of a GPU, or all of the main memory and swap."""

    bytes: int
    where: str
    cuda: bool = False


def memory_here() -> Memory:
    import torch

    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())]
        return Memory(max(gpus), "the GPU", True)
    import psutil

    return Memory(psutil.virtual_memory().total + psutil.swap_memory().total, "this machine")


def require_memory(study: Study, costs: Sequence[Cost], videos: int, memory: Memory) -> None:
    """Raises `UsageError` if none of these networks can be trained in this memory."""
    if not costs:
        return
    least = min(least_bytes(cost, study, videos, halved=memory.cuda) for cost in costs)
    if least > memory.bytes:
        batch = min(study.recipe.batch_size, study.recipe.clips_of_epoch(videos))
        raise UsageError(
            f"recipe.batch_size={study.recipe.batch_size}: training the smallest candidate on batches of {batch:,} clips "
            f"takes about {format_bytes(least)}, {memory.where} has {format_bytes(memory.bytes)}; "
            f"at most about {max(2, int(batch * memory.bytes / least)):,} would fit"
        )


def require_memory_for_one(study: Study, first: Sequence[Suggestion], count: CountCost, videos: int) -> None:
    """Raises `UsageError` if this machine cannot train even the smallest of the first networks of a search."""
    networks = {suggestion.architecture for suggestion in first}
    if any(suggestion.kind == "sample" for suggestion in first):
        networks.add(study.space.start)  # later samples may be smaller than the first ones
    costs = []
    for network in networks:
        with contextlib.suppress(Exception):  # a network that cannot be counted becomes a failed trial with its reason
            costs.append(count(network))
    require_memory(study, costs, videos, memory_here())
