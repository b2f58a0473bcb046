"""What a run's numbers belong to: the code of its networks, its videos by content, the threads of its workers. And whose code is
run when a run directory is looked at."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, STUDIES
from rich.console import Console
from tiny_records import facts_of

from expand.cli import full_training
from expand.cli.scoring import show_tests
from expand.config.loading import load_study
from expand.config.request import Request
from expand.core.errors import ExpandError, UsageError
from expand.core.outcome import Completed
from expand.core.study import Recipe
from expand.core.trial import Cost, Suggestion
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.read_source import read_source
from expand.evaluation.test_split import Question
from expand.export.bundle import export_run
from expand.monitoring.progress import PlainLines
from expand.report.choosing import Choice
from expand.search.job import Job, evaluate
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import Record, open_for_reading, open_for_writing
from expand.training import checkpoint
from expand.training.identity import Identity
from expand.training.multi_view import Views
from search_spaces.x3d import X3DSpace

pytestmark = pytest.mark.usefixtures("no_pictures")
HERE = '''
from dataclasses import dataclass, replace
from tiny import study as tiny_study
from search_spaces.x3d import X3D, X3DSpace

GAIN = 1.0

def louder(clip):
    """Nothing yet."""
    return clip * GAIN

class Louder(X3D):
    def forward(self, clip):
        return super().forward(louder(clip))

@dataclass(frozen=True)
class Space(X3DSpace):
    def constructor(self, architecture, num_classes):
        return Louder, super().constructor(architecture, num_classes)[1]

def study(scale):
    base = tiny_study(scale)
    space = Space(frames=2, stride=2, resolution=16, width=0.2, depth=0.2)
    return replace(base, space=space, budget=replace(base.budget, steps=0), recipe=replace(base.recipe, epochs=1))
'''
EDITED = HERE.replace("GAIN = 1.0", "GAIN = 2.0").replace("    return clip * GAIN", "    return GAIN * clip")
FORMATTED = HERE.replace('"""Nothing yet."""', "# Not yet.").replace("clip * GAIN", "(clip *\n        GAIN)")
FIRST = Choice(trial=0)
VIEWS = Question(Views.parse("1x1"))


class Notes(PlainLines):
    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def neighbours(monkeypatch):
    monkeypatch.syspath_prepend(STUDIES)


def carried_out(
    home: Path, squares: Path, *settings: str, threads: int = 1, out: str = "run"
) -> tuple[Record, list[str]]:
    """Runs the study in `home` as a process that was just started would: with its text as it is now."""
    sys.modules.pop("louder_study", None)
    watch = Notes()
    request = Request(str(home / "louder_study.py"), data=str(squares), settings=settings)
    return run(request, home / out, Workers(0, threads), watch), watch.notes


def edit(home: Path, text: str) -> None:
    (home / "louder_study.py").write_text(text)
    sys.modules.pop("louder_study", None)


@pytest.fixture(scope="module")
def trained(squares, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("louder")
    sys.path.insert(0, str(STUDIES))
    edit(home, HERE)
    carried_out(home, squares)
    return home


@pytest.fixture
def home(trained, tmp_path) -> Path:
    """A copy of a finished run of one network, and of its study file, for this test to change."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    told(tmp_path, lambda facts: facts | {"reference": str(tmp_path / "louder_study.py")})
    edit(tmp_path, HERE)
    return tmp_path


def told(home: Path, change: Callable[[dict], dict]) -> None:
    """Another study.json."""
    path = home / "run" / "study.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def kept(home: Path, code: str) -> None:
    """Another code of trial 0 in the database."""
    with sqlite3.connect(home / "run" / "optuna.db") as database:
        database.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key = 'code'", (code,))


# --- the code of the networks ----------------------------------------------------------------------------------------


