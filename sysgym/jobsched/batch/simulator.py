"""The readable truth: one episode of a batch machine on SimPy.

Arrivals and completions are SimPy events whose priority fixes what comes first at an instant (see `model`). A pass is
a generator that yields whenever it needs to be told which waiting job comes next, and so serves both a queue order,
which answers at once, and a policy, which answers in `step`. The kernel must equal this file event by event.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpy.events import EventPriority

from sysgym.core.columns import read_only
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Observation, Simulator
from sysgym.jobsched.batch.model import Jobs, QueueState, Rules, known_jobs
from sysgym.jobsched.batch.observation import QueueEncoding, visible_jobs, write_mask
from sysgym.jobsched.batch.prediction import Forecast
from sysgym.jobsched.batch.priorities import CHANGING, ORDERS, priority
from sysgym.jobsched.batch.rewards import QueueReward
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.jobsched.clock import Clock

_CLASSES = {
    "batch": ("expiry", "completion", "compression", "arrival", "pass", "due"),
    "per_event": ("expiry", "arrival", "completion", "due", "pass"),
}
"""What comes first at one instant, by pass rule; "compression" and "due" are events of conservative backfilling."""

NO_JOB = -1


class Queue:
    """Waiting jobs in an order that doesn't change while they wait; ties go to the earlier row.

    Adding and removing cost O(log n) comparisons and a shift of what stands behind, which for some thousand numbers is
    cheaper than a tree.

    Args:
        urgency: Gives the value of a job, the smallest first.
    """

    def __init__(self, urgency: Callable[[int], float]) -> None:
        self.jobs: list[int] = []
        self._urgency = urgency
        self._keys: dict[int, tuple[float, int]] = {}

    def add(self, job: int) -> None:
        """Put a job at its place."""
        self._keys[job] = (self._urgency(job), job)
        insort(self.jobs, job, key=self._keys.__getitem__)

    def remove(self, job: int) -> None:
        """Take a job away."""
        del self.jobs[bisect_left(self.jobs, self._keys[job], key=self._keys.__getitem__)]
        del self._keys[job]


class BatchMachine:
    """Jobs `first` to `first + count - 1` of a workload on an empty machine.

    Args:
        jobs: Columns of the workload.
        processors: Size of the machine.
        rules: What a pass does.
        first: First job.
        count: Number of jobs.
        forecast: Says how long jobs will run; None plans with what was requested.
    """

    def __init__(
        self, jobs: Jobs, processors: int, rules: Rules, first: int, count: int, forecast: Forecast | None = None
    ) -> None:
        self.rules, self.processors, self.first, self.last = rules, processors, first, first + count
        self.forecast = forecast
        self.submit, self.run_time = self._column(jobs.submit_time), self._column(jobs.run_time)
        self.requested, self.size = self._column(jobs.requested_time), self._column(jobs.processors)
        self.planned: dict[int, float] = {}
        self.queue = Queue(self._urgency("submitted" if rules.order in CHANGING else rules.order))
        self.candidates = self.queue
        if rules.candidates != rules.order:
            self.candidates = Queue(self._urgency(rules.candidates))
        self.start_time: dict[int, float] = {}
        self.planned_end: dict[int, float] = {}
        self.real_end: dict[int, float] = {}
        self.running: list[int] = []
        self.ending: list[int] = []
        self.bound: float | None = None
        self.started: list[tuple[int, float]] = []
        self.free, self.arrived = processors, first
        self.committed = NO_JOB
        self.log = EventRecorder()
        self.clock = Clock(self.submit[first])
        self.open_pass: Generator[None, int, None] | None = None
        self._priorities = {name: EventPriority(place) for place, name in enumerate(_CLASSES[rules.pass_rule])}
        self._pass_is_due = False
        self.clock.at(self.submit[first], self._priorities["arrival"], lambda _: self._arrive(first))

    @property
    def waiting(self) -> list[int]:
        """The waiting jobs in the queue's order."""
        return self.queue.jobs

    def run_to_decision(self) -> bool:
        """Let time pass until a pass asks for a job; False when no event is left."""
        while self.open_pass is None:
            if not self.clock._queue:
                return False
            self.clock.step()
        return True

    def decide(self, job: int) -> None:
        """Answer the open pass with a waiting job; one that has waited too long takes its place."""
        assert self.open_pass is not None
        oldest = self.waiting[0]
        if self.clock.now - self.submit[oldest] > self.rules.patience:
            job = oldest
        self._continue(lambda pass_: pass_.send(job))

    def head(self) -> int:
        """The most urgent waiting job in the order of the rules."""
        if self.rules.order not in CHANGING:
            return self.waiting[0]
        order, now = ORDERS.index(self.rules.order), self.clock.now
        return min(self.waiting, key=lambda job: (self._priority(order, now, job), job))

    def available(self) -> int:
        """Processors that a job chosen now can take; expired plans included, but where a peer's rule holds them."""
        if self.rules.backfill == "rlscheduler":
            return self.free
        free, now = self.free, self.clock.now
        for job in self.running:
            if self.planned_end[job] > now:
                break
            free += self.size[job]
        return free

    def _urgency(self, order: str) -> Callable[[int], float]:
        """What an order that does not change while jobs wait gives for a job."""
        number = ORDERS.index(order)
        return lambda job: self._priority(number, self.submit[job], job)

    def _priority(self, order: int, now: float, job: int) -> float:
        return float(priority(order, now, self.submit[job], self.planned[job], self.size[job]))

    def _column(self, column: NDArray[Any]) -> dict[int, Any]:
        """A column by job, as Python's own numbers: reading an array one by one costs ten times as much."""
        return dict(zip(range(self.first, self.last), column[self.first : self.last].tolist(), strict=True))

    def _arrive(self, job: int) -> None:
        self.log.append(self.clock.now, EventKind.SUBMIT, job, self.size[job])
        self.planned[job] = self.requested[job] if self.forecast is None else self.forecast.predict(job, self.clock.now)
        self.queue.add(job)
        self.arrived = job + 1
        if self.candidates is not self.queue:
            self.candidates.add(job)
        if job + 1 < self.last:
            self.clock.at(self.submit[job + 1], self._priorities["arrival"], lambda _: self._arrive(job + 1))
        self._after_arrival(job)

    def _after_arrival(self, job: int) -> None:
        if self.rules.pass_when_full or self.size[job] <= self.available():
            self._make_pass()

    def _complete(self) -> None:
        job = self.ending.pop(0)
        self.log.append(self.clock.now, EventKind.FINISH, job, self.size[job])
        self.running.remove(job)
        self.free += self.size[job]
        if self.forecast is not None:
            self.forecast.learn(job, self.clock.now, self.run_time[job])
        self._after_completion(job)

    def _after_completion(self, job: int) -> None:
        self._make_pass()

    def _expire(self, job: int, corrections: int) -> None:
        """A job has outlived its prediction: correct it."""
        assert self.forecast is not None
        self.running.remove(job)
        self.planned[job] = self.forecast.correct(self.planned[job], self.requested[job], corrections)
        self.planned_end[job] = self.start_time[job] + self.planned[job]
        insort(self.running, job, key=self.planned_end.__getitem__)
        self._watch(job, corrections + 1)

    def _watch(self, job: int, corrections: int) -> None:
        """Note when a running job outlives its plan, if it does."""
        if self.planned_end[job] < self.real_end[job]:
            self.clock.at(self.planned_end[job], self._priorities["expiry"], lambda _: self._expire(job, corrections))

    def _make_pass(self) -> None:
        if self.rules.pass_rule == "per_event":
            self._begin_pass()
        elif not self._pass_is_due:
            self._pass_is_due = True
            self.clock.at(self.clock.now, self._priorities["pass"], lambda _: self._begin_pass())

    def _begin_pass(self) -> None:
        self._pass_is_due = False
        self.open_pass = self._pass()
        self._continue(next)

    def _continue(self, resume: Callable[[Generator[None, int, None]], None]) -> None:
        assert self.open_pass is not None
        try:
            resume(self.open_pass)
        except StopIteration:
            self.open_pass = None

    def _pass(self) -> Generator[None, int, None]:
        free = self.available()
        while self.waiting:
            if self.committed == NO_JOB:
                self.committed = yield
            if self.size[self.committed] > free or self._is_held():
                self._block(free)
                break
            free -= self.size[self.committed]
            self._start(self.committed)
            self.committed, self.bound = NO_JOB, None
        if not self.rules.commit:
            self.committed = NO_JOB

    def _is_held(self) -> bool:
        """Whether the committed job must not be tried yet."""
        return self.rules.backfill == "accasim" and self.bound is not None and self.clock.now < self.bound

    def _start(self, job: int) -> None:
        now = self.clock.now
        self.log.append(now, EventKind.START, job, self.size[job])
        self.queue.remove(job)
        if self.candidates is not self.queue:
            self.candidates.remove(job)
        self.start_time[job], self.planned_end[job] = now, now + self.planned[job]
        self.real_end[job] = now + self.run_time[job]
        self.started.append((job, now))
        insort(self.running, job, key=self.planned_end.__getitem__)
        insort(self.ending, job, key=self.real_end.__getitem__)
        self.free -= self.size[job]
        self.clock.at(self.real_end[job], self._priorities["completion"], lambda _: self._complete())
        self._watch(job, 0)
        if self.forecast is not None:
            self.forecast.start(job)

    def _block(self, free: int) -> None:
        """Let others start while the committed job can't; see `model` for what may."""
        rule = self.rules.backfill
        if rule == "none" or (rule == "easy" and free == 0):
            return
        if rule == "easy":
            shadow, extra = self._reservation(free)
            self._backfill(free, lambda end: end <= shadow, extra)
            return
        if self.bound is None:
            self.bound = bound = self._reservation(free)[0]
            if rule == "rlscheduler":
                self.ending.sort(key=self.planned_end.__getitem__)
                self.ending.sort(key=self.real_end.__getitem__)
            else:
                self.clock.at(bound, self._priorities["pass"], lambda _: self._wake(bound))
        bound = self.bound
        self._backfill(free, lambda end: end < bound or rule == "accasim", 0)

    def _wake(self, bound: float) -> None:
        """With no event left, AccaSim's clock jumps to the shadow of the job it holds back."""
        if self.bound == bound and not self.running and self.arrived == self.last:
            self._begin_pass()

    def _backfill(self, free: int, ends_in_time: Callable[[float], bool], extra: int) -> None:
        now = self.clock.now
        for job in self.candidates.jobs.copy():
            size = self.size[job]
            if size > free or job == self.committed:
                continue
            in_time = ends_in_time(now + self.planned[job])
            if in_time or size <= extra:
                self._start(job)
                free -= size
                if not in_time:
                    extra -= size

    def _reservation(self, free: int) -> tuple[float, int]:
        """When the committed job can start by the planned ends, and the processors left over then."""
        need, shadow, now = self.size[self.committed], math.inf, self.clock.now
        for job in self.running:
            end = self.planned_end[job]
            if end > shadow:
                break
            if end > now or self.rules.backfill == "rlscheduler":  # else it is among the free already
                free += self.size[job]
                if free >= need:
                    shadow = min(shadow, end)
        return shadow, free - need


