"""The report on a hand-made search: three steps, a contraction, and the trials that must not be on offer."""

from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree
from dataclasses import replace

import pandas
import pytest
from matplotlib.text import Text
from rich.console import Console

from expand.core.attempt import Epoch
from expand.core.space import Architecture
from expand.core.study import Objective
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.report.candidates import RunFacts, candidates, cost_name, front
from expand.report.drawing import COLUMN, PAGE, log_ticks, picture_names
from expand.report.figures import run_figures
from expand.report.files import write_report
from expand.report.front import front_of, path
from expand.report.tables import cost_unit, ledger_markdown, print_front, print_ledger, show_cost
from expand.strategies.ledger import ledger

OBJECTIVES = (Objective("top1", "maximize"), Objective("gmacs", "minimize", known_before_training=True))
FACTS = RunFacts("x3d_stepwise", "demo", "rendered clips", epochs=12, views=2, clips=192)
TEXTS = ["front.csv", "trials.csv", "ledger.md", "ledger.json", "index.html", "front.json"]
BEGUN = [*TEXTS, *picture_names("front")]
FILES = [
    *TEXTS[:4],
    "expected.md",
    *BEGUN[4:],
    *(name for figure in ("expansion", "hypervolume", "curves") for name in picture_names(figure)),
]


