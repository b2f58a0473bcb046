"""What Optuna's dashboard shows of a run: by its REST answers, and in a real Chromium where one is installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from browser import CHROMIUM, browser
from conftest import ROOT

from expand.config.loading import load_study
from expand.config.serialize import describe
from expand.core.attempt import Epoch
from expand.core.errors import UsageError
from expand.core.outcome import Completed, Failed
from expand.core.study import Objective, Study
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.monitoring.dashboard import server
from expand.monitoring.dashboard.figures import curve_svg, hypervolume_figure
from expand.monitoring.dashboard.notes import BELOW, plain, with_kept
from expand.monitoring.dashboard.presenter import MOST_FAILURES, Presenter
from expand.report.candidates import RunFacts
from expand.report.front import front_of
from expand.report.run_report import run_facts
from expand.storage.facts import Facts
from expand.storage.run_directory import Record, open_for_writing
from expand.storage.serialize import from_plain
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace()
STUDY = Study("walk", SPACE, strategy=load_study("x3d_stepwise", "demo").strategy)
CURVE = tuple(Epoch(e, 2.0 / e, 0.1 * e, seconds=1.0) for e in (1, 2))
FACTS = from_plain({
    "reference": "x3d_stepwise", "scale": "demo", "settings": ["budget.steps=1"], "data_option": None, "seed_option": 3,
    "study": describe(STUDY),
    "data": {"name": "clips", "videos": {"train": 4, "val": 40}, "classes": ["a", "b"], "fingerprint": "f" * 64},
}, Facts)  # fmt: skip


def suggested(step: int, axes: tuple[str, ...], **values: Any) -> Suggestion:
    wish = SPACE.architecture(**values)
    return Suggestion(wish, 2, 0, step, axes, 0 if step else None, "expand" if step else "start", f"{axes} alone")


def told(record: Record, show: Presenter, wish: Suggestion, macs: int, top1: float | None, error: str = "") -> None:
    """A trial from its opening to its end, as the engine tells it."""
    number = record.open_trial(wish, Cost(macs, 300, 250, 10, ((3, 1, 16, 16),)), SPACE)
    show.opened(record.trial(number))
    if top1 is not None:
        show.ending(number, CURVE)
        record.complete(number, Completed(Metrics(top1, 0.9, 1.0, 40, 2), curve=CURVE, train_seconds=3.0))
    elif error:
        record.fail(number, Failed(error))
    else:
        record.infeasible(number, Objective("gmacs", "minimize", True, limit=0.001), macs / 1e9)
    show.ended(record.trial(number))


def walked(record: Record, show: Presenter) -> None:
    """The start and a step of four: one chosen, one not, one failed, one infeasible."""
    told(record, show, suggested(0, (), frames=1), 1_000_000, 0.2)
    told(record, show, suggested(1, ("frames",), frames=2), 2_000_000, 0.6)
    told(record, show, suggested(1, ("depth",), depth=2.0), 2_100_000, 0.3)
    told(
        record,
        show,
        suggested(1, ("width",), width=2.0),
        2_200_000,
        None,
        "ArithmeticError: a | `b` <script>alert(1)</script>",
    )
    told(record, show, suggested(1, ("resolution",), resolution=64), 2_300_000, None)
    record.set_finished(True)
    show.refresh(now=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dashboard") / "run"
    complaints: list[str] = []
    with open_for_writing(folder, FACTS, STUDY) as record:
        walked(record, Presenter(record, lambda: run_facts(record), complaints.append))
    assert not complaints
    return folder


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    """Of the run's page."""
    served, page = server.serve(run, host="127.0.0.1", port=0)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield page
    served.shutdown()
    thread.join()
    served.server_close()


def asked(address: str, path: str, method: str = "GET", content: Any = None, **headers: str) -> bytes:
    url = address.partition("/dashboard/")[0] + path
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} | headers, method=method)
    return urllib.request.urlopen(request, timeout=30).read()


def shown(address: str) -> dict[str, Any]:
    return json.loads(asked(address, "/api/studies/1"))


