import csv
import json
from dataclasses import replace
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signllm.data.synthetic import CHARACTERS, FingerspellingCorpus, ProceduralSigner, render_fingerspelling
from signllm.data.synthetic.body import two_link_arm
from signllm.data.synthetic.hand import hand_points, load_handshapes, turn_matrix
from signllm.data.synthetic.motion import bursts, correlated_noise, follow_keys, minimum_jerk
from signllm.data.synthetic.tracker import Camera
from signllm.models.poses import PoseError
from signllm.models.skeletons import SKELETON_NAMES, get_skeleton

STILL_LETTERS = "abcdefghiklmnopqrstuvwxy"


@pytest.fixture(scope="module")
def signer() -> ProceduralSigner:
    return ProceduralSigner(seed=7)


def assert_same_clip(a, b) -> None:
    np.testing.assert_array_equal(a.pose.values, b.pose.values)
    np.testing.assert_array_equal(a.pose.confidence, b.pose.confidence)
    assert (a.text, a.signer, a.letter_spans) == (b.text, b.signer, b.letter_spans)


# --- hand and movement ----------------------------------------------------------------------------------------------


def test_the_character_set_is_the_59_of_fingerspelling_corpora():
    assert len(CHARACTERS) == 59
    assert CHARACTERS.startswith(" !")
    assert CHARACTERS.endswith("xyz~")
    assert set("jz") < {c for c, shape in load_handshapes().items() if len(shape.motion)}
    assert not any(len(load_handshapes()[c].motion) for c in STILL_LETTERS)


def test_handshape_file_says_what_it_is():
    about = json.loads(resources.files("signllm.data.synthetic").joinpath("handshapes.json").read_text())["about"]
    assert "not attested ASL" in about


