"""Texts to spell: pseudo-words from letter statistics of our own, and names, numbers and addresses made of them."""

from __future__ import annotations

from bisect import bisect

import numpy as np

# Rough weights of word parts as English likes them, set down by hand. A syllable is an onset, a vowel and a coda.
_ONSETS = {
    **{"b": 5, "c": 5, "d": 5, "f": 4, "g": 3, "h": 5, "j": 2, "k": 2, "l": 5, "m": 5, "n": 4, "p": 5, "qu": 1},
    **{"r": 5, "s": 7, "t": 7, "v": 2, "w": 4, "x": 0.5, "y": 1.5, "z": 1, "": 6},
    **{"ch": 1.5, "sh": 1.5, "th": 2, "st": 2, "tr": 1.5, "br": 1, "pl": 1, "gr": 1, "cl": 1, "sp": 1, "fr": 1},
}
_VOWELS = {"a": 8, "e": 10, "i": 7, "o": 7, "u": 3, "y": 1, "ea": 1.5, "ee": 1, "oo": 1, "ai": 1, "ou": 1, "ie": 0.7}
_CODAS = {
    **{"": 18, "n": 5, "r": 5, "s": 4, "t": 4, "l": 3, "d": 3, "m": 2, "k": 1.5, "p": 1, "g": 1, "x": 0.7, "b": 0.5},
    **{
        "ll": 0.8,
        "ss": 0.8,
        "ck": 0.8,
        "ng": 1.2,
        "nd": 1,
        "nt": 1,
        "st": 1,
        "rt": 0.6,
        "ff": 0.4,
        "tt": 0.4,
        "z": 0.3,
    },
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


def _table(weights: dict[str, float]) -> tuple[list[str], list[float]]:
    """The parts, and where on a wheel of circumference 1 each but the first begins."""
    shares = np.array(list(weights.values()), dtype=float)
    return list(weights), np.cumsum(shares / shares.sum())[:-1].tolist()


_PARTS = [_table(weights) for weights in (_ONSETS, _VOWELS, _CODAS)]


def pseudo_word(rng: np.random.Generator) -> str:
    """A pronounceable word that most likely does not exist, 1 to 4 syllables."""
    syllables = bisect([0.25, 0.75, 0.95], rng.random()) + 1
    spots = rng.random((syllables, 3)).tolist()
    return "".join(
        parts[bisect(shares, spot)] for row in spots for (parts, shares), spot in zip(_PARTS, row, strict=True)
    )


def _characters(rng: np.random.Generator, alphabet: str, low: int, high: int) -> str:
    return "".join(alphabet[i] for i in rng.integers(len(alphabet), size=rng.integers(low, high + 1)))


def pseudo_text(rng: np.random.Generator, characters: str) -> str:
    """A text as people spell them: mostly a word; else two words, letters, a number, a phone number, an address, a
    link, or any mixture of `characters` but the space."""
    kind = rng.random()
    if kind < 0.60:
        return pseudo_word(rng)
    if kind < 0.70:
        return f"{pseudo_word(rng)} {pseudo_word(rng)}"
    if kind < 0.80:
        return _characters(rng, _LETTERS, 3, 8)
    if kind < 0.87:
        return _characters(rng, _DIGITS, 2, 6)
    if kind < 0.90:
        country, prefix, number = (_characters(rng, _DIGITS, length, length) for length in (2, 3, 4))
        return f"+{country}-{prefix}-{number}"
    if kind < 0.93:
        return f"{_characters(rng, _DIGITS, 1, 4)} {pseudo_word(rng)} {('st', 'road', 'ave')[rng.integers(3)]}"
    if kind < 0.96:
        return f"{pseudo_word(rng)}.{('com', 'org', 'net')[rng.integers(3)]}/{pseudo_word(rng)}"
    return _characters(rng, characters.replace(" ", ""), 3, 7)
