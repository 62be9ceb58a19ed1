"""`solve`: one call for every method, and `auto`, the portfolio that uses them all.

`auto` tries every placement where there are few. Else it starts from the best constructions (contiguous programme,
METIS, list schedules), anneals from the best of them and from hot, improves until most of the time is spent, and gives
the rest to the integer programme, which may improve again and raises the lower bound. It stops early when bound and
placement meet. What is returned was scored again on the original operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InfeasibleError, SettingError, UnknownNameError, require_range
from sysgym.core.protocols import BatchPolicy
from sysgym.placement.cluster import Cluster
from sysgym.placement.exact import ORDERS, linearised, solve_contiguous
from sysgym.placement.execution import ExecutionRules
from sysgym.placement.integer import solve_integer
from sysgym.placement.metis import metis_partitions
from sysgym.placement.model import OpGraph
from sysgym.placement.objectives import Evaluation, evaluate
from sysgym.placement.policies import CONSTRUCTIONS
from sysgym.placement.problem import Problem, Score
from sysgym.placement.refine import place_by_policy

_WORST: Score = (np.inf, np.inf)
_STEPS = 300_000
_WARM, _TEPID, _HOT = 0.004, 0.05, 0.2
_PAIRS_PER_SECOND = 2_000_000
_FEW = 4_096
"""Placements that `auto` tries one by one: a fraction of a second."""


@dataclass(frozen=True)
class Placement:
    """A solved placement.

    Attributes:
        assignment: For each of the graph's `node_ids` an index into `cluster.devices`, int64 of shape (n,).
        objective: In the graph's time unit.
        lower_bound: What no placement (for the contiguous programme: no placement at all) can beat.
        method: What was asked for.
        seconds: Wall clock.
        status: "optimal" where bound and objective meet, "optimal contiguous" or "linearised" from the contiguous
            programme, else "feasible".
        evaluation: Loads, memory and, for "makespan", the trace.
    """

    assignment: NDArray[np.int64]
    objective: float
    lower_bound: float
    method: str
    seconds: float
    status: str
    evaluation: Evaluation

    @property
    def gap(self) -> float:
        """How far the objective may be above the optimum, relative to the objective."""
        return (self.objective - self.lower_bound) / self.objective if self.objective > 0 else 0.0


@dataclass
class _Found:
    """The best so far."""

    device: NDArray[np.int64]
    score: Score = _WORST
    bound: float = 0.0
    status: str = "feasible"

    def offer(self, problem: Problem, device: NDArray[np.int64]) -> Score:
        """Keep an assignment of groups if it is better than the best."""
        score = problem.score(device)
        if score < self.score:
            self.device, self.score = device.copy(), score
        return score

    @property
    def proven(self) -> bool:
        return self.score[0] == 0 and self.score[1] <= self.bound * (1 + 1e-6)


def solve(
    graph: OpGraph,
    cluster: Cluster,
    objective: str = "max_load",
    method: str = "auto",
    time_limit: float = 10.0,
    seed: int = 0,
    *,
    rules: ExecutionRules | None = None,
    policy: BatchPolicy | None = None,
    evaluations: int = 100,
) -> Placement:
    """Place a graph on a cluster.

    Args:
        graph: What is placed.
        cluster: On what; `graph.cluster` where the file names its devices.
        objective: "max_load", "latency" or "makespan".
        method: "auto", or one of `METHODS`. "contiguous", "integer" and "metis" look at loads whatever the objective.
            "policy" asks a learned policy.
        time_limit: Seconds; a method that is stopped returns its best, with the bound it has proven.
        seed: Same seed and enough time, same answer.
        rules: How the graph runs, for "makespan".
        policy: For "policy": what `sysgym.agents.load("placement")` returns, or another that acts in Placement-v0.
        evaluations: For "policy": placements that it may try, 1 for its first guess; see `refine.place_by_policy`.

    Raises:
        SettingError: "policy" is asked for without a policy.
        InfeasibleError: No placement can be feasible, or none was found, with the reason.
        UnknownNameError: No such method or objective.

    >>> from sysgym.placement.model import build_graph
    >>> chain = build_graph({"gpu": [3.0, 4.0, 2.0, 3.0]}, [(0, 1), (1, 2), (2, 3)], host_transfer=np.full(4, 0.25))
    >>> solve(chain, Cluster.uniform(2), time_limit=1.0).objective
    6.5
    """
    require_range("time_limit", time_limit, 0.0, open_low=True)
    name = _ALIASES.get(method.lower().replace("-", "_"), method.lower().replace("-", "_"))
    if name not in METHODS and name != "policy":
        raise UnknownNameError("method", method, [*METHODS, "policy"])
    if name == "policy" and policy is None:
        raise SettingError("method 'policy' needs policy=..., such as sysgym.agents.load('placement')")
    asked = partial(_by_policy, policy=policy, evaluations=evaluations)
    problem = Problem(graph, cluster, objective, time_limit, seed, rules)
    found = _Found(np.zeros(len(problem.contraction.size), dtype=np.int64))
    METHODS.get(name, asked)(problem, found)
    if found.score[0] > 0 or not np.isfinite(found.score[1]):
        raise InfeasibleError(_reason(problem, found, method))
    placed = problem.spread(found.device)
    scored = evaluate(graph, cluster, placed, objective, rules=rules)
    if not found.bound:
        found.bound = problem.lower_bound(min(1.0, time_limit))
    bound = min(found.bound, scored.objective)
    status = "optimal" if scored.objective <= bound * (1 + 1e-6) else found.status
    return Placement(placed, scored.objective, bound, name, problem.seconds, status, scored)


def _reason(problem: Problem, found: _Found, method: str) -> str:
    scored = evaluate(problem.graph, problem.cluster, problem.spread(found.device), problem.objective)
    causes = "; ".join(violation.message for violation in scored.violations) or "no placement was tried"
    return (
        f"{problem.graph.source}: method {method!r} found no feasible placement in {problem.time_limit:g} s; the "
        f"nearest: {causes}; use larger devices, more of them, or more time"
    )


def _construction(name: str) -> Callable[[Problem, _Found], None]:
    def run(problem: Problem, found: _Found) -> None:
        device = problem.group(CONSTRUCTIONS[name](problem.graph, problem.cluster))
        found.offer(problem, problem.fit(device))

    return run


def _contiguous(problem: Problem, found: _Found, share: float = 1.0) -> None:
    pairs = int(max(1e5, share * problem.time_limit * _PAIRS_PER_SECOND))
    limit = int(min(60_000, max(1_000, share * problem.time_limit * 4e6 / len(problem.contraction.size))))
    orders = max(1, _orders(problem, share))
    exact = solve_contiguous(problem.graph, problem.cluster, limit, pairs, problem.seed, orders)
    if problem.objective == "max_load":  # of other objectives its answer is a placement like others
        found.status = "optimal contiguous" if exact.status == "optimal" else exact.status
    found.offer(problem, problem.group(exact.assignment))


def _orders(problem: Problem, share: float) -> int:
    """How many topological orders there is time for, if each pair of cuts within a bound takes half a microsecond."""
    pairs = len(problem.contraction.size) ** 2 / len(problem.cluster)
    return min(ORDERS, int(share * problem.time_limit * 2e6 / pairs))


def _linearised(problem: Problem, found: _Found) -> None:
    assignment = linearised(problem.graph, problem.cluster, problem.seed, max(1, _orders(problem, 0.1)))
    if assignment is not None:
        found.offer(problem, problem.group(assignment))


def _metis(problem: Problem, found: _Found) -> None:
    for device in metis_partitions(problem.contraction, problem.cluster.fast_devices):
        if np.isfinite(problem.contraction.cost[np.arange(len(device)), device]).all():
            found.offer(problem, device)
        if problem.left() < 0:
            break
    if found.score[0] > 0:
        found.offer(problem, problem.fit(found.device if found.score < _WORST else _random(problem)))


def _random(problem: Problem) -> NDArray[np.int64]:
    """A uniform assignment of groups to devices that support them."""
    draws: NDArray[np.float64] = problem.generator.random(problem.contraction.cost.shape)
    draws[~np.isfinite(problem.contraction.cost)] = -1.0
    drawn: NDArray[np.int64] = draws.argmax(axis=1).astype(np.int64)
    return drawn


def _random_search(problem: Problem, found: _Found) -> None:
    found.offer(problem, problem.fit(_random(problem)))
    while problem.left() > 0:
        found.offer(problem, _random(problem))


def _local_search(problem: Problem, found: _Found) -> None:
    for _ in range(10):
        start = _random(problem)
        if problem.objective == "max_load":
            found.offer(problem, problem.descend(start))
        else:
            _improve(problem, found, problem.fit(start), 2e-4, 1.0)
        if problem.left() < 0:
            break


def _improve(problem: Problem, found: _Found, start: NDArray[np.int64], hot: float, deadline: float) -> None:
    """One annealing; what it finds is descended from and kept if it is better."""
    found.offer(problem, start)
    _, device = problem.anneal(start, hot, _STEPS, deadline, found.score)
    if device is not None:
        found.offer(problem, device)
        if problem.objective == "max_load":
            found.offer(problem, problem.descend(device))


def _annealing(problem: Problem, found: _Found) -> None:
    start = problem.fit(_random(problem))
    while problem.left() > 0:
        for hot in (_HOT, _TEPID, _WARM):
            _improve(problem, found, start, hot, 1.0)
            start = found.device


def _by_policy(problem: Problem, found: _Found, policy: BatchPolicy | None, evaluations: int) -> None:
    assert policy is not None
    refined = place_by_policy(
        problem.graph,
        problem.cluster,
        policy,
        problem.objective,
        evaluations,
        problem.seed,
        problem.evaluator.rules,
        seconds=problem.left(),
    )
    found.offer(problem, problem.group(refined.assignment))


def _integer(problem: Problem, found: _Found) -> None:
    for name in ("one_device", "equal_split"):
        _construction(name)(problem, found)
    found.offer(problem, problem.descend(found.device))
    _prove(problem, found)


def _prove(problem: Problem, found: _Found) -> None:
    """Give the time that is left to the integer programme."""
    answer = solve_integer(problem.contraction, found.device, max(0.1, problem.left()))
    if answer.device is not None:
        found.offer(problem, answer.device)
    if problem.objective == "max_load":
        found.bound = max(found.bound, answer.bound * (1 - 1e-9))


def _every(problem: Problem, found: _Found) -> bool:
    """Try every placement, which proves the best; whether there are so few, and there was time."""
    groups, devices = problem.contraction.cost.shape
    if devices**groups > _FEW:
        return False
    for device in product(range(devices), repeat=groups):
        if problem.left() < 0:
            return False
        found.offer(problem, np.array(device, dtype=np.int64))
    found.bound = found.score[1]
    return True


def _auto(problem: Problem, found: _Found) -> None:
    if _every(problem, found):
        return
    starts = _constructions(problem, found)
    by_load = problem.objective == "max_load"
    found.bound = problem.lower_bound(0.1 * problem.time_limit)
    prove = by_load and problem.contraction.cost.size * max(1, len(problem.contraction.reader)) < 3e7
    search_share = 0.7 if prove else 1.0
    plan = [(_WARM, start) for start in starts[:4]] + [(hot, None) for hot in (_HOT, _TEPID, _HOT, _WARM)]
    turn = 0
    while problem.left(search_share) > 0 and not found.proven:
        hot, start = plan[turn] if turn < len(plan) else ((_HOT, _TEPID, 0.02, _WARM)[turn % 4], None)
        _improve(problem, found, found.device if start is None else start, hot, search_share)
        turn += 1
    if prove and not found.proven:
        _prove(problem, found)


def _constructions(problem: Problem, found: _Found) -> list[NDArray[np.int64]]:
    """Every construction, best first."""
    starts: list[tuple[Score, int, NDArray[np.int64]]] = []

    def consider(run: Callable[[Problem, _Found], None]) -> None:
        own = _Found(found.device)
        run(problem, own)
        if own.score < _WORST:
            starts.append((own.score, len(starts), own.device))
            found.offer(problem, own.device)

    large = len(problem.graph) > 5_000
    for name in (
        "one_device",
        "cpu_only",
        "greedy",
        "m_topo",
        *(() if large else ("heft", "m_etf")),
        *(("m_sct",) if len(problem.graph) <= 1_000 else ()),
    ):
        if problem.left(0.3) > 0:
            consider(_construction(name))
    if problem.left(0.3) > 0:
        consider(_metis)
    if problem.left(0.3) > 0 and _orders(problem, 0.25) == ORDERS:
        consider(_linearised)
    if problem.left(0.3) > 0 and _orders(problem, 0.25) > 0:
        consider(_exact_if_possible)
    starts.sort(key=lambda item: item[:2])
    return [device for _, _, device in starts]


def _exact_if_possible(problem: Problem, found: _Found) -> None:
    try:
        _contiguous(problem, found, 0.25)
    except InfeasibleError:
        return  # contiguity is no requirement here: other placements may still fit


METHODS: Mapping[str, Callable[[Problem, _Found], None]] = {
    "auto": _auto,
    "contiguous": _contiguous,
    "integer": _integer,
    "metis": _metis,
    "local_search": _local_search,
    "annealing": _annealing,
    "random": _random_search,
    **{name: _construction(name) for name in CONSTRUCTIONS},
}
"""Methods by name."""

_ALIASES = {
    "dp": "contiguous", "exact": "contiguous", "ip": "integer", "milp": "integer", "highs": "integer",
    "sa": "annealing", "etf": "m_etf", "sct": "m_sct", "topo": "m_topo", "local": "local_search",
}  # fmt: skip
