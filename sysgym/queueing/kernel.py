"""The fast copy of `simulator`: B queues over flat arrays, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import copied_columns, doubled, read_only, zeroed
from sysgym.core.compiled import uncounted, uncounted_inline
from sysgym.core.errors import require_options
from sysgym.core.events import EventKind, EventLog, event_kinds
from sysgym.core.protocols import Engine, Slot
from sysgym.queueing.metrics import queue_metrics
from sysgym.queueing.model import (
    ACCEPT,
    IDLE,
    QueueConfig,
    QueueState,
    customer_key,
    draw_ending,
    draw_priority,
    draw_release,
)
from sysgym.queueing.observation import spec_of, write_view

_SUBMIT, _START = event_kinds(EventKind.SUBMIT, EventKind.START)
_FINISH, _DROP = event_kinds(EventKind.FINISH, EventKind.DROP)


class Queues(NamedTuple):
    """State of B queues of k servers, row b for queue b; the log grows by doubling."""

    key: NDArray[np.int64]
    episode: NDArray[np.int64]
    steps: NDArray[np.int64]
    free: NDArray[np.int64]
    head: NDArray[np.int64]
    busy: NDArray[np.int64]
    written: NDArray[np.int64]
    event_time: NDArray[np.int64]
    event_kind: NDArray[np.int8]
    event_subject: NDArray[np.int64]
    event_amount: NDArray[np.float64]


class Numbers(NamedTuple):
    """`QueueConfig` for compiled code; `ending` is 0 where the horizon is fixed."""

    probability: float
    max_steps: int
    ending: float
    priorities: NDArray[np.float64]


def allocate(queues: int, servers: int, events: int) -> Queues:
    """Zeroed state with room for a number of events a queue."""
    return zeroed(
        Queues, queues,
        busy=servers, event_time=events, event_kind=events, event_subject=events, event_amount=events,
    )  # fmt: skip


@uncounted_inline
def _log(q: Queues, b: int, kind: int, subject: int, amount: float) -> None:
    place = q.written[b]
    q.event_time[b, place] = q.steps[b]
    q.event_kind[b, place] = kind
    q.event_subject[b, place] = subject
    q.event_amount[b, place] = amount
    q.written[b] = place + 1


@uncounted_inline
def _next_customer(q: Queues, b: int, numbers: Numbers) -> None:
    servers, priorities = q.busy.shape[1], len(numbers.priorities)
    q.head[b] = draw_priority(q.key[b], q.episode[b], q.steps[b], servers, priorities)
    _log(q, b, _SUBMIT, q.steps[b], numbers.priorities[q.head[b]])


@uncounted
def begin_rows(q: Queues, rows: NDArray[np.int64], numbers: Numbers) -> None:
    """Begin an episode in each of the rows, whose keys and episodes are set."""
    for b in rows:
        q.steps[b] = q.written[b] = 0
        q.free[b] = q.busy.shape[1]
        q.busy[b] = IDLE
        _next_customer(q, b, numbers)


@uncounted
def step_rows(
    q: Queues,
    numbers: Numbers,
    actions: NDArray[np.int64],
    active: NDArray[np.bool_],
    rewards: NDArray[np.float64],
    truncated: NDArray[np.bool_],
) -> None:
    """Play one decision in every active row."""
    servers = q.busy.shape[1]
    for b in range(len(active)):
        if not active[b]:
            continue
        step, priority = q.steps[b], numbers.priorities[q.head[b]]
        accepted = actions[b] == ACCEPT and q.free[b] > 0
        _log(q, b, _START if accepted else _DROP, step, priority)
        rewards[b] = priority if accepted else 0.0
        if accepted:
            server = 0
            while q.busy[b, server] != IDLE:
                server += 1
            q.busy[b, server] = step
            q.free[b] -= 1
        q.steps[b] = step + 1
        for server in range(servers):
            customer = q.busy[b, server]
            if customer == IDLE:
                continue
            if draw_release(q.key[b], q.episode[b], step, servers, server) < numbers.probability:
                _log(q, b, _FINISH, customer, 1.0)
                q.busy[b, server] = IDLE
                q.free[b] += 1
        _next_customer(q, b, numbers)
        if numbers.ending > 0:
            truncated[b] = draw_ending(q.key[b], q.episode[b], step, servers) < numbers.ending
        else:
            truncated[b] = q.steps[b] >= numbers.max_steps


@uncounted
def show_rows(q: Queues, rows: NDArray[np.bool_], observations: NDArray[np.float32], masks: NDArray[np.int8]) -> None:
    """Write observations and masks of the chosen rows."""
    for b in range(len(rows)):
        if rows[b]:
            write_view(q.free[b], q.head[b], q.busy.shape[1], observations[b], masks[b])


class QueueKernel(Engine):
    """Compiled engine of B queues.

    Args:
        config: Parameters.
        split: Which customers come.
        num_episodes: B.
    """

    def __init__(self, config: QueueConfig, split: str, num_episodes: int) -> None:
        self.config, self.split, self.num_episodes = config, split, num_episodes
        self.num_actions, self.observation_spec = 2, spec_of(config)
        customer_key(0, split)
        self._priorities = np.asarray(config.priorities, dtype=np.float64)
        ending = 0.0 if config.horizon == "fixed" else 1.0 / config.max_steps
        self._numbers = Numbers(config.free_probability, config.max_steps, ending, self._priorities)
        self._queues = allocate(num_episodes, config.servers, self._events_of(config.max_steps))

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`."""
        require_options(options)
        self._queues.key[rows] = [customer_key(int(seed), self.split) for seed in seeds]
        self._queues.episode[rows] = episodes
        begin_rows(self._queues, rows, self._numbers)

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        self._make_room()
        slot.terminated[active] = False
        step_rows(self._queues, self._numbers, actions, active, slot.rewards, slot.truncated)
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        assert isinstance(slot.observations, np.ndarray)
        show_rows(self._queues, rows, slot.observations, slot.action_masks)

    def state(self, row: int) -> QueueState:
        """See `Engine.state`."""
        q = self._queues
        numbers = int(q.steps[row]), int(q.free[row]), int(q.head[row])
        return QueueState(*numbers, read_only(q.busy[row]), read_only(self._priorities), self.config.free_probability)

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        return EventLog.of_row(self._queues, row, self._queues.written[row])

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return queue_metrics(self.events(row), int(self._queues.steps[row]), self.config)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        return copied_columns(self._queues)

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`; the log may have grown."""
        self._queues = Queues(**{name: column.copy() for name, column in snapshot.items()})

    def _events_of(self, steps: int) -> int:
        """Most events of so many steps: every customer comes, is decided on and leaves; one more waits."""
        return 3 * steps + 1 + self.config.servers

    def _make_room(self) -> None:
        """Double the log before a queue of geometric horizon can outgrow it."""
        q = self._queues
        if int(q.written.max()) + 2 + self.config.servers > q.event_time.shape[1]:
            self._queues = doubled(q, "event_")
