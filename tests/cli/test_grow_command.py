"""`expand grow`: a larger network from a trial's weights, its lineage, and that no search is decided by it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, STUDIES
from rich.console import Console
from safetensors.torch import load_file

from expand.cli.growing import Target, ended, order
from expand.config.loading import load_study
from expand.config.request import Request
from expand.config.single_network import inherited
from expand.core.errors import UsageError
from expand.core.study import Recipe
from expand.core.trial import Metrics, Suggestion, Trial, TrialState
from expand.counting.cost import MacsCounter
from expand.export.facts import facts_of
from expand.export.model_card import _found
from expand.monitoring.progress import PlainLines
from expand.report.candidates import candidates, front, inherited_candidates
from expand.report.choosing import Choice
from expand.report.inherited import inherited_of
from expand.report.run_report import report, run_facts, summary
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import Record, open_for_reading
from expand.storage.stored_study import request_of
from expand.strategies.inherited import FromScratch, lineage
from expand.strategies.ledger import ledger
from expand.testing.space_contract import plain_kernels
from expand.training.identity import Identity
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2)


def carried_out(request: Request, folder: Path, grown: Suggestion | None = None) -> Record:
    with plain_kernels(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("expand.report.files.picture_files", lambda name, draw: {})
        return run(replace(request, grown=grown), folder, Workers(0, 1), PlainLines(Console(quiet=True)))


def ordered(folder: Path, number: int, target: Target, epochs: int | None = None, seed: int | None = None):
    record = open_for_reading(folder)
    return order(record, number, target, epochs=epochs, seed=seed, trust=True, again=False)


def grow(folder: Path, number: int, target: Target, epochs: int | None = None) -> Record:
    found = ordered(folder, number, target, epochs).suggestion
    return carried_out(request_of(open_for_reading(folder).facts), folder, found)


@pytest.fixture(scope="module")
def searched(squares, tmp_path_factory) -> Path:
    """A run of one network, the start of the tiny study."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    carried_out(Request(str(STUDIES / "tiny.py"), "demo", ("budget.steps=0",), str(squares)), folder)
    return folder


@pytest.fixture(scope="module")
def family(searched, tmp_path_factory) -> Path:
    """The same run with trial 1 grown from trial 0 along the bottleneck, and trial 2 from trial 1 to more frames."""
    folder = Path(shutil.copytree(searched, tmp_path_factory.mktemp("family") / "run"))
    grow(folder, 0, Target(axis="bottleneck"))
    grow(folder, 1, Target(values=("frames=4",)), epochs=2)
    return folder


def test_a_grown_network_begins_as_accurate_as_its_parent_and_is_recorded(family):
    record = open_for_reading(family)
    parent, child, longer = record.trials()
    assert [t.state for t in record.trials()] == [TrialState.COMPLETE] * 3 and record.finished
    assert (child.suggestion.inherit, child.suggestion.kind, child.suggestion.epochs) == (0, "grown", 1)
    assert 1.7 < child.cost.macs / parent.cost.macs < 2.3
    assert child.attempt.inherited.trial == 0 and not child.attempt.inherited.differences
    assert child.attempt.inherited.top1 == pytest.approx(parent.metrics.top1)  # the same function on the same clips
    assert longer.attempt.inherited.differences == ("frames 2 to 4",)
    assert [t.number for t in lineage(longer, record.trials())] == [0, 1, 2]
    before, after = (load_file(record.weights(n)) for n in (0, 1))
    name = "blocks.0.narrow.weight"
    assert after[name].shape[1] > before[name].shape[1]


def test_it_never_stands_on_the_front_of_the_others_and_tells_its_whole_cost(family, capsys):
    record = open_for_reading(family)
    trials, facts = record.trials(), run_facts(record)
    found = candidates(trials, facts.seeds)
    assert [c.numbers for c in found] == [(0,)] and [c.numbers for c in front(found, record.objectives)] == [(0,)]
    assert [c.title for c in inherited_candidates(trials)] == ["trial 1 from 0", "trial 2 from 1"]
    assert Choice(best="top1").trials(record)[0].number == 0 and Choice(trial=2).trials(record)[0].number == 2
    rows = inherited_of(facts, trials, record.objectives, (24, 12))
    assert [(row.lineage, row.epochs) for row in rows] == [((0, 1), 3), ((0, 1, 2), 5)]
    macs = [trial.cost.macs for trial in trials]
    assert rows[1].macs == (2 * macs[0] + macs[1] + 2 * macs[2]) * (3 * 24 + 12)
    assert rows[1].scratch_macs == 2 * macs[2] * (3 * 24 + 12) and rows[1].scratch is None
    assert any(row.on_front for row in rows)
    summary(record, Console(width=200))
    text = capsys.readouterr().out
    assert "Networks from inherited weights" in text and "0 > 1 > 2" in text


def test_the_report_has_a_dashed_front_and_a_section(family, tmp_path):
    record = open_for_reading(family)
    files = {path.name for path in report(record, tmp_path)}
    assert {"inherited.csv", "front.png"} <= files
    (data,) = json.loads((tmp_path / "front.json").read_text())["runs"]
    assert data["front"] == [0] and data["fronts"]["macs"] == [0] and set(data["inherited_fronts"]["macs"]) <= {1, 2}
    assert [row["lineage"] for row in data["inherited"]] == [[0, 1], [0, 1, 2]]
    lines = (tmp_path / "front.csv").read_text().splitlines()
    assert len(lines) == 2
    assert (tmp_path / "inherited.csv").read_text().count("\n") == 3


