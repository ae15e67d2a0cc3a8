"""`signllm decode`: codes to clips."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signllm.cli.code_files import CodedClip, clean_ids, parse_line, safe_path
from signllm.cli.console import CommandError, Tally, progress_bar, say
from signllm.cli.inputs import TokenizerOption, codec_of, fingerprint, load_tokenizer

if TYPE_CHECKING:
    from signllm.models.poses import Pose
    from signllm.models.tokenization_sign_codec import SignTokenizer


class ClipFormat(StrEnum):
    pose = "pose"
    npz = "npz"
    skels = "skels"
    html = "html"


def decode(
    tokenizer: TokenizerOption,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write the clips to.")],
    codes: Annotated[
        Path | None, typer.Argument(help="File of codes: one JSON object per line.", show_default=False)
    ] = None,
    ids: Annotated[
        str | None, typer.Option(help="One clip, as text of sign tokens, instead of a file.", show_default=False)
    ] = None,
    file_format: Annotated[
        ClipFormat, typer.Option("--format", help="html is a page that plays the clip.")
    ] = ClipFormat.pose,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace clips that are there.")] = False,
) -> None:
    """Turn sign tokens back into clips, in the units and at the place of the clips they were made from.

    Clips are named by their ids. What does not form codes is dropped and counted; lines that cannot be used are told
    and skipped.

    Examples:

    \b
    signllm decode codes.jsonl --tokenizer runs/codec --output decoded
    signllm decode --ids "<sign_17><sign_4><sign_211>" --tokenizer runs/codec --output decoded --format html
    """
    if (codes is None) == (ids is None):
        raise CommandError("give either a file of codes or --ids with the tokens of one clip")
    if codes is not None and not codes.is_file():
        raise CommandError(f"no file {codes}")
    if output.exists() and not output.is_dir():
        raise CommandError(f"{output} is a file; --output is a folder")
    model = load_tokenizer(tokenizer)
    _check_format(file_format, model)
    writer = _ClipWriter(output, file_format, model, overwrite)
    if codes is None:
        _decode_text(str(ids), writer)
    else:
        _decode_file(codes, writer)
    tally, dropped = writer.tally, f"; {writer.dropped} ids dropped" if writer.dropped else ""
    result = f"{output}: {tally.done} clips" if tally.done else "nothing could be decoded"
    say(f"{result}; {tally.skipped} skipped{dropped}")
    raise typer.Exit(tally.exit_code)


def _check_format(file_format: ClipFormat, tokenizer: SignTokenizer) -> None:
    """`.skels` holds one layout; no clip of another could be written."""
    config = codec_of(tokenizer).config
    if file_format is ClipFormat.skels and (config.skeleton, config.num_coordinates) != ("openpose50", 3):
        raise CommandError(
            f"--format skels holds openpose50 in 3-D, and this tokenizer gives {config.skeleton} in "
            f"{config.num_coordinates}-D; choose another format"
        )


def _decode_text(text: str, writer: _ClipWriter) -> None:
    tokenizer = writer.tokenizer
    numbers, dropped = clean_ids(tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text)), tokenizer)
    writer.add(CodedClip("clip", numbers, dropped, None, None), "--ids")


def _decode_file(path: Path, writer: _ClipWriter) -> None:
    mark, others = fingerprint(writer.tokenizer), 0
    with path.open("rb") as lines, progress_bar() as progress:
        task = progress.add_task("decoding", total=None)
        for number, line in enumerate(lines, start=1):
            progress.advance(task)
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                clip = parse_line(line, number, writer.tokenizer)
            except ValueError as error:
                writer.tally.skip(where, error)
                continue
            others += clip.tokenizer not in (None, mark)
            writer.add(clip, where)
    if others:
        say(f"warning: {others} clips were tokenized by another tokenizer; they do not show what was signed", "yellow")


class _ClipWriter:
    """Decodes clips into a folder, and never outside of it."""

    def __init__(self, folder: Path, file_format: ClipFormat, tokenizer: SignTokenizer, overwrite: bool) -> None:
        self.folder, self.file_format, self.tokenizer, self.overwrite = folder, file_format, tokenizer, overwrite
        self.tally = Tally()
        self.dropped = 0
        self._written: dict[str, str] = {}

    def add(self, clip: CodedClip, where: str) -> None:
        """Decode and write one clip, or skip it with the reason; `where` is its line."""
        from signllm.models.poses import PoseError

        self.dropped += clip.dropped
        of = f"{clip.dropped} of {clip.dropped + len(clip.ids)} ids of clip {clip.id!r} do not form sign codes"
        try:
            if not clip.ids:
                raise CommandError(f"no sign codes in clip {clip.id!r}" + (f" ({of})" if clip.dropped else ""))
            target = self._target(clip.id, where)
            self._write(self.tokenizer.decode_pose(clip.ids, clip.geometry), clip, target)
        except (CommandError, PoseError, OSError) as error:
            self.tally.skip(where, error)
            return
        if clip.dropped:
            say(f"{where}: {of}; they were dropped", style="yellow")
        self._written[str(target)] = where
        self.tally.done += 1

    def _target(self, clip_id: str, where: str) -> Path:
        target = self.folder / f"{safe_path(clip_id)}.{self.file_format.value}"
        if not target.parent.resolve().is_relative_to(self.folder.resolve()):
            raise CommandError(f"clip {clip_id!r} would be written outside of {self.folder}, through a link")
        if str(target) in self._written:
            raise CommandError(f"clip {clip_id!r} is there already, from {self._written[str(target)]}")
        if target.exists() and not self.overwrite:
            raise CommandError(f"{target} exists already; --overwrite replaces it")
        return target

    def _write(self, pose: Pose, clip: CodedClip, target: Path) -> None:
        from signllm.data import write_pose

        target.parent.mkdir(parents=True, exist_ok=True)
        if self.file_format is not ClipFormat.html:
            write_pose(pose, target)
            return
        from signllm.visualization.player import Scene, Track, write_player

        codes, _ = self.tokenizer.ids_to_codes(clip.ids)
        step = codec_of(self.tokenizer).config.downsampling
        track = Track(pose, "decoded", codes=codes, frames_per_code=step)
        write_player(target, [Scene([track], title=clip.id)], title=clip.id)
