"""Files of codes: one JSON object per line and clip, written so that a stopped run can go on.

A line holds `id`, `source`, `frames` and `fps` of the clip as read, `tokenizer` (a fingerprint), `codes` (`[T']`, or
`[Q, T']` as a list of lists), `ids` (with start and end) and `geometry`, with which decoding puts the clip back in its
place. A line to be decoded needs `ids` or `codes`; the rest may be missing.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from signllm.cli.console import CommandError
from signllm.cli.inputs import codec_of
from signllm.files import replacing

if TYPE_CHECKING:
    from signllm.models.poses import Pose
    from signllm.models.tokenization_sign_codec import ClipGeometry, SignTokenizer


def record(
    clip_id: str, pose: Pose, ids: list[int], geometry: ClipGeometry, tokenizer: SignTokenizer, mark: str
) -> dict:
    """The line of one clip; `mark` is the tokenizer's fingerprint."""
    codes, _ = tokenizer.ids_to_codes(ids)
    return {
        "id": clip_id,
        "source": pose.source,
        "frames": len(pose),
        "fps": pose.fps,
        "tokenizer": mark,
        "codes": codes.tolist(),
        "ids": ids,
        "geometry": {
            "origin": geometry.origin.tolist(),
            "scale": geometry.scale,
            "fps": geometry.fps,
            "num_frames": geometry.num_frames,
            "units": geometry.units,
        },
    }


class CodeFile:
    """A file that grows under the name `<name>.part` and takes its own name when it is complete.

    Args:
        target: the file wanted. as_text: lines of `id <tab> tokens` instead of JSON (the part is JSON all the same).
        overwrite: begin anew and replace what is there. resume: keep the clips that are there.

    Raises:
        CommandError: something is there and neither was asked for, or both.
    """

    def __init__(self, target: Path, *, as_text: bool = False, overwrite: bool = False, resume: bool = False) -> None:
        self.target = target
        self.part = target.with_name(f"{target.name}.part")
        self.as_text, self.overwrite, self.resume = as_text, overwrite, resume
        if overwrite and resume:
            raise CommandError("--overwrite begins anew and --resume goes on: give one of them")
        if target.is_dir():
            raise CommandError(f"{target} is a folder; --output is the file to write")
        if self.part.exists() and not (overwrite or resume):
            raise CommandError(f"{self.part} is of a run that was stopped: --resume goes on, --overwrite begins anew")
        if target.exists() and not overwrite and (not resume or (as_text and not self.part.exists())):
            raise CommandError(f"{target} exists already; --overwrite replaces it")

    def begin(self, mark: str) -> set[str]:
        """Make the part ready and return the ids that it holds already.

        Raises:
            CommandError: a damaged part, or one that another tokenizer began.
        """
        if self.overwrite:
            self.part.unlink(missing_ok=True)
        elif self.resume and not self.part.exists() and self.target.exists():
            shutil.copyfile(self.target, self.part)
        return self._kept(mark) if self.part.exists() else set()

    def _kept(self, mark: str) -> set[str]:
        kept, end = set(), 0
        with self.part.open("r+b") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break  # the run was stopped while it wrote this line
                try:
                    entry = json.loads(line)
                    clip_id, theirs = entry["id"], entry["tokenizer"]
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    raise CommandError(
                        f"{self.part}, line {number}: not a line of codes; --overwrite begins anew"
                    ) from error
                if theirs != mark:
                    raise CommandError(
                        f"{self.part} was begun with another tokenizer ({theirs}, this one is {mark}); --overwrite "
                        "begins anew"
                    )
                kept.add(clip_id)
                end += len(line)
            stream.truncate(end)
        return kept

    def append(self, records: Iterable[dict]) -> None:
        lines = "".join(f"{json.dumps(entry, separators=(',', ':'), allow_nan=False)}\n" for entry in records)
        if lines:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            with self.part.open("a", encoding="utf-8", newline="\n") as stream:
                stream.write(lines)

    def finish(self, tokenizer: SignTokenizer) -> None:
        """Give the file its name; nothing happens where there is not one clip."""
        if not self.part.exists():
            return
        if self.as_text:
            self._write_text(tokenizer)
            self.part.unlink()
        else:
            os.replace(self.part, self.target)

    def _write_text(self, tokenizer: SignTokenizer) -> None:
        with replacing(self.target) as whole, whole.open("wb") as stream, self.part.open("rb") as lines:
            for entry in map(json.loads, lines):
                tokens = "".join(tokenizer.convert_ids_to_tokens(entry["ids"]))
                name = re.sub(r"\s", " ", entry["id"])
                stream.write(f"{name}\t{tokens}\n".encode("utf-8", "replace"))


@dataclass(frozen=True)
class CodedClip:
    """One clip to decode: ids that form whole steps, how many others were dropped, and where the clip stood."""

    id: str
    ids: list[int]
    dropped: int
    geometry: ClipGeometry | None
    tokenizer: str | None


