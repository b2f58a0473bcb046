"""Trackers: learning curves for TensorBoard (event files), and for MLflow and Weights & Biases (Ray Tune's callbacks).

A tracker is imported and used only if the user names it. Nothing leaves the run directory unless the user's own
MLFLOW_TRACKING_URI, WANDB_MODE or WANDB_API_KEY says so. Trackers hold copies of the record, so their failures do no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expand.core.attempt import Curve, Epoch
from expand.core.errors import UsageError, unknown
from expand.core.trial import Trial, TrialState
from expand.monitoring.progress import Outlook, Watcher
from expand.storage.serialize import from_plain

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from expand.storage.run_directory import Record

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}  # the package that each tracker imports
BY_RAY = ("mlflow", "wandb")
SCALARS = ("loss", "top1", "val_loss", "learning_rate")  # logged after each epoch


def check(trackers: Sequence[str], workers: int) -> tuple[str, ...]:
    """The requested trackers without repetitions.

    Raises:
        UsageError: the name is unknown, its package is not installed, or it needs Ray and `workers` is 0.
    """
    for name in trackers:
        if name not in PACKAGES:
            raise unknown("tracker", name, PACKAGES)
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise UsageError(f"--track {name}: its package is not installed; pip install 'expand-nas[{name}]'")
        if name in BY_RAY and workers == 0:
            raise UsageError(f"--track {name} logs through Ray: --workers 1 or more, or --track tensorboard")
    return tuple(dict.fromkeys(trackers))


def facts(trial: Trial) -> dict[str, Any]:
    """The facts of a trial that do not change while it trains, under readable names."""
    suggestion, cost = trial.suggestion, trial.cost
    about = {
        "seed": suggestion.seed, "epochs": suggestion.epochs, "step": suggestion.step,
        "axes": " = ".join(suggestion.axes) or suggestion.kind,
        "parent": "none" if suggestion.parent is None else str(suggestion.parent),
        "gmacs": cost.gmacs, "params_m": cost.params / 1e6, "activations_m": cost.activations / 1e6,
    }  # fmt: skip
    return trial.architecture.as_dict() | about


def title(trial: Trial) -> str:
    """A name such as "000003 step 1 depth", the same when the trial is resumed."""
    return f"{trial.number:06d} {trial.label}"


def _scalars(entry: Epoch) -> dict[str, float]:
    return {name: value for name in SCALARS if (value := getattr(entry, name)) is not None}


@contextlib.contextmanager
def following(watch: Watcher, trackers: Sequence[str], folder: Path) -> Iterator[Watcher]:
    """The watcher for a search: the given one, which also writes TensorBoard's event files if "tensorboard" is requested."""
    if "tensorboard" not in trackers:
        yield watch
        return
    both = WithTensorBoard(watch, folder / "tensorboard")
    try:
        yield both
    finally:
        both.close()


@dataclass
class Harmless:
    """Calls a tracker. After its first exception, such as a full disk, it prints one note and does not call the tracker again."""

    name: str
    note: Callable[[str], None]
    failed: bool = False

    def __call__(self, act: Callable[..., Any], *arguments: Any) -> None:
        if self.failed:
            return
        try:
            act(*arguments)
        except Exception as error:
            self.failed = True
            first = (str(error) or "no message").splitlines()[0]
            self.note(
                f"--track {self.name} stopped ({type(error).__name__}: {first}); the search and its record continue"
            )


