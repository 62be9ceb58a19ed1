"""A slow, literal replay of rigid jobs on one pool of processors: the judge of the project's fast replays.

It is written from the rules alone and shares no line with the package: plain lists, every minimum found by a scan,
every profile searched from the start. Jobs are numbered 0..n-1 in trace order, which must be the order of submission.
Times may be integers or floats; a policy plans with requested times, execution takes the real run times.

Pass rules. ``batch``: at each instant all completions, then all arrivals, then one scheduling pass. ``per_event``:
submissions of an instant before its completions, and a full pass after every single one of them.

Where the rules leave a choice, this file reads them as follows.

- Real run times are at least 1 and never above the requested ones (both cleaning rules see to that), so no job ever
  outlives its plan; anything else is refused.
- ``per_event``: a running job whose start + requested <= now is free for *every* purpose of a pass, hence also for
  starting a job, although its completion is still to come at this instant. Nothing else is ever over capacity.
- Completions at equal times are processed in the order in which the jobs started, also under ``batch`` (where the
  order makes no difference).
- SJF-commit: the choice is part of a pass; it is made as soon as no job is committed and the queue is not empty, by
  (requested, submit, job), also if the chosen job does not fit at all.
- Conservative, ``per_event``: starts due at one instant happen in the order in which their reservations were made; a
  compression that leaves a reservation where it was leaves that order alone. A job placed at the present instant is a
  due start like any other, so it starts after all submissions and completions of the instant, and it may be moved by
  no compression (its start is not later than now).
- Conservative: a compression follows every completion, also of a job that used all of its requested time, for an
  earlier single pass may have left a hole.
- The decision process: "event by event" under ``batch`` means instant by instant. A job chosen that does not fit is
  the head of an EASY pass at once, at the instant of the choice, and again at every later instant until it fits.
  Shadow and extra are computed anew in each of these passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

POLICIES = ("fcfs", "sjf", "sjf_commit", "wfp3", "unicep", "f1", "easy", "easy_sjbf", "conservative")
PASS_RULES = ("batch", "per_event")


@dataclass(frozen=True)
class Jobs:
    """The columns of a log as plain lists."""

    submit: list[Any]
    run: list[Any]
    requested: list[Any]
    processors: list[int]

    def __len__(self) -> int:
        return len(self.submit)

    def shortest_first(self, job: int) -> tuple[Any, Any, int]:
        """Order of SJF and SJBF."""
        return self.requested[job], self.submit[job], job


def make_jobs(
    submit: Sequence[Any], run: Sequence[Any], requested: Sequence[Any], processors: Sequence[int], machine: int
) -> Jobs:
    """Copy the columns into lists and check what the readings above rely on."""
    jobs = Jobs(list(submit), list(run), list(requested), list(processors))
    for job in range(len(jobs)):
        assert 1 <= jobs.run[job] <= jobs.requested[job]
        assert 1 <= jobs.processors[job] <= machine
        assert job == 0 or jobs.submit[job - 1] <= jobs.submit[job]
    return jobs


class Cluster:
    """Clock, queue and running jobs; ``advance`` moves to the next moment at which a pass takes place."""

    def __init__(self, jobs: Jobs, machine: int, pass_rule: str) -> None:
        assert pass_rule in PASS_RULES
        self.jobs, self.machine, self.pass_rule = jobs, machine, pass_rule
        self.now: Any = None
        self.arrived = 0
        self.queue: list[int] = []
        self.running: list[int] = []  # in the order of starting
        self.start: list[Any] = [None] * len(jobs)

    def advance(self) -> bool:
        """Process the next instant (batch) or the next single event (per event); False if nothing is left."""
        submissions = [self.jobs.submit[job] for job in range(self.arrived, len(self.jobs))]
        completions = [self.end(job) for job in self.running]
        if not submissions and not completions:
            return False
        self.now = min(submissions + completions)
        if self.pass_rule == "batch":
            self.running = [job for job in self.running if self.end(job) != self.now]
            while self.arrived < len(self.jobs) and self.jobs.submit[self.arrived] == self.now:
                self._arrive()
        elif submissions and submissions[0] == self.now:
            self._arrive()
        else:
            self.running.pop(completions.index(self.now))
        return True

    def end(self, job: int) -> Any:
        """Real end of a running job."""
        return self.start[job] + self.jobs.run[job]

    def planned_end(self, job: int) -> Any:
        """End of a running job as far as a policy knows."""
        return self.start[job] + self.jobs.requested[job]

    def free(self) -> int:
        """Processors that a pass may use now."""
        return self.free_at(self.now)

    def free_at(self, moment: Any) -> int:
        """Processors free at a present or future moment if every running job ends as planned."""
        return self.machine - sum(self.jobs.processors[job] for job in self.running if self.planned_end(job) > moment)

    def fits(self, job: int) -> bool:
        """Whether the job could start now."""
        return self.jobs.processors[job] <= self.free()

    def launch(self, job: int) -> None:
        """Start a queued job now."""
        assert self.fits(job)
        self.queue.remove(job)
        self.start[job] = self.now
        self.running.append(job)

    def backfill(self, head: int, candidates: Iterable[int]) -> None:
        """EASY behind a head that does not fit: one scan over the candidates."""
        shadow = min(
            self.planned_end(job)
            for job in self.running
            if self.free_at(self.planned_end(job)) >= self.jobs.processors[head]
        )
        extra = self.free_at(shadow) - self.jobs.processors[head]
        for job in candidates:
            if not self.fits(job):
                continue
            if self.now + self.jobs.requested[job] <= shadow:
                self.launch(job)
            elif self.jobs.processors[job] <= extra:
                extra -= self.jobs.processors[job]
                self.launch(job)

    def _arrive(self) -> None:
        self.queue.append(self.arrived)
        self.arrived += 1


def replay(
    submit: Sequence[Any],
    run: Sequence[Any],
    requested: Sequence[Any],
    processors: Sequence[int],
    machine: int,
    policy: str,
    pass_rule: str = "batch",
) -> list[Any]:
    """Start time of every job, in trace order.

    Args:
        submit: Submit times, not decreasing.
        run: Real run times, at least 1.
        requested: Requested times, at least the run times.
        processors: Processors per job.
        machine: Processors of the machine.
        policy: One of ``POLICIES``.
        pass_rule: "batch" or "per_event".
    """
    jobs = make_jobs(submit, run, requested, processors, machine)
    if policy == "conservative":
        return Conservative(jobs, machine, pass_rule).start_times()
    cluster = Cluster(jobs, machine, pass_rule)
    schedule = pass_of(policy, cluster)
    while cluster.advance():
        schedule()
    return cluster.start


def pass_of(policy: str, cluster: Cluster) -> Callable[[], None]:
    """The scheduling pass of a policy without reservations."""
    jobs = cluster.jobs
    committed: list[int] = []  # at most one

    def start_heads() -> None:
        while cluster.queue and cluster.fits(cluster.queue[0]):
            cluster.launch(cluster.queue[0])

    def fcfs() -> None:
        start_heads()

    def sjf() -> None:
        while cluster.queue:
            shortest = min(cluster.queue, key=jobs.shortest_first)
            if not cluster.fits(shortest):
                return
            cluster.launch(shortest)

    def sjf_commit() -> None:
        while cluster.queue:
            if not committed:
                committed.append(min(cluster.queue, key=jobs.shortest_first))
            if not cluster.fits(committed[0]):
                return
            cluster.launch(committed.pop())

    def easy() -> None:
        start_heads()
        if cluster.queue:
            cluster.backfill(cluster.queue[0], cluster.queue[1:])

    def easy_sjbf() -> None:
        start_heads()
        if cluster.queue:
            cluster.backfill(cluster.queue[0], sorted(cluster.queue[1:], key=jobs.shortest_first))

    def scored() -> None:
        while cluster.queue:
            head = min(cluster.queue, key=lambda job: (score_of(policy, jobs, job, cluster.now), job))
            if not cluster.fits(head):
                return
            cluster.launch(head)

    fixed = {"fcfs": fcfs, "sjf": sjf, "sjf_commit": sjf_commit, "easy": easy, "easy_sjbf": easy_sjbf}
    return fixed.get(policy, scored)


def score_of(policy: str, jobs: Jobs, job: int, now: Any) -> float:
    """Urgency of a waiting job, the smallest first: WFP3 and UNICEP by Tang et al. (2009), F1 by SC 2017."""
    wait, requested, processors = now - jobs.submit[job], jobs.requested[job], jobs.processors[job]
    if policy == "f1":
        return math.log10(requested) * processors + 870 * math.log10(max(1, jobs.submit[job]))
    if policy == "wfp3":
        ratio = wait / requested
        return -(ratio * ratio * ratio) * processors
    assert policy == "unicep"
    return -wait / ((math.log2(processors) + 1e-15) * requested)


class Conservative:
    """Conservative backfilling: every job holds an interval of the profile from the moment it is submitted.

    A job that has not started holds [reserved, reserved + requested), a running one [start, start + requested), a
    completed one nothing.
    """

    def __init__(self, jobs: Jobs, machine: int, pass_rule: str) -> None:
        assert pass_rule in PASS_RULES
        self.jobs, self.machine, self.pass_rule = jobs, machine, pass_rule
        self.arrived = 0
        self.reserved: dict[int, Any] = {}  # waiting job -> start of its reservation
        self.made: dict[int, int] = {}  # waiting job -> running number of that reservation
        self.count = 0
        self.running: list[int] = []
        self.start: list[Any] = [None] * len(jobs)

    def start_times(self) -> list[Any]:
        """Run to the end."""
        while self.arrived < len(self.jobs) or self.reserved or self.running:
            if self.pass_rule == "batch":
                self._next_instant()
            else:
                self._next_event()
        return self.start

    def _next_time(self) -> Any:
        submissions = self.jobs.submit[self.arrived : self.arrived + 1]
        return min([*submissions, *(self._end(job) for job in self.running), *self.reserved.values()])

    def _next_instant(self) -> None:
        now = self._next_time()
        completed = [job for job in self.running if self._end(job) == now]
        for job in completed:
            self.running.remove(job)
        if completed:
            self._compress(now)
        while self.arrived < len(self.jobs) and self.jobs.submit[self.arrived] == now:
            self._arrive(now)
        for job in [job for job in self.reserved if self.reserved[job] == now]:
            self._launch(job, now)

    def _next_event(self) -> None:
        now = self._next_time()
        if self.arrived < len(self.jobs) and self.jobs.submit[self.arrived] == now:
            self._arrive(now)
            return
        for job in self.running:  # in the order of starting
            if self._end(job) == now:
                self.running.remove(job)
                self._compress(now)
                return
        due = [job for job in self.reserved if self.reserved[job] == now]
        self._launch(min(due, key=lambda job: self.made[job]), now)

    def _end(self, job: int) -> Any:
        return self.start[job] + self.jobs.run[job]

    def _arrive(self, now: Any) -> None:
        self._reserve(self.arrived, self._earliest(self.arrived, now))
        self.arrived += 1

    def _reserve(self, job: int, begin: Any) -> None:
        self.reserved[job] = begin
        self.made[job] = self.count
        self.count += 1

    def _launch(self, job: int, now: Any) -> None:
        del self.reserved[job]
        self.start[job] = now
        self.running.append(job)
        used = sum(self.jobs.processors[other] for other in self.running if self._planned_end(other) > now)
        assert used <= self.machine

    def _planned_end(self, job: int) -> Any:
        return self.start[job] + self.jobs.requested[job]

    def _compress(self, now: Any) -> None:
        for job in sorted(self.reserved):  # trace order is (submit, job) order
            before = self.reserved[job]
            if before <= now:
                continue
            del self.reserved[job]
            begin = self._earliest(job, now)
            assert begin <= before
            if begin < before:
                self._reserve(job, begin)
            else:
                self.reserved[job] = before

    def _earliest(self, job: int, now: Any) -> Any:
        held = [(self.start[other], self._planned_end(other), self.jobs.processors[other]) for other in self.running]
        for other, begin in self.reserved.items():
            held.append((begin, begin + self.jobs.requested[other], self.jobs.processors[other]))
        for begin in sorted({now, *(end for _, end, _ in held if end > now)}):
            end = begin + self.jobs.requested[job]
            moments = [begin, *(other_begin for other_begin, _, _ in held if begin < other_begin < end)]
            if all(self._used(held, moment) + self.jobs.processors[job] <= self.machine for moment in moments):
                return begin
        raise AssertionError("after the last interval the machine is empty")

    @staticmethod
    def _used(held: list[tuple[Any, Any, int]], moment: Any) -> int:
        return sum(width for begin, end, width in held if begin <= moment < end)


class BatchDecisionOracle:
    """Batch scheduling as a decision process: which waiting job is next.

    A decision is asked whenever no job is committed and the queue is not empty. The chosen job starts at once if it
    fits; otherwise it is committed, and time runs until it fits. After a start time moves only if the queue is empty.

    Args:
        submit: Submit times, not decreasing.
        run: Real run times, at least 1.
        requested: Requested times, at least the run times.
        processors: Processors per job.
        machine: Processors of the machine.
        backfill: "none", or "easy": in every pass in which the committed job does not fit, the other queued jobs are
            scanned in order of submission by EASY's rule with the committed job as the head.
        pass_rule: "batch" or "per_event".
    """

    def __init__(
        self,
        submit: Sequence[Any],
        run: Sequence[Any],
        requested: Sequence[Any],
        processors: Sequence[int],
        machine: int,
        backfill: str = "none",
        pass_rule: str = "batch",
    ) -> None:
        assert backfill in {"none", "easy"}
        self.backfill = backfill
        self.cluster = Cluster(make_jobs(submit, run, requested, processors, machine), machine, pass_rule)
        self._run_until_somebody_waits()

    @property
    def now(self) -> Any:
        """The clock."""
        return self.cluster.now

    @property
    def done(self) -> bool:
        """Whether all jobs have started."""
        return None not in self.cluster.start

    def waiting(self) -> list[int]:
        """Jobs the policy may pick at this decision, in order of submission; empty when all have started."""
        return list(self.cluster.queue)

    def start_times(self) -> list[Any]:
        """Start time per job in trace order, None for those that have not started."""
        return list(self.cluster.start)

    def step(self, job: int) -> None:
        """Choose a waiting job and run to the next decision, or to the end."""
        cluster = self.cluster
        assert job in cluster.queue
        while not cluster.fits(job):
            if self.backfill == "easy":
                cluster.backfill(job, [other for other in cluster.queue if other != job])
            advanced = cluster.advance()
            assert advanced, "a job no larger than the machine fits at the latest when it is empty"
        cluster.launch(job)
        self._run_until_somebody_waits()

    def _run_until_somebody_waits(self) -> None:
        while not self.cluster.queue and not self.done:
            self.cluster.advance()
