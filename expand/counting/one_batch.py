"""Scores of a network before training that need one batch: the norm of its gradients, and SynFlow.

Both run the network at its initialisation, drawn from a fixed seed, with dropout off. Norms whose scale begins at 0, which make a
residual block begin as its shortcut, get the scale 1: at 0 they hide all layers of their block. This is ours.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from expand.core.errors import ExpandError
from expand.counting.meta_counter import Shape

CLIPS, SEED = 8, 0  # of the batch of random numbers
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


class ScoreError(ExpandError):
    """The score of a network is not a finite number."""


@dataclass(frozen=True)
class Batch:
    """Labelled clips.

    Attributes:
        clips: (B, C, T, H, W), one tensor per stream, normalised as in training.
        labels: (B,): classes as whole numbers.
    """

    clips: tuple[torch.Tensor, ...]
    labels: torch.Tensor


def random_batch(shapes: Sequence[Shape], num_classes: int, *, clips: int = CLIPS, seed: int = SEED) -> Batch:
    """Clips of normal random numbers, which is what normalised clips look like to a network that knows nothing; the labels go
    round the classes.

    Args:
        shapes: one (C, T, H, W) per stream.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = tuple(torch.randn(clips, *shape, generator=generator) for shape in shapes)
    return Batch(drawn, torch.arange(clips) % num_classes)


def gradient_norm(build: Callable[[], nn.Module], batch: Batch, *, seed: int = SEED) -> float:
    """The sum of the L2 norms of the cross-entropy's gradients by each kernel and matrix, after one batch.

    Source: `grad_norm` of M. S. Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021 (arXiv 2101.08134),
    section 3.1. The network is in training mode, so that its norms use the batch's own statistics.

    Args:
        build: returns the network, initialised from torch's random state.

    Raises:
        ScoreError: the score is not a finite number.
    """
    network = _initialised(build, seed).train()
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    with torch.enable_grad():
        cross_entropy(network(*batch.clips), batch.labels).backward()
    norms = [float(weight.grad.norm()) for weight in _weights(network) if weight.grad is not None]
    return _finite(math.fsum(norms), "gradient_norm")


def synflow(build: Callable[[], nn.Module], shapes: Sequence[Shape], *, seed: int = SEED) -> float:
    """The logarithm of SynFlow: of the sum over all kernels and matrices of weight times gradient, all weights positive.

    Source: H. Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020
    (arXiv 2006.05467), equation 2, summed over a network as in arXiv 2101.08134. The gradient is that of the sum of the outputs
    for a clip of ones; norms let everything pass. In float64, because the sum has tens of digits.

    Args:
        build: returns the network, initialised from torch's random state.
        shapes: one (C, T, H, W) per stream.

    Raises:
        ScoreError: the score is not a finite number.
    """
    network = _initialised(build, seed).eval().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    with _without_norms(network), torch.enable_grad():
        network(*(torch.ones(1, *shape, dtype=torch.float64) for shape in shapes)).sum().backward()
    flow = sum(float((weight.detach() * weight.grad).sum()) for weight in _weights(network) if weight.grad is not None)
    return _finite(math.log(flow) if flow > 0 else -math.inf, "synflow")


def _initialised(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The network as this seed initialises it, without a change of torch's own random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, NORMS) and module.weight is not None and not module.weight.any():
                module.weight.fill_(1.0)
    return network


def _weights(network: nn.Module) -> Iterator[nn.Parameter]:
    """Kernels and matrices: no biases, no norms."""
    return (parameter for parameter in network.parameters() if parameter.dim() > 1)


@contextlib.contextmanager
def _without_norms(network: nn.Module) -> Iterator[None]:
    """While this is open, norms return their input."""
    hooks = [
        module.register_forward_hook(lambda _, inputs, __: inputs[0])
        for module in network.modules()
        if isinstance(module, NORMS)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _finite(score: float, name: str) -> float:
    if not math.isfinite(score):
        raise ScoreError(f"{name} is {score}, which ranks nothing")
    return score
