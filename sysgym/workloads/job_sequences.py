"""Job sequences with many resources: the generator of NeuRewriter's online job scheduling.

After Chen and Tian, "Learning to perform local rewriting for combinatorial optimization", NeurIPS 2019, and the ranges
of its public code: DeepRM's jobs, where not one resource is dominant but a set of them, drawn with replacement. Like
every `JobsetSource` it gives at most one job a time step; unlike DeepRM's sequences, these are never empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import compiled
from sysgym.core.errors import SettingError, require_known, require_range
from sysgym.core.seeding import stream_key
from sysgym.workloads.draws import integer, uniform
from sysgym.workloads.jobsets import JOBSET_SPLITS, Jobset, jobset_number, jobset_of

VARIANTS = ("standard", "uniform_short", "uniform_long", "uniform_resource", "dynamic_rate")
"""No change; no long jobs; no short jobs; half of the jobs dominant in every resource and half in none; an arrival
rate that is drawn anew in every time step."""
_SHORT_SHARE = {"uniform_short": 1.0, "uniform_long": 0.0}


@compiled
def draw_sequence(
    key: int,
    episode: int,
    attempt: int,
    arrival_rate: float,
    short_share: float,
    uniform_resource: bool,
    dynamic_rate: bool,
    length: NDArray[np.int64],
    demand: NDArray[np.int64],
) -> int:
    """Draw one sequence in place; every draw has its own counter.

    Args:
        key: Of the split's stream.
        episode: Number of the sequence.
        attempt: How often it came out empty before.
        arrival_rate: Probability of a job in a time step.
        short_share: Probability that a job is short.
        uniform_resource: Whether the variant of that name is drawn.
        dynamic_rate: Likewise.
        length: Written, (n,): 1 to 3 or 10 to 15 time steps, 0 where no job arrives.
        demand: Written, (n, D): 5 to 10 units of a dominant resource, 1 or 2 of any other.

    Returns:
        How many jobs arrive.
    """
    elements, resources = demand.shape
    picks = max(1, resources // 2)
    stride = 5 + picks + resources
    dominant = np.zeros(resources, dtype=np.bool_)
    jobs = 0
    for element in range(elements):
        index = (attempt * elements + element) * stride
        length[element] = 0
        demand[element] = 0
        rate = uniform(key, episode, index + 1) if dynamic_rate else arrival_rate
        if uniform(key, episode, index) >= rate:
            continue
        jobs += 1
        short = uniform(key, episode, index + 2) < short_share
        length[element] = integer(key, episode, index + 3, 1 if short else 10, 3 if short else 15)
        if uniform_resource:
            dominant[:] = uniform(key, episode, index + 4) >= 0.5
        else:
            dominant[:] = False
            for pick in range(picks):
                dominant[integer(key, episode, index + 5 + pick, 0, resources - 1)] = True
        for resource in range(resources):
            low, high = (5, 10) if dominant[resource] else (1, 2)
            demand[element, resource] = integer(key, episode, index + 5 + picks + resource, low, high)
    return jobs


@dataclass(frozen=True)
class SequenceGenerator:
    """NeuRewriter's generator: 50 time steps, D resources of 10 units, D // 2 dominant ones drawn with replacement.

    Departure from the public code: counter-based draws, so that splits are disjoint by construction.

    Args:
        num_resources: D, or several of which each sequence draws one; it then needs nothing of the further ones.
        arrival_rate: Probability of a job in each time step.
        sequence_length: Time steps in which jobs arrive.
        variant: One of `VARIANTS`.
        split: One of `JOBSET_SPLITS`.
    """

    num_resources: int | tuple[int, ...] = 10
    arrival_rate: float = 0.7
    sequence_length: int = 50
    variant: str = "standard"
    split: str = "train"

    def __post_init__(self) -> None:
        if not self.choices:
            raise SettingError("resources is empty; give a number of resources, or several")
        for number in self.choices:
            require_range("resources", number, 1, whole=True)
        require_range("arrival_rate", self.arrival_rate, 0, 1, open_low=True)
        require_range("sequence_length", self.sequence_length, 1, whole=True)
        require_known("variant", self.variant, VARIANTS)
        require_known("split", self.split, JOBSET_SPLITS)

    @property
    def choices(self) -> tuple[int, ...]:
        """The numbers of resources that a sequence may have."""
        given = self.num_resources
        return tuple(given) if isinstance(given, tuple | list) else (given,)

    @property
    def resources(self) -> int:
        """Most resources of a sequence."""
        return max(self.choices)

    @property
    def longest(self) -> int:
        """Longest job, time steps."""
        return 3 if self.variant == "uniform_short" else 15

    @property
    def largest_demand(self) -> int:
        """Largest demand for one resource, units."""
        return 10

    def fill(
        self,
        seed: int,
        episode: int,
        options: Mapping[str, Any] | None,
        length: NDArray[np.int64],
        demand: NDArray[np.int64],
    ) -> int:
        """See `JobsetSource.fill`."""
        number = jobset_number(episode, options)
        key = stream_key(seed, f"workload/{self.split}")
        chosen = self.choices[0]
        if len(self.choices) > 1:
            drawn = integer(stream_key(seed, f"resources/{self.split}"), number, 0, 0, len(self.choices) - 1)
            chosen = self.choices[drawn]
        demand[:] = 0
        short, attempt = _SHORT_SHARE.get(self.variant, 0.8), 0
        uniform_resource, dynamic = self.variant == "uniform_resource", self.variant == "dynamic_rate"
        needs = demand[:, :chosen]
        while not draw_sequence(
            key, number, attempt, self.arrival_rate, short, uniform_resource, dynamic, length, needs
        ):
            attempt += 1
        return self.sequence_length

    def jobset(self, seed: int, number: int = 0) -> Jobset:
        """One sequence of a seed, as a value."""
        return jobset_of(self, seed, number)


def legacy_sequences(
    seed: int, count: int, generator: SequenceGenerator | None = None, skipped: int = 0
) -> tuple[Jobset, ...]:
    """The sequences of the public NeuRewriter code, in its draw order on NumPy's legacy generator.

    Args:
        seed: Of that generator.
        count: How many.
        generator: Parameters; the default ones unless given (its split does not matter here), one number of resources.
        skipped: Sequences that are drawn before; the code's test set is the last tenth of what it draws.
    """
    parameters = generator or SequenceGenerator()
    random = np.random.RandomState(seed)  # the measured numbers depend on this generator
    short, resources = _SHORT_SHARE.get(parameters.variant, 0.8), parameters.resources
    shape = (skipped + count, parameters.sequence_length)
    length, demand = np.zeros(shape, dtype=np.int64), np.zeros((*shape, resources), dtype=np.int64)
    for sequence in range(skipped + count):
        while not length[sequence].any():
            for step in range(parameters.sequence_length):
                rate = random.rand() if parameters.variant == "dynamic_rate" else parameters.arrival_rate
                if random.rand() >= rate:
                    continue
                low, high = (1, 3) if random.rand() < short else (10, 15)
                length[sequence, step] = random.randint(low, high + 1)
                if parameters.variant == "uniform_resource":
                    dominant = set() if random.rand() < 0.5 else set(range(resources))
                else:
                    dominant = set(random.randint(low=0, high=resources, size=resources // 2).tolist())
                for resource in range(resources):
                    low, high = (5, 10) if resource in dominant else (1, 2)
                    demand[sequence, step, resource] = random.randint(low, high + 1)
    return tuple(Jobset(*columns) for columns in zip(length[skipped:], demand[skipped:], strict=True))
