"""Loads exported networks in a fresh process and compares their logits with those of the trained networks here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expand.core.errors import ExpandError
from expand.export.templates import check

TOLERANCE = 1e-5  # largest absolute difference of a logit
ALONE = {"model.safetensors": "torch", "model.pt2": "torch", "model.onnx": "onnxruntime"}


@dataclass(frozen=True)
class Written:
    """An exported folder and the expected results.

    Attributes:
        files: names of the files that hold the network.
        inputs: one (B, C, T, H, W) per stream.
        logits: (B, classes).
        first: logits of the first clip alone, because other kernels may compute a batch of one.
        macs: multiply-adds of one clip, if known.
        rounding: largest difference of the logits here from those computed in float64.
    """

    folder: Path
    files: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    logits: Tensor
    first: Tensor
    macs: int | None = None
    rounding: float = 0.0

    def tolerance(self, file: str) -> float:
        """Another runtime sums in another order, so it may be off by somewhat more than torch's own rounding."""
        return max(TOLERANCE, 4 * self.rounding) if ALONE[file] != "torch" else TOLERANCE


def fixed_inputs(shapes: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
    """Normally distributed inputs from a fixed seed, one per shape."""
    generator = torch.Generator().manual_seed(2004_04730)
    return tuple(torch.randn(*shape, generator=generator) for shape in shapes)


def verify(exports: Sequence[Written]) -> list[dict[str, float]]:
    """Checks all exports: one process reads them with torch alone, another one the ONNX files with onnxruntime alone.

    Returns:
        For each export, by file: the largest absolute difference of a logit, for two clips together and for one alone.

    Raises:
        ExpandError: a file does not load, or gives other logits or multiply-adds.
    """
    differences: list[dict[str, float]] = [{} for _ in exports]
    with tempfile.TemporaryDirectory(prefix="expand-check-") as scratch:
        for alone in ("torch", "onnxruntime"):
            jobs = [
                (index, _job(export, files, Path(scratch), index))
                for index, export in enumerate(exports)
                if (files := [file for file in export.files if ALONE[file] == alone])
            ]
            answers = _ask([job for _, job in jobs], alone, Path(scratch)) if jobs else []
            for (index, _), answer in zip(jobs, answers, strict=True):
                for file, got in answer.items():
                    differences[index][file] = _difference(exports[index], file, got)
    return differences


def _job(export: Written, files: Sequence[str], scratch: Path, index: int) -> dict[str, Any]:
    inputs = []
    for stream, clip in enumerate(export.inputs):
        path = scratch / f"{index}-{stream}.f32"
        path.write_bytes(clip.numpy().tobytes())
        inputs.append((str(path), list(clip.shape)))
    return {"folder": str(export.folder), "files": list(files), "inputs": inputs}


def _ask(jobs: Sequence[Mapping[str, Any]], alone: str, scratch: Path) -> list[dict[str, Any]]:
    file = scratch / f"{alone}.json"
    file.write_text(json.dumps(list(jobs)))
    command = [sys.executable, "-I", "-B", check.__file__, str(file), alone]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # another number of threads sums in another order
    limit = 600 + 60 * len(jobs)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, cwd=scratch, env=os.environ | threads
        )
    except subprocess.TimeoutExpired:
        raise ExpandError(f"the exported network did not finish within {limit} s in a fresh process") from None
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    where = [f"{Path(job['folder']).name}: " if len(jobs) > 1 else "" for job in jobs]
    errors = [name + answer["error"] for name, answer in zip(where, answers, strict=False) if "error" in answer]
    if done.returncode and not errors:
        errors = [(done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]]
    if errors:
        raise ExpandError(f"the exported network does not load in a fresh process: {errors[0]}")
    return answers


def _difference(export: Written, file: str, got: Mapping[str, Any]) -> float:
    largest = []
    for name, expected in (("logits", export.logits), ("first", export.first)):
        answer = torch.tensor(got[name], dtype=torch.float64)
        if answer.shape != expected.shape:
            raise ExpandError(f"{file} gives logits of shape {tuple(answer.shape)}, expected {tuple(expected.shape)}")
        largest.append((answer - expected.double()).abs().max())
    difference = float(torch.stack(largest).max())  # NaN if any value is
    if not difference <= export.tolerance(file):
        raise ExpandError(f"the logits of {file} differ by {difference:.2g}, allowed is {export.tolerance(file):.2g}")
    if export.macs is not None and got.get("macs", export.macs) != export.macs:
        raise ExpandError(
            f"{file} has {got['macs']:,} multiply-adds as torch counts them, but {export.macs:,} are recorded"
        )
    return difference
