"""What all figures share: widths, colours, axes, label placement, files. matplotlib without a display.

A figure is drawn again for each width, so that text has the same size on paper in both.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE, COLUMN = 7.0, 3.3  # inches: the text width of a page with two columns, and of one column
# Okabe and Ito's palette without yellow, ordered so that neighbours differ in lightness.
BLUE, ORANGE, GREEN, PINK, INK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#222222"
COLOURS = (BLUE, ORANGE, INK, PINK, GREEN, "#E69F00", "#56B4E9", "#7A7A7A")
MARKS = ("o", "s", "D", "^", "v", "P", "X", "h")
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))
GREY = "#9AA0A6"
STYLE = {
    "font.size": 8, "axes.titlesize": 9, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none", "pdf.fonttype": 42,
}  # fmt: skip
LABEL = 7  # points
DISTANCES = (6, 10, 16, 24, 34, 46)  # points from a spot to its label, tried in this order
Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels
Writer = Callable[[Path], object]


def style() -> Any:
    """The context that figures are drawn and saved in."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def picture_files(name: str, draw: Callable[[float], Figure]) -> dict[str, Writer]:
    """PNG, SVG and PDF as wide as a page's text, and a PDF as wide as a column, by file name. Text stays text.

    Args:
        draw: draws the figure for a width in inches.
    """
    with style():
        page, column = draw(PAGE), draw(COLUMN)
    files: dict[str, Writer] = {f"{name}.{kind}": partial(_save, page, kind) for kind in ("png", "svg", "pdf")}
    return files | {f"{name}-column.pdf": partial(_save, column, "pdf")}


def picture_names(name: str) -> tuple[str, ...]:
    """The names of the files that `picture_files` writes."""
    return (*(f"{name}.{kind}" for kind in ("png", "svg", "pdf")), f"{name}-column.pdf")


def _save(figure: Figure, kind: str, path: Path) -> None:
    with style():
        figure.savefig(path, format=kind, dpi=200)


