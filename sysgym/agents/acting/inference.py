"""The policy half of the networks in numpy, and masked choice: acting without torch.

One observation through torch costs mostly overhead; numpy answers in a few microseconds, and a process that only
evaluates a policy never loads torch. Tests hold these functions equal to `networks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.acting.architecture import Architecture
from sysgym.agents.acting.spaces import Spaces
from sysgym.core.errors import SysgymError
from sysgym.core.row_network import RowNetwork, from_layers
from sysgym.core.term_network import TermFunction

LARGEST_STANDARD = 10.0
"""Where standardised observations are clipped, in standard deviations."""

Array = NDArray[np.float32]


class PolicyFunction:
    """Logits from observations.

    Args:
        spaces: What is seen and may be done.
        architecture: The network's kind, widths and activation.
        weights: Arrays named and shaped as `architecture.weight_shapes` says; those of the value are not used.
    """

    def __init__(self, spaces: Spaces, architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
        self.spaces, self.kind = spaces, architecture.kind
        self._graph: Callable[[NDArray[Any]], Array] | None = None
        if architecture.is_graph:
            from sysgym.agents.acting.graph_inference import GraphFunction  # noqa: PLC0415  (loads numba)

            self._graph = GraphFunction(spaces, architecture, weights)
        elif architecture.kind == "terms":
            self._graph = TermFunction(
                {name.removeprefix("policy."): weights[name] for name in weights if name.startswith("policy.")}
            )
        self._activation = np.tanh if architecture.activation == "tanh" else _relu
        self._policy = _layers("policy", weights)
        self._void_rows, self._void_pooled = _layers("void.rows", weights), _layers("void.pooled", weights)
        self._scale: tuple[Array, Array] | None = None
        if architecture.normalize:
            deviation = np.sqrt(weights["scale.variance"] + 1e-8)
            self._scale = weights["scale.mean"].astype(np.float32), deviation.astype(np.float32)

    def __call__(self, observations: NDArray[Any]) -> Array:
        """Logits (B, A) of observations (B, *shape)."""
        if self._graph is not None:
            return self._graph(observations)
        inputs = self.spaces.encode(observations)
        if self.kind == "flat":
            inputs = inputs.reshape(len(inputs), -1)
        if self._scale is not None:
            mean, deviation = self._scale
            inputs = np.clip((inputs - mean) / deviation, -LARGEST_STANDARD, LARGEST_STANDARD)
        logits = _perceptron(inputs, self._policy, self._activation)
        if self.kind == "flat":
            return logits
        logits = logits[..., 0]
        return np.concatenate([logits, self._void(inputs)], axis=-1) if self.kind == "rows_and_void" else logits

    @property
    def row_network(self) -> RowNetwork | None:
        """The perceptron that is shared over rows, where it is the whole policy; else None."""
        if self.kind != "rows" or self._scale is not None:
            return None
        return from_layers(self._policy, self._activation is np.tanh)

    def _void(self, inputs: Array) -> Array:
        rows = self._activation(_perceptron(inputs, self._void_rows, self._activation))
        pooled = np.concatenate([rows.mean(-2), rows.max(-2)], axis=-1)
        return _perceptron(pooled, self._void_pooled, self._activation)


def masked_probabilities(logits: NDArray[Any], masks: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over the allowed actions in float64; exactly 0 where an action is not allowed.

    Args:
        logits: (B, A).
        masks: (B, A), not 0 where allowed.

    Raises:
        SysgymError: A row allows nothing.
    """
    masked = np.where(_allowed(masks), logits.astype(np.float64), -np.inf)
    weights = np.exp(masked - masked.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities


def sample(probabilities: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """One action a row by inverse transform.

    An action of probability 0 is never drawn: the cumulated probability does not rise there, and where rounding
    leaves a remainder at the end of the row, the last possible action is taken.

    Args:
        probabilities: (B, A), rows sum to 1 up to rounding.
        uniforms: (B,), in [0, 1).
    """
    reached = probabilities.cumsum(axis=-1) > uniforms[:, None]
    last = probabilities.shape[-1] - 1 - (probabilities[:, ::-1] > 0.0).argmax(axis=-1)
    actions: NDArray[np.int64] = np.where(reached.any(axis=-1), reached.argmax(axis=-1), last)
    return actions


def most_likely(logits: NDArray[Any], masks: NDArray[Any]) -> NDArray[np.int64]:
    """The allowed action of the largest logit in each row; ties go to the lowest action.

    Raises:
        SysgymError: A row allows nothing.
    """
    actions: NDArray[np.int64] = np.where(_allowed(masks), logits, -np.inf).argmax(axis=-1)
    return actions


def _allowed(masks: NDArray[Any]) -> NDArray[np.bool_]:
    allowed: NDArray[np.bool_] = masks != 0
    possible = allowed.any(axis=-1)
    if not possible.all():
        row = int(np.flatnonzero(~possible)[0])
        raise SysgymError(f"the action mask of row {row} allows no action; an environment must allow at least one")
    return allowed


def _layers(name: str, weights: Mapping[str, NDArray[Any]]) -> list[tuple[Array, Array]]:
    layers: list[tuple[Array, Array]] = []
    while (prefix := f"{name}.layers.{len(layers)}") + ".weight" in weights:
        weight = np.ascontiguousarray(weights[f"{prefix}.weight"].T, dtype=np.float32)
        layers.append((weight, np.asarray(weights[f"{prefix}.bias"], dtype=np.float32)))
    return layers


def _perceptron(inputs: Array, layers: list[tuple[Array, Array]], activation: Callable[[Array], Array]) -> Array:
    for weight, bias in layers[:-1]:
        inputs = activation(inputs @ weight + bias)
    weight, bias = layers[-1]
    output: Array = inputs @ weight + bias
    return output


def _relu(inputs: Array) -> Array:
    return np.maximum(inputs, np.float32(0.0))
