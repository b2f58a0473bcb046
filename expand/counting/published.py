"""A page that compares published costs with our counts: pure functions of families and a counting function.

The published numbers and their sources are `SearchSpace.published` and `.claims`; everything else is counted when the page is
built.
"""

from __future__ import annotations

import functools
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any, Literal

from expand.core.space import Architecture, Claim, Counted, Published, Quantity, SearchSpace, Value

Count = Callable[[SearchSpace, Architecture, int], Counted]  # of a point with so many classes
Agreement = Literal["rounded", "cut off", "no"]

SIZES: Mapping[Quantity, int] = {"gmacs": 10**9, "params_m": 10**6, "params_published_m": 10**6}
FIELDS: Mapping[Quantity, str] = {"gmacs": "macs", "params_m": "params", "params_published_m": "params_published"}
COUNTING = "Arithmetic over each family's layers (`expand/core/layer_plan.py`), or a pass on shapes alone where a family has none"


@dataclass(frozen=True)
class Comparison:
    """A printed number, which may occur in several sources, and our count of the same network."""

    published: tuple[Published, ...]
    count: int

    @property
    def first(self) -> Published:
        return self.published[0]

    @property
    def ours(self) -> Decimal:
        """Our count in the printed unit, with all digits."""
        return Decimal(self.count) / SIZES[self.first.quantity]

    @property
    def shown(self) -> str:
        """Our count with as many digits as are printed."""
        return str(_to_digits(self.ours, self.first.printed, ROUND_HALF_UP))

    @property
    def ratio(self) -> float:
        return float(self.ours / Decimal(self.first.printed))

    @property
    def agreement(self) -> Agreement:
        return agreement(self.first.printed, self.ours)


def agreement(printed: str, ours: Decimal) -> Agreement:
    """Whether our number, rounded or truncated ("cut off") to the printed digits, equals the printed number."""
    if _to_digits(ours, printed, ROUND_HALF_UP) == Decimal(printed):
        return "rounded"
    return "cut off" if _to_digits(ours, printed, ROUND_DOWN) == Decimal(printed) else "no"


def _to_digits(number: Decimal, printed: str, rounding: str) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-len(printed.partition(".")[2])), rounding=rounding)


@dataclass(frozen=True)
class Finding:
    """A claim, our number, and the finding in words."""

    claim: Claim
    measured: float
    words: str


@dataclass(frozen=True)
class Family:
    """The page's data for one search space."""

    space: SearchSpace
    comparisons: tuple[Comparison, ...]
    findings: tuple[Finding, ...]
    points: tuple[tuple[str, Architecture, Counted], ...]


def examine(space: SearchSpace, count: Count) -> Family:
    """Counts all named points, and the networks of all printed numbers and claims, each network once.

    Raises:
        UsageError: a printed number refers to an unknown point or to illegal values.
    """
    once = functools.cache(lambda architecture, classes: count(space, architecture, classes))

    def cost_of(name: str, *, num_classes: int | None = None, **values: Value) -> Counted:
        return once(space.point(name, **values), num_classes or space.num_classes)

    groups: dict[tuple[object, ...], list[Published]] = {}
    for each in space.published:
        groups.setdefault((each.point, each.values, each.num_classes, each.quantity, each.printed), []).append(each)
    comparisons = []
    for same in groups.values():
        counted = cost_of(same[0].point, num_classes=same[0].num_classes, **dict(same[0].values))
        comparisons.append(Comparison(tuple(same), getattr(counted, FIELDS[same[0].quantity])))
    order = {name: place for place, name in enumerate(space.points)}
    comparisons.sort(
        key=lambda row: (order.get(row.first.point, -1), row.first.num_classes or 0, len(row.first.values))
    )
    findings = []
    for claim in space.claims:
        words = claim.finding if isinstance(claim.finding, str) else claim.finding(cost_of)
        findings.append(Finding(claim, claim.measured(cost_of), words))
    points = ((name, architecture, cost_of(name)) for name, architecture in space.points.items())
    return Family(space, tuple(comparisons), tuple(findings), tuple(points))


# --- the page --------------------------------------------------------------------------------------------------------

