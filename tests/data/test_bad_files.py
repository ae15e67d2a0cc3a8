"""Whatever is in a file, reading it gives a pose or a `PoseError` that names the file: nothing else, and no crash."""

import os
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pose_files import (
    dwpose_folder,
    dwpose_person,
    keypoint_pickle,
    long_parquet,
    make_pose,
    openpose_folder,
    openpose_pose_0_0,
    pose_0_1,
    wide_parquet,
)

from signllm.data import read_pose, write_pose
from signllm.models.poses import Pose, PoseError

PERSON = np.random.default_rng(0).uniform(1, 100, (137, 3)).astype(np.float32)
LANDMARKS = np.random.default_rng(0).random((2, 543, 3))


def write_npy(path):
    np.save(path, make_pose("asl42").values)


# How to make a valid file, and what reading it needs.
FILES = {
    "new.pose": (lambda path: write_pose(make_pose("asl42"), path), {}),
    "v01.pose": (lambda path: pose_0_1(path, make_pose("asl42", dims=3)), {}),
    "v00.pose": (lambda path: openpose_pose_0_0(path, [[PERSON, PERSON], [PERSON]]), {"person": "first"}),
    "clip.npz": (lambda path: write_pose(make_pose("asl42"), path), {}),
    "clip.npy": (write_npy, {"skeleton": "asl42", "fps": 25}),
    "clip.skels": (lambda path: write_pose(make_pose("openpose50"), path), {}),
    "wide.parquet": (lambda path: wide_parquet(path, {5: LANDMARKS}), {"skeleton": "hand21"}),
    "long.parquet": (lambda path: long_parquet(path, LANDMARKS, [3, 4]), {}),
    "old.pkl": (lambda path: keypoint_pickle(path, {"a": np.ones((2, 133, 3))}, protocol=2), {"fps": 25}),
    "new.pkl": (lambda path: keypoint_pickle(path, {"a": np.ones((2, 133, 3))}, protocol=5), {"fps": 25}),
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    for name, (make, _) in FILES.items():
        make(folder / name)
    return {name: (folder / name).read_bytes() for name in FILES}


def pose_or_pose_error(path, named, **request):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert isinstance(read_pose(path, **request), Pose)
        except PoseError as error:
            assert str(named) in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files(valid, tmp_path, name, data):
    content = bytearray(valid[name])
    place = st.integers(0, len(content) - 1) | st.integers(0, min(len(content), 300) - 1)
    for at in data.draw(st.lists(place, max_size=4)):
        content[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    keep = data.draw(st.just(len(content)) | place)
    path = tmp_path / name
    path.write_bytes(content[:keep])
    pose_or_pose_error(path, path, **FILES[name][1])


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_files_of_noise(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PoseError, match=name):
        read_pose(path, **FILES[name][1])


@pytest.mark.parametrize("kind", ["npz", "npy", "json", "openpose"])
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_frames(tmp_path, kind, data):
    if kind == "openpose":
        folder = openpose_folder(tmp_path / "frames", [[PERSON], [PERSON]])
    else:
        folder = dwpose_folder(
            tmp_path / "frames", [[dwpose_person(np.random.default_rng(t))] for t in range(2)], kind
        )
    frame = sorted(folder.iterdir())[1]
    content = bytearray(frame.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[at] = data.draw(st.integers(0, 255))
    frame.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    pose_or_pose_error(folder, folder, fps=24)


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".skels")])
def test_every_cut_is_noticed(valid, tmp_path, name):
    path = tmp_path / name
    for keep in {0, 1, 7, *range(2, len(valid[name]), max(1, len(valid[name]) // 40)), len(valid[name]) - 1}:
        path.write_bytes(valid[name][:keep])
        with pytest.raises(PoseError, match=name):
            read_pose(path, **FILES[name][1])


@pytest.mark.parametrize("version", ["new.pose", "v01.pose"])
def test_cut_by_whole_frames_is_noticed(valid, tmp_path, version):
    joints, numbers = 42, 3 if version == "new.pose" else 4  # pose-format would read a shorter clip of nonsense
    path = tmp_path / version
    path.write_bytes(valid[version][: -4 * joints * numbers])
    with pytest.raises(PoseError, match=r"promises 5 frames.*cut short or damaged"):
        read_pose(path)


@pytest.mark.parametrize("bad", [1e30, np.inf, -np.inf])
def test_absurd_coordinates_name_file_frame_and_joint(tmp_path, bad):
    values = make_pose("asl42", missing=0).values.astype(np.float64)
    values[3, 7, 1] = bad
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(PoseError, match=r"a.npy: frame 3, joint 7"):
        read_pose(tmp_path / "a.npy", skeleton="asl42", fps=25)
    clips = {"a": np.ones((4, 133, 3))}
    clips["a"][3, 7, 1] = bad
    with pytest.raises(PoseError, match=r"k.pkl#a: frame 3, joint 7"):
        read_pose(keypoint_pickle(tmp_path / "k.pkl", clips), fps=25)


def test_clips_without_anything(tmp_path):
    np.save(tmp_path / "empty.npy", np.zeros((0, 42, 2)))
    with pytest.raises(PoseError, match=r"empty.npy: the clip has zero frames"):
        read_pose(tmp_path / "empty.npy", skeleton="asl42", fps=25)
    np.save(tmp_path / "nan.npy", np.full((3, 42, 2), np.nan))
    with pytest.raises(PoseError, match=r"nan.npy: not one joint was seen in any of the 3 frames"):
        read_pose(tmp_path / "nan.npy", skeleton="asl42", fps=25)
    write_pose(make_pose("asl42", missing=1.0), tmp_path / "nan.pose")
    with pytest.raises(PoseError, match=r"nan.pose: not one joint was seen"):
        read_pose(tmp_path / "nan.pose")
    with pytest.raises(PoseError, match=r"frames: no person in any of the 2 frames"):
        read_pose(openpose_folder(tmp_path / "frames", [[], []]), fps=24)
    (tmp_path / "empty.skels").write_text("")
    with pytest.raises(PoseError, match=r"empty.skels: the file is empty"):
        read_pose(tmp_path / "empty.skels")


def test_frame_rates(tmp_path):
    path = pose_0_1(tmp_path / "still.pose", make_pose("asl42", dims=3))
    data = path.read_bytes()
    at = data.rindex((25).to_bytes(2, "little") + (5).to_bytes(2, "little") + (1).to_bytes(2, "little"))
    path.write_bytes(data[:at] + b"\x00\x00" + data[at + 2 :])
    with pytest.raises(
        PoseError, match=r"still.pose: the frame rate must be a positive number, got 0.0; pass the right one"
    ):
        read_pose(path)
    assert read_pose(path, fps=30).fps == 30
    for fps in (0, -25, float("nan")):
        with pytest.raises(PoseError, match=r"fps must be a positive number"):
            read_pose(path, fps=fps)


def test_wrong_contents_for_the_suffix(valid, tmp_path):
    for suffix in (".pose", ".npz", ".npy", ".skels", ".parquet", ".pkl"):
        for name, content in valid.items():
            if not name.endswith(suffix):
                path = tmp_path / f"wrong{suffix}"
                path.write_bytes(content)
                with pytest.raises(PoseError, match=f"wrong{suffix}"):
                    read_pose(path, skeleton="asl42", fps=25)


def test_paths_that_are_no_clip(tmp_path):
    with pytest.raises(PoseError, match=r"nothing.pose: no such file"):
        read_pose(tmp_path / "nothing.pose")
    with pytest.raises(PoseError, match=r"a folder, but not of frames; find_poses lists"):
        read_pose(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(PoseError, match=r"unknown suffix '.mp4'; supported are .pose, .skels, .parquet"):
        read_pose(tmp_path / "clip.mp4")
    frame = next(openpose_folder(tmp_path / "frames", [[PERSON]]).iterdir())
    with pytest.raises(PoseError, match=r"one frame of a clip; pass its folder"):
        read_pose(frame)
    frame = next(dwpose_folder(tmp_path / "dwpose", [[dwpose_person(np.random.default_rng(0))]]).iterdir())
    with pytest.raises(PoseError, match=r"one frame of a clip; pass its folder"):
        read_pose(frame)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    write_pose(make_pose(), tmp_path / "secret.pose")
    (tmp_path / "secret.pose").chmod(0)
    with pytest.raises(PoseError, match=r"secret.pose.*Permission denied"):
        read_pose(tmp_path / "secret.pose")
