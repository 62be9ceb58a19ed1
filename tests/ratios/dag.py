"""Rows of DagSched-v0: stepping of many environments and of one, on made jobs and on TPC-H where the data are."""

import gymnasium as gym

PEER = "spark-sched-sim: 4,075 (10 executors, 50 jobs), 7,416 (50, 100) (measured elsewhere)"


def dag_rows(rows, stepping, single, data):
    """Decisions a second.

    Args:
        rows: Takes the rows.
        stepping: Measures a vector environment.
        single: Measures `gym.make`.
        data: Folder of the public data.
    """
    vector = stepping(gym.make_vec("sysgym/DagSched-v0", num_envs=64), 300, 64)
    looped = stepping(gym.make_vec("sysgym/DagSched-v0", num_envs=64, vectorization_mode="sync"), 10, 64)
    beside = f"{vector / looped:.0f}x SyncVectorEnv; {PEER}"
    rows.append(("DagSched, make_vec 64, decisions/s", vector, 50_000, beside))
    seen = stepping(gym.make_vec("sysgym/DagSched-v0", num_envs=64, observation="rows"), 200, 64)
    rows.append(("DagSched, observation rows, make_vec 64, decisions/s", seen, None, ""))
    profiles = data / "traces/dag/tpch_spark_profiles.jsonl.gz"
    if profiles.exists():
        for executors, jobs, gap, stages, goal in ((10, 50, 75.0, 64, 40_000), (50, 100, 25.0, 256, 74_000)):
            given = {"executors": executors, "jobs": jobs, "mean_gap": gap, "stages": stages}
            measured = stepping(gym.make_vec("sysgym/DagSched-v0", num_envs=64, workload=profiles, **given), 200, 64)
            rows.append((f"DagSched, TPC-H, {executors} executors, {jobs} jobs, decisions/s", measured, goal, ""))
    rows.append(("DagSched, gym.make compiled, decisions/s", single("sysgym/DagSched-v0", 1000), None, ""))
    simpy = single("sysgym/DagSched-v0", 150, engine="simpy")
    rows.append(("DagSched, gym.make SimPy, decisions/s", simpy, None, ""))