HEAD = f"""# Published and counted costs

Costs printed in papers and model zoos, and our own counts of the same networks. `expand cost --papers --to docs/papers.md`
(`make papers`) writes this page. The printed numbers and their sources are in `search_spaces/published/`; everything else is
computed.

**Convention.** Multiply-adds (one multiply-add is one operation) of convolutions and linear layers, for one clip at the training
crop, one view, batch 1; norms, activations, pooling and additions are left out. Rows for another crop, clip or number of classes
say so after the network's name. Parameters are counted in two ways: *all* of them, and *weights*, without biases and
normalisation.

**Counter.** {COUNTING}.
`expand cost` and every search count the same way. Tests check, on points of every family, that fvcore on a real forward pass and
torch's FlopCounterMode agree with it to the last digit.

**Columns.** A number printed in several places is one row. *ours* has as many digits as are printed, *exact* has all. *digits*
says whether our number, *rounded* or *cut off* (truncated), gives the printed digits; *no* is neither, and a note gives the
reason. A source is *exact* if the printed number, or a quotation of it, was seen; *recalled* is from memory: look it up before
citing it.
"""
LABELS: Mapping[Quantity, str] = {"gmacs": "", "params_m": "all", "params_published_m": "weights"}
ORIGINS = {"printed": "printed", "read": "not printed, but what readers take from it", "ours": "our own observation"}


def page(families: Sequence[Family]) -> str:
    """The whole page as Markdown."""
    parts = [HEAD, _summary(families), *map(_section, families)]
    return "\n".join(parts)


def _summary(families: Sequence[Family]) -> str:
    rows = []
    for family in families:
        outcomes = [row.agreement for row in family.comparisons]
        claims = [finding.claim for finding in family.findings if finding.claim.origin != "ours"]
        failed = sum(claim.verdict == "does not hold" for claim in claims)
        counts = (len(outcomes), *(outcomes.count(each) for each in ("rounded", "cut off", "no")), len(claims), failed)
        rows.append([f"[{family.space.name}](#{family.space.name})", str(len(family.points)), *map(str, counts)])
    heads = ["family", "networks", "printed numbers", "rounded", "cut off", "no", "claims", "do not hold"]
    lines = ["## In short", "", *_table(heads, "lrrrrrrr", rows)]
    wrong = [
        line
        for family in families
        for finding in family.findings
        if finding.claim.verdict == "does not hold" and finding.claim.origin == "printed"
        for line in _item(
            "-", f"{family.space.name}: {_sentence(finding.claim.statement)} {_verdict(finding)}{_doubt(finding)}"
        )
    ]
    if wrong:
        lines += ["Printed claims that do not hold (reasons below):", "", *wrong, ""]
    return "\n".join(lines)


def _section(family: Family) -> str:
    space = family.space
    about = f"{_headline(space)} {space.num_classes} classes unless a row says otherwise."
    lines = [f"## {space.name}", "", *_wrapped(about.strip(), ""), ""]
    sources = _numbered(each.source for row in family.comparisons for each in row.published)
    notes = _numbered(text for row in family.comparisons for each in row.published for text in _remarks(each))
    costs = [row for row in family.comparisons if row.first.quantity == "gmacs"]
    sizes = [row for row in family.comparisons if row.first.quantity != "gmacs"]
    if costs:
        heads = ["network", "printed", "ours", "exact", "ours / printed", "digits", "source", "note"]
        rows = [[_network(row.first), *_numbers(row), *_references(row, sources, notes)] for row in costs]
        lines += ["### Multiply-adds, GMACs", "", *_table(heads, "lrrrrlll", rows)]
    if sizes:
        heads = ["network", "counted", "printed", "ours", "exact", "ours / printed", "digits", "source", "note"]
        rows = [
            [_network(row.first), LABELS[row.first.quantity], *_numbers(row), *_references(row, sources, notes)]
            for row in sizes
        ]
        lines += ["### Parameters, millions", "", *_table(heads, "llrrrrlll", rows)]
    if sources:
        lines += ["Sources:", "", *(f"{number}. {text}" for text, number in sources.items()), ""]
    if notes:
        lines += [
            "Notes:",
            "",
            *(line for text, number in notes.items() for line in _item("-", f"{_letter(number)}: {text}")),
            "",
        ]
    if family.findings:
        lines += ["### Claims", ""]
        for number, finding in enumerate(family.findings, start=1):
            claim = finding.claim
            origin = f"{claim.source}; {ORIGINS[claim.origin]}"
            origin += "" if claim.origin == "ours" else f"; {claim.confidence}"
            lines += _item(f"{number}.", f"**{_sentence(claim.statement)}** ({origin})")
            lines += [*_wrapped(f"{_verdict(finding)} {finding.words}", "   "), ""]
    lines += ["### Every named network", ""]
    rows = [
        [name, _clips(space, architecture), f"{counted.macs:,}", f"{counted.params:,}", f"{counted.params_published:,}"]
        for name, architecture, counted in family.points
    ]
    lines += _table(["network", "clip (T x H x W)", "multiply-adds", "all parameters", "weights"], "llrrr", rows)
    return "\n".join(lines)


