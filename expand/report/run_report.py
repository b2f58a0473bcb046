"""`expand report`, and the end of `expand run`: from a record to its report and tables. Imports no torch, to start quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from expand.core.errors import ExpandError, UsageError
from expand.core.trial import Trial
from expand.report.about import about_run, unique_names
from expand.report.candidates import RunFacts, candidates
from expand.report.expected import expected_lines, expected_of
from expand.report.files import write_page, write_report
from expand.report.inherited import inherited_of, print_inherited
from expand.report.page_data import RunOnPage
from expand.report.plan_vs_actual import compare_plan, print_planned
from expand.report.predicted import compare_predictions, predicted_lines
from expand.report.significance import compare
from expand.report.significance_tables import print_comparison
from expand.report.tables import print_front, print_ledger
from expand.storage import run_directory as records
from expand.storage.plans import read_plan
from expand.storage.run_directory import Record
from expand.storage.test_results import TestResult, all_tests, official
from expand.strategies.ledger import ledger


def run_facts(record: Record, trials: Sequence[Trial] | None = None) -> RunFacts:
    """The facts that the captions of a report state, from these trials (default: all, read from the record)."""
    facts, study = record.facts, record.facts.study
    trials = record.trials() if trials is None else trials
    validated = [trial.metrics.clips for trial in trials if trial.metrics]
    return RunFacts(
        study=study.name, scale=facts.scale, data=facts.data.name,
        epochs=study.recipe.epochs, views=study.recipe.views,
        clips=validated[0] if validated else facts.data.videos.val,
        seeds=record.seeds, complete=record.finished,
    )  # fmt: skip


def report(record: Record, folder: Path | None = None, trials: Sequence[Trial] | None = None) -> list[Path]:
    """Writes page, front, trials, ledger or comparison, and figures of a run, finished or not; returns the files."""
    trials = record.trials() if trials is None else trials
    return write_report(
        folder or record.folder / "report", run_facts(record, trials), trials, record.objectives, ledger(trials),
        plan=read_plan(record.folder), about=about_run(record.folder, record.facts), tests=official_tests(record),
    )  # fmt: skip


def official_tests(record: Record) -> dict[int, TestResult]:
    """Results of `expand test` on the run's own test split, by trial."""
    return official(all_tests(record.folder), record.facts.data.fingerprint)


def report_together(found: Sequence[Record], folder: Path) -> list[Path]:
    """Writes one page of several runs into `folder`, and the full report of each into a subfolder."""
    names = unique_names([record.folder.resolve().name for record in found])
    written = [path for record, name in zip(found, names, strict=True) for path in report(record, folder / name)]
    runs = [
        RunOnPage(
            run_facts(record), trials := record.trials(), record.objectives, ledger(trials), read_plan(record.folder),
            replace(about_run(record.folder, record.facts), name=name),
        )
        for record, name in zip(found, names, strict=True)
    ]  # fmt: skip
    return [*write_page(folder, runs), *written]


def summary(record: Record, console: Console) -> bool:
    """Prints the ledger of a search in steps, otherwise the comparison over seeds if there is one, and the front. Returns False
    if no candidate is complete."""
    trials = record.trials()
    facts = run_facts(record, trials)
    found = candidates(trials, facts.seeds)
    if steps := ledger(trials):
        print_ledger(console, steps, facts.clips)
        console.print()
    elif comparison := compare(found, trials, facts.seeds):
        print_comparison(console, facts, comparison)
        console.print()
    print_front(console, facts, found, record.objectives, official_tests(record))
    if expected := expected_lines(expected_of(found, trials, record.objectives)):
        console.print()
        for line in expected:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    print_inherited(console, inherited_of(facts, trials, record.objectives, _videos(record)), record.objectives)
    if predictions := compare_predictions(trials):
        console.print()
        for line in predicted_lines(predictions):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if planned := compare_plan(read_plan(record.folder), trials):
        console.print()
        print_planned(console, planned)
    return any(trial.metrics for trial in trials)


def _videos(record: Record) -> tuple[int, int]:
    videos = record.facts.data.videos
    return videos.train, videos.val


def show_report(folders: Sequence[Path], to: Path | None, console: Console, *, tables: bool) -> None:
    """`expand report`: writes the report of these runs, then prints tables, or only where the page is.

    Raises:
        UsageError: several runs without `to`, or no complete candidate in any (the report is written nevertheless).
    """
    found = [records.open_for_reading(folder) for folder in folders]
    if len(found) > 1 and to is None:
        raise UsageError(f"{len(found)} runs give one common page: --to FOLDER says where")
    trials = [record.trials() for record in found]  # read once: a thousand trials take half a second
    try:
        paths = report(found[0], to, trials[0]) if len(found) == 1 or to is None else report_together(found, to)
    except OSError as error:
        place = to or found[0].folder / "report"
        wrong = UsageError if isinstance(error, FileExistsError | NotADirectoryError) else ExpandError
        raise wrong(f"cannot write the report to {place} ({error.strerror}): --to names another folder") from error
    page = next(path for path in paths if path.name == "index.html")
    done = [any(c.top1 is not None for c in candidates(of, r.seeds)) for r, of in zip(found, trials, strict=True)]
    for record in found if tables else []:
        summary(record, console)
    if tables:
        console.print("\nwrote " + ", ".join(map(str, paths)), highlight=False, markup=False, soft_wrap=True)
    if not any(done):
        raise UsageError(f"no candidate is complete yet, so there is no front; the state of all trials is in {page}")
    if not tables:
        console.print(page, highlight=False, markup=False, soft_wrap=True)
