"""How codes are written as tokens: `<sign_k>` for one codebook, `<sign_q_k>` for several, step after step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIGN_START = "<sign_start>"
SIGN_END = "<sign_end>"
PAD = "<pad>"
UNKNOWN = "<unk>"


@dataclass(frozen=True)
class SignVocabulary:
    """One id for each code of each codebook: `id = level * codebook_size + code`.

    A step of a codec with Q codebooks is written as Q ids in a row, from the first level to the last.
    """

    codebook_size: int
    num_quantizers: int = 1

    def __len__(self) -> int:
        return self.codebook_size * self.num_quantizers

    def tokens(self) -> list[str]:
        """All sign tokens, in the order of their ids."""
        if self.num_quantizers == 1:
            return [f"<sign_{code}>" for code in range(self.codebook_size)]
        levels = range(self.num_quantizers)
        return [f"<sign_{level}_{code}>" for level in levels for code in range(self.codebook_size)]

    def ids(self, codes: np.ndarray) -> list[int]:
        """Codes `[T']` or `[Q, T']` -> ids, step by step."""
        codes = np.atleast_2d(np.asarray(codes, dtype=np.int64))
        return (codes + self.codebook_size * np.arange(len(codes))[:, None]).T.reshape(-1).tolist()

    def codes(self, ids: list[int]) -> tuple[np.ndarray, int]:
        """Ids -> codes `[Q, T']` and how many ids had to be dropped.

        Never fails: an id that is no sign, a level out of turn and a step that is not complete are dropped; reading
        goes on at the next first level.
        """
        steps: list[list[int]] = []
        current: list[int] = []
        for number in ids:
            level, code = divmod(int(number), self.codebook_size)
            if not 0 <= level < self.num_quantizers:
                continue  # no sign: nothing that a step could lose its place over
            if level != len(current):
                current = []
            if level == len(current):
                current.append(code)
            if len(current) == self.num_quantizers:
                steps.append(current)
                current = []
        codes = np.array(steps, dtype=np.int64).reshape(len(steps), self.num_quantizers).T
        return codes, len(ids) - codes.size
