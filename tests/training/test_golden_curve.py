"""One tiny training to the digit: a change of the code that is not meant to change numbers must not change them.

The clips are arrays, so that no video decoder has a part in it; one thread, so that sums have one order. Losses hold within 1e-4
on every CPU (few steps at a small learning rate: rounding has no time to grow) and exactly on a machine whose golden
numbers are kept in golden_curve.json. `python tests/training/test_golden_curve.py` writes this machine's numbers there.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).with_name("golden_curve.json")


def train_here(folder: Path) -> dict[str, list[float]]:
    """Training and validation losses of three epochs, for one network of each family, in this process."""
    import torch

    from expand.core.outcome import Completed
    from expand.core.study import Recipe
    from expand.data.cache.clip_cache import prepare
    from expand.data.read_source import read_source
    from expand.data.sources.records import Options
    from expand.search.job import Job, evaluate
    from search_spaces.c3d import C3DSpace
    from search_spaces.mixed_conv import MixedConvSpace
    from search_spaces.x3d import X3DSpace

    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6), ("test", 2)):
        for label in ("dark", "light"):
            for index in range(count):
                clip = random.integers(0, 128, (10, 24, 32, 3), dtype=np.uint8) + (64 if label == "light" else 0)
                place = folder / "clips" / split / label / f"{index}.npy"
                place.parent.mkdir(parents=True, exist_ok=True)
                np.save(place, clip.astype(np.uint8))
    caches = tuple(map(str, prepare(read_source(folder / "clips", Options(fps=12.0)), side=24)))
    recipe = Recipe(epochs=3, batch_size=8, learning_rate=0.01, views=2, dropout=0.2, ema=0.5, label_smoothing=0.1)
    spaces = (
        X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2),
        C3DSpace(width=0.05, frames=9, resolution=17),
        MixedConvSpace(frames=4, resolution=16, width=0.1),
    )
    curves = {}
    for space in spaces:
        job = Job(
            0, space, space.start, recipe, recipe.epochs, 0, *caches, str(folder / space.name / "c" / "last.pt"),
            str(folder / space.name / "w" / "model.safetensors"), 1,
        )  # fmt: skip
        result = evaluate(job, lambda entry: None)
        assert isinstance(result, Completed), result
        curves[space.name] = [getattr(entry, name) for entry in result.curve for name in ("loss", "val_loss")]
    assert torch.get_num_threads() == 1
    return curves


def this_machine() -> str:
    """What decides the last digits: processor, instruction sets that torch may use, torch itself, our kernels."""
    import torch

    from expand.training.kernels import native

    place = Path("/proc/cpuinfo")
    lines = place.read_text().split("\n\n")[0].splitlines() if place.exists() else []
    facts = dict((part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    names = ("model name", "cpu family", "model", "stepping")
    processor = " ".join(facts[name] for name in names if name in facts) or platform.processor()
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    kernels = "our kernels" if native.kernels() else "no compiler"
    return ", ".join((processor, torch.backends.cpu.get_cpu_capability(), isa, torch.__version__, kernels))


def measured(folder: Path) -> dict:
    """A process of its own: other tests' threads and generators have no part in it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "EXPAND_CACHE": str(folder / "cache")}
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment | {"PYTHONPATH": root}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_loss_curves_of_a_seeded_training_are_what_they_were(tmp_path):
    now, golden = measured(tmp_path), json.loads(GOLDEN.read_text())
    for family, curve in golden["curves"].items():
        assert now["curves"][family] == pytest.approx(curve, abs=1e-4), family
    if now["machine"] in golden["exact"]:
        assert now["curves"] == golden["exact"][now["machine"]]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"machine": this_machine(), "curves": train_here(Path(sys.argv[1]))}))
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            now = measured(Path(place))
        golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"curves": now["curves"], "exact": {}}
        golden["exact"][now["machine"]] = now["curves"]
        GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
