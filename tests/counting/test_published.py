"""Published costs against ours: the page on a family made by hand, and what is printed of our own families."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from conftest import ROOT
from torch import nn

from expand.config.loading import load_space, names_in
from expand.core.clip import Clip
from expand.core.space import Architecture, Axis, Claim, Counted, Published, SearchSpace, printed_column
from expand.counting import published as papers
from expand.counting.cost import count_cost, counted

OURS = names_in("search_spaces")


class Toy(SearchSpace):
    """A family of linear layers: `width` units, so many classes."""

    name = "toy"
    num_classes = 10
    axes = (Axis("width", "width", "w", "units", "more units", low=1, high=10_000, integer=True),)

    def start_values(self) -> dict[str, Any]:
        return {"width": 1}

    @property
    def points(self) -> Mapping[str, Architecture]:
        return {"small": self.architecture(width=1000), "large": self.architecture(width=2000)}

    @property
    def published(self) -> tuple[Published, ...]:
        return (
            *printed_column("params_m", "A, Table 1", {"large": "2.0", "small": "1.0"}),
            Published("small", "params_m", "1.0", "B", "recalled", note="a remark"),
            Published("small", "gmacs", "0.34", "B", values=(("width", 1500),), deviates="another width is meant"),
            Published("small", "params_published_m", "0.9", "B", num_classes=1),
        )

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (
            Claim("Twice as wide is twice as large", "A", lambda cost: cost("large").params / cost("small").params, "times",
                  finding=lambda cost: f"{cost('large').params:,} to {cost('small').params:,}.", printed=2.5,
                  verdict="does not hold"),
            Claim("Size does not depend on classes", "A", lambda cost: cost("small", num_classes=3).params, "parameters",
                  "It does.", origin="read", verdict="open"),
        )  # fmt: skip

    def constructor(self, architecture: Architecture, num_classes: int) -> tuple[type[nn.Module], dict[str, Any]]:
        return nn.Linear, {"in_features": architecture["width"], "out_features": num_classes}

    def inputs(self, architecture: Architecture) -> tuple[Clip, ...]:
        return (Clip(1, 1, 1, architecture["width"]),)


def counted_by_hand(space: SearchSpace, architecture: Architecture, classes: int) -> Counted:
    width = architecture["width"]
    return Counted(macs=width * 200_000, params=width * 100 * classes, params_published=width * 950 * classes)


@pytest.mark.parametrize(
    ("printed", "ours", "expected"),
    [
        ("0.60", "0.6053", "cut off"), ("0.61", "0.6053", "rounded"), ("20", "19.976", "rounded"), ("20", "19.4", "no"),
        ("0.02067", "0.020662", "no"), ("33.371472", "33.371472", "rounded"), ("2.5", "2.45", "rounded"),
    ],
)  # fmt: skip
def test_digits(printed, ours, expected):
    assert papers.agreement(printed, Decimal(ours)) == expected


def test_a_recalled_claim_says_so_in_the_summary():
    class Recalled(Toy):
        @property
        def claims(self) -> tuple[Claim, ...]:
            return tuple(replace(claim, confidence="recalled") for claim in super().claims)

    line = "printed 2.5. *Recalled*: look the claim up before citing it."
    for space, said in ((Recalled(), True), (Toy(), False)):
        summary = papers.page([papers.examine(space, counted_by_hand)]).partition("## toy")[0]
        assert (line in " ".join(summary.split())) is said


def test_each_number_stands_beside_ours_in_the_order_of_the_points():
    family = papers.examine(Toy(), counted_by_hand)
    rows = [(row.first.point, row.first.printed, row.count, row.shown, row.agreement) for row in family.comparisons]
    assert rows == [
        ("small", "1.0", 1_000_000, "1.0", "rounded"),
        ("small", "0.34", 300_000_000, "0.30", "no"),
        ("small", "0.9", 950_000, "1.0", "cut off"),
        ("large", "2.0", 2_000_000, "2.0", "rounded"),
    ]
    assert [each.source for each in family.comparisons[0].published] == ["A, Table 1", "B"]
    assert round(family.comparisons[1].ratio, 4) == 0.8824
    assert [(f.measured, f.words) for f in family.findings] == [(2.0, "2,000,000 to 1,000,000."), (300_000, "It does.")]


def test_each_network_is_counted_once():
    seen = []

    def count(space: SearchSpace, architecture: Architecture, classes: int) -> Counted:
        seen.append((architecture, classes))
        return counted_by_hand(space, architecture, classes)

    papers.examine(Toy(), count)
    assert len(seen) == len(set(seen)) == 5


def test_the_page_says_all_of_it():
    page = papers.page([papers.examine(Toy(), counted_by_hand)])
    for line in (
        "| [toy](#toy) | 2 | 4 | 2 | 1 | 1 | 2 | 1 |",
        "| small, width=1500 | 0.34 | 0.30 | 300,000,000 | 0.8824 | **no** | 2 exact | b |",
        "| small | all | 1.0 | 1.0 | 1,000,000 | 1.0000 | rounded | 1 exact, 2 recalled | a |",
        "| small, 1 classes | weights | 0.9 | 1.0 | 950,000 | 1.0556 | cut off | 2 exact |  |",
        "- b: another width is meant",
        "1. **Twice as wide is twice as large.** (A; printed; exact)",
        "   *Does not hold*: counted 2 times, printed 2.5. 2,000,000 to 1,000,000.",
        "   *Open*: counted 300,000 parameters. It does.",
        "| large | 1 x 1 x 2000 | 400,000,000 | 2,000,000 | 19,000,000 |",
        "- toy: Twice as wide is twice as large. *Does not hold*: counted 2 times, printed 2.5.",
    ):
        assert line in page.splitlines(), line
    assert page.endswith("|\n")


def test_the_page_as_plain_values_is_json():
    [family] = json.loads(json.dumps(papers.plain([papers.examine(Toy(), counted_by_hand)])))
    assert len(family["published"]) == 5 and family["published"][0]["digits"] == "rounded"
    assert [claim["verdict"] for claim in family["claims"]] == ["does not hold", "open"]
    assert family["points"][1]["params"] == 2_000_000


# --- our own families ------------------------------------------------------------------------------------------------


@cache
def examined(name: str) -> papers.Family:
    return papers.examine(load_space(name), counted)


@pytest.mark.parametrize("name", OURS)
def test_what_is_printed_is_of_existing_points_and_legal_values(name):
    space = load_space(name)
    for published in space.published:
        point = space.point(published.point, **dict(published.values))
        assert all(point[key] == value for key, value in published.values), published
        assert Decimal(published.printed) > 0 and published.source
    assert len(set(space.published)) == len(space.published)


def check_digits(family: papers.Family) -> None:
    """Ours gives the printed digits, except where the family says why not; and a reason stands only where it is needed."""
    for row in family.comparisons:
        for published in row.published:
            assert (row.agreement == "no") == bool(published.deviates), f"{published}: ours is {row.ours}"


@pytest.mark.parametrize("name", OURS)
def test_the_printed_digits_come_out(name):
    check_digits(examined(name))


def test_c3ds_depths_are_far_from_equal():
    counts = {name: cost for name, _, cost in examined("c3d").points}
    findings = {round(f.measured, 2): f for f in examined("c3d").findings}
    for number in (3_100_032, 9_300_096, 53.31, 6.99, 17_280, 3_670_016):
        assert number in findings
    assert "65 %" in findings[9_300_096].words and "51,840" in findings[17_280].words
    assert "6.43" in findings[6.99].words and "44.93" in findings[6.99].words
    assert counts["depth-7"].params - counts["depth-5"].params == 3_100_032


def test_claims_of_mixed_convolutions():
    measured = {finding.measured: finding.claim for finding in examined("mixed_conv").findings}
    assert {633, 1_865_514, 75_264, 8} <= set(measured)
    assert "12 of 12" in next(f.words for f in examined("mixed_conv").findings if f.measured == 8)


def agrees(name: str, point: str) -> bool:
    space = load_space(name)
    architecture = space.points[point]
    cost = count_cost(space.build(architecture, space.num_classes), space.inputs(architecture))
    ours = counted(space, architecture, space.num_classes)
    return (cost.macs, cost.params, cost.params_published) == (ours.macs, ours.params, ours.params_published)


@pytest.mark.parametrize(("name", "point"), [("c3d", "depth-1"), ("mixed_conv", "R2D"), ("x3d", "X2D")])
def test_fvcore_on_a_real_clip_agrees_with_the_page(name, point):
    assert agrees(name, point)


LARGER = [("c3d", "C3D"), ("c3d", "increasing"), ("mixed_conv", "MC3"), ("mixed_conv", "rMC4"), ("mixed_conv", "R(2+1)D"),
          ("mixed_conv", "R2D-L16"), ("mixed_conv", "r2plus1d_18"), ("x3d", "M")]  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "point"), LARGER)
def test_fvcore_on_a_real_clip_agrees_with_the_page_for_larger_ones(name, point):
    assert agrees(name, point)


def test_the_page_is_what_the_command_writes(expand, tmp_path):
    done = expand("cost", "--papers", "--to", "papers.md", timeout=200)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "papers.md").read_text() == (ROOT / "docs" / "papers.md").read_text(), "run `make papers`"
    assert [path.name for path in tmp_path.iterdir()] == ["papers.md"]


def test_the_page_of_one_family_prints(expand):
    done = expand("cost", "c3d", "--papers")
    assert done.returncode == 0 and "## c3d" in done.stdout and "## x3d" not in done.stdout
    section = done.stdout[done.stdout.index("## c3d") :]
    assert section in (ROOT / "docs" / "papers.md").read_text(), "docs/papers.md is of another day: run `make papers`"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "which search space?"), (("x3d", "--to", "a.md"), "--to needs --papers"),
        (("x3d", "--papers", "--point", "XL"), "--papers takes no"), (("--papers", "--to", "no/a.md"), "no/a.md"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(expand, arguments, words):
    done = expand("cost", *arguments)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
