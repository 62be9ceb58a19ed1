"""Readers of the three public formats of computation graphs, recognised by their content.

- Tarnawski et al. (NeurIPS 2020), JSON: operations with costs on accelerators and CPUs, devices and memory caps.
- PipeDream (SOSP 2019), text: layers with forward and backward time, activation and parameter bytes.
- Piper (NeurIPS 2021), JSON: layers with variants by degree of tensor parallelism.

Each may be gzipped. A fault is reported with its line and column, or with the node it belongs to.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import GraphError, InputFileError, SettingError
from sysgym.placement.cluster import Cluster, Device
from sysgym.placement.model import OpGraph, build_graph

_TOLERANCE = 1e-6


def read_graph(path: str | Path, time_unit: str | None = None) -> OpGraph:
    """Read a computation graph.

    Args:
        path: A file of one of the formats above, also gzipped.
        time_unit: Unit of the file's times, where it is not the format's own ("ms", and "s" for Piper's; the public
            gnmt file of Piper is in milliseconds).

    Returns:
        The graph; its `cluster` where the file names devices, accelerators first, then CPUs.

    Raises:
        InputFileError: The file cannot be read, or is malformed at a named line and column.
        GraphError: The graph has a cycle, a dangling edge, a negative or missing cost.
    """
    text = read_text(path)
    source = Path(path).name
    if text.lstrip()[:1] in ("{", "["):
        content = parse_json(path, text)
        if "maxFPGAs" in content:
            return _tarnawski(content, source, time_unit or "ms")
        if "maxDevices" in content:
            return _piper(content, source, time_unit or "s")
        raise InputFileError(path, "this JSON has neither maxFPGAs nor maxDevices; expected a graph of Tarnawski's or "
                             "Piper's format")  # fmt: skip
    return _pipedream(path, text, source, time_unit or "ms")


def read_split(path: str | Path, graph: OpGraph, cluster: Cluster) -> NDArray[np.int64]:
    """Read a human expert's split, {"fpgas": [{"nodes": [...]}], "cpus": [...]}, as an assignment.

    A node that is missing goes where the others of its colour are.

    Raises:
        InputFileError: A node is unknown, is listed twice, or has no place; or the split needs more devices.
    """
    content = parse_json(path, read_text(path))
    place_of = {node: place for place, node in enumerate(graph.node_ids)}
    assignment = np.full(len(graph), -1, dtype=np.int64)
    for part, devices in (("fpgas", cluster.of_kind("accelerator", "gpu")), ("cpus", cluster.of_kind("cpu"))):
        groups = content.get(part, [])
        groups = [group for group in groups if group["nodes"]] if isinstance(groups, list) else []
        if len(groups) > len(devices):
            raise InputFileError(path, f"the split uses {len(groups)} {part}, the cluster has {len(devices)}")
        for device, group in zip(devices, groups, strict=False):
            for node in group["nodes"]:
                if node not in place_of:
                    raise InputFileError(path, f"node {node!r} is not in {graph.source}")
                if assignment[place_of[node]] != -1:
                    raise InputFileError(path, f"node {node!r} is listed twice")
                assignment[place_of[node]] = device
    for place in np.flatnonzero(assignment == -1).tolist():
        beside = set(assignment[graph.colour == graph.colour[place]].tolist()) - {-1}
        if len(beside) != 1:
            raise InputFileError(path, f"node {graph.node_ids[place]!r} is missing, and its colour class is on "
                                 f"{len(beside)} devices; expected 1")  # fmt: skip
        assignment[place] = beside.pop()
    return assignment


def read_text(path: str | Path) -> str:
    """The text of a file, unpacked where it is gzipped.

    Raises:
        InputFileError: Missing, unreadable, not text, or damaged.
    """
    try:
        raw = Path(path).read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except UnicodeDecodeError as error:
        raise InputFileError(path, f"is not text (byte {error.start}); expected a graph file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputFileError(path, getattr(error, "strerror", None) or f"cannot be unpacked: {error}") from error


def parse_json(path: str | Path, text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputFileError: Malformed, with line and column, or not an object.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputFileError(path, f"malformed JSON: {error.msg}", line=error.lineno, column=error.colno) from error
    if not isinstance(content, dict):
        raise InputFileError(path, f"holds a JSON {type(content).__name__}; expected an object")
    return content


def _number(value: Any, what: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise GraphError(f"{what} is {value!r}; it must be a number") from error


def _field(record: Any, name: str, what: str) -> Any:
    if not isinstance(record, Mapping) or name not in record:
        raise GraphError(f"{what} has no {name!r}; see the format's description")
    return record[name]


def _column(nodes: list[Any], name: str, source: str) -> NDArray[np.float64]:
    return np.array(
        [
            _number(_field(node, name, f"{source}: node {i}"), f"{source}: node {i}: {name}")
            for i, node in enumerate(nodes)
        ]
    )


def _places(nodes: list[Any], edges: list[Any], source: str) -> tuple[list[Any], list[tuple[int, int]]]:
    """Ids of the nodes, and the edges by position."""
    ids = [_field(node, "id", f"{source}: node {i}") for i, node in enumerate(nodes)]
    place_of = {node: place for place, node in enumerate(ids)}
    pairs = []
    for number, edge in enumerate(edges):
        ends = [_field(edge, end, f"{source}: edge {number}") for end in ("sourceId", "destId")]
        for end in ends:
            if end not in place_of:
                raise GraphError(f"{source}: edge {ends[0]!r} -> {ends[1]!r} dangles: there is no node {end!r}")
        pairs.append((place_of[ends[0]], place_of[ends[1]]))
    return ids, pairs


def _tarnawski(content: dict[str, Any], source: str, time_unit: str) -> OpGraph:
    nodes, edges = content.get("nodes") or [], content.get("edges") or []
    ids, pairs = _places(nodes, edges, source)
    supported = np.array([bool(node.get("supportedOnFpga", True)) for node in nodes], dtype=bool)
    transfer, size = _transfer_times(ids, pairs, edges, source)
    accelerator = np.where(supported, _column(nodes, "fpgaLatency", source), np.inf)
    return build_graph(
        {"accelerator": accelerator, "cpu": _column(nodes, "cpuLatency", source)},
        pairs,
        size,
        node_ids=ids,
        colour=[node.get("colorClass") for node in nodes],
        persistent_bytes=_column(nodes, "size", source),
        is_backward=[bool(node.get("isBackwardNode", False)) for node in nodes],
        host_transfer=transfer,
        names=tuple(str(node.get("name", node["id"])) for node in nodes),
        time_unit=time_unit,
        cluster=_tarnawski_cluster(content, source),
        source=source,
    )


def _transfer_times(
    ids: list[Any], pairs: list[tuple[int, int]], edges: list[Any], source: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Transfer time and output bytes of every node; the format gives them on the edges, equal for one source."""
    transfer, size = np.full(len(ids), -1.0), np.zeros(len(ids))
    for (producer, _), edge in zip(pairs, edges, strict=True):
        what = f"{source}: an edge from node {ids[producer]!r}"
        cost = _number(_field(edge, "cost", what), f"{what}: cost")
        if not cost >= 0:
            raise GraphError(f"{what} has cost {cost}; it must be a number of at least 0")
        if transfer[producer] >= 0 and abs(transfer[producer] - cost) > _TOLERANCE:
            raise GraphError(f"{what} costs {cost}, another {transfer[producer]}; they must be equal")
        if transfer[producer] < 0:
            transfer[producer] = cost
        size[producer] = max(size[producer], _number(edge.get("size", 0.0), f"{what}: size"))
    return np.maximum(transfer, 0.0), size


