"""Families of key sets that a tuner learns from, and others on which it is judged.

Training sees none of the families of validation and test, whose first five are those of the comparisons (`keysets`).
An instance is named by its split and number: both seed a generator that draws the family's parameters and the keys.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sysgym.learned_index.keysets import key_set

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
_TOP = float(1 << 62)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values moved and stretched to fill [0, 2^62)."""
    low, high = float(values.min()), float(values.max())
    return (values - low) * ((_TOP - 1024) / max(high - low, 1e-300))


def _normals(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """A mixture of 2 to 40 normal distributions of very different widths."""
    parts = int(generator.integers(2, 41))
    centres, widths = generator.uniform(0, 1, parts), 2.0 ** generator.uniform(-20, -3, parts)
    part = generator.choice(parts, size, p=generator.dirichlet(np.ones(parts)))
    return centres[part] + widths[part] * generator.standard_normal(size)


def _heavy_gaps(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Independent gaps with a heavy tail."""
    return np.cumsum(1.0 + generator.pareto(generator.uniform(0.5, 3.0), size))


def _segments(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Up to 300 neighbouring ranges, each evenly filled, of very different densities."""
    parts = int(2.0 ** generator.uniform(1, 8.2))
    lengths = 2.0 ** generator.uniform(-12, 0, parts)
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    part = generator.choice(parts, size, p=generator.dirichlet(np.full(parts, 0.7)))
    return starts[part] + lengths[part] * generator.random(size)


def _growth(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Keys that grow exponentially, over up to 55 doublings."""
    return 2.0 ** (generator.uniform(2, 55) * generator.random(size) ** generator.uniform(0.5, 2.0))


def _regular(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Numbers given out in turn, with some noise and up to 100 holes."""
    holes = generator.integers(0, size, int(generator.integers(1, 101)))
    steps = np.ones(size)
    steps[holes] += size * 2.0 ** generator.uniform(-12, 0, len(holes))
    return np.cumsum(steps) + generator.uniform(0, generator.choice([0.2, 2.0, 20.0]), size)


def _outliers(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """One of the families above in a small corner, and 1 to 60 keys far from it."""
    inner = _scaled(TRAINING[int(generator.integers(len(TRAINING) - 1))][1](generator, size))
    few = int(generator.integers(1, 61))
    inner[-few:] = _TOP * generator.uniform(2.0**8, 2.0 ** generator.uniform(9, 20), few)
    return inner if generator.random() < 0.7 else inner.max() - inner


TRAINING: tuple[tuple[str, Draw], ...] = (
    ("normals", _normals),
    ("heavy_gaps", _heavy_gaps),
    ("segments", _segments),
    ("growth", _growth),
    ("regular", _regular),
    ("outliers", _outliers),
)


def _beta(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """A beta distribution, often with steep ends."""
    a, b = generator.uniform(0.15, 6.0, 2).tolist()
    return generator.beta(a, b, size)


def _waves(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """A density that goes up and down."""
    x = generator.random(size) * generator.integers(2, 40)
    return x + generator.uniform(0.3, 0.99) * np.sin(2 * np.pi * x) / (2 * np.pi)


VALIDATION: tuple[tuple[str, Draw], ...] = (("beta", _beta), ("waves", _waves))


def _bursts(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Times in nanoseconds: bursts of requests, days and nights."""
    bursts = np.sort(generator.random(max(1, size // 50)))
    day = bursts * 30 + 0.15 * np.sin(2 * np.pi * bursts * 30)
    return day[generator.integers(0, len(day), size)] + generator.exponential(2e-7, size)


def _words(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """The first 8 letters of made-up words, as a big-endian number: few letters, and each depends on the last."""
    follow = generator.dirichlet(np.full(26, 0.3), 27).cumsum(axis=1)
    letter, number = np.full(size, 26), np.zeros(size)
    for _ in range(8):
        letter = np.minimum((follow[letter] < generator.random(size)[:, None]).sum(axis=1), 25)
        number = number * 256 + 97 + letter
    return number


TEST: tuple[tuple[str, Draw | None], ...] = (
    ("uniform", None), ("lognormal", None), ("normal", None), ("osm", None), ("steps", None),
    ("bursts", _bursts), ("words", _words),
)  # fmt: skip
"""Where there is no function, `keysets.key_set` draws."""

_FAMILIES = {"train": TRAINING, "valid": VALIDATION, "test": TEST}


def family(split: str, number: int) -> str:
    """Name of the family of an instance; families take turns."""
    known = _FAMILIES[split]
    return known[number % len(known)][0]


def draw_keys(split: str, number: int, size: int) -> NDArray[np.uint64]:
    """The sorted keys of an instance: distinct, and about `size` of them."""
    name, draw = _FAMILIES[split][number % len(_FAMILIES[split])]
    if draw is None:
        return key_set(name, size, seed=42 + number)
    generator = np.random.default_rng([sum(map(ord, split)), number])
    return np.unique(_scaled(draw(generator, int(1.02 * size))).astype(np.uint64))[:size]


def size_of(split: str, number: int) -> int:
    """Keys that an instance asks for: log-uniform in training and validation, growing in the test."""
    if split == "test":
        return (1 << 17, 1 << 20, 1 << 22, 20_000_000)[number // len(TEST)]
    return int(2.0 ** np.random.default_rng([len(split), number]).uniform(12, 20.5))
