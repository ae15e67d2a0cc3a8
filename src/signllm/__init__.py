"""signllm: neural sign tokenizers, translation and production of signing.

Importing the package is cheap: every public name is loaded when it is first used. Names that need transformers also
register the package's classes with `AutoConfig`, `AutoModel` and `AutoTokenizer`; `signllm.register()` does only that.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "Pose": "signllm.models.poses",
    "PoseError": "signllm.models.poses",
    "get_skeleton": "signllm.models.skeletons",
    "convert_pose": "signllm.models.skeletons",
    "read_pose": "signllm.data",
    "write_pose": "signllm.data",
    "find_poses": "signllm.data",
    "register": "signllm.auto",
    "SignVQConfig": "signllm.auto",
    "SignVQModel": "signllm.auto",
    "SignVQTokenizer": "signllm.auto",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'signllm' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if TYPE_CHECKING:
    from signllm.auto import SignVQConfig as SignVQConfig
    from signllm.auto import SignVQModel as SignVQModel
    from signllm.auto import SignVQTokenizer as SignVQTokenizer
    from signllm.auto import register as register
    from signllm.data import find_poses as find_poses
    from signllm.data import read_pose as read_pose
    from signllm.data import write_pose as write_pose
    from signllm.models.poses import Pose as Pose
    from signllm.models.poses import PoseError as PoseError
    from signllm.models.skeletons import convert_pose as convert_pose
    from signllm.models.skeletons import get_skeleton as get_skeleton
