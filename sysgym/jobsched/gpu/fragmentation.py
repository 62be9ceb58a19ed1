"""Fragmentation: what is free on a node and yet of no use to the tasks that are typical.

Weng et al. (USENIX ATC 2023, section 3). A task m can't use the free GPUs of a node at all if it asks for none, if the
node's kind won't do, if it has too few processors left, or too few GPUs with room for m; else it can't use those GPUs
that have less left than m takes of one. The node's fragmentation is the mean of what m can't use over the typical
tasks, the cluster's the sum over its nodes. Memory is not looked at, as in the authors' repository.

Typical are the most frequent kinds of tasks that make up a share of all, 95 % in the published runs. Frequencies are
kept as counts, so that fragmentation, times the number of typical tasks, is an integer, and equal means equal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.jobsched.gpu.model import WHOLE, Cluster, Jobs
from sysgym.jobsched.gpu.placement import Nodes, Records, free_thousandths, whole_gpus

TYPICAL_SHARE = 0.95
"""Share of the tasks that the typical ones make up."""


class Typical(NamedTuple):
    """The typical tasks, grouped for each kind of GPU by what they take of them.

    Attributes:
        total: int64, shape (1,): number of typical tasks, with their frequencies; at least 1.
        excluded: int64, shape (k,): those that can use no GPU of kind k at all.
        group_begin: int64, shape (k + 1,): where the groups of each kind begin.
        share: int64, shape (m,): thousandths of a GPU that a task of the group takes.
        gpus: int64, shape (m,): and of how many GPUs.
        entry_begin: int64, shape (m + 1,): where the entries of each group begin.
        cpu: int64, shape (e,): thousandths of processors, rising within a group.
        tasks: int64, shape (e,): tasks of the group that need no more than that.
    """

    total: NDArray[np.int64]
    excluded: NDArray[np.int64]
    group_begin: NDArray[np.int64]
    share: NDArray[np.int64]
    gpus: NDArray[np.int64]
    entry_begin: NDArray[np.int64]
    cpu: NDArray[np.int64]
    tasks: NDArray[np.int64]


def typical_tasks(jobs: Jobs, share: float = TYPICAL_SHARE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The most frequent tasks that make up at least a share of all, most frequent first; O(n log n).

    Returns:
        int64, shape (m, 4): processors, thousandths of a GPU, GPUs, kinds; and how many workers of all jobs ask for
        just that, int64, shape (m,). Of equally frequent ones the larger come first.
    """
    asked = np.stack([jobs.cpu, jobs.share, jobs.gpus, jobs.kinds], axis=1)
    tasks, which = np.unique(asked, axis=0, return_inverse=True)
    counts = np.bincount(which.ravel(), weights=jobs.workers).astype(np.int64)
    order = np.lexsort([*(-tasks.T[::-1]), -counts])
    enough = int(np.searchsorted(np.cumsum(counts[order]), share * counts.sum())) + 1
    return tasks[order[:enough]], counts[order[:enough]]


def typical_table(cluster: Cluster, jobs: Jobs, share: float = TYPICAL_SHARE) -> Typical:
    """The typical tasks in the form in which `fragmentation` reads them; O(kinds x typical tasks)."""
    tasks, counts = typical_tasks(jobs, share)
    kinds = int(cluster.kind.max()) + 1
    excluded, group_begin, entry_begin = np.zeros(kinds, dtype=np.int64), [0], [0]
    shares: list[int] = []
    gpus: list[int] = []
    entries: list[tuple[int, int]] = []
    for kind in range(kinds):
        able = (tasks[:, 2] > 0) & ((tasks[:, 3] >> kind) & 1 == 1)
        excluded[kind] = counts[~able].sum()
        for taken, number in np.unique(tasks[able][:, 1:3], axis=0).tolist():
            group = able & (tasks[:, 1] == taken) & (tasks[:, 2] == number)
            order = np.argsort(tasks[group, 0], kind="stable")
            shares.append(taken)
            gpus.append(number)
            entries += zip(tasks[group, 0][order].tolist(), np.cumsum(counts[group][order]).tolist(), strict=True)
            entry_begin.append(len(entries))
        group_begin.append(len(shares))
    columns = np.array(entries, dtype=np.int64).reshape(-1, 2)
    return Typical(
        total=np.array([max(1, counts.sum())], dtype=np.int64),
        excluded=excluded,
        group_begin=np.array(group_begin, dtype=np.int64),
        share=np.array(shares, dtype=np.int64),
        gpus=np.array(gpus, dtype=np.int64),
        entry_begin=np.array(entry_begin, dtype=np.int64),
        cpu=columns[:, 0].copy(),
        tasks=columns[:, 1].copy(),
    )


@uncounted
def _enough_processors(typical: Typical, group: int, free: int) -> int:
    """How many tasks of a group need no more processors than are free; O(log entries)."""
    begin = low = typical.entry_begin[group]
    high = typical.entry_begin[group + 1]
    while low < high:
        middle = (low + high) // 2
        if typical.cpu[middle] <= free:
            low = middle + 1
        else:
            high = middle
    return 0 if low == begin else typical.tasks[low - 1]


