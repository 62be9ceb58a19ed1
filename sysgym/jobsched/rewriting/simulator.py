"""One episode of rewriting in readable Python: the truth that `kernel` must equal.

A move is two decisions: which job is moved, and behind which other it goes. Then it and whatever else that touches is
placed at the earliest feasible start again. What counts is the best schedule that an episode meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Simulator
from sysgym.jobsched.rewriting.construction import order_of
from sysgym.jobsched.rewriting.dynamics import Jobs, jobs_of, scratch_room
from sysgym.jobsched.rewriting.metrics import rewrite_metrics
from sysgym.jobsched.rewriting.model import REWARDS, Instance, RewriteConfig, RewriteState
from sysgym.jobsched.rewriting.observation import spec_of, write_view
from sysgym.jobsched.rewriting.published import PublishedSchedule
from sysgym.jobsched.rewriting.rewards import Reward, reward_of
from sysgym.jobsched.rewriting.schedule import FRONT, inserted, placed
from sysgym.workloads.jobsets import JobsetSource, jobset_of


class RewriteSimulator(Simulator):
    """One episode; N is the most jobs that the source can give.

    Args:
        config: What is asked.
        source: Of the jobs.
        reward: Takes the place of the named reward.
    """

    def __init__(self, config: RewriteConfig, source: JobsetSource, reward: Reward | None = None) -> None:
        config.check_source(source)
        self.config, self.source, self.reward = config, source, reward
        self.most = source.sequence_length
        self.num_actions = self.most + 1
        self.observation_spec = spec_of(self.most)

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`; `options["jobset"]` names the sequence."""
        self.instance = Instance.of(jobset_of(self.source, seed, episode, options), self.config.capacity)
        self._jobs: Jobs = jobs_of(self.instance)
        self._room = scratch_room(self._jobs)
        self.order = order_of(self.config.initial, self.instance).tolist()
        self.start = placed(self.instance, self.order).starts()
        self.rewrites, self.picked = 0, -1
        self.moved = np.zeros(len(self.instance), dtype=np.int64)
        self.tried: set[frozenset[int]] = set()
        if self.config.moves == "published":
            self.graph = PublishedSchedule(self.instance, self.start)
            self._order_by_start()
        self.slowdown = self.best = self.initial = self.instance.mean_slowdown(self.start)
        self.best_start = self.start.copy()
        self.log = EventRecorder()
        for job, at in enumerate(self.start.tolist()):
            self.log.append(0, EventKind.BOOK, job, at)

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Pick a job, or move it; what is not allowed is a move that changes nothing."""
        before_state = self.state() if self.reward is not None else None
        before, best = self.slowdown, self.best
        allowed, stopped = bool(self._allowed()[action]), False
        if self.picked < 0 and allowed:
            stopped = action == self.most
            self.picked = -1 if stopped else action
        else:
            if allowed:
                self._move(self.picked, FRONT if action == self.most else action)
            self.rewrites, self.picked = self.rewrites + 1, -1
        ended = stopped or self.rewrites == self.config.rewrites
        if before_state is not None and self.reward is not None:
            return float(self.reward(before_state, action, self.state())), ended, False
        if self.picked >= 0 or (stopped and self.config.reward != "final"):
            return 0.0, ended, False
        code = REWARDS.index(self.config.reward)
        return reward_of(code, before, self.slowdown, best, self.best, self.initial, ended), ended, False

    def observe(self, observation: NDArray[Any], action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        action_mask[:] = self._allowed()
        write_view(
            self._jobs, self.instance.demand, self.instance.capacity, np.array(self.order), self.start, self.moved,
            self.picked, self.rewrites, self.config.rewrites, self.config.moves == "published", self.slowdown,
            self.best, self.initial, self._room, observation,
        )  # fmt: skip

    def state(self) -> RewriteState:
        """See `Simulator.state`."""
        return RewriteState(
            rewrites=self.rewrites,
            limit=self.config.rewrites,
            picked=self.picked,
            arrival=read_only(self.instance.arrival),
            length=read_only(self.instance.length),
            demand=read_only(self.instance.demand),
            capacity=self.instance.capacity,
            start=read_only(self.start.copy()),
            order=read_only(np.array(self.order, dtype=np.int64)),
            moved=read_only(self.moved.copy()),
            slowdown=self.slowdown,
            best=self.best,
            initial=self.initial,
            best_start=read_only(self.best_start.copy()),
            allowed=read_only(self._allowed()),
        )

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self.log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return rewrite_metrics(self.events(), self.instance)

    def _move(self, job: int, behind: int) -> None:
        old = self.start
        if self.config.moves == "insertion":
            self.order = inserted(self.order, job, behind)
            self.start = placed(self.instance, self.order).starts()
        else:
            neighbour = self.graph.root if behind == FRONT else behind
            self.tried.add(frozenset((job, neighbour)))
            self.graph.move(job, neighbour)
            self.start = self.graph.starts()
            self._order_by_start()
        self.moved[job] = self.rewrites + 1
        for each in np.flatnonzero(self.start != old).tolist():
            self.log.append(self.rewrites + 1, EventKind.BOOK, each, int(self.start[each]))
        self.slowdown = self.instance.mean_slowdown(self.start)
        if self.slowdown < self.best:
            self.best, self.best_start = self.slowdown, self.start.copy()

    def _order_by_start(self) -> None:
        self.order = np.argsort(self.start, kind="stable").tolist()

    def _allowed(self) -> NDArray[np.bool_]:
        """What may be chosen: a job with a place to go, or to stop; then where it goes."""
        allowed = np.zeros(self.num_actions, dtype=np.bool_)
        if self.picked >= 0:
            allowed[self._targets(self.picked)] = True
        else:
            allowed[[job for job in range(len(self.instance)) if self._targets(job)]] = True
            allowed[self.most] = True
        return allowed

    def _targets(self, job: int) -> list[int]:
        """Rows behind which a job may go."""
        count = len(self.instance)
        if self.config.moves == "insertion":
            return [other for other in range(count) if other != job] + ([self.most] if count > 1 else [])
        return [
            self.most if other == self.graph.root else other
            for other in self.graph.neighbours(job)
            if frozenset((job, other)) not in self.tried and self.graph.new_start(job, other) != self.start[job]
        ]
