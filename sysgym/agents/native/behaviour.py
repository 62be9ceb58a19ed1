"""Perceptrons in compiled code: torch's weights as one flat array, and the policy that plays with them.

A step of an actor is one compiled call (matrix products, activation, masked draw, log-probability) into memory that is
there already, and one of the environments' kernel. Neither holds the interpreter lock, so the learner works meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sysgym.agents.acting.inference import LARGEST_STANDARD
from sysgym.agents.actor import Behaviour, Weights
from sysgym.agents.native.byte_kernels import decide_bytes, forward_bytes
from sysgym.agents.native.choice_kernels import decide_choices
from sysgym.agents.native.kernels import RELU, TANH, Floats, Rows, decide, forward, standardize
from sysgym.agents.networks import Network, Perceptron
from sysgym.core.errors import SysgymError

MANY_BYTES = 1024
"""Smallest observation of bytes whose empty cells are worth skipping."""


def suits(network: Network) -> bool:
    """Whether a network's policy is one perceptron, on the processor; the value may be of another kind."""
    return isinstance(network.policy, Perceptron) and network.void is None and _is_on_processor(network)


def learns(network: Network) -> bool:
    """Whether the value is one perceptron as well, so that the native learner knows all of it."""
    return suits(network) and isinstance(network.value, Perceptron)


def compiled_behaviour(network: Network) -> CompiledBehaviour:
    """The compiled policy of a network that `suits`."""
    if sees_bytes(network):
        return CompiledBytes(network)
    return CompiledBehaviour(network) if network.architecture.kind == "flat" else CompiledChoices(network)


def sees_bytes(network: Network) -> bool:
    """Whether a perceptron takes many bytes as they are, which `byte_kernels` does faster."""
    bytes_seen = network.spaces.dtype == "uint8" and network.scale is None and network.spaces.size >= MANY_BYTES
    return network.architecture.kind == "flat" and bytes_seen


def _is_on_processor(network: Network) -> bool:
    return next(network.parameters()).device.type == "cpu"


def flattened(perceptron: Perceptron, prefix: str) -> tuple[Floats, dict[str, tuple[slice, tuple[int, ...]]]]:
    """One flat array that a perceptron's parameters become views of, and where each of them stands in it."""
    named = {f"{prefix}.{name}": parameter for name, parameter in perceptron.named_parameters()}
    weights = np.concatenate([parameter.detach().numpy().ravel() for parameter in named.values()])
    places, at = {}, 0
    for name, parameter in named.items():
        place = slice(at, at + parameter.numel())
        places[name] = (place, tuple(parameter.shape))
        parameter.data = torch.from_numpy(weights[place].reshape(parameter.shape))
        at += parameter.numel()
    return weights, places


def widths_of(perceptron: Perceptron) -> Rows:
    """Widths of inputs, hidden layers and outputs."""
    layers = [layer for layer in perceptron.layers if isinstance(layer, torch.nn.Linear)]
    return np.array([layers[0].in_features, *(layer.out_features for layer in layers)], dtype=np.int64)


