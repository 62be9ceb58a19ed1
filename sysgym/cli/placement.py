"""The command place: a computation graph, or a torch module, on devices."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sysgym.cli.app import app
from sysgym.cli.show import out, print_json, print_table, show_written, working
from sysgym.cli.words import Json
from sysgym.core.errors import SettingError

_MODELS = ("transformer", "mlp")
"""Names that stand for models of `placement.torch_models`, known here without importing torch."""
_DEFAULTS: dict[str, Any] = {"objective": "max_load", "method": "auto", "time_limit": 10.0, "seed": 0}


@app.command()
def place(
    model: Annotated[
        str,
        typer.Argument(help="A graph's file (Tarnawski's or Piper's JSON, PipeDream's text), transformer, mlp, or "
                            "package.module:function that returns (torch module, example inputs)."),
    ],
    devices: Annotated[str | None, typer.Option(help="Cluster, such as 4xA100+cpu; the file's when left out.")] = None,
    objective: Annotated[str, typer.Option(help="Graphs: max_load, latency or makespan.")] = "max_load",
    method: Annotated[str, typer.Option(help="Graphs: auto, contiguous, integer, metis, m_etf, policy, ...")] = "auto",
    time_limit: Annotated[float, typer.Option(help="Graphs: seconds.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Graphs: seed of the searches.")] = 0,
    time_unit: Annotated[
        str | None, typer.Option(help="Graphs: unit of the file's times, where it is not the format's.")
    ] = None,
    layers: Annotated[int, typer.Option(help="transformer, mlp: layers.")] = 12,
    width: Annotated[int, typer.Option(help="transformer, mlp: features.")] = 768,
    batch: Annotated[int, typer.Option(help="transformer, mlp: samples of a micro-batch.")] = 4,
    length: Annotated[int, typer.Option(help="transformer, mlp: tokens of a sample.")] = 256,
    vocabulary: Annotated[int, typer.Option(help="transformer: tokens there are.")] = 50_257,
    micro_batches: Annotated[int, typer.Option(help="Modules and --schedules: micro-batches of a batch.")] = 8,
    inference: Annotated[bool, typer.Option("--inference", help="Modules and --schedules: no backward pass.")] = False,
    schedules: Annotated[bool, typer.Option("--schedules", help="Compare the pipeline schedules.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the assignment, or the plan, as JSON.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write one execution, or step: .svg, or Chrome's trace as .json.")
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Place a computation graph or a torch module on devices, and say how good the plan is.

    Examples: sysgym place operator_bert_l3_inference.json.gz --time-limit 10;
    sysgym place transformer --layers 24 --devices 4xA100; sysgym place mypackage.models:build --devices 2xT4
    """
    if model in _MODELS or (":" in model and not Path(model).exists()):
        _refuse_for_modules(objective=objective, method=method, time_limit=time_limit, seed=seed)
        sizes = {"layers": layers, "width": width, "batch": batch, "length": length, "vocabulary": vocabulary}
        _place_module(model, devices, sizes, micro_batches, inference, schedules, output, timeline, as_json)
    elif schedules:
        _compare_on_graph(model, devices, time_unit, micro_batches, inference, as_json)
    elif inference:
        raise SettingError(
            "--inference is for modules and --schedules; a graph's operations are placed as they are listed"
        )
    else:
        _place_graph(model, devices, objective, method, time_limit, seed, time_unit, output, timeline, as_json)


def _refuse_for_modules(**given: Any) -> None:
    for name, value in given.items():
        if value != _DEFAULTS[name]:
            raise SettingError(
                f"--{name.replace('_', '-')} is for graphs; a torch module is planned by its own programme"
            )


def _cluster_of(graph: Any, devices: str | None, name: str) -> Any:
    from sysgym.placement import Cluster

    cluster = Cluster.parse(devices) if devices is not None else graph.cluster
    if cluster is None:
        raise SettingError(f"{name} names no devices; give --devices, such as 4xA100")
    return cluster


