"""Job scheduling: one folder a problem, and what they share.

`slotted` is DeepRM's cluster with a few visible job slots, `batch` a parallel machine's queue as production logs show
it, `rewriting` whole schedules that are improved by moving jobs, `dag` jobs that are graphs of stages, `gpu` a cluster
of heterogeneous GPU nodes. `metrics` holds the scores of a schedule. `replay` plays a whole log under a policy,
`replay_gpu` does on GPU nodes, `fill` until they are full.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sysgym.jobsched.batch.replay import Schedule, replay
    from sysgym.jobsched.gpu.inflation import fill, inflated
    from sysgym.jobsched.gpu.replay import GpuSchedule, replay_gpu

_LAZY = {
    "GpuSchedule": "gpu.replay",
    "Schedule": "batch.replay",
    "fill": "gpu.inflation",
    "inflated": "gpu.inflation",
    "replay": "batch.replay",
    "replay_gpu": "gpu.replay",
}

__all__ = ["GpuSchedule", "Schedule", "fill", "inflated", "replay", "replay_gpu"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)  # numba loads only when a log is replayed
