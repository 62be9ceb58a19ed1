"""Jobsets: the arrivals of one DeepRM episode, at most one job a time step.

Where they come from is a *source*: the generator of DeepRM (Mao et al., HotNets 2016; ranges of the public code), a
fixed list, or windows of a production log (see `log_jobsets`). A source is asked for an episode by (seed, episode), so
simulator and kernel, one environment or many, play the same arrivals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import SettingError, WorkloadError, require_known, require_options, require_range
from sysgym.core.seeding import stream_key
from sysgym.workloads.draws import integer, uniform

JOBSET_SPLITS = ("train", "valid", "test")
"""Names of the generator's disjoint streams."""


@dataclass(frozen=True, eq=False)
class Jobset:
    """The arrivals of one episode; element k arrives at time k.

    Attributes:
        length: int64, shape (n,), time steps; 0 where no job arrives.
        demand: int64, shape (n, R), resource units.
    """

    length: NDArray[np.int64]
    demand: NDArray[np.int64]

    def __post_init__(self) -> None:
        length = np.ascontiguousarray(self.length, dtype=np.int64)
        demand = np.ascontiguousarray(self.demand, dtype=np.int64)
        if length.ndim != 1 or demand.ndim != 2 or len(length) != len(demand) or not len(length):
            raise WorkloadError(
                f"a jobset needs length (n,) and demand (n, R) with n at least 1, got {length.shape} and {demand.shape}"
            )
        arrives = length > 0
        if (length < 0).any() or (demand < 0).any() or (demand[arrives].sum(axis=1) < 1).any():
            raise WorkloadError("lengths and demands must be at least 0, and every job needs at least one unit")
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "demand", demand)

    def __len__(self) -> int:
        return len(self.length)

    @property
    def num_jobs(self) -> int:
        """Elements that hold a job."""
        return int((self.length > 0).sum())


class JobsetSource(Protocol):
    """Whatever gives an episode its arrivals.

    Attributes:
        sequence_length: Most elements of a jobset.
        resources: R.
        longest: Longest job it can give, in time steps.
        largest_demand: Largest demand for one resource it can give, in units.
    """

    @property
    def sequence_length(self) -> int: ...  # noqa: D102 described above

    @property
    def resources(self) -> int: ...  # noqa: D102 described above

    @property
    def longest(self) -> int: ...  # noqa: D102 described above

    @property
    def largest_demand(self) -> int: ...  # noqa: D102 described above

    def fill(
        self,
        seed: int,
        episode: int,
        options: Mapping[str, Any] | None,
        length: NDArray[np.int64],
        demand: NDArray[np.int64],
    ) -> int:
        """Write the jobset of an episode into `length` (n,) and `demand` (n, R); returns its number of elements.

        `options["jobset"]` overrides the episode's number.
        """


def jobset_number(episode: int, options: Mapping[str, Any] | None) -> int:
    """The number of the jobset that an episode plays: its own, or `options["jobset"]`."""
    require_options(options, "jobset")
    number = (options or {}).get("jobset", episode)
    if not isinstance(number, int | np.integer) or number < 0:
        raise SettingError(f"options['jobset'] is {number!r}; give the number of a jobset, an integer from 0")
    return int(number)


@compiled
def draw_jobset(
    key: int,
    episode: int,
    arrival_rate: float,
    short_share: float,
    ranges: NDArray[np.int64],
    length: NDArray[np.int64],
    demand: NDArray[np.int64],
) -> None:
    """Draw one jobset of the DeepRM generator in place.

    Every draw has its own counter, 4 + R an element, so that no parameter shifts the draws of another element.

    Args:
        key: Key of the split's stream.
        episode: Number of the jobset.
        arrival_rate: Probability of a job in an element.
        short_share: Probability that a job is short.
        ranges: int64, shape (4, 2): lowest and highest short length, long length, dominant and other demand.
        length: Written, shape (n,).
        demand: Written, shape (n, R).
    """
    elements, resources = demand.shape
    for element in range(elements):
        index = element * (4 + resources)
        length[element] = 0
        demand[element] = 0
        if uniform(key, episode, index) < arrival_rate:
            kind = 0 if uniform(key, episode, index + 1) < short_share else 1
            length[element] = integer(key, episode, index + 2, ranges[kind, 0], ranges[kind, 1])
            dominant = integer(key, episode, index + 3, 0, resources - 1)
            for resource in range(resources):
                kind = 2 if resource == dominant else 3
                demand[element, resource] = integer(
                    key, episode, index + 4 + resource, ranges[kind, 0], ranges[kind, 1]
                )


