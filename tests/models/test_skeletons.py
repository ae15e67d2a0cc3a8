"""Skeletons against what is known of each layout: file headers, geometry, and how the joints hang together."""

import copy
import csv
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.models.poses import Pose, PoseError
from signllm.models.skeleton_layouts import IBUG_MIRROR, MESH_128, MESH_MIRROR, MESH_TO_IBUG, STAND_INS
from signllm.models.skeletons import (
    SKELETON_NAMES,
    convert_pose,
    get_skeleton,
    mirrored_joint,
    select_hand,
    skeleton_for_count,
)

# name -> joints of body, face, left hand, right hand
PART_SIZES = {
    "holistic_543": (33, 468, 21, 21),
    "holistic_553": (33, 478, 21, 21),
    "holistic_576": (66, 468, 21, 21),
    "holistic_586": (66, 478, 21, 21),
    "holistic_178": (8, 128, 21, 21),
    "asl42": (0, 0, 21, 21),
    "hand21": (0, 0, 0, 21),
    "openpose_137": (25, 70, 21, 21),
    "coco_wholebody_133": (23, 68, 21, 21),
    "dwpose_128": (18, 68, 21, 21),
    "openpose50": (8, 0, 21, 21),
    "sts56": (14, 0, 21, 21),
}
ROOTS = {
    "holistic_543": {"nose"},
    "holistic_553": {"nose"},
    "holistic_576": {"nose", "world_nose"},
    "holistic_586": {"nose", "world_nose"},
    "holistic_178": {"left_shoulder", "right_shoulder", "face_mesh_0"},
    "asl42": {"left_hand_wrist", "right_hand_wrist"},
    "hand21": {"right_hand_wrist"},
    "openpose_137": {"neck"},
    "coco_wholebody_133": {"nose"},
    "dwpose_128": {"neck"},
    "openpose50": {"neck"},
    "sts56": {"neck"},
}
every_skeleton = pytest.mark.parametrize("name", SKELETON_NAMES)


def random_pose(skeleton: str, dims: int | None = None, frames: int = 4, seed: int = 0) -> Pose:
    """Every joint somewhere else, every confidence another one, nothing missing."""
    rng = np.random.default_rng(seed)
    layout = get_skeleton(skeleton)
    values = rng.normal(100, 30, (frames, len(layout), dims or layout.dims))
    return Pose(values, rng.uniform(0.1, 1, (frames, len(layout))), 25, skeleton, source="clip.pose")


def without(pose: Pose, *joints: str) -> Pose:
    """The pose with these joints missing in frame 0."""
    values = pose.values.copy()
    values[0, [get_skeleton(pose.skeleton).index(joint) for joint in joints]] = np.nan
    return pose.replace(values=values)


def at(pose: Pose, joint: str) -> np.ndarray:
    """`[T, C]`"""
    return pose.values[:, get_skeleton(pose.skeleton).index(joint)]


# --------------------------------------------------------------------------------------------------------------------
# The layouts
# --------------------------------------------------------------------------------------------------------------------


@every_skeleton
def test_parts_have_the_known_sizes_and_cover_every_joint_once(name):
    skeleton = get_skeleton(name)
    assert tuple(len(skeleton.parts[part]) for part in ("body", "face", "left_hand", "right_hand")) == PART_SIZES[name]
    assert sorted(j for part in skeleton.parts.values() for j in part) == list(range(len(skeleton)))
    assert len(set(skeleton.joints)) == len(skeleton)


@every_skeleton
def test_mirror_is_an_involution_that_exchanges_the_sides(name):
    skeleton = get_skeleton(name)
    mirror = np.array(skeleton.mirror)
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(skeleton)))
    if name == "hand21":  # the other hand is not in the layout
        np.testing.assert_array_equal(mirror, np.arange(21))
        return
    for j, joint in enumerate(skeleton.joints):
        partner = skeleton.joints[mirror[j]]
        assert partner == mirrored_joint(joint)
        if "left" in joint:
            assert partner == joint.replace("left", "right")
    assert {skeleton.mirror[j] for j in skeleton.parts["left_hand"]} == set(skeleton.parts["right_hand"])


