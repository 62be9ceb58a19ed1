"""What every learner is, and what those that follow a gradient share.

A learner turns a slot of experience into better weights. The training loop knows no more of an algorithm than
`Learner`: how the slot is filled is up to its `behaviour` and its settings.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from sysgym.agents.actor import Behaviour
from sysgym.agents.native.behaviour import compiled_behaviour, suits
from sysgym.agents.networks import Network
from sysgym.agents.rollout import Rollout
from sysgym.agents.settings import Settings
from sysgym.agents.updates.optimizers import Tensors, make_optimizer, optimizer_tensors, restore_optimizer
from sysgym.agents.updates.team import Team, shards_of, tree_sum
from sysgym.core.errors import TrainingError

SettingsKind = TypeVar("SettingsKind", bound=Settings)


class Learner(abc.ABC, Generic[SettingsKind]):
    """An algorithm at work on one network.

    Args:
        network: The weights that it improves, in place.
        settings: Of the algorithm.
        seed: Of whatever it draws.
        threads: How many work on a minibatch; the weights do not depend on it.
    """

    def __init__(self, network: Network, settings: SettingsKind, seed: int, threads: int = 1) -> None:
        self.network, self.settings, self.seed = network, settings, seed
        self.device = next(network.parameters()).device
        self.team = Team(threads)
        self.optimizer = make_optimizer(network.parameters(), settings)

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

    def prepare(self, env_id: str, environment: Mapping[str, Any]) -> None:
        """What comes before the first slot of a run that begins, such as imitation; nothing here.

        Args:
            env_id: The environment.
            environment: Its arguments.
        """

    def behaviour(self) -> Behaviour:
        """Who plays for this algorithm."""
        behaviour = compiled_behaviour(self.network) if suits(self.network) else Behaviour(self.network)
        behaviour.masked = self.settings.masked
        return behaviour

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """What a resumed run needs beside the weights: arrays, and plain values as JSON takes them."""
        return optimizer_tensors(self.optimizer, self.network), {}

    def restore(self, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        del values
        restore_optimizer(self.optimizer, self.network, tensors)

    def _remaining(self, progress: float) -> float:
        """What decay leaves of learning rate and entropy weight; sets the former."""
        remaining = 1.0 - progress if self.settings.decay else 1.0
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * remaining
        return remaining

    def _descend(self, **losses: Sequence[Share]) -> dict[str, float]:
        """One step of the optimiser on losses that are cut into shards.

        A part's gradient is cut to norm c, scaled by min(1, c / (norm + 1e-6)). The shards' gradients are added up by
        pairs in fixed order, so that the weights do not depend on who worked on which.

        Args:
            losses: The shards of the loss of each of `Network.parts`.

        Returns:
            The metrics' means, and the gradients' norms before they are cut.
        """
        weights = self.network.parts()
        tasks = [partial(_gradient, weights[part], share) for part, shares in losses.items() for share in shares]
        done = iter(self.team.run(tasks))
        metrics: dict[str, float] = {}
        for part, shares in losses.items():
            gradients, counted = zip(*(next(done) for _ in shares), strict=True)
            for weight, gradient in zip(weights[part], tree_sum(gradients), strict=True):
                weight.grad = gradient
            for name in counted[0]:
                metrics[name] = sum(share.size * found[name] for share, found in zip(shares, counted, strict=True))
        return metrics | self._step()

    def _step(self) -> dict[str, float]:
        largest = self.settings.max_gradient_norm
        norms = {
            f"{name}_gradient_norm": float(torch.nn.utils.clip_grad_norm_(weights, largest))
            for name, weights in self.network.parts().items()
            if weights[0].grad is not None
        }
        require_finite(norms)
        self.optimizer.step()
        return norms


class Share(NamedTuple):
    """A shard of a minibatch.

    Attributes:
        size: Its share of the minibatch's rows; losses are means, and that of the minibatch is the weighted sum.
        terms: Gives the mean loss of its rows, and metrics that are means as well.
    """

    size: float
    terms: Callable[[], tuple[Tensor, dict[str, float]]]


def shards(count: int, features: int) -> list[tuple[float, slice]]:
    """The shards of a minibatch of `count` rows: share of the rows, and which they are."""
    parts = shards_of(count, features)
    cuts = [part * count // parts for part in range(parts + 1)]
    return [((end - start) / count, slice(start, end)) for start, end in itertools.pairwise(cuts)]


def require_finite(norms: Mapping[str, float]) -> None:
    """Refuse a gradient that no optimiser can follow.

    Raises:
        TrainingError: One of its norms is not finite.
    """
    for name, size in norms.items():
        if not math.isfinite(size):
            raise TrainingError(f"{name} is {size}: the gradient is not finite; a smaller learning_rate may help")


def _gradient(weights: list[torch.nn.Parameter], share: Share) -> tuple[list[Tensor], dict[str, float]]:
    loss, metrics = share.terms()
    return list(torch.autograd.grad(loss * share.size, weights, materialize_grads=True)), metrics
