"""Figures for the dashboard as JSON for plotly, and a trial's learning curve as SVG. Pure functions; accuracies are in percent.

The JSON is written without the plotly package: the dashboard's page has its own copy of plotly.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from expand.core.accuracy import in_percent
from expand.core.attempt import Epoch
from expand.report.candidates import Candidate, CostName
from expand.report.front import Front
from expand.report.tables import caption, cost_unit

BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#9aa3ad"


def front_figure(front: Front) -> dict[str, Any]:
    """Accuracy over cost: all complete candidates, and the front with error bars."""
    run, name, complete, chosen = front.facts, front.cost, front.complete, front.best
    size, unit = cost_unit((candidate.amount(name) for candidate in complete), name)
    rest = [candidate for candidate in complete if candidate not in chosen]
    noise = [100 * (candidate.noise or 0) for candidate in chosen]
    traces = [
        _points("other candidates", rest, name, size) | {"mode": "markers", "marker": {"color": GREY, "size": 7}},
        _points("front", chosen, name, size)
        | {
            "mode": "lines+markers", "line": {"color": BLUE, "shape": "hv"}, "marker": {"color": BLUE, "size": 9},
            "error_y": {"type": "data", "array": noise, "thickness": 1, "color": BLUE},
        },
    ]  # fmt: skip
    return _figure(traces, f"Front of {run.study}", caption(run), {"title": unit, "type": "log"}, {"title": "top-1 %"})


def hypervolume_figure(front: Front) -> dict[str, Any]:
    """Hypervolume over hours of training, as a share of its bounding box. Empty before the first complete candidate."""
    moments = front.growth if front.box else ()
    trace = {
        "type": "scatter", "mode": "lines+markers", "line": {"shape": "hv", "color": BLUE},
        "x": [round(moment.seconds / 3600, 5) for moment in moments], "y": [round(100 * moment.volume, 3) for moment in moments],
        "text": [f"trial {moment.number}" for moment in moments], "hoverinfo": "x+y+text", "name": "hypervolume",
    }  # fmt: skip
    about = "best top-1 at each cost, averaged over costs (log axis) from the cheapest to twice the most expensive candidate"
    axes = (
        {"title": "hours of training, summed over workers"},
        {"title": "hypervolume, % of the box", "rangemode": "tozero"},
    )
    return _figure([trace], f"Hypervolume of {front.facts.study}", about, *axes)


def _points(title: str, chosen: Sequence[Candidate], name: CostName, size: float) -> dict[str, Any]:
    texts = [escape(str(c.architecture)).replace(", ", "<br>") for c in chosen]
    text = [
        f"top-1 {in_percent(c.top1 or 0)}<br>trial {c.numbers[0]}: {c.label}<br>{text}"
        for c, text in zip(chosen, texts, strict=True)
    ]
    return {
        "type": "scatter", "name": title, "hoverinfo": "x+text", "text": text,
        "x": [float(f"{candidate.amount(name) / size:.6g}") for candidate in chosen],
        "y": [round(100 * (candidate.top1 or 0), 3) for candidate in chosen],
    }  # fmt: skip


def _figure(
    traces: list[dict[str, Any]], title: str, about: str, x: dict[str, Any], y: dict[str, Any]
) -> dict[str, Any]:
    subtitle = {"text": "<br>".join(map(escape, textwrap.wrap(about, 85))), "font": {"size": 11, "color": "#666"}}
    layout = {
        "title": {"text": escape(title), "subtitle": subtitle, "x": 0.02, "y": 0.96, "yanchor": "top"},
        "margin": {"t": 110}, "xaxis": x | {"title": {"text": x["title"]}},
        "yaxis": y | {"title": {"text": y["title"]}}, "hovermode": "closest", "legend": {"orientation": "h", "y": -0.2},
    }  # fmt: skip
    return {"data": traces, "layout": layout}


# --- a learning curve ------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT = 440, 150, 52  # of one panel, and its left margin, in pixels


def curve_svg(curve: Sequence[Epoch], title: str) -> str:
    """Two panels over epochs: training loss, and below it top-1 on the validation split in percent."""
    epochs = [float(entry.epoch) for entry in curve]
    panels = [
        _panel("training loss", epochs, [entry.loss for entry in curve], RED, 24),
        _panel("validation top-1 %", epochs, [100 * entry.top1 for entry in curve], BLUE, 24 + _HEIGHT),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {2 * _HEIGHT + 30}" font-family="sans-serif" '
        f'font-size="11" fill="#333"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(title)}</text>{"".join(panels)}</svg>\n'
    )


def _panel(name: str, xs: list[float], ys: list[float], color: str, top: float) -> str:
    shown = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    low, high = min((y for _, y in shown), default=0.0), max((y for _, y in shown), default=1.0)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    first, last = min(xs, default=1.0), max(xs, default=1.0)
    x0, y0, width, height = _LEFT, top + 6, _WIDTH - _LEFT - 16, _HEIGHT - 40

    def place(x: float, y: float) -> tuple[float, float]:
        return x0 + width * (x - first) / max(last - first, 1), y0 + height * (1 - (y - low) / (high - low))

    points = [place(x, y) for x, y in shown]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
    labels = [
        (x0 - 6, y0 + 4, "end", f"{high:.3g}"), (x0 - 6, y0 + height + 4, "end", f"{low:.3g}"),
        (x0, y0 + height + 16, "start", f"{first:g}"), (x0 + width, y0 + height + 16, "end", f"{last:g}"),
        (x0 + width / 2, y0 + height + 16, "middle", f"{name} by epoch"),
    ]  # fmt: skip
    texts = "".join(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{to}">{text}</text>' for x, y, to, text in labels)
    return (
        f'<rect x="{x0}" y="{y0}" width="{width}" height="{height}" fill="none" stroke="#ccc"/>{texts}'
        f'<g fill="{color}"><polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>{dots}</g>'
    )
