"""Fingerspelled words as poses: text to hand movements, and a corpus of clips by index."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from signllm.data.synthetic.hand import FINGERS, NUM_ANGLES, THUMB, TURN, load_handshapes
from signllm.data.synthetic.motion import follow_keys
from signllm.data.synthetic.rendering import POSTURE, WRIST_PATH, render
from signllm.data.synthetic.signer import ProceduralSigner
from signllm.data.synthetic.words import pseudo_text
from signllm.models.poses import Pose
from signllm.models.skeletons import get_skeleton

CHARACTERS = "".join(load_handshapes())
SPLITS = ("train", "validation", "test")
# Fingers, the hand's turn and the wrist's path start and stop at slightly different times.
_GROUPS = (*(slice(4 * finger, 4 * finger + 4) for finger in range(4)), THUMB, TURN, WRIST_PATH)
_HAND = slice(0, NUM_ANGLES)
assert FINGERS.stop == THUMB.start  # the groups above cover every channel


@dataclass(frozen=True)
class SpelledClip:
    """One clip: its pose, the text, the signer (number in the corpus, or seed), and where each character is.

    `letter_spans` holds (character, first frame, end frame) in the order of the text; a span ends where the next one
    begins, in the middle of the movement between the two. Frames before and after are the hand's way from and to rest.
    """

    pose: Pose
    text: str
    signer: int
    letter_spans: list[tuple[str, int, int]]


@dataclass
class _Score:
    """Key postures `[K, 27]` in their order, the seconds at which each is reached and left, and the number of the
    character that it belongs to (`owner`, -1 for rest)."""

    keys: np.ndarray
    arrive: np.ndarray
    leave: np.ndarray
    owner: np.ndarray


def _checked(text: str) -> str:
    spelled = text.lower()
    unknown = sorted(set(spelled) - set(CHARACTERS))
    if unknown:
        raise ValueError(
            f"cannot fingerspell {''.join(unknown)!r} in {text!r}; the {len(CHARACTERS)} characters are {CHARACTERS!r}"
        )
    if not spelled:
        raise ValueError("cannot fingerspell an empty text; give at least one character")
    return spelled


def render_fingerspelling(
    text: str,
    signer: ProceduralSigner,
    *,
    skeleton: str = "sts56",
    fps: float = 25.0,
    seed: int = 0,
    noise: bool = True,
    dims: int | None = None,
) -> SpelledClip:
    """A signer raises the hand from rest, spells a text and returns to rest.

    Args:
        text: characters of `CHARACTERS`; capital letters are spelled as small ones. The punctuation marks are drawn
            by invented movements, not attested ASL.
        signer: who spells.
        skeleton: any layout of `SKELETON_NAMES`. Legs and feet are missing; `hand21` is the spelling hand as a right
            hand.
        fps: frames per second.
        seed: of everything that differs between two clips of one signer.
        noise: with the tracker's jitter, lost hands and confidences, or as the body really moves.
        dims: 2: pixels of the signer's camera, y down. 3: metres, x right, y down, z away from the camera, origin at
            the base of the neck at rest. `None`: what is customary in the layout.

    Raises:
        ValueError: the text is empty or has characters outside the set; fps or dims make no sense.
        PoseError: unknown skeleton.
    """
    text = _checked(text)
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number, got {fps}")
    if dims not in (None, 2, 3):
        raise ValueError(f"dims must be 2, 3 or None, got {dims}")
    rng = np.random.default_rng([seed, signer.seed, 0])
    score = _compose(text, signer, rng)
    spans = _letter_spans(text, score, fps)
    frames = max(int(np.ceil(score.leave[-1] * fps)), spans[-1][2] + 1)
    times = np.arange(frames) / fps
    begins, ends = _stagger(score, signer.coarticulation, rng)
    path = follow_keys(score.keys, begins, ends, _GROUPS, times)
    source = f"procedural fingerspelling of {text!r} by signer {signer.seed}"
    pose = render(
        signer,
        path,
        times,
        skeleton=skeleton,
        fps=fps,
        dims=dims,
        noise=noise,
        seeds=(seed, signer.seed),
        source=source,
    )
    return SpelledClip(pose=pose, text=text, signer=signer.seed, letter_spans=spans)


def _compose(text: str, signer: ProceduralSigner, rng: np.random.Generator) -> _Score:
    """Choose the key postures of a text and their timing."""
    shoulders, palm = signer.size.shoulder_width, signer.size.palm
    rest = np.concatenate([signer.resting_hand, signer.rest * shoulders])
    keys, owner = [rest], [-1]
    seconds = [(rng.uniform(0.05, 0.25), rng.uniform(0.35, 0.65))]  # held, then moving on to the next key
    drift = rng.normal(0, 0.02, 3)
    paces = signer.tempo * np.exp(0.15 * rng.normal(size=len(text)))
    for number, (character, pace) in enumerate(zip(text, paces.tolist(), strict=True)):
        letter = np.empty(POSTURE)
        letter[_HAND] = signer.letters[character] + rng.normal(0, signer.sloppiness, NUM_ANGLES)
        if number and text[number - 1] == character:
            drift, between = _repeat(signer, letter, keys[-1], drift)
            if between is not None:
                keys.append(between)
                owner.append(number)
                seconds.append((0.0, 0.3 * pace))
        drift = 0.9 * drift + rng.normal([-0.03, 0, 0], 0.03)
        letter[WRIST_PATH] = signer.home * shoulders + drift * palm
        stops = _moving_stops(letter, load_handshapes()[character].motion, signer)
        keys += stops
        owner += [number] * len(stops)
        hold, move = pace * signer.hold_share, pace * (1 - signer.hold_share)
        stroke = max(0.35 * pace, 0.08)
        seconds += [(0.2 * stroke, stroke)] * (len(stops) - 1) + [(hold, move)]
    seconds[-1] = (seconds[-1][0], rng.uniform(0.35, 0.6))
    keys.append(rest + np.concatenate([rng.normal(0, 5, NUM_ANGLES), rng.normal(0, 0.01, 3)]))
    owner.append(-1)
    seconds.append((rng.uniform(0.05, 0.3), 0.0))
    held, moving = np.array(seconds).T
    leave = np.cumsum(held + moving) - moving
    return _Score(np.array(keys), leave - held, leave, np.array(owner))


def _repeat(
    signer: ProceduralSigner, letter: np.ndarray, before: np.ndarray, drift: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """A letter twice in a row slides outwards, or opens and comes forward in between: (drift, key in between)."""
    if signer.slides_doubles:
        return drift - np.array([0.5, 0, 0]), None
    between = before.copy()
    between[FINGERS] = 0.8 * letter[FINGERS]
    between[WRIST_PATH] += np.array([0, -0.1, 0.35]) * signer.size.palm
    return drift, between


def _moving_stops(letter: np.ndarray, motion: np.ndarray, signer: ProceduralSigner) -> list[np.ndarray]:
    """The key postures of a letter: itself if it is still, else one for each way-point of its motion."""
    if not len(motion):
        return [letter]
    stops = np.repeat(letter[None], len(motion), axis=0)
    stops[:, WRIST_PATH.start : WRIST_PATH.start + 2] += motion[:, :2] * [1, -1] * signer.amplitude * signer.size.palm
    stops[:, TURN] += motion[:, 2:]
    return list(stops)


def _stagger(score: _Score, coarticulation: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """When each group of channels begins and ends each movement, `[G, K - 1]` seconds each.

    Movements reach into the holds on both sides, differently for every finger: the next letter is anticipated and the
    last one lingers. Where they overlap the steps add up.
    """
    early, late = rng.random((2, len(_GROUPS), len(score.keys) - 1)) * coarticulation
    hold = score.leave - score.arrive
    return score.leave[:-1] - early * hold[:-1], score.arrive[1:] + late * hold[1:]


def _letter_spans(text: str, score: _Score, fps: float) -> list[tuple[str, int, int]]:
    """Frames of every character, at least one each, contiguous and in order."""
    first = np.array([np.flatnonzero(score.owner == number)[0] for number in range(len(text))])
    borders = (score.leave[first - 1] + score.arrive[first]) / 2
    # On the long ways from and to rest the letter's shape is there only close to its hold.
    borders[0] = score.arrive[first[0]] - 0.2 * (score.arrive[first[0]] - score.leave[0])
    end = score.leave[-2] + 0.2 * (score.arrive[-1] - score.leave[-2])
    frames = np.round(np.append(borders, end) * fps).astype(int)
    order = np.arange(len(frames))
    frames = np.maximum.accumulate(frames - order) + order  # strictly increasing even at very low frame rates
    return [(character, int(frames[i]), int(frames[i + 1])) for i, character in enumerate(text)]


class FingerspellingCorpus(Sequence[SpelledClip]):
    """Clips by index: `corpus[i]` depends on the corpus' arguments and `i` alone, not on what was read before.

    Clip i belongs to a split by its index (of ten in a row eight train, one validates, one tests). Signers and texts
    are divided among the splits, so no signer and no text of one split occurs in another.

    Args:
        seed: of signers, texts and clips.
        skeleton: layout of the poses.
        fps: frames per second.
        num_signers: how many signers there are.
        words: texts to choose from; `None` invents them: pseudo-words, names, numbers, addresses, mixtures.
        num_clips: how many clips there are.
        noise, dims: as in `render_fingerspelling`.

    Raises:
        ValueError: a word has characters outside the set, or a count is not positive.
    """

    def __init__(
        self,
        seed: int = 0,
        skeleton: str = "sts56",
        fps: float = 25.0,
        num_signers: int = 16,
        words: Sequence[str] | None = None,
        *,
        num_clips: int = 1000,
        noise: bool = True,
        dims: int | None = None,
    ) -> None:
        if num_signers < 1 or num_clips < 1:
            raise ValueError(f"num_signers and num_clips must be at least 1, got {num_signers} and {num_clips}")
        get_skeleton(skeleton)  # an unknown name fails here, not at the first clip
        self.seed, self.skeleton, self.fps, self.num_clips = seed, skeleton, fps, num_clips
        self.num_signers, self.noise, self.dims = num_signers, noise, dims
        self.words = None if words is None else sorted({_checked(word) for word in words})
        if self.words is not None and not self.words:
            raise ValueError("words is empty; give some, or None to have them invented")

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> SpelledClip:  # type: ignore[override]
        index = range(self.num_clips)[operator.index(index)]
        rng = np.random.default_rng([self.seed, 1, index])
        split = self.split_of(index) if self.can_split else None
        signer = int(rng.choice(self._signers_of(split)))
        text = self._draw_text(rng, split)
        clip = render_fingerspelling(
            text,
            self.signers[signer],
            skeleton=self.skeleton,
            fps=self.fps,
            seed=int(rng.integers(2**31)),
            noise=self.noise,
            dims=self.dims,
        )
        return SpelledClip(clip.pose, clip.text, signer, clip.letter_spans)

    @cached_property
    def signers(self) -> list[ProceduralSigner]:
        """All signers; `SpelledClip.signer` counts them."""
        seeds = np.random.default_rng([self.seed, 0]).integers(2**31, size=self.num_signers)
        return [ProceduralSigner(int(seed)) for seed in seeds]

    @property
    def can_split(self) -> bool:
        """Whether there are signers and words enough for three disjoint splits."""
        return self.num_signers >= 3 and (self.words is None or len(self.words) >= 3)

    @staticmethod
    def split_of(index: int) -> str:
        """The split of clip `index`."""
        return {8: "validation", 9: "test"}.get(index % 10, "train")

    def split(self, name: str) -> CorpusSplit:
        """The clips of one split, in the order of the corpus.

        Raises:
            ValueError: unknown split, or too few signers or words to divide.
        """
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        if not self.can_split:
            words = "unlimited" if self.words is None else len(self.words)
            raise ValueError(
                f"three disjoint splits need 3 signers and 3 words at least, got {self.num_signers} signers and "
                f"{words} words"
            )
        return CorpusSplit(self, [i for i in range(self.num_clips) if self.split_of(i) == name])

    def _signers_of(self, split: str | None) -> np.ndarray:
        return _share_out(np.arange(self.num_signers), split)

    def _draw_text(self, rng: np.random.Generator, split: str | None) -> str:
        if self.words is not None:
            return str(rng.choice(_share_out(self._shuffled_words, split)))
        while True:  # a text belongs to a split by its hash; one in ten at least is accepted
            text = pseudo_text(rng, CHARACTERS)
            if split is None or self.split_of(zlib.crc32(text.encode())) == split:
                return text

    @cached_property
    def _shuffled_words(self) -> np.ndarray:
        return np.random.default_rng([self.seed, 2]).permutation(np.array(self.words))


def _share_out(items: np.ndarray, split: str | None) -> np.ndarray:
    """The items of a split: a tenth of them, but at least one, for validation and for test each."""
    if split is None:
        return items
    tenth = max(1, len(items) // 10)
    return {"validation": items[:tenth], "test": items[tenth : 2 * tenth], "train": items[2 * tenth :]}[split]


@dataclass(frozen=True)
class CorpusSplit(Sequence[SpelledClip]):
    """Some clips of a corpus: `indices[i]` is the place of clip i in it."""

    corpus: FingerspellingCorpus
    indices: list[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> SpelledClip:  # type: ignore[override]
        return self.corpus[self.indices[index]]

    def __iter__(self) -> Iterator[SpelledClip]:
        return (self.corpus[index] for index in self.indices)
