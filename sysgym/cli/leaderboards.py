"""Commands about records: leaderboard, report; and the tables that they show."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sysgym.cli.app import app
from sysgym.cli.show import bar, out, print_json, print_table, show_written
from sysgym.cli.words import Json

if TYPE_CHECKING:
    from sysgym.bench.boards import Board, BoardRow
    from sysgym.bench.leaderboard import Row, Table
    from sysgym.bench.records import Record
    from sysgym.bench.verification import Verdict

MANY_TABLES = 4
"""Environments of a problem above which a terminal shows their board alone."""


@app.command()
def leaderboard(
    places: Annotated[list[Path], typer.Argument(help="Studies, folders of results, or files of records.")],
    against: Annotated[str | None, typer.Option(help="Heuristic to compare with; the best when left out.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write one self-contained page here instead, a section a domain.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Play every record's actions again; exit code 1 if one differs. --html marks them."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show who is best, by how much, and how sure that is.

    Example: sysgym leaderboard experiments/ --html leaderboard.html
    """
    from sysgym.bench.boards import boards, to_data
    from sysgym.bench.markdown import boards_to_markdown
    from sysgym.bench.records import find_records
    from sysgym.bench.report import write_report

    records = find_records(*places)
    verdicts = play_again(places) if verify else []
    if html is not None:
        write_report(records, html, against, verdicts)
        show_written(html, as_json)
    if verify:
        show_verdicts(verdicts, as_json)
    elif html is not None:
        return
    elif as_json:
        print_json(to_data(boards(records, against)))
    elif markdown:
        sys.stdout.write(boards_to_markdown(boards(records, against)))
    else:
        show_leaderboard(records, against)


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
    show_written(output, as_json)


def play_again(places: Sequence[Path]) -> list[Verdict]:
    """Play the last record of each run again."""
    from sysgym.bench.records import find_records_with_folders
    from sysgym.bench.verification import verify

    last = {record.run: (folder, record) for folder, record in find_records_with_folders(*places)}
    verdicts = []
    with bar("verifying") as advance:
        for number, verdict in enumerate(verify(last.values()), start=1):
            verdicts.append(verdict)
            advance(number / len(last), verdict.record.policy.name)
    return verdicts


def show_verdicts(verdicts: Sequence[Verdict], as_json: bool) -> None:
    """Say what came of playing records again; exit code 1 where one differs."""
    rows = [
        {"policy": verdict.record.policy.name, "environment": verdict.record.environment.name,
         "run": verdict.record.run,
         "outcome": "not played" if verdict.skipped else "verified" if verdict.verified else "differs",
         "cause": verdict.fault or verdict.skipped}
        for verdict in verdicts
    ]  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        _summarise(verdicts)
    if any(row["outcome"] == "differs" for row in rows):
        raise typer.Exit(1)


def _summarise(verdicts: Sequence[Verdict]) -> None:
    """Records by study; then what differs one by one, and what was not played by its cause."""
    studies: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        studies.setdefault(verdict.record.study, []).append(verdict)
    rows = [
        {
            "study": study,
            "records": len(found),
            "verified": sum(verdict.verified for verdict in found),
            "differ": sum(bool(verdict.fault) for verdict in found),
            "not played": sum(bool(verdict.skipped) for verdict in found),
        }
        for study, found in studies.items()
    ]
    print_table("Records played again", rows)
    for verdict in verdicts:
        if verdict.fault:
            facts = verdict.record
            where = f"{facts.study}: {facts.policy.name} on {facts.environment.name}, run {facts.run}"
            out.print(f"differs: {escape(where)}: {escape(verdict.fault)}", highlight=False)
    for cause, count in Counter(verdict.skipped for verdict in verdicts if verdict.skipped).items():
        out.print(f"not played: {count}: {escape(cause)}", highlight=False)


def show_leaderboard(records: Sequence[Record], against: str | None = None) -> None:
    """The boards and tables of `bench.boards` for a terminal."""
    from sysgym.bench.boards import boards

    for board in boards(records, against):
        if board.rows and len(board.tables) > 1:
            show_board(board)
        if len(board.tables) > MANY_TABLES:
            out.print(f"  {len(board.tables)} environments; --markdown shows each", highlight=False)
            continue
        for table in board.tables:
            show_table(table)


def show_board(board: Board) -> None:
    """A problem's leaderboard over its environments."""
    from sysgym.bench import formats
    from sysgym.bench.boards import SCORE

    figure = "score" if board.measure == SCORE else "ratio to *"
    rows = [
        {
            "rank": rank,
            "policy": row.policy + (" *" if row.best_heuristic else ""),
            f"{figure} [95 % CI]": formats.ratio(row.figure),
            "lost": formats.percent(row.lost.estimate if row.lost else None),
            "verdict": row.verdict,
        }
        for row, rank in zip(board.rows, _ranks(board.rows), strict=True)
    ]
    scale = "0 is random, 1 the bound" if board.measure == SCORE else f"{board.direction} is better"
    print_table(f"{board.domain}, {board.env_id}: {len(board.tables)} environments, {figure} ({scale})", rows)


def _ranks(rows: Sequence[BoardRow | Row]) -> list[str]:
    """Ranks as a terminal has room for them: `=2` is shared. Markdown and the page give their ranges too."""
    places = [row.shared_rank for row in rows]
    return ["=" * (places.count(place) > 1) + str(place) for place in places]


def show_table(table: Table) -> None:
    """An environment's leaderboard."""
    from sysgym.bench import formats

    scored = any(row.score for row in table.rows)
    rows = [
        {
            "rank": rank,
            "policy": row.policy + (" *" if row.best_heuristic else ""),
            "mean [95 % CI]": formats.interval(row.mean),
            **({"score": formats.fixed(row.score.estimate) if row.score else "-"} if scored else {}),
            "ratio to *": formats.interval(row.ratio, 3),
            "verdict": row.verdict,
        }
        for row, rank in zip(table.rows, _ranks(table.rows), strict=True)
    ]
    better = "lower" if table.direction == "min" else "higher"
    scenarios = table.rows[0].scenarios if table.rows else 0
    title = f"{table.environment}: {table.objective}, {better} is better; {scenarios} scenarios of {table.split}"
    if rows:
        print_table(f"{title}; * {table.reference}", rows)
    if table.note:
        out.print(f"  {escape(table.note)}", highlight=False)
    for policy, cause in table.failures:
        out.print(f"  failed: {escape(policy)}: {escape(cause)}", highlight=False)