@every_skeleton
def test_parents_are_a_forest_with_the_expected_roots(name):
    skeleton = get_skeleton(name)
    assert {skeleton.joints[j] for j, parent in enumerate(skeleton.parents) if parent == -1} == ROOTS[name]
    for j in range(len(skeleton)):
        seen = set()
        while j != -1:
            assert j not in seen, f"{skeleton.joints[j]} is its own ancestor"
            seen.add(j)
            j = skeleton.parents[j]


@pytest.mark.parametrize("name", [name for name in SKELETON_NAMES if name != "hand21"])
def test_parents_and_edges_look_the_same_in_the_mirror(name):
    skeleton = get_skeleton(name)
    mirror = [*skeleton.mirror, -1]  # a root's parent stays -1
    assert [mirror[skeleton.parents[mirror[j]]] for j in range(len(skeleton))] == list(skeleton.parents)
    edges = {frozenset(edge) for edge in skeleton.edges}
    assert {frozenset(mirror[j] for j in edge) for edge in edges} == edges


@every_skeleton
def test_edges_join_two_different_joints_once(name):
    skeleton = get_skeleton(name)
    assert all(0 <= a < len(skeleton) and 0 <= b < len(skeleton) and a != b for a, b in skeleton.edges)
    assert len({frozenset(edge) for edge in skeleton.edges}) == len(skeleton.edges)
    assert not any("world" in skeleton.joints[j] for edge in skeleton.edges for j in edge)


@every_skeleton
@pytest.mark.parametrize("side", ["left", "right"])
def test_each_hand_is_drawn_as_five_fingers_from_the_wrist(name, side):
    skeleton = get_skeleton(name)
    hand = skeleton.parts[f"{side}_hand"]
    if not hand:
        return
    bones = {(0 if k % 4 == 1 else k - 1, k) for k in range(1, 21)}
    drawn = {(hand.index(a), hand.index(b)) for a, b in skeleton.edges if a in hand and b in hand}
    assert drawn == bones
    assert {(hand.index(skeleton.parents[j]), hand.index(j)) for j in hand[1:]} == bones


def test_sts56_has_the_tree_of_its_specification():
    tree = {
        "nose": "neck",
        **{f"{side}_{joint}": "neck" for side in ("left", "right") for joint in ("shoulder", "hip")},
        **{f"{side}_eye": "nose" for side in ("left", "right")},
        **{f"{side}_ear": f"{side}_eye" for side in ("left", "right")},
        **{f"{side}_elbow": f"{side}_shoulder" for side in ("left", "right")},
        **{f"{side}_wrist": f"{side}_elbow" for side in ("left", "right")},
        **{f"{side}_hand_wrist": f"{side}_wrist" for side in ("left", "right")},
    }
    skeleton = get_skeleton("sts56")
    assert skeleton.joints[:5] == ("nose", "neck", "right_shoulder", "right_elbow", "right_wrist")
    assert skeleton.joints[8:14] == ("right_hip", "left_hip", "right_eye", "left_eye", "right_ear", "left_ear")
    for child, parent in tree.items():
        assert skeleton.parents[skeleton.index(child)] == skeleton.index(parent), child


def test_openpose_and_coco_orders_at_known_places():
    openpose, coco, dwpose = (get_skeleton(n) for n in ("openpose_137", "coco_wholebody_133", "dwpose_128"))
    assert [openpose.index(j) for j in ("mid_hip", "right_hip", "left_ankle", "right_heel")] == [8, 9, 14, 24]
    assert [openpose.index(j) for j in ("face_0", "face_69", "left_hand_wrist", "right_hand_wrist")] == [
        25,
        94,
        95,
        116,
    ]
    assert [coco.index(j) for j in ("left_big_toe", "right_heel", "face_0", "face_67")] == [17, 22, 23, 90]
    assert [coco.index(j) for j in ("left_hand_wrist", "right_pinky_tip")] == [91, 132]
    assert [dwpose.index(j) for j in ("left_ear", "face_0", "left_hand_wrist", "right_hand_wrist")] == [
        17,
        18,
        86,
        107,
    ]


