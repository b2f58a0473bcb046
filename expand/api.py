"""The Python API: what `import expand` offers beside the nouns. Each function says what the command of its name does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace, Value
from expand.core.study import Study
from expand.core.trial import Cost, Trial

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from expand.evaluation.predict import Prediction
    from expand.storage.run_directory import Record
    from expand.strategies.ledger import LedgerStep


def run(
    study: Study | str,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    address: str | None = None,
    quiet: bool = False,
    force: bool = False,
    track: Sequence[str] = (),
) -> Run:
    """Runs a study to its end and writes its report. Called again with the same study and folder, it resumes.

    Args:
        study: a `Study`, or what `load_study` takes.
        out: the run directory; runs/NAME-SCALE without it.
        workers: trials in parallel; 0 trains in this process without Ray, None is one for each GPU or core.
        gpus_per_trial: such as 0.25, where four trials share a GPU.
        address: of a running Ray cluster; a private one is started without it.
        quiet: print nothing.
        force: accept another budget or other videos than the run's, and networks that do not beat chance.
        track: names of trackers: tensorboard, mlflow, wandb.

    Raises:
        UsageError: an impossible field (with the field, its value and what is allowed), before anything is written; a
            folder that holds another experiment.
        ExpandError: the search stopped; the same call resumes it.
    """
    from rich.console import Console

    from expand.config.request import Request
    from expand.monitoring.progress import watcher
    from expand.monitoring.trackers import check
    from expand.search.run import run as run_study
    from expand.search.worker_plan import plan_workers

    request = Request(reference=study) if isinstance(study, str) else Request.of_study(study)
    folder = request.default_folder(request.study()) if out is None else Path(out)
    plan = plan_workers(workers, gpus_per_trial, address)
    with open(os.devnull, "w") as nowhere:
        console = Console(file=nowhere) if quiet else Console()
        with watcher(console, request.study().name) as watch:
            record = run_study(request, folder, plan, watch, force=force, track=check(track, plan.count))
    return Run(record, None if isinstance(study, str) else study)


def open_run(folder: str | os.PathLike[str], study: Study | None = None) -> Run:
    """A run directory, finished or not, to look at and to take networks from.

    Args:
        folder: the run directory.
        study: needed for networks only where the run's search space was defined in a notebook.

    Raises:
        UsageError: there is no run in the folder.
    """
    from expand.storage.run_directory import open_for_reading

    return Run(open_for_reading(Path(folder)), study)


def cost(
    space: SearchSpace | str, architecture: Architecture | str | Mapping[str, Value], classes: int | None = None
) -> Cost:
    """What one clip costs at the training crop: multiply-adds, parameters and activations, without running anything.

    Args:
        space: a search space, or what `load_space` takes, such as "x3d".
        architecture: an `Architecture` of it, a named point such as "XS", or values such as {"frames": 6}.
        classes: output classes; the family's published number without it.
    """
    from expand.config.loading import load_space
    from expand.counting.cost import cost_of

    space = load_space(space) if isinstance(space, str) else space
    if isinstance(architecture, str):
        architecture = space.point(architecture)
    elif not isinstance(architecture, Architecture):
        architecture = space.architecture(**architecture)
    return cost_of(space, architecture, space.num_classes if classes is None else classes)


def predict(
    network: str | os.PathLike[str] | nn.Module, video: str | os.PathLike[str], *, views: int = 10, top: int = 5
) -> Prediction:
    """The most probable classes of a video file: the mean softmax of `views` clips spread evenly in time, centre crops.

    Args:
        network: an export folder, "RUN:TRIAL", or what `Run.network` returned.
        video: a video file.
        views: clips that are averaged.
        top: how many classes are returned.

    Raises:
        UsageError: the network or the video cannot be read.
    """
    from expand.evaluation.predict import predict_video, predictor

    if isinstance(network, (str, os.PathLike)):
        return predictor(os.fspath(network))(Path(video), views, top)
    if network not in _TRAINED:
        raise UsageError("predict takes an export folder, RUN:TRIAL, or a network that Run.network returned")
    record, study, trial = _TRAINED[network]
    return predict_video(network, record, study, trial, Path(video), views=views, top=top)


# Which trial a network is of that `Run.network` returned, for `predict`; forgotten with the network.
_TRAINED: WeakKeyDictionary[nn.Module, tuple[Record, Study, Trial]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Run:
    """A run directory: what was trained, what was found, and the networks."""

    _record: Record
    _given: Study | None = None

    @property
    def folder(self) -> Path:
        return self._record.folder

    @property
    def finished(self) -> bool:
        """Whether the search ended; an unfinished run may be reported and exported too."""
        return self._record.finished

    @property
    def study(self) -> Study:
        """The study of the run.

        Raises:
            ExpandError: its study file has changed.
            UsageError: its search space was defined in a notebook: give the study to `open_run`.
        """
        from expand.storage.stored_study import study_of

        return study_of(self._record) if self._given is None else self._given

    def trials(self) -> pandas.DataFrame:
        """Every trial, one row each: state, architecture, cost, accuracy (fractions), seed, seconds, error."""
        from expand.report.files import trial_table
        from expand.report.run_report import official_tests

        return trial_table(self._record.trials(), official_tests(self._record))

    def front(self) -> pandas.DataFrame:
        """The Pareto front, cheapest first, one row a network; accuracies are means over seeds."""
        from expand.report.files import front_table
        from expand.report.run_report import official_tests, run_facts

        trials = self._record.trials()
        facts = run_facts(self._record, trials)
        return front_table(facts, trials, self._record.objectives, official_tests(self._record))

    def ledger(self) -> tuple[LedgerStep, ...]:
        """The decisions of a stepwise expansion; empty for other strategies."""
        from expand.strategies.ledger import ledger

        return ledger(self._record.trials())

    def best(self, objective: str = "top1", *, under: Mapping[str, float] | None = None) -> Trial:
        """The most accurate complete trial on the front; `under` limits one cost, such as {"gmacs": 2}.

        Raises:
            UsageError: no complete trial costs that little, or an unknown name.
        """
        from expand.report.choosing import Choice, choose

        if not under:
            return choose(self._record, Choice(best=objective))
        if len(under) > 1:
            raise UsageError(f"under={dict(under)}: one cost at a time")
        (limit,) = (f"{name}={float(value)!r}" for name, value in under.items())
        return choose(self._record, Choice(under=limit))

    def network(self, trial: Trial | int) -> nn.Module:
        """The network of a complete trial with its weights: a plain `nn.Module` on the CPU, in evaluation mode."""
        from expand.evaluation.predict import trained_network

        found, study = self._record.trial(_number(trial)), self.study
        network = trained_network(self._record, study, found)
        _TRAINED[network] = (self._record, study, found)
        return network

    def export(
        self,
        to: str | os.PathLike[str],
        trial: Trial | int | None = None,
        *,
        formats: Sequence[str] = (),
        force: bool = False,
    ) -> Path:
        """Writes a folder that needs only torch: source, weights, model card, `predict.py`.

        Args:
            to: the folder.
            trial: which network; the one with the best top-1 without it.
            formats: further files: "model.pt2", "model.onnx".
            force: replace an earlier export.
        """
        from expand.export.bundle import export_trials

        chosen = self.best() if trial is None else self._record.trial(_number(trial))
        export_trials(self._record, self.study, Path(to), {"": chosen}, formats=formats, force=force)
        return Path(to)

    def report(self, to: str | os.PathLike[str] | None = None) -> Path:
        """Writes the page, tables and figures, and returns the page."""
        from expand.report.run_report import report

        written = report(self._record, None if to is None else Path(to))
        return next(path for path in written if path.name == "index.html")


def _number(trial: Trial | int) -> int:
    return trial if isinstance(trial, int) else trial.number
