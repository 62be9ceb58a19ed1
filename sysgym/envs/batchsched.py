"""`sysgym/BatchSched-v0`: a parallel machine's queue, one job chosen at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from sysgym.core.errors import SettingError
from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.jobsched.batch.engine import build_engine
from sysgym.jobsched.batch.model import decided_rules
from sysgym.jobsched.batch.observation import QueueEncoding
from sysgym.jobsched.batch.policies import HEURISTICS
from sysgym.jobsched.batch.rewards import RewardFunction
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.workloads import read_trace
from sysgym.workloads.models import generate
from sysgym.workloads.synthetic import poisson_pareto
from sysgym.workloads.workload import Workload


def build_batch_engine(
    num_episodes: int,
    workload: Workload | str | Path | Mapping[str, Any] | None = None,
    *,
    split: str = "train",
    sampling: str = "uniform",
    sequence_length: int = 256,
    backfill: str = "none",
    pass_rule: str = "batch",
    commit: bool = True,
    patience: float = math.inf,
    observation: str | QueueEncoding = "features",
    reward: str | RewardFunction = "bounded_slowdown",
    engine: str = "auto",
    format: str = "auto",
    clean: str = "default",
    processors: int | None = None,
    columns: Mapping[str, Any] | str | None = None,
    processors_from: str | None = None,
    arrivals: float | None = None,
) -> Built:
    """The engine behind `BatchSchedEnv`, with the same arguments, and the workload that it plays."""
    rules = decided_rules(backfill, pass_rule, commit, patience)
    jobs = _workload(workload, format, clean, processors, columns, processors_from)
    if arrivals is not None:
        jobs = jobs.with_arrivals_scaled(arrivals)
    sequences = JobSequences(jobs, sequence_length, split, sampling)
    return Built(build_engine(sequences, rules, num_episodes, engine, observation, reward), jobs)


def _workload(
    workload: Workload | str | Path | Mapping[str, Any] | None,
    form: str,
    clean: str,
    processors: int | None,
    columns: Mapping[str, Any] | str | None,
    processors_from: str | None,
) -> Workload:
    if isinstance(workload, Mapping):
        if not isinstance(workload.get("model"), str):
            raise SettingError(f"workload is {dict(workload)!r}; a table names a model: {{model = 'lublin', seed = 1}}")
        drawn = generate(**workload)
        return drawn if processors is None else drawn.with_processors(processors)
    if workload is None:
        return poisson_pareto(jobs=40_000, processors=processors or 128, load=0.9, seed=0)
    if isinstance(workload, Workload):
        return workload if processors is None else workload.with_processors(processors)
    if not isinstance(workload, str | Path):
        raise SettingError(f"workload is {workload!r}; give a Workload, the path of a log, a model's table, or None")
    return read_trace(
        workload, format=form, clean=clean, processors=processors, columns=columns, processors_from=processors_from
    )


class BatchSchedEnv(BuiltEnv):
    """Choose which waiting job a parallel machine starts next.

    ## Description
    Rigid jobs of a production log (or a generator) arrive at a machine with one pool of processors. Whenever jobs
    wait and none is committed, the policy picks one. If it fits it starts at once, and the next decision follows in
    the same instant. If not, it is a commitment: the clock runs from event to event until the job fits. With
    `backfill="easy"` other jobs may start meanwhile, under EASY's rule, as long as the requested times say that they
    don't delay the committed one; `rlscheduler` and `accasim` are the rules of those programs. Times are seconds.

    ## Action Space
    `Discrete(128)`: action i picks the i-th row of the observation. Rows without a job are masked; an action on one
    picks the job at the head of the queue.

    ## Observation Space
    `Box(0, 1, (128, 8), float32)`: a row a waiting job in order of submission. If more than 128 wait, the first row
    is the oldest, then come the shortest by request and the smallest in turn.

    | column | meaning | range | unit |
    |---|---|---|---|
    | 0 | wait | 0 to 1 | 43,200 s |
    | 1 | requested time | 0 to 1 | longest of the workload |
    | 2 | processors | 0 to 1 | machine |
    | 3 | requested memory, 1 if unknown | 0 to 1 | largest of the workload |
    | 4 | user, 1 if unknown | 0 to 1 | largest number |
    | 5 | group, 1 if unknown | 0 to 1 | largest number |
    | 6 | executable, 1 if unknown | 0 to 1 | largest number |
    | 7 | can start now | 0 to 1 | 1e-5 no, 1 - 1e-5 yes |

    Rows without a job read (0, 1, 1, 1, 1, 1, 1, 0).

    `observation="queue"`: `Box(0, 1, (128, 16), float32)`, times by their logarithm, each job beside the others that
    wait, and no name of a user or log, so that a policy can move from machine to machine; see
    `sysgym.jobsched.batch.queue_features`.

    ## Rewards
    Minus the bounded slowdown (threshold 10 s) of every job that started since the last decision, over the number of
    jobs of the episode: the return is minus the episode's mean bounded slowdown. Other names: `wait_time`,
    `turnaround_time`, `slowdown`, each also with `final_` in front, which pays everything at the end as RLScheduler
    does, or with `accrued_`, which pays as the scores grow while jobs wait (the return is the same, and can be
    discounted); or a function of (state before, action, state after).

    ## Starting State
    The first submission of a window of `sequence_length` consecutive jobs, on an empty machine. Windows lie within
    the split: `train` the first 60 % of the log, `valid` the next 20 %, `test` the last 20 %.

    ## Episode End
    Terminates when every job of the window has started (the clock then runs on until the last has ended). Never
    truncates.

    ## Information
    `action_mask` (int8, shape (128,)); at the end `metrics`: mean, median, p95, p99 and maximum of bounded slowdown
    and wait, turnaround, makespan, utilisation, from the event log.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `workload` | None | a `Workload`, a log's path, a model (`{"model": "lublin"}`), or None: see below |
    | `split` | "train" | `train`, `valid`, `test`, or `all` |
    | `sampling` | "uniform" | windows drawn from (seed, episode); `disjoint`: window number seed + episode |
    | `sequence_length` | 256 | jobs in an episode |
    | `backfill` | "none" | `none`, `easy`, `rlscheduler` or `accasim` |
    | `pass_rule` | "batch" | `batch` or `per_event`, see `sysgym.jobsched.batch.model` |
    | `commit` | True | False: a chosen job that doesn't fit blocks for one pass only, then comes a new decision |
    | `patience` | inf | seconds that a job may wait before it is chosen, the oldest first, instead of the action's |
    | `observation` | "features" | a name, a `QueueEncoding`, or an object with `spec`, `encode(state, observation)` |
    | `reward` | "bounded_slowdown" | see Rewards |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for plain Python rewards and encoders |
    | `format`, `clean` | "auto", "default" | how a log is read, see `sysgym.workloads.read_trace` |
    | `processors`, `columns` | None, None | size of the machine; which column of a CSV log is what |
    | `processors_from` | None | `requested` (as None), `allocated` or `max`: which count of a log is a job's size |
    | `arrivals` | None | factor of the submissions, floor(submit * factor): 0.8 raises the load by a quarter |

    A table goes to `workloads.models.generate` (`model`, `jobs`, `processors`, `seed`, settings of the model); None
    generates 40,000 jobs (Poisson/Pareto, load 0.9).

    ## Vectorized Environment
    `gym.make_vec("sysgym/BatchSched-v0", num_envs=64)` steps compiled episodes together; see `EngineVectorEnv`.

    ## Baselines and Bound
    `fcfs`, `sjf`, `smallest`, `smallest_area`, `wfp3`, `unicep`, `f1`, `random`; `wfp3_published` and
    `unicep_published` have RLScheduler's negative waits. `learned` comes with the package. The bound is a mean bounded
    slowdown of 1 (no job waits), which is not reached under contention.

    ## Validation
    Choosing the oldest job gives the schedule of `replay(policy="fcfs")`, with EASY backfilling that of
    `replay(policy="easy")`, choosing the shortest that of `sjf_commit`; with `backfill="rlscheduler"` and
    `pass_rule="per_event"` the two give RLScheduler's own figures. All equal the published and measured references of
    several logs to six decimals (`tests/jobsched/test_batch_references.py`). SimPy and the kernel agree event by event,
    and both with oracles written from the specification alone (`tests/jobsched/test_batch.py`).

    ## References
    Zhang, Dai, He, Bao, Xie: RLScheduler, SC 2020. Departures: EASY's own backfilling rule, rewards paid as jobs
    start, the oldest job always visible, splits disjoint in time.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": [], "discount": 1.0}  # noqa: RUF012  Gymnasium's own declaration
    build = staticmethod(build_batch_engine)
    heuristics = HEURISTICS
    do_nothing = "fcfs"
    objective = "mean_bounded_slowdown"
    direction = "min"
    bound = Bound("bound", 1.0)
    domain = "Cluster scheduling"
    shifts: ClassVar[Mapping[str, float]] = {"arrivals": 1.0}
    scenario_arguments: ClassVar[Mapping[str, Any]] = {"sampling": "disjoint"}

    def __init__(
        self,
        workload: Workload | str | Path | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(render_mode, workload=workload, **arguments)


class BatchSchedVectorEnv(BuiltVectorEnv, single=BatchSchedEnv):
    """Many episodes of `BatchSchedEnv` at once; see there for the arguments."""
