"""`expand run`: from a study to a finished run directory, in order."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from expand import record as records
from expand import signals
from expand.accuracy import resolution_text
from expand.alone import Alone
from expand.code import changes, code_of, edited
from expand.dashboard.presenter import Presenter
from expand.data.augment import mirrored_labels
from expand.data.cache import ClipCache, prepare, reference_fps
from expand.data.formats import MOST_FPS, read_source
from expand.data.layouts.rows import Options
from expand.data.manifest import Manifest, describe_changes
from expand.data.prepared.checking import copies, without
from expand.data.rendered.render import ensure_rendered
from expand.engine import MacsCounter, Search
from expand.errors import ExpandError, UsageError
from expand.files import escaped
from expand.plan import require_memory_for_one
from expand.progress import Watcher
from expand.record import Record
from expand.reporting import report, run_facts
from expand.settings import describe, differences, limited, load_study, override
from expand.signals import Interrupted
from expand.study import CROPS, Budget, Data, Recipe, Study
from expand.tracking import following
from expand.trial import Trial, TrialState
from expand.trust import file_hashes, require_trust
from expand.values import require_finite
from expand.watchdog import LostRay
from expand.weight_files import weights_file
from expand.workers import Workers, drive


@dataclass(frozen=True)
class Request:
    """What was typed: enough to make the same study again, in another process and on another day."""

    reference: str
    scale: str = "demo"
    settings: tuple[str, ...] = ()
    data: str | None = None
    seed: int | None = None
    limits: tuple[str, ...] = ()
    alone: Alone | None = None

    @staticmethod
    def of(facts: dict[str, Any]) -> Request:
        """What was typed for a run, from its study.json."""
        alone = facts.get("alone")
        return Request(
            facts["reference"], facts["scale"], tuple(facts["settings"]), facts["data_option"], facts["seed_option"],
            tuple(facts.get("limits", ())),
            Alone(**alone | {"seeds": tuple(alone["seeds"]), "settings": tuple(alone["settings"])}) if alone else None,
        )  # fmt: skip

    def study(self) -> Study:
        study = load_study(self.reference, self.scale)
        if self.data is not None:
            study = replace(study, data=replace(study.data, source=os.path.realpath(self.data)))
        if self.seed is not None:
            study = replace(study, seeds=(self.seed,))
        study = limited(override(study, self.settings), self.limits)
        if self.alone is not None:
            study = self.alone.study(study, self.reference)
        if study.recipe.weights is not None:  # workers have a working directory of their own
            study = replace(study, recipe=replace(study.recipe, weights=os.path.realpath(study.recipe.weights)))
        return study

    def default_folder(self, study: Study) -> Path:
        parts = (
            [study.name]
            + ([self.scale] if self.alone is None else [])
            + ([Path(study.data.source).name] if study.data.source else [])
        )
        return Path("runs") / "-".join(parts + ([f"seed{self.seed}"] if self.seed is not None else []))


def run(
    request: Request, folder: Path, workers: Workers, watch: Watcher, *, storage: str | None = None, force: bool = False,
    track: Sequence[str] = (), retry_failed: bool = False,
) -> Record:  # fmt: skip
    """Runs the study in `folder`, or goes on with it, to its end, and writes the report; `track` names trackers. With
    `retry_failed`, trials that have failed are trained again.

    Raises:
        Interrupted: SIGINT or SIGTERM came, which are handled here.
        UsageError, ExpandError: see `records.open_for_writing`; a study or videos other than the run's are refused, though
            `force` accepts another budget and other videos.
    """
    study = request.study()
    check(study)
    folder = Path(os.path.realpath(folder))  # workers have a working directory of their own
    with records.made_folder(folder), signals.handled():
        return _run(
            request, study, folder, workers, watch, storage=storage, force=force, track=track, retry_failed=retry_failed
        )


def _run(
    request: Request, study: Study, folder: Path, workers: Workers, watch: Watcher, *, storage: str | None, force: bool,
    track: Sequence[str], retry_failed: bool,
) -> Record:  # fmt: skip
    manifest = open_data(study.data, watch.progress)
    mirrored_labels(manifest.classes, study.data.mirrored)  # raises for classes that are not there
    macs = MacsCounter(study.space, len(manifest.classes))
    first = study.strategy.ask(study, (), macs)  # raises for what cannot be searched, before anything is written
    if workers.address is None and not (folder / "study.json").exists():
        require_memory_for_one(study, first, macs.cost, len(manifest.split("train")))
    facts = _facts(request, study, manifest)
    refuse = partial(_refuse_changes, facts=facts, manifest=manifest, folder=folder, force=force)
    opening = records.open_for_writing(folder, facts, study, storage=storage, refuse=refuse, threads=workers.threads)
    with signals.deferred(), opening as record, following(watch, track, folder) as watch:
        _look_at_trials(record, study, workers, watch)
        _keep_facts(record, facts, manifest)

        def decoding(done: int, total: int) -> None:
            if done % 100 == 0:
                watch.progress(f"decoding videos once: {done} of {total}")

        data = study.data
        with signals.immediate():
            paths = prepare(
                manifest, side=data.cache_side, frames=data.cache_frames, fly=data.decode == "fly",
                skip_damaged=not data.strict, progress=decoding,
            )  # fmt: skip
        caches = [ClipCache(path) for path in paths]
        _notes(study, caches, manifest, watch)
        lengths = [caches[0].length(index) for index in range(len(caches[0]))]
        places = (str(paths[0]), str(paths[1]))
        if foreign := record.foreign():
            watch.note(
                f"{len(foreign)} trials of other programs are in this run's database and left alone: {foreign[:9]}"
            )
        show = Presenter(record, partial(run_facts, record), watch.note)
        search = Search(
            study, record, macs, places, lengths, workers.threads, watch, show,
            at_once=max(workers.count, 1), retry_failed=retry_failed,
        )  # fmt: skip
        try:
            drive(search, workers, folder, track)
        except (Interrupted, LostRay):
            with contextlib.suppress(ExpandError):  # such as a database that is away
                search.interrupted()
            raise
        record.set_finished(True)
        show.refresh(now=True)
        with signals.immediate():
            report(record)
        return record


def check(study: Study) -> None:
    """What can be known to be wrong before anything is read or trained.

    Raises:
        UsageError: the first field that cannot be, with what is allowed.
    """
    require_finite(study)
    r = study.recipe
    small, large = r.scale_jitter
    rules: tuple[tuple[str, object, bool, str], ...] = (
        (
            "name",
            study.name,
            study.name == escaped(study.name).replace("/", "") not in ("", ".", ".."),
            "a plain name, without /",
        ),
        ("recipe.epochs", r.epochs, r.epochs >= 1, "at least 1"),
        ("recipe.batch_size", r.batch_size, r.batch_size >= 2, "at least 2"),
        ("recipe.views", r.views, r.views >= 1, "at least 1"),
        ("recipe.loader_workers", r.loader_workers, r.loader_workers >= 0, "0 or more"),
        ("recipe.crop", r.crop, r.crop in CROPS, " or ".join(CROPS)),
        ("recipe.scale_jitter", r.scale_jitter, 1 <= small <= large, "1 <= smaller <= larger"),
        ("recipe.crop_area", r.crop_area, 0 < r.crop_area[0] <= r.crop_area[1] <= 1, "0 < smaller <= larger <= 1"),
        ("recipe.crop_aspect", r.crop_aspect, 0 < r.crop_aspect[0] <= r.crop_aspect[1], "0 < narrower <= wider"),
        ("recipe.squeeze", r.squeeze, min(r.squeeze) >= 1, "height and width, at least 1"),
        (
            "recipe.colour_jitter",
            r.colour_jitter,
            min(r.colour_jitter) >= 0 and max(r.colour_jitter[:3]) <= 1 and r.colour_jitter[3] <= 0.5,
            "brightness, contrast, saturation 0 to 1, hue 0 to 0.5",
        ),
        ("recipe.randaugment_operations", r.randaugment_operations, r.randaugment_operations >= 0, "0 or more"),
        ("recipe.randaugment_magnitude", r.randaugment_magnitude, 0 <= r.randaugment_magnitude <= 10, "0 to 10"),
        ("recipe.mixup", r.mixup, r.mixup >= 0, "0 or more"),
        ("recipe.dropout", r.dropout, 0 <= r.dropout < 1, "0 to below 1"),
        ("recipe.label_smoothing", r.label_smoothing, 0 <= r.label_smoothing < 1, "0 to below 1"),
        ("recipe.learning_rate", r.learning_rate, r.learning_rate > 0, "above 0"),
        ("recipe.warmup_epochs", r.warmup_epochs, r.warmup_epochs >= 0, "0 or more"),
        ("recipe.warmup_learning_rate", r.warmup_learning_rate, r.warmup_learning_rate >= 0, "0 or more"),
        ("recipe.clip_gradient_norm", r.clip_gradient_norm, _unset(r.clip_gradient_norm, 1) > 0, "above 0, or none"),
        ("recipe.schedule", r.schedule, r.schedule in ("cosine", "step"), "cosine or step"),
        (
            "recipe.decay_every",
            r.decay_every,
            r.schedule != "step" or r.decay_every > 0,
            "above 0 with recipe.schedule=step",
        ),
        ("recipe.weight_decay", r.weight_decay, r.weight_decay >= 0, "0 or more"),
        ("recipe.momentum", r.momentum, 0 <= r.momentum < 1, "0 to below 1"),
        ("recipe.ema", r.ema, 0 <= r.ema < 1, "0 to below 1"),
        ("recipe.freeze", r.freeze, r.weights is not None or not r.freeze, "true needs recipe.weights to start from"),
        ("recipe.nesterov", r.nesterov, r.momentum > 0 or not r.nesterov, "true needs a recipe.momentum above 0"),
        ("budget.attempts", study.budget.attempts, study.budget.attempts >= 1, "at least 1"),
        ("budget.steps", study.budget.steps, _unset(study.budget.steps, 0) >= 0, "0 or more"),
        ("budget.trials", study.budget.trials, _unset(study.budget.trials, 1) >= 1, "at least 1"),
        ("budget.epochs", study.budget.epochs, _unset(study.budget.epochs, 1) >= 1, "at least 1"),
        ("budget.hours", study.budget.hours, _unset(study.budget.hours, 1) > 0, "above 0"),
        (
            "budget.minutes_per_trial",
            study.budget.minutes_per_trial,
            _unset(study.budget.minutes_per_trial, 1) > 0,
            "above 0",
        ),
        (
            "budget.targets_gmacs",
            study.budget.targets_gmacs,
            min(study.budget.targets_gmacs, default=1) > 0,
            "above 0",
        ),
        ("data.fps", study.data.fps, 0 < _unset(study.data.fps, 1) <= MOST_FPS, f"above 0, at most {MOST_FPS:g}"),
        ("data.official_split", study.data.official_split, study.data.official_split >= 1, "at least 1"),
        (
            "data.published",
            study.data.published,
            min(study.data.published or (2,)) >= 1,
            "videos and classes, at least 1",
        ),
        ("data.cache_side", study.data.cache_side, study.data.cache_side >= 16, "at least 16"),
        ("data.cache_frames", study.data.cache_frames, _unset(study.data.cache_frames, 1) >= 1, "at least 1, or none"),
        ("data.decode", study.data.decode, study.data.decode in ("cache", "fly"), "cache or fly"),
        (
            "data.mirrored",
            study.data.mirrored,
            all(isinstance(pair, tuple) and len(pair) == 2 for pair in study.data.mirrored),
            "pairs of class names",
        ),
        (
            "seeds",
            study.seeds,
            0 < len(study.seeds) == len(set(study.seeds)) and min(study.seeds) >= 0,
            "at least one, 0 or more, each once",
        ),
    )
    for name, value, right, allowed in rules:
        if not right:
            raise UsageError(f"{name}={value}: {allowed}")
    for objective in study.objectives:
        if objective.known_before_training != (objective.name != "top1"):
            field = f"objectives.{objective.name}.known_before_training"
            raise UsageError(f"{field}={objective.known_before_training}: costs are known before training, top1 is not")
    _ = study.space.start  # raises for a start outside the axes


def _unset(value: float | None, default: float) -> float:
    return default if value is None else value


def open_data(data: Data, note: Callable[[str], None]) -> Manifest:
    """The videos of a study, without copies in two splits or under two labels; the default ones are rendered if they are
    not there yet."""
    if data.source is not None:
        manifest = read_source(
            data.source, options_of(data), validation_share=data.validation_share, test_share=data.test_share
        )
        found = copies(manifest)
        if found and data.strict:
            raise ExpandError(f"{len(found)} copies, the first: {found[0]} (without data.strict they are left out)")
        return without(manifest, found)

    def rendering(done: int, total: int) -> None:
        if done % 100 == 0:
            note(f"rendering the default clips, once: {done} of {total}")

    folder = ensure_rendered(progress=rendering)
    return read_source(folder)


def options_of(data: Data) -> Options:
    return Options(data.layout, data.official_split, data.group_column, data.fps, data.skip_missing)


def _facts(request: Request, study: Study, manifest: Manifest) -> dict[str, Any]:
    """study.json: the whole experiment as plain JSON."""
    counts = {split: len(manifest.split(split)) for split in ("train", "val", "test")}
    plain = describe(study)
    plain["data"]["source"] = "rendered" if study.data.source is None else study.data.source
    facts = {
        "reference": lasting(request.reference), "scale": request.scale, "settings": list(request.settings),
        "limits": list(request.limits), "data_option": request.data, "seed_option": request.seed,
        "alone": asdict(request.alone) if request.alone else None, "weights_sha256": _weights_sha256(study),
        "study": plain, "code": code_of(study.space, study.space.start),
        "data": {
            "name": "rendered clips" if study.data.source is None else escaped(Path(study.data.source).name),
            "fingerprint": manifest.fingerprint(), "classes": list(manifest.classes), "videos": counts,
            "fps": reference_fps(manifest),
        },
    }  # fmt: skip
    return facts | {"files": file_hashes(facts)}


def _weights_sha256(study: Study) -> str | None:
    """What the networks start from, by content.

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


