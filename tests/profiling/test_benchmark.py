"""Measured cost: what is measured is what is trained, and a limit on latency ends a candidate before it trains."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from conftest import STUDIES
from rich.console import Console

from expand.cli.measure_tables import Row, _ranks, rank_correlation, show_measured
from expand.config.loading import load_space, load_study
from expand.config.overrides import limited
from expand.config.request import Request
from expand.core.attempt import Attempt, Speed
from expand.core.errors import UsageError
from expand.core.study import Objective
from expand.core.trial import Metrics, Suggestion, Trial, TrialState
from expand.counting.cost import cost_of
from expand.monitoring.progress import PlainLines
from expand.profiling.benchmark import Task, measure, measure_fresh, time_networks
from expand.report.candidates import candidates, cost_name, front
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.serialize import to_plain
from expand.training.memory import PeakMemory

STUDY = load_study(str(STUDIES / "tiny.py"))
SPACE, START = STUDY.space, STUDY.space.start


@pytest.mark.parametrize("training", [False, True])
def test_a_speed_says_what_was_measured(training):
    threads = torch.get_num_threads()
    network = SPACE.build(START, 3)
    speed = measure(network, SPACE.inputs(START), STUDY.recipe, training=training, batch=2, threads=1, repeats=4)
    assert speed.ms > 0 <= speed.ms_iqr and (speed.batch, speed.threads, speed.repeats) == (2, 1, 4)
    assert speed.ms_a_clip == speed.ms / 2 and speed.clips_a_second == pytest.approx(2000 / speed.ms)
    assert speed.training is training and speed.precision and speed.device
    assert network.training is training and torch.get_num_threads() == threads
    assert {"ms", "ms_iqr", "ms_a_clip", "clips_a_second", "peak_bytes"} <= set(to_plain(speed))


def test_training_is_measured_as_it_trains():
    """The step that is timed updates weights, with the optimiser of a training."""
    network = SPACE.build(START, 3)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    measure(network, SPACE.inputs(START), STUDY.recipe, training=True, batch=2, repeats=3)
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_fewer_runs_where_they_take_too_long():
    speed = measure(SPACE.build(START, 3), SPACE.inputs(START), STUDY.recipe, repeats=1000, seconds=0.0)
    assert speed.repeats == 3


def test_a_fresh_process_for_each_network():
    (speed,) = measure_fresh(SPACE, [START], 3, STUDY.recipe, repeats=3)
    assert speed.ms > 0 and speed.repeats == 3


def test_peak_memory_sees_what_is_held_inside_the_block_only():
    kept = torch.ones(2_000_000)
    with PeakMemory(torch.device("cpu")) as peak:
        torch.ones(10_000_000).sum()
        block = torch.ones(10_000_000)  # 40 MB, written to
        assert block.sum() > 0
    assert peak.bytes == 0 or 38e6 < peak.bytes < 100e6  # nobody can tell outside Linux
    assert kept.sum() > 0


def test_timing_goes_from_cheap_to_dear_and_leaves_out_what_does_not_fit():
    larger = SPACE.architecture(frames=4, bottleneck=2)
    tasks = [Task(START, 100_000, 1000), Task(larger, 10**16, 1000)]  # said to take years
    found = time_networks(SPACE, tasks, 3, STUDY.recipe, None, 1, 0.5)
    assert list(found) == [START]
    timing = found[START]
    assert timing.train_seconds > 0 < timing.validation_seconds and 2 <= timing.batch <= STUDY.recipe.batch_size
    assert timing.steps >= 3


def test_rank_correlation():
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == 1.0
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == -1.0
    assert rank_correlation([1, 2], [1, 2]) is None and rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_the_command_prints_costs_beside_times(capsys, monkeypatch):
    monkeypatch.setattr("expand.profiling.benchmark.fresh_processes", lambda count, **_: ThreadPoolExecutor(1))
    options = {"below": 2.0, "batch": 1, "threads": 1, "repeats": 3, "training": False, "as_json": True}
    show_measured(["x3d"], ["X2D"], **options)
    found = json.loads(capsys.readouterr().out)
    (row,) = found["networks"]
    assert row["point"] == "X2D" and row["ms"] > 0 and row["repeats"] == 3
    assert row["macs"] == cost_of(load_space("x3d"), load_space("x3d").point("X2D"), 400).macs
    assert found["rank_correlation_of_time_and_macs"] == {"all": None}  # of one network there is none
    for wrong, words in (({"below": 0.001}, "costs more"), ({"training": True}, "at least 2 clips")):
        with pytest.raises(UsageError, match=words):
            show_measured(["x3d"], [], **(options | wrong))
    with pytest.raises(UsageError, match="need one space, not x3d, c3d"):
        show_measured(["x3d", "c3d", "frames=4"], [], **options)


def test_ranks_over_all_and_within_each_space():
    spaces = [load_space("x3d"), load_space("c3d")]
    cost = cost_of(spaces[0], spaces[0].point("X2D"), 400)
    speed = Speed(1.0, 0.1, False, 1, 1, 3, "float32", "cpu", 0)
    rows = [
        Row(space, f"{macs}", space.start, replace(cost, macs=macs), replace(speed, ms=ms))
        for space, pairs in zip(spaces, [((1, 1), (2, 2), (3, 3)), ((1, 9), (2, 8), (3, 7))], strict=True)
        for macs, ms in pairs
    ]
    ranks = _ranks(rows, spaces)
    assert ranks["x3d"] == 1.0 and ranks["c3d"] == -1.0 and abs(ranks["all"]) < 0.5
    assert _ranks(rows[:3], spaces[:1]) == {"all": 1.0}


# --- limits ----------------------------------------------------------------------------------------------------------


def searched(squares, folder, *limits: str, settings: tuple[str, ...] = ()):
    request = Request(str(STUDIES / "tiny.py"), "demo", ("budget.steps=0", *settings), str(squares), None, limits)
    return run(request, folder, Workers(0, 1), PlainLines(Console(quiet=True)))


def test_what_is_slower_than_its_limit_is_never_trained(squares, tmp_path):
    record = searched(squares, tmp_path / "run", "latency_ms<=0.000001", settings=("seeds=0,1",))
    assert record.finished
    for trial in record.trials():
        assert trial.state == "infeasible" and not trial.curve and "latency_ms is" in trial.error
    first, second = (trial.attempt.speed for trial in record.trials())
    assert first == second, "measured twice"


def test_latency_is_measured_once_and_recorded(squares, tmp_path):
    limits = ("latency_ms<=60000", "params_m<=4")
    record = searched(squares, tmp_path / "run", *limits, settings=("seeds=0,1", "recipe.epochs=1"))
    first, second = (trial.attempt.speed for trial in record.trials())
    assert first == second and first.batch == first.threads == 1 and first.device
    assert {trial.state for trial in record.trials()} == {"complete"}
    assert [o.name for o in record.objectives if o.on_front] == ["top1", "gmacs"]
    assert [(o.name, o.limit) for o in record.objectives if not o.on_front] == [("latency_ms", 60000), ("params_m", 4)]


def test_latency_can_be_an_objective_of_the_front():
    objectives = (Objective("top1", "maximize"), Objective("latency_ms", "minimize", True))
    trials = []
    for number, (frames, top1, ms) in enumerate([(2, 0.5, 3.0), (4, 0.6, 5.0), (6, 0.55, 9.0)]):
        wish = Suggestion(SPACE.architecture(frames=frames), 1, 0)
        cost = cost_of(SPACE, wish.architecture, 3)
        attempt = Attempt(speed=Speed(ms, 0.0, False, 1, 1, 3, "float32", "cpu", 0))
        trials.append(Trial(number, TrialState.COMPLETE, wish, cost, Metrics(top1, 1, 1, 10, 1), attempt=attempt))
    chosen = front(candidates(trials, (0,)), objectives)
    assert [candidate.latency_ms for candidate in chosen] == [3.0, 5.0] and cost_name(objectives) == "latency_ms"


def test_limits_on_counts_and_mistakes_in_them():
    study = limited(STUDY, ["gmacs<=0.02", "params_m <= 4"])
    assert [(o.name, o.limit, o.on_front) for o in study.objectives] == [
        ("top1", None, True), ("gmacs", 0.02, True), ("params_m", 4.0, False),
    ]  # fmt: skip
    for wrong, words in (
        ("gmcas<=2", "did you mean 'gmacs'"), ("top1<=1", "gmacs, params_m, latency_ms"), ("gmacs<=x", "gmacs<=2"),
        ("gmacs=2", "gmacs"), ("params_m<=-1", "above 0"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            limited(STUDY, [wrong])
