"""The training loop: what happens, in the order in which it happens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from expand.data.loader import TrainingClips, batches, mix
from expand.errors import ExpandError
from expand.space import Clip
from expand.study import Recipe
from expand.training import checkpoint
from expand.training.depthwise import speed_up
from expand.training.device import amp_dtype, autocast
from expand.training.optim import learning_rate, sgd
from expand.training.views import to_device, validate
from expand.trial import Metrics

if TYPE_CHECKING:
    from expand.data.cache import ClipCache

Curve = list[dict[str, Any]]


class NonFiniteLoss(ExpandError):
    """Training went to NaN or infinity."""


def train(
    network: nn.Module,
    clips: Sequence[Clip],
    training: ClipCache,
    validation: ClipCache,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    device: torch.device,
    checkpoint_path: Path,
    identity: str,
    on_epoch: Callable[[dict[str, Any]], None],
    note: Callable[[str], None],
) -> tuple[Metrics, Curve]:
    """Trains to `epochs` and validates after each, going on from `checkpoint_path` where there is one of this `identity`
    (whatever tells this training from others). `note` hears about checkpoints that were not used.

    `on_epoch` gets one plain dict an epoch: epoch (from 1), loss, top1, val_loss, views, learning_rate, seconds. Epochs
    before the last are validated with a single centre clip; what is returned has all of the recipe's views.

    Raises:
        NonFiniteLoss: the loss is not a number any more.
    """
    optimiser, scaler = set_up(network, recipe, device)
    curve: Curve = []
    metrics: Metrics | None = None
    saved, damage = checkpoint.load_latest(checkpoint_path)
    if damage:
        note(damage)
    if saved is not None and saved["identity"] != identity:
        note(f"{checkpoint_path} is of another training and was not used")
    elif saved is not None:
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        scaler.load_state_dict(saved["scaler"])
        curve, metrics = saved["curve"], Metrics(**saved["metrics"])

    # A quarter of what is free: several trials may share a GPU, and networks need room.
    source = (training.on_device(device, share=0.25) if device.type == "cuda" else None) or training
    for epoch in range(len(curve), epochs):
        began = time.perf_counter()
        data = TrainingClips(source, clips, recipe, seed=seed, epoch=epoch)
        loss = _train_one_epoch(network, optimiser, scaler, data, recipe, epoch=epoch, seed=seed, device=device)
        views = recipe.views if epoch + 1 == epochs else 1  # the curve needs no more than one
        with autocast(device, wanted=recipe.mixed_precision):
            metrics = validate(network, validation, clips, recipe, views=views, device=device)
        # The last step's update can ruin a network whose training losses were finite.
        if not math.isfinite(metrics.loss):
            raise NonFiniteLoss(f"non-finite validation loss after epoch {epoch + 1}")
        curve.append({
            "epoch": epoch + 1, "loss": round(loss, 6), "top1": metrics.top1, "val_loss": metrics.loss, "views": views,
            "learning_rate": optimiser.param_groups[0]["lr"], "seconds": round(time.perf_counter() - began, 3),
        })  # fmt: skip
        checkpoint.save(checkpoint_path, {
            "network": network.state_dict(), "optimiser": optimiser.state_dict(), "scaler": scaler.state_dict(),
            "curve": curve, "metrics": asdict(metrics), "identity": identity,
        })  # fmt: skip
        on_epoch(curve[-1])
    assert metrics is not None, "a recipe trains at least one epoch"
    return metrics, curve


def set_up(
    network: nn.Module, recipe: Recipe, device: torch.device
) -> tuple[torch.optim.Optimizer, torch.amp.GradScaler]:
    """Puts a network onto its device as it is trained there; its optimiser and what scales its losses."""
    layout = torch.contiguous_format if device.type == "mps" else torch.channels_last_3d
    network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    if device.type == "cpu":
        speed_up(network)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = recipe.dropout
    scaled = recipe.mixed_precision and device.type == "cuda" and amp_dtype() is torch.float16
    return sgd(network, recipe, device), torch.amp.GradScaler(device.type, enabled=scaled)


def training_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    streams: Sequence[torch.Tensor],
    labels: torch.Tensor,
    recipe: Recipe,
    device: torch.device,
) -> float:
    """One batch, (B, C, T, H, W) a stream, with labels (B,), or (B, classes) where clips are mixed: forward, loss, backward,
    SGD. The loss; where it is not finite nothing is updated."""
    with autocast(device, wanted=recipe.mixed_precision):
        logits = network(*(to_device(stream, device) for stream in streams))
        loss = functional.cross_entropy(logits.float(), labels.to(device), label_smoothing=recipe.label_smoothing)
    value = loss.item()
    if not math.isfinite(value):
        return value
    optimiser.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    if recipe.clip_gradient_norm is not None:
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_gradient_norm)
    scaler.step(optimiser)
    scaler.update()
    return value


def _train_one_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    data: TrainingClips,
    recipe: Recipe,
    *,
    epoch: int,
    seed: int,
    device: torch.device,
) -> float:
    """Every training video once; the mean loss."""
    torch.manual_seed(mix(seed, epoch))  # dropout, the same whether or not training was interrupted before
    network.train()
    total, seen, steps = 0.0, 0, -(-len(data) // recipe.batch_size)
    shuffled = batches(
        data, recipe.batch_size, shuffle_seed=mix(seed, epoch, 1), workers=recipe.loader_workers, device=device,
    )  # fmt: skip
    for step, (streams, labels) in enumerate(shuffled):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, epoch + step / steps)
        value = training_step(network, optimiser, scaler, streams, labels, recipe, device)
        if not math.isfinite(value):
            raise NonFiniteLoss(f"non-finite loss ({value}) at step {step + 1} of epoch {epoch + 1}")
        total, seen = total + value * len(labels), seen + len(labels)
    return total / max(seen, 1)
