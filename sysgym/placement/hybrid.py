"""Data, tensor and pipeline parallelism with recomputation, chosen together: Piper's two-level programme.

A layer has variants: for each degree of tensor parallelism a plain one and one that recomputes its activations. A plan
is a sequence of contiguous stages, each with a data degree d and a tensor degree t, and a variant of every layer. For N
micro-batches a batch and bandwidth B a stage takes, a micro-batch, (sum of its layers + 2/B times the bytes over its
borders)/d + 4 (d - 1)/d times its weights over N B. Memory a device is the sum of a y + b, where y = ceil(s/d)
micro-batches are alive and s is the sum of the data degrees from this stage to the last. The plan is as slow as its
slowest stage.

The outer programme grows sets that hold all their successors, from the last layers backwards; the inner one picks
variants, switching layers to recomputation by time lost per byte saved until the stage fits. Tarnawski, Narayanan and
Phanishayee, "Piper: multidimensional planner for DNN parallelization", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import InfeasibleError, SettingError, require_known, require_range
from sysgym.placement.piper import LayerVariants, PiperGraph

RECOMPUTE = ("choose", "none", "all")


@dataclass(frozen=True)
class HybridStage:
    """A stage: its layers, which of them recompute, its degrees, seconds a micro-batch, bytes a device."""

    node_ids: tuple[Any, ...]
    recomputed: tuple[Any, ...]
    data_degree: int
    tensor_degree: int
    seconds: float
    memory_bytes: float


@dataclass(frozen=True)
class HybridPlan:
    """Stages in order of execution, seconds a micro-batch, and the number of sets that were looked at."""

    stages: tuple[HybridStage, ...]
    seconds: float
    sets: int


def plan_hybrid(
    graph: PiperGraph,
    devices: int,
    memory_bytes: float,
    bandwidth: float,
    micro_batches: int,
    *,
    data_parallel: bool = True,
    tensor_degrees: Sequence[int] | None = None,
    pipeline: bool = True,
    recompute: str = "choose",
    set_limit: int = 40_000,
) -> HybridPlan:
    """The fastest plan.

    Args:
        graph: Layers and their variants.
        devices: How many there are; not all need be used.
        memory_bytes: Of each.
        bandwidth: Bytes a unit of the graph's time.
        micro_batches: N, micro-batches a batch; the data degree of a stage divides it, all together are at most N.
        data_parallel: Whether a stage may have more than one replica.
        tensor_degrees: Allowed degrees; all that the graph has when left out.
        pipeline: Whether there may be more than one stage.
        recompute: "choose", "none" or "all".
        set_limit: Refuse graphs with more successor-closed sets than this.

    Raises:
        InfeasibleError: No plan fits, with the memory that the least demanding single layer needs.
        SettingError: A number out of range, an unknown degree, or too many sets.
    """
    require_range("devices", devices, 1)
    require_range("micro_batches", micro_batches, 1)
    require_range("bandwidth", bandwidth, 0.0, open_low=True)
    require_range("memory_bytes", memory_bytes, 0.0)
    require_known("recompute", recompute, RECOMPUTE)
    allowed = _allowed(graph, tensor_degrees, recompute)
    sets = _closed_sets(graph, set_limit) if pipeline else [0, (1 << len(graph.node_ids)) - 1]
    shares = [d for d in range(1, min(devices, micro_batches) + 1) if micro_batches % d == 0]
    shares = shares if data_parallel else [1]
    bits = np.array([[ideal >> node & 1 for node in range(len(graph.node_ids))] for ideal in sets], dtype=np.bool_)
    degrees, known = np.array(graph.degrees), float("inf")
    work = (np.where(np.isfinite(allowed.seconds), allowed.seconds, np.inf) * degrees[:, None, None]).min(axis=(0, 1))
    for members in (bits[_one_order(sets)], bits):  # the best plan of one order bounds the search over all sets
        best, choice = _outer(
            members, allowed, degrees, np.array(shares), devices, min(devices, micro_batches), float(memory_bytes),
            float(bandwidth), micro_batches, members @ work, known,
        )  # fmt: skip
        known = float(best[-1, -1, -1])
    value = float(best[-1, -1, -1])
    if not np.isfinite(value):
        alone = np.where(np.isfinite(allowed.seconds), allowed.per_batch + allowed.fixed, np.inf).min(axis=(0, 1)).max()
        raise InfeasibleError(f"{graph.source}: no plan fits {memory_bytes:,.0f} bytes on {devices} devices; the "
                              f"largest layer alone needs {alone:,.0f}; use more memory or more devices")  # fmt: skip
    stages = _stages(graph, allowed, bits, best, choice, shares, memory_bytes, bandwidth, micro_batches)
    return HybridPlan(tuple(stages), max(stage.seconds for stage in stages), len(sets))


def _allowed(graph: PiperGraph, degrees: Sequence[int] | None, recompute: str) -> LayerVariants:
    """The variants with what is forbidden made infinite."""
    wanted = set(graph.degrees if degrees is None else degrees)
    if wanted - set(graph.degrees):
        raise SettingError(f"tensor degrees {sorted(wanted - set(graph.degrees))} are not among {list(graph.degrees)}")
    seconds = graph.variants.seconds.copy()
    seconds[[degree not in wanted for degree in graph.degrees]] = np.inf
    if recompute == "none":
        seconds[:, 1] = np.inf
    elif recompute == "all":
        seconds[:, 0] = np.where(np.isfinite(seconds[:, 1]), np.inf, seconds[:, 0])
    return graph.variants._replace(seconds=seconds)


def _one_order(sets: list[int]) -> list[int]:
    """Numbers of sets of which each holds the one before: what grows when layers are added one after another."""
    chain = [0]
    for number, closed in enumerate(sets):
        if closed & sets[chain[-1]] == sets[chain[-1]] and closed != sets[chain[-1]]:
            chain.append(number)
    return chain


def _closed_sets(graph: PiperGraph, limit: int) -> list[int]:
    """Sets that hold all their successors, as bits, small ones first."""
    count = len(graph.node_ids)
    before, after = [0] * count, [0] * count
    for a, b in graph.variants.edges.tolist():
        after[a] |= 1 << b
        before[b] |= 1 << a
    seen, members = {0}, [0]
    addable = {0: [node for node in range(count) if not after[node]]}
    for closed in members:
        candidates = addable.pop(closed)
        for node in candidates:
            larger = closed | 1 << node
            if larger in seen:
                continue
            if len(members) >= limit:
                raise SettingError(f"{graph.source}: more than {limit} sets of layers; raise set_limit")
            seen.add(larger)
            members.append(larger)
            parents = [place for place in range(count) if before[node] >> place & 1]
            free = [parent for parent in parents if not after[parent] & ~larger]
            addable[larger] = [each for each in candidates if each != node] + free
    return sorted(members, key=int.bit_count)


@compiled
def _pick(
    v: LayerVariants, t: int, layers: NDArray[Any], alive: int, memory: float, picked: NDArray[Any]
) -> tuple[bool, float, bool]:
    """Choose a variant of each layer of a stage; returns whether it fits, its bytes a device, whether any was switched.

    First the fastest of each; then, while it doesn't fit, the switch that loses the least time a byte.
    """
    held, switched = 0.0, False
    for node in layers:
        fastest = 0 if v.seconds[t, 0, node] <= v.seconds[t, 1, node] else 1
        picked[node] = fastest
        held += v.per_batch[t, fastest, node] * alive + v.fixed[t, fastest, node]
    while held > memory:
        chosen, lowest, most = -1, np.inf, 0.0
        for node in layers:
            now, other = picked[node], 1 - picked[node]
            if v.seconds[t, other, node] == np.inf or v.seconds[t, now, node] > v.seconds[t, other, node]:
                continue
            saved = (v.per_batch[t, now, node] - v.per_batch[t, other, node]) * alive + (
                v.fixed[t, now, node] - v.fixed[t, other, node]
            )
            if saved <= 0:
                continue
            ratio = (v.seconds[t, other, node] - v.seconds[t, now, node]) / saved
            if ratio < lowest:
                chosen, lowest, most = node, ratio, saved
        if chosen < 0:
            return False, held, True
        switched = True
        picked[chosen] = 1 - picked[chosen]
        held -= most
    return True, held, switched


@compiled
def _amounts(
    v: LayerVariants, t: int, layers: NDArray[Any], larger: NDArray[Any], smaller: NDArray[Any], picked: NDArray[Any]
) -> tuple[float, float, float]:
    """Seconds, border bytes and weights of a stage."""
    seconds, weights, border = 0.0, 0.0, 0.0
    for node in layers:
        seconds += v.seconds[t, picked[node], node]
        weights += v.weights[t, picked[node], node]
    for e in range(len(v.edges)):
        a, b = v.edges[e, 0], v.edges[e, 1]
        if larger[b] and not smaller[b] and not larger[a]:
            border += v.enters[t, picked[b], e]
        elif larger[a] and not smaller[a] and smaller[b]:
            border += v.leaves[t, picked[a], e]
    return seconds, border, weights


@compiled
def _packed(bits: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of flags as words of 62 bits."""
    words = np.zeros((len(bits), bits.shape[1] // 62 + 1), dtype=np.int64)
    for row in range(len(bits)):
        for place in range(bits.shape[1]):
            if bits[row, place]:
                words[row, place // 62] |= np.int64(1) << np.int64(place % 62)
    return words


@compiled
def _is_within(smaller: NDArray[np.int64], larger: NDArray[np.int64]) -> bool:
    """Whether all bits of some words are set in others too."""
    for word in range(len(smaller)):  # noqa: SIM110  numba has no generators
        if smaller[word] & ~larger[word]:
            return False
    return True


@compiled
def _difference(larger: NDArray[Any], smaller: NDArray[Any], layers: NDArray[np.int64]) -> int:
    """Write the layers of one set that are not in another; returns how many."""
    size = 0
    for node in range(len(larger)):
        if larger[node] and not smaller[node]:
            layers[size] = node
            size += 1
    return size


@compiled
def _is_offered(v: LayerVariants, t: int, layers: NDArray[np.int64]) -> bool:
    """Whether every layer has a variant of a tensor degree."""
    for node in layers:  # noqa: SIM110  numba has no generators
        if v.seconds[t, 0, node] == np.inf and v.seconds[t, 1, node] == np.inf:
            return False
    return True


@compiled
def _amounts_by_alive(
    v: LayerVariants, t: int, layers: NDArray[Any], larger: NDArray[Any], smaller: NDArray[Any], memory: float,
    picked: NDArray[Any], amounts: NDArray[np.float64],
) -> int:  # fmt: skip
    """Write `_amounts` of a stage, (3, total + 1), by the micro-batches alive; returns the most that fit."""
    most, switched = 0, True
    for alive in range(1, amounts.shape[1]):
        fits, _, changed = _pick(v, t, layers, alive, memory, picked)
        if not fits:
            break
        if changed or switched:
            amounts[0, alive], amounts[1, alive], amounts[2, alive] = _amounts(v, t, layers, larger, smaller, picked)
        else:
            amounts[:, alive] = amounts[:, alive - 1]
        most, switched = alive, changed
    return most


@compiled
def _put_in_front(
    best: NDArray[np.float64], choice: NDArray[np.int64], i: int, j: int, t: int, degree: int, shares: NDArray[Any],
    amounts: NDArray[np.float64], most: int, bandwidth: float, batches: int, known: float,
) -> None:  # fmt: skip
    """Let the stage of set i without set j, with every data degree, stand in front of the plans of set j."""
    devices, total = best.shape[1] - 1, best.shape[2] - 1
    for c in range(len(shares)):
        d = shares[c]
        used = d * degree
        if used > devices:
            break
        for s in range(d, total + 1):
            alive = (s + d - 1) // d
            if alive > most:
                break
            time = (amounts[0, alive] + 2.0 * amounts[1, alive] / bandwidth) / d
            time += 4.0 * (d - 1) / d * amounts[2, alive] / (batches * bandwidth)
            if time > known * (1.0 + 1e-12):
                continue
            for k in range(used, devices + 1):
                behind = best[j, k - used, s - d]
                value = max(time, behind)
                if value < best[i, k, s]:
                    best[i, k, s] = value
                    choice[i, k, s] = (j * 64 + t) * 4096 + c
                if behind <= time:
                    break  # more devices behind this stage gain nothing


@compiled
def _allow_fewer(best: NDArray[np.float64]) -> None:
    """Of one set, (devices + 1, total + 1): whoever may use more may use fewer."""
    for k in range(best.shape[0]):
        for s in range(best.shape[1]):
            if k > 0:
                best[k, s] = min(best[k, s], best[k - 1, s])
            if s > 0:
                best[k, s] = min(best[k, s], best[k, s - 1])


@compiled
def _outer(
    bits: NDArray[Any], v: LayerVariants, degrees: NDArray[Any], shares: NDArray[Any], devices: int, total: int,
    memory: float, bandwidth: float, batches: int, work: NDArray[Any], known: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:  # fmt: skip
    """best[i, k, s]: set i on at most k devices with data degrees that sum up to at most s; and how it begins.

    `work` is the least device time of each set. Where the seconds of some plan are `known`, none is better that gives
    the layers before, inside and behind a stage fewer devices than their work fills in that time.
    """
    sets, count = bits.shape
    best = np.full((sets, devices + 1, total + 1), np.inf)
    best[0] = 0.0
    choice = np.full((sets, devices + 1, total + 1), -1, dtype=np.int64)
    picked, layers = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    amounts, words = np.zeros((3, total + 1)), _packed(bits)
    rate = 1.0 / known if known < np.inf and known > 0.0 else 0.0
    filled = np.ceil(work * rate - 1e-9)
    for i in range(1, sets):
        left = devices - np.ceil((work[-1] - work[i]) * rate - 1e-9)
        for j in range(i):
            if filled[j] + max(1.0, np.ceil((work[i] - work[j]) * rate - 1e-9)) > left:
                continue
            if not _is_within(words[j], words[i]):
                continue
            stage = layers[: _difference(bits[i], bits[j], layers)]
            for t in range(len(degrees)):
                if degrees[t] <= devices and _is_offered(v, t, stage):
                    most = _amounts_by_alive(v, t, stage, bits[i], bits[j], memory, picked, amounts)
                    _put_in_front(
                        best, choice, i, j, t, degrees[t], shares, amounts, most, bandwidth, batches, known
                    )  # fmt: skip
        _allow_fewer(best[i])
    return best, choice


def _stages(
    graph: PiperGraph, v: LayerVariants, bits: NDArray[np.bool_], best: NDArray[np.float64], choice: NDArray[np.int64],
    shares: list[int], memory: float, bandwidth: float, batches: int,
) -> list[HybridStage]:  # fmt: skip
    """Walk back through the table and score every stage again from the definition."""
    found: list[HybridStage] = []
    i, (k, s) = len(bits) - 1, (best.shape[1] - 1, best.shape[2] - 1)
    degrees: list[tuple[int, int, int, int]] = []
    while i:
        while k and best[i, k - 1, s] == best[i, k, s]:
            k -= 1
        while s and best[i, k, s - 1] == best[i, k, s]:
            s -= 1
        begins, c = divmod(int(choice[i, k, s]), 4096)
        j, t = divmod(begins, 64)
        degrees.append((i, j, t, shares[c]))
        i, k, s = j, k - shares[c] * graph.degrees[t], s - shares[c]
    for place, (i, j, t, d) in enumerate(degrees):
        alive = -(-sum(each[3] for each in degrees[place:]) // d)
        layers = np.flatnonzero(bits[i] & ~bits[j])
        picked = np.zeros(len(bits[i]), dtype=np.int64)
        _, held, _ = _pick(v, t, layers, alive, memory, picked)
        seconds, border, weights = _amounts(v, t, layers, bits[i], bits[j], picked)
        time = (seconds + 2.0 * border / bandwidth) / d + 4.0 * (d - 1) / d * weights / (batches * bandwidth)
        ids = tuple(graph.node_ids[node] for node in layers.tolist())
        again = tuple(graph.node_ids[node] for node in layers.tolist() if picked[node])
        found.append(HybridStage(ids, again, d, graph.degrees[t], float(time), float(held)))
    return found
