"""`sysgym/JobSched-v0`: DeepRM, the packing of jobs with several resources into the near future."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.envs.bounds import Bound
from sysgym.envs.built import Built, BuiltEnv, BuiltVectorEnv
from sysgym.jobsched.slotted.engine import build_engine
from sysgym.jobsched.slotted.model import SlottedConfig
from sysgym.jobsched.slotted.observation import Encoder, encoder_of, palette_size
from sysgym.jobsched.slotted.picture import picture
from sysgym.jobsched.slotted.policies import HEURISTICS
from sysgym.jobsched.slotted.rewards import Reward
from sysgym.jobsched.slotted.slot_features import foreseen_features
from sysgym.workloads import Workload, read_trace
from sysgym.workloads.jobsets import Jobset, JobsetGenerator, JobsetSource, source_of
from sysgym.workloads.log_jobsets import LogJobsets

JobSource = JobsetSource | Jobset | Sequence[Jobset] | Workload | str | Path | None


def build_jobsched_engine(
    num_episodes: int,
    *,
    mode: str = "corrected",
    observation: str | Encoder = "image",
    arrival_rate: float | tuple[float, float] = 0.7,
    slots: int = 10,
    sequence_length: int = 50,
    max_steps: int = 2000,
    split: str = "train",
    sampling: str = "uniform",
    engine: str = "auto",
    workload: JobSource = None,
    reward: Reward = "slowdown",
    episode_end: str = "all_done",
    slot_seconds: float = 600.0,
    too_long: str = "drop",
    format: str = "auto",
    clean: str = "default",
    processors: int | None = None,
    columns: Mapping[str, Any] | str | None = None,
    **settings: Any,
) -> Built:
    """The engine behind `JobSchedEnv`, with the same arguments; its parameters; and where its jobs come from."""
    known = {field.name for field in fields(SlottedConfig)}
    for name in settings.keys() - known:
        raise UnknownNameError("argument", name, known | set(signature(build_jobsched_engine).parameters))
    settings = {"slots": slots, "max_steps": max_steps, "episode_end": episode_end, **settings}
    cluster = SlottedConfig.preset(mode, sequence_length=sequence_length, **settings)
    if isinstance(workload, Workload | str | Path):
        log = workload
        if not isinstance(log, Workload):
            log = read_trace(log, format=format, clean=clean, processors=processors, columns=columns)
        source: JobsetSource = LogJobsets(
            log.split(split),
            slot_seconds=slot_seconds,
            sequence_length=sequence_length,
            capacity=cluster.capacity,
            longest=cluster.usable_rows,
            too_long=too_long,
            sampling=sampling,
        )
    else:
        source = _source(workload, cluster, arrival_rate, split)
    sizes = {"sequence_length": source.sequence_length, "resources": source.resources}
    if "resources" in settings and settings["resources"] != source.resources:
        raise SettingError(f"resources is {settings['resources']}, the workload has {source.resources}")
    colours = palette_size(encoder_of(observation), cluster, published=mode == "published")
    config = SlottedConfig.preset(mode, **{"palette": colours, **settings, **sizes})
    built = build_engine(config, source, num_episodes, engine=engine, observation=observation, reward=reward)
    return Built(built, source, config)


def _source(
    workload: Any, cluster: SlottedConfig, arrival_rate: float | tuple[float, float], split: str
) -> JobsetSource:
    if workload is None:
        sizes = cluster.sequence_length, cluster.resources
        rate = tuple(arrival_rate) if isinstance(arrival_rate, list) else arrival_rate  # as study files have it
        return JobsetGenerator(rate, *sizes, largest_demand=cluster.largest_demand, split=split)
    return source_of(workload, "a generator, jobsets, a Workload or the path of a log")


class JobSchedEnv(BuiltEnv):
    """Choose which waiting job a cluster with several resources books next.

    ## Description
    DeepRM (Mao et al., HotNets 2016). A cluster has R = 2 resources with 10 units each, and plans H = 20 time steps
    ahead. At most one job arrives in a step; it lasts some steps and needs some units of every resource throughout. M
    = 10 jobs are visible in slots, 60 more wait in a backlog, further ones are lost. Choosing a slot books its job at
    the earliest time from which it fits without a break, now or later, and the head of the backlog takes the slot;
    the clock stands still. Otherwise one time step passes.

    ## Action Space
    `Discrete(M + 1)`: action i < M books the job in slot i; action M, void, lets a time step pass. An action that is
    masked (empty slot, or a job that fits nowhere within the horizon) passes time as well, as in the paper's code.
    Training without the mask is therefore possible, but learns something else.

    ## Observation Space
    `image`, the default: `Box(0, 1, (H, W), float32)`, W = R (10 + 10 M) + 3 + 1, 224 for M = 10.

    | block | columns for M = 10 | content |
    |---|---|---|
    | machine, resource r | 110 r to 110 r + 9 | row h: units in use at time t + h, from the left |
    | slot j, resource r | 110 r + 10 + 10 j to 110 r + 19 + 10 j | 1 where row < length and column < demand |
    | backlog | 220 to 222 | one cell a job, row by row |
    | time since the last arrival | 223 | min(steps, 10)/10 in every row |

    | name | space | content |
    |---|---|---|
    | `image` | (20, 224) float32 | above |
    | `image_uint8` | (20, 224) uint8 | the same, with the raw count 0 to 10 in the last column |
    | `image_colour` | (20, 224) float32 | machine cells in the colour of their job, as published |
    | `compact` | (91,) float32 | H counts of unfinished jobs, R x H free units, M x (length, demands), backlog |
    | `slots` | (10, 27) float32 | a row a slot: its job, when it could start, the queue, the machine |
    | `choices` | (11, 41) float32 | a row an action: its job, whom it would block; the state, alone in void's row |
    | `choices_foreseen` | (11, 94) float32 | the same; void's row ends with what is to come, for a critic's training |

    An object with `spec` and `encode(state, observation)` takes a name's place, or one that may run in the kernel (see
    `sysgym.jobsched.slotted.observation.Encoder`).

    ## Rewards
    `slowdown`, the default: when a time step passes, minus the sum of 1/length over the jobs in the system (booked,
    running, in slots, in the backlog, and lost ones); booking gives 0. An episode returns minus the sum of the jobs'
    slowdowns, plus 1/length of a job that was there at time 0. `completion`: minus the number of jobs in the system.
    `makespan`: minus 1 a time step. Or a function of (state before, action, state after).

    ## Starting State
    Time 0, an empty cluster, and element 0 of the jobset. Jobsets come from (seed, episode): each element holds a job
    with probability `arrival_rate`; 80 % last 1 to 3 steps, the others 10 to 15; one resource, at random, is needed
    with 5 to 10 units, the others with 1 or 2. The load is 1.845 times the arrival rate. `split` names disjoint
    streams. `reset(options={"jobset": k})` plays jobset k.

    ## Episode End
    Terminates when the sequence is over and every job has left (`all_done`), or when the sequence is over
    (`no_new_job`). Truncates after `max_steps` decisions, or once `max_time` time steps have passed if that is set.

    ## Information
    `action_mask` (int8, shape (M + 1,)): 1 where a slot holds a job that can be booked, and for void. At the end
    `metrics`: `mean_slowdown floored_slowdown max_slowdown mean_completion_time makespan utilisation jobs booked
    dropped unbooked incomplete`, from the event log. A mean slowdown with `incomplete` = 1 counts jobs that were lost
    or never booked with the least slowdown that they could still reach.

    ## Arguments
    | name | default | meaning |
    |---|---|---|
    | `mode` | "corrected" | "published" repeats the quirks of the public code, see `sysgym.jobsched.slotted.model` |
    | `observation` | "image" | see Observation Space |
    | `arrival_rate` | 0.7 | of the generator; 0.7 is 130 % load, 1.0 is 184 %; a pair draws one an episode |
    | `slots` | 10 | M; the paper's code has 5 or 10 |
    | `sequence_length` | 50 | elements of a generated jobset, or of a window of a log |
    | `max_steps` | 2000 | decisions before truncation |
    | `format`, `clean`, `processors`, `columns` | as in `read_trace` | how a log is read |
    | `split` | "train" | `train`, `valid`, `test`; `all` for logs |
    | `sampling` | "uniform" | windows of a log drawn from (seed, episode); `disjoint`: window number seed + episode |
    | `engine` | "auto" | `compiled`, `simpy`; auto takes SimPy for plain Python rewards and encoders |
    | `workload` | None | the generator; or a `JobsetGenerator`, jobsets, a `Workload`, the path of a log |
    | `reward` | "slowdown" | see Rewards |
    | `episode_end` | "all_done" | or `no_new_job` |
    | `slot_seconds` | 600 | of a log: seconds of a time step |
    | `too_long` | "drop" | of a log: jobs that exceed the horizon are left out, or cut with `clip` |
    | others | | fields of `SlottedConfig`, such as `capacity horizon max_time`, or one quirk, such as `linger=True` |

    Of several jobsets, episode k plays number k modulo their count. A log becomes windows of `sequence_length` steps,
    drawn by (seed, episode), with demands scaled to `capacity` units of the whole machine; how much that bends it is
    told by `env.unwrapped.workload.distortion`. Logs are better served by `sysgym/BatchSched-v0`.

    ## Vectorized Environment
    `gym.make_vec("sysgym/JobSched-v0", num_envs=64)` steps compiled episodes together; see `EngineVectorEnv`. Its
    images are kept up to date cell by cell: read them, copy them, but do not write to them.

    ## Baselines and Bound
    `sjf`, `sjf_hold`, `gated_linear`, `packer`, `packer_sjf`, `tetris`, `fcfs`, `random`, and `void`, which does
    nothing. A mean slowdown of 1 (no job waits) bounds every policy from below; under contention it is not reached.

    ## Validation
    In published mode both engines repeat the worked examples and golden episodes measured on the public code (returns
    to 1e-6), and the heuristics' mean slowdowns at five loads. SimPy, the kernel and an oracle written from the
    specification alone agree step by step (`tests/jobsched/`).

    ## References
    Mao, Alizadeh, Menache, Kandula: Resource Management with Deep Reinforcement Learning, HotNets 2016;
    `github.com/hongzimao/deeprm`. Departures of the corrected mode: see `sysgym.jobsched.slotted.model`.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4, "discount": 1.0}  # noqa: RUF012  Gymnasium's declaration
    build = staticmethod(build_jobsched_engine)
    heuristics = HEURISTICS
    do_nothing = "void"
    objective = "mean_slowdown"
    direction = "min"
    bound = Bound("bound", 1.0)
    domain = "Cluster scheduling"
    shifts: ClassVar[Mapping[str, float]] = {"arrival_rate": 0.7, "sequence_length": 50}
    time_unit = "time steps"
    scenario_arguments: ClassVar[Mapping[str, Any]] = {"sampling": "disjoint"}
    training_only: ClassVar[Mapping[str, Sequence[str]]] = {"observation": ("choices_foreseen",)}

    def render(self) -> str | None:
        """The state as text with `render_mode="ansi"`, else None."""
        return picture(self.state, self.config) if self.render_mode == "ansi" else None


class JobSchedVectorEnv(BuiltVectorEnv, single=JobSchedEnv):
    """Many episodes of `JobSchedEnv` at once; see there for the arguments."""

    def __init__(self, num_envs: int = 1, **arguments: Any) -> None:
        super().__init__(num_envs, **arguments)
        if arguments.get("observation") in ("choices", "choices_foreseen"):
            self.metadata = {**self.metadata, "network": "choices"}
        if arguments.get("observation") == "choices_foreseen":
            self.metadata["foreseen"] = foreseen_features(self.config.resources)
