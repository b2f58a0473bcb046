"""Loads exported networks while only torch, or only onnxruntime, can be imported, and prints one line of JSON with logits each.

`expand export` runs this file in a fresh process: `python -I check.py JOBS.json torch|onnxruntime`. A job names a folder, the
files to load in it, and raw float32 inputs with their shapes (B, C, T, H, W), one per stream, at least two clips.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ENGINE = frozenset({"expand", "search_spaces", "studies", "safetensors", "optuna", "ray", "pandas", "fvcore", "av"})
ABSENT = {"torch": ENGINE | {"onnx", "onnxruntime", "numpy"}, "onnxruntime": ENGINE | {"onnx", "torch"}}


def main(jobs: str, alone: str) -> None:
    for name in ABSENT[alone]:
        sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed
    for job in json.loads(Path(jobs).read_text()):
        try:
            answers: dict[str, Any] = {file: READERS[file](job) for file in job["files"]}
        except ModuleNotFoundError as error:
            answers = {"error": f"the export imports '{error.name}', but may use only {alone}"}
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            answers = {"error": line}
        print(json.dumps(answers), flush=True)


def read_source(job: dict[str, Any]) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("load", f"{job['folder']}/load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return answer_of(module.load(), job)


def read_pt2(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    return answer_of(torch.export.load(f"{job['folder']}/model.pt2").module(), job)


def answer_of(network: Callable[..., Any], job: dict[str, Any]) -> dict[str, Any]:
    """Logits of all clips and of the first alone, and the multiply-adds of one clip: half of what torch's own counter gives."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    clips = [
        torch.frombuffer(bytearray(Path(file).read_bytes()), dtype=torch.float32).reshape(shape)
        for file, shape in job["inputs"]
    ]
    with torch.no_grad():
        logits = network(*clips)
        with FlopCounterMode(display=False) as counter:
            first = network(*(clip[:1] for clip in clips))
    return plain(logits.double().tolist(), first.double().tolist()) | {"macs": counter.get_total_flops() // 2}


def read_onnx(job: dict[str, Any]) -> dict[str, Any]:
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{job['folder']}/model.onnx", options, providers=["CPUExecutionProvider"])
    clips = [numpy.fromfile(file, dtype=numpy.float32).reshape(shape) for file, shape in job["inputs"]]
    names = [stream.name for stream in session.get_inputs()]
    (logits,) = session.run(None, dict(zip(names, clips, strict=True)))
    (first,) = session.run(None, dict(zip(names, [clip[:1] for clip in clips], strict=True)))
    return plain(logits.tolist(), first.tolist())


def plain(logits: Sequence[Sequence[float]], first: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {"logits": logits, "first": first}


READERS = {"model.safetensors": read_source, "model.pt2": read_pt2, "model.onnx": read_onnx}

if __name__ == "__main__":
    main(*sys.argv[1:])
