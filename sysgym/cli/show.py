"""What the commands show: tables for people, JSON for machines, progress on standard error."""

from __future__ import annotations

import json
import operator
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

out, log = Console(), Console(stderr=True)
GAP = 3
"""Characters between two columns of a table."""
LINE_SECONDS = 30.0
"""Least time between two lines of progress where nobody watches."""
WORD = 16
"""A longer word may be broken where a table is too wide for the terminal."""


@contextmanager
def bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error; where no terminal is, as in the log of a batch job, a line now and then."""
    said = time.monotonic()
    silent = not log.is_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=log, transient=True, disable=silent) as progress:
        task = progress.add_task(what, total=1.0, note="")

        def advance(share: float, note: str) -> None:
            nonlocal said
            progress.update(task, completed=share, note=note)
            if silent and time.monotonic() - said > LINE_SECONDS:
                said = time.monotonic()
                log.print(escape(f"{what}: {share:.0%}, {note}"), highlight=False)

        yield advance


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on standard error while something without a measure of progress runs."""
    with log.status(what):
        yield


def print_json(value: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table; numbers to the right.

    Where the terminal is too small, intervals stand below their estimates, and then long cells are wrapped.
    """
    out.print(escape(title), highlight=False)
    cells = [[name.replace("_", " "), *(figure(row[name]) for row in rows)] for name in rows[0]]
    room = out.width - 2 - GAP * len(cells)
    if sum(max(map(len, column)) for column in cells) > room:
        cells = [[cell.replace(" [", "\n[") for cell in column] for column in cells]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), header_style="bold")
    for column, width, value in zip(cells, _widths(cells, room), rows[0].values(), strict=True):
        justify: JustifyMethod = "right" if isinstance(value, int | float) else "left"
        table.add_column(escape(column[0]), justify=justify, overflow="fold", width=width)
    for row in zip(*(column[1:] for column in cells), strict=True):
        table.add_row(*map(escape, row))
    out.print(table)


def _widths(cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths of columns that fit into so many characters, if they can: the widest give way first, words stay whole.

    The first column says what a row is about, so its words count at any length, and those of others up to `WORD`.
    """
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in cells]
    least = [
        width
        if any(cell.startswith("[") or "\n[" in cell for cell in column)
        else min(max(len(word) for cell in column for word in cell.split()), width if place == 0 else WORD)
        for place, (column, width) in enumerate(zip(cells, widths, strict=True))
    ]
    while sum(widths) > room and any(map(operator.gt, widths, least)):
        widest = max(range(len(widths)), key=lambda place: (widths[place] > least[place], widths[place]))
        widths[widest] -= 1
    return widths


def figure(value: Any) -> str:
    """A cell: numbers as `bench.formats` writes them."""
    from sysgym.bench.formats import number

    return "-" if value is None else number(value) if isinstance(value, float) else str(value)


def show_written(path: Path, as_json: bool) -> None:
    """Say which file was written, and how large it is."""
    if as_json:
        print_json({"output": str(path), "bytes": path.stat().st_size})
    else:
        out.print(f"wrote {escape(str(path))} ({path.stat().st_size:,} bytes)", highlight=False)
