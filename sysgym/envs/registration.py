"""The table of environments: one row an id, and nothing else to do for a new one.

The rows name entry points as strings, so that registering imports no environment. An outside package registers its own
ids with `gymnasium.register` in the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym


class Row(NamedTuple):
    """One registered id: where its single and its vector environment live."""

    env_id: str
    entry_point: str
    vector_entry_point: str


ENVIRONMENTS = (
    Row("sysgym/JobSched-v0", "sysgym.envs.jobsched:JobSchedEnv", "sysgym.envs.jobsched:JobSchedVectorEnv"),
    Row("sysgym/BatchSched-v0", "sysgym.envs.batchsched:BatchSchedEnv", "sysgym.envs.batchsched:BatchSchedVectorEnv"),
    Row(
        "sysgym/ScheduleRewrite-v0",
        "sysgym.envs.schedulerewrite:ScheduleRewriteEnv",
        "sysgym.envs.schedulerewrite:ScheduleRewriteVectorEnv",
    ),
    Row(
        "sysgym/AdmissionQueue-v0",
        "sysgym.envs.admissionqueue:AdmissionQueueEnv",
        "sysgym.envs.admissionqueue:AdmissionQueueVectorEnv",
    ),
    Row("sysgym/DagSched-v0", "sysgym.envs.dagsched:DagSchedEnv", "sysgym.envs.dagsched:DagSchedVectorEnv"),
    Row("sysgym/GpuSched-v0", "sysgym.envs.gpusched:GpuSchedEnv", "sysgym.envs.gpusched:GpuSchedVectorEnv"),
    Row("sysgym/IndexTune-v0", "sysgym.envs.indextune:IndexTuneEnv", "sysgym.envs.indextune:IndexTuneVectorEnv"),
    Row("sysgym/Placement-v0", "sysgym.envs.placement:PlacementEnv", "sysgym.envs.placement:PlacementVectorEnv"),
    Row(
        "sysgym/ExprSimplify-v0",
        "sysgym.envs.exprsimplify:ExprSimplifyEnv",
        "sysgym.envs.exprsimplify:ExprSimplifyVectorEnv",
    ),
)


def register_environments() -> None:
    """Register every row with Gymnasium; doing it twice changes nothing."""
    for row in ENVIRONMENTS:
        if row.env_id not in gym.registry:
            gym.register(row.env_id, entry_point=row.entry_point, vector_entry_point=row.vector_entry_point)
