"""Replays on a table: what a strategy sees, what it pays, and how it is judged."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from expand.config.loading import load_space
from expand.core.errors import UsageError
from expand.core.trial import Cost, TrialState
from expand.replay.bench import bench, front_area, intervals_over_networks, once
from expand.replay.replay import agreement, all_once, choices, grid, regret, replay
from expand.replay.table import Table, TableSpace, load, save
from expand.strategies.evolved import Evolved
from expand.strategies.guided import Guided
from expand.strategies.optuna_sampler import OptunaSampler
from search_spaces.c3d import C3DSpace
from tests.strategies.test_guided import kernels

SPACE = C3DSpace()
EPOCHS = 16


def made_table(seeds: int = 3, noise: float = 0.02, number: int = 0) -> Table:
    """64 networks whose accuracy grows with the temporal lengths of their first two kernels only; curves rise to it evenly."""
    generator = np.random.default_rng(number)
    depths = [
        dict(zip(("conv1_depth", "conv2_depth", "conv3_depth"), each, strict=True))
        for each in itertools.product((1, 3, 5, 7), repeat=3)
    ]
    networks = tuple(SPACE.architecture(**each) for each in depths)
    costs = tuple(Cost(kernels(network), 10 * kernels(network), 0, 0, ()) for network in networks)
    ends = np.array([0.2 + 0.05 * each["conv1_depth"] + 0.03 * each["conv2_depth"] for each in depths])
    seen = np.clip(ends[:, None] + noise * generator.standard_normal((len(depths), seeds)), 0, 1)
    curves = seen[:, :, None] * (0.4 + 0.6 * np.arange(1, EPOCHS + 1) / EPOCHS)
    return Table("made up", SPACE, networks, costs, curves, 640, "by a formula")


TABLE = made_table()


def test_a_table_comes_back_from_its_file_and_the_file_is_always_the_same(tmp_path) -> None:
    save(TABLE, tmp_path / "one.json.gz")
    save(TABLE, tmp_path / "two.json.gz")
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()
    back = load(tmp_path / "one.json.gz", load_space)
    assert (back.name, back.space, back.networks, back.clips) == (TABLE.name, TABLE.space, TABLE.networks, TABLE.clips)
    assert np.abs(back.curves - TABLE.curves).max() < 1e-5
    assert [cost.macs for cost in back.costs] == [cost.macs for cost in TABLE.costs]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x1f\x8b broken"])
def test_what_is_no_table_is_one_line(tmp_path, content) -> None:
    path = tmp_path / "table.json.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"no such table|no table of trained networks") as caught:
        load(path, load_space)
    assert "\n" not in str(caught.value)


def test_only_networks_of_the_table_are_searched() -> None:
    played = replay(TABLE, Evolved(values=0), 0.5)
    assert {trial.architecture for trial in played.trials} <= set(TABLE.networks)
    assert SPACE.architecture(conv5_depth=1) not in TableSpace(TABLE).table.index


@pytest.mark.parametrize("strategy", [Guided(values=0, pauses="always"), Guided(values=0), Evolved(values=0)])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_replay_spends_no_more_than_its_budget(strategy, workers) -> None:
    played = replay(TABLE, strategy, 0.3, workers=workers)
    spent = sum(trial.cost.gmacs * trial.reached for trial in played.trials) / (TABLE.gmacs.sum() * EPOCHS)
    assert played.spent == pytest.approx(spent) and 0.05 < spent <= 0.3 + 1e-9
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PAUSED) for trial in played.trials)


def test_a_trial_shows_the_tables_curve_up_to_its_stop() -> None:
    played = replay(TABLE, Guided(values=0, pauses="always"), 0.2, seed=4)
    for trial in played.trials:
        rows = TABLE.curves[TABLE.index[trial.architecture]]
        curve = [entry.top1 for entry in trial.curve]
        assert any(curve == row[: len(curve)].tolist() for row in rows)
        assert trial.reached == len(curve) == trial.suggestion.last_epoch


def test_the_same_seed_is_the_same_replay_and_another_is_not() -> None:
    one, again, other = (replay(TABLE, Evolved(values=0, seed=seed), 0.3, seed=seed) for seed in (1, 1, 2))
    assert one.trials == again.trials and one.trials != other.trials


def test_choosing_by_the_truth_has_no_regret_and_choosing_nothing_loses_all() -> None:
    assert regret(TABLE, choices(TABLE, TABLE.truth)) == 0
    nothing = np.full(len(grid(TABLE)), -1)
    truth = TABLE.truth
    assert regret(TABLE, nothing) == pytest.approx(np.mean(truth[choices(TABLE, truth)]) - truth.min())
    assert agreement(nothing, nothing) == 1 and agreement(nothing, choices(TABLE, truth)) == 0


def test_at_each_cost_the_best_network_within_it_is_chosen() -> None:
    shown = np.full(len(TABLE.networks), np.nan)
    cheap, dear = int(np.argmin(TABLE.gmacs)), int(np.argmax(TABLE.gmacs))
    shown[[cheap, dear]] = 0.5, 0.4
    assert set(choices(TABLE, shown)) == {cheap}
    shown[dear] = 0.6
    chosen = choices(TABLE, shown)
    assert chosen[0] == cheap and chosen[-1] == dear and set(chosen) == {cheap, dear}


def test_guided_needs_less_than_evolution_and_the_rows_say_so() -> None:
    strategies = {
        "guided": lambda seed: Guided(values=0, seed=seed),
        "evolved": lambda seed: Evolved(values=0, seed=seed),
    }
    guided, evolved = bench(TABLE, strategies, [0.2], repeats=8)
    assert guided.regret.mean < evolved.regret.mean
    assert guided.regret.low <= guided.regret.mean <= guided.regret.high
    assert guided.infeasible == evolved.infeasible == guided.repeated == evolved.repeated == 0
    assert guided.spent <= 0.2 + 1e-9


def test_all_once_is_what_it_is_compared_with() -> None:
    row = once(TABLE, 50)
    assert row.excess.mean == 0 and 0 < row.agreement.mean < 1 and row.reached[0] == 1
    assert row.regret.mean == pytest.approx(np.mean([all_once(TABLE, seed).regret for seed in range(50)]))
    assert front_area(TABLE, choices(TABLE, TABLE.truth)) > front_area(TABLE, all_once(TABLE, 0).choice)


def test_the_wider_interval_holds_other_networks_too() -> None:
    wide = intervals_over_networks(TABLE, lambda seed: Evolved(values=0, seed=seed), 0.3, draws=6, repeats=2)
    assert wide.low <= wide.mean <= wide.high and wide.high > wide.low


@pytest.mark.heavy
@pytest.mark.parametrize("make", [
    lambda: Guided(values=0, pauses="always"), lambda: Evolved(values=0),
    lambda: OptunaSampler("tpe", values=0), lambda: OptunaSampler("nsga2", values=0),
])  # fmt: skip
def test_five_hundred_asks_train_nothing_twice_or_beyond_the_limit(make) -> None:
    tables = [made_table(number=number) for number in range(12)]
    asks = 0
    for table in tables:
        played = replay(table, make(), 0.9)
        asks += len(played.trials)
        assert len({trial.architecture for trial in played.trials}) == len(played.trials)
        assert max(trial.cost.gmacs for trial in played.trials) <= table.gmacs.max()
        if asks >= 500:
            break
    assert asks > 300


def test_a_table_with_one_seed_is_a_table() -> None:
    single = replace(TABLE, curves=TABLE.curves[:, :1])
    assert replay(single, Evolved(values=0), 0.2).regret >= 0
