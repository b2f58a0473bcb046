"""The run directory and its Optuna study: the one record of what happened. One writer, the driver.

study.json          what was asked for, whole, and what the data were
environment.json    what it first ran on
plan.json           what it was planned to cost, where it was
optuna.db           every trial (or another Optuna storage, by its URL)
checkpoints/N/      training state of trial N while it is not finished
artifacts/N/        model.safetensors of trial N once it is; beside the folders, what the dashboard shows of a trial as files
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import secrets
import socket
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from expand.errors import ExpandError, UsageError
from expand.space import Architecture, SearchSpace
from expand.study import Objective, Study
from expand.trial import Cost, Metrics, Suggestion, Trial, TrialState

LOCK_WAIT_SECONDS = 60.0  # how long a write waits for another program's lock on the database
_OPTUNA_STATE = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.INFEASIBLE: OptunaState.PRUNED,  # told as FAIL, a sampler would learn nothing from it
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}


@dataclass(frozen=True)
class Record:
    """An open run. `trials` reads; every other method writes and is durable when it returns."""

    folder: Path
    facts: dict[str, Any]  # study.json
    _study: optuna.Study
    _ids: dict[int, int] = field(default_factory=dict)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        fields = ("name", "direction", "known_before_training", "limit", "on_front")
        stored = self.facts["study"]["objectives"]
        return tuple(Objective(**{k: plain[k] for k in fields if k in plain}) for plain in stored)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.facts["study"]["seeds"])

    def checkpoint(self, number: int) -> Path:
        return self.folder / "checkpoints" / f"{number:06d}" / "last.pt"

    def weights(self, number: int) -> Path:
        return self.folder / "artifacts" / f"{number:06d}" / "model.safetensors"

    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, by number."""
        with _database_errors(self.folder):
            return tuple(_to_trial(frozen) for frozen in self._study.get_trials(deepcopy=False))

    def trial(self, number: int) -> Trial:
        with _database_errors(self.folder):
            count = len(self._study.get_trials(deepcopy=False)) if number not in self._ids else number + 1
            if not 0 <= number < count:
                raise UsageError(
                    f"trial {number}: this run has {f'trials 0 to {count - 1}' if count else 'no trials yet'}"
                )
            return _to_trial(self._study._storage.get_trial(self._id(number)))

    def open_trial(self, suggestion: Suggestion, cost: Cost, space: SearchSpace) -> int:
        """A new running trial; its number."""
        values = suggestion.architecture.as_dict()
        attributes = {
            "state": TrialState.RUNNING.value, "architecture": suggestion.architecture.to_json(),
            "step": suggestion.step, "kind": suggestion.kind, "name": suggestion.name, "axis": " = ".join(suggestion.axes),
            "axes": list(suggestion.axes), "parent": suggestion.parent, "reason": suggestion.reason,
            "seed": suggestion.seed, "epochs": suggestion.epochs, "cost": asdict(cost),
            "mmacs": round(cost.macs / 1e6, 4), "params_m": round(cost.params / 1e6, 4), "feasible": True,
        }  # fmt: skip
        distributions = {axis.parameter: _distribution(axis) for axis in space.axes if axis.parameter in values}
        with _database_errors(self.folder):
            params = {name: values[name] for name in distributions}
            frozen = create_trial(
                state=OptunaState.RUNNING, params=params, distributions=distributions, user_attrs=attributes
            )
            self._study.add_trial(frozen)
            return len(self._study.get_trials(deepcopy=False)) - 1

    def epoch(self, number: int, curve: list[dict[str, Any]]) -> None:
        self._set(number, curve=curve)

    def complete(self, number: int, metrics: Metrics, result: dict[str, Any]) -> None:
        """Told to Optuna with one value an objective. A value that is no number fails the trial instead: Optuna would
        take infinity for a result."""
        trial = self.trial(number)
        aims = [objective for objective in self.objectives if objective.on_front]
        values = [_objective(objective, metrics, trial.cost, result.get("speed")) for objective in aims]
        if not all(math.isfinite(value) for value in values):
            return self.fail(number, f"an objective is not a finite number: {values}", result)
        self._set(number, metrics=asdict(metrics), error="", interrupted=False, **_of_result(result))
        self._end(number, TrialState.COMPLETE, values)

    def infeasible(self, number: int, objective: Objective, value: float, result: dict[str, Any] | None = None) -> None:
        assert objective.limit is not None
        over = value - objective.limit if objective.direction == "minimize" else objective.limit - value
        reason = f"{objective.name} is {value:.6g}, the limit {objective.limit:.6g}: never trained"
        with _database_errors(self.folder):
            self._handle(number).set_constraint(objective.name, over)
        # optuna-dashboard shows constraints as empty, so feasibility stands in the attributes too.
        self._set(number, error=reason, feasible=False, **_of_result(result or {}))
        self._end(number, TrialState.INFEASIBLE)

    def fail(self, number: int, error: str, result: dict[str, Any] | None = None) -> None:
        self._set(number, error=error, **_of_result(result or {}))
        self._end(number, TrialState.FAILED)

    @property
    def finished(self) -> bool:
        """Whether the strategy had nothing more to ask for when the last driver ended."""
        return bool(self._study.user_attrs.get("finished"))

    def set_finished(self, finished: bool) -> None:
        with _database_errors(self.folder):
            self._study.set_user_attr("finished", finished)

    def note(self, number: int, **attributes: Any) -> None:
        """Further facts about a trial, shown by the dashboard."""
        self._set(number, **attributes)

    @property
    def optuna_study(self) -> optuna.Study:
        return self._study

    def optuna_trial(self, number: int) -> optuna.Trial:
        """A trial as Optuna's own functions want it."""
        with _database_errors(self.folder):
            return self._handle(number)

    def dashboard_storage(self) -> optuna.storages.RDBStorage:
        """The database for a reader in other threads: it waits for the driver's locks, and makes no tables."""
        return _storage(connection_url(self.folder, self.facts), skip_table_creation=True)

    def _id(self, number: int) -> int:
        """Optuna's own number of a trial; asked for once."""
        if number not in self._ids:
            self._ids[number] = self._study._storage.get_trial_id_from_study_id_trial_number(
                self._study._study_id, number
            )
        return self._ids[number]

    def _handle(self, number: int) -> optuna.Trial:
        return optuna.Trial(self._study, self._id(number))

    def _set(self, number: int, **attributes: Any) -> None:
        with _database_errors(self.folder):
            for name, value in attributes.items():  # an optuna.Trial would read the whole trial first
                self._study._storage.set_trial_user_attr(self._id(number), name, value)

    def _end(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        self._set(number, state=state.value, ended=_now())
        with _database_errors(self.folder):
            self._study.tell(number, values=values, state=_OPTUNA_STATE[state])


def _objective(objective: Objective, metrics: Metrics, cost: Cost, speed: dict[str, Any] | None) -> float:
    if objective.name == "top1":
        return metrics.top1
    if objective.name == "latency_ms":
        return speed["ms"] if speed else math.nan
    known = known_cost(objective, cost)
    assert known is not None
    return known


def known_cost(objective: Objective, cost: Cost) -> float | None:
    """The value of an objective that is counted; None for what has to be measured."""
    return {"gmacs": cost.gmacs, "params_m": cost.params / 1e6}.get(objective.name)


EXTRA = (
    "device",
    "notes",
    "traceback",
    "peak_bytes",
    "cpu_seconds",
    "speed",
    "initial_weights",
)  # of a result, kept beside a trial


def _of_result(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("curve", "train_seconds", "attempts", *EXTRA) if result.get(name)}


def _distribution(axis: Any) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.integer:
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high)


