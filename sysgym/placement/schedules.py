"""Schedules side by side for one model: seconds of a step, bubble, memory.

The stages are those of a plan with one device each. Interleaving cuts the layers into twice as many chunks of about
equal work. Spilling takes the same stages as shards of a single device: each is loaded from host memory, computes all
micro-batches, and makes room, forwards and then back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sysgym.placement.cluster import Cluster
from sysgym.placement.layers import LayerGraph, StageGroup, Training, crossing_bytes, score_stage, stage_group
from sysgym.placement.parallel import ParallelStage
from sysgym.placement.pipeline import ASYNCHRONOUS, SCHEDULES, run_pipeline, step_seconds
from sysgym.placement.spilling import spilled_makespan


@dataclass(frozen=True)
class ScheduleRow:
    """One schedule.

    Attributes:
        schedule: Its name.
        seconds: Of a step, in the long run.
        bubble: Share of the devices' time in which they idle.
        memory_bytes: On the fullest device: weights and what training adds, further versions, activations.
        in_flight: Most micro-batches (of a chunk) that a device holds activations of.
        weight_versions: Most versions of the weights that a device keeps.
        fits: Whether every device has the memory.
        note: What to know of it; why it was left out, where the figures are infinite.
    """

    schedule: str
    seconds: float
    bubble: float
    memory_bytes: float
    in_flight: int
    weight_versions: int
    fits: bool
    note: str = ""


_NOTES = {
    "zb-h1": "half of the backward taken as weight gradients",
    "pipedream": "stale weights, a version each micro-batch",
    "pipemare": "forward and backward weights differ",
}


@dataclass(frozen=True)
class _Chunk:
    """A run of layers on one device: seconds of a micro-batch, bytes of weights and of activations."""

    forward: float
    backward: float
    weights: float
    activations: float


def compare_schedules(
    layers: LayerGraph, stages: Sequence[ParallelStage], cluster: Cluster, training: Training, chunks: int = 2
) -> list[ScheduleRow]:
    """Simulate every schedule on the same stages.

    Args:
        layers: What is trained.
        stages: One device each; recomputation is left out, so that memory shows what a schedule needs.
        cluster: The devices.
        training: Micro-batches, memory for each byte of weights; without a backward pass schedules don't differ, and
            only "gpipe" and "spilled" are played.
        chunks: Chunks a device, for interleaving.
    """
    groups = [stage_group(layers, cluster, stage.devices[0], stage.devices[0] + 1) for stage in stages]
    memory = [group.memory for group in groups]
    plain = [_chunk(layers, each.begin, each.end, group, training) for each, group in zip(stages, groups, strict=True)]
    rows = []
    for schedule in SCHEDULES:
        parts, per_device = plain, 1
        if not training.backward and schedule != "gpipe":
            reason = "orders backward passes, and there is none"
            rows.append(ScheduleRow(schedule, np.inf, np.inf, np.inf, 0, 0, False, reason))
            continue
        if schedule == "interleaved":
            edges, per_device = _even_edges(layers, groups[0], chunks * len(stages)), chunks
            if training.micro_batches % len(stages) or len(edges) - 1 < chunks * len(stages) or len(stages) == 1:
                reason = f"needs {chunks * len(stages)} chunks, more than one stage, and micro-batches that divide"
                rows.append(ScheduleRow(schedule, np.inf, np.inf, np.inf, 0, 0, False, reason))
                continue
            parts = [
                _chunk(layers, begin, end, groups[place % len(stages)], training)
                for place, (begin, end) in enumerate(pairwise(edges))
            ]
        rows.append(_row(schedule, parts, per_device, memory, training))
    return [*rows, _spilled(layers, stages, plain, groups[0], cluster, training)]


def _chunk(layers: LayerGraph, begin: int, end: int, group: StageGroup, training: Training) -> _Chunk:
    own = [layers.choices(layer, 1)[0] for layer in range(begin, end)]
    cost = score_stage(layers, begin, end, group, own, [False] * len(own), 1, training)
    weights = float(layers.weight_bytes[begin:end].sum())
    arriving = crossing_bytes(layers, begin, end)[0] if begin else layers.input_bytes
    kept = float(layers.stash_bytes[begin:end].sum()) + arriving if training.backward else cost.memory_bytes - weights
    return _Chunk(cost.forward, max(0.0, cost.seconds - cost.forward), weights, kept)


def _even_edges(layers: LayerGraph, group: StageGroup, parts: int) -> list[int]:
    """Cuts that divide the work into about equal parts."""
    places = np.array([0, *layers.cuts, len(layers)])
    work = np.concatenate([[0.0], np.cumsum(group.forward + group.backward)])[places]
    wanted = work[-1] * np.arange(parts + 1) / parts
    return sorted({int(places[each]) for each in np.abs(work[:, None] - wanted).argmin(axis=0).tolist()})


def _row(schedule: str, parts: list[_Chunk], chunks: int, memory: list[float], training: Training) -> ScheduleRow:
    devices, m = len(memory), training.micro_batches
    forward, backward = [part.forward for part in parts], [part.backward for part in parts]
    run = run_pipeline(schedule, forward, backward, 3 * m if schedule in ASYNCHRONOUS else m, chunks=chunks)
    seconds = step_seconds(schedule, forward, backward, m, chunks=chunks)
    busy = m * (sum(forward) + sum(backward))
    needs = []
    for device in range(devices):
        own = parts[device::devices]
        weights = sum(part.weights for part in own)
        in_flight = int(run.peak_activations[device]) if training.backward else 1
        stashed = in_flight * max(part.activations for part in own)
        versions = int(run.weight_versions[device])
        needs.append(weights * (_copies(training) + versions - 1) + stashed)
    return ScheduleRow(
        schedule, seconds, 1.0 - busy / (devices * seconds) if seconds > 0 else 0.0, max(needs),
        int(run.peak_activations.max()) if training.backward else 1, int(run.weight_versions.max()),
        all(need <= room for need, room in zip(needs, memory, strict=True)), _NOTES.get(schedule, ""),
    )  # fmt: skip


def _spilled(
    layers: LayerGraph, stages: Sequence[ParallelStage], parts: list[_Chunk], group: StageGroup, cluster: Cluster,
    training: Training,
) -> ScheduleRow:  # fmt: skip
    """All stages as shards of the first device, which holds two of them at a time."""
    m = training.micro_batches
    held = [part.weights * _copies(training) for part in parts]
    loads = [size / cluster.host_bandwidth for size in held]
    computes = [m * part.forward for part in parts]
    back = [m * part.backward for part in parts]
    if training.backward:
        seconds = spilled_makespan(loads + loads[::-1][1:], [*computes[:-1], computes[-1] + back[-1], *back[::-1][1:]])
    else:
        seconds = spilled_makespan(loads, computes)
    pairs = max((a + b for a, b in pairwise(held)), default=held[0])
    borders = sum(crossing_bytes(layers, stage.begin, stage.end)[1] for stage in stages) * m
    in_flight = m if training.backward else 1
    need = pairs + borders + max(part.activations for part in parts) * in_flight
    busy = sum(computes) + sum(back)
    return ScheduleRow("spilled", seconds, 1.0 - busy / seconds if seconds > 0 else 0.0, need, in_flight, 1,
                       need <= group.memory, "one device, shards from host memory")  # fmt: skip


def _copies(training: Training) -> float:
    """Bytes held for each byte of weights."""
    return training.weight_copies if training.backward else 1.0
