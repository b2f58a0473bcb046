"""SGD with Nesterov momentum and the half-period cosine with linear warm-up of SlowFast and X3D."""

from __future__ import annotations

import math

import torch
from torch import nn

from expand.study import Recipe


def sgd(network: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.SGD:
    """Weight decay on matrices and kernels only: not on norms, not on biases."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=device.type != "mps"
    )


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """At `epoch`, a fraction of the way being a fraction: base x (1 + cos(pi x epoch / epochs)) / 2, after a straight
    line from `warmup_learning_rate` to where the cosine stands when the warm-up ends. A warm-up takes at most half of a
    training, however few its epochs."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2)
    if epoch < warmup:
        end = _cosine(recipe, warmup)
        return recipe.warmup_learning_rate + (end - recipe.warmup_learning_rate) * epoch / warmup
    return _cosine(recipe, epoch)


def _cosine(recipe: Recipe, epoch: float) -> float:
    return recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
