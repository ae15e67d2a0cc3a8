"""Configuration of the STS VQ-VAE sign tokenizer."""

import math

from transformers import PreTrainedConfig

from .losses import RECONSTRUCTION_LOSSES
from .pose_preparation import PosePreparation
from .skeletons import get_skeleton


class SignVQConfig(PreTrainedConfig):
    """Everything that fixes a `SignVQModel`. Defaults are the base model of "Evaluating Sign Language Representation
    Learning with LLMs" (Table 1); where that paper is silent, they follow MotionGPT's and T2M-GPT's public
    training code.

    Poses:
        skeleton: layout the codec works in. num_coordinates: 2 or 3; 0: the layout's own.
        fps: clips are resampled to this rate. center, scale, max_gap_s, default_scale,
            min_confidence: see `PosePreparation`.

    Architecture:
        hidden_size: channels of every convolution. depth: number of stride-2 stages; one code covers 2^depth frames
            (the paper's "depth"; longer codes for smaller values). residual_blocks: per stage.
        dilation_growth: block i has dilation growth^i.

    Quantizer:
        quantizer: `ema_reset` (the paper's lineage), `ema`, `gradient`, `simvq`, `residual`, `fsq` or `lfq`.
        codebook_size: codes per codebook; for `fsq` it is the product of the levels. codebook_dim: size of a latent.
        num_quantizers: levels of `residual`; 1 otherwise. quantizer_options: further keywords of that quantizer.
        unquantized_steps: training steps before the quantizer comes in; the first batch that it sees then starts its
            codebooks. 0 as in the paper; some hundreds help where training is short.

    Loss:
        reconstruction_loss: `euclidean`, `mse` or `smooth_l1`. commitment_weight: 0.02 in the public lineage;
            `gradient` and `simvq` learn their codebook through this term alone and want 1, `lfq` 0.1.
        velocity_weight: weight of a true frame difference; not in the paper, so 0.
        position_weight: weight of the same loss on joint positions in shoulder widths; not in the paper, so 0.
    """

    model_type = "sign_vq"

    skeleton: str = "sts56"
    num_coordinates: int = 0
    fps: float = 25.0
    center: str = "first_frame"
    scale: str = "median_shoulders"
    max_gap_s: float | None = None
    default_scale: float | None = None
    min_confidence: float = 0.3

    hidden_size: int = 512
    depth: int = 3
    residual_blocks: int = 3
    dilation_growth: int = 3

    quantizer: str = "ema_reset"
    codebook_size: int = 512
    codebook_dim: int = 512
    num_quantizers: int = 1
    quantizer_options: dict | None = None
    unquantized_steps: int = 0

    reconstruction_loss: str = "euclidean"
    commitment_weight: float = 0.02
    velocity_weight: float = 0.0
    position_weight: float = 0.0

    def __post_init__(self, **kwargs) -> None:
        if self.reconstruction_loss not in RECONSTRUCTION_LOSSES:
            raise ValueError(
                f"reconstruction_loss must be one of {', '.join(RECONSTRUCTION_LOSSES)}, "
                f"got {self.reconstruction_loss!r}"
            )
        for name in ("hidden_size", "depth", "codebook_size", "codebook_dim", "num_quantizers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.num_coordinates:
            self.num_coordinates = get_skeleton(self.skeleton).dims
        super().__post_init__(**kwargs)

    @property
    def preparation(self) -> PosePreparation:
        return PosePreparation(
            self.skeleton,
            self.fps,
            self.center,
            self.scale,
            self.max_gap_s,
            self.default_scale,
            self.min_confidence,
        )

    @property
    def num_joints(self) -> int:
        return len(get_skeleton(self.skeleton))

    @property
    def downsampling(self) -> int:
        """Frames per code step."""
        return 2**self.depth

    @property
    def bits_per_second(self) -> float:
        return self.num_quantizers * math.log2(self.codebook_size) * self.fps / self.downsampling
