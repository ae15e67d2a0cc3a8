"""The window through which a signer is seen: robust, and shared where sizes are to be compared."""

import numpy as np
import pytest

from signllm.models.poses import PoseError
from signllm.models.skeletons import SKELETON_NAMES, get_skeleton
from signllm.visualization.view import PART_COLORS, PARTS, drawn_edges, joint_parts, robust_box, scene_views


@pytest.mark.parametrize("name", SKELETON_NAMES)
def test_every_layout_can_be_drawn(name):
    skeleton = get_skeleton(name)
    parts = joint_parts(skeleton)
    edges, edge_parts = drawn_edges(skeleton)
    assert len(edges) > 0
    assert (parts[edges] >= 0).all()
    assert set(edge_parts) <= set(range(len(PARTS)))
    for index, part in enumerate(PARTS[1:], start=1):  # face and hands are drawn whole
        assert set(skeleton.parts[part]) == set(np.flatnonzero(parts == index))


def test_world_landmarks_are_not_drawn():
    skeleton = get_skeleton("holistic_576")
    world = [index for index, joint in enumerate(skeleton.joints) if joint.startswith("world_")]
    assert world
    assert (joint_parts(skeleton)[world] == -1).all()


def test_legs_and_wild_frames_do_not_widen_the_window(signer):
    pose = signer("openpose_137", frames=60)
    calm = scene_views([pose])[0]
    values = pose.values.copy()
    values[:, get_skeleton("openpose_137").index("left_ankle")] = [300, 5000]
    values[7, get_skeleton("openpose_137").index("right_wrist")] = [-9000, 9000]
    wild = scene_views([pose.replace(values=values)])[0]
    assert wild.height < 1.1 * calm.height
    assert wild.width < 1.1 * calm.width


def test_box_ignores_missing_frames(signer):
    pose = signer(frames=40)
    values = pose.values.copy()
    values[:39, 0] = np.nan
    values[39, 0] = [-50, 300]  # a joint that is seen once is part of the picture
    low, high = robust_box(pose.replace(values=values))
    assert low[0] == -50
    assert np.isfinite(high).all()


def test_a_collapsed_reconstruction_is_seen_as_collapsed(signer):
    pose = signer()
    point = pose.replace(values=np.broadcast_to(pose.values.mean(axis=(0, 1)), pose.values.shape))
    first, second = scene_views([pose, point])
    assert second == first
    assert second.shared


def test_an_exploding_reconstruction_leaves_the_original_legible(signer):
    pose = signer()
    middle = pose.values.mean(axis=(0, 1))
    alone = scene_views([pose])[0]
    first, second = scene_views([pose, pose.replace(values=middle + 100 * (pose.values - middle))])
    assert second.shared
    assert first.width == pytest.approx(1.5 * alone.width, rel=0.01)


def test_other_units_or_places_get_their_own_window(signer):
    pose = signer()
    views = scene_views([pose, pose.replace(values=pose.values / 400, units="shoulder_widths"), signer(seed=1)])
    assert [view.shared for view in views] == [True, False, True]
    elsewhere = scene_views([pose, pose.replace(values=pose.values + 5000)])
    assert not elsewhere[1].shared
    assert elsewhere[1].width == pytest.approx(elsewhere[0].width, rel=0.01)


def test_joint_count_is_checked(signer):
    with pytest.raises(PoseError, match="56 joints"):
        scene_views([signer().replace(skeleton="asl42")])


def test_part_colors_stand_out():
    def luminance(color: str) -> float:
        channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for scheme, background in (("light", "#f5f6f8"), ("dark", "#12161c")):
        assert set(PART_COLORS[scheme]) == set(PARTS)
        for color in PART_COLORS[scheme].values():
            high, low = sorted([luminance(color), luminance(background)], reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 3  # WCAG 2.2, 1.4.11
