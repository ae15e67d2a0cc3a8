"""Every format gives back the numbers that were put into the file, joint by joint."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
from pose_files import (
    dwpose_folder,
    dwpose_old_folder,
    dwpose_person,
    keypoint_pickle,
    long_parquet,
    make_pose,
    openpose_folder,
    openpose_pose_0_0,
    pose_0_1,
    same,
    wide_parquet,
)

from signllm.data import read_pose, write_pose, write_skels
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import SKELETON_NAMES, get_skeleton


def openpose_person(seed=0):
    person = np.random.default_rng(seed).uniform(1, 900, (137, 3)).astype(np.float32)
    person[:, 2] = np.random.default_rng(seed + 1).uniform(0.3, 1, 137)
    return person


def holistic(frames, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-0.1, 1.2, (frames, 543, 3)).astype(np.float32)
    values[::2, 501:522] = np.nan
    return values


def test_reading_poses_needs_no_torch():
    heavy = "{'torch', 'transformers', 'pyarrow', 'pose_format'}"
    code = f"import sys, signllm.data; signllm.data.read_pose; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --------------------------------------------------------------------------------------------------------- .pose


@pytest.mark.parametrize("skeleton", [name for name in SKELETON_NAMES if name != "openpose50"])
def test_pose_0_1(tmp_path, skeleton):
    pose = make_pose(skeleton, dims=3)
    read = read_pose(pose_0_1(tmp_path / "clip.pose", pose))
    assert (read.skeleton, read.fps, read.units) == (skeleton, 25.0, "pixels")
    assert same(read, pose)


def test_pose_0_0_keeps_everybody_and_pose_format_agrees_on_the_first(tmp_path):
    from pose_format import Pose as PoseFormat

    one, two = openpose_person(1), openpose_person(2)
    one[3] = 0
    path = openpose_pose_0_0(tmp_path / "clip.pose", [[one, two], [one], []])
    with pytest.raises(PoseError, match=r"clip.pose: 2 persons \(1 of 3 frames.*person='first'"):
        read_pose(path)
    first, second = read_pose(path, person="first"), read_pose(path, person=1)
    theirs = PoseFormat.read(path.read_bytes())
    assert np.array_equal(first.values[:2], theirs.body.data.filled(np.nan)[:2, 0], equal_nan=True)
    assert np.isnan(first.values[0, 3]).all()
    assert np.isnan(first.values[2]).all()
    assert np.allclose(second.values[0], two[:, :2])
    assert np.isnan(second.values[1:]).all()
    assert first.fps == 24


def test_pose_0_2_with_two_persons(tmp_path):
    from pose_format import Pose as PoseFormat

    one, two = make_pose("asl42", seed=1, missing=0), make_pose("asl42", seed=2, missing=0)
    write_pose(one, tmp_path / "clip.pose")
    theirs = PoseFormat.read((tmp_path / "clip.pose").read_bytes())
    theirs.body.data = np.ma.masked_array(np.stack([one.values, two.values], axis=1))
    theirs.body.confidence = np.stack([one.confidence * 0.5, two.confidence], axis=1)
    with (tmp_path / "clip.pose").open("wb") as stream:
        theirs.write(stream)
    with pytest.raises(PoseError, match=r"2 persons \(5 of 5 frames"):
        read_pose(tmp_path / "clip.pose")
    assert np.array_equal(read_pose(tmp_path / "clip.pose", person="first").values, one.values)
    assert same(read_pose(tmp_path / "clip.pose", person="confident"), two)
    theirs.body.confidence[:, 0] = 0  # room for two, but only the second is ever seen
    with (tmp_path / "clip.pose").open("wb") as stream:
        theirs.write(stream)
    assert same(read_pose(tmp_path / "clip.pose"), two)


def test_pose_joints_are_told_by_name_not_by_place(tmp_path):
    from pose_format import Pose as PoseFormat

    pose = make_pose("holistic_543")
    write_pose(pose, tmp_path / "clip.pose")
    theirs = PoseFormat.read((tmp_path / "clip.pose").read_bytes())
    head = theirs.header.components
    order = [*range(33, 501), *range(33), *range(522, 543), *range(501, 522)]
    theirs.header.components = [head[1], head[0], head[3], head[2]]
    theirs.body.data, theirs.body.confidence = theirs.body.data[:, :, order], theirs.body.confidence[:, :, order]
    with (tmp_path / "shuffled.pose").open("wb") as stream:
        theirs.write(stream)
    assert same(read_pose(tmp_path / "shuffled.pose"), pose)


def test_single_left_hand_is_mirrored_into_hand21(tmp_path):
    pose = make_pose("hand21")
    write_pose(pose, tmp_path / "right.pose")
    data = (tmp_path / "right.pose").read_bytes()
    (tmp_path / "left.pose").write_bytes(
        data.replace(struct_text("RIGHT_HAND_LANDMARKS"), struct_text("LEFT_HAND_LANDMARKS"))
    )
    left = read_pose(tmp_path / "left.pose")
    assert left.skeleton == "hand21"
    assert np.array_equal(left.values, pose.values * np.float32([-1, 1, 1]), equal_nan=True)


def struct_text(text):
    return len(text).to_bytes(2, "little") + text.encode()


def test_reading_in_another_layout_converts(tmp_path):
    pose = make_pose("holistic_543", missing=0)
    write_pose(pose, tmp_path / "clip.pose")
    hands = read_pose(tmp_path / "clip.pose", skeleton="asl42")
    assert hands.skeleton == "asl42"
    assert np.array_equal(hands.values, pose.values[:, 501:, :2])


# ----------------------------------------------------------------------------------------------- folders of frames


def test_openpose_json(tmp_path):
    frames = [[openpose_person(t)] for t in range(3)]
    frames[1][0][7] = 0
    frames.append([])
    pose = read_pose(openpose_folder(tmp_path, frames), fps=24)
    assert (pose.skeleton, pose.units, pose.values.shape) == ("openpose_137", "pixels", (4, 137, 2))
    assert np.allclose(pose.values[0], frames[0][0][:, :2])
    assert np.allclose(pose.confidence[0], frames[0][0][:, 2])
    assert np.isnan(pose.values[1, 7]).all()
    assert pose.confidence[1, 7] == 0
    assert not pose.joint_mask[3].any()


def test_openpose_json_is_ordered_by_number_and_gaps_are_empty_frames(tmp_path):
    openpose_folder(tmp_path, [[openpose_person(0)]], first=9)
    openpose_folder(tmp_path, [[openpose_person(1)]], first=11)
    pose = read_pose(tmp_path, fps=24)
    assert len(pose) == 3
    assert not pose.joint_mask[1].any()
    assert np.allclose(pose.values[2], openpose_person(1)[:, :2])


def test_openpose_json_without_hands_or_rate(tmp_path):
    openpose_folder(tmp_path, [[openpose_person()]])
    file = next(tmp_path.iterdir())
    record = json.loads(file.read_text())
    record["people"][0]["hand_left_keypoints_2d"] = []
    del record["people"][0]["face_keypoints_2d"]
    file.write_text(json.dumps(record))
    with pytest.raises(PoseError, match=r"does not hold its frame rate; pass fps="):
        read_pose(tmp_path)
    mask = read_pose(tmp_path, fps=24).joint_mask[0]
    assert mask[:25].all()
    assert not mask[25:116].any()
    assert mask[116:].all()


def test_several_clips_in_one_openpose_folder(tmp_path):
    openpose_folder(tmp_path, [[openpose_person(0)]], clip="a_1")
    openpose_folder(tmp_path, [[openpose_person(1)]] * 2, clip="b")
    with pytest.raises(PoseError, match=r"2 clips in one folder; pass clip=, one of a_1, b"):
        read_pose(tmp_path, fps=24)
    assert len(read_pose(tmp_path, clip="a_1", fps=24)) == 1
    assert len(read_pose(tmp_path, clip="b", fps=24)) == 2


def test_most_confident_person_is_chosen_for_the_whole_clip(tmp_path):
    faint, clear = openpose_person(0), openpose_person(1)
    faint[:, 2], clear[:, 2] = 0.3, 0.9
    brief = openpose_person(2)
    brief[:, 2] = 1.0
    openpose_folder(tmp_path, [[faint, clear], [faint, clear], [faint, clear, brief]])
    assert np.allclose(read_pose(tmp_path, fps=24, person="confident").values[2], clear[:, :2])
    assert np.allclose(read_pose(tmp_path, fps=24, person="first").values[2], faint[:, :2])
    with pytest.raises(PoseError, match=r"persons 0 to 2"):
        read_pose(tmp_path, fps=24, person=3)
    with pytest.raises(PoseError, match=r"person must be"):
        read_pose(tmp_path, fps=24, person="best")


@pytest.mark.parametrize("kind", ["npz", "npy", "json", "old"])
def test_dwpose_scores_of_the_body_are_not_confidences(tmp_path, kind):
    rng = np.random.default_rng(0)
    frames = [[dwpose_person(rng), dwpose_person(rng)] for _ in range(3)]
    frames[1][0]["body_scores"][9] = -1
    frames[1][0]["left_hand_keypoints"][4] = -1
    frames[1][1]["body_scores"] = np.where(np.arange(18) == 2, -1.0, np.arange(18) + 18)  # numbered on per person
    if kind == "old":
        dwpose_old_folder(tmp_path, frames)
    else:
        dwpose_folder(tmp_path, frames, kind)
    with pytest.raises(PoseError, match=r"2 persons \(3 of 3 frames"):
        read_pose(tmp_path)
    first, second = read_pose(tmp_path, person=0), read_pose(tmp_path, person=1)
    assert (first.skeleton, first.units, first.fps) == ("dwpose_128", "normalized", 24.0)
    assert first.confidence[0, :18].tolist() == [1.0] * 18
    assert first.confidence[1, 9] == 0
    assert np.isnan(first.values[1, 9]).all()
    assert first.confidence[1, 18 + 68 + 4] == 0
    assert np.flatnonzero(~second.joint_mask[1]).tolist() == [2]
    layout, person = get_skeleton("dwpose_128"), frames[2][0]
    assert np.allclose(first.values[2, layout.index("left_pinky_tip")], person["left_hand_keypoints"][20])
    assert np.allclose(first.values[2, layout.index("right_hand_wrist")], person["right_hand_keypoints"][0])
    assert np.allclose(first.values[2, layout.index("face_30")], person["face_keypoints"][30])
    assert np.allclose(first.confidence[2, 18:86], np.clip(person["face_scores"], 0, 1), atol=1e-6)


# --------------------------------------------------------------------------------------------------------- Parquet


def test_wide_parquet_by_sequence(tmp_path):
    clips = {41: holistic(9), 7: holistic(5, seed=1), 300: holistic(1, seed=2)}
    path = wide_parquet(tmp_path / "file.parquet", clips)
    with pytest.raises(PoseError, match=r"3 sequences; pass clip=, one of 41, 7, 300"):
        read_pose(path)
    for name, values in clips.items():
        pose = read_pose(path, clip=str(name))
        assert (pose.skeleton, pose.units, pose.fps) == ("holistic_543", "normalized", 30.0)
        assert np.array_equal(pose.values, values, equal_nan=True)
    with pytest.raises(PoseError, match=r"no sequence '8'; it has 41, 7, 300"):
        read_pose(path, clip="8")
    with pytest.raises(PoseError, match=r"no sequence 'x'"):
        read_pose(path, clip="x")


def test_wide_parquet_reads_only_the_columns_and_row_groups_that_it_needs(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    asked, read_row_groups = [], pq.ParquetFile.read_row_groups

    def spy(file, groups, columns):
        asked.append((groups, len(columns)))
        return read_row_groups(file, groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    values = holistic(9)
    path = wide_parquet(tmp_path / "file.parquet", {1: holistic(5), 5: values, 6: holistic(20)}, row_group_size=4)
    pose = read_pose(path, clip="5", skeleton="asl42")
    assert np.array_equal(pose.values, values[:, 501:, :2], equal_nan=True)
    assert asked == [([1, 2, 3], 1 + 2 * 42)]
    assert read_pose(path, clip="5", skeleton="sts56").values.shape == (9, 56, 2)  # its neck is derived: reads all


def test_wide_parquet_of_selected_columns(tmp_path):
    import pyarrow.parquet as pq

    path = wide_parquet(tmp_path / "file.parquet", {5: holistic(4)})
    table = pq.read_table(path)
    pq.write_table(table.select([n for n in table.column_names if "hand" in n or n in ("frame", "sequence_id")]), path)
    with pytest.raises(PoseError, match=r"1503 of 1629 columns of holistic_543 are not in the file.*skeleton="):
        read_pose(path)
    assert read_pose(path, skeleton="asl42").values.shape == (4, 42, 2)


def test_long_parquet_starts_anywhere_and_keeps_its_gaps(tmp_path):
    values = holistic(4)
    pose = read_pose(long_parquet(tmp_path / "sign.parquet", values, [83, 84, 86, 87]))
    assert (pose.skeleton, len(pose)) == ("holistic_543", 5)
    assert np.array_equal(pose.values[[0, 1, 3, 4]], values, equal_nan=True)
    assert not pose.joint_mask[2].any()


def test_parquet_with_absurd_frame_numbers_or_other_columns(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = long_parquet(tmp_path / "sign.parquet", holistic(2), [0, 32000])
    with pytest.raises(PoseError, match=r"run from 0 to 32000, but only 2 frames"):
        read_pose(path)
    pq.write_table(pa.table({"text": ["a"], "gloss": ["b"]}), path)
    with pytest.raises(PoseError, match=r"without landmark columns"):
        read_pose(path)


# ---------------------------------------------------------------------------------------------------------- .skels


def lifted(frames=6, seed=0):
    pose = make_pose("openpose50", frames, seed=seed, missing=0.1)
    return pose.replace(values=pose.values / 500, units="arbitrary")


def test_skels_of_progressive_transformers(tmp_path):
    joints = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 50, 3)).round(5)
    joints[:, 1] = 0  # the neck is the origin there, not missing
    lines = [" ".join(f"{v:.5f}" for v in [*frame.ravel(), t / 3]) for t, frame in enumerate(joints)]
    path = tmp_path / "dev.skels"
    path.write_text(" ".join(lines) + "\n")
    pose = read_pose(path)
    assert (pose.skeleton, pose.fps, pose.units) == ("openpose50", 25.0, "arbitrary")
    assert np.allclose(pose.values, joints * 3, atol=1e-6)
    assert pose.joint_mask.all()


def test_skels_of_prompt2sign_have_openposes_sides_and_never_a_zero(tmp_path):
    joints = np.random.default_rng(0).uniform(0.02, 0.5, (3, 50, 3)).round(5)
    joints[0, 4] = 0.016
    joints[1, 4, 2] = 0.016
    lines = [" ".join(f"{v:.5f}" for v in [*frame.ravel(), (t + 1) / 3]) for t, frame in enumerate(joints)]
    path = tmp_path / "dev.skels"
    path.write_text(" ".join(lines) + "\n")
    with pytest.raises(PoseError, match=r"pass fps="):
        read_pose(path, skels_convention="prompt2sign")
    pose = read_pose(path, skels_convention="prompt2sign", fps=24)
    layout = get_skeleton("openpose50")
    right_wrist, left_tip = layout.index("right_wrist"), layout.index("left_pinky_tip")
    assert not pose.joint_mask[0, right_wrist]
    assert np.allclose(pose.values[1, right_wrist], [*joints[1, 4, :2] * 9, 0], atol=1e-5)
    assert np.allclose(pose.values[2, left_tip], joints[2, 28] * 9, atol=1e-5)


def test_skels_of_dwpose(tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for t in range(4):
        person = dwpose_person(rng)
        person["body_scores"][t] = -1
        hands, scores = (
            np.concatenate([person[f"{s}_hand_{x}"] for s in ("left", "right")]) for x in ("keypoints", "scores")
        )
        row = (
            person["body_keypoints"],
            person["body_scores"],
            hands,
            scores,
            person["face_keypoints"],
            person["face_scores"],
        )
        frames.append((person, np.concatenate([part.ravel() for part in row])))
    path = tmp_path / "v2.skels"
    path.write_text(" ".join(f"{v:.8f}" for t, (_, row) in enumerate(frames) for v in [*row, t / 3]) + "\n")
    pose = read_pose(path)
    assert (pose.skeleton, pose.fps, pose.units) == ("dwpose_128", 24.0, "normalized")
    person = frames[1][0]
    assert np.allclose(pose.values[1, 18:86], person["face_keypoints"], atol=1e-6)
    assert np.allclose(pose.values[1, 107:], person["right_hand_keypoints"], atol=1e-6)
    assert [np.flatnonzero(~mask).tolist() for mask in pose.joint_mask] == [[0], [1], [2], [3]]


@pytest.mark.parametrize("convention", ["progressive", "prompt2sign"])
def test_skels_written_are_skels_read(tmp_path, convention):
    poses = [lifted(6), lifted(1, seed=1)]
    path = tmp_path / "dev.skels"
    write_skels(
        poses, path, names=["dev/a", "dev/b"], texts=["one .", "two ."], glosses=["ONE", "TWO"], convention=convention
    )
    assert (tmp_path / "dev.text").read_text() == "one .\ntwo .\n"
    counters = [float(v) for v in path.read_text().splitlines()[0].split()[150::151]]
    assert np.allclose(counters, (np.arange(6) + (convention == "prompt2sign")) / 6, atol=1e-4)
    for clip, pose in (("dev/a", poses[0]), ("dev/b", poses[1]), ("1", poses[1])):
        read = read_pose(path, clip=clip, fps=25, skels_convention=convention)
        assert np.allclose(read.values, pose.values, atol=9 * 0.5e-5 + 1e-6, equal_nan=True)
    with pytest.raises(PoseError, match=r"2 clips, one per line; pass clip=, a number from 0 to 1 or a name"):
        read_pose(path)
    with pytest.raises(PoseError, match=r"clip 'dev/c' is not there in dev.files"):
        read_pose(path, clip="dev/c")


def test_bad_line_of_skels_is_named_and_the_others_can_be_read(tmp_path):
    path = tmp_path / "dev.skels"
    write_skels([lifted(), lifted(seed=1)], path)
    good, bad = path.read_text().splitlines()
    path.write_text(f"{good}\n{bad.rsplit(' ', 1)[0]}\n{bad} x{' 0' * 150}\n\n{bad.replace(' ', '  ')}")
    assert len(read_pose(path, clip="0")) == len(read_pose(path, clip="4")) == 6
    with pytest.raises(PoseError, match=r"dev.skels, line 2: 905 values are not a multiple of 151"):
        read_pose(path, clip="1")
    with pytest.raises(PoseError, match=r"line 3: could not convert"):
        read_pose(path, clip="2")
    with pytest.raises(PoseError, match=r"line 4: the clip has zero frames"):
        read_pose(path, clip="3")


def test_skels_with_a_shifted_frame_are_refused(tmp_path):
    path = tmp_path / "dev.skels"
    write_skels([lifted()], path)
    path.write_text(" ".join([*path.read_text().split()[3:], "0", "0", "0"]))
    with pytest.raises(PoseError, match=r"counter after each frame does not rise"):
        read_pose(path)


# --------------------------------------------------------------------------------------------- pickles and arrays


@pytest.mark.parametrize("protocol", range(6))
def test_keypoint_pickle(tmp_path, protocol):
    arrays = {
        "train/a": np.random.default_rng(0).uniform(0, 200, (4, 133, 3)),
        "train/b": np.ones((2, 133, 3), np.float32),
    }
    arrays["train/a"][..., 2] = 0.5
    arrays["train/a"][1, 100, 2] = 0
    path = keypoint_pickle(tmp_path / "keypoints.pkl", arrays, protocol)
    zipped = tmp_path / "keypoints.pkl.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, zipped):
        pose = read_pose(file, clip="train/a", fps=25)
        assert (pose.skeleton, pose.units) == ("coco_wholebody_133", "pixels")
        assert np.allclose(pose.values[0], arrays["train/a"][0, :, :2])
        assert not pose.joint_mask[1, 100]
    with pytest.raises(PoseError, match=r"2 clips; pass clip=, one of train/a, train/b"):
        read_pose(path, fps=25)
    with pytest.raises(PoseError, match=r"none is called 'c'"):
        read_pose(path, clip="c", fps=25)


def test_keypoint_pickle_is_read_again_when_it_changes(tmp_path):
    path = keypoint_pickle(tmp_path / "keypoints.pkl", {"a": np.ones((1, 133, 3))})
    assert len(read_pose(path, fps=25)) == 1
    keypoint_pickle(path, {"a": np.ones((2, 133, 3))})
    assert len(read_pose(path, fps=25)) == 2


def test_plain_arrays_need_a_layout_and_a_rate(tmp_path):
    pose = make_pose("asl42")
    np.save(tmp_path / "a.npy", pose.values)
    np.save(tmp_path / "flat.npy", np.asfortranarray(pose.values.reshape(len(pose), -1)))
    with pytest.raises(PoseError, match=r"a.npy: an array \[5, 42, 2\] does not name its joints; pass skeleton="):
        read_pose(tmp_path / "a.npy", fps=25)
    with pytest.raises(PoseError, match=r"pass fps="):
        read_pose(tmp_path / "a.npy", skeleton="asl42")
    for name in ("a.npy", "flat.npy"):
        read = read_pose(tmp_path / name, skeleton="asl42", fps=25)
        assert np.array_equal(read.values, pose.values, equal_nan=True)
    with pytest.raises(PoseError, match=r"a.npy: sts56 has 56 joints, got 42"):
        read_pose(tmp_path / "a.npy", skeleton="sts56", fps=25)
    with pytest.raises(PoseError, match=r"hand21 has 21 joints, got 84 numbers a frame"):
        read_pose(tmp_path / "flat.npy", skeleton="hand21", fps=25)
    with pytest.raises(PoseError, match=r"unknown skeleton 'nope'"):
        read_pose(tmp_path / "a.npy", skeleton="nope", fps=25)


def test_array_of_a_foreign_npz_is_named_by_clip(tmp_path):
    np.savez(tmp_path / "letters.npz", X=np.random.default_rng(0).random((7, 63)), y=np.array(list("ABCDEFG")))
    with pytest.raises(PoseError, match=r"no array 'values'; it has X, y.*clip="):
        read_pose(tmp_path / "letters.npz")
    assert read_pose(tmp_path / "letters.npz", clip="X", skeleton="hand21", fps=1).values.shape == (7, 21, 3)
    with pytest.raises(PoseError, match=r"array of numbers"):
        read_pose(tmp_path / "letters.npz", clip="y", skeleton="hand21", fps=1)


def test_image_size_turns_fractions_into_pixels(tmp_path):
    pose = Pose(np.full((2, 56, 2), 0.5), None, 25, "sts56", units="normalized")
    write_pose(pose, tmp_path / "clip.npz")
    pixels = read_pose(tmp_path / "clip.npz", image_size=(1280, 720))
    assert pixels.units == "pixels"
    assert pixels.values[0, 0].tolist() == [640, 360]
    with pytest.raises(PoseError, match=r"positive width and height, got \(0, 720\)"):
        read_pose(tmp_path / "clip.npz", image_size=(0, 720))
    write_pose(pixels, tmp_path / "pixels.npz")
    with pytest.raises(PoseError, match="these coordinates are pixels"):
        read_pose(tmp_path / "pixels.npz", image_size=(1280, 720))
