"""From a `Pose` in its reader's units to what a codec sees, and back.

One order of steps, in one place: choose the skeleton, resample, fill gaps, centre, scale. The codec itself does what
needs statistics of a training set (parent-relative offsets, z-score).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from .normalization import clip_origin, clip_scale, interpolate_gaps, resample, split_missing
from .poses import Pose, PoseError
from .skeletons import Skeleton, convert_pose, get_skeleton

CENTERS = ("first_frame", "every_frame", "none")
SCALES = ("median_shoulders", "first_shoulders", "hand", "none")


@dataclass
class PreparedPose:
    """A clip as codecs take it, and what undoes the preparation.

    values: `[T, J, C]` finite float32 in units of `scale` (shoulder widths); joint_mask: `[T, J]` bool.
    origin: `[C]`, or `[T, C]` when every frame was centred; scale: length of one unit in the reader's units.
    fallback_scale: True where the clip never showed what the scale is measured on.
    """

    values: Tensor
    joint_mask: Tensor
    origin: Tensor
    scale: float
    fps: float
    units: str
    source: str = ""
    fallback_scale: bool = False

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class PosePreparation:
    """How clips are brought to the common form (section 2.1.1 of "Evaluating Sign Language Representation
    Learning with LLMs": relative to the neck of the first frame, in shoulder widths).

    Args:
        skeleton: layout that every clip is converted to.
        fps: frame rate that every clip is resampled to; None keeps each clip's own.
        center: `first_frame` subtracts the root joint of the first frame that shows it (one constant a clip),
            `every_frame` subtracts it frame by frame, `none` nothing.
        scale: `median_shoulders` (median shoulder width of the clip), `first_shoulders` (of the first frame that
            shows both), `hand` (median wrist to middle knuckle) or `none`.
        max_gap_s: longest gap in seconds that is interpolated; None fills all, as the source does; 0 none.
        default_scale: unit for clips that never show the shoulders (or hands): the training set's median, in the
            reader's units. None: such clips are refused.
        min_confidence: joints seen with less confidence count as missing.
    """

    skeleton: str
    fps: float | None = None
    center: str = "first_frame"
    scale: str = "median_shoulders"
    max_gap_s: float | None = None
    default_scale: float | None = None
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if self.center not in CENTERS:
            raise ValueError(f"center must be one of {', '.join(CENTERS)}, got {self.center!r}")
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {self.scale!r}")

    def __call__(self, pose: Pose, *, dims: int | None = None) -> PreparedPose:
        """Prepare one clip.

        Args:
            pose: in any skeleton that can be converted; dims: coordinates to keep, by default the skeleton's own.

        Raises:
            PoseError: no joint in the whole clip, or nothing to measure the scale on.
        """
        where = f"{pose.source}: " if pose.source else ""
        skeleton = get_skeleton(self.skeleton)
        pose = convert_pose(pose, self.skeleton, dims=dims)
        values, mask = split_missing(torch.from_numpy(pose.values), torch.from_numpy(pose.confidence))
        mask = mask & torch.from_numpy(pose.confidence >= self.min_confidence)
        if not mask.any():
            raise PoseError(
                f"{where}no joint of {self.skeleton} is visible in the whole clip (all NaN, or below min_confidence="
                f"{self.min_confidence:g})"
            )
        if self.fps is not None:
            values, mask = resample(values, mask, pose.fps, self.fps)
        fps = self.fps or pose.fps
        max_gap = None if self.max_gap_s is None else round(self.max_gap_s * fps)
        scale, fallback = self._scale(values, mask, skeleton, where)
        origin = self._origin(values, mask, skeleton)
        values, mask = interpolate_gaps(values, mask, max_gap)
        values = torch.where(mask[..., None], (values - origin) / scale, 0.0)
        origin = origin[:, 0] if self.center == "every_frame" else origin[0, 0]
        return PreparedPose(values, mask, origin, scale, fps, pose.units, pose.source, fallback)

    def _origin(self, values: Tensor, mask: Tensor, skeleton: Skeleton) -> Tensor:
        if self.center == "none":
            return values.new_zeros(1, 1, values.shape[-1])
        roots = [joint for joint, parent in enumerate(skeleton.parents) if parent < 0]
        seen = [joint for joint in roots if mask[:, joint].any()]
        return clip_origin(values, mask, (seen or roots)[0], every_frame=self.center == "every_frame")

    def _scale(self, values: Tensor, mask: Tensor, skeleton: Skeleton, where: str) -> tuple[float, bool]:
        if self.scale == "none":
            return 1.0, False
        for pair in _scale_joints(skeleton, self.scale):
            scale = float(clip_scale(values, mask, pair, first=self.scale == "first_shoulders"))
            if np.isfinite(scale):
                return scale, False
        if self.default_scale is None:
            raise PoseError(
                f"{where}no frame shows what scale={self.scale!r} is measured on; give `default_scale` (the training "
                "set's median, in the reader's units) or choose another scale"
            )
        return self.default_scale, True

    def restore(
        self,
        values: Tensor,
        *,
        joint_mask: Tensor | None = None,
        origin: Tensor | None = None,
        scale: float = 1.0,
        fps: float | None = None,
        units: str = "shoulder_widths",
        source: str = "",
    ) -> Pose:
        """Back to a `Pose`: `values [T, J, C]` times `scale` plus `origin` (`[C]` or `[T, C]`).

        Without origin and scale the pose stays in shoulder widths around its root. An origin per frame shorter than
        the clip is held at its end (a codec rounds the length up to whole codes).
        """
        values = values.detach().float().cpu()
        if origin is not None:
            origin = torch.as_tensor(origin, dtype=torch.float32)
            if origin.ndim == 2:
                origin = origin[torch.arange(len(values)).clamp(max=len(origin) - 1)][:, None]
        values = values * scale + (0.0 if origin is None else origin)
        if joint_mask is None:
            joint_mask = torch.ones(values.shape[:2])
        confidence = joint_mask.float().cpu().numpy()
        rate = fps or self.fps or 25.0
        return Pose(values.numpy(), confidence, rate, self.skeleton, units=units, source=source)

    def to_dict(self) -> dict:
        return asdict(self)


def _scale_joints(skeleton: Skeleton, scale: str) -> list[tuple[int, int]]:
    """Pairs of joints to measure on, the first that a clip shows wins."""
    if scale == "hand":
        names = [(f"{side}_hand_wrist", f"{side}_middle_mcp") for side in ("right", "left")]
    else:
        names = [("left_shoulder", "right_shoulder")]
    pairs = [(skeleton.index(a), skeleton.index(b)) for a, b in names if skeleton.has(a) and skeleton.has(b)]
    if not pairs:
        raise PoseError(f"skeleton {skeleton.name} has no joints for scale={scale!r}; choose another scale")
    return pairs


def pad_batch(clips: list[PreparedPose], frames: int | None = None) -> dict[str, Tensor]:
    """Stack clips of different length: `pose_values [B, T, J, C]`, `joint_mask [B, T, J]`, `frame_mask [B, T]`.

    T is `frames`, by default the longest clip.
    """
    frames = frames or max(len(clip) for clip in clips)
    joints, dims = clips[0].values.shape[1:]
    values = torch.zeros(len(clips), frames, joints, dims)
    joint_mask = torch.zeros(len(clips), frames, joints, dtype=torch.bool)
    frame_mask = torch.zeros(len(clips), frames, dtype=torch.bool)
    for row, clip in enumerate(clips):
        values[row, : len(clip)] = clip.values
        joint_mask[row, : len(clip)] = clip.joint_mask
        frame_mask[row, : len(clip)] = True
    return {"pose_values": values, "joint_mask": joint_mask, "frame_mask": frame_mask}
