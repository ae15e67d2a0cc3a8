"""Preparation brings every clip to the common form, and takes it back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.models.pose_preparation import PosePreparation, pad_batch
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import get_skeleton

STS56 = get_skeleton("sts56")
LEFT, RIGHT, NECK = (STS56.index(name) for name in ("left_shoulder", "right_shoulder", "neck"))


def person(frames: int = 12, seed: int = 0, fps: float = 25.0, missing: float = 0.0) -> Pose:
    random = np.random.default_rng(seed)
    values = random.normal(0, 20, (frames, 56, 2)) + 300
    values[:, LEFT], values[:, RIGHT] = (350, 300), (250, 300)
    confidence = (random.random((frames, 56)) >= missing).astype(np.float32)
    confidence[:, [LEFT, RIGHT, NECK]] = 1
    return Pose(values, confidence, fps, "sts56", source="someone.pose")


def test_clip_is_centred_on_the_first_neck_and_in_shoulder_widths():
    pose = person()
    clip = PosePreparation("sts56")(pose)
    assert clip.scale == 100
    np.testing.assert_array_equal(clip.origin, pose.values[0, NECK])
    np.testing.assert_allclose(clip.values, (pose.values - pose.values[0, NECK]) / 100, atol=1e-5)
    assert clip.values[0, NECK].tolist() == [0, 0]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999),
    st.integers(1, 20),
    st.floats(0, 0.9),
    st.sampled_from(["first_frame", "every_frame", "none"]),
    st.sampled_from(["median_shoulders", "first_shoulders", "none"]),
)
def test_restore_is_the_exact_inverse(seed, frames, missing, center, scale):
    pose = person(frames, seed, missing=missing)
    prepare = PosePreparation("sts56", center=center, scale=scale, max_gap_s=0)
    clip = prepare(pose)
    assert clip.values.isfinite().all()
    back = prepare.restore(
        clip.values, joint_mask=clip.joint_mask, origin=clip.origin, scale=clip.scale, fps=clip.fps, units=clip.units
    )
    np.testing.assert_array_equal(back.joint_mask, pose.joint_mask)
    np.testing.assert_allclose(back.values, pose.values, atol=2e-3)
    assert (back.fps, back.units, back.skeleton) == (pose.fps, pose.units, pose.skeleton)


def test_every_frame_centring_removes_the_bodys_path():
    pose = person()
    drift = np.arange(12)[:, None, None] * np.array([5.0, -2.0])
    moved = pose.replace(values=pose.values + drift)
    prepare = PosePreparation("sts56", center="every_frame")
    torch.testing.assert_close(prepare(moved).values, prepare(pose).values, atol=1e-4, rtol=0)
    longer = prepare.restore(torch.zeros(16, 56, 2), origin=prepare(moved).origin, scale=100.0)
    np.testing.assert_allclose(longer.values[11:, 0], np.repeat(moved.values[11:12, NECK], 5, axis=0), atol=1e-3)


def test_position_size_and_camera_do_not_matter():
    pose = person()
    nearer = pose.replace(values=pose.values * 3.5 + np.array([40.0, -90.0]))
    prepare = PosePreparation("sts56")
    torch.testing.assert_close(prepare(nearer).values, prepare(pose).values, atol=1e-4, rtol=0)


def test_gaps_are_filled_up_to_the_limit_and_long_ones_stay_missing():
    pose = person(30)
    confidence = pose.confidence.copy()
    confidence[5:8, 20] = 0
    confidence[10:29, 21] = 0
    gappy = pose.replace(confidence=confidence)
    limited = PosePreparation("sts56", max_gap_s=0.2)(gappy)
    assert limited.joint_mask[5:8, 20].all()
    assert not limited.joint_mask[10:29, 21].any()
    assert (limited.values[10:29, 21] == 0).all()
    assert PosePreparation("sts56")(gappy).joint_mask.all()


def test_unsure_joints_count_as_missing():
    pose = person()
    confidence = pose.confidence.copy()
    confidence[:, 40] = 0.2
    unsure = pose.replace(confidence=confidence)
    assert not PosePreparation("sts56", min_confidence=0.3)(unsure).joint_mask[:, 40].any()
    assert PosePreparation("sts56")(unsure).joint_mask[:, 40].all()


def test_other_layouts_are_converted_and_hands_scale_by_the_hand():
    values = np.random.default_rng(0).normal(0, 10, (5, 42, 2)) + 100
    hands = Pose(values, np.ones((5, 42)), 30, "asl42")
    clip = PosePreparation("asl42", fps=15, scale="hand")(hands)
    assert clip.values.shape == (2, 42, 2)
    assert clip.fps == 15
    with pytest.raises(PoseError, match=r"asl42 has no joints for scale='median_shoulders'"):
        PosePreparation("asl42")(hands)
    with pytest.raises(PoseError, match="asl42"):
        PosePreparation("sts56")(hands)


def test_a_clip_without_shoulders_needs_a_default_scale():
    pose = person()
    confidence = pose.confidence.copy()
    confidence[:, LEFT] = 0
    hidden = pose.replace(confidence=confidence)
    with pytest.raises(PoseError, match=r"someone\.pose: no frame shows.*default_scale"):
        PosePreparation("sts56")(hidden)
    clip = PosePreparation("sts56", default_scale=80.0)(hidden)
    assert (clip.scale, clip.fallback_scale) == (80.0, True)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r"center must be one of first_frame.*got 'middle'"):
        PosePreparation("sts56", center="middle")
    with pytest.raises(ValueError, match=r"scale must be one of.*got 'head'"):
        PosePreparation("sts56", scale="head")


def test_batches_pad_on_the_right():
    clips = [PosePreparation("sts56")(person(frames)) for frames in (3, 7)]
    batch = pad_batch(clips)
    assert batch["frame_mask"].sum(dim=1).tolist() == [3, 7]
    assert not batch["joint_mask"][0, 3:].any()
    assert not batch["pose_values"][0, 3:].any()
    assert torch.equal(batch["pose_values"][1], clips[1].values)
    assert pad_batch(clips, frames=10)["pose_values"].shape == (2, 10, 56, 2)
