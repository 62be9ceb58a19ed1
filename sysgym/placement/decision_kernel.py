"""The fast copy of `decisions`: B placements over flat arrays, stepped together by compiled code.

Every row has an instance of its own, padded to the largest so far. A step writes one group's device, adds the loads up
anew (a few microseconds: adding up is what keeps the bits of the simulator) and encodes what comes next. Where the
objective is an execution or a latency, each row is scored by its own compiled evaluator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import copied_columns, zeroed
from sysgym.core.compiled import compiled, uncounted
from sysgym.core.events import EventKind, EventLog
from sysgym.core.protocols import Engine, Slot
from sysgym.placement.decisions import (
    NOWHERE,
    Loads,
    PlacementConfig,
    PlacementState,
    Scorer,
    chosen_placement,
    initial_placement,
    reward_of,
    state_of,
)
from sysgym.placement.instances import MOST_DEVICES, GraphSource, Instance
from sysgym.placement.metrics import placement_metrics
from sysgym.placement.observation import GraphView, Groups, groups_of, write_view


class Episodes(NamedTuple):
    """State of B episodes; at most L groups, P producers, R readers, Q touches and K links a row.

    `initial` and `played` are the event log: where the groups were at the beginning, and the device of each decision.
    """

    seed: NDArray[np.uint64]
    episode: NDArray[np.int64]
    groups: NDArray[np.int64]
    devices: NDArray[np.int64]
    producers: NDArray[np.int64]
    links: NDArray[np.int64]
    time: NDArray[np.int64]
    length: NDArray[np.int64]
    share: NDArray[np.float64]
    objective: NDArray[np.float64]
    first: NDArray[np.float64]
    initial: NDArray[np.int64]
    played: NDArray[np.int64]
    device: NDArray[np.int64]
    compute: NDArray[np.float64]
    moved: NDArray[np.float64]
    held: NDArray[np.float64]
    cost: NDArray[np.float64]
    size: NDArray[np.float64]
    owner: NDArray[np.int64]
    price: NDArray[np.float64]
    reader_start: NDArray[np.int64]
    reader: NDArray[np.int64]
    touch_start: NDArray[np.int64]
    touch: NDArray[np.int64]
    pays: NDArray[np.bool_]
    memory: NDArray[np.float64]
    order: NDArray[np.int64]
    position: NDArray[np.int64]
    link: NDArray[np.int64]
    link_price: NDArray[np.float64]
    least: NDArray[np.float64]
    sent: NDArray[np.float64]


def allocate(rows: int, sizes: Mapping[str, int], passes: int) -> Episodes:
    """Zeroed state with room for instances of the given sizes: `groups producers readers touches links`."""
    groups, producers, links = sizes["groups"], sizes["producers"], sizes["links"]
    of_groups = dict.fromkeys(("initial", "device", "size", "order", "position", "least", "sent"), groups)
    of_devices = dict.fromkeys(("compute", "moved", "held", "pays", "memory"), MOST_DEVICES)
    return zeroed(
        Episodes, rows, **of_groups, **of_devices, played=passes * groups, cost=(groups, MOST_DEVICES),
        owner=producers, price=producers, reader_start=producers + 1, reader=sizes["readers"],
        touch_start=groups + 1, touch=sizes["touches"], link=(links, 2), link_price=links,
    )  # fmt: skip


@compiled
def _groups(s: Episodes, b: int) -> Groups:
    """Row b's instance, as views of its own sizes."""
    groups, devices, producers, links = s.groups[b], s.devices[b], s.producers[b], s.links[b]
    return Groups(
        s.cost[b, :groups, :devices],
        s.size[b, :groups],
        s.owner[b, :producers],
        s.price[b, :producers],
        s.reader_start[b, : producers + 1],
        s.reader[b],
        s.touch_start[b, : groups + 1],
        s.touch[b],
        s.pays[b, :devices],
        s.memory[b, :devices],
        s.order[b, :groups],
        s.position[b, :groups],
        s.link[b, :links],
        s.link_price[b, :links],
        s.least[b, :groups],
        s.sent[b, :groups],
    )


@uncounted
def _allow(s: Episodes, b: int, mask: NDArray[Any]) -> None:
    """`decisions.allowed_devices`, without a copy."""
    time = s.time[b] if s.time[b] < s.length[b] else s.groups[b] - 1
    group = s.order[b, time % s.groups[b]]
    mask[:] = 0
    some, roomiest, most = False, -1, -np.inf
    for d in range(s.devices[b]):
        if s.cost[b, group, d] < np.inf:
            held = s.held[b, d] - (s.size[b, group] if s.device[b, group] == d else 0.0)
            left = s.memory[b, d] - held
            if roomiest < 0 or left > most:
                roomiest, most = d, left
            if held + s.size[b, group] <= s.memory[b, d]:
                mask[d], some = 1, True
    if not some:
        mask[roomiest] = 1


