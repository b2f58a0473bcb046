"""`expand export`: chooses a trained network of a run, and writes its folder with what is known of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from expand import record as records
from expand.data.augment import MEAN, STD
from expand.data.sampling import validation_scale
from expand.errors import ExpandError, UsageError, unknown
from expand.export.folder import export_network
from expand.progress import format_macs
from expand.record import Record
from expand.report.candidates import Candidate, candidates, front
from expand.report.tested import Test, all_tests, official
from expand.run import study_of
from expand.study import COSTS, Recipe, Study
from expand.trial import CONVENTION, PARAMS_CONVENTION, Trial, TrialState


def take_away(run: Path, to: Path, *, under: str | None, trial: int | None, best: str | None) -> dict[str, Any]:
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
    tested = kept_test(record, chosen)
    about = describe(record, study, chosen, tested)
    written = export_network(
        to, network=network, arguments=arguments, state_dict=weights, about=about,
        clip=study.space.inputs(chosen.architecture),
    )  # fmt: skip
    assert chosen.metrics is not None
    console.print(
        f"trial {chosen.number} ({chosen.label}): {format_macs(chosen.cost.macs)}MACs, validation top-1 "
        f"{chosen.metrics.top1:.3f} ± {chosen.metrics.standard_error:.3f}, " + _told(tested, run, chosen),
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    console.print(
        f"{to}: network.py, load.py, model.safetensors, architecture.json, README.md; a fresh process without expand gives "
        f"the same logits (largest difference {written['max_difference']:.1e})",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return written


def _told(tested: Test | None, run: Path | str, trial: Trial) -> str:
    """What is known of the test split, in a few words."""
    if tested is None:
        return f"not tested; `expand test {run} --trial {trial.number}` does it"
    rate = tested["video_top1"]
    return (
        f"test top-1 {rate['value']:.3f} ± {rate['standard_error']:.3f} on {tested['videos']} videos, {tested['views']} views of "
        f"{tested['crop']} pixels"
    )


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
    trials, on_offer = _on_offer(record)
    if under is not None:
        name, _, text = under.partition("=")
        limit = _limit(name, text, under)
        on_offer = [candidate for candidate in on_offer if candidate.value(name) <= limit]  # nan is not
        if not on_offer:
            raise UsageError(f"--under {under}: no complete trial costs that little; `expand report` prints the front")
    elif best not in ("top1",):
        raise unknown("objective in --best", best, ["top1"])
    winner = max(front(on_offer, record.objectives), key=lambda candidate: candidate.top1 or 0.0)
    return _best_seed(winner, trials)


def choose_front(record: Record) -> list[Trial]:
    """The best seed of every network on the front, cheapest first."""
    trials, on_offer = _on_offer(record)
    return [_best_seed(candidate, trials) for candidate in front(on_offer, record.objectives)]


def _on_offer(record: Record) -> tuple[tuple[Trial, ...], list[Candidate]]:
    """All trials, and the candidates with an accuracy."""
    trials = record.trials()
    found = [candidate for candidate in candidates(trials, record.seeds) if candidate.top1 is not None]
    if not found:
        raise UsageError("no trial of this run is complete yet: `expand status RUN` shows how far it is")
    return trials, found


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
        raise ExpandError(
            f"{path} is gone: trial {trial.number} has no weights to take; train it again in a new run"
        ) from None
    except SafetensorError as error:
        raise ExpandError(
            f"{path} is damaged ({error}): trial {trial.number} has no weights to take; train it again in a new run"
        ) from None


def kept_test(record: Record, trial: Trial) -> Test | None:
    """The newest test of exactly these weights on the test split of the run's own videos."""
    test = official(all_tests(record.folder), record.facts["data"]["fingerprint"]).get(trial.number)
    sha256 = hashlib.sha256(record.weights(trial.number).read_bytes()).hexdigest()
    return test if test is not None and test["weights_sha256"] == sha256 else None


def describe(record: Record, study: Study, trial: Trial, tested: Test | None) -> dict[str, Any]:
    """What architecture.json says besides how to build and feed the network."""
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
        accuracy["test"] = _told(None, "RUN", trial)
    else:
        accuracy |= {
            "test_top1": tested["video_top1"]["value"], "test_standard_error": tested["video_top1"]["standard_error"],
            "test_top5": tested["video_top5"]["value"], "test_videos": tested["videos"], "test_views": tested["views"],
            "test_crop": tested["crop"], "test_short_side": tested["short_side"], "tested": tested["tested"],
        }  # fmt: skip
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
