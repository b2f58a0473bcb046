"""Training the head alone, on top of a trunk that stays as it was."""

from __future__ import annotations

from torch import nn


def head_of(network: nn.Module) -> tuple[str, nn.Module]:
    """The last layer that a network defines, which gives the logits: its name and itself.

    Raises:
        ValueError: the network has no linear or convolutional layer at all.
    """
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv3d))]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no linear or convolutional layer that could be its head")
    return layers[-1]


def freeze_trunk(network: nn.Module) -> None:
    """No gradients but for the head's parameters."""
    network.requires_grad_(False)
    head_of(network)[1].requires_grad_(True)


def training_mode(network: nn.Module, *, frozen: bool) -> None:
    """Everything in training mode; of a frozen network dropout alone, so that its norms keep their statistics."""
    network.train(not frozen)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
