"""Which training a checkpoint is of, by what changes its numbers: not by where files lie or how many processes load clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields

from expand.core.space import Architecture
from expand.core.study import Recipe
from expand.source.fingerprint import Code, unusual


@dataclass(frozen=True)
class Identity:
    """`videos` are the contents of the training and the validation clips, `folders` where they lie, `code` what the network
    is made of, None where it is unknown, `mirrored` is `Data.mirrored`."""

    architecture: Architecture
    seed: int
    epochs: int
    recipe: Recipe
    videos: Sequence[str]
    folders: Sequence[str]
    code: Code | None = None
    mirrored: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """To be kept in a checkpoint. A run refuses other initial weights itself; the same may lie elsewhere now."""
        recipe = {
            name: value for name, value in unusual(self.recipe).items() if name not in ("weights", "loader_workers")
        }
        facts = [self.architecture.to_json(), self.seed, self.epochs, recipe, list(self.videos)]
        if self.mirrored:  # checkpoints older than this field have none
            facts.append(self.mirrored)
        return json.dumps({"training": facts, "code": self.code}, sort_keys=True)

    def has(self, kept: str) -> bool:
        """Whether a checkpoint with this text is of the same training. Unknown code is taken for the same."""
        try:
            before, now = json.loads(kept), json.loads(self.text())
        except ValueError:
            return self._had_in_version_0_1(kept)
        codes = [before["code"], now["code"]]
        return before["training"] == now["training"] and (None in codes or codes[0] == codes[1])

    def _had_in_version_0_1(self, kept: str) -> bool:
        """Whether this is what was kept then: with the folders of the clips and the recipe's fields of that time."""
        known = [field for field in fields(Recipe) if f"({field.name}=" in kept or f" {field.name}=" in kept]
        values = vars(self.recipe) | {"weights": None}
        shown = ", ".join(f"{field.name}={values[field.name]!r}" for field in known)
        younger = unusual(self.recipe).keys() - {field.name for field in known} - {"weights"}
        facts = ", ".join(map(repr, (self.architecture.to_json(), self.seed, self.epochs)))
        return (
            not younger
            and not self.mirrored
            and kept == f"({facts}, Recipe({shown}), {', '.join(map(repr, self.folders))})"
        )
