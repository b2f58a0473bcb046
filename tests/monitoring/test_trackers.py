"""Learning curves for TensorBoard, MLflow and Weights & Biases: asked for, readable, gone on with, and harmless."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import ROOT, STUDIES
from rich.console import Console

from expand.config.request import Request
from expand.core.attempt import Epoch
from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.core.trial import Cost, Suggestion, Trial, TrialState
from expand.monitoring import trackers as tracking
from expand.monitoring.progress import PlainLines
from expand.search.ray_executor import _ENVIRONMENT
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import open_for_reading
from expand.storage.serialize import to_plain

TINY = STUDIES / "tiny.py"


def needs(package: str) -> pytest.MarkDecorator:
    absent = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(absent, reason=f"{package} is not installed (pip install 'expand-nas[{package}]')")


def trial(number: int, epochs: int, state: TrialState = TrialState.RUNNING, loss: float = 1.0) -> Trial:
    """With a curve of so many epochs; the n-th loss is `loss` / n."""
    curve = tuple(
        Epoch(n, loss / n, n / 10, val_loss=2 / n, learning_rate=0.1, seconds=1.0) for n in range(1, epochs + 1)
    )
    wish = Suggestion(
        Architecture("x3d", (("frames", 4), ("width", 0.5))), 4, 0, 2, ("frames", "rate"), 1, reason="frames 2→4"
    )
    return Trial(number, state, wish, Cost(2_000_000, 300_000, 250, 10, ((3, 1, 16, 16),)), curve=curve)


def lines() -> PlainLines:
    return PlainLines(Console(file=io.StringIO(), width=200))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would draw: (step, value) by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def only(folder: Path) -> Path:
    (one,) = folder.iterdir()
    return one


@needs("tensorboard")
def test_a_curve_is_read_back_and_goes_on_after_a_driver_was_killed(tmp_path):
    first = tracking.WithTensorBoard(lines(), tmp_path)
    for epoch in (1, 2):
        first.epoch(trial(3, epoch), Epoch(epoch, 1.0, 0.1, seconds=1.0))
    # The second driver starts from a checkpoint that is an epoch ahead of what the first one wrote down.
    second = tracking.WithTensorBoard(lines(), tmp_path)
    second.ended(trial(3, 4, TrialState.COMPLETE))
    assert only(tmp_path).name == "000003-step-2-frames=rate" and len(list(only(tmp_path).iterdir())) == 2
    found = scalars(only(tmp_path))
    assert set(found) == set(tracking.SCALARS)
    assert found["loss"] == [(1, 1.0), (2, 0.5), (3, 0.3333), (4, 0.25)] and [s for s, _ in found["top1"]] == [
        1,
        2,
        3,
        4,
    ]


@needs("tensorboard")
def test_an_epoch_trained_again_replaces_what_was_written(tmp_path):
    watch = tracking.WithTensorBoard(lines(), tmp_path)
    entry = Epoch(1, 1.0, 0.1, seconds=1.0)
    watch.epoch(trial(0, 3), entry)
    watch.epoch(trial(0, 2, loss=8.0), entry)  # a worker died, and its checkpoint was older
    watch.ended(trial(0, 3, TrialState.FAILED, loss=8.0))
    assert scalars(only(tmp_path))["loss"] == [(1, 8.0), (2, 4.0), (3, 2.6667)]


@needs("tensorboard")
def test_hyperparameters_and_costs_stand_beside_the_curve(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    tracking.WithTensorBoard(lines(), tmp_path).ended(trial(0, 1, TrialState.COMPLETE))
    events = EventAccumulator(str(only(tmp_path)))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["frames"].number_value == 4 and hparams["gmacs"].number_value == 0.002
    assert hparams["axes"].string_value == "frames = rate"
    text = events.Tensors("candidate/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "frames 2→4" in text and "params_m: 0.3" in text


@needs("tensorboard")
def test_a_search_of_its_own_leaves_event_files_that_agree_with_its_record(squares, tmp_path):
    request = Request(str(TINY), settings=("budget.steps=0",), data=str(squares))
    run(request, tmp_path / "run", Workers(0, 1), lines(), track=("tensorboard",))
    (only_trial,) = open_for_reading(tmp_path / "run").trials()
    found = scalars(only(tmp_path / "run" / "tensorboard"))
    assert found["val_loss"] == [(entry.epoch, round(entry.val_loss, 4)) for entry in only_trial.curve]
    run(request, tmp_path / "run", Workers(0, 1), lines(), track=("tensorboard",))  # nothing is left to do or to write
    assert scalars(only(tmp_path / "run" / "tensorboard")) == found


@needs("tensorboard")
def test_a_tracker_that_fails_is_noted_once_and_ends_nothing(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    inner = lines()
    with tracking.following(inner, ("tensorboard",), tmp_path) as watch:
        for epoch in (1, 2):
            watch.epoch(trial(0, epoch), Epoch(epoch, 1.0, 0.1, seconds=1.0))
        watch.ended(trial(0, 2, TrialState.COMPLETE))
    said = inner.console.file.getvalue()  # type: ignore[attr-defined]
    assert (
        said.count("--track tensorboard stopped (") == 1 and "trial 0 epoch 1/4" in said and "trial 0 complete" in said
    )


class Refusing:
    """A logger callback of Tune's whose every call fails."""

    calls = 0

    def refuse(self, *_: object, **__: object) -> None:
        Refusing.calls += 1
        raise ConnectionError("no such host")

    setup = log_trial_start = log_trial_result = log_trial_end = on_experiment_end = refuse


