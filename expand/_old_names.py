"""Where modules lie now that study files and families of version 0.1.0 import by their earlier names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "expand.contract": "expand.testing.space_contract",
    "expand.errors": "expand.core.errors",
    "expand.layers": "expand.core.layer_plan",
    "expand.pareto": "expand.core.pareto",
    "expand.space": "expand.core.space",
    "expand.study": "expand.core.study",
    "expand.trial": "expand.core.trial",
}


class _OldNames(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what stands here when this returns, so both names give one module.
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])


def install() -> None:
    """Lets the earlier names be imported. Ours come first, so this only looks at what was not found."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
