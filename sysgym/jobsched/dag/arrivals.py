"""Who comes when: the jobs of an episode, drawn from (seed, episode).

After Decima's experiments: some jobs are there at the beginning, the others arrive with exponential gaps, cut to whole
milliseconds; each is one of the profiles, all equally likely. Every draw has its own counter, so a longer episode
begins as a shorter one does, and the load can be changed without changing which jobs come.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only_columns
from sysgym.core.errors import SettingError, require_known, require_options, require_range
from sysgym.core.instances import Fact, Instance
from sysgym.core.seeding import stream_key
from sysgym.jobsched.dag.generator import generated_profiles
from sysgym.jobsched.dag.profiles import ProfileTable, make_table, profiles_sha256
from sysgym.workloads import Workload, read_dag_profiles
from sysgym.workloads.companions import DagProfile
from sysgym.workloads.draws import integer, uniform

SPLITS = ("train", "valid", "test")
"""Disjoint streams of arrivals."""
HORIZONS = ("all_done", "fixed", "random")
_KIND, _GAP, _PER_JOB = 0, 1, 2
_HORIZON = 2**31
"""Counter of the draw of a random horizon, beyond those of any job."""


@dataclass(frozen=True)
class Arrivals:
    """What an episode is played on.

    Attributes:
        kind: Profile of each job, (J,), in the order of arrival.
        submit: ms, never decreasing.
        horizon: ms after which the episode is cut; 0 without a horizon.
        duration_key: Of the stream of task durations.
        episode: Number of the episode.
    """

    kind: NDArray[np.int64]
    submit: NDArray[np.int64]
    horizon: int
    duration_key: int
    episode: int


@dataclass(frozen=True)
class ArrivalRules:
    """How jobs come.

    Attributes:
        jobs: J, jobs of an episode.
        initial_jobs: How many of them are there at time 0.
        mean_gap: Mean time between two arrivals, seconds.
        horizon: "all_done": an episode ends when all jobs have; "fixed": it is cut after `horizon_seconds`; "random":
            after an exponential time of that mean, so that no policy can count on an end.
        horizon_seconds: See `horizon`.
    """

    jobs: int = 20
    initial_jobs: int = 1
    mean_gap: float = 75.0
    horizon: str = "all_done"
    horizon_seconds: float = 1800.0

    def __post_init__(self) -> None:
        require_range("jobs", self.jobs, 1, 100_000, whole=True)
        require_range("initial_jobs", self.initial_jobs, 1, self.jobs, whole=True)
        require_range("mean_gap", self.mean_gap, 0.0, 1e6, open_low=True)
        require_range("horizon_seconds", self.horizon_seconds, 1.0, 1e8)
        require_known("horizon", self.horizon, HORIZONS)
        object.__setattr__(self, "mean_gap", float(self.mean_gap))  # 75 and 75.0 are the same instance


class DagJobs:
    """Where an environment's jobs come from.

    Args:
        profiles: Kinds of jobs.
        rules: How they come.
        split: One of `SPLITS`.
        name: Of the profiles, for records.
    """

    def __init__(self, profiles: Sequence[DagProfile], rules: ArrivalRules, split: str, name: str) -> None:
        require_known("split", split, SPLITS)
        self.profiles, self.rules, self.split, self.name = tuple(profiles), rules, split, name

    def table(self, executors: int, warm_up: int) -> ProfileTable:
        """The profiles as arrays, read-only; see `make_table`."""
        return _table(self.profiles, executors, warm_up)

    def draw(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> Arrivals:
        """The jobs of an episode; `options["horizon_seconds"]` cuts this one elsewhere.

        Raises:
            UnknownNameError: Another option.
        """
        require_options(options, "horizon_seconds")
        rules, key = self.rules, stream_key(seed, f"dag/{self.split}")
        kind, submit = np.zeros(rules.jobs, dtype=np.int64), np.zeros(rules.jobs, dtype=np.int64)
        for job in range(rules.jobs):
            kind[job] = integer(key, episode, _PER_JOB * job + _KIND, 0, len(self.profiles) - 1)
            if job >= rules.initial_jobs:
                drawn = uniform(key, episode, _PER_JOB * job + _GAP)
                submit[job] = submit[job - 1] + int(-math.log1p(-drawn) * 1000.0 * rules.mean_gap)
        horizon = 0
        if options and "horizon_seconds" in options:
            require_range("options['horizon_seconds']", options["horizon_seconds"], 1.0, 1e8)
            horizon = int(1000 * options["horizon_seconds"])
        elif rules.horizon != "all_done":
            factor = 1.0 if rules.horizon == "fixed" else -math.log1p(-uniform(key, episode, _HORIZON))
            horizon = max(1, int(1000 * rules.horizon_seconds * factor))
        return Arrivals(kind, submit, horizon, stream_key(seed, f"dag/{self.split}/durations"), episode)

    def instance(self) -> Instance:
        """What a record says of it."""
        digest = hashlib.sha256(f"{profiles_sha256(self.profiles)}/{self.rules}/{self.split}".encode()).hexdigest()
        facts: dict[str, Fact] = {
            "jobs": self.rules.jobs,
            "mean_gap": self.rules.mean_gap,
            "horizon": self.rules.horizon,
        }
        return Instance("dags", self.name, len(self.profiles), "kinds of jobs", digest, facts=facts)


def jobs_of(workload: Any, rules: ArrivalRules, split: str) -> DagJobs:
    """The source that an environment's `workload` means.

    Args:
        workload: "generated"; a file of TPC-H profiles; a `Workload` that carries profiles; profiles; or a
            source, whose profiles are taken.
        rules: How jobs come.
        split: Of the arrivals.

    Raises:
        SettingError: Something else, or a workload without profiles.
        InputFileError: The file is none of profiles.
    """
    if isinstance(workload, str) and workload == "generated":
        return DagJobs(generated_profiles(), rules, split, "generated")
    if isinstance(workload, str | Path):
        return DagJobs(_read(str(workload)), rules, split, Path(workload).name)
    if isinstance(workload, Workload):
        if workload.profiles is None:
            raise SettingError(f"{workload.provenance.source} has no profiles of stages; give a file of TPC-H profiles")
        chosen = [workload.profiles[number - 1] for number in workload.job_id.tolist()]
        return DagJobs(chosen, rules, split, Path(workload.provenance.source).name)
    if isinstance(workload, DagJobs):
        return DagJobs(workload.profiles, rules, split, workload.name)
    if isinstance(workload, Sequence) and workload and all(isinstance(one, DagProfile) for one in workload):
        return DagJobs(workload, rules, split, "given")
    raise SettingError(f"workload is {workload!r}; give 'generated', a file of profiles, a Workload or DagProfiles")


@lru_cache(maxsize=8)
def _read(path: str) -> tuple[DagProfile, ...]:
    return read_dag_profiles(path)


@lru_cache(maxsize=8)
def _table(profiles: tuple[DagProfile, ...], executors: int, warm_up: int) -> ProfileTable:
    table: ProfileTable = read_only_columns(make_table(profiles, executors, warm_up))
    return table
