"""The videos of a study."""

from __future__ import annotations

from collections.abc import Callable

from expand.core.errors import ExpandError
from expand.core.study import Data
from expand.data.manifest import Manifest
from expand.data.prepared.validate import copies, without
from expand.data.read_source import read_source
from expand.data.sources.records import Options
from expand.data.synthetic.render import ensure_rendered


def open_data(data: Data, note: Callable[[str], None]) -> Manifest:
    """The videos of a study, without copies in two splits or with two labels. Renders the default clips if needed."""
    if data.source is not None:
        manifest = read_source(
            data.source, options_of(data), validation_share=data.validation_share, test_share=data.test_share
        )
        found = copies(manifest)
        if found and data.strict:
            raise ExpandError(f"{len(found)} copies, the first: {found[0]} (without data.strict they are left out)")
        return without(manifest, found)

    def rendering(done: int, total: int) -> None:
        if done % 100 == 0:
            note(f"rendering the default clips, once: {done} of {total}")

    folder = ensure_rendered(progress=rendering)
    return read_source(folder)


def options_of(data: Data) -> Options:
    return Options(data.layout, data.official_split, data.group_column, data.fps, data.skip_missing, data.group_pattern)
