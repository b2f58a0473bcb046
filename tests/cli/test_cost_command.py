"""`expand cost`: what it answers, for a person and for a program, and what it refuses in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from expand.cli import cost_tables
from expand.cli.cost_tables import Question, parse_shape, show_network, show_space
from expand.core.errors import ExpandError, UsageError
from expand.core.units import four_digits
from expand.counting.cost import LAYERS, SHAPES, at_crop
from search_spaces.c3d import C3DSpace
from search_spaces.x3d import X3DSpace

NETWORKS = """
import torch
from torch import nn

def small():
    return nn.Sequential(nn.Conv3d(3, 8, 3, bias=False), nn.BatchNorm3d(8), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
                         nn.Linear(8, 4))

class TwoStreams(nn.Module):
    def __init__(self):
        super().__init__()
        self.slow, self.fast = nn.Conv3d(3, 4, 1), nn.Conv3d(2, 4, (3, 1, 1))

    def forward(self, slow, fast):
        return self.slow(slow).mean((2, 3, 4)) + self.fast(fast).mean((2, 3, 4))

class Spectral(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).real

class NeedsThree(nn.Module):
    def forward(self, x):
        assert x.shape[1] == 3, "three channels"
        return x

def broken():
    raise OSError("no checkpoint")

def number():
    return 3

