"""Compiled arithmetic of small perceptrons: forward, backward, sampling, steps of the optimisers. No lock, no memory.

Everything here works on memory that its caller has allocated and releases the interpreter lock, so that an actor and
the parts of a learner run side by side. A perceptron is one flat array of weights in the order of torch's parameters
(matrix (outputs, inputs), then bias, layer after layer) and an array of widths (inputs, hidden ..., outputs). What
its layers put out for some rows stands in one flat array too, layer after layer, each (rows, width).

Matrix products go to the BLAS library. Tanh is a rational function (the Pade-like approximant that Eigen and XLA use,
13th over 6th degree; its error is below 4e-7 everywhere), because one that the compiler can vectorise takes 0.2 ns a
number instead of 8. Divisions follow numpy's rules for errors: a check for zero in a loop would keep it scalar.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  numba's products; loaded now, so that its threads can be limited
from numpy.typing import NDArray

from sysgym.core.compiled import compiled, compiled_ieee

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

TANH, RELU = 0, 1
"""Codes of the activations."""

_BOUND = np.float32(7.90531110763549805)  # where float32's tanh is 1
_ODD = tuple(
    np.float32(number)
    for number in (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    )
)
_EVEN = tuple(
    np.float32(number)
    for number in (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
)
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = _ODD
_Q0, _Q1, _Q2, _Q3 = _EVEN
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@compiled_ieee
def activate(outputs: Floats, bias: Floats, activation: int) -> None:
    """Add the bias to (rows, width) and apply the activation, in place."""
    rows, width = outputs.shape
    for row in range(rows):
        out = outputs[row]
        if activation == TANH:
            for unit in range(width):
                x = min(max(out[unit] + bias[unit], -_BOUND), _BOUND)
                square = x * x
                p = ((((_P0 * square + _P1) * square + _P2) * square + _P3) * square + _P4) * square + _P5
                p = p * square + _P6
                q = ((_Q0 * square + _Q1) * square + _Q2) * square + _Q3
                out[unit] = x * p / q
        else:
            for unit in range(width):
                out[unit] = max(out[unit] + bias[unit], _ZERO)


@compiled_ieee
def forward(weights: Floats, widths: NDArray[np.int64], activation: int, inputs: Floats, outputs: Floats) -> Floats:
    """Apply the layers to (rows, inputs); what each puts out goes to `outputs`. Returns the last layer's, as a view."""
    rows, below = inputs.shape[0], inputs
    read = written = 0
    for layer in range(len(widths) - 1):
        ins, outs = widths[layer], widths[layer + 1]
        matrix = weights[read : read + outs * ins].reshape(outs, ins)
        bias = weights[read + outs * ins : read + outs * (ins + 1)]
        above = outputs[written : written + rows * outs].reshape(rows, outs)
        np.dot(below, matrix.T, above)
        if layer < len(widths) - 2:
            activate(above, bias, activation)
        else:
            for row in range(rows):
                for unit in range(outs):
                    above[row, unit] += bias[unit]
        read, written, below = read + outs * (ins + 1), written + rows * outs, above
    return below


@compiled_ieee
def backward(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Floats,
    outputs: Floats,
    deltas: Floats,
    gradient: Floats,
) -> None:
    """The gradient of a loss by all weights, from its gradient by the last layer's outputs.

    Args:
        weights: Of the perceptron.
        widths: Of its layers.
        activation: Code of the activation.
        inputs: (rows, inputs), as `forward` had them.
        outputs: As `forward` has left them.
        deltas: Laid out as `outputs`; the last layer's part holds the gradient, the others are written.
        gradient: Written, laid out as `weights`.
    """
    rows, layers = inputs.shape[0], len(widths) - 1
    read, written = len(gradient), rows * widths[1:].sum()
    for layer in range(layers - 1, -1, -1):
        ins, outs = widths[layer], widths[layer + 1]
        read, written = read - outs * (ins + 1), written - rows * outs
        delta = deltas[written : written + rows * outs].reshape(rows, outs)
        below = inputs if layer == 0 else outputs[written - rows * ins : written].reshape(rows, ins)
        np.dot(delta.T, below, gradient[read : read + outs * ins].reshape(outs, ins))
        bias = gradient[read + outs * ins : read + outs * (ins + 1)]
        bias[:] = _ZERO
        for row in range(rows):
            for unit in range(outs):
                bias[unit] += delta[row, unit]
        if layer > 0:
            matrix = weights[read : read + outs * ins].reshape(outs, ins)
            lower = deltas[written - rows * ins : written].reshape(rows, ins)
            np.dot(delta, matrix, lower)
            for row in range(rows):
                for unit in range(ins):
                    seen = below[row, unit]
                    if activation == TANH:
                        lower[row, unit] *= _ONE - seen * seen
                    else:
                        lower[row, unit] *= _ONE if seen > _ZERO else _ZERO


@compiled
def tree_sum(gradients: Floats) -> Floats:
    """The sum over the first dimension, by pairs in fixed order, left in its first row, which is returned."""
    count, step = gradients.shape[0], 1
    while step < count:
        for left in range(0, count - step, 2 * step):
            into, other = gradients[left], gradients[left + step]
            for index in range(len(into)):
                into[index] += other[index]
        step *= 2
    total: Floats = gradients[0]
    return total


