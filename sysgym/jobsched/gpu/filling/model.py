"""The process: one task after another asks for a node of a cluster that starts empty, and none ever ends.

At each step a task is drawn with replacement from a log. If no node has room it is lost, and the next one is drawn;
else a policy names a node, and the task takes the GPUs of that node which increase fragmentation least (see
`fragmentation`). An episode has as many tasks as ask, in the mean, for `ratio` times all GPUs. It is the experiment of
Weng et al. (USENIX ATC 2023, section 6) as a decision process; of a gang one worker comes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.instances import Instance
from sysgym.core.seeding import stream_key
from sysgym.jobsched.gpu.fragmentation import Typical, least_fragmenting, typical_table
from sysgym.jobsched.gpu.instances import cluster_of, jobs_of, nodes_of, refuse_impossible
from sysgym.jobsched.gpu.metrics import capacity_milli
from sysgym.jobsched.gpu.model import Jobs
from sysgym.jobsched.gpu.placement import Nodes, Records, empty_nodes, records, room
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.draws import integer
from sysgym.workloads.gpu_pods import gpu_cluster
from sysgym.workloads.workload import SPLITS, Workload

NODES = 24
"""Nodes that are generated unless a number is given."""
MOST_TASKS = 1_000_000
"""Most tasks of an episode."""


@dataclass(frozen=True, eq=False)
class Filling:
    """What episodes are played on.

    Attributes:
        workload: The log, all of it.
        table: Its nodes.
        nodes: The same, empty.
        jobs: The jobs of the log as records.
        typical: The typical tasks of the whole log.
        capacity: Thousandths of all GPUs.
        tasks: Tasks of an episode.
        split: Which part of the log tasks come from.
    """

    workload: Workload
    table: NodeTable
    nodes: Nodes
    jobs: Records
    typical: Typical
    capacity: int
    tasks: int
    split: str

    def instance(self) -> Instance:
        """What a record says of it."""
        whole = self.workload.instance()
        digest = hashlib.sha256(self.jobs.tobytes() + self.nodes.table.tobytes() + str(self.tasks).encode())
        facts = {"nodes": len(self.nodes.table), "gpus": self.capacity // 1000, "tasks": self.tasks}
        return Instance(
            "gpu cluster", whole.name, len(self.workload), "jobs", digest.hexdigest(), whole.file_sha256, facts
        )


def filling_of(
    workload: Workload | Filling | None = None,
    nodes: NodeTable | str | int | None = None,
    ratio: float = 1.2,
    split: str = "train",
    cluster_seed: int = 0,
) -> Filling:
    """Log and cluster of the episodes.

    Args:
        workload: A log that tells of GPUs; None generates 2,000 pods. Of another `Filling` the log is taken, and the
            nodes where none are given.
        nodes: A list of nodes or "64x8", or how many are generated; None: 24.
        ratio: GPUs that an episode's tasks ask for in the mean, as a multiple of all.
        split: "train", "valid", "test" or "all" of the log's jobs.
        cluster_seed: Of what is generated.

    Raises:
        SettingError: A number out of its range, or a log of which no job asks for a GPU.
        UnknownNameError: No such split.
        WorkloadError: Log and nodes don't belong together.
    """
    require_range("ratio", ratio, 0, 100, open_low=True)
    require_known("split", split, SPLITS)
    require_range("cluster_seed", cluster_seed, 0, whole=True)
    if isinstance(nodes, bool):
        raise SettingError(f"nodes is {nodes!r}; give a number, a NodeTable, or a text such as '64x8'")
    if isinstance(workload, Filling):
        nodes = workload.table if nodes is None else nodes
        workload = workload.workload
    generated = gpu_cluster(2_000, nodes if isinstance(nodes, int) else NODES, cluster_seed)
    whole = workload if workload is not None else generated[0]
    if not isinstance(whole, Workload):
        raise SettingError(f"workload is {workload!r}; read the log first, with sysgym.workloads.read_trace")
    table = generated[1] if nodes is None or isinstance(nodes, int) else nodes_of(whole, nodes)
    cluster = cluster_of(table)
    jobs = jobs_of(whole, table, cluster)
    refuse_impossible(whole, table, cluster, jobs)
    begin, end = (round(share * len(whole)) for share in SPLITS[split])
    part = Jobs._make(column[begin:end] for column in jobs)
    mean, capacity = float((part.gpus * part.share).mean()) if begin < end else 0.0, capacity_milli(cluster)
    if mean == 0.0:
        raise SettingError(f"{whole.provenance.source}: no job of the split {split!r} asks for a GPU; give another log")
    tasks = min(MOST_TASKS, max(1, int(np.ceil(ratio * capacity / mean))))
    typical = typical_table(cluster, jobs)
    return Filling(whole, table, empty_nodes(cluster), records(part._asdict()), typical, capacity, tasks, split)


class Seen(NamedTuple):
    """What the task at the head means to each of n nodes.

    Attributes:
        fits: int8, shape (n,): 1 where it finds room.
        increase: float64, shape (n,): by how many thousandths of GPUs it would increase the node's fragmentation, on
            the best GPUs; 0 where it finds no room.
        bits: int64, shape (n,): those GPUs, as bits.
    """

    fits: NDArray[np.int8]
    increase: NDArray[np.float64]
    bits: NDArray[np.int64]


class FillState(NamedTuple):
    """What is known now; the arrays are read-only.

    Attributes:
        step: Tasks that came before this one.
        tasks: Tasks of the episode.
        cpu: Thousandths of processors that the task asks for.
        memory: MiB.
        gpus: GPUs.
        share: Thousandths of each.
        node_gpus: int64, shape (n,): GPUs of each node.
        node_kind: int64, shape (n,): their model, -1 where there is none.
        free_cpu: int64, shape (n,).
        free_memory: int64, shape (n,).
        free_gpu: int64, shape (n, g): thousandths of each GPU.
        largest: int64, shape (2,): most thousandths of processors and of GPUs of a node.
        fits: See `Seen`.
        increase: See `Seen`.
    """

    step: int
    tasks: int
    cpu: int
    memory: int
    gpus: int
    share: int
    node_gpus: NDArray[np.int64]
    node_kind: NDArray[np.int64]
    free_cpu: NDArray[np.int64]
    free_memory: NDArray[np.int64]
    free_gpu: NDArray[np.int64]
    largest: NDArray[np.int64]
    fits: NDArray[np.int8]
    increase: NDArray[np.float64]


@lru_cache(maxsize=4096)
def task_key(seed: int, split: str) -> int:
    """Key of the stream of tasks."""
    return stream_key(seed, f"gpu/filling/{split}")


@uncounted
def draw_task(key: int, episode: int, step: int, jobs: int) -> int:
    """The row of the log that comes at a step."""
    return integer(key, episode, step, 0, jobs - 1)


@uncounted
def look(nodes: Nodes, jobs: Records, typical: Typical, job: int, seen: Seen) -> int:
    """Find out what a task means to each node; how many have room."""
    count = 0
    for n in range(len(nodes.table)):
        seen.fits[n], seen.increase[n], seen.bits[n] = 0, 0.0, 0
        if room(nodes, jobs, job, n, 1) > 0:
            increase, bits = least_fragmenting(nodes, jobs, typical, job, n, False)
            seen.fits[n], seen.increase[n], seen.bits[n] = 1, increase / typical.total[0], bits
            count += 1
    return count


@uncounted
def chosen_node(seen: Seen, action: int) -> int:
    """The node that an action means: itself, or the first with room where it has none."""
    n = action
    if seen.fits[n] == 0:
        n = 0
        while seen.fits[n] == 0:
            n += 1
    return n
