"""Is a factorised 3D convolution better? R3D against R(2+1)D at equal parameters, with 18 and with 34 layers.

The inner widths M_i give a (2+1)D layer the parameters of the 3D layer it replaces (arXiv 1711.11248, section 3.5), so the
networks differ only in the factorisation and the ReLU in between.
"""

from __future__ import annotations

from dataclasses import replace

from expand.core.study import Study
from expand.strategies.grid import Grid
from studies import mcx_split

PAIRS = ("R3D", "R(2+1)D", "R3D-34", "R(2+1)D-34")


def study(scale: str = "demo") -> Study:
    return replace(mcx_split.study(scale), name="r2plus1d_factorization", strategy=Grid(points=PAIRS))