def parse_line(line: bytes | str, number: int, tokenizer: SignTokenizer) -> CodedClip:
    """A line of a file of codes. What does not form codes is dropped and counted.

    Raises:
        ValueError: not JSON, or fields of the wrong kind.
    """
    try:
        entry = json.loads(line)
    except RecursionError:
        raise ValueError("not JSON that can be read (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(entry, dict):
        raise ValueError(f"a line must be a JSON object, got {type(entry).__name__}")
    clip_id = entry.get("id", f"line_{number}")
    if not isinstance(clip_id, str | int):
        raise ValueError(f"id must be a string, got {type(clip_id).__name__}")
    if "ids" in entry:
        ids, dropped = clean_ids(entry["ids"], tokenizer)
    else:
        ids, dropped = _ids_of_codes(entry.get("codes"), tokenizer)
    mark = entry.get("tokenizer")
    geometry = _parse_geometry(entry["geometry"], tokenizer) if entry.get("geometry") is not None else None
    return CodedClip(str(clip_id), ids, dropped, geometry, mark if isinstance(mark, str) else None)


def clean_ids(ids: object, tokenizer: SignTokenizer) -> tuple[list[int], int]:
    """Ids of anything -> ids of whole code steps, and how many were dropped."""
    if not isinstance(ids, list):
        raise ValueError(f"ids must be a list of numbers, got {type(ids).__name__}")
    known = [number for number in ids if _is_code(number, tokenizer.vocab_size)]
    codes, dropped = tokenizer.ids_to_codes(known)
    return tokenizer.vocabulary.ids(codes), dropped + len(ids) - len(known)


def _ids_of_codes(codes: object, tokenizer: SignTokenizer) -> tuple[list[int], int]:
    """Codes `[T']` or `[Q, T']` -> ids; a step with anything else in it is dropped whole."""
    import numpy as np

    levels = tokenizer.vocabulary.num_quantizers
    rows = [codes] if levels == 1 and not _is_nested(codes) else codes
    if not isinstance(rows, list) or len(rows) != levels or not all(isinstance(row, list) for row in rows):
        kind = "a list of numbers" if levels == 1 else f"{levels} lists of numbers"
        raise ValueError(f"the line has neither ids nor codes that are {kind}")
    steps = list(zip(*rows, strict=False))
    whole = [step for step in steps if all(_is_code(code, tokenizer.vocabulary.codebook_size) for code in step)]
    ids = tokenizer.vocabulary.ids(np.array(whole, dtype=np.int64).reshape(len(whole), levels).T)
    return ids, sum(map(len, rows)) - len(ids)


def _is_nested(codes: object) -> bool:
    return isinstance(codes, list) and len(codes) == 1 and isinstance(codes[0], list)


def _is_code(value: object, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _parse_geometry(entry: Any, tokenizer: SignTokenizer) -> ClipGeometry:
    import torch

    from signllm.models.tokenization_sign_codec import ClipGeometry

    try:
        origin = torch.tensor(entry["origin"], dtype=torch.float32)
        scale, fps, frames, units = float(entry["scale"]), float(entry["fps"]), entry["num_frames"], entry["units"]
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"geometry must have origin, scale, fps, num_frames and units ({error})") from error
    coordinates = codec_of(tokenizer).config.num_coordinates
    shaped = origin.ndim in (1, 2) and len(origin) > 0 and origin.shape[-1] == coordinates
    if not (shaped and origin.isfinite().all()):
        raise ValueError(f"origin of the geometry must be {coordinates} finite numbers, or as many for each frame")
    if not (0 < scale < math.inf and 0 < fps < math.inf):
        raise ValueError(f"scale and fps of the geometry must be positive numbers, got {scale:g} and {fps:g}")
    if not _is_code(frames, 2**31) or frames == 0 or not isinstance(units, str):
        raise ValueError(f"num_frames of the geometry must be a positive integer, units a word; got {frames}, {units}")
    return ClipGeometry(origin, scale, fps, frames, units)


def safe_path(clip_id: str) -> PurePosixPath:
    """A relative path without suffix for a clip of any id, whoever wrote the id: `../../x` leads nowhere else.

    Ids that are plain paths keep them (`talk/1.pose` -> `talk/1`); what is changed gets a hash, so that different ids
    have different paths.
    """
    from signllm.data import PoseRef

    *folders, name = [part for part in re.split(r"[/\\]", clip_id) if part not in ("", ".")] or ["clip"]
    stem = re.sub(r"\.(pose|npz|npy|skels|json|parquet|pkl|pickle|gz)$", "", name, flags=re.IGNORECASE)
    # Half characters, as in names that are not UTF-8, cannot be hashed; any spelling of them will do.
    parts = [part.encode("utf-8", "backslashreplace").decode() for part in (*folders, stem or name)]
    return PurePosixPath(*(PoseRef(Path(part), None, part).file_name for part in parts))
