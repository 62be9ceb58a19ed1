"""A graph network that scores the choices of nodes, as flat numbers.

What `agents.graph_networks` is in torch, for observations of the graph convention with a part `choices` (`packing`):
the nodes' states pass messages along the edges, both ways, and a perceptron scores every choice from its own features,
its node's features and state, the globals, and the mean state. As in `row_network`, all weights are one flat array, so
that an engine's compiled code can play it and a search can hold many of them as rows of one array; it stands in `core`
because learners make it and engines play with it, and neither may know the other.

The numbers stand in the order of `agents.acting.architecture.weight_shapes`, matrices as (inputs, outputs): first
layer, its bias, that of the globals; each round's own, along, against, overall and bias; the perceptron's two layers,
whose inputs are a node's features, a choice's, the globals, the node's state, and the mean state.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ChoiceNetwork(NamedTuple):
    """A network, or several of one shape.

    Attributes:
        weights: float32, shape (P,), or (M, P) for M networks.
        inputs: int64, numbers of a node, of a choice, and of `globals`.
        widths: int64, of the nodes' states, one more than there are rounds; the perceptron's hidden layer is as wide
            as the last.
        tanh: Whether tanh follows the hidden layers, else ReLU.
    """

    weights: NDArray[np.float32]
    inputs: NDArray[np.int64]
    widths: NDArray[np.int64]
    tanh: bool


def scorer_begin(inputs: Sequence[int], widths: Sequence[int]) -> int:
    """Where the perceptron's weights begin: behind those of the messages.

    >>> scorer_begin([3, 2, 1], [4, 4])
    88
    """
    node, _, context = inputs
    return (node + context + 1) * widths[0] + sum(
        (4 * below + 1) * above for below, above in itertools.pairwise(widths)
    )


def choice_weight_count(inputs: Sequence[int], widths: Sequence[int]) -> int:
    """P, the numbers of a network.

    >>> choice_weight_count([3, 2, 1], [4, 4])
    153
    """
    return scorer_begin(inputs, widths) + (sum(inputs) + 2 * widths[-1] + 2) * widths[-1] + 1
