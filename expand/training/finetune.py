"""Training the head alone, with a frozen trunk."""

from __future__ import annotations

from torch import nn


def head_of(network: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the last layer that a network defines, which computes the logits.

    Raises:
        ValueError: the network has no linear or convolutional layer.
    """
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv3d))]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no linear or convolutional layer that could be its head")
    return layers[-1]


def freeze_trunk(network: nn.Module) -> None:
    """Disables gradients of all parameters except the head's."""
    network.requires_grad_(False)
    head_of(network)[1].requires_grad_(True)


def training_mode(network: nn.Module, *, frozen: bool) -> None:
    """Sets training mode. In a frozen network only dropout is in training mode, so that norms keep their statistics."""
    network.train(not frozen)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
