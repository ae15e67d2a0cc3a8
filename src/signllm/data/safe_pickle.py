"""Unpickling that can build containers, numbers, strings and plain numpy arrays, and nothing else.

Some corpora keep keypoints in pickles. A pickle is a program; this module interprets it by an allow-list:

- names: only what numpy needs in order to describe an array. They resolve to stand-ins written here, never to numpy's
  own classes, because `numpy.dtype.__setstate__` believes the flags it is given and could be talked into treating
  bytes as pointers;
- data types: booleans, numbers, text and bytes, and "object" for arrays of the allowed things;
- opcodes: those of `pickle` minus persistent ids, the extension registry and out-of-band buffers.

The pure-Python unpickler is used because the one in C allocates whatever memo index a damaged file names.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

_DTYPE_KINDS = frozenset("biufcSUO")


def safe_loads(data: bytes) -> Any:
    """The object pickled in `data`, if the pickle asks for nothing outside the allow-list.

    Raises:
        pickle.UnpicklingError: it asks for something else (the message names it), or is damaged.
    """
    try:
        return _resolve(_AllowListUnpickler(io.BytesIO(data)).load(), {})
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged program can fail in any way
        raise pickle.UnpicklingError(f"damaged pickle ({type(error).__name__}: {error})") from error


class _Constructor:
    """What an allowed name resolves to: can be called, and nothing on it can be changed by the pickle."""

    __slots__ = ("_build",)
    _build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "_build", build)

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("the pickle tries to change an allowed name")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the pickle tries to change an allowed name")


class _DtypeRecord:
    """Stands for a `numpy.dtype` while the pickle runs; of its state only the byte order is believed."""

    def __init__(self, code: str, *_align_and_copy: Any) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        if not isinstance(self.code, str) or self.code[:1] not in _DTYPE_KINDS or not self.code[1:].isdigit():
            raise pickle.UnpicklingError(f"numpy data type {self.code!r} is outside the allow-list")
        if self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"numpy byte order {self.order!r} is not one")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _ArrayRecord:
    """Stands for a `numpy.ndarray` while the pickle runs; `array` builds the real one from checked parts."""

    def __init__(self, *_subtype_shape_code: Any) -> None:
        self.state: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self, done: dict[int, Any]) -> np.ndarray:
        if self.state is None:
            raise pickle.UnpicklingError("a numpy array without contents")
        shape, record, fortran, data = self.state[-4:]
        dtype = record.dtype()
        size = math.prod(shape)
        if dtype.kind == "O":
            flat = np.empty(len(data), dtype=object)
            flat[:] = [_resolve(item, done) for item in data]
        else:
            flat = np.frombuffer(bytes(data), dtype=dtype, count=size) if size else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C").copy()


def _array_from_buffer(data: bytes, record: _DtypeRecord, shape: tuple, order: str) -> _ArrayRecord:
    array = _ArrayRecord()
    array.state = (1, shape, record, order == "F", data)
    return array


def _scalar(record: _DtypeRecord, data: bytes) -> Any:
    dtype = record.dtype()
    if dtype.kind == "O":
        raise pickle.UnpicklingError("a numpy scalar of type object is outside the allow-list")
    return np.frombuffer(data, dtype=dtype, count=1)[0]


def _latin1(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is outside the allow-list")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """How pickles of protocol 2 write bytes of length 0 (`bytes(n)` would allocate whatever a file says)."""
    return b""


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ArrayRecord,
    ("numpy", "dtype"): _DtypeRecord,
    ("_codecs", "encode"): _latin1,
    ("builtins", "bytes"): _empty_bytes,
    ("__builtin__", "bytes"): _empty_bytes,
    **{
        (f"numpy.{core}.{module}", name): build
        for core in ("core", "_core")
        for module, name, build in (
            ("multiarray", "_reconstruct", _ArrayRecord),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array_from_buffer),
        )
    },
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset, complex)},
}


_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]
_REFUSED_OPCODES = (
    *(pickle.PERSID, pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4),
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


class _AllowListUnpickler(_PythonUnpickler):
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: load for code, load in _PythonUnpickler.dispatch.items() if bytes([code]) not in _REFUSED_OPCODES
    }

    def find_class(self, module: str, name: str) -> _Constructor:
        build = _ALLOWED.get((module, name))
        if build is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is outside the allow-list")
        return _Constructor(build)

    def load_bytearray8(self) -> None:
        """As in `pickle`, but never allocates more than the file holds."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _resolve(item: Any, done: dict[int, Any]) -> Any:
    """`item` with every array record replaced by its array; `done` keeps shared arrays shared."""
    if isinstance(item, _ArrayRecord):
        if id(item) not in done:
            done[id(item)] = item.array(done)
        return done[id(item)]
    if isinstance(item, dict):
        return {key: _resolve(value, done) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return type(item)(_resolve(value, done) for value in item)
    if isinstance(item, _DtypeRecord):
        return item.dtype()
    if isinstance(item, _Constructor):
        raise pickle.UnpicklingError("a bare type where a value should be")
    return item
