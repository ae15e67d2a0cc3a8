"""The `Pose`: one signer, one clip, and everything that its numbers need in order to be understood."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LARGEST_COORDINATE = 1e6  # pixels of any camera lie far below; 1e30 is a broken file, not a tall signer


class PoseError(ValueError):
    """A pose or pose file that cannot be used; the message says which, why, and what to do."""


@dataclass
class Pose:
    """A clip of keypoints of one signer.

    Args:
        values: `[T, J, C]` float32 coordinates, C = 2 or 3, y pointing down. NaN where a joint is missing.
        confidence: `[T, J]` float32 in [0, 1]; 0 exactly where a joint is missing. None: 1 where there are values.
        fps: frames per second, > 0.
        skeleton: name of a layout of `skeletons.py`; J must be its number of joints.
        units: what one unit of `values` is, as declared by the reader: `pixels`, `normalized` (fractions of the
            image), `metres`, `shoulder_widths` or `arbitrary`.
        source: where the clip came from, for messages.

    Raises:
        PoseError: zero frames, wrong shape, infinite or absurdly large values, fps <= 0.
    """

    values: np.ndarray
    confidence: np.ndarray
    fps: float
    skeleton: str
    units: str = "pixels"
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        where = f"{self.source}: " if self.source else ""
        self.values = np.asarray(self.values, dtype=np.float32)
        if self.values.ndim != 3 or self.values.shape[2] not in (2, 3):
            raise PoseError(f"{where}pose values must be [frames, joints, 2 or 3], got {list(self.values.shape)}")
        if len(self.values) == 0:
            raise PoseError(f"{where}the clip has zero frames")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise PoseError(f"{where}fps must be a positive number, got {self.fps}")
        self.fps = float(self.fps)
        self._check_magnitude(where)
        missing = np.isnan(self.values).any(axis=2)
        if self.confidence is None:
            self.confidence = np.ones(missing.shape, dtype=np.float32)
        self.confidence = np.array(self.confidence, dtype=np.float32)
        if self.confidence.shape != missing.shape:
            raise PoseError(
                f"{where}confidence must be {list(missing.shape)} like the joints, got {list(self.confidence.shape)}"
            )
        self._unify_missing(missing | ~(self.confidence > 0))

    def _check_magnitude(self, where: str) -> None:
        with np.errstate(invalid="ignore"):
            broken = np.abs(self.values) > LARGEST_COORDINATE  # NaN compares False: missing is not broken
        if broken.any():
            frame, joint, _ = np.argwhere(broken)[0]
            raise PoseError(
                f"{where}frame {frame}, joint {joint} is at {self.values[frame, joint].tolist()}: infinite or beyond "
                f"{LARGEST_COORDINATE:.0e}; missing joints must be NaN"
            )

    def _unify_missing(self, missing: np.ndarray) -> None:
        """Make "missing" mean the same in both arrays: NaN in `values` if and only if 0 in `confidence`."""
        if missing.any():
            self.values = np.where(missing[..., None], np.float32(np.nan), self.values)
            self.confidence = np.where(missing, np.float32(0), self.confidence)
        self.confidence = np.clip(self.confidence, 0, 1)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, frames: slice) -> Pose:
        """The clip cut to `frames`: `pose[10:40]`."""
        if not isinstance(frames, slice):
            raise TypeError(f"a Pose is cut by a slice of frames, got {type(frames).__name__}")
        return self.replace(values=self.values[frames], confidence=self.confidence[frames])

    @property
    def joint_mask(self) -> np.ndarray:
        """`[T, J]` bool, True where a joint was seen."""
        return self.confidence > 0

    @property
    def duration_s(self) -> float:
        return len(self) / self.fps

    def replace(self, **changes) -> Pose:
        """A copy with some fields changed (checked again)."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Pose(**{**fields, **changes})
