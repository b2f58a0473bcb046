"""The front by a model of all finished trainings, beside the measured one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expand.core.study import Objective
from expand.core.trial import Cost, Suggestion, Trial
from expand.report.candidates import candidates
from expand.report.expected import FEWEST, expected_lines, expected_markdown, expected_of
from expand.testing.simulated_search import ended, opened
from search_spaces.c3d import GROUPS, C3DSpace

SPACE = C3DSpace()
OBJECTIVES = (Objective("top1", "maximize"), Objective("gmacs", "minimize", known_before_training=True))
LUCKY = 5


def trials(count: int = 12) -> list[Trial]:
    """Networks whose accuracy grows slowly and smoothly with their cost; one was lucky by 15 points."""
    found = []
    for number in range(count):
        depths = [1 + 2 * ((number + place) // 5) for place in range(5)]
        network = SPACE.architecture(**dict(zip([f"{group}_depth" for group in GROUPS], depths, strict=True)))
        top1 = 0.5 + 0.01 * number + 0.15 * (number == LUCKY)
        trial = ended(opened(number, Suggestion(network, 4, 0, kind="sample")), top1)
        found.append(replace(trial, cost=Cost(1_000_000 * (number + 1), 10, 10, 10, ())))
    return found


def found(count: int = 12):
    return expected_of(candidates(trials(count), (0,)), trials(count), OBJECTIVES)


def test_a_lucky_training_is_drawn_towards_networks_like_it():
    entries = found()
    assert [entry.candidate.cost.macs for entry in entries] == [1_000_000 * (number + 1) for number in range(12)]
    lucky = entries[LUCKY]
    assert lucky.candidate.top1 == pytest.approx(0.70) and lucky.top1 < 0.67
    assert lucky.measured_front
    # Each network is better than the one before it, until the lucky one, which the rest do not reach.
    assert [entry.measured_front for entry in entries] == [number <= LUCKY for number in range(12)]
    assert all(abs(entry.top1 - (entry.candidate.top1 or 0)) < 0.06 for entry in entries if entry is not lucky)


def test_the_text_names_both_fronts():
    entries = found()
    lines = expected_lines(entries)
    assert lines[0].startswith("by a model of all 12 finished networks the front is: trial 0 ")
    rows = expected_markdown(entries, 640).splitlines()
    assert any("| trial 5 |" in row and "| 70.0 |" in row for row in rows)
    assert "Top-1 on 640 validation clips" in "\n".join(rows)


def test_with_few_networks_nothing_is_claimed():
    assert found(FEWEST - 1) == () and len(found(FEWEST)) == FEWEST
    assert expected_lines(()) == []


def test_more_seeds_are_trusted_more():
    first = trials()
    seeds = (0, 1, 2, 3)
    more = [
        replace(trial, number=100 * seed + trial.number, suggestion=replace(trial.suggestion, seed=seed))
        for seed in seeds[1:]
        for trial in first
    ]
    one = expected_of(candidates(first, (0,)), first, OBJECTIVES)[LUCKY]
    four = expected_of(candidates([*first, *more], seeds), [*first, *more], OBJECTIVES)[LUCKY]
    assert four.top1 > one.top1 + 0.02
