"""Scores of networks that are known before training, by name: what they promise, for a search and to be checked on a table.

    macs, params     multiply-adds of one clip, parameters (`cost.py`): what any other score must beat
    entropy          from the layers' shapes (`entropy.py`)
    gradient_norm    from one batch of random clips (`one_batch.py`)
    synflow          from one clip of ones (`one_batch.py`)

A larger score promises more accuracy. Whether it keeps the promise is measured: `expand scores --table`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from expand.core.errors import unknown
from expand.core.space import Architecture, SearchSpace
from expand.counting.cost import cost_of, shapes_of
from expand.counting.entropy import entropy
from expand.counting.one_batch import gradient_norm, random_batch, synflow

Score = Callable[[SearchSpace, Architecture, int], float]  # of a space, a point of it and the number of classes
FROM_SHAPES = ("macs", "params", "entropy")  # these take a millisecond where the family has a layer plan


def _macs(space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    return float(cost_of(space, architecture, num_classes).macs)


def _params(space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    return float(cost_of(space, architecture, num_classes).params)


def _gradient_norm(space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    batch = random_batch(shapes_of(space.inputs(architecture)), num_classes)
    return gradient_norm(lambda: space.build(architecture, num_classes), batch)


def _synflow(space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    return synflow(lambda: space.build(architecture, num_classes), shapes_of(space.inputs(architecture)))


SCORES: dict[str, Score] = {
    "macs": _macs, "params": _params, "entropy": entropy, "gradient_norm": _gradient_norm, "synflow": _synflow,
}  # fmt: skip


@functools.lru_cache(maxsize=100_000)
def score_of(name: str, space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    """A network's score. Results are cached.

    Examples:
        >>> from search_spaces.c3d import C3DSpace
        >>> space = C3DSpace()
        >>> [round(score_of("entropy", space, space.point(name), 101), 1) for name in ("depth-1", "depth-3")]
        [189.7, 197.7]

    Raises:
        UsageError: there is no score of this name, or the network cannot be built.
        ExpandError: its score is not a finite number.
    """
    if name not in SCORES:
        raise unknown("score", name, SCORES)
    return SCORES[name](space, architecture, num_classes)
