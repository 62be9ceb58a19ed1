"""What collective communication costs, and how workers that synchronise keep step.

The alpha-beta model: a message of n bytes takes alpha + n/B, with latency alpha in seconds and bandwidth B in bytes/s
per network card and direction. Formulas for p workers that reduce n bytes each so that all hold the sum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known, require_range

REDUCTIONS = ("ring", "tree", "recursive_doubling", "halving_doubling", "parameter_server")


def all_reduce(
    method: str,
    workers: int,
    size_bytes: float,
    latency: float = 0.0,
    bandwidth: float = 1.0,
    *,
    servers: int = 1,
    half_duplex: bool = False,
) -> float:
    """Seconds of an all-reduce.

    Args:
        method: One of `REDUCTIONS`. "tree" is a binary tree without pipelining; "parameter_server" is limited by the
            cards of its servers.
        workers: How many; 1 costs nothing.
        size_bytes: Bytes that each worker holds.
        latency: Seconds a message.
        bandwidth: Bytes/s of a network card, each direction.
        servers: Shards of the parameter server.
        half_duplex: Whether a server's card sends and receives in turn.

    Raises:
        UnknownNameError: No such method.
        SettingError: A number out of range, or workers that are no power of 2 where the method needs one.

    >>> all_reduce("ring", 4, 8.0, latency=0.5, bandwidth=2.0)
    9.0
    """
    require_known("reduction", method, REDUCTIONS)
    require_range("workers", workers, 1)
    require_range("size_bytes", size_bytes, 0.0)
    require_range("latency", latency, 0.0)
    require_range("bandwidth", bandwidth, 0.0, open_low=True)
    require_range("servers", servers, 1)
    if workers == 1:
        return 0.0
    moved = size_bytes / bandwidth
    if method == "ring":
        return 2 * (workers - 1) * latency + 2 * (workers - 1) / workers * moved
    if method == "tree":
        return 2 * math.ceil(math.log2(workers)) * (latency + moved)
    if method == "parameter_server":
        return 2 * latency + (2 if half_duplex else 1) * workers * moved / servers
    if workers & (workers - 1):
        raise SettingError(f"{method} among {workers} workers; their number must be a power of 2")
    rounds = workers.bit_length() - 1
    if method == "recursive_doubling":
        return rounds * (latency + moved)
    return 2 * rounds * latency + 2 * (workers - 1) / workers * moved


def ring_bytes_per_worker(workers: int, size_bytes: float) -> float:
    """Bytes that each worker of a ring all-reduce sends."""
    require_range("workers", workers, 1)
    return 2 * (workers - 1) / workers * size_bytes


def synchronous_step(step_seconds: NDArray[np.float64], dropped: int = 0) -> NDArray[np.float64]:
    """Seconds of each bulk-synchronous step: that of the slowest worker not dropped.

    Args:
        step_seconds: Shape (steps, workers).
        dropped: How many of the slowest workers nobody waits for.
    """
    require_range("dropped", dropped, 0, step_seconds.shape[1] - 1)
    return np.sort(step_seconds, axis=1)[:, step_seconds.shape[1] - 1 - dropped]


def asynchronous_throughput(seconds_per_step: NDArray[np.float64]) -> float:
    """Steps a second of workers that never wait; `seconds_per_step` has shape (workers,)."""
    return float((1.0 / seconds_per_step).sum())


def stale_synchronous(step_seconds: NDArray[np.float64], staleness: int) -> NDArray[np.float64]:
    """When each worker ends each step, if nobody may be more than `staleness` steps ahead; shape (steps, workers).

    Step k of a worker begins when its own step k - 1 has ended and every worker has ended step k - 1 - staleness.
    Staleness 0 is bulk-synchronous.
    """
    require_range("staleness", staleness, 0)
    ended = np.zeros_like(step_seconds)
    for step in range(len(step_seconds)):
        begin = ended[step - 1] if step else np.zeros(step_seconds.shape[1])
        barrier = float(ended[step - 1 - staleness].max()) if step > staleness else 0.0
        ended[step] = np.maximum(begin, barrier) + step_seconds[step]
    return ended
