"""Models larger than a device: shards that are loaded before they compute, one model or several.

Where not all shards of a model fit, each is loaded, computes, and makes room. With double buffering the next shard
loads while one computes, which keeps two resident. Several models share the devices: a device that begins a shard
chooses the next one at once, of the model with the longest remaining time that is not under way elsewhere. Hydra
(Nagrecha, 2021); its order as recalled, the bounds from the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import SettingError, require_range


def spilled_makespan(loads: Sequence[float], computes: Sequence[float], double_buffered: bool = True) -> float:
    """Seconds of a pass over shards that don't all fit, each loaded before it computes.

    Args:
        loads: Seconds to load each shard.
        computes: Seconds that it computes.
        double_buffered: Whether the next shard loads while one computes, which keeps two resident.

    Raises:
        SettingError: No shard, or not as many loads as computes.

    >>> spilled_makespan([2.0, 3.0], [1.0, 4.0]), spilled_makespan([2.0, 3.0], [1.0, 4.0], double_buffered=False)
    (9.0, 10.0)
    """
    if len(loads) != len(computes) or not len(loads):
        raise SettingError(f"{len(loads)} loads and {len(computes)} computes; they must be as many, and at least 1")
    if not double_buffered:
        return float(sum(loads) + sum(computes))
    overlapped = sum(max(compute, load) for compute, load in zip(computes, loads[1:], strict=False))
    return float(loads[0] + overlapped + computes[-1])


@dataclass(frozen=True)
class SpilledRun:
    """Several models on shared devices.

    Attributes:
        makespan: Seconds until the last model ends.
        lower_bound: No order can beat the work divided among the devices, nor the longest model.
        ends: Of each model, shape (models,).
        shards: (device, model, shard, start, end) in order of their starts.
    """

    makespan: float
    lower_bound: float
    ends: NDArray[np.float64]
    shards: tuple[tuple[int, int, int, float, float], ...]


def run_spilled(models: Sequence[Sequence[tuple[float, float]]], devices: int = 1) -> SpilledRun:
    """Run models of shards on devices that hold two shards each, longest remaining time first.

    Args:
        models: For each model its shards in order, (seconds to load, seconds to compute).
        devices: How many.

    Raises:
        SettingError: No model, a model without a shard, a negative time, or no device.
    """
    require_range("devices", devices, 1, whole=True)
    if not models or not all(models):
        raise SettingError("every model needs at least one shard, and there must be at least one model")
    for shards_of in models:
        for seconds in shards_of:
            require_range("seconds of a shard", min(seconds), 0.0)
    left = [sum(compute for _, compute in model) for model in models]
    place, ends = [0] * len(models), np.zeros(len(models))
    owner: list[int] = [-1] * len(models)
    free, previous = [0.0] * devices, [0.0] * devices
    shards: list[tuple[int, int, int, float, float]] = []
    while any(place[model] < len(models[model]) for model in range(len(models))):
        device = min(range(devices), key=lambda each: (free[each], each))
        open_ = [model for model in range(len(models)) if place[model] < len(models[model])]
        idle = [model for model in open_ if ends[model] <= previous[device] or owner[model] in (-1, device)]
        model = max(idle or [min(open_, key=lambda each: ends[each])], key=lambda each: (left[each], -each))
        load, compute = models[model][place[model]]
        begin = max(previous[device] + load, free[device], float(ends[model]))
        shards.append((device, model, place[model], begin, begin + compute))
        previous[device], free[device] = begin, begin + compute
        ends[model], owner[model] = begin + compute, device
        left[model] -= compute
        place[model] += 1
    total = sum(compute for model in models for _, compute in model)
    longest = max(sum(compute for _, compute in model) for model in models)
    shards.sort(key=lambda each: (each[3], each[0]))
    return SpilledRun(float(ends.max()), max(total / devices, longest), ends, tuple(shards))
