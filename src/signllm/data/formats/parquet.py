"""MediaPipe landmarks in Parquet as Kaggle's two sign-language competitions give them.

- wide (fingerspelling): a row per frame, columns `frame`, `sequence_id` and `[xyz]_[part]_[i]`; many clips in a file.
- long (isolated signs): a row per landmark, columns `frame`, `type`, `landmark_index`, `x`, `y`, `z`; one clip a file.

Fractions of the image, about 30 frames per second (no file says). Both list the face first; `holistic_543` has the
body first. The first frame number is rarely 0, and numbers that are left out are frames without anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from signllm.data.formats.raw import RawClip, ReadRequest, frame_slots
from signllm.models.poses import PoseError
from signllm.models.skeletons import get_skeleton

NAME = "landmark Parquet"
FPS = 30.0
_LONG_COLUMNS = ["frame", "type", "landmark_index", "x", "y", "z"]
_PARTS = {"pose": (0, 33), "face": (33, 468), "left_hand": (501, 21), "right_hand": (522, 21)}  # in holistic_543
_COLUMN_SUFFIXES = tuple(f"{part}_{i}" for part, (_, size) in _PARTS.items() for i in range(size))


def clips(path: Path) -> list[str | None]:
    return list(_sequences(path).names) if "sequence_id" in _columns(path) else [None]


def read(path: Path, request: ReadRequest) -> RawClip:
    columns = _columns(path)
    if request.clip is not None and "sequence_id" not in columns:
        raise PoseError(f"{path}: holds one clip without a name; leave clip= out")
    source = str(path) if request.clip is None else f"{path}#{request.clip}"
    if columns.issuperset(_LONG_COLUMNS):
        values, skeleton = _read_long(path), "holistic_543"
    elif "frame" in columns and any(f"x_{suffix}" in columns for suffix in _COLUMN_SUFFIXES):
        values, skeleton = _read_wide(path, request, columns, source)
    else:
        held = ", ".join(sorted(columns)[:6])
        raise PoseError(f"{path}: a Parquet file, but without landmark columns (it has {held})")
    return RawClip(values[:, None], None, skeleton, FPS, "normalized", source)


def _columns(path: Path) -> set[str]:
    import pyarrow.parquet

    return set(pyarrow.parquet.read_schema(path).names)


@dataclass(frozen=True)
class _Sequences:
    """The clips of a wide file: their ids in file order, and for each row which of them it belongs to."""

    names: list[str]
    of_row: np.ndarray


def _sequences(path: Path) -> _Sequences:
    state = path.stat()
    return _sequences_of_version(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)  # the clips of a file are asked for one by one
def _sequences_of_version(path: Path, _modified_ns: int, _size: int) -> _Sequences:
    import pyarrow.parquet

    column = pyarrow.parquet.read_table(path, columns=["sequence_id"])["sequence_id"]
    encoded = column.combine_chunks().dictionary_encode()
    return _Sequences(
        [str(name) for name in encoded.dictionary.to_pylist()], encoded.indices.to_numpy(zero_copy_only=False)
    )


def _read_wide(path: Path, request: ReadRequest, columns: set[str], source: str) -> tuple[np.ndarray, str]:
    """`[T, J, C]` and its layout: the wanted one if its joints are all in the file, else the whole holistic body."""
    holistic = get_skeleton("holistic_543")
    wanted = holistic if request.skeleton is None else get_skeleton(request.skeleton)
    if not all(holistic.has(joint) for joint in wanted.joints):
        wanted = holistic  # `read_pose` derives the rest
    suffixes = [_COLUMN_SUFFIXES[holistic.index(joint)] for joint in wanted.joints]
    names = [f"{axis}_{suffix}" for axis in "xyz"[: wanted.dims] for suffix in suffixes]
    absent = [name for name in names if name not in columns]
    if absent:
        raise PoseError(
            f"{path}: {len(absent)} of {len(names)} columns of {wanted.name} are not in the file, for example "
            f"{', '.join(absent[:3])}; pass skeleton=, for example 'asl42' if it holds the hands"
        )
    rows = _rows_of(path, request.clip) if "sequence_id" in columns else None
    table = _read_rows(path, ["frame", *names], rows)
    if not len(table):
        raise PoseError(f"{source}: no rows")
    numbers = np.stack([table[name].to_numpy() for name in names]).reshape(wanted.dims, len(wanted), len(table))
    slots, length = frame_slots(_whole_numbers(table, "frame", source), source)
    if len(np.unique(slots)) != len(slots):
        raise PoseError(f"{source}: two rows have the same frame number")
    values = np.full((length, len(wanted), wanted.dims), np.nan, dtype=np.float32)
    values[slots] = numbers.transpose(2, 1, 0)
    return values, wanted.name


def _rows_of(path: Path, clip: str | None) -> np.ndarray:
    sequences = _sequences(path)
    known = ", ".join(sequences.names[:5]) or "none"
    if clip is None and len(sequences.names) != 1:
        raise PoseError(f"{path}: {len(sequences.names)} sequences; pass clip=, one of {known}")
    clip = sequences.names[0] if clip is None else clip
    if clip not in sequences.names:
        raise PoseError(f"{path}: no sequence {clip!r}; it has {known}")
    return np.flatnonzero(sequences.of_row == sequences.names.index(clip))


def _read_rows(path: Path, columns: list[str], rows: np.ndarray | None) -> Any:
    """Table of the columns in the rows (`None`: all), from those row groups alone that hold any of them."""
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    if rows is None:
        return file.read(columns=columns)
    starts = np.cumsum([0, *(file.metadata.row_group(g).num_rows for g in range(file.num_row_groups))])
    group_of_row = np.searchsorted(starts, rows, side="right") - 1
    groups, place = np.unique(group_of_row, return_inverse=True)
    sizes = starts[groups + 1] - starts[groups]
    rows_in_table = rows - starts[group_of_row] + (np.cumsum(sizes) - sizes)[place]
    return file.read_row_groups(groups.tolist(), columns=columns).take(rows_in_table)


def _whole_numbers(table: Any, column: str, source: str) -> np.ndarray:
    numbers = table[column].to_numpy()
    if not np.issubdtype(numbers.dtype, np.integer):
        raise PoseError(f"{source}: column {column!r} must hold whole numbers in every row")
    return numbers.astype(np.int64)


def _read_long(path: Path) -> np.ndarray:
    """`[T, 543, 3]`."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, columns=_LONG_COLUMNS)
    if not len(table):
        raise PoseError(f"{path}: no rows")
    kinds = table["type"].combine_chunks().dictionary_encode()
    unknown = sorted(set(map(str, kinds.dictionary.to_pylist())) - set(_PARTS))
    if unknown or kinds.null_count:
        raise PoseError(
            f"{path}: landmarks of unknown type {', '.join(unknown) or 'null'}; known are {', '.join(_PARTS)}"
        )
    offsets, sizes = np.array([_PARTS[kind] for kind in kinds.dictionary.to_pylist()]).T
    kind, index = kinds.indices.to_numpy(), _whole_numbers(table, "landmark_index", str(path))
    if (index < 0).any() or (index >= sizes[kind]).any():
        raise PoseError(f"{path}: landmark_index {index.max()} is beyond its part")
    slots, length = frame_slots(_whole_numbers(table, "frame", str(path)), str(path))
    place = slots * 543 + offsets[kind] + index
    if len(np.unique(place)) != len(place):
        raise PoseError(f"{path}: a landmark is there twice in one frame")
    values = np.full((length * 543, 3), np.nan, dtype=np.float32)
    values[place] = np.column_stack([table[axis].to_numpy() for axis in "xyz"])
    return values.reshape(length, 543, 3)
