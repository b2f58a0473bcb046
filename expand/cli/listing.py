"""The output of commands that only show something: spaces and studies, costs, a run's status."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expand.config.loading import load_module, load_space, load_study, names_in
from expand.config.serialize import describe
from expand.core.accuracy import percent
from expand.core.atomic import write_atomically
from expand.core.errors import UsageError
from expand.core.files import json_bytes
from expand.core.study import Study
from expand.core.trial import Trial, TrialState
from expand.core.units import format_bytes, format_macs, format_seconds


def print_json(content: object) -> None:
    print(json_bytes(content, indent=1).decode())


def show(*, as_json: bool) -> None:
    """Our studies and search spaces, with the first line of each one's docstring."""
    found = {
        package: {name: _headline(load_module(name, package).__doc__) for name in names_in(package)}
        for package in ("studies", "search_spaces")
    }
    if as_json:
        return print_json(found)
    console = Console()
    for package, use in (("studies", "expand run NAME"), ("search_spaces", "expand cost NAME")):
        table = Table(title=f"{package.replace('_', ' ')} ({use})", title_justify="left", show_header=False, box=None)
        for name, line in found[package].items():
            table.add_row(f"  {name}", line)
        console.print(table)
    for line in (
        "The fields of a study, with their meaning: expand list NAME",
        "A study or space of your own is a file or a dotted name: expand run ./my_study.py",
    ):
        console.print(line, highlight=False)


def show_fields(reference: str, scale: str, *, as_json: bool) -> None:
    """Every field of a study that `--set` reaches: its value, type, default and meaning."""
    from expand.config.fields import meanings, study_fields, summary, value_text

    study = load_study(reference, scale)
    found = study_fields(study)
    if as_json:
        return print_json({
            "study": study.name, "scale": study.scale,
            "fields": [
                {"name": f.name, "type": f.type, "value": _plain(f.value), "meaning": f.meaning}
                | ({} if f.default is MISSING else {"default": _plain(f.default)})
                for f in found
            ],
        })  # fmt: skip
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"{study.name} ({study.scale}): change any of these with --set NAME=VALUE"))
    described, before = meanings(Study), ""
    for field in found:
        part = field.name.partition(".")[0] if "." in field.name else ""
        if part and part != before:
            kind = type(getattr(study, part))
            says = described[part] if kind is tuple else f"{kind.__name__}. {summary(kind)}"
            console.print(Text(f"\n{textwrap.fill(f'{part}: {says}', console.width)}", style="bold"))
        before = part
        default = "no default" if field.default is MISSING else f"default {value_text(field.default)}".rstrip()
        changed = field.default is not MISSING and field.value != field.default
        line = Text(f"  {field.name}={value_text(field.value)}", style="bold" if changed else "")
        console.print(line.append(f"   {field.type}, {default}", style="dim"))
        if field.meaning:
            console.print(Text(textwrap.indent(textwrap.fill(field.meaning, console.width - 6), " " * 6)))


def _plain(value: object) -> object:
    """A field's value for JSON; the class's name if it is not a plain value."""
    try:
        return describe(value)
    except UsageError:
        return type(value).__name__


