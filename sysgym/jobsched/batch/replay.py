"""A whole log under one policy: the classic schedulers by name, or any policy at every decision.

The semantics are those of `model`; which queue order, commitment and backfilling a name means stands in `SCHEDULERS`.
A policy (a trained one, a search, a user's own) chooses the next job as in `sysgym/BatchSched-v0`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import ENGINES, resolve_engine
from sysgym.core.errors import SettingError, require_known
from sysgym.core.events import EventLog
from sysgym.core.playing import play_alone
from sysgym.core.protocols import Policy, StatePolicy
from sysgym.jobsched.batch.conservative import ConservativeMachine
from sysgym.jobsched.batch.conservative_kernel import replay_conservatively, reservations_of
from sysgym.jobsched.batch.dynamics import replay_in_order
from sysgym.jobsched.batch.engine import build_engine
from sysgym.jobsched.batch.episodes import allocate, flags_of
from sysgym.jobsched.batch.kernel import BatchKernel
from sysgym.jobsched.batch.model import Rules, decided_rules
from sysgym.jobsched.batch.observation import QueueEncoding
from sysgym.jobsched.batch.prediction import Forecast, Prediction, Predictor, with_memory
from sysgym.jobsched.batch.rewards import QueueReward
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.jobsched.batch.simulator import BatchMachine
from sysgym.jobsched.metrics import SLOWDOWN_THRESHOLD, bounded_slowdown, schedule_summary, start_times
from sysgym.workloads.workload import Workload

CLASSIC: dict[str, Rules] = {
    "fcfs": Rules(),
    "sjf": Rules(order="shortest", commit=False),
    "sjf_commit": Rules(order="shortest"),
    "wfp3": Rules(order="wfp3", commit=False),
    "unicep": Rules(order="unicep", commit=False),
    "f1": Rules(order="f1", commit=False),
    "easy": Rules(backfill="easy"),
    "easy_sjbf": Rules(backfill="easy", candidates="shortest"),
    "conservative": Rules(backfill="conservative"),
}
"""The classic schedulers: first come first served; shortest job first, chosen afresh in every pass or for good; three
scored orders; EASY backfilling, with candidates in order of submission or shortest first; conservative backfilling."""

PEERS: dict[str, Rules] = {
    "rlscheduler_fcfs": Rules(backfill="rlscheduler", pass_rule="per_event"),
    "rlscheduler_sjf": Rules(order="shortest", backfill="rlscheduler", pass_rule="per_event"),
    "accasim_easy": Rules(backfill="accasim"),
    "predictsim_easy": Rules(backfill="easy", pass_rule="per_event", pass_when_full=False),
}
"""What other programs do under the names of FCFS, SJF and EASY with backfilling, each with its program's pass rule."""

SCHEDULERS: dict[str, Rules] = CLASSIC | PEERS


def classic_schedulers(predictor: str | None = None) -> list[str]:
    """Names of the classic schedulers that can plan with what a predictor says (all of them without one).

    Raises:
        UnknownNameError: There is no such predictor.
    """
    wrong = predictor is not None and Prediction.named(predictor).learns
    return [name for name, rules in CLASSIC.items() if not (wrong and rules.backfill == "conservative")]


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
    predictor: str | Predictor | None = None,
    *,
    backfill: str = "none",
    commit: bool = True,
    patience: float = math.inf,
    observation: str | QueueEncoding = "features",
) -> Schedule:
    """Play a whole workload on its machine under one policy.

    Args:
        workload: The jobs, cleaned.
        policy: A name of `SCHEDULERS`, or a policy that is asked at every decision: `act_on_state` where it has it,
            else `act` with the observation. One that has a `row_network` (`core.row_network`) and sees the observation
            `queue` is played in compiled code.
        pass_rule: "batch" or "per_event"; see `model`.
        engine: "auto" and "compiled" use the kernel, "simpy" the simulator; the schedules are equal.
        processors: Size of the machine, if it shall differ from the workload's.
        predictor: What a named scheduler plans with instead of requested times: a name such as "last_two" or
            "last_two+tsafrir" (see `prediction`), or a `Predictor`, which the simulator then asks.
        backfill: One of `DECIDED_BACKFILLS`, behind the decisions of a policy, or behind a named order that has none
            of its own.
        commit: Whether what is chosen in front of it stays chosen until it starts; False asks again in every pass. A
            named scheduler without `backfill` keeps its own rule.
        patience: Seconds that a job may wait before it is chosen instead of what such a policy chooses.
        observation: What such a policy sees.

    Returns:
        The schedule, once the last job has ended.

    Raises:
        WorkloadError: The workload can't be replayed; the message names job and remedy.
        UnknownNameError: An unknown policy, pass rule or backfilling.
    """
    require_known("engine", engine, ENGINES)
    if not isinstance(workload, Workload):
        raise SettingError(f"workload is {workload!r}; read the log first: replay(read_trace(path), ...)")
    if processors is not None:
        workload = workload.with_processors(processors)
    decided = decided_rules(backfill, pass_rule, commit, patience)
    if isinstance(policy, str):
        rules = _named_rules(policy, decided)
        return _schedule(workload, policy, rules.pass_rule, _replay_scheduler(workload, rules, engine, predictor))
    if not (hasattr(policy, "act") or hasattr(policy, "act_on_state")):
        raise SettingError(f"policy is {policy!r}; give a name, or an object with act or act_on_state")
    if predictor is not None:
        raise SettingError("a predictor goes with a named scheduler; a policy that decides predicts for itself")
    events = _replay_by_decisions(workload, decided, engine, policy, observation)
    return _schedule(workload, getattr(policy, "name", type(policy).__name__), pass_rule, events)


