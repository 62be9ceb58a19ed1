"""Strategies and recomputation of every layer of a stage: labels that are carried from its last layer to its first.

A state is what the layers in front still have to know: the strategies of those layers whose producers have not been
passed, and whether the current unit is recomputed. A label is (seconds, exposed gradient reduction, bytes, bytes of the
recomputed unit, largest of those; without a backward pass, of what is held at a layer); in each state those stay that
no other label beats in all five. Every step adds the same to all labels of a state and is monotone in each number, so
nothing that could be best is lost, unless more than `LABELS` are left, or more than `OPEN_LAYERS` wait at once for
producers: then the search is a heuristic and says so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.placement.layers import (
    LayerGraph,
    StageGroup,
    Training,
    border_seconds,
    held,
    kept_of_recomputed,
    sent_bytes,
    share,
    stash,
    waiting_bytes,
    weight_share,
)
from sysgym.placement.sharding import STRATEGIES, Strategy

LABELS = (32, 512)
"""Fewest and most labels that a state keeps; between them, fewer the more layers there are."""
OPEN_LAYERS = 3
_STATES = (128, 512)
"""States beyond which further layers are split by samples only: of many layers, of up to `_FEW`."""
_FEW = 64
_Key = tuple[bool, tuple[str, ...]]
"""Whether the current unit is recomputed; the strategies of the open layers, in order."""


class _Step(NamedTuple):
    """Transitions of one layer: from state to state, and what they add."""

    columns: NDArray[np.float64]
    keys: tuple[_Key, ...]
    frontier: tuple[int, ...]
    exact: bool


class Ending(NamedTuple):
    """A way to do a stage: seconds a micro-batch, exposed reduction; where its label stands."""

    seconds: float
    exposed: float
    state: int
    label: int


class Stages:
    """All stages on one group of devices with a number of micro-batches in flight.

    Args:
        layers: All layers.
        group: The devices.
        alive: Micro-batches in flight.
        training: What is assumed of it.
        recompute: Whether units may be recomputed.
        memory: Bytes of a device; infinite where it isn't looked at.
        allowed: Names of the strategies that layers may have.
    """

    def __init__(
        self, layers: LayerGraph, group: StageGroup, alive: int, training: Training, recompute: bool, memory: float,
        allowed: frozenset[str],
    ) -> None:  # fmt: skip
        self.layers, self.group, self.alive, self.training = layers, group, alive, training
        self.recompute, self.memory = recompute and training.backward, memory
        self.choices = [
            [own for own in layers.choices(layer, group.ring.devices) if own.name in allowed]
            for layer in range(len(layers))
        ]
        self.exact = True
        self._steps: dict[tuple[object, ...], _Step] = {}
        self._entries: dict[tuple[int, int], list[tuple[float, float, float]]] = {}

    def endings(self, begins: list[int], end: int) -> dict[int, list[Ending]]:
        """The undominated ways to do layers begin to end - 1, for several beginnings."""
        steps = self._walk(min(begins), end)
        values, _, counts, overflow = self._propagate(steps)
        self.exact &= not overflow and all(step.exact for step in steps)
        return {begin: self._closed(begin, end, steps, values, counts) for begin in begins}

    def choice(self, begin: int, end: int, wanted: Ending) -> tuple[list[Strategy], list[bool]]:
        """Strategies of layers begin to end - 1, and which are recomputed, of an ending."""
        steps = self._walk(begin, end)
        _, parents, _, _ = self._propagate(steps)
        strategies, recomputed = [], []
        state, label = wanted.state, wanted.label
        for place in range(end - begin, 0, -1):
            transition, before = parents[place, state, label]
            column = steps[place - 1].columns[:, transition]
            layer = end - place
            strategies.append(self.choices[layer][int(column[8])])
            recomputed.append(bool(column[9]))
            state, label = int(column[0]), int(before)
        return strategies, recomputed

    def _walk(self, begin: int, end: int) -> list[_Step]:
        keys: tuple[_Key, ...] = ((False, ()),)
        frontier: tuple[int, ...] = ()
        steps = []
        for layer in range(end - 1, begin - 1, -1):
            readers = self.layers.readers[layer]
            outside = not readers or readers[-1] >= end
            last = layer + 1 == end or self.layers.unit[layer] != self.layers.unit[layer + 1]
            known = (layer, outside, frontier, (*keys, (last, ())), self._passing(layer, frontier, end))
            if known not in self._steps:
                self._steps[known] = self._transitions(layer, end, outside, last, frontier, keys)
            step = self._steps[known]
            keys, frontier = step.keys, step.frontier
            steps.append(step)
        return steps

    def _transitions(
        self, layer: int, end: int, outside: bool, last: bool, frontier: tuple[int, ...], keys: tuple[_Key, ...]
    ) -> _Step:
        layers, exact = self.layers, True
        open_ = [place for place, each in enumerate(frontier) if layers.producers[each][0] < layer]
        mine = bool(layers.producers[layer])
        options = self.choices[layer]
        if len(open_) + mine > OPEN_LAYERS or len(keys) * len(options) > _STATES[len(layers) <= _FEW]:
            exact = len(options) == 1
            options = options[:1]
        readers = [place for place, each in enumerate(frontier) if each in layers.readers[layer]]
        stays = layer > 0 and layers.unit[layer - 1] == layers.unit[layer]
        numbers: dict[_Key, int] = {}
        rows: list[tuple[float, ...]] = []
        for source, (flag, names) in enumerate(keys):
            flags = ((False, True) if last else (flag,)) if self.recompute else (False,)
            states = [STRATEGIES[names[place]] for place in readers]
            rest = tuple(names[place] for place in open_)
            for which, own in enumerate(options):
                to, back = self._conversions(layer, own, states, outside)
                for again in flags:
                    key = (again and stays, ((own.name, *rest) if mine else rest))
                    target = numbers.setdefault(key, len(numbers))
                    amounts = self._amounts(layer, own, again, end, to, back)
                    held_at = self._held_at(layer, own, dict(zip(frontier, names, strict=True)), end)
                    rows.append((source, target, *amounts, float(last), which, again, *held_at))
        after = tuple(frontier[place] for place in open_)
        return _Step(
            np.array(rows, dtype=np.float64).T.copy(), tuple(numbers), (layer, *after) if mine else after, exact
        )

    def _conversions(self, layer: int, own: Strategy, readers: list[Strategy], outside: bool) -> tuple[float, float]:
        size, ring = float(self.layers.output_bytes[layer]), self.group.ring
        values = {each.input for each in readers} | ({"B"} if outside else set())
        gradients = {each.input_gradient for each in readers} | ({"B"} if outside else set())
        to = sum(ring.convert(own.output, state, size) for state in sorted(values))
        return to, sum(ring.convert(state, own.output_gradient, size) for state in sorted(gradients))

    def _amounts(
        self, layer: int, own: Strategy, again: bool, end: int, to: float, back: float
    ) -> tuple[float, float, float, float, float]:
        """Seconds, those of them in the backward pass, of the reduction; bytes, and bytes of a recomputed unit."""
        layers, group, ring, training = self.layers, self.group, self.group.ring, self.training
        passed = float(group.forward[layer]) * share(own, ring)
        enters = 0.0 if layers.producers[layer] else layers.input_bytes
        forward = to + passed + (0.0 if layers.producers[layer] else ring.convert("B", own.input, enters))
        weights = float(layers.weight_bytes[layer]) * weight_share(own, ring)
        kept = stash(layers, layer, own, ring)
        if not training.backward:
            return forward, 0.0, 0.0, weights + enters * held(own.input, ring), 0.0
        clock = back + float(group.backward[layer]) * share(own, ring) + (passed if again else 0.0)
        memory = weights * training.weight_copies + self.alive * enters * held(own.input, ring)
        memory += self.alive * (kept_of_recomputed(layers, layer, own, ring, end) if again else kept)
        reduction = ring.reduce(float(layers.weight_bytes[layer])) if own.reduces else 0.0
        return forward + clock, clock, reduction, memory, kept if again else 0.0

    def _passing(self, layer: int, frontier: tuple[int, ...], end: int) -> tuple[int, ...]:
        """Without a backward pass: layers in front of this one that are read both in the stage and behind it."""
        if self.training.backward:
            return ()
        read = {each for reader in (layer, *frontier) for each in self.layers.producers[reader]}
        return tuple(sorted(each for each in read if each < layer and self.layers.readers[each][-1] >= end))

    def _held_at(self, layer: int, own: Strategy, later: dict[int, str], end: int) -> tuple[float, float]:
        """Without a backward pass: bytes that are held at a layer, and that it adds to those held at later ones."""
        if self.training.backward:
            return 0.0, 0.0
        layers, ring = self.layers, self.group.ring
        strategies = {layer: own} | {each: STRATEGIES[name] for each, name in later.items()}
        here = stash(layers, layer, own, ring) + waiting_bytes(layers, layer, strategies, end, ring)
        return here, sent_bytes(layers, layer, own, end, ring)

    def _propagate(self, steps: list[_Step]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], bool]:
        offsets = np.cumsum([0, *(step.columns.shape[1] for step in steps)]).astype(np.int64)
        return _carry(
            offsets, np.concatenate([step.columns for step in steps], axis=1),
            max(len(step.keys) for step in steps), self.memory, not self.training.backward,
            max(LABELS[0], min(LABELS[1], 4096 // len(self.layers))),
        )  # fmt: skip

    def _closed(
        self, begin: int, end: int, steps: list[_Step], values: NDArray[Any], counts: NDArray[Any]
    ) -> list[Ending]:
        """Labels in front of `begin`, with what the stage's border costs; those that no other beats in both times."""
        step, place = steps[end - begin - 1], end - begin
        border = border_seconds(self.layers, begin, end, self.group)
        if (begin, id(step)) not in self._entries:
            self._entries[begin, id(step)] = self._entry(begin, step)
        found: list[Ending] = []
        for state, (to, back, stays) in enumerate(self._entries[begin, id(step)]):
            ahead = back + border if self.training.backward else 0.0
            for label, numbers in enumerate(values[place, state, : counts[place, state]].tolist()):
                if numbers[2] + numbers[4] + stays <= self.memory:
                    found.append(Ending(numbers[0] + to + border + ahead, max(0.0, numbers[1] - ahead), state, label))
        found.sort()
        kept: list[Ending] = []
        for ending in found:
            if not kept or ending.exposed < kept[-1].exposed:
                kept.append(ending)
        return kept

    def _entry(self, begin: int, step: _Step) -> list[tuple[float, float, float]]:
        """For each state: seconds to bring what enters the stage to its readers, and gradients back; bytes kept."""
        layers, ring = self.layers, self.group.ring
        entering: dict[int, list[int]] = {}
        for position, layer in enumerate(step.frontier):
            for producer in layers.producers[layer]:
                if producer < begin:
                    entering.setdefault(producer, []).append(position)
        entries = []
        for _, names in step.keys:
            to = back = stays = 0.0
            for producer, positions in entering.items():
                readers, size = [STRATEGIES[names[each]] for each in positions], float(layers.output_bytes[producer])
                to += sum(ring.convert("B", value, size) for value in sorted({each.input for each in readers}))
                back += sum(
                    ring.convert(value, "B", size) for value in sorted({each.input_gradient for each in readers})
                )
                stays += (
                    (self.alive if self.training.backward else 1)
                    * size
                    * max(held(each.input, ring) for each in readers)
                )
            entries.append((to, back, stays) if self.training.backward else (to, 0.0, stays))
        return entries