def test_rest_posture_of_the_hand_follows_its_conventions():
    points = hand_points(np.zeros(24))
    assert points[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(np.linalg.norm(points[9]), 1, atol=1e-3)  # the palm is the unit
    assert points[12, 1] > points[9, 1] > 0  # fingers up
    assert points[2, 0] > 0 > points[17, 0]  # thumb at the viewer's right
    bent = np.zeros(24)
    bent[4] = 90  # middle finger at the knuckle
    assert hand_points(bent)[12, 2] > 1  # towards the palm's side, which faces the viewer


@pytest.mark.parametrize(
    ("turn", "moved", "to"),
    [((90, 0, 0), (0, 0, 1), (1, 0, 0)), ((0, 90, 0), (0, 1, 0), (0, 0, 1)), ((0, 0, 90), (1, 0, 0), (0, 1, 0))],
)
def test_turns_have_the_documented_sense(turn, moved, to):
    np.testing.assert_allclose(turn_matrix(np.deg2rad(turn)) @ moved, to, atol=1e-12)


def test_minimum_jerk_starts_and_ends_at_rest():
    step = 1e-3
    phase = np.arange(-0.1, 1.1, step)
    profile = minimum_jerk(phase)
    speed, acceleration = np.gradient(profile, step), np.gradient(np.gradient(profile, step), step)
    for end in (0.0, 1.0):
        at = np.argmin(abs(phase - end))
        assert abs(profile[at] - end) < 1e-6
        assert abs(speed[at]) < 1e-4
        assert abs(acceleration[at]) < 0.1  # peak is 5.8
    np.testing.assert_allclose(minimum_jerk(1 - phase), 1 - profile, atol=1e-12)
    assert (np.diff(profile) >= 0).all()
    np.testing.assert_allclose(speed.max(), 15 / 8, atol=1e-3)  # the known peak of the profile


def test_following_keys_visits_them_and_blends_overlaps():
    keys = np.array([[0.0, 0.0], [1.0, 2.0], [5.0, -1.0]])
    begins, ends = np.array([[0.0, 2.0]]), np.array([[1.0, 3.0]])
    path = follow_keys(keys, begins, ends, (slice(0, 2),), np.array([0.0, 1.5, 4.0]))
    np.testing.assert_allclose(path, keys, atol=1e-6)
    rushed = follow_keys(keys, begins, ends + np.array([[1.5, 0]]), (slice(0, 2),), np.array([1.5, 4.0]))
    assert rushed[0, 0] < 0.95  # does not reach the key before it leaves for the next
    np.testing.assert_allclose(rushed[1], keys[-1], atol=1e-6)


def test_correlated_noise_has_unit_variance_and_the_asked_memory():
    noise = correlated_noise(np.random.default_rng(0), (4000, 50), 0.7)
    assert abs(noise.var() - 1) < 0.02
    assert abs((noise[1:] * noise[:-1]).mean() - 0.7) < 0.02
    assert abs((noise[5:] * noise[:-5]).mean() - 0.7**5) < 0.02


def test_bursts_are_geometric_runs():
    lost = bursts(np.random.default_rng(0), np.full(200_000, 0.002), 8.0)
    edges = np.diff(np.concatenate([[0], lost.astype(int), [0]]))
    runs = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    assert abs(runs.mean() - 8) < 1
    assert abs(runs.std() - 8) < 1.5  # a geometric length deviates by about its mean
    assert not bursts(np.random.default_rng(0), np.zeros(50), 8.0).any()


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_two_link_arm_keeps_its_bones_for_any_target(target):
    shoulder = np.zeros((1, 3))
    elbow, wrist = two_link_arm(shoulder, np.array([target]), np.array([-0.5, -0.8, -0.3]), 0.26, 0.25)
    if np.linalg.norm(target) > 1e-3:
        np.testing.assert_allclose(np.linalg.norm(elbow), 0.26, rtol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(wrist - elbow), 0.25, rtol=1e-6)
    if 0.05 < np.linalg.norm(target) < 0.5:
        np.testing.assert_allclose(wrist[0], target, atol=1e-9)


# --- clips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skeleton", SKELETON_NAMES)
def test_every_skeleton_is_rendered_in_its_customary_coordinates(signer, skeleton):
    pose = render_fingerspelling("ok", signer, skeleton=skeleton, noise=False).pose
    layout = get_skeleton(skeleton)
    assert pose.values.shape[1:] == (len(layout), layout.dims)
    assert pose.units == {2: "pixels", 3: "metres"}[layout.dims]
    legs = [any(part in joint for part in ("knee", "ankle", "heel", "foot", "toe")) for joint in layout.joints]
    np.testing.assert_array_equal(pose.joint_mask, np.broadcast_to(~np.array(legs), pose.joint_mask.shape))


@pytest.mark.parametrize("skeleton", ["sts56", "coco_wholebody_133", "holistic_586", "openpose50"])
def test_people_are_the_right_way_round(signer, skeleton):
    """y points down, and the signer's right is at the viewer's left."""
    layout = get_skeleton(skeleton)
    clip = render_fingerspelling("b", signer, skeleton=skeleton, noise=False)
    mean = clip.pose.values[slice(*clip.letter_spans[0][1:])].mean(axis=0)

    def at(joint):
        return mean[layout.index(joint)]

    assert at("nose")[1] < at("left_shoulder")[1] < at("left_wrist")[1]
    assert at("right_shoulder")[0] < at("left_shoulder")[0]
    assert at("right_middle_tip")[1] < at("right_hand_wrist")[1] < at("right_elbow")[1]  # the spelling hand is up
    assert at("right_thumb_mcp")[0] > at("right_pinky_mcp")[0]  # palm to the viewer
    np.testing.assert_allclose(at("right_hand_wrist"), at("right_wrist"), atol=1e-3)


def test_layouts_show_the_same_movement(signer):
    a, b = (render_fingerspelling("web", signer, skeleton=name, dims=2, noise=False) for name in ("sts56", "asl42"))
    hands = [joint for part in ("left_hand", "right_hand") for joint in get_skeleton("sts56").parts[part]]
    np.testing.assert_allclose(a.pose.values[:, hands], b.pose.values, atol=1e-3)


def test_bones_keep_their_lengths_in_3d(signer):
    clip = render_fingerspelling("jazz quiz", signer, skeleton="openpose50", noise=False)
    layout = get_skeleton("openpose50")
    rigid = [(a, b) for a, b in layout.edges if layout.joints[a] != "nose" and layout.joints[b] != "nose"]
    a, b = np.array(rigid).T
    length = np.linalg.norm(clip.pose.values[:, a] - clip.pose.values[:, b], axis=-1)
    np.testing.assert_allclose(length, np.broadcast_to(length[0], length.shape), atol=2e-6)


@pytest.mark.parametrize("skeleton", ["openpose50", "holistic_586", "openpose_137"])
def test_a_left_handed_signer_is_the_mirror_image(skeleton):
    signer = ProceduralSigner(seed=3)
    signer.camera = replace(signer.camera, turn=(0.0, 0.0, 0.0))
    signer.left_handed = False
    right = render_fingerspelling("quiz", signer, skeleton=skeleton, dims=3, noise=False).pose
    signer.left_handed = True
    left = render_fingerspelling("quiz", signer, skeleton=skeleton, dims=3, noise=False).pose
    mirror = list(get_skeleton(skeleton).mirror)
    np.testing.assert_allclose(left.values, right.values[:, mirror] * [-1, 1, 1], atol=1e-6)


def test_hand21_is_the_spelling_hand_as_a_right_hand():
    signer = ProceduralSigner(seed=3)
    poses = []
    for signer.left_handed in (False, True):
        poses.append(render_fingerspelling("b", signer, skeleton="hand21", noise=False).pose)
    np.testing.assert_array_equal(poses[0].values, poses[1].values)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=CHARACTERS, min_size=1, max_size=12), st.integers(0, 1000), st.floats(1, 60))
