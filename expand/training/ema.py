"""An exponential moving average of a network's weights, which is validated and stored if `Recipe.ema` is set."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class AveragedWeights:
    """average <- d average + (1 - d) weights after every step n = 1, 2, ..., with d = min(decay, (1 + n) / (10 + n)).

    This is TensorFlow's `ExponentialMovingAverage` with `num_updates`: the first, random weights soon lose their influence.
    Running statistics of batch norms are averaged like weights, because they belong to the weights of the same step; whole
    numbers (a norm's count of batches) are copied. `network` is the averaged network, always in eval mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Updates the average with the weights after one more step."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], share)
        for old, new in pairs:
            if not old.is_floating_point():
                old.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.steps = state["steps"]
