"""`signllm view`: clips in a page that plays them."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signllm.cli.code_files import safe_path
from signllm.cli.console import CommandError, Tally, progress_bar, say
from signllm.cli.inputs import (
    FpsOption,
    ImageSizeOption,
    PathsArgument,
    PersonOption,
    ReadOptions,
    SkeletonOption,
    SkelsOption,
    codec_of,
    find_clips,
    load_tokenizer,
)

if TYPE_CHECKING:
    from signllm.data import PoseRef
    from signllm.models.poses import Pose
    from signllm.models.tokenization_sign_codec import SignTokenizer
    from signllm.visualization.player import Track


def view(
    paths: PathsArgument,
    output: Annotated[Path, typer.Option(help="Page to write.")],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="REPO_OR_FOLDER", help="Show tokens, and what this tokenizer makes of them.", show_default=False
        ),
    ] = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Clips of the same name in the PATHs share a scene.")
    ] = False,
    max_clips: Annotated[int, typer.Option(min=1, help="Show no more scenes than this.")] = 24,
    person: PersonOption = "error",
    fps: FpsOption = None,
    skeleton: SkeletonOption = None,
    skels_convention: SkelsOption = "progressive",
    image_size: ImageSizeOption = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write a page that plays clips: scrub, slow down, zoom to a hand, tokens as a strip under the time line.

    The page is one file that needs no network; send it as it is.

    Examples:

    \b
    signllm view my_poses --output view.html --open
    signllm view my_poses --tokenizer runs/codec --output view.html
    signllm view my_poses decoded --side-by-side --output view.html
    """
    from signllm.visualization.player import Scene, write_player

    if output.suffix.lower() not in (".html", ".htm"):
        raise CommandError(f"--output is a page and must end in .html, got {output}")
    options = ReadOptions(person, fps, skeleton, skels_convention, image_size)
    groups = _pairs(paths) if side_by_side else [[ref] for ref in find_clips(paths)]
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    model = None if tokenizer is None else load_tokenizer(tokenizer)
    tally, scenes = Tally(), []
    with progress_bar() as progress:
        for group in progress.track(groups[:max_clips], description="reading"):
            named = zip(group, names, strict=True) if side_by_side else [(group[0], "original")]
            tracks = [track for ref, name in named for track in _tracks(ref, name, options, model, tally)]
            if tracks:
                scenes.append(Scene(tracks, title=group[0].label or group[0].id))
    if not scenes:
        raise CommandError("not one of the clips could be shown; nothing was written")
    write_player(output, scenes, title=", ".join(names[:3]) + (" …" if len(names) > 3 else ""))
    rest = f" of {len(groups)} (--max-clips shows more)" if len(groups) > max_clips else ""
    say(f"{output}: {len(scenes)} scenes{rest}; {tally.skipped} clips skipped")
    if open_page:
        webbrowser.open(output.resolve().as_uri())
    raise typer.Exit(tally.exit_code)


def _pairs(paths: list[Path]) -> list[list[PoseRef]]:
    """For each name that all paths have, its clips; a single clip in each path needs no name in common."""
    if len(paths) < 2:
        raise CommandError("--side-by-side needs two PATHs or more")
    found = [find_clips([path]) for path in paths]
    if all(len(refs) == 1 for refs in found):
        return [[refs[0] for refs in found]]
    named = [{safe_path(ref.id): ref for ref in refs} for refs in found]
    common = [name for name in named[0] if all(name in refs for refs in named)]
    if not common:
        raise CommandError(f"no clip has the same name in {' and '.join(map(str, paths))}; give two files to compare")
    for path, refs in zip(paths, named, strict=True):
        if len(refs) > len(common):
            say(f"{path}: {len(refs) - len(common)} clips left out, which the other paths do not have")
    return [[refs[name] for refs in named] for name in common]


def _tracks(
    ref: PoseRef, name: str, options: ReadOptions, tokenizer: SignTokenizer | None, tally: Tally
) -> list[Track]:
    """The clip, and its reconstruction where there is a tokenizer; nothing and a message where it cannot be used."""
    from signllm.models.poses import PoseError
    from signllm.visualization.player import Track

    try:
        pose = options.read(ref)
        tracks = [Track(pose, name)] if tokenizer is None else _reconstructed(pose, name, tokenizer)
    except (PoseError, OSError) as error:
        tally.skip(str(ref.path), error)
        return []
    tally.done += 1
    return tracks


def _reconstructed(pose: Pose, name: str, tokenizer: SignTokenizer) -> list[Track]:
    from signllm.visualization.player import Track

    encoded = tokenizer(pose, return_geometry=True)
    codes, _ = tokenizer.ids_to_codes(encoded["input_ids"])
    decoded = tokenizer.decode_pose(encoded["input_ids"], encoded["geometry"])
    config = codec_of(tokenizer).config
    frames_per_code = config.downsampling * pose.fps / config.fps
    return [Track(pose, name, codes=codes, frames_per_code=frames_per_code), Track(decoded, "reconstruction")]
