"""`sysgym/ScheduleRewrite-v0`: improve a whole schedule by moving one job after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.jobsched.rewriting.engine import build_engine
from sysgym.jobsched.rewriting.model import CAPACITY, RewriteConfig
from sysgym.jobsched.rewriting.policies import HEURISTICS
from sysgym.jobsched.rewriting.rewards import Reward
from sysgym.workloads.job_sequences import SequenceGenerator
from sysgym.workloads.jobsets import Jobset, JobsetSource, source_of


def build_rewriting_engine(
    num_episodes: int,
    *,
    resources: int | Sequence[int] = 10,
    arrival_rate: float = 0.7,
    sequence_length: int = 50,
    variant: str = "standard",
    split: str = "train",
    workload: JobsetSource | Jobset | Sequence[Jobset] | None = None,
    capacity: int = CAPACITY,
    initial: str = "ejf",
    moves: str = "insertion",
    rewrites: int = 50,
    reward: str | Reward = "log_best",
    observation: str = "rows",
    engine: str = "auto",
) -> Built:
    """The engine behind `ScheduleRewriteEnv`, with the same arguments."""
    named = reward if isinstance(reward, str) else "log_best"
    config = RewriteConfig(capacity, initial, moves, rewrites, named)
    if workload is None:
        choices = tuple(resources) if isinstance(resources, Sequence) else resources
        source: JobsetSource = SequenceGenerator(choices, arrival_rate, sequence_length, variant, split)
    else:
        source = source_of(workload, "a source of jobsets such as SequenceGenerator, or jobsets")
    function = None if isinstance(reward, str) else reward
    return Built(build_engine(config, source, num_episodes, engine, observation, function), source)


class ScheduleRewriteEnv(BuiltEnv):
    """Improve a whole schedule by moving one job after another.

    ## Description
    NeuRewriter's job scheduling (Chen and Tian, NeurIPS 2019). Jobs arrive in 50 time steps, at most one a step; each
    needs units of D resources for some time, without a break. All arrivals are known. An episode begins with a
    complete schedule, earliest job first, and moves one job at a time; whatever that affects is placed anew at its
    earliest feasible start, its arrival or the end of another job. The best schedule met counts: its mean slowdown,
    (finish - arrival) / length.

    ## Action Space
    `Discrete(N + 1)`, N = `sequence_length`. A move is two decisions. First a job is picked, or N stops the episode.
    Then a row says behind which job it goes, N: to the front. With `insertion` that is a place in the order in which
    jobs are placed, and every schedule worth having can be reached. With `published` it is the public code's move:
    only up to ten ancestors and ten descendants in the graph of jobs are allowed, the job is put at the end of that
    neighbour, and time is swept; pairs are not played twice. An action that is masked is a move that changes nothing.

    ## Observation Space
    `rows`, the default: `Box(-4, 4, (N + 1, 44), float32)`, a row a job in the order of arrival, the last one for the
    front; zeros where there is no job. Times are scaled, all is clipped.

    | columns | of the job |
    |---|---|
    | 0 to 2, 6 | 1; length, 1/length; arrival |
    | 3 to 5 | largest and mean demand, share of the resources of which it needs more than half |
    | 7 to 11 | wait, log slowdown, share of all slowdowns; place in the order; start |
    | 12 to 15 | how lately it was moved, whether ever; whether it stands behind the cursor, and how far |
    | 16 to 18 | earliest start beside the jobs up to the cursor, from its arrival, to its start, from the soonest |
    | 19, 20 | finish with that start, from the soonest of all; slowdown with it |
    | 21, 22 | how much it keeps others waiting, how many shorter ones |
    | 23, 24 | how much it is kept waiting, by how many longer ones |
    | 25 to 27 | whether the row is the cursor, and the picked job; 1/length of the picked job |
    | 28 to 32 | moves left, the mean slowdown over the best, its logarithm, jobs over N, whether a job is picked |
    | 33 to 36 | of the picked job behind this row: places moved, time gained, the same over its length, its wait |
    | 37, 38 | likewise: time to the next job's start; sum of 1/length of the jobs that it passes |
    | 39 | 1 in the last row |
    | 40, 41 | what it costs rivals behind the cursor, as slowdown, if it starts at its soonest before them; they it |
    | 42, 43 | rivals that it costs more than they it; the least difference |

    The cursor is the job that was moved last. No column comes from playing moves; a view costs about as much as one or
    two evaluations of a schedule. An object with `spec` and `encode(state, observation)` takes the name's place.

    ## Rewards
    Paid with the second decision. `log_best`, the default: log(least mean slowdown before / after), so an episode
    returns log(initial / best). `best`: the same as a difference over the initial. `decrease`: of the schedule at
    hand. `published`: `decrease` less 0.01 a move. `final`: all of `log_best` when the episode ends. Or a function of
    (state before, action, state after).

    ## Starting State
    `ejf`: jobs placed in the order of arrival. `initial` names another list schedule. Sequences come from (seed,
    episode): in each step a job with probability 0.7; 80 % last 1 to 3 steps, the others 10 to 15; D // 2 resources,
    drawn with replacement, are needed with 5 to 10 of 10 units, the others with 1 or 2. `reset(options={"jobset":
    k})` plays sequence k.

    ## Episode End
    Terminates after `rewrites` moves, 50 as in the paper, or when the policy stops.

    ## Information
    `action_mask` (int8, shape (N + 1,)). At the end `metrics`, from the event log: `mean_slowdown`, `max_slowdown`,
    `mean_completion_time` and `makespan` of the best schedule, `initial_slowdown`, `last_slowdown`,
    `over_sjf_offline` (mean slowdown over that of SJF-offline), `changes`, `jobs`.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `resources` | 10 | D; or several, of which each sequence draws one |
    | `arrival_rate`, `sequence_length` | 0.7, 50 | of the generator |
    | `variant` | "standard" | another of `workloads.job_sequences.VARIANTS`, such as `uniform_short` |
    | `split` | "train" | `train`, `valid`, `test`: streams that share nothing |
    | `workload` | None | the generator; or jobsets, or a `JobsetSource` such as windows of a log |
    | `capacity` | 10 | units of every resource |
    | `initial` | "ejf" | `sjf`, `sjfs`, `sjf_offline`, `earliest_finish` |
    | `moves` | "insertion" | or `published` |
    | `rewrites` | 50 | moves of an episode |
    | `reward` | "log_best" | see Rewards |
    | `observation` | "rows" | see Observation Space |
    | `engine` | "auto" | `compiled`, `simpy` (the plain Python reference); auto takes it for functions of one's own |

    ## Vectorized Environment
    `gym.make_vec("sysgym/ScheduleRewrite-v0", num_envs=64)` steps compiled episodes together; see `EngineVectorEnv`.

    ## Baselines and Bound
    `stop` (does nothing), `random`, `worst_first`, `climbing` (tries every insertion), and builders of known orders:
    `sjf_offline`, `earliest_finish`, `annealed`, `annealed_in_order`. `sysgym.jobsched.rewriting.solve` offers list
    schedules, hill climbing, annealing, OR-tools and, up to 16 jobs, the optimum. A mean slowdown of 1 bounds all.

    ## Validation
    On the public generator's sequences EJF, SJF and SJF-offline repeat the measured averages, which lie within 3 % of
    the published ones; the worked example of a published move; reference and kernel agree bit for bit; the optimum
    equals enumeration (`tests/jobsched/test_rewriting.py`).

    ## References
    Chen and Tian: Learning to perform local rewriting for combinatorial optimization, NeurIPS 2019;
    `github.com/facebookresearch/neural-rewriter`. Departures: a move is two decisions; jobs may go anywhere in the
    placement order unless `moves="published"`.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": [], "discount": 1.0}  # noqa: RUF012  Gymnasium's declaration
    build = staticmethod(build_rewriting_engine)
    heuristics = HEURISTICS
    do_nothing = "stop"
    objective = "mean_slowdown"
    direction = "min"
    bound = Bound("bound", 1.0)
    domain = "Cluster scheduling"
    shifts: ClassVar[Mapping[str, float]] = {"resources": 10, "arrival_rate": 0.7}
    known_at_once = True
    time_unit = "moves"
    scenario_arguments: ClassVar[dict[str, Any]] = {}


class ScheduleRewriteVectorEnv(BuiltVectorEnv, single=ScheduleRewriteEnv):
    """Many episodes of `ScheduleRewriteEnv` at once; see there for the arguments."""
