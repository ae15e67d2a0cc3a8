"""Readers and writers of poses. Names are loaded when first used, so importing the package stays cheap."""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "PoseInfo": "signllm.data.inspect",
    "PoseRef": "signllm.data.io",
    "find_poses": "signllm.data.io",
    "inspect_poses": "signllm.data.inspect",
    "read_pose": "signllm.data.io",
    "write_pose": "signllm.data.io",
    "write_skels": "signllm.data.formats.skels",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'signllm.data' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


if TYPE_CHECKING:
    from signllm.data.formats.skels import write_skels as write_skels
    from signllm.data.inspect import PoseInfo as PoseInfo
    from signllm.data.inspect import inspect_poses as inspect_poses
    from signllm.data.io import PoseRef as PoseRef
    from signllm.data.io import find_poses as find_poses
    from signllm.data.io import read_pose as read_pose
    from signllm.data.io import write_pose as write_pose