def _to_trial(frozen: FrozenTrial) -> Trial:
    a = frozen.user_attrs
    cost = dict(a["cost"])
    cost["input"] = tuple(tuple(shape) for shape in cost["input"])
    suggestion = Suggestion(
        Architecture.from_json(a["architecture"]), a["epochs"], a["seed"], a["step"], tuple(a["axes"]), a["parent"],
        a["kind"], a["reason"], a.get("name", ""),
    )  # fmt: skip
    # The state told to Optuna is the one that counts: a driver may die between the attribute and the telling.
    state = TrialState(a["state"]) if frozen.state.is_finished() else TrialState.RUNNING
    return Trial(
        frozen.number, state, suggestion, Cost(**cost),
        metrics=Metrics(**a["metrics"]) if state is TrialState.COMPLETE else None,
        curve=tuple(a.get("curve", ())),
        train_seconds=a.get("train_seconds", 0.0),
        started=frozen.datetime_start.isoformat(timespec="seconds") if frozen.datetime_start else "",
        ended=a.get("ended", ""),
        attempts=a.get("attempts", 1),
        error=a.get("error", ""),
        extra={key: a[key] for key in ("interrupted", *EXTRA) if key in a},
    )  # fmt: skip


# --- opening ---------------------------------------------------------------------------------------------------------


