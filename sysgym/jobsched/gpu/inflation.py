"""Filling a cluster: arrivals of a log inflated until they ask for more than there is, as Weng et al. do.

USENIX ATC 2023, section 6: tasks arrive one after another, none ends, and one that finds no room is lost. The authors'
repository takes the list once, adds tasks drawn from it until together they ask for a ratio (1.3) of all GPUs, and
shuffles. It shuffles the nodes too: each gets a random number in front of its name, and of equally good nodes the first
by name wins. Left in the list's order, where nodes of one model stand together, packing and clustering allocate 0.6
points less. The allocation rate is the share of the GPUs that is in use in the end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sysgym.core.errors import WorkloadError, require_range
from sysgym.core.seeding import stream
from sysgym.jobsched.gpu.model import WHOLE
from sysgym.jobsched.gpu.replay import GpuSchedule, replay_gpu
from sysgym.workloads.companions import NodeTable
from sysgym.workloads.workload import Repair, Workload


def inflated(workload: Workload, gpus: int, ratio: float = 1.3, seed: int = 0) -> Workload:
    """The jobs of a log, drawn again until they ask for more than there is, in random order, and none ever ends.

    Args:
        workload: The log, with `gpus` (and `gpu_milli`) in `extra`.
        gpus: GPUs of the cluster.
        ratio: What is asked for in all, as a multiple of that; where the log alone asks for more, jobs drawn at random
            are left out instead.
        seed: Integer >= 0.

    Returns:
        The jobs, submitted at 0, 1, 2, ... seconds, of unknown run time; for `replay_gpu(..., queue="loss")`.

    Raises:
        SettingError: `ratio` not above 0, or a wrong seed.
        WorkloadError: The jobs ask for no GPU, or for fewer than the first of them.
    """
    require_range("ratio", ratio, 0, 100, open_low=True)
    require_range("seed", seed, 0, whole=True)
    milli = _milli(workload)
    target = ratio * gpus * WHOLE
    draws = stream(seed, "gpu/inflation")
    rounds = [draws.permutation(len(workload))]
    asked = int(milli.sum())
    while asked <= target:
        rounds.append(draws.integers(len(workload), size=len(workload)))
        asked += int(milli[rounds[-1]].sum())
    rows = np.concatenate(rounds)
    rows = rows[: int(np.searchsorted(np.cumsum(milli[rows]), target, side="right"))]
    if not len(rows):
        raise WorkloadError(f"a ratio of {ratio} of {gpus} GPUs is less than the first job asks for; give a larger one")
    taken = workload.take(draws.permutation(rows))
    unknown = np.full(len(rows), np.nan)
    return replace(
        taken,
        submit_time=np.arange(len(rows), dtype=np.float64),
        run_time=unknown,
        requested_time=unknown,
        repairs=(*workload.repairs, Repair("inflate_arrivals", len(rows), False)),
    )


def shuffled(nodes: NodeTable, seed: int = 0) -> NodeTable:
    """The nodes in random order."""
    return nodes.take(stream(seed, "gpu/nodes").permutation(len(nodes)))


def fill(
    workload: Workload, nodes: NodeTable, policy: str, ratio: float = 1.3, scores: str = "rounded", seed: int = 0
) -> GpuSchedule:
    """Play inflated arrivals on nodes in random order, as in the study.

    Args:
        workload: The log.
        nodes: The nodes.
        policy: One of `model.POLICIES`.
        ratio: See `inflated`.
        scores: "rounded" or "exact", see `model.Rules`.
        seed: Of the arrivals, of the nodes' order, and of what a policy draws.

    Raises:
        SettingError: See `inflated`.
        WorkloadError: See `inflated` and `replay_gpu`.
        UnknownNameError: See `replay_gpu`.
    """
    arrivals = inflated(workload, int(nodes.gpus.sum()), ratio, seed)
    return replay_gpu(arrivals, shuffled(nodes, seed), policy, scores=scores, queue="loss", seed=seed)


def with_gpu_load(workload: Workload, gpus: int, load: float) -> Workload:
    """The same jobs with arrivals scaled so that they ask for a share of all GPU-seconds; met but for whole seconds.

    Args:
        workload: The log; jobs of unknown run time don't count.
        gpus: GPUs of the cluster.
        load: GPU-seconds asked for over those that there are between the first and the last arrival.

    Raises:
        SettingError: `load` not above 0.
        WorkloadError: The jobs ask for no GPU, or all come at one instant.
    """
    require_range("load", load, 0, open_low=True)
    span = workload.submit_time[-1] - workload.submit_time[0] if len(workload) else 0.0
    work = float(np.nansum(workload.run_time * _milli(workload))) / 1000
    if not (work > 0 and span > 0):
        raise WorkloadError(
            f"{workload.provenance.source}: {work:g} GPU-seconds are asked for within {span:g} s; such a load can't be "
            "scaled"
        )
    return workload.with_arrivals_scaled(work / (gpus * span) / load)


def _milli(workload: Workload) -> NDArray[np.int64]:
    """Thousandths of GPUs that each job asks for."""
    gpus = workload.extra.get("gpus", np.zeros(len(workload), dtype=np.int64)).astype(np.int64)
    share = workload.extra.get("gpu_milli", np.full(len(workload), -1))
    milli: NDArray[np.int64] = np.maximum(gpus, 0) * np.where((gpus == 1) & (share >= 0), share, WHOLE)
    if milli.sum() <= 0:
        raise WorkloadError(f"{workload.provenance.source}: no job of the log asks for a GPU; replay it without nodes")
    return milli
