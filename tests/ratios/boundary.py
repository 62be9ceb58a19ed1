"""What it costs to ask a policy file that plays in a process of its own, behind its fences."""

import statistics
import tempfile
import time
from pathlib import Path

import gymnasium as gym

import sysgym  # noqa: F401  registers the ids
from sysgym.bench.isolation import open_isolated

POLICY = "def act(observation, action_mask):\n    return int(action_mask.argmax())\n"
QUESTIONS = 5_000


def boundary_rows(rows):
    """Median of the wall time between a question and its answer, where the policy itself does next to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "first.py"
        path.write_text(POLICY)
        for env_id in ("sysgym/JobSched-v0", "sysgym/BatchSched-v0"):
            env = gym.make(env_id)
            observation, info = env.reset(seed=0)
            policy = open_isolated(path, None, env)
            spent = []
            for _ in range(QUESTIONS):
                begin = time.perf_counter()
                policy.act(observation, info["action_mask"])
                spent.append(time.perf_counter() - begin)
            policy.close()
            seconds = statistics.median(spent)
            beside = f"{1e6 * seconds:.0f} microseconds, goal 100"
            rows.append(
                (f"process boundary, {env_id.removeprefix('sysgym/')}, questions/s", 1 / seconds, 10_000, beside)
            )


if __name__ == "__main__":
    measured = []
    boundary_rows(measured)
    for name, found, _, remark in measured:
        print(f"{name:60} {found:12,.0f}  {remark}")
