"""A model after Feitelson 1996: many small jobs and powers of two, hyperexponential run times, repeated executions.

Feitelson, "Packing schemes for gang scheduling", JSSPP 1996, as the archive describes it: sizes fall as n^-1.5 and
favour small ones and powers of two, run times have a coefficient of variation above 1 and grow weakly with the size,
and jobs are run again and again. The constants of its program are not at hand: those below are ours. That repetitions
follow n^-2.5 and arrivals are Poisson is an unverified recollection.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import require_range
from sysgym.workloads.models.variates import Counter, exponential, stream_of, uniform
from sysgym.workloads.workload import Machine, Provenance, Workload

SIZE_EXPONENT, REPEAT_EXPONENT = 1.5, 2.5
POWER_OF_TWO_FACTOR = 8.0
"""How much likelier a power of two is than its neighbours; ours."""

SHORT_MEAN, LONG_MEAN = 60.0, 5400.0
"""Means of the two exponentials, seconds; ours."""

MOST_REPEATS = 1000


def feitelson(jobs: int = 10_000, processors: int = 128, seed: int = 0, *, load: float = 0.7) -> Workload:
    """Generate a workload; O(jobs log processors).

    Args:
        jobs: How many, at least 2.
        processors: Size of the machine, at least 1.
        seed: Integer >= 0.
        load: Offered load, met but for rounding to whole seconds.

    Returns:
        Jobs with whole seconds, `job_id` from 1; the executions of one job share their `executable`. A repetition is
        submitted when the one before would have ended on an empty machine. Estimates equal the run times.

    Raises:
        SettingError: An argument out of its range.
    """
    require_range("jobs", jobs, 2, whole=True)
    require_range("processors", processors, 1, whole=True)
    require_range("seed", seed, 0, whole=True)
    require_range("load", load, 0, open_low=True)
    sizes = _cumulative(size_weights(processors))
    repeats = _cumulative(np.arange(1, MOST_REPEATS + 1, dtype=np.float64) ** -REPEAT_EXPONENT)
    submit, run, size, program = _generate(*stream_of(seed, "feitelson", "jobs"), jobs, sizes, repeats)
    order = np.argsort(submit, kind="stable")
    header = {
        "Generator": "sysgym.workloads.models.feitelson",
        "Seed": str(seed),
        "Parameters": f"jobs={jobs}, processors={processors}, load={load}",
        "Note": "after Feitelson 1996, constants of our own; requested times equal run times",
    }
    columns = {
        "submit_time": submit[order],
        "run_time": run[order],
        "processors": size[order],
        "executable": program[order],
        "status": np.ones(jobs),
    }
    provenance = Provenance("feitelson", "generated", header=header)
    return Workload.from_columns(columns, Machine(processors, "generator"), provenance).with_load(load)


def size_weights(processors: int) -> NDArray[np.float64]:
    """Weight of each size from 1 to the machine's."""
    sizes = np.arange(1, processors + 1)
    powers = (sizes & (sizes - 1)) == 0
    weights: NDArray[np.float64] = sizes.astype(np.float64) ** -SIZE_EXPONENT * np.where(
        powers, POWER_OF_TWO_FACTOR, 1.0
    )
    return weights


def _cumulative(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    return total


@compiled
def _generate(
    key: int, counter: Counter, jobs: int, sizes: NDArray[np.float64], repeats: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    submit, run = np.empty(jobs), np.empty(jobs)
    size, program = np.empty(jobs, dtype=np.int64), np.empty(jobs, dtype=np.int64)
    clock, job, number = 0.0, 0, 0
    largest = math.log2(len(sizes)) if len(sizes) > 1 else 1.0
    while job < jobs:
        number += 1
        clock += exponential(key, counter) * SHORT_MEAN * 10.0
        nodes = 1 + np.searchsorted(sizes, uniform(key, counter), side="left")
        times = 1 + np.searchsorted(repeats, uniform(key, counter), side="left")
        long_share = 0.3 + 0.3 * math.log2(nodes) / largest
        begin = clock
        for _ in range(times):
            if job == jobs:
                break
            mean = LONG_MEAN if uniform(key, counter) < long_share else SHORT_MEAN
            submit[job], size[job], program[job] = begin, nodes, number
            run[job] = math.ceil(exponential(key, counter) * mean)
            begin += run[job]
            job += 1
    return submit, run, size, program
