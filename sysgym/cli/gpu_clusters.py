"""What `sysgym replay PODS --nodes NODES` does: a log on a cluster of GPU nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sysgym.cli.show import out, print_json, print_table, working
from sysgym.core.errors import SettingError

Nodes = Annotated[
    str | None, typer.Option(help="Replay on GPU nodes: a list of nodes, or 64x8 for 64 nodes of 8 GPUs.")
]
Queue = Annotated[
    str, typer.Option(help="With --nodes: fifo, greedy, shortest, srtf, las (both stop running jobs) or loss.")
]
Scores = Annotated[str, typer.Option(help="With --nodes: rounded (as published) or exact.")]
RestartSeconds = Annotated[float, typer.Option(help="With --nodes: what a stopped job spends when it starts again.")]
CheckpointSeconds = Annotated[
    float, typer.Option(help="With --nodes: between checkpoints; 0 loses nothing, inf everything.")
]
Inflate = Annotated[
    float | None,
    typer.Option(help="With --nodes: draw jobs until they ask for so many times all GPUs, shuffle all; none ends."),
]
Seed = Annotated[int, typer.Option(help="With --nodes: of random choices and of --inflate.")]
DropImpossible = Annotated[
    bool, typer.Option("--drop-impossible", help="With --nodes: leave out jobs that no cluster so small can start.")
]
GPU_DEFAULTS = {"queue": "greedy", "scores": "rounded", "restart_seconds": 60.0, "seed": 0, "checkpoint_seconds": 0.0,
                "drop_impossible": False}  # fmt: skip
"""What the options of a replay on nodes are when they are left out."""


def refuse_options(given: Mapping[str, Any], defaults: Mapping[str, Any], why: str) -> None:
    """Raise `SettingError` where an option was given that the other form of the command doesn't have."""
    for name, value in given.items():
        if value != defaults.get(name):
            raise SettingError(f"--{name.replace('_', '-')} {value} {why}")


def replay_on_nodes(
    workload: Any,
    nodes: str,
    policies: Sequence[str] | None,
    settings: Mapping[str, Any],
    load: float | None,
    inflate: float | None,
    *,
    as_json: bool,
) -> None:
    """Replay a log on GPU nodes under one policy after another, and show a row each."""
    from sysgym.jobsched.gpu.inflation import inflated, shuffled, with_gpu_load
    from sysgym.jobsched.gpu.instances import nodes_of
    from sysgym.jobsched.gpu.model import POLICIES
    from sysgym.jobsched.gpu.replay import replay_gpu

    table, chosen = nodes_of(workload, nodes), dict(settings)
    gpus = int(table.gpus.sum())
    if load is not None:
        workload = with_gpu_load(workload, gpus, load)
    if inflate is not None:
        if load is not None or settings["queue"] not in {"greedy", "loss"}:
            raise SettingError("--inflate fills the cluster with jobs that never end; leave --load and --queue out")
        workload, chosen = inflated(workload, gpus, inflate, settings["seed"]), chosen | {"queue": "loss"}
        table = shuffled(table, settings["seed"])
    rows = []
    with nullcontext() if as_json else working("replaying"):
        for policy in policies or POLICIES:
            schedule = replay_gpu(workload, table, policy, **chosen)
            row = {"policy": policy} | _whole(schedule.summary())
            rows.append(row)
            if as_json:
                repairs = {repair.rule: repair.count for repair in schedule.workload.repairs}
                print_json(row | {"queue": chosen["queue"], "scores": schedule.rules.scores, "nodes": len(table),
                                  "gpus": gpus, "clean": workload.provenance.clean, "repairs": repairs})  # fmt: skip
    if as_json:
        return
    log, listed = (escape(Path(source).name) for source in (workload.provenance.source, table.source))
    out.print(f"{log}: {len(schedule.workload)} jobs on {len(table)} nodes with {gpus} GPUs ({listed}), "
              f"queue={chosen['queue']}", highlight=False)  # fmt: skip
    for repair in schedule.workload.repairs:
        out.print(f"  {repair.rule}: {repair.count} jobs", highlight=False)
    print_table("Allocation as a share of all GPUs, fragmentation of the free ones; seconds", [*map(_shown, rows)])


def _whole(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Counts as integers, and None for what there is nothing of, as JSON has no NaN."""
    counts = {"jobs", "started", "lost", "unfinished", "preemptions"}
    return {
        name: int(value) if name in counts else None if math.isnan(value) else value for name, value in scores.items()
    }


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """The scores that a terminal has room for."""
    names = {"mean_wait": "mean wait", "p95_wait": "p95 wait", "mean_turnaround": "turnaround"}
    names |= {"mean_allocation_rate": "allocated", "mean_fragmentation_rate": "fragmented"}
    if row["lost"]:
        names = {"started": "started", "lost": "lost", "last_allocation_rate": "allocated"}
        names |= {"last_fragmentation_rate": "fragmented"}
    names |= {"preemptions": "stopped"} if row["preemptions"] else {}
    return {"policy": row["policy"]} | {shown: row[name] for name, shown in names.items()}
