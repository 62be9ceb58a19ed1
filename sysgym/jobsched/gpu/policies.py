"""The policies: which node a worker is given, and which GPUs of it; compiled, and shared by simulator and kernel.

Among the nodes with room, the lowest score wins; equal scores are settled by the rule for ties. They are the baselines
of Weng et al. (USENIX ATC 2023) as their repository has them: there scores are rounded to whole numbers from 0 to 100,
which makes many nodes equal that aren't. `Rules.scores` leaves that out.

- first_fit: the first node.
- best_fit: least left of processors and GPUs, each as a share of the largest node.
- dot_product: least inner product of what is free and what is asked for, as shares of the largest node. (Tetris
  prefers the largest; the authors of the baseline prefer the least, to keep what is left in one piece.)
- packing: first shared GPUs in use, the fullest first; then idle GPUs of nodes in use; then idle nodes, small first.
- clustering: nodes whose GPUs serve tasks of the same size only, then nodes that serve it among others, then idle
  nodes, then the rest; in each class the fullest first (after Gandiva, Xiao et al., OSDI 2018).
- fgd: the least increase of fragmentation; see `fragmentation`.
- random: any.

On a node a shared GPU is the fullest with room; the first under first_fit, any under random, and the one of least
fragmentation under fgd. Whole GPUs are the first idle ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.core.compiled import uncounted
from sysgym.core.seeding import stream_key
from sysgym.jobsched.gpu.fragmentation import Memo, Typical, remembered
from sysgym.jobsched.gpu.model import POLICIES, WHOLE, Rules
from sysgym.jobsched.gpu.placement import Nodes, Records, free_thousandths, room, whole_gpus
from sysgym.workloads.draws import uniform

FIRST_FIT, BEST_FIT, DOT_PRODUCT, PACKING, CLUSTERING, FGD, RANDOM = range(len(POLICIES))
NO_NODE = -1


class Choice(NamedTuple):
    """A policy as numbers.

    Attributes:
        policy: Place in `POLICIES`.
        rounded: Whether scores are rounded to whole numbers.
        any_tie: Whether ties are settled at random.
        key: Of the random stream.
    """

    policy: int
    rounded: bool
    any_tie: bool
    key: int


def choice_of(rules: Rules) -> Choice:
    """The policy of the rules in compiled form."""
    any_tie = rules.policy == "random" or (rules.ties == "random" and rules.policy != "first_fit")
    key = stream_key(rules.seed, "gpu/policy")
    return Choice(POLICIES.index(rules.policy), rules.scores == "rounded", any_tie, key)


@uncounted
def _packing(nodes: Nodes, jobs: Records, job: int, n: int, rounded: bool) -> float:
    idle, tightest = 0, WHOLE
    for g in range(nodes.table[n].gpus):
        left = nodes.free_gpu[n, g]
        if left == WHOLE:
            idle += 1
        elif left >= jobs[job].share and left < tightest:
            tightest = left
    if idle == nodes.table[n].gpus:
        return -max(33 - idle, idle) if rounded else 3 * WHOLE + idle
    if tightest == WHOLE:
        return -max(50 - jobs[job].gpus, 33) if rounded else 2 * WHOLE
    return -max(100 - tightest // 100, 50) if rounded else tightest


@uncounted
def _clustering(nodes: Nodes, jobs: Records, job: int, n: int, rounded: bool) -> float:
    own = jobs[job].gpus if jobs[job].share == WHOLE else 0
    others, same = 0, nodes.running[n, own]
    for column in range(nodes.table[n].gpus + 1):
        if column != own:
            others += nodes.running[n, column]
    band = (0 if same > 0 else 2) + (others > 0)
    largest, free = nodes.largest[1], free_thousandths(nodes, n)
    if rounded:
        return -(25 * (largest - free) // largest + 25 * (3 - band))
    return band * (largest + 1) + free


@uncounted
def score(nodes: Nodes, jobs: Records, choice: Choice, job: int, n: int) -> float:
    """A node's score for a worker that it has room for, the lower the better; fgd has its own.

    Rounded, it is the negative of what the authors' program gives the node.
    """
    if choice.policy == FIRST_FIT or choice.policy == RANDOM:  # noqa: PLR1714  numba has no sets
        return 0.0
    cpu, gpu = nodes.largest[0], nodes.largest[1]
    asked_cpu, asked_gpu = jobs[job].cpu, jobs[job].gpus * jobs[job].share
    free_cpu, free_gpu = nodes.table[n].free_cpu, free_thousandths(nodes, n)
    if choice.policy == BEST_FIT:
        left = (free_cpu - asked_cpu) / cpu * 0.5 + (free_gpu - asked_gpu) / gpu * 0.5
        return -np.floor((1.0 - left) * 100.0) if choice.rounded else left
    if choice.policy == DOT_PRODUCT:
        product = free_cpu / cpu * (asked_cpu / cpu) + free_gpu / gpu * (asked_gpu / gpu)
        return -np.floor((1.0 - product / 2.0) * 100.0) if choice.rounded else product
    if jobs[job].gpus == 0:
        return 0.0
    if choice.policy == PACKING:
        return _packing(nodes, jobs, job, n, choice.rounded)
    return _clustering(nodes, jobs, job, n, choice.rounded)


@uncounted
def _gpus_on(nodes: Nodes, jobs: Records, choice: Choice, job: int, n: int, number: int) -> int:
    """The GPUs that a worker takes on a node under any policy but fgd, as bits."""
    if jobs[job].gpus == 0 or jobs[job].share == WHOLE:
        return whole_gpus(nodes, n, jobs[job].gpus)
    fitting = 0
    for g in range(nodes.table[n].gpus):
        fitting += nodes.free_gpu[n, g] >= jobs[job].share
    wanted = int(uniform(choice.key, job, 2 * number + 1) * fitting) if choice.policy == RANDOM else 0
    bits, least = 0, 2 * WHOLE
    for g in range(nodes.table[n].gpus):
        left = nodes.free_gpu[n, g]
        if left < jobs[job].share:
            continue
        if choice.policy == RANDOM or choice.policy == FIRST_FIT:  # noqa: PLR1714  numba has no sets
            if wanted == 0:
                return 1 << g
            wanted -= 1
        elif left < least:
            bits, least = 1 << g, left
    return bits


@uncounted
def choose(
    nodes: Nodes, jobs: Records, typical: Typical, memo: Memo, choice: Choice, job: int, number: int
) -> tuple[int, int]:
    """The node that a worker of a job is given and its GPUs as bits, (`NO_NODE`, 0) where none has room; O(nodes).

    Args:
        nodes: The nodes.
        jobs: The jobs.
        typical: The typical tasks.
        memo: What fgd remembers.
        choice: The policy.
        job: The job.
        number: Of this choice among all for the job; random choices are named by it.
    """
    best, ties = 0.0, 0
    for n in range(len(nodes.table)):
        if room(nodes, jobs, job, n, 1) == 0:
            continue
        bits = 0
        if choice.policy == FGD:
            value, bits = remembered(nodes, jobs, typical, memo, job, n, choice.rounded)
        else:
            value = score(nodes, jobs, choice, job, n)
        if ties == 0 or value < best:
            best, ties = value, 0
        if ties == 0 or (value == best and choice.any_tie):
            nodes.tied[ties, 0], nodes.tied[ties, 1] = n, bits
            ties += 1
        if choice.policy == FIRST_FIT:
            break
    if ties == 0:
        return NO_NODE, 0
    place = int(uniform(choice.key, job, 2 * number) * ties) if ties > 1 else 0
    n, bits = nodes.tied[place, 0], nodes.tied[place, 1]
    return n, bits if choice.policy == FGD else _gpus_on(nodes, jobs, choice, job, n, number)
