"""A folder of DWPose results as Prompt2Sign's tools write them, one `.npz`, `.npy` or `.json` per frame.

Coordinates are fractions of the image (and may leave it). `body_scores` are *not* confidences: they number the joints
for drawing and are -1 where a joint is missing, so a body joint gets confidence 1 or 0. Face and hand scores are real,
can pass 1, and (-1, -1) marks a missing point. The tools cut videos into 24 frames per second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from signllm.data.formats.npy import parse_npy, read_npz
from signllm.data.formats.raw import RawClip, ReadRequest, frame_slots, stack_people
from signllm.models.poses import PoseError

NAME = "DWPose folder"
FPS = 24.0
FRAME = re.compile(r"(?P<number>\d+)\.(?P<kind>npz|npy|json)")
_KINDS = ("npz", "npy", "json")  # the tools write all three with the same contents: the first that is there is read
_MARKS = (b"num_persons", b"person_0", b"bodies")
_PARTS = (("body", 18), ("face", 68), ("left_hand", 21), ("right_hand", 21))


def is_frame(file: Path) -> bool:
    """Whether a file is one frame of DWPose, told by the names inside it (a zip shows them in plain)."""
    with file.open("rb") as stream:
        start = stream.read(1 << 16)
    return any(mark in start for mark in _MARKS)


def clips(path: Path) -> list[str | None]:
    return [None]


def read(path: Path, request: ReadRequest) -> RawClip:
    matches = [(match, file) for file in path.iterdir() if (match := FRAME.fullmatch(file.name))]
    kind = next(kind for kind in _KINDS if any(match["kind"] == kind for match, _ in matches))
    frames = [(int(match["number"][-15:]), file) for match, file in matches if match["kind"] == kind]
    slots, length = frame_slots(np.array([number for number, _ in frames]), str(path))
    people: list[list[np.ndarray]] = [[] for _ in range(length)]
    for slot, (_, file) in zip(slots, frames, strict=True):
        people[slot] = _people_of(file)
    values, confidence = stack_people(people, str(path))
    return RawClip(values, confidence, "dwpose_128", FPS, "normalized", str(path))


def _people_of(file: Path) -> list[np.ndarray]:
    try:
        if file.suffix == ".json":
            record = json.loads(file.read_bytes())
        else:
            record = read_npz(file) if file.suffix == ".npz" else parse_npy(file.read_bytes())
        persons = _old_persons(record) if "bodies" in record else _persons(record)
        return [_person(person) for person in persons]
    except Exception as error:
        raise PoseError(f"{file}: not a frame of DWPose ({type(error).__name__}: {error})") from error


def _persons(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The layout with a `person_<k>` entry for each person."""
    keys = sorted((key for key in record if re.fullmatch(r"person_\d+", key)), key=lambda key: int(key[7:]))
    if len(keys) != int(record["num_persons"]):
        raise ValueError(f"num_persons is {int(record['num_persons'])}, the file has {', '.join(keys) or 'none'}")
    return [record[key] for key in keys]


def _old_persons(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The older layout: everybody's bodies in one array that `body_scores` points into, left hands, then right."""
    order = np.asarray(record["body_scores"], dtype=np.float64).reshape(-1, 18)
    bodies = np.asarray(record["bodies"], dtype=np.float64).reshape(-1, 2)
    places = np.clip(order, 0, max(len(bodies) - 1, 0)).astype(np.int64)
    count = len(order)
    faces = np.asarray(record["faces"], dtype=np.float64).reshape(count, 68, 2)
    face_scores = np.asarray(record["faces_scores"], dtype=np.float64).reshape(count, 68)
    hands = np.asarray(record["hands"], dtype=np.float64).reshape(2, count, 21, 2)
    hand_scores = np.asarray(record["hands_scores"], dtype=np.float64).reshape(2, count, 21)
    return [
        {
            "body_keypoints": bodies[places[k]],
            "body_scores": order[k],
            "face_keypoints": faces[k],
            "face_scores": face_scores[k],
            "left_hand_keypoints": hands[0, k],
            "left_hand_scores": hand_scores[0, k],
            "right_hand_keypoints": hands[1, k],
            "right_hand_scores": hand_scores[1, k],
        }
        for k in range(count)
    ]


def _person(person: Mapping[str, Any]) -> np.ndarray:
    """`[128, 3]` x, y, confidence."""
    parts = []
    for part, joints in _PARTS:
        points = np.asarray(person[f"{part}_keypoints"], dtype=np.float64).reshape(joints, 2)
        scores = np.asarray(person[f"{part}_scores"], dtype=np.float64).reshape(joints)
        parts.append(np.column_stack([points, confidence_of(part, points, scores)]))
    return np.concatenate(parts).astype(np.float32)


def confidence_of(part: str, points: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Confidence in [0, 1] from what DWPose calls scores; shapes `[..., J, 2]` and `[..., J]`."""
    missing = (points == -1).all(axis=-1) | ~(scores >= 0)
    seen = np.ones_like(scores) if part == "body" else np.clip(scores, 0, 1)
    return np.where(missing, 0.0, seen)
