"""Speed of the quantizers against vector-quantize-pytorch and the EnCodec and Mimi modules of transformers.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_quantizers.py --rounds 9 --output bench_out/quantizers.json

One thread, one process, random order in every round; a result "4.5x" means that the peer takes 4.5 times as long as
ours, as the median over rounds. All quantize the same vectors by the same codebooks to codes and vectors; training
steps also include the codebook's update, the commitment loss and the backward pass. Exit code 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from bench_common import Line, print_lines, processor_name, ratio_to, time_interleaved, write_lines
from rich.console import Console
from torch import Tensor, nn
from transformers import EncodecConfig, MimiConfig
from transformers.models.encodec.modeling_encodec import EncodecResidualVectorQuantizer
from transformers.models.mimi.modeling_mimi import MimiResidualVectorQuantizer
from vector_quantize_pytorch import ResidualVQ, VectorQuantize

from signllm.models.nearest_code import CHUNK_ROWS, _convolution_is_faster
from signllm.models.quantizers import Quantizer, build_quantizer

OURS = "ours"
VQP, ENCODEC, MIMI = "vector-quantize-pytorch", "EnCodec (transformers)", "Mimi (transformers)"
PRODUCT = "bare matrix product, whole"
CHUNKED_PRODUCT = "bare matrix product, chunked"
AGREEMENT = "codes as in float64"
ROWS = 8192
AGREEMENT_GOAL = 0.9999
# Least ratios that hold on either matrix backend, and in words what the fastest machine reached.
EVAL_GOALS = {
    (1, 1024, 128): {VQP: (4.5, "10-17x"), ENCODEC: (2.0, "4.6-8x"), MIMI: (1.4, "2.8-4.3x")},
    (1, 512, 512): {VQP: (1.5, "3-4.8x"), ENCODEC: (1.15, "2.2-2.5x"), MIMI: (1.15, "2.2-3.2x")},
    (4, 1024, 128): {VQP: (7.0, "15-17x"), ENCODEC: (3.0, "6.6-8.3x"), MIMI: (1.9, "3.8-4.5x")},
}
TRAIN_GOALS = {
    (1, 1024, 128): {VQP: (3.5, "7-10x")},
    (1, 512, 512): {VQP: (None, "3.5-7x")},
    (4, 1024, 128): {VQP: (7.0, "15x")},
}


def make_problem(levels: int, size: int, dim: int) -> tuple[Tensor, list[Tensor]]:
    """Vectors `[1, N, D]` and codebooks `[K, D]`, each level's spread like what is left for it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, ROWS, dim, generator=generator)
    return x, [torch.randn(size, dim, generator=generator) * 0.9**level for level in range(levels)]


# ---- the candidates -------------------------------------------------------------------------------------------------


def make_ours(tables: list[Tensor]) -> Quantizer:
    size, dim = tables[0].shape
    name = "ema" if len(tables) == 1 else "residual"
    quantizer = build_quantizer(name, dim, size, len(tables), dead_code_threshold=0.0, kmeans_init=False)
    for level, table in zip(quantizer.core.codebooks, tables, strict=True):
        level.codebook.copy_(table)
        level.code_sums.copy_(table)
        level.initialised.fill_(True)
    return quantizer


def make_vqp(tables: list[Tensor]) -> nn.Module:
    size, dim = tables[0].shape
    options = {"decay": 0.99, "rotation_trick": False, "threshold_ema_dead_code": 0, "kmeans_init": False}
    if len(tables) == 1:
        module = VectorQuantize(dim=dim, codebook_size=size, **options)
        layers = [module]
    else:
        module = ResidualVQ(dim=dim, num_quantizers=len(tables), codebook_size=size, **options)
        layers = list(module.layers)
    for layer, table in zip(layers, tables, strict=True):
        layer._codebook.embed.data.copy_(table[None])
        layer._codebook.embed_avg.data.copy_(table[None])
        layer._codebook.cluster_size.data.fill_(1.0)
    return module


def make_encodec(tables: list[Tensor]) -> EncodecResidualVectorQuantizer:
    size, dim = tables[0].shape
    module = EncodecResidualVectorQuantizer(EncodecConfig(codebook_size=size, codebook_dim=dim))
    module.num_quantizers = len(tables)
    module.layers = module.layers[: len(tables)]
    for layer, table in zip(module.layers, tables, strict=True):
        layer.codebook.embed.copy_(table)
    return module


def make_mimi(tables: list[Tensor]) -> MimiResidualVectorQuantizer:
    size, dim = tables[0].shape
    config = MimiConfig(
        codebook_size=size, codebook_dim=dim, hidden_size=dim, vector_quantization_hidden_dimension=dim
    )
    module = MimiResidualVectorQuantizer(config, num_quantizers=len(tables))
    for layer, table in zip(module.layers, tables, strict=True):
        layer.codebook.embed_sum.copy_(table)
    return module


def quantizing(x: Tensor, tables: list[Tensor]) -> dict[str, Callable[[], Tensor]]:
    """Per candidate a call that quantizes `x` and gives its codes `[N, Q]`."""
    ours, vqp = make_ours(tables).eval(), make_vqp(tables).eval()
    encodec, mimi = make_encodec(tables).eval(), make_mimi(tables).eval()
    channels_first = x.transpose(1, 2)  # their own transpositions undo this one: no copy on either side

    def run_encodec() -> Tensor:
        codes = encodec.encode(channels_first)
        encodec.decode(codes)
        return codes[:, 0].t()

    def run_mimi() -> Tensor:
        codes = mimi.encode(channels_first)
        mimi.decode(codes.transpose(0, 1))
        return codes[:, 0].t()

    return {
        OURS: lambda: ours(x).codes[0],
        VQP: lambda: vqp(x)[1].view(ROWS, -1),
        ENCODEC: run_encodec,
        MIMI: run_mimi,
    }