def _tarnawski_cluster(content: dict[str, Any], source: str) -> Cluster:
    cap = _number(content.get("maxSizePerFPGA", np.inf), f"{source}: maxSizePerFPGA")
    counts = [_number(content.get(name, 0), f"{source}: {name}") for name in ("maxFPGAs", "maxCPUs")]
    if min(counts) < 0 or sum(counts) < 1:
        raise SettingError(f"{source}: {counts[0]:g} accelerators and {counts[1]:g} CPUs; at least 1 device is needed")
    return Cluster.uniform(int(counts[0]), "accelerator", cap, cpus=int(counts[1]))


_NODE = re.compile(r"\s*(\S+) -- (.*) -- (.*)\s*$")


def _pipedream(path: str | Path, text: str, source: str, time_unit: str) -> OpGraph:
    rows: dict[str, tuple[str, dict[str, float]]] = {}
    links: list[tuple[str, str, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line[0].isspace() and line.count(" -- ") == 1:
            producer, _, consumer = line.strip().partition(" -- ")
            links.append((producer.strip(), consumer.strip(), number))
            continue
        match = _NODE.match(line)
        if match is None:
            raise InputFileError(path, f"{line[:60]!r} is neither a node nor an edge of PipeDream's format, nor JSON",
                                 line=number, column=1)  # fmt: skip
        rows[match[1]] = match[2], _pipedream_values(path, match[3], number, match.start(3) + 1)
    place_of = {name: place for place, name in enumerate(rows)}
    for producer, consumer, number in links:
        for end in (producer, consumer):
            if end not in place_of:
                raise InputFileError(
                    path, f"edge {producer} -> {consumer} dangles: there is no node {end}", line=number
                )
    values = [row for _, row in rows.values()]
    backward = np.array([row["backward_compute_time"] for row in values])
    return build_graph(
        {"gpu": np.array([row["forward_compute_time"] for row in values]) + backward},
        [(place_of[producer], place_of[consumer]) for producer, consumer, _ in links],
        np.array([row["activation_size"] for row in values]),
        node_ids=list(rows),
        persistent_bytes=[row["parameter_size"] for row in values],
        backward_part=backward,
        names=tuple(description for description, _ in rows.values()),
        time_unit=time_unit,
        source=source,
    )


_FIELDS = ("forward_compute_time", "backward_compute_time", "activation_size", "parameter_size")


def _pipedream_values(path: str | Path, text: str, line: int, column: int) -> dict[str, float]:
    """The four figures of a layer; a bracketed list of sizes is summed."""
    figures: dict[str, float] = {}
    for part in text.split(", "):
        name, _, value = part.partition("=")
        try:
            figures[name.strip()] = sum(float(piece) for piece in value.strip().strip("[]").split(";"))
        except ValueError as error:
            raise InputFileError(path, f"{part!r} is not a figure", line=line, column=column) from error
    absent = [name for name in _FIELDS if name not in figures]
    if absent:
        raise InputFileError(path, f"the layer has no {absent[0]}", line=line, column=column)
    return figures


def _piper(content: dict[str, Any], source: str, time_unit: str) -> OpGraph:
    """Piper's layers without tensor parallelism and recomputation; `hybrid` reads the variants."""
    nodes, edges = content.get("nodes") or [], content.get("edges") or []
    ids, pairs = _places(nodes, edges, source)
    plain = [_plain_variant(node, f"{source}: node {node['id']!r}") for node in nodes]
    outputs: list[list[float]] = [[] for _ in ids]
    triples = []
    for (producer, consumer), edge in zip(pairs, edges, strict=True):
        size = _number(_field(edge, "communicationCost", f"{source}: an edge"), f"{source}: communicationCost")
        if size not in outputs[producer]:
            outputs[producer].append(size)
        triples.append((producer, outputs[producer].index(size), consumer))
    count, cap = int(content["maxDevices"]), float(content.get("maxMemoryPerDevice", np.inf))
    if count < 1:
        raise SettingError(f"{source}: maxDevices is {count}; at least 1 device is needed")
    devices = tuple(Device(f"gpu{i}", "gpu", cap) for i in range(count))
    bandwidth = float(content.get("bandwidth", 1.6e10))
    return build_graph(
        {"gpu": _column(plain, "timePerSample", source)},
        triples,
        outputs,  # ragged: a layer's consumers may want different sizes
        node_ids=ids,
        persistent_bytes=_column(plain, "memoryUsageB", source),
        temporary_bytes=_column(plain, "memoryUsageA", source),
        names=tuple(str(node.get("name", node["id"])) for node in nodes),
        time_unit=time_unit,
        cluster=Cluster(devices, bandwidth=np.array(bandwidth), host_bandwidth=bandwidth),
        source=source,
    )


def _plain_variant(node: Any, what: str) -> Any:
    variants: Callable[[str], Any] = _field(node, "TMPCs", what).get
    listed = variants("1")
    if not listed:
        raise GraphError(f"{what} has no variant for tensor degree 1")
    return listed[0]
