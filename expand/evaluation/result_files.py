"""The files of a test: NAME.json with all facts, and a folder NAME with classes, videos, confusions and probabilities."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expand.core.accuracy import in_percent
from expand.core.atomic import write_atomically
from expand.core.errors import ExpandError
from expand.core.files import escaped, json_bytes
from expand.evaluation.confusion import draw_column, draw_confusion
from expand.report.drawing import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from expand.storage.test_results import TestResult
    from expand.training.metrics import Scores


def write_test(path: Path, test: TestResult, scores: Scores, names: Sequence[str]) -> None:
    """Writes the files of a test. Each is replaced atomically, NAME.json last.

    Args:
        path: NAME.json.
        names: of the videos, in the order of the scores.

    Raises:
        ExpandError: the folder cannot be written.
    """
    classes = [row.name for row in test.classes]
    counts = scores.confusion().tolist()
    folder = path.with_suffix("")
    files: dict[Path, Callable[[], bytes]] = {
        folder / "per_class.csv": lambda: _csv(CLASS, (astuple(row) for row in test.classes)),
        folder / "confusion.csv": lambda: _csv(
            ["truth", *classes], ([n, *row] for n, row in zip(classes, counts, strict=True))
        ),
        folder / "videos.csv": lambda: _csv(VIDEO, _video_rows(scores, names, classes)),
        folder / "scores.npz": lambda: _npz(scores, names, classes),
        folder / "confusion.png": lambda: _picture(counts, classes, test, "png"),
        folder / "confusion.pdf": lambda: _picture(counts, classes, test, "pdf"),
        folder / "confusion-column.pdf": lambda: _saved(draw_column(counts, classes), "pdf"),
        path: lambda: json_bytes(test.plain(), indent=1) + b"\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place, content in files.items():
            write_atomically(place, content())
    except OSError as error:
        raise ExpandError(f"cannot write {path}: {error.strerror}; free the disk, then test again") from None


CLASS = ("name", "videos", "right", "accuracy", "low", "high")
VIDEO = ("video", "truth", "answer", "right", "truth_probability", "answer_probability", "views_right")


def _video_rows(scores: Scores, names: Sequence[str], classes: Sequence[str]) -> Iterable[tuple[object, ...]]:
    """One row per video; `views_right` is the share of its views that are correct on their own."""
    every = zip(
        names, scores.labels.tolist(), scores.predicted.tolist(), scores.probabilities.tolist(),
        scores.clip_hits[:, 0].tolist(), strict=True,
    )  # fmt: skip
    for name, truth, answer, chances, share in every:
        yield (
            escaped(name), classes[truth], classes[answer], int(truth == answer), f"{chances[truth]:.6f}",
            f"{chances[answer]:.6f}", f"{share:.4f}",
        )  # fmt: skip


def _csv(header: Iterable[object], rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue().encode()


def _npz(scores: Scores, names: Sequence[str], classes: Sequence[str]) -> bytes:
    """`probabilities` float32 (videos, classes), `labels` (videos,), `names` (videos,), `classes` (classes,)."""
    arrays: dict[str, Any] = {"names": np.array(names, dtype=np.str_), "classes": np.array(classes, dtype=np.str_)}
    out = io.BytesIO()
    np.savez_compressed(out, probabilities=scores.probabilities.numpy(), labels=scores.labels.numpy(), **arrays)
    return out.getvalue()


def _picture(counts: Sequence[Sequence[int]], classes: Sequence[str], test: TestResult, kind: str) -> bytes:
    rate = test.video_top1
    title = (
        f"{test.study}, trial {test.trial} ({test.label}), {test.split} split of {test.data}: "
        f"{test.videos:,} videos, {test.views} views, top-1 "
        f"{in_percent(rate.value, rate.standard_error)}"
    )
    return _saved(draw_confusion(counts, classes, title), kind)


def _saved(figure: Figure, kind: str) -> bytes:
    out = io.BytesIO()
    with style():
        figure.savefig(out, format=kind, dpi=150)
    return out.getvalue()