def test_each_number_of_joints_tells_the_skeleton():
    assert [skeleton_for_count(sum(sizes)).name for sizes in PART_SIZES.values()] == list(SKELETON_NAMES)
    with pytest.raises(PoseError, match="no skeleton has 75 joints; known are 543 holistic_543"):
        skeleton_for_count(75)


def test_unknown_names_are_answered_with_known_ones():
    with pytest.raises(PoseError, match=r"unknown skeleton 'coco'; known are holistic_543, .*sts56"):
        get_skeleton("coco")
    with pytest.raises(PoseError, match=r"sts56 has no joint 'left_wrst'; did you mean left_wrist"):
        get_skeleton("sts56").index("left_wrst")


def test_a_skeleton_survives_pickle_and_copy_as_the_same_object():
    skeleton = get_skeleton("sts56")
    assert pickle.loads(pickle.dumps(skeleton)) is skeleton
    assert copy.deepcopy(skeleton) is skeleton


def test_the_mesh_to_68_point_table_is_symmetric():
    for i, point in enumerate(MESH_TO_IBUG):
        assert MESH_TO_IBUG[IBUG_MIRROR.get(i, i)] == MESH_MIRROR[point]
    assert len(set(MESH_TO_IBUG)) == 68


# --------------------------------------------------------------------------------------------------------------------
# Conversion
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source", ["holistic_543", "holistic_586", "openpose_137", "coco_wholebody_133", "dwpose_128"]
)
def test_every_tracker_s_layout_becomes_sts56(source):
    pose = random_pose(source)
    converted = convert_pose(pose, "sts56")
    assert converted.skeleton == "sts56"
    assert converted.values.shape == (4, 56, 2)
    for joint in get_skeleton("sts56").joints:
        if joint != "neck":
            np.testing.assert_array_equal(at(converted, joint), at(pose, joint)[:, :2])
    neck = at(pose, "neck") if get_skeleton(source).has("neck") else None
    if neck is None:
        neck = (at(pose, "left_shoulder") + at(pose, "right_shoulder")) / 2
    np.testing.assert_allclose(at(converted, "neck"), neck[:, :2], rtol=1e-6)
    assert (converted.fps, converted.units, converted.source) == (pose.fps, pose.units, pose.source)


def test_a_derived_joint_is_missing_with_its_sources_and_as_uncertain_as_the_worse():
    pose = without(random_pose("coco_wholebody_133"), "left_shoulder", "right_hip")
    converted = convert_pose(pose, "openpose_137")
    skeleton, source = get_skeleton("openpose_137"), get_skeleton("coco_wholebody_133")
    for joint, (a, b) in (("neck", ("left_shoulder", "right_shoulder")), ("mid_hip", ("left_hip", "right_hip"))):
        assert np.isnan(at(converted, joint)[0]).all()
        expected = np.minimum(pose.confidence[:, source.index(a)], pose.confidence[:, source.index(b)])
        np.testing.assert_array_equal(converted.confidence[:, skeleton.index(joint)], expected)
    np.testing.assert_array_equal(at(converted, "right_shoulder"), at(pose, "right_shoulder"))


@settings(max_examples=40, deadline=None)
@given(
    source=st.sampled_from(["holistic_543", "holistic_586", "coco_wholebody_133"]),
    target=st.sampled_from(["sts56", "openpose_137", "dwpose_128", "openpose50", "asl42"]),
    missing=st.lists(st.integers(0, 132), max_size=60),
    seed=st.integers(0, 99),
)
def test_conversion_agrees_with_joint_by_joint_reasoning(source, target, missing, seed):
    pose = random_pose(source, frames=2, seed=seed)
    values = pose.values.copy()
    values[0, missing] = np.nan
    pose = pose.replace(values=values)
    have = get_skeleton(source)
    converted = convert_pose(pose, target, dims=2)
    for j, joint in enumerate(get_skeleton(target).joints):
        choices = ((joint,), *STAND_INS.get(joint, ()))
        sources = [have.index(name) for name in next(c for c in choices if all(map(have.has, c)))]
        expected = np.mean(pose.values[:, sources, :2], axis=1)
        np.testing.assert_allclose(converted.values[:, j], expected, rtol=1e-5)
        np.testing.assert_array_equal(converted.confidence[:, j], pose.confidence[:, sources].min(axis=1))


