"""Golden hashes: a change that alters them is a new version of the environment, never a quiet edit.

Three seeds for the random heuristic and one other, event log and observations, in both engines. After an intended
change, raise the version and print new hashes with `python -m tests.golden.test_golden`.
"""

import hashlib
import json
from pathlib import Path

import gymnasium as gym
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.envs.registration import ENVIRONMENTS

FILE = Path(__file__).with_name("hashes.json")
HEURISTICS = {
    "sysgym/AdmissionQueue-v0": "at_least_4",
    "sysgym/DagSched-v0": "fair",
    "sysgym/ExprSimplify-v0": "climbing",
    "sysgym/GpuSched-v0": "fgd",
    "sysgym/IndexTune-v0": "two_phase",
    "sysgym/Placement-v0": "least_load",
    "sysgym/ScheduleRewrite-v0": "sjf_offline",
}
CASES = [
    (row.env_id, name, seed)
    for row in ENVIRONMENTS
    for name in ("random", HEURISTICS.get(row.env_id, "sjf"))
    for seed in range(3)
]


def as_bytes(observation):
    """An observation of one array, or of several by name."""
    if isinstance(observation, dict):
        return b"".join(observation[name].tobytes() for name in sorted(observation))
    return observation.tobytes()


def hashes(env_id, heuristic, seed, engine):
    """SHA-256 of an episode's event log, and of its observations, rewards and masks."""
    env = gym.make(env_id, engine=engine).unwrapped
    build = env.heuristics[heuristic]
    policy = build(seed=seed) if heuristic == "random" else build()
    policy.reset()
    observation, info = env.reset(seed=seed)
    met = hashlib.sha256(as_bytes(observation))
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(policy.act_on_state(env.state))
        ended = terminated or truncated
        for part in (as_bytes(observation), repr(reward).encode(), info["action_mask"].tobytes()):
            met.update(part)
    return [env.events.sha256(), met.hexdigest()]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize(("env_id", "heuristic", "seed"), CASES)
def test_golden_hashes(env_id, heuristic, seed, engine):
    golden = json.loads(FILE.read_text())
    assert hashes(env_id, heuristic, seed, engine) == golden[f"{env_id} {heuristic} {seed}"]


if __name__ == "__main__":
    FILE.write_text(json.dumps({f"{i} {h} {s}": hashes(i, h, s, "compiled") for i, h, s in CASES}, indent=1) + "\n")
