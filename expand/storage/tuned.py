"""recipe.json: the recipe that `expand tune` found, with the figures that it was chosen by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from expand.core.accuracy import in_percent
from expand.core.errors import UsageError
from expand.storage.serialize import read_file


@dataclass(frozen=True)
class Scored:
    """A recipe that was trained with several seeds.

    Attributes:
        settings: as `--set` takes them.
        trials: of the tuning, one per seed.
        top1: validation top-1 of each seed, after the last epoch.
        loss: validation loss of each seed.
    """

    settings: tuple[str, ...]
    trials: tuple[int, ...]
    top1: tuple[float, ...]
    loss: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.top1) / len(self.top1)


@dataclass(frozen=True)
class Tuned:
    """recipe.json.

    Attributes:
        study: the study's name; `network` is the architecture as JSON, `data` the name of the videos.
        fingerprint: of all contents, labels and splits of the videos.
        chosen: the best mean over the seeds.
        before: the study's recipe as it is; None if its training failed.
        others: the other recipes that were trained with all seeds.
        seeds: of the trainings.
        clips: validation clips; the test split is not opened.
        trials: trainings in total.
        seconds: of all trainings.
    """

    study: str
    network: str
    data: str
    fingerprint: str
    chosen: Scored
    before: Scored | None
    others: tuple[Scored, ...]
    seeds: tuple[int, ...]
    clips: int
    trials: int
    seconds: float

    def scored(self, one: Scored) -> str:
        """ "61.5 % ± 4.3 (60.0 and 63.1 with seeds 0 and 1)": ± is the binomial standard error of the split."""
        error = (one.mean * (1 - one.mean) / max(self.clips, 1)) ** 0.5
        return f"{in_percent(one.mean, error)} ({', '.join(in_percent(top1) for top1 in one.top1)} with seeds {self.seeds})"


FILE = "recipe.json"


def read_tuned(place: Path) -> tuple[Tuned, str]:
    """The recipe of a tuning's folder, or of a recipe.json, and where it is from, for study.json.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    path = place / FILE if place.is_dir() else place
    found = read_file(path, Tuned, remedy="give the folder of an `expand tune`")
    if found is None:
        unfinished = (place / "tuning.db").exists()
        why = (
            "that tuning is not finished: run its command again"
            if unfinished
            else "give the folder of an `expand tune`"
        )
        raise UsageError(f"--recipe {place}: there is no {path.name}; {why}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return (
        found,
        f"{path.absolute()} (SHA-256 {digest}), {found.scored(found.chosen)} with {found.network} on {found.data}",
    )
