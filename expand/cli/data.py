"""`expand data ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expand.cli.shared_options import MOST_PIXELS, Json, data_app


@data_app.command("render", epilog="Such as: expand data render --to my_clips --seed 1")
def data_render(
    to: Annotated[Path | None, typer.Option(help="The folder to write (default: the cache).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other actors and scenes (needs --to).")] = 0,
    validation: Annotated[
        int | None, typer.Option(min=10, help="Validation clips, a multiple of 10 (needs --to; default: 160).")
    ] = None,
) -> None:
    """Render the default action clips to video files."""
    from expand.cli import listing

    listing.render(to, seed, validation)


Layout = Annotated[
    str | None,
    typer.Option(
        help="Default: detect it. Or ucf101, hmdb51, something, kinetics, mmaction, lists, split-folders, folders."
    ),
]


OfficialSplit = Annotated[int, typer.Option("--split", min=1, help="Which official split of UCF101 or HMDB51.")]


GroupColumn = Annotated[str | None, typer.Option(help="The column of a list whose clips must stay in one split.")]


GroupPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Finds the group in a clip's path, such as '(person\\d+)'; a group's clips stay in one split.",
    ),
]


Fps = Annotated[float | None, typer.Option(help="Frames per second of frame folders and arrays.")]


SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Leave out listed files that do not exist.")]


@data_app.command("prepare", epilog="Such as: expand data prepare UCF-101 --to prepared --split 1")
def data_prepare(
    source: Annotated[str, typer.Argument(help="A folder or list of videos, of any layout.")],
    to: Annotated[Path, typer.Option(help="The folder to write manifest.csv and manifest.json to.")],
    layout: Layout = None,
    split: OfficialSplit = 1,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    fps: Fps = None,
    skip_missing: SkipMissing = False,
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if a video would be left out.")] = False,
    cache: Annotated[
        bool, typer.Option(help="Also fill the frame cache, so that training starts without decoding.")
    ] = True,
    cache_side: Annotated[int, typer.Option(min=16, help="Short side of cached frames, as data.cache_side.")] = 96,
    as_json: Json = False,
) -> None:
    """Decode everything once, write a manifest, and split by group if there is no validation split."""
    from expand.cli import data_tables as videos
    from expand.data.sources.records import Options

    options = Options(layout, split, group_column, fps, skip_missing, group_pattern)
    videos.prepare_data(source, to, options, strict=strict, cache_side=cache_side if cache else None, as_json=as_json)


@data_app.command("check", epilog="Such as: expand data check my_videos, expand data check my_videos --strict --json")
def data_check(
    source: Annotated[
        str | None, typer.Argument(help="A folder or list of videos (default: the rendered clips).")
    ] = None,
    layout: Layout = None,
    split: OfficialSplit = 1,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    fps: Fps = None,
    skip_missing: SkipMissing = False,
    shortest: Annotated[int, typer.Option(min=1, help="List videos of fewer frames than this.")] = 8,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything is listed.")] = False,
    as_json: Json = False,
) -> None:
    """Decode every video and list problems: damaged, too short, unevenly timed, in several splits."""
    from expand.cli import data_tables as videos
    from expand.data.sources.records import Options

    options = Options(layout, split, group_column, fps, skip_missing, group_pattern)
    if not videos.check_data(source, options, shortest=shortest, as_json=as_json) and strict:
        raise typer.Exit(1)


@data_app.command(
    "reencode", epilog="Such as: expand data reencode kinetics --to kinetics_128 --side 128 --keyframes 12"
)
def data_reencode(
    source: Annotated[str, typer.Argument(help="A folder or list of videos.")],
    to: Annotated[Path, typer.Option(help="The folder to write; files of an earlier try are kept.")],
    side: Annotated[int, typer.Option(min=2, max=MOST_PIXELS, help="Pixels of the short side, at most.")] = 128,
    keyframes: Annotated[int, typer.Option(min=1, max=MOST_PIXELS, help="Frames from one keyframe to the next.")] = 12,
) -> None:
    """Write smaller files that are fast to decode on the fly, with lists, for `--data DIR --set data.decode=fly`."""
    from expand.cli import listing

    listing.reencode_data(source, to, side=side, keyframes=keyframes)
