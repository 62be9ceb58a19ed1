"""Made profiles, fitted in shape to the published ones: for whoever has not fetched them.

The 154 profiles of TPC-H on Spark (22 queries, 7 sizes) have these traits, measured on the public file: 2 to 18 stages
(mean 9.2), depth 2 to 9 (5.9), one last stage, fan-in up to 3, half a job's stages are scans at the beginning; a stage
has 1 to 3 tasks, or 200 (Spark's default number of partitions, three quarters of the joins), or as many as the data
have blocks. Tasks of scans take 2 s and their number grows with the data; tasks of joins take some ten to some hundred
ms. A first wave takes 3.5 times as long as later ones, a fresh executor 0.5 to 3 s more; later waves slow down with the
number of executors, short tasks more than long ones. Queries are drawn once from a fixed stream, and each is made in
all sizes, so generated jobs come in 154 kinds as well, whatever the split: splits differ in arrivals.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import require_range
from sysgym.core.seeding import stream
from sysgym.jobsched.dag.profiles import LEVELS
from sysgym.workloads.companions import DagProfile, StageProfile

SIZES_GB = (2, 5, 10, 20, 50, 80, 100)
"""Sizes of data that every query is made for."""
QUERIES = 22
_SAMPLES = 12
"""Durations a list: enough to spread, few enough to be small."""


@lru_cache(maxsize=8)
def generated_profiles(seed: int = 0) -> tuple[DagProfile, ...]:
    """154 kinds of jobs.

    Args:
        seed: Of the kinds; 0 are those of the default environment.
    """
    require_range("seed", seed, 0, whole=True)
    profiles = []
    for query in range(1, QUERIES + 1):
        count, edges = _shape(stream(seed, "dag/shape", query))
        profiles += [_filled(seed, query, size, count, edges) for size in SIZES_GB]
    return tuple(profiles)


def _shape(generator: np.random.Generator) -> tuple[int, NDArray[np.int64]]:
    """Number of stages and edges: scans, joined in pairs in the manner of a bushy plan, and a tail of aggregations."""
    scans = int(generator.choice([1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 8]))
    open_ends, count = list(range(scans)), scans
    edges: list[tuple[int, int]] = []
    while len(open_ends) > 1:
        # a deep plan joins the last result with the next scan, a bushy one any two
        first = open_ends.pop(-1 if generator.random() < 0.6 else int(generator.integers(len(open_ends))))
        second = open_ends.pop(int(generator.integers(len(open_ends))))
        edges += [(first, count), (second, count)]
        open_ends.append(count)
        count += 1
    for _ in range(int(generator.integers(1, 4))):
        edges.append((count - 1, count))
        if count > 2 and generator.random() < 0.15:
            edges.append((int(generator.integers(count - 1)), count))
        count += 1
    return count, np.array(sorted(set(edges)), dtype=np.int64)


def _filled(seed: int, query: int, size: int, count: int, edges: NDArray[np.int64]) -> DagProfile:
    generator = stream(seed, "dag/stages", query)  # the same draws for every size, so that a query stays itself
    has_parents = np.isin(np.arange(count), edges[:, 1])
    stages = tuple(
        _stage(generator, size, scan=not has_parents[number], last=number == count - 1) for number in range(count)
    )
    return DagProfile(query, float(size), stages, edges)


def _stage(generator: np.random.Generator, size: int, scan: bool, last: bool) -> StageProfile:
    few, per_gb, spread, slowness, swelling = generator.random(5)
    bulk, blocks = generator.lognormal(0.0, 0.7), 0.3 + 2.4 * per_gb
    if scan:
        tasks = int(np.clip(round(1 + size * blocks), 1, 593))
        typical = 2000.0 * (0.5 + slowness) * min(1.0, bulk)
    else:
        tasks = int(1 + few * 12) if last and few < 0.4 else (200 if few < 0.85 else int(2 + 100 * spread))
        typical = 12.0 + 7.0 * size * bulk * (0.2 + slowness)
    fresh, first, rest = {}, {}, {}
    for level in LEVELS:
        # contention: three times as slow at 100 executors for the shortest tasks, a tenth for the longest
        slower = 1.0 + (level / 100) * (0.1 + 2.0 * swelling * 30.0 / (30.0 + typical))
        noise = generator.lognormal(0.0, 0.15 + 0.3 * spread, (3, _SAMPLES))
        cold = min(3.0, 1.2 + 400.0 / (100.0 + typical))
        rest[level] = _milliseconds(typical * slower * noise[0])
        first[level] = _milliseconds(typical * slower * cold * noise[1])
        fresh[level] = _milliseconds((typical * slower * cold + 400.0 + 900.0 * slowness) * noise[2])
    return StageProfile(tasks, fresh, first, rest)


def _milliseconds(durations: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.maximum(1, np.rint(durations)).astype(np.int64)