@compiled
def _carry(
    offsets: NDArray[Any], columns: NDArray[Any], states: int, limit: float, inference: bool, cap: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], bool]:
    """Labels of every state behind every layer, shape (steps + 1, states, cap, 5), their parents and how many."""
    steps = len(offsets) - 1
    values = np.empty((steps + 1, states, cap, 5))
    parents = np.empty((steps + 1, states, cap, 2), dtype=np.int64)
    counts = np.zeros((steps + 1, states), dtype=np.int64)
    counts[0, 0] = 1
    values[0, 0, 0, :] = 0.0
    overflow = False
    label = np.empty(5)
    for step in range(steps):
        for x in range(offsets[step], offsets[step + 1]):
            source, target = int(columns[0, x]), int(columns[1, x])
            for k in range(counts[step, source]):
                old = values[step, source, k]
                label[0] = old[0] + columns[2, x]
                if label[0] == np.inf:
                    continue
                label[1] = max(0.0, old[1] - columns[3, x]) + columns[4, x]
                label[2:] = 0.0
                if limit < np.inf:
                    label[2] = old[2] + columns[5, x]
                    label[3] = 0.0 if inference else (0.0 if columns[7, x] > 0 else old[3]) + columns[6, x]
                    label[4] = max(old[4] + columns[11, x], label[3] + columns[10, x])
                    if label[2] + label[4] > limit:
                        continue
                overflow |= _insert(values[step + 1, target], parents[step + 1, target], counts[step + 1], target,
                                    label, x - offsets[step], k, cap)  # fmt: skip
    return values, parents, counts, overflow


