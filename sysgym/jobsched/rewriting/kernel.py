"""The fast copy of `simulator`: B episodes over flat arrays, stepped together by compiled code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import copied_columns, read_only, restore_columns, zeroed
from sysgym.core.compiled import compiled
from sysgym.core.events import EventKind, EventLog
from sysgym.core.protocols import Engine, Slot
from sysgym.jobsched.rewriting.dynamics import (
    OVERBOOKED,
    Ints,
    Jobs,
    insert,
    layout_of,
    link_all,
    mean_slowdown,
    move_behind,
    neighbours,
    new_start,
    order_by,
    pack,
    place_order,
)
from sysgym.jobsched.rewriting.metrics import rewrite_metrics
from sysgym.jobsched.rewriting.model import INITIAL, REWARDS, WINDOW, Instance, RewriteConfig, RewriteState
from sysgym.jobsched.rewriting.observation import spec_of, write_view
from sysgym.jobsched.rewriting.rewards import reward_of
from sysgym.workloads.jobsets import JobsetSource, jobset_of


class Episodes(NamedTuple):
    """State of B episodes of at most N jobs, see `RewriteState`; `starts` holds them behind every move.

    `links` and `tried` are the graph and the pairs that were played, of published moves; row and column n is the root.
    """

    size: Ints
    horizon: Ints
    rewrites: Ints
    picked: Ints
    slowdown: NDArray[np.float64]
    best: NDArray[np.float64]
    initial: NDArray[np.float64]
    arrival: Ints
    length: Ints
    demand: Ints
    needs: Ints
    order: Ints
    start: Ints
    moved: Ints
    best_start: Ints
    starts: NDArray[np.int32]
    links: Ints
    tried: NDArray[np.bool_]


class Numbers(NamedTuple):
    """`RewriteConfig` and the layout of words for compiled code."""

    capacity: int
    limit: int
    initial: int
    reward: int
    published: bool
    guard: int
    free: int


@compiled
def _jobs(e: Episodes, numbers: Numbers, b: int) -> Jobs:
    n = e.size[b]
    return Jobs(e.arrival[b, :n], e.length[b, :n], e.needs[b, :n], numbers.guard, numbers.free, e.horizon[b])


@compiled
def _sort_by_start(start: Ints, order: Ints) -> None:
    for job in range(len(start)):
        at = job
        while at > 0 and start[order[at - 1]] > start[job]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = job


@compiled
def begin_rows(e: Episodes, rows: Ints, numbers: Numbers, room: Ints) -> None:
    """Begin an episode in each of the rows, whose jobs are there."""
    for b in rows:
        n, jobs = e.size[b], _jobs(e, numbers, b)
        order_by(numbers.initial, jobs, room, e.order[b, :n])
        place_order(jobs, e.order[b, :n], room, e.start[b, :n])
        e.rewrites[b], e.picked[b] = 0, -1
        e.moved[b] = 0
        if numbers.published:
            link_all(jobs, e.start[b, :n], e.links[b, : n + 1, : n + 1])
            e.tried[b] = False
            _sort_by_start(e.start[b, :n], e.order[b, :n])
        e.slowdown[b] = e.best[b] = e.initial[b] = mean_slowdown(jobs, e.start[b, :n])
        e.best_start[b] = e.start[b]
        e.starts[b, 0] = e.start[b]


@compiled
def _targets(e: Episodes, numbers: Numbers, b: int, job: int, mask: NDArray[Any]) -> bool:
    """Set the rows behind which a job may go; returns whether there are any."""
    n, front = e.size[b], len(mask) - 1
    if not numbers.published:
        if n < 2:
            return False
        mask[:n] = 1
        mask[job], mask[front] = 0, 1
        return True
    found, some = np.empty(2 * WINDOW, dtype=np.int64), False
    jobs = _jobs(e, numbers, b)
    for place in range(neighbours(e.links[b, : n + 1, : n + 1], job, found)):
        other = found[place]
        if not e.tried[b, job, other] and new_start(jobs, e.start[b, :n], job, other) != e.start[b, job]:
            mask[front if other == n else other] = 1
            some = True
    return some


@compiled
def _allow(e: Episodes, numbers: Numbers, b: int, mask: NDArray[Any]) -> None:
    mask[:] = 0
    if e.picked[b] >= 0:
        _targets(e, numbers, b, e.picked[b], mask)
        return
    scratch = np.zeros(len(mask), dtype=np.int8)
    for job in range(e.size[b]):
        if _targets(e, numbers, b, job, scratch):
            mask[job] = 1
    mask[-1] = 1


@compiled
def _move(e: Episodes, numbers: Numbers, b: int, action: int, room: Ints) -> None:
    n, job, jobs = e.size[b], e.picked[b], _jobs(e, numbers, b)
    order, start = e.order[b, :n], e.start[b, :n]
    front = e.order.shape[1]
    if numbers.published:
        neighbour = n if action == front else action
        e.tried[b, job, neighbour] = e.tried[b, neighbour, job] = True
        move_behind(jobs, job, neighbour, room, start, e.links[b, : n + 1, : n + 1])
        _sort_by_start(start, order)
    else:
        insert(order, job, -1 if action == front else action)
        place_order(jobs, order, room, start)
    e.moved[b, job] = e.rewrites[b] + 1
    e.slowdown[b] = mean_slowdown(jobs, start)
    if e.slowdown[b] < e.best[b]:
        e.best[b] = e.slowdown[b]
        e.best_start[b, :n] = start


@compiled
def step_rows(
    e: Episodes, numbers: Numbers, actions: Ints, active: NDArray[np.bool_], room: Ints, rewards: NDArray[np.float64],
    terminated: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Play one decision in every active row."""
    mask = np.zeros(e.order.shape[1] + 1, dtype=np.int8)
    for b in range(len(active)):
        if not active[b]:
            continue
        _allow(e, numbers, b, mask)
        action, allowed = actions[b], mask[actions[b]] != 0
        rewards[b] = 0.0
        if e.picked[b] < 0 and allowed:
            terminated[b] = action == len(mask) - 1
            e.picked[b] = -1 if terminated[b] else action
            if terminated[b] and numbers.reward == len(REWARDS) - 1:
                rewards[b] = reward_of(numbers.reward, 0.0, 0.0, 0.0, e.best[b], e.initial[b], True)
            continue
        before, best = e.slowdown[b], e.best[b]
        if allowed:
            _move(e, numbers, b, action, room)
        e.rewrites[b] += 1
        e.picked[b] = -1
        e.starts[b, e.rewrites[b]] = e.start[b]
        terminated[b] = e.rewrites[b] == numbers.limit
        rewards[b] = reward_of(numbers.reward, before, e.slowdown[b], best, e.best[b], e.initial[b], terminated[b])


