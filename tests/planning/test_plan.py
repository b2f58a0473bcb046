"""Plans: simulated trajectories of a search, their cost, planned against actual. No timing is asserted."""

from __future__ import annotations

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from conftest import STUDIES
from rich.console import Console

from expand.config.loading import load_study
from expand.config.overrides import limited, override
from expand.config.request import Request
from expand.core.attempt import Attempt
from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.counting.cost import MacsCounter
from expand.monitoring.progress import PlainLines
from expand.planning import planned_run as planning
from expand.planning.calibration import Calibration, _fit, _left_out_error, _spread
from expand.planning.plan import distinct, make_plan, training_macs, wall_seconds
from expand.planning.trajectories import Network, Trajectory, clips_seen, simulated
from expand.profiling.benchmark import Timing
from expand.report.plan_vs_actual import compare_plan, planned_markdown
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.plans import Plan, Videos, read_plan
from expand.storage.serialize import from_plain, to_plain

TINY = load_study(str(STUDIES / "tiny.py"))
GRID = load_study(str(STUDIES / "tiny_grid.py"))
VIDEOS = Videos(100, 20, 3, "as typed")


def played(study, **options) -> tuple[Trajectory, ...]:
    macs = MacsCounter(study.space, 3)
    return simulated(study, macs, macs.cost, **options)


# --- trajectories ----------------------------------------------------------------------------------------------------


def test_a_grid_has_one_course_with_all_networks_and_seeds():
    (trajectory,) = played(GRID)
    assert len(trajectory.networks) == 6 and trajectory.trainings == 12
    assert {network.trainings for network in trajectory.networks} == {2}


def test_a_stepwise_search_is_played_so_that_each_axis_and_the_extremes_win():
    found = played(TINY)
    assert [trajectory.name for trajectory in found] == [
        "cheapest wins",
        "most expensive wins",
    ]  # with two axes, nothing else
    first = [{n.architecture for n in trajectory.networks if n.step <= 1} for trajectory in found]
    assert first[0] == first[1], "the first step is known exactly"
    second = [{n.architecture for n in trajectory.networks if n.step == 2} for trajectory in found]
    assert second[0] != second[1]
    assert len(distinct(found)) == len(first[0] | second[0] | second[1])


def test_a_course_follows_the_axes_that_win():
    one, *_ = played(TINY, wins=("bottleneck", "frames"))
    assert one.name == "bottleneck, frames"
    grown = next(n.architecture for n in one.networks if n.label == "bottleneck" and n.step == 1)
    assert all(n.architecture["bottleneck"] >= grown["bottleneck"] for n in one.networks if n.step == 2)
    with pytest.raises(UsageError, match="did you mean 'frames'"):
        played(TINY, wins=("framse",))


def test_the_published_walk_is_a_course():
    """The axes that won in the paper's search (arXiv 2004.04730, section 4.1), with its fixed steps, pass through its
    instances."""
    study = load_study("x3d_stepwise", "paper")
    walk = ("bottleneck", "frames", "resolution", "depth", *3 * ("frames",), *2 * ("resolution",), "depth", "width")
    macs = MacsCounter(study.space, 400)
    one, *_ = simulated(study, macs, macs.cost, wins=walk)
    steps = {network.architecture: network.step for network in one.networks}
    assert {name: steps[study.space.point(name)] for name in ("XS", "S", "M", "L", "XL")} == {
        "XS": 5, "S": 7, "M": 8, "L": 10, "XL": 11,
    }  # fmt: skip


def test_a_sample_is_planned_as_far_as_its_budget_goes():
    study = load_study("c3d_depth_free")
    (trajectory,) = played(study)
    assert trajectory.trainings == study.budget.trials and len(trajectory.networks) == 8
    hours = override(study, ["budget.trials=none", "budget.hours=1"])
    (open_ended,) = played(hours)  # nobody knows yet how long a training takes
    assert len(open_ended.networks) == 20
    (timed,) = played(hours, seconds=lambda architecture, cost: 600.0)
    assert timed.trainings == 6


