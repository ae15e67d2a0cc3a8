"""Normalisation of poses and every inverse: pure tensor functions, vectorised, masked everywhere.

Shapes: T frames, J joints, C coordinates; `...` any leading dimensions. `mask [..., T, J]` is True where a joint is
present. Values under a False mask never reach a result at another place; they are 0 or a fill value, never NaN.
Centre, scale, parent-relative and z-score as in section 2.1.1 of "Evaluating Sign Language Representation Learning
with LLMs".
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def split_missing(values: Tensor, confidence: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """NaN-marked `values [..., T, J, C]` -> finite values (0 where missing) and `mask [..., T, J]`.

    Raises:
        ValueError: infinite values, which are broken input rather than missing joints.
    """
    if torch.isinf(values).any():
        raise ValueError("pose values contain infinity; missing joints must be NaN")
    mask = ~torch.isnan(values).any(dim=-1)
    if confidence is not None:
        mask = mask & (confidence > 0)
    return torch.where(mask[..., None], values, 0.0), mask


def interpolate_gaps(values: Tensor, mask: Tensor, max_gap: int | None = None) -> tuple[Tensor, Tensor]:
    """Fill missing joints in time: linearly inside the clip, by holding the nearest seen value at its ends.

    Args:
        values: `[..., T, J, C]` finite; mask: `[..., T, J]`.
        max_gap: longest run of missing frames that is filled; longer ones stay missing. None: no limit, 0: no filling.

    Returns:
        values and mask with the filled joints marked present. A joint never seen in the clip stays missing.
    """
    frames = values.shape[-3]
    time = torch.arange(frames, device=values.device)[:, None].expand(mask.shape)
    before = torch.where(mask, time, -1).cummax(dim=-2).values
    after = torch.where(mask, time, frames).flip(-2).cummin(dim=-2).values.flip(-2)
    seen_before, seen_after = before >= 0, after < frames
    fillable = ~mask & (seen_before | seen_after)
    if max_gap is not None:
        fillable &= (after - before - 1) <= max_gap
    left = torch.where(seen_before, before, after).clamp(0, frames - 1)
    right = torch.where(seen_after, after, before).clamp(0, frames - 1)
    weight = (time - left) / (right - left).clamp(min=1)
    filled = torch.lerp(_take_frames(values, left), _take_frames(values, right), weight[..., None].to(values.dtype))
    return torch.where(fillable[..., None], filled, values), mask | fillable


def _take_frames(values: Tensor, frame: Tensor) -> Tensor:
    """`values[..., frame[..., t, j], j, :]` for `frame [..., T, J]`."""
    return values.gather(-3, frame[..., None].expand(*frame.shape, values.shape[-1]))


def clip_origin(values: Tensor, mask: Tensor, joint: int, *, every_frame: bool = False) -> Tensor:
    """The point that centring subtracts: `joint` in the first frame that shows it, or in every frame.

    Where the joint is never seen, the mean of the joints of the first frame that shows any stands in (0 if none does).

    Returns:
        `[..., 1, 1, C]`, or `[..., T, 1, C]` with `every_frame`, where frames without the joint use the nearest
        filled value.
    """
    if every_frame:
        track, seen = interpolate_gaps(values[..., joint : joint + 1, :], mask[..., joint : joint + 1])
        return torch.where(seen[..., None], track, _first_frame_mean(values, mask))
    seen = mask[..., joint]
    first = seen.int().argmax(dim=-1)[..., None, None, None]
    point = values[..., joint : joint + 1, :].gather(-3, first.expand(*first.shape[:-1], values.shape[-1]))
    return torch.where(seen.any(dim=-1)[..., None, None, None], point, _first_frame_mean(values, mask))


def _first_frame_mean(values: Tensor, mask: Tensor) -> Tensor:
    first = mask.any(dim=-1).int().argmax(dim=-1)[..., None, None]
    shown = mask.gather(-2, first.expand(*first.shape[:-1], mask.shape[-1]))[..., None]
    first = first[..., None].expand(*first.shape[:-1], *values.shape[-2:])
    total = (values.gather(-3, first) * shown).sum(dim=-2, keepdim=True)
    return total / shown.sum(dim=-2, keepdim=True).clamp(min=1)


def clip_scale(
    values: Tensor, mask: Tensor, joints: tuple[int, int], *, first: bool = False, minimum: float = 1e-6
) -> Tensor:
    """The distance that scaling divides by: between two joints (shoulder to shoulder, hand wrist to knuckle).

    Args:
        joints: the two joints; first: in the first frame that shows both (else the median over such frames).
        minimum: distances are clamped to it from below.

    Returns:
        `[..., 1, 1, 1]`; NaN where no frame shows both joints, for the caller to decide.
    """
    a, b = joints
    both = mask[..., a] & mask[..., b]
    distance = (values[..., a, :] - values[..., b, :]).norm(dim=-1)
    if first:
        index = both.int().argmax(dim=-1, keepdim=True)
        scale = torch.where(both.any(dim=-1), distance.gather(-1, index)[..., 0], torch.nan)
    else:
        scale = torch.where(both, distance, torch.nan).nanmedian(dim=-1).values
    return scale.clamp(min=minimum)[..., None, None, None]


def to_parent_offsets(values: Tensor, mask: Tensor, parents: Tensor) -> tuple[Tensor, Tensor]:
    """Positions -> offsets from the parent joint (roots keep their position).

    A missing joint takes the place of its nearest visible ancestor (the origin, if none), so its own offset is 0 and
    `from_parent_offsets` still returns every visible joint exactly.

    Args:
        values: `[..., T, J, C]`; mask: `[..., T, J]`; parents: `[J]` long, -1 for roots.

    Returns:
        offsets `[..., T, J, C]` and their mask: True where the joint and its parent are both present.
    """
    joints = values.shape[-2]
    # One more joint, number J, is the always visible origin: the parent of the roots.
    chain = torch.cat([torch.where(parents < 0, joints, parents), parents.new_tensor([joints])])
    shown = torch.cat([mask, mask.new_ones(*mask.shape[:-1], 1)], dim=-1)
    points = torch.cat([values, values.new_zeros(*values.shape[:-2], 1, values.shape[-1])], dim=-2)
    nearest = torch.arange(joints + 1, device=values.device).expand(shown.shape)
    for _ in range(_depth(parents)):
        nearest = torch.where(shown.gather(-1, nearest), nearest, chain[nearest])
    points = points.gather(-2, nearest[..., None].expand(*nearest.shape, values.shape[-1]))
    offsets = points[..., :joints, :] - points[..., chain[:joints], :]
    return offsets, mask & shown[..., chain[:joints]]


def _depth(parents: Tensor) -> int:
    """Steps from the deepest joint up to the origin."""
    depth, at = 0, torch.arange(len(parents), device=parents.device)
    while len(at):
        at = parents[at]
        at = at[at >= 0]
        depth += 1
    return depth


def from_parent_offsets(offsets: Tensor, parents: Tensor) -> Tensor:
    """Inverse of `to_parent_offsets`: the sum of the offsets along the way from the root, `[..., T, J, C]`."""
    return torch.einsum("jk,...kc->...jc", ancestry(parents).to(offsets), offsets)


def ancestry(parents: Tensor) -> Tensor:
    """`[J, J]` 0/1: row j marks j itself and its ancestors."""
    step = torch.zeros(len(parents), len(parents), device=parents.device)
    children = torch.nonzero(parents >= 0)[:, 0]
    step[children, parents[children]] = 1
    total = power = torch.eye(len(parents), device=parents.device)
    for _ in range(_depth(parents)):
        power = power @ step
        total = total + power
    return total


def masked_statistics(clips: Iterable[tuple[Tensor, Tensor]], minimum_std: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the present joints of many clips: `[J, C]` each.

    Args:
        clips: pairs `values [..., J, C]`, `mask [..., J]`; read once, so a generator over a corpus will do.
        minimum_std: deviations are clamped to it from below. A joint that is never present gets mean 0, deviation 1.
    """
    count = total = squares = torch.zeros((), dtype=torch.float64)
    for values, mask in clips:
        flat = values.reshape(-1, *values.shape[-2:]).double()
        present = mask.reshape(-1, mask.shape[-1])[..., None]
        flat = torch.where(present, flat, 0)
        count = count + present.sum(dim=0)
        total = total + flat.sum(dim=0)
        squares = squares + flat.square().sum(dim=0)
    mean = total / count.clamp(min=1)
    variance = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
    std = torch.where(count > 0, variance.sqrt().clamp(min=minimum_std), 1.0)
    return mean.float(), std.float()


