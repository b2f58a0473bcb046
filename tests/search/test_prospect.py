"""What a search is expected to come to, and what is said of its steps."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from expand.config.loading import load_study
from expand.config.overrides import override
from expand.core.attempt import Epoch
from expand.core.trial import Metrics, Trial, TrialState
from expand.counting.cost import MacsCounter
from expand.monitoring import progress
from expand.monitoring.progress import LiveTable, Outlook, PlainLines
from expand.planning.trajectories import simulated
from expand.search.prospect import Prospect, seconds_of
from expand.storage.folder import in_training
from tests.conftest import STUDIES


def searched(*settings: str, name: str = "tiny", at_once: int = 1) -> tuple[Prospect, list[Trial]]:
    """A search at its very beginning: its first suggestions are queued."""
    study = override(load_study(str(STUDIES / f"{name}.py")), settings)
    macs = MacsCounter(study.space, 3)
    prospect = Prospect(study, macs, macs.cost, at_once)
    return prospect, asked(prospect, [])


def asked(prospect: Prospect, trials: list[Trial]) -> list[Trial]:
    study = prospect.study
    wanted = study.strategy.ask(study, trials, prospect.macs)
    new = [
        Trial(len(trials) + place, TrialState.RUNNING, each, prospect.cost(each.architecture))
        for place, each in enumerate(wanted)
    ]
    return [*trials, *new]


def complete(trial: Trial, top1: float, seconds: float = 10.0) -> Trial:
    epochs = trial.suggestion.epochs
    curve = tuple(Epoch(n + 1, 1.0, top1, seconds=seconds / epochs) for n in range(epochs))
    return replace(
        trial, state=TrialState.COMPLETE, metrics=Metrics(top1, 1.0, 1.0, 100, 1), curve=curve, train_seconds=seconds
    )


def test_the_whole_search_is_counted_from_its_first_suggestions():
    prospect, trials = searched("budget.steps=4")
    (cheapest, *_) = simulated(prospect.study, prospect.macs, prospect.cost)
    outlook = prospect.outlook(trials)
    assert cheapest.name == "cheapest wins" and cheapest.trainings > len(trials)
    assert (outlook.ended, outlook.trials, outlook.exact, outlook.seconds) == (0, cheapest.trainings, False, None)
    assert outlook.text() == f"0 of about {cheapest.trainings} trials ended"


def test_a_grid_is_counted_exactly():
    prospect, trials = searched(name="tiny_grid")
    whole: list[Trial] = trials
    while (more := asked(prospect, [complete(t, 0.5) for t in whole])) and len(more) > len(whole):
        whole = more
    outlook = prospect.outlook(trials)
    assert (outlook.trials, outlook.exact) == (len(whole), True)


def test_time_left_is_that_of_all_trials_shared_by_the_workers():
    prospect, trials = searched("budget.steps=1", at_once=2)
    ended = [complete(trials[0], 0.5, seconds=30.0), *trials[1:]]
    seconds = seconds_of(ended)
    assert seconds is not None
    assert prospect.outlook(ended).seconds == pytest.approx((seconds(trials[1]) + seconds(trials[2])) / 2)
    half = [ended[0], replace(trials[1], curve=complete(trials[1], 0.5).curve[:1]), trials[2]]
    assert prospect.outlook([complete(trial, 0.5) for trial in trials]).seconds == 0
    assert prospect.outlook(half).seconds < prospect.outlook(ended).seconds


def test_hours_that_end_a_search_are_an_upper_limit():
    prospect, trials = searched("budget.hours=1", "budget.steps=3")
    outlook = prospect.outlook([complete(trials[0], 0.5, seconds=600.0), *trials[1:]])
    assert outlook.trials is None and outlook.seconds == 3000
    assert outlook.text() == "trials ended so far: 1, at most about 50:00 min left"


def test_a_step_is_said_once_when_it_is_decided():
    prospect, trials = searched()
    assert prospect.decided(trials, over=False) == []
    frames, bottleneck = trials[1:]
    ended = [trials[0], complete(frames, 0.40), complete(bottleneck, 0.80)]
    assert prospect.decided(ended, over=False) == []  # the strategy may still want more seeds
    (line,) = prospect.decided(ended, over=True)
    assert line == (
        "step 1 decided: bottleneck: top-1 80.0 % against 40.0 % for frames, a margin of 40.0 points, beyond noise (two "
        "standard errors are 12.6 points); the right choice with a probability of 100 %"
    )
    assert prospect.decided(ended, over=True) == []


def test_epoch_lines_are_few_and_say_how_far_the_search_is(monkeypatch):
    _, trials = searched()
    console = Console(file=io.StringIO(), width=300)
    lines = PlainLines(console)
    lines.outlook(Outlook(7, 18, False, 300.0))
    entry = Epoch(1, 1.0, 0.5, seconds=1.0)
    for epoch in (1, 2):
        lines.epoch(trials[0], replace(entry, epoch=epoch))
    (line,) = console.file.getvalue().splitlines()
    assert line.endswith("; 7 of about 18 trials ended, about 5:00 min left")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_EPOCHS", 0.0)
    lines.epoch(trials[0], replace(entry, epoch=2))
    assert console.file.getvalue().count("epoch 2/2") == 1


def test_the_live_table_tells_training_from_queued():
    _, trials = searched()
    console = Console(file=io.StringIO(), width=120)
    table = LiveTable(console, "tiny")
    for trial in trials:
        table.started(trial)
    table.placed(2, training=True)
    table.outlook(Outlook(0, 9, False, 60.0))
    console.print(table._draw())
    text = console.file.getvalue()
    assert text.count("queued") == 2 and text.count("training") == 1 and "0 of about 9 trials ended" in text
    table.placed(2, training=False)
    console.print(table._draw())
    assert console.file.getvalue().count("queued") == 5


def test_what_no_worker_has_started_since_the_driver_did_is_queued(tmp_path):
    checkpoint = tmp_path / "checkpoints" / "0" / "state"
    checkpoint.parent.mkdir(parents=True)
    (tmp_path / "driver.lock").write_text("pid 1")
    since = (tmp_path / "driver.lock").stat().st_mtime
    log = checkpoint.parent / "attempts.jsonl"
    assert not in_training(tmp_path, checkpoint)
    for line, expected in (
        (f'{{"pid": 1, "time": {since - 5}}}', False),
        (f'{{"pid": 1, "time": {since + 5}}}', True),
        (f'{{"ended": {since + 6}}}', False),
        ('{"pid": 1, "ti', False),
    ):
        log.write_text(line + "\n")
        assert in_training(tmp_path, checkpoint) is expected
