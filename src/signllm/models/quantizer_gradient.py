"""Codebooks learned by gradient: the VQ-VAE's own, and SimVQ."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .distributed import all_reduce_sum
from .nearest_code import nearest_codes
from .quantizer_parts import (
    Float32Linear,
    RowsQuantized,
    check_estimator,
    count_codes,
    kmeans,
    make_generator,
    pass_gradient,
    usage_stats,
)


def quantize_with_table(
    rows: Tensor, table: Tensor, commitment: float, estimator: str, rows_per_process: float, update: bool
) -> RowsQuantized:
    """Nearest rows of a `table` `[K, D]` that has a gradient.

    loss = mean |sg(x) - e|^2 + commitment * mean |x - sg(e)|^2, means over elements. z passes its gradient to x alone.
    """
    codes = nearest_codes(rows, table)
    chosen = F.embedding(codes, table)
    fixed = chosen.detach()
    to_codes = F.mse_loss(chosen, rows.detach(), reduction="sum")
    to_rows = F.mse_loss(rows, fixed, reduction="sum")
    loss = (to_codes + commitment * to_rows) / (rows_per_process * rows.shape[1])
    hits = count_codes(codes[:, None], len(table))
    if update:
        all_reduce_sum(hits)
    return RowsQuantized(pass_gradient(rows, fixed, estimator), codes[:, None], loss, usage_stats(hits))


class GradientVQ(nn.Module):
    """A codebook that is a parameter: loss = |sg(x) - e|^2 + gamma |x - sg(e)|^2 (van den Oord et al. 2017, eq. 3).

    Args:
        dim: D. codebook_size: K. gamma: weight of the commitment.
        kmeans_init: start from k-means of the first training batch, rather than from U(-1/K, 1/K).
        kmeans_iterations: of that k-means. gradient_estimator: `straight_through` or `rotation`.
        cosine: compare and return unit vectors. seed: of the k-means.
    """

    num_quantizers = 1

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        gamma: float = 0.25,
        kmeans_init: bool = False,
        kmeans_iterations: int = 10,
        gradient_estimator: str = "straight_through",
        cosine: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dim, self.codebook_size = dim, codebook_size
        self.gamma = gamma
        self.kmeans_iterations = kmeans_iterations if kmeans_init else 0
        self.gradient_estimator = check_estimator(gradient_estimator)
        self.cosine = cosine
        self.seed = seed
        self.codebook = nn.Parameter(torch.empty(codebook_size, dim))
        self.initialised: Tensor
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """U(-1/K, 1/K), which the first training batch replaces where k-means is asked for."""
        init.uniform_(self.codebook, -1.0 / self.codebook_size, 1.0 / self.codebook_size)
        init.zeros_(self.initialised)

    def forward(
        self, rows: Tensor, rows_per_process: float, num_quantizers: int | None, update: bool
    ) -> RowsQuantized:
        if self.cosine:
            rows = F.normalize(rows, dim=1)
        if update and not bool(self.initialised):
            self._initialise(rows.detach())
        return quantize_with_table(rows, self._table(), self.gamma, self.gradient_estimator, rows_per_process, update)

    def lookup(self, codes: Tensor) -> Tensor:
        """`[n, D]` of codes `[n, 1]`."""
        return F.embedding(codes[:, 0], self._table())

    def _table(self) -> Tensor:
        table = self.codebook.float()
        return F.normalize(table, dim=1) if self.cosine else table

    @torch.no_grad()
    def _initialise(self, rows: Tensor) -> None:
        if self.kmeans_iterations > 0:
            generator = make_generator(self.seed, stream=0, step=0)
            self.codebook.copy_(kmeans(rows, self.codebook_size, self.kmeans_iterations, generator)[0])
        self.initialised.fill_(True)


class SimVQ(nn.Module):
    """Codes W c_k with c_k fixed and Gaussian: one learned map moves the whole codebook, so no code is left behind.

    loss = |sg(x) - q|^2 + commitment |x - sg(q)|^2 (Zhu et al. 2024).

    Args:
        dim: D. codebook_size: K. commitment: weight of the encoder's side, smaller than the codebook's.
        gradient_estimator: `straight_through` or `rotation`. cosine: compare and return unit vectors.

    Buffers:
        anchors: `[K, D]`, the c_k, with deviation D^-1/2.
    """

    num_quantizers = 1

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        commitment: float = 0.25,
        gradient_estimator: str = "straight_through",
        cosine: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.codebook_size = dim, codebook_size
        self.commitment = commitment
        self.gradient_estimator = check_estimator(gradient_estimator)
        self.cosine = cosine
        self.map = Float32Linear(dim, dim, bias=False)
        self.anchors: Tensor
        self.register_buffer("anchors", torch.empty(codebook_size, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the fixed anchors; the map has an initialisation of its own."""
        init.normal_(self.anchors, std=self.dim**-0.5)

    def forward(
        self, rows: Tensor, rows_per_process: float, num_quantizers: int | None, update: bool
    ) -> RowsQuantized:
        if self.cosine:
            rows = F.normalize(rows, dim=1)
        return quantize_with_table(
            rows, self.folded(), self.commitment, self.gradient_estimator, rows_per_process, update
        )

    def folded(self) -> Tensor:
        """`[K, D]`: the codebook as a plain table, W multiplied in."""
        table = self.map(self.anchors)
        return F.normalize(table, dim=1) if self.cosine else table

    def lookup(self, codes: Tensor) -> Tensor:
        """`[n, D]` of codes `[n, 1]`."""
        return F.embedding(codes[:, 0], self.folded())
