"""A kinematic hand: joint angles to 21 points, and the shapes of the 59 fingerspelled characters.

Axes: x to the viewer's right, y up, z towards the viewer. The hand is a right hand, palm to the viewer and fingers up
when its yaw, pitch and roll are zero. One unit is the palm, from the wrist to the middle knuckle. Points are in the
order of MediaPipe: the wrist, then four each of thumb, index, middle, ring and pinky from the palm outwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

FINGERS, THUMB, TURN = slice(0, 16), slice(16, 21), slice(21, 24)  # parts of the 24 angles of a hand
NUM_ANGLES = 24
VARIANTS = ("canonical", "described", "fit")

# What joints can do, in degrees: noise and mixing must not bend a finger backwards or spread it by a right angle.
_FINGER_LIMITS = [(-20.0, 95.0), (-5.0, 115.0), (-10.0, 75.0), (-25.0, 25.0)]
_THUMB_LIMITS = [(-5.0, 75.0), (-10.0, 70.0), (-40.0, 60.0), (-15.0, 75.0), (-20.0, 80.0)]
_LIMITS = np.array([*_FINGER_LIMITS * 4, *_THUMB_LIMITS, *[(-270.0, 270.0)] * 3], dtype=np.float32)


@dataclass(frozen=True)
class Handshape:
    """One character.

    Args:
        variants: `[3, 24]` degrees: canonical, described, fit; equal where only one is known.
        motion: `[W, 5]` way-points: dx right and dy down in palms, added yaw, pitch and roll; W = 0 if still.
    """

    variants: np.ndarray
    motion: np.ndarray


@dataclass(frozen=True)
class HandGeometry:
    """Sizes of one hand in palms: knuckles [4, 3], phalanges [4, 3], thumb_base [3], thumb_bones [3]."""

    knuckles: np.ndarray
    phalanges: np.ndarray
    thumb_base: np.ndarray
    thumb_bones: np.ndarray

    def varied(self, rng: np.random.Generator, spread: float = 0.04) -> HandGeometry:
        """Another person's hand: broader or narrower, longer or shorter fingers, each bone a little different."""
        breadth, length = 1 + spread * rng.normal(size=2)
        stretch = np.array([breadth, 1, 1])
        return HandGeometry(
            self.knuckles * stretch,
            self.phalanges * length * (1 + 0.5 * spread * rng.normal(size=(4, 3))),
            self.thumb_base * stretch,
            self.thumb_bones * length * (1 + 0.5 * spread * rng.normal(size=3)),
        )


@lru_cache(maxsize=1)
def _facts() -> dict:
    return json.loads(resources.files(__package__).joinpath("handshapes.json").read_text("utf-8"))


@lru_cache(maxsize=1)
def standard_geometry() -> HandGeometry:
    """The measured hand that the angles of `handshapes.json` belong to."""
    return HandGeometry(**{name: np.array(values) for name, values in _facts()["geometry"].items()})


@lru_cache(maxsize=1)
def load_handshapes() -> dict[str, Handshape]:
    """The 59 characters of the fingerspelling set in their customary order (space first, letters in lower case)."""
    shapes = {}
    for character, entry in _facts()["shapes"].items():
        variants = np.array([entry.get(name, entry["canonical"]) for name in VARIANTS], dtype=np.float32)
        motion = np.array(entry.get("motion", []), dtype=np.float32).reshape(-1, 5)
        shapes[character] = Handshape(variants, motion)
    return shapes


def limit_angles(angles: np.ndarray) -> np.ndarray:
    """`[..., 24]` degrees, each clipped to what its joint can do."""
    return np.clip(angles, _LIMITS[:, 0], _LIMITS[:, 1])


def hand_points(angles: np.ndarray, geometry: HandGeometry | None = None) -> np.ndarray:
    """The 21 points of a right hand, turned by its yaw, pitch and roll, with the wrist at the origin.

    Args:
        angles: `[..., 24]` degrees, see `about` in `handshapes.json`.
        geometry: bone sizes; `None` is the measured standard hand.

    Returns:
        `[..., 21, 3]` in palms; every bone keeps its length whatever the angles are.
    """
    geometry = geometry or standard_geometry()
    angles = np.deg2rad(angles)
    points = np.zeros((*angles.shape[:-1], 21, 3), dtype=angles.dtype)
    points[..., 1:5, :] = _thumb_points(angles[..., THUMB], geometry)
    points[..., 5:, :] = _finger_points(angles[..., FINGERS], geometry)
    return points @ turn_matrix(angles[..., TURN]).swapaxes(-1, -2)


def _finger_points(angles: np.ndarray, geometry: HandGeometry) -> np.ndarray:
    """`[..., 16]` radians -> `[..., 16, 3]`. A finger bends in the plane of its direction and the palm's normal."""
    angles = angles.reshape(*angles.shape[:-1], 4, 4)
    bend, spread = np.cumsum(angles[..., :3], axis=-1), angles[..., 3:]
    reach = np.cos(bend)
    bones = np.stack([reach * np.sin(spread), reach * np.cos(spread), np.sin(bend)], axis=-1)
    bones *= geometry.phalanges[..., None].astype(bones.dtype)
    knuckles = np.broadcast_to(geometry.knuckles.astype(bones.dtype)[:, None], (*bones.shape[:-2], 1, 3))
    points = np.cumsum(np.concatenate([knuckles, bones], axis=-2), axis=-2)
    return points.reshape(*points.shape[:-3], 16, 3)


def _thumb_points(angles: np.ndarray, geometry: HandGeometry) -> np.ndarray:
    """`[..., 5]` radians -> `[..., 4, 3]`. The thumb bends in a plane that `twist` turns about its metacarpal."""
    swing, lift, twist, middle, outer = np.moveaxis(angles, -1, 0)
    (sw, cw), (sl, cl), (st, ct) = ((np.sin(a), np.cos(a)) for a in (swing, lift, twist))
    along = np.stack([cl * sw, cl * cw, sl], axis=-1)
    inward = np.stack([-ct * cw - st * sl * sw, ct * sw - st * sl * cw, st * cl], axis=-1)
    bend = np.stack([np.zeros_like(middle), middle, middle + outer], axis=-1)[..., None]
    bones = np.cos(bend) * along[..., None, :] + np.sin(bend) * inward[..., None, :]
    bones *= geometry.thumb_bones[:, None].astype(bones.dtype)
    base = np.broadcast_to(geometry.thumb_base.astype(bones.dtype), (*bones.shape[:-2], 1, 3))
    return np.cumsum(np.concatenate([base, bones], axis=-2), axis=-2)


def turn_matrix(turn: np.ndarray) -> np.ndarray:
    """`[..., 3]` radians (yaw, pitch, roll) -> rotation matrices `[..., 3, 3]`: Rz(roll) Rx(pitch) Ry(yaw).

    Positive yaw turns the palm to the viewer's right, pitch tips the fingers towards the viewer, roll is
    counter-clockwise.
    """
    (sy, sp, sr), (cy, cp, cr) = (np.moveaxis(part, -1, 0) for part in (np.sin(turn), np.cos(turn)))
    rows = (
        (cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy),
        (sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy),
        (-cp * sy, sp, cp * cy),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
