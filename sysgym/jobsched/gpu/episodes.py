"""The state of the compiled cluster as flat arrays, and the rules as numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.events import EventLog
from sysgym.jobsched.gpu.fragmentation import Memo, Typical, memo_of, total_fragmentation
from sysgym.jobsched.gpu.model import QUEUES, Cluster, Jobs, Placements, Rules, Samples
from sysgym.jobsched.gpu.placement import Nodes, Records, empty_nodes, records
from sysgym.jobsched.gpu.policies import Choice, choice_of

FIFO, GREEDY, SHORTEST, SRTF, LAS, LOSS = range(len(QUEUES))
LARGEST_MEMO = 1 << 24
"""Cells of the largest memory that fgd is given: 400 MB."""


class Flags(NamedTuple):
    """`Rules` as numbers, for compiled code."""

    choice: Choice
    queue: int
    restart: float
    checkpoint: float
    levels: NDArray[np.float64]


class Run(NamedTuple):
    """One replay of j jobs; the named ones are records, `counts` holds the scalars that change.

    Attributes:
        time: float64, shape (1,): now.
        counts: int64, shape (11,): what the constants below name.
        waiting: int64, shape (j,): rows of jobs by (key, row).
        running: int64, shape (j,): in any order.
        victims: int64, shape (j,): room for those that may be stopped.
        failed: int64, shape (forms,): the epoch in which a job of the form last found no room.
        gangs: What is known of each job; see `GANG`.
        heap: What is to come: completions and demotions.
        events: The event log.
        rows: The table of placements.
        samples: The cluster after each pass.
    """

    time: NDArray[np.float64]
    counts: NDArray[np.int64]
    waiting: NDArray[np.int64]
    running: NDArray[np.int64]
    victims: NDArray[np.int64]
    failed: NDArray[np.int64]
    gangs: Records
    heap: Records
    events: Records
    rows: Records
    samples: Records


(ARRIVED, WAITING, RUNNING, EPOCH, SEQUENCE, ALLOCATED, FRAGMENTED, HEAP, EVENTS, ROWS, SAMPLES) = range(11)
"""Places in `counts`."""

GANG = "key:f8 done:f8 began:f8 served:f8 level:i8 attempts:i8 choices:i8 first_row:i8 seat:i8"
"""A job's key in the queue; seconds of progress, start and GPU-seconds of service when it last started; its level under
"las"; starts; nodes chosen for it; where its rows in the table of placements begin; its place in `running`, or -1."""

_GROWING = {
    "heap": (HEAP, "time:f8 order:i8 job:i8 attempt:i8"),
    "events": (EVENTS, "time:f8 kind:i8 subject:i8 amount:f8"),
    "rows": (ROWS, "job:i8 node:i8 gpus:i8 start:f8 end:f8"),
    "samples": (SAMPLES, "time:f8 allocated:i8 fragmented:i8"),
}
"""What grows: where its length is counted, and its fields."""


def _records(count: int, fields: str) -> Records:
    return np.zeros(count, dtype=[tuple(field.split(":")) for field in fields.split()]).view(np.recarray)


class Machine(NamedTuple):
    """All that a move needs."""

    nodes: Nodes
    jobs: Records
    typical: Typical
    memo: Memo
    flags: Flags
    run: Run


def machine_of(cluster: Cluster, jobs: Jobs, typical: Typical, rules: Rules) -> Machine:
    """An empty cluster before the first arrival."""
    nodes, count = empty_nodes(cluster), len(jobs.submit)
    shapes = int(jobs.worker_form.max()) + 1 if rules.policy == "fgd" else 0
    memo = memo_of(shapes if shapes * len(cluster.cpu) <= LARGEST_MEMO else 0, len(cluster.cpu))
    flags = Flags(
        choice_of(rules),
        QUEUES.index(rules.queue),
        float(rules.restart_seconds),
        float(rules.checkpoint_seconds),
        np.array(rules.levels, dtype=np.float64),
    )
    need = need_of(jobs)
    grows = {name: _records(2 * getattr(need, name), fields) for name, (_, fields) in _GROWING.items()}
    grows["samples"] = _records(2 * count + 1, _GROWING["samples"][1])
    counts, waiting, running, victims, failed = (
        np.zeros(size, dtype=np.int64) for size in (11, count, count, count, int(jobs.form.max()) + 1)
    )
    run = Run(np.zeros(1), counts, waiting, running, victims, failed, _records(count, GANG), **grows)
    run.gangs["seat"] = -1
    run.counts[EPOCH] = 1
    run.counts[FRAGMENTED] = total_fragmentation(nodes, typical)
    return Machine(nodes, records(jobs._asdict()), typical, memo, flags, run)


class Need(NamedTuple):
    """Most entries that the events of one instant and the pass behind them add to what grows."""

    heap: int
    events: int
    rows: int
    samples: int


def need_of(jobs: Jobs) -> Need:
    """What jobs can need; each starts, is stopped and ends at most once an instant."""
    count, workers = len(jobs.submit), int(jobs.workers.sum())
    return Need(2 * count + 1, 4 * count + workers, workers, 1)


def grown(machine: Machine, need: Need) -> Machine:
    """The same machine with twice the room for what is nearly full."""
    larger = {}
    for name, (count, fields) in _GROWING.items():
        full = getattr(machine.run, name)
        if machine.run.counts[count] + getattr(need, name) > len(full):
            larger[name] = _records(2 * len(full), fields)
            larger[name][: len(full)] = full
    return machine._replace(run=machine.run._replace(**larger))


def log_of(run: Run) -> EventLog:
    """The event log so far."""
    rows = run.events[: run.counts[EVENTS]]
    return EventLog(rows["time"].copy(), rows["kind"].astype(np.int8), rows["subject"].copy(), rows["amount"].copy())


def placements_of(run: Run) -> Placements:
    """The table of placements so far."""
    return Placements(*(run.rows[: run.counts[ROWS]][name].copy() for name in Placements._fields))


def samples_of(run: Run, typical: Typical) -> Samples:
    """The cluster after each pass so far."""
    rows = run.samples[: run.counts[SAMPLES]]
    return Samples(rows["time"].copy(), rows["allocated"].copy(), rows["fragmented"] / typical.total[0])
