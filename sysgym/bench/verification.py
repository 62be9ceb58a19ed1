"""Playing records again: the actions that were recorded must give the event logs and scores that were recorded.

Neither the policy nor its weights are needed. What is checked is that the scores follow from the actions in this
version of the environment, and that trained weights, where they lie beside the records, are those that played. That the
actions are the policy's is checked by running the study again: without its records it plays those weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sysgym.bench import environments
from sysgym.bench.action_log import read_actions
from sysgym.bench.play import scored
from sysgym.bench.records import Record
from sysgym.bench.study import locate_all
from sysgym.core.errors import SysgymError
from sysgym.core.files import sha256_of
from sysgym.envs.base import EngineEnv


@dataclass(frozen=True)
class Verdict:
    """What came of playing a record again.

    Attributes:
        record: The record.
        fault: The first difference in words; empty where everything agrees.
        skipped: Why it could not be played; empty where it was.
    """

    record: Record
    fault: str = ""
    skipped: str = ""

    @property
    def verified(self) -> bool:
        """Whether it was played and agrees."""
        return not (self.fault or self.skipped)


def verify(records: Iterable[tuple[Path, Record]]) -> Iterator[Verdict]:
    """Play records again, one after the other.

    Args:
        records: Each with the folder of results that it lies in.
    """
    for results, record in records:
        if record.failed:
            yield Verdict(record, skipped="the run failed")
        elif not record.evidence.action_log:
            yield Verdict(record, skipped="its actions were not kept (an older record, or a foreign environment)")
        else:
            try:
                yield Verdict(record, fault=_first_difference(results, record))
            except SysgymError as error:
                yield Verdict(record, fault=str(error))


def _first_difference(results: Path, record: Record) -> str:
    facts, evidence = record.environment, record.evidence
    weights = results / evidence.checkpoint
    if evidence.checkpoint and weights.is_file() and sha256_of(weights) != record.policy.sha256:
        return f"{evidence.checkpoint} is not what played: it has another sha256"
    actions = read_actions(results / evidence.action_log, evidence.action_log_sha256)
    located = locate_all(facts.arguments, results.parent)
    env = environments.make(facts.id, environments.evaluation_arguments(facts.id, located, facts.split))
    try:
        instance = environments.instance_of(env)
        if record.played is not None and (instance is None or instance.sha256 != record.played.sha256):
            return f"what is played is not what was played: {record.played.name} has another sha256"
        for number, seed in enumerate(record.seeds.scenarios):
            if seed not in actions:
                return f"scenario {seed} has no actions"
            fault = _replayed(env, seed, actions[seed], record, number)
            if fault:
                return f"scenario {seed}: {fault}"
    finally:
        env.close()
    return ""


def _replayed(env: gym.Env[Any, Any], seed: int, actions: NDArray[np.int32], record: Record, number: int) -> str:
    """The first difference of a scenario, or an empty text."""
    env.reset(seed=seed)
    total, ended = 0.0, False
    for step, action in enumerate(actions.tolist()):
        if ended:
            return f"the episode ended before action {step} of {len(actions)}"
        _, reward, terminated, truncated, _ = env.step(action)
        total, ended = total + float(reward), terminated or truncated
    if not ended:
        return f"the episode has not ended after {len(actions)} actions"
    if isinstance(env.unwrapped, EngineEnv):
        played = scored(env.unwrapped.engine, 0)
        if played.event_log_sha256 != record.evidence.event_logs[number]:
            return "the event log differs"
        metrics = played.metrics
    else:
        metrics = {"return": total, "length": float(len(actions))}
    for name, column in record.result.metrics.items():
        found, noted = metrics.get(name), column[number]
        if noted is not None and found != noted:
            return f"{name} is {found}, the record says {noted}"
    return ""
