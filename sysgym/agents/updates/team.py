"""A few threads that work on parts of one minibatch; who works on what is fixed, so that bits do not depend on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

LARGEST_SHARDS = 8
SHARD_NUMBERS = 1 << 15
"""A shard holds at least so many numbers of observations: fewer make matrix products too small to be fast."""


def shards_of(rows: int, features: int) -> int:
    """Parts that a minibatch is cut into; depends on its size alone, never on the number of threads."""
    return max(1, min(LARGEST_SHARDS, rows * features // SHARD_NUMBERS, rows))


class Team:
    """Threads that share tasks; the caller is one of them.

    Args:
        threads: How many; 1 does everything in the calling thread.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, "learner", _one_torch_thread) if threads > 1 else None

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all tasks, in their order; task i is done by thread i modulo the number of threads.

        Raises:
            Exception: Whatever the first failing task raised, after all have ended.
        """
        if self._pool is None or len(tasks) == 1:
            return [task() for task in tasks]
        shares = [tasks[thread :: self.threads] for thread in range(self.threads)]
        others = [self._pool.submit(_all_of, share) for share in shares[1:] if share]
        try:
            done = [_all_of(shares[0])]
        finally:
            for other in others:
                other.exception()  # waits: nobody may still be writing when the caller goes on
        done += [other.result() for other in others]
        return [done[index % self.threads][index // self.threads] for index in range(len(tasks))]


def tree_sum(parts: Sequence[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Sums of the tensors at the same place of every part, by pairs in fixed order, left in the first part."""
    step = 1
    while step < len(parts):
        for left in range(0, len(parts) - step, 2 * step):
            for into, other in zip(parts[left], parts[left + step], strict=True):
                into.add_(other)
        step *= 2
    return parts[0]


def _all_of(tasks: Sequence[Callable[[], T]]) -> list[T]:
    return [task() for task in tasks]


def _one_torch_thread() -> None:
    torch.set_num_threads(1)
