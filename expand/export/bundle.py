"""`expand export`: chooses trained networks of a run and writes their folders."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from expand.core.accuracy import in_percent
from expand.core.study import Recipe, Study
from expand.core.trial import CONVENTION, PARAMS_CONVENTION, Trial
from expand.core.units import format_macs
from expand.counting.cost import family_layers
from expand.data.sampling import validation_scale
from expand.data.transforms import MEAN, STD
from expand.export.facts import facts_of
from expand.export.folder import FORMAT, INDEX, Package, export_networks, refuse_occupied
from expand.export.model_card import front_card, front_csv
from expand.export.portable import require
from expand.report.choosing import Choice
from expand.storage import run_directory as records
from expand.storage.run_directory import Record
from expand.storage.stored_study import study_of
from expand.storage.test_results import TestResult, all_tests, official
from expand.storage.trained_weights import read_weights


def export_run(
    run: Path,
    to: Path,
    choice: Choice,
    *,
    formats: Sequence[str] = (),
    force: bool = False,
    trust: bool = False,
) -> list[Path]:
    """Exports one trial of a run, or the best seed of every network on its front, and prints a summary; returns the folders.

    Raises:
        UsageError: not exactly one choice, no complete trial fits it, the folder is not empty, an extra is not installed, or
            the run's code is not trusted (`trust`).
        ExpandError: weights are missing or damaged, or an exported network does not give the same logits.
    """
    record, console = records.open_for_reading(run), Console()
    chosen, all_front = choice.trials(record), choice.all_front
    require(formats)
    refuse_occupied(Path(os.path.realpath(to)), force=force)
    study, names = study_of(record, chosen, trust=trust), folder_names(chosen) if all_front else [""]
    texts = _index(record, names, chosen) if all_front else {}
    named = dict(zip(names, chosen, strict=True))
    differences = export_trials(record, study, to, named, texts=texts, formats=formats, force=force)
    for name, one in named.items():
        _say(console, to / name, run, one, kept_test(record, one), differences[name])
    return [to / name for name in names]


def export_trials(
    record: Record,
    study: Study,
    to: Path,
    chosen: Mapping[str, Trial],
    *,
    texts: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
    force: bool = False,
) -> dict[str, dict[str, float]]:
    """Exports trials of a run, each to the subfolder of its name ("" is the folder itself). See `export_networks`."""
    packages = {name: _package(record, study, one) for name, one in chosen.items()}
    return export_networks(to, packages, texts=texts, formats=formats, force=force)


def _package(record: Record, study: Study, trial: Trial) -> Package:
    weights = read_weights(record, trial)
    classes = len(record.facts.data.classes)
    network, arguments = study.space.constructor(trial.architecture, classes)
    about = describe(record, study, trial, kept_test(record, trial)) | facts_of(record, study, trial)
    clip, layers = study.space.inputs(trial.architecture), family_layers(study.space, trial.architecture, classes)
    return Package(network, arguments, weights, about, clip, layers)


def folder_names(trials: Sequence[Trial]) -> list[str]:
    """Names that sort by cost and are valid package names: net1_1590k_trial0, net2_101M_MC3_trial12."""
    digits = len(str(len(trials)))
    names = []
    for place, trial in enumerate(trials, start=1):
        macs = trial.cost.macs
        size = f"{macs // 1_000_000}M" if macs >= 10_000_000 else f"{macs // 1000}k"
        called = re.sub(r"\W+", "_", trial.suggestion.name, flags=re.ASCII).strip("_")
        names.append("_".join(part for part in (f"net{place:0{digits}}", size, called, f"trial{trial.number}") if part))
    return names


def _index(record: Record, names: Sequence[str], trials: Sequence[Trial]) -> dict[str, str]:
    """README.md, front.csv and front.json of a folder with all networks of a front."""
    rows = [
        {
            "folder": name, "trial": trial.number, "seed": trial.suggestion.seed, "name": trial.suggestion.name,
            "macs": trial.cost.macs, "params": trial.cost.params, "validation_top1": trial.metrics.top1,
            "validation_standard_error": round(trial.metrics.standard_error, 6), "network": str(trial.architecture),
        }
        for name, trial in zip(names, trials, strict=True) if trial.metrics
    ]  # fmt: skip
    study = f"{record.facts.study.name} ({record.facts.scale} scale) on {record.facts.data.name}"
    index = {"format": FORMAT, "networks": list(names), "files": ["README.md", "front.csv"]}
    card = front_card(study, rows, len(record.seeds))
    return {
        "README.md": card, "front.csv": front_csv(rows), INDEX: json.dumps(index, indent=1) + "\n",
    }  # fmt: skip


def _say(
    console: Console, folder: Path, run: Path, trial: Trial, tested: TestResult | None, differences: dict[str, float]
) -> None:
    assert trial.metrics is not None
    console.print(
        f"trial {trial.number} ({trial.label}): {format_macs(trial.cost.macs)}MACs, validation top-1 "
        f"{in_percent(trial.metrics.top1, trial.metrics.standard_error)}, " + _test_text(tested, run, trial),
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    found = ", ".join(f"{file} {difference:.1e}" for file, difference in differences.items())
    console.print(
        f"{folder}: fresh processes without expand get the same logits (largest difference: {found}) and multiply-adds",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def _test_text(tested: TestResult | None, run: Path | str, trial: Trial) -> str:
    """The result on the test split in a few words."""
    if tested is None:
        return f"not tested; `expand test {shlex.quote(str(run))} --trial {trial.number}` tests it"
    rate = tested.video_top1
    return (
        f"test top-1 {in_percent(rate.value, rate.standard_error)} on {tested.videos} videos, "
        f"{tested.views} views of {tested.crop} pixels"
    )


def kept_test(record: Record, trial: Trial) -> TestResult | None:
    """The newest test of these exact weights on the test split of the run's own videos."""
    test = official(all_tests(record.folder), record.facts.data.fingerprint).get(trial.number)
    sha256 = hashlib.sha256(record.weights(trial.number).read_bytes()).hexdigest()
    return test if test is not None and test.weights_sha256 == sha256 else None


