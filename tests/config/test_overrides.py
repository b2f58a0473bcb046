"""Whatever is typed behind --set: a study that is written down and read as the same, or one error."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from expand.config.fields import study_fields
from expand.config.loading import load_study
from expand.config.overrides import limited, override
from expand.config.serialize import describe, differences
from expand.core.errors import UsageError
from expand.core.study import LAYOUTS
from expand.data.sources import detect

STUDY = load_study("x3d_stepwise")
NAMES = [field.name for field in study_fields(STUDY)]
VALUES = some.text(max_size=12) | some.sampled_from(
    ["", "none", "true", "0", "1", "-1", "2.5", "1e999", "nan", "0.5,0.7", "(1, 2)", "[[1, 2]]", "cosine", "9" * 5000]
)


@settings(max_examples=50)
@given(some.sampled_from(NAMES) | some.text(max_size=12), VALUES)
@example("data.mirrored", "[" * 100_000)
@example("objectives.gmacs.limit", "2")
@example("objectives.gmacs", "2")
@example("recipe..epochs", "2")
def test_any_setting_is_a_study_that_can_be_written_down_or_one_usage_error(name, text):
    try:
        changed = override(STUDY, [f"{name}={text}"])
    except UsageError:
        return
    written = describe(STUDY), json.loads(json.dumps(describe(changed), allow_nan=False))
    assert describe(changed) == written[1] and not differences(written[1], describe(changed))
    assert bool(differences(*written)) == (changed != STUDY)


@settings(max_examples=50)
@given(some.text(max_size=12) | some.tuples(some.sampled_from(["gmacs", "top1"]), VALUES).map("<=".join))
def test_any_limit_is_a_study_or_one_usage_error(text):
    try:
        assert limited(STUDY, [text]) != STUDY
    except UsageError:
        return


def test_a_layout_that_does_not_exist_is_refused_without_videos_too():
    assert {layout.name for layout in detect.LAYOUTS} == set(LAYOUTS)
    assert override(STUDY, ["data.layout=ucf101"]).data.layout == "ucf101"
    with pytest.raises(UsageError, match=r"data\.layout=nope: ucf101, .*, or none to detect it"):
        override(STUDY, ["data.layout=nope"])
