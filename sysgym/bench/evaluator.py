"""Playing a policy on the scenarios of a split and reading its scores off the event log.

Scenario k of a split is the same exogenous workload for every policy, which pairs their scores. Nothing that a policy
returns besides an action is read. Code that is not ours plays in a process of its own (`isolation`), unless it is
trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from sysgym.bench import environments
from sysgym.bench.guard import foreign_faults
from sysgym.bench.isolation import IsolatedPolicy, Limits
from sysgym.bench.play import BatchPlay, Meter, Scenario, fallback_of, play_single
from sysgym.bench.policies import ResolvedPolicy, resolve_policy
from sysgym.core.errors import PolicyError, SettingError, require_range
from sysgym.core.instances import Instance
from sysgym.envs.base import EngineVectorEnv
from sysgym.envs.bounds import Bound

DEFAULT_LIMITS = Limits()
BEYOND = 1e-9
"""How far beyond a bound a score may lie by rounding, relative to the bound."""
TRIES_APART = 10_000
"""Between the policy seeds of two tries, so that no draw of a study repeats another's tries."""
BATCH = 16
"""Scenarios that a batch policy plays at once."""


@dataclass(frozen=True)
class Evaluation:
    """A policy on the scenarios of a split.

    Attributes:
        policy: The policy as it was resolved.
        objective: Name of the metric by which policies are ranked.
        direction: "min" or "max".
        scenarios: One entry a scenario, in the order of their seeds.
        environment_seconds: Spent in `reset` and `step`.
        policy_seconds: Spent choosing actions.
        instance: What was played, where it says so.
    """

    policy: ResolvedPolicy
    objective: str
    direction: str
    scenarios: tuple[Scenario, ...]
    environment_seconds: float
    policy_seconds: float
    instance: Instance | None

    @property
    def values(self) -> list[float]:
        """The objective of each scenario."""
        return [scenario.metrics[self.objective] for scenario in self.scenarios]

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The metrics of each scenario."""
        return [scenario.metrics for scenario in self.scenarios]


def evaluate(
    policy: Any,
    env_id: str,
    arguments: Mapping[str, Any] | None = None,
    split: str = "test",
    scenarios: int = 20,
    *,
    seed0: int = 0,
    policy_seed: int = 0,
    best_of: int = 1,
    scenario_steps: int | None = None,
    seconds: float | None = None,
    secret: bytes = b"",
    limits: Limits | None = DEFAULT_LIMITS,
    transfer: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Play a policy on `scenarios` scenarios of a split.

    Args:
        policy: What `resolve_policy` takes or returned, or an object with `act`, `act_on_state` or `act_batch`.
        env_id: Any Gymnasium id with Discrete actions.
        arguments: Of the environment, without `split` and `sampling`.
        split: "train", "valid", "test", or "sealed".
        scenarios: How many, at least 1.
        seed0: The first scenario; on a log, the number of its first disjoint window.
        policy_seed: Of a policy that draws.
        best_of: How often each scenario is tried, with seeds of the policy that are `TRIES_APART`; the best counts.
        scenario_steps: Most steps of a scenario.
        seconds: Most seconds of the whole evaluation.
        secret: Of the sealed split, see `environments.scenario_seeds`.
        limits: What code from a file may spend, in a process of its own; None trusts it to play in this one. Policies
            that are given as objects, heuristics and checkpoints of ours always play in this one.
        transfer: Whether a checkpoint may have been trained in an environment of another id.
        progress: Called with the number of scenarios done, after each.

    Raises:
        PolicyError: The policy's code fails (of isolated code, in every scenario), a budget is overstepped, a score
            is not finite, or it is better than the environment's bound.
        UnknownNameError: No such environment, split or policy.
        SettingError: Arguments that the environment does not take, a first scenario out of range, more scenarios
            than the split has, or whatever an environment that is not ours raises.
    """
    require_range("scenarios", scenarios, 1)
    require_range("best_of", best_of, 1)
    seeds = environments.scenario_seeds(env_id, split, scenarios, seed0, secret)
    meter = Meter(scenario_steps, seconds)
    chosen = environments.evaluation_arguments(env_id, arguments or {}, split)
    env = environments.make(env_id, chosen)
    objective, direction = environments.objective_of(env_id)
    played: dict[int, Scenario] = {}
    try:
        windows = environments.plays_disjoint_windows(env_id, env)
        for number in range(best_of):
            resolved = _resolved(policy, env, policy_seed + TRIES_APART * number, limits, transfer)
            for scenario in _played(env, env_id, chosen, resolved.policy, seeds, meter=meter):
                if windows and number == 0:
                    _refuse_twin(scenario, played)
                played[scenario.seed] = _better(played.get(scenario.seed), scenario, objective, direction)
                if progress is not None:
                    progress(len(played))
    finally:
        env.close()
    ordered = tuple(played[seed] for seed in seeds)
    _require_finite(ordered, objective)
    _require_within_bound(ordered, objective, direction, environments.bound_of(env_id))
    if all(scenario.fault for scenario in ordered):
        remedy = "; a study's budgets.step_seconds allows slower ones" if ordered[0].timed_out else ""
        raise PolicyError(f"{resolved.name}: {ordered[0].fault}{remedy}")
    instance = environments.instance_of(env)
    return Evaluation(resolved, objective, direction, ordered, meter.environment, meter.policy, instance)