Refuse = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def open_for_writing(
    folder: Path,
    facts: dict[str, Any],
    study: Study,
    *,
    storage: str | None = None,
    refuse: Refuse = lambda stored: None,
) -> Iterator[Record]:
    """The run directory as its only driver: made if it is not there, resumed if it is. `refuse` gets the study.json of a
    run to be resumed and raises where `facts` are of another experiment; nothing has been written then. Of `storage`, a
    URL, everything but a password is kept.

    Raises:
        UsageError: the folder holds something else; another driver is at it; another storage than the run's.
        ExpandError: it cannot be written to, or its database is of another Optuna.
    """
    check_folder(folder)
    with _only_driver(folder):
        stored = _read_facts(folder)
        storage = storage or (os.environ.get("EXPAND_STORAGE") if stored is None else None)
        place = without_password(storage) if storage else None
        if stored is None:
            # In a database of many runs each has a name of its own.
            name = study.name if storage is None else f"{study.name}-{secrets.token_hex(4)}"
            stored = facts | {"storage": place, "optuna_study": name}
            optuna_study = _open_study(folder, stored, create=study, given=storage)
            write_json(folder / "environment.json", environment())
            write_json(folder / "study.json", stored)
        else:
            if place is not None and place != storage_url(folder, stored):
                raise UsageError(
                    f"--storage {place}: this run is recorded in {stored.get('storage') or 'its own optuna.db'}"
                )
            refuse(stored)
            optuna_study = _open_study(folder, stored, create=study, given=storage)
        yield Record(folder, stored, optuna_study)


def open_for_reading(folder: Path) -> Record:
    """A run, finished or not, without disturbing its driver.

    Raises:
        UsageError: there is no run.
    """
    facts = _read_facts(folder) if folder.is_dir() else None
    if facts is None:
        raise UsageError(
            f"{folder}: no run of expand here (no study.json); `expand run STUDY --out {folder}` makes one"
        )
    return Record(folder, facts, _open_study(folder, facts, create=None))


_OURS = {
    "driver.lock",
    "study.json",
    "environment.json",
    "data.json",
    "plan.json",
    "report",
    "tune",
    "tensorboard",
    "mlflow.db",
    "wandb",
    "optuna.db",
    "optuna.db-journal",
    "checkpoints",
    "artifacts",
}


def check_folder(folder: Path) -> None:
    """Makes the run directory if need be, sees that it is ours, and writes a probe into it, before any work is spent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [entry.name for entry in folder.iterdir() if entry.name not in _OURS and entry.name[0] != "."]
        if foreign and _read_facts(folder) is None:
            raise UsageError(f"{folder} holds {foreign[0]} and no run of expand; give another folder with --out")
        probe = folder / f".write-probe-{os.getpid()}"
        try:
            probe.write_bytes(b"0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"{folder} is a file, not a folder; give another place with --out") from None
    except OSError as error:
        raise ExpandError(f"cannot write to {folder}: {error.strerror}; give another place with --out") from None


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """`check_folder` for the block; where that fails with nothing written, the folder is not left behind."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        check_folder(folder)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if folder in missing and [entry.name for entry in folder.iterdir()] == ["driver.lock"]:
                (folder / "driver.lock").unlink()
            for path in missing:
                path.rmdir()  # refused where there is something in it
        raise


