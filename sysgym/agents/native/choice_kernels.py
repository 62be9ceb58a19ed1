"""Compiled arithmetic of networks over choices: rows of allowed actions alone pass the perceptron.

An observation is (A, F), a row an action (`acting.architecture`, kind `choices`). Of most states a few actions are
allowed; their rows are gathered, pass the perceptron as one matrix, and their outputs are spread over (rows, A) again,
where masks say which of them mean something. States that allow one action only need no logit at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.native.gradients import last_layer, policy_head
from sysgym.agents.native.kernels import Floats, Rows, backward, choose, forward
from sysgym.core.compiled import compiled


@compiled
def gather_allowed(inputs: Floats, rows: Rows, masks: NDArray[np.int8], width: int, memory: Floats) -> int:
    """Write the allowed rows of the chosen states of (M, A, F) side by side into flat memory; returns how many.

    Of each row the first `width` columns are taken: what follows is for the value alone.
    """
    actions, found = inputs.shape[1], 0
    for k in range(len(rows)):
        m = rows[k]
        if _allowed(masks[m]) > 1:
            for action in range(actions):
                if masks[m, action] != 0:
                    memory[found * width : (found + 1) * width] = inputs[m, action, :width]
                    found += 1
    return found


@compiled
def spread(outputs: Floats, rows: Rows, masks: NDArray[np.int8], logits: Floats) -> None:
    """Write outputs of gathered rows, (n, 1), to their places in (k, A); 0 elsewhere."""
    found = 0
    for k in range(len(rows)):
        logits[k] = 0.0
        if _allowed(masks[rows[k]]) > 1:
            for action in range(logits.shape[1]):
                if masks[rows[k], action] != 0:
                    logits[k, action] = outputs[found, 0]
                    found += 1


@compiled
def collect(slopes: Floats, rows: Rows, masks: NDArray[np.int8], deltas: Floats) -> None:
    """The inverse of `spread`, for the gradient by the logits."""
    found = 0
    for k in range(len(rows)):
        if _allowed(masks[rows[k]]) > 1:
            for action in range(slopes.shape[1]):
                if masks[rows[k], action] != 0:
                    deltas[found, 0] = slopes[k, action]
                    found += 1


@compiled
def decide_choices(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Floats,
    gathered: Floats,
    outputs: Floats,
    logits: Floats,
    rows: Rows,
    masks: NDArray[np.int8],
    uniforms: NDArray[np.float64],
    scratch: NDArray[np.float64],
    actions: NDArray[np.int64],
    log_probabilities: NDArray[np.float64],
) -> int:
    """As `kernels.decide`, of observations (B, A, F); `rows` are the numbers below B."""
    _logits(weights, widths, activation, inputs, rows, masks, gathered, outputs, logits)
    return choose(logits, masks, uniforms, scratch, actions, log_probabilities)


@compiled
def forward_choice_shards(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Floats,
    rows: Rows,
    masks: NDArray[np.int8],
    shards: int,
    first: int,
    step: int,
    gathered: Floats,
    outputs: Floats,
    pairs: Rows,
    logits: Floats,
) -> None:
    """As `gradients.forward_shards`; writes the number of gathered rows by shard, and logits (k, A)."""
    for shard in range(first, shards, step):
        begin, end = shard * len(rows) // shards, (shard + 1) * len(rows) // shards
        pairs[shard] = _logits(
            weights, widths, activation, inputs, rows[begin:end], masks, gathered[shard], outputs[shard],
            logits[begin:end],
        )  # fmt: skip


@compiled
def choice_shards(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    rows: Rows,
    shards: int,
    first: int,
    step: int,
    gathered: Floats,
    outputs: Floats,
    deltas: Floats,
    gradients: Floats,
    sums: NDArray[np.float64],
    pairs: Rows,
    logits: Floats,
    slopes: Floats,
    masks: NDArray[np.int8],
    actions: Rows,
    old: Floats,
    advantages: Floats,
    clip: float,
    entropy_weight: float,
) -> None:
    """As `gradients.policy_shards`, behind `forward_choice_shards`; `slopes` is scratch, (k, A)."""
    for shard in range(first, shards, step):
        begin, end, count = shard * len(rows) // shards, (shard + 1) * len(rows) // shards, pairs[shard]
        part, by_logits = rows[begin:end], slopes[begin:end]
        policy_head(
            logits[begin:end], part, masks, actions, old, advantages, clip, entropy_weight, len(rows), by_logits,
            sums[shard],
        )  # fmt: skip
        collect(by_logits, part, masks, last_layer(deltas[shard], count, widths))
        inputs = gathered[shard][: count * widths[0]].reshape(count, widths[0])
        backward(weights, widths, activation, inputs, outputs[shard], deltas[shard], gradients[shard])


@compiled
def _logits(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Floats,
    rows: Rows,
    masks: NDArray[np.int8],
    gathered: Floats,
    outputs: Floats,
    logits: Floats,
) -> int:
    count = gather_allowed(inputs, rows, masks, widths[0], gathered)
    chosen = gathered[: count * widths[0]].reshape(count, widths[0])
    spread(forward(weights, widths, activation, chosen, outputs), rows, masks, logits)
    return count


@compiled
def _allowed(mask: NDArray[np.int8]) -> int:
    count = 0
    for action in range(len(mask)):
        if mask[action] != 0:
            count += 1
    return count
