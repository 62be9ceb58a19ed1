"""Job scheduling: one folder a problem, and what they share.

`slotted` is DeepRM's cluster with a few visible job slots, `batch` a parallel machine's queue as production logs show
it, `rewriting` whole schedules that are improved by moving jobs, `dag` jobs that are graphs of stages. `metrics` holds
the scores of a schedule. `replay` plays a whole log under a policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sysgym.jobsched.batch.replay import Schedule, replay

__all__ = ["Schedule", "replay"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sysgym.jobsched.batch import replay as module  # noqa: PLC0415  numba loads only when a log is replayed

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
