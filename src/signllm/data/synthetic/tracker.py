"""What a camera and a keypoint tracker make of a body: projection, jitter, lost hands, confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from signllm.data.synthetic.motion import bursts, correlated_noise


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at the neck: turned by yaw, pitch and roll (radians), `distance` metres away.

    `focal` is in pixels, `center` is where the neck at rest appears in an image of `width` x `height` pixels.
    """

    width: int = 640
    height: int = 480
    distance: float = 1.8
    focal: float = 800.0
    center: tuple[float, float] = (320.0, 200.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def view(self, points: np.ndarray, turn_matrix: np.ndarray) -> np.ndarray:
        """World `[..., 3]` -> camera axes: x right, y down, z away from the camera, origin at the neck at rest."""
        flipped = (turn_matrix * np.array([[1], [-1], [-1]])).astype(np.float32)
        return points @ flipped.T

    def project(self, view: np.ndarray) -> np.ndarray:
        """Camera axes `[..., 3]` -> pixels `[..., 2]`."""
        return view[..., :2] * (self.focal / (self.distance + view[..., 2:])) + np.array(self.center, dtype=np.float32)

    @property
    def pixels_per_metre(self) -> float:
        return self.focal / self.distance


@dataclass(frozen=True)
class TrackerHabits:
    """How one signer's recordings are tracked.

    Args:
        jitter: standard deviation of a hand point, in shoulder widths; the body's is half of it.
        memory: correlation of the jitter from frame to frame.
        loss_rate: how often a clearly visible hand gets lost, per second.
        fast_loss: further losses per second for every shoulder width a second of hand speed beyond 2.
        loss_seconds: mean length of a loss.
        resting_seen: share of clips in which the resting hand is tracked at all.
        confidence: mean confidence of a good hand point.
    """

    jitter: float = 0.006
    memory: float = 0.6
    loss_rate: float = 0.15
    fast_loss: float = 0.3
    loss_seconds: float = 0.2
    resting_seen: float = 0.3
    confidence: float = 0.8


def lose_hand(
    rng: np.random.Generator, habits: TrackerHabits, speed: np.ndarray, height: np.ndarray, fps: float
) -> np.ndarray:
    """`[T]` bool, True where the tracker has lost the hand.

    Args:
        rng: source of randomness.
        habits: the tracker's.
        speed: `[T]` of the wrist, shoulder widths per second.
        height: `[T]` of the wrist in the image, 0 at the top edge, 1 at the bottom edge.
        fps: frames per second.
    """
    rate = habits.loss_rate + habits.fast_loss * np.clip(speed - 2, 0, 6) + 12 * np.clip(height - 0.85, 0, 0.3)
    return bursts(rng, rate / fps, habits.loss_seconds * fps) | (height > 1.05)


def jitter(
    rng: np.random.Generator, habits: TrackerHabits, shape: tuple[int, ...], hands: dict[str, np.ndarray]
) -> np.ndarray:
    """`[T, J, C]` noise in shoulder widths: each point its own, and a hand also moves as a whole."""
    frames, _, coordinates = shape
    noise = correlated_noise(rng, shape, habits.memory)
    noise *= np.float32(0.5 * habits.jitter)
    for joints in hands.values():
        whole = correlated_noise(rng, (frames, 1, coordinates), 0.8) * np.float32(0.7 * habits.jitter)
        noise[:, joints] = 1.6 * noise[:, joints] + whole
    if coordinates == 3:
        noise[..., 2] *= 2  # depth is a guess
    return noise


def confidence(
    rng: np.random.Generator,
    habits: TrackerHabits,
    shape: tuple[int, int],
    hands: dict[str, tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """`[T, J]` in [0.05, 1]: high for the body, lower for hands, lowest for hands that move fast.

    `hands` maps a side to (its joints, speed of its wrist `[T]` in shoulder widths per second).
    """
    frames = shape[0]
    level = np.full(shape, 0.93, dtype=np.float32)
    for joints, speed in hands.values():
        level[:, joints] = (habits.confidence - 0.05 * np.clip(speed, 0, 8))[:, None]
    level += 0.04 * correlated_noise(rng, (frames, 1), 0.9) + 0.03 * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(level, 0.05, 1)
