"""The network over tables of terms in torch; `core.term_network` describes it and evaluates it in numpy."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sysgym.core.term_network import Batch, pack, term_shapes


class Packed(NamedTuple):
    """`core.term_network.Batch` as tensors, and its edges: the term above, the term below, the operand's number."""

    operator: Tensor
    variable: Tensor
    named: Tensor
    numbers: Tensor
    operands: Tensor
    graph: Tensor
    row: Tensor
    root: Tensor
    episode: Tensor
    above: Tensor
    below: Tensor
    slot: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Packed:
        """The tensors of a batch."""
        above, slot = np.nonzero(batch.operands < len(batch.operator))
        named = np.flatnonzero(batch.variable >= 0)
        arrays = (
            batch.operator, batch.variable[named], named, batch.numbers, batch.operands, batch.graph, batch.row,
            batch.root, batch.episode, above, batch.operands[above, slot], np.minimum(slot, 1),
        )  # fmt: skip
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


class TermNetwork(nn.Module):
    """Scores of rules at terms, and of stopping.

    Args:
        rows: Terms that an observation holds.
        width: Of the terms' states.
        rounds: Of messages.
        rules: Choices at a term.
        gain: Of the last layers' initialisation.
    """

    def __init__(self, rows: int, width: int, rounds: int, rules: int, gain: float) -> None:
        super().__init__()
        self.rows, self.width, self.rounds, self.rules = rows, width, rounds, rules
        for name, shape in term_shapes(width, rounds, rules).items():
            weight = torch.zeros(shape)
            if len(shape) == 2:
                scale = {"operator": 1.0, "variable": 0.3}.get(name, 1 / math.sqrt(shape[0]))
                scale *= gain if name.endswith("_score") else (0.6 if name.startswith("round") else 1.0)
                weight.normal_(0.0, scale)
            elif name in ("region_score", "stop_score"):
                weight.normal_(0.0, gain / math.sqrt(width))
            self.register_parameter(name, nn.Parameter(weight))

    def forward(self, observations: Tensor) -> Tensor:
        """Logits (B, rows * rules + 1) of observations (B, rows + 1, 8); 0 at padding."""
        packed = Packed.of(pack(_array(observations)))
        rules, stop = self.parts(packed)
        logits = rules.new_zeros((len(observations), self.rows, self.rules))
        logits[packed.graph, packed.row] = rules
        return torch.cat([logits.flatten(1), stop[:, None]], dim=1)

    def parts(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """Logits (M, rules) of the rules at the terms, and (B,) of stopping."""
        w = dict(self.named_parameters())
        hidden = self._encode(packed, w)
        whole = self._whole(packed, hidden, w)
        region = torch.relu(hidden @ w["region"] + (whole @ w["region_whole"])[packed.graph] + w["region_bias"])
        rule = torch.relu(hidden @ w["rule"] + (whole @ w["rule_whole"])[packed.graph] + w["rule_bias"])
        stop = torch.relu(whole @ w["stop"] + w["stop_bias"]) @ w["stop_score"] + w["stop_score_bias"]
        return rule @ w["rule_score"] + w["rule_score_bias"] + (region @ w["region_score"])[:, None], stop

    def _encode(self, packed: Packed, w: dict[str, nn.Parameter]) -> Tensor:
        own = w["operator"][packed.operator] + packed.numbers @ w["numbers"] + w["numbers_bias"]
        own = own.index_add(0, packed.named, w["variable"][packed.variable])
        hidden, count = torch.relu(own), len(own)
        for number in range(self.rounds):
            mixed = (hidden @ w[f"round{number}"]).view(count, 6, self.width)
            padded = torch.cat([mixed, mixed.new_zeros((1, 6, self.width))])
            total = own + mixed[:, 0] + w[f"round{number}_bias"]
            for place in range(3):
                total = total + padded[packed.operands[:, place], 1 + place]
            total = total.index_add(0, packed.below, mixed[packed.above, 4 + packed.slot])
            hidden = torch.relu(total)
        return hidden

    @staticmethod
    def _whole(packed: Packed, hidden: Tensor, w: dict[str, nn.Parameter]) -> Tensor:
        graphs = len(packed.root)
        counts = torch.bincount(packed.graph, minlength=graphs)[:, None]
        mean = hidden.new_zeros((graphs, hidden.shape[1])).index_add(0, packed.graph, hidden) / counts
        places = packed.graph[:, None].expand_as(hidden)
        most = hidden.new_zeros((graphs, hidden.shape[1])).scatter_reduce(0, places, hidden, "amax")
        pooled = torch.cat([mean, most, hidden[packed.root], packed.episode], dim=1)
        return torch.relu(pooled @ w["whole"] + w["whole_bias"])


class TermValue(TermNetwork):
    """One number for a table: what `TermNetwork` says of stopping."""

    def forward(self, observations: Tensor) -> Tensor:
        """(B, 1)."""
        return self.parts(Packed.of(pack(_array(observations))))[1][:, None]


def log_probabilities(
    rules: Tensor, stop: Tensor, packed: Packed, pairs: NDArray[np.int64], num_rules: int, rows: int
) -> Tensor:
    """Log-softmax over the allowed actions of every table, one number for each of them.

    Args:
        rules: (M, rules), from `TermNetwork.parts`.
        stop: (B,).
        packed: The batch.
        pairs: (L, 2), table and action of everything that is allowed, by table.
        num_rules: Choices at a term.
        rows: Terms that an observation holds.
    """
    graphs = len(stop)
    begin = torch.zeros(graphs, dtype=torch.int64)
    begin[1:] = packed.root[:-1] + 1
    table, action = torch.from_numpy(pairs[:, 0].copy()), torch.from_numpy(pairs[:, 1].copy())
    stops = action == rows * num_rules
    place = begin[table] + torch.where(stops, 0, action // num_rules)
    logits = torch.where(stops, stop[table], rules[place, torch.where(stops, 0, action % num_rules)])
    most = stop.new_full((graphs,), -torch.inf).scatter_reduce(0, table, logits.detach(), "amax")
    total = stop.new_zeros(graphs).index_add(0, table, torch.exp(logits - most[table]))
    return logits - (most + torch.log(total))[table]


def _array(observations: Tensor) -> NDArray[np.generic]:
    return observations.detach().cpu().numpy()
