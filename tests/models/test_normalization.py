"""Every step of normalisation has an inverse, and no step lets a missing joint speak."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.models import normalization as norm
from signllm.models.skeletons import SKELETON_NAMES, get_skeleton


def random_clip(seed: int, frames: int, joints: int, dims: int = 2, missing: float = 0.3):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(frames, joints, dims, generator=generator)
    mask = torch.rand(frames, joints, generator=generator) >= missing
    return torch.where(mask[..., None], values, 0.0), mask


def test_split_missing_marks_nan_and_zero_confidence():
    values = torch.tensor([[[1.0, 2.0], [torch.nan, 3.0], [4.0, 5.0]]])
    finite, mask = norm.split_missing(values, torch.tensor([[0.9, 0.8, 0.0]]))
    assert mask.tolist() == [[True, False, False]]
    assert finite.tolist() == [[[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]]
    with pytest.raises(ValueError, match="infinity"):
        norm.split_missing(torch.tensor([[[torch.inf, 0.0]]]))


@pytest.mark.parametrize(
    ("max_gap", "expected", "present"),
    [
        (None, [2, 2, 3, 4, 4, 4], [True] * 6),
        (1, [0, 2, 3, 4, 0, 0], [False, True, True, True, False, False]),
        (0, [0, 2, 0, 4, 0, 0], [False, True, False, True, False, False]),
    ],
)
def test_gaps_are_filled_up_to_the_limit(max_gap, expected, present):
    mask = torch.tensor([False, True, False, True, False, False])[:, None]
    values = torch.tensor([0.0, 2, 0, 4, 0, 0])[:, None, None]
    if max_gap == 1:  # the gap of one frame before the clip's first sight is as long as the inner one
        expected, present = [2, 2, 3, 4, 0, 0], [True, True, True, True, False, False]
    filled, filled_mask = norm.interpolate_gaps(values, mask, max_gap)
    assert filled[:, 0, 0].tolist() == expected
    assert filled_mask[:, 0].tolist() == present


def test_interpolation_equals_numpy_interp():
    values, mask = random_clip(0, 40, 5, 3, missing=0.6)
    filled, filled_mask = norm.interpolate_gaps(values, mask)
    for joint in range(5):
        seen = np.flatnonzero(mask[:, joint])
        for dim in range(3):
            expected = np.interp(np.arange(40), seen, values[seen, joint, dim])
            np.testing.assert_allclose(filled[:, joint, dim], expected, atol=1e-6)
    assert filled_mask.all()


def test_a_joint_never_seen_stays_missing():
    values, mask = random_clip(1, 10, 3)
    mask[:, 1] = False
    _, filled_mask = norm.interpolate_gaps(values, mask)
    assert not filled_mask[:, 1].any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["sts56", "openpose50", "asl42", "coco_wholebody_133"]), st.floats(0, 1)
)
def test_parent_offsets_have_an_exact_inverse_for_visible_joints(seed, name, missing):
    skeleton = get_skeleton(name)
    parents = torch.tensor(skeleton.parents)
    values, mask = random_clip(seed, 4, len(skeleton), missing=missing)
    offsets, offset_mask = norm.to_parent_offsets(values, mask, parents)
    back = norm.from_parent_offsets(offsets, parents)
    torch.testing.assert_close(back[mask], values[mask], atol=1e-5, rtol=0)
    assert (offsets[~mask] == 0).all()
    has_parent = parents >= 0
    assert torch.equal(offset_mask[:, has_parent], mask[:, has_parent] & mask[:, parents[has_parent]])


def test_values_of_missing_joints_do_not_matter():
    parents = torch.tensor(get_skeleton("sts56").parents)
    values, mask = random_clip(3, 6, 56)
    noisy = torch.where(mask[..., None], values, torch.randn_like(values) * 100)
    torch.testing.assert_close(
        norm.to_parent_offsets(noisy, mask, parents)[0], norm.to_parent_offsets(values, mask, parents)[0]
    )


def test_parent_offsets_by_hand():
    parents = torch.tensor([-1, 0, 1])
    values = torch.tensor([[[1.0, 1], [3, 1], [3, 4]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert norm.to_parent_offsets(values, mask, parents)[0].tolist() == [[[1, 1], [2, 0], [0, 3]]]
    mask[0, 1] = False  # joint 2 is then measured from joint 0, and joint 1 stands on joint 0
    offsets, offset_mask = norm.to_parent_offsets(values, mask, parents)
    assert offsets.tolist() == [[[1, 1], [0, 0], [2, 3]]]
    assert offset_mask.tolist() == [[True, False, False]]


def test_statistics_ignore_missing_joints_and_standardize_has_an_inverse():
    values, mask = random_clip(5, 50, 4)
    mask[:, 3] = False
    mean, std = norm.masked_statistics(
        [((values + 1000 * ~mask[..., None])[part], mask[part]) for part in (slice(0, 20), slice(20, 50))]
    )
    for joint in range(3):
        seen = values[mask[:, joint], joint]
        torch.testing.assert_close(mean[joint], seen.mean(0))
        torch.testing.assert_close(std[joint], seen.std(0, correction=0))
    assert mean[3].tolist() == [0, 0]
    assert std[3].tolist() == [1, 1]
    back = norm.unstandardize(norm.standardize(values, mean, std), mean, std)
    torch.testing.assert_close(back, values, atol=1e-6, rtol=0)


def test_constant_channels_do_not_explode():
    _, std = norm.masked_statistics([(torch.full((5, 1, 2), 3.0), torch.ones(5, 1, dtype=torch.bool))])
    assert std.tolist() == [[pytest.approx(1e-4)] * 2]


def test_origin_is_the_first_sight_of_the_joint():
    values, mask = random_clip(7, 8, 3, missing=0.0)
    mask[:2, 1] = False
    assert torch.equal(norm.clip_origin(values, mask, 1)[0, 0], values[2, 1])
    assert torch.equal(norm.clip_origin(values, mask, 1, every_frame=True)[3:, 0], values[3:, 1])
    mask[:, 1] = False
    torch.testing.assert_close(norm.clip_origin(values, mask, 1)[0, 0], values[0, [0, 2]].mean(0))


def test_scale_is_the_median_or_first_distance_over_frames_that_show_both():
    values = torch.zeros(4, 2, 2)
    values[:, 1, 0] = torch.tensor([100.0, 2, 3, 4])
    mask = torch.ones(4, 2, dtype=torch.bool)
    mask[0, 0] = False
    assert norm.clip_scale(values, mask, (0, 1)).item() == 3
    assert norm.clip_scale(values, mask, (0, 1), first=True).item() == 2
    mask[:, 0] = False
    assert norm.clip_scale(values, mask, (0, 1)).isnan().all()
    assert norm.clip_scale(values, mask, (0, 1), first=True).isnan().all()


def test_resampling_keeps_duration_and_straight_lines():
    values = torch.arange(30.0)[:, None, None].expand(30, 2, 2)
    mask = torch.ones(30, 2, dtype=torch.bool)
    half, _ = norm.resample(values, mask, 30, 25)
    assert len(half) == 25
    torch.testing.assert_close(half[:, 0, 0], (torch.arange(25.0) * 1.2).clamp(max=29))
    double, double_mask = norm.resample(values, mask, 25, 50)
    torch.testing.assert_close(double[::2], values)
    assert double_mask.all()
    assert norm.resample(values, mask, 30, 30)[0] is values


def test_resampling_never_mixes_in_a_missing_joint():
    values = torch.full((4, 1, 2), 5.0)
    mask = torch.tensor([True, False, True, True])[:, None]
    values[1] = 1e5
    out, out_mask = norm.resample(values, mask, 20, 40)
    assert out_mask[:, 0].tolist() == [True, False, False, False, True, True, True, True]
    assert (out[out_mask] == 5).all()


@pytest.mark.parametrize("name", SKELETON_NAMES)
def test_mirror_is_its_own_inverse(name):
    skeleton = get_skeleton(name)
    permutation = torch.tensor(skeleton.mirror)
    values, mask = random_clip(9, 3, len(skeleton), skeleton.dims)
    once = norm.mirror(values, mask, permutation, axis=0.5)
    twice, twice_mask = norm.mirror(*once, permutation, axis=0.5)
    torch.testing.assert_close(twice, values, atol=1e-6, rtol=0)
    assert torch.equal(twice_mask, mask)


def test_mirror_swaps_the_hands():
    skeleton = get_skeleton("sts56")
    left, right = skeleton.index("left_index_tip"), skeleton.index("right_index_tip")
    values, mask = random_clip(11, 2, 56, missing=0.0)
    flipped, _ = norm.mirror(values, mask, torch.tensor(skeleton.mirror))
    torch.testing.assert_close(flipped[:, left], values[:, right] * torch.tensor([-1.0, 1.0]))


def test_batched_and_single_clips_agree():
    clips = [random_clip(seed, 12, 5) for seed in (1, 2)]
    values, mask = (torch.stack(part) for part in zip(*clips, strict=True))
    filled, filled_mask = norm.interpolate_gaps(values, mask, 3)
    origin = norm.clip_origin(values, mask, 2)
    scale = norm.clip_scale(values, mask, (0, 1))
    for row, clip in enumerate(clips):
        alone, alone_mask = norm.interpolate_gaps(*clip, 3)
        assert torch.equal(filled[row], alone)
        assert torch.equal(filled_mask[row], alone_mask)
        assert torch.equal(origin[row], norm.clip_origin(*clip, 2))
        assert torch.equal(scale[row], norm.clip_scale(*clip, (0, 1)))
