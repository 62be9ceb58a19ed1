"""A perceptron that is shared over the rows of an observation, as flat numbers: which row does it score highest?

Where one action is one row (a waiting job, say) such a network is a priority rule. Its weights are one flat array,
layer after layer, each a matrix (inputs, outputs) and its bias, so that compiled code of any room can run it, and a
search can hold many of them as the rows of one array. Hidden layers are followed by ReLU or tanh, the last gives the
score.

It stands in `core` because learners make it and engines play with it, and neither may know the other. Nothing here is
compiled: rooms that may use numba compile the very same function.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class RowNetwork(NamedTuple):
    """A network, or several of one shape.

    Attributes:
        weights: float32, shape (P,), or (M, P) for M networks.
        widths: int64, of features, hidden layers and the score, which is 1.
        tanh: Whether tanh follows the hidden layers, else ReLU.
    """

    weights: Floats
    widths: NDArray[np.int64]
    tanh: bool


def weight_count(widths: Sequence[int]) -> int:
    """P, the numbers of a network.

    >>> weight_count([16, 8, 1])
    145
    """
    return sum((ins + 1) * outs for ins, outs in itertools.pairwise(widths))


def from_layers(layers: Sequence[tuple[Floats, Floats]], tanh: bool) -> RowNetwork:
    """The network of (matrix (inputs, outputs), bias) pairs."""
    widths = [layers[0][0].shape[0], *(len(bias) for _, bias in layers)]
    flat = [part.ravel() for layer in layers for part in layer]
    return RowNetwork(np.concatenate(flat).astype(np.float32), np.array(widths, dtype=np.int64), tanh)


def to_layers(network: RowNetwork) -> list[tuple[Floats, Floats]]:
    """The inverse of `from_layers`, as views."""
    layers, read = [], 0
    for ins, outs in zip(network.widths[:-1].tolist(), network.widths[1:].tolist(), strict=True):
        matrix = network.weights[read : read + ins * outs].reshape(ins, outs)
        layers.append((matrix, network.weights[read + ins * outs : read + (ins + 1) * outs]))
        read += (ins + 1) * outs
    return layers


def best_row(weights: Floats, widths: NDArray[np.int64], tanh: bool, rows: Floats, below: Floats, above: Floats) -> int:
    """The row of the highest score; ties go to the first.

    Args:
        weights: Of one network, shape (P,).
        widths: See `RowNetwork`.
        tanh: Likewise.
        rows: Shape (k, features), k at least 1.
        below: Scratch, as long as the largest width.
        above: Likewise.
    """
    best, most = 0, -np.inf
    for row in range(rows.shape[0]):
        below[: widths[0]] = rows[row, : widths[0]]
        read = 0
        for layer in range(len(widths) - 1):
            ins, outs = widths[layer], widths[layer + 1]
            bias = read + ins * outs
            above[:outs] = weights[bias : bias + outs]
            for place in range(ins):
                value = below[place]
                if value != 0.0:
                    begin = read + place * outs
                    for unit in range(outs):
                        above[unit] += value * weights[begin + unit]
            if layer < len(widths) - 2:
                for unit in range(outs):
                    above[unit] = np.tanh(above[unit]) if tanh else max(above[unit], np.float32(0.0))
            below, above = above, below
            read = bias + outs
        if below[0] > most:
            best, most = row, below[0]
    return best
