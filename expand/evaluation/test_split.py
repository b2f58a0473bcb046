"""`expand test`: scores trained networks on videos that no choice was based on, and stores the results beside the weights.

A test split should be used once. Therefore a repeated test with the same weights, videos and views is read from its file, and
every scoring is counted.
"""

from __future__ import annotations

import hashlib
import math
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from expand.core.clip import Clip
from expand.core.errors import ExpandError, UsageError
from expand.core.files import escaped
from expand.core.study import Recipe, Study
from expand.core.trial import CONVENTION, Trial
from expand.counting.cost import at_crop, cost_of
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.loader import loaders_that_fit
from expand.data.manifest import Manifest, describe_changes
from expand.data.open_data import open_data
from expand.data.sampling import Scale
from expand.evaluation.result_files import write_test
from expand.storage.folder import read_listing
from expand.storage.run_directory import Record
from expand.storage.test_results import Asked, TestCost, TestResult, read_test, tests_folder
from expand.storage.trained_weights import read_weights
from expand.training.device import amp_dtype, put
from expand.training.metrics import Scores
from expand.training.multi_view import Views, default_scale, padded_videos, test_network

Count = Callable[[int, int], None]
Bars = Callable[[str], Count]  # description of a task -> its progress callback


@dataclass(frozen=True)
class Question:
    """The options of `expand test`, except the choice of the network."""

    views: Views
    split: str = "test"
    crop: int | None = None
    scale: float | None = None
    data: str | None = None
    skip_damaged: bool = False
    again: bool = False
    loader_workers: int | None = None

    def __post_init__(self) -> None:
        if self.split not in ("test", "val"):
            raise UsageError(f"--split {self.split}: allowed are test, val")
        if self.scale is not None and not 1 <= self.scale <= 4:
            raise UsageError(f"--scale {self.scale:g}: the short side over the crop, from 1 to 4")


@dataclass(frozen=True)
class Videos:
    """The videos to score: a split's clips at the run's frame rate.

    Attributes:
        own: whether they are the run's own videos.
        sha256: of their contents and labels.
        fingerprint: of the whole data set.
    """

    cache: ClipCache
    name: str
    own: bool
    sha256: str
    fingerprint: str
    cache_side: int
    notes: tuple[str, ...]


def test_trial(
    record: Record, study: Study, trial: Trial, videos: Videos, question: Question, *, bars: Bars, device: torch.device
) -> TestResult:
    """One network's test: scored and stored, or read from its file (`from_file`)."""
    asked = _asked(record, study, trial, videos, question)
    path = _path(record, study, trial, videos, question)
    kept = read_test(path)
    if kept is not None and kept.asked != asked:
        kept = None
    if kept is not None and not question.again:
        return replace(kept, from_file=True)
    _make_folder(path.parent)
    network = study.space.build(trial.architecture, len(videos.cache.classes))
    try:
        network.load_state_dict(read_weights(record, trial))
    except RuntimeError as error:
        raise ExpandError(f"the weights of trial {trial.number} do not fit its network: {error}") from None
    put(network, device)
    recipe, fewer = _loading(study, trial, question, device)
    began = time.perf_counter()
    scores = test_network(
        network, _clips(study, trial, question.crop), videos.cache, recipe, views=question.views,
        scale=_scale(study, trial, question), progress=bars(f"trial {trial.number}: videos scored"),
    )  # fmt: skip
    if not bool(torch.isfinite(scores.probabilities).all()):
        raise ExpandError(f"trial {trial.number} gives logits that are not finite: its weights are unusable")
    test = _result(
        record, study, trial, videos, question,
        Scored(asked, scores, device, round(time.perf_counter() - began, 1), kept.looks + 1 if kept else 1, fewer),
    )  # fmt: skip
    write_test(path, test, scores, videos.cache.names)
    return test


def _loading(study: Study, trial: Trial, question: Question, device: torch.device) -> tuple[Recipe, list[str]]:
    """The recipe with the number of loader processes, which does not change results. A single one would keep a GPU waiting."""
    count = question.loader_workers
    if count is None:
        spare = min(4, (os.cpu_count() or 1) - 1) if device.type == "cuda" else 0
        count = max(study.recipe.loader_workers, spare)
    recipe = replace(study.recipe_of(trial.architecture), loader_workers=count)
    return loaders_that_fit(recipe, _clips(study, trial, question.crop))


# --- videos ----------------------------------------------------------------------------------------------------------