def test_edited_network_code_is_refused_by_name_and_formatting_is_not(home, squares, tmp_path):
    code = open_for_reading(home / "run").trial(0).attempt.code
    assert {"Louder", "louder", "GAIN", "Block", "arguments of Louder", "clips it reads"} <= code.keys()
    assert (
        "study" not in code
        and "Space" not in code
        and json.loads((home / "run/study.json").read_text())["code"] == code
    )
    edit(home, FORMATTED)
    carried_out(home, squares)
    export_run(home / "run", tmp_path / "network", FIRST, trust=True)
    assert "s on cpu (threads: 1)\n" in (tmp_path / "network" / "README.md").read_text()
    edit(home, EDITED)
    words = "GAIN, louder changed"
    with pytest.raises(UsageError, match=f"holds another experiment: code of the networks: {words}"):
        carried_out(home, squares)
    with pytest.raises(ExpandError, match=f"code of the network of trial 0: {words} since it was trained"):
        export_run(home / "run", tmp_path / "other", FIRST, trust=True)
    with pytest.raises(ExpandError, match=words):
        show_tests(home / "run", VIEWS, FIRST, as_json=True, trust=True)
    with pytest.raises(ExpandError, match=words):
        full_training.of_run(home / "run", 0, full_training.TrainingOptions(weights="same", trust=True))
    assert not (tmp_path / "other").exists()


def test_other_arguments_for_the_same_architecture_are_refused(home, squares):
    """The class is as it was, what the family makes of an architecture is not."""
    edit(home, HERE.replace("num_classes)[1]", 'num_classes)[1] | {"head_width": 64}'))
    with pytest.raises(UsageError, match="arguments of Louder changed"):
        carried_out(home, squares)


def test_a_part_that_only_a_later_network_has_is_refused_by_its_trial(home, squares):
    """The start, which stands for the run, is as it was."""
    code = open_for_reading(home / "run").trial(0).attempt.code
    kept(home, json.dumps(code | {"Attention": "0" * 16}))
    with pytest.raises(UsageError, match="code of the network of trial 0: Attention gone"):
        carried_out(home, squares)


def test_a_run_without_hashes_goes_on(home, squares, tmp_path):
    told(home, lambda facts: {key: value for key, value in facts.items() if key not in ("code", "files")})
    kept(home, "null")
    edit(home, EDITED)
    carried_out(home, squares)
    export_run(home / "run", tmp_path / "network", FIRST)


def test_a_network_without_source_runs_and_says_so(tmp_path, squares):
    """As in a notebook: the text of the class lies nowhere."""
    text = HERE.replace("class Louder(X3D)", "exec(compile('''class Louder(X3D)").replace(
        "@dataclass", "''', 'x', 'exec'))\n@dataclass"
    )
    text = text.replace("super().forward", "super(Louder, self).forward")
    edit(tmp_path, text)
    record, notes = carried_out(tmp_path, squares)
    assert record.trial(0).state == "complete" and record.facts.code is None
    assert any("so changes in it will not be noticed" in note for note in notes)
    carried_out(tmp_path, squares)


# --- videos and loader processes -------------------------------------------------------------------------------------


RECIPE = Recipe(epochs=2, batch_size=8, views=1)
SPACE = X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2)


class Interrupt(BaseException):
    pass


def interrupted(caches: tuple[Path, ...], folder: Path, **changes) -> Job:
    """A job whose first epoch is done."""
    weights = str(folder / "model.safetensors")
    job = Job(0, SPACE, SPACE.start, RECIPE, RECIPE.epochs, 0, *map(str, caches), str(folder / "last.pt"), weights, 1)

    def stop(entry):
        raise Interrupt

    with pytest.raises(Interrupt):
        evaluate(replace(job, **changes), stop)
    return job


def epochs_of(job: Job) -> list[int]:
    """Which epochs a further attempt trains."""
    seen: list[int] = []
    assert isinstance(evaluate(job, lambda entry, *_: seen.append(entry.epoch)), Completed)
    return seen


def test_a_moved_cache_and_other_loader_processes_keep_the_checkpoint(squares, tmp_path, monkeypatch):
    caches = prepare(read_source(squares), side=24)
    moved = tuple(Path(shutil.copytree(cache, tmp_path / "elsewhere" / cache.name)) for cache in caches)
    job = interrupted(caches, tmp_path / "a", recipe=replace(RECIPE, loader_workers=1))
    assert epochs_of(replace(job, train_cache=str(moved[0]), val_cache=str(moved[1]))) == [2]
    fly = prepare(read_source(squares), side=24, fly=True)  # the same frames, from files that may lie elsewhere, too
    assert [ClipCache(cache).content for cache in fly] == [cache.name for cache in caches]
    assert epochs_of(interrupted(fly, tmp_path / "b")) == [2]
    other = prepare(read_source(squares), side=16)
    job = interrupted(caches, tmp_path / "c")
    assert epochs_of(replace(job, train_cache=str(other[0]), val_cache=str(other[1]))) == [1, 2]


