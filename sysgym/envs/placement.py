"""`sysgym/Placement-v0`: put the operations of a computation graph on devices, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sysgym.core.errors import SettingError, require_range
from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.placement.cluster import Cluster
from sysgym.placement.decision_policies import HEURISTICS
from sysgym.placement.decisions import PlacementConfig, Reward
from sysgym.placement.engine import build_engine
from sysgym.placement.execution import ExecutionRules
from sysgym.placement.instances import MOST_GROUPS, GraphSource, source_of
from sysgym.placement.model import OpGraph


def build_placement_engine(
    num_episodes: int,
    *,
    workload: str | Path | GraphSource | Sequence[str | Path | OpGraph] = "generated",
    graph: OpGraph | str | Path | None = None,
    cluster: Cluster | str | None = None,
    objective: str = "max_load",
    initial: str | None = None,
    passes: int = 1,
    groups: int = MOST_GROUPS,
    operations: int | None = None,
    rules: ExecutionRules | None = None,
    split: str = "train",
    reward: str | Reward = "decrease",
    observation: str | Any = "graph",
    engine: str = "auto",
) -> Built:
    """The engine behind `PlacementEnv`, with the same arguments."""
    require_range("groups", groups, 1, 1024, whole=True)
    if graph is not None:
        if workload != "generated":
            raise SettingError("both graph and workload are given; give one of them")
        workload = [graph]
    named = reward if isinstance(reward, str) else "decrease"
    config = PlacementConfig(objective, initial, passes, named, rules)
    source = source_of(workload, cluster, split, groups)
    function = None if isinstance(reward, str) else reward
    seen = max(8, groups) if operations is None else operations
    return Built(build_engine(source, config, num_episodes, engine, observation, seen, function), source)


class PlacementEnv(BuiltEnv):
    """Put the operations of a computation graph on devices, one after another.

    ## Description
    A graph of operations, such as a neural network, is to run on several devices. Each step names a device for one
    group of operations, in topological order; a group is a colour class of the graph, operations that must share a
    device. Larger graphs are coarsened to `groups` groups first: what sends much to one another is merged, so a step
    moves all of it. The objective is the largest load of a device (`max_load`: what it computes, and what it moves
    over its border), the latency of one sample, or the makespan of an event-driven execution.

    ## Action Space
    `Discrete(8)`: the device. Masked are devices that the cluster has not, that do not support the group, or have no
    memory left for it. Where none has room, the one with the most memory left is allowed and the episode becomes
    infeasible. A masked action counts as the first allowed one.

    ## Observation Space
    The graph convention, a `Dict` of float32, N = 8 + `operations` nodes, E = 3 `operations` + 8 edges:

    | part | shape | meaning |
    |---|---|---|
    | `nodes` | (N, 14) | node d < 8 is device d, the others are groups in the order of decisions |
    | `node_mask` | (N,) | 1 where there is a node |
    | `edges` | (E, 2) | producer to consumer, placed group to its device, current group to every device |
    | `edge_mask` | (E,) | 1 where there is an edge |
    | `globals` | (9,) | progress, what is left, loads, devices, price of moving |

    | feature | of a device | of a group |
    |---|---|---|
    | 0 | 1 | 0 |
    | 1 | whether it is a CPU | whether it is the current one |
    | 2 | whether it is allowed | whether it is placed |
    | 3 | load without the current group | cost where cheapest, x8 |
    | 4 | load with it | price of what it sends, x4 |
    | 5 | largest load of all with it here | the same, at most 1 |
    | 6 | the same less the least possible, x4 | size over the smallest memory, x4 |
    | 7 | what is moved with it here less the least possible, x4 | place before or behind the current one / 16 |
    | 8 | cost of the current group | whether it comes later |
    | 9 | share of memory left | price of what the current group sends it, x4 |
    | 10 | share of the current group's traffic that is with groups here | price of what it sends the current one, x4 |
    | 11 | whether the group before was put here | 0 |
    | 12 | whether the current group is here now | 0 |
    | 13 | transfers without the current group | 0 |

    Times are over the share: all work where it is cheapest, divided by the accelerators. All is clipped at 4. A graph
    of more than `operations` groups shows those near the current one.

    ## Rewards
    `decrease`: by how much the objective fell, so the sum is the objective at the start less that at the end (with
    `initial="nowhere"` minus the final one). `relative`: the same over the share. `log_decrease`: the decrease of
    log(1 + objective / share). `terminal`: all of `decrease` in the last step. `log_ratio`: log(share / objective) in
    the last step. Excess memory adds a share for every memory's worth to the objective. Or a function of (state
    before, action, state after).

    ## Starting State
    For `max_load` nothing is placed; otherwise everything is on the first device with room (`one_device`). `initial`
    names another: `random` or a construction. `reset(options={"assignment": ...})` begins with a device for each of
    the graph's operations.

    ## Episode End
    Terminates after `passes` passes over the groups, one as in Placeto.

    ## Information
    `action_mask` (int8, shape (8,)); at the end `metrics`: `objective`, `over_share`, `feasible`, `excess_bytes`,
    `devices_used`, `decisions`, computed from the event log on the original operations.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `workload` | "generated" | or files, folders, `OpGraph`s ("generated" among them: every second one), or a source |
    | `graph` | None | one graph, in place of a workload |
    | `cluster` | None | a `Cluster` or a text such as "4xA100", at most 8 devices; None takes the file's, or draws |
    | `objective` | "max_load" | `latency`, `makespan` |
    | `initial` | None | see Starting State |
    | `passes` | 1 | how often every group is asked for |
    | `groups` | 64 | most groups, at most 1,024; larger graphs are coarsened |
    | `operations` | None | groups that the observation has room for; None: `groups` |
    | `rules` | None | `ExecutionRules` of a makespan |
    | `split` | "train" | `train`, `valid`, `test`, `all`: streams of generated graphs that share nothing |
    | `reward` | "decrease" | see Rewards |
    | `observation` | "graph" | or an object with `spec` and `encode(state, observation)` |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for a reward or an encoder of one's own |

    ## Vectorized Environment
    `gym.make_vec("sysgym/Placement-v0", num_envs=64)` steps compiled placements together, each of its own graph; see
    `EngineVectorEnv`.

    ## Baselines and Bound
    `metis` (one run), `m_etf`, `m_topo`, `heft`, `greedy`, `equal_split`, `round_robin`, `one_device`, `cpu_only`,
    `least_load`, `random`, and `stay`, which changes nothing. `sysgym.placement.solve` gives better placements and a
    lower bound; `over_share` of 1 cannot be beaten where accelerators are fastest.

    ## Validation
    SimPy and the kernel agree bit for bit in all three objectives (`tests/placement/test_decisions.py`); the
    objective of an episode is `evaluate`'s on the original operations; the sum of rewards telescopes.

    ## References
    Addanki et al.: Placeto, NeurIPS 2019. Tarnawski et al.: Efficient algorithms for device placement of DNN graph
    operators, NeurIPS 2020. Mao et al.: Park, NeurIPS 2019, whose reward has the wrong sign and which ends before the
    last operation is placed.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": [], "network": "leading"}  # noqa: RUF012  Gymnasium's own declaration
    build = staticmethod(build_placement_engine)
    heuristics = HEURISTICS
    do_nothing = "stay"
    objective = "over_share"
    direction = "min"
    bound = Bound("reference", 1.0)
    domain = "Device placement"
    known_at_once = True
    time_unit = "decisions"


class PlacementVectorEnv(BuiltVectorEnv, single=PlacementEnv):
    """Many episodes of `PlacementEnv` at once; see there for the arguments."""
