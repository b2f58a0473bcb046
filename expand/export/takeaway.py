"""`expand export`: chooses a trained network of a run, scores it once on the test split, and writes its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from expand import record as records
from expand.data.augment import MEAN, STD
from expand.data.cache import ClipCache, prepare
from expand.data.sampling import validation_scale
from expand.errors import ExpandError, UsageError, unknown
from expand.export.folder import export_network
from expand.progress import format_macs
from expand.record import Record
from expand.report.candidates import Candidate, candidates, front
from expand.run import open_data, study_of
from expand.study import COSTS, Recipe, Study
from expand.training.checkpoint import write_atomically
from expand.training.device import pick_device
from expand.training.views import validate
from expand.trial import CONVENTION, PARAMS_CONVENTION, Trial, TrialState


def take_away(
    run: Path, to: Path, *, under: str | None, trial: int | None, best: str | None, test: bool = True
) -> dict[str, Any]:
    """Exports one trial of a run and prints what was written.

    Raises:
        UsageError: not exactly one choice, or one that no complete trial answers.
        ExpandError: weights are missing or damaged, or the exported network does not give the same logits.
    """
    record, console = records.open_for_reading(run), Console()
    chosen = choose(record, under=under, trial=trial, best=best)
    study = study_of(record)
    weights = read_weights(record, chosen)
    classes = record.facts["data"]["classes"]
    network, arguments = study.space.constructor(chosen.architecture, len(classes))
    tested = _test_once(record, study, chosen, weights, console) if test else None
    about = describe(record, study, chosen, tested)
    written = export_network(
        to, network=network, arguments=arguments, state_dict=weights, about=about,
        clip=study.space.inputs(chosen.architecture),
    )  # fmt: skip
    assert chosen.metrics is not None
    console.print(
        f"trial {chosen.number} ({chosen.label}): {format_macs(chosen.cost.macs)}MACs, validation top-1 "
        f"{chosen.metrics.top1:.3f} ± {chosen.metrics.standard_error:.3f}"
        + (f", test top-1 {tested['top1']:.3f} on {tested['clips']} clips" if tested else ""),
        highlight=False,
    )
    console.print(
        f"{to}: network.py, load.py, model.safetensors, architecture.json, README.md; a fresh process without expand gives "
        f"the same logits (largest difference {written['max_difference']:.1e})",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return written


def choose(record: Record, *, under: str | None, trial: int | None, best: str | None) -> Trial:
    """The trial that exactly one of the three options names. With several seeds, the candidate's best seed."""
    if sum(option is not None for option in (under, trial, best)) != 1:
        raise UsageError("say which network: --under gmacs=X, --trial N or --best top1")
    if trial is not None:
        found = record.trial(trial)
        if found.state is not TrialState.COMPLETE:
            raise UsageError(
                f"trial {trial} is {found.state.value}{f' ({found.error})' if found.error else ''}: no weights to take"
            )
        return found
    trials = record.trials()
    on_offer = [c for c in candidates(trials, record.seeds) if c.top1 is not None]
    if under is not None:
        name, _, text = under.partition("=")
        limit = _limit(name, text, under)
        on_offer = [candidate for candidate in on_offer if candidate.value(name) <= limit]  # nan is not
        if not on_offer:
            raise UsageError(f"--under {under}: no complete trial costs that little; `expand report` prints the front")
    elif best not in ("top1",):
        raise unknown("objective in --best", best, ["top1"])
    if not on_offer:
        raise UsageError("no trial of this run is complete yet")
    winner = max(front(on_offer, record.objectives), key=lambda candidate: candidate.top1 or 0.0)
    return _best_seed(winner, trials)


def _limit(name: str, text: str, option: str) -> float:
    if name not in COSTS:
        raise unknown("cost in --under", name, COSTS)
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--under {option}: write it as gmacs=0.01") from None


