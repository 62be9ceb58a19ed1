"""A network over a table of terms, in numpy: how a learned rewriter acts, without torch and without its environment.

The table is that of a rewriting environment: int32 rows of an operator, up to three operands (row + 1, 0 for none) and
numbers; zero rows are padding, the last row tells of the episode. Messages go along the edges, up from the operands and
down from the operators above, a few rounds; then every term gets a score, every rule at every term another, and their
sum is the logit of the action `term * rules + rule`. One more logit stops. After Chen & Tian, "Learning to perform
local rewriting for combinatorial optimization", NeurIPS 2019, section 3: a score of regions and a policy over rules;
the encoder is a message-passing network instead of a Tree-LSTM, so that it is a few matrix products for any batch.

It stands in `core` because the learner and the simplifier both need it and neither may know the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPERATORS, VARIABLES, NUMBERS, EPISODE = 24, 16, 16, 8
"""Rows of the tables of operators and variables; numbers of a term and of an episode."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Tables without their padding, one behind the other.

    Attributes:
        operator: int64 (M,), row of the table of operators.
        variable: int64 (M,), row of the table of variables, -1 for what is none.
        numbers: float32 (M, 16).
        operands: int64 (M, 3), places in the batch, M where there is none.
        graph: int64 (M,), which table a term belongs to.
        row: int64 (M,), its row there.
        root: int64 (B,), place of each table's root.
        episode: float32 (B, 8).
    """

    operator: NDArray[np.int64]
    variable: NDArray[np.int64]
    numbers: Array
    operands: NDArray[np.int64]
    graph: NDArray[np.int64]
    row: NDArray[np.int64]
    root: NDArray[np.int64]
    episode: Array


def pack(observations: NDArray[Any]) -> Batch:
    """Batch of observations (B, rows + 1, 8)."""
    body = observations[:, :-1]
    present = body[:, :, 0] > 0
    graph, row = np.nonzero(present)
    terms = body[graph, row].astype(np.int64)
    counts = present.sum(axis=1)
    begin = np.concatenate([[0], np.cumsum(counts)])
    operands = terms[:, 1:4]
    operands = np.where(operands > 0, operands - 1 + begin[graph][:, None], len(terms))
    operator = np.minimum(terms[:, 0], OPERATORS - 1)
    is_constant = operator == 1
    is_variable = (operator == 3) | (operator == 4)
    variable = np.where(is_variable, terms[:, 4] % VARIABLES, -1)
    last = observations[:, -1].astype(np.float64)
    return Batch(
        operator, variable, _numbers(terms, is_constant, row == counts[graph] - 1), operands, graph, row,
        begin[1:] - 1, _episode(last),
    )  # fmt: skip


def _numbers(terms: NDArray[np.int64], constant: NDArray[np.bool_], is_root: NDArray[np.bool_]) -> Array:
    value = np.where(constant, terms[:, 4], 0)
    size = np.abs(value).astype(np.float64)
    columns = [
        constant & (value < 0), constant & (value > 0), constant & (value == 0), constant & (value == 1),
        constant & (value == -1), constant & (value == 2), constant & (value % 2 == 0), constant & (value % 3 == 0),
        constant & (size > 0) & ((value & (value - 1)) == 0), np.log1p(size) / 8, np.log1p(terms[:, 5]) / 4,
        np.log1p(terms[:, 6]) / 6, np.log1p(terms[:, 7]) / 2, is_root, terms[:, 5] == 1, terms[:, 7] > 1,
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)


def _episode(last: NDArray[np.float64]) -> Array:
    steps, time, size, length, best_size, best_length, input_size, input_length = last.T
    columns = [
        np.log1p(steps) / 4, time / 1000, np.log1p(size) / 4, np.log1p(length) / 6, (size - best_size) / 8,
        (length - best_length) / 32, size / np.maximum(1, input_size), length / np.maximum(1, input_length),
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)


def term_shapes(width: int, rounds: int, rules: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights; matrices stand as (inputs, outputs)."""
    shapes: dict[str, tuple[int, ...]] = {
        "operator": (OPERATORS, width), "variable": (VARIABLES, width), "numbers": (NUMBERS, width),
        "numbers_bias": (width,),
    }  # fmt: skip
    for number in range(rounds):
        shapes |= {f"round{number}": (width, 6 * width), f"round{number}_bias": (width,)}
    return shapes | {
        "whole": (3 * width + EPISODE, width), "whole_bias": (width,),
        "region": (width, width), "region_whole": (width, width), "region_bias": (width,), "region_score": (width,),
        "rule": (width, width), "rule_whole": (width, width), "rule_bias": (width,),
        "rule_score": (width, rules), "rule_score_bias": (rules,),
        "stop": (width, width), "stop_bias": (width,), "stop_score": (width,), "stop_score_bias": (),
    }  # fmt: skip


