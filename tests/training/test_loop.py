"""One step of training, by numbers: what is clipped, scaled, smoothed, averaged, in which precision and memory layout."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from expand.core.clip import Clip
from expand.core.space import Architecture
from expand.core.study import Recipe
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.read_source import read_source
from expand.training import checkpoint, device, state
from expand.training.ema import AveragedWeights
from expand.training.identity import Identity
from expand.training.loop import Listener, NonFiniteLoss, set_up, train, training_step
from expand.training.multi_view import validate
from expand.training.state import State

CPU = torch.device("cpu")
CLIPS = (Clip(2, 2, 16, 16),)
PLAIN = Recipe(
    epochs=1, batch_size=8, views=1, learning_rate=1.0, momentum=0.0, nesterov=False, weight_decay=0.0, dropout=0.0
)  # fmt: skip


class Small(nn.Module):
    """A convolution and a head. `seen` holds the type of what the convolution answered and the layout of what it read."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, (2, 3, 3), padding=(0, 1, 1))
        self.head = nn.Linear(4, classes)
        self.seen: list[tuple[torch.dtype, bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 3, 2, H, W)
        answer = self.conv(x)
        self.seen.append((answer.dtype, x.is_contiguous(memory_format=torch.channels_last_3d)))
        return self.head(answer.relu().mean((2, 3, 4)))


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small()


def batch(seed: int = 1) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 3, 2, 16, 16, generator=generator)], torch.arange(8) % 3


def stepped(recipe: Recipe, scaler: torch.amp.GradScaler | None = None, *, shift: float = 0.0) -> tuple[Small, float]:
    """A network after one step on clips that are brighter by `shift`, and the step's loss."""
    network = small()
    optimiser, ours = set_up(network, recipe, CPU)
    streams, labels = batch()
    streams = [stream + shift for stream in streams]
    loss = training_step(network, optimiser, scaler or ours, streams, labels, recipe, CPU)
    return network, float(loss)


def moved(network: nn.Module) -> torch.Tensor:
    """How far each weight went in the step."""
    before = small().state_dict()
    return torch.cat([(value - before[name]).flatten() for name, value in network.state_dict().items()])


@pytest.fixture(scope="module")
def caches(squares) -> list[ClipCache]:
    return [ClipCache(path) for path in prepare(read_source(squares), side=24)]


def trained(caches: list[ClipCache], folder: Path, recipe: Recipe, network: nn.Module, **more):
    return train(
        network, CLIPS, *caches, Identity(Architecture("small", ()), 0, recipe.epochs, recipe, ["clips"], ["folder"]),
        device=CPU, checkpoint_path=folder / "last.pt", listener=Listener(lambda entry: None, pytest.fail, **more),
    )  # fmt: skip


# --- the loss and its gradient ---------------------------------------------------------------------------------------


def test_the_gradient_is_clipped_to_its_norm():
    free, _ = stepped(PLAIN)
    norm = moved(free).norm()  # with a learning rate of 1 and no momentum a step is the gradient
    clipped, _ = stepped(replace(PLAIN, clip_gradient_norm=float(norm) / 4))
    assert torch.allclose(moved(clipped), moved(free) / 4, rtol=1e-3, atol=1e-7)
    untouched, _ = stepped(replace(PLAIN, clip_gradient_norm=float(norm) * 4))
    assert torch.equal(moved(untouched), moved(free))


def test_a_scaled_gradient_is_clipped_by_its_true_norm():
    """As in float16 on a GPU, with a real GradScaler on the CPU: a step is that of an unscaled training."""
    recipe = replace(PLAIN, clip_gradient_norm=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled, plain = stepped(recipe, scaler)[0], stepped(recipe)[0]
    assert scaler.get_scale() == 1024 and moved(plain).norm() == pytest.approx(0.01, rel=1e-3)
    assert torch.allclose(moved(scaled), moved(plain), rtol=1e-3, atol=1e-7)
    skipped, _ = stepped(PLAIN, scaler, shift=float("inf"))
    assert moved(skipped).count_nonzero() == 0 and scaler.get_scale() == 512  # an overflow leaves the weights alone


def test_labels_are_smoothed():
    logits = small()(*batch()[0]).detach()
    for smoothing in (0.0, 0.3):
        targets = (1 - smoothing) * functional.one_hot(batch()[1], 3) + smoothing / 3
        by_hand = -(targets * logits.log_softmax(1)).sum(1).mean()
        assert stepped(replace(PLAIN, label_smoothing=smoothing))[1] == pytest.approx(float(by_hand), abs=1e-5)


def test_dropout_is_the_recipes():
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.9))
    set_up(network, replace(PLAIN, dropout=0.25), CPU)
    assert network[1].p == 0.25


# --- precision and layout --------------------------------------------------------------------------------------------


def test_mixed_precision_is_on_where_it_pays_in_training_and_validation(caches, tmp_path, monkeypatch):
    """With the CPU counted among the devices where it pays, torch's own autocast runs as it would on a GPU."""
    monkeypatch.setattr(device, "amp_dtype", lambda: torch.bfloat16)
    for devices, wanted, expected in (
        (("cuda", "cpu"), True, torch.bfloat16), (("cuda", "cpu"), False, torch.float32), (("cuda",), True, torch.float32),
    ):  # fmt: skip
        monkeypatch.setattr(device, "MIXED", devices)
        network = small()
        trained(
            caches, tmp_path / f"{devices}{wanted}", replace(PLAIN, mixed_precision=wanted, learning_rate=0.1), network
        )
        assert len(network.seen) == 3 + 1 and {dtype for dtype, _ in network.seen} == {expected}
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


