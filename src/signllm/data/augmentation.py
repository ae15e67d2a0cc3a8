"""More signing than was recorded: small changes of posture and proportions, and hands that change owners."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from signllm.models.normalization import ancestry, to_parent_offsets
from signllm.models.skeletons import get_skeleton

# Standard deviations at strength 1: a joint's turn in degrees, a bone's log length.
BODY_TURN, BODY_STRETCH = 4.0, 0.03
WRIST_TURN = 30.0  # a small corpus shows each handshape in one orientation
FINGER_TURN, FINGER_STRETCH = 12.0, 0.15


class PoseAugmentation:
    """Changes a clip as a whole, so that it stays a clip: the same amounts in all of its frames.

    Every joint turns in the image plane, with all that hangs on it, and every bone has its length changed: the body's
    a little, the fingers' more; hands turn most at the wrist. With probability `exchange` the hands are first replaced
    by those of another clip, on the clip's own arms. A handful of recorded clips then shows a codec many hands on many
    arms; without it a small corpus is learned by heart.

    Args:
        skeleton: layout of the clips. strength: factor of all standard deviations. exchange: probability.
    """

    def __init__(self, skeleton: str, strength: float = 1.0, exchange: float = 0.5) -> None:
        layout = get_skeleton(skeleton)
        self.parents = torch.tensor(layout.parents)
        self.inherited = ancestry(self.parents)
        self.exchange = exchange
        self.hands = [list(layout.parts[f"{side}_hand"]) for side in ("left", "right") if layout.parts[f"{side}_hand"]]
        self.turn = np.full(len(layout), strength * np.deg2rad(BODY_TURN))
        self.stretch = np.full(len(layout), strength * BODY_STRETCH)
        for wrist, *fingers in self.hands:
            self.turn[wrist] = strength * np.deg2rad(WRIST_TURN)
            self.turn[fingers] = strength * np.deg2rad(FINGER_TURN)
            self.stretch[fingers] = strength * FINGER_STRETCH
        self.turn[self.parents < 0] = 0.0  # a root's offset is its place in space, not a bone
        self.stretch[self.parents < 0] = 0.0

    def bones(self, values: Tensor, mask: Tensor) -> Tensor:
        """The offsets of a clip, for the methods below: computed once, since every window is cut from them."""
        return to_parent_offsets(values, mask, self.parents)[0]

    def exchange_hands(
        self, bones: Tensor, mask: Tensor, other_bones: Tensor, other_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The clip with the fingers of another one, cut to the shorter of both; hidden where one of the two is."""
        frames = min(len(bones), len(other_bones))
        bones, mask = bones[:frames].clone(), mask[:frames].clone()
        for wrist, *fingers in self.hands:
            bones[:, fingers] = other_bones[:frames, fingers]
            mask[:, fingers] = other_mask[:frames, fingers] & mask[:, [wrist]]
        return bones, mask

    def __call__(self, bones: Tensor, mask: Tensor, random: np.random.Generator) -> Tensor:
        """Changed positions `[T, J, C]` from `bones [T, J, C]`; joints missing in `mask [T, J]` are 0."""
        joints = len(self.parents)
        turn = self.inherited @ torch.from_numpy(random.normal(0, 1, joints) * self.turn).float()
        length = torch.from_numpy(np.exp(random.normal(0, 1, joints) * self.stretch)).float()
        turn[self.parents < 0] = 0.0
        cos, sin = length * torch.cos(turn), length * torch.sin(turn)
        x, y = bones[..., 0], bones[..., 1]
        turned = [cos * x - sin * y, sin * x + cos * y, *(length * bones[..., 2:].movedim(-1, 0))]
        positions = self.inherited @ torch.stack(turned, dim=-1)
        return positions * mask[..., None]
