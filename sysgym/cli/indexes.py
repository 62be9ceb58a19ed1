"""Commands about learned indexes: index bench, index build, index tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysgym.cli.app import app
from sysgym.cli.show import bar, out, print_json, print_table, working
from sysgym.cli.words import Json

index_app = typer.Typer(help="Indexes over sorted keys: compare, build, tune.", no_args_is_help=True)
app.add_typer(index_app, name="index")

Keys = Annotated[
    str,
    typer.Argument(
        help="A key set (uniform, osm, lognormal, normal, steps), .npy, .csv or .txt (a key a line), or a SOSD file."
    ),
]


@index_app.command("bench")
def index_bench(
    keys: Keys = "uniform",
    size: Annotated[int, typer.Option(help="Keys of a generated key set.")] = 1_000_000,
    queries: Annotated[int, typer.Option(help="Queries of a batch.")] = 100_000,
    rounds: Annotated[int, typer.Option(help="Timed rounds of each batch.")] = 5,
    plot: Annotated[Path | None, typer.Option(help="Draw latency against size, as .svg or .png.")] = None,
    records: Annotated[
        Path | None, typer.Option(help="Append the rows to this file, for `sysgym leaderboard`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare all structures with numpy, bisect, sortedcontainers, BTrees, pygm, pandas and dict on one key set.

    Example: sysgym index bench osm --size 20000000 --queries 1000000 --plot osm.svg
    """
    import os

    from sysgym.bench import index_records, indexes
    from sysgym.bench.drawing import require_picture

    if plot is not None:
        require_picture(plot)
    name, array = indexes.read_keys(keys, size)
    with bar("measuring") as advance:
        rows, left_out = indexes.compare(name, array, queries, rounds, lambda label: advance(0.0, label))
    if plot is not None:
        indexes.plot(rows, f"{name}, {len(array):,} keys, batches of {queries:,}").write(plot)
    if records is not None:
        index_records.append_rows(records, rows, array, queries)
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
        f"{name}: {len(array):,} keys, batches of {queries:,} present keys; * none is faster and smaller; ns a lookup, "
        "in a batch and alone, and ns a key to build; x np: batches, times as fast as numpy.searchsorted",
        shown,
    )
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    out.print(
        f"medians of {rounds} rounds on {os.cpu_count()} cores{load}; all answers verified; below 15 % is a tie",
        highlight=False,
    )
    if left_out:
        out.print(f"left out: {', '.join(left_out)}", highlight=False)


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


@index_app.command("tune")
def index_tune(
    keys: Keys,
    output: Annotated[Path | None, typer.Option(help="File of the chosen index.")] = None,
    evaluations: Annotated[int, typer.Option(help="Indexes that are built at most, of 399.")] = 40,
    objective: Annotated[str, typer.Option(help="balanced, latency, or size (small and nearly as fast).")] = "balanced",
    max_bytes_per_key: Annotated[float | None, typer.Option(help="No larger index than this, beside the keys.")] = None,
    tuner: Annotated[str, typer.Option(help="agent, or a heuristic: expected_gain, two_phase, random, ...")] = "agent",
    measured: Annotated[bool, typer.Option("--measured", help="Time each index, instead of the cost model.")] = False,
    size: Annotated[int, typer.Option(help="Keys of a generated key set.")] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Find the recursive model index that suits some keys, and say what was chosen and why.

    Example: sysgym index tune keys.npy --objective size --output keys.index
    """
    from sysgym.bench import indexes, tuning
    from sysgym.core.files import require_writable

    if output is not None:
        require_writable(output)
    name, array = indexes.read_keys(keys, size)
    with bar("evaluating") as advance:
        found = tuning.tune(
            array, evaluations=evaluations, objective=objective, max_bytes_per_key=max_bytes_per_key, tuner=tuner,
            measured=measured, tell=advance,
        )  # fmt: skip
    if output is not None:
        with working("building"):
            tuning.build(array, found).save(output)
    chosen = found.rows[found.chosen]
    if as_json:
        for place, row in enumerate(found.rows):
            print_json(vars(row) | {"chosen": place == found.chosen})
        print_json({"keys": len(array), "tuner": found.tuner, "objective": objective, "why": found.why,
                    "options": found.options, "plain_nanoseconds": found.plain_nanoseconds,
                    "promise": found.promise, "output": None if output is None else str(output)})  # fmt: skip
        return
    shown = [
        {"root, leaf": f"{row.root}, {row.leaf}", "leaves": row.leaves, "bytes/key": row.size_bytes / len(array),
         "ns": row.nanoseconds, "expected ns": row.estimate, "chosen": "*" if row is chosen else ""}
        for row in sorted(found.rows, key=lambda row: row.size_bytes) if row.front
    ]  # fmt: skip
    how = "measured" if measured else "by the cost model"
    title = f"{name}: {len(array):,} keys; the front of {len(found.rows)} evaluations by {found.tuner}, {how}"
    print_table(title, shown)
    out.print(
        f"chosen: {chosen.root} over {chosen.leaf}, {chosen.leaves:,} leaves, "
        f"{chosen.size_bytes / len(array):.3g} bytes a key, {chosen.nanoseconds:.1f} ns, "
        f"{found.plain_nanoseconds / chosen.nanoseconds:.1f} times as fast as plain search; {found.why}",
        highlight=False,
    )
    out.print(f"the evaluated dominate {found.promise:.0%} of what a sample promised for all 399", highlight=False)
