"""COCO-WholeBody keypoints of many clips in one pickle, plain or gzip: name -> {'keypoints': [T, 133, 3]}.

x, y in pixels and a confidence. The frame rate is not in the file. Unpickled by the allow-list of `safe_pickle`.
"""

from __future__ import annotations

import gzip
import pickle
from functools import lru_cache
from pathlib import Path

import numpy as np

from signllm.data.formats.raw import RawClip, ReadRequest
from signllm.data.safe_pickle import safe_loads
from signllm.models.poses import PoseError

NAME = "keypoint pickle"
_GZIP_MAGIC = b"\x1f\x8b"


def clips(path: Path) -> list[str | None]:
    return list(_load(path))


def read(path: Path, request: ReadRequest) -> RawClip:
    keypoints = _load(path)
    names = list(keypoints)
    clip = names[0] if request.clip is None and len(names) == 1 else request.clip
    if clip is None or clip not in keypoints:
        asked = "pass clip=, one of" if clip is None else f"none is called {clip!r}; some are"
        raise PoseError(f"{path}: {len(names)} clips; {asked} {', '.join(names[:5])}")
    source = f"{path}#{clip}"
    array = np.asarray(keypoints[clip])
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind not in "fiu":
        raise PoseError(
            f"{source}: keypoints must be numbers [frames, joints, 3], got {list(array.shape)} {array.dtype}"
        )
    skeleton = "coco_wholebody_133" if array.shape[1] == 133 else None
    array = array.astype(np.float32)[:, None]
    return RawClip(array[..., :2], array[..., 2], skeleton, None, "pixels", source)


def _load(path: Path) -> dict[str, np.ndarray]:
    state = path.stat()
    return _load_version(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)  # a batch job asks for the clips one by one, and the file can only be read as a whole
def _load_version(path: Path, _modified_ns: int, _size: int) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    if data.startswith(_GZIP_MAGIC):
        data = gzip.decompress(data)
    try:
        record = safe_loads(data)
    except pickle.UnpicklingError as error:
        raise PoseError(f"{path}: refused: {error}") from error
    if not isinstance(record, dict):
        raise PoseError(f"{path}: a pickle of keypoints is a dict of clips, this one holds a {type(record).__name__}")
    found = {
        str(name): clip["keypoints"] for name, clip in record.items() if isinstance(clip, dict) and "keypoints" in clip
    }
    if not found:
        raise PoseError(f"{path}: no entry of this pickle has 'keypoints'; it holds no poses")
    return found