@compiled
def _insert(  # noqa: PLR0912  one pass over labels that all its parts share
    values: NDArray[Any], parents: NDArray[Any], counts: NDArray[Any], target: int, label: NDArray[Any],
    transition: int, parent: int, cap: int,
) -> bool:  # fmt: skip
    """Keep a label unless another is as good in everything, and drop what it beats; returns whether one is lost."""
    count, kept = counts[target], 0
    for k in range(count):
        better = True
        for c in range(5):
            if values[k, c] > label[c] * (1.0 + 1e-12):
                better = False
                break
        if better:
            return False
    for k in range(count):
        worse = True
        for c in range(5):
            if label[c] > values[k, c]:
                worse = False
                break
        if not worse:
            if kept != k:
                values[kept] = values[k]
                parents[kept] = parents[k]
            kept += 1
    place, lost = kept, False
    if kept == cap:
        lost = True
        thrifty, place = 0, -1
        for k in range(1, cap):
            if values[k, 2] + values[k, 4] < values[thrifty, 2] + values[thrifty, 4]:
                thrifty = k
        for k in range(cap):
            if k != thrifty and (place < 0 or values[k, 0] + values[k, 1] > values[place, 0] + values[place, 1]):
                place = k
        counts[target] = cap
        smaller = label[2] + label[4] < values[thrifty, 2] + values[thrifty, 4]
        if not smaller and values[place, 0] + values[place, 1] <= label[0] + label[1]:
            return lost
    else:
        counts[target] = kept + 1
    values[place] = label
    parents[place, 0] = transition
    parents[place, 1] = parent
    return lost
