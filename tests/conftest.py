"""Small videos and small studies for tests. Everything derived from videos goes to a folder of this test session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import Command
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers of pytest have a core each

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
STUDIES = ROOT / "tests" / "studies"

# The same examples on every machine and in every run, few of them, and nothing is remembered.
settings.register_profile("few", derandomize=True, database=None, deadline=None, max_examples=40)
settings.load_profile("few")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("EXPAND_CACHE")
    os.environ["EXPAND_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["EXPAND_CACHE"]
    else:
        os.environ["EXPAND_CACHE"] = before


def write_video(path: Path, frames: np.ndarray, fps: int = 12) -> None:
    """(T, H, W, 3) uint8 frames as MPEG-4."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def moving_square(direction: int, seed: int, length: int = 12) -> np.ndarray:
    """A bright square on noise that goes right (1), left (-1) or stays (0): (length, 24, 32, 3)."""
    random = np.random.default_rng(seed)
    frames = np.repeat(random.integers(0, 80, (1, 24, 32, 3), dtype=np.uint8), length, 0)
    for step in range(length):
        left = 12 + direction * (step - length // 2)
        frames[step, 8:16, max(left, 0) : left + 8] = 230
    return frames


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """root/split/class/*.avi: three classes told by motion, 8 training and 4 validation and 2 test clips each."""
    root = tmp_path_factory.mktemp("squares")
    for split, count, first in (("train", 8, 0), ("val", 4, 100), ("test", 2, 200)):
        for name, direction in (("to the left", -1), ("to the right", 1), ("at rest", 0)):
            for seed in range(first, first + count):
                write_video(root / split / name / f"{seed}.avi", moving_square(direction, seed))
    return root


@pytest.fixture
def expand(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in an empty folder: expand("run", ...) -> completed process."""

    def call(*arguments: object, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment
        command = Command(*arguments, folder=tmp_path, environment=environment)
        try:
            code = command.wait(timeout)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
        return subprocess.CompletedProcess(command.arguments, code, command.stdout, command.stderr)

    return call


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process report without figures, which take longer to draw than tiny networks to train."""
    monkeypatch.setattr("expand.report.files.picture_files", lambda name, draw: {})


VERSIONS = sorted((ROOT / "tests" / "old_runs").iterdir())


def placed(source: Path, folder: Path) -> Path:
    """A copy of what lies beside an old run, with its study file, which it names by an absolute path."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    facts = json.loads((folder / "run" / "study.json").read_text())
    facts["reference"] = str(folder / "old_study.py")
    (folder / "run" / "study.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(params=VERSIONS, ids=lambda folder: folder.name)
def old(request, tmp_path: Path) -> Path:
    return placed(request.param, tmp_path)
