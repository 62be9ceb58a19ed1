"""The losses of PPO, A2C and V-trace once more, as gradients by a perceptron's outputs, for the native learner.

The equations stand in `ppo`, `a2c` and `vtrace`, where torch differentiates them; here stands what differentiation
gives, and tests hold the two equal. All three have the same two gradients. With z the logits of a row, p their masked
softmax, H its entropy, n the rows of the minibatch:

    (1)  dL/dz_j = -1/n A r u (1[j = a] - p_j) + c_H/n p_j (log p_j + H)
         PPO: r = ratio; u = 1 where A >= 0 and r <= 1 + e, or A < 0 and r >= 1 - e, else 0
         A2C, V-trace: r = u = 1
    (2)  dL/dV = 2 c/n (V - R),   c = c_V/2 (PPO, V-trace) or c_V (A2C)
         PPO with clipped values: where the clipped error is larger, 2 c/n (V_near - R) inside +-e of V_old, else 0

A minibatch is cut into S shards of rows that do not depend on the number of threads; each adds up its own gradient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.native.kernels import Floats, Rows, backward, forward
from sysgym.core.compiled import compiled, compiled_ieee, uncounted_inline

SUMS = ("policy_loss", "entropy", "approximate_kl", "approximate_kl_k1", "clip_share")
"""What `policy_shards` adds up beside the gradient."""


@uncounted_inline
def _masked_softmax(
    logits: Floats, k: int, mask: NDArray[np.int8], probabilities: Floats
) -> tuple[float, float, float]:
    """Write row k's p; returns its largest logit, the logarithm of the sum of exp(z - largest), and H."""
    largest, total, entropy = -np.inf, 0.0, 0.0
    for j in range(logits.shape[1]):
        if mask[j] != 0:
            largest = max(largest, np.float64(logits[k, j]))
    for j in range(logits.shape[1]):
        probabilities[k, j] = 0.0
        if mask[j] != 0:
            probabilities[k, j] = np.exp(np.float32(logits[k, j] - largest))
            total += probabilities[k, j]
    log_total = np.log(total)
    for j in range(logits.shape[1]):
        if mask[j] != 0:
            p = probabilities[k, j] / total
            probabilities[k, j] = p
            entropy -= p * (logits[k, j] - largest - log_total)
    return largest, log_total, entropy


@compiled_ieee
def policy_head(
    logits: Floats,
    rows: Rows,
    masks: NDArray[np.int8],
    actions: Rows,
    old: Floats,
    advantages: Floats,
    clip: float,
    entropy_weight: float,
    count: int,
    deltas: Floats,
    sums: NDArray[np.float64],
) -> None:
    """(1) of the rows of a shard.

    Args:
        logits: (k, A).
        rows: (k,), where the shard's steps stand in the arrays that follow.
        masks: (M, A).
        actions: (M,).
        old: (M,), log-probabilities of the actions under the policy that took them.
        advantages: (M,).
        clip: e; 0 does without ratios (A2C, V-trace).
        entropy_weight: c_H.
        count: n, rows of the whole minibatch.
        deltas: Written, (k, A).
        sums: `SUMS`, written.
    """
    share = 1.0 / count
    sums[:] = 0.0
    for k in range(len(rows)):
        m = rows[k]
        mask = masks[m]
        largest, log_total, entropy = _masked_softmax(logits, k, mask, deltas)
        a, advantage = actions[m], float(advantages[m])
        log_taken = logits[k, a] - largest - log_total
        log_ratio = log_taken - old[m]
        pull: float = share * advantage
        if clip > 0.0:
            ratio = np.exp(log_ratio)
            inside = ratio <= 1.0 + clip if advantage >= 0.0 else ratio >= 1.0 - clip
            pull = pull * ratio if inside else 0.0
            near = min(max(ratio, 1.0 - clip), 1.0 + clip)
            sums[0] -= min(ratio * advantage, near * advantage)
            sums[2] += ratio - 1.0 - log_ratio
            sums[3] -= log_ratio
            sums[4] += 1.0 if abs(ratio - 1.0) > clip else 0.0
        else:
            sums[0] -= log_taken * advantage
        sums[1] += entropy
        spread = share * entropy_weight
        for j in range(logits.shape[1]):
            if mask[j] != 0:
                p = np.float64(deltas[k, j])
                slope = pull * p
                if p > 0.0:
                    slope += spread * p * (logits[k, j] - largest - log_total + entropy)
                deltas[k, j] = slope - pull if j == a else slope


