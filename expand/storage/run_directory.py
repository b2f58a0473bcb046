"""The run directory and its Optuna study: the only record of a run. Only the driver writes it.

study.json          the whole study, and facts about the data
environment.json    the machine and versions of the first start
plan.json           the predicted cost, if the run was planned
optuna.db           all trials (or another Optuna storage, by its URL)
checkpoints/N/      training state of trial N until it is finished
artifacts/N/        model.safetensors of trial N once it is finished; beside the folders, files of trials for the dashboard
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from expand.core.attempt import Attempt, EndedTry, Epoch
from expand.core.errors import UsageError
from expand.core.outcome import Completed, Failed, Paused
from expand.core.space import SearchSpace
from expand.core.study import Objective, Study
from expand.core.trial import Cost, RaceSeeds, Suggestion, Trial, TrialState
from expand.storage.attributes import (
    attempt_of,
    distribution_of,
    is_ours,
    kept_of,
    objective_value,
    stop_of,
    trial_of,
)
from expand.storage.database import (
    check_whole,
    connection_url,
    damaged,
    errors,
    open_storage,
    storage_url,
    without_password,
)
from expand.storage.facts import Facts, read_facts, write_facts
from expand.storage.folder import _now, check_folder, environment, only_driver
from expand.storage.serialize import to_plain, write_json

_OPTUNA_STATE = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.INFEASIBLE: OptunaState.PRUNED,  # with FAIL a sampler would learn nothing from it
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}


@dataclass(frozen=True)
class Record:
    """An open run. `trials` reads; every other method writes and is durable when it returns."""

    folder: Path
    facts: Facts  # study.json
    _study: optuna.Study
    _ids: dict[int, int] = field(default_factory=dict)
    _ended: dict[int, Trial] = field(default_factory=dict)  # ended trials as read: they do not change any more

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return self.facts.study.objectives

    @property
    def seeds(self) -> tuple[int, ...]:
        seeds = self.facts.study.seeds
        return RaceSeeds(seeds) if self.facts.study.strategy.get("race") else seeds

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return errors(self.folder, storage_url(self.folder, self.facts))

    def checkpoint(self, number: int) -> Path:
        return self.folder / "checkpoints" / f"{number:06d}" / "last.pt"

    def weights(self, number: int) -> Path:
        return self.folder / "artifacts" / f"{number:06d}" / "model.safetensors"

    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, by number. Numbers of trials that other programs added to the database are missing."""
        with self._errors():
            return tuple(self._read(frozen) for frozen in self._study.get_trials(deepcopy=False) if is_ours(frozen))

    def foreign(self) -> tuple[int, ...]:
        """Numbers of trials that other programs added to our study, such as those enqueued by hand. They are ignored."""
        with self._errors():
            return tuple(frozen.number for frozen in self._study.get_trials(deepcopy=False) if not is_ours(frozen))

    def trial(self, number: int) -> Trial:
        with self._errors():
            if number not in self._ids:
                known = [each.number for each in self._study.get_trials(deepcopy=False) if is_ours(each)]
                if number not in known:
                    some = f"trials {known[0]} to {known[-1]}" if known else "no trials yet"
                    raise UsageError(f"trial {number}: this run has {some}")
            return self._read(self._study._storage.get_trial(self._id(number)))

    def _read(self, frozen: FrozenTrial) -> Trial:
        if frozen.number in self._ended:
            return self._ended[frozen.number]
        trial = trial_of(frozen)
        if trial.state.ended:
            self._ended[frozen.number] = trial
        return trial

    def open_trial(
        self, suggestion: Suggestion, cost: Cost, space: SearchSpace, code: Mapping[str, str] | None = None
    ) -> int:
        """Creates a running trial; returns its number. `code` has the hashes of its network (`expand/source/fingerprint.py`)."""
        values = suggestion.architecture.as_dict()
        attributes = {
            "state": TrialState.RUNNING.value, "architecture": suggestion.architecture.to_json(),
            "step": suggestion.step, "kind": suggestion.kind, "name": suggestion.name, "axis": " = ".join(suggestion.axes),
            "axes": list(suggestion.axes), "parent": suggestion.parent, "reason": suggestion.reason,
            "seed": suggestion.seed, "epochs": suggestion.epochs, "cost": to_plain(cost), **stop_of(suggestion),
            "mmacs": round(cost.macs / 1e6, 4), "params_m": round(cost.params / 1e6, 4), "feasible": True,
            **({"code": code} if code else {}),
        }  # fmt: skip
        distributions = {axis.parameter: distribution_of(axis) for axis in space.axes if axis.parameter in values}
        with self._errors():
            params = {name: values[name] for name in distributions}
            frozen = create_trial(
                state=OptunaState.RUNNING, params=params, distributions=distributions, user_attrs=attributes
            )
            trial_id = self._study._storage.create_new_trial(self._study._study_id, template_trial=frozen)
            number = self._study._storage.get_trial_number_from_id(trial_id)
            self._ids[number] = trial_id
            return number

    def epoch(self, number: int, curve: Sequence[Epoch]) -> None:
        self._set(number, curve=to_plain(curve))

    def retried(self, number: int, retries: Sequence[EndedTry]) -> None:
        """Records how the failed tries of a trial ended, in order."""
        plain = [{name: value for name, value in to_plain(each).items() if value != ""} for each in retries]
        self._set(number, retries=plain, error=retries[-1].error)

    def pause(self, number: int, outcome: Paused) -> None:
        """Records how far a trial got. For Optuna it goes on running."""
        self._set(number, state=TrialState.PAUSED.value, error="", interrupted=False, **kept_of(outcome))

    def go_on(self, number: int, suggestion: Suggestion) -> None:
        """Makes a paused trial running again, up to the suggestion's next stop."""
        self._set(number, reason=suggestion.reason, **{"until": None, **stop_of(suggestion)})
        self._set(number, state=TrialState.RUNNING.value)

    def prune(self, number: int) -> None:
        """Ends a paused trial for good, because the search is over, or one that is not to be trained."""
        trial = self.trial(number)
        stopped = f"stopped after epoch {trial.reached} of {trial.suggestion.epochs}: others promised more"
        self._set(number, error=trial.suggestion.reason if trial.suggestion.until == 0 else stopped)
        self._end(number, TrialState.PRUNED)

    def complete(self, number: int, outcome: Completed) -> None:
        """Records a result with one value per objective. A value that is not finite fails the trial instead, because Optuna would
        accept infinity."""
        trial = self.trial(number)
        aims = [objective for objective in self.objectives if objective.on_front]
        values = [objective_value(objective, outcome, trial.cost) for objective in aims]
        if not all(math.isfinite(value) for value in values):
            error = f"an objective is not a finite number: {values}"
            return self.fail(number, Failed(error, outcome.attempt, "", outcome.train_seconds, outcome.curve))
        self._set(number, metrics=to_plain(outcome.metrics), error="", interrupted=False, **kept_of(outcome))
        self._end(number, TrialState.COMPLETE, values)

    def infeasible(self, number: int, objective: Objective, value: float, attempt: Attempt | None = None) -> None:
        assert objective.limit is not None
        over = value - objective.limit if objective.direction == "minimize" else objective.limit - value
        reason = f"{objective.name} is {value:.6g}, the limit {objective.limit:.6g}: never trained"
        with self._errors():
            self._handle(number).set_constraint(objective.name, over)
        # optuna-dashboard shows no constraints, so feasibility is also an attribute.
        self._set(number, error=reason, feasible=False, **(attempt_of(attempt) if attempt else {}))
        self._end(number, TrialState.INFEASIBLE)

    def fail(self, number: int, outcome: Failed) -> None:
        self._set(number, error=outcome.error, **kept_of(outcome))
        self._end(number, TrialState.FAILED)

    def reopen(self, number: int) -> None:
        """Makes a failed trial running again. Optuna has no call for that, so its table is written directly and its cache of the
        study is cleared."""
        from optuna.storages._rdb.models import TrialModel
        from optuna.storages._rdb.storage import _create_scoped_session

        cached: Any = self._study._storage
        with self._errors(), _create_scoped_session(cached._backend.scoped_session) as session:
            row = TrialModel.find_or_raise_by_id(self._id(number), session, for_update=True)
            row.state, row.datetime_complete = OptunaState.RUNNING, None
        cached._studies.pop(self._study._study_id, None)
        self._ended.pop(number, None)
        self._set(number, state=TrialState.RUNNING.value, ended="", interrupted=False)

    @property
    def finished(self) -> bool:
        """Whether the strategy had nothing more to suggest when the last driver ended."""
        with self._errors():
            return bool(self._study.user_attrs.get("finished"))

    def set_finished(self, finished: bool) -> None:
        with self._errors():
            self._study.set_user_attr("finished", finished)

    def note(self, number: int, **attributes: Any) -> None:
        """Further facts about a trial, shown by the dashboard."""
        self._set(number, **attributes)

    @property
    def optuna_study(self) -> optuna.Study:
        return self._study

    def optuna_trial(self, number: int) -> optuna.Trial:
        """Optuna's object for a trial."""
        with self._errors():
            return self._handle(number)

    def dashboard_storage(self) -> optuna.storages.RDBStorage:
        """The database for reading in other threads: it waits for the driver's locks, and creates no tables."""
        return open_storage(connection_url(self.folder, self.facts), make_tables=False)

    def _id(self, number: int) -> int:
        """Optuna's internal identifier of a trial, cached."""
        if number not in self._ids:
            self._ids[number] = self._study._storage.get_trial_id_from_study_id_trial_number(
                self._study._study_id, number
            )
        return self._ids[number]

    def _handle(self, number: int) -> optuna.Trial:
        return optuna.Trial(self._study, self._id(number))

    def _set(self, number: int, **attributes: Any) -> None:
        with self._errors():
            for name, value in attributes.items():  # an optuna.Trial would read the whole trial first
                self._study._storage.set_trial_user_attr(self._id(number), name, value)

    def _end(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        self._set(number, state=state.value, ended=_now())
        with self._errors():
            self._study.tell(number, values=values, state=_OPTUNA_STATE[state])


# --- opening ---------------------------------------------------------------------------------------------------------


Refuse = Callable[[Facts], None]


@contextlib.contextmanager
def open_for_writing(
    folder: Path,
    facts: Facts,
    study: Study,
    *,
    storage: str | None = None,
    refuse: Refuse = lambda stored: None,
    threads: int | None = None,
) -> Iterator[Record]:
    """The run directory as its only driver: made if it is not there, resumed if it is. `refuse` gets the study.json of a
    run to be resumed and raises where `facts` are of another experiment; nothing has been written then. Of `storage`, a
    URL, everything but a password is kept. `threads` are those of a worker, for environment.json.

    Raises:
        UsageError: the folder holds something else; another driver is at it; another storage than the run's.
        ExpandError: it cannot be written to, or its database is of another Optuna.
    """
    check_folder(folder)
    with only_driver(folder):
        stored = read_facts(folder)
        storage = storage or (os.environ.get("EXPAND_STORAGE") if stored is None else None)
        place = without_password(storage) if storage else None
        if stored is None:
            # In a database of many runs each has a name of its own.
            name = study.name if storage is None else f"{study.name}-{secrets.token_hex(4)}"
            stored = replace(facts, storage=place, optuna_study=name)
            optuna_study = _open_study(folder, stored, of=study, given=storage)
            write_json(folder / "environment.json", environment(threads))
            write_facts(folder, stored)
        else:
            if place is not None and place != storage_url(folder, stored):
                raise UsageError(f"--storage {place}: this run is recorded in {stored.storage or 'its own optuna.db'}")
            refuse(stored)
            optuna_study = _open_study(folder, stored, of=study, given=storage)
        yield Record(folder, stored, optuna_study)


def open_for_reading(folder: Path) -> Record:
    """A run, finished or not, without disturbing its driver.

    Raises:
        UsageError: there is no run.
    """
    facts = read_facts(folder) if folder.is_dir() else None
    if facts is None:
        raise UsageError(
            f"{folder}: no run of expand here (no study.json); `expand run STUDY --out {shlex.quote(str(folder))}` makes one"
        )
    return Record(folder, facts, _open_study(folder, facts))


def _open_study(folder: Path, facts: Facts, *, of: Study | None = None, given: str | None = None) -> optuna.Study:
    """The Optuna study that `facts` name; for the driver, who says what it is a study `of`, made where nothing is lost by it.

    Raises:
        UsageError: nothing was recorded; the database cannot be opened, or holds somebody else's study of this name.
        ExpandError: the database is damaged, or gone although there are results.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url, name, own = connection_url(folder, facts, given), facts.optuna_study, folder / "optuna.db"
    shown, begun = without_password(url), (folder / "study.json").exists()
    lost = begun and any((folder / kept).is_dir() for kept in ("artifacts", "checkpoints"))
    if not facts.storage:
        if not own.exists() and lost:
            raise damaged(folder, shown, "it is not there")
        if not own.exists() and of is None:
            raise UsageError(f"{folder}: nothing has been recorded yet; run its command again")
        if of is not None and own.exists() and (lost or own.stat().st_size):
            with errors(folder, url):
                check_whole(folder, own)
    with errors(folder, url), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = open_storage(url, make_tables=of is not None and not lost)
        sampler = optuna.samplers.RandomSampler(seed=0)  # never asked: the strategy decides
        known = name in optuna.get_all_study_names(storage)
        if not known and (of is None or lost):
            raise damaged(folder, shown, f"it holds no study '{name}'")
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler) if known else None
        if of is None:
            return study
        aims = [objective for objective in of.objectives if objective.on_front]
        directions = [objective.direction for objective in aims]
        if study is None:
            study = optuna.create_study(study_name=name, storage=storage, sampler=sampler, directions=directions)
            study.set_metric_names([objective.name for objective in aims])
        trials = study.get_trials(deepcopy=False)
        if [d.name.lower() for d in study.directions] != directions or (trials and not any(map(is_ours, trials))):
            raise UsageError(
                f"{shown} holds a study '{name}' that is not of this run ({len(trials)} trials); nothing was changed. Give "
                "another folder with --out, or another database with --storage"
            )
        return study
