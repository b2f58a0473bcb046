"""`expand compare`: reads runs, compares them, prints the result, and writes it if asked."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from expand.core.errors import UsageError, unknown
from expand.report.candidates import CostName
from expand.report.compare.files import plain_fronts, plain_pair, write_fronts, write_pair
from expand.report.compare.fronts import compare_fronts, network_differences
from expand.report.compare.runs import check_alike, read_runs, split_name
from expand.report.compare.tables import pair_section, print_sections, sections

if TYPE_CHECKING:
    from rich.console import Console


def compare(
    arguments: Sequence[str],
    console: Console,
    *,
    cost: str = "gmacs",
    reference: Sequence[str] = (),
    width: float = 0.1,
    to: Path | None = None,
    anyway: bool = False,
    as_json: bool = False,
) -> None:
    """Compares runs, each named by its folder, or two networks, each as RUN:TRIAL. Writes nothing without `to`.

    Raises:
        UsageError: only one run, a run that cannot be read or compared, or a folder that may not be written.
    """
    named = [split_name(argument) for argument in arguments]
    picked = [(folder, number) for folder, number in named if number is not None]
    if picked and len(picked) < len(named):
        raise UsageError(
            "compare whole runs (RUN RUN...) or two networks (RUN:TRIAL RUN:TRIAL), not one with the other"
        )
    if len(named) < 2:
        instead = "another RUN:TRIAL" if picked else "another RUN; `expand report RUN` is about one"
        raise UsageError(f"{arguments[0]} compared with what? Give {instead}")
    if picked:
        return _networks(picked, console, to, anyway=anyway, as_json=as_json)
    if cost not in get_args(CostName):
        raise unknown("cost in --cost", cost, get_args(CostName))
    name: CostName = next(entry for entry in get_args(CostName) if entry == cost)
    if not 0 < width <= 10:
        raise UsageError(f"--bins {width:g}: a relative width above 0, such as 0.1 for costs within 10 %")
    limits = _references(reference, name)
    runs = read_runs([folder for folder, _ in named])
    warnings = check_alike(runs, anyway=anyway)
    found = compare_fronts(runs, name, width=width, reference=limits)
    if as_json:
        _print_json(plain_fronts(found, warnings))
    else:
        print_sections(console, sections(found), warnings)
    if to is not None:
        _say_written(console, write_fronts(to, found, warnings), as_json)


def _networks(
    picked: Sequence[tuple[Path, int]], console: Console, to: Path | None, *, anyway: bool, as_json: bool
) -> None:
    if len(picked) != 2:
        raise UsageError(
            f"{len(picked)} networks: two can be compared by name; `expand report RUN` compares all of a run"
        )
    folders = list(dict.fromkeys(Path(os.path.realpath(folder)) for folder, _ in picked))
    runs = read_runs(folders)
    own = [runs[folders.index(Path(os.path.realpath(folder)))] for folder, _ in picked]
    one, two = (run.network(number) for run, (_, number) in zip(own, picked, strict=True))
    if one is two:
        raise UsageError(f"trials {picked[0][1]} and {picked[1][1]} are the same network ({one.label}); name two")
    warnings = check_alike(runs, anyway=anyway)
    alone = [replace(run, networks=(network,)) for run, network in zip(own, (one, two), strict=True)]
    (difference,) = network_differences(alone[0], alone[1], [(one, two)], 1)
    part = pair_section(own, (one, two), difference)
    if as_json:
        _print_json(plain_pair(own, (one, two), difference, warnings))
    else:
        print_sections(console, [part], warnings)
    if to is not None:
        _say_written(console, write_pair(to, own, (one, two), difference, part, warnings), as_json)


def _references(texts: Sequence[str], cost: CostName) -> dict[str, float]:
    """ "gmacs=2" and "top1=0.1" as numbers."""
    found = {}
    for text in texts:
        name, separator, number = (part.strip() for part in text.partition("="))
        if name not in (cost, "top1"):
            raise unknown(
                f"reference in --reference '{text}' (the axes are those of --cost {cost}):", name, (cost, "top1")
            )
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not separator or not math.isfinite(found[name]):
            raise UsageError(f"--reference '{text}': write it as {name}=0.1, with a number")
    return found


def _print_json(content: object) -> None:
    from expand.cli.listing import print_json

    print_json(content)


def _say_written(console: Console, paths: Sequence[Path], as_json: bool) -> None:
    if not as_json:
        console.print("wrote " + ", ".join(map(str, paths)), highlight=False, markup=False, soft_wrap=True)
