"""`signllm data`: facts about pose files."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signllm.cli.console import SOME_SKIPPED, UNUSABLE, CommandError, err, for_shell, out, plain
from signllm.cli.inputs import FpsOption, PathsArgument, PersonOption, ReadOptions, SkeletonOption, SkelsOption

if TYPE_CHECKING:
    from signllm.data import PoseInfo

data_app = typer.Typer(no_args_is_help=True, help="Facts about pose files.")

_NUMERIC = ("persons", "frames", "fps", "no left hand", "no right hand")
_COLUMNS = ("clip", "format", "skeleton", *_NUMERIC[:3], "units", *_NUMERIC[3:], "status")


@data_app.command()
def info(
    paths: PathsArgument,
    person: PersonOption = "error",
    fps: FpsOption = None,
    skeleton: SkeletonOption = None,
    skels_convention: SkelsOption = "progressive",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """Say of every clip what it is, how long, who is in it and how often a hand is missing, or why it is refused.

    A hand is missing in a frame where not one of its joints was seen.

    Examples:

    \b
    signllm data info my_poses
    signllm data info frames --fps 25 --person first --json > info.json
    """
    from signllm.data import inspect_poses

    options = ReadOptions(person, fps, skeleton, skels_convention).keywords()
    with err.status("reading"):
        found = [(path, clip) for path in paths for clip in inspect_poses(path, **options)]
    if not found:
        raise CommandError(f"no pose files in {', '.join(map(str, paths))}")
    refused = sum(clip.status != "ok" for _, clip in found)
    if as_json:
        typer.echo(json.dumps([{"path": str(path), **asdict(clip)} for path, clip in found], indent=1))
    else:
        _print(found, refused)
    raise typer.Exit(UNUSABLE if refused == len(found) else SOME_SKIPPED if refused else 0)


def _print(found: list[tuple[Path, PoseInfo]], refused: int) -> None:
    _print_table(found)
    for _, clip in found:
        if clip.status != "ok":
            told = clip.reason if clip.id in clip.reason else f"{clip.id}: {clip.reason}"
            out.print(Text(plain(f"refused {for_shell(told)}"), style="red"), soft_wrap=True)
    readable = [clip for _, clip in found if clip.status == "ok"]
    for remark, clips in Counter(clip.reason for clip in readable if clip.reason).items():
        out.print(Text(plain(f"{clips} clips: {for_shell(remark)}"), style="yellow"), soft_wrap=True)
    frames = sum(clip.frames or 0 for clip in readable)
    minutes = sum((clip.frames or 0) / clip.fps for clip in readable if clip.fps) / 60
    length = f"{frames:,} frames, {minutes:.1f} minutes where the rate is known"
    out.print(f"{len(found)} clips: {len(readable)} readable with {length}; {refused} refused", soft_wrap=True)


def _print_table(found: list[tuple[Path, PoseInfo]]) -> None:
    table = Table(header_style="bold", box=None, pad_edge=False)
    rows = [_cells(clip) for _, clip in found]
    for index, name in enumerate(_COLUMNS):
        # Names of clips give way where the terminal is narrow; facts never do.
        width = 24 if name == "clip" else max(len(name), *(len(row[index]) for row in rows))
        table.add_column(name, min_width=width, overflow="fold")
        table.columns[-1].justify = "right" if name in _NUMERIC else "left"
    several, last = len({path for path, _ in found}) > 1, None
    for (path, clip), row in zip(found, rows, strict=True):
        if several and path != last:
            table.add_row(Text(plain(path), style="bold"))
        table.add_row(*row, style="" if clip.status == "ok" else "red")
        last = path
    needed = out.measure(table, options=out.options.update(max_width=10_000))
    # A pipe or a file has no width: there the table is as wide as it likes to be.
    width = max(out.width, needed.minimum) if out.is_terminal else needed.maximum
    Console(width=width, highlight=False).print(table)


def _cells(clip: PoseInfo) -> list[Text]:
    cells = (
        clip.id,
        clip.format,
        clip.skeleton,
        clip.persons,
        clip.frames,
        None if clip.fps is None else f"{clip.fps:.4g}",
        clip.units,
        None if clip.missing_left_hand is None else f"{clip.missing_left_hand:.0%}",
        None if clip.missing_right_hand is None else f"{clip.missing_right_hand:.0%}",
        clip.status,
    )
    return [Text("–" if cell in (None, "") else plain(cell)) for cell in cells]
