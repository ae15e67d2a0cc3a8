"""What every quantizer promises: masks, eval mode, precision, resume, round trips, refusals."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.models.quantizers import QUANTIZER_NAMES, build_quantizer

DIM, SIZE = 8, 16
VARIANTS = {
    "ema_reset": {},
    "ema": {},
    "ema, cosine": {"cosine": True},
    "ema, rotation": {"gradient_estimator": "rotation"},
    "ema, projected": {"projection_dim": 3},
    "ema, random start": {"kmeans_init": False, "dead_code_threshold": 2.0},
    "residual": {"num_quantizers": 3},
    "residual, dropout": {"num_quantizers": 3, "quantizer_dropout": True},
    "gradient": {},
    "gradient, k-means, cosine": {"kmeans_init": True, "cosine": True},
    "simvq": {},
    "simvq, rotation": {"gradient_estimator": "rotation"},
    "fsq": {"codebook_size": 24, "levels": [4, 3, 2]},
    "lfq": {"commitment": 0.5},
}


def make(variant):
    torch.manual_seed(0)
    return build_quantizer(variant.split(",")[0], **{"dim": DIM, "codebook_size": SIZE, **VARIANTS[variant]})


def latents(batch=3, steps=20, dim=DIM, seed=0):
    return torch.randn(batch, steps, dim, generator=torch.Generator().manual_seed(seed))


def train(quantizer, steps, first=0):
    """A few optimiser steps on changing batches; gives the codes of each."""
    trained = [parameter for parameter in quantizer.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05) if trained else None
    seen = []
    quantizer.train()
    for step in range(first, first + steps):
        quantized = quantizer(latents(seed=step).requires_grad_())
        if optimizer is not None:
            optimizer.zero_grad()
            (quantized.loss + quantized.z.square().mean()).backward()
            optimizer.step()
        seen.append(quantized.codes)
    return seen


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def trained(variant):
    quantizer = make(variant)
    train(quantizer, 3)
    return quantizer.eval()


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_codes_lead_back_to_z_exactly(trained):
    quantized = trained(latents())
    assert quantized.codes.shape == (3, 20, trained.num_quantizers)
    assert int(quantized.codes.max()) < trained.codebook_size
    assert torch.equal(trained.codes_to_z(quantized.codes), quantized.z)


def test_eval_and_no_grad_change_nothing(variant):
    quantizer = make(variant)
    train(quantizer, 2)
    before = copy.deepcopy(quantizer.state_dict())
    with torch.no_grad():
        quantizer.train()(latents(seed=9))
    first = quantizer.eval()(latents(seed=9))
    second = quantizer(latents(seed=9))
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.loss, second.loss)
    assert_same_state(before, quantizer.state_dict())


def test_no_grad_does_not_start_an_untrained_one(variant):
    quantizer = make(variant).train()
    before = copy.deepcopy(quantizer.state_dict())
    with torch.no_grad():
        quantizer(latents())
    assert_same_state(before, quantizer.state_dict())


def test_padding_changes_nothing(variant):
    """Training on a padded batch, garbage in the padding, is training on the bare one."""
    bare, padded = make(variant), make(variant)
    for step in range(4):
        x = latents(seed=step)
        longer = torch.cat([x, torch.full((3, 7, DIM), float("nan"))], dim=1)
        mask = (torch.arange(27) < 20).expand(3, 27)
        one, other = bare.train()(x.requires_grad_()), padded.train()(longer.requires_grad_(), mask)
        torch.testing.assert_close(other.loss, one.loss, atol=1e-6, rtol=1e-6)
        assert torch.equal(other.codes[:, :20], one.codes)
        assert torch.equal(other.z[:, :20], one.z)
        assert not other.codes[:, 20:].any()
        assert not other.z[:, 20:].any()
    assert_same_state(bare.state_dict(), padded.state_dict())


def test_a_batch_is_its_clips(trained):
    x = latents()
    whole = trained(x)
    for index in range(3):
        alone = trained(x[index : index + 1])
        assert torch.equal(alone.codes[0], whole.codes[index])
        torch.testing.assert_close(alone.z[0], whole.z[index], atol=1e-6, rtol=1e-6)


def test_gradient_reaches_the_input(variant):
    quantizer = make(variant)
    train(quantizer, 2)
    x = latents(seed=7).requires_grad_()
    (quantizer.train()(x).z * latents(seed=8)).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).any(dim=2).float().mean() > 0.9


def test_resume_continues_exactly(variant):
    """Nothing starts anew, and random choices go on where they were."""
    straight = make(variant)
    train(straight, 3)
    resumed = make(variant)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    torch.manual_seed(123)  # random choices must not hang on torch's own generator
    continued = train(straight, 3, first=3)
    torch.manual_seed(456)
    again = train(resumed, 3, first=3)
    assert all(torch.equal(one, other) for one, other in zip(continued, again, strict=True))
    assert_same_state(straight.state_dict(), resumed.state_dict())


def test_bfloat16_autocast_gives_the_codes_of_float32(trained):
    x = latents().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = trained(x)
    full = trained(x.float())
    assert torch.equal(half.codes, full.codes)
    assert half.z.dtype == torch.bfloat16
    assert half.loss.dtype == torch.float32
    torch.testing.assert_close(half.z.float(), full.z, atol=1e-2, rtol=1e-2)


def test_averages_stay_float32_in_a_half_model():
    quantizer = make("ema, projected")
    train(quantizer, 2)
    before = copy.deepcopy(quantizer.core.state_dict())
    quantizer.bfloat16()
    assert quantizer.project_in.weight.dtype == torch.bfloat16
    assert_same_state(before, quantizer.core.state_dict())
    x = latents().bfloat16().requires_grad_()
    quantizer.train()(x).z.sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_bad_latents_are_refused_before_any_update(variant, poison):
    quantizer = make(variant)
    train(quantizer, 1)
    before = copy.deepcopy(quantizer.state_dict())
    x = latents()
    x[1, 2, 3] = poison
    with pytest.raises(FloatingPointError, match="state was left as it was"):
        quantizer.train()(x.requires_grad_())
    assert_same_state(before, quantizer.state_dict())


def test_a_batch_without_a_valid_step(variant):
    quantizer = make(variant)
    train(quantizer, 2)
    before = copy.deepcopy(quantizer.state_dict())
    x = latents().requires_grad_()
    quantized = quantizer.train()(x, torch.zeros(3, 20, dtype=torch.bool))
    (quantized.loss + quantized.z.sum()).backward()
    assert quantized.loss.item() == pytest.approx(0.0)
    assert not quantized.z.any()
    assert_same_state(before, quantizer.state_dict())


@pytest.mark.parametrize("name", ["ema_reset", "ema", "residual", "gradient", "simvq"])
@pytest.mark.parametrize(("dim", "size", "steps"), [(1, 4, 30), (4, 1, 30), (4, 64, 5), (2, 8, 1)])
def test_smallest_sizes(name, dim, size, steps):
    levels = 2 if name == "residual" else 1
    options = {} if name == "simvq" else {"kmeans_init": True}
    quantizer = build_quantizer(name, dim, size, levels, gradient_estimator="rotation", **options)
    for seed in range(3):
        x = latents(1, steps, dim, seed).requires_grad_()
        quantized = quantizer.train()(x)
        (quantized.z.sum() + quantized.loss).backward()
        assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(value.float()).all() for value in quantizer.state_dict().values())


@pytest.mark.parametrize("name", ["ema_reset", "ema", "residual"])
def test_a_batch_of_one_repeated_vector(name):
    quantizer = build_quantizer(name, 3, 6, 2 if name == "residual" else 1).train()
    x = torch.tensor([1.0, -2.0, 0.5]).expand(2, 10, 3).clone().requires_grad_()
    for _ in range(5):
        quantized = quantizer(x)
    torch.testing.assert_close(quantized.z, x, atol=1e-3, rtol=1e-3)
    assert all(torch.isfinite(value.float()).all() for value in quantizer.state_dict().values())


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["ema_reset", "ema", "residual", "gradient", "simvq", "lfq"]),
    batch=st.integers(0, 3),
    steps=st.integers(0, 9),
    data=st.data(),
)
def test_any_mask(name, batch, steps, data):
    bits = data.draw(st.lists(st.booleans(), min_size=batch * steps, max_size=batch * steps))
    mask = torch.tensor(bits, dtype=torch.bool).view(batch, steps)
    quantizer = build_quantizer(name, 4, 8, 2 if name == "residual" else 1).train()
    x = torch.where(mask[..., None], latents(batch, steps, 4), float("nan"))
    trained_on = quantizer(x.requires_grad_(), mask)
    assert torch.isfinite(trained_on.loss)
    quantized = quantizer.eval()(x, mask)
    assert torch.isfinite(quantized.z).all()
    assert not quantized.codes[~mask].any()
    rebuilt = quantizer.codes_to_z(quantized.codes)
    torch.testing.assert_close(rebuilt[mask], quantized.z[mask], atol=1e-6, rtol=1e-6)


def test_random_choices_leave_torchs_generator_alone():
    quantizer = make("residual, dropout").train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    quantizer(latents().requires_grad_())
    assert torch.equal(torch.rand(4), expected)


class TestRefusals:
    def test_unknown_name(self):
        with pytest.raises(ValueError, match=r"one of ema_reset, ema, .*got 'vq'"):
            build_quantizer("vq", 8, 16)

    def test_unknown_option_names_the_known(self):
        with pytest.raises(ValueError, match=r"ema has no option dekay; its options are decay, .*projection_dim"):
            build_quantizer("ema", 8, 16, dekay=0.9)

    def test_unknown_estimator(self):
        with pytest.raises(ValueError, match="straight_through, rotation, got 'ste'"):
            build_quantizer("gradient", 8, 16, gradient_estimator="ste")

    @pytest.mark.parametrize("name", [name for name in QUANTIZER_NAMES if name != "residual"])
    def test_levels_without_residual(self, name):
        with pytest.raises(ValueError, match="use residual"):
            build_quantizer(name, 8, 16, 2)

    def test_values_that_do_not_fit(self):
        with pytest.raises(ValueError, match="codebook_size must be at least 1, got 0"):
            build_quantizer("ema", 8, 0)
        with pytest.raises(ValueError, match="power of two, got 1000"):
            build_quantizer("lfq", 8, 1000)
        with pytest.raises(ValueError, match="set codebook_size=1000"):
            build_quantizer("fsq", 8, 1024, levels=[8, 5, 5, 5])
        with pytest.raises(ValueError, match="pass levels"):
            build_quantizer("fsq", 8, 1024)
        with pytest.raises(ValueError, match="cosine needs num_quantizers=1"):
            build_quantizer("residual", 8, 16, 2, cosine=True)
        with pytest.raises(ValueError, match="more than one level"):
            build_quantizer("ema", 8, 16, quantizer_dropout=True)

    def test_shapes(self):
        quantizer = build_quantizer("residual", 8, 16, 2)
        with pytest.raises(ValueError, match=r"\[B, T, 8\], got \[3, 20, 7\]"):
            quantizer(latents(dim=7))
        with pytest.raises(ValueError, match=r"mask must be bool \[3, 20\]"):
            quantizer(latents(), torch.ones(3, 20))
        with pytest.raises(ValueError, match=r"num_quantizers must be in 1..2, got 3"):
            quantizer(latents(), num_quantizers=3)
        with pytest.raises(ValueError, match=r"codes must be \[B, T, 1..2\]"):
            quantizer.codes_to_z(torch.zeros(1, 4, 3, dtype=torch.long))
        with pytest.raises(ValueError, match=r"0..15, got 0..16"):
            quantizer.codes_to_z(torch.tensor([[[0], [16]]]))
        with pytest.raises(ValueError, match="integers"):
            quantizer.codes_to_z(torch.zeros(1, 4, 2))
