"""The optimum and the value of policies, against the published and derived digits."""

import numpy as np
import pytest

from sysgym.queueing.exact import episode_mean_of, finite_horizon_optimum, gain_of, optimal_gain, releases
from sysgym.queueing.model import QueueConfig

PRIORITIES = np.array([1.0, 2.0, 4.0, 8.0])


def at_least(priority, spare=None, servers=0):
    """A table that accepts from a priority on, and one lower priority when so many servers are free."""
    accept = np.tile(priority <= PRIORITIES, (11, 1))
    if spare is not None:
        accept[servers:, int(np.flatnonzero(spare == PRIORITIES)[0])] = True
    return accept


def test_the_optimum_to_nine_digits_and_its_policy():
    gain, accept = optimal_gain()
    assert gain == pytest.approx(2.747641951, abs=1e-9)
    assert not accept[0].any() and not accept[:10, 0].any()
    assert accept[:, 1].tolist() == [False] * 4 + [True] * 7
    assert accept[1:, 2:].all()
    assert gain_of(accept) == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize(
    ("accept", "gain"),
    [
        (np.zeros((11, 4)), 0.0),
        (np.full((11, 4), 0.5), 1.698242),
        (at_least(8), 1.994960),
        (np.ones((11, 4)), 2.181413),
        (at_least(2), 2.544463),
        (at_least(4), 2.717188),
        (at_least(4, 2.0, 3), 2.738272),
        (at_least(4, 2.0, 5), 2.740998),
    ],
)
def test_gains_of_policies(accept, gain):
    assert gain_of(accept) == pytest.approx(gain, abs=6e-7)


@pytest.mark.parametrize(
    ("servers", "probability", "gain"),
    [(1, 0.06, 24 / 59), (2, 0.06, 0.784323827), (3, 0.06, 1.124865276), (1, 1.0, 3.75)],
)
def test_small_queues(servers, probability, gain):
    assert optimal_gain(QueueConfig(servers, probability))[0] == pytest.approx(gain, abs=1e-9)


def test_the_optimum_scales_with_what_customers_pay():
    gain, accept = optimal_gain()
    for scale in (1e-9, 1e3, 1e12):
        config = QueueConfig(priorities=tuple(scale * each for each in PRIORITIES))
        assert optimal_gain(config)[0] == pytest.approx(scale * gain, rel=1e-9)
        assert np.array_equal(optimal_gain(config)[1], accept)


@pytest.mark.parametrize(
    ("config", "gain"),
    [
        (QueueConfig(free_probability=0.0), 0.0),
        (QueueConfig(free_probability=1e-6), 10 * 8e-6),  # who waits so long takes those who pay most
        (QueueConfig(priorities=(0.0, 0.0)), 0.0),
        (QueueConfig(2, 1.0, (5.0,)), 5.0),
        (QueueConfig(64, 0.9, (1.0, 3.0)), 2.0),
    ],
)
def test_extreme_queues(config, gain):
    found, accept = optimal_gain(config)
    assert found == pytest.approx(gain, rel=1e-3, abs=1e-12)
    assert not accept[0].any() and gain_of(accept, config) == pytest.approx(found, rel=1e-6, abs=1e-12)


def test_episodes_from_an_empty_start():
    assert finite_horizon_optimum(1000) == pytest.approx(2.762235, abs=5e-7)
    assert finite_horizon_optimum(100) == pytest.approx(2.893570, abs=5e-7)
    for accept, mean in ((np.full((11, 4), 0.5), 1.703580), (np.ones((11, 4)), 2.203042), (at_least(4), 2.725728)):
        assert episode_mean_of(accept, 1000) == pytest.approx(mean, abs=5e-7)
    assert episode_mean_of(optimal_gain()[1], 1000) == pytest.approx(2.760508, abs=5e-7)


def test_releases_are_probabilities_with_the_binomial_mean():
    matrix = releases(QueueConfig())
    assert np.allclose(matrix.sum(axis=1), 1.0, atol=1e-14)
    assert np.allclose(matrix @ np.arange(11), np.arange(11) + 0.06 * (10 - np.arange(11)))
