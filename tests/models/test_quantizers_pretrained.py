"""Quantizers inside a `PreTrainedModel`: saved and loaded whole, and never started anew."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from signllm.models.quantizer_codebooks import EMACodebook
from signllm.models.quantizers import build_quantizer, init_quantizer_weights


class TinyConfig(PreTrainedConfig):
    model_type = "tiny_quantizer_test"
    quantizer: str = "ema"
    codebook_size: int = 16
    num_quantizers: int = 1
    quantizer_options: dict | None = None


class TinyModel(PreTrainedModel):
    config_class = TinyConfig
    _keep_in_fp32_modules_strict = ("quantizer",)

    def __init__(self, config):
        super().__init__(config)
        self.encoder = nn.Linear(6, 8)
        self.quantizer = build_quantizer(
            config.quantizer, 8, config.codebook_size, config.num_quantizers, **(config.quantizer_options or {})
        )
        self.post_init()

    def _init_weights(self, module):
        super()._init_weights(module)
        init_quantizer_weights(module)

    def forward(self, x):
        return self.quantizer(self.encoder(x))


VARIANTS = [
    {"quantizer": "ema_reset"},
    {"quantizer": "ema", "quantizer_options": {"projection_dim": 3, "cosine": True}},
    {"quantizer": "residual", "num_quantizers": 3, "quantizer_options": {"quantizer_dropout": True}},
    {"quantizer": "gradient", "quantizer_options": {"kmeans_init": True}},
    {"quantizer": "simvq"},
    {"quantizer": "fsq", "codebook_size": 240},
    {"quantizer": "lfq"},
]


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant["quantizer"])
def trained(request):
    torch.manual_seed(0)
    model = TinyModel(TinyConfig(**request.param))
    train(model, 2)
    return model


def batch(seed):
    return torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(seed))


def train(model, steps, first=0):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for seed in range(first, first + steps):
        optimizer.zero_grad()
        quantized = model.train()(batch(seed))
        (quantized.z.square().mean() + quantized.loss).backward()
        optimizer.step()


def assert_same_state(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_saved_and_loaded(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = TinyModel.from_pretrained(tmp_path)
    assert_same_state(trained, loaded)
    expected, got = trained.eval()(batch(9)), loaded.eval()(batch(9))
    assert torch.equal(expected.codes, got.codes)
    assert torch.equal(expected.z, got.z)
    assert torch.equal(loaded.quantizer.codes_to_z(got.codes), got.z)


def test_training_goes_on_from_the_loaded_state(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = TinyModel.from_pretrained(tmp_path)
    train(trained, 3, first=2)
    train(loaded, 3, first=2)
    assert_same_state(trained, loaded)


def test_half_precision_keeps_the_quantizer_in_float32(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = TinyModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.encoder.weight.dtype == torch.bfloat16
    for name, value in trained.quantizer.state_dict().items():
        assert torch.equal(loaded.quantizer.state_dict()[name], value), name
    quantized = loaded.train()(batch(0).bfloat16())
    assert quantized.z.dtype == torch.bfloat16


def test_missing_state_is_initialised(tmp_path):
    """A checkpoint without the quantizer leaves a fresh, untrained one, not uninitialised memory."""

    class EncoderOnly(PreTrainedModel):
        config_class = TinyConfig

        def __init__(self, config):
            super().__init__(config)
            self.encoder = nn.Linear(6, 8)
            self.post_init()

    EncoderOnly(TinyConfig()).save_pretrained(tmp_path)
    for variant in VARIANTS:
        loaded = TinyModel.from_pretrained(tmp_path, config=TinyConfig(**variant))
        for module in loaded.quantizer.modules():
            if isinstance(module, EMACodebook):
                assert not module.initialised
                assert module.step == 0
                assert torch.equal(module.code_counts, torch.ones(16))
                assert torch.equal(module.code_sums, module.codebook)
                assert 0.1 < module.codebook.std() < 1.0
        assert all(value.float().abs().max() < 10 for value in loaded.quantizer.state_dict().values())
        train(loaded, 1)
