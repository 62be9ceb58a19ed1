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
    (8)  k3 = mean (ratio - 1 - log ratio), an estimate of KL(pi_old, pi) that is never negative

Mind the factor in (5): CleanRL weighs the squared error by 0.25, Stable-Baselines3 by 0.5; ours is CleanRL's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.advantages import decision_trace, generalized_advantages, next_values
from sysgym.agents.learner import Tensors, optimizer_tensors, restore_optimizer
from sysgym.agents.networks import Network, masked_entropy, masked_log_probabilities
from sysgym.agents.rollout import Rollout
from sysgym.agents.scaling import RewardScale
from sysgym.core.errors import SettingError, TrainingError, require_range

VALUE_CHUNK = 4096
"""Observations that pass the value network at once, so that wide observations do not exhaust memory."""


@dataclass(frozen=True)
class PPOSettings:
    """Settings of PPO; the defaults were chosen on JobSched-v0 and suit many environments stepped together."""

    rollout_steps: int = 64
    """T, steps of every environment between two updates."""
    epochs: int = 2
    """Passes over the slot in an update."""
    minibatches: int = 8
    """Parts that a pass is cut into; each makes one step of the optimiser."""
    learning_rate: float = 2e-3
    """Of Adam."""
    adam_epsilon: float = 1e-8
    """Added to the root in Adam's step."""
    decay: bool = True
    """Whether learning rate and entropy weight fall linearly to 0 with the budget."""
    discount: float = 0.99
    """gamma. Below 1 even where the score is not discounted: what arrives much later is noise to today's decision
    (compact JobSched-v0, 3 M frames, seeds 0, 1, 2: mean slowdown 4.9, 4.8, 3.8; with 1.0 5.0, 5.0,
    5.2). Rewards paid at the end only need 1."""
    trace_decay: float = 0.9
    """lambda of (1). Lower than the common 0.95: arrivals that no action can change make long sums noisy (compact
    JobSched-v0, 3 M frames, seeds 0, 1, 2: mean slowdown 4.9, 4.8, 3.8; with 0.95 6.0, 4.6, 5.0)."""
    clip: float = 0.2
    """e of (4) and (5)."""
    clip_values: bool = False
    """Whether (5) clips."""
    value_weight: float = 0.5
    """c_V of (6)."""
    entropy_weight: float = 0.01
    """c_H of (6)."""
    normalize_advantages: bool = True
    """Whether (3) is done."""
    max_gradient_norm: float = 0.5
    """c of (7)."""
    skip_forced: bool = True
    """Whether states that allow one action only are no decisions: (3), (4) and the entropy leave them out, and lambda
    does not decay there (`advantages.decision_trace`). Their values are learned all the same."""
    target_kl: float | None = None
    """An update stops after the first epoch whose mean k3 exceeds this; None never stops."""
    scale_rewards: bool = True
    """Whether rewards are divided by a running scale, see `scaling`."""
    reward_clip: float | None = None
    """Bound on the absolute value of a scaled reward; clipping changes what is optimised."""
    truncation: str = "bootstrap"
    """What follows a truncated episode: "bootstrap" its last observation's value, or "terminal" nothing (CleanRL)."""
    network: str | None = None
    """Kind of network, see `architecture`; None chooses from the spaces."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers; None chooses by kind."""
    activation: str | None = None
    """"tanh" or "relu"; None chooses by kind."""
    normalize_observations: bool | None = None
    """Whether observations are standardised by a running scale; None: where their bounds exceed 1."""

    def __post_init__(self) -> None:
        for name in ("rollout_steps", "epochs", "minibatches"):
            require_range(name, getattr(self, name), 1)
        for name in ("learning_rate", "adam_epsilon", "clip", "max_gradient_norm"):
            require_range(name, getattr(self, name), 0.0, open_low=True)
        for name in ("value_weight", "entropy_weight"):
            require_range(name, getattr(self, name), 0.0)
        for name in ("target_kl", "reward_clip"):
            if getattr(self, name) is not None:
                require_range(name, getattr(self, name), 0.0, open_low=True)
        require_range("trace_decay", self.trace_decay, 0.0, 1.0)
        require_range("discount", self.discount, 0.0, 1.0)
        if self.truncation not in ("bootstrap", "terminal"):
            raise SettingError(f"truncation is {self.truncation!r}; it must be 'bootstrap' or 'terminal'")


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


