"""The command line: parses what a user wrote, calls one function of a room below, and shows what came back.

The only room that prints. Every command shows a table to people and plain JSON to machines (`--json`). A user's
mistake is one line on standard error and exit code 2; whatever was already written stays whole.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sysgym.agents.algorithms import ALGORITHMS
from sysgym.core.errors import SettingError, SysgymError, UnknownNameError

if TYPE_CHECKING:
    from sysgym.bench.records import Record

app = typer.Typer(
    name="sysgym",
    help="A research gym for reinforcement learning in computer systems.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
out, log = Console(), Console(stderr=True)

_UsageError: Any = typer.BadParameter.__base__  # the words were wrong; typer doesn't export this class itself

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
Clean = Annotated[str, typer.Option(help="Cleaning rule: default, sc15 or none.")]
Processors = Annotated[int | None, typer.Option(help="Size of the machine; the log's header when left out.")]
Format = Annotated[str, typer.Option("--format", help="Format of the log: auto, swf, csv.")]
Environment = Annotated[str, typer.Option("--env", help="Id of the environment, also as module:Id.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Setting of the algorithm, name=value; repeatable.")]
Arguments = Annotated[
    list[str] | None, typer.Option("--arg", help="Argument of the environment, name=value; repeatable.")
]


def main() -> None:
    """Run the command line; the entry point of `sysgym`."""
    try:
        code = app(standalone_mode=False)
    except SysgymError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        log.print("interrupted; what was finished is kept")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    log.print(f"[bold red]error:[/] {escape(' '.join(message.split()))}", soft_wrap=True, highlight=False)
    sys.exit(2)


@app.command()
def envs(as_json: Json = False) -> None:
    """List the environments, their heuristics and objectives.

    Example: sysgym envs
    """
    from sysgym.bench.environments import class_of
    from sysgym.envs.registration import ENVIRONMENTS

    rows = []
    for row in ENVIRONMENTS:
        made = class_of(row.env_id)
        summary = (made.__doc__ or "").strip().splitlines()[0]
        rows.append(
            {"id": row.env_id, "problem": summary, "objective": f"{made.objective} ({made.direction})",
             "heuristics": list(made.heuristics)}
        )  # fmt: skip
    if as_json:
        _print_json(rows)
        return
    _print_table("Environments", [{**row, "heuristics": " ".join(row["heuristics"])} for row in rows])


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(help="The log: .swf, .swf.gz, .csv, .csv.gz.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(help="fcfs, sjf, sjf_commit, easy, easy_sjbf, a heuristic, a checkpoint or file.py; repeatable."),
    ] = None,
    clean: Clean = "default",
    processors: Processors = None,
    pass_rule: Annotated[str, typer.Option(help="batch: one pass an instant; per_event: as pyss.")] = "batch",
    backfill: Annotated[str | None, typer.Option(help="none or easy, behind a policy that decides.")] = None,
    engine: Annotated[str, typer.Option(help="auto, compiled or simpy.")] = "auto",
    form: Format = "auto",
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Column of a CSV log, name=header, or one TOML file with the mapping; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a whole log under one or more policies (all classic ones when none is named).

    Example: sysgym replay KTH-SP2.swf.gz --clean sc15 --policy easy --policy sjf
    """
    from sysgym.bench.replays import replay_policies
    from sysgym.jobsched.batch.model import BACKFILLS
    from sysgym.jobsched.batch.replay import SCHEDULERS
    from sysgym.workloads import read_trace

    if backfill is not None and backfill not in BACKFILLS:
        raise UnknownNameError("backfill", backfill, BACKFILLS)
    workload = read_trace(trace, format=form, clean=clean, processors=processors, columns=_columns(columns))
    results = replay_policies(workload, policy or list(SCHEDULERS), pass_rule, engine, backfill)
    if as_json:
        for result in results:
            _print_json(result.row)
        return
    with _working("replaying"):
        rows = [{"policy": result.row["policy"]} | _bounded_slowdowns(result.row) for result in results]
    machine = workload.machine
    out.print(f"{escape(trace.name)}: {len(workload)} jobs on {machine.processors} processors ({machine.source}), "
              f"clean={clean}, pass_rule={pass_rule}", highlight=False)  # fmt: skip
    for repair in workload.repairs:
        verb, lines = "dropped" if repair.dropped else "changed", ", ".join(map(str, repair.lines))
        out.print(f"  {repair.rule}: {verb} {repair.count} jobs, first at lines {lines}", highlight=False)
    _print_table("Bounded slowdown, wait in seconds", rows)


