"""Clusters and jobs from lists of nodes and from logs; what doesn't fit together is refused, or left out and counted.

A log says what a job asks for in `Workload.extra`: `gpus`, and where it knows them `gpu_milli`, `gpu_type`, `cpu_milli`
and `memory_mib` of the whole job. A job that asks for more GPUs than a node has that will do is a gang: of the largest
equal workers that divide its GPUs (16 GPUs on nodes of 8 are 2 x 8, 12 are 2 x 6, 17 are 17 x 1).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, WorkloadError, require_range
from sysgym.jobsched.gpu.model import MOST_GPUS, WHOLE, Cluster, Jobs
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.workload import Workload

_PLENTY = 1 << 40
"""Thousandths of processors, and MiB, that no job asks for."""

_EQUAL_NODES = re.compile(r"([1-9]\d{0,5})x([1-9]\d?)")


def nodes_of(workload: Workload, nodes: NodeTable | str | Path | None) -> NodeTable:
    """The nodes that are meant: a table, a file, "64x8" (64 nodes of 8 GPUs), or those that the log was read with.

    Raises:
        WorkloadError: None was given.
        InputFileError: The file is no list of nodes.
        SettingError: It is nothing of these.
    """
    if nodes is None:
        nodes = workload.machine.node_list
        if nodes is None:
            raise WorkloadError(
                f"{workload.provenance.source}: a replay on GPU nodes needs nodes; give a list of nodes, or a text "
                "such as '64x8' for 64 nodes of 8 GPUs"
            )
    if isinstance(nodes, NodeTable):
        return nodes
    if isinstance(nodes, str) and (equal := _EQUAL_NODES.fullmatch(nodes)):
        return equal_nodes(int(equal[1]), int(equal[2]))
    if not isinstance(nodes, str | Path):
        raise SettingError(f"nodes is {nodes!r}; give a NodeTable, the path of a list, or a text such as '64x8'")
    from sysgym.workloads.reading import read_nodes  # noqa: PLC0415  pandas loads only when a file is read

    return read_nodes(nodes)


def equal_nodes(count: int, gpus: int) -> NodeTable:
    """Equal nodes without a limit of processors and memory, for logs that tell of GPUs alone.

    >>> len(equal_nodes(64, 8))
    64
    """
    require_range("gpus", gpus, 1, MOST_GPUS, whole=True)
    columns = (np.full(count, value, dtype=np.int64) for value in (_PLENTY, _PLENTY, gpus, 1))
    cpu, memory, gpu, kind = columns
    return NodeTable(tuple(f"node-{n}" for n in range(count)), cpu, memory, gpu, kind, ("GPU",), f"{count}x{gpus}")


def cluster_of(nodes: NodeTable) -> Cluster:
    """The nodes in the kernel's form; GPUs without a model are a kind of their own.

    Raises:
        WorkloadError: There is no node, or one with too many GPUs, or too many models.
    """
    if not len(nodes):
        raise WorkloadError(f"{nodes.source}: the list has no nodes")
    if nodes.gpus.max() > MOST_GPUS or len(nodes.gpu_types) >= MOST_GPUS:
        raise WorkloadError(
            f"{nodes.source}: a node has {nodes.gpus.max()} GPUs and there are {len(nodes.gpu_types)} models; at most "
            f"{MOST_GPUS} and {MOST_GPUS - 1} are supported"
        )
    named = np.where(nodes.gpu_type > 0, nodes.gpu_type - 1, len(nodes.gpu_types))
    return Cluster(nodes.cpu_milli, nodes.memory_mib, nodes.gpus, np.where(nodes.gpus > 0, named, -1))


def jobs_of(workload: Workload, nodes: NodeTable, cluster: Cluster, gpus_per_worker: int | None = None) -> Jobs:
    """The jobs in the kernel's form; see the module for gangs.

    Args:
        workload: The log.
        nodes: The nodes.
        cluster: The same in the kernel's form.
        gpus_per_worker: Most GPUs of a worker; None leaves it to the nodes.

    Raises:
        WorkloadError: The log doesn't tell of GPUs, a job asks for nothing or for what makes no sense, or for GPUs of
            kinds that no node has.
        SettingError: `gpus_per_worker` below 1.
    """
    if gpus_per_worker is not None:
        require_range("gpus_per_worker", gpus_per_worker, 1, whole=True)
    columns = _asked(workload)
    kinds = _kinds(workload, nodes, cluster, columns["gpus"])
    workers = np.ones(len(workload), dtype=np.int64)
    for allowed in np.unique(kinds).tolist():
        will_do = cluster.gpus[(cluster.kind >= 0) & ((allowed >> np.maximum(cluster.kind, 0)) & 1 == 1)]
        largest = int(will_do.max()) if len(will_do) else 1
        for gpus in np.unique(columns["gpus"][kinds == allowed]).tolist():
            rows = (kinds == allowed) & (columns["gpus"] == gpus)
            workers[rows] = _workers(gpus, min(largest, gpus_per_worker or largest))
    own = {name: -(-columns[name] // workers) for name in ("cpu", "memory", "gpus")}
    asked = np.stack([own["cpu"], own["gpus"], columns["share"], kinds], axis=1)
    _, worker_form = np.unique(asked, axis=0, return_inverse=True)
    _, form = np.unique(np.column_stack([asked, own["memory"], workers]), axis=0, return_inverse=True)
    run = np.where(np.isnan(workload.run_time), np.inf, workload.run_time)
    planned = np.where(np.isnan(workload.requested_time), run, workload.requested_time)
    return Jobs(
        submit=workload.submit_time.astype(np.float64),
        run=run,
        planned=planned,
        workers=workers,
        share=columns["share"],
        kinds=kinds,
        form=form.ravel().astype(np.int64),
        worker_form=worker_form.ravel().astype(np.int64),
        **own,
    )


def _workers(gpus: int, largest: int) -> int:
    """The fewest equal workers of at most `largest` GPUs that make up so many GPUs together.

    >>> [_workers(gpus, 8) for gpus in (0, 8, 16, 12, 17)]
    [1, 1, 2, 2, 17]
    """
    size = next((size for size in range(min(gpus, largest), 0, -1) if gpus % size == 0), 1)
    return max(1, gpus // size)


def _asked(workload: Workload) -> dict[str, NDArray[np.int64]]:
    """Processors, memory, GPUs and share of each job as a whole, checked."""
    extra, count = workload.extra, len(workload)
    if not count:
        raise WorkloadError(f"{workload.provenance.source}: there is no job to replay")
    if "gpus" not in extra:
        raise WorkloadError(
            f"{workload.provenance.source}: the log ({workload.provenance.format!r}) doesn't say how many GPUs a job "
            "asks for, so it doesn't belong with GPU nodes; replay it without nodes"
        )
    given = {name: extra.get(name, np.full(count, -1)) for name in ("cpu_milli", "memory_mib", "gpus", "gpu_milli")}
    gpus = given["gpus"]
    share = np.where(gpus == 1, np.where(given["gpu_milli"] < 0, WHOLE, given["gpu_milli"]), np.sign(gpus) * WHOLE)
    cpu, memory = np.maximum(given["cpu_milli"], 0), np.maximum(given["memory_mib"], 0)
    refuse(workload, gpus < 0, "doesn't say how many GPUs it asks for; complete or remove it")
    refuse(workload, (gpus == 1) & ((share < 1) | (share > WHOLE)), "asks for 1 GPU and a share of it that is not "
           "from 1 to 1000 thousandths; mend gpu_milli")  # fmt: skip
    refuse(workload, (gpus == 0) & (cpu == 0) & (memory == 0), "asks for no resource at all; complete or remove it")
    refuse(workload, workload.run_time < 0, "has a run time below 0; mend or remove it")
    return {"cpu": cpu, "memory": memory, "gpus": gpus.astype(np.int64), "share": share.astype(np.int64)}


def _kinds(workload: Workload, nodes: NodeTable, cluster: Cluster, gpus: NDArray[np.int64]) -> NDArray[np.int64]:
    """The kinds that will do for each job, as bits."""
    if gpus.any() and not cluster.gpus.any():
        raise WorkloadError(
            f"{nodes.source}: no node has a GPU, but {int((gpus > 0).sum())} jobs of {workload.provenance.source} ask "
            "for some; the lists don't belong together"
        )
    everything = (1 << (len(nodes.gpu_types) + 1)) - 1
    kinds = np.full(len(workload), everything, dtype=np.int64)
    if "gpu_type" not in workload.extra:
        return kinds
    present = {name: 1 << place for place, name in enumerate(nodes.gpu_types) if (cluster.kind == place).any()}
    codes = workload.extra["gpu_type"]
    for code in np.unique(codes[(codes > 0) & (gpus > 0)]).tolist():
        names = workload.categories["gpu_type"][code - 1]
        bits = sum({present.get(name.strip(), 0) for name in names.split("|")})
        rows = (codes == code) & (gpus > 0)
        if bits == 0:
            refuse(workload, rows, f"asks for a GPU of type {names}, which no node has; the nodes have "
                   f"{', '.join(sorted(present)) or 'no named type'}")  # fmt: skip
        kinds[rows] = bits
    return kinds


def refuse(workload: Workload, rows: NDArray[np.bool_], what: str) -> None:
    """Raise `WorkloadError` if any job is meant, naming the first and how many there are."""
    if rows.any():
        first, count = int(np.argmax(rows)), int(rows.sum())
        line, more = int(workload.source_line[first]), f" ({count} such jobs)" if count > 1 else ""
        place = f", line {line}" if line > 0 else ""
        raise WorkloadError(f"{workload.provenance.source}{place}: job {workload.job_id[first]} {what}{more}")


def capacity(cluster: Cluster, jobs: Jobs, job: int) -> int:
    """How many workers of a job find room on the empty cluster."""
    many = np.iinfo(np.int64).max >> 1
    least = np.full(len(cluster.cpu), many)
    asked: list[tuple[NDArray[np.int64], Any]] = [(cluster.cpu, jobs.cpu[job]), (cluster.memory, jobs.memory[job])]
    for has, needs in asked:
        if needs > 0:
            least = np.minimum(least, has // needs)
    if jobs.gpus[job] > 0:
        will_do = (cluster.kind >= 0) & ((int(jobs.kinds[job]) >> np.maximum(cluster.kind, 0)) & 1 == 1)
        places = cluster.gpus * (WHOLE // int(jobs.share[job])) // jobs.gpus[job]
        least = np.minimum(least, np.where(will_do, places, 0))
    return int(min(many, least.astype(object).sum()))


def impossible(cluster: Cluster, jobs: Jobs) -> NDArray[np.bool_]:
    """Which jobs can't start even on the empty cluster; O(nodes x forms)."""
    _, firsts = np.unique(jobs.form, return_index=True)
    never = np.array([capacity(cluster, jobs, int(job)) < jobs.workers[job] for job in firsts])
    return never[jobs.form]


