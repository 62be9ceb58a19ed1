"""A whole log under several policies, as rows of a table: what `sysgym replay` shows.

A classic scheduler is a name; anything else is resolved as a policy of `sysgym/BatchSched-v0` and asked at every
decision, a trained one with the backfilling that it was trained with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from sysgym.bench.policies import ResolvedPolicy, resolve_policy
from sysgym.core.errors import UnknownNameError
from sysgym.jobsched.batch.policies import HEURISTICS
from sysgym.jobsched.batch.replay import SCHEDULERS, Schedule, replay
from sysgym.workloads.workload import Workload

ENVIRONMENT = "sysgym/BatchSched-v0"


@dataclass(frozen=True, eq=False)
class Replay:
    """One policy on a whole log.

    Attributes:
        schedule: What came out.
        row: The row: `jobs`, `policy`, `pass_rule`, `clean`, `processors`, `backfill` where the policy decides, all
            scores of `Schedule.summary`, and `repairs` (rule to count).
    """

    schedule: Schedule
    row: dict[str, Any]


def replay_policies(
    workload: Workload,
    policies: Sequence[str],
    pass_rule: str = "batch",
    engine: str = "auto",
    backfill: str | None = None,
) -> Iterator[Replay]:
    """Replay a workload under one policy after another.

    Args:
        workload: The jobs, cleaned, on their machine.
        policies: Names of schedulers, or what `resolve_policy` takes.
        pass_rule: "batch" or "per_event".
        engine: "auto", "compiled" or "simpy".
        backfill: "none" or "easy" behind a deciding policy; None takes what it was trained with, else "none".

    Raises:
        UnknownNameError: A policy is neither a scheduler nor anything that can be resolved.
    """
    chosen = [(name, _policy(name, workload)) for name in policies]
    for name, policy in chosen:
        if isinstance(policy, str):
            schedule = replay(workload, policy, pass_rule, engine)
            yield Replay(schedule, _row(schedule, name))
            continue
        behind = backfill or getattr(policy.policy, "environment", {}).get("backfill", "none")
        schedule = replay(workload, policy.policy, pass_rule, engine, backfill=behind)
        yield Replay(schedule, _row(schedule, policy.name) | {"backfill": behind})


def _policy(name: str, workload: Workload) -> str | ResolvedPolicy:
    if name in SCHEDULERS:
        return name
    env = gym.make(ENVIRONMENT, workload=workload, split="all", sequence_length=1, disable_env_checker=True)
    try:
        return resolve_policy(name, env)
    except UnknownNameError as error:
        raise UnknownNameError("policy", name, [*SCHEDULERS, *HEURISTICS]) from error
    finally:
        env.close()


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
