"""`expand run`: from a study to a finished run directory, in order."""

from __future__ import annotations

import json
import signal
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from expand import record as records
from expand.data.augment import mirrored_labels
from expand.data.cache import ClipCache, prepare
from expand.data.formats import read_source
from expand.data.manifest import Manifest, describe_changes
from expand.data.rendered import ensure_rendered
from expand.engine import MacsCounter, Search
from expand.errors import ExpandError, UsageError
from expand.progress import Watcher
from expand.record import Record
from expand.report import (
    compare,
    compare_plan,
    print_comparison,
    print_front,
    print_ledger,
    print_planned,
    write_report,
)
from expand.report.candidates import RunFacts, candidates
from expand.settings import describe, differences, limited, load_study, override
from expand.strategies.stepwise import ledger
from expand.study import Data, Study
from expand.tracking import following
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
    limits: tuple[str, ...] = ()

    def study(self) -> Study:
        study = load_study(self.reference, self.scale)
        if self.data is not None:
            study = replace(study, data=replace(study.data, source=str(Path(self.data).resolve())))
        if self.seed is not None:
            study = replace(study, seeds=(self.seed,))
        return limited(override(study, self.settings), self.limits)

    def default_folder(self, study: Study) -> Path:
        parts = [study.name, self.scale] + ([Path(study.data.source).name] if study.data.source else [])
        return Path("runs") / "-".join(parts + ([f"seed{self.seed}"] if self.seed is not None else []))


def run(
    request: Request, folder: Path, workers: Workers, watch: Watcher, *, storage: str | None = None, force: bool = False,
    track: Sequence[str] = (),
) -> Record:  # fmt: skip
    """Runs the study in `folder`, or goes on with it, to its end, and writes the report; `track` names trackers.

    Raises:
        UsageError, ExpandError: see `records.open_for_writing`; a study or videos other than the run's are refused, though
            `force` accepts another budget and other videos.
    """
    study = request.study()
    check(study)
    records.check_folder(folder := folder.resolve())  # workers have a working directory of their own
    manifest = open_data(study.data, watch.progress)
    macs = MacsCounter(study.space, len(manifest.classes))
    study.strategy.ask(study, (), macs)  # raises for what cannot be searched, before anything is written
    facts = _facts(request, study, manifest)
    refuse = partial(_refuse_changes, facts=facts, manifest=manifest, folder=folder, force=force)
    opening = records.open_for_writing(folder, facts, study, storage=storage, refuse=refuse)
    with opening as record, following(watch, track, folder) as watch:
        _keep_facts(record, facts, manifest)

        def decoding(done: int, total: int) -> None:
            if done % 100 == 0:
                watch.progress(f"decoding videos once: {done} of {total}")

        data = study.data
        paths = prepare(manifest, side=data.cache_side, skip_damaged=data.skip_damaged, progress=decoding)
        caches = [ClipCache(path) for path in paths]
        _notes(study, caches, manifest, watch)
        lengths = [len(caches[0].frames(index)) for index in range(len(caches[0]))]
        places = (str(paths[0]), str(paths[1]))
        search = Search(study, record, macs, places, lengths, workers.threads, watch)
        with _terminable():
            try:
                drive(search, workers, folder, track)
            except (KeyboardInterrupt, Terminated):
                search.interrupted()
                raise
        record.set_finished(True)
        report(record)
        return record


def check(study: Study) -> None:
    """What can be known to be wrong before anything is read or trained.

    Raises:
        UsageError: the first field that cannot be, with what is allowed.
    """
    r = study.recipe
    small, large = r.scale_jitter
    rules: tuple[tuple[str, object, bool, str], ...] = (
        ("recipe.epochs", r.epochs, r.epochs >= 1, "at least 1"),
        ("recipe.batch_size", r.batch_size, r.batch_size >= 2, "at least 2"),
        ("recipe.views", r.views, r.views >= 1, "at least 1"),
        ("recipe.loader_workers", r.loader_workers, r.loader_workers >= 0, "0 or more"),
        ("recipe.scale_jitter", r.scale_jitter, 1 <= small <= large, "1 <= smaller <= larger"),
        ("recipe.dropout", r.dropout, 0 <= r.dropout < 1, "0 to below 1"),
        ("recipe.label_smoothing", r.label_smoothing, 0 <= r.label_smoothing < 1, "0 to below 1"),
        ("recipe.learning_rate", r.learning_rate, r.learning_rate > 0, "above 0"),
        ("recipe.schedule", r.schedule, r.schedule in ("cosine", "step"), "cosine or step"),
        (
            "recipe.decay_every",
            r.decay_every,
            r.schedule != "step" or r.decay_every > 0,
            "above 0 with recipe.schedule=step",
        ),
        ("recipe.weight_decay", r.weight_decay, r.weight_decay >= 0, "0 or more"),
        ("recipe.momentum", r.momentum, 0 <= r.momentum < 1, "0 to below 1"),
        ("recipe.nesterov", r.nesterov, r.momentum > 0 or not r.nesterov, "true needs a recipe.momentum above 0"),
        ("budget.attempts", study.budget.attempts, study.budget.attempts >= 1, "at least 1"),
        ("budget.steps", study.budget.steps, (study.budget.steps or 0) >= 0, "0 or more"),
        ("budget.trials", study.budget.trials, (study.budget.trials or 1) >= 1, "at least 1"),
        ("budget.epochs", study.budget.epochs, (study.budget.epochs or 1) >= 1, "at least 1"),
        ("budget.hours", study.budget.hours, (study.budget.hours or 1) > 0, "above 0"),
        (
            "budget.minutes_per_trial",
            study.budget.minutes_per_trial,
            (study.budget.minutes_per_trial or 1) > 0,
            "above 0",
        ),
        ("data.cache_side", study.data.cache_side, study.data.cache_side >= 16, "at least 16"),
        ("seeds", study.seeds, 0 < len(study.seeds) == len(set(study.seeds)), "at least one, each once"),
    )
    for name, value, right, allowed in rules:
        if not right:
            raise UsageError(f"{name}={value}: {allowed}")
    for objective in study.objectives:
        if objective.known_before_training != (objective.name != "top1"):
            field = f"objectives.{objective.name}.known_before_training"
            raise UsageError(f"{field}={objective.known_before_training}: costs are known before training, top1 is not")
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
        "reference": _lasting(request.reference), "scale": request.scale, "settings": list(request.settings),
        "limits": list(request.limits), "data_option": request.data, "seed_option": request.seed, "study": plain,
        "data": {
            "name": "rendered clips" if study.data.source is None else Path(study.data.source).name,
            "fingerprint": manifest.fingerprint(), "classes": list(manifest.classes), "videos": counts,
        },
    }  # fmt: skip


