"""An actor that does not wait for the slowest environment: whoever is ready gets an action.

The environments stand in groups, each stepped by a thread of its own (which, with `stepping.processes`, only waits for
a worker process). A group that has stepped sends its states to the `collector`; the policy answers as soon as enough of
them have come. So an environment whose steps take long holds up its group alone, and all only at the end of the slot.

Which states are answered together then depends on the clock, and a matrix product of another height may round
otherwise: a run does not repeat bit for bit, unless the policy waits for all.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.actor import Actor, Behaviour
from sysgym.agents.collector.collector import Batch, Collected, Collector, Receiver
from sysgym.agents.rollout import Rollout
from sysgym.agents.stepping.environments import Arrays, Environments
from sysgym.core.columns import part_of
from sysgym.core.protocols import Slot


class GroupedEnvironments(Environments):
    """Environments in groups that can be stepped apart.

    Args:
        groups: The groups, in the order of their rows.

    Attributes:
        rows: Which rows each group has.
    """

    native = False

    def __init__(self, groups: Sequence[Environments]) -> None:
        first = groups[0]
        ends = list(itertools.accumulate(group.num_envs for group in groups))
        super().__init__(ends[-1], first.observation_space, first.action_space)
        self.groups, self.network = groups, first.network
        self.rows = [slice(begin, end) for begin, end in itertools.pairwise([0, *ends])]

    def reset(self, seeds: NDArray[np.int64], observations: NDArray[np.generic], masks: NDArray[np.int8]) -> None:
        """See `Environments.reset`."""
        for group, rows in zip(self.groups, self.rows, strict=True):
            group.reset(seeds[rows], observations[rows], masks[rows])

    def begin_slot(self) -> None:
        """See `Environments.begin_slot`."""
        for group in self.groups:
            group.begin_slot()

    def step_into(self, actions: NDArray[np.int64], slot: Slot) -> None:
        """See `Environments.step_into`; one group after another."""
        for group, rows in zip(self.groups, self.rows, strict=True):
            group.step_into(actions[rows], slot.rows(rows))

    def final_observations(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """See `Environments.final_observations`."""
        final = np.zeros((len(rows), *self.spaces.shape), dtype=self.spaces.dtype)
        for group, own in zip(self.groups, self.rows, strict=True):
            chosen = (own.start <= rows) & (rows < own.stop)
            if chosen.any():
                final[chosen] = group.final_observations(rows[chosen] - own.start)
        return final

    def snapshot(self) -> Arrays | None:
        """See `Environments.snapshot`; each group's part under its number."""
        snapshot: Arrays = {}
        for number, group in enumerate(self.groups):
            part = group.snapshot()
            if part is None:
                return None
            snapshot |= {f"{number}/{name}": array for name, array in part.items()}
        return snapshot

    def restore(self, snapshot: Mapping[str, NDArray[np.generic]], observations: NDArray[np.generic]) -> bool:
        """See `Environments.restore`; the snapshot is of as many groups."""
        stood = []
        for number, (group, rows) in enumerate(zip(self.groups, self.rows, strict=True)):
            part = part_of(snapshot, f"{number}/")
            stood.append(bool(part) and group.restore(part, observations[rows]))
        return all(stood)

    def close(self) -> None:
        """See `Environments.close`."""
        for group in self.groups:
            group.close()


class ReadyActor(Actor):
    """Plays the next T steps of environments that run on from slot to slot; answers those that are ready.

    Args:
        environments: What is played.
        behaviour: Who plays.
        generator: Stream of the actions; a step of a row takes the same number whenever it is played.
        seed: Of the environments; row i gets seed + i.
        min_batch: Fewest environments that are answered at once. All of them: the run repeats bit for bit.
    """

    def __init__(
        self,
        environments: GroupedEnvironments,
        behaviour: Behaviour,
        generator: np.random.Generator,
        seed: int,
        min_batch: int,
    ) -> None:
        super().__init__(environments, behaviour, generator, seed)
        self.grouped, self.min_batch = environments, min_batch

    def collect(self, rollout: Rollout) -> Rollout:
        """See `Actor.collect`.

        Raises:
            Exception: Whatever an environment raised, as it was raised.
        """
        begun = perf_counter_ns()
        rollout.begin(self.behaviour.version)
        if not self._begun:
            self._begin()
        self.environments.begin_slot()
        rollout.observations[0], rollout.masks[0] = self._observations, self._masks
        parts = [rollout.part(rows) for rows in self.grouped.rows]
        inference = self._play(rollout, parts)
        rollout.joined(self.grouped.rows, parts)
        rollout.version, rollout.episode_returns = self.behaviour.version, []
        rollout.spent["inference"] = inference
        for t in range(len(rollout.actions)):
            self._count_returns(rollout.step_slot(t), rollout)
        self._observations[...], self._masks[...] = rollout.observations[-1], rollout.masks[-1]
        rollout.end(begun, perf_counter_ns())
        return rollout

    def _play(self, rollout: Rollout, parts: Sequence[Rollout]) -> int:
        """Have all groups step, and answer them; returns the nanoseconds that the policy took."""
        rows, spaces = self.environments.num_envs, self.environments.spaces
        steps = len(rollout.actions)
        uniforms = np.stack([self.behaviour.uniforms(self.generator, rows) for _ in range(steps)])
        collector = Collector(
            {"observation": (spaces.shape, spaces.dtype), "mask": ((spaces.num_actions,), "int8")},
            rows,
            [Receiver("actor", rows, self.min_batch, 0.0, answers=("action", "log_probability"))],
            deterministic=self.min_batch == rows,
        )
        clients = [
            threading.Thread(target=self._step_group, args=(number, part, collector), name=f"group-{number}")
            for number, part in enumerate(parts)
        ]
        for part in parts:
            part.begin(self.behaviour.version)
        for client in clients:
            client.start()
        spent: list[int] = []
        try:
            collector.serve("actor", lambda batch: self._answer(batch, uniforms, spent))
        except Collected as end:
            raise end.__cause__ or end from None
        finally:
            for client in clients:
                client.join()
        return sum(spent)

    def _answer(self, batch: Batch, uniforms: NDArray[np.float64], spent: list[int]) -> Arrays:
        asked = perf_counter_ns()
        actions, log_probabilities = np.zeros(batch.size, dtype=np.int64), np.zeros(batch.size)
        drawn = uniforms[batch.sequences - 1, batch.clients]
        self.behaviour.choose(batch["observation"], batch["mask"], drawn, actions, log_probabilities)
        spent.append(perf_counter_ns() - asked)
        return {"action": actions, "log_probability": log_probabilities}

    def _step_group(self, number: int, part: Rollout, collector: Collector) -> None:
        group, rows = self.grouped.groups[number], self.grouped.rows[number]
        clients = np.arange(rows.start, rows.stop)
        try:
            for t in range(len(part.actions)):
                if self.abandoned:
                    raise CancelledError
                answer = collector.send(clients, observation=part.observations[t], mask=part.masks[t]).wait()
                part.actions[t], part.log_probabilities[t] = answer["action"], answer["log_probability"]
                slot, asked = part.step_slot(t), perf_counter_ns()
                group.step_into(part.actions[t], slot)
                part.spent["environment"] += perf_counter_ns() - asked
                cut = np.flatnonzero(slot.truncated & ~slot.terminated)
                if len(cut):
                    part.final_observations.append(group.final_observations(cut))
        except Collected:
            return
        except BaseException as error:  # the actor's thread raises it
            collector.fail(error)
            return
        collector.leave(clients)