def test_a_detour_over_another_layout_changes_nothing():
    pose = random_pose("holistic_586")
    direct = convert_pose(pose, "sts56")
    for detour in ("holistic_576", "holistic_553", "holistic_543", "dwpose_128", "openpose_137"):
        np.testing.assert_array_equal(convert_pose(convert_pose(pose, detour), "sts56").values, direct.values)


def test_conversion_and_mirror_commute():
    pose = random_pose("holistic_553", dims=2)

    def mirrored(p: Pose) -> Pose:
        return p.replace(values=p.values[:, list(get_skeleton(p.skeleton).mirror)] * np.array([-1, 1]))

    for target in ("holistic_178", "openpose_137", "dwpose_128", "sts56", "asl42"):
        a, b = mirrored(convert_pose(pose, target, dims=2)), convert_pose(mirrored(pose), target, dims=2)
        np.testing.assert_allclose(a.values, b.values, rtol=1e-6)


def test_world_joints_never_stand_in_for_image_joints():
    pose = random_pose("holistic_576")
    image_only = without(pose, *(j for j in get_skeleton("holistic_543").joints))
    assert not convert_pose(image_only, "sts56").joint_mask[0].any()


def test_pupils_come_from_the_iris_where_there_is_one():
    refined = random_pose("holistic_553")
    iris = convert_pose(refined, "openpose_137")
    np.testing.assert_array_equal(at(iris, "face_68"), at(refined, "face_mesh_468")[:, :2])
    np.testing.assert_array_equal(at(iris, "face_69"), at(refined, "face_mesh_473")[:, :2])
    plain = random_pose("holistic_543")
    corners = (at(plain, "face_mesh_33") + at(plain, "face_mesh_133")) / 2
    np.testing.assert_allclose(at(convert_pose(plain, "openpose_137"), "face_68"), corners[:, :2], rtol=1e-6)