def open_videos(record: Record, study: Study, question: Question, bars: Bars) -> Videos:
    """The videos to score; decodes them if the cache does not have them.

    Raises:
        UsageError: the split is empty, the run's own videos have changed, or classes are not those of the network.
        ExpandError: videos are damaged and must not be left out.
    """
    stored, data = record.facts.data, study.data
    own_source = replace(data, source=record.facts.study.source)
    chosen = own_source if question.data is None else replace(data, source=os.path.realpath(question.data))
    manifest = open_data(chosen, lambda text: None)
    fingerprint, name = (
        manifest.fingerprint(),
        escaped(os.path.basename(os.path.realpath(question.data))) if question.data else stored.name,
    )
    own = fingerprint == stored.fingerprint
    if not own and question.data is None:
        raise UsageError(f"the run's videos have changed ({_changes(record, manifest)}): put them back, or "
                         f"name other videos with --data {shlex.quote(str(own_source.source))}")  # fmt: skip
    if not manifest.split(question.split):
        raise UsageError(f"--split {question.split}: {name} has no such videos; {_others(manifest)}")
    notes: list[str] = []
    if not own:
        manifest = _as_of_run(manifest, question, stored.classes, lambda: open_data(own_source, lambda _: None), notes)
    scored = manifest.split(question.split)
    hashes = manifest.hashes(scored)
    (folder,) = prepare(
        manifest, side=data.cache_side, frames=data.cache_frames, fly=data.decode == "fly", splits=(question.split,),
        skip_damaged=True, progress=bars("videos decoded"),
    )  # fmt: skip
    cache = ClipCache(folder)
    _say_skipped(cache, question, notes)
    notes += _seen_in_training(record, hashes)
    labelled = sorted((manifest.classes[v.label], content) for v, content in zip(scored, hashes, strict=True))
    sha256 = hashlib.sha256(repr((labelled, [problem.path for problem in cache.skipped])).encode()).hexdigest()
    return Videos(cache, name, own, sha256, fingerprint, data.cache_side, tuple(notes))


def _changes(record: Record, manifest: Manifest) -> str:
    listing = read_listing(record.folder)
    return "changed" if listing is None else describe_changes(listing, manifest.listing())


def _others(manifest: Manifest) -> str:
    there = [split for split in ("test", "val") if manifest.split(split)]
    return f"it has --split {there[0]}" if there else "it has training videos only"


def _as_of_run(
    manifest: Manifest, question: Question, classes: tuple[str, ...], own: Callable[[], Manifest], notes: list[str]
) -> Manifest:
    """Other videos with the labels of the run's classes. The run's training videos set the frame rate, so that a stride covers
    the same time as in training."""
    for name in manifest.classes:
        if name not in classes:
            raise UsageError(
                f"--data {question.data}: class '{name}' is not among the network's {len(classes)} "
                f"({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})"
            )
    label = {old: classes.index(name) for old, name in enumerate(manifest.classes)}
    moved = tuple(replace(v, label=label[v.label], path=str(manifest.absolute(v))) for v in manifest.videos)
    try:
        first = own()
    except ExpandError as error:
        notes.append(f"the run's own videos cannot be read ({error}): the frame rate is that of {question.data}")
        return replace(manifest, classes=classes, videos=moved)
    return replace(
        first, classes=classes, videos=(*first.split("train"), *(v for v in moved if v.split == question.split))
    )


def _say_skipped(cache: ClipCache, question: Question, notes: list[str]) -> None:
    """Refuses damaged videos unless `--skip-damaged`: the accuracy on a part is not that of the whole split."""
    if not cache.skipped:
        return
    first, count = cache.skipped[0], len(cache.skipped)
    what = f"{count} of {count + len(cache)} {question.split} videos are damaged, such as {escaped(first.path)}: {first.reason}"
    if not question.skip_damaged:
        raise ExpandError(f"{what} (--skip-damaged leaves them out, and notes it with the result)")
    notes.append(f"{what}; they were left out")


def _seen_in_training(record: Record, hashes: Sequence[str]) -> list[str]:
    """A warning if scored videos are byte for byte among the training videos."""
    rows = (read_listing(record.folder) or {}).values()
    learned = {content for _, split, content in rows if split == "train"}
    seen = sum(content in learned for content in hashes)
    return [f"{seen} of these videos are training videos, byte for byte: the accuracy is too high"] if seen else []


# --- facts -----------------------------------------------------------------------------------------------------------


def _clips(study: Study, trial: Trial, crop: int | None) -> tuple[Clip, ...]:
    """The clip of each stream in the test. Raises `UsageError` for a crop that the network cannot take."""
    moved = trial.architecture if crop is None else at_crop(study.space, trial.architecture, crop)
    return study.space.inputs(moved)