def test_the_run_and_its_trials_have_notes(run, address):
    study = shown(address)
    assert study["objective_names"] == ["top1", "gmacs"]
    note = study["note"]["body"]
    for part in (
        "walk (demo) on clips",
        "3 complete, 1 infeasible, 1 failed",
        "the search has ended",
        "**Chosen in step 1**: trial 1",
    ):
        assert part in note, note
    assert (
        f"expand run x3d_stepwise --scale demo \\\n    --set budget.steps=1 \\\n    --seed 3 \\\n    --out {run}"
        in note
    )
    assert "| 2.00 |&emsp;60.0 ± 7.7 |" in note.replace("| &emsp;", "|&emsp;")
    start, frames, depth, width, resolution = (trial["note"]["body"] for trial in study["trials"])
    assert "**Chosen** in step 1" in frames and "2.00 M (2.00 times its parent's)" in frames and "frames 1→2" in frames
    assert "60.0 ± 7.7 (binomial standard error; 40 validation clips, 2 views each)" in frames
    assert "**Not chosen** in step 1" in depth and "chosen** in step" not in start.lower()
    assert "```\nArithmeticError: a | `b` <script>alert(1)</script>\n```" in width
    assert "gmacs is 0.0023, the limit 0.001: never trained" in resolution and "--trial" not in resolution


def test_feasibility_and_costs_are_attributes(address):
    attributes = [{a["key"]: a["value"] for a in trial["user_attrs"]} for trial in shown(address)["trials"]]
    assert [own["feasible"] for own in attributes] == ["True", "True", "True", "True", "False"]
    assert attributes[1]["mmacs"] == "2.0" and attributes[1]["params_m"] == "0.0003"


def test_artifacts_are_optunas_own_and_can_be_opened(run, address):
    trial = shown(address)["trials"][1]
    files = {entry["filename"]: entry for entry in trial["artifacts"]}
    assert set(files) == {"architecture.json", "learning_curve.svg"}
    path = f"/artifacts/1/{trial['trial_id']}/{files['architecture.json']['artifact_id']}"
    assert json.loads(asked(address, path))["architecture"]["frames"] == 2
    assert files["learning_curve.svg"]["mimetype"] == "image/svg+xml"
    study = optuna.load_study(study_name="walk", storage=f"sqlite:///{run}/optuna.db")
    assert len(optuna.artifacts.get_all_artifact_meta(study.trials[1], storage=study._storage)) == 2


def test_figures_hold_front_and_hypervolume(address):
    figures = {figure["id"]: json.loads(figure["graph_object"]) for figure in shown(address)["plotly_graph_objects"]}
    rest, front = figures["front"]["data"]
    assert (front["x"], front["y"]) == ([1.0, 2.0], [20.0, 60.0]) and (rest["x"], rest["y"]) == ([2.1], [30.0])
    # One doubling from 1 M to 2.1 M costs 1.0704; to twice that, 2.0704 in all. Of it 20 % from the start, 60 % from 2 M on.
    box = 1 + 1.0703893278913981
    volume = figures["hypervolume"]["data"][0]
    assert volume["y"][0] == pytest.approx(20.0) and volume["y"][1] == pytest.approx(
        100 * (0.2 + 0.6 * (box - 1)) / box, abs=1e-3
    )
    assert volume["x"][-1] == pytest.approx(9 / 3600, abs=1e-5)


def test_a_person_writes_notes_that_stay_and_changes_nothing_else(tmp_path):
    with open_for_writing(tmp_path, FACTS, STUDY) as record:
        show = Presenter(record, lambda: run_facts(record), pytest.fail)
        told(record, show, suggested(0, (), frames=1), 1_000_000, 0.2)
        show.refresh(now=True)
        served, page = server.serve(tmp_path, host="127.0.0.1", port=0)
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        note = shown(page)["note"]
        mine = {"version": note["version"] + 1, "body": note["body"] + "\n\nlooks odd"}
        asked(page, "/api/studies/1/note", "PUT", mine)
        record.set_finished(True)
        show.refresh(now=True)
        body = shown(page)["note"]["body"]
        assert "the search has ended" in body and body.endswith("looks odd") and body.count(BELOW) == 1
        for method, path in (("DELETE", "/api/studies/1"), ("POST", "/api/studies"), ("POST", "/api/trials/1/tell")):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                asked(page, path, method, {})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            asked(page, "/api/studies", Host="elsewhere.example")
        served.shutdown()
        served.server_close()
        assert len(record.trials()) == 1