def test_a_checkpoint_of_version_0_1_is_gone_on_from(squares, tmp_path):
    caches = prepare(read_source(squares), side=24)
    job = interrupted(caches, tmp_path / "a")
    state = checkpoint.load(Path(job.checkpoint))
    old = repr((SPACE.start.to_json(), 0, 2, replace(RECIPE, weights=None), *map(str, caches)))
    checkpoint.save(Path(job.checkpoint), state | {"identity": old})
    assert epochs_of(job) == [2]
    for other in (old.replace("epochs=2", "epochs=3"), old.replace(str(caches[0]), "/x"), "one", ""):
        checkpoint.save(Path(job.checkpoint), state | {"identity": other})
        assert epochs_of(job) == [1, 2]
    without = old.replace(", freeze=False", "")  # a field that is younger than the checkpoint
    of_now = Identity(SPACE.start, 0, 2, RECIPE, [], [str(cache) for cache in caches])
    assert of_now.has(without) and not replace(of_now, recipe=replace(RECIPE, freeze=True, weights="w")).has(without)


def test_a_checkpoint_belongs_to_the_code_that_wrote_it():
    now = Identity(SPACE.start, 0, 2, RECIPE, ["a", "b"], [], {"X3D": "1"})
    assert now.has(now.text()) and now.has(replace(now, code=None).text()) and replace(now, code=None).has(now.text())
    assert not now.has(replace(now, code={"X3D": "2"}).text())


def test_other_loader_processes_are_said_and_not_refused(home, squares):
    _, notes = carried_out(home, squares, "recipe.loader_workers=3")
    assert "recipe.loader_workers: 0 in the run, 3 now; results stay the same" in notes


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_are_recorded_and_others_are_said(home, squares):
    assert open_for_reading(home / "run").trial(0).attempt.threads == 1
    assert json.loads((home / "run" / "environment.json").read_text())["threads"] == 1
    _, notes = carried_out(home, squares)
    assert not [note for note in notes if "threads" in note]
    _, notes = carried_out(home, squares, threads=2)
    assert [note for note in notes if note.startswith("threads per worker: 1 in the run, 2 now")]


