"""`expand plan`: from the options to a plan that is printed or stored; and the check of `expand run --budget-hours`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expand.config.request import Request
from expand.core.accuracy import resolution_text
from expand.core.errors import UsageError
from expand.core.study import Study
from expand.core.units import format_bytes, format_macs, format_seconds
from expand.counting.cost import MacsCounter
from expand.data.cache.clip_cache import prepare, prepared
from expand.data.cache.disk_space import expected_bytes
from expand.data.manifest import Manifest
from expand.data.open_data import open_data
from expand.planning.calibration import SECONDS, calibrate
from expand.planning.plan import distinct, make_plan
from expand.planning.trajectories import simulated
from expand.search.worker_plan import Workers
from expand.storage.facts import StudyFacts
from expand.storage.folder import check_folder, made_folder
from expand.storage.plans import Plan, Videos, read_plan, write_plan

Note = Callable[[str], None]
QUICKLY_DECODED = 2000  # videos; more are not decoded just for a plan


def plan_study(
    request: Request,
    workers: Workers,
    *,
    videos: int | None = None,
    classes: int | None = None,
    wins: Sequence[str] = (),
    calibrated: bool = True,
    note: Note = lambda text: None,
) -> Plan:
    """The plan of a study on its videos or, if `videos` gives their number, without videos.

    Raises:
        UsageError: as for a run, or the number of videos is unknown.
    """
    study = request.study()
    counted, manifest = count_videos(study, videos, classes, note)
    macs = MacsCounter(study.space, counted.classes)
    found = simulated(study, macs, macs.cost, wins=wins)
    caches, cache_bytes = _caches(study, manifest, decode=calibrated, note=note)
    calibration = None
    if calibrated:
        networks = [network for network in distinct(found) if not network.over]
        calibration = calibrate(study, networks, counted, workers, caches, note=note) if networks else None
        if calibration is None:
            note(f"no network could be timed in {SECONDS:.0f} s: the plan has no hours")
        elif study.budget.hours is not None:
            known = calibration

            def seconds(architecture: Any, cost: Any) -> float:
                return known.seconds(architecture, cost, study.recipe.epochs, study, counted)

            found = simulated(study, macs, macs.cost, wins=wins, seconds=seconds)
    return make_plan(study, found, counted, workers, calibration, cache_bytes=cache_bytes)


def count_videos(study: Study, videos: int | None, classes: int | None, note: Note) -> tuple[Videos, Manifest | None]:
    """The number of videos: from the options, from the study's own videos, or from the published data set's size."""
    data = study.data
    if videos is not None:
        if classes is None:
            raise UsageError(f"--videos {videos} needs --classes: the last layer's size depends on them")
        share = data.validation_share
        return Videos(videos, round(videos * share), classes, "as typed"), None
    if classes is not None:
        raise UsageError(f"--classes {classes} needs --videos; a data set has its own classes")
    if data.source is None and data.published is not None:
        training, validation, number = data.published
        return Videos(
            training, validation, number, "the published data set's size; --data or --videos take others"
        ), None
    manifest = open_data(data, note)
    counts = {split: len(manifest.split(split)) for split in ("train", "val")}
    name = "rendered clips" if data.source is None else data.source
    return Videos(counts["train"], counts["val"], len(manifest.classes), name), manifest


def _caches(
    study: Study, manifest: Manifest | None, *, decode: bool, note: Note
) -> tuple[tuple[str, str] | None, float | None]:
    """The decoded clips, if they exist or are quick to decode, and their size on disk."""
    if manifest is None:
        return None, None
    data = study.data
    videos = [*manifest.split("train"), *manifest.split("val")]
    frames, fly = data.cache_frames, data.decode == "fly"
    folders = prepared(manifest, side=data.cache_side, frames=frames, fly=fly)
    if folders is None and decode and len(videos) <= QUICKLY_DECODED:
        note(f"decoding {len(videos)} videos, once")
        folders = prepare(manifest, side=data.cache_side, frames=frames, fly=fly, skip_damaged=not data.strict)
    if folders is None:
        return None, expected_bytes(manifest, videos, data.cache_side, frames=frames, fly=fly)
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    return (str(folders[0]), str(folders[1])), float(size)


def keep(plan: Plan, folder: Path) -> Path:
    """Stores a plan in a run directory, which is created if necessary, for the report."""
    check_folder(folder)
    return write_plan(folder, plan)


def within_budget(request: Request, folder: Path, workers: Workers, hours: float, note: Note) -> None:
    """Plans a run and stores the plan, unless it was planned before.

    Raises:
        UsageError: the plan exceeds these hours, or has no hours.
    """
    if not 0 < hours < math.inf:
        raise UsageError(f"--budget-hours {hours:g}: must be a number above 0")
    with made_folder(folder):
        plan = read_plan(folder)
        known = (
            plan is not None and plan.study == StudyFacts.of(request.study()) and plan.workers == workers.described()
        )
        if plan is None or not known or not plan.hours:
            plan = plan_study(request, workers, note=note)
            if not plan.hours:
                raise UsageError(f"--budget-hours {hours:g}: no network could be timed, so its time is unknown")
            keep(plan, folder)
    low, middle, high = plan.hours
    if middle > hours:
        raise UsageError(
            f"the plan takes {middle:.3g} h ({low:.3g} to {high:.3g}), --budget-hours {hours:g} allows less; "
            "`expand plan` shows the time of each step"
        )
    note(f"planned: {middle:.3g} h ({low:.3g} to {high:.3g}) of at most {hours:g}")


# --- printing --------------------------------------------------------------------------------------------------------


def print_plan(console: Console, plan: Plan) -> None:
    """The steps with what their networks cost, then what it all comes to."""
    study, videos = plan.study, plan.videos
    where = f"{videos.training:,} videos of {videos.classes} classes ({videos.source})"
    title = f"{study.name} ({study.scale}): {where}"
    table = Table(title=Text(title), title_justify="left")
    by_key = {network.architecture: network for network in plan.networks}
    timed = plan.hours is not None
    for name in ("step", "networks", "multiply-adds of a clip", *(("a training takes",) if timed else ())):
        table.add_column(name, justify="right")
    for step in sorted({row.step for trajectory in plan.courses for row in trajectory.steps}):
        rows = [row for trajectory in plan.courses for row in trajectory.steps if row.step == step]
        own = [by_key[key] for row in rows for key in row.networks]
        takes = [network.seconds for network in own if network.seconds is not None]
        cells = [
            str(step),
            _span([len(row.networks) for row in rows], str),
            _span([network.macs for network in own], format_macs),
        ]
        table.add_row(*cells, *((_span(takes, format_seconds),) if timed else ()))
    console.print(table)
    for line in summary_lines(plan):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def summary_lines(plan: Plan) -> list[str]:
    """What it all comes to, a line each."""
    courses_, recipe, videos = plan.courses, plan.study.recipe, plan.videos
    several = len(courses_) > 1
    clips = recipe.clips_of_epoch(videos.training)
    of_clips = f" of {clips:,} clips (recipe.updates={recipe.updates})" if clips != videos.training else ""
    played = f"; {len(courses_)} trajectories of the search were simulated, ranges are over them" if several else ""
    lines = [
        f"candidates   {_ends([course.networks for course in courses_])}, {_ends(plan.trainings)} trainings "
        f"of {recipe.epochs} epochs{of_clips}{played}",
        f"arithmetic   {_ends(plan.training_macs, format_macs)} multiply-adds "
        "(3 x forward x clips x epochs, and validation)",
    ]
    if any(plan.over_limits):
        lines.append(f"limits       {_ends(plan.over_limits)} candidates are over a limit and never trained")
    if plan.hours and plan.device_hours and plan.calibration:
        low, middle, high = plan.hours
        fit = plan.fit_together
        lines += [
            f"time         {_hours(middle)} ({_hours(low)} to {_hours(high)}) with {plan.workers}",
            f"device time  {_hours(plan.device_hours[1])} ({_hours(plan.device_hours[0])} to "
            f"{_hours(plan.device_hours[2])}), sum of all trainings",
            f"memory       {format_bytes(plan.peak_bytes or 0)} at the peak of the most expensive candidate"
            + (f"; {fit.count} of these fit {fit.where} at the same time" if fit else ""),
            f"timed        {plan.calibration.described}; ± {100 * plan.calibration.error:.0f} % on top of the range",
        ]
    else:
        lines.append("time         not timed (omit --no-calibrate)")
    memory, disk = plan.memory, plan.disk
    assert memory is not None and disk is not None, "only plans stored by old versions have none"
    fits = memory.needed[0] <= memory.there
    lines.append(
        f"a batch      of {memory.batch:,} clips needs at least {_ends(memory.needed, format_bytes)} of memory; "
        f"{memory.where} has {format_bytes(memory.there)}"
        + ("" if fits else ": NOT ENOUGH for any candidate, lower recipe.batch_size; `expand run` refuses this")
    )
    lines.append(f"noise        {resolution_text(videos.validation)}")
    cache = "unknown without the videos" if disk.cache is None else format_bytes(disk.cache)
    lines.append(
        f"disk         clips {cache}, weights {_ends(disk.weights, format_bytes)}, checkpoints while training "
        f"{format_bytes(disk.checkpoints)}"
    )
    return lines


def _ends(values: Sequence[float], show: Callable[[Any], str] = lambda value: f"{value:g}") -> str:
    """ "18", or "18 to 21"."""
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def _span(values: Sequence[float], show: Callable[[Any], str]) -> str:
    return _ends(values, show) if values else ""


def _hours(hours: float) -> str:
    return format_seconds(3600 * hours) if hours < 48 else f"{hours:,.0f} h"
