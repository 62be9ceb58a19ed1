"""What every learner is, and what those that follow a gradient share.

A learner turns a slot of experience into better weights. The training loop knows no more of an algorithm than
`Learner`: how the slot is filled is up to its `behaviour` and its settings.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.actor import Behaviour
from sysgym.agents.networks import Network
from sysgym.agents.rollout import Rollout
from sysgym.agents.settings import Settings
from sysgym.core.errors import TrainingError

Tensors = dict[str, NDArray[Any]]
SettingsKind = TypeVar("SettingsKind", bound=Settings)


class Learner(abc.ABC, Generic[SettingsKind]):
    """An algorithm at work on one network.

    Args:
        network: The weights that it improves, in place.
        settings: Of the algorithm.
        seed: Of whatever it draws.
    """

    def __init__(self, network: Network, settings: SettingsKind, seed: int) -> None:
        self.network, self.settings, self.seed = network, settings, seed
        self.device = next(network.parameters()).device
        self.optimizer = self._make_optimizer()

    @abc.abstractmethod
    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Learn from a slot.

        Args:
            rollout: Experience of the behaviour.
            progress: Share of the budget that has been used, 0 to 1; what decays, decays with it.

        Returns:
            Metrics of the update by name.

        Raises:
            TrainingError: A gradient is not finite; the weights are those before the failing step.
        """

    def behaviour(self) -> Behaviour:
        """Who plays for this algorithm."""
        return Behaviour(self.network)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """What a resumed run needs beside the weights: arrays, and plain values as JSON takes them."""
        return optimizer_tensors(self.optimizer, self.network), {}

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        del values
        restore_optimizer(self.optimizer, self.network, tensors)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """Adam (Kingma and Ba, 2015), or RMSProp (Tieleman and Hinton, 2012) that remembers 0.99 of the square."""
        settings, weights = self.settings, self.network.parameters()
        if settings.optimizer == "adam":
            return torch.optim.Adam(weights, settings.learning_rate, eps=settings.optimizer_epsilon, fused=True)
        return torch.optim.RMSprop(weights, settings.learning_rate, alpha=0.99, eps=settings.optimizer_epsilon)

    def _remaining(self, progress: float) -> float:
        """What decay leaves of learning rate and entropy weight; sets the former."""
        remaining = 1.0 - progress if self.settings.decay else 1.0
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * remaining
        return remaining

    def _descend(self, loss: Tensor) -> dict[str, float]:
        """One step of the optimiser, gradients cut to norm c: scaled by min(1, c / (norm + 1e-6)).

        Returns:
            The norms before they are cut.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return self._step(f"loss {loss.item():g}")

    def _step(self, cause: str) -> dict[str, float]:
        largest = self.settings.max_gradient_norm
        norms = {
            f"{name}_gradient_norm": float(torch.nn.utils.clip_grad_norm_(weights, largest))
            for name, weights in self.network.parts().items()
            if weights[0].grad is not None
        }
        if not np.isfinite(list(norms.values())).all():
            raise TrainingError(f"the gradient is not finite ({cause}); a smaller learning_rate may help")
        self.optimizer.step()
        return norms


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: Network) -> Tensors:
    """The optimiser's memory, as arrays named `optimizer/<weight>/<moment>`."""
    tensors: Tensors = {}
    for name, parameter in network.named_parameters():
        for moment, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{moment}"] = value.numpy(force=True).copy()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, network: Network, tensors: Mapping[str, NDArray[Any]]) -> None:
    """The inverse of `optimizer_tensors`."""
    memory: dict[int, dict[str, torch.Tensor]] = {}
    for index, (name, _) in enumerate(network.named_parameters()):
        prefix = f"optimizer/{name}/"
        moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if moments:
            memory[index] = {moment: torch.from_numpy(value.copy()) for moment, value in moments.items()}
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
