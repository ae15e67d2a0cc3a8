"""Listing clips and their facts over folders of everything."""

import logging

import numpy as np
import pytest
from pose_files import dwpose_folder, dwpose_person, keypoint_pickle, make_pose, openpose_folder, wide_parquet

from signllm.data import find_poses, inspect_poses, read_pose, write_pose, write_skels
from signllm.models.poses import PoseError

PERSON = np.random.default_rng(0).uniform(1, 100, (137, 3)).astype(np.float32)


@pytest.fixture
def corpus(tmp_path):
    """One clip or more of every kind, among files that bear no poses."""
    root = tmp_path / "corpus"
    (root / "b").mkdir(parents=True)
    write_pose(make_pose("holistic_543"), root / "b" / "two.pose")
    write_pose(make_pose("asl42"), root / "b" / "0001.npz")  # numbered like frames of DWPose, and none
    write_pose(make_pose("asl42"), root / "b" / "0002.npz")
    write_skels(
        [make_pose("openpose50"), make_pose("openpose50")], root / "dev.skels", names=["../x", "dev/2"], texts=["", ""]
    )
    openpose_folder(root / "openpose" / "clip", [[PERSON], [PERSON, PERSON]])
    dwpose_folder(root / "dwpose" / "npz", [[dwpose_person(np.random.default_rng(0))]])
    wide_parquet(root / "a.parquet", {7: np.random.default_rng(0).random((2, 543, 3)), 5: np.ones((1, 543, 3))})
    keypoint_pickle(root / "keypoints.pkl", {"train/b": np.ones((2, 133, 3)), "train/a": np.ones((1, 133, 3))})
    (root / "broken.pose").write_bytes(b"no pose")
    (root / "train.csv").write_text("path,phrase")
    (root / "openpose" / "clip" / "notes.txt").write_text("seen")
    (root / ".hidden.pose").write_bytes(b"")
    (root / ".cache").mkdir()
    (root / ".cache" / "old.pose").write_bytes(b"")
    return root


IDS = [
    "a.parquet#7",
    "a.parquet#5",
    "b/0001.npz",
    "b/0002.npz",
    "b/two.pose",
    "broken.pose",
    "dev.skels#0",
    "dev.skels#1",
    "dwpose/npz",
    "keypoints.pkl#train/b",
    "keypoints.pkl#train/a",
    "openpose/clip",
]


def test_every_clip_is_found_once_and_can_be_read(corpus):
    refs = find_poses(corpus)
    assert [ref.id for ref in refs] == IDS
    for ref in refs:
        if ref.id == "broken.pose":
            with pytest.raises(PoseError, match=r"broken.pose"):
                read_pose(ref.path, clip=ref.clip)
        else:
            assert len(read_pose(ref.path, clip=ref.clip, person="first", fps=25)) > 0
    assert [ref.label for ref in refs if ref.path.suffix == ".skels"] == ["../x", "dev/2"]


def test_a_single_file_or_folder_of_frames(corpus):
    assert [ref.id for ref in find_poses(corpus / "dev.skels")] == ["dev.skels#0", "dev.skels#1"]
    assert [ref.id for ref in find_poses(str(corpus / "openpose" / "clip"))] == ["clip"]
    with pytest.raises(PoseError, match=r"no such file or folder"):
        find_poses(corpus / "nowhere")


def test_file_names_are_safe_and_distinct(corpus):
    refs = find_poses(corpus)
    names = [ref.file_name for ref in refs]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and name.isascii() for name in names)
    assert names[5] == "broken.pose"
    assert names[9].startswith("keypoints.pkl_train_b-")


def test_links_do_not_lead_out_of_the_folder(corpus, tmp_path, caplog):
    outside = tmp_path / "outside"
    outside.mkdir()
    write_pose(make_pose(), outside / "secret.pose")
    (corpus / "link.pose").symlink_to(outside / "secret.pose")
    (corpus / "linked").symlink_to(outside)
    (corpus / "inside.pose").symlink_to(corpus / "b" / "two.pose")
    with caplog.at_level(logging.WARNING):
        ids = [ref.id for ref in find_poses(corpus)]
    assert "inside.pose" in ids
    assert len(ids) == len(IDS) + 1
    assert "link.pose: passed over" in caplog.text
    (tmp_path / "alias").symlink_to(corpus)
    assert "b/two.pose" in [ref.id for ref in find_poses(tmp_path / "alias")]


def test_facts_of_every_clip(corpus):
    rows = {row.id: row for row in inspect_poses(corpus)}
    assert list(rows) == IDS
    refused = {name: row.reason for name, row in rows.items() if row.status == "refused"}
    assert set(refused) == {"broken.pose", "openpose/clip"}
    assert "2 persons (1 of 2 frames have more than one)" in refused["openpose/clip"]
    crowd = rows["openpose/clip"]
    assert (crowd.format, crowd.skeleton, crowd.persons, crowd.frames) == (
        "OpenPose JSON folder",
        "openpose_137",
        2,
        2,
    )
    assert rows["keypoints.pkl#train/a"].fps is None
    assert "pass fps=" in rows["keypoints.pkl#train/a"].reason
    assert rows["a.parquet#7"].fps == 30
    assert rows["a.parquet#7"].reason == ""
    settled = inspect_poses(corpus / "openpose", person="first", fps=24)[0]
    assert (settled.id, settled.status, settled.fps, settled.reason) == ("clip", "ok", 24, "")


def test_share_of_missing_hands(tmp_path):
    pose = make_pose("asl42", frames=4, missing=0)
    pose.values[:3, :21] = np.nan
    pose.values[0, 21:41] = np.nan  # one joint left: the hand is there
    write_pose(pose.replace(), tmp_path / "clip.npz")
    write_pose(make_pose("hand21", missing=0), tmp_path / "hand.npz")
    clip, hand = inspect_poses(tmp_path)
    assert (clip.missing_left_hand, clip.missing_right_hand) == (0.75, 0.0)
    assert (hand.missing_left_hand, hand.missing_right_hand) == (None, 0.0)