def lasting(reference: str) -> str:
    """A study file's name holds from any working directory."""
    return str(Path(reference).resolve()) if reference.endswith(".py") else reference


FORCIBLE = ("budget", "data")  # what --force lets differ; anything else would mix trainings that cannot be compared


def _refuse_changes(
    stored: dict[str, Any], *, facts: dict[str, Any], manifest: Manifest, folder: Path, force: bool
) -> None:
    """A record holds one experiment: trials of another recipe or of other videos must not stand beside these."""
    lines = differences(_without_place(stored["study"]), _without_place(facts["study"]))
    before, now = stored.get("weights_sha256"), facts["weights_sha256"]
    if before != now:
        lines.append(f"recipe.weights: another file (SHA-256 {str(before)[:12]} in the run, {str(now)[:12]} now)")
    lines += [f"code of the networks: {line}" for line in changes(stored.get("code"), facts["code"])]
    fixed = [line for line in lines if line.split(".")[0].split(":")[0] not in FORCIBLE]
    old, new = stored["data"]["fingerprint"], facts["data"]["fingerprint"]
    if old != new:
        listing = records.read_listing(folder)
        what = "changed" if listing is None else describe_changes(listing, manifest.listing())
        lines.append(f"data: {what} (fingerprint {old[:12]} in the run, {new[:12]} now)")
    if fixed or (lines and not force):
        remedy = "" if fixed else ", or accept another budget or other videos with --force"
        raise UsageError(
            f"{folder} holds another experiment: {'; '.join(lines)}. Undo the change, or give another folder with --out{remedy}"
        )


