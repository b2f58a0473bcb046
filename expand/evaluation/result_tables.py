"""The output of `expand test`. Accuracies are printed in percent."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expand.core.accuracy import ClassRow, Rate, percent, with_error
from expand.core.units import format_macs
from expand.storage.test_results import TestResult, looks

NOISE = "± is the standard error from the number of videos (binomial for videos), without the spread over seeds"
EXTREMES = 5  # so many of the best and of the worst classes are named


def print_tests(console: Console, shown: Sequence[TestResult], kept: Sequence[TestResult]) -> None:
    """Prints one test in full or several as a table, then the notes. `kept` are all tests of the run."""
    whose = f"trial {shown[0].trial} ({shown[0].label}) " if len(shown) == 1 else ""
    _print(console, whose + _protocol(shown[0]))
    console.print(_one(shown[0]) if len(shown) == 1 else _several(shown))
    if len(shown) == 1:
        for line in (*_classes(shown[0].classes), _cost(shown[0])):
            _print(console, line)
    for line in (NOISE, *notes(shown, kept)):
        _print(console, line)


def notes(shown: Sequence[TestResult], kept: Sequence[TestResult]) -> list[str]:
    """Notes: anything unusual about the videos, which results were read from a file, and how often these videos were scored."""
    lines = list(dict.fromkeys(line for test in shown for line in test.notes))
    old = [test for test in shown if test.from_file]
    if old:
        which = ", ".join(str(test.trial) for test in old)
        when = max(test.tested for test in old)[:19]
        lines.append(
            f"read from file, scored before with the same weights and videos: trial {which} ({when}; --again scores again)"
        )
    if shown[0].split == "test":
        networks, times = looks(kept, shown[0])
        line = (
            f"{_count(networks, 'network')} of this run scored on these test videos, {_count(times, 'scoring')} in all"
        )
        lines.append(
            line
            + (
                "; if you choose among them by these results, you need other videos for an unbiased test"
                if networks > 1
                else ""
            )
        )
    return lines


def _one(test: TestResult) -> Table:
    table = Table()
    columns = (
        ("top-1 %", "top-5 %") if len(test.classes) > 5 else ("top-1 %",)
    )  # with five classes top-5 is always 100 %
    for name in ("judged by", *columns):
        table.add_column(name, justify="left" if name == "judged by" else "right")
    for label, key in ((f"video, mean of {test.view_number} views", "video"), ("each view alone", "clip")):
        table.add_row(label, *(_rate(getattr(test, f"{key}_{name[:5].replace('-', '')}")) for name in columns))
    table.add_row("video, mean over classes", percent(test.class_mean), *("" for _ in columns[1:]))
    return table


def _several(tests: Sequence[TestResult]) -> Table:
    table = Table()
    columns = ["trial", "candidate", "MACs a video", "video top-1 %", "view top-1 %", "on val %"]
    for name in columns:
        table.add_column(name, justify="left" if name == "candidate" else "right")
    for test in tests:
        cost = test.cost
        table.add_row(
            str(test.trial), Text(test.label), format_macs(cost.macs_per_video), _rate(test.video_top1), _rate(test.clip_top1),
            percent(test.validation_top1),
        )  # fmt: skip
    return table


def _protocol(test: TestResult) -> str:
    return (
        f"on the {test.split} split of {test.data}, {test.videos:,} videos: {test.views} views of "
        f"{test.crop} x {test.crop} pixels, short side {test.short_side}"
    )


def _classes(rows: Sequence[ClassRow]) -> list[str]:
    """The best and the worst classes with Wilson's interval, or all if they are few."""
    ranked = sorted(
        (row for row in rows if row.videos), key=lambda row: (row.right / row.videos, -row.videos, row.name)
    )
    if len(ranked) <= 2 * EXTREMES:
        return ["by class, the worst first: " + ", ".join(map(_class, ranked))]
    ends = (("worst", ranked[:EXTREMES]), ("best", ranked[: -EXTREMES - 1 : -1]))
    return [f"{name} classes: " + ", ".join(map(_class, some)) for name, some in ends]


def _class(row: ClassRow) -> str:
    return f"{row.name} {row.right} of {row.videos} ({100 * row.low:.0f} to {100 * row.high:.0f} %)"


def _cost(test: TestResult) -> str:
    cost = test.cost
    each, video = format_macs(cost.macs_per_view), format_macs(cost.macs_per_video)
    return f"cost: {each}MACs per view x {test.view_number} views = {video}MACs per video ({cost.convention})"


def _rate(rate: Rate) -> str:
    return with_error(rate.value, rate.standard_error)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
