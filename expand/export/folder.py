"""Takes a trained network away: a folder with its source, weights and description that needs torch and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from expand.errors import ExpandError, UsageError
from expand.export import check, load
from expand.export.source import standalone_source
from expand.space import Clip

FORMAT = "expand-export-1"
FILES = ("network.py", "load.py", "architecture.json", "model.safetensors", "README.md")
TOLERANCE = 1e-5  # largest absolute difference of a logit


def export_network(
    folder: Path,
    *,
    network: type[nn.Module],
    arguments: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    about: Mapping[str, Any],
    clip: Sequence[Clip],
) -> dict[str, Any]:
    """Writes the folder, and has a fresh process load it without the engine before it gets its name.

    `about` goes into architecture.json as it is. Of its entries the README shows `cost`, `accuracy` (mappings),
    `classes` (names in the order of the logits) and `normalisation` (`mean` and `std`, each one number or one a
    channel, for values from 0 to 1), which `prepare` applies. `clip` is what each input stream reads. Returns `folder`,
    `paths` and `max_difference`, the largest absolute difference between the fresh process's logits and those here.

    Raises:
        UsageError: the folder holds something else than an earlier export.
        ExpandError: the network's source needs more than torch, an argument is not plain, or the check failed.
    """
    folder = folder.resolve()
    _refuse_foreign(folder)
    state = {name: _plain(name, tensor) for name, tensor in state_dict.items()}
    expected = _logits(network(**_plain_arguments(network, arguments)), state, clip)
    texts = {"network.py": standalone_source(network), "load.py": Path(load.__file__).read_text(encoding="utf-8")}
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        weights = _write_weights(partial / "model.safetensors", state)
        described = {
            **about,
            "format": FORMAT,
            "network": {"class": network.__name__, "arguments": dict(arguments)},
            "clip": [asdict(stream) for stream in clip],
            "weights": weights,
        }
        texts["architecture.json"] = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
        texts["README.md"] = readme(described, expected.shape[-1])
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8")
        difference = _check(partial, expected, clip)
        _replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"folder": folder, "paths": [folder / name for name in FILES], "max_difference": difference}


README = """# {name}

A video network as plain PyTorch: this folder needs torch and nothing else, and can be moved.

```python
import sys, torch
sys.path.insert(0, "PATH/OF/THIS/FOLDER")
from load import describe, load, prepare

network, about = load(), describe()  # in eval mode, on the CPU; load(device="cuda") for a GPU
video = torch.zeros(64, 240, 320, 3, dtype=torch.uint8)  # your video: RGB frames (T, H, W, 3)
probabilities = network(*prepare(video)).softmax(1)  # (1, {outputs})
print({answer})
```

## The clip it expects

{clips}

`prepare` does all of this. Validation takes the mean of the probabilities over several views of a video:
`prepare(video, view=0, views=2)` and so on.

{classes}{figures}network.py is its source, model.safetensors its weights, architecture.json all that is known about it.
"""


def readme(about: Mapping[str, Any], outputs: int) -> str:
    """How to load the network, what clip it wants, and what its numbers mean."""
    scale, classes = about.get("normalisation"), about.get("classes")
    normalised = f", then (value - {scale['mean']}) / {scale['std']}" if scale else ""
    clips = [
        f"- float (B, {c['channels']}, {c['frames']}, {c['height']}, {c['width']}): {c['frames']} frames, one in every "
        f"{c['stride']} of the video, the centre resized to {c['height']} x {c['width']} pixels, values from 0 to 1"
        + normalised
        for c in about["clip"]
    ]
    figures = [
        f"## {title.capitalize()}\n\n" + "\n".join(f"- {key}: {value}" for key, value in about[title].items()) + "\n\n"
        for title in ("cost", "accuracy")
        if about.get(title)
    ]
    return README.format(
        name=about["network"]["class"],
        outputs=outputs,
        answer='about["classes"][int(probabilities.argmax())]' if classes else "int(probabilities.argmax())",
        clips="\n".join(clips),
        classes=f"Classes, in the order of the outputs: {', '.join(map(str, classes))}.\n\n" if classes else "",
        figures="".join(figures),
    )


def _refuse_foreign(folder: Path) -> None:
    if folder.is_file():
        raise UsageError(f"--to {folder}: a file is there; name a folder")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not found:
        return
    try:
        ours = json.loads((folder / "architecture.json").read_text(encoding="utf-8")).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        ours = False
    extra = sorted(found - {*FILES, "__pycache__"})
    if extra or not ours:
        what = ", ".join(extra[:3]) or "files of something else"
        raise UsageError(f"--to {folder}: holds {what}; an export replaces only an earlier export, name another folder")


def _plain_arguments(network: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the exported folder will read them from JSON."""
    for name, value in arguments.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ExpandError(
                f"{network.__name__}({name}={value!r}): an exported network's arguments are plain values only"
            ) from None
    return json.loads(json.dumps(dict(arguments)))


def _plain(name: str, tensor: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ExpandError(f"state entry '{name}' is a {type(tensor).__name__}; only tensors can be exported")
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _write_weights(path: Path, state: dict[str, Tensor]) -> dict[str, Any]:
    from safetensors.torch import save

    raw = save(state, metadata={"format": "pt"})
    path.write_bytes(raw)  # save_file would make it readable for its owner only
    return {"file": path.name, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}


def _shapes(clip: Sequence[Clip]) -> list[tuple[int, ...]]:
    return [(2, stream.channels, stream.frames, stream.height, stream.width) for stream in clip]


def _logits(module: nn.Module, state: dict[str, Tensor], clip: Sequence[Clip]) -> Tensor:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ExpandError(f"the weights do not fit {type(module).__name__}: {error}") from error
    with torch.no_grad():
        return module.eval()(*check.fixed_inputs(_shapes(clip)))


def _check(folder: Path, expected: Tensor, clip: Sequence[Clip]) -> float:
    command = [sys.executable, "-I", check.__file__, str(folder), json.dumps(_shapes(clip))]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # other counts sum in another order
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=600, cwd=folder, env=os.environ | threads
        )
    except subprocess.TimeoutExpired:
        raise ExpandError("the exported network did not answer within 600 s in a fresh process") from None
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExpandError(f"the exported network does not load in a fresh process: {reason}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    got = torch.tensor(answer["logits"], dtype=torch.float64).reshape(answer["shape"])
    if got.shape != expected.shape:
        raise ExpandError(f"the exported network answers {tuple(got.shape)}, here it is {tuple(expected.shape)}")
    difference = float((got - expected.double()).abs().max())
    if not difference <= TOLERANCE:  # also when it is not a number
        raise ExpandError(f"the exported network's logits differ by {difference:.2g}, allowed are {TOLERANCE:g}")
    return difference


def _replace(partial: Path, folder: Path) -> None:
    """Gives the folder its name; an old export is moved aside first, and back if that fails."""
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(partial, folder)
    except OSError:
        if old.exists():
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
