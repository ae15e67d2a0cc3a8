"""Poses in and out: `read_pose`, `write_pose`, and `find_poses` for everything under a folder.

What a path is, is told by its suffix or, for a folder, by the frames in it; `formats/` has a module for each kind.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from signllm.data.formats import arrays, dwpose, keypoint_pickle, openpose_json, parquet, pose_file, skels
from signllm.data.formats.raw import Person, RawClip, ReadRequest, to_pose
from signllm.files import replacing
from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import get_skeleton

logger = logging.getLogger(__name__)

_FILE_FORMATS: dict[str, ModuleType] = {
    ".pose": pose_file,
    ".skels": skels,
    ".parquet": parquet,
    ".npz": arrays,
    ".npy": arrays,
    ".pkl": keypoint_pickle,
    ".pickle": keypoint_pickle,
    ".gz": keypoint_pickle,
}
_WRITERS: dict[str, ModuleType] = {".pose": pose_file, ".npz": arrays, ".skels": skels}
SUPPORTED = (
    ".pose, .skels, .parquet (Kaggle landmarks), .npz and .npy, .pkl, .pickle and .gz (COCO-WholeBody keypoints), "
    "a folder of OpenPose JSON, a folder of DWPose .npz, .npy or .json"
)


@dataclass(frozen=True, order=True)
class PoseRef:
    """Where one clip is: `read_pose(ref.path, clip=ref.clip)`.

    Args:
        path: file, or folder of frames.
        clip: which clip of the file, `None` where it holds one.
        id: path below the searched folder, and the clip after `#`: unique and stable.
        label: the corpus's own name for the clip where it has one; empty otherwise.
    """

    path: Path
    clip: str | None
    id: str
    label: str = field(default="", compare=False)

    @property
    def file_name(self) -> str:
        """The id as a name that is safe for a file and differs where ids differ."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", self.id).lstrip(".")[:150]
        return (
            plain
            if plain == self.id
            else f"{plain}-{hashlib.sha256(self.id.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
        )


def read_pose(
    path: str | os.PathLike[str],
    *,
    person: Person = "error",
    skeleton: str | None = None,
    fps: float | None = None,
    clip: str | None = None,
    skels_convention: str = "progressive",
    image_size: tuple[int, int] | None = None,
) -> Pose:
    """Read one clip of one person from any supported format.

    Args:
        path: a file, or a folder with a file per frame.
        person: what to do about several persons: `"error"`; `"first"`, the one listed first in each frame;
            `"confident"`, the one with the greatest confidence summed over the clip; or a number from 0. Persons are
            told apart only by their place in the file, which not every tracker keeps.
        skeleton: the layout wanted. Where the file names its own, the clip is converted (`convert_pose`); plain
            arrays are taken to be in it. From wide Parquet only the columns of its joints are read.
        fps: frames per second, where the file has none or a wrong one. Defaults: the file's own; 30 for Kaggle's
            Parquet, 25 for Progressive Transformers' `.skels`, 24 for DWPose. OpenPose JSON, keypoint pickles, plain
            arrays and Prompt2Sign's 150-value `.skels` need it.
        clip: which clip, where a file holds several: sequence id, line number or name, dictionary key, array name.
        skels_convention: `"progressive"` or `"prompt2sign"`, see `formats/skels.py`.
        image_size: width and height of the video in pixels, for formats whose coordinates are fractions of it (Kaggle,
            DWPose): gives pixels. Without it a signer filmed 16:9 stays squeezed, as those files have it.

    Returns:
        The pose, missing joints NaN with confidence 0, in the file's own units.

    Raises:
        PoseError: whatever is wrong with the file or the request; the message names the file and the reason.
    """
    if fps is not None and not fps > 0:
        raise PoseError(f"fps must be a positive number, got {fps}")
    path = Path(path)
    raw = read_raw(path, ReadRequest(clip, skeleton, skels_convention))
    pose = to_pose(raw, person, skeleton, fps)
    return pose if image_size is None else _to_pixels(pose, image_size)


def _to_pixels(pose: Pose, image_size: tuple[int, int]) -> Pose:
    if pose.units != "normalized":
        raise PoseError(f"{pose.source}: image_size is for fractions of an image; these coordinates are {pose.units}")
    width, height = image_size
    if not (width > 0 and height > 0):
        raise PoseError(f"{pose.source}: image_size must be a positive width and height, got {image_size}")
    # Depth, where there is any, is in units of the width (MediaPipe).
    size = np.array([width, height, width][: pose.values.shape[2]], dtype=np.float32)
    return pose.replace(values=pose.values * size, units="pixels")


