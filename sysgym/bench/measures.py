"""What a row of a reproduction can ask for: functions that give our number, with an interval where chance is in it.

Each takes the arguments of the row and calls one function of the room that the number is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sysgym.bench import statistics
from sysgym.bench.evaluator import evaluate
from sysgym.core.engines import allocate_slot

TOGETHER = 50
"""Episodes that a policy of the package plays at once."""


class Measured(NamedTuple):
    """A number, and its 95 % interval; both ends are the number itself where nothing is random."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Measured:
        """A number without chance."""
        return cls(float(value), float(value), float(value))


def replay_log(
    log: str,
    policy: str,
    clean: str = "default",
    processors: int | None = None,
    pass_rule: str = "batch",
    predictor: str | None = None,
    metric: str = "mean_bounded_slowdown",
) -> Measured:
    """A metric of a whole log under a classic scheduler."""
    from sysgym.jobsched import replay  # noqa: PLC0415  the problem rooms are heavy
    from sysgym.workloads import read_trace  # noqa: PLC0415

    workload = read_trace(log, clean=clean, processors=processors)
    return Measured.exact(replay(workload, policy, pass_rule=pass_rule, predictor=predictor).summary()[metric])


def score(
    environment: str,
    policy: str,
    arguments: Mapping[str, Any] | None = None,
    scenarios: int = 100,
    split: str = "test",
    weight: str | None = None,
) -> Measured:
    """Mean objective over scenarios; with `weight`, a metric such as "jobs", each counts as often as it says."""
    found = evaluate(policy, environment, arguments, split, scenarios, limits=None)
    if weight is None:
        return Measured(*_interval(statistics.bootstrap(found.values, statistics.mean)))
    weights = np.array([row[weight] for row in found.metrics])
    return Measured(*_interval(statistics.paired_ratio(np.array(found.values) * weights, weights)))


def ratio(
    environment: str,
    policy: str,
    against: str,
    arguments: Mapping[str, Any] | None = None,
    scenarios: int = 100,
    split: str = "test",
) -> Measured:
    """Mean objective of a policy over that of another on the same scenarios, paired."""
    first, second = (
        evaluate(name, environment, arguments, split, scenarios, limits=None).values for name in (policy, against)
    )
    return Measured(*_interval(statistics.paired_ratio(first, second)))


def trained_score(
    environment: str,
    algorithm: str,
    frames: int,
    seed: int = 0,
    arguments: Mapping[str, Any] | None = None,
    scenarios: int = 100,
) -> Measured:
    """Train, then `score` on scenarios that training never saw."""
    from sysgym.agents import train  # noqa: PLC0415

    policy = train(environment, algorithm, seed=seed, frames=frames, environment=dict(arguments or {}))
    found = evaluate(policy, environment, arguments, "test", scenarios)
    return Measured(*_interval(statistics.bootstrap(found.values, statistics.mean)))


def placed(graph: str, objective: str = "max_load", method: str = "auto", time_limit: float = 10.0) -> Measured:
    """Objective of a placement that `placement.solve` finds on the cluster that the graph's file names."""
    from sysgym.placement import read_graph, solve  # noqa: PLC0415

    read = read_graph(graph)
    assert read.cluster is not None
    return Measured.exact(solve(read, read.cluster, objective, method, time_limit).objective)


def placed_ratio(graphs: Sequence[str], method: str, against: str, time_limit: float = 10.0) -> Measured:
    """Mean over graphs of the load of one method over that of another."""
    shares = [
        placed(graph, "max_load", method, time_limit).value / placed(graph, "max_load", against, time_limit).value
        for graph in graphs
    ]
    return Measured.exact(float(np.mean(shares)))


