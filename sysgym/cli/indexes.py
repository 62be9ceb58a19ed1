"""Commands about learned indexes: index bench, index build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysgym.cli.app import app
from sysgym.cli.show import bar, out, print_json, print_table, working
from sysgym.cli.words import Json

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
    with bar("measuring") as advance:
        rows, missing = indexes.compare(name, array, queries, rounds, lambda label: advance(0.0, label))
    if plot is not None:
        with atomic_write(plot) as file:
            file.write(indexes.plot(rows, f"{name}, {len(array):,} keys, batches of {queries:,}"))
    if as_json:
        for row in rows:
            print_json(vars(row) | {"keys": len(array), "queries": queries, "rounds": rounds})
        return
    shown = [
        {"structure": row.name + (" *" if row.front else ""), "batch ns": row.batch_ns,
         "single ns": row.single_ns, "build ns": row.build_ns, "B/key": row.bytes_per_key, "x np": row.ratio}
        for row in rows
    ]  # fmt: skip
    print_table(
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
    with working("building"):
        index = indexes.build_index(array, structure, objective)
        index.save(output)
    row = {"output": str(output), "structure": type(index).__name__, "keys": len(index),
           "bytes_per_key": index.size_bytes / max(1, len(index)), "file_bytes": output.stat().st_size}  # fmt: skip
    if as_json:
        print_json(row | {"trials": [vars(trial) for trial in index.trials]})
        return
    print_table("Built", [row])
    if index.trials:
        print_table(
            f"Measured, for {objective}",
            [{"structure": t.structure, "options": str(t.options or ""), "batch ns": t.nanoseconds,
              "build ns": t.build_nanoseconds, "bytes/key": t.size_bytes / max(1, len(index)),
              "chosen": "*" if t.chosen else ""} for t in index.trials],
        )  # fmt: skip
