"""The file of a study: what shall be compared on what, in TOML.

A study is data. It names environments (an id with its arguments, for instance the log that is replayed), policies, the
split and the number of scenarios on which they meet, and budgets. Every policy plays the same scenarios, which is what
pairs their scores. A whole one:

    name = "sp2"                              # letters, digits, - and _; results lie in <file name>.results/
    description = "Does a trained scheduler beat shortest-job-first on SDSC SP2?"
    split = "test"                            # train, valid, test, or sealed (needs a secret); training sees train
    scenarios = 20                            # episodes a run is evaluated on
    valid = 10                                # episodes of the valid split besides, on which the best heuristic is
                                              # chosen; without it, it is chosen on the scenarios that are shown
    seed = 0                                  # first scenario; on a log, the first of its disjoint windows

    [[environments]]
    name = "SDSC SP2"                         # shown in tables; the id when left out
    id = "sysgym/BatchSched-v0"               # any Gymnasium id with Discrete actions, "module:Id" included
    arguments = { workload = "${SYSGYM_DATA}/traces/swf/SDSC-SP2-1998-head4961.swf.gz", backfill = "easy" }

    [[policies]]
    policy = "sjf"                            # a heuristic of the environment, a checkpoint, or file.py[:ClassName]

    [[policies]]
    policy = "random"
    draws = 20                                # independent runs of a policy that draws; its mean is the score 0

    [[policies]]
    policy = "random"
    environments = []                         # where instances are known at once, as in Placement-v0:
    best_of = 100                             # of so many draws of each scenario the best counts, which is a search

    [[policies]]
    name = "mine"
    policy = "policies/mine.py"               # paths are relative to the study file
    environments = ["SDSC SP2"]               # on these only; on all when left out
    trusted = true                            # plays in our process; else in one of its own, which is fenced in

    [[policies]]
    name = "PPO"
    train = { algorithm = "ppo", seeds = [0, 1, 2], frames = 500000, settings = { learning_rate = 3e-4 } }
                                              # environment = "KTH": learn there, play everywhere
    play = "greedy"                           # or "sampled": how a trained policy chooses
    transfer = false                          # true: it, or a checkpoint, may play in another id than it was trained in

    [budgets]
    training_frames = 1000000                 # of every `train` that names neither frames nor seconds
    training_seconds = 120
    scenario_steps = 100000                   # a run fails when a scenario takes more steps
    evaluation_seconds = 600                  # a run fails when its evaluation takes longer
    step_seconds = 1.0                        # of policy files, which play in a process of their own: an answer,
    scenario_cpu_seconds = 60                 # a scenario, and
    memory_bytes = 1073741824                 # writable memory

`policies = ["fcfs", "sjf"]` is short for entries with only `policy`. What becomes of it is in `study`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from sysgym.bench.isolation import Limits
from sysgym.bench.policies import SAMPLED
from sysgym.core.errors import UnknownNameError

VALID = "valid"
"""The split on which choices are made."""
Name = Annotated[str, Field(min_length=1, max_length=80)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seconds = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """A table of a study: immutable, strict about types and about its keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    raise ValueError(str(UnknownNameError("key", key, cls.model_fields)))
        return value


class EnvironmentPart(Part):
    """An environment and the arguments it is made with."""

    id: Name
    name: Name = ""
    arguments: dict[str, JsonValue] = {}
    scenarios: Positive | None = None
    valid: Count | None = None

    @property
    def title(self) -> str:
        """How tables call it."""
        return self.name or self.id


class TrainPart(Part):
    """How a policy is trained, once for each seed."""

    algorithm: Name
    environment: Name | None = None
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    frames: Positive | None = None
    seconds: Seconds | None = None
    settings: dict[str, JsonValue] = {}


class PolicyPart(Part):
    """A policy that is named, or trained."""

    name: Name = ""
    policy: Name | None = None
    train: TrainPart | None = None
    play: Literal["greedy", "sampled"] = "greedy"
    draws: Annotated[int, Field(ge=1, le=1000)] = 1
    best_of: Annotated[int, Field(ge=1, le=10_000)] = 1
    trusted: bool = False
    transfer: bool = False
    environments: list[Name] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> PolicyPart:
        if self.policy is not None and self.train is not None:
            raise ValueError("has both policy and train; give one of them")
        if self.train is None and self.play != "greedy":
            raise ValueError(f"play is of trained policies; write policy = 'FILE.safetensors:{SAMPLED}' for a file")
        if self.train is not None and self.best_of > 1 and self.play != SAMPLED:
            raise ValueError("best_of needs a policy that draws; add play = 'sampled'")
        if not self.name and self.policy is None and self.train is None:
            raise ValueError("names no policy; give policy or train")
        return self

    @property
    def source(self) -> str:
        """What is resolved when nothing is trained: `policy`, or else the name."""
        return self.policy or self.name

    @property
    def title(self) -> str:
        """How tables call it: its name, or what it is."""
        if self.name:
            return self.name
        if self.train is not None:
            return self.train.algorithm
        name = Path(self.source).name if "/" in self.source else self.source
        return name if self.best_of == 1 else f"{name}, best of {self.best_of}"


class BudgetPart(Part):
    """Limits of training and evaluation."""

    training_frames: Positive | None = None
    training_seconds: Seconds | None = None
    scenario_steps: Positive = 1_000_000
    evaluation_seconds: Seconds | None = None
    step_seconds: Seconds = Limits.step_seconds
    scenario_cpu_seconds: Positive = Limits.cpu_seconds
    memory_bytes: Annotated[int, Field(ge=2**26)] = Limits.memory_bytes

    @property
    def limits(self) -> Limits:
        """Of code that plays in a process of its own."""
        return Limits(self.step_seconds, self.scenario_cpu_seconds, self.memory_bytes)


class StudyPart(Part):
    """The file as a whole; see the module."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    description: str = ""
    split: Literal["train", "valid", "test", "sealed"] = "test"
    scenarios: Positive = 20
    valid: Count = 0
    seed: Seed = 0
    environments: Annotated[list[EnvironmentPart], Field(min_length=1)]
    policies: Annotated[list[PolicyPart], Field(min_length=1)]
    budgets: BudgetPart = BudgetPart()

    @model_validator(mode="after")
    def _consistent(self) -> StudyPart:
        titles = [environment.title for environment in self.environments]
        if self.split == VALID and (self.valid or any(environment.valid for environment in self.environments)):
            raise ValueError("valid is for studies of another split; leave it out")
        _refuse_twins("environment", titles)
        _refuse_twins("policy", [policy.title for policy in self.policies])
        for policy in self.policies:
            elsewhere = [policy.train.environment] if policy.train and policy.train.environment else []
            for name in [*(policy.environments or ()), *elsewhere]:
                if name not in titles:
                    raise ValueError(str(UnknownNameError("environment", name, titles)))
        return self


def _refuse_twins(kind: str, titles: list[str]) -> None:
    for title in titles:
        if titles.count(title) > 1:
            raise ValueError(f"two of the same {kind} {title!r}; give each a name of its own")
