"""The command line as a program would use it, and as a person mistypes it: one line, the right code, no traceback."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from conftest import STUDIES

from expand.cli.app import app, main
from expand.core import signals


def test_costs_print_as_json(expand):
    done = expand("cost", "x3d", "--point", "XS", "--json")
    cost = json.loads(done.stdout)
    assert (cost["macs"], cost["params"], cost["classes"]) == (605_256_512, 3_794_274, 400)
    done = expand("cost", "x3d", "frames=2", "bottleneck=2.25", "--classes", 10, "--json")
    cost = json.loads(done.stdout)
    assert cost["macs"] == 80_209_520 - 390 * 2048 and "fvcore" in cost["convention"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "x3d_stepwize"), 2, "did you mean 'x3d_stepwise'"),
        (("run", "x3d_stepwise", "--data", "/no/such/folder"), 2, "/no/such/folder"),
        (("run", "x3d_stepwise", "--scale", "huge"), 2, "demo, paper"),
        (
            ("run", "x3d_stepwise", "--limit", "gmac<=2"),
            2,
            "did you mean 'gmacs'? (there are: gmacs, params_m, latency_ms)",
        ),
        (("plan", "x3d_stepwise", "--videos", "5"), 2, "needs --classes"),
        (("cost", "x3d", "framse=3"), 2, "did you mean 'frames'"),
        (("cost", "x3d", "frames="), 2, "NAME=VALUE"),
        (("cost", "x3d", "--point", "XXS"), 2, "unknown x3d point"),
        (("report", "nowhere"), 2, "no run of expand here"),
        (("dashboard", "nowhere"), 2, "no run of expand here"),
        (("dashboard", "nowhere", "--host", "0.0.0.0"), 2, "add --i-know"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["expand", *arguments])
    monkeypatch.setattr(signals, "leave", sys.exit)  # threads of other tests in this process are none of this one's
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == code and words in said and "Traceback" not in said, said
    assert said.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("run", "x3d_stepwise", "--gpus-per-trial", "1"), "GPU"), (("frobnicate",), "No such command")],
)
def test_a_mistake_ends_the_process_with_code_2(expand, arguments, words):
    done = expand(*arguments, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_target_below_the_start_is_said_before_anything_trains(expand, squares):
    done = expand(
        "run",
        STUDIES / "tiny.py",
        "--data",
        squares,
        "--workers",
        0,
        "--out",
        "run",
        "--set",
        "budget.targets_gmacs=0.00001",
    )
    assert done.returncode == 2 and "not above the start's cost" in done.stderr


def test_damaged_videos_are_named_and_can_be_left_out(expand, squares, tmp_path):
    import shutil

    data = tmp_path / "videos"
    shutil.copytree(squares, data)
    whole = (data / "train" / "at rest" / "0.avi").read_bytes()
    (data / "train" / "at rest" / "0.avi").write_bytes(whole[: len(whole) // 2])
    (data / "train" / "at rest" / "1.avi").write_bytes(b"")
    assert expand("data", "check", data).returncode == 0  # what is listed is told; only --strict makes it an error
    check = expand("data", "check", data, "--strict")
    assert (
        check.returncode == 1 and "0.avi" in check.stdout and "1.avi" in check.stdout and "2 problems" in check.stdout
    )
    settings = ("run", STUDIES / "tiny.py", "--data", data, "--workers", 0, "--out", "run", "--set", "budget.steps=0")
    refused = expand(*settings, "--set", "data.strict=true")
    assert refused.returncode == 1 and ".avi" in refused.stderr and "data.strict" in refused.stderr
    done = expand(*settings, "--out", "other")
    assert done.returncode == 0 and "left out: 2 of 24 training videos (8.3%), damaged" in done.stdout, done.stderr


def test_list_and_doctor(expand):
    listed = json.loads(expand("list", "--json").stdout)
    assert "x3d_stepwise" in listed["studies"] and "x3d" in listed["search_spaces"]
    done = expand("doctor", "--json")
    findings = json.loads(done.stdout)
    assert {"torch", "cores", "decoder"} <= {finding["what"] for finding in findings} and done.returncode == 0


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and those below it, each with the words that call it."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL_COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL_COMMANDS, ids=lambda path: " ".join(("expand", *path)))
def test_every_help_ends_with_examples_that_parse(path):
    epilog = ALL_COMMANDS[path].epilog or ""
    assert epilog.startswith("Such as: expand ")
    for example in epilog.removeprefix("Such as: ").split(", expand "):
        words = shlex.split(example.removeprefix("expand "))
        assert tuple(words[: len(path)]) == path, example
        parses(ALL_COMMANDS[()], words)


def test_commands_are_listed_as_a_user_meets_them():
    group = ALL_COMMANDS[()]
    listed = group.list_commands(None)
    assert listed[:5] == ["list", "run", "plan", "status", "report"] and set(listed) == set(group.commands)
    panels = [group.commands[name].rich_help_panel for name in listed]
    assert None not in panels and panels == sorted(panels, key=panels.index)  # each is one block


def parses(command: Any, words: list[str], parent: Any = None) -> None:
    """Reads the words as the command line would, and calls nothing.

    Raises:
        UsageError: of the parser, as for an option that does not exist.
    """
    context = command.make_context(words[0] if words else "expand", list(words), parent=parent)
    if hasattr(command, "commands"):
        _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parses(found, rest, context)


def test_an_example_with_a_wrong_option_would_be_seen():
    with pytest.raises(Exception, match="No such option"):
        parses(ALL_COMMANDS[()], ["run", "x3d_stepwise", "--framse", "3"])