def multiplying(x: Tensor, tables: list[Tensor]) -> dict[str, Callable[[], object]]:
    """The matrix products alone: at once, and in our chunks with our backend, the least that a search can cost."""
    rows, dim = x[0], x.shape[2]
    convolve = _convolution_is_faster()
    scores = torch.empty(CHUNK_ROWS, len(tables[0]))

    def whole() -> None:
        for table in tables:
            torch.mm(rows, table.t())

    def chunked() -> None:
        for part in rows.split(CHUNK_ROWS):
            for table in tables:
                if convolve:
                    images = part.view(16, -1, 1, dim).permute(0, 3, 1, 2)
                    torch.nn.functional.conv2d(images, table.view(-1, dim, 1, 1))
                else:
                    torch.mm(part, table.t(), out=scores)

    return {PRODUCT: whole, CHUNKED_PRODUCT: chunked}


def training(x: Tensor, tables: list[Tensor]) -> dict[str, Callable[[], object]]:
    """Per candidate a call that does one training step: forward, update of the codebook, backward."""
    ours, vqp = make_ours(tables).train(), make_vqp(tables).train()
    own_input, their_input = x.clone().requires_grad_(), x.clone().requires_grad_()

    def run_ours() -> None:
        own_input.grad = None
        quantized = ours(own_input)
        (quantized.z.sum() + quantized.loss).backward()

    def run_vqp() -> None:
        their_input.grad = None
        z, _, loss = vqp(their_input)
        (z.sum() + loss.sum()).backward()

    return {OURS: run_ours, VQP: run_vqp}


def exact_codes(x: Tensor, tables: list[Tensor]) -> Tensor:
    """Codes `[N, Q]` by distances in float64."""
    left, codes = x[0].double(), []
    for table in tables:
        codes.append(torch.cdist(left, table.double(), compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1))
        left = left - table.double()[codes[-1]]
    return torch.stack(codes, dim=1)


# ---- the runs -------------------------------------------------------------------------------------------------------


def run_eval(levels: int, size: int, dim: int, rounds: int) -> list[Line]:
    x, tables = make_problem(levels, size, dim)
    task = f"{'VQ' if levels == 1 else f'RVQ {levels} x'} {size} x {dim}, encode"
    with torch.no_grad():
        candidates = quantizing(x, tables)
        codes = {name: call() for name, call in candidates.items()}
        seconds = time_interleaved({**candidates, **multiplying(x, tables)}, rounds)
        exact = exact_codes(x, tables)
    agreement = min((codes[OURS] == exact).float().mean(dim=0).tolist())
    lines = [Line(task, AGREEMENT, agreement, f"{agreement:.6f}", AGREEMENT_GOAL, "1.0", "lowest of the levels")]
    for name in (VQP, ENCODEC, MIMI):
        ratio = ratio_to(seconds, name, OURS)
        goal, stretch = EVAL_GOALS[levels, size, dim][name]
        equal = (codes[name] == codes[OURS]).float().mean().item()
        note = f"ours {ratio.reference_ms:.1f} ms; {equal:.4%} equal codes"
        lines.append(Line(task, name, ratio.median, str(ratio), goal, stretch, note))
    for name in (PRODUCT, CHUNKED_PRODUCT):
        ratio = ratio_to(seconds, OURS, name)
        note = f"ours as a multiple of {ratio.reference_ms:.1f} ms"
        lines.append(Line(task, name, ratio.median, str(ratio), note=note))
    return lines


def run_train(levels: int, size: int, dim: int, rounds: int) -> list[Line]:
    x, tables = make_problem(levels, size, dim)
    task = f"{'VQ' if levels == 1 else f'RVQ {levels} x'} {size} x {dim}, training step"
    ratio = ratio_to(time_interleaved(training(x, tables), rounds), VQP, OURS)
    goal, stretch = TRAIN_GOALS[levels, size, dim][VQP]
    return [Line(task, VQP, ratio.median, str(ratio), goal, stretch, f"ours {ratio.reference_ms:.1f} ms")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds per task")
    parser.add_argument("--output", type=Path, default=Path("bench_out/quantizers.json"), help="result file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    lines: list[Line] = []
    for levels, size, dim in EVAL_GOALS:
        lines += run_eval(levels, size, dim, options.rounds)
    for levels, size, dim in TRAIN_GOALS:
        lines += run_train(levels, size, dim, options.rounds)
    print_lines(f"Quantizers, {ROWS} vectors, 1 thread, {processor_name()}", lines)
    backend = "1x1 convolution (oneDNN)" if _convolution_is_faster() else "matrix product"
    write_lines(
        options.output,
        lines,
        rounds=options.rounds,
        backend=backend,
        torch=torch.__version__,
        transformers=transformers.__version__,
        vector_quantize_pytorch=version("vector-quantize-pytorch"),
    )
    failed = sum(not line.passed for line in lines)
    Console().print(
        f"backend: {backend}; {time.perf_counter() - start:.0f} s; {options.output}; "
        + (f"[bold red]{failed} goals missed[/]" if failed else "all goals met")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