def _asked(record: Record, study: Study, trial: Trial, videos: Videos, question: Question) -> Asked:
    clips, scale = _clips(study, trial, question.crop), _scale(study, trial, question)
    return Asked(
        weights_sha256=hashlib.sha256(record.weights(trial.number).read_bytes()).hexdigest(),
        videos_sha256=videos.sha256, split=question.split, views=str(question.views), crop=clips[0].height,
        scale=(round(scale[0], 6), round(scale[1], 6)) if isinstance(scale, tuple) else round(scale, 6),
        cache_side=videos.cache_side,
    )  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """What came of scoring a network: how long it took, how often these videos have been scored by it, and notes."""

    asked: Asked
    scores: Scores
    device: torch.device
    seconds: float
    looks: int
    notes: Sequence[str]


def _result(
    record: Record, study: Study, trial: Trial, videos: Videos, question: Question, scored: Scored
) -> TestResult:
    clips, cache, views = _clips(study, trial, question.crop), videos.cache, question.views
    scale, scores, device = scored.asked.scale, scored.scores, scored.device
    short_side = round(clips[0].height * (min(scale) if isinstance(scale, tuple) else scale))
    moved = trial.architecture if question.crop is None else at_crop(study.space, trial.architecture, question.crop)
    cost, padded = cost_of(study.space, moved, len(cache.classes)), padded_videos(cache, clips)
    rows, rates = scores.per_class(cache.classes), scores.rates()
    present = [row.accuracy for row in rows if row.accuracy is not None]
    assert trial.metrics is not None
    return TestResult(
        **vars(scored.asked),
        trial=trial.number, label=trial.label, seed=trial.suggestion.seed, epochs=trial.suggestion.epochs,
        validation_top1=trial.metrics.top1, study=record.facts.study.name, data=videos.name, own_videos=videos.own,
        data_fingerprint=videos.fingerprint, videos=len(cache), left_out=tuple(each.path for each in cache.skipped),
        held=padded, fps=cache.fps, view_number=views.number, short_side=short_side, clip=clips,
        architecture={"family": trial.architecture.family, **study.space.network_of(trial.architecture)[1].as_dict()},
        cost=TestCost(
            cost.macs, cost.macs * views.number, cost.params,
            CONVENTION if question.crop is None else CONVENTION.replace("the training crop", "the test crop"),
        ),
        scoring=f"mean softmax of {views.clips} clips evenly spaced in time by {views.crops} "
        + ("centre crop" if views.crops == 1 else "crops along the longer side"),
        notes=(*_notes(videos, question, padded, short_side), *scored.notes), video_top1=rates["video_top1"],
        video_top5=rates["video_top5"], clip_top1=rates["clip_top1"], clip_top5=rates["clip_top5"], loss=scores.loss,
        class_mean=round(math.fsum(present) / len(present), 6), classes=tuple(rows), device=device.type,
        precision=_precision(study, device), seconds=scored.seconds, looks=scored.looks,
        tested=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )  # fmt: skip


def _notes(videos: Videos, question: Question, padded: int, short_side: int) -> tuple[str, ...]:
    notes = list(videos.notes)
    if padded:
        notes.append(
            f"{padded} of {len(videos.cache)} videos are shorter than a clip and were padded by repeating their last frame"
        )
    if question.crop is not None and short_side > videos.cache_side:
        notes.append(
            f"frames are stored with a short side of at most {videos.cache_side} pixels and were enlarged to {short_side}"
        )
    return tuple(notes)


def _scale(study: Study, trial: Trial, question: Question) -> Scale:
    clips = study.space.inputs(trial.architecture)
    return (
        default_scale(clips, study.recipe_of(trial.architecture), question.crop)
        if question.scale is None
        else question.scale
    )


def _precision(study: Study, device: torch.device) -> str:
    mixed = study.recipe.mixed_precision and device.type == "cuda"
    return str(amp_dtype()).removeprefix("torch.") if mixed else "float32"


# --- places and progress ---------------------------------------------------------------------------------------------


def _path(record: Record, study: Study, trial: Trial, videos: Videos, question: Question) -> Path:
    """tests/SPLIT-VIEWS-CROP.json; the name also contains a scale that is not the default, and videos that are not the run's."""
    parts = [question.split, str(question.views), str(_clips(study, trial, question.crop)[0].height)]
    if question.scale is not None:
        parts.append(f"scale{question.scale:g}")
    if not videos.own:
        parts.append(videos.sha256[:12])
    return tests_folder(record.folder, trial.number) / ("-".join(parts) + ".json")


def _make_folder(folder: Path) -> None:
    """Creates the folder before the test, which may take hours, so that a result that cannot be stored is noticed early."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ExpandError(f"cannot write to {folder}: {error.strerror}; a test is stored beside the weights") from None
