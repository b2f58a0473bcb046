"""The confusion matrix as a figure that stays readable from 2 to 400 classes. matplotlib without a display."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from expand.report.drawing import COLUMN, INK, LABEL, longest, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTED = 20  # up to so many classes, every cell shows its number
NAMED = 60  # up to so many classes, both axes have names; of more, the most frequent confusions are listed instead
LISTED = 36
NAMED_IN_COLUMN = 15  # up to so many classes, the figure of a column's width has names and numbers
Matrix = Sequence[Sequence[int]]  # rows are the truth, columns the answers


def draw_confusion(counts: Matrix, names: Sequence[str], title: str) -> Figure:
    """Each row as shares of its class, darker for more, on a scale on which one video of many is still visible."""
    number = len(names)
    side = min(max(4.0, 0.42 * number), 11.0) if number <= COUNTED else min(max(8.0, 0.21 * number), 12.6)
    labels = [_short(name, 28) for name in names]
    beside = 0.085 * max(map(len, labels)) if number <= NAMED else 0.6  # inches for the names of a side
    listed = 0.0 if number <= NAMED else 5.0
    width, height = beside + side + 1.45 + listed, side + beside + 1.2
    with style():
        figure, axes = _matrix(counts, (width, height), side, at=(beside + 0.55, beside + 0.55), bar=0.15, size=8)
        _label(axes, labels if number <= NAMED else [], number, 10 if number <= 12 else 8)
        if number <= COUNTED:
            _write_counts(axes, counts, 9)
        axes.set_xlabel("answer", fontsize=10), axes.set_ylabel("truth", fontsize=10)
        fitting = max(30, int(10 * width))
        figure.text(0.15 / width, 1 - 0.15 / height, textwrap.fill(title, fitting), fontsize=11, color=INK, va="top")
        if listed:
            _list_confusions(figure, counts, names, (beside + side + 1.7) / width, 1 - 0.62 / height)
    return figure


def draw_column(counts: Matrix, names: Sequence[str]) -> Figure:
    """The same as wide as a column of a paper, without title. Classes are numbered if there are too many for names."""
    number = len(names)
    labels = [_short(name, 16) for name in names] if number <= NAMED_IN_COLUMN else []
    beside = longest(labels) if labels else 0.25
    side = COLUMN - beside - 0.82
    digits = len(str(max(max(row) for row in counts)))
    with style():
        size, at = (COLUMN, side + beside + 0.3), (beside + 0.22, beside + 0.22)
        figure, axes = _matrix(counts, size, side, at=at, bar=0.08, size=LABEL)
        _label(axes, labels, number, LABEL, most=8)
        if labels and side / number > 0.06 * digits:  # inches that a digit takes
            _write_counts(axes, counts, LABEL)
        axes.set_xlabel("answer", fontsize=LABEL, labelpad=1), axes.set_ylabel("truth", fontsize=LABEL, labelpad=1)
    return figure


def _matrix(
    counts: Matrix, figsize: tuple[float, float], side: float, *, at: tuple[float, float], bar: float, size: float
) -> tuple[Figure, Axes]:
    """A figure with the matrix, a square with `side`, and its colour bar. All lengths are inches, the text `size` is points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    (width, height), (left, bottom) = figsize, at
    figure = Figure(figsize=figsize, dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    image = axes.imshow(
        _shares(counts), cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest", aspect="equal"
    )
    beside = figure.add_axes(((left + side + bar) / width, bottom / height, bar / width, side / height))
    figure.colorbar(image, cax=beside, ticks=[0, 0.05, 0.2, 0.5, 1], format=lambda share, _: f"{100 * share:.0f} %")
    beside.tick_params(labelsize=size, length=2)
    return figure, axes


def _shares(counts: Matrix) -> list[list[float]]:
    return [[count / max(sum(row), 1) for count in row] for row in counts]


def _short(name: str, most: int) -> str:
    return textwrap.shorten(name.replace("_", " "), most, placeholder="…") or name[: most - 1] + "…"


def confusions(counts: Matrix, names: Sequence[str]) -> list[tuple[int, str, str]]:
    """(videos, truth, answer) of every wrong cell, the most frequent first."""
    wrong = [
        (count, names[row], names[column])
        for row, cells in enumerate(counts)
        for column, count in enumerate(cells)
        if count and row != column
    ]
    return sorted(wrong, key=lambda cell: (-cell[0], cell[1], cell[2]))


def _label(axes: Axes, labels: Sequence[str], number: int, size: float, *, most: int = 20) -> None:
    """Names at both sides, or about `most` round numbers without names."""
    axes.spines[:].set_visible(True)
    axes.tick_params(length=2, labelsize=size)
    if not labels:
        every = next((step for step in (10, 25, 50, 100) if number <= most * step), 250)
        axes.set_xticks(range(0, number, every)), axes.set_yticks(range(0, number, every))
        return
    axes.set_xticks(range(number), labels, rotation=90)
    axes.set_yticks(range(number), labels)


def _write_counts(axes: Axes, counts: Matrix, size: float) -> None:
    for row, (cells, shares) in enumerate(zip(counts, _shares(counts), strict=True)):
        for column, (count, share) in enumerate(zip(cells, shares, strict=True)):
            if count:
                color: Any = "white" if share > 0.35 else INK
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size, color=color)


def _list_confusions(figure: Figure, counts: Matrix, names: Sequence[str], left: float, top: float) -> None:
    found = confusions(counts, names)
    if not found:
        return
    numbers = {name: number for number, name in enumerate(names)}
    lines = [
        f"{count:>4}  {_numbered(truth, numbers)}\n        as {_numbered(answer, numbers)}"
        for count, truth, answer in found[:LISTED]
    ]
    text = "most frequent confusions (videos, truth, answer)\n\n" + "\n".join(lines)
    figure.text(left, top, text, fontsize=10, color=INK, va="top", linespacing=1.2)


def _numbered(name: str, numbers: dict[str, int]) -> str:
    return f"{textwrap.shorten(name.replace('_', ' '), 40, placeholder='…')} ({numbers[name]})"
