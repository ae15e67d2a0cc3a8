"""Named joint layouts, and poses carried from one layout to another by what the joints mean.

A `Skeleton` says which joint each number of a pose belongs to, how the joints hang together and what the mirror does
to them. `convert_pose` moves a pose between layouts; what cannot be found or derived is an error, never a guess. The
layouts themselves are listed, with their sources and conventions, in `skeleton_layouts.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType

import numpy as np

from .poses import Pose, PoseError
from .skeleton_layouts import (
    BONES,
    EYE_BONES,
    FACE_BONES,
    IBUG_MIRROR,
    LAYOUTS,
    LEFT_HAND,
    LID_BONES,
    MESH_MIRROR,
    MID_HIP_BONES,
    NECK_BONES,
    NECK_HIP_BONES,
    PARENT_CHOICES,
    RIGHT_HAND,
    STAND_INS,
    TRUNK_BONES,
)

SKELETON_NAMES: tuple[str, ...] = tuple(LAYOUTS)
PART_NAMES = ("body", "face", "left_hand", "right_hand")


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A layout of J joints; get one from `get_skeleton`.

    Args:
        name: as in `SKELETON_NAMES`.
        joints: J unique names in file order; the same name means the same joint in every layout.
        parents: for each joint the joint that it is measured from, -1 for a root. One tree with root `neck` where the
            layout has a neck; otherwise a forest with a root for every piece that hangs on nothing.
        edges: bones to draw, pairs of joint indices. World joints have none: they live in other units.
        parts: the joints of `body`, `face`, `left_hand` and `right_hand`, disjoint and together all joints.
        mirror: joint j of the mirrored signer is joint `mirror[j]` of the signer (with x reflected); an involution.
        dims: customary number of coordinates, 2 or 3.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    parts: Mapping[str, tuple[int, ...]]
    mirror: tuple[int, ...]
    dims: int

    def __len__(self) -> int:
        return len(self.joints)

    def __reduce__(self):
        return get_skeleton, (self.name,)  # a skeleton is its name: copies and worker processes get the one object

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {joint: j for j, joint in enumerate(self.joints)}

    def has(self, joint: str) -> bool:
        """Whether the layout has a joint of this name."""
        return joint in self._positions

    def index(self, joint: str) -> int:
        """Position of a joint in the layout.

        Raises:
            PoseError: the layout has no such joint; the message offers names that look alike.
        """
        if joint not in self._positions:
            near = difflib.get_close_matches(joint, self.joints, n=4, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else f"; its joints are {_brief_list(self.joints)}"
            raise PoseError(f"skeleton {self.name} has no joint {joint!r}{hint}")
        return self._positions[joint]


@cache
def get_skeleton(name: str) -> Skeleton:
    """The layout called `name`.

    Raises:
        PoseError: no such layout; the message lists the names.
    """
    if name not in LAYOUTS:
        raise PoseError(f"unknown skeleton {name!r}; known are {', '.join(SKELETON_NAMES)}")
    joints, dims = LAYOUTS[name]
    positions = {joint: j for j, joint in enumerate(joints)}
    return Skeleton(
        name=name,
        joints=joints,
        parents=tuple(_parent_of(joint, positions) for joint in joints),
        edges=_edges_of(positions),
        parts=MappingProxyType(_parts_of(joints)),
        mirror=tuple(positions.get(mirrored_joint(joint), j) for j, joint in enumerate(joints)),
        dims=dims,
    )


def skeleton_for_count(joint_count: int) -> Skeleton:
    """The layout with this number of joints; no two layouts have the same.

    Raises:
        PoseError: no layout has that many.
    """
    for name, (joints, _) in LAYOUTS.items():
        if len(joints) == joint_count:
            return get_skeleton(name)
    known = ", ".join(f"{len(joints)} {name}" for name, (joints, _) in LAYOUTS.items())
    raise PoseError(f"no skeleton has {joint_count} joints; known are {known}")


def mirrored_joint(joint: str) -> str:
    """The name of the joint that takes this one's place in the mirror: `left_wrist` for `right_wrist`."""
    face = re.fullmatch(r"face_(mesh_)?(\d+)", joint)
    if face:
        point = int(face[2])
        return f"face_mesh_{MESH_MIRROR[point]}" if face[1] else f"face_{IBUG_MIRROR.get(point, point)}"
    return re.sub("left|right", lambda side: "right" if side[0] == "left" else "left", joint)


def _parent_of(joint: str, positions: Mapping[str, int]) -> int:
    return next((positions[parent] for parent in PARENT_CHOICES.get(joint, ()) if parent in positions), -1)


