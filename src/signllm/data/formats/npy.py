"""`.npy` and `.npz` without `numpy.load`: sizes are checked before memory is taken, objects pass the allow-list."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from signllm.data.safe_pickle import safe_loads


def parse_npy(data: bytes) -> Any:
    """The array in the bytes of a `.npy` file; an array of one pickled object gives the object.

    Raises:
        ValueError: not a `.npy` file, or shorter than its header says.
        pickle.UnpicklingError: pickled contents outside the allow-list.
    """
    stream = io.BytesIO(data)
    version = npy_format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = npy_format.read_array_header_2_0(stream)
    else:
        raise ValueError(f".npy version {version} is not supported")
    if dtype.hasobject:
        unpickled = safe_loads(data[stream.tell() :])
        return unpickled.item() if isinstance(unpickled, np.ndarray) and unpickled.shape == () else unpickled
    size, rest = math.prod(shape), len(data) - stream.tell()
    if min(shape, default=0) < 0 or rest != size * dtype.itemsize:
        raise ValueError(f"its header promises {size * dtype.itemsize} bytes of {list(shape)} {dtype}, got {rest}")
    if size == 0:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype=dtype, count=size, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def npz_members(path: Path) -> list[str]:
    """Names of the arrays in a `.npz` file."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def read_npz(path: Path, names: list[str] | None = None) -> dict[str, Any]:
    """The arrays (and allowed objects) of a `.npz` file, by name; `names` limits which are read."""
    with zipfile.ZipFile(path) as archive:
        wanted = [name for name in archive.namelist() if name.endswith(".npy")]
        members = {name.removesuffix(".npy"): name for name in wanted}
        return {key: parse_npy(archive.read(name)) for key, name in members.items() if names is None or key in names}
