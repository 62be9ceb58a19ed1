"""A whole log under one policy: the classic schedulers by name, or any policy at every decision.

The semantics are those of `model`; which queue order, commitment and backfilling a name means stands in `SCHEDULERS`.
A policy (a trained one, a search, a user's own) chooses the next job as in `sysgym/BatchSched-v0`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import ENGINES, allocate_slot
from sysgym.core.errors import SettingError, UnknownNameError, require_range
from sysgym.core.events import EventLog
from sysgym.core.protocols import Policy, StatePolicy
from sysgym.jobsched.batch.dynamics import allocate, flags_of, replay_in_order
from sysgym.jobsched.batch.engine import build_engine
from sysgym.jobsched.batch.kernel import event_log
from sysgym.jobsched.batch.model import Rules
from sysgym.jobsched.batch.observation import QueueEncoding
from sysgym.jobsched.batch.rewards import QueueReward
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.jobsched.batch.simulator import BatchMachine
from sysgym.jobsched.metrics import SLOWDOWN_THRESHOLD, bounded_slowdown, schedule_summary, start_times
from sysgym.workloads.workload import Workload

SCHEDULERS: dict[str, Rules] = {
    "fcfs": Rules(),
    "sjf": Rules(order="shortest", commit=False),
    "sjf_commit": Rules(order="shortest"),
    "easy": Rules(backfill="easy"),
    "easy_sjbf": Rules(backfill="easy", candidates="shortest"),
}
"""The classic schedulers: first come first served; shortest job first, chosen afresh in every pass or for good; EASY
backfilling, with candidates in order of submission or shortest first."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """When every job of a workload started, and what follows from it.

    Attributes:
        workload: The jobs.
        policy: Name of the policy.
        pass_rule: "batch" or "per_event".
        events: The event log: every submission, start and finish.
        start_time: float64, shape (n,), seconds, in the workload's order; the arrays below alike.
        wait_time: start_time - submit_time.
        finish_time: start_time + run_time.
    """

    workload: Workload
    policy: str
    pass_rule: str
    events: EventLog
    start_time: NDArray[np.float64]
    wait_time: NDArray[np.float64]
    finish_time: NDArray[np.float64]

    def bounded_slowdown(self, threshold: float = SLOWDOWN_THRESHOLD) -> NDArray[np.float64]:
        """Bounded slowdown of every job; see `metrics.bounded_slowdown`."""
        return bounded_slowdown(self.wait_time, self.workload.run_time, threshold)

    def summary(self) -> dict[str, float]:
        """The scores of the schedule; see `metrics.schedule_summary`."""
        jobs = self.workload
        return schedule_summary(
            jobs.submit_time, self.start_time, jobs.run_time, jobs.processors, jobs.machine.processors
        )


def replay(
    workload: Workload,
    policy: str | Policy | StatePolicy = "easy",
    pass_rule: str = "batch",
    engine: str = "auto",
    processors: int | None = None,
    *,
    backfill: str = "none",
    observation: str | QueueEncoding = "features",
) -> Schedule:
    """Play a whole workload on its machine under one policy.

    Args:
        workload: The jobs, cleaned.
        policy: A name of `SCHEDULERS`, or a policy that is asked at every decision: `act_on_state` where it has it,
            else `act` with the observation.
        pass_rule: "batch" or "per_event"; see `model`.
        engine: "auto" and "compiled" use the kernel, "simpy" the simulator; the schedules are equal.
        processors: Size of the machine, if it shall differ from the workload's.
        backfill: "none" or "easy", behind the decisions of a policy that is not a name.
        observation: What such a policy sees.

    Returns:
        The schedule, once the last job has ended.

    Raises:
        WorkloadError: The workload can't be replayed; the message names job and remedy.
        UnknownNameError: An unknown policy, pass rule or backfilling.
    """
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES)
    if not isinstance(workload, Workload):
        raise SettingError(f"workload is {workload!r}; read the log first: replay(read_trace(path), ...)")
    if processors is not None:
        workload = workload.with_processors(processors)
    decided = Rules(backfill=backfill, pass_rule=pass_rule)
    if isinstance(policy, str):
        if policy not in SCHEDULERS:
            raise UnknownNameError("policy", policy, SCHEDULERS)
        if backfill != "none":
            raise SettingError(
                f"backfill goes with a policy that decides, not with the scheduler {policy!r}; use 'easy'"
            )
        rules = replace(SCHEDULERS[policy], pass_rule=pass_rule)
        events = _replay_in_order(workload, rules, engine)
        return _schedule(workload, policy, pass_rule, events)
    if not (hasattr(policy, "act") or hasattr(policy, "act_on_state")):
        raise SettingError(f"policy is {policy!r}; give a name, or an object with act or act_on_state")
    events = _replay_by_decisions(workload, decided, engine, policy, observation)
    return _schedule(workload, getattr(policy, "name", type(policy).__name__), pass_rule, events)


def _schedule(workload: Workload, policy: str, pass_rule: str, events: EventLog) -> Schedule:
    start = start_times(events, 0, len(workload))
    assert not np.isnan(start).any(), "every job of a replay starts"
    return Schedule(workload, policy, pass_rule, events, start, start - workload.submit_time, start + workload.run_time)


def _replay_in_order(workload: Workload, rules: Rules, engine: str) -> EventLog:
    sequences = JobSequences(workload, rules, None, "all")
    if engine == "simpy":
        machine = BatchMachine(sequences.jobs, sequences.processors, rules, 0, sequences.length)
        while machine.run_to_decision():
            machine.decide(machine.waiting[0])
        return machine.log.log()
    episodes = allocate(1, sequences.length, 1)
    replay_in_order(episodes, sequences.jobs, flags_of(rules, QueueReward()), sequences.processors)
    return event_log(episodes, 0)


def _replay_by_decisions(
    workload: Workload, rules: Rules, engine: str, policy: Any, observation: str | QueueEncoding
) -> EventLog:
    player = build_engine(JobSequences(workload, rules, None, "all"), rules, 1, engine, observation)
    slot = allocate_slot(player.observation_spec, 1, player.num_actions)
    row, on = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    player.reset(row, row.astype(np.uint64), row)
    player.observe(on, slot)
    if hasattr(policy, "reset"):
        policy.reset()
    action = np.zeros(1, dtype=np.int64)
    while not slot.terminated[0]:
        if hasattr(policy, "act_on_state"):
            chosen = policy.act_on_state(player.state(0))
        else:
            chosen = policy.act(slot.observations[0], slot.action_masks[0])
        require_range("the policy's action", chosen, 0, player.num_actions - 1, whole=True)
        action[0] = chosen
        player.step(action, on, slot)
    return player.events(0)
