"""One procedural signer: everything about a person and their recordings that stays the same from clip to clip."""

from __future__ import annotations

import numpy as np

from signllm.data.synthetic.body import Proportions
from signllm.data.synthetic.hand import FINGERS, NUM_ANGLES, TURN, HandGeometry, load_handshapes, standard_geometry
from signllm.data.synthetic.tracker import Camera, TrackerHabits

LEFT_HANDED_SHARE = 0.1
_IMAGE_SIZES = ((640, 480), (512, 512), (1280, 720))
# A relaxed hand that hangs from the waist or lies in the lap: fingers half bent, pointing inwards, palm to the body.
_RELAXED = [20, 30, 15, 0, 25, 35, 20, 0, 30, 35, 20, 0, 35, 35, 20, -5, 30, 20, 0, 15, 15]
_RESTING_TURN = [150, 0, -110]
# How much a signer favours the canonical, the described and the fitted form of a letter (Dirichlet).
_VARIANT_PRIOR = (3.0, 1.0, 1.0)


class ProceduralSigner:
    """A signer drawn from a seed: the same seed is the same person, whatever is rendered.

    All attributes may be changed to make a signer to measure.

    Args:
        seed: a non-negative integer.

    Attributes:
        left_handed: spells with the left hand; everything is then the mirror image, the face excepted.
        size, hand: `Proportions` of the body and `HandGeometry` of the hands.
        letters: character -> `[24]` degrees, this signer's own way to form it.
        sloppiness: degrees by which a letter differs from one time to the next.
        tempo: seconds a letter, of which `hold_share` are spent holding it.
        amplitude: factor on the path of letters that move.
        coarticulation: share of the neighbouring holds into which movements may extend, 0 to 1.
        slides_doubles: a doubled letter slides sideways; otherwise it bounces towards the viewer.
        home: `[3]` where the wrist spells, from the shoulder, in shoulder widths (x inwards for the right hand).
        rest: `[3]` where the wrists rest, likewise.
        resting_hand: `[24]` degrees of a hand at rest.
        elbow: `[3]` direction in which the right elbow points.
        sway: factor on the movement of trunk and head.
        mouthing: how far the mouth opens, in metres.
        camera, tracker: how this signer is recorded.
    """

    def __init__(self, seed: int) -> None:
        if int(seed) != seed or seed < 0:
            raise ValueError(f"a signer's seed must be a non-negative integer, got {seed!r}")
        self.seed = int(seed)
        rng = np.random.default_rng([self.seed, 0x516E])
        self.left_handed = bool(rng.random() < LEFT_HANDED_SHARE)
        self.size = _draw_proportions(rng)
        self.hand: HandGeometry = standard_geometry().varied(rng)
        self.letters = _draw_letters(rng)
        self.sloppiness = rng.uniform(2, 5)
        self.tempo = float(np.clip(0.30 * np.exp(0.25 * rng.normal()), 0.18, 0.6))
        self.hold_share = rng.uniform(0.3, 0.5)
        self.amplitude = float(np.clip(rng.normal(1, 0.15), 0.6, 1.5))
        self.coarticulation = rng.uniform(0.1, 0.5)
        self.slides_doubles = bool(rng.random() < 0.6)
        self.home = np.array([-0.30, -0.08, 0.55]) + rng.normal(0, [0.10, 0.08, 0.06])
        lap = rng.random() < 0.3
        self.rest = np.array([0.08, -1.18, 0.40] if lap else [0.30, -1.02, 0.42]) + rng.normal(0, [0.05, 0.03, 0.03])
        self.resting_hand = np.array([*_RELAXED, *_RESTING_TURN]) + rng.normal(0, 6, NUM_ANGLES)
        self.elbow = np.array([-0.5, -0.8, -0.35]) + rng.normal(0, 0.15, 3)
        self.sway = float(np.exp(0.4 * rng.normal()))
        self.mouthing = rng.uniform(0, 0.012)
        self.camera = _draw_camera(rng, self.size)
        self.tracker = _draw_tracker(rng)

    def __repr__(self) -> str:
        return f"ProceduralSigner(seed={self.seed}, {'left' if self.left_handed else 'right'}-handed)"


def _draw_proportions(rng: np.random.Generator) -> Proportions:
    """People differ by some percent in size, and by less in every part."""
    stature = 1 + 0.06 * rng.normal()
    lengths = {name: value * stature * (1 + 0.03 * rng.normal()) for name, value in vars(Proportions()).items()}
    return Proportions(**{name: float(length) for name, length in lengths.items()})


def _draw_letters(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Each character as a mixture of its variants, plus habits of the whole hand (a bent wrist, stiff fingers)."""
    habit = np.zeros(NUM_ANGLES)
    habit[FINGERS] = rng.normal(0, 2, 16)
    habit[TURN] = rng.normal(0, [7, 5, 6])
    shapes = load_handshapes()
    mixture = rng.dirichlet(_VARIANT_PRIOR, size=len(shapes))
    own = rng.normal(0, 2, (len(shapes), NUM_ANGLES))
    return {
        character: weights @ shape.variants + habit + difference
        for (character, shape), weights, difference in zip(shapes.items(), mixture, own, strict=True)
    }


def _draw_camera(rng: np.random.Generator, size: Proportions) -> Camera:
    """Roughly frontal, hips at the lower edge: the framing of interpreters and of video calls."""
    width, height = _IMAGE_SIZES[rng.integers(len(_IMAGE_SIZES))]
    distance = rng.uniform(1.2, 2.4)
    shoulders = rng.uniform(0.31, 0.40) * height
    center = (width * rng.normal(0.5, 0.02), height * rng.normal(0.40, 0.02))
    turn = np.deg2rad(np.clip(rng.normal(0, [6, 3, 1]), -15, 15))
    focal = shoulders * distance / size.shoulder_width
    return Camera(width, height, distance, focal, (float(center[0]), float(center[1])), tuple(turn.tolist()))


def _draw_tracker(rng: np.random.Generator) -> TrackerHabits:
    return TrackerHabits(
        jitter=0.005 * float(np.exp(0.3 * rng.normal())),
        memory=rng.uniform(0.4, 0.75),
        loss_rate=0.3 * float(np.exp(0.8 * rng.normal())),
        fast_loss=rng.uniform(0.1, 0.5),
        loss_seconds=rng.uniform(0.08, 0.35),
        resting_seen=float(rng.beta(0.8, 1.5)),
        confidence=rng.uniform(0.7, 0.9),
    )
