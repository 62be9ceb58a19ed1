"""A network that passes messages along the edges of a graph, in torch.

Padding costs nothing: the graphs of a batch become one large graph of the nodes and edges that are there. With h_v the
state of node v, x_v its features, g the graph's `globals`, and means over neighbours (0 where there are none):

    (1)  h_v = act(A x_v + B g)
    (2)  h_v = act(W h_v + P mean_{u -> v} h_u + Q mean_{v -> u} h_u + R mean_u h_u + b)     a round, own weights each
    (3)  m = (mean_v h_v, max_v h_v),  logits of node v: perceptron(h_v, mean_v h_v), of the whole graph: perceptron(m)
    (4)  or, with features c of every choice: logit of choice c of node v: perceptron(x_v, c, g, h_v, mean_v h_v)

Messages go both ways, as in Placeto (Addanki et al., NeurIPS 2019, section 3), and the mean over all nodes spares the
many rounds that a deep graph would need. `acting.graph_inference` is the same in numpy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sysgym.agents.acting.architecture import GraphOutputs
from sysgym.agents.acting.parts import GraphShape


class Graphs(NamedTuple):
    """B graphs as one: V nodes and E edges in all.

    Attributes:
        row: Graph of each node, (V,).
        number: Number of each node in its graph, (V,).
        features: (V, F).
        context: (B, G).
        source: Node where each edge begins, (E,).
        target: Where it ends.
    """

    row: Tensor
    number: Tensor
    features: Tensor
    context: Tensor
    source: Tensor
    target: Tensor


def unpack_graphs(shape: GraphShape, rows: Tensor) -> Graphs:
    """The graphs in packed rows (B, S)."""
    begins, count = shape.begins, len(rows)
    mask = rows[:, begins["node_mask"] : begins["node_mask"] + shape.nodes] > 0
    row, number = mask.nonzero(as_tuple=True)
    place = torch.cumsum(mask.flatten(), 0) - 1
    features = rows[:, begins["nodes"] : begins["nodes"] + shape.nodes * shape.features]
    edges = rows[:, begins["edges"] : begins["edges"] + 2 * shape.edges].view(count, shape.edges, 2)
    graph, edge = (rows[:, begins["edge_mask"] : begins["edge_mask"] + shape.edges] > 0).nonzero(as_tuple=True)
    ends = place[edges[graph, edge].long() + (graph * shape.nodes)[:, None]]
    return Graphs(
        row,
        number,
        features.view(count, shape.nodes, shape.features)[row, number],
        rows[:, begins["globals"] : begins["globals"] + shape.context],
        ends[:, 0],
        ends[:, 1],
    )


def mean_by(values: Tensor, source: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Means (K, h) of the rows `source` of `values` that share a `target`, of which there are `counts` (K, 1)."""
    index = target[:, None].expand(-1, values.shape[1])
    total = values.new_zeros(len(counts), values.shape[1]).scatter_add(0, index, values[source])
    return total / counts


def _counts(target: Tensor, size: int) -> Tensor:
    return torch.bincount(target, minlength=size).clamp(min=1)[:, None].float()


