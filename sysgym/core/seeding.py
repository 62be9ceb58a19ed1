"""Named, independent random streams from one seed.

Two kinds, for two needs. `stream` gives a `numpy.random.Generator` for work that happens once in Python. `philox4x32`
is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in plain integer
arithmetic: what is drawn depends on the key and the counter alone, so that compiled kernels draw the same numbers
whatever the number of environments or threads. Rooms that may use numba compile the very same function.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

_MASK = 0xFFFFFFFF


@lru_cache(maxsize=4096)
def stream_key(seed: int, name: str) -> int:
    """Key of a named stream, for counter-based draws.

    Args:
        seed: The run's seed, any integer >= 0.
        name: The stream, such as "workload/train" or "policy".

    Returns:
        63 bits of SHA-256 over both, so that the key fits a signed integer. Equal on every machine and version.
    """
    digest = hashlib.sha256(f"{int(seed)}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(seed: int, name: str, *indices: int) -> np.random.Generator:
    """Generator of a named stream, for instance `stream(7, "network")` or `stream(7, "episode", 12)`.

    >>> stream(7, "policy").integers(100) == stream(7, "policy").integers(100)
    np.True_
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([stream_key(seed, name), *indices])))


def philox4x32(key: int, counter0: int, counter1: int, counter2: int, counter3: int) -> tuple[int, int, int, int]:
    """One block of Philox4x32-10: four 32-bit words from a 64-bit key and a 128-bit counter.

    Args:
        key: 64-bit key; its low half is the first key word.
        counter0: Lowest 32-bit word of the counter; the others follow.
        counter1: Second word.
        counter2: Third word.
        counter3: Highest word.

    Returns:
        Four integers in [0, 2**32). Written so that wrapping 64-bit integers and Python's own give the same result.
    """
    key0, key1 = key & _MASK, (key >> 32) & _MASK
    for _ in range(10):
        product0 = 0xD2511F53 * counter0
        product1 = 0xCD9E8D57 * counter2
        counter0 = ((product1 >> 32) & _MASK) ^ counter1 ^ key0
        counter1 = product1 & _MASK
        counter2 = ((product0 >> 32) & _MASK) ^ counter3 ^ key1
        counter3 = product0 & _MASK
        key0 = (key0 + 0x9E3779B9) & _MASK
        key1 = (key1 + 0xBB67AE85) & _MASK
    return counter0, counter1, counter2, counter3