@dataclass
class WithTensorBoard:
    """Passes all calls on to `watch`, and writes the learning curve of every trial to event files below `folder`.

    The files are written from the record: a driver writes the curve of each trial again from the first epoch and makes
    TensorBoard discard what an earlier driver wrote (`purge_step`). So no step is missing or repeated after a kill.
    """

    watch: Watcher
    folder: Path
    writers: dict[int, SummaryWriter] = field(default_factory=dict)
    logged: dict[int, Curve] = field(default_factory=dict)
    harmless: Harmless = field(init=False)

    def __post_init__(self) -> None:
        self.harmless = Harmless("tensorboard", self.watch.note)

    def __enter__(self) -> WithTensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, text: str) -> None:
        self.watch.note(text)

    def progress(self, text: str) -> None:
        self.watch.progress(text)

    def step(self, number: int, epoch: int, done: int, steps: int, loss: float) -> None:
        self.watch.step(number, epoch, done, steps, loss)

    def placed(self, number: int, *, training: bool) -> None:
        self.watch.placed(number, training=training)

    def outlook(self, outlook: Outlook) -> None:
        self.watch.outlook(outlook)

    def started(self, trial: Trial, *, resumed: bool = False) -> None:
        self.watch.started(trial, resumed=resumed)

    def epoch(self, trial: Trial, entry: Epoch) -> None:
        self.watch.epoch(trial, entry)
        self.harmless(self._catch_up, trial)

    def ended(self, trial: Trial) -> None:
        self.watch.ended(trial)
        if trial.curve:
            self.harmless(self._catch_up, trial)
            self.harmless(self._conclude, trial)

    def close(self) -> None:
        while self.writers:
            self.harmless(self.writers.popitem()[1].close)

    def _catch_up(self, trial: Trial) -> None:
        """Writes the epochs that are not in the files yet, or all if epochs already written were trained again."""
        before = self.logged.get(trial.number, ())
        if trial.number not in self.writers or trial.curve[: len(before)] != before:
            before = ()
            self._begin(trial)
        writer = self.writers[trial.number]
        for entry in trial.curve[len(before) :]:
            for name, value in _scalars(entry).items():
                writer.add_scalar(name, value, entry.epoch)
        self.logged[trial.number] = trial.curve
        writer.flush()

    def _begin(self, trial: Trial) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        if trial.number in self.writers:
            self.writers.pop(trial.number).close()
        folder = self.folder / re.sub(r"[^\w.=+()-]+", "-", title(trial))
        writer = self.writers[trial.number] = SummaryWriter(str(folder), purge_step=0)
        experiment, session, _ = hparams(facts(trial), dict.fromkeys(("top1", "val_loss")))
        for summary in (experiment, session):  # `add_hparams` would create a separate run for them
            writer._get_file_writer().add_summary(summary, 0)
        lines = [f"**{trial.label}**", trial.suggestion.reason, *(f"{k}: {v}" for k, v in facts(trial).items())]
        writer.add_text("candidate", "\n\n".join(lines), 0)

    def _conclude(self, trial: Trial) -> None:
        from torch.utils.tensorboard.summary import hparams

        writer = self.writers.pop(trial.number)
        writer.add_text("end", f"{trial.state.value} {trial.error}".strip(), len(trial.curve))
        writer._get_file_writer().add_summary(hparams({}, {})[2], len(trial.curve))
        writer.close()
        self.logged.pop(trial.number, None)


# --- Ray Tune's callbacks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """One of our trials with the fields that Tune's loggers read of a Tune trial. The real configuration of a Tune trial is a
    pickled job. `trial_id` is the same when the run is resumed, so that a tracker continues the same curve."""

    trial_id: str
    name: str
    config: dict[str, Any] = field(compare=False)
    local_path: str = ""
    experiment_dir_name: str = ""

    def __str__(self) -> str:
        return self.name


def readable(logger: type, name: str, record: Record, note: Callable[[str], None]) -> type:
    """A subclass of one of Tune's logger callbacks that logs the trials and epochs of `record` and never ends a search."""
    harmless, place = Harmless(name, note), hashlib.sha256(str(record.folder).encode()).hexdigest()[:8]

    def show(trial: Any) -> Shown:
        ours = record.trial(trial.config["number"])
        identity = f"{place}-{ours.number:06d}"
        return Shown(identity, title(ours), facts(ours), str(record.folder), record.facts.study.name)

    class Readable(logger):
        def __reduce__(self) -> tuple[type, tuple[()]]:
            return dict, ()  # Tune pickles its callbacks to restore them later, which is not used here

        def setup(self, *arguments: Any, **keywords: Any) -> None:
            harmless(super().setup)

        def log_trial_start(self, trial: Any) -> None:
            start = super().log_trial_start
            harmless(lambda: start(show(trial)))

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            log = super().log_trial_result
            if "entry" in result:
                entry = from_plain(json.loads(result["entry"]), Epoch)
                plain = _scalars(entry) | {"training_iteration": entry.epoch}
                harmless(lambda: log(iteration, show(trial), plain))

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            end = super().log_trial_end
            state = record.trial(trial.config["number"]).state
            harmless(lambda: end(show(trial), failed or state is TrialState.FAILED))

        def on_experiment_end(self, trials: Any, **info: Any) -> None:
            harmless(super().on_experiment_end, trials)

    return Readable


def resuming(logger: type) -> type:
    """A subclass of Ray's MLflow callback that resumes the MLflow runs of an earlier driver; Ray's own always starts new ones."""

    class Resuming(logger):
        def log_trial_start(self, trial: Shown) -> None:
            util = self.mlflow_util
            if trial not in self._trial_runs:
                mine = f"tags.expand_trial = '{trial.trial_id}'"
                earlier = util._get_client().search_runs([util.experiment_id], filter_string=mine)
                if earlier:
                    self._trial_runs[trial] = earlier[0].info.run_id
            self.tags = {"expand_trial": trial.trial_id}
            super().log_trial_start(trial)

    return Resuming


def mlflow_place(folder: Path) -> str:
    """MLflow's tracking URI: the user's, otherwise a database in the run directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}/mlflow.db"


def wandb_mode() -> str:
    """Weights & Biases' mode: offline, unless WANDB_MODE or WANDB_API_KEY is set."""
    return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
