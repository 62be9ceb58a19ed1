"""The readable truth: a cluster of GPU nodes on SimPy.

Arrivals, completions, demotions and passes are SimPy events whose class fixes what comes first at an instant (see
`model`). Which node a worker gets is the policy's, which simulator and kernel share, as they share what is free on the
nodes; who waits, starts, is stopped and ends is written twice. The kernel must equal this file event by event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from simpy.events import EventPriority
from sortedcontainers import SortedKeyList

from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.jobsched.clock import Clock
from sysgym.jobsched.gpu.fragmentation import Typical, memo_of, total_fragmentation
from sysgym.jobsched.gpu.model import WHOLE, Cluster, Jobs, Placements, Rules, Samples, progress_kept
from sysgym.jobsched.gpu.placement import change, empty_nodes, records, room
from sysgym.jobsched.gpu.policies import NO_NODE, choice_of, choose

COMPLETION, DEMOTION, ARRIVAL, PASS = (EventPriority(place) for place in range(4))


@dataclass
class Worker:
    """What a worker holds: a row of the table of placements."""

    job: int
    node: int
    gpus: int
    start: float
    end: float = np.inf


@dataclass
class Gang:
    """What is known of a job while it waits and runs.

    Attributes:
        done: Seconds of progress when it last started.
        served: GPU-seconds it had been given by then.
        began: When that was.
        level: See "las".
        attempts: How often it has started.
        choices: How many nodes were chosen for it.
        workers: What it holds; nothing while it waits.
    """

    done: float = 0.0
    served: float = 0.0
    began: float = 0.0
    level: int = 0
    attempts: int = 0
    choices: int = 0
    workers: list[Worker] = field(default_factory=list)


class GpuCluster:
    """A cluster on which all jobs of a log are played.

    Args:
        cluster: The nodes.
        jobs: The jobs.
        typical: The typical tasks, for fragmentation.
        rules: Queue and policy.
    """

    def __init__(self, cluster: Cluster, jobs: Jobs, typical: Typical, rules: Rules) -> None:
        self.cluster, self.jobs, self.typical, self.rules = cluster, jobs, typical, rules
        self.asked = records(jobs._asdict())
        self.nodes, self.choice, self.memo = empty_nodes(cluster), choice_of(rules), memo_of(0, len(cluster.cpu))
        self.gangs = [Gang() for _ in jobs.submit]
        self.waiting = SortedKeyList(key=lambda job: (self.urgency(job), job))
        self.running: list[int] = []
        self.log, self.table = EventRecorder(), list[Worker]()
        self.samples: list[tuple[float, int, int]] = []
        self.pass_is_due = False
        self.clock = Clock(float(jobs.submit[0]))
        for job, time in enumerate(jobs.submit.tolist()):
            self.clock.at(time, ARRIVAL, partial(self.arrive, job))

    def run(self) -> None:
        """Let time pass until nothing is left to happen."""
        while self.clock._queue:
            self.clock.step()

    def arrive(self, job: int, _: object = None) -> None:
        """A job is submitted."""
        self.log.append(self.clock.now, EventKind.SUBMIT, job, self.milli(job))
        self.waiting.add(job)
        self.ask_for_a_pass()

    def complete(self, job: int, attempt: int) -> None:
        """A job has ended, if it wasn't stopped meanwhile."""
        if self.is_running(job, attempt):
            self.give_back(job)
            self.leave_nodes(job)
            self.log.append(self.clock.now, EventKind.FINISH, job, self.milli(job))
            self.ask_for_a_pass()

    def demote(self, job: int, attempt: int) -> None:
        """A job has been given as much service as its level allows, if it wasn't stopped meanwhile."""
        if self.is_running(job, attempt):
            self.gangs[job].level += 1
            self.watch(job)
            self.ask_for_a_pass()

    def ask_for_a_pass(self) -> None:
        """Have one pass behind all other events of this instant."""
        if not self.pass_is_due:
            self.pass_is_due = True
            self.clock.at(self.clock.now, PASS, lambda _: self.make_pass())

    def make_pass(self) -> None:
        """Start what finds room, in the order of the queue."""
        self.pass_is_due = False
        place = 0
        while place < len(self.waiting):
            job = self.waiting[place]
            workers = self.place(job)
            if not workers and self.rules.preempts and self.make_room(job):
                workers = self.place(job)
            if workers:
                self.waiting.remove(job)
                self.begin(job, workers)
            elif self.rules.queue == "loss":
                self.waiting.remove(job)
                self.log.append(self.clock.now, EventKind.DROP, job, self.milli(job))
            elif self.rules.queue == "fifo":
                break
            else:
                place += 1
        allocated = sum(self.milli(job) for job in self.running)
        self.samples.append((self.clock.now, allocated, total_fragmentation(self.nodes, self.typical)))

    def place(self, job: int) -> list[Worker]:
        """Give all workers of a job nodes, or none."""
        gang, wanted = self.gangs[job], int(self.jobs.workers[job])
        if self.places_for(job) < wanted:
            return []
        workers = []
        for _ in range(wanted):
            node, gpus = choose(self.nodes, self.asked, self.typical, self.memo, self.choice, job, gang.choices)
            assert node != NO_NODE, "room was counted before"
            gang.choices += 1
            workers.append(Worker(job, int(node), int(gpus), self.clock.now))
            change(self.nodes, self.asked, job, node, gpus, 1)
        return workers

    def places_for(self, job: int) -> int:
        """How many workers of a job find room now, counted up to its own number on each node."""
        wanted = self.jobs.workers[job]
        return sum(room(self.nodes, self.asked, job, node, wanted) for node in range(len(self.cluster.gpus)))

    def begin(self, job: int, workers: list[Worker]) -> None:
        """Let a job run that has been placed."""
        gang, now = self.gangs[job], self.clock.now
        gang.workers = workers
        for worker in gang.workers:
            self.log.append(now, EventKind.PLACE, job, worker.node)
        self.log.append(now, EventKind.START, job, self.milli(job))
        self.table += gang.workers
        gang.attempts += 1
        gang.began = now
        self.running.append(job)
        attempt = gang.attempts
        end = now + self.restart(job) + (float(self.jobs.run[job]) - gang.done)
        if end < np.inf:
            self.clock.at(end, COMPLETION, lambda _: self.complete(job, attempt))
        self.watch(job)

    def watch(self, job: int) -> None:
        """Note when a running job is demoted."""
        gang, levels, milli = self.gangs[job], self.rules.levels, self.milli(job)
        if self.rules.queue == "las" and milli > 0 and gang.level < len(levels):
            attempt, left = gang.attempts, levels[gang.level] - gang.served
            time = max(self.clock.now, gang.began + left * WHOLE / milli)
            self.clock.at(time, DEMOTION, lambda _: self.demote(job, attempt))

    def make_room(self, job: int) -> bool:
        """Stop running jobs until a waiting one finds room: most urgent last, and none that needn't be."""
        wanted, own = int(self.jobs.workers[job]), self.urgency(job)
        candidates = sorted((self.urgency(other), other) for other in self.running if self.urgency(other) > own)
        released: list[int] = []
        while candidates and self.places_for(job) < wanted:
            released.append(candidates.pop()[1])
            self.give_back(released[-1])
        enough = self.places_for(job) >= wanted
        stopped = set(released)
        for other in reversed(released):
            self.take_again(other)
            if enough and self.places_for(job) < wanted:
                self.give_back(other)
            else:
                stopped.remove(other)
        for other in released:
            if other in stopped:
                self.stop(other)
        return enough

    def stop(self, job: int) -> None:
        """Let a running job wait again that holds nothing any more."""
        gang = self.gangs[job]
        progress = self.progress(job)
        kept = progress_kept(progress, self.rules.checkpoint_seconds)
        self.log.append(self.clock.now, EventKind.PREEMPT, job, progress - kept)
        gang.done = kept
        gang.served += (self.clock.now - gang.began) * (self.milli(job) / WHOLE)
        self.leave_nodes(job)
        self.waiting.add(job)

    def give_back(self, job: int) -> None:
        """Free what a job's workers hold."""
        for worker in self.gangs[job].workers:
            change(self.nodes, self.asked, job, worker.node, worker.gpus, -1)

    def take_again(self, job: int) -> None:
        """Undo `give_back`."""
        for worker in self.gangs[job].workers:
            change(self.nodes, self.asked, job, worker.node, worker.gpus, 1)

    def leave_nodes(self, job: int) -> None:
        """Close a job's rows of the table; it runs no more."""
        for worker in self.gangs[job].workers:
            worker.end = self.clock.now
        self.gangs[job].workers = []
        self.running.remove(job)

    def urgency(self, job: int) -> float:
        """A job's key in the queue: the smaller, the sooner it goes."""
        if self.rules.queue == "shortest":
            return float(self.jobs.planned[job])
        if self.rules.queue == "srtf":
            return max(0.0, float(self.jobs.planned[job]) - self.progress(job))
        return float(self.gangs[job].level) if self.rules.queue == "las" else 0.0

    def progress(self, job: int) -> float:
        """Seconds of its run time that a job has behind it."""
        gang = self.gangs[job]
        if not gang.workers:
            return gang.done
        restart = self.rules.restart_seconds if gang.attempts > 1 else 0.0
        return gang.done + max(0.0, self.clock.now - gang.began - restart)

    def restart(self, job: int) -> float:
        """Seconds that a job spends before it goes on."""
        return self.rules.restart_seconds if self.gangs[job].attempts > 1 else 0.0

    def is_running(self, job: int, attempt: int) -> bool:
        """Whether a job still runs that has started so many times."""
        return bool(self.gangs[job].workers) and self.gangs[job].attempts == attempt

    def milli(self, job: int) -> int:
        """Thousandths of GPUs of a whole gang."""
        return int(self.jobs.workers[job] * self.jobs.gpus[job] * self.jobs.share[job])


def run_simulated(cluster: Cluster, jobs: Jobs, typical: Typical, rules: Rules) -> tuple[EventLog, Placements, Samples]:
    """Play all jobs to the end of the last that ends.

    Returns:
        What happened, who held what, and the cluster after each pass.
    """
    machine = GpuCluster(cluster, jobs, typical, rules)
    machine.run()
    table = machine.table
    placements = Placements(
        np.array([worker.job for worker in table], dtype=np.int64),
        np.array([worker.node for worker in table], dtype=np.int64),
        np.array([worker.gpus for worker in table], dtype=np.int64),
        np.array([worker.start for worker in table]),
        np.array([worker.end for worker in table]),
    )
    time, allocated, fragmented = (np.array(column) for column in zip(*machine.samples, strict=True))
    return machine.log.log(), placements, Samples(time, allocated, fragmented / typical.total[0])