class BatchSimulator(Simulator):
    """One episode of scheduling as decisions: a policy picks the next job among those it can see.

    Args:
        sequences: Which jobs an episode has.
        rules: What a pass does.
        encoding: What a policy sees.
        reward: What it earns.
        table: `encoding.table` of the workload, where several simulators share it.
    """

    def __init__(
        self,
        sequences: JobSequences,
        rules: Rules,
        encoding: QueueEncoding,
        reward: QueueReward,
        table: NDArray[Any] | None = None,
    ) -> None:
        self.sequences, self.rules, self.encoding, self.reward = sequences, rules, encoding, reward
        self.num_actions, self.observation_spec = encoding.window, encoding.spec
        self._table = encoding.table(sequences.workload) if table is None else table

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`; `options["start"]` names the first job."""
        first = self.sequences.start(seed, episode, options)
        jobs, processors = self.sequences.jobs, self.sequences.processors
        self.machine = BatchMachine(jobs, processors, self.rules, first, self.sequences.length)
        self.machine.run_to_decision()
        self._told = 0.0

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Choose the visible job that the action stands for, or the queue's head if it stands for none."""
        before, machine = self.state(), self.machine
        job = int(before.visible[action])
        if not (self.reward.final or self.reward.accrued):
            machine.started.clear()
        machine.decide(job if job != NO_JOB else int(before.waiting[0]))
        ended = not machine.run_to_decision()
        if self.reward.function is not None:
            return float(self.reward.function(before, action, self.state())), ended, False
        if self.reward.final and not ended:
            return 0.0, ended, False
        earned = self.reward.of_starts(machine.started, self.sequences.jobs)
        if self.reward.accrued:
            total = self.reward.of_waiting(machine.waiting, machine.clock.now, self.sequences.jobs, earned)
            earned, self._told = total - self._told, total
        return -earned / self.sequences.length, ended, False

    def observe(self, observation: Observation, action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        state = self.state()
        assert isinstance(observation, np.ndarray)
        self.encoding.encode(state, self._table, observation)
        write_mask(state.visible, action_mask)

    def state(self) -> QueueState:
        """The state as columns; see `QueueState`."""
        machine, jobs = self.machine, self.sequences.jobs
        waiting = np.array(machine.waiting, dtype=np.int64)
        start_time = np.full(self.sequences.length, np.nan)
        for job, time in machine.start_time.items():
            start_time[job - machine.first] = time
        running = np.array(machine.running, dtype=np.int64)
        visible = visible_jobs(waiting, jobs, self.encoding.window)
        now, free = float(machine.clock.now), machine.available()
        return QueueState(
            now,
            free,
            read_only(waiting),
            read_only(visible),
            read_only(running),
            machine.first,
            read_only(start_time),
            known_jobs(jobs, machine.arrived),
        )

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self.machine.log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return self.sequences.metrics(self.events(), self.machine.first)
