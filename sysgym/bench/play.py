"""Playing scenarios: the loops of an evaluation, one episode at a time or many at once.

An observation is given away as a read-only copy. What is not an action is played as the environment's do-nothing and
counted; what an isolated policy leaves unanswered is played so too. Time is taken apart into the environment's and the
policy's. An action that is masked is an action: the environment says what it means.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sysgym.bench.action_log import STORED
from sysgym.bench.environments import action_mask
from sysgym.bench.evidence import QueueSeries, offered_work, queue_series
from sysgym.bench.guard import guarded
from sysgym.bench.isolation import CandidateError
from sysgym.core.errors import PolicyError
from sysgym.core.events import EventKind, EventLog
from sysgym.core.protocols import Slot
from sysgym.envs.base import EngineEnv, EngineVectorEnv


@dataclass(frozen=True)
class Scenario:
    """One episode of an evaluation.

    Attributes:
        seed: Of the scenario.
        metrics: Scores of the episode; `return` and `length` for environments without an event log.
        steps: Actions played.
        invalid_actions: How many of them were no actions, and replaced by doing nothing.
        event_log_sha256: Hash of the event log; empty where there is none.
        submissions_sha256: Hash of what was submitted alone, the same for every policy that plays to the end.
        fault: Why an isolated policy stopped answering, after which the environment's do-nothing played on.
        timed_out: Whether that was because it took too long.
        queue: Queue length over time, if there is a queue.
        offered_work: See `evidence.offered_work`.
        actions: What was played, `action_log.STORED` integers.
    """

    seed: int
    metrics: dict[str, float]
    steps: int
    invalid_actions: int
    event_log_sha256: str = ""
    submissions_sha256: str = ""
    fault: str = ""
    timed_out: bool = False
    queue: QueueSeries | None = None
    offered_work: float = 0.0
    actions: bytes = b""


@dataclass
class Meter:
    """Seconds spent so far, and the limits of an evaluation.

    Attributes:
        scenario_steps: Most steps of a scenario, or None.
        seconds: Most seconds of all scenarios, or None.
        environment: Seconds in `reset` and `step`.
        policy: Seconds in choosing actions.
    """

    scenario_steps: int | None = None
    seconds: float | None = None
    environment: float = 0.0
    policy: float = 0.0

    def check(self, seed: int, steps: int) -> None:
        """Raise `PolicyError` where a limit is overstepped."""
        if self.scenario_steps is not None and steps > self.scenario_steps:
            raise PolicyError(f"scenario {seed} has not ended after {self.scenario_steps} steps (scenario_steps)")
        if self.seconds is not None and self.environment + self.policy > self.seconds:
            raise PolicyError(f"the evaluation took longer than {self.seconds:g} s, in scenario {seed}")


def play_single(env: gym.Env[Any, Any], policy: Any, seeds: Sequence[int], meter: Meter) -> Iterator[Scenario]:
    """Play scenario after scenario in a single environment."""
    act, do_nothing = door_of(policy, env.unwrapped), fallback_of(env.unwrapped)
    for seed in seeds:
        started = perf_counter()
        observation, info = env.reset(seed=seed)
        meter.environment += perf_counter() - started
        begin(policy, np.ones(1, dtype=np.bool_), [seed])
        invalid, total, ended = 0, 0.0, False
        actions: list[int] = []
        fault: CandidateError | None = None
        while not ended:
            mask, action = action_mask(env, info), None
            started = perf_counter()
            if fault is None:
                try:
                    action = decoded(guarded(act, observation, mask), env.action_space)
                    invalid += action is None
                except CandidateError as failure:
                    fault = failure
            decided = perf_counter()
            if action is None:
                action = do_nothing(getattr(env.unwrapped, "state", None), mask)
            observation, reward, terminated, truncated, info = env.step(action)
            meter.policy += decided - started
            meter.environment += perf_counter() - decided
            total, ended = total + float(reward), terminated or truncated
            actions.append(action)
            meter.check(seed, len(actions))
        steps, stored = len(actions), np.array(actions, dtype=STORED).tobytes()
        played = Scenario(seed, {"return": total, "length": float(steps)}, steps, invalid, actions=stored)
        if fault is not None:
            played = replace(played, fault=str(fault), timed_out=fault.kind == "timeout")
        yield _scored(played, env.unwrapped.engine, 0) if isinstance(env.unwrapped, EngineEnv) else played


class BatchPlay:
    """Scenarios played several at once; a row whose episode has ended goes on with the next scenario.

    Rows for which no scenario is left replay their last one, unread, until the others have ended.

    Args:
        vector: An environment with autoreset `DISABLED`.
        policy: Has `act_batch`.
        do_nothing: From `fallback_of`.
        seeds: Of the scenarios, at least one a row.
        meter: Takes the time.
    """

    def __init__(
        self,
        vector: EngineVectorEnv,
        policy: Any,
        do_nothing: Callable[[Any, NDArray[np.int8]], int],
        seeds: Sequence[int],
        meter: Meter,
    ) -> None:
        self.vector, self.policy, self.do_nothing, self.seeds, self.meter = vector, policy, do_nothing, seeds, meter
        rows = vector.num_envs
        self.number = np.arange(rows)
        self.steps, self.invalid = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        self.played: dict[int, Scenario] = {}
        self.actions: list[list[int]] = [[] for _ in range(rows)]

    def play(self) -> Iterator[Scenario]:
        """The scenarios, in the order in which they end."""
        self._begin(np.ones(self.vector.num_envs, dtype=np.bool_))
        while len(self.played) < len(self.seeds):
            actions = self._actions()
            started = perf_counter()
            self.vector.step(actions)
            self.meter.environment += perf_counter() - started
            self.steps += 1
            slowest = int(np.argmax(self.steps))
            self.meter.check(self.seeds[self.number[slowest]], int(self.steps[slowest]))
            if self.vector.done.any():
                yield from self._end(self.vector.done.copy())

    def _actions(self) -> NDArray[np.int64]:
        slot = self.vector.slot
        started = perf_counter()
        chosen = _one_a_row(guarded(self._act_batch, slot), self.vector.num_envs)
        self.meter.policy += perf_counter() - started
        actions = np.zeros(self.vector.num_envs, dtype=np.int64)
        for row, mask in enumerate(slot.action_masks):
            action = decoded(chosen[row], self.vector.single_action_space)
            self.invalid[row] += action is None
            actions[row] = self.do_nothing(self.vector.engine.state(row), mask) if action is None else action
            self.actions[row].append(int(actions[row]))
        return actions

    def _act_batch(self, slot: Slot) -> Any:
        return self.policy.act_batch(_sealed(self.vector.observations), _sealed(slot.action_masks))

    def _end(self, ended: NDArray[np.bool_]) -> Iterator[Scenario]:
        for row in np.flatnonzero(ended).tolist():
            number = int(self.number[row])
            if number not in self.played:
                counts = int(self.steps[row]), int(self.invalid[row])
                stored = np.array(self.actions[row], dtype=STORED).tobytes()
                played = Scenario(self.seeds[number], {}, *counts, actions=stored)
                self.played[number] = _scored(played, self.vector.engine, row)
                yield self.played[number]
            following = int(self.number.max()) + 1
            if following < len(self.seeds):
                self.number[row] = following
        self._begin(ended)

    def _begin(self, rows: NDArray[np.bool_]) -> None:
        self.steps[rows] = self.invalid[rows] = 0
        for row in np.flatnonzero(rows).tolist():
            self.actions[row] = []
        seeds = [self.seeds[number] for number in self.number.tolist()]
        begin(self.policy, rows, seeds)
        started = perf_counter()
        self.vector.reset(seed=seeds, options={"reset_mask": rows})
        self.meter.environment += perf_counter() - started


def fallback_of(base: Any) -> Callable[[Any, NDArray[np.int8]], int]:
    """What is played instead of what is no action: the environment's do-nothing, or the first allowed action."""
    name = getattr(base, "do_nothing", "")
    if not name:
        return lambda state, mask: int(base.action_space.start + np.argmax(mask))
    policy = base.heuristics[name]()
    return lambda state, mask: int(policy.act_on_state(state))


