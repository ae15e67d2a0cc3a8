"""`.skels`: one clip per line, frames joined by spaces, a progress counter at the end of each frame.

| values a frame | written by | layout |
|---|---|---|
| 150 + 1 | Progressive Transformers (convention `progressive`) | `openpose50`, x y z per joint, divided by 3 |
| 150 + 1 | Prompt2Sign (convention `prompt2sign`) | the same with OpenPose's sides, divided by 9, never a zero |
| 384 + 1 | Prompt2Sign's DWPose tools | `dwpose_128`: body x y, body scores, hands x y, scores, face x y, scores |

The first two cannot be told apart by looking, so the caller says which it is. Prompt2Sign writes 0.01600 for zero and
for missing alike; all three coordinates at 0.016 is a missing joint here, and `write_skels` marks missing joints so in
both conventions, because the format has no other way. `.files` beside a `.skels` file names its clips line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from signllm.data.formats.dwpose import FPS as DWPOSE_FPS
from signllm.data.formats.dwpose import confidence_of
from signllm.data.formats.raw import RawClip, ReadRequest
from signllm.files import replacing
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import get_skeleton

NAME = ".skels"
NEVER_ZERO = 0.016
_LIFTED, _DWPOSE = 151, 385  # values a frame


@dataclass(frozen=True)
class Convention:
    """How the 150 + 1 values were made: divided by `scale`; whose sides; the counter counts from `first_count`."""

    scale: float
    fps: float | None
    openpose_sides: bool
    never_zero: bool
    first_count: int
    counter_decimals: int


CONVENTIONS = {
    "progressive": Convention(3.0, 25.0, openpose_sides=False, never_zero=False, first_count=0, counter_decimals=4),
    # Made from corpora of several frame rates, so the caller has to know it.
    "prompt2sign": Convention(9.0, None, openpose_sides=True, never_zero=True, first_count=1, counter_decimals=5),
}


def clips(path: Path) -> list[str | None]:
    """Line numbers from 0, as text."""
    return [str(line) for line in range(len(_line_starts(path)) - 1)]


def clip_names(path: Path) -> list[str]:
    """The names in the `.files` beside the file; empty where there is none or its lines are not as many."""
    names = path.with_suffix(".files")
    if not names.is_file():
        return []
    lines = names.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines if len(lines) == len(_line_starts(path)) - 1 else []


def read(path: Path, request: ReadRequest) -> RawClip:
    convention = _convention(request.skels_convention)
    starts = _line_starts(path)
    line = _line_of(path, request.clip, len(starts) - 1)
    source = f"{path}#{line}"
    with path.open("rb") as stream:
        stream.seek(starts[line])
        tokens = stream.read(starts[line + 1] - starts[line]).split()
    frames = _frames_of(tokens, f"{path}, line {line + 1}")
    if frames.shape[1] == _DWPOSE:
        values, confidence = _dwpose_joints(frames)
        return RawClip(values[:, None], confidence[:, None], "dwpose_128", DWPOSE_FPS, "normalized", source)
    values = _lifted_joints(frames, convention)
    return RawClip(values[:, None], None, "openpose50", convention.fps, "arbitrary", source)


def _convention(name: str) -> Convention:
    if name not in CONVENTIONS:
        raise PoseError(f"skels_convention must be one of {', '.join(CONVENTIONS)}, got {name!r}")
    return CONVENTIONS[name]


def _line_starts(path: Path) -> np.ndarray:
    state = path.stat()
    return _line_starts_of_version(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)  # so that reading all clips of a file one by one walks through it once
def _line_starts_of_version(path: Path, _modified_ns: int, _size: int) -> np.ndarray:
    """`[lines + 1]` byte offsets of the lines and of the end."""
    with path.open("rb") as stream:
        return np.cumsum([0, *map(len, stream)])


def _line_of(path: Path, clip: str | None, count: int) -> int:
    if count == 0:
        raise PoseError(f"{path}: the file is empty")
    if clip is None:
        if count == 1:
            return 0
        raise PoseError(f"{path}: {count} clips, one per line; pass clip=, a number from 0 to {count - 1} or a name")
    if clip.isdecimal():
        if int(clip) < count:
            return int(clip)
        raise PoseError(f"{path}: clip {clip} was asked for; the file has clips 0 to {count - 1}")
    names = clip_names(path)
    if names.count(clip) != 1:
        times = "is on several lines" if names.count(clip) else "is not there"
        raise PoseError(
            f"{path}: clip {clip!r} {times} in {path.with_suffix('.files').name} (which must have a line for each of "
            f"the {count} clips); pass clip= as a number from 0 to {count - 1}"
        )
    return names.index(clip)


def _frames_of(tokens: list[bytes], source: str) -> np.ndarray:
    """`[T, 151 or 385]` values of one line, recognised by their number and by the counter."""
    if not tokens:
        raise PoseError(f"{source}: the clip has zero frames")
    fitting = [width for width in (_LIFTED, _DWPOSE) if len(tokens) % width == 0]
    if not fitting:
        raise PoseError(
            f"{source}: {len(tokens)} values are not a multiple of {_LIFTED} (150 + counter) or of {_DWPOSE} "
            "(384 + counter)"
        )
    try:
        values = np.array(tokens).astype(np.float64)
    except ValueError as error:
        raise PoseError(f"{source}: {error}") from error
    for width in fitting:
        frames = values.reshape(-1, width)
        counter = frames[:, -1]
        rises = (np.diff(counter) >= 0).all() and counter[0] >= 0 and counter[-1] <= 1
        if rises or len(frames) == 1:
            return frames
    raise PoseError(
        f"{source}: the counter after each frame does not rise from 0 to 1; values are missing or misplaced"
    )


def _lifted_joints(frames: np.ndarray, convention: Convention) -> np.ndarray:
    """`[T, 50, 3]`, NaN where missing."""
    joints = frames[:, :-1].reshape(len(frames), 50, 3)
    missing = (joints == NEVER_ZERO).all(axis=2, keepdims=True)
    if convention.never_zero:
        joints = np.where(joints == NEVER_ZERO, 0.0, joints)
    joints = np.where(missing, np.nan, joints * convention.scale)
    return joints[:, list(get_skeleton("openpose50").mirror)] if convention.openpose_sides else joints


def _dwpose_joints(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[T, 128, 2]` and `[T, 128]` in the order body, face, left hand, right hand."""
    body, body_scores, hands, hand_scores, face, face_scores, _ = np.split(
        frames, np.cumsum([36, 18, 84, 42, 136, 68]), axis=1
    )
    parts = (("body", body, body_scores), ("face", face, face_scores), ("hands", hands, hand_scores))
    points = [(part, xy.reshape(len(frames), -1, 2), scores) for part, xy, scores in parts]
    values = np.concatenate([xy for _, xy, _ in points], axis=1)
    return values, np.concatenate([confidence_of(*part) for part in points], axis=1)


