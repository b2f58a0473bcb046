"""How long a training is in optimiser steps, and AdamW in place of SGD."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from conftest import STUDIES
from torch import nn

from expand.config.loading import load_study
from expand.config.single_network import stretched
from expand.core.clip import Clip
from expand.core.errors import ExpandError
from expand.core.space import Architecture
from expand.core.study import Recipe
from expand.core.trial import Cost
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.loader import TrainingClips, batches
from expand.data.read_source import read_source
from expand.export import model_card
from expand.planning.trajectories import clips_seen
from expand.search.memory_check import least_bytes
from expand.storage.plans import Videos
from expand.training import checkpoint, state
from expand.training.identity import Identity
from expand.training.loop import Listener, set_up, train, training_step

CPU = torch.device("cpu")
CLIPS = (Clip(2, 2, 16, 16),)
RECIPE = Recipe(epochs=3, batch_size=8, views=1, learning_rate=0.02, warmup_epochs=0)  # three steps an epoch


@pytest.fixture(scope="module")
def caches(squares) -> list[ClipCache]:
    return [ClipCache(path) for path in prepare(read_source(squares), side=24)]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(3, 4, (2, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(4)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 3, 2, H, W)
        return self.head(self.drop(self.norm(self.conv(x)).relu().mean((2, 3, 4))))


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def identity(recipe: Recipe) -> Identity:
    return Identity(Architecture("small", ()), 0, recipe.epochs, recipe, ["clips"], ["folder"])


def trained(caches, folder, recipe, on_step=lambda *step: None):
    network = small()
    _, curve = train(
        network, CLIPS, *caches, identity(recipe), device=CPU, checkpoint_path=folder / "last.pt",
        listener=Listener(lambda entry: None, pytest.fail, on_step=on_step),
    )  # fmt: skip
    return network, [replace(entry, seconds=0) for entry in curve]


# --- the number of steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("videos", "batch", "epochs", "updates", "clips"),
    [
        (24, 8, 3, 0, 24), (24, 8, 3, 9, 24), (24, 8, 3, 10, 32), (24, 8, 3, 12, 32), (24, 8, 3, 13, 40),
        (25, 8, 1, 3, 25), (25, 8, 1, 4, 32), (26, 8, 1, 4, 26), (5, 16, 10, 10, 5), (5, 16, 10, 20, 32), (1, 2, 1, 1, 1),
        (0, 8, 3, 100, 0),
    ],
)  # fmt: skip
def test_clips_of_an_epoch(videos, batch, epochs, updates, clips):
    """25 videos in batches of 8 are three steps, because a single clip is no batch."""
    assert Recipe(epochs=epochs, batch_size=batch, updates=updates).clips_of_epoch(videos) == clips


def test_a_training_has_at_least_so_many_steps_and_the_same_number_of_validations(caches, tmp_path):
    steps: list[tuple[int, int, int]] = []
    network, curve = trained(caches, tmp_path, replace(RECIPE, updates=14), lambda *step: steps.append(step[:3]))
    assert [entry.epoch for entry in curve] == [1, 2, 3]
    assert steps == [(epoch, done, 5) for epoch in (1, 2, 3) for done in range(1, 6)]
    short, _ = trained(caches, tmp_path / "short", RECIPE)
    few, _ = trained(caches, tmp_path / "few", replace(RECIPE, updates=9))
    assert torch.equal(short.head.weight, few.head.weight) and not torch.equal(short.head.weight, network.head.weight)


def test_every_video_is_read_equally_often_with_other_augmentation(caches):
    """40 clips of 24 videos: each once, and 16 of them twice, which are others in the next epoch."""
    twice = []
    for epoch in range(2):
        data = TrainingClips(caches[0], CLIPS, replace(RECIPE, updates=15), seed=0, epoch=epoch)
        counts = Counter(data.videos)
        assert len(data) == 40 and len(counts) == 24 and sorted(counts.values()) == [1] * 8 + [2] * 16
        twice.append({video for video, count in counts.items() if count == 2})
        cropped = data.__getitems__(range(40))
        again = [(index, data.videos.index(data.videos[index])) for index in range(24, 40)]
        assert all(cropped.augmentations[a] != cropped.augmentations[b] for a, b in again)
        labels = [data.cache.labels[video] for video in data.videos]
        flipped = [
            data.mirrored[label] if a.flip else label for label, a in zip(labels, cropped.augmentations, strict=True)
        ]
        assert cropped.labels.tolist() == flipped and data.name(30) == caches[0].names[data.videos[30]]
    assert twice[0] != twice[1]


def test_the_first_clips_are_those_of_a_single_pass_and_loader_processes_change_nothing(caches):
    once = TrainingClips(caches[0], CLIPS, RECIPE, seed=3, epoch=1)
    more = TrainingClips(caches[0], CLIPS, replace(RECIPE, updates=20), seed=3, epoch=1)
    assert torch.equal(once.__getitems__(range(24)).streams[0], more.__getitems__(range(24)).streams[0])
    here, there = (list(batches(more, 8, shuffle_seed=5, workers=workers)) for workers in (0, 1))
    assert len(here) == 7
    assert all(torch.equal(a[0], b[0]) and torch.equal(la, lb) for (a, la), (b, lb) in zip(here, there, strict=True))


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_training_that_stops_within_an_epoch_is_resumed_to_the_same_digits(caches, tmp_path, monkeypatch, optimiser):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    recipe = replace(RECIPE, updates=15, optimiser=optimiser, ema=0.5)

    def kill(epoch: int, done: int, steps: int, loss: float) -> None:
        if (epoch, done) == (2, 4):  # in the clips that are read once more
            raise Killed

    with pytest.raises(Killed):
        trained(caches, tmp_path / "broken", recipe, kill)
    assert checkpoint.load(tmp_path / "broken" / "last.pt")["steps"] == 4
    resumed, curve = trained(caches, tmp_path / "broken", recipe)
    whole, expected = trained(caches, tmp_path / "whole", recipe)
    assert curve == expected
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_what_is_counted_knows_the_clips():
    study = load_study(str(STUDIES / "tiny.py"))
    study = replace(study, recipe=replace(study.recipe, epochs=2, batch_size=8, updates=20, views=3))
    videos = Videos(24, 12, 3, "mine")
    assert clips_seen(study, 2, videos) == (2 * 80, (1 + 3) * 12)
    few = Cost(10, 10, 10, 10, (), training_bytes=1000)
    assert least_bytes(few, study, 5) == 12 * 10 + 8 * 1000
    assert least_bytes(few, replace(study, recipe=replace(study.recipe, updates=0)), 5) == 12 * 10 + 5 * 1000
    longer = stretched(Recipe(epochs=10, updates=95), 40)
    assert longer.updates == 400 and longer.clips_of_epoch(20) == Recipe(epochs=10, updates=95).clips_of_epoch(20)


# --- the optimiser ---------------------------------------------------------------------------------------------------


def test_adamw_decays_matrices_and_kernels_only_apart_from_the_gradient():
    """Without a gradient, the first step only decays: by the learning rate times the weight decay."""
    recipe = Recipe(optimiser="adamw", learning_rate=0.1, weight_decay=0.5)
    network, before = small(), small().state_dict()
    optimiser, _ = set_up(network, recipe, CPU)
    assert [group["betas"] for group in optimiser.param_groups] == [(0.9, 0.999)] * 2
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, value in network.named_parameters():
        assert torch.allclose(value, before[name] * (0.95 if value.ndim > 1 else 1.0)), name


def test_a_step_of_adamw_is_the_sign_of_the_gradient_also_with_scaled_gradients():
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=256.0)):
        network, before = small(), small().state_dict()
        recipe = Recipe(optimiser="adamw", learning_rate=0.01, weight_decay=0.0, clip_gradient_norm=1.0, dropout=0.0)
        optimiser, ours = set_up(network, recipe, CPU)
        streams, labels = (
            [torch.randn(8, 3, 2, 16, 16, generator=torch.Generator().manual_seed(0))],
            torch.arange(8) % 3,
        )
        training_step(network, optimiser, scaler or ours, streams, labels, recipe, CPU)
        step = network.head.weight - before["head.weight"]
        assert torch.allclose(step.abs(), torch.tensor(0.01), rtol=1e-2)


def test_a_frozen_trunk_has_no_part_in_adamw():
    network = small()
    optimiser, _ = set_up(network, Recipe(optimiser="adamw", weights="w", freeze=True), CPU)
    assert {id(p) for group in optimiser.param_groups for p in group["params"]} == {
        id(p) for p in network.head.parameters()
    }


def test_both_are_off_in_older_runs_and_part_of_a_trainings_identity():
    plain = identity(RECIPE)
    assert "updates" not in plain.text() and "optimiser" not in plain.text()
    assert plain.has(identity(replace(RECIPE, updates=0, optimiser="sgd")).text())
    for other in ({"updates": 100}, {"optimiser": "adamw"}):
        assert not plain.has(identity(replace(RECIPE, **other)).text())
    for wrong in ({"updates": -1}, {"optimiser": "adam"}):
        with pytest.raises(ExpandError, match=f"recipe.{next(iter(wrong))}"):
            Recipe(**wrong)


def test_the_model_card_says_both():
    made = vars(Recipe(updates=3000, optimiser="adamw")) | {"seed": 0, "seconds": 3.0, "device": "cpu"}
    videos = {"name": "mine", "train": 2, "val": 1, "cache_side": 96, "fingerprint": "f"}
    said = "\n".join(model_card._training({"training": made, "videos": videos, "environment": {}}))
    assert "12 epochs (at least 3,000 steps)" in said and "- AdamW, batches of 16" in said
