"""Nodes, jobs and rules of a cluster of heterogeneous GPU nodes.

A *node* has thousandths of processors, MiB of memory, and GPUs of one model (its kind), of which each counts 1000
thousandths. A *job* is a gang of equal workers. A worker runs on one node and takes processors and memory of it, and
either a share of one GPU, or whole GPUs, which nobody else may use. It may name the kinds that will do. The workers of
a gang start together or not at all, on any nodes, and end together.

At each instant all completions are handled, then all demotions (see below), then all arrivals, then one pass. A pass
goes through the waiting jobs in the order of the queue, and starts those whose workers all find room; for each worker
in turn a *policy* chooses a node and GPUs of it. What the pass does with a job that finds no room is the queue's:

- "fifo": order of submission; the first that finds no room blocks all others.
- "greedy": order of submission; others may pass it, as in Kubernetes.
- "shortest": as greedy, shortest planned time first.
- "srtf": shortest remaining planned time first, with preemption: where the job finds no room, running jobs that have
  strictly more left are stopped, most first, until it does; then those that needn't have been are put back.
- "las": least attained service, with preemption. A job's service is its GPUs times the seconds it held them. It begins
  on level 0 and is demoted by one when its service reaches the next of `levels`; jobs of a lower level go first, in
  order of submission within a level (Tiresias, Gu et al., NSDI 2019, discretized). Demotion is an event of its own.
- "loss": a job that finds no room at its arrival is lost.

A stopped job falls back to its last checkpoint: it keeps its progress rounded down to whole `checkpoint_seconds` (0
keeps all, infinity none). When it starts again it spends `restart_seconds` before it goes on. A job of unknown run time
never ends.

Sharing of GPUs and the policies follow Weng et al., "Beware of fragmentation: scheduling GPU-sharing workloads with
fragmentation gradient descent", USENIX ATC 2023, and its repository; gangs are those of the Philly log (Jeon et al.,
USENIX ATC 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_known, require_range

WHOLE = 1000
"""Thousandths of a GPU."""

MOST_GPUS = 62
"""Most GPUs of a node, and most kinds: both are sets of bits in an int64."""

POLICIES = ("first_fit", "best_fit", "dot_product", "packing", "clustering", "fgd", "random")
"""Who chooses the nodes; see `policies`."""
QUEUES = ("fifo", "greedy", "shortest", "srtf", "las", "loss")
SCORES = ("rounded", "exact")
TIES = ("first", "random")


class Cluster(NamedTuple):
    """The nodes, as columns.

    Attributes:
        cpu: int64: thousandths of processors.
        memory: int64: MiB.
        gpus: int64: GPUs, at most `MOST_GPUS`.
        kind: int64: number of the GPU model, from 0; -1 where there is none.
    """

    cpu: NDArray[np.int64]
    memory: NDArray[np.int64]
    gpus: NDArray[np.int64]
    kind: NDArray[np.int64]


class Jobs(NamedTuple):
    """The jobs, as columns in order of submission; what is asked for is asked for each worker.

    Attributes:
        submit: float64: seconds.
        run: float64: seconds; infinite where it is unknown.
        planned: float64: seconds that a queue plans with.
        workers: int64: size of the gang, at least 1.
        cpu: int64: thousandths of processors.
        memory: int64: MiB.
        gpus: int64: GPUs.
        share: int64: thousandths of each GPU; below 1000 only where `gpus` is 1, 0 only where `gpus` is 0.
        kinds: int64: bit k is set where a GPU of kind k will do.
        form: int64: jobs that ask for the same, gang and worker, have the same number.
        worker_form: int64: jobs whose workers look the same to a policy (all but memory) have the same number.
    """

    submit: NDArray[np.float64]
    run: NDArray[np.float64]
    planned: NDArray[np.float64]
    workers: NDArray[np.int64]
    cpu: NDArray[np.int64]
    memory: NDArray[np.int64]
    gpus: NDArray[np.int64]
    share: NDArray[np.int64]
    kinds: NDArray[np.int64]
    form: NDArray[np.int64]
    worker_form: NDArray[np.int64]

    @property
    def milli(self) -> NDArray[np.int64]:
        """Thousandths of GPUs of the whole gang."""
        return self.workers * self.gpus * self.share


class Placements(NamedTuple):
    """Who held what from when to when: a row a worker and start, in order of the starts.

    Attributes:
        job: int64: row of the job.
        node: int64: row of the node.
        gpus: int64: bit g is set where the worker held GPU g.
        start: float64: seconds.
        end: float64: seconds; infinite for what never ended.
    """

    job: NDArray[np.int64]
    node: NDArray[np.int64]
    gpus: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]


class Samples(NamedTuple):
    """The cluster after each pass.

    Attributes:
        time: float64: seconds.
        allocated: int64: thousandths of GPUs in use.
        fragmented: float64: thousandths that a typical task could not use, in the mean; see `fragmentation`.
    """

    time: NDArray[np.float64]
    allocated: NDArray[np.int64]
    fragmented: NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """How jobs wait and where they go; see the module.

    Attributes:
        policy: One of `POLICIES`.
        queue: One of `QUEUES`.
        scores: Whether a policy's scores are "rounded" to whole numbers from 0 to 100, as in the authors' program, or
            "exact".
        ties: Which of several equally good nodes is taken: the "first" of the list, or a "random" one.
        restart_seconds: What a stopped job spends when it starts again.
        checkpoint_seconds: Between a job's checkpoints; 0 loses nothing, infinity everything.
        levels: Where "las" demotes: rising GPU-seconds.
        seed: Of the random choices, an integer >= 0.

    Raises:
        UnknownNameError: No such policy, queue, kind of scores or rule for ties.
        SettingError: A number out of its range.
    """

    policy: str = "fgd"
    queue: str = "greedy"
    scores: str = "rounded"
    ties: str = "first"
    restart_seconds: float = 60.0
    checkpoint_seconds: float = 0.0
    levels: tuple[float, ...] = (3600.0, 36000.0)
    seed: int = 0

    def __post_init__(self) -> None:
        require_known("policy", self.policy, POLICIES)
        require_known("queue", self.queue, QUEUES)
        require_known("kind of scores", self.scores, SCORES)
        require_known("rule for ties", self.ties, TIES)
        require_range("restart_seconds", self.restart_seconds, 0, 1e12)
        require_range("checkpoint_seconds", self.checkpoint_seconds, 0)
        require_range("seed", self.seed, 0, whole=True)
        for level in self.levels:
            require_range("levels", level, 0, 1e15, open_low=True)
        if list(self.levels) != sorted(set(self.levels)):
            raise SettingError(f"levels is {self.levels}; give rising GPU-seconds")

    @property
    def preempts(self) -> bool:
        """Whether running jobs are stopped for others."""
        return self.queue in {"srtf", "las"}


def progress_kept(progress: float, checkpoint_seconds: float) -> float:
    """What a stopped job keeps of its progress, both in seconds.

    >>> progress_kept(250.0, 100.0), progress_kept(250.0, 0.0), progress_kept(250.0, np.inf)
    (200.0, 250.0, 0.0)
    """
    if checkpoint_seconds == 0.0:
        return progress
    if checkpoint_seconds == np.inf:
        return 0.0
    return float(np.floor(progress / checkpoint_seconds) * checkpoint_seconds)
