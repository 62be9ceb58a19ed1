"""What a policy sees of the cluster and of the task at its head: a row a node, for both engines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.protocols import ArraySpec
from sysgym.jobsched.gpu.filling.model import Filling, Seen
from sysgym.jobsched.gpu.model import WHOLE
from sysgym.jobsched.gpu.placement import Nodes, Records, free_thousandths

FEATURES = 12
"""Numbers of a node."""


def spec_of(filling: Filling) -> ArraySpec:
    """A row of `FEATURES` shares for each node."""
    return ArraySpec((len(filling.nodes.table), FEATURES), np.float32, 0.0, 1.0)


def largest_memory(filling: Filling) -> int:
    """MiB of the largest node, at least 1."""
    return max(1, int(filling.nodes.table["free_memory"].max()))


@uncounted
def write_view(
    nodes: Nodes, jobs: Records, job: int, seen: Seen, memory: int, gone: float,
    observation: NDArray[np.float32], action_mask: NDArray[np.int8],
) -> None:  # fmt: skip
    """Write the observation and the mask of one episode; where no node has room the episode is over.

    Args:
        nodes: The nodes.
        jobs: The log.
        job: The task at the head.
        seen: What it means to each node.
        memory: MiB of the largest node.
        gone: Share of the episode's tasks that have come.
        observation: float32, shape (n, FEATURES).
        action_mask: int8, shape (n,).
    """
    cpu, gpu = nodes.largest[0], nodes.largest[1]
    any_room = False
    for n in range(len(nodes.table)):
        idle, most = 0, 0
        for g in range(nodes.table[n].gpus):
            left = nodes.free_gpu[n, g]
            idle += left == WHOLE
            most = max(most, left)
        observation[n, 0] = seen.fits[n]
        observation[n, 1] = nodes.table[n].free_cpu / cpu
        observation[n, 2] = nodes.table[n].free_memory / memory
        observation[n, 3] = free_thousandths(nodes, n) / gpu
        observation[n, 4] = idle * WHOLE / gpu
        observation[n, 5] = most / WHOLE
        observation[n, 6] = 1.0 / (1.0 + np.exp(seen.increase[n] / WHOLE)) if seen.fits[n] else 0.0
        observation[n, 7] = min(1.0, jobs[job].cpu / cpu)
        observation[n, 8] = min(1.0, jobs[job].memory / memory)
        observation[n, 9] = jobs[job].gpus * jobs[job].share / gpu
        observation[n, 10] = jobs[job].share / WHOLE
        observation[n, 11] = gone
        action_mask[n] = seen.fits[n]
        any_room |= seen.fits[n] == 1
    if not any_room:
        action_mask[0] = 1
