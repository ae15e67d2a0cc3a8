"""Augmented clips are other clips of the same signing: same frames, same missing joints, same bones all along."""

import numpy as np
import pytest
import torch

from signllm.data.augmentation import PoseAugmentation
from signllm.data.clips import WindowDataset
from signllm.data.synthetic import ProceduralSigner, render_fingerspelling
from signllm.models.normalization import to_parent_offsets
from signllm.models.pose_preparation import PosePreparation, PreparedPose
from signllm.models.skeletons import get_skeleton

STS56 = get_skeleton("sts56")
RIGHT_FINGERS = list(STS56.parts["right_hand"])[1:]


def clip(text: str, seed: int) -> PreparedPose:
    return PosePreparation("sts56")(render_fingerspelling(text, ProceduralSigner(seed=seed), skeleton="sts56").pose)


CLIP, OTHER = clip("abc", 1), clip("xyz", 2)


def changed(augment: PoseAugmentation, seed: int) -> torch.Tensor:
    return augment(augment.bones(CLIP.values, CLIP.joint_mask), CLIP.joint_mask, np.random.default_rng(seed))


def test_nothing_happens_at_strength_zero():
    torch.testing.assert_close(changed(PoseAugmentation("sts56", 0.0), 0), CLIP.values, atol=1e-5, rtol=0)


def test_every_bone_turns_and_stretches_by_one_amount_for_the_whole_clip():
    augment = PoseAugmentation("sts56")
    before, mask = to_parent_offsets(CLIP.values, CLIP.joint_mask, augment.parents)
    after, _ = to_parent_offsets(changed(augment, 0), CLIP.joint_mask, augment.parents)
    angles = {}
    for joint in torch.nonzero(augment.parents >= 0)[:, 0].tolist():
        seen = mask[:, joint] & (before[:, joint].norm(dim=-1) > 1e-2)
        if seen.any():
            a, b = (torch.view_as_complex(part[seen, joint].double().contiguous()) for part in (before, after))
            factor = b / a
            torch.testing.assert_close(factor, factor[:1].expand_as(factor), atol=1e-3, rtol=0)
            angles[STS56.joints[joint]] = factor[0].angle().item()
    assert abs(angles["right_index_tip"] - angles["right_wrist"]) > abs(angles["right_elbow"])
    assert len(set(angles.values())) == len(angles)


def test_missing_joints_stay_missing_and_draws_depend_on_the_generator_alone():
    augment = PoseAugmentation("sts56")
    first, second, other = (changed(augment, seed) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert (first[~CLIP.joint_mask] == 0).all()


def test_exchanged_hands_are_the_other_clips_on_the_own_arms():
    augment = PoseAugmentation("sts56", strength=0.0)
    bones, other = augment.bones(CLIP.values, CLIP.joint_mask), augment.bones(OTHER.values, OTHER.joint_mask)
    mixed, mask = augment.exchange_hands(bones, CLIP.joint_mask, other, OTHER.joint_mask)
    frames = min(len(CLIP), len(OTHER))
    assert torch.equal(mixed[:, RIGHT_FINGERS], other[:frames, RIGHT_FINGERS])
    body = list(STS56.parts["body"])
    assert torch.equal(mixed[:, body], bones[:frames, body])
    assert torch.equal(bones, augment.bones(CLIP.values, CLIP.joint_mask))  # the clip itself is as it was
    wrist = STS56.parts["right_hand"][0]
    expected = OTHER.joint_mask[:frames, RIGHT_FINGERS] & CLIP.joint_mask[:frames, [wrist]]
    assert torch.equal(mask[:, RIGHT_FINGERS], expected)


@pytest.mark.parametrize("augment", [None, PoseAugmentation("sts56")])
def test_windows_depend_on_seed_and_index_alone(augment):
    first, again = (WindowDataset([CLIP, OTHER], 16, 20, seed=5, augment=augment) for _ in range(2))
    for index in reversed(range(20)):
        assert torch.equal(first[index].values, again[index].values)
        assert torch.equal(first[index].joint_mask, again[index].joint_mask)
