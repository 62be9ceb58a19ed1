"""A whole log on a cluster of GPU nodes under one policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import ENGINES
from sysgym.core.errors import SettingError, require_bool, require_known, require_range
from sysgym.core.events import EventKind, EventLog
from sysgym.jobsched.gpu.fragmentation import TYPICAL_SHARE, typical_table
from sysgym.jobsched.gpu.instances import cluster_of, jobs_of, nodes_of, refuse_impossible, without_impossible
from sysgym.jobsched.gpu.kernel import run_compiled
from sysgym.jobsched.gpu.metrics import arrived_milli, first_times, gpu_summary
from sysgym.jobsched.gpu.model import Cluster, Jobs, Placements, Rules, Samples
from sysgym.jobsched.gpu.simulator import run_simulated
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.workload import Workload


@dataclass(frozen=True, eq=False)
class GpuSchedule:
    """What became of the jobs of a log on GPU nodes.

    Attributes:
        workload: The jobs that were played.
        nodes: The nodes.
        rules: Policy and queue.
        events: Every submission, place, start, stop, end and loss.
        placements: Which worker held which GPUs of which node from when to when.
        samples: The cluster after each pass.
        jobs: The jobs as they were played: gangs of equal workers.
        cluster: The nodes as they were played.
        start_time: float64, shape (n,): first start, seconds; NaN for what never started.
        finish_time: float64, shape (n,): end; NaN for what never ended.
    """

    workload: Workload
    nodes: NodeTable
    rules: Rules
    events: EventLog
    placements: Placements
    samples: Samples
    jobs: Jobs
    cluster: Cluster
    start_time: NDArray[np.float64]
    finish_time: NDArray[np.float64]

    def summary(self) -> dict[str, float]:
        """The scores; see `metrics.gpu_summary`."""
        return gpu_summary(self.cluster, self.jobs, self.events, self.placements, self.samples)

    def arrived_milli(self) -> NDArray[np.int64]:
        """Thousandths of GPUs that had been asked for by each of the samples."""
        return arrived_milli(self.events, self.samples)


def replay_gpu(
    workload: Workload,
    nodes: NodeTable | str | Path | None = None,
    policy: str = "fgd",
    *,
    queue: str = "greedy",
    scores: str = "rounded",
    ties: str = "first",
    restart_seconds: float = 60.0,
    checkpoint_seconds: float = 0.0,
    levels: tuple[float, ...] = (3600.0, 36000.0),
    gpus_per_worker: int | None = None,
    typical_share: float = TYPICAL_SHARE,
    drop_impossible: bool = False,
    seed: int = 0,
    engine: str = "auto",
) -> GpuSchedule:
    """Play a log on GPU nodes; see `model` for what each setting means.

    Args:
        workload: The log, in a format that tells of GPUs.
        nodes: The nodes: a table, the path of a list, "64x8" for 64 nodes of 8 GPUs, or None for those that the log was
            read with.
        policy: One of `POLICIES`: who chooses the node of a worker.
        queue: One of `QUEUES`: which job comes first, and whether running ones are stopped for it.
        scores: "rounded" to percent, as published, or "exact".
        ties: "first" or "random": which of equally good nodes.
        restart_seconds: What a stopped job spends when it starts again.
        checkpoint_seconds: Between checkpoints; 0 loses nothing, infinity everything.
        levels: GPU-seconds at which "las" demotes.
        gpus_per_worker: Most GPUs of a worker of a gang; None: as many as a node has that will do.
        typical_share: Share of the tasks that count as typical for fragmentation, in (0, 1].
        drop_impossible: Whether jobs that can't start even on the empty cluster are left out and counted, or refused.
        seed: Of random choices.
        engine: "auto" and "compiled" use the kernel, "simpy" the simulator; the schedules are equal.

    Returns:
        The schedule, once the last job has ended that does.

    Raises:
        WorkloadError: Log and nodes don't belong together, or a job can't be played; names the job and the remedy.
        UnknownNameError: No such policy, queue, kind of scores, rule for ties or engine.
        SettingError: A number out of its range.
        InputFileError: The file is no list of nodes.
    """
    require_known("engine", engine, ENGINES)
    if not isinstance(workload, Workload):
        raise SettingError(f"workload is {workload!r}; read the log first: replay_gpu(read_trace(path), nodes)")
    if not isinstance(levels, Sequence):
        raise SettingError(f"levels is {levels!r}; give rising GPU-seconds")
    require_bool("drop_impossible", drop_impossible)
    require_range("typical_share", typical_share, 0, 1, open_low=True)
    rules = Rules(policy, queue, scores, ties, restart_seconds, checkpoint_seconds, tuple(levels), seed)
    table = nodes_of(workload, nodes)
    cluster = cluster_of(table)
    jobs = jobs_of(workload, table, cluster, gpus_per_worker)
    if drop_impossible:
        kept = without_impossible(workload, cluster, jobs)
        if kept is not workload:
            workload, jobs = kept, jobs_of(kept, table, cluster, gpus_per_worker)
    refuse_impossible(workload, table, cluster, jobs)
    run = run_simulated if engine == "simpy" else run_compiled
    events, placements, samples = run(cluster, jobs, typical_table(cluster, jobs, typical_share), rules)
    times = [first_times(events, kind, len(workload)) for kind in (EventKind.START, EventKind.FINISH)]
    return GpuSchedule(workload, table, rules, events, placements, samples, jobs, cluster, *times)
