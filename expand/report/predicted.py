"""What a strategy's model predicted of each network, against what its training reached: how far the model can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from expand.core.accuracy import percent, with_error
from expand.core.trial import Trial, TrialState
from expand.report.tables import markdown_row
from expand.strategies.ledger import noise_of

FEWEST_RANKED = 4  # trainings, for a rank correlation that says anything


@dataclass(frozen=True)
class Prediction:
    """A network that was predicted before it was trained; `top1` is None if it was left out."""

    number: int
    label: str
    macs: int
    predicted: float
    deviation: float
    top1: float | None


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run.

    Attributes:
        noise: deviation between seeds, which no prediction can know.
        inside: how many measured values lie within two deviations, of prediction and seed together.
        error: mean absolute difference of predicted and measured top-1.
        tau: Kendall's rank correlation of predicted and measured; None with few trainings.
    """

    rows: tuple[Prediction, ...]
    noise: float
    inside: int
    error: float
    tau: float | None

    @property
    def measured(self) -> list[Prediction]:
        return [row for row in self.rows if row.top1 is not None]


def compare_predictions(trials: Sequence[Trial]) -> Predictions | None:
    """None if no training that is complete was predicted."""
    rows = []
    for trial in trials:
        if trial.suggestion.predicted is None:
            continue
        top1 = trial.metrics.top1 if trial.state is TrialState.COMPLETE and trial.metrics else None
        if top1 is not None or trial.state is TrialState.PRUNED:
            rows.append(Prediction(trial.number, trial.label, trial.cost.macs, *trial.suggestion.predicted, top1))
    pairs = [(row, row.top1) for row in rows if row.top1 is not None]
    if not pairs:
        return None
    noise = noise_of(trials)
    inside = sum(abs(top1 - row.predicted) <= 2 * math.hypot(row.deviation, noise) for row, top1 in pairs)
    error = fmean(abs(top1 - row.predicted) for row, top1 in pairs)
    tau = _tau([(row.predicted, top1) for row, top1 in pairs]) if len(pairs) >= FEWEST_RANKED else None
    return Predictions(tuple(rows), noise, inside, error, tau)


def _tau(pairs: Sequence[tuple[float, float]]) -> float:
    """Kendall's tau-b; 0 where all values of a side are equal."""
    from scipy.stats import kendalltau  # slow to import, and most runs predict nothing

    found = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    return 0.0 if math.isnan(found) else found


def predicted_lines(found: Predictions) -> list[str]:
    """The summary, one line per entry."""
    measured = len(found.measured)
    rank = f", rank correlation (Kendall's tau) {found.tau:.2f}" if found.tau is not None else ""
    lines = [
        f"predicted before training: {measured} networks, off by {percent(found.error)} points on average{rank}; {found.inside} "
        f"of {measured} within two standard deviations of prediction and seed ({percent(found.noise)} points between seeds)"
    ]
    if left := len(found.rows) - measured:
        lines.append(f"{left} more were predicted and not trained to their end")
    return lines


def predicted_markdown(found: Predictions) -> str:
    """predicted.md: the summary and one row per network."""
    headings = ["trial", "candidate", "multiply-adds", "predicted top-1 %", "measured top-1 %", "difference"]
    lines = ["# Predicted against measured", "", *(f"{line}." for line in predicted_lines(found)), ""]
    lines += [markdown_row(headings), markdown_row(["---" if name == "candidate" else "---:" for name in headings])]
    for row in found.rows:
        cells = [str(row.number), row.label, f"{row.macs / 1e6:.2f} M", with_error(row.predicted, row.deviation)]
        cells += ["not trained to its end", ""] if row.top1 is None else _measured(row.top1, row.predicted)
        lines.append(markdown_row(cells))
    return "\n".join(lines) + "\n"


def _measured(top1: float, predicted: float) -> list[str]:
    return [percent(top1), f"{100 * (top1 - predicted):+.1f}"]
