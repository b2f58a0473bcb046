"""`expand tune`: learning rate, weight decay and length of the recipe, found on one network with Optuna before a search.

TPE samples recipes, seeded by the number of the trial; Optuna's median pruner ends trainings early. The best three and the
recipe as it was are trained with a second seed, so that the luck of one seed does not choose. Everything is in `tuning.db`,
from which the same command resumes: an open trial goes on from its checkpoint. Only training and validation clips are read.
"""

from __future__ import annotations

import os
import shutil
import statistics
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from expand.config.request import Request
from expand.core import signals
from expand.core.accuracy import binomial_tail, in_percent
from expand.core.attempt import Curve, Epoch
from expand.core.errors import ExpandError, UsageError
from expand.core.files import escaped
from expand.core.space import Architecture
from expand.core.study import Recipe, Study
from expand.core.trial import Metrics
from expand.core.units import format_seconds
from expand.data.cache.clip_cache import ClipCache
from expand.data.open_data import open_data
from expand.monitoring.progress import Watcher
from expand.search.chance import LEVEL, Chance
from expand.search.experiment import say_limits
from expand.search.run import decoded
from expand.search.worker_plan import plan_workers
from expand.source.fingerprint import code_of
from expand.storage.database import errors, open_storage
from expand.storage.facts import StudyFacts
from expand.storage.folder import made_folder, only_driver
from expand.storage.serialize import read_file, write_json
from expand.storage.stored_study import study_differences
from expand.storage.tuned import FILE, Scored, Tuned
from expand.training.device import pick_device, seed_everything
from expand.training.identity import Identity
from expand.training.loop import Listener, train
from expand.training.state import NonFiniteLoss
from expand.weights.matching import load_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

Say = Callable[[str], None]
DATABASE = "tuning.db"
AT_RANDOM = 4  # first trials, before TPE has enough to learn from and before the pruner ends any
REPEATED = 3  # recipes that are trained with a second seed
MOST_UPDATES = 2000  # that a length up to is tried, if the recipe's own is shorter


@dataclass(frozen=True)
class Question:
    """What is tuned: tune.json. `fingerprint` is that of the videos, `data` their name."""

    study: StudyFacts
    network: str
    data: str
    fingerprint: str


def tune(
    request: Request, folder: Path, network: Architecture | None, watch: Watcher, *, trials: int, minutes: float | None
) -> tuple[Tuned, Chance]:
    """Tunes the recipe of the study on `network`, the start if it is None; also returns what guessing scores.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived.
        UsageError, ExpandError: see `Tuner.run`.
    """
    study = request.study()
    folder = Path(os.path.realpath(folder))
    network = study.space.start if network is None else network
    with made_folder(folder), signals.handled():
        manifest = open_data(study.data, watch.progress)
        torch.set_num_threads(plan_workers(0, None).threads)
        caches = decoded(study.data, manifest, watch)
        say_limits(study, caches, manifest, watch)
        name = "rendered clips" if study.data.source is None else escaped(Path(study.data.source).name)
        asked = Question(StudyFacts.of(study), network.to_json(), name, manifest.fingerprint())
        tuned = Tuner(study, network, caches, folder, asked, trials, minutes, watch.note).run()
        return tuned, Chance.of(caches[1].labels, len(caches[1].classes), "")


