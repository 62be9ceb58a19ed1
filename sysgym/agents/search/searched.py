"""What a search moves: networks as points, and the engines that play whole episodes under them.

Two kinds of networks can be played by an engine itself: perceptrons over the rows of an observation, one row an action
(`core.row_network`, kind `rows`), and graph networks that score the choices of nodes (`core.choice_network`, kind
`pointer` where the observation has a part `choices`). Both begin as a linear priority beside hidden units that weigh
nothing yet: z = max(0, z) - max(0, -z) is made of the first two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sysgym.agents.acting.architecture import Architecture, choose_architecture, weight_shapes
from sysgym.agents.acting.spaces import Spaces
from sysgym.core.choice_network import ChoiceNetwork, choice_weight_count, scorer_begin
from sysgym.core.errors import SettingError
from sysgym.core.protocols import ChoicePlayer, RowPlayer
from sysgym.core.row_network import RowNetwork, to_layers, weight_count
from sysgym.core.seeding import stream

Floats = NDArray[np.float64]
Weights = dict[str, NDArray[Any]]


class Searched(Protocol):
    """A kind of networks that an engine plays."""

    architecture: Architecture

    def first(self, start: Sequence[float], seed: int) -> Floats:
        """The point that scores by these weights of the features alone."""

    def play(
        self, game: Any, points: Floats, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
    ) -> tuple[Floats, int]:
        """Returns (M, W) of the networks at some points, (M, n), and the number of decisions."""

    def weights(self, point: Floats) -> Weights:
        """The network at a point as a checkpoint has it; the weights of the value, which a search has not, are 0."""


class SearchedRows:
    """Perceptrons of one hidden layer over rows.

    Args:
        spaces: What is seen and may be done.
        hidden: Hidden units.
        linear: Whether points are the weights of a linear priority, and there are no units but the two that make it up.
    """

    def __init__(self, spaces: Spaces, hidden: int, linear: bool) -> None:
        self.spaces, self.linear, self.hidden = spaces, linear, 2 if linear else hidden
        self.architecture = choose_architecture(spaces, "rows", (self.hidden,), "relu")
        self._widths = np.array([spaces.shape[1], self.hidden, 1], dtype=np.int64)

    def first(self, start: Sequence[float], seed: int) -> Floats:
        """See `Searched.first`."""
        features = self.spaces.shape[1]
        slope = _slope(start, features)
        if self.linear:
            return slope
        point = self._linear(slope)
        drawn = stream(seed, "network").standard_normal((features, self.hidden - 2)) * 0.3
        point[: features * self.hidden].reshape(features, self.hidden)[:, 2:] = drawn
        return point

    def play(
        self, game: RowPlayer, points: Floats, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
    ) -> tuple[Floats, int]:
        """See `Searched.play`."""
        return game.play_rows(self.networks(points), seeds, episodes)

    def networks(self, points: Floats) -> RowNetwork:
        """The networks at some points, (M, n)."""
        if self.linear:
            points = np.stack([self._linear(point) for point in points])
        return RowNetwork(points.astype(np.float32), self._widths, False)

    def weights(self, point: Floats) -> Weights:
        """See `Searched.weights`."""
        weights = _nothing(self.spaces, self.architecture)
        networks = self.networks(point[None])
        for layer, (matrix, bias) in enumerate(to_layers(networks._replace(weights=networks.weights[0]))):
            weights[f"policy.layers.{layer}.weight"] = np.ascontiguousarray(matrix.T)
            weights[f"policy.layers.{layer}.bias"] = bias
        return weights

    def _linear(self, slope: Floats) -> Floats:
        features = len(slope)
        point = np.zeros(weight_count([features, self.hidden, 1]))
        matrix = point[: features * self.hidden].reshape(features, self.hidden)
        matrix[:, 0], matrix[:, 1] = slope, -slope
        last = point[(features + 1) * self.hidden :]
        last[0], last[1] = 1.0, -1.0
        return point


class SearchedChoices:
    """Graph networks that score the choices of nodes.

    Args:
        spaces: What is seen and may be done.
        hidden: Widths of the nodes' states; the last is that of the perceptron's hidden layer, too.
        linear: Whether points are the weights of a linear priority, which no message changes.
    """

    def __init__(self, spaces: Spaces, hidden: tuple[int, ...], linear: bool) -> None:
        graph = spaces.graph
        assert graph is not None
        self.linear, hidden = linear, (2,) if linear else hidden
        self.spaces, self.architecture = spaces, choose_architecture(spaces, "pointer", hidden, "relu")
        if hidden[-1] < 2:
            raise SettingError(
                f"hidden is {hidden}; two units of the last make up the priority that a search begins with"
            )
        self._inputs = np.array([graph.features, graph.choice, graph.context], dtype=np.int64)
        self._widths = np.array(hidden, dtype=np.int64)

    def first(self, start: Sequence[float], seed: int) -> Floats:
        """See `Searched.first`; the features are a node's, a choice's, and the globals."""
        inputs, widths = self._inputs.tolist(), self._widths.tolist()
        slope = _slope(start, sum(inputs))
        if self.linear:
            return slope
        point, begin, width = self._linear(slope), scorer_begin(inputs, widths), widths[-1]
        drawn = stream(seed, "network")
        point[:begin] = drawn.standard_normal(begin) * 0.3
        rows = sum(inputs) + 2 * width
        matrix = point[begin : begin + rows * width].reshape(rows, width)
        matrix[:, 2:] = drawn.standard_normal((rows, width - 2)) * 0.3
        return point

    def play(
        self, game: ChoicePlayer, points: Floats, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
    ) -> tuple[Floats, int]:
        """See `Searched.play`."""
        if self.linear:
            points = np.stack([self._linear(point) for point in points])
        networks = ChoiceNetwork(points.astype(np.float32), self._inputs, self._widths, False)
        return game.play_choices(networks, seeds, episodes)

    def weights(self, point: Floats) -> Weights:
        """See `Searched.weights`."""
        weights, read = _nothing(self.spaces, self.architecture), 0
        point = self._linear(point) if self.linear else point
        for name, array in weights.items():
            if name.startswith("policy."):
                part = point[read : read + array.size].astype(np.float32)
                weights[name] = np.ascontiguousarray(part.reshape(array.shape[::-1]).T)
                read += array.size
        assert read == len(point)
        return weights

    def _linear(self, slope: Floats) -> Floats:
        inputs, widths = self._inputs.tolist(), self._widths.tolist()
        width, begin = widths[-1], scorer_begin(inputs, widths)
        point = np.zeros(choice_weight_count(inputs, widths))
        matrix = point[begin : begin + len(slope) * width].reshape(len(slope), width)
        matrix[:, 0], matrix[:, 1] = slope, -slope
        last = point[begin + (len(slope) + 2 * width + 1) * width :]
        last[0], last[1] = 1.0, -1.0
        return point


def _nothing(spaces: Spaces, architecture: Architecture) -> Weights:
    return {name: np.zeros(shape, dtype=np.float32) for name, shape in weight_shapes(spaces, architecture).items()}


def _slope(start: Sequence[float], features: int) -> Floats:
    if len(start) > features:
        raise SettingError(f"start has {len(start)} weights; a row has {features} features")
    slope = np.zeros(features)
    slope[: len(start)] = start
    return slope