def refuse_impossible(workload: Workload, nodes: NodeTable, cluster: Cluster, jobs: Jobs) -> None:
    """Raise `WorkloadError` for the first job that can't start even on the empty cluster, saying why."""
    never = impossible(cluster, jobs)
    if not never.any():
        return
    job = int(np.argmax(never))
    has = capacity(cluster, jobs, job)
    worker = f"{jobs.gpus[job]} GPUs ({jobs.share[job]} thousandths each), {jobs.cpu[job] / 1000:g} processors and " \
             f"{jobs.memory[job]} MiB on one node"  # fmt: skip
    what = f"asks for {worker}, which no node of {nodes.source} that will do has"
    if has > 0:
        what = f"is a gang of {jobs.workers[job]} x {worker}; {nodes.source} has room for {has} of them"
    refuse(workload, never, f"{what}; give more nodes, or leave such jobs out (drop_impossible)")


def without_impossible(workload: Workload, cluster: Cluster, jobs: Jobs) -> Workload:
    """The jobs that can start on the empty cluster, with a counted repair; the workload itself if all can.

    Raises:
        WorkloadError: None can.
    """
    never = impossible(cluster, jobs)
    if never.all():
        raise WorkloadError(f"{workload.provenance.source}: no job finds room on the empty cluster; give larger nodes")
    return workload.without(never, "drop_impossible")
