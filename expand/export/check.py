"""Loads an exported folder where nothing but torch may be imported, and prints its logits as one line of JSON.

`expand export` runs this file in a fresh process: `python -I check.py FOLDER '[[2, 3, 4, 64, 64]]'`, the second
argument being the shape of each input stream.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from typing import Any

REFUSED = frozenset({"expand", "search_spaces", "studies", "safetensors", "optuna", "ray", "pandas", "fvcore", "av"})


class Refuse:
    """An import finder that refuses what an export must not need."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in REFUSED:
            raise ImportError(f"the export wants '{name}', but it may need torch only")


def fixed_inputs(shapes: Sequence[Sequence[int]]) -> list[Any]:
    """The same normally distributed inputs in every process, one (B, C, T, H, W) tensor a stream."""
    import torch

    generator = torch.Generator().manual_seed(2004_04730)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def main(folder: str, shapes: str) -> None:
    sys.meta_path.insert(0, Refuse())
    spec = importlib.util.spec_from_file_location("load", f"{folder}/load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    import torch

    with torch.no_grad():
        logits = module.load()(*fixed_inputs(json.loads(shapes)))
    print(json.dumps({"shape": list(logits.shape), "logits": logits.double().flatten().tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
