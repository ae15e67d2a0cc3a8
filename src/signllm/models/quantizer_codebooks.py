"""Codebooks that follow moving averages: the plain vector quantizer and the residual one."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .distributed import all_reduce_sum, row_counts, take_rows
from .nearest_code import nearest_codes, search_codes
from .quantizer_parts import (
    RowsQuantized,
    check_estimator,
    count_codes,
    draw_indices,
    draw_rows,
    kmeans,
    make_generator,
    pass_gradient_and_pull,
    tell_copies_apart,
    usage_stats,
)


class EMACodebook(nn.Module):
    """One codebook that follows the means of the vectors that choose its codes.

    Per update, with hits n_k and sums s_k of the batch: N <- decay N + (1 - decay) n, S likewise, and then
    e_k = S_k / N_k. With `laplace_epsilon` > 0 the divisor is the smoothed (N_k + eps) / (sum N + K eps) * sum N.
    Codes whose N falls below the threshold are dead: each takes a random row of the batch, *with* N and S to match, so
    that neither the next update undoes the restart nor an old sum leaks in.

    Buffers:
        codebook: `[K, D]`. code_sums: `[K, D]`, S. code_counts: `[K]`, N. initialised: bool, whether a batch has set
        the codes. step: long, number of updates so far. All stay float32 in a model cast to half precision.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        decay: float,
        laplace_epsilon: float,
        dead_code_threshold: float | None,
        restart_warmup_steps: int,
        kmeans_iterations: int,
        cosine: bool,
        seed: int,
        stream: int,
    ) -> None:
        super().__init__()
        self.decay = decay
        self.laplace_epsilon = laplace_epsilon
        self.dead_code_threshold = dead_code_threshold
        self.restart_warmup_steps = restart_warmup_steps
        self.kmeans_iterations = kmeans_iterations
        self.cosine = cosine
        self.seed = seed
        self.stream = stream
        self.codebook: Tensor
        self.code_sums: Tensor
        self.code_counts: Tensor
        self.initialised: Tensor
        self.step: Tensor
        self.register_buffer("codebook", torch.empty(codebook_size, dim, dtype=torch.float32))
        self.register_buffer("code_sums", torch.empty(codebook_size, dim, dtype=torch.float32))
        self.register_buffer("code_counts", torch.empty(codebook_size, dtype=torch.float32))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random codes, N = 1, S = e, to be replaced by the first training batch."""
        init.normal_(self.codebook, std=self.codebook.shape[1] ** -0.5)
        init.copy_(self.code_sums, self.codebook)
        init.ones_(self.code_counts)
        init.zeros_(self.initialised)
        init.zeros_(self.step)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EMACodebook:
        """Moves as any module does, but casts no state: an average by hundredths does not survive 8 bits."""
        before = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self

    def table(self) -> Tensor:
        """The codes `[K, D]`, float32."""
        return self.codebook.float()

    def generator(self) -> torch.Generator:
        """For this update's random choices."""
        return make_generator(self.seed, self.stream, int(self.step))

    @torch.no_grad()
    def initialise(self, rows: Tensor) -> None:
        """Set the codes from the first batch: k-means, or random rows where no iterations are asked for."""
        size = len(self.codebook)
        if self.kmeans_iterations > 0:
            codes, counts = kmeans(rows, size, self.kmeans_iterations, self.generator())
        else:
            codes, counts = draw_rows(rows, size, self.generator()), rows.new_ones(size)
        self.codebook.copy_(F.normalize(codes, dim=1) if self.cosine else codes)
        # An empty cluster has N = 1 too: with N = 0 its first update would divide by nearly nothing.
        self.code_counts.copy_(counts.clamp(min=1.0))
        self.code_sums.copy_(self.codebook * self.code_counts[:, None])
        self.initialised.fill_(True)

    @torch.no_grad()
    def update(self, hits: Tensor, sums: Tensor, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """One step of the moving averages and of the restarts.

        Args:
            hits: `[K]`, hits of the batch over all processes.
            sums: `[K, D]`, sums of the vectors that chose each code.
            draw: gives the asked number of random rows.

        Returns:
            number of codes restarted, a scalar tensor.
        """
        self.code_counts.lerp_(hits, 1.0 - self.decay)
        self.code_sums.lerp_(sums, 1.0 - self.decay)
        self._follow_means()
        threshold = self._threshold(hits)
        dead = self.code_counts < threshold
        if self.step < self.restart_warmup_steps:
            dead = torch.zeros_like(dead)
        restarted = dead.sum()
        if restarted > 0:
            rows = draw(int(restarted), self.generator())
            rows = F.normalize(rows, dim=1) if self.cosine else rows
            self.codebook[dead] = rows
            self.code_counts.masked_fill_(dead, threshold)
            self.code_sums[dead] = rows * threshold
        self.step.add_(1)
        return restarted

    def _follow_means(self) -> None:
        counts = self.code_counts
        if self.laplace_epsilon > 0:
            total = counts.sum()
            counts = (counts + self.laplace_epsilon) / (total + len(counts) * self.laplace_epsilon) * total
        # A code that was unused for thousands of steps has neither hits nor sum left: it keeps its place.
        means = torch.where(counts[:, None] > 1e-30, self.code_sums / counts.clamp(min=1e-30)[:, None], self.codebook)
        self.codebook.copy_(F.normalize(means, dim=1) if self.cosine else means)

    def _threshold(self, hits: Tensor) -> float:
        if self.dead_code_threshold is not None:
            return self.dead_code_threshold
        return max(0.1, 0.1 * float(hits.sum()) / len(hits))


class ResidualVQ(nn.Module):
    """Q codebooks by moving averages: each quantizes what the ones before it left over. Q = 1 is the plain VQ.

    One gradient estimator spans the whole stack: z = x + sg(sum_i q_i - x), so dz/dx is the identity. The commitment
    loss is mean_i mean |r_{i-1} - sg(q_i)|^2 with r_i = r_{i-1} - sg(q_i), and so pulls at every level.

    Args:
        dim: D. codebook_size: K. num_quantizers: Q.
        decay: of the moving averages. laplace_epsilon: smoothing of the counts; 0: none.
        dead_code_threshold: a code with a moving average of fewer hits per batch restarts; None: a tenth of the hits
            that it would have under uniform use, at least 0.1; 0: no restarts.
        restart_warmup_steps: updates before the first restart.
        kmeans_init: start from k-means of the first batch, rather than from random rows of it.
        kmeans_iterations: of that k-means.
        quantizer_dropout: use the first 1..Q levels, drawn anew for each training batch.
        gradient_estimator: `straight_through` or `rotation`. cosine: compare and return unit vectors; Q = 1 only.
        seed: of all random choices.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        num_quantizers: int,
        *,
        decay: float = 0.99,
        laplace_epsilon: float = 1e-5,
        dead_code_threshold: float | None = None,
        restart_warmup_steps: int = 0,
        kmeans_init: bool = True,
        kmeans_iterations: int = 10,
        quantizer_dropout: bool = False,
        gradient_estimator: str = "straight_through",
        cosine: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if cosine and num_quantizers > 1:
            raise ValueError("cosine needs num_quantizers=1: what is left of a unit vector is not one")
        if quantizer_dropout and num_quantizers == 1:
            raise ValueError("quantizer_dropout needs more than one level, got num_quantizers=1")
        self.dim, self.codebook_size, self.num_quantizers = dim, codebook_size, num_quantizers
        self.quantizer_dropout = quantizer_dropout
        self.gradient_estimator = check_estimator(gradient_estimator)
        self.cosine = cosine
        self.seed = seed
        self.codebooks = nn.ModuleList(
            EMACodebook(
                dim,
                codebook_size,
                decay=decay,
                laplace_epsilon=laplace_epsilon,
                dead_code_threshold=dead_code_threshold,
                restart_warmup_steps=restart_warmup_steps,
                kmeans_iterations=kmeans_iterations if kmeans_init else 0,
                cosine=cosine,
                seed=seed,
                stream=level,
            )
            for level in range(num_quantizers)
        )

    def forward(
        self, rows: Tensor, rows_per_process: float, num_quantizers: int | None, update: bool
    ) -> RowsQuantized:
        if self.cosine:
            rows = F.normalize(rows, dim=1)
        levels = self.levels()[: num_quantizers or self._draw_depth(update)]
        if update:
            self._initialise(levels, rows.detach())
        wants_gradient = torch.is_grad_enabled() and rows.requires_grad
        tables = [level.table() for level in levels]
        found = search_codes(rows, tables, with_sums=update, with_residuals=wants_gradient)
        scale = 1.0 / (rows_per_process * self.dim * len(levels))
        z, loss = found.z, found.squared_error.sum() * scale
        if found.residuals is not None:
            z, loss = pass_gradient_and_pull(rows, z, loss, found.residuals, scale, self.gradient_estimator)
        hits = count_codes(found.codes, self.codebook_size)
        restarted = torch.zeros(len(levels), device=rows.device)
        if update:
            assert found.sums is not None
            all_reduce_sum(hits)
            all_reduce_sum(found.sums)
            restarted = self._update(levels, hits, found.sums, rows.detach(), found.codes)
        return RowsQuantized(z, found.codes, loss, {**usage_stats(hits), "restarted": restarted})

    def lookup(self, codes: Tensor) -> Tensor:
        """`[n, D]`: the sum of the codes of the first Q' levels, `codes` `[n, Q']`."""
        total = torch.zeros(len(codes), self.dim, device=codes.device)
        for level, indices in zip(self.levels(), codes.unbind(dim=1), strict=False):
            total = total + level.table().index_select(0, indices)
        return total

    def levels(self) -> list[EMACodebook]:
        """The Q codebooks."""
        return [cast(EMACodebook, level) for level in self.codebooks]

    def _draw_depth(self, update: bool) -> int:
        if not (update and self.quantizer_dropout):
            return self.num_quantizers
        # The first level is in every batch, so its step counts them all; level streams start at 0.
        generator = make_generator(self.seed, self.num_quantizers, int(self.levels()[0].step))
        return int(torch.randint(1, self.num_quantizers + 1, (), generator=generator))

    @staticmethod
    def _initialise(levels: list[EMACodebook], rows: Tensor) -> None:
        """Levels that no batch has set yet start from what the levels before them leave of this one."""
        if all(bool(level.initialised) for level in levels):
            return
        for level in levels:
            if not bool(level.initialised):
                level.initialise(rows)
            rows = rows - level.codebook.index_select(0, nearest_codes(rows, level.codebook))

    @staticmethod
    def _update(levels: list[EMACodebook], hits: Tensor, sums: Tensor, rows: Tensor, codes: Tensor) -> Tensor:
        restarted = torch.zeros(len(levels), device=rows.device)
        # From the last level to the first: a restart at level i takes what levels < i left over, by the codes that
        # they had when the batch was quantized.
        for index in reversed(range(len(levels))):

            def draw(count: int, generator: torch.Generator, index: int = index) -> Tensor:
                indices = draw_indices(rows, count, generator)
                chosen, chosen_codes = take_rows(rows, indices), take_rows(codes[:, :index], indices)
                for level, code in zip(levels, chosen_codes.unbind(dim=1), strict=False):
                    chosen = chosen - level.codebook.index_select(0, code)
                return tell_copies_apart(chosen, sum(row_counts(rows)), generator)

            restarted[index] = levels[index].update(hits[index], sums[index], draw)
        return restarted
