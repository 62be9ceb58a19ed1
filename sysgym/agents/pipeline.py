"""Between actor and learner: who waits for whom, and how old the weights may be that play a slot.

With theta_k the weights after k updates, slot k is played by

* `sync`: theta_k. Actor and learner take turns; the run repeats bit for bit.
* `lockstep`: theta_{k-1} (theta_0 for the first), in a thread of its own while the learner reads slot k - 1. The
  version is fixed when the slot is ordered, not when it happens to be played, so the run repeats bit for bit as well.
* `async`: the newest weights when the slot is begun, one version for all of it. Up to two slots are ordered ahead and
  are read in their order, so weights are never more than two updates behind; which, depends on the clock.

Slots are a ring of memory that is allocated once: one for the learner, and one for every slot that is ordered ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from sysgym.agents.actor import Actor, Weights
from sysgym.agents.environments import Arrays
from sysgym.agents.rollout import Rollout

MODES = {"sync": 0, "lockstep": 1, "async": 2}
"""Slots that are ordered ahead; also the largest lag."""

Snapshot = tuple[Arrays, dict[str, Any]]


class Played(NamedTuple):
    """A slot, and where the actor stood behind it (None unless asked for)."""

    rollout: Rollout
    behind: Snapshot | None


class Pipeline:
    """Orders slots from an actor ahead of the learner, as the mode allows.

    Args:
        actor: Who plays.
        mode: One of `MODES`.
        steps: T.
        weights: The newest.
        first: Those that play the first slot, where a resumed run had begun it with older ones.
        recoverable: Whether `snapshot` will be asked for.
    """

    def __init__(
        self,
        actor: Actor,
        mode: str,
        steps: int,
        weights: Weights,
        first: Weights | None = None,
        recoverable: bool = False,
    ) -> None:
        self.actor, self.mode, self.newest, self.recoverable = actor, mode, weights, recoverable
        self._next_weights = first or weights
        spaces, rows = actor.environments.spaces, actor.environments.num_envs
        self._ring = [Rollout.allocate(spaces, steps, rows) for _ in range(MODES[mode] + 1)]
        self._tickets = 0
        self._ordered: deque[Future[Played]] = deque()
        self._thread = ThreadPoolExecutor(1, "actor") if MODES[mode] else None
        self._last: Played | None = None

    def next(self) -> Rollout:
        """The next slot, in the order in which they were ordered; it may be read until the next call.

        Raises:
            Exception: Whatever the environment or the policy raised, as it was raised.
        """
        if self._thread is None:
            return self._play(self._ring[0], self.newest, False).rollout
        if not self._ordered:
            self._order(self._next_weights)
        self._last = self._ordered.popleft().result()
        while len(self._ordered) < MODES[self.mode]:
            self._order(self.newest)
        return self._last.rollout

    def publish(self, weights: Weights) -> None:
        """Let slots that are ordered (`async`: begun) from now on be played with these weights."""
        self.newest = weights

    def snapshot(self) -> Snapshot | None:
        """Where the actor stood behind the slot that `next` gave last; None where that was not kept."""
        if self._thread is None or (self._last is None and not self._ordered):
            return self.actor.snapshot()
        return self._last.behind if self._last is not None else None

    def next_weights(self) -> Weights:
        """The weights that play, or have played, the slot after the one that `next` gave last."""
        if self._thread is None or self.mode == "async":
            return self.newest
        return self._next_weights

    def close(self) -> None:
        """Wait for what was begun, and give up what was only ordered."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def _order(self, weights: Weights) -> None:
        assert self._thread is not None
        slot = self._ring[self._tickets % len(self._ring)]
        self._tickets += 1
        self._next_weights = weights
        self._ordered.append(self._thread.submit(self._play, slot, weights, self.recoverable))

    def _play(self, slot: Rollout, weights: Weights, keep: bool) -> Played:
        if self.mode == "async":
            weights = self.newest  # one reference: version and arrays belong together
        with torch_threads(1):  # batches are small, and the mode must not change how they are added up
            self.actor.behaviour.load(weights)
            rollout = self.actor.collect(slot)
        return Played(rollout, self.actor.snapshot() if keep else None)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch work with so many threads, and then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
