"""`.pose` of pose-format: header versions 0.0, 0.1 and 0.2, one or several persons.

Joints are recognised by the names of the header's components and points. Coordinates are pixels of the canvas that the
header names; a canvas of 1 x 1 says fractions of the image, none at all says that the unit is unknown.
"""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from signllm.data.formats.raw import RawClip, ReadRequest, stack_people
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import SKELETON_NAMES, Skeleton, get_skeleton

NAME = ".pose"
_OPENPOSE_COMPONENTS = {
    "pose_keypoints_2d": "body",
    "face_keypoints_2d": "face",
    "hand_left_keypoints_2d": "left_hand",
    "hand_right_keypoints_2d": "right_hand",
}
_MEDIAPIPE_COMPONENTS = (
    "POSE_LANDMARKS",
    "FACE_LANDMARKS",
    "LEFT_HAND_LANDMARKS",
    "RIGHT_HAND_LANDMARKS",
    "POSE_WORLD_LANDMARKS",
)
_COLORS = {"body": (60, 60, 60), "face": (150, 150, 150), "left_hand": (0, 114, 178), "right_hand": (213, 94, 0)}


def clips(path: Path) -> list[str | None]:
    return [None]


def read(path: Path, request: ReadRequest) -> RawClip:
    from pose_format.pose_header import PoseHeader
    from pose_format.utils.reader import BufferReader

    data = path.read_bytes()
    reader = BufferReader(data)
    header = PoseHeader.read(reader)
    version = round(header.version, 3)
    if version == 0:
        fps, values, confidence = _read_body_0_0(header, data, reader.read_offset, str(path))
    elif version in (0.1, 0.2):
        _check_length(header, version, data, reader.read_offset, str(path))
        fps, values, confidence = _read_body(header, reader)
    else:
        raise PoseError(f"{path}: .pose version {header.version:g} is unknown (or this is no .pose file)")
    joints = [joint for component in header.components for joint in _joints_of(component)]
    values, confidence, skeleton = _in_layout(values, confidence, joints, header, str(path))
    canvas = (header.dimensions.width, header.dimensions.height)
    units = {(0, 0): "arbitrary", (1, 1): "normalized"}.get(canvas, "pixels")
    return RawClip(values, confidence, skeleton, fps, units, str(path))


def _read_body(header: Any, reader: Any) -> tuple[float, np.ndarray, np.ndarray]:
    from pose_format.numpy import NumPyPoseBody

    body = NumPyPoseBody.read(header, reader)
    return float(body.fps), np.asarray(body.data.data), np.asarray(body.confidence)


def _check_length(header: Any, version: float, data: bytes, offset: int, source: str) -> None:
    """pose-format guesses the frames of 0.1 from the file's length: of a cut file it would make plausible nonsense."""
    fixed = struct.Struct("<fIH" if version == 0.2 else "<HHH")
    _, frames, people = fixed.unpack_from(data, offset)
    if people == 0:
        raise PoseError(f"{source}: the file holds no person")
    frame_bytes = 4 * people * header.total_points() * (header.num_dims() + 1)
    left = len(data) - offset - fixed.size
    if version == 0.1 and left % frame_bytes == 0 and left // frame_bytes >= 0xFFFF:
        return  # its counter has 16 bits, and longer clips were written with what was left of it
    if left != frames * frame_bytes:
        raise PoseError(
            f"{source}: the header promises {frames} frames of {frame_bytes} bytes, {left} bytes follow; "
            "the file is cut short or damaged"
        )


