"""Commands about environments, policies and studies: envs, train, evaluate, run."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding

from sysgym.agents.algorithms import ALGORITHMS, SEARCHES
from sysgym.cli.app import app
from sysgym.cli.leaderboards import show_leaderboard
from sysgym.cli.show import bar, log, out, print_json, print_table
from sysgym.cli.training import live_line, show_trained, watchers
from sysgym.cli.words import Arguments, Environment, Json, Secret, Settings, pairs, secret_of
from sysgym.core.errors import SettingError, TrainingError

if TYPE_CHECKING:
    from sysgym.agents import Progress
    from sysgym.bench.records import Record

MANY_WEIGHTS = 8
"""Trained policies of a study above which a terminal names the folder instead."""


@app.command()
def envs(as_json: Json = False) -> None:
    """List the environments, their heuristics and objectives.

    Example: sysgym envs
    """
    from sysgym.bench.environments import class_of
    from sysgym.envs.registration import ENVIRONMENTS

    rows: list[dict[str, Any]] = []
    for row in ENVIRONMENTS:
        made = class_of(row.env_id)
        summary = (made.__doc__ or "").strip().splitlines()[0]
        rows.append(
            {"id": row.env_id, "problem": summary, "objective": f"{made.objective} ({made.direction})",
             "heuristics": list(made.heuristics)}
        )  # fmt: skip
    if as_json:
        print_json(rows)
        return
    for listed in rows:
        told = f"{listed['problem']}\n{' '.join(listed['heuristics'])}"
        out.print(f"[bold]{listed['id']}[/bold]  {listed['objective']}", highlight=False)
        out.print(Padding(escape(told), (0, 0, 1, 2)), highlight=False)


@app.command()
def train(
    env: Environment,
    algorithm: Annotated[str, typer.Option(help=f"Algorithm: {', '.join([*ALGORITHMS, *SEARCHES])}.")] = "ppo",
    output: Annotated[Path, typer.Option(help="File of the checkpoint.")] = Path("policy.safetensors"),
    frames: Annotated[
        int | None, typer.Option(help="Budget in environment steps; the slot that reaches it is finished.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Budget in seconds.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, actions and environments.")] = 0,
    num_envs: Annotated[int | None, typer.Option(help="Environments that are stepped together.")] = None,
    arg: Arguments = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    mode: Annotated[
        str | None, typer.Option(help="sync, lockstep (plays while it learns, repeats) or async (does not repeat).")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads that learn; the weights do not depend on it. Playing takes one more.")
    ] = None,
    learner: Annotated[
        str | None, typer.Option(help="auto, native (compiled, for perceptrons on the processor) or torch.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    backend: Annotated[
        str | None, typer.Option(help="threads, processes (workers step the environments) or ray.")
    ] = None,
    actors: Annotated[int | None, typer.Option(help="Actors that share the environments.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes of --backend processes.")] = None,
    min_batch: Annotated[
        int | None, typer.Option(help="Fewest environments that are answered at once; all when left out.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option(help="Write event files into a folder beside the checkpoint: policy.tensorboard.")
    ] = True,
    mlflow: Annotated[
        str | None, typer.Option(help="Also track the run in MLflow, at this address: sqlite:///runs.db, or a server.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Write a timeline for chrome://tracing to this file.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; this machine when left out.")] = None,
    watchdog: Annotated[
        float | None, typer.Option(help="Seconds after which a silent worker process is replaced.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a policy and save it; Ctrl-C or SIGTERM leaves a run that --resume goes on with.

    Example: sysgym train --env sysgym/JobSched-v0 --arg observation=compact --seconds 60
    """
    from sysgym import agents
    from sysgym.bench.environments import class_of
    from sysgym.bench.guard import foreign_faults

    chosen = pairs(settings, "--set")
    for name in chosen.keys() & inspect.signature(agents.train).parameters.keys():
        raise SettingError(f"--set {name}: this is no setting of the algorithm; use the option of that name")
    facts = {"env": env, "algorithm": algorithm, "seed": seed, **pairs(arg, "--arg"), **chosen}
    last: list[Progress] = []
    with bar(f"training {algorithm}") as advance, watchers(output, tensorboard, mlflow, trace, facts) as watching:

        def watch(progress: Progress) -> None:
            last[:] = [progress]
            advance(progress.share, live_line(progress))
            for watcher in watching:
                watcher(progress)

        with foreign_faults(TrainingError, env, lambda: class_of(env), exits=False):
            policy = agents.train(
                env, algorithm, seed=seed, num_envs=num_envs, frames=frames, seconds=seconds,
                environment=pairs(arg, "--arg"), output=output, resume=resume, mode=mode, threads=threads,
                learner=learner, device=device, backend=backend, actors=actors, workers=workers, min_batch=min_batch,
                address=address, watchdog=watchdog, on_progress=watch, **chosen,
            )  # fmt: skip
    show_trained(policy, output, last[-1] if last else None, as_json=as_json)


