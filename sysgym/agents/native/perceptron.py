"""Policy and value perceptrons for the native learner: torch's own weights, learned in compiled code.

The weights stay torch's: its parameters become views of one flat array, which compiled code improves in place. So
publishing, saving and evaluating need not know who learns, and a checkpoint of one learner is one of the other. Torch
differentiates any network; this is for `flat` ones on the processor, where most of torch's time is its own overhead.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.native.behaviour import flattened, widths_of
from sysgym.agents.native.byte_kernels import forward_byte_shards, policy_byte_shards
from sysgym.agents.native.choice_kernels import choice_shards, forward_choice_shards
from sysgym.agents.native.gradients import SUMS, forward_shards, last_layer, log_taken, policy_shards, value_shards
from sysgym.agents.native.kernels import RELU, TANH, Floats, Rows, adam_step, forward, norm, rmsprop_step, tree_sum
from sysgym.agents.networks import Perceptron
from sysgym.agents.settings import Settings
from sysgym.agents.updates.team import LARGEST_SHARDS, Team, shards_of

WIDEST = 256
"""Widest hidden layer for which the native learner is chosen by itself."""


class NativePerceptron:
    """A perceptron that learns natively.

    Args:
        perceptron: Torch's; its parameters become views of `weights`.
        prefix: Of the names of its parameters in the network.
        activation: "tanh" or "relu".
        settings: Of the algorithm: optimiser and cut of the gradient.
        team: Who works on shards.

    Attributes:
        weights: All of them, flat.
    """

    def __init__(self, perceptron: Perceptron, prefix: str, activation: str, settings: Settings, team: Team) -> None:
        self.settings, self.team = settings, team
        self._activation = TANH if activation == "tanh" else RELU
        self.weights, self._places = flattened(perceptron, prefix)
        self.widths = widths_of(perceptron)
        self.moments = {"exp_avg": np.zeros_like(self.weights), "exp_avg_sq": np.zeros_like(self.weights)}
        if settings.optimizer != "adam":
            self.moments = {"square_avg": np.zeros_like(self.weights)}
        self.steps = 0
        self._rows = -1
        self._shards = 0

    def outputs(self, inputs: Floats) -> Floats:
        """The last layer's outputs, (rows, outputs), of inputs (rows, features); remembers nothing."""
        memory = np.empty(len(inputs) * int(self.widths[1:].sum()), dtype=np.float32)
        return forward(self.weights, self.widths, self._activation, inputs, memory)

    def forward(self, inputs: Floats, rows: Rows, masks: NDArray[np.int8] | None = None) -> None:
        """Let a minibatch, the chosen rows of (M, features), pass; a gradient may follow. Masks don't matter here."""
        self._reserve(len(rows))
        self._over_shards(forward_shards, inputs, rows, tail=(self._gathered, self._outputs))

    def passed(self, rows: int) -> Floats:
        """The outputs of the minibatch that passed last, (rows, outputs), copied."""
        cuts = [shard * rows // self._shards for shard in range(self._shards + 1)]
        parts = [
            last_layer(self._outputs[shard], cuts[shard + 1] - cuts[shard], self.widths)
            for shard in range(self._shards)
        ]
        return np.concatenate(parts)

    def log_taken(self, rows: Rows, masks: NDArray[np.int8], actions: Rows) -> NDArray[np.float64]:
        """Log pi of the actions of the minibatch that passed last, (rows,)."""
        log_probabilities = np.empty(len(rows))
        log_taken(self.passed(len(rows)), rows, masks, actions, log_probabilities)
        return log_probabilities

    def policy_gradient(
        self,
        rows: Rows,
        masks: NDArray[np.int8],
        actions: Rows,
        old: Floats,
        advantages: Floats,
        clip: float,
        entropy_weight: float,
    ) -> dict[str, float]:
        """The gradient behind a `forward`; see `gradients.policy_head`. Returns means of `gradients.SUMS`."""
        self._follow_policy(rows, (masks, actions, old, advantages, clip, entropy_weight))
        means = self._sums[: self._shards].sum(axis=0) / len(rows)
        return dict(zip(SUMS, means.tolist(), strict=True))

    def value_gradient(self, rows: Rows, returns: Floats, old: Floats, clip: float, weight: float) -> float:
        """The gradient behind a `forward`; see `gradients.value_head`. Returns the mean squared error."""
        memory = (self._gathered, self._outputs, self._deltas, self._gradients, self._sums)
        self._over_shards(value_shards, rows, tail=(*memory, returns, old, clip, weight))
        return float(self._sums[: self._shards, 0].sum()) / len(rows)

    def gradient(self) -> Floats:
        """The sum of the shards' gradients, flat; once behind each gradient."""
        total: Floats = tree_sum(self._gradients[: self._shards])
        return total

    def follow(self, gradient: Floats) -> None:
        """Let the next `descend` follow this gradient, (weights,), instead of the minibatch's."""
        self._shards = 1
        self._gradients[0] = gradient

    def descend(self, rate: float) -> float:
        """One step of the optimiser on `gradient`, cut as `Learner` says, unless its norm is not finite.

        Returns:
            The norm before it is cut.
        """
        gradient = self.gradient()
        size: float = norm(gradient)
        if np.isfinite(size):
            settings = self.settings
            share = min(1.0, settings.max_gradient_norm / (size + 1e-6))
            if share < 1.0:
                gradient *= np.float32(share)
            self.steps += 1
            if settings.optimizer == "adam":
                mean, square = self.moments["exp_avg"], self.moments["exp_avg_sq"]
                adam_step(self.weights, gradient, mean, square, self.steps, rate, settings.optimizer_epsilon)
            else:
                inside = settings.optimizer == "rmsprop_inside"
                square, decay = self.moments["square_avg"], settings.optimizer_decay
                rmsprop_step(self.weights, gradient, square, rate, decay, settings.optimizer_epsilon, inside)
        return size

    def optimizer_tensors(self) -> dict[str, NDArray[Any]]:
        """As `optimizers.optimizer_tensors` has them."""
        if not self.steps:
            return {}
        tensors: dict[str, NDArray[Any]] = {}
        for name, (place, shape) in self._places.items():
            tensors[f"optimizer/{name}/step"] = np.array(self.steps, dtype=np.float32)
            for moment, memory in self.moments.items():
                tensors[f"optimizer/{name}/{moment}"] = memory[place].reshape(shape).copy()
        return tensors

    def restore_optimizer(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of `optimizer_tensors`."""
        for name, (place, _) in self._places.items():
            if f"optimizer/{name}/step" in tensors:
                self.steps = int(tensors[f"optimizer/{name}/step"])
                for moment, memory in self.moments.items():
                    memory[place] = tensors[f"optimizer/{name}/{moment}"].ravel()

    def _follow_policy(self, rows: Rows, terms: tuple[Any, ...]) -> None:
        """The shards of a policy's gradient; `terms` are those of `policy_gradient` behind the rows."""
        memory = (self._gathered, self._outputs, self._deltas, self._gradients, self._sums)
        self._over_shards(policy_shards, rows, tail=(*memory, *terms))

    def _over_shards(self, kernel: Any, *head: Any, tail: tuple[Any, ...]) -> None:
        """Call a kernel for all shards, each thread of the team taking every so manieth."""
        threads = min(self.team.threads, self._shards)
        shared = (self.weights, self.widths, self._activation, *head, self._shards)
        self.team.run([partial(kernel, *shared, first, threads, *tail) for first in range(threads)])

    def _reserve(self, rows: int, choices: int = 1) -> None:
        """Memory for a minibatch of states with so many rows each; kept until a larger one comes."""
        self._shards = shards_of(rows, int(self.widths[0]))
        if rows <= self._rows:
            return
        self._rows = rows
        largest = choices * max(-(-size // shards_of(size, int(self.widths[0]))) for size in range(1, rows + 1))
        shards, inside = LARGEST_SHARDS, int(self.widths[1:].sum())
        self._gathered = np.zeros((shards, largest * int(self.widths[0])), dtype=np.float32)
        self._outputs, self._deltas = np.zeros((2, shards, largest * inside), dtype=np.float32)
        self._gradients = np.zeros((shards, len(self.weights)), dtype=np.float32)
        self._sums = np.zeros((shards, len(SUMS)))


class NativeBytes(NativePerceptron):
    """A policy over images of bytes that learns natively; inputs are uint8 (M, cells)."""

    def forward(self, inputs: Any, rows: Rows, masks: NDArray[np.int8] | None = None) -> None:
        """See `NativePerceptron.forward`."""
        self._reserve(len(rows))
        self._cells = inputs
        self._over_shards(forward_byte_shards, inputs, rows, tail=(self._outputs,))

    def _follow_policy(self, rows: Rows, terms: tuple[Any, ...]) -> None:
        memory = (self._outputs, self._deltas, self._gradients, self._sums)
        self._over_shards(policy_byte_shards, self._cells, rows, tail=(*memory, *terms))


class NativeChoices(NativePerceptron):
    """A policy over choices that learns natively; inputs are (M, A, features), and masks say which rows pass."""

    def forward(self, inputs: Floats, rows: Rows, masks: NDArray[np.int8] | None = None) -> None:
        """See `NativePerceptron.forward`."""
        assert masks is not None
        actions = inputs.shape[1]
        self._reserve(len(rows), actions)
        if len(self._logits) < self._rows:
            self._logits, self._slopes = np.zeros((2, self._rows, actions), dtype=np.float32)
            self._pairs = np.zeros(LARGEST_SHARDS, dtype=np.int64)
        memory = (self._gathered, self._outputs, self._pairs, self._logits)
        self._over_shards(forward_choice_shards, inputs, rows, masks, tail=memory)

    def passed(self, rows: int) -> Floats:
        """The logits of the minibatch that passed last, (rows, A), copied; 0 where an action is not allowed."""
        return self._logits[:rows].copy()

    def _follow_policy(self, rows: Rows, terms: tuple[Any, ...]) -> None:
        memory = (self._gathered, self._outputs, self._deltas, self._gradients, self._sums)
        choices = (self._pairs, self._logits, self._slopes)
        self._over_shards(choice_shards, rows, tail=(*memory, *choices, *terms))

    _logits = np.zeros((0, 0), dtype=np.float32)