def _read_body_0_0(header: Any, data: bytes, offset: int, source: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Version 0.0, where every frame has its own number of persons; pose-format would keep only the first of them."""
    fps, frames = struct.unpack_from("<HH", data, offset)
    offset += 4
    widths = {len(component.format) for component in header.components}
    if len(widths) != 1:
        raise PoseError(f"{source}: components with different numbers of coordinates are not supported")
    shape = (header.total_points(), widths.pop())
    size = math.prod(shape)
    people_by_frame = []
    for _ in range(frames):
        (people,) = struct.unpack_from("<H", data, offset)
        offset += 2
        persons = []
        for _ in range(people):  # each is an id of 2 bytes, then the joints
            persons.append(np.frombuffer(data, dtype="<f4", count=size, offset=offset + 2).reshape(shape))
            offset += 2 + 4 * size
        people_by_frame.append(persons)
    if offset != len(data):
        raise PoseError(
            f"{source}: {len(data) - offset} bytes follow the last of {frames} frames; the file is damaged"
        )
    if not frames:
        raise PoseError(f"{source}: the clip has zero frames")
    return float(fps), *stack_people(people_by_frame, source)


def _joints_of(component: Any) -> list[str]:
    """Joint names of a component; of an unknown one, names that no layout has."""
    name, points = component.name, list(component.points)
    if name in SKELETON_NAMES:
        return points
    if name in _OPENPOSE_COMPONENTS:
        skeleton = get_skeleton("openpose_137")
        joints = [skeleton.joints[j] for j in skeleton.parts[_OPENPOSE_COMPONENTS[name]]]
        return joints if len(joints) == len(points) else [f"{name}/{point}" for point in points]
    return [_mediapipe_joint(name, point) for point in points]


def _mediapipe_joint(component: str, point: str) -> str:
    """`face_mesh_7` for point 7 of FACE_LANDMARKS, `left_index_tip` for INDEX_FINGER_TIP of LEFT_HAND_LANDMARKS."""
    lowered = point.lower()
    if component == "POSE_LANDMARKS":
        return lowered
    if component == "POSE_WORLD_LANDMARKS":
        return f"world_{lowered}"
    if component == "FACE_LANDMARKS":
        return f"face_mesh_{point}"
    hand = re.fullmatch(r"(LEFT|RIGHT)_HAND_LANDMARKS", component)
    if hand:
        return f"{hand[1].lower()}_{'hand_wrist' if lowered == 'wrist' else lowered.replace('_finger', '')}"
    return f"{component}/{point}"


def _in_layout(
    values: np.ndarray, confidence: np.ndarray, joints: list[str], header: Any, source: str
) -> tuple[np.ndarray, np.ndarray, str]:
    """The joints in the order of the layout that has exactly them."""
    left_hand = tuple(joint.replace("right", "left") for joint in get_skeleton("hand21").joints)
    if set(joints) == set(left_hand):  # the layout of one hand is a right one: a left hand is mirrored into it
        values = values * np.array([-1, *[1] * (values.shape[-1] - 1)], dtype=values.dtype)
        joints = [joint.replace("left", "right") for joint in joints]
    skeleton = _layout_with(frozenset(joints))
    if skeleton is None or len(joints) != len(skeleton):
        held = ", ".join(f"{component.name} ({len(component.points)})" for component in header.components)
        raise PoseError(
            f"{source}: components {held or 'none'} make up none of the layouts {', '.join(SKELETON_NAMES)}"
        )
    if tuple(joints) != skeleton.joints:
        order = [joints.index(joint) for joint in skeleton.joints]
        values, confidence = values[:, :, order], confidence[:, :, order]
    return values, confidence, skeleton.name


@lru_cache(maxsize=64)
def _layout_with(joints: frozenset[str]) -> Skeleton | None:
    skeletons = map(get_skeleton, SKELETON_NAMES)
    return next((skeleton for skeleton in skeletons if joints == frozenset(skeleton.joints)), None)


def write(pose: Pose, path: Path) -> None:
    """Write header version 0.2, with the components that pose-format's own tools know where the layout has them."""
    from pose_format import Pose as PoseFormat
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader

    skeleton, dims = get_skeleton(pose.skeleton), pose.values.shape[2]
    components = [_component(skeleton, name, joints, dims) for name, joints in _components_of(skeleton) if joints]
    values = np.nan_to_num(pose.values)[:, None]
    body = NumPyPoseBody(pose.fps, values, pose.confidence[:, None])
    with path.open("wb") as stream:
        PoseFormat(PoseHeader(0.2, _canvas(pose), components), body).write(stream)


def _canvas(pose: Pose) -> Any:
    from pose_format.pose_header import PoseHeaderDimensions

    if pose.units == "normalized":
        return PoseHeaderDimensions(1, 1, 0)
    if pose.units != "pixels":
        return PoseHeaderDimensions(0, 0, 0)
    largest = np.nan_to_num(pose.values).max(axis=(0, 1)).clip(0)
    return PoseHeaderDimensions(*(min(int(size) + 2, 0xFFFF) for size in largest[:2]), 0)


def _components_of(skeleton: Skeleton) -> list[tuple[str, list[int]]]:
    """Component names and their joints, in file order."""
    if skeleton.name == "openpose_137":
        return [(name, list(skeleton.parts[part])) for name, part in _OPENPOSE_COMPONENTS.items()]
    if not skeleton.name.startswith(("holistic", "asl42", "hand21")):
        return [(skeleton.name, list(range(len(skeleton))))]
    world = [j for j in skeleton.parts["body"] if skeleton.joints[j].startswith("world_")]
    body = [j for j in skeleton.parts["body"] if j not in world]
    groups = (body, *(list(skeleton.parts[part]) for part in ("face", "left_hand", "right_hand")), world)
    return list(zip(_MEDIAPIPE_COMPONENTS, groups, strict=True))


def _component(skeleton: Skeleton, name: str, joints: list[int], dims: int) -> Any:
    from pose_format.pose_header import PoseHeaderComponent

    part_of = {j: part for part, members in skeleton.parts.items() for j in members}
    place = {j: i for i, j in enumerate(joints)}
    bones = [(a, b) for a, b in skeleton.edges if a in place and b in place]
    points = [skeleton.joints[j] if name == skeleton.name else _point_name(skeleton.joints[j]) for j in joints]
    return PoseHeaderComponent(
        name,
        points,
        [(place[a], place[b]) for a, b in bones],
        [_COLORS[part_of[a]] for a, _ in bones],
        "XYZC" if dims == 3 else "XYC",
    )


def _point_name(joint: str) -> str:
    """The name that pose-format uses: the inverse of `_mediapipe_joint`."""
    if joint.startswith("face_mesh_"):
        return joint.removeprefix("face_mesh_")
    hand = re.fullmatch(
        r"(?:left|right)_(hand_wrist|(?:thumb|index|middle|ring|pinky)_(?:cmc|mcp|pip|dip|ip|tip))", joint
    )
    if hand:
        point = hand[1].replace("hand_wrist", "wrist")
        return re.sub(r"^(index|middle|ring)_", r"\1_finger_", point).upper()
    return joint.removeprefix("world_").upper()
