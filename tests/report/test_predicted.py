"""What a model predicted against what was measured."""

from __future__ import annotations

from dataclasses import replace

from scipy.stats import kendalltau

from expand.core.trial import Suggestion, Trial
from expand.report.predicted import compare_predictions, predicted_lines, predicted_markdown
from expand.testing.simulated_search import ended, opened
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace()
PREDICTED = ((0.4, 0.05), (0.5, 0.05), (0.6, 0.05), (0.7, 0.05))
MEASURED = (0.42, 0.47, 0.9, 0.68)


def trial(number: int, predicted: tuple[float, float] | None, top1: float, until: int | None = None) -> Trial:
    network = SPACE.architecture(**SPACE.start.as_dict() | {"width": (0.5, 0.61, 0.68, 0.77, 0.86, 0.95)[number]})
    return ended(opened(number, Suggestion(network, 4, 0, predicted=predicted, until=until)), top1)


def trials() -> list[Trial]:
    found = [trial(number, *pair) for number, pair in enumerate(zip(PREDICTED, MEASURED, strict=True))]
    return [*found, trial(4, (0.3, 0.1), 0.0, until=0), trial(5, None, 0.5)]


def test_differences_ranks_and_intervals():
    found = compare_predictions(trials())
    assert found is not None
    assert [row.top1 for row in found.rows] == [*MEASURED, None]
    assert abs(found.error - (0.02 + 0.03 + 0.3 + 0.02) / 4) < 1e-12
    assert found.inside == 3  # 30 points are more than twice the root of 5² + 5²
    assert found.tau is not None
    assert abs(found.tau - kendalltau([mean for mean, _ in PREDICTED], MEASURED).statistic) < 1e-12


def test_the_text_says_what_was_left_out():
    found = compare_predictions(trials())
    assert found is not None
    text = predicted_markdown(found)
    assert "| 30.0 ± 10.0 | not trained to its end |" in text and "| +30.0 |" in text
    assert "3 of 4 within two standard deviations" in predicted_lines(found)[0]
    assert predicted_lines(found)[1].startswith("1 more")


def test_ties_count_as_scipy_counts_them():
    even = [replace(each, suggestion=replace(each.suggestion, predicted=(0.5, 0.1))) for each in trials()[:4]]
    found = compare_predictions([*even[:2], *trials()[2:4]])
    assert found is not None and found.tau is not None
    expected = kendalltau([0.5, 0.5, 0.6, 0.7], MEASURED).statistic
    assert abs(found.tau - expected) < 1e-12
    nothing = compare_predictions(even)
    assert nothing is not None and nothing.tau == 0.0


def test_without_predictions_there_is_nothing_to_compare():
    assert compare_predictions([trial(5, None, 0.5)]) is None
