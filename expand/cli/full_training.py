"""`expand train`: from the options to a request for one network's full training, and the summary printed before it starts."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from expand.cli.listing import parse_values
from expand.config.loading import load_space, load_study, names_in
from expand.config.request import Request, lasting
from expand.config.single_network import Alone
from expand.core.errors import UsageError
from expand.core.files import escaped
from expand.core.space import Architecture
from expand.core.study import Study
from expand.core.trial import TrialState
from expand.core.units import format_macs, format_seconds
from expand.planning.planned_run import count_videos, keep, plan_study
from expand.search.worker_plan import Workers
from expand.storage.facts import StudyFacts
from expand.storage.folder import made_folder
from expand.storage.plans import Plan, read_plan
from expand.storage.run_directory import open_for_reading
from expand.storage.stored_study import request_of, study_of
from expand.weights.matching import Matched, load_weights

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingOptions:
    """Options that apply both to a network of a run and to a network of a search space."""

    epochs: int | None = None
    scale: str | None = None
    data: str | None = None
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    weights: str | None = None
    freeze: bool = False
    trust: bool = False

    def all_settings(self, weights: Path | None) -> tuple[str, ...]:
        """The settings of --weights and --freeze, then those of --set.

        Raises:
            UsageError: a setting that a single training does not have.
        """
        for setting in self.settings:
            if setting.partition(".")[0].strip() not in ("recipe", "data") and "budget.attempts" not in setting:
                raise UsageError(
                    f"--set {setting}: a network that is trained alone takes recipe.*, data.* and budget.attempts only"
                )
        start = [f"recipe.weights={os.path.realpath(weights)}"] if weights is not None else []
        return (*start, *(["recipe.freeze=true"] if self.freeze else []), *self.settings)


def request(
    source: str,
    trial: int | None,
    point: str | None,
    values: Sequence[str],
    recipe_of: str | None,
    options: TrainingOptions,
) -> Request:
    """`source` is a run where it looks like one or a trial is named, else a search space.

    Raises:
        UsageError: see `of_run` and `of_space`; an option that belongs to the other of the two.
    """
    if options.freeze and options.weights is None:
        raise UsageError("--freeze needs --weights: with a random trunk nothing would be learned")
    if trial is None and not Path(source, "study.json").exists():
        return of_space(source, point, values, recipe_of, options)
    if trial is None:
        raise UsageError(
            f"{source} is a run: say which network with --trial N (`expand status {shlex.quote(source)}` lists them)"
        )
    if point is not None or values or recipe_of is not None:
        raise UsageError(
            "--point, NAME=VALUE and --recipe-of need a search space; a trial has its own network and recipe"
        )
    return of_run(Path(source), trial, options)


def of_run(folder: Path, trial: int, options: TrainingOptions) -> Request:
    """One network of a run, on the run's videos or others, by the run's recipe or that of its study at another scale.

    Raises:
        UsageError: no such run or trial, or the trial was not trained to the end.
    """
    record = open_for_reading(folder)
    chosen = record.trial(trial)
    if chosen.state is not TrialState.COMPLETE:
        why = f" ({chosen.error})" if chosen.error else ""
        raise UsageError(
            f"trial {trial} of {folder} is {chosen.state.value}{why}: name one that is complete "
            f"(`expand status {shlex.quote(str(folder))}`)"
        )
    study = study_of(record, [chosen], trust=options.trust)  # raises if the code has changed
    searched = (
        {} if options.scale else study.space.recipe_of(chosen.architecture)
    )  # another scale has a recipe of its own
    old = request_of(record.facts)
    before = old.alone or Alone("", "", "", ())  # a run that is itself a full training hands on what it was made with
    weights = record.weights(trial) if options.weights == "same" else _path(options.weights)
    settings = options.all_settings(weights)
    kept = before if options.scale is None else Alone("", "", "", (), space=before.space)
    alone = Alone(
        name=f"train-{escaped(record.folder.resolve().name)}-trial{trial}",
        network=study.space.network_of(chosen.architecture)[1].to_json(),
        label=chosen.suggestion.name or f"was trial {trial}",
        seeds=options.seeds or (chosen.suggestion.seed,),
        space=before.space,
        recipe_scale=options.scale or kept.recipe_scale,
        epochs=kept.epochs if options.epochs is None else options.epochs,
        settings=(*(f"recipe.{name}={value}" for name, value in searched.items()), *kept.settings, *settings),
    )
    data = options.data or record.facts.study.source
    return Request(old.reference, old.scale, old.settings, data, alone=alone, given=old.given)


def of_space(
    reference: str, point: str | None, values: Sequence[str], recipe_of: str | None, options: TrainingOptions
) -> Request:
    """A published network of a space or one of its points, with the recipe of a study, by default at paper scale.

    Raises:
        UsageError: no network is named, no videos, or the space has no study of ours or several with different recipes.
    """
    space = load_space(reference)
    if point is None and not values:
        raise UsageError(f"which network of {space.name}? --point (there are: {', '.join(space.points)}) or NAME=VALUE")
    if options.data is None:
        raise UsageError(f"expand train {reference} needs --data: a folder or a list of videos")
    if options.weights == "same":
        raise UsageError("--weights same needs a trial of a run; name a file of weights")
    given = parse_values(values)
    architecture = space.point(point, **given) if point is not None else space.architecture(**given)
    label = " ".join([*([point] if point else []), *values])
    scale = options.scale or "paper"
    alone = Alone(
        name=f"train-{space.name}-{re.sub(r'[^A-Za-z0-9.+-]+', '_', label).strip('_')}",
        network=architecture.to_json(),
        label=label,
        seeds=options.seeds or (0,),
        space=lasting(reference),
        epochs=options.epochs,
        settings=options.all_settings(_path(options.weights)),
    )
    study = recipe_of if recipe_of is not None else study_for(space.name, scale)
    return Request(lasting(study), scale, (), options.data, alone=alone)


def study_for(family: str, scale: str) -> str:
    """Our study whose recipe trains this family's networks."""
    studies = {name: load_study(name, scale) for name in names_in("studies")}
    found = {name: study for name, study in studies.items() if study.space.name == family}
    if not found:
        raise UsageError(f"we have no study of {family}: name one with --recipe-of STUDY")
    if len({(study.recipe, study.data.cache_side) for study in found.values()}) > 1:
        raise UsageError(
            f"the studies of {family} train differently at scale {scale}: name one with --recipe-of ({', '.join(found)})"
        )
    return next(iter(found))


