"""A model after Downey 1997: jobs with an average parallelism and a cumulative work, run on a number of processors.

Downey, "A parallel workload model and its implications for processor allocation", HPDC 1997, as the archive describes
it: parallelism and work are log-uniform, arrivals Poisson with a rate by day and another by night. The bounds of the
work and the ratio of the rates are ours, and the speedup's formula is an unverified recollection. A job takes as many
processors as its average parallelism, at most the machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_range
from sysgym.workloads.models.variates import Counter, exponential, stream_of, uniform
from sysgym.workloads.workload import Machine, Provenance, Workload

_HALF_DAY = 12 * 3600.0
_LOAD_STEPS = 8
"""How often the mean gap is mended so that the load is met: scaling the arrivals themselves would stretch the days."""


def downey(
    jobs: int = 10_000,
    processors: int = 128,
    seed: int = 0,
    *,
    load: float = 0.7,
    smallest_work: float = 10.0,
    largest_work: float = 1e6,
    most_variance: float = 2.0,
    night_rate: float = 0.3,
) -> Workload:
    """Generate a workload; O(jobs).

    Args:
        jobs: How many, at least 2.
        processors: Size of the machine, at least 1.
        seed: Integer >= 0.
        load: Offered load, met within a hundredth; the days keep their length.
        smallest_work: Least work of a job, processor-seconds, above 0.
        largest_work: Most work.
        most_variance: Upper end of the uniform variance of the parallelism, at least 0.
        night_rate: Arrivals by night over those by day, above 0.

    Returns:
        Jobs with whole seconds, `job_id` from 1; estimates equal the run times.

    Raises:
        SettingError: An argument out of its range.
    """
    require_range("jobs", jobs, 2, whole=True)
    require_range("processors", processors, 1, whole=True)
    require_range("seed", seed, 0, whole=True)
    require_range("load", load, 0, open_low=True)
    require_range("smallest_work", smallest_work, 0, largest_work, open_low=True)
    require_range("most_variance", most_variance, 0)
    require_range("night_rate", night_rate, 0, open_low=True)
    work = (math.log(smallest_work), math.log(largest_work))
    key, counter = stream_of(seed, "downey", "jobs")
    run, size = _jobs(key, counter, jobs, processors, work[0], work[1], most_variance)
    mean_gap = float((run * size).sum()) / (processors * load * jobs)
    work_of_machine = float((run * size).sum()) / processors
    for _ in range(_LOAD_STEPS):
        submit = _arrivals(key, counter.copy(), jobs, mean_gap, night_rate)
        mean_gap *= work_of_machine / max(1.0, submit[-1] - submit[0]) / load
    header = {
        "Generator": "sysgym.workloads.models.downey",
        "Seed": str(seed),
        "Parameters": f"jobs={jobs}, processors={processors}, load={load}, smallest_work={smallest_work}, "
        f"largest_work={largest_work}, most_variance={most_variance}, night_rate={night_rate}",
        "Note": "after Downey 1997, bounds of our own; requested times equal run times",
    }
    columns = {"submit_time": submit, "run_time": run, "processors": size, "status": np.ones(jobs)}
    provenance = Provenance("downey", "generated", header=header)
    return Workload.from_columns(columns, Machine(processors, "generator"), provenance)


@compiled
def speedup(processors: float, parallelism: float, variance: float) -> float:
    """Speedup on n processors of a job with average parallelism A and variance of parallelism sigma (Downey 1997).

    >>> speedup(1, 8, 0.5), speedup(100, 8, 0.5), speedup(1, 8, 3.0), speedup(100, 8, 3.0)
    (1.0, 8.0, 1.0, 8.0)
    """
    n, a, sigma = processors, parallelism, variance
    if sigma <= 1.0:
        if n <= a:
            return a * n / (a + sigma * (n - 1.0) / 2.0)
        if n <= 2.0 * a - 1.0:
            return a * n / (sigma * (a - 0.5) + n * (1.0 - sigma / 2.0))
        return a
    if n <= a + a * sigma - sigma:
        return n * a * (sigma + 1.0) / (sigma * (n + a - 1.0) + a)
    return a


@compiled
def _jobs(
    key: int,
    counter: Counter,
    jobs: int,
    processors: int,
    low_work: float,
    high_work: float,
    most_variance: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    run, size = np.empty(jobs), np.empty(jobs, dtype=np.int64)
    for job in range(jobs):
        parallelism = math.exp(uniform(key, counter) * math.log(processors))
        work = math.exp(low_work + uniform(key, counter) * (high_work - low_work))
        variance = uniform(key, counter) * most_variance
        size[job] = min(processors, math.floor(parallelism + 0.5))
        run[job] = max(1.0, math.ceil(work / speedup(float(size[job]), parallelism, variance)))
    return run, size


@compiled
def _arrivals(key: int, counter: Counter, jobs: int, mean_gap: float, night_rate: float) -> NDArray[np.float64]:
    """Poisson with two rates: unit exponentials through the integral of the rate."""
    submit = np.empty(jobs)
    day = 2.0 / (1.0 + night_rate) / mean_gap
    clock = 0.0
    for job in range(jobs):
        left = exponential(key, counter)
        while True:
            by_day = math.floor(clock / _HALF_DAY) % 2 == 0
            rate = day if by_day else day * night_rate
            until = (math.floor(clock / _HALF_DAY) + 1.0) * _HALF_DAY
            if left <= (until - clock) * rate:
                clock += left / rate
                break
            left -= (until - clock) * rate
            clock = until
        submit[job] = math.floor(clock)
    return submit
