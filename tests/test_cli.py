"""The command line: bad files are told and skipped, nothing is half written, stopped runs go on, exit codes are true."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from signllm import Pose, SignVQTokenizer, read_pose, write_pose
from signllm.cli import app
from signllm.cli import tokenize as tokenize_module
from signllm.cli.code_files import parse_line, safe_path
from signllm.cli.console import for_shell, plain
from signllm.cli.inputs import find_clips, fingerprint, load_tokenizer
from signllm.models.tokenization_sign_codec import ClipGeometry
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


def spoil(poses: Path) -> list[str]:
    """Add files that cannot be used, each in a way of its own; returns what the messages must name."""
    (poses / "aa_cut.pose").write_bytes((poses / "a.pose").read_bytes()[:200])
    (poses / "bb_text.npz").write_text("not an archive")
    write_pose(without_shoulders(), poses / "more" / "cc_shoulders.npz")
    np.savez(poses / "dd_empty.npz", values=np.zeros((0, 56, 2), np.float32), fps=25.0, skeleton="sts56")
    return ["aa_cut.pose", "bb_text.npz", "cc_shoulders.npz", "dd_empty.npz"]


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


# ---- tokenize -------------------------------------------------------------------------------------------------------


def test_tokenize_writes_what_the_tokenizer_says(poses, any_tokenizer, tmp_path):
    output = tmp_path / "made" / "codes.jsonl"
    run("tokenize", poses, "--tokenizer", any_tokenizer, "--output", output, "--batch-size", 3)
    tokenizer = load_tokenizer(str(any_tokenizer))
    entries = {entry["id"]: entry for entry in lines_of(output)}
    assert set(entries) == set(CLIPS)
    assert files_below(output.parent) == {"codes.jsonl"}
    for name, entry in entries.items():
        pose = read_pose(poses / name)
        expected = tokenizer(pose, return_geometry=True)
        codes, dropped = tokenizer.ids_to_codes(expected["input_ids"])
        assert entry["ids"] == expected["input_ids"]
        assert entry["codes"] == codes.tolist()
        assert dropped == 0
        assert (entry["frames"], entry["fps"], entry["source"]) == (len(pose), pose.fps, str(poses / name))
        geometry = expected["geometry"]
        assert entry["geometry"] == {**dataclasses.asdict(geometry), "origin": geometry.origin.tolist()}


def test_tokenize_text_has_the_tokens_of_each_clip(poses, tokenizer, loaded, tmp_path):
    output = tmp_path / "codes.txt"
    run("tokenize", poses, "--tokenizer", tokenizer, "--output", output, "--format", "text")
    rows = dict(line.split("\t") for line in output.read_text().splitlines())
    assert set(rows) == set(CLIPS)
    for name, tokens in rows.items():
        ids = loaded(read_pose(poses / name))["input_ids"]
        assert loaded.convert_tokens_to_ids(loaded.tokenize(tokens)) == ids
    assert not (tmp_path / "codes.txt.part").exists()


def test_bad_files_are_told_and_skipped_and_the_rest_is_done(poses, tokenizer, tmp_path):
    bad, output = spoil(poses), tmp_path / "codes.jsonl"
    result = run("tokenize", poses, "--tokenizer", tokenizer, "--output", output, code=1)
    assert {entry["id"] for entry in lines_of(output)} == set(CLIPS)
    skipped = [line for line in result.stderr.splitlines() if line.startswith("skipped")]
    assert len(skipped) == len(bad)
    for name in bad:
        assert sum(name in line for line in skipped) == 1
    assert "4 clips; 4 skipped" in result.stderr


def test_nothing_usable_writes_nothing(tmp_path, tokenizer):
    folder = tmp_path / "poses"
    folder.mkdir()
    write_pose(without_shoulders(), folder / "a.npz")
    run("tokenize", folder, "--tokenizer", tokenizer, "--output", tmp_path / "out" / "codes.jsonl", code=2)
    assert files_below(tmp_path) == {"poses/a.npz"}


def test_an_output_is_not_replaced_unless_asked(poses, tokenizer, tmp_path):
    output = tmp_path / "codes.jsonl"
    output.write_text("precious")
    command = ["tokenize", poses, "--tokenizer", tokenizer, "--output", output]
    assert "--overwrite replaces it" in run(*command, code=2).stderr
    assert output.read_text() == "precious"
    run(*command, "--overwrite")
    assert len(lines_of(output)) == len(CLIPS)


@pytest.mark.parametrize("stop", [RuntimeError("power cut"), KeyboardInterrupt()])
@pytest.mark.parametrize("file_format", ["jsonl", "text"])
def test_a_stopped_run_goes_on(poses, tokenizer, tmp_path, monkeypatch, stop, file_format):
    whole, output = tmp_path / "whole", tmp_path / "codes"
    part = tmp_path / "codes.part"
    options = ["--tokenizer", tokenizer, "--format", file_format, "--batch-size", 2]
    run("tokenize", poses, *options, "--output", whole)

    encode, encoded = tokenize_module._encode, []

    def stopping(clips, *rest):
        if encoded:
            raise stop
        encoded.extend(clips)
        return encode(clips, *rest)

    monkeypatch.setattr("signllm.cli.tokenize._encode", stopping)
    result = CliRunner().invoke(app, [str(word) for word in ["tokenize", poses, *options, "--output", output]])
    assert result.exit_code != 0
    assert not output.exists()
    assert len(lines_of(part)) == 2
    with part.open("a") as stream:
        stream.write('{"id":"more/c.npz","ids":[1,')  # the line that it was writing

    again = []

    def recording(clips, *rest):
        again.extend(ref.id for ref, _ in clips)
        return encode(clips, *rest)

    monkeypatch.setattr("signllm.cli.tokenize._encode", recording)
    assert "--resume goes on" in run("tokenize", poses, *options, "--output", output, code=2).stderr
    assert "4 clips, 2 of them before" in run("tokenize", poses, *options, "--output", output, "--resume").stderr
    assert sorted(again) == sorted(set(CLIPS) - {ref.id for ref, _ in encoded})
    assert output.read_bytes() == whole.read_bytes()
    assert not part.exists()


def test_resume_adds_clips_that_came_later(poses, tokenizer, tmp_path):
    output = tmp_path / "codes.jsonl"
    command = ["tokenize", poses, "--tokenizer", tokenizer, "--output", output, "--resume"]
    run(*command)
    before = output.read_bytes()
    run(*command)
    assert output.read_bytes() == before
    write_pose(make_clip(11, seed=9), poses / "new.npz")
    run(*command)
    assert output.read_bytes().startswith(before)
    assert [entry["id"] for entry in lines_of(output)][-1] == "new.npz"


def test_resume_refuses_codes_of_another_tokenizer_and_damaged_lines(poses, tokenizer, tmp_path, any_tokenizer):
    part = tmp_path / "codes.jsonl.part"
    command = ["tokenize", poses, "--tokenizer", tokenizer, "--output", tmp_path / "codes.jsonl"]
    part.write_text('{"id":"b.npz","tokenizer":"000000000000"}\n')
    assert "begun with another tokenizer" in run(*command, "--resume", code=2).stderr
    part.write_bytes(b"\0\0\0\0\n")
    assert "line 1: not a line of codes" in run(*command, "--resume", code=2).stderr
    run(*command, "--overwrite")
    assert not part.exists()


def test_fingerprints_tell_tokenizers_apart(loaded, tokenizer):
    assert fingerprint(loaded) == fingerprint(load_tokenizer(str(tokenizer)))
    other = SignVQTokenizer.from_codec(trained(tiny_config(), steps=5))
    assert fingerprint(loaded) != fingerprint(other)
    shifted = SignVQTokenizer.from_codec(trained(tiny_config(fps=30.0)))
    assert fingerprint(loaded) != fingerprint(shifted)


def test_clips_of_several_paths_have_ids_of_their_own(tmp_path):
    for name in ("one/a.npz", "two/a.npz", "two/b.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_pose(make_clip(4), tmp_path / name)
    refs = find_clips([tmp_path / "one", tmp_path / "two", tmp_path / "two" / "b.npz"])
    assert [ref.id for ref in refs] == [f"{tmp_path}/one/a.npz", f"{tmp_path}/two/a.npz", "b.npz"]


# ---- decode ---------------------------------------------------------------------------------------------------------


def test_clips_come_back_as_the_tokenizer_decodes_them(poses, any_tokenizer, tmp_path):
    codes, output = tmp_path / "codes.jsonl", tmp_path / "decoded"
    run("tokenize", poses, "--tokenizer", any_tokenizer, "--output", codes)
    run("decode", codes, "--tokenizer", any_tokenizer, "--output", output, "--format", "npz")
    assert files_below(output) == {"a.npz", "b.npz", "more/c.npz", "more/d.npz"}
    tokenizer = load_tokenizer(str(any_tokenizer))
    for entry in lines_of(codes):
        encoded = tokenizer(read_pose(poses / entry["id"]), return_geometry=True)
        expected = tokenizer.decode_pose(encoded["input_ids"], encoded["geometry"])
        found = read_pose(output / PurePosixPath(entry["id"]).with_suffix(".npz"))
        np.testing.assert_array_equal(found.values, expected.values)
        assert (len(found), found.fps, found.units) == (CLIPS[entry["id"]], expected.fps, "pixels")


def test_codes_decode_like_ids(poses, any_tokenizer, tmp_path):
    codes, stripped = tmp_path / "codes.jsonl", tmp_path / "stripped.jsonl"
    run("tokenize", poses, "--tokenizer", any_tokenizer, "--output", codes)
    entries = [{key: entry[key] for key in ("id", "codes", "geometry")} for entry in lines_of(codes)]
    stripped.write_text("\n".join(map(json.dumps, entries)))
    for file, folder in ((codes, "by_ids"), (stripped, "by_codes")):
        run("decode", file, "--tokenizer", any_tokenizer, "--output", tmp_path / folder, "--format", "npz")
    for name in files_below(tmp_path / "by_ids"):
        assert (tmp_path / "by_ids" / name).read_bytes() == (tmp_path / "by_codes" / name).read_bytes()


@pytest.mark.parametrize("file_format", ["pose", "html"])
def test_other_formats(poses, tokenizer, tmp_path, file_format):
    codes, output = tmp_path / "codes.jsonl", tmp_path / "decoded"
    run("tokenize", poses, "--tokenizer", tokenizer, "--output", codes)
    run("decode", codes, "--tokenizer", tokenizer, "--output", output, "--format", file_format)
    assert files_below(output) == {str(PurePosixPath(name).with_suffix(f".{file_format}")) for name in CLIPS}
    if file_format == "pose":
        assert len(read_pose(output / "more" / "c.pose")) == CLIPS["more/c.npz"]
    else:
        assert scenes_of(output / "more" / "c.html")[0]["tracks"][0]["codes"][0] == lines_of(codes)[2]["codes"]


def test_a_format_that_cannot_hold_the_clips_is_told(poses, tokenizer, tmp_path):
    codes, output = tmp_path / "codes.jsonl", tmp_path / "decoded"
    run("tokenize", poses, "--tokenizer", tokenizer, "--output", codes)
    result = run("decode", codes, "--tokenizer", tokenizer, "--output", output, "--format", "skels", code=2)
    assert "holds openpose50 in 3-D, got sts56" in result.stderr
    assert not output.exists() or files_below(output) == set()


def test_lines_that_cannot_be_used_are_told_by_number(tokenizer, tmp_path):
    codes, output = tmp_path / "codes.jsonl", tmp_path / "decoded"
    geometry = {"origin": [1.0, 2.0], "scale": 3.0, "fps": 25.0, "num_frames": 5, "units": "pixels"}
    bad_geometry = [
        {**geometry, "origin": [1.0]},
        {**geometry, "origin": "here"},
        {**geometry, "scale": 0},
        {**geometry, "num_frames": 2.5},
        {**geometry, "units": None},
        {"origin": [1.0, 2.0]},
        7,
    ]
    lines = [
        '{"id":"good","ids":[1,2]}',
        "",
        "{not json",
        "[1,2]",
        '{"id":"x","ids":7}',
        '{"id":"x"}',
        '{"id":["x"],"ids":[1]}',
        '{"id":"none left","ids":[99999,-1,"a",null,true,1e400,{}]}',
        '{"id":"good","ids":[3]}',
        "[" * 100_000,
        *(json.dumps({"id": "g", "ids": [1], "geometry": entry}) for entry in bad_geometry),
        json.dumps({"id": "placed", "ids": [1, 2, 3], "geometry": geometry}),
    ]
    codes.write_text("\n".join(lines))
    result = run("decode", codes, "--tokenizer", tokenizer, "--output", output, "--format", "npz", code=1)
    told = [int(number) for number in re.findall(r"^skipped .*?, line (\d+): ", result.stderr, re.MULTILINE)]
    assert told == list(range(3, len(lines)))
    assert "line 9: clip 'good' is there already" in result.stderr
    assert files_below(output) == {"good.npz", "placed.npz"}
    assert read_pose(output / "good.npz").units == "shoulder_widths"
    assert len(read_pose(output / "placed.npz")) == 5


def test_ill_formed_ids_are_dropped_and_counted(tokenizer, loaded, tmp_path):
    codes, output = tmp_path / "codes.jsonl", tmp_path / "decoded"
    codes.write_text('{"id":"a","ids":[16,5,99999,"b",6,-4,null,7,17]}\n{"id":"b","codes":[5,77,6,7.0]}\n')
    result = run("decode", codes, "--tokenizer", tokenizer, "--output", output, "--format", "npz")
    assert "4 of 7 ids of clip 'a' do not form sign codes" in result.stderr
    assert "2 of 4 ids of clip 'b'" in result.stderr
    assert "6 ids dropped" in result.stderr
    np.testing.assert_array_equal(read_pose(output / "a.npz").values, loaded.decode_pose([5, 6, 7]).values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-2, 60) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)
GEOMETRY = st.fixed_dictionaries({key: JSON for key in ("origin", "scale", "fps", "num_frames", "units")})


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries({}, optional={"id": JSON, "ids": JSON, "codes": JSON, "geometry": JSON | GEOMETRY}) | JSON,
    st.booleans(),
)
def test_any_line_gives_valid_ids_or_a_reason(loaded, loaded_residual, entry, several):
    tokenizer = loaded_residual if several else loaded
    try:
        clip = parse_line(json.dumps(entry), 1, tokenizer)
    except ValueError as error:
        assert str(error)
        return
    codes, dropped = tokenizer.ids_to_codes(clip.ids)
    assert dropped == 0
    assert codes.size == len(clip.ids)
    assert clip.dropped >= 0
    assert clip.geometry is None or isinstance(clip.geometry, ClipGeometry)


HOSTILE_IDS = [
    "../../x",
    "..\\..\\x",
    "/abs/x",
    "C:\\x",
    "a/../../../x",
    "..",
    ".",
    "",
    "/",
    ".hidden",
    "x\0y",
    "x\ny",
    "x" * 500,
    "\u540d\u524d/\u00e9",
    "\ud800",
    "a/b.pose/",
]


def test_ids_never_lead_out_of_the_folder(tokenizer, tmp_path):
    codes, output = tmp_path / "codes.jsonl", tmp_path / "deep" / "decoded"
    codes.write_text("\n".join(json.dumps({"id": clip_id, "ids": [1, 2]}) for clip_id in HOSTILE_IDS))
    result = run("decode", codes, "--tokenizer", tokenizer, "--output", output, code=1)
    inside = {f"deep/decoded/{name}" for name in files_below(output)}
    assert files_below(tmp_path) == {"codes.jsonl", *inside}
    # "", ".", and "/" all mean `clip`; nothing else shares a file.
    assert result.stderr.count("is there already") == 2
    assert len(inside) == len(HOSTILE_IDS) - 2


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["..", ".", "/", "\\", "a", ".pose", "#"]), max_size=8).map("".join)
)
def test_safe_paths_are_plain_and_relative(clip_id):
    path = safe_path(clip_id)
    assert not path.is_absolute()
    assert path.parts
    for part in path.parts:
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", part)
        assert len(part) < 200
    assert safe_path(str(path)) == path or path.name.count(".")  # what is safe is left alone


def test_links_in_the_folder_lead_nowhere(tokenizer, tmp_path):
    codes, output, outside = tmp_path / "codes.jsonl", tmp_path / "decoded", tmp_path / "outside"
    output.mkdir()
    outside.mkdir()
    (output / "link").symlink_to(outside, target_is_directory=True)
    codes.write_text('{"id":"link/x","ids":[1]}\n{"id":"y","ids":[1]}\n')
    assert "through a link" in run("decode", codes, "--tokenizer", tokenizer, "--output", output, code=1).stderr
    assert files_below(outside) == set()
    assert (output / "y.pose").is_file()


def test_decoding_does_not_replace_the_originals(poses, tokenizer, tmp_path):
    codes = tmp_path / "codes.jsonl"
    run("tokenize", poses, "--tokenizer", tokenizer, "--output", codes)
    before = (poses / "a.pose").read_bytes()
    command = ["decode", codes, "--tokenizer", tokenizer, "--output", poses]
    assert run(*command, code=1).stderr.count("exists already") == 2  # b and c were npz
    assert (poses / "a.pose").read_bytes() == before
    run(*command, "--overwrite")
    assert (poses / "a.pose").read_bytes() != before


def test_tokens_typed_by_hand(tokenizer, loaded, tmp_path):
    command = ["decode", "--tokenizer", tokenizer, "--output", tmp_path, "--format", "npz"]
    result = run(*command, "--ids", "<sign_start><sign_3> <sign_1><sign_99> what <sign_2><sign_end>")
    assert "2 ids dropped" in result.stderr
    found = read_pose(tmp_path / "clip.npz")
    np.testing.assert_array_equal(found.values, loaded.decode_pose("<sign_3><sign_1><sign_2>").values)
    run(*command, "--ids", "nothing", code=2)


@pytest.mark.parametrize("words", [[], ["codes.jsonl", "--ids", "<sign_1>"], ["missing.jsonl"]])
def test_decode_wants_one_file_or_tokens(words, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("codes.jsonl").write_text("")
    assert "error: " in run("decode", *words, "--tokenizer", tokenizer, "--output", "out", code=2).stderr
    assert not Path("out").exists()


def test_codes_of_another_tokenizer_are_warned_of(tokenizer, tmp_path):
    codes = tmp_path / "codes.jsonl"
    codes.write_text('{"id":"a","ids":[1],"tokenizer":"000000000000"}\n{"id":"b","ids":[1]}\n')
    result = run("decode", codes, "--tokenizer", tokenizer, "--output", tmp_path / "decoded")
    assert "1 clips were tokenized by another tokenizer" in result.stderr


# ---- data info ------------------------------------------------------------------------------------------------------


def test_data_info_tells_every_clip_and_what_is_refused(poses):
    bad = [name for name in spoil(poses) if name != "cc_shoulders.npz"]  # shoulders matter to tokenizers only
    result = run("data", "info", poses, code=1)
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    for name, frames in CLIPS.items():
        assert rows[name].split()[-8:][:3] == ["sts56", "1", str(frames)]
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


def scenes_of(page: Path) -> list[dict]:
    text = page.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="signllm-data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)["scenes"]


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
    assert [track["label"] for track in scenes_of(page)[0]["tracks"]] == [str(poses / "a.pose"), str(poses / "b.npz")]


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
        {"output": Path("demo_out"), "poses": None, "minutes": 4.0, "seed": 0},
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