def made(number, step, axis, parent, macs, top1, state=TrialState.COMPLETE, kind="expand", seed=0, **values):
    architecture = Architecture("x3d", tuple({"frames": 1, "width": 0.5, "variant": number, **values}.items()))
    wish = Suggestion(architecture, 12, seed, step, (axis,) if axis else (), parent, kind)
    metrics = None if top1 is None else Metrics(top1, min(top1 + 0.2, 1.0), 1.0, 192, 2)
    error = "loss is not finite in epoch 3" if state is TrialState.FAILED else ""
    cost = Cost(macs, macs // 10, macs // 11, macs // 5, ((3, 1, 64, 64),))
    return Trial(number, state, wish, cost, metrics, (Epoch(1, 1.0, top1 or 0.1),), 31.5, "t0", "t1", error=error)


TRIALS = (
    made(0, 0, "", None, 1_100_000, 0.42, kind="start"),
    made(1, 1, "frame_rate", 0, 2_210_000, 0.61),
    made(2, 1, "resolution", 0, 2_190_000, 0.44),
    made(3, 1, "depth", 0, 2_250_000, 0.43),
    made(4, 1, "width", 0, 2_150_000, 0.46),
    made(5, 1, "bottleneck", 0, 2_200_000, 0.45),
    made(6, 2, "frame_rate", 1, 4_400_000, 0.72),
    made(7, 2, "frames", 1, 4_390_000, 0.76),
    made(8, 2, "resolution", 1, 4_380_000, 0.66),
    made(9, 2, "depth", 1, 4_500_000, None, TrialState.FAILED),
    made(10, 2, "width", 1, 4_300_000, 0.64),
    made(11, 2, "bottleneck", 1, 4_410_000, 0.99, TrialState.PRUNED),  # stopped early with a brilliant metric
    made(12, 3, "frame_rate", 7, 8_800_000, 0.77),
    made(13, 3, "frames", 7, 8_790_000, 0.79),
    made(14, 3, "resolution", 7, 8_760_000, 0.74),
    made(15, 3, "depth", 7, 9_010_000, 0.83),
    made(16, 3, "width", 7, 8_600_000, 0.81),
    made(17, 3, "bottleneck", 7, 80_000_000, None, TrialState.INFEASIBLE),
    made(18, 4, "depth", 15, 8_000_000, 0.82, kind="contract"),
)


def numbers(found):
    return [candidate.numbers[0] for candidate in found]


def test_the_front_holds_only_what_was_trained_in_full():
    found = candidates(TRIALS, (0,))
    assert numbers(found) == list(range(19))
    assert numbers(front(found, OBJECTIVES)) == [0, 4, 1, 10, 8, 7, 18, 15]
    assert found[11].state is TrialState.PRUNED and found[11].top1 is None
    assert found[9].error == "loss is not finite in epoch 3"
    assert found[0].spread is None and found[0].standard_error == pytest.approx(math.sqrt(0.42 * 0.58 / 192))


def test_one_candidate_of_two_seeds():
    trials = [made(0, 0, "", None, 10, 0.4, kind="start", variant=0), made(1, 0, "", None, 10, 0.5, seed=1, variant=0)]
    trials += [made(2, 1, "width", 0, 20, 0.9, variant=1)]  # its second seed is still to come
    trials += [made(3, 1, "depth", 0, 21, 0.6, variant=2)]
    trials += [made(4, 1, "depth", 0, 21, None, TrialState.FAILED, seed=1, variant=2)]
    found = candidates(trials, (0, 1))
    assert [(c.numbers, c.state) for c in found] == [
        ((0, 1), TrialState.COMPLETE),
        ((2,), TrialState.RUNNING),
        ((3, 4), TrialState.FAILED),
    ]
    assert found[0].top1 == pytest.approx(0.45)
    assert found[0].spread == found[0].noise == pytest.approx(0.1 / math.sqrt(2))
    assert front(found, OBJECTIVES) == (found[0],)


def test_a_failed_trial_that_was_done_again_counts_once():
    trials = [made(0, 0, "", None, 10, None, TrialState.FAILED, variant=0), made(1, 0, "", None, 10, 0.5, variant=0)]
    (only,) = candidates(trials, (0,))
    assert (only.state, only.top1, only.numbers) == (TrialState.COMPLETE, 0.5, (0, 1))


def test_a_score_that_is_not_finite_is_not_on_offer():
    (only,) = candidates([made(0, 0, "", None, 10, math.nan)], (0,))
    assert only.state is TrialState.FAILED
    assert front([only], OBJECTIVES) == ()


def test_front_over_parameters():
    objectives = (Objective("top1", "maximize"), Objective("params_m", "minimize", known_before_training=True))
    cheap = made(0, 0, "", None, 900, 0.5)
    small = replace(made(1, 0, "", None, 1000, 0.4), cost=Cost(1000, 5, 5, 5, ()))
    assert cost_name(objectives) == "params_m"
    assert numbers(front(candidates([cheap, small], (0,)), objectives)) == [1, 0]
    limit = Objective("params_m", "minimize", known_before_training=True, limit=9.0, on_front=False)
    assert numbers(front(candidates([cheap, small], (0,)), (*OBJECTIVES, limit))) == [0]  # a limit is no objective


@pytest.mark.parametrize(
    ("amounts", "unit", "shown"),
    [
        ([1_100_000, 2_204_000], "MMACs", ["1.10", "2.20"]),
        ([20_670_432, 35_841_000_000], "GMACs", ["0.0207", "35.84"]),
        ([1_100_000, 35_840_000_000], "MMACs", ["1.10", "35,840"]),
        ([53_100_000, 124_000_000], "MMACs", ["53.10", "124.00"]),
        ([900], "MACs", ["900.00"]),
        ([], "GMACs", []),
    ],
)
def test_one_unit_within_a_table(amounts, unit, shown):
    size, name = cost_unit(amounts)
    assert name == unit
    assert [show_cost(amount, size) for amount in amounts] == shown


def printed(call, *arguments):
    console = Console(file=io.StringIO(), width=180, force_terminal=False)
    call(console, *arguments)
    return console.file.getvalue()


def test_the_printed_front_says_its_convention():
    text = " ".join(printed(print_front, FACTS, candidates(TRIALS, (0,)), OBJECTIVES).split())
    assert "multiply-adds of conv and linear layers (as fvcore counts them), one clip at the training crop" in text
    assert "top-1 on 192 validation clips, mean softmax of 2 centre clips; seed 0, 12 epochs" in text
    assert "± is the binomial standard error of the validation split" in text
    assert "MMACs" in text and "61.0 ± 3.5" in text and "1 infeasible, 1 stopped early, 1 failed" in text


def test_nothing_complete_yet_is_said():
    assert "no front yet" in printed(print_front, FACTS, (), OBJECTIVES)


def test_the_ledger_shows_what_was_chosen_and_why():
    text = printed(print_ledger, ledger(TRIALS), 160)
    chosen = [line for line in text.splitlines() if "✓" in line]
    assert [line.split("│")[1].strip() for line in chosen] == ["", "frame_rate", "frames", "depth", "depth"]
    assert "infeasible" in text and "failed" in text
    markdown = ledger_markdown(ledger(TRIALS), 160)
    assert markdown.count("## Step") == 5 and "| depth | variant 7→15 | 9.01 | 2.05 | 83.0 ± 2.7 | ✓ | 15 |" in markdown


def test_write_report(tmp_path):
    files = write_report(tmp_path, FACTS, TRIALS, OBJECTIVES, ledger(TRIALS))
    assert [file.name for file in files] == FILES
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)  # no temporary name left
    table = pandas.read_csv(tmp_path / "trials.csv")
    assert list(table.number) == list(range(19))
    assert {"frames", "width", "macs", "gmacs", "top1", "seed", "error", "train_seconds"} <= set(table.columns)
    assert table.macs[0] == 1_100_000 and table.gmacs[0] == 0.0011 and table.state[11] == "pruned"
    best = pandas.read_csv(tmp_path / "front.csv")
    assert list(best.macs) == [1_100_000, 2_150_000, 2_210_000, 4_300_000, 4_380_000, 4_390_000, 8_000_000, 9_010_000]
    steps = json.loads((tmp_path / "ledger.json").read_text())
    assert steps[1]["base"]["values"]["variant"] == 0 and steps[1]["entries"][0]["state"] == "complete"
    assert (tmp_path / "front.png").stat().st_size > 20_000
    xml.etree.ElementTree.parse(tmp_path / "front.svg")
    assert ">expansion path</text>" in (tmp_path / "front.svg").read_text()
    for name in ("front.pdf", "front-column.pdf"):
        pdf = (tmp_path / name).read_bytes()
        assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"/Type3" not in pdf  # outlines of TrueType fonts


