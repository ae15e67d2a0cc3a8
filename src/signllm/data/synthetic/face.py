"""A simple face: where the 68 + 2 points of iBUG/OpenPose and the 468 + 10 points of MediaPipe's mesh lie on a head.

Positions are our own construction (ellipses and arcs on an ellipsoid), right in their arrangement and plausible in
their size; they are nobody's measured face. Axes as in `hand.py`, metres for a head of standard size, with the origin
between the ears. The face is symmetric, so a mirrored signer has the same face.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from signllm.models.skeleton_layouts import MESH_MIDLINE, MESH_MIRROR

NUM_MESH = len(MESH_MIRROR)
# MediaPipe's published contours, each from the signer's right (viewer's left) to the signer's left, or top to bottom.
_OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
_OVAL += [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
_OUTER_LIP_TOP = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
_OUTER_LIP_BOTTOM = [146, 91, 181, 84, 17, 314, 405, 321, 375]
_INNER_LIP_TOP = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
_INNER_LIP_BOTTOM = [95, 88, 178, 87, 14, 317, 402, 318, 324]
_RIGHT_EYE_TOP, _RIGHT_EYE_BOTTOM = [33, 246, 161, 160, 159, 158, 157, 173, 133], [7, 163, 144, 145, 153, 154, 155]
_LEFT_EYE_TOP, _LEFT_EYE_BOTTOM = [362, 398, 384, 385, 386, 387, 388, 466, 263], [382, 381, 380, 374, 373, 390, 249]
_RIGHT_BROW_TOP, _RIGHT_BROW_BOTTOM = [70, 63, 105, 66, 107], [46, 53, 52, 65, 55]
_LEFT_BROW_TOP, _LEFT_BROW_BOTTOM = [336, 296, 334, 293, 300], [285, 295, 282, 283, 276]
_NOSE_RIDGE, _NOSE_BASE = [168, 6, 197, 195, 5, 4, 1, 19, 94, 2], [98, 97, 2, 326, 327]
_REST_OF_MIDLINE = [151, 9, 8, 164, 11, 12, 15, 16, 18, 200, 199, 175]
_REST_OF_MIDLINE_Y = [0.060, 0.045, 0.037, -0.045, -0.055, -0.058, -0.068, -0.071, -0.079, -0.084, -0.090, -0.097]

_EYE_X, _EYE_Y, _BROW_Y, _MOUTH_Y = 0.032, 0.022, 0.042, -0.062
NOSE_TIP = np.array([0.0, -0.022, 0.108])


def _arc(width: float, height: float, points: int, x: float = 0.0, y: float = 0.0, ends: bool = True) -> np.ndarray:
    """`[points, 2]` along half an ellipse from left to right, bulging up by `height` (down if negative)."""
    angle = np.linspace(np.pi, 0, points if ends else points + 2)
    arc = np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], axis=-1)
    return arc if ends else arc[1:-1]


def _on_head(flat: np.ndarray) -> np.ndarray:
    """`[..., 2]` -> `[..., 3]`: lay frontal points on the front of an ellipsoid head."""
    depth = 1 - (flat[..., 0] / 0.083) ** 2 - (np.asarray(flat[..., 1]) / 0.14) ** 2
    return np.concatenate([flat, 0.09 * np.sqrt(np.clip(depth, 0.02, 1))[..., None]], axis=-1)


def _eyes() -> dict[str, np.ndarray]:
    return {side: np.array([x, _EYE_Y]) for side, x in (("right", -_EYE_X), ("left", _EYE_X))}


@lru_cache(maxsize=1)
def _ibug_face() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`[70, 3]` positions, `[70]` share of the jaw's and `[70]` of the brows' movement."""
    jaw = _arc(0.07, -0.125, 17, y=0.02)
    brows = [_arc(0.02, 0.008, 5, x, _BROW_Y) for x in (-_EYE_X, _EYE_X)]
    ridge = np.stack([np.zeros(4), np.linspace(0.025, -0.022, 4)], axis=-1)
    nostrils = _arc(0.014, -0.004, 5, y=-0.034)
    eyes = [np.concatenate([_arc(0.014, 0.006, 4, x, _EYE_Y), _arc(0.014, -0.005, 2, x, _EYE_Y, ends=False)[::-1]])
            for x in (-_EYE_X, _EYE_X)]  # fmt: skip
    outer = [_arc(0.026, 0.010, 7, y=_MOUTH_Y), _arc(0.026, -0.012, 5, y=_MOUTH_Y, ends=False)[::-1]]
    inner = [_arc(0.021, 0.003, 5, y=_MOUTH_Y), _arc(0.021, -0.003, 3, y=_MOUTH_Y, ends=False)[::-1]]
    pupils = np.array([[-_EYE_X, _EYE_Y], [_EYE_X, _EYE_Y]])
    face = _on_head(np.concatenate([jaw, *brows, ridge, nostrils, *eyes, *outer, *inner, pupils]))
    face[27:31, 2] = np.linspace(0.088, NOSE_TIP[2], 4)
    face[31:36, 2] = 0.094
    jaw_share, brow_share = np.zeros(70), np.zeros(70)
    jaw_share[:17] = np.clip(-face[:17, 1] / 0.105, 0, 1)
    jaw_share[[55, 56, 57, 58, 59, 65, 66, 67]] = 0.9
    brow_share[17:27] = 1
    return face, jaw_share, brow_share


