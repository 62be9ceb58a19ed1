"""The DeepRM oracle against the worked examples and golden episodes measured on the public code."""

import numpy as np
import pytest

from tests.oracles.deeprm_oracle import DeepRMOracle, legacy_jobsets

NONE = (0, 0, 0)
ELEMENTS_A = [(5, 9, 1), (3, 6, 2), (2, 2, 5), (1, 8, 1), NONE, (2, 9, 1), NONE, NONE]


def oracle_of(elements, **settings):
    """An oracle over elements (length, demand 0, demand 1)."""
    return DeepRMOracle([e[0] for e in elements], [e[1:] for e in elements], **settings)


def cells(*blocks):
    """The set of (row, column) in blocks of (rows, columns), both inclusive ranges."""
    return {(r, c) for rows, columns in blocks for r in range(rows[0], rows[1] + 1) for c in columns}


def span(first, last):
    return range(first, last + 1)


def occupied(oracle):
    """Set cells of the image without its last column."""
    return {(int(r), int(c)) for r, c in np.argwhere(oracle.image()[:, :-1] > 0)}


def check_canvas(oracle):
    """Row h of resource r is occupied exactly in columns 0..used-1, and used agrees with the list of booked jobs."""
    picture = oracle.image()
    block = oracle.capacity * (1 + oracle.slots)
    for resource in range(oracle.resources):
        for row in range(oracle.horizon):
            used = oracle.capacity - oracle.free(row, resource)
            machine = picture[row, resource * block : resource * block + oracle.capacity]
            assert machine.tolist() == [1] * used + [0] * (oracle.capacity - used)


EXAMPLE_A = [
    # action, time, published reward, reward with the linger fixed, occupied cells, time since arrival
    (10, 1, -1 / 3, -1 / 3, cells(((0, 2), [*span(10, 15), 120, 121])), 0.0),
    (0, 1, 0, 0, cells(((0, 2), [*span(0, 5), 110, 111])), 0.0),
    (10, 2, -5 / 6, -5 / 6, cells(((0, 1), [*span(0, 5), 10, 11, 110, 111, *span(120, 124)])), 0.0),
    (0, 2, 0, 0, cells(((0, 1), [*span(0, 7), *span(110, 116)])), 0.0),
    (10, 3, -11 / 6, -11 / 6, cells(((0, 0), [*span(0, 7), *span(10, 17), *span(110, 116), 120])), 0.0),
    (0, 3, 0, 0, cells(((0, 0), [*span(0, 7), *span(110, 116)]), ((1, 1), [*span(0, 7), 110])), 0.0),
    (10, 4, -1.5, -1.0, cells(((0, 0), [*span(0, 7), 110])), 0.1),
    (10, 5, -1.5, -0.5, cells(((0, 1), [*span(10, 18), 120])), 0.0),
    (0, 5, 0, 0, cells(((0, 1), [*span(0, 8), 110])), 0.0),
    (10, 6, -0.5, -0.5, cells(((0, 0), [*span(0, 8), 110])), 0.1),
    (10, 7, 0, 0, set(), 0.2),
    (10, 8, 0, 0, set(), 0.3),
]


@pytest.mark.parametrize(("linger", "total"), [(True, -6.5), (False, -5.0)])
def test_example_a_step_by_step(linger, total):
    oracle = oracle_of(ELEMENTS_A, mode="published", linger=linger)
    assert oracle.image().shape == (20, 224)
    assert not oracle.image().any()
    rewards = []
    for number, (action, time, published, fixed, expected, since) in enumerate(EXAMPLE_A):
        reward, terminated, truncated = oracle.step(action)
        assert reward == pytest.approx(published if linger else fixed)
        assert (oracle.state.time, terminated, truncated) == (time, number == len(EXAMPLE_A) - 1, False)
        assert occupied(oracle) == expected
        assert np.allclose(oracle.image()[:, 223], since)
        check_canvas(oracle)
        rewards.append(reward)
    assert sum(rewards) == pytest.approx(total)
    assert oracle.slowdowns() == [1, 1, 2, 1]


def test_example_b_a_block_need_not_be_a_rectangle():
    oracle = oracle_of([NONE, (2, 6, 2), (3, 2, 5), NONE], mode="published")
    for action in (10, 0, 10, 0):
        oracle.step(action)
    assert occupied(oracle) == cells(((0, 0), [*span(0, 7), *span(110, 116)]), ((1, 2), [0, 1, *span(110, 114)]))
    rows = oracle.state.canvas[0]
    assert rows[0][6] == rows[0][7] == rows[1][0] == rows[1][1] == rows[2][0] != rows[0][0]


