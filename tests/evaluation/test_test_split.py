"""`expand test` on a tiny trained run: what is kept, answered from the file, refused, and told to export and report."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import STUDIES, moving_square, write_video
from rich.console import Console

from expand.cli.scoring import show_tests
from expand.config.loading import load_study
from expand.config.request import Request
from expand.core.accuracy import Rate
from expand.core.errors import ExpandError, UsageError
from expand.counting.cost import at_crop
from expand.data.cache.clip_cache import ClipCache, prepare
from expand.data.read_source import read_source
from expand.evaluation.confusion import confusions, draw_column, draw_confusion
from expand.evaluation.test_split import Question
from expand.export.bundle import describe, kept_test
from expand.monitoring.progress import PlainLines
from expand.report.about import about_run
from expand.report.choosing import Choice
from expand.report.drawing import COLUMN
from expand.search.run import report, run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import open_for_reading
from expand.storage.stored_study import study_of
from expand.storage.test_results import TestCost, TestResult, read_test, summary
from expand.training import multi_view as views
from expand.training.multi_view import Views

STEM = "artifacts/000000/tests/test-3x3-16"


@pytest.fixture(scope="module")
def trained(squares, tmp_path_factory):
    """One network trained for two epochs, and its videos, of which one test video is no video: training never opens it."""
    home = tmp_path_factory.mktemp("trained")
    shutil.copytree(squares, home / "videos")
    broken = home / "videos" / "test" / "at rest" / "200.avi"
    whole = broken.read_bytes()
    broken.write_bytes(b"no video at all")
    request = Request(str(STUDIES / "tiny.py"), data=str(home / "videos"), settings=("budget.steps=0",))
    run(request, home / "run", Workers(0, 1), PlainLines(Console(quiet=True)))
    broken.write_bytes(whole)
    facts = json.loads((home / "run" / "study.json").read_text())  # as if it had been whole all along
    facts["data"]["fingerprint"] = read_source(home / "videos").fingerprint()
    (home / "run" / "study.json").write_text(json.dumps(facts))
    return home


@pytest.fixture
def home(trained, tmp_path):
    """A copy of the run, for this test to write into; the videos stay where they were."""
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path


def ask(home, *, views="3x3", trial=0, best=None, under=None, all_front=False, as_json=True, **question):
    question = Question(Views.parse(views), **question)
    return show_tests(home / "run", question, Choice(trial, best, under, all_front), as_json=as_json)


def test_a_test_keeps_what_was_scored_and_how(home, trained, capsys):
    (test,) = ask(home)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(test.plain()))
    assert test == read_test(home / "run" / f"{STEM}.json")
    assert (test.videos, test.views, test.view_number, test.crop, test.looks) == (6, "3x3", 9, 16, 1)
    record = open_for_reading(home / "run")
    trial, study = record.trial(0), study_of(record)
    assert test.cost.macs_per_view == trial.cost.macs and test.cost.macs_per_video == 9 * trial.cost.macs
    assert test.own_videos and test.data_fingerprint == record.facts.data.fingerprint

    from safetensors.torch import load_file

    (folder,) = prepare(read_source(trained / "videos"), side=24, splits=("test",))
    network = study.space.build(trial.architecture, 3)
    network.load_state_dict(load_file(record.weights(0)))
    clips = study.space.inputs(trial.architecture)
    scores = views.test_network(network, clips, ClipCache(folder), study.recipe, views=(3, 3))
    assert test.video_top1.value == scores.metrics().top1 and test.loss == scores.loss
    folder = home / "run" / STEM
    kept = np.load(folder / "scores.npz")
    assert np.allclose(kept["probabilities"], scores.probabilities, atol=1e-6) and kept["names"].tolist()[0].endswith(
        "200.avi"
    )
    rows = list(csv.DictReader((folder / "videos.csv").open()))
    assert len(rows) == 6 and sum(int(row["right"]) for row in rows) == round(6 * test.video_top1.value)
    table = list(csv.reader((folder / "confusion.csv").open()))
    assert table[0] == ["truth", "at rest", "to the left", "to the right"]
    assert sum(int(cell) for row in table[1:] for cell in row[1:]) == 6
    assert [row["videos"] for row in csv.DictReader((folder / "per_class.csv").open())] == ["2", "2", "2"]
    assert (folder / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    for name in ("confusion.pdf", "confusion-column.pdf"):
        assert (folder / name).read_bytes()[:4] == b"%PDF"
    assert not [path for path in (home / "run" / "artifacts").rglob(".*")]


def test_the_same_question_is_answered_from_the_file_and_looks_are_counted(home, monkeypatch, capsys):
    (first,) = ask(home)
    with monkeypatch.context() as patch:
        patch.setattr("expand.evaluation.test_split.test_network", lambda *a, **k: pytest.fail("scored again"))
        (second,) = ask(home, as_json=False)
    assert second == replace(first, from_file=True)
    told = capsys.readouterr().out
    assert "scored before with the same weights and videos" in told and "1 scoring in all" in told
    (third,) = ask(home, again=True)
    assert third.looks == 2 and third.video_top1 == first.video_top1
    ask(home, views="1x1", as_json=False)  # another protocol has its own file, but the videos are the same
    told = capsys.readouterr().out
    assert "1 network of this run scored on these test videos, 3 scorings in all" in told
    weights = home / "run" / "artifacts" / "000000" / "model.safetensors"
    weights.write_bytes(_moved(weights))
    (fourth,) = ask(home)
    assert not fourth.from_file and fourth.looks == 1  # other weights are another network


def test_loader_processes_change_no_score_and_a_pipe_hears_how_far_it_is(home, monkeypatch, capsys):
    (alone,) = ask(home)
    one = np.load(home / "run" / STEM / "scores.npz")["probabilities"]
    assert "videos scored" not in capsys.readouterr().err  # done before there is anything to say
    monkeypatch.setattr("expand.cli.scoring.SECONDS_BETWEEN_LINES", 0.0)
    (several,) = ask(home, again=True, loader_workers=2)
    assert "trial 0: videos scored: 6 of 6, about 0 s left" in capsys.readouterr().err
    assert np.array_equal(one, np.load(home / "run" / STEM / "scores.npz")["probabilities"])
    for name in ("video_top1", "clip_top1", "loss", "classes", "class_mean"):
        assert getattr(several, name) == getattr(alone, name)


def _moved(path) -> bytes:
    from safetensors.torch import load_file, save

    return save({name: tensor * 2 for name, tensor in load_file(path).items()})


def exported(home):
    """What an export would say of accuracies."""
    record = open_for_reading(home / "run")
    trial = record.trial(0)
    return describe(record, study_of(record), trial, kept_test(record, trial))["accuracy"]


def test_export_and_report_take_the_newest_matching_test(home):
    assert "expand test RUN --trial 0" in exported(home)["test"]
    ask(home, split="val")  # of another split: no test
    assert "test_top1" not in exported(home)
    ask(home, views="1x1")
    (test,) = ask(home)
    (shown,) = about_run(home / "run", open_for_reading(home / "run").facts).tests
    assert [sum(row) for row in shown.confusion] == [row.videos for row in shown.classes] == [2, 2, 2]
    assert [row[place] for place, row in enumerate(shown.confusion)] == [row.right for row in shown.classes]
    about = exported(home)
    assert (about["test_top1"], about["test_views"], about["test_videos"]) == (test.video_top1.value, "3x3", 6)
    report(open_for_reading(home / "run"))
    for name in ("trials.csv", "front.csv"):
        (row,) = csv.DictReader((home / "run" / "report" / name).open())
        assert float(row["test_top1"]) == test.video_top1.value and row["test_views"] == "3x3"
    weights = home / "run" / "artifacts" / "000000" / "model.safetensors"
    weights.write_bytes(_moved(weights))
    assert "test_top1" not in exported(home)


def test_a_mean_is_over_tests_of_one_protocol_only():
    def test(trial, views, top1, when):
        rate = Rate(top1, 0.1)
        return TestResult(
            weights_sha256="w", videos_sha256="v", split="test", views=views, crop=16, scale=1.0, cache_side=24, trial=trial,
            label="", validation_top1=0.5, study="s", data="d", own_videos=True, data_fingerprint="f", videos=6, fps=12.0,
            view_number=30, short_side=16, cost=TestCost(1, 30, 1, ""), video_top1=rate, video_top5=rate, clip_top1=rate,
            clip_top5=rate, loss=1.0, class_mean=top1, classes=(), tested=when, looks=1,
        )  # fmt: skip

    tests = {0: test(0, "10x3", 0.4, "2"), 1: test(1, "10x3", 0.6, "3"), 2: test(2, "1x1", 0.9, "1")}
    assert summary(tests, [0, 1, 2]).top1 == pytest.approx(0.5) and summary(tests, [0, 1, 2]).views == "10x3"
    assert summary(tests, [2, 7]).top1 == 0.9 and summary(tests, [7]) is None


def test_the_whole_front_and_a_larger_crop(home, capsys):
    shown = ask(home, trial=None, all_front=True, crop=24, views="1x3")
    assert [test.trial for test in shown] == [0] and json.loads(capsys.readouterr().out)[0]["trial"] == 0
    test = shown[0]
    assert (test.crop, test.short_side) == (24, 24)
    record = open_for_reading(home / "run")
    study, trial = study_of(record), record.trial(0)
    larger = study.space.architecture(**trial.architecture.as_dict() | {"resolution": 24})
    assert test.clip[0].height == 24 and test.cost.macs_per_view > trial.cost.macs
    assert at_crop(study.space, trial.architecture, 24) == larger and "test crop" in test.cost.convention
    assert (home / "run" / "artifacts" / "000000" / "tests" / "test-1x3-24.json").exists()


def test_other_videos_are_labelled_by_name_and_their_faults_said(home, squares, capsys):
    other = home / "other"
    for split, first in (("train", 900), ("test", 910)):
        for name, direction in (("to the left", -1), ("to the right", 1)):
            for seed in range(first, first + 2):
                write_video(other / split / name / f"{seed}.avi", moving_square(direction, seed, 4), fps=24)
    shutil.copy(squares / "train" / "to the left" / "0.avi", other / "test" / "to the left" / "seen.avi")
    (other / "test" / "to the left" / "broken.avi").write_bytes(b"")
    with pytest.raises(ExpandError, match=r"1 of 6 test videos are damaged.*--skip-damaged"):
        ask(home, data=str(other))
    (test,) = ask(home, data=str(other), skip_damaged=True)
    assert not test.own_videos and test.fps == 12 and (test.videos, len(test.left_out)) == (5, 1)
    assert [(row.name, row.videos) for row in test.classes] == [
        ("at rest", 0),
        ("to the left", 3),
        ("to the right", 2),
    ]
    told = " ".join(test.notes)
    assert "1 of these videos are training videos" in told and "left out" in told
    assert "4 of 5 videos are shorter than a clip" in told and test.held == 4
    assert "test_top1" not in exported(home)
    (other / "test" / "to the right").rename(other / "test" / "upwards")
    (other / "train" / "to the right").rename(other / "train" / "upwards")
    with pytest.raises(UsageError, match=r"class 'upwards' is not among the network's 3 \(at rest, to the left"):
        ask(home, data=str(other))


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"trial": 9}, "trial 9: this run has trials 0 to 0"),
        ({"trial": None}, "say which network"),
        ({"all_front": True}, "--all-front cannot be combined"),
        ({"trial": None, "best": "top9"}, "top1"),
        ({"split": "train"}, "allowed are test, val"),
        ({"scale": 0.5}, "--scale 0.5"),
        ({"crop": 5}, "resolution=5: allowed are 16 to 1024"),
        ({"data": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_what_cannot_be_asked(home, question, words):
    with pytest.raises(UsageError, match=words):
        ask(home, **question)
    assert not (home / "run" / "artifacts" / "000000" / "tests").exists()


def test_a_crop_that_a_family_cannot_take_and_weights_that_are_gone(home):
    space = load_study(str(STUDIES / "tiny_grid.py")).space
    with pytest.raises(UsageError, match="c3d builds its head for the training crop"):
        at_crop(space, space.start, 34)
    (home / "run" / "artifacts" / "000000" / "model.safetensors").unlink()
    with pytest.raises(ExpandError, match=r"model.safetensors is gone: trial 0 has no weights"):
        ask(home)


def test_changed_videos_and_a_missing_split_are_refused(home, squares):
    facts = json.loads((home / "run" / "study.json").read_text())
    facts["data"]["fingerprint"] = "of others"
    (home / "run" / "study.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=r"the run's videos have changed .*--data"):
        ask(home)
    shutil.copytree(squares / "train", home / "two" / "train")
    shutil.copytree(squares / "val", home / "two" / "val")
    with pytest.raises(UsageError, match=r"--split test: two has no such videos; it has --split val"):
        ask(home, data=str(home / "two"))


def test_a_damaged_file_is_named(home):
    ask(home)
    (home / "run" / f"{STEM}.json").write_text("{")
    with pytest.raises(ExpandError, match=r"test-3x3-16.json is no test of ours.*delete it"):
        ask(home)


@pytest.mark.parametrize("number", [2, 60, 400])
def test_the_picture_names_what_it_can(number):
    counts = np.eye(number, dtype=int) * 9
    counts[0, 1] = 3
    names = [f"a class with a rather long name, number {n}" for n in range(number)]
    figure = draw_confusion(counts.tolist(), names, "a title " * 20)
    figure.canvas.draw()
    ticks = figure.axes[0].get_yticklabels()
    assert len(ticks) == number if number <= 60 else 10 <= len(ticks) <= 20
    texts = [text.get_text() for text in figure.axes[0].texts + figure.texts]
    assert ("9" in texts) == (number <= 20) and any("(0)" in text for text in texts) == (number > 60)
    renderer, page = figure.canvas.get_renderer(), figure.bbox
    for artist in (*ticks, *figure.axes[0].get_xticklabels(), *figure.texts):
        box = artist.get_window_extent(renderer)
        assert box.x0 >= page.x0 and box.y0 >= page.y0 and box.x1 <= page.x1 and box.y1 <= page.y1, artist
    assert confusions(counts.tolist(), names) == [(3, names[0], names[1])]


@pytest.mark.parametrize("number", [2, 15, 16, 400])
def test_the_picture_of_a_columns_width_has_text_of_readable_size_that_is_not_cut_off(number):
    counts = (np.eye(number, dtype=int) * 9).tolist()
    figure = draw_column(counts, [f"a class with a rather long name, number {n}" for n in range(number)])
    figure.canvas.draw()
    assert figure.bbox.width / figure.dpi == COLUMN
    axes, bar = figure.axes
    assert (len(axes.texts) > 0) == (number <= 15) and len(axes.get_yticklabels()) <= 15
    renderer, page = figure.canvas.get_renderer(), figure.bbox
    for text in (
        *axes.get_yticklabels(),
        *axes.get_xticklabels(),
        *bar.get_yticklabels(),
        *axes.texts,
        axes.xaxis.label,
    ):
        box = text.get_window_extent(renderer)
        assert text.get_fontsize() >= 6, text
        assert box.x0 >= page.x0 and box.y0 >= page.y0 and box.x1 <= page.x1 and box.y1 <= page.y1, text
