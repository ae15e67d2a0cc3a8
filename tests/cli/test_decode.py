"""`signllm decode`: clips come back in their place; whatever a file of codes holds, nothing crashes or escapes."""

import json
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm import SignVQModel, SignVQTokenizer, read_pose
from signllm.cli.code_files import parse_line, safe_path
from signllm.cli.inputs import load_tokenizer
from signllm.models.tokenization_sign_codec import ClipGeometry
from tests.cli.conftest import CLIPS, files_below, lines_of, run, scenes_of
from tests.models.conftest import tiny_config


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
    assert "holds openpose50 in 3-D, and this tokenizer gives sts56 in 2-D" in result.stderr
    assert not output.exists()


def test_skels_of_a_tokenizer_that_fits(tmp_path):
    sizes = {"skeleton": "openpose50", "quantizer": "lfq", "codebook_size": 16}
    SignVQTokenizer.from_codec(SignVQModel(tiny_config(**sizes))).save_pretrained(tmp_path / "tokenizer")
    command = ["decode", "--ids", "<sign_1><sign_2>", "--tokenizer", tmp_path / "tokenizer", "--output", tmp_path]
    run(*command, "--format", "skels")
    assert read_pose(tmp_path / "clip.skels").values.shape == (8, 50, 3)


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
GEOMETRY = st.fixed_dictionaries(dict.fromkeys(("origin", "scale", "fps", "num_frames", "units"), JSON))


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries({}, optional={"id": JSON, "ids": JSON, "codes": JSON, "geometry": JSON | GEOMETRY}) | JSON,
    st.booleans(),
)
def test_any_line_gives_valid_ids_or_a_reason(loaded, loaded_residual, entry, several):
    tokenizer = loaded_residual if several else loaded
    try:
        clip = parse_line(json.dumps(entry), 1, tokenizer)
    except ValueError:  # and nothing else
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
    # "", "." and "/" all mean `clip`, and a backslash is a slash; nothing else shares a file.
    assert result.stderr.count("is there already") == 3
    assert len(inside) == len(HOSTILE_IDS) - 3


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


@pytest.mark.parametrize("clip_id", ["a", "talk/1", "corpus/dev/clip-7_b.2"])
def test_plain_ids_keep_their_path(clip_id):
    assert str(safe_path(clip_id)) == str(safe_path(f"{clip_id}.pose")) == clip_id


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
