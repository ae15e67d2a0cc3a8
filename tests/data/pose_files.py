"""Small files in every foreign format, made from known numbers, for the tests of the readers."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np

from signllm.models.poses import Pose
from signllm.models.skeletons import get_skeleton

FPS = 25.0


def make_pose(
    skeleton: str = "sts56", frames: int = 5, *, dims: int | None = None, seed: int = 0, missing: float = 0.2
) -> Pose:
    """A pose of random numbers in pixels with a share of its joints missing."""
    layout, rng = get_skeleton(skeleton), np.random.default_rng(seed)
    values = rng.uniform(1, 500, (frames, len(layout), dims or layout.dims)).astype(np.float32)
    values[rng.random(values.shape[:2]) < missing] = np.nan
    confidence = rng.uniform(0.1, 1, values.shape[:2]).astype(np.float32)
    return Pose(values, confidence, FPS, skeleton)


def same(one: Pose, other: Pose, tolerance: float = 0.0) -> bool:
    """Whether two poses hold the same numbers, missing joints included."""
    return (
        one.values.shape == other.values.shape
        and np.allclose(one.values, other.values, rtol=0, atol=tolerance, equal_nan=True)
        and np.allclose(one.confidence, other.confidence, rtol=0, atol=tolerance)
    )


def openpose_folder(folder: Path, frames: list[list[np.ndarray]], clip: str = "clip", first: int = 0) -> Path:
    """`frames[t][p]` is `[137, 3]`: x, y, confidence."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, people in enumerate(frames, start=first):
        records = [
            {
                "person_id": [-1],
                "pose_keypoints_2d": person[:25].ravel().tolist(),
                "face_keypoints_2d": person[25:95].ravel().tolist(),
                "hand_left_keypoints_2d": person[95:116].ravel().tolist(),
                "hand_right_keypoints_2d": person[116:].ravel().tolist(),
                "pose_keypoints_3d": [],
            }
            for person in people
        ]
        path = folder / f"{clip}_{number:012d}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": records}))
    return folder


def dwpose_person(rng: np.random.Generator) -> dict[str, np.ndarray]:
    parts = {"body": 18, "face": 68, "left_hand": 21, "right_hand": 21}
    record = {f"{part}_keypoints": rng.uniform(-0.2, 1.3, (joints, 2)) for part, joints in parts.items()}
    record |= {f"{part}_scores": rng.uniform(0.2, 1.1, joints) for part, joints in parts.items()}
    return record | {"body_scores": np.arange(18.0)}


