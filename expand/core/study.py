"""A study is one frozen value: which space, searched how, trained how, on what. Standard library only.

A study file holds a function `study(scale)` that returns a `Study`; a variant is `dataclasses.replace`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from expand.core.checks import require, require_types
from expand.core.files import escaped
from expand.core.space import Architecture, SearchSpace
from expand.core.trial import Cost, Suggestion, Trial

CountMacs = Callable[[Architecture], int]


class Costs(Protocol):
    """What networks cost, counted without training them."""

    def __call__(self, architecture: Architecture) -> int:
        """Multiply-adds of one clip."""
        ...

    def cost(self, architecture: Architecture) -> Cost:
        """All that is counted."""
        ...

    def score(self, name: str, architecture: Architecture) -> float:
        """What a network promises, without training it (`expand/counting/scores.py`); larger is better."""
        ...


MOST_FPS = 10_000.0
# Names of layouts of videos, as in expand/data/sources/detect.py, which says what each looks like.
LAYOUTS = ("ucf101", "hmdb51", "something", "kinetics", "mmaction", "lists", "split-folders", "folders")


@dataclass(frozen=True)
class Recipe:
    """How one candidate is trained and validated, on labelled clips.

    The learning rate rises linearly during the warm-up, then follows `schedule` (X3D, section 4; C3D and R(2+1)D for "step").
    All random augmentation parameters of a clip are the same in all its frames.

    Attributes:
        epochs: passes over the training videos, each with one clip per video, and a validation after each.
        updates: the least number of optimiser steps of a whole training. If the epochs have fewer, each reads the videos more
            than once, with other random augmentation; their number stays. 0 leaves them as they are.
        batch_size: clips per optimiser step on one device; `learning_rate` is meant for this number.
        learning_rate: the learning rate at the end of the warm-up.
        schedule: "cosine" follows half a cosine down to 0; "step" divides by 10 every `decay_every` epochs.
        decay_every: epochs between two divisions by 10, with `schedule` "step".
        warmup_epochs: epochs of linear warm-up; at most half of `epochs` is used.
        warmup_learning_rate: the learning rate of the first step.
        optimiser: "sgd" is SGD with momentum; "adamw" is AdamW with betas of 0.9 and 0.999, for which learning rates near 0.001
            are usual.
        momentum: of SGD, from 0 to below 1.
        nesterov: use Nesterov's momentum, with SGD.
        weight_decay: L2 penalty on kernels and matrices; norms and biases have none. AdamW decays them by it times the learning
            rate per step instead, so that 0.05 is usual there.
        label_smoothing: share of the label's probability that is spread over all classes, from 0 to below 1.
        dropout: probability of dropping a feature before the last layer, from 0 to below 1.
        clip_gradient_norm: gradients with a larger L2 norm are scaled down to it; none leaves them as they are.
        crop: how a training clip is cropped at random. "scale_jitter" resizes the short side, then crops (X3D, section 4);
            "resized" takes a random share of the picture (Inception); "fixed" resizes both sides, then crops (C3D, R(2+1)D).
        scale_jitter: smallest and largest short side, in units of the crop's side, with `crop` "scale_jitter".
        crop_area: smallest and largest share of the picture's area, with `crop` "resized".
        crop_aspect: smallest and largest width over height, with `crop` "resized".
        squeeze: height and width of the resized picture in units of the crop's side, with `crop` "fixed"; the aspect ratio
            is not kept.
        flip: mirror half of the training clips left to right.
        colour_jitter: spreads of brightness, contrast and saturation (factors around 1) and of the hue (share of a turn).
        randaugment_operations: RandAugment operations per clip; 0 is none.
        randaugment_magnitude: strength of the RandAugment operations, from 0 to 10.
        mixup: pairs of clips are mixed with a weight from Beta(mixup, mixup); 0 is no mixup.
        temporal_jitter: start a training clip at a random frame; otherwise it is the centre clip.
        views: clips per video in validation, spaced evenly in time, cropped at the centre; their softmax is averaged.
        mixed_precision: use 16-bit floats where the device supports it.
        loader_workers: processes that load clips for one training; 0 loads them in the training process.
        ema: decay per step of an average of the weights, which is then validated and kept; 0 is none.
        weights: a file of weights to start from; none starts from random weights.
        freeze: train the head only; needs `weights`.
    """

    epochs: int = 12
    updates: int = 0
    batch_size: int = 16
    learning_rate: float = 0.1
    schedule: Literal["cosine", "step"] = "cosine"
    decay_every: float = 0
    warmup_epochs: float = 1.0
    warmup_learning_rate: float = 0.01
    optimiser: Literal["sgd", "adamw"] = "sgd"
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

    def __post_init__(self) -> None:
        """Raises `UsageError` for the first field that cannot be, with what is allowed."""
        require_types(self, "recipe.")
        require(
            self, "recipe.",
            epochs=(self.epochs >= 1, "at least 1"),
            updates=(self.updates >= 0, "0 or more"),
            batch_size=(self.batch_size >= 2, "at least 2"),
            learning_rate=(self.learning_rate > 0, "above 0"),
            decay_every=(self.schedule != "step" or self.decay_every > 0, "above 0 with recipe.schedule=step"),
            warmup_epochs=(self.warmup_epochs >= 0, "0 or more"),
            warmup_learning_rate=(self.warmup_learning_rate >= 0, "0 or more"),
            momentum=(0 <= self.momentum < 1, "0 to below 1"),
            nesterov=(self.momentum > 0 or not self.nesterov, "true needs a recipe.momentum above 0"),
            weight_decay=(self.weight_decay >= 0, "0 or more"),
            label_smoothing=(0 <= self.label_smoothing < 1, "0 to below 1"),
            dropout=(0 <= self.dropout < 1, "0 to below 1"),
            clip_gradient_norm=(_unset(self.clip_gradient_norm, 1) > 0, "above 0, or none"),
            scale_jitter=(1 <= self.scale_jitter[0] <= self.scale_jitter[1], "1 <= smaller <= larger"),
            crop_area=(0 < self.crop_area[0] <= self.crop_area[1] <= 1, "0 < smaller <= larger <= 1"),
            crop_aspect=(0 < self.crop_aspect[0] <= self.crop_aspect[1], "0 < narrower <= wider"),
            squeeze=(min(self.squeeze) >= 1, "height and width, at least 1"),
            colour_jitter=(
                min(self.colour_jitter) >= 0 and max(self.colour_jitter[:3]) <= 1 and self.colour_jitter[3] <= 0.5,
                "brightness, contrast, saturation 0 to 1, hue 0 to 0.5",
            ),
            randaugment_operations=(self.randaugment_operations >= 0, "0 or more"),
            randaugment_magnitude=(0 <= self.randaugment_magnitude <= 10, "0 to 10"),
            mixup=(self.mixup >= 0, "0 or more"),
            views=(self.views >= 1, "at least 1"),
            loader_workers=(self.loader_workers >= 0, "0 or more"),
            ema=(0 <= self.ema < 1, "0 to below 1"),
            freeze=(self.weights is not None or not self.freeze, "true needs recipe.weights to start from"),
        )  # fmt: skip

    def clips_of_epoch(self, videos: int) -> int:
        """Clips that an epoch reads of so many training videos: one of each, or whole batches for a part of `updates`."""
        steps, alone = divmod(videos, self.batch_size)
        steps += alone > 1 or videos == 1  # a last batch of a single clip is dropped
        wanted = -(-self.updates // self.epochs)
        return wanted * self.batch_size if wanted > steps and videos else videos


def _unset(value: float | None, default: float) -> float:
    return default if value is None else value


COSTS = ("gmacs", "params_m", "latency_ms")


@dataclass(frozen=True)
class Objective:
    """A quantity to maximise or minimise.

    `gmacs` and `params_m` (all parameters, in millions) are counted. `latency_ms` is measured once per network by the worker
    that trains it, before training: the median time of one clip on one thread, or on the worker's GPU
    (`expand/profiling/benchmark.py`).

    Attributes:
        name: the quantity.
        direction: "maximize" or "minimize".
        known_before_training: true for costs, false for top1. A candidate that exceeds its `limit` is then recorded as
            infeasible and not trained.
        limit: the largest value allowed (the smallest with "maximize"); none is no limit.
        on_front: false uses the limit only; the quantity is then no objective of the Pareto front.
    """

    name: Literal["top1", "gmacs", "params_m", "latency_ms"]
    direction: Literal["maximize", "minimize"]
    known_before_training: bool = False
    limit: float | None = None
    on_front: bool = True

    def __post_init__(self) -> None:
        require_types(self, f"objectives.{self.name}.")
        known = (self.known_before_training == (self.name != "top1"), "costs are known before training, top1 is not")
        require(self, f"objectives.{self.name}.", known_before_training=known)

    def over(self, value: float) -> bool:
        """Whether a value exceeds the limit."""
        if self.limit is None:
            return False
        return value > self.limit if self.direction == "minimize" else value < self.limit


@dataclass(frozen=True)
class Budget:
    """When a search ends.

    `trials`, `epochs`, `hours` and `gmac_epochs` end any search: a network is started only if all its seeds fit, and what has
    started is finished.

    Attributes:
        targets_gmacs: costs, in rising order, that a stepwise expansion reaches one after the other; it ends at the last.
        steps: maximum number of expansion steps of a stepwise search.
        trials: maximum number of trainings; each seed of a network is one.
        epochs: maximum number of training epochs, summed over all trials.
        hours: maximum hours of training, summed over all workers.
        gmac_epochs: maximum training work: billions of multiply-adds of one clip times epochs, summed over all trials. It is the
            same on every machine; an epoch counts once, however long `recipe.updates` makes it.
        attempts: how often a trial is started in a row without a new checkpoint when its worker process dies.
        minutes_per_trial: longest training time of one trial since its last start; a longer one fails. None is no limit.
    """

    targets_gmacs: tuple[float, ...] = ()
    steps: int | None = None
    trials: int | None = None
    epochs: int | None = None
    hours: float | None = None
    gmac_epochs: float | None = None
    attempts: int = 3
    minutes_per_trial: float | None = None

    def __post_init__(self) -> None:
        require_types(self, "budget.")
        require(
            self, "budget.",
            targets_gmacs=(min(self.targets_gmacs, default=1) > 0, "above 0"),
            steps=(_unset(self.steps, 0) >= 0, "0 or more"),
            trials=(_unset(self.trials, 1) >= 1, "at least 1"),
            epochs=(_unset(self.epochs, 1) >= 1, "at least 1"),
            hours=(_unset(self.hours, 1) > 0, "above 0"),
            gmac_epochs=(_unset(self.gmac_epochs, 1) > 0, "above 0"),
            attempts=(self.attempts >= 1, "at least 1"),
            minutes_per_trial=(_unset(self.minutes_per_trial, 1) > 0, "above 0"),
        )  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Which videos are used, and how they are read.

    Damaged videos, single frames and copies in two splits are left out and counted.

    Attributes:
        source: a folder or a list of videos; none uses the rendered default clips.
        cache_side: largest short side of cached frames, in pixels.
        cache_frames: maximum number of frames cached per video, taken from its middle; none caches all.
        decode: "cache" decodes every video once into the cache; "fly" decodes the same frames from the files each time.
        validation_share: share of the videos used for validation where the source has no validation list.
        test_share: share of the videos used for testing where the source has no test list.
        layout: the layout of the source by name; none detects it.
        official_split: which of the official splits of UCF101 or HMDB51 is used.
        group_column: the column of a list whose clips must stay in one split.
        group_pattern: a regular expression that finds in a clip's path, such as walk/person01_3, the group whose clips must
            stay in one split: its first group in brackets, else all it matches.
        fps: frames per second of frame folders and arrays.
        skip_missing: leave out listed files that do not exist.
        strict: stop the run instead of leaving out damaged videos, single frames and copies.
        published: training videos, validation videos and classes of the data set that the study was published on, used to
            plan without it.
        mirrored: pairs of classes that change places when a clip is flipped, for names that do not say so; a class paired
            with itself looks the same mirrored.
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
    group_pattern: str | None = None
    fps: float | None = None
    skip_missing: bool = False
    strict: bool = False
    mirrored: tuple[tuple[str, str], ...] = ()
    published: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        require_types(self, "data.")
        require(
            self, "data.",
            cache_side=(self.cache_side >= 16, "at least 16"),
            cache_frames=(_unset(self.cache_frames, 1) >= 1, "at least 1, or none"),
            layout=(self.layout in (None, *LAYOUTS), f"{', '.join(LAYOUTS)}, or none to detect it"),
            official_split=(self.official_split >= 1, "at least 1"),
            fps=(0 < _unset(self.fps, 1) <= MOST_FPS, f"above 0, at most {MOST_FPS:g}"),
            mirrored=(all(isinstance(pair, tuple) for pair in self.mirrored), "pairs of class names"),
            published=(min(self.published or (2,)) >= 1, "videos and classes, at least 1"),
        )  # fmt: skip


class SearchStrategy(Protocol):
    """Decides what to train next, from the study and the trials alone, so that a resumed search continues as if it had
    never stopped."""

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        """What to train now.

        Args:
            study: what is searched, with its budget and seeds.
            trials: all trials so far, in any order.
            macs: counts what a network costs without training it; called, its multiply-adds.

        Returns:
            Suggestions that are not among `trials`, in the order to start them: all seeds of a network together, or the
            missing ones. A paused trial is among them only with a later `until`. None means "wait" while a trial is running,
            and "finished" otherwise.

        Raises:
            UsageError: the study cannot be searched like this; raised already when there are no trials.
        """
        ...


@dataclass(frozen=True)
class Study:
    """One question: a search space, how it is searched, how candidates are trained, and on which videos.

    Attributes:
        name: the study's name; a run is written to `runs/NAME-SCALE`.
        space: the search space.
        strategy: the search strategy, which suggests what to train next.
        recipe: how a candidate is trained.
        data: which videos are used.
        budget: when the search ends.
        objectives: the axes of the Pareto front, and limits on costs.
        seeds: training seeds; every network is trained once with each.
        scale: "demo" takes minutes on two CPU cores; "paper" is the published recipe.
    """

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

    def __post_init__(self) -> None:
        """Raises `UsageError` for the first field that cannot be, with what is allowed."""
        require_types(self, "")
        plain = self.name == escaped(self.name).replace("/", "") not in ("", ".", "..")
        each_once = 0 < len(self.seeds) == len(set(self.seeds)) and min(self.seeds) >= 0
        require(
            self, "",
            name=(plain, "a plain name, without /"),
            seeds=(each_once, "at least one, 0 or more, each once"),
        )  # fmt: skip
        _ = self.space.start  # raises for a start outside the axes
        self.space.check_recipe(self.recipe)

    def recipe_of(self, architecture: Architecture) -> Recipe:
        """How this point is trained: by the recipe, with what the search varies of it (`expand/core/joint.py`)."""
        varied = self.space.recipe_of(architecture)
        return replace(self.recipe, **varied) if varied else self.recipe
