"""Proximal policy optimisation with the clipped objective.

After Schulman et al., "Proximal Policy Optimization Algorithms", arXiv:1707.06347 (2017). Equation numbers are ours:

    (1)  delta_t = r_t + gamma next_t - V_t,  A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}      [their eq. 11, 12]
    (2)  R_t = A_t + V_t
    (3)  A <- (A - mean A) / (std A + 1e-8), std with n - 1, over a minibatch
    (4)  ratio = pi(a|s) / pi_old(a|s),  L_pi = -mean min(ratio A, clip(ratio, 1 - e, 1 + e) A)            [their eq. 7]
    (5)  L_V = 1/2 mean (V - R)^2, or with clipping 1/2 mean max((V - R)^2, (V_old + clip(V - V_old, +-e) - R)^2)
    (6)  L = L_pi + c_V L_V - c_H mean H                                                                   [their eq. 9]
    (7)  the gradient is scaled by min(1, c / (norm + 1e-6)), then one step of Adam; policy and value, which share no
         weights, are scaled apart, so that a rare large error of the value does not hold the policy up
    (8)  k1 = mean (-log ratio) and k3 = mean (ratio - 1 - log ratio), estimates of KL(pi_old, pi): k1 is not biased, k3
         varies less and is never negative

Mind the factor in (5): CleanRL weighs the squared error by 0.25, Stable-Baselines3 by 0.5; ours is CleanRL's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.actor_critic import ActorCritic, ActorCriticSettings, Batch, explained_variance, means
from sysgym.agents.networks import masked_entropy, masked_log_probabilities
from sysgym.agents.rollout import Rollout
from sysgym.core.errors import require_range


@dataclass(frozen=True)
class PPOSettings(ActorCriticSettings):
    """Settings of PPO; the defaults were chosen on JobSched-v0 and suit many environments stepped together."""

    epochs: int = 2
    """Passes over the slot in an update."""
    minibatches: int = 8
    """Parts that a pass is cut into; each makes one step of the optimiser."""
    clip: float = 0.2
    """e of (4) and (5)."""
    clip_values: bool = False
    """Whether (5) clips."""
    normalize_advantages: bool = True
    """Whether (3) is done."""
    target_kl: float | None = None
    """An update stops after the first epoch whose mean k3 exceeds this; None never stops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "minibatches"):
            require_range(name, getattr(self, name), 1)
        require_range("clip", self.clip, 0.0, open_low=True)
        if self.target_kl is not None:
            require_range("target_kl", self.target_kl, 0.0, open_low=True)


def policy_loss(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """(4), a mean over (B,)."""
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """(5), a mean over (B,); `clip` None does not clip."""
    squared = (values - returns) ** 2
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        squared = torch.max(squared, (near - returns) ** 2)
    return 0.5 * squared.mean()


def normalized(advantages: Tensor) -> Tensor:
    """(3); a single advantage has no standard deviation and is left as it is."""
    if len(advantages) < 2:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


class PPO(ActorCritic[PPOSettings]):
    """PPO at work on one network; see `Learner` for the arguments."""

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """See `Learner.update`."""
        settings = self.settings
        remaining = self._remaining(progress)
        batch = self._batch(rollout)
        for _ in range(settings.epochs):
            parts = list(self._parts(len(batch), settings.minibatches))
            metrics = self._epoch(batch, parts, settings.entropy_weight * remaining)
            if settings.target_kl is not None and metrics["approximate_kl"] > settings.target_kl:
                break
        self.network.update_scale(batch.observations)
        metrics["explained_variance"] = explained_variance(batch.values, batch.returns)
        metrics["learning_rate"] = settings.learning_rate * remaining
        return metrics

    def _epoch(self, batch: Batch, parts: list[NDArray[np.int64]], entropy_weight: float) -> dict[str, float]:
        """One pass over the slot, a step of the optimiser on each of its parts; the mean metrics."""
        chosen = (batch.rows(torch.from_numpy(part).to(self.device)) for part in parts)
        return means([self._learn(part, entropy_weight) for part in chosen])

    def _learn(self, batch: Batch, entropy_weight: float) -> dict[str, float]:
        """One minibatch: (3) to (8)."""
        chosen = batch.choices()
        if self.settings.normalize_advantages:
            chosen = replace(chosen, advantages=normalized(chosen.advantages))
        policy = partial(self._policy_terms, entropy_weight=entropy_weight)
        return self._descend(policy=self._shares(chosen, policy), value=self._shares(batch, self._value_terms))

    def _policy_terms(self, rows: Batch, entropy_weight: float) -> tuple[Tensor, dict[str, float]]:
        """(4), less the entropy of (6), and (8)."""
        log_all = masked_log_probabilities(self.network.policy_logits(rows.observations, rows.masks), rows.masks)
        log_ratio = log_all.gather(1, rows.actions[:, None]).squeeze(1) - rows.log_probabilities
        ratio = log_ratio.exp()
        loss = policy_loss(ratio, rows.advantages, self.settings.clip)
        entropy = masked_entropy(log_all, rows.masks).mean()
        with torch.no_grad():
            told = {
                "policy_loss": loss,
                "entropy": entropy,
                "approximate_kl": (ratio - 1 - log_ratio).mean(),
                "approximate_kl_k1": -log_ratio.mean(),
                "clip_share": ((ratio - 1).abs() > self.settings.clip).float().mean(),
            }
        return loss - entropy_weight * entropy, {name: value.item() for name, value in told.items()}

    def _value_terms(self, rows: Batch) -> tuple[Tensor, dict[str, float]]:
        """(5), weighted as in (6)."""
        clip = self.settings.clip if self.settings.clip_values else None
        loss = value_loss(self.network.values(rows.observations), rows.values, rows.returns, clip)
        return self.settings.value_weight * loss, {"value_loss": loss.item()}
