"""The command line as a whole, and its small commands: help, errors, `data info`, `view`, `demo`."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from signllm import write_pose
from signllm.cli import app
from signllm.cli.console import for_shell, plain
from tests.cli.conftest import CLIPS, files_below, lines_of, make_clip, run, scenes_of, spoil

# ---- help, version, errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["tokenize", "decode", "view", "data info", "demo"])
def test_every_help_teaches_by_example(command):
    shown = run(*command.split(), "--help").stdout
    assert re.search(rf"^ signllm {command}\b", shown, re.MULTILINE)


def test_version_is_the_package_s():
    import signllm

    assert run("--version").stdout.strip() == f"signllm {signllm.__version__}"


def test_faults_of_the_program_keep_their_traceback(poses, tokenizer, tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("a bug")

    monkeypatch.setattr("signllm.cli.tokenize._encode", broken)
    result = CliRunner().invoke(
        app, ["tokenize", str(poses), "--tokenizer", str(tokenizer), "--output", str(tmp_path / "c")]
    )
    assert isinstance(result.exception, ValueError)


def test_messages_are_one_line_without_control_characters():
    assert plain("a\nb\x1b[31mc\udcff") == "a b?[31mc?"


def test_messages_speak_the_words_of_the_shell():
    assert for_shell("pass fps=, for example fps=25") == "pass --fps, for example --fps 25"
    assert for_shell("pass person='first' or skeleton=") == "pass --person 'first' or --skeleton"
    assert for_shell("min_fps=3") == "min_fps=3"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "--output", "c.jsonl", "--tokenizer", "TOKENIZER"], "nowhere: no such file or folder"),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "no_such"], "no folder no_such"),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "./no/such"], "no folder ./no/such"),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "POSES"], "a folder without a tokenizer"),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "POSES/b.npz"], "is a file; give the folder"),
        (
            ["POSES", "--output", "c.jsonl", "--tokenizer", "TOKENIZER", "--skeleton", "body"],
            "unknown skeleton 'body'",
        ),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "TOKENIZER", "--fps", "-3"], "positive number, got -3"),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "TOKENIZER", "--fps", "nan"], "positive number, got nan"),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "TOKENIZER", "--person", "all"], "got 'all'"),
        (["POSES", "--output", "c.jsonl", "--tokenizer", "TOKENIZER", "--resume", "--overwrite"], "give one of them"),
        (["POSES/more", "--output", "POSES", "--tokenizer", "TOKENIZER"], "is a folder; --output is the file"),
        (["EMPTY", "--output", "c.jsonl", "--tokenizer", "TOKENIZER"], "no pose files in"),
    ],
)
def test_wrong_usage_is_told_and_writes_nothing(words, told, poses, tokenizer, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = files_below(tmp_path)
    places = {"TOKENIZER": str(tokenizer), "POSES": str(poses), "EMPTY": str(tmp_path / "empty")}
    words = [re.sub("TOKENIZER|POSES|EMPTY", lambda match: places[match[0]], word) for word in words]
    assert told in " ".join(run("tokenize", *words, code=2).stderr.replace("│", " ").split())
    assert files_below(tmp_path) == before


def test_a_damaged_tokenizer_is_told(tokenizer, tmp_path, poses):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in tokenizer.iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 100 if file.suffix == ".safetensors" else None])
    result = run("tokenize", poses, "--tokenizer", folder, "--output", tmp_path / "c.jsonl", code=2)
    assert f"cannot load a sign tokenizer from the folder {folder}" in result.stderr


# ---- data info ------------------------------------------------------------------------------------------------------


def test_data_info_tells_every_clip_and_what_is_refused(poses):
    bad = [name for name in spoil(poses) if name != "cc_shoulders.npz"]  # shoulders matter to tokenizers only
    result = run("data", "info", poses, code=1)
    rows = {line.split()[0]: line.rstrip() for line in result.stdout.splitlines() if line}
    for name, frames in CLIPS.items():
        assert rows[name].split()[-8:-5] == ["sts56", "1", str(frames)]
        assert rows[name].endswith("ok")
    for name in bad:
        assert rows[name].endswith("refused")
        assert re.search(rf"^refused .*{re.escape(name)}: ", result.stdout, re.MULTILINE)
    assert "8 clips: 5 readable" in result.stdout


def test_data_info_as_json(poses, tmp_path):
    result = run("data", "info", poses, poses / "a.pose", "--json")
    rows = json.loads(result.stdout)
    assert [row["id"] for row in rows] == ["a.pose", "b.npz", "more/c.npz", "more/d.pose", "a.pose"]
    assert rows[0]["frames"] == 17
    assert rows[0]["missing_left_hand"] == 0.0
    assert rows[-1]["path"] == str(poses / "a.pose")


def test_data_info_says_what_to_pass(tmp_path):
    np.save(tmp_path / "plain.npy", make_clip(6).values)
    refused = run("data", "info", tmp_path, code=2)
    assert "--skeleton" in refused.stdout
    accepted = run("data", "info", tmp_path, "--skeleton", "sts56")
    assert "1 clips: the file has no frame rate: pass --fps" in accepted.stdout
    assert "frame rate:" not in run("data", "info", tmp_path, "--skeleton", "sts56", "--fps", "25").stdout


# ---- view -----------------------------------------------------------------------------------------------------------


def test_view_shows_each_clip_and_skips_bad_ones(poses, tmp_path):
    spoil(poses)
    page = tmp_path / "view.html"
    run("view", poses, "--output", page, code=1)
    assert [scene["title"] for scene in scenes_of(page)] == sorted([*CLIPS, "more/cc_shoulders.npz"])
    result = run("view", poses / "more", "--output", page, "--max-clips", 1)
    assert "1 scenes of 3" in result.stderr
    assert len(scenes_of(page)) == 1


def test_view_shows_what_a_tokenizer_makes_of_a_clip(tokenizer, loaded, tmp_path):
    clip, page = make_clip(40, fps=50.0), tmp_path / "view.html"
    write_pose(clip, tmp_path / "clip.npz")
    run("view", tmp_path / "clip.npz", "--tokenizer", tokenizer, "--output", page)
    ((original, reconstruction),) = [scene["tracks"] for scene in scenes_of(page)]
    assert (original["label"], reconstruction["label"]) == ("original", "reconstruction")
    assert original["codes"] == [loaded.ids_to_codes(loaded(clip)["input_ids"])[0].tolist()]
    assert original["framesPerCode"] == 8  # four frames at 25 per second are eight at 50
    assert reconstruction["shape"][0] == 20


def test_view_puts_clips_of_one_name_side_by_side(poses, tokenizer, tmp_path):
    codes, page = tmp_path / "codes.jsonl", tmp_path / "view.html"
    run("tokenize", poses, "--tokenizer", tokenizer, "--output", codes)
    run("decode", codes, "--tokenizer", tokenizer, "--output", tmp_path / "decoded")
    write_pose(make_clip(4), poses / "alone.npz")
    result = run("view", poses, tmp_path / "decoded", "--side-by-side", "--output", page)
    assert "1 clips left out" in result.stderr
    assert [[track["shape"][0] for track in scene["tracks"]] for scene in scenes_of(page)] == [
        [17, 17],
        [21, 21],
        [30, 30],
        [5, 5],
    ]
    run("view", poses / "a.pose", poses / "b.npz", "--side-by-side", "--output", page)
    assert [track["label"] for track in scenes_of(page)[0]["tracks"]] == ["a.pose", "b.npz"]
    run("view", poses / "a.pose", tmp_path / "decoded" / "a.pose", "--side-by-side", "--output", page)
    labels = [track["label"] for track in scenes_of(page)[0]["tracks"]]
    assert labels == [str(poses / "a.pose"), str(tmp_path / "decoded" / "a.pose")]


@pytest.mark.parametrize(
    "words",
    [
        ["POSES", "--output", "x.pose"],
        ["POSES", "--side-by-side", "--output", "x.html"],
        ["BAD", "--output", "x.html"],
    ],
)
def test_view_writes_nothing_when_it_cannot(words, poses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.npz").write_text("bad")
    before = files_below(tmp_path)
    run("view", *({"POSES": poses, "BAD": "bad.npz"}.get(word, word) for word in words), code=2)
    assert files_below(tmp_path) == before


def test_view_opens_the_page_if_asked(poses, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run("view", poses, "--output", tmp_path / "view.html", "--open")
    assert opened == [(tmp_path / "view.html").as_uri()]


# ---- demo, and the installed program --------------------------------------------------------------------------------


def test_demo_hands_its_options_on(monkeypatch, tmp_path):
    calls = []
    module = types.ModuleType("signllm.demo")
    module.run_demo = lambda **options: calls.append(options) or 1
    monkeypatch.setitem(sys.modules, "signllm.demo", module)
    run("demo", "--output", tmp_path, "--poses", "there", "--minutes", "0.5", "--seed", "3", code=1)
    run("demo", code=1)
    assert calls == [
        {"output": tmp_path, "poses": Path("there"), "minutes": 0.5, "seed": 3},
        {"output": Path("demo_out"), "poses": None, "minutes": 6.0, "seed": 0},
    ]


def test_the_installed_program(poses, tokenizer, tmp_path):
    program = Path(sys.executable).with_name("signllm")
    if not program.exists():
        pytest.skip("the package is not installed beside this interpreter")
    spoil(poses)
    command = [program, "tokenize", poses, "--tokenizer", tokenizer, "--output", tmp_path / "codes.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["skipped"] * 4
    assert lines[-1].endswith("4 clips; 4 skipped")
    assert len(lines_of(tmp_path / "codes.jsonl")) == len(CLIPS)
