"""Trains the networks of a table once, with several seeds, and writes the table (`expand/replay/table.py`).

    python benchmarks/tabular/make.py x3d --data CLIPS --workers 2          128 networks, 5 seeds
    python benchmarks/tabular/make.py c3d --data CLIPS --workers 2          64 networks, 3 seeds
    python benchmarks/tabular/make.py mixed_conv --data CLIPS --workers 2   64 networks, 3 seeds

CLIPS are rendered clips (`expand data render --to CLIPS --validation 640`). It can be stopped at any time; the same command
resumes, and writes the table of the networks that have all their seeds so far (`--only-write` trains nothing). The run
directory is runs/table-NAME. A table may be trained in parts, on several machines: `--first 64` trains from network 64 on in
a run directory of its own. What a table holds already, from the same videos and the same recipe, stays in it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

import expand
from expand.config.loading import load_space, load_study
from expand.core.space import SearchSpace
from expand.core.study import Budget, CountMacs, Data, Objective, Recipe, Study
from expand.core.trial import Suggestion, Trial, TrialState
from expand.counting.cost import MacsCounter
from expand.replay.table import Table, load, save
from expand.storage.facts import VideoFacts
from expand.storage.run_directory import open_for_reading
from expand.strategies.candidates import Choice, first_networks, pool
from expand.strategies.grid import next_network
from search_spaces.c3d import GROUPS as C3D_GROUPS
from search_spaces.mixed_conv import GROUPS as MIXED_GROUPS

HERE = Path(__file__).parent
RENDERED_CLASSES = 10


@dataclass(frozen=True)
class Plan:
    """A table: whose space and recipe, which networks, how many of them and how many seeds."""

    study: str
    choice: Choice
    limit_gmacs: float
    networks: int
    seeds: int


PLANS = {
    "x3d": Plan(
        "x3d_stepwise",
        Choice(
            values=5, within=(
                ("frame_rate", 1, 8), ("resolution", 32, 96), ("depth", 1, 4), ("width", 0.25, 1.5), ("bottleneck", 0.5, 3),
            ),
        ),
        0.0128, 128, 3,
    ),
    "c3d": Plan("c3d_depth_free", Choice(axes=C3D_GROUPS, values=0), 1.0, 64, 3),
    "mixed_conv": Plan("mixed_conv_free", Choice(axes=MIXED_GROUPS, values=0), 1.0, 64, 3),
}  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """Trains these networks, one after the other with all its seeds.

    Attributes:
        networks: architectures as JSON.
    """

    networks: tuple[str, ...]

    def ask(self, study: Study, trials: Sequence[Trial], macs: CountMacs) -> list[Suggestion]:
        named = (expand.Architecture.from_json(text) for text in self.networks)
        return next_network(study, trials, (Suggestion(each, study.recipe.epochs, 0, kind="fixed") for each in named))


def study_of(name: str, data: str | None, first: int = 0) -> Study:
    """The study that trains a table's networks, from this one on."""
    plan = PLANS[name]
    base = load_study(plan.study)
    objectives = (
        Objective("top1", "maximize"),
        Objective("gmacs", "minimize", known_before_training=True, limit=plan.limit_gmacs),
    )
    base = replace(base, objectives=objectives, budget=Budget(), seeds=tuple(range(plan.seeds)))
    chosen = networks_of(base, plan)[first:]
    source = replace(base.data, source=data) if data else Data(cache_side=base.data.cache_side)
    return replace(base, name=f"table-{name}", strategy=Listed(chosen), data=source)


def networks_of(base: Study, plan: Plan) -> tuple[str, ...]:
    """One network from each of as many strata of log cost, then random ones, in a random order: a table that was stopped early is
    a sample of the whole one."""
    found = pool(base, plan.choice, MacsCounter(base.space, RENDERED_CLASSES))
    generator = np.random.default_rng(0)
    rows = first_networks(found, plan.networks // 2, 0)
    others = [int(row) for row in generator.permutation(len(found.networks)) if row not in rows]
    chosen = generator.permutation([*rows, *others][: plan.networks])
    return tuple(found.networks[row].to_json() for row in chosen)


def table_of(name: str, folder: Path, space: SearchSpace) -> Table:
    """The networks of a run that have all their seeds."""
    record = open_for_reading(folder)
    seeds = record.seeds
    done: dict[expand.Architecture, dict[int, Trial]] = {}
    for trial in record.trials():
        if trial.state is TrialState.COMPLETE:
            done.setdefault(trial.architecture, {})[trial.suggestion.seed] = trial
    whole = {network: trials for network, trials in done.items() if len(trials) == len(seeds)}
    if not whole:
        sys.exit(f"{folder}: no network has all its {len(seeds)} seeds yet")
    curves = [[[entry.top1 for entry in trials[seed].curve] for seed in seeds] for trials in whole.values()]
    clips = next(iter(next(iter(whole.values())).values())).metrics
    assert clips is not None
    about = made_with(record.facts.study.recipe, record.facts.data)
    costs = tuple(next(iter(trials.values())).cost for trials in whole.values())
    return Table(name, space, tuple(whole), costs, np.array(curves), clips.clips, about)


def made_with(recipe: Recipe, videos: VideoFacts) -> str:
    """Videos and recipe in words: what must be the same in all parts of a table."""
    default = Recipe()
    values = {each.name: getattr(recipe, each.name) for each in fields(Recipe)}
    own = (f"{name}={value}" for name, value in values.items() if value != getattr(default, name))
    count = videos.videos
    return (
        f"{count.train} training and {count.val} validation clips ({videos.fingerprint[:8]}); recipe: {', '.join(own)}"
    )


def joined(old: Table, new: Table) -> Table:
    """Both tables' networks; those that both have are the new one's.

    Raises:
        SystemExit: other videos, another recipe or other seeds.
    """
    if (old.about, old.clips, old.curves.shape[1:]) != (new.about, new.clips, new.curves.shape[1:]):
        sys.exit(
            f"the table was made with: {old.about}; this run with: {new.about}. Move the table away to make another one."
        )
    kept = [row for row, network in enumerate(old.networks) if network not in new.index]
    return replace(
        new,
        networks=(*(old.networks[row] for row in kept), *new.networks),
        costs=(*(old.costs[row] for row in kept), *new.costs),
        curves=np.concatenate([old.curves[kept], new.curves]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PLANS)
    parser.add_argument("--data")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="the plan's networks from this one on")
    parser.add_argument("--only-write", action="store_true")
    arguments = parser.parse_args()
    name, first = arguments.name, arguments.first
    study, folder = (
        study_of(name, arguments.data, first),
        Path("runs") / (f"table-{name}-{first}" if first else f"table-{name}"),
    )
    if not arguments.only_write:
        expand.run(study, out=folder, workers=arguments.workers)
    table, path = table_of(name, folder, study.space), HERE / f"{name}.json.gz"
    if path.exists():
        table = joined(load(path, load_space), table)
    save(table, path)
    print(f"{path}: {len(table.networks)} networks, {table.seeds} seeds, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