@uncounted
def _add_up(s: Episodes, b: int) -> None:
    """`decisions.loads_of`, and the largest load with its penalty."""
    s.compute[b] = 0.0
    s.moved[b] = 0.0
    s.held[b] = 0.0
    for group in range(s.groups[b]):
        d = s.device[b, group]
        if d >= 0:
            s.compute[b, d] += s.cost[b, group, d]
            s.held[b, d] += s.size[b, group]
    for producer in range(s.producers[b]):
        at, away = s.device[b, s.owner[b, producer]], 0
        if at < 0:
            continue
        for k in range(s.reader_start[b, producer], s.reader_start[b, producer + 1]):
            on = s.device[b, s.reader[b, k]]
            if on >= 0 and on != at:
                away |= 1 << on
        if away:
            away |= 1 << at
            for d in range(s.devices[b]):
                if (away >> d) & 1 and s.pays[b, d]:
                    s.moved[b, d] += s.price[b, producer]
    largest, excess = -np.inf, 0.0
    for d in range(s.devices[b]):
        largest = max(largest, s.compute[b, d] + s.moved[b, d])
        if s.held[b, d] > s.memory[b, d]:
            excess += (s.held[b, d] - s.memory[b, d]) / max(s.memory[b, d], 1.0)
    s.objective[b] = largest + s.share[b] * excess


@uncounted
def add_up_rows(s: Episodes, rows: NDArray[np.int64]) -> None:
    """Loads of the rows, from their devices."""
    for b in rows:
        _add_up(s, b)


@compiled
def place_rows(s: Episodes, actions: NDArray[np.int64], active: NDArray[np.bool_]) -> None:
    """Play one decision in every active row."""
    mask = np.zeros(MOST_DEVICES, dtype=np.int8)
    for b in range(len(active)):
        if not active[b]:
            continue
        _allow(s, b, mask)
        device = actions[b] if mask[actions[b]] else int(mask.argmax())
        s.played[b, s.time[b]] = device
        s.device[b, s.order[b, s.time[b] % s.groups[b]]] = device
        s.time[b] += 1
        _add_up(s, b)


@compiled
def show_rows(
    s: Episodes, rows: NDArray[np.bool_], observations: NDArray[Any], masks: NDArray[np.int8], operations: int
) -> None:
    """Write observations (packed rows) and masks of the chosen rows."""
    for b in range(len(rows)):
        if rows[b]:
            _allow(s, b, masks[b])
            if operations > 0:
                devices = s.devices[b]
                write_view(
                    _groups(s, b), s.device[b], s.time[b], s.length[b], s.share[b], s.compute[b, :devices],
                    s.moved[b, :devices], s.held[b, :devices], masks[b], operations, observations[b],
                )  # fmt: skip


