"""`expand bench`: its table, its JSON, and what it refuses."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from expand.core.errors import UsageError
from expand.replay.show import show_bench
from expand.replay.table import save
from expand.strategies.halving import gaps_to_front
from tests.replay.test_replay import made_table


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("table") / "table.json.gz"
    save(made_table(), place)
    return place


def test_a_row_for_each_strategy_and_budget_and_one_to_compare_with(path) -> None:
    console = Console(file=io.StringIO(), width=140)
    show_bench(["evolved", "halving"], path, (0.2, 0.4), 4, 1, console)
    text = console.file.getvalue()
    assert "made up: 64 networks, 3 seeds, 16 epochs; 4 replays" in text
    assert text.count("evolved") == text.count("halving") == 2 and "all, one seed" in text


def test_the_same_as_json(path, capsys) -> None:
    show_bench(["random"], path, (0.3,), 4, 1, None)
    plain = json.loads(capsys.readouterr().out)
    full, random = plain["rows"]
    assert plain["repeats"] == 4 and full["spent"] == 1 and 0.2 < random["spent"] <= 0.3
    assert random["regret"]["low"] <= random["regret"]["mean"] <= random["regret"]["high"]


@pytest.mark.parametrize(
    ("names", "shares", "words"),
    [
        (["guidde"], (0.2,), "did you mean 'guided'"),
        (["random"], (0.0,), "--share 0: above 0"),
        (["random"], (0.001,), "too small"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(path, names, shares, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        show_bench(names, path, shares, 2, 1, None)
    assert "\n" not in str(caught.value)


def test_the_gap_is_to_the_best_that_costs_no_more() -> None:
    costs = np.array([[1.0], [2.0], [3.0]])
    assert gaps_to_front(costs, np.array([0.3, 0.5, 0.4])).tolist() == [np.inf, pytest.approx(0.2), pytest.approx(-0.1)]
