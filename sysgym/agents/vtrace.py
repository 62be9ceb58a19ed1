"""Actor-critic with V-trace: corrected for slots that older weights have played.

After Espeholt et al., "IMPALA: scalable distributed deep-RL with importance weighted actor-learner architectures", ICML
2018, section 4. With rho_t = pi(a_t|s_t) / mu(a_t|s_t), pi the current policy and mu the one that played:

    (1)  delta_t = min(rho_bar, rho_t) (r_t + gamma next_t - V_t)
    (2)  u_t = delta_t + gamma (1 - done_t) c_t u_{t+1},  c_t = lambda min(1, rho_t),  vs_t = V_t + u_t      [eq. 1]
    (3)  A_t = min(pg_bar, rho_t) (r_t + gamma q_t - V_t),
         q_t = vs_{t+1} inside an episode and slot, else next_t                                       [section 4.2]
    (4)  L = -mean(log pi(a|s) A) + c_V/2 mean (V - vs)^2 - c_H mean H

next_t is 0 after a termination, V of the last observation after a truncation, else V of the next one. V and pi are the
current ones, targets carry no gradient. IMPALA sums (4) over the slot; we take means, so that the learning rate does
not depend on its size. A minibatch is a part of the environments with their whole sequences, so that rho and V are
current in every step of the optimiser. On-policy, vs - V and A are the generalised advantages of lambda 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.actor_critic import ActorCritic, ActorCriticSettings, explained_variance, means
from sysgym.agents.learner import Share, shards
from sysgym.agents.networks import masked_entropy, masked_log_probabilities
from sysgym.agents.rollout import Rollout
from sysgym.core.errors import require_range

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VTraceSettings(ActorCriticSettings):
    """Settings of V-trace."""

    rollout_steps: int = 32
    """T, steps of every environment between two updates."""
    trace_decay: float = 1.0
    """lambda of (2)."""
    rho_clip: float = 1.0
    """rho_bar of (1)."""
    policy_rho_clip: float = 1.0
    """pg_bar of (3)."""
    minibatches: int = 4
    """Parts of the environments; each makes one step of the optimiser, every step of the slot is used once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("minibatches", self.minibatches, 1)
        for name in ("rho_clip", "policy_rho_clip"):
            require_range(name, getattr(self, name), 0.0, open_low=True)


def vtrace(
    ratios: Floats,
    rewards: Floats,
    values: Floats,
    following: Floats,
    done: NDArray[np.bool_],
    *,
    discount: float,
    rho_clip: float = 1.0,
    policy_rho_clip: float = 1.0,
    trace_decay: float = 1.0,
) -> tuple[Floats, Floats]:
    """(1) to (3), accumulated backwards in float64; O(T N).

    Args:
        ratios: rho, (T, N).
        rewards: (T, N).
        values: (T, N) or more rows, of which the first T are used.
        following: next_t, (T, N), see `updates.advantages.next_values`.
        done: (T, N), terminated or truncated.
        discount: gamma, a number or an array that broadcasts.
        rho_clip: rho_bar.
        policy_rho_clip: pg_bar.
        trace_decay: lambda.

    Returns:
        vs and A, (T, N) each.
    """
    values = values[: len(rewards)]
    delta = np.minimum(rho_clip, ratios) * (rewards + discount * following - values)
    traces = trace_decay * np.minimum(1.0, ratios)
    targets = np.empty_like(delta)
    later = np.zeros(delta.shape[1:])
    for t in range(len(delta) - 1, -1, -1):
        later = delta[t] + discount * traces[t] * np.where(done[t], 0.0, later)
        targets[t] = values[t] + later
    ahead = following.copy()
    ahead[:-1] = np.where(done[:-1], following[:-1], targets[1:])
    return targets, np.minimum(policy_rho_clip, ratios) * (rewards + discount * ahead - values)


class Passed(NamedTuple):
    """What current weights say of a minibatch.

    Attributes:
        log_taken: float64, (k,), log pi of the actions of its decisions.
        values: float64, (T + 1, N).
        kept: What a gradient needs.
    """

    log_taken: Floats
    values: Floats
    kept: Any