def new_figure(
    width: float, *, title: str, note: str, panels: int = 1, right: float = 0.1, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure with one or more axes side by side. A figure of column width has neither title nor note: the caption says both.

    Args:
        width: inches.
        note: small text below the axes.
        right: inches kept free beside each axes for labels.
        rows: rows of a legend that fit above the axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide = width > COLUMN
    lines = textwrap.wrap(note, int(width * 19.5)) if wide else []
    left, bottom, top = 0.5, 0.45 + 0.12 * len(lines), (0.25 if wide else 0.08) + 0.17 * rows
    height = (3.4 if wide else 2.2) + bottom + top
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    each = width / panels
    axes = [
        figure.add_axes(((n * each + left) / width, bottom / height, (each - left - right) / width, 1 - (bottom + top) / height))
        for n in range(panels)
    ]  # fmt: skip
    for own in axes:
        own.grid(color="#EBEBEB", linewidth=0.5)
        own.set_axisbelow(True)
        own.tick_params(length=2.5)
    if wide:
        shown = textwrap.shorten(title, int(width * 13), placeholder=" …")
        figure.text(0.08 / width, 1 - 0.06 / height, shown, fontsize=9, color=INK, va="top")
        figure.text(0.08 / width, 0.05 / height, "\n".join(lines), fontsize=6.5, color="#555555", va="bottom")
    return figure, axes


def log_axis(axes: Axes, low: float, high: float) -> None:
    """Makes the x axis logarithmic between these limits, with round numbers at its ticks."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = log_ticks(low, high)
    most = 9 if axes.bbox.width > 400 else 5
    axes.set_xticks(ticks[:: math.ceil(len(ticks) / most)])
    axes.set_xticklabels([f"{tick:,.6g}" for tick in axes.get_xticks()])
    axes.minorticks_off()


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a log axis, at least five: powers of ten, else more per decade, else evenly spaced ones."""
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [float(f"{step * 10.0**power:.6g}") for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 5:
            return ticks[:: math.ceil(len(ticks) / 9)]
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = max(step * power for step in (1, 2, 5) if step * power <= (high - low) / 4)
    return [float(f"{n * step:.6g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


# --- labels ----------------------------------------------------------------------------------------------------------


def place_labels(
    axes: Axes,
    spots: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    *,
    required: int | None = None,
) -> list[Any]:
    """Writes each text near its spot, in this order, without covering another label or the edge of the plot, and over as few
    markers and lines as possible. A thin line connects a distant label to its spot.

    Args:
        spots: positions in data units.
        required: how many of the first labels may be far from their spot or over markers and lines; by default all. Others are
            left out if there is no free space near them.
    """
    _figure(axes).draw_without_rendering()
    marks, lines = _drawn(axes)
    legend, placed = axes.get_legend(), list[Any]()
    taken: list[Box] = [_box(legend)] if legend else []
    for number, (spot, text, colour) in enumerate(zip(spots, texts, colours, strict=True)):
        own, free = tuple(axes.transData.transform(spot)), required is None or number < required
        best: tuple[float, tuple[float, float], Box] | None = None
        for order, (offset, box) in enumerate(_places(axes, own, text, DISTANCES if free else DISTANCES[:3])):
            if any(_meet(box, other) for other in taken):
                continue
            on_marks = sum(_inside(box, mark) for mark in marks)
            unclear = any(_gap(box, mark) < _gap(box, own) for mark in marks)
            on_lines = sum(_inside(box, dot) for dot in lines)
            badness = 4 * on_marks + 3 * on_lines + 4 * unclear + order / 8
            if (free or on_marks + on_lines < 2) and (best is None or badness < best[0]):
                best = badness, offset, box
        if best is not None:
            taken.append(best[2])
            placed.append(_write(axes, spot, text, best[1], colour))
    return placed


def _places(axes: Axes, own: tuple[float, float], text: str, reaches: Sequence[float]) -> Iterator[tuple[Any, Box]]:
    """Positions for a text near this pixel that are within the plot: offset in points, and the box of the text."""
    width, height = _size(axes, text)
    scale, (x0, y0, x1, y1) = axes.figure.dpi / 72, axes.bbox.extents
    for dx, dy in ((reach * x, reach * y) for reach in reaches for x, y in AROUND):
        left = own[0] + dx * scale - width * _aligned(dx, 1, (0.5, 1, 0))
        bottom = own[1] + dy * scale - height * _aligned(dy, 3, (0.5, 1, 0))
        box = (left - 1, bottom - 1, left + width + 1, bottom + height + 1)
        if x0 < box[0] and box[2] < x1 + 8 and y0 < box[1] and box[3] < y1 + 14:
            yield (dx, dy), box


def _aligned(offset: float, least: float, centre_below_above: tuple[Any, Any, Any]) -> Any:
    centre, below, above = centre_below_above
    return centre if abs(offset) < least else below if offset < 0 else above


def label_ends(
    axes: Axes, ends: Sequence[tuple[float, float]], texts: Sequence[str], colours: Sequence[str]
) -> list[Any]:
    """Writes the texts in a column to the right of the axes, each as close as possible to the height of its line's end.
    `ends` are in data units. If there are more texts than fit, the lowest ones are left out."""
    _figure(axes).draw_without_rendering()
    if not texts:
        return []
    height = _size(axes, "Xg")[1] + 1.5
    most = int(axes.bbox.height // height)
    order = sorted(range(len(texts)), key=lambda n: -ends[n][1])[:most]
    heights = _spread([axes.transData.transform(ends[n])[1] for n in order], height, axes.bbox.y0, axes.bbox.y1)
    placed = []
    for n, y in zip(order, heights, strict=True):
        spot = (axes.bbox.x1 + 7, y)
        target = axes.transData.transform(ends[n])
        if abs(y - target[1]) > 2:
            line = axes.transAxes.inverted().transform([(axes.bbox.x1 + 1, target[1]), (axes.bbox.x1 + 6, y)])
            axes.plot(line[:, 0], line[:, 1], transform=axes.transAxes, color=colours[n], linewidth=0.5, clip_on=False)
        x, up = axes.transAxes.inverted().transform(spot)
        look: Any = {"fontsize": LABEL, "color": _ink(colours[n]), "va": "center", "transform": axes.transAxes}
        placed.append(axes.text(x, up, texts[n], **look))
    return placed


def longest(texts: Sequence[str]) -> float:
    """Width of the longest of these labels in inches, with the gap before it."""
    from matplotlib.textpath import TextPath

    return (
        0.16 + max((TextPath((0, 0), text, size=LABEL).get_extents().width for text in texts if text), default=0) / 72
    )


def _spread(wanted: Sequence[float], height: float, low: float, high: float) -> list[float]:
    """Heights in falling order, at least `height` apart and between the edges, near the wanted ones (also falling)."""
    found: list[float] = []
    for want in wanted:
        found.append(min(want, found[-1] - height if found else high))
    floor = low
    for n in reversed(range(len(found))):
        found[n] = max(found[n], floor)
        floor = found[n] + height
    return found


AROUND = (
    *((-0.7, 0.7), (0, 1), (1, 0), (0.7, -0.7), (0, -1), (-1, 0), (0.7, 0.7), (-0.7, -0.7)),
    *((1, 0.45), (1, -0.45), (-1, 0.45), (-1, -0.45)),
)  # above left first: a rising front leaves that side free


def _write(axes: Axes, spot: tuple[float, float], text: str, offset: tuple[float, float], colour: str) -> Any:
    from matplotlib.patheffects import withStroke

    dx, dy = offset
    arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2.5}
    return axes.annotate(
        text, spot, offset, textcoords="offset points", annotation_clip=False,
        ha=_aligned(dx, 1, ("center", "right", "left")), va=_aligned(dy, 3, ("center", "top", "bottom")),
        fontsize=LABEL, color=colour, zorder=9, path_effects=[withStroke(linewidth=1.5, foreground="white")],
        arrowprops=arrow if math.hypot(dx, dy) > 12 else None,
    )  # fmt: skip


def _ink(colour: str) -> str:
    """The colour, darkened so that text in it is readable."""
    return "#" + "".join(f"{int(int(colour[n : n + 2], 16) * 0.75):02x}" for n in (1, 3, 5))


def _size(axes: Axes, text: str) -> tuple[float, float]:
    """Width and height in pixels."""
    probe = axes.text(0, 0, text, fontsize=LABEL)
    box = probe.get_window_extent()
    probe.remove()
    return box.width, box.height


def _drawn(axes: Axes) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Positions in pixels of all markers, and of points about every 5 pixels along lines and error bars."""
    marks: list[tuple[float, float]] = []
    spots: list[tuple[float, float]] = []
    for line in axes.get_lines():
        vertices = [(float(x), float(y)) for x, y in _vertices(line.get_transform().transform_path(line.get_path()))]
        if line.get_marker() not in ("None", None, ""):
            marks += vertices
        if line.get_linestyle() != "None":
            if line.get_drawstyle() == "steps-post":
                vertices = [v for a, b in pairwise(vertices) for v in (a, (b[0], a[1]))] + vertices[-1:]
            spots += _between(vertices)
    for bars in axes.collections:
        for path in bars.get_paths():
            spots += _between(_vertices(bars.get_transform().transform_path(path)))
    return marks, spots


def _vertices(path: Any) -> list[Any]:
    """A path's points; matplotlib's annotation allows anything."""
    return list(path.vertices)


def _figure(axes: Axes) -> Figure:
    return cast("Figure", axes.figure)  # never a sub-figure here


def _box(artist: Any) -> Box:
    left, bottom, right, top = artist.get_window_extent().extents
    return left, bottom, right, top


def _between(vertices: Sequence[Any]) -> list[tuple[float, float]]:
    spots = []
    for (x0, y0), (x1, y1) in pairwise(vertices):
        count = max(int(math.hypot(x1 - x0, y1 - y0) / 5), 1)
        spots += [(x0 + (x1 - x0) * n / count, y0 + (y1 - y0) * n / count) for n in range(count + 1)]
    return spots


def _gap(box: Box, dot: tuple[float, float]) -> float:
    """Distance from a dot to the nearest edge of a box; 0 inside."""
    return math.hypot(max(box[0] - dot[0], 0, dot[0] - box[2]), max(box[1] - dot[1], 0, dot[1] - box[3]))


def _inside(box: Box, dot: tuple[float, float]) -> bool:
    return box[0] < dot[0] < box[2] and box[1] < dot[1] < box[3]


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
