"""Frozen values as JSON and back."""

from __future__ import annotations

import json

import pytest

from expand.core.attempt import Attempt, Epoch, Fault, InheritedWeights, InitialWeights, Speed
from expand.core.outcome import Completed, Failed, Halted, Infeasible, Retry
from expand.core.trial import Metrics
from expand.storage.facts import StudyFacts
from expand.storage.serialize import from_plain, outcome_from_text, outcome_to_text, to_plain

SPEED = Speed(1.0, 0.1, False, 1, 1, 3, "float32", "cpu", 0)
ATTEMPT = Attempt(
    2,
    "cpu",
    1,
    {"Block": "0f"},
    ("a note",),
    7,
    0.5,
    SPEED,
    InitialWeights("w", "expand", 3, ("a",)),
    InheritedWeights(1, 0.25, ("depth",)),
    "n",
)


@pytest.mark.parametrize(
    "outcome",
    [
        Completed(Metrics(0.5, 1.0, 1.0, 12, 1), ATTEMPT, (Epoch(1, 2.0, 0.5, 1.5, 1, 0.1, 3.0),), 3.0),
        Failed("why", ATTEMPT, "line 1", 2.0),
        Infeasible(ATTEMPT),
        Halted("No space left on device"),
        Retry(Fault.MEMORY, "none left", ATTEMPT, "line 1", 2.0),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_an_outcome_comes_back_from_rays_edge_as_it_was(outcome):
    assert outcome_from_text(outcome_to_text(outcome)) == outcome


def test_younger_and_unknown_fields_are_no_mistake():
    assert from_plain({"epoch": 1, "loss": 2, "top1": 0.5, "colour": "red"}, Epoch) == Epoch(1, 2, 0.5)
    assert from_plain(to_plain(SPEED), Speed) == SPEED and {"ms_a_clip", "clips_a_second"} < set(to_plain(SPEED))


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"epoch": 1, "loss": 2.0}, "'top1' is missing"),
        ({"epoch": True, "loss": 2.0, "top1": 0.5}, "'epoch' is true, not a whole number"),
        ({"epoch": 1, "loss": "2", "top1": 0.5}, "'loss' is \"2\", not a number"),
        ([], "it is no object"),
    ],
)
def test_what_does_not_fit_is_named(plain, said):
    with pytest.raises(ValueError) as told:
        from_plain(plain, Epoch)
    assert str(told.value) == said


def test_the_path_to_what_does_not_fit_is_told():
    text = json.loads(outcome_to_text(Completed(Metrics(0.5, 1.0, 1.0, 12, 1), ATTEMPT)))
    with pytest.raises(ValueError, match=r"^'attempt.notes\[1\]' is 3, not a text$"):
        from_plain(text | {"attempt": {"notes": ["a", 3]}}, Completed)
    with pytest.raises(ValueError, match=r"^'attempt.notes' is no list$"):
        from_plain(text | {"attempt": {"notes": "a"}}, Completed)
    with pytest.raises(ValueError, match=r"^'metrics.views' is missing$"):
        from_plain(text | {"metrics": {"top1": 0.5, "top5": 1.0, "loss": 1.0, "clips": 12}}, Completed)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ([], "it is no object"),
        ({"a.mp4": "class, split, SHA-256"}, "'a.mp4' is no list"),
        ({"a.mp4": ["class", "split"]}, "'a.mp4' has 2 entries, not 3"),
        ({"a.mp4": ["class", 3, "SHA-256"]}, "'a.mp4[1]' is 3, not a text"),
    ],
)
def test_what_does_not_fit_in_a_mapping_is_named(plain, said):
    with pytest.raises(ValueError) as caught:
        from_plain(plain, dict[str, tuple[str, str, str]])
    assert str(caught.value) == said


def test_a_value_that_its_own_class_refuses_is_named_with_what_is_allowed():
    with pytest.raises(ValueError, match=r"^'recipe' recipe\.epochs=0: at least 1$"):
        from_plain({"name": "x", "objectives": [], "seeds": [0], "recipe": {"epochs": 0}}, StudyFacts)