def test_a_callback_of_tune_that_fails_is_noted_once_and_not_called_again(tmp_path):
    class Record:
        folder, facts = tmp_path, {"study": {"name": "tiny"}}

        def trial(self, number: int) -> Trial:
            return trial(number, 1)

    class TuneTrial:
        config: ClassVar = {"number": 7}

    notes: list[str] = []
    callback = tracking.readable(Refusing, "mlflow", Record(), notes.append)()  # type: ignore[arg-type]
    callback.setup()
    callback.log_trial_start(TuneTrial())
    callback.log_trial_result(1, TuneTrial(), {"entry": json.dumps(to_plain(trial(7, 1).curve[0]))})
    callback.log_trial_end(TuneTrial())
    callback.on_experiment_end([])
    assert len(notes) == 1 and "--track mlflow stopped (ConnectionError: no such host)" in notes[0]
    assert Refusing.calls == 1


def test_what_cannot_be_tracked_is_said_before_anything_starts(expand, squares, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        tracking.check(["tensorbord"], 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'expand-nas\[wandb\]'"):
        tracking.check(["wandb"], 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UsageError, match="--workers 1 or more, or --track tensorboard"):
        tracking.check(["mlflow"], 0)
    assert tracking.check(["wandb", "tensorboard", "wandb"], 2) == ("wandb", "tensorboard")


def test_a_run_that_asks_for_no_tracker_loads_none_and_sends_nothing(squares, tmp_path):
    code = f"""
import sys
from expand.cli.app import main
sys.argv = ["expand", "run", {str(TINY)!r}, "--data", {str(squares)!r}, "--workers", "0", "--out", "run",
            "--set", "budget.steps=0", "--set", "recipe.epochs=1"]
try:
    main()
except SystemExit:
    pass
print("LOADED", sorted({{name.split(".")[0] for name in sys.modules}}))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    loaded = done.stdout.partition("LOADED ")[2]
    assert "torch" in loaded, done.stderr
    assert not [name for name in ("tensorboard", "tensorboardX", "mlflow", "wandb", "ray") if repr(name) in loaded]
    assert not {"tensorboard", "mlflow.db", "wandb"} & {path.name for path in (tmp_path / "run").iterdir()}


def test_usage_statistics_of_others_are_off_and_wandb_is_offline_unless_the_user_says_so(monkeypatch, tmp_path):
    off = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
    assert off.items() <= _ENVIRONMENT.items()
    for name in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    assert tracking.wandb_mode() == "offline" and tracking.mlflow_place(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert tracking.wandb_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert tracking.wandb_mode() == "disabled" and tracking.mlflow_place(tmp_path) == "http://localhost:5000"


@needs("mlflow")
@needs("wandb")
@pytest.mark.heavy
@pytest.mark.ray
def test_mlflow_and_wandb_keep_what_the_record_keeps(expand, squares, tmp_path):
    settings = ("--data", squares, "--out", "run", "--workers", 1, "--set", "budget.steps=0")
    done = expand("run", TINY, *settings, "--track", "mlflow", "--track", "wandb", timeout=220)
    assert done.returncode == 0 and "stopped" not in done.stdout, done.stderr
    (only_trial,) = open_for_reading(tmp_path / "run").trials()
    base = sqlite3.connect(tmp_path / "run" / "mlflow.db")
    assert base.execute("select name, status from runs").fetchall() == [("000000 step 0 start", "FINISHED")]
    assert ("gmacs", str(only_trial.cost.gmacs)) in base.execute("select key, value from params").fetchall()
    losses = base.execute("select step, value from metrics where key = 'val_loss' order by step").fetchall()
    assert losses == [(entry.epoch, entry.val_loss) for entry in only_trial.curve]
    (offline,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert b"val_loss" in offline.read_bytes()