def scored(engine: Any, row: int) -> Scenario:
    """What the event log of an engine's row says of the episode that it has played."""
    return _scored(Scenario(0, {}, 0, 0), engine, row)


def _scored(scenario: Scenario, engine: Any, row: int) -> Scenario:
    """The scenario with what the event log of an engine's row says of it."""
    metrics: Mapping[str, Any] = engine.metrics(row)
    events: EventLog = engine.events(row)
    submissions = events.of(EventKind.SUBMIT)
    return replace(
        scenario,
        metrics={name: float(value) for name, value in metrics.items()},
        event_log_sha256=events.sha256(),
        submissions_sha256=submissions.sha256() if len(submissions) else "",
        queue=queue_series(events),
        offered_work=offered_work(events),
    )


def door_of(policy: Any, base: Any) -> Callable[[Any, NDArray[np.int8]], Any]:
    """How a policy is asked for one action: by the state if it reads one, else by read-only copies.

    Args:
        policy: Has at least one of `act_on_state`, `act` and `act_batch`.
        base: The unwrapped environment that it acts in, or anything with a `state`.

    Returns:
        Takes observation and mask, gives what the policy answers; to be called by `guarded`, then `decoded`.
    """
    if hasattr(policy, "act_on_state") and (isinstance(base, EngineEnv) or not hasattr(policy, "act")):
        return lambda observation, mask: policy.act_on_state(base.state)
    if hasattr(policy, "act_batch") and not hasattr(policy, "act"):
        return lambda observation, mask: _one_a_row(policy.act_batch(*_batch_of_one(observation, mask)), 1)[0]
    return lambda observation, mask: policy.act(_sealed(observation), _sealed(mask))