@uncounted
def fragmentation(nodes: Nodes, typical: Typical, n: int) -> int:
    """A node's fragmentation in thousandths of GPUs, times `typical.total`; O(groups x GPUs)."""
    free = free_thousandths(nodes, n)
    if free == 0:
        return 0
    kind = nodes.table[n].kind
    lost = typical.excluded[kind] * free
    for group in range(typical.group_begin[kind], typical.group_begin[kind + 1]):
        share, too_small, places = typical.share[group], 0, 0
        for g in range(nodes.table[n].gpus):
            left = nodes.free_gpu[n, g]
            if left < share:
                too_small += left
            else:
                places += 1
        everybody = typical.tasks[typical.entry_begin[group + 1] - 1]
        served = _enough_processors(typical, group, nodes.table[n].free_cpu) if places >= typical.gpus[group] else 0
        lost += served * too_small + (everybody - served) * free
    return lost


@uncounted
def _fragmentation_after(nodes: Nodes, jobs: Records, typical: Typical, job: int, n: int, bits: int) -> int:
    """What a node's fragmentation would be with a worker more."""
    nodes.table[n].free_cpu -= jobs[job].cpu
    for g in range(nodes.table[n].gpus):
        if (bits >> g) & 1:
            nodes.free_gpu[n, g] -= jobs[job].share
    after = fragmentation(nodes, typical, n)
    nodes.table[n].free_cpu += jobs[job].cpu
    for g in range(nodes.table[n].gpus):
        if (bits >> g) & 1:
            nodes.free_gpu[n, g] += jobs[job].share
    return after


@uncounted
def _score(typical: Typical, increase: int, rounded: bool) -> float:
    """The score of an increase of a node's fragmentation, the lower the better.

    The authors' program rounds the logistic function of the decrease in GPUs to percent, so that increases that differ
    by less than about 0.04 GPUs are the same to it.
    """
    if not rounded:
        return float(increase)
    return -np.floor(100.0 / (1.0 + np.exp(increase / (WHOLE * typical.total[0]))))


@uncounted
def least_fragmenting(
    nodes: Nodes, jobs: Records, typical: Typical, job: int, n: int, rounded: bool
) -> tuple[float, int]:
    """A node's score under fgd for a worker that it has room for, and the GPUs that the worker takes, as bits.

    Args:
        nodes: The nodes.
        jobs: The jobs.
        typical: The typical tasks.
        job: Whose worker it is.
        n: The node.
        rounded: Whether scores are rounded.

    Returns:
        The score on the best GPUs, the lower the better, and the first of equally good GPUs.
    """
    before = fragmentation(nodes, typical, n)
    if jobs[job].gpus == 0 or jobs[job].share == WHOLE:
        whole = whole_gpus(nodes, n, jobs[job].gpus)
        after = _fragmentation_after(nodes, jobs, typical, job, n, whole)
        return _score(typical, after - before, rounded), whole
    best, bits = np.inf, 0
    for g in range(nodes.table[n].gpus):
        left = nodes.free_gpu[n, g]
        if left < jobs[job].share:
            continue
        seen = False
        for other in range(g):
            seen |= nodes.free_gpu[n, other] == left
        if not seen:  # equal GPUs make no difference
            after = _fragmentation_after(nodes, jobs, typical, job, n, 1 << g)
            value = _score(typical, after - before, rounded)
            if value < best:
                best, bits = value, 1 << g
    return best, bits


class Memo(NamedTuple):
    """What `least_fragmenting` said, for each of s shapes of workers and n nodes; s is 0 where nothing is remembered.

    Attributes:
        version: int64, shape (s, n): the node's version for which it holds; -1 for none.
        score: float64, shape (s, n).
        bits: int64, shape (s, n).
    """

    version: NDArray[np.int64]
    score: NDArray[np.float64]
    bits: NDArray[np.int64]


def memo_of(shapes: int, nodes: int) -> Memo:
    """An empty memory."""
    empty = np.zeros((shapes, nodes), dtype=np.int64)
    return Memo(empty - 1, np.zeros((shapes, nodes)), empty)


@uncounted
def remembered(
    nodes: Nodes, jobs: Records, typical: Typical, memo: Memo, job: int, n: int, rounded: bool
) -> tuple[float, int]:
    """`least_fragmenting`, worked out only where the node has changed since; O(1) else."""
    if len(memo.version) == 0:
        return least_fragmenting(nodes, jobs, typical, job, n, rounded)
    shape = jobs[job].worker_form
    if memo.version[shape, n] != nodes.table[n].version:
        memo.score[shape, n], memo.bits[shape, n] = least_fragmenting(nodes, jobs, typical, job, n, rounded)
        memo.version[shape, n] = nodes.table[n].version
    return memo.score[shape, n], memo.bits[shape, n]


@uncounted
def total_fragmentation(nodes: Nodes, typical: Typical) -> int:
    """The cluster's fragmentation, times `typical.total`; each node's is written down."""
    total = 0
    for n in range(len(nodes.table)):
        nodes.table[n].fragmentation = fragmentation(nodes, typical, n)
        total += nodes.table[n].fragmentation
    return total