def _resolved(policy: Any, env: gym.Env[Any, Any], seed: int, limits: Limits | None, transfer: bool) -> ResolvedPolicy:
    if isinstance(policy, ResolvedPolicy):
        return policy
    if isinstance(policy, str):
        return resolve_policy(policy, env, seed, limits, transfer)
    return ResolvedPolicy(policy, type(policy).__name__, "code")


def _better(earlier: Scenario | None, tried: Scenario, objective: str, direction: str) -> Scenario:
    """The better of two tries of a scenario, the first where both are as good."""
    if earlier is None or earlier.fault:
        return tried
    old, new = earlier.metrics[objective], tried.metrics[objective]
    return tried if not tried.fault and (new > old if direction == "max" else new < old) else earlier


def _played(
    env: gym.Env[Any, Any],
    env_id: str,
    arguments: Mapping[str, Any],
    policy: Any,
    seeds: Sequence[int],
    *,
    meter: Meter,
) -> Iterator[Scenario]:
    """What `_play` plays; a policy's own process ends with it, and what a foreign environment raises is one line."""
    try:
        with foreign_faults(SettingError, f"environment {env_id}", lambda: type(env.unwrapped)):
            yield from _play(env, env_id, arguments, policy, seeds, meter=meter)
    finally:
        if isinstance(policy, IsolatedPolicy):
            policy.close()


def _play(
    env: gym.Env[Any, Any],
    env_id: str,
    arguments: Mapping[str, Any],
    policy: Any,
    seeds: Sequence[int],
    *,
    meter: Meter,
) -> Iterator[Scenario]:
    """In a vector environment where policy and environment allow it, else one scenario after the other."""
    if not (hasattr(policy, "act_batch") and environments.is_engine_vector(env_id)):
        yield from play_single(env, policy, seeds, meter)
        return
    vector = gym.make_vec(
        env_id,
        num_envs=min(BATCH, len(seeds)),
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.DISABLED,
        **arguments,
    )
    try:
        assert isinstance(vector, EngineVectorEnv)
        yield from BatchPlay(vector, policy, fallback_of(env.unwrapped), seeds, meter).play()
    finally:
        vector.close()


def _refuse_twin(scenario: Scenario, played: Mapping[int, Scenario]) -> None:
    """A log has so many disjoint windows and no more; a window played twice would count as evidence twice."""
    for earlier in played.values():
        if scenario.submissions_sha256 and scenario.submissions_sha256 == earlier.submissions_sha256:
            raise SettingError(
                f"scenarios {earlier.seed} and {scenario.seed} are the same jobs: the split has no more disjoint "
                f"windows than {len(played)}; ask for at most so many scenarios, or for shorter ones"
            )


def _require_finite(played: Sequence[Scenario], objective: str) -> None:
    for scenario in played:
        value = scenario.metrics[objective]
        if not np.isfinite(value):
            raise PolicyError(f"{objective} of scenario {scenario.seed} is {value}; it must be finite to be compared")


def _require_within_bound(played: Sequence[Scenario], objective: str, direction: str, bound: Bound | None) -> None:
    """No policy is better than what can't be beaten: such a score is a fault of ours, or an exploit."""
    if bound is None or bound.kind == "reference" or bound.policy:
        return
    sign = 1.0 if direction == "max" else -1.0
    for scenario in played:
        best = scenario.metrics[bound.metric] if bound.value is None else bound.value
        value = scenario.metrics[objective]
        if sign * (value - best) > BEYOND * max(1.0, abs(best)):
            raise PolicyError(f"{objective} of scenario {scenario.seed} is {value}, beyond the bound of {best}")
