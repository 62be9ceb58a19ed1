"""The steps that follow a gradient g: Adam, and RMSProp with its epsilon beside or inside the root.

    adam            m <- 0.9 m + 0.1 g,  v <- 0.999 v + 0.001 g^2,
                    w <- w - rate m / (1 - 0.9^k) / (sqrt(v / (1 - 0.999^k)) + epsilon)
    rmsprop         v <- rho v + (1 - rho) g^2,  w <- w - rate g / (sqrt(v) + epsilon)
    rmsprop_inside  v <- rho v + (1 - rho) g^2,  w <- w - rate g / sqrt(v + epsilon)

Adam is Kingma and Ba's (ICLR 2015, algorithm 1). Of RMSProp (Tieleman and Hinton, 2012) there are two readings: torch,
and with it Stable-Baselines3, adds epsilon to the root; DeepRM (`pg_network.py`: rho 0.9, epsilon 1e-9) and TensorFlow,
and with it IMPALA (rho 0.99, epsilon 0.1), add it inside. With an epsilon as large as IMPALA's that is another
algorithm. v begins with 0 here; TensorFlow begins with 1.

The native learner does the same in `native.kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from sysgym.agents.networks import Network
from sysgym.agents.settings import Settings
from sysgym.core.columns import part_of

Tensors = dict[str, NDArray[Any]]


class RMSPropInside(torch.optim.Optimizer):
    """RMSProp with epsilon inside the root.

    Args:
        weights: What is improved.
        rate: Learning rate.
        decay: rho.
        epsilon: Added to v.
    """

    def __init__(self, weights: Iterable[torch.nn.Parameter], rate: float, decay: float, epsilon: float) -> None:
        super().__init__(weights, {"lr": rate, "decay": decay, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step on the gradients as they stand; weights without one are left."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                memory = self.state[weight]
                if not memory:
                    memory["step"], memory["square_avg"] = torch.zeros(()), torch.zeros_like(weight)
                memory["step"] += 1
                square = memory["square_avg"]
                square.mul_(group["decay"]).addcmul_(weight.grad, weight.grad, value=1.0 - group["decay"])
                weight.addcdiv_(weight.grad, (square + group["epsilon"]).sqrt_(), value=-group["lr"])
        return None if closure is None else closure()


def make_optimizer(weights: Iterable[torch.nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """The optimiser that the settings name."""
    rate, epsilon, decay = settings.learning_rate, settings.optimizer_epsilon, settings.optimizer_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(weights, rate, eps=epsilon, fused=True)
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(weights, rate, alpha=decay, eps=epsilon)
    return RMSPropInside(weights, rate, decay, epsilon)


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
        moments = part_of(tensors, f"optimizer/{name}/")
        if moments:
            memory[index] = {moment: torch.from_numpy(value.copy()) for moment, value in moments.items()}
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
