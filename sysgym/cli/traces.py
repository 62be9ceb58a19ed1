"""Commands about the logs themselves: what is wrong with one, what is in it, and a schema from a good one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sysgym.cli.app import app
from sysgym.cli.show import bar, out, print_json, print_table, show_written, working
from sysgym.cli.words import Clean, Columns, Format, Json, Load, Processors, Zone, pairs, trace_columns

trace = typer.Typer(help="Logs: validate, describe, generate, fetch.", no_args_is_help=True)
app.add_typer(trace, name="trace")

Log = Annotated[Path, typer.Argument(help="The log, in any format that sysgym reads; .gz too.")]


@trace.command()
def validate(
    log: Log,
    form: Format = "auto",
    schema: Annotated[
        Path | None, typer.Option(help="TOML file with a schema; the format's own when left out.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Baseline: a log, or its `trace stats --json`.")] = None,
    columns: Columns = None,
    time_zone: Zone = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a log, before anything is repaired.

    Exit code: 0 without errors, 1 with at least one (a row that cannot be read, a schema broken, a drift), 2 where
    nothing could be compared. Warnings and notes don't count, but for --strict.

    Example: sysgym trace validate KTH-SP2.swf.gz --against last-year.swf.gz
    """
    from sysgym.workloads import validate as validated

    with working("validating"):
        report = validated(
            log, form, schema=schema, against=against, columns=trace_columns(columns), time_zone=time_zone
        )
    if as_json:
        print_json(report.to_data())
    else:
        fields = f", {report.fields} fields a row" if report.fields else ""
        out.print(f"{escape(log.name)}: {report.format}, {report.rows:,} rows{fields}", highlight=False)
        if report.anomalies:
            for alike in _by_finding(report.anomalies):
                _show(alike)
        else:
            out.print("no anomaly")
        for rule, kept in report.cleaning.items():
            out.print(f"clean={rule} keeps {kept.jobs:,} jobs", highlight=False)
    wrong = [a for a in report.anomalies if a.severity == "error" or (strict and a.severity == "warning")]
    if wrong:
        raise typer.Exit(1)


_COLOURS = {"error": "bold red", "warning": "yellow", "info": "dim"}


def _by_finding(anomalies: Sequence[Any]) -> list[list[Any]]:
    """Anomalies that differ in nothing but the column, together."""
    groups: dict[Any, list[Any]] = {}
    for anomaly in anomalies:
        groups.setdefault(replace(anomaly, column=None), []).append(anomaly)
    return list(groups.values())


def _show(alike: Sequence[Any]) -> None:
    """One finding: what, where and how often, then the first lines and an example."""
    anomaly, columns = alike[0], ", ".join(one.column for one in alike if one.column)
    where = f" in {columns}" if columns else ""
    share = f"{anomaly.fraction:.2%}" if anomaly.rule != "drift" else f"{anomaly.fraction:.3f}"
    colour = _COLOURS[anomaly.severity]
    what = escape(f"{anomaly.rule}{where}")
    out.print(f"[{colour}]{anomaly.severity:7}[/] {anomaly.count:>9,}  [bold]{what}[/] ({share})", highlight=False,
              soft_wrap=True)  # fmt: skip
    lines = f"lines {', '.join(map(str, anomaly.first_lines))}" if anomaly.first_lines else ""
    details = [part for part in (anomaly.message, anomaly.example, lines) if part]
    out.print(f"{'':18}  {escape('; '.join(dict.fromkeys(details)))}", highlight=False, soft_wrap=True)


@trace.command()
def stats(
    log: Log,
    output: Annotated[Path | None, typer.Option(help="Write a page with charts to this HTML file.")] = None,
    form: Format = "auto",
    clean: Clean = "default",
    processors: Processors = None,
    columns: Columns = None,
    time_zone: Zone = None,
    as_json: Json = False,
) -> None:
    """Describe a log: its columns, arrivals by hour, sizes, run times and the accuracy of estimates.

    What --json prints serves `trace validate --against`.

    Example: sysgym trace stats KTH-SP2.swf.gz --output kth.html
    """
    from sysgym.bench.log_page import log_page
    from sysgym.core.files import atomic_write
    from sysgym.workloads import read_trace
    from sysgym.workloads import validate as validated
    from sysgym.workloads.log_summary import summary_of
    from sysgym.workloads.trace_file import open_trace

    mapping = trace_columns(columns)
    with working("reading"):
        file = open_trace(log)
        report = validated(file, form, columns=mapping, time_zone=time_zone)
        workload = read_trace(
            file, form, clean=clean, processors=processors or _any_size(report), columns=mapping, time_zone=time_zone
        )
        summary = summary_of(workload)
    if output is not None:
        repairs = [f"{repair.rule}: {repair.count:,} jobs" for repair in workload.repairs]
        with atomic_write(output) as handle:
            handle.write(log_page(log.name, summary, [f"format {report.format}, clean={clean}", *repairs]))
    if as_json:
        print_json(report.statistics.to_data() | {"summary": summary})
        return
    print_table(f"{log.name}: {report.format}, {report.rows:,} rows", list(_columns(report)))
    quantiles = [{"of": name, **row} for name, row in summary["quantiles"].items() if row]
    print_table(f"{summary['jobs']:,} jobs, clean={clean}", quantiles)
    _draw(f"arrivals by hour ({summary['clock']})", summary["arrivals_by_hour"])
    if output is not None:
        show_written(output, as_json=False)


