"""The page of a run: what it shows, worked out by hand; that names cannot break it; that Chromium opens it without an error."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from tiny_records import facts_of

from expand.cli.report import report as report_command
from expand.core.accuracy import ClassRow
from expand.core.attempt import Epoch
from expand.core.errors import ExpandError, UsageError
from expand.core.outcome import Failed
from expand.core.space import Architecture
from expand.core.study import Objective, Recipe, Study
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.report.about import About, TestOnPage, about_run, unique_names, videos_by_class
from expand.report.candidates import RunFacts, candidates
from expand.report.drawing import picture_names
from expand.report.files import write_page, write_report
from expand.report.hypervolume import Box, box_of, growth, payoffs, training_macs
from expand.report.page import embedded, render_page
from expand.report.page_data import RunOnPage, page_data
from expand.report.run_report import show_report
from expand.storage import run_directory as records
from expand.storage.facts import Facts, StudyFacts, VideoCounts, VideoFacts
from expand.strategies.ledger import ledger
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace

OBJECTIVES = (Objective("top1", "maximize"), Objective("gmacs", "minimize", known_before_training=True))
FACTS = RunFacts("grown", "demo", "clips", epochs=2, views=3, clips=100)
EVIL = "</script><script>alert(1)</script><!-- & \u2028 {{script}}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def made(
    number, step, axes, parent, macs, top1, state=TrialState.COMPLETE, kind="expand", seed=0, name="", params=None
):
    wish = Suggestion(Architecture("x3d", (("variant", number),)), 2, seed, step, axes, parent, kind, name=name)
    metrics = None if top1 is None else Metrics(top1, 1.0, 1.0, 100, 3)
    curve = tuple(Epoch(e, 2.0, (top1 or 0.2) / 2 * e, 1.5) for e in (1, 2))
    cost = Cost(macs, params or macs // 10, 9, macs // 5, ((3, 1, 64, 64),))
    ended = "" if state is TrialState.RUNNING else f"2026-01-01T00:00:{number:02d}+00:00"
    error = "over the limit" if state is TrialState.INFEASIBLE else ""
    return Trial(number, state, wish, cost, metrics, () if error else curve, 10.0, "t", ended, error=error)


TRIALS = (
    made(0, 0, (), None, 100, 0.40, kind="start"),
    made(1, 1, ("frames",), 0, 200, 0.60),
    made(2, 1, ("width", "depth"), 0, 400, 0.50, params=5),
    made(3, 2, ("frames",), 1, 400, 0.99, TrialState.PRUNED),  # stopped early with a brilliant metric
    made(4, 2, ("width",), 1, 400, 0.70),
    made(5, 2, ("depth",), 1, 900, None, TrialState.INFEASIBLE),
)
VIDEOS = VideoFacts("clips", "f" * 64, ("a", "b"), VideoCounts(40, 10))
ASKED = Facts(study=StudyFacts("grown", OBJECTIVES, (0,)), data=VIDEOS)
RUN = RunOnPage(FACTS, TRIALS, OBJECTIVES, ledger(TRIALS), None, About("one", ASKED))


def test_training_multiply_adds_by_hand():
    whole, stopped = TRIALS[1], replace(TRIALS[1], curve=TRIALS[1].curve[:1])
    assert training_macs(whole, 40, 10, 3) == 200 * (
        3 * 2 * 40 + (1 + 3) * 10
    )  # one view after the first epoch, then three
    assert training_macs(stopped, 40, 10, 3) == 200 * (3 * 1 * 40 + 1 * 10)
    assert training_macs(TRIALS[5], 40, 10, 3) == 0


def test_hypervolume_over_training_by_hand():
    found = candidates(TRIALS, (0,))
    box = box_of([found], "gmacs")
    assert box == Box(100, 800) and box.doublings == 3
    moments = growth(TRIALS, found, "gmacs", box, RUN.spent())
    # over [100, 800] in doublings: 0.4 everywhere; then 0.4 once and 0.6 twice; the dearer 0.5 adds nothing; then 0.7 last
    after = [
        0.4,
        (0.4 + 0.6 * 2) / 3,
        (0.4 + 0.6 * 2) / 3,
        (0.4 + 0.6 * 2) / 3,
        (0.4 + 0.6 + 0.7) / 3,
        (0.4 + 0.6 + 0.7) / 3,
    ]
    assert [m.volume for m in moments] == pytest.approx(after)
    assert [m.seconds for m in moments] == [10, 20, 30, 40, 50, 60]
    assert moments[0].macs == 100 * (6 * 40 + 40) and moments[-1].macs == moments[-2].macs
    assert box_of([candidates(TRIALS[3:4], (0,))], "gmacs") is None


def test_a_candidate_counts_once_all_its_seeds_have_ended():
    first = made(0, 0, (), None, 100, 0.4, kind="grid")
    second = replace(made(1, 0, (), None, 100, 0.6, kind="grid", seed=1), suggestion=replace(first.suggestion, seed=1))
    found = candidates([first, second], (0, 1))
    moments = growth([first, second], found, "gmacs", Box(100, 200), {0: 1, 1: 1})
    assert [m.volume for m in moments] == [0, pytest.approx(0.5)]


def test_which_axis_paid_by_hand():
    found = {p.axis: p for p in payoffs(ledger(TRIALS), candidates(TRIALS, (0,)))}
    assert found["frames"].gains == pytest.approx((0.2,))  # one doubling; the one stopped early does not count
    assert (found["frames"].offered, found["frames"].chosen) == (2, 1)
    assert found["width"].gains == pytest.approx(
        (0.05, 0.1)
    )  # 0.1 over two doublings, together with depth; then 0.1 over one
    assert found["width"].mean == pytest.approx(0.075)
    assert found["width"].standard_error == pytest.approx(0.05 / math.sqrt(2) / math.sqrt(2))
    assert found["depth"].gains == pytest.approx((0.05,)) and found["depth"].standard_error is None
    assert [p.axis for p in payoffs(ledger(TRIALS), candidates(TRIALS, (0,)))] == ["frames", "width", "depth"]


def test_what_the_page_knows():
    (run,) = page_data([RUN])["runs"]
    assert [cost["key"] for cost in run["costs"]] == ["macs", "params", "activations", "train_seconds", "train_macs"]
    assert run["main_cost"] == "macs" and run["front"] == run["fronts"]["macs"] == [0, 1, 4]
    assert run["fronts"]["params"] == [2, 1, 4]  # candidate 2 has 5 parameters; never the one that was stopped early
    assert run["path"] == [0, 1, 4] and [step["chosen"] for step in run["steps"]] == [0, 0, 1]
    assert run["candidates"][3]["top1"] is None and run["candidates"][3]["state"] == "pruned"
    assert run["candidates"][5]["error"] == "over the limit" and run["candidates"][5]["costs"]["train_macs"] is None
    assert run["trials"][1]["curve"]["top1"] == [0.3, 0.6] and run["candidates"][4]["parent"] == 1
    json.dumps(run, allow_nan=False)


class Page(HTMLParser):
    """The elements of a page, and what its scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            assert name not in ("src", "srcset") and not (name == "href" and value.startswith("http")), value

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)