def describe(record: Record, study: Study, trial: Trial, tested: TestResult | None) -> dict[str, Any]:
    """The content of architecture.json, except how to build the network and prepare its input."""
    assert trial.metrics is not None
    accuracy: dict[str, Any] = {
        "validation_top1": trial.metrics.top1,
        "validation_standard_error": round(trial.metrics.standard_error, 6),
        "validation_clips": trial.metrics.clips,
        "views": trial.metrics.views,
        "seed": trial.suggestion.seed,
        "epochs": trial.suggestion.epochs,
        "convention": "mean softmax of a video's views, clips evenly spaced in time by crops in space; chosen on validation",
    }
    if tested is None:
        accuracy["test"] = _test_text(None, "RUN", trial)
    else:
        accuracy |= {
            "test_top1": tested.video_top1.value, "test_standard_error": tested.video_top1.standard_error,
            "test_top5": tested.video_top5.value, "test_videos": tested.videos, "test_views": tested.views,
            "test_crop": tested.crop, "test_short_side": tested.short_side, "tested": tested.tested,
        }  # fmt: skip
    return {
        "study": record.facts.study.name, "scale": record.facts.scale, "data": record.facts.data.name,
        "data_fingerprint": record.facts.data.fingerprint, "trial": trial.number,
        "architecture": {"family": trial.architecture.family, **study.space.network_of(trial.architecture)[1].as_dict()},
        "cost": {
            **asdict(trial.cost), "gmacs": trial.cost.gmacs, "convention": CONVENTION,
            "params_convention": PARAMS_CONVENTION,
        },
        "accuracy": accuracy,
        "classes": list(record.facts.data.classes),
        "normalisation": {"mean": MEAN, "std": STD},
        "resize": resize_facts(study.recipe_of(trial.architecture)),
        "frame_side": study.data.cache_side,
    }  # fmt: skip


def resize_facts(recipe: Recipe) -> dict[str, float]:
    """The frame size in validation, for `load.py`."""
    scale = validation_scale(recipe)
    if isinstance(scale, tuple):
        return {"height_over_crop": scale[0], "width_over_crop": scale[1]}
    return {"short_side_over_crop": scale}
