"""The model of Lublin and Feitelson: sizes, run times and a daily cycle of arrivals, fitted to four parallel machines.

Lublin and Feitelson, "The workload on parallel supercomputers: modeling the characteristics of rigid jobs", JPDC
63(11), 2003; constants and steps as in their program m_lublin99. Sizes are two-stage uniform in their logarithm with
many powers of two; the logarithm of the run time is hyper-gamma, longer for larger jobs; gaps are gamma in their
logarithm and pass through 48 half-hour buckets whose weights follow the day. `typed` runs two such streams, of batch
and interactive jobs.

Bits differ from the authors' program, whose generator is drand48; the distributions are theirs and are tested against
theirs. A departure: on a machine whose size is no power of two, sizes are capped at the machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_bool, require_range
from sysgym.workloads.models.variates import Counter, gamma, stream_of, uniform
from sysgym.workloads.workload import Machine, Provenance, Workload

_BUCKETS, _BUCKET_SECONDS = 48, 1800.0
_CYCLE_BEGINS = 11
_LARGEST_LOG_RUN, _LARGEST_LOG_GAP = 12.0, 13.0


@dataclass(frozen=True)
class LublinParameters:
    """One column of the published table; gammas are (shape, scale).

    Attributes:
        serial: Share of jobs on one processor.
        power_of_two: Share of jobs on a power of two, above one.
        smallest: ULow, log2 of the smallest parallel size.
        middle_below_largest: UHi - UMed, where the two stages of the size meet below its largest.
        largest_below_machine: log2 of the machine over the largest size.
        first_stage: UProb, the share of the lower stage.
        short_run: a1, b1.
        long_run: a2, b2.
        short_slope: pa, how the share of short runs falls with the size.
        short_share: pb.
        gap: aarr times ARAR, barr.
        cycle: anum, bnum.
    """

    serial: float
    power_of_two: float
    smallest: float
    middle_below_largest: float
    largest_below_machine: float
    first_stage: float
    short_run: tuple[float, float]
    long_run: tuple[float, float]
    short_slope: float
    short_share: float
    gap: tuple[float, float]
    cycle: tuple[float, float]


PARAMETERS: Mapping[str, LublinParameters] = {
    "batch": LublinParameters(
        0.2927, 0.6686, 1.2, 2.0, 0.0, 0.875, (6.57, 0.823), (639.1, 0.0156), -0.003, 0.6986,
        (6.0415 * 1.0519, 0.8531), (6.1271, 5.2740),
    ),
    "interactive": LublinParameters(
        0.1541, 0.625, 1.0, 2.5, 1.5, 0.705, (3.8351, 0.6605), (7.073, 0.6856), -0.0118, 0.9156,
        (6.5510 * 0.9797, 0.6621), (8.9186, 3.6680),
    ),
    "untyped": LublinParameters(
        0.244, 0.576, 0.8, 2.5, 0.0, 0.86, (4.2, 0.94), (312.0, 0.03), -0.0054, 0.78,
        (10.2303 * 1.0225, 0.4871), (8.1737, 3.9631),
    ),
}  # fmt: skip
"""The published parameters, with sizes relative to a machine of 128 nodes."""

_BATCH_QUEUE, _INTERACTIVE_QUEUE = 1, 0

Draws = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def lublin(
    jobs: int = 10_000,
    processors: int = 128,
    seed: int = 0,
    *,
    typed: bool = False,
    load: float | None = None,
) -> Workload:
    """Generate a workload; O(jobs).

    Args:
        jobs: How many, at least 1.
        processors: Size of the machine, at least 8; sizes scale with it.
        seed: Integer >= 0; the same arguments give the same jobs.
        typed: Whether batch (queue 1) and interactive jobs (queue 0) come from streams of their own.
        load: Offered load to which arrivals are scaled; None leaves the model's own.

    Returns:
        Jobs with whole seconds, `job_id` from 1. The model has no estimates, so they equal the run times; see
        `with_tsafrir_estimates`.

    Raises:
        SettingError: An argument out of its range.

    >>> workload = lublin(1000, 128, seed=1)
    >>> len(workload), int(workload.processors.max()) <= 128
    (1000, True)
    """
    require_range("jobs", jobs, 1, whole=True)
    require_range("processors", processors, 8, whole=True)
    require_range("seed", seed, 0, whole=True)
    require_bool("typed", typed)
    if typed:
        batch, interactive = (_draw(seed, name, jobs, processors) for name in ("batch", "interactive"))
        arrival, run, size = (np.concatenate(pair) for pair in zip(interactive, batch, strict=True))
        queue = np.repeat([_INTERACTIVE_QUEUE, _BATCH_QUEUE], jobs)
        order = np.argsort(arrival, kind="stable")[:jobs]
        columns = {
            "submit_time": arrival[order],
            "run_time": run[order],
            "processors": size[order],
            "queue": queue[order],
        }
    else:
        arrival, run, size = _draw(seed, "untyped", jobs, processors)
        columns = {"submit_time": arrival, "run_time": run, "processors": size}
    header = {
        "Generator": "sysgym.workloads.models.lublin",
        "Seed": str(seed),
        "Parameters": f"jobs={jobs}, processors={processors}, typed={typed}, load={load}",
        "Note": "the model has no estimates; requested times equal run times",
    }
    provenance = Provenance("lublin", "generated", header=header)
    workload = Workload.from_columns(columns | {"status": np.ones(jobs)}, Machine(processors, "generator"), provenance)
    return workload if load is None else workload.with_load(load)


def _draw(seed: int, name: str, jobs: int, processors: int) -> Draws:
    parameters = PARAMETERS[name]
    key, counter = stream_of(seed, "lublin", name)
    largest = math.log2(processors) - parameters.largest_below_machine
    fitted = replace(parameters, smallest=min(parameters.smallest, largest - parameters.middle_below_largest))
    return _generate(
        key, counter, jobs, processors, largest, bucket_weights(*parameters.cycle),
        *(value for field in fitted.__dict__.values() for value in (field if isinstance(field, tuple) else (field,))),
    )  # fmt: skip


def bucket_weights(shape: float, scale: float) -> NDArray[np.float64]:
    """Weight of each half hour of the day, mean 1; the day of the fit begins with bucket 11."""
    from scipy.special import gammainc  # noqa: PLC0415  heavy

    places = np.arange(_CYCLE_BEGINS, _CYCLE_BEGINS + _BUCKETS)
    weights = np.empty(_BUCKETS)
    weights[(places - 1) % _BUCKETS] = gammainc(shape, (places + 0.5) / scale) - gammainc(shape, (places - 0.5) / scale)
    normalised: NDArray[np.float64] = weights / weights.mean()
    return normalised


@compiled
def _generate(
    key: int,
    counter: Counter,
    jobs: int,
    processors: int,
    largest: float,
    weights: NDArray[np.float64],
    serial: float,
    power_of_two: float,
    smallest: float,
    middle_below_largest: float,
    _largest_below_machine: float,
    first_stage: float,
    short_shape: float,
    short_scale: float,
    long_shape: float,
    long_scale: float,
    short_slope: float,
    short_share: float,
    gap_shape: float,
    gap_scale: float,
    _cycle_shape: float,
    _cycle_scale: float,
) -> Draws:
    arrival, run, size = np.empty(jobs), np.empty(jobs), np.empty(jobs, dtype=np.int64)
    middle = largest - middle_below_largest
    clock, points, rest, bucket = 0.0, 0.0, 0.0, 0
    for job in range(jobs):
        log_gap = gamma(key, counter, gap_shape, gap_scale)
        while log_gap > _LARGEST_LOG_GAP:
            log_gap = gamma(key, counter, gap_shape, gap_scale)
        points += math.exp(log_gap) / _BUCKET_SECONDS
        gap = 0.0
        while points > weights[bucket]:
            points -= weights[bucket]
            bucket = (bucket + 1) % _BUCKETS
            gap += _BUCKET_SECONDS
        now_rest = points / weights[bucket]
        gap += _BUCKET_SECONDS * (now_rest - rest)
        rest = now_rest
        clock = math.floor(clock + gap)
        arrival[job] = clock
        size[job] = _size(key, counter, processors, serial, power_of_two, first_stage, smallest, middle, largest)
        short = min(1.0, max(0.0, short_slope * size[job] + short_share))
        run[job] = _run_time(key, counter, short, short_shape, short_scale, long_shape, long_scale)
    return arrival, run, size


@compiled
def _size(
    key: int,
    counter: Counter,
    processors: int,
    serial: float,
    power_of_two: float,
    first_stage: float,
    smallest: float,
    middle: float,
    largest: float,
) -> int:
    """One uniform decides whether the job is serial and whether its size is a power of two."""
    u = uniform(key, counter)
    if u <= serial:
        return 1
    low, high = (smallest, middle) if uniform(key, counter) <= first_stage else (middle, largest)
    x = low + uniform(key, counter) * (high - low)
    if u <= serial + power_of_two:
        x = math.floor(x + 0.5)
    nodes: int = math.floor(2.0**x + 0.5)
    return min(processors, nodes)


@compiled
def _run_time(
    key: int,
    counter: Counter,
    short: float,
    short_shape: float,
    short_scale: float,
    long_shape: float,
    long_scale: float,
) -> float:
    while True:
        if uniform(key, counter) <= short:
            log_run = gamma(key, counter, short_shape, short_scale)
        else:
            log_run = gamma(key, counter, long_shape, long_scale)
        if log_run <= _LARGEST_LOG_RUN:
            return math.floor(math.exp(log_run))
