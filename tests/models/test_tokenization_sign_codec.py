"""The tokenizer: ids and codes are one thing, poses go in and come out, and nothing ill-formed crashes it."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm import Pose, PoseError, SignVQTokenizer, write_pose
from signllm.models.sign_vocabulary import SignVocabulary
from tests.models.conftest import random_poses, tiny_config, trained


@pytest.fixture(scope="module")
def tokenizer() -> SignVQTokenizer:
    return SignVQTokenizer.from_codec(trained(tiny_config()))


@pytest.fixture(scope="module")
def residual() -> SignVQTokenizer:
    return SignVQTokenizer.from_codec(trained(tiny_config(quantizer="residual", num_quantizers=3)))


def clip(seed: int, frames: int = 21, fps: float = 25.0) -> Pose:
    values, joint_mask, _ = random_poses(1, frames, seed=seed)
    values, joint_mask = values[0].numpy() * 120 + 300, joint_mask[0].numpy()
    values[:, 2] = (250, 300)  # a right and a left shoulder that are always seen
    values[:, 5] = (350, 300)
    joint_mask[:, [2, 5]] = True
    return Pose(np.where(joint_mask[..., None], values, np.nan), joint_mask.astype(np.float32), fps, "sts56")


# ---- ids and codes --------------------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 4), st.integers(0, 30), st.integers(0, 999))
def test_codes_and_ids_are_one_to_one(size, levels, steps, seed):
    vocabulary = SignVocabulary(size, levels)
    codes = np.random.default_rng(seed).integers(0, size, (levels, steps))
    ids = vocabulary.ids(codes)
    assert len(set(vocabulary.tokens())) == len(vocabulary) == size * levels
    assert all(0 <= number < len(vocabulary) for number in ids)
    back, dropped = vocabulary.codes(ids)
    assert dropped == 0
    np.testing.assert_array_equal(back, codes)


@given(st.lists(st.integers(-5, 60), max_size=40))
def test_ill_formed_ids_are_dropped_and_counted(ids):
    codes, dropped = SignVocabulary(8, 3).codes(ids)
    assert codes.shape[0] == 3
    assert codes.size + dropped == len(ids)
    assert ((codes >= 0) & (codes < 8)).all()


def test_what_is_dropped_is_what_is_broken():
    vocabulary = SignVocabulary(10, 2)
    # step (1, 2); a lone first level 3; step (4, 5); a lone second level; an id that is no sign inside step (6, 7)
    codes, dropped = vocabulary.codes([1, 12, 3, 4, 15, 18, 6, 99, 17])
    assert codes.T.tolist() == [[1, 2], [4, 5], [6, 7]]
    assert dropped == 3


def test_vocabulary_is_signs_then_specials(tokenizer, residual):
    assert tokenizer.vocab_size == len(tokenizer) == 16 + 4
    assert tokenizer.convert_ids_to_tokens([0, 15, 16, 17, 18, 19]) == [
        "<sign_0>", "<sign_15>", "<sign_start>", "<sign_end>", "<pad>", "<unk>",
    ]  # fmt: skip
    assert residual.vocab_size == 3 * 16 + 4
    assert residual.convert_tokens_to_ids("<sign_2_5>") == 2 * 16 + 5
    assert tokenizer.add_tokens(["<new>", "<newer>"]) == 2
    assert len({tokenizer.convert_tokens_to_ids(name) for name in ("<new>", "<newer>", "<unk>")}) == 3


def test_text_side_is_an_ordinary_tokenizer(tokenizer):
    text = "<sign_3><sign_7>"
    assert tokenizer(text)["input_ids"] == [16, 3, 7, 17]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == [3, 7]
    assert tokenizer.decode([16, 3, 7, 17]) == "<sign_start><sign_3><sign_7><sign_end>"
    assert tokenizer.decode([16, 3, 7, 17], skip_special_tokens=True) == text
    assert tokenizer("what is <this>?", add_special_tokens=False)["input_ids"] == [19] * 4
    batch = tokenizer([text, "<sign_1>"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[16, 3, 7, 17], [16, 1, 17, 18]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


# ---- poses in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tokenizer", "residual"])
def test_a_pose_becomes_its_codecs_codes(name, request):
    tokenizer = request.getfixturevalue(name)
    pose = clip(0)
    codec = tokenizer.codec
    prepared = codec.config.preparation(pose)
    expected = codec.encode(prepared.values[None], prepared.joint_mask[None]).sign_codes[0].numpy()
    codes, dropped = tokenizer.ids_to_codes(tokenizer(pose)["input_ids"])
    np.testing.assert_array_equal(codes, expected)
    assert dropped == 0


def test_batches_pad_and_equal_single_clips(tokenizer):
    poses = [clip(seed, frames) for seed, frames in enumerate((30, 5, 17, 8))]
    batch = tokenizer(poses, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (4, 10)
    for row, pose in enumerate(poses):
        alone = tokenizer(pose)["input_ids"]
        assert batch["input_ids"][row, : len(alone)].tolist() == alone
        assert (batch["input_ids"][row, len(alone) :] == tokenizer.pad_token_id).all()
        assert batch["attention_mask"][row].sum() == len(alone)


def test_padding_side_truncation_and_length(tokenizer):
    poses = [clip(0, 30), clip(1, 5)]
    left = copy.deepcopy(tokenizer)
    left.padding_side = "left"
    assert left(poses, padding=True)["input_ids"][1][0] == tokenizer.pad_token_id
    assert [len(row) for row in tokenizer(poses, truncation=True, max_length=4)["input_ids"]] == [4, 4]
    assert tokenizer(poses, padding="max_length", max_length=24, return_tensors="pt")["input_ids"].shape == (2, 24)
    assert len(tokenizer(poses, padding=True, pad_to_multiple_of=8)["input_ids"][0]) == 16


def test_pose_array_tensor_and_file_give_the_same_ids(tokenizer, tmp_path):
    pose = clip(3)
    write_pose(pose, tmp_path / "clip.npz")
    expected = tokenizer(pose)["input_ids"]
    assert tokenizer(pose.values)["input_ids"] == expected
    assert tokenizer(torch.from_numpy(pose.values))["input_ids"] == expected
    assert tokenizer(tmp_path / "clip.npz")["input_ids"] == expected
    assert tokenizer(str(tmp_path / "clip.npz"))["input_ids"] == expected
    assert tokenizer([Path(tmp_path / "clip.npz"), pose])["input_ids"] == [expected, expected]


def test_other_frame_rates_are_resampled(tokenizer):
    slow = clip(4, frames=40, fps=25.0)
    fast = slow.replace(
        values=np.repeat(slow.values, 2, axis=0), confidence=np.repeat(slow.confidence, 2, axis=0), fps=50
    )
    assert tokenizer(fast)["input_ids"] == tokenizer(slow)["input_ids"]


def test_unusable_poses_are_refused_by_name(tokenizer, tmp_path):
    nothing = Pose(np.full((4, 56, 2), np.nan), None, 25, "sts56", source="empty.pose")
    with pytest.raises(PoseError, match=r"empty\.pose: .*all NaN"):
        tokenizer(nothing)
    headless = clip(0).replace(confidence=np.zeros((21, 56)) + (np.arange(56) > 30), source="hands.pose")
    with pytest.raises(PoseError, match=r"hands\.pose: no frame shows.*default_scale"):
        tokenizer(headless)
    with pytest.raises(PoseError):
        tokenizer(tmp_path / "missing.pose")
    with pytest.raises(PoseError, match=r"\[frames, joints, 2 or 3\], got \[4, 56\]"):
        tokenizer(np.zeros((4, 56)))


# ---- poses out ------------------------------------------------------------------------------------------------------


def test_decoding_with_geometry_returns_to_the_readers_units(tokenizer):
    pose = clip(5, frames=22)
    encoding = tokenizer(pose, return_geometry=True)
    out = tokenizer.decode_pose(encoding["input_ids"], encoding["geometry"])
    assert (len(out), out.fps, out.skeleton, out.units) == (22, 25, "sts56", "pixels")
    prepared = tokenizer.codec.config.preparation(pose)
    model = tokenizer.codec(prepared.values[None], prepared.joint_mask[None]).pose_values[0].detach()
    np.testing.assert_allclose(out.values, model * prepared.scale + prepared.origin, atol=1e-2)
    free = tokenizer.decode_pose(encoding["input_ids"])
    assert (len(free), free.units) == (24, "shoulder_widths")


def test_tokens_text_and_ids_decode_alike(tokenizer):
    ids = tokenizer(clip(6))["input_ids"]
    expected = tokenizer.decode_pose(ids)
    np.testing.assert_array_equal(tokenizer.decode_pose(tokenizer.decode(ids)).values, expected.values)
    np.testing.assert_array_equal(tokenizer.decode_pose(torch.tensor(ids)).values, expected.values)
    assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 80), max_size=30))
def test_any_ids_decode_to_some_pose(residual, ids):
    pose = residual.decode_pose(ids)
    codes, dropped = residual.ids_to_codes(ids)
    assert len(pose) == max(1, codes.shape[1]) * 4
    assert np.isfinite(pose.values).all() == (codes.shape[1] > 0)
    framing = sum(number in (48, 49, 50) for number in ids)
    assert codes.size + dropped + framing == len(ids)


# ---- with other tokenizers and without its codec --------------------------------------------------------------------


def test_extends_a_text_tokenizer(tokenizer):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    base = Tokenizer(WordLevel({"a": 0, "sign": 1, "[UNK]": 2}, unk_token="[UNK]"))
    base.pre_tokenizer = Whitespace()
    text = PreTrainedTokenizerFast(tokenizer_object=base, unk_token="[UNK]")
    ids = tokenizer.extend(text)
    assert ids == list(range(3, 3 + 16 + 2))
    assert tokenizer.extend(text) == ids
    assert len(text) == 3 + 16 + 2
    assert text("a <sign_start><sign_3><sign_15><sign_end>")["input_ids"] == [0, 3 + 16, 3 + 3, 3 + 15, 3 + 17]


def test_copies_and_pickles_keep_the_codec(tokenizer):
    expected = tokenizer(clip(7))["input_ids"]
    assert copy.deepcopy(tokenizer)(clip(7))["input_ids"] == expected
    assert pickle.loads(pickle.dumps(tokenizer))(clip(7))["input_ids"] == expected


def test_without_codec_poses_are_refused_and_text_works():
    tokenizer = SignVQTokenizer(codebook_size=16)
    assert tokenizer("<sign_3>")["input_ids"] == [16, 3, 17]
    with pytest.raises(RuntimeError, match="without its codec"):
        tokenizer(clip(0))
