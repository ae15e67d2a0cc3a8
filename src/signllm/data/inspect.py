"""Facts about pose files, for `signllm data info`: every clip is opened, and readable or refused with a reason."""

from __future__ import annotations

import os
from dataclasses import dataclass

from signllm.data.formats.raw import Person, RawClip, ReadRequest, to_pose
from signllm.data.io import PoseRef, find_poses, format_of, read_raw
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import get_skeleton

_ANY_FPS = 25.0  # for checking the rest of a clip whose rate the caller will have to give


@dataclass(frozen=True)
class PoseInfo:
    """One clip. Facts that could not be found out are `None`.

    Args:
        id: as in `PoseRef`.
        format: name of the format, empty where even that is unknown.
        persons: largest number of persons in a frame.
        fps: `None` where neither file nor format fixes it.
        missing_left_hand, missing_right_hand: share of the frames in which not one joint of the hand was seen; `None`
            where the layout has no such hand.
        status: `ok` or `refused`.
        reason: why it was refused; of a readable clip, what its reader will have to be told.
    """

    id: str
    format: str
    skeleton: str | None
    persons: int | None
    frames: int | None
    fps: float | None
    units: str | None
    missing_left_hand: float | None
    missing_right_hand: float | None
    status: str
    reason: str


def inspect_poses(
    path: str | os.PathLike[str],
    *,
    person: Person = "error",
    skeleton: str | None = None,
    fps: float | None = None,
    skels_convention: str = "progressive",
) -> list[PoseInfo]:
    """A row for each clip of a file or below a folder, in the order of `find_poses`; arguments as in `read_pose`.

    Raises:
        PoseError: there is nothing at `path`. Whatever is wrong with a clip is in its row.
    """
    return [_inspect(ref, person, skeleton, fps, skels_convention) for ref in find_poses(path)]


def _inspect(ref: PoseRef, person: Person, skeleton: str | None, fps: float | None, convention: str) -> PoseInfo:
    raw: RawClip | None = None
    pose: Pose | None = None
    name = reason = ""
    try:
        name = format_of(ref.path).NAME
        raw = read_raw(ref.path, ReadRequest(ref.clip, skeleton, convention))
        rate = fps if fps is not None else raw.fps
        reason = "" if rate is not None else "the file has no frame rate: pass fps="
        pose = to_pose(raw, person, skeleton, _ANY_FPS if rate is None else rate)
    except PoseError as error:
        reason = str(error)
    return PoseInfo(
        id=ref.id,
        format=name,
        skeleton=pose.skeleton if pose else raw.skeleton if raw else None,
        persons=raw.values.shape[1] if raw else None,
        frames=len(raw.values) if raw else None,
        fps=fps if fps is not None else raw.fps if raw else None,
        units=raw.units if raw else None,
        missing_left_hand=_missing(pose, "left_hand") if pose else None,
        missing_right_hand=_missing(pose, "right_hand") if pose else None,
        status="ok" if pose else "refused",
        reason=reason,
    )


def _missing(pose: Pose, hand: str) -> float | None:
    joints = list(get_skeleton(pose.skeleton).parts[hand])
    return 1 - float(pose.joint_mask[:, joints].any(axis=1).mean()) if joints else None
