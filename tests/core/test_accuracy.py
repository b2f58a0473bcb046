"""How accuracies are written, alike everywhere, and what so many clips can tell."""

from __future__ import annotations

import io
import json
import math
from fractions import Fraction

import numpy
import pytest
from browser import CHROMIUM, browser
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as some
from rich.console import Console

from expand.core.accuracy import percent, resolution, resolution_text, with_error
from expand.core.attempt import Epoch
from expand.core.space import Architecture
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.monitoring.progress import PlainLines
from expand.report.tables import show_top1


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (122 / 160, "76.3"),
        (0.1175, "11.8"),
        (0.76249999, "76.3"),
        (1 / 3, "33.3"),
        (0, "0.0"),
        (1, "100.0"),
        (0.0005, "0.1"),
    ],
)
def test_half_a_tenth_is_rounded_up(fraction, text):
    assert percent(fraction) == text


@settings(max_examples=300)
@given(some.integers(1, 1000).flatmap(lambda clips: some.tuples(some.integers(0, clips), some.just(clips))))
def test_every_count_of_clips_is_rounded_as_on_paper(counted):
    right, clips = counted
    expected = math.floor(Fraction(1000 * right, clips) + Fraction(1, 2))  # tenths of a percent, half up
    for fraction in (right / clips, round(right / clips, 6)):
        assert percent(fraction) == f"{expected // 10}.{expected % 10}"


def test_signs_and_errors():
    assert [percent(value, signed=True) for value in (0.01, -0.0125, -0.0004, 0.0)] == ["+1.0", "-1.3", "+0.0", "+0.0"]
    assert (with_error(0.7625, 0.0336), with_error(0.5, None)) == ("76.3 ± 3.4", "50.0")


def test_tables_lines_and_notes_print_the_same_number():
    metrics = Metrics(0.7625, 0.9, 1.0, 160, 1)
    suggestion = Suggestion(Architecture("c3d", ()), 3, 0)
    trial = Trial(4, TrialState.COMPLETE, suggestion, Cost(1, 1, 1, 1, ()), metrics)
    console = Console(file=io.StringIO(), width=200)
    lines = PlainLines(console)
    lines.ended(trial)
    lines.epoch(trial, Epoch(1, 1.0, 0.7625, seconds=1.0))
    assert "top-1 76.3 % ± 3.4" in console.file.getvalue() and "top-1 76.3 % eta" in console.file.getvalue()
    assert show_top1(0.7625, 0.0336, TrialState.COMPLETE) == "76.3 ± 3.4"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the page's own rounding cannot be run")
def test_the_page_rounds_the_same(tmp_path):
    script = (ROOT / "expand/report/assets/charts.js").read_text(encoding="utf-8")
    fractions = [right / clips for clips in (40, 160, 999) for right in range(clips + 1)] + [
        -0.0125,
        -0.0004,
        0.76249999,
    ]
    with browser(tmp_path / "profile") as page:
        shown = page.value(f"{script};\n{json.dumps(fractions)}.map((value) => [percent(value), points(value)])")
    expected = [[percent(f), percent(f, signed=True)] for f in fractions]
    assert [[text.replace("−", "-") for text in pair] for pair in shown] == expected


def test_what_160_clips_can_tell():
    assert resolution(160) == pytest.approx(2 * (2 * 0.25 / 160) ** 0.5) == pytest.approx(0.1118, abs=1e-4)
    assert resolution(640) == resolution(160) / 2 and resolution(160, 0.9) < resolution(160)
    assert "160 validation clips" in resolution_text(160) and "11.2 points" in resolution_text(160)


def test_equal_networks_differ_by_more_in_about_5_of_100_cases():
    random = numpy.random.default_rng(0)
    first, second = random.binomial(160, 0.5, (2, 20_000)) / 160
    assert 0.035 < (abs(first - second) > resolution(160)).mean() < 0.055
