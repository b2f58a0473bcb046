"""`expand data prepare`: from any layout to a prepared folder. Every video is decoded once to find damaged ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from expand.core.errors import ExpandError, UsageError
from expand.data.manifest import Manifest, stamp_of
from expand.data.prepared.folder import is_free, is_prepared, write_prepared
from expand.data.prepared.validate import LEFT_OUT, Report, check, summary, without
from expand.data.prepared.validate import Progress as Progress
from expand.data.read_source import read_source
from expand.data.sources.records import Options


@dataclass(frozen=True)
class Prepared:
    """The written manifest, and the findings of the check before anything was left out."""

    manifest: Manifest
    report: Report


def prepare_source(
    source: str | Path,
    to: Path,
    options: Options | None = None,
    *,
    strict: bool = False,
    validation_share: float = 0.2,
    test_share: float = 0.2,
    read: Callable[[Manifest], None] = lambda manifest: None,
    progress: Progress | None = None,
) -> Prepared:
    """Reads a source, decodes every video once and writes `to/manifest.csv` and `to/manifest.json`.

    The files appear complete or not at all. `read` is called with the manifest before decoding.

    Raises:
        UsageError: the source is invalid (see `read_source`), or `to` holds other files.
        ExpandError: with `strict`, a video would be left out; too few videos remain; `to` cannot be written.
    """
    options = options or Options()
    path, folder = (Path(os.path.realpath(os.path.expanduser(each))) for each in (source, to))
    _require_free(folder, path)
    manifest = read_source(source, options, validation_share=validation_share, test_share=test_share)
    read(manifest)
    report = check(manifest, progress=progress)
    bad = [finding for finding in report.findings if finding.kind in LEFT_OUT]
    if strict and bad:
        raise ExpandError(f"--strict: {summary('unusable', bad, len(manifest.videos))}; nothing was written")
    listed = [{"kind": f.kind, "path": f.path, "reason": f.reason} for f in report.findings]
    whole = _known(without(manifest, report.findings), report)
    write_prepared(folder, whole, source=path, options=options, listed=listed)
    return Prepared(whole, report)


def _require_free(folder: Path, source: Path) -> None:
    """Refuses a folder that holds other files, unless it is the source itself."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {folder} is a file: give a folder")
    if folder not in (source, source.parent) and not is_free(folder) and not is_prepared(folder):
        raise UsageError(
            f"--to {folder} holds other files: give an empty folder, a prepared folder, or the source's own folder"
        )


def _known(manifest: Manifest, report: Report) -> Manifest:
    """The manifest with the decoded facts, content hashes and sizes."""
    videos = []
    for video, content in zip(manifest.videos, manifest.hashes(), strict=True):
        info = report.surveys[video].info
        size = stamp_of(manifest.absolute(video))[1]
        seen = replace(video, frames=info.frames, fps=info.fps, width=info.width, height=info.height)
        videos.append(replace(seen, bytes=size, sha256=content))
    return replace(manifest, videos=tuple(videos))
