"""Writes the report of a run, finished or not: a folder of files. Imports neither torch nor ray; pandas and matplotlib are
imported when files are written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from expand.core.atomic import appearing
from expand.core.study import Objective
from expand.core.trial import Cost, Trial
from expand.report.about import About
from expand.report.candidates import Candidate, RunFacts, candidates, front
from expand.report.drawing import Writer, picture_files, picture_names
from expand.report.expected import expected_markdown, expected_of
from expand.report.inherited import plain_inherited
from expand.report.noise import FAMILY_ERROR
from expand.report.page_data import RunOnPage, fronts_of, page_data
from expand.report.plan_vs_actual import compare_plan, planned_markdown, planned_rows
from expand.report.predicted import compare_predictions, predicted_markdown
from expand.report.significance import Comparison, compare
from expand.report.significance_tables import comparison_markdown
from expand.report.tables import ledger_markdown
from expand.storage.plans import Plan
from expand.storage.test_results import Tested, TestResult, summary
from expand.strategies.ledger import UNSTEPPED

if TYPE_CHECKING:
    import pandas

    from expand.strategies.ledger import LedgerStep


def write_report(
    folder: Path,
    facts: RunFacts,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    steps: Sequence[LedgerStep],
    plan: Plan | None = None,
    about: About | None = None,
    tests: Mapping[int, TestResult] | None = None,
) -> list[Path]:
    """Writes the report. Each file is replaced atomically. In csv files accuracies are fractions, costs whole numbers (except
    gmacs), times seconds.

    Always: index.html (the page), front.json (its data), front.csv, trials.csv, pictures (`picture_files`).
    A search in steps: ledger.md and .json. Several seeds: comparison.md, .csv and .json. A planned run: planned.md and .csv.
    A strategy with a model of accuracies: predicted.md. Eight finished networks: expected.md.
    Inherited weights: inherited.csv.

    Args:
        tests: results on the run's own test split, by trial.

    Raises:
        OSError: the folder cannot be written.
    """
    found, tests = candidates(trials, facts.seeds), tests or {}
    files: dict[str, Writer] = {
        "front.csv": table(front_table(facts, trials, objectives, tests)),
        "trials.csv": table(trial_table(trials, tests)),
    }
    if steps or not any(trial.suggestion.kind in UNSTEPPED for trial in trials):
        files["ledger.md"] = text(ledger_markdown(steps, facts.clips))
        files["ledger.json"] = plain_json([_plain_step(step) for step in steps])
    if comparison := compare(found, trials, facts.seeds):
        files["comparison.md"] = text(comparison_markdown(facts, comparison))
        files["comparison.csv"] = table(_pair_rows(comparison))
        files["comparison.json"] = plain_json(_plain_comparison(facts, comparison))
    if plan and (found_plan := compare_plan(plan, trials)):
        files["planned.md"] = text(planned_markdown(plan, found_plan))
        files["planned.csv"] = table(planned_rows(found_plan))
    if predictions := compare_predictions(trials):
        files["predicted.md"] = text(predicted_markdown(predictions))
    if expected := expected_of(found, trials, objectives):
        files["expected.md"] = text(expected_markdown(expected, facts.clips))
    run = RunOnPage(facts, trials, objectives, steps, plan, about or About(folder.resolve().name))
    if rows := run.inherited():
        files["inherited.csv"] = table([plain_inherited(row) for row in rows])
    files |= _page_files([run])
    return write_files(folder, files, sometimes=SOMETIMES)


def front_table(
    facts: RunFacts, trials: Sequence[Trial], objectives: Sequence[Objective], tests: Mapping[int, TestResult]
) -> pandas.DataFrame:
    """The front, cheapest first: one row per network. Accuracies are fractions, costs whole numbers (except gmacs)."""
    import pandas

    rows = [_front_row(one, facts, tests) for one in front(candidates(trials, facts.seeds), objectives)]
    return pandas.DataFrame(rows, columns=[*_FRONT, *_value_columns(trials), *_COST, *_FRONT_ACCURACY])


def trial_table(trials: Sequence[Trial], tests: Mapping[int, TestResult]) -> pandas.DataFrame:
    """Every trial, by number: one row each, in the units of `front_table`; times are seconds."""
    import pandas

    rows = [_trial_row(trial, tests) for trial in sorted(trials, key=lambda trial: trial.number)]
    return pandas.DataFrame(rows, columns=[*_TRIAL, *_value_columns(trials), *_COST, *_TRIAL_ACCURACY])


def write_page(folder: Path, runs: Sequence[RunOnPage]) -> list[Path]:
    """Writes the one page of several runs, its front.json, and pictures of their fronts and hypervolumes.

    Raises:
        OSError: the folder cannot be written.
    """
    return write_files(folder, _page_files(runs), sometimes=SOMETIMES)


def _page_files(runs: Sequence[RunOnPage]) -> dict[str, Writer]:
    from expand.report.figures import run_figures, runs_figures
    from expand.report.page import render_page

    fronts = fronts_of(runs)
    data = page_data(runs, fronts)
    files: dict[str, Writer] = {
        "index.html": text(render_page(data)),
        "front.json": text(json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"),
    }
    alone = runs[0] if len(runs) == 1 else None
    figures = run_figures(fronts[0], alone.steps, alone.trials) if alone else runs_figures(fronts)
    for name, draw in figures.items():
        files |= picture_files(name, draw)
    return files


# Files that a report may lack: a grid has no ledger, a comparison needs two networks with two seeds each, a plan is optional, and
# only `expand grow` makes inherited networks.
SOMETIMES = (
    *("ledger.md", "ledger.json", "comparison.md", "comparison.csv", "comparison.json"),
    *("planned.md", "planned.csv", "predicted.md", "expected.md", "inherited.csv"),
    *(name for figure in ("fronts", "expansion", "hypervolume", "curves") for name in picture_names(figure)),
)

_FRONT = ["name", "step", "kind", "axes", "trials"]
_TRIAL = ["number", "state", "name", "step", "kind", "axes", "parent", "inherit"]
_COST = ["macs", "gmacs", "params", "params_published", "activations"]
_TEST = ["test_top1", "test_standard_error", "test_videos", "test_views", "test_crop"]
_FRONT_ACCURACY = ["top1", "spread", "standard_error", "val_clips", "views", "epochs", "seeds", *_TEST]
_TRIAL_ACCURACY = [
    *("top1", "top5", "loss", "standard_error", "val_clips", "views", "seed", "epochs", "epochs_trained"),
    *("train_seconds", "attempts", "error", "started", "ended", *_TEST),
]


def _value_columns(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(_value_column(name) for trial in trials for name, _ in trial.architecture.values))


def _value_column(name: str) -> str:
    """The column of an architecture value: its own name, unless another column has that name."""
    return f"architecture_{name}" if name in {*_FRONT, *_TRIAL, *_COST, *_FRONT_ACCURACY, *_TRIAL_ACCURACY} else name


def _front_row(candidate: Candidate, facts: RunFacts, tests: Mapping[int, TestResult]) -> dict[str, object]:
    return {
        "name": candidate.name,
        "step": candidate.step,
        "kind": candidate.kind,
        "axes": "=".join(candidate.axes),
        "trials": " ".join(map(str, candidate.numbers)),
        **{_value_column(name): value for name, value in candidate.architecture.values},
        **_cost_cells(candidate.cost),
        "top1": candidate.top1,
        "spread": candidate.spread,
        "standard_error": candidate.standard_error,
        "val_clips": facts.clips,
        "views": facts.views,
        "epochs": facts.epochs,
        "seeds": " ".join(map(str, facts.seeds)),
        **_test_cells(summary(tests, candidate.numbers)),
    }


def _trial_row(trial: Trial, tests: Mapping[int, TestResult]) -> dict[str, object]:
    suggestion, metrics = trial.suggestion, trial.metrics
    row = {
        "number": trial.number,
        "state": trial.state.value,
        "name": suggestion.name,
        "step": suggestion.step,
        "kind": suggestion.kind,
        "axes": "=".join(suggestion.axes),
        "parent": "" if suggestion.parent is None else suggestion.parent,
        "inherit": "" if suggestion.inherit is None else suggestion.inherit,
        **{_value_column(name): value for name, value in trial.architecture.values},
        **_cost_cells(trial.cost),
        "seed": suggestion.seed,
        "epochs": suggestion.epochs,
        "epochs_trained": len(trial.curve),
        "train_seconds": round(trial.train_seconds, 3),
        "attempts": trial.attempts,
        "error": trial.error,
        "started": trial.started,
        "ended": trial.ended,
        **_test_cells(summary(tests, [trial.number])),
    }
    if metrics is not None:
        row |= {"top1": metrics.top1, "top5": metrics.top5, "loss": metrics.loss, "views": metrics.views}
        row |= {"standard_error": metrics.standard_error, "val_clips": metrics.clips}
    return row


def _test_cells(tested: Tested | None) -> dict[str, object]:
    """Empty if the trial was not tested."""
    if tested is None:
        return {}
    values = (tested.top1, tested.standard_error, tested.videos, tested.views, tested.crop)
    return dict(zip(_TEST, values, strict=True))


def _cost_cells(cost: Cost) -> dict[str, object]:
    return {name: getattr(cost, name) for name in _COST}


def _plain_step(step: LedgerStep) -> dict[str, object]:
    base = None if step.base is None else {"family": step.base.family, "values": step.base.as_dict()}
    return asdict(step) | {"base": base}


def _pair_rows(comparison: Comparison) -> list[dict[str, object]]:
    """comparison.csv: one row per pair of networks, which are named by their trial numbers. Accuracies are fractions."""
    return [
        {
            "better": pair.better.label,
            "worse": pair.worse.label,
            "better_trials": " ".join(map(str, pair.better.candidate.numbers)),
            "worse_trials": " ".join(map(str, pair.worse.candidate.numbers)),
            "better_top1": pair.better.top1,
            "worse_top1": pair.worse.top1,
            "difference": pair.difference,
            **{f"seed_{seed}": value for seed, value in zip(comparison.seeds, pair.differences, strict=True)},
            "standard_error": pair.standard_error,
            "p_adjusted": pair.p,
            "needed_difference": pair.needed,
            "beyond_seed_noise": pair.beyond_seeds,
            "split_standard_error": pair.split_error,
            "beyond_split_noise": pair.beyond_split,
            "verdict": pair.verdict,
        }
        for pair in comparison.pairs
    ]


def _plain_comparison(facts: RunFacts, comparison: Comparison) -> dict[str, object]:
    """comparison.json: the whole comparison as plain values."""
    return {
        "study": facts.study, "scale": facts.scale, "data": facts.data, "complete": facts.complete,
        "epochs": facts.epochs, "views": facts.views, "val_clips": facts.clips, "seeds": list(comparison.seeds),
        "least_difference": comparison.least_difference, "family_error": FAMILY_ERROR,
        "networks": [
            {
                "label": network.label, "name": network.candidate.name, "trials": list(network.candidate.numbers),
                "architecture": network.candidate.architecture.as_dict(), "macs": network.candidate.cost.macs,
                "params": network.candidate.cost.params, "top1": network.top1, "scores": list(network.scores),
                "spread": network.candidate.spread, "split_standard_error": network.split_error,
            }
            for network in comparison.networks
        ],
        "pairs": _pair_rows(comparison),
        "left_out": [{"label": label, "state": state.value} for label, state in comparison.left_out],
    }  # fmt: skip


# --- files -----------------------------------------------------------------------------------------------------------


def text(content: str) -> Writer:
    return lambda path: path.write_text(content, encoding="utf-8")


def plain_json(content: object) -> Writer:
    return text(json.dumps(content, indent=1) + "\n")


def table(rows: pandas.DataFrame | Sequence[Mapping[str, object]]) -> Writer:
    """A csv file."""
    import pandas

    return lambda path: pandas.DataFrame(rows).to_csv(path, index=False)


def write_files(folder: Path, files: Mapping[str, Writer], *, sometimes: Sequence[str]) -> list[Path]:
    """Writes files that no reader sees half of; those of `sometimes` that are not among them are removed, because they were left
    by an earlier call and are no longer true."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in files.items():
        with appearing(folder / name) as partial:
            write(partial)
    for name in sometimes:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]
