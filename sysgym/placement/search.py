"""Searches over the devices of groups: annealing and local search, compiled.

For the max-load objective a move is scored by what it changes: each device's compute, transfers and memory are kept up
to date, O(producers touched) a move. For latency and makespan the whole placement is scored again. A move relocates
one group, sends a window of the topological order to one device, gathers a producer and its readers, or exchanges two
groups; CPUs are devices like any other. Source of the moves and the cooling: measured on the graphs of Tarnawski et
al. (NeurIPS 2020); the local search is theirs, but minds memory and CPUs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.placement.contraction import Contraction
from sysgym.placement.execution import Program
from sysgym.placement.kernel import Flags, execute
from sysgym.placement.objectives import LatencyArrays, single_latency
from sysgym.placement.workspace import Workspace

_MEAN_WEIGHT = 0.05
"""How much the mean load counts beside the largest, so that plateaus slope."""
_GAIN = 1e-6
"""What a single move has to gain at least, relative to the largest load."""


class SearchState(NamedTuple):
    """Where the groups are, and what follows from it.

    Attributes:
        device: Device of each group, shape (G,).
        readers_on: Readers of each producer on each device, shape (P, D).
        compute: Compute time of each device, shape (D,).
        moved: Transfer time of each device.
        held: Bytes on each device.
    """

    device: NDArray[np.int64]
    readers_on: NDArray[np.int32]
    compute: NDArray[np.float64]
    moved: NDArray[np.float64]
    held: NDArray[np.float64]


class Moves(NamedTuple):
    """Memory for one compound move: which groups go where, and where they were."""

    group: NDArray[np.int64]
    to: NDArray[np.int64]
    back: NDArray[np.int64]
    length: NDArray[np.int64]


def new_moves(groups: int) -> Moves:
    """Memory for moves of up to `groups` groups, twice each."""
    group, to, back = (np.zeros(2 * groups + 2, dtype=np.int64) for _ in range(3))
    return Moves(group, to, back, np.zeros(1, dtype=np.int64))


def search_state(c: Contraction, device: NDArray[np.int64]) -> SearchState:
    """The state of an assignment of groups, shape (G,)."""
    groups, devices = c.cost.shape
    readers_on = np.zeros((len(c.owner), devices), dtype=np.int32)
    producer = np.repeat(np.arange(len(c.owner)), np.diff(c.reader_start))
    np.add.at(readers_on, (producer, device[c.reader]), 1)
    compute = np.bincount(device, weights=c.cost[np.arange(groups), device], minlength=devices).astype(np.float64)
    held = np.bincount(device, weights=c.size, minlength=devices).astype(np.float64)
    total = np.diff(c.reader_start)[:, None]
    owns = device[c.owner][:, None] == np.arange(devices)
    crossing = np.where(owns, readers_on < total, readers_on > 0)
    moved = np.where(c.pays, (crossing * c.price[:, None]).sum(axis=0), 0.0)
    return SearchState(device.astype(np.int64).copy(), readers_on, compute, moved, held)


@compiled
def _crosses(s: SearchState, c: Contraction, p: int, device: int) -> bool:
    """Whether a producer's output crosses the border of a device."""
    if s.device[c.owner[p]] == device:
        return bool(s.readers_on[p, device] < c.reader_start[p + 1] - c.reader_start[p])
    return bool(s.readers_on[p, device] > 0)


@compiled
def _relocate(s: SearchState, c: Contraction, group: int, to: int) -> None:
    """Move one group, and keep the state up to date."""
    origin = s.device[group]
    s.compute[origin] -= c.cost[group, origin]
    s.compute[to] += c.cost[group, to]
    s.held[origin] -= c.size[group]
    s.held[to] += c.size[group]
    begin, end = c.touch_start[group], c.touch_start[group + 1]
    for k in range(begin, end):
        p = c.touch[k]
        if c.pays[origin] and _crosses(s, c, p, origin):
            s.moved[origin] -= c.price[p]
        if c.pays[to] and _crosses(s, c, p, to):
            s.moved[to] -= c.price[p]
        if c.owner[p] != group:
            s.readers_on[p, origin] -= 1
            s.readers_on[p, to] += 1
    s.device[group] = to
    for k in range(begin, end):
        p = c.touch[k]
        if c.pays[origin] and _crosses(s, c, p, origin):
            s.moved[origin] += c.price[p]
        if c.pays[to] and _crosses(s, c, p, to):
            s.moved[to] += c.price[p]


