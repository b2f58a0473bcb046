"""`expand scores`: networks' scores, what they are worth on a table or a run, and what it refuses in one line."""

from __future__ import annotations

import json

import pytest
from conftest import STUDIES
from tiny_records import facts_of

from expand.cli.score_tables import show_ranks, show_scores
from expand.core.errors import UsageError
from expand.core.outcome import Completed
from expand.core.study import Study
from expand.core.trial import Metrics, Suggestion
from expand.counting.cost import cost_of
from expand.replay.table import save
from expand.storage import run_directory as records
from expand.storage.stored_study import classes_of
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace
from tests.replay.test_replay import TABLE

SPACE = X3DSpace(frames=1, stride=2, resolution=16, width=0.2, depth=0.2)
NETWORKS = tuple(SPACE.architecture(width=round(0.1 + 0.05 * number, 2)) for number in range(9))


def test_the_scores_of_all_published_points(capsys) -> None:
    show_scores("c3d", [], None, [], None, as_json=False)
    text = capsys.readouterr().out
    assert "c3d, 101 classes" in text and "increasing" in text and "189.7" in text and "C3D: convolutions=8" in text


def test_the_scores_of_one_network_as_json(capsys) -> None:
    show_scores("x3d", ["frames=2", "width=0.3"], None, ["params", "entropy", "params"], 7, as_json=True)
    plain = json.loads(capsys.readouterr().out)
    (network,) = plain["networks"]
    space = X3DSpace()
    assert plain["classes"] == 7 and network["point"] is None and network["architecture"]["frames"] == 2
    assert list(network["scores"]) == ["params", "entropy"]
    assert network["scores"]["params"] == cost_of(space, space.architecture(frames=2, width=0.3), 7).params


def test_a_point_with_other_values(capsys) -> None:
    show_scores("x3d", ["frames=3"], "XS", ["macs"], None, as_json=True)
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["point"] == "XS" and network["architecture"]["frames"] == 3


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    place = tmp_path_factory.mktemp("table") / "table.json.gz"
    save(TABLE, place)
    return place


def test_what_scores_are_worth_on_a_table(table, capsys) -> None:
    show_ranks(table, ["entropy"], as_json=False)
    text = capsys.readouterr().out
    assert "made up: 64 networks, top-1 is the mean of 3 seeds" in text and "minus macs" in text
    rows = [line.split()[0] for line in text.splitlines() if line and line.split()[0] in ("macs", "entropy", "params")]
    assert rows == ["macs", "entropy"] and max(map(len, text.splitlines())) <= 80
    show_ranks(table, ["entropy"], as_json=True)
    plain = json.loads(capsys.readouterr().out)
    macs, entropy = plain["scores"]
    assert (macs["score"], macs["verdict"], macs["may_steer"]) == ("macs", "what to beat", False)
    assert entropy["may_steer"] is (entropy["gain"]["low"] > 0) and -1 <= entropy["near"]["value"] <= 1
    assert entropy["tau"]["low"] <= entropy["tau"]["value"] <= entropy["tau"]["high"]
    assert len(plain["networks"]) == 64 and plain["networks"][0]["top1"] == pytest.approx(TABLE.truth[0], abs=1e-4)
    assert plain["networks"][5]["scores"]["macs"] == TABLE.costs[5].macs


def recorded(folder, seeds) -> None:
    """A run that trained NETWORKS: number n with `seeds[n]` seeds, each accuracy growing with the number and the seed."""
    study = Study("test", SPACE, Stepwise(), seeds=(0, 1))
    facts = facts_of(study, classes=classes_of(study))
    with records.open_for_writing(folder, facts, study) as record:
        for number, network in enumerate(NETWORKS):
            for seed in range(seeds[number]):
                suggestion = Suggestion(network, epochs=12, seed=seed)
                trial = record.open_trial(suggestion, cost_of(SPACE, network, 2), SPACE)
                record.complete(trial, Completed(Metrics(0.1 * number + 0.02 * seed, 1.0, 1.0, 40, 1)))


def test_what_scores_are_worth_on_a_run(tmp_path, capsys) -> None:
    recorded(tmp_path / "run", (1, 2, 2, 2, 2, 2, 2, 2, 2))
    show_ranks(tmp_path / "run", ["params"], as_json=True)
    plain = json.loads(capsys.readouterr().out)
    assert plain["table"] == "test" and plain["seeds"] == [1, 2] and len(plain["networks"]) == 9
    assert [network["top1"] for network in plain["networks"][:3]] == pytest.approx([0.0, 0.11, 0.21])
    assert [score["tau"]["value"] for score in plain["scores"]] == [
        1,
        1,
    ]  # both grow with the width, as the accuracies do
    assert plain["networks"][0]["scores"]["params"] == cost_of(SPACE, NETWORKS[0], 2).params
    show_ranks(tmp_path / "run", ["params"], as_json=False)
    assert "top-1 is the mean of 1 to 2 seeds" in capsys.readouterr().out


def test_a_run_of_few_networks_has_no_ranks(tmp_path) -> None:
    recorded(tmp_path / "run", (1, 1, 0, 0, 0, 0, 0, 0, 0))
    with pytest.raises(UsageError, match="test: 2 networks with a finished training; ranks need at least 8"):
        show_ranks(tmp_path / "run", [], as_json=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "which networks? name a search space"),
        (("x3d", "--table", "t.json.gz"), "--table brings its own networks"),
        (("--table", "t.json.gz", "--classes", 3), "--table brings its own networks"),
        (("--table", "t.json.gz"), "t.json.gz: no such table"),
        (("--table", STUDIES), "no run of expand here"),
        (("x3d", "--score", "entropi"), "unknown score 'entropi'; did you mean 'entropy'?"),
        (("--table", "t.json.gz", "--score", "zen"), "unknown score 'zen'"),
        (("x3d", "--point", "Q"), "unknown"),
        (("x3d", "--trust"), "--trust is for a run: --table RUN"),
        (("x4d",), "did you mean 'x3d'"),
    ],
)
def test_what_cannot_be_scored_is_one_line(expand, arguments, words) -> None:
    done = expand("scores", *arguments)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
