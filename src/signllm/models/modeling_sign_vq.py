"""The STS VQ-VAE sign codec: poses -> discrete sign codes -> poses.

Source: "Evaluating Sign Language Representation Learning with LLMs" with the layers of MotionGPT's motion tokenizer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_sign_vq import SignVQConfig
from .layers import ConvDecoder, ConvEncoder
from .losses import pose_loss, velocity_loss
from .normalization import from_parent_offsets, standardize, to_parent_offsets, unstandardize
from .quantizers import Quantized, build_quantizer, init_quantizer_weights
from .skeletons import get_skeleton


@dataclass
class SignEncoderOutput(ModelOutput):
    """sign_codes: `[B, T']` long, `[B, Q, T']` with several quantizers, 0 where padded. code_mask: `[B, T']` bool."""

    sign_codes: Tensor | None = None
    code_mask: Tensor | None = None


@dataclass
class SignDecoderOutput(ModelOutput):
    """pose_values: `[B, T, J, C]` in shoulder widths, 0 where padded. frame_mask: `[B, T]` bool."""

    pose_values: Tensor | None = None
    frame_mask: Tensor | None = None


@dataclass
class SignCodecOutput(ModelOutput):
    """What `forward` returns.

    loss: reconstruction + commitment_weight * commitment + velocity_weight * velocity + position_weight * position,
    scalar; the parts unweighted, None where their weight is 0.
    sign_codes, code_mask: as in `SignEncoderOutput`. pose_values: `[B, T, J, C]`, the reconstruction (None while
    training, where nothing needs it). perplexity: `[Q]`, of this batch's codes; at most the codebook size.
    """

    loss: Tensor | None = None
    reconstruction_loss: Tensor | None = None
    commitment_loss: Tensor | None = None
    velocity_loss: Tensor | None = None
    position_loss: Tensor | None = None
    sign_codes: Tensor | None = None
    code_mask: Tensor | None = None
    pose_values: Tensor | None = None
    perplexity: Tensor | None = None


class SignVQModel(PreTrainedModel):
    """Convolutional VQ-VAE over keypoints.

    ```
    pose_values [B,T,J,C] -> parent offsets -> z-score -> ConvEncoder -> quantizer -> codes [B,T']
                                                                            |
    pose_values [B,T,J,C] <- sum over the tree <- un-z-score <- ConvDecoder <-
    ```
    Poses come prepared by `config.preparation` (centred, in shoulder widths, finite); the z-score statistics of the
    training set live in the model (`set_statistics`). Lengths are rounded up to whole code steps by holding the last
    frame; held and padded frames reach neither losses nor quantizer statistics, and a clip gives the same codes alone
    and in a batch.
    """

    config: SignVQConfig
    config_class = SignVQConfig
    base_model_prefix = "codec"
    parents: Tensor
    pose_mean: Tensor
    pose_std: Tensor
    trained_steps: Tensor
    main_input_name = "pose_values"
    input_modalities = ["pose"]  # noqa: RUF012
    # Codes are chosen in full precision whatever `dtype` the model is loaded in.
    _keep_in_fp32_modules_strict = {"quantizer"}  # noqa: RUF012

    def __init__(self, config: SignVQConfig) -> None:
        super().__init__(config)
        joints, dims = config.num_joints, config.num_coordinates
        sizes = {
            "depth": config.depth,
            "residual_blocks": config.residual_blocks,
            "dilation_growth": config.dilation_growth,
        }
        self.encoder = ConvEncoder(joints * dims, config.hidden_size, config.codebook_dim, **sizes)
        self.quantizer = build_quantizer(
            config.quantizer,
            dim=config.codebook_dim,
            codebook_size=config.codebook_size,
            num_quantizers=config.num_quantizers,
            **(config.quantizer_options or {}),
        )
        self.decoder = ConvDecoder(joints * dims, config.hidden_size, config.codebook_dim, **sizes)
        self.register_buffer("parents", torch.tensor(get_skeleton(config.skeleton).parents))
        self.register_buffer("pose_mean", torch.zeros(joints, dims))
        self.register_buffer("pose_std", torch.ones(joints, dims))
        self.register_buffer("trained_steps", torch.zeros((), dtype=torch.long))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initialisation, as in the reference code (transformers would draw from N(0, 0.02))."""
        if isinstance(module, nn.Conv1d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = 1 / math.sqrt(module.in_channels * module.kernel_size[0])
            init.uniform_(module.bias, -bound, bound)  # type: ignore[arg-type]
        elif module is self:
            init.copy_(module.parents, torch.tensor(get_skeleton(self.config.skeleton).parents))
            init.zeros_(module.pose_mean)
            init.ones_(module.pose_std)
            init.zeros_(module.trained_steps)
        else:
            init_quantizer_weights(module)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Store the training set's mean and deviation of the parent offsets, `[J, C]` each (`masked_statistics`)."""
        self.pose_mean.copy_(mean)
        self.pose_std.copy_(std)

    def encode(
        self,
        pose_values: Tensor,
        joint_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        num_quantizers: int | None = None,
    ) -> SignEncoderOutput:
        """Poses to codes, without side effects.

        Args:
            pose_values: `[B, T, J, C]` finite, prepared; joint_mask: `[B, T, J]`; frame_mask: `[B, T]`, padding on the
                right. None: all present. num_quantizers: use only the first so many levels.
        """
        with torch.no_grad():
            features, _, frame_mask = self._features(pose_values, joint_mask, frame_mask)
            latents, code_mask = self._encode(features, frame_mask)
            levels = num_quantizers or self.config.num_quantizers
            quantized = self.quantizer(latents, code_mask, num_quantizers=levels)
        return SignEncoderOutput(sign_codes=self._public_codes(quantized.codes), code_mask=code_mask)

    def decode(self, sign_codes: Tensor, code_mask: Tensor | None = None) -> SignDecoderOutput:
        """Codes `[B, T']` (or `[B, Q', T']`, the first Q' <= Q levels) to poses of T' * downsampling frames.

        Raises:
            ValueError: a code outside the codebook, or the wrong number of dimensions.
        """
        codes = self._quantizer_codes(sign_codes)
        if code_mask is None:
            code_mask = torch.ones(codes.shape[:2], dtype=torch.bool, device=codes.device)
        latents = self.quantizer.codes_to_z(codes) * code_mask[..., None]
        features = self._decode(latents, code_mask)
        frame_mask = code_mask.repeat_interleave(self.config.downsampling, dim=1)
        return SignDecoderOutput(pose_values=self._positions(features, frame_mask), frame_mask=frame_mask)

    def forward(
        self,
        pose_values: Tensor,
        joint_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        return_loss: bool = True,
    ) -> SignCodecOutput:
        """Encode, quantize, decode. Shapes as in `encode`; in training mode the quantizer learns from the batch."""
        frames = pose_values.shape[1]
        features, present, frame_mask = self._features(pose_values, joint_mask, frame_mask)
        latents, code_mask = self._encode(features, frame_mask)
        quantized = self._quantize(latents, code_mask)
        prediction = self._decode(quantized.z, code_mask)
        output = SignCodecOutput(
            sign_codes=self._public_codes(quantized.codes),
            code_mask=code_mask,
            perplexity=quantized.stats["perplexity"],
        )
        if return_loss:
            prediction = prediction.float()  # sums over many joints do not survive bfloat16
            kind = self.config.reconstruction_loss
            output.reconstruction_loss = pose_loss(kind, prediction, features, present)
            output.commitment_loss = quantized.loss
            output.loss = output.reconstruction_loss + self.config.commitment_weight * quantized.loss
            if self.config.velocity_weight:
                output.velocity_loss = velocity_loss(kind, prediction, features, present)
                output.loss = output.loss + self.config.velocity_weight * output.velocity_loss
            if self.config.position_weight:
                output.position_loss = self._position_loss(prediction, features, present)
                output.loss = output.loss + self.config.position_weight * output.position_loss
        if not self.training:
            output.pose_values = self._positions(prediction[:, :frames], frame_mask[:, :frames])
        return output

    # ---- poses <-> features -----------------------------------------------------------------------------------------

    def _features(
        self, pose_values: Tensor, joint_mask: Tensor | None, frame_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised offsets `[B, T+, J, C]`, where they count `[B, T+, J]`, real frames `[B, T+]`.

        T+ is T rounded up to whole code steps; behind its end every clip holds its last frame.
        """
        batch, frames = self._check_poses(pose_values)
        if frame_mask is None:
            frame_mask = pose_values.new_ones(batch, frames, dtype=torch.bool)
        lengths = frame_mask.sum(dim=1)
        time = torch.arange(frames, device=pose_values.device)
        if not torch.equal(frame_mask.bool(), time < lengths[:, None]):
            raise ValueError("frame_mask must be True on the first frames of a clip and False behind them")
        if joint_mask is None:
            joint_mask = frame_mask[..., None].expand(pose_values.shape[:3])
        joint_mask = joint_mask.bool() & frame_mask[..., None].bool()
        values = torch.where(joint_mask[..., None], pose_values, 0.0).float()
        offsets, present = to_parent_offsets(values, joint_mask, self.parents)
        features = standardize(offsets, self.pose_mean, self.pose_std)

        step = self.config.downsampling
        time = torch.arange(math.ceil(max(frames, 1) / step) * step, device=pose_values.device)
        held = torch.minimum(time, (lengths - 1).clamp(min=0)[:, None])
        features = features.gather(1, held[..., None, None].expand(-1, -1, *features.shape[2:]))
        frame_mask = time < lengths[:, None]
        present = present.gather(1, held[..., None].expand(-1, -1, present.shape[2])) & frame_mask[..., None]
        return features, present, frame_mask

    def _check_poses(self, pose_values: Tensor) -> tuple[int, int]:
        expected = (self.config.num_joints, self.config.num_coordinates)
        if pose_values.ndim != 4 or tuple(pose_values.shape[2:]) != expected:
            raise ValueError(
                f"pose_values must be [batch, frames, {expected[0]}, {expected[1]}] for skeleton "
                f"{self.config.skeleton}, got {list(pose_values.shape)}"
            )
        if pose_values.shape[1] == 0:
            raise ValueError("pose_values have zero frames")
        return pose_values.shape[0], pose_values.shape[1]

    def _positions(self, features: Tensor, frame_mask: Tensor) -> Tensor:
        offsets = unstandardize(features.float(), self.pose_mean, self.pose_std)
        return from_parent_offsets(offsets, self.parents) * frame_mask[..., None, None]

    def _position_loss(self, prediction: Tensor, features: Tensor, present: Tensor) -> Tensor:
        """The same loss on joint positions in shoulder widths; offsets alone let errors add up along an arm."""
        difference = from_parent_offsets((prediction - features) * self.pose_std, self.parents)
        return pose_loss(self.config.reconstruction_loss, difference, torch.zeros_like(difference), present)

    # ---- features <-> latents ---------------------------------------------------------------------------------------

    def _encode(self, features: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Latents `[B, T', D]` and code_mask `[B, T']`; a code is real if its first frame is."""
        code_mask = frame_mask[:, :: self.config.downsampling]
        mask = code_mask.repeat_interleave(self.config.downsampling, dim=1)[:, None]
        latents = self.encoder(features.flatten(2).transpose(1, 2), mask.to(features.dtype))
        return latents.transpose(1, 2), code_mask

    def _quantize(self, latents: Tensor, code_mask: Tensor) -> Quantized:
        """Quantize, but for the first `unquantized_steps` of training, when latents pass as they are."""
        if self.training and torch.is_grad_enabled() and self.trained_steps <= self.config.unquantized_steps:
            self.trained_steps += 1
            if self.trained_steps <= self.config.unquantized_steps:
                codes = torch.zeros(
                    *code_mask.shape, self.config.num_quantizers, dtype=torch.long, device=latents.device
                )
                none = latents.new_zeros(())
                stats = {"perplexity": latents.new_ones(self.config.num_quantizers)}
                return Quantized(latents * code_mask[..., None], codes, none, stats)
        return self.quantizer(latents, code_mask)

    def _decode(self, latents: Tensor, code_mask: Tensor) -> Tensor:
        """Latents `[B, T', D]` to features `[B, T' * downsampling, J, C]`."""
        features = self.decoder(latents.transpose(1, 2), code_mask[:, None].to(latents.dtype)).transpose(1, 2)
        return features.unflatten(2, (self.config.num_joints, self.config.num_coordinates))

    # ---- code layout: [B, T'] or [B, Q, T'] outside, [B, T', Q] in the quantizer ------------------------------------

    def _public_codes(self, codes: Tensor) -> Tensor:
        return codes[..., 0] if self.config.num_quantizers == 1 else codes.transpose(1, 2)

    def _quantizer_codes(self, sign_codes: Tensor) -> Tensor:
        expected = 2 if self.config.num_quantizers == 1 else 3
        if sign_codes.ndim != expected:
            layout = (
                "[batch, steps]" if expected == 2 else f"[batch, up to {self.config.num_quantizers} levels, steps]"
            )
            raise ValueError(f"sign_codes must be {layout}, got shape {list(sign_codes.shape)}")
        if sign_codes.numel() and not 0 <= int(sign_codes.min()) <= int(sign_codes.max()) < self.config.codebook_size:
            raise ValueError(
                f"sign_codes must lie in [0, {self.config.codebook_size}), got values from {int(sign_codes.min())} to "
                f"{int(sign_codes.max())}"
            )
        return sign_codes[..., None] if expected == 2 else sign_codes.transpose(1, 2)


SignVQConfig.register_for_auto_class()
SignVQModel.register_for_auto_class("AutoModel")
