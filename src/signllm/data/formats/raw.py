"""What every reader gives back before a person is chosen, and the rules that hold for all formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import convert_pose, get_skeleton

Person = str | int


@dataclass(frozen=True)
class ReadRequest:
    """What the caller of `read_pose` said that a reader may need before it opens the file."""

    clip: str | None = None
    skeleton: str | None = None
    skels_convention: str = "progressive"


@dataclass(frozen=True)
class RawClip:
    """One clip as the file has it, everybody in the picture included.

    Args:
        values: `[T, P, J, C]` coordinates, P person slots; NaN where a joint or a person is missing.
        confidence: `[T, P, J]`, 0 or NaN where missing; `None`: 1 where values are present.
        skeleton: layout that the format implies, `None` where the file does not say.
        fps: frame rate of the file or of its corpus, `None` where unknown.
        units: as in `Pose`.
        source: file and clip, for messages.
    """

    values: np.ndarray
    confidence: np.ndarray | None
    skeleton: str | None
    fps: float | None
    units: str
    source: str

    @property
    def presence(self) -> np.ndarray:
        """`[T, P]` bool: whether the slot holds anything in the frame."""
        present = ~np.isnan(self.values).any(axis=3)
        if self.confidence is not None:
            present &= self.confidence > 0
        return present.any(axis=2)


def to_pose(raw: RawClip, person: Person, skeleton: str | None, fps: float | None) -> Pose:
    """The `Pose` of one person of a raw clip, in the wanted layout.

    Raises:
        PoseError: several persons and no choice, no frame rate, no layout, a joint count that is not the layout's,
            nothing seen in the whole clip, or what `Pose` and `convert_pose` refuse.
    """
    if len(raw.values) == 0:
        raise PoseError(f"{raw.source}: the clip has zero frames")
    slot = _person_slot(raw, person)
    fps = raw.fps if fps is None else fps
    if fps is None:
        raise PoseError(f"{raw.source}: the file does not hold its frame rate; pass fps=, for example fps=25")
    if not (np.isfinite(fps) and fps > 0):
        raise PoseError(
            f"{raw.source}: the frame rate must be a positive number, got {fps}; pass the right one as fps="
        )
    layout = raw.skeleton or skeleton
    if layout is None:
        raise PoseError(f"{raw.source}: the file does not name its joint layout; pass skeleton=")
    joints = raw.values.shape[2]
    if joints != len(get_skeleton(layout)):
        raise PoseError(f"{raw.source}: {layout} has {len(get_skeleton(layout))} joints, got {joints}")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows float32 becomes infinite, which Pose refuses
        values = raw.values[:, slot].astype(np.float32)
    confidence = np.ones(values.shape[:2]) if raw.confidence is None else raw.confidence[:, slot]
    pose = Pose(values, confidence, fps, layout, raw.units, raw.source)
    if not pose.joint_mask.any():
        raise PoseError(f"{raw.source}: not one joint was seen in any of the {len(pose)} frames")
    return pose if skeleton is None else convert_pose(pose, skeleton)


def _person_slot(raw: RawClip, person: Person) -> int:
    count = raw.values.shape[1]
    if isinstance(person, int):
        if not 0 <= person < count:
            raise PoseError(f"{raw.source}: person {person} was asked for; the file has persons 0 to {count - 1}")
        return person
    if person not in ("error", "first", "confident"):
        raise PoseError(f"person must be 'error', 'first', 'confident' or a number from 0, got {person!r}")
    seen = raw.presence.any(axis=0)
    if seen.sum() <= 1:  # room for more, but nobody else ever in it
        return int(np.argmax(seen))
    if person == "first":
        return 0
    if person == "confident":
        weights = raw.presence[..., None] if raw.confidence is None else np.nan_to_num(np.clip(raw.confidence, 0, 1))
        return int(np.argmax(weights.sum(axis=(0, 2))))
    crowded = int((raw.presence.sum(axis=1) > 1).sum())
    raise PoseError(
        f"{raw.source}: {seen.sum()} persons ({crowded} of {len(raw.values)} frames have more than one) and no choice "
        f"between them; pass person='first', 'confident' or a number from 0 to {count - 1}"
    )


def stack_people(frames: Sequence[Sequence[np.ndarray]], source: str) -> tuple[np.ndarray, np.ndarray]:
    """Values `[T, P, J, C]` and confidence `[T, P, J]` of frames that hold any number of `[J, C + 1]` persons.

    Persons keep the place that the file gives them in each frame; P is the largest number of persons in a frame.
    """
    people = max((len(frame) for frame in frames), default=0)
    if people == 0:
        raise PoseError(f"{source}: no person in any of the {len(frames)} frames")
    shape = next(frame[0].shape for frame in frames if len(frame))
    stacked = np.full((len(frames), people, *shape), np.nan, dtype=np.float32)
    for t, frame in enumerate(frames):
        for p, joints in enumerate(frame):
            stacked[t, p] = joints
    confidence = np.nan_to_num(stacked[..., -1], nan=0.0, posinf=1.0, neginf=0.0)
    return stacked[..., :-1], confidence


def frame_slots(numbers: np.ndarray, source: str) -> tuple[np.ndarray, int]:
    """Place of each frame number in the clip, and the clip's length; frames that are not in the file become gaps.

    Raises:
        PoseError: numbers so far apart that the clip would be nearly all gap: damage, not signing.
    """
    first, last = int(numbers.min()), int(numbers.max())
    length, held = last - first + 1, len(np.unique(numbers))
    if length > 10 * held + 100:
        raise PoseError(f"{source}: frame numbers run from {first} to {last}, but only {held} frames are there")
    return (numbers - first).astype(np.int64), length
