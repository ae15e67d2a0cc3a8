"""The documented launch lines really start two processes, and two processes are as good as one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import ROOT

LAUNCH = [str(Path(sys.executable).with_name("accelerate")), "launch", "--config_file"]
TRAIN = [
    "training/train_codec.py",
    "--config",
    "training/configs/tiny_check.yaml",
    "--use_cpu",
    "true",
    "--max_steps",
    "4",
]
CPU = {"ACCELERATE_USE_CPU": "true"}


def run(command: list[str], output: Path, environment: dict[str, str] | None = None) -> tuple[list[float], dict, dict]:
    """Losses of each step, result record, and weights."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    done = subprocess.run(
        [*command, "--output_dir", str(output), "--disable_tqdm", "true"],
        cwd=ROOT,
        env={**clean, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    losses = [float(value) for value in re.findall(r"'loss': '?([0-9.]+)", done.stdout + done.stderr)]
    return losses, json.loads((output / "result.json").read_text()), load_file(output / "model.safetensors")


def assert_same_training(one, two) -> None:
    losses, _, weights = one
    other_losses, _, other_weights = two
    assert len(losses) == 4
    assert losses == pytest.approx(other_losses, abs=2e-3)
    for name, tensor in weights.items():
        torch.testing.assert_close(other_weights[name], tensor, atol=1e-4, rtol=1e-4, msg=name)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """A single process with the global batch of two."""
    folder = tmp_path_factory.mktemp("one")
    return run([sys.executable, *TRAIN, "--per_device_train_batch_size", "16"], folder)


def test_two_processes_equal_one(one_process, tmp_path):
    command = [*LAUNCH, "training/accelerate/cpu.yaml", *TRAIN, "--expected_processes", "2"]
    two = run(command, tmp_path, CPU)
    assert (two[1]["processes"], two[1]["distributed_type"]) == (2, "MULTI_CPU")
    assert_same_training(one_process, two)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_equals_one_process(stage, one_process, tmp_path):
    command = [*LAUNCH, f"training/accelerate/zero{stage}.yaml", *TRAIN, "--expected_processes", "2"]
    two = run([*command, "--deepspeed", f"training/deepspeed/zero{stage}.json"], tmp_path)
    assert (two[1]["processes"], two[1]["distributed_type"]) == (2, "DEEPSPEED")
    assert_same_training(one_process, two)


def test_a_launch_that_starts_one_process_is_refused(tmp_path):
    command = [*LAUNCH, "training/accelerate/cpu.yaml", "--num_processes", "1", *TRAIN, "--expected_processes", "2"]
    done = subprocess.run(
        [*command, "--output_dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, **CPU, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "expected 2 processes, got 1" in done.stdout + done.stderr
