"""The heuristics against the published code's mean slowdowns, and on small states where the answer is plain."""

import numpy as np
import pytest

from sysgym.core.errors import SettingError
from sysgym.jobsched.slotted.gated import GATES, SCORES, START
from sysgym.jobsched.slotted.kernel import SlottedKernel
from sysgym.jobsched.slotted.observation import ENCODERS
from sysgym.jobsched.slotted.policies import (
    HEURISTICS,
    GatedLinear,
    SjfHold,
    Tetris,
    packer,
    packer_sjf,
    sjf,
)
from sysgym.jobsched.slotted.tuning import play_gated, tune_gated
from sysgym.workloads.jobsets import FixedJobsets, JobsetGenerator, legacy_jobsets
from tests.jobsched.slotted_play import ENGINES, NONE, Episode, config_for, episode_of, jobset

TABLE = {
    # arrival rate: sjf, packer, knob .5, knob .1, knob .02, random (published mode, 500 jobsets of 50 elements)
    0.1: (1.48, 1.58, 1.56, 1.56, 1.51, 6.47),
    0.3: (2.63, 4.10, 3.91, 3.86, 2.98, 7.07),
    0.5: (3.65, 7.66, 7.08, 6.89, 4.42, 8.12),
    0.7: (5.01, 12.55, 11.53, 11.04, 6.41, 9.09),
    1.0: (8.42, 20.79, 19.14, 18.34, 11.21, 11.81),
}
RANDOM = HEURISTICS["random"]
POLICIES = (sjf, packer, lambda: packer_sjf(0.5), lambda: packer_sjf(0.1), lambda: packer_sjf(0.02), RANDOM)
JOBSETS = 80


def slowdowns(policy, source, jobsets, mode="published"):
    """Sum and number of slowdowns of each jobset."""
    episode = Episode("compiled", config_for(source, mode, floor_slowdown=False), source)
    sums = []
    for number in range(jobsets):
        scores = episode.reset(0, number).play(policy)
        if scores["jobs"]:
            sums.append((scores["mean_slowdown"] * scores["jobs"], scores["jobs"]))
    return np.array(sums)


@pytest.mark.parametrize("rate", TABLE)
def test_mean_slowdowns_of_the_published_table(rate):
    source = FixedJobsets(legacy_jobsets(42, JOBSETS, JobsetGenerator(arrival_rate=rate)))
    for build, published in zip(POLICIES, TABLE[rate], strict=True):
        sums = slowdowns(build(), source, JOBSETS)
        mean = sums[:, 0].sum() / sums[:, 1].sum()
        residual = sums[:, 0] - mean * sums[:, 1]  # standard error of a ratio of sums
        error = np.sqrt((residual**2).sum()) / sums[:, 1].sum()
        assert abs(mean - published) < 3.5 * error * np.sqrt(1 + JOBSETS / 500), (build, mean, published, error)


def test_sjf_hold_halves_the_slowdown_of_sjf():
    source = JobsetGenerator(0.7, split="test")
    held, plain = (slowdowns(build(), source, 150, "corrected")[:, 0].sum() for build in (SjfHold, sjf))
    assert 0.46 < held / plain < 0.57  # 0.516 on 500 jobsets


def test_choices_on_a_small_state():
    elements = jobset((10, 5, 9), (2, 1, 2), (1, 10, 10), NONE)
    episode = episode_of("compiled", elements)
    for _ in range(2):
        episode.step(10)
    policies = {name: build() for name, build in HEURISTICS.items() if name != "random"}
    expected = {"sjf": 2, "sjf_hold": 2, "gated_linear": 2, "packer": 2, "packer_sjf": 2, "tetris": 2}
    expected |= {"fcfs": 0, "void": 10}
    assert {name: policy.act_on_state(episode.state) for name, policy in policies.items()} == expected
    episode.step(1)  # leaves 9 and 8 units, where neither (5, 9) nor (10, 10) fits, and nobody books ahead
    assert episode.mask[:3].tolist() == [1, 0, 1]
    assert {policy.act_on_state(episode.state) for policy in policies.values()} == {10}


def test_sjf_hold_waits_for_calm():
    episode = episode_of("compiled", jobset((10, 5, 1), *[NONE] * 9))
    actions = []
    for _ in range(7):
        actions.append(SjfHold().act_on_state(episode.state))
        episode.step(actions[-1])
    assert actions == [10, 10, 10, 10, 10, 0, 10]


