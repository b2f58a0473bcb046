"""From names and texts to a study: what works, and the one line that says what does not."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import pytest
from conftest import STUDIES
from tiny_records import facts_of

from expand.config.loading import load_space, load_study, names_in
from expand.config.overrides import override
from expand.config.serialize import describe, differences
from expand.core.errors import UsageError
from expand.core.study import Budget, Data, Objective, Recipe
from expand.search.worker_plan import plan_workers
from expand.storage.facts import Facts, StudyFacts
from expand.storage.serialize import from_plain, to_plain
from expand.storage.stored_study import classes_of, request_of, study_differences


def test_every_study_of_ours_loads_at_every_scale_and_writes_out_as_json():
    for name in names_in("studies"):
        for scale in ("demo", "paper"):
            study = load_study(name, scale)
            assert study.scale == scale and study.name == name
            assert json.loads(json.dumps(describe(study))) == describe(study)
    for name in names_in("search_spaces"):
        assert load_space(name).name == name


def test_a_study_file_and_its_space_load_by_path():
    study = load_study(str(STUDIES / "tiny.py"))
    assert study.name == "tiny" and study.space.resolution == 16


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("recipe.epochs=30", lambda s: s.recipe.epochs == 30),
        ("recipe.nesterov=false", lambda s: s.recipe.nesterov is False),
        ("recipe.scale_jitter=1.0,1.25", lambda s: s.recipe.scale_jitter == (1.0, 1.25)),
        ("recipe.clip_gradient_norm=5", lambda s: s.recipe.clip_gradient_norm == 5.0),
        ("budget.steps=none", lambda s: s.budget.steps is None),
        ("budget.targets_gmacs=0.5,2", lambda s: s.budget.targets_gmacs == (0.5, 2.0)),
        ("seeds=0,1,2", lambda s: s.seeds == (0, 1, 2)),
        ("objectives.gmacs.limit=0.5", lambda s: s.objectives[1].limit == 0.5),
        ("strategy.growth=paper", lambda s: s.strategy.growth == "paper"),
        ('data.mirrored=[["pull in", "push, out"]]', lambda s: s.data.mirrored == (("pull in", "push, out"),)),
        ("data.mirrored=[]", lambda s: s.data.mirrored == ()),
        ("strategy.axes=frames,depth", lambda s: s.strategy.axes == ("frames", "depth")),
        ("space.resolution=64", lambda s: s.space.start["resolution"] == 64),
    ],
)
def test_set_reaches_every_kind_of_field(setting, read):
    assert read(override(load_study("x3d_stepwise"), [setting]))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("recipe.epoch=3", "did you mean 'epochs'"), ("recipe.epochs=three", "'three' is not a whole number"),
        ("recipe.nesterov=maybe", "true or false"), ("recipe=3", "is not"), ("recipe.epochs.x=3", "has no fields"),
        ("recipe.epochs", "name=value"), ("objectives.gmac.limit=3", "did you mean 'gmacs'"),
        ("strategy.growth=fast", "is not"), ("recipe.scale_jitter=1", "is not"), ("space.name=a", "space"),
        ('data.mirrored=[["a"]]', "is not"), ('data.mirrored=[["a", 1]]', "is not"), ("data.mirrored=a,b", "is not"),
        ("objectives.gmacs.limt=1", "did you mean 'limit'"),
        ("epochs=3", "'epochs'; did you mean recipe.epochs or budget.epochs"), ("crop=fixed", "did you mean recipe.crop"),
        ("limit=1", "objectives.top1.limit or objectives.gmacs.limit"), ("recipes=1", "did you mean 'recipe'"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_named(setting, words):
    with pytest.raises(UsageError, match=words):
        override(load_study("x3d_stepwise"), [setting])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["recipe.epochs=0"], "recipe.epochs=0: at least 1"), (["seeds=1,1"], "each once"), (["seeds="], "at least one"),
        (["budget.steps=-1"], "0 or more"), (["recipe.scale_jitter=0.8,1.2"], "smaller <= larger"),
        (["recipe.dropout=2"], "recipe.dropout=2.0: 0 to below 1"), (["recipe.crop_area=0,1"], "0 < smaller"),
        (["recipe.crop_aspect=2,1"], "narrower <= wider"), (["recipe.squeeze=0.9,1"], "height and width, at least 1"),
        (["recipe.colour_jitter=0,0,0,0.6"], "hue 0 to 0.5"), (["recipe.colour_jitter=2,0,0,0"], "saturation 0 to 1"),
        (["recipe.randaugment_operations=-1"], "0 or more"), (["recipe.randaugment_magnitude=11"], "0 to 10"),
        (["recipe.mixup=-1"], "recipe.mixup=-1.0: 0 or more"),
        (["objectives.top1.known_before_training=true"], "top1 is not"), (["space.resolution=4"], "allowed are 16"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_run_is_refused_before_anything_is_read(settings, words):
    with pytest.raises(UsageError, match=words):
        override(load_study("x3d_stepwise"), settings)


def test_settings_that_are_allowed_only_together_may_come_in_any_order():
    for settings in (["recipe.schedule=step", "recipe.decay_every=4"], ["recipe.momentum=0", "recipe.nesterov=false"]):
        assert override(load_study("x3d_stepwise"), settings) == override(load_study("x3d_stepwise"), settings[::-1])
    with pytest.raises(UsageError, match=r"recipe\.decay_every=0: above 0 with recipe\.schedule=step"):
        override(load_study("x3d_stepwise"), ["recipe.schedule=step"])
    assert override(load_study("x3d_stepwise"), ["recipe.epochs=3", "recipe.epochs=4"]).recipe.epochs == 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Recipe(epochs=0), r"^recipe\.epochs=0: at least 1$"),
        (lambda: Recipe(epochs="3"), r"^recipe\.epochs='3': wanted a whole number$"),
        (lambda: Budget(hours=float("nan")), r"^budget\.hours=nan: a finite number"),
        (lambda: Data(cache_side=8), r"^data\.cache_side=8: at least 16$"),
        (lambda: Objective("gmacs", "minimize"), r"^objectives\.gmacs\.known_before_training=False: costs are known"),
        (lambda: replace(load_study("x3d_stepwise"), seeds=()), r"^seeds=\(\): at least one"),
        (lambda: replace(load_study("x3d_stepwise"), strategy=None), r"^strategy=None: wanted"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_made(make, words):
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("x3d_stepwize", "did you mean 'x3d_stepwise'"), ("./nowhere.py", "there is no such file"),
        ("no_such_package.study", "no module"), ("json.decoder", r"has no function study\(\)"),
    ],
)  # fmt: skip
def test_an_unknown_study_is_named(reference, words):
    with pytest.raises(UsageError, match=words):
        load_study(reference)


def test_a_study_file_that_does_not_even_import_is_one_line(tmp_path):
    (tmp_path / "broken.py").write_text("def study(:\n")
    with pytest.raises(UsageError, match=r"broken.py.*line 1"):
        load_study(str(tmp_path / "broken.py"))
    (tmp_path / "lonely.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(UsageError, match=r"lonely.py.*no_such_module_anywhere"):
        load_study(str(tmp_path / "lonely.py"))


def test_a_run_from_before_a_field_was_there_is_the_same_experiment():
    now = StudyFacts.of(load_study("x3d_stepwise"))
    plain = to_plain(now)
    del plain["recipe"]["crop"], plain["recipe"]["mixup"], plain["data"]["mirrored"]
    old = from_plain(plain, StudyFacts)
    assert study_differences(old, now) == []
    other = StudyFacts.of(override(load_study("x3d_stepwise"), ["recipe.crop=fixed", "recipe.loader_workers=2"]))
    assert study_differences(old, other) == ["recipe.crop: scale_jitter in the run, fixed now"]


def test_a_study_that_was_an_object_is_built_again_from_study_json():
    for study in (load_study("x3d_stepwise"), override(load_study("mcx_split"), ["data.source=/videos"])):
        facts = facts_of(study, classes=classes_of(study), scale=study.scale)
        again = from_plain(json.loads(json.dumps(to_plain(facts))), Facts)
        assert again == facts and request_of(again).study() == study


def test_a_study_is_written_down_as_it_is_described():
    study = load_study("x3d_stepwise")
    plain = json.loads(json.dumps(to_plain(StudyFacts.of(study))))
    assert plain == describe(study) | {"data": describe(study.data) | {"source": "rendered"}}


def test_differences_name_the_field_and_both_values():
    old, new = (
        describe(override(load_study("x3d_stepwise"), s)) for s in ([], ["recipe.epochs=99", "space.width=0.6"])
    )
    lines = differences(old, new)
    assert len(lines) == 2 and "space.width: 0.5 in the run, 0.6 now" in lines
    assert any(line.startswith("recipe.epochs:") and line.endswith("99 now") for line in lines)


def test_what_is_no_plain_value_cannot_be_part_of_a_study():
    @dataclass(frozen=True)
    class Odd:
        thing: object = object()

    with pytest.raises(UsageError, match="plain values"):
        describe(Odd())


def test_workers_share_the_cores_and_a_missing_gpu_is_said(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert plan_workers(2, None).threads == 4 and plan_workers(0, None).threads == 8
    assert plan_workers(None, None).count == 6
    with pytest.raises(UsageError, match="this machine has 0 GPUs"):
        plan_workers(1, 1.0)
    with pytest.raises(UsageError, match="--workers -1"):
        plan_workers(-1, None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert plan_workers(None, None).gpus_per_trial == 1.0 and plan_workers(None, None).count == 2
    assert plan_workers(8, None).gpus_per_trial == 0.25
    with pytest.raises(UsageError, match="2 fit on this machine's 2 GPUs"):
        plan_workers(4, 1.0)


@pytest.mark.parametrize(
    ("gpus", "asked", "share", "count"),
    [
        (2, (None, 0.6), 0.6, 2),  # one on each: what is left of two does not make a third
        (2, (None, 0.3), 0.3, 6), (3, (None, 0.25), 0.25, 12), (4, (None, 0.1), 0.1, 40), (1, (None, 1 / 3), 1 / 3, 3),
        (8, (None, 2.0), 2.0, 4), (7, (None, 3.0), 3.0, 2), (1, (0, None), 1.0, 0),
        (2, (3, None), 0.5, 3), (2, (5, None), 1 / 3, 5), (3, (2, None), 1.0, 2), (2, (6, 0.3), 0.3, 6), (2, (3, 0.0), 0.0, 3),
    ],
)  # fmt: skip
def test_shares_of_gpus_are_counted_gpu_by_gpu(monkeypatch, gpus, asked, share, count):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    plan = plan_workers(*asked)
    assert (plan.count, plan.gpus_per_trial) == (count, pytest.approx(share))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((None, 1.5), "1.5: a share of one GPU"), ((None, -0.5), "a share of one GPU"), ((None, math.nan), "a share of one GPU"),
        ((None, math.inf), "a share of one GPU"), ((3, 0.6), "2 fit on this machine's 2 GPUs"), ((7, 0.3), "6 fit"),
        ((None, 3.0), "this machine has 2 GPUs"),
    ],
)  # fmt: skip
def test_gpus_that_no_machine_shares_out_so_are_refused(monkeypatch, asked, words):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UsageError, match=words):
        plan_workers(*asked)
    if asked[1] != 3.0 and asked[0] is None:  # of a cluster elsewhere nothing else is known
        with pytest.raises(UsageError, match=words):
            plan_workers(2, asked[1], "auto")
