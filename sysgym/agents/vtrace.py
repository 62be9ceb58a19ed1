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

import numpy as np
import torch
from numpy.typing import NDArray

from sysgym.agents.actor_critic import ActorCritic, ActorCriticSettings, explained_variance
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
        following: next_t, (T, N), see `advantages.next_values`.
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


class VTrace(ActorCritic[VTraceSettings]):
    """V-trace at work on one network; see `Learner` for the arguments."""

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """See `Learner.update`."""
        remaining = self._remaining(progress)
        rewards = self._scaled_rewards(rollout)
        steps = [
            self._learn(rollout.columns(part), rewards[:, part], self.settings.entropy_weight * remaining)
            for part in map(np.sort, self._parts(rewards.shape[1], self.settings.minibatches))
        ]
        self.network.update_scale(torch.from_numpy(rollout.observations[:-1]).to(self.device).flatten(0, 1))
        metrics = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        metrics["learning_rate"] = self.settings.learning_rate * remaining
        return metrics

    def _learn(self, rollout: Rollout, rewards: Floats, entropy_weight: float) -> dict[str, float]:
        """One minibatch: (1) to (4)."""
        settings, shape = self.settings, rollout.actions.shape
        observations = torch.from_numpy(rollout.observations).to(self.device)
        masks = torch.from_numpy(rollout.masks[:-1]).to(self.device).flatten(0, 1).bool()
        actions = torch.from_numpy(rollout.actions).to(self.device).flatten()
        log_all = masked_log_probabilities(self.network.policy_logits(observations[:-1].flatten(0, 1), masks), masks)
        log_taken = log_all.gather(1, actions[:, None]).squeeze(1)
        seen = self.network.values(observations.flatten(0, 1))

        log_ratio = log_taken.detach().double().cpu().numpy().reshape(shape) - rollout.log_probabilities
        values = seen.detach().double().cpu().numpy().reshape(shape[0] + 1, shape[1])
        targets, advantages = vtrace(
            np.exp(log_ratio),
            rewards,
            values,
            self._next_values(rollout, values),
            rollout.done,
            discount=settings.discount,
            rho_clip=settings.rho_clip,
            policy_rho_clip=settings.policy_rho_clip,
            trace_decay=settings.trace_decay,
        )
        returns, decisions = self._floats(targets), torch.from_numpy(self._weights(rollout)).to(self.device)
        policy_loss = -(log_taken * self._floats(advantages) * decisions).sum() / decisions.sum().clamp(min=1.0)
        value_loss = 0.5 * ((seen[: returns.numel()] - returns) ** 2).mean()
        entropy = (masked_entropy(log_all, masks) * decisions).sum() / decisions.sum().clamp(min=1.0)
        norms = self._descend(policy_loss + settings.value_weight * value_loss - entropy_weight * entropy)
        return {
            "policy_loss": policy_loss.item(),
            "value_loss": value_loss.item(),
            "entropy": entropy.item(),
            "approximate_kl": float((np.exp(log_ratio) - 1 - log_ratio).mean()),
            "explained_variance": explained_variance(self._floats(values[:-1]), returns),
            **norms,
        }

    def _weights(self, rollout: Rollout) -> NDArray[np.float32]:
        """1 for steps whose policy is learned, (T * N,)."""
        decisions = rollout.decisions[:-1] if self.settings.skip_forced else np.ones_like(rollout.done)
        return decisions.astype(np.float32).ravel()
