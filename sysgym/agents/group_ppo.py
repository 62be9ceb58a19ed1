"""PPO without a value network: episodes on the same workload judge each other, and a slot is learned from several times.

Advantages are those of `reinforce`, (1) and (2) there; the loss is PPO's clipped one, `ppo` (4), over several passes
and minibatches. Where workloads differ by factors of thousands, as windows of a production log do, a value network has
to learn first what each of them costs; other episodes on the same workload tell it at once. (Input-dependent baselines:
Mao et al., "Variance reduction for reinforcement learning in input-driven environments", ICLR 2019; the mean of a group
in the value's place: Shao et al., "DeepSeekMath", arXiv:2402.03300, 2024.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.actor_critic import means
from sysgym.agents.checkpoint import plain
from sysgym.agents.networks import Network
from sysgym.agents.optimizers import Tensors
from sysgym.agents.ppo import clipped_loss
from sysgym.agents.reinforce import Floats, Reinforce, ReinforceSettings
from sysgym.agents.rollout import Rollout
from sysgym.core.errors import SettingError, require_range
from sysgym.core.seeding import stream


@dataclass(frozen=True)
class GroupPPOSettings(ReinforceSettings):
    """Settings of PPO by groups; those of `reinforce`, and:"""

    learning_rate: float = 2e-3
    """Of the optimiser."""
    epochs: int = 4
    """Passes over the slot in an update."""
    minibatches: int = 4
    """Parts that a pass is cut into; each makes one step of the optimiser."""
    clip: float = 0.2
    """e of `ppo` (4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "minibatches"):
            require_range(name, getattr(self, name), 1)
        require_range("clip", self.clip, 0.0, open_low=True)
        if self.slots_per_step != 1:
            raise SettingError(f"slots_per_step is {self.slots_per_step}; of 'group_ppo' every minibatch makes a step")


class GroupPPO(Reinforce):
    """PPO by groups at work on one network; see `Learner` for the arguments."""

    settings: GroupPPOSettings

    def __init__(self, network: Network, settings: GroupPPOSettings, seed: int, threads: int = 1) -> None:
        super().__init__(network, settings, seed, threads)
        self.generator = stream(seed, "minibatches")

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """See `Learner.state`."""
        tensors, values = super().state()
        return tensors, values | {"minibatches": plain(self.generator.bit_generator.state)}

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """See `Learner.restore`."""
        super().restore(tensors, values)
        self.generator.bit_generator.state = values["minibatches"]

    def _improve(
        self, rollout: Rollout, chosen: NDArray[np.int64], weights: Floats, entropy_weight: float
    ) -> dict[str, float]:
        """See `Reinforce._improve`: several passes, a step of the optimiser on each of their parts."""
        told = [self._learn(rollout, part, weights, entropy_weight) for part in self._parts(chosen)]
        return means(told[-self.settings.minibatches :])

    def _parts(self, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        for _ in range(self.settings.epochs):
            parts = min(self.settings.minibatches, len(chosen))
            yield from np.array_split(self.generator.permutation(chosen), parts)

    def _loss(self, log_taken: Tensor, old: Tensor, credit: Tensor) -> tuple[Tensor, dict[str, float]]:
        """See `Reinforce._loss`."""
        return clipped_loss(log_taken, old, credit, self.settings.clip)
