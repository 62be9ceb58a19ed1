"""How each layer of a chain is split over a group of devices: by samples, by features, or not at all.

A tensor of n bytes is replicated (R), split by samples (B), split by features (F), or each device holds a summand (P).
A layer's strategy fixes the states of its input and output and of their gradients; between two layers the tensor is
converted forwards, its gradient backwards. `shard_chain` chooses strategies by dynamic programming: `serial` adds up
everything, `overlapped` lets the gradients' reductions run on a channel of their own behind the backward pass and keeps
labels (forward + backward, forward + channel) that no other label beats in both.

Costs are those of ring collectives. The states are Alpa's and Megatron's; the question is that of Krizhevsky, "One
weird trick for parallelizing convolutional neural networks", 2014.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sysgym.core.errors import SettingError, require_known, require_range


@dataclass(frozen=True)
class ShardedLayer:
    """A layer: seconds on one device for the global batch, bytes of weights and of its output for that batch."""

    name: str
    forward: float
    backward: float
    weight_bytes: float
    output_bytes: float


@dataclass(frozen=True)
class DeviceGroup:
    """Devices that share a layer: how many, seconds of latency a step of a ring, seconds a byte."""

    devices: int
    latency: float
    seconds_per_byte: float

    def __post_init__(self) -> None:
        require_range("devices", self.devices, 1)
        require_range("latency", self.latency, 0.0)
        require_range("seconds_per_byte", self.seconds_per_byte, 0.0)

    def gather(self, size: float) -> float:
        """All-gather, and reduce-scatter, of a tensor of `size` bytes in all."""
        p = self.devices
        return (p - 1) * self.latency + (p - 1) / p * size * self.seconds_per_byte

    def reduce(self, size: float) -> float:
        """All-reduce."""
        return 2 * self.gather(size)

    def exchange(self, size: float) -> float:
        """All-to-all."""
        p = self.devices
        return (p - 1) * self.latency + (p - 1) / p**2 * size * self.seconds_per_byte

    def convert(self, before: str, after: str, size: float) -> float:
        """Seconds to bring a tensor from one state to another; infinite where that is not done."""
        if before in ("R", after):
            return 0.0
        if after == "P":
            return float("inf")
        if before == "P":
            return self.reduce(size) if after == "R" else self.gather(size)
        return self.gather(size) if after == "R" else self.exchange(size)


@dataclass(frozen=True)
class Strategy:
    """States of a layer's input, its gradient, the output, its gradient; whether work and weights are divided."""

    name: str
    input: str
    input_gradient: str
    output: str
    output_gradient: str
    divides: bool = True
    reduces: bool = False
    keeps_weights: bool = True


WITH_WEIGHTS = (
    Strategy("DP", "B", "B", "B", "B", reduces=True),
    Strategy("COL", "R", "P", "F", "F", keeps_weights=False),
    Strategy("ROW", "F", "F", "P", "R", keeps_weights=False),
    Strategy("REP", "R", "R", "R", "R", divides=False),
)
WITHOUT_WEIGHTS = (
    Strategy("eB", "B", "B", "B", "B"),
    Strategy("eF", "F", "F", "F", "F"),
    Strategy("eR", "R", "R", "R", "R", divides=False),
    Strategy("eRP", "R", "P", "R", "P", divides=False),
)
STRATEGIES: Mapping[str, Strategy] = {each.name: each for each in (*WITH_WEIGHTS, *WITHOUT_WEIGHTS)}
OBJECTIVES = ("serial", "overlapped")


@dataclass(frozen=True)
class ShardingPlan:
    """Strategy of each layer by name, and the seconds of a step."""

    strategies: tuple[str, ...]
    seconds: float
    objective: str


_Label = tuple[float, float, tuple[str, ...]]


def shard_chain(
    layers: Sequence[ShardedLayer], group: DeviceGroup, input_bytes: float, objective: str = "serial"
) -> ShardingPlan:
    """Best strategy of every layer of a chain.

    O(L S^2) for L layers and S strategies; times the labels kept, which are few, for "overlapped".

    Args:
        layers: In order.
        group: The devices.
        input_bytes: Bytes of the first layer's input, which comes split by samples.
        objective: "serial" or "overlapped".

    Raises:
        UnknownNameError: No such objective.
        SettingError: No layer.
    """
    require_known("objective", objective, OBJECTIVES)
    if not layers:
        raise SettingError("layers is empty; give at least one")
    last = layers[-1]
    labels: dict[str, list[_Label]] = {own.name: [_before_loss(last, own, group, objective)] for own in _choices(last)}
    for layer, after in reversed(list(pairwise(layers))):
        labels = {
            own.name: _undominated(
                _extended(label, layer, own, STRATEGIES[label[2][0]], group, objective) for label in _all(labels, after)
            )
            for own in _choices(layer)
        }
    best = min(
        (max(x, y) + group.convert("B", STRATEGIES[names[0]].input, input_bytes), names)
        for x, y, names in _all(labels, layers[0])
    )
    return ShardingPlan(best[1], best[0], objective)