@compiled
def _excess(s: SearchState, c: Contraction) -> float:
    """Bytes above the caps, relative to the caps."""
    excess = 0.0
    for d in range(len(c.memory)):
        if s.held[d] > c.memory[d] * (1.0 + 1e-12):
            excess += (s.held[d] - c.memory[d]) / max(c.memory[d], 1.0)
    return excess


@compiled
def _largest(s: SearchState) -> float:
    largest = 0.0
    for d in range(len(s.compute)):
        largest = max(largest, s.compute[d] + s.moved[d])
    return largest


@compiled
def _energy(s: SearchState, c: Contraction, work: float) -> float:
    total = 0.0
    for d in range(len(s.compute)):
        total += s.compute[d] + s.moved[d]
    return _largest(s) + _MEAN_WEIGHT * total / len(s.compute) + work * _excess(s, c)


@compiled
def _add(m: Moves, c: Contraction, device: NDArray[Any], group: int, to: int) -> None:
    """Add a group to the compound move, if it isn't there and can run there."""
    if device[group] != to and c.cost[group, to] < np.inf:
        m.group[m.length[0]] = group
        m.to[m.length[0]] = to
        m.back[m.length[0]] = device[group]
        m.length[0] += 1


@compiled
def _draw_move(  # noqa: PLR0912  a branch for each kind of move
    m: Moves, c: Contraction, device: NDArray[Any], order: NDArray[Any], hot: int, generator: np.random.Generator
) -> None:
    """Draw a compound move; `hot` is the busiest device, from which every second relocation starts."""
    groups, devices = c.cost.shape
    m.length[0] = 0
    kind = generator.random()
    group = int(generator.random() * groups)
    to = int(generator.random() * devices)
    if kind < 0.5 or (kind >= 0.75 and kind < 0.9 and len(c.owner) == 0):
        if kind < 0.25:
            for _ in range(8):
                if device[group] == hot:
                    break
                group = int(generator.random() * groups)
        _add(m, c, device, group, to)
    elif kind < 0.75:
        length = 1 + int(generator.random() * min(groups, max(4, groups // (2 * devices))))
        begin = int(generator.random() * (groups - length + 1))
        if generator.random() < 0.5:
            to = device[order[max(0, begin - 1)]]
        origin = device[order[begin]] if generator.random() < 0.5 else -1
        for k in range(begin, begin + length):
            if origin < 0 or device[order[k]] == origin:
                _add(m, c, device, order[k], to)
    elif kind < 0.9:
        p = int(generator.random() * len(c.owner))
        first, stop = c.reader_start[p], c.reader_start[p + 1]
        to = device[c.owner[p]]
        if generator.random() < 0.5:
            to = device[c.reader[first + int(generator.random() * (stop - first))]]
            _add(m, c, device, c.owner[p], to)
        if generator.random() < 0.7:
            for k in range(first, stop):
                _add(m, c, device, c.reader[k], to)
    else:
        other = int(generator.random() * groups)
        _add(m, c, device, group, device[other])
        _add(m, c, device, other, device[group])


@compiled
def anneal_load(
    s: SearchState, c: Contraction, m: Moves, order: NDArray[Any], steps: int, hot: float, cold: float,
    generator: np.random.Generator, best_device: NDArray[Any], best_value: float,
) -> float:  # fmt: skip
    """Anneal the largest load from the state's assignment.

    Args:
        s: State; is left where the search ends.
        c: The contracted graph.
        m: Memory for moves.
        order: Groups in topological order.
        steps: Moves.
        hot: Temperature at the beginning.
        cold: Temperature at the end; in between it falls geometrically.
        generator: Source of randomness.
        best_device: Receives the best feasible assignment, if it beats `best_value`.
        best_value: Value of the best one known.

    Returns:
        The best value.
    """
    devices = len(c.memory)
    work = 0.0
    for g in range(len(c.size)):
        least = np.inf
        for d in range(devices):
            least = min(least, c.cost[g, d])
        work += least
    energy = _energy(s, c, work)
    cooling = (cold / hot) ** (1.0 / max(1, steps))
    temperature = hot
    for _ in range(steps):
        temperature *= cooling
        busiest = 0
        for d in range(1, devices):
            if s.compute[d] + s.moved[d] > s.compute[busiest] + s.moved[busiest]:
                busiest = d
        _draw_move(m, c, s.device, order, busiest, generator)
        count = m.length[0]
        if count == 0:
            continue
        for k in range(count):
            _relocate(s, c, m.group[k], m.to[k])
        changed = _energy(s, c, work)
        if changed <= energy or generator.random() < np.exp((energy - changed) / temperature):
            energy = changed
            if _largest(s) < best_value * (1.0 - 1e-12) and _excess(s, c) == 0.0:
                best_value = _largest(s)
                best_device[:] = s.device
        else:
            for k in range(count - 1, -1, -1):
                _relocate(s, c, m.group[k], m.back[k])
    return best_value


@compiled
def descend_load(s: SearchState, c: Contraction, moves: int = 1_000_000) -> bool:
    """Make the best single move until none gains, at most `moves` times; returns whether none gains any more.

    Memory caps count first: while one is exceeded, what lessens the excess is a gain.
    """
    groups, devices = c.cost.shape
    for _ in range(moves):
        value, excess = _largest(s), _excess(s, c)
        best_group, best_to, best_value, best_excess = -1, -1, value * (1.0 - _GAIN), excess
        for g in range(groups):
            origin = s.device[g]
            for to in range(devices):
                if to == origin or c.cost[g, to] == np.inf:
                    continue
                _relocate(s, c, g, to)
                now, over = _largest(s), _excess(s, c)
                if over < best_excess or (over == best_excess and now < best_value):
                    best_group, best_to, best_value, best_excess = g, to, now, over
                _relocate(s, c, g, origin)
        if best_group < 0:
            return True
        _relocate(s, c, best_group, best_to)
    return False


@compiled
def _whole(
    makespan: bool, a: LatencyArrays, w: Workspace, p: Program, f: Flags, c: Contraction, device: NDArray[Any],
    placed: NDArray[Any], held: NDArray[Any],
) -> tuple[float, float]:  # fmt: skip
    """Objective and relative memory excess of an assignment of groups."""
    held[:] = 0.0
    for g in range(len(device)):
        held[device[g]] += c.size[g]
    excess = 0.0
    for d in range(len(held)):
        if held[d] > c.memory[d]:
            excess += (held[d] - c.memory[d]) / max(c.memory[d], 1.0)
    for v in range(len(placed)):
        placed[v] = device[c.group_of[v]]
    value = execute(w, p, f, placed) if makespan else single_latency(a, placed, False)
    return value, excess


@compiled
def anneal_whole(
    makespan: bool, a: LatencyArrays, w: Workspace, p: Program, f: Flags, c: Contraction, device: NDArray[Any],
    m: Moves, order: NDArray[Any], steps: int, hot: float, cold: float, generator: np.random.Generator,
    best_device: NDArray[Any], best_value: float,
) -> float:  # fmt: skip
    """Anneal latency or makespan, scoring the whole placement after each move; see `anneal_load`."""
    placed, held = np.zeros(len(c.group_of), dtype=np.int64), np.zeros(len(c.memory))
    value, excess = _whole(makespan, a, w, p, f, c, device, placed, held)
    scale = best_value if best_value < np.inf else value
    energy = value + scale * excess
    cooling = (cold / hot) ** (1.0 / max(1, steps))
    temperature = hot
    for _ in range(steps):
        temperature *= cooling
        _draw_move(m, c, device, order, int(generator.random() * len(held)), generator)
        count = m.length[0]
        if count == 0:
            continue
        for k in range(count):
            device[m.group[k]] = m.to[k]
        value, excess = _whole(makespan, a, w, p, f, c, device, placed, held)
        changed = value + scale * excess
        if changed <= energy or generator.random() < np.exp((energy - changed) / temperature):
            energy = changed
            if excess == 0.0 and value < best_value * (1.0 - 1e-12):
                best_value = value
                best_device[:] = device
        else:
            for k in range(count - 1, -1, -1):
                device[m.group[k]] = m.back[k]
    return best_value
