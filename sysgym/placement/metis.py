"""Graph partitioning by METIS, in the setting that is fair to it.

Groups weigh what they compute, edges what they transfer, once for each pair of a producer and a reading group; METIS
balances the one and cuts little of the other. It knows no memory caps, no largest load and no CPU, so it is asked with
several seeds and tolerances of imbalance, and the caller keeps what scores best.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pymetis
from numpy.typing import NDArray

from sysgym.placement.contraction import Contraction

SEEDS = 20
IMBALANCES = (10, 30, 100)
"""METIS's `ufactor`: thousandths of imbalance."""
_RESOLUTION = 2e6
_EDGE_SHARE = 0.1


def metis_partitions(contraction: Contraction, devices: list[int], seeds: int = SEEDS) -> Iterator[NDArray[np.int64]]:
    """Partitions of the groups over the given devices, one for each tolerance and seed; device of each group (G,)."""
    groups = len(contraction.size)
    if len(devices) < 2 or groups < 2:
        yield np.full(groups, devices[0], dtype=np.int64)
        return
    work = np.where(np.isfinite(contraction.cost[:, devices]), contraction.cost[:, devices], 0.0).min(axis=1)
    scale = _RESOLUTION / max(float(work.sum()), 1e-300)
    start, neighbours, weights = _adjacency(contraction, groups, scale * _EDGE_SHARE)
    adjacency = pymetis.CSRAdjacency(start, neighbours)
    vertex = (work * scale).astype(np.int64) + 1
    for imbalance in IMBALANCES:
        for seed in range(seeds):
            _, parts = pymetis.part_graph(
                len(devices),
                adjacency=adjacency,
                vweights=vertex.tolist(),
                eweights=weights,
                options=pymetis.Options(seed=seed, ufactor=imbalance),
                recursive=False,
            )
            yield np.array(devices, dtype=np.int64)[np.asarray(parts)]


def _adjacency(contraction: Contraction, groups: int, scale: float) -> tuple[list[int], list[int], list[int]]:
    owner = np.repeat(contraction.owner, np.diff(contraction.reader_start))
    price = np.repeat(contraction.price, np.diff(contraction.reader_start))
    weight = np.maximum(1, (price * scale).astype(np.int64))
    ends = np.concatenate([owner * groups + contraction.reader, contraction.reader * groups + owner])
    pairs, inverse = np.unique(ends, return_inverse=True)
    total = np.bincount(inverse, weights=np.concatenate([weight, weight]), minlength=len(pairs)).astype(np.int64)
    start = np.searchsorted(pairs // groups, np.arange(groups + 1))
    return start.tolist(), (pairs % groups).tolist(), total.tolist()