def _edges_of(positions: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    bones = [*BONES, *FACE_BONES]
    bones += LID_BONES if "left_eye_inner" in positions else EYE_BONES
    if "neck" not in positions:
        bones += TRUNK_BONES
    else:
        bones += [*NECK_BONES, *(MID_HIP_BONES if "mid_hip" in positions else NECK_HIP_BONES)]
    present = ((positions[a], positions[b]) for a, b in bones if a in positions and b in positions)
    return tuple(dict.fromkeys(present))


def _parts_of(joints: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    def part(joint: str) -> str:
        if joint in LEFT_HAND:
            return "left_hand"
        if joint in RIGHT_HAND:
            return "right_hand"
        return "face" if joint.startswith("face_") else "body"

    return {name: tuple(j for j, joint in enumerate(joints) if part(joint) == name) for name in PART_NAMES}


def _brief_list(names: Sequence[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _source_of(joint: str, have: Skeleton) -> tuple[str, ...] | None:
    """The one joint, or the two to average, from which `have` gives this joint; None: out of reach."""
    choices = ((joint,), *STAND_INS.get(joint, ()))
    return next((choice for choice in choices if all(have.has(name) for name in choice)), None)


@cache
def _conversion_plan(source: str, target: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Two `[J']` index arrays into the source, and the joints out of reach (then the arrays are of no use).

    A target joint is the mean of its two source joints, which are mostly one and the same.
    """
    have, want = get_skeleton(source), get_skeleton(target)
    sources = [_source_of(joint, have) for joint in want.joints]
    missing = tuple(joint for joint, found in zip(want.joints, sources, strict=True) if found is None)
    pairs = [(have.index(found[0]), have.index(found[-1])) for found in sources if found]
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return first, second, missing


def _refusal(have: Skeleton, want: Skeleton, missing: tuple[str, ...]) -> str:
    others = (name for name in SKELETON_NAMES if name != have.name)
    possible = [name for name in others if not _conversion_plan(have.name, name)[2]]
    return (
        f"a pose in {have.name} cannot become {want.name}: {len(missing)} of {len(want)} joints are neither in it nor "
        f"derivable from it: {_brief_list(missing)}. It can become {', '.join(possible) or 'no other skeleton'}; for "
        f"{want.name}, extract the poses again with a tracker that finds these joints"
    )


def _where(pose: Pose) -> str:
    return f"{pose.source}: " if pose.source else ""


def _skeleton_of(pose: Pose) -> Skeleton:
    skeleton = get_skeleton(pose.skeleton)
    if pose.values.shape[1] != len(skeleton):
        raise PoseError(
            f"{_where(pose)}a pose in {skeleton.name} has {len(skeleton)} joints, got {pose.values.shape[1]}"
        )
    return skeleton


def convert_pose(pose: Pose, skeleton: str, *, dims: int | None = None) -> Pose:
    """The pose in another layout, joint by joint of the same meaning.

    A joint that the source has under the same name is copied. Otherwise it is derived: the neck and the mid hip are
    midpoints, hand wrist and body wrist stand in for each other, and the 68-point face is read off the MediaPipe mesh
    (approximate, see `MESH_TO_IBUG`). A derived joint is missing in the frames where one of its sources is; its
    confidence is the smaller of theirs. Units, fps and source stay.

    Args:
        pose: values `[T, J, C]` in the layout `pose.skeleton`.
        skeleton: name of the wanted layout.
        dims: coordinates of the result, 2 or 3; by default those of the layout. From 3-D to 2-D z is dropped.

    Returns:
        `[T, J', C']` in the wanted layout; the same object where nothing has to change.

    Raises:
        PoseError: unknown layout; joints that can be neither found nor derived (the message lists them); a depth
            wanted from a 2-D pose.
    """
    have, want = _skeleton_of(pose), get_skeleton(skeleton)
    if dims not in (None, 2, 3):
        raise PoseError(f"dims must be 2 or 3, got {dims!r}")
    present = pose.values.shape[2]
    if dims is None:
        dims = present if have is want else want.dims
    if dims > present:
        raise PoseError(
            f"{_where(pose)}{want.name} is wanted in {dims}-D but the {have.name} pose is {present}-D, and depth "
            "cannot be made up; pass dims=2 to convert it without depth"
        )
    if have is want and dims == present:
        return pose
    first, second, missing = _conversion_plan(have.name, want.name)
    if missing:
        raise PoseError(_where(pose) + _refusal(have, want, missing))
    values, confidence = pose.values[:, first, :dims], pose.confidence[:, first]
    derived = first != second
    if derived.any():
        other = second[derived]
        values[:, derived] = (values[:, derived] + pose.values[:, other, :dims]) / 2
        confidence[:, derived] = np.minimum(confidence[:, derived], pose.confidence[:, other])
    return pose.replace(values=values, confidence=confidence, skeleton=want.name)


def select_hand(pose: Pose, hand: str) -> Pose:
    """One hand alone, in the layout `hand21`, in the pose's own units and number of coordinates.

    `hand21` is a right hand by convention, so a left hand is mirrored into it (x becomes -x).

    Args:
        pose: a pose in a layout that has the hand.
        hand: `left_hand` or `right_hand`.

    Raises:
        PoseError: another word for `hand`, or a layout without that hand.
    """
    have = _skeleton_of(pose)
    if hand not in ("left_hand", "right_hand"):
        raise PoseError(f"hand must be left_hand or right_hand, got {hand!r}")
    joints = list(have.parts[hand])
    if not joints:
        raise PoseError(f"{_where(pose)}skeleton {have.name} has no {hand}")
    values = pose.values[:, joints]
    if hand == "left_hand":
        values[..., 0] *= -1
    return pose.replace(values=values, confidence=pose.confidence[:, joints], skeleton="hand21")