@app.command()
def evaluate(
    policy: Annotated[
        str, typer.Argument(help="A heuristic, a checkpoint, file.py[:Class] or a stable-baselines3 zip.")
    ],
    env: Environment,
    split: Annotated[str, typer.Option(help="train, valid, test or sealed.")] = "test",
    scenarios: Annotated[int, typer.Option(help="Scenarios to play; on a log, its disjoint windows.")] = 20,
    seed: Annotated[int, typer.Option(help="First scenario.")] = 0,
    arg: Arguments = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Let a policy's code play in this process, without limits.")
    ] = False,
    secret: Secret = None,
    as_json: Json = False,
) -> None:
    """Play a policy on scenarios that it was not trained on.

    Example: sysgym evaluate sjf --env sysgym/JobSched-v0 --scenarios 100
    """
    from sysgym.bench.evaluator import DEFAULT_LIMITS
    from sysgym.bench.evaluator import evaluate as evaluate_policy
    from sysgym.bench.statistics import bootstrap, mean

    with bar("evaluating") as advance:
        result = evaluate_policy(
            policy,
            env,
            pairs(arg, "--arg"),
            split,
            scenarios,
            seed0=seed,
            secret=secret_of(secret),
            limits=None if trusted else DEFAULT_LIMITS,
            progress=lambda done: advance(done / scenarios, f"{done} of {scenarios}"),
        )
    interval = bootstrap(result.values, mean)
    invalid = sum(scenario.invalid_actions for scenario in result.scenarios)
    faults = [scenario.fault for scenario in result.scenarios if scenario.fault]
    if faults:
        log.print(f"{len(faults)} of {scenarios} scenarios were played on by doing nothing: {escape(faults[0])}")
    row = {
        "policy": result.policy.name,
        result.objective: interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "scenarios": scenarios,
        "invalid_actions": invalid,
        "faults": len(faults),
    }
    if as_json:
        facts = {"env": env, "split": split, "objective": result.objective, "direction": result.direction}
        print_json({**row, **facts, "values": result.values})
    else:
        better = "lower" if result.direction == "min" else "higher"
        print_table(f"{env}, split {split}; 95 % bootstrap interval over scenarios, {better} is better", [row])


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study, a TOML file.")],
    jobs: Annotated[int, typer.Option(help="Runs at the same time, each in a process.")] = 1,
    resume: Annotated[bool, typer.Option(help="Keep what has been run; --no-resume runs everything anew.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the study and say what would run.")] = False,
    backend: Annotated[str, typer.Option(help="processes, or ray: a task a run, a CPU each.")] = "processes",
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; this machine when left out.")] = None,
    secret: Secret = None,
    as_json: Json = False,
) -> None:
    """Run what is missing of a study, and show its leaderboard.

    Example: sysgym run experiments/kth.toml --jobs 2
    """
    records = run_study_with_bar(
        study, jobs, resume, dry_run, quiet=as_json, backend=backend, address=address, secret=secret_of(secret)
    )
    if dry_run:
        return
    if as_json:
        for record in records:
            print_json(json.loads(record.line()))
    else:
        show_leaderboard(records)
        show_weights(study)
    if any(record.failed for record in records):
        raise typer.Exit(1)


def show_weights(study: Path) -> None:
    """Where the trained policies of a study lie, under which names."""
    from sysgym.bench.study import expand, read_study

    trained = {run.weights: run.label for run in reversed(expand(read_study(study))) if run.training_seed is not None}
    found = [(path, label) for path, label in reversed(trained.items()) if path.is_file()]
    for path, label in found[:MANY_WEIGHTS]:
        out.print(f"trained {escape(label)}: {escape(str(path))}", highlight=False, soft_wrap=True)
    if len(found) > MANY_WEIGHTS:
        folder = found[0][0].parent
        out.print(f"and {len(found) - MANY_WEIGHTS} more in {escape(str(folder))}", highlight=False, soft_wrap=True)


def run_study_with_bar(
    study: Path,
    jobs: int,
    resume: bool,
    dry_run: bool,
    quiet: bool,
    backend: str = "processes",
    address: str | None = None,
    secret: bytes = b"",
) -> list[Record]:
    """Run a study under a progress bar; failures and notices are told as they happen."""
    from sysgym.bench.runner import Progress as Change
    from sysgym.bench.runner import run_study

    with bar(f"running {study.stem}") as advance:

        def tell(change: Change) -> None:
            title = change.run.label if change.run else ""
            advance((change.ended + change.share * (change.state == "training")) / max(1, change.total), title)
            if change.state == "planned" and not quiet:
                out.print(f"would run: {escape(title)}", highlight=False)
            elif change.state in ("failed", "notice"):
                log.print(escape(f"{title}: {change.text}" if title else change.text), highlight=False)

        return run_study(study, jobs, resume, dry_run, tell, backend, address, secret)
