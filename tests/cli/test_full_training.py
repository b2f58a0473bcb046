"""`expand train`: a network of a run, or a published one, trained alone; averaged weights, initial weights, interruptions."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT, STUDIES
from rich.console import Console
from safetensors.torch import load_file
from tiny_records import facts_of
from torch import nn

from expand.cli import full_training
from expand.cli.full_training import TrainingOptions
from expand.config.request import Request
from expand.config.single_network import stretched
from expand.core.errors import ExpandError, UsageError
from expand.core.study import Recipe
from expand.core.units import format_macs
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.read_source import read_source
from expand.monitoring.progress import PlainLines
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.facts import Facts
from expand.storage.run_directory import Record, open_for_reading
from expand.storage.serialize import from_plain, to_plain
from expand.storage.stored_study import request_of, study_of
from expand.testing.space_contract import plain_kernels
from expand.training import state
from expand.training.ema import AveragedWeights
from expand.training.finetune import freeze_trunk, head_of, training_mode
from expand.training.identity import Identity
from expand.training.loop import Listener, train
from expand.weights.matching import load_weights
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2)


@pytest.fixture(autouse=True)
def quick():
    with plain_kernels():
        yield


def carried_out(request: Request, folder: Path) -> Record:
    return run(request, folder, Workers(0, 1), PlainLines(Console(quiet=True)))


@pytest.fixture(scope="module")
def searched(squares, tmp_path_factory) -> Path:
    """A run of one network, the start of the tiny study."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    with plain_kernels():
        carried_out(Request(str(STUDIES / "tiny.py"), "demo", ("budget.steps=0",), str(squares)), folder)
    return folder


def trained(searched: Path, folder: Path, **options) -> Record:
    return carried_out(full_training.request(str(searched), 0, None, [], None, TrainingOptions(**options)), folder)


def weights_of(folder: Path, number: int = 0) -> dict[str, torch.Tensor]:
    return load_file(folder / "artifacts" / f"{number:06d}" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- a run of its own ------------------------------------------------------------------------------------------------


def test_a_network_trained_again_by_its_own_recipe_is_the_same_to_the_last_bit(searched, tmp_path):
    record = trained(searched, tmp_path / "full")
    (trial,) = record.trials()
    assert trial.state == "complete" and trial.suggestion.kind == "fixed"
    assert same(weights_of(tmp_path / "full"), weights_of(searched))
    again = study_of(open_for_reading(tmp_path / "full"))
    assert again.strategy.network == trial.architecture.to_json() and again.name == "train-run-trial0"


def test_epochs_stretch_the_schedule_and_a_full_training_hands_on_what_it_was_made_with(searched):
    recipe = stretched(Recipe(epochs=16, warmup_epochs=2, schedule="step", decay_every=4), 64)
    assert (recipe.epochs, recipe.warmup_epochs, recipe.decay_every) == (64, 8, 16)
    request = full_training.request(
        str(searched), 0, None, [], None, TrainingOptions(epochs=6, settings=("recipe.ema=0.9",), seeds=(3, 4))
    )
    study = request.study()
    assert (study.recipe.epochs, study.recipe.warmup_epochs, study.recipe.ema, study.seeds) == (6, 3, 0.9, (3, 4))
    asked = {"settings": request.settings, "alone": request.alone, "data_option": request.data}
    facts = facts_of(study, reference=request.reference, **asked)
    assert request_of(from_plain(json.loads(json.dumps(to_plain(facts))), Facts)) == request
    paper = replace(request, alone=replace(request.alone, recipe_scale="paper", epochs=None, settings=()))
    assert paper.study().recipe.epochs == 2  # the tiny study is the same at every scale


def test_a_published_network_takes_the_recipe_of_its_family(squares):
    request = full_training.request("x3d", None, "S", [], None, TrainingOptions(data=str(squares), epochs=128))
    study = request.study()
    assert (study.recipe.epochs, study.recipe.warmup_epochs, study.data.cache_side) == (128, 17.5, 356)
    assert study.strategy.network == X3DSpace().point("S").to_json() and study.name == "train-x3d-S"
    for family in ("c3d", "mixed_conv"):
        assert full_training.study_for(family, "paper").startswith(("c3d_", "m"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("SPACE", None, "S", [], None, {}), "needs --data"),
        (("SPACE", None, None, [], None, {"data": "x"}), "which network of x3d"),
        (("SPACE", None, "S", [], None, {"data": "x", "weights": "same"}), "--weights same needs a trial"),
        (("SPACE", None, "S", [], None, {"data": "x", "freeze": True}), "--freeze needs --weights"),
        (("RUN", None, None, [], None, {}), "say which network with --trial"),
        (("RUN", 0, "S", [], None, {}), "need a search space"),
        (("RUN", 7, None, [], None, {}), "trial 7: this run has trials 0 to 0"),
        (("RUN", 0, None, [], None, {"settings": ("strategy.label=x",)}), "takes recipe.*"),
    ],
)
def test_what_cannot_be_trained_is_refused(searched, asked, words):
    source, *middle, options = asked
    with pytest.raises(UsageError) as error:
        full_training.request({"SPACE": "x3d", "RUN": str(searched)}[source], *middle, TrainingOptions(**options))
    assert words in str(error.value)


