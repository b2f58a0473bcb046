"""Updates what Optuna's dashboard shows of a run: notes, figures, and each trial's learning curve and architecture.

Only the driver writes, after the trial is recorded. Nothing depends on these files, so a failure is reported and never raised.
Work that grows with the record takes at most a fiftieth of the driver's time.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from expand.core.attempt import Epoch
from expand.core.trial import Trial
from expand.monitoring.dashboard.figures import curve_svg, front_figure, hypervolume_figure
from expand.monitoring.dashboard.notes import study_note, trial_note, with_kept
from expand.report.candidates import RunFacts
from expand.report.front import front_of
from expand.storage.plans import read_plan
from expand.storage.run_directory import Record
from expand.strategies.ledger import LedgerStep, ledger

PAUSE = 50  # the run's note and figures are not updated again for this multiple of the last update's time
MOST_FAILURES = 3  # after so many, this driver stops updating the dashboard


def harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Reports an exception of the method instead of raising it, so that it does not end a search."""

    @wraps(method)
    def guarded(self: Presenter, *arguments: Any, **keywords: Any) -> None:
        if self.failures >= MOST_FAILURES:
            return
        try:
            method(self, *arguments, **keywords)
        except Exception as error:
            self.failures += 1
            last = "; it is not updated any more" if self.failures == MOST_FAILURES else ""
            self.say(
                f"the dashboard could not be updated ({type(error).__name__}: {error}){last}; the record is complete"
            )

    return guarded


class Figure:
    """The part of a plotly figure's interface that optuna-dashboard uses."""

    def __init__(self, plain: dict[str, Any]) -> None:
        self.plain = plain

    def to_json(self) -> str:
        return json.dumps(self.plain, separators=(",", ":"))


class Presenter:
    """Called by the engine for each trial in this order: `opened`, `ending`, `ended`. Between the last two the trial is recorded
    as ended in Optuna, which then takes no more artifacts for it.

    Args:
        run_facts: returns the current facts for the captions.
        say: prints a line for the user.
    """

    def __init__(self, record: Record, run_facts: Callable[[], RunFacts], say: Callable[[str], None]) -> None:
        self.record, self.run_facts, self.say = record, run_facts, say
        self.failures = 0
        self._pause_until = 0.0
        self._handles: dict[int, Any] = {}  # Optuna's trial objects, cached because creating one reads the whole trial
        self._judged: set[tuple[int, str, int]] | None = None  # the steps whose notes say which trial was chosen

    @harmless
    def opened(self, trial: Trial) -> None:
        content = {"architecture": trial.architecture.as_dict(), "cost": self._plain_cost(trial)}
        self._attach(trial.number, "architecture.json", json.dumps(content, indent=1, ensure_ascii=False))
        self._note_trial(trial, None)

    @harmless
    def ending(self, number: int, curve: Sequence[Epoch]) -> None:
        if curve:
            label = self.record.trial(number).label
            self._attach(number, "learning_curve.svg", curve_svg(curve, f"trial {number}: {label}"))

    @harmless
    def ended(self, trial: Trial) -> None:
        self._note_trial(trial, None)

    @harmless
    def refresh(self, *, now: bool = False) -> None:
        """Updates the run's note and figures, and the notes of trials whose step has ended. Does nothing if the last update was
        so recent that another would slow the search, unless `now`."""
        began = time.monotonic()
        if began < self._pause_until and not now:
            return
        trials, run = self.record.trials(), self.run_facts()
        objectives = self.record.objectives
        folder, facts = self.record.folder, self.record.facts
        self._write_note(None, study_note(run, facts, trials, objectives, folder, read_plan(folder)))
        front = front_of(folder.name, run, trials, objectives)
        self._draw("front", front_figure(front))
        self._draw("hypervolume", hypervolume_figure(front))
        self._judge(trials)
        self._pause_until = time.monotonic() + PAUSE * (time.monotonic() - began)

    def _judge(self, trials: Sequence[Trial]) -> None:
        """Adds which trial was chosen to the notes of ended steps. An earlier driver has done so for all its steps except perhaps
        the last."""
        steps = {(step.step, step.kind, step.trainings): step for step in ledger(trials) if step.chosen is not None}
        by_number = {trial.number: trial for trial in trials}
        if self._judged is None:
            self._judged = set(list(steps)[:-1])
        for key, step in steps.items():
            if key not in self._judged:
                for number in (n for entry in step.entries for n in entry.trial_numbers):
                    self._note_trial(by_number[number], step)
                self._judged.add(key)

    def _note_trial(self, trial: Trial, step: LedgerStep | None) -> None:
        parent = trial.suggestion.parent
        origin = None if parent is None else self.record.trial(parent)
        self._write_note(trial.number, trial_note(trial, origin, step, self.record.folder))

    def _write_note(self, number: int | None, note: str) -> None:
        """Writes a trial's note, or the run's if `number` is None, and keeps the user's own text in it."""
        from optuna_dashboard import get_note, save_note

        about = self.record.optuna_study if number is None else self._handle(number)
        before = get_note(about)
        if (note := with_kept(note, before)) != before:
            save_note(about, note)

    def _draw(self, name: str, figure: dict[str, Any]) -> None:
        from optuna_dashboard import save_plotly_graph_object

        save_plotly_graph_object(self.record.optuna_study, Figure(figure), graph_object_id=name)

    def _handle(self, number: int) -> Any:
        if number not in self._handles:
            self._handles[number] = self.record.optuna_trial(number)
        return self._handles[number]

    def _attach(self, number: int, name: str, text: str) -> None:
        """Attaches a file to a trial as an Optuna artifact; replaces one of the same name, left by a driver that died."""
        from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact

        trial = self._handle(number)
        folder = self.record.folder / "artifacts"
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_text(text)
            store = FileSystemArtifactStore(folder)
            for known in get_all_artifact_meta(trial):
                if known.filename == name:
                    with path.open("rb") as stream:
                        return store.write(known.artifact_id, stream)
            upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)

    @staticmethod
    def _plain_cost(trial: Trial) -> dict[str, Any]:
        cost = trial.cost
        return {"macs": cost.macs, "params": cost.params, "activations": cost.activations, "input": cost.input}
