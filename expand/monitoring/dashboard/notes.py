"""The notes of the dashboard in Markdown: one about the run, one about each trial. Pure functions of the record."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from expand.core.accuracy import percent
from expand.core.study import Objective
from expand.core.trial import Trial, TrialState
from expand.core.units import format_bytes, format_macs, format_seconds
from expand.report.candidates import Candidate, RunFacts, candidates, cost_name, front
from expand.report.tables import caption, cost_unit, counted, markdown_row, show_cost, show_top1
from expand.storage.facts import Facts, StudyFacts
from expand.storage.plans import Plan
from expand.strategies.ledger import LedgerStep, ledger

BELOW = "*Written by expand; what stands below this line is yours and is kept.*"
MOST_ROWS = 20  # of the front's table


def study_note(
    run: RunFacts,
    facts: Facts,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    folder: Path,
    plan: Plan | None = None,
) -> str:
    """The note about the run: its progress, settings, front, conditions of the numbers, and the next commands.

    Args:
        facts: study.json.
        plan: plan.json, if the run was planned.
    """
    found = candidates(trials, run.seeds)
    ended = "the search has ended" if run.complete else "the search has not ended"
    blocks = [
        f"## {plain(run.study)} ({plain(run.scale)}) on {plain(run.data)}",
        f"{counted(found)}; {ended}.",
        *_steps(ledger(trials)),
        "### Plan",
        _plan(facts.study, plan),
        "### Front",
        _front(found, objectives),
        "### How the numbers were measured",
        _basis(run, facts),
        "### Next commands",
        _commands(facts, folder),
    ]
    return "\n\n".join(blocks)


def trial_note(trial: Trial, parent: Trial | None, step: LedgerStep | None, folder: Path) -> str:
    """The note about a trial: what was grown and why, its cost, its accuracy, and whether it was chosen."""
    suggestion = trial.suggestion
    blocks = [f"## Trial {trial.number}: {plain(trial.label)}, {trial.state.value}"]
    if suggestion.reason:
        blocks.append(_broken(suggestion.reason))
    if parent is not None:
        change = parent.architecture.changes(trial.architecture)
        blocks.append(f"Grown from trial {parent.number} ({plain(parent.label)}): {plain(change)}.")
    blocks += _verdict(trial, step)
    if trial.error:
        blocks.append(_fenced(trial.error))
    blocks.append(_readings(trial, parent))
    if trial.metrics:
        export = f"expand export {shlex.quote(str(folder))} --trial {trial.number} --to my_network"
        blocks += [f"Export this network (weights in `artifacts/{trial.number:06d}/`):", _fenced(export)]
    return "\n\n".join(blocks)


def with_kept(note: str, before: str) -> str:
    """The note, then the separator line and the user's own text below it. A note without our separator, because the user wrote
    it first or deleted the line, is kept whole as the user's text."""
    own = before.partition(BELOW)[2] if BELOW in before else f"\n\n{before}" if before.strip() else ""
    return f"{note}\n\n---\n{BELOW}{own}"


def plain(text: object) -> str:
    """Text with Markdown's special characters escaped."""
    return re.sub(r"([\\`*_\[\]<>$|~#])", r"\\\1", str(text).replace("\n", " "))


def _broken(text: str) -> str:
    """Text broken into short lines: a long attribute makes the dashboard's page wide, and unbroken paragraphs with it."""
    return "\\\n".join(map(plain, textwrap.wrap(text, 100)))


def _row(cells: Sequence[str]) -> str:
    """A table row with extra space between cells, because the page adds none."""
    return markdown_row([cells[0], *(f"&emsp;{cell}" for cell in cells[1:])])


def _fenced(text: str) -> str:
    """A literal block, between fences longer than any fence inside the text."""
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in [*re.findall("`+", text), ""]))
    return f"{fence}\n{text}\n{fence}"


def _steps(steps: Sequence[LedgerStep]) -> list[str]:
    """Progress of a search in steps: the network that it grows now, and why it was chosen."""
    if not steps:
        return []
    chosen = [step for step in steps if step.chosen is not None and step.kind != "start"]
    last = steps[-1]
    lines = []
    if last.base is not None and last.chosen is None:
        done = sum(entry.state.ended for entry in last.entries)
        base = f"{plain(last.base)}, {format_macs(last.base_macs)}MACs"
        lines.append(
            f"**Current base**, step {last.step}: {base}; {done} of {len(last.entries)} candidates have ended."
        )
    if chosen and chosen[-1].chosen is not None:
        entry = chosen[-1].entries[chosen[-1].chosen]
        numbers = ", ".join(map(str, entry.trial_numbers))
        lines.append(f"**Chosen in step {chosen[-1].step}**: trial {numbers}. {plain(chosen[-1].why)}.")
    return lines


def _plan(study: StudyFacts, plan: Plan | None) -> str:
    strategy = ", ".join(f"{name} {_value(value)}" for name, value in study.strategy.items() if name != "type")
    budget = ", ".join(
        f"{name} {_value(value)}" for name, value in asdict(study.budget).items() if value not in (None, ())
    )
    aims = ", ".join(
        f"{aim.name} ({aim.direction}{'' if aim.limit is None else f', limit {aim.limit:g}'})"
        for aim in study.objectives
    )
    lines = [
        f"- strategy: {plain(study.strategy.get('type', ''))} ({plain(strategy)})",
        f"- objectives: {plain(aims)}",
        f"- budget: {plain(budget)}",
    ]
    if plan:
        lines.append("- a plan exists: `expand report` compares it with the actual cost")
    return "\n".join(lines)


