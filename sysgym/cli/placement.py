"""The command place: a computation graph on devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sysgym.cli.app import app
from sysgym.cli.show import out, print_json, print_table, show_written, working
from sysgym.cli.words import Json
from sysgym.core.errors import SettingError


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
    with working(f"placing {graph.name}"):
        placement = solve(loaded, cluster, objective, method, time_limit, seed)
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
        f"{escape(graph.name)}: {len(loaded)} operations on {len(cluster)} devices; {objective} "
        f"{placement.objective:.6g} {loaded.time_unit}, at most {100 * placement.gap:.2f} % above the optimum "
        f"({placement.status}, method {placement.method}, {placement.seconds:.1f} s)",
        highlight=False,
    )
    print_table(f"Loads in {loaded.time_unit}", row["devices"])
    for path in (output, timeline):
        if path is not None:
            show_written(path, as_json)


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
