"""`expand run`: from a study to a finished run directory, in order."""

from __future__ import annotations

import json
import signal
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from expand import record as records
from expand.data.augment import mirrored_labels
from expand.data.cache import ClipCache, prepare
from expand.data.formats import read_source
from expand.data.manifest import Manifest, describe_changes
from expand.data.rendered import ensure_rendered
from expand.engine import Search
from expand.errors import ExpandError, UsageError
from expand.progress import Watcher
from expand.record import Record
from expand.report import print_front, print_ledger, write_report
from expand.report.candidates import RunFacts, candidates
from expand.settings import describe, differences, load_study, override
from expand.strategies.stepwise import ledger
from expand.study import Data, Study
from expand.workers import Workers, drive


class Terminated(BaseException):
    """SIGTERM, turned into an exception so that what is in flight can be marked."""


@dataclass(frozen=True)
class Request:
    """What was typed: enough to make the same study again, in another process and on another day."""

    reference: str
    scale: str = "demo"
    settings: tuple[str, ...] = ()
    data: str | None = None
    seed: int | None = None

    def study(self) -> Study:
        study = load_study(self.reference, self.scale)
        if self.data is not None:
            study = replace(study, data=replace(study.data, source=str(Path(self.data).resolve())))
        if self.seed is not None:
            study = replace(study, seeds=(self.seed,))
        return override(study, self.settings)

    def default_folder(self, study: Study) -> Path:
        parts = [study.name, self.scale] + ([Path(study.data.source).name] if study.data.source else [])
        return Path("runs") / "-".join(parts + ([f"seed{self.seed}"] if self.seed is not None else []))


def run(
    request: Request, folder: Path, workers: Workers, watch: Watcher, *, storage: str | None = None, force: bool = False
) -> Record:
    """Runs the study in `folder`, or goes on with it, to its end, and writes the report.

    Raises:
        UsageError, ExpandError: see `records.open_for_writing`; a changed study or changed data is refused unless `force`.
    """
    study = request.study()
    check(study)
    records.check_folder(folder)
    manifest = open_data(study.data, watch.note)
    facts = _facts(request, study, manifest)
    with records.open_for_writing(folder, facts, study, storage=storage) as record:
        _refuse_changes(record, facts, manifest, force=force)

        def decoding(done: int, total: int) -> None:
            if done % 100 == 0:
                watch.note(f"decoding videos once: {done} of {total}")

        data = study.data
        caches = prepare(manifest, side=data.cache_side, skip_damaged=data.skip_damaged, progress=decoding)
        _notes(study, [ClipCache(cache) for cache in caches], manifest, watch)
        search = Search(
            study, record, len(manifest.classes), (str(caches[0]), str(caches[1])), workers.threads, watch
        )  # fmt: skip
        with _terminable():
            try:
                drive(search, workers, folder)
            except (KeyboardInterrupt, Terminated):
                search.interrupted()
                raise
        report(record)
        return record


def check(study: Study) -> None:
    """What can be known to be wrong before anything is read or trained."""
    recipe = study.recipe
    for name, value, least in (
        ("recipe.epochs", recipe.epochs, 1), ("recipe.batch_size", recipe.batch_size, 2), ("recipe.views", recipe.views, 1),
        ("budget.attempts", study.budget.attempts, 1), ("data.cache_side", study.data.cache_side, 16),
    ):  # fmt: skip
        if value < least:
            raise UsageError(f"{name}={value}: at least {least}")
    if study.budget.steps is not None and study.budget.steps < 0:
        raise UsageError(f"budget.steps={study.budget.steps}: cannot be negative")
    if not study.seeds or len(set(study.seeds)) < len(study.seeds):
        raise UsageError(f"seeds={study.seeds}: at least one, each once")
    _ = study.space.start  # raises for a start outside the axes


def open_data(data: Data, note: Callable[[str], None]) -> Manifest:
    """The videos of a study; the default ones are rendered if they are not there yet."""
    if data.source is not None:
        return read_source(data.source, validation_share=data.validation_share, test_share=data.test_share)

    def rendering(done: int, total: int) -> None:
        if done % 100 == 0:
            note(f"rendering the default clips, once: {done} of {total}")

    folder = ensure_rendered(progress=rendering)
    return read_source(folder)


def _facts(request: Request, study: Study, manifest: Manifest) -> dict[str, Any]:
    """study.json: the whole experiment as plain JSON."""
    counts = {split: len(manifest.split(split)) for split in ("train", "val", "test")}
    plain = describe(study)
    plain["data"]["source"] = "rendered" if study.data.source is None else study.data.source
    return {
        "reference": request.reference, "scale": request.scale, "settings": list(request.settings),
        "data_option": request.data, "seed_option": request.seed, "study": plain,
        "data": {
            "name": "rendered clips" if study.data.source is None else Path(study.data.source).name,
            "fingerprint": manifest.fingerprint(), "classes": list(manifest.classes), "videos": counts,
        },
    }  # fmt: skip


