"""A network as one file that needs no source: torch.export's .pt2, and ONNX. Any number of clips at once."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from expand.core.errors import ExpandError, UsageError

PT2, ONNX = "model.pt2", "model.onnx"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require(formats: Sequence[str]) -> None:
    """Raises `UsageError` where a format needs a package that is not there."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if ONNX in formats and missing:
        raise UsageError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(ONNX_PACKAGES)}")


def write_portable(folder: Path, network: nn.Module, inputs: Sequence[Tensor], formats: Sequence[str]) -> None:
    """Writes model.pt2 and model.onnx into the folder, as `formats` names them. `inputs` are one (B, C, T, H, W) a stream, B
    at least 2: torch takes a size of 1 for a constant.

    Raises:
        ExpandError: torch cannot trace or translate the network.
    """
    try:
        with _quiet():
            batch = torch.export.Dim("batch")
            shapes = tuple({0: batch} for _ in inputs)
            program = torch.export.export(network, tuple(inputs), dynamic_shapes=_named(network, shapes))
            if PT2 in formats:
                torch.export.save(program, folder / PT2)
            if ONNX in formats:
                _write_onnx(folder / ONNX, program)
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds, several of them its own
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExpandError(
            f"{type(network).__name__} cannot be written as {' or '.join(formats)} ({line}): export it without, as source"
        ) from error


def _named(network: nn.Module, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """One entry an argument; a forward(*streams) takes them all as one."""
    parameters = list(inspect.signature(network.forward).parameters.values())
    return (shapes,) if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL else shapes


def _write_onnx(path: Path, program: torch.export.ExportedProgram) -> None:
    translated = torch.onnx.export(program, dynamo=True, output_names=["logits"], verbose=False)
    assert translated is not None
    shape = translated.model.graph.inputs[0].shape
    assert shape is not None
    translated.rename_axes({str(getattr(shape[0], "value", shape[0])): "batch"})
    translated.save(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints about packages that it does not need."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