def test_limits_keep_candidates_from_being_trained_and_from_winning():
    free = played(TINY)
    step = sorted(n.cost.macs for n in free[0].networks if n.step == 1)
    study = limited(TINY, [f"gmacs<={(step[0] + step[1]) / 2e9}"])
    for trajectory in played(study):
        over = [network for network in trajectory.networks if network.over]
        assert over and all("gmacs" in network.over for network in over)
        assert all(network.cost.macs <= (step[0] + step[1]) / 2 for network in trajectory.trained)


# --- what it comes to ------------------------------------------------------------------------------------------------


def network(macs: int = 1000, *, step: int = 1, trainings: int = 1, over: str = "") -> Network:
    cost = Cost(macs, 10, 10, 100, ((3, 2, 16, 16),))
    return Network(TINY.space.architecture(frames=1 + macs // 1000), cost, step, "frames", trainings, 2, over)


def test_arithmetic_of_a_training():
    study = override(TINY, ["recipe.views=3"])
    assert clips_seen(study, 2, VIDEOS) == (200, (1 + 3) * 20)
    assert training_macs(network(trainings=2), study, VIDEOS) == 2 * 1000 * (3 * 200 + 80)


def test_workers_wait_at_the_end_of_a_step_only():
    trajectory = Trajectory(
        "", (network(step=0), network(2000), network(3000), network(4000, step=2), network(9000, over="x"))
    )
    seconds = {1000: 1.0, 2000: 2.0, 3000: 3.0, 4000: 4.0}
    wall = wall_seconds(trajectory, lambda one: seconds[one.cost.macs], 2)
    assert wall == 3 + 4  # (3 | 2 + 1), then 4 alone
    assert wall_seconds(trajectory, lambda one: seconds[one.cost.macs], 0) == 10


def calibration(timings: dict | None = None) -> Calibration:
    return Calibration(
        timings or {}, training=(0.001, 0, 0, 0), validation=(0.0005, 0, 0, 0), memory=(1e9, 0, 5e6), error=0.2,
        slowed=1.0,
        device="test", threads=1, processes=2, start_seconds=1.0, with_videos=True, candidates=3,
    )  # fmt: skip


def test_a_plan_says_hours_memory_and_disk():
    plan = make_plan(TINY, played(TINY), VIDEOS, Workers(2, 1), calibration(), cache_bytes=1e6)
    training = 200 * 0.001 + 40 * 0.0005
    assert all(one.seconds == pytest.approx(training) and not one.timed for one in plan.networks)
    low, middle, high = plan.device_hours
    counts = [trajectory.trainings for trajectory in plan.courses]
    assert low == pytest.approx(0.8 * min(counts) * training / 3600) and low < middle < high
    assert plan.peak_bytes > 5e6 and plan.fit_together.count >= 1 and plan.disk.cache == 1e6
    assert from_plain(json.loads(json.dumps(to_plain(plan))), Plan) == plan
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    planning.print_plan(console, plan)
    text = console.export_text()
    assert "device time" in text and "± 20 %" in text and "trajectories of the search" in text


def test_without_calibration_there_are_no_hours():
    plan = make_plan(GRID, played(GRID), VIDEOS, Workers(0, 1), None)
    assert plan.hours is None and plan.trainings == (12, 12, 12)
    assert compare_plan(plan, []) is None
    assert any("not timed" in line for line in planning.summary_lines(plan))


def test_what_was_timed_goes_before_the_fit():
    architecture = TINY.space.start
    timing = Timing(0.01, 0.002, 0.009, 0.001, 1.0, 0.1, TINY.recipe.batch_size, 5, 7_000_000)
    cost = MacsCounter(TINY.space, 3).cost(architecture)
    known = calibration({architecture: timing})
    assert known.seconds(architecture, cost, 2, TINY, VIDEOS) == pytest.approx(200 * 0.01 + 40 * 0.002)
    busy = replace(known, slowed=3.0)
    assert busy.seconds(architecture, cost, 2, TINY, VIDEOS) == pytest.approx(3 * (200 * 0.01 + 40 * 0.002))
    assert "x3.0 as long" in busy.described() and "as long" not in known.described()
    assert known.peak_bytes(architecture, cost, TINY.recipe.batch_size) == 7_000_000
    assert known.peak_bytes(architecture, cost, 2 * TINY.recipe.batch_size) != 7_000_000


def test_the_fit_finds_what_made_the_numbers_and_says_how_well():
    random = np.random.default_rng(0)
    features = np.column_stack([np.ones(8), random.random((8, 2))])
    values = features @ np.array([0.5, 2.0, 0.0])
    assert _fit(features, values) == pytest.approx((0.5, 2.0, 0.0), abs=1e-6)
    assert _left_out_error(features, values) < 1e-6 < _left_out_error(features, values * np.linspace(0.5, 1.5, 8))
    assert _spread([1, 2, 3], 5) == [1, 2, 3] and _spread(list(range(101)), 3) == [0, 50, 100]


# --- planned against actual ------------------------------------------------------------------------------------------


def test_planned_against_actual():
    plan = make_plan(TINY, played(TINY), VIDEOS, Workers(2, 1), calibration())
    planned = plan.networks[0].seconds
    known = [Architecture.from_json(one.architecture) for one in plan.networks[:2]]
    strange = TINY.space.architecture(width=3.0)
    macs = MacsCounter(TINY.space, 3)
    trials = [
        Trial(
            number, TrialState.COMPLETE, Suggestion(architecture, 2, 0), macs.cost(architecture),
            Metrics(0.5, 1, 1, 20, 1), train_seconds=planned * factor,
            attempt=Attempt(peak_bytes=10_000_000),
        )
        for number, (architecture, factor) in enumerate(zip([*known, strange], (1.0, 2.0, 1.0), strict=True))
    ]  # fmt: skip
    found = compare_plan(plan, trials)
    assert found is not None and len(found.rows) == 2 and found.unplanned == 1
    assert found.time_error == pytest.approx(0.25) and found.total_error == pytest.approx(2 / 3 - 1)
    assert found.memory_error is not None and found.cpu_error is None
    page = planned_markdown(plan, found)
    assert "-50.0 %" in page and "25.0 % on average" in page and "expand *" in page


def test_a_kept_plan_is_set_against_the_run(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "calibrate", functools.partial(planning.calibrate, seconds=2.0))
    monkeypatch.setattr("expand.planning.calibration.fresh_processes", lambda count: ThreadPoolExecutor(1))
    request = Request(str(STUDIES / "tiny.py"), "demo", ("budget.steps=0", "recipe.epochs=1"), str(squares))
    workers, folder, notes = Workers(0, 1), tmp_path / "run", []
    with pytest.raises(UsageError, match=r"--budget-hours 1e-09 allows less"):
        planning.within_budget(request, folder, workers, 1e-9, notes.append)
    first = read_plan(folder)
    assert first is not None and first.calibration.timed == 1 and first.networks[0].timed
    assert first.networks[0].seconds > 0 and first.disk.cache > 0
    planning.within_budget(request, folder, workers, 1000.0, notes.append)  # not timed again
    assert read_plan(folder) == first and "of at most 1000" in notes[-1]
    run(request, folder, workers, PlainLines(Console(quiet=True)))
    assert (folder / "report" / "planned.md").read_text().startswith("# Planned against actual")
    assert "planned_seconds" in (folder / "report" / "planned.csv").read_text()


def test_videos_that_are_not_there_yet():
    request = Request("c3d_temporal_depth", "paper")
    plan = planning.plan_study(request, Workers(0, 1), calibrated=False)
    assert plan.videos == Videos(9537, 3783, 101, plan.videos.source)
    typed = planning.plan_study(request, Workers(0, 1), videos=1000, classes=7, calibrated=False)
    assert (typed.videos.training, typed.videos.classes) == (1000, 7)
    for options, words in (({"videos": 5}, "needs --classes"), ({"classes": 5}, "needs --videos")):
        with pytest.raises(UsageError, match=words):
            planning.plan_study(request, Workers(0, 1), calibrated=False, **options)


def test_the_command_line(expand, tmp_path):
    done = expand("plan", "mcx_split", "--scale", "paper", "--no-calibrate", "--keep", "run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan == json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["hours"] is None and plan["trainings"] == [36, 36, 36] and plan["videos"]["training"] == 240_000