@pytest.mark.parametrize("trials", [(), (made(0, 0, "", None, 1_100_000, None, TrialState.RUNNING, kind="start"),)])
def test_write_report_in_the_middle_of_a_run(tmp_path, trials):
    facts = replace(FACTS, complete=False)
    assert len(write_report(tmp_path, facts, trials, OBJECTIVES, ledger(trials))) == len(BEGUN) + 4 * bool(
        trials
    )  # curves
    assert len(pandas.read_csv(tmp_path / "trials.csv")) == len(trials)
    assert "no candidate is complete yet" in (tmp_path / "front.svg").read_text()


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_report(tmp_path, FACTS, TRIALS[:1], OBJECTIVES, ledger(TRIALS[:1]))
    before = (tmp_path / "front.csv").read_bytes()

    def full(self, path, **options):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pandas.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path, FACTS, TRIALS, OBJECTIVES, ledger(TRIALS))
    assert (tmp_path / "front.csv").read_bytes() == before
    nothing_grown = [name for name in FILES if not name.startswith(("expansion", "expected"))]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(nothing_grown)


def test_the_path_goes_from_the_start_along_the_chosen():
    assert numbers(path(candidates(TRIALS, (0,)), ledger(TRIALS))) == [0, 1, 7, 15, 18]


def grown(steps):
    """A start and steps of six axes each, of which the first is the best; costs and accuracies close to each other."""
    trials = [made(0, 0, "", None, 1_100_000, 0.3, kind="start")]
    for step in range(1, steps + 1):
        base = trials[-6 if step > 1 else 0]
        for n, axis in enumerate(("frame_rate", "resolution", "depth", "width", "bottleneck", "frames")):
            macs, top1 = int(base.cost.macs * (2 + 0.03 * n)), base.metrics.top1 + 0.06 - 0.02 * n
            trials.append(made(len(trials), step, axis, base.number, macs, top1))
    return trials


def sampled(count, *, rising):
    """Named networks: all on the front, or scattered."""
    tops = [0.3 + 0.6 * (n if rising else (n * 7) % count) / count for n in range(count)]
    trials = [made(n, 0, "", None, int(1e6 * 1.06**n), top1, kind="grid") for n, top1 in enumerate(tops)]
    named = [replace(trial.suggestion, name=f"depth-{trial.number}_width") for trial in trials]
    return [replace(trial, suggestion=wish) for trial, wish in zip(trials, named, strict=True)]


@pytest.mark.parametrize("width", [PAGE, COLUMN])
@pytest.mark.parametrize(
    "trials",
    [
        sampled(5, rising=True),
        sampled(18, rising=False),
        sampled(60, rising=True),
        grown(3),
        pytest.param(grown(10), marks=pytest.mark.heavy),
    ],
)
def test_no_two_labels_overlap_and_names_appear(trials, width):
    steps = ledger(trials)
    shown = front_of("run", FACTS, trials, OBJECTIVES, steps=steps)
    for name, draw in run_figures(shown, steps, trials).items():
        figure = draw(width)
        figure.canvas.draw()
        texts = [text for text in figure.axes[0].texts if Text.get_text(text)]
        boxes = [Text.get_window_extent(text, figure.canvas.get_renderer()) for text in texts]  # without the leaders
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n]), name
        inside = figure.bbox.padded(1)
        assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1 for box in boxes), name
        names = {text.get_text() for text in texts}
        if name in ("front", "curves"):
            fit = {shown.best[-1].title} if len(trials) > 19 else {c.title for c in shown.best}
            assert fit <= names and len(names) >= min(len(shown.best), 9)
        if name == "expansion":  # each axis is named by its mark, those chosen beside it, too
            assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == {
                t.suggestion.axes[0] for t in trials[1:]
            }
            assert {"start", "frame_rate"} <= names and (len(trials) > 19 or len(texts) >= 14)


@pytest.mark.parametrize(
    ("low", "high", "some"),
    [
        (0.9, 9.9, {1, 2, 5}),
        (20, 140, {20, 50, 100}),
        (0.02, 50, {0.1, 1, 10}),
        (1.0, 1.3, {1.1, 1.2}),
        (0.88, 2.76, {1, 1.2, 2, 2.6}),
    ],
)
def test_log_ticks_are_round_and_enough(low, high, some):
    ticks = log_ticks(low, high)
    assert some <= set(ticks) and 4 <= len(ticks) <= 10