class VTrace(ActorCritic[VTraceSettings]):
    """V-trace at work on one network; see `Learner` for the arguments."""

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """See `Learner.update`."""
        remaining, count = self._remaining(progress), self.settings.minibatches
        rewards = self._scaled_rewards(rollout)
        steps = []
        for part in map(np.sort, self._parts(rewards.shape[1], count)):
            chosen = rollout if len(part) == rewards.shape[1] else rollout.columns(part)
            steps.append(self._learn(chosen, rewards[:, part], self.settings.entropy_weight * remaining))
        self.network.update_scale(torch.from_numpy(rollout.observations[:-1]).to(self.device).flatten(0, 1))
        return means(steps) | {"learning_rate": self.settings.learning_rate * remaining}

    def _learn(self, rollout: Rollout, rewards: Floats, entropy_weight: float) -> dict[str, float]:
        """One minibatch: (1) to (4)."""
        settings, chosen = self.settings, self._decisions(rollout)
        passed = self._pass(rollout, chosen)
        log_ratio = np.zeros(rewards.shape)  # where one action alone is allowed, both have drawn it with certainty
        log_ratio.flat[chosen] = passed.log_taken - rollout.log_probabilities.flat[chosen]
        targets, advantages = vtrace(
            np.exp(log_ratio),
            rewards,
            passed.values,
            self._next_values(rollout, passed.values),
            rollout.done,
            discount=settings.discount,
            rho_clip=settings.rho_clip,
            policy_rho_clip=settings.policy_rho_clip,
            trace_decay=settings.trace_decay,
        )
        metrics = self._improve(rollout, chosen, passed, advantages.ravel(), targets.ravel(), entropy_weight)
        metrics["approximate_kl"] = float((np.exp(log_ratio) - 1 - log_ratio).mean())
        metrics["approximate_kl_k1"] = float(-log_ratio.mean())
        metrics["explained_variance"] = explained_variance(self._floats(passed.values[:-1]), self._floats(targets))
        return metrics

    def _decisions(self, rollout: Rollout) -> NDArray[np.int64]:
        """The steps whose policy is learned, numbers of (T, N) flattened; all, where no step is a decision."""
        if self.settings.skip_forced and (rows := np.flatnonzero(rollout.decisions[:-1])).size:
            return rows
        return np.arange(rollout.num_frames)

    def _pass(self, rollout: Rollout, chosen: NDArray[np.int64]) -> Passed:
        """Pi and V, shard by shard; what autograd has kept of each shard is what it needs later."""
        observations = torch.from_numpy(rollout.observations).to(self.device).flatten(0, 1)
        masks = torch.from_numpy(rollout.masks[:-1]).to(self.device).flatten(0, 1)[chosen].bool()
        decided, size = observations[chosen], self.network.spaces.size
        policy = shards(len(chosen), size)
        value = shards(rollout.num_frames, size)

        def log_all(rows: slice) -> Tensor:
            return masked_log_probabilities(self.network.policy_logits(decided[rows], masks[rows]), masks[rows])

        tasks = [partial(log_all, rows) for _, rows in policy]
        done = self.team.run(tasks + [partial(self.network.values, observations[rows]) for _, rows in value])
        logs, seen = done[: len(policy)], done[len(policy) :]
        actions = torch.from_numpy(rollout.actions).to(self.device).flatten()[chosen, None]
        taken = [log.gather(1, actions[rows]).squeeze(1) for log, (_, rows) in zip(logs, policy, strict=True)]
        ahead = self._values(observations[rollout.num_frames :])
        values = np.concatenate([torch.cat(seen).detach().double().cpu().numpy(), ahead])
        kept = list(zip(policy, logs, taken, strict=True)), list(zip(value, seen, strict=True)), masks
        log_taken = torch.cat(taken).detach().double().cpu().numpy()
        return Passed(log_taken, values.reshape(rollout.observations.shape[:2]), kept)

    def _improve(
        self,
        rollout: Rollout,
        chosen: NDArray[np.int64],
        passed: Passed,
        advantages: Floats,
        targets: Floats,
        entropy_weight: float,
    ) -> dict[str, float]:
        """One step of the optimiser on (4)."""
        del rollout
        policy, value, masks = passed.kept
        weights, returns = self._floats(advantages[chosen]), self._floats(targets)

        def policy_terms(log_all: Tensor, taken: Tensor, rows: slice) -> tuple[Tensor, dict[str, float]]:
            loss, entropy = -(taken * weights[rows]).mean(), masked_entropy(log_all, masks[rows]).mean()
            return loss - entropy_weight * entropy, {"policy_loss": loss.item(), "entropy": entropy.item()}

        def value_terms(seen: Tensor, rows: slice) -> tuple[Tensor, dict[str, float]]:
            loss = 0.5 * ((seen - returns[rows]) ** 2).mean()
            return self.settings.value_weight * loss, {"value_loss": loss.item()}

        return self._descend(
            policy=[Share(size, partial(policy_terms, log, taken, rows)) for (size, rows), log, taken in policy],
            value=[Share(size, partial(value_terms, seen, rows)) for (size, rows), seen in value],
        )
