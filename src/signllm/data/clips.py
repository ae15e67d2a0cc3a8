"""Clips in memory for training and evaluation: loading, splits, windows, length buckets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from signllm.data.augmentation import PoseAugmentation
from signllm.data.io import find_poses, read_pose
from signllm.data.synthetic.fingerspelling import FingerspellingCorpus
from signllm.models.pose_preparation import PosePreparation, PreparedPose, pad_batch
from signllm.models.poses import Pose, PoseError

SPLITS = ("train", "validation", "test")


@dataclass
class ClipSet:
    """Clips of one split as codecs take them, with their names; `skipped` says what was left out and why."""

    ids: list[str] = field(default_factory=list)
    prepared: list[PreparedPose] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, clip_id: str, pose: Pose, prepare: PosePreparation, dims: int) -> None:
        """Prepare a clip and take it in, or note why not."""
        try:
            prepared = prepare(pose, dims=dims)
        except PoseError as error:
            self.skipped.append((clip_id, str(error)))
            return
        self.ids.append(clip_id)
        self.prepared.append(prepared)

    def fingerprint(self) -> str:
        """Hash of the ids, to tell whether two results were measured on the same clips."""
        return hashlib.sha256("\n".join(sorted(self.ids)).encode()).hexdigest()[:16]


def load_folder(
    folder: str,
    prepare: PosePreparation,
    dims: int,
    *,
    seed: int = 0,
    fractions: tuple[float, float] = (0.1, 0.1),
    **reading,
) -> dict[str, ClipSet]:
    """Read every clip under `folder` and split it by clip into train, validation and test.

    `reading` goes to `read_pose`: `fps`, `person`, `image_size`, `skels_convention`.

    Files that cannot be used are skipped and listed in `skipped` of the split they belong to. Which split a clip is in
    depends on its name and `seed` alone, so adding files moves none of the others.

    Raises:
        PoseError: no usable clip at all.
    """
    sets = {name: ClipSet() for name in SPLITS}
    references = find_poses(folder)
    for reference in tqdm(references, desc=f"reading {folder}", unit="clip", disable=len(references) < 50):
        clips = sets[split_of(reference.id, seed, fractions)]
        try:
            pose = read_pose(reference.path, clip=reference.clip, **reading)
        except PoseError as error:
            clips.skipped.append((reference.id, str(error)))
            continue
        clips.add(reference.id, pose, prepare, dims)
    if not any(len(clips) for clips in sets.values()):
        reasons = [reason for clips in sets.values() for _, reason in clips.skipped]
        raise PoseError(f"{folder}: no usable pose file" + (f"; the first reason: {reasons[0]}" if reasons else ""))
    return sets


def load_procedural(
    prepare: PosePreparation, dims: int, *, num_clips: int, seed: int = 0, fps: float = 25.0
) -> dict[str, ClipSet]:
    """Fingerspelled words of the procedural signer: `num_clips` in all, 80/10/10 to train, validate and test on.

    Signers and words of the three splits are different ones.
    """
    corpus = FingerspellingCorpus(seed=seed, skeleton=prepare.skeleton, fps=fps, num_clips=num_clips, dims=dims)
    sets = {name: ClipSet() for name in SPLITS}
    for name, clips in sets.items():
        split = corpus.split(name)
        for index in tqdm(range(len(split)), desc=f"rendering {name}", unit="clip", disable=len(split) < 500):
            clip = split[index]
            clips.add(f"procedural/{name}/{index:05d}-{clip.text}", clip.pose, prepare, dims)
    return sets


def split_of(clip_id: str, seed: int, fractions: tuple[float, float]) -> str:
    """`train`, `validation` or `test`, by a hash of the clip's name."""
    digest = hashlib.sha256(f"{seed}:{clip_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    validation, test = fractions
    return "validation" if position < validation else "test" if position < validation + test else "train"


class WindowDataset(Dataset):
    """`length` random windows of consecutive frames; clips shorter than the window are taken whole.

    Item `i` depends on (seed, i) alone: a resumed run, any number of workers and any number of processes see the same
    windows. Clips are drawn evenly, then a start evenly among the possible ones, then, if wanted, the augmentation.
    """

    def __init__(
        self,
        clips: Sequence[PreparedPose],
        window: int,
        length: int,
        seed: int = 0,
        augment: PoseAugmentation | None = None,
    ) -> None:
        if not clips:
            raise ValueError("there are no clips to train on")
        self.clips, self.window, self.length, self.seed, self.augment = clips, window, length, seed, augment
        # By identity: a clip that is listed many times, to be drawn more often, is worked out once.
        self.bones = {} if augment is None else {id(c): augment.bones(c.values, c.joint_mask) for c in clips}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> PreparedPose:
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=index))
        clip, frames = self._draw(random)
        values, mask = clip.values[frames], clip.joint_mask[frames]
        if self.augment is not None:
            bones = self.bones[id(clip)][frames]
            if random.random() < self.augment.exchange:
                other, part = self._draw(random)
                bones, mask = self.augment.exchange_hands(
                    bones, mask, self.bones[id(other)][part], other.joint_mask[part]
                )
            values = self.augment(bones, mask, random)
        return PreparedPose(values, mask, clip.origin, clip.scale, clip.fps, clip.units)

    def _draw(self, random: np.random.Generator) -> tuple[PreparedPose, slice]:
        clip = self.clips[int(random.integers(len(self.clips)))]
        start = int(random.integers(max(len(clip) - self.window, 0) + 1))
        return clip, slice(start, start + self.window)


class WindowCollator:
    """Windows -> the model's keyword arguments, always padded to the full window: one shape for every batch."""

    def __init__(self, window: int) -> None:
        self.window = window

    def __call__(self, clips: list[PreparedPose]) -> dict[str, Tensor]:
        return pad_batch(clips, frames=self.window)


def length_buckets(lengths: Sequence[int], max_frames: int = 4096) -> Iterator[list[int]]:
    """Indices in batches of similar length, each at most `max_frames` frames with padding counted (or one clip)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if batch and lengths[index] * (len(batch) + 1) > max_frames:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