def step_seconds(
    layers: Sequence[ShardedLayer],
    group: DeviceGroup,
    input_bytes: float,
    strategies: Sequence[str],
    objective: str = "serial",
    buckets: Sequence[int] | None = None,
) -> float:
    """Seconds of a step with given strategies, from the definition.

    Args:
        layers: In order.
        group: The devices.
        input_bytes: Bytes of the first layer's input.
        strategies: Names, one a layer.
        objective: "serial" or "overlapped".
        buckets: Number of the bucket in which each layer's gradient is reduced; a bucket is ready when the backward
            pass has left its first layer. One a layer when left out.
    """
    chosen = [STRATEGIES[name] for name in strategies]
    buckets = list(range(len(layers))) if buckets is None else list(buckets)
    forward = group.convert("B", chosen[0].input, input_bytes)
    clock = group.convert("B", chosen[-1].output_gradient, layers[-1].output_bytes)
    channel, pending = 0.0, dict.fromkeys(buckets, 0.0)
    for place in range(len(layers) - 1, -1, -1):
        layer, own = layers[place], chosen[place]
        after = chosen[place + 1].input if place + 1 < len(layers) else "B"
        forward += _share(layer.forward, own, group) + group.convert(own.output, after, layer.output_bytes)
        if place + 1 < len(layers):
            clock += group.convert(chosen[place + 1].input_gradient, own.output_gradient, layer.output_bytes)
        clock += _share(layer.backward, own, group)
        pending[buckets[place]] += layer.weight_bytes if own.reduces else 0.0
        if buckets[place] not in buckets[:place] and pending[buckets[place]] > 0:
            reduction = group.reduce(pending[buckets[place]])
            if objective == "serial":
                clock += reduction
            else:
                channel = max(channel, clock) + reduction
    return forward + max(clock, channel)


def _choices(layer: ShardedLayer) -> tuple[Strategy, ...]:
    return WITH_WEIGHTS if layer.weight_bytes > 0 else WITHOUT_WEIGHTS


def _share(seconds: float, own: Strategy, group: DeviceGroup) -> float:
    return seconds / group.devices if own.divides else seconds


def _all(labels: dict[str, list[_Label]], layer: ShardedLayer) -> list[_Label]:
    return [label for own in _choices(layer) for label in labels[own.name]]


def _before_loss(layer: ShardedLayer, own: Strategy, group: DeviceGroup, objective: str) -> _Label:
    """The label of a last layer: its output goes to the loss split by samples, and so does its gradient come back."""
    forward = group.convert(own.output, "B", layer.output_bytes)
    backward = group.convert("B", own.output_gradient, layer.output_bytes)
    return _with_layer(forward + backward, forward, (), layer, own, group, objective)


def _extended(
    label: _Label, layer: ShardedLayer, own: Strategy, after: Strategy, group: DeviceGroup, objective: str
) -> _Label:
    """A label with one layer more in front."""
    clock, channel, names = label
    forward = group.convert(own.output, after.input, layer.output_bytes)
    backward = group.convert(after.input_gradient, own.output_gradient, layer.output_bytes)
    return _with_layer(clock + forward + backward, channel + forward, names, layer, own, group, objective)


def _with_layer(
    clock: float, channel: float, names: tuple[str, ...], layer: ShardedLayer, own: Strategy, group: DeviceGroup,
    objective: str,
) -> _Label:  # fmt: skip
    forward = _share(layer.forward, own, group)
    clock, channel = clock + forward + _share(layer.backward, own, group), channel + forward
    if own.reduces:
        reduction = group.reduce(layer.weight_bytes)
        if objective == "serial":
            clock += reduction
        else:
            channel = max(clock, channel) + reduction
    return clock, channel if objective == "overlapped" else clock, (own.name, *names)


def _undominated(labels: Iterable[_Label]) -> list[_Label]:
    """Labels that no other beats in both times."""
    kept: list[_Label] = []
    least = float("inf")
    for label in sorted(labels):
        if label[1] < least:
            kept.append(label)
            least = label[1]
    return kept
