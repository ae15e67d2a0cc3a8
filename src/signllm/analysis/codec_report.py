"""How well a codec reconstructs, and how well it uses its codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from signllm.data.clips import length_buckets
from signllm.models.pose_preparation import PreparedPose, pad_batch
from signllm.models.skeletons import Skeleton, get_skeleton

BITS_OF_A_FLOAT = 32


class ErrorMeter:
    """Mean distance between reconstructed and real joints, in shoulder widths, over present joints only.

    `hands` is measured twice: as it stands (`hands`) and with each hand moved so that the wrists agree
    (`handshape`), which is what tells one letter from another.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self.parts = {"body": skeleton.parts["body"]}
        self.hands = {side: skeleton.parts[f"{side}_hand"] for side in ("left", "right")}
        self.parts["hands"] = (*self.hands["left"], *self.hands["right"])
        self.sums = dict.fromkeys(["all", *self.parts, "handshape"], 0.0)
        self.counts = dict.fromkeys(self.sums, 0)

    def add(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """prediction, target: `[..., J, C]` in shoulder widths; mask: `[..., J]`."""
        error = (prediction - target).norm(dim=-1)
        self._count("all", error, mask)
        for name, joints in self.parts.items():
            self._count(name, error[..., list(joints)], mask[..., list(joints)])
        for joints in self.hands.values():
            if joints:
                hand, wrist = list(joints), joints[0]
                moved = (target - prediction)[..., wrist : wrist + 1, :]
                shape = (prediction[..., hand, :] + moved - target[..., hand, :]).norm(dim=-1)
                self._count("handshape", shape, mask[..., hand] & mask[..., wrist : wrist + 1])

    def _count(self, name: str, error: Tensor, mask: Tensor) -> None:
        self.sums[name] += float(error[mask].double().sum())
        self.counts[name] += int(mask.sum())

    def result(self) -> dict[str, float]:
        """`error_<part>` for each part that was ever present."""
        return {f"error_{name}": self.sums[name] / n for name, n in self.counts.items() if n}


def code_statistics(codes: Sequence[Tensor], codebook_size: int) -> dict[str, float]:
    """Use of a codebook over an evaluation set (all levels of a residual codec together, perplexity averaged).

    Args:
        codes: for each clip `[T']` or `[Q, T']`.

    Returns:
        codebook_usage: share of codes hit at least once; perplexity: exp of the entropy of the hits; entropy_bits: the
        same in bits per code.
    """
    levels = torch.cat([sequence.reshape(-1, sequence.shape[-1]) for sequence in codes], dim=1)
    usage, entropies = [], []
    for level in levels:
        hits = torch.bincount(level, minlength=codebook_size).double()
        share = hits[hits > 0] / hits.sum()
        usage.append(len(share) / codebook_size)
        entropies.append(float(-(share * share.log()).sum()))
    return {
        "codebook_usage": sum(usage) / len(usage),
        "perplexity": sum(math.exp(entropy) for entropy in entropies) / len(entropies),
        "entropy_bits": sum(entropies) / len(entropies) / math.log(2),
    }


@torch.no_grad()
def evaluate_codec(
    model, clips: Sequence[PreparedPose], *, max_frames: int = 4096, progress: bool = False
) -> dict[str, float]:
    """Reconstruct whole clips and measure: errors by part, loss, use of the codebook, bit rate and compression.

    Args:
        model: a codec (`forward` gives loss, sign_codes and pose_values). clips: prepared by its own preparation.
        max_frames: frames of a batch, padding counted.

    Returns:
        `error_*` in shoulder widths, `reconstruction_loss` (the training loss on whole clips, weighted by frames),
        `codebook_usage`, `perplexity`, `entropy_bits`, `bits_per_second`, `compression` (32-bit coordinates in,
        code bits out), `frames`, `clips`.
    """
    was_training = model.training
    model.eval()
    config = model.config
    meter = ErrorMeter(get_skeleton(config.skeleton))
    codes, loss, frames = [], 0.0, 0
    lengths = [len(clip) for clip in clips]
    for rows in tqdm(list(length_buckets(lengths, max_frames)), desc="evaluating", unit="batch", disable=not progress):
        batch = {name: value.to(model.device) for name, value in pad_batch([clips[row] for row in rows]).items()}
        output = model(**batch)
        meter.add(output.pose_values, batch["pose_values"], batch["joint_mask"])
        steps = output.code_mask.sum(dim=1).tolist()
        codes += [sequence[..., :n].cpu() for sequence, n in zip(output.sign_codes, steps, strict=True)]
        real = int(batch["frame_mask"].sum())
        loss += float(output.reconstruction_loss) * real
        frames += real
    model.train(was_training)
    raw_bits = BITS_OF_A_FLOAT * config.num_joints * config.num_coordinates * config.fps
    return {
        **meter.result(),
        "reconstruction_loss": loss / frames,
        **code_statistics(codes, config.codebook_size),
        "bits_per_second": config.bits_per_second,
        "compression": raw_bits / config.bits_per_second,
        "frames": frames,
        "clips": len(clips),
    }
