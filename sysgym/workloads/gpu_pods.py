"""A generator of GPU nodes and of pods for them, in the shape of Alibaba's openb lists.

Nodes come in the models, sizes and shares of that cluster; pods in its classes (processors alone, a share of a GPU, a
whole one, several) with its most frequent requests, whose frequencies were rounded. Run times are lognormal with the
log's median of ten minutes and its spread (measured: mean of the logarithm 6.6, standard deviation 1.9), arrivals are
Poisson. Unlike in the list, some pods name the models that will do. All draws are our own transforms of raw Philox
words, so that a seed gives the same with every release of numpy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sysgym.core.errors import require_range
from sysgym.core.seeding import stream
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.workload import Machine, Provenance, Workload

MODELS = ("G2", "G3", "P100", "T4", "V100M16", "V100M32")
_NODES = np.array(
    [  # weight, processors, GiB, GPUs, model
        (36, 96, 384, 8, 0),
        (3, 128, 768, 8, 1),
        (7, 16, 120, 2, 2),
        (2, 64, 256, 2, 2),
        (25, 104, 512, 2, 3),
        (1, 96, 384, 4, 3),
        (1, 8, 32, 1, 4),
        (2, 32, 128, 4, 4),
        (1, 64, 256, 8, 4),
        (1, 48, 368, 4, 5),
        (1, 96, 768, 8, 5),
        (11, 32, 256, 0, -1),
        (9, 96, 512, 0, -1),
    ]
)
_PODS = np.array(
    [  # weight in thousandths, thousandths of processors, MiB, GPUs, thousandths of a GPU
        (45, 12500, 57344, 0, 0),
        (35, 32000, 49152, 0, 0),
        (20, 8000, 30517, 0, 0),
        (33, 15400, 51200, 0, 0),
        (128, 3152, 5600, 1, 810),
        (48, 11908, 47104, 1, 470),
        (44, 8000, 30517, 1, 470),
        (29, 11908, 47104, 1, 650),
        (40, 4000, 22888, 1, 320),
        (30, 4000, 30517, 1, 230),
        (26, 6000, 12288, 1, 460),
        (18, 3152, 5600, 1, 590),
        (15, 8000, 16384, 1, 160),
        (105, 11300, 49152, 1, 1000),
        (66, 11400, 48128, 1, 1000),
        (58, 3152, 5600, 1, 1000),
        (31, 18708, 64512, 1, 1000),
        (44, 9810, 41560, 1, 1000),
        (60, 15700, 58368, 1, 1000),
        (60, 12000, 24576, 1, 1000),
        (55, 16000, 32768, 1, 1000),
        (2, 16200, 66560, 2, 1000),
        (2, 32200, 132096, 4, 1000),
        (3, 64200, 263168, 8, 1000),
        (3, 88000, 327680, 8, 1000),
    ]
)
_MEDIAN, _SPREAD = 616.0, 1.9


def gpu_cluster(
    pods: int = 2_000,
    nodes: int = 100,
    seed: int = 0,
    load: float = 0.8,
    typed_share: float = 0.0,
) -> tuple[Workload, NodeTable]:
    """Generate a cluster and the pods that arrive at it; O(pods + nodes).

    Args:
        pods: How many, at least 2.
        nodes: How many; the first has the largest model, so that every pod finds room when the cluster is empty.
        seed: Integer >= 0; the same arguments give the same.
        load: GPU-seconds asked for over those that there are between the first and the last arrival.
        typed_share: Share of the GPU pods that name one or two models; 8-GPU pods never do.

    Returns:
        The pods, with whole seconds from 0 and the nodes as their machine's, and the nodes.

    Raises:
        SettingError: An argument out of its range.

    >>> workload, nodes = gpu_cluster(1_000, 50, seed=3)
    >>> len(workload), len(nodes), sorted(workload.extra)[:3]
    (1000, 50, ['cpu_milli', 'gpu_milli', 'gpu_type'])
    """
    require_range("pods", pods, 2, whole=True)
    require_range("nodes", nodes, 1, whole=True)
    require_range("seed", seed, 0, whole=True)
    require_range("load", load, 0, open_low=True)
    require_range("typed_share", typed_share, 0, 1)

    def draw(name: str, count: int = pods) -> NDArray[np.float64]:
        words: NDArray[np.uint64] = stream(seed, f"workloads/gpu_cluster/{name}").bit_generator.random_raw(count)
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53

    chosen = _picked(_NODES, draw("node", nodes))
    chosen[0] = _NODES[1]
    table = _node_table(chosen, f"gpu_cluster, seed {seed}")
    pod = _picked(_PODS, draw("pod"))
    run_time = np.maximum(1.0, np.ceil(_MEDIAN * np.exp(_SPREAD * ndtri(draw("run_time")))))
    elapsed = np.cumsum(-np.log1p(-draw("gap")))
    work = float((run_time * pod[:, 3] * pod[:, 4]).sum()) / 1000
    span = work / (load * max(1, int(table.gpus.sum())))
    submit_time = np.floor((elapsed - elapsed[0]) * (span / (elapsed[-1] - elapsed[0])))
    types, gpu_type = _types(table, pod, draw("typed") < typed_share, draw("type"))
    columns = {
        "submit_time": submit_time,
        "run_time": run_time,
        "processors": np.maximum(1, pod[:, 1] // 1000),
        "cpu_milli": pod[:, 1],
        "memory_mib": pod[:, 2],
        "gpus": pod[:, 3],
        "gpu_milli": pod[:, 4],
        "gpu_type": gpu_type,
        "status": np.ones(pods, dtype=np.int64),
    }
    machine = Machine(max(1, table.processors), "generator", nodes, table)
    provenance = Provenance("gpu_cluster", "generated", header={"Seed": str(seed), "Load": str(load)})
    return Workload.from_columns(columns, machine, provenance, categories={"gpu_type": types}), table


def _picked(rows: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """A row for each number in (0, 1), with the chances of the first column."""
    weight = np.cumsum(rows[:, 0])
    picked: NDArray[np.int64] = rows[np.searchsorted(weight, u * weight[-1], side="right")]
    return picked


def _node_table(rows: NDArray[np.int64], source: str) -> NodeTable:
    _, processors, gibibytes, gpus, model = rows.T
    names = tuple(f"node-{place}" for place in range(len(rows)))
    gpu_type = np.where(model >= 0, model + 1, -1)
    return NodeTable(names, processors * 1000, gibibytes * 1024, gpus.copy(), gpu_type, MODELS, source)


def _types(
    table: NodeTable, pod: NDArray[np.int64], typed: NDArray[np.bool_], u: NDArray[np.float64]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """What pods name: a model that serves them, or two; the labels and each pod's number, -1 for none."""
    enough = [
        {MODELS[kind - 1] for kind, gpus, cpu in zip(table.gpu_type, table.gpus, table.cpu_milli, strict=True)
         if gpus > 0 and gpus >= row[3] and cpu >= row[1]} for row in _PODS.tolist()
    ]  # fmt: skip
    serves = {tuple(row[1:]): sorted(models) for row, models in zip(_PODS.tolist(), enough, strict=True)}
    labels: dict[str, int] = {}
    numbers = np.full(len(pod), -1, dtype=np.int64)
    for place in np.flatnonzero(typed & (pod[:, 3] > 0) & (pod[:, 3] < 8)).tolist():
        models = serves[tuple(pod[place, 1:].tolist())]
        first = int(u[place] * len(models))
        label = "|".join(
            sorted({models[first], models[(first + 1) % len(models)]} if u[place] > 0.5 else {models[first]})
        )
        numbers[place] = labels.setdefault(label, len(labels) + 1)
    return tuple(labels), numbers