def _headline(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


# --- cost ------------------------------------------------------------------------------------------------------------


def parse_values(values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, separator, text in pairs:
        if not separator or not text:
            raise UsageError(f"'{name}{separator}': write it as NAME=VALUE, such as frames=6")
    return {name: text for name, _, text in pairs}


def show_papers(reference: str | None, to: Path | None, *, as_json: bool) -> None:
    """Published costs against our counts, of one space or of all of ours: a page in Markdown, printed or written."""
    from expand.counting import published as papers
    from expand.counting.cost import counted

    if to is not None and not to.parent.is_dir():  # reported before anything is counted
        raise UsageError(f"--to {to}: there is no folder {to.parent}")
    names = names_in("search_spaces") if reference is None else [reference]
    families = [papers.examine(load_space(name), counted) for name in names]
    page = json.dumps(papers.plain(families), indent=1, ensure_ascii=False) + "\n" if as_json else papers.page(families)
    if to is None:
        print(page, end="")
        return
    try:
        write_atomically(to, page.encode())
    except OSError as error:
        raise UsageError(f"--to {to}: {error.strerror}") from None
    print(f"wrote {to}")


# --- status ----------------------------------------------------------------------------------------------------------


def show_status(folder: Path, *, as_json: bool) -> None:
    """Every trial of a run, and whether a driver is running."""
    from expand.storage.folder import in_training, live_driver
    from expand.storage.run_directory import open_for_reading

    record = open_for_reading(folder)
    trials, driver = record.trials(), live_driver(folder)

    def state_of(trial: Trial) -> str:
        if trial.state is not TrialState.RUNNING:
            return trial.state.value
        if not driver:
            return "interrupted"
        return "training" if in_training(folder, record.checkpoint(trial.number)) else "queued"

    states = [state_of(trial) for trial in trials]
    if as_json:
        return print_json({
            "study": record.facts.study.name, "scale": record.facts.scale, "driver": driver,
            "trials": [
                {
                    "number": t.number, "name": t.suggestion.name, "state": t.state.value, "phase": state_of(t),
                    "step": t.suggestion.step,
                    "kind": t.suggestion.kind, "axes": list(t.suggestion.axes), "seed": t.suggestion.seed,
                    "architecture": t.architecture.as_dict(),
                    "macs": t.cost.macs, "top1": t.metrics.top1 if t.metrics else None, "epochs_done": len(t.curve),
                    "epochs": t.suggestion.epochs, "train_seconds": t.train_seconds, "attempts": t.attempts,
                    "error": t.error, "inherit": t.suggestion.inherit,
                }
                for t in trials
            ],
        })  # fmt: skip
    console = Console()
    title = Text(f"{folder}: {record.facts.study.name} ({record.facts.scale})")
    table = Table(title=title, title_justify="left")
    for name in ("trial", "candidate", "MACs", "epoch", "top-1 %", "time", "state"):
        table.add_column(name, justify="left" if name in ("candidate", "state") else "right")
    for trial, state in zip(trials, states, strict=True):
        last = trial.curve[-1].top1 if trial.curve else None
        top1 = trial.metrics.top1 if trial.metrics else last
        table.add_row(
            str(trial.number), trial.label, format_macs(trial.cost.macs), f"{len(trial.curve)}/{trial.suggestion.epochs}",
            "" if top1 is None else percent(top1), format_seconds(trial.train_seconds or sum(e.seconds for e in trial.curve)),
            state,
        )  # fmt: skip
    console.print(table)
    for trial in trials:
        if trial.error:
            console.print(Text(f"  trial {trial.number}: {trial.error}"), soft_wrap=True)
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no trial yet"
    if driver:
        console.print(f"{counts}; driver: {driver}", highlight=False)
    else:
        rest = "; the command that started it resumes it" if "interrupted" in states else ""
        console.print(f"{counts}; no driver is running{rest}", highlight=False)


# --- weights ---------------------------------------------------------------------------------------------------------


def show_weight_file(file: Path, *, as_json: bool) -> None:
    """The content of a file of weights, and the named points of our spaces that all of it fits."""
    from expand.weights.files import read
    from expand.weights.matching import points_that_fit

    found = read(file)
    spaces = [load_space(name) for name in names_in("search_spaces")]
    fits = [
        {"space": space.name, "point": point, "layout": layout}
        for space in spaces
        for point, layout in points_that_fit(found.tensors, space)
    ]
    count = sum(tensor.numel() for tensor in found.tensors.values())
    shapes = {name: list(tensor.shape) for name, tensor in found.tensors.items()}
    if as_json:
        says = found.architecture and {"family": found.architecture.family, "values": found.architecture.as_dict()}
        return print_json(
            {"file": str(found.path), "numbers": count, "architecture": says, "fits": fits, "tensors": shapes}
        )
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{found.path}: {len(shapes)} tensors, {count:,} numbers")
    if found.architecture:
        console.print(f"its architecture: {found.architecture.family} {found.architecture}")
    for name, shape in list(shapes.items())[:5]:
        console.print(f"  {name} {'x'.join(map(str, shape))}")
    for fit in fits:
        console.print(f"fits {fit['space']} --point {fit['point']} ({fit['layout']}'s layout)")
    if not fits:
        console.print("fits no named network of our spaces exactly; name a space, and values that differ")


def show_matched(
    file: Path, reference: str, values: Sequence[str], point: str | None, classes: int | None, *, as_json: bool
) -> None:
    """Which tensors of a file of weights a network of a space would use, by name."""
    from dataclasses import asdict

    from expand.weights.matching import inspect_weights

    space = load_space(reference)
    chosen = parse_values(values)
    architecture = space.architecture(**chosen) if point is None else space.point(point, **chosen)
    matched = inspect_weights(file, space=space, architecture=architecture, num_classes=classes or space.num_classes)
    if as_json:
        return print_json(asdict(matched))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{file} in {matched.layout}'s layout, into {space.name} {architecture}")
    for what, says in (("matched", ""), ("missing", "keep their values"), ("unexpected", "are not used"),
                       ("replaced", "are of another number of classes and start anew")):  # fmt: skip
        names = getattr(matched, what)
        console.print(f"{len(names):5} {what}" + (f" ({says})" if names and says else ""))
        for name in names if what != "matched" else ():
            console.print(f"      {name}")
    for note in matched.notes:
        console.print(note)


# --- data ------------------------------------------------------------------------------------------------------------


def render(to: Path | None, seed: int, validation: int | None) -> None:
    """Renders the default clips, or more of them for validation, into the cache or a folder."""
    from expand.data.synthetic.render import VALIDATION_GROUPS, ensure_rendered, render_dataset, verify
    from expand.data.synthetic.scenes import CLASSES

    if to is None and (seed or validation):
        raise UsageError("--seed and --validation need --to: the cache holds the default clips only")
    if validation is not None and validation % len(CLASSES):
        raise UsageError(f"--validation {validation}: a multiple of {len(CLASSES)}, one clip of each class")
    groups = VALIDATION_GROUPS if validation is None else validation // len(CLASSES)
    console = Console()
    with console.status("rendering") as spinner:

        def progress(done: int, total: int) -> None:
            spinner.update(f"rendering {done} of {total}")

        if to is None:
            folder = ensure_rendered(progress=progress)
        else:
            folder = render_dataset(to, seed=seed, val_groups=groups, progress=progress)
    problems = verify(folder)
    if problems:
        raise UsageError(f"{folder}: {problems[0]} ({len(problems)} problems); delete the folder and render again")
    console.print(f"{folder}: all checksums right", highlight=False, soft_wrap=True)


def reencode_data(source: str, to: Path, *, side: int, keyframes: int) -> None:
    """Writes smaller files that are fast to decode, and prints a summary."""
    from expand.data.read_source import read_source
    from expand.data.video.transcode import reencode

    console = Console()
    with console.status("re-encoding") as spinner:

        def progress(done: int, total: int) -> None:
            spinner.update(f"re-encoding {done} of {total}")

        done = reencode(read_source(source), to, side=side, keyframes=keyframes, progress=progress)
    for damaged in done.damaged:
        console.print(f"left out: {damaged}", highlight=False, soft_wrap=True, markup=False)
    sizes = f"{format_bytes(done.source_bytes)} became {format_bytes(done.bytes)}"
    left = f", {len(done.damaged)} damaged ones left out" if done.damaged else ""
    console.print(f"{done.made} videos written, {done.there} existed already{left}; {sizes}", highlight=False)
    console.print(f"use them: --data {shlex.quote(str(to))} --set data.decode=fly", highlight=False, soft_wrap=True)
