"""Counter-based draws, compiled: the only randomness that kernels and simulators share.

`core.seeding.philox4x32` compiled by numba, and the two transforms that workloads need. A draw is named by (key,
episode, index), so simulator and kernel, single and batched environments see the same arrivals.
"""

from __future__ import annotations

from sysgym.core.compiled import compiled
from sysgym.core.seeding import philox4x32 as _philox4x32

philox4x32 = compiled(_philox4x32)


@compiled
def uniform(key: int, episode: int, index: int) -> float:
    """A float in [0, 1) with 53 random bits."""
    word0, word1, _, _ = philox4x32(key, index, episode & 0xFFFFFFFF, (episode >> 32) & 0xFFFFFFFF, 0)
    return ((word0 >> 5) * 67108864.0 + (word1 >> 6)) / 9007199254740992.0


@compiled
def integer(key: int, episode: int, index: int, low: int, high: int) -> int:
    """An integer in low..high, both included."""
    return low + int(uniform(key, episode, index) * (high - low + 1))
