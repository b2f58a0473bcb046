"""A study is one frozen value: which space, searched how, trained how, on what. Standard library only.

A study file holds a function `study(scale)` that returns a `Study`; a variant is `dataclasses.replace`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from expand.space import Architecture, SearchSpace
from expand.trial import Suggestion, Trial

CountMacs = Callable[[Architecture], int]
CROPS = ("scale_jitter", "resized", "fixed")


@dataclass(frozen=True)
class Recipe:
    """How one candidate is trained and validated. Learning rates are for `batch_size` clips on one device.

    SGD with momentum; the learning rate rises linearly over `warmup_epochs` from `warmup_learning_rate`, then falls
    along half a cosine (X3D, section 4) or, with `schedule` "step", to a tenth every `decay_every` epochs
    (C3D, R(2+1)D).

    How a training clip is cut out, at random, the same in all its frames (`crop`):
    "scale_jitter" resizes the short side to a length uniform in `scale_jitter` × the crop's and crops (X3D, section 4);
    "resized" takes a share of the picture uniform in `crop_area`, its width over height in `crop_aspect` (Inception);
    "fixed" gives up the aspect, resizes to `squeeze` (height, width) × the crop's side and crops, as C3D and R(2+1)D do.
    Then, if wanted: a flip; `randaugment_operations` of RandAugment at a magnitude from 0 to 10; `colour_jitter`, the spreads of
    brightness, contrast, saturation (factors around 1) and hue (of a turn); `mixup` of pairs, weighted by Beta(mixup, mixup).

    `ema` is the decay a step of an average of the weights, which is then what is validated and kept; 0 is none. `weights` is
    a file to start from instead of random numbers; with `freeze` only the head learns.
    """

    epochs: int = 12
    batch_size: int = 16
    learning_rate: float = 0.1
    schedule: Literal["cosine", "step"] = "cosine"
    decay_every: float = 0
    warmup_epochs: float = 1.0
    warmup_learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-5
    label_smoothing: float = 0.0
    dropout: float = 0.5
    clip_gradient_norm: float | None = None
    crop: Literal["scale_jitter", "resized", "fixed"] = "scale_jitter"
    scale_jitter: tuple[float, float] = (128 / 112, 160 / 112)
    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    squeeze: tuple[float, float] = (128 / 112, 171 / 112)
    flip: bool = True
    colour_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    randaugment_operations: int = 0
    randaugment_magnitude: float = 9.0
    mixup: float = 0.0
    temporal_jitter: bool = True
    views: int = 2
    mixed_precision: bool = True
    loader_workers: int = 0
    ema: float = 0.0
    weights: str | None = None
    freeze: bool = False


COSTS = ("gmacs", "params_m", "latency_ms")


@dataclass(frozen=True)
class Objective:
    """Something to be made large or small. With `known_before_training` it is a cost, and a candidate over `limit` is
    recorded as infeasible instead of being trained.

    `gmacs` and `params_m` (all parameters, in millions) are counted. `latency_ms` is measured, once for each network, by the
    worker that is to train it, before it does: the median time of one clip on one thread, or on the worker's GPU
    (`expand/measure.py`). Without `on_front` only the limit matters: what it is about is no objective of the front.
    """

    name: Literal["top1", "gmacs", "params_m", "latency_ms"]
    direction: Literal["maximize", "minimize"]
    known_before_training: bool = False
    limit: float | None = None
    on_front: bool = True

    def over(self, value: float) -> bool:
        """Whether a value breaks the limit."""
        if self.limit is None:
            return False
        return value > self.limit if self.direction == "minimize" else value < self.limit


@dataclass(frozen=True)
class Budget:
    """When to stop. `targets_gmacs` are the complexities a stepwise expansion goes on to, in rising order; `steps`
    ends it earlier. `trials` (trainings, each seed of a network being one), `epochs` (of all trials) and `hours` (of training,
    added up over workers) end any search: a network is begun only if all its seeds fit, and what has begun is finished.
    A trial whose worker dies is tried `attempts` times in a row without a new checkpoint. One that trains for longer than
    `minutes_per_trial`, counted from its last start, fails."""

    targets_gmacs: tuple[float, ...] = ()
    steps: int | None = None
    trials: int | None = None
    epochs: int | None = None
    hours: float | None = None
    attempts: int = 3
    minutes_per_trial: float | None = None


@dataclass(frozen=True)
class Data:
    """`source` is a folder or a list of videos; None is the rendered default. Frames are kept in the cache with a short
    side of at most `cache_side` pixels, and of a video with more than `cache_frames` frames those in the middle. With
    `decode` "fly" frames are decoded each time from the files, the same ones to the last pixel. A source without its own
    validation or test list gives up these shares.
    How it is read: `layout` by name instead of detected, which of the official splits (UCF101, HMDB51), `group_column` of a
    list, `fps` of frame folders and arrays, `skip_missing` where listed files are not all there. Damaged videos, single frames
    and copies in two splits are left out and counted; with `strict` they stop the run instead.
    `published` is what the study was published on, for planning without it: training videos, validation videos, classes.
    """

    source: str | None = None
    cache_side: int = 96
    cache_frames: int | None = None
    decode: Literal["cache", "fly"] = "cache"
    validation_share: float = 0.2
    test_share: float = 0.2
    layout: str | None = None
    official_split: int = 1
    group_column: str | None = None
    fps: float | None = None
    skip_missing: bool = False
    strict: bool = False
    published: tuple[int, int, int] | None = None


class SearchStrategy(Protocol):
    """`ask` says what to train next: a pure function of the study and of what is known, so that a resumed search goes
    on as if it had never stopped. An answer holds what is wanted now and not among `trials`, all seeds of a network together
    or missing ones alone; an empty answer means "wait" while something runs and "done" when nothing does. `macs` counts a
    network without training it. What cannot be searched is refused when asked with no trials at all.

    Raises:
        UsageError: see above.
    """

    def ask(self, study: Study, trials: Sequence[Trial], macs: CountMacs) -> list[Suggestion]: ...


@dataclass(frozen=True)
class Study:
    name: str
    space: SearchSpace
    strategy: SearchStrategy
    recipe: Recipe = field(default_factory=Recipe)
    data: Data = field(default_factory=Data)
    budget: Budget = field(default_factory=Budget)
    objectives: tuple[Objective, ...] = (
        Objective("top1", "maximize"),
        Objective("gmacs", "minimize", known_before_training=True),
    )
    seeds: tuple[int, ...] = (0,)
    scale: str = "demo"
