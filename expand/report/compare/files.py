"""Writes a comparison: compare.md to read, compare.csv and .json for programs, and figures of the fronts. pandas and
matplotlib are imported when files are written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from expand.core.errors import UsageError
from expand.report.compare.fronts import UNITS, Fronts, Versus
from expand.report.compare.intervals import Difference
from expand.report.compare.runs import Run
from expand.report.compare.tables import Section, markdown, sections
from expand.report.drawing import Writer, picture_files, picture_names
from expand.report.files import plain_json, table, text, write_files
from expand.report.significance import Network

OURS = ("compare.md", "compare.csv", "compare.json", *picture_names("fronts"))


def write_fronts(folder: Path, found: Fronts, warnings: Sequence[str]) -> list[Path]:
    """Writes the comparison of runs; returns the files.

    Raises:
        UsageError: `folder` is a file, or contains other files.
    """
    from expand.report.compare.figure import draw

    title = "Comparison of " + ", ".join(run.name for run in found.runs)
    files: dict[str, Writer] = {
        "compare.md": text(markdown(title, sections(found), warnings, "fronts.png")),
        "compare.csv": table(_bin_rows(found)),
        "compare.json": plain_json(plain_fronts(found, warnings)),
    }
    return _write(folder, files | picture_files("fronts", partial(draw, found)))


def write_pair(
    folder: Path,
    runs: Sequence[Run],
    networks: Sequence[Network],
    difference: Difference,
    part: Section,
    warnings: Sequence[str],
) -> list[Path]:
    """Writes the comparison of two networks, as `write_fronts` but without figures."""
    names = [_network_name(run, network) for run, network in zip(runs, networks, strict=True)]
    row = {"first": names[0], "second": names[1], **_plain_difference(difference)}
    return _write(folder, {
        "compare.md": text(markdown(f"{names[0]} and {names[1]}", [part], warnings)),
        "compare.csv": table([row]),
        "compare.json": plain_json(plain_pair(runs, networks, difference, warnings)),
    })  # fmt: skip


def plain_fronts(found: Fronts, warnings: Sequence[str]) -> dict[str, object]:
    """compare.json of runs: accuracies and hypervolumes are fractions, costs are in the unit of the cost's name."""
    unit = UNITS[found.cost]
    runs = [
        {
            "name": run.name, "study": run.about.study, "scale": run.about.scale, "data": run.about.data,
            "seeds": list(run.seeds), "epochs": run.about.epochs, "validation_clips": run.about.clips,
            "complete": run.about.complete, "networks": len(run.networks), "left_out": run.left_out,
            "front": [
                {
                    "trials": list(one.numbers), "architecture": one.architecture.as_dict(),
                    found.cost: one.amount(found.cost) / unit, "top1": one.top1, "noise": one.noise,
                }
                for one in front.best
            ],
            "hypervolume": share, "seed_hypervolumes": list(seeds),
            "growth": [{"training_macs": moment.macs, "hypervolume": moment.volume} for moment in front.growth],
        }
        for run, front, share, seeds in zip(found.runs, found.fronts, found.shares, found.seed_shares, strict=True)
    ]  # fmt: skip
    reference = {found.cost: found.box.high / unit, "top1": found.box.floor}
    return {
        "cost": found.cost, "axis": "log", "from": found.box.low / unit, "reference": reference, "bins": found.width,
        "warnings": list(warnings), "runs": runs,
        "hypervolume_differences": [_plain_versus(found, versus) for versus in found.versus],
        "equal_cost": _bin_rows(found),
    }  # fmt: skip


def plain_pair(
    runs: Sequence[Run], networks: Sequence[Network], difference: Difference, warnings: Sequence[str]
) -> dict[str, object]:
    """compare.json of two networks."""
    rows = [
        {
            "run": run.name, "label": network.label, "trials": list(network.candidate.numbers),
            "architecture": network.candidate.architecture.as_dict(), "macs": network.candidate.cost.macs,
            "params": network.candidate.cost.params, "seeds": list(run.seeds), "scores": list(network.scores),
        }
        for run, network in zip(runs, networks, strict=True)
    ]  # fmt: skip
    return {"warnings": list(warnings), "networks": rows, "difference": _plain_difference(difference)}


def _bin_rows(found: Fronts) -> list[dict[str, object]]:
    """One row per bin and pair of runs."""
    unit, rows = UNITS[found.cost], []
    for entry in found.bins:
        for versus in entry.versus:
            one, two = entry.best[versus.first], entry.best[versus.second]
            assert one is not None and two is not None
            sides = {
                f"{side}_{key}": value
                for side, network, count in (
                    ("first", one, entry.counts[versus.first]),
                    ("second", two, entry.counts[versus.second]),
                )
                for key, value in (
                    ("network", network.label),
                    ("trials", " ".join(map(str, network.candidate.numbers))),
                    (found.cost, network.candidate.amount(found.cost) / unit),
                    ("best_of", count),
                )
            }
            rows.append({"low": entry.low / unit, "high": entry.high / unit, **_plain_versus(found, versus), **sides})
    return rows


def _plain_versus(found: Fronts, versus: Versus) -> dict[str, object]:
    names = {"first": found.runs[versus.first].name, "second": found.runs[versus.second].name}
    return names | _plain_difference(versus.difference)


def _plain_difference(difference: Difference) -> dict[str, object]:
    low, high = difference.interval or (None, None)
    freedom = difference.noise.freedom
    return {
        "first_value": difference.first, "second_value": difference.second, "difference": difference.value,
        "low": low, "high": high, "standard_error": difference.noise.standard_error,
        "degrees_of_freedom": None if freedom == float("inf") else freedom, "basis": difference.noise.basis,
        "indistinguishable": difference.indistinguishable, "verdict": difference.verdict,
        "split_standard_error": difference.split_error,
    }  # fmt: skip


def _network_name(run: Run, network: Network) -> str:
    return f"{run.name}: {network.label}"


def _write(folder: Path, files: dict[str, Writer]) -> list[Path]:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {folder}: it is a file; give a folder")
    foreign = [entry.name for entry in sorted(folder.iterdir()) if entry.name not in OURS] if folder.is_dir() else []
    if foreign:
        raise UsageError(
            f"--to {folder}: it contains {foreign[0]}, which is not part of a comparison; give an empty or a new folder"
        )
    return write_files(folder, files, sometimes=OURS)
