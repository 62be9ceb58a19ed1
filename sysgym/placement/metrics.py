"""What an event log and a trace say: the score of an episode; memory over time, idle time, the critical path.

Two accountings of memory. "physical": weights from the beginning; temporaries while an operation runs; an output on
its producer from its start until it and its last local consumer have ended and its last transfer has left; a copy on
each target from the transfer's start until its last consumer there has ended. Frees come before allocations at one
instant. "placeto": all outputs on the producer alone, until max(int(start) + int(cost) - 1) over the children, frees
after allocations; no weights, no copies (Addanki et al.'s simulator), which understates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import require_known
from sysgym.core.events import EventKind, EventLog
from sysgym.placement.execution import ExecutionRules, Trace
from sysgym.placement.instances import Instance
from sysgym.placement.objectives import evaluate

ACCOUNTINGS = ("physical", "placeto", "static")


@dataclass(frozen=True)
class Allocation:
    """Bytes on a device over a span of time, and what they are for."""

    device: int
    start: float
    end: float
    size: float
    label: str


@dataclass(frozen=True)
class MemoryPeak:
    """The most that one device holds at once.

    Attributes:
        bytes: How much.
        time: When first.
        live: What is held then, by label, largest first.
    """

    bytes: float
    time: float
    live: tuple[tuple[str, float], ...]


def placement_metrics(
    events: EventLog, instance: Instance, objective: str, rules: ExecutionRules | None = None
) -> dict[str, float]:
    """Scores of an episode of operation by operation placement, on the original operations.

    Args:
        events: PLACE for every group that was put somewhere; the last one of a group counts.
        instance: What was placed.
        objective: Which objective.
        rules: How the graph runs, for "makespan".

    Returns:
        `objective` (NaN while something is not placed), `over_share` (the objective over the instance's share, which
        is 1 or more where every operation is cheapest on an accelerator), `feasible` (0 or 1), `excess_bytes`,
        `devices_used`, `decisions`.
    """
    placed = events.of(EventKind.PLACE)
    device = np.full(len(instance.order), -1, dtype=np.int64)
    for group, where in zip(placed.subject.tolist(), placed.amount.tolist(), strict=True):
        device[group] = int(where)
    scores = {"objective": np.nan, "over_share": np.nan, "feasible": 0.0, "excess_bytes": 0.0}
    if (device >= 0).all():
        found = evaluate(instance.graph, instance.cluster, instance.spread(device), objective, rules=rules)
        excess = sum(violation.excess_bytes for violation in found.violations)
        scores["objective"], scores["over_share"] = found.objective, found.objective / instance.share
        scores["feasible"], scores["excess_bytes"] = float(found.feasible), float(excess)
    used = len(np.unique(device[device >= 0]))
    return scores | {"devices_used": float(used), "decisions": float(len(placed))}


def memory_peaks(trace: Trace, accounting: str = "physical") -> list[MemoryPeak]:
    """The peak of every device; O(k log k) for k allocations.

    Raises:
        UnknownNameError: `accounting` is none of `ACCOUNTINGS`.
    """
    require_known("memory accounting", accounting, ACCOUNTINGS)
    made = {"physical": _physical, "placeto": _placeto, "static": _persistent}[accounting]
    by_device: list[list[Allocation]] = [[] for _ in trace.cluster.devices]
    for allocation in made(trace):
        if allocation.size > 0:
            by_device[allocation.device].append(allocation)
    return [_peak(held, frees_first=accounting != "placeto") for held in by_device]


def _peak(held: list[Allocation], frees_first: bool) -> MemoryPeak:
    changes = [(each.start, int(frees_first), each.size) for each in held]
    changes += [(each.end, int(not frees_first), -each.size) for each in held]
    level = best = 0.0
    at = 0.0
    for time, _, change in sorted(changes, key=lambda item: item[:2]):
        level += change
        if level > best:
            best, at = level, time
    live = [each for each in held if each.start <= at and (each.end > at or (each.end == at and not frees_first))]
    named = tuple(sorted(((each.label, each.size) for each in live), key=lambda item: -item[1]))
    return MemoryPeak(float(sum(size for _, size in named)), at, named)


def _persistent(trace: Trace) -> Iterator[Allocation]:
    for node, device in enumerate(trace.assignment.tolist()):
        size = float(trace.graph.persistent_bytes[node])
        yield Allocation(device, 0.0, np.inf, size, f"{trace.graph.node_ids[node]}: weights")


def _physical(trace: Trace) -> Iterator[Allocation]:
    yield from _persistent(trace)
    graph, program = trace.graph, trace.program
    needed, copies = _until_when(trace)
    for node, device in enumerate(trace.assignment.tolist()):
        start, end, name = float(trace.start[node]), float(trace.end[node]), graph.node_ids[node]
        yield Allocation(device, start, end, float(graph.temporary_bytes[node]), f"{name}: temporary")
        for output in range(graph.output_start[node], graph.output_start[node + 1]):
            until = max(end, needed.get(output, end))
            yield Allocation(device, start, until, float(graph.output_bytes[output]), f"{name}: output")
    producers = np.repeat(np.arange(len(graph)), np.diff(program.edge_start))
    owner = dict(zip(program.edge_output.tolist(), producers.tolist(), strict=True))
    for (output, device), (start, until) in copies.items():
        size = float(graph.output_bytes[output])
        yield Allocation(device, start, until, size, f"{graph.node_ids[owner[output]]}: copy")


def _until_when(trace: Trace) -> tuple[dict[int, float], dict[tuple[int, int], tuple[float, float]]]:
    """Until when each output is needed on its producer, and from when to when each copy on its target."""
    needed: dict[int, float] = {}
    copies: dict[tuple[int, int], tuple[float, float]] = {}
    program = trace.program
    for edge, (output, consumer) in enumerate(
        zip(program.edge_output.tolist(), program.consumer.tolist(), strict=True)
    ):
        if output < 0:
            continue
        ended = float(trace.end[consumer])
        if np.isnan(trace.sent[edge]):
            needed[output] = max(needed.get(output, -np.inf), ended)
            continue
        needed[output] = max(needed.get(output, -np.inf), float(trace.arrived[edge]))
        start, until = copies.get((output, int(trace.assignment[consumer])), (np.inf, -np.inf))
        copies[output, int(trace.assignment[consumer])] = min(start, float(trace.sent[edge])), max(until, ended)
    return needed, copies


def _placeto(trace: Trace) -> Iterator[Allocation]:
    program, sizes = trace.program, trace.graph.outputs_total
    for node, device in enumerate(trace.assignment.tolist()):
        children = program.consumer[program.edge_start[node] : program.edge_start[node + 1]].tolist()
        ends = [int(trace.start[child]) + int(trace.end[child] - trace.start[child]) - 1 for child in children]
        start = float(trace.start[node])
        yield Allocation(
            device, start, max([start, *ends]), float(sizes[node]), f"{trace.graph.node_ids[node]}: output"
        )


def critical_path(trace: Trace) -> list[int]:
    """Operations of the chain of causes that ends last, from the first to the last.

    An operation waits either for its last input or for the one that its device ran before.
    """
    program, count = trace.program, len(trace.graph)
    owner = np.repeat(np.arange(count), np.diff(program.edge_start))
    cause: NDArray[np.int64] = np.full(count, -1, dtype=np.int64)
    latest = np.full(count, -np.inf)
    for edge, consumer in enumerate(program.consumer.tolist()):
        if trace.arrived[edge] > latest[consumer]:
            latest[consumer], cause[consumer] = trace.arrived[edge], owner[edge]
    before: dict[int, int] = {}
    for node in np.lexsort((trace.end, trace.start)).tolist():
        device = int(trace.assignment[node])
        if device in before and trace.start[node] > latest[node]:
            cause[node] = before[device]
        before[device] = node
    path = [int(np.argmax(trace.end))]
    while cause[path[-1]] >= 0:
        path.append(int(cause[path[-1]]))
    return path[::-1]
