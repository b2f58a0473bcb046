"""What the engine counts on in a search strategy, as tests that every strategy inherits: seconds, no training.

A strategy of your own, in this repository or outside it, is held to them by a few lines in a test file:

    class TestMine(StrategyContract):
        study = Study("mine", MySpace(), MyStrategy(), budget=Budget(trials=12), seeds=(0, 1))
        refused = {"names no axis": replace(study, strategy=MyStrategy(axes=("typo",)))}

It plays the study against made-up results, in which trials also fail, are stopped early, or turn out to be over a limit.
A failure says after how many trials and which; `docs/adding_a_strategy.md` says what each rule is for.
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from expand.config.serialize import describe
from expand.core.errors import UsageError
from expand.core.space import Architecture
from expand.core.study import Costs, SearchStrategy, Study
from expand.core.trial import Suggestion, Trial, TrialState
from expand.counting.cost import cost_of
from expand.testing.checks import spread, works
from expand.testing.simulated_search import MadeUpCosts, Outcome, ended, goes_on, made_up, opened, simulate

WORLDS: dict[str, Outcome] = {
    "where every training completes": made_up(),
    "where some fail": made_up(0.15, name="some fail"),
    "where every training fails": lambda suggestion: TrialState.FAILED,
}
MOST_PREFIXES = 8  # of one search that are gone on from; of more trials, evenly spread ones


_SEARCHES: dict[
    tuple[type, int, str], tuple[Study, list[Trial]]
] = {}  # keeps each study alive, so that its id stays its own


@dataclass(frozen=True)
class Recorded:
    """A strategy that keeps what it was asked and what it answered."""

    strategy: SearchStrategy
    asks: list[tuple[Sequence[Trial], list[Suggestion]]]

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        wanted = self.strategy.ask(study, trials, macs)
        self.asks.append((trials, wanted))
        return wanted


class StrategyContract:
    """One method a rule. Subclasses give `study`; the rest may stay as it is. `refused` are studies that cannot be searched,
    each with words of its error; `most` trials end the search at the latest. `learns` says that results decide what comes next
    at any time, so that the search depends on how many trainings run at a time. `races` says that results also decide
    which further seeds of a network are trained."""

    study: Study
    refused: Mapping[str, Study] = {}
    num_classes = 101
    most = 500
    learns = False
    races = False

    def macs(self, architecture: Architecture) -> int:
        """Multiply-adds of one clip. Override it where networks need not be counted."""
        return cost_of(self.study.space, architecture, self.num_classes).macs

    @property
    def costs(self) -> Costs:
        """What the strategy is given; parameters are as many as `macs`."""
        return MadeUpCosts(self.macs)

    def test_it_can_be_written_out(self) -> None:
        """A run keeps its study as JSON, and resumes only what has not changed."""
        strategy = self.study.strategy
        with works("the strategy as plain JSON (its fields must be plain values)"):
            json.dumps(describe(strategy), allow_nan=False)
        with works("the strategy pickled"):
            assert pickle.loads(pickle.dumps(strategy)) == strategy, (
                "the pickled strategy is another (a frozen dataclass?)"
            )

    def test_suggestions_are_networks_of_the_study(self) -> None:
        space, study = self.study.space, self.study
        for world, trials in self._searches():
            assert trials or world != "where every training completes", "it never asks for anything"
            for trial in trials:
                suggestion = trial.suggestion
                with works(f"{suggestion.architecture}"):
                    legal = space.architecture(**suggestion.architecture.as_dict())
                assert legal == suggestion.architecture, (
                    f"{suggestion.architecture} is not canonical: {space.name} makes it {legal}"
                )
                assert suggestion.seed in study.seeds, (
                    f"{suggestion.architecture}: seed {suggestion.seed} is not in {study.seeds}"
                )
                assert 1 <= suggestion.epochs <= study.recipe.epochs, (
                    f"{suggestion.architecture}: {suggestion.epochs} epochs, of {study.recipe.epochs} in the recipe"
                )
                assert suggestion.parent is None or 0 <= suggestion.parent < max(trial.number, 1), (
                    f"{suggestion.architecture}: its parent, trial {suggestion.parent}, is no earlier trial"
                )

    def test_the_same_trials_give_the_same_answer(self) -> None:
        """A resumed search is another process: what it asks for must follow from the trials, whatever was asked before."""
        for world, trials in self._searches():
            for count in self._counts(trials):
                prefix = trials[:count]
                first, again = self._ask(prefix), self._ask(tuple(prefix))
                fresh = self._ask(prefix, pickle.loads(pickle.dumps(self.study)))
                assert prefix == trials[:count], f"{world}: it changes the {count} trials that it is given"
                assert first == again == fresh, (
                    f"{world}: asked twice with the same {count} trials, it wants {_names(_keys(first))}, "
                    f"then {_names(_keys(again if again != first else fresh))}"
                )

    def test_the_order_of_the_trials_says_nothing(self) -> None:
        for world, trials in self._searches():
            for count in self._counts(trials):
                shuffled = random.Random(count).sample(trials[:count], count)
                wanted, other = _keys(self._ask(trials[:count])), _keys(self._ask(shuffled))
                assert wanted == other, (
                    f"{world}: the same {count} trials in another order, and it wants {_names(other)}, not {_names(wanted)}"
                )

    def test_nothing_is_asked_for_twice(self) -> None:
        for world, trials in self._searches():
            for count in self._counts(trials):
                for state in (None, *TrialState):
                    prefix = [_in(trial, state) for trial in trials[:count]]
                    asked, known = self._ask(prefix), {_key(trial.suggestion): trial for trial in prefix}
                    wanted = _keys(asked)
                    assert len(set(wanted)) == len(wanted), (
                        f"{world}: one answer has the same trial twice: {_names(wanted)}"
                    )
                    again = [_key(s) for s in asked if _key(s) in known and not goes_on(known[_key(s)], s)]
                    assert not again, (
                        f"{world}: with {count} trials ({state or 'ended'}) it wants {_names(again)} again"
                    )

    def test_the_seeds_of_a_network_come_together(self) -> None:
        """Or a budget could not tell whether a network will be finished, and networks could not be compared."""
        if self.races:
            return
        for world, trials in self._searches():
            for count in self._counts(trials):
                known = {_key(t.suggestion) for t in trials[:count] if t.state is not TrialState.PAUSED}
                wanted = _keys(self._ask(trials[:count]))
                for architecture in dict.fromkeys(architecture for architecture, _ in wanted):
                    asked = {seed for other, seed in wanted if other == architecture}
                    missing = {seed for seed in self.study.seeds if (architecture, seed) not in known}
                    assert asked == missing, (
                        f"{world}: with {count} trials it wants seeds {sorted(asked)} of {architecture}; "
                        f"{sorted(missing)} are missing"
                    )

    def test_resumed_at_any_ask_it_wants_the_same(self) -> None:
        """Killed while three trainings run, and asked again in another process: nothing but the trials is left of it."""
        for world, outcome in WORLDS.items():
            asks: list[tuple[Sequence[Trial], list[Suggestion]]] = []
            recorded = replace(self.study, strategy=Recorded(self.study.strategy, asks))
            with works("a simulated search"):
                simulate(recorded, self.costs, outcome, at_once=3, order=0, most=self.most)
            for trials, wanted in spread(asks, MOST_PREFIXES):
                again = self._ask(trials, pickle.loads(pickle.dumps(self.study)))
                assert again == wanted, (
                    f"{world}: with {len(trials)} trials it wanted {_names(_keys(wanted))}, resumed {_names(_keys(again))}"
                )

    def test_resumed_after_any_trial_it_trains_the_same(self) -> None:
        if self.learns:
            return  # the trials of its end are not what it knew on the way
        for world, trials in self._searches():
            for count in self._counts(trials):
                broken_off = [*trials[:count], *(_in(trial, TrialState.RUNNING) for trial in trials[count : count + 1])]
                resumed = self._simulate(WORLDS[world], known=broken_off)
                self._same(trials, resumed, f"{world}, resumed in trial {count}")

    def test_workers_and_the_order_of_ends_change_nothing(self) -> None:
        """One worker or many: the same search. Hours are another matter: they pass by the clock. A strategy that learns must
        only come to an end, whatever the order."""
        for world, trials in self._searches():
            for at_once in (1, 3):
                other = self._simulate(WORLDS[world], at_once=at_once, order=at_once)
                if not self.learns:
                    self._same(trials, other, f"{world}, {at_once} at once, ended in another order")

    def test_it_ends(self) -> None:
        for world, trials in self._searches():
            more = self._simulate(WORLDS[world], known=trials)[len(trials) :]
            wanted = _keys([trial.suggestion for trial in more])
            assert not more, f"{world}: it had ended after {len(trials)} trials and then wants {_names(wanted)}"

    def test_what_cannot_be_searched_is_refused(self) -> None:
        """Before anything is trained, by a UsageError of one line."""
        for words, study in self.refused.items():
            try:
                with works(f"a study that it should refuse with '{words}'", but=UsageError):
                    wanted = _keys(study.strategy.ask(study, (), self.costs))
            except UsageError as error:
                assert words in str(error), f"it refuses with '{error}', which does not say '{words}'"
                assert "\n" not in str(error), f"more than one line: {error}"
            else:
                raise AssertionError(f"it does not refuse with '{words}', but wants {_names(wanted)}")

    # --- what the rules use ---

    def _searches(self) -> Iterator[tuple[str, list[Trial]]]:
        """A whole search in each world; simulated once for all rules of a class and study."""
        for world, outcome in WORLDS.items():
            key = type(self), id(self.study), world
            if key not in _SEARCHES:
                _SEARCHES[key] = self.study, self._simulate(outcome)
            yield world, list(_SEARCHES[key][1])

    def _simulate(
        self, outcome: Outcome, known: Sequence[Trial] = (), *, at_once: int = 1, order: int | None = None
    ) -> list[Trial]:
        with works("a simulated search"):
            return simulate(self.study, self.costs, outcome, known, at_once=at_once, order=order, most=self.most)

    def _ask(self, trials: Sequence[Trial], study: Study | None = None) -> list[Suggestion]:
        study = study or self.study
        with works(f"asked with {len(trials)} trials"):
            return study.strategy.ask(study, trials, self.costs)

    def _counts(self, trials: Sequence[Trial]) -> list[int]:
        return spread(list(range(len(trials) + 1)), MOST_PREFIXES)

    def _same(self, trials: Sequence[Trial], other: Sequence[Trial], where: str) -> None:
        one, two = ({_key(trial.suggestion) for trial in each} for each in (trials, other))
        assert one == two, f"{where}: another search: without {_names(one - two)}, but with {_names(two - one)}"


Key = tuple[Architecture, int]  # a network and a seed: what one trial is


def _key(suggestion: Suggestion) -> Key:
    return suggestion.architecture, suggestion.seed


def _keys(wanted: Sequence[Suggestion]) -> list[Key]:
    return [_key(suggestion) for suggestion in wanted]


def _in(trial: Trial, state: TrialState | None) -> Trial:
    """The trial in this state; as it is with None."""
    if state is None:
        return trial
    if state is TrialState.RUNNING:
        return opened(trial.number, trial.suggestion, trial.cost.macs)
    if state is TrialState.PAUSED:
        return ended(replace(trial, suggestion=replace(trial.suggestion, until=1)), 0.5)
    return ended(trial, 0.5 if state is TrialState.COMPLETE else state)


def _names(keys: Collection[Key]) -> str:
    """The first of them."""
    names = ", ".join(f"{architecture} seed {seed}" for architecture, seed in list(keys)[:3])
    return f"{names} and {len(keys) - 3} more" if len(keys) > 3 else names or "nothing"
