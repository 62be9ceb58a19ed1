"""Every engine's kernel against its simulator, step by step, and every heuristic, on the smallest instances."""

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.envs.registration import ENVIRONMENTS
from sysgym.jobsched.slotted.observation import ENCODERS
from tests.contracts.test_registry import arrays_in
from tests.placement.examples import example_a, two_devices

JOBS = {"model": "poisson_pareto", "jobs": 60, "processors": 8, "seed": 3, "load": 1.2}
TERMS = ["(v0 + 0) * 1 - v0", "min(v0, v1) < v0", "select(v0 < v1, v0 + 1, v1 + 1)"]
SMALL = {
    "sysgym/JobSched-v0": [
        *({"observation": name, "sequence_length": 5, "slots": 2} for name in ENCODERS),
        {"mode": "published", "sequence_length": 4, "slots": 2, "reward": "completion"},
    ],
    "sysgym/BatchSched-v0": [
        {"workload": JOBS, "sequence_length": 12, "split": "all", "backfill": backfill, **more}
        for backfill, more in (
            ("none", {"observation": "queue", "commit": False}),
            ("easy", {"pass_rule": "per_event"}),
            ("rlscheduler", {"reward": "final_slowdown"}),
            ("accasim", {"reward": "wait_time"}),
        )
    ],
    "sysgym/ScheduleRewrite-v0": [
        {"sequence_length": 7, "rewrites": 4, "resources": 2, "moves": moves} for moves in ("insertion", "published")
    ],
    "sysgym/AdmissionQueue-v0": [{"servers": 2, "max_steps": 12}, {"servers": 2, "horizon": "geometric"}],
    "sysgym/DagSched-v0": [
        {"jobs": 2, "executors": 3, "stages": 24, "limits": 2, "observation": "graph"},
        {"jobs": 2, "executors": 3, "stages": 24, "limits": 2, "observation": "rows", "horizon": "fixed",
         "horizon_seconds": 60.0},
    ],
    "sysgym/GpuSched-v0": [{"nodes": 3, "ratio": 0.3}],
    "sysgym/IndexTune-v0": [{"evaluations": 3}, {"evaluations": 2, "encoder": "flat", "reward": "weighted"}],
    "sysgym/Placement-v0": [
        {"graph": example_a(), "cluster": two_devices(1), "objective": objective, "groups": 8}
        for objective in ("max_load", "latency", "makespan")
    ],
    "sysgym/ExprSimplify-v0": [{"expressions": TERMS, "max_nodes": 16, "max_steps": 3}],
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")  # hashes and draws are meant to wrap
CASES = [(row.env_id, arguments) for row in ENVIRONMENTS for arguments in SMALL.get(row.env_id, [{}])]


@pytest.mark.parametrize(("env_id", "arguments"), CASES)
def test_the_engines_are_equal(env_id, arguments):
    """But for the last bits: Python adds float32 to float in float32, numba in float64."""
    choose = np.random.default_rng(0)
    envs = [gym.make(env_id, engine=engine, **arguments) for engine in ("simpy", "compiled")]
    seen = [(env.reset(seed=0)[0], 0.0, False, False, {"action_mask": env.unwrapped.action_masks()}) for env in envs]
    for _ in range(12):
        for one, other in zip(arrays_in(seen[0][0]), arrays_in(seen[1][0]), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert seen[0][1] == pytest.approx(seen[1][1], abs=1e-9) and seen[0][2:4] == seen[1][2:4]
        mask = seen[0][4]["action_mask"]
        assert np.array_equal(mask, seen[1][4]["action_mask"])
        if seen[0][2] or seen[0][3]:
            break
        action = choose.choice(np.flatnonzero(mask))
        seen = [env.step(action) for env in envs]
    assert envs[0].unwrapped.metrics() == pytest.approx(envs[1].unwrapped.metrics(), nan_ok=True)


@pytest.mark.parametrize("env_id", SMALL)
def test_every_heuristic_ends_an_episode(env_id):
    env = gym.make(env_id, engine="compiled", **SMALL[env_id][0]).unwrapped
    for name, build in env.heuristics.items():
        policy = build()
        policy.reset()
        env.reset(seed=3)
        steps, ended = 0, False
        while not ended and steps < 40:
            _, _, terminated, truncated, _ = env.step(policy.act_on_state(env.state))
            steps, ended = steps + 1, terminated or truncated
        assert env.metrics()[env.objective] == env.metrics()[env.objective], name
