"""What can be known to be wrong with a study before anything is read or trained."""

from __future__ import annotations

from expand.config.values import require_finite
from expand.core.errors import UsageError
from expand.core.files import escaped
from expand.core.study import CROPS, Study


def check(study: Study) -> None:
    """What can be known to be wrong before anything is read or trained.

    Raises:
        UsageError: the first field that cannot be, with what is allowed.
    """
    require_finite(study)
    r = study.recipe
    small, large = r.scale_jitter
    rules: tuple[tuple[str, object, bool, str], ...] = (
        (
            "name",
            study.name,
            study.name == escaped(study.name).replace("/", "") not in ("", ".", ".."),
            "a plain name, without /",
        ),
        ("recipe.epochs", r.epochs, r.epochs >= 1, "at least 1"),
        ("recipe.batch_size", r.batch_size, r.batch_size >= 2, "at least 2"),
        ("recipe.views", r.views, r.views >= 1, "at least 1"),
        ("recipe.loader_workers", r.loader_workers, r.loader_workers >= 0, "0 or more"),
        ("recipe.crop", r.crop, r.crop in CROPS, " or ".join(CROPS)),
        ("recipe.scale_jitter", r.scale_jitter, 1 <= small <= large, "1 <= smaller <= larger"),
        ("recipe.crop_area", r.crop_area, 0 < r.crop_area[0] <= r.crop_area[1] <= 1, "0 < smaller <= larger <= 1"),
        ("recipe.crop_aspect", r.crop_aspect, 0 < r.crop_aspect[0] <= r.crop_aspect[1], "0 < narrower <= wider"),
        ("recipe.squeeze", r.squeeze, min(r.squeeze) >= 1, "height and width, at least 1"),
        (
            "recipe.colour_jitter",
            r.colour_jitter,
            min(r.colour_jitter) >= 0 and max(r.colour_jitter[:3]) <= 1 and r.colour_jitter[3] <= 0.5,
            "brightness, contrast, saturation 0 to 1, hue 0 to 0.5",
        ),
        ("recipe.randaugment_operations", r.randaugment_operations, r.randaugment_operations >= 0, "0 or more"),
        ("recipe.randaugment_magnitude", r.randaugment_magnitude, 0 <= r.randaugment_magnitude <= 10, "0 to 10"),
        ("recipe.mixup", r.mixup, r.mixup >= 0, "0 or more"),
        ("recipe.dropout", r.dropout, 0 <= r.dropout < 1, "0 to below 1"),
        ("recipe.label_smoothing", r.label_smoothing, 0 <= r.label_smoothing < 1, "0 to below 1"),
        ("recipe.learning_rate", r.learning_rate, r.learning_rate > 0, "above 0"),
        ("recipe.warmup_epochs", r.warmup_epochs, r.warmup_epochs >= 0, "0 or more"),
        ("recipe.warmup_learning_rate", r.warmup_learning_rate, r.warmup_learning_rate >= 0, "0 or more"),
        ("recipe.clip_gradient_norm", r.clip_gradient_norm, _unset(r.clip_gradient_norm, 1) > 0, "above 0, or none"),
        ("recipe.schedule", r.schedule, r.schedule in ("cosine", "step"), "cosine or step"),
        (
            "recipe.decay_every",
            r.decay_every,
            r.schedule != "step" or r.decay_every > 0,
            "above 0 with recipe.schedule=step",
        ),
        ("recipe.weight_decay", r.weight_decay, r.weight_decay >= 0, "0 or more"),
        ("recipe.momentum", r.momentum, 0 <= r.momentum < 1, "0 to below 1"),
        ("recipe.ema", r.ema, 0 <= r.ema < 1, "0 to below 1"),
        ("recipe.freeze", r.freeze, r.weights is not None or not r.freeze, "true needs recipe.weights to start from"),
        ("recipe.nesterov", r.nesterov, r.momentum > 0 or not r.nesterov, "true needs a recipe.momentum above 0"),
        ("budget.attempts", study.budget.attempts, study.budget.attempts >= 1, "at least 1"),
        ("budget.steps", study.budget.steps, _unset(study.budget.steps, 0) >= 0, "0 or more"),
        ("budget.trials", study.budget.trials, _unset(study.budget.trials, 1) >= 1, "at least 1"),
        ("budget.epochs", study.budget.epochs, _unset(study.budget.epochs, 1) >= 1, "at least 1"),
        ("budget.hours", study.budget.hours, _unset(study.budget.hours, 1) > 0, "above 0"),
        (
            "budget.minutes_per_trial",
            study.budget.minutes_per_trial,
            _unset(study.budget.minutes_per_trial, 1) > 0,
            "above 0",
        ),
        (
            "budget.targets_gmacs",
            study.budget.targets_gmacs,
            min(study.budget.targets_gmacs, default=1) > 0,
            "above 0",
        ),
        ("data.fps", study.data.fps, 0 < _unset(study.data.fps, 1) <= MOST_FPS, f"above 0, at most {MOST_FPS:g}"),
        ("data.official_split", study.data.official_split, study.data.official_split >= 1, "at least 1"),
        (
            "data.published",
            study.data.published,
            min(study.data.published or (2,)) >= 1,
            "videos and classes, at least 1",
        ),
        ("data.cache_side", study.data.cache_side, study.data.cache_side >= 16, "at least 16"),
        ("data.cache_frames", study.data.cache_frames, _unset(study.data.cache_frames, 1) >= 1, "at least 1, or none"),
        ("data.decode", study.data.decode, study.data.decode in ("cache", "fly"), "cache or fly"),
        (
            "data.mirrored",
            study.data.mirrored,
            all(isinstance(pair, tuple) and len(pair) == 2 for pair in study.data.mirrored),
            "pairs of class names",
        ),
        (
            "seeds",
            study.seeds,
            0 < len(study.seeds) == len(set(study.seeds)) and min(study.seeds) >= 0,
            "at least one, 0 or more, each once",
        ),
    )
    for name, value, right, allowed in rules:
        if not right:
            raise UsageError(f"{name}={value}: {allowed}")
    for objective in study.objectives:
        if objective.known_before_training != (objective.name != "top1"):
            field = f"objectives.{objective.name}.known_before_training"
            raise UsageError(f"{field}={objective.known_before_training}: costs are known before training, top1 is not")
    _ = study.space.start  # raises for a start outside the axes


def _unset(value: float | None, default: float) -> float:
    return default if value is None else value


MOST_FPS = 10_000.0