def test_spans_cover_any_text_in_order(text, seed, fps):
    clip = render_fingerspelling(text, ProceduralSigner(seed), skeleton="hand21", fps=fps, seed=seed)
    assert "".join(character for character, _, _ in clip.letter_spans) == text
    borders = [start for _, start, _ in clip.letter_spans] + [clip.letter_spans[-1][2]]
    assert all(b > a for a, b in pairwise(borders))
    assert all(end == start for (_, _, end), (_, start, _) in pairwise(clip.letter_spans))
    assert borders[0] >= 0
    assert borders[-1] <= len(clip.pose)
    assert np.isfinite(clip.pose.values[clip.pose.joint_mask]).all()


def test_the_hand_rises_from_rest_and_returns(signer):
    clip = render_fingerspelling("hello", signer, noise=False)
    height = clip.pose.values[:, get_skeleton("sts56").index("right_wrist"), 1]
    spelling = height[clip.letter_spans[0][1] : clip.letter_spans[-1][2]].mean()
    shoulders = np.ptp(clip.pose.values[0, [2, 5], 0])
    assert height[0] - spelling > 0.6 * shoulders
    assert height[-1] - spelling > 0.6 * shoulders


def test_movement_is_smooth(signer):
    """No hand point jumps: the largest step at 100 fps is what a fast hand covers in a hundredth of a second."""
    pose = render_fingerspelling("zigzag", signer, skeleton="hand21", fps=100, noise=False).pose
    assert np.linalg.norm(np.diff(pose.values, axis=0), axis=-1).max() < 0.04


def test_j_and_z_are_drawn_as_the_signer_sees_them():
    """Seen from the front: the Z begins towards the viewer's left, the J hooks to the viewer's right."""
    signer = ProceduralSigner(seed=1)
    tips = {}
    for letter, tip in (("z", 8), ("j", 20)):
        clip = render_fingerspelling(letter, signer, skeleton="hand21", dims=2, fps=100, noise=False)
        path = clip.pose.values[slice(*clip.letter_spans[0][1:]), tip]
        tips[letter] = (path - path.mean(axis=0)) / np.ptp(path, axis=0).max()
    z, j = tips["z"], tips["j"]
    upper = z[z[:, 1] < z[:, 1].mean()]
    assert upper[:, 0].argmax() < upper[:, 0].argmin()
    lowest = j[:, 1].argmax()
    assert j[:, 0].argmin() < j[:, 0].argmax()
    assert j[-1, 0] > j[lowest, 0]


@pytest.mark.parametrize("slides", [True, False])
def test_doubled_letters_move(signer, slides):
    doubled = ProceduralSigner(seed=7)
    doubled.slides_doubles = slides
    clip = render_fingerspelling("ll", doubled, skeleton="openpose50", noise=False, fps=50)
    (_, start, middle), (_, _, end) = clip.letter_spans
    wrist = clip.pose.values[:, get_skeleton("openpose50").index("right_wrist")]
    palm = doubled.size.palm
    if slides:  # outwards, the viewer's left for a right hand
        assert wrist[middle + 3 : end - 3, 0].min() < wrist[start + 3 : middle - 3, 0].mean() - 0.2 * palm
    else:  # towards the viewer and back
        nearest = wrist[start:end, 2].min()
        assert nearest < min(wrist[start + 5, 2], wrist[end - 5, 2]) - 0.1 * palm