def test_no_epochs_and_networks_that_were_not_trained_to_the_end_are_refused(squares, searched, tmp_path):
    with pytest.raises(UsageError, match=r"recipe.epochs=0: at least 1"):
        trained(searched, tmp_path / "none", epochs=0)
    settings = ("budget.steps=0", "objectives.gmacs.limit=0.000001")
    carried_out(Request(str(STUDIES / "tiny.py"), "demo", settings, str(squares)), tmp_path / "over")
    with pytest.raises(UsageError, match=r"trial 0 of .* is infeasible"):
        trained(tmp_path / "over", tmp_path / "full")


def test_seeds_are_numbers():
    assert full_training.parse_seeds("0,2") == (0, 2) and full_training.parse_seeds(None) == ()
    for text in ("0,a", "1,1", "-1"):
        with pytest.raises(UsageError, match="--seeds"):
            full_training.parse_seeds(text)


# --- killed and run again --------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_killed_with_9_and_run_again_it_ends_as_an_unbroken_training(expand, searched, tmp_path):
    options = ["train", str(searched), "--trial", "0", "--epochs", "4", "--set", "recipe.ema=0.9", "--no-calibrate"]
    whole = expand(*options, "--out", "whole", timeout=300)
    assert whole.returncode == 0 and "4 epochs of 24 clips (96 in all)" in whole.stdout, whole.stderr
    command = [sys.executable, "-m", "expand", *options, "--out", "broken"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("epoch 1/4" in line for line in process.stdout)
    process.kill()
    process.wait(timeout=20)
    assert not list((tmp_path / "broken" / "artifacts").rglob("*.safetensors"))
    done = expand(*options, "--out", "broken", timeout=300)
    assert done.returncode == 0 and "resumed" in done.stdout, done.stderr
    (trial,) = open_for_reading(tmp_path / "broken").trials()
    assert [entry.epoch for entry in trial.curve] == [1, 2, 3, 4] and trial.attempts == 2
    assert same(weights_of(tmp_path / "broken"), weights_of(tmp_path / "whole"))


class Stopped(Exception):
    pass


def loop(squares: Path, folder: Path, recipe: Recipe, stop_after: int | None = None) -> dict[str, torch.Tensor]:
    """Weights after `train`, which is broken off after some batches where `stop_after` says so."""
    caches = [ClipCache(path) for path in prepare(read_source(squares), side=24)]
    torch.manual_seed(0)
    network, batches = SPACE.build(SPACE.start, 3), []

    def on_step(*step: float) -> None:
        batches.append(step)
        if len(batches) == stop_after:
            raise Stopped

    train(
        network, SPACE.inputs(SPACE.start), *caches,
        Identity(SPACE.start, 0, recipe.epochs, recipe, ["train", "val"], []),
        device=torch.device("cpu"), checkpoint_path=folder / "last.pt",
        listener=Listener(lambda entry: None, pytest.fail, on_step),
    )  # fmt: skip
    return network.state_dict()


@pytest.mark.parametrize("stop_after", [2, 3, 5])  # within an epoch of three batches, at its end, in the second
def test_a_training_broken_off_within_an_epoch_goes_on_to_the_same_weights(squares, tmp_path, monkeypatch, stop_after):
    recipe = Recipe(epochs=2, batch_size=8, views=1, ema=0.9)
    whole = loop(squares, tmp_path / "whole", recipe)
    monkeypatch.setattr(state, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(Stopped):
        loop(squares, tmp_path / "broken", recipe, stop_after)
    seen: list[int] = []
    monkeypatch.setattr(state.State, "end_step", _counted(state.State.end_step, seen))
    assert same(loop(squares, tmp_path / "broken", recipe), whole)
    assert len(seen) == 6 - stop_after


def _counted(end_step, seen: list[int]):
    def counting(self, loss: float, clips: int) -> None:
        seen.append(clips)
        end_step(self, loss, clips)

    return counting


# --- averaged weights ------------------------------------------------------------------------------------------------


def test_the_average_of_a_scalar_follows_the_decay_and_its_warm_up():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
    average = AveragedWeights(network, 0.25)
    with torch.no_grad():
        network[0].weight.fill_(2.0)
        network[1].running_mean.fill_(11.0)
        network[1].num_batches_tracked.fill_(7)
    average.update(network)  # decay 2/11: 1 x 2/11 + 2 x 9/11
    assert average.network[0].weight.item() == pytest.approx(20 / 11)
    assert average.network[1].running_mean.item() == pytest.approx(9.0)
    assert average.network[1].num_batches_tracked.item() == 7
    average.update(network)  # decay 3/12 is the given one
    assert average.network[0].weight.item() == pytest.approx(20 / 11 / 4 + 2 * 3 / 4)
    average.update(network)  # 4/13 would be above it
    assert average.network[0].weight.item() == pytest.approx((20 / 11 / 4 + 1.5) / 4 + 1.5)
    assert not average.network.training and network[0].weight.item() == 2.0


def test_averaging_leaves_training_alone_and_changes_what_is_kept(squares, tmp_path):
    plain = Recipe(epochs=1, batch_size=8, views=1)
    kept = loop(squares, tmp_path / "plain", plain), loop(squares, tmp_path / "ema", replace(plain, ema=0.5))
    assert not same(*kept)
    checkpoints = [state.checkpoint.load(tmp_path / name / "last.pt") for name in ("plain", "ema")]
    assert same(checkpoints[0]["network"], checkpoints[1]["network"])
    assert same(checkpoints[1]["average"]["network"], kept[1])


# --- initial weights -------------------------------------------------------------------------------------------------


def test_fine_tuning_on_other_classes_replaces_the_head_and_records_it(squares, searched, tmp_path):
    data = tmp_path / "two"
    for split in ("train", "val"):
        (data / split).mkdir(parents=True)
        for name in ("to the left", "to the right"):
            (data / split / name).symlink_to(squares / split / name)
    asked = {"data": str(data), "weights": "same", "freeze": True, "epochs": 1}
    record = trained(searched, tmp_path / "tuned", **asked)
    told = record.trials()[0].attempt.initial_weights
    assert told.replaced == ("fc2.weight", "fc2.bias") and not told.missing and not told.unexpected
    before, after = weights_of(searched), weights_of(tmp_path / "tuned")
    assert told.matched == len(before) - 2
    trunk = [name for name in before if not name.startswith("fc2.")]
    assert all(torch.equal(before[name], after[name]) for name in trunk)  # running statistics among them
    assert after["fc2.weight"].shape[0] == 2

    copy = tmp_path / "moved.safetensors"
    copy.write_bytes((searched / "artifacts" / "000000" / "model.safetensors").read_bytes())
    moved = trained(searched, tmp_path / "tuned", **asked | {"weights": str(copy)})
    assert len(moved.trials()) == 1
    copy.write_bytes((tmp_path / "tuned" / "artifacts" / "000000" / "model.safetensors").read_bytes())
    with pytest.raises(UsageError, match="another file"):
        trained(searched, tmp_path / "tuned", **asked | {"weights": str(copy)})


def test_what_is_announced_is_the_network_the_work_and_the_weights(searched, tmp_path):
    request = full_training.request(str(searched), 0, None, [], None, TrainingOptions(epochs=3, weights="same"))
    said: list[str] = []
    full_training.announce(request, tmp_path / "full", Workers(0, 1), said.append, calibrated=False)
    (trial,) = open_for_reading(searched).trials()
    work = trial.cost.macs * (3 * 3 * 24 + 3 * 12)  # three passes a training clip, 12 validation clips an epoch
    assert any(line.endswith(f"validation clips: {format_macs(work)} multiply-adds") for line in said)
    assert any("3 epochs of 24 clips (72 in all)" in line for line in said)
    assert any("tensors loaded" in line for line in said)


def test_weights_that_are_none_or_of_another_network_are_refused(searched, tmp_path):
    (tmp_path / "text").write_text("not weights")
    network = SPACE.build(SPACE.start, 3)
    for place, words in ((tmp_path / "gone", "no such file"), (tmp_path / "text", "no file of weights")):
        with pytest.raises(UsageError, match=words):
            load_weights(network, place, space=SPACE, architecture=SPACE.start)
    wide = SPACE.architecture(width=0.5)
    with pytest.raises(ExpandError, match=r"another network|other sizes|shape"):
        load_weights(SPACE.build(wide, 3), _only_weights(searched), space=SPACE, architecture=wide)


def _only_weights(folder: Path) -> Path:
    return folder / "artifacts" / "000000" / "model.safetensors"


def test_of_a_frozen_network_only_the_head_has_gradients_and_dropout_is_on():
    network = SPACE.build(SPACE.start, 3)
    freeze_trunk(network)
    training_mode(network, frozen=True)
    assert head_of(network)[0] == "fc2"
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["fc2.weight", "fc2.bias"]
    assert {type(m) for m in network.modules() if m.training} == {nn.Dropout}


def test_long_epochs_say_how_far_they_are(monkeypatch):
    console = Console(file=io.StringIO(), width=200)
    lines = PlainLines(console)
    lines.step(0, 1, 5, 50, 1.25)
    monkeypatch.setattr("expand.monitoring.progress.SECONDS_BETWEEN_LINES", 0.0)
    lines.step(0, 1, 6, 50, 1.25)
    assert console.file.getvalue().count("batches") == 1 and "6 of 50 batches, loss 1.250" in console.file.getvalue()