def _front(found: Sequence[Candidate], objectives: Sequence[Objective]) -> str:
    chosen, name = front(found, objectives), cost_name(objectives)
    if not chosen:
        return "No candidate is complete yet."
    size, unit = cost_unit((candidate.amount(name) for candidate in chosen), name)
    rows = [_row([unit, "top-1 %", "network", "trial"]), markdown_row(["---:", "---:", "---", "---:"])]
    for candidate in chosen[-MOST_ROWS:]:
        step = "" if candidate.name or not candidate.step else f" (step {candidate.step})"
        accuracy = show_top1(candidate.top1, candidate.noise, candidate.state)
        numbers = ", ".join(map(str, candidate.numbers))
        rows.append(_row([show_cost(candidate.amount(name), size), accuracy, candidate.label + step, numbers]))
    left = len(chosen) - MOST_ROWS
    return "\n".join(rows) + (f"\n\n{left} cheaper ones are in `expand report`." if left > 0 else "")


def _basis(run: RunFacts, facts: Facts) -> str:
    data = facts.data
    videos = ", ".join(f"{count} {split}" for split, count in asdict(data.videos).items())
    varied = facts.study.varied
    recipe = ", ".join(
        f"{name} {f'searched ({varied[name]})' if name in varied else _value(value)}"
        for name, value in asdict(facts.study.recipe).items()
        if value is not None
    )
    return "\n".join([
        *(f"- {plain(part)}" for part in caption(run).split("; ")),
        f"- data: {plain(data.name)}, {videos} videos, {len(data.classes)} classes, fingerprint {data.fingerprint[:12]}",
        f"- recipe: {plain(recipe)}",
    ])  # fmt: skip


def _commands(facts: Facts, folder: Path) -> str:
    """The commands for this run, ready to copy."""
    place = shlex.quote(str(folder))
    run = [f"expand run {shlex.quote(facts.reference or 'STUDY')} --scale {facts.scale}"]
    for option, values in (("--set", facts.settings), ("--limit", facts.limits)):
        run += [f"{option} {shlex.quote(value)}" for value in values]
    for option, value in (("--data", facts.data_option), ("--seed", facts.seed_option)):
        run += [] if value is None else [f"{option} {shlex.quote(str(value))}"]
    lines = (
        "# resumes a run that was stopped",
        " \\\n    ".join([*run, f"--out {place}"]),
        "# the results so far, and the export of a network",
        f"expand report {place}",
        f"expand export {place} --best top1 --to my_network",
    )
    return _fenced("\n".join(lines))


def _verdict(trial: Trial, step: LedgerStep | None) -> list[str]:
    """Whether the trial was chosen, once its step has ended."""
    if step is None or step.chosen is None or step.kind == "start":
        return []
    own = trial.number in step.entries[step.chosen].trial_numbers
    return [f"**{'Chosen' if own else 'Not chosen'}** in step {step.step}:\\\n{_broken(step.why)}"]


def _readings(trial: Trial, parent: Trial | None) -> str:
    cost, suggestion = trial.cost, trial.suggestion
    ratio = f" ({cost.macs / parent.cost.macs:.2f} times its parent's)" if parent and parent.cost.macs else ""
    clips = " and ".join(" × ".join(map(str, clip)) for clip in cost.input)
    rows = [
        ("multiply-adds", f"{format_macs(cost.macs)}{ratio}"),
        ("parameters", f"{cost.params:,}"),
        ("activations", f"{cost.activations:,}"),
        ("clip (C × T × H × W)", clips),
    ]
    if cost.training_bytes:
        rows.append(("training memory", f"{format_bytes(cost.training_bytes)} per clip, counted"))
    if speed := trial.attempt.speed:
        rows.append(("latency", f"{speed.ms:.3g} ms per clip, measured"))
    if metrics := trial.metrics:
        accuracy = show_top1(metrics.top1, metrics.standard_error, TrialState.COMPLETE)
        views = f"{metrics.clips:,} validation clips, {metrics.views} view{'s' if metrics.views > 1 else ''} each"
        rows.append(("top-1 %", f"{accuracy} (binomial standard error; {views})"))
        rows.append(("top-5 %, loss", f"{percent(metrics.top5)}, {metrics.loss:.3f}"))
    rows.append(("seed, epochs", f"{suggestion.seed}, {len(trial.curve)} of {suggestion.epochs}"))
    if trial.train_seconds:
        tries = f", {trial.attempts} attempts" if trial.attempts > 1 else ""
        rows.append(("training took", f"{format_seconds(trial.train_seconds)}{tries}"))
    if peak := trial.attempt.peak_bytes:
        rows.append(("peak memory", format_bytes(peak)))
    return "\n".join([markdown_row(["", ""]), markdown_row(["---", "---"]), *map(_row, rows)])


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value)) or "all"
    return f"{value:g}" if isinstance(value, float) else str(value)
