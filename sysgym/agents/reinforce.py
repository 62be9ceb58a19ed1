"""REINFORCE with a baseline that depends on time: several episodes on the same workload judge each other.

After Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine
Learning 8 (1992), and Mao et al., "Resource management with deep reinforcement learning" (DeepRM), HotNets 2016,
section 3.3. N episodes i play the same workload; equation numbers are ours:

    (1)  G_t^i = sum_{s >= t} gamma^(s - t) r_s^i, up to the end of episode i
    (2)  b_t = 1/N sum_j G_t^j                     "deeprm": an episode that has ended counts as 0
         b_t = mean of G_t^j, j not ended by t     "alive"
         b_t^i = 1/(N - 1) sum_{j != i} G_t^j      "leave_one_out", padded as in "deeprm"
    (3)  g = 1/M sum_i sum_t grad log pi(a_t^i|s_t^i) (G_t^i - b_t^i) + c_H grad mean H

M counts the steps of the batch ("per_step") or its episodes ("per_episode"). Only leave-one-out with "per_episode" has
exactly the policy gradient as its expectation: a mean that includes the episode itself shrinks it by 1 - 1/N, and the
number of steps is random. There is no value network, so nothing is added where an episode was truncated or cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.learner import Learner, Share, shards
from sysgym.agents.networks import Network, masked_entropy, masked_log_probabilities
from sysgym.agents.rollout import Rollout
from sysgym.agents.settings import Settings, require_choice
from sysgym.agents.updates.optimizers import Tensors
from sysgym.core.errors import SettingError, require_range

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
BASELINES = ("leave_one_out", "deeprm", "alive")


@dataclass(frozen=True)
class ReinforceSettings(Settings):
    """Settings of REINFORCE."""

    whole_episodes: ClassVar[bool] = True

    rollout_steps: int = 200
    """Steps after which an episode is cut (DeepRM's number)."""
    learning_rate: float = 1e-2
    """Of the optimiser; large, because every update is one step."""
    episodes_per_workload: int = 16
    """N, episodes that play the same workload; divides the number of environments."""
    baseline: str = "leave_one_out"
    """(2)."""
    normalizer: str = "per_step"
    """M of (3)."""
    standardize: bool = True
    """Whether advantages are divided by their standard deviation, so that the rewards' size does not matter."""
    entropy_weight: float = 0.01
    """c_H of (3)."""
    slots_per_step: int = 1
    """Slots of episodes whose gradients (3) are added up for one step of the optimiser, all played by the same policy:
    DeepRM's chunks."""
    workloads: int | None = None
    """Workloads that training goes through again and again, as DeepRM does; None: always new ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("episodes_per_workload", self.episodes_per_workload, 2)
        require_range("entropy_weight", self.entropy_weight, 0.0)
        require_range("slots_per_step", self.slots_per_step, 1)
        if self.workloads is not None:
            require_range("workloads", self.workloads, 1)
        require_choice("baseline", self.baseline, BASELINES)
        require_choice("normalizer", self.normalizer, ("per_step", "per_episode"))

    def rows_per_workload(self, num_envs: int) -> int:
        """See `Settings.rows_per_workload`."""
        if num_envs % self.episodes_per_workload:
            raise SettingError(
                f"num_envs is {num_envs}; it must be a multiple of episodes_per_workload, {self.episodes_per_workload}"
            )
        return self.episodes_per_workload


def returns_to_go(rewards: Floats, alive: Flags, discount: float) -> Floats:
    """(1), (T, N), from rewards (T, N); 0 where an episode has ended."""
    returns = np.zeros_like(rewards)
    later = np.zeros(rewards.shape[1])
    for t in range(len(rewards) - 1, -1, -1):
        later = np.where(alive[t], rewards[t] + discount * later, 0.0)
        returns[t] = later
    return returns


def baselines(returns: Floats, alive: Flags, kind: str, group: int) -> Floats:
    """(2), (T, N); columns that follow each other in groups of `group` share a workload."""
    grouped = returns.reshape(len(returns), -1, group)
    total = grouped.sum(axis=2, keepdims=True)
    if kind == "leave_one_out":
        others: Floats = (total - grouped) / (group - 1)
        return others.reshape(returns.shape)
    running = alive.reshape(grouped.shape).sum(axis=2, keepdims=True)
    mean = total / (group if kind == "deeprm" else np.maximum(running, 1))
    return np.broadcast_to(mean, grouped.shape).reshape(returns.shape)


class Reinforce(Learner[ReinforceSettings]):
    """REINFORCE at work on one network; see `Learner` for the arguments."""

    def __init__(self, network: Network, settings: ReinforceSettings, seed: int, threads: int = 1) -> None:
        super().__init__(network, settings, seed, threads)
        self._slots, self._sum = 0, list[NDArray[np.float32]]()

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """See `Learner.state`."""
        tensors, values = super().state()
        return tensors | {f"sum/{at}": part for at, part in enumerate(self._sum)}, values | {"slots": self._slots}

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """See `Learner.restore`."""
        super().restore(tensors, values)
        self._slots = values.get("slots", 0)
        self._sum = [tensors[f"sum/{at}"].copy() for at in range(len(tensors)) if f"sum/{at}" in tensors]

    def _add(self, gradients: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]] | None:
        """The sum of the gradients of as many slots as make a step, or None while slots are missing."""
        parts = [gradient.copy() for gradient in gradients]
        self._sum = [one + other for one, other in zip(self._sum, parts, strict=True)] if self._sum else parts
        self._slots += 1
        if self._slots < self.settings.slots_per_step:
            return None
        whole, self._slots, self._sum = self._sum, 0, []
        return whole

    def _step(self) -> dict[str, float]:
        """See `Learner._step`; without a step, as long as further slots are to be added."""
        weights = self.network.parts()["policy"]
        whole = self._add([weight.grad.numpy(force=True) for weight in weights if weight.grad is not None])
        if whole is None:
            return {}
        for weight, gradient in zip(weights, whole, strict=True):
            weight.grad = torch.from_numpy(gradient).to(self.device)
        return super()._step()

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """See `Learner.update`."""
        settings, remaining, alive = self.settings, self._remaining(progress), rollout.alive
        returns = returns_to_go(rollout.rewards, alive, settings.discount)
        advantages = returns - baselines(returns, alive, settings.baseline, settings.episodes_per_workload)
        # where one action alone is allowed, log pi is 0 whatever the weights
        played = alive & rollout.decisions[:-1]
        played = played if played.any() else alive
        scale = float(advantages[played].std()) or 1.0 if settings.standardize else 1.0
        count = int(alive.sum()) if settings.normalizer == "per_step" else alive.shape[1]
        # the loss is a mean over what is played: M of (3) comes with the weights
        weights = advantages / scale * (np.count_nonzero(played) / count)
        metrics = self._learn(rollout, np.flatnonzero(played), weights.ravel(), settings.entropy_weight * remaining)
        if self.network.scale is not None:
            self.network.update_scale(torch.from_numpy(rollout.observations[:-1][played]).to(self.device))
        metrics["mean_advantage_size"] = float(np.abs(advantages[alive]).mean())
        metrics["learning_rate"] = settings.learning_rate * remaining
        return metrics

    def _learn(
        self, rollout: Rollout, chosen: NDArray[np.int64], weights: Floats, entropy_weight: float
    ) -> dict[str, float]:
        """One step of the optimiser on (3), of the chosen steps, numbers of (T, N) flattened."""
        observations = torch.from_numpy(rollout.observations[:-1]).to(self.device).flatten(0, 1)[chosen]
        masks = torch.from_numpy(rollout.masks[:-1]).to(self.device).flatten(0, 1)[chosen].bool()
        actions = torch.from_numpy(rollout.actions).to(self.device).flatten()[chosen, None]
        credit = torch.from_numpy(weights[chosen].astype(np.float32)).to(self.device)

        def terms(rows: slice) -> tuple[Tensor, dict[str, float]]:
            log_all = masked_log_probabilities(self.network.policy_logits(observations[rows], masks[rows]), masks[rows])
            loss = -(log_all.gather(1, actions[rows]).squeeze(1) * credit[rows]).mean()
            entropy = masked_entropy(log_all, masks[rows]).mean()
            return loss - entropy_weight * entropy, {"policy_loss": loss.item(), "entropy": entropy.item()}

        cut = shards(len(chosen), self.network.spaces.size)
        return self._descend(policy=[Share(size, partial(terms, rows)) for size, rows in cut])