def _named_rules(name: str, asked: Rules) -> Rules:
    """What a scheduler's name means under a pass rule, with the backfilling that was asked for behind an order."""
    require_known("policy", name, SCHEDULERS)
    rules = PEERS.get(name) or replace(CLASSIC[name], pass_rule=asked.pass_rule)
    if math.isfinite(asked.patience):
        raise SettingError(f"patience is {asked.patience:g}; it goes with a policy that decides, not with {name!r}")
    if asked.backfill == "none":
        return rules
    if rules.backfill != "none":
        raise SettingError(f"{name!r} has a backfilling of its own; leave backfill={asked.backfill!r} out")
    return replace(asked, order=rules.order)


def _schedule(workload: Workload, policy: str, pass_rule: str, events: EventLog) -> Schedule:
    start = start_times(events, 0, len(workload))
    assert not np.isnan(start).any(), "every job of a replay starts"
    return Schedule(workload, policy, pass_rule, events, start, start - workload.submit_time, start + workload.run_time)


def _replay_scheduler(workload: Workload, rules: Rules, engine: str, predictor: str | Predictor | None) -> EventLog:
    own = None if predictor is None or isinstance(predictor, str) else predictor
    prediction = _prediction(predictor)
    if (own or prediction.learns) and rules.backfill == "conservative":
        raise SettingError(
            "conservative backfilling holds its reservations, so it can't plan with times that may be too short; use "
            "the predictor 'requested' or 'perfect', or the policy 'easy_sjbf'"
        )
    if prediction.predictor == "perfect":
        workload = replace(workload, requested_time=workload.run_time)
    if resolve_engine(engine, needs_simulator=own is not None) == "simpy":
        return _simulate(workload, rules, prediction, own)
    sequences = JobSequences(workload, None, "all")
    jobs, rows = with_memory(sequences.jobs, prediction) if prediction.learns else (sequences.jobs, 0)
    episodes = allocate(1, sequences.length, 1, rows)
    if rules.backfill == "conservative":
        per_event = rules.pass_rule == "per_event"
        reservations = reservations_of(sequences.length)
        replay_conservatively(episodes, reservations, jobs, per_event, sequences.processors)
    else:
        flags = flags_of(rules, QueueReward(), prediction)
        replay_in_order(episodes, jobs, flags, sequences.processors)
    return EventLog.of_row(episodes, 0, episodes.event_count[0])


def _prediction(predictor: str | Predictor | None) -> Prediction:
    if isinstance(predictor, str):
        return Prediction.named(predictor)
    if predictor is None:
        return Prediction()
    if not (hasattr(predictor, "predict") and hasattr(predictor, "learn")):
        raise SettingError(f"predictor is {predictor!r}; give a name, or an object with predict and learn")
    return Prediction(corrector=getattr(predictor, "corrector", "reqtime"))


def _simulate(workload: Workload, rules: Rules, prediction: Prediction, own: Predictor | None) -> EventLog:
    sequences = JobSequences(workload, None, "all")
    jobs, processors, count = sequences.jobs, sequences.processors, sequences.length
    if rules.backfill == "conservative":
        machine: BatchMachine = ConservativeMachine(jobs, processors, rules, 0, count)
    else:
        forecast = Forecast(prediction, jobs, own) if own or prediction.learns else None
        machine = BatchMachine(jobs, processors, rules, 0, count, forecast)
    while machine.run_to_decision():
        machine.decide(machine.head())
    return machine.log.log()


def _replay_by_decisions(
    workload: Workload, rules: Rules, engine: str, policy: Any, observation: str | QueueEncoding
) -> EventLog:
    player = build_engine(JobSequences(workload, None, "all"), rules, 1, engine, observation)
    network = getattr(policy, "row_network", None)
    if network is not None and isinstance(player, BatchKernel) and player.plays_rows:
        player.play_row(network)
        return player.events(0)
    play_alone(player, policy)
    return player.events(0)
