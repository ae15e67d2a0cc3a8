"""Measurements of codecs: by hand where a hand suffices, against theory where not."""

import math

import numpy as np
import pytest
import torch

from signllm.analysis.codec_report import ErrorMeter, code_statistics, evaluate_codec
from signllm.analysis.pca_baseline import PCACodec, _allocate, _lloyd_max, pca_errors
from signllm.models.configuration_sign_vq import SignVQConfig
from signllm.models.modeling_sign_vq import SignVQModel
from signllm.models.pose_preparation import PreparedPose
from signllm.models.skeletons import get_skeleton

STS56 = get_skeleton("sts56")


def clip(values: torch.Tensor, mask: torch.Tensor | None = None) -> PreparedPose:
    mask = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else mask
    return PreparedPose(values, mask, torch.zeros(2), 1.0, 25.0, "pixels")


def walks(count: int, seed: int = 0) -> list[PreparedPose]:
    generator = torch.Generator().manual_seed(seed)
    return [clip(torch.randn(30 + n, 56, 2, generator=generator).cumsum(dim=0) * 0.05) for n in range(count)]


def tiny_codec() -> SignVQModel:
    torch.manual_seed(0)
    return SignVQModel(SignVQConfig(hidden_size=16, depth=2, residual_blocks=1, codebook_size=16, codebook_dim=8))


def test_errors_are_distances_of_present_joints_by_part():
    target = torch.zeros(2, 56, 2)
    prediction = target.clone()
    prediction[:, STS56.index("nose")] = torch.tensor([3.0, 4.0])
    prediction[:, STS56.index("left_index_tip")] = torch.tensor([0.0, 2.0])
    mask = torch.ones(2, 56, dtype=torch.bool)
    mask[1] = False
    meter = ErrorMeter(STS56)
    meter.add(prediction, target, mask)
    errors = meter.result()
    assert errors["error_all"] == pytest.approx(7 / 56)
    assert errors["error_body"] == pytest.approx(5 / 14)
    assert errors["error_hands"] == pytest.approx(2 / 42)


def test_handshape_ignores_where_the_hand_is():
    target = torch.randn(3, 56, 2)
    moved = target.clone()
    moved[:, list(STS56.parts["left_hand"])] += torch.tensor([0.7, -0.2])
    meter = ErrorMeter(STS56)
    meter.add(moved, target, torch.ones(3, 56, dtype=torch.bool))
    errors = meter.result()
    assert errors["error_handshape"] == pytest.approx(0, abs=1e-6)
    assert errors["error_hands"] > 0.3


def test_a_part_that_is_never_present_has_no_error():
    mask = torch.ones(1, 56, dtype=torch.bool)
    mask[:, list(STS56.parts["left_hand"]) + list(STS56.parts["right_hand"])] = False
    meter = ErrorMeter(STS56)
    meter.add(torch.zeros(1, 56, 2), torch.zeros(1, 56, 2), mask)
    assert set(meter.result()) == {"error_all", "error_body"}


def test_code_statistics_by_hand():
    even = code_statistics([torch.tensor([0, 1]), torch.tensor([2, 3])], 8)
    assert even["codebook_usage"] == 0.5
    assert even["perplexity"] == pytest.approx(4)
    assert even["entropy_bits"] == pytest.approx(2)
    levels = code_statistics([torch.tensor([[0, 1], [5, 5]])], 8)
    assert levels["codebook_usage"] == pytest.approx((2 / 8 + 1 / 8) / 2)
    assert levels["perplexity"] == pytest.approx((2 + 1) / 2)


def test_evaluation_does_not_depend_on_batching():
    model, clips = tiny_codec(), walks(7)
    whole = evaluate_codec(model, clips, max_frames=10_000)
    single = evaluate_codec(model, clips, max_frames=1)
    assert whole.keys() == single.keys()
    for name, value in whole.items():
        assert single[name] == pytest.approx(value, rel=1e-4), name
    assert whole["frames"] == sum(range(30, 37))
    assert whole["bits_per_second"] == pytest.approx(4 * 25 / 4)
    assert whole["compression"] == pytest.approx(32 * 112 * 25 / 25)


def test_evaluation_leaves_the_model_as_it_was():
    model = tiny_codec().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate_codec(model, walks(3))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_bits_go_where_the_distortion_is():
    assert _allocate(np.array([16.0, 4.0, 1.0, 0.01]), 3).tolist() == [2, 1, 0, 0]
    assert _allocate(np.array([1.0, 1.0]), 4).tolist() == [2, 2]


def test_lloyd_max_reaches_the_known_distortion_of_a_gaussian():
    """Max (1960): mean squared error of the optimal 2-, 4- and 8-level quantizers of N(0, 1)."""
    samples = np.random.default_rng(0).normal(size=200_000)
    for count, expected in ((2, 0.3634), (4, 0.1175), (8, 0.03454)):
        levels = _lloyd_max(samples, count)
        nearest = levels[np.abs(samples[:, None] - levels).argmin(axis=1)]
        assert np.mean((samples - nearest) ** 2) == pytest.approx(expected, rel=0.03)


def test_pca_codec_is_exact_where_signing_is_one_dimensional_and_improves_with_bits():
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(56, 2, generator=generator)
    weights = torch.randint(0, 2, (400,), generator=generator).float().repeat_interleave(4)
    clips = [clip(weights[:, None, None] * direction)]
    exact = PCACodec(clips, frames=4, bits=1).reconstruct(clips[0])
    torch.testing.assert_close(exact, clips[0].values, atol=1e-4, rtol=0)

    train = walks(20)
    errors = []
    for bits in (2, 8, 32):
        codec = PCACodec(train, frames=4, bits=bits)
        errors.append(float(np.mean([(codec.reconstruct(c) - c.values).square().mean() for c in train])))
    assert errors[0] > errors[1] > errors[2]


def test_pca_has_the_codecs_bit_rate_and_survives_missing_hands():
    config = tiny_codec().config
    mask = torch.ones(31, 56, dtype=torch.bool)
    mask[:, list(STS56.parts["left_hand"])] = False
    clips = [*walks(5), clip(torch.randn(31, 56, 2), mask)]
    codec, errors = pca_errors(clips, clips, config)
    assert sum(math.log2(len(levels)) for levels in codec.levels) == 4  # bits of a block of four frames
    assert all(np.isfinite(value) for value in errors.values())
