"""From what was typed to clips and to a tokenizer; and the options that several commands have."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signllm.cli.console import CommandError

if TYPE_CHECKING:
    from signllm.data import PoseRef
    from signllm.models.poses import Pose
    from signllm.models.tokenization_sign_codec import SignTokenizer


def _positive(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"must be a positive number, got {value:g}")
    return value


def _person(value: str) -> str:
    if value not in ("first", "confident", "error") and not value.isdecimal():
        raise typer.BadParameter(f"must be first, confident, error or a number from 0, got {value!r}")
    return value


PathsArgument = Annotated[
    list[Path], typer.Argument(metavar="PATH", help="Pose files, and folders to search for them.", show_default=False)
]
TokenizerOption = Annotated[
    str, typer.Option("--tokenizer", metavar="REPO_OR_FOLDER", help="Sign tokenizer: a folder, or a name on the Hub.")
]
PersonOption = Annotated[
    str,
    typer.Option(
        "--person",
        metavar="first|confident|error|N",
        callback=_person,
        help="Whom to take where a file shows several persons; `error` refuses such files.",
    ),
]
FpsOption = Annotated[
    float | None,
    typer.Option(
        "--fps",
        callback=_positive,
        help="Frames per second, where files have none or a wrong one.",
        show_default=False,
    ),
]
SkeletonOption = Annotated[
    str | None,
    typer.Option(
        "--skeleton", help="Joint layout: of plain arrays, or to convert to, for example sts56.", show_default=False
    ),
]

SkelsOption = Annotated[
    str,
    typer.Option(
        "--skels-convention",
        metavar="progressive|prompt2sign",
        help="Whose .skels files with 150 values a frame these are; they differ in scale and in sides.",
    ),
]
ImageSizeOption = Annotated[
    tuple[int, int] | None,
    typer.Option(
        "--image-size",
        metavar="WIDTH HEIGHT",
        help="Size of the video in pixels, where coordinates are fractions of it (DWPose, Kaggle).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class ReadOptions:
    """How clips are read, as typed.

    Raises:
        PoseError: unknown skeleton.
    """

    person: str = "error"
    fps: float | None = None
    skeleton: str | None = None
    skels_convention: str = "progressive"
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.skeleton is not None:
            from signllm.models.skeletons import get_skeleton

            get_skeleton(self.skeleton)  # now, and not once for every clip

    def keywords(self) -> dict:
        """The keywords that `read_pose` and `inspect_poses` share."""
        person = int(self.person) if self.person.isdecimal() else self.person
        return {
            "person": person,
            "fps": self.fps,
            "skeleton": self.skeleton,
            "skels_convention": self.skels_convention,
        }

    def read(self, ref: PoseRef) -> Pose:
        from signllm.data import read_pose

        return read_pose(ref.path, clip=ref.clip, image_size=self.image_size, **self.keywords())


def find_clips(paths: Sequence[Path]) -> list[PoseRef]:
    """Every clip below the paths, once, each with an id of its own.

    An id is the path below the argument; clips of several arguments that would share one get the whole path.

    Raises:
        PoseError: a path that does not exist. CommandError: no clips.
    """
    from signllm.data import find_poses

    found = {(ref.path.resolve(), ref.clip): ref for path in paths for ref in find_poses(path)}
    if not found:
        raise CommandError(f"no pose files in {', '.join(map(str, paths))}")
    uses = Counter(ref.id for ref in found.values())
    return [ref if uses[ref.id] == 1 else replace(ref, id=_whole_path(ref)) for ref in found.values()]


def _whole_path(ref: PoseRef) -> str:
    return ref.path.as_posix() + (f"#{ref.clip}" if ref.clip is not None else "")


def load_tokenizer(name: str) -> SignTokenizer:
    """The sign tokenizer of a folder or a Hub repository, with its codec. Code of the repository is never run.

    Raises:
        CommandError: nothing there, something else, or damaged.
    """
    _check_folder(name)
    from safetensors import SafetensorError
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from signllm.auto import register
    from signllm.models.tokenization_sign_codec import SignTokenizer

    register()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        where = (
            f"the folder {name}"
            if Path(name).is_dir()
            else f"{name} (no folder here, so it was looked for on the Hub)"
        )
        reason = str(error).strip().splitlines()
        raise CommandError(f"cannot load a sign tokenizer from {where}: {reason[0] if reason else error!r}") from error
    if not isinstance(tokenizer, SignTokenizer):
        raise CommandError(f"{name} holds a {type(tokenizer).__name__}, which is not a sign tokenizer")
    return tokenizer


def _check_folder(name: str) -> None:
    """Refuse at once what can only have been meant as a folder and is none: the Hub would be asked, at length."""
    path = Path(name)
    if path.is_dir():
        if not (path / "tokenizer_config.json").is_file():
            raise CommandError(f"{name} is a folder without a tokenizer (it has no tokenizer_config.json)")
    elif path.exists():
        raise CommandError(f"{name} is a file; give the folder of a sign tokenizer")
    elif name.count("/") != 1 or path.is_absolute() or path.parent.is_dir():
        raise CommandError(f"no folder {name} (a tokenizer on the Hub is named owner/name)")


def codec_of(tokenizer: SignTokenizer) -> Any:
    """The codec, which `load_tokenizer` has seen to."""
    return tokenizer.codec


def fingerprint(tokenizer: SignTokenizer) -> str:
    """Twelve hexadecimal digits that differ between tokenizers whose codes mean different things."""
    import torch

    codec = codec_of(tokenizer)
    digest = hashlib.sha256(json.dumps(codec.config.preparation.to_dict(), sort_keys=True).encode())
    for name, value in sorted(codec.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]
