"""The same numbers as vector-quantize-pytorch, where both compute the same thing."""

import pytest
import torch

from signllm.models.quantizer_lookup_free import LFQ as OurLFQ
from signllm.models.quantizers import build_quantizer

vqp = pytest.importorskip("vector_quantize_pytorch", reason="needs the test extra")
OPTIONS = {"decay": 0.9, "rotation_trick": False, "threshold_ema_dead_code": 0, "kmeans_init": False}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(levels):
    """Ours and theirs with the same codebooks."""
    name = "residual" if levels > 1 else "ema"
    ours = build_quantizer(name, 8, 16, levels, decay=0.9, dead_code_threshold=0.0)
    if levels > 1:
        theirs = vqp.ResidualVQ(dim=8, codebook_size=16, num_quantizers=levels, **OPTIONS)
        layers = list(theirs.layers)
    else:
        theirs = vqp.VectorQuantize(dim=8, codebook_size=16, **OPTIONS)
        layers = [theirs]
    for level, (own, layer) in enumerate(zip(ours.core.codebooks, layers, strict=True)):
        table = normal(16, 8, seed=level) * 0.7**level
        own.codebook.copy_(table)
        own.code_sums.copy_(table)
        own.code_counts.fill_(1.0)
        own.initialised.fill_(True)
        layer._codebook.embed.data.copy_(table[None])
        layer._codebook.embed_avg.data.copy_(table[None])
        layer._codebook.cluster_size.data.fill_(1.0)
    return ours, theirs, layers


@pytest.mark.parametrize("levels", [1, 3])
def test_codes_and_vectors(levels):
    ours, theirs, _ = pair(levels)
    x = normal(2, 40, 8, seed=9)
    quantized, (z, codes, _) = ours.eval()(x), theirs.eval()(x)
    assert torch.equal(quantized.codes, codes.view(2, 40, levels))
    torch.testing.assert_close(quantized.z, z, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("levels", [1, 3])
def test_training(levels):
    """Codebooks, losses and gradients over several steps, with masks."""
    ours, theirs, layers = pair(levels)
    mask = torch.arange(40) < torch.tensor([[40], [25]])
    for step in range(4):
        x, y = normal(2, 40, 8, seed=20 + step).requires_grad_(), normal(2, 40, 8, seed=20 + step).requires_grad_()
        quantized, (z, codes, loss) = ours.train()(x, mask), theirs.train()(y, mask=mask)
        assert torch.equal(quantized.codes[mask], codes.view(2, 40, levels)[mask])
        torch.testing.assert_close(quantized.loss, loss.mean())
        (quantized.loss + (quantized.z * mask[..., None]).square().sum()).backward()
        (loss.mean() + (z * mask[..., None]).square().sum()).backward()
        if levels == 1:
            torch.testing.assert_close(x.grad[mask], y.grad[mask], atol=1e-5, rtol=1e-5)
        for own, layer in zip(ours.core.codebooks, layers, strict=True):
            torch.testing.assert_close(own.codebook, layer._codebook.embed[0], atol=1e-5, rtol=1e-4)


def test_fsq_gives_the_same_code_vectors():
    """The same set of codes and the same index of each; the shift before tanh differs in the third digit."""
    theirs, ours = vqp.FSQ(levels=[8, 5, 5, 5]), build_quantizer("fsq", 4, 1000).core
    indices = torch.arange(1000)
    torch.testing.assert_close(ours.lookup(indices[:, None]), theirs.indices_to_codes(indices))
    x = 2 * normal(500, 4)
    result, (z, codes) = ours(x, 500.0, None, False), theirs(x[None])
    same = result.codes[:, 0] == codes[0]
    assert same.float().mean() > 0.99
    torch.testing.assert_close(result.z[same], z[0][same])


def test_lfq():
    theirs = vqp.LFQ(codebook_size=64, dim=6, entropy_loss_weight=1.0, diversity_gamma=0.8, commitment_loss_weight=0.3)
    theirs.train()
    x = 0.02 * normal(1, 200, 6)
    z, codes, loss = theirs(x, inv_temperature=10.0)
    ours = OurLFQ(64, inverse_temperature=10.0, gamma=0.8, commitment=0.3)(x[0], 200.0, None, False)
    assert torch.equal(ours.codes[:, 0], codes[0])
    torch.testing.assert_close(ours.z, z[0])
    torch.testing.assert_close(ours.loss, loss, atol=1e-3, rtol=1e-3)