def test_example_c_backlog_enters_the_freed_slot():
    oracle = oracle_of([NONE] + [(1, 1, 1 + k % 2) for k in range(17)] + [NONE], mode="published")
    for _ in range(17):
        reward, _, _ = oracle.step(10)
    assert reward == pytest.approx(-17)
    assert {(r, c) for r, c in occupied(oracle) if c >= 220} == cells(((0, 1), span(220, 222)), ((2, 2), [220]))
    eleventh = oracle.state.backlog[0]
    assert oracle.step(3) == (0, False, False)
    assert oracle.state.slots[3] is eleventh is oracle.state.entered[10]
    assert {(r, c) for r, c in occupied(oracle) if c >= 220} == cells(((0, 1), span(220, 222)))
    assert oracle.state.time == 17


def books_behind(bookings, mode):
    """Slot 0 holds a 15-step job behind full-width two-row bookings at time 4; give the oracle."""
    elements = [NONE] + [(2, 10, 1)] * bookings + [NONE] * (3 - bookings) + [(15, 10, 1), NONE]
    oracle = oracle_of(elements, mode=mode)
    for _ in range(4):
        oracle.step(oracle.slots)
    return oracle


def test_example_d_latest_offset():
    # Booked while they arrive, two-row jobs would run off; here all are booked at time 4.
    published, corrected = books_behind(2, "published"), books_behind(2, "corrected")
    for oracle in (published, corrected):
        for slot in (0, 1):
            oracle.step(slot)
        oracle.step(2)
        assert oracle.state.running[-1].start == 4 + 4
    three = books_behind(3, "published")
    for slot in (0, 1, 2):
        assert three.step(slot)[0] == 0
    assert three.mask().tolist() == [0] * 10 + [1]
    reward, _, _ = three.step(3)
    assert (three.state.time, reward) == (5, pytest.approx(-1.566667, abs=1e-6))


def test_example_d_offsets_of_the_longest_job():
    for mode, latest in (("published", 4), ("corrected", 5)):
        for rows in range(1, 8):
            oracle = oracle_of([NONE, (rows, 10, 1), (15, 10, 1)], mode=mode)
            for action in (10, 10, 0):
                oracle.step(action)
            offset = oracle.first_offset(oracle.state.slots[1])
            assert offset == (rows if rows <= latest else None)
    whole = [NONE, (20, 1, 1)]
    for mode, fits in (("published", 0), ("corrected", 1)):
        oracle = oracle_of(whole, mode=mode)
        oracle.step(10)
        assert oracle.mask()[0] == fits
        assert oracle.sjf() == (0 if fits else 10)


def test_example_e_compact():
    oracle = oracle_of([NONE, (3, 6, 2), (2, 2, 5), NONE], mode="published")
    for action in (10, 0, 10):
        oracle.step(action)
    expected = np.zeros(91)
    expected[0:2] = 1
    expected[20:60] = 10
    expected[20:22] = 4
    expected[40:42] = 8
    expected[60:63] = 2, 2, 5
    assert oracle.compact().tolist() == expected.tolist()


def test_first_elements_of_the_public_seed():
    lengths, demands = legacy_jobsets(42, 1, 0.7, 50)
    listed = [(12, 1, 9), (3, 9, 2), (1, 2, 8), NONE, (10, 2, 10), (3, 6, 2), (2, 1, 10), (1, 9, 1)]
    assert [(int(length), *demand.tolist()) for length, demand in zip(lengths[0, :8], demands[0, :8], strict=True)] == (
        listed
    )


POLICIES = {
    "sjf": lambda oracle: oracle.sjf(),
    "packer": lambda oracle: oracle.packer(),
    "packer_sjf 0.5": lambda oracle: oracle.packer_sjf(0.5),
    "packer_sjf 0.02": lambda oracle: oracle.packer_sjf(0.02),
}

GOLDEN = [
    # arrival rate, slots, drawn, arriving, policy, decisions, return, mean slowdown, floored (if printed), last finish
    (0.7, 10, 35, 34, "sjf", 150, -173.892774, 5.055670, 4.852941, 116),
    (0.7, 10, 35, 34, "packer", 148, -648.429454, 18.997925, 18.794118, 113),
    (0.7, 10, 35, 34, "packer_sjf 0.5", 148, -640.099617, 18.752930, None, 113),
    (0.7, 10, 35, 34, "packer_sjf 0.02", 149, -194.661788, 5.612602, None, 115),
    (0.3, 5, 20, 20, "sjf", 94, -71.318881, 3.561399, None, 74),
    (0.3, 5, 20, 20, "packer", 91, -201.847086, 9.975688, None, 71),
    (1.0, 10, 50, 49, "sjf", 188, -279.251282, 5.511931, None, 139),
    (1.0, 10, 50, 49, "packer", 184, -1177.664469, 23.933288, None, 134),
]


