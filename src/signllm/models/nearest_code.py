"""Nearest code by Euclidean distance, fast: one codebook, or a stack of residual ones.

The nearest code maximises `x.e - |e|^2 / 2`, so half the squared norms enter the matrix product as a bias and `|x|^2`
is never formed. Rows go through in chunks whose scores stay in the cache: writing and re-reading an `[N, K]` matrix
costs as much as the product itself. All levels of a residual quantizer are done on a chunk before the next one.
On a CPU numpy finds the maxima, on a view without a copy: its arg-max uses the vector units, torch's does not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ROWS = 512  # scores of 512 rows and 1024 codes: 2 MB, the size of a core's second-level cache
MAX_CHUNK_THREADS = 4  # beyond, the single-threaded arg-max outweighs what larger chunks save in barriers
ACCELERATOR_SCORES = 2**27  # scores held at once elsewhere: 512 MB
CONVOLUTION_ROWS = 128  # with fewer rows, reordering the codebook for the convolution costs more than it gains
CONVOLUTION_BATCH = 16  # smaller batches take a slow native path on one thread


class CodeSearch(NamedTuple):
    """What one pass over the rows yields.

    codes: `[n, Q]` long.
    z: `[n, D]`, the sum of the chosen codes.
    squared_error: `[Q]`, sum over rows of the squared distance to the codes of the levels so far.
    sums: `[Q, K, D]`, per level and code the sum of the vectors that chose it; None unless asked for.
    residuals: `[n, D]`, the remaining errors of the Q levels added up; None unless asked for.
    """

    codes: Tensor
    z: Tensor
    squared_error: Tensor
    sums: Tensor | None
    residuals: Tensor | None


@functools.cache
def _convolution_is_faster() -> bool:
    """Whether a 1x1 convolution outruns a matrix product on this CPU.

    torch sends products to MKL, which leaves AVX-512 aside on AMD processors, and convolutions to oneDNN, which does
    not: there the same numbers come out about twice as fast. On Intel's the direct product is the faster one.
    """
    try:
        vendor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return False
    return "AuthenticAMD" in vendor and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


class _Table:
    """One codebook made ready for scoring."""

    def __init__(self, table: Tensor, buffer: Tensor | None) -> None:
        self.table = table
        self.bias = table.square().sum(dim=1).mul_(-0.5)
        self.buffer = buffer

    def best(self, rows: Tensor, convolution: bool) -> Tensor:
        """Index of the nearest code of each of the `[n, D]` rows; the lowest among equally near ones."""
        if self.buffer is None:
            return torch.addmm(self.bias, rows, self.table.t()).argmax(dim=1)
        if convolution:
            scores = self._convolve(rows)
        else:
            scores = torch.addmm(self.bias, rows, self.table.t(), out=self.buffer[: len(rows)])
        return torch.from_numpy(scores.numpy().argmax(axis=1))[: len(rows)]

    def _convolve(self, rows: Tensor) -> Tensor:
        rows = F.pad(rows, (0, 0, 0, -len(rows) % CONVOLUTION_BATCH))
        count, dim = rows.shape
        # [n, D] rows are, byte for byte, a channels-last batch of 16 images of n/16 pixels with D channels.
        images = rows.view(CONVOLUTION_BATCH, count // CONVOLUTION_BATCH, 1, dim).permute(0, 3, 1, 2)
        scores = F.conv2d(images, self.table.view(-1, dim, 1, 1), self.bias)
        return scores.permute(0, 2, 3, 1).reshape(count, -1)


def _plan(rows: Tensor, size: int) -> tuple[int, Tensor | None]:
    """Rows per chunk, and the buffer for their scores where numpy can read it."""
    on_cpu = rows.device.type == "cpu" and rows.dtype == torch.float32
    if not on_cpu or torch.compiler.is_compiling():
        return max(1, ACCELERATOR_SCORES // size), None
    chunk = min(CHUNK_ROWS * min(torch.get_num_threads(), MAX_CHUNK_THREADS), max(1, len(rows)))
    return chunk, rows.new_empty(chunk, size)


@torch.no_grad()
def search_codes(
    rows: Tensor, tables: Sequence[Tensor], *, with_sums: bool = False, with_residuals: bool = False
) -> CodeSearch:
    """Nearest code at every level; a level quantizes what the levels before it left over.

    Args:
        rows: `[n, D]`, finite.
        tables: Q codebooks `[K, D]` of the same type, on the same device.
        with_sums: also add up, per level and code, the vectors that chose it (what an EMA update needs).
        with_residuals: also add up each row's Q remaining errors (what the gradient of the commitment loss needs).
    """
    rows = rows.detach().contiguous()
    size, dim = tables[0].shape
    chunk_rows, buffer = _plan(rows, size)
    convolution = buffer is not None and len(rows) >= CONVOLUTION_ROWS and _convolution_is_faster()
    prepared = [_Table(table.detach().contiguous(), buffer) for table in tables]
    codes = torch.empty(len(rows), len(tables), dtype=torch.long, device=rows.device)
    z = torch.empty_like(rows)
    error = rows.new_zeros(len(tables))
    sums = rows.new_zeros(len(tables), size, dim) if with_sums else None
    residuals = torch.empty_like(rows) if with_residuals else None
    for start in range(0, len(rows), chunk_rows):
        part = slice(start, start + chunk_rows)
        left = rows[part]
        for level, table in enumerate(prepared):
            best = table.best(left, convolution)
            codes[part, level] = best
            if sums is not None:
                sums[level].index_add_(0, best, left)
            chosen = table.table.index_select(0, best)
            left = left - chosen
            error[level] += torch.dot(left.view(-1), left.view(-1))
            _accumulate(z[part], chosen, level)
            if residuals is not None:
                _accumulate(residuals[part], left, level)
    return CodeSearch(codes, z, error, sums, residuals)


def _accumulate(total: Tensor, term: Tensor, level: int) -> None:
    """Add in place; the first level finds memory that was never written, which zeros would cost a pass over."""
    if level == 0:
        total.copy_(term)
    else:
        total.add_(term)


def nearest_codes(rows: Tensor, table: Tensor) -> Tensor:
    """Index `[n]` of the code in `table` `[K, D]` nearest to each of `rows` `[n, D]`; the lowest among equals."""
    return search_codes(rows, [table]).codes[:, 0]
