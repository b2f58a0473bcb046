"""What a model of all finished trainings expects of each network: a front that one lucky training does not decide.

The measured front takes the best of many noisy trainings, so it favours luck. A Gaussian process over the networks' axes draws
each result towards those of networks like it. On tables of trained networks, whose accuracy over several seeds is known, choosing
by it loses less (`expand bench`, column "by the model"). Accuracies are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from expand.core.accuracy import percent, with_error
from expand.core.study import Objective
from expand.core.trial import Trial, TrialState
from expand.report.candidates import Candidate, best_places, cost_name
from expand.report.tables import markdown_row

FEWEST = 8  # finished networks: with fewer the model knows nothing
MOST_LEARNED = (
    200  # trainings from which scales and lengths are learned: a search over them takes the cube of their number
)


@dataclass(frozen=True)
class Expected:
    """A finished network, measured and expected.

    Attributes:
        top1: the mean over its seeds that the model expects.
        deviation: the model's standard deviation.
        measured_front, expected_front: whether it stands on the front by what was measured, and by what is expected.
    """

    candidate: Candidate
    top1: float
    deviation: float
    measured_front: bool
    expected_front: bool


def expected_of(
    found: Sequence[Candidate], trials: Sequence[Trial], objectives: Sequence[Objective]
) -> tuple[Expected, ...]:
    """The complete candidates, cheapest first; empty with fewer than `FEWEST`."""
    scored = {
        trial.number: trial.metrics.top1 for trial in trials if trial.state is TrialState.COMPLETE and trial.metrics
    }
    pairs = [
        (c, [scored[number] for number in c.numbers if number in scored])
        for c in found
        if c.state is TrialState.COMPLETE and c.top1 is not None
    ]
    if len(pairs) < FEWEST:
        return ()
    import numpy as np  # slow to import, with SciPy

    from expand.strategies.candidates import coordinates
    from expand.strategies.learning_curves import Results, fit

    rows = np.array([row for row, (_, own) in enumerate(pairs) for _ in own], dtype=np.intp)
    top1 = np.array([value for _, own in pairs for value in own])
    model = fit(
        coordinates([c.architecture for c, _ in pairs]),
        Results(rows, np.ones(len(rows)), top1),
        learn_from=MOST_LEARNED,
    )
    mean, deviation = model.mean_and_deviation(np.arange(len(pairs)))
    complete, aims = [c for c, _ in pairs], [objective for objective in objectives if objective.on_front]
    fronts = []
    for values in ([c.top1 or math.nan for c in complete], [float(value) for value in mean]):
        points = [
            tuple(value if aim.name == "top1" else c.value(aim.name) for aim in aims)
            for c, value in zip(complete, values, strict=True)
        ]
        fronts.append(set(best_places(complete, points, [aim.direction for aim in aims])))
    entries = [
        Expected(c, float(mean[row]), float(deviation[row]), row in fronts[0], row in fronts[1])
        for row, c in enumerate(complete)
    ]
    cost = cost_name(objectives)
    return tuple(sorted(entries, key=lambda entry: (entry.candidate.amount(cost), entry.candidate.numbers)))


def expected_lines(entries: Sequence[Expected]) -> list[str]:
    """The summary, one line per entry; empty without entries."""
    if not entries:
        return []
    front = [entry for entry in entries if entry.expected_front]
    lucky = [entry for entry in entries if entry.measured_front and not entry.expected_front]
    names = ", ".join(f"{entry.candidate.title} {with_error(entry.top1, entry.deviation)} %" for entry in front)
    lines = [f"by a model of all {len(entries)} finished networks the front is: {names}"]
    if lucky:
        told = ", ".join(
            f"{entry.candidate.title} (measured {percent(entry.candidate.top1 or 0)} %, expected {percent(entry.top1)} %)"
            for entry in lucky
        )
        lines.append(f"on the measured front perhaps by luck: {told}")
    return lines


def expected_markdown(entries: Sequence[Expected], clips: int) -> str:
    """expected.md: the summary and one row per network."""
    headings = ["candidate", "trials", "multiply-adds", "measured top-1 %", "expected top-1 %", "front"]
    lines = [
        "# Expected by a model of all finished networks",
        "",
        *(f"{line}." for line in expected_lines(entries)),
        "",
    ]
    lines += [
        f"Top-1 on {clips:,} validation clips. Expected: a Gaussian process over the networks' axes (Matern 5/2), "
        "± its standard deviation; the clips' own error is not in it.",
        "",
        markdown_row(headings),
        markdown_row(["---" if name in ("candidate", "front") else "---:" for name in headings]),
    ]
    for entry in entries:
        candidate = entry.candidate
        where = {(True, True): "both", (True, False): "measured", (False, True): "expected"}
        lines.append(
            markdown_row(
                [
                    candidate.title, ", ".join(map(str, candidate.numbers)), f"{candidate.cost.macs / 1e6:.2f} M",
                    percent(candidate.top1 or 0), with_error(entry.top1, entry.deviation),
                    where.get((entry.measured_front, entry.expected_front), ""),
                ]
            )
        )  # fmt: skip
    return "\n".join(lines) + "\n"
