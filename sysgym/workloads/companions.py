"""What a log tells beside its jobs' columns: the nodes of the machine, dependencies between jobs, the stages of a DAG.

A `Workload` carries them in documented places (`machine.node_list`, `dependencies`, `profiles`), for the problems that
schedule on nodes or schedule DAGs. Replay in one pool of processors reads none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class NodeTable:
    """The nodes of a machine, as columns.

    Attributes:
        names: As in the file; lists of one cluster may number them anew, so never join two lists by name.
        cpu_milli: int64: thousandths of processors.
        memory_mib: int64: MiB.
        gpus: int64: whole GPUs.
        gpu_type: int64: number of the model in `gpu_types`, from 1; -1 where a node has none.
        gpu_types: The models.
        source: The file.
    """

    names: tuple[str, ...]
    cpu_milli: NDArray[np.int64]
    memory_mib: NDArray[np.int64]
    gpus: NDArray[np.int64]
    gpu_type: NDArray[np.int64]
    gpu_types: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def processors(self) -> int:
        """Whole processors of all nodes together."""
        return int((self.cpu_milli // 1000).sum())

    def take(self, rows: NDArray[np.int64]) -> NodeTable:
        """The nodes in these rows, in this order."""
        columns = {name: getattr(self, name)[rows] for name in ("cpu_milli", "memory_mib", "gpus", "gpu_type")}
        return replace(self, names=tuple(self.names[row] for row in rows.tolist()), **columns)


@dataclass(frozen=True, eq=False)
class Dependencies:
    """Which job waits for which, by job number, so that sorting and windows leave it as it is.

    Attributes:
        child: int64, shape (m,): the job that waits.
        parent: int64, shape (m,): the job that it waits for.
        think_time: float64, shape (m,): seconds between the parent's end and the child's submission; 0 if unknown.
    """

    child: NDArray[np.int64]
    parent: NDArray[np.int64]
    think_time: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.child)

    def among(self, job_id: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The edges whose two ends are among `job_id`, as rows of it: (children, parents); O((n + m) log n).

        >>> edges = Dependencies(np.array([2, 3]), np.array([1, 9]), np.zeros(2))
        >>> edges.among(np.array([2, 1, 3]))
        (array([0]), array([1]))
        """
        order = np.argsort(job_id, kind="stable")
        known = np.isin(self.child, job_id) & np.isin(self.parent, job_id)
        child, parent = (order[np.searchsorted(job_id, end[known], sorter=order)] for end in (self.child, self.parent))
        return child, parent


Waves = Mapping[int, NDArray[np.int64]]
"""Durations of tasks in ms, by the number of executors they were measured with."""


@dataclass(frozen=True, eq=False)
class StageProfile:
    """A stage of a Spark job: its tasks, and how long they took (Mao et al., SIGCOMM 2019).

    Attributes:
        tasks: Number of tasks.
        fresh: Tasks that ran first on an executor that had just joined the job.
        first: Tasks of a first wave.
        rest: Tasks of later waves.
    """

    tasks: int
    fresh: Waves
    first: Waves
    rest: Waves

    def prepared(self) -> StageProfile:
        """Ready for sampling: no fresh task in a first wave, and empty first waves filled from the next key below.

        The recorded first waves contain the fresh tasks; both are removed as multisets.
        """
        first: dict[int, NDArray[np.int64]] = {}
        last = np.empty(0, dtype=np.int64)
        for key in sorted(self.first):
            left = Counter(self.first[key].tolist())
            left.subtract(self.fresh[key].tolist() if key in self.fresh else ())
            wave = np.array(list((+left).elements()), dtype=np.int64)
            last = first[key] = wave if len(wave) else last
        return StageProfile(self.tasks, self.fresh, first, self.rest)


@dataclass(frozen=True, eq=False)
class DagProfile:
    """One query of TPC-H on Spark: stages and the edges between them.

    Attributes:
        query: Number of the query, 1 to 22.
        size_gb: Size of its data.
        stages: The stages.
        edges: int64, shape (m, 2): parent and child, as positions in `stages`; without a cycle.
    """

    query: int
    size_gb: float
    stages: tuple[StageProfile, ...]
    edges: NDArray[np.int64]


def is_acyclic(count: int, edges: NDArray[np.int64]) -> bool:
    """Whether `count` nodes and (parent, child) edges form no cycle (Kahn's algorithm); O(nodes + edges).

    >>> is_acyclic(2, np.array([[0, 1]])), is_acyclic(2, np.array([[0, 1], [1, 0]]))
    (True, False)
    """
    waiting = np.bincount(edges[:, 1], minlength=count) if len(edges) else np.zeros(count, dtype=np.int64)
    children: list[list[int]] = [[] for _ in range(count)]
    for parent, child in edges.tolist():
        children[parent].append(child)
    ready = np.flatnonzero(waiting == 0).tolist()
    done = 0
    while ready:
        done += 1
        for child in children[ready.pop()]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    return done == count
