"""Masked losses on poses. A mean is over present joints of real frames only, and over all processes when training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .distributed import masked_mean

RECONSTRUCTION_LOSSES = ("euclidean", "mse", "smooth_l1")


def pose_loss(kind: str, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Reconstruction loss over present joints; "Euclidean" and "MSE" of the source paper, Table 2.

    Args:
        kind: `euclidean`: mean over joints of sqrt(sum_c d_c^2 + 1e-8); `mse`: mean over channels of d^2;
            `smooth_l1`: mean over channels of Huber's function with beta 1.
        prediction, target: `[B, T, J, C]`; mask: `[B, T, J]`, True where the target is real.

    Returns:
        scalar; 0 where nothing is present.
    """
    if kind == "euclidean":
        return masked_mean(((prediction - target).square().sum(dim=-1) + 1e-8).sqrt(), mask)
    if kind == "mse":
        return masked_mean((prediction - target).square().mean(dim=-1), mask)
    if kind == "smooth_l1":
        return masked_mean(F.smooth_l1_loss(prediction, target, reduction="none").mean(dim=-1), mask)
    raise ValueError(f"reconstruction loss must be one of {', '.join(RECONSTRUCTION_LOSSES)}, got {kind!r}")


def velocity_loss(kind: str, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`pose_loss` of true frame differences; a difference counts where both its frames show the joint.

    MotionGPT's term of this name compares joint positions again and holds no difference in time; this one is what the
    name says.
    """
    if prediction.shape[1] < 2:
        return prediction.sum() * 0.0
    moving = mask[:, 1:] & mask[:, :-1]
    return pose_loss(kind, torch.diff(prediction, dim=1), torch.diff(target, dim=1), moving)