@app.command()
def train(
    env: Environment,
    algorithm: Annotated[str, typer.Option(help=f"Algorithm: {', '.join(ALGORITHMS)}.")] = "ppo",
    output: Annotated[Path, typer.Option(help="File of the checkpoint.")] = Path("policy.safetensors"),
    frames: Annotated[int | None, typer.Option(help="Budget in environment steps.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Budget in seconds.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, actions and environments.")] = 0,
    num_envs: Annotated[int | None, typer.Option(help="Environments that are stepped together.")] = None,
    arg: Arguments = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    mode: Annotated[
        str | None, typer.Option(help="sync, lockstep (plays while it learns, repeats) or async (does not repeat).")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads while it learns; playing takes one.")] = None,
    as_json: Json = False,
) -> None:
    """Train a policy and save it; Ctrl-C or SIGTERM leaves a run that --resume goes on with.

    Example: sysgym train --env sysgym/JobSched-v0 --arg observation=compact --seconds 60
    """
    from sysgym import agents

    chosen = _pairs(settings, "--set")
    for name in chosen.keys() & inspect.signature(agents.train).parameters.keys():
        raise SettingError(f"--set {name}: this is no setting of the algorithm; use the option of that name")
    with _bar(f"training {algorithm}") as advance:
        policy = agents.train(
            env,
            algorithm,
            seed=seed,
            num_envs=num_envs,
            frames=frames,
            seconds=seconds,
            environment=_pairs(arg, "--arg"),
            output=output,
            resume=resume,
            mode=mode,
            threads=threads,
            on_progress=lambda progress: advance(
                progress.share,
                f"{progress.frames:,} frames, {progress.frames_per_second:,.0f}/s, "
                f"return {_figure(progress.mean_return)}" + (f", lag {progress.lag}" if progress.lag else ""),
            ),
            **chosen,
        )
    row = {
        "output": str(output),
        "algorithm": algorithm,
        "seed": policy.seed,
        "frames": policy.frames,
        "parameters": policy.parameter_count,
        "mean_return": policy.curve[-1]["mean_return"] if policy.curve else None,
    }
    if as_json:
        _print_json(row)
    else:
        _print_table("Trained", [row])


@app.command()
def evaluate(
    policy: Annotated[
        str, typer.Argument(help="A heuristic, a checkpoint, file.py[:Class] or a stable-baselines3 zip.")
    ],
    env: Environment,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    scenarios: Annotated[int, typer.Option(help="Scenarios to play; on a log, its disjoint windows.")] = 20,
    seed: Annotated[int, typer.Option(help="First scenario.")] = 0,
    arg: Arguments = None,
    as_json: Json = False,
) -> None:
    """Play a policy on scenarios that it was not trained on.

    Example: sysgym evaluate sjf --env sysgym/JobSched-v0 --scenarios 100
    """
    from sysgym.bench.evaluator import evaluate as evaluate_policy
    from sysgym.bench.statistics import bootstrap, mean

    with _bar("evaluating") as advance:
        result = evaluate_policy(
            policy,
            env,
            _pairs(arg, "--arg"),
            split,
            scenarios,
            seed0=seed,
            progress=lambda done: advance(done / scenarios, f"{done} of {scenarios}"),
        )
    interval = bootstrap(result.values, mean)
    invalid = sum(scenario.invalid_actions for scenario in result.scenarios)
    row = {"policy": result.policy.name, result.objective: interval.estimate, "low": interval.low,
           "high": interval.high, "scenarios": scenarios, "invalid_actions": invalid}  # fmt: skip
    if as_json:
        facts = {"env": env, "split": split, "objective": result.objective, "direction": result.direction}
        _print_json({**row, **facts, "values": result.values})
    else:
        better = "lower" if result.direction == "min" else "higher"
        _print_table(f"{env}, split {split}; 95 % bootstrap interval over scenarios, {better} is better", [row])


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study, a TOML file.")],
    jobs: Annotated[int, typer.Option(help="Runs at the same time, each in a process.")] = 1,
    resume: Annotated[bool, typer.Option(help="Keep what has been run; --no-resume runs everything anew.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the study and say what would run.")] = False,
    as_json: Json = False,
) -> None:
    """Run what is missing of a study, and show its leaderboard.

    Example: sysgym run experiments/kth.toml --jobs 2
    """
    records = _run_study(study, jobs, resume, dry_run, quiet=as_json)
    if dry_run:
        return
    if as_json:
        for record in records:
            _print_json(json.loads(record.line()))
    else:
        _show_leaderboard(records)
    if any(record.failed for record in records):
        raise typer.Exit(1)