def _lasting(reference: str) -> str:
    """A study file's name holds from any working directory."""
    return str(Path(reference).resolve()) if reference.endswith(".py") else reference


FORCIBLE = ("budget", "data")  # what --force lets differ; anything else would mix trainings that cannot be compared


def _refuse_changes(
    stored: dict[str, Any], *, facts: dict[str, Any], manifest: Manifest, folder: Path, force: bool
) -> None:
    """A record holds one experiment: trials of another recipe or of other videos must not stand beside these."""
    lines = differences(_without_place(stored["study"]), _without_place(facts["study"]))
    fixed = [line for line in lines if line.split(".")[0].split(":")[0] not in FORCIBLE]
    old, new = stored["data"]["fingerprint"], facts["data"]["fingerprint"]
    if old != new:
        listing = folder / "data.json"
        what = describe_changes(json.loads(listing.read_text()), manifest.listing()) if listing.exists() else "changed"
        lines.append(f"data: {what} (fingerprint {old[:12]} in the run, {new[:12]} now)")
    if fixed or (lines and not force):
        remedy = "" if fixed else ", or accept another budget or other videos with --force"
        raise UsageError(
            f"{folder} holds another experiment: {'; '.join(lines)}. Undo the change, or give another folder with --out{remedy}"
        )


def _keep_facts(record: Record, facts: dict[str, Any], manifest: Manifest) -> None:
    """The videos' listing beside study.json, and what was changed by force."""
    changed = record.facts["data"]["fingerprint"] != facts["data"]["fingerprint"]
    lines = differences(_without_place(record.facts["study"]), _without_place(facts["study"]))
    if changed or lines:
        earlier = [*record.facts.get("forced", []), {"study": lines, "data": record.facts["data"]["fingerprint"]}]
        record.facts.update(facts | {"forced": earlier})
        records.write_json(record.folder / "study.json", record.facts)
    listing = record.folder / "data.json"
    if changed or not listing.exists():
        records.write_json(listing, manifest.listing())


def _without_place(study: dict[str, Any]) -> dict[str, Any]:
    """Where the videos lie may change; what they are is compared by fingerprint. Runs from before objectives could be limits
    only, or trials had a time limit, are of the same experiment."""
    return study | {
        "data": {key: value for key, value in study["data"].items() if key != "source"},
        "budget": {"minutes_per_trial": None} | study["budget"],
        "objectives": [{"on_front": True} | objective for objective in study["objectives"]],
    }


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
        seeds=record.seeds, complete=record.finished,
    )  # fmt: skip


def report(record: Record, folder: Path | None = None) -> list[Path]:
    """Front, trials, ledger or comparison, and figure of a run, finished or not."""
    trials = record.trials()
    return write_report(
        folder or record.folder / "report", run_facts(record), trials, record.objectives, ledger(trials),
        plan=records.read_plan(record.folder),
    )  # fmt: skip


def summary(record: Record, console: Console) -> bool:
    """Prints the ledger of a search in steps, else the comparison over seeds where there is one, and the front; False when
    nothing has been trained to the end."""
    trials, facts = record.trials(), run_facts(record)
    found = candidates(trials, facts.seeds)
    if steps := ledger(trials):
        print_ledger(console, steps)
        console.print()
    elif comparison := compare(found, trials, facts.seeds):
        print_comparison(console, facts, comparison)
        console.print()
    print_front(console, facts, found, record.objectives)
    if planned := compare_plan(records.read_plan(record.folder), trials):
        console.print()
        print_planned(console, planned)
    return any(trial.metrics for trial in trials)


def study_of(record: Record) -> Study:
    """The study of a run, made again from its study.json, to rebuild and feed its networks.

    Raises:
        ExpandError: the study file has changed in what matters for that.
    """
    facts = record.facts
    request = Request(
        facts["reference"], facts["scale"], tuple(facts["settings"]), facts["data_option"], facts["seed_option"]
    )
    study = request.study()
    now = describe(study)
    lines = [line for part in ("space", "recipe") for line in differences(facts["study"][part], now[part], part)]
    if lines:
        raise ExpandError(
            f"{facts['reference']} has changed since this run ({'; '.join(lines)}): put it back as it was"
        )
    return study