def test_names_cannot_break_out_of_the_page():
    trials = [replace(t, suggestion=replace(t.suggestion, name=EVIL), error=EVIL) for t in TRIALS]
    facts = replace(FACTS, study=EVIL, data=EVIL)
    about = About(EVIL, replace(ASKED, data=replace(VIDEOS, name=EVIL)), classes={EVIL: {"train": 1}})
    data = page_data([RunOnPage(facts, trials, OBJECTIVES, ledger(trials), None, about)])
    plain, evil = Page(render_page(page_data([RUN]))), Page(render_page(data))
    assert evil.tags == plain.tags
    assert json.loads(evil.scripts[0]) == data and data["runs"][0]["candidates"][0]["name"] == EVIL
    assert not set("<>&\u2028") & set(embedded(data))


def test_runs_together_say_what_sets_them_apart(tmp_path):
    other = replace(RUN, facts=replace(FACTS, epochs=7), about=replace(RUN.about, name="two"))
    data = page_data([RUN, other])
    assert data["apart"] == ["epochs"]
    assert page_data([RUN, RUN])["apart"] == []
    cheap = replace(RUN, trials=TRIALS[:1], steps=ledger(TRIALS[:1]))
    assert {run["volume"]["high"] for run in page_data([cheap, RUN])["runs"]} == {800}  # one box for all
    files = write_page(tmp_path, [RUN, other])
    names = ["index.html", "front.json", *picture_names("fronts"), *picture_names("hypervolume")]
    assert [file.name for file in files] == names
    assert json.loads((tmp_path / "front.json").read_text()) == data
    assert "multiply-adds" in (tmp_path / "fronts.svg").read_text()  # text stays text