def _any_size(report: Any) -> int | None:
    """The largest machine, where the log's format would ask for a size that only a replay needs."""
    from sysgym.workloads.formats.swf import machine_of
    from sysgym.workloads.reading import FORMATS
    from sysgym.workloads.workload import LARGEST_MACHINE

    unknown = FORMATS[report.format].needs_machine and machine_of(report.header) is None
    return LARGEST_MACHINE if unknown else None


def _columns(report: Any) -> Iterator[dict[str, Any]]:
    for name, column in report.statistics.columns.items():
        has_numbers = bool(column.quantiles)
        yield {
            "column": name,
            "missing": f"{column.missing:,}",
            "distinct": f"{column.distinct:,}",
            "min": column.minimum,
            "median": column.quantiles[3] if has_numbers else None,
            "max": column.maximum,
        }


def _draw(title: str, counts: list[int]) -> None:
    """A row of blocks, one an hour."""
    blocks = " ▁▂▃▄▅▆▇█"
    top = max(counts) or 1
    out.print(f"{title}: {''.join(blocks[round(8 * count / top)] for count in counts)}", highlight=False)


@trace.command()
def infer(
    log: Log,
    output: Annotated[Path, typer.Option(help="The TOML file to write.")],
    form: Format = "auto",
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Write the schema that a good log suggests, to be edited by hand and given to `trace validate --schema`.

    Example: sysgym trace infer good.swf.gz --output cluster.toml
    """
    from sysgym.workloads import infer_schema, write_schema

    with working("reading"):
        schema = infer_schema(log, form, columns=trace_columns(columns))
    write_schema(schema, output)
    show_written(output, as_json)


@trace.command()
def generate(
    model: Annotated[str, typer.Argument(help="lublin, lublin_typed, feitelson, downey or poisson_pareto.")],
    output: Annotated[Path, typer.Option(help="The SWF file to write; packed where it ends in .gz.")],
    jobs: Annotated[int, typer.Option(help="How many jobs.")] = 10_000,
    processors: Annotated[int, typer.Option(help="Size of the machine.")] = 128,
    load: Load = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    estimates: Annotated[str | None, typer.Option(help="tsafrir: estimates as users write them.")] = None,
    longest: Annotated[float | None, typer.Option(help="Longest estimate, seconds.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of the model, name=value; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a log by a model of workloads.

    Example: sysgym trace generate lublin --processors 256 --load 0.8 --estimates tsafrir --output log.swf.gz
    """
    from sysgym.workloads import write_swf
    from sysgym.workloads.models import generate as generated

    with working("generating"):
        settings = pairs(given, "--set") | ({} if load is None else {"load": load})
        workload = generated(model, jobs, processors, seed, estimates=estimates, longest=longest, **settings)
        write_swf(workload, output)
    show_written(output, as_json)


@trace.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="A log of the list; all of them are shown when left out.")] = None,
    folder: Annotated[Path, typer.Option(help="Where to put it.")] = Path(),
    manifest: Annotated[Path | None, typer.Option(help="A list of your own; see docs/logs.md.")] = None,
    as_json: Json = False,
) -> None:
    """Download a public log: resumed if it broke off, checked against its checksum.

    Example: sysgym trace fetch KTH-SP2-1996 --folder logs
    """
    from sysgym.workloads.catalogue import listing_of, read_manifest
    from sysgym.workloads.fetching import fetch as fetched

    if name is None:
        listings = read_manifest(manifest)
        if as_json:
            print_json([vars(listing) for listing in listings])
        else:
            for one in listings:
                state = "checksum known" if one.sha256 else "unverified"
                state = state if one.address else "here, or by hand"
                out.print(f"{one.name:36} {state}", highlight=False)
        return
    listing = listing_of(name, manifest)
    with bar(f"fetching {listing.file}") as advance:
        done = fetched(listing, folder, on_progress=lambda here, whole: advance(here / (whole or here), f"{here:,} B"))
    if as_json:
        row = vars(done) | {"path": str(done.path), "licence": listing.licence, "citation": listing.citation}
        print_json(row)
        return
    state = "checksum is right" if done.verified else f"unverified, no checksum is listed; this file has {done.sha256}"
    out.print(f"{escape(str(done.path))}: {done.size:,} bytes, {state}", highlight=False, soft_wrap=True)
    out.print(f"licence: {escape(listing.licence)}; cite: {escape(listing.citation)}", highlight=False, soft_wrap=True)
