"""Small clips, bad files, tiny tokenizers, and a way to run `signllm`, for the tests of the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from signllm import Pose, SignVQTokenizer, write_pose
from signllm.cli import app
from signllm.cli.inputs import load_tokenizer
from tests.models.conftest import random_poses, tiny_config, trained

CLIPS = {"b.npz": 21, "a.pose": 17, "more/c.npz": 30, "more/d.pose": 5}


def make_clip(frames: int, seed: int = 0, fps: float = 25.0) -> Pose:
    values, joint_mask, _ = random_poses(1, frames, seed=seed)
    values, joint_mask = values[0].numpy() * 120 + 300, joint_mask[0].numpy()
    values[:, 2] = (250, 300)  # a right and a left shoulder that are always seen
    values[:, 5] = (350, 300)
    joint_mask[:, [2, 5]] = True
    return Pose(np.where(joint_mask[..., None], values, np.nan), joint_mask.astype(np.float32), fps, "sts56")


def without_shoulders(frames: int = 9) -> Pose:
    """A clip that can be read but not prepared."""
    clip = make_clip(frames)
    values = clip.values.copy()
    values[:, [2, 5]] = np.nan
    return clip.replace(values=values)


def run(*words: object, code: int = 0):
    """Run `signllm`; on the way, check the exit code and that no traceback was shown."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"exit code {result.exit_code}\n{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def spoil(poses: Path) -> list[str]:
    """Add files that cannot be used, each in a way of its own; returns what the messages must name."""
    (poses / "aa_cut.pose").write_bytes((poses / "a.pose").read_bytes()[:200])
    (poses / "bb_text.npz").write_text("not an archive")
    write_pose(without_shoulders(), poses / "more" / "cc_shoulders.npz")
    np.savez(poses / "dd_empty.npz", values=np.zeros((0, 56, 2), np.float32), fps=25.0, skeleton="sts56")
    return ["aa_cut.pose", "bb_text.npz", "cc_shoulders.npz", "dd_empty.npz"]


def scenes_of(page: Path) -> list[dict]:
    text = page.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="signllm-data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)["scenes"]


@pytest.fixture(scope="module", params=["one codebook", "residual"])
def any_tokenizer(request, tmp_path_factory) -> Path:
    changes = {} if request.param == "one codebook" else {"quantizer": "residual", "num_quantizers": 3}
    folder = tmp_path_factory.mktemp("any_tokenizer")
    SignVQTokenizer.from_codec(trained(tiny_config(**changes))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    SignVQTokenizer.from_codec(trained(tiny_config())).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tokenizer) -> SignVQTokenizer:
    return load_tokenizer(str(tokenizer))


@pytest.fixture(scope="module")
def loaded_residual() -> SignVQTokenizer:
    return SignVQTokenizer.from_codec(trained(tiny_config(quantizer="residual", num_quantizers=3)))


@pytest.fixture
def poses(tmp_path) -> Path:
    folder = tmp_path / "poses"
    (folder / "more").mkdir(parents=True)
    for seed, (name, frames) in enumerate(CLIPS.items()):
        write_pose(make_clip(frames, seed), folder / name)
    return folder
