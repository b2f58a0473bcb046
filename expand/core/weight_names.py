"""What a family says about the names of its weights: those in other code bases, and which of them a larger network continues.

Standard library only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightLayout:
    """How another code base names the weights of a network, so that its checkpoints can be read.

    Attributes:
        name: the code base.
        modules: its module names and ours. Tensor names within a module (`weight`, `running_mean`) stay the same.
        norm_eps: epsilon of its norms. If ours differs, gains are scaled so that evaluation gives the same numbers; None
            leaves them.
        unlike: modules that show that it is a different network, with a description; a file that has one is refused.
        convert: changes the file's tensors, under our names, in place where the two definitions differ. Returns one
            sentence per change.
    """

    name: str
    modules: Mapping[str, str]
    norm_eps: float | None = None
    unlike: Mapping[str, str] = field(default_factory=dict)
    convert: Callable[[dict[str, Tensor]], Sequence[str]] | None = None


@dataclass(frozen=True)
class Inheritance:
    """What names and shapes alone do not say of a network whose weights a larger one starts from.

    Attributes:
        stages: for each stage, the module names of its blocks, in order. A deeper network has more blocks at a stage's end.
        last_norm: within a block, the name of the norm whose gain makes the block equal to its shortcut when it is 0.
        flattened: linear layers that read a flattened feature map, with its (frames, height, width).
        form: what else must be equal for weights to be continued, in words, such as the place of channels in a concatenation.
    """

    stages: Sequence[Sequence[str]] = ()
    last_norm: str = ""
    flattened: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    form: str = ""

    @staticmethod
    def of_blocks(depths: Sequence[int], last_norm: str) -> Inheritance:
        """For networks whose blocks are numbered through all stages: `blocks.0`, `blocks.1`, ..."""
        ends = list(itertools.accumulate(depths, initial=0))
        return Inheritance(
            [[f"blocks.{number}" for number in range(*bounds)] for bounds in itertools.pairwise(ends)], last_norm
        )
