"""The demo, in seconds instead of minutes: the same path from poses to a reloaded tokenizer and a report."""

import json

import numpy as np
import pytest

from signllm import PoseError, read_pose, write_pose
from signllm.data.synthetic import FingerspellingCorpus
from signllm.demo import run_demo

FILES = {"report.html", "result.json", "tokenizer"}


def test_demo_leaves_a_report_a_result_and_a_tokenizer(tmp_path, capsys):
    assert run_demo(tmp_path, minutes=0.02, num_clips=60) == 0
    assert {path.name for path in tmp_path.iterdir()} >= FILES
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["data"] == "procedural"
    assert np.isfinite(record["values"]["test"]["error_all"])
    assert record["values"]["pca_same_bit_rate"]["error_all"] > 0
    shown = capsys.readouterr().out
    assert "equal codes" in shown
    assert "bits per second" in shown
    page = (tmp_path / "report.html").read_text()
    assert "procedural" in page
    assert "PCA of the same bit rate" in page
    assert "https://" not in page


def test_demo_on_a_folder_skips_what_is_broken(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    corpus = FingerspellingCorpus(seed=5, num_clips=24)
    for number in range(24):
        write_pose(corpus[number].pose, folder / f"{number:02d}.npz")
    (folder / "broken.npz").write_bytes(b"no")
    assert run_demo(tmp_path / "out", folder, minutes=0.02, num_clips=60) == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["data"] == "procedural + mine"
    assert record["skipped_clips"] == 1
    assert "broken.npz" in capsys.readouterr().out
    assert read_pose(folder / "00.npz").skeleton == "sts56"


def test_demo_refuses_a_folder_with_too_little(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PoseError, match="no usable pose file"):
        run_demo(tmp_path / "out", tmp_path / "empty", minutes=0.02, num_clips=60)
    assert not (tmp_path / "out").exists()
