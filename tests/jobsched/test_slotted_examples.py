"""The worked examples and golden episodes that were measured on the public DeepRM code, in both engines."""

import numpy as np
import pytest

from sysgym.jobsched.slotted.policies import packer, packer_sjf, sjf
from sysgym.workloads.jobsets import FixedJobsets, JobsetGenerator, legacy_jobsets
from tests.jobsched.slotted_play import ENGINES, NONE, Episode, config_for, episode_of, jobset

VOID = 10
TRUE_DIVISION = {"floor_slowdown": False}

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def columns(text):
    """Columns of a list such as "0-5 110"."""
    chosen = set()
    for part in text.split():
        first, _, last = part.partition("-")
        chosen |= set(range(int(first), int(last or first) + 1))
    return chosen


def picture(rows):
    """(row, column) of every cell of {"0-2": "10-15 120", ...}, rows and columns inclusive."""
    return {(row, column) for span, cells in rows.items() for row in columns(span) for column in columns(cells)}


def occupied(episode):
    """(row, column) of every set cell but those of the last column."""
    return {(int(row), int(column)) for row, column in np.argwhere(episode.image[:, :-1] > 0)}


EXAMPLE_A = [
    # action, time, published reward, reward with the linger fixed, cells, time since arrival
    (VOID, 1, -1 / 3, -1 / 3, {"0-2": "10-15 120-121"}, 0),
    (0, 1, 0, 0, {"0-2": "0-5 110-111"}, 0),
    (VOID, 2, -0.833333, -0.833333, {"0-1": "0-5 10-11 110-111 120-124"}, 0),
    (0, 2, 0, 0, {"0-1": "0-7 110-116"}, 0),
    (VOID, 3, -1.833333, -1.833333, {"0": "0-7 10-17 110-116 120"}, 0),
    (0, 3, 0, 0, {"0": "0-7 110-116", "1": "0-7 110"}, 0),
    (VOID, 4, -1.5, -1.0, {"0": "0-7 110"}, 1),
    (VOID, 5, -1.5, -0.5, {"0-1": "10-18 120"}, 0),
    (0, 5, 0, 0, {"0-1": "0-8 110"}, 0),
    (VOID, 6, -0.5, -0.5, {"0": "0-8 110"}, 1),
    (VOID, 7, 0, 0, {}, 2),
    (VOID, 8, 0, 0, {}, 3),
]


@pytest.mark.parametrize("observation", ["image", "image_uint8", "image_colour"])
@pytest.mark.parametrize(("linger", "total"), [(True, -6.5), (False, -5.0)])
def test_example_a(engine, linger, total, observation):
    elements = jobset((5, 9, 1), (3, 6, 2), (2, 2, 5), (1, 8, 1), NONE, (2, 9, 1), NONE, NONE)
    palette = 39 if observation == "image_colour" else 0
    episode = episode_of(engine, elements, "published", observation, linger=linger, palette=palette)
    assert occupied(episode) == set()
    for place, (action, time, published, fixed, cells, since) in enumerate(EXAMPLE_A):
        reward = episode.step(action)
        assert reward == pytest.approx(published if linger else fixed, abs=1e-6)
        assert episode.state.time == time
        assert occupied(episode) == picture(cells)
        expected = since if observation == "image_uint8" else np.float32(since / 10)
        assert (episode.image[:, 223] == expected).all()
        assert episode.ended == (place == len(EXAMPLE_A) - 1)
    assert episode.total == pytest.approx(total, abs=1e-6)


def test_example_b_a_jobs_cells_need_not_share_columns(engine):
    episode = episode_of(
        engine, jobset(NONE, (2, 6, 2), (3, 2, 5)), "published", observation="image_colour", palette=39
    )
    for action in (VOID, 0, VOID, 0):
        episode.step(action)
    assert occupied(episode) == picture({"0": "0-7 110-116", "1-2": "0-1 110-114"})
    first, second = episode.image[0, 0], episode.image[0, 6]
    assert first != second
    colours = np.round(np.array([first, second]) * 40, 4)
    assert (colours == colours.astype(int)).all() and colours.min() >= 1 and colours.max() <= 39
    assert (episode.image[0, :6] == first).all() and (episode.image[0, 110:112] == first).all()
    assert (episode.image[0, 6:8] == second).all() and (episode.image[1:3, 0:2] == second).all()
    assert (episode.image[1:3, 110:115] == second).all()


def test_example_c_backlog(engine):
    episode = episode_of(engine, jobset(NONE, *[(1, 1, 1)] * 17), "published")
    reward = [episode.step(VOID) for _ in range(17)][-1]
    assert reward == -17 and episode.state.backlog_count == 7
    backlog = {(row, column) for row, column in occupied(episode) if column >= 220}
    assert backlog == picture({"0-1": "220-222", "2": "220"})
    time, others = episode.state.time, np.delete(episode.state.slot_job, 3).tolist()
    assert episode.step(3) == 0
    assert episode.state.slot_job[3] == 11  # element 11 is the 11th job, because element 0 is none
    assert (episode.state.time, np.delete(episode.state.slot_job, 3).tolist()) == (time, others)
    backlog = {(row, column) for row, column in occupied(episode) if column >= 220}
    assert backlog == picture({"0-1": "220-222"})


