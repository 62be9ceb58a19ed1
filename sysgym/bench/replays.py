"""A whole log under several policies, as rows of a table: what `sysgym replay` shows.

A classic scheduler is a name; anything else is resolved as a policy of `sysgym/BatchSched-v0` and asked at every
decision, a trained one under the rules (backfilling, commitment) that it was trained with. It is asked as in an
evaluation: what it sees is a copy, what it raises is one line, and what is no action is played as the environment's
do-nothing and counted. A checkpoint of ours that scores rows is not asked: compiled code plays it (`core.row_network`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sysgym.bench.guard import guarded
from sysgym.bench.play import begin, decoded, door_of
from sysgym.bench.policies import ResolvedPolicy, policy_file, resolve_policy, shipped_policy
from sysgym.core.errors import SettingError, UnknownNameError
from sysgym.jobsched.batch.policies import HEURISTICS
from sysgym.jobsched.batch.replay import SCHEDULERS, Schedule, replay
from sysgym.workloads.workload import Workload

ENVIRONMENT = "sysgym/BatchSched-v0"
DEFAULT_OBSERVATION = "features"


@dataclass(frozen=True, eq=False)
class Replay:
    """One policy on a whole log.

    Attributes:
        schedule: What came out.
        row: The row: `jobs`, `policy`, `pass_rule`, `clean`, `processors`, all scores of `Schedule.summary`, and
            `repairs` (rule to count); `backfill` and `commit` where they were asked for or the policy decides, and
            then its `invalid_actions`.
    """

    schedule: Schedule
    row: dict[str, Any]


def replay_policies(workload: Workload, policies: Sequence[str], **rules: Any) -> Iterator[Replay]:
    """Replay a workload under one policy after another.

    Args:
        workload: The jobs, cleaned, on their machine.
        policies: Names of schedulers, or what `resolve_policy` takes.
        rules: The further arguments of `Player`, the same for all.

    Raises:
        UnknownNameError: A policy is neither a scheduler nor anything that can be resolved.
        PolicyError: A policy's own code fails.
    """
    players = [Player(name, workload, **rules) for name in policies]
    for player in players:
        schedule = player.play(workload)
        yield Replay(schedule, _row(schedule, player.name) | player.facts())


class Player:
    """One policy that replays workloads of one machine.

    Args:
        name: A scheduler, or what `resolve_policy` takes.
        workload: Jobs on the machine that is played on.
        pass_rule: "batch" or "per_event"; see `batch.model`.
        engine: "auto", "compiled" or "simpy".
        backfill: What stands behind a deciding policy, or a named order without backfilling; None takes what it was
            trained with, else "none".
        commit: Whether its choices are commitments; None likewise, else True.
        predictor: What a named scheduler plans with instead of requested times; see `batch.prediction`.
        patience: Seconds that a job may wait before it goes first, whatever a deciding policy says; None as it was
            trained, else for ever.

    Attributes:
        name: Name in tables.
    """

    def __init__(
        self,
        name: str,
        workload: Workload,
        pass_rule: str = "batch",
        engine: str = "auto",
        backfill: str | None = None,
        commit: bool | None = None,
        predictor: str | None = None,
        patience: float | None = None,
    ) -> None:
        self.pass_rule, self.engine, self.predictor = pass_rule, engine, predictor
        self._policy = _policy(name, workload)
        if isinstance(self._policy, str):
            self.name = name
            self.backfill = "none" if SCHEDULERS[name].backfill != "none" or backfill is None else backfill
            self.commit, self.patience = commit is not False, math.inf
            return
        if predictor is not None:
            raise SettingError(f"a predictor goes with a named scheduler, not with the policy {name!r}")
        trained = _trained_rules(self._policy.policy)
        self.name = self._policy.name
        self.backfill = backfill or str(trained.get("backfill", "none"))
        self.commit = bool(trained.get("commit", True)) if commit is None else commit
        if patience is None:  # what it was trained with goes with its backfilling
            patience = trained.get("patience") if self.backfill == trained.get("backfill", "none") else None
        self.patience = math.inf if patience is None else float(patience)

    def play(self, workload: Workload) -> Schedule:
        """Replay a workload."""
        policy = self._policy
        if isinstance(policy, str):
            return replay(workload, policy, self.pass_rule, self.engine, predictor=self.predictor, **self._rules())
        return replay(workload, policy, self.pass_rule, self.engine, observation=policy.observation, **self._rules())

    def facts(self) -> dict[str, Any]:
        """What a row says of how it played."""
        if isinstance(self._policy, str):
            planned = {} if self.predictor is None else {"predictor": self.predictor}
            return planned | ({} if self.backfill == "none" else self._rules())
        return self._rules() | {"invalid_actions": self._policy.invalid_actions}

    def _rules(self) -> dict[str, Any]:
        rules: dict[str, Any] = {"backfill": self.backfill, "commit": self.commit}
        return rules | ({"patience": self.patience} if math.isfinite(self.patience) else {})


class Guest:
    """A resolved policy as a replay asks it: with copies, guarded, its answers checked and counted.

    Args:
        resolved: The policy.
        actions: Its action space; action 0 is the oldest job, which doing nothing (`fcfs`) takes.
        observation: Name of the observation that it sees.
    """

    def __init__(self, resolved: ResolvedPolicy, actions: gym.Space[Any], observation: str) -> None:
        self.name, self.policy, self.actions = resolved.name, resolved.policy, actions
        self.observation = observation
        self._ours = resolved.kind == "learned" and hasattr(resolved.policy, "row_network")
        self.invalid_actions = 0

    def reset(self) -> None:
        """Tell the policy that the log begins."""
        self.invalid_actions = 0
        begin(self.policy, np.ones(1, dtype=np.bool_), [0])

    def checked(self, ask: Callable[..., Any], *arguments: Any) -> int:
        """What the policy answers, or the action 0 where that is none."""
        action = decoded(guarded(ask, *arguments), self.actions)
        self.invalid_actions += action is None
        return 0 if action is None else action


class StateGuest(Guest):
    """One that reads the state."""

    def act_on_state(self, state: Any) -> int:
        """An action of the space."""
        return self.checked(self.policy.act_on_state, state)


class ViewGuest(Guest):
    """One that sees observation and mask."""

    @property
    def row_network(self) -> Any:
        """What compiled code can play in its stead; our own checkpoints alone have it."""
        return self.policy.row_network if self._ours else None

    def act(self, observation: Any, action_mask: NDArray[np.int8]) -> int:
        """An action of the space."""
        return self.checked(door_of(self.policy, None), observation, action_mask)


def _policy(name: str, workload: Workload) -> str | StateGuest | ViewGuest:
    if name in SCHEDULERS:
        return name
    seen = _trained_observation(name)
    arguments: dict[str, Any] = {"workload": workload, "observation": seen, "split": "all", "sequence_length": 1}
    env = gym.make(ENVIRONMENT, disable_env_checker=True, **arguments)
    try:
        resolved = resolve_policy(name, env)
        guest = StateGuest if hasattr(resolved.policy, "act_on_state") else ViewGuest
        return guest(resolved, env.action_space, seen)
    except UnknownNameError as error:
        raise UnknownNameError("policy", name, [*SCHEDULERS, *HEURISTICS]) from error
    finally:
        env.close()


def _trained_observation(name: str) -> str:
    """What a checkpoint was trained to see; the default for everything else."""
    path, _ = policy_file(shipped_policy(name, ENVIRONMENT))
    if path.suffix != ".safetensors" or not path.is_file():
        return DEFAULT_OBSERVATION
    from sysgym.agents import load  # noqa: PLC0415  only who loads a checkpoint waits for the room of agents

    policy = load(path)
    seen = policy.environment.get("observation", DEFAULT_OBSERVATION)
    return seen if isinstance(seen, str) and policy.trained_in(ENVIRONMENT) else DEFAULT_OBSERVATION


def _trained_rules(policy: Any) -> Mapping[str, Any]:
    """The arguments of the environment that a checkpoint was trained in; none for everything else."""
    environment = getattr(policy, "environment", None)
    return environment if isinstance(environment, Mapping) else {}


def _row(schedule: Schedule, name: str) -> dict[str, Any]:
    workload = schedule.workload
    scores = schedule.summary()
    return {
        "policy": name,
        **scores,
        "jobs": int(scores["jobs"]),
        "pass_rule": schedule.pass_rule,
        "clean": workload.provenance.clean,
        "processors": workload.machine.processors,
        "repairs": {repair.rule: repair.count for repair in workload.repairs},
    }