def test_tetris_weighs_both_parts_equally():
    # alignment 200/200 and length 15, against alignment 20/200 and length 1
    episode = episode_of("compiled", jobset((15, 10, 10), (1, 1, 1), NONE))
    episode.step(10)
    assert [Tetris(knob).act_on_state(episode.state) for knob in (0.0, 0.5, 0.52, 1.0)] == [1, 1, 0, 0]
    assert packer_sjf(0.5).act_on_state(episode.state) == 0
    with pytest.raises(SettingError, match="knob"):
        Tetris(1.5)


def test_random_repeats_by_seed_and_is_uniform():
    state = episode_of("compiled", jobset(NONE, NONE), slots=3).state
    first, second, other = RANDOM(1), RANDOM(1), RANDOM(2)
    draws = [policy.act_on_state(state) for policy in (first, second, other) for _ in range(400)]
    assert draws[:400] == draws[400:800] != draws[800:]
    assert np.bincount(draws, minlength=4).min() > 240


def test_the_gated_rule_begins_as_sjf_hold():
    source = JobsetGenerator(0.7, split="test")
    for number in range(6):
        scores = [Episode("compiled", config_for(source), source).reset(0, number).play(policy)
                  for policy in (SjfHold(), GatedLinear(START))]  # fmt: skip
        assert scores[0] == scores[1]


def test_a_tuned_rule_is_no_worse_than_where_it_began():
    source = JobsetGenerator(1.0)
    tuned = tune_gated(source, rounds=3, candidates=8, best=3, jobsets=8)
    assert len(tuned.weights) == len(SCORES) + len(GATES)
    assert tuned.frames > 3 * 8 * 8 * 50
    config = config_for(source)
    kernel = SlottedKernel(config, source, 60, ENCODERS["compact"])
    costs = [
        play_gated(kernel, np.tile(weights, (60, 1)), 7, np.arange(60))[0].sum() for weights in (tuned.weights, START)
    ]
    assert costs[0] < 1.05 * costs[1]
    again = tune_gated(source, rounds=3, candidates=8, best=3, jobsets=8)
    assert np.array_equal(tuned.weights, again.weights)


def test_what_a_policy_sees_of_its_choices():
    episode = episode_of("compiled", jobset((12, 5, 1), (2, 6, 2), (1, 2, 9), NONE, NONE), observation="choices")
    for _ in range(2):
        episode.step(10)
    rows, last = episode.image, episode.image[10]
    assert rows.shape == (11, 41)
    # the long job could start now; a shorter one (5 + 6 > 10) only without it, the other beside it (1 + 9 = 10)
    assert rows[0, :12] == pytest.approx([1, 0.6, 1 / 12, 1, 1, 0.2, 0.1, 0.1, 0.5, 0.1, 0.5, 0.9])
    assert rows[2, :3] == pytest.approx([1, 0.05, 1])
    assert not rows[3:, :12].any()
    assert (rows[:, 12:] == last[12:]).all()
    assert last[12:18] == pytest.approx([0.3, 0.3, (1 / 12 + 1 / 2 + 1) / 10, 0, 0, 1])
    assert last[18:23] == pytest.approx([0.1, 0.1, 0, 0, 0.1])
    episode.step(0)
    assert episode.image[1, 3] == 0  # it has to wait for the long one, 12 of 20 rows
    assert episode.image[1, 4] == pytest.approx(1 - 12 / 20)


def test_an_episode_without_jobs_has_the_least_slowdown():
    scores = episode_of("compiled", jobset(NONE, NONE)).play(sjf())
    assert (scores["jobs"], scores["mean_slowdown"], scores["max_slowdown"]) == (0, 1, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_only_a_value_sees(engine):
    elements = jobset((12, 5, 1), (2, 6, 2), NONE, (1, 2, 9))
    episode = episode_of(engine, elements, observation="choices_foreseen")
    plain = episode_of(engine, elements, observation="choices")
    assert episode.image.shape == (11, 41 + 53)
    assert (episode.image[:, :41] == plain.image).all() and not episode.image[:10, 41:].any()
    ahead = episode.image[10, 41:]
    assert ahead[:4] == pytest.approx([1, 0, 1.2 / 2.2, 0.4 / 1.4])  # one step: the job of two steps
    assert ahead[4:8] == pytest.approx([0.5, 0, 0.6 / 1.6, 0.2 / 1.2])  # two: nothing more
    assert ahead[8:12] == pytest.approx([2 / 3, 0, 14 / 44, 13 / 43])  # three: the job of one step as well
    assert ahead[44:49] == pytest.approx([2 / 50, 0, 14 / 514, 13 / 513, 1])
    assert not ahead[49:].any()
    episode.step(10)
    assert episode.image[10, 41 + 48] == pytest.approx(0.75)
