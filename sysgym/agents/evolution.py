"""Evolution strategies: the return of perturbed policies instead of a gradient through actions.

After Salimans et al., "Evolution strategies as a scalable alternative to reinforcement learning", arXiv:1703.03864
(2017), algorithm 2 and section 2.1. Equation numbers are ours:

    (1)  pair i plays theta + sigma eps_i and theta - sigma eps_i, eps_i ~ N(0, I), regenerated from (seed, update, i)
    (2)  u = rank / (2P - 1) - 1/2 over all 2P returns, rank from 0
    (3)  g = 1/(2P) sum_i (u_i+ - u_i-) eps_i
    (4)  one step of the optimiser on -g + l2 theta

Three departures from the authors' code (openai/evolution-strategies-starter). Tied returns get their mean rank, so that
a tied pair contributes exactly 0; ranks by position turn ties into noise. The noise is not stored: its seed is. Every
update uses one fixed set of pairs, where taking the first that arrive would favour short episodes. All members play the
same workload and choose their actions by the same random numbers, so that returns differ by the weights alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from sysgym.agents.actor import Behaviour, Weights
from sysgym.agents.learner import Learner
from sysgym.agents.networks import Network
from sysgym.agents.rollout import Rollout
from sysgym.agents.settings import Settings, require_choice
from sysgym.core.errors import SettingError, require_range
from sysgym.core.seeding import stream

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EvolutionSettings(Settings):
    """Settings of evolution strategies; every two environments play a pair."""

    whole_episodes: ClassVar[bool] = True

    rollout_steps: int = 200
    """Steps after which an episode is cut."""
    learning_rate: float = 5e-2
    """Of the optimiser."""
    max_gradient_norm: float = 1e9
    """c; ranks bound the gradient already."""
    sigma: float = 0.2
    """Standard deviation of the noise (1)."""
    weight_decay: float = 0.0
    """l2 of (4)."""
    ranks: str = "mean"
    """Of tied returns in (2): "mean", or "positional" as in the authors' code."""
    scale_by_sigma: bool = False
    """Whether (3) is divided by sigma, as the paper writes it and its code does not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("sigma", self.sigma, 0.0, open_low=True)
        require_range("weight_decay", self.weight_decay, 0.0)
        require_choice("ranks", self.ranks, ("mean", "positional"))

    def rows_per_workload(self, num_envs: int) -> int:
        """See `Settings.rows_per_workload`."""
        if num_envs % 2:
            raise SettingError(f"num_envs is {num_envs}; it must be even, every two environments play a pair")
        return num_envs


def noise(seed: int, update: int, pairs: int, size: int) -> NDArray[np.float32]:
    """Eps of (1), (pairs, size); row i depends on (seed, update, i) alone."""
    rows = [stream(seed, "noise", update, pair).standard_normal(size, dtype=np.float32) for pair in range(pairs)]
    return np.stack(rows)


def centred_ranks(returns: Floats, ties: str = "mean") -> Floats:
    """(2), in the shape of `returns`."""
    flat = returns.ravel()
    ranks = np.argsort(np.argsort(flat, kind="stable"), kind="stable").astype(np.float64)
    if ties == "mean":
        _, members, counts = np.unique(flat, return_inverse=True, return_counts=True)
        ranks = (np.bincount(members, ranks) / counts)[members]
    return (ranks / (flat.size - 1) - 0.5).reshape(returns.shape)


def evolution_gradient(returns: Floats, eps: NDArray[np.float32], ties: str = "mean") -> Floats:
    """(3), (size,), from returns (P, 2) of pairs (plus, minus) and noise (P, size)."""
    ranks = centred_ranks(returns, ties)
    return (ranks[:, 0] - ranks[:, 1]) @ eps.astype(np.float64) / returns.size


class Population(Behaviour):
    """The members of an update: rows 2i and 2i + 1 play pair i.

    Args:
        network: Its shapes and device; copied.
        settings: Of the algorithm.
        seed: Of the noise.
    """

    def __init__(self, network: Network, settings: EvolutionSettings, seed: int) -> None:
        super().__init__(network)
        self.settings, self.seed = settings, seed
        self._members: dict[str, torch.Tensor] = {}

    def load(self, weights: Weights) -> None:
        """See `Behaviour.load`; the members are made when it is known how many there are."""
        super().load(weights)
        self._members = {}

    @torch.no_grad()
    def logits(self, observations: NDArray[np.generic]) -> NDArray[np.float32]:
        """See `Behaviour.logits`; every row with the weights of its member."""
        if not self._members:
            self._members = self._perturbed(len(observations) // 2)
        seen = self._tensor(observations).unsqueeze(1)
        if not self.network.architecture.has_fixed_shapes:  # which vmap needs
            return self._one_by_one(seen)
        logits: NDArray[np.float32] = torch.vmap(self._one)(self._members, seen).squeeze(1).cpu().numpy()
        return logits

    def _one_by_one(self, seen: torch.Tensor) -> NDArray[np.float32]:
        rows = [
            self._one({name: weight[row] for name, weight in self._members.items()}, observation)
            for row, observation in enumerate(seen)
        ]
        logits: NDArray[np.float32] = torch.cat(rows).cpu().numpy()
        return logits

    def uniforms(self, generator: np.random.Generator, num_envs: int) -> Floats:
        """See `Behaviour.uniforms`; one for all members."""
        return np.full(num_envs, generator.random())

    def _one(self, weights: dict[str, torch.Tensor], observations: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = torch.func.functional_call(self.network, weights, (observations,))
        return logits

    def _perturbed(self, pairs: int) -> dict[str, torch.Tensor]:
        named = policy_weights(self.network)
        size = sum(weight.numel() for weight in named.values())
        eps = torch.from_numpy(noise(self.seed, self.version, pairs, size)).to(self._device)
        signed = self.settings.sigma * torch.stack([eps, -eps], dim=1).flatten(0, 1)
        parts = torch.split(signed, [weight.numel() for weight in named.values()], dim=1)
        return {
            name: weight + part.reshape(-1, *weight.shape)
            for (name, weight), part in zip(named.items(), parts, strict=True)
        }


def policy_weights(network: Network) -> dict[str, torch.nn.Parameter]:
    """What evolves, by name; the value is not used."""
    chosen = {id(weight) for weight in network.parts()["policy"]}
    return {name: weight for name, weight in network.named_parameters() if id(weight) in chosen}


class Evolution(Learner[EvolutionSettings]):
    """Evolution strategies at work on one network; see `Learner` for the arguments."""

    def behaviour(self) -> Behaviour:
        """See `Learner.behaviour`."""
        return Population(self.network, self.settings, self.seed)

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """See `Learner.update`."""
        settings, remaining = self.settings, self._remaining(progress)
        returns = (rollout.rewards * rollout.alive).sum(axis=0).reshape(-1, 2)
        named = policy_weights(self.network)
        size = sum(weight.numel() for weight in named.values())
        gradient = evolution_gradient(returns, noise(self.seed, rollout.version, len(returns), size), settings.ranks)
        if settings.scale_by_sigma:
            gradient /= settings.sigma
        parts = torch.from_numpy(gradient.astype(np.float32)).to(self.device)
        for weight, part in zip(
            named.values(), torch.split(parts, [weight.numel() for weight in named.values()]), strict=True
        ):
            weight.grad = settings.weight_decay * weight.detach() - part.reshape(weight.shape)
        norms = self._step()
        self.network.update_scale(torch.from_numpy(rollout.observations[:-1]).to(self.device).flatten(0, 1))
        return {
            "mean_member_return": float(returns.mean()),
            "best_member_return": float(returns.max()),
            "learning_rate": settings.learning_rate * remaining,
            **norms,
        }
