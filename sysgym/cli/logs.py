"""Commands about production logs: replay, compare, predictors, and the demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from sysgym.cli.app import app
from sysgym.cli.gpu_clusters import (
    GPU_DEFAULTS,
    CheckpointSeconds,
    DropImpossible,
    Inflate,
    Nodes,
    Queue,
    RestartSeconds,
    Scores,
    Seed,
    refuse_options,
    replay_on_nodes,
)
from sysgym.cli.leaderboards import show_leaderboard
from sysgym.cli.show import bar, log, out, print_json, print_table, show_written, working
from sysgym.cli.studies import run_study_with_bar
from sysgym.cli.words import (
    Arrivals,
    Clean,
    Columns,
    DropUsers,
    Flurries,
    Format,
    Json,
    KnownRuns,
    Load,
    Processors,
    Window,
    Zone,
    trace_columns,
    window_of,
)
from sysgym.core.errors import require_known

if TYPE_CHECKING:
    from sysgym.bench.replays import Replay
    from sysgym.workloads.workload import Repair, Workload

Backfill = Annotated[
    str | None,
    typer.Option(help="none, easy, rlscheduler or accasim, behind a policy that decides, or an order such as f1."),
]
Commit = Annotated[
    bool | None,
    typer.Option(
        "--commit/--no-commit",
        help="Whether what a deciding policy chooses stays chosen until it starts; as it was trained when left out.",
    ),
]
Patience = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Seconds that a job may wait before it goes first, whatever a deciding policy chooses.",
    ),
]


Log = Annotated[Path, typer.Argument(help="The log, in any format of docs/logs.md; .gz too.")]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        help="fcfs, sjf, sjf_commit, wfp3, unicep, f1, easy, easy_sjbf, conservative, rlscheduler_fcfs, "
        "rlscheduler_sjf, accasim_easy, predictsim_easy, learned (comes with the package), a heuristic, a "
        "checkpoint or file.py; with --nodes first_fit, best_fit, dot_product, packing, clustering, fgd or random; "
        "repeatable."
    ),
]
Predictor = Annotated[
    str | None,
    typer.Option(
        help="Plan with predicted times: last_two, learned, perfect or requested; +reqtime, +tsafrir or +doubling "
        "corrects, as in last_two+tsafrir. easy_sjbf with it is EASY++."
    ),
]


@app.command()
def replay(
    trace: Log,
    policy: Policies = None,
    clean: Clean = "default",
    processors: Processors = None,
    pass_rule: Annotated[str, typer.Option(help="batch: one pass an instant; per_event: as pyss.")] = "batch",
    backfill: Backfill = None,
    commit: Commit = None,
    patience: Patience = None,
    predictor: Predictor = None,
    gantt: Annotated[Path | None, typer.Option(help="Draw who runs when, as .svg or .png.")] = None,
    timeline: Annotated[Path | None, typer.Option(help="Draw queue and utilisation over time, .svg or .png.")] = None,
    slowdown: Annotated[Path | None, typer.Option(help="Draw slowdown by size of job, .svg or .png.")] = None,
    engine: Annotated[str, typer.Option(help="auto, compiled or simpy.")] = "auto",
    form: Format = "auto",
    columns: Columns = None,
    time_zone: Zone = None,
    with_run_times: KnownRuns = False,
    load: Load = None,
    arrivals: Arrivals = None,
    window: Window = None,
    drop_user: DropUsers = None,
    drop_flurries: Flurries = None,
    nodes: Nodes = None,
    queue: Queue = "greedy",
    scores: Scores = "rounded",
    restart_seconds: RestartSeconds = 60.0,
    checkpoint_seconds: CheckpointSeconds = 0.0,
    inflate: Inflate = None,
    seed: Seed = 0,
    drop_impossible: DropImpossible = False,
    as_json: Json = False,
) -> None:
    """Replay a whole log under one or more policies (all classic ones when none is named).

    With --nodes it is played on GPU nodes instead of one pool of processors; see docs/gpu.md.

    Example: sysgym replay KTH-SP2.swf.gz --clean sc15 --policy easy --policy sjf
    """
    own = {"pass_rule": pass_rule, "backfill": backfill, "predictor": predictor, "gantt": gantt,
           "timeline": timeline, "slowdown": slowdown, "processors": processors, "commit": commit,
           "patience": patience}  # fmt: skip
    on_nodes = {"queue": queue, "scores": scores, "restart_seconds": restart_seconds, "seed": seed,
                "checkpoint_seconds": checkpoint_seconds, "drop_impossible": drop_impossible}  # fmt: skip
    if nodes is not None:
        refuse_options(own, {"pass_rule": "batch"}, "is for one pool of processors; leave it out beside --nodes")
    else:
        refuse_options(on_nodes | {"inflate": inflate}, GPU_DEFAULTS, "is for GPU nodes; give --nodes too")
    from sysgym.bench.replays import replay_policies
    from sysgym.jobsched.batch.model import DECIDED_BACKFILLS
    from sysgym.jobsched.batch.replay import classic_schedulers

    if backfill is not None:
        require_known("backfill", backfill, DECIDED_BACKFILLS)
    workload = _read(
        trace, form, clean, processors, columns, time_zone,
        with_run_times=with_run_times, drop_users=drop_user or (), flurry_jobs=drop_flurries,
        window=window_of(window), load=load if nodes is None else None, arrival_factor=arrivals,
    )  # fmt: skip
    if nodes is not None:
        replay_on_nodes(workload, nodes, policy, on_nodes | {"engine": engine}, load, inflate, as_json=as_json)
        return
    chosen = policy or classic_schedulers(predictor)
    results = replay_policies(
        workload, chosen, pass_rule=pass_rule, engine=engine, backfill=backfill, predictor=predictor, commit=commit,
        patience=patience,
    )  # fmt: skip
    pictures = {name: path for name, path in (("gantt", gantt), ("timeline", timeline), ("slowdown", slowdown)) if path}
    machine, planned = workload.machine, f", predictor={predictor}" if predictor else ""
    heading = (f"{trace.name}: {len(workload)} jobs on {machine.processors} processors ({machine.source}), "
               f"clean={clean}, pass_rule={pass_rule}{planned}")  # fmt: skip
    _show_replays(chosen, results, heading, workload.repairs, pictures, as_json=as_json)


def _read(
    trace: Path,
    form: str,
    clean: str,
    processors: int | None,
    columns: list[str] | None,
    time_zone: str | None,
    **selection: Any,
) -> Workload:
    """The jobs of a log that the options ask for; `selection` as `workloads.selection.select` takes it."""
    from sysgym.workloads import read_trace
    from sysgym.workloads.selection import select

    mapping = trace_columns(columns)
    workload = read_trace(trace, form, clean=clean, processors=processors, columns=mapping, time_zone=time_zone)
    return select(workload, **selection)


def _announced(names: Sequence[str], advance: Callable[[float, str], None]) -> Iterator[str]:
    """Say whose turn it is before it is taken: conservative backfilling is slow where thousands of jobs wait."""
    for number, name in enumerate(names):
        advance(number / len(names), name)
        yield name


def _show_replays(
    names: Sequence[str], results: Iterable[Replay], heading: str, repairs: Sequence[Repair],
    pictures: Mapping[str, Path], *, as_json: bool,
) -> None:  # fmt: skip
    """Replay one policy after another, draw what was asked for, and show a row each."""
    from sysgym.bench.drawing import require_picture
    from sysgym.bench.statistics import REPLAY_SPREAD, USELESS, all_tie

    for path in pictures.values():
        require_picture(path)
    rows, written = [], []
    with nullcontext(lambda share, note: None) if as_json else bar("replaying") as advance:
        for _, result in zip(_announced(names, advance), results, strict=True):
            rows.append({"policy": result.row["policy"]} | _bounded_slowdowns(result.row))
            written += _draw(result, pictures, alone=len(names) == 1)
            if as_json:
                print_json(result.row)
    tie = all_tie([row["mean"] for row in rows], REPLAY_SPREAD)
    if as_json:
        if tie:
            log.print(escape(USELESS), highlight=False)
        return
    out.print(escape(heading), highlight=False)
    for repair in repairs:
        verb, lines = "dropped" if repair.dropped else "changed", ", ".join(map(str, repair.lines))
        out.print(f"  {repair.rule}: {verb} {repair.count} jobs, first at lines {lines}", highlight=False)
    print_table("Bounded slowdown, wait in seconds", rows)
    if tie:
        out.print(escape(USELESS), highlight=False)
    for path in written:
        show_written(path, as_json)


def _draw(result: Replay, pictures: Mapping[str, Path], *, alone: bool) -> list[Path]:
    """Draw what was asked for; beside other policies, each has its name in the file's."""
    from sysgym.bench.schedule_pictures import PICTURES

    written = []
    for name, path in pictures.items():
        target = path if alone else path.with_name(f"{path.stem}-{result.row['policy']}{path.suffix}")
        PICTURES[name](result.schedule).write(target)
        written.append(target)
    return written