def test_dims_drop_depth_but_never_make_it_up():
    flat, deep = random_pose("openpose_137"), random_pose("holistic_543")
    assert convert_pose(deep, "holistic_543") is deep
    assert convert_pose(flat, "openpose_137", dims=2) is flat
    assert convert_pose(deep, "holistic_543", dims=2).values.shape == (4, 543, 2)
    assert convert_pose(deep, "sts56", dims=3).values.shape == (4, 56, 3)
    assert convert_pose(flat, "openpose50", dims=2).values.shape == (4, 50, 2)
    with pytest.raises(PoseError, match=r"clip.pose: openpose50 is wanted in 3-D .* is 2-D, .*pass dims=2"):
        convert_pose(flat, "openpose50")
    with pytest.raises(PoseError, match="dims must be 2 or 3, got 4"):
        convert_pose(deep, "sts56", dims=4)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("asl42", "sts56", r"asl42 cannot become sts56: 12 of 56 joints .*: nose, neck, .* and 4 more"),
        ("dwpose_128", "holistic_178", r"128 of 178 joints .*: face_mesh_0, face_mesh_7, .* and 120 more"),
        ("holistic_543", "holistic_576", r"33 of 576 joints .*world_nose.* It can become holistic_178, asl42"),
        ("holistic_178", "sts56", r"5 of 56 joints .*: nose, right_eye, left_eye, right_ear, left_ear\. It"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_joints_by_name(source, target, message):
    with pytest.raises(PoseError, match=rf"clip.pose: .*{message}"):
        convert_pose(random_pose(source), target, dims=2)


def test_a_pose_of_another_size_than_its_skeleton_is_refused():
    pose = Pose(np.zeros((1, 55, 2)), None, 25, "sts56")
    with pytest.raises(PoseError, match="a pose in sts56 has 56 joints, got 55"):
        convert_pose(pose, "asl42")


def test_conversion_leaves_its_input_alone():
    pose = without(random_pose("coco_wholebody_133"), "left_shoulder")
    before = pose.values.copy(), pose.confidence.copy()
    convert_pose(pose, "sts56").values[:] = 0
    select_hand(pose, "left_hand").values[:] = 0
    np.testing.assert_array_equal(pose.values, before[0])
    np.testing.assert_array_equal(pose.confidence, before[1])


def test_select_hand_gives_right_hands_only():
    pose = random_pose("sts56")
    right, left = select_hand(pose, "right_hand"), select_hand(pose, "left_hand")
    assert (right.skeleton, left.skeleton) == ("hand21", "hand21")
    np.testing.assert_array_equal(right.values, pose.values[:, 35:56])
    np.testing.assert_array_equal(left.values, pose.values[:, 14:35] * np.array([-1, 1]))
    with pytest.raises(PoseError, match="must be left_hand or right_hand, got 'left'"):
        select_hand(pose, "left")
    with pytest.raises(PoseError, match="hand21 has no left_hand"):
        select_hand(right, "left_hand")


# --------------------------------------------------------------------------------------------------------------------
# Real recordings
# --------------------------------------------------------------------------------------------------------------------

OPENPOSE_WORDS = {"R": "right_", "L": "left_"}


def _meaning(component: str, point: str) -> str:
    """Our name for a joint of a `.pose` header of MediaPipe or the OpenPose body and face."""
    side = "left" if "LEFT" in component or "_left" in component else "right"
    if component == "FACE_LANDMARKS":
        return f"face_mesh_{point}"
    if component.endswith("HAND_LANDMARKS"):
        return f"{side}_hand_wrist" if point == "WRIST" else f"{side}_{point.replace('_FINGER', '').lower()}"
    if component.endswith("POSE_LANDMARKS") or component == "POSE_WORLD_LANDMARKS":
        return ("world_" if "WORLD" in component else "") + point.lower()
    if component == "face_keypoints_2d":
        return f"face_{point.split('_')[1]}"
    words = {"BigToe": "big_toe", "SmallToe": "small_toe", "MidHip": "mid_hip", "Nose": "nose", "Neck": "neck"}
    if point in words:
        return words[point]
    return OPENPOSE_WORDS[point[0]] + words.get(point[1:], point[1:].lower())


def _read(path):
    from pose_format import Pose as PoseFile

    return PoseFile.read(path.read_bytes())


def _load(path) -> Pose:
    file = _read(path)
    confidence = np.asarray(file.body.confidence)[:, 0]
    values = np.where(confidence[..., None] > 0, np.ma.getdata(file.body.data)[:, 0], np.nan)
    return Pose(values, confidence, file.body.fps, skeleton_for_count(values.shape[1]).name, source=path.name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("phoenix2014t_holistic_sample/*.pose", "holistic_543"),
        ("pose_evaluation_asl/Ui9*.pose", "holistic_553"),
        ("pose_evaluation_asl/*LIBRARY.pose", "holistic_576"),
        ("fingerspelling_lexicon_pose/swl/*.pose", "holistic_586"),
        ("pose_format_fixtures/mediapipe.pose", "holistic_178"),
        ("pose_format_fixtures/mediapipe_hand_normalized.pose", "hand21"),
        ("pose_format_fixtures/openpose.pose", "openpose_137"),
    ],
)
def test_names_follow_the_headers_of_real_files(real_data, pattern, name):
    header = _read(min(real_data.glob(pattern))).header
    joints = [(component.name, point) for component in header.components for point in component.points]
    skeleton = get_skeleton(name)
    assert skeleton_for_count(len(joints)) is skeleton
    fingers = [j for j, (component, _) in enumerate(joints) if component.startswith("hand_")]
    expected = [skeleton.joints[j] if j in fingers else _meaning(*joint) for j, joint in enumerate(joints)]
    assert list(skeleton.joints) == expected
    # OpenPose's hands use other words for the same 21 places (BASE, T_..., I_..., M_..., R_..., P_...).
    initials = {"B": "hand", "T": "thumb", "I": "index", "M": "middle", "R": "ring", "P": "pinky"}
    for j in fingers:
        component, point = joints[j]
        side = "left" if "left" in component else "right"
        assert skeleton.joints[j].startswith(f"{side}_{initials[point[0]]}_")


