"""Whether a run directory holds the same experiment, and what a person must know of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from expand.config.request import Request, lasting
from expand.core.accuracy import resolution_text
from expand.core.errors import UsageError
from expand.core.files import escaped
from expand.core.study import Study
from expand.core.trial import TrialState
from expand.data.cache.clip_cache import ClipCache
from expand.data.cache.disk_space import reference_fps
from expand.data.manifest import Manifest, describe_changes
from expand.data.transforms import mirrored_labels
from expand.monitoring.progress import Watcher
from expand.search.worker_plan import Workers
from expand.source.fingerprint import changes, code_of, edited
from expand.source.trust import file_hashes
from expand.storage.facts import Facts, Forced, StudyFacts, VideoCounts, VideoFacts, write_facts
from expand.storage.folder import read_listing
from expand.storage.run_directory import Record
from expand.storage.serialize import write_json
from expand.storage.stored_study import classes_of, study_differences
from expand.weights.files import weights_file


def facts_of(request: Request, study: Study, manifest: Manifest) -> Facts:
    """study.json: the whole experiment."""
    name = "rendered clips" if study.data.source is None else escaped(Path(study.data.source).name)
    counts = VideoCounts(*(len(manifest.split(split)) for split in ("train", "val", "test")))
    facts = Facts(
        reference=lasting(request.reference) or None, classes=classes_of(study), scale=request.scale,
        settings=request.settings, limits=request.limits, data_option=request.data, seed_option=request.seed,
        recipe_from=request.recipe_from, recipe_axes=request.recipe_axes,
        alone=request.alone, weights_sha256=_weights_sha256(study), study=StudyFacts.of(study),
        code=code_of(study.space, study.space.start),
        data=VideoFacts(name, manifest.fingerprint(), manifest.classes, counts, reference_fps(manifest)),
    )  # fmt: skip
    return replace(facts, files=file_hashes(facts.references))


def _weights_sha256(study: Study) -> str | None:
    """The SHA-256 of the initial weights.

    Raises:
        UsageError: the file cannot be read.
    """
    if study.recipe.weights is None:
        return None
    try:
        with weights_file(Path(study.recipe.weights)).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"recipe.weights={study.recipe.weights}: {error.strerror}; give another file") from None


FORCIBLE = (
    "budget",
    "data",
)  # may differ with --force; any other difference would mix trainings that cannot be compared


def refuse_changes(stored: Facts, *, facts: Facts, manifest: Manifest, folder: Path, force: bool) -> None:
    """Refuses another experiment in the same record: trials of another recipe or of other videos cannot be compared."""
    lines = study_differences(stored.study, facts.study)
    before, now = stored.weights_sha256, facts.weights_sha256
    if before != now:
        lines.append(f"recipe.weights: another file (SHA-256 {str(before)[:12]} in the run, {str(now)[:12]} now)")
    lines += [f"code of the networks: {line}" for line in changes(stored.code, facts.code)]
    fixed = [line for line in lines if line.split(".")[0].split(":")[0] not in FORCIBLE]
    old, new = stored.data.fingerprint, facts.data.fingerprint
    if old != new:
        listing = read_listing(folder)
        what = "changed" if listing is None else describe_changes(listing, manifest.listing())
        lines.append(f"data: {what} (fingerprint {old[:12]} in the run, {new[:12]} now)")
    if fixed or (lines and not force):
        remedy = "" if fixed else ", or accept another budget or other videos with --force"
        raise UsageError(
            f"{folder} holds another experiment: {'; '.join(lines)}. Undo the change, or give another folder with --out{remedy}"
        )


def check_trials(record: Record, study: Study, workers: Workers, watch: Watcher) -> None:
    """Refuses a run whose trials were trained with other code, and notes other differences."""
    if foreign := record.foreign():
        watch.note(f"{len(foreign)} trials of other programs are in this run's database and are ignored: {foreign[:9]}")
    trials = [
        trial
        for trial in record.trials()
        if trial.state in (TrialState.RUNNING, TrialState.PAUSED, TrialState.COMPLETE)
    ]
    if other := edited(study.space, trials):
        raise UsageError(
            f"{record.folder} holds another experiment: {other}. Undo the change, or give another folder with --out"
        )
    if record.facts.code is None:
        watch.note(
            "the code of the networks at the start of this run is not known, so changes in it will not be noticed"
        )
    before, now = record.facts.study.recipe.loader_workers, study.recipe.loader_workers
    if before != now:
        watch.note(f"recipe.loader_workers: {before} in the run, {now} now; results stay the same")
    threads = {t.attempt.threads for t in trials if t.attempt.device == "cpu" and t.attempt.threads}
    if others := sorted(threads - {workers.threads}):
        watch.note(
            f"threads per worker: {' or '.join(map(str, others))} in the run, {workers.threads} now (cores / --workers); sums "
            "are computed in another order, so the same training may give another accuracy"
        )


def with_facts(record: Record, facts: Facts, manifest: Manifest) -> Record:
    """Writes the list of videos, and what was changed with --force; the record with these facts."""
    old = record.facts
    lines, changed = study_differences(old.study, facts.study), old.data.fingerprint != facts.data.fingerprint
    if changed or lines:
        forced = (*old.forced, Forced(tuple(lines), old.data.fingerprint))
        record = replace(
            record, facts=replace(facts, storage=old.storage, optuna_study=old.optuna_study, forced=forced)
        )
        write_facts(record.folder, record.facts)
    listing = record.folder / "data.json"
    if changed or not listing.exists():
        write_json(listing, manifest.listing())
    return record


def say_limits(study: Study, caches: Sequence[ClipCache], manifest: Manifest, watch: Watcher) -> None:
    """Notes everything that limits how far the accuracies can be trusted."""
    watch.note(resolution_text(len(caches[1])))
    crossing = manifest.crossing_groups()
    if crossing:
        watch.note(
            f"{len(crossing)} groups have clips in more than one split (such as {crossing[0]}): accuracies may be too high"
        )
    if manifest.group_note:
        watch.note(manifest.group_note)
    for line in manifest.left_out:
        watch.note(f"left out: {line}")
    for cache, split in zip(caches, ("training", "validation"), strict=True):
        if count := len(cache.skipped):
            some = "; ".join(f"{each.path}: {each.reason}" for each in cache.skipped[:3]) + "; ..." * (count > 3)
            total = count + len(cache)
            watch.note(f"left out: {count} of {total} {split} videos ({count / total:.1%}), damaged ({some})")
        if shortened := sum(frames > 0 for frames in cache.cut):
            most = study.data.cache_frames
            watch.note(
                f"of {shortened} {split} videos only the middle {most} frames are used (data.cache_frames={most})"
            )
    if study.recipe.flip:
        swapped, alone = mirrored_labels(manifest.classes, study.data.mirrored)
        if swapped is None:
            watch.note(
                f"no flipping: '{alone[0]}' has a side but no counterpart among the classes (data.mirrored can name it)"
            )