@app.command()
def predictors(
    trace: Annotated[Path, typer.Argument(help="The log, with requested times and users.")],
    predictor: Annotated[
        list[str] | None, typer.Option(help="Predictors; the first is what the others are compared with; repeatable.")
    ] = None,
    policy: Annotated[str, typer.Option(help="The scheduler that plans with them.")] = "easy_sjbf",
    clean: Clean = "default",
    processors: Processors = None,
    pass_rule: Annotated[str, typer.Option(help="batch or per_event.")] = "per_event",
    begin: Annotated[float, typer.Option(help="Share of the jobs behind which they are compared.")] = 0.5,
    blocks: Annotated[int, typer.Option(help="Disjoint blocks of jobs, the observations of the bootstrap.")] = 20,
    replicates: Annotated[
        int, typer.Option(help="Times the log is played: whole first, then without a random fiftieth of its jobs.")
    ] = 1,
    form: Format = "auto",
    columns: Columns = None,
    time_zone: Zone = None,
    with_run_times: KnownRuns = False,
    as_json: Json = False,
) -> None:
    """Compare predictors of run times on the later part of a log, with paired intervals.

    Example: sysgym predictors KTH-SP2.swf.gz --clean sc15 --predictor last_two --predictor learned
    """
    from sysgym.bench.predictions import compare_predictors

    workload = _read(trace, form, clean, processors, columns, time_zone, with_run_times=with_run_times)
    with working("replaying"):
        found = compare_predictors(
            workload, predictor or ("last_two", "learned"), policy, pass_rule, begin, blocks, replicates
        )
    if as_json:
        for row in found:
            print_json(asdict(row))
        return
    rows = []
    for row in found:
        low_high = (
            row.difference and f"{row.difference.estimate:+.3f} [{row.difference.low:+.3f}, {row.difference.high:+.3f}]"
        )
        better = None if row.better_blocks is None else f"{row.better_blocks}/{blocks}"
        cells = {"predictor": row.predictor, "whole": row.whole, "later": row.later}
        rows.append(cells | {"difference [95 % CI]": low_high, "below in": better})
    print_table(f"Mean bounded slowdown under {policy}, {pass_rule}, clean={clean}", rows)