def read_raw(path: Path, request: ReadRequest) -> RawClip:
    """The clip with everybody in it and without checks of its contents; errors as in `read_pose`."""
    if request.skeleton is not None:
        get_skeleton(request.skeleton)  # an unknown name is the caller's mistake, not the file's
    kind = format_of(path)
    try:
        return kind.read(path, request)
    except PoseError:
        raise
    except Exception as error:  # parsers fail in many ways on damaged files; all mean the same to the caller
        raise PoseError(_unreadable(path, kind, error)) from error


def _unreadable(path: Path, kind: ModuleType, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{path}: cannot be read as {kind.NAME}; damaged, cut short or something else ({reason})"


def format_of(path: Path) -> ModuleType:
    """The module of `formats` for a path.

    Raises:
        PoseError: nothing there, a folder without frames, one frame of a folder, or an unknown suffix.
    """
    if not path.exists():
        raise PoseError(f"{path}: no such file or folder")
    if path.is_dir():
        kind = _folder_format(path, os.listdir(path))
        if kind is None:
            raise PoseError(f"{path}: a folder, but not of frames; find_poses lists the clips below it")
        return kind
    if openpose_json.FRAME.fullmatch(path.name) or (dwpose.FRAME.fullmatch(path.name) and dwpose.is_frame(path)):
        raise PoseError(f"{path}: one frame of a clip; pass its folder {path.parent}")
    if path.suffix.lower() not in _FILE_FORMATS:
        raise PoseError(f"{path}: unknown suffix {path.suffix!r}; supported are {SUPPORTED}")
    return _FILE_FORMATS[path.suffix.lower()]


def _folder_format(folder: Path, names: list[str]) -> ModuleType | None:
    if any(openpose_json.FRAME.fullmatch(name) for name in names):
        return openpose_json
    numbered = sorted(name for name in names if dwpose.FRAME.fullmatch(name))
    # A file or two may be damaged; the folder is still what it is.
    return dwpose if any(dwpose.is_frame(folder / name) for name in numbered[:3]) else None


def write_pose(pose: Pose, path: str | os.PathLike[str]) -> None:
    """Write a clip; the suffix says how. The file appears whole or not at all.

    - `.npz`: everything, exactly.
    - `.pose`: header version 0.2. Units other than pixels and normalized come back as `arbitrary`.
    - `.skels`: `openpose50` in 3-D, five decimals, convention `progressive`; `write_skels` writes sets of clips.

    Raises:
        PoseError: another suffix, a layout that the format cannot hold, or a folder that cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise PoseError(f"{path}: cannot write {path.suffix!r}; poses are written as {', '.join(_WRITERS)}")
    joints, expected = pose.values.shape[1], len(get_skeleton(pose.skeleton))
    if joints != expected:
        raise PoseError(f"{path}: {pose.skeleton} has {expected} joints, got {joints}")
    try:
        with replacing(path) as temporary:
            _WRITERS[path.suffix.lower()].write(pose, temporary)
    except OSError as error:
        raise PoseError(f"{path}: cannot be written ({error.strerror or error})") from error


def find_poses(path: str | os.PathLike[str]) -> list[PoseRef]:
    """Every clip in a file or below a folder, sorted by path.

    Files that bear no poses (by suffix) and hidden ones are passed over. A pose-bearing file that cannot be listed
    is one entry, so that reading it gives the reason. Links out of the folder are passed over with a warning.

    Raises:
        PoseError: there is nothing at `path`.
    """
    root = Path(path)
    if not root.exists():
        raise PoseError(f"{root}: no such file or folder")
    if root.is_file() or _folder_format(root, os.listdir(root)):
        return _refs_of(root, root.resolve().name)
    refs = [ref for found in _pose_paths(root) for ref in _refs_of(found, found.relative_to(root).as_posix())]
    return sorted(refs, key=lambda ref: ref.path)  # stable: the clips of one file keep the file's order


def _refs_of(path: Path, name: str) -> list[PoseRef]:
    try:
        kind = format_of(path)
        clips = kind.clips(path)
        labels = skels.clip_names(path) if kind is skels else []
    except Exception:  # reading it will say what is wrong
        clips, labels = [], []
    if not clips or clips == [None]:
        return [PoseRef(path, None, name)]
    labels = labels or [""] * len(clips)
    return [PoseRef(path, clip, f"{name}#{clip}", label) for clip, label in zip(clips, labels, strict=True)]


def _pose_paths(root: Path) -> Iterator[Path]:
    inside = root.resolve()
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = Path(folder)
        kind = _folder_format(here, names)
        if kind is not None:
            yield here
        for name in sorted(names):
            file = here / name
            is_frame = kind is not None and kind.FRAME.fullmatch(name)
            if is_frame or name.startswith(".") or file.suffix.lower() not in _FILE_FORMATS:
                continue
            if file.is_symlink() and not file.resolve().is_relative_to(inside):
                logger.warning("%s: passed over, a link that leads out of %s", file, root)
            else:
                yield file
