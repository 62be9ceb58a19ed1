"""The policy half of `graph_networks` in numpy, with the sums over neighbours compiled: acting without torch.

Equation numbers are those of `graph_networks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.acting.architecture import Architecture
from sysgym.agents.acting.spaces import Spaces
from sysgym.core.compiled import compiled

Array = NDArray[np.float32]


@compiled
def _mean_by(values: Array, source: NDArray[np.int64], target: NDArray[np.int64], size: int) -> Array:
    """Means (size, h) of the rows `source` of `values` that share a `target`; 0 where there are none."""
    total = np.zeros((size, values.shape[1]), dtype=np.float32)
    counts = np.zeros(size, dtype=np.float32)
    for edge in range(len(source)):
        counts[target[edge]] += 1.0
        for k in range(values.shape[1]):
            total[target[edge], k] += values[source[edge], k]
    for row in range(size):
        if counts[row] > 1.0:
            for k in range(values.shape[1]):
                total[row, k] /= counts[row]
    return total


class GraphFunction:
    """Logits (B, A) from packed rows (B, S).

    Args:
        spaces: What is seen and may be done.
        architecture: Of a graph kind.
        weights: Arrays named and shaped as `architecture.weight_shapes` says; those of the value are not used.
    """

    def __init__(self, spaces: Spaces, architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
        shape = spaces.graph
        assert shape is not None
        self.shape, self.outputs = shape, architecture.graph_outputs(spaces)
        self.rounds = len(architecture.hidden) - 1
        self._activation = np.tanh if architecture.activation == "tanh" else _relu
        self._weights = {
            name.removeprefix("policy."): np.ascontiguousarray(array.T, dtype=np.float32)
            for name, array in weights.items()
            if name.startswith("policy.")
        }

    def __call__(self, rows: NDArray[Any]) -> Array:
        """See the class; 0 for nodes that are not there."""
        shape, act, count = self.shape, self._activation, len(rows)
        rows = np.asarray(rows, dtype=np.float32)
        part = {name: rows[:, begin:] for name, begin in shape.begins.items()}
        mask = part["node_mask"][:, : shape.nodes] > 0
        row, number = mask.nonzero()
        everyone = np.arange(len(row))
        place = mask.ravel().cumsum() - 1
        features = part["nodes"][:, : shape.nodes * shape.features].reshape(count, shape.nodes, shape.features)
        graph, edge = (part["edge_mask"][:, : shape.edges] > 0).nonzero()
        edges = part["edges"][:, : 2 * shape.edges].reshape(count, shape.edges, 2)[graph, edge].astype(np.int64)
        ends = place[edges + (graph * shape.nodes)[:, None]]
        source, target = np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1])
        context = part["globals"][:, : shape.context] @ self._weights["context.weight"]
        states = act(self._linear("first", features[row, number]) + context[row])
        for each in range(self.rounds):
            name = f"rounds.{each}"
            overall = _mean_by(states, everyone, row, count) @ self._weights[f"{name}.overall.weight"]
            messages = self._linear(f"{name}.own", states) + overall[row]
            messages += _mean_by(states, source, target, len(row)) @ self._weights[f"{name}.along.weight"]
            messages += _mean_by(states, target, source, len(row)) @ self._weights[f"{name}.against.weight"]
            states = act(messages)
        mean = _mean_by(states, everyone, row, count)
        if "choices.hidden.weight" in self._weights:
            own = features[row, number]
            return self._choice_logits(
                part["choices"], own, part["globals"][:, : shape.context], states, row, number, mean
            )
        return self._logits(states, row, number, mean)

    def _logits(self, states: Array, row: NDArray[np.int64], number: NDArray[np.int64], mean: Array) -> Array:
        """Equation (3)."""
        outputs, parts = self.outputs, []
        if outputs.choices:
            chosen = number < outputs.nodes
            logits = np.zeros((len(mean), outputs.nodes, outputs.choices), dtype=np.float32)
            logits[row[chosen], number[chosen]] = self._head("nodes", states[chosen], mean[row[chosen]])
            parts.append(logits.reshape(len(mean), -1))
        if outputs.extras:
            largest = np.full(mean.shape, -np.inf, dtype=np.float32)
            np.maximum.at(largest, row, states)
            parts.append(self._head("whole", mean, np.where(np.isfinite(largest), largest, np.float32(0.0))))
        return np.concatenate(parts, axis=1)

    def _choice_logits(
        self, rows: Array, own: Array, context: Array, states: Array, row: NDArray[np.int64], number: NDArray[np.int64],
        mean: Array,
    ) -> Array:  # fmt: skip
        """Equation (4); what a node's choices share is added up once."""
        (nodes, choices, extras), size = self.outputs, self.shape.choice
        matrix, bias = self._weights["choices.hidden.weight"], self._weights["choices.hidden.bias"]
        ends = np.cumsum([own.shape[1], size, context.shape[1], states.shape[1]])
        by_node, by_choice, by_context, by_state, by_mean = np.split(matrix, ends)
        around = context @ by_context + mean @ by_mean + bias
        begun = around[row] + own @ by_node + states @ by_state
        features = rows[:, : nodes * choices * size].reshape(len(rows), nodes, choices, size)[row, number]
        hidden = self._activation(features @ by_choice + begun[:, None])
        logits = np.zeros((len(rows), nodes, choices), dtype=np.float32)
        logits[row, number] = self._linear("choices.last", hidden)[..., 0]
        idle = self._linear("choices.last", self._activation(around))
        return np.concatenate([logits.reshape(len(rows), -1), np.repeat(idle, extras, axis=1)], axis=1)

    def _head(self, name: str, states: Array, beside: Array) -> Array:
        hidden = self._activation(self._linear(f"{name}.hidden", np.concatenate([states, beside], axis=1)))
        return self._linear(f"{name}.last", hidden)

    def _linear(self, name: str, inputs: Array) -> Array:
        output: Array = inputs @ self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return output


def _relu(inputs: Array) -> Array:
    return np.maximum(inputs, np.float32(0.0))
