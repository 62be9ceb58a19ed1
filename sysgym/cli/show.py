"""What the commands show: tables for people, JSON for machines, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

out, log = Console(), Console(stderr=True)
NARROW = 8
"""Columns of so few characters are shown whole, however small the terminal; wider ones give way."""


@contextmanager
def bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error, which is silent where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as progress:
        task = progress.add_task(what, total=1.0, note="")

        def advance(share: float, note: str) -> None:
            progress.update(task, completed=share, note=note)

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
    """Rows as a table; numbers to the right."""
    out.print(escape(title), highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), header_style="bold")
    for name, value in rows[0].items():
        right = isinstance(value, int | float)
        longest = max(len(figure(row[name])) for row in rows)
        table.add_column(
            name.replace("_", " "),
            justify="right" if right else "left",
            no_wrap=right or longest < 30,
            min_width=max(longest, len(name)) if longest <= NARROW else None,
        )
    for row in rows:
        table.add_row(*(escape(figure(value)) for value in row.values()))
    out.print(table)


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