def _look_at_trials(record: Record, study: Study, workers: Workers, watch: Watcher) -> None:
    """Refuses a run whose trials are of other code, and says what else may differ."""
    trials = [trial for trial in record.trials() if trial.state in (TrialState.RUNNING, TrialState.COMPLETE)]
    if other := edited(study.space, trials):
        raise UsageError(
            f"{record.folder} holds another experiment: {other}. Undo the change, or give another folder with --out"
        )
    if record.facts.get("code", {}) is None:
        watch.note("the networks' code cannot be read: that it has changed will not be noticed")
    before, now = record.facts["study"]["recipe"].get("loader_workers", 0), study.recipe.loader_workers
    if before != now:
        watch.note(f"recipe.loader_workers: {before} in the run, {now} now; the numbers stay the same")
    threads = {t.extra["threads"] for t in trials if t.extra.get("device") == "cpu" and "threads" in t.extra}
    if others := sorted(threads - {workers.threads}):
        watch.note(
            f"threads a worker: {' or '.join(map(str, others))} in the run, {workers.threads} now (cores / --workers); sums are "
            "taken in another order, so the same training may give another accuracy"
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
    """Where videos and weights lie, and when and by how many processes videos are decoded, may change; what they are is compared
    by content. A field that is younger than a run had its default there."""
    recipe, data = describe(Recipe()) | study["recipe"], describe(Data()) | study["data"]
    return study | {
        "recipe": {key: value for key, value in recipe.items() if key not in ("weights", "loader_workers")},
        "data": {key: value for key, value in data.items() if key not in ("source", "decode", "skip_damaged")},
        "budget": describe(Budget()) | study["budget"],
        "objectives": [{"on_front": True} | objective for objective in study["objectives"]],
    }


def _notes(study: Study, caches: list[ClipCache], manifest: Manifest, watch: Watcher) -> None:
    """What a scientist should know before believing a number."""
    watch.note(resolution_text(len(caches[1])))
    crossing = manifest.crossing_groups()
    if crossing:
        watch.note(
            f"{len(crossing)} groups have clips in more than one split (such as {crossing[0]}): accuracies may flatter"
        )
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


def study_of(record: Record, trials: Sequence[Trial] = (), *, trust: bool = False) -> Study:
    """The study of a run, made again from its study.json, to rebuild and feed the networks of these trials.

    Raises:
        UsageError: that would run somebody else's code, without `trust` (`expand/trust.py`).
        ExpandError: the study file or the code of a network has changed in what matters for that.
    """
    facts = record.facts
    if not trust:
        require_trust(facts)
    study = Request.of(facts).study()
    old, now = _without_place(facts["study"]), _without_place(describe(study))
    lines = [line for part in ("space", "recipe") for line in differences(old[part], now[part], part)]
    if lines:
        raise ExpandError(
            f"{facts['reference']} has changed since this run ({'; '.join(lines)}): put it back as it was"
        )
    if other := edited(study.space, trials):
        raise ExpandError(f"{other} since it was trained: put it back as it was")
    return study
