"""Two processes hold equal codebooks, those of one process on the union of their batches."""

import os
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from signllm.models.distributed import gather_rows, masked_mean, take_rows, world_size
from signllm.models.quantizers import build_quantizer

STEPS = 4
VARIANTS = {
    "ema_reset": {},
    "ema": {"dead_code_threshold": 2.0},
    "ema, cosine": {"cosine": True},
    "residual": {"num_quantizers": 3, "quantizer_dropout": True, "dead_code_threshold": 2.0},
    "gradient": {"kmeans_init": True},
    "simvq": {},
    "fsq": {"codebook_size": 24, "levels": [4, 3, 2]},
    "lfq": {"commitment": 0.5, "inverse_temperature": 3.0},
}


def make(variant):
    torch.manual_seed(0)
    quantizer = build_quantizer(variant.split(",")[0], **{"dim": 4, "codebook_size": 16, **VARIANTS[variant]})
    return nn.ModuleDict({"encoder": nn.Linear(6, 4), "quantizer": quantizer})


class Codec(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def forward(self, x, mask):
        quantized = self.parts["quantizer"](self.parts["encoder"](x), mask)
        return masked_mean((quantized.z - x[..., :4]).square(), mask) + 0.5 * quantized.loss


def union_batch(step):
    """Clips of two processes; the second has fewer valid steps, and none at all in one batch."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(4, 15, 6, generator=generator)
    lengths = torch.tensor([15, 11, 0, 0] if step == 2 else [15, 11, 9, 2])
    return x, torch.arange(15) < lengths[:, None]


def train(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for x, mask in batches:
        optimizer.zero_grad()
        loss = model.train()(x, mask)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def own_half(rank, step):
    x, mask = union_batch(step)
    return x[2 * rank : 2 * rank + 2], mask[2 * rank : 2 * rank + 2]


def check_rows(rank):
    rows = torch.arange(6.0).view(3, 2) if rank == 0 else 10 + torch.arange(2.0).view(1, 2)
    together = torch.tensor([[0.0, 1], [2, 3], [4, 5], [10, 11]])
    assert world_size() == 2
    assert torch.equal(gather_rows(rows), together)
    assert torch.equal(gather_rows(rows[: 3 * rank]), together[3:])
    assert torch.equal(take_rows(rows, torch.tensor([3, 0, 3, 2])), together[[3, 0, 3, 2]])
    value = torch.ones(1 + rank, requires_grad=True) * (rank + 1)
    mean = masked_mean(value)
    dist.all_reduce(mean)
    assert torch.isclose(mean / 2, torch.tensor(5 / 3))  # of 1, 2, 2
    with torch.no_grad():
        assert masked_mean(value) == rank + 1  # local


def check_refusal(rank):
    quantizer = make("ema")["quantizer"].train()
    x = torch.randn(1, 5, 4)
    if rank == 1:
        x[0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError):
        quantizer(x.requires_grad_())


def work(rank, folder):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    check_rows(rank)
    check_refusal(rank)
    results = {}
    for variant in VARIANTS:
        for broadcast in (False, True):
            model = DistributedDataParallel(Codec(make(variant)), broadcast_buffers=broadcast)
            losses = train(model, [own_half(rank, step) for step in range(STEPS)])
            results[variant, broadcast] = {"losses": losses, **model.module.state_dict()}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    context = mp.spawn(work, args=(str(folder),), nprocs=2, join=False)
    if not context.join(timeout=120) and not context.join(timeout=1):
        for process in context.processes:
            process.kill()
        pytest.fail("two processes did not finish within 120 s")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_are_one(both, variant, broadcast):
    first, second = (results[variant, broadcast] for results in both)
    alone = Codec(make(variant))
    losses = train(alone, [union_batch(step) for step in range(STEPS)])
    torch.testing.assert_close((first.pop("losses") + second.pop("losses")) / 2, losses, atol=1e-5, rtol=1e-5)
    for name, expected in alone.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], expected, atol=1e-5, rtol=1e-4, msg=name)


def test_masked_mean_in_one_process():
    values = torch.tensor([[1.0, 2.0], [float("nan"), 5.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [False, True]])
    mean = masked_mean(values, mask)
    mean.backward()
    assert mean.item() == pytest.approx(8 / 3)
    torch.testing.assert_close(values.grad, mask / 3)
    assert masked_mean(values, torch.zeros(2, dtype=torch.bool)).item() == 0.0
    assert masked_mean(torch.ones(2, 3, 4), torch.tensor([True, False])).item() == 1.0
    assert masked_mean(torch.arange(4.0)).item() == 1.5
