"""The fast copy of `simulator`: B clusters over flat arrays, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_options
from sysgym.core.events import EventKind, EventLog, event_kinds
from sysgym.core.protocols import Engine, Slot
from sysgym.core.row_network import RowNetwork, best_row
from sysgym.jobsched.gpu.filling.metrics import filling_metrics
from sysgym.jobsched.gpu.filling.model import Filling, FillState, Seen, chosen_node, draw_task, look, task_key
from sysgym.jobsched.gpu.filling.observation import FEATURES, largest_memory, spec_of, write_view
from sysgym.jobsched.gpu.filling.simulator import state_of
from sysgym.jobsched.gpu.fragmentation import Typical
from sysgym.jobsched.gpu.placement import Nodes, Records, change

_SUBMIT, _START, _DROP, _PLACE = event_kinds(EventKind.SUBMIT, EventKind.START, EventKind.DROP, EventKind.PLACE)
_best_row = compiled(best_row)


class Clusters(NamedTuple):
    """State of B clusters of n nodes, row b for cluster b; `nodes` and `seen` have B in front of their shapes."""

    key: NDArray[np.int64]
    episode: NDArray[np.int64]
    steps: NDArray[np.int64]
    job: NDArray[np.int64]
    nodes: Nodes
    seen: Seen
    written: NDArray[np.int64]
    event_time: NDArray[np.float64]
    event_kind: NDArray[np.int8]
    event_subject: NDArray[np.int64]
    event_amount: NDArray[np.float64]


class Source(NamedTuple):
    """What all clusters share: the log, the typical tasks, tasks of an episode, all GPUs, the largest memory."""

    jobs: Records
    typical: Typical
    tasks: int
    capacity: int
    memory: int


def allocate(filling: Filling, clusters: int) -> Clusters:
    """Empty clusters with room for the events of an episode each."""

    def zeros(dtype: Any, *shape: int) -> NDArray[Any]:
        return np.zeros((clusters, *shape), dtype=dtype)

    count, events = len(filling.nodes.table), 3 * filling.tasks
    nodes = Nodes._make(np.stack([part] * clusters) for part in filling.nodes)
    return Clusters(
        key=zeros(np.int64),
        episode=zeros(np.int64),
        steps=zeros(np.int64),
        job=zeros(np.int64),
        nodes=nodes._replace(table=nodes.table.view(np.recarray)),
        seen=Seen(zeros(np.int8, count), zeros(np.float64, count), zeros(np.int64, count)),
        written=zeros(np.int64),
        event_time=zeros(np.float64, events),
        event_kind=zeros(np.int8, events),
        event_subject=zeros(np.int64, events),
        event_amount=zeros(np.float64, events),
    )


@compiled
def _nodes(c: Clusters, b: int) -> Nodes:
    nodes = c.nodes
    return Nodes(nodes.table[b], nodes.free_gpu[b], nodes.running[b], nodes.tied[b], nodes.largest[b])


@compiled
def _seen(c: Clusters, b: int) -> Seen:
    return Seen(c.seen.fits[b], c.seen.increase[b], c.seen.bits[b])


@compiled
def _log(c: Clusters, b: int, kind: int, amount: float) -> None:
    place = c.written[b]
    c.event_time[b, place] = c.steps[b]
    c.event_kind[b, place] = kind
    c.event_subject[b, place] = c.steps[b]
    c.event_amount[b, place] = amount
    c.written[b] = place + 1


@compiled
def _next_task(c: Clusters, b: int, source: Source) -> bool:
    """Let tasks come until one finds room; False when none is left."""
    while c.steps[b] < source.tasks:
        job = draw_task(c.key[b], c.episode[b], c.steps[b], len(source.jobs))
        c.job[b] = job
        milli = source.jobs[job].gpus * source.jobs[job].share
        _log(c, b, _SUBMIT, milli)
        if look(_nodes(c, b), source.jobs, source.typical, job, _seen(c, b)) > 0:
            return True
        _log(c, b, _DROP, milli)
        c.steps[b] += 1
    return False


@compiled
def _place(c: Clusters, b: int, source: Source, node: int) -> tuple[int, bool]:
    """Place the task at the head on a node with room: thousandths of GPUs that it takes, and whether another comes."""
    job = c.job[b]
    change(_nodes(c, b), source.jobs, job, node, c.seen.bits[b, node], 1)
    milli = source.jobs[job].gpus * source.jobs[job].share
    _log(c, b, _PLACE, node)
    _log(c, b, _START, milli)
    c.steps[b] += 1
    return milli, _next_task(c, b, source)


@compiled
def begin_rows(c: Clusters, rows: NDArray[np.int64], source: Source) -> None:
    """Begin an episode in each of the rows, whose keys, episodes and nodes are set."""
    for b in rows:
        c.steps[b] = c.written[b] = 0
        _next_task(c, b, source)


@compiled
def step_rows(
    c: Clusters,
    source: Source,
    actions: NDArray[np.int64],
    active: NDArray[np.bool_],
    rewards: NDArray[np.float64],
    terminated: NDArray[np.bool_],
) -> None:
    """Place the head of every active row."""
    for b in range(len(active)):
        if not active[b]:
            continue
        milli, going = _place(c, b, source, chosen_node(_seen(c, b), actions[b]))
        rewards[b], terminated[b] = milli / source.capacity, not going


@compiled
def show_rows(
    c: Clusters,
    source: Source,
    rows: NDArray[np.bool_],
    observations: NDArray[np.float32],
    masks: NDArray[np.int8],
) -> None:
    """Write observations and masks of the chosen rows."""
    for b in range(len(rows)):
        if rows[b]:
            gone = c.steps[b] / source.tasks
            write_view(_nodes(c, b), source.jobs, c.job[b], _seen(c, b), source.memory, gone, observations[b], masks[b])


@compiled
def play_members(
    c: Clusters,
    source: Source,
    empty: Nodes,
    keys: NDArray[np.int64],
    episodes: NDArray[np.int64],
    networks: RowNetwork,
    missed: NDArray[np.float64],
) -> int:
    """Play episodes with each of M networks, which take the node with room that they score highest.

    Args:
        c: State with at least one row.
        source: What the clusters share.
        empty: The empty nodes.
        keys: Of the tasks, (W,).
        episodes: Their numbers, (W,).
        networks: M networks.
        missed: Written, (M, W): the share of all GPUs that is left free, negative.

    Returns:
        Decisions.
    """
    count, first = len(empty.table), np.zeros(1, dtype=np.int64)
    view, mask = np.zeros((count, FEATURES), dtype=np.float32), np.zeros(count, dtype=np.int8)
    below = np.empty(networks.widths.max(), dtype=np.float32)
    above, able, decisions = np.empty_like(below), np.empty(count, dtype=np.int64), 0
    for number in range(len(keys)):
        for member in range(len(networks.weights)):
            c.key[0], c.episode[0] = keys[number], episodes[number]
            c.nodes.free_gpu[0], c.nodes.running[0] = empty.free_gpu, empty.running
            for node in range(count):
                c.nodes.table[0, node] = empty.table[node]
            begin_rows(c, first, source)
            missed[member, number] = -1.0
            going = c.steps[0] < source.tasks
            while going:
                gone = c.steps[0] / source.tasks
                write_view(_nodes(c, 0), source.jobs, c.job[0], _seen(c, 0), source.memory, gone, view, mask)
                found = 0
                for node in range(count):  # rows with room move to the front
                    if mask[node] == 1:
                        view[found], able[found] = view[node], node
                        found += 1
                best = _best_row(networks.weights[member], networks.widths, networks.tanh, view[:found], below, above)
                milli, going = _place(c, first[0], source, able[best])
                missed[member, number] += milli / source.capacity
                decisions += 1
    return decisions


class FillKernel(Engine):
    """Compiled engine of B clusters.

    Args:
        filling: Log and cluster.
        num_episodes: B.
    """

    def __init__(self, filling: Filling, num_episodes: int) -> None:
        self.filling, self.num_episodes = filling, num_episodes
        self.num_actions, self.observation_spec = len(filling.nodes.table), spec_of(filling)
        memory = largest_memory(filling)
        self._source = Source(filling.jobs, filling.typical, filling.tasks, filling.capacity, memory)
        self._clusters = allocate(filling, num_episodes)
        self._own: Clusters | None = None

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`."""
        require_options(options)
        self._clusters.key[rows] = [task_key(int(seed), self.filling.split) for seed in seeds]
        self._clusters.episode[rows] = episodes
        for part, empty in zip(self._clusters.nodes, self.filling.nodes, strict=True):
            part[rows] = empty
        begin_rows(self._clusters, rows, self._source)

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        slot.truncated[active] = False
        step_rows(self._clusters, self._source, actions, active, slot.rewards, slot.terminated)
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        show_rows(self._clusters, self._source, rows, slot.observations, slot.action_masks)

    def state(self, row: int) -> FillState:
        """See `Engine.state`."""
        c = self._clusters
        nodes, seen = Nodes._make(part[row] for part in c.nodes), Seen._make(part[row] for part in c.seen)
        return state_of(self.filling, nodes, seen, int(c.steps[row]), int(c.job[row]))

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        return EventLog.of_row(self._clusters, row, self._clusters.written[row])

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return filling_metrics(self.events(row), self.filling.capacity)

    def play_rows(
        self, networks: RowNetwork, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], int]:
        """See `RowPlayer.play_rows`; a return is the allocation rate less 1."""
        if self._own is None:
            self._own = allocate(self.filling, 1)
        keys = np.array([task_key(int(seed), self.filling.split) for seed in seeds], dtype=np.int64)
        missed = np.empty((len(networks.weights), len(keys)))
        decisions = play_members(self._own, self._source, self.filling.nodes, keys, episodes, networks, missed)
        return missed, int(decisions)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        return {name: column.copy() for name, column in self._columns().items()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        for name, column in self._columns().items():
            np.copyto(column, snapshot[name])

    def _columns(self) -> dict[str, NDArray[Any]]:
        """All arrays that change, as plain numbers: records as rows of their fields."""
        columns: dict[str, NDArray[Any]] = {}
        for name, part in self._clusters._asdict().items():
            if isinstance(part, np.ndarray):
                columns[name] = part
            else:
                columns |= {f"{name}_{field}": column for field, column in part._asdict().items()}
        table = columns["nodes_table"]
        columns["nodes_table"] = table.view(np.ndarray).view(np.int64).reshape(*table.shape, -1)
        return columns
