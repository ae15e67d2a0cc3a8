"""The codec's contract: exact sizes, and nothing that depends on batching, padding, mode or missing joints."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.models.losses import pose_loss, velocity_loss
from signllm.models.modeling_sign_vq import SignVQModel
from signllm.models.normalization import from_parent_offsets
from tests.models.conftest import random_poses, tiny_config, trained


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("depth", "codebook_dim", "encoder", "decoder", "total"),
    [
        (2, 512, 9_355_264, 9_617_520, 18_972_784),
        (3, 512, 13_553_152, 13_553_264, 27_106_416),
        (3, 256, 13_159_680, 13_160_048, 26_319_728),
        (3, 128, 12_962_944, 12_963_440, 25_926_384),
        (3, 64, 12_864_576, 12_865_136, 25_729_712),
        (4, 512, 17_751_040, 17_489_008, 35_240_048),
    ],
)
def test_parameter_counts_of_the_paper(depth, codebook_dim, encoder, decoder, total):
    with torch.device("meta"):
        model = SignVQModel(tiny_config(hidden_size=512, residual_blocks=3, depth=depth, codebook_dim=codebook_dim))
    assert (count(model.encoder), count(model.decoder), count(model)) == (encoder, decoder, total)


def test_defaults_are_the_papers_base_model():
    config = SignVQModel.config_class()
    assert (config.codebook_size, config.codebook_dim, config.depth, config.hidden_size) == (512, 512, 3, 512)
    assert (config.reconstruction_loss, config.commitment_weight, config.velocity_weight) == ("euclidean", 0.02, 0.0)
    assert config.bits_per_second == pytest.approx(9 * 25 / 8)


@pytest.mark.parametrize(("frames", "steps"), [(63, 7), (65, 8), (64, 8), (7, 0)])
def test_bare_encoder_floors_the_length(frames, steps):
    model = SignVQModel(tiny_config(depth=3))
    if steps == 0:
        with pytest.raises(RuntimeError):
            model.encoder(torch.zeros(1, 112, frames))
    else:
        assert model.encoder(torch.zeros(1, 112, frames)).shape[-1] == steps


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (4, 1), (5, 2), (63, 16), (64, 16)])
def test_codec_rounds_the_length_up(frames, steps):
    model = SignVQModel(tiny_config()).eval()
    codes = model.encode(torch.zeros(1, frames, 56, 2)).sign_codes
    assert codes.shape == (1, steps)
    assert model.decode(codes).pose_values.shape == (1, steps * 4, 56, 2)


def test_batch_equals_single(codec):
    values, joint_mask, frame_mask = random_poses(5, 37)
    together = codec(values, joint_mask, frame_mask)
    for row, length in enumerate(frame_mask.sum(dim=1).tolist()):
        alone = codec(values[row : row + 1, :length], joint_mask[row : row + 1, :length])
        steps = alone.code_mask.shape[1]
        assert torch.equal(together.sign_codes[row, ..., :steps], alone.sign_codes[0])
        assert together.code_mask[row].sum() == steps
        torch.testing.assert_close(together.pose_values[row, :length], alone.pose_values[0], atol=1e-5, rtol=0)


def test_more_padding_changes_nothing(codec):
    values, joint_mask, frame_mask = random_poses(3, 20)
    longer = torch.nn.functional.pad(values, (0, 0, 0, 0, 0, 13), value=7.0)
    more_joints = torch.nn.functional.pad(joint_mask, (0, 0, 0, 13))
    more_frames = torch.nn.functional.pad(frame_mask, (0, 13))
    short, long = codec(values, joint_mask, frame_mask), codec(longer, more_joints, more_frames)
    torch.testing.assert_close(long.loss, short.loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(long.pose_values[:, :20], short.pose_values, atol=1e-5, rtol=0)
    assert torch.equal(long.sign_codes[..., : short.sign_codes.shape[-1]], short.sign_codes)
    assert not long.sign_codes[..., short.sign_codes.shape[-1] :].any()
    assert not long.pose_values[:, 20:].any()


def test_padding_reaches_no_training_statistics():
    """A step on a padded batch moves weights and codebook exactly as a step on the batch without the padding."""
    models = [SignVQModel(tiny_config()).train() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    values, joint_mask, frame_mask = random_poses(4, 16)
    models[0](values, joint_mask, frame_mask).loss.backward()
    pad = torch.nn.functional.pad
    models[1](
        pad(values, (0, 0, 0, 0, 0, 8), value=3.0), pad(joint_mask, (0, 0, 0, 8)), pad(frame_mask, (0, 8))
    ).loss.backward()
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=name)
    for (name, a), b in zip(models[0].named_buffers(), models[1].buffers(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=name)


def test_values_under_a_mask_are_never_read(codec):
    values, joint_mask, frame_mask = random_poses(2, 16)
    noise = torch.where(joint_mask[..., None], values, torch.full_like(values, 99.0))
    a, b = codec(values, joint_mask, frame_mask), codec(noise, joint_mask, frame_mask)
    assert torch.equal(a.sign_codes, b.sign_codes)
    assert torch.equal(a.loss, b.loss)


def test_encode_decode_equals_forward(codec):
    values, joint_mask, frame_mask = random_poses(3, 24)
    forward = codec(values, joint_mask, frame_mask)
    encoded = codec.encode(values, joint_mask, frame_mask)
    assert torch.equal(encoded.sign_codes, forward.sign_codes)
    decoded = codec.decode(encoded.sign_codes, encoded.code_mask).pose_values[:, :24]
    torch.testing.assert_close(decoded * frame_mask[..., None, None], forward.pose_values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("quantizer", ["ema_reset", "ema", "gradient", "simvq", "residual"])
def test_codebook_centers_come_back_exactly(quantizer):
    codec = trained(tiny_config(quantizer=quantizer))
    codes = torch.arange(codec.config.codebook_size)[None, :, None]
    latents = codec.quantizer.codes_to_z(codes)
    again = codec.quantizer(latents)
    torch.testing.assert_close(again.z, latents, atol=1e-6, rtol=0)
    torch.testing.assert_close(codec.quantizer.codes_to_z(again.codes), latents, atol=1e-6, rtol=0)


def test_eval_and_no_grad_have_no_side_effects(codec):
    before = {name: buffer.clone() for name, buffer in codec.named_buffers()}
    batch = random_poses(3, 24, seed=5)
    first, second = codec(*batch), codec(*batch)
    assert torch.equal(first.pose_values, second.pose_values)
    codec.train()
    with torch.no_grad():
        codec(*batch)
    codec.encode(*batch)
    for name, buffer in codec.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_save_and_load_give_equal_outputs(codec, tmp_path):
    codec.set_statistics(torch.rand(56, 2), torch.rand(56, 2) + 0.5)
    codec.save_pretrained(tmp_path)
    loaded = SignVQModel.from_pretrained(tmp_path)
    batch = random_poses(3, 24)
    assert torch.equal(loaded(*batch).sign_codes, codec(*batch).sign_codes)
    assert torch.equal(loaded(*batch).pose_values, codec(*batch).pose_values)
    assert loaded.config.to_diff_dict().items() >= {"quantizer": codec.config.quantizer, "depth": 2}.items()
    for (name, a), b in zip(codec.named_buffers(), loaded.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_gradient_reaches_the_first_layer(codec):
    codec.train()
    codec(*random_poses(4, 24)).loss.backward()
    assert codec.encoder.first.weight.grad.abs().sum() > 0


def test_training_after_loading_does_not_restart_the_codebook(tmp_path):
    model = trained(tiny_config(quantizer="ema_reset", quantizer_options={"dead_code_threshold": 0.0}))
    model.save_pretrained(tmp_path)
    loaded = SignVQModel.from_pretrained(tmp_path).train()
    batch = random_poses(4, 24, seed=9)
    model.train()(*batch)
    loaded(*batch)
    for (name, a), b in zip(model.named_buffers(), loaded.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_one_batch_can_be_learned():
    """Overfitting: the loss of a fixed batch falls far below its start."""
    torch.manual_seed(0)
    model = SignVQModel(tiny_config(hidden_size=48, codebook_size=64, codebook_dim=16)).train()
    batch = random_poses(4, 16, seed=1, missing=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        output = model(*batch)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.reconstruction_loss.item())
    assert losses[-1] < 0.35 * losses[0]


def test_bfloat16_autocast_keeps_the_quantizer_in_full_precision(codec):
    batch = random_poses(2, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = codec.train()(*batch)
    assert output.loss.dtype == torch.float32
    assert all(buffer.dtype != torch.bfloat16 for buffer in codec.buffers())
    assert output.loss.isfinite()


def test_wrong_input_is_refused_with_a_reason():
    model = SignVQModel(tiny_config()).eval()
    with pytest.raises(ValueError, match=r"\[batch, frames, 56, 2\].*got \[1, 5, 42, 2\]"):
        model(torch.zeros(1, 5, 42, 2))
    with pytest.raises(ValueError, match="zero frames"):
        model(torch.zeros(1, 0, 56, 2))
    with pytest.raises(ValueError, match="first frames"):
        model(torch.zeros(1, 3, 56, 2), None, torch.tensor([[True, False, True]]))
    with pytest.raises(ValueError, match=r"\[0, 16\).*99"):
        model.decode(torch.tensor([[3, 99]]))
    with pytest.raises(ValueError, match=r"\[batch, steps\]"):
        model.decode(torch.zeros(1, 2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"euclidean, mse, smooth_l1, got 'l3'"):
        tiny_config(reconstruction_loss="l3")
    with pytest.raises(ValueError, match="depth must be at least 1"):
        tiny_config(depth=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.floats(0, 1), st.integers(0, 1000))
def test_any_shape_and_mask_gives_finite_poses(batch, frames, missing, seed):
    model = SignVQModel(tiny_config(residual_blocks=1)).eval()
    values, joint_mask, frame_mask = random_poses(batch, frames, seed=seed, missing=missing)
    output = model(values, joint_mask, frame_mask)
    assert output.pose_values.isfinite().all()
    assert output.loss.isfinite()
    assert output.sign_codes.shape == (batch, -(-frames // 4))


def test_first_levels_of_a_residual_codec_are_a_coarser_clip():
    model = trained(tiny_config(quantizer="residual", num_quantizers=3), steps=20)
    batch = random_poses(4, 24)
    codes = model.encode(*batch).sign_codes
    assert torch.equal(model.encode(*batch, num_quantizers=2).sign_codes, codes[:, :2])
    assert model.decode(codes[:, :1]).pose_values.shape == model.decode(codes).pose_values.shape


# ---- losses ---------------------------------------------------------------------------------------------------------


def test_losses_by_hand():
    prediction = torch.tensor([[[[3.0, 4.0], [9.0, 9.0]], [[0.0, 0.0], [0.5, 0.0]]]])
    target = torch.zeros_like(prediction)
    mask = torch.tensor([[[True, False], [True, True]]])
    assert pose_loss("euclidean", prediction, target, mask).item() == pytest.approx((5 + 1e-4 + 0.5) / 3, abs=1e-5)
    assert pose_loss("mse", prediction, target, mask).item() == pytest.approx((12.5 + 0 + 0.125) / 3)
    assert pose_loss("smooth_l1", prediction, target, mask).item() == pytest.approx((3.0 + 0 + 0.0625) / 3)


def test_velocity_loss_is_a_difference_in_time():
    target = torch.zeros(1, 3, 1, 2)
    still = torch.full((1, 3, 1, 2), 5.0)
    mask = torch.ones(1, 3, 1, dtype=torch.bool)
    assert velocity_loss("mse", still, target, mask).item() == 0  # far away but motionless, as the target
    moving = torch.tensor([0.0, 1.0, 3.0])[None, :, None, None].expand(1, 3, 1, 2)
    assert velocity_loss("mse", moving, target, mask).item() == pytest.approx((1 + 4) / 2)
    mask[0, 1] = False
    assert velocity_loss("mse", moving, target, mask).item() == 0
    assert velocity_loss("mse", moving[:, :1], target[:, :1], mask[:, :1]).item() == 0


def test_velocity_weight_enters_the_loss():
    batch = random_poses(2, 16)
    plain = trained(tiny_config())
    weighted = SignVQModel(tiny_config(velocity_weight=0.5)).eval()
    weighted.load_state_dict(plain.state_dict())
    a, b = plain(*batch), weighted(*batch)
    assert a.velocity_loss is None
    torch.testing.assert_close(b.loss, a.loss + 0.5 * b.velocity_loss)


def test_positions_undo_offsets_and_statistics():
    model = trained(tiny_config())
    model.set_statistics(torch.randn(56, 2), torch.rand(56, 2) + 0.1)
    values, _, _ = random_poses(1, 8, missing=0.0)
    features, _, frame_mask = model._features(values, None, None)
    torch.testing.assert_close(model._positions(features, frame_mask), values, atol=1e-5, rtol=0)
    assert from_parent_offsets(torch.ones(56, 2), model.parents)[model.parents.argmin()].tolist() == [1, 1]


def test_latents_pass_unquantized_at_first_and_then_start_the_codebook():
    torch.manual_seed(0)
    model = SignVQModel(tiny_config(unquantized_steps=3)).train()
    initialised = [buffer for name, buffer in model.named_buffers() if name.endswith("initialised")]
    for step in range(5):
        output = model(*random_poses(4, 24, seed=step))
        output.loss.backward()
        assert [bool(flag) for flag in initialised] == [step >= 3]
        assert (output.commitment_loss == 0) == (step < 3)
    with torch.no_grad():
        model(*random_poses(4, 24))
    assert model.trained_steps == 4  # counting ends with the phase
