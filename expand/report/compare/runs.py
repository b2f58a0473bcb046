"""Reads the runs to compare, gives them distinct names, and checks that they can be compared."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from expand.core.errors import UsageError
from expand.core.trial import Trial
from expand.report.candidates import RunFacts, candidates
from expand.report.significance import Network, scored_networks
from expand.storage.facts import Facts, StudyFacts, VideoFacts

MOST_RUNS = 8  # as many as one plot has distinct colours and markers for


@dataclass(frozen=True)
class Run:
    """A run read from its record.

    Attributes:
        facts: study.json.
        networks: those trained in full with every seed.
        left_out: how many candidates were not.
    """

    name: str
    facts: Facts
    about: RunFacts
    networks: tuple[Network, ...]
    left_out: int
    trials: tuple[Trial, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.about.seeds

    def scores(self, network: Network, seeds: Sequence[int]) -> tuple[float, ...]:
        """Top-1 of these seeds, in their order."""
        known = dict(zip(self.seeds, network.scores, strict=True))
        return tuple(known[seed] for seed in seeds)

    def network(self, number: int) -> Network:
        """The network that a trial belongs to.

        Raises:
            UsageError: no such trial, or one that was not trained in full with every seed.
        """
        for network in self.networks:
            if number in network.candidate.numbers:
                return network
        for trial in self.trials:
            if trial.number == number:
                because = f": {trial.error}" if trial.error else ""
                raise UsageError(
                    f"{self.name}:{number} ({trial.label}) is {trial.state.value}{because}; only networks trained in full with "
                    "every seed can be compared"
                )
        raise UsageError(f"{self.name}:{number}: this run has trials 0 to {len(self.trials) - 1}")


def split_name(text: str) -> tuple[Path, int | None]:
    """RUN or RUN:TRIAL; a folder that has such a name is a run."""
    head, colon, tail = text.rpartition(":")
    if colon and head and tail.isdecimal() and not Path(text).is_dir():
        return Path(head), int(tail)
    return Path(text), None


def read_runs(folders: Sequence[Path]) -> tuple[Run, ...]:
    """The runs, finished or not.

    Raises:
        UsageError: a folder without a run, a run without a complete candidate, a run given twice, too many runs.
    """
    if len(folders) > MOST_RUNS:
        raise UsageError(f"{len(folders)} runs: at most {MOST_RUNS} can be distinguished on one plot; compare fewer")
    places = [Path(os.path.realpath(folder)) for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"{folder} is given twice; a run is compared with another one")
    return tuple(_read(folder, name) for folder, name in zip(folders, _names(places), strict=True))


def check_alike(runs: Sequence[Run], *, anyway: bool = False) -> list[str]:
    """Warnings about differences that make accuracies hard to compare, each with fields and both values.

    Raises:
        UsageError: other videos or classes, unless `anyway`.
    """
    warnings = []
    for first, second in combinations(runs, 2):
        names = f"{first.name} and {second.name}"
        if serious := _other_videos(first, second):
            if not anyway:
                raise UsageError(f"{names} cannot be compared: {serious}; --anyway compares them nevertheless")
            warnings.append(f"{names} cannot really be compared: {serious}")
        if fields := _other_training(first.facts.study, second.facts.study):
            warnings.append(f"{names} were trained or scored differently: {', '.join(fields)}")
        if first.about.clips != second.about.clips and not serious:
            warnings.append(f"{names} were scored on {first.about.clips} and {second.about.clips} validation clips")
    return warnings


def _read(folder: Path, name: str) -> Run:
    from expand.report.run_report import run_facts
    from expand.storage.run_directory import open_for_reading

    record = open_for_reading(folder)
    about, trials = run_facts(record), record.trials()
    networks, left_out = scored_networks(candidates(trials, about.seeds), trials, about.seeds)
    if not networks:
        seeds = "" if len(about.seeds) == 1 else f" with all of its {len(about.seeds)} seeds"
        raise UsageError(
            f"{folder}: no network is complete{seeds}, so there is nothing to compare; "
            f"`expand status {shlex.quote(str(folder))}` "
            "shows how far it is"
        )
    return Run(name, record.facts, about, tuple(networks), len(left_out), trials)


def _names(places: Sequence[Path]) -> list[str]:
    """Distinct names: the shortest distinct ends of the paths."""
    depth = 1
    while True:
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            return names
        depth += 1


def _other_videos(first: Run, second: Run) -> str:
    one, two = first.facts.data, second.facts.data
    if one.classes != two.classes:
        apart = sorted(set(one.classes) ^ set(two.classes))
        such = f", such as '{apart[0]}' in only one of them" if apart else ", in another order"
        return f"other classes ({len(one.classes)} and {len(two.classes)}{such})"
    if one.fingerprint != two.fingerprint:
        return f"other videos or another split ({_videos(one)} and {_videos(two)})"
    return ""


def _videos(data: VideoFacts) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in asdict(data.videos).items())
    return f"{data.name}: {counts}, fingerprint {data.fingerprint[:12]}"


def _other_training(one: StudyFacts, two: StudyFacts) -> list[str]:
    """Fields of recipe and data that differ, as "recipe.epochs 12 / 30"."""
    parts = (("recipe", asdict(one.recipe), asdict(two.recipe)), ("data", asdict(one.data), asdict(two.data)))
    places = ("source", "published", "validation_share", "test_share")  # the fingerprint covers these
    return [
        f"{part}.{name} {value} / {new[name]}"
        for part, old, new in parts
        for name, value in old.items()
        if name not in places and value != new[name]
    ]