def standardize(values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return (values - mean) / std


def unstandardize(values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return values * std + mean


def resample(values: Tensor, mask: Tensor, fps: float, target_fps: float) -> tuple[Tensor, Tensor]:
    """Change the frame rate by linear interpolation in time; the first frame stays, the duration is kept.

    A new frame between two old ones is present where both are; one that falls on an old frame follows it alone.

    Args:
        values: `[..., T, J, C]`; mask: `[..., T, J]`; fps, target_fps: frames per second.

    Returns:
        values and mask with `max(1, round(T * target_fps / fps))` frames.
    """
    frames = values.shape[-3]
    if fps == target_fps:
        return values, mask
    count = max(1, round(frames * target_fps / fps))
    time = (torch.arange(count, device=values.device, dtype=torch.float64) * fps / target_fps).clamp(max=frames - 1)
    left = time.floor().long()
    right = (left + 1).clamp(max=frames - 1)
    weight = (time - left).to(values.dtype)[:, None, None]
    mixed = torch.lerp(values[..., left, :, :], values[..., right, :, :], weight)
    on_left = weight[..., 0] == 0
    present = mask[..., left, :] & (mask[..., right, :] | on_left)
    return torch.where(present[..., None], mixed, 0.0), present


def mirror(values: Tensor, mask: Tensor, permutation: Tensor, *, axis: float = 0.0) -> tuple[Tensor, Tensor]:
    """The signer in a mirror: x is reflected at `axis`, left and right joints change places. Its own inverse.

    Args:
        permutation: `[J]` long, the skeleton's `mirror`; axis: x of the mirror plane (half the image width, or 0 for
            centred poses).
    """
    flipped = torch.cat([2 * axis - values[..., :1], values[..., 1:]], dim=-1)
    mask = mask[..., permutation]
    return torch.where(mask[..., None], flipped[..., permutation, :], 0.0), mask
