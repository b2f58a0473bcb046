"""Scores from one batch by hand, and every score for every family."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from expand.core.errors import UsageError
from expand.counting.cost import MacsCounter
from expand.counting.one_batch import Batch, ScoreError, gradient_norm, random_batch, synflow
from expand.counting.scores import FROM_SHAPES, SCORES
from expand.testing.simulated_search import MadeUpCosts
from search_spaces.c3d import C3DSpace
from search_spaces.mixed_conv import MixedConvSpace
from search_spaces.x3d import X3DSpace

CLIP = ((3, 2, 4, 4),)


def small(classes: int = 3, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(128, classes))


def test_the_gradients_of_one_matrix_by_hand() -> None:
    generator = np.random.default_rng(0)
    clips, matrix, labels = generator.normal(size=(5, 6)), generator.normal(size=(3, 6)), np.array([0, 1, 2, 0, 1])

    def build() -> nn.Module:
        network = nn.Linear(6, 3, bias=False)
        network.weight.data = torch.tensor(matrix)
        return network

    powers = np.exp(clips @ matrix.T)
    errors = powers / powers.sum(1, keepdims=True) - np.eye(3)[labels]
    batch = Batch((torch.tensor(clips),), torch.tensor(labels))
    assert gradient_norm(build, batch) == pytest.approx(np.linalg.norm(errors.T @ clips / 5))


def test_synflow_of_a_chain_by_hand() -> None:
    """Each layer's weights times their gradients sum to the output of the positive network: 2 outputs of two layers."""

    def build() -> nn.Module:
        chain = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
        chain[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
        chain[1].weight.data = torch.tensor([[-5.0, 6.0]])
        return chain

    assert synflow(build, ((2,),)) == pytest.approx(math.log(2 * (5 * 3 + 6 * 7)))


def test_norms_let_the_flow_pass_and_norms_that_begin_at_zero_hide_no_layer() -> None:
    def block(scale: float) -> nn.Module:
        layers = nn.Sequential(
            nn.Conv3d(3, 4, 1, bias=False), nn.BatchNorm3d(4), nn.Flatten(), nn.Linear(128, 3, bias=False)
        )
        nn.init.constant_(layers[1].weight, scale)
        return layers

    bare = partial(lambda: nn.Sequential(*(layer for layer in block(1) if not isinstance(layer, nn.BatchNorm3d))))
    assert (
        synflow(partial(block, 0.0), CLIP) == synflow(partial(block, 7.0), CLIP) == pytest.approx(synflow(bare, CLIP))
    )
    batch = random_batch(CLIP, 3)
    assert gradient_norm(partial(block, 0.0), batch) == gradient_norm(partial(block, 1.0), batch) > 0


def test_a_score_is_the_same_again_and_leaves_torchs_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    batch = random_batch(CLIP, 3)
    one = gradient_norm(small, batch), synflow(small, CLIP)
    torch.manual_seed(99)
    between = torch.get_rng_state()
    assert (gradient_norm(small, random_batch(CLIP, 3)), synflow(small, CLIP)) == one
    assert torch.equal(torch.get_rng_state(), between) and not torch.equal(before, between)
    assert gradient_norm(partial(small, dropout=0.9), batch) == one[0]
    assert gradient_norm(small, random_batch(CLIP, 3, seed=1)) != one[0] != gradient_norm(small, batch, seed=1)


@pytest.mark.parametrize(
    "score", [lambda build: gradient_norm(build, random_batch(CLIP, 3)), lambda build: synflow(build, CLIP)]
)
def test_what_is_not_finite_is_no_score(score) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(96, 3)

        def forward(self, x):
            return self.fc(x.flatten(1)) * math.inf

    with pytest.raises(ScoreError, match="which ranks nothing"):
        score(Broken)


@pytest.mark.parametrize("space", [X3DSpace(), C3DSpace(), MixedConvSpace()], ids=lambda space: space.name)
def test_every_score_of_every_family(space) -> None:
    values = {"frames": 9, "resolution": 17} if space.name == "c3d" else {"frames": 2, "resolution": 32}
    thin, wide = (space.architecture(**values, width=width) for width in (0.1, 0.3))
    counter = MacsCounter(space, 3)
    for name in SCORES:
        low, high = counter.score(name, thin), counter.score(name, wide)
        assert math.isfinite(low) and math.isfinite(high) and low != high
        assert name == "gradient_norm" or low < high  # the others grow with the width
    assert counter.score("macs", thin) == counter(thin) and counter.score("params", thin) == counter.cost(thin).params
    assert set(FROM_SHAPES) < set(SCORES)


def test_an_unknown_score_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown score 'entropi'; did you mean 'entropy'"):
        MacsCounter(X3DSpace(), 3).score("entropi", X3DSpace().start)


def test_made_up_costs_have_scores_too() -> None:
    start = X3DSpace().start
    assert MadeUpCosts(lambda network: 7).score("entropy", start) == 7
    assert MadeUpCosts(lambda network: 7, lambda network: 0.5).score("entropy", start) == 0.5