def play(oracle, policy):
    """Follow a policy to the end; give (decisions, return)."""
    total, over = 0.0, False
    while not over:
        reward, terminated, truncated = oracle.step(policy(oracle))
        total += reward
        over = terminated or truncated
    return oracle.state.decisions, total


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row[4]} p={row[0]}")
def test_golden_episodes(row):
    rate, slots, drawn, arriving, policy, decisions, total, slowdown, floored, last_finish = row
    lengths, demands = legacy_jobsets(42, 1, rate, 50)
    assert np.count_nonzero(lengths) == drawn
    oracle = DeepRMOracle(lengths[0], demands[0], mode="published", slots=slots)
    assert play(oracle, POLICIES[policy]) == (decisions, pytest.approx(total, abs=1e-6))
    assert len(oracle.slowdowns()) == arriving
    assert np.mean(oracle.slowdowns()) == pytest.approx(slowdown, abs=1e-6)
    if floored is not None:
        assert np.mean(oracle.floored_slowdowns()) == pytest.approx(floored, abs=1e-6)
    assert max(job.finish for job in oracle.state.entered) == last_finish


def test_golden_sjf_with_the_linger_fixed_alone():
    lengths, demands = legacy_jobsets(42, 1, 0.7, 50)
    oracle = DeepRMOracle(lengths[0], demands[0], mode="published", linger=False)
    assert play(oracle, POLICIES["sjf"])[1] == pytest.approx(-171.892774, abs=1e-6)


@pytest.mark.parametrize("last_row", [True, False])
def test_golden_sjf_corrected(last_row):
    lengths, demands = legacy_jobsets(42, 1, 0.7, 50)
    oracle = DeepRMOracle(lengths[0], demands[0], mode="corrected", last_row=last_row)
    assert play(oracle, POLICIES["sjf"]) == (159, pytest.approx(-172.458075, abs=1e-6))
    assert len(oracle.slowdowns()) == 35
    assert np.mean(oracle.slowdowns()) == pytest.approx(4.929755, abs=1e-6)
    assert max(job.finish for job in oracle.state.entered) == 124


@pytest.mark.parametrize("seed", range(4))
def test_return_is_minus_the_slowdowns_and_canvas_agrees_with_bookings(seed):
    random = np.random.default_rng(seed)
    lengths, demands = legacy_jobsets(seed, 1, 0.8, 25)
    oracle = DeepRMOracle(lengths[0], demands[0])
    total = 0.0
    over = False
    while not over:
        reward, over, _ = oracle.step(int(random.integers(11)))
        total += reward
        check_canvas(oracle)
        assert oracle.state.backlog == [] or all(job is not None for job in oracle.state.slots)
    at_zero = sum(1 / job.length for job in oracle.state.entered if job.enter == 0)
    assert total == pytest.approx(-sum(oracle.slowdowns()) + at_zero)


@pytest.mark.parametrize(("silent_loss", "rewards"), [(True, [-2, -3, -3, -3, -3]), (False, [-2, -3, -4, -5, -5])])
def test_dropped_jobs_cost_unless_lost_silently(silent_loss, rewards):
    settings = {"slots": 1, "horizon": 2, "backlog": 2, "silent_loss": silent_loss, "max_steps": 5}
    oracle = oracle_of([(1, 1, 1)] * 5 + [NONE] * 2, **settings)
    outcomes = [oracle.step(1) for _ in range(5)]
    assert [outcome[0] for outcome in outcomes] == rewards
    assert outcomes[-1][1:] == (False, True)
    assert len(oracle.state.dropped) == 2


def test_no_new_job_ends_with_the_jobset():
    oracle = oracle_of([(3, 5, 5), (3, 5, 5)], episode_end="no_new_job")
    assert [oracle.step(10)[1] for _ in range(2)] == [False, True]
    assert oracle.slowdowns() == []


def test_sjf_hold_starts_a_long_job_only_in_quiet():
    oracle = oracle_of([(4, 3, 5), (3, 4, 4), (3, 7, 1)] + [NONE] * 10)
    expected = [
        # what SJF does, what the hold rule does (and the test follows)
        (0, 10),  # t = 0: an arrival was just now
        (1, 1),  # t = 1: the short job fits
        (0, 10),
        (0, 10),  # t = 2: a short job is in a slot, even though it does not fit
        (0, 10),  # t = 3
        (1, 1),  # t = 4: the short job fits, and starts
        (0, 10),
        (0, 10),  # t = 5
        (0, 10),  # t = 6
        (0, 0),  # t = 7: five steps without an arrival
    ]
    for sjf, hold in expected:
        assert (oracle.sjf(), oracle.sjf_hold()) == (sjf, hold)
        oracle.step(hold)


def test_sjf_hold_starts_a_long_job_when_the_backlog_is_not_empty():
    oracle = oracle_of([(4, 3, 5), (5, 3, 5), NONE], slots=1)
    assert oracle.sjf_hold() == 1
    oracle.step(1)
    assert oracle.sjf_hold() == 0
