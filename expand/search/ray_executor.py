"""Runs the jobs of a search on Ray Tune's actors. The only file that imports ray.

Tune places trials on nodes and GPUs. It makes no decisions and stores nothing: our searcher hands out the engine's jobs, and the
engine writes the record and decides what is tried again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expand.core import signals, time_limit
from expand.core.errors import ExpandError, UsageError
from expand.core.outcome import Failed, Outcome, Retry
from expand.monitoring import trackers as tracking
from expand.search import ray_processes
from expand.search.job import Job, evaluate
from expand.search.tune_jobs import TuneJobs, timed_out
from expand.search.watchdog import Abandoned, LostRay, Watched
from expand.search.worker_plan import Workers
from expand.storage.serialize import outcome_to_text, to_plain

if TYPE_CHECKING:  # Ray's workers import this module, and need none of what the driver counts and records with
    from expand.search.engine import Search


_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # we handle interrupts
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without a GPU sees none
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # so that relative paths stay valid
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}


def drive_on_ray(search: Search, workers: Workers, folder: Path, trackers: Sequence[str] = ()) -> None:
    """Runs Ray and Tune in their own thread, because their calls may never return after one of their processes has died. This
    thread waits for it and for signals, and checks that the cluster is alive.

    Raises:
        Interrupted: a signal arrived.
        LostRay: the cluster is lost. Ray's own code would end this process after some time (a minute without its GCS).
    """
    counting = threading.Thread(target=search.look_ahead, daemon=True)
    with _scratch(workers, folder) as scratch:
        watched, errors = Watched(search), list[BaseException]()

        def tune() -> None:
            try:
                with _cluster(workers, scratch), watched:
                    counting.join()
                    _tune(watched, workers, scratch, trackers)
            except Abandoned:
                pass
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=tune, daemon=True, name="expand-ray")
        with signals.blocked():
            counting.start()  # while Ray starts, which is mostly waiting
            thread.start()
            reason = watched.wait(thread)
        if reason is not None:
            watched.abandon()
            thread.join(0.0 if isinstance(reason, LostRay) else 3.0)
            ray_processes.end_all()
            raise reason
        if errors:
            raise errors[0]


@contextlib.contextmanager
def _scratch(workers: Workers, folder: Path) -> Iterator[Path]:
    """A folder for temporary files of Ray and Tune, which the nodes of a given cluster must reach."""
    if workers.address is None:
        with ray_processes.scratch_folder() as scratch:
            yield scratch
        return
    try:
        yield folder / "tune"
    finally:
        shutil.rmtree(folder / "tune", ignore_errors=True)


def _tune(watched: Watched, workers: Workers, scratch: Path, trackers: Sequence[str]) -> None:
    from ray import tune

    _require_resources(workers)
    _let_tune_survive_out_of_memory()
    search, jobs = watched.search, TuneJobs(watched, partial(_elsewhere, workers))
    _pickle_user_modules_by_value(search)
    parts = _tunes_parts(jobs)
    tuner = tune.Tuner(
        tune.with_resources(_train_on_worker, partial(_placement, workers)),
        tune_config=tune.TuneConfig(
            search_alg=parts["search_alg"], scheduler=parts["scheduler"], num_samples=-1, max_concurrent_trials=workers.count,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(scratch), verbose=0, stop=parts["stop"],
            callbacks=_trackers(search, trackers),
            failure_config=tune.FailureConfig(max_failures=0),  # the engine decides what is tried again
        ),
    )  # fmt: skip
    with contextlib.nullcontext() if workers.address is None else watched.listening(_node_lives):
        tuner.fit()
    if jobs.error is not None:
        raise jobs.error
    if not search.done:
        raise ExpandError("Ray Tune ended before the search; run the same command again to resume")


@contextlib.contextmanager
def _cluster(workers: Workers, scratch: Path) -> Iterator[None]:
    """A Ray cluster for as long as the search runs: the given one, or a private one in this machine's memory."""
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    # Workers import modules beside the study file.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys(path for path in [*sys.path, os.environ.get("PYTHONPATH", "")] if path)
    )
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if workers.address is not None:
        options["address"] = workers.address
    else:
        # Ray's ports listen on all interfaces; a given cluster has its own authentication
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        options |= {
            "num_cpus": workers.count * workers.threads, "include_dashboard": False, "_temp_dir": str(scratch),
            "object_store_memory": 100 * 1024**2,  # jobs are plain numbers; clips come from the memory map
        }  # fmt: skip
    import ray
    from ray._private import services

    services.ConsolePopen = ray_processes.OwnSession
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the engine reports a dead worker itself
    try:
        ray.init(**options)
    except (ConnectionError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ExpandError(f"Ray did not start ({reason}); --workers 0 trains without it") from error
    try:
        yield
    finally:
        ray.shutdown()
        ray_processes.end_all()


def _node_lives() -> bool:
    """Whether the cluster considers this machine's node alive."""
    import ray

    mine = ray.get_runtime_context().get_node_id()
    return any(node["Alive"] for node in ray.nodes() if node["NodeID"] == mine)


def _placement(workers: Workers, config: dict[str, Any]) -> Any:
    """The resources of a job, on any node except those in `config["avoid"]`."""
    from ray.tune import PlacementGroupFactory

    needed = [{"CPU": workers.threads, "GPU": workers.gpus_per_trial}]
    if not config.get("avoid"):
        return PlacementGroupFactory(needed)
    elsewhere = {"ray.io/node-id": f"!in({','.join(config['avoid'])})"}
    return PlacementGroupFactory(needed, bundle_label_selector=[elsewhere])


def _require_resources(workers: Workers) -> None:
    """Refuses resources that no node of the cluster has, because Ray would wait for them forever."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, wanted in (("CPU", workers.threads), ("GPU", workers.gpus_per_trial)):
        most = max((node.get(name, 0) for node in nodes), default=0)
        if most < wanted:
            remedy = "cores of this machine / --workers" if name == "CPU" else "--gpus-per-trial"
            raise UsageError(f"a trial needs {wanted:g} {name} ({remedy}), the Ray cluster's largest node has {most:g}")


def _train_on_worker(config: dict[str, Any]) -> None:
    """Runs one job on an actor; reports each epoch, and the outcome as the last report."""
    import pickle
    import traceback

    from ray import get_runtime_context, tune

    node = get_runtime_context().get_node_id()
    tune.report({"node": node})
    try:
        job = pickle.loads(config["job"])
    except Exception as error:  # such as a space that this worker cannot import: a second attempt would fail too
        failed = Failed(f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        tune.report({"outcome": outcome_to_text(failed)})
        return
    outcome: Outcome | None = timed_out(job)
    if outcome is None:
        with time_limit.ends_process(job.seconds, job.timeout_log):
            outcome = evaluate(job, lambda entry: tune.report({"entry": json.dumps(to_plain(entry))}))
    outcome = replace(outcome, attempt=replace(outcome.attempt, node=node))
    tune.report({"outcome": outcome_to_text(outcome)})
    if isinstance(
        outcome, Retry
    ):  # a new process for the next try: the memory or GPU of this one may be in a bad state
        raise RuntimeError(outcome.error)


def _elsewhere(workers: Workers, job: Job, busy: Mapping[str, int]) -> list[str] | None:
    """The nodes that a job must avoid because it failed there, if there are others. None if the others are full at the moment;
    `busy` is the number of trials on each node."""
    import ray

    def places(resources: dict[str, float]) -> int:
        gpus = int(resources.get("GPU", 0) / workers.gpus_per_trial + 1e-6) if workers.gpus_per_trial else sys.maxsize
        return min(int(resources.get("CPU", 0)) // workers.threads, gpus)

    nodes = {node["NodeID"]: places(node["Resources"]) for node in ray.nodes() if node["Alive"]}
    avoid = [node for node in job.avoid if node in nodes]
    others = [node for node, number in nodes.items() if number and node not in avoid]
    if not avoid or not others:
        return []
    return avoid if any(nodes[node] > busy.get(node, 0) for node in others) else None


def _let_tune_survive_out_of_memory() -> None:
    """Works around Tune 2.60, which ends with the error of a worker that Ray's memory monitor has killed: it expects only
    `RayActorError` from an actor, but this is another error."""
    from ray.air.execution._internal import actor_manager
    from ray.exceptions import OutOfMemoryError, RayActorError
    from ray.tune.execution import tune_controller
    from ray.tune.experiment import trial

    OutOfMemoryError.preempted = False  # as an actor's error says it
    for module in (actor_manager, trial, tune_controller):  # they compare with it, and say `except`
        module.RayActorError = (RayActorError, OutOfMemoryError)


def _tunes_parts(jobs: TuneJobs) -> dict[str, Any]:
    """The engine with Tune's interfaces, which call `jobs`. A function, because the base classes need ray."""
    from ray import cloudpickle
    from ray.tune import Stopper
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.search import Searcher

    class NotKept:
        """Tune pickles its parts to restore them later. This is not used here: everything is in the record."""

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return (dict, ())

    class Stop(NotKept, Stopper):
        """Ends Tune after the driver's side has failed."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            jobs.watched.check()  # in every iteration of Tune's loop
            return jobs.error is not None

    class Scheduler(NotKept, FIFOScheduler):
        """Only the scheduler gets Tune's reason why a worker has died."""

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
            with contextlib.suppress(OSError):  # the first line of the file has the time
                jobs.reasons[trial.trial_id] = Path(trial.error_file).read_text().partition("\n")[2]

    class Adapter(NotKept, Searcher):
        def suggest(self, trial_id: str) -> Any:
            if (given := jobs.take(trial_id)) is None:
                return Searcher.FINISHED if jobs.finished else None
            job, avoid = given
            return {"job": cloudpickle.dumps(job), "number": job.number, "avoid": avoid}

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            jobs.report(trial_id, result)

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            jobs.ended(trial_id, result)

        def save(self, checkpoint_path: str) -> None:
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    return {"search_alg": Adapter(), "scheduler": Scheduler(), "stop": Stop()}


def _trackers(search: Search, names: Sequence[str]) -> list[Any]:
    """Ray's callbacks for the trackers that log through Ray."""
    record, found = search.record, []
    if "mlflow" in names:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        mlflow = tracking.readable(tracking.resuming(MLflowLoggerCallback), "mlflow", record, search.watch.note)
        place = tracking.mlflow_place(record.folder)
        found.append(mlflow(tracking_uri=place, experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", "expand")))
    if "wandb" in names:
        from ray.air.integrations.wandb import WandbLoggerCallback, _WandbLoggingActor

        class WholeFiles(_WandbLoggingActor):  # Ray kills the actor, and W&B's own process with it, when `run` returns
            def run(self) -> None:
                super().run()
                self._wandb.teardown()  # waits until that process has written its file

        class Wandb(WandbLoggerCallback):
            _logger_actor_cls = WholeFiles

        os.environ["WANDB_MODE"] = mode = tracking.wandb_mode()  # Ray's callback asks for a key without it
        wandb = tracking.readable(Wandb, "wandb", record, search.watch.note)
        project = os.environ.get("WANDB_PROJECT", "expand")
        found.append(wandb(project=project, mode=mode, dir=str(record.folder), resume="allow"))
    return found


def _pickle_user_modules_by_value(search: Search) -> None:
    """Pickles a space that is defined in a study file by value, because workers cannot import its module."""
    from ray import cloudpickle

    space = search.study.space
    module = sys.modules.get(type(space.network_of(space.start)[0]).__module__)
    if module is not None and module.__spec__ is not None and not _importable(module.__name__):
        cloudpickle.register_pickle_by_value(module)


def _importable(name: str) -> bool:
    import importlib.util

    module = sys.modules.pop(name, None)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    finally:
        if module is not None:
            sys.modules[name] = module
    return spec is not None and spec.origin == getattr(module, "__file__", None)
