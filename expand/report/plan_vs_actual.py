"""Planned against actual time and memory, for each training and in total. Standard library only."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expand.core.trial import Trial, TrialState
from expand.core.units import format_bytes, format_macs, format_seconds
from expand.report.tables import markdown_row
from expand.storage.plans import Plan
from expand.strategies.inherited import from_scratch

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class TrainingVsPlan:
    """One training: planned and actual seconds and peak bytes. Bytes and processor time are 0 if unknown.

    Attributes:
        fitted: the plan predicted this candidate by a fit and did not time it.
    """

    number: int
    label: str
    macs: int
    planned_seconds: float
    seconds: float
    fitted: bool
    planned_bytes: float
    bytes: float
    planned_cpu_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def error(self) -> float:
        return self.planned_seconds / self.seconds - 1


@dataclass(frozen=True)
class PlannedActual:
    """All completed trainings that the plan knows. Errors are relative to the actual values.

    Attributes:
        time_error: mean absolute error over candidates.
        total_error: error of the total.
        cpu_error: mean absolute error in processor time, which does not depend on other programs on the machine.
        memory_error: mean absolute error of peak memory.
        largest_memory_error: of the candidate with the highest peak memory.
    """

    rows: tuple[TrainingVsPlan, ...]
    unplanned: int
    planned_seconds: float
    seconds: float
    time_error: float
    total_error: float
    cpu_error: float | None
    memory_error: float | None
    largest_memory_error: float | None


def compare_plan(plan: Plan | None, trials: Sequence[Trial]) -> PlannedActual | None:
    """None if there is no plan with hours, or nothing is trained yet."""
    if plan is None or not plan.hours:
        return None
    known = {network.architecture: network for network in plan.networks}
    rows, unplanned = [], 0
    for trial in from_scratch(trials):
        if trial.state is not TrialState.COMPLETE or trial.train_seconds <= 0:
            continue
        network = known.get(trial.architecture.to_json())
        if network is None or network.seconds is None:
            unplanned += 1
            continue
        rows.append(
            TrainingVsPlan(
                trial.number, trial.label, trial.cost.macs, network.seconds, trial.train_seconds, not network.timed,
                network.peak_bytes or 0.0, trial.attempt.peak_bytes,
                network.cpu_seconds or 0.0, trial.attempt.cpu_seconds,
            )
        )  # fmt: skip
    if not rows:
        return None
    planned, actual = sum(row.planned_seconds for row in rows), sum(row.seconds for row in rows)
    on_cpu = [abs(r.planned_cpu_seconds / r.cpu_seconds - 1) for r in rows if r.cpu_seconds and r.planned_cpu_seconds]
    measured = [row for row in rows if row.bytes > 0 and row.planned_bytes > 0]
    memory = [row.planned_bytes / row.bytes - 1 for row in measured]
    largest = max(measured, key=lambda row: row.bytes, default=None)
    return PlannedActual(
        tuple(rows), unplanned, planned, actual,
        time_error=statistics.fmean(abs(row.error) for row in rows),
        total_error=planned / actual - 1,
        cpu_error=statistics.fmean(on_cpu) if on_cpu else None,
        memory_error=statistics.fmean(abs(error) for error in memory) if memory else None,
        largest_memory_error=largest.planned_bytes / largest.bytes - 1 if largest else None,
    )  # fmt: skip


def planned_lines(found: PlannedActual) -> list[str]:
    """The summary, one line per entry."""
    beside = f"; {found.unplanned} more were not in the plan" if found.unplanned else ""
    lines = [
        f"planned {format_seconds(found.planned_seconds)} of training, took {format_seconds(found.seconds)} "
        f"({100 * found.total_error:+.1f} %) over {len(found.rows)} trainings{beside}; a candidate is off by "
        f"{100 * found.time_error:.1f} % on average"
    ]
    if found.cpu_error is not None:
        lines[0] += (
            f", {100 * found.cpu_error:.1f} % in processor time, which other programs on the machine do not change"
        )
    if found.memory_error is not None and found.largest_memory_error is not None:
        lines.append(
            f"peak memory of a candidate is off by {100 * found.memory_error:.1f} % on average, that of the largest by "
            f"{100 * found.largest_memory_error:+.1f} %"
        )
    return lines


def print_planned(console: Console, found: PlannedActual) -> None:
    for line in planned_lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def planned_markdown(plan: Plan, found: PlannedActual) -> str:
    """planned.md: the summary and one row per training."""
    headings = ["trial", "candidate", "multiply-adds", "planned", "actual", "error", "memory planned", "actual"]
    lines = ["# Planned against actual", "", *(f"{line}." for line in planned_lines(found)), ""]
    timed = plan.calibration.described if plan.calibration else "not said"
    lines += [f"Timed beforehand: {timed}. An asterisk marks predictions by the fit.", ""]
    lines += [markdown_row(headings), markdown_row(["---" if name == "candidate" else "---:" for name in headings])]
    for row in found.rows:
        cells = [
            str(row.number), row.label + (" *" if row.fitted else ""), format_macs(row.macs),
            format_seconds(row.planned_seconds), format_seconds(row.seconds), f"{100 * row.error:+.1f} %",
            format_bytes(row.planned_bytes) if row.planned_bytes else "", format_bytes(row.bytes) if row.bytes else "",
        ]  # fmt: skip
        lines.append(markdown_row(cells))
    return "\n".join(lines) + "\n"


def planned_rows(found: PlannedActual) -> list[dict[str, object]]:
    """planned.csv: one row per training."""
    return [
        {
            "trial": row.number, "candidate": row.label, "macs": row.macs, "planned_seconds": round(row.planned_seconds, 3),
            "seconds": row.seconds, "error": round(row.error, 4), "fitted": row.fitted,
            "planned_cpu_seconds": round(row.planned_cpu_seconds, 3), "cpu_seconds": row.cpu_seconds,
            "planned_peak_bytes": int(row.planned_bytes), "peak_bytes": int(row.bytes),
        }
        for row in found.rows
    ]  # fmt: skip
