"""What is free on the nodes, who fits where, and which GPUs of a node a worker takes; compiled.

Simulator and kernel share these functions and the columns of `Nodes`; each has its own way of keeping them up to date.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.jobsched.gpu.model import WHOLE, Cluster

Records = np.recarray[Any, Any]
"""Rows of named fields: numba hands one over as a pointer, and a column each as seven numbers, which it compiles for
minutes."""


class Nodes(NamedTuple):
    """The nodes and what is free on them; n nodes of at most g GPUs.

    Attributes:
        table: Records, shape (n,): `gpus`, `kind` (as in `Cluster`), `free_cpu` in thousandths, `free_memory` in MiB,
            `version` (how often what is free has changed), `fragmentation` (times `Typical.total`, where it is kept).
        free_gpu: int64, shape (n, g): thousandths of each GPU; 0 where there is none.
        running: int64, shape (n, g + 2): workers by what they take of GPUs: column 0 a share, column k whole GPUs.
        tied: int64, shape (n, 2): room for the nodes that a policy finds equally good, and their GPUs.
        largest: int64, shape (2,): most thousandths of processors and of GPUs of a node, each at least 1.
    """

    table: Records
    free_gpu: NDArray[np.int64]
    running: NDArray[np.int64]
    tied: NDArray[np.int64]
    largest: NDArray[np.int64]


def records(columns: Mapping[str, NDArray[Any]]) -> Records:
    """Columns as rows; 8 bytes a field."""
    kinds = [(name, "f8" if column.dtype.kind == "f" else "i8") for name, column in columns.items()]
    rows = np.zeros(len(next(iter(columns.values()))), dtype=kinds).view(np.recarray)
    for name, column in columns.items():
        rows[name] = column
    return rows


def empty_nodes(cluster: Cluster) -> Nodes:
    """The nodes of a cluster on which nothing runs."""
    most, count = max(1, int(cluster.gpus.max())), len(cluster.gpus)
    none = np.zeros(count, dtype=np.int64)
    return Nodes(
        table=records(
            {
                "gpus": cluster.gpus,
                "kind": cluster.kind,
                "free_cpu": cluster.cpu,
                "free_memory": cluster.memory,
                "version": none,
                "fragmentation": none,
            }
        ),
        free_gpu=np.where(np.arange(most) < cluster.gpus[:, None], WHOLE, 0).astype(np.int64),
        running=np.zeros((count, most + 2), dtype=np.int64),
        tied=np.zeros((count, 2), dtype=np.int64),
        largest=np.array([max(1, cluster.cpu.max()), max(1, cluster.gpus.max() * WHOLE)], dtype=np.int64),
    )


@uncounted
def free_thousandths(nodes: Nodes, n: int) -> int:
    """Thousandths of GPUs that are free on a node."""
    total = 0
    for g in range(nodes.table[n].gpus):
        total += nodes.free_gpu[n, g]
    return total


@uncounted
def room(nodes: Nodes, jobs: Records, job: int, n: int, most: int) -> int:
    """How many workers of a job find room on a node, counted up to `most`; O(GPUs of the node).

    The workers of a gang are equal, so the count doesn't depend on the GPUs that a policy gives the first of them.
    """
    count = most
    if jobs[job].cpu > 0:
        count = min(count, nodes.table[n].free_cpu // jobs[job].cpu)
    if jobs[job].memory > 0:
        count = min(count, nodes.table[n].free_memory // jobs[job].memory)
    if jobs[job].gpus == 0 or count == 0:
        return count
    if nodes.table[n].gpus < jobs[job].gpus or (jobs[job].kinds >> nodes.table[n].kind) & 1 == 0:
        return 0
    places = 0
    for g in range(nodes.table[n].gpus):
        places += nodes.free_gpu[n, g] // jobs[job].share
    return min(count, places // jobs[job].gpus)


@uncounted
def whole_gpus(nodes: Nodes, n: int, count: int) -> int:
    """The first so many idle GPUs of a node, as bits."""
    bits = 0
    for g in range(nodes.table[n].gpus):
        if count > 0 and nodes.free_gpu[n, g] == WHOLE:
            bits |= 1 << g
            count -= 1
    return bits


@uncounted
def change(nodes: Nodes, jobs: Records, job: int, n: int, bits: int, sign: int) -> None:
    """Let a worker take a node and GPUs of it (sign 1), or give them back (sign -1)."""
    nodes.table[n].version += 1
    nodes.table[n].free_cpu -= sign * jobs[job].cpu
    nodes.table[n].free_memory -= sign * jobs[job].memory
    for g in range(nodes.table[n].gpus):
        if (bits >> g) & 1:
            nodes.free_gpu[n, g] -= sign * jobs[job].share
    if jobs[job].gpus > 0:
        nodes.running[n, jobs[job].gpus if jobs[job].share == WHOLE else 0] += sign