@lru_cache(maxsize=1)
def _mesh_face() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for MediaPipe's mesh `[478, 3]`; points outside the contours are spread evenly over the face."""
    flat = np.full((NUM_MESH, 2), np.nan)
    turn = np.linspace(np.pi / 2, np.pi / 2 - 2 * np.pi, len(_OVAL), endpoint=False)
    flat[_OVAL] = np.stack([0.072 * np.cos(turn), np.where(np.sin(turn) > 0, 0.09, 0.105) * np.sin(turn)], axis=-1)
    flat[_OUTER_LIP_TOP] = _arc(0.026, 0.010, 11, y=_MOUTH_Y)
    flat[_OUTER_LIP_BOTTOM] = _arc(0.026, -0.012, 9, y=_MOUTH_Y, ends=False)
    flat[_INNER_LIP_TOP] = _arc(0.021, 0.003, 11, y=_MOUTH_Y)
    flat[_INNER_LIP_BOTTOM] = _arc(0.021, -0.003, 9, y=_MOUTH_Y, ends=False)
    sides = [(-_EYE_X, _RIGHT_EYE_TOP, _RIGHT_EYE_BOTTOM, _RIGHT_BROW_TOP, _RIGHT_BROW_BOTTOM, 468)]
    sides += [(_EYE_X, _LEFT_EYE_TOP, _LEFT_EYE_BOTTOM, _LEFT_BROW_TOP, _LEFT_BROW_BOTTOM, 473)]
    for x, eye_top, eye_bottom, brow_top, brow_bottom, iris in sides:
        flat[eye_top], flat[eye_bottom] = _arc(0.014, 0.006, 9, x, _EYE_Y), _arc(0.014, -0.005, 7, x, _EYE_Y, False)
        flat[brow_top], flat[brow_bottom] = _arc(0.02, 0.010, 5, x, _BROW_Y), _arc(0.02, 0.005, 5, x, _BROW_Y)
        ring = np.array([[0, 0], [0.005, 0], [0, 0.005], [-0.005, 0], [0, -0.005]])
        flat[iris : iris + 5] = ring + np.array([x, _EYE_Y])
    flat[_NOSE_BASE] = _arc(0.014, -0.004, 5, y=-0.034)
    flat[_NOSE_RIDGE] = np.stack([np.zeros(10), np.linspace(0.03, -0.038, 10)], axis=-1)
    flat[_REST_OF_MIDLINE] = np.stack([np.zeros(12), _REST_OF_MIDLINE_Y], axis=-1)
    rest = [i for i in range(248) if np.isnan(flat[i, 0]) and i not in MESH_MIDLINE]
    flat[rest] = _spread(len(rest))
    flat[[MESH_MIRROR[i] for i in rest]] = flat[rest] * [-1, 1]
    face = _on_head(flat)
    face[_NOSE_RIDGE, 2] = np.interp(np.arange(10), [0, 6, 9], [0.088, NOSE_TIP[2], 0.09])
    jaw_share, brow_share = np.zeros(NUM_MESH), np.zeros(NUM_MESH)
    below = np.clip((_MOUTH_Y - flat[:, 1]) / 0.03, 0, 1)
    jaw_share[:468] = below[:468]
    jaw_share[_OUTER_LIP_BOTTOM + _INNER_LIP_BOTTOM] = 0.9
    brow_share[_RIGHT_BROW_TOP + _RIGHT_BROW_BOTTOM + _LEFT_BROW_TOP + _LEFT_BROW_BOTTOM] = 1
    return face, jaw_share, brow_share


def _spread(points: int) -> np.ndarray:
    """`[points, 2]` evenly over the signer's right half of the oval: radius by rank, angle by the golden ratio."""
    rank = np.arange(points)
    radius, angle = 0.96 * np.sqrt((rank + 0.5) / points), np.pi * (0.5 + (rank * 0.618034 % 1))
    return np.stack([0.072 * radius * np.cos(angle), 0.097 * radius * np.sin(angle) - 0.008], axis=-1)


def face_points(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints called `face_<i>` or `face_mesh_<i>`: resting positions `[N, 3]`, and how much each follows the jaw `[N]`
    and the brows `[N]`."""
    tables = {"face": _ibug_face(), "face_mesh": _mesh_face()}
    rows = [(tables[family], int(index)) for family, index in (name.rsplit("_", 1) for name in names)]
    if not rows:
        return np.zeros((0, 3)), np.zeros(0), np.zeros(0)
    return tuple(np.stack([table[part][index] for table, index in rows]) for part in range(3))  # type: ignore[return-value]
