"""What a notebook would type: the Python API, on a study that is an object, from a run to an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

import expand

VIDEO = Path("test") / "to the left" / "200.avi"


def small(videos: Path, **recipe: object) -> expand.Study:
    from search_spaces.x3d import X3DSpace

    return expand.Study(
        name="small",
        space=X3DSpace(frames=2, stride=2, resolution=16, width=0.1, depth=0.2),
        strategy=expand.Stepwise(axes=("frames", "resolution")),
        budget=expand.Budget(steps=1),
        recipe=replace(expand.Recipe(epochs=2, batch_size=8, views=1), **recipe),
        data=expand.Data(source=str(videos), cache_side=24),
    )


@pytest.fixture(scope="module")
def run(squares, tmp_path_factory) -> expand.Run:
    return expand.run(small(squares), out=tmp_path_factory.mktemp("api") / "run", workers=0, quiet=True)


@pytest.fixture
def expand_command(expand):
    """The command line, under a name beside the module's."""
    return expand


def test_a_run_as_tables_and_decisions(run):
    trials, front = run.trials(), run.front()
    assert run.finished and len(trials) == 3 and set(trials["state"]) == {"complete"}
    assert {"frames", "gmacs", "top1", "seed", "epochs"} <= set(trials.columns)
    assert list(front["gmacs"]) == sorted(front["gmacs"]) and 1 <= len(front) <= 3
    assert [step.step for step in run.ledger()] == [0, 1]
    best = run.best("top1")
    assert best.metrics.top1 == trials["top1"].max()
    cheapest = run.best(under={"gmacs": trials["gmacs"].min()})
    assert cheapest.cost.gmacs == trials["gmacs"].min()
    with pytest.raises(expand.UsageError, match="no complete trial is within this limit"):
        run.best(under={"gmacs": 1e-9})
    with pytest.raises(expand.UsageError, match="one cost at a time"):
        run.best(under={"gmacs": 1, "params_m": 1})
    assert run.report().name == "index.html"


def test_the_same_call_resumes_and_another_study_is_refused(run, squares):
    again = expand.run(small(squares), out=run.folder, workers=0, quiet=True)
    assert again.trials().equals(run.trials())
    with pytest.raises(expand.UsageError, match=r"recipe.epochs: 2 in the run, 3 now"):
        expand.run(small(squares, epochs=3), out=run.folder, workers=0, quiet=True)


def test_networks_answer_videos_and_leave(run, squares, tmp_path):
    import torch

    best = run.best()
    network = run.network(best)
    assert isinstance(network, torch.nn.Module) and not network.training
    folder = run.export(tmp_path / "network", best)
    answers = [
        expand.predict(source, squares / VIDEO, views=2, top=3)
        for source in (network, folder, f"{run.folder}:{best.number}")
    ]
    for answer in answers:
        assert dict(answer.classes) == pytest.approx(dict(answers[0].classes), abs=1e-4)
        assert sum(chance for _, chance in answer.classes) == pytest.approx(1, abs=1e-4)
    for source, words in ((torch.nn.Linear(1, 1), "Run.network"), (tmp_path, "neither")):
        with pytest.raises(expand.UsageError, match=words):
            expand.predict(source, squares / VIDEO)
    with pytest.raises(expand.UsageError, match="no such file"):
        expand.predict(network, squares / "nothing.mp4")


def test_a_run_that_python_started_is_open_to_the_command_line(run, squares, expand_command):
    done = expand_command("test", run.folder, "--best", "top1", "--views", "2x1", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["videos"] == 6, done.stderr
    opened = expand.open_run(run.folder)
    assert opened.study == replace(small(squares), data=replace(small(squares).data, source=str(squares)))


def test_what_cannot_be_is_refused_before_anything_is_written(squares, tmp_path):
    for recipe, words in (
        ({"epochs": 0}, "recipe.epochs=0: at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ):
        with pytest.raises(expand.UsageError, match=words):
            expand.run(small(squares, **recipe), out=tmp_path / "run", workers=0, quiet=True)
    with pytest.raises(expand.UsageError, match="unknown study"):
        expand.run("x3d_stepwize", out=tmp_path / "run", workers=0, quiet=True)
    with pytest.raises(expand.UsageError, match="no run"):
        expand.open_run(tmp_path / "nothing")
    assert not list(tmp_path.iterdir())


def test_costs_by_point_by_values_and_by_architecture():
    exact = expand.cost("x3d", "XS")
    assert round(exact.gmacs, 3) == 0.605
    space = expand.load_space("x3d")
    assert expand.cost(space, space.point("XS")) == exact
    assert expand.cost(space, space.point("XS").as_dict()) == exact
    assert expand.cost(space, "XS", classes=10).params < exact.params
    with pytest.raises(expand.UsageError, match="did you mean 'XS'"):
        expand.cost(space, "XSS")


def test_importing_loads_nothing_heavy_and_names_are_complete():
    code = "import sys, expand; print([n for n in ('torch', 'ray', 'optuna', 'pandas', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
    for name in expand.__all__:
        assert getattr(expand, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = expand.nothing


def test_a_space_of_a_notebook_needs_its_study_again(squares, tmp_path):
    """What `exec` defines has no file, as in a notebook."""
    code = (ROOT / "examples" / "own_family.py").read_text()
    cell: dict[str, object] = {"__name__": "a_notebook"}
    sys.modules["a_notebook"] = module = type(sys)("a_notebook")
    vars(module).update(cell)
    try:
        exec(compile(code, "<cell>", "exec"), vars(module))
        study = replace(
            module.study(str(squares)), strategy=expand.Grid(axes=("width",)), budget=expand.Budget(trials=1)
        )
        study = replace(study, recipe=replace(study.recipe, epochs=1))
        run = expand.run(study, out=tmp_path / "run", workers=0, quiet=True)
    finally:
        del sys.modules["a_notebook"]
    with pytest.raises(expand.UsageError, match=r"expand.open_run\(folder, study\)"):
        _ = expand.open_run(run.folder).study
    opened = expand.open_run(run.folder, study)
    assert opened.network(opened.best()).head.out_features == 3


@pytest.mark.heavy
def test_the_example_of_a_family_runs(squares, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "own_family.py"), str(squares), "own"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0 and "best: depth=" in done.stdout, done.stderr[-2000:]
    assert (tmp_path / "own" / "network" / "predict.py").exists()


@pytest.mark.heavy
def test_the_notebook_runs(squares, tmp_path):
    """Every cell in order, on the tests' clips in the place of the default ones."""
    cells = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "VIDEOS = None" in code
    code = code.replace("VIDEOS = None", f"VIDEOS = {str(squares)!r}").replace("steps=3", "steps=1")
    code = code.replace("epochs=16", "epochs=1").replace("workers=None", "workers=0")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "my_network" / "predict.py").exists()
