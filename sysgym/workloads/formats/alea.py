"""Alea's logs of MetaCentrum: SWF's 18 fields, then the nodes, the queue's name and the PBS request (Klusacek).

What differs from SWF: submissions are absolute epochs, numbering starts at 0, requested memory is in bytes, and fields
17 and 18 are the constant 1, which taken as SWF would make every job wait for job 1: they are no dependencies here. `#`
is part of the PBS request, not a comment. The machine stands in a companion file, `LOG.machines`: cluster, name, nodes,
processors a node, speed and KB of memory a node.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import InputFileError
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.formats.swf import FIELDS as SWF_FIELDS
from sysgym.workloads.job_table import JobTable, make_columns
from sysgym.workloads.raw_table import Fault, RawTable, codes, first_lines, known_or
from sysgym.workloads.text_table import parse_cells
from sysgym.workloads.trace_file import TraceFile, open_trace
from sysgym.workloads.workload import Machine

FIELDS = (*SWF_FIELDS, "nodes", "queue_name", "pbs_request")
"""The 21 fields; the last may hold blanks."""

_SAME_IN_SWF = ("job_id", "submit_time", "run_time", "allocated_processors", "requested_processors", "requested_time",
                "status", "user", "group", "executable", "partition")  # fmt: skip


def recognises(file: TraceFile) -> bool:
    """Whether the first line begins with a job number and its 19th field is a list of nodes in braces."""
    tokens = file.first_line.split(None, 20)
    return len(tokens) >= 19 and tokens[18].startswith("{") and tokens[0].isdigit()


def parse(file: TraceFile) -> RawTable:
    """The 21 fields of every row; O(rows)."""
    rows: list[list[str]] = []
    lines: list[int] = []
    blank: list[int] = []
    short: list[int] = []
    fewest = 0
    for number, line in enumerate(file.text.split("\n"), 1):
        tokens = line.split(None, len(FIELDS) - 1)
        if len(tokens) == len(FIELDS):
            rows.append(tokens)
            lines.append(number)
        elif tokens:
            fewest = fewest or len(tokens)
            short.append(number)
        else:
            blank.append(number)
    faults: list[Fault] = []
    if short:
        message = f"{fewest} fields, expected the {len(FIELDS)} of Alea; complete or remove the row"
        faults.append(Fault("field_count", message, len(short), first_lines(short)))
    elif not rows:
        faults.append(Fault("no_rows", f"no job; expected {len(FIELDS)} fields a line", 1, (1,)))
    places = np.array(lines, dtype=np.int64)
    columns = {}
    for name, cells in zip(FIELDS, zip(*rows, strict=True) if rows else [()] * len(FIELDS), strict=True):
        kind = "number" if name in SWF_FIELDS else "text"
        columns[name], found = parse_cells(cells, kind, name, places)
        faults += found
    return RawTable(columns, places, tuple(faults), {}, tuple(blank[:-1]), fields=len(FIELDS))


def jobs(path: Path, raw: RawTable) -> JobTable:
    """Jobs on the machine of the companion file, where there is one."""
    given = {name: known_or(raw.columns[name]) for name in _SAME_IN_SWF}
    size = np.maximum(given["requested_processors"], given["allocated_processors"])
    memory = known_or(raw.columns["requested_memory"])
    given["requested_memory"] = np.where((memory > 0) & (size > 0), memory / 1024 / np.maximum(size, 1), -1)
    given["wait_time"] = known_or(raw.columns["wait_time"], np.nan)
    categories = {}
    for name, texts in (("queue", raw.columns["queue_name"]), ("allocation", _allocations(raw.columns["nodes"]))):
        given[name], categories[name] = codes(texts)
    return JobTable(make_columns(path, given, raw.lines), {}, machine_of(path), categories)


def _allocations(texts: NDArray[np.object_]) -> NDArray[np.object_]:
    """`{7,7,9}` as `7*2,9*1`: the nodes in the file's order, with the processors taken of each."""
    compact = {text: _allocation(text) for text in set(texts.tolist())}
    return np.array([compact[text] for text in texts.tolist()], dtype=object)


def _allocation(text: str) -> str:
    nodes = [node for node in text.strip("{}").split(",") if node]
    return ",".join(f"{node}*{len(list(same))}" for node, same in groupby(nodes))


def machine_of(path: Path) -> Machine | None:
    """The machine by `LOG.machines` beside the log (also where the log alone is packed); None without that file."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    for name in (plain.with_name(plain.name + ".machines"), plain.with_suffix(".machines")):
        if name.is_file():
            nodes = read_machines(name)
            return Machine(nodes.processors, "node list", len(nodes), nodes)
    return None


def read_machines(path: str | Path) -> NodeTable:
    """Alea's list of clusters, one row a node.

    Raises:
        InputFileError: A row without at least 6 fields, or with one that is no whole number above 0.
    """
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    for number, line in enumerate(open_trace(path).text.split("\n"), 1):
        cells = line.split()
        if not cells or line.startswith((";", "#")):
            continue
        try:
            nodes, processors, memory = (int(cells[place]) for place in (2, 3, 5))
            if min(nodes, processors, memory) < 1 or nodes > 10**6:
                raise ValueError
        except (ValueError, IndexError):
            expected = "cluster, name, nodes, processors a node, speed, KB of memory"
            raise InputFileError(
                path, f"{line[:60]!r} is no row of machines; expected {expected}", line=number
            ) from None
        names += [f"{cells[1]}{node}" for node in range(1, nodes + 1)]
        sizes += [(processors * 1000, memory // 1024)] * nodes
    if not sizes:
        raise InputFileError(path, "lists no machine; expected one cluster a line")
    table = np.array(sizes, dtype=np.int64)
    none = np.full(len(names), -1, dtype=np.int64)
    return NodeTable(tuple(names), table[:, 0], table[:, 1], np.zeros_like(none), none, (), str(path))