def expert_ratio(
    graphs: Sequence[str],
    experts: Sequence[str],
    method: str,
    time_limit: float = 10.0,
    weights: str = "",
    evaluations: int = 1,
) -> Measured:
    """Mean over graphs of the load of an expert's split over that of a method.

    The method "policy" asks the policy that comes with the package as `weights`, which may try so many evaluations.
    """
    from sysgym.agents import load  # noqa: PLC0415
    from sysgym.placement import evaluate as evaluate_placement  # noqa: PLC0415
    from sysgym.placement import read_graph, read_split, solve  # noqa: PLC0415

    policy, ratios = load(weights) if weights else None, []
    for graph, expert in zip(graphs, experts, strict=True):
        read = read_graph(graph)
        assert read.cluster is not None
        split = read_split(expert, read, read.cluster)
        theirs = evaluate_placement(read, read.cluster, split).objective
        ours = solve(read, read.cluster, "max_load", method, time_limit, policy=policy, evaluations=evaluations)
        ratios.append(theirs / ours.objective)
    return Measured.exact(float(np.mean(ratios)))


def pipedream(
    profile: str, levels: Sequence[Sequence[float]], result: str = "seconds", straight: bool = False
) -> Measured:
    """What PipeDream's optimiser makes of a profile: `seconds`, `speedup` or `speedup_over_data_parallel`."""
    from sysgym.placement import optimise_pipeline, read_graph  # noqa: PLC0415

    sizes = [(int(machines), float(bandwidth)) for machines, bandwidth in levels]
    plan = optimise_pipeline(read_graph(profile), sizes, straight=straight)
    return Measured.exact(getattr(plan, result))


def pipeline_time(
    schedule: str, stages: int, micro_batches: int, forward: float = 1.0, backward: float = 2.0
) -> Measured:
    """Makespan of a simulated pipeline of equal stages."""
    from sysgym.placement.pipeline import run_pipeline  # noqa: PLC0415

    run = run_pipeline(schedule, [forward] * stages, [backward] * stages, micro_batches)
    return Measured.exact(run.makespan)


def pipeline_speedup(stages: int, micro_batches: int, fitted_to: Sequence[Sequence[float]]) -> Measured:
    """Speed relative to the first row of a table by the pipeline model that is fitted to the table's other rows."""
    from sysgym.placement.pipeline import fit_pipeline_model  # noqa: PLC0415

    rows = [(int(devices), int(batches), float(speed)) for devices, batches, speed in fitted_to]
    others = [row for row in rows if row[:2] != (stages, micro_batches)]
    model = fit_pipeline_model(others)
    return Measured.exact(model.seconds(*rows[0][:2]) / model.seconds(stages, micro_batches))


def simplified_ratio(file: str, method: str, against: str, result: str = "length_share", every: int = 1) -> Measured:
    """What a method saves on a file of expressions over what another saves."""
    from sysgym.exprsimp import read_expressions  # noqa: PLC0415
    from sysgym.exprsimp.comparison import compare  # noqa: PLC0415

    rows = compare(read_expressions(file)[::every], [method, against])
    return Measured.exact(rows[0][result] / rows[1][result])


def scheduled(
    resources: int, method: str, sequences: int = 1000, against: str | None = None, evaluations: int = 2000
) -> Measured:
    """Mean slowdown under a method, or its ratio to another's, on the sequences of NeuRewriter's public generator.

    They are the test sequences that the reference figures were measured on (seed 1), so only a search has chance in it.
    """
    from sysgym.jobsched.rewriting.solve import solve  # noqa: PLC0415
    from sysgym.workloads.job_sequences import SequenceGenerator, legacy_sequences  # noqa: PLC0415

    jobsets = legacy_sequences(1, sequences, SequenceGenerator(resources), skipped=9000)

    def total(name: str) -> float:
        found = (solve(jobs, name, evaluations=evaluations, seed=seed) for seed, jobs in enumerate(jobsets))
        return sum(each.mean_slowdown for each in found)

    return Measured.exact(total(method) / (total(against) if against else sequences))


def queue_sequences(
    log: str, policy: str, backfill: str = "none", sequences: int = 30, jobs: int = 1024, commit: bool = True
) -> Measured:
    """Mean bounded slowdown over sequences of a log's jobs, as RLScheduler is tested; mean over sequences."""
    from sysgym.bench.queue_sequences import sequence_scores  # noqa: PLC0415

    scores = sequence_scores(log, policy, backfill, sequences, jobs, commit)
    return Measured(*_interval(statistics.bootstrap(scores, statistics.mean)))