@app.command()
def compare(
    trace: Annotated[Path, typer.Argument(help="The log.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(help="As of replay; the first is compared with each of the others; repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, valid, test or all: the first 60, next 20, last 20 %.")] = "test",
    length: Annotated[int, typer.Option(help="Jobs of a window, which begins with an empty machine.")] = 256,
    stride: Annotated[int, typer.Option(help="Jobs between the beginnings of two windows.")] = 64,
    blocks: Annotated[int, typer.Option(help="Disjoint blocks of time, the observations of the bootstrap.")] = 16,
    backfill: Backfill = None,
    commit: Commit = None,
    patience: Patience = None,
    clean: Clean = "default",
    processors: Processors = None,
    pass_rule: Annotated[str, typer.Option(help="batch or per_event.")] = "batch",
    arrivals: Arrivals = None,
    form: Format = "auto",
    columns: Columns = None,
    time_zone: Zone = None,
    with_run_times: KnownRuns = False,
    as_json: Json = False,
) -> None:
    """Compare policies on an unseen range of a log, by windows in disjoint blocks of time, with paired intervals.

    Example: sysgym compare KTH-SP2.swf.gz --clean sc15 --policy learned --policy easy --policy easy_sjbf
    """
    from sysgym.bench.comparisons import compare_policies

    workload = _read(
        trace, form, clean, processors, columns, time_zone, with_run_times=with_run_times, arrival_factor=arrivals
    )
    chosen = policy or ["learned", "easy", "easy_sjbf"]
    with working("replaying"):
        found = compare_policies(
            workload, chosen, split, length, stride, blocks,
            backfill=backfill, commit=commit, patience=patience, pass_rule=pass_rule,
        )  # fmt: skip
    if as_json:
        for row in found:
            print_json(asdict(row))
        return
    rows = []
    for row in found:
        ratio = row.ratio and f"{row.ratio.estimate:.3f} [{row.ratio.low:.3f}, {row.ratio.high:.3f}]"
        lost = None if row.lost is None else f"{round(row.lost * blocks)}/{blocks}"
        cells = {"policy": row.policy, "mean": row.mean, "geometric mean": row.geometric_mean}
        rows.append(cells | {f"{found[0].policy} / policy [95 % CI]": ratio, "blocks lost": lost})
    print_table(f"Mean bounded slowdown, {split} range, {blocks} blocks of time, windows of {length} jobs", rows)


@app.command()
def demo(
    trace: Annotated[Path | None, typer.Argument(help="A log of yours; one is generated when left out.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for study, results and report.")] = Path("demo"),
    clean: Clean = "default",
    processors: Processors = None,
    seconds: Annotated[float, typer.Option(help="Time for the training.")] = 25.0,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Replay a log, train a scheduler on its first weeks, test it on the last, and write a report.

    Example: sysgym demo KTH-SP2.swf.gz --clean sc15
    """
    from sysgym.bench.demo import prepare, trained_policy
    from sysgym.bench.leaderboard import leaderboard as tables_of
    from sysgym.bench.leaderboard import to_data
    from sysgym.bench.report import write_report
    from sysgym.jobsched.batch.replay import CLASSIC

    began = time.perf_counter()
    mapping = trace_columns(columns)
    study, trace = prepare(output, trace, clean, processors, seconds, mapping)
    records = run_study_with_bar(study, 1, resume=False, dry_run=False, quiet=as_json)
    page = output / "report.html"
    write_report(records, page)
    if as_json:
        print_json({"study": str(study), "report": str(page), "tables": to_data(tables_of(records))})
        return
    show_leaderboard(records)
    out.print("The whole log, the trained policy beside the classic ones:")
    replay(trace, [*CLASSIC, str(trained_policy(study))], clean, processors, columns=columns)
    show_written(page, as_json)
    out.print(f"all of it took {time.perf_counter() - began:.0f} s", highlight=False)


def _bounded_slowdowns(row: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a replay that a terminal has room for."""
    slowdown = {name: row[f"{name}_bounded_slowdown"] for name in ("mean", "median", "p95", "p99")}
    return slowdown | {"mean wait": row["mean_wait"], "utilisation": row["utilisation"]}
