"""The readers on genuine recordings: frames, persons and layouts as the corpora document them."""

import csv
import json

import numpy as np
import pytest

from signllm.data import find_poses, inspect_poses, read_pose
from signllm.models.poses import PoseError
from signllm.models.skeletons import get_skeleton


@pytest.fixture(scope="module")
def rows(real_data):
    return {row.id: row for row in inspect_poses(real_data)}


def test_every_file_is_readable_or_refused_for_the_right_reason(rows):
    refused = {name: row.reason for name, row in rows.items() if row.status == "refused"}
    expected = {
        "asl_letters_graudt_cc0/asl_letters.npz": "no array 'values'; it has X, y, frame",
        "kaggle_asl_fingerspelling/supplemental_hand_sequences/seq_37572.npz": "it has landmarks, phrase",
        "kaggle_asl_fingerspelling/supplemental_hand_sequences/seq_52182.npz": "it has landmarks, phrase",
        "phoenix2014t_annotations/SLRT_TwoStream/gloss2ids.pkl": "no entry of this pickle has 'keypoints'",
        "prompt2sign_dwpose/human_mutiperson_f301_330/npz": "2 persons (30 of 30 frames",
    }
    assert set(refused) == set(expected)
    assert all(reason in refused[name] for name, reason in expected.items())


FRAMES = {
    "how2sign_openpose/dev/json/_2FBDaOPYig_2-3-rgb_front": (157, "openpose_137", None),
    "how2sign_openpose/dev/json/_2FBDaOPYig_3-3-rgb_front": (109, "openpose_137", None),
    "how2sign_openpose/dev/json/_2FBDaOPYig_4-3-rgb_front": (62, "openpose_137", None),
    "kaggle_gislr_sample/train_landmark_files/16069/100015657.parquet": (105, "holistic_543", 30),
    "kaggle_gislr_sample/webcam_holistic_33f.parquet": (33, "holistic_543", 30),
    "kaggle_gislr_sample/webcam_holistic_61f.parquet": (61, "holistic_543", 30),
    "phoenix2014t_holistic_sample/25October_2010_Monday_tagesschau-17.pose": (86, "holistic_543", 25),
    "pose_evaluation_asl/000017451997373907346-LIBRARY.pose": (37, "holistic_576", 30),
    "pose_evaluation_asl/Ui9Nq58yYSgkJslO02za.pose": (111, "holistic_553", 30),
    "pose_format_fixtures/mediapipe.pose": (170, "holistic_178", 24),
    "pose_format_fixtures/mediapipe_hand_normalized.pose": (170, "hand21", 24),
    "pose_format_fixtures/openpose.pose": (93, "openpose_137", 24),
    "prompt2sign_dwpose/human_signer/npz": (135, "dwpose_128", 24),
    "prompt2sign_dwpose/human_signer/json": (10, "dwpose_128", 24),
    "prompt2sign_dwpose/human_mutiperson_f301_330/npz": (30, "dwpose_128", 24),
}


def test_frames_layouts_and_rates(rows):
    for name, (frames, skeleton, fps) in FRAMES.items():
        row = rows[name]
        assert (row.frames, row.skeleton) == (frames, skeleton), name
        assert row.fps == (None if fps is None else pytest.approx(fps, abs=0.01)), name
    for split, frames in (("train", [86, 126, 168, 185, 71]), ("dev", [42, 111, 148, 142, 93])):
        assert [rows[f"progressive_transformers_phoenix/{split}.skels#{i}"].frames for i in range(5)] == frames
    letters = [row for name, row in rows.items() if name.startswith("fingerspelling_lexicon_pose/")]
    assert len(letters) == 46
    assert {row.skeleton for row in letters} == {"holistic_586"}
    assert all(20 <= row.frames <= 38 for row in letters)


