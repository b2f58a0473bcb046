"""The output of `expand data prepare` and `expand data check`."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from expand.cli.listing import print_json
from expand.core.files import LINES, escaped
from expand.core.units import format_bytes
from expand.data.cache import clip_cache as cache
from expand.data.cache.disk_space import expected_bytes
from expand.data.manifest import SPLITS, Manifest, cache_root
from expand.data.prepare_source import prepare_source
from expand.data.prepared.validate import LEFT_OUT, Finding, Report, check, counts, plain
from expand.data.prepared.validate import Progress as Count
from expand.data.read_source import read_source
from expand.data.sources.records import BadInput, Options
from expand.data.synthetic.render import ensure_rendered, verify

LISTED = 50  # problems that are printed; --json has all


def check_data(source: str | None, options: Options, *, shortest: int, as_json: bool) -> bool:
    """Prints the content of a source and its problems; True if there are none."""
    folder = ensure_rendered() if source is None else Path(source)
    with _all_problems(as_json):
        manifest = read_source(folder, options)
    with _bar("decoding") as progress:
        report = check(manifest, shortest=shortest, progress=progress)
    changed = verify(folder) if source is None else []
    if as_json:
        print_json(plain(manifest, report) | {"checksums": changed})
        return not report.findings and not changed
    console = Console()
    _say(console, f"layout {manifest.layout}: {manifest.why}")
    print_source(console, manifest, report, source or "rendered clips")
    _print_findings(console, report.findings)
    if manifest.group_note:
        _say(console, manifest.group_note)
    for line in changed:
        _say(console, line)
    if not report.findings and not changed:
        _say(console, "every video decodes; no problems found")
    return not report.findings and not changed


def prepare_data(
    source: str, to: Path, options: Options, *, strict: bool, cache_side: int | None, as_json: bool
) -> None:
    """Writes a prepared folder, fills the frame cache unless `cache_side` is None, and prints a summary."""
    console = Console(stderr=as_json)
    options = _confirmed(source, options) if sys.stdin.isatty() and sys.stdout.isatty() and not as_json else options

    def read(manifest: Manifest) -> None:
        _say(console, f"{len(manifest.videos)} videos, layout {manifest.layout}: {manifest.why}")
        if manifest.group_note:
            _say(console, manifest.group_note)

    with _all_problems(as_json), _bar("decoding") as progress:
        made = prepare_source(source, to, options, strict=strict, read=read, progress=progress)
    manifest = made.manifest
    if not as_json:
        print_source(console, manifest, made.report, str(to))
        _print_findings(console, made.report.findings)
    for line in manifest.left_out:
        _say(console, f"left out: {line}")
    _say(console, f"wrote {to}/manifest.csv and manifest.json")
    size = None if cache_side is None else _fill_cache(console, manifest, cache_side)
    if as_json:
        return print_json(plain(manifest, made.report) | {"fingerprint": manifest.fingerprint(), "cache_bytes": size})
    _say(console, f"train on it: expand run STUDY --data {shlex.quote(str(to))}")


def _confirmed(source: str, options: Options) -> Options:
    """Suggests groups found in the file names, and uses them if the user at the terminal agrees."""
    manifest = read_source(source, options)
    if not manifest.group_guess:
        return options
    print(manifest.group_note)
    right = typer.confirm("Are these the groups?", default=False)
    return replace(options, group_pattern=manifest.group_guess) if right else options


def _fill_cache(console: Console, manifest: Manifest, side: int) -> int:
    """Decodes training and validation clips into the cache; returns its size in bytes."""
    videos = [*manifest.split("train"), *manifest.split("val")]
    expected = expected_bytes(manifest, videos, side)
    _say(
        console,
        f"the frame cache at short side {side} takes about {format_bytes(expected or 0)}, in {cache_root()}",
    )
    with _bar("caching") as progress:
        folders = cache.prepare(manifest, side=side, skip_damaged=True, progress=progress)
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*"))


def print_source(console: Console, manifest: Manifest, report: Report, title: str) -> None:
    """Prints classes and splits, and properties of the videos."""
    table = Table(title=Text(escaped(title)), title_justify="left")
    table.add_column("class")
    for split in SPLITS:
        table.add_column(split, justify="right")
    for name, row in counts(manifest).items():
        table.add_row(Text(name), *(str(row[split]) for split in SPLITS))
    table.add_row("all", *(str(len(manifest.split(split))) for split in SPLITS), style="bold")
    console.print(table)
    spread = Table()
    spread.add_column("")
    for name in ("min", "median", "max"):
        spread.add_column(name, justify="right")
    for name, values in report.spread().items():
        spread.add_row(name, *(f"{values[each]:.4g}" for each in ("min", "median", "max")))
    console.print(spread)


def _print_findings(console: Console, findings: tuple[Finding, ...]) -> None:
    for finding in findings[:LISTED]:
        _say(console, str(finding))
    if len(findings) > LISTED:
        _say(console, f"and {len(findings) - LISTED} more: --json lists all")
    if findings:
        kinds = Counter(finding.kind for finding in findings)
        counts_by_kind = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
        out = len({finding.video for finding in findings if finding.kind in LEFT_OUT})
        _say(console, f"{len(findings)} problems ({counts_by_kind}); training leaves out {out} videos")


def _say(console: Console, text: str) -> None:
    console.print(escaped(text, keep=LINES), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _all_problems(as_json: bool) -> Iterator[None]:
    """With --json, prints all problems of the lists as JSON before the error ends the command."""
    try:
        yield
    except BadInput as error:
        if as_json:
            print_json({"problems": [{"kind": "bad input", "reason": problem} for problem in error.problems]})
        raise


@contextmanager
def _bar(what: str) -> Iterator[Count]:
    """A progress bar on stderr; nothing if stderr is not a terminal."""
    console = Console(stderr=True)
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
