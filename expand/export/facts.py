"""Facts about a trained network for its user: how it was found and trained, on which videos, and how noisy its accuracy is.
Plain JSON, which is written to architecture.json and from there into the model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from expand.config.single_network import inherited
from expand.core.study import Study
from expand.core.trial import Trial
from expand.report.candidates import Candidate, candidates, front
from expand.storage.folder import read_environment
from expand.storage.run_directory import Record
from expand.storage.serialize import to_plain
from expand.strategies.inherited import lineage
from expand.strategies.ledger import UNSTEPPED

RECIPE = (
    "updates", "batch_size", "optimiser", "learning_rate", "schedule", "decay_every", "warmup_epochs", "momentum",
    "weight_decay", "label_smoothing", "dropout", "crop", "scale_jitter", "crop_area", "crop_aspect",
    "squeeze", "flip", "temporal_jitter", "colour_jitter",
    "randaugment_operations", "randaugment_magnitude", "mixup", "ema", "weights", "freeze", "mixed_precision",
)  # fmt: skip


def facts_of(record: Record, study: Study, trial: Trial) -> dict[str, Any]:
    """`found`, `training`, `videos`, `fps`, `memory` and `environment` of one complete trial."""
    trials = record.trials()
    found = candidates(trials, record.seeds)
    return {
        "found": _found(record, study, trial, trials, found),
        "training": _training(study, trial),
        "videos": _videos(record),
        "fps": record.facts.data.fps,  # missing in runs of earlier versions
        "memory": {"weight_bytes": trial.cost.weight_bytes, "training_bytes": trial.cost.training_bytes},
        **({"speed": to_plain(trial.attempt.speed)} if trial.attempt.speed else {}),
        "environment": _environment(record),
    }


def _found(
    record: Record, study: Study, trial: Trial, trials: Sequence[Trial], found: Sequence[Candidate]
) -> dict[str, Any]:
    """The path from the start to this network, and the networks it was chosen from."""
    by_number = {each.number: each for each in trials}
    own = next((c for c in found if trial.number in c.numbers), None)
    way, here = [trial], trial
    while here.suggestion.parent is not None and here.suggestion.parent in by_number and len(way) < len(trials):
        here = by_number[here.suggestion.parent]
        way.append(here)
    network = study.space.network_of(trial.architecture)[1]
    steps = [_step(each, before, found) for before, each in zip([None, *way[::-1]], way[::-1], strict=False)]
    return {
        "kind": trial.suggestion.kind,
        "name": trial.suggestion.name,
        "reason": trial.suggestion.reason,
        "strategy": type(study.strategy).__name__,
        "path": [] if trial.suggestion.kind in UNSTEPPED else steps,
        **_lineage(trial, trials),
        "networks_trained": sum(candidate.top1 is not None for candidate in found),
        "on_front": own is not None and own in front(found, record.objectives),
        "axes": [
            {"name": axis.parameter, "value": network[axis.parameter], "unit": axis.unit}
            for axis in study.space.axes
            if axis.parameter in network.as_dict()
        ],
        "seeds": list(record.seeds),
        "top1_mean": own.top1 if own else None,
        "top1_spread": own.spread if own else None,
    }


def _lineage(trial: Trial, trials: Sequence[Trial]) -> dict[str, Any]:
    """The trials whose weights a network goes back to, itself last; nothing for one trained from scratch."""
    line = lineage(trial, trials)
    start = trial.attempt.inherited
    if trial.suggestion.inherit is None:
        return {}
    return {
        "lineage": [
            {
                "trial": each.number, "epochs": each.reached, "top1": each.metrics.top1 if each.metrics else None,
                "change": before.architecture.changes(each.architecture) if before else str(each.architecture),
            }
            for before, each in zip([None, *line], line, strict=False)
        ],
        "before_training": to_plain(start) if start else None,
    }  # fmt: skip


def _step(trial: Trial, before: Trial | None, found: Sequence[Candidate]) -> dict[str, Any]:
    """One network of the path. Its accuracy is the mean over seeds, by which it was chosen."""
    candidate = next((c for c in found if c.architecture == trial.architecture), None)
    return {
        "trial": trial.number,
        "step": trial.suggestion.step,
        "kind": trial.suggestion.kind,
        "axes": list(trial.suggestion.axes),
        "change": before.architecture.changes(trial.architecture) if before else str(trial.architecture),
        "macs": trial.cost.macs,
        "top1": candidate.top1 if candidate else None,
        "noise": candidate.noise if candidate else None,
    }


def _training(study: Study, trial: Trial) -> dict[str, Any]:
    grown = trial.suggestion.inherit is not None
    own = study.recipe_of(trial.architecture)
    recipe = asdict(inherited(own, trial.suggestion.epochs) if grown else own)
    return {
        "epochs": trial.suggestion.epochs,
        "seed": trial.suggestion.seed,
        "seconds": round(trial.train_seconds, 1),
        "device": trial.attempt.device,
        "threads": trial.attempt.threads,
        "ended": trial.ended,
        **({"searched": searched} if (searched := study.space.recipe_of(trial.architecture)) else {}),
        **{name: recipe[name] for name in RECIPE},
    }


def _videos(record: Record) -> dict[str, Any]:
    """Name, fingerprint, number of videos per split, and how frames were resized."""
    data, study = record.facts.data, record.facts.study
    return {
        "name": data.name,
        "rendered": study.source is None,
        "fingerprint": data.fingerprint,
        **asdict(data.videos),
        "cache_side": study.data.cache_side,
    }


def _environment(record: Record) -> dict[str, Any]:
    known = to_plain(read_environment(record.folder))
    return {name: known[name] for name in ("python", "torch", "gpus") if known[name]}
