"""Blocks shared by the codecs. Sequences are `[B, D, T]`; `mask [B, 1, T]` is 1.0 on real steps, None: all are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedConv1d(nn.Conv1d):
    """Convolution that sees zeros beyond the end of each clip, as it would with the clip alone in its batch."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x if mask is None else x * mask)


class ResidualBlock(nn.Module):
    """`x + Conv1d(k1)(ReLU(Conv1d(k3, dilation)(ReLU(x))))`, without normalisation (MotionGPT, `Resnet1D`)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.wide = MaskedConv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.narrow = MaskedConv1d(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x + self.narrow(torch.relu(self.wide(torch.relu(x), mask)))


class ResidualStack(nn.Module):
    """Residual blocks with falling dilations growth^(n-1) … growth, 1 (the reference's `reverse_dilation`)."""

    def __init__(self, width: int, blocks: int, dilation_growth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, dilation_growth**i) for i in reversed(range(blocks)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x


class ConvEncoder(nn.Module):
    """`[B, channels, T] -> [B, codebook_dim, T / 2^depth]`, the layers of MotionGPT's motion tokenizer.

    Each of the `depth` stages halves the length by a stride-2 convolution and refines by a residual stack.
    """

    def __init__(
        self, channels: int, width: int, dim: int, *, depth: int, residual_blocks: int, dilation_growth: int
    ) -> None:
        super().__init__()
        self.first = MaskedConv1d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(MaskedConv1d(width, width, 4, stride=2, padding=1) for _ in range(depth))
        self.stacks = nn.ModuleList(ResidualStack(width, residual_blocks, dilation_growth) for _ in range(depth))
        self.last = MaskedConv1d(width, dim, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = torch.relu(self.first(x, mask))
        for down, stack in zip(self.down, self.stacks, strict=True):
            x = down(x, mask)
            mask = None if mask is None else mask[..., ::2]
            x = stack(x, mask)
        return self.last(x, mask)


class ConvDecoder(nn.Module):
    """Mirror of `ConvEncoder`: `[B, codebook_dim, T'] -> [B, channels, T' * 2^depth]`, by nearest neighbours."""

    def __init__(
        self, channels: int, width: int, dim: int, *, depth: int, residual_blocks: int, dilation_growth: int
    ) -> None:
        super().__init__()
        self.first = MaskedConv1d(dim, width, 3, padding=1)
        self.stacks = nn.ModuleList(ResidualStack(width, residual_blocks, dilation_growth) for _ in range(depth))
        self.up = nn.ModuleList(MaskedConv1d(width, width, 3, padding=1) for _ in range(depth))
        self.refine = MaskedConv1d(width, width, 3, padding=1)
        self.last = MaskedConv1d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = torch.relu(self.first(x, mask))
        for stack, up in zip(self.stacks, self.up, strict=True):
            x = stack(x, mask).repeat_interleave(2, dim=-1)
            mask = None if mask is None else mask.repeat_interleave(2, dim=-1)
            x = up(x, mask)
        return self.last(torch.relu(self.refine(x, mask)), mask)
