"""The output of `expand cost` for networks: their cost in several conventions, and the cost of each part."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from expand.cli.listing import parse_values, print_json
from expand.config.loading import load_factory, load_space
from expand.core.errors import ExpandError, UsageError
from expand.core.layer_plan import Layer
from expand.core.space import Architecture, SearchSpace
from expand.core.trial import CONVENTION, PARAMS_CONVENTION, Cost
from expand.core.units import format_bytes, four_digits
from expand.counting.cost import at_crop, cost_of, cost_of_network, count_traced, family_layers
from expand.counting.family import shapes_of
from expand.counting.meta_counter import Shape

CHECKED = ("macs", "params", "params_published", "activations")
TRAINING = "what autograd saves of one clip in float32, without gradients, workspaces and the optimiser's state"


@dataclass(frozen=True)
class Question:
    """The options of `expand cost`, except the choice of the network."""

    classes: int | None = None
    crop: int | None = None
    views: str | None = None
    by: str | None = None
    check: bool = False
    as_json: bool = False

    def __post_init__(self) -> None:
        if self.by not in (None, "stage", "layer"):
            raise UsageError(f"--by {self.by}: allowed are stage, layer")
        self.number_of_views  # noqa: B018  raises before anything is counted

    @property
    def number_of_views(self) -> int:
        """Clips per video, from "30" or "10x3"."""
        if self.views is None:
            return 1
        found = re.fullmatch(r"([1-9]\d*)(?:[x×]([1-9]\d*))?", self.views)
        if found is None:
            raise UsageError(f"--views {self.views}: write it as CLIPSxCROPS, each at least 1, such as 10x3")
        return int(found[1]) * int(found[2] or 1)


@dataclass(frozen=True)
class Row:
    """A network with its cost. `layers` are set if a single network is shown."""

    names: dict[str, Any]  # what it is, for a program: space and point, or the reference of a factory
    title: str
    label: str
    cost: Cost
    layers: Callable[[], Sequence[Layer]]
    check: Callable[[], Cost]


# --- networks of a family --------------------------------------------------------------------------------------------


def show_space(reference: str, values: Sequence[str], point: str | None, question: Question) -> None:
    """One point of a space (a named one, or values, or a named one with other values), or all named ones."""
    space = load_space(reference)
    if point is None and not values:
        if question.by or question.check:
            option = "--check" if question.check else f"--by {question.by}"
            raise UsageError(f"{option} is about one network: name it by --point or by values")
        rows = {name: _row(space, name, architecture, question) for name, architecture in space.points.items()}
        return (
            print_json({n: _plain(row, question) for n, row in rows.items()})
            if question.as_json
            else _many(space, list(rows.values()), question)
        )
    if point is not None:
        _one(_row(space, point, space.point(point, **parse_values(values)), question), question)
    else:
        _one(_row(space, None, space.architecture(**parse_values(values)), question), question)


def _row(space: SearchSpace, point: str | None, architecture: Architecture, question: Question) -> Row:
    classes = question.classes or space.num_classes
    if question.crop is not None:
        architecture = at_crop(space, architecture, question.crop)
    names = {"space": space.name, "point": point, "architecture": architecture.as_dict(), "classes": classes}
    return Row(
        names, f"{space.name}{f' {point}' if point else ''}, {classes} classes: {architecture}", point or "",
        cost_of(space, architecture, classes),
        lambda: family_layers(space, architecture, classes),
        lambda: count_traced(space.build(architecture, classes), shapes_of(space.inputs(architecture))),
    )  # fmt: skip


# --- a network of the user -------------------------------------------------------------------------------------------


def show_network(reference: str, inputs: Sequence[str], question: Question) -> None:
    """The network that a factory builds, MODULE:FACTORY or FILE.py:FACTORY, on clips of these shapes."""
    if question.crop is not None or question.classes is not None:
        raise UsageError("--crop and --classes are for search spaces; --input gives the input of your own network")
    shapes = tuple(parse_shape(text) for text in inputs)
    if not shapes:
        raise UsageError(f"{reference}: --input is missing, such as --input 3x16x224x224, once for each stream")
    make = load_factory(reference)
    cost, count = cost_of_network(make, shapes, reference)
    _one(
        Row({"network": reference}, reference, "", cost, lambda: count.layers, lambda: count_traced(make(), shapes)),
        question,
    )


def parse_shape(text: str) -> Shape:
    """The shape of a stream without the batch, usually (channels, frames, height, width)."""
    if not re.fullmatch(r"[1-9]\d*([x×][1-9]\d*)*", text):
        raise UsageError(f"--input {text}: write it as CxTxHxW, whole numbers of at least 1, such as 3x16x224x224")
    return tuple(map(int, re.split("[x×]", text)))


# --- what is printed -------------------------------------------------------------------------------------------------


def _one(row: Row, question: Question) -> None:
    checked = _check(row) if question.check else None
    layers = _grouped(row.layers(), question.by) if question.by else None
    if question.as_json:
        plain = _plain(row, question) | ({"check": checked} if checked else {})
        if layers is not None:
            plain |= {"by": question.by, "layers": [asdict(layer) for layer in layers]}
        return print_json(plain)
    console = Console()
    console.print(_readings(row, question))
    if layers is not None:
        console.print(_layer_table(row, layers, question))
    for line in (
        f"multiply-adds: {_convention(row, question)}", f"memory in training: {TRAINING}",
        f"counted from {row.cost.counter}{f'; {checked}' if checked else ''}",
    ):  # fmt: skip
        console.print(line, highlight=False)


def _check(row: Row) -> str:
    """Raises `ExpandError` if fvcore counts a forward pass differently."""
    try:
        reference = row.check()
    except Exception as error:
        line = (str(error) or "no message").splitlines()[0]
        raise ExpandError(f"--check: fvcore cannot count {row.title}: {type(error).__name__}: {line}") from error
    wrong = [name for name in CHECKED if getattr(reference, name) != getattr(row.cost, name)]
    if wrong:
        said = ", ".join(f"{name} {getattr(row.cost, name):,}, fvcore {getattr(reference, name):,}" for name in wrong)
        raise ExpandError(f"{row.title}: the counts differ: {said}")
    return f"fvcore on a forward pass counts the same {', '.join(CHECKED)}"


def _plain(row: Row, question: Question) -> dict[str, Any]:
    """The JSON output. Costs are of one clip; `per_video` holds those that grow with the views."""
    cost, views = row.cost, question.number_of_views
    grows = {"macs": cost.macs, "flops": cost.flops, "fvcore_flops": cost.fvcore_flops, "activations": cost.activations}
    return {
        **row.names, "macs": cost.macs, "gmacs": cost.gmacs, "flops": cost.flops, "fvcore_flops": cost.fvcore_flops,
        "params": cost.params, "params_published": cost.params_published, "activations": cost.activations,
        "weight_bytes": cost.weight_bytes, "buffer_bytes": cost.buffer_bytes, "training_bytes": cost.training_bytes,
        "input": [list(shape) for shape in cost.input], "views": views,
        "per_video": {name: amount if amount is None else views * amount for name, amount in grows.items()},
        "counter": cost.counter, "convention": _convention(row, question), "params_convention": PARAMS_CONVENTION,
    }  # fmt: skip


def _convention(row: Row, question: Question) -> str:
    if "network" in row.names:
        return CONVENTION.replace("at the training crop", "as given")
    return CONVENTION if question.crop is None else CONVENTION.replace("the training crop", "the given crop")


def _readings(row: Row, question: Question) -> Table:
    cost, views = row.cost, question.number_of_views
    grown = [
        ("multiply-adds of conv and linear layers (the papers' FLOPs)", cost.macs),
        ("FLOPs: a multiply-add counts as two", cost.flops),
        ("fvcore's total, which adds norms by its own rule", cost.fvcore_flops),
        ("activations: elements of conv and linear outputs", cost.activations),
    ]
    buffers = f", {format_bytes(cost.buffer_bytes)} of it buffers" if cost.buffer_bytes else ""
    fixed = [
        ("parameters", f"{cost.params:,}"),
        ("parameters without biases and norms", f"{cost.params_published:,}"),
        ("memory of weights, float32", f"{format_bytes(cost.weight_bytes)}{buffers}"),
        ("memory in training, one clip", "unknown" if cost.training_bytes is None else format_bytes(cost.training_bytes)),
    ]  # fmt: skip
    table = Table(title=Text(row.title), title_justify="left")
    table.add_column("reading", overflow="fold")
    table.add_column(f"one clip, {_clip(cost)}", justify="right", no_wrap=True)
    if views > 1:
        table.add_column(f"one video, {views} views", justify="right", no_wrap=True)
    for name, amount in grown:
        amounts = (amount, views * amount) if amount is not None else ("", "")
        table.add_row(name, *(f"{each:,}" if amount is not None else "unknown" for each in amounts[: 1 + (views > 1)]))
    for name, shown in fixed:
        table.add_row(name, shown)
    return table


def _clip(cost: Cost) -> str:
    return " + ".join("x".join(map(str, shape)) for shape in cost.input)


def _many(space: SearchSpace, rows: Sequence[Row], question: Question) -> None:
    """A line of rounded costs for each network, then the architectures; everything fits 80 columns."""
    views = question.number_of_views
    table = Table(title=f"{space.name}, {rows[0].names['classes']} classes", title_justify="left")
    table.add_column("point", no_wrap=True)
    published = ("without bias, norm",) if views == 1 else ()  # only one of the two fits 80 columns
    seen = (f"GMACs, {views} views",) if views > 1 else ()
    for name in ("GMACs", *seen, "M params", *published, "M activations", "to train"):
        table.add_column(name, justify="right")
    for row in rows:
        cost = row.cost
        millions = (cost.params, *((cost.params_published,) if published else ()), cost.activations)
        memory = "unknown" if cost.training_bytes is None else format_bytes(cost.training_bytes)
        macs = (cost.gmacs, *((views * cost.gmacs,) if seen else ()))
        table.add_row(row.label, *map(four_digits, (*macs, *(n / 1e6 for n in millions))), memory)
    console = Console()
    console.print(table)
    for row in rows:
        shown = Architecture(space.name, tuple(row.names["architecture"].items()))
        console.print(Text(f"  {row.label}: {_clip(row.cost)}, {shown}"))
    for line in (
        f"GMACs: {_convention(rows[0], question)}", f"M params: {PARAMS_CONVENTION}", f"to train: {TRAINING}",
        f"counted from {rows[0].cost.counter}; --json has every digit",
    ):  # fmt: skip
        console.print(line, highlight=False)


def _grouped(layers: Sequence[Layer], by: str | None) -> list[Layer]:
    """Each layer summed over its repetitions, or each stage."""
    sums = ("macs", "params", "weights", "activations", "other_flops", "kept_bytes", "buffer_bytes")
    found: dict[str, Layer] = {}
    for number, layer in enumerate(layers):
        key = layer.stage if by == "stage" else str(number)
        if key not in found:
            name, kind, times = ("", "", 1) if by == "stage" else (layer.name, layer.kind, layer.times)
            found[key] = Layer(layer.stage, name, kind, layer.output, times)
            if by == "layer":
                found[key].kernel, found[key].aside = layer.kernel, layer.aside
        group = found[key]
        group.output = layer.output or group.output
        for each in sums:
            setattr(group, each, getattr(group, each) + layer.times * getattr(layer, each))
    return list(found.values())


def _layer_table(row: Row, layers: Sequence[Layer], question: Question) -> Table:
    title = f"by {question.by}; repeated layers are summed"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    for name in ("stage",) if question.by == "stage" else ("stage", "layer", "kind"):
        table.add_column(name, overflow="fold", no_wrap=name != "layer")
    for name in ("output", "MMACs", "%", "k params", "M out", "to train"):
        table.add_column(name, justify="right", no_wrap=True)
    before = ""
    for layer in layers:
        stage, before = layer.stage if layer.stage != before else "", layer.stage
        kind = f"{layer.kind}{f' x{layer.times}' if layer.times > 1 else ''}"
        said = (stage,) if question.by == "stage" else (stage, layer.name, kind)
        table.add_row(
            *map(Text, said), "x".join(map(str, layer.output)), four_digits(layer.macs / 1e6, 3),
            f"{100 * layer.macs / row.cost.macs:.1f}" if row.cost.macs else "", four_digits(layer.params / 1e3, 3),
            four_digits(layer.activations / 1e6, 3), "" if row.cost.training_bytes is None else format_bytes(layer.kept_bytes),
        )  # fmt: skip
    return table
