"""Statistics of batch norms, estimated anew on training clips: for weights that meet clips of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from expand.core.clip import Clip
from expand.core.study import Recipe
from expand.data.loader import TrainingClips, batches, mix
from expand.training.device import as_trained, autocast

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache

CLIPS = 200


@torch.no_grad()
def estimate_norms(
    network: nn.Module, cache: ClipCache, clips: Sequence[Clip], recipe: Recipe, *, seed: int, device: torch.device
) -> None:
    """Replaces the running statistics of all batch norms by their mean over some CLIPS training clips (at least one batch)."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    data = TrainingClips(cache, clips, recipe, seed=seed, epoch=0)
    shuffled = batches(data, recipe.batch_size, shuffle_seed=mix(seed, 0, 3), device=device)
    for _, (streams, _) in zip(range(-(-CLIPS // recipe.batch_size)), shuffled, strict=False):
        with autocast(device, wanted=recipe.mixed_precision):
            network(*(as_trained(stream, device) for stream in streams))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