@app.command()
def leaderboard(
    places: Annotated[list[Path], typer.Argument(help="Studies, folders of results, or files of records.")],
    against: Annotated[str | None, typer.Option(help="Heuristic to compare with; the best when left out.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Show who is best, by how much, and how sure that is.

    Example: sysgym leaderboard experiments/kth.toml --markdown
    """
    from sysgym.bench.leaderboard import leaderboard as tables_of
    from sysgym.bench.leaderboard import to_data, to_markdown
    from sysgym.bench.records import find_records

    records = find_records(*places)
    if as_json:
        _print_json(to_data(tables_of(records, against)))
    elif markdown:
        sys.stdout.write(to_markdown(tables_of(records, against)))
    else:
        _show_leaderboard(records, against)


@app.command()
def report(
    places: Annotated[list[Path], typer.Argument(help="Studies, folders of results, or files of records.")],
    output: Annotated[Path, typer.Option(help="File of the page.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page from records.

    Example: sysgym report experiments/kth.toml --output report.html
    """
    from sysgym.bench.records import find_records
    from sysgym.bench.report import write_report

    write_report(find_records(*places), output)
    _show_written(output, as_json)


@app.command()
def demo(
    trace: Annotated[Path | None, typer.Argument(help="A log of yours; one is generated when left out.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for study, results and report.")] = Path("demo"),
    clean: Clean = "default",
    processors: Processors = None,
    seconds: Annotated[float, typer.Option(help="Time for the training.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Replay a log, train a scheduler on its first weeks, test it on the last, and write a report.

    Example: sysgym demo KTH-SP2.swf.gz --clean sc15
    """
    from sysgym.bench.demo import prepare, trained_policy
    from sysgym.bench.leaderboard import leaderboard as tables_of
    from sysgym.bench.leaderboard import to_data
    from sysgym.bench.report import write_report

    began = time.perf_counter()
    study, trace = prepare(output, trace, clean, processors, seconds)
    records = _run_study(study, 1, resume=False, dry_run=False, quiet=as_json)
    page = output / "report.html"
    write_report(records, page)
    if as_json:
        _print_json({"study": str(study), "report": str(page), "tables": to_data(tables_of(records))})
        return
    _show_leaderboard(records)
    out.print("The whole log, the trained policy beside the classic ones:")
    replay(trace, [*_classic(), str(trained_policy(study))], clean, processors)
    _show_written(page, as_json)
    out.print(f"{time.perf_counter() - began:.0f} s", highlight=False)


@app.command()
def simplify(
    given: Annotated[
        str, typer.Argument(metavar="[EXPRESSION|FILE]", help="An expression, or a file of them (.txt, .jsonl).")
    ] = "",
    method: Annotated[
        list[str] | None, typer.Option(help="greedy, beam, anneal, random, or a rival: z3, z3_ctx; repeatable.")
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds an expression.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the methods that draw.")] = 0,
    field: Annotated[str, typer.Option(help="Field of a .jsonl file that holds the expression.")] = "expr",
    bools: Annotated[list[str] | None, typer.Option("--bool", help="Variable that is Bool; repeatable.")] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Convert between Int and Bool.")] = False,
    certificate: Annotated[Path | None, typer.Option(help="Write certificates there, one JSON object a line.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Replay the certificates in FILE instead.")] = False,
    generated: Annotated[
        int, typer.Option("--generate", help="Compare methods on so many generated expressions instead.")
    ] = 0,
    distribution: Annotated[
        str, typer.Option(help="Of generated expressions: neurewriter, halide, fuzz.")
    ] = "neurewriter",
    prove_rules: Annotated[
        bool, typer.Option("--prove-rules", help="Prove the rules in FILE instead, or the published ones.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simplify an expression, compare methods on a file of them or on generated ones, check certificates, prove rules.

    Example: sysgym simplify "min(v0, v1) <= max(v1, v2)" --method greedy
    """
    if prove_rules:
        _prove_rules(given, certificate, as_json)
    elif generated:
        _compare_generated(generated, distribution, method or ["greedy", "beam"], time_limit, seed, as_json)
    elif check:
        _check_certificates(Path(given), as_json)
    elif Path(given).suffix in (".txt", ".jsonl"):
        _compare_methods(Path(given), field, method or ["greedy", "beam"], time_limit, seed, certificate, as_json)
    else:
        _simplify_one(given, method or ["beam"], time_limit, seed, bools or (), lenient, certificate, as_json)


def _simplify_one(
    text: str, methods: Sequence[str], time_limit: float | None, seed: int, bools: Sequence[str], lenient: bool,
    certificate: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from sysgym.core.files import atomic_write
    from sysgym.exprsimp import simplify as simplified

    found = {name: simplified(text, name, time_limit, seed=seed, bools=bools, lenient=lenient) for name in methods}
    rows = [
        {"method": name, "text": one.text, "length": one.length, "size": one.size, "seconds": one.seconds}
        for name, one in found.items()
    ]
    if certificate:
        with atomic_write(certificate) as handle:
            handle.writelines(json.dumps(one.certificate) + "\n" for one in found.values())
    if as_json:
        for row, one in zip(rows, found.values(), strict=True):
            _print_json(row | {"steps": list(one.steps)})
        return
    for name, one in found.items():
        out.print(f"{name}: {escape(one.text)}", highlight=False, soft_wrap=True)
        for step in one.steps:
            out.print(f"  {escape(step)}", highlight=False, soft_wrap=True)


def _compare_methods(
    path: Path, field: str, methods: Sequence[str], time_limit: float | None, seed: int,
    certificate: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from sysgym.exprsimp import read_expressions

    if certificate:
        raise SettingError("--certificate goes with one expression; leave it out with a file")
    texts = read_expressions(path, field)
    _compare(path.name, texts, methods, time_limit, seed, as_json)


def _compare_generated(
    count: int, distribution: str, methods: Sequence[str], time_limit: float | None, seed: int, as_json: bool
) -> None:
    from sysgym.exprsimp import to_text
    from sysgym.exprsimp.generator import generate

    texts = [to_text(made) for made in generate(count, distribution, seed, reducible=True)]
    _compare(f"{distribution}, seed {seed}", texts, methods, time_limit, seed, as_json)


def _compare(
    title: str, texts: Sequence[str], methods: Sequence[str], time_limit: float | None, seed: int, as_json: bool
) -> None:
    from sysgym.exprsimp.comparison import compare

    with _bar(f"simplifying {title}") as advance:
        rows = compare(texts, methods, time_limit, seed, advance)
    if as_json:
        for row in rows:
            _print_json(row)
        return
    table = [
        {"method": row["method"], "length": row["length_share"], "size": row["size_share"], "other": row["other_share"],
         "constants": f"{row['constants']} of {row['constant_inputs']}", "median ms": row["median_ms"],
         "mean ms": row["mean_ms"], "different": row["different"]}
        for row in rows
    ]  # fmt: skip
    _print_table(f"{title}: {len(texts)} expressions, shares of characters and nodes saved", table)


def _check_certificates(path: Path, as_json: bool) -> None:
    from sysgym.core.errors import InputFileError
    from sysgym.exprsimp.simplification import check as checked

    count = 0
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            record = json.loads(line)
            if not isinstance(record, dict):
                raise InputFileError(path, "not a certificate; expected a JSON object a line", line=number)
            checked(record)
            count += 1
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputFileError(path, f"not a file of certificates: {error}") from error
    if as_json:
        _print_json({"certificates": count})
    else:
        out.print(f"{count} certificates replayed, every step holds", highlight=False)


def _prove_rules(given: str, certificate: Path | None, as_json: bool) -> None:
    from sysgym.exprsimp.proofs import prove_all, write_certificates
    from sysgym.exprsimp.rules.table import PUBLISHED, read_rules

    path = Path(given) if given else PUBLISHED
    rules = read_rules(path)
    proofs = []
    with _bar(f"proving {path.name}") as advance:
        for count, proof in enumerate(prove_all(rules), 1):
            proofs.append(proof)
            advance(count / len(rules), proof.id)
    if certificate:
        write_certificates(proofs, certificate)
    failed = [(rule, proof) for rule, proof in zip(rules, proofs, strict=True) if proof.status != "proved"]
    if as_json:
        for rule, proof in zip(rules, proofs, strict=True):
            example = None if proof.counterexample is None else dict(proof.counterexample)
            _print_json({"id": rule.id, "rule": rule.text, "direction": rule.direction, "status": proof.status,
                         "counterexample": example, "milliseconds": proof.milliseconds})  # fmt: skip
    else:
        seconds = sum(proof.milliseconds for proof in proofs) / 1000
        proved = len(rules) - len(failed)
        out.print(f"{path.name}: {proved} of {len(rules)} rules proved in {seconds:.1f} s", highlight=False)
    if failed:
        rule, proof = failed[0]
        raise SettingError(f"{len(failed)} of {len(rules)} rules are not proved; the first is {rule.text}; {proof}")


def _classic() -> list[str]:
    from sysgym.jobsched.batch.replay import SCHEDULERS

    return list(SCHEDULERS)


def _run_study(study: Path, jobs: int, resume: bool, dry_run: bool, quiet: bool) -> list[Record]:
    """Run a study under a progress bar; failures and notices are told as they happen."""
    from sysgym.bench.runner import Progress as Change
    from sysgym.bench.runner import run_study

    with _bar(f"running {study.stem}") as advance:

        def tell(change: Change) -> None:
            title = change.run.label if change.run else ""
            advance((change.ended + change.share * (change.state == "training")) / max(1, change.total), title)
            if change.state == "planned" and not quiet:
                out.print(f"would run: {escape(title)}", highlight=False)
            elif change.state in ("failed", "notice"):
                log.print(escape(f"{title}: {change.text}" if title else change.text), highlight=False)

        return run_study(study, jobs, resume, dry_run, tell)


index_app = typer.Typer(help="Indexes over sorted keys: compare, build.", no_args_is_help=True)
app.add_typer(index_app, name="index")

Keys = Annotated[str, typer.Argument(help="A key set (uniform, osm, lognormal, normal, steps), a .npy or a SOSD file.")]


@index_app.command("bench")
def index_bench(
    keys: Keys = "uniform",
    size: Annotated[int, typer.Option(help="Keys of a generated key set.")] = 1_000_000,
    queries: Annotated[int, typer.Option(help="Queries of a batch.")] = 100_000,
    rounds: Annotated[int, typer.Option(help="Timed rounds of each batch.")] = 5,
    plot: Annotated[Path | None, typer.Option(help="SVG file: latency against size.")] = None,
    as_json: Json = False,
) -> None:
    """Compare all structures with numpy, bisect, sortedcontainers, BTrees, pygm, pandas and dict on one key set.

    Example: sysgym index bench osm --size 20000000 --queries 1000000 --plot osm.svg
    """
    import os

    from sysgym.bench import indexes
    from sysgym.core.files import atomic_write

    name, array = indexes.read_keys(keys, size)
    with _bar("measuring") as advance:
        rows, missing = indexes.compare(name, array, queries, rounds, lambda label: advance(0.0, label))
    if plot is not None:
        with atomic_write(plot) as file:
            file.write(indexes.plot(rows, f"{name}, {len(array):,} keys, batches of {queries:,}"))
    if as_json:
        for row in rows:
            _print_json(vars(row) | {"keys": len(array), "queries": queries, "rounds": rounds})
        return
    shown = [
        {"structure": row.name + (" *" if row.front else ""), "batch ns": row.batch_ns,
         "single ns": row.single_ns, "build ns": row.build_ns, "B/key": row.bytes_per_key, "x np": row.ratio}
        for row in rows
    ]  # fmt: skip
    _print_table(
        f"{name}: {len(array):,} keys, batches of {queries:,} present keys; * none is faster and smaller", shown
    )
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    out.print(
        f"medians of {rounds} rounds on {os.cpu_count()} cores{load}; all answers verified; below 15 % is a tie",
        highlight=False,
    )
    if missing:
        out.print(f"not installed: {', '.join(missing)}", highlight=False)


@index_app.command("build")
def index_build(
    keys: Keys,
    output: Annotated[Path, typer.Argument(help="File of the index.")],
    structure: Annotated[str, typer.Option(help="auto, or a name of `index bench`.")] = "auto",
    objective: Annotated[str, typer.Option(help="What auto looks at: latency, size or balanced.")] = "latency",
    size: Annotated[int, typer.Option(help="Keys of a generated key set.")] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Build an index over a file of sorted keys and save it; it opens as a memory map.

    Example: sysgym index build keys.npy keys.index --objective size
    """
    from sysgym.bench import indexes

    _, array = indexes.read_keys(keys, size)
    with _working("building"):
        index = indexes.build_index(array, structure, objective)
        index.save(output)
    row = {"output": str(output), "structure": type(index).__name__, "keys": len(index),
           "bytes_per_key": index.size_bytes / max(1, len(index)), "file_bytes": output.stat().st_size}  # fmt: skip
    if as_json:
        _print_json(row | {"trials": [vars(trial) for trial in index.trials]})
        return
    _print_table("Built", [row])
    if index.trials:
        _print_table(
            f"Measured, for {objective}",
            [{"structure": t.structure, "options": str(t.options or ""), "batch ns": t.nanoseconds,
              "build ns": t.build_nanoseconds, "bytes/key": t.size_bytes / max(1, len(index)),
              "chosen": "*" if t.chosen else ""} for t in index.trials],
        )  # fmt: skip


def _show_leaderboard(records: Sequence[Record], against: str | None = None) -> None:
    """The tables of `leaderboard` for a terminal."""
    from sysgym.bench import formats
    from sysgym.bench.leaderboard import leaderboard as tables_of

    for table in tables_of(records, against):
        rows = [
            {
                "policy": row.policy + (" *" if row.best_heuristic else ""),
                "mean [95 % CI]": formats.interval(row.mean),
                "ratio to *": formats.interval(row.ratio, 3),
                "verdict": row.verdict,
            }
            for row in table.rows
        ]
        better = "lower" if table.direction == "min" else "higher"
        scenarios = table.rows[0].scenarios if table.rows else 0
        title = f"{table.environment}: {table.objective}, {better} is better; {scenarios} scenarios of {table.split}"
        if rows:
            _print_table(f"{title}; * {against or 'best heuristic'}", rows)
        for policy, cause in table.failures:
            out.print(f"  failed: {escape(policy)}: {escape(cause)}", highlight=False)


def _show_written(path: Path, as_json: bool) -> None:
    if as_json:
        _print_json({"output": str(path), "bytes": path.stat().st_size})
    else:
        out.print(f"wrote {escape(str(path))} ({path.stat().st_size:,} bytes)", highlight=False)


def _bounded_slowdowns(row: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a replay that a terminal has room for."""
    slowdown = {name: row[f"{name}_bounded_slowdown"] for name in ("mean", "median", "p95", "p99")}
    return slowdown | {"mean wait": row["mean_wait"], "utilisation": row["utilisation"]}


def _columns(given: Sequence[str] | None) -> Any:
    """What `read_trace` takes: a mapping, a TOML file's path, or None."""
    if given and len(given) == 1 and "=" not in given[0]:
        return Path(given[0])
    columns = {}
    for word in given or ():
        name, equals, header = word.partition("=")
        if not equals or not name:
            raise SettingError(f"--columns {word}: write it as name=header")
        columns[name] = json.loads(header) if header.startswith("{") else header
    return columns or None


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, Any]:
    """`name=value` words as a mapping; a value is JSON where it reads as JSON, else text."""
    pairs = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise SettingError(f"{option} {word}: write it as name=value")
        try:
            pairs[name] = json.loads(value)
        except json.JSONDecodeError:
            pairs[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return pairs


@contextmanager
def _bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error, which is silent where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as progress:
        task = progress.add_task(what, total=1.0, note="")

        def advance(share: float, note: str) -> None:
            progress.update(task, completed=share, note=note)

        yield advance


@contextmanager
def _working(what: str) -> Iterator[None]:
    """A spinner on standard error while something without a measure of progress runs."""
    with log.status(what):
        yield


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def _print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table; numbers to the right."""
    out.print(escape(title), highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), header_style="bold")
    for name, value in rows[0].items():
        right = isinstance(value, int | float)
        table.add_column(
            name.replace("_", " "), justify="right" if right else "left", no_wrap=right or len(str(value)) < 30
        )
    for row in rows:
        table.add_row(*(escape(_figure(value)) for value in row.values()))
    out.print(table)


def _figure(value: Any) -> str:
    """A cell: numbers as `bench.formats` writes them."""
    from sysgym.bench.formats import number

    return "-" if value is None else number(value) if isinstance(value, float) else str(value)


@app.command()
def place(
    graph: Annotated[
        Path, typer.Argument(help="A computation graph: JSON of Tarnawski's or Piper's, PipeDream's text.")
    ],
    devices: Annotated[str | None, typer.Option(help="Cluster, such as 4xA100+cpu; the file's when left out.")] = None,
    objective: Annotated[str, typer.Option(help="max_load, latency or makespan.")] = "max_load",
    method: Annotated[str, typer.Option(help="auto, contiguous, integer, metis, annealing, m_etf, heft, ...")] = "auto",
    time_limit: Annotated[float, typer.Option(help="Seconds.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of the searches.")] = 0,
    time_unit: Annotated[
        str | None, typer.Option(help="Unit of the file's times, where it is not the format's.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the assignment as JSON.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write one execution: .svg, or Chrome's trace as .json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Place a computation graph on devices, and say how good the placement is.

    Example: sysgym place operator_bert_l3_inference.json.gz --method auto --time-limit 10
    """
    from sysgym.core.files import atomic_write
    from sysgym.placement import Cluster, read_graph, solve, write_timeline
    from sysgym.placement.kernel import Evaluator

    loaded = read_graph(graph, time_unit)
    cluster = Cluster.parse(devices) if devices is not None else loaded.cluster
    if cluster is None:
        raise SettingError(f"{graph.name} names no devices; give --devices, such as 4xA100")
    with _working(f"placing {graph.name}"):
        placement = solve(loaded, cluster, objective, method, time_limit, seed)
    row = _placement_row(loaded, cluster, objective, placement)
    if timeline is not None:
        write_timeline(Evaluator(loaded, cluster).trace(placement.assignment), timeline)
    if output is not None:
        with atomic_write(output) as handle:
            handle.write(json.dumps(row) + "\n")
    if as_json:
        _print_json(row)
        return
    out.print(
        f"{escape(graph.name)}: {len(loaded)} operations on {len(cluster)} devices; {objective} "
        f"{placement.objective:.6g} {loaded.time_unit}, at most {100 * placement.gap:.2f} % above the optimum "
        f"({placement.status}, method {placement.method}, {placement.seconds:.1f} s)",
        highlight=False,
    )
    _print_table(f"Loads in {loaded.time_unit}", row["devices"])
    for path in (output, timeline):
        if path is not None:
            _show_written(path, as_json)


def _placement_row(graph: Any, cluster: Any, objective: str, placement: Any) -> dict[str, Any]:
    """A placement for machines: the scores, the devices, and where each node goes."""
    scored, where = placement.evaluation, placement.assignment.tolist()
    return {
        "graph": graph.source, "objective_name": objective, "objective": placement.objective,
        "lower_bound": placement.lower_bound, "gap": placement.gap, "status": placement.status,
        "method": placement.method, "seconds": placement.seconds, "time_unit": graph.time_unit,
        "devices": [
            {"device": device.name, "operations": where.count(number), "load": float(scored.loads[number]),
             "memory_bytes": float(scored.memory_bytes[number])}
            for number, device in enumerate(cluster.devices)
        ],
        "node_ids": list(graph.node_ids), "assignment": where,
    }  # fmt: skip
