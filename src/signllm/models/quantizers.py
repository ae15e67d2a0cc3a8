"""Vector quantizers behind one interface: latents `[B, T, D]` -> codes `[B, T, Q]` and back.

    quantizer = build_quantizer("ema", dim=128, codebook_size=512)
    z, codes, loss, stats = quantizer(latents, mask)         # mask [B, T], True where real
    latents = quantizer.codes_to_z(codes)

Legend: B batch, T steps, D dim, Q quantizers, K codebook size, n valid rows.

Held by all of them:
- Masked steps get code 0 and z = 0; they reach neither statistics, starts and restarts, nor the loss.
- State changes only while `training` *and* gradients are enabled, once per forward call: gradient accumulation updates
  once per micro-batch, and activation checkpointing must not recompute a quantizer.
- In eval mode `codes_to_z(quantizer(x).codes)` equals `quantizer(x).z`; behind a projection, to the last bits.
- Everything is computed in float32, inside autocast too, and all state lies in persistent buffers and parameters.
- Several processes hold equal codebooks, those of one process on the union of their batches; losses are such that
  DDP's average is the mean over all rows.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .distributed import all_reduce_sum, is_distributed, world_size
from .quantizer_codebooks import EMACodebook, ResidualVQ
from .quantizer_gradient import GradientVQ, SimVQ
from .quantizer_lookup_free import FSQ, LFQ
from .quantizer_parts import Float32Linear

_CLASSES: dict[str, type[nn.Module]] = {
    "ema_reset": ResidualVQ,
    "ema": ResidualVQ,
    "residual": ResidualVQ,
    "gradient": GradientVQ,
    "simvq": SimVQ,
    "fsq": FSQ,
    "lfq": LFQ,
}
RowQuantizer = ResidualVQ | GradientVQ | SimVQ | FSQ | LFQ
QUANTIZER_NAMES = tuple(_CLASSES)
# The rule of MotionGPT's QuantizeEMAReset: no smoothing, rows of the first batch as codes, and a
# code restarts unless it is hit once per batch on average.
EMA_RESET_OPTIONS = {"laplace_epsilon": 0.0, "dead_code_threshold": 1.0, "kmeans_init": False}


class Quantized(NamedTuple):
    """What a quantizer gives.

    z: `[B, T, D]`, quantized latents with a gradient to the input (and to codebooks and projections that have one), in
        the type of the input; 0 where masked.
    codes: `[B, T, Q']` long, Q' the number of levels in use; 0 where masked.
    loss: scalar, not yet multiplied by the model's commitment weight. Usual weights: 0.02 (system 01) to 1 for the
        moving averages, 1 for `gradient` and `simvq` (their codebooks learn from it), 0.1 for `lfq`; 0 for `fsq`.
    stats: of this batch (over all processes when training), each `[Q']`: `perplexity`, `usage` (share of codes hit),
        `restarted` (number of codes restarted; moving averages only).
    """

    z: Tensor
    codes: Tensor
    loss: Tensor
    stats: dict[str, Tensor]


class Quantizer(nn.Module):
    """Masks, precision, checks and an optional projection around a quantizer of rows.

    Args:
        core: the quantizer of rows.
        dim: D of the latents.
        project: whether learned linear maps lead from D to the dimension of `core` and back.
    """

    def __init__(self, core: RowQuantizer, dim: int, project: bool) -> None:
        super().__init__()
        self.core = core
        self.dim = dim
        self.project_in = Float32Linear(dim, core.dim) if project else None
        self.project_out = Float32Linear(core.dim, dim) if project else None

    @property
    def codebook_size(self) -> int:
        """K: codes are 0..K-1 at every level."""
        return self.core.codebook_size

    @property
    def num_quantizers(self) -> int:
        """Q: levels, codes per step."""
        return self.core.num_quantizers

    def forward(self, x: Tensor, mask: Tensor | None = None, num_quantizers: int | None = None) -> Quantized:
        """Quantize a batch.

        Args:
            x: `[B, T, D]` latents; anything where masked.
            mask: `[B, T]` bool, True where real; None: everywhere.
            num_quantizers: use only the first so many levels, 1..Q (None: all, or a random number of them when
                training with quantizer dropout).

        Raises:
            ValueError: wrong shapes or number of levels.
            FloatingPointError: a valid latent is NaN, infinite, or too large for its square; nothing was updated.
        """
        self._check(x, mask, num_quantizers)
        update = self.training and torch.is_grad_enabled()
        with torch.autocast(device_type=x.device.type, enabled=False):
            rows, places = _valid_rows(x, mask)
            rows = rows.float()
            if self.project_in is not None:
                rows = self.project_in(rows)
            count = _rows_per_process(rows, update)
            # Without a valid row anywhere there is nothing to learn, and sums of nothing to divide.
            z, codes, loss, stats = self.core(rows, count or 1.0, num_quantizers, update and count > 0)
            if self.project_out is not None:
                z = self.project_out(z)
        z = _fill(z.to(x.dtype), places, x.shape[:2])
        return Quantized(z, _fill(codes, places, x.shape[:2]), loss, stats)

    def codes_to_z(self, codes: Tensor) -> Tensor:
        """`[B, T, D]` float32 of codes `[B, T, Q']`; Q' <= Q, the first levels.

        Raises:
            ValueError: wrong shape or type, or codes outside 0..K-1.
        """
        if codes.dim() != 3 or not 1 <= codes.shape[2] <= self.num_quantizers:
            raise ValueError(f"codes must be [B, T, 1..{self.num_quantizers}], got {list(codes.shape)}")
        if codes.is_floating_point() or codes.dtype == torch.bool:
            raise ValueError(f"codes must be integers, got {codes.dtype}")
        lowest, highest = (int(codes.min()), int(codes.max())) if codes.numel() else (0, 0)
        if lowest < 0 or highest >= self.codebook_size:
            raise ValueError(f"codes must lie in 0..{self.codebook_size - 1}, got {lowest}..{highest}")
        with torch.autocast(device_type=codes.device.type, enabled=False):
            z = self.core.lookup(codes.long().flatten(0, 1))
            if self.project_out is not None:
                z = self.project_out(z)
        return z.view(*codes.shape[:2], self.dim)

    def _check(self, x: Tensor, mask: Tensor | None, num_quantizers: int | None) -> None:
        if x.dim() != 3 or x.shape[2] != self.dim:
            raise ValueError(f"latents must be [B, T, {self.dim}], got {list(x.shape)}")
        if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
            raise ValueError(f"mask must be bool {list(x.shape[:2])}, got {mask.dtype} {list(mask.shape)}")
        if num_quantizers is not None and not 1 <= num_quantizers <= self.num_quantizers:
            raise ValueError(f"num_quantizers must be in 1..{self.num_quantizers}, got {num_quantizers}")


def _valid_rows(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Rows `[n, D]` of the unmasked steps and their places `[n]` among all B*T; None: nothing is masked."""
    rows = x.flatten(0, 1)
    if mask is None or bool(mask.all()):
        return rows, None
    places = mask.flatten().nonzero()[:, 0]
    return rows.index_select(0, places), places


