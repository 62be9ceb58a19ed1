"""`sysgym/GpuSched-v0`: choose the node of each task until a GPU cluster is full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.jobsched.gpu.filling.engine import build_engine
from sysgym.jobsched.gpu.filling.model import Filling, filling_of
from sysgym.jobsched.gpu.filling.policies import HEURISTICS
from sysgym.jobsched.gpu.filling.simulator import Reward
from sysgym.workloads import NodeTable, Workload


def build_gpu_engine(
    num_episodes: int,
    *,
    workload: Workload | Filling | None = None,
    nodes: NodeTable | str | int | None = None,
    ratio: float = 1.2,
    split: str = "train",
    cluster_seed: int = 0,
    reward: str | Reward = "share",
    engine: str = "auto",
) -> Built:
    """The engine behind `GpuSchedEnv`, with the same arguments, and what it is played on."""
    filling = filling_of(workload, nodes, ratio, split, cluster_seed)
    return Built(build_engine(filling, num_episodes, engine, reward), filling)


class GpuSchedEnv(BuiltEnv):
    """Choose the node of each task until a cluster of heterogeneous GPU nodes is full.

    ## Description
    Tasks arrive one after another and never end: each asks for processors, memory, and a share of a GPU, a whole one,
    several, or none, some for GPUs of a named model. The agent chooses the node; on it the task takes the GPUs that
    increase fragmentation least. A task for which no node has room is lost. Whoever leaves GPUs or processors behind
    in pieces that nobody can use loses tasks early. It is the experiment of Weng et al. (2023) as a decision process.

    ## Action Space
    `Discrete(n)`: a node. Nodes without room are masked, and count as the first node with room.

    ## Observation Space
    `Box(0, 1, (n, 12), float32)`, a row a node:

    | column | meaning |
    |---|---|
    | 0 | whether the task finds room |
    | 1, 2, 3 | free processors, memory, GPUs, as shares of the largest node |
    | 4 | idle GPUs, as a share of the largest node's |
    | 5 | the most that is free on one GPU |
    | 6 | 1 / (1 + exp(x)), x by how many GPUs the task would increase the node's fragmentation; 0 without room |
    | 7, 8, 9 | processors, memory, GPUs that the task asks for, as shares of the largest node |
    | 10 | share of each GPU that it takes |
    | 11 | share of the episode's tasks that have come |

    ## Rewards
    `share`, the default: the GPUs of the task over all GPUs; the return is the allocation rate. Or a function of
    (state before, action, state after).

    ## Starting State
    An empty cluster, and a task drawn from the log.

    ## Episode End
    Terminates when all tasks have come: as many as ask for `ratio` times all GPUs in the mean.

    ## Information
    `action_mask` (int8, shape (n,)); at the end `metrics`: `allocation_rate`, `most_allocation_rate` (what came could
    fill no more), `tasks`, `lost`, `first_loss` (the rate when a task was first lost).

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `workload` | None | a log that tells of GPUs, or another environment's `workload`; None generates pods |
    | `nodes` | None | 24 generated ones; or how many, a list of nodes, "64x8" |
    | `ratio` | 1.2 | GPUs that the tasks ask for in the mean, as a multiple of all |
    | `split` | "train" | `train`, `valid`, `test`, `all`: parts of the log that share no job |
    | `cluster_seed` | 0 | of what is generated |
    | `observation` | None | an object with `spec` and `encode(state, observation)` in place of the above |
    | `reward` | "share" | see Rewards |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for a reward of one's own |

    ## Vectorized Environment
    `gym.make_vec("sysgym/GpuSched-v0", num_envs=64)` steps compiled clusters together; see `EngineVectorEnv`.

    ## Baselines and Bound
    `first_fit`, `best_fit`, `dot_product`, `fgd`, `fgd_exact`, `random`; see docs/gpu.md for what they are and reach.
    No policy allocates more than all GPUs, or than what came (`most_allocation_rate`).

    ## Validation
    SimPy and the kernel agree event by event (`tests/contracts`, `tests/jobsched/test_gpu_filling.py`), and exact `fgd`
    places every task where the replay of the same tasks does.

    ## References
    Weng et al., "Beware of fragmentation: scheduling GPU-sharing workloads with fragmentation gradient descent", USENIX
    ATC 2023.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": [], "discount": 1.0}  # noqa: RUF012  Gymnasium's own declaration
    build = staticmethod(build_gpu_engine)
    heuristics = HEURISTICS
    do_nothing = "first_fit"
    objective = "allocation_rate"
    direction = "max"
    bound = Bound("bound", metric="most_allocation_rate")
    domain = "GPU clusters"
    shifts: ClassVar[Mapping[str, float]] = {"ratio": 1.2}
    time_unit = "arrivals"


class GpuSchedVectorEnv(BuiltVectorEnv, single=GpuSchedEnv):
    """Many episodes of `GpuSchedEnv` at once; see there for the arguments."""
