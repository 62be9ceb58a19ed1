"""Stages and how long their tasks take, as flat arrays that simulator and kernel read alike.

Durations were measured with several numbers of executors (`LEVELS`) and in three situations, after Decima's profiles
(Mao et al., SIGCOMM 2019): a task that is the first on an executor that has just joined the job (`FRESH`), a task on an
executor that worked on another stage of the job (`FIRST`), and a task after one of the same stage (`REST`). What a
stage lacks is filled in once, here:

* a level without durations takes those of the nearest level of the stage (of two, the lower; among the published
  profiles this is always the largest one, as in Decima's sampler);
* no fresh durations: those of the first wave plus a warm-up; no first wave: the fresh ones; no later wave: the first.

A task's duration is drawn from (key, episode, number of the task), so it depends on the engine in no way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted_inline
from sysgym.core.errors import WorkloadError
from sysgym.workloads.companions import DagProfile, StageProfile, Waves, is_acyclic
from sysgym.workloads.draws import philox4x32

LEVELS = (5, 10, 20, 40, 50, 60, 80, 100)
"""Numbers of executors at which durations were measured."""
FRESH, FIRST, REST = 0, 1, 2
"""What an executor did before a task: nothing in this job, another stage of it, the same stage."""
_KINDS = 3
_LONGEST = 10**9
"""Milliseconds, 11 days, that fit into the table with every warm-up."""
Integers = NDArray[np.int64]


class ProfileTable(NamedTuple):
    """T kinds of jobs; stages are numbered through all of them, edges name stages of the same job from 0.

    Attributes:
        first_stage: First stage of each kind, and the end, (T + 1,).
        tasks: Of each stage.
        task_offset: Tasks of the job's stages before this one.
        parent_start: Where a stage's parents begin in `parent`, and the end.
        parent: Stages of the same job.
        child_start: As `parent_start`.
        child: Stages of the same job.
        order: Stages of each job in a topological order, beside `first_stage`.
        mean: Mean duration in a later wave with as many executors as the cluster has, ms.
        list_start: Where the durations of (stage, level, situation) begin in `durations`, and the end.
        durations: ms.
    """

    first_stage: Integers
    tasks: Integers
    task_offset: Integers
    parent_start: Integers
    parent: Integers
    child_start: Integers
    child: Integers
    order: Integers
    mean: NDArray[np.float64]
    list_start: Integers
    durations: NDArray[np.int32]


@dataclass(frozen=True)
class StageLists:
    """The durations of one stage at one level, none of them empty."""

    fresh: Integers
    first: Integers
    rest: Integers


def lists_of(stage: StageProfile, level: int, warm_up: int) -> StageLists:
    """What a stage's tasks are drawn from at a level; see the module for what is missing.

    Args:
        stage: A prepared profile.
        level: Number of executors.
        warm_up: ms that a fresh executor takes longer where that was not measured.
    """
    waves = (stage.fresh, stage.first, stage.rest)
    known = sorted({key for wave in waves for key, values in wave.items() if len(values)})
    among = [key for key in known if key in LEVELS] or known
    key = min(among, key=lambda candidate: (abs(candidate - level), candidate))
    fresh, first, rest = (_values(wave, key) for wave in waves)
    first = first if len(first) else fresh if len(fresh) else rest
    return StageLists(fresh if len(fresh) else first + warm_up, first, rest if len(rest) else first)


def _values(wave: Waves, key: int) -> Integers:
    return np.asarray(wave.get(key, ()), dtype=np.int64)


def check_profile(profile: DagProfile) -> None:
    """Refuse what is no job.

    Raises:
        WorkloadError: No stages, an edge to nowhere, a cycle, a stage without tasks, one without any duration, or
            a duration out of range.
    """
    name, stages, edges = f"query {profile.query} of {profile.size_gb:g} GB", profile.stages, profile.edges
    if not stages:
        raise WorkloadError(f"{name} has no stages; a job needs at least one")
    if len(edges) and not (edges.min() >= 0 and edges.max() < len(stages)):
        nowhere = edges.min() if edges.min() < 0 else edges.max()
        raise WorkloadError(f"{name} has an edge to stage {nowhere}; its stages are 0 to {len(stages) - 1}")
    if not is_acyclic(len(stages), edges):
        raise WorkloadError(f"{name}: its stages wait for one another in a cycle; remove an edge of it")
    for number, stage in enumerate(stages):
        if stage.tasks < 1:
            raise WorkloadError(f"{name}: stage {number} has {stage.tasks} tasks; give it at least one")
        waves = stage.fresh, stage.first, stage.rest
        if not any(len(values) for wave in waves for values in wave.values()):
            raise WorkloadError(f"{name}: stage {number} has no durations at any number of executors; measure one")
        durations = np.concatenate([values for wave in waves for values in wave.values()])
        if durations.min() < 0 or durations.max() > _LONGEST:
            wrong = durations.min() if durations.min() < 0 else durations.max()
            raise WorkloadError(f"{name}: stage {number} has a task of {wrong} ms; give 0 to {_LONGEST}")


def make_table(profiles: Sequence[DagProfile], executors: int, warm_up: int = 1000) -> ProfileTable:
    """The table of some profiles.

    Args:
        profiles: At least one; raw, as read from a file.
        executors: Of the cluster; decides which durations `mean` is of.
        warm_up: See `lists_of`.

    Raises:
        WorkloadError: There is none, or one is no job; see `check_profile`.
    """
    if not profiles:
        raise WorkloadError("there are no profiles of jobs; give at least one")
    for profile in profiles:
        check_profile(profile)
    stages = [stage.prepared() for profile in profiles for stage in profile.stages]
    sizes = [len(profile.stages) for profile in profiles]
    lists = [[lists_of(stage, level, warm_up) for level in LEVELS] for stage in stages]
    flat = [one for levels in lists for entry in levels for one in (entry.fresh, entry.first, entry.rest)]
    nearest = int(np.abs(np.array(LEVELS) - executors).argmin())
    parents, children = _neighbours(profiles, 0), _neighbours(profiles, 1)
    tasks = np.array([stage.tasks for stage in stages], dtype=np.int64)
    offsets = [np.cumsum([0, *(stage.tasks for stage in profile.stages[:-1])]) for profile in profiles]
    return ProfileTable(
        np.cumsum([0, *sizes]).astype(np.int64),
        tasks,
        np.concatenate(offsets).astype(np.int64),
        *_ragged(parents),
        *_ragged(children),
        np.concatenate([_topological(len(profile.stages), profile.edges) for profile in profiles]),
        np.array([levels[nearest].rest.mean() for levels in lists]),
        np.cumsum([0, *(len(one) for one in flat)]).astype(np.int64),
        np.concatenate(flat).astype(np.int32),
    )


def profiles_sha256(profiles: Sequence[DagProfile]) -> str:
    """Hexadecimal SHA-256 over everything that a schedule of these jobs depends on."""
    digest = hashlib.sha256()
    for profile in profiles:
        digest.update(f"{profile.query}/{profile.size_gb:g}/{profile.edges.tolist()}".encode())
        for stage in profile.stages:
            digest.update(str(stage.tasks).encode())
            for wave in (stage.fresh, stage.first, stage.rest):
                for key in sorted(wave):
                    digest.update(f"{key}:".encode() + np.asarray(wave[key], dtype="<i8").tobytes())
    return digest.hexdigest()


def _neighbours(profiles: Sequence[DagProfile], end: int) -> list[list[int]]:
    """Of each stage, its parents (`end` 0) or children (1), each once, in ascending order."""
    found: list[list[int]] = []
    for profile in profiles:
        own: list[set[int]] = [set() for _ in profile.stages]
        for edge in profile.edges.tolist():
            own[edge[1 - end]].add(edge[end])
        found += [sorted(one) for one in own]
    return found


def _ragged(lists: list[list[int]]) -> tuple[Integers, Integers]:
    starts = np.cumsum([0, *(len(one) for one in lists)]).astype(np.int64)
    return starts, np.array([value for one in lists for value in one], dtype=np.int64)


def _topological(count: int, edges: Integers) -> Integers:
    waiting = np.zeros(count, dtype=np.int64)
    pairs = sorted(set(map(tuple, edges.tolist())))
    for _, child in pairs:
        waiting[child] += 1
    order: list[int] = []
    ready = [stage for stage in range(count) if waiting[stage] == 0]
    while ready:
        stage = ready.pop(0)
        order.append(stage)
        for parent, child in pairs:
            if parent == stage:
                waiting[child] -= 1
                if waiting[child] == 0:
                    ready.append(child)
    return np.array(order, dtype=np.int64)


@uncounted_inline
def level_of(executors: int, draw: float, inverted: bool) -> int:
    """Number of the level that a task's duration is taken from.

    Between two levels l < n < r the lower one is taken with probability (r - n) / (r - l), as linear interpolation
    wants it; `inverted` gives it (n - l) / (r - l), the slip of Decima's and spark-sched-sim's code.
    """
    if executors <= 5:
        return 0
    if executors >= 100:
        return len(LEVELS) - 1
    level = 0
    while LEVELS[level + 1] <= executors:
        level += 1
    low, high = LEVELS[level], LEVELS[level + 1]
    if executors == low:
        return level
    share = (executors - low) / (high - low) if inverted else (high - executors) / (high - low)
    return level if draw < share else level + 1


@uncounted_inline
def task_draws(key: int, episode: int, task: int) -> tuple[float, float]:
    """Two numbers in [0, 1) that belong to a task: one for the level, one for the place in its list."""
    word0, word1, word2, word3 = philox4x32(key, task, episode & 0xFFFFFFFF, (episode >> 32) & 0xFFFFFFFF, 0)
    first = ((word0 >> 5) * 67108864.0 + (word1 >> 6)) / 9007199254740992.0
    return first, ((word2 >> 5) * 67108864.0 + (word3 >> 6)) / 9007199254740992.0


@uncounted_inline
def listed_duration(table: ProfileTable, stage: int, level: int, kind: int, draw: float) -> int:
    """The duration at a place of a list, ms."""
    place = (stage * len(LEVELS) + level) * _KINDS + kind
    start = table.list_start[place]
    return int(table.durations[start + int(draw * (table.list_start[place + 1] - start))])


@uncounted_inline
def task_duration(
    table: ProfileTable, key: int, episode: int, task: int, stage: int, executors: int, kind: int, inverted: bool
) -> int:
    """How long a task takes, ms.

    Args:
        table: The profiles.
        key: Of the durations' stream.
        episode: Number of the episode.
        task: Number of the task in the episode.
        stage: Number of the stage in the table.
        executors: Attached to the job now, the one that takes the task included.
        kind: `FRESH`, `FIRST` or `REST`.
        inverted: See `level_of`.
    """
    for_level, for_place = task_draws(key, episode, task)
    level = level_of(executors, for_level, inverted)
    duration: int = listed_duration(table, stage, level, kind, for_place)
    return duration