@dataclass(frozen=True)
class Batch:
    """Experience as the loss takes it; every field has one row a step."""

    observations: Tensor
    masks: Tensor
    decisions: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, chosen: Tensor) -> Batch:
        """The chosen rows, copied."""
        return Batch(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.actions)


class PPO:
    """PPO at work on one network; a `Learner`.

    Args:
        network: Improved in place.
        settings: See there.
        generator: Stream of the minibatches' order.
    """

    def __init__(self, network: Network, settings: PPOSettings, generator: np.random.Generator) -> None:
        self.network, self.settings, self.generator = network, settings, generator
        self.reward_scale = RewardScale(settings.discount)
        self.device = next(network.parameters()).device
        self.optimizer = torch.optim.Adam(
            network.parameters(), settings.learning_rate, eps=settings.adam_epsilon, fused=True
        )

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """See `Learner.update`."""
        settings = self.settings
        remaining = 1.0 - progress if settings.decay else 1.0
        self.optimizer.param_groups[0]["lr"] = settings.learning_rate * remaining
        entropy_weight = settings.entropy_weight * remaining
        batch = self._batch(rollout)
        for _ in range(settings.epochs):
            steps = [self._step(part, entropy_weight) for part in self._minibatches(batch)]
            metrics = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
            if settings.target_kl is not None and metrics["approximate_kl"] > settings.target_kl:
                break
        self.network.update_scale(batch.observations)
        metrics["explained_variance"] = _explained_variance(batch.values, batch.returns)
        metrics["learning_rate"] = settings.learning_rate * remaining
        return metrics

    def _batch(self, rollout: Rollout) -> Batch:
        """Values, advantages (1) and returns (2) of a slot."""
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

    def _minibatches(self, batch: Batch) -> Iterator[Batch]:
        order = self.generator.permutation(len(batch))
        for part in np.array_split(order, min(self.settings.minibatches, len(batch))):
            yield batch.rows(torch.from_numpy(part).to(self.device))

    def _step(self, batch: Batch, entropy_weight: float) -> dict[str, float]:
        """One minibatch: (3) to (8)."""
        settings = self.settings
        loss_of_value = value_loss(
            self.network.values(batch.observations),
            batch.values,
            batch.returns,
            settings.clip if settings.clip_values else None,
        )
        # where no state is a decision, all of them together have a policy gradient of 0 as well
        chosen = batch.rows(batch.decisions) if batch.decisions.any() else batch
        log_all = masked_log_probabilities(self.network.policy_logits(chosen.observations, chosen.masks), chosen.masks)
        log_ratio = log_all.gather(1, chosen.actions[:, None]).squeeze(1) - chosen.log_probabilities
        ratio = log_ratio.exp()
        advantages = normalized(chosen.advantages) if settings.normalize_advantages else chosen.advantages
        loss_of_policy = policy_loss(ratio, advantages, settings.clip)
        entropy = masked_entropy(log_all, chosen.masks).mean()
        loss = loss_of_policy + settings.value_weight * loss_of_value - entropy_weight * entropy
        gradient_norms = self._descend(loss)
        with torch.no_grad():
            return {
                "policy_loss": loss_of_policy.item(),
                "value_loss": loss_of_value.item(),
                "entropy": entropy.item(),
                "approximate_kl": (ratio - 1 - log_ratio).mean().item(),
                "clip_share": ((ratio - 1).abs() > settings.clip).float().mean().item(),
                **gradient_norms,
            }

    def _descend(self, loss: Tensor) -> dict[str, float]:
        """(7); returns the norms before they are clipped."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        largest = self.settings.max_gradient_norm
        norms = {
            f"{name}_gradient_norm": float(torch.nn.utils.clip_grad_norm_(weights, largest))
            for name, weights in self.network.parts().items()
        }
        if not np.isfinite(list(norms.values())).all():
            raise TrainingError(f"the gradient is not finite (loss {loss.item():g}); a smaller learning_rate may help")
        self.optimizer.step()
        return norms

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """See `Learner.state`."""
        scale = {"count": self.reward_scale.count, "mean_square": self.reward_scale.mean_square}
        return optimizer_tensors(self.optimizer, self.network), {"reward_scale": scale}

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """See `Learner.restore`."""
        restore_optimizer(self.optimizer, self.network, tensors)
        self.reward_scale = RewardScale(self.settings.discount, **values["reward_scale"])


def _explained_variance(values: Tensor, returns: Tensor) -> float:
    variance = returns.var().item()
    return 1.0 - (returns - values).var().item() / variance if variance > 0 else 0.0
