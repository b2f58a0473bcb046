"""SGD with Nesterov momentum, or AdamW; the half-period cosine of SlowFast and X3D or C3D's steps, after a linear warm-up."""

from __future__ import annotations

import math

import torch
from torch import nn

from expand.core.study import Recipe


def optimiser_of(network: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only: not on norms, not on biases."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = device.type != "mps"
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.999), fused=fused)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused
    )


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """The learning rate at `epoch`, which counts parts of epochs as fractions.

    It is base x (1 + cos(pi x epoch / epochs)) / 2, or base / 10 for each `decay_every` epochs passed. During the warm-up, which
    takes at most half of the training, it rises linearly from `warmup_learning_rate` to the schedule's value at its end.
    """
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2)
    if epoch < warmup:
        end = _scheduled(recipe, warmup)
        return recipe.warmup_learning_rate + (end - recipe.warmup_learning_rate) * epoch / warmup
    return _scheduled(recipe, epoch)


def _scheduled(recipe: Recipe, epoch: float) -> float:
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.1 ** int(epoch / recipe.decay_every)
    return recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
