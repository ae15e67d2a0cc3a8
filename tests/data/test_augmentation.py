"""Augmented clips are other clips of the same signing: same frames, same missing joints, same bones all along."""

import numpy as np
import torch

from signllm.data.augmentation import BoneAugmentation
from signllm.data.synthetic.fingerspelling import render_fingerspelling
from signllm.data.synthetic.signer import ProceduralSigner
from signllm.models.normalization import to_parent_offsets
from signllm.models.pose_preparation import PosePreparation

CLIP = PosePreparation("sts56", scale="median_shoulders")(
    render_fingerspelling("abc", ProceduralSigner(seed=1), skeleton="sts56").pose
)


def test_nothing_happens_at_zero():
    same = BoneAugmentation("sts56", degrees=0.0, stretch=0.0)(CLIP.values, CLIP.joint_mask, np.random.default_rng(0))
    torch.testing.assert_close(same, CLIP.values, atol=1e-5, rtol=0)


def test_every_bone_turns_and_stretches_by_one_amount_for_the_whole_clip():
    augment = BoneAugmentation("sts56", degrees=10.0)
    changed = augment(CLIP.values, CLIP.joint_mask, np.random.default_rng(0))
    before, mask = to_parent_offsets(CLIP.values, CLIP.joint_mask, augment.parents)
    after, _ = to_parent_offsets(changed, CLIP.joint_mask, augment.parents)
    for joint in torch.nonzero(augment.parents >= 0)[:, 0].tolist():
        seen = mask[:, joint] & (before[:, joint].norm(dim=-1) > 1e-3)
        if not seen.any():
            continue
        a, b = (torch.view_as_complex(part[seen, joint].double().contiguous()) for part in (before, after))
        factor = b / a
        torch.testing.assert_close(factor, factor[:1].expand_as(factor), atol=1e-3, rtol=0)
        assert abs(factor[0].item() - 1) > 1e-6
    assert (changed - CLIP.values).abs().max() > 0.02


def test_missing_joints_stay_missing_and_draws_depend_on_the_generator_alone():
    augment = BoneAugmentation("sts56", degrees=10.0)
    first, second, other = (augment(CLIP.values, CLIP.joint_mask, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert (first[~CLIP.joint_mask] == 0).all()
