"""Actors: they play environments with published weights and write what happens into slots.

`Actor` goes on where its last slot ended; `EpisodeActor` begins every slot with fresh episodes, several of them on the
same workload. Whose weights play, and how, is a `Behaviour`: a copy of the network that the learner does not touch, so
that both can work at the same time.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import CancelledError
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.acting.inference import masked_probabilities, sample
from sysgym.agents.checkpoint import plain
from sysgym.agents.rollout import Rollout
from sysgym.agents.stepping.environments import Arrays, Environments
from sysgym.core.columns import part_of
from sysgym.core.protocols import Slot
from sysgym.core.seeding import stream_key

if TYPE_CHECKING:
    from sysgym.agents.networks import Network


class Weights(NamedTuple):
    """Published weights: version and arrays travel as one reference, so that they cannot be mislabelled.

    Attributes:
        version: Updates that made them.
        tensors: As `Network.state_dict` has them; nobody writes to them.
    """

    version: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, network: Network, version: int) -> Weights:
        """A copy of a network's weights as they stand."""
        return cls(version, {name: value.detach().clone() for name, value in network.state_dict().items()})


class Behaviour:
    """The policy that plays: the network with published weights.

    Args:
        network: Its shapes and device; copied.

    Attributes:
        version: Of the weights.
        masked: Whether the environments' masks are kept; else all actions are allowed, to the learner too.
    """

    def __init__(self, network: Network) -> None:
        self.network = copy.deepcopy(network)
        self.version = 0
        self.masked = True
        self._device = next(network.parameters()).device

    def load(self, weights: Weights) -> None:
        """Play with these weights from now on."""
        self.network.load_state_dict(weights.tensors)
        self.version = weights.version

    def to(self, device: str) -> None:
        """Play on this device."""
        self.network.to(device)
        self._device = torch.device(device)

    @torch.no_grad()
    def logits(self, observations: NDArray[np.generic]) -> NDArray[np.float32]:
        """(N, A) from observations (N, *shape)."""
        logits: NDArray[np.float32] = self.network.policy_logits(self._tensor(observations)).cpu().numpy()
        return logits

    def choose(
        self,
        observations: NDArray[np.generic],
        masks: NDArray[np.int8],
        uniforms: NDArray[np.float64],
        actions: NDArray[np.int64],
        log_probabilities: NDArray[np.float64],
    ) -> None:
        """Draw an allowed action a row by inverse transform.

        Args:
            observations: (N, *shape).
            masks: (N, A).
            uniforms: (N,), in [0, 1).
            actions: Written, (N,).
            log_probabilities: Written, (N,), of the actions.
        """
        probabilities = masked_probabilities(self.logits(observations), masks)
        actions[:] = sample(probabilities, uniforms)
        log_probabilities[:] = np.log(probabilities[np.arange(len(actions)), actions])

    def uniforms(self, generator: np.random.Generator, num_envs: int) -> NDArray[np.float64]:
        """The numbers that choose the actions of a step, (N,)."""
        return generator.random(num_envs)

    def _tensor(self, observations: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(observations).to(self._device)


class Actor:
    """Plays the next T steps of environments that run on from slot to slot.

    Args:
        environments: What is played.
        behaviour: Who plays.
        generator: Stream of the actions.
        seed: Of the environments; row i gets seed + i.

    Attributes:
        abandoned: Set from another thread where nobody wants the slot any more that is being played.
    """

    abandoned = False

    def __init__(
        self, environments: Environments, behaviour: Behaviour, generator: np.random.Generator, seed: int
    ) -> None:
        self.environments, self.behaviour, self.generator, self.seed = environments, behaviour, generator, seed
        spaces, rows = environments.spaces, environments.num_envs
        self._observations = np.zeros((rows, *spaces.shape), dtype=spaces.dtype)
        self._masks = np.zeros((rows, spaces.num_actions), dtype=np.int8)
        self._returns = np.zeros(rows)
        self._begun = False

    def collect(self, rollout: Rollout) -> Rollout:
        """Fill a slot; returns the part of it that was filled."""
        begun = perf_counter_ns()
        rollout.begin(self.behaviour.version)
        if not self._begun:
            self._begin()
        self.environments.begin_slot()
        rollout.observations[0], rollout.masks[0] = self._observations, self._masks
        for t in range(len(rollout.actions)):
            self._step(rollout, t)
        self._observations[...], self._masks[...] = rollout.observations[-1], rollout.masks[-1]
        rollout.end(begun, perf_counter_ns())
        return rollout

    def snapshot(self) -> tuple[Arrays, dict[str, Any]]:
        """Where the next slot begins: arrays, and plain values as JSON takes them."""
        values = {"stream": plain(self.generator.bit_generator.state), "returns": self._returns.tolist()}
        if not self._begun:
            return {}, values
        tensors = {"observations": self._observations.copy(), "masks": self._masks.copy()}
        environments = self.environments.snapshot() or {}
        tensors |= {f"environments/{name}": array for name, array in environments.items()}
        return tensors, values

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> bool:
        """The inverse of `snapshot`.

        Returns:
            False where the environments could not be put back where they stood: the next slot begins with new episodes.
        """
        self.generator.bit_generator.state = values["stream"]
        if not tensors:
            return True
        if not self.environments.restore(part_of(tensors, "environments/"), tensors["observations"]):
            return False
        self._begun = True
        self._observations[...], self._masks[...] = tensors["observations"], tensors["masks"]
        self._returns[:] = values["returns"]
        return True

    def _begin(self) -> None:
        seeds = self.seed + np.arange(self.environments.num_envs)
        self.environments.reset(seeds, self._observations, self._masks)
        self._returns[:], self._begun = 0.0, True

    def _step(self, rollout: Rollout, t: int) -> None:
        if self.abandoned:
            raise CancelledError
        slot = rollout.step_slot(t)
        uniforms = self.behaviour.uniforms(self.generator, self.environments.num_envs)
        actions, log_probabilities = rollout.actions[t], rollout.log_probabilities[t]
        if not self.behaviour.masked:
            rollout.masks[t] = 1
        asked = perf_counter_ns()
        self.behaviour.choose(rollout.observations[t], rollout.masks[t], uniforms, actions, log_probabilities)
        chosen = perf_counter_ns()
        self.environments.step_into(actions, slot)
        if not self.behaviour.masked:
            slot.action_masks[...] = 1
        rollout.spent["inference"] += chosen - asked
        rollout.spent["environment"] += perf_counter_ns() - chosen
        rows = np.flatnonzero(slot.truncated & ~slot.terminated)
        if len(rows):
            rollout.final_observations.append(self.environments.final_observations(rows))
        self._count_returns(slot, rollout)

    def _count_returns(self, slot: Slot, rollout: Rollout) -> None:
        self._returns += slot.rewards
        ended = np.flatnonzero(slot.terminated | slot.truncated)
        if len(ended):
            rollout.episode_returns.extend(self._returns[ended].tolist())
            self._returns[ended] = 0.0


class EpisodeActor(Actor):
    """Plays fresh episodes in every slot, each group of rows on a workload of its own.

    A row that has ended plays on until all have; `Rollout.alive` tells the steps of its first episode.

    Args:
        environments: What is played.
        behaviour: Who plays.
        generator: Stream of the actions.
        seed: Of the workloads.
        group: Rows that play the same workload; divides the number of rows.
        cycle: Workloads that the slots go through again and again; None: always new ones.
    """

    def __init__(
        self,
        environments: Environments,
        behaviour: Behaviour,
        generator: np.random.Generator,
        seed: int,
        group: int,
        cycle: int | None = None,
    ) -> None:
        self.group, self.cycle, self.slots = group, cycle, 0
        super().__init__(environments, behaviour, generator, seed)

    def collect(self, rollout: Rollout) -> Rollout:
        """See `Actor.collect`; the slot may be filled in part, and an episode that outlasts it is cut."""
        begun = perf_counter_ns()
        rollout.begin(self.behaviour.version)
        self._begin()
        self.environments.begin_slot()
        rollout.observations[0], rollout.masks[0] = self._observations, self._masks
        ended = np.zeros(self.environments.num_envs, dtype=np.bool_)
        for t in range(len(rollout.actions)):
            self._step(rollout, t)
            ended |= rollout.terminated[t] | rollout.truncated[t]
            if ended.all():
                break
        rollout.end(begun, perf_counter_ns())
        filled = rollout.first(t + 1)
        filled.episode_returns[:] = (filled.rewards * filled.alive).sum(axis=0)[ended].tolist()
        return filled

    def snapshot(self) -> tuple[Arrays, dict[str, Any]]:
        """See `Actor.snapshot`; nothing of the environments outlasts a slot."""
        return {}, {"stream": plain(self.generator.bit_generator.state), "slots": self.slots}

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> bool:
        """See `Actor.restore`."""
        del tensors
        self.generator.bit_generator.state = values["stream"]
        self.slots = values["slots"]
        return True

    def _begin(self) -> None:
        workloads = np.arange(self.environments.num_envs) // self.group
        if self.cycle is None:
            key = stream_key(self.seed, f"slot/{self.slots}") % 2**31
        else:
            key = stream_key(self.seed, "cycle") % 2**31
            workloads = (workloads + self.slots * (workloads[-1] + 1)) % self.cycle
        self.environments.reset(key + workloads, self._observations, self._masks)
        self._returns[:] = 0.0
        self.slots += 1
