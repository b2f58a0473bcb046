"""From a video file to an answer: by a trial of a run, by an export, and by an export that stands alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import VERSIONS, placed

from expand.cli.scoring import show_predictions
from expand.core.errors import UsageError
from expand.export.bundle import export_run
from expand.report.choosing import Choice

VIDEO = Path("squares") / "test" / "to the left" / "200.avi"


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda folder: folder.name)
def exported(request, tmp_path_factory) -> Path:
    """An old run, and its complete trial exported beside it."""
    folder = placed(request.param, tmp_path_factory.mktemp("old"))
    export_run(folder / "run", folder / "network", Choice(trial=2))
    return folder


@pytest.fixture
def network(exported, tmp_path) -> Path:
    return placed(exported, tmp_path) / "network"


def chances(text: str) -> dict[str, float]:
    """By class, from what `expand predict --json` printed for one video."""
    (prediction,) = json.loads(text)
    assert prediction["video"] == str(VIDEO)
    return dict(prediction["classes"])


def alone(folder: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The export's own script, in a process that has no `expand`."""
    code = f"import sys; sys.modules['expand'] = None; {before}\nimport runpy; sys.argv[1:] = {list(arguments)!r}\n"
    code += f"sys.path.insert(0, {str(folder)!r}); runpy.run_path({str(folder / 'predict.py')!r}, run_name='__main__')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder.parent, env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_run_an_export_and_an_export_alone_answer_as_the_test_scored(network, expand):
    old = network.parent
    by_run = expand("predict", "run:2", VIDEO, "--json")
    by_export = expand("predict", "network", VIDEO, "--json", "--top", 9)
    assert by_run.returncode == by_export.returncode == 0, by_run.stderr + by_export.stderr
    tested = expand("test", "run", "--trial", 2, "--views", "10x1", "--data", "squares")
    assert tested.returncode == 0, tested.stderr
    (folder,) = (old / "run" / "artifacts" / "000002" / "tests").glob("test-10x1-*.json")
    scores = np.load(folder.with_suffix("") / "scores.npz", allow_pickle=False)
    names = json.loads((old / "run" / "study.json").read_text())["data"]["classes"]
    row = [str(name) for name in scores["names"]].index(str(VIDEO.relative_to("squares")))
    expected = dict(zip(names, scores["probabilities"][row].tolist(), strict=True))
    assert chances(by_run.stdout) == pytest.approx(expected, abs=1e-5)
    assert chances(by_export.stdout) == pytest.approx(expected, abs=1e-4)
    assert sum(expected.values()) == pytest.approx(1, abs=1e-5)

    script = alone(network, str(VIDEO), "--json")
    assert script.returncode == 0, script.stderr
    (answers,) = json.loads(script.stdout).values()
    assert {a["class"]: a["probability"] for a in answers} == pytest.approx(expected, abs=1e-4)
    plain = expand("predict", "network", VIDEO, "--top", 1)
    best = max(expected, key=lambda name: expected[name])
    assert best in plain.stdout and f"{chances(by_export.stdout)[best]:.1%}" in plain.stdout


def test_what_cannot_be_answered_is_one_line_and_exit_code_2(network, expand, monkeypatch, capsys):
    old = network.parent
    monkeypatch.chdir(old)
    (old / "broken.mp4").write_bytes(b"\0" * 900)
    for video, words in (
        ("broken.mp4", "not a readable video"),
        ("nowhere.mp4", "no such file"),
        ("squares", "squares"),
    ):
        for source in ("run:2", "network"):
            assert not show_predictions(source, [Path(video)], device="cpu", as_json=False)
            (line,) = capsys.readouterr().err.splitlines()
            assert words in line and video in line
    for source, words in (
        ("squares", "neither"),
        ("run", "run:12"),
        ("run:0", "trial 0 is running"),
        ("run:77", "trial 77"),
    ):
        with pytest.raises(UsageError, match=words):
            show_predictions(source, [VIDEO], device="cpu", as_json=False)
    both = expand("predict", "network", "broken.mp4", VIDEO)
    assert both.returncode == 2 and "broken.mp4" in both.stderr and str(VIDEO) in both.stdout
    script = alone(network, "broken.mp4", "nowhere.mp4")
    assert script.returncode == 2 and len(script.stderr.splitlines()) == 2, script.stderr
    (network / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="an incomplete export"):
        show_predictions("network", [VIDEO], device="cpu", as_json=False)


def test_the_script_asks_for_pyav_by_name(network):
    script = alone(network, str(VIDEO), before="sys.modules['av'] = None")
    assert script.returncode == 2 and "pip install av" in script.stderr, script.stderr