@compiled
def show_rows(
    e: Episodes, numbers: Numbers, rows: NDArray[np.bool_], room: Ints, views: NDArray[Any], masks: NDArray[np.int8]
) -> None:
    """Write observations and masks of the chosen rows."""
    for b in range(len(rows)):
        if rows[b]:
            n = e.size[b]
            _allow(e, numbers, b, masks[b])
            write_view(
                _jobs(e, numbers, b), e.demand[b, :n], numbers.capacity, e.order[b, :n], e.start[b, :n],
                e.moved[b, :n], e.picked[b], e.rewrites[b], numbers.limit, numbers.published, e.slowdown[b],
                e.best[b], e.initial[b], room, views[b],
            )  # fmt: skip


class RewriteKernel(Engine):
    """Compiled engine of B episodes.

    Args:
        config: What is asked.
        source: Of the jobs.
        num_episodes: B.
    """

    def __init__(self, config: RewriteConfig, source: JobsetSource, num_episodes: int) -> None:
        config.check_source(source)
        self.config, self.source, self.num_episodes = config, source, num_episodes
        self.most = most = source.sequence_length
        self.num_actions, self.observation_spec = most + 1, spec_of(most)
        self._layout = layout_of(source.resources, config.capacity)
        published = config.moves == "published"
        self._numbers = Numbers(
            config.capacity, config.rewrites, INITIAL.index(config.initial), REWARDS.index(config.reward), published,
            self._layout.guard, self._layout.free,
        )  # fmt: skip
        self._episodes = self._allocate(published)
        longest = most + most * source.longest
        self._room = np.zeros((OVERBOOKED * longest, self._layout.words), dtype=np.int64)

    def reset(
        self,
        rows: Ints,
        seeds: NDArray[np.uint64],
        episodes: Ints,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`."""
        e, layout = self._episodes, self._layout
        for row, seed, episode in zip(rows.tolist(), seeds.tolist(), episodes.tolist(), strict=True):
            instance = Instance.of(jobset_of(self.source, seed, episode, options), self.config.capacity)
            n = e.size[row] = len(instance)
            for name in ("arrival", "length", "demand"):
                getattr(e, name)[row, :n] = getattr(instance, name)
            pack(instance.demand, layout.width, layout.fields, e.needs[row, :n])
            e.horizon[row] = instance.arrival.max() + instance.length.sum()
        begin_rows(e, rows, self._numbers, self._room)

    def step(self, actions: Ints, active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        slot.truncated[active] = False
        step_rows(self._episodes, self._numbers, actions, active, self._room, slot.rewards, slot.terminated)
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        show_rows(self._episodes, self._numbers, rows, self._room, slot.observations, slot.action_masks)

    def state(self, row: int) -> RewriteState:
        """See `Engine.state`."""
        e, n = self._episodes, int(self._episodes.size[row])
        mask = np.zeros(self.num_actions, dtype=np.int8)
        _allow(e, self._numbers, row, mask)
        arrays = {
            name: read_only(getattr(e, name)[row, :n])
            for name in ("arrival", "length", "demand", "start", "order", "moved", "best_start")
        }
        return RewriteState(
            rewrites=int(e.rewrites[row]),
            limit=self.config.rewrites,
            picked=int(e.picked[row]),
            capacity=self.config.capacity,
            slowdown=float(e.slowdown[row]),
            best=float(e.best[row]),
            initial=float(e.initial[row]),
            allowed=read_only(mask.astype(np.bool_)),
            **arrays,
        )

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        e, n = self._episodes, int(self._episodes.size[row])
        starts = e.starts[row, : int(e.rewrites[row]) + 1, :n]
        changed = np.ones(starts.shape, dtype=np.bool_)
        changed[1:] = starts[1:] != starts[:-1]
        move, job = np.nonzero(changed)
        kind = np.full(len(move), EventKind.BOOK, dtype=np.int8)
        return EventLog(move.astype(np.float64), kind, job.astype(np.int64), starts[move, job].astype(np.float64))

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        e, n = self._episodes, int(self._episodes.size[row])
        jobs = {name: getattr(e, name)[row, :n].copy() for name in ("arrival", "length", "demand")}
        return rewrite_metrics(self.events(row), Instance(**jobs, capacity=self.config.capacity))

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        return copied_columns(self._episodes)

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        restore_columns(self._episodes, snapshot)

    def _allocate(self, published: bool) -> Episodes:
        most = self.most
        graph = (most + 1, most + 1) if published else (1, 1)
        of_jobs = dict.fromkeys(("arrival", "length", "order", "start", "moved", "best_start"), most)
        return zeroed(
            Episodes, self.num_episodes, **of_jobs, demand=(most, self.source.resources),
            needs=(most, self._layout.words), starts=(self.config.rewrites + 1, most), links=graph, tried=graph,
        )  # fmt: skip
