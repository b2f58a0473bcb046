"""The end of an exported network.py: a table of the network's stages, and a call with its arguments that can be edited."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from expand.core.errors import ExpandError
from expand.core.layer_plan import Layer
from expand.source.slicer import standalone_source

BUILD = "build_network"
ABOUT = '    """Returns it with random weights. The weights in this folder do not fit other values."""'


def network_source(network: type, arguments: Mapping[str, Any], layers: Sequence[Layer] = ()) -> str:
    """The source of the class with everything that it uses, and `build_network`, which builds this network.

    Raises:
        ExpandError: see `standalone_source`; the source has a `build_network` of its own.
    """
    text = standalone_source(network)
    if any(getattr(node, "name", None) == BUILD for node in ast.parse(text).body):
        raise ExpandError(f"{network.__module__} defines {BUILD}, a name that the export needs; rename it")
    call = [f"    return {network.__name__}(", *(f"        {k}={_literal(v)}," for k, v in arguments.items()), "    )"]
    lines = ["", "", "# --- this network ---", "", *_table(layers), "", f"def {BUILD}() -> nn.Module:", ABOUT, *call]
    return text + _import_of_nn(text) + "\n".join(lines) + "\n"


def _literal(value: object) -> str:
    text = repr(value)
    return text if '"' in text else text.replace("'", '"')


def _import_of_nn(text: str) -> str:
    names = {alias.asname or alias.name for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    return "" if "nn" in names else "\nfrom torch import nn  # noqa: E402\n"


def _table(layers: Sequence[Layer]) -> list[str]:
    """The output size and cost of every stage for one clip, as comment lines."""
    if not layers:
        return []
    rows = [("stage", "layers", "channels x frames x height x width", "multiply-adds", "parameters"), *_rows(layers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        left = [text.ljust(width) for text, width in zip(row[:3], widths[:3], strict=True)]
        right = [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("#   " + "   ".join([*left, *right]))
    return [
        "# The output of each stage for one clip, with its convolutions and linear layers:", "#", *lines, "",
    ]  # fmt: skip


def _rows(layers: Sequence[Layer]) -> Iterator[tuple[str, str, str, str, str]]:
    stages: dict[str, list[Layer]] = {}
    for layer in layers:
        stages.setdefault(layer.stage or layer.name, []).append(layer)
    for stage, own in stages.items():
        weighted = sum(layer.times for layer in own if layer.weights)
        macs, params = (sum(getattr(layer, name) * layer.times for layer in own) for name in ("macs", "params"))
        yield stage, str(weighted), " x ".join(map(str, own[-1].output)), f"{macs:,}", f"{params:,}"
    macs, params = (sum(getattr(layer, name) * layer.times for layer in layers) for name in ("macs", "params"))
    yield "all", str(sum(layer.times for layer in layers if layer.weights)), "", f"{macs:,}", f"{params:,}"
