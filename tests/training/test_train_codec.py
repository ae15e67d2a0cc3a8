"""The training script: real command line, few steps. What resumes continues; what is unknown is refused."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.conftest import ROOT
from transformers import AutoModel, AutoTokenizer

import signllm
from signllm import Pose, write_pose
from signllm.data.clips import WindowDataset, length_buckets, load_folder, split_of
from signllm.models.pose_preparation import PosePreparation
from signllm.training.arguments import build_config, config_arguments, parse_arguments

SCRIPT = ROOT / "training" / "train_codec.py"
TINY = str(ROOT / "training" / "configs" / "tiny_check.yaml")


@pytest.fixture(scope="module")
def train_codec():
    spec = importlib.util.spec_from_file_location("train_codec", SCRIPT)
    module = sys.modules["train_codec"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(train_codec, output: Path, *arguments: str) -> dict:
    return train_codec.main(
        ["--config", TINY, "--output_dir", str(output), "--use_cpu", "true", "--disable_tqdm", "true", *arguments]
    )


def test_a_run_leaves_a_repository_a_result_and_a_card(train_codec, tmp_path):
    record = run(train_codec, tmp_path, "--max_steps", "3")
    signllm.register()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.codec.config.codebook_size == 32
    assert type(AutoModel.from_pretrained(tmp_path)) is type(tokenizer.codec)
    assert not list(tmp_path.glob("*.bin"))
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["values"] == record["values"]
    assert (saved["seed"], saved["step"], saved["data"], saved["processes"]) == (0, 3, "procedural", 1)
    for name in ("error_all", "error_hands", "codebook_usage", "perplexity", "bits_per_second"):
        assert np.isfinite(saved["values"]["test"][name])
    card = (tmp_path / "README.md").read_text()
    assert "Procedural data" in card
    assert f"| error_all | {record['values']['test']['error_all']:.4g} |" in card
    mean = load_file(tmp_path / "model.safetensors")["pose_mean"]
    assert mean.abs().sum() > 0  # statistics of the training set travel with the model


def test_a_resumed_run_continues_exactly(train_codec, tmp_path):
    """Eight steps at once, and four, a stop, four more: equal weights, codebook and optimiser-driven path."""
    options = ["--max_steps", "8", "--save_strategy", "steps", "--save_steps", "4"]
    run(train_codec, tmp_path / "whole", *options)
    stopped = tmp_path / "stopped"
    run(train_codec, stopped, *options)
    for path in stopped.iterdir():  # as a crash after step 4 would leave it
        if path.name != "checkpoint-4" and path.is_file():
            path.unlink()
    assert (stopped / "checkpoint-8").is_dir()
    shutil.rmtree(stopped / "checkpoint-8")
    run(train_codec, stopped, *options, "--resume_from_checkpoint", "last")
    expected, got = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), name


def test_training_on_a_folder_reports_bad_files_and_goes_on(train_codec, tmp_path, caplog):
    folder = tmp_path / "poses"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(24):
        values = random.normal(size=(20, 56, 2)).cumsum(axis=0) + 200
        values[:, 2], values[:, 5] = (150, 200), (250, 200)
        write_pose(Pose(values, None, 25, "sts56"), folder / f"{number:02d}.npz")
    (folder / "broken.pose").write_bytes(b"nothing")
    record = run(train_codec, tmp_path / "out", "--poses", str(folder), "--max_steps", "2")
    assert record["skipped_clips"] == 1
    assert record["data"] == "poses"
    assert "Procedural data" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codebok_size", "3"], "codebok_size"),
        (["--reconstruction_loss", "l3"], "reconstruction_loss must be one of"),
        (["--resume_from_checkpoint", "last"], "no checkpoint to resume from"),
        (["--expected_processes", "2"], "expected 2 processes, got 1"),
    ],
)
def test_what_cannot_be_done_is_refused(train_codec, tmp_path, arguments, message, capsys):
    with pytest.raises((SystemExit, ValueError, RuntimeError)) as problem:
        run(train_codec, tmp_path, "--max_steps", "1", *arguments)
    assert message in str(problem.value) + capsys.readouterr().err


def test_unknown_names_in_the_file_are_refused_with_a_suggestion(train_codec, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("codebok_size: 64\n")
    with pytest.raises(SystemExit):
        train_codec.main(["--config", str(config), "--output_dir", str(tmp_path / "out")])
    assert "unknown name 'codebok_size'; did you mean 'codebook_size'?" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_accepted(train_codec, path, tmp_path):
    kinds = (train_codec.ModelArguments, train_codec.DataArguments, train_codec.TrainingArguments)
    model, data, training = parse_arguments(kinds, ["--config", str(path)])
    config = build_config(train_codec.SignVQConfig, model)
    assert data.window % config.downsampling == 0
    assert training.max_steps > 0
    for name in yaml.safe_load(path.read_text()):
        assert any(hasattr(part, name) for part in (model, data, training))


def test_the_papers_configuration_is_the_papers(train_codec):
    kinds = (train_codec.ModelArguments, train_codec.DataArguments, train_codec.TrainingArguments)
    path = ROOT / "training" / "configs" / "sts_vqvae_base.yaml"
    model, data, training = parse_arguments(kinds, ["--config", str(path)])
    assert (model.codebook_size, model.codebook_dim, model.depth, model.reconstruction_loss) == (
        512,
        512,
        3,
        "euclidean",
    )
    assert (training.learning_rate, training.adam_beta1, training.adam_beta2) == (2e-4, 0.9, 0.99)
    assert (training.weight_decay, training.max_steps, training.warmup_steps) == (0, 60000, 1000)
    assert (data.window, data.decay_at, data.decay_factor, training.per_device_train_batch_size) == (
        64,
        40000,
        0.05,
        256,
    )


def test_quantizer_options_come_as_json_on_the_command_line(train_codec):
    arguments = ["--quantizer", "fsq", "--codebook_size", "1000", "--quantizer_options", '{"levels": [8, 5, 5, 5]}']
    (model,) = parse_arguments((config_arguments(train_codec.SignVQConfig),), arguments)
    assert build_config(train_codec.SignVQConfig, model).quantizer_options == {"levels": [8, 5, 5, 5]}


# ---- clips ----------------------------------------------------------------------------------------------------------


def prepared(frames: int, seed: int = 0):
    values = np.random.default_rng(seed).normal(size=(frames, 56, 2)).astype(np.float32)
    return PosePreparation("sts56", scale="none")(Pose(values, None, 25, "sts56"))


def test_windows_are_consecutive_and_depend_on_seed_and_index_alone():
    clips = [prepared(30, 1), prepared(9, 2)]
    windows = WindowDataset(clips, 12, 50, seed=3)
    again = WindowDataset(clips, 12, 50, seed=3)
    lengths = set()
    for index in reversed(range(50)):
        window = windows[index]
        assert torch.equal(window.values, again[index].values)
        lengths.add(len(window))
        source = clips[0] if len(window) == 12 else clips[1]
        starts = [s for s in range(len(source)) if torch.equal(source.values[s : s + len(window)], window.values)]
        assert len(starts) == 1
    assert lengths == {12, 9}  # the short clip is taken whole, not dropped
    other = WindowDataset(clips, 12, 50, seed=4)
    assert any(not torch.equal(windows[i].values[:9], other[i].values[:9]) for i in range(5))


def test_length_buckets_hold_every_clip_once_and_respect_the_limit():
    lengths = np.random.default_rng(0).integers(1, 200, 100).tolist()
    lengths.append(900)
    batches = list(length_buckets(lengths, max_frames=400))
    assert sorted(index for batch in batches for index in batch) == list(range(101))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= 400
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)
    assert padded / sum(lengths) < 1.15


def test_splits_depend_on_names_alone():
    names = [f"clip{number}" for number in range(2000)]
    splits = [split_of(name, 0, (0.1, 0.1)) for name in names]
    assert 140 < splits.count("validation") < 260
    assert 140 < splits.count("test") < 260
    assert splits != [split_of(name, 1, (0.1, 0.1)) for name in names]


def test_a_folder_without_poses_is_refused(tmp_path):
    (tmp_path / "a.pose").write_bytes(b"")
    with pytest.raises(signllm.PoseError, match=r"no usable pose file; the first reason: .*a\.pose"):
        load_folder(str(tmp_path), PosePreparation("sts56"), 2)


def test_mixed_precision_trains_and_keeps_the_codebook_in_full(train_codec, tmp_path):
    record = run(train_codec, tmp_path, "--max_steps", "3", "--bf16", "true")
    assert np.isfinite(record["values"]["test"]["reconstruction_loss"])
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} <= {
        torch.float32,
        torch.int64,
        torch.bool,
    }
