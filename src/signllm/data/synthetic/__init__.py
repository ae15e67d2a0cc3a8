"""The procedural signer: poses from a seed. What it renders is labelled procedural, never passed off as real."""

from signllm.data.synthetic.fingerspelling import (
    CHARACTERS,
    CorpusSplit,
    FingerspellingCorpus,
    SpelledClip,
    render_fingerspelling,
)
from signllm.data.synthetic.signer import ProceduralSigner

__all__ = [
    "CHARACTERS",
    "CorpusSplit",
    "FingerspellingCorpus",
    "ProceduralSigner",
    "SpelledClip",
    "render_fingerspelling",
]
