"""The figure of `expand compare`: fronts of several runs, and hypervolume over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expand.report.compare.fronts import Fronts
from expand.report.compare.tables import accuracy_noise
from expand.report.drawing import COLUMN, GREY, longest, new_figure
from expand.report.front_figure import box_text, draw_growth, draw_steps
from expand.report.tables import cost_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(found: Fronts, width: float) -> Figure:
    """Left: top-1 in percent over log cost. Right: hypervolume over training; left out at column width."""
    note = (
        f"{box_text(found.fronts[0])} Error bars: ± {accuracy_noise(found.runs)}. Accuracy: {found.runs[0].about.accuracy}. "
        "The grey line marks the training that every run has reached."
    )
    panels, right = (2 if width > COLUMN else 1), longest([front.name for front in found.fronts])
    figure, axes = new_figure(
        width, title="Fronts, and hypervolume over training", note=note, panels=panels, right=right
    )
    draw_steps(axes[0], found.fronts)
    if panels == 2:
        draw_growth(axes[1], found.fronts, over="macs")
        size, _ = cost_unit([max(front.growth[-1].macs for front in found.fronts)])
        axes[1].axvline(found.equal_training / size, color=GREY, linewidth=0.8, zorder=1)
    return figure
