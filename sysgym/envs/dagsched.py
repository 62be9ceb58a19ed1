"""`sysgym/DagSched-v0`: share executors among jobs that are graphs of stages, after Decima."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.jobsched.dag.arrivals import ArrivalRules, DagJobs, jobs_of
from sysgym.jobsched.dag.engine import build_engine
from sysgym.jobsched.dag.model import DagConfig
from sysgym.jobsched.dag.policies import HEURISTICS
from sysgym.jobsched.dag.rewards import Reward
from sysgym.workloads import DagProfile, Workload


def build_dag_engine(
    num_episodes: int,
    *,
    workload: str | Path | Workload | DagJobs | Sequence[DagProfile] = "generated",
    executors: int = 10,
    jobs: int = 20,
    initial_jobs: int = 1,
    mean_gap: float = 75.0,
    horizon: str = "all_done",
    horizon_seconds: float = 1800.0,
    moving_delay: int = 2000,
    warm_up: int = 1000,
    inverted_levels: bool = False,
    stages: int = 64,
    limits: int | None = None,
    split: str = "train",
    reward: str | Reward = "completion",
    observation: str = "graph",
    engine: str = "auto",
) -> Built:
    """The engine behind `DagSchedEnv`, with the same arguments; its parameters; and where its jobs come from."""
    config = DagConfig(executors, moving_delay, warm_up, inverted_levels, stages, limits)
    source = jobs_of(workload, ArrivalRules(jobs, initial_jobs, mean_gap, horizon, horizon_seconds), split)
    return Built(build_engine(config, source, num_episodes, engine, observation, reward), source, config)


class DagSchedEnv(BuiltEnv):
    """Share executors among jobs that are graphs of stages.

    ## Description
    Decima's problem (Mao et al., SIGCOMM 2019). Jobs arrive one by one. A job is a graph of stages, a stage some
    number of tasks that wait for the tasks of all its parents. Ten executors run a task each; an executor belongs to
    one job at a time, and moving to another takes two seconds. How long a task takes was measured on Spark: longer on
    an executor that has just joined, longer in the first wave of a stage, longer where many executors work for the
    job. Whenever executors come free, because their stage has no more tasks, children became runnable, or a job came
    or went, decisions say which stages they go to; `sysgym.jobsched.dag.model` has the rules one by one.

    ## Action Space
    `Discrete(N L + 1)`, N = `stages`, L limits (1 to `executors` unless `limits` says otherwise): action v L + l gives
    stage v of the observation executors until its job has the l-th limit of them, as many as are free and as it has
    tasks for; the last action leaves the free ones idle. Of limits that commit equally many executors only the
    smallest is allowed, the others mean the same. A stage may be chosen when tasks are left and all those of its
    parents are taken or promised, once a round. An action that commits nobody counts as the last one; where nothing
    would ever happen after that, it is masked and counts as the first allowed action.

    ## Observation Space
    `graph`, the default: the graph convention, a `Dict` of float32. Nodes are the unfinished stages of the jobs in
    order of arrival, as long as whole jobs fit; edges lead from parents to children.

    | part | shape | meaning |
    |---|---|---|
    | `nodes` | (N, 19) | see below |
    | `node_mask` | (N,) | 1 where there is a stage |
    | `edges` | (2 N, 2) | parent, child |
    | `edge_mask` | (2 N,) | 1 where there is an edge |
    | `globals` | (10,) | see below |

    | features | of a stage |
    |---|---|
    | 0, 1 | whether it may be chosen, is runnable |
    | 2, 3, 4 | tasks left, expected work left, expected duration of a task |
    | 7, 8 | longest way to the job's end, the same over the job's |
    | 5, 6 | executors on it, promised or moving to it |
    | 9 | time that it keeps its executors |
    | 10, 11, 12 | executors that its job has, expects; whether they are asked for now |
    | 13, 14, 15 | its job's expected work left, longest way, share of work in both |
    | 16, 17, 18 | work beyond that of the job with the least; share of jobs with less; the job's age |

    The globals: jobs / 10; executors to be committed; whether they are a job's, a stage's; those in the common pool;
    work left of all; jobs that are not seen / 10; whether idling is allowed; executors whose stages have work for
    10 s, for 40 s.

    Executors are over all executors, times and counts on a logarithmic scale.

    `choices`: the same with a part more, `choices` (N L + 1, 13), of every allowed action: executors it commits, over
    all, over the free ones, over the tasks left; executors of the job afterwards, and the time they would take for its
    work; whether these are its last tasks; the time that the stage would keep its executors; the job's executors over
    an equal share, and how far beyond one; the time until the job's end, with the longest way; what each of them saves;
    how far beyond a share by rank, and how far below.

    `rows`: `Box(-4, 4, (N L + 1, 37), float32)`, a row an action: the features of its stage; executors it commits, over
    all, over the free ones, over the tasks left; executors of the job afterwards, and the time they would take for its
    work; whether these are its last tasks; the time that the stage would keep its executors; the job's executors over
    an equal share; and the globals. What is masked is 0 in both.

    ## Rewards
    `completion`, the default: minus the jobs in the system, integrated until the next decision, seconds over 100; an
    episode in which all jobs end returns minus the sum of their completion times over 100. `makespan`: minus the time
    that passes, over 100. `regret`: what `completion` loses to a fluid cluster, to learn from; see
    `sysgym.jobsched.dag.rewards`. Or a function of (state before, action, state after).

    ## Starting State
    `initial_jobs` are there at time 0; the others follow with exponential gaps of mean `mean_gap` seconds. Each is one
    of 154 kinds, drawn from (seed, episode), and so is the duration of each of its tasks, whatever the schedule.
    `generated` kinds are made and fitted in shape to TPC-H on Spark; `workload` takes the file of measured profiles.
    At the defaults the load is 0.69 with the generated kinds and 0.85 with the measured ones, moving not included.

    ## Episode End
    Terminates when all `jobs` have ended. Truncates at the horizon, if there is one: `fixed` after `horizon_seconds`,
    `random` after an exponential time of that mean, or where `reset(options={"horizon_seconds": ...})` says.

    ## Information
    `action_mask` (int8); at the end `metrics`: `mean_completion_time` (unfinished jobs count with their age),
    `median_completion_time`, `max_age`, `jobs`, `unfinished`, `makespan`, `horizon`, `lower_bound`, `over_bound`, and
    of complete episodes `makespan_bound`; seconds, from the event log.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `workload` | "generated" | or a file of TPC-H profiles, a `Workload` with profiles, `DagProfile`s |
    | `executors` | 10 | Decima's experiments have 50 |
    | `jobs` | 20 | of an episode; Decima's have 200 and more |
    | `initial_jobs` | 1 | there at time 0 |
    | `mean_gap` | 75 | seconds between arrivals; Decima's have 25 |
    | `horizon`, `horizon_seconds` | "all_done", 1800 | see Episode End |
    | `moving_delay` | 2000 | ms |
    | `warm_up` | 1000 | ms more for a fresh executor where that was not measured |
    | `inverted_levels` | False | the slip of the public codes, see `sysgym.jobsched.dag.profiles.level_of` |
    | `stages` | 64 | N; at least as many as the largest job has |
    | `limits` | None | number of limits, spread evenly; None: 1 to `executors` |
    | `split` | "train" | `train`, `valid`, `test`: streams of arrivals and durations that share nothing |
    | `reward` | "completion" | see Rewards |
    | `observation` | "graph" | `choices`, `rows`, or an object with `spec` and `encode(state, observation)` |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for a reward of one's own |

    ## Vectorized Environment
    `gym.make_vec("sysgym/DagSched-v0", num_envs=64)` steps compiled clusters together; see `EngineVectorEnv`.

    ## Baselines and Bound
    `fifo` and `fair` as in Decima's code, `weighted_fair` (shares as work left ^ alpha, alpha tuned on training
    arrivals), `shortest_work`, `critical_path`, `random`, and `idle`, which leaves executors idle where it may.
    `over_bound` is the mean completion time over a lower bound: the larger of the shortest-remaining-work schedule on
    one machine that is E times as fast, and the jobs' critical paths (`sysgym.jobsched.dag.bounds`).

    ## Validation
    SimPy and the kernel agree bit for bit after every step on generated instances; an oracle written apart from both
    repeats FIFO and fair sharing (`tests/oracles/test_dag_oracle.py`); the return is minus the sum of completion
    times; no schedule beats the bounds.

    ## References
    Mao, Schwarzkopf, Venkatakrishnan, Meng, Alizadeh: Learning scheduling algorithms for data processing clusters,
    SIGCOMM 2019; `github.com/hongzimao/decima-sim`. Departures: see `sysgym.jobsched.dag.model`.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration
    build = staticmethod(build_dag_engine)
    heuristics = HEURISTICS
    do_nothing = "idle"
    objective = "mean_completion_time"
    direction = "min"
    bound = Bound("bound", metric="lower_bound")
    domain = "Cluster scheduling"
    shifts: ClassVar[Mapping[str, float]] = {"mean_gap": 75.0}
    time_unit = "s"


class DagSchedVectorEnv(BuiltVectorEnv, single=DagSchedEnv):
    """Many episodes of `DagSchedEnv` at once; see there for the arguments."""
