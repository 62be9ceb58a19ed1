"""`make bench`: one table of rates, each beside its peer and its goal, medians of one run on one core.

A rate is the median of several timed rounds after a warm-up that compiles. Peers that are not installed are named as
missing. Nothing here decides a test.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

import sysgym  # noqa: F401  registers the ids
from sysgym.bench.replays import Player
from sysgym.jobsched import replay
from sysgym.workloads import poisson_pareto, read_trace, write_swf
from tests.ratios import learned_index
from tests.ratios.backends import backend_rows
from tests.ratios.bootstrap import bootstrap_rows, page_rows
from tests.ratios.boundary import boundary_rows
from tests.ratios.dag import dag_rows
from tests.ratios.deeprm import deeprm_rows
from tests.ratios.exprsimp import expression_rows
from tests.ratios.gpu import gpu_rows
from tests.ratios.learning import learning_rows
from tests.ratios.logs import million_job_rows
from tests.ratios.placement import placement_rows
from tests.ratios.placement_environment import placement_environment_rows
from tests.ratios.reference_bands import band_rows
from tests.ratios.schedule_rewriting import rewriting_rows

ROUNDS = 7
DATA = Path(os.environ.get("SYSGYM_DATA") or Path(__file__).parents[3] / "shared" / "data")


def rate(work, amount, rounds=ROUNDS):
    """Median of `amount` over the seconds that `work()` takes."""
    work()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return amount / statistics.median(seconds)


def stepping(envs, steps, num_envs):
    """Random allowed actions; only `step` is timed, the drawing of actions is not."""
    generator = np.random.default_rng(0)
    _, info = envs.reset(seed=0)
    masks = np.array(info["action_mask"])

    def timed():
        nonlocal masks
        spent = 0.0
        for _ in range(steps):
            scores = generator.random(masks.shape, dtype=np.float32) * (masks != 0)
            actions = scores.argmax(axis=1)
            begin = time.perf_counter()
            _, _, _, _, info = envs.step(actions)
            spent += time.perf_counter() - begin
            masks = info["action_mask"] if masks.dtype == np.int8 else np.stack(info["action_mask"])
        return spent

    timed()
    return steps * num_envs / statistics.median(timed() for _ in range(ROUNDS))


def single(env_id, steps, **arguments):
    """Steps a second of one environment through `gym.make`, resets included."""
    env = gym.make(env_id, **arguments)
    generator = np.random.default_rng(0)

    def work():
        _, info = env.reset(seed=0)
        for draw in generator.random(steps):
            allowed = info["action_mask"].nonzero()[0]
            _, _, terminated, truncated, info = env.step(allowed[int(draw * len(allowed))])
            if terminated or truncated:
                _, info = env.reset()

    return rate(work, steps, 3)


def log_rows(rows):
    """Replay and reading, on SDSC-SP2 where it is at hand, else on a generated log of its length."""
    path = DATA / "traces/swf/SDSC-SP2-sc15.swf.gz"
    name = "SDSC-SP2"
    with tempfile.TemporaryDirectory() as folder:
        if not path.exists():
            path, name = Path(folder) / "generated.swf.gz", "generated log"
            write_swf(poisson_pareto(54_006, 128, load=0.82, seed=0), path)
        jobs = read_trace(path)
        count = len(jobs)
        rows.append((f"read {name} (.swf.gz, cleaned), rows/s", rate(lambda: read_trace(path), count), 200_000, ""))
    compiled = rate(lambda: replay(jobs, "easy"), count)
    simpy = rate(lambda: replay(jobs, "easy", engine="simpy"), count, 3)
    rows.append((f"EASY, whole {name}, compiled, jobs/s", compiled, 600_000, f"{compiled / simpy:.0f}x SimPy"))
    rows.append(
        (f"EASY, whole {name}, SimPy, jobs/s", simpy, 40_000, "RLScheduler's loop: 43,000 (measured elsewhere)")
    )
    reserved = rate(lambda: replay(jobs, "conservative"), count, 3)
    rows.append(
        (f"conservative, whole {name}, compiled, jobs/s", reserved, count, f"{count / reserved:.2f} s, goal 1 s")
    )
    learned = rate(lambda: replay(jobs, "easy_sjbf", "per_event", predictor="learned"), count, 3)
    rows.append((f"EASY++, learned predictor, whole {name}, compiled, jobs/s", learned, None, ""))
    for rule in ("easy", "none"):
        player = Player("learned", jobs, backfill=rule)
        played = rate(lambda player=player: player.play(jobs), count, 3)
        rows.append((f"learned policy, backfill={rule}, whole {name}, jobs/s", played, 20_000, ""))


def environment_rows(rows):
    """Stepping of the environments."""
    deeprm = "DeepRM's own code: 6,400 (measured elsewhere)"
    vector = stepping(gym.make_vec("sysgym/JobSched-v0", num_envs=64), 1000, 64)
    looped = stepping(gym.make_vec("sysgym/JobSched-v0", num_envs=64, vectorization_mode="sync"), 30, 64)
    rows.append(
        ("JobSched image, make_vec 64, steps/s", vector, 500_000, f"{vector / looped:.0f}x SyncVectorEnv; {deeprm}")
    )
    rows.append(("JobSched image, SyncVectorEnv 64, steps/s", looped, None, ""))
    one = single("sysgym/JobSched-v0", 5000, engine="compiled")
    rows.append(("JobSched image, gym.make compiled, steps/s", one, 60_000, deeprm))
    rows.append(
        ("JobSched image, gym.make SimPy, steps/s", single("sysgym/JobSched-v0", 1500, engine="simpy"), 6_400, "")
    )
    scheduler = "RLScheduler's: 3,000 (measured elsewhere)"
    for backfill in ("none", "easy"):
        envs = gym.make_vec("sysgym/BatchSched-v0", num_envs=64, backfill=backfill)
        rows.append(
            (f"BatchSched, make_vec 64, backfill={backfill}, decisions/s", stepping(envs, 500, 64), 150_000, scheduler)
        )


def main():
    """Measure and print."""
    rows = []
    bootstrap_rows(rows)
    page_rows(rows)
    boundary_rows(rows)
    band_rows(rows)
    log_rows(rows)
    deeprm_rows(rows)
    million_job_rows(rows)
    gpu_rows(rows, stepping, DATA)
    environment_rows(rows)
    dag_rows(rows, stepping, single, DATA)
    learning_rows(rows)
    backend_rows(rows)
    placement_rows(rows, rate)
    placement_environment_rows(rows, stepping, single)
    rewriting_rows(rows, rate, stepping)
    expression_rows(rows, rate, DATA)
    width = max(len(name) for name, *_ in rows)
    print(f"{'':{width}} {'rate':>12} {'goal':>12}  beside")
    for name, measured, goal, beside in rows:
        verdict = "" if goal is None else f"{goal:,.0f}" + ("" if measured >= goal else " !")
        print(f"{name:{width}} {measured:12,.0f} {verdict:>12}  {beside}")
    print(f"medians of one run, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    learned_index.main()


if __name__ == "__main__":
    main()