def _fill(rows: Tensor, places: Tensor | None, shape: torch.Size) -> Tensor:
    """`[n, X]` -> `[B, T, X]`, 0 where masked."""
    if places is not None:
        rows = rows.new_zeros(shape.numel(), rows.shape[1]).index_copy(0, places, rows)
    return rows.view(*shape, rows.shape[1])


def _rows_per_process(rows: Tensor, update: bool) -> float:
    """Mean number of rows per process; raises, on all processes alike, where a row of any of them is not finite."""
    bad = not bool(torch.isfinite(torch.linalg.vector_norm(rows.detach())))
    count = float(len(rows))
    if update and is_distributed():
        totals = all_reduce_sum(torch.tensor([count, float(bad)], dtype=torch.float64, device=rows.device))
        count, bad = float(totals[0]) / world_size(), bool(totals[1] > 0)
    if bad:
        raise FloatingPointError(
            "latents hold NaN, infinite or overflowing values; the quantizer's state was left as it was. "
            "Lower the learning rate, clip gradients, or look for bad poses in the batch."
        )
    return count


def build_quantizer(name: str, dim: int, codebook_size: int, num_quantizers: int = 1, **options: Any) -> Quantizer:
    """Make a quantizer.

    | name | class | codebook |
    |---|---|---|
    | `ema_reset` | `ResidualVQ`, 1 level | moving averages; codes with < 1 hit per batch restart (system 01) |
    | `ema` | `ResidualVQ`, 1 level | moving averages with smoothing, k-means start, scaled restarts |
    | `residual` | `ResidualVQ` | as `ema`, with `num_quantizers` levels |
    | `gradient` | `GradientVQ` | a parameter |
    | `simvq` | `SimVQ` | one learned map of fixed codes |
    | `fsq` | `FSQ` | implicit: rounded channels; `codebook_size` is the product of `levels` |
    | `lfq` | `LFQ` | implicit: signs of log2 K channels |

    Args:
        name: one of the table's.
        dim: D of the latents.
        codebook_size: K.
        num_quantizers: Q, other than 1 only for `residual`.
        options: keywords of the class, and `projection_dim` (quantize in so few dimensions, between learned
            projections; `fsq` and `lfq` always have those); e.g. `gradient_estimator="rotation"`, `cosine=True`,
            `kmeans_init=False`, `dead_code_threshold=2.0`, `projection_dim=8`.

    Raises:
        ValueError: unknown name or option, or values that do not fit.
    """
    if name not in QUANTIZER_NAMES:
        raise ValueError(f"quantizer must be one of {', '.join(QUANTIZER_NAMES)}, got {name!r}")
    for label, value in (("dim", dim), ("codebook_size", codebook_size), ("num_quantizers", num_quantizers)):
        if value < 1:
            raise ValueError(f"{label} must be at least 1, got {value}")
    if name != "residual" and num_quantizers != 1:
        raise ValueError(f"{name} has one level, got num_quantizers={num_quantizers}: use residual")
    _check_options(name, options)
    projection_dim = options.pop("projection_dim", None)
    inner = projection_dim or dim
    core: RowQuantizer
    match name:
        case "ema_reset":
            core = ResidualVQ(inner, codebook_size, 1, **{**EMA_RESET_OPTIONS, **options})
        case "ema" | "residual":
            core = ResidualVQ(inner, codebook_size, num_quantizers, **options)
        case "gradient":
            core = GradientVQ(inner, codebook_size, **options)
        case "simvq":
            core = SimVQ(inner, codebook_size, **options)
        case "fsq":
            return Quantizer(FSQ(codebook_size, **options), dim, project=True)
        case _:
            return Quantizer(LFQ(codebook_size, **options), dim, project=True)
    return Quantizer(core, dim, project=projection_dim is not None)


def _check_options(name: str, options: dict[str, Any]) -> None:
    parameters = inspect.signature(_CLASSES[name]).parameters.values()
    allowed = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    if name not in ("fsq", "lfq"):
        allowed.append("projection_dim")
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; its options are {', '.join(allowed)}")


def init_quantizer_weights(module: nn.Module) -> None:
    """Initialise `module` if it is a part of a quantizer; values that were loaded stay as they are.

    To be called by `_init_weights(self, module)` of a `PreTrainedModel`.
    """
    if isinstance(module, (EMACodebook, GradientVQ, SimVQ, Float32Linear)):
        module.reset_parameters()
