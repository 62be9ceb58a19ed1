"""Compiled arithmetic of perceptrons over bytes, most of which are 0, such as DeepRM's image.

An image of 4,480 cells has some 300 that are not empty. The first layer therefore adds up the columns of its matrix
that belong to those, instead of multiplying the whole image, and its gradient touches no other columns; everything
behind the first layer is as in `kernels`. Observations stay bytes throughout, so that a slot of them fits in memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.native.gradients import last_layer, policy_head, shard_of
from sysgym.agents.native.kernels import TANH, Floats, Rows, activate, backward, choose, forward
from sysgym.core.compiled import compiled, compiled_ieee

Bytes = NDArray[np.uint8]

WORD = 8
"""Bytes that are looked at together for being empty."""

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@compiled_ieee
def forward_bytes(
    weights: Floats, widths: NDArray[np.int64], activation: int, inputs: Bytes, rows: Rows, outputs: Floats
) -> Floats:
    """As `kernels.forward`, of the chosen rows of (M, inputs)."""
    ins, outs = widths[0], widths[1]
    columns = weights[: outs * ins].reshape(outs, ins).T.copy()
    above = outputs[: len(rows) * outs].reshape(len(rows), outs)
    above[:] = _ZERO
    for k in range(len(rows)):
        seen, out = inputs[rows[k]], above[k]
        words = seen[: ins // WORD * WORD].view(np.uint64)
        for word in range(len(words) + 1):
            if word == len(words) or words[word] != 0:
                for cell in range(word * WORD, min(ins, (word + 1) * WORD)):
                    if seen[cell] != 0:
                        size = np.float32(seen[cell])
                        for unit in range(outs):
                            out[unit] += size * columns[cell, unit]
    activate(above, weights[outs * ins : outs * (ins + 1)], activation)
    return forward(weights[outs * (ins + 1) :], widths[1:], activation, above, outputs[len(rows) * outs :])


@compiled_ieee
def backward_bytes(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Bytes,
    rows: Rows,
    outputs: Floats,
    deltas: Floats,
    gradient: Floats,
) -> None:
    """As `kernels.backward`, of the chosen rows of (M, inputs); there is at least one hidden layer."""
    ins, outs, count, above = widths[0], widths[1], len(rows), widths[2]
    begin, first = outs * (ins + 1), len(rows) * outs
    hidden, lower = outputs[:first].reshape(count, outs), deltas[:first].reshape(count, outs)
    backward(weights[begin:], widths[1:], activation, hidden, outputs[first:], deltas[first:], gradient[begin:])
    matrix = weights[begin : begin + above * outs].reshape(above, outs)
    np.dot(deltas[first : first + count * above].reshape(count, above), matrix, lower)
    columns, bias = np.zeros((ins, outs), dtype=np.float32), gradient[outs * ins : begin]
    bias[:] = _ZERO
    for k in range(count):
        seen = inputs[rows[k]]
        for unit in range(outs):
            put = hidden[k, unit]
            lower[k, unit] *= _ONE - put * put if activation == TANH else (_ONE if put > _ZERO else _ZERO)
            bias[unit] += lower[k, unit]
        words = seen[: ins // WORD * WORD].view(np.uint64)
        for word in range(len(words) + 1):
            if word == len(words) or words[word] != 0:
                for cell in range(word * WORD, min(ins, (word + 1) * WORD)):
                    if seen[cell] != 0:
                        size = np.float32(seen[cell])
                        for unit in range(outs):
                            columns[cell, unit] += size * lower[k, unit]
    gradient[: outs * ins].reshape(outs, ins)[:] = columns.T


@compiled
def decide_bytes(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Bytes,
    rows: Rows,
    outputs: Floats,
    masks: NDArray[np.int8],
    uniforms: NDArray[np.float64],
    scratch: NDArray[np.float64],
    actions: NDArray[np.int64],
    log_probabilities: NDArray[np.float64],
) -> int:
    """As `kernels.decide`, of all rows; `rows` are their numbers."""
    logits = forward_bytes(weights, widths, activation, inputs, rows, outputs)
    return choose(logits, masks, uniforms, scratch, actions, log_probabilities)


@compiled
def forward_byte_shards(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Bytes,
    rows: Rows,
    shards: int,
    first: int,
    step: int,
    outputs: Floats,
) -> None:
    """As `gradients.forward_shards`; nothing is gathered."""
    for shard in range(first, shards, step):
        part = shard_of(rows, shard, shards)
        forward_bytes(weights, widths, activation, inputs, part, outputs[shard])


@compiled
def policy_byte_shards(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Bytes,
    rows: Rows,
    shards: int,
    first: int,
    step: int,
    outputs: Floats,
    deltas: Floats,
    gradients: Floats,
    sums: NDArray[np.float64],
    masks: NDArray[np.int8],
    actions: Rows,
    old: Floats,
    advantages: Floats,
    clip: float,
    entropy_weight: float,
) -> None:
    """As `gradients.policy_shards`."""
    for shard in range(first, shards, step):
        part = shard_of(rows, shard, shards)
        logits = last_layer(outputs[shard], len(part), widths)
        slopes = last_layer(deltas[shard], len(part), widths)
        policy_head(
            logits, part, masks, actions, old, advantages, clip, entropy_weight, len(rows), slopes, sums[shard]
        )  # fmt: skip
        backward_bytes(weights, widths, activation, inputs, part, outputs[shard], deltas[shard], gradients[shard])