class PlacementKernel(Engine):
    """Compiled engine of B placements.

    Args:
        source: Of instances.
        config: What is asked.
        view: What is seen.
        num_episodes: B.
    """

    def __init__(self, source: GraphSource, config: PlacementConfig, view: GraphView, num_episodes: int) -> None:
        self.source, self.config, self.view, self.num_episodes = source, config, view, num_episodes
        self.num_actions, self.observation_spec = view.num_actions, view.spec
        self._instances: list[Instance | None] = [None] * num_episodes
        self._scorers: list[Scorer | None] = [None] * num_episodes
        self._sizes = dict.fromkeys(("groups", "producers", "readers", "touches", "links"), 1)
        self._episodes = allocate(num_episodes, self._sizes, config.passes)

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`."""
        for row, seed, episode in zip(rows.tolist(), seeds.tolist(), episodes.tolist(), strict=True):
            instance = self.source.draw(seed, episode)
            chosen = chosen_placement(instance, options)
            start = initial_placement(instance, self.config.start, seed, episode) if chosen is None else chosen
            self._load(row, instance)
            s = self._episodes
            s.seed[row], s.episode[row], s.time[row] = seed, episode, 0
            s.length[row] = self.config.passes * len(start)
            s.initial[row, : len(start)] = s.device[row, : len(start)] = start
        add_up_rows(self._episodes, rows)
        self._score(rows.tolist())
        self._episodes.first[rows] = self._episodes.objective[rows]

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        s, before = self._episodes, self._episodes.objective.copy()
        place_rows(s, actions, active)
        rows = np.flatnonzero(active).tolist()
        self._score(rows)
        kind = self.config.reward
        for row in rows:
            ended = bool(s.time[row] == s.length[row])
            values = float(before[row]), float(s.objective[row]), float(s.first[row])
            slot.rewards[row] = reward_of(kind, *values, ended, float(s.share[row]))
            slot.terminated[row], slot.truncated[row] = ended, False
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        show_rows(self._episodes, rows, slot.observations, slot.action_masks, self.view.operations)

    def state(self, row: int) -> PlacementState:
        """See `Engine.state`."""
        s, instance = self._episodes, self._instances[row]
        assert instance is not None
        groups, devices = int(s.groups[row]), int(s.devices[row])
        loads = Loads(s.compute[row, :devices], s.moved[row, :devices], s.held[row, :devices])
        mask = np.zeros(MOST_DEVICES, dtype=np.int8)
        _allow(s, row, mask)
        allowed = mask[:devices] > 0
        device, time, length = s.device[row, :groups], int(s.time[row]), int(s.length[row])
        return state_of(instance, device, time, length, loads, allowed, float(s.objective[row]))

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        s, groups, time = self._episodes, int(self._episodes.groups[row]), int(self._episodes.time[row])
        initial, played = s.initial[row, :groups], s.played[row, :time]
        begun = np.flatnonzero(initial != NOWHERE)
        subjects = np.concatenate([begun, s.order[row, np.arange(time) % max(groups, 1)]])
        amounts = np.concatenate([initial[begun], played]).astype(np.float64)
        times = np.concatenate([np.zeros(len(begun)), np.arange(time)])
        return EventLog(times, np.full(len(times), EventKind.PLACE, dtype=np.int8), subjects.astype(np.int64), amounts)

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        instance = self._instances[row]
        assert instance is not None
        return placement_metrics(self.events(row), instance, self.config.objective, self.config.rules)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        return copied_columns(self._episodes)

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`; the instances are drawn again."""
        self._episodes = s = Episodes(**{name: column.copy() for name, column in snapshot.items()})
        self._sizes = {
            "groups": s.size.shape[1], "producers": s.owner.shape[1], "readers": s.reader.shape[1],
            "touches": s.touch.shape[1], "links": s.link.shape[1],
        }  # fmt: skip
        self._scorers = [None] * self.num_episodes
        for row in np.flatnonzero(s.groups > 0).tolist():
            self._instances[row] = self.source.draw(int(s.seed[row]), int(s.episode[row]))

    def _score(self, rows: list[int]) -> None:
        """Score the rows by what loads don't tell; the compiled step has scored loads already."""
        if self.config.objective == "max_load":
            return
        s = self._episodes
        for row in rows:
            instance, scorer = self._instances[row], self._scorers[row]
            assert instance is not None
            if scorer is None or scorer.instance is not instance:
                scorer = self._scorers[row] = Scorer(instance, self.config, compiled=True)
            groups, devices = int(s.groups[row]), int(s.devices[row])
            loads = Loads(s.compute[row, :devices], s.moved[row, :devices], s.held[row, :devices])
            s.objective[row] = scorer(s.device[row, :groups], loads)

    def _load(self, row: int, instance: Instance) -> None:
        """Write an instance into a row, where it is not there already."""
        if self._instances[row] is instance:
            return
        groups = groups_of(instance)
        sizes = {
            "groups": len(groups.size), "producers": len(groups.owner), "readers": len(groups.reader),
            "touches": len(groups.touch), "links": len(groups.link),
        }  # fmt: skip
        self._make_room(sizes)
        s = self._episodes
        s.groups[row], s.devices[row] = groups.cost.shape
        s.producers[row], s.links[row], s.share[row] = len(groups.owner), len(groups.link), instance.share
        for name, column in groups._asdict().items():
            target = getattr(s, name)[row]
            target[tuple(slice(0, size) for size in column.shape)] = column
        self._instances[row] = instance

    def _make_room(self, sizes: Mapping[str, int]) -> None:
        """Grow the arrays, by half at least, where an instance is larger than any before."""
        if all(self._sizes[name] >= size for name, size in sizes.items()):
            return
        for name, size in sizes.items():
            if size > self._sizes[name]:
                self._sizes[name] = max(size, self._sizes[name] * 3 // 2)
        grown = allocate(self.num_episodes, self._sizes, self.config.passes)
        for name, column in self._episodes._asdict().items():
            getattr(grown, name)[tuple(slice(0, size) for size in column.shape)] = column
        self._episodes = grown
