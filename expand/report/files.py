"""The report of a run, from its trials alone: tables on the terminal, and a folder of files. It works in the middle of
a run. No torch, no ray; pandas and matplotlib are imported when files are written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expand.report.candidates import Candidate, RunFacts, candidates, front
from expand.report.tables import ledger_markdown
from expand.study import Objective
from expand.trial import Cost, Trial

if TYPE_CHECKING:
    from expand.strategies.stepwise import LedgerStep


def write_report(
    folder: Path, facts: RunFacts, trials: Sequence[Trial], objectives: Sequence[Objective], steps: Sequence[LedgerStep]
) -> list[Path]:
    """Writes front.csv, trials.csv, ledger.md, ledger.json, front.png and front.svg, each whole or not at all. In
    the csv files accuracies are fractions, costs whole numbers (gmacs aside), times seconds.

    Raises:
        OSError: the folder cannot be written.
    """
    import pandas

    from expand.report.figure import draw

    found = candidates(trials, facts.seeds)
    names = list(dict.fromkeys(name for trial in trials for name, _ in trial.architecture.values))
    front_table = pandas.DataFrame(
        [_front_row(candidate, facts) for candidate in front(found, objectives)],
        columns=[*_FRONT, *map(_value_column, names), *_COST, *_FRONT_ACCURACY],
    )
    trial_table = pandas.DataFrame(
        [_trial_row(trial) for trial in sorted(trials, key=lambda trial: trial.number)],
        columns=[*_TRIAL, *map(_value_column, names), *_COST, *_TRIAL_ACCURACY],
    )
    figure = draw(facts, found, objectives, steps)
    ledger = json.dumps([_plain_step(step) for step in steps], indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write(folder / "front.csv", lambda path: front_table.to_csv(path, index=False)),
        _write(folder / "trials.csv", lambda path: trial_table.to_csv(path, index=False)),
        _write(folder / "ledger.md", lambda path: path.write_text(ledger_markdown(steps), encoding="utf-8")),
        _write(folder / "ledger.json", lambda path: path.write_text(ledger + "\n", encoding="utf-8")),
        _write(folder / "front.png", lambda path: figure.savefig(path, format="png", dpi=200)),
        _write(folder / "front.svg", lambda path: figure.savefig(path, format="svg")),
    ]


_FRONT = ["step", "kind", "axes", "trials"]
_TRIAL = ["number", "state", "step", "kind", "axes", "parent"]
_COST = ["macs", "gmacs", "params", "params_published", "activations"]
_FRONT_ACCURACY = ["top1", "spread", "standard_error", "val_clips", "views", "epochs", "seeds"]
_TRIAL_ACCURACY = [
    *("top1", "top5", "loss", "standard_error", "val_clips", "views", "seed", "epochs", "epochs_trained"),
    *("train_seconds", "attempts", "error", "started", "ended"),
]


def _value_column(name: str) -> str:
    """The column of an architecture value: its own name, unless that is one of ours."""
    return f"architecture_{name}" if name in {*_FRONT, *_TRIAL, *_COST, *_FRONT_ACCURACY, *_TRIAL_ACCURACY} else name


def _front_row(candidate: Candidate, facts: RunFacts) -> dict[str, Any]:
    return {
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
    }


def _trial_row(trial: Trial) -> dict[str, Any]:
    wish, metrics = trial.suggestion, trial.metrics
    row = {
        "number": trial.number,
        "state": trial.state.value,
        "step": wish.step,
        "kind": wish.kind,
        "axes": "=".join(wish.axes),
        "parent": "" if wish.parent is None else wish.parent,
        **{_value_column(name): value for name, value in trial.architecture.values},
        **_cost_cells(trial.cost),
        "seed": wish.seed,
        "epochs": wish.epochs,
        "epochs_trained": len(trial.curve),
        "train_seconds": round(trial.train_seconds, 3),
        "attempts": trial.attempts,
        "error": trial.error,
        "started": trial.started,
        "ended": trial.ended,
    }
    if metrics is not None:
        row |= {"top1": metrics.top1, "top5": metrics.top5, "loss": metrics.loss, "views": metrics.views}
        row |= {"standard_error": metrics.standard_error, "val_clips": metrics.clips}
    return row


def _cost_cells(cost: Cost) -> dict[str, Any]:
    return {name: getattr(cost, name) for name in _COST}


def _plain_step(step: LedgerStep) -> dict[str, Any]:
    base = None if step.base is None else {"family": step.base.family, "values": step.base.as_dict()}
    return asdict(step) | {"base": base}


def _write(path: Path, write: Callable[[Path], object]) -> Path:
    """The file under a temporary name first, so that a reader never sees half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
