"""One run from beginning to end: train, evaluate, and say in a record what came of it.

A record tells failures too: whatever goes wrong in a run, in a policy's code above all, ends as one line in its record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any

from sysgym.bench import environments
from sysgym.bench.action_log import write_actions
from sysgym.bench.evaluator import Evaluation, evaluate
from sysgym.bench.guard import FAULTS, one_line, printable
from sysgym.bench.isolation import IsolatedPolicy
from sysgym.bench.play import Scenario
from sysgym.bench.policies import SAMPLED
from sysgym.bench.provenance import collect
from sysgym.bench.records import (
    SCHEMA_VERSION,
    BoundFacts,
    CostFacts,
    EnvironmentFacts,
    EvidenceFacts,
    InstanceFacts,
    IsolationFacts,
    PolicyFacts,
    QueueFacts,
    Record,
    RepairFacts,
    ResultFacts,
    SeedFacts,
    TrainingFacts,
    seal,
)
from sysgym.bench.study import Run
from sysgym.core.errors import SysgymError
from sysgym.core.files import exclusive
from sysgym.core.instances import Instance

CURVE_POINTS = 100
"""Most points of a training curve in a record."""


def execute(
    run: Run, command: str = "", resume: bool = True, on_training: Callable[[float], object] | None = None
) -> Record:
    """Train if the policy says so, evaluate, and make the record; a failure is recorded, not raised.

    Args:
        run: The run.
        command: For the record's provenance.
        resume: Whether weights that lie beside the records are played as they are, and a training that was cut short
            goes on from its checkpoint.
        on_training: Called with the share of the training budget that is spent.
    """
    started = perf_counter()
    training: TrainingFacts | None = None
    evaluation: Evaluation | None = None
    failure: str | None = None
    actions_sha256 = ""
    try:
        if run.policy.train is not None:
            training = _train(run, resume, on_training)
        evaluation = _evaluate(run)
        actions_sha256 = write_actions(run.action_log, {played.seed: played.actions for played in evaluation.scenarios})
    except SysgymError as error:
        failure = printable(" ".join(str(error).split()))
    except FAULTS as error:  # a run's failure of any kind must not take the other runs with it
        failure = one_line(error)
    seconds = perf_counter() - started
    return _record(run, command, training, evaluation, failure, actions_sha256=actions_sha256, seconds=seconds)


def failed(run: Run, command: str, cause: str) -> Record:
    """The record of a run whose process was lost."""
    return _record(run, command, None, None, cause, actions_sha256="", seconds=0.0)


def _train(run: Run, resume: bool, on_training: Callable[[float], object] | None) -> TrainingFacts:
    from sysgym.agents import load, train  # noqa: PLC0415  loads torch, which only studies that train need

    plan, (frames, seconds) = run.policy.train, run.training_budget
    assert plan is not None and run.training_seed is not None
    started = perf_counter()
    where = run.training_environment
    with exclusive(run.weights):  # runs that share a training wait for the first of them
        if resume and run.weights.is_file():
            policy = load(run.weights)
        else:
            policy = train(
                where.id,
                plan.algorithm,
                seed=run.training_seed,
                frames=frames,
                seconds=seconds,
                environment=environments.training_arguments(where.id, run.training_arguments),
                words=environments.training_arguments(where.id, where.arguments),
                output=run.checkpoint,
                resume=resume and run.checkpoint.is_file(),
                on_progress=None if on_training is None else lambda change: on_training(change.share),
                **dict[str, Any](plan.settings),
            )
            policy.save(run.weights)
    return TrainingFacts(
        algorithm=policy.algorithm,
        environment="" if where is run.environment else where.title,
        seed=policy.seed,
        planned_frames=frames,
        planned_seconds=seconds,
        frames=policy.frames,
        seconds=policy.curve[-1]["seconds"] if policy.curve else perf_counter() - started,
        settings=plan.settings,
        curve=_thinned(policy.curve),
    )


def _evaluate(run: Run) -> Evaluation:
    content, source = run.study.content, run.policy.source
    if run.policy.train is not None:
        source = f"{run.weights}:{SAMPLED}" if run.policy.play == SAMPLED else str(run.weights)
    elif source not in environments.heuristics_of(run.environment.id):
        source = run.study.located(source)
    return evaluate(
        source,
        run.environment.id,
        run.arguments,
        run.split,
        run.scenarios,
        seed0=content.seed,
        policy_seed=run.policy_seed,
        best_of=run.policy.best_of,
        scenario_steps=content.budgets.scenario_steps,
        seconds=content.budgets.evaluation_seconds,
        secret=run.study.secret,
        limits=None if run.policy.trusted else content.budgets.limits,
        transfer=run.policy.transfer,
    )


def _record(
    run: Run,
    command: str,
    training: TrainingFacts | None,
    evaluation: Evaluation | None,
    failure: str | None,
    *,
    actions_sha256: str,
    seconds: float,
) -> Record:
    """The record of a run, from what came of its training and evaluation as far as they went."""
    played = evaluation.scenarios if evaluation else ()
    content = run.study.content
    return seal(
        Record(
            schema_version=SCHEMA_VERSION,
            record_id="",
            kind="evaluation",
            study=content.name,
            description=content.description,
            run=run.id,
            environment=_environment(run),
            instance=_instance(evaluation.instance) if evaluation and evaluation.instance else None,
            policy=_policy(run, training, evaluation),
            seeds=SeedFacts(
                policy=run.policy_seed,
                training=run.training_seed,
                scenarios=[scenario.seed for scenario in played],
                sealed_commitment=run.study.commitment,
            ),
            result=_result(played, failure),
            evidence=_evidence(run, played, actions_sha256),
            cost=CostFacts(
                training=training.seconds if training else 0.0,
                environment=evaluation.environment_seconds if evaluation else 0.0,
                policy=evaluation.policy_seconds if evaluation else 0.0,
                total=seconds,
            ),
            provenance=collect(run.study.path.parent, command),
        )
    )


def _environment(run: Run) -> EnvironmentFacts:
    objective, direction = environments.objective_of(run.environment.id)
    bound = environments.bound_of(run.environment.id)
    return EnvironmentFacts(
        name=run.environment.title,
        id=run.environment.id,
        arguments=run.environment.arguments,
        split=run.split,
        objective=objective,
        direction=direction,
        domain=environments.domain_of(run.environment.id),
        bound=None if bound is None else BoundFacts(**asdict(bound)),
    )


def _policy(run: Run, training: TrainingFacts | None, evaluation: Evaluation | None) -> PolicyFacts:
    if evaluation is not None:
        kind, sha256 = evaluation.policy.kind, evaluation.policy.sha256
        kind = "search" if kind == "heuristic" and run.policy.best_of > 1 else kind
    else:
        heuristic = run.policy.source in environments.heuristics_of(run.environment.id)
        kind, sha256 = "learned" if run.policy.train else "heuristic" if heuristic else "code", ""
    played_by = evaluation.policy.policy if evaluation else None
    return PolicyFacts(
        name=run.policy.title,
        kind=kind,
        play=run.policy.play,
        best_of=run.policy.best_of,
        source="" if run.policy.train else run.policy.source,
        sha256=sha256,
        training=training,
        isolation=_isolation(played_by) if isinstance(played_by, IsolatedPolicy) else None,
    )


def _isolation(policy: IsolatedPolicy) -> IsolationFacts:
    limits = policy.limits
    return IsolationFacts(
        step_seconds=limits.step_seconds,
        cpu_seconds=limits.cpu_seconds,
        memory_bytes=limits.memory_bytes,
        fences=list(policy.fences),
    )


def _instance(instance: Instance) -> InstanceFacts:
    return InstanceFacts(
        kind=instance.kind,
        name=instance.name,
        size=instance.size,
        unit=instance.unit,
        file_sha256=instance.file_sha256,
        sha256=instance.sha256,
        facts=dict(instance.facts),
        changes=[RepairFacts(rule=c.rule, count=c.count, dropped=c.dropped) for c in instance.changes],
    )


def _result(played: Sequence[Scenario], failure: str | None) -> ResultFacts:
    names = sorted({name for scenario in played for name in scenario.metrics})
    return ResultFacts(
        metrics={name: [_finite(scenario.metrics.get(name)) for scenario in played] for name in names},
        steps=sum(scenario.steps for scenario in played),
        invalid_actions=sum(scenario.invalid_actions for scenario in played),
        timeouts=sum(scenario.timed_out for scenario in played),
        crashes=sum(bool(scenario.fault) and not scenario.timed_out for scenario in played),
        fault=next((scenario.fault for scenario in played if scenario.fault), ""),
        failure=failure,
    )


def _evidence(run: Run, played: Sequence[Scenario], actions_sha256: str) -> EvidenceFacts:
    trained = run.policy.train is not None and played
    busiest = max(played, key=lambda scenario: scenario.offered_work, default=None)
    queue = busiest.queue if busiest else None
    return EvidenceFacts(
        event_logs=[scenario.event_log_sha256 for scenario in played if scenario.event_log_sha256],
        action_log=run.action_log.relative_to(run.study.results).as_posix() if actions_sha256 else "",
        action_log_sha256=actions_sha256,
        checkpoint=run.weights.relative_to(run.study.results).as_posix() if trained else "",
        queue=QueueFacts(
            scenario=busiest.seed,
            time_unit=environments.time_unit_of(run.environment.id),
            start=queue.start,
            step=queue.step,
            length=list(queue.length),
        )
        if busiest and queue
        else None,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _thinned(curve: Sequence[Mapping[str, float | None]]) -> list[dict[str, float | None]]:
    """At most `CURVE_POINTS` points, the last among them."""
    stride = max(1, -(-len(curve) // CURVE_POINTS))
    kept = list(curve[::-1][::stride])[::-1]
    return [{name: _finite(point.get(name)) for name in ("frames", "seconds", "mean_return")} for point in kept]
