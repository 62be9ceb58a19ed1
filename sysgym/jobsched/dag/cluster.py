"""The simulator's cluster as it stands: jobs, stages, executors and promises, and whatever can be looked up of them.

Nothing is kept up to date that can be looked up: who is promised, expected or saturated follows from the promises and
from where executors are. The kernel keeps counters instead, so the two agree only if both are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import simpy
from numpy.typing import NDArray

from sysgym.jobsched.dag.model import BUSY, IDLE, NOTHING, UNDER_WAY, WAITING, DagConfig


@dataclass(eq=False)
class Stage:
    """A stage of a job that has arrived."""

    job: Job
    number: int
    """Row in the state."""
    profile: int
    """Number in the table."""
    tasks: int
    first_task: int
    """Number of its first task in the episode."""
    parents: list[Stage] = field(default_factory=list)
    children: list[Stage] = field(default_factory=list)
    taken: int = 0
    finished: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether all its tasks have ended."""
        return self.finished == self.tasks

    @property
    def is_runnable(self) -> bool:
        """Whether all its parents are complete."""
        return all(parent.is_complete for parent in self.parents)


@dataclass(eq=False)
class Job:
    """A job; its stages are made when it arrives."""

    number: int
    kind: int
    submit: int
    first_task: int
    tasks: int
    finish: int = NOTHING
    stages: list[Stage] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether all its stages are."""
        return all(stage.is_complete for stage in self.stages)

    @property
    def untaken(self) -> int:
        """Tasks that nobody took."""
        return self.tasks - sum(stage.taken for stage in self.stages)


@dataclass(eq=False)
class Executor:
    """An executor: of no job or one, at a stage or on the way to one."""

    number: int
    status: int = IDLE
    job: Job | None = None
    stage: Stage | None = None


@dataclass(eq=False)
class Promise:
    """Executors of a source that have a destination; None leaves them idle."""

    source: Stage | None
    """The stage whose executors they are; None within a round of a pool."""
    target: Stage | None
    count: int


@dataclass(eq=False)
class Round:
    """A round of decisions about the executors of one source."""

    job: Job | None
    stage: Stage | None
    leaver: Executor | None
    free: int
    chosen: list[Stage] = field(default_factory=list)
    committed: int = 0


class Cluster:
    """One episode at one moment.

    Attributes:
        config: The cluster's parameters.
        clock: SimPy's.
        executors: All.
        jobs: Those that have arrived.
        promises: In the order in which they were made.
        round: That of the decisions that are asked for, if any.
        decisions: How many there were.
    """

    config: DagConfig
    clock: simpy.Environment
    executors: list[Executor]
    jobs: list[Job]
    promises: list[Promise]
    round: Round | None
    decisions: int
    _per_job: int

    @property
    def now(self) -> int:
        """Ms since the episode began."""
        return int(self.clock.now)

    def present(self) -> Iterator[Job]:
        """Jobs that have arrived and not ended, in the order of arrival."""
        return (job for job in self.jobs if job.finish == NOTHING)

    def promised(self, stage: Stage) -> int:
        """Executors that are promised to a stage."""
        return sum(promise.count for promise in self.promises if promise.target is stage)

    def moving(self, stage: Stage) -> int:
        """Executors on the way to a stage."""
        return sum(one.status == UNDER_WAY and one.stage is stage for one in self.executors)

    def untaken(self, stage: Stage) -> int:
        """Tasks that are neither taken nor promised; below 0 where more are promised than left."""
        return stage.tasks - stage.taken - self.promised(stage) - self.moving(stage)

    def is_selectable(self, stage: Stage) -> bool:
        """Whether a stage may be chosen now."""
        if self.untaken(stage) <= 0 or (self.round is not None and stage in self.round.chosen):
            return False
        return all(self.untaken(parent) <= 0 for parent in stage.parents)

    def attached(self, job: Job) -> list[Executor]:
        """Executors that belong to a job."""
        return [one for one in self.executors if one.job is job]

    def expected(self, job: Job) -> int:
        """Executors on their way to a job, or promised to it by others."""
        coming = sum(self.moving(stage) for stage in job.stages)
        return coming + sum(
            promise.count
            for promise in self.promises
            if promise.target is not None and promise.target.job is job and self._source_job(promise) is not job
        )

    def visible(self) -> list[Stage]:
        """Stages that are seen: the incomplete ones of jobs in the order of arrival, as long as whole jobs fit."""
        shown: list[Stage] = []
        edges = 0
        for job in self.present():
            stages = [stage for stage in job.stages if not stage.is_complete]
            edges += sum(len(stage.children) for stage in stages)
            if len(shown) + len(stages) > self.config.stages or edges > 2 * self.config.stages:
                break
            shown += stages
        return shown

    def _source_job(self, promise: Promise) -> Job | None:
        if promise.source is not None:
            return promise.source.job
        return self.round.job if self.round is not None else None

    def pool(self, job: Job | None) -> list[Executor]:
        """Idle executors of a job, or of none."""
        return [one for one in self.executors if one.status == IDLE and one.job is job]

    def workers(self, stage: Stage) -> list[Executor]:
        """Executors that work on a stage, or are about to leave it."""
        return [one for one in self.executors if one.stage is stage and one.status in (BUSY, WAITING)]

    def first_promise(self, source: Stage | None) -> Promise | None:
        """The oldest promise of a source."""
        return next((promise for promise in self.promises if promise.source is source), None)

    def can_wait(self) -> bool:
        """Whether something would happen after "none"."""
        return self.clock.peek() < float("inf") or (self.round is not None and self.round.committed > 0)

    def columns(self) -> tuple[NDArray[np.int64], ...]:
        """The columns of the state, looked up one by one."""
        asked = self.round
        numbers = [
            self.now, self.decisions, len(self.jobs), sum(job.finish != NOTHING for job in self.jobs),
            _number(asked.job if asked else None), _number(asked.stage if asked else None),
            asked.free if asked else 0, asked.committed if asked else 0, int(self.can_wait()),
        ]  # fmt: skip
        jobs = [
            (job.kind, job.submit, job.finish, len(self.attached(job)), self.expected(job),
             sum(not stage.is_complete for stage in job.stages), job.untaken, job.first_task)
            for job in self.jobs
        ]  # fmt: skip
        stage = np.zeros((len(jobs) * self._per_job, 8), dtype=np.int64)
        for each in (each for job in self.jobs for each in job.stages):
            stage[each.number] = (
                each.tasks, each.taken, each.finished, self.promised(each), self.moving(each),
                len(self.workers(each)), sum(not parent.is_complete for parent in each.parents),
                asked is not None and each in asked.chosen,
            )  # fmt: skip
        executors = [(one.status, _number(one.job), _number(one.stage)) for one in self.executors]
        node = np.full(self.config.stages, NOTHING, dtype=np.int64)
        shown = [each.number for each in self.visible()]
        node[: len(shown)] = shown
        return (
            np.array(numbers, dtype=np.int64),
            np.array(jobs, dtype=np.int64).reshape(-1, 8),
            stage,
            np.array(executors, dtype=np.int64),
            node,
        )


def _number(thing: Job | Stage | None) -> int:
    return NOTHING if thing is None else thing.number
