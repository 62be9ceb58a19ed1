"""Advantage actor-critic: one step of the optimiser on every slot.

After Mnih et al., "Asynchronous methods for deep reinforcement learning", ICML 2016, section 4, in the synchronous form
that Stable-Baselines3 has too. Equation numbers are ours:

    (1)  delta_t = r_t + gamma next_t - V_t,  A_t = delta_t + gamma lambda (1 - done_t) A_{t+1},  R_t = A_t + V_t
    (2)  L = -mean(log pi(a|s) A) + c_V mean (V - R)^2 - c_H mean H

With lambda 1, (1) is the n-step return minus the value. The gradient of (2) is PPO's with one epoch, one minibatch,
advantages as they are, and a value weight twice as large, because PPO's value loss carries 1/2. It assumes that the
slot was played by the weights that it improves: where actor and learner overlap, `vtrace` corrects for the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from sysgym.agents.actor_critic import ActorCritic, ActorCriticSettings, Batch, explained_variance
from sysgym.agents.networks import masked_entropy, masked_log_probabilities
from sysgym.agents.rollout import Rollout


@dataclass(frozen=True)
class A2CSettings(ActorCriticSettings):
    """Settings of A2C."""

    rollout_steps: int = 16
    """T, steps of every environment between two updates: few, because a slot makes one step of the optimiser."""
    trace_decay: float = 1.0
    """lambda of (1)."""


class A2C(ActorCritic[A2CSettings]):
    """A2C at work on one network; see `Learner` for the arguments."""

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """See `Learner.update`."""
        settings, remaining = self.settings, self._remaining(progress)
        batch = self._batch(rollout)
        metrics = self._learn(batch, settings.entropy_weight * remaining)
        self.network.update_scale(batch.observations)
        metrics["explained_variance"] = explained_variance(batch.values, batch.returns)
        metrics["learning_rate"] = settings.learning_rate * remaining
        return metrics

    def _learn(self, batch: Batch, entropy_weight: float) -> dict[str, float]:
        policy = partial(self._policy_terms, entropy_weight=entropy_weight)
        return self._descend(policy=self._shares(batch.choices(), policy), value=self._shares(batch, self._value_terms))

    def _policy_terms(self, rows: Batch, entropy_weight: float) -> tuple[Tensor, dict[str, float]]:
        """The first and the last term of (2)."""
        log_all = masked_log_probabilities(self.network.policy_logits(rows.observations, rows.masks), rows.masks)
        loss = -(log_all.gather(1, rows.actions[:, None]).squeeze(1) * rows.advantages).mean()
        entropy = masked_entropy(log_all, rows.masks).mean()
        return loss - entropy_weight * entropy, {"policy_loss": loss.item(), "entropy": entropy.item()}

    def _value_terms(self, rows: Batch) -> tuple[Tensor, dict[str, float]]:
        """The second term of (2)."""
        loss = ((self.network.values(rows.observations) - rows.returns) ** 2).mean()
        return self.settings.value_weight * loss, {"value_loss": loss.item()}
