"""How things move: minimum-jerk steps between key postures, slow sway, correlated noise, bursts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def minimum_jerk(phase: np.ndarray) -> np.ndarray:
    """The minimum-jerk profile 10p^3 - 15p^4 + 6p^5 (Flash & Hogan 1985): 0 up to phase 0, 1 from phase 1 on."""
    phase = np.clip(phase, 0, 1)
    return phase * phase * phase * (10 + phase * (6 * phase - 15))


def follow_keys(
    keys: np.ndarray, begins: np.ndarray, ends: np.ndarray, groups: Sequence[slice], times: np.ndarray
) -> np.ndarray:
    """Move through key postures; steps that overlap in time add up, which is what blends neighbouring letters.

    Args:
        keys: `[K, D]` postures.
        begins: `[G, K - 1]` seconds at which each group of channels leaves key k for key k + 1.
        ends: `[G, K - 1]` seconds at which it arrives there.
        groups: G slices of the D channels that share their timing.
        times: `[T]` seconds.

    Returns:
        `[T, D]` float32.
    """
    steps = np.diff(keys, axis=0).astype(np.float32)
    begins, spans = begins.astype(np.float32), (ends - begins).astype(np.float32)
    done = minimum_jerk((times.astype(np.float32)[:, None] - begins[:, None, :]) / spans[:, None, :])  # [G, T, K-1]
    path = np.empty((len(times), keys.shape[1]), dtype=np.float32)
    for group, share in zip(groups, done, strict=True):
        path[:, group] = keys[0, group] + share @ steps[:, group]
    return path


def sway(rng: np.random.Generator, times: np.ndarray, channels: int, fastest_hz: float = 0.6) -> np.ndarray:
    """Slow smooth wandering `[T, channels]` of unit variance: three sines of random frequency and phase."""
    frequency, phase = rng.uniform(0.08, fastest_hz, (3, channels)), rng.uniform(0, 2 * np.pi, (3, channels))
    angle = 2 * np.pi * times[:, None, None] * frequency + phase
    return (np.sin(angle.astype(np.float32)).sum(axis=1) * np.float32(np.sqrt(2 / 3))).astype(np.float32)


def correlated_noise(rng: np.random.Generator, shape: tuple[int, ...], memory: float) -> np.ndarray:
    """Autoregressive noise along axis 0 of unit variance: x[t] = memory * x[t-1] + e[t], memory in [0, 1).

    The recurrence is summed by doubling: after the step of s frames every value holds its last 2s innovations.
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise[1:] *= np.float32(np.sqrt(1 - memory**2))
    step, weight = 1, memory
    while step < len(noise) and weight > 1e-3:
        noise[step:] += np.float32(weight) * noise[:-step].copy()
        step, weight = 2 * step, weight * weight
    return noise


def bursts(rng: np.random.Generator, start_probability: np.ndarray, mean_length: float) -> np.ndarray:
    """`[T]` bool: runs that begin with the given probability at each frame and last geometrically many frames."""
    starts = rng.random(len(start_probability)) < start_probability
    lengths = rng.geometric(1 / max(mean_length, 1.0), size=len(starts))
    frames = np.arange(len(starts))
    return np.maximum.accumulate(np.where(starts, frames + lengths, 0)) > frames
