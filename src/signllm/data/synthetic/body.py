"""Trunk, head and arms: where the joints of a standing or sitting signer are, from turns and wrist targets.

Axes as in `hand.py` (x to the viewer's right, y up, z towards the viewer), metres, origin at the base of the neck at
rest. The signer built here is right-handed and faces the viewer: the right hand is at negative x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from signllm.data.synthetic.face import NOSE_TIP
from signllm.data.synthetic.hand import turn_matrix

_TRUNK = ("neck", "left_shoulder", "right_shoulder", "mid_hip", "left_hip", "right_hip")
_ARMS = ("left_elbow", "left_wrist", "right_elbow", "right_wrist")
_HEAD = {  # metres from the point between the ears
    "nose": tuple(NOSE_TIP),
    "left_eye": (0.032, 0.022, 0.078),
    "left_eye_inner": (0.018, 0.022, 0.084),
    "left_eye_outer": (0.046, 0.022, 0.072),
    "left_ear": (0.078, 0.0, 0.0),
    "mouth_left": (0.026, -0.062, 0.080),
}
_HEAD |= {
    name.replace("left", "right"): (-x, y, z) for name, (x, y, z) in _HEAD.items() if "left" in name
}  # the head is symmetric
_HEAD_ABOVE_NECK = np.array([0.0, 0.225, 0.02])
# MediaPipe's body model guesses three knuckles of each hand; they are points 17, 5 and 3 of the hand model.
_KNUCKLES = {"pinky": 17, "index": 5, "thumb": 3}
BODY_JOINTS: tuple[str, ...] = (
    *_TRUNK,
    *_ARMS,
    *_HEAD,
    *(f"{side}_{finger}" for side in ("left", "right") for finger in _KNUCKLES),
)
_INDEX = {joint: i for i, joint in enumerate(BODY_JOINTS)}
# Joint j of the mirrored body is joint BODY_MIRROR[j] of the body.
BODY_MIRROR = np.array(
    [_INDEX[j.replace("left", "~").replace("right", "left").replace("~", "right")] for j in BODY_JOINTS]
)


@dataclass(frozen=True)
class Proportions:
    """Lengths of one person in metres; `head` is a factor on the standard head."""

    shoulder_width: float = 0.36
    torso: float = 0.51
    hip_width: float = 0.26
    upper_arm: float = 0.26
    forearm: float = 0.25
    palm: float = 0.085
    head: float = 1.0


def two_link_arm(
    shoulder: np.ndarray, target: np.ndarray, pole: np.ndarray, upper: float, lower: float
) -> tuple[np.ndarray, np.ndarray]:
    """Elbow and wrist of an arm that reaches for a target; targets out of reach are approached along the same line.

    Args:
        shoulder: `[T, 3]`.
        target: `[T, 3]` where the wrist should be.
        pole: `[3]` direction in which the elbow points, as far as the bones allow.
        upper: length of the upper arm.
        lower: length of the forearm.

    Returns:
        elbow `[T, 3]`, wrist `[T, 3]`; both bones have exactly their lengths.
    """
    line = target - shoulder
    wanted = np.linalg.norm(line, axis=-1, keepdims=True)
    line = line / np.maximum(wanted, 1e-6)
    reach = np.clip(wanted, 1.02 * abs(upper - lower) + 0.05 * upper, 0.985 * (upper + lower))
    along = (upper**2 - lower**2 + reach**2) / (2 * reach)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0))
    bulge = pole - (line @ pole)[:, None] * line
    bulge /= np.maximum(np.linalg.norm(bulge, axis=-1, keepdims=True), 1e-6)
    return shoulder + along * line + aside * bulge, shoulder + reach * line


def place(local: np.ndarray, turn: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Rigid points `[N, 3]` or `[T, N, 3]` under rotations `[T, 3, 3]` and origins `[T, 3]` -> `[T, N, 3]`."""
    return local @ turn.swapaxes(-1, -2) + origin[:, None]


@dataclass
class Frame:
    """Turn `[T, 3, 3]` and origin `[T, 3]` of a rigid part of the body."""

    turn: np.ndarray
    origin: np.ndarray


def trunk_and_head(
    size: Proportions, lean: np.ndarray, nod: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, Frame, Frame]:
    """Everything but the arms.

    Args:
        size: the person.
        lean: `[T, 3]` yaw, pitch, roll of the trunk about the hips, radians.
        nod: `[T, 3]` the same of the head about the neck, on top of the trunk's.
        shift: `[T, 3]` movement of the hips, metres.

    Returns:
        body `[T, len(BODY_JOINTS), 3]` with arms still unset; frames of the trunk (origin at the neck) and the head.
    """
    half, hip = size.shoulder_width / 2, size.hip_width / 2
    top = size.torso
    joints = [(0, top, 0), (half, top, 0), (-half, top, 0), (0, 0, 0), (hip, 0, 0), (-hip, 0, 0)]
    trunk = Frame(turn_matrix(lean), (shift - [0, size.torso, 0]).astype(np.float32))
    body = np.empty((len(lean), len(BODY_JOINTS), 3), dtype=np.float32)
    body[:, :6] = place(np.array(joints, dtype=np.float32), trunk.turn, trunk.origin)
    trunk = Frame(trunk.turn, body[:, 0])
    head_turn = trunk.turn @ turn_matrix(nod)
    above = (size.head * _HEAD_ABOVE_NECK)[None].astype(np.float32)
    head = Frame(head_turn, place(above, head_turn, trunk.origin)[:, 0])
    first = _INDEX["nose"]
    local = (size.head * np.array(list(_HEAD.values()))).astype(np.float32)
    body[:, first : first + len(local)] = place(local, head.turn, head.origin)
    return body, trunk, head


def raise_arms(
    body: np.ndarray, trunk: Frame, size: Proportions, reaches: dict[str, np.ndarray], poles: dict[str, np.ndarray]
) -> None:
    """Set elbows and wrists of `body`: `reaches[side]` `[T, 3]` is wrist minus shoulder in the trunk's axes."""
    for side, reach in reaches.items():
        shoulder = body[:, _INDEX[f"{side}_shoulder"]]
        target = shoulder + place(reach[:, None], trunk.turn, np.zeros_like(shoulder))[:, 0]
        elbow, wrist = two_link_arm(shoulder, target, poles[side], size.upper_arm, size.forearm)
        body[:, _INDEX[f"{side}_elbow"]], body[:, _INDEX[f"{side}_wrist"]] = elbow, wrist


def attach_hand(body: np.ndarray, side: str, hand: np.ndarray) -> np.ndarray:
    """Put a hand `[T, 21, 3]` (wrist at the origin, metres) on its wrist; also sets the knuckles of the body model."""
    hand = hand + body[:, _INDEX[f"{side}_wrist"], None]
    for finger, point in _KNUCKLES.items():
        body[:, _INDEX[f"{side}_{finger}"]] = hand[:, point]
    return hand