def _headline(space: SearchSpace) -> str:
    """The first line of the family's file."""
    return (getattr(sys.modules.get(type(space).__module__), "__doc__", None) or "").strip().partition("\n")[0]


def _network(published: Published) -> str:
    parts = [published.point, *(f"{name}={value}" for name, value in published.values)]
    if published.num_classes is not None:
        parts.append(f"{published.num_classes} classes")
    return ", ".join(parts)


def _numbers(row: Comparison) -> list[str]:
    agreed = "**no**" if row.agreement == "no" else row.agreement
    return [row.first.printed, row.shown, f"{row.count:,}", f"{row.ratio:.4f}", agreed]


def _references(row: Comparison, sources: Mapping[str, int], notes: Mapping[str, int]) -> list[str]:
    places = dict.fromkeys(f"{sources[each.source]} {each.confidence}" for each in row.published)
    remarks = dict.fromkeys(_letter(notes[text]) for each in row.published for text in _remarks(each))
    return [", ".join(places), ", ".join(remarks)]


def _remarks(published: Published) -> list[str]:
    return [text for text in (published.deviates, published.note) if text]


def _numbered(texts: Iterable[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts), start=1)}


def _letter(number: int) -> str:
    return chr(ord("a") + number - 1)


def _sentence(statement: str) -> str:
    return statement if statement.endswith(".") else f"{statement}."


def _doubt(finding: Finding) -> str:
    """A warning for the summary about a claim that was not looked up."""
    return " *Recalled*: look the claim up before citing it." if finding.claim.confidence == "recalled" else ""


def _verdict(finding: Finding) -> str:
    claim = finding.claim
    word = {"holds": "Holds", "does not hold": "Does not hold", "open": "Open"}[claim.verdict]
    verdict = "Counted" if claim.origin == "ours" else f"*{word}*: counted"
    printed = "" if claim.printed is None else f", printed {_plain(claim.printed)}"
    return f"{verdict} {_plain(finding.measured)} {claim.unit}{printed}."


def _plain(number: float) -> str:
    """A count with all digits, any other number with four."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"


def _clips(space: SearchSpace, architecture: Architecture) -> str:
    return " + ".join(f"{clip.frames} x {clip.height} x {clip.width}" for clip in space.inputs(architecture))


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 125, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _item(mark: str, text: str) -> list[str]:
    """A list entry with its continuation lines indented."""
    lines = _wrapped(text, " " * (len(mark) + 1))
    return [mark + lines[0][len(mark) :], *lines[1:]]


def _table(heads: Sequence[str], alignment: str, rows: Iterable[Sequence[str]]) -> list[str]:
    ruler = ["---:" if side == "r" else "---" for side in alignment]
    return [*(f"| {' | '.join(cells)} |" for cells in (heads, ruler, *rows)), ""]


# --- as JSON ---------------------------------------------------------------------------------------------------------


def plain(families: Sequence[Family]) -> list[dict[str, Any]]:
    """The page's content as plain values, for JSON."""
    return [
        {
            "space": family.space.name,
            "classes": family.space.num_classes,
            "counter": COUNTING,
            "published": [_plain_comparison(row, each) for row in family.comparisons for each in row.published],
            "claims": [_plain_finding(finding) for finding in family.findings],
            "points": [
                {"point": name, "architecture": architecture.as_dict(), **asdict(counted)}
                for name, architecture, counted in family.points
            ],
        }
        for family in families
    ]


def _plain_comparison(row: Comparison, published: Published) -> dict[str, Any]:
    ours = {"count": row.count, "ours": float(row.ours), "ratio": row.ratio, "digits": row.agreement}
    return asdict(published) | {"values": dict(published.values)} | ours


def _plain_finding(finding: Finding) -> dict[str, Any]:
    names = ("statement", "source", "confidence", "origin", "verdict", "printed", "unit")
    claim = {name: getattr(finding.claim, name) for name in names}
    return claim | {"measured": finding.measured, "finding": finding.words}
