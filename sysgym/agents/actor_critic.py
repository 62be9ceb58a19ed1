"""What A2C, PPO and V-trace share: a value network beside the policy, rewards on a scale, slots as batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.checkpoint import plain
from sysgym.agents.learner import Learner, Share, shards
from sysgym.agents.networks import Network
from sysgym.agents.rollout import Rollout
from sysgym.agents.settings import Settings, require_choice
from sysgym.agents.updates.advantages import decision_trace, generalized_advantages, next_values
from sysgym.agents.updates.optimizers import Tensors
from sysgym.agents.updates.scaling import RewardScale
from sysgym.core.errors import require_range
from sysgym.core.seeding import stream

VALUE_CHUNK = 4096
"""Observations that pass the value network at once, so that wide observations do not exhaust memory."""


@dataclass(frozen=True)
class ActorCriticSettings(Settings):
    """Settings of every algorithm with a value network."""

    trace_decay: float = 0.9
    """lambda of the advantages. Lower than the common 0.95: arrivals that no action can change make long sums noisy
    (compact JobSched-v0, PPO, 3 M frames, seeds 0, 1, 2: mean slowdown 4.9, 4.8, 3.8; with 0.95 6.0, 4.6, 5.0)."""
    value_weight: float = 0.5
    """c_V, weight of the value's loss."""
    entropy_weight: float = 0.01
    """c_H, weight of the entropy."""
    scale_rewards: bool = True
    """Whether rewards are divided by a running scale, see `updates.scaling`."""
    reward_clip: float | None = None
    """Bound on the absolute value of a scaled reward; clipping changes what is optimised."""
    truncation: str = "bootstrap"
    """What follows a truncated episode: "bootstrap" its last observation's value, or "terminal" nothing (CleanRL)."""
    skip_forced: bool = True
    """Whether states that allow one action only are no decisions: the policy's loss and the entropy leave them out,
    and lambda does not decay there (`updates.advantages.decision_trace`). Their values are learned all the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("value_weight", "entropy_weight"):
            require_range(name, getattr(self, name), 0.0)
        if self.reward_clip is not None:
            require_range("reward_clip", self.reward_clip, 0.0, open_low=True)
        require_range("trace_decay", self.trace_decay, 0.0, 1.0)
        require_choice("truncation", self.truncation, ("bootstrap", "terminal"))


SettingsKind = TypeVar("SettingsKind", bound=ActorCriticSettings)


@dataclass(frozen=True)
class Batch:
    """Experience as a loss takes it; every field has one row a step."""

    observations: Tensor
    masks: Tensor
    decisions: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, chosen: Tensor | slice) -> Batch:
        """The chosen rows, copied; of a slice, as views."""
        return Batch(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def choices(self) -> Batch:
        """The rows that are decisions; all, where none is: their policy gradient is 0 as well."""
        return self.rows(self.decisions) if self.decisions.any() else self

    def __len__(self) -> int:
        return len(self.actions)


class ActorCritic(Learner[SettingsKind]):
    """A learner with a value network; see `Learner` for the arguments."""

    def __init__(self, network: Network, settings: SettingsKind, seed: int, threads: int = 1) -> None:
        super().__init__(network, settings, seed, threads)
        self.generator = stream(seed, "minibatches")
        self.reward_scale = RewardScale(settings.discount)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """See `Learner.state`."""
        tensors, values = super().state()
        scale = {"count": self.reward_scale.count, "mean_square": self.reward_scale.mean_square}
        return tensors, values | {"reward_scale": scale, "minibatches": plain(self.generator.bit_generator.state)}

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """See `Learner.restore`."""
        super().restore(tensors, values)
        self.reward_scale = RewardScale(self.settings.discount, **values["reward_scale"])
        self.generator.bit_generator.state = values["minibatches"]

    def _batch(self, rollout: Rollout) -> Batch:
        """Values, generalised advantages A and returns A + V of a slot."""
        observations = torch.from_numpy(rollout.observations).to(self.device)
        decisions = rollout.decisions if self.settings.skip_forced else np.ones_like(rollout.decisions)
        values = self._values(observations.flatten(0, 1)).reshape(rollout.observations.shape[:2])
        advantages = generalized_advantages(
            self._scaled_rewards(rollout),
            values,
            self._next_values(rollout, values),
            rollout.done,
            discount=self.settings.discount,
            trace_decay=decision_trace(decisions, self.settings.trace_decay),
        )
        values = values[:-1]
        return Batch(
            observations[:-1].flatten(0, 1),
            torch.from_numpy(rollout.masks[:-1]).to(self.device).flatten(0, 1).bool(),
            torch.from_numpy(decisions[:-1]).to(self.device).flatten(),
            torch.from_numpy(rollout.actions).to(self.device).flatten(),
            *(self._floats(array) for array in (rollout.log_probabilities, values, advantages, advantages + values)),
        )

    def _shares(self, batch: Batch, terms: Callable[[Batch], tuple[Tensor, dict[str, float]]]) -> list[Share]:
        """The shards of a batch, with what `terms` says of each."""
        cut = shards(len(batch), self.network.spaces.size)
        return [Share(size, partial(terms, batch.rows(rows))) for size, rows in cut]

    def _parts(self, size: int, parts: int) -> Iterator[NDArray[np.int64]]:
        """The numbers below `size` in random order, cut into parts."""
        yield from np.array_split(self.generator.permutation(size), min(parts, size))

    def _scaled_rewards(self, rollout: Rollout) -> NDArray[np.float64]:
        rewards = rollout.rewards
        if self.settings.scale_rewards:
            self.reward_scale.update(rewards, rollout.done)
            rewards = rewards / self.reward_scale.divisor
        bound = self.settings.reward_clip
        return rewards if bound is None else np.clip(rewards, -bound, bound)

    def _next_values(self, rollout: Rollout, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.settings.truncation == "terminal":
            return next_values(values, rollout.done, np.zeros_like(rollout.truncated), np.zeros(0))
        final = np.zeros(0)
        if rollout.final_observations:
            final = self._values(torch.from_numpy(np.concatenate(rollout.final_observations)).to(self.device))
        return next_values(values, rollout.terminated, rollout.truncated, final)

    @torch.no_grad()
    def _values(self, observations: Tensor) -> NDArray[np.float64]:
        chunks = [self.network.values(chunk) for chunk in torch.split(observations, VALUE_CHUNK)]
        return torch.cat(chunks).double().cpu().numpy()

    def _floats(self, array: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(array.astype(np.float32).ravel()).to(self.device)


def means(steps: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over several steps of the optimiser."""
    return {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 where values foretell returns exactly, 0 where a constant does as well."""
    variance = returns.var().item()
    return 1.0 - (returns - values).var().item() / variance if variance > 0 else 0.0