def test_fingerspelling_index_is_covered(real_data):
    folder = real_data / "fingerspelling_lexicon_pose"
    with (folder / "index.csv").open() as stream:
        listed = {row["path"].rsplit("/", 1)[-1] for row in csv.DictReader(stream)}
    assert {ref.path.name for ref in find_poses(folder)} <= listed


def test_pose_files_hold_the_numbers_that_pose_format_finds(real_data):
    from pose_format import Pose as PoseFormat

    for path in (real_data / "pose_format_fixtures").glob("*.pose"):
        theirs = PoseFormat.read(path.read_bytes()).body
        ours = read_pose(path)
        assert np.allclose(ours.values, theirs.data.filled(np.nan)[:, 0], equal_nan=True)
        assert np.allclose(ours.confidence, np.clip(theirs.confidence[:, 0], 0, 1))


def test_wide_and_long_parquet_of_one_clip_agree(real_data):
    wide = read_pose(
        real_data / "kaggle_asl_fingerspelling/derived_gislr_wide/train_landmarks/900000003.parquet", clip="100015657"
    )
    long = read_pose(real_data / "kaggle_gislr_sample/train_landmark_files/16069/100015657.parquet")
    assert np.allclose(wide.values, long.values, atol=1e-6, equal_nan=True)
    head, foot = (long.values[:, get_skeleton("holistic_543").index(name), 1] for name in ("nose", "left_foot_index"))
    assert (head < foot).all()


def test_dwpose_npz_and_json_agree(real_data):
    folder = real_data / "prompt2sign_dwpose" / "human_signer"
    npz, text = read_pose(folder / "npz"), read_pose(folder / "json")
    assert np.allclose(npz.values[: len(text)], text.values, equal_nan=True)
    scores = json.loads((folder / "json" / "00000001.json").read_text())["person_0"]["body_scores"]
    assert npz.joint_mask[0, :18].tolist() == [score >= 0 for score in scores]


def test_two_persons_are_two_persons(real_data):
    folder = real_data / "prompt2sign_dwpose" / "human_mutiperson_f301_330" / "npz"
    with pytest.raises(PoseError, match=r"2 persons"):
        read_pose(folder)
    one, two = (read_pose(folder, person=k).values[:, 1, 0] for k in (0, 1))
    assert (np.abs(one - two) > 0.2).all()
    assert np.isfinite(read_pose(folder, person="confident").values[0, 1]).all()


def test_progressive_transformers_have_bones_of_the_documented_lengths(real_data):
    folder = real_data / "progressive_transformers_phoenix"
    pose = read_pose(folder / "train.skels", clip="0")
    layout = get_skeleton("openpose50")

    def lengths(parent, child):
        ends = (pose.values[:, layout.index(joint)] for joint in (parent, child))
        return np.linalg.norm(np.subtract(*ends), axis=1)

    assert lengths("neck", "left_shoulder").mean() == pytest.approx(3 * 0.1686, abs=1e-3)
    for parent, child, length in (("shoulder", "elbow", 0.2977), ("elbow", "wrist", 0.2123)):
        left, right = (lengths(f"{side}_{parent}", f"{side}_{child}") for side in ("left", "right"))
        assert left.mean() == pytest.approx(3 * length, abs=1e-3)
        assert np.allclose(left, right, atol=1e-3)
    assert not pose.values[:, layout.index("neck")].any()
    named = read_pose(folder / "dev.skels", clip="dev/11August_2010_Wednesday_tagesschau-2")
    assert len(named) == 42


def test_letters_and_partial_hands_with_a_layout(real_data):
    letters = read_pose(real_data / "asl_letters_graudt_cc0/asl_letters.npz", clip="X", skeleton="hand21", fps=1)
    assert letters.values.shape == (7800, 21, 3)
    with pytest.raises(PoseError, match=r"hand21 has 21 joints, got 20 numbers a frame"):
        read_pose(
            real_data / "kaggle_asl_fingerspelling/supplemental_hand_sequences/seq_37572.npz",
            clip="landmarks",
            skeleton="hand21",
            fps=30,
        )
