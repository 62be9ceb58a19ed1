"""What is seen of a cluster, for both engines: three observations over the features of `outlook`.

`graph` is the graph convention: unfinished stages are nodes, edges lead from parents to children. `choices` is the same
with a part more, the features of every choice of a stage: what giving it executors up to a limit would commit. `rows`
has a row an action that says all of it, but the edges. What is masked is 0 there, so whoever learns from rows pays for
allowed actions alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import require_known
from sysgym.core.packing import graph_spec
from sysgym.core.protocols import ArraySpec, ObservationSpec
from sysgym.jobsched.dag.model import KIND, DagConfig, edge_room
from sysgym.jobsched.dag.outlook import (
    BOUND,
    CHOICE_FEATURES,
    FEATURES,
    GLOBALS,
    ROW_FEATURES,
    Outlook,
    describe_action,
    describe_choice,
    describe_stage,
    describe_waiting,
    prepare,
)
from sysgym.jobsched.dag.profiles import Integers, ProfileTable

OBSERVATIONS = ("graph", "choices", "rows")
GRAPH, CHOICES = 0, 1


@uncounted
def list_edges(
    job: Integers, stage: Integers, node: Integers, shown: int, table: ProfileTable, outlook: Outlook,
    ends: NDArray[Any],
) -> int:  # fmt: skip
    """Write the edges between the first `shown` nodes as (parent, child), numbers of nodes; returns how many."""
    per_job, count = stage.shape[0] // job.shape[0], 0
    for v in range(shown):
        outlook.place[node[v]] = v
    for v in range(shown):
        s = node[v]
        j = s // per_job
        k = table.first_stage[job[j, KIND]] + s - j * per_job
        for place in range(table.child_start[k], table.child_start[k + 1]):
            ends[count, 0], ends[count, 1] = v, outlook.place[j * per_job + table.child[place]]
            count += 1
    return count


@uncounted
def write_graph(
    numbers: Integers, job: Integers, stage: Integers, executor: Integers, node: Integers, table: ProfileTable,
    outlook: Outlook, row: NDArray[Any],
) -> None:  # fmt: skip
    """Write the packed graph observation.

    Args:
        numbers: See `DagState`, as `job`, `stage`, `executor`, `node` and `table`.
        job: Of jobs that have arrived; more rows may follow.
        stage: Likewise.
        executor: All.
        node: As `list_nodes` wrote it.
        table: Profiles.
        outlook: Room for one; overwritten.
        row: Where to write, float32.
    """
    count, per_job, executors = node.shape[0], stage.shape[0] // job.shape[0], executor.shape[0]
    room = 2 * count
    context = 3 * room
    node_mask = context + GLOBALS
    first = node_mask + count
    row[:] = 0.0
    prepare(numbers, job, stage, executor, node, table, outlook)
    shown = 0
    while shown < count and node[shown] >= 0:
        s = node[shown]
        row[node_mask + shown] = 1.0
        begins = first + shown * FEATURES
        describe_stage(numbers, job, stage, executors, table, outlook, s, s // per_job, row[begins : begins + FEATURES])
        shown += 1
    edges = list_edges(job, stage, node, shown, table, outlook, row[room:context].reshape(room, 2))
    row[:edges] = 1.0
    for column in range(GLOBALS):
        row[context + column] = outlook.around[column]


@uncounted
def write_choices(
    numbers: Integers, job: Integers, stage: Integers, executor: Integers, limits: Integers, node: Integers,
    mask: NDArray[np.int8], table: ProfileTable, outlook: Outlook, row: NDArray[Any],
) -> None:  # fmt: skip
    """Write the features of every allowed choice, and behind them the graph; see `write_graph` for the arguments."""
    count, size = limits.shape[0], mask.shape[0] * CHOICE_FEATURES
    write_graph(numbers, job, stage, executor, node, table, outlook, row[size:])
    row[:size] = 0.0
    for action in range(mask.shape[0] - 1):
        if mask[action]:
            begins, s, limit = action * CHOICE_FEATURES, node[action // count], limits[action % count]
            out = row[begins : begins + CHOICE_FEATURES]
            describe_choice(numbers, job, stage, executor.shape[0], outlook, s, limit, out)


@uncounted
def write_rows(
    numbers: Integers, job: Integers, stage: Integers, executor: Integers, limits: Integers, node: Integers,
    mask: NDArray[np.int8], table: ProfileTable, outlook: Outlook, rows: NDArray[Any],
) -> None:  # fmt: skip
    """Write a row an allowed action, 0 elsewhere; see `write_graph` for the arguments."""
    count = limits.shape[0]
    rows[:] = 0.0
    prepare(numbers, job, stage, executor, node, table, outlook)
    for action in range(mask.shape[0] - 1):
        if mask[action]:
            s, limit = node[action // count], limits[action % count]
            describe_action(numbers, job, stage, executor.shape[0], table, outlook, s, limit, rows[action])
    if mask[-1]:
        describe_waiting(outlook, rows[rows.shape[0] - 1])


@uncounted
def show(
    code: int, numbers: Integers, job: Integers, stage: Integers, executor: Integers, limits: Integers, node: Integers,
    mask: NDArray[np.int8], table: ProfileTable, outlook: Outlook, row: NDArray[Any],
) -> None:  # fmt: skip
    """Write an observation as one packed row.

    Args:
        code: Number of the observation in `OBSERVATIONS`.
        numbers: See `write_graph`, as all that follow.
        job: Jobs.
        stage: Stages.
        executor: Executors.
        limits: Parallelism limits.
        node: What is seen.
        mask: As `write_mask` wrote it.
        table: Profiles.
        outlook: Room for one; overwritten.
        row: Where to write, float32.
    """
    if code == GRAPH:
        write_graph(numbers, job, stage, executor, node, table, outlook, row)
    elif code == CHOICES:
        write_choices(numbers, job, stage, executor, limits, node, mask, table, outlook, row)
    else:
        rows = row.reshape(mask.shape[0], ROW_FEATURES)
        write_rows(numbers, job, stage, executor, limits, node, mask, table, outlook, rows)


class View:
    """One of the observations.

    Args:
        name: "graph", "choices" or "rows".
        config: Of the cluster.

    Raises:
        UnknownNameError: None of them.
    """

    def __init__(self, name: str, config: DagConfig) -> None:
        require_known("observation", name, OBSERVATIONS)
        self.name, self.code = name, OBSERVATIONS.index(name)
        self.spec: ObservationSpec = ArraySpec((config.num_actions, ROW_FEATURES), np.float32, -BOUND, BOUND)
        if name != "rows":
            choices = (config.num_actions, CHOICE_FEATURES) if name == "choices" else None
            room = edge_room(config.stages)
            self.spec = graph_spec(config.stages, FEATURES, room, GLOBALS, -BOUND, BOUND, choices)