@dataclass(frozen=True)
class JobsetGenerator:
    """DeepRM's generator: Bernoulli arrivals, short and long jobs, one dominant resource.

    With L the longest job and S the largest demand: long jobs last 2L/3..L, short ones 1..L/5, the dominant resource
    takes S/2..S, every other 1..S/5 (integer division). Departure from the public code: counter-based draws instead
    of one global stream, so that splits are disjoint by construction and jobsets can be drawn one by one.

    Args:
        arrival_rate: Probability of a job in each time step; 0.7 offers 130 % load, 1.0 offers 184 %. A pair (low,
            high) draws one for each jobset, uniformly.
        sequence_length: Elements of a jobset.
        resources: R.
        longest: Longest job, time steps.
        largest_demand: Largest demand, units.
        short_share: Share of short jobs.
        split: One of `JOBSET_SPLITS`.
    """

    arrival_rate: float | tuple[float, float] = 0.7
    sequence_length: int = 50
    resources: int = 2
    longest: int = 15
    largest_demand: int = 10
    short_share: float = 0.8
    split: str = "train"

    def __post_init__(self) -> None:
        low, high = self.rates
        require_range("arrival_rate", low, 0, 1)
        require_range("arrival_rate", high, low, 1)
        require_range("sequence_length", self.sequence_length, 1, whole=True)
        require_range("resources", self.resources, 1, whole=True)
        require_range("longest", self.longest, 1, whole=True)
        require_range("largest_demand", self.largest_demand, 1, whole=True)
        require_range("short_share", self.short_share, 0, 1)
        require_known("split", self.split, JOBSET_SPLITS)

    @property
    def rates(self) -> tuple[float, float]:
        """Lowest and highest arrival rate.

        Raises:
            SettingError: `arrival_rate` is neither a number nor a pair.
        """
        pair = self.arrival_rate if isinstance(self.arrival_rate, tuple | list) else (self.arrival_rate,) * 2
        if len(pair) != 2:
            raise SettingError(f"arrival_rate is {self.arrival_rate!r}; give a number, or a pair (low, high)")
        return pair[0], pair[1]

    def ranges(self) -> NDArray[np.int64]:
        """int64, shape (4, 2): lowest and highest short length, long length, dominant and other demand."""
        longest, largest = self.longest, self.largest_demand
        return np.array(
            [
                [1, max(1, longest // 5)],
                [max(1, 2 * longest // 3), longest],
                [max(1, largest // 2), largest],
                [1, max(1, largest // 5)],
            ],
            dtype=np.int64,
        )

    def fill(
        self,
        seed: int,
        episode: int,
        options: Mapping[str, Any] | None,
        length: NDArray[np.int64],
        demand: NDArray[np.int64],
    ) -> int:
        """See `JobsetSource.fill`."""
        key = stream_key(seed, f"workload/{self.split}")
        number = jobset_number(episode, options)
        low, high = self.rates
        rate = low if low == high else low + (high - low) * uniform(key, number, len(length) * (4 + self.resources))
        draw_jobset(key, number, rate, self.short_share, _ranges_of(self), length, demand)
        return self.sequence_length

    def jobset(self, seed: int, number: int = 0) -> Jobset:
        """One jobset of a seed, as a value."""
        return jobset_of(self, seed, number)


_ranges_of = lru_cache(maxsize=64)(JobsetGenerator.ranges)


class FixedJobsets:
    """A given list of jobsets: episode k plays jobset k modulo their number, whatever the seed.

    Args:
        jobsets: At least one; all with the same number of resources.
    """

    def __init__(self, jobsets: Sequence[Jobset]) -> None:
        if not jobsets or len({jobset.demand.shape[1] for jobset in jobsets}) != 1:
            raise WorkloadError("fixed jobsets need at least one jobset, all with the same number of resources")
        self.jobsets = tuple(jobsets)
        self.sequence_length = max(len(jobset) for jobset in jobsets)
        self.resources = int(jobsets[0].demand.shape[1])
        self.longest = max(int(jobset.length.max()) for jobset in jobsets)
        self.largest_demand = max(int(jobset.demand.max()) for jobset in jobsets)

    def fill(
        self,
        seed: int,
        episode: int,
        options: Mapping[str, Any] | None,
        length: NDArray[np.int64],
        demand: NDArray[np.int64],
    ) -> int:
        """See `JobsetSource.fill`."""
        return copy_jobset(self.jobsets[jobset_number(episode, options) % len(self.jobsets)], length, demand)


def source_of(workload: object, expected: str) -> JobsetSource:
    """What a user may give as arrivals: a source, one jobset, or several.

    Args:
        workload: What was given.
        expected: What could have been, for the message.

    Raises:
        SettingError: It is none of them.
    """
    if isinstance(workload, Jobset):
        return FixedJobsets([workload])
    if isinstance(workload, Sequence) and all(isinstance(jobset, Jobset) for jobset in workload):
        return FixedJobsets(workload)
    if hasattr(workload, "fill"):
        return cast(JobsetSource, workload)
    raise SettingError(f"workload is {workload!r}; give {expected}")


def copy_jobset(jobset: Jobset, length: NDArray[np.int64], demand: NDArray[np.int64]) -> int:
    """Copy a jobset to the head of the arrays of a longer one; returns its number of elements."""
    elements = len(jobset)
    length[:elements], length[elements:] = jobset.length, 0
    demand[:elements], demand[elements:] = jobset.demand, 0
    return elements


def jobset_of(source: JobsetSource, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> Jobset:
    """The jobset that a source gives to an episode, as a value."""
    length = np.zeros(source.sequence_length, dtype=np.int64)
    demand = np.zeros((source.sequence_length, source.resources), dtype=np.int64)
    elements = source.fill(seed, episode, options, length, demand)
    return Jobset(length[:elements], demand[:elements])


def legacy_jobsets(seed: int, count: int, generator: JobsetGenerator | None = None) -> tuple[Jobset, ...]:
    """The jobsets of the public DeepRM code, in its draw order on NumPy's legacy generator.

    Args:
        seed: 42 for the code's training sets, 314159 for its "unseen" ones.
        count: How many; all are drawn in one pass and cut.
        generator: Parameters; the default ones unless given (its split does not matter here).
    """
    parameters = generator or JobsetGenerator()
    rate, _ = parameters.rates
    random = np.random.RandomState(seed)  # the published numbers depend on this generator
    (short, long, dominant, other) = (tuple(int(bound) for bound in row) for row in parameters.ranges())
    length = np.zeros((count, parameters.sequence_length), dtype=np.int64)
    demand = np.zeros((count, parameters.sequence_length, parameters.resources), dtype=np.int64)
    for place in np.ndindex(length.shape):
        if random.rand() < rate:
            low, high = short if random.rand() < parameters.short_share else long
            length[place] = random.randint(low, high + 1)
            favourite = random.randint(0, parameters.resources)
            for resource in range(parameters.resources):
                low, high = dominant if resource == favourite else other
                demand[place][resource] = random.randint(low, high + 1)
    return tuple(Jobset(*columns) for columns in zip(length, demand, strict=True))
