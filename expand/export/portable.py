"""A network as one file without source: torch.export's .pt2, and ONNX, both for any batch size."""

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
    """Raises `UsageError` if a format needs a package that is not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if ONNX in formats and missing:
        raise UsageError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(ONNX_PACKAGES)}")


def write_portable(folder: Path, network: nn.Module, inputs: Sequence[Tensor], formats: Sequence[str]) -> None:
    """Writes those of model.pt2 and model.onnx that `formats` names.

    Args:
        inputs: one (B, C, T, H, W) per stream, B at least 2, because torch treats a size of 1 as a constant.

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
    except Exception as error:  # torch raises many types of exceptions here
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExpandError(
            f"{type(network).__name__} cannot be written as {' or '.join(formats)} ({line}): export it as source alone"
        ) from error


def _named(network: nn.Module, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """One entry per argument of `forward`; `forward(*streams)` has one argument for all."""
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
    """Hides what the exporter prints about packages that it does not need."""
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
