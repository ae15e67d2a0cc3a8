"""`.npz` as `write_pose` makes it (exact), and plain arrays in `.npz` or `.npy` whose layout the caller names.

A pose `.npz` holds `values` `[T, J, C]` float32, `confidence` `[T, J]` float32, `fps`, `skeleton` and `units`. A plain
array is `[T, J, C]` or `[T, J * C]`, NaN where missing; in a `.npz` with other names, `clip` is the name of the array.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from signllm.data.formats.npy import npz_members, parse_npy, read_npz
from signllm.data.formats.raw import RawClip, ReadRequest
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import SKELETON_NAMES, get_skeleton

NAME = ".npz / .npy arrays"
_NPY_MAGIC = b"\x93NUMPY"


def clips(path: Path) -> list[str | None]:
    return [None]


def read(path: Path, request: ReadRequest) -> RawClip:
    if path.suffix.lower() == ".npy":
        data = path.read_bytes()
        if not data.startswith(_NPY_MAGIC):
            raise PoseError(f"{path}: is named .npy but is none")
        return _plain(parse_npy(data), str(path), request.skeleton, {})
    if not zipfile.is_zipfile(path):
        raise PoseError(f"{path}: is named .npz but is no zip archive, or is cut short")
    members = npz_members(path)
    name = "values" if request.clip is None else request.clip
    if name not in members:
        raise PoseError(
            f"{path}: no array {name!r}; it has {', '.join(members) or 'none'}. If one of these is a pose, name it by "
            "clip= and its joints by skeleton="
        )
    record = read_npz(path, [name, *(("confidence", "fps", "skeleton", "units") if name == "values" else ())])
    return _plain(record[name], str(path) if name == "values" else f"{path}#{name}", request.skeleton, record)


def _plain(values: Any, source: str, skeleton: str | None, record: dict[str, Any]) -> RawClip:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise PoseError(
            f"{source}: a pose is an array of numbers, got {getattr(values, 'dtype', type(values).__name__)}"
        )
    skeleton = str(record["skeleton"]) if "skeleton" in record else skeleton
    if skeleton is None:
        raise PoseError(f"{source}: an array {list(values.shape)} does not name its joints; pass skeleton=")
    if skeleton not in SKELETON_NAMES:
        raise PoseError(f"{source}: unknown skeleton {skeleton!r}; known are {', '.join(SKELETON_NAMES)}")
    if values.ndim == 2:
        joints = len(get_skeleton(skeleton))
        if values.shape[1] not in (2 * joints, 3 * joints):
            raise PoseError(f"{source}: {skeleton} has {joints} joints, got {values.shape[1]} numbers a frame")
        values = values.reshape(len(values), joints, -1)
    if values.ndim != 3:
        raise PoseError(f"{source}: a pose is [frames, joints, 2 or 3], got {list(values.shape)}")
    confidence, fps = record.get("confidence"), record.get("fps")
    if confidence is not None and confidence.shape != values.shape[:2]:
        raise PoseError(f"{source}: confidence must be {list(values.shape[:2])}, got {list(confidence.shape)}")
    return RawClip(
        values[:, None],
        None if confidence is None else confidence[:, None],
        skeleton,
        None if fps is None else float(fps),
        str(record.get("units", "arbitrary")),
        source,
    )


def write(pose: Pose, path: Path) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            values=pose.values,
            confidence=pose.confidence,
            fps=np.float64(pose.fps),
            skeleton=np.str_(pose.skeleton),
            units=np.str_(pose.units),
        )