def write_skels(
    poses: Sequence[Pose],
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    glosses: Sequence[str] | None = None,
    convention: str = "progressive",
) -> None:
    """Write clips as 150 + 1 values a frame, one per line, with `.files`, `.text` and `.gloss` beside them.

    Joints get five decimals; the counter is t / T (`prompt2sign`: (t + 1) / T). No file appears before all are ready.

    Args:
        poses: 3-D clips in the layout `openpose50`.
        path: the `.skels` file; the others share its name.
        names: one line for each clip, for `.files`; `None`: that file is not written.
        texts: likewise for `.text`.
        glosses: likewise for `.gloss`.
        convention: `progressive` or `prompt2sign`.

    Raises:
        PoseError: another layout, no clips, a text with a line break, or as many lines as there are not clips.
    """
    path = Path(path)
    settings = _convention(convention)
    if not poses:
        raise PoseError(f"{path}: no clips to write")
    contents = {path: [_line(pose, settings, path) for pose in poses]}
    for suffix, lines in ((".files", names), (".text", texts), (".gloss", glosses)):
        if lines is None:
            continue
        if len(lines) != len(poses) or any(len(line.splitlines()) > 1 or line.endswith("\n") for line in lines):
            raise PoseError(
                f"{path.with_suffix(suffix)}: needs one line for each of {len(poses)} clips, got {len(lines)}"
            )
        contents[path.with_suffix(suffix)] = list(lines)
    with ExitStack() as stack:
        for target, lines in contents.items():
            temporary = stack.enter_context(replacing(target))
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _line(pose: Pose, convention: Convention, path: Path) -> str:
    if pose.skeleton != "openpose50" or pose.values.shape[1:] != (50, 3):
        raise PoseError(
            f"{path}: .skels holds openpose50 in 3-D, got {pose.skeleton} in {pose.values.shape[2]}-D; "
            "use convert_pose(pose, 'openpose50') first, or another format"
        )
    joints = pose.values.astype(np.float64) / convention.scale
    if convention.openpose_sides:
        joints = joints[:, list(get_skeleton("openpose50").mirror)]
    joints = np.round(joints, 5) + 0.0  # + 0.0: no "-0.00000"
    joints = np.where(np.isnan(joints) | (convention.never_zero & (joints == 0)), NEVER_ZERO, joints)
    counter = (np.arange(len(pose)) + convention.first_count) / len(pose)
    frame_format = " ".join(["%.5f"] * 150) + f" %.{convention.counter_decimals}f"
    return " ".join(
        frame_format % (*frame, count) for frame, count in zip(joints.reshape(-1, 150), counter, strict=True)
    )


def write(pose: Pose, path: Path) -> None:
    """One clip, in the convention `progressive`."""
    path.write_text(_line(pose, CONVENTIONS["progressive"], path) + "\n", encoding="utf-8")