def test_the_model_card_tells_the_lineage(family):
    record = open_for_reading(family)
    study = request_of(record.facts).study()
    about = facts_of(record, study, record.trial(2))
    text = "\n".join(_found(about))
    assert "from the weights of trial 1" in text and "5 epochs in all" in text and "frames 2 to 4" in text
    assert about["training"]["warmup_epochs"] == 0.5
    assert "lineage" not in facts_of(record, study, record.trial(0))["found"]


def test_the_same_command_again_trains_nothing_and_another_length_is_refused(family):
    target, copies = Target(axis="bottleneck"), open_for_reading(family).trials()
    record = grow(family, 0, target)
    assert record.trials() == copies
    assert "before any training" in ended(record, ordered(family, 0, target).suggestion)[-1]
    with pytest.raises(UsageError, match="for 1 epochs: give another --seed"):
        ordered(family, 0, target, epochs=2)
    assert ordered(family, 0, target, epochs=2, seed=5).suggestion.seed == 5


def test_inherited_weights_decide_no_search():
    """The strategy is asked the same and the ledger says the same, however good a grown network is."""
    study = load_study(str(STUDIES / "tiny.py"))
    macs = MacsCounter(study.space, 3)
    trials: list[Trial] = []
    for number, suggestion in enumerate(study.strategy.ask(study, [], macs)):
        cost, score = macs.cost(suggestion.architecture), Metrics(0.5 + 0.1 * number, 1.0, 1.0, 12, 1)
        trials.append(Trial(number, TrialState.COMPLETE, suggestion, cost, score))
    before = study.strategy.ask(study, trials, macs)
    rival = trials[1]
    grown = replace(
        rival, number=len(trials), metrics=Metrics(1.0, 1.0, 0.0, 12, 1),
        suggestion=replace(rival.suggestion, inherit=0, seed=9),
    )  # fmt: skip
    assert study.strategy.ask(study, [*trials, grown], macs) != before  # alone it would be misled
    assert FromScratch(study.strategy).ask(study, [*trials, grown], macs) == before
    assert ledger([*trials, grown]) == ledger(trials)


@pytest.mark.parametrize(
    ("number", "target", "words"),
    [
        (0, Target(), "say how the network grows"),
        (0, Target(axis="depth", point="XL"), "say how the network grows"),
        (0, Target(axis="dept"), "unknown x3d axis 'dept'; did you mean 'depth'"),
        (0, Target(point="XXL"), "unknown x3d point"),
        (0, Target(values=("bottleneck=0.6",)), "channels can only be added"),
        (0, Target(values=("bottleneck=1",)), "same as its parent"),
        (7, Target(axis="depth"), "this run has trials 0 to 0"),
    ],
)
def test_bad_input_is_one_line(searched, number, target, words):
    with pytest.raises(UsageError) as error:
        ordered(searched, number, target)
    assert words in str(error.value)


def test_missing_weights_are_named(searched, tmp_path, expand):
    folder = Path(shutil.copytree(searched, tmp_path / "run"))
    (folder / "artifacts" / "000000" / "model.safetensors").unlink()
    failed = expand("grow", "run", "--trial", "0", "--axis", "depth", "--trust")
    assert failed.returncode == 2 and "trial 0 has no weights to start from" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_the_schedule_is_whole_and_begins_with_half_an_epoch_of_warm_up():
    recipe = inherited(Recipe(epochs=16, schedule="step", decay_every=4, warmup_epochs=2, weights="x", freeze=True), 8)
    assert (recipe.epochs, recipe.warmup_epochs, recipe.decay_every) == (8, 0.5, 2)
    assert recipe.weights is None and not recipe.freeze and recipe.learning_rate == Recipe().learning_rate


def test_a_checkpoint_belongs_to_the_weights_it_started_from():
    recipe = Recipe(epochs=2)
    kinds = [Identity(SPACE.start, 0, 2, recipe, ["a", "b"], [], inherited=sha) for sha in ("", "1", "2")]
    for own in kinds:
        assert [own.has(other.text()) for other in kinds] == [own is other for other in kinds]


@pytest.mark.heavy
def test_killed_with_9_and_run_again_it_ends_as_an_unbroken_one(expand, searched, tmp_path):
    options: Sequence[str] = ("--trial", "0", "--axis", "frames", "--epochs", "4", "--trust")
    for name in ("whole", "broken"):
        shutil.copytree(searched, tmp_path / name)
    whole = expand("grow", "whole", *options, timeout=300)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "expand", "grow", "broken", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("epoch 1/4" in line for line in process.stdout)
    process.kill()
    process.wait(timeout=20)
    done = expand("grow", "broken", *options, timeout=300)
    assert done.returncode == 0 and "resumed" in done.stdout, done.stderr
    runs = [open_for_reading(tmp_path / name) for name in ("whole", "broken")]
    first, second = (each.trial(1) for each in runs)
    assert (
        second.attempts == 2 and first.metrics == second.metrics and first.attempt.inherited == second.attempt.inherited
    )
    assert all(each.finished for each in runs)
    assert runs[0].weights(1).read_bytes() == runs[1].weights(1).read_bytes()