class CompiledBehaviour(Behaviour):
    """`Behaviour` for a network that `suits`."""

    _decide: Callable[..., int] = staticmethod(decide)
    """Chooses in one compiled call; returns the first row that allows nothing, or -1."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        policy = self.network.policy
        assert isinstance(policy, Perceptron)
        self._weights, self._places = flattened(policy, "policy")
        self._widths = widths_of(policy)
        self._activation = TANH if network.architecture.activation == "tanh" else RELU
        self._scratch = np.zeros(self._widths[-1])
        self._inputs = self._outputs = np.zeros((0, 0), dtype=np.float32)
        self._mean = self._deviation = np.zeros(0, dtype=np.float32)

    def load(self, weights: Weights) -> None:
        """See `Behaviour.load`; the value plays no part."""
        for name, (place, _) in self._places.items():
            self._weights[place] = weights.tensors[name].numpy().ravel()
        if self.network.scale is not None:
            self._mean = weights.tensors["scale.mean"].numpy().astype(np.float32)
            self._deviation = np.sqrt(weights.tensors["scale.variance"].numpy() + 1e-8).astype(np.float32)
        self.version = weights.version

    def logits(self, observations: NDArray[np.generic]) -> Floats:
        """See `Behaviour.logits`; overwritten by the next call."""
        inputs = self._encoded(observations)
        logits: Floats = forward(self._weights, self._widths, self._activation, inputs, self._outputs[0])
        return logits

    def choose(
        self,
        observations: NDArray[np.generic],
        masks: NDArray[np.int8],
        uniforms: NDArray[np.float64],
        actions: NDArray[np.int64],
        log_probabilities: NDArray[np.float64],
    ) -> None:
        """See `Behaviour.choose`."""
        passed = self._passed(observations)
        drawn = masks, uniforms, self._scratch, actions, log_probabilities
        row = self._decide(self._weights, self._widths, self._activation, *passed, *drawn)
        if row >= 0:
            raise SysgymError(f"the action mask of row {row} allows no action; an environment must allow at least one")

    def _passed(self, observations: NDArray[np.generic]) -> tuple[NDArray[Any], ...]:
        """What `_decide` takes between the weights and the masks: observations, and memory for what they give."""
        return self._encoded(observations), self._outputs[0]

    def _encoded(self, observations: NDArray[np.generic]) -> Floats:
        """Observations (N, *shape) as `Network.inputs` has them, (N, features)."""
        rows, spaces = len(observations), self.network.spaces
        if len(self._inputs) != rows:
            self._inputs = np.zeros((rows, spaces.size), dtype=np.float32)
            self._outputs = np.zeros((1, rows * int(self._widths[1:].sum())), dtype=np.float32)
        if spaces.categories:
            self._inputs[:] = 0.0
            self._inputs[np.arange(rows), observations.astype(np.int64)] = 1.0
            seen = self._inputs
        elif observations.dtype == np.float32 and observations.flags.c_contiguous:
            seen = observations.reshape(rows, spaces.size)  # type: ignore[assignment]
        else:
            self._inputs[:] = observations.reshape(rows, spaces.size)
            seen = self._inputs
        if self.network.scale is not None:
            standardize(seen, self._mean, self._deviation, LARGEST_STANDARD, self._inputs)
            seen = self._inputs
        return seen


class CompiledBytes(CompiledBehaviour):
    """`Behaviour` for a perceptron over images of bytes."""

    _decide = staticmethod(decide_bytes)

    def logits(self, observations: NDArray[np.generic]) -> Floats:
        """See `Behaviour.logits`."""
        seen, numbers = self._cells(observations)
        return forward_bytes(self._weights, self._widths, self._activation, seen, numbers, self._outputs[0]).copy()

    def _passed(self, observations: NDArray[np.generic]) -> tuple[NDArray[Any], ...]:
        return *self._cells(observations), self._outputs[0]

    def _cells(self, observations: NDArray[np.generic]) -> tuple[NDArray[np.uint8], Rows]:
        """Observations as (N, cells), and the numbers below N."""
        rows = len(observations)
        if self._outputs.size != rows * int(self._widths[1:].sum()):
            self._outputs = np.zeros((1, rows * int(self._widths[1:].sum())), dtype=np.float32)
        return np.ascontiguousarray(observations).reshape(rows, -1), np.arange(rows)


class CompiledChoices(CompiledBehaviour):
    """`Behaviour` for a network over choices or rows: only the rows of allowed actions pass."""

    _decide = staticmethod(decide_choices)

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._logits = np.zeros((0, 0), dtype=np.float32)
        self._numbers = np.zeros(0, dtype=np.int64)

    def logits(self, observations: NDArray[np.generic]) -> Floats:
        """See `Behaviour.logits`; of all actions."""
        inputs = self._encoded(observations)
        rows, actions, _ = inputs.shape
        memory = np.empty(rows * actions * int(self._widths[1:].sum()), dtype=np.float32)
        flat = np.ascontiguousarray(inputs[..., : self._widths[0]]).reshape(rows * actions, -1)
        return forward(self._weights, self._widths, self._activation, flat, memory).reshape(rows, actions).copy()

    def _passed(self, observations: NDArray[np.generic]) -> tuple[NDArray[Any], ...]:
        return self._encoded(observations), self._gathered, self._outputs[0], self._logits, self._numbers

    def _encoded(self, observations: NDArray[np.generic]) -> Floats:
        """Observations (N, A, F) as `Network.inputs` has them."""
        rows, actions, features = observations.shape
        if len(self._inputs) != rows:
            self._inputs = np.zeros((rows, actions, features), dtype=np.float32)
            self._gathered = np.zeros(self._inputs.size, dtype=np.float32)
            self._outputs = np.zeros((1, rows * actions * int(self._widths[1:].sum())), dtype=np.float32)
            self._logits = np.zeros((rows, actions), dtype=np.float32)
            self._numbers, self._scratch = np.arange(rows), np.zeros(actions)
        if observations.dtype == np.float32 and observations.flags.c_contiguous and self.network.scale is None:
            return observations  # type: ignore[return-value]
        self._inputs[:] = observations
        if self.network.scale is not None:
            flat = self._inputs.reshape(rows * actions, features)
            standardize(flat, self._mean, self._deviation, LARGEST_STANDARD, flat)
        return self._inputs