def _best_seed(candidate: Candidate, trials: tuple[Trial, ...]) -> Trial:
    own = [trial for trial in trials if trial.number in candidate.numbers and trial.metrics]
    return max(own, key=lambda trial: trial.metrics.top1 if trial.metrics else 0.0)


def read_weights(record: Record, trial: Trial) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = record.weights(trial.number)
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise ExpandError(f"{path} is gone: the weights of trial {trial.number} cannot be exported") from None
    except SafetensorError as error:
        raise ExpandError(
            f"{path} is damaged ({error}): the weights of trial {trial.number} cannot be exported"
        ) from None


def _test_once(
    record: Record, study: Study, trial: Trial, weights: dict[str, torch.Tensor], console: Console
) -> dict[str, Any] | None:
    """Top-1 on the test split. Kept beside the weights: whatever was chosen on validation is scored here only once."""
    kept = record.weights(trial.number).with_name("test.json")
    if kept.exists():
        return json.loads(kept.read_text())
    try:
        manifest = open_data(study.data, lambda text: None)
    except ExpandError as error:
        console.print(f"test split not scored: {error}", highlight=False, soft_wrap=True)
        return None
    if manifest.fingerprint() != record.facts["data"]["fingerprint"]:
        console.print("test split not scored: the videos are not those of the run any more", highlight=False)
        return None
    if not manifest.split("test"):
        console.print("test split not scored: the data have none", highlight=False)
        return None
    try:
        (folder,) = prepare(
            manifest, side=study.data.cache_side, frames=study.data.cache_frames, fly=study.data.decode == "fly",
            splits=("test",), skip_damaged=not study.data.strict,
        )  # fmt: skip
    except ExpandError as error:
        console.print(f"test split not scored: {error}", highlight=False, markup=False, soft_wrap=True)
        return None
    cache, device = ClipCache(folder), pick_device()
    network = study.space.build(trial.architecture, len(cache.classes))
    network.load_state_dict(weights)
    network.to(device)
    clips, recipe = study.space.inputs(trial.architecture), study.recipe
    metrics = validate(network, cache, clips, recipe, views=recipe.views, device=device)
    content = asdict(metrics) | {"standard_error": round(metrics.standard_error, 6), "split": "test"}
    write_atomically(kept, json.dumps(content).encode())
    return content


def describe(record: Record, study: Study, trial: Trial, tested: dict[str, Any] | None) -> dict[str, Any]:
    """What architecture.json says besides how to build and feed the network."""
    assert trial.metrics is not None
    accuracy: dict[str, Any] = {
        "validation_top1": trial.metrics.top1,
        "validation_standard_error": round(trial.metrics.standard_error, 6),
        "validation_clips": trial.metrics.clips,
        "views": trial.metrics.views,
        "seed": trial.suggestion.seed,
        "epochs": trial.suggestion.epochs,
        "convention": "mean softmax of uniformly spaced centre clips; selected on validation, test scored once",
    }
    if tested:
        accuracy |= {"test_top1": tested["top1"], "test_clips": tested["clips"]}
    return {
        "study": record.facts["study"]["name"], "scale": record.facts["scale"], "data": record.facts["data"]["name"],
        "data_fingerprint": record.facts["data"]["fingerprint"], "trial": trial.number,
        "architecture": {"family": trial.architecture.family, **trial.architecture.as_dict()},
        "cost": {
            **asdict(trial.cost), "gmacs": trial.cost.gmacs, "convention": CONVENTION,
            "params_convention": PARAMS_CONVENTION,
        },
        "accuracy": accuracy,
        "classes": record.facts["data"]["classes"],
        "normalisation": {"mean": MEAN, "std": STD},
        "resize": resize_facts(study.recipe),
    }  # fmt: skip


def resize_facts(recipe: Recipe) -> dict[str, float]:
    """What validation's frames were resized to, for `load.py`."""
    scale = validation_scale(recipe)
    if isinstance(scale, tuple):
        return {"height_over_crop": scale[0], "width_over_crop": scale[1]}
    return {"short_side_over_crop": scale}