def _refuse_changes(record: Record, facts: dict[str, Any], manifest: Manifest, *, force: bool) -> None:
    """A record holds one experiment: trials of another recipe or of other videos must not stand beside these."""
    listing = record.folder / "data.json"
    old, new = record.facts["data"]["fingerprint"], facts["data"]["fingerprint"]
    lines = differences(_without_place(record.facts["study"]), _without_place(facts["study"]))
    if old != new:
        what = describe_changes(json.loads(listing.read_text()), manifest.listing()) if listing.exists() else "changed"
        lines.append(f"data: {what} (fingerprint {old[:12]} in the run, {new[:12]} now)")
    if lines and not force:
        raise UsageError(
            f"{record.folder} holds another experiment: {'; '.join(lines)}. Undo the change, give another folder with --out, "
            "or accept a mixed record with --force"
        )
    if not listing.exists() or old != new:
        records.write_json(listing, manifest.listing())
    if lines:
        records.write_json(
            record.folder / "study.json", facts | {"forced": lines, "storage": record.facts.get("storage")}
        )


def _without_place(study: dict[str, Any]) -> dict[str, Any]:
    """Where the videos lie may change; what they are is compared by fingerprint."""
    return study | {"data": {key: value for key, value in study["data"].items() if key != "source"}}


def _notes(study: Study, caches: list[ClipCache], manifest: Manifest, watch: Watcher) -> None:
    """What a scientist should know before believing a number."""
    crossing = manifest.crossing_groups()
    if crossing:
        watch.note(
            f"{len(crossing)} groups have clips in more than one split (such as {crossing[0]}): accuracies may flatter"
        )
    for cache, split in zip(caches, ("training", "validation"), strict=True):
        if cache.skipped:
            watch.note(f"{len(cache.skipped)} damaged {split} videos left out, such as {cache.skipped[0].path}")
    if study.recipe.flip:
        swapped, alone = mirrored_labels(manifest.classes)
        if swapped is None:
            watch.note(f"no flipping: '{alone[0]}' has a side but no counterpart among the classes")
    wanted = study.space.inputs(study.space.start)[0].duration
    short = sum(len(caches[0].frames(i)) < wanted for i in range(len(caches[0])))
    if short:
        watch.note(
            f"{short} of {len(caches[0])} training videos are shorter than {wanted} frames: their last frame is held"
        )


class _terminable:
    """SIGTERM ends the block as an interrupt does, with its own exit code."""

    def __enter__(self) -> None:
        def stop(number: int, frame: types.FrameType | None) -> None:
            raise Terminated

        self.old = signal.signal(signal.SIGTERM, stop)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self.old)


# --- looking at a run ------------------------------------------------------------------------------------------------


def run_facts(record: Record) -> RunFacts:
    """What the captions of a report say about the run."""
    study = record.facts["study"]
    trials = record.trials()
    validated = [trial.metrics.clips for trial in trials if trial.metrics]
    return RunFacts(
        study=study["name"], scale=record.facts["scale"], data=record.facts["data"]["name"],
        epochs=study["recipe"]["epochs"], views=study["recipe"]["views"],
        clips=validated[0] if validated else record.facts["data"]["videos"]["val"],
        seeds=record.seeds, complete=bool(trials) and all(trial.state.ended for trial in trials),
    )  # fmt: skip


def report(record: Record, folder: Path | None = None) -> list[Path]:
    """Front, trials, ledger and figure of a run, finished or not."""
    trials = record.trials()
    return write_report(
        folder or record.folder / "report", run_facts(record), trials, record.objectives, ledger(trials)
    )


def summary(record: Record, console: Console) -> bool:
    """Prints ledger and front; False when nothing has been trained to the end."""
    trials, facts = record.trials(), run_facts(record)
    found = candidates(trials, facts.seeds)
    print_ledger(console, ledger(trials))
    console.print()
    print_front(console, facts, found, record.objectives)
    return any(trial.metrics for trial in trials)


def study_of(record: Record) -> Study:
    """The study of a run, made again from its study.json.

    Raises:
        ExpandError: the study file has changed since.
    """
    facts = record.facts
    request = Request(
        facts["reference"], facts["scale"], tuple(facts["settings"]), facts["data_option"], facts["seed_option"]
    )
    study = request.study()
    lines = differences(_without_place(facts["study"]), _without_place(describe(study)))
    if lines:
        raise ExpandError(f"{facts['reference']} is not the study of this run any more: {'; '.join(lines)}")
    return study
