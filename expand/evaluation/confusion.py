"""The confusion matrix as a picture that can be read from 2 classes to 400. matplotlib, no display needed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from expand.report.drawing import INK, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTED = 20  # classes up to which every cell says its number
NAMED = 60  # classes up to which both sides bear names; of more, the commonest confusions are listed instead
LISTED = 36
Matrix = Sequence[Sequence[int]]  # rows are the truth, columns the answers


def draw_confusion(counts: Matrix, names: Sequence[str], title: str) -> Figure:
    """Each row in shares of its class, darker for more, on a scale that shows a single video of many."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    number = len(names)
    side = min(max(4.0, 0.42 * number), 11.0) if number <= COUNTED else min(max(8.0, 0.21 * number), 12.6)
    labels = [textwrap.shorten(name.replace("_", " "), 28, placeholder="…") or name[:27] + "…" for name in names]
    beside = 0.085 * max(map(len, labels)) if number <= NAMED else 0.6  # inches for the names of a side
    listed = 0.0 if number <= NAMED else 5.0
    width, height = beside + side + 1.45 + listed, side + beside + 1.2
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=100)
        FigureCanvasAgg(figure)
        axes = figure.add_axes(
            ((beside + 0.55) / width, (beside + 0.55) / height, side / width, side / height)
        )  # fmt: skip
        shares = [[count / max(sum(row), 1) for count in row] for row in counts]
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest", aspect="equal")
        bar = figure.add_axes(((beside + 0.7 + side) / width, (beside + 0.55) / height, 0.15 / width, side / height))
        figure.colorbar(image, cax=bar, ticks=[0, 0.05, 0.2, 0.5, 1], format=lambda share, _: f"{100 * share:.0f} %")
        bar.tick_params(labelsize=8)
        _label(axes, labels)
        if number <= COUNTED:
            _write_counts(axes, counts, shares)
        axes.set_xlabel("answer", fontsize=10), axes.set_ylabel("truth", fontsize=10)
        fitting = max(30, int(10 * width))
        figure.text(0.15 / width, 1 - 0.15 / height, textwrap.fill(title, fitting), fontsize=11, color=INK, va="top")
        if listed:
            _list_confusions(figure, counts, names, (beside + side + 1.7) / width, 1 - 0.62 / height)
    return figure


def confusions(counts: Matrix, names: Sequence[str]) -> list[tuple[int, str, str]]:
    """(videos, truth, answer) of every wrong cell, the commonest first."""
    wrong = [
        (count, names[row], names[column])
        for row, cells in enumerate(counts)
        for column, count in enumerate(cells)
        if count and row != column
    ]
    return sorted(wrong, key=lambda cell: (-cell[0], cell[1], cell[2]))


def _label(axes: Axes, labels: Sequence[str]) -> None:
    number = len(labels)
    axes.spines[:].set_visible(True)
    if number > NAMED:
        every = 10 if number <= 200 else 25
        axes.set_xticks(range(0, number, every)), axes.set_yticks(range(0, number, every))
        return
    size = 10 if number <= 12 else 8
    axes.set_xticks(range(number), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(number), labels, fontsize=size)
    axes.tick_params(length=2)


def _write_counts(axes: Axes, counts: Matrix, shares: Sequence[Sequence[float]]) -> None:
    for row, cells in enumerate(counts):
        for column, count in enumerate(cells):
            if count:
                color: Any = "white" if shares[row][column] > 0.35 else INK
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=9, color=color)


def _list_confusions(figure: Figure, counts: Matrix, names: Sequence[str], left: float, top: float) -> None:
    found = confusions(counts, names)
    if not found:
        return
    numbers = {name: number for number, name in enumerate(names)}
    lines = [
        f"{count:>4}  {_numbered(truth, numbers)}\n        as {_numbered(answer, numbers)}"
        for count, truth, answer in found[:LISTED]
    ]
    text = "commonest confusions (videos, truth, answer)\n\n" + "\n".join(lines)
    figure.text(left, top, text, fontsize=10, color=INK, va="top", linespacing=1.2)


def _numbered(name: str, numbers: dict[str, int]) -> str:
    return f"{textwrap.shorten(name.replace('_', ' '), 40, placeholder='…')} ({numbers[name]})"