def announce(request: Request, folder: Path, workers: Workers, say: Say, *, calibrated: bool) -> None:
    """Prints what will be trained, the predicted cost, and the initial weights. A resumed run is not timed again.

    Raises:
        UsageError, ExpandError: what cannot be trained, found before anything is.
    """
    study = request.study()
    with made_folder(folder):
        fresh = not (folder / "study.json").exists()
        videos, _ = count_videos(study, None, None, say)
        plan = read_plan(folder)
        if plan is None or plan.study != StudyFacts.of(study):
            plan = plan_study(request, workers, calibrated=calibrated and fresh, note=say)
            if fresh and plan.hours:
                keep(plan, folder)
    for line in lines_of(plan, study, videos.classes):
        say(line)
    if study.recipe.weights is not None:
        for line in matched_lines(_match(study, plan.networks[0].architecture, videos.classes)):
            say(line)


def lines_of(plan: Plan, study: Study, classes: int) -> list[str]:
    """The network, the work, the time."""
    network, recipe, videos = plan.networks[0], study.recipe, plan.videos
    seeds, epochs = len(study.seeds), recipe.epochs
    clips = recipe.clips_of_epoch(videos.training)
    lines = [
        f"network     {study.space.name} {network.label}: {format_macs(network.macs)}MACs per clip, "
        f"{network.params / 1e6:.3g} M parameters, {classes} classes",
        f"training    {epochs} epochs of {clips:,} clips ({epochs * clips:,} in all)"
        + (f", {seeds} seeds" if seeds > 1 else "")
        + f", {videos.validation:,} validation clips: {format_macs(round(plan.training_macs[1]))} multiply-adds",
    ]
    if plan.hours and plan.calibration:
        low, middle, high = (format_seconds(3600 * hours) for hours in plan.hours)
        lines.append(f"time        {middle} ({low} to {high}), {plan.calibration.described}")
    return lines


def _match(study: Study, network: str, classes: int) -> Matched:
    """Tries the file of weights with this network before any worker does, and describes what fits."""
    assert study.recipe.weights is not None
    architecture = Architecture.from_json(network)
    with torch.random.fork_rng(devices=[]):
        built = study.space.build(architecture, classes)
    return load_weights(built, Path(study.recipe.weights), space=study.space, architecture=architecture)


def matched_lines(found: Matched) -> list[str]:
    """How the tensors were used, with their names if they are few."""
    lines = [f"weights     {len(found.matched)} tensors loaded ({found.layout})"]
    for what, names in (
        ("of another size, initialised anew", found.replaced),
        ("missing in the file, initialised anew", found.missing),
        ("unexpected in the file, not used", found.unexpected),
    ):
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            lines.append(f"            {len(names)} {what}: {', '.join(names[:4])}{more}")
    return lines + [f"            {note}" for note in found.notes]


def parse_seeds(text: str | None) -> tuple[int, ...]:
    """ "0,1,2" as numbers; empty for None."""
    if text is None:
        return ()
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds {text}: write whole numbers with commas, such as 0,1,2") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: none below 0, each once")
    return seeds


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
