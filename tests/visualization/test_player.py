"""The HTML player: its data comes back exactly enough, its labels are inert, it needs nothing but itself."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.models.poses import Pose, PoseError
from signllm.models.skeletons import get_skeleton
from signllm.visualization.player import Scene, Track, json_for_html, player_html, write_player

HOSTILE = "</script><img src=x onerror=alert(1)><!--\"'&\u2028"


class Elements(HTMLParser):
    """Collects the elements of a page as a browser would see them: script contents are not markup."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize(("skeleton", "dims"), [("sts56", 2), ("openpose50", 3), ("asl42", 2), ("holistic_178", 3)])
def test_coordinates_come_back_within_a_step(signer, read_page, skeleton, dims):
    pose = signer(skeleton, frames=30, dims=dims)
    track = read_page(player_html([Scene([Track(pose, "original")])]))["scenes"][0]["tracks"][0]
    assert track["shape"] == list(pose.values.shape)
    assert track["fps"] == pose.fps
    assert np.abs(track["values"] - pose.values).max() <= 0.51 * track["step"]
    assert track["step"] < 600 / 7000  # under a tenth of a pixel for a signer of 500 pixels


@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 9),
    dims=st.sampled_from([2, 3]),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0),
)
def test_any_pattern_of_missing_joints_comes_back(read_page, frames, dims, scale, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, scale, (frames, 21, dims)).astype(np.float32)
    values[rng.random((frames, 21)) < rng.random()] = np.nan
    page = player_html([Scene([Track(Pose(values, None, 25, "hand21", "arbitrary"), "a")])])
    back = read_page(page)["scenes"][0]["tracks"][0]
    np.testing.assert_array_equal(np.isnan(back["values"]), np.isnan(values))
    inside = np.abs(values - np.array(back["center"][:dims])) < 3.9 * max(back["view"])
    assert np.all(np.abs(back["values"] - values)[inside] <= 0.51 * back["step"] + 1e-6 * scale)


def test_wild_coordinates_are_clipped_far_outside_the_window(signer, read_page):
    pose = signer(frames=60)
    values = pose.values.copy()
    values[3, 10] = 9e5
    track = read_page(player_html([Scene([Track(pose.replace(values=values), "a")])]))["scenes"][0]["tracks"][0]
    assert max(track["view"]) < 1000  # one wild frame does not shrink the signer
    assert np.all(track["values"][3, 10] > 2 * max(track["view"]))


def test_a_clip_without_any_tracked_joint_is_shown_empty(signer, read_page):
    pose = signer(frames=4)
    pose = pose.replace(values=np.full_like(pose.values, np.nan))
    track = read_page(player_html([Scene([Track(pose, "lost")])]))["scenes"][0]["tracks"][0]
    assert np.isnan(track["values"]).all()
    assert min(track["view"]) > 0


def test_labels_are_inert(signer, read_page):
    scene = Scene([Track(signer(), HOSTILE, caption=HOSTILE)], title=HOSTILE, note=HOSTILE)
    page = player_html([scene], title=HOSTILE)
    elements = Elements(page)
    assert not elements.named("img")
    assert len(elements.named("script")) == 2
    assert "<!--" not in page
    data = read_page(page)["scenes"][0]
    assert (data["title"], data["note"], data["tracks"][0]["label"], data["tracks"][0]["caption"]) == (HOSTILE,) * 4


@given(st.text())
def test_json_never_closes_its_element(text):
    written = json_for_html({"label": text})
    assert "<" not in written
    assert ">" not in written


def test_page_asks_nothing_of_the_network(signer):
    page = player_html([Scene([Track(signer(), "original")])])
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", page)
    for tag, attributes in Elements(page).found:
        assert not {"src", "href"} & attributes.keys(), f"{tag} refers to something outside"
    (policy,) = [m["content"] for m in Elements(page).named("meta") if m.get("http-equiv")]
    assert "default-src 'none'" in policy


def test_sixty_clips_stay_well_under_two_megabytes(signer):
    scenes = [
        Scene([Track(signer("sts56", frames=60, dims=3, seed=index), "clip", codes=np.arange(15))])
        for index in range(60)
    ]
    assert len(player_html(scenes)) < 1_500_000


def test_codes_of_every_form_are_embedded(signer, read_page):
    tracks = [
        Track(signer(), "one codebook", codes=np.array([3, 1, 2]), frames_per_code=4),
        Track(signer(), "residual", codes=np.array([[3, 1, 2], [7, -1, 9]]), frames_per_code=4),
        Track(signer(), "none"),
        Track(signer(), "empty", codes=np.array([])),
    ]
    embedded = read_page(player_html([Scene(tracks)]))["scenes"][0]["tracks"]
    assert [track["codes"] for track in embedded] == [[[3, 1, 2]], [[3, 1, 2], [7, -1, 9]], None, [[]]]
    assert embedded[0]["framesPerCode"] == 4


@pytest.mark.parametrize("codes", [np.array([0.5, 1]), np.zeros((2, 3, 4), int), np.array(3), np.array(["a"])])
def test_wrong_codes_are_refused(signer, codes):
    with pytest.raises(ValueError, match="codes must be integers"):
        Track(signer(), "a", codes=codes)


@pytest.mark.parametrize("length", [0, -1, np.nan, np.inf])
def test_wrong_code_length_is_refused(signer, length):
    with pytest.raises(ValueError, match="frames_per_code"):
        Track(signer(), "a", codes=np.array([1]), frames_per_code=length)


def test_wrong_number_of_joints_is_refused(signer):
    with pytest.raises(PoseError, match=r"clip\.pose.*21 joints.*56"):
        Track(signer("sts56").replace(skeleton="hand21", source="clip.pose"), "a")


def test_nothing_to_show_is_refused(signer, tmp_path):
    with pytest.raises(ValueError, match="no tracks"):
        Scene([], "empty")
    with pytest.raises(ValueError, match="no scenes"):
        write_player(tmp_path / "page.html", [])
    assert not list(tmp_path.iterdir())


def test_write_player_replaces_a_file_whole(signer, tmp_path):
    path = tmp_path / "new" / "page.html"
    write_player(path, [Scene([Track(signer(), "first")])])
    write_player(path, [Scene([Track(signer(), "second")])])
    assert '"second"' in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_half_characters_of_odd_file_names_do_not_stop_the_page(signer, tmp_path):
    path = write_player(tmp_path / "page.html", [Scene([Track(signer(), "\udcff.pose")])], title="\udcff.pose")
    assert "<title>?.pose</title>" in path.read_text(encoding="utf-8")


def test_page_runs_in_a_browser(signer, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine to load the page in")
    lost = signer("openpose50", dims=3)
    lost.values[:, list(get_skeleton("openpose50").parts["right_hand"])] = np.nan
    scenes = [
        Scene([Track(signer(), HOSTILE, codes=np.arange(6).reshape(2, 3), frames_per_code=4), Track(signer(), "b")]),
        Scene([Track(lost.replace(), "three-dimensional")]),
    ]
    path = write_player(tmp_path / "page.html", scenes)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--window-size=900,1600"]
    run = subprocess.run(
        [browser, *flags, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    (document,) = Elements(run.stdout).named("html")
    assert document.get("data-ready") == "true"
    assert "data-error" not in document
    assert "CONSOLE" not in run.stderr
    assert run.stdout.count('data-drawn="true"') == 2
    assert "right hand not tracked" in run.stdout
    assert "left hand not tracked" not in run.stdout
    assert not Elements(run.stdout).named("img")
