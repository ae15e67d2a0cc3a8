"""A folder of OpenPose JSON, one file per frame: `<clip>_<number>_keypoints.json` (BODY_25, face 70, hands 21 + 21).

Pixels; (0, 0, 0) is a joint that was not found. The frame rate is in no file. Numbers that are left out are frames
without anybody. A folder may hold several clips; their names are the parts before the number.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from signllm.data.formats.raw import RawClip, ReadRequest, frame_slots, stack_people
from signllm.models.poses import PoseError

NAME = "OpenPose JSON folder"
FRAME = re.compile(r"(?P<clip>.*?)_?(?P<number>\d+)_keypoints\.json")
_PARTS = (("pose", 25), ("face", 70), ("hand_left", 21), ("hand_right", 21))


def clips(path: Path) -> list[str | None]:
    names = sorted({match["clip"] for file in path.iterdir() if (match := FRAME.fullmatch(file.name))})
    return list(names) if len(names) > 1 else [None]


def read(path: Path, request: ReadRequest) -> RawClip:
    frames = [(match, file) for file in path.iterdir() if (match := FRAME.fullmatch(file.name))]
    names = sorted({match["clip"] for match, _ in frames})
    if request.clip is None and len(names) > 1:
        raise PoseError(f"{path}: {len(names)} clips in one folder; pass clip=, one of {', '.join(names[:5])}")
    clip = request.clip if request.clip is not None else names[0]
    if clip not in names:
        raise PoseError(f"{path}: no clip {clip!r}; the folder has {', '.join(names[:5])}")
    files = [file for match, file in frames if match["clip"] == clip]
    numbers = np.array([int(match["number"][-15:]) for match, _ in frames if match["clip"] == clip])
    slots, length = frame_slots(numbers, str(path))
    if len(set(slots.tolist())) != len(slots):
        raise PoseError(f"{path}: two files of clip {clip!r} have the same frame number")
    people: list[list[np.ndarray]] = [[] for _ in range(length)]
    for slot, file in zip(slots, files, strict=True):
        people[slot] = _people_of(file)
    source = str(path) if len(names) == 1 else f"{path}#{clip}"
    values, confidence = stack_people(people, source)
    values = np.where((values == 0).all(axis=-1, keepdims=True), np.float32(np.nan), values)
    return RawClip(values, confidence, "openpose_137", None, "pixels", source)


def _people_of(file: Path) -> list[np.ndarray]:
    try:
        return [_person(person, file) for person in json.loads(file.read_bytes())["people"]]
    except PoseError:
        raise
    except Exception as error:
        raise PoseError(f"{file}: not a frame of OpenPose JSON ({type(error).__name__}: {error})") from error


def _person(person: dict[str, Any], file: Path) -> np.ndarray:
    """`[137, 3]` x, y, confidence; a part that was not looked for is missing."""
    parts = []
    for part, joints in _PARTS:
        numbers = person.get(f"{part}_keypoints_2d") or [0.0] * (3 * joints)
        if len(numbers) != 3 * joints:
            raise PoseError(
                f"{file}: {part}_keypoints_2d must have {3 * joints} numbers ({joints} joints), got {len(numbers)}"
            )
        parts.append(np.array(numbers, dtype=np.float32).reshape(joints, 3))
    return np.concatenate(parts)
