"""A generator of contended batch work: Poisson arrivals, bounded Pareto run times, mostly power-of-two sizes.

The plainest model in which the order of jobs matters: run times over three decades, so that short jobs wait behind long
ones (bounded Pareto as in Harchol-Balter, "Task assignment with unknown duration", JACM 49(2), 2002), sizes from serial
to half the machine, and estimates that are round numbers well above the run time (a job uses a uniform share of its
estimate, about as in Mu'alem and Feitelson, TPDS 12(6), 2001). All draws are our own transforms of raw Philox words, so
that a seed gives the same jobs with every release of numpy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import require_range
from sysgym.core.seeding import stream
from sysgym.workloads.workload import Machine, Provenance, Workload

_MINUTE, _HOUR = 60, 3600
ROUND_ESTIMATES = np.array(
    [minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 20, 30, 45)]
    + [hours * _HOUR for hours in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 24, 36, 48, 72, 96, 120, 168)]
)
"""The estimates that users write, in seconds; float64, rising."""


def poisson_pareto(
    jobs: int = 10_000,
    processors: int = 256,
    load: float = 0.9,
    seed: int = 0,
    *,
    tail: float = 0.6,
    shortest: float = 30.0,
    longest: float = 12 * 3600.0,
    largest_share: float = 0.5,
    serial_share: float = 0.25,
    power_of_two_share: float = 0.75,
    users: int = 50,
) -> Workload:
    """Generate a workload; O(jobs).

    Args:
        jobs: How many, at least 2.
        processors: Size of the machine.
        load: Offered load (`Workload.offered_load`); met but for rounding to whole seconds.
        seed: Integer >= 0; the same arguments give the same jobs.
        tail: Shape of the bounded Pareto run times, above 0; smaller is heavier.
        shortest: Their lower bound, seconds.
        longest: Their upper bound, seconds, at most a week.
        largest_share: Largest job as a share of the machine. Whole-machine jobs would leave half of it idle under FCFS.
        serial_share: Share of jobs on one processor.
        power_of_two_share: Share of the other jobs whose size is rounded to a power of two.
        users: Number of users; user k submits in proportion to 1/k.

    Returns:
        Jobs with whole seconds, `job_id` from 1, the first submission at 0.

    Raises:
        SettingError: An argument out of its range.

    >>> workload = poisson_pareto(2_000, 128, load=0.8, seed=7)
    >>> len(workload), workload.machine.processors, round(workload.offered_load, 2)
    (2000, 128, 0.8)
    """
    settings = {name: value for name, value in locals().items() if name != "seed"}
    require_range("jobs", jobs, 2, whole=True)
    require_range("processors", processors, 1, whole=True)
    require_range("load", load, 0, open_low=True)
    require_range("seed", seed, 0, whole=True)
    require_range("tail", tail, 0, open_low=True)
    require_range("shortest", shortest, 0, longest, open_low=True)
    require_range("longest", longest, 1, float(ROUND_ESTIMATES[-1]))
    require_range("largest_share", largest_share, 0, 1, open_low=True)
    require_range("serial_share", serial_share, 0, 1)
    require_range("power_of_two_share", power_of_two_share, 0, 1)
    require_range("users", users, 1, whole=True)

    def draw(name: str) -> NDArray[np.float64]:
        return _uniforms(seed, f"workloads/poisson_pareto/{name}", jobs)

    run_time = np.ceil(_bounded_pareto(draw("run_time"), tail, shortest, longest))
    largest = max(1, int(processors * largest_share))
    parallel = _parallel_sizes(draw("size"), draw("power_of_two") < power_of_two_share, largest)
    size = np.where(draw("serial") < serial_share, 1, parallel)
    columns = {
        "submit_time": _poisson_arrivals(draw("gap"), float((run_time * size).sum()) / (processors * load)),
        "run_time": run_time,
        "requested_time": _estimates(draw("accuracy"), run_time),
        "processors": size,
        "user": _users(draw("user"), users),
        "status": np.ones(jobs, dtype=np.int64),
    }
    header = {"Generator": "sysgym.workloads.poisson_pareto", "Seed": str(seed)}
    header["Parameters"] = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    provenance = Provenance("poisson_pareto", "generated", header=header)
    return Workload.from_columns(columns, Machine(processors, "generator"), provenance)


def _uniforms(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits; raw words are what numpy promises never to change."""
    words: NDArray[np.uint64] = stream(seed, name).bit_generator.random_raw(count)
    return (words >> np.uint64(11)).astype(np.float64) / 2.0**53


def _bounded_pareto(u: NDArray[np.float64], tail: float, low: float, high: float) -> NDArray[np.float64]:
    """Inverse of F(x) = (1 - (low/x)**tail) / (1 - (low/high)**tail) on [low, high]."""
    value: NDArray[np.float64] = low * (1.0 - u * (1.0 - (low / high) ** tail)) ** (-1.0 / tail)
    return value


def _parallel_sizes(u: NDArray[np.float64], powers: NDArray[np.bool_], largest: int) -> NDArray[np.int64]:
    """Log-uniform sizes in 1..largest, rounded to the nearest power of two where `powers` says so."""
    exponent = u * np.log2(largest)
    exponent = np.where(powers, np.rint(exponent), exponent)
    sizes: NDArray[np.int64] = np.clip(np.rint(2.0**exponent), 1, largest).astype(np.int64)
    return sizes


def _poisson_arrivals(u: NDArray[np.float64], span: float) -> NDArray[np.float64]:
    """Submissions in whole seconds from 0 to `span`: exponential gaps, scaled so that the offered load is met."""
    elapsed = np.cumsum(-np.log1p(-u))
    submit_time: NDArray[np.float64] = np.floor((elapsed - elapsed[0]) * (span / (elapsed[-1] - elapsed[0])))
    return submit_time


def _estimates(u: NDArray[np.float64], run_time: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next round value above run time / accuracy, with the accuracy uniform in (0, 1]; never below the run time."""
    wanted = np.minimum(run_time / (1.0 - u), ROUND_ESTIMATES[-1])
    estimate: NDArray[np.float64] = ROUND_ESTIMATES[np.searchsorted(ROUND_ESTIMATES, wanted)]
    return estimate


def _users(u: NDArray[np.float64], users: int) -> NDArray[np.int64]:
    """Users 1..users by Zipf's law."""
    weight = np.cumsum(1.0 / np.arange(1, users + 1))
    user: NDArray[np.int64] = np.searchsorted(weight, u * weight[-1], side="right") + 1
    return user