def test_a_run_in_a_shared_database_is_shown_by_its_own_page(tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    for name in "ab":
        with open_for_writing(tmp_path / name, FACTS, STUDY, storage=url) as record:
            Presenter(record, lambda record=record: run_facts(record), pytest.fail).refresh(now=True)
    served, page = server.serve(tmp_path / "b", host="localhost", port=0)
    served.server_close()
    assert page.endswith("/dashboard/studies/2")


def test_what_cannot_be_shown_is_said_and_stops_nothing(tmp_path, monkeypatch):
    said: list[str] = []
    with open_for_writing(tmp_path, FACTS, STUDY) as record:
        (tmp_path / "artifacts").write_text("in the way")
        monkeypatch.setattr("expand.monitoring.dashboard.presenter.study_note", lambda *_: 1 / 0)
        show = Presenter(record, lambda: run_facts(record), said.append)
        told(record, show, suggested(0, (), frames=1), 1_000_000, 0.2)
        show.refresh(now=True)
        show.refresh(now=True)
        assert record.trial(0).state is TrialState.COMPLETE
    assert len(said) == MOST_FAILURES and "FileExistsError" in said[0] and "not updated any more" in said[-1]


def test_a_curve_of_a_driver_that_died_is_replaced(tmp_path):
    with open_for_writing(tmp_path, FACTS, STUDY) as record:
        show = Presenter(record, lambda: run_facts(record), pytest.fail)
        number = record.open_trial(suggested(0, (), frames=1), Cost(1, 1, 1, 1, ((3, 1, 16, 16),)), SPACE)
        show.ending(number, CURVE[:1])
        Presenter(record, lambda: run_facts(record), pytest.fail).ending(number, CURVE)
        (known,) = optuna.artifacts.get_all_artifact_meta(record.optuna_trial(number))
    assert (tmp_path / "artifacts" / known.artifact_id).read_text().count("<circle") == 4


def test_notes_take_names_literally_and_keep_what_is_below():
    assert plain("a_b*c|<d>") == r"a\_b\*c\|\<d\>"
    first = with_kept("one", "")
    assert with_kept("two", first + "\nmine") == with_kept("two", "") + "\nmine"
    assert with_kept("two", "only mine").endswith(f"{BELOW}\n\nonly mine")


def test_a_curve_with_what_is_no_number_is_still_drawn():
    curve = [*CURVE, Epoch(3, float("nan"), 0.2)]
    drawn = curve_svg(curve, "a <b>")
    assert drawn.count("<circle") == 5 and "nan" not in drawn and "a &lt;b&gt;" in drawn


def test_a_seed_that_is_missing_counts_nothing():
    wish = suggested(0, (), frames=1)
    trial = Trial(
        0, TrialState.COMPLETE, wish, Cost(100, 1, 1, 1, ()), Metrics(0.5, 1, 1, 10, 1), ended="1", train_seconds=5
    )
    for seeds, hours, share in (((0,), [round(5 / 3600, 5)], [50.0]), ((0, 1), [], [])):
        facts = RunFacts("s", "demo", "clips", 2, 1, 10, seeds)
        (trace,) = hypervolume_figure(front_of("run", facts, [trial], STUDY.objectives))["data"]
        assert (trace["x"], trace["y"]) == (hours, share)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"host": "0.0.0.0"}, "--i-know"),
        ({"host": "no.such.host.invalid", "known": True}, "no such address"),
        ({"host": "192.0.2.1", "known": True}, "give an address of this machine"),
    ],
)
def test_addresses_that_are_refused(run, options, message):
    asked_for = {"host": "127.0.0.1", "port": 0, "known": False} | options
    with pytest.raises(UsageError, match=message):
        server.show(run, **asked_for, open_browser=False, say=pytest.fail)


def test_a_port_in_use_is_one_clear_line(run, address):
    port = int(address.split(":")[2].partition("/")[0])
    with pytest.raises(UsageError, match=f"--port {port} is in use"):
        server.serve(run, host="127.0.0.1", port=port)


@pytest.mark.parametrize(
    "number, code", [pytest.param(signal.SIGINT, 130, marks=pytest.mark.heavy), (signal.SIGTERM, 143)]
)
def test_the_command_prints_its_address_and_ends_when_told(run, number, code):
    command = [sys.executable, "-m", "expand", "dashboard", str(run)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    page = process.stdout.readline().rpartition(" ")[2].strip()
    assert page.startswith("http://127.0.0.1:") and len(shown(page)["trials"]) == 5
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code and errors == ""


@pytest.mark.heavy
def test_three_clients_that_poll_bring_no_writer_into_trouble():
    """The benchmark ends with an error where a write, a note or an answer fails."""
    command = [sys.executable, str(ROOT / "benchmarks" / "dashboard.py"), "--trials", "20"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["polled_answers"] >= 3


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_chromium_shows_notes_figures_and_trials(address, tmp_path):
    with browser(tmp_path / "profile") as page:
        page.open(address, "Front of walk", "Hypervolume of walk", "Best Trials", "gmacs")
        page.open(f"{address}/note", "Chosen in step 1", "expand export", "60.0 ± 7.7")
        text = page.open(
            f"{address}/trials?numbers=3", "Trial 0", "Trial 4", "step 1 width, failed", "architecture.json"
        )
        assert "<script>alert(1)</script>" in text
        assert page.errors == []
