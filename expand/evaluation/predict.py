"""`expand predict`: classifies videos with the network of an export folder or of a trial."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from expand.core.errors import ExpandError, UsageError
from expand.storage import run_directory as records

if TYPE_CHECKING:
    from torch import nn

    from expand.core.study import Study
    from expand.core.trial import Trial
    from expand.data.cache.clip_cache import ClipCache
    from expand.storage.run_directory import Record

VIEWS, TOP = 10, 5


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one video, the highest probability first. Probabilities are the mean softmax over `views`
    clips."""

    video: str
    classes: tuple[tuple[str, float], ...]
    views: int


Answer = Callable[[Path, int, int], Prediction]  # (video, views, number of classes) -> result


def predictor(network: str | Path, device: str | None = None, *, trust: bool = False) -> Answer:
    """A function that classifies videos with a network, given as an export folder or RUN:TRIAL.

    Raises:
        UsageError: `network` is neither, or the run's study file is not trusted (`source/trust.py`).
    """
    folder, _, trial = str(network).rpartition(":")
    if folder and trial.isdecimal() and not Path(network).exists():
        return _of_run(Path(folder), int(trial), device, trust)
    if (Path(network) / "study.json").exists():
        raise UsageError(
            f"{network} is a run: name one of its trials, such as {shlex.quote(f'{network}:12')} (`expand status` lists them)"
        )
    if not (Path(network) / "architecture.json").exists():
        raise UsageError(f"{network} is neither an export folder (`expand export`) nor a trial of a run (RUN:TRIAL)")
    return _of_export(Path(network), device)


def _of_export(folder: Path, device: str | None) -> Answer:
    from expand.export.templates import load, predict
    from expand.training.device import pick_device

    place = device or pick_device().type
    try:
        network = load.load(folder, place)
    except (ValueError, OSError, KeyError) as error:
        raise UsageError(f"{folder} is an incomplete export: {error}") from None

    def answer(video: Path, views: int, top: int) -> Prediction:
        try:
            found = predict.predict(video, folder, network=network, views=views, top=top, device=place)
        except predict.Unreadable as error:
            raise UsageError(str(error)) from None
        return Prediction(str(video), tuple(found), views)

    return answer


def _of_run(folder: Path, number: int, device: str | None, trust: bool) -> Answer:
    from expand.storage.stored_study import study_of

    record = records.open_for_reading(folder)
    trial = record.trial(number)
    study = study_of(record, [trial], trust=trust)
    network = trained_network(record, study, trial)

    def answer(video: Path, views: int, top: int) -> Prediction:
        return predict_video(network, record, study, trial, video, views=views, top=top, device=device)

    return answer


def trained_network(record: Record, study: Study, trial: Trial) -> nn.Module:
    """The network of a complete trial with its weights, on the CPU, in evaluation mode.

    Raises:
        UsageError: the trial is not complete.
        ExpandError: its weights are missing, damaged, or of another network.
    """
    from expand.report.choosing import Choice, choose
    from expand.storage.trained_weights import read_weights

    choose(record, Choice(trial=trial.number))  # raises for a trial that is not complete
    network = study.space.build(trial.architecture, len(record.facts.data.classes))
    try:
        network.load_state_dict(read_weights(record, trial))
    except RuntimeError as error:
        raise ExpandError(f"the weights of trial {trial.number} do not fit its network: {error}") from None
    return network.eval()


class _OneVideo:
    """A decoded video with the interface of a cache: uint8 (T, H, W, 3)."""

    labels = (0,)

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return 1

    def length(self, index: int) -> int:
        return len(self.frames)

    def picked(self, index: int, indices: Sequence[int]) -> np.ndarray:
        return self.frames[list(indices)]


def predict_video(
    network: nn.Module,
    record: Record,
    study: Study,
    trial: Trial,
    video: Path,
    *,
    views: int = VIEWS,
    top: int = TOP,
    device: str | None = None,
) -> Prediction:
    """Classifies a video file with a run's network; frames are sampled at the run's frame rate and cropped as in its validation.

    Raises:
        UsageError: the video is missing or damaged.
    """
    import torch

    from expand.data.loader import ViewClips, batches
    from expand.data.sampling import validation_scale
    from expand.data.video.checks import DamagedVideo
    from expand.data.video.decode import decode
    from expand.training.device import as_trained, autocast, pick_device, put

    place = torch.device(device) if device else pick_device()
    try:
        frames = decode(video, side=study.data.cache_side, fps=record.facts.data.fps)
    except DamagedVideo as error:
        raise UsageError(str(error)) from None
    source = cast("ClipCache", _OneVideo(frames))
    recipe = study.recipe_of(trial.architecture)
    clips = ViewClips(source, study.space.inputs(trial.architecture), views, scale=validation_scale(recipe))
    put(network, place)
    with torch.no_grad(), autocast(place, wanted=recipe.mixed_precision):
        answers = [
            network(*(as_trained(stream, place) for stream in streams)).float().softmax(1).cpu()
            for streams, _ in batches(clips, 2 * recipe.batch_size)
        ]
    names = record.facts.data.classes
    chances, labels = torch.cat(answers).mean(0).topk(min(top, len(names)))
    found = zip(labels.tolist(), chances.tolist(), strict=True)
    return Prediction(str(video), tuple((names[label], chance) for label, chance in found), views)
