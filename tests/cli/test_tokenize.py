"""`signllm tokenize`: bad files are told and skipped, nothing is half written, a stopped run goes on."""

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from signllm import Pose, SignVQTokenizer, read_pose, write_pose
from signllm.cli import app
from signllm.cli import tokenize as tokenize_module
from signllm.cli.inputs import find_clips, fingerprint, load_tokenizer
from tests.cli.conftest import CLIPS, files_below, lines_of, make_clip, run, spoil, without_shoulders
from tests.models.conftest import tiny_config, trained


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


def test_fractions_of_a_wide_image_become_square_pixels(tokenizer, tmp_path):
    """The same signing as fractions of a 16:9 image and as pixels gives the same tokens, once the size is told."""
    values = np.random.default_rng(0).normal(0, 30, (12, 56, 2)) + 300
    values[:, 2], values[:, 5] = (250, 300), (350, 300)
    seen = np.ones((12, 56))
    pixels, fractions = tmp_path / "pixels.npz", tmp_path / "fractions.npz"
    write_pose(Pose(values, seen, 25, "sts56"), pixels)
    write_pose(Pose(values / [1280, 720], seen, 25, "sts56", units="normalized"), fractions)
    entries = []
    for path, options in ((pixels, ()), (fractions, ("--image-size", "1280", "720")), (fractions, ())):
        output = tmp_path / f"{len(entries)}.jsonl"
        run("tokenize", path, "--tokenizer", tokenizer, "--output", output, *options)
        entries += lines_of(output)
    assert entries[0]["codes"] == entries[1]["codes"]
    assert [entry["geometry"]["units"] for entry in entries] == ["pixels", "pixels", "normalized"]
    assert [entry["geometry"]["scale"] for entry in entries] == pytest.approx([100, 100, 100 / 1280], rel=1e-4)
