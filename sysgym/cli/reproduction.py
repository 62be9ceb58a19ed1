"""The command that puts published numbers beside ours: reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sysgym.cli.app import app
from sysgym.cli.show import log, out, print_json, print_table, show_written
from sysgym.cli.words import Json

if TYPE_CHECKING:
    from sysgym.bench.reproduction import Outcome

PUBLISHED = Path("experiments/published")


@app.command()
def reproduce(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Files of published numbers; all when left out.")
    ] = None,
    records: Annotated[Path, typer.Option(help="File of the measurements.")] = PUBLISHED / "records.jsonl",
    output: Annotated[Path | None, typer.Option(help="Write the tables there, as Markdown.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Rows that are measured at the same time.")] = 1,
    resume: Annotated[bool, typer.Option(help="Keep what was measured; --no-resume measures everything anew.")] = True,
    as_json: Json = False,
) -> None:
    """Measure published numbers again, and say which are reproduced; exit code 1 if a verdict is not the expected one.

    Example: sysgym reproduce experiments/published/sc15.toml
    """
    from sysgym.bench.reproduction import page, reproduce
    from sysgym.core.errors import SettingError
    from sysgym.core.files import atomic_write, require_writable

    chosen = files or sorted(PUBLISHED.glob("*.toml"))
    if not chosen:
        raise SettingError(f"there is no file of published numbers in {PUBLISHED}; name one")
    for written in (records, output):
        if written is not None:
            require_writable(written)

    def tell(done: int, total: int, outcome: Outcome) -> None:
        log.print(f"{done} of {total}: {outcome.row['what']}: {outcome.verdict} ({outcome.seconds:.0f} s)")

    outcomes = reproduce(chosen, records, jobs, resume, tell)
    if output is not None:
        with atomic_write(output) as handle:
            handle.write(page(chosen, outcomes))
    if as_json:
        print_json([{**outcome.row, "ours": outcome.ours, "verdict": outcome.verdict} for outcome in outcomes])
    else:
        rows = [
            {"what": outcome.row["what"], "theirs": outcome.row["value"], "ours": outcome.ours,
             "verdict": outcome.verdict}
            for outcome in outcomes
        ]  # fmt: skip
        print_table("Published numbers and ours", rows)
        if output is not None:
            show_written(output, as_json)
    surprising = [outcome for outcome in outcomes if not outcome.is_expected]
    for outcome in surprising:
        out.print(f"{outcome.file}: {outcome.row['what']}: {outcome.verdict}, expected {outcome.row['expect']}")
    if surprising:
        raise typer.Exit(1)
