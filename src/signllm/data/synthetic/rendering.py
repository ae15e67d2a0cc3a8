"""From movements to a `Pose`: build the body once in 3-D, then show it as any skeleton, in 3-D or by the camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from signllm.data.synthetic import tracker
from signllm.data.synthetic.body import BODY_JOINTS, BODY_MIRROR, attach_hand, place, raise_arms, trunk_and_head
from signllm.data.synthetic.face import face_points
from signllm.data.synthetic.hand import NUM_ANGLES, hand_points, limit_angles, turn_matrix
from signllm.data.synthetic.motion import sway
from signllm.data.synthetic.signer import ProceduralSigner
from signllm.models.poses import Pose
from signllm.models.skeleton_layouts import LEFT_HAND, RIGHT_HAND
from signllm.models.skeletons import get_skeleton

WRIST_PATH = slice(NUM_ANGLES, NUM_ANGLES + 3)  # the channels of a posture after the 24 angles of the hand
POSTURE = NUM_ANGLES + 3
_MIRROR = np.array([-1, 1, 1], dtype=np.float32)
_SIDES = ("left", "right")


@dataclass(frozen=True)
class _Columns:
    """Where the joints of a layout come from: for every source (columns in the layout, rows of the source)."""

    count: int
    body: tuple[np.ndarray, np.ndarray]
    world: tuple[np.ndarray, np.ndarray]  # the body again, in metres from the hips
    face: np.ndarray  # columns; rows are in the same order
    face_mirror: np.ndarray  # row i of the mirrored face is row face_mirror[i]
    left: np.ndarray
    right: np.ndarray
    face_rest: np.ndarray
    jaw: np.ndarray
    brows: np.ndarray

    @property
    def hands(self) -> dict[str, np.ndarray]:
        return {side: columns for side, columns in (("left", self.left), ("right", self.right)) if len(columns)}


@lru_cache(maxsize=32)
def _columns(skeleton: str) -> _Columns:
    layout = get_skeleton(skeleton)
    joints = layout.joints
    column = {joint: i for i, joint in enumerate(joints)}

    def of_body(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(column[prefix + joint], row) for row, joint in enumerate(BODY_JOINTS) if prefix + joint in column]
        return tuple(np.array(pairs, dtype=int).reshape(-1, 2).T)  # type: ignore[return-value]

    face = tuple(joint for joint in joints if joint.startswith("face_"))
    face_columns = np.array([column[joint] for joint in face], dtype=int)
    rest, jaw, brows = (part.astype(np.float32) for part in face_points(face))
    return _Columns(
        count=len(joints),
        body=of_body(""),
        world=of_body("world_"),
        face=face_columns,
        face_mirror=np.searchsorted(face_columns, np.array(layout.mirror)[face_columns]),
        left=np.array([column[joint] for joint in LEFT_HAND if joint in column], dtype=int),
        right=np.array([column[joint] for joint in RIGHT_HAND if joint in column], dtype=int),
        face_rest=rest,
        jaw=jaw,
        brows=brows,
    )


@dataclass
class _World:
    """A clip in 3-D, world axes, metres: body `[T, NB, 3]`, hands `[T, 21, 3]`, face `[T, F, 3]`."""

    body: np.ndarray
    hands: dict[str, np.ndarray]
    face: np.ndarray


def render(
    signer: ProceduralSigner,
    path: np.ndarray,
    times: np.ndarray,
    *,
    skeleton: str,
    fps: float,
    dims: int | None,
    noise: bool,
    seeds: tuple[int, ...],
    source: str,
) -> Pose:
    """Show a signer whose signing hand follows `path`.

    Args:
        signer: who signs.
        path: `[T, 27]`: 24 angles of the signing hand in degrees, and wrist minus shoulder in metres, all of them as
            a right-handed signer would do it.
        times: `[T]` seconds.
        skeleton: target layout. Joints that the model lacks (legs and feet) are missing.
        fps: frames per second.
        dims: 2 for pixels of the signer's camera, 3 for metres in the camera's axes with the origin at the resting
            neck (MediaPipe's `world_` joints: at the hips), `None` for what is customary in the layout.
        noise: with jitter, lost hands and confidences; without, everything is seen perfectly.
        seeds: of the body's sway and of the tracker's luck.
        source: of the pose, for messages.

    Returns:
        the pose; `hand21` always shows a right hand (a left-handed signer's in the mirror).
    """
    layout = get_skeleton(skeleton)
    columns = _columns(skeleton)
    world = _build(signer, path, times, columns, np.random.default_rng([*seeds, 1]))
    if signer.left_handed and len(columns.left):
        _mirror(world, columns)
    scene = signer.camera
    axes = turn_matrix(np.array(scene.turn))
    view = {name: scene.view(part, axes) for name, part in (("body", world.body), ("face", world.face))}
    view |= {side: scene.view(hand, axes) for side, hand in world.hands.items()}
    dims = dims or layout.dims
    values = _gather(view, columns, (lambda part: part) if dims == 3 else scene.project)
    metres = view["body"] - view["body"][:, BODY_JOINTS.index("mid_hip"), None]
    values[:, columns.world[0]] = metres[:, columns.world[1], :dims]
    confidence = np.ones(values.shape[:2], dtype=np.float32)
    if noise:
        confidence = _track(signer, view, values, columns, fps, np.random.default_rng([*seeds, 2]))
    units = "metres" if dims == 3 else "pixels"
    return Pose(values, confidence, fps=fps, skeleton=skeleton, units=units, source=source)


def _build(
    signer: ProceduralSigner, path: np.ndarray, times: np.ndarray, columns: _Columns, rng: np.random.Generator
) -> _World:
    """The clip of a right-handed signer."""
    size = signer.size
    slow = sway(rng, times, 11) * np.float32(signer.sway)
    body, trunk, head = trunk_and_head(
        size,
        lean=slow[:, :3] * np.float32(0.02),
        nod=slow[:, 3:6] * np.array([0.07, 0.05, 0.03], dtype=np.float32),
        shift=slow[:, 6:9] * np.float32(0.006),
    )
    idle = (signer.rest * size.shoulder_width * _MIRROR).astype(np.float32) + 0.005 * slow[:, 8:11]
    poles = {"right": signer.elbow.astype(np.float32), "left": (signer.elbow * _MIRROR).astype(np.float32)}
    raise_arms(body, trunk, size, {"right": path[:, WRIST_PATH], "left": idle}, poles)
    resting = signer.resting_hand.astype(np.float32)[None]
    angles = limit_angles(np.concatenate([path[:, :NUM_ANGLES], resting]))
    points = hand_points(angles, signer.hand) * np.float32(size.palm)
    hands = {
        "right": attach_hand(body, "right", points[:-1]),
        "left": attach_hand(body, "left", np.broadcast_to(points[-1] * _MIRROR, points[:-1].shape)),
    }
    mouth = sway(rng, times, 1, fastest_hz=1.5) ** 2 * np.float32(0.5 * signer.mouthing)
    brows = sway(rng, times, 1) * np.float32(0.002)
    lift = brows * columns.brows - mouth * columns.jaw
    face = np.repeat(columns.face_rest[None], len(times), axis=0)
    face[..., 1] += lift
    face = place(face * np.float32(size.head), head.turn, head.origin)
    return _World(body, hands, face)


def _mirror(world: _World, columns: _Columns) -> None:
    """Turn the right-handed clip into a left-handed one."""
    world.body = world.body[:, BODY_MIRROR] * _MIRROR
    world.hands = {"left": world.hands["right"] * _MIRROR, "right": world.hands["left"] * _MIRROR}
    world.face = world.face[:, columns.face_mirror] * _MIRROR


def _gather(view: dict[str, np.ndarray], columns: _Columns, show: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`[T, J, C]` of the layout; joints without a source are NaN."""
    body = show(view["body"])
    values = np.full((len(body), columns.count, body.shape[2]), np.nan, dtype=np.float32)
    values[:, columns.body[0]] = body[:, columns.body[1]]
    if len(columns.face):
        values[:, columns.face] = show(view["face"])
    for side, joints in columns.hands.items():
        values[:, joints] = show(view[side])
    return values


def _track(
    signer: ProceduralSigner,
    view: dict[str, np.ndarray],
    values: np.ndarray,
    columns: _Columns,
    fps: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Disturb `values` in place as a tracker would; returns the confidence `[T, J]`, 0 where a joint is lost."""
    habits, scene = signer.tracker, signer.camera
    dominant = "left" if signer.left_handed and len(columns.left) else "right"
    tracked = {}
    unit = np.full((columns.count, 1), signer.size.shoulder_width, dtype=np.float32)
    if values.shape[2] == 2:
        unit[np.setdiff1d(np.arange(columns.count), columns.world[0])] *= scene.pixels_per_metre
    values += unit * tracker.jitter(rng, habits, values.shape, columns.hands)
    for side, joints in columns.hands.items():
        wrist = view[side][:, 0]
        step = np.linalg.norm(np.diff(wrist, axis=0, prepend=wrist[:1]), axis=-1)
        speed = step * np.float32(fps / signer.size.shoulder_width)
        lost = tracker.lose_hand(rng, habits, speed, scene.project(wrist)[:, 1] / scene.height, fps)
        lost |= side != dominant and rng.random() > habits.resting_seen
        tracked[side] = (joints, speed, lost)
    moving = {side: (joints, speed) for side, (joints, speed, _) in tracked.items()}
    confidence = tracker.confidence(rng, habits, values.shape[:2], moving)
    for joints, _, lost in tracked.values():
        confidence[np.ix_(lost, joints)] = 0
    pixels = scene.project(view["body"][:, columns.body[1]])
    outside = ((pixels < 0) | (pixels > (scene.width, scene.height))).any(axis=-1)
    confidence[:, columns.body[0]] *= ~outside
    return confidence