# --- the tracker ----------------------------------------------------------------------------------------------------


def test_lost_hands_are_missing_everywhere_at_once(signer):
    careless = ProceduralSigner(seed=7)
    careless.tracker = replace(careless.tracker, loss_rate=3.0, loss_seconds=0.3, resting_seen=1.0)
    pose = render_fingerspelling("dropouts", careless, skeleton="coco_wholebody_133").pose
    parts = get_skeleton("coco_wholebody_133").parts
    for side in ("left_hand", "right_hand"):
        seen = pose.joint_mask[:, list(parts[side])]
        assert (seen.all(axis=1) | ~seen.any(axis=1)).all()
        assert 0.05 < 1 - seen.mean() < 0.95
    np.testing.assert_array_equal(np.isnan(pose.values).any(axis=2), pose.confidence == 0)
    assert pose.joint_mask[:, list(parts["face"])].all()


def test_joints_outside_the_image_are_missing(signer):
    close = ProceduralSigner(seed=7)
    close.camera = Camera(height=300, center=(320.0, 120.0))
    layout = get_skeleton("openpose_137")
    pose = render_fingerspelling("a", close, skeleton="openpose_137").pose
    assert not pose.joint_mask[:, layout.index("mid_hip")].any()
    assert pose.joint_mask[:, layout.index("neck")].all()


def test_noise_changes_the_picture_but_not_the_movement(signer):
    clean, noisy = (render_fingerspelling("calm", signer, noise=noise) for noise in (False, True))
    assert clean.letter_spans == noisy.letter_spans
    shoulders = np.ptp(clean.pose.values[0, [2, 5], 0])
    deviation = np.nanstd(noisy.pose.values - clean.pose.values) / shoulders
    assert 0.001 < deviation < 0.03
    assert (clean.pose.confidence == 1).all()
    assert noisy.pose.confidence.max() <= 1


# --- the corpus -----------------------------------------------------------------------------------------------------


def test_clips_depend_on_seed_and_index_alone():
    corpus, again = FingerspellingCorpus(seed=5, num_clips=30), FingerspellingCorpus(seed=5, num_clips=90)
    backwards = {i: corpus[i] for i in reversed(range(12))}
    for i in range(12):
        assert_same_clip(backwards[i], again[i])
    assert_same_clip(corpus[-1], corpus[29])
    other = FingerspellingCorpus(seed=6)
    assert [other[i].text for i in range(5)] != [corpus[i].text for i in range(5)]
    with pytest.raises(IndexError):
        corpus[30]


def test_skeleton_and_noise_do_not_change_the_text_or_the_timing():
    corpora = [FingerspellingCorpus(seed=1), FingerspellingCorpus(seed=1, skeleton="openpose50", noise=False)]
    for i in range(4):
        a, b = (corpus[i] for corpus in corpora)
        assert (a.text, a.signer, a.letter_spans, len(a.pose)) == (b.text, b.signer, b.letter_spans, len(b.pose))


@pytest.mark.parametrize("words", [None, [f"word{i}" for i in range(30)]])
def test_splits_share_neither_signers_nor_texts(words):
    corpus = FingerspellingCorpus(seed=2, skeleton="hand21", words=words, num_clips=200)
    splits = {name: corpus.split(name) for name in ("train", "validation", "test")}
    assert [len(split) for split in splits.values()] == [160, 20, 20]
    signers = {name: {clip.signer for clip in split} for name, split in splits.items()}
    texts = {name: {clip.text for clip in split} for name, split in splits.items()}
    for table in (signers, texts):
        assert not table["train"] & table["validation"]
        assert not table["train"] & table["test"]
        assert not table["validation"] & table["test"]
    assert_same_clip(splits["test"][0], corpus[9])


