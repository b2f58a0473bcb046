"""A run of one of our own studies keeps its values when a newer version has others."""

from __future__ import annotations

from dataclasses import replace

from tiny_records import facts_of

from expand.config.request import Request
from expand.core.study import Study
from expand.storage.facts import Facts
from expand.storage.serialize import from_plain, to_plain
from expand.storage.stored_study import as_begun, classes_of
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace

REQUEST = Request("x3d_stepwise", settings=("budget.steps=2",))


def begun_by_an_older_version() -> tuple[Study, Facts]:
    """Another recipe and strategy, and a space whose younger field was not written yet."""
    now = REQUEST.study()
    assert isinstance(now.space, X3DSpace)
    recipe = replace(now.recipe, epochs=16, updates=0)
    space = replace(now.space, even_head=False)
    old = replace(now, space=space, strategy=Stepwise(), seeds=(0,), recipe=recipe)
    kept = facts_of(old, reference="x3d_stepwise", classes=classes_of(old), settings=REQUEST.settings)
    plain = to_plain(kept)
    del plain["study"]["space"]["even_head"], plain["study"]["strategy"]["screen"]
    return old, from_plain(plain, Facts)


def test_the_same_request_goes_on_with_the_values_of_the_run():
    old, facts = begun_by_an_older_version()
    assert as_begun(REQUEST, facts) == old != REQUEST.study()


def test_another_request_or_somebody_elses_study_gets_what_it_asks_for():
    _, facts = begun_by_an_older_version()
    other = replace(REQUEST, settings=("budget.steps=1",))
    assert as_begun(other, facts) == other.study()
    assert as_begun(REQUEST, None) == REQUEST.study()
    assert as_begun(REQUEST, replace(facts, reference="./x3d_stepwise.py")) == REQUEST.study()