def dwpose_folder(folder: Path, frames: list[list[dict[str, np.ndarray]]], kind: str = "npz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, people in enumerate(frames, start=1):
        record: dict = {"num_persons": len(people), **{f"person_{k}": person for k, person in enumerate(people)}}
        path = folder / f"{number:08d}.{kind}"
        if kind == "npz":
            np.savez(path, **{key: np.array(value) for key, value in record.items()})
        elif kind == "npy":
            np.save(path, np.array(record))
        else:
            path.write_text(json.dumps(record, default=np.ndarray.tolist))
    return folder


def dwpose_old_folder(folder: Path, frames: list[list[dict[str, np.ndarray]]]) -> Path:
    """The same in the older arrangement, where `body_scores` points into everybody's bodies."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, people in enumerate(frames, start=1):
        order = [np.where(person["body_scores"] < 0, -1, np.arange(18.0) + 18 * k) for k, person in enumerate(people)]
        np.savez(
            folder / f"{number:08d}.npz",
            bodies=np.concatenate([person["body_keypoints"] for person in people]),
            body_scores=np.array(order),
            hands=np.array([person[f"{side}_hand_keypoints"] for side in ("left", "right") for person in people]),
            hands_scores=np.array([person[f"{side}_hand_scores"] for side in ("left", "right") for person in people]),
            faces=np.array([person["face_keypoints"] for person in people]),
            faces_scores=np.array([person["face_scores"] for person in people]),
        )
    return folder


KAGGLE_PARTS = {"face": (33, 468), "left_hand": (501, 21), "pose": (0, 33), "right_hand": (522, 21)}


def wide_parquet(path: Path, clips: dict[int, np.ndarray], first_frame: int = 0, row_group_size: int = 7) -> Path:
    """`clips[id]` is `[T, 543, 3]` in the order of `holistic_543`; the file puts the face first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, np.ndarray] = {
        "frame": np.concatenate([np.arange(len(v), dtype=np.int16) + first_frame for v in clips.values()])
    }
    values = np.concatenate(list(clips.values())).astype(np.float32)
    for axis, letter in enumerate("xyz"):
        for part, (start, size) in KAGGLE_PARTS.items():
            columns |= {f"{letter}_{part}_{i}": values[:, start + i, axis] for i in range(size)}
    columns["sequence_id"] = np.concatenate([np.full(len(v), key, dtype=np.int64) for key, v in clips.items()])
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def long_parquet(path: Path, values: np.ndarray, frame_numbers: list[int]) -> Path:
    """One clip `[T, 543, 3]`, a row per landmark."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [(part, i, start + i) for part, (start, size) in KAGGLE_PARTS.items() for i in range(size)]
    order = [joint for _, _, joint in kinds]
    rows = values[:, order].reshape(-1, 3).astype(np.float64)
    table = {
        "frame": np.repeat(np.array(frame_numbers, dtype=np.int16), 543),
        "row_id": [f"{n}-{part}-{i}" for n in frame_numbers for part, i, _ in kinds],
        "type": [part for part, _, _ in kinds] * len(values),
        "landmark_index": np.array([i for _, i, _ in kinds] * len(values), dtype=np.int16),
        "x": rows[:, 0],
        "y": rows[:, 1],
        "z": rows[:, 2],
    }
    pq.write_table(pa.table(table), path)
    return path


def keypoint_pickle(path: Path, clips: dict[str, np.ndarray], protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps({name: {"keypoints": array} for name, array in clips.items()}, protocol=protocol))
    return path


def openpose_pose_0_0(path: Path, frames: list[list[np.ndarray]], fps: int = 24) -> Path:
    """A `.pose` file of version 0.0 with a number of persons of its own in every frame."""
    parts = {
        "pose_keypoints_2d": 25,
        "face_keypoints_2d": 70,
        "hand_left_keypoints_2d": 21,
        "hand_right_keypoints_2d": 21,
    }

    def text(string: str) -> bytes:
        return struct.pack("<H", len(string)) + string.encode()

    header = struct.pack("<fHHHH", 0.0, 1000, 1000, 0, len(parts))
    for name, size in parts.items():
        header += text(name) + text("XYC") + struct.pack("<HHH", size, 0, 0)
        header += b"".join(text(str(i)) for i in range(size))
    body = struct.pack("<HH", fps, len(frames))
    for people in frames:
        body += struct.pack("<H", len(people))
        for identity, person in enumerate(people):
            body += struct.pack("<h", identity) + person.astype("<f4").tobytes()
    path.write_bytes(header + body)
    return path


def pose_0_1(path: Path, pose: Pose) -> Path:
    """The clip as a `.pose` file of version 0.1: its counters have 16 bits and fps is a whole number."""
    from pose_format.pose_header import PoseHeader
    from pose_format.utils.reader import BufferReader

    from signllm.data import write_pose

    newer = path.with_suffix(".newer.pose")
    write_pose(pose, newer)
    data = newer.read_bytes()
    newer.unlink()
    reader = BufferReader(data)
    PoseHeader.read(reader)
    counters = struct.pack("<HHH", int(pose.fps), len(pose), 1)
    path.write_bytes(
        struct.pack("<f", 0.1) + data[4 : reader.read_offset] + counters + data[reader.read_offset + 10 :]
    )
    return path