class TermFunction:
    """Logits from tables of terms.

    Args:
        weights: Arrays named and shaped as `term_shapes` says.
    """

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        self.rounds = sum(name.startswith("round") and not name.endswith("bias") for name in weights)
        self.width = self._weights["numbers_bias"].shape[0]
        self.rules = self._weights["rule_score_bias"].shape[0]

    def parts(self, batch: Batch) -> tuple[Array, Array]:
        """Logits (M, rules) of the rules at the terms, and (B,) of stopping."""
        w = self._weights
        hidden = self._encode(batch)
        whole = self._whole(batch, hidden)
        shared = whole[batch.graph]
        region = _relu(hidden @ w["region"] + shared @ w["region_whole"] + w["region_bias"]) @ w["region_score"]
        rule = _relu(hidden @ w["rule"] + shared @ w["rule_whole"] + w["rule_bias"])
        stop = _relu(whole @ w["stop"] + w["stop_bias"]) @ w["stop_score"] + w["stop_score_bias"]
        logits: Array = rule @ w["rule_score"] + w["rule_score_bias"] + region[:, None]
        return logits, stop

    def __call__(self, observations: NDArray[Any]) -> Array:
        """Logits (B, rows * rules + 1) of observations (B, rows + 1, 8); 0 at padding."""
        batch = pack(observations)
        rules, stop = self.parts(batch)
        rows = observations.shape[1] - 1
        logits = np.zeros((len(observations), rows * self.rules + 1), np.float32)
        logits[:, :-1].reshape(len(observations), rows, self.rules)[batch.graph, batch.row] = rules
        logits[:, -1] = stop
        return logits

    def _encode(self, batch: Batch) -> Array:
        w, width, count = self._weights, self.width, len(batch.operator)
        own = w["operator"][batch.operator] + batch.numbers @ w["numbers"] + w["numbers_bias"]
        named = batch.variable >= 0
        own[named] += w["variable"][batch.variable[named]]
        hidden: Array = _relu(own)
        above, slot = np.nonzero(batch.operands < count)
        below = batch.operands[above, slot]
        for number in range(self.rounds):
            mixed = np.vstack([hidden @ w[f"round{number}"], np.zeros((1, 6 * width), np.float32)])
            total = own + mixed[:-1, :width] + w[f"round{number}_bias"]
            for place in range(3):
                total += mixed[batch.operands[:, place], (1 + place) * width : (2 + place) * width]
            down = mixed[:-1].reshape(count, 6, width)[above, 4 + np.minimum(slot, 1)]
            np.add.at(total, below, down)
            hidden = _relu(total)
        return hidden

    def _whole(self, batch: Batch, hidden: Array) -> Array:
        w = self._weights
        begin = np.concatenate([[0], batch.root[:-1] + 1])
        count = (batch.root + 1 - begin)[:, None].astype(np.float32)
        mean, most = np.add.reduceat(hidden, begin) / count, np.maximum.reduceat(hidden, begin)
        pooled = np.concatenate([mean, most, hidden[batch.root], batch.episode], axis=1)
        return _relu(pooled @ w["whole"] + w["whole_bias"])


def _relu(array: Array) -> Array:
    return np.maximum(array, np.float32(0.0))
