"""study.json of a run: the whole study and facts about its videos. A field with a default may be missing in a file of an earlier
version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expand.config.serialize import describe
from expand.config.single_network import Alone
from expand.core.study import Budget, Data, Objective, Recipe, Study
from expand.storage.serialize import from_plain, read_file, write_json

RENDERED = "rendered"  # stands for `Data.source=None`


@dataclass(frozen=True)
class StudyFacts:
    """A stored study. The fields of its space and its strategy are plain JSON, because their classes are the
    user's; "type" is the class's name. `data.source` is RENDERED for the default clips."""

    name: str
    objectives: tuple[Objective, ...]
    seeds: tuple[int, ...]
    space: Mapping[str, Any] = field(default_factory=dict)
    strategy: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    data: Data = field(default_factory=Data)
    budget: Budget = field(default_factory=Budget)
    scale: str = "demo"

    @staticmethod
    def of(study: Study) -> StudyFacts:
        plain = describe(study)
        plain["data"]["source"] = RENDERED if study.data.source is None else study.data.source
        return from_plain(plain, StudyFacts)

    @property
    def varied(self) -> dict[str, str]:
        """Fields of the recipe that are searched with the networks (`expand/core/joint.py`), and their values in words."""
        return {
            axis["name"]: ", ".join(map(str, axis["choices"])) or f"{axis['low']:g} to {axis['high']:g}"
            for axis in self.space.get("recipe_axes", ())
        }

    @property
    def source(self) -> str | None:
        """`Data.source`."""
        return None if self.data.source == RENDERED else self.data.source


@dataclass(frozen=True)
class VideoCounts:
    """Numbers of videos per split."""

    train: int
    val: int
    test: int = 0


@dataclass(frozen=True)
class VideoFacts:
    """The videos of a run.

    Attributes:
        fingerprint: of all contents, labels and splits (`Manifest.fingerprint`).
        fps: frames per second that clips are read at.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    videos: VideoCounts
    fps: float | None = None


@dataclass(frozen=True)
class Forced:
    """Differences accepted with `--force`: fields of the study in words, and the earlier fingerprint of the videos."""

    study: tuple[str, ...]
    data: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """study.json.

    Attributes:
        reference: the study by name, dotted name or file; None for a study that was given as an object.
        classes: where the classes of the study's space and strategy are defined (`stored_study.classes_of`).
        settings: values of `--set`; `recipe_axes`, `limits`, `data_option` and `seed_option` are those of the options of these
            names.
        recipe_from: the recipe.json with its figures that the first of `settings` are from; "" without `--recipe`.
        alone: the one network of a full training.
        weights_sha256: of the file of initial weights.
        code: hashes of the code of the space's start (`expand/source/fingerprint.py`); None if it could not be read.
        files: SHA-256 of the Python files in `references`, by role.
        storage: URL of the database; None for optuna.db in the run directory.
        optuna_study: name of the study in the database.
    """

    study: StudyFacts
    data: VideoFacts
    reference: str | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    scale: str = "demo"
    settings: tuple[str, ...] = ()
    recipe_axes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    data_option: str | None = None
    seed_option: int | None = None
    recipe_from: str = ""
    alone: Alone | None = None
    weights_sha256: str | None = None
    code: Mapping[str, str] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    forced: tuple[Forced, ...] = ()
    storage: str | None = None
    optuna_study: str = ""

    @property
    def clips_of_epoch(self) -> int:
        """Clips that an epoch trains on."""
        return self.study.recipe.clips_of_epoch(self.data.videos.train)

    @property
    def references(self) -> dict[str, str]:
        """Files and dotted names that are imported to build the study again, by role."""
        found = {"study": self.reference, "space": self.alone.space if self.alone else None}
        if not self.reference:
            found |= {role: _importable(place) for role, place in self.classes.items()}
        return {role: reference for role, reference in found.items() if reference}


def _importable(place: str) -> str:
    """FILE.py of FILE.py:NAME, or MODULE.NAME of MODULE:NAME."""
    module, _, name = place.rpartition(":")
    return module if module.endswith(".py") else f"{module}.{name}"


def read_facts(folder: Path) -> Facts | None:
    """study.json of a run; None if there is none.

    Raises:
        UsageError: it is damaged, or not written by expand.
    """
    return read_file(folder / "study.json", Facts, remedy="give another folder with --out")


def write_facts(folder: Path, facts: Facts) -> None:
    write_json(folder / "study.json", facts)
