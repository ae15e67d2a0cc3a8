"""A small invented signer, and the embedded data of a page read back."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

from signllm.models.poses import Pose
from signllm.models.skeletons import get_skeleton


@pytest.fixture(scope="session")
def signer():
    """A function that makes a signer of any layout: joints scattered about 400 x 500 pixels, swaying together."""

    def make(skeleton: str = "sts56", frames: int = 12, dims: int = 2, seed: int = 0, fps: float = 25.0) -> Pose:
        rng = np.random.default_rng(seed)
        joints = len(get_skeleton(skeleton))
        rest = rng.uniform([100, 50, -50], [500, 550, 50], size=(joints, 3))
        sway = 20 * np.sin(np.arange(frames) / 4)[:, None, None] + rng.normal(0, 1, (frames, joints, 3))
        return Pose((rest + sway)[..., :dims], None, fps, skeleton, "pixels")

    return make


@pytest.fixture(scope="session")
def read_page():
    """A function that gives the embedded data of a page, with the coordinates of every track as `values`."""

    def read(page: str) -> dict:
        (text,) = re.findall(r'<script type="application/json" id="signllm-data">(.*?)</script>', page, re.DOTALL)
        data = json.loads(text)
        for scene in data["scenes"]:
            for track in scene["tracks"]:
                track["values"] = decode(track)
        return data

    return read


def decode(track: dict) -> np.ndarray:
    """`[T,J,C]` coordinates of a track, NaN where missing: what the page's script does, written independently."""
    differences = np.frombuffer(zlib.decompress(base64.b64decode(track["data"])), "<u2").reshape(track["shape"])
    steps = np.cumsum(differences, axis=0, dtype=np.uint16).view(np.int16)
    center = np.array(track["center"][: track["shape"][2]])
    return np.where(steps == -32768, np.nan, center + track["step"] * steps)
