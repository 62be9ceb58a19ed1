"""Players: the actors of a run as the pipeline sees them, in a thread of this process or elsewhere.

A `Role` says what one actor plays: so many of the run's rows, with its own stream of actions. `LocalPlayer` plays it in
this process; `distributed.RayPlayer` has it played in another one.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from sysgym.agents.actor import Actor, Behaviour, EpisodeActor, Weights
from sysgym.agents.playing.ready import GroupedEnvironments, ReadyActor
from sysgym.agents.rollout import Rollout
from sysgym.agents.stepping.environments import Arrays, Environments
from sysgym.core.seeding import stream, stream_key

Snapshot = tuple[Arrays, dict[str, Any]]


class Played(NamedTuple):
    """A part of a slot, and where its actor stood behind it (None unless asked for)."""

    rollout: Rollout
    behind: Snapshot | None


@dataclass(frozen=True)
class Role:
    """What one actor of a run plays.

    Attributes:
        rows: Which of the run's environments.
        behaviour: Who plays; the actor's own copy.
        seed: Of the run.
        begun: Updates before this run: environments that begin anew in a resumed run begin other episodes.
        group: Rows that play the same workload, where slots hold whole episodes; 0 where episodes run on.
        min_batch: Fewest of the rows that are answered at once; None waits for all.
        cycle: See `EpisodeActor`.
    """

    rows: slice
    behaviour: Behaviour
    seed: int
    begun: int
    group: int
    min_batch: int | None = None
    cycle: int | None = None

    def cast(self, environments: Environments) -> Actor:
        """The actor, in these environments."""
        first = self.rows.start
        generator = stream(self.seed, f"policy/{first}" if first else "policy")
        if self.group:
            key = stream_key(self.seed, "workloads")
            return EpisodeActor(environments, self.behaviour, generator, key, self.group, self.cycle)
        seed = stream_key(self.seed, f"environments/{self.begun}") % 2**31
        if self.min_batch is not None:
            assert isinstance(environments, GroupedEnvironments)
            fewest = min(self.min_batch, environments.num_envs)
            return ReadyActor(environments, self.behaviour, generator, seed + first, fewest)
        return Actor(environments, self.behaviour, generator, seed + first)


class Player(abc.ABC):
    """Plays one part of every slot; what is ordered is played in the order of the orders."""

    @abc.abstractmethod
    def order(self, part: Rollout, weights: Callable[[], Weights], keep: bool) -> Future[Played]:
        """Have a part of a slot played.

        Args:
            part: Its memory.
            weights: Asked when the part is begun.
            keep: Whether `Played.behind` is wanted.
        """

    @abc.abstractmethod
    def snapshot(self) -> Snapshot:
        """Where the actor stands; nothing may be under way."""

    @abc.abstractmethod
    def restore(self, snapshot: Snapshot) -> bool:
        """See `Actor.restore`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give up what was ordered, the step that is being played excepted, and free the environments."""


class LocalPlayer(Player):
    """An actor in this process.

    Args:
        actor: Who plays.
        threaded: Whether in a thread of its own; else `order` plays at once.
    """

    def __init__(self, actor: Actor, threaded: bool) -> None:
        self.actor = actor
        self._thread = ThreadPoolExecutor(1, "actor") if threaded else None

    def order(self, part: Rollout, weights: Callable[[], Weights], keep: bool) -> Future[Played]:
        """See `Player.order`."""
        if self._thread is not None:
            return self._thread.submit(self._play, part, weights, keep)
        played: Future[Played] = Future()
        played.set_result(self._play(part, weights, keep))
        return played

    def snapshot(self) -> Snapshot:
        """See `Player.snapshot`."""
        return self.actor.snapshot()

    def restore(self, snapshot: Snapshot) -> bool:
        """See `Player.restore`."""
        return self.actor.restore(*snapshot)

    def close(self) -> None:
        """See `Player.close`."""
        self.actor.abandoned = True
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self.actor.environments.close()

    def _play(self, part: Rollout, weights: Callable[[], Weights], keep: bool) -> Played:
        with torch_threads(1):  # batches are small, and the mode must not change how they are added up
            self.actor.behaviour.load(weights())
            rollout = self.actor.collect(part)
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