def test_the_reduced_layout_is_the_one_of_pose_format(real_data):
    from pose_format.utils.generic import reduce_holistic

    path = min(real_data.glob("phoenix2014t_holistic_sample/*.pose"))
    reduced = reduce_holistic(_read(path)).body
    ours = convert_pose(_load(path), "holistic_178")
    seen = ours.joint_mask
    np.testing.assert_array_equal(seen, np.asarray(reduced.confidence)[:, 0] > 0)
    np.testing.assert_array_equal(ours.values[seen], np.ma.getdata(reduced.data)[:, 0][seen])
    assert len(MESH_128) == 128


def test_the_mirror_of_holistic_is_the_published_symmetry_table(real_data):
    with (real_data / "kaggle_asl_fingerspelling" / "symmetry.csv").open() as file:
        table = {row["id"]: row["corresponding_id"] for row in csv.DictReader(file)}
    skeleton = get_skeleton("holistic_543")
    offsets = {"pose": 0, "face": 33, "left_hand": 501, "right_hand": 522}

    def place(kaggle_name: str) -> int:
        part, number = kaggle_name.rsplit("_", 1)
        return offsets[part] + int(number)

    assert {place(a): place(b) for a, b in table.items()} == dict(enumerate(skeleton.mirror))


def test_the_sides_of_openpose50_are_those_of_the_signer(real_data):
    """The released 3-D poses and a MediaPipe pose of one and the same PHOENIX clip: their wrists move together."""
    line = (real_data / "progressive_transformers_phoenix" / "train.skels").open().readline()
    values = np.array(line.split(), dtype=float).reshape(-1, 151)[:, :150].reshape(-1, 50, 3)
    lifted = Pose(values, None, 25, "openpose50")
    filmed = convert_pose(_load(min(real_data.glob("phoenix2014t_holistic_sample/*.pose"))), "openpose50")
    assert len(lifted) == len(filmed)

    def agreement(a: str, b: str) -> float:
        pairs = zip(
            (at(lifted, a) - at(lifted, "neck")).T[:2], (at(filmed, b) - at(filmed, "neck")).T[:2], strict=True
        )
        return min(np.corrcoef(x, y)[0, 1] for x, y in pairs)

    for side, other in (("left", "right"), ("right", "left")):
        assert agreement(f"{side}_wrist", f"{side}_wrist") > 0.6
        assert agreement(f"{side}_wrist", f"{other}_wrist") < 0.3
        gap = np.linalg.norm(at(lifted, f"{side}_hand_wrist") - at(lifted, f"{side}_wrist"), axis=-1)
        assert gap.max() < 0.05  # the forearm is 0.21 long


def test_the_68_points_read_off_a_mesh_look_like_a_68_point_face(real_data):
    frames = sorted((real_data / "how2sign_openpose" / "dev" / "json" / "_2FBDaOPYig_2-3-rgb_front").glob("*.json"))
    people = [json.loads(path.read_text())["people"][0]["face_keypoints_2d"] for path in frames[:60:3]]
    tracked = np.median(np.array(people).reshape(-1, 70, 3)[:, :68, :2], axis=0)
    mesh = _load(min(real_data.glob("pose_evaluation_asl/*LIBRARY.pose")))
    converted = convert_pose(mesh, "dwpose_128")
    derived = np.nanmedian(converted.values[:, list(get_skeleton("dwpose_128").parts["face"])], axis=0)
    # Best turn, scale and shift of one onto the other (no reflection), in units of the distance between the eyes.
    a, b = ((p - p.mean(axis=0)) @ np.array([1, 1j]) for p in (derived, tracked))
    residual = np.abs(a * (np.vdot(a, b) / np.vdot(a, a)) - b) / abs(b[36:42].mean() - b[42:48].mean())
    assert residual.mean() < 0.15
    assert residual[17:].max() < 0.3  # the jaw is drawn by another rule
