"""More signing than was recorded: small changes of posture and proportions that keep a clip a clip."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from signllm.models.normalization import ancestry, from_parent_offsets, to_parent_offsets
from signllm.models.skeletons import get_skeleton


class BoneAugmentation:
    """Turns and stretches every bone a little, by one amount for the whole clip.

    Each joint turns, in the image plane and with all that hangs on it, by an angle from N(0, degrees); each bone has
    its length changed by a factor from exp N(0, stretch). A handful of recorded clips then shows a codec many hands
    and arms; without it a small corpus is learned by heart.

    Args:
        skeleton: layout of the clips. degrees: standard deviation of a joint's turn. stretch: of a bone's log length.
    """

    def __init__(self, skeleton: str, degrees: float, stretch: float = 0.1) -> None:
        self.parents = torch.tensor(get_skeleton(skeleton).parents)
        self.inherited = ancestry(self.parents)
        self.radians = np.deg2rad(degrees)
        self.stretch = stretch

    def __call__(self, values: Tensor, mask: Tensor, random: np.random.Generator) -> Tensor:
        """Changed copy of `values [T, J, C]`; joints missing in `mask [T, J]` stay 0."""
        joints = len(self.parents)
        turn = self.inherited @ torch.from_numpy(random.normal(0, self.radians, joints)).float()
        length = torch.from_numpy(np.exp(random.normal(0, self.stretch, joints))).float()[:, None]
        cos, sin = torch.cos(turn), torch.sin(turn)
        offsets, _ = to_parent_offsets(values, mask, self.parents)
        offsets = torch.where((self.parents < 0)[:, None], offsets, offsets * length)
        x, y, depth = offsets[..., 0], offsets[..., 1], offsets[..., 2:]
        turned = torch.cat([torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1), depth], dim=-1)
        return torch.where(mask[..., None], from_parent_offsets(turned, self.parents), 0.0)
