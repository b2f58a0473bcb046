"""Which square of a frame a view reads. Pure functions of numbers; the training crop is drawn in `augment`."""

from __future__ import annotations


def square_at(height: int, width: int, scale: float, crop: int = 0, crops: int = 1) -> tuple[int, int, int]:
    """Top, left and side of the square that crop number `crop` (from 0) of `crops` reads of a frame of these pixels.

    The side is as if the short side had been resized to the network's crop times `scale`. One crop is the centre; several
    lie evenly along the longer side from edge to edge, centred across it: three are left, centre and right of a wide frame,
    top, centre and bottom of a tall one (SlowFast, section 4, inference; X3D's "LeftCenterRight").
    """
    square = max(1, min(height, width, round(min(height, width) / scale)))
    top, left = (height - square) // 2, (width - square) // 2
    if crops > 1:
        along = (max(height, width) - square) * crop // (crops - 1)
        top, left = (along, left) if height > width else (top, along)
    return top, left, square
