"""What the quantizers share: their result, gradients through a choice, usage statistics, seeded draws and k-means.

Quantizers proper work on rows `[n, D]` of valid vectors in float32; `quantizers.py` makes the rows. Legend: n rows,
Q quantizers (levels), K codebook size, D dim. Each quantizer has

    forward(rows [n, D], rows_per_process, num_quantizers, update) -> RowsQuantized
    lookup(codes [n, Q']) -> [n, D]

`update` is True when statistics may change. Losses are sums divided by `rows_per_process`, the number of rows of all
processes over the number of processes: averaged by DDP, they are the mean over all rows. Random choices come from
generators seeded by (seed, step buffer): equal on all processes, and the same again after a resume.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .distributed import broadcast_from_first, gather_rows, row_counts, take_rows
from .nearest_code import search_codes

GRADIENT_ESTIMATORS = ("straight_through", "rotation")


class RowsQuantized(NamedTuple):
    """z `[n, D]` with gradient, codes `[n, Q]` long, loss scalar, stats: name -> tensor `[Q]`."""

    z: Tensor
    codes: Tensor
    loss: Tensor
    stats: dict[str, Tensor]


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32, whatever its weights' type."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input.float(), self.weight.float(), None if self.bias is None else self.bias.float())


def check_estimator(name: str) -> str:
    """`name`, if it is one of the gradient estimators."""
    if name not in GRADIENT_ESTIMATORS:
        raise ValueError(f"gradient_estimator must be one of {', '.join(GRADIENT_ESTIMATORS)}, got {name!r}")
    return name


# ---- gradients through the choice of a code ----


def pass_gradient(rows: Tensor, z: Tensor, estimator: str = "straight_through") -> Tensor:
    """The value of `z`, exactly, with a gradient to `rows`.

    `straight_through`: dz/dx = identity. `rotation`: the rotation and scaling that take x to z, held constant
    ("rotation trick", Fifty et al. 2024); in one dimension there is nothing to rotate.

    Args:
        rows: `[n, D]`, what was quantized.
        z: `[n, D]`, the chosen codes, without gradient.
        estimator: one of `GRADIENT_ESTIMATORS`.
    """
    if estimator == "rotation" and rows.shape[1] > 1:
        rows = _rotate(rows, z)
    return cast(Tensor, _PassGradient.apply(rows, z))


class _PassGradient(torch.autograd.Function):
    """z + (x - sg(x)) without its two temporaries."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, z: Tensor) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _PassGradientAndPull(torch.autograd.Function):
    """z as `_PassGradient` has it, and the commitment loss, with one temporary in the backward pass for both."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, z: Tensor, loss: Tensor, residuals: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(residuals)
        ctx.scale = scale
        ctx.set_materialize_grads(False)
        return z.view_as(z), loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor | None, grad_loss: Tensor | None) -> tuple[Tensor | None, ...]:
        grad = grad_z
        if grad_loss is not None:
            (residuals,) = ctx.saved_tensors
            pull = 2.0 * ctx.scale * grad_loss
            grad = residuals * pull if grad is None else torch.addcmul(grad, residuals, pull)
        return grad, None, None, None, None


def pass_gradient_and_pull(
    rows: Tensor, z: Tensor, loss: Tensor, residuals: Tensor, scale: float, estimator: str
) -> tuple[Tensor, Tensor]:
    """`pass_gradient(rows, z, estimator)`, and `loss` with the gradient of the sum of squares that it is.

    Args:
        rows: `[n, D]`, what was quantized.
        z: `[n, D]`, the quantized rows, without gradient.
        loss: `scale * sum_i |r_i|^2`, r_i = x - c_i with c_i constant, without gradient.
        residuals: `[n, D]`, sum_i r_i: its derivative by x is `2 scale` times this.
        scale: see `loss`.
        estimator: one of `GRADIENT_ESTIMATORS`.
    """
    passed, loss = cast(tuple[Tensor, Tensor], _PassGradientAndPull.apply(rows, z, loss, residuals, scale))
    return (passed if estimator == "straight_through" else pass_gradient(rows, z, estimator)), loss


def _rotate(rows: Tensor, z: Tensor) -> Tensor:
    """z = |q|/|x| (x - 2 (x.w) w + 2 (x.u) v), u = x/|x|, v = q/|q|, w = (u + v)/|u + v|; all but x held constant."""
    with torch.no_grad():
        length = rows.norm(dim=1, keepdim=True)
        u, v = F.normalize(rows, dim=1), F.normalize(z, dim=1)
        w = F.normalize(u + v, dim=1, eps=1e-6)  # opposite vectors: w vanishes, a reflection along v remains
        scale = torch.where(length > 1e-12, z.norm(dim=1, keepdim=True) / length, 1.0)
    along_w, along_u = (rows * w).sum(dim=1, keepdim=True), (rows * u).sum(dim=1, keepdim=True)
    return scale * (rows - 2.0 * along_w * w + 2.0 * along_u * v)


# ---- statistics, random rows, k-means ----


def count_codes(codes: Tensor, size: int) -> Tensor:
    """Hits `[Q, K]` float32 of codes `[n, Q]`."""
    return torch.stack([torch.bincount(level, minlength=size) for level in codes.unbind(dim=1)]).float()


def usage_stats(hits: Tensor) -> dict[str, Tensor]:
    """Perplexity exp(-sum p ln p) and the share of codes in use, each `[Q]`, of hits `[Q, K]`."""
    shares = hits / hits.sum(dim=1, keepdim=True).clamp(min=1.0)
    return {
        "perplexity": torch.special.entr(shares).sum(dim=1).exp(),
        "usage": (hits > 0).float().mean(dim=1),
    }


def make_generator(seed: int, stream: int, step: int) -> torch.Generator:
    """A CPU generator that depends on its three arguments alone (torch's uses 32 bits of a seed)."""
    return torch.Generator().manual_seed((seed * 2_654_435_761 + stream * 40_503_000 + step) % 2**32)


def draw_rows(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` random rows of all processes' `[n_r, D]` rows, equal on all processes.

    They are distinct as long as there are enough; otherwise all are repeated, with noise of deviation 0.01 / sqrt(D)
    to tell the copies apart.
    """
    chosen = take_rows(rows, draw_indices(rows, count, generator))
    return tell_copies_apart(chosen, sum(row_counts(rows)), generator)


def draw_indices(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`[count]` random indices into all processes' rows, a repeated permutation where there are too few of them."""
    total = sum(row_counts(rows))
    order = torch.randperm(total, generator=generator)
    return order.repeat(math.ceil(count / total))[:count].to(rows.device)


def tell_copies_apart(chosen: Tensor, total: int, generator: torch.Generator) -> Tensor:
    """`chosen` `[m, D]`, with a little noise where m exceeds the `total` number of rows that they were drawn from."""
    if len(chosen) <= total:
        return chosen
    noise = torch.randn(chosen.shape, generator=generator).to(chosen.device)
    return chosen + noise * (0.01 / math.sqrt(chosen.shape[1]))


@torch.no_grad()
def kmeans(rows: Tensor, size: int, iterations: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm over the rows of all processes, started from random rows; an empty cluster keeps its centre.

    Returns:
        centres `[K, D]` and the number of rows of each `[K]`, equal on all processes.
    """
    centres = draw_rows(rows, size, generator)
    everything = gather_rows(rows)
    hits = rows.new_ones(size)
    for _ in range(iterations):
        found = search_codes(everything, [centres], with_sums=True)
        assert found.sums is not None
        hits = count_codes(found.codes, size)[0]
        centres = torch.where(hits[:, None] > 0, found.sums[0] / hits.clamp(min=1.0)[:, None], centres)
    # Sums on an accelerator may differ in the last bit from process to process.
    return broadcast_from_first(centres), broadcast_from_first(hits)