def test_signers_differ_and_one_in_ten_is_left_handed():
    people = [ProceduralSigner(seed) for seed in range(400)]
    assert 0.06 < np.mean([person.left_handed for person in people]) < 0.15
    assert np.std([person.tempo for person in people]) > 0.04
    assert len({person.size for person in people}) == 400
    letters = np.array([person.letters["k"] for person in people])
    described, fit = load_handshapes()["k"].variants[1:]
    assert np.linalg.norm(letters.mean(axis=0) - load_handshapes()["k"].variants[0]) < np.linalg.norm(described - fit)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render_fingerspelling("größe", ProceduralSigner(0)), "cannot fingerspell 'ßö' in 'größe'"),
        (lambda: render_fingerspelling("", ProceduralSigner(0)), "empty"),
        (lambda: render_fingerspelling("a", ProceduralSigner(0), fps=0), "fps must be a positive number, got 0"),
        (lambda: render_fingerspelling("a", ProceduralSigner(0), dims=4), "got 4"),
        (lambda: FingerspellingCorpus(words=["ok", "não"]), "cannot fingerspell 'ã'"),
        (lambda: FingerspellingCorpus(words=[]), "words is empty"),
        (lambda: FingerspellingCorpus(num_signers=0), "at least 1, got 0"),
        (lambda: FingerspellingCorpus(num_signers=2).split("test"), "got 2 signers"),
        (lambda: FingerspellingCorpus(words=["a", "b"]).split("test"), "2 words"),
        (lambda: FingerspellingCorpus().split("dev"), "got 'dev'"),
        (lambda: ProceduralSigner(-1), "got -1"),
    ],
)
def test_bad_arguments_are_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unknown_skeleton_is_refused_at_once():
    with pytest.raises(PoseError, match="unknown skeleton 'sts57'"):
        FingerspellingCorpus(skeleton="sts57")


# --- how real it is -------------------------------------------------------------------------------------------------


def as_features(hands: np.ndarray) -> np.ndarray:
    """`[N, 21, 2]` -> `[N, 42]`, centred and of unit size."""
    hands = hands - hands.mean(axis=1, keepdims=True)
    return (hands / np.linalg.norm(hands, axis=(1, 2), keepdims=True)).reshape(len(hands), -1)


@pytest.fixture(scope="module")
def letter_classifier():
    """Linear discriminants of the 24 still letters, learned from procedural hands alone: features -> letter number."""
    features, letters = [], []
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(list(STILL_LETTERS))
        clip = render_fingerspelling("".join(order), ProceduralSigner(seed), skeleton="hand21", dims=2)
        for letter, start, end in clip.letter_spans:
            frames = [
                t for t in range((start + end) // 2 - 1, (start + end) // 2 + 2) if clip.pose.joint_mask[t].all()
            ]
            features += list(clip.pose.values[frames])
            letters += [STILL_LETTERS.index(letter)] * len(frames)
    features, letters = as_features(np.array(features, dtype=float)), np.array(letters)
    means = np.stack([features[letters == i].mean(axis=0) for i in range(len(STILL_LETTERS))])
    within = np.cov((features - means[letters]).T) + 1e-5 * np.eye(42)
    weights = np.linalg.solve(within, means.T)
    bias = -0.5 * (means * weights.T).sum(axis=1)
    return lambda hands: (as_features(hands) @ weights + bias).argmax(axis=1)


def test_letters_are_recognised_in_photographs(letter_classifier, real_data):
    """Hands of the CC0 letter set: mirrored pictures, about 1.6 times as wide as high."""
    with np.load(real_data / "asl_letters_graudt_cc0" / "asl_letters.npz") as table:
        points, labels = table["X"].reshape(-1, 21, 3), np.char.lower(table["y"])
    still = np.isin(labels, list(STILL_LETTERS))
    hands = np.stack([1.6 * (1 - points[still, :, 0]), points[still, :, 1]], axis=-1)
    expected = np.array([STILL_LETTERS.index(label) for label in labels[still]])
    assert (letter_classifier(hands) == expected).mean() >= 0.92


def test_letters_are_recognised_in_recorded_signing(letter_classifier, real_data):
    pose_format = pytest.importorskip("pose_format")
    folder = real_data / "fingerspelling_lexicon_pose"
    with open(folder / "index.csv", newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["signed_language"] == "ase"]
    hands, expected = [], []
    for row in rows:
        letter = row["words"].strip().lower()
        if letter not in STILL_LETTERS:
            continue
        pose = pose_format.Pose.read((folder / row["path"]).read_bytes())
        hand = pose.get_components(["RIGHT_HAND_LANDMARKS"]).body.data[:, 0, :, :2].filled(np.nan)
        hands.append(hand[len(hand) // 2])
        expected.append(STILL_LETTERS.index(letter))
    assert len(hands) == 24
    assert (letter_classifier(np.array(hands)) == expected).mean() >= 0.85
