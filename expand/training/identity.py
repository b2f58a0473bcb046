"""Identifies the training that a checkpoint belongs to by everything that changes its results, so not by paths or by the number
of loader processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields

from expand.core.space import Architecture
from expand.core.study import Recipe
from expand.source.fingerprint import Code, unusual


@dataclass(frozen=True)
class Identity:
    """What the results of a training depend on.

    Attributes:
        videos: hashes of the training and the validation clips.
        folders: their paths, for checkpoints of version 0.1 only.
        code: hashes of the network's code; None if unknown.
        mirrored: `Data.mirrored`.
        inherited: SHA-256 of the weights of the parent that the training starts from.
    """

    architecture: Architecture
    seed: int
    epochs: int
    recipe: Recipe
    videos: Sequence[str]
    folders: Sequence[str]
    code: Code | None = None
    mirrored: tuple[tuple[str, str], ...] = ()
    inherited: str = ""

    def text(self) -> str:
        """The text stored in a checkpoint, without the path of initial weights: it may change, and a run itself refuses other
        weights."""
        recipe = {
            name: value for name, value in unusual(self.recipe).items() if name not in ("weights", "loader_workers")
        }
        facts = [self.architecture.to_json(), self.seed, self.epochs, recipe, list(self.videos)]
        if self.mirrored:  # older checkpoints do not have this field
            facts.append(self.mirrored)
        if self.inherited:
            facts.append({"inherited": self.inherited})
        return json.dumps({"training": facts, "code": self.code}, sort_keys=True)

    def has(self, kept: str) -> bool:
        """Whether a checkpoint with this text belongs to the same training. Unknown code counts as equal."""
        try:
            before, now = json.loads(kept), json.loads(self.text())
        except ValueError:
            return self._had_in_version_0_1(kept)
        codes = [before["code"], now["code"]]
        return before["training"] == now["training"] and (None in codes or codes[0] == codes[1])

    def _had_in_version_0_1(self, kept: str) -> bool:
        """Whether the text matches the format of version 0.1: with folders of the clips and the recipe's fields of that time."""
        known = [field for field in fields(Recipe) if f"({field.name}=" in kept or f" {field.name}=" in kept]
        values = vars(self.recipe) | {"weights": None}
        shown = ", ".join(f"{field.name}={values[field.name]!r}" for field in known)
        younger = unusual(self.recipe).keys() - {field.name for field in known} - {"weights"}
        facts = ", ".join(map(repr, (self.architecture.to_json(), self.seed, self.epochs)))
        return (
            not younger
            and not self.mirrored
            and not self.inherited
            and kept == f"({facts}, Recipe({shown}), {', '.join(map(repr, self.folders))})"
        )