@compiled
def norm(gradient: Floats) -> float:
    """Euclidean norm, added up in float64, in four lanes of fixed order."""
    lane0 = lane1 = lane2 = lane3 = 0.0
    whole = len(gradient) // 4 * 4
    for start in range(0, whole, 4):
        lane0 += np.float64(gradient[start]) ** 2
        lane1 += np.float64(gradient[start + 1]) ** 2
        lane2 += np.float64(gradient[start + 2]) ** 2
        lane3 += np.float64(gradient[start + 3]) ** 2
    for index in range(whole, len(gradient)):
        lane0 += np.float64(gradient[index]) ** 2
    return float(np.sqrt((lane0 + lane1) + (lane2 + lane3)))


@compiled_ieee
def adam_step(
    weights: Floats, gradient: Floats, mean: Floats, square: Floats, step: int, rate: float, epsilon: float
) -> None:
    """One step of Adam in place: Kingma and Ba, ICLR 2015, algorithm 1, betas 0.9 and 0.999, as torch does it."""
    size = np.float32(rate / (1.0 - 0.9**step))
    root = np.float32(np.sqrt(1.0 - 0.999**step))
    epsilon32, keep1, keep2 = np.float32(epsilon), np.float32(0.9), np.float32(0.999)
    add1, add2 = np.float32(1.0 - 0.9), np.float32(1.0 - 0.999)
    for i in range(len(weights)):
        g = gradient[i]
        mean[i] = keep1 * mean[i] + add1 * g
        square[i] = keep2 * square[i] + add2 * g * g
        weights[i] -= size * mean[i] / (np.sqrt(square[i]) / root + epsilon32)


@compiled_ieee
def rmsprop_step(
    weights: Floats, gradient: Floats, square: Floats, rate: float, decay: float, epsilon: float, inside: bool
) -> None:
    """One step of RMSProp in place; `inside` says whether epsilon stands inside the root, see `updates.optimizers`."""
    size, keep, add, epsilon32 = np.float32(rate), np.float32(decay), np.float32(1.0 - decay), np.float32(epsilon)
    within, beside = (epsilon32, _ZERO) if inside else (_ZERO, epsilon32)
    for i in range(len(weights)):
        g = gradient[i]
        square[i] = keep * square[i] + add * g * g
        weights[i] -= size * g / (np.sqrt(square[i] + within) + beside)


@compiled
def standardize(observations: Floats, mean: Floats, deviation: Floats, largest: float, inputs: Floats) -> None:
    """(x - mean) / deviation, clipped, as `networks.ObservationScale` does it."""
    bound = np.float32(largest)
    for row in range(observations.shape[0]):  # (B, features) into (B, features), which may be the same
        for feature in range(observations.shape[1]):
            x = (observations[row, feature] - mean[feature]) / deviation[feature]
            inputs[row, feature] = min(max(x, -bound), bound)


@compiled_ieee
def choose(
    logits: Floats,
    masks: NDArray[np.int8],
    uniforms: NDArray[np.float64],
    weights: NDArray[np.float64],
    actions: NDArray[np.int64],
    log_probabilities: NDArray[np.float64],
) -> int:
    """Draw an allowed action a row by inverse transform, as `acting.inference.sample` does.

    Args:
        logits: (B, A).
        masks: (B, A).
        uniforms: (B,), in [0, 1).
        weights: Scratch, (A,).
        actions: Written, (B,). Where rounding leaves a remainder, the last that is possible.
        log_probabilities: Written, (B,), of the actions.

    Returns:
        The first row that allows nothing, or -1.
    """
    for row in range(logits.shape[0]):
        largest, last = -np.inf, -1
        for action in range(logits.shape[1]):
            if masks[row, action] != 0:
                largest, last = max(largest, np.float64(logits[row, action])), action
        if last < 0:
            return row
        total, taken = 0.0, last
        for action in range(last + 1):
            weight = 0.0
            if masks[row, action] != 0:
                weight = np.exp(np.float64(logits[row, action]) - largest)
            weights[action] = weight
            total += weight
            if weight > 0.0:
                taken = action
        threshold, reached = uniforms[row] * total, 0.0
        for action in range(last + 1):
            reached += weights[action]
            if reached > threshold and weights[action] > 0.0:
                taken = action
                break
        actions[row] = taken
        log_probabilities[row] = np.log(weights[taken] / total)
    return -1


@compiled
def decide(
    weights: Floats,
    widths: NDArray[np.int64],
    activation: int,
    inputs: Floats,
    outputs: Floats,
    masks: NDArray[np.int8],
    uniforms: NDArray[np.float64],
    scratch: NDArray[np.float64],
    actions: NDArray[np.int64],
    log_probabilities: NDArray[np.float64],
) -> int:
    """`forward` and `choose` in one call; see both."""
    logits = forward(weights, widths, activation, inputs, outputs)
    return choose(logits, masks, uniforms, scratch, actions, log_probabilities)
