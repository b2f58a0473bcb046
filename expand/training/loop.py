"""The training loop, from top to bottom in the order of execution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from expand.core.attempt import Curve, Epoch
from expand.core.clip import Clip
from expand.core.study import Recipe
from expand.core.trial import Metrics
from expand.data.cache.device_cache import cache_on_device
from expand.data.loader import TrainingClips, batches, mix
from expand.training.device import amp_dtype, as_trained, autocast, put
from expand.training.ema import AveragedWeights
from expand.training.finetune import freeze_trunk, training_mode
from expand.training.identity import Identity
from expand.training.kernels.replace import speed_up
from expand.training.multi_view import validate
from expand.training.optim import learning_rate, optimiser_of
from expand.training.state import NonFiniteLoss, State

if TYPE_CHECKING:
    from expand.data.cache.clip_cache import ClipCache

OnStep = Callable[[int, int, int, float], None]


@dataclass(frozen=True)
class Listener:
    """Callbacks of a training.

    Attributes:
        on_epoch: after each epoch.
        note: with a line about a checkpoint that was not used.
        goes_on: before each epoch with the number of epochs done: whether the training goes on. If not it pauses.
        on_step: after each batch with the epoch, batches done, batches per epoch, and the mean loss so far.
    """

    on_epoch: Callable[[Epoch], None]
    note: Callable[[str], None]
    on_step: OnStep = lambda epoch, done, steps, loss: None
    goes_on: Callable[[int], bool] = lambda epochs: True


def train(
    network: nn.Module,
    clips: Sequence[Clip],
    training: ClipCache,
    validation: ClipCache,
    identity: Identity,
    *,
    device: torch.device,
    checkpoint_path: Path,
    listener: Listener,
) -> tuple[Metrics, Curve]:
    """Trains for the epochs of `identity` and validates after each. Epochs before the last are validated with a single centre
    clip.

    If the recipe averages the weights, the average is validated, and `network` has it in the end.

    Args:
        clips: what each stream of the network reads.
        identity: what the results depend on: recipe, seed and the rest.
        checkpoint_path: a checkpoint there with the same `identity` is resumed.

    Returns:
        The metrics of the last epoch and the learning curve. If the training paused, the curve is shorter than the epochs, and
        the metrics have one view instead of those of the recipe.

    Raises:
        NonFiniteLoss: a loss is not finite. Every step is checked, but not immediately (`State.end_step`).
    """
    recipe, epochs, seed = identity.recipe, identity.epochs, identity.seed
    optimiser, scaler = set_up(network, recipe, device)
    average = AveragedWeights(network, recipe.ema) if recipe.ema else None
    state = State(network, optimiser, scaler, average, checkpoint_path, identity)
    state.restore(listener.note)
    # A quarter of the free memory: several trials may share a GPU, and networks need memory too.
    source = (cache_on_device(training, device, share=0.25) if device.type == "cuda" else None) or training
    for epoch in range(len(state.curve), epochs):
        if not listener.goes_on(epoch):
            break
        state.start_clock()
        data = TrainingClips(source, clips, recipe, seed=seed, epoch=epoch, mirrored=identity.mirrored)
        _train_one_epoch(state, data, recipe, epoch=epoch, seed=seed, device=device, on_step=listener.on_step)
        views = recipe.views if epoch + 1 == epochs else 1  # one view is enough for the learning curve
        with autocast(device, wanted=recipe.mixed_precision):
            metrics = validate(state.validated, validation, clips, recipe, views=views, device=device)
        # The last step's update can ruin a network whose training losses were finite.
        if not math.isfinite(metrics.loss):
            raise NonFiniteLoss(f"non-finite validation loss after epoch {epoch + 1}")
        entry = Epoch(
            epoch + 1, round(state.loss, 6), metrics.top1, metrics.loss, views,
            learning_rate=optimiser.param_groups[0]["lr"], seconds=round(state.elapsed(), 3),
        )  # fmt: skip
        state.end_epoch(entry, metrics)
        listener.on_epoch(entry)
    if state.average is not None:
        network.load_state_dict(state.average.network.state_dict())
    assert state.metrics is not None, "a recipe trains at least one epoch"
    return state.metrics, state.curve


def set_up(
    network: nn.Module, recipe: Recipe, device: torch.device
) -> tuple[torch.optim.Optimizer, torch.amp.GradScaler]:
    """Prepares a network for training on a device; returns its optimiser and GradScaler."""
    put(network, device)
    if device.type == "cpu":
        speed_up(network)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = recipe.dropout
    if recipe.freeze:
        freeze_trunk(network)
    scaled = recipe.mixed_precision and device.type == "cuda" and amp_dtype() is torch.float16
    return optimiser_of(network, recipe, device), torch.amp.GradScaler(device.type, enabled=scaled)


def training_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    streams: Sequence[torch.Tensor],
    labels: torch.Tensor,
    recipe: Recipe,
    device: torch.device,
) -> torch.Tensor:
    """One optimiser step on a batch: forward, loss, backward, update.

    Args:
        streams: (B, C, T, H, W) per stream.
        labels: (B,), or (B, classes) if clips are mixed.

    Returns:
        The loss, still on the device, because reading it would stop a GPU in every step.
    """
    with autocast(device, wanted=recipe.mixed_precision):
        logits = network(*(as_trained(stream, device) for stream in streams))
        loss = functional.cross_entropy(logits.float(), labels.to(device), label_smoothing=recipe.label_smoothing)
    optimiser.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    if recipe.clip_gradient_norm is not None:
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_gradient_norm)
    scaler.step(optimiser)
    scaler.update()
    return loss.detach()


def _train_one_epoch(
    state: State,
    data: TrainingClips,
    recipe: Recipe,
    *,
    epoch: int,
    seed: int,
    device: torch.device,
    on_step: OnStep,
) -> None:
    """Trains on the clips of an epoch, except the batches that `state` has already done."""
    training_mode(state.network, frozen=recipe.freeze)
    steps = -(-len(data) // recipe.batch_size)
    shuffled = batches(
        data, recipe.batch_size, shuffle_seed=mix(seed, epoch, 1), workers=recipe.loader_workers, device=device,
        skip=state.steps,
    )  # fmt: skip
    for streams, labels in shuffled:
        step = state.steps
        torch.manual_seed(mix(seed, epoch, step, 2))  # for dropout, the same in a resumed training
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, epoch + step / steps)
        loss = training_step(state.network, state.optimiser, state.scaler, streams, labels, recipe, device)
        state.end_step(loss, len(labels))
        on_step(epoch + 1, state.steps, steps, state.loss)
    state.check_losses()
