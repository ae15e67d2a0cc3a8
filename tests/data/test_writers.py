"""What is written is what is read; what cannot be written leaves nothing behind."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from pose_files import make_pose, same

from signllm.data import read_pose, write_pose, write_skels
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import SKELETON_NAMES, get_skeleton


@st.composite
def poses(draw):
    skeleton = draw(st.sampled_from(["hand21", "asl42", "sts56", "openpose50", "dwpose_128"]))
    shape = (draw(st.integers(1, 4)), len(get_skeleton(skeleton)), draw(st.sampled_from([2, 3])))
    floats = st.floats(-(2.0**19), 2.0**19, width=32)
    values = draw(arrays(np.float32, shape, elements=st.one_of(st.just(np.nan), floats), fill=floats))
    confidence = draw(arrays(np.float32, shape[:2], elements=st.floats(0, 1, width=32), fill=st.just(np.float32(1))))
    confidence[0, 0], values[0, 0] = 1, 1  # at least one joint is there
    fps = draw(st.floats(0.5, 240, width=32))
    return Pose(values, confidence, fps, skeleton, draw(st.sampled_from(["pixels", "normalized", "shoulder_widths"])))


@settings(deadline=None, max_examples=60)
@given(pose=poses())
def test_npz_is_exact(tmp_path_factory, pose):
    path = tmp_path_factory.mktemp("npz") / "clip.npz"
    write_pose(pose, path)
    read = read_pose(path)
    assert same(read, pose)
    assert (read.fps, read.skeleton, read.units) == (pose.fps, pose.skeleton, pose.units)


@settings(deadline=None, max_examples=60)
@given(pose=poses())
def test_pose_file_is_exact_and_pose_format_reads_it(tmp_path_factory, pose):
    from pose_format import Pose as PoseFormat

    path = tmp_path_factory.mktemp("pose") / "clip.pose"
    write_pose(pose, path)
    read = read_pose(path)
    assert same(read, pose)
    assert (read.fps, read.skeleton) == (np.float32(pose.fps), pose.skeleton)
    assert read.units == (pose.units if pose.units != "shoulder_widths" else "arbitrary")
    theirs = PoseFormat.read(path.read_bytes())
    assert theirs.body.data.shape == (len(pose), 1, *pose.values.shape[1:])
    assert np.array_equal(theirs.body.data.filled(np.nan)[:, 0], pose.values, equal_nan=True)


@pytest.mark.parametrize("skeleton", SKELETON_NAMES)
@pytest.mark.parametrize("suffix", [".pose", ".npz"])
def test_every_layout_can_be_written(tmp_path, skeleton, suffix):
    for dims in (2, 3):
        pose = make_pose(skeleton, dims=dims)
        write_pose(pose, tmp_path / f"clip{suffix}")
        assert same(read_pose(tmp_path / f"clip{suffix}"), pose)


def test_pose_file_has_the_names_that_pose_format_knows(tmp_path):
    from pose_format import Pose as PoseFormat

    write_pose(make_pose("holistic_576"), tmp_path / "clip.pose")
    header = PoseFormat.read((tmp_path / "clip.pose").read_bytes()).header
    assert header.get_point_index("RIGHT_HAND_LANDMARKS", "INDEX_FINGER_TIP") == 522 + 8
    assert header.get_point_index("LEFT_HAND_LANDMARKS", "PINKY_TIP") == 501 + 20
    assert header.get_point_index("POSE_WORLD_LANDMARKS", "RIGHT_WRIST") == 543 + 16
    assert header.get_point_index("FACE_LANDMARKS", "467") == 500
    assert header.dimensions.width > 400


def test_failed_writing_leaves_what_was_there(tmp_path):
    path = tmp_path / "clip.skels"
    path.write_text("old")
    with pytest.raises(PoseError, match=r"openpose50 in 3-D, got sts56 in 2-D; use convert_pose"):
        write_pose(make_pose("sts56"), path)
    with pytest.raises(PoseError, match=r"cannot write '.csv'"):
        write_pose(make_pose(), tmp_path / "clip.csv")
    with pytest.raises(PoseError, match=r"cannot be written"):
        write_pose(make_pose(), path / "clip.npz")  # below a file
    pose = make_pose("openpose50")
    with pytest.raises(PoseError, match=r"needs one line for each of 1 clips, got 2"):
        write_skels([pose], path, names=["a", "b"])
    with pytest.raises(PoseError, match=r"needs one line"):
        write_skels([pose], path, texts=["two\nlines"])
    with pytest.raises(PoseError, match=r"sts56 has 56 joints, got 42"):
        write_pose(make_pose("asl42").replace(skeleton="sts56"), tmp_path / "clip.npz")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["clip.skels"]


def test_interrupted_writing_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "clip.npz"
    write_pose(make_pose(), path)
    before = path.read_bytes()

    def fail(stream, **arrays):
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(KeyboardInterrupt):
        write_pose(make_pose(seed=1), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