def test_what_stands_beside_a_record_may_be_missing(tmp_path):
    (tmp_path / "environment.json").write_text("{broken")
    assert about_run(tmp_path, ASKED) == About(tmp_path.name, ASKED)
    listing = {"x.mp4": ("b", "train", "0"), "y.mp4": ("b", "val", "0"), "z.mp4": ("a", "train", "0")}
    assert videos_by_class(listing) == {"a": {"train": 1}, "b": {"train": 1, "val": 1}}
    assert unique_names(["run", "run", "run-2", "b"]) == ["run", "run-2", "run-2-2", "b"]


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run whose one trial has failed and whose other one runs."""
    space = X3DSpace()
    study = Study("begun", space, Stepwise())
    with records.open_for_writing(tmp_path / "begun", facts_of(study), study) as record:
        for frames in (1, 2):
            wish = Suggestion(space.architecture(frames=frames), 2, 0, kind="sample")
            record.open_trial(wish, Cost(10, 5, 5, 5, ((3, 1, 8, 8),)), space)
        record.fail(0, Failed("no memory left"))
    return tmp_path / "begun"


def test_nothing_complete_is_one_clear_line_and_a_page_with_the_reasons(unfinished):
    with pytest.raises(UsageError, match=r"no candidate is complete yet.*index\.html") as refusal:
        show_report([unfinished], None, Console(file=io.StringIO()), tables=False)
    assert refusal.value.exit_code == 2
    page = Page((unfinished / "report" / "index.html").read_text())
    run = json.loads(page.scripts[0])["runs"][0]
    assert run["front"] == [] and [t["state"] for t in run["trials"]] == ["failed", "running"]
    assert run["trials"][0]["error"] == "no memory left"


def test_several_runs_need_a_place(unfinished):
    with pytest.raises(UsageError, match="--to"):
        report_command([unfinished, unfinished])


def opened(page: Path, mark: str = "") -> tuple[str, str]:
    """The page's document after its script has run, and what the console said."""
    assert CHROMIUM
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}",
        "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", f"file://{page}{mark}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    drawn = done.stdout.partition("<main")[2].partition("<script")[0]  # the script holds every sentence, too
    assert 'data-ready="yes"' in done.stdout
    return drawn, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("trials", [TRIALS, TRIALS[3:4], ()])
def test_chromium_opens_the_page_without_an_error(tmp_path, trials):
    trials = [replace(t, number=n, suggestion=replace(t.suggestion, name=EVIL)) for n, t in enumerate(trials)]
    write_report(tmp_path, FACTS, trials, OBJECTIVES, ledger(trials), None, RUN.about)
    document, console = opened(tmp_path / "index.html")
    assert console == ""
    assert "grown (demo) on clips" in document
    assert ("No candidate is complete yet" in document) == (len(trials) < 2)


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_chromium_shows_the_test_split_near_the_top_and_short_settings(tmp_path):
    rows = tuple(ClassRow(name, 4, right, right / 4, 0.1, 0.9) for name, right in (("a", 3), ("b", 2)))
    test = TestOnPage(4, 0.625, 0.171, 8, "10x3", 64, rows, [[3, 1], [2, 2]])
    recipe = Recipe(weight_decay=0.00010000000000000002, scale_jitter=(1.1428571428571428, 1.4))
    about = replace(RUN.about, tests=(test,), facts=replace(ASKED, study=replace(ASKED.study, recipe=recipe)))
    write_report(tmp_path, FACTS, TRIALS, OBJECTIVES, RUN.steps, None, about)
    document, console = opened(tmp_path / "index.html")
    assert console == "" and document.index("<h2>Test split") < document.index("<h2>The expansion, step by step")
    assert "62.5 ± 17.1" in document and ">test top-1 of the best<" in document and 'title="2 of 4"' in document
    assert "<td>0.0001</td>" in document and "<td>1.14286, 1.4</td>" in document


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_chromium_shows_the_cost_and_the_trial_of_a_link(tmp_path):
    write_page(tmp_path / "two", [RUN, replace(RUN, about=About("other"))])
    document, console = opened(tmp_path / "two" / "index.html")
    assert "Fronts together" in document and console == ""
    write_report(tmp_path, FACTS, TRIALS, OBJECTIVES, RUN.steps, None, RUN.about)
    document, console = opened(tmp_path / "index.html", "#cost=params&trial=4")
    assert (
        console == "" and "parameters (params, log scale)" in document and "multiply-adds (MACs, log scale)" in document
    )
    assert "step 2 width · trial 4" in document.partition('class="pinned"')[2][:200] and "over the limit" in document
    assert "step 2 width · trial 4" not in opened(tmp_path / "index.html")[0].partition('class="pinned"')[2][:200]


def test_a_place_that_cannot_be_written_is_one_line(unfinished, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExpandError, match=r"cannot write the report to .*file.*--to names another folder"):
        show_report([unfinished], tmp_path / "file" / "below", Console(file=io.StringIO()), tables=False)
