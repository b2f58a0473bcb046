"""`expand tune`: a recipe for a study's start network, found on own videos before a search."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from conftest import STUDIES
from rich.console import Console

from expand.cli.tune import result_lines
from expand.config.overrides import override
from expand.config.request import Request
from expand.core.errors import UsageError
from expand.core.signals import Interrupted
from expand.core.study import Recipe
from expand.monitoring.progress import PlainLines
from expand.search import tuning
from expand.search.chance import Chance
from expand.search.tuning import settings_of, tune
from expand.storage.facts import Facts
from expand.storage.serialize import from_plain, to_plain
from expand.storage.stored_study import request_of
from expand.storage.tuned import Scored, Tuned, read_tuned

TINY = str(STUDIES / "tiny.py")


def tuned(folder: Path, squares: Path, *settings: str, trials: int = 5, watch=None, **options):
    request = Request(TINY, "demo", ("recipe.epochs=3", *settings), str(squares))
    watch = watch or PlainLines(Console(quiet=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "MOST_UPDATES", 20)
        return tune(request, folder, None, watch, trials=trials, minutes=None, **options)[0]


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(storage=f"sqlite:///{folder / 'tuning.db'}", study_name="tune-tiny").get_trials()


def plain(folder: Path) -> list[tuple]:
    return [(t.number, t.state, t.params, t.value, t.intermediate_values) for t in trials_of(folder)]


@pytest.fixture(scope="module")
def whole(squares, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "whole"
    tuned(folder, squares)
    return folder


@pytest.mark.heavy
def test_the_recipe_as_it_is_comes_first_and_the_best_are_trained_with_a_second_seed(whole):
    trials = trials_of(whole)
    first, *sampled = [t for t in trials if "repeats" not in t.user_attrs]
    assert (
        first.params == {"learning_rate": 0.1, "weight_decay": 5e-5, "updates": 9}
        and first.user_attrs["settings"] == []
    )
    assert len(sampled) == 4 and len({t.params["learning_rate"] for t in trials}) == 5
    repeats = {t.user_attrs["repeats"]: t for t in trials if "repeats" in t.user_attrs}
    complete = sorted((t for t in trials[:5] if t.value is not None), key=lambda t: (-t.value, t.user_attrs["loss"]))
    assert set(repeats) == {t.number for t in complete[:3]} | {0}
    for number, again in repeats.items():
        assert again.params == trials[number].params and (
            trials[number].user_attrs["seed"],
            again.user_attrs["seed"],
        ) == (0, 1)
    found, place = read_tuned(whole)
    scores = [found.chosen, *found.others, *([found.before] if found.before else [])]
    assert found.chosen.mean == max(one.mean for one in scores) and "SHA-256" in place
    assert all(one.top1 == tuple(trials[number].value for number in one.trials) for one in scores)
    assert not (whole / "checkpoints").exists() or not list((whole / "checkpoints").iterdir())


@pytest.mark.heavy
@pytest.mark.parametrize("at", [5, 40])
def test_a_tuning_that_is_stopped_anywhere_ends_as_an_unbroken_one(squares, tmp_path, monkeypatch, whole, at):
    steps, check = 0, tuning.signals.check

    def interrupted() -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            raise Interrupted(signal.SIGTERM)
        check()

    monkeypatch.setattr(tuning.signals, "check", interrupted)
    with pytest.raises(Interrupted):
        tuned(tmp_path / "run", squares)
    assert any(t.state.name == "RUNNING" for t in trials_of(tmp_path / "run"))
    tuned(tmp_path / "run", squares)
    assert plain(tmp_path / "run") == plain(whole)
    assert read_tuned(tmp_path / "run")[0].chosen == read_tuned(whole)[0].chosen


@pytest.mark.heavy
def test_a_finished_tuning_trains_nothing_and_more_trials_go_on(squares, tmp_path, whole):
    before = plain(whole)
    tuned(whole, squares)
    assert plain(whole) == before
    for change in ("recipe.batch_size=4", "seeds=3"):
        with pytest.raises(UsageError, match="has another tuning: "):
            tuned(whole, squares, change)


@pytest.mark.heavy
def test_a_run_with_the_recipe_is_the_run_with_its_settings_and_says_where_from(whole, squares, expand, tmp_path):
    found, place = read_tuned(whole)
    command = (
        "run",
        TINY,
        "--data",
        squares,
        "--out",
        "run",
        "--workers",
        0,
        "--set",
        "recipe.epochs=3",
        "--set",
        "budget.steps=0",
    )
    result = expand(*command, "--recipe", whole)
    assert result.returncode == 0 and "recipe from " in result.stdout, result.stderr
    facts = json.loads((tmp_path / "run" / "study.json").read_text())
    assert facts["recipe_from"] == place and facts["settings"][: len(found.chosen.settings)] == list(
        found.chosen.settings
    )
    recipe = override(Request(TINY).study(), [*found.chosen.settings, "recipe.epochs=3"]).recipe
    assert from_plain(facts, Facts).study.recipe == recipe
    assert request_of(from_plain(facts, Facts)).recipe_from == place
    missing = expand(*command, "--recipe", "nowhere")
    assert missing.returncode == 2 and "expand tune" in missing.stderr


def test_settings_are_what_set_takes():
    before = Recipe(label_smoothing=0.1)
    after = replace(before, learning_rate=0.0312, weight_decay=1.2e-5, updates=1500, warmup_learning_rate=0.00312)
    settings = settings_of(before, after)
    assert "recipe.weight_decay=1.2e-05" in settings and settings_of(after, after) == []
    study = replace(Request(TINY).study(), recipe=before)
    assert override(study, settings).recipe == after


def test_what_is_printed_says_noise_and_the_next_command():
    def scored(*top1: float, settings: tuple[str, ...] = ()) -> Scored:
        return Scored(settings, (0, 1), top1, (1.0, 1.0))

    best = scored(0.6, 0.64, settings=("recipe.learning_rate=0.03", "recipe.updates=2000"))
    found = Tuned("s", "{}", "mine", "f", best, scored(0.56, 0.55), (), (0, 1), 65, 12, 100.0)
    chance = Chance(0.34, 6, "")
    said = "\n".join(result_lines(found, chance, Request("s", data="my clips"), Path("runs/t")))
    assert "--set recipe.learning_rate=0.03 --set recipe.updates=2000" in said and "within that of 65 clips" in said
    assert "expand run s --data 'my clips' --recipe runs/t" in said and "does not beat" not in said
    assert "62.0 % ± 6.0 (60.0 %, 64.0 % with seeds (0, 1))" in said
    assert from_plain(to_plain(found), Tuned) == found
    low = replace(found, chosen=scored(0.35, 0.36))
    assert "does not beat guessing" in "\n".join(result_lines(low, chance, Request("s"), Path("t")))