@pytest.mark.heavy
@pytest.mark.ray
def test_equal_threads_give_equal_digits_through_ray_and_in_this_process(squares, tmp_path):
    """Each with one thread: a core in this process, two cores for two workers."""
    code = "import os, sys; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv.pop(1))])\n"
    code += "from expand.cli.app import main; main()"
    for workers, cores in (("0", "1"), ("2", "2")):
        done = subprocess.run(
            [
                sys.executable, "-c", code, cores, "run", STUDIES / "tiny.py", "--data", squares, "--workers", workers,
                "--out", workers,
            ],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
    here, there = (open_for_reading(tmp_path / name) for name in ("0", "2"))
    assert len(here.trials()) == len(there.trials()) > 3
    for one, other in zip(here.trials(), there.trials(), strict=True):
        assert one.attempt.threads == other.attempt.threads == 1
        assert one.attempt.code == other.attempt.code  # as each process read it
        assert [entry.loss for entry in one.curve] == [entry.loss for entry in other.curve]
        assert here.weights(one.number).read_bytes() == there.weights(other.number).read_bytes()


# --- whose code is run -----------------------------------------------------------------------------------------------


def test_a_study_file_inside_a_run_is_run_on_trust_only(home, expand):
    """Somebody sent a run directory; its study file would do anything."""
    file = home / "run" / "sent.py"
    file.write_text(HERE + f"\nopen({str(home / 'ran')!r}, 'w')\n")
    told(home, lambda facts: facts | {"reference": str(file), "files": {}})
    environment = {"PYTHONPATH": f"{ROOT}:{STUDIES}"}
    asked = expand("export", "run", "--trial", 0, "--to", "network", **environment)
    words = f"expand: {file} would be run as code, and lies in the run {home / 'run'}: look at it, then add --trust\n"
    assert asked.returncode == 2 and asked.stderr == words and not (home / "ran").exists()
    with pytest.raises(UsageError, match="--trust"):
        show_tests(home / "run", VIEWS, FIRST, as_json=True)
    with pytest.raises(UsageError, match="--trust"):
        full_training.of_run(home / "run", 0, full_training.TrainingOptions())
    export_run(home / "run", home / "network", FIRST, trust=True)
    assert (home / "ran").exists()


@pytest.mark.heavy
@pytest.mark.parametrize("out", [(), ("--out", "elsewhere")])
def test_a_study_file_inside_a_run_is_asked_about_when_it_is_typed_too(home, expand, out):
    (home / "run" / "sent.py").write_text(HERE + f"\nopen({str(home / 'ran')!r}, 'w')\n")
    started = expand("run", "run/sent.py", *out, PYTHONPATH=f"{ROOT}:{STUDIES}")
    assert started.returncode == 2 and "--trust" in started.stderr and not (home / "ran").exists()


def test_a_study_file_that_has_changed_is_run_on_trust_only(home, tmp_path):
    edit(home, FORMATTED)
    with pytest.raises(UsageError, match=r"louder_study.py would be run as code, and has changed since .* --trust"):
        export_run(home / "run", tmp_path / "network", FIRST)
    assert "louder_study" not in sys.modules


def test_a_package_inside_a_run_is_not_taken_for_an_installed_one(home, monkeypatch):
    """A dotted name is looked for where the command is given, too."""
    (home / "run" / "posted").mkdir()
    (home / "run" / "posted" / "study.py").write_text(HERE)
    told(home, lambda facts: facts | {"reference": "posted.study"})
    monkeypatch.chdir(home / "run")
    with pytest.raises(UsageError, match="lies in the run"):
        export_run(home / "run", home / "network", FIRST)
    assert "posted" not in sys.modules


# --- an export that is killed ----------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("old", [False, True])
def test_an_export_killed_while_it_writes_leaves_no_half_folder(home, old):
    """`kill -9` once the weights lie in the unfinished folder; with and without an export that is to be replaced."""
    if old:
        (home / "network").mkdir()
        (home / "network" / "architecture.json").write_text('{"format": "expand-export-2"}')
        (home / "network" / "README.md").write_text("the one before")
    command = [sys.executable, "-m", "expand", "export", "run", "--trial", "0", "--to", "network", *["--force"] * old]
    process = subprocess.Popen(command, cwd=home, env=os.environ | {"PYTHONPATH": f"{ROOT}:{STUDIES}"})
    deadline = time.monotonic() + 60
    while not list(home.glob(".network.partial-*/model.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=20) == -9
    assert list(home.glob(".network.partial-*"))
    assert (home / "network").exists() == old and (
        not old or (home / "network" / "README.md").read_text() == "the one before"
    )
    export_run(home / "run", home / "network", FIRST, force=True)
    assert (home / "network" / "model.safetensors").exists() and not list(home.glob(".network*"))


# --- names that no clock sets ----------------------------------------------------------------------------------------


def test_runs_of_the_same_second_and_of_a_clock_set_back_keep_apart(tmp_path, monkeypatch):
    """Three runs in one database, the clock standing still, then an hour back."""
    study, url, names = load_study(str(STUDIES / "tiny.py")), f"sqlite:///{tmp_path}/all.db", []
    for hour in (12, 12, 11):

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None, hour: int = hour) -> datetime:
                return datetime(2026, 7, 1, hour, tzinfo=tz)

        monkeypatch.setattr("expand.storage.folder.datetime", Clock)
        monkeypatch.setattr("time.time", partial(Clock.timestamp, Clock.now(UTC)))
        random.seed(0)
        with open_for_writing(tmp_path / str(len(names)), facts_of(study), study, storage=url) as record:
            record.open_trial(Suggestion(study.space.start, 1, len(names)), Cost(1, 1, 1, 1, ()), study.space)
            names.append(record.facts.optuna_study)
    assert len(set(names)) == 3
    assert [[t.suggestion.seed for t in open_for_reading(tmp_path / str(n)).trials()] for n in range(3)] == [
        [0],
        [1],
        [2],
    ]
