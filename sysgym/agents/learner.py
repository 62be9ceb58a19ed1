"""What every learner is, and how an optimiser's memory travels through a checkpoint.

A learner turns a slot of experience into better weights. The training loop knows no more than this protocol, so that
another algorithm, or another way of running actor and learner side by side, is added beside what stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from sysgym.agents.networks import Network
from sysgym.agents.rollout import Rollout

Tensors = dict[str, NDArray[Any]]


class Learner(Protocol):
    """An algorithm at work on one network.

    Attributes:
        network: The weights that it improves, in place.
    """

    network: Network

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Learn from a slot.

        Args:
            rollout: Experience of the network's own policy.
            progress: Share of the budget that has been used, 0 to 1; what decays, decays with it.

        Returns:
            Metrics of the update by name.

        Raises:
            TrainingError: A gradient is not finite; the weights are those before the failing step.
        """

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """What a resumed run needs beside the weights: arrays, and plain values as JSON takes them."""

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """The inverse of `state`."""


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