@compiled_ieee
def value_head(
    values: Floats, rows: Rows, returns: Floats, old: Floats, clip: float, weight: float, count: int, deltas: Floats
) -> float:
    """(2) of the rows of a shard; values and deltas are (k, 1), `weight` is c, a `clip` of 0 does not clip.

    Returns:
        The sum of the squared errors (where clipped, of the larger ones).
    """
    share = 2.0 * weight / count
    total = 0.0
    for k in range(len(rows)):
        value, target = float(values[k, 0]), float(returns[rows[k]])
        error = value - target
        square, slope = error * error, share * error
        if clip > 0.0:
            before = float(old[rows[k]])
            near = before + min(max(value - before, -clip), clip)
            if (near - target) ** 2 > square:
                square = (near - target) ** 2
                slope = share * (near - target) if abs(value - before) <= clip else 0.0
        deltas[k, 0] = slope
        total += square
    return total


@compiled_ieee
def log_taken(
    logits: Floats, rows: Rows, masks: NDArray[np.int8], actions: Rows, log_probabilities: NDArray[np.float64]
) -> None:
    """Write log pi(a|s) of the chosen rows' actions, (k,), from their logits (k, A)."""
    for k in range(len(rows)):
        m, largest, total = rows[k], -np.inf, 0.0
        for j in range(logits.shape[1]):
            if masks[m, j] != 0:
                largest = max(largest, np.float64(logits[k, j]))
        for j in range(logits.shape[1]):
            if masks[m, j] != 0:
                total += np.exp(np.float64(logits[k, j]) - largest)
        log_probabilities[k] = logits[k, actions[m]] - largest - np.log(total)


@compiled
def shard_of(rows: Rows, shard: int, shards: int) -> Rows:
    """The rows of a shard, as a view."""
    return rows[shard * len(rows) // shards : (shard + 1) * len(rows) // shards]


@compiled
def gather(inputs: Floats, rows: Rows, memory: Floats) -> Floats:
    """The chosen rows of (M, F) side by side in flat memory; returns them, (k, F)."""
    width = inputs.shape[1]
    chosen = memory[: len(rows) * width].reshape(len(rows), width)
    for k in range(len(rows)):
        chosen[k] = inputs[rows[k]]
    return chosen


@compiled
def last_layer(memory: Floats, rows: int, widths: NDArray[np.int64]) -> Floats:
    """The last layer's part of flat memory that is laid out layer after layer, (rows, outputs)."""
    before, outputs = rows * widths[1:-1].sum(), widths[-1]
    return memory[before : before + rows * outputs].reshape(rows, outputs)


@compiled
def forward_shards(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Floats,
    rows: Rows,
    shards: int,
    first: int,
    step: int,
    gathered: Floats,
    outputs: Floats,
) -> None:
    """Forward of shards `first`, `first + step`, ...; each keeps its inputs and outputs in its row of the memory."""
    for shard in range(first, shards, step):
        part = shard_of(rows, shard, shards)
        forward(weights, widths, activation, gather(inputs, part, gathered[shard]), outputs[shard])


@compiled
def policy_shards(
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
    masks: NDArray[np.int8],
    actions: Rows,
    old: Floats,
    advantages: Floats,
    clip: float,
    entropy_weight: float,
) -> None:
    """The policy's gradient of shards that `forward_shards` has been through; see `policy_head`."""
    for shard in range(first, shards, step):
        part = shard_of(rows, shard, shards)
        logits = last_layer(outputs[shard], len(part), widths)
        slopes = last_layer(deltas[shard], len(part), widths)
        policy_head(
            logits, part, masks, actions, old, advantages, clip, entropy_weight, len(rows), slopes, sums[shard]
        )  # fmt: skip
        inputs = gathered[shard][: len(part) * widths[0]].reshape(len(part), widths[0])
        backward(weights, widths, activation, inputs, outputs[shard], deltas[shard], gradients[shard])


@compiled
def value_shards(
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
    returns: Floats,
    old: Floats,
    clip: float,
    weight: float,
) -> None:
    """The value's gradient of shards that `forward_shards` has been through; see `value_head`."""
    for shard in range(first, shards, step):
        part = shard_of(rows, shard, shards)
        values = last_layer(outputs[shard], len(part), widths)
        slopes = last_layer(deltas[shard], len(part), widths)
        sums[shard, 0] = value_head(values, part, returns, old, clip, weight, len(rows), slopes)
        inputs = gathered[shard][: len(part) * widths[0]].reshape(len(part), widths[0])
        backward(weights, widths, activation, inputs, outputs[shard], deltas[shard], gradients[shard])
