"""The comparison over seeds: numbers worked out by hand, false alarms and power simulated, and what people get to read."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest
from matplotlib.text import Text
from rich.console import Console

from expand.core.accuracy import percent
from expand.core.space import Architecture
from expand.core.study import Objective, Recipe
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.report.candidates import RunFacts, candidates
from expand.report.drawing import PAGE, picture_names
from expand.report.files import write_report
from expand.report.front import front_of
from expand.report.front_figure import draw_front
from expand.report.run_report import summary
from expand.report.significance import compare
from expand.report.significance_tables import comparison_markdown, print_comparison
from expand.report.tables import print_front
from expand.storage.facts import Facts, StudyFacts, VideoCounts, VideoFacts
from expand.strategies.ledger import ledger

OBJECTIVES = (Objective("top1", "maximize"), Objective("gmacs", "minimize", known_before_training=True))
SEEDS = (0, 1, 2)
FACTS = RunFacts("depths", "demo", "rendered clips", epochs=14, views=2, clips=160, seeds=SEEDS)
ALWAYS = [
    *("front.csv", "trials.csv", "index.html", "front.json"),
    *picture_names("front"),
    *picture_names("hypervolume"),
]
COMPARED = ["comparison.md", "comparison.csv", "comparison.json"]

# By hand: means 82, 72, 62; differences in points 10 8 12, 20 22 18, 10 14 6, so that their variances are 4, 4 and 16, on
# average 8: standard errors are sqrt(8 / 3) for A and B, A and C, and sqrt(16 / 3) for B and C.
BY_HAND = {"A": (0.80, 0.82, 0.84), "B": (0.70, 0.74, 0.72), "C": (0.60, 0.60, 0.66)}


def trial(number, name, seed, top1, *, state=TrialState.COMPLETE, macs=100, clips=160, kind="grid", step=0, axes=()):
    wish = Suggestion(
        Architecture("c3d", (("depths", name or str(axes)),)), 14, seed, step, axes, None, kind, name=name
    )
    metrics = None if top1 is None else Metrics(top1, 1.0, 1.0, clips, 2)
    return Trial(number, state, wish, Cost(macs, macs // 10, macs, macs, ((3, 16, 40, 40),)), metrics)


def grid(scores, *, clips=160):
    """Trials of named networks, all seeds of each together, each costlier than the one before."""
    rows = [
        (name, seed, top1, 1_000_000 * n)
        for n, (name, own) in enumerate(scores.items(), 1)
        for seed, top1 in enumerate(own)
    ]
    return [trial(n, name, seed, top1, macs=macs, clips=clips) for n, (name, seed, top1, macs) in enumerate(rows)]


def compared(trials, seeds=SEEDS):
    return compare(candidates(trials, seeds), trials, seeds)


def pair_of(comparison, better, worse):
    (found,) = [pair for pair in comparison.pairs if (pair.better.label, pair.worse.label) == (better, worse)]
    return found


def simulated(rng, means, *, noise, seed_effects=0.0):
    effects = [rng.gauss(0, seed_effects) for _ in SEEDS]
    return [[round(160 * (mean + effect + rng.gauss(0, noise))) / 160 for effect in effects] for mean in means]


# --- the statistics --------------------------------------------------------------------------------------------------


def test_numbers_worked_out_by_hand():
    found = compared(grid(BY_HAND, clips=100_000))
    assert [network.label for network in found.networks] == ["A", "B", "C"]
    pair = pair_of(found, "A", "C")
    assert pair.difference == pytest.approx(0.2) and pair.differences == pytest.approx((0.20, 0.22, 0.18))
    assert pair.standard_error == pytest.approx(0.02 * (2 / 3) ** 0.5)
    assert [pair.verdict for pair in found.pairs] == ["beyond noise"] * 3
    assert found.beaten(found.networks[0]) == (["B", "C"], [])
    assert found.least_difference == pair.needed == pair_of(found, "A", "B").needed < pair_of(found, "B", "C").needed


def test_p_and_the_difference_that_is_needed_agree():
    rng = random.Random(5)
    for _ in range(5):
        found = compared(grid(dict(zip("ABCD", simulated(rng, (0.7, 0.75, 0.8, 0.8), noise=0.02), strict=True))))
        assert all((pair.p <= 0.05) == pair.beyond_seeds for pair in found.pairs)
        assert all(pair.difference >= 0 for pair in found.pairs) and len(found.pairs) == 6


def test_what_a_seed_does_to_all_networks_cancels():
    shifted = {name: tuple(s + e for s, e in zip(own, (0.1, -0.2, 0.05), strict=True)) for name, own in BY_HAND.items()}
    plain, moved = compared(grid(BY_HAND)), compared(grid(shifted))
    assert [pair.needed for pair in moved.pairs] == pytest.approx([pair.needed for pair in plain.pairs])
    assert [pair.p for pair in moved.pairs] == pytest.approx([pair.p for pair in plain.pairs])
    assert moved.networks[0].candidate.spread > 5 * plain.networks[0].candidate.spread


def test_a_difference_within_the_split_is_not_over_claimed():
    scores = {"A": (0.825, 0.825, 0.83), "B": (0.78, 0.775, 0.78), "C": (0.40, 0.405, 0.40)}
    small, large = compared(grid(scores, clips=160)), compared(grid(scores, clips=20_000))
    split = (0.82667 * 0.17333 / 160 + 0.77833 * 0.22167 / 160) ** 0.5
    assert pair_of(small, "A", "B").split_error == pytest.approx(split, rel=1e-3)
    assert pair_of(small, "A", "B").verdict == "beyond seed noise, within the split's"
    assert pair_of(large, "A", "B").verdict == pair_of(small, "B", "C").verdict == "beyond noise"
    assert small.beaten(small.networks[0]) == (["C"], ["B"])
    assert "C, (B)" in printed(print_comparison, FACTS, small)


def test_seeds_without_any_noise_prove_nothing():
    found = compared(grid({"A": (0.9, 0.8, 0.9), "B": (0.7, 0.6, 0.7)}))
    assert (found.least_difference, found.pairs[0].needed, found.pairs[0].p) == (None, None, None)
    assert found.pairs[0].verdict == "noise unknown" and found.beaten(found.networks[0]) == ([], [])
    assert "seed noise cannot be estimated" in printed(print_comparison, FACTS, found)


# --- partial runs ----------------------------------------------------------------------------------------------------


def test_what_is_not_complete_is_left_out_and_named():
    trials = [
        *grid(BY_HAND),
        trial(9, "D", 0, 0.99), trial(10, "D", 1, None, state=TrialState.RUNNING),
        trial(11, "E", 0, None, state=TrialState.INFEASIBLE),
        trial(12, "F", 0, 0.9), trial(13, "F", 1, None, state=TrialState.FAILED),
    ]  # fmt: skip
    found = compared(trials)
    assert [network.label for network in found.networks] == ["A", "B", "C"]
    assert found.left_out == (("D", "running"), ("E", "infeasible"), ("F", "failed"))
    assert "Left out: D (running), E (infeasible), F (failed)." in printed(print_comparison, FACTS, found)


def test_a_failed_trial_that_was_done_again_counts_once():
    trials = [trial(99, "A", 1, None, state=TrialState.FAILED), *grid(BY_HAND)]
    assert compared(trials).networks[0].scores == BY_HAND["A"]


@pytest.mark.parametrize("count", range(6))
def test_nothing_to_compare_before_two_networks_are_complete(count):
    assert compared(grid(BY_HAND)[:count]) is None


def test_nothing_to_compare_with_one_seed():
    assert compared(grid(BY_HAND), seeds=(0,)) is None


def test_networks_without_names_are_told_apart():
    suggestions = [(step, axis, seed) for step, axis in ((1, "depth"), (2, "width")) for seed in SEEDS]
    trials = [
        trial(n, "", seed, 0.5 + 0.1 * step + 0.01 * seed * step, kind="expand", step=step, axes=(axis,))
        for n, (step, axis, seed) in enumerate(suggestions)
    ]
    assert [network.label for network in compared(trials).networks] == ["2 width", "1 depth"]
    other = Architecture("c3d", (("depths", "other"),))
    twice = [
        replace(again, number=again.number + 6, suggestion=replace(again.suggestion, architecture=other))
        for again in trials[:3]
    ]
    labels = {network.label for network in compared(trials + twice).networks}
    assert labels == {"2 width", "1 depth (trial 0)", "1 depth (trial 6)"}


# --- what people get -------------------------------------------------------------------------------------------------


def printed(call, *arguments):
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    call(console, *arguments)
    return " ".join(console.file.getvalue().split())


def test_the_table_says_what_the_noise_is():
    text = printed(print_comparison, FACTS, compared(grid(BY_HAND)))
    assert "│ A │ 1.00 │ 0.10 │ 82.0 ± 2.0 │ 80.0 82.0 84.0 │ B, C │" in text
    for words in (
        "MMACs", "seeds 0, 1, 2", "3 networks x 3 seeds, 14 epochs", "160 validation clips", "2 centre clips",
        "5 % for all 3 pairs together", "the pair's own paired t test",
        f"must exceed at least {percent(compared(grid(BY_HAND)).least_difference)} points",
        "initialisation and order of clips, with the same validation clips", "binomial standard error of 3.5",
    ):  # fmt: skip
        assert words in text
    assert "search not ended" in printed(print_comparison, replace(FACTS, complete=False), compared(grid(BY_HAND)))


def test_many_names_are_counted():
    scores = {f"net-{n}": (0.1 + 0.01 * (n % 2), 0.1, 0.1) for n in range(6)} | {"best": (0.9, 0.9, 0.9)}
    assert "│ 6 of 6 │" in printed(print_comparison, FACTS, compared(grid(scores)))


def test_markdown():
    page = comparison_markdown(FACTS, compared(grid(BY_HAND)))
    assert page.startswith("# Comparison of 3 networks, depths (demo) on rendered clips\n")
    assert "| A | 1.00 | 0.10 | 82.0 ± 2.0 | 80.0  82.0  84.0 | B, C |" in page
    needed = percent(pair_of(compared(grid(BY_HAND)), "A", "C").needed)
    assert f"| A | C | 20.0 | +20.0  +22.0  +18.0 | 1.6 | {needed} | 0.003 | beyond noise |" in page
    many = {f"{n}": (0.5, 0.6 + n / 1000, 0.7) for n in range(11)}
    assert "All 55 pairs are in comparison.csv." in comparison_markdown(FACTS, compared(grid(many)))


def test_files_of_a_grid(tmp_path):
    (tmp_path / "ledger.md").write_text("No step yet.")  # of a report before the first trial
    trials = grid(BY_HAND)
    names = [file.name for file in write_report(tmp_path, FACTS, trials, OBJECTIVES, ledger(trials))]
    assert sorted(names) == sorted(ALWAYS + COMPARED) == sorted(file.name for file in tmp_path.iterdir())
    pairs = pandas.read_csv(tmp_path / "comparison.csv")
    assert list(zip(pairs.better, pairs.worse, strict=True)) == [("A", "B"), ("A", "C"), ("B", "C")]
    assert pairs.difference.tolist() == pytest.approx([0.1, 0.2, 0.1]) and pairs.seed_1.tolist()[1] == pytest.approx(
        0.22
    )
    assert pairs.better_trials[0] == "0 1 2" and pairs.beyond_seed_noise.all()
    plain = json.loads((tmp_path / "comparison.json").read_text())
    assert plain["least_difference"] == pytest.approx(plain["pairs"][0]["needed_difference"]) and plain["networks"][2][
        "scores"
    ] == [0.6, 0.6, 0.66]
    assert pandas.read_csv(tmp_path / "trials.csv").name.tolist() == ["A"] * 3 + ["B"] * 3 + ["C"] * 3
    assert pandas.read_csv(tmp_path / "front.csv").name.tolist() == ["A"]


def test_files_follow_what_there_is(tmp_path):
    write_report(tmp_path, FACTS, grid(BY_HAND), OBJECTIVES, ())
    write_report(tmp_path, FACTS, grid(BY_HAND)[:3], OBJECTIVES, ())
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(ALWAYS)
    steps = [trial(n, "", seed, 0.5, kind="start") for n, seed in enumerate(SEEDS)]
    steps += [
        trial(n + 3, "", seed, 0.6 + seed / 50, kind="expand", step=1, axes=("depth",)) for n, seed in enumerate(SEEDS)
    ]
    write_report(tmp_path, FACTS, steps, OBJECTIVES, ledger(steps))
    stepwise = {"ledger.md", "ledger.json", *picture_names("expansion")}
    assert {file.name for file in tmp_path.iterdir()} == {*ALWAYS, *COMPARED} | stepwise


def test_the_ledger_holds_no_networks_of_a_grid_or_a_sample():
    start = trial(20, "", 0, 0.5, kind="start")
    sample = trial(21, "3-3", 0, 0.5, kind="sample")
    assert ledger([*grid(BY_HAND), sample]) == ()
    assert [step.kind for step in ledger([*grid(BY_HAND), sample, start])] == ["start"]


def record_of(trials, seeds=SEEDS):
    study = StudyFacts("depths", OBJECTIVES, seeds, recipe=Recipe(epochs=14, views=2))
    facts = Facts(study=study, data=VideoFacts("rendered clips", "f", ("a", "b"), VideoCounts(440, 160)))
    return SimpleNamespace(
        facts=facts, trials=lambda: trials, seeds=seeds, finished=True, objectives=OBJECTIVES, folder=Path("no such run")
    )  # fmt: skip


def test_the_summary_compares_a_grid_and_shows_the_ledger_of_steps():
    console = Console(file=io.StringIO(), width=160)
    assert summary(record_of(grid(BY_HAND)), console)
    text = console.file.getvalue()
    assert "Comparison of 3 networks" in text and "Pareto front" in text and "Step" not in text
    console = Console(file=io.StringIO(), width=160)
    steps = [trial(n, "", seed, 0.5 + seed / 50, kind="start") for n, seed in enumerate(SEEDS)]
    steps += [trial(n + 3, "", seed, 0.6, kind="expand", step=1, axes=("depth",)) for n, seed in enumerate(SEEDS)]
    assert summary(record_of(steps), console)
    text = console.file.getvalue()
    assert "Step 0: start" in text and "Comparison" not in text
    assert not summary(record_of([]), Console(file=io.StringIO()))


def test_the_front_of_named_networks_says_their_names():
    text = printed(print_front, FACTS, candidates(grid(BY_HAND), SEEDS), OBJECTIVES)
    assert "network" in text and "grown along" not in text and "step" not in text


def names_in(figure):
    axes = figure.axes[0]
    return [text for text in axes.texts if Text.get_text(text)]


@pytest.mark.parametrize("same_cost", [False, True])
def test_the_figure_names_every_network_and_no_two_names_overlap(same_cost):
    rng = random.Random(2)
    names = [*(f"depth-{n}" for n in range(1, 11)), "increasing", "decreasing"]
    trials = grid(dict(zip(names, simulated(rng, [0.5] + [0.8] * 11, noise=0.03), strict=True)))
    if same_cost:
        trials = [replace(t, cost=Cost(10_000_000, 10, 10, 10, ())) for t in trials]
    figure = draw_front(front_of("grid", FACTS, trials, OBJECTIVES), PAGE)
    figure.canvas.draw()
    texts = names_in(figure)
    assert {text.get_text() for text in texts} == set(names)
    boxes = [Text.get_window_extent(text, figure.canvas.get_renderer()) for text in texts]
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert "expansion path" not in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_the_figure_of_many_networks_names_the_front():
    scores = {f"net-{n}": (0.5, 0.5, 0.5 + (n in (0, 9)) * 0.01 * (n + 1)) for n in range(17)}
    figure = draw_front(front_of("grid", FACTS, grid(scores), OBJECTIVES), PAGE)
    assert [text.get_text() for text in names_in(figure)] == ["net-9", "net-0"]