class Round(nn.Module):
    """The weights W with b, P, Q and R of one round of messages, equation (2)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(inputs, width)
        self.along, self.against, self.overall = (nn.Linear(inputs, width, bias=False) for _ in range(3))


class GraphNetwork(nn.Module):
    """Logits of nodes and of the whole graph.

    Args:
        shape: Of the observations.
        hidden: Widths of the nodes' states.
        outputs: What it gives.
        activation: "tanh" or "relu".
        gain: Gain of the last layers' orthogonal initialisation.
    """

    def __init__(
        self, shape: GraphShape, hidden: tuple[int, ...], outputs: GraphOutputs, activation: str, gain: float
    ) -> None:
        super().__init__()
        self.shape, self.outputs = shape, outputs
        self.activation = torch.tanh if activation == "tanh" else torch.relu
        self.first = nn.Linear(shape.features, hidden[0])
        self.context = nn.Linear(shape.context, hidden[0], bias=False)
        self.rounds = nn.ModuleList(Round(inputs, width) for inputs, width in itertools.pairwise(hidden))
        self.choices: Scorer | None = None
        if shape.choice and outputs.nodes == shape.nodes:
            seen = shape.features + shape.choice + shape.context + 2 * hidden[-1]
            self.choices, outputs = Scorer(seen, hidden[-1], self.activation), GraphOutputs(0, 0, 0)
        self.nodes = Head(hidden[-1], outputs.choices, self.activation) if outputs.choices else None
        self.whole = Head(hidden[-1], outputs.extras, self.activation) if outputs.extras else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for head in (self.nodes, self.whole):
            if head is not None:
                nn.init.orthogonal_(head.last.weight, gain)
        if self.choices is not None:
            nn.init.orthogonal_(self.choices.last.weight, gain)

    def forward(self, rows: Tensor) -> Tensor:
        """Packed rows (B, S) to (B, nodes x choices + extras); 0 for nodes that are not there."""
        graphs, count = unpack_graphs(self.shape, rows), len(rows)
        everyone = torch.arange(len(graphs.row), device=rows.device)
        sizes = _counts(graphs.row, count)
        states = self.activation(self.first(graphs.features) + self.context(graphs.context)[graphs.row])
        into, out_of = _counts(graphs.target, len(everyone)), _counts(graphs.source, len(everyone))
        for each in self.rounds:
            assert isinstance(each, Round)
            overall = mean_by(states, everyone, graphs.row, sizes)
            messages = each.own(states) + each.overall(overall)[graphs.row]
            messages = messages + each.along(mean_by(states, graphs.source, graphs.target, into))
            messages = messages + each.against(mean_by(states, graphs.target, graphs.source, out_of))
            states = self.activation(messages)
        mean = mean_by(states, everyone, graphs.row, sizes)
        if self.choices is not None:
            return self._choice_logits(rows, graphs, states, mean)
        parts: list[Tensor] = []
        if self.nodes is not None:
            chosen = graphs.number < self.outputs.nodes
            row, number = graphs.row[chosen], graphs.number[chosen]
            logits = rows.new_zeros(count, self.outputs.nodes, self.outputs.choices)
            logits[row, number] = self.nodes(torch.cat([states[chosen], mean[row]], dim=1))
            parts.append(logits.flatten(1))
        if self.whole is not None:
            index = graphs.row[:, None].expand_as(states)
            largest = rows.new_zeros(count, states.shape[1])
            largest = largest.scatter_reduce(0, index, states, "amax", include_self=False)
            parts.append(self.whole(torch.cat([mean, largest], dim=1)))
        return torch.cat(parts, dim=1)

    def _choice_logits(self, rows: Tensor, graphs: Graphs, states: Tensor, mean: Tensor) -> Tensor:
        """Equation (4)."""
        assert self.choices is not None
        count, nodes, choices, extras = len(rows), *self.outputs
        begin, size = self.shape.begins["choices"], nodes * choices * self.shape.choice
        features = rows[:, begin : begin + size].view(count, nodes, choices, -1)[graphs.row, graphs.number]
        seen = graphs.features, graphs.context[graphs.row], states, mean[graphs.row]
        beside = [part[:, None].expand(-1, choices, -1) for part in seen]
        logits = rows.new_zeros(count, nodes, choices)
        logits[graphs.row, graphs.number] = self.choices(torch.cat([beside[0], features, *beside[1:]], dim=2))
        nothing = rows.new_zeros(count, self.shape.features + self.shape.choice)
        idle = torch.cat([nothing, graphs.context, torch.zeros_like(mean), mean], dim=1)
        return torch.cat([logits.flatten(1), self.choices(idle)[:, None].expand(-1, extras)], dim=1)


class Scorer(nn.Module):
    """One number from the last dimension, by a perceptron of one hidden layer."""

    def __init__(self, inputs: int, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(inputs, width), nn.Linear(width, 1)
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) to (...)."""
        output: Tensor = self.last(self.activation(self.hidden(inputs))).squeeze(-1)
        return output


class Head(nn.Module):
    """A perceptron of one hidden layer over a state beside a mean."""

    def __init__(self, width: int, outputs: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(2 * width, width), nn.Linear(width, outputs)
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        """(K, 2 width) to (K, outputs)."""
        output: Tensor = self.last(self.activation(self.hidden(inputs)))
        return output
