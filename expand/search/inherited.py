"""A worker's start of a network from its parent's weights, before the training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from expand.config.single_network import inherited
from expand.core.attempt import InheritedWeights
from expand.core.errors import ExpandError
from expand.core.space import Architecture, SearchSpace
from expand.core.study import Recipe
from expand.core.trial import Suggestion
from expand.storage.run_directory import Record
from expand.training.device import put
from expand.training.multi_view import validate
from expand.training.norms import estimate_norms
from expand.weights.files import read
from expand.weights.grow import inherit, plan_growth

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache


@dataclass(frozen=True)
class Parent:
    """The trial whose weights a network starts from; `weights` is their file."""

    number: int
    architecture: Architecture
    weights: str

    def sha256(self) -> str:
        """Of the weights.

        Raises:
            ExpandError: the file is gone.
        """
        try:
            return hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise ExpandError(f"{self.weights} is gone: trial {self.number} has no weights to start from") from None


def start_of(suggestion: Suggestion, recipe: Recipe, record: Record) -> tuple[Recipe, Parent | None]:
    """The recipe of a training, and the trial whose weights it starts from."""
    number = suggestion.inherit
    if number is None:
        return recipe, None
    parent = Parent(number, record.trial(number).architecture, str(record.weights(number)))
    return inherited(recipe, suggestion.epochs), parent


def start_from_parent(
    network: nn.Module,
    parent: Parent,
    space: SearchSpace,
    child: Architecture,
    caches: tuple[ClipCache, ClipCache],
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
) -> InheritedWeights:
    """Gives a newly built network the weights of its parent, in place, and says how accurate it is before any training.

    Where it does not compute what its parent did, such as with longer clips, the statistics of its norms are estimated anew.

    Raises:
        UsageError: the weights are missing or damaged, or cannot be inherited.
    """
    training, validation = caches
    growth = plan_growth(space, parent.architecture, child, len(training.classes))
    inherit(network, read(Path(parent.weights)).tensors, growth)
    put(network, device)
    clips = space.inputs(child)
    if not growth.preserved:
        estimate_norms(network, training, clips, recipe, seed=seed, device=device)
    metrics = validate(network, validation, clips, recipe, views=1, device=device)
    return InheritedWeights(parent.number, round(metrics.top1, 6), growth.differences)
