"""Both engines against the literal oracle, which shares no line with the package, step by step.

`SYSGYM_ORACLE_STEPS=100000` compares that many steps of every case, in some minutes; by default it's a sample.
"""

import os

import numpy as np
import pytest

from sysgym.workloads.jobsets import FixedJobsets, JobsetGenerator, jobset_of
from tests.jobsched.slotted_play import ENGINES, Episode, config_for
from tests.oracles.deeprm_oracle import DeepRMOracle

STEPS = int(os.environ.get("SYSGYM_ORACLE_STEPS", "1500"))
QUIRKS = ("linger", "last_row", "skip_first", "silent_loss")


def choose(random, mask):
    """Mostly an allowed action, so that the cluster fills; sometimes any, so that time passes by mistake too."""
    allowed = np.flatnonzero(mask)
    return int(random.choice(allowed)) if random.random() < 0.8 else int(random.integers(len(mask)))


@pytest.mark.parametrize(
    ("mode", "episode_end", "cluster"),
    [
        ("published", "all_done", {}),
        ("corrected", "all_done", {}),
        ("published", "no_new_job", {"slots": 2, "backlog": 20}),
        ("corrected", "no_new_job", {"slots": 2, "backlog": 20}),
    ],
)
def test_both_engines_do_what_the_oracle_does(mode, episode_end, cluster):
    steps, number = 0, 0
    random = np.random.default_rng(0)
    while steps < STEPS:
        rate = float(random.choice([0.3, 0.7, 1.0]))
        jobs = jobset_of(JobsetGenerator(rate, int(random.choice([10, 50]))), 0, number)
        number += 1
        limits = {"max_steps": int(random.choice([40, 300])), "episode_end": episode_end, **cluster}
        source = FixedJobsets([jobs])
        config = config_for(source, mode, **limits)
        images = [Episode(engine, config, source).reset() for engine in ENGINES]
        compact = Episode("compiled", config, source, "compact").reset()
        oracle = DeepRMOracle(jobs.length, jobs.demand, mode=mode, **limits)
        terminated = truncated = False
        while not (terminated or truncated):
            look_closely = steps % 10 == 0 or STEPS < 10_000
            if look_closely:
                picture, vector = oracle.image(), oracle.compact()
                lingering = any(job.finish < oracle.state.time for job in oracle.state.running)
                assert all(np.array_equal(episode.image, picture) for episode in images)
                assert np.array_equal(compact.image, vector) or lingering
            mask = oracle.mask()
            assert all(np.array_equal(episode.mask, mask) for episode in (*images, compact))
            action = choose(random, mask)
            reward, terminated, truncated = oracle.step(action)
            for episode in (*images, compact):
                assert episode.step(action) == pytest.approx(reward, abs=1e-9)
                flags = bool(episode.slot.terminated[0]), bool(episode.slot.truncated[0])
                assert flags == (terminated, truncated)
            steps += 1
        scores = images[0].engine.metrics(0)
        booked = oracle.slowdowns()
        if booked and scores["booked"] == scores["jobs"]:
            expected = np.mean(oracle.floored_slowdowns() if config.floor_slowdown else booked)
            assert scores["mean_slowdown"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("quirk", QUIRKS)
def test_each_quirk_alone(quirk):
    for number in range(3):
        jobs = jobset_of(JobsetGenerator(1.0, 30), 1, number)
        source = FixedJobsets([jobs])
        cluster = {"slots": 3, "backlog": 0, quirk: True}
        episodes = [Episode(engine, config_for(source, **cluster), source).reset() for engine in ENGINES]
        oracle = DeepRMOracle(jobs.length, jobs.demand, **cluster)
        random, ended = np.random.default_rng(number), False
        while not ended:
            mask = oracle.mask()
            action = choose(random, mask)
            reward, terminated, truncated = oracle.step(action)
            ended = terminated or truncated
            for episode in episodes:
                assert np.array_equal(episode.mask, mask)
                assert episode.step(action) == pytest.approx(reward, abs=1e-9)
                assert episode.ended == ended
