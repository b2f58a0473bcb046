"""How deep in time should kernels be at equal cost? C3D's six networks with widths scaled to the multiply-adds of depth-3.

The paper compared the depths at equal widths and assumed equal capacity; depth-7 has 9.3 million parameters more than depth-1
and costs seven times as much (docs/papers.md). This study compares them at equal cost.
"""

from __future__ import annotations

from dataclasses import replace

from expand.core.study import Study
from expand.strategies.grid import Grid
from search_spaces.c3d import PATTERNS
from studies import c3d_temporal_depth


def study(scale: str = "demo") -> Study:
    published = c3d_temporal_depth.study(scale)
    return replace(published, name="c3d_depth_matched", strategy=Grid(points=tuple(PATTERNS), equal_to="depth-3"))
