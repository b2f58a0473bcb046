"""`expand data prepare`: from any layout to a prepared folder, with everything decoded once to know what is whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from expand.core.errors import ExpandError, UsageError
from expand.data.manifest import Manifest, stamp_of
from expand.data.prepared.folder import is_free, is_prepared, write_prepared
from expand.data.prepared.validate import LEFT_OUT, Report, check, told, without
from expand.data.prepared.validate import Progress as Progress
from expand.data.read_source import read_source
from expand.data.sources.records import Options


@dataclass(frozen=True)
class Prepared:
    """What was written, and what the check had found before anything was left out."""

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
    """Reads a source, decodes every video once and writes `to/manifest.csv` and `to/manifest.json`, whole or not at all.
    `read` is told the manifest before the decoding.

    Raises:
        UsageError: the source is not right (see `read_source`), or `to` holds something else.
        ExpandError: with `strict` anything that would be left out; too little is left; `to` cannot be written.
    """
    options = options or Options()
    path, folder = (Path(os.path.realpath(os.path.expanduser(each))) for each in (source, to))
    _require_free(folder, path)
    manifest = read_source(source, options, validation_share=validation_share, test_share=test_share)
    read(manifest)
    report = check(manifest, progress=progress)
    bad = [finding for finding in report.findings if finding.kind in LEFT_OUT]
    if strict and bad:
        raise ExpandError(f"--strict: {told('not to be used', bad, len(manifest.videos))}; nothing was written")
    listed = [{"kind": f.kind, "path": f.path, "reason": f.reason} for f in report.findings]
    whole = _known(without(manifest, report.findings), report)
    write_prepared(folder, whole, source=path, options=options, listed=listed)
    return Prepared(whole, report)


def _require_free(folder: Path, source: Path) -> None:
    """A folder with other things in it is not written to, unless they are the source itself."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {folder} is a file: give a folder")
    if folder not in (source, source.parent) and not is_free(folder) and not is_prepared(folder):
        raise UsageError(
            f"--to {folder} holds other things: give an empty folder, one that was prepared, or the source's own"
        )


def _known(manifest: Manifest, report: Report) -> Manifest:
    """The manifest with what was decoded, and with content and size."""
    videos = []
    for video, content in zip(manifest.videos, manifest.hashes(), strict=True):
        info = report.surveys[video].info
        size = stamp_of(manifest.absolute(video))[1]
        seen = replace(video, frames=info.frames, fps=info.fps, width=info.width, height=info.height)
        videos.append(replace(seen, bytes=size, sha256=content))
    return replace(manifest, videos=tuple(videos))
