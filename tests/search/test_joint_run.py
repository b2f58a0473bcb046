"""Architecture and recipe searched together, trained for real on clips of squares."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import STUDIES
from rich.console import Console

from expand.cli.full_training import TrainingOptions, of_run
from expand.cli.growing import Target
from expand.config.request import Request
from expand.core.errors import UsageError
from expand.core.joint import JointSpace, RecipeAxis, joint
from expand.core.trial import Trial
from expand.counting.cost import MacsCounter
from expand.evaluation.test_split import Question, _loading, _scale
from expand.export.bundle import export_trials
from expand.monitoring.progress import PlainLines
from expand.report.run_report import summary
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.facts import Facts, StudyFacts
from expand.storage.run_directory import Record, open_for_reading
from expand.storage.serialize import from_plain, to_plain
from expand.storage.stored_study import classes_of, request_of, study_of
from expand.testing.space_contract import plain_kernels
from expand.training.multi_view import Views

pytestmark = pytest.mark.usefixtures("no_pictures")
GRID = ("strategy.points=()", "seeds=0", "recipe.epochs=1")
RATE = RecipeAxis("learning_rate", 0.01, 0.04)
AXES = ("learning_rate=0.01,0.02", "crop=scale_jitter,fixed")


@pytest.fixture(autouse=True)
def quick():
    with plain_kernels():
        yield


def trained(squares: Path, folder: Path, *settings: str, axes: tuple[str, ...] = (), force: bool = True) -> Record:
    console = Console(file=io.StringIO(), width=200)
    study = str(STUDIES / "tiny_grid.py")
    request = Request(study, "demo", (*GRID, *settings), str(squares), recipe_axes=axes)
    assert summary(run(request, folder, Workers(0, 1), PlainLines(console), force=force), console)
    return open_for_reading(folder)


@pytest.fixture(scope="module")
def record(squares, tmp_path_factory) -> Record:
    with plain_kernels():
        return trained(squares, tmp_path_factory.mktemp("joint") / "run", "strategy.axes=learning_rate,crop", axes=AXES)


def by_recipe(record: Record) -> dict[tuple[object, object], Trial]:
    return {(each.architecture["learning_rate"], each.architecture["crop"]): each for each in record.trials()}


def test_each_trial_is_what_a_run_with_its_recipe_trains(record, squares, tmp_path):
    trials = by_recipe(record)
    assert len(trials) == 4 and {trial.state.value for trial in trials.values()} == {"complete"}
    assert len({trial.cost.macs for trial in trials.values()}) == 1
    fixed = ("recipe.learning_rate=0.02", "recipe.crop=fixed", "strategy.points=depth-3")
    plain = trained(squares, tmp_path / "plain", *fixed)
    same = trials[0.02, "fixed"]
    assert [(e.loss, e.top1) for e in plain.trials()[0].curve] == [(e.loss, e.top1) for e in same.curve]
    assert plain.weights(0).read_bytes() == record.weights(same.number).read_bytes()
    assert len({record.weights(trial.number).read_bytes() for trial in trials.values()}) == 4


def test_the_same_command_resumes_and_other_axes_are_another_experiment(record, squares):
    again = trained(squares, record.folder, "strategy.axes=learning_rate,crop", axes=AXES, force=False)
    assert again.trials() == record.trials()
    with pytest.raises(UsageError, match=r"space\.recipe_axes\[0\]\.choices\[1\]: 0\.02 in the run, 0\.03 now"):
        trained(squares, record.folder, "strategy.axes=learning_rate,crop", axes=("learning_rate=0.01,0.03", AXES[1]))


def test_reports_name_the_recipe_of_each_trial(record):
    header, *rows = (record.folder / "report" / "trials.csv").read_text().splitlines()
    assert {"learning_rate", "crop"} <= set(header.split(",")) and len(rows) == 4
    page = (record.folder / "report" / "index.html").read_text()
    assert "searched: 0.01, 0.02" in page


def test_it_is_tested_exported_and_trained_on_by_its_own_recipe(record, tmp_path):
    trial = by_recipe(record)[0.02, "fixed"]
    study = study_of(record, [trial])
    assert study.recipe.crop == "scale_jitter"
    question = Question(Views.parse("1x1"))
    assert _scale(study, trial, question) == tuple(study.recipe.squeeze)
    assert _loading(study, trial, question, torch.device("cpu"))[0].learning_rate == 0.02

    export_trials(record, study, tmp_path / "network", {"": trial})
    about = json.loads((tmp_path / "network" / "architecture.json").read_text())
    assert about["training"]["searched"] == {"learning_rate": 0.02, "crop": "fixed"}
    assert about["training"]["learning_rate"] == 0.02 and "height_over_crop" in about["resize"]
    assert "learning_rate" not in about["architecture"] and "crop" not in [
        axis["name"] for axis in about["found"]["axes"]
    ]
    card = (tmp_path / "network" / "README.md").read_text()
    assert "learning rate 0.02 " in card and "found together with the network: learning_rate 0.02, crop fixed" in card

    alone = of_run(record.folder, trial.number, TrainingOptions(settings=("recipe.crop=resized",))).study()
    assert not isinstance(alone.space, JointSpace)
    assert (alone.recipe.learning_rate, alone.recipe.crop, alone.recipe.epochs) == (0.02, "resized", 1)


def test_a_larger_network_keeps_the_recipe_of_its_parent(record):
    trial = by_recipe(record)[0.02, "fixed"]
    study = study_of(record, [trial])
    macs = MacsCounter(study.space, 2)
    with pytest.raises(UsageError, match="--axis learning_rate: it is the recipe's"):
        Target(axis="learning_rate").architecture(study.space, trial.architecture, macs)
    for target in (Target(axis="width"), Target(point="depth-5"), Target(values=("width=0.1",))):
        child = target.architecture(study.space, trial.architecture, macs)
        assert study.recipe_of(child) == study.recipe_of(trial.architecture) and child != trial.architecture


def test_a_study_given_as_an_object_is_built_again_without_its_file(record):
    plain = request_of(record.facts).study()
    study = joint(replace(plain, space=plain.space.family), RecipeAxis("nesterov", choices=(True, False)), RATE)
    facts = replace(record.facts, reference=None, classes=classes_of(study), study=StudyFacts.of(study), recipe_axes=())
    again = request_of(from_plain(json.loads(json.dumps(to_plain(facts))), Facts)).study()
    assert again == study and again.space.recipe_axes[0].choices == (True, False)
