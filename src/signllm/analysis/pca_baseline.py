"""The classical codec of the same bit rate: PCA of frame blocks with quantized coefficients.

What a learned tokenizer must beat to have learned anything about signing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from signllm.analysis.codec_report import ErrorMeter
from signllm.models.pose_preparation import PreparedPose
from signllm.models.skeletons import get_skeleton


class PCACodec:
    """Transform coding of blocks of `frames` frames with `bits` bits a block.

    Coefficients are scaled to unit variance on the training blocks, bits go one by one to the coefficient with the
    largest remaining distortion (D = variance * 4^-bits, the optimal allocation of high-rate theory), and each is
    quantized by a Lloyd-Max quantizer fitted to its own training values. Missing joints take the training mean.
    """

    def __init__(self, clips: Sequence[PreparedPose], *, frames: int, bits: float) -> None:
        self.frames = frames
        self.joint_mean = _masked_mean(clips)
        blocks = np.concatenate([self._blocks(clip) for clip in clips])
        self.mean = blocks.mean(axis=0)
        _, singular, self.basis = np.linalg.svd(blocks - self.mean, full_matrices=False)
        variances = singular**2 / len(blocks)
        coefficients = (blocks - self.mean) @ self.basis.T
        allocation = _allocate(variances, round(bits))
        self.levels = [_lloyd_max(coefficients[:, i], 2**count) for i, count in enumerate(allocation) if count]
        self.kept = np.flatnonzero(allocation)

    def _blocks(self, clip: PreparedPose) -> np.ndarray:
        """`[blocks, frames * J * C]`; the last frame is held to fill the last block."""
        values = torch.where(clip.joint_mask[..., None], clip.values, self.joint_mean).numpy()
        count = -(-len(values) // self.frames)
        held = np.minimum(np.arange(count * self.frames), len(values) - 1)
        return values[held].reshape(count, -1)

    def reconstruct(self, clip: PreparedPose) -> torch.Tensor:
        """Coded and decoded clip, `[T, J, C]`."""
        coefficients = (self._blocks(clip) - self.mean) @ self.basis[self.kept].T
        for column, levels in enumerate(self.levels):
            nearest = np.abs(coefficients[:, column, None] - levels).argmin(axis=1)
            coefficients[:, column] = levels[nearest]
        blocks = coefficients @ self.basis[self.kept] + self.mean
        return torch.from_numpy(blocks.reshape(-1, *clip.values.shape[1:])[: len(clip)].astype(np.float32))


def pca_errors(
    train: Sequence[PreparedPose], test: Sequence[PreparedPose], config
) -> tuple[PCACodec, dict[str, float]]:
    """Fit a `PCACodec` of a codec's bit rate and block length on `train` and measure it on `test`, by part."""
    bits = config.bits_per_second * config.downsampling / config.fps
    codec = PCACodec(train, frames=config.downsampling, bits=bits)
    meter = ErrorMeter(get_skeleton(config.skeleton))
    for clip in test:
        meter.add(codec.reconstruct(clip), clip.values, clip.joint_mask)
    return codec, meter.result()


def _masked_mean(clips: Sequence[PreparedPose]) -> torch.Tensor:
    total = torch.stack([(clip.values * clip.joint_mask[..., None]).sum(dim=0) for clip in clips]).sum(dim=0)
    count = torch.stack([clip.joint_mask.sum(dim=0) for clip in clips]).sum(dim=0)
    return total / count.clamp(min=1)[:, None]


def _allocate(variances: np.ndarray, bits: int) -> np.ndarray:
    """Bits per coefficient: each goes where the remaining distortion is largest."""
    allocation = np.zeros(len(variances), dtype=int)
    distortion = variances.astype(np.float64).copy()
    for _ in range(bits):
        worst = int(distortion.argmax())
        allocation[worst] += 1
        distortion[worst] /= 4
    return allocation


def _lloyd_max(values: np.ndarray, count: int, iterations: int = 50) -> np.ndarray:
    """`count` reproduction levels for scalar samples."""
    levels = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(iterations):
        cell = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
        total = np.bincount(cell, values, minlength=count)
        hits = np.bincount(cell, minlength=count)
        levels = np.sort(np.where(hits > 0, total / np.maximum(hits, 1), levels))
    return levels
