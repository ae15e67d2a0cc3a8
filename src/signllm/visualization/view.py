"""What every picture shares: the colours of the body parts and the window through which a signer is seen.

Legend: T frames, J joints, C coordinates, E edges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import Skeleton, get_skeleton

PARTS = ("body", "face", "left_hand", "right_hand")

# Hues of Okabe & Ito's palette, which stay apart for all common kinds of colour blindness; the two hands also differ
# in lightness. The light set keeps a contrast of at least 3:1 on white, the dark set on near-black.
PART_COLORS = {
    "light": {"body": "#5f6b7a", "face": "#8a6d9b", "left_hand": "#0072b2", "right_hand": "#d55e00"},
    "dark": {"body": "#9aa7b8", "face": "#bfa3d0", "left_hand": "#56b4e9", "right_hand": "#ff9d4d"},
}

# Legs hang far below the picture of a seated or cropped signer and say nothing: they never widen the window.
_LEGS = re.compile(r"knee|ankle|heel|foot|toe")
_MARGIN = 0.06  # of the window's size, left free on every side
_EXPLODED = 5.0  # times the first clip's size: no camera's picture of the same signing differs that much
_LARGEST_SHARE = 1.5  # a window shared by several clips is at most this many times that of the first


@dataclass(frozen=True)
class View:
    """The window through which a clip is seen, in the clip's own units.

    Args:
        center: x, y, z of the middle (z is 0 for 2-D poses).
        width: of the window.
        height: of the window.
        shared: True if the window is the first clip's, so that sizes and positions can be compared with it.
    """

    center: tuple[float, float, float]
    width: float
    height: float
    shared: bool = True


def skeleton_of(pose: Pose) -> Skeleton:
    """The skeleton of a pose, checked against its number of joints.

    Raises:
        PoseError: unknown skeleton, or a number of joints that is not the skeleton's.
    """
    skeleton = get_skeleton(pose.skeleton)
    if pose.values.shape[1] != len(skeleton):
        where = f"{pose.source}: " if pose.source else ""
        raise PoseError(
            f"{where}skeleton {pose.skeleton!r} has {len(skeleton)} joints, got poses of {pose.values.shape[1]} joints"
        )
    return skeleton


def joint_parts(skeleton: Skeleton) -> np.ndarray:
    """`[J]` index into `PARTS` of every joint; -1: a joint that is not drawn.

    Not drawn are body joints without a bone: MediaPipe's body estimates three fingers of its own beside the hands, and
    world landmarks repeat the body in metres.
    """
    parts = np.full(len(skeleton), -1, dtype=np.int64)
    for index, part in enumerate(PARTS):
        parts[list(skeleton.parts[part])] = index
    boned = np.isin(np.arange(len(skeleton)), np.asarray(skeleton.edges))
    parts[(parts == 0) & ~boned] = -1
    return parts


def drawn_edges(skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """`[E,2]` joints and `[E]` part of the bones to draw; a bone between two parts (a wrist) is of the body."""
    parts = joint_parts(skeleton)
    edges = np.asarray(skeleton.edges, dtype=np.int64).reshape(-1, 2)
    ends = parts[edges]
    kept = (ends >= 0).all(axis=1)
    return edges[kept], np.where(ends[kept, 0] == ends[kept, 1], ends[kept, 0], 0)


def robust_box(pose: Pose) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest and highest coordinates `[C]` of the signer, single wild frames and legs left out; None: nothing seen."""
    skeleton = skeleton_of(pose)
    legs = np.array([bool(_LEGS.search(name)) for name in skeleton.joints])
    values = pose.values[:, (joint_parts(skeleton) >= 0) & ~legs]
    seen = (~np.isnan(values[..., 0])).sum(axis=0)
    if not seen.any():
        return None
    ordered = np.sort(values, axis=0)[:, seen > 0]  # NaN goes last, so the first `seen` rows are the real ones
    seen = seen[seen > 0]
    columns = np.arange(len(seen))
    low = ordered[np.rint(0.02 * (seen - 1)).astype(int), columns]
    high = ordered[np.rint(0.98 * (seen - 1)).astype(int), columns]
    return low.min(axis=0), high.max(axis=0)


def scene_views(poses: Sequence[Pose]) -> list[View]:
    """The window of each clip of a scene.

    Clips in the units of the first one that lie where it lies share one window, so that a collapsed, shifted or
    exploding reconstruction is seen as such. It holds all of them, but is at most 1.5 times the first clip's own.
    Every other clip gets its own window (`View.shared` False).

    Raises:
        PoseError: unknown skeleton or wrong number of joints.
    """
    boxes = [robust_box(pose) for pose in poses]
    first = boxes[0]
    together = [
        index == 0 or (first is not None and pose.units == poses[0].units and (box is None or _belongs_to(first, box)))
        for index, (pose, box) in enumerate(zip(poses, boxes, strict=True))
    ]
    common = _join([box for box, joined in zip(boxes, together, strict=True) if joined])
    return [
        _window(common, shared=True) if joined else _window(box, shared=False)
        for box, joined in zip(boxes, together, strict=True)
    ]


def _belongs_to(first: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the other box belongs to the first: its middle lies there (that of another video seldom does), or it is
    so much larger that only a broken reconstruction explains it."""
    middle = (other[0] + other[1])[:2] / 2
    inside = ((first[0][:2] <= middle) & (middle <= first[1][:2])).all()
    exploded = ((other[1] - other[0])[:2] > _EXPLODED * (first[1] - first[0])[:2]).all()
    return bool(inside or exploded)


def _join(boxes: list[tuple[np.ndarray, np.ndarray] | None]) -> tuple[np.ndarray, np.ndarray] | None:
    """The box around all, at most `_LARGEST_SHARE` times the first in each direction."""
    if boxes[0] is None:
        return None
    low, high = (np.array(corner[:2]) for corner in boxes[0])
    extra = (_LARGEST_SHARE - 1) / 2 * (high - low)
    seen = [box for box in boxes if box is not None]
    lowest = np.maximum(np.min([box[0][:2] for box in seen], axis=0), low - extra)
    highest = np.minimum(np.max([box[1][:2] for box in seen], axis=0), high + extra)
    return np.append(lowest, boxes[0][0][2:]), np.append(highest, boxes[0][1][2:])


def _window(box: tuple[np.ndarray, np.ndarray] | None, *, shared: bool) -> View:
    if box is None:
        return View((0.5, 0.5, 0.0), 1.0, 1.0, shared)
    center = (box[0] + box[1]) / 2
    size = (box[1] - box[0])[:2] * (1 + 2 * _MARGIN)
    size = np.maximum(size, max(size.max() * 0.1, 1e-6))  # a single point still needs a window
    depth = float(center[2]) if len(center) == 3 else 0.0
    return View((float(center[0]), float(center[1]), depth), float(size[0]), float(size[1]), shared)
