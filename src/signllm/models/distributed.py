"""Small helpers for several processes: everything here is a no-op, or plain local work, when there is only one.

Each function that communicates is a collective: every process must call it, in the same order.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """True where a process group of more than one process is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


@torch.no_grad()
def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of `tensor` over all processes, in place and without a gradient; gives `tensor` back."""
    if is_distributed():
        dist.all_reduce(tensor)
    return tensor


@torch.no_grad()
def broadcast_from_first(tensor: Tensor) -> Tensor:
    """Overwrite `tensor`, in place, by the first process's; gives `tensor` back."""
    if is_distributed():
        dist.broadcast(tensor, src=0)
    return tensor


def row_counts(rows: Tensor) -> list[int]:
    """Number of rows that each process holds, in rank order."""
    if not is_distributed():
        return [len(rows)]
    counts = torch.zeros(world_size(), dtype=torch.long, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    return all_reduce_sum(counts).tolist()


@torch.no_grad()
def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, one below the other in rank order: `[n_r, ...]` on rank r -> `[sum_r n_r, ...]`.

    Processes may hold different numbers of rows, none included.
    """
    if not is_distributed():
        return rows
    counts = row_counts(rows)
    longest = max(counts)
    padding = rows.new_zeros((longest - len(rows), *rows.shape[1:]))
    padded = torch.cat([rows.detach(), padding])
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])


@torch.no_grad()
def take_rows(rows: Tensor, indices: Tensor) -> Tensor:
    """`gather_rows(rows)[indices]`, communicating only the rows that are asked for.

    Args:
        rows: `[n_r, ...]`, this process's rows.
        indices: `[m]` long, equal on all processes, into the rows of all.
    """
    if not is_distributed():
        return rows[indices]
    start = sum(row_counts(rows)[: dist.get_rank()])
    local = indices - start
    mine = (local >= 0) & (local < len(rows))
    taken = rows.new_zeros((len(indices), *rows.shape[1:]))
    taken[mine] = rows.detach()[local[mine]]
    return all_reduce_sum(taken)


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of `values` where `mask` is True; 0 where it is True nowhere.

    With gradients enabled and several processes, the divisor is the count over all processes divided by their
    number. Then the average of the processes' gradients, which is what DDP and ZeRO form, is the exact gradient of
    the mean over the union of their batches, however unequal their numbers of valid elements are; each process's own
    value is its share of that mean, and the average of the shares is the mean. Such a call is a collective. Under
    `no_grad` the mean is local, so that one process may evaluate alone.

    Args:
        values: any shape.
        mask: bool, `values.shape` or its leading dimensions; masked values may be NaN.

    Returns:
        scalar with gradient.
    """
    if mask is None:
        total, count = values.sum(), torch.tensor(float(values.numel()), device=values.device)
    else:
        mask = mask.reshape(*mask.shape, *(1,) * (values.dim() - mask.dim())).expand(values.shape)
        total = torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device)).sum()
        count = mask.sum(dtype=torch.float32)
    if torch.is_grad_enabled() and is_distributed():
        count = all_reduce_sum(count) / world_size()
    return total / torch.where(count > 0, count, 1.0)
