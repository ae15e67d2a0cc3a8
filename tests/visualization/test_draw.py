"""Stills and animations: what is drawn is what was seen, and files appear whole or not at all."""

import numpy as np
import pytest

from signllm.models.skeletons import get_skeleton
from signllm.visualization.draw import draw_frame, film_strip, write_animation
from signllm.visualization.view import PARTS, drawn_edges

pytest.importorskip("matplotlib", reason="drawing needs the `video` extra")


def test_bones_join_the_seen_joints(signer):
    pose = signer("openpose50", dims=3)
    ax = draw_frame(pose, 5)
    edges, parts = drawn_edges(get_skeleton("openpose50"))
    for index in range(len(PARTS)):
        wanted = [pose.values[5][edge, :2] for edge in edges[parts == index]]
        drawn = ax.collections[2 * index].get_segments()
        assert len(drawn) == len(wanted)
        for segment, ends in zip(drawn, wanted, strict=True):
            np.testing.assert_allclose(segment, ends)


def test_missing_joints_are_left_out_and_a_missing_hand_is_named(signer):
    skeleton = get_skeleton("sts56")
    pose = signer("sts56")
    hand = list(skeleton.parts["left_hand"])
    pose.values[2, hand] = np.nan
    pose.values[2, skeleton.index("nose")] = np.nan
    ax = draw_frame(pose.replace(), 2)
    segments = np.concatenate([lines.get_segments() for lines in ax.collections[::2] if lines.get_segments()])
    assert np.isfinite(segments).all()
    assert len(ax.collections[2 * PARTS.index("left_hand")].get_segments()) == 0
    assert [text.get_text() for text in ax.texts] == ["left hand not tracked"]


def test_y_points_down(signer):
    bottom, top = draw_frame(signer(), 0).get_ylim()
    assert bottom > top


def test_frames_out_of_range_are_refused(signer):
    with pytest.raises(IndexError, match="12 frames"):
        draw_frame(signer(frames=12), 12)


def test_film_strip_shows_the_same_moments_of_all_poses(signer, tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = film_strip([signer(), signer(seed=1, frames=5)], ["original", "shorter"], tmp_path / "strip.png", frames=3)
    width, height = image.open(path).size
    assert width > height / 2
    assert [file.name for file in tmp_path.iterdir()] == ["strip.png"]


@pytest.mark.parametrize("fps", [24.0, 30.0, 120.0])
def test_gif_keeps_the_length_of_the_clip(signer, tmp_path, fps):
    image = pytest.importorskip("PIL.Image")
    path = write_animation(signer(frames=18, fps=fps), tmp_path / "clip.gif")
    gif = image.open(path)
    shown = []
    for frame in range(gif.n_frames):
        gif.seek(frame)
        shown.append(gif.info["duration"])
    assert min(shown) >= 20
    assert sum(shown) == pytest.approx(1000 * 18 / fps, abs=10)


def test_mp4_keeps_frames_and_rate(signer, tmp_path):
    av = pytest.importorskip("av")
    path = write_animation([signer(frames=10), signer(frames=6, seed=1)], tmp_path / "clip.mp4", ["a", "b"])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert sum(1 for _ in container.decode(video=0)) == 10
        assert float(stream.average_rate) == 25
        assert (stream.width % 2, stream.height % 2) == (0, 0)


def test_pictures_move(signer, tmp_path):
    av = pytest.importorskip("av")
    path = write_animation(signer(frames=6), tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        first, *_, last = (frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0))
    assert np.abs(first - last).max() > 100
    assert (first < 200).mean() > 0.005  # not an empty picture


@pytest.mark.parametrize("name", ["clip.webm", "clip", "clip.png"])
def test_unknown_suffix_is_refused_and_nothing_written(signer, tmp_path, name):
    with pytest.raises(ValueError, match=r"\.gif or \.mp4"):
        write_animation(signer(), tmp_path / name)
    with pytest.raises(ValueError, match=r"\.png or \.svg or \.pdf"):
        film_strip([signer()], ["a"], tmp_path / "strip.bmp")
    assert not list(tmp_path.iterdir())


def test_labels_must_match(signer, tmp_path):
    with pytest.raises(ValueError, match="1 labels for 2 poses"):
        film_strip([signer(), signer()], ["a"], tmp_path / "strip.png")
    with pytest.raises(ValueError, match="no poses"):
        write_animation([], tmp_path / "clip.gif")


def test_a_failed_write_leaves_the_old_file(signer, tmp_path, monkeypatch):
    path = tmp_path / "clip.gif"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("signllm.visualization.draw._write_gif", fail)
    with pytest.raises(OSError, match="disk full"):
        write_animation(signer(), path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["clip.gif"]
