"""Scores of networks that are known before training, by name: what they promise, for a search and to be checked on a table.

    macs, params     multiply-adds of one clip, parameters: what any other score must beat
    entropy          from the layers' shapes (`entropy.py`)
    gradient_norm    from one batch of random clips (`one_batch.py`)
    synflow          from one clip of ones (`one_batch.py`)

A larger score promises more accuracy. Whether it keeps the promise is measured: `expand scores --table`. `MacsCounter.score` is
where all of them are asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from expand.core.errors import unknown
from expand.core.space import Architecture, SearchSpace
from expand.counting.entropy import entropy
from expand.counting.family import shapes_of
from expand.counting.one_batch import ScoreError, gradient_norm, random_batch, synflow

Score = Callable[[SearchSpace, Architecture, int], float]  # of a space, a point of it and the number of classes


def _gradient_norm(space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    batch = random_batch(shapes_of(space.inputs(architecture)), num_classes)
    return gradient_norm(lambda: space.build(architecture, num_classes), batch)


def _synflow(space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    return synflow(lambda: space.build(architecture, num_classes), shapes_of(space.inputs(architecture)))


FROM_COSTS = ("macs", "params")  # fields of `Cost`
_COMPUTED: dict[str, Score] = {"entropy": entropy, "gradient_norm": _gradient_norm, "synflow": _synflow}
SCORES = (*FROM_COSTS, *_COMPUTED)
FROM_SHAPES = (*FROM_COSTS, "entropy")  # these take a millisecond where the family has a layer plan


@functools.lru_cache(maxsize=100_000)
def score_of(name: str, space: SearchSpace, architecture: Architecture, num_classes: int) -> float:
    """A network's score, of those that are no fields of `Cost`. Results are cached.

    Examples:
        >>> from search_spaces.c3d import C3DSpace
        >>> space = C3DSpace()
        >>> [round(score_of("entropy", space, space.point(name), 101), 1) for name in ("depth-1", "depth-3")]
        [189.7, 197.7]

    Raises:
        UsageError: there is no score of this name, or the network cannot be built.
        ScoreError: its score is not a finite number.
    """
    if name not in _COMPUTED:
        raise unknown("score", name, SCORES)
    space, architecture = space.network_of(architecture)
    try:
        return _COMPUTED[name](space, architecture, num_classes)
    except ScoreError as error:
        raise ScoreError(f"{error}: {space.name} {architecture}") from None
