"""`signllm tokenize`: clips to codes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signllm.cli.code_files import CodeFile, record
from signllm.cli.console import Tally, progress_bar, say
from signllm.cli.inputs import (
    FpsOption,
    ImageSizeOption,
    PathsArgument,
    PersonOption,
    ReadOptions,
    SkeletonOption,
    SkelsOption,
    TokenizerOption,
    find_clips,
    fingerprint,
    load_tokenizer,
)

if TYPE_CHECKING:
    from signllm.data import PoseRef
    from signllm.models.poses import Pose
    from signllm.models.tokenization_sign_codec import SignTokenizer


class CodeFormat(StrEnum):
    jsonl = "jsonl"
    text = "text"


def tokenize(
    paths: PathsArgument,
    tokenizer: TokenizerOption,
    output: Annotated[Path, typer.Option(help="File to write.")],
    person: PersonOption = "error",
    fps: FpsOption = None,
    skeleton: SkeletonOption = None,
    skels_convention: SkelsOption = "progressive",
    image_size: ImageSizeOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips that are encoded together.")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew and replace what is there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the clips that are there, do the others.")] = False,
    file_format: Annotated[
        CodeFormat, typer.Option("--format", help="jsonl: codes, ids and geometry; text: id, tab, tokens.")
    ] = CodeFormat.jsonl,
) -> None:
    """Turn clips into sign tokens: one line per clip, which `signllm decode` turns back.

    The file is complete or not there; until then it is OUTPUT.part, from which a stopped run goes on by --resume.
    Files that cannot be used are told and skipped.

    Examples:

    \b
    signllm tokenize my_poses --tokenizer runs/codec --output codes.jsonl
    signllm tokenize frames --tokenizer runs/codec --output codes.jsonl --fps 25 --person confident --resume
    """
    codes = CodeFile(output, as_text=file_format is CodeFormat.text, overwrite=overwrite, resume=resume)
    options = ReadOptions(person, fps, skeleton, skels_convention, image_size)
    refs = find_clips(paths)
    model = load_tokenizer(tokenizer)
    mark = fingerprint(model)
    kept = codes.begin(mark)
    todo = [ref for ref in refs if ref.id not in kept]
    tally = Tally(done=len(kept))
    try:
        with progress_bar() as progress:
            task = progress.add_task("tokenizing", total=len(todo))
            for start in range(0, len(todo), batch_size):
                batch = todo[start : start + batch_size]
                codes.append(_encode(_read(batch, options, tally), model, mark, tally))
                progress.advance(task, len(batch))
    except KeyboardInterrupt:
        say(f"stopped with {tally.done} clips done: the same command with --resume goes on")
        raise
    codes.finish(model)
    before = f", {len(kept)} of them before" if kept else ""
    result = f"{output}: {tally.done} clips{before}" if tally.done else "nothing could be tokenized"
    say(f"{result}; {tally.skipped} skipped")
    raise typer.Exit(tally.exit_code)


def _read(refs: list[PoseRef], options: ReadOptions, tally: Tally) -> list[tuple[PoseRef, Pose]]:
    from signllm.models.poses import PoseError

    clips = []
    for ref in refs:
        try:
            clips.append((ref, options.read(ref)))
        except (PoseError, OSError) as error:
            tally.skip(str(ref.path), error)
    return clips


def _encode(clips: list[tuple[PoseRef, Pose]], tokenizer: SignTokenizer, mark: str, tally: Tally) -> list[dict]:
    """The lines of the clips. Where one of them cannot be prepared, each is encoded by itself and that one skipped."""
    from signllm.models.poses import PoseError

    if not clips:
        return []
    try:
        encoded = tokenizer([pose for _, pose in clips], return_geometry=True, batch_size=len(clips))
    except PoseError as error:
        if len(clips) > 1:
            return [line for clip in clips for line in _encode([clip], tokenizer, mark, tally)]
        tally.skip(str(clips[0][0].path), error)
        return []
    tally.done += len(clips)
    rows = zip(clips, encoded["input_ids"], encoded["geometry"], strict=True)
    return [record(ref.id, pose, ids, geometry, tokenizer, mark) for (ref, pose), ids, geometry in rows]
