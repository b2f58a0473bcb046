"""What scores are worth: tau by hand and by SciPy, and what must be shown before one may steer."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from expand.core.errors import UsageError
from expand.core.trial import Cost
from expand.counting.cost import cost_of
from expand.replay.ranks import Measured as M
from expand.replay.ranks import Trained, _order, _partial, _tau, of_table, ranks, verdict
from expand.replay.table import Table
from search_spaces.x3d import X3DSpace
from tests.replay.test_replay import TABLE


def trained(top1, macs) -> Trained:
    names = tuple(X3DSpace().architecture(frames=n + 1) for n in range(len(top1)))
    return Trained("made up", names, np.array(top1, float), np.array(macs, float), (1, 1), lambda name, network: 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_tau_is_scipys_also_with_ties_and_with_networks_that_are_drawn_twice(seed: int) -> None:
    generator = np.random.default_rng(seed)
    one, other = generator.integers(0, 6, (2, 15)).astype(float)
    times = generator.multinomial(15, np.full(15, 1 / 15), size=3)
    drawn = _tau(_order(one), _order(other), times.astype(float))
    for own, count in zip(drawn, times, strict=True):
        rows = np.repeat(np.arange(15), count)
        assert own == pytest.approx(kendalltau(one[rows], other[rows]).statistic)


def test_a_score_that_tells_nothing_apart_has_no_rank() -> None:
    assert _tau(_order(np.ones(9)), _order(np.arange(9.0)), np.ones((1, 9)))[0] == 0


def test_a_score_steers_only_if_it_beats_multiply_adds_beyond_chance() -> None:
    generator = np.random.default_rng(3)
    top1 = generator.uniform(size=40)
    known = trained(top1, np.exp(top1 + generator.normal(scale=0.5, size=40)))
    like_macs = known.macs + generator.normal(scale=0.01, size=40)
    found = {
        rank.score: rank for rank in ranks(known, {"macs": known.macs, "good": top1, "same": like_macs, "bad": -top1})
    }
    assert {name: rank.verdict for name, rank in found.items()} == {
        "macs": "what to beat", "good": "may steer", "same": "not shown to beat macs", "bad": "worse than macs",
    }  # fmt: skip
    assert found["good"].tau.value == 1 and found["bad"].tau.value == -1
    assert found["good"].gain.value == pytest.approx(1 - found["macs"].tau.value)
    assert 0 < found["good"].gain.low < found["good"].gain.value < found["good"].gain.high
    assert found["macs"].gain == M(0, 0, 0)


def test_the_verdict_needs_the_whole_interval() -> None:
    assert verdict("a", M(0.2, 0.01, 0.3)) == "may steer"
    assert verdict("a", M(0.2, -0.01, 0.3)) == "not shown to beat macs"
    assert verdict("a", M(-0.2, -0.3, -0.01)) == "worse than macs"


def test_at_equal_cost_only_pairs_of_about_the_same_cost_count() -> None:
    """Five pairs of networks, each ten times as expensive as the one before: a score that grows with the cost but orders every
    pair the wrong way round ranks well overall and -1 at equal cost."""
    macs = [10**pair * (1 + 0.3 * second) for pair, second in itertools.product(range(5), (0, 1))]
    top1 = [pair + second for pair, second in itertools.product(range(5), (0.0, 0.5))]
    score = [pair - second for pair, second in itertools.product(range(5), (0.0, 0.5))]
    (rank, plain) = ranks(trained(top1, macs), {"wrong": np.array(score), "macs": np.array(macs, float)})
    assert rank.tau.value == pytest.approx((40 - 5) / 45) and rank.near.value == -1
    assert plain.tau.value == plain.near.value == 1


def test_given_the_cost_a_score_that_only_follows_it_has_nothing_to_say() -> None:
    top1 = np.random.default_rng(0).uniform(size=30)
    macs = np.exp(top1 + np.random.default_rng(1).normal(scale=0.3, size=30))
    follows, adds = ranks(trained(top1, macs), {"follows": np.log(macs), "adds": top1 - 0.5 * np.log(macs)})
    assert follows.partial == 0 and adds.partial > 0.1
    assert _partial(0.5, 0.6, 0.4) == pytest.approx((0.5 - 0.24) / np.sqrt(0.64 * 0.84))


def test_few_networks_have_no_ranks() -> None:
    with pytest.raises(UsageError, match="made up: 7 networks with a finished training; ranks need at least 8"):
        ranks(trained(range(7), range(1, 8)), {})


def test_a_table_knows_its_networks_scores_and_how_many_classes_they_tell_apart() -> None:
    space = X3DSpace(frames=2, resolution=32, width=0.2, depth=0.2)
    networks = tuple(space.architecture(width=width) for width in (0.1, 0.2, 0.3))
    table = Table("real", space, networks, tuple(cost_of(space, each, 7) for each in networks), np.zeros((3, 2, 1)), 40)
    assert table.classes == 7
    known = of_table(replace(table, curves=np.array([[[0.1], [0.3]], [[0.4], [0.4]], [[0.5], [0.7]]])))
    assert known.top1.tolist() == pytest.approx([0.2, 0.4, 0.6]) and known.seeds == (2, 2)
    assert known.score("macs", networks[1]) == table.costs[1].macs and known.score("entropy", networks[0]) > 0
    assert known.macs.tolist() == [cost.macs for cost in table.costs]


def test_costs_that_fit_no_number_of_classes_leave_the_published_one() -> None:
    assert TABLE.classes == TABLE.space.num_classes
    odd = replace(TABLE, costs=(Cost(1, 10**9 + 1, 0, 0, ()), *TABLE.costs[1:]))
    assert odd.classes == TABLE.space.num_classes
