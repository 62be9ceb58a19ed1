"""Random variates of the models, compiled, from a counter-based stream: the same with every release of numpy.

A stream is a key (from seed and name) and a counter, an array of one int64 that each draw moves on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.seeding import stream_key
from sysgym.workloads import draws

Counter = NDArray[np.int64]


def stream_of(seed: int, model: str, name: str) -> tuple[int, Counter]:
    """Key and counter of a model's named stream."""
    return stream_key(seed, f"workloads/{model}/{name}"), np.zeros(1, dtype=np.int64)


@compiled
def uniform(key: int, counter: Counter) -> float:
    """A float in (0, 1), never 0, so that its logarithm is finite."""
    counter[0] += 1
    return draws.uniform(key, counter[0] >> 32, counter[0] & 0xFFFFFFFF) + 2.0**-54


@compiled
def normal(key: int, counter: Counter) -> float:
    """A standard normal variate (Box and Muller, 1958); one of the pair, for a simple stream."""
    size = math.sqrt(-2.0 * math.log(uniform(key, counter)))
    return size * math.cos(2.0 * math.pi * uniform(key, counter))


@compiled
def exponential(key: int, counter: Counter) -> float:
    """An exponential variate of mean 1."""
    return -math.log(uniform(key, counter))


@compiled
def gamma(key: int, counter: Counter, shape: float, scale: float) -> float:
    """A gamma variate with shape at least 1 (Marsaglia and Tsang, ACM TOMS 26(3), 2000)."""
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(key, counter)
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(uniform(key, counter)) < 0.5 * x * x + d - d * v + d * math.log(v):
            return d * v * scale


@compiled
def integer(key: int, counter: Counter, low: int, high: int) -> int:
    """An integer in low..high, both included."""
    return min(high, low + int(uniform(key, counter) * (high - low + 1)))