def test_mixed_precision_is_for_cuda(monkeypatch):
    assert device.MIXED == ("cuda",)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert device.amp_dtype() is torch.float16  # a GPU before Ampere emulates bfloat16
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: True)
    assert device.amp_dtype() is torch.bfloat16


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.clip = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3)
        self.line, self.head = nn.Conv1d(3, 4, 3), nn.Linear(4, 3)


def test_each_tensor_lies_as_its_number_of_dimensions_wants():
    network = Both()
    before = copy.deepcopy(network.state_dict())
    set_up(network, PLAIN, CPU)
    assert network.image.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.clip.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert network.line.weight.is_contiguous() and network.head.weight.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_clips_are_read_with_channels_last(caches, tmp_path):
    network = small()
    trained(caches, tmp_path, PLAIN, network)
    assert all(last for _, last in network.seen)


# --- what is validated and kept --------------------------------------------------------------------------------------


def test_the_average_is_validated_and_kept(caches, tmp_path):
    recipe = replace(PLAIN, ema=0.9, learning_rate=0.5)
    network = small()
    metrics, curve = trained(caches, tmp_path, recipe, network)
    saved = checkpoint.load(tmp_path / "last.pt")
    raw = small()
    raw.load_state_dict(saved["network"])
    of_raw, of_average = (validate(each, caches[1], CLIPS, recipe, views=1, device=CPU) for each in (raw, network))
    assert abs(of_raw.loss - of_average.loss) > 1e-3, "this training would not tell the two apart"
    assert not torch.equal(network.head.weight, small().head.weight), "the average stays where it began"
    assert metrics.loss == curve[-1].val_loss == pytest.approx(of_average.loss, abs=1e-6)


# --- losses that are no numbers --------------------------------------------------------------------------------------


class Bursting(Small):
    """Its loss is no number from its `burst`-th training batch on (from 1)."""

    burst = 4
    batches = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches += self.training
        logits = super().forward(x)
        return logits * float("nan") if self.training and self.batches >= self.burst else logits


@pytest.mark.parametrize("seconds", [0.0, 1e9])  # checked after every step, or only at the end of an epoch
def test_the_step_whose_loss_is_no_number_is_named_and_never_saved(caches, tmp_path, monkeypatch, seconds):
    """Three batches an epoch. A checkpoint is due after each."""
    monkeypatch.setattr(state, "SECONDS_BETWEEN_CHECKS", seconds)
    monkeypatch.setattr(state, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(NonFiniteLoss, match=r"^non-finite loss \(nan\) at step 2 of epoch 2$"):
        network = Bursting()
        network.burst = 5
        trained(caches, tmp_path, replace(PLAIN, epochs=3, learning_rate=0.01), network)
    for name in ("last.pt", "last.pt.previous"):
        saved = checkpoint.load(tmp_path / name)
        assert all(value.isfinite().all() for value in saved["network"].values())
    assert (checkpoint.load(tmp_path / "last.pt")["steps"], len(saved["curve"])) == (1, 1)


@pytest.mark.parametrize("burst", [1, 2, 3])
def test_at_the_latest_the_end_of_the_epoch_names_the_first_such_step(caches, tmp_path, monkeypatch, burst):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_CHECKS", 1e9)
    network = Bursting()
    network.burst = burst
    with pytest.raises(NonFiniteLoss, match=f"at step {burst} of epoch 1$"):
        trained(caches, tmp_path, replace(PLAIN, learning_rate=0.01), network)
    assert not (tmp_path / "last.pt").exists()


def test_the_loss_of_an_epoch_is_the_mean_over_its_clips(tmp_path):
    network = small()
    current = State(network, *set_up(network, PLAIN, CPU), None, tmp_path / "last.pt", "one")
    current.start_clock()
    for loss, clips in ((1.0, 10), (2.0, 10), (5.0, 4)):
        current.end_step(torch.tensor(loss), clips)
    current.check_losses()
    assert current.loss == pytest.approx((10 + 20 + 20) / 24) and current.steps == 3 and not current.waiting


def test_when_losses_are_looked_at_changes_no_number(caches, tmp_path, monkeypatch):
    curves, heard = [], []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(state, "SECONDS_BETWEEN_CHECKS", seconds)
        losses: list[float] = []
        recipe = replace(PLAIN, epochs=2, learning_rate=0.1, ema=0.5)
        _, curve = trained(
            caches, tmp_path / str(seconds), recipe, small(), on_step=lambda *step, losses=losses: losses.append(step[3])
        )  # fmt: skip
        curves.append([replace(entry, seconds=0) for entry in curve])
        heard.append(losses)
    assert curves[0] == curves[1]
    assert len(set(heard[0])) == 6 and len(heard[1]) == 6  # the mean of the losses checked so far


def test_no_step_waits_for_the_device():
    """On shapes alone a tensor has no values: whatever asks for one fails, as it would make a GPU finish its work first."""
    network = Small().to("meta")
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    meta = torch.device("meta")
    current = State(network, optimiser, scaler, AveragedWeights(network, 0.9), Path("unused"), "one")
    current.start_clock()
    current._checked = float("inf")  # not yet due
    for recipe in (PLAIN, replace(PLAIN, clip_gradient_norm=1.0)):
        streams, labels = batch()
        loss = training_step(network, optimiser, scaler, streams, labels, recipe, meta)
        current.end_step(loss, 8)
    assert len(current.waiting) == 2
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        current.check_losses()