@dataclass(frozen=True)
class Tuner:
    """A tuning in a folder.

    Attributes:
        caches: training and validation clips.
        trials: recipes that are tried with the first seed, the study's own among them.
        minutes: of training, after which no more recipes are tried. The second seeds are estimated from the mean so far and
            always trained, so the whole may take longer. None is no limit.
    """

    study: Study
    network: Architecture
    caches: tuple[ClipCache, ClipCache]
    folder: Path
    asked: Question
    trials: int
    minutes: float | None
    say: Say

    def run(self) -> Tuned:
        """Tunes to the end, or resumes, and writes recipe.json.

        Raises:
            UsageError: the folder has another tuning.
            ExpandError: no training was completed.
        """
        url = f"sqlite:///{self.folder / DATABASE}"
        with only_driver(self.folder), errors(self.folder, url), _quiet():
            self._require_same()
            import optuna

            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=AT_RANDOM, n_warmup_steps=max(2, self.study.recipe.epochs // 3)
            )
            found = optuna.create_study(
                storage=open_storage(url, make_tables=True), study_name=f"tune-{self.study.name}", load_if_exists=True,
                direction="maximize", pruner=pruner,
            )  # fmt: skip
            found.set_metric_names(["top1"])
            while (trial := self._next(found)) is not None:
                self._train(found, trial)
            tuned = self._chosen(found.get_trials())
            write_json(self.folder / FILE, tuned)
            return tuned

    def _require_same(self) -> None:
        place = self.folder / "tune.json"
        before = read_file(place, Question, remedy="give another folder with --out")
        if before is None:
            return write_json(place, self.asked)
        lines = [
            line for line in study_differences(before.study, self.asked.study)
            if line.startswith(("space", "recipe", "data", "seeds", "name"))
        ]  # fmt: skip
        lines += (
            [] if before.network == self.asked.network else [f"network: {before.network}, {self.asked.network} now"]
        )
        lines += [] if before.fingerprint == self.asked.fingerprint else ["the videos have changed"]
        if lines:
            raise UsageError(f"{self.folder} has another tuning: {'; '.join(lines)}; give another folder with --out")

    # --- what is tried -----------------------------------------------------------------------------------------------

    def _next(self, found: optuna.Study) -> optuna.Trial | None:
        """The open trial of a process that ended; otherwise the next recipe, then the second seeds; None at the end."""
        import optuna

        trials = found.get_trials()
        unfinished = [t for t in trials if t.state is optuna.trial.TrialState.RUNNING]
        number = unfinished[0].number if unfinished else len(trials)
        found.sampler = optuna.samplers.TPESampler(multivariate=True, n_startup_trials=AT_RANDOM, seed=number)
        if unfinished:
            return optuna.Trial(found, unfinished[0]._trial_id)
        firsts = [t for t in trials if "repeats" not in t.user_attrs]
        waiting = any(t.state is optuna.trial.TrialState.WAITING for t in trials)
        if not waiting and not firsts:
            recipe = self.study.recipe
            own = {"learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay, "updates": self._own()}
            found.enqueue_trial(own)
        elif not waiting and (len(firsts) >= self.trials or self._late(trials)):
            repeated = {t.user_attrs["repeats"] for t in trials if "repeats" in t.user_attrs}
            missing = [t for t in best_of(firsts) if t.number not in repeated]
            if not missing:
                return None
            found.enqueue_trial(missing[0].params, user_attrs={"repeats": missing[0].number})
        return found.ask()

    def _late(self, trials: Sequence[optuna.trial.FrozenTrial]) -> bool:
        """Whether the minutes are used up but for the second seeds."""
        seconds = [t.user_attrs["seconds"] for t in trials if "seconds" in t.user_attrs]
        if self.minutes is None or not seconds:
            return False
        return sum(seconds) + (REPEATED + 1) * statistics.fmean(seconds) > 60 * self.minutes

    def _own(self) -> int:
        """Optimiser steps of the recipe as it is."""
        return self.study.recipe.epochs * self._steps(self.study.recipe)

    def _steps(self, recipe: Recipe) -> int:
        return -(-recipe.clips_of_epoch(len(self.caches[0])) // recipe.batch_size)

    def _recipe(self, trial: optuna.Trial) -> Recipe:
        """The recipe of a trial. AdamW has other ranges than SGD; the study's own values lie within."""
        own, adamw = self.study.recipe, self.study.recipe.optimiser == "adamw"
        rates, decays = ((1e-4, 1e-2), (1e-3, 0.2)) if adamw else ((3e-3, 0.3), (1e-5, 1e-3))

        def around(name: str, low: float, high: float, value: float) -> float:
            low, high = (min(low, value), max(high, value)) if value else (low, high)
            suggested = trial.suggest_float(name, low, high, log=True)
            return value if suggested == value else float(f"{suggested:.3g}")

        rate = around("learning_rate", *rates, own.learning_rate)
        decay = around("weight_decay", *decays, own.weight_decay)
        least = own.epochs * self._steps(replace(own, updates=0))
        updates = trial.suggest_int("updates", least, max(2 * self._own(), MOST_UPDATES), log=True)
        if self._steps(replace(own, updates=updates)) == self._steps(own):
            updates = own.updates
        warm = float(f"{own.warmup_learning_rate * rate / own.learning_rate:.3g}")
        return replace(own, learning_rate=rate, warmup_learning_rate=warm, weight_decay=decay, updates=updates)

    # --- one training ------------------------------------------------------------------------------------------------

    def _train(self, found: optuna.Study, trial: optuna.Trial) -> None:
        """Trains and validates; records the result, or that it was pruned or failed."""
        from optuna.trial import TrialState

        recipe = self._recipe(trial)
        second = "repeats" in trial.user_attrs
        seed = self.study.seeds[0] + second
        settings = settings_of(self.study.recipe, recipe)
        trial.set_user_attr("seed", seed)
        trial.set_user_attr("settings", settings)
        place, pruned = self.folder / "checkpoints" / str(trial.number), False

        def on_epoch(entry: Epoch) -> None:
            nonlocal pruned
            trial.report(entry.top1, entry.epoch)
            pruned = not second and entry.epoch < recipe.epochs and trial.should_prune()

        title = f"trial {trial.number}"
        title += f" (trial {trial.user_attrs['repeats']} with another seed)" if second else ""
        self.say(f"{title}: {' '.join(settings) or 'the recipe as it is'}")
        try:
            metrics, curve = self._trained(recipe, seed, place, on_epoch, lambda: not pruned)
        except NonFiniteLoss as error:
            trial.set_user_attr("error", str(error))
            found.tell(trial, state=TrialState.FAIL)
            self.say(f"{title} failed: {error}")
        else:
            seconds = sum(entry.seconds for entry in curve)
            trial.set_user_attr("seconds", round(seconds, 1))
            trial.set_user_attr("loss", round(metrics.loss, 6))
            trial.set_user_attr("clips", metrics.clips)
            result = f"{in_percent(metrics.top1, metrics.standard_error)} after {len(curve)} of {recipe.epochs} epochs"
            found.tell(trial, *((metrics.top1,) if len(curve) == recipe.epochs else (None, TrialState.PRUNED)))
            self.say(
                f"{title}: {result}, {format_seconds(seconds)}{', stopped early' if len(curve) < recipe.epochs else ''}"
            )
        shutil.rmtree(place, ignore_errors=True)

    def _trained(
        self, recipe: Recipe, seed: int, place: Path, on_epoch: Callable[[Epoch], None], goes_on: Callable[[], bool]
    ) -> tuple[Metrics, Curve]:
        space, mirrored = self.study.space, self.study.data.mirrored
        seed_everything(seed)
        network = space.build(self.network, len(self.caches[0].classes))
        if recipe.weights is not None:
            load_weights(network, recipe.weights, space=space, architecture=self.network)
        identity = Identity(
            self.network, seed, recipe.epochs, recipe, [cache.content for cache in self.caches],
            [str(cache.folder) for cache in self.caches], code_of(space, self.network), mirrored,
        )  # fmt: skip

        def recorded(entry: Epoch) -> None:
            with signals.deferred():
                on_epoch(entry)

        with signals.immediate():
            return train(
                network, space.inputs(self.network), *self.caches, identity,
                device=pick_device(), checkpoint_path=place / "last.pt",
                listener=Listener(recorded, self.say, lambda *step: signals.check(), lambda epochs: goes_on()),
            )  # fmt: skip

    # --- the result --------------------------------------------------------------------------------------------------

    def _chosen(self, trials: Sequence[optuna.trial.FrozenTrial]) -> Tuned:
        """The best mean over two seeds.

        Raises:
            ExpandError: none was trained with both.
        """
        scores: list[Scored] = []
        before = None
        for trial in trials:
            second = next(
                (t for t in trials if t.user_attrs.get("repeats") == trial.number and t.value is not None), None
            )
            if second is None or trial.value is None:
                continue
            pair = (trial, second)
            one = Scored(
                tuple(trial.user_attrs["settings"]), tuple(t.number for t in pair), tuple(t.values[0] for t in pair),
                tuple(t.user_attrs["loss"] for t in pair),
            )  # fmt: skip
            scores.append(one)
            before = one if trial.number == 0 else before
        if not scores:
            raise ExpandError("no recipe could be trained with two seeds; `optuna-dashboard` shows the trials")
        chosen = min(scores, key=lambda one: (-one.mean, sum(one.loss)))
        seed = self.study.seeds[0]
        return Tuned(
            self.study.name, self.asked.network, self.asked.data, self.asked.fingerprint, chosen, before,
            tuple(one for one in scores if one not in (chosen, before)), (seed, seed + 1), len(self.caches[1]),
            len(trials), round(sum(t.user_attrs.get("seconds", 0.0) for t in trials), 1),
        )  # fmt: skip


def best_of(firsts: Sequence[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """The trials that are trained with a second seed: the best, and the recipe as it was (trial 0)."""
    done = [trial for trial in firsts if trial.value is not None and trial.state.name == "COMPLETE"]
    ranked = sorted(done, key=lambda trial: (-trial.values[0], trial.user_attrs["loss"], trial.number))
    return ranked[:REPEATED] + [trial for trial in ranked[REPEATED:] if trial.number == 0]


def settings_of(before: Recipe, after: Recipe) -> list[str]:
    """What `--set` must change in `before` to get `after`."""
    return [f"recipe.{name}={new}" for name, new in vars(after).items() if new != getattr(before, name)]


def beats_chance(tuned: Tuned, chance: Chance) -> bool:
    """Whether both seeds of the chosen recipe together are better than guessing."""
    right = sum(round(top1 * tuned.clips) for top1 in tuned.chosen.top1) // len(tuned.chosen.top1)
    return binomial_tail(right, tuned.clips, chance.share) < LEVEL


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's lines about trials and its notes on experimental parts."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(), signals.deferred():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