@contextlib.contextmanager
def _only_driver(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the kernel gives back when this process ends, however it ends."""
    with (folder / "driver.lock").open("a+") as lock:
        for patience in (0.1, 0.2, 0.4, None):  # `expand status` looks at the lock for an instant
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if patience is not None:
                    time.sleep(patience)
                    continue
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise UsageError(
                    f"{folder} has a live driver already ({holder}); wait for it, end it, or give another folder with --out"
                ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()} since {_now()}")
        lock.flush()
        yield


def live_driver(folder: Path) -> str:
    """Who drives a run right now ("pid 12 on host since ..."), or nothing."""
    try:
        with (folder / "driver.lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""
    except FileNotFoundError:
        return ""
    except OSError:
        return (folder / "driver.lock").read_text().strip()


def storage_url(folder: Path, facts: dict[str, Any]) -> str:
    """Where the trials are, as Optuna and its dashboard want it, to be shown: without a password."""
    from sqlalchemy import URL

    own = URL.create("sqlite", database=str(folder / "optuna.db"))  # a path may hold ? and %
    shown = facts.get("storage") or own.render_as_string(hide_password=False)
    return without_password(shown)  # runs of earlier versions have it in study.json


def connection_url(folder: Path, facts: dict[str, Any], given: str | None = None) -> str:
    """Where the trials are, to be opened: with the password, if `given` or else EXPAND_STORAGE is this database's URL and
    has one."""
    shown = storage_url(folder, facts)
    for url in (given, os.environ.get("EXPAND_STORAGE")):
        if url and url != shown and without_password(url) == shown:
            return url
    return facts.get("storage") or shown


def without_password(url: str) -> str:
    """A database's URL as it may be written down and printed; what is no URL stays as it is."""
    import sqlalchemy.exc
    from sqlalchemy import URL, make_url

    try:
        parsed = make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return url
    if parsed.password is None and "password" not in parsed.query:
        return url
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, parsed.query)
    return bare.difference_update_query(["password"]).render_as_string()


def _open_study(folder: Path, facts: dict[str, Any], *, create: Study | None, given: str | None = None) -> optuna.Study:
    import sqlalchemy.exc

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url, name = connection_url(folder, facts, given), facts["optuna_study"]
    shown = without_password(url)
    if url.startswith("journal"):
        raise UsageError(
            f"{shown}: a journal file cannot be written again after a torn line; use SQLite, PostgreSQL or MySQL"
        )
    nothing = UsageError(f"{folder}: nothing has been recorded yet; run its command again")
    if create is None and not facts.get("storage") and not (folder / "optuna.db").exists():
        raise nothing
    with _database_errors(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.RandomSampler(seed=0)  # never asked: the strategy decides
        try:
            storage = _storage(url)
            if create is None or name in optuna.get_all_study_names(storage):
                return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise UsageError(f"--storage {shown}: not a database that can be opened here ({error})") from None
        except KeyError:
            raise nothing from None
        aims = [objective for objective in create.objectives if objective.on_front]
        directions = [objective.direction for objective in aims]
        study = optuna.create_study(study_name=name, storage=storage, sampler=sampler, directions=directions)
        study.set_metric_names([objective.name for objective in aims])
        return study


def _storage(url: str, **options: Any) -> optuna.storages.RDBStorage:
    wait = {"connect_args": {"timeout": LOCK_WAIT_SECONDS}} if url.startswith("sqlite") else None
    return optuna.storages.RDBStorage(url, engine_kwargs=wait, **options)


@contextlib.contextmanager
def _database_errors(folder: Path) -> Iterator[None]:
    """One clear line for what a database can do to us."""
    import sqlalchemy.exc

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise ExpandError(
            f"the record in {folder} could not be read or written ({cause}); every trial told so far is kept: free the disk "
            "or end the other program, then run the same command again"
        ) from error
    except RuntimeError as error:
        if "optuna storage upgrade" not in str(error) and "no longer compatible" not in str(error):
            raise
        raise ExpandError(
            f"{folder}/optuna.db was written by another version of Optuna; nothing was changed. Make a copy, then run "
            f"`optuna storage upgrade --storage sqlite:///{folder}/optuna.db`"
        ) from error


def environment() -> dict[str, Any]:
    """What the numbers were measured on."""
    import platform
    from importlib.metadata import version

    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    packages = ("torch", "optuna", "ray", "fvcore", "av", "numpy")
    return {
        "started": _now(), "python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count(),
        "gpus": gpus, **{name: version(name) for name in packages},
    }  # fmt: skip


def _read_facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads((folder / "study.json").read_text())
        if "optuna_study" not in facts:
            raise ValueError("it is not one of expand's")
        return facts
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise UsageError(f"{folder}/study.json cannot be read ({error}); give another folder with --out") from None


def read_plan(folder: Path) -> dict[str, Any] | None:
    """plan.json of a run that was planned."""
    try:
        return json.loads((folder / "plan.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder}/plan.json cannot be read ({error}): delete it, or make it again with --keep"
        ) from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    from expand.training.checkpoint import write_atomically

    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