def begin(policy: Any, rows: NDArray[np.bool_], seeds: Sequence[int]) -> None:
    """Tell a policy that scenarios begin: by `begin` where it keeps its rows apart, else by `reset` if it has one."""
    if hasattr(policy, "begin"):
        guarded(policy.begin, rows, np.array(seeds, dtype=np.int64))
    elif hasattr(policy, "reset"):
        guarded(policy.reset)


def decoded(action: Any, space: gym.Space[Any]) -> int | None:
    """The action as an integer, or None if it is not one of the space."""
    assert isinstance(space, gym.spaces.Discrete)
    try:
        index = operator.index(action)
    except (TypeError, ValueError, RuntimeError):  # a tensor of another library says it in its own way
        return None
    return int(index) if space.start <= index < space.start + space.n else None


def _one_a_row(chosen: Any, rows: int) -> list[Any]:
    """What `act_batch` gave, as a list of one action a row."""
    shape = tuple(guarded(np.shape, chosen))
    if shape != (rows,):
        given = f"an array of shape {shape}" if shape else reprlib.repr(chosen)
        raise PolicyError(f"act_batch gave {given}; it must give one action for each of the {rows} observations")
    return list(guarded(list, chosen))


def _batch_of_one(*parts: Any) -> list[Any]:
    return [_sealed(part, np.newaxis) for part in parts]


def _sealed(observation: Any, key: Any = ...) -> Any:
    """A copy, indexed by `key`, that cannot be written to and shares no memory with the environment."""
    if isinstance(observation, Mapping):
        return {name: _sealed(part, key) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_sealed(part, key) for part in observation)
    copy = np.array(observation)[key]
    copy.flags.writeable = False
    return copy
