"""Small codecs for the tests of models."""

import pytest
import torch

from signllm.models.configuration_sign_vq import SignVQConfig
from signllm.models.modeling_sign_vq import SignVQModel

QUANTIZERS = {
    "ema_reset": {},
    "ema": {},
    "gradient": {},
    "simvq": {},
    "residual": {"num_quantizers": 3},
    "fsq": {"codebook_size": 5 * 5 * 5, "quantizer_options": {"levels": [5, 5, 5]}},
    "lfq": {"codebook_size": 32},
}


def tiny_config(**changes) -> SignVQConfig:
    sizes = {"hidden_size": 16, "depth": 2, "residual_blocks": 2, "codebook_size": 16, "codebook_dim": 8}
    return SignVQConfig(**{**sizes, **changes})


def random_poses(batch: int, frames: int, *, seed: int = 0, joints: int = 56, missing: float = 0.2):
    """Prepared poses: values, joint_mask, frame_mask with clips of different length."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(batch, frames, joints, 2, generator=generator).cumsum(dim=1) * 0.1
    joint_mask = torch.rand(batch, frames, joints, generator=generator) > missing
    lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
    lengths[0] = frames
    frame_mask = torch.arange(frames) < lengths[:, None]
    return values, joint_mask & frame_mask[..., None], frame_mask


def trained(config: SignVQConfig, steps: int = 4) -> SignVQModel:
    """A codec after a few real steps, so that its codebook is that of training and not of construction."""
    torch.manual_seed(0)
    model = SignVQModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(steps):
        model(*random_poses(4, 24, seed=step)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(params=list(QUANTIZERS))
def codec(request) -> SignVQModel:
    return trained(tiny_config(quantizer=request.param, **QUANTIZERS[request.param]))