def _place_graph(
    path: str, devices: str | None, objective: str, method: str, time_limit: float, seed: int, time_unit: str | None,
    output: Path | None, timeline: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from sysgym.core.files import atomic_write
    from sysgym.placement import read_graph, solve, write_timeline
    from sysgym.placement.kernel import Evaluator

    loaded, name = read_graph(path, time_unit), Path(path).name
    cluster = _cluster_of(loaded, devices, name)
    policy = None
    if method == "policy":
        from sysgym.agents import load

        policy = load("placement")
    with working(f"placing {name}"):
        placement = solve(loaded, cluster, objective, method, time_limit, seed, policy=policy)
    row = _placement_row(loaded, cluster, objective, placement)
    if timeline is not None:
        write_timeline(Evaluator(loaded, cluster).trace(placement.assignment), timeline)
    if output is not None:
        with atomic_write(output) as handle:
            handle.write(json.dumps(row) + "\n")
    if as_json:
        print_json(row)
        return
    out.print(
        f"{escape(name)}: {len(loaded)} operations on {len(cluster)} devices; {objective} "
        f"{placement.objective:.6g} {loaded.time_unit}, at most {100 * placement.gap:.2f} % above the optimum "
        f"({placement.status}, method {placement.method}, {placement.seconds:.1f} s)",
        highlight=False,
    )
    print_table(f"Loads in {loaded.time_unit}", row["devices"])
    for written in (output, timeline):
        if written is not None:
            show_written(written, as_json)


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


def _compare_on_graph(
    path: str, devices: str | None, time_unit: str | None, micro_batches: int, inference: bool, as_json: bool
) -> None:
    from sysgym.placement import plan_parallel, read_graph
    from sysgym.placement.layers import Training, layers_of_graph
    from sysgym.placement.schedules import compare_schedules

    loaded, name = read_graph(path, time_unit), Path(path).name
    cluster, training = _cluster_of(loaded, devices, name), Training(micro_batches, backward=not inference)
    layers = layers_of_graph(loaded, cluster, training=not inference)
    with working(f"planning {name}"):
        plan = plan_parallel(layers, cluster, training, forms=("pipeline",))
    rows = compare_schedules(layers, plan.stages, cluster, training)
    if as_json:
        print_json({"model": name, "micro_batches": micro_batches, "schedules": _schedule_rows(rows)})
        return
    out.print(f"{escape(name)}: {len(plan.stages)} stages, {micro_batches} micro-batches", highlight=False)
    _show_schedules(rows)


def _place_module(
    name: str, devices: str | None, sizes: dict[str, int], micro_batches: int, inference: bool, schedules: bool,
    output: Path | None, timeline: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from sysgym.placement import Cluster, plan
    from sysgym.placement.schedules import compare_schedules
    from sysgym.placement.torch_import import load_factory
    from sysgym.placement.torch_models import MODELS

    if devices is None:
        raise SettingError(f"{name} names no devices; give --devices, such as 4xA100")
    cluster = Cluster.parse(devices)
    if name in MODELS:
        module, inputs = MODELS[name](**sizes)
    else:
        module, inputs = load_factory(name)
    with working(f"planning {name}"):
        found = plan(module, inputs, cluster, micro_batches=micro_batches, training=not inference)
    rows = compare_schedules(found.layers, found.pipeline.stages, cluster, found.training) if schedules else []
    if output is not None:
        found.write(output)
    if timeline is not None:
        found.write_timeline(timeline)
    if as_json:
        print_json(found.to_dict() | ({"schedules": _schedule_rows(rows)} if schedules else {}))
        return
    _show_plan(name, found)
    if schedules:
        _show_schedules(rows)
    for written in (output, timeline):
        if written is not None:
            show_written(written, as_json)


def _show_plan(name: str, found: Any) -> None:
    parameters, gain = sum(found.model.parameter_bytes.values()), 100 * (found.speedup - 1)
    out.print(
        f"{escape(name)}: {len(found.model.operations):,} operations, {found.model.flops / 1e9:,.2f} GFLOP forward, "
        f"{parameters / 1e6:,.1f} MB of parameters\n"
        f"pipeline of {len(found.pipeline.stages)}: {1e3 * found.seconds:.4g} ms a step of "
        f"{found.training.micro_batches} micro-batches; equally many blocks a device: "
        f"{1e3 * found.equal_split_seconds:.4g} ms{'' if found.equal_split_fits else ', which does not fit'} "
        f"({gain:+.1f} %)",
        highlight=False,
    )
    begins = ["the input", *found.split_points]
    print_table("Stages of one device each", [
        {"device": found.cluster.devices[stage.devices[0]].name, "begins with": begin,
         "layers": stage.end - stage.begin, "recomputed": sum(stage.recomputed), "forward ms": 1e3 * stage.forward,
         "backward ms": 1e3 * (stage.seconds - stage.forward), "GB": stage.memory_bytes / 1e9}
        for stage, begin in zip(found.pipeline.stages, begins, strict=True)
    ])  # fmt: skip
    pure = ", ".join(f"{form} {'does not fit' if seconds == float('inf') else f'{1e3 * seconds:.4g} ms'}"
                     for form, seconds in found.parallelism.pure.items())  # fmt: skip
    print_table(
        f"All forms of parallelism together: {1e3 * found.parallelism.seconds:.4g} ms a step; alone: {pure}",
        [
            {"devices": ", ".join(found.cluster.devices[each].name for each in stage.devices),
             "layers": stage.end - stage.begin, "strategies": _counted(stage.strategies),
             "recomputed": sum(stage.recomputed), "ms": 1e3 * stage.seconds, "GB": stage.memory_bytes / 1e9}
            for stage in found.parallelism.stages
        ],
    )  # fmt: skip
    out.print(
        "strategies: DP and eB split samples, COL and ROW output and input features of weights, eF features; REP and "
        "eR split nothing",
        highlight=False,
    )
    out.print(f"split points: {escape(', '.join(found.split_points) or 'none')}", highlight=False)
    for operator, share in found.unpriced.items():
        out.print(f"without a FLOP formula, costed by bytes: {escape(operator)}, {100 * share:.1f} % of the time")
    for note in found.notes:
        out.print(f"note: {escape(note)}", highlight=False)


def _counted(strategies: tuple[str, ...]) -> str:
    return " ".join(f"{strategies.count(name)}x{name}" for name in dict.fromkeys(strategies))


def _schedule_rows(rows: list[Any]) -> list[dict[str, Any]]:
    """Schedules for machines; null where one was left out."""
    return [
        {key: None if isinstance(value, float) and value == float("inf") else value for key, value in row.items()}
        for row in (asdict(each) for each in rows)
    ]


def _show_schedules(rows: list[Any]) -> None:
    print_table("Schedules on these stages, without recomputation", [
        {"schedule": row.schedule, "step ms": 1e3 * row.seconds, "bubble": row.bubble, "GB": row.memory_bytes / 1e9,
         "in flight": row.in_flight, "versions": row.weight_versions, "fits": "yes" if row.fits else "no"}
        for row in rows if row.seconds < float("inf")
    ])  # fmt: skip
    for row in rows:
        if row.note:
            out.print(f"{row.schedule}: {escape(row.note)}", highlight=False)
