"""Quantizers without a codebook to search: FSQ rounds each channel to a few levels, LFQ keeps its sign."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributed import all_reduce_sum
from .quantizer_parts import RowsQuantized, count_codes, pass_gradient, usage_stats

# Levels for about 2^4, 2^8 .. 2^16 codes (Mentzer et al. 2023, and more); the true numbers of codes are the keys.
FSQ_LEVELS = {
    16: (4, 4),
    240: (8, 6, 5),
    500: (4, 5, 5, 5),
    1000: (8, 5, 5, 5),
    2000: (4, 4, 5, 5, 5),
    4375: (7, 5, 5, 5, 5),
    15360: (8, 8, 8, 6, 5),
    64000: (8, 8, 8, 5, 5, 5),
}
FSQ_MARGIN = 1e-3  # keeps tanh's limits inside the outermost levels' rounding intervals
SMALLEST_SHARE = 1e-20  # a share that has underflowed still has a finite logarithm


def fsq_levels(codebook_size: int, levels: Sequence[int] | None) -> tuple[int, ...]:
    """The levels per channel of an FSQ with exactly `codebook_size` codes: `levels`, or the recommended ones."""
    if levels is None:
        if codebook_size not in FSQ_LEVELS:
            sizes = ", ".join(map(str, FSQ_LEVELS))
            raise ValueError(f"fsq has recommended levels for codebook_size {sizes}, got {codebook_size}: pass levels")
        return FSQ_LEVELS[codebook_size]
    if not levels or any(level != int(level) or level < 2 for level in levels):
        raise ValueError(f"fsq levels must be integers of at least 2, got {list(levels)}")
    if math.prod(levels) != codebook_size:
        raise ValueError(
            f"fsq levels {list(levels)} make {math.prod(levels)} codes, got codebook_size={codebook_size}: "
            f"set codebook_size={math.prod(levels)}"
        )
    return tuple(int(level) for level in levels)


class FSQ(nn.Module):
    """Finite scalar quantization: b = tanh(x + tan(off/half)) half - off, rounded, per channel
    (Mentzer et al. 2023).

    half = (L-1)(1-eps)/2, off = 1/2 for even L, 0 for odd. The code's value is round(b) / floor(L/2), in [-1, 1]; its
    index is sum_i (round(b_i) + floor(L_i/2)) prod_{j<i} L_j. No loss, no state.

    Args:
        codebook_size: K, the product of the levels. levels: per channel; None: the recommended ones for K.
    """

    num_quantizers = 1

    def __init__(self, codebook_size: int, *, levels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.levels = fsq_levels(codebook_size, levels)
        self.dim, self.codebook_size = len(self.levels), codebook_size

    def forward(
        self, rows: Tensor, rows_per_process: float, num_quantizers: int | None, update: bool
    ) -> RowsQuantized:
        levels, basis = self._levels_and_basis(rows.device)
        bounded = self.bound(rows)
        middle = levels // 2
        rounded = bounded.detach().round()
        codes = ((rounded.long() + middle) * basis).sum(dim=1, keepdim=True)
        hits = count_codes(codes, self.codebook_size)
        if update:
            all_reduce_sum(hits)
        z = pass_gradient(bounded, rounded) / middle
        return RowsQuantized(z, codes, rows.new_zeros(()), usage_stats(hits))

    def bound(self, rows: Tensor) -> Tensor:
        """`[n, |L|]`: each channel squeezed into the interval that rounds to its L levels."""
        levels, _ = self._levels_and_basis(rows.device)
        half = (levels - 1) * (1 - FSQ_MARGIN) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        return torch.tanh(rows + torch.tan(offset / half)) * half - offset

    def lookup(self, codes: Tensor) -> Tensor:
        """`[n, |L|]` of codes `[n, 1]`."""
        levels, basis = self._levels_and_basis(codes.device)
        middle = levels // 2
        return ((codes // basis) % levels - middle).float() / middle

    def _levels_and_basis(self, device: torch.device) -> tuple[Tensor, Tensor]:
        basis = [math.prod(self.levels[:channel]) for channel in range(self.dim)]
        return torch.tensor(self.levels, device=device), torch.tensor(basis, device=device)


class LFQ(nn.Module):
    """Lookup-free quantization: b = log2 K channels, each to its sign times `scale`
    (Yu et al. 2023).

    The index's bits are the signs, the first channel's highest. With p(c|x) = softmax_c(2 tau x.c),

        loss = E[H(p(c|x))] - gamma H(E[p(c|x)]) + commitment mean |x - sg(q)|^2:

    sure of each vector's code, undecided over the batch. p is a product over the channels, so E[H] is a sum of b
    binary entropies, and E[p] a matrix product of the two halves' `[n, sqrt K]` distributions: exact, and nothing of
    size n K is formed.

    Args:
        codebook_size: K, a power of two. inverse_temperature: tau. gamma: weight of the batch's entropy.
        commitment: weight of the distance to the code. scale: absolute value of the code's channels.
    """

    num_quantizers = 1

    def __init__(
        self,
        codebook_size: int,
        *,
        inverse_temperature: float = 100.0,
        gamma: float = 1.0,
        commitment: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        bits = codebook_size.bit_length() - 1
        if codebook_size < 2 or codebook_size != 2**bits:
            raise ValueError(f"lfq needs a codebook_size that is a power of two, got {codebook_size}")
        self.dim, self.codebook_size = bits, codebook_size
        self.inverse_temperature = inverse_temperature
        self.gamma, self.commitment, self.scale = gamma, commitment, scale

    def forward(
        self, rows: Tensor, rows_per_process: float, num_quantizers: int | None, update: bool
    ) -> RowsQuantized:
        codes = ((rows > 0).long() << self._shifts(rows.device)).sum(dim=1, keepdim=True)
        chosen = self.lookup(codes)
        hits = count_codes(codes, self.codebook_size)
        if update:
            all_reduce_sum(hits)
        loss = self._entropy_loss(rows, rows_per_process, update)
        if self.commitment > 0:
            error = F.mse_loss(rows, chosen, reduction="sum") / (rows_per_process * self.dim)
            loss = loss + self.commitment * error
        return RowsQuantized(pass_gradient(rows, chosen), codes, loss, usage_stats(hits))

    def lookup(self, codes: Tensor) -> Tensor:
        """`[n, b]` of codes `[n, 1]`."""
        bits = (codes >> self._shifts(codes.device)) & 1
        return (2 * bits - 1).float() * self.scale

    def _shifts(self, device: torch.device) -> Tensor:
        return torch.arange(self.dim - 1, -1, -1, device=device)

    def _entropy_loss(self, rows: Tensor, rows_per_process: float, update: bool) -> Tensor:
        logits = 4.0 * self.inverse_temperature * self.scale * rows  # log-odds of + against -
        size = logits.abs()
        each = (F.softplus(-size) + size * torch.sigmoid(-size)).sum() / rows_per_process
        half = self.dim // 2
        high, low = _product_distribution(logits[:, :half]), _product_distribution(logits[:, half:])
        sums = high.t() @ low  # [2^half, 2^(b - half)]: flattened, the sum of p(c|x) over the rows
        shares = sums / rows_per_process
        if update:
            # The value of all processes; the gradient of one, on the scale that DDP's average expects.
            total = all_reduce_sum(sums.detach().clone())
            shares = total / total.sum() + (shares - shares.detach())
        together = -(shares * shares.clamp(min=SMALLEST_SHARE).log()).sum()
        return each - self.gamma * together


def _product_distribution(logits: Tensor) -> Tensor:
    """`[n, 2^m]`: probabilities of all words of m independent bits with log-odds `logits` `[n, m]`, highest first."""
    shares = logits.new_ones(len(logits), 1)
    for bit in logits.unbind(dim=1):
        up, down = torch.sigmoid(bit)[:, None], torch.sigmoid(-bit)[:, None]
        shares = torch.stack((shares * down, shares * up), dim=2).flatten(1)
    return shares