@pytest.mark.parametrize(("mode", "latest"), [("published", 4), ("corrected", 5)])
def test_example_d_latest_offset(engine, mode, latest):
    wide = [(2, 10, 10)] * 2 + [(1, 10, 10)] * (latest - 4)
    elements = jobset(NONE, *wide, (15, 1, 1), *[NONE] * 3)
    episode = episode_of(engine, elements, mode, horizon=20)
    for _ in range(len(wide) + 1):
        episode.step(VOID)
    for action in range(len(wide)):
        episode.step(action)
    assert episode.mask[len(wide)] == 1
    time = episode.state.time
    episode.step(len(wide))
    assert episode.state.time == time
    assert episode.state.job_start[len(wide) + 1] == time + latest


def test_example_d_behind_three_full_bookings_the_action_passes_time(engine):
    elements = jobset(NONE, (2, 10, 10), (2, 10, 10), (2, 10, 10), (15, 1, 1), *[NONE] * 3)
    episode = episode_of(engine, elements, "published")
    for action in (VOID, VOID, VOID, VOID, 0, 1, 2):
        episode.step(action)
    assert (episode.state.time, episode.mask[3]) == (4, 0)
    assert episode.step(3) == pytest.approx(-1.566667, abs=1e-6)
    assert episode.state.time == 5


def test_example_e_compact(engine):
    episode = episode_of(engine, jobset(NONE, (3, 6, 2), (2, 2, 5)), "published", "compact")
    for action in (VOID, 0, VOID):
        episode.step(action)
    expected = np.zeros(91)
    expected[0:2] = 1
    expected[20:60] = 10
    expected[20:22], expected[40:42] = 4, 8
    expected[60:63] = 2, 2, 5
    assert episode.image.tolist() == expected.tolist()


def test_features_by_slot_tell_the_job_the_queue_and_the_machine(engine):
    episode = episode_of(engine, jobset(NONE, (3, 6, 2), (2, 2, 5), (12, 5, 5)), "corrected", "slots")
    for action in (VOID, 0, VOID, VOID):
        episode.step(action)
    rows = episode.image
    common = [2 / 10, 1 / 10, 2 / 40, 0 / 10, 0.6, 0.2] + [0.0] * 14
    assert rows.shape == (10, 27)
    # the short job fits now, the long one behind the running job's last time step
    assert rows[0].tolist() == pytest.approx([1, 2 / 20, 1 / 2, 1, 0, 0.2, 0.5, *common])
    assert rows[1].tolist() == pytest.approx([1, 12 / 20, 1 / 12, 1 - 1 / 20, 1 / 10, 0.5, 0.5, *common])
    assert (rows[2:] == [0] * 7 + [np.float32(value) for value in common]).all()


GOLDEN = [
    # arrival rate, slots, policy, decisions, return, mean slowdown, floored, last finish, jobs
    (0.7, 10, sjf(), 150, -173.892774, 5.055670, 4.852941, 116, 34),
    (0.7, 10, packer(), 148, -648.429454, 18.997925, 18.794118, 113, 34),
    (0.7, 10, packer_sjf(0.5), 148, -640.099617, 18.752930, None, 113, 34),
    (0.7, 10, packer_sjf(0.02), 149, -194.661788, 5.612602, None, 115, 34),
    (0.3, 5, sjf(), 94, -71.318881, 3.561399, None, 74, 20),
    (0.3, 5, packer(), 91, -201.847086, 9.975688, None, 71, 20),
    (1.0, 10, sjf(), 188, -279.251282, 5.511931, None, 139, 49),
    (1.0, 10, packer(), 184, -1177.664469, 23.933288, None, 134, 49),
]


def golden_episode(engine, rate, slots, **quirks):
    source = FixedJobsets(legacy_jobsets(42, 1, JobsetGenerator(arrival_rate=rate)))
    return Episode(engine, config_for(source, "published", slots=slots, **quirks), source).reset()


@pytest.mark.parametrize(("rate", "slots", "policy", "decisions", "total", "mean", "floored", "last", "jobs"), GOLDEN)
def test_golden_episodes(engine, rate, slots, policy, decisions, total, mean, floored, last, jobs):
    episode = golden_episode(engine, rate, slots, **TRUE_DIVISION)
    scores = episode.play(policy)
    assert (episode.decisions, scores["makespan"], scores["jobs"]) == (decisions, last, jobs)
    assert episode.total == pytest.approx(total, abs=1e-6)
    assert scores["mean_slowdown"] == pytest.approx(mean, abs=1e-6)
    if floored is not None:
        assert scores["floored_slowdown"] == pytest.approx(floored, abs=1e-6)
        as_published = golden_episode(engine, rate, slots)
        assert as_published.play(policy)["mean_slowdown"] == pytest.approx(floored, abs=1e-6)


def test_golden_sjf_with_quirks_fixed_one_after_the_other(engine):
    episode = golden_episode(engine, 0.7, 10, linger=False)
    episode.play(sjf())
    assert episode.total == pytest.approx(-171.892774, abs=1e-6)
    for last_row in (True, False):
        quirks = {"linger": False, "skip_first": False, "last_row": last_row, **TRUE_DIVISION}
        episode = golden_episode(engine, 0.7, 10, **quirks)
        scores = episode.play(sjf())
        assert (episode.decisions, scores["jobs"], scores["makespan"]) == (159, 35, 124)
        assert episode.total == pytest.approx(-172.458075, abs=1e-6)
        assert scores["mean_slowdown"] == pytest.approx(4.929755, abs=1e-6)