def rewritten(resources: int, weights: str, against: str, sequences: int = 1000) -> Measured:
    """Mean slowdown that a rewriter of the package reaches over that of a method, on the sequences of `scheduled`.

    It makes its 50 rewrites from the earliest-job-first schedule, and the best schedule it met counts.
    """
    import gymnasium as gym  # noqa: PLC0415

    from sysgym.agents import load  # noqa: PLC0415
    from sysgym.jobsched.rewriting.solve import solve  # noqa: PLC0415
    from sysgym.workloads.job_sequences import SequenceGenerator, legacy_sequences  # noqa: PLC0415

    policy, ours = load(weights), []
    jobsets = list(legacy_sequences(1, sequences, SequenceGenerator(resources), skipped=9000))
    for begin in range(0, sequences, TOGETHER):
        part = jobsets[begin : begin + TOGETHER]
        envs: Any = gym.make_vec("sysgym/ScheduleRewrite-v0", num_envs=len(part), workload=part).unwrapped
        ours += [envs.engine.state(row).best for row in _played(envs.engine, policy, len(part))]
        envs.close()
    theirs = [solve(jobs, against).mean_slowdown for jobs in jobsets]
    return Measured(*_interval(statistics.paired_ratio(ours, theirs)))


def _played(engine: Any, policy: Any, count: int) -> range:
    """Play episode k in row k of an engine until all have ended; gives the rows."""
    slot = allocate_slot(engine.observation_spec, count, engine.num_actions)
    rows, active = np.arange(count), np.ones(count, dtype=np.bool_)
    engine.reset(rows, rows.astype(np.uint64), rows)
    engine.observe(active, slot)
    while active.any():
        engine.step(policy.act_batch(slot.observations, slot.action_masks), active, slot)
        active &= ~(slot.terminated | slot.truncated)
    return range(count)


def filled_gpus(
    pods: str, nodes: str, policy: str, seeds: int = 10, ratio: float = 1.3, scores: str = "rounded"
) -> Measured:
    """Percent of a cluster's GPUs that are allocated when more was asked for than there is; mean over seeds."""
    from sysgym.jobsched.gpu.inflation import fill  # noqa: PLC0415
    from sysgym.workloads import read_nodes, read_trace  # noqa: PLC0415

    log, cluster = read_trace(pods), read_nodes(nodes)
    filled = (fill(log, cluster, policy, ratio, scores, seed) for seed in range(seeds))
    rates = [100 * schedule.summary()["last_allocation_rate"] for schedule in filled]
    return Measured(*_interval(statistics.bootstrap(rates, statistics.mean)))


def lookup_ratio(keys: str, size: int, slow: str, fast: str, queries: int = 200_000) -> Measured:
    """Time of a batched lookup in one structure, or rival, over that in another, on a generated key set."""
    from sysgym.bench.indexes import compare, read_keys  # noqa: PLC0415

    rows, _ = compare(*read_keys(keys, size), queries)
    times = {row.name: row.batch_ns or np.nan for row in rows}
    return Measured.exact(times[slow] / times[fast])


def _interval(found: statistics.Interval) -> tuple[float, float, float]:
    return found.estimate, found.low, found.high


MEASURES: Mapping[str, Callable[..., Measured]] = {
    "replay": replay_log,
    "score": score,
    "ratio": ratio,
    "trained_score": trained_score,
    "placed": placed,
    "placed_ratio": placed_ratio,
    "expert_ratio": expert_ratio,
    "pipedream": pipedream,
    "pipeline_time": pipeline_time,
    "pipeline_speedup": pipeline_speedup,
    "simplified_ratio": simplified_ratio,
    "scheduled": scheduled,
    "queue_sequences": queue_sequences,
    "rewritten": rewritten,
    "filled_gpus": filled_gpus,
    "lookup_ratio": lookup_ratio,
}