NAME = "small"
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "networks_of_mine.py").write_text(NETWORKS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "networks_of_mine"


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Of a network of a space, as plain values."""

    def ask(space: str, point: str | None = None, *values: str, **question: Any) -> Any:
        show_space(space, values, point, Question(as_json=True, **question))
        return json.loads(capsys.readouterr().out)

    return ask


def test_readings_of_one_network(answer):
    m = answer("x3d", "M")
    assert (m["macs"], m["flops"], m["gmacs"]) == (4_732_468_736, 9_464_937_472, 4.732468736)
    assert (m["params"], m["params_published"], m["counter"]) == (3_794_274, 3_758_738, LAYERS)
    assert m["weight_bytes"] == 4 * 3_794_274 + m["buffer_bytes"]
    assert m["fvcore_flops"] > m["macs"] and m["training_bytes"] == 838_345_440
    assert m["views"] == 1 and m["per_video"]["macs"] == m["macs"]


def test_fvcores_total_at_the_test_crop(answer):
    """PyTorchVideo's zoo printed 6.72 for M, with norms at five operations an element (fvcore counts two by now) and its
    classifier at every position of the test crop, which is the difference left."""
    m = answer("x3d", "M", crop=256)
    assert round(m["fvcore_flops"] / 1e9, 3) == 6.395
    assert (m["macs"] + 2.5 * (m["fvcore_flops"] - m["macs"])) / 1e9 == pytest.approx(6.72, rel=0.001)


def test_a_video_costs_as_often_as_it_is_looked_at(answer):
    """X3D's Table 4: 30 views of 48.4 GFLOPs at a test crop of 356."""
    xl = answer("x3d", "XL", crop=356, views="10x3")
    assert xl["input"] == [[3, 16, 356, 356]] and round(xl["gmacs"], 1) == 48.4
    assert xl["views"] == 30 and xl["per_video"]["macs"] == 30 * xl["macs"]
    assert "the given crop" in xl["convention"]


@pytest.mark.parametrize("by", ["stage", "layer"])
def test_stages_and_layers_add_up(answer, by):
    xs = answer("x3d", "XS", by=by)
    layers = xs["layers"]
    assert (
        sum(layer["macs"] for layer in layers) == xs["macs"]
        and sum(layer["params"] for layer in layers) == xs["params"]
    )
    assert sum(layer["kept_bytes"] for layer in layers) == xs["training_bytes"]
    assert list(dict.fromkeys(layer["stage"] for layer in layers)) == [
        "conv1", "res2", "res3", "res4", "res5", "conv5", "fc1", "fc2",
    ]  # fmt: skip
    assert sum(layer["times"] for layer in layers if layer["name"] == "narrow") == (26 if by == "layer" else 0)
    aside = {layer["name"] for layer in layers if layer["aside"]}
    assert aside == ({"shortcut", "shortcut_norm", "squeeze", "excite", "fc1", "fc2"} if by == "layer" else set())
    assert all(layer["kernel"] == [3, 3, 3] for layer in layers if layer["name"] == "depthwise")


def test_all_named_points_at_once(answer):
    rows = answer("c3d", views="10x1")
    assert list(rows) == ["depth-1", "depth-3", "depth-5", "depth-7", "increasing", "decreasing", "C3D"]
    assert all(row["per_video"]["macs"] == 10 * row["macs"] for row in rows.values())


def test_fvcore_checks(answer, monkeypatch, capsys):
    assert "fvcore" in answer("x3d", "X2D", check=True)["check"]
    wrong = cost_tables.count_traced(__import__("torch").nn.Linear(2, 2), ((2,),))
    monkeypatch.setattr(cost_tables, "count_traced", lambda network, shapes: wrong)
    with pytest.raises(ExpandError, match=r"the counts differ: macs 20,662,304, fvcore 4"):
        show_space("x3d", (), "X2D", Question(check=True))


def test_a_person_reads_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    show_space("x3d", ("frames=6", "resolution=128", "depth=3.1"), None, Question(by="stage", views="10x3"))
    shown = capsys.readouterr().out
    for words in ("366,397,184", "30 views", "10,991,915,520", "res4", "memory in training", LAYERS):
        assert words in shown
    show_space("x3d", (), None, Question())
    assert "35.84" in capsys.readouterr().out


def test_a_network_of_ones_own(networks, capsys):
    question = Question(as_json=True, by="layer", check=True)
    show_network(f"{networks}:small", ("3x8x16x16",), question)
    small = json.loads(capsys.readouterr().out)
    assert (small["network"], small["counter"]) == (f"{networks}:small", SHAPES)
    assert small["macs"] == 6 * 14 * 14 * 8 * 81 + 32 and small["params"] == 8 * 81 + 16 + 36
    assert [layer["name"] for layer in small["layers"]] == ["0", "1", "2", "5"]
    show_network(f"./{networks}.py:TwoStreams", ("3x2x4x4", "2x4x4x4"), Question(by="stage"))
    shown = capsys.readouterr().out
    assert "slow" in shown and "fast" in shown and "3x2x4x4 + 2x4x4x4" in shown


@pytest.mark.parametrize(
    ("reference", "inputs", "error", "words"),
    [
        ("networks_of_mine:smal", ("3x4x4x4",), UsageError, r"'smal'; did you mean 'small'\? \(there are: small, TwoStreams"),
        ("no_such_module:make", ("3x4x4x4",), UsageError, "unknown network 'no_such_module'"),
        ("no_such_file.py:make", ("3x4x4x4",), UsageError, "there is no such file"),
        ("networks_of_mine:NAME", ("3x4x4x4",), UsageError, "is a str, not a function that builds a network"),
        ("networks_of_mine:", ("3x4x4x4",), UsageError, "write it as MODULE:FACTORY"),
        ("networks_of_mine:number", ("3x4x4x4",), UsageError, r"number returned int, not a torch\.nn\.Module"),
        ("networks_of_mine:broken", ("3x4x4x4",), UsageError, "broken cannot be built: OSError: no checkpoint"),
        ("networks_of_mine:small", ("3x4x1x4",), UsageError, "small cannot be run on shapes: a clip of 3x4x1x4 .* Kernel size"),
        ("networks_of_mine:NeedsThree", ("2x4",), UsageError, "AssertionError: three channels"),
        ("networks_of_mine:Spectral", ("3x4",), UsageError, "is unknown: there is no counting rule for aten::_fft_r2c"),
        ("networks_of_mine:small", (), UsageError, "--input is missing"),
    ],
)  # fmt: skip
def test_what_is_no_network_to_count_is_one_line(networks, reference, inputs, error, words):
    with pytest.raises(error, match=words) as raised:
        show_network(reference, inputs, Question())
    assert "\n" not in str(raised.value) and raised.value.exit_code == (2 if error is UsageError else 1)


@pytest.mark.parametrize("text", ["", "3x", "3x0x4", "-3x4", "3,4", "axb", "3x4.5", "x3"])
def test_shapes_that_are_none(text):
    with pytest.raises(UsageError, match="write it as CxTxHxW"):
        parse_shape(text)


@pytest.mark.parametrize("text", ["0x3", "0", "x", "3x", "-1x3", "3x3x3", "ten"])
def test_views_that_are_none(text):
    with pytest.raises(UsageError, match=f"--views {text}: write it as CLIPSxCROPS"):
        Question(views=text)


def test_crops():
    space = X3DSpace()
    assert at_crop(space, space.points["L"], 356)["resolution"] == 356
    c3d = C3DSpace()
    with pytest.raises(UsageError, match="c3d builds its head for the training crop, 112; resolution=128 is another"):
        at_crop(c3d, c3d.start, 128)
    with pytest.raises(UsageError, match="resolution=8: allowed are 16 to 1024"):
        at_crop(space, space.start, 8)
    with pytest.raises(UsageError, match="--by part: allowed are stage, layer"):
        Question(by="part")
    with pytest.raises(UsageError, match="--by stage is about one network"):
        show_space("x3d", (), None, Question(by="stage"))


Command = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x3d", "--point", "M", "--views", "0x3"), "--views 0x3"),
        (("nowhere:make", "frames=3", "--input", "3x4x4x4"), "takes no NAME=VALUE"),
    ],
)  # fmt: skip
def test_usage_errors_are_one_line_and_exit_code_2(expand: Command, arguments, words):
    done = expand("cost", *arguments)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    "arguments", [{}, {"views": "10x3"}, {"point": "XL", "by": "stage"}, {"point": "XL", "by": "layer"}]
)
def test_no_word_and_no_number_is_broken_at_80_columns(monkeypatch, capsys, arguments):
    monkeypatch.setenv("COLUMNS", "80")
    point = arguments.pop("point", None)
    show_space("x3d", [], point, Question(**arguments))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    words = ("35.84", "M activations", "412.2") if point is None else ("280x16x10x10", "k params")
    assert all(word in shown for word in words)
    if point is None:
        assert "XL: 3x16x312x312, frames=16 stride=5 resolution=312 width=1.45 bottleneck=2.25" in shown


def test_four_digits():
    assert [four_digits(value) for value in (0, 35.8376, 0.0206623, 1075.1, 14971.7)] == [
        "0", "35.84", "0.02066", "1,075", "14,972",
    ]  # fmt: skip
    assert four_digits(0.00005, 3) == "0.000"
