"""Slots of experience, and the actor that fills them.

A slot holds T steps of N environments in memory that is allocated once and written in place: step t of an
environment writes its observations and masks into row t + 1 and its rewards and flags into row t. Only the last
observations of truncated episodes are kept beside it, compactly, because the next episode's first observation has
taken their place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sysgym.agents.environments import Environments
from sysgym.agents.inference import masked_probabilities, sample
from sysgym.agents.networks import Network
from sysgym.agents.spaces import Spaces
from sysgym.core.errors import TrainingError
from sysgym.core.protocols import Slot


@dataclass
class Rollout:
    """T steps of N environments.

    Attributes:
        observations: (T + 1, N, *shape); row 0 is where the slot begins.
        masks: int8, (T + 1, N, A).
        actions: int64, (T, N).
        log_probabilities: float64, (T, N), of the actions under the policy that took them.
        rewards: float64, (T, N).
        terminated: bool, (T, N).
        truncated: bool, (T, N).
        final_observations: Last observations of the episodes that were truncated and not terminated, one array a
            step that had any, in the order of (t, n).
        episode_returns: Returns (unscaled, undiscounted) of the episodes that ended in the slot.
    """

    observations: NDArray[Any]
    masks: NDArray[np.int8]
    actions: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observations: list[NDArray[Any]] = field(default_factory=list)
    episode_returns: list[float] = field(default_factory=list)

    @classmethod
    def allocate(cls, spaces: Spaces, steps: int, num_envs: int) -> Rollout:
        """Zeroed memory for a slot."""
        return cls(
            np.zeros((steps + 1, num_envs, *spaces.shape), dtype=spaces.dtype),
            np.zeros((steps + 1, num_envs, spaces.num_actions), dtype=np.int8),
            np.zeros((steps, num_envs), dtype=np.int64),
            np.zeros((steps, num_envs)),
            np.zeros((steps, num_envs)),
            np.zeros((steps, num_envs), dtype=np.bool_),
            np.zeros((steps, num_envs), dtype=np.bool_),
        )

    def step_slot(self, t: int) -> Slot:
        """Views of the memory that step t writes."""
        return Slot(self.observations[t + 1], self.masks[t + 1], self.rewards[t], self.terminated[t], self.truncated[t])

    def carry_over(self) -> None:
        """Let the slot begin where it ended last."""
        self.observations[0], self.masks[0] = self.observations[-1], self.masks[-1]
        self.final_observations.clear()
        self.episode_returns.clear()

    @property
    def done(self) -> NDArray[np.bool_]:
        """Whether the step ended an episode, (T, N)."""
        return self.terminated | self.truncated

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """Whether a state allows more than one action, (T + 1, N)."""
        several: NDArray[np.bool_] = np.count_nonzero(self.masks, axis=-1) > 1
        return several

    @property
    def num_frames(self) -> int:
        """T x N."""
        return int(self.actions.size)

    def check_finite(self) -> None:
        """Refuse numbers that no learner can use.

        Raises:
            TrainingError: A reward or observation is NaN or infinite; the message says where.
        """
        for name, array in {"reward": self.rewards, "observation": self.observations[1:]}.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                step, row, *_ = np.argwhere(~np.isfinite(array))[0]
                raise TrainingError(f"the {name} of environment {row} at step {step} of the rollout is not finite")
        if any(not np.isfinite(final).all() for final in self.final_observations):
            raise TrainingError("the last observation of a truncated episode is not finite")


class Actor:
    """Plays environments with the current policy and writes what happens into a slot.

    Args:
        environments: What is played.
        network: Whose policy plays.
        steps: T.
        generator: Stream of the actions.
        seed: Of the environments.
    """

    def __init__(
        self, environments: Environments, network: Network, steps: int, generator: np.random.Generator, seed: int
    ) -> None:
        self.environments, self.network, self.generator = environments, network, generator
        self.rollout = Rollout.allocate(environments.spaces, steps, environments.num_envs)
        self.slots = [self.rollout.step_slot(t) for t in range(steps)]
        self._returns = np.zeros(environments.num_envs)
        self._device = next(network.parameters()).device
        # the first slot is carried over from the row in which episodes begin
        environments.reset(seed, self.rollout.observations[-1], self.rollout.masks[-1])

    def collect(self) -> Rollout:
        """Fill the slot with the next T steps of every environment; the memory is reused by the next call."""
        rollout = self.rollout
        rollout.carry_over()
        for t, slot in enumerate(self.slots):
            rollout.actions[t], rollout.log_probabilities[t] = self._choose(rollout.observations[t], rollout.masks[t])
            self.environments.step_into(rollout.actions[t], slot)
            rows = np.flatnonzero(slot.truncated & ~slot.terminated)
            if len(rows):
                rollout.final_observations.append(self.environments.final_observations(rows))
            self._count_returns(slot)
        return rollout

    @torch.no_grad()
    def _choose(
        self, observations: NDArray[Any], masks: NDArray[np.int8]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        logits = self.network.policy_logits(torch.from_numpy(observations).to(self._device)).cpu().numpy()
        probabilities = masked_probabilities(logits, masks)
        actions = sample(probabilities, self.generator.random(len(logits)))
        return actions, np.log(probabilities[np.arange(len(actions)), actions])

    def _count_returns(self, slot: Slot) -> None:
        self._returns += slot.rewards
        ended = np.flatnonzero(slot.terminated | slot.truncated)
        if len(ended):
            self.rollout.episode_returns.extend(self._returns[ended].tolist())
            self._returns[ended] = 0.0
